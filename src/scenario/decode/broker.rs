//! `broker:` and `pki:`: what the runner makes before a scenario starts.
//!
//! Whether mosquitto.conf has an option that `settings` names is checked where the option table
//! is, not here.

use std::collections::BTreeSet;

use super::values;
use crate::diagnostic::{Diagnostic, Span};
use crate::scenario::LoadOptions;
use crate::scenario::keys::{Fields, KeySpec, Shape, key};
use crate::scenario::node::{Kind, Node};
use crate::scenario::scope::Scope;
use crate::scenario::target::{BridgeSpec, BrokerSpec, Certificate, FileText, ListenerSpec, Setup, UserSpec};

/// Keys of `broker`.
pub const BROKER_KEYS: &[KeySpec] = &[
    key(
        "allow_anonymous",
        Shape::Bool,
        "clients without user name come in; default: true if there are no users, else false",
    ),
    key("users", Shape::MapOf(&Shape::Keys(USER_KEYS)), "accounts and their rights, by user name"),
    key("listeners", Shape::MapOf(&Shape::Keys(LISTENER_KEYS)), "listeners by name; default: one plain one"),
    key("settings", Shape::MapOf(&Shape::OneOrMany(&Shape::Text)), "any mosquitto.conf option and its value"),
    key(
        "bridges",
        Shape::MapOf(&Shape::Keys(BRIDGE_KEYS)),
        "connections of the broker to `peers` of the scenario, where it is a client itself, by name",
    ),
    key("config", Shape::Text, "a mosquitto.conf to take over; ports and paths are moved, nothing else"),
    key("acl", Shape::Text, "an ACL file: its path, or its text as a block (`|`)"),
    key(
        "password_file",
        Shape::Text,
        "a password file, as it is; passwords that clients use stand under `users`",
    ),
];

/// How a password can be kept.
const HASHES: &[&str] = &["pbkdf2", "scram-sha-256"];

/// Keys of a user.
pub const USER_KEYS: &[KeySpec] = &[
    key("password", Shape::Text, "made for the run when left out"),
    key(
        "hash",
        Shape::Word(HASHES),
        "how the password file keeps it; default pbkdf2, which every mosquitto reads; `scram-sha-256`: for \
         enhanced authentication",
    ),
    key(
        "allow",
        Shape::Keys(ALLOW_KEYS),
        "lines of the ACL file for this user; if no user has any, all may do everything",
    ),
];

/// Keys of `allow`.
pub const ALLOW_KEYS: &[KeySpec] = &[
    key("read", Shape::OneOrMany(&Shape::Text), "topic filters that may be received from"),
    key("write", Shape::OneOrMany(&Shape::Text), "topic filters that may be published to"),
    key("readwrite", Shape::OneOrMany(&Shape::Text), "both"),
    key("deny", Shape::OneOrMany(&Shape::Text), "neither, whatever else allows it"),
];

/// Keys of a listener.
pub const LISTENER_KEYS: &[KeySpec] = &[
    key(
        "protocol",
        Shape::Word(&["mqtt", "websockets"]),
        "what its clients speak: default mqtt; `websockets`: MQTT in WebSocket frames, over TLS with a `cert`",
    ),
    key("cert", Shape::Text, "a certificate of `pki`: a TLS listener"),
    key("settings", Shape::MapOf(&Shape::OneOrMany(&Shape::Text)), "mosquitto.conf options of this listener"),
];

/// Keys of a bridge.
pub const BRIDGE_KEYS: &[KeySpec] = &[
    key(
        "peer",
        Shape::Text,
        "the peer that it connects to; it gives the `address`, and the scenario's protocol the \
         `bridge_protocol_version`",
    ),
    key(
        "settings",
        Shape::MapOf(&Shape::OneOrMany(&Shape::Text)),
        "mosquitto.conf options of this connection, such as `topic: \"# out 1\"`",
    ),
];

/// Keys of a certificate.
pub const CERTIFICATE_KEYS: &[KeySpec] = &[
    key("ca", Shape::Text, "the authority of `pki` that signs it; without one it is an authority itself"),
    key("san", Shape::OneOrMany(&Shape::Text), "host names and addresses that it is for"),
    key("not_before", Shape::Text, "start of validity from now: `-1d` (default), `1h`"),
    key("not_after", Shape::Text, "end of validity from now: `29d` (default), `-1h` has run out"),
];

/// Reads `broker` and `pki` of a scenario whose file's entries are merged in.
pub(in crate::scenario) fn setup(scope: &Scope, broker: Option<&Node>, pki: Option<&Node>) -> Setup {
    let mut broker = broker.map(|node| broker_spec(scope, node)).unwrap_or_default();
    let pki = pki.map(|node| certificates(scope, node)).unwrap_or_default();
    for listener in &broker.listeners {
        if let Some(cert) = &listener.cert {
            scope.defined("certificate", cert, &listener.span, pki.iter().map(|c| c.name.as_str()));
        }
    }
    from_command_line(&mut broker, scope.inputs.options);
    Setup { broker, pki }
}

