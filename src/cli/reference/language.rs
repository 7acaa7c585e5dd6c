//! The scenario language as entries: verbs and keys from `scenario`'s registries, and the ideas
//! behind them that no single row could say.

use super::{Entry, entry};
use crate::broker;
use crate::runner::prepare;
use crate::scenario::codes::CODES;
use crate::scenario::keys::{KeySpec, Shape};
use crate::scenario::step::{Actor, VERBS};
use crate::scenario::{Capability, decode};

/// Ideas that hold in the whole language.
pub fn concepts() -> Vec<Entry> {
    let concept =
        |name: &str, doc: &str, example: &str| Entry { example: example.into(), ..entry(name, doc) };
    vec![
        concept(
            "step",
            "A map of one key: who, and what it does. A verb without keys stands alone, a verb with one value too.",
            "- watch:  {subscribe: home/#, qos: 1}\n- sensor: connect\n- wait: 1s",
        ),
        concept(
            "defaults",
            "The first use of a client connects it and wants to be accepted. A publish with QoS 1 or 2 wants a \
             positive acknowledgement, a subscribe the QoS that it asks for. Waits end after 2 s (within).",
            "- a: {publish: home/door, payload: open, qos: 1, expect: denied}",
        ),
        concept(
            "inbox",
            "A message that no step asked for fails the scenario at its end, unless the client says extra: ignore.",
            "watch: {user: bob, extra: ignore}",
        ),
        concept(
            "fence",
            "That nothing arrives is proved by something that must arrive after it, never by waiting.",
            "- watch: receives_nothing",
        ),
        concept(
            "matcher",
            "What a received value must be like: a scalar is equal, /…/ a regular expression, any anything, a \
             map all of its tests.",
            "- watch: {receives: home/temp, payload: {gte: 20, lte: 25}}",
        ),
        concept(
            "variables",
            "${listeners.NAME.host}, ${listeners.NAME.port}, ${users.NAME.password}, ${certs.NAME.cert}, \
             ${env.NAME}, ${captured.NAME}, ${i} in a repeat, and every --set name=value; in packet lines ${scram.first}, \
             ${scram.final} and ${scram.server}, by which a client proves its user's password (SCRAM-SHA-256). \
             $${ stands for ${.",
            "- a: {publish: \"home/${room}\", payload: x}",
        ),
        concept(
            "table",
            "If every Expectation says allow or deny (PASS/FAIL, yes/no, ✓/✗), Publish and Subscribe are marks \
             of what a row tests. Else they say themselves what is expected, and Expectation is a note. Deny \
             means that nobody received it. mqttlab check tells which reading it took.",
            "| Topic     | User | Publish | Subscribe | Expectation | PASSED |\n\
             |-----------|------|---------|-----------|-------------|--------|\n\
             | home/door | bob  | X       | -         | FAIL        |        |",
        ),
        concept(
            "packet-block",
            "One packet a line: > sends, < expects, <? may or may not come, | parts alternatives, close is the \
             end of the connection, > hex sends raw bytes in a write (or WebSocket frame) of their own, \
             > text PACKET sends a WebSocket frame of text, * is a note, ! before a line lets nothing come between. \
             A & B are both, in any order. \
             A number may be left open: id=$first is whatever comes first, and the same from then on. \
             without=NAME: it has no (other) such field. 5: before a line keeps it to that version.",
            "- a:\n    packets: |\n      > CONNECT clean client=a\n      < CONNACK 0\n      > PUBLISH home/+ \"x\"\n      < close",
        ),
    ]
}

/// All verbs.
pub fn verbs() -> Vec<Entry> {
    VERBS
        .iter()
        .map(|verb| {
            let who = match verb.actor {
                Actor::Client => "a client",
                Actor::Broker => "broker",
                Actor::Peer => "a peer",
                Actor::Control => "nobody: it stands alone",
            };
            let mut details = vec![("who", who.to_owned())];
            if let Some(value) = verb.value {
                details.push(("value", format!("stands for the key {value}")));
            }
            details.extend(verb.keys.iter().map(|key| (key.name, said(key))));
            Entry { details, example: verb.example.into(), ..entry(verb.name, verb.doc) }
        })
        .collect()
}

