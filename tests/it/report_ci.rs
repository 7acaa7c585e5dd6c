//! The reports for CI, made from recorded event logs: Markdown, TAP 14, GitHub's annotations, and what
//! `mqttlab merge` makes of the logs of shards. Nothing here runs a broker.

use std::path::Path;
use std::process::{Command, Stdio};

use insta::assert_snapshot;
use mqttlab::record::{Event, EventKind, Outcome, RunPlan, Shard, Verdict};
use mqttlab::report::merge::{MergeError, Part, merge};
use mqttlab::report::{Annotations, Console, ConsoleOptions, Junit, Markdown, Tally, Tap, json};

use crate::report::{events, written};
use crate::support::skip::skipped;

const RECORDS: [&str; 5] = ["mixed", "passed", "interrupted", "broker_died", "hostile"];

fn markdown(events: &[Event]) -> String {
    written(|out| Box::new(Markdown::new(out, "--broker mosquitto")), events)
}

fn tap(events: &[Event]) -> String {
    written(|out| Box::new(Tap::new(out)), events)
}

fn annotations(events: &[Event]) -> String {
    written(|out| Box::new(Annotations::new(out, "")), events)
}

/// The log of one run on two brokers, one after the other, where the second fails what the first passed.
fn two_brokers() -> Vec<Event> {
    let first = events("mixed");
    let second = events("mixed").into_iter().map(|mut event| {
        match &mut event.kind {
            EventKind::RunStarted { target, .. } => *target = "bundled".into(),
            EventKind::CaseFinished { outcome } if outcome.verdict == Verdict::Failed => {
                outcome.verdict = Verdict::Passed;
                outcome.why = None;
            }
            _ => {}
        }
        event
    });
    first.iter().cloned().chain(second).collect()
}

#[test]
fn markdown_opens_with_the_verdict_and_folds_the_packets_away() {
    assert_snapshot!(markdown(&events("mixed")));
}

#[test]
fn markdown_of_several_runs_shows_where_they_differ() {
    let text = markdown(&two_brokers());
    assert_snapshot!(text);
    let row = text.lines().find(|line| line.contains("row 2")).expect("a row that differs");
    assert!(row.ends_with("| **failed** | passed: delivered |"), "{row}");
}

#[test]
fn markdown_of_a_cut_run_is_not_green() {
    let text = markdown(&events("interrupted"));
    assert!(text.starts_with("## ⚠️ INCOMPLETE: 1 passed, 2 not run\n"), "{text}");
    let nothing = markdown(&[]);
    assert!(nothing.contains("did not start"), "{nothing}");
}

#[test]
fn markdown_stays_below_what_github_takes() {
    let recorded = events("mixed");
    let failed = recorded
        .iter()
        .find(|event| matches!(&event.kind, EventKind::CaseFinished { outcome } if outcome.verdict == Verdict::Failed))
        .expect("one failed");
    let mut long = recorded.clone();
    for number in 0..2_000 {
        let mut event = failed.clone();
        let EventKind::CaseFinished { outcome } = &mut event.kind else { unreachable!("it is one") };
        outcome.case.id.scenario = format!("s{number}");
        let why = outcome.why.as_mut().expect("it failed");
        why.packets =
            vec![format!("bob > PUBLISH a \"{}\"", "x".repeat(if number == 0 { 2_000_000 } else { 500 }))];
        long.push(event);
    }
    let text = markdown(&long);
    assert!(text.len() < 1024 * 1024, "{} bytes", text.len());
    assert!(text.contains("left out") || text.contains("not shown"), "it says so");
    assert_eq!(text.matches("<details>").count(), text.matches("</details>").count(), "no open fold");
}

#[test]
fn hostile_text_is_no_markdown_and_no_html() {
    let text = markdown(&events("hostile"));
    assert_snapshot!("hostile_markdown", text);
    // What is left of it stands in fences, where it means nothing.
    let mut fence = None;
    for line in text.lines() {
        match (&fence, line.strip_suffix("text")) {
            (None, Some(open)) if line.starts_with("```") => fence = Some(open.to_owned()),
            (Some(open), _) if line == open => fence = None,
            (None, _) => assert!(!line.contains("<b>"), "{line}"),
            (Some(_), _) => {}
        }
    }
    let mut ticks = events("hostile");
    for event in &mut ticks {
        if let EventKind::CaseFinished { outcome } = &mut event.kind {
            outcome.why.iter_mut().for_each(|why| why.actual = "`````\n</details><script>".into());
        }
    }
    assert!(markdown(&ticks).contains("\n``````text\n"), "a fence that the text cannot close");
}

