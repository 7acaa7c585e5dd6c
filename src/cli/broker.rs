//! `mqttlab broker`: the bundled broker as a program, with mosquitto's options, lines, signals and
//! exit codes. What the broker does is decided in [`crate::broker`].

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;

use super::Exit;
use crate::broker::auth::Rules;
use crate::broker::config::{Compat, Config, Overrides};
use crate::broker::log::{LogLine, LogTypes};
use crate::broker::server::files::{FsFiles, load_rules};
use crate::broker::server::log_sink::LogDestinations;
use crate::broker::server::signals::{Signal, Signals};
use crate::broker::server::{Broker, LogSink, Medium, check_certificates};
use crate::diagnostic::{Diagnostic, has_errors};

/// mosquitto's exit code for an address that cannot be bound or a certificate that cannot be used.
const CANNOT_START: Exit = Exit::Other(1);

/// mosquitto's exit code for an ACL or password file that cannot be read.
const UNREADABLE: Exit = Exit::Other(13);

/// Is an MQTT broker that reads mosquitto.conf
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// Configuration, in the language of mosquitto.conf(5)
    #[arg(short, long = "config-file", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Port of the default listener, where the file has no listener; may be repeated
    #[arg(short, long = "port", value_name = "PORT")]
    port: Vec<u16>,

    /// Logs everything, whatever the configuration says
    #[arg(short, long)]
    verbose: bool,

    /// Logs nothing
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Runs in the background
    #[arg(short, long)]
    daemon: bool,

    /// Behaves as this Mosquitto where 2.0 and 2.1 differ [default: 2.1]
    #[arg(long, value_name = "VERSION", value_parser = compat)]
    compat: Option<Compat>,

    /// Checks configuration, ACL, password and certificate files, and starts nothing
    #[arg(long)]
    test_config: bool,

    /// Writes the secrets of TLS sessions to a file, for Wireshark; who reads it reads the traffic
    #[arg(long, value_name = "FILE")]
    tls_keylog: Option<PathBuf>,

    /// Set by -d on the process that stays
    #[arg(long, hide = true)]
    detached: bool,
}

const EXAMPLES: &str = "\
SIGHUP reads the configuration, password, ACL and certificate files again; a file that is broken
leaves the last good one in force. SIGTERM and SIGINT end the broker.

Exit codes: 0 ended by a signal, 1 an address or certificate cannot be had, 3 the configuration is
wrong, 13 an ACL or password file cannot be read.

Examples:
  mqttlab broker                            port 1883, this machine only, anybody
  mqttlab broker -p 1884 -v                 another port, every packet in the log
  mqttlab broker -c mosquitto.conf          as configured
  mqttlab broker -c mosquitto.conf --test-config";

fn compat(text: &str) -> Result<Compat, String> {
    Compat::parse(text).ok_or_else(|| "2.0 and 2.1 are known".to_owned())
}

/// Runs until a signal ends it.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let loaded = match load(args) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    if args.test_config {
        return Ok(test_config(&loaded));
    }
    if args.daemon && !args.detached {
        return detach();
    }
    if args.detached {
        // Not the leader of its group, because it was started as a child: this cannot fail.
        rustix::process::setsid().context("cannot leave the terminal")?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(args, loaded))
}

/// What was read at the start.
struct Loaded {
    config: Config,
    rules: Rules,
    warnings: Vec<Diagnostic>,
}

/// Reads everything; prints what is wrong and names the exit code.
fn load(args: &Args) -> Result<Loaded, Exit> {
    let (config, mut found) = Config::load(&FsFiles, args.config.as_deref(), &overrides(args));
    let Some(mut config) = config else {
        print(&found);
        return Err(Exit::Invalid);
    };
    if args.quiet {
        config.log.types = LogTypes::NONE;
    }
    config.process.tls_keylog.clone_from(&args.tls_keylog);
    config.process.asks_passphrases = io::stdin().is_terminal();
    let (rules, more) = load_rules(&config, &FsFiles);
    found.extend(more);
    if has_errors(&found) {
        print(&found);
        let unreadable = |found: &&Diagnostic| found.is_error() && matches!(found.code, "A000" | "P000");
        let all_unreadable = found.iter().filter(|found| found.is_error()).all(|found| unreadable(&found));
        return Err(if all_unreadable { UNREADABLE } else { Exit::Invalid });
    }
    Ok(Loaded { config, rules, warnings: found })
}

fn overrides(args: &Args) -> Overrides {
    Overrides {
        ports: args.port.clone(),
        verbose: args.verbose,
        compat: args.compat,
        persistence_location: std::env::var_os("MOSQUITTO_PERSISTENCE_LOCATION").map(PathBuf::from),
    }
}

