//! `mqttlab bless`: what a broker does wrong today becomes what is known of it. Reasons that a person
//! wrote stay.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::run::{self, observed};
use super::{Exit, baselines, complain, usage};
use crate::record::{Baseline, Event, EventKind, Outcome, Verdict};
use crate::text::plural;

/// Where baselines are kept in this repository.
const FOLDER: &str = "fixtures/baselines";
/// Open reasons named one by one.
const NAMED: usize = 10;

/// Runs scenarios and writes what a broker does wrong to a baseline, for --baseline
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    run: run::Args,

    /// The baseline [default: fixtures/baselines/NAME-VERSION.json; without that folder, here]
    #[arg(long, short, value_name = "FILE")]
    write: Option<PathBuf>,
}

const EXAMPLES: &str = "\
A baseline is JSON, sorted, a case a line: for each case that failed what happened in short, and
a reason, which is yours to write. When it is blessed again, reasons stay and what no longer fails
goes. What --skip leaves out, since the broker dies of it, stands there too, with a reason; it is
left out of every later run with the file, and of the next bless, until you remove its line. What
errored could not be told and is never blessed. Files that did not run stay as they are, unless
they are gone while others of the baseline are found from here, and with --only, --tag and
--skip-tag cases that did not. A baseline may be blessed anew with another version of its broker, not
with another broker. --shard and --fault are refused.

Examples:
  mqttlab bless scenarios/conformance --broker mosquitto
  mqttlab bless scenarios/conformance --broker mqtt://127.0.0.1:1884 --write emqx.json
  mqttlab bless scenarios/conformance --broker mqtt://127.0.0.1:1884 --skip any-first-character
  mqttlab run scenarios/conformance --broker mosquitto --baseline mosquitto-2.0.11.json

Exit codes: 0 blessed; 1 a case errored, the others are blessed; 2 to 6 and 130 as for mqttlab run,
and nothing is written.";

/// What ran.
#[derive(Debug, Default)]
struct Seen {
    broker: String,
    outcomes: Vec<Outcome>,
    complete: bool,
}

/// Runs, and writes.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.run.has_baseline() {
        return Ok(usage("bless writes a baseline; --baseline is for the runs after it"));
    }
    if args.run.has_shard() {
        return Ok(usage(
            "bless needs all cases of a file, and --shard leaves some to others; --only, --tag and files \
             bless a part",
        ));
    }
    if args.run.has_faults() {
        return Ok(usage("bless keeps what a broker does wrong by itself; --fault makes it do wrong"));
    }
    let mut seen = Seen::default();
    let mut place = None;
    let mut ask = |broker: &str| -> anyhow::Result<Result<Option<Baseline>, Exit>> {
        let path = args.write.clone().unwrap_or_else(|| usual_path(broker));
        let known = known(&path, broker)?;
        if let Ok(before) = &known {
            place = Some((path, before.clone()));
        }
        Ok(known)
    };
    let exit = observed(&args.run, Some(&mut ask), &mut |event| seen.event(event))?;
    let Some((path, before)) = place else { return Ok(exit) };
    if !seen.complete || !matches!(exit, Exit::Success | Exit::Failed) {
        return Ok(exit);
    }
    let whole = args.run.selection.is_all();
    let gone = |file: &str| before.as_ref().is_some_and(|before| is_gone(before, file));
    let after = Baseline::blessed(before.as_ref(), &seen.broker, &seen.outcomes, whole, gone);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(&path, after.print()).with_context(|| format!("cannot write {}", path.display()))?;
    tell(&path, &after, &seen)?;
    if let Some(before) = &before {
        tell_dropped(before, &after)?;
    }
    Ok(if seen.count(Verdict::Errored) > 0 { Exit::Failed } else { Exit::Success })
}

/// The baseline of this broker that is there, or how the command ends.
fn known(path: &Path, broker: &str) -> anyhow::Result<Result<Option<Baseline>, Exit>> {
    if !path.exists() {
        return Ok(Ok(None));
    }
    match baselines::read(path) {
        Ok(before) if before.is_of(broker) => Ok(Ok(Some(before))),
        Ok(before) => Ok(Err(usage(format_args!(
            "{} is a baseline of {}, and this is {broker}; name another file with --write, or remove it first",
            path.display(),
            before.broker,
        )))),
        Err(finding) => {
            writeln!(anstream::stderr(), "{}\n", finding.render(true))?;
            Ok(Err(Exit::Invalid))
        }
    }
}

/// True for a scenario file that is not there any more. Where none of a baseline's files is found, it is
/// the current folder that is another.
fn is_gone(before: &Baseline, file: &str) -> bool {
    let absolute = Path::new(file).is_absolute();
    let mut beside = before.files().map(Path::new).filter(|other| other.is_absolute() == absolute);
    !Path::new(file).exists() && beside.any(Path::exists)
}

/// Names the scenario files that went, with the reasons that stood there.
fn tell_dropped(before: &Baseline, after: &Baseline) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    for file in before.files().filter(|file| !after.files().any(|kept| kept == *file)) {
        writeln!(out, "dropped {file}: the file is not there any more, or nothing of it ran")?;
    }
    Ok(())
}

fn tell(path: &Path, after: &Baseline, seen: &Seen) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    let failed = plural(seen.count(Verdict::Failed), "deviation");
    writeln!(out, "{}: {failed} of {} blessed", path.display(), seen.broker)?;
    let open: Vec<_> = after.without_reason().collect();
    if !open.is_empty() {
        writeln!(out, "{} without a reason, for you to write:", plural(open.len(), "deviation"))?;
        for (file, case) in open.iter().take(NAMED) {
            writeln!(out, "  {file}: {case}")?;
        }
        if open.len() > NAMED {
            writeln!(out, "  and {} more", open.len() - NAMED)?;
        }
    }
    let errored = seen.count(Verdict::Errored);
    if errored > 0 {
        complain(format_args!("{} errored: what could not be told is not blessed", plural(errored, "case")));
    }
    Ok(())
}

impl Seen {
    fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunStarted { target, .. } => self.broker.clone_from(target),
            EventKind::CaseFinished { outcome } => self.outcomes.push(outcome.clone()),
            EventKind::RunFinished { complete, .. } => self.complete = *complete,
            _ => {}
        }
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.verdict == verdict).count()
    }
}

/// `fixtures/baselines/mosquitto-2.0.11.json`
fn usual_path(broker: &str) -> PathBuf {
    let name: String = broker
        .rsplit_once("://")
        .map_or(broker, |(_, place)| place)
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let folder = if Path::new("fixtures").is_dir() { Path::new(FOLDER) } else { Path::new("") };
    folder.join(format!("{}.json", name.trim_matches(['-', '.'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_named_after_its_broker() {
        assert!(usual_path("mosquitto 2.0.11").ends_with("mosquitto-2.0.11.json"));
        assert!(usual_path("mqtt://127.0.0.1:1884").ends_with("127.0.0.1-1884.json"));
        assert!(usual_path("../a/b").ends_with("a-b.json"));
    }
}
