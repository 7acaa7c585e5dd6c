//! `--shard`, blobs and `mqttlab merge`, from the command line: the parts of a run are disjoint, nothing
//! is lost, and what does not belong together is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mqttlab::record::{CaseId, EventKind};
use mqttlab::report::json;
use predicates::prelude::*;
use predicates::str::contains;

use crate::support::program::{folder_of, mqttlab};

/// Two variants of a scenario that waits, a table, and three that take no time; `wrong` fails.
const MANY: &str = r"lab: 1
name: Many
broker:
  users:
    alice: {password: a1, allow: {readwrite: ['home/#']}}
scenarios:
- id: waits
  name: A client stays for a while
  matrix: {protocol: ['3.1.1', '5']}
  clients: {a: {user: alice}}
  steps:
  - a: connect
  - wait: 5s
- id: acl
  name: Who may publish
  acl_table: |
    | Topic  | User  | Publish | Subscribe | Expectation |
    |--------|-------|---------|-----------|-------------|
    | home/x | alice | X       | -         | PASS        |
    | away/x | alice | X       | -         | FAIL        |
- id: one
  name: A client connects
  clients: {a: {user: alice}}
  steps:
  - a: connect
- id: two
  name: Another client connects
  clients: {a: {user: alice}}
  steps:
  - a: connect
";

const WRONG: &str = r"- id: wrong
  name: A message arrives that nobody sent
  clients: {a: {user: alice}}
  steps:
  - a: {subscribe: home/x}
  - a: {publish: home/x, payload: hi}
  - a: {receives: home/x, payload: ho, within: 200ms}
";

/// Runs shards 1 to n; blobs are `1.blob` and so on.
fn run_all(folder: &Path, of: usize) {
    for index in 1..=of {
        let words = format!(
            "run lab.yaml --virtual-time --shard {index}/{of} --report blob={index}.blob --exit-zero"
        );
        mqttlab(folder, &words).assert().code(0);
    }
}

/// Cases of a log and the verdict of each.
fn verdicts(file: &Path) -> BTreeMap<CaseId, String> {
    let text = fs::read_to_string(file).expect("a log");
    let events = json::read_log(&text).expect("events").events;
    let outcomes = events.into_iter().filter_map(|event| match event.kind {
        EventKind::CaseFinished { outcome } => Some((outcome.case.id, outcome.verdict.to_string())),
        _ => None,
    });
    let all: Vec<_> = outcomes.collect();
    let found: BTreeMap<_, _> = all.iter().cloned().collect();
    assert_eq!(found.len(), all.len(), "no case twice");
    found
}

#[test]
fn shards_part_a_run_and_merge_puts_it_together() {
    let folder = folder_of(&[MANY, WRONG].concat());
    let at = |name: &str| folder.path().join(name);
    mqttlab(folder.path(), "run lab.yaml --virtual-time --report json=whole.jsonl").assert().code(1);
    run_all(folder.path(), 3);
    let parts: Vec<_> = (1..=3).map(|index| verdicts(&at(&format!("{index}.blob")))).collect();
    let scenarios = |part: &BTreeMap<CaseId, String>| -> Vec<String> {
        let mut ids: Vec<String> = part.keys().map(|id| id.scenario.clone()).collect();
        ids.dedup();
        ids
    };
    for part in &parts {
        assert!(!part.is_empty(), "five scenarios are enough for three shards");
    }
    let all: Vec<String> = parts.iter().flat_map(scenarios).collect();
    assert_eq!(all.len(), 5, "variants and rows stay together: {all:?}");

    mqttlab(folder.path(), "merge 3.blob 1.blob 2.blob --report json=all.jsonl --report tap=all.tap")
        .assert()
        .code(1)
        .stdout(contains("1 failed, 6 passed"));
    assert_eq!(verdicts(&at("all.jsonl")), verdicts(&at("whole.jsonl")));
    assert!(fs::read_to_string(at("all.tap")).expect("a report").contains("\n1..7\n"));
    mqttlab(folder.path(), "merge all.jsonl --exit-zero").assert().code(0);
}

