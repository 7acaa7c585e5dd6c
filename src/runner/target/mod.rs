//! What is tested, behind one interface: our broker in this process, a program, or an address.
//!
//! A [`Plan`] is made once a run (which program, which version); a [`Target`] is one broker of one
//! case. Neither knows clients.

mod bundled;
mod external;
mod process;
pub mod profile;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

pub use external::External;

use super::prepare::{Account, Prepared};
use super::{EnvironmentError, TargetChoice, Transport};
use crate::broker::fault::FaultSpec;
use crate::net::Endpoint;
use crate::scenario::Capability;
use crate::scenario::target::Setup;
use crate::tls;

/// Lines of a broker's log that are kept between two looks at it; the oldest go first.
const LOG_LINES: usize = 10_000;

/// Why the broker could not be brought into the state asked for. Never a verdict about it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(pub String);

impl TargetError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// What all brokers of a run have in common.
#[derive(Debug, Clone)]
pub struct Plan {
    kind: PlanKind,
    /// `bundled`, `mosquitto 2.0.11`, `mqtt://host`: for reports and `known`.
    pub name: String,
    /// Where the brokers' folders are made and kept; `None`: they are temporary.
    pub keep: Option<PathBuf>,
}

#[derive(Debug, Clone)]
enum PlanKind {
    Bundled(Vec<&'static FaultSpec>),
    Process(process::Program),
    External(Arc<External>),
}

impl Plan {
    /// Finds the program, or reads the profile. Connects to nothing yet.
    pub fn new(choice: &TargetChoice) -> Result<Self, EnvironmentError> {
        match choice {
            TargetChoice::Bundled => {
                Ok(Self { kind: PlanKind::Bundled(Vec::new()), name: "bundled".into(), keep: None })
            }
            TargetChoice::Process(path) => {
                let program = process::Program::find(path)?;
                let name = program.name.clone();
                Ok(Self { kind: PlanKind::Process(program), name, keep: None })
            }
            TargetChoice::External { url, profile } => {
                let external = External::new(url, profile.as_deref())?;
                let name = external.name.clone();
                Ok(Self { kind: PlanKind::External(Arc::new(external)), name, keep: None })
            }
        }
    }

    /// What reports call it, with what carries the packets where that was chosen.
    pub fn name_in_log(&self, transport: Option<Transport>) -> String {
        match transport {
            Some(transport) => format!("{} over {transport}", self.name),
            None => self.name.clone(),
        }
    }

    /// What our own broker does wrong, on purpose; others cannot be told. What clients do wrong is not its.
    pub fn with_faults(mut self, wanted: &[&'static FaultSpec]) -> Self {
        if let PlanKind::Bundled(faults) = &mut self.kind {
            faults.extend(wanted.iter().filter(|fault| !fault.is_of_client()));
        }
        self
    }

    /// What every broker of this run can do.
    pub fn capabilities(&self) -> BTreeSet<Capability> {
        let all = Capability::ALL.into_iter().map(|(capability, _)| capability);
        match &self.kind {
            PlanKind::Bundled(_) => all.collect(),
            // Ours alone: mosquitto's command line and files do not know it.
            PlanKind::Process(_) => all.filter(|capability| *capability != Capability::Scram).collect(),
            PlanKind::External(external) => external.capabilities.clone(),
        }
    }

    /// The broker at an address, if that is what is tested.
    pub fn external(&self) -> Option<&External> {
        match &self.kind {
            PlanKind::External(external) => Some(external),
            _ => None,
        }
    }

    /// True where each case gets a broker of its own, in a state that is known.
    pub fn own_broker(&self) -> bool {
        self.external().is_none()
    }

    /// True for our broker in this process: its order of delivery need not be measured, and who runs cases
    /// against it may ask about our clients.
    pub fn is_bundled(&self) -> bool {
        matches!(self.kind, PlanKind::Bundled(_))
    }

    /// Starts a broker for one case; ours over memory pipes if `memory`.
    pub async fn start(
        &self,
        setup: &Arc<Setup>,
        dollar_roots: &[String],
        seed: u64,
        memory: bool,
    ) -> Result<Target, TargetError> {
        let log = LogTail::default();
        if let PlanKind::External(external) = &self.kind {
            return Ok(Target { running: Running::External(Arc::clone(external)), prepared: None, log });
        }
        let prepared = Prepared::new(setup, dollar_roots, self.keep.as_deref())
            .map_err(|error| TargetError::new(error.to_string()))?;
        let running = match &self.kind {
            PlanKind::Bundled(faults) => Running::Bundled(bundled::Bundled::new(memory, seed, faults)),
            PlanKind::Process(program) => Running::Process(process::Process::new(program.clone())),
            PlanKind::External(_) => unreachable!("returned above"),
        };
        let mut target = Target { running, prepared: Some(prepared), log };
        target.start_on_free_ports().await?;
        Ok(target)
    }
}

/// The latest lines of a broker's log.
#[derive(Debug, Clone, Default)]
pub struct LogTail(Arc<Mutex<Vec<(Instant, String)>>>);

impl LogTail {
    fn push(&self, line: String) {
        let mut lines = self.0.lock();
        if lines.len() == LOG_LINES {
            lines.drain(..LOG_LINES / 2);
        }
        lines.push((Instant::now(), line));
    }

