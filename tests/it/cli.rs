//! The command line as a person and as CI meet it: help, exit codes, colours, pipes, signals.
//! What a run finds out is judged elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};

use assert_cmd::Command;
use mqttlab::record::{EventKind, Verdict};
use mqttlab::report::json;
use predicates::prelude::*;
use predicates::str::contains;
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{self, broker::Process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mqttlab");

/// One case that passes on any broker, one that fails on every.
const TWO: &str = r"lab: 1
name: Two
scenarios:
- id: right
  name: A message arrives
  tags: [quick]
  clients: {a: {}, b: {}}
  steps:
  - a: {subscribe: home/x}
  - b: {publish: home/x, payload: hi}
  - a: {receives: home/x, payload: hi}
- id: wrong
  name: Another message arrives
  clients: {a: {}, b: {}}
  steps:
  - a: {subscribe: home/x}
  - b: {publish: home/x, payload: hi}
  - a: {receives: home/x, payload: ho, within: 200ms}
";

const LONG: &str = r"lab: 1
name: Long
scenarios:
- id: quick
  name: A client connects
  clients: {a: {}}
  steps:
  - a: connect
- id: long
  name: A client stays
  clients: {a: {}}
  steps:
  - a: connect
  - wait: 10m
";

/// A folder with one scenario file.
fn folder(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lab.yaml");
    fs::write(&file, text).expect("writes");
    (folder, file)
}

fn mqttlab() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command
}

fn run(file: &Path) -> Command {
    let mut command = mqttlab();
    command.arg("run").arg(file);
    command
}

