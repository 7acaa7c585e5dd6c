//! Baselines as a filter over events and as files, and those of this repository. The commands that write
//! and use them are tried in `compare`.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use insta::assert_snapshot;
use mqttlab::diagnostic::Source;
use mqttlab::record::{Against, Baseline, Event, EventKind, Outcome, Verdict};
use mqttlab::report::json;

use crate::report::events;
use crate::support::mosquitto::program;
use crate::support::skip::skipped;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mqttlab");

/// The events of the second run of the fixture.
fn second_run() -> Vec<Event> {
    let events = events("compared");
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

/// A baseline, or what is shown of what is wrong with it.
pub fn parsed(text: &str) -> Result<Baseline, String> {
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
