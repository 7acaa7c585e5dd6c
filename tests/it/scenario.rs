//! The scenario language from outside: what broken files are answered with, what good files lower
//! to, and that no text whatever makes the reader panic. Running scenarios is `tests/scenarios.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mqttlab::diagnostic::{Source, has_errors};
use mqttlab::scenario::codes::CODES;
use mqttlab::scenario::op::{Op, Request};
use mqttlab::scenario::step::{Actor, VERBS};
use mqttlab::scenario::table::{Action, Expected, Reading, Table};
use mqttlab::scenario::{Body, Capability, LoadOptions, Loaded, ScenarioFiles, load};

/// What `--with` names for tables that come alone.
const WITH: &str = "lab: 1
broker: {users: {bob: {allow: {read: [a/b]}}, alice: {}}}
";

/// Files beside another.
struct Beside(PathBuf);

impl ScenarioFiles for Beside {
    fn read(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(self.0.join(path))
    }
}

fn read_file(path: &Path) -> Loaded {
    let text = fs::read_to_string(path).expect("a fixture");
    let folder = path.parent().expect("a folder").to_owned();
    let with = path.extension().is_some_and(|end| end == "csv").then(|| Source::new("with.yaml", WITH));
    let options = LoadOptions { with, ..LoadOptions::default() };
    load(&Source::new(path.display().to_string(), text), &Beside(folder), &options)
}

fn read(name: &str, text: &str) -> Loaded {
    load(&Source::new(name, text), &Beside(PathBuf::from("fixtures")), &LoadOptions::default())
}

fn rendered(loaded: &Loaded) -> String {
    loaded.diagnostics.iter().map(|finding| finding.render(false) + "\n\n").collect()
}

/// The cases of a text without errors.
fn good(name: &str, text: &str) -> Loaded {
    let loaded = read(name, text);
    assert!(!has_errors(&loaded.diagnostics), "{}", rendered(&loaded));
    loaded
}

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder of fixtures");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    found
}

#[test]
fn broken_files_are_answered_with_all_their_findings() {
    let mut seen = BTreeSet::new();
    for path in fixtures("fixtures/yaml").into_iter().chain(fixtures("fixtures/tables/broken")) {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let code = name.split('-').next().expect("a code").to_owned();
        let loaded = read_file(&path);
        let codes: Vec<&str> = loaded.diagnostics.iter().map(|finding| finding.code).collect();
        assert!(codes.contains(&code.as_str()), "{name}: {codes:?}");
        assert!(loaded.cases.is_empty() || !has_errors(&loaded.diagnostics), "{name} gives no cases");
        seen.insert(code);
        insta::assert_snapshot!(name, rendered(&loaded));
    }
    // L000 is the command line's, L025 needs a long file, T011 a table that is read well.
    let missing: Vec<&str> =
        CODES.iter().map(|(code, _)| *code).filter(|code| !seen.contains(*code)).collect();
    assert_eq!(missing, ["L000", "L025", "T011"], "codes without an example");
}

#[test]
fn every_code_that_is_given_is_listed() {
    let listed: BTreeSet<&str> = CODES.iter().map(|(code, _)| *code).collect();
    for path in fixtures("fixtures/yaml").into_iter().chain(fixtures("fixtures/tables/broken")) {
        for finding in read_file(&path).diagnostics {
            assert!(listed.contains(finding.code), "{} of {}", finding.code, path.display());
        }
    }
    assert_eq!(listed.len(), CODES.len(), "a code is listed twice");
}

#[test]
fn a_file_of_nothing_but_errors_is_answered_briefly() {
    let head = "lab: 1\nscenarios:\n- id: one\n  acl_table: |\n    | Topic | Publish |\n    |-|-|\n";
    let rows = "    | a/# | yes |\n".repeat(20_000);
    let loaded = read("t.yaml", &(head.to_owned() + &rows));
    assert!(loaded.cases.is_empty());
    assert_eq!(loaded.diagnostics.len(), 201);
    let last = loaded.diagnostics.last().map(|finding| (finding.code, finding.message.as_str()));
    assert_eq!(last, Some(("L025", "19800 findings more are not shown")));
}

#[test]
fn every_example_of_the_reference_works() {
    for verb in VERBS {
        let actors = match verb.actor {
            Actor::Peer => "clients: {a: {peer: far}, b: {}}\n  peers: [far]",
            _ => "clients: {a: {}, b: {}}",
        };
        let mut text = format!("lab: 1\nscenarios:\n- id: one\n  {actors}\n  steps:\n");
        for line in verb.example.lines() {
            let _ = writeln!(text, "  {line}");
        }
        let loaded = good("example.yaml", &text);
        assert_eq!(loaded.cases.len(), 1, "{}", verb.name);
        let word =
            if verb.actor == Actor::Broker { format!("broker: {}", verb.name) } else { verb.name.to_owned() };
        assert!(verb.example.contains(&word), "the example of {} does not show it", verb.name);
    }
}

