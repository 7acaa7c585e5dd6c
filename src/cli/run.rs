//! `mqttlab run`: reads scenarios, runs them against a target, hands the events to the reports.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;

use super::baselines;
use super::faults;
use super::fill;
use super::interrupt;
use super::load::Inputs;
use super::outputs::{Outputs, ReportArg, captures_fit, distinct, parse_report};
use super::select::Selection;
use super::tls_log::TlsArgs;
use super::{Exit, complain, shard, usage};
use crate::broker::fault::FaultSpec;
use crate::record::{Against, Baseline, Event, Shard};
use crate::report::failure::quote;
use crate::runner::{self, Clock, EnvironmentError, RunOptions, TargetChoice, Transport};
use crate::scenario::{Case, EngineKind};
use crate::text::{did_you_mean, parse_duration};

/// Runs scenarios and lab sheets against a broker
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub(super) inputs: Inputs,

    #[command(flatten)]
    pub(super) selection: Selection,

    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    output: Output,

    /// Cases at the same time [default: 16, or 4 a processor if that is more]
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Drives everything random; printed at the start of every run
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Runs only this part of the selected scenarios; tables and variants stay whole, and every shard of n
    /// has about as much to wait for. Equal arguments give equal parts. Keep each shard's log with
    /// --report blob=FILE and put them together with mqttlab merge, which then has the exit code 4 for
    /// nothing that ran; a shard without a scenario ends with 0
    #[arg(long, value_name = "I/N", value_parser = shard::parse, help_heading = "Selection")]
    shard: Option<Shard>,

    /// A SHOULD of the standard that is not met fails
    #[arg(long)]
    strict: bool,

    /// A case may take this long beyond its own waits, then it is errored
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    timeout: Duration,

    /// No case starts after this time; the run is then incomplete (exit code 6)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    budget: Option<Duration>,

    /// Exit code 0 although tests failed, for graders that read a report
    #[arg(long)]
    exit_zero: bool,
}

/// What is tested.
#[derive(Debug, clap::Args)]
struct Target {
    /// bundled, mosquitto or another program with its command line, its path, or an address:
    /// mqtt://host:port, mqtts://, ws://host:port/path, wss://
    #[arg(long, value_name = "BROKER", default_value = "bundled", value_parser = broker, help_heading = "Broker")]
    broker: TargetChoice,

    /// What an external broker can do and which accounts it has
    #[arg(long, value_name = "FILE", help_heading = "Broker")]
    profile: Option<PathBuf>,

    /// Paused clock and pipes in memory: waits cost no time (bundled broker only; without this,
    /// only cases that would wait for more than 5 s)
    #[arg(long, help_heading = "Broker")]
    virtual_time: bool,

    /// Sits through every wait, on the bundled broker too
    #[arg(long, help_heading = "Broker", conflicts_with = "virtual_time")]
    real_time: bool,

    /// Plays the clients through this implementation
    #[arg(long, value_name = "NAME", help_heading = "Broker")]
    engine: Option<Engine>,

    /// What carries the packets of scenarios that leave it open (brokers that mqttlab starts)
    #[arg(long, value_name = "NAME", help_heading = "Broker")]
    transport: Option<Carrier>,

    #[command(flatten)]
    faults: faults::FaultArgs,

    /// Keeps the generated broker files in this folder
    #[arg(long, value_name = "FOLDER", help_heading = "Broker")]
    keep_files: Option<PathBuf>,
}

/// What is told.
#[derive(Debug, clap::Args)]
struct Output {
    /// Writes a report (mqttlab explain reports); `-` is stdout; may be repeated
    #[arg(long, value_name = "FORMAT=FILE", value_parser = parse_report, help_heading = "Reports")]
    report: Vec<ReportArg>,

    #[command(flatten)]
    tls: TlsArgs,

    /// Writes y or n into the PASSED column of the tables, in the sheets themselves
    #[arg(long, help_heading = "Reports")]
    fill: bool,

    /// Holds the run against the known deviations of this file (mqttlab bless): only new ones fail
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    baseline: Option<PathBuf>,

    /// Prints every packet as it is seen, one case after the other
    #[arg(long, help_heading = "Reports")]
    trace: bool,

    /// Prints a line for every case, with the mechanism of each denial
    #[arg(long, short, help_heading = "Reports")]
    verbose: bool,
}