fn print(found: &[Diagnostic]) {
    let colour = super::check::colours_on_stderr();
    for finding in found {
        anstream::eprintln!("{}\n", finding.render(colour));
    }
}

fn test_config(loaded: &Loaded) -> Exit {
    print(&loaded.warnings);
    match check_certificates(&loaded.config) {
        Err(error) => {
            anstream::eprintln!("Error: {error}");
            return CANNOT_START;
        }
        Ok(found) => {
            for warning in &found.warnings {
                anstream::eprintln!("Warning: {warning}");
            }
            for error in &found.errors {
                anstream::eprintln!("Error: {error}");
            }
            if !found.errors.is_empty() {
                return CANNOT_START;
            }
        }
    }
    anstream::println!("Configuration file is OK.");
    Exit::Success
}

/// Starts this program again, without a terminal, and leaves it alone.
fn detach() -> anyhow::Result<Exit> {
    let program = std::env::current_exe().context("cannot find this program")?;
    Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start in the background")?;
    Ok(Exit::Success)
}

/// The log of this process, which SIGHUP opens anew.
type Log = Arc<Mutex<LogDestinations>>;

async fn serve(args: &Args, loaded: Loaded) -> anyhow::Result<Exit> {
    let Loaded { config, rules, warnings } = loaded;
    let sink = match LogDestinations::open(&config.log) {
        Ok(sink) => Arc::new(Mutex::new(sink)),
        Err(error) => {
            print(&[error]);
            return Ok(CANNOT_START);
        }
    };
    let mut signals = Signals::new().context("cannot listen for signals")?;
    announce(args, &config, &warnings, &sink);
    let (mut config, mut rules) = (Arc::new(config), Arc::new(rules));
    let starting = Broker::start_with_log(
        Arc::clone(&config),
        Arc::clone(&rules),
        Medium::Sockets,
        seed()?,
        writer(&sink),
    );
    let broker = match starting.await {
        Ok(broker) => broker,
        Err(error) => {
            say(&sink, LogTypes::ERROR, format!("Error: {error}"));
            return Ok(CANNOT_START);
        }
    };
    broker.log(LogTypes::INFORMATION, &format!("mqttlab version {} running", version()));
    loop {
        match signals.next().await {
            Signal::Stop => break,
            Signal::Reload => (config, rules) = reload(args, &broker, &sink, &config, &rules),
            Signal::PrintTree => print_tree(&broker),
            Signal::Ignored(name) => {
                broker.log(LogTypes::WARNING, &format!("Warning: {name} has no effect here."));
            }
        }
    }
    broker.log(LogTypes::INFORMATION, &format!("mqttlab version {} terminating", version()));
    broker.stop().await;
    Ok(Exit::Success)
}

/// The lines of a start, as mosquitto has them.
fn announce(args: &Args, config: &Config, warnings: &[Diagnostic], sink: &Log) {
    say(sink, LogTypes::INFORMATION, format!("mqttlab version {} starting", version()));
    let text = match &args.config {
        Some(path) => format!("Config loaded from {}.", path.display()),
        None => "Using default config.".to_owned(),
    };
    say(sink, LogTypes::INFORMATION, text);
    report(warnings, |kind, text| say(sink, kind, text.to_owned()));
    if config.local_only {
        for text in [
            "Starting in local only mode. Only clients on this machine can connect.",
            "Anybody among them may: there is no password file and no ACL file.",
            "Write a configuration with a `listener` line to be reached from elsewhere.",
        ] {
            say(sink, LogTypes::WARNING, text.to_owned());
        }
    }
}

/// As SIGHUP asks. What cannot be read leaves the last good one in force. Sockets stay as they are.
fn reload(
    args: &Args,
    broker: &Broker,
    sink: &Log,
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
    match LogDestinations::open(&config.log) {
        Ok(fresh) => *sink.lock() = fresh,
        Err(error) => report(&[error], |kind, text| broker.log(kind, text)),
    }
    broker.reload(Arc::clone(&config), Arc::clone(&rules));
    (config, rules)
}

/// mosquitto prints it here too, whatever the log's destinations are.
fn print_tree(broker: &Broker) {
    let mut out = io::stdout().lock();
    // There is nobody to tell.
    let _ = out.write_all(broker.subscription_tree().as_bytes()).and_then(|()| out.flush());
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

fn say(sink: &Log, kind: LogTypes, text: String) {
    sink.lock().write(&[LogLine { kind, text }]);
}

fn writer(sink: &Log) -> LogSink {
    let sink = Arc::clone(sink);
    Box::new(move |lines| sink.lock().write(lines))
}

/// What is random in a broker is so by the system's entropy.
fn seed() -> anyhow::Result<u64> {
    getrandom::u64().map_err(|error| anyhow::anyhow!("no randomness: {error}"))
}

const fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