#[test]
fn tap_has_points_directives_and_diagnostics() {
    assert_snapshot!(tap(&events("mixed")));
}

#[test]
fn tap_of_a_cut_run_bails_out() {
    assert_snapshot!(tap(&events("interrupted")), @r"
    TAP version 14
    # mqttlab 0.1.0 on mosquitto 2.0.11: 3 cases, seed 2774621
    ok 1 - wills · will: The will is sent when the client vanishes, not when it says goodbye
    Bail out! the run was cut short: 2 cases did not end
    ");
    assert!(tap(&[]).contains("Bail out!"), "a run that did not start");
}

/// What another program makes of it: points, those that are ok and not ok, skipped, to do, and whether all is
/// well.
const PARSE: &str = "
const { Parser } = require('tap-parser');
const p = new Parser(r => {
  console.log(JSON.stringify([r.count, r.pass, r.fail, r.skip, r.todo, r.ok, r.bailout !== false]));
});
const extra = [];
p.on('extra', line => extra.push(line));
p.on('complete', () => { if (extra.length) { console.error(extra.join('')); process.exit(1); } });
process.stdin.pipe(p);
";

#[test]
fn tap_is_understood_by_a_parser_that_is_not_ours() {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mqttjs/node_modules");
    if !modules.join("tap-parser").is_dir() {
        assert!(std::env::var_os("CI").is_none(), "CI installs tap-parser");
        skipped("npm install --prefix target/mqttjs tap-parser");
        return;
    }
    let read = |events: &[Event]| -> String {
        let mut child = Command::new("node")
            .args(["-e", PARSE])
            .env("NODE_PATH", &modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node, which CI installs");
        let text = tap(events);
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), text.as_bytes())
            .expect("node reads");
        let output = child.wait_with_output().expect("node ends");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && error.is_empty(), "{error}\n{text}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(read(&events("passed")), "[2,2,0,0,0,true,false]");
    // What is to do counts as failed, but does no harm.
    assert_eq!(read(&events("mixed")), "[10,7,3,2,1,false,false]");
    let mut known = events("passed");
    for event in &mut known {
        if let EventKind::CaseFinished { outcome } = &mut event.kind {
            outcome.verdict = Verdict::Known;
        }
    }
    assert_eq!(read(&known), "[2,0,2,0,2,true,false]");
    assert_eq!(read(&two_brokers()), "[20,15,5,4,2,false,false]");
    assert_eq!(read(&events("interrupted")), "[1,1,0,0,0,false,true]");
    assert_eq!(read(&events("hostile")), "[2,1,1,1,0,false,false]");
}

#[test]
fn annotations_stand_at_the_line_that_failed() {
    assert_snapshot!(annotations(&events("mixed")));
    assert_snapshot!("hostile_annotations", annotations(&events("hostile")));
}

#[test]
fn every_annotation_is_one_command() {
    for record in RECORDS {
        for line in annotations(&events(record)).lines() {
            let rest =
                ["::error ", "::warning ", "::notice "].iter().find_map(|head| line.strip_prefix(head));
            let (properties, _) =
                rest.and_then(|rest| rest.split_once("::")).unwrap_or_else(|| panic!("{line}"));
            for property in properties.split(',') {
                let (name, value) = property.split_once('=').unwrap_or_else(|| panic!("{line}"));
                assert!(["file", "line", "col", "title"].contains(&name), "{line}");
                assert!(!value.contains(':'), "{line}");
            }
        }
    }
    let cut = annotations(&events("interrupted"));
    assert!(cut.starts_with("::error title=mqttlab on mosquitto 2.0.11::INCOMPLETE: "), "{cut}");
}

/// The log of one shard: every third outcome of `mixed`.
fn shard(index: usize) -> Part {
    let of = 3;
    let mut cases = 0;
    let mut kept: Vec<Event> = Vec::new();
    for event in events("mixed") {
        if matches!(event.kind, EventKind::CaseFinished { .. }) {
            cases += 1;
            if cases % of != index % of {
                continue;
            }
        }
        kept.push(event);
    }
    let mine = kept.iter().filter(|event| matches!(event.kind, EventKind::CaseFinished { .. })).count();
    if let Some(EventKind::RunStarted { cases, plan, .. }) = kept.first_mut().map(|event| &mut event.kind) {
        let hash = "0123456789abcdef".into();
        *plan = Some(RunPlan { hash, cases: *cases, shard: Some(Shard { index, of }), again: String::new() });
        *cases = mine;
    }
    Part { name: format!("{index}.blob"), log: json::Log { events: kept, cut: false } }
}

fn plan_of(part: &mut Part) -> &mut RunPlan {
    match part.log.events.first_mut().map(|event| &mut event.kind) {
        Some(EventKind::RunStarted { plan: Some(plan), .. }) => plan,
        other => panic!("no plan in {other:?}"),
    }
}

fn outcomes(events: &[Event]) -> Vec<Outcome> {
    let mut found: Vec<Outcome> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::CaseFinished { outcome } => Some(outcome.clone()),
            _ => None,
        })
        .collect();
    found.sort_by(|a, b| a.case.id.cmp(&b.case.id));
    found
}