/// `--engine`
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Engine {
    /// Our own wire client
    Wire,
    /// rumqttc, where a scenario has no packet blocks
    Rumqttc,
}

/// `--transport`
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Carrier {
    /// Plain TCP
    Tcp,
    /// TLS, with certificates made for the run
    Tls,
    /// WebSocket
    Ws,
    /// WebSocket over TLS
    Wss,
}

impl Carrier {
    fn transport(self) -> Option<Transport> {
        match self {
            Self::Tcp => None,
            Self::Tls => Some(Transport::Tls),
            Self::Ws => Some(Transport::WebSocket),
            Self::Wss => Some(Transport::SecureWebSocket),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

impl Engine {
    /// As the runner calls it.
    pub fn kind(self) -> EngineKind {
        match self {
            Self::Wire => EngineKind::Wire,
            Self::Rumqttc => EngineKind::Rumqttc,
        }
    }

    /// The arguments that choose it.
    pub fn words(self) -> [String; 2] {
        let name = match self {
            Self::Wire => "wire",
            Self::Rumqttc => "rumqttc",
        };
        ["--engine".into(), name.into()]
    }
}

const EXAMPLES: &str = "\
Examples:
  mqttlab run                                        scenarios/labs on the bundled broker
  mqttlab run scenarios/labs --broker mosquitto      the same on the mosquitto of PATH
  mqttlab run lab3.yaml --only acl.2 --trace         one row of a table, packet by packet
  mqttlab run lab3.yaml --acl student/acl --fill     a student's ACL, y/n written into the sheet
  mqttlab run scenarios --virtual-time               minutes of keep-alive in no time
  mqttlab run scenarios --report junit=junit.xml     for CI
  mqttlab run lab3.yaml --report pcapng=captures --tls-log handshakes   for Wireshark
  mqttlab run scenarios --broker mqtt://u:p@host     a broker that is already running
  mqttlab run scenarios --broker mosquitto --baseline mosquitto.json   only what is new fails
  mqttlab run scenarios --broker mqtt://host --skip nul --skip '3.1-will · at-once · v5'   all but these
  mqttlab run scenarios --shard 1/3 --report blob=1.blob   a third of it, for mqttlab merge

Exit codes: 0 all passed, 1 a test failed, 2 bad command line, 3 a file is invalid, 4 no test
selected, 5 no broker, 6 incomplete, 130 interrupted.";

/// Runs; the exit code says how it went.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    observed(args, None, &mut |_| {})
}

/// What is known of the broker of this name, as the log has it, or how the command ends.
pub type AskKnown<'k> = &'k mut dyn FnMut(&str) -> anyhow::Result<Result<Option<Baseline>, Exit>>;

/// Runs, and tells `observer` what happens before a baseline is laid over it. What `known` or --baseline
/// leaves out is left out.
pub fn observed(
    args: &Args,
    known: Option<AskKnown<'_>>,
    observer: &mut (dyn FnMut(&Event) + Send),
) -> anyhow::Result<Exit> {
    let faults = match args.target.faults.chosen() {
        Ok(faults) => faults,
        Err(exit) => return Ok(exit),
    };
    let mut options = match args.options(faults) {
        Ok(options) => options,
        Err(message) => return Ok(usage(message)),
    };
    let selected = match args.selection.read(&args.inputs)? {
        Ok(selected) => selected,
        Err(exit) => return Ok(exit),
    };
    if args.output.fill && fill::cannot(&selected.cases)? {
        return Ok(Exit::Invalid);
    }
    let Ok(mut against) = baselines::read_all(&args.output.baseline)? else { return Ok(Exit::Invalid) };
    let known = match known.map(|ask| ask_known(ask, &options)) {
        None => None,
        Some(answer) => match answer? {
            Ok(known) => known,
            Err(exit) => return Ok(exit),
        },
    };
    options.left_out = selected.left_out_with(against.first().map(Against::baseline).or(known.as_ref()));
    options.rows = selected.rows;
    let cases = args.part(selected.cases, &mut options, selected.given);
    if let Err(message) = captures_fit(&args.output.report, cases.len()) {
        return Ok(usage(message));
    }
    let interrupt = interrupt::watch()?;
    options.interrupt = Some(interrupt.clone());

    let output = &args.output;
    let mut outputs = Outputs::open(&output.report, output.verbose, output.trace, &args.again())?;
    let ran = runner::run(&cases, &options, &mut |event| {
        observer(&event);
        baselines::pass(against.first_mut(), event, &mut |event| outputs.event(event));
    });
    let interrupted = *interrupt.borrow();
    match ran {
        Ok(complete) => args.ended(&cases, outputs, complete, interrupted),
        Err(error) => {
            outputs.abandon()?;
            Ok(no_broker(&error))
        }
    }
}

/// What is known of the broker that these options name.
fn ask_known(ask: AskKnown<'_>, options: &RunOptions) -> anyhow::Result<Result<Option<Baseline>, Exit>> {
    match runner::name(options) {
        Ok(name) => ask(&name),
        Err(error) => Ok(Err(no_broker(&error))),
    }
}

fn no_broker(error: &EnvironmentError) -> Exit {
    complain(format_args!("error: {error}"));
    Exit::Environment
}

impl Args {
    /// True for `--baseline`.
    pub fn has_baseline(&self) -> bool {
        self.output.baseline.is_some()
    }

    /// True for `--shard`.
    pub fn has_shard(&self) -> bool {
        self.shard.is_some()
    }

    /// True for `--fault`.
    pub fn has_faults(&self) -> bool {
        self.target.faults.any()
    }

    /// The cases that this process runs; the plan of all of them goes into the log.
    fn part(&self, cases: Vec<Case>, options: &mut RunOptions, mut given: Vec<String>) -> Vec<Case> {
        // What cannot be read is found by those who need it, and a pipe can be read but once.
        let beside = [&self.target.profile, &self.output.baseline].into_iter().flatten();
        let beside = beside.filter(|path| path.is_file());
        given.extend(beside.map(|path| std::fs::read_to_string(path).unwrap_or_default()));
        options.plan = Some(shard::plan(&cases, options, self.shard, self.again(), &given));
        match self.shard {
            Some(shard) => shard::part(cases, shard, options),
            None => cases,
        }
    }

    /// Finishes reports and sheets; the exit code says how the run went.
    fn ended(
        &self,
        cases: &[Case],
        outputs: Outputs,
        complete: bool,
        interrupted: bool,
    ) -> anyhow::Result<Exit> {
        let (tally, marks) = outputs.finish()?;
        if self.output.fill {
            fill::fill(cases, &marks).context("the PASSED column could not be filled")?;
        }
        if interrupted {
            complain(format_args!("interrupted: the reports hold what had run until then"));
            return Ok(Exit::Interrupted);
        }
        Ok(match Exit::of(&tally, self.exit_zero) {
            _ if !complete => Exit::Incomplete,
            // Other shards may have run something.
            Exit::NothingSelected if self.shard.is_some() => Exit::Success,
            exit => exit,
        })
    }

    /// What can be known before any file is read; the error is one sentence about the command line.
    fn options(&self, faults: Vec<&'static FaultSpec>) -> Result<RunOptions, String> {
        distinct(&self.output.report)?;
        let mut target = self.target.broker.clone();
        match (&mut target, &self.target.profile) {
            (TargetChoice::External { profile, .. }, given) => profile.clone_from(given),
            (_, Some(_)) => return Err("--profile describes an external broker (--broker mqtt://…)".into()),
            (_, None) => {}
        }
        if self.target.virtual_time && target != TargetChoice::Bundled {
            return Err(
                "--virtual-time needs the bundled broker: no other can be told what time it is".into()
            );
        }
        let transport = self.target.transport.and_then(Carrier::transport);
        if transport.is_some() && matches!(target, TargetChoice::External { .. }) {
            return Err("--transport is for brokers that mqttlab starts; the scheme of an address says it \
                        itself (mqtts://, ws://, wss://)"
                .into());
        }
        if !faults.is_empty() && target != TargetChoice::Bundled {
            return Err("--fault needs the bundled broker: no other misbehaves when it is told to".into());
        }
        let jobs = match self.jobs {
            Some(jobs) => jobs.get(),
            None if self.output.trace => 1,
            None => usual_jobs(),
        };
        Ok(RunOptions {
            target,
            clock: match (self.target.virtual_time, self.target.real_time) {
                (true, _) => Clock::Virtual,
                (_, true) => Clock::Real,
                _ => Clock::Auto,
            },
            transport,
            faults,
            engine: self.target.engine.map(Engine::kind),
            jobs,
            seed: self.seed.unwrap_or_else(any_seed),
            strict: self.strict,
            budget: self.budget,
            keep_files: self.target.keep_files.clone(),
            timeout: Some(self.timeout),
            tls: self.output.tls.chosen(&self.output.report)?,
            ..RunOptions::default()
        })
    }

    /// The arguments that a failure's repeating command must have.
    fn again(&self) -> String {
        let mut words = self.inputs.again();
        words.extend(broker_words(&self.target.broker));
        if let Some(profile) = &self.target.profile {
            words.extend(["--profile".into(), profile.display().to_string()]);
        }
        if self.target.virtual_time {
            words.push("--virtual-time".into());
        }
        if self.target.real_time {
            words.push("--real-time".into());
        }
        if let Some(carrier) = self.target.transport {
            words.extend(["--transport".into(), carrier.name().to_owned()]);
        }
        words.extend(self.target.engine.map(Engine::words).into_iter().flatten());
        if let Some(baseline) = &self.output.baseline {
            words.extend(["--baseline".into(), baseline.display().to_string()]);
        }
        words.extend(self.target.faults.again());
        if self.strict {
            words.push("--strict".into());
        }
        if let Some(seed) = self.seed {
            words.extend(["--seed".into(), seed.to_string()]);
        }
        words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }
}

/// The arguments that choose a broker; none for the bundled one.
pub fn broker_words(target: &TargetChoice) -> Vec<String> {
    match target {
        TargetChoice::Bundled => Vec::new(),
        TargetChoice::Process(program) => vec!["--broker".into(), program.display().to_string()],
        TargetChoice::External { url, profile } => {
            let mut words = vec!["--broker".into(), without_password(url)];
            if let Some(profile) = profile {
                words.extend(["--profile".into(), profile.display().to_string()]);
            }
            words
        }
    }
}

/// A seed, unless told.
pub fn any_seed() -> u64 {
    u64::from(getrandom::u32().unwrap_or(1))
}

/// Cases at the same time, unless told: they wait more than they work.
pub fn usual_jobs() -> usize {
    (8 * available_parallelism().map_or(1, NonZeroUsize::get)).clamp(32, 64)
}

/// An address as it may stand in a report.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((account, host)) => {
            let user = account.split(':').next().unwrap_or_default();
            let password = if account.contains(':') { ":PASSWORD" } else { "" };
            format!("{scheme}://{user}{password}@{host}")
        }
        None => url.to_owned(),
    }
}

