//! `mqttlab compare`: the same cases on several brokers, one after the other, as one event log.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::interrupt;
use super::load::Inputs;
use super::outputs::{Outputs, ReportArg, captures_fit, distinct, parse_report};
use super::run::{Engine, any_seed, broker, broker_words, duration, usual_jobs};
use super::select::{Selected, Selection};
use super::tls_log::TlsArgs;
use super::{Exit, baselines, complain, shard, usage};
use crate::record::{Against, Event, EventKind, Verdict};
use crate::report::comparison::{Comparison, Difference};
use crate::report::failure::quote;
use crate::report::{Matrix, MatrixOptions, Tally};
use crate::runner::{self, RunOptions, TargetChoice, TlsLog};

/// Runs the same scenarios on several brokers and shows where they differ
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Args {
    #[command(flatten)]
    inputs: Inputs,

    #[command(flatten)]
    selection: Selection,

    /// bundled, a program with mosquitto's command line, or an address; NAME=mqtt://… names an address.
    /// Two or more
    #[arg(long, value_name = "[NAME=]BROKER", value_parser = contender, required = true, help_heading = "Brokers")]
    broker: Vec<Contender>,

    /// What the broker at an address can do: FILE for the only address, else NAME=FILE
    #[arg(long, value_name = "[NAME=]FILE", value_parser = profile, help_heading = "Brokers")]
    profile: Vec<(Option<String>, PathBuf)>,

    /// Known deviations (mqttlab bless) of the broker that the file names, best of its very version; may be
    /// repeated. A file of no broker that is compared is an error
    #[arg(long, value_name = "FILE", help_heading = "Brokers")]
    baseline: Vec<PathBuf>,

    /// Plays the clients through this implementation
    #[arg(long, value_name = "NAME", help_heading = "Brokers")]
    engine: Option<Engine>,

    /// Writes a report (matrix, markdown, html, json, …); `-` is stdout; may be repeated
    #[arg(long, value_name = "FORMAT=FILE", value_parser = parse_report, help_heading = "Reports")]
    report: Vec<ReportArg>,

    #[command(flatten)]
    tls: TlsArgs,

    /// Shows only rows in which brokers differ
    #[arg(long, help_heading = "Reports")]
    only_different: bool,

    /// Shows the packets of all differences, known ones too
    #[arg(long, short, help_heading = "Reports")]
    verbose: bool,

    /// Brokers that differ fail, free choices included
    #[arg(long)]
    strict_equal: bool,

    /// A SHOULD of the standard that is not met counts as a violation
    #[arg(long)]
    strict: bool,

    /// Cases at the same time [default: 16, or 4 a processor if that is more]
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Drives everything random; the same for all brokers
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// A case may take this long beyond its own waits, then it is errored
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    timeout: Duration,
}

/// One `--broker`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contender {
    name: Option<String>,
    target: TargetChoice,
}

const EXAMPLES: &str = "\
Shows a matrix (scenario × broker × version), then each difference: first those in which one broker
breaks a rule that another keeps, its packets beside those of the other; then the free choices
(SHOULD, MAY, the way in which something is denied).

Examples:
  mqttlab compare scenarios/conformance --broker bundled --broker mosquitto
  mqttlab compare scenarios --broker bundled --broker mosquitto --only-different
  mqttlab compare scenarios --broker mosquitto --broker /opt/mosquitto-2.1/sbin/mosquitto
  mqttlab compare scenarios --broker bundled --broker emqx=mqtt://127.0.0.1:1884 \\
      --profile emqx=fixtures/profiles/emqx.json --report markdown=matrix.md
  mqttlab compare scenarios --broker bundled --broker mosquitto --baseline mosquitto.json

Exit codes: 0 compared, whatever was found; 1 with --baseline, if something in that broker's run is
new, and with --strict-equal, if brokers differ; 2 bad command line; 3 a file is invalid; 4 no test
selected; 5 a broker could not be had (the others are compared); 6 incomplete; 130 interrupted.";

