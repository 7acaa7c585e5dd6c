//! `connect`: the CONNECT of a client, and what must come of it.

use super::{Actor, Args, StepReader, VerbSpec};
use crate::mqtt::packet::PacketType;
use crate::scenario::decode::client::{WILL_KEYS, keep_alive, user, will};
use crate::scenario::decode::properties::{Carrier, to_match, to_send};
use crate::scenario::decode::values;
use crate::scenario::keys::{Fields, KeySpec, Shape, key};
use crate::scenario::node::{Kind, Node};
use crate::scenario::op::{ConnectOutcome, Op, Open};
use crate::scenario::scope::suggest;
use crate::tls::TlsFailure;

const OUTCOMES: &[&str] = &[
    "refused",
    "denied",
    "any",
    "unreachable",
    "tls.name_mismatch",
    "tls.unknown_ca",
    "tls.expired",
    "tls.not_yet_valid",
    "tls.not_tls",
    "tls.handshake",
];

const OUTCOME: Shape = Shape::Either(&[
    Shape::Word(OUTCOMES),
    Shape::Keys(&[key(
        "connack",
        Shape::OneOrMany(&Shape::Integer(0, 0xFF)),
        "refused by one of these codes",
    )]),
]);

pub(super) const CONNECT: VerbSpec = VerbSpec {
    name: "connect",
    actor: Actor::Client,
    doc: "Connects and checks that it is let in. The first step of a client connects it by itself; \
          this verb is for connecting otherwise than the client's definition says, for connecting \
          again, and for connections that must fail.",
    value: None,
    keys: &[
        key("clean", Shape::Bool, "clean session (clean start in 5.0)"),
        key("keepalive", Shape::Duration, "keep-alive in whole seconds; 0 is off"),
        key("user", Shape::Text, "another user; nothing (`~`) is anonymous"),
        key("password", Shape::Text, "another password"),
        key("will", Shape::Keys(WILL_KEYS), "another will; nothing (`~`) is none"),
        key(
            "properties",
            Shape::Properties,
            "more properties of the CONNECT, 5.0, or other values of those of the definition",
        ),
        key("session_present", Shape::Bool, "what the CONNACK must say of the session"),
        key("connack", Shape::PropertyMatchers, "properties that the CONNACK must have, 5.0"),
        key(
            "fails",
            OUTCOME,
            "how it must fail: refused by any code or closed, TLS, nobody listens, or a code",
        ),
        key("expect", OUTCOME, "the same as `fails`; `any` takes whatever comes"),
        key("within", Shape::Duration, "how long to wait; default 2 s"),
    ],
    example: "- a: connect
- a: disconnect
- a: {connect: {clean: false, keepalive: 10s, session_present: false}}
- b: {connect: {user: nobody, password: guess, fails: refused}}",
    decode,
};

fn decode(reader: &StepReader, args: &Args) -> Option<Op> {
    let (scope, fields, client) = (reader.scope, &args.fields, args.client());
    let version = reader.version(client);
    let mut open = Open {
        clean: fields.get("clean").and_then(|node| values::boolean(scope, node, "clean")),
        keep_alive: fields.get("keepalive").and_then(|node| keep_alive(scope, node)),
        password: fields.get("password").and_then(|node| scope.template(node, "password")),
        within: fields.get("within").and_then(|node| values::duration(scope, node, "within")),
        ..Open::default()
    };
    if let Some(node) = fields.get("will") {
        open.will = if node.is_null() { Some(None) } else { Some(Some(will(scope, node, version)?)) };
    }
    if let Some(node) = fields.get("user") {
        open.user = if node.is_null() {
            Some(None)
        } else {
            Some(Some(user(scope, node, reader.broker, open.password.is_some())?))
        };
    }
    if let Some(node) = fields.get("properties") {
        open.properties = to_send(scope, node, Carrier::Packet(PacketType::Connect), version);
    }
    open.outcome = outcome(reader, args, fields)?;
    Some(Op::Open(client, open))
}

fn outcome(reader: &StepReader, args: &Args, fields: &Fields) -> Option<ConnectOutcome> {
    let scope = reader.scope;
    let accepted = ["session_present", "connack"].into_iter().find_map(|name| fields.entry(name));
    let failing = match (fields.entry("fails"), fields.entry("expect")) {
        (Some(_), Some((key, _))) => {
            scope.error("L023", &key.span, "`fails` and `expect` say the same; keep one");
            return None;
        }
        (one, other) => one.or(other),
    };
    match (failing, accepted) {
        (Some((key, _)), Some((other, _))) => {
            let message =
                format!("`{}` is about a connection that is let in, `{}` is not", other.text, key.text);
            scope.error("L023", &other.span, message);
            None
        }
        (Some((key, node)), None) => failure(reader, &key.text, node),
        (None, None) => Some(ConnectOutcome::Accepted),
        (None, Some(_)) => Some(ConnectOutcome::AcceptedWith {
            session_present: fields
                .get("session_present")
                .and_then(|node| values::boolean(scope, node, "session_present")),
            properties: fields
                .get("connack")
                .map(|node| {
                    let version = reader.version(args.client());
                    to_match(scope, node, Carrier::Packet(PacketType::ConnAck), version)
                })
                .unwrap_or_default(),
        }),
    }
}

fn failure(reader: &StepReader, what: &str, node: &Node) -> Option<ConnectOutcome> {
    let scope = reader.scope;
    if let Kind::Map(entries) = &node.kind {
        let keys: &[KeySpec] = match OUTCOME {
            Shape::Either([_, Shape::Keys(keys)]) => keys,
            _ => &[],
        };
        Fields::of(scope, node, &[keys], &format!("`{what}`"))?;
        let (_, codes) = entries.first()?;
        return values::reasons(scope, codes, "connack").map(ConnectOutcome::RefusedWith);
    }
    let text = scope.text(node, what)?;
    match text.as_str() {
        "refused" | "denied" => Some(ConnectOutcome::Refused),
        "unreachable" => Some(ConnectOutcome::Unreachable),
        "any" => Some(ConnectOutcome::Any),
        "closed" => {
            let help = "`refused` takes a CONNACK with any code as well as a close; \
                        for a close alone write `< close` in a `packets` block";
            scope.error_help("L005", &node.span, format!("`{what}` cannot be `closed`"), help);
            None
        }
        _ => {
            let failure = TlsFailure::ALL.into_iter().find(|failure| failure.name() == text);
            if failure.is_none() {
                let help = suggest(&text, OUTCOMES.iter().copied(), "").replace('?', "")
                    + ", or a code: {connack: 0x87}";
                scope.error_help("L005", &node.span, format!("`{what}` cannot be {}", node.describe()), help);
            }
            failure.map(ConnectOutcome::TlsFails)
        }
    }
}
