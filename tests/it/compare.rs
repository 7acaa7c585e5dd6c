//! Brokers compared: the matrix from a recorded log, baselines as a filter over events and as files,
//! and the commands `compare` and `bless` on real brokers. What a single run finds is judged elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use insta::assert_snapshot;
use mqttlab::diagnostic::Source;
use mqttlab::record::{Against, Baseline, Event, EventKind, Outcome, Verdict};
use mqttlab::report::comparison::{Comparison, Difference};
use mqttlab::report::{Matrix, MatrixOptions, Report, json};
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

use crate::support::broker::{self, Process};
use crate::support::mosquitto::program;
use crate::support::paper::Paper;
use crate::support::skip::skipped;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mqttlab");

fn recorded(name: &str) -> Vec<Event> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/records/{name}.jsonl"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    json::read(&text).expect("a log")
}

fn matrix(events: &[Event], options: MatrixOptions) -> String {
    let paper = Paper::default();
    let mut report = Matrix::new(Box::new(paper.clone()), options);
    for event in events {
        report.event(event).expect("paper takes everything");
    }
    report.finish().expect("paper takes everything");
    paper.text()
}

fn compared(events: &[Event]) -> Comparison {
    let mut comparison = Comparison::default();
    for event in events {
        comparison.event(event);
    }
    comparison
}

#[test]
fn the_matrix_shows_brokers_and_versions_and_where_they_part() {
    assert_snapshot!(matrix(&recorded("compared"), MatrixOptions::default()));
}

#[test]
fn the_matrix_can_be_of_differences_only() {
    let only = MatrixOptions { only_different: true, ..MatrixOptions::default() };
    assert_snapshot!(matrix(&recorded("compared"), only));
}

#[test]
fn the_matrix_in_colour_and_in_full() {
    let all = MatrixOptions { colour: true, verbose: true, ..MatrixOptions::default() };
    assert_snapshot!(matrix(&recorded("compared"), all).replace('\u{1b}', "^"));
}

#[test]
fn one_run_is_a_matrix_of_one_column() {
    let text = matrix(&recorded("passed"), MatrixOptions::default());
    assert!(text.ends_with("bundled  2 passed in 12 ms\nno difference\n"), "{text}");
    assert_eq!(matrix(&[], MatrixOptions::default()), "\nnothing was compared\n");
}

#[test]
fn violations_free_choices_and_what_cannot_be_told_are_told_apart() {
    let comparison = compared(&recorded("compared"));
    let of = |scenario: &str, version: &str| {
        let row = comparison.rows.iter().find(|(key, _)| key.scenario == scenario).expect("a row").1;
        row.difference(version)
    };
    assert_eq!(of("second-connect", "5"), Difference::Violation);
    assert_eq!(of("second-connect", "3.1.1"), Difference::None);
    assert_eq!(of("keep-alive", "5"), Difference::Choice);
    assert_eq!(of("dead", "3.1.1"), Difference::Untold, "a dead broker breaks no rule");
    assert_eq!(of("lost-will", "3.1.1"), Difference::Violation, "known is broken all the same");
    assert_eq!(of("reload", "3.1.1"), Difference::None, "what one lacks cannot be compared");
    let names: Vec<&str> = comparison.runs.iter().map(|run| run.target.as_str()).collect();
    assert_eq!(names, ["bundled", "mosquitto 2.0.11", "bundled (2)"]);
}

/// The events of the second run of the fixture.
fn second_run() -> Vec<Event> {
    let events = recorded("compared");
    let starts: Vec<usize> = events
        .iter()
        .enumerate()
        .filter(|(_, event)| matches!(event.kind, EventKind::RunStarted { .. }))
        .map(|(at, _)| at)
        .collect();
    events[starts[1]..starts[2]].to_vec()
}

fn outcomes(events: &[Event]) -> Vec<Outcome> {
    let ended = |event: &Event| match &event.kind {
        EventKind::CaseFinished { outcome } => Some(outcome.clone()),
        _ => None,
    };
    events.iter().filter_map(ended).collect()
}

fn bless(before: Option<&Baseline>, outcomes: &[Outcome], whole: bool) -> Baseline {
    Baseline::blessed(before, "mosquitto 2.0.11", outcomes, whole, |_| false)
}

fn parsed(text: &str) -> Result<Baseline, String> {
    Baseline::parse(&Source::new("b.json", text)).map_err(|finding| finding.render(false))
}