/// What a scenario may require.
pub fn requires() -> Vec<Entry> {
    Capability::ALL
        .iter()
        .map(|(capability, name)| {
            entry(*name, format!("{}; without it the case is skipped", capability.doc()))
        })
        .collect()
}

/// Codes of the findings about whatever a person writes.
pub fn codes() -> Vec<Entry> {
    CODES
        .iter()
        .chain(prepare::check::CODES)
        .chain(broker::codes::CODES)
        .chain(crate::record::baseline::CODES)
        .map(|(code, doc)| entry(*code, *doc))
        .collect()
}

/// Keys of a file.
pub fn file() -> Vec<Entry> {
    keys(decode::file::FILE_KEYS)
}

/// Keys of a scenario.
pub fn scenario() -> Vec<Entry> {
    keys(decode::scenario::SCENARIO_KEYS)
}

/// Keys of a client and its will.
pub fn client() -> Vec<Entry> {
    keys(decode::client::CLIENT_KEYS)
}

/// Keys of a will.
pub fn will() -> Vec<Entry> {
    keys(decode::client::WILL_KEYS)
}

/// Keys of a broker.
pub fn broker_keys() -> Vec<Entry> {
    keys(decode::broker::BROKER_KEYS)
}

/// Keys of a user.
pub fn user() -> Vec<Entry> {
    keys(decode::broker::USER_KEYS)
}

/// Keys of a listener.
pub fn listener() -> Vec<Entry> {
    keys(decode::broker::LISTENER_KEYS)
}

/// Keys of a certificate.
pub fn certificate() -> Vec<Entry> {
    keys(decode::broker::CERTIFICATE_KEYS)
}

/// Tests of a matcher.
pub fn matcher() -> Vec<Entry> {
    keys(decode::matchers::MATCHER_KEYS)
}

/// Forms of a payload.
pub fn payload() -> Vec<Entry> {
    keys(decode::values::PAYLOAD_KEYS)
}

fn keys(keys: &[KeySpec]) -> Vec<Entry> {
    keys.iter()
        .map(|key| {
            let mut details = vec![("value", shape(&key.shape))];
            if let Shape::Keys(inner) = key.shape {
                details.extend(inner.iter().map(|key| (key.name, said(key))));
            }
            Entry { details, ..entry(key.name, key.doc) }
        })
        .collect()
}

/// What a key is for, and what may stand behind it.
fn said(key: &KeySpec) -> String {
    format!("{} ({})", key.doc, shape(&key.shape))
}

fn shape(what: &Shape) -> String {
    match what {
        Shape::Text => "text".into(),
        Shape::Bool => "true or false".into(),
        Shape::Integer(least, most) => format!("a whole number, {least} to {most}"),
        Shape::Number => "a number".into(),
        Shape::Duration => "a time such as 250ms, 1.5s, 2m".into(),
        Shape::Word(words) => words.join(", "),
        Shape::OneOrMany(one) => format!("{}, or a list", shape(one)),
        Shape::List(one) => format!("a list: {}", shape(one)),
        Shape::MapOf(one) => format!("names, each with {}", shape(one)),
        Shape::Keys(keys) => {
            format!("keys {}", keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", "))
        }
        Shape::Payload => "a payload".into(),
        Shape::Matcher => "a matcher".into(),
        Shape::Properties => "properties by name".into(),
        Shape::PropertyMatchers => "properties by name, each with a matcher".into(),
        Shape::Steps => "steps".into(),
        Shape::Either(shapes) => shapes.iter().map(shape).collect::<Vec<_>>().join("; or "),
        Shape::Anything => "anything".into(),
        Shape::Later => "not in this version".into(),
    }
}
