//! Several runs of the same cases side by side: which broker did what, where they part, and whether
//! that breaks a rule or is a free choice. A model for reports; prints nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{CaseId, CaseInfo, Event, EventKind, Level, Outcome, Verdict, WireEvent};
use crate::text::cut_line;

/// Packets of one case that are kept; of a longer case the first.
const LINES_KEPT: usize = 400;
/// Characters of a packet that are kept.
const LINE_KEPT: usize = 200;
/// Bytes of packets that are kept of all cases; of those after them only how many there were.
const BYTES_KEPT: usize = 32 << 20;

/// All runs of an event log.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// One a run, in order.
    pub runs: Vec<Run>,
    /// One a scenario, or a row of its table, or another of its combinations; the versions of the
    /// protocol are beside each other in it. In the order of the files.
    pub rows: BTreeMap<RowKey, Row>,
    wires: BTreeMap<CaseId, Wires>,
    /// Bytes of the lines in `rows`.
    kept: usize,
}

/// The name of a run beside those before it: the same broker again is `bundled (2)`.
pub fn unique(target: &str, before: &[String]) -> String {
    let same = |name: &&String| *name == target || name.starts_with(&format!("{target} ("));
    match before.iter().filter(same).count() {
        0 => target.to_owned(),
        before => format!("{target} ({})", before + 1),
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    /// What was tested; the same broker again is `bundled (2)`.
    pub target: String,
    /// Cases that should run.
    pub cases: usize,
    /// Cases by how they ended.
    pub counts: BTreeMap<Standing, usize>,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// False if it was cut short.
    pub complete: bool,
}

/// A case without its version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// Scenario file.
    pub file: String,
    /// Its line there.
    pub line: usize,
    /// `id` of the scenario.
    pub scenario: String,
    /// Row of a table.
    pub row: Option<usize>,
    /// The combination, without the version.
    pub variant: String,
}

/// What the brokers made of it.
#[derive(Debug, Clone)]
pub struct Row {
    /// One sentence of what must hold.
    pub title: String,
    /// How binding it is.
    pub level: Level,
    /// By version of the protocol, and by run.
    pub versions: BTreeMap<String, Vec<Option<Cell>>>,
}

/// What one broker made of one case.
#[derive(Debug, Clone)]
pub struct Cell {
    /// How it ended.
    pub outcome: Outcome,
    /// The packets, as far as they are kept; those of a table are not told apart by rows.
    pub lines: Vec<String>,
    /// Packets that are not kept.
    pub dropped: usize,
}

/// How a case stands, in the terms of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// The rule holds.
    Passed,
    /// A SHOULD or MAY of the standard is not met: a free choice.
    Choice,
    /// A rule is broken.
    Failed,
    /// A rule is broken, as was known.
    Known,
    /// It could not be told.
    Errored,
    /// The broker lacks what the case needs.
    Skipped,
}

/// How the brokers of a row part, in one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// As far as can be told they do the same.
    None,
    /// They choose differently, and may: a SHOULD, a MAY, or the way in which something is denied.
    Choice,
    /// It cannot be told of one of them.
    Untold,
    /// One breaks a rule that another keeps.
    Violation,
}

#[derive(Debug, Clone, Default)]
struct Wires {
    lines: Vec<String>,
    dropped: usize,
}

impl Standing {
    /// Of an outcome.
    pub fn of(outcome: &Outcome) -> Self {
        match outcome.verdict {
            Verdict::Passed if outcome.unmet => Self::Choice,
            Verdict::Passed => Self::Passed,
            Verdict::Failed => Self::Failed,
            Verdict::Known => Self::Known,
            Verdict::Errored => Self::Errored,
            Verdict::Skipped => Self::Skipped,
        }
    }

    /// True where the broker breaks a rule.
    pub const fn breaks(self) -> bool {
        matches!(self, Self::Failed | Self::Known)
    }
}

impl Cell {
    /// How it stands.
    pub fn standing(&self) -> Standing {
        Standing::of(&self.outcome)
    }
}

impl Row {
    /// How the brokers part in a version.
    pub fn difference(&self, version: &str) -> Difference {
        let cells = || self.versions.get(version).into_iter().flatten().flatten();
        let told: Vec<&Cell> = cells()
            .filter(|cell| !matches!(cell.standing(), Standing::Errored | Standing::Skipped))
            .collect();
        let breaking = told.iter().filter(|cell| cell.standing().breaks()).count();
        if breaking > 0 && breaking < told.len() {
            return Difference::Violation;
        }
        if cells().any(|cell| cell.standing() == Standing::Errored) {
            return Difference::Untold;
        }
        let choices: BTreeSet<_> = told
            .iter()
            .filter(|cell| !cell.standing().breaks())
            .map(|cell| (cell.standing(), cell.outcome.mechanism.as_deref()))
            .collect();
        if choices.len() > 1 { Difference::Choice } else { Difference::None }
    }

