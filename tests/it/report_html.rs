//! The HTML page: what is read without a script is a snapshot, its data is checked for its shape, its size
//! is bounded, hostile text stays text. Where Chromium is installed the page is opened in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use insta::assert_snapshot;
use mqttlab::record::{
    CaseId, CaseInfo, Event, EventKind, Excerpt, Explanation, Outcome, Verdict, WireEvent, WireSide,
};
use mqttlab::report::{Html, Report as _, json};
use serde_json::Value;

use crate::support::mosquitto::program;
use crate::support::paper::Paper;
use crate::support::skip::skipped;

/// The bound that the page promises.
const LARGEST: usize = 5_000_000;

fn events(record: &str) -> Vec<Event> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/records/{record}.jsonl"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    json::read(&text).unwrap_or_else(|error| panic!("{record}: {error}"))
}

fn page(events: &[Event]) -> String {
    let paper = Paper::default();
    let mut report = Html::new(Box::new(paper.clone()), "--broker mosquitto");
    for event in events {
        report.event(event).expect("paper takes everything");
    }
    report.finish().expect("paper takes everything");
    paper.text()
}

/// What stands between two texts.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).unwrap_or_else(|| panic!("no {from}")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("no {to}")).0
}

/// What is shown without a script.
fn plain(page: &str) -> &str {
    between(page, "<main id=\"list\">\n", "</main>")
}

fn data(page: &str) -> Value {
    serde_json::from_str(between(page, "id=\"data\">", "</script>")).expect("JSON")
}

/// The text of a number in the data.
fn text<'a>(data: &'a Value, number: &Value) -> &'a str {
    let number = usize::try_from(number.as_u64().expect("a number")).expect("small");
    data["texts"][number].as_str().expect("a text")
}

#[test]
fn verdict_counts_and_failures_need_no_script() {
    assert_snapshot!(plain(&page(&events("mixed"))));
}

#[test]
fn brokers_stand_beside_each_other() {
    let page = page(&events("two_brokers"));
    assert_snapshot!(plain(&page));
    let data = data(&page);
    let runs: Vec<_> = data["runs"].as_array().expect("runs").iter().map(|run| &run["target"]).collect();
    assert_eq!(runs, ["bundled", "mosquitto 2.0.11"]);
    for case in data["cases"].as_array().expect("cases") {
        assert_eq!(case["ends"].as_array().expect("ends").len(), 2, "{case}");
    }
}

#[test]
fn the_data_has_packets_lines_and_what_came_instead() {
    let data = data(&page(&events("two_brokers")));
    let case =
        data["cases"].as_array().expect("cases").iter().find(|case| {
            case["key"] == "scenarios/conformance/v5/3.8-subscription-options.yaml:no-local-shared"
        });
    let case = case.expect("it ran");
    let number = |value: &Value| usize::try_from(value.as_u64().expect("a number")).expect("small");
    let source = &data["sources"][number(&case["source"])];
    assert!(source[1].as_str().expect("lines").starts_with("- id: no-local-shared\n"), "{source}");
    let end = &case["ends"][1];
    let tape = &data["tapes"][number(&end["tape"])];
    let packet = &tape["wire"][number(&end["why"]["came"][0])];
    assert_eq!(text(&data, &packet[4]), "SUBACK id=2 0");
    assert_eq!(packet[3], 1, "received");
    assert_eq!(text(&data, &packet[5]), "kAQAAgAA", "its bytes in base64");
    let moments: Vec<_> =
        tape["wire"].as_array().expect("packets").iter().map(|one| one[0].as_i64()).collect();
    assert!(moments.is_sorted() && moments[0] >= Some(0), "{moments:?}");
    let log = tape["log"].as_array().expect("the broker's log");
    assert!(log.iter().any(|line| text(&data, &line[1]).contains("connected")), "{log:?}");
}

