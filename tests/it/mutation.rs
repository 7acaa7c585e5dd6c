//! Tests of the tests: each conformance scenario is run against a broker with a fault that it must
//! notice. `fixtures/mutations.txt` says which; a scenario that is not in it fails here.
//!
//! `MQTTLAB_MUTATIONS=new cargo test --test it mutation` looks for faults that break the scenarios which are
//! not in the file or are not broken any more, `=all` for all of them, and writes the file anew. Of the
//! faults that break a scenario it takes one that is about its chapter, and of those the one that does
//! something to the fewest others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use mqttlab::broker::fault::{self, Chain, FaultSpec, Faults, Outcome, Way};
use mqttlab::check::CHECKS;
use mqttlab::diagnostic::{Source, has_errors};
use mqttlab::record::{EventKind, Verdict, WireEvent, WireSide};
use mqttlab::runner::{self, Clock, RunOptions};
use mqttlab::scenario::{self, Case, LoadOptions, Subject};

use crate::support::scenario_files::{Beside, yaml_files};

const FIXTURE: &str = "fixtures/mutations.txt";

const SCENARIOS: &str = "scenarios/conformance";

/// Groups of scenarios at the same time. Most of the time of a case that fails is virtual.
const WORKERS: usize = 8;

const HEADER: &str = "\
# What breaks each conformance scenario: a fault of the bundled broker (`mqttlab broker --fault list`).
# Read and run by tests/it/mutation.rs, which also writes it: see there.
#
#   SCENARIO = FAULT
#   SCENARIO - why nothing can break it
";

/// All conformance scenarios by their names in the fixture.
fn conformance() -> BTreeMap<String, Case> {
    let mut cases = BTreeMap::new();
    for path in yaml_files(Path::new(SCENARIOS)) {
        let shown = path.display().to_string();
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{shown}: {error}"));
        let loaded = scenario::load(&Source::new(shown, text), &Beside(&path), &LoadOptions::default());
        if has_errors(&loaded.diagnostics) {
            let found: Vec<_> = loaded.diagnostics.iter().map(|found| found.message.as_str()).collect();
            panic!("{}: {}", path.display(), found.join("; "));
        }
        cases.extend(loaded.cases.into_iter().map(|case| (name(&case), case)));
    }
    cases
}

/// `both/3.8-subscribe · id · v5`
fn name(case: &Case) -> String {
    named(&case.file, &case.scenario, &case.variant)
}

fn named(file: &str, scenario: &str, variant: &str) -> String {
    let file = file.trim_start_matches(SCENARIOS).trim_start_matches('/').trim_end_matches(".yaml");
    let separator = if variant.is_empty() { "" } else { " · " };
    format!("{file} · {scenario}{separator}{variant}")
}

/// Connects, pings and says goodbye: nothing that any scenario is about.
const CONTROL: &str = "lab: 1
matrix: {protocol: ['3.1.1', '5']}
clients: {a: {}}
scenarios:
- id: control
  name: A client comes and goes
  steps:
  - a: connect
  - a: ping
  - a: disconnect
";

/// Chapters that are about coming and going themselves.
const COMING: &[&str] = &["1.5", "2.", "3.1-", "3.2-", "3.12", "3.14", "4.1", "4.12", "6-"];

/// Names of faults that nobody gets past who only connects: what they break proves little.
fn coarse<'f>(faults: impl Iterator<Item = &'f &'static FaultSpec>) -> BTreeSet<&'static str> {
    let source = Source::new("control.yaml", CONTROL);
    let control = scenario::load(&source, &Beside(Path::new(".")), &LoadOptions::default()).cases;
    assert_eq!(control.len(), 2, "the control is a scenario");
    let groups: Vec<_> = faults.map(|fault| (*fault, control.clone())).collect();
    let ends = run_all(&groups);
    let hit = groups.iter().zip(ends).filter(|(_, ends)| ends.values().any(|end| end.is_bad()));
    hit.map(|((fault, _), _)| fault.name).collect()
}