    /// Takes what has come since the last time, with the moment of each.
    pub fn take(&self) -> Vec<(Instant, String)> {
        std::mem::take(&mut *self.0.lock())
    }

    fn last(&self) -> Option<String> {
        self.0.lock().last().map(|(_, line)| line.clone())
    }

    fn count(&self, text: &str) -> usize {
        self.0.lock().iter().filter(|(_, line)| line.contains(text)).count()
    }
}

/// One broker.
#[derive(Debug)]
pub struct Target {
    running: Running,
    /// Its files; `None` for a broker that was there before us.
    pub prepared: Option<Prepared>,
    /// What it says.
    pub log: LogTail,
}

#[derive(Debug)]
enum Running {
    Bundled(bundled::Bundled),
    Process(process::Process),
    External(Arc<External>),
}

/// How often other ports are tried when somebody else was faster.
const PORT_ATTEMPTS: usize = 5;

impl Target {
    async fn start_on_free_ports(&mut self) -> Result<(), TargetError> {
        let mut attempt = 1;
        loop {
            match self.start().await {
                Err(error) if attempt < PORT_ATTEMPTS && self.lost_a_port(&error) => attempt += 1,
                other => return other,
            }
            if let Some(prepared) = &mut self.prepared {
                prepared.move_ports().map_err(|error| TargetError::new(error.to_string()))?;
            }
        }
    }

    fn lost_a_port(&self, error: &TargetError) -> bool {
        const SIGN: &str = "Address already in use";
        error.0.contains(SIGN) || self.log.count(SIGN) > 0
    }

    fn files(&self) -> Result<&Prepared, TargetError> {
        self.prepared.as_ref().ok_or_else(|| TargetError::new("this broker was not started by mqttlab"))
    }

    /// Starts it, and waits until it can be connected to.
    pub async fn start(&mut self) -> Result<(), TargetError> {
        let Some(prepared) = &self.prepared else { return Err(self.files().expect_err("external")) };
        match &mut self.running {
            Running::Bundled(broker) => broker.start(prepared, &self.log).await,
            Running::Process(process) => process.start(prepared, &self.log).await,
            Running::External(_) => Ok(()),
        }
    }

    /// Ends it as SIGTERM does, and waits until it has ended.
    pub async fn stop(&mut self) -> Result<(), TargetError> {
        self.files()?;
        match &mut self.running {
            Running::Bundled(broker) => broker.stop().await,
            Running::Process(process) => process.stop().await,
            Running::External(_) => Ok(()),
        }
    }

    /// Ends it as SIGKILL does.
    pub async fn kill(&mut self) -> Result<(), TargetError> {
        self.files()?;
        match &mut self.running {
            Running::Bundled(broker) => broker.kill().await,
            Running::Process(process) => process.kill().await,
            Running::External(_) => Ok(()),
        }
    }

    /// Makes it read its files again, as SIGHUP does.
    pub async fn reload(&mut self) -> Result<(), TargetError> {
        let Some(prepared) = &self.prepared else { return Err(self.files().expect_err("external")) };
        match &mut self.running {
            Running::Bundled(broker) => broker.reload(prepared),
            Running::Process(process) => process.reload(&self.log).await,
            Running::External(_) => Ok(()),
        }
    }

    /// Why it is not there any more, if that was not our doing.
    pub fn died(&mut self) -> Option<String> {
        match &mut self.running {
            Running::Process(process) => process.died(),
            Running::Bundled(_) | Running::External(_) => None,
        }
    }

    /// True between a stop of ours and the next start.
    pub fn is_stopped(&self) -> bool {
        match &self.running {
            Running::Bundled(broker) => broker.is_down(),
            Running::Process(process) => process.is_stopped(),
            Running::External(_) => false,
        }
    }

    /// Where a client connects. `trust` names the authorities of a TLS listener.
    pub fn endpoint(&self, listener: Option<&str>, trust: Option<&str>) -> Result<Endpoint, TargetError> {
        if let Running::External(external) = &self.running {
            return external.endpoint();
        }
        let prepared = self.files()?;
        let index = prepared
            .listener(listener)
            .ok_or_else(|| TargetError::new(format!("there is no listener {}", listener.unwrap_or(""))))?;
        if !prepared.listeners[index].tls {
            return Ok(self.plain_endpoint(prepared, index));
        }
        let there = &prepared.listeners[index];
        let pem = trust.and_then(|name| prepared.authorities.get(name)).map(String::as_str);
        Ok(there.spoken(tls_endpoint("localhost", "127.0.0.1", there.port, pem)?))
    }

