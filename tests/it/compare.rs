//! Brokers compared: the matrix from a recorded log, and the commands `compare` and `bless` on real brokers.
//! What a single run finds is judged elsewhere; what a baseline means, in `baselines`.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use insta::assert_snapshot;
use mqttlab::record::Event;
use mqttlab::report::comparison::{Comparison, Difference};
use mqttlab::report::{Matrix, MatrixOptions, json};
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

use crate::baselines::parsed;
use crate::report::{events, written};
use crate::support::broker::{self, Process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mqttlab");

fn matrix(events: &[Event], options: MatrixOptions) -> String {
    written(|out| Box::new(Matrix::new(out, options)), events)
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
    assert_snapshot!(matrix(&events("compared"), MatrixOptions::default()));
}

#[test]
fn the_matrix_can_be_of_differences_only() {
    let only = MatrixOptions { only_different: true, ..MatrixOptions::default() };
    assert_snapshot!(matrix(&events("compared"), only));
}

#[test]
fn the_matrix_in_colour_and_in_full() {
    let all = MatrixOptions { colour: true, verbose: true, ..MatrixOptions::default() };
    assert_snapshot!(matrix(&events("compared"), all).replace('\u{1b}', "^"));
}

#[test]
fn one_run_is_a_matrix_of_one_column() {
    let text = matrix(&events("passed"), MatrixOptions::default());
    assert!(text.ends_with("bundled  2 passed in 12 ms\nno difference\n"), "{text}");
    assert_eq!(matrix(&[], MatrixOptions::default()), "\nnothing was compared\n");
}

#[test]
fn violations_free_choices_and_what_cannot_be_told_are_told_apart() {
    let comparison = compared(&events("compared"));
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
fn failures_are_repeated_on_the_broker_that_failed() {
    let bench = bench();
    let named = format!("lesser={}", bench.address);
    bench
        .command("compare")
        .args(["--broker", "bundled", "--broker", &named, "--report", "json=log.jsonl"])
        .args(["junit", "markdown", "html", "github"].map(|name| format!("--report={name}={name}")))
        .assert()
        .success();
    for name in ["junit", "markdown", "html", "github"] {
        let text = fs::read_to_string(bench.path(name)).expect("a report");
        let again = format!("--only granted --broker {}", bench.address);
        assert!(text.contains(&again), "{name}: {text}");
        assert!(text.contains("--only wrong --trace"), "{name}: {text}");
    }
}

#[test]
fn one_capture_of_several_brokers_is_refused_before_anything_runs() {
    let bench = bench();
    bench
        .command("compare")
        .args(["--only", "granted", "--report", "pcapng=one.pcapng"])
        .args(["--broker", "bundled", "--broker", "bundled"])
        .assert()
        .code(2)
        .stdout("");
    assert!(!bench.path("one.pcapng").exists());
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
    held("compare")
        .args(["--broker", PROGRAM, "--report", "markdown=c.md"])
        .assert()
        .code(1)
        .stdout(contains("1 new failure"));
    let page = fs::read_to_string(bench.path("c.md")).expect("written");
    let again = |broker: &str, rest: &str| format!("--only wrong --broker {broker} {rest}--trace");
    assert!(page.contains(&again(&bench.address, "--baseline b.json ")), "{page}");
    assert!(page.contains(&again(PROGRAM, "")), "{page}");
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
