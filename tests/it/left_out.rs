//! `--skip` and what a baseline leaves out: cases that a broker must not be played. Also the CONNECT lines of
//! packet blocks on brokers of other people, which want an account or a keep-alive.

use std::fs;
use std::path::Path;

use mqttlab::record::{EventKind, Verdict};
use mqttlab::report::json;
use predicates::prelude::*;
use predicates::str::contains;

use crate::support::broker::{self, Process};
use crate::support::program::{folder_of, mqttlab};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mqttlab");

/// `wrong` fails in both versions; the second row of `rights` fails, the first does not.
const LAB: &str = r#"lab: 1
name: Left out
matrix: {protocol: ["3.1.1", "5"]}
scenarios:
- id: right
  name: A message arrives
  clients: {a: {}, b: {}}
  steps:
  - a: {subscribe: out/r}
  - b: {publish: out/r, payload: hi}
  - a: {receives: out/r, payload: hi}
- id: wrong
  name: Another message arrives
  clients: {a: {}, b: {}}
  steps:
  - a: {subscribe: out/w}
  - b: {publish: out/w, payload: hi}
  - a: {receives: out/w, payload: ho, within: 100ms}
- id: rights
  name: Rights
  broker: {allow_anonymous: true}
  acl_table: |
    | Topic | User      | Publish | Subscribe | Expectation | PASSED |
    |-------|-----------|---------|-----------|-------------|--------|
    | out/t | anonymous | X       | -         | PASS        |        |
    | out/u | anonymous | X       | -         | FAIL        |        |
"#;

/// Cases of the log `log.jsonl` by name: verdict, and the reason where there is one; and how many packets of
/// left out cases there are.
fn told(folder: &Path) -> (Vec<(String, Verdict, String)>, usize) {
    let text = fs::read_to_string(folder.join("log.jsonl")).expect("a log");
    let events = json::read(&text).expect("a log");
    let ended: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::CaseFinished { outcome } => Some(outcome),
            _ => None,
        })
        .collect();
    let out = |id: &_| ended.iter().any(|outcome| outcome.left_out && outcome.case.id == *id);
    let packets =
        events.iter().filter(|event| matches!(&event.kind, EventKind::Wire { case, .. } if out(case)));
    let packets = packets.count();
    let why = |why: &Option<mqttlab::record::Explanation>| {
        why.as_ref().map_or(String::new(), |why| why.actual.clone())
    };
    let mut named: Vec<_> =
        ended.iter().map(|one| (one.case.id.to_string(), one.verdict, why(&one.why))).collect();
    named.sort();
    (named, packets)
}

fn of_verdict(told: &[(String, Verdict, String)], verdict: Verdict) -> Vec<&str> {
    told.iter().filter(|one| one.1 == verdict).map(|one| one.0.as_str()).collect()
}

#[test]
fn what_is_named_is_left_out_and_told_so() {
    let folder = folder_of(LAB);
    let words = "run lab.yaml --report json=log.jsonl --skip wrong --skip rights.2";
    let said = contains("left out by --skip wrong").and(contains("left out by --skip rights.2"));
    mqttlab(folder.path(), words).assert().success().stdout(said.and(contains("4 passed, 4 skipped")));
    let (cases, packets) = told(folder.path());
    let skipped = [
        "lab · rights · row 2 · v3.1.1",
        "lab · rights · row 2 · v5",
        "lab · wrong · v3.1.1",
        "lab · wrong · v5",
    ];
    assert_eq!(of_verdict(&cases, Verdict::Skipped), skipped);
    assert_eq!(packets, 0, "what is left out is not played");

    // As reports name a case: one version of it.
    let mut run =
        mqttlab(folder.path(), "run lab.yaml --report json=log.jsonl --only wrong --only rights --skip");
    run.arg("lab · wrong · v5").args(["--skip", "lab · rights · row 2"]).assert().code(1);
    let (cases, _) = told(folder.path());
    assert_eq!(of_verdict(&cases, Verdict::Failed), ["lab · wrong · v3.1.1"]);
    assert_eq!(
        of_verdict(&cases, Verdict::Passed),
        ["lab · rights · row 1 · v3.1.1", "lab · rights · row 1 · v5"]
    );
    let mut only = mqttlab(folder.path(), "run lab.yaml --report json=log.jsonl --only");
    only.arg("lab · right · v5").assert().success().stdout(contains("\n1 passed in"));

    let all = "compare lab.yaml --broker bundled --broker bundled --skip wrong --skip rights";
    mqttlab(folder.path(), all).assert().success().stdout(contains("2 passed, 6 skipped").count(2));
    let nothing = mqttlab(folder.path(), "run lab.yaml --only wrong --skip wrong").assert().code(4);
    nothing.stdout(contains("NOTHING TESTED: 2 skipped"));
}