#[test]
fn the_example_of_the_language_lowers_to_operations() {
    let loaded = read_file(Path::new("fixtures/scenario/language.yaml"));
    assert!(!has_errors(&loaded.diagnostics), "{}", rendered(&loaded));
    let mut text = rendered(&loaded);
    for case in &loaded.cases {
        let _ = writeln!(
            text,
            "{} {:?} {} spec={:?} requires={:?} points={:?} tags={:?} least={:?}",
            case.scenario,
            case.variant,
            case.name,
            case.spec,
            case.requires,
            case.points,
            case.tags,
            case.least
        );
        assert_eq!(case.spec.len(), case.spec_spans.len());
        match &case.body {
            Body::Steps(steps) => {
                for step in steps {
                    let _ = writeln!(text, "  {} {}", step.span.file_line(), op(&step.op));
                }
            }
            Body::Table(table) => text += &rows(table),
        }
    }
    insta::assert_snapshot!("language", text);
}

/// What matters of an operation, in one line.
fn op(op: &Op) -> String {
    match op {
        Op::Open(client, open) => format!("open {} {:?}", client.0, open.outcome),
        Op::Send(client, Request::Publish { topic, payload, qos, retain, .. }, reply) => {
            format!("publish {} {topic:?} {payload:?} {qos} {retain} {reply:?}", client.0)
        }
        Op::Send(client, Request::Subscribe { filters, .. }, reply) => {
            let list: Vec<String> = filters.iter().map(|(f, o)| format!("{f:?} {}", o.qos)).collect();
            format!("subscribe {} {list:?} {reply:?}", client.0)
        }
        Op::Send(client, request, reply) => format!("send {} {request:?} {reply:?}", client.0),
        Op::Expect(client, expect) => {
            let list = expect
                .messages
                .iter()
                .map(|m| format!("{:?} {:?} qos {:?} times {}", m.topic, m.payload, m.qos, m.times));
            format!("expect {} {:?} within {:?}", client.0, list.collect::<Vec<_>>(), expect.within)
        }
        Op::ExpectAmong(clients, expect) => {
            let list = expect.messages.iter().map(|m| format!("{:?} {:?}", m.topic, m.payload));
            format!("expect one of {clients:?} {:?}", list.collect::<Vec<_>>())
        }
        Op::Packets(client, lines) => {
            let list: Vec<&str> = lines.iter().map(|line| line.span.text()).collect();
            format!("packets {} {list:?}", client.0)
        }
        other => format!("{other:?}"),
    }
}

fn rows(table: &Table) -> String {
    let mut text = format!("  {:?}\n", table.reading);
    for row in &table.rows {
        let _ = writeln!(
            text,
            "  {} {} {:?} {:?} {:?} qos {} points {:?} at {} fill {:?}",
            row.number,
            row.topic,
            row.user,
            row.client_id,
            row.checks.iter().map(|check| (check.action, check.expected)).collect::<Vec<_>>(),
            row.qos,
            row.points,
            row.span.location(),
            row.passed_cell.as_ref().map(|cell| cell.text().to_owned()),
        );
    }
    text
}