fn held(baseline: &Baseline, events: &[Event]) -> Vec<Event> {
    let mut against = Against::new(baseline.clone(), "b.json");
    events.iter().flat_map(|event| against.pass(event.clone())).collect()
}

fn find<'o>(outcomes: &'o [Outcome], scenario: &str, row: Option<usize>) -> &'o Outcome {
    let wanted = |outcome: &&Outcome| {
        let id = &outcome.case.id;
        id.scenario == scenario && id.row == row && id.variant != "v3.1.1"
    };
    outcomes.iter().find(wanted).expect("an outcome")
}

#[test]
fn a_baseline_is_sorted_and_reads_back() {
    let text = bless(None, &outcomes(&second_run()), true).print();
    assert_snapshot!(text);
    assert_eq!(parsed(&text).expect("a baseline").print(), text);
}

#[test]
fn a_person_s_reasons_survive_and_noise_does_not_touch_the_file() {
    let run = outcomes(&second_run());
    let text = bless(None, &run, true).print();
    let text = text.replacen("\"reason\": \"\"", "\"reason\": \"mosquitto #1\"", 1);
    let reasoned = parsed(&text).expect("a baseline");
    assert_eq!(reasoned.without_reason().count(), 1);
    // The same, but the texts have another number in them.
    let mut again = run.clone();
    for why in again.iter_mut().filter_map(|outcome| outcome.why.as_mut()) {
        why.actual += " 17";
    }
    assert_eq!(bless(Some(&reasoned), &again, true).print(), text);
    // What errors now stays as it was; what passes now goes.
    for outcome in &mut again {
        outcome.verdict = match outcome.case.id.row {
            None => Verdict::Errored,
            Some(_) => Verdict::Passed,
        };
    }
    let after = bless(Some(&reasoned), &again, true).print();
    assert_eq!(after.matches("\"verdict\": \"failed\"").count(), 1, "{after}");
    assert!(!after.contains("admin received it"), "{after}");
}

#[test]
fn cases_that_did_not_run_stay_unless_the_whole_file_ran() {
    let run = outcomes(&second_run());
    let before = bless(None, &run, true);
    let one = [find(&run, "accepted", None).clone()];
    assert_eq!(bless(Some(&before), &one, false), before);
    let whole = bless(Some(&before), &one, true).print();
    assert!(!whole.contains("second-connect") && whole.contains("acl.2"), "{whole}");
    let gone = Baseline::blessed(Some(&before), "x", &one, true, |file| file.starts_with("labs/"));
    assert_eq!(gone.files().collect::<Vec<_>>(), ["conformance/both/3.1-connect.yaml"]);
}

#[test]
fn a_run_held_against_its_baseline_fails_only_for_what_is_new() {
    let run = second_run();
    let before = outcomes(&run);
    // The same run again: all is known, but for what errors.
    let same = held(&bless(None, &before, true), &run);
    let ended = outcomes(&same);
    assert_eq!(find(&ended, "second-connect", None).verdict, Verdict::Known);
    assert_eq!(find(&ended, "dead", None).verdict, Verdict::Errored, "never blessed");
    let notes = |events: &[Event]| -> Vec<String> {
        let text = |event: &Event| match &event.kind {
            EventKind::Note { text } if text.starts_with("b.json") => Some(text.clone()),
            _ => None,
        };
        events.iter().filter_map(text).collect()
    };
    assert_eq!(notes(&same), ["b.json: 2 known, 0 new failures, 0 fixed, 0 new cases"]);
    assert!(matches!(same.last().map(|event| &event.kind), Some(EventKind::RunFinished { .. })));

    // A baseline in which one of the two passed, another failed, and a case is not there.
    let mut other = before.clone();
    other.retain(|outcome| outcome.case.id.scenario != "accepted");
    for outcome in &mut other {
        match (outcome.case.id.scenario.as_str(), outcome.case.id.row) {
            ("acl", Some(2)) => outcome.verdict = Verdict::Passed,
            ("acl", Some(1)) => outcome.verdict = Verdict::Failed,
            ("second-connect", _) => {
                outcome.why.get_or_insert_default().actual = "DISCONNECT 0x82".into();
            }
            _ => {}
        }
    }
    let events = held(&bless(None, &other, true), &run);
    let ended = outcomes(&events);
    assert_eq!(
        notes(&events),
        ["b.json: 1 known (1 otherwise than blessed), 1 new failure, 1 fixed, 1 new case"]
    );
    let new = find(&ended, "acl", Some(2));
    assert_eq!((new.verdict, new.notes.len()), (Verdict::Failed, 1), "{:?}", new.notes);
    assert!(find(&ended, "acl", Some(1)).notes[0].starts_with("fixed:"));
    let changed = find(&ended, "second-connect", None);
    assert_eq!(changed.verdict, Verdict::Known);
    assert!(changed.notes[0].contains("then DISCONNECT 0x82"), "{:?}", changed.notes);
    assert!(changed.why.as_ref().expect("why").actual.starts_with("blessed without a reason (CONNACK 0"));
}

