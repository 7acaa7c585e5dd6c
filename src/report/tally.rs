//! Counts and points of a run. The exit code and the last line of the console read them.

use std::collections::BTreeMap;

use crate::record::{Event, EventKind, Outcome, Verdict};

/// How a run stands.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    counts: BTreeMap<Verdict, usize>,
    /// What was tested.
    pub target: String,
    /// Cases that should run.
    pub cases: usize,
    /// Wall-clock seconds; of a run cut short, until its last event.
    pub seconds: f64,
    finished: Option<bool>,
    points: BTreeMap<(String, String, Option<usize>), Points>,
}

/// Points of a case over all its variants.
#[derive(Debug, Clone, Copy)]
struct Points {
    worth: f64,
    earned: bool,
    told: bool,
}

impl Tally {
    /// Takes the next event.
    pub fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunStarted { target, cases, .. } => {
                self.target.clone_from(target);
                self.cases = *cases;
            }
            EventKind::CaseFinished { outcome } => {
                *self.counts.entry(outcome.verdict).or_default() += 1;
                self.score(outcome);
            }
            EventKind::RunFinished { seconds, complete } => {
                self.seconds = *seconds;
                self.finished = Some(*complete);
                return;
            }
            _ => {}
        }
        self.seconds = self.seconds.max(event.at);
    }

    fn score(&mut self, outcome: &Outcome) {
        let Some(worth) = outcome.case.points else { return };
        let id = &outcome.case.id;
        let points = self.points.entry((id.file.clone(), id.scenario.clone(), id.row)).or_insert(Points {
            worth,
            earned: true,
            told: true,
        });
        points.earned &= outcome.verdict == Verdict::Passed;
        points.told &= matches!(outcome.verdict, Verdict::Passed | Verdict::Failed);
    }

    /// Cases that ended this way.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.counts.get(&verdict).copied().unwrap_or(0)
    }

    /// Cases that ended at all.
    pub fn ended(&self) -> usize {
        self.counts.values().sum()
    }

    /// False if the run was cut short.
    pub fn is_complete(&self) -> bool {
        self.finished == Some(true)
    }

    /// True if a case failed or errored.
    pub fn is_bad(&self) -> bool {
        self.counts.keys().any(|verdict| verdict.is_bad())
    }

    /// Points earned, points there are, and points that could not be told; `None` without points.
    /// A case earns its points once, and only if all its variants pass.
    pub fn points(&self) -> Option<(f64, f64, f64)> {
        if self.points.is_empty() {
            return None;
        }
        let sum = |keep: fn(&Points) -> bool| {
            let worths = self.points.values().filter(|points| keep(points)).map(|points| points.worth);
            // `sum` of nothing would be -0.
            worths.fold(0.0, |sum, worth| sum + worth)
        };
        Some((sum(|p| p.earned), sum(|_| true), sum(|p| !p.told)))
    }
}
