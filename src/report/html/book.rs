//! The events of one or several runs, put in order for a page: what ran, how it ended on each broker, and
//! what was on the wire. Judges nothing and formats nothing.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::matrix::key;
use super::tape::{Shelf, Tape};
use crate::record::{CaseId, CaseInfo, Event, EventKind, Excerpt, Outcome, Verdict};
use crate::report::failure::Context;

/// All verdicts, the bad ones first.
pub const VERDICTS: [Verdict; 5] =
    [Verdict::Failed, Verdict::Errored, Verdict::Known, Verdict::Skipped, Verdict::Passed];

/// Outcomes whose packets an explanation names one by one; of those after them only what is said.
const EXPLAINED: usize = 5000;

/// Everything that a page shows.
#[derive(Debug, Default)]
pub struct Book {
    /// The runs, in the order of the log.
    pub runs: Vec<Run>,
    /// Every case and every row of a table, in the order in which they were first seen.
    pub cases: IndexMap<CaseId, Entry>,
    /// Arguments of repeating commands, where a run does not say them.
    pub again: String,
    /// How many of them are listed in the page, from the first.
    pub listed: usize,
    /// How those ended that are not, by file.
    pub unlisted: BTreeMap<String, BTreeMap<Verdict, usize>>,
    /// What was seen while a case (rows together) ran, by case and run.
    pub tapes: Shelf,
    /// Lines of scenarios, by case without row.
    pub sources: BTreeMap<CaseId, Excerpt>,
    /// Outcomes with an explanation so far.
    pub explained: usize,
    /// What statements say, by protocol and id.
    pub statements: BTreeMap<(String, String), String>,
}

/// One run: one broker.
#[derive(Debug, Default)]
pub struct Run {
    /// Version of the program.
    pub mqttlab: String,
    /// What was tested.
    pub target: String,
    /// It, and what repeats a failure.
    pub context: Context,
    /// Of all random choices.
    pub seed: u64,
    /// Cases that should run.
    pub cases: usize,
    /// All time was virtual.
    pub virtual_time: bool,
    /// Wall-clock time of the start; may be empty.
    pub started: String,
    /// What was said of the run.
    pub notes: Vec<String>,
    /// Seconds until the end, or until the last event.
    pub seconds: f64,
    /// What `RunFinished` said; `None` without one.
    pub complete: Option<bool>,
    /// Cases that ended, by verdict.
    pub counts: BTreeMap<Verdict, usize>,
    /// Those that passed though their SHOULD or MAY is not met.
    pub unmet: usize,
    /// Cases that began and did not end.
    pub open: Vec<CaseId>,
    /// What passive checks made of it, by protocol and name.
    pub checks: BTreeMap<(String, String), Check>,
}

/// What a passive check made of a run.
#[derive(Debug, Default)]
pub struct Check {
    /// What must hold.
    pub rule: String,
    /// Statements that it watches.
    pub statements: Vec<String>,
    /// Connections that it watched.
    pub connections: u64,
    /// Cases in which it found the rule broken.
    pub broken: Vec<CaseId>,
}

/// A case or row, and how it ended in each run.
#[derive(Debug)]
pub struct Entry {
    /// What is known of it beforehand.
    pub info: CaseInfo,
    /// One a run; `None` where it did not end.
    pub outcomes: Vec<Option<Outcome>>,
}

impl Run {
    /// Cases that ended this way.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.counts.get(&verdict).copied().unwrap_or(0)
    }

    /// Cases that ended.
    pub fn ended(&self) -> usize {
        self.counts.values().sum()
    }

    /// False if the run was cut short.
    pub fn is_complete(&self) -> bool {
        self.complete == Some(true) && self.ended() >= self.cases
    }
}

impl Entry {
    /// How it ended in a run.
    pub fn outcome(&self, run: usize) -> Option<&Outcome> {
        self.outcomes.get(run)?.as_ref()
    }

    /// True if it ended otherwise in one run than in another.
    pub fn differs(&self, runs: usize) -> bool {
        let end = |run| self.outcome(run).map(|one| (one.verdict, one.unmet));
        (1..runs).any(|run| end(run) != end(0))
    }

    /// True if there is something to look at: not simply passed in every run.
    pub fn is_remarkable(&self, runs: usize) -> bool {
        !(0..runs).all(|run| self.outcome(run).is_some_and(is_plain))
    }

    /// Roughly the bytes that it takes in a page to list it.
    fn cost(&self, id: &CaseId, runs: usize) -> usize {
        let whys = self.outcomes.iter().flatten().filter_map(|one| one.why.as_ref());
        let why: usize = whys.map(|why| 200 + why.expected.len() + why.actual.len()).sum();
        let name = key(id).len();
        400 + 3 * name + 2 * self.info.title.len() + runs * (200 + name) + why
    }
}

/// Simply passed.
fn is_plain(outcome: &Outcome) -> bool {
    outcome.verdict == Verdict::Passed && !outcome.unmet
}

/// The case that a row belongs to.
pub fn without_row(id: &CaseId) -> CaseId {
    CaseId { row: None, ..id.clone() }
}