#[test]
fn runs_of_one_broker_do_not_add_up() {
    let run = second_run();
    let twice: Vec<Event> = run.iter().chain(&run).cloned().collect();
    let events = held(&bless(None, &outcomes(&run), true), &twice);
    let same = "b.json: 2 known, 0 new failures, 0 fixed, 0 new cases";
    let sums = events.iter().filter(|event| matches!(&event.kind, EventKind::Note { text } if text == same));
    assert_eq!(sums.count(), 2);
}

#[test]
fn a_baseline_of_another_version_says_so() {
    let run = second_run();
    let other = Baseline::blessed(None, "mosquitto 2.1.2", &outcomes(&run), true, |_| false);
    let events = held(&other, &run);
    assert!(
        matches!(&events[1].kind, EventKind::Note { text } if text.contains("is a baseline of mosquitto 2.1.2"))
    );
    let against = Against::new(other, "b.json");
    assert!(
        against.is_of("mosquitto 2.0.11") && !against.is_of("mosquitto-like 1") && !against.is_of("bundled")
    );
}

#[test]
fn a_file_may_be_named_from_elsewhere() {
    let run = outcomes(&second_run());
    let mut moved = run.clone();
    for outcome in &mut moved {
        let file = &mut outcome.case.id.file;
        *file = format!("/home/me/{file}");
    }
    let there = bless(None, &moved, true);
    assert_eq!(bless(Some(&there), &run, true), there, "the longer name stays");
    assert_eq!(bless(None, &run, true).files().count(), 2);
}

#[test]
fn what_is_wrong_with_a_baseline_is_shown_at_its_place() {
    let good = bless(None, &outcomes(&second_run()), true).print();
    for (wrong, says) in [
        (good.replacen("\"reason\"", "\"raeson\"", 1), "did you mean `reason`?"),
        (good.replacen("\"passed\"", "\"pased\"", 1), "did you mean `passed`?"),
        (good.replacen("\"failed\"", "\"errored\"", 1), "unknown variant `errored`"),
        (good.replacen("\"baseline\": 1", "\"baseline\": 2", 1), "a baseline of form 2"),
        (good[..good.len() / 2].to_owned(), "EOF"),
        (String::new(), "EOF"),
        ("{\"é".to_owned(), "EOF"),
    ] {
        let shown = parsed(&wrong).expect_err("wrong");
        assert!(shown.contains(says), "{shown}");
    }
    assert_snapshot!(parsed(&good.replacen("\"actual\"", "\"actaul\"", 1)).expect_err("wrong"));
}

/// One case that holds on any broker, one that needs QoS 2, one that is free, one that fails anywhere.
const FOUR: &str = r#"lab: 1
name: Four
matrix: {protocol: ["3.1.1", "5"]}
scenarios:
- id: arrives
  name: A message arrives
  clients: {a: {}, b: {}}
  steps:
  - a: {subscribe: cmp/x}
  - b: {publish: cmp/x, payload: hi}
  - a: {receives: cmp/x, payload: hi}
- id: granted
  name: QoS 2 is granted
  clients: {a: {}}
  steps:
  - a: {subscribe: cmp/y, qos: 2, expect: {suback: 2}}
- id: free
  name: QoS 2 may be granted
  level: may
  clients: {a: {}}
  steps:
  - a: {subscribe: cmp/z, qos: 2, expect: {suback: 2}}
- id: wrong
  name: Another message arrives
  clients: {a: {}, b: {}}
  steps:
  - a: {subscribe: cmp/w}
  - b: {publish: cmp/w, payload: hi}
  - a: {receives: cmp/w, payload: ho, within: 200ms}
"#;

struct Bench {
    folder: TempDir,
    scenario: PathBuf,
    address: String,
    _broker: Process,
}

/// The scenarios, and a broker at an address that grants QoS 1 at most.
fn bench() -> Bench {
    let folder = broker::folder("listener 0 127.0.0.1\nallow_anonymous true\nmax_qos 1\n");
    let scenario = folder.path().join("four.yaml");
    fs::write(&scenario, FOUR).expect("written");
    let broker = Process::start(folder.path(), &[]);
    let address = format!("mqtt://127.0.0.1:{}", broker.ports[0]);
    Bench { folder, scenario, address, _broker: broker }
}

