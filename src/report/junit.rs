//! JUnit XML, as quick-junit writes it: a suite a file (of several runs: and broker), a test case a case or
//! table row. A known deviation counts as skipped. A run that was cut short holds a suite that errors.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use indexmap::IndexMap;
use quick_junit::{NonSuccessKind, Property, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::comparison;
use super::failure::{self, Context};
use super::{Output, Report, Tally};
use crate::record::{Event, EventKind, Outcome, Verdict};
use crate::text::escape;

/// The JUnit report; written when the run has ended.
pub struct Junit {
    out: Output,
    context: Context,
    again: String,
    tally: Tally,
    run: Vec<(&'static str, String)>,
    /// What each run tested; equal names are told apart.
    targets: Vec<String>,
    /// By number of the run, from 1, and file.
    suites: IndexMap<(usize, String), (TestSuite, Duration)>,
}

impl Junit {
    /// A report in the making; `again` as [`Context::of`] takes it.
    pub fn new(out: Output, again: &str) -> Self {
        Self {
            out,
            context: Context::default(),
            again: again.to_owned(),
            tally: Tally::default(),
            run: Vec::new(),
            targets: Vec::new(),
            suites: IndexMap::new(),
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        let file = &outcome.case.id.file;
        let (suite, time) = self.suites.entry((self.targets.len(), file.clone())).or_insert_with(|| {
            let mut suite = TestSuite::new(xml(file));
            for (name, value) in &self.run {
                suite.add_property(Property::new(*name, xml(value)));
            }
            (suite, Duration::ZERO)
        });
        let case = test_case(outcome, &self.context);
        *time += duration(outcome.seconds);
        suite.add_test_case(case);
    }

    fn missing(&self) -> Option<TestSuite> {
        let missing = self.tally.missing();
        if self.tally.is_complete() && missing == 0 {
            return None;
        }
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(format!("the run was cut short: {missing} cases did not end"));
        let mut suite = TestSuite::new("mqttlab");
        suite.add_test_case(TestCase::new("the run is complete", status));
        Some(suite)
    }
}

impl Report for Junit {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.tally.event(event);
        match &event.kind {
            EventKind::RunStarted { mqttlab, target, seed, virtual_time, plan, .. } => {
                self.context = Context::of(target, plan.as_ref(), &self.again);
                self.targets.push(comparison::unique(target, &self.targets));
                self.run = vec![
                    ("mqttlab", mqttlab.clone()),
                    ("target", target.clone()),
                    ("seed", seed.to_string()),
                    ("virtual_time", virtual_time.to_string()),
                ];
            }
            EventKind::CaseFinished { outcome } => self.add(outcome),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut document = Document::new("mqttlab");
        document.set_time(duration(self.tally.seconds));
        document.add_test_suites(self.missing());
        let several = self.targets.len() > 1;
        for ((run, file), (mut suite, time)) in std::mem::take(&mut self.suites) {
            suite.set_time(time);
            let target = run.checked_sub(1).and_then(|run| self.targets.get(run));
            if let Some(target) = target.filter(|_| several) {
                let name = xml(&format!("{file} [{target}]"));
                for case in &mut suite.test_cases {
                    case.set_classname(name.as_str());
                }
                suite.name = name.into();
            }
            document.add_test_suite(suite);
        }
        document.serialize(&mut self.out).map_err(io::Error::other)?;
        io::Write::flush(&mut self.out)
    }
}

fn test_case(outcome: &Outcome, context: &Context) -> TestCase {
    let id = &outcome.case.id;
    let mut name = id.scenario.clone();
    if let Some(row) = id.row {
        let _ = write!(name, ".{row}");
    }
    if !id.variant.is_empty() {
        let _ = write!(name, " ({})", id.variant);
    }
    let mut case = TestCase::new(xml(&name), status(outcome, context));
    case.set_classname(xml(&id.file));
    case.set_time(duration(outcome.seconds));
    case.add_property(Property::new("title", xml(&outcome.case.title)));
    for statement in &outcome.case.spec {
        case.add_property(Property::new("spec", xml(statement)));
    }
    if let Some(mechanism) = &outcome.mechanism {
        case.add_property(Property::new("mechanism", xml(mechanism)));
    }
    if let Some(points) = outcome.case.points {
        case.add_property(Property::new("points", points.to_string()));
    }
    for note in &outcome.notes {
        case.add_property(Property::new("note", xml(note)));
    }
    let packets = outcome.why.as_ref().map(|why| why.packets.as_slice()).unwrap_or_default();
    if !packets.is_empty() {
        case.set_system_out(packets.iter().map(|line| xml(line) + "\n").collect::<String>());
    }
    case
}

fn status(outcome: &Outcome, context: &Context) -> TestCaseStatus {
    let actual = outcome.why.as_ref().map(|why| xml(&why.actual)).unwrap_or_default();
    let mut status = match outcome.verdict {
        Verdict::Passed => return TestCaseStatus::success(),
        Verdict::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Errored => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Skipped | Verdict::Known => TestCaseStatus::skipped(),
    };
    status.set_type(outcome.verdict.to_string());
    status.set_message(actual);
    if outcome.verdict.is_bad() {
        let block = failure::block(outcome, context, false);
        status.set_description(block.lines().map(|line| xml(line) + "\n").collect::<String>());
    }
    status
}

/// Text as XML can hold it: quick-junit would silently drop control characters.
fn xml(text: &str) -> String {
    escape(text).replace('\u{fffe}', "\\u{fffe}").replace('\u{ffff}', "\\u{ffff}")
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