/// `--acl`, `--password-file` and `--config` stand in for what the scenario says.
fn from_command_line(broker: &mut BrokerSpec, options: &LoadOptions) {
    if let Some(config) = &options.config {
        broker.config = Some(config.clone());
        broker.settings.clear();
        broker.allow_anonymous = None;
    }
    if let Some(acl) = &options.acl {
        broker.acl = Some(acl.clone());
        broker.users.iter_mut().for_each(|user| user.allow.clear());
    }
    if let Some(file) = &options.password_file {
        broker.password_file = Some(file.clone());
    }
}

fn broker_spec(scope: &Scope, node: &Node) -> BrokerSpec {
    let Some(fields) = Fields::of(scope, node, &[BROKER_KEYS], "`broker`") else {
        return BrokerSpec::default();
    };
    let options = scope.inputs.options;
    // What the command line stands in for is not read: a sheet may come without its files.
    let file = |key, replaced: &Option<FileText>| {
        fields.get(key).filter(|_| replaced.is_none()).and_then(|node| file_text(scope, node, key))
    };
    let spec = BrokerSpec {
        allow_anonymous: fields
            .get("allow_anonymous")
            .and_then(|node| values::boolean(scope, node, "allow_anonymous")),
        users: fields.get("users").map(|node| users(scope, node)).unwrap_or_default(),
        listeners: fields.get("listeners").map(|node| listeners(scope, node)).unwrap_or_default(),
        settings: fields.get("settings").map(|node| settings(scope, node)).unwrap_or_default(),
        bridges: fields.get("bridges").map(|node| bridges(scope, node)).unwrap_or_default(),
        config: file("config", &options.config),
        acl: file("acl", &options.acl),
        password_file: file("password_file", &options.password_file),
    };
    if let (Some((key, _)), true) = (fields.entry("bridges"), spec.config.is_some()) {
        let message = "`bridges` and `config` exclude each other";
        scope.error_help("L023", &key.span, message, "leave one of them out");
    }
    let allowed = spec.users.iter().find(|user| !user.allow.is_empty());
    if let (Some((key, _)), Some(user)) = (fields.entry("acl"), allowed) {
        let message = "`acl` and the `allow` of users exclude each other";
        let finding = Diagnostic::error("L023", key.span.clone(), message);
        let help = "write the user's lines into the ACL";
        scope.report(finding.with_related(user.span.clone(), "has `allow`").with_help(help));
    }
    spec
}

fn users(scope: &Scope, node: &Node) -> Vec<UserSpec> {
    let mut found = Vec::new();
    for (name, span, value) in values::named(scope, node, "users") {
        if name.is_empty() || name.contains(':') {
            scope.error(
                "L024",
                span,
                "a user name is not empty and has no `:`, which ends it in the password file",
            );
        }
        let mut user = UserSpec { name, password: None, scram: false, allow: Vec::new(), span: span.clone() };
        if let Some(fields) = value.and_then(|v| Fields::of(scope, v, &[USER_KEYS], "a user")) {
            user.password = fields.get("password").and_then(|node| scope.text(node, "password"));
            let hash = fields.get("hash").and_then(|node| values::word(scope, node, "hash", HASHES));
            user.scram = hash == Some("scram-sha-256");
            user.allow = fields.get("allow").map(|node| allow(scope, node)).unwrap_or_default();
        }
        found.push(user);
    }
    found
}

/// The lines in the order written.
fn allow(scope: &Scope, node: &Node) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if Fields::of(scope, node, &[ALLOW_KEYS], "`allow`").is_none() {
        return found;
    }
    let Kind::Map(entries) = &node.kind else { return found };
    for (access, filters) in entries {
        for filter in values::one_or_many(filters) {
            if filter.is_null() {
                scope.wrong(filter, &access.text, "a topic filter");
                continue;
            }
            let Some(text) = scope.text(filter, &access.text) else { continue };
            if values::check_topic_filter(scope, &text, &filter.span).is_some() {
                found.push((access.text.clone(), text));
            }
        }
    }
    found
}

fn listeners(scope: &Scope, node: &Node) -> Vec<ListenerSpec> {
    let mut found = Vec::new();
    for (name, span, value) in values::named(scope, node, "listeners") {
        let mut listener =
            ListenerSpec { name, websockets: false, cert: None, settings: Vec::new(), span: span.clone() };
        if let Some(fields) = value.and_then(|v| Fields::of(scope, v, &[LISTENER_KEYS], "a listener")) {
            let protocol = fields
                .get("protocol")
                .and_then(|node| values::word(scope, node, "protocol", &["mqtt", "websockets"]));
            listener.websockets = protocol == Some("websockets");
            if let Some(node) = fields.get("cert") {
                listener.cert = scope.text(node, "cert");
                listener.span = node.span.clone();
            }
            listener.settings = fields.get("settings").map(|node| settings(scope, node)).unwrap_or_default();
        }
        found.push(listener);
    }
    found
}

