//! The scenarios of the standards, all of them: how many a second, and how long a run takes, in real
//! and virtual time, with the second client and on mosquitto. Verdicts are not judged here, but none
//! may be errored.

use std::fs;
use std::process::{Command, Stdio};

use mqttlab::record::{EventKind, Verdict};
use mqttlab::report::json;

use crate::process::{MQTTLAB, measure};

/// Cases of keep-alives of minutes are played where time is virtual.
const WAYS: &[(&str, &[&str])] = &[
    ("bundled broker, real time", &["--real-time", "--skip-tag", "slow"]),
    ("bundled broker, virtual time", &["--virtual-time"]),
    ("bundled broker, rumqttc", &["--engine", "rumqttc", "--skip-tag", "slow"]),
    ("mosquitto", &["--broker", "mosquitto", "--skip-tag", "slow"]),
];

/// Plays them in every way and prints what it took.
pub fn run() {
    println!("\nScenarios of the standards\n");
    println!("| way | passed | failed | skipped | seconds | scenarios/s | peak MB |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (name, arguments) in WAYS {
        play(name, arguments);
    }
}

fn play(name: &str, arguments: &[&str]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("run.jsonl");
    let mut command = Command::new(MQTTLAB);
    command.args(["run", "scenarios/conformance", "--report"]).arg(format!("json={}", log.display()));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    let (code, time, peak) = measure(&mut command);
    if code == 5 {
        println!("| {name} | not to be had | | | | | |");
        return;
    }
    let text = fs::read_to_string(&log).expect("the log that was asked for");
    let events = json::read(&text).expect("a log reads back");
    let count = |wanted: Verdict| {
        let is = |kind: &EventKind| matches!(kind, EventKind::CaseFinished { outcome } if outcome.verdict == wanted);
        events.iter().filter(|event| is(&event.kind)).count()
    };
    assert_eq!(count(Verdict::Errored), 0, "{name}: some could not be told");
    let (passed, failed) = (count(Verdict::Passed), count(Verdict::Failed));
    let rate = (passed + failed) as f64 / time.as_secs_f64();
    println!(
        "| {name} | {passed} | {failed} | {} | {:.2} | {rate:.0} | {} |",
        count(Verdict::Skipped),
        time.as_secs_f64(),
        peak / 1024,
    );
}