/// How each case ends by what it asserts itself; that a passive check, which watches every run, would have
/// found the fault says nothing of the scenario. A table fails if one of its rows does; that a MAY is not
/// made use of counts as a failure here, as that is all that there is to be seen of one.
fn verdicts(cases: &[Case], fault: &'static FaultSpec) -> BTreeMap<String, Verdict> {
    let options = RunOptions {
        clock: Clock::Virtual,
        faults: vec![fault],
        jobs: 2,
        seed: 1,
        strict: true,
        timeout: Some(Duration::from_secs(60)),
        ..RunOptions::default()
    };
    let mut ends: BTreeMap<String, Verdict> = BTreeMap::new();
    let ran = runner::run(cases, &options, &mut |event| {
        if let EventKind::CaseFinished { outcome } = event.kind {
            let id = &outcome.case.id;
            let verdict = match &outcome.why {
                _ if outcome.unmet => Verdict::Failed,
                Some(why) if CHECKS.iter().any(|check| check.doc == why.expected) => Verdict::Passed,
                _ => outcome.verdict,
            };
            let end = ends.entry(named(&id.file, &id.scenario, &id.variant)).or_insert(verdict);
            if *end != Verdict::Failed {
                *end = verdict;
            }
        }
    });
    assert!(ran.expect("the bundled broker"), "not all ran");
    ends
}

/// Runs groups of cases, each against a broker with its fault, beside each other.
fn run_all(groups: &[(&'static FaultSpec, Vec<Case>)]) -> Vec<BTreeMap<String, Verdict>> {
    let next = Mutex::new(0..groups.len());
    let ends = Mutex::new(vec![BTreeMap::new(); groups.len()]);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(index) = next.lock().expect("no panic").next() else { return };
                    let (fault, cases) = &groups[index];
                    let found = verdicts(cases, fault);
                    ends.lock().expect("no panic")[index] = found;
                }
            });
        }
    });
    ends.into_inner().expect("no panic")
}

/// What the fixture says of a scenario.
#[derive(Clone)]
enum Fate {
    Broken(&'static FaultSpec),
    Spared(String),
}

fn fixture() -> BTreeMap<String, Fate> {
    let text = fs::read_to_string(FIXTURE).unwrap_or_else(|error| panic!("{FIXTURE}: {error}"));
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            let broken = line.rsplit_once(" = ").map(|(name, fault)| {
                let fault = FaultSpec::named(fault);
                let fault = fault.unwrap_or_else(|error| panic!("{FIXTURE}:{}: {error}", number + 1));
                (name.to_owned(), Fate::Broken(fault))
            });
            let spared =
                || line.split_once(" - ").map(|(name, why)| (name.to_owned(), Fate::Spared(why.to_owned())));
            broken.or_else(spared).unwrap_or_else(|| panic!("{FIXTURE}:{}: neither = nor -", number + 1))
        })
        .collect()
}

