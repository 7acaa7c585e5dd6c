//! Whether a table's PASSED cells can be filled. Writing them is the command line's business.

use super::Table;
use crate::diagnostic::Diagnostic;

/// What stands in the way of filling a table: no column, or a row without the cell.
pub fn unfillable(table: &Table) -> Vec<Diagnostic> {
    let missing: Vec<_> = table.rows.iter().filter(|row| row.passed_cell.is_none()).collect();
    let Some(first) = missing.first() else { return Vec::new() };
    if missing.len() == table.rows.len() {
        let message = "this table has no column PASSED that could be filled";
        let help = "add `| PASSED |` to its header, `|---|` to the line below and an empty cell to each row";
        return vec![Diagnostic::error("T011", first.span.clone(), message).with_help(help)];
    }
    let finding = |row: &&super::Row| {
        Diagnostic::error("T011", row.span.clone(), "this row has no PASSED cell to fill")
            .at(format!("acl_table, row {}", row.number))
            .with_help("add an empty cell at its end")
    };
    missing.iter().map(finding).collect()
}