#[test]
fn merge_makes_any_report_of_a_single_log() {
    let folder = folder_of(MANY);
    mqttlab(folder.path(), "run lab.yaml --virtual-time --report json=run.jsonl --report junit=a.xml")
        .assert()
        .code(0);
    mqttlab(folder.path(), "merge run.jsonl --report junit=b.xml --report json=again.jsonl").assert().code(0);
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).expect("written");
    assert_eq!(text("a.xml"), text("b.xml"));
    assert_eq!(text("run.jsonl"), text("again.jsonl"));
}

#[test]
fn a_comparison_cut_in_its_second_run_is_incomplete() {
    let folder = folder_of(MANY);
    mqttlab(folder.path(), "compare lab.yaml --broker bundled --broker bundled --report json=all.jsonl")
        .assert()
        .code(0);
    mqttlab(folder.path(), "merge all.jsonl").assert().code(0);
    let text = fs::read_to_string(folder.path().join("all.jsonl")).expect("a log");
    let second = text.rfind(r#""event":"run_started""#).expect("two runs");
    let end = second + text[second..].find('\n').expect("a line") + 1;
    fs::write(folder.path().join("cut.jsonl"), &text[..end]).expect("writes");
    mqttlab(folder.path(), "merge cut.jsonl --report junit=cut.xml")
        .assert()
        .code(6)
        .stdout(contains("INCOMPLETE: no case ended, 6 not run"));
    let xml = fs::read_to_string(folder.path().join("cut.xml")).expect("written");
    assert!(xml.contains("the run was cut short: 6 cases did not end"), "{xml}");
}

#[test]
fn reports_do_not_share_a_file_and_old_ones_stay_until_all_can_be_opened() {
    let folder = folder_of(MANY);
    let words = "--report json=a.out --report junit=./a.out";
    for command in ["run lab.yaml", "compare lab.yaml --broker bundled --broker bundled", "merge all.jsonl"] {
        mqttlab(folder.path(), &format!("{command} {words}")).assert().code(2);
    }
    let old = folder.path().join("old.xml");
    fs::write(&old, "x".repeat(1 << 20)).expect("writes");
    mqttlab(folder.path(), "run lab.yaml --report junit=old.xml --report json=none/a.jsonl").assert().code(5);
    assert_eq!(fs::metadata(&old).expect("kept").len(), 1 << 20);
    mqttlab(folder.path(), "run lab.yaml --report junit=old.xml --report json=all.jsonl").assert().code(0);
    assert!(fs::read_to_string(&old).expect("new").trim_end().ends_with("</testsuites>"));
    mqttlab(folder.path(), "merge all.jsonl --report pcapng=one.pcapng").assert().code(2);
}

#[test]
fn waits_are_shared_out_where_they_cost_time() {
    let folder = folder_of(MANY);
    // In real time the scenario that waits weighs more than all others.
    let listed = |index: usize| {
        let words =
            format!("run lab.yaml --broker mqtt://127.0.0.1:1 --shard {index}/2 --report blob={index}.blob");
        // Nobody is there, which is found when the parts are known.
        mqttlab(folder.path(), &words).assert().code(5);
        let text = fs::read_to_string(folder.path().join(format!("{index}.blob"))).expect("a blob");
        let log = json::read_log(&text).expect("events");
        log.events.iter().find_map(|event| match &event.kind {
            EventKind::RunStarted { cases, plan, .. } => Some((*cases, plan.as_ref().map(|plan| plan.cases))),
            _ => None,
        })
    };
    assert_eq!(listed(1), Some((2, Some(6))), "two variants that wait");
    assert_eq!(listed(2), Some((4, Some(6))), "two rows and two scenarios");
}

#[test]
fn a_shard_without_scenarios_is_no_failure() {
    let folder = folder_of(MANY);
    run_all(folder.path(), 5);
    assert!(verdicts(&folder.path().join("5.blob")).is_empty());
    mqttlab(folder.path(), "merge 1.blob 2.blob 3.blob 4.blob 5.blob")
        .assert()
        .code(0)
        .stdout(contains("6 passed"));
}

#[test]
fn a_missing_or_cut_shard_makes_the_run_incomplete_and_the_reports_say_so() {
    let folder = folder_of(MANY);
    run_all(folder.path(), 2);
    mqttlab(folder.path(), "merge 1.blob --report markdown=m.md")
        .assert()
        .code(6)
        .stdout(contains("shard 2/2 is missing").and(contains("INCOMPLETE")));
    assert!(fs::read_to_string(folder.path().join("m.md")).expect("written").contains("INCOMPLETE"));

    let second = folder.path().join("2.blob");
    let text = fs::read_to_string(&second).expect("a blob");
    fs::write(&second, &text[..text.len() - 10]).expect("writes");
    mqttlab(folder.path(), "merge 1.blob 2.blob").assert().code(6).stdout(contains("cut short"));
    fs::write(&second, "").expect("writes");
    mqttlab(folder.path(), "merge 1.blob 2.blob").assert().code(6).stdout(contains("2.blob is empty"));
}

#[test]
fn what_is_not_of_one_run_is_refused() {
    let folder = folder_of(MANY);
    run_all(folder.path(), 2);
    let refused = |words: &str, code: i32, why: &str| {
        mqttlab(folder.path(), words).assert().code(code).stderr(contains(why.to_owned()));
    };
    refused("merge 1.blob 2.blob 1.blob", 2, "both hold shard 1/2");
    mqttlab(folder.path(), "run lab.yaml --virtual-time --shard 2/2 --only one --report blob=other.blob")
        .assert()
        .code(0);
    refused("merge 1.blob other.blob", 2, "are not of one run");
    mqttlab(folder.path(), "run lab.yaml --shard 2/2 --report blob=real.blob").assert().code(0);
    refused("merge 1.blob real.blob", 2, "are not of one run");
    // The same cases by name, with another text.
    fs::write(folder.path().join("lab.yaml"), MANY.replace("stays", "waits")).expect("writes");
    mqttlab(folder.path(), "run lab.yaml --virtual-time --shard 2/2 --report blob=edited.blob")
        .assert()
        .code(0);
    refused("merge 1.blob edited.blob", 2, "are not of one run");
    refused("merge 1.blob lab.yaml", 3, "no event log");
    refused("merge 1.blob nowhere.blob", 3, "nowhere.blob");
    refused("merge", 2, "FILE");
    refused("run lab.yaml --shard 3/2", 2, "i/n");
}

/// A password as `mqttlab passwd` writes it.
const HASHED: &str = "$6$b2e029263xX1sqS0$SZjzUxzcsMqR/1N5tmCa8hL4vLV7YxvDcHj78FfScV2pRTEXEhUIdFqkY6eCsdJIXGtPvAn8GXaBruJaYqpYBA==";

#[test]
fn files_of_the_command_line_are_part_of_the_plan_with_what_they_hold() {
    let folder = folder_of(MANY);
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("writes");
    // The hash of the plan, whether or not the broker can be had.
    let plan = |arguments: &str| {
        let words = format!("run lab.yaml --only one --report blob=a.blob {arguments}");
        mqttlab(folder.path(), &words).output().expect("it runs");
        let text = fs::read_to_string(folder.path().join("a.blob")).expect("a blob");
        fs::remove_file(folder.path().join("a.blob")).expect("removed");
        let log = json::read_log(&text).expect("events");
        let plans = log.events.into_iter().find_map(|event| match event.kind {
            EventKind::RunStarted { plan, .. } => plan,
            _ => None,
        });
        plans.expect("a plan").hash
    };
    let baseline = |broker: &str| format!(r#"{{"baseline": 1, "broker": "{broker}", "files": {{}}}}"#);
    for (arguments, one, other) in [
        ("--acl given", "user alice\ntopic home/x\n", "user alice\ntopic home/y\n"),
        ("--password-file given", &format!("alice:{HASHED}\n"), &format!("alice:{HASHED}\nbob:{HASHED}\n")),
        ("--config given", "allow_anonymous true\n", "allow_anonymous false\n"),
        ("--baseline given", &baseline("bundled"), &baseline("bundled 2")),
        ("--broker mqtt://127.0.0.1:1 --profile given", r#"{"name": "a"}"#, r#"{"name": "b"}"#),
    ] {
        write("given", one);
        let first = plan(arguments);
        assert_eq!(plan(arguments), first, "{arguments}");
        write("given", other);
        assert_ne!(plan(arguments), first, "{arguments}");
    }
}
