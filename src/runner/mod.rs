//! Executes cases against a target and tells what happened, event by event.
//!
//! `prepare` makes a target's files, `schedule` runs cases beside each other, `execute` one case,
//! `actor` one client, `fence` proves absences. Reports and exit codes are not made here.

mod actor;
mod among;
mod checks;
mod clock;
mod context;
mod denial;
mod execute;
mod fence;
mod left_out;
mod link;
mod login;
mod matching;
mod outcome;
mod packets;
mod peer;
pub mod prepare;
pub mod probe;
mod random;
mod recorder;
mod requirements;
mod rumqttc;
mod schedule;
mod scram;
mod secrets;
mod starvation;
mod table;
mod target;
mod tls_log;
mod traces;
mod transport;
mod uses;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

pub use clock::Clock;
pub use requirements::skipped;
pub use target::profile;
pub use tls_log::{TlsDepth, TlsLog};
pub use transport::Transport;

use crate::broker::fault::FaultSpec;
use crate::record::{CaseId, Event, RunPlan};
use crate::scenario::{Case, EngineKind};

/// What is tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetChoice {
    /// Our broker, in this process.
    Bundled,
    /// A program with mosquitto's command line: a name looked up in PATH, or a path.
    Process(PathBuf),
    /// A running broker: `mqtt://`, `mqtts://`, `ws://`, `wss://` (with `user:pass@`), and an optional
    /// profile file.
    External {
        /// The address.
        url: String,
        /// What it can do, and its accounts.
        profile: Option<PathBuf>,
    },
}

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What is tested.
    pub target: TargetChoice,
    /// Real or virtual time.
    pub clock: Clock,
    /// What carries the packets of cases that leave it open; `None`: TCP. For brokers that we start.
    pub transport: Option<Transport>,
    /// What the bundled broker does wrong, on purpose; others cannot be told.
    pub faults: Vec<&'static FaultSpec>,
    /// Plays every client without packet blocks through this implementation.
    pub engine: Option<EngineKind>,
    /// Cases at the same time.
    pub jobs: usize,
    /// Drives what is random.
    pub seed: u64,
    /// A `should` that is not met fails.
    pub strict: bool,
    /// No new case starts after this.
    pub budget: Option<Duration>,
    /// Rows of tables to run: file, scenario, row. A table of which no row is named runs wholly.
    pub rows: BTreeSet<(String, String, usize)>,
    /// Cases, and rows of tables, that are reported as skipped and do not run, each with what is said of it.
    pub left_out: BTreeMap<CaseId, String>,
    /// Where generated broker directories are kept after the run (`--keep-files`); `None` removes them.
    pub keep_files: Option<PathBuf>,
    /// A case that takes longer than this, beyond its own least time, is Errored.
    pub timeout: Option<Duration>,
    /// Becomes true at Ctrl-C: no case starts any more, those under way are given up without an
    /// outcome, targets are stopped, their files removed, and [`run`] returns `Ok(false)`.
    pub interrupt: Option<watch::Receiver<bool>>,
    /// What this run is the whole or a part of, for the log.
    pub plan: Option<RunPlan>,
    /// What is recorded of TLS connections.
    pub tls: TlsLog,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            target: TargetChoice::Bundled,
            clock: Clock::Auto,
            transport: None,
            faults: Vec::new(),
            engine: None,
            jobs: 1,
            seed: 0,
            strict: false,
            budget: None,
            rows: BTreeSet::new(),
            left_out: BTreeMap::new(),
            keep_files: None,
            timeout: None,
            interrupt: None,
            plan: None,
            tls: TlsLog::default(),
        }
    }
}

/// Why a run could not even start (exit code 5).
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// No broker.
    #[error("{message}")]
    NoTarget {
        /// One sentence, with a way out.
        message: String,
    },
}

/// Runs all cases and hands every event to `sink`, in order. Blocks; makes its own tokio runtimes.
/// Returns false when not all cases ran.
pub fn run(
    cases: &[Case],
    options: &RunOptions,
    sink: &mut (dyn FnMut(Event) + Send),
) -> Result<bool, EnvironmentError> {
    schedule::run(cases, options, sink)
}

/// The name of the target in the log of a run with these options: `mosquitto 2.0.11 over TLS`.
pub fn name(options: &RunOptions) -> Result<String, EnvironmentError> {
    target::Plan::new(&options.target).map(|plan| plan.name_in_log(options.transport))
}

/// How many outcomes a case has: its selected rows, or one.
pub fn count(case: &Case, options: &RunOptions) -> usize {
    schedule::count(case, options)
}

/// The time that the waits of a case cost under these options: none where time is virtual.
pub fn waits(case: &Case, options: &RunOptions) -> Duration {
    if Clock::is_virtual(case, options) { Duration::ZERO } else { case.least }
}
