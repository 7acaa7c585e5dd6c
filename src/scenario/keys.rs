//! Keys of maps as closed sets: one row a key, which help, schema and did-you-mean are made from.
//!
//! Says which keys there are and what they are for; what a value means is `decode`'s business.

use super::node::{Key, Kind, Node};
use super::scope::{Scope, suggest};
use crate::diagnostic::Span;

/// One key of a map.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    /// As it is written.
    pub name: &'static str,
    /// One line for `mqttlab explain`.
    pub doc: &'static str,
    /// What may stand behind it.
    pub shape: Shape,
}

/// What may stand behind a key; for the JSON Schema and the reference.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Any text or number.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number within these bounds.
    Integer(u64, u64),
    /// Any number.
    Number,
    /// `250ms`, `1.5s`, `2m`; a bare number is seconds.
    Duration,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One or a list of these.
    OneOrMany(&'static Shape),
    /// A list of these.
    List(&'static Shape),
    /// A map from names to these.
    MapOf(&'static Shape),
    /// A map with these keys.
    Keys(&'static [KeySpec]),
    /// A payload to send.
    Payload,
    /// A test on a value.
    Matcher,
    /// Properties of MQTT 5.0 to send.
    Properties,
    /// Tests on properties of MQTT 5.0.
    PropertyMatchers,
    /// A list of steps.
    Steps,
    /// One of these.
    Either(&'static [Shape]),
    /// Not looked into here.
    Anything,
    /// Known, and not available in this version.
    Later,
}

/// A key row.
pub(super) const fn key(name: &'static str, shape: Shape, doc: &'static str) -> KeySpec {
    KeySpec { name, doc, shape }
}

/// The entries of a map whose keys were checked.
pub(super) struct Fields<'n> {
    entries: Vec<(&'n Key, &'n Node)>,
    /// The whole map.
    pub span: Span,
}

impl<'n> Fields<'n> {
    /// Reads a map; unknown keys and keys of later versions are reported. Nothing counts as a map
    /// without entries.
    pub fn of(scope: &Scope, node: &'n Node, keys: &[&[KeySpec]], what: &str) -> Option<Self> {
        match &node.kind {
            Kind::Null(_) => Some(Self { entries: Vec::new(), span: node.span.clone() }),
            Kind::Map(entries) => {
                let entries: Vec<_> = entries.iter().map(|(key, value)| (key, value)).collect();
                Some(Self::checked(scope, entries, node.span.clone(), keys, what))
            }
            _ => {
                scope.wrong(node, what, "a map of keys");
                None
            }
        }
    }

    /// A map without entries.
    pub fn none(span: Span) -> Self {
        Self { entries: Vec::new(), span }
    }

    /// Takes entries from wherever, with the same checks.
    pub fn checked(
        scope: &Scope,
        entries: Vec<(&'n Key, &'n Node)>,
        span: Span,
        keys: &[&[KeySpec]],
        what: &str,
    ) -> Self {
        let all = || keys.iter().flat_map(|keys| keys.iter());
        for (key, _) in &entries {
            let shown = crate::text::escape(&key.text);
            match all().find(|spec| spec.name == key.text) {
                Some(KeySpec { shape: Shape::Later, .. }) => later(scope, &key.text, &key.span),
                Some(_) => {}
                None => {
                    let names =
                        all().filter(|spec| !matches!(spec.shape, Shape::Later)).map(|spec| spec.name);
                    let help = suggest(&key.text, names, "this map has no keys");
                    scope.error_help("L004", &key.span, format!("{what} has no key `{shown}`"), help);
                }
            }
        }
        Self { entries, span }
    }

    /// The value of a key.
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|(_, node)| node)
    }

    /// Key and value.
    pub fn entry(&self, name: &str) -> Option<(&'n Key, &'n Node)> {
        self.entries.iter().find(|(key, _)| key.text == name).copied()
    }

    /// The value of a key that must be there.
    pub fn need(&self, scope: &Scope, name: &str, what: &str) -> Option<&'n Node> {
        let found = self.get(name);
        if found.is_none() {
            scope.error("L006", &self.span, format!("{what} needs the key `{name}`"));
        }
        found
    }
}

/// Reports a word of the language that this version does not know yet.
pub(super) fn later(scope: &Scope, word: &str, span: &Span) {
    scope.error("L007", span, format!("`{word}` is not available in this version of mqttlab"));
}
