//! The command line: arguments in, exit code out. One file a command; each has its `Args` and a
//! `run(Args) -> anyhow::Result<Exit>`.
//!
//! Nothing is decided here that a library user could want: no verdicts, no protocol, no files of
//! the broker. Errors that reach [`main`] are printed with their causes and end with code 5.

mod baselines;
mod bless;
mod broker;
mod check;
mod check_capture;
mod compare;
mod coverage;
mod exit;
mod explain;
mod faults;
mod fill;
mod interrupt;
mod list;
mod load;
mod merge;
mod mosquitto;
mod outputs;
mod passwd;
mod probe;
mod process;
mod reference;
mod run;
mod schema;
mod select;
mod shard;
mod tls_log;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

pub use exit::{EXITS, Exit};

/// Runs MQTT scenarios against brokers, and is a broker itself.
#[derive(Debug, Parser)]
#[command(name = "mqttlab", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    /// When to use colours
    #[arg(
        long,
        help = "When to use colours; NO_COLOR and CLICOLOR_FORCE are heard as well",
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN"
    )]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mqttlab run scenarios/labs                      every lab exercise on the bundled broker
  mqttlab run scenarios/labs --broker mosquitto   the same on Eclipse Mosquitto
  mqttlab compare scenarios/conformance --broker bundled --broker mosquitto   where they differ
  mqttlab check lab3.yaml                         all that is wrong with a file, nothing started
  mqttlab explain receives_nothing                one word of the scenario language
  mqttlab broker -c mosquitto.conf -v             a broker that reads mosquitto.conf";

/// One variant a command.
#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Compare(compare::Args),
    Bless(Box<bless::Args>),
    Merge(merge::Args),
    Probe(probe::Args),
    Coverage(coverage::Args),
    Check(check::Args),
    CheckCapture(check_capture::Args),
    List(list::Args),
    Passwd(passwd::Args),
    Explain(explain::Args),
    Broker(broker::Args),
}

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Also into files and pipes
    Always,
    /// Never
    Never,
}

/// Reads the command line of this process and obeys it.
pub fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    match mosquitto::Name::of(Path::new(&program)) {
        Some(name) => end(name.run(words), Exit::Other(1)),
        None => end(obey(), Exit::Environment),
    }
}

fn obey() -> anyhow::Result<Exit> {
    let cli = Cli::parse();
    match cli.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Bless(args) => bless::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Probe(args) => probe::run(&args),
        Command::Coverage(args) => coverage::run(&args),
        Command::Check(args) => check::run(&args),
        Command::CheckCapture(args) => check_capture::run(&args),
        Command::List(args) => list::run(&args),
        Command::Passwd(args) => Ok(passwd::run(&args)),
        Command::Explain(args) => explain::run(&args),
        Command::Broker(args) => broker::run(&args),
    }
}

/// The exit code; `failure` where something could not be had.
fn end(done: anyhow::Result<Exit>, failure: Exit) -> ExitCode {
    match done {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => Exit::Success.into(),
        Err(error) => {
            complain(format_args!("error: {error:#}"));
            failure.into()
        }
    }
}

/// True where the reader of our output went away, as `head` does: no reason to complain.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Says what is wrong with the command line beyond what clap finds.
fn usage(message: impl Display) -> Exit {
    complain(format_args!("error: {message}\n\nFor more information, try '--help'."));
    Exit::Usage
}

/// A line on stderr; that nobody reads it is no reason to stop.
fn complain(message: impl Display) {
    let _ = writeln!(anstream::stderr(), "{message}");
}