/// Names of all commands, from the help itself.
fn commands() -> Vec<String> {
    let output = mqttlab().arg("--help").output().expect("runs");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn every_command_has_help_with_examples() {
    let commands = commands();
    assert!(commands.len() >= 5, "{commands:?}");
    mqttlab().arg("--help").assert().success().stdout(contains("Examples:\n  mqttlab run "));
    for command in commands {
        mqttlab()
            .args([command.as_str(), "--help"])
            .assert()
            .success()
            .stdout(contains("Examples:").and(contains(format!("  mqttlab {command}"))));
    }
}

#[test]
fn no_command_and_no_such_command_are_usage() {
    mqttlab().assert().code(2);
    mqttlab().arg("chekc").assert().code(2).stderr(contains("check"));
    mqttlab().args(["run", "--no-such"]).assert().code(2);
}

#[test]
fn what_makes_no_sense_is_usage() {
    let (_folder, file) = folder(TWO);
    for (arguments, says) in [
        (&["--broker", "mqqt://localhost"][..], "did you mean mqtt://localhost?"),
        (&["--broker", "mosquitto", "--virtual-time"], "needs the bundled broker"),
        (&["--profile", "x.yaml"], "--broker mqtt://"),
        (&["--report", "junti=x"], "did you mean junit?"),
        (&["--report", "junit"], "FORMAT=FILE"),
        (&["--report", "json=-", "--report", "junit=-"], "only one report"),
        (&["--set", "nothing"], "name=value"),
        (&["--timeout", "soon"], "250ms"),
        (&["--jobs", "0"], "0"),
    ] {
        run(&file).args(arguments).assert().code(2).stderr(contains(says));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_invalid() {
    for command in ["run", "check", "list"] {
        mqttlab()
            .args([command, "/no/such/file.yaml"])
            .assert()
            .code(3)
            .stderr(contains("/no/such/file.yaml"));
    }
}

#[test]
fn all_findings_of_all_files_are_printed_at_once() {
    let (_one, first) = folder("lab: 1\nname: x\nnmae: y\nscenarios: []\n");
    let (_two, second) = folder("lab: 1\nname: [\n");
    for command in ["run", "check", "list"] {
        let places = contains(first.display().to_string()).and(contains(second.display().to_string()));
        mqttlab()
            .arg(command)
            .args([&first, &second])
            .assert()
            .code(3)
            .stderr(places.and(contains("did you mean")).and(contains("errors")));
    }
}

#[test]
fn a_students_broken_file_is_invalid_before_anything_starts() {
    let (folder, file) = folder(TWO);
    for (option, text, says) in [
        ("--acl", "topic read a\ntopc read b\n", "did you mean `topic`?"),
        ("--config", "listener 1883\nmax_inflight_mesages 3\n", "did you mean `max_inflight_messages`?"),
        ("--password-file", "alice:secret\n", "alice"),
    ] {
        let path = folder.path().join("student");
        fs::write(&path, text).expect("writes");
        for command in ["check", "run"] {
            mqttlab()
                .arg(command)
                .arg(&file)
                .arg(option)
                .arg(&path)
                .assert()
                .code(3)
                .stdout(contains("PASS").not())
                .stderr(contains(path.display().to_string()).and(contains(says)));
        }
    }
}

#[test]
fn check_tells_the_least_time_and_the_reading_of_a_table() {
    let (_folder, file) = folder(LONG);
    mqttlab().arg("check").arg(&file).assert().success().stdout(contains("2 cases, at least 10 min 0 s"));
    let sheet = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/labs/acl/lab03.yaml");
    mqttlab()
        .arg("check")
        .arg(sheet)
        .assert()
        .success()
        .stdout(contains("17 rows").and(contains("mark which action a row tests")));
}

#[test]
fn list_names_cases_for_people_and_programs() {
    let (_folder, file) = folder(TWO);
    mqttlab()
        .arg("list")
        .arg(&file)
        .assert()
        .success()
        .stdout(contains("lab · right  A message arrives  #quick").and(contains("2 cases")));
    let output = mqttlab().args(["list", "--json", "--tag", "quick"]).arg(&file).output().expect("runs");
    let case: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(case["id"], "right");
    assert_eq!(case["line"], 4);
}

#[test]
fn nothing_selected() {
    let (_folder, file) = folder(TWO);
    for (arguments, says) in [
        (["--only", "rigth"], "did you mean right?"),
        (["--only", "right.1"], "matches nothing"),
        (["--tag", "quik"], "did you mean quick?"),
    ] {
        run(&file).args(arguments).assert().code(4).stderr(contains(says));
    }
    run(&file).args(["--tag", "quick", "--skip-tag", "quick"]).assert().code(4);
    // Where something is left, it is said on the side.
    for command in ["run", "list"] {
        let mut some = mqttlab();
        some.arg(command).arg(&file).args(["--only", "right", "--only", "rigth"]);
        some.assert()
            .success()
            .stderr(contains("warning: --only rigth matches nothing, did you mean right?"));
    }
}

#[test]
fn nothing_but_skipped_is_no_success() {
    let needs = "lab: 1\nscenarios:\n- id: a\n  name: n\n  requires: restart\n  clients: {a: {}}\n  steps:\n  - a: connect\n";
    let (_folder, file) = folder(needs);
    let conf = support::broker::folder(support::broker::OPEN);
    let broker = Process::start(conf.path(), &[]);
    run(&file)
        .args(["--broker", &format!("mqtt://127.0.0.1:{}", broker.ports[0])])
        .assert()
        .code(4)
        .stdout(contains("NOTHING TESTED: 1 skipped").and(contains("restart")));
}

#[test]
fn one_revision_can_be_chosen() {
    let (_folder, file) = folder(&TWO.replace("name: Two", "name: Two\nmatrix: {protocol: ['3.1.1', '5']}"));
    run(&file)
        .args(["--only", "right", "--protocol", "5", "--verbose"])
        .assert()
        .success()
        .stdout(contains("v5").and(contains("v3.1.1").not()));
    run(&file).args(["--protocol", "3.1"]).assert().code(4);
    run(&file).args(["--protocol", "4"]).assert().code(2).stderr(contains("3.1, 3.1.1 and 5"));
}

#[test]
fn the_same_scenario_runs_over_every_transport() {
    let (_folder, file) = folder(TWO);
    for (transport, name) in [("tls", "over TLS"), ("ws", "over WebSocket"), ("wss", "over secure WebSocket")]
    {
        run(&file)
            .args(["--only", "right", "--transport", transport])
            .assert()
            .success()
            .stdout(contains(name).and(contains("1 passed")));
    }
    run(Path::new("scenarios/labs/users.yaml")).args(["--transport", "wss"]).assert().success();
    run(Path::new("scenarios/labs/acl/traps.yaml")).args(["--transport", "tls"]).assert().success();
    run(Path::new("scenarios/labs/tls/tls.yaml"))
        .args(["--transport", "ws"])
        .assert()
        .code(4)
        .stdout(contains("listeners of its own"));
    run(&file)
        .args(["--transport", "tls", "--broker", "mqtt://localhost"])
        .assert()
        .code(2)
        .stderr(contains("mqtts://"));
}

#[test]
fn all_passed_is_0_and_a_failure_is_1() {
    let (_folder, file) = folder(TWO);
    run(&file).args(["--only", "right"]).assert().code(0).stdout(contains("\n1 passed in "));
    run(&file).assert().code(1).stdout(
        contains("FAIL [").and(contains("lab · wrong")).and(contains("\nFAILED: 1 failed, 1 passed in ")),
    );
    run(&file).arg("--exit-zero").assert().code(0).stdout(contains("FAILED: 1 failed"));
}

#[test]
fn the_repeating_command_repeats_it() {
    let (_folder, file) = folder(TWO);
    let output = run(&file).arg("--virtual-time").output().expect("runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let again = text.lines().find_map(|line| line.trim().strip_prefix("again")).expect("says how").trim();
    let words: Vec<&str> = again.split(' ').collect();
    assert_eq!(words[0], "mqttlab");
    assert!(words.contains(&"--virtual-time") && words.contains(&"wrong"), "{again}");
    mqttlab()
        .args(&words[1..])
        .assert()
        .code(1)
        .stdout(contains("> PUBLISH home/x").and(contains("1 failed in")));
}

#[test]
fn no_broker_is_5() {
    let (_folder, file) = folder(TWO);
    run(&file).args(["--broker", "/no/such/broker"]).assert().code(5).stderr(contains("/no/such/broker"));
}

#[test]
fn a_report_that_cannot_be_written_is_5_before_anything_starts() {
    let (_folder, file) = folder(TWO);
    run(&file)
        .args(["--report", "junit=/no/such/folder/junit.xml"])
        .assert()
        .code(5)
        .stdout(predicate::str::is_empty())
        .stderr(contains("/no/such/folder/junit.xml"));
}

#[test]
fn a_budget_that_ends_is_6() {
    let (_folder, file) = folder(TWO);
    run(&file).args(["--budget", "0s"]).assert().code(6).stdout(contains("INCOMPLETE"));
}

#[test]
fn ctrl_c_is_130_with_a_report_that_says_it_is_incomplete() {
    let (folder, file) = folder(LONG);
    let log = folder.path().join("run.jsonl");
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).expect("a folder");
    let junit = folder.path().join("junit.xml");
    let mut child = Program::new(PROGRAM)
        .arg("run")
        .arg(&file)
        // A broker of its own: in this process, a long wait would cost no time.
        .args(["--broker", PROGRAM, "--verbose", "--jobs", "1"])
        .env("TMPDIR", &temporary)
        .arg("--report")
        .arg(format!("json={}", log.display()))
        .arg("--report")
        .arg(format!("junit={}", junit.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let passed = lines.by_ref().map(|line| line.expect("UTF-8")).find(|line| line.starts_with("PASS"));
    assert!(passed.is_some(), "the quick case passes while the long one stays");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it lives");
    let rest: Vec<String> = lines.map(|line| line.expect("UTF-8")).collect();
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    assert!(rest.last().is_some_and(|line| line.starts_with("INCOMPLETE: 1 passed, 1 not run")), "{rest:?}");
    assert_eq!(fs::read_dir(temporary).expect("a folder").count(), 0, "the broker's files are gone");

    let events = json::read(&fs::read_to_string(log).expect("written")).expect("a log");
    let outcomes: Vec<Verdict> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::CaseFinished { outcome } => Some(outcome.verdict),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [Verdict::Passed]);
    let junit = fs::read_to_string(junit).expect("written");
    assert!(junit.contains("1 cases did not end") && junit.contains(r#"errors="1""#), "{junit}");
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let (_folder, file) = folder("lab: 1\nnmae: x\nscenarios: []\n");
    let check = || {
        let mut command = mqttlab();
        command.arg("check").arg(&file);
        command
    };
    let coloured = contains("\u{1b}[");
    check().assert().code(3).stderr(coloured.clone().not());
    check().env("CLICOLOR_FORCE", "1").assert().code(3).stderr(coloured.clone());
    check().arg("--color=always").assert().code(3).stderr(coloured.clone());
    check().env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").assert().code(3).stderr(coloured.clone().not());
    check().env("CLICOLOR_FORCE", "1").arg("--color=never").assert().code(3).stderr(coloured.not());

    let (_folder, file) = folder(TWO);
    run(&file).assert().stdout(contains("\u{1b}[").not());
    run(&file).env("CLICOLOR_FORCE", "1").assert().stdout(contains("\u{1b}[1m\u{1b}[31mFAIL\u{1b}[0m"));
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let (_folder, file) = folder(TWO);
    let file = file.display().to_string();
    for (arguments, code) in [
        (&["explain", "statements"][..], 0),
        (&["run", "--trace", &file], 1),
        (&["list", &file], 0),
        (&["--help"], 0),
    ] {
        let mut child = Program::new(PROGRAM)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("UTF-8");
        assert_eq!(child.wait().expect("ends").code(), Some(code), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_report_on_stdout_is_alone_there() {
    let (_folder, file) = folder(TWO);
    let output = run(&file).args(["--report", "json=-"]).output().expect("runs");
    let events = json::read(&String::from_utf8(output.stdout).expect("UTF-8")).expect("nothing but the log");
    assert!(matches!(events.first().expect("events").kind, EventKind::RunStarted { cases: 2, .. }));
    assert!(matches!(events.last().expect("events").kind, EventKind::RunFinished { complete: true, .. }));
    assert!(String::from_utf8_lossy(&output.stderr).contains("FAILED: 1 failed"));
}

#[test]
fn explain_knows_what_the_program_knows() {
    mqttlab().arg("explain").assert().success().stdout(contains("options").and(contains("exit-codes")));
    for (topic, says) in [
        ("acl_file", "who may read and write"),
        ("exit-codes", "130"),
        ("junit", "--report junit=junit.xml"),
        ("[MQTT-3.3.1-4]", "QoS"),
        ("message_expiry", "0x02"),
        ("receives_nothing", "- a: receives_nothing"),
        ("L014", "a topic filter"),
        ("PUBLISH", "payload"),
        ("0x87", "Not authorized"),
    ] {
        mqttlab().args(["explain", topic]).assert().success().stdout(contains(says));
    }
    let output = mqttlab().args(["explain", "--schema"]).output().expect("runs");
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(schema["properties"]["scenarios"]["items"]["additionalProperties"], false);
    assert!(schema["$defs"]["client-verb"].to_string().contains("receives_nothing"));
    mqttlab().args(["explain", "aclfile"]).assert().code(2).stderr(contains("did you mean acl_file?"));
}

#[test]
fn fill_writes_into_the_sheet_and_nowhere_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let sheet = folder.path().join("mine.md");
    let before = fs::read_to_string(root.join("fixtures/tables/lab03.md")).expect("the sheet");
    fs::write(&sheet, &before).expect("writes");
    let acl = root.join("fixtures/acl/lab03/as-the-text-asks.acl");
    run(&sheet).arg("--acl").arg(acl).args(["--fill", "--virtual-time"]).assert().code(1);
    let after = fs::read_to_string(&sheet).expect("the sheet");
    let changed: Vec<(&str, &str)> =
        before.lines().zip(after.lines()).filter(|(before, after)| before != after).collect();
    assert_eq!(before.lines().count(), after.lines().count());
    assert_eq!(changed.len(), 17, "every row is filled: {changed:#?}");
    let letters: String = changed
        .iter()
        .map(|(_, row)| row.trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim())
        .collect();
    assert_eq!(letters, "ynyyyyyyyyyyyyyyy", "the text's ACL misses row 2");
    for (before, after) in changed {
        let head = |row: &str| row.rsplitn(3, '|').nth(2).map(str::to_owned);
        assert_eq!(head(before), head(after), "the other cells are as they were");
    }
}

#[test]
fn every_code_of_a_finding_is_in_the_reference_and_used() {
    let output = mqttlab().args(["explain", "codes"]).output().expect("runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let known: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    let literal = Regex::new(r#""([ABCLPST][0-9]{3})""#).expect("valid");
    let mut used = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "codes.rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                used.extend(literal.captures_iter(&text).map(|found| found[1].to_owned()));
            }
        }
    }
    assert!(known.len() >= 60, "{known:?}");
    assert_eq!(used.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
}