#[test]
fn a_word_that_names_nothing_is_refused_since_what_it_means_would_run() {
    let folder = folder_of(LAB);
    let two = "--broker bundled --broker bundled";
    for command in ["run lab.yaml", "list lab.yaml", "bless lab.yaml", &format!("compare lab.yaml {two}")] {
        let said = contains("--skip wrnog matches nothing, did you mean wrong?");
        mqttlab(folder.path(), &format!("{command} --skip wrnog")).assert().code(2).stderr(said);
        let said = contains("did you mean lab · wrong?");
        mqttlab(folder.path(), &format!("{command} --skip")).arg("lab · wrogn").assert().code(2).stderr(said);
        mqttlab(folder.path(), &format!("{command} --skip right.1")).assert().code(2);
    }
    // What --only leaves out can be left out as well.
    mqttlab(folder.path(), "run lab.yaml --only right --skip wrong").assert().success();
    let listed = mqttlab(folder.path(), "list lab.yaml --skip wrong").assert().success();
    listed.stdout(
        contains("skipped: left out by --skip wrong").count(2).and(contains("6 cases, 2 of them skipped")),
    );
}

#[test]
fn shards_agree_on_what_is_left_out() {
    let folder = folder_of(LAB);
    let shard = |index: usize, words: &str| {
        let words = format!("run lab.yaml {words} --shard {index}/2 --report blob={index}.blob --exit-zero");
        mqttlab(folder.path(), &words).assert().success();
    };
    shard(1, "--skip wrong --skip rights.2");
    shard(2, "--skip wrong --skip rights.2");
    let merged = mqttlab(folder.path(), "merge 1.blob 2.blob").assert().success();
    merged.stdout(contains("4 passed, 4 skipped"));
    shard(2, "--skip wrong");
    mqttlab(folder.path(), "merge 1.blob 2.blob").assert().code(2).stderr(contains("are not of one run"));
}

#[test]
fn a_baseline_keeps_what_is_left_out_and_why() {
    let folder = folder_of(LAB);
    let at = folder.path().join("b.json");
    let read = || fs::read_to_string(&at).expect("a baseline");
    let bless =
        |words: &str| mqttlab(folder.path(), &format!("bless lab.yaml --write b.json {words}")).assert();
    let open = contains("4 deviations without a reason").and(contains("lab.yaml: wrong (v5)"));
    bless("--skip wrong --skip rights.2").success().stdout(open);
    assert!(read().contains("\"left_out\": {\n        \"rights.2 (v3.1.1)\": \"\""), "{}", read());
    let reasoned = read().replace("\"wrong (v5)\": \"\"", "\"wrong (v5)\": \"it dies of it\"");
    fs::write(&at, &reasoned).expect("written");

    // It holds without being told again, and reasons stay.
    bless("").success().stdout(contains("left out: it dies of it").and(contains("left out by the baseline")));
    assert_eq!(read(), reasoned);
    let held = "run lab.yaml --baseline b.json --report json=log.jsonl";
    let said = contains("b.json: 0 known, 0 new failures, 0 fixed, 0 new cases, 4 left out");
    mqttlab(folder.path(), held).assert().success().stdout(said.and(contains("left out: it dies of it")));
    let (cases, packets) = told(folder.path());
    assert_eq!(of_verdict(&cases, Verdict::Skipped).len(), 4);
    assert_eq!(packets, 0);
    // Of the brokers that are compared the one of the baseline alone.
    let compared = format!("compare lab.yaml --broker bundled --broker {PROGRAM} --baseline b.json");
    let both = contains("4 passed, 4 skipped").count(1).and(contains("4 failed, 4 passed").count(1));
    mqttlab(folder.path(), &compared).assert().success().stdout(both);

    // A whole table may stand there; without its line a case is played again.
    let table = reasoned.replace("\"rights.2 (v5)\": \"\"", "\"rights (v5)\": \"all of it\"");
    fs::write(&at, table.replace("        \"wrong (v3.1.1)\": \"\",\n", "")).expect("written");
    mqttlab(folder.path(), held).assert().code(1).stdout(contains("left out: all of it"));
    let (cases, _) = told(folder.path());
    assert_eq!(of_verdict(&cases, Verdict::Failed), ["lab · wrong · v3.1.1"]);
    assert_eq!(of_verdict(&cases, Verdict::Skipped).len(), 4, "{cases:?}");
    bless("").success();
    let after = read();
    for line in
        ["\"rights.1 (v5)\": \"all of it\"", "\"rights.2 (v5)\": \"all of it\"", "\"verdict\": \"failed\""]
    {
        assert!(after.contains(line), "{after}");
    }
}