impl Book {
    /// Takes the next event.
    pub fn event(&mut self, event: &Event) {
        if let EventKind::RunStarted { mqttlab, target, seed, cases, virtual_time, started, plan } =
            &event.kind
        {
            self.runs.push(Run {
                mqttlab: mqttlab.clone(),
                target: target.clone(),
                context: Context::of(target, plan.as_ref(), &self.again),
                seed: *seed,
                cases: *cases,
                virtual_time: *virtual_time,
                started: started.clone(),
                ..Run::default()
            });
            return;
        }
        if self.runs.is_empty() {
            self.runs.push(Run::default());
        }
        let number = self.runs.len() - 1;
        let Some(run) = self.runs.last_mut() else { return };
        run.seconds = run.seconds.max(event.at);
        match &event.kind {
            EventKind::CaseStarted { case, source, statements } => {
                let id = without_row(&case.id);
                run.open.push(id.clone());
                let open = &run.open;
                self.tapes.close(|(case, of)| *of < number || !open.contains(case));
                self.tapes.open((id.clone(), number)).start = event.at;
                for (statement, text) in statements {
                    let key = (case.protocol.clone(), statement.clone());
                    self.statements.entry(key).or_insert_with(|| text.clone());
                }
                if let Some(source) = source {
                    self.sources.entry(id).or_insert_with(|| source.clone());
                }
            }
            EventKind::Wire { case, wire } => self.tape(case).packet(event.at, wire),
            EventKind::BrokerLog { case, line } => self.tape(case).line(event.at, line),
            EventKind::Fence { case, since, held } => {
                self.tape(case).fence(*since, event.at, *held);
            }
            EventKind::Note { text } => run.notes.push(text.clone()),
            EventKind::CaseFinished { outcome } => self.finished(outcome),
            EventKind::RunFinished { seconds, complete } => {
                run.seconds = *seconds;
                run.complete = Some(*complete);
            }
            EventKind::Checked { check, rule, protocol, statements, connections, broken } => {
                let known = run.checks.entry((protocol.clone(), check.clone())).or_default();
                known.rule.clone_from(rule);
                known.statements = statements.keys().cloned().collect();
                // The shards of one run have each their own.
                known.connections += connections;
                known.broken.extend(broken.iter().cloned());
                for (id, text) in statements {
                    let key = (protocol.clone(), id.clone());
                    self.statements.entry(key).or_insert_with(|| text.clone());
                }
            }
            // Bytes that say nothing without a tool for them; a capture has them.
            EventKind::Tls { .. } | EventKind::RunStarted { .. } => {}
        }
    }

    fn tape(&mut self, case: &CaseId) -> &mut Tape {
        let number = self.runs.len().saturating_sub(1);
        self.tapes.open((without_row(case), number))
    }

    fn finished(&mut self, outcome: &Outcome) {
        let number = self.runs.len().saturating_sub(1);
        let id = &outcome.case.id;
        let case = without_row(id);
        if let Some(run) = self.runs.last_mut() {
            *run.counts.entry(outcome.verdict).or_default() += 1;
            if outcome.unmet && outcome.verdict == Verdict::Passed {
                run.unmet += 1;
            }
            run.open.retain(|open| *open != case);
        }
        let entry = self
            .cases
            .entry(id.clone())
            .or_insert_with(|| Entry { info: outcome.case.clone(), outcomes: Vec::new() });
        if entry.outcomes.len() <= number {
            entry.outcomes.resize(number + 1, None);
        }
        let mut kept = outcome.clone();
        if is_plain(outcome) {
            // All else stands in the entry.
            kept.case = CaseInfo { id: id.clone(), level: outcome.case.level, ..CaseInfo::default() };
        } else {
            self.tapes.remark((case, number));
            self.explained += 1;
        }
        if let Some(why) = kept.why.as_mut().filter(|_| self.explained > EXPLAINED) {
            (why.packets, why.came) = (Vec::new(), Vec::new());
        }
        entry.outcomes[number] = Some(kept);
    }

    /// Puts cases into the order of their files, whatever order they ran in.
    pub fn sort(&mut self) {
        let lines: BTreeMap<CaseId, usize> = self
            .cases
            .iter()
            .map(|(id, entry)| {
                let case = without_row(id);
                let line = self.sources.get(&case).map(|source| source.line);
                let line = line.or(entry.info.place.as_ref().map(|place| place.line));
                (case, line.unwrap_or_default())
            })
            .rev()
            .collect();
        self.cases.sort_by_cached_key(|id, _| {
            let line = lines.get(&without_row(id)).copied().unwrap_or_default();
            (id.file.clone(), line, id.scenario.clone(), id.row, id.variant.clone())
        });
    }

    /// Lists as many cases as there is room for, in bytes of the page; those that did not simply pass
    /// first.
    pub fn list(&mut self, room: usize) {
        let runs = self.runs.len();
        let mut used = 0;
        let mut is_listed = vec![false; self.cases.len()];
        for remarkable in [true, false] {
            for ((id, entry), is_listed) in self.cases.iter().zip(&mut is_listed) {
                if entry.is_remarkable(runs) == remarkable {
                    used += entry.cost(id, runs);
                    *is_listed = used <= room;
                }
            }
        }
        self.unlisted.clear();
        let mut others = IndexMap::new();
        let mut listed = IndexMap::new();
        for ((id, entry), is_listed) in std::mem::take(&mut self.cases).into_iter().zip(is_listed) {
            if is_listed {
                listed.insert(id, entry);
                continue;
            }
            let counts = self.unlisted.entry(id.file.clone()).or_default();
            for outcome in entry.outcomes.iter().flatten() {
                *counts.entry(outcome.verdict).or_default() += 1;
            }
            others.insert(id, entry);
        }
        self.listed = listed.len();
        listed.extend(others);
        self.cases = listed;
    }

    /// All that ended so, in any run: case and run.
    pub fn ended_so(&self, verdict: Verdict) -> impl Iterator<Item = (usize, usize, &Outcome)> {
        self.cases.values().enumerate().flat_map(move |(case, entry)| {
            let outcomes = entry.outcomes.iter().enumerate();
            outcomes.filter_map(move |(run, one)| {
                one.as_ref().filter(|one| one.verdict == verdict).map(|one| (case, run, one))
            })
        })
    }
}