fn tally(events: &[Event]) -> Tally {
    let mut tally = Tally::default();
    for event in events {
        tally.event(event);
    }
    tally
}

#[test]
fn shards_in_any_order_are_the_whole_run() {
    let merged = merge(vec![shard(3), shard(1), shard(2)]).expect("of one run");
    assert_eq!(outcomes(&merged), outcomes(&events("mixed")));
    let tally = tally(&merged);
    assert!(tally.is_complete() && tally.missing() == 0);
    // What was merged can be merged again: it is a whole run now.
    let again = Part { name: "all.jsonl".into(), log: json::Log { events: merged.clone(), cut: false } };
    assert_eq!(merge(vec![again]).expect("one run"), merged);
}

#[test]
fn a_run_with_a_shard_missing_or_cut_short_is_not_complete() {
    let missing = merge(vec![shard(1), shard(3)]).expect("of one run");
    let notes = |events: &[Event]| -> Vec<String> {
        let notes = events.iter().filter_map(|event| match &event.kind {
            EventKind::Note { text } => Some(text.clone()),
            _ => None,
        });
        notes.filter(|note| note.contains("shard")).collect()
    };
    assert!(!tally(&missing).is_complete());
    assert!(notes(&missing).contains(&"shard 2/3 is missing".to_owned()), "{:?}", notes(&missing));

    let mut cut = shard(2);
    cut.log.events.pop();
    cut.log.cut = true;
    let merged = merge(vec![shard(1), cut, shard(3)]).expect("of one run");
    assert!(!tally(&merged).is_complete());
    assert!(notes(&merged).iter().any(|note| note.starts_with("shard 2/3: ") && note.ends_with("cut short")));

    let empty = Part { name: "2.blob".into(), log: json::Log::default() };
    let merged = merge(vec![shard(1), empty, shard(3)]).expect("of one run");
    assert!(!tally(&merged).is_complete());
}

/// The log of a comparison that was cut right after the second broker's run had begun.
fn cut_in_the_second_run() -> Vec<Event> {
    let mut log = two_brokers();
    let second = log.iter().rposition(|event| matches!(event.kind, EventKind::RunStarted { .. }));
    log.truncate(second.expect("two runs") + 1);
    log
}

