//! `peers:`: brokers that the scenario plays itself, line by line, for clients and bridges.

use super::values;
use crate::scenario::ClientSpec;
use crate::scenario::keys::{Fields, KeySpec, Shape, key};
use crate::scenario::node::Node;
use crate::scenario::scope::Scope;
use crate::scenario::step;

/// Keys of a peer.
pub const PEER_KEYS: &[KeySpec] = &[
    key(
        "protocol",
        Shape::Word(&["mqtt", "websockets"]),
        "what its clients speak: default mqtt; `websockets`: MQTT in WebSocket frames",
    ),
    key(
        "extra",
        Shape::Word(&["ignore", "fail"]),
        "a PUBLISH that no line asked for fails the scenario (default) or not",
    ),
];

/// Reads the peers of one scenario, who stand behind its clients.
pub(in crate::scenario) fn peers(scope: &mut Scope, node: &Node) -> Vec<ClientSpec> {
    let mut found = Vec::new();
    for (name, span, value) in values::named(scope, node, "peers") {
        if step::is_reserved(&name) {
            scope.error("L024", span, format!("`{name}` is a word of the language and cannot name a peer"));
            continue;
        }
        let mut peer = ClientSpec::plain(name, span.clone());
        (peer.plays, peer.raw) = (true, true);
        if let Some(fields) = value.and_then(|v| Fields::of(scope, v, &[PEER_KEYS], "a peer")) {
            let said = |name: &str, words: &'static [&'static str]| {
                fields.get(name).and_then(|node| values::word(scope, node, name, words))
            };
            peer.websockets = said("protocol", &["mqtt", "websockets"]) == Some("websockets");
            peer.ignore_extra = said("extra", &["ignore", "fail"]) == Some("ignore");
        }
        found.push(peer);
    }
    scope.names.peers = found.iter().map(|peer| peer.name.clone()).collect();
    found
}