/// Runs on all brokers.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let told = || Ok::<_, String>((args.targets()?, args.tls.chosen(&args.report)?));
    let (targets, tls) = match told() {
        Ok(told) => told,
        Err(message) => return Ok(usage(message)),
    };
    let selected = match args.selection.read(&args.inputs)? {
        Ok(selected) => selected,
        Err(exit) => return Ok(exit),
    };
    if let Err(message) = captures_fit(&args.report, selected.cases.len() * targets.len()) {
        return Ok(usage(message));
    }
    let Ok(baselines) = baselines::read_all(&args.baseline)? else { return Ok(Exit::Invalid) };
    let options = MatrixOptions {
        only_different: args.only_different,
        verbose: args.verbose,
        ..MatrixOptions::default()
    };
    let outputs = Outputs::with_console(&args.report, "", |out, colour, progress| {
        Box::new(Matrix::new(out, MatrixOptions { colour, progress, ..options }))
    })?;
    let comparison = Comparison::default();
    let mut play = Play { baselines, brokers: Vec::new(), outputs, comparison, exit: Exit::Success };
    play.all(args, targets, tls, &selected)?;
    let idle = play.idle_baselines();
    let Play { outputs, comparison, exit, .. } = play;
    outputs.finish()?;
    // A broker that did not come up may be the one that a baseline is of.
    if let Some(message) = idle
        && matches!(exit, Exit::Success | Exit::Failed | Exit::NothingSelected)
    {
        return Ok(usage(message));
    }
    let differ = [Difference::Choice, Difference::Violation, Difference::Untold]
        .into_iter()
        .any(|difference| comparison.count(difference) > 0);
    Ok(match exit {
        Exit::Success if args.strict_equal && differ => Exit::Failed,
        exit => exit,
    })
}

/// What listens to all runs.
struct Play {
    baselines: Vec<Against>,
    /// Each run's broker, as it names itself and as the command line names it.
    brokers: Vec<[String; 2]>,
    outputs: Outputs,
    comparison: Comparison,
    exit: Exit,
}

impl Play {
    fn all(
        &mut self,
        args: &Args,
        targets: Vec<(Option<String>, TargetChoice)>,
        tls: TlsLog,
        selected: &Selected,
    ) -> anyhow::Result<()> {
        let interrupt = interrupt::watch()?;
        let options = RunOptions {
            engine: args.engine.map(Engine::kind),
            jobs: args.jobs.map_or_else(usual_jobs, NonZeroUsize::get),
            seed: args.seed.unwrap_or_else(any_seed),
            strict: args.strict,
            rows: selected.rows.clone(),
            timeout: Some(args.timeout),
            tls,
            interrupt: Some(interrupt.clone()),
            ..RunOptions::default()
        };
        for (name, target) in targets {
            let again = args.again(&target);
            let mut options = RunOptions { target, ..options.clone() };
            options.plan = Some(shard::plan(&selected.cases, &options, None, again, &selected.given));
            self.one(name.as_deref(), &options, selected);
            if *interrupt.borrow() {
                complain("interrupted: the reports hold what had run until then");
                self.exit = Exit::Interrupted;
                break;
            }
        }
        Ok(())
    }

    /// One run. A broker that cannot be had is told, and the others are compared all the same.
    fn one(&mut self, name: Option<&str>, options: &RunOptions, selected: &Selected) {
        let Self { baselines, brokers, outputs, comparison, .. } = self;
        let mut tally = Tally::default();
        let own = match runner::name(options) {
            Ok(own) => own,
            Err(error) => {
                complain(format_args!("error: {error}"));
                self.exit = worse(self.exit, Exit::Environment);
                return;
            }
        };
        let names = [own.clone(), name.map_or(own, str::to_owned)];
        let against = fitting(baselines, &names);
        let found = against.and_then(|index| baselines.get(index));
        let file = found.map(|one| one.name().to_owned());
        let mut held = file.as_ref().map(|file| format!("held against {file}"));
        let left_out = selected.left_out_with(found.map(Against::baseline));
        let options = RunOptions { left_out, ..options.clone() };
        let ran = runner::run(&selected.cases, &options, &mut |mut event| {
            let mut tell = |event: &Event| {
                tally.event(event);
                comparison.event(event);
                outputs.event(event);
            };
            let mut note = None;
            if let EventKind::RunStarted { target, plan, .. } = &mut event.kind {
                target.clone_from(&names[1]);
                note = held.take();
                if let (Some(plan), Some(file)) = (plan, &file) {
                    let space = if plan.again.is_empty() { "" } else { " " };
                    plan.again.extend([space, "--baseline ", &quote(file)]);
                }
                brokers.push(names.clone());
            }
            let at = event.at;
            baselines::pass(against.and_then(|index| baselines.get_mut(index)), event, &mut tell);
            if let Some(text) = note {
                tell(&Event { at, kind: EventKind::Note { text } });
            }
        });
        let exit = match ran {
            Err(error) => {
                complain(format_args!("error: {error}"));
                Exit::Environment
            }
            Ok(false) => Exit::Incomplete,
            Ok(true) if against.is_some() && tally.is_bad() => Exit::Failed,
            Ok(true) if tally.count(Verdict::Skipped) == tally.ended() => Exit::NothingSelected,
            Ok(true) => Exit::Success,
        };
        self.exit = worse(self.exit, exit);
    }