#[test]
fn every_run_of_a_log_must_come_to_its_end() {
    let whole = tally(&two_brokers());
    assert!(whole.is_complete() && whole.missing() == 0);
    let log = cut_in_the_second_run();
    let cut = tally(&log);
    assert!(!cut.is_complete());
    assert_eq!((cut.missing(), cut.ended()), (10, 10), "the cases of the second run");
    let xml = written(|out| Box::new(Junit::new(out, "")), &log);
    assert!(xml.contains("the run was cut short: 10 cases did not end"), "{xml}");
    assert!(tap(&log).contains("Bail out! the run was cut short: 10 cases did not end"));

    // A first run that has no end is not mended by the end of the second.
    let mut log = two_brokers();
    let first = log.iter().position(|event| matches!(event.kind, EventKind::RunFinished { .. }));
    log.remove(first.expect("an end"));
    assert!(!tally(&log).is_complete() && tally(&log).missing() == 0);
}

#[test]
fn suites_of_several_runs_are_of_one_broker_each() {
    let mut log = two_brokers();
    log.extend(two_brokers());
    let xml = written(|out| Box::new(Junit::new(out, "")), &log);
    let names: Vec<&str> =
        xml.lines().filter_map(|line| line.trim().strip_prefix("<testsuite name=")).collect();
    let unique: std::collections::BTreeSet<_> =
        names.iter().filter_map(|name| name.split('"').nth(1)).collect();
    assert_eq!((names.len(), unique.len()), (8, 8), "{names:?}");
    assert!(unique.contains("labs/lab3.yaml [bundled (2)]"), "{unique:?}");
    assert!(xml.contains(r#"classname="labs/lab3.yaml [mosquitto 2.0.11]""#), "{xml}");
    assert!(!xml.contains(r#"classname="labs/lab3.yaml""#), "{xml}");
}

#[test]
fn the_console_sums_up_each_run_on_its_own() {
    let console = |events: &[Event]| {
        let text = written(|out| Box::new(Console::new(out, ConsoleOptions::default())), events);
        let at = text.find("on mosquitto 2.0.11:\n").expect("a summary of the first run");
        text[at..].to_owned()
    };
    assert_snapshot!(console(&cut_in_the_second_run()));
    let whole = console(&two_brokers());
    assert!(whole.contains("on bundled:\n") && !whole.contains("INCOMPLETE"), "{whole}");
}

#[test]
fn what_is_not_of_one_run_is_refused() {
    let twice = merge(vec![shard(1), shard(2), shard(1)]).expect_err("twice");
    assert!(matches!(twice, MergeError::Twice { .. }), "{twice}");

    let mut other = shard(2);
    plan_of(&mut other).hash = "fedcba9876543210".into();
    let mixed = merge(vec![shard(1), other]).expect_err("two plans");
    assert!(mixed.to_string().starts_with("1.blob and 2.blob are not of one run"), "{mixed}");

    let mut other = shard(2);
    if let Some(EventKind::RunStarted { target, .. }) =
        other.log.events.first_mut().map(|event| &mut event.kind)
    {
        *target = "bundled".into();
    }
    assert!(matches!(merge(vec![shard(1), other]), Err(MergeError::Mixed { .. })), "two brokers");

    let whole = Part { name: "run.jsonl".into(), log: json::Log { events: events("mixed"), cut: false } };
    assert!(matches!(merge(vec![shard(1), whole]), Err(MergeError::NoShard(_))));
    let nothing = Part { name: "1.blob".into(), log: json::Log::default() };
    assert!(matches!(merge(vec![nothing]), Err(MergeError::Nothing(_))));
}

#[test]
fn blobs_read_back_and_know_their_format() {
    let part = shard(2);
    let text = written(|out| Box::new(json::JsonLines::blob(out)), &part.log.events);
    let head = text.lines().next().expect("a head");
    assert!(head.starts_with(r#"{"mqttlab_blob":1,"#) && head.contains("0123456789abcdef"), "{head}");
    let read = json::read_log(&text).expect("a blob");
    assert!(!read.cut);
    assert_eq!(read.events, part.log.events);

    let stopped = &text[..text.len() - 20];
    let read = json::read_log(stopped).expect("a blob");
    assert!(read.cut && read.events.len() == part.log.events.len() - 1);

    let newer = text.replacen(r#""mqttlab_blob":1"#, r#""mqttlab_blob":2"#, 1);
    let error = json::read_log(&newer).expect_err("unknown format");
    assert!(error.to_string().contains("format 2"), "{error}");
    assert!(json::read_log("what is this\n{}\n").is_err());
}
