//! `mqttlab coverage`: which statements of the standards are covered, by what, and how that last came out.
//! Runs nothing; what counts as covered is `check::coverage`'s business.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::check::print_errors;
use super::load::Inputs;
use super::{Exit, complain};
use crate::check::Party;
use crate::check::coverage::{Cited, Coverage, Row, Share, Testable, Totals};
use crate::check::statements::Standard;
use crate::report::json::read_log;
use crate::report::markdown;
use crate::scenario::Subject;
use crate::text::{escape, plural};

/// Shows which statements of the standards scenarios and checks cover
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a command line")]
pub struct Args {
    /// Scenario files, folders of them, or lab sheets [default: scenarios]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// The event log of a run (--report json=FILE) for the last results; may be repeated
    #[arg(long, value_name = "FILE")]
    log: Vec<PathBuf>,

    /// Only this standard
    #[arg(long, value_name = "VERSION")]
    version: Option<Which>,

    /// Only statements that could be covered and are not
    #[arg(long)]
    missing: bool,

    /// Prints Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,

    /// Prints one JSON document
    #[arg(long)]
    json: bool,

    /// Exit code 1 if a statement that a run against a broker can tell is not covered
    #[arg(long)]
    require_complete: bool,
}

/// `--version`
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    /// MQTT 3.1.1
    #[value(name = "3.1.1")]
    V311,
    /// MQTT 5.0
    #[value(name = "5")]
    V5,
}

const EXAMPLES: &str = "\
Examples:
  mqttlab coverage                               both standards, statement by statement
  mqttlab coverage --missing --version 5         what nothing covers yet
  mqttlab coverage --log run.jsonl --markdown    with the results of a run, for a page
  mqttlab coverage --require-complete            for CI

A statement that the catalogue calls `yes` is covered if a scenario names it under spec, or a check watches
brokers for it; `partly` comes with what stays unseen, in the catalogue's words. No run against a broker can
tell more than 99 of the 109 numbered statements of MQTT 3.1.1 that bind a server, and 181 of the 206 of 5.0.";

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));

/// Exit 0; 1 if something is missing that must not be; 3 if a file is invalid.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let paths = if args.paths.is_empty() { vec![PathBuf::from("scenarios")] } else { args.paths.clone() };
    let read = Inputs::of(paths).read();
    print_errors(&read)?;
    if read.has_errors() {
        return Ok(Exit::Invalid);
    }
    let standards = match args.version {
        None => Standard::ALL.to_vec(),
        Some(Which::V311) => vec![Standard::V311],
        Some(Which::V5) => vec![Standard::V5],
    };
    let mut coverage = Coverage::new(&standards);
    for case in read.into_cases() {
        for id in &case.spec {
            // That there is such a statement was found when the file was read.
            let about: &[Party] = match case.subject() {
                Subject::Broker => &[Party::Broker],
                Subject::Client => &[Party::Client],
                Subject::Bridge => &[Party::Broker, Party::Client],
            };
            let cited = Cited { file: &case.file, scenario: &case.scenario, about };
            coverage.cite(Standard::of(case.protocol), id, cited);
        }
    }
    for file in &args.log {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
        let log = text.and_then(|text| read_log(&text).map_err(|error| error.to_string()));
        match log {
            Ok(log) => log.events.iter().for_each(|event| coverage.event(event)),
            Err(why) => {
                complain(format_args!("error: {}: {why}", file.display()));
                return Ok(Exit::Invalid);
            }
        }
    }
    let shown: Vec<&Row> = coverage.rows().iter().filter(|row| !args.missing || row.is_missing()).collect();
    let page =
        Page { coverage: &coverage, standards: &standards, rows: &shown, results: !args.log.is_empty() };
    let mut out = anstream::stdout().lock();
    match (args.json, args.markdown) {
        (true, _) => writeln!(out, "{:#}", page.json())?,
        (_, true) => out.write_all(page.markdown().as_bytes())?,
        _ => out.write_all(page.text().as_bytes())?,
    }
    let incomplete = coverage.rows().iter().any(|row| row.by_broker == Testable::Yes && row.is_missing());
    Ok(if args.require_complete && incomplete { Exit::Failed } else { Exit::Success })
}

/// What is printed.
struct Page<'a> {
    coverage: &'a Coverage,
    standards: &'a [Standard],
    rows: &'a [&'a Row],
    /// True if a log was given.
    results: bool,
}

