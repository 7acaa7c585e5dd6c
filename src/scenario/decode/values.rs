//! Single values: booleans, numbers, durations, topics, payloads, reason codes.
//!
//! Every function reports what is wrong and then gives `None`.

use std::time::Duration;

use bytes::Bytes;

use crate::diagnostic::Span;
use crate::mqtt::topic::TopicError;
use crate::mqtt::{ProtocolVersion, QoS, ReasonCode, TopicFilter, TopicName};
use crate::scenario::Payload;
use crate::scenario::keys::{Fields, KeySpec, Shape, key};
use crate::scenario::node::{Kind, Node};
use crate::scenario::scope::Scope;
use crate::scenario::value::Template;
use crate::text::{parse_duration, parse_hex};

/// Bytes of the largest message of MQTT.
const MAX_PAYLOAD: u64 = 268_435_455;

/// The forms of a payload other than plain text.
pub const PAYLOAD_KEYS: &[KeySpec] = &[
    key("hex", Shape::Text, "bytes as hex digits, blanks allowed: `00 ff`"),
    key("json", Shape::Anything, "the value as JSON without blanks"),
    key("size", Shape::Integer(0, MAX_PAYLOAD), "so many bytes, `0123456789` over and over"),
    key("file", Shape::Text, "the text of a file, relative to this one"),
];

/// `true` or `false`.
pub(in crate::scenario) fn boolean(scope: &Scope, node: &Node, what: &str) -> Option<bool> {
    if let Kind::Bool(value) = node.kind {
        return Some(value);
    }
    // A variable may have brought it.
    let text =
        if node.lexeme().is_some_and(|t| t.contains("${")) { scope.text(node, what)? } else { String::new() };
    match text.as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => {
            scope.wrong(node, what, "`true` or `false`");
            None
        }
    }
}

/// A whole number, decimal or `0x…`.
pub(in crate::scenario) fn integer(
    scope: &Scope,
    node: &Node,
    what: &str,
    min: u64,
    max: u64,
) -> Option<u64> {
    let parsed = match &node.kind {
        Kind::Number(_) | Kind::String(_) => parse_integer(&scope.text(node, what)?),
        _ => None,
    };
    let found = parsed.filter(|value| (min..=max).contains(value));
    if found.is_none() {
        scope.wrong(node, what, &format!("a whole number from {min} to {max}"));
    }
    found
}

fn parse_integer(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

/// [`integer`] that fits a `u32`.
pub(in crate::scenario) fn count(scope: &Scope, node: &Node, what: &str, min: u32, max: u32) -> Option<u32> {
    integer(scope, node, what, min.into(), max.into()).and_then(|value| u32::try_from(value).ok())
}

/// Any finite number.
pub(in crate::scenario) fn number(scope: &Scope, node: &Node, what: &str) -> Option<f64> {
    let parsed = match &node.kind {
        Kind::Number(_) | Kind::String(_) => scope.text(node, what)?.parse::<f64>().ok(),
        _ => None,
    };
    let found = parsed.filter(|value| value.is_finite());
    if found.is_none() {
        scope.wrong(node, what, "a number");
    }
    found
}

/// Points: not negative.
pub(in crate::scenario) fn points(scope: &Scope, node: &Node) -> Option<f64> {
    let value = number(scope, node, "points")?;
    if value < 0.0 {
        scope.wrong(node, "points", "0 or more");
        return None;
    }
    Some(value)
}

/// `250ms`, `1.5s`, `2m`; a bare number is seconds.
pub(in crate::scenario) fn duration(scope: &Scope, node: &Node, what: &str) -> Option<Duration> {
    let parsed = match &node.kind {
        Kind::Number(_) | Kind::String(_) => parse_duration(&scope.text(node, what)?),
        _ => None,
    };
    if parsed.is_none() {
        scope.wrong(node, what, "a duration such as `250ms`, `1.5s` or `2m`");
    }
    parsed
}

/// 0, 1 or 2.
pub(in crate::scenario) fn qos(scope: &Scope, node: &Node) -> Option<QoS> {
    let value = integer(scope, node, "qos", 0, 2)?;
    u8::try_from(value).ok().and_then(QoS::from_u8)
}

/// `3.1`, `3.1.1` or `5`.
pub(in crate::scenario) fn protocol(scope: &Scope, node: &Node) -> Option<ProtocolVersion> {
    let text = scope.text(node, "protocol")?;
    let found = ProtocolVersion::parse(&text);
    if found.is_none() {
        scope.wrong(node, "protocol", "`3.1`, `3.1.1` or `5`");
    }
    found
}

/// A word of a closed set.
pub(in crate::scenario) fn word<'w>(
    scope: &Scope,
    node: &Node,
    what: &str,
    words: &[&'w str],
) -> Option<&'w str> {
    let text = scope.text(node, what)?;
    let found = words.iter().find(|word| **word == text).copied();
    if found.is_none() {
        let help = crate::scenario::scope::suggest(&text, words.iter().copied(), "");
        let message = format!("`{what}` cannot be {}", node.describe());
        scope.error_help("L005", &node.span, message, help);
    }
    found
}

