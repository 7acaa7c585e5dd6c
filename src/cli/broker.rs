//! `mqttlab broker`: the bundled broker as a program, with mosquitto's options, lines, signals and
//! exit codes. What the broker does is decided in [`crate::broker`].

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use super::process::{self, News, PidFile};
use super::{Exit, complain, faults};
use crate::broker::auth::Rules;
use crate::broker::config::{Compat, Config, Overrides};
use crate::broker::fault::Faults;
use crate::broker::log::{LogLine, LogTypes};
use crate::broker::server::files::{FsFiles, check_bridges, load_rules};
use crate::broker::server::log_queue::LogQueue;
use crate::broker::server::log_sink::LogDestinations;
use crate::broker::server::signals::{Signal, Signals};
use crate::broker::server::{Broker, LogSink, Medium, check_certificates};
use crate::diagnostic::{Diagnostic, has_errors};

/// mosquitto's exit code for an address that cannot be bound or a certificate that cannot be used.
const CANNOT_START: Exit = Exit::Other(1);

/// mosquitto's exit code for an ACL or password file that cannot be read.
const UNREADABLE: Exit = Exit::Other(13);

/// Is an MQTT broker that reads mosquitto.conf
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// Configuration, in the language of mosquitto.conf(5)
    #[arg(short, long = "config-file", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Port of the default listener, where the file has no listener; may be repeated
    #[arg(short, long = "port", value_name = "PORT")]
    pub(super) port: Vec<u16>,

    /// Logs everything, whatever the configuration says
    #[arg(short, long)]
    pub(super) verbose: bool,

    /// Logs nothing
    #[arg(short, long, conflicts_with = "verbose")]
    pub(super) quiet: bool,

    /// Runs in the background
    #[arg(short, long)]
    pub(super) daemon: bool,

    /// Behaves as this Mosquitto where 2.0 and 2.1 differ [default: 2.1]
    #[arg(long, value_name = "VERSION", value_parser = compat)]
    compat: Option<Compat>,

    #[command(flatten)]
    faults: faults::FaultArgs,

    /// Checks configuration, ACL, password and certificate files, and starts nothing
    #[arg(long)]
    pub(super) test_config: bool,

    /// Writes the secrets of TLS sessions to a file, for Wireshark; who reads it reads the traffic
    #[arg(long, value_name = "FILE")]
    pub(super) tls_keylog: Option<PathBuf>,

    /// Set by -d on the process that stays
    #[arg(long, hide = true)]
    pub(super) detached: bool,

    /// Started under mosquitto's name
    #[arg(skip)]
    pub(super) as_mosquitto: bool,
}

const EXAMPLES: &str = "\
SIGHUP reads the configuration, password, ACL and certificate files again; a file that is broken
leaves the last good one in force. SIGUSR2 prints the tree of subscriptions, SIGRTMIN opens the log
file anew, SIGTERM and SIGINT end the broker.

Started by root it becomes the `user` of its configuration, if there is one. Through a link that is
called mosquitto it takes mosquitto's command line, and becomes `mosquitto` unless told otherwise.

Exit codes: 0 ended by a signal, 1 an address, certificate, account or file cannot be had, 3 the
configuration is wrong, 13 an ACL or password file cannot be read.

Examples:
  mqttlab broker                            port 1883, this machine only, anybody
  mqttlab broker -p 1884 -v                 another port, every packet in the log
  mqttlab broker -c mosquitto.conf          as configured
  mqttlab broker -c mosquitto.conf --test-config";

fn compat(text: &str) -> Result<Compat, String> {
    Compat::parse(text).ok_or_else(|| "2.0 and 2.1 are known".to_owned())
}

impl Args {
    /// Those of an empty command line under mosquitto's name.
    pub(super) fn as_mosquitto() -> Self {
        Self { as_mosquitto: true, ..Self::default() }
    }
}

/// Runs until a signal ends it.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let faults = match args.faults.chosen() {
        Ok(faults) => match faults.iter().find(|fault| fault.is_of_client()) {
            None => Faults::new(&faults),
            Some(fault) => {
                complain(format_args!("error: {} is a fault of clients, and no broker has it", fault.name));
                return Ok(Exit::Usage);
            }
        },
        Err(exit) => return Ok(exit),
    };
    let loaded = match load(args) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    if args.test_config {
        return Ok(test_config(&loaded));
    }
    if args.daemon && !args.detached {
        process::detach()?;
        return Ok(Exit::Success);
    }
    if args.detached {
        process::leave_terminal()?;
    }
    let _pid_file = match write_pid_file(&loaded.config) {
        Ok(file) => file,
        Err(exit) => return Ok(exit),
    };
    let log = match LogDestinations::open(&loaded.config.log) {
        Ok(log) => log,
        Err(error) => {
            print(&[error]);
            return Ok(CANNOT_START);
        }
    };
    let log = LogQueue::start(log).context("cannot start the thread of the log")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let exit = runtime.block_on(serve(args, loaded, faults, &log));
    log.flush();
    exit
}