#[test]
fn statements_that_only_checks_watch_are_covered_by_them() {
    let mut events = events("two_brokers");
    let case = CaseId {
        file: "scenarios/conformance/v5/3.8-subscription-options.yaml".into(),
        scenario: "no-local-shared".into(),
        ..CaseId::default()
    };
    let checked = |connections, broken: &[CaseId]| EventKind::Checked {
        check: "broker-answer-count".into(),
        rule: "A SUBACK has one code for each filter.".into(),
        protocol: "5".into(),
        statements: [("MQTT-3.8.4-6".to_owned(), "SUBACK has one reason a filter.".to_owned())].into(),
        connections,
        broken: broken.to_vec(),
    };
    let ends = |events: &[Event]| -> Vec<usize> {
        let end =
            |(at, event): (usize, &Event)| matches!(event.kind, EventKind::RunFinished { .. }).then_some(at);
        events.iter().enumerate().filter_map(end).collect()
    };
    events.insert(ends(&events)[1], Event { at: 1.0, kind: checked(12, &[case]) });
    // The parts of a run that was divided have each their own.
    for connections in [2, 3] {
        events.insert(ends(&events)[0], Event { at: 1.0, kind: checked(connections, &[]) });
    }
    let page = page(&events);
    let row = between(plain(&page), "<code>MQTT-3.8.4-6</code>", "</tr>");
    assert_snapshot!(row);
}

#[test]
fn a_page_is_the_same_for_the_same_log() {
    let events = events("two_brokers");
    assert_eq!(page(&events), page(&events));
}

#[test]
fn cases_are_in_the_order_of_the_file_whatever_ran_first() {
    let one = events("two_brokers");
    let rows = |page: &str| -> Vec<String> {
        page.lines().filter(|line| line.starts_with("<tr data-c=")).map(str::to_owned).collect()
    };
    let (mut first, mut second): (Vec<Event>, Vec<Event>) = (Vec::new(), Vec::new());
    for event in &one {
        let late = matches!(&event.kind, EventKind::CaseFinished { outcome } if outcome.case.id.scenario == "no-local-shared");
        if late { second.push(event.clone()) } else { first.push(event.clone()) }
    }
    let end =
        first.iter().position(|event| matches!(event.kind, EventKind::RunFinished { .. })).expect("ends");
    let moved = second.remove(0);
    first.insert(end, moved);
    let end = first.len() - 1;
    first.splice(end..end, second);
    assert_eq!(rows(&page(&first)), rows(&page(&one)));
}

#[test]
fn a_cut_run_is_not_green() {
    let page = page(&events("interrupted"));
    assert!(plain(&page).contains("<h1 class=\"unsure\">incomplete: "), "{}", plain(&page));
    assert!(plain(&page).contains("2 cases did not end"), "{}", plain(&page));
    let nothing = self::page(&[]);
    assert!(
        plain(&nothing).contains("<h1 class=\"unsure\">incomplete: nothing passed"),
        "{}",
        plain(&nothing)
    );
}

/// What hostile text is made of, besides the fixture's: ends of everything that a page opens.
const TRICKS: &str = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>--> ' onclick='x \" autofocus=\" \
                      {{script}} {{data}} &lt; ]]> \u{2028}\u{2029} javascript:alert(1) </style></title></pre>";

fn hostile() -> Vec<Event> {
    let mut events = events("hostile");
    let id = CaseId { file: TRICKS.into(), scenario: TRICKS.into(), variant: TRICKS.into(), row: None };
    let case = CaseInfo {
        id: id.clone(),
        title: TRICKS.into(),
        spec: vec![TRICKS.into()],
        tags: vec![TRICKS.into()],
        protocol: TRICKS.into(),
        ..CaseInfo::default()
    };
    let wire = WireEvent {
        client: TRICKS.into(),
        conn: 1,
        side: WireSide::Received,
        line: TRICKS.into(),
        bytes: Some(TRICKS.as_bytes().into()),
    };
    let why = Explanation {
        expected: TRICKS.into(),
        actual: TRICKS.into(),
        packets: vec![wire.print()],
        came: vec![wire.print()],
        hint: Some(TRICKS.into()),
        ..Explanation::default()
    };
    let outcome = Outcome {
        case: case.clone(),
        verdict: Verdict::Failed,
        unmet: false,
        left_out: false,
        seconds: 0.0,
        why: Some(why.clone()),
        mechanism: Some(TRICKS.into()),
        notes: vec![TRICKS.into()],
    };
    // A row of a table whose packets are not on the tape, so that they are told beside it.
    let gone = format!("eve < {TRICKS} gone");
    let mut row = outcome.clone();
    row.case.id.row = Some(1);
    row.why = Some(Explanation { packets: vec![gone.clone()], came: vec![gone], ..why });
    let end = events.len() - 1;
    let checked = EventKind::Checked {
        check: TRICKS.into(),
        rule: TRICKS.into(),
        protocol: TRICKS.into(),
        statements: [(TRICKS.to_owned(), TRICKS.to_owned())].into(),
        connections: 1,
        broken: vec![id.clone()],
    };
    let kinds = [
        EventKind::Note { text: TRICKS.into() },
        EventKind::CaseStarted {
            case,
            source: None,
            statements: [(TRICKS.to_owned(), TRICKS.to_owned())].into(),
        },
        EventKind::Wire { case: id.clone(), wire },
        EventKind::BrokerLog { case: id, line: TRICKS.into() },
        EventKind::CaseFinished { outcome },
        EventKind::CaseFinished { outcome: row },
        checked,
    ];
    events.splice(end..end, kinds.map(|kind| Event { at: 0.003, kind }));
    events
}

