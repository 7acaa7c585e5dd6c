//! Scenario files and sheets that nobody would write by hand: cut, shuffled and mutated texts must
//! be answered with findings, and tables of every look must keep all bytes around their cells.

use std::fs;

use mqttlab::diagnostic::{Source, has_errors};
use mqttlab::scenario::table::Table;
use mqttlab::scenario::{Body, LoadOptions, Loaded, load};
use proptest::prelude::*;

use crate::support::no_files::NoFiles;

fn read(name: &str, text: &str) -> Loaded {
    let with = Source::new("with.yaml", "lab: 1\nbroker: {users: [bob]}\n");
    let options = LoadOptions { with: (name == "t.csv").then_some(with), ..LoadOptions::default() };
    load(&Source::new(name, text), &NoFiles, &options)
}

/// Files of ours to start from.
fn seeds() -> Vec<(&'static str, String)> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let labs = ["qos", "last_will", "users", "publish_subscribe", "acl/traps", "tls/tls"];
    let mut found: Vec<_> =
        labs.iter().map(|lab| ("t.yaml", text(&format!("scenarios/labs/{lab}.yaml")))).collect();
    found.push(("t.yaml", text("fixtures/scenario/language.yaml")));
    found.push(("t.md", text("fixtures/tables/lab03.md")));
    found.push(("t.csv", "Topic,User,Publish,Subscribe,Expectation,PASSED\na/b,bob,X,-,PASS,\n".repeat(3)));
    found
}

/// Pieces that mean something to YAML, Markdown, the language or a reader of any of them.
const PIECES: &[&str] = &[
    "#",
    " # ",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "|",
    "\\|",
    ">",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    "\t",
    "\r\n",
    "\n",
    "\0",
    "\u{1b}[31m",
    "\u{feff}",
    "\u{202e}",
    "é",
    "𝄞",
    "\"",
    "'",
    "${",
    "${i}",
    "$${",
    "}",
    "---\n",
    "...\n",
    "~",
    "%",
    "999999999999999999999",
    "-1",
    "0x",
    "1e400",
    ".nan",
    "/(/",
    "/sport/#/x",
    "deny(0x",
    "```",
    "```yaml mqttlab\n",
    "steps:",
    "acl_table: |",
    "packets: |\n",
    "> ",
    "< ",
    "! ",
    "hex ",
    "repeat: {times: 1000000, steps: []}",
];

/// One change to a text; all positions are taken modulo what is there.
#[derive(Debug, Clone)]
enum Change {
    Cut(usize),
    Insert(usize, usize),
    Remove(usize, usize),
    SwapLines(usize, usize),
    RepeatLine(usize, usize),
    Indent(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => any::<usize>().prop_map(Change::Cut),
        4 => (any::<usize>(), 0..PIECES.len()).prop_map(|(at, piece)| Change::Insert(at, piece)),
        2 => (any::<usize>(), 1..20_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(one, other)| Change::SwapLines(one, other)),
        1 => (any::<usize>(), 1..50_usize).prop_map(|(line, times)| Change::RepeatLine(line, times)),
        1 => any::<usize>().prop_map(Change::Indent),
    ]
}