/// What was read at the start.
struct Loaded {
    config: Config,
    rules: Rules,
    found: Vec<Diagnostic>,
    /// Lines about the account, for the log.
    notes: Vec<String>,
}

/// Reads everything, and becomes the account that is to read the secrets. Prints what is wrong and
/// names the exit code; for `--test-config` what is wrong comes back with the rest.
fn load(args: &Args) -> Result<Loaded, Exit> {
    let (mut config, mut found) = Config::inspect(&FsFiles, args.config.as_deref(), &overrides(args));
    if has_errors(&found) && !args.test_config {
        print(&found);
        return Err(Exit::Invalid);
    }
    if args.quiet {
        config.log.types = LogTypes::NONE;
    }
    config.process.tls_keylog.clone_from(&args.tls_keylog);
    config.process.asks_passphrases = io::stdin().is_terminal();
    let default = args.as_mosquitto.then_some(process::DEFAULT_USER);
    let user = config.process.user.as_deref().or(default).filter(|_| !args.daemon || args.detached);
    let notes = match user.map_or(Ok(Vec::new()), process::drop_privileges) {
        Ok(notes) => notes,
        Err(sentence) => {
            print(&found);
            complain(sentence);
            return Err(CANNOT_START);
        }
    };
    let (rules, more) = load_rules(&config, &FsFiles);
    found.extend(more);
    match verdict(&found) {
        Some(exit) if !args.test_config => {
            print(&found);
            Err(exit)
        }
        _ => Ok(Loaded { config, rules, found, notes }),
    }
}

/// The exit code for what was found, if there are errors.
fn verdict(found: &[Diagnostic]) -> Option<Exit> {
    let mut errors = found.iter().filter(|found| found.is_error()).peekable();
    errors.peek()?;
    let unreadable = errors.all(|found| matches!(found.code, "A000" | "P000"));
    Some(if unreadable { UNREADABLE } else { Exit::Invalid })
}

/// The file is taken away when the answer is dropped. Why it cannot be had is printed.
fn write_pid_file(config: &Config) -> Result<Option<PidFile>, Exit> {
    let Some(path) = &config.process.pid_file else { return Ok(None) };
    PidFile::write(path).map(Some).map_err(|error| {
        complain(format_args!("Error: Unable to write pid file. ({}: {error})", path.display()));
        CANNOT_START
    })
}

fn overrides(args: &Args) -> Overrides {
    Overrides {
        ports: args.port.clone(),
        verbose: args.verbose,
        compat: args.compat,
        persistence_location: std::env::var_os("MOSQUITTO_PERSISTENCE_LOCATION").map(PathBuf::from),
        as_mosquitto: args.as_mosquitto,
    }
}

fn print(found: &[Diagnostic]) {
    let colour = super::check::colours_on_stderr();
    for finding in found {
        anstream::eprintln!("{}\n", finding.render(colour));
    }
}

/// Says all that is wrong with the configuration and the files that it names.
fn test_config(loaded: &Loaded) -> Exit {
    print(&loaded.found);
    let mut exit = verdict(&loaded.found);
    let mut errors = check_bridges(&loaded.config);
    match check_certificates(&loaded.config) {
        Err(error) => errors.push(error.to_string()),
        Ok(found) => {
            for warning in &found.warnings {
                complain(format_args!("Warning: {warning}"));
            }
            errors.extend(found.errors.iter().map(ToString::to_string));
        }
    }
    for error in &errors {
        complain(format_args!("Error: {error}"));
        exit.get_or_insert(CANNOT_START);
    }
    exit.unwrap_or_else(|| {
        anstream::println!("Configuration file is OK.");
        Exit::Success
    })
}