#[test]
fn hostile_text_stays_text() {
    let page = page(&hostile());
    let lower = page.to_lowercase();
    assert_eq!(lower.matches("<script").count(), 2, "the data and the program");
    assert_eq!(lower.matches("</script").count(), 2);
    for tag in ["<img", "<b>&amp;\"", "<!--", "</style></title>", "javascript:alert(1)\"", "onclick='x \" "] {
        assert!(!plain(&page).contains(tag), "{tag} got through");
    }
    assert_eq!(lower.matches("<style").count(), 1);
    assert_eq!(lower.matches("</title").count(), 1);
    let embedded = between(&page, "id=\"data\">", "</script>");
    assert!(!embedded.contains(['<', '>', '&', '\u{2028}', '\u{2029}', '\u{202e}', '\u{1b}']), "{embedded}");
    assert!(embedded.contains("\\u003c/script"), "told, not dropped");
    assert!(embedded.contains("\\\\u{202e}"), "what turns text around is seen: {embedded}");
    // Only what this program writes itself opens a tag or an attribute.
    let known = [
        "a", "b", "code", "dd", "details", "div", "dl", "dt", "h1", "h2", "li", "mark", "noscript", "p",
        "pre", "rect", "section", "small", "span", "summary", "svg", "table", "tbody", "td", "th", "thead",
        "tr", "ul",
    ];
    for part in plain(&page).split('<').skip(1) {
        let name = part.trim_start_matches('/').split([' ', '>', '/']).next().unwrap_or_default();
        assert!(known.contains(&name), "<{part}");
        let inside = part.split('>').next().unwrap_or_default();
        assert_eq!(inside.matches('"').count() % 2, 0, "<{part}");
        assert!(!inside.contains('\''), "<{part}");
    }
}

#[test]
fn nothing_is_fetched_and_only_its_own_script_may_run() {
    let page = page(&events("mixed"));
    let policy = between(&page, "http-equiv=\"Content-Security-Policy\" content=\"", "\"");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.contains("script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    for word in
        ["http://", "https://", "src=", "@import", "url(", "style=\"", " onclick=\"", "innerHTML", "eval("]
    {
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains(word), "{word}");
    }
}

/// A log of many cases, each with its packets; every hundredth fails.
fn many(cases: usize, packets: usize) -> Vec<Event> {
    let mut all = vec![Event {
        at: 0.0,
        kind: EventKind::RunStarted {
            mqttlab: "0.1.0".into(),
            target: "bundled".into(),
            seed: 1,
            cases,
            virtual_time: false,
            started: "2026-01-01T00:00:00Z".into(),
            plan: None,
        },
    }];
    for number in 0..cases {
        many_case(number, packets, &mut all);
    }
    all.push(Event { at: 9.0, kind: EventKind::RunFinished { seconds: 9.0, complete: true } });
    all
}

