//! Counts and points of a run, or of all runs of a log. The exit code and the last line of the console
//! read them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::record::{Event, EventKind, Outcome, Verdict};
use crate::text::print_duration;

/// How a run stands, or several one after the other: each must have come to its end.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    counts: BTreeMap<Verdict, usize>,
    /// What was tested, of several runs in the last.
    pub target: String,
    /// Cases that should run.
    pub cases: usize,
    /// Wall-clock seconds; of a run cut short, until its last event.
    pub seconds: f64,
    /// The run that goes on.
    run: Option<Run>,
    /// Of the runs before it: seconds, cases that did not end, and whether one was cut short.
    earlier: f64,
    missed: usize,
    cut: bool,
    points: BTreeMap<(String, String, Option<usize>), Points>,
}

/// How a run went, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not all cases ended.
    Incomplete,
    /// A case failed.
    Failed,
    /// A case could not be told, and none failed.
    Errored,
    /// All that ended were skipped.
    NothingTested,
    /// None of these.
    Passed,
}

/// One run of a log.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    cases: usize,
    ended: usize,
    complete: bool,
}

impl Run {
    fn missing(self) -> usize {
        self.cases.saturating_sub(self.ended)
    }
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
                self.close_run();
                self.target.clone_from(target);
                self.cases += *cases;
                self.run = Some(Run { cases: *cases, ..Run::default() });
            }
            EventKind::CaseFinished { outcome } => {
                self.run.get_or_insert_default().ended += 1;
                *self.counts.entry(outcome.verdict).or_default() += 1;
                self.score(outcome);
            }
            EventKind::RunFinished { seconds, complete } => {
                self.seconds = self.earlier + *seconds;
                self.run.get_or_insert_default().complete = *complete;
                return;
            }
            _ => {}
        }
        self.seconds = self.seconds.max(self.earlier + event.at);
    }

    /// What is known of a run when another begins.
    fn close_run(&mut self) {
        let Some(run) = self.run.take() else { return };
        self.missed += run.missing();
        self.cut |= !run.complete;
        self.earlier = self.seconds;
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

    /// Cases that should have run and did not end.
    pub fn missing(&self) -> usize {
        self.missed + self.run.map_or(0, Run::missing)
    }

    /// How it went, in one word.
    pub fn state(&self) -> State {
        if !self.is_complete() || self.missing() > 0 {
            State::Incomplete
        } else if self.count(Verdict::Failed) > 0 {
            State::Failed
        } else if self.count(Verdict::Errored) > 0 {
            State::Errored
        } else if self.count(Verdict::Passed) == 0 && self.count(Verdict::Known) == 0 {
            State::NothingTested
        } else {
            State::Passed
        }
    }

    /// `FAILED: 1 failed, 61 passed`.
    pub fn sentence(&self) -> String {
        let word = match self.state() {
            State::Incomplete => "INCOMPLETE: ",
            State::Failed => "FAILED: ",
            State::Errored => "ERRORED: ",
            State::NothingTested => "NOTHING TESTED: ",
            State::Passed => "",
        };
        let counts = counts_of(|verdict| self.count(verdict));
        let missing = match self.missing() {
            0 => String::new(),
            missing => format!(", {missing} not run"),
        };
        format!("{word}{counts}{missing}")
    }

    /// How long it took, for people.
    pub fn duration(&self) -> String {
        print_duration(Duration::try_from_secs_f64(self.seconds).unwrap_or_default())
    }

    /// False if a run was cut short.
    pub fn is_complete(&self) -> bool {
        !self.cut && self.run.is_some_and(|run| run.complete)
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

/// All verdicts, what is bad first.
pub const VERDICTS: [Verdict; 5] =
    [Verdict::Failed, Verdict::Errored, Verdict::Passed, Verdict::Skipped, Verdict::Known];

/// `1 failed, 61 passed`: what there is none of is left out, but something is always said.
pub fn counts_of(count: impl Fn(Verdict) -> usize) -> String {
    let parts: Vec<String> = VERDICTS
        .into_iter()
        .filter(|verdict| count(*verdict) > 0)
        .map(|verdict| format!("{} {verdict}", count(verdict)))
        .collect();
    if parts.is_empty() { "no case ended".to_owned() } else { parts.join(", ") }
}