    /// The greatest difference of all versions.
    pub fn greatest_difference(&self) -> Difference {
        self.versions.keys().map(|version| self.difference(version)).max().unwrap_or(Difference::None)
    }

    /// The first run whose broker keeps the rule in this version.
    pub fn keeper(&self, version: &str) -> Option<(usize, &Cell)> {
        let keeps = |cell: &Cell| matches!(cell.standing(), Standing::Passed | Standing::Choice);
        let cells = self.versions.get(version)?.iter().enumerate();
        cells.filter_map(|(run, cell)| Some((run, cell.as_ref()?))).find(|(_, cell)| keeps(cell))
    }
}

impl Comparison {
    /// Takes the next event of the log.
    pub fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunStarted { target, cases, .. } => self.started(target, *cases),
            EventKind::CaseStarted { case, .. } => {
                self.wires.insert(case.id.clone(), Wires::default());
            }
            EventKind::Wire { case, wire } => self.wire(case, wire),
            EventKind::CaseFinished { outcome } => self.finished(outcome),
            EventKind::RunFinished { seconds, complete } => {
                self.wires.clear();
                if let Some(run) = self.runs.last_mut() {
                    (run.seconds, run.complete) = (*seconds, *complete);
                }
            }
            EventKind::Tls { .. }
            | EventKind::BrokerLog { .. }
            | EventKind::Note { .. }
            | EventKind::Fence { .. }
            | EventKind::Checked { .. } => {}
        }
    }

    /// Versions of the protocol that there are.
    pub fn versions(&self) -> BTreeSet<&str> {
        self.rows.values().flat_map(|row| row.versions.keys().map(String::as_str)).collect()
    }

    /// Rows and versions by how the brokers part in them.
    pub fn count(&self, difference: Difference) -> usize {
        let of_row =
            |row: &Row| row.versions.keys().filter(|version| row.difference(version) == difference).count();
        self.rows.values().map(of_row).sum()
    }

    fn started(&mut self, target: &str, cases: usize) {
        let names: Vec<String> = self.runs.iter().map(|run| run.target.clone()).collect();
        let target = unique(target, &names);
        let counts = BTreeMap::new();
        self.runs.push(Run { target, cases, counts, seconds: 0.0, complete: false });
        self.wires.clear();
    }

    fn wire(&mut self, case: &CaseId, wire: &WireEvent) {
        let kept = self.wires.entry(case.clone()).or_default();
        if kept.lines.len() < LINES_KEPT {
            kept.lines.push(cut_line(&wire.print(), LINE_KEPT).into_owned());
        } else {
            kept.dropped += 1;
        }
    }

    fn finished(&mut self, outcome: &Outcome) {
        let Some(index) = self.runs.len().checked_sub(1) else { return };
        *self.runs[index].counts.entry(Standing::of(outcome)).or_default() += 1;
        let mut whole = outcome.case.id.clone();
        let wires = match whole.row.take() {
            None => self.wires.remove(&whole).unwrap_or_default(),
            Some(_) => Wires::default(),
        };
        let (key, version) = place(&outcome.case);
        let row = self.rows.entry(key).or_insert_with(|| Row {
            title: outcome.case.title.clone(),
            level: outcome.case.level,
            versions: BTreeMap::new(),
        });
        let mut cell = Cell { outcome: outcome.clone(), lines: wires.lines, dropped: wires.dropped };
        // Shown are packets of brokers that break a rule, beside those of the first that keeps it.
        let is_shown = match cell.standing() {
            standing if standing.breaks() => true,
            Standing::Passed | Standing::Choice => row.keeper(&version).is_none(),
            _ => false,
        };
        let size: usize = cell.lines.iter().map(String::len).sum();
        if is_shown && self.kept + size <= BYTES_KEPT {
            self.kept += size;
        } else {
            cell.dropped += cell.lines.len();
            cell.lines = Vec::new();
        }
        let cells = row.versions.entry(version).or_default();
        cells.resize(cells.len().max(index + 1), None);
        cells[index] = Some(cell);
    }
}

/// Row and version of a case.
fn place(case: &CaseInfo) -> (RowKey, String) {
    let id = &case.id;
    let version = format!("v{}", case.protocol);
    let variant: Vec<&str> = id.variant.split(',').filter(|part| *part != version).collect();
    let key = RowKey {
        file: id.file.clone(),
        line: case.place.as_ref().map_or(0, |place| place.line),
        scenario: id.scenario.clone(),
        row: id.row,
        variant: variant.join(","),
    };
    (key, case.protocol.clone())
}
