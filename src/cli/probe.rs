//! `mqttlab probe`: what a broker can do, as a table and as a profile.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;

use super::run::{broker, without_password};
use super::{Exit, complain, usage};
use crate::runner::TargetChoice;
use crate::runner::probe::{Found, Probed, probe};
use crate::text::escape;

/// Finds out what a broker can do, and writes a profile of it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// An address (mqtt://user:pass@host:port, mqtts://, ws://, wss://), bundled, or a program with
    /// mosquitto's command line
    #[arg(value_name = "BROKER", value_parser = broker)]
    broker: TargetChoice,

    /// Accounts, authority and headers of the address, as for mqttlab run; they are kept in what is written
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,

    /// Writes the profile, for --profile; `-` is stdout, and then only that
    #[arg(long, short, value_name = "FILE")]
    write: Option<PathBuf>,

    /// Name and version for the profile
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

const EXAMPLES: &str = "\
Connects some twenty times, publishes below a topic of its own and leaves nothing behind. Each answer
comes with what it is concluded from. A scenario that needs what a profile lacks is skipped, not failed.

Examples:
  mqttlab probe mqtt://broker.example.org
  mqttlab probe mqtts://user:pass@host:8883 --write fixtures/profiles/ours.json --name 'ours 1.2'
  mqttlab run scenarios --broker mqtts://user:pass@host:8883 --profile fixtures/profiles/ours.json
  mqttlab explain profile                              what may stand in a profile

Exit codes: 0 probed, 2 bad command line, 5 no broker, or one that lets nobody in.";

/// Probes and tells.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut target = args.broker.clone();
    match (&mut target, &args.profile) {
        (TargetChoice::External { profile, .. }, given) => profile.clone_from(given),
        (_, Some(_)) => return Ok(usage("--profile describes a broker at an address")),
        (_, None) => {}
    }
    let mut probed = match probe(&target) {
        Ok(probed) => probed,
        Err(error) => {
            complain(format_args!("error: {error}"));
            return Ok(Exit::Environment);
        }
    };
    args.complete(&mut probed)?;
    let text = serde_json::to_string_pretty(&probed.profile)? + "\n";
    match args.write.as_deref() {
        Some(path) if path.as_os_str() == "-" => write!(anstream::stdout(), "{text}")?,
        Some(path) => {
            print(&probed)?;
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
            writeln!(anstream::stdout(), "\nwritten to {}", path.display())?;
        }
        None => print(&probed)?,
    }
    Ok(Exit::Success)
}

impl Args {
    /// Name, source, and what the given profile knows besides.
    fn complete(&self, probed: &mut Probed) -> anyhow::Result<()> {
        let profile = &mut probed.profile;
        if let TargetChoice::External { url, .. } = &self.broker {
            profile.source = vec![format!("mqttlab probe {}", without_password(url))];
        }
        if let Some(path) = &self.profile {
            let given = crate::runner::profile::Profile::read(path)?;
            profile.accounts = given.accounts;
            profile.control = given.control;
            profile.witness = given.witness;
            profile.cafile = given.cafile;
            profile.headers = given.headers;
        }
        if self.name.is_some() {
            profile.name.clone_from(&self.name);
        }
        Ok(())
    }
}

fn print(probed: &Probed) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    let bold = Style::new().bold();
    writeln!(out, "{bold}{}{bold:#}", escape(&probed.name))?;
    let shown = |found: &Found| match found {
        Found::Yes => ("yes".to_owned(), AnsiColor::Green),
        Found::No => ("no".to_owned(), AnsiColor::Yellow),
        Found::Value(value) => (escape(value), AnsiColor::Cyan),
    };
    let widest = |length: fn(&str) -> usize, texts: Vec<String>| texts.iter().map(|text| length(text)).max();
    let count = |text: &str| text.chars().count();
    let what = widest(count, probed.findings.iter().map(|one| one.what.clone()).collect()).unwrap_or(0);
    let answer = widest(count, probed.findings.iter().map(|one| shown(&one.found).0).collect()).unwrap_or(0);
    for finding in &probed.findings {
        let (found, colour) = shown(&finding.found);
        let style = Style::new().fg_color(Some(colour.into()));
        let why = escape(&finding.why);
        writeln!(out, "  {:<what$}  {style}{found:<answer$}{style:#}  {why}", finding.what)?;
    }
    Ok(())
}
