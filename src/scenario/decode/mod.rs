//! YAML nodes to cases: which keys there are, what their values mean, and every error at once.
//!
//! Nothing here knows YAML's syntax (`node`) or the meaning of a step (`step`).

pub mod broker;
pub mod client;
pub mod file;
pub mod matchers;
pub mod matrix;
pub mod peer;
pub(in crate::scenario) mod properties;
pub mod scenario;
pub mod values;

use super::node::{Key, Kind, Node};

/// The file's map with the scenario's entries added or in their place; below `levels` maps an
/// entry takes the other's place whole.
fn merge(file: Option<&Node>, scenario: Option<&Node>, levels: usize) -> Option<Node> {
    let (file, scenario) = match (file, scenario) {
        (Some(file), Some(scenario)) => (file, scenario),
        (one, other) => return other.or(one).cloned(),
    };
    let (Some(mut entries), Some(over)) = (entries_of(file), entries_of(scenario)) else {
        return Some(scenario.clone());
    };
    for (key, value) in &over {
        match entries.iter_mut().find(|(known, _)| known.text == key.text) {
            Some(entry) if levels > 1 => {
                let merged = merge(Some(&entry.1), Some(value), levels - 1);
                *entry = (key.clone(), merged.unwrap_or_else(|| value.clone()));
            }
            Some(entry) => *entry = (key.clone(), value.clone()),
            None => entries.push((key.clone(), value.clone())),
        }
    }
    Some(Node { kind: Kind::Map(entries), ..scenario.clone() })
}

/// The entries of a map; of a list of names, those names with nothing behind them.
fn entries_of(node: &Node) -> Option<Vec<(Key, Node)>> {
    match &node.kind {
        Kind::Map(entries) => Some(entries.clone()),
        Kind::Null(_) => Some(Vec::new()),
        Kind::Seq(items) => items
            .iter()
            .map(|item| {
                let key = Key { text: item.lexeme()?.to_owned(), span: item.span.clone() };
                Some((key, Node { kind: Kind::Null(String::new()), ..item.clone() }))
            })
            .collect(),
        _ => None,
    }
}