async fn serve(args: &Args, loaded: Loaded, faults: Faults, log: &LogQueue) -> anyhow::Result<Exit> {
    let banner = loaded.config.banner();
    let mut signals = Signals::new().context("cannot listen for signals")?;
    announce(args, &loaded, &banner, log);
    let (mut config, mut rules) = (Arc::new(loaded.config), Arc::new(loaded.rules));
    let starting = Broker::start_with_faults(
        Arc::clone(&config),
        Arc::clone(&rules),
        Medium::Sockets,
        seed()?,
        writer(log),
        faults,
    );
    let broker = match starting.await {
        Ok(broker) => broker,
        Err(error) => {
            say(log, LogTypes::ERROR, format!("Error: {error}"));
            return Ok(CANNOT_START);
        }
    };
    process::tell(News::Ready);
    broker.log(LogTypes::INFORMATION, &format!("{banner} running"));
    loop {
        match signals.next().await {
            Signal::Stop => break,
            Signal::Reload => {
                process::tell(News::Reloading);
                (config, rules) = reload(args, &broker, log, &config, &rules);
                process::tell(News::Ready);
            }
            Signal::ReopenLog => reopen(&broker, log, &config),
            // mosquitto prints it there too, whatever the log's destinations are.
            Signal::PrintTree => log.print(broker.subscription_tree()),
            Signal::Save => {
                if !broker.save().await {
                    broker.log(LogTypes::WARNING, "Warning: there is nothing to save: persistence is off.");
                }
            }
        }
    }
    broker.log(LogTypes::INFORMATION, &format!("{banner} terminating"));
    process::tell(News::Stopping);
    broker.stop().await;
    Ok(Exit::Success)
}

/// The lines of a start, as mosquitto has them.
fn announce(args: &Args, loaded: &Loaded, banner: &str, log: &LogQueue) {
    for note in &loaded.notes {
        say(log, LogTypes::WARNING, note.clone());
    }
    say(log, LogTypes::INFORMATION, format!("{banner} starting"));
    let text = match &args.config {
        Some(path) => format!("Config loaded from {}.", path.display()),
        None => "Using default config.".to_owned(),
    };
    say(log, LogTypes::INFORMATION, text);
    report(&loaded.found, |kind, text| say(log, kind, text.to_owned()));
    if loaded.config.local_only {
        for text in [
            "Starting in local only mode. Connections will only be possible from clients running on this machine.",
            "Create a configuration file which defines a listener to allow remote access.",
            "For more details see https://mosquitto.org/documentation/authentication-methods/",
        ] {
            say(log, LogTypes::WARNING, text.to_owned());
        }
    }
}

/// As SIGHUP asks. What cannot be read leaves the last good one in force. Sockets stay as they are.
fn reload(
    args: &Args,
    broker: &Broker,
    log: &LogQueue,
    old_config: &Arc<Config>,
    old_rules: &Arc<Rules>,
) -> (Arc<Config>, Arc<Rules>) {
    broker.log(LogTypes::INFORMATION, "Reloading config.");
    let (fresh, found) = Config::load(&FsFiles, args.config.as_deref(), &overrides(args));
    report(&found, |kind, text| broker.log(kind, text));
    let mut config = if let Some(mut fresh) = fresh {
        if fresh.keep_listeners(old_config) {
            let text = "Warning: changed listeners are opened only when the broker starts again.";
            broker.log(LogTypes::WARNING, text);
        }
        if args.quiet {
            fresh.log.types = LogTypes::NONE;
        }
        fresh
    } else {
        broker.log(LogTypes::ERROR, "Error: the configuration is kept as it was.");
        Config::clone(old_config)
    };
    let (fresh, found) = load_rules(&config, &FsFiles);
    report(&found, |kind, text| broker.log(kind, text));
    let rules = if has_errors(&found) {
        let text = "Error: the password and ACL files are kept as they were last read without error.";
        broker.log(LogTypes::ERROR, text);
        // The rules of each listener are found by these.
        config.listeners.clone_from(&old_config.listeners);
        config.security.clone_from(&old_config.security);
        Arc::clone(old_rules)
    } else {
        Arc::new(fresh)
    };
    let config = Arc::new(config);
    reopen(broker, log, &config);
    broker.reload(Arc::clone(&config), Arc::clone(&rules));
    (config, rules)
}

/// A log file that was moved away is begun anew; one that cannot be had leaves the old one.
fn reopen(broker: &Broker, log: &LogQueue, config: &Config) {
    if let Err(error) = log.redirect(|| LogDestinations::open(&config.log)) {
        report(&[error], |kind, text| broker.log(kind, text));
    }
}

/// Findings as log lines.
fn report(found: &[Diagnostic], say: impl Fn(LogTypes, &str)) {
    for finding in found {
        let (kind, word) =
            if finding.is_error() { (LogTypes::ERROR, "Error") } else { (LogTypes::WARNING, "Warning") };
        let place = finding.span.as_ref().map_or_else(String::new, |span| format!(" ({})", span.file_line()));
        say(kind, &format!("{word}: {}{place}.", finding.message));
    }
}

fn say(log: &LogQueue, kind: LogTypes, text: String) {
    log.push(&[LogLine { kind, text }]);
}

fn writer(log: &LogQueue) -> LogSink {
    let log = log.clone();
    Box::new(move |lines| log.push(lines))
}

/// What is random in a broker is so by the system's entropy.
fn seed() -> anyhow::Result<u64> {
    getrandom::u64().map_err(|error| anyhow::anyhow!("no randomness: {error}"))
}
