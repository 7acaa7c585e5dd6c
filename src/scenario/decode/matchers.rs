//! Tests on values: a scalar means equal, `/…/` is a regular expression, a map is all of its tests.

use regex::Regex;

use super::values;
use crate::diagnostic::Span;
use crate::mqtt::TopicFilter;
use crate::scenario::keys::{Fields, KeySpec, Shape, key};
use crate::scenario::matcher::Matcher;
use crate::scenario::node::{Kind, Node};
use crate::scenario::scope::Scope;

/// The tests that a map may hold.
pub const MATCHER_KEYS: &[KeySpec] = &[
    key("equals", Shape::Text, "exactly this text"),
    key("contains", Shape::Text, "this text somewhere within"),
    key("regex", Shape::Text, "this regular expression, the same as `/…/`"),
    key("json", Shape::Anything, "the same JSON value, whatever its spelling"),
    key("hex", Shape::Text, "exactly these bytes"),
    key("length", Shape::Integer(0, 268_435_455), "so many bytes"),
    key("gte", Shape::Number, "a number, this or more"),
    key("lte", Shape::Number, "a number, this or less"),
    key("filter", Shape::Text, "a topic that this filter matches"),
    key("capture", Shape::Text, "any text; later steps know it as `${captured.NAME}`"),
];

/// A test on a payload or a property.
pub(in crate::scenario) fn matcher(scope: &Scope, node: &Node, what: &str) -> Option<Matcher> {
    match &node.kind {
        Kind::Map(_) => tests(scope, node, what),
        Kind::Seq(_) => {
            scope.wrong(node, what, "a value, `/…/`, `any` or a map of tests");
            None
        }
        Kind::String(text) if text == "any" && !quoted(node) => Some(Matcher::Any),
        Kind::String(text) => match between_slashes(text) {
            Some(pattern) => regex(scope, pattern, &node.span),
            None => scope.template(node, what).map(Matcher::Equals),
        },
        _ => scope.template(node, what).map(Matcher::Equals),
    }
}

/// A test on a topic: `any`, `/…/`, a filter with wildcards, or the topic itself.
pub(in crate::scenario) fn topic(scope: &Scope, node: &Node, what: &str) -> Option<Matcher> {
    if !matches!(node.kind, Kind::String(_) | Kind::Number(_)) {
        if node.is_null() {
            scope.wrong(node, what, "a topic");
            return None;
        }
        return matcher(scope, node, what);
    }
    match node.lexeme() {
        Some("any") if !quoted(node) => return Some(Matcher::Any),
        // `/a/` is a topic that begins and ends with an empty level; a regular expression says more.
        Some(text) if between_slashes(text).is_some_and(pattern_like) => return matcher(scope, node, what),
        _ => {}
    }
    let template = scope.template(node, what)?;
    match template.as_literal() {
        Some(text) if text.contains(['+', '#']) => {
            values::check_topic_filter(scope, text, &node.span).map(Matcher::Filter)
        }
        Some(text) => {
            values::check_topic_name(scope, text, &node.span)?;
            Some(Matcher::Equals(template))
        }
        None => Some(Matcher::Equals(template)),
    }
}

fn quoted(node: &Node) -> bool {
    node.span.text().starts_with(['"', '\''])
}

/// True where a text between slashes can only be meant as a regular expression.
fn pattern_like(text: &str) -> bool {
    text.contains(['\\', '^', '$', '*', '.', '(', '[', '{', '|', '?'])
}

fn between_slashes(text: &str) -> Option<&str> {
    text.strip_prefix('/')?.strip_suffix('/').filter(|inner| !inner.is_empty())
}

fn regex(scope: &Scope, pattern: &str, span: &Span) -> Option<Matcher> {
    match Regex::new(pattern) {
        Ok(regex) => Some(Matcher::Regex(regex)),
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            scope.error("L005", span, format!("this is not a regular expression: {why}"));
            None
        }
    }
}

fn tests(scope: &Scope, node: &Node, what: &str) -> Option<Matcher> {
    let fields = Fields::of(scope, node, &[MATCHER_KEYS], "a test")?;
    let mut all = Vec::new();
    for spec in MATCHER_KEYS {
        let Some(value) = fields.get(spec.name) else { continue };
        all.push(match spec.name {
            "equals" => Matcher::Equals(scope.template(value, what)?),
            "contains" => Matcher::Contains(scope.template(value, what)?),
            "regex" => regex(scope, &scope.text(value, "regex")?, &value.span)?,
            "json" => Matcher::Json(values::json(scope, value)?),
            "hex" => Matcher::Bytes(values::hex(scope, value, "hex")?),
            "length" => {
                Matcher::Length(usize::try_from(values::count(scope, value, "length", 0, 268_435_455)?).ok()?)
            }
            "gte" => Matcher::Number { gte: Some(values::number(scope, value, "gte")?), lte: None },
            "lte" => Matcher::Number { gte: None, lte: Some(values::number(scope, value, "lte")?) },
            "capture" => {
                let name = scope.text(value, "capture")?;
                scope.captures.borrow_mut().insert(name.clone());
                Matcher::Capture(name)
            }
            _ => Matcher::Filter(filter(scope, value)?),
        });
    }
    if all.is_empty() {
        scope.wrong(node, what, "a map with at least one test");
        return None;
    }
    Some(if all.len() == 1 { all.remove(0) } else { Matcher::All(all) })
}

fn filter(scope: &Scope, node: &Node) -> Option<TopicFilter> {
    values::check_topic_filter(scope, &scope.text(node, "filter")?, &node.span)
}