impl Bench {
    fn command(&self, command: &str) -> Command {
        let mut program = Command::new(PROGRAM);
        program.current_dir(self.folder.path()).arg(command).arg(&self.scenario);
        program
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn two_brokers_are_compared_and_the_log_holds_both_runs() {
    let bench = bench();
    let named = format!("lesser={}", bench.address);
    let assert = bench
        .command("compare")
        .args(["--broker", "bundled", "--broker", &named, "--report", "json=log.jsonl"])
        .assert()
        .success();
    let shown = String::from_utf8(assert.get_output().stdout.clone()).expect("UTF-8");
    assert!(shown.contains("a < SUBACK id=1 1") && shown.contains("│ a < SUBACK id=1 2"), "{shown}");
    assert!(shown.contains("differences: 2 violations, 2 free choices"), "{shown}");
    let log = fs::read_to_string(bench.path("log.jsonl")).expect("a log");
    let comparison = compared(&json::read(&log).expect("a log"));
    let brokers: Vec<&str> = comparison.runs.iter().map(|run| run.target.as_str()).collect();
    assert_eq!(brokers, ["bundled", "lesser"]);
    assert_eq!(comparison.count(Difference::Violation), 2);
    assert_eq!(comparison.count(Difference::Choice), 2);
    // The log alone gives the same matrix.
    assert!(shown.ends_with(&matrix(&json::read(&log).expect("a log"), MatrixOptions::default())), "{shown}");
}

#[test]
fn equal_brokers_do_not_differ_even_where_both_fail() {
    let bench = bench();
    let args = ["--broker", "bundled", "--broker", PROGRAM, "--strict-equal", "--only-different"];
    bench
        .command("compare")
        .args(args)
        .assert()
        .success()
        .stdout(contains("2 failed, 6 passed").count(2).and(contains("no difference\n")));
    let differ = ["--broker", "bundled", "--broker", &bench.address, "--strict-equal"];
    bench.command("compare").args(differ).assert().code(1);
}

#[test]
fn a_broker_that_cannot_be_had_is_told_and_the_others_are_compared() {
    let bench = bench();
    let args = ["--broker", "bundled", "--broker", "mqtt://127.0.0.1:1", "--broker", PROGRAM];
    bench
        .command("compare")
        .args(args)
        .assert()
        .code(5)
        .stdout(contains("2 failed, 6 passed").count(2))
        .stderr(contains("mqtt://127.0.0.1:1"));
}

#[test]
fn what_a_profile_rules_out_is_no_difference() {
    let bench = bench();
    fs::write(bench.path("lesser.json"), r#"{"name": "lesser 1", "capabilities": ["v5"]}"#).expect("written");
    let named = format!("lesser={}", bench.address);
    let known = ["--broker", "bundled", "--broker", &named, "--profile", "lesser=lesser.json"];
    bench
        .command("compare")
        .args(known)
        .assert()
        .success()
        .stdout(contains("2 failed, 2 passed, 4 skipped").and(contains("no difference\n")));
    for (arguments, says) in [
        (&["--broker", "bundled"][..], "name two brokers"),
        (&["--broker", "bundled", "--broker", "mosquitto", "--profile", "x.json"], "--profile FILE"),
        (&["--broker", "a=mqtt://h", "--broker", "b=mqtt://h", "--profile", "x.json"], "name each"),
        (&["--broker", "a=mqtt://h", "--broker", "bundled", "--profile", "b=x.json"], "--broker b=mqtt://"),
        (&["--broker", "mqqt://h", "--broker", "bundled"], "did you mean"),
    ] {
        bench.command("compare").args(arguments).assert().code(2).stderr(contains(says));
    }
}

#[test]
fn blessed_once_only_what_is_new_fails() {
    let bench = bench();
    let bless = || bench.command("bless").args(["--broker", &bench.address, "--write", "b.json"]).assert();
    bless().success().stdout(contains("4 deviations without a reason"));
    let text = fs::read_to_string(bench.path("b.json")).expect("written");
    let reasoned = text.replacen("\"reason\": \"\"", "\"reason\": \"max_qos 1\"", 1);
    fs::write(bench.path("b.json"), &reasoned).expect("written");
    bless().success().stdout(contains("3 deviations without a reason"));
    assert_eq!(fs::read_to_string(bench.path("b.json")).expect("there"), reasoned);

    let held = |command: &str| {
        let mut program = bench.command(command);
        program.args(["--broker", &bench.address, "--baseline", "b.json"]);
        program
    };
    let otherwise = contains("otherwise than");
    held("run")
        .assert()
        .success()
        .stdout(contains("4 known").and(contains("max_qos 1")).and(otherwise.not()));
    // One of them failed in another way then: it stays known, and every report says so.
    let start = reasoned.find("\"actual\": \"").expect("an entry");
    let changed = reasoned[..start].to_owned()
        + &reasoned[start..].replacen("\"actual\": \"", "\"actual\": \"silence, ", 1);
    fs::write(bench.path("b.json"), changed).expect("written");
    let said = || {
        contains("b.json: 4 known (1 otherwise than blessed)")
            .and(contains("it fails otherwise than when it was blessed: then silence, "))
    };
    held("run").args(["--report", "markdown=m.md"]).assert().success().stdout(said());
    let page = fs::read_to_string(bench.path("m.md")).expect("written");
    assert!(said().eval(&page), "{page}");
    // A failure that nobody blessed.
    let without = reasoned.replacen("wrong (v5)", "wrnog (v5)", 1);
    fs::write(bench.path("b.json"), &without).expect("written");
    let said = contains("1 new failure").and(contains("the baseline does not have this case"));
    held("run").assert().code(1).stdout(said);
    held("compare").args(["--broker", PROGRAM]).assert().code(1).stdout(contains("1 new failure"));
    held("bless").assert().code(2).stderr(contains("--baseline is for the runs after it"));
    fs::write(bench.path("b.json"), "{}").expect("written");
    held("run").assert().code(3).stderr(contains("missing field"));
}

#[test]
fn compare_takes_the_baseline_of_the_very_version_and_refuses_one_of_no_broker() {
    let bench = bench();
    bench.command("bless").args(["--write", "b.json"]).assert().success();
    let text = fs::read_to_string(bench.path("b.json")).expect("written");
    // In the older version everything went well.
    let older = r#"{"baseline": 1, "broker": "bundled 0.0.1", "files": {}}"#;
    fs::write(bench.path("older.json"), older).expect("written");
    let two = ["--broker", "bundled", "--broker", &bench.address];
    let compare = |baselines: &[&str]| {
        let mut program = bench.command("compare");
        program.args(two).args(baselines.iter().flat_map(|file| ["--baseline", file])).assert()
    };
    let said = contains("bundled: held against b.json").and(contains("b.json: 2 known, 0 new failures"));
    compare(&["older.json", "b.json"]).success().stdout(said);
    compare(&["older.json"]).code(1).stdout(contains("bundled: held against older.json"));
    fs::write(bench.path("b.json"), text.replacen("\"bundled\"", "\"bundeled\"", 1)).expect("written");
    let says = format!("b.json is a baseline of bundeled, and compared were bundled, {}", bench.address);
    compare(&["b.json"]).code(2).stderr(contains(says)).stdout(contains("held against").not());
}

#[test]
fn bless_refuses_what_would_spoil_a_baseline() {
    let bench = bench();
    bench.command("bless").args(["--write", "b.json"]).assert().success();
    let text = fs::read_to_string(bench.path("b.json")).expect("written");
    assert!(text.contains("wrong (v5)"), "{text}");
    let fault = mqttlab::broker::fault::all().next().expect("a fault").name;
    let both = format!("b.json is a baseline of bundled, and this is {}", bench.address);
    for (arguments, says) in [
        (["--shard", "1/2"], "--shard leaves some to others"),
        (["--fault", fault], "--fault makes it do wrong"),
        (["--broker", &bench.address], &both),
    ] {
        let mut bless = bench.command("bless");
        bless.args(["--write", "b.json"]).args(arguments).assert().code(2).stderr(contains(says));
        assert_eq!(fs::read_to_string(bench.path("b.json")).expect("there"), text, "{says}");
    }
    // Another version of the broker is the same broker.
    let older = text.replacen("\"bundled\"", "\"bundled 0.0.1\"", 1);
    fs::write(bench.path("b.json"), older).expect("written");
    bench.command("bless").args(["--write", "b.json"]).assert().success();
    assert_eq!(fs::read_to_string(bench.path("b.json")).expect("there"), text);
}

#[test]
fn a_scenario_file_leaves_the_baseline_when_it_is_gone_and_not_when_it_is_out_of_sight() {
    let root = tempfile::tempdir().expect("a folder");
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("all")).expect("made");
    for name in ["all/one.yaml", "all/two.yaml", "three.yaml"] {
        fs::write(at(name), FOUR).expect("written");
    }
    let bless = |from: &str, words: &str| {
        let mut program = Command::new(PROGRAM);
        program.current_dir(at(from)).arg("bless").args(words.split(' ')).assert().success()
    };
    let files = || -> Vec<String> {
        let text = fs::read_to_string(at("b.json")).expect("written");
        parsed(&text).expect("a baseline").files().map(str::to_owned).collect()
    };
    bless("", "all --write b.json");
    let text = fs::read_to_string(at("b.json")).expect("written");
    // From another folder the same file has another name, and the others are not gone.
    bless("all", "one.yaml --only wrong --write ../b.json").stdout(contains("dropped").not());
    assert_eq!(fs::read_to_string(at("b.json")).expect("there"), text);
    bless("all", "../three.yaml --write ../b.json").stdout(contains("dropped").not());
    assert_eq!(files(), ["../three.yaml", "all/one.yaml", "all/two.yaml"]);
    fs::write(at("b.json"), &text).expect("written");
    fs::remove_file(at("all/two.yaml")).expect("removed");
    bless("", "all --only wrong --write b.json").stdout(contains("dropped all/two.yaml"));
    assert_eq!(files(), ["all/one.yaml"]);
}

/// The version that Debian 12 has, of which there is a baseline.
const BASELINE: (&str, &str) = ("mosquitto 2.0.11", "fixtures/baselines/mosquitto-2.0.11.json");

/// Cases of a run of the standards' scenarios against mosquitto, held against its baseline: what failed
/// anew, and what failed then and does not any more.
fn against_its_baseline(path: &Path, only: &[String]) -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log.jsonl");
    let mut run = Command::new(PROGRAM);
    // What waits for a minute and more is not for every test run.
    run.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "scenarios/conformance", "--skip-tag", "slow"]);
    run.arg("--broker").arg(path).args(["--baseline", BASELINE.1, "--seed", "1"]);
    run.args(only.iter().flat_map(|id| ["--only", id]));
    let mut report = std::ffi::OsString::from("json=");
    report.push(&log);
    run.arg("--report").arg(report).output().expect("it runs");
    let mut events = json::read(&fs::read_to_string(&log).expect("a log")).expect("a log");
    let complete =
        matches!(events.pop().map(|e| e.kind), Some(EventKind::RunFinished { complete: true, .. }));
    assert!(complete, "the run was cut short");
    let ended = outcomes(&events);
    let named = |wanted: &dyn Fn(&Outcome) -> bool| -> Vec<String> {
        ended.iter().filter(|outcome| wanted(outcome)).map(|o| o.case.id.scenario.clone()).collect()
    };
    let fixed = |outcome: &Outcome| outcome.notes.iter().any(|note| note.starts_with("fixed:"));
    (named(&|outcome| outcome.verdict.is_bad()), named(&fixed))
}

