//! The house rules as tests: layers, sizes, headers, citations. Reads the repository as text; it
//! does not judge what the code does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may use (DESIGN: "Layers"). `broker` parts are told apart.
const LAYERS: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("diagnostic", &[]),
    ("mqtt", &["text"]),
    ("record", &["mqtt", "diagnostic", "text"]),
    // `tls` only for the names of TLS failures.
    ("scenario", &["mqtt", "diagnostic", "text", "tls"]),
    ("check", &["mqtt", "record", "text"]),
    ("capture", &["text"]),
    ("tls", &["text", "diagnostic"]),
    ("net", &["mqtt", "record", "tls"]),
    ("client", &["mqtt", "net", "tls"]),
    ("broker/log.rs", &["text"]),
    ("broker/config", &["text", "diagnostic", "mqtt", "broker::log", "broker::config"]),
    ("broker/auth", &["text", "diagnostic", "mqtt", "broker::config", "broker::auth"]),
    ("broker/engine", &["text", "mqtt", "broker::log", "broker::config", "broker::auth", "broker::engine"]),
    ("broker/fault", &["text", "mqtt", "broker::fault"]),
    ("broker", &["mqtt", "net", "tls", "client", "diagnostic", "text", "broker"]),
    (
        "runner",
        &["scenario", "check", "record", "mqtt", "client", "net", "tls", "broker", "text", "diagnostic"],
    ),
    ("report", &["record", "mqtt", "text", "diagnostic"]),
    (
        "cli",
        &[
            "text",
            "diagnostic",
            "mqtt",
            "record",
            "scenario",
            "check",
            "capture",
            "tls",
            "net",
            "client",
            "broker",
            "runner",
            "report",
        ],
    ),
];

/// Modules that never see a clock, a socket or a file.
const PURE: &[&str] = &[
    "mqtt/",
    "record/",
    "scenario/",
    "check/",
    "broker/engine/",
    "broker/fault/",
    "broker/config/",
    "broker/storage/format.rs",
    "broker/storage/record.rs",
    "broker/auth/",
    "broker/bridge/backoff",
    "broker/bridge/lane",
    "broker/bridge/relay",
    "broker/bridge/terms",
    "broker/bridge/topic",
    "client/state",
    "text.rs",
    "diagnostic.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` with one of these endings, as paths relative to the root.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let path = entry.expect("readable folder").path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| endings.iter().any(|wanted| e == *wanted)) {
                found.push(path.strip_prefix(root()).expect("below the root").to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "nothing below {folder}");
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn rust_files() -> Vec<PathBuf> {
    [files("src", &["rs"]), files("tests", &["rs"])].concat()
}

/// The part of a source file before its unit tests.
fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]").map_or(text, |at| &text[..at])
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    let mut problems = Vec::new();
    for path in rust_files() {
        let text = read(&path);
        if !text.starts_with("//!") {
            problems.push(format!("{}: does not open with //!", path.display()));
        }
        let lines = text.lines().count();
        if lines > 600 {
            problems.push(format!("{}: {lines} lines, at most 600", path.display()));
        }
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        if ["util", "utils", "common", "helper", "helpers", "misc"].contains(&stem) {
            problems.push(format!("{}: a name that says nothing", path.display()));
        }
    }
    report(&problems);
}

#[test]
fn functions_are_at_most_70_lines() {
    let mut problems = Vec::new();
    for path in rust_files() {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = line.trim_start();
            let is_fn =
                head.split_whitespace().take_while(|word| !word.contains('(')).any(|word| word == "fn")
                    || head.starts_with("fn ");
            if !is_fn || head.starts_with("//") || head.starts_with('"') {
                continue;
            }
            let close = format!("{}}}", " ".repeat(indent));
            let length = lines[start..]
                .iter()
                .position(|l| *l == close || (l.ends_with(';') && l.len() - l.trim_start().len() == indent))
                .map_or(1, |at| at + 1);
            if length > 70 {
                problems.push(format!("{}:{}: {length} lines, at most 70", path.display(), start + 1));
            }
        }
    }
    report(&problems);
}

#[test]
fn layers_hold() {
    let mut problems = Vec::new();
    for path in files("src", &["rs"]) {
        let name = path.strip_prefix("src").expect("in src").display().to_string();
        if name == "lib.rs" || name == "main.rs" {
            continue;
        }
        let Some((layer, allowed)) = LAYERS.iter().find(|(layer, _)| {
            name == *layer || name == format!("{layer}.rs") || name.starts_with(&format!("{layer}/"))
        }) else {
            problems.push(format!("{name}: in no layer"));
            continue;
        };
        let own = layer.split('/').next().unwrap_or(layer);
        let text = read(&path);
        for (number, line) in without_tests(&text).lines().enumerate() {
            for used in crate_paths(line) {
                let first = used.split("::").next().unwrap_or_default();
                let within_own = first == own && !layer.contains('/');
                let fits =
                    allowed.iter().any(|a| used == *a || used.starts_with(&format!("{a}::")) || first == *a);
                if !within_own && !fits {
                    problems.push(format!("{name}:{}: {layer} may not use {used}", number + 1));
                }
            }
        }
    }
    report(&problems);
}