/// The scenarios of each fault.
fn groups(
    cases: &BTreeMap<String, Case>,
    fates: &BTreeMap<String, Fate>,
) -> Vec<(&'static FaultSpec, Vec<Case>)> {
    let mut groups: BTreeMap<&str, (&'static FaultSpec, Vec<Case>)> = BTreeMap::new();
    for (name, fate) in fates {
        if let (Fate::Broken(fault), Some(case)) = (fate, cases.get(name)) {
            groups.entry(fault.name).or_insert((*fault, Vec::new())).1.push(case.clone());
        }
    }
    groups.into_values().collect()
}

/// Those that their fault does not break (any more), and how they ended.
fn unbroken(
    cases: &BTreeMap<String, Case>,
    fates: &BTreeMap<String, Fate>,
) -> BTreeMap<String, (&'static str, Verdict)> {
    let groups = groups(cases, fates);
    let ends = run_all(&groups);
    let ends = groups
        .iter()
        .zip(ends)
        .flat_map(|((fault, _), ends)| ends.into_iter().map(|(name, verdict)| (name, (fault.name, verdict))));
    ends.filter(|(_, (_, verdict))| *verdict != Verdict::Failed).collect()
}

#[test]
fn every_conformance_scenario_can_fail() {
    let cases = conformance();
    assert!(!cases.is_empty(), "nothing below {SCENARIOS}");
    if let Ok(mode) = std::env::var("MQTTLAB_MUTATIONS") {
        search(&cases, &mode);
    }
    let fates = fixture();
    let mut problems = Vec::new();
    for name in cases.keys().filter(|name| !fates.contains_key(*name)) {
        problems.push(format!("{name}: no fault is known that breaks it"));
    }
    for name in fates.keys().filter(|name| !cases.contains_key(*name)) {
        problems.push(format!("{name}: stands in {FIXTURE}, and there is no such scenario"));
    }
    for (name, (fault, verdict)) in unbroken(&cases, &fates) {
        problems.push(format!("{name}: {verdict} in spite of {fault}"));
    }
    let used = fates.iter().filter_map(|(name, fate)| match fate {
        Fate::Broken(fault) => Some((name, fault)),
        Fate::Spared(_) => None,
    });
    let distinct: BTreeMap<_, _> = used.clone().map(|(_, fault)| (fault.name, *fault)).collect();
    let coarse = coarse(distinct.values());
    for (name, fault) in used.filter(|(name, fault)| coarse.contains(fault.name) && !is_coming(name)) {
        problems.push(format!(
            "{name}: {} keeps everybody out, and so says nothing of this scenario",
            fault.name
        ));
    }
    let hint = "MQTTLAB_MUTATIONS=new cargo test --test it mutation -- --nocapture looks for faults";
    assert!(problems.is_empty(), "\n{}\n{hint}\n", problems.join("\n"));
}

#[test]
fn what_stands_between_breaks_nothing_by_itself() {
    let cases: Vec<Case> = conformance().into_values().collect();
    let fault = FaultSpec::named("none").expect("the control");
    let chunks = cases.chunks(cases.len().div_ceil(WORKERS));
    let groups: Vec<_> = chunks.map(|cases| (fault, cases.to_vec())).collect();
    let ends = run_all(&groups).into_iter().flatten();
    let broken: Vec<_> = ends.filter(|(_, verdict)| verdict.is_bad()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn faults_are_listed_and_unknown_ones_refused() {
    let mqttlab = || assert_cmd::Command::cargo_bin("mqttlab").expect("built");
    let list = mqttlab().args(["broker", "--fault", "list"]).assert().success();
    let shown = String::from_utf8_lossy(&list.get_output().stdout).into_owned();
    assert!(fault::all().all(|fault| shown.contains(fault.name) && shown.contains(fault.doc)), "{shown}");
    for command in ["broker", "run"] {
        let refused = mqttlab().args([command, "--fault", "never-close"]).assert().code(2);
        let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
        assert!(said.contains("did you mean never-closes?"), "{said}");
        let help = mqttlab().args([command, "--help"]).assert().success();
        assert!(!String::from_utf8_lossy(&help.get_output().stdout).contains("--fault"));
    }
    let other = ["run", "--fault", "never-closes", "--broker", "mqtt://localhost"];
    mqttlab().args(other).assert().code(2);
}

#[test]
fn names_of_faults_are_unique() {
    let names: BTreeSet<_> = fault::all().map(|fault| fault.name).collect();
    assert_eq!(names.len(), fault::all().count());
}

#[test]
fn a_broker_with_a_fault_says_so_and_has_it_over_sockets_too() {
    let case = conformance().into_iter().find(|(name, _)| name.contains("3.8-subscribe · suback · v3.1.1"));
    let (_, case) = case.expect("a scenario of SUBACK");
    let fault = FaultSpec::named("suback-missing").expect("a fault");
    let options = RunOptions { clock: Clock::Real, faults: vec![fault], seed: 1, ..RunOptions::default() };
    let (mut said, mut ends) = (String::new(), Vec::new());
    runner::run(&[case], &options, &mut |event| match event.kind {
        EventKind::BrokerLog { line, .. } => said += &line,
        EventKind::CaseFinished { outcome } => ends.push(outcome.verdict),
        _ => {}
    })
    .expect("the bundled broker");
    assert_eq!(ends, [Verdict::Failed]);
    assert!(said.contains("misbehaves on purpose (--fault suback-missing)"), "{said}");
}

/// Looks for the best fault of each scenario, and writes the fixture.
fn search(cases: &BTreeMap<String, Case>, mode: &str) {
    let mut fates = fixture();
    let every: Vec<_> = fault::all().collect();
    let coarse = coarse(every.iter());
    fates.retain(|name, _| cases.contains_key(name));
    let wanted: Vec<Case> = match mode {
        "all" => cases.values().cloned().collect(),
        "new" => {
            let mut stale: BTreeSet<String> = unbroken(cases, &fates).into_keys().collect();
            stale.extend(fates.iter().filter_map(|(name, fate)| match fate {
                Fate::Broken(fault) if coarse.contains(fault.name) && !is_coming(name) => Some(name.clone()),
                _ => None,
            }));
            let new = cases.iter().filter(|(name, _)| !fates.contains_key(*name) || stale.contains(*name));
            new.map(|(_, case)| case.clone()).collect()
        }
        other => panic!("MQTTLAB_MUTATIONS is new or all, not {other}"),
    };
    let mut open = candidates(&wanted);
    for (name, faults) in &mut open {
        faults.retain(|fault| is_coming(name) || !coarse.contains(fault.name));
    }
    eprintln!(
        "{} scenarios, {} faults each at most",
        open.len(),
        open.values().map(Vec::len).max().unwrap_or(0)
    );
    while !open.is_empty() {
        let mut round: BTreeMap<&str, (&'static FaultSpec, Vec<Case>)> = BTreeMap::new();
        open.retain(|name, faults| {
            let Some(fault) = faults.pop() else {
                eprintln!("nothing breaks {name}");
                if !matches!(fates.get(name), Some(Fate::Spared(_))) {
                    fates.remove(name);
                }
                return false;
            };
            round.entry(fault.name).or_insert((fault, Vec::new())).1.push(cases[name].clone());
            true
        });
        let round: Vec<_> = round.into_values().collect();
        for ((fault, _), ends) in round.iter().zip(run_all(&round)) {
            for (name, _) in ends.into_iter().filter(|(_, verdict)| *verdict == Verdict::Failed) {
                open.remove(&name);
                fates.insert(name, Fate::Broken(fault));
            }
        }
    }
    fs::write(FIXTURE, print(&fates)).expect("the fixture can be written");
}

/// Whether what the fault does is the business of this scenario's chapter.
fn is_about(fault: &FaultSpec, name: &str) -> bool {
    let chapter = name.split_once('/').map_or(name, |(_, chapter)| chapter);
    is_general(fault) || chapters(fault).iter().any(|begin| chapter.starts_with(begin))
}

fn is_coming(name: &str) -> bool {
    let chapter = name.split_once('/').map_or(name, |(_, chapter)| chapter);
    COMING.iter().any(|begin| chapter.starts_with(begin))
}

fn chapters(fault: &FaultSpec) -> &'static [&'static str] {
    let family = fault::FAMILIES.iter().find(|family| family.faults.iter().any(|one| one.name == fault.name));
    family.map(|family| family.chapters).unwrap_or_default()
}

/// Faults about malformed packets, in whatever chapter.
fn is_general(fault: &FaultSpec) -> bool {
    chapters(fault).is_empty()
}

/// The faults that would do something to each case, as far as the packets of a run without them tell; the
/// best last: one that is about the chapter, and does something to the fewest cases.
fn candidates(cases: &[Case]) -> BTreeMap<String, Vec<&'static FaultSpec>> {
    let next = Mutex::new(cases.iter());
    let found = Mutex::new(BTreeMap::<String, Vec<&'static FaultSpec>>::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(case) = next.lock().expect("no panic").next() else { return };
                    let talk = Talk::of(case);
                    let faults = fault::all().filter(|fault| meets(case, fault) && talk.is_altered_by(fault));
                    let faults = faults.collect();
                    found.lock().expect("no panic").insert(name(case), faults);
                }
            });
        }
    });
    let mut found = found.into_inner().expect("no panic");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for fault in found.values().flatten() {
        *counts.entry(fault.name).or_default() += 1;
    }
    for (name, faults) in &mut found {
        faults.sort_by_key(|fault| (!is_about(fault, name), counts[fault.name]));
        faults.reverse();
    }
    found
}