fn many_case(number: usize, packets: usize, all: &mut Vec<Event>) {
    let id = CaseId {
        file: format!("scenarios/conformance/both/{}-chapter.yaml", number / 25),
        scenario: format!("case-{}", number / 2),
        variant: ["v3.1.1", "v5"][number % 2].into(),
        row: None,
    };
    let case = CaseInfo {
        id: id.clone(),
        title: format!("What the standard says in its sentence {} must hold of every broker", number / 2),
        spec: vec![format!("MQTT-3.{}.1-{}", number % 14 + 1, number % 30 + 1)],
        protocol: ["3.1.1", "5"][number % 2].into(),
        ..CaseInfo::default()
    };
    let at = |step: usize| number as f64 * 0.01 + step as f64 * 0.000_1;
    all.push(Event {
        at: at(0),
        kind: EventKind::CaseStarted { case: case.clone(), source: None, statements: BTreeMap::new() },
    });
    let mut lines = Vec::new();
    for step in 0..packets {
        let line =
            format!("PUBLISH c/{number}/topic \"payload {number}-{step} of some length\" qos=1 id={step}");
        let wire = WireEvent {
            client: ["pub", "sub"][step % 2].into(),
            conn: 1 + u32::from(step % 2 == 1),
            side: [WireSide::Sent, WireSide::Received][step % 2],
            bytes: Some(line.clone().into()),
            line,
        };
        lines.push(wire.print());
        all.push(Event { at: at(step), kind: EventKind::Wire { case: id.clone(), wire } });
        let line =
            format!("Received PUBLISH from client-{number:08x} (d0, q1, r0, m{step}, 'c/{number}/topic')");
        all.push(Event { at: at(step), kind: EventKind::BrokerLog { case: id.clone(), line } });
    }
    let failed = number.is_multiple_of(100);
    let why = failed.then(|| Explanation {
        expected: "sub < PUBACK".into(),
        actual: "nothing within 2.00 s".into(),
        came: lines.last().into_iter().cloned().collect(),
        packets: lines,
        ..Explanation::default()
    });
    let verdict = if failed { Verdict::Failed } else { Verdict::Passed };
    let outcome = Outcome {
        case,
        verdict,
        unmet: false,
        left_out: false,
        seconds: 0.01,
        why,
        mechanism: None,
        notes: Vec::new(),
    };
    all.push(Event { at: at(packets), kind: EventKind::CaseFinished { outcome } });
}

#[test]
fn a_thousand_cases_stay_below_the_bound_with_their_packets() {
    let page = page(&many(1000, 20));
    assert!(page.len() < LARGEST, "{} bytes", page.len());
    let data = data(&page);
    assert_eq!(data["cases"].as_array().expect("cases").len(), 1000);
    let packets: usize = data["tapes"]
        .as_array()
        .expect("tapes")
        .iter()
        .map(|tape| tape["wire"].as_array().expect("packets").len())
        .sum();
    assert_eq!(packets, 20_000, "no packet is left out");
}

#[test]
fn what_does_not_fit_is_left_out_of_what_passed_and_that_is_said() {
    let page = page(&many(250, 200));
    assert!(page.len() < LARGEST, "{} bytes", page.len());
    assert!(plain(&page).contains("To keep this page small"), "it says so");
    let data = data(&page);
    let number = |value: &Value| usize::try_from(value.as_u64().expect("a number")).expect("small");
    let mut failed = 0;
    for case in data["cases"].as_array().expect("cases") {
        let end = &case["ends"][0];
        if end["verdict"] == "f" {
            failed += 1;
            let tape = &data["tapes"][number(&end["tape"])];
            assert_eq!(tape["wire"].as_array().expect("packets").len(), 200, "a failure keeps all");
            assert_eq!(end["why"]["came"], serde_json::json!([199]));
        }
    }
    assert_eq!(failed, 3);
}

/// A table of which each row fails, with its packets.
fn many_rows(rows: usize) -> Vec<Event> {
    let mut all = many(0, 0);
    let end = all.pop().expect("an end");
    let id = CaseId { file: "labs/big.yaml".into(), scenario: "acl".into(), ..CaseId::default() };
    let case = CaseInfo { id: id.clone(), title: "who may do what".into(), ..CaseInfo::default() };
    let text = "    | t | bob | X | - | deny |\n".repeat(rows);
    let source = Some(Excerpt { line: 1, text });
    let kind = EventKind::CaseStarted { case: case.clone(), source, statements: BTreeMap::new() };
    all.push(Event { at: 0.0, kind });
    let mut finished = Vec::new();
    for row in 1..=rows {
        let line = format!("PUBLISH t/{row} \"p{row}-1234abcd\"");
        let wire =
            WireEvent { client: "witness".into(), conn: 0, side: WireSide::Received, line, bytes: None };
        let print = wire.print();
        all.push(Event { at: 0.1, kind: EventKind::Wire { case: id.clone(), wire } });
        let why = Explanation {
            expected: "deny: nobody receives it".into(),
            actual: format!("user-{row} received it"),
            packets: vec![print.clone()],
            came: vec![print],
            ..Explanation::default()
        };
        let outcome = Outcome {
            case: CaseInfo { id: CaseId { row: Some(row), ..id.clone() }, ..case.clone() },
            verdict: Verdict::Failed,
            unmet: false,
            left_out: false,
            seconds: 0.0,
            why: Some(why),
            mechanism: None,
            notes: Vec::new(),
        };
        finished.push(Event { at: 0.2, kind: EventKind::CaseFinished { outcome } });
    }
    all.append(&mut finished);
    all.push(end);
    all
}

