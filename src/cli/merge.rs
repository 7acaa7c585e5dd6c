//! `mqttlab merge`: puts the blobs of a run's shards together, or takes the log of one run, and makes
//! reports of it. Runs nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::outputs::{Outputs, ReportArg, captures_fit, distinct, parse_report};
use super::{Exit, complain, usage};
use crate::record::{Event, EventKind};
use crate::report::json;
use crate::report::merge::{MergeError, Part, merge};

/// Puts the logs of a run's shards together and makes reports of them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Blobs of all shards (mqttlab run --shard 1/3 --report blob=1.blob), or one log (--report json=…)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Writes a report, as mqttlab run does; may be repeated
    #[arg(long, value_name = "FORMAT=FILE", value_parser = parse_report)]
    report: Vec<ReportArg>,

    /// Prints a line for every case, with the mechanism of each denial
    #[arg(long, short)]
    verbose: bool,

    /// Prints every packet
    #[arg(long)]
    trace: bool,

    /// Exit code 0 although tests failed, for graders that read a report
    #[arg(long)]
    exit_zero: bool,
}

const EXAMPLES: &str = "\
Examples:
  mqttlab merge shard-*.blob                          one verdict of all shards
  mqttlab merge shard-*.blob --report junit=all.xml   and a report
  mqttlab merge run.jsonl --report markdown=run.md    another report of a run that is over

Exit codes: those of the run as a whole (0 all passed, 1 a test failed, 4 no test ran); 2 the files are not of
one run, or two are of the same shard; 3 a file is no event log; 6 a shard is missing or was cut short, or the
run was: the reports are written all the same, and say so.";

/// Merges; the exit code is that of the whole run.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if let Err(message) = distinct(&args.report) {
        return Ok(usage(message));
    }
    let mut parts = Vec::new();
    let mut invalid = false;
    for file in &args.files {
        match read(file) {
            Ok(part) => parts.push(part),
            Err(why) => {
                complain(format_args!("error: {}: {why}", file.display()));
                invalid = true;
            }
        }
    }
    if invalid {
        return Ok(Exit::Invalid);
    }
    let events = match merge(parts) {
        Ok(events) => events,
        Err(error @ MergeError::Nothing(_)) => {
            complain(format_args!("error: {error}"));
            return Ok(Exit::Invalid);
        }
        Err(error) => return Ok(usage(error)),
    };
    if let Err(message) = captures_fit(&args.report, captures(&events)) {
        return Ok(usage(message));
    }
    let mut outputs = Outputs::open(&args.report, args.verbose, args.trace, "")?;
    for event in &events {
        outputs.event(event);
    }
    let (tally, _) = outputs.finish()?;
    Ok(Exit::of(&tally, args.exit_zero))
}

/// Cases of all runs of which packets were recorded.
fn captures(events: &[Event]) -> usize {
    let mut run = 0_usize;
    let mut seen = BTreeSet::new();
    for event in events {
        match &event.kind {
            EventKind::RunStarted { .. } => run += 1,
            EventKind::Wire { case, wire } if wire.bytes.is_some() && wire.conn > 0 => {
                seen.insert((run, &case.file, &case.scenario, &case.variant));
            }
            _ => {}
        }
    }
    seen.len()
}

fn read(file: &Path) -> Result<Part, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let log = json::read_log(&text).map_err(|error| format!("this is no event log of mqttlab: {error}"))?;
    Ok(Part { name: file.display().to_string(), log })
}