/// The items of a list; a single value is a list of one.
pub(in crate::scenario) fn one_or_many(node: &Node) -> Vec<&Node> {
    match &node.kind {
        Kind::Seq(items) => items.iter().collect(),
        _ => vec![node],
    }
}

/// The items of a list.
pub(in crate::scenario) fn list<'n>(scope: &Scope, node: &'n Node, what: &str) -> Vec<&'n Node> {
    let Kind::Seq(items) = &node.kind else {
        scope.wrong(node, what, "a list");
        return Vec::new();
    };
    items.iter().collect()
}

/// Names and values: a map, or a list of names alone.
pub(in crate::scenario) fn named<'n>(
    scope: &Scope,
    node: &'n Node,
    what: &str,
) -> Vec<(String, &'n Span, Option<&'n Node>)> {
    match &node.kind {
        Kind::Null(_) => Vec::new(),
        Kind::Map(entries) => {
            entries.iter().map(|(key, value)| (key.text.clone(), &key.span, Some(value))).collect()
        }
        Kind::Seq(items) => {
            let mut found: Vec<(String, &Span, Option<&Node>)> = Vec::new();
            for item in items {
                let Some(name) = scope.text(item, what) else { continue };
                if found.iter().any(|(known, ..)| *known == name) {
                    scope.error("L011", &item.span, format!("`{name}` is here twice"));
                } else {
                    found.push((name, &item.span, None));
                }
            }
            found
        }
        _ => {
            scope.wrong(node, what, "a map from names to definitions");
            Vec::new()
        }
    }
}

/// A topic that something is published to.
pub(in crate::scenario) fn topic_name(scope: &Scope, node: &Node, what: &str) -> Option<Template> {
    let template = topic_text(scope, node, what)?;
    if let Some(text) = template.as_literal() {
        check_topic_name(scope, text, &node.span)?;
    }
    Some(template)
}

/// A topic filter that is subscribed to.
pub(in crate::scenario) fn topic_filter(scope: &Scope, node: &Node, what: &str) -> Option<Template> {
    let template = topic_text(scope, node, what)?;
    if let Some(text) = template.as_literal() {
        check_topic_filter(scope, text, &node.span)?;
    }
    Some(template)
}

fn topic_text(scope: &Scope, node: &Node, what: &str) -> Option<Template> {
    if node.is_null() {
        scope.wrong(node, what, "a topic");
        return None;
    }
    scope.template(node, what)
}

/// Reports what is wrong with a topic name.
pub(in crate::scenario) fn check_topic_name(scope: &Scope, text: &str, span: &Span) -> Option<TopicName> {
    match TopicName::new(text.to_owned()) {
        Ok(name) => Some(name),
        Err(TopicError::WildcardInName(_)) => {
            let help = format!("test a concrete topic such as {}", concrete(text));
            scope.error_help("L014", span, "a topic filter cannot be published to", help);
            None
        }
        Err(error) => {
            scope.error("L012", span, error.to_string());
            None
        }
    }
}