#[test]
fn all_labs_load_without_errors() {
    let mut folders = vec![PathBuf::from("scenarios")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for path in fixtures(&folder.to_string_lossy()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "yaml") {
                let loaded = read_file(&path);
                assert!(!has_errors(&loaded.diagnostics), "{}", rendered(&loaded));
                assert!(!loaded.cases.is_empty(), "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 5);
}

/// The table of a text's only case.
fn table_of(name: &str, text: &str) -> Table {
    let loaded = load(
        &Source::new(name, text),
        &Beside(PathBuf::from("fixtures/tables")),
        &LoadOptions { with: Some(Source::new("with.yaml", WITH)), ..LoadOptions::default() },
    );
    assert!(!has_errors(&loaded.diagnostics), "{}", rendered(&loaded));
    let [case] = loaded.cases.as_slice() else { panic!("one case, not {}", loaded.cases.len()) };
    let Body::Table(table) = &case.body else { panic!("a table") };
    Table::clone(table)
}

/// Topic, user and checks of a row.
type Essence = (String, Option<String>, Vec<(Action, Expected)>);

fn essence(table: &Table) -> Vec<Essence> {
    let row = |row: &mqttlab::scenario::table::Row| {
        let checks = row.checks.iter().map(|check| (check.action, check.expected)).collect();
        (row.topic.clone(), row.user.clone(), checks)
    };
    table.rows.iter().map(row).collect()
}

#[test]
fn the_forms_of_a_table_say_the_same() {
    let forms = [
        (
            "a.md",
            "| Topic | User | Publish | Subscribe | Expectation |\n|-|-|-|-|-|\n\
                  | a/b | bob | X | - | PASS |\n| `c/+` | - | - | x | FAIL |\n",
        ),
        (
            "b.md",
            "Intro\n\nexpectation | subscribe | PUBLISH | topic | user\r\n--|:-:|--|--|--\r\n\
                  allow |  | ✓ | a/b | bob\r\ndeny | ✓ |  | c/+ | anonymous\r\n\r\nThe end | of it\r\n",
        ),
        ("c.csv", "Topic;User;Publish;Subscribe;Expectation\na/b;bob;X;-;yes\n\"c/+\";;;X;no\n"),
        ("d.csv", "Topic,User,Publish,Subscribe\na/b,bob,yes,-\nc/+,,-,deny\n"),
        (
            "e.md",
            "| Topic | User | Publish | Subscribe | Expectation |\n|-|-|-|-|-|\n\
                  | a/b | bob | allow | - | because |\n| c/\\+ | - |  | ✗ | of that |\n",
        ),
        (
            "f.yaml",
            "lab: 1\nscenarios:\n- id: one\n  acl_table:\n\
                    \x20 - {topic: a/b, user: bob, publish: yes}\n  - {topic: c/+, subscribe: no}\n",
        ),
        (
            "g.yaml",
            "lab: 1\nscenarios:\n- id: one\n  acl_table: |\n\
                    \x20   | Topic | User | Publish | Subscribe |\n    |-------|------|---|---|\n\
                    \x20   | a/b   | bob  | y |   |\n    | c/+   |      |   | n |\n",
        ),
    ];
    let wanted = vec![
        ("a/b".to_owned(), Some("bob".to_owned()), vec![(Action::Publish, Expected::Allow)]),
        ("c/+".to_owned(), None, vec![(Action::Subscribe, Expected::Deny)]),
    ];
    for (name, text) in forms {
        let table = table_of(name, text);
        assert_eq!(essence(&table), wanted, "{name}");
        let marks = matches!(name, "a.md" | "b.md" | "c.csv");
        assert_eq!(table.reading == Reading::Marks, marks, "{name}");
    }
}

#[test]
fn the_lab_sheet_has_its_17_rows() {
    let loaded = read_file(Path::new("fixtures/tables/lab03.md"));
    assert!(!has_errors(&loaded.diagnostics), "{}", rendered(&loaded));
    let [case] = loaded.cases.as_slice() else { panic!("one case") };
    let Body::Table(table) = &case.body else { panic!("a table") };
    assert_eq!(table.rows.len(), 17);
    assert_eq!(case.setup.broker.users.len(), 3);
    assert_eq!(table.rows[5].user.as_deref(), Some("user117"));
    assert_eq!(case.requires, [Capability::Accounts]);
    let cells: Vec<&str> =
        table.rows.iter().map(|row| row.passed_cell.as_ref().expect("a cell").text().trim()).collect();
    assert_eq!(cells[..3], ["(y/n)", "(y/n)", ""]);
    let same: Vec<&str> = loaded.diagnostics.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(same, ["rows 1 and 3 are the same", "rows 9 and 14 are the same"]);
}

#[test]
fn points_are_shared_or_must_add_up() {
    let text = |points: &str, column: &str| {
        format!(
            "lab: 1\nscenarios:\n- id: one\n{points}  acl_table:\n\
             \x20 - {{topic: a, publish: yes{column}}}\n  - {{topic: b, publish: no{column}}}\n"
        )
    };
    let points = |text: &str| -> Vec<Option<f64>> {
        table_of("t.yaml", text).rows.iter().map(|row| row.points).collect()
    };
    assert_eq!(points(&text("  points: 5\n", "")), [Some(2.5), Some(2.5)]);
    assert_eq!(points(&text("", ", points: 2")), [Some(2.0), Some(2.0)]);
    assert_eq!(points(&text("  points: 4\n", ", points: 2")), [Some(2.0), Some(2.0)]);
    assert_eq!(points(&text("", "")), [None, None]);
}

#[test]
fn a_table_without_the_last_column_cannot_be_filled() {
    use mqttlab::scenario::table::unfillable;
    let codes = |text: &str| -> Vec<&'static str> {
        unfillable(&table_of("t.md", text)).iter().map(|finding| finding.code).collect()
    };
    let head = "| Topic | Publish | PASSED |\n|-|-|-|\n";
    assert_eq!(codes("| Topic | Publish |\n|-|-|\n| a | yes |\n| b | no |\n"), ["T011"]);
    assert_eq!(codes(&format!("{head}| a | yes | |\n| b | no |\n")), ["T011"]);
    assert!(codes(&format!("{head}| a | yes | |\n| b | no | (y/n) |\n")).is_empty());
}

#[test]
fn what_the_command_line_names_stands_in_for_the_scenario() {
    use mqttlab::scenario::target::FileText;
    let file = |text: &str| Some(FileText { path: "f".into(), text: text.into(), embedded_at: None });
    let options = LoadOptions {
        acl: file("user bob\n"),
        config: file("max_inflight_messages 5\n"),
        with: Some(Source::new("with.yaml", WITH)),
        ..LoadOptions::default()
    };
    let sheet = "```yaml mqttlab\nbroker: {allow_anonymous: true, users: [mallory]}\n```\n\
                 | Topic | User | Publish |\n|-|-|-|\n| a | bob | yes |\n";
    let loaded = load(&Source::new("s.md", sheet), &Beside(PathBuf::new()), &options);
    let broker = &loaded.cases[0].setup.broker;
    // The lecturer's set-up, not the one that the student wrote into the sheet.
    assert_eq!(broker.users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["bob", "alice"]);
    assert!(broker.users.iter().all(|user| user.allow.is_empty()), "--acl replaces the rights");
    assert_eq!(broker.acl.as_ref().map(|acl| acl.text.as_str()), Some("user bob\n"));
    assert_eq!(broker.allow_anonymous, None);
    assert!(broker.config.is_some());
}

#[test]
fn variables_and_the_matrix_reach_every_value() {
    let text = "lab: 1
matrix: {protocol: [\"3.1.1\", \"5\"], level: [0, 2]}
broker: {settings: {max_inflight_messages: \"${matrix.level}\"}, listeners: {plain: {}}}
clients: {a: {}}
scenarios:
- id: one
  matrix: {qos: [1, 2]}
  clients: {b: {protocol: 5}}
  steps:
  - a: {publish: \"${where}/${env.HOME_TOPIC}\", payload: \"${listeners.plain.port}\", qos: \"${matrix.qos}\"}
  - b: ping
- id: two
  steps:
  - a: {subscribe: x, qos: \"${matrix.level}\"}
";
    let pair = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let options = LoadOptions {
        set: pair("where", "home"),
        env: pair("HOME_TOPIC", "kitchen"),
        ..LoadOptions::default()
    };
    let loaded = load(&Source::new("v.yaml", text), &Beside(PathBuf::new()), &options);
    // A scenario's matrix replaces the file's, so `level` is not known in the first one.
    let codes: Vec<&str> = loaded.diagnostics.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["L010"], "{}", rendered(&loaded));

    let text = text.replace("{qos: [1, 2]}", "{qos: [1, 2], level: 7}");
    let loaded = load(&Source::new("v.yaml", text), &Beside(PathBuf::new()), &options);
    assert!(!has_errors(&loaded.diagnostics), "{}", rendered(&loaded));
    let cases: Vec<(&str, &str, &str)> = loaded
        .cases
        .iter()
        .map(|case| (case.scenario.as_str(), case.variant.as_str(), case.setup.broker.settings[0].1.as_str()))
        .collect();
    assert_eq!(
        cases,
        [
            ("one", "qos=1", "7"),
            ("one", "qos=2", "7"),
            ("two", "v3.1.1,level=0", "0"),
            ("two", "v3.1.1,level=2", "2"),
            ("two", "v5,level=0", "0"),
            ("two", "v5,level=2", "2"),
        ]
    );
    assert_eq!(loaded.cases[0].requires, [Capability::Config, Capability::V5]);
    let Body::Steps(steps) = &loaded.cases[1].body else { panic!("steps") };
    let Op::Send(_, Request::Publish { topic, payload, qos, .. }, _) = &steps[0].op else {
        panic!("publish")
    };
    assert_eq!(topic.as_literal(), Some("home/kitchen"));
    assert!(format!("{payload:?}").contains("Variable(\"listeners.plain.port\")"), "{payload:?}");
    assert_eq!(qos.as_u8(), 2);
}