/// Whether the fault is one of whom the case tests: a bridge is both.
fn meets(case: &Case, fault: &FaultSpec) -> bool {
    match case.subject() {
        Subject::Client => fault.is_of_client(),
        Subject::Broker => !fault.is_of_client(),
        Subject::Bridge => true,
    }
}

/// What the connections of a case say, in the order in which they began to.
#[derive(Default)]
struct Talk {
    turns: Vec<Turn>,
    /// Some bytes were not told: those of a CONNECT that is none.
    secretive: bool,
}

/// What one connection says without being interrupted; no bytes are its end.
struct Turn {
    conn: u32,
    way: Way,
    bytes: Vec<u8>,
}

impl Talk {
    fn of(case: &Case) -> Self {
        let mut talk = Self::default();
        let options = RunOptions { clock: Clock::Virtual, seed: 1, ..RunOptions::default() };
        let ran = runner::run(std::slice::from_ref(case), &options, &mut |event| {
            if let EventKind::Wire { wire, .. } = event.kind {
                talk.hear(&wire);
            }
        });
        assert!(ran.expect("the bundled broker"));
        if case.subject() == Subject::Client {
            // That a client gave a connection up is not always told.
            let ended: BTreeSet<_> = talk
                .turns
                .iter()
                .filter(|turn| turn.bytes.is_empty() && turn.way == Way::Up)
                .map(|turn| turn.conn)
                .collect();
            let open: BTreeSet<_> = talk.turns.iter().map(|turn| turn.conn).collect();
            let ends =
                open.difference(&ended).map(|conn| Turn { conn: *conn, way: Way::Up, bytes: Vec::new() });
            talk.turns.extend(ends);
        }
        talk
    }