#[test]
fn a_table_of_very_many_rows_is_told_in_numbers() {
    const ROWS: usize = 20_000;
    let page = page(&many_rows(ROWS));
    assert!(page.len() < LARGEST, "{} bytes", page.len());
    let plain = plain(&page);
    assert!(
        plain.contains("<h1 class=\"bad\">incomplete") || plain.contains("20000 failed of 20000"),
        "{plain}"
    );
    let data = data(&page);
    assert_eq!(data["counts"]["f"], ROWS, "all are counted");
    let listed = data["cases"].as_array().expect("cases");
    assert!((1000..ROWS).contains(&listed.len()), "{} listed", listed.len());
    let rest = ROWS - listed.len();
    assert!(plain.contains(&format!("Of {ROWS} cases {rest} are not listed")), "it says so");
    assert!(
        plain.contains(&format!("not listed to keep this page small: {rest} failed")),
        "with their verdicts"
    );
    let number = |value: &Value| usize::try_from(value.as_u64().expect("a number")).expect("small");
    // Of a long tape the first and the last packets are there; those of other rows are told beside it.
    let first = &listed[0]["ends"][0]["why"];
    let tape = &data["tapes"][number(&listed[0]["ends"][0]["tape"])];
    let packet = &tape["wire"][number(&first["came"][0])];
    assert_eq!(text(&data, &packet[4]), "PUBLISH t/1 \"p1-1234abcd\"");
    let last = &listed.last().expect("a case")["ends"][0]["why"];
    assert_eq!(last["named"], serde_json::json!([]));
    assert!(text(&data, &last["packets"][0]).starts_with("witness < PUBLISH t/"), "{last}");
    assert_eq!(last["instead"], serde_json::json!([0]));
}

#[test]
fn what_failed_is_listed_before_what_passed() {
    let mut events = many_rows(8000);
    for event in &mut events {
        if let EventKind::CaseFinished { outcome } = &mut event.kind
            && outcome.case.id.row.is_some_and(|row| !row.is_multiple_of(1000))
        {
            (outcome.verdict, outcome.why) = (Verdict::Passed, None);
        }
    }
    let page = page(&events);
    assert!(page.len() < LARGEST, "{} bytes", page.len());
    let data = data(&page);
    let ends = data["cases"].as_array().expect("cases").iter().map(|case| &case["ends"][0]["verdict"]);
    assert_eq!(ends.clone().filter(|end| *end == "f").count(), 8);
    assert!(ends.count() < 8000);
    assert!(plain(&page).contains("1 cause"), "one sentence with other numbers is one cause");
    let Some(dom) = browsed(&page, "#case=labs/big.yaml:acl.7999") else { return };
    assert!(between(&dom, "<p id=\"missing\"", "</p>").contains("labs/big.yaml:acl.7999 is not listed"));
    assert!(dom.contains("class=\"rest\""), "the rest is told in numbers");
}