fn apply(text: &str, change: &Change) -> String {
    let border = |at: usize| {
        let mut at = at % (text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let lines = || text.split_inclusive('\n').map(str::to_owned).collect::<Vec<String>>();
    let edited = |work: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines();
        if !lines.is_empty() {
            work(&mut lines);
        }
        lines.concat()
    };
    match change {
        Change::Cut(at) => text[..border(*at)].to_owned(),
        Change::Insert(at, piece) => {
            let at = border(*at);
            [&text[..at], PIECES[*piece], &text[at..]].concat()
        }
        Change::Remove(at, length) => {
            let at = border(*at);
            let rest: String = text[at..].chars().skip(*length).collect();
            text[..at].to_owned() + &rest
        }
        Change::SwapLines(one, other) => edited(&|lines| {
            let count = lines.len();
            lines.swap(one % count, other % count);
        }),
        Change::RepeatLine(line, times) => edited(&|lines| {
            let at = line % lines.len();
            let line = lines[at].repeat(*times);
            lines.insert(at, line);
        }),
        Change::Indent(line) => edited(&|lines| {
            let at = line % lines.len();
            lines[at].insert_str(0, "  ");
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_are_answered(
        seed in 0..9_usize,
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let (name, text) = &seeds()[seed];
        let text = changes.iter().fold(text.clone(), |text, change| apply(&text, change));
        let loaded = read(name, &text);
        for finding in &loaded.diagnostics {
            let shown = finding.render(false);
            prop_assert!(!shown.contains('\u{1b}'), "an escape of the file reaches the terminal: {shown:?}");
        }
        prop_assert!(loaded.cases.is_empty() || !has_errors(&loaded.diagnostics));
        // Nothing is dropped without a word.
        prop_assert!(!loaded.cases.is_empty() || !loaded.diagnostics.is_empty(), "{text}");
    }

    #[test]
    fn a_filled_sheet_says_the_same(
        rows in prop::collection::vec(row(), 1..8),
        crlf in any::<bool>(),
        csv in any::<bool>(),
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let (name, text) = if csv { ("t.csv", csv_text(&rows, end)) } else { ("t.md", sheet(&rows, end)) };
        let before = read(name, &text);
        prop_assert!(!has_errors(&before.diagnostics), "{}\n{text}", before.diagnostics[0].render(false));
        let table = table(&before);
        // What is around the cells, and the cells with their marks.
        let mut filled = String::new();
        let mut done = 0;
        for (row, asked) in table.rows.iter().zip(&rows) {
            let cell = row.passed_cell.clone().expect("every row has one");
            prop_assert_eq!(cell.text().trim(), asked.passed.trim());
            filled += &text[done..cell.range.start];
            filled += if row.number % 2 == 0 { " n " } else { "y" };
            done = cell.range.end;
        }
        filled += &text[done..];
        let after = read(name, &filled);
        prop_assert!(!has_errors(&after.diagnostics), "{filled}");
        let after = self::table(&after);
        prop_assert_eq!(after.rows.len(), table.rows.len());
        for ((old, new), asked) in table.rows.iter().zip(&after.rows).zip(&rows) {
            prop_assert_eq!(&old.topic, &asked.topic);
            prop_assert_eq!((&old.topic, &old.user, &old.checks), (&new.topic, &new.user, &new.checks));
            let mark = new.passed_cell.as_ref().map(|cell| cell.text().trim().to_owned());
            prop_assert_eq!(mark.as_deref(), Some(if old.number % 2 == 0 { "n" } else { "y" }));
        }
    }
}

fn table(loaded: &Loaded) -> &Table {
    match &loaded.cases[0].body {
        Body::Table(table) => table,
        Body::Steps(_) => panic!("a sheet has a table"),
    }
}

#[derive(Debug, Clone)]
struct AskedRow {
    topic: String,
    publish: bool,
    allow: bool,
    passed: &'static str,
    pad: usize,
}

fn row() -> impl Strategy<Value = AskedRow> {
    let passed = prop::sample::select(vec!["", " ", "(y/n)", " (y/n)  ", "n", " ✓ "]);
    // Different topics: rows that contradict each other are not what is tested here.
    let topic = "[a-zé𝄞][a-z|é /_*]{0,8}[a-z0-9]{6}";
    (topic, any::<bool>(), any::<bool>(), passed, 0..4_usize)
        .prop_map(|(topic, publish, allow, passed, pad)| AskedRow { topic, publish, allow, passed, pad })
}

fn marks(row: &AskedRow) -> [&'static str; 3] {
    let (publish, subscribe) = if row.publish { ("X", "-") } else { "-x".split_at(1) };
    [publish, subscribe, if row.allow { "PASS" } else { "deny" }]
}

fn sheet(rows: &[AskedRow], end: &str) -> String {
    let mut lines: Vec<String> = [
        "# Lab",
        "",
        "```yaml mqttlab",
        "broker: {users: [bob]}",
        "```",
        "",
        "Text | with a bar",
        "",
        "| Topic | User | Publish | Subscribe | Expectation | PASSED |",
        "|--|:-:|--|--|--|--|",
    ]
    .map(str::to_owned)
    .to_vec();
    for row in rows {
        let topic = row.topic.replace('|', "\\|").replace('*', "\\*");
        let [publish, subscribe, expected] = marks(row);
        let (pad, passed) = (" ".repeat(row.pad), row.passed);
        lines.push(format!(
            "|{pad}{topic}{pad}| bob |{publish}|{pad}{subscribe} | {expected} |{passed}|{pad}"
        ));
    }
    lines.extend([String::new(), "The end.".to_owned(), String::new()]);
    lines.join(end)
}

fn csv_text(rows: &[AskedRow], end: &str) -> String {
    let mut lines = vec!["Topic,User,Publish,Subscribe,Expectation,PASSED".to_owned()];
    for row in rows {
        let [publish, subscribe, expected] = marks(row);
        lines.push(format!("\"{}\",bob,{publish},{subscribe},{expected},{}", row.topic, row.passed));
    }
    lines.join(end)
}
