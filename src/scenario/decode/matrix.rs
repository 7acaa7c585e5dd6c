//! `matrix:`: a scenario runs once for each combination of its values.

use crate::mqtt::ProtocolVersion;
use crate::scenario::keys::{KeySpec, Shape, key};
use crate::scenario::node::{Kind, Node};
use crate::scenario::scope::{Combination, Scope};

use super::values;

/// More is a mistake.
const MAX_COMBINATIONS: usize = 256;

/// The one variable that means something by itself; others are what `${matrix.name}` gives.
pub const MATRIX_KEYS: &[KeySpec] = &[key(
    "protocol",
    Shape::OneOrMany(&Shape::Word(&["3.1", "3.1.1", "5"])),
    "protocol revisions of all clients that do not say their own",
)];

/// All combinations, the last variable changing fastest. Without a matrix: one, under 3.1.1.
pub(in crate::scenario) fn combinations(scope: &Scope, node: Option<&Node>) -> Vec<Combination> {
    let mut all = vec![Combination::default()];
    let Some(node) = node else { return all };
    let Kind::Map(entries) = &node.kind else {
        scope.wrong(node, "matrix", "a map from variables to lists of values");
        return all;
    };
    for (variable, values) in entries {
        let items = values::one_or_many(values);
        let mut chosen: Vec<(String, Option<ProtocolVersion>)> = Vec::new();
        for item in &items {
            let Some(text) = scope.text(item, &variable.text) else { continue };
            let protocol = if variable.text == "protocol" { values::protocol(scope, item) } else { None };
            if chosen.iter().any(|(known, _)| *known == text) {
                scope.error("L011", &item.span, format!("`{text}` is in this matrix twice"));
            }
            chosen.push((text, protocol));
        }
        if chosen.is_empty() {
            scope.wrong(values, &variable.text, "at least one value");
            continue;
        }
        if all.len() * chosen.len() > MAX_COMBINATIONS {
            let message = format!("this matrix has more than {MAX_COMBINATIONS} combinations");
            scope.error("L005", &node.span, message);
            return all;
        }
        all = all
            .iter()
            .flat_map(|base| chosen.iter().map(|one| extend(base, &variable.text, one, &chosen)))
            .collect();
    }
    all
}

fn extend(
    base: &Combination,
    variable: &str,
    (text, protocol): &(String, Option<ProtocolVersion>),
    chosen: &[(String, Option<ProtocolVersion>)],
) -> Combination {
    let mut next = base.clone();
    next.values.insert(variable.to_owned(), text.clone());
    let mut part = format!("{variable}={text}");
    if let Some(protocol) = protocol {
        next.protocol = *protocol;
        part = format!("v{protocol}");
    }
    if chosen.len() > 1 {
        if !next.name.is_empty() {
            next.name.push(',');
        }
        next.name.push_str(&part);
    }
    next
}
