//! A run held against a baseline: the same event log, in which known deviations are *Known*, and
//! what is new says so. Only what is new still fails.

use std::fmt::Write as _;

use super::baseline::{Baseline, Before, alike, short};
use super::{Event, EventKind, Explanation, Outcome, Verdict};
use crate::text::plural;

/// A filter over the events of a run, or of several one after the other.
#[derive(Debug)]
pub struct Against {
    baseline: Baseline,
    /// The file, for notes.
    name: String,
    counts: Counts,
}

/// How a run stands to its baseline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Failed then and now.
    pub same: usize,
    /// Of those, how many fail in another way than when they were blessed.
    pub otherwise: usize,
    /// Fails, and did not, or was not there.
    pub new_failures: usize,
    /// Failed then, passes now.
    pub fixed: usize,
    /// Was not there, and does not fail.
    pub new_cases: usize,
    /// Failed then; now it cannot be told.
    pub untold: usize,
    /// Is not played to this broker.
    pub left_out: usize,
}

impl Against {
    /// A filter in the making; `name` is the baseline's file.
    pub fn new(baseline: Baseline, name: impl Into<String>) -> Self {
        Self { baseline, name: name.into(), counts: Counts::default() }
    }

    /// The event as it is told on, after what there is to say before it.
    pub fn pass(&mut self, mut event: Event) -> Vec<Event> {
        if let EventKind::RunStarted { .. } = event.kind {
            self.counts = Counts::default();
        }
        let note = match &mut event.kind {
            EventKind::RunStarted { target, .. } if *target != self.baseline.broker => {
                let note =
                    format!("{} is a baseline of {}, this is {target}", self.name, self.baseline.broker);
                return vec![event.clone(), Event { at: event.at, kind: EventKind::Note { text: note } }];
            }
            EventKind::CaseFinished { outcome } => {
                self.judge(outcome);
                None
            }
            EventKind::RunFinished { .. } => Some(self.summary()),
            _ => None,
        };
        let note = note.map(|text| Event { at: event.at, kind: EventKind::Note { text } });
        note.into_iter().chain([event]).collect()
    }

    /// What the baseline says.
    pub fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    /// True for a run on the broker of this baseline, whatever its version: `mosquitto 2.1.2` is held
    /// against what is known of `mosquitto 2.0.11`, and told so.
    pub fn is_of(&self, target: &str) -> bool {
        self.baseline.is_of(target)
    }

    /// The broker that the baseline is of, with its version.
    pub fn broker(&self) -> &str {
        &self.baseline.broker
    }

    /// The baseline's file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the run stands so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn judge(&mut self, outcome: &mut Outcome) {
        let counts = &mut self.counts;
        counts.left_out += usize::from(outcome.left_out);
        match (self.baseline.before(&outcome.case.id), outcome.verdict) {
            (Before::Failed { reason, actual }, Verdict::Failed) => {
                counts.same += 1;
                outcome.verdict = Verdict::Known;
                let why = outcome.why.get_or_insert_with(Explanation::default);
                if !alike(actual, &short(&why.actual)) {
                    counts.otherwise += 1;
                    outcome.notes.push(format!("it fails otherwise than when it was blessed: then {actual}"));
                }
                let reason = if reason.is_empty() { "blessed without a reason" } else { reason };
                why.actual = format!("{reason} ({})", why.actual);
            }
            (Before::Failed { reason, actual }, Verdict::Passed) => {
                counts.fixed += 1;
                let reason = if reason.is_empty() { actual } else { reason };
                outcome.notes.push(format!("fixed: the baseline knows it to fail: {reason}"));
            }
            (Before::Failed { .. }, Verdict::Errored) => counts.untold += 1,
            (Before::Fine, Verdict::Failed) => {
                counts.new_failures += 1;
                outcome.notes.push("new: it did not fail when the baseline was made".into());
            }
            (Before::Absent, Verdict::Failed) => {
                counts.new_failures += 1;
                outcome.notes.push("new: the baseline does not have this case".into());
            }
            (Before::Absent, Verdict::Passed) => counts.new_cases += 1,
            _ => {}
        }
    }

    /// `mosquitto.json: 12 the same, 1 new failure, 2 fixed, 3 new cases`
    fn summary(&self) -> String {
        let Counts { same, otherwise, new_failures, fixed, new_cases, untold, left_out } = self.counts;
        let changed =
            if otherwise > 0 { format!(" ({otherwise} otherwise than blessed)") } else { String::new() };
        let mut text = format!(
            "{}: {same} known{changed}, {}, {fixed} fixed, {}",
            self.name,
            plural(new_failures, "new failure"),
            plural(new_cases, "new case"),
        );
        if untold > 0 {
            let _ = write!(text, ", {untold} known that could not be told");
        }
        if left_out > 0 {
            let _ = write!(text, ", {left_out} left out");
        }
        text
    }
}
