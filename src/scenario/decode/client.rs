//! `clients:`: who connects and how.

use super::broker::peer;
use super::properties::{Carrier, to_send};
use super::values;
use crate::mqtt::packet::PacketType;
use crate::mqtt::{Property, ProtocolVersion, QoS};
use crate::scenario::keys::{Fields, KeySpec, Shape, key};
use crate::scenario::node::Node;
use crate::scenario::scope::Scope;
use crate::scenario::step;
use crate::scenario::target::BrokerSpec;
use crate::scenario::value::Template;
use crate::scenario::{ClientSpec, EngineKind, Payload, WillSpec};

/// Seconds that a kept session outlives its connection in 5.0.
const KEPT: u32 = 3600;

/// Keys of a client.
pub const CLIENT_KEYS: &[KeySpec] = &[
    key("user", Shape::Text, "an account of `broker: users`; without one it is anonymous"),
    key("password", Shape::Text, "another password than the account's, or that of a user who has no account"),
    key("client_id", Shape::Text, "client identifier; default: made for the run, `\"\"`: left to the broker"),
    key("listener", Shape::Text, "which listener; default: the first"),
    key("peer", Shape::Text, "the peer (`peers`) that it connects to, in place of the broker"),
    key(
        "subprotocols",
        Shape::List(&Shape::Text),
        "what it offers to a WebSocket listener, best first; default `[mqtt]`",
    ),
    key("trust", Shape::Text, "the authority of `pki` that it trusts, for TLS listeners"),
    key("protocol", Shape::Word(&["3.1", "3.1.1", "5"]), "its own protocol revision"),
    key("clean", Shape::Bool, "clean session (clean start in 5.0); default true"),
    key(
        "keeps_session",
        Shape::Bool,
        "its session outlives the connection: `clean: false`, and in 5.0 a session expiry of one hour; default false",
    ),
    key("keepalive", Shape::Duration, "keep-alive in whole seconds; default 60 s, 0 is off"),
    key("will", Shape::Keys(WILL_KEYS), "what the broker publishes when it vanishes"),
    key("auto_ping", Shape::Bool, "sends PINGREQ by itself; default true"),
    key("raw", Shape::Bool, "sends nothing by itself: everything stands in `packets`; default false"),
    key("engine", Shape::Word(&["wire", "rumqttc"]), "which implementation plays it; default wire"),
    key("properties", Shape::Properties, "properties of its CONNECT, 5.0"),
    key(
        "extra",
        Shape::Word(&["ignore", "fail"]),
        "messages that nobody asked for fail the scenario (default) or not",
    ),
    key("cert", Shape::Later, "a certificate of its own"),
];

/// Keys of a will.
pub const WILL_KEYS: &[KeySpec] = &[
    key("topic", Shape::Text, "where it is published"),
    key("payload", Shape::Payload, "what is published; default: nothing"),
    key("qos", Shape::Integer(0, 2), "quality of service; default 0"),
    key("retain", Shape::Bool, "retained; default false"),
    key("properties", Shape::Properties, "properties of the will, 5.0 (`delay`, `message_expiry`, …)"),
];

/// Reads the clients of one scenario.
pub(in crate::scenario) fn clients(scope: &Scope, node: &Node, broker: &BrokerSpec) -> Vec<ClientSpec> {
    let mut found = Vec::new();
    for (name, span, value) in values::named(scope, node, "clients") {
        if step::is_reserved(&name) {
            let message = format!("`{name}` is a word of the language and cannot name a client");
            scope.error("L024", span, message);
            continue;
        }
        if scope.names.peers.contains(&name) {
            scope.error("L024", span, format!("`{name}` is the name of a peer already"));
            continue;
        }
        let mut client = ClientSpec::plain(name, span.clone());
        if let Some(fields) = value.and_then(|v| Fields::of(scope, v, &[CLIENT_KEYS], "a client")) {
            account(scope, &fields, broker, &mut client);
            transport(scope, &fields, broker, &mut client);
            behaviour(scope, &fields, &mut client);
        }
        found.push(client);
    }
    found
}

fn account(scope: &Scope, fields: &Fields, broker: &BrokerSpec, client: &mut ClientSpec) {
    client.password = fields.get("password").and_then(|node| scope.template(node, "password"));
    if let Some(node) = fields.get("user") {
        client.user = user(scope, node, broker, client.password.is_some());
    }
    client.client_id = fields.get("client_id").and_then(|node| {
        if node.is_null() { Some(Template::literal("")) } else { scope.template(node, "client_id") }
    });
}

/// A user name; it must be an account unless a password comes with it.
pub(in crate::scenario) fn user(
    scope: &Scope,
    node: &Node,
    broker: &BrokerSpec,
    has_password: bool,
) -> Option<String> {
    let name = scope.text(node, "user")?;
    let known = broker.users.iter().map(|user| user.name.as_str());
    if has_password {
        scope.mark_used("user", &name);
        return Some(name);
    }
    scope.defined("user", &name, &node.span, known);
    Some(name)
}