#[test]
fn mosquitto_does_wrong_what_it_is_known_for_and_nothing_else() {
    let Some(path) = program("mosquitto") else { return };
    let help = std::process::Command::new(&path).arg("-h").output().expect("it says what it is");
    let version = BASELINE.0.rsplit(' ').next().expect("a version");
    if !String::from_utf8_lossy(&help.stdout).contains(&format!("version {version}")) {
        return skipped(&format!("{} is not {}", path.display(), BASELINE.0));
    }
    let (new, fixed) = against_its_baseline(&path, &[]);
    // A machine that is busy may break what a case takes for granted of time. What is new is new twice.
    let new = if new.is_empty() { new } else { against_its_baseline(&path, &new).0 };
    let fixed = if fixed.is_empty() { fixed } else { against_its_baseline(&path, &fixed).1 };
    assert_eq!(new, Vec::<String>::new(), "not in {}", BASELINE.1);
    assert_eq!(fixed, Vec::<String>::new(), "to be blessed again");
}

#[test]
fn every_baseline_reads_is_as_it_would_be_written_and_names_files_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = fs::read_dir(root.join("fixtures/baselines")).expect("a folder");
    let mut count = 0;
    for entry in folder {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("readable");
        let baseline = parsed(&text).unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()));
        assert_eq!(baseline.print(), text, "{}", path.display());
        for file in baseline.files() {
            assert!(root.join(file).is_file(), "{}: there is no {file}", path.display());
        }
        count += 1;
    }
    assert!(count >= 1, "no baseline");
}