/// Packet blocks: one that leaves its account open, one in bytes, one about flags.
const LINES: &str = r#"lab: 1
name: Lines
matrix: {protocol: ["3.1.1"]}
scenarios:
- id: open
  name: The will of a client that is cut off is published
  clients: {a: {raw: true}, b: {}}
  steps:
  - b: {subscribe: out/will}
  - a:
      packets: |
        > CONNECT clean client=lines will.topic=out/will will.payload="gone"
        < CONNACK 0
        > close
  - b: {receives: out/will, payload: gone}
- id: bytes
  name: A CONNECT in bytes
  clients: {a: {raw: true}}
  steps:
  - a:
      packets: |
        > hex 10 0d 00 04 4d 51 54 54 04 02 00 10 00 01 61
        < CONNACK 0
- id: flags
  name: A CONNECT with a flag that is not there
  clients: {a: {raw: true}}
  steps:
  - a:
      packets: |
        > CONNECT client=lines connect_flags=0x03
        < close
"#;

#[test]
fn a_connect_line_that_leaves_the_account_open_logs_in() {
    let folder = broker::folder("listener 0 127.0.0.1\nallow_anonymous false\npassword_file HERE\n");
    let conf = folder.path().join("mosquitto.conf");
    let text = fs::read_to_string(&conf).expect("there");
    let passwords = folder.path().join("passwords");
    fs::write(&conf, text.replace("HERE", &passwords.display().to_string())).expect("written");
    fs::write(folder.path().join("lines.yaml"), LINES).expect("written");
    mqttlab(folder.path(), "passwd -b -c passwords alice wonderland").assert().success();
    let running = Process::start(folder.path(), &[]);
    let port = running.ports[0];
    let words =
        format!("run lines.yaml --broker mqtt://alice:wonderland@127.0.0.1:{port} --report json=log.jsonl");
    let about = contains("wants an account, and a CONNECT here is about user names, passwords or flags");
    let bytes = contains("wants an account, and a CONNECT here is written out in bytes");
    mqttlab(folder.path(), &words)
        .assert()
        .success()
        .stdout(about.and(bytes).and(contains("1 passed, 2 skipped")));
    let log = fs::read_to_string(folder.path().join("log.jsonl")).expect("a log");
    assert!(log.contains("client=lines user=alice password="), "{log}");
    assert!(!log.contains("wonderland"), "{log}");
}

#[test]
fn a_connect_line_gets_the_keep_alive_that_a_broker_insists_on() {
    let conf = "listener 0 127.0.0.1\nallow_anonymous true\nmax_keepalive 600\n";
    let folder = broker::folder(conf);
    fs::write(folder.path().join("lines.yaml"), LINES).expect("written");
    fs::write(folder.path().join("p.json"), r#"{"name": "strict 1", "keep_alive": 600}"#).expect("written");
    let running = Process::start(folder.path(), &[]);
    let words = format!("run lines.yaml --skip flags --broker mqtt://127.0.0.1:{}", running.ports[0]);
    mqttlab(folder.path(), &words).assert().code(1).stdout(contains("CONNACK 2"));
    mqttlab(folder.path(), &format!("{words} --profile p.json")).assert().success();
}
