//! An ACL table: rows of topic, user and what is expected.

use crate::diagnostic::Span;
use crate::mqtt::{QoS, ReasonCode};

/// A checked table.
#[derive(Debug, Clone)]
pub struct Table {
    /// In the order of the sheet.
    pub rows: Vec<Row>,
    /// Which of the two readings was taken (SCENARIOS.md, "Tables").
    pub reading: Reading,
}

/// How Publish, Subscribe and Expectation are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Expectation says allow or deny; Publish and Subscribe are marks.
    Marks,
    /// Publish and Subscribe say themselves what is expected; Expectation is a note.
    Cells,
}

/// One row. A row of the second reading that tests both actions has two checks.
#[derive(Debug, Clone)]
pub struct Row {
    /// From 1, as printed everywhere.
    pub number: usize,
    /// Topic, or filter in a subscribe row.
    pub topic: String,
    /// Account; `None`: anonymous.
    pub user: Option<String>,
    /// Client identifier, for `%c` patterns.
    pub client_id: Option<String>,
    /// What it tests; at least one.
    pub checks: Vec<RowCheck>,
    /// QoS of the publish or the subscription.
    pub qos: QoS,
    /// The message is retained.
    pub retain: bool,
    /// Points of this row.
    pub points: Option<f64>,
    /// The whole row.
    pub span: Span,
    /// The topic cell, for the caret.
    pub topic_span: Span,
    /// The PASSED cell between its bars, for `--fill`.
    pub passed_cell: Option<Span>,
}

/// One question of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowCheck {
    /// Publish or subscribe.
    pub action: Action,
    /// What is expected.
    pub expected: Expected,
}

/// What a row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the two columns of the table")]
pub enum Action {
    Publish,
    Subscribe,
}

/// What a row expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It arrives.
    Allow,
    /// Nobody receives it, by whatever mechanism.
    Deny,
    /// Nobody receives it, and this code is in the acknowledgement.
    DenyWithCode(ReasonCode),
    /// Nobody receives it, and the connection is closed.
    DenyByDisconnect,
}

/// Reads a table that a scenario holds or names.
pub(super) fn from_node(scope: &super::scope::Scope, node: &super::node::Node) -> Option<Table> {
    scope.error("L007", &node.span, "tables are not available in this version of mqttlab");
    None
}

/// Gives each row its points.
pub(super) fn share_points(_: &super::scope::Scope, _: &mut Table, _: Option<f64>, _: &Span) {}
