//! `mqttlab list`: the cases of scenario files, for people and for other programs.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::Exit;
use super::load::Inputs;
use super::select::{Selection, case_id};
use crate::runner::skipped;
use crate::scenario::{Body, Case};
use crate::text::plural;

/// Lists cases: their names, tags, statement ids and points
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    inputs: Inputs,

    #[command(flatten)]
    selection: Selection,

    /// One JSON object a line, for other programs
    #[arg(long)]
    json: bool,

    /// Says what a broker with this profile would skip, and why
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  mqttlab list scenarios/labs              what there is
  mqttlab list lab3.yaml --tag slow        what has a tag
  mqttlab list scenarios/conformance --profile fixtures/profiles/aws-iot-core.json
  mqttlab list scenarios --json | jq .id   for other programs";

/// One case as `--json` prints it.
#[derive(Serialize)]
struct Listed<'a> {
    file: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    variant: &'a str,
    name: &'a str,
    line: usize,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    spec: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    points: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<usize>,
    least_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'a str>,
}

/// Exit 0; 3 if a file is invalid, 4 if nothing is selected.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let selected = match args.selection.read(&args.inputs)? {
        Ok(selected) => selected,
        Err(exit) => return Ok(exit),
    };
    let lacking = match &args.profile {
        Some(profile) => skipped(profile, &selected.cases)?,
        None => vec![None; selected.cases.len()],
    };
    let skipped: Vec<_> = (selected.cases.iter().zip(lacking))
        .map(|(case, lacking)| selected.left_out.get(&case_id(case)).cloned().or(lacking))
        .collect();
    let mut out = anstream::stdout().lock();
    for (case, skipped) in selected.cases.iter().zip(&skipped) {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&listed(case, skipped.as_deref()))?)?;
        } else {
            print(&mut out, case, skipped.as_deref())?;
        }
    }
    if !args.json {
        let count = skipped.iter().flatten().count();
        let skipped = if count > 0 { format!(", {count} of them skipped") } else { String::new() };
        writeln!(out, "{}{skipped}", plural(selected.cases.len(), "case"))?;
    }
    Ok(Exit::Success)
}

fn listed<'a>(case: &'a Case, skipped: Option<&'a str>) -> Listed<'a> {
    Listed {
        file: &case.file,
        id: &case.scenario,
        variant: &case.variant,
        name: &case.name,
        line: case.span.line(),
        tags: &case.tags,
        spec: &case.spec,
        points: case.points,
        rows: rows(case),
        least_seconds: case.least.as_secs_f64(),
        skipped,
    }
}

fn print(out: &mut impl Write, case: &Case, skipped: Option<&str>) -> std::io::Result<()> {
    write!(out, "{}  {}", case_id(case), case.name)?;
    if let Some(rows) = rows(case) {
        write!(out, "  ({})", plural(rows, "row"))?;
    }
    if !case.tags.is_empty() {
        write!(out, "  #{}", case.tags.join(" #"))?;
    }
    if !case.spec.is_empty() {
        write!(out, "  [{}]", case.spec.join(" "))?;
    }
    if let Some(points) = case.points {
        write!(out, "  {points} p")?;
    }
    if let Some(why) = skipped {
        write!(out, "\n  skipped: {why}")?;
    }
    writeln!(out)
}

fn rows(case: &Case) -> Option<usize> {
    match &case.body {
        Body::Table(table) => Some(table.rows.len()),
        Body::Steps(_) => None,
    }
}