/// Reports what is wrong with a topic filter.
pub(in crate::scenario) fn check_topic_filter(scope: &Scope, text: &str, span: &Span) -> Option<TopicFilter> {
    match TopicFilter::new(text.to_owned()) {
        Ok(filter) => Some(filter),
        Err(error) => {
            scope.error("L013", span, error.to_string());
            None
        }
    }
}

/// A topic that a filter matches.
fn concrete(filter: &str) -> String {
    let levels = filter.split('/').map(|level| match level {
        "#" => "kitchen/temp",
        "+" => "kitchen",
        other => other,
    });
    levels.collect::<Vec<_>>().join("/").replace(['#', '+'], "")
}

/// What is sent as the body of a message.
pub(in crate::scenario) fn payload(scope: &Scope, node: &Node) -> Option<Payload> {
    if !matches!(node.kind, Kind::Map(_)) {
        return scope.template(node, "payload").map(Payload::Text);
    }
    let fields = Fields::of(scope, node, &[PAYLOAD_KEYS], "a payload")?;
    let Kind::Map(entries) = &node.kind else { return None };
    let [(form, value)] = entries.as_slice() else {
        scope.error("L023", &node.span, "a payload has one form: `hex`, `json`, `size` or `file`");
        return None;
    };
    fields.get(&form.text)?;
    match form.text.as_str() {
        "hex" => hex(scope, value, "hex").map(Payload::Bytes),
        "json" => Some(Payload::Bytes(json(scope, value)?.to_string().into())),
        "size" => {
            let size = usize::try_from(integer(scope, value, "size", 0, MAX_PAYLOAD)?).ok()?;
            Some(Payload::Bytes(crate::text::filler(size).into()))
        }
        "file" => Some(Payload::Bytes(Bytes::from(scope.file(value, "file")?.text.clone()))),
        _ => None,
    }
}

/// Bytes as hex digits.
pub(in crate::scenario) fn hex(scope: &Scope, node: &Node, what: &str) -> Option<Bytes> {
    let bytes = parse_hex(&scope.text(node, what)?);
    if bytes.is_none() {
        scope.wrong(node, what, "pairs of hex digits such as `00 ff`");
    }
    bytes.map(Bytes::from)
}

/// A YAML value as JSON.
pub(in crate::scenario) fn json(scope: &Scope, node: &Node) -> Option<serde_json::Value> {
    use serde_json::Value;
    Some(match &node.kind {
        Kind::Null(_) => Value::Null,
        Kind::Bool(value) => Value::Bool(*value),
        Kind::Number(text) => serde_json::from_str(text)
            .ok()
            .or_else(|| parse_integer(text).map(Value::from))
            .or_else(|| text.parse::<f64>().ok().map(Value::from))
            .unwrap_or_else(|| Value::String(text.clone())),
        Kind::String(_) => Value::String(scope.text(node, "json")?),
        Kind::Seq(items) => items.iter().map(|item| json(scope, item)).collect::<Option<_>>()?,
        Kind::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| Some((key.text.clone(), json(scope, value)?)));
            Value::Object(entries.collect::<Option<_>>()?)
        }
    })
}

/// A reason code: `0x87` or `135`.
pub(in crate::scenario) fn reason(scope: &Scope, node: &Node, what: &str) -> Option<ReasonCode> {
    let value = integer(scope, node, what, 0, 0xFF)?;
    u8::try_from(value).ok().map(ReasonCode)
}

/// One or more reason codes.
pub(in crate::scenario) fn reasons(scope: &Scope, node: &Node, what: &str) -> Option<Vec<ReasonCode>> {
    one_or_many(node).into_iter().map(|item| reason(scope, item, what)).collect()
}
