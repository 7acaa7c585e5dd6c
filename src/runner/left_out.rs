//! Cases and rows that whoever runs them wants left out: told as skipped, with what is said of them. Which
//! those are is decided by whoever runs them.

use std::collections::BTreeSet;

use super::RunOptions;
use super::execute::case_id;
use super::outcome::Trouble;
use super::table;
use super::verdict::Found;
use crate::record::CaseId;
use crate::scenario::{Body, Case};

/// What there is to say of what is left out, and the rows that remain, as [`table::selected`] has them;
/// `None` where nothing is left to run.
pub fn part(case: &Case, options: &RunOptions) -> (Vec<Found>, Option<BTreeSet<usize>>) {
    let rows = table::selected(case, options);
    let whole = case_id(case);
    if let Some(reason) = options.left_out.get(&whole) {
        return (Found::all(case, &rows, &Trouble::LeftOut(reason.clone())), None);
    }
    let Body::Table(table) = &case.body else { return (Vec::new(), Some(rows)) };
    let mut left_out = Vec::new();
    let mut remain = BTreeSet::new();
    for row in table::selected_rows(table, &rows) {
        match options.left_out.get(&CaseId { row: Some(row.number), ..whole.clone() }) {
            Some(reason) => {
                let alone = BTreeSet::from([row.number]);
                left_out.extend(Found::all(case, &alone, &Trouble::LeftOut(reason.clone())));
            }
            None => {
                remain.insert(row.number);
            }
        }
    }
    match (left_out.is_empty(), remain.is_empty()) {
        (true, _) => (left_out, Some(rows)),
        (false, true) => (left_out, None),
        (false, false) => (left_out, Some(remain)),
    }
}