/// Reads `--broker`.
pub fn broker(text: &str) -> Result<TargetChoice, String> {
    const SCHEMES: [&str; 4] = ["mqtt", "mqtts", "ws", "wss"];
    if text == "bundled" {
        return Ok(TargetChoice::Bundled);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return if text.is_empty() {
            Err("name a broker".into())
        } else {
            Ok(TargetChoice::Process(PathBuf::from(text)))
        };
    };
    if !SCHEMES.contains(&scheme) {
        let meant = did_you_mean(scheme, SCHEMES).unwrap_or("mqtt");
        return Err(format!("an address starts with mqtt, mqtts, ws or wss; did you mean {meant}://{rest}?"));
    }
    if rest.is_empty() {
        return Err(format!("{scheme}:// needs a host"));
    }
    Ok(TargetChoice::External { url: text.to_owned(), profile: None })
}

/// Reads a time.
pub fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a time as 250ms, 1.5s, 2m or 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_told_apart() {
        assert_eq!(broker("bundled"), Ok(TargetChoice::Bundled));
        assert_eq!(broker("mosquitto"), Ok(TargetChoice::Process("mosquitto".into())));
        assert!(matches!(broker("mqtts://h:8883"), Ok(TargetChoice::External { .. })));
        assert!(broker("mqqt://h").expect_err("misspelt").contains("mqtt://h"));
        assert!(broker("mqtt://").is_err());
    }

    #[test]
    fn no_password_in_a_repeating_command() {
        assert_eq!(without_password("mqtt://bob:s3cret@h:1883"), "mqtt://bob:PASSWORD@h:1883");
        assert_eq!(without_password("mqtt://h:1883"), "mqtt://h:1883");
    }
}