    fn hear(&mut self, wire: &WireEvent) {
        let is_end = wire.side == WireSide::Link;
        let way = match wire.side {
            WireSide::Note => return,
            WireSide::Sent => Way::Up,
            WireSide::Link if wire.line.contains("by the client") => Way::Up,
            WireSide::Received | WireSide::Link => Way::Down,
        };
        self.secretive |= wire.bytes.is_none() && !is_end;
        let bytes = wire.bytes.as_deref().unwrap_or_default();
        let last = self.turns.iter_mut().rev().find(|turn| turn.conn == wire.conn);
        match last {
            Some(last) if last.way == way && !is_end && !last.bytes.is_empty() => last.bytes.extend(bytes),
            _ => self.turns.push(Turn { conn: wire.conn, way, bytes: bytes.to_vec() }),
        }
    }

    fn is_altered_by(&self, fault: &'static FaultSpec) -> bool {
        let faults = Faults::new(&[fault]);
        let mut chains = BTreeMap::new();
        (self.secretive && is_general(fault))
            || self.turns.iter().any(|turn| {
                let chain = chains.entry(turn.conn).or_insert_with(|| Chain::new(&faults));
                let mut outcome = Outcome::default();
                if turn.bytes.is_empty() {
                    chain.ended(turn.way, &mut outcome);
                } else {
                    chain.read(turn.way, &turn.bytes, &mut outcome);
                }
                let (there, back) = match turn.way {
                    Way::Up => (outcome.up, outcome.down),
                    Way::Down => (outcome.down, outcome.up),
                };
                there != turn.bytes
                    || !back.is_empty()
                    || (outcome.end_up || outcome.end_down) != turn.bytes.is_empty()
            })
    }
}

fn print(fates: &BTreeMap<String, Fate>) -> String {
    let mut text = HEADER.to_owned();
    let mut last = "";
    for (name, fate) in fates {
        let file = name.split(" · ").next().unwrap_or_default();
        if std::mem::replace(&mut last, file) != file {
            text.push('\n');
        }
        let _ = match fate {
            Fate::Broken(fault) => writeln!(text, "{name} = {}", fault.name),
            Fate::Spared(why) => writeln!(text, "{name} - {why}"),
        };
    }
    text
}
