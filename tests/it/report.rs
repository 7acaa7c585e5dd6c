//! Every report, made again from recorded event logs: what people see is a snapshot, what machines
//! read is checked for its shape. Nothing here runs a broker.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use insta::assert_snapshot;
use mqttlab::record::{Event, EventKind, RowMark, Verdict};
use mqttlab::report::{Console, ConsoleOptions, Junit, Make, Marks, OfTls, REPORTS, Report, Tally, json};
use mqttlab::text::escape;

use crate::support::paper::Paper;

/// The logs of `fixtures/records`.
const RECORDS: [&str; 7] = ["mixed", "passed", "interrupted", "broker_died", "hostile", "compared", "tls"];

fn text(record: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/records/{record}.jsonl"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A recorded log.
pub fn events(record: &str) -> Vec<Event> {
    json::read(&text(record)).unwrap_or_else(|error| panic!("{record}: {error}"))
}

/// What a report writes of these events.
pub fn written(make: impl FnOnce(Box<Paper>) -> Box<dyn Report>, events: &[Event]) -> String {
    let paper = Paper::default();
    let mut report = make(Box::new(paper.clone()));
    for event in events {
        report.event(event).expect("paper takes everything");
    }
    report.finish().expect("paper takes everything");
    paper.text()
}

fn console(record: &str, options: ConsoleOptions) -> String {
    written(|out| Box::new(Console::new(out, options)), &events(record))
}

fn junit(record: &str) -> String {
    written(|out| Box::new(Junit::new(out, "--broker mosquitto")), &events(record))
}

#[test]
fn console_shows_what_failed_and_why() {
    assert_snapshot!(console("mixed", ConsoleOptions::default()));
}

#[test]
fn console_in_colour() {
    let colour = ConsoleOptions { colour: true, ..ConsoleOptions::default() };
    assert_snapshot!(console("mixed", colour).replace('\u{1b}', "^"));
}

#[test]
fn console_verbose_has_every_case_and_mechanism() {
    let verbose =
        ConsoleOptions { verbose: true, again: "--broker mosquitto".into(), ..ConsoleOptions::default() };
    assert_snapshot!(console("mixed", verbose));
}

#[test]
fn console_trace_has_every_packet() {
    let trace = ConsoleOptions { trace: true, ..ConsoleOptions::default() };
    assert_snapshot!(console("mixed", trace));
}

#[test]
fn console_of_a_good_run_is_short() {
    assert_snapshot!(console("passed", ConsoleOptions::default()), @r"
    mqttlab 0.1.0 on bundled: 2 cases, virtual time, seed 2774621
    2 passed in 12 ms
    ");
}

#[test]
fn console_of_a_cut_run_says_so() {
    assert_snapshot!(console("interrupted", ConsoleOptions::default()), @r"
    mqttlab 0.1.0 on mosquitto 2.0.11: 3 cases, seed 2774621
    INCOMPLETE: 1 passed, 2 not run in 11 ms
    ");
}

#[test]
fn console_tells_a_dead_broker_once() {
    assert_snapshot!(console("broker_died", ConsoleOptions::default()));
}

#[test]
fn junit_tells_failed_errored_and_skipped_apart() {
    let xml = junit("mixed");
    assert_snapshot!(xml);
    assert_eq!(xml.matches("<failure ").count(), 1, "one case failed");
    assert_eq!(xml.matches("<error ").count(), 1, "one case errored");
    assert_eq!(xml.matches("<skipped ").count(), 3, "two were skipped, one is known");
}

#[test]
fn junit_of_a_cut_run_is_not_green() {
    let xml = junit("interrupted");
    assert!(xml.contains(r#"errors="1""#), "{xml}");
    assert!(xml.contains("2 cases did not end"), "{xml}");
}

#[test]
fn json_lines_read_back_as_the_same_events() {
    for record in RECORDS {
        let before = events(record);
        let log = written(|out| Box::new(json::JsonLines::new(out)), &before);
        assert_eq!(json::read(&log).expect("a log"), before, "{record}");
        assert_eq!(log.lines().count(), before.len(), "one event a line in {record}");
    }
}

#[test]
fn json_lines_are_as_recorded() {
    // The fixtures were written by another program: names and shapes of the log are a promise.
    let values = |text: &str| -> Vec<serde_json::Value> {
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    for record in ["mixed", "tls"] {
        let log = written(|out| Box::new(json::JsonLines::new(out)), &events(record));
        assert_eq!(values(&log), values(&text(record)));
    }
}

#[test]
fn a_broken_log_is_refused_with_its_line() {
    let error = json::read("\n{\"at\":0,\"event\":\"note\",\"text\":\"x\"}\n{\"at\":0").expect_err("cut");
    assert!(error.to_string().starts_with("line 3: "), "{error}");
}

#[test]
fn hostile_text_is_harmless_everywhere() {
    for verbose in [false, true] {
        let options = ConsoleOptions { trace: true, verbose, ..ConsoleOptions::default() };
        harmless("console", &console("hostile", options));
    }
    let colour = ConsoleOptions { colour: true, trace: true, ..ConsoleOptions::default() };
    let coloured = console("hostile", colour);
    assert!(!coloured.contains("\u{1b}[2J") && !coloured.contains("\u{1b}]"), "only our own sequences");
    for spec in REPORTS {
        if let Make::File(make) = spec.make {
            harmless(spec.name, &written(|out| make(out, ""), &events("hostile")));
        }
    }
    let xml = junit("hostile");
    assert!(!xml.contains("]]>") && !xml.contains("<b>"), "{xml}");
    assert!(xml.contains("\\u{0}") && xml.contains("\\u{fffe}"), "told, not dropped: {xml}");
    assert_snapshot!("hostile_console", console("hostile", ConsoleOptions::default()));
}

/// Bytes of TLS are for captures and logs; other reports are the same without.
#[test]
fn tls_events_change_no_report_that_does_not_hold_them() {
    let with = events("tls");
    let mut without = with.clone();
    without.retain(|event| !matches!(event.kind, EventKind::Tls { .. }));
    assert!(without.len() + 10 < with.len());
    for spec in REPORTS {
        let Make::File(make) = spec.make else { continue };
        let [full, empty] = [&with, &without].map(|log| written(|out| make(out, ""), log));
        assert_eq!(full == empty, spec.tls == OfTls::Ignored, "{}", spec.name);
        harmless(spec.name, &full);
    }
}

fn harmless(name: &str, text: &str) {
    for line in text.lines() {
        assert_eq!(escape(line), line, "{name} lets something through");
    }
}

#[test]
fn junit_is_well_formed_for_another_program() {
    use std::process::{Command, Stdio};
    const CHECK: &str = "import sys, xml.dom.minidom as m; d = m.parse(sys.stdin.buffer); \
        print(sum(1 for c in d.getElementsByTagName('testcase')))";
    for (record, cases) in [("mixed", "10"), ("hostile", "2"), ("interrupted", "2")] {
        let child =
            Command::new("python3").args(["-c", CHECK]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            assert!(std::env::var_os("CI").is_none(), "python3 is needed in CI");
            println!("skipped: no python3");
            return;
        };
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(junit(record).as_bytes()).expect("python reads");
        drop(stdin);
        let output = child.wait_with_output().expect("python ends");
        assert!(output.status.success(), "{record} is not XML");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), cases, "{record}");
    }
}

#[test]
fn every_report_is_registered_with_an_example_that_names_it() {
    for spec in REPORTS {
        assert!(spec.example.starts_with(&format!("--report {}=", spec.name)), "{}", spec.name);
        assert!(!spec.doc.is_empty());
    }
}

#[test]
fn the_tally_counts_points_once_and_only_for_a_pass() {
    let mut tally = Tally::default();
    for event in &events("mixed") {
        tally.event(event);
    }
    assert_eq!(tally.points(), Some((6.0, 8.0, 0.0)));
    assert_eq!(tally.count(Verdict::Passed), 5);
    assert!(tally.is_bad() && tally.is_complete());

    let mut tally = Tally::default();
    for event in &events("interrupted") {
        tally.event(event);
    }
    assert!(!tally.is_bad() && !tally.is_complete());
}

#[test]
fn a_row_of_several_variants_gets_the_worst_mark() {
    let mut marks = Marks::default();
    let mut log = events("broker_died");
    // The same table again as v3.1.1, where row 1 fails and row 2 passes.
    for event in events("broker_died") {
        let EventKind::CaseFinished { mut outcome } = event.kind else { continue };
        outcome.case.id.variant = "v3.1.1".into();
        outcome.verdict = if outcome.case.id.row == Some(1) { Verdict::Failed } else { Verdict::Passed };
        log.push(Event { at: event.at, kind: EventKind::CaseFinished { outcome } });
    }
    for event in &log {
        marks.event(event);
    }
    let rows = marks.rows("labs/lab3.yaml", "acl").expect("a table ran");
    assert_eq!(rows.get(&1), Some(&RowMark::No));
    assert_eq!(rows.get(&2), Some(&RowMark::Unknown));
    assert_eq!(marks.rows("labs/lab3.yaml", "will"), None);
}
