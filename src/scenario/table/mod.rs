//! An ACL table: rows of topic, user and what is expected.
//!
//! `grid` finds cells and their places, `read` says what they mean, `sheet` finds tables in lab
//! sheets. How a row is tested is the runner's business.

pub(super) mod grid;
mod fill;
mod read;
pub(super) mod sheet;

pub use fill::unfillable;
pub use read::COLUMNS;
pub(super) use read::share_points;

use grid::Grid;

use super::node::{Kind, Node};
use super::scope::Scope;
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
pub(super) fn from_node(scope: &Scope, node: &Node) -> Option<Table> {
    let grid = match &node.kind {
        Kind::Seq(_) => Grid::of_list(scope, node)?,
        Kind::String(text) if node.is_block() || text.contains('\n') => {
            let Some(lines) = node.lines() else {
                scope.error_help(
                    "T001",
                    &node.span,
                    "a table stands in a literal block",
                    "write `acl_table: |`",
                );
                return None;
            };
            Grid::of_lines(scope, &node.span.source, &lines)?
        }
        Kind::String(_) => from_file(scope, node)?,
        _ => {
            scope.wrong(node, "acl_table", "a table as a block (`|`) or a list, or the path of one");
            return None;
        }
    };
    read::table(scope, &grid)
}

/// A table in a file of its own: Markdown with one table, CSV, or a YAML list.
fn from_file(scope: &Scope, node: &Node) -> Option<Grid> {
    let source = scope.file(node, "acl_table")?;
    match sheet::Format::of(&source.name) {
        sheet::Format::Yaml => {
            let list = scope.inputs.parse(&source, 0..source.text.len())?;
            if !matches!(list.kind, Kind::Seq(_)) {
                scope.wrong(&list, "acl_table", "a list of rows, each a map from columns to cells");
            }
            Grid::of_list(scope, &list)
        }
        sheet::Format::Csv => Grid::of_lines(scope, &source, &sheet::lines(&source)),
        sheet::Format::Markdown => {
            let mut tables = sheet::Sheet::of(&source).tables;
            if tables.len() != 1 {
                let message = format!(
                    "{} has {}, not one",
                    source.name,
                    crate::text::plural(tables.len(), "ACL table")
                );
                scope.error_help(
                    "T012",
                    &node.span,
                    message,
                    "an ACL table has a column Topic, and Publish or Subscribe",
                );
                return None;
            }
            Grid::of_lines(scope, &source, &tables.remove(0).lines)
        }
    }
}