fn transport(scope: &Scope, fields: &Fields, broker: &BrokerSpec, client: &mut ClientSpec) {
    if let Some(node) = fields.get("listener") {
        client.listener = scope.text(node, "listener");
        if let Some(name) = &client.listener {
            scope.defined("listener", name, &node.span, broker.listeners.iter().map(|l| l.name.as_str()));
        }
    }
    if let Some((key, node)) = fields.entry("peer") {
        client.peer = peer(scope, node);
        let of_broker = ["listener", "subprotocols", "trust", "raw"];
        if let Some(other) = of_broker.into_iter().find(|name| fields.get(name).is_some()) {
            let message = format!("a client of a peer has no `{other}`");
            scope.error_help("L023", &key.span, message, format!("leave `peer` or `{other}` out"));
        }
    }
    if let Some((key, node)) = fields.entry("subprotocols") {
        client.subprotocols = subprotocols(scope, node);
        let name = client.listener.as_deref();
        let listener = broker.listeners.iter().find(|listener| name.is_none_or(|name| name == listener.name));
        if !listener.is_some_and(|listener| listener.websockets) {
            let message = "`subprotocols` are offered to a WebSocket listener, and this is none";
            scope.error_help("L023", &key.span, message, "name a `listener` with `protocol: websockets`");
        }
    }
    if let Some(node) = fields.get("trust") {
        client.trust = scope.text(node, "trust");
        if let Some(name) = &client.trust {
            scope.defined("certificate", name, &node.span, scope.names.certs.iter().map(String::as_str));
        }
    }
    client.protocol = fields.get("protocol").and_then(|node| values::protocol(scope, node));
    let engine =
        fields.get("engine").and_then(|node| values::word(scope, node, "engine", &["wire", "rumqttc"]));
    if engine == Some("rumqttc") {
        client.engine = EngineKind::Rumqttc;
    }
}

/// Tokens of HTTP, maybe none.
fn subprotocols(scope: &Scope, node: &Node) -> Option<Vec<String>> {
    let token = |text: &str| {
        let of_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        !text.is_empty() && text.chars().all(of_token)
    };
    values::one_or_many(node)
        .into_iter()
        .map(|item| {
            let text = scope.text(item, "subprotocols")?;
            if !token(&text) {
                scope.wrong(item, "subprotocols", "names such as `mqtt`, or an empty list");
            }
            token(&text).then_some(text)
        })
        .collect()
}

fn behaviour(scope: &Scope, fields: &Fields, client: &mut ClientSpec) {
    let flag = |name: &str, default: bool| {
        fields.get(name).and_then(|node| values::boolean(scope, node, name)).unwrap_or(default)
    };
    client.clean = flag("clean", true);
    client.auto_ping = flag("auto_ping", true);
    client.raw = flag("raw", false);
    if let Some(seconds) = fields.get("keepalive").and_then(|node| keep_alive(scope, node)) {
        client.keep_alive = seconds;
    }
    let version = client.protocol.unwrap_or(scope.combination.protocol);
    client.will = fields.get("will").and_then(|node| will(scope, node, version));
    if let Some(node) = fields.get("properties") {
        client.properties = to_send(scope, node, Carrier::Packet(PacketType::Connect), version);
    }
    if let (true, Some(node)) = (flag("keeps_session", false), fields.get("keeps_session")) {
        if fields.get("clean").is_some() || client.properties.session_expiry_interval().is_some() {
            let message = "`keeps_session` is another word for `clean` and `session_expiry`";
            scope.error_help("L023", &node.span, message, "leave one of them out");
        }
        client.clean = false;
        if version.is_v5() {
            client.properties.push(Property::SessionExpiryInterval(KEPT));
        }
    }
    if let Some(node) = fields.get("extra") {
        client.ignore_extra = values::word(scope, node, "extra", &["ignore", "fail"]) == Some("ignore");
    }
}

/// Whole seconds, at most 65,535.
pub(in crate::scenario) fn keep_alive(scope: &Scope, node: &Node) -> Option<u16> {
    let duration = values::duration(scope, node, "keepalive")?;
    let seconds = u16::try_from(duration.as_secs()).ok().filter(|_| duration.subsec_nanos() == 0);
    if seconds.is_none() {
        scope.wrong(node, "keepalive", "whole seconds, at most 65535");
    }
    seconds
}

/// A will.
pub(in crate::scenario) fn will(scope: &Scope, node: &Node, version: ProtocolVersion) -> Option<WillSpec> {
    let fields = Fields::of(scope, node, &[WILL_KEYS], "a will")?;
    let topic = fields.need(scope, "topic", "a will")?;
    Some(WillSpec {
        topic: values::topic_name(scope, topic, "topic")?,
        payload: match fields.get("payload") {
            Some(node) => values::payload(scope, node)?,
            None => Payload::Text(Template::literal("")),
        },
        qos: fields.get("qos").map_or(Some(QoS::AtMostOnce), |node| values::qos(scope, node))?,
        retain: fields.get("retain").map_or(Some(false), |node| values::boolean(scope, node, "retain"))?,
        properties: fields
            .get("properties")
            .map(|node| to_send(scope, node, Carrier::Will, version))
            .unwrap_or_default(),
    })
}
