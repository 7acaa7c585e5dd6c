//! Which rows of which tables passed, for the PASSED column of a lab sheet. Writes nothing.

use std::collections::BTreeMap;

use crate::record::{Event, EventKind, RowMark, Verdict};

/// Marks of all rows that ran, by file and scenario.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    tables: BTreeMap<(String, String), BTreeMap<usize, RowMark>>,
}

impl Marks {
    /// Takes the next event.
    pub fn event(&mut self, event: &Event) {
        let EventKind::CaseFinished { outcome } = &event.kind else { return };
        let id = &outcome.case.id;
        let Some(row) = id.row else { return };
        let mark = match outcome.verdict {
            Verdict::Passed => RowMark::Yes,
            Verdict::Failed | Verdict::Known => RowMark::No,
            Verdict::Errored | Verdict::Skipped => RowMark::Unknown,
        };
        self.tables
            .entry((id.file.clone(), id.scenario.clone()))
            .or_default()
            .entry(row)
            .and_modify(|before| *before = worse(*before, mark))
            .or_insert(mark);
    }

    /// The marks of a table's rows; a row that ran in several variants has one.
    pub fn rows(&self, file: &str, scenario: &str) -> Option<&BTreeMap<usize, RowMark>> {
        self.tables.get(&(file.to_owned(), scenario.to_owned()))
    }
}

/// One variant that fails is a no; one that could not be told spoils a yes.
fn worse(a: RowMark, b: RowMark) -> RowMark {
    match (a, b) {
        (RowMark::No, _) | (_, RowMark::No) => RowMark::No,
        (RowMark::Unknown, _) | (_, RowMark::Unknown) => RowMark::Unknown,
        (RowMark::Yes, RowMark::Yes) => RowMark::Yes,
    }
}