    /// A sentence about the baselines that are of no broker that ran.
    fn idle_baselines(&self) -> Option<String> {
        let of_none = |one: &&Against| !self.brokers.iter().flatten().any(|name| one.is_of(name));
        let idle: Vec<_> = self
            .baselines
            .iter()
            .filter(of_none)
            .map(|one| format!("{} is a baseline of {}", one.name(), one.broker()))
            .collect();
        let ran: Vec<_> = self.brokers.iter().map(|[_, shown]| shown.as_str()).collect();
        (!idle.is_empty()).then(|| format!("{}, and compared were {}", idle.join("; "), ran.join(", ")))
    }
}

/// The baseline for a broker of these names: that of its very version, else one of another version.
fn fitting(baselines: &[Against], names: &[String; 2]) -> Option<usize> {
    let exact = baselines.iter().position(|one| names.iter().any(|name| one.broker() == name));
    exact.or_else(|| baselines.iter().position(|one| names.iter().any(|name| one.is_of(name))))
}

/// The exit code of several runs.
fn worse(one: Exit, other: Exit) -> Exit {
    const ORDER: [Exit; 5] =
        [Exit::Success, Exit::NothingSelected, Exit::Failed, Exit::Incomplete, Exit::Environment];
    let rank = |exit: Exit| ORDER.iter().position(|known| *known == exit).unwrap_or(ORDER.len());
    if rank(other) > rank(one) { other } else { one }
}

impl Args {
    /// The arguments that repeat a failure on one of the brokers.
    fn again(&self, target: &TargetChoice) -> String {
        let mut words = self.inputs.again();
        words.extend(broker_words(target));
        words.extend(self.engine.map(Engine::words).into_iter().flatten());
        if self.strict {
            words.push("--strict".into());
        }
        if let Some(seed) = self.seed {
            words.extend(["--seed".into(), seed.to_string()]);
        }
        words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }

    /// The brokers, each address with its profile; the error is one sentence about the command line.
    fn targets(&self) -> Result<Vec<(Option<String>, TargetChoice)>, String> {
        distinct(&self.report)?;
        if self.broker.len() < 2 {
            return Err("name two brokers at least: --broker bundled --broker mosquitto".into());
        }
        let mut found = self.broker.clone();
        for (wanted, file) in &self.profile {
            let mut fitting = found.iter_mut().filter_map(|contender| match &mut contender.target {
                TargetChoice::External { profile, .. } if wanted.is_none() || *wanted == contender.name => {
                    Some(profile)
                }
                _ => None,
            });
            let (Some(profile), None) = (fitting.next(), fitting.next()) else {
                return Err(match wanted {
                    Some(name) => format!("--profile {name}=… needs one --broker {name}=mqtt://…"),
                    None => "--profile FILE is for one address; of several, name each: --broker \
                             a=mqtt://… --profile a=FILE"
                        .into(),
                });
            };
            if profile.replace(file.clone()).is_some() {
                return Err("an address has one profile".into());
            }
        }
        Ok(found.into_iter().map(|contender| (contender.name, contender.target)).collect())
    }
}

/// `mosquitto`, `emqx=mqtt://127.0.0.1:1884`
fn contender(text: &str) -> Result<Contender, String> {
    let (name, target) = match text.split_once('=') {
        Some((name, rest)) if rest.contains("://") && is_name(name) => (Some(name.to_owned()), rest),
        _ => (None, text),
    };
    Ok(Contender { name, target: broker(target)? })
}

/// `emqx.json`, `emqx=emqx.json`
fn profile(text: &str) -> Result<(Option<String>, PathBuf), String> {
    match text.split_once('=') {
        Some((_, "")) | None if text.is_empty() || text.ends_with('=') => Err("name a file".into()),
        Some((name, file)) if is_name(name) => Ok((Some(name.to_owned()), file.into())),
        _ => Ok((None, text.into())),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_name() {
        let named = contender("emqx=mqtt://h:1?a=b").expect("an address");
        assert_eq!(named.name.as_deref(), Some("emqx"));
        assert_eq!(contender("mosquitto").expect("a program").name, None);
        let plain = contender("ws://h/p?a=mqtt://x").expect("an address");
        assert_eq!(plain.name, None, "what stands before `=` is no name");
        assert_eq!(profile("a=b.json"), Ok((Some("a".into()), "b.json".into())));
        assert_eq!(profile("b.json"), Ok((None, "b.json".into())));
        assert!(profile("a=").is_err());
    }

    #[test]
    fn the_worst_of_several_runs_counts() {
        assert_eq!(worse(Exit::Failed, Exit::Success), Exit::Failed);
        assert_eq!(worse(Exit::Failed, Exit::Environment), Exit::Environment);
        assert_eq!(worse(Exit::NothingSelected, Exit::Success), Exit::NothingSelected);
    }
}
