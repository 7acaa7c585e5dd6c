//! Runs an ACL table: one connection a user, a witness and a control, all rows pipelined.
//!
//! The truth of a row is delivery, not the acknowledgement; attribution is by payload.

use std::collections::BTreeSet;

use super::RunOptions;
use super::context::Context;
use super::execute::case_id;
use super::outcome::{Trouble, place};
use super::verdict::Found;
use crate::record::{CaseId, CaseInfo};
use crate::scenario::table::{Action, Expected, Row, Table};
use crate::scenario::{Body, Case};

/// Numbers of the rows of this case to run; empty: all.
pub fn selected(case: &Case, options: &RunOptions) -> BTreeSet<usize> {
    let is_mine =
        |(file, scenario, _): &&(String, String, usize)| *file == case.file && *scenario == case.scenario;
    options.rows.iter().filter(is_mine).map(|(_, _, row)| *row).collect()
}

/// The rows to run.
pub fn selected_rows<'t>(table: &'t Table, rows: &'t BTreeSet<usize>) -> impl Iterator<Item = &'t Row> {
    table.rows.iter().filter(move |row| rows.is_empty() || rows.contains(&row.number))
}

/// First levels like `$lab` of the topics of a table, which `#` does not cover.
pub fn dollar_roots(case: &Case) -> Vec<String> {
    let Body::Table(table) = &case.body else { return Vec::new() };
    let roots = table.rows.iter().filter_map(|row| {
        let root = row.topic.split('/').next()?;
        (root.starts_with('$') && root != "$SYS" && root != "$share" && root.len() > 1)
            .then(|| root.to_owned())
    });
    roots.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What reports know of a row before it runs.
pub fn row_info(case: &Case, table: &Table, row: &Row) -> CaseInfo {
    let who = row.user.as_deref().unwrap_or("an anonymous client");
    let what: Vec<_> = row
        .checks
        .iter()
        .map(|check| {
            let verb = match check.action {
                Action::Publish => "publishes",
                Action::Subscribe => "subscribes to",
            };
            let expected = match check.expected {
                Expected::Allow => "allow",
                _ => "deny",
            };
            format!("{verb} {} ({expected})", row.topic)
        })
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "tables have fewer than 2^52 rows")]
    let share = case.points.map(|points| points / table.rows.len() as f64);
    CaseInfo {
        id: CaseId { row: Some(row.number), ..case_id(case) },
        title: format!("{who} {}", what.join(" and ")),
        spec: case.spec.clone(),
        points: row.points.or(share),
        place: Some(place(&row.topic_span)),
    }
}

/// Runs the rows.
pub async fn run(context: &Context<'_>, table: &Table, rows: &BTreeSet<usize>) -> Vec<Found> {
    let _ = table;
    Found::all(context.case, rows, &Trouble::Skipped("tables cannot be run yet".into()))
}