/// Paths behind `crate::` in a line, two segments at most.
fn crate_paths(line: &str) -> Vec<String> {
    if line.trim_start().starts_with("//") {
        return Vec::new();
    }
    line.match_indices("crate::")
        .map(|(at, found)| {
            let rest = &line[at + found.len()..];
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            rest[..end].split("::").filter(|s| !s.is_empty()).take(2).collect::<Vec<_>>().join("::")
        })
        .filter(|path| !path.is_empty())
        .collect()
}

#[test]
fn pure_modules_have_no_clock_socket_or_file() {
    let forbidden = [
        "Instant::now(",
        "SystemTime",
        "std::fs",
        "tokio::",
        "std::net::Tcp",
        "getrandom",
        "std::thread::sleep",
        "std::env",
        "println!",
        "eprintln!",
    ];
    let mut problems = Vec::new();
    for path in files("src", &["rs"]) {
        let name = path.strip_prefix("src").expect("in src").display().to_string();
        if !PURE.iter().any(|pure| name.starts_with(pure)) {
            continue;
        }
        let text = read(&path);
        for (number, line) in without_tests(&text).lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for word in forbidden {
                if line.contains(word) {
                    problems.push(format!("{name}:{}: {word} in a pure module", number + 1));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn nothing_is_left_half_done() {
    // Spelt in two parts, so that this file does not accuse itself.
    let marks = [
        ["to", "do!("],
        ["unimple", "mented!("],
        ["dbg", "!("],
        ["#[allow", "("],
        ["#[ig", "nore"],
        ["FIX", "ME"],
        ["TO", "DO"],
        ["XX", "X:"],
    ]
    .map(|parts| parts.concat());
    let mut problems = Vec::new();
    for path in rust_files() {
        let text = read(&path);
        for (number, line) in text.lines().enumerate() {
            for mark in &marks {
                if line.contains(mark.as_str()) {
                    problems.push(format!("{}:{}: {mark}", path.display(), number + 1));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn tests_do_not_sleep_or_fix_ports() {
    let sleep = ["sle", "ep("].concat();
    let mut problems = Vec::new();
    for path in files("tests", &["rs"]) {
        let text = read(&path);
        for (number, line) in text.lines().enumerate() {
            if line.contains(&sleep) && !line.contains("virtual") {
                problems.push(format!("{}:{}: a test that sleeps", path.display(), number + 1));
            }
        }
    }
    report(&problems);
}

#[test]
fn no_unwrap_outside_of_tests() {
    let mut problems = Vec::new();
    for path in files("src", &["rs"]) {
        let text = read(&path);
        for (number, line) in without_tests(&text).lines().enumerate() {
            if line.contains(".unwrap()") && !line.trim_start().starts_with("//") {
                problems.push(format!("{}:{}: unwrap", path.display(), number + 1));
            }
        }
    }
    report(&problems);
}

/// Ids of the catalogue, of every version.
fn statement_ids() -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for path in files("fixtures/statements", &["csv"]) {
        ids.extend(read(&path).lines().skip(1).filter_map(|l| l.split(',').next()).map(str::to_owned));
    }
    assert!(ids.len() > 300, "the catalogue is there");
    ids
}

#[test]
fn cited_statements_exist() {
    let known = statement_ids();
    let mut problems = Vec::new();
    let sources = [
        rust_files(),
        files("scenarios", &["yaml"]),
        files("fixtures/packets", &["txt"]),
        files("fixtures/engine", &["txt"]),
    ]
    .concat();
    for path in sources {
        // The catalogue itself names the standards' misprints.
        if path.ends_with("check/statements.rs") {
            continue;
        }
        let text = read(&path);
        for (number, line) in text.lines().enumerate() {
            for (at, _) in line.match_indices("MQTT-") {
                let rest = &line[at + 5..];
                let end =
                    rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(rest.len());
                let id = rest[..end].trim_end_matches(['.', '-']);
                if id.contains('-') && !known.contains(&format!("MQTT-{id}")) {
                    problems.push(format!("{}:{}: no statement MQTT-{id}", path.display(), number + 1));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn the_top_level_is_fixed() {
    let allowed: BTreeSet<&str> = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "CHANGELOG.md",
        "README.md",
        "src",
        "scenarios",
        "fixtures",
        "certs",
        "tests",
        "target",
    ]
    .into();
    for entry in fs::read_dir(root()).expect("the root") {
        let name = entry.expect("readable").file_name().to_string_lossy().into_owned();
        assert!(name.starts_with('.') || allowed.contains(name.as_str()), "{name} at the top level");
    }
}