    /// A listener without TLS.
    fn plain_endpoint(&self, prepared: &Prepared, index: usize) -> Endpoint {
        let there = &prepared.listeners[index];
        let socket = || there.spoken(Endpoint::Tcp { host: "127.0.0.1".into(), port: there.port });
        match &self.running {
            Running::Bundled(broker) => broker.endpoint(index).unwrap_or_else(socket),
            Running::Process(_) | Running::External(_) => socket(),
        }
    }

    /// Where control clients connect.
    pub fn control_endpoint(&self) -> Result<Endpoint, TargetError> {
        let Some(prepared) = &self.prepared else { return self.endpoint(None, None) };
        self.trusting_endpoint(prepared, prepared.control_listener())
    }

    /// Where the users of a table connect, which is not about certificates: the first listener.
    pub fn table_endpoint(&self) -> Result<Endpoint, TargetError> {
        match &self.prepared {
            Some(prepared) if !prepared.listeners.is_empty() => self.trusting_endpoint(prepared, 0),
            _ => self.endpoint(None, None),
        }
    }

    /// A listener, whatever its certificate.
    fn trusting_endpoint(&self, prepared: &Prepared, index: usize) -> Result<Endpoint, TargetError> {
        let listener = &prepared.listeners[index];
        if !listener.tls {
            return Ok(self.plain_endpoint(prepared, index));
        }
        let config = tls::client::config(tls::client::Trust::Anybody)
            .map_err(|error| TargetError::new(error.to_string()))?;
        Ok(listener.spoken(Endpoint::Tls {
            host: "127.0.0.1".into(),
            port: listener.port,
            server_name: "localhost".into(),
            config,
            tap: None,
        }))
    }

    /// Accounts of the control client and the witness; `None`: anonymous.
    pub fn control_accounts(&self) -> [Option<Account>; 2] {
        match (&self.running, &self.prepared) {
            (Running::External(external), _) => [external.control.clone(), external.witness.clone()],
            (_, Some(prepared)) => [Some(prepared.control.clone()), Some(prepared.witness.clone())],
            _ => [None, None],
        }
    }

    /// What must not get into any report: passwords that were made for this run, and those of
    /// accounts on somebody else's broker.
    pub fn secrets(&self) -> Vec<String> {
        // A shorter one would be found within every other word.
        const SHORTEST: usize = 4;
        match (&self.running, &self.prepared) {
            (Running::External(external), _) => {
                let logins = external.control.iter().chain(&external.witness).map(|one| &one.password);
                let all = logins.chain(external.accounts.values());
                all.filter(|password| password.len() >= SHORTEST).cloned().collect()
            }
            (_, Some(prepared)) => prepared.secrets.clone(),
            _ => Vec::new(),
        }
    }

    /// The password of a user.
    pub fn password(&self, user: &str) -> Option<String> {
        match (&self.running, &self.prepared) {
            (Running::External(external), _) => external.accounts.get(user).cloned(),
            (_, Some(prepared)) => prepared.passwords.get(user).cloned(),
            _ => None,
        }
    }

    /// What a client logs in with that names no user, on a broker that was not set up by us: the
    /// account of its address or profile.
    pub fn default_account(&self) -> Option<&Account> {
        match &self.running {
            Running::External(external) => external.control.as_ref(),
            _ => None,
        }
    }

    /// The keep-alive of a CONNECT that names none, seconds; `None`: it has none.
    pub fn keep_alive(&self) -> Option<u16> {
        match &self.running {
            Running::External(external) => external.keep_alive,
            _ => None,
        }
    }

    /// The variables of the run, without `${}`.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        if let Running::External(external) = &self.running {
            for (user, password) in &external.accounts {
                all.insert(format!("users.{user}.password"), password.clone());
            }
        }
        let Some(prepared) = &self.prepared else { return all };
        for (user, password) in &prepared.passwords {
            all.insert(format!("users.{user}.password"), password.clone());
        }
        for listener in &prepared.listeners {
            let host = if listener.tls { "localhost" } else { "127.0.0.1" };
            all.insert(format!("listeners.{}.host", listener.name), host.to_owned());
            all.insert(format!("listeners.{}.port", listener.name), listener.port.to_string());
        }
        all.extend(prepared.certificate_variables());
        all
    }
}

/// A TLS address whose server must be `server_name`, signed by the authority `pem`.
fn tls_endpoint(
    server_name: &str,
    host: &str,
    port: u16,
    pem: Option<&str>,
) -> Result<Endpoint, TargetError> {
    let authorities: Vec<&str> = pem.into_iter().collect();
    let config = tls::client::config(tls::client::Trust::Authorities(&authorities))
        .map_err(|error| TargetError::new(error.to_string()))?;
    Ok(Endpoint::Tls { host: host.into(), port, server_name: server_name.into(), config, tap: None })
}

/// The text of a file, or why not.
fn read_text(path: &Path) -> Result<String, EnvironmentError> {
    std::fs::read_to_string(path)
        .map_err(|error| EnvironmentError::NoTarget { message: format!("{}: {error}", path.display()) })
}
