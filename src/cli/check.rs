//! `mqttlab check`: everything that can be known about scenario files before anything starts.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};

use super::load::{Inputs, Read};
use super::{Exit, complain};
use crate::diagnostic::Diagnostic;
use crate::scenario::table::Reading;
use crate::scenario::{Body, Case};
use crate::text::{plural, print_duration};

/// Checks scenario files and lab sheets without starting anything
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    inputs: Inputs,

    /// Warnings are errors
    #[arg(long)]
    strict: bool,
}

const EXAMPLES: &str = "\
Prints all findings of all files at once, each with file, line, column and a way out; which of
the two readings an ACL table took; and the least time that a run can take.

Examples:
  mqttlab check                        every file of scenarios/labs
  mqttlab check lab3.yaml sheet.md     two files
  mqttlab check --strict scenarios/    warnings count as errors, for CI";

/// Exit 0 if nothing stands in the way of a run, else 3.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let read = args.inputs.read();
    print_diagnostics(&read)?;
    let mut out = anstream::stdout().lock();
    for file in &read.files {
        if file.loaded.diagnostics.iter().any(Diagnostic::is_error) {
            continue;
        }
        writeln!(out, "{}: {}", file.name, summary(&file.loaded.cases))?;
        for line in tables(&file.loaded.cases) {
            writeln!(out, "  {line}")?;
        }
    }
    let bad = read.has_errors() || args.strict && read.diagnostics().next().is_some();
    Ok(if bad { Exit::Invalid } else { Exit::Success })
}

/// For commands that go on: every finding if there is an error, else one line.
pub fn print_errors(read: &Read) -> anyhow::Result<()> {
    if read.has_errors() {
        return print_diagnostics(read);
    }
    let warnings = read.diagnostics().count();
    if warnings > 0 {
        complain(format_args!("{}; `mqttlab check` shows them", plural(warnings, "warning")));
    }
    Ok(())
}

/// Every finding, and a line that counts them, on stderr.
fn print_diagnostics(read: &Read) -> anyhow::Result<()> {
    let mut err = anstream::stderr().lock();
    let colour = colours_on_stderr();
    let (mut errors, mut warnings) = (0, 0);
    for finding in read.diagnostics() {
        writeln!(err, "{}\n", finding.render(colour))?;
        if finding.is_error() { errors += 1 } else { warnings += 1 }
    }
    match (errors, warnings) {
        (0, 0) => {}
        (0, _) => writeln!(err, "{}", plural(warnings, "warning"))?,
        (_, 0) => writeln!(err, "{}", plural(errors, "error"))?,
        (_, _) => writeln!(err, "{}, {}", plural(errors, "error"), plural(warnings, "warning"))?,
    }
    Ok(())
}

/// Whether findings are printed with colours.
pub fn colours_on_stderr() -> bool {
    AutoStream::choice(&std::io::stderr()) != ColorChoice::Never
}

/// `12 cases, at least 1.50 s`
fn summary(cases: &[Case]) -> String {
    let least: Duration = cases.iter().map(|case| case.least).sum();
    let rows: usize = cases.iter().filter_map(rows).sum();
    let mut text = plural(cases.len(), "case");
    if rows > 0 {
        let _ = write!(text, " with {}", plural(rows, "table row"));
    }
    if !least.is_zero() {
        let _ = write!(text, ", at least {} one after the other", print_duration(least));
    }
    text
}

fn rows(case: &Case) -> Option<usize> {
    match &case.body {
        Body::Table(table) => Some(table.rows.len()),
        Body::Steps(_) => None,
    }
}

/// Which reading each table took, said once for all variants of a scenario.
fn tables(cases: &[Case]) -> Vec<String> {
    let mut lines = Vec::new();
    for case in cases {
        let Body::Table(table) = &case.body else { continue };
        let reading = match table.reading {
            Reading::Marks => {
                "Expectation says allow or deny; Publish and Subscribe mark which action a row tests"
            }
            Reading::Cells => {
                "Publish and Subscribe say themselves what is expected; Expectation is a free note"
            }
        };
        let line = format!("table {}: {}. {reading}", case.scenario, plural(table.rows.len(), "row"));
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}
