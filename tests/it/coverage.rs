//! `mqttlab coverage`, and what it finds in this repository: every statement that can be told from
//! outside, wholly or in part, has a scenario or a check, and no scenario names a statement that does not exist.

use std::fs;
use std::path::Path;

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

use crate::support::program::{folder_of, mqttlab};

const LAB: &str = r"lab: 1
name: Coverage
scenarios:
- id: first
  name: A will is sent
  matrix: {protocol: ['3.1.1', '5']}
  spec: {3.1.1: [MQTT-3.1.2-8], 5: [MQTT-3.1.2-8, MQTT-3.1.4-6]}
  clients: {a: {}}
  steps:
  - a: connect
- id: second
  name: It is sent again
  spec: {3.1.1: [MQTT-3.1.2-8]}
  clients: {a: {}}
  steps:
  - a: connect
  - a: {subscribe: c/nothing}
  - a: {publish: c/nothing, payload: other}
  - a: {receives: c/nothing, payload: this, within: 100ms}
";

fn document(folder: &Path, words: &str) -> Value {
    let output = mqttlab(folder, words).output().expect("runs");
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {error}"))
}

/// The statements of a standard in the document.
fn statements<'d>(document: &'d Value, standard: &str) -> &'d [Value] {
    let standards = document["standards"].as_array().expect("standards");
    let found = standards.iter().find(|one| one["standard"] == standard).expect("the standard");
    found["statements"].as_array().expect("statements")
}

fn statement<'d>(document: &'d Value, standard: &str, id: &str) -> &'d Value {
    statements(document, standard).iter().find(|one| one["id"] == id).expect("the statement")
}

#[test]
fn every_statement_that_can_be_told_is_covered() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Exit code 3 if a scenario names what does not exist.
    mqttlab(root, "coverage --missing --require-complete").assert().code(0);
    let missing = document(root, "coverage --missing --json");
    let mut problems = Vec::new();
    for standard in ["3.1.1", "5"] {
        for one in statements(&missing, standard) {
            problems.push(format!("MQTT {standard}: nothing covers {}: {}", one["id"], one["paraphrase"]));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn scenarios_checks_and_results_stand_beside_each_statement() {
    let folder = folder_of(LAB);
    mqttlab(folder.path(), "run lab.yaml --report json=run.jsonl").assert().code(1);
    let all = document(folder.path(), "coverage lab.yaml --log run.jsonl --json");
    let will = statement(&all, "3.1.1", "MQTT-3.1.2-8");
    assert_eq!(will["scenarios"]["lab.yaml"], serde_json::json!(["first", "second"]));
    assert_eq!(will["results"], serde_json::json!({"passed": 1, "failed": 1}));
    let new = statement(&all, "5", "MQTT-3.1.4-6");
    assert_eq!(new["results"], serde_json::json!({"passed": 1}));
    assert!(all["standards"][0]["statements"].as_array().expect("statements").len() > 141);
    let checked = statements(&all, "5")
        .iter()
        .any(|one| one["broker_checks"].as_array().is_some_and(|c| !c.is_empty()));
    assert!(checked, "checks cover statements too");

    mqttlab(folder.path(), "coverage lab.yaml --version 3.1.1 --log run.jsonl").assert().code(0).stdout(
        contains("lab.yaml: first, second")
            .and(contains("1 passed, 1 failed"))
            .and(contains("unseen: client duty"))
            .and(contains("of 109 covered; at most 99 can be told from outside"))
            .and(contains("MQTT 5").not()),
    );
}

#[test]
fn what_only_checks_watch_has_a_result_too() {
    let folder = folder_of(LAB);
    let checked = |logs: &str| -> Value {
        let all = document(folder.path(), &format!("coverage lab.yaml {logs} --json"));
        let one = statement(&all, "3.1.1", "MQTT-3.8.4-5").clone();
        assert_eq!(one["scenarios"], serde_json::json!({}), "no scenario names it");
        assert_eq!(one["results"], serde_json::json!({}));
        let of = |check: &&Value| check["check"] == "broker-answer-count";
        one["checked"].as_array().expect("checks").iter().find(of).cloned().unwrap_or_default()
    };
    mqttlab(folder.path(), "run lab.yaml --report json=good.jsonl").assert().code(1);
    mqttlab(folder.path(), "run lab.yaml --fault suback-code-too-many --report json=bad.jsonl")
        .assert()
        .code(1);
    let good = checked("--log good.jsonl");
    assert!(good["connections"].as_u64() > Some(1), "{good}");
    assert_eq!(good["broken"], serde_json::json!([]));
    let bad = checked("--log good.jsonl --log bad.jsonl");
    assert_eq!(bad["broken"], serde_json::json!(["lab · second"]));
    assert!(bad["connections"].as_u64() > good["connections"].as_u64(), "of both logs: {bad}");
    let mended = checked("--log bad.jsonl --log good.jsonl");
    assert_eq!(mended["broken"], serde_json::json!([]), "the last result of a case counts");
    assert_eq!(checked(""), Value::Null, "without a log there is no result");
    mqttlab(folder.path(), "coverage lab.yaml --version 3.1.1 --log good.jsonl")
        .assert()
        .stdout(contains("check broker-answer-count found nothing on "));
    mqttlab(folder.path(), "coverage lab.yaml --version 3.1.1 --log bad.jsonl --markdown")
        .assert()
        .stdout(contains("check broker-answer-count broken in 1 case"));
}

#[test]
fn markdown_is_a_table_with_the_ceiling_above_it() {
    let folder = folder_of(LAB);
    let output = mqttlab(folder.path(), "coverage lab.yaml --markdown --version 5").output().expect("runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.starts_with("## MQTT 5\n\n- yes: "), "{text}");
    assert!(text.contains("at most 181 can be told from outside"), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 253, "{} rows", rows.len());
    for row in rows {
        let cells = row.replace("\\|", "").matches('|').count();
        assert_eq!(cells, 5, "{row}");
    }
}

#[test]
fn a_gap_fails_only_who_asks() {
    let folder = folder_of(LAB);
    mqttlab(folder.path(), "coverage lab.yaml").assert().code(0).stdout(contains("not covered"));
    mqttlab(folder.path(), "coverage lab.yaml --require-complete").assert().code(1);
    mqttlab(folder.path(), "coverage lab.yaml --log nowhere.jsonl")
        .assert()
        .code(3)
        .stderr(contains("nowhere.jsonl"));
    // An id that only 3.1.1 has.
    fs::write(folder.path().join("lab.yaml"), LAB.replace("MQTT-3.1.4-6", "MQTT-2.3.1-1")).expect("writes");
    mqttlab(folder.path(), "coverage lab.yaml")
        .assert()
        .code(3)
        .stderr(contains("MQTT 5.0 has no statement MQTT-2.3.1-1"));
}