fn bridges(scope: &Scope, node: &Node) -> Vec<BridgeSpec> {
    let mut found = Vec::new();
    for (name, span, value) in values::named(scope, node, "bridges") {
        if name.is_empty() || name.contains(char::is_whitespace) {
            scope.error("L024", span, "the name of a connection is one word");
        }
        let Some(fields) = value.and_then(|v| Fields::of(scope, v, &[BRIDGE_KEYS], "a bridge")) else {
            scope.error("L006", span, "a bridge needs the key `peer`");
            continue;
        };
        let Some(peer) = fields.need(scope, "peer", "a bridge").and_then(|node| peer(scope, node)) else {
            continue;
        };
        let settings = fields.get("settings").map(|node| settings(scope, node)).unwrap_or_default();
        found.push(BridgeSpec { name, peer, settings, span: span.clone() });
    }
    found
}

/// The name of a peer.
pub(super) fn peer(scope: &Scope, node: &Node) -> Option<String> {
    let name = scope.text(node, "peer")?;
    scope.defined("peer", &name, &node.span, scope.names.peers.iter().map(String::as_str));
    Some(name)
}

/// A list repeats its option.
fn settings(scope: &Scope, node: &Node) -> Vec<(String, String, Span)> {
    let Kind::Map(entries) = &node.kind else {
        scope.wrong(node, "settings", "a map from mosquitto.conf options to values");
        return Vec::new();
    };
    let mut found = Vec::new();
    for (option, value) in entries {
        for item in values::one_or_many(value) {
            if let Some(text) = scope.text(item, &option.text) {
                found.push((option.text.clone(), text, option.span.clone()));
            }
        }
    }
    found
}

/// A path, or text within the YAML.
fn file_text(scope: &Scope, node: &Node, what: &str) -> Option<FileText> {
    if node.is_null() {
        scope.wrong(node, what, "a path, or the text as a block (`|`)");
        return None;
    }
    let text = scope.text(node, what)?;
    if node.is_block() || text.contains('\n') {
        let path = format!("{} ({what})", node.span.source.name);
        return Some(FileText { path, text, embedded_at: node.block_line() });
    }
    let file = scope.file(node, what)?;
    Some(FileText { path: file.name.clone(), text: file.text.clone(), embedded_at: None })
}

fn certificates(scope: &Scope, node: &Node) -> Vec<Certificate> {
    let mut found: Vec<Certificate> = Vec::new();
    let mut signers: Vec<(String, Span)> = Vec::new();
    for (name, span, value) in values::named(scope, node, "pki") {
        let mut certificate = Certificate {
            name,
            ca: None,
            san: Vec::new(),
            not_before: Certificate::DEFAULT_NOT_BEFORE,
            not_after: Certificate::DEFAULT_NOT_AFTER,
            span: span.clone(),
        };
        if let Some(fields) = value.and_then(|v| Fields::of(scope, v, &[CERTIFICATE_KEYS], "a certificate")) {
            if let Some(node) = fields.get("ca") {
                certificate.ca = scope.text(node, "ca");
                signers.extend(certificate.ca.clone().map(|ca| (ca, node.span.clone())));
            }
            let names = fields.get("san").map(values::one_or_many).unwrap_or_default();
            certificate.san = names.into_iter().filter_map(|node| scope.text(node, "san")).collect();
            if let Some(seconds) = fields.get("not_before").and_then(|node| offset(scope, node, "not_before"))
            {
                certificate.not_before = seconds;
            }
            if let Some(seconds) = fields.get("not_after").and_then(|node| offset(scope, node, "not_after")) {
                certificate.not_after = seconds;
            }
            if certificate.not_after <= certificate.not_before {
                scope.error("L005", &fields.span, "this certificate ends before it begins");
            }
        }
        found.push(certificate);
    }
    let authorities: BTreeSet<&str> =
        found.iter().filter(|c| c.ca.is_none()).map(|c| c.name.as_str()).collect();
    for (ca, span) in &signers {
        scope.defined("authority", ca, span, authorities.iter().copied());
        scope.mark_used("certificate", ca);
    }
    found
}

/// Seconds from the run's start: `-1d`, `90m`.
fn offset(scope: &Scope, node: &Node, what: &str) -> Option<i64> {
    const DAY: f64 = 86_400.0;
    let text = scope.text(node, what)?;
    let (sign, size) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.trim_start_matches('+')),
    };
    let seconds = match size.strip_suffix('d').map(str::parse::<f64>) {
        Some(Ok(days)) if (0.0..=36_500.0).contains(&days) => {
            Some(std::time::Duration::from_secs_f64(days * DAY).as_secs())
        }
        Some(_) => None,
        None => crate::text::parse_duration(size).map(|d| d.as_secs()),
    };
    let found = seconds.and_then(|seconds| i64::try_from(seconds).ok()).map(|seconds| sign * seconds);
    if found.is_none() {
        scope.wrong(node, what, "a time from now such as `-1d`, `2h` or `30d`");
    }
    found
}