impl Page<'_> {
    fn rows(&self, standard: Standard) -> impl Iterator<Item = &Row> {
        self.rows.iter().copied().filter(move |row| row.standard == standard)
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for &standard in self.standards {
            let _ = writeln!(out, "{BOLD}MQTT {standard}{BOLD:#}");
            for row in self.rows(standard) {
                self.lines(&mut out, row);
            }
            for line in sentences(self.coverage.totals(standard)) {
                let _ = writeln!(out, "  {line}");
            }
            out.push('\n');
        }
        out.truncate(out.trim_end().len());
        out + "\n"
    }

    /// `  MQTT-3.1.0-1  yes  3.1-connect.yaml: first, second; check connack-first  2 passed`
    fn lines(&self, out: &mut String, row: &Row) {
        let id = &row.statement.id;
        let testable = row.by_broker.name();
        let covered = if row.is_missing() {
            format!("{RED}not covered{RED:#}")
        } else {
            escape(&covers(row).join("; "))
        };
        let result = if self.results {
            format!("  {BOLD}{}{BOLD:#}", results(self.coverage, row))
        } else {
            String::new()
        };
        let line = format!("  {id:<16} {testable:<6} {covered}{result}");
        let _ = writeln!(out, "{}", line.trim_end());
        if row.is_missing() {
            let _ = writeln!(out, "  {DIM}{:23} {}{DIM:#}", "", row.statement.paraphrase);
        }
        if row.by_broker == Testable::Partly && !row.unseen.is_empty() {
            let _ = writeln!(out, "  {DIM}{:23} unseen: {}{DIM:#}", "", row.unseen);
        }
    }

    fn markdown(&self) -> String {
        let mut out = String::new();
        for &standard in self.standards {
            let _ = writeln!(out, "## MQTT {standard}\n");
            for line in sentences(self.coverage.totals(standard)) {
                let _ = writeln!(out, "- {line}");
            }
            let (head, rule) = if self.results { (" last result |", "---|") } else { ("", "") };
            let _ = writeln!(
                out,
                "\n| statement | rule | testable | covered by |{head}\n|---|---|---|---|{rule}"
            );
            for row in self.rows(standard) {
                let covered = if row.is_missing() {
                    "**nothing**".into()
                } else {
                    markdown::text(&covers(row).join("; "))
                };
                let unseen = if row.unseen.is_empty() { String::new() } else { format!(": {}", row.unseen) };
                let result =
                    if self.results { format!(" {} |", results(self.coverage, row)) } else { String::new() };
                let _ = writeln!(
                    out,
                    "| {} | {} | {}{} | {covered} |{result}",
                    row.statement.id,
                    markdown::text(&row.statement.paraphrase),
                    row.by_broker.name(),
                    markdown::text(&unseen),
                );
            }
            out.push('\n');
        }
        out
    }

    fn json(&self) -> Value {
        let statement = |row: &Row| {
            let results =
                row.results().into_iter().map(|(verdict, count)| (verdict.to_string(), count.into()));
            let checked = self.coverage.watched(row).map(|(check, watched)| {
                let broken: Vec<String> = watched.broken.iter().map(ToString::to_string).collect();
                json!({ "check": check, "connections": watched.connections, "broken": broken })
            });
            json!({
                "id": row.statement.id,
                "section": row.statement.section,
                "role": row.statement.role,
                "broker_testable": row.statement.broker_testable,
                "client_testable": row.statement.client_testable,
                "paraphrase": row.statement.paraphrase,
                "covered": row.is_covered(),
                "scenarios": row.scenarios,
                "broker_checks": row.broker_checks,
                "client_scenarios": row.client_scenarios,
                "client_checks": row.client_checks,
                "results": results.collect::<serde_json::Map<_, _>>(),
                "checked": checked.collect::<Vec<_>>(),
            })
        };
        let standards = self.standards.iter().map(|&standard| {
            json!({
                "standard": standard.to_string(),
                "totals": self.coverage.totals(standard),
                "statements": self.rows(standard).map(statement).collect::<Vec<_>>(),
            })
        });
        json!({ "standards": standards.collect::<Vec<_>>() })
    }
}

/// Everything that covers a statement; what only watches clients says so.
fn covers(row: &Row) -> Vec<String> {
    let scenario = |(file, ids): (&String, &BTreeSet<String>)| {
        let file = file.strip_prefix("scenarios/").unwrap_or(file);
        format!("{file}: {}", ids.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
    };
    let of_clients = |cover: String| format!("{cover} (of clients)");
    let broker = row.broker_checks.iter().map(|name| format!("check {name}"));
    let check = row.client_checks.iter().map(|name| format!("check {name}"));
    // A scenario of a bridge is one of both.
    let client = row.client_scenarios.iter().filter(|(file, ids)| row.scenarios.get(*file) != Some(ids));
    let client = client.map(scenario).chain(check).map(of_clients);
    row.scenarios.iter().map(scenario).chain(broker).chain(client).collect()
}

/// `1 failed, 2 passed; check broker-flags found nothing on 812 connections`
fn results(coverage: &Coverage, row: &Row) -> String {
    let counts = row.results().into_iter().map(|(verdict, count)| format!("{count} {verdict}"));
    let cases = counts.collect::<Vec<_>>().join(", ");
    let checks = coverage.watched(row).map(|(name, watched)| match watched.broken.len() {
        0 => {
            let count = usize::try_from(watched.connections).unwrap_or(usize::MAX);
            format!("check {name} found nothing on {}", plural(count, "connection"))
        }
        cases => format!("check {name} broken in {}", plural(cases, "case")),
    });
    let parts = Some(cases).filter(|text| !text.is_empty()).into_iter().chain(checks);
    parts.collect::<Vec<_>>().join("; ")
}

/// The totals, with the ceiling beside the score.
fn sentences(totals: Totals) -> Vec<String> {
    let rows = |share: Share| format!("{} of {} rows covered", share.covered, share.all);
    vec![
        format!("yes: {} ({} %)", rows(totals.yes), totals.yes.percent()),
        format!("partly: {}, as far as they go", rows(totals.partly)),
        format!("no: {} rows, which no run against a broker can tell", totals.no.all),
        format!(
            "binding the server, numbered: {} of {} covered; at most {} can be told from outside",
            totals.server.covered, totals.server_statements, totals.server.all
        ),
        format!(
            "binding the client, numbered: {} of {} covered; at most {} can be told by watching a client",
            totals.client.covered, totals.client_statements, totals.client.all
        ),
    ]
}