/// Chromium's idea of a page after its script ran; `None` where it is not installed.
fn browsed(page: &str, fragment: &str) -> Option<String> {
    let Some(chromium) = program("chromium") else {
        assert!(std::env::var_os("CI").is_none(), "chromium is needed in CI");
        skipped("chromium is not installed");
        return None;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.html");
    fs::write(&file, page).expect("written");
    let profile = folder.path().join("profile");
    // Its sandbox does not run as root, and the page is ours.
    let Output { stdout, stderr, .. } = Command::new("timeout")
        .args(["120"])
        .arg(chromium)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=8000"])
        .args(["--enable-logging=stderr", "--window-size=1300,900"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}{fragment}", file.display()))
        .output()
        .expect("chromium runs");
    let said = String::from_utf8_lossy(&stderr);
    let complaint = said.lines().find(|line| line.contains(":CONSOLE"));
    assert_eq!(complaint, None, "the page complains");
    Some(String::from_utf8_lossy(&stdout).into_owned())
}

#[test]
fn a_browser_opens_a_linked_case_and_draws_its_packets() {
    let page = page(&events("two_brokers"));
    let link = "#case=scenarios/conformance/v5/3.8-subscription-options.yaml:no-local-shared&theme=dark";
    let Some(dom) = browsed(&page, link) else { return };
    assert!(dom.contains("data-theme=\"dark\""), "the address may choose");
    let case = between(&dom, "<main id=\"case\">", "</main>");
    assert!(case.contains("No Local with a shared subscription"), "{case}");
    assert!(case.contains("class=\"row came\""), "the packet that should not have come is red: {case}");
    assert!(case.contains("class=\"parted\""), "{case}");
    assert!(case.contains("class=\"fence\"") || case.contains("SUBACK id=2 0"), "{case}");
    assert!(case.contains("class=\"log\""), "the broker's log is drawn: {case}");
    assert!(case.contains("#1</text>"), "connections have numbers: {case}");
    assert!(case.contains("class=\"line here\""), "the line of the scenario is marked: {case}");
    assert!(case.contains("class=\"differs\""), "the packets of the two brokers are compared: {case}");
}

/// Presses keys one after the other, and notes what the page shows after each.
const DRIVER: &str = r"<script>
(async () => {
  const seen = [];
  const note = () => seen.push([
    location.hash, document.querySelector('tr.selected')?.dataset.c ?? '', document.activeElement.id,
    document.getElementById('bytes')?.hidden === false ? document.querySelector('#bytes .line').textContent : '',
    document.getElementById('help').open, document.getElementById('count').textContent].join('|'));
  for (const key of ['j', 'j', 'Enter', 'j', 'Escape', 'n', 'Escape', '?', '?', 'd', '/']) {
    (document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
    await new Promise(done => setTimeout(done, 100));
    note();
  }
  document.body.append(Object.assign(document.createElement('pre'), { id: 'seen', textContent: seen.join('\n') }));
})();
</script></body>";

#[test]
fn a_browser_is_ruled_by_keys() {
    let page = page(&events("two_brokers"));
    let policy = between(&page, "http-equiv=\"Content-Security-Policy\" content=\"", "\"").to_owned();
    // The keys are pressed by a script that the page's own policy would not let run.
    let page =
        page.replace(&policy, "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'");
    let Some(dom) = browsed(&page.replace("</body>", DRIVER), "") else { return };
    let mut seen = String::new();
    for line in between(&dom, "<pre id=\"seen\">", "</pre>").lines() {
        let _ = writeln!(seen, "{line}");
    }
    assert_snapshot!(seen);
}

#[test]
fn a_browser_shows_hostile_text_as_text() {
    let Some(dom) = browsed(&page(&hostile()), "#verdict=f") else { return };
    assert!(!dom.contains("<img"), "no element comes from a text");
    assert_eq!(dom.matches("<script").count(), 2);
    let link = between(plain(&page(&hostile())), "<li data-c=\"", "</li>").to_owned();
    let link = between(&link, "<a href=\"", "\"").to_owned();
    let Some(dom) = browsed(&page(&hostile()), &link) else { return };
    let case = between(&dom, "<main id=\"case\">", "</main>");
    assert!(case.contains("class=\"stage\"") && !case.contains("<img"), "{case}");
    // The row of the table, by its own link.
    let (before, after) = link.rsplit_once('@').expect("a variant");
    let Some(dom) = browsed(&page(&hostile()), &format!("{before}.1@{after}")) else { return };
    let case = between(&dom, "<main id=\"case\">", "</main>");
    let told = between(case, "<pre class=\"packets\">", "</pre>");
    assert!(told.starts_with("<span class=\"came\">eve &lt; &lt;/script&gt;"), "{told}");
    assert!(!case.contains("<img"), "{case}");
}
