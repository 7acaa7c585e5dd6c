//! The broker as a running thing: listeners, connection tasks, the hub with its one lock.
//!
//! Only here the broker touches sockets, clocks and files. What a packet means is decided in
//! [`engine`](super::engine); nothing here looks into one, but for the CONNECT's credentials.

mod accept;
mod connection;
pub mod files;
mod http;
mod hub;
mod inside;
mod keep;
mod listener;
pub mod log_queue;
pub mod log_sink;
pub mod misbehave;
pub mod signals;
mod sockets;
mod syslog;
mod timer;
pub mod tls_slot;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::auth::Rules;
use super::auth::scram::Secret;
use super::bridge::Bridges;
use super::config::{Config, ListenerConfig, ListenerProtocol};
use super::fault::Faults;
use super::log::{LogLine, LogTypes};
use super::storage::End;
use crate::net::{Endpoint, memory};
use accept::{Door, Place};
use hub::Hub;
pub use inside::Inside;
use listener::{Listener, Source};
use tls_slot::{Findings, TlsSetup, TlsSlot};

/// Takes the broker's log lines, in their order, outside of the hub's lock; only of types that the
/// configuration asks for.
pub type LogSink = Box<dyn FnMut(&[LogLine]) + Send>;

/// How long a stopping broker waits for its clients to take their goodbyes.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A running broker. Dropping it kills it: connections are cut without goodbye.
pub struct Broker {
    hub: Arc<Hub>,
    listeners: Vec<Bound>,
    addresses: Vec<SocketAddr>,
    phase: watch::Sender<Phase>,
    tasks: Vec<JoinHandle<()>>,
    timer: JoinHandle<()>,
    bridges: Mutex<Bridges>,
}

/// Over what a broker listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Sockets, as configured.
    Sockets,
    /// In-memory pipes, one for each configured listener; for virtual time.
    Memory,
}

/// What the listeners are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Accept.
    Running,
    /// Accept nobody any more; end when the last connection has ended.
    Stopping,
    /// Cut all connections and end.
    Killed,
}

/// A configured listener that is open.
struct Bound {
    address: Option<SocketAddr>,
    endpoint: Endpoint,
    tls: Option<Arc<TlsSlot>>,
}

impl Broker {
    /// Binds all listeners and serves on the current tokio runtime. Logs nothing.
    pub async fn start(
        config: Arc<Config>,
        rules: Arc<Rules>,
        medium: Medium,
        seed: u64,
    ) -> io::Result<Self> {
        Self::start_with_log(config, rules, medium, seed, Box::new(|_| {})).await
    }

    /// As [`Broker::start`], with a place for the log.
    pub async fn start_with_log(
        config: Arc<Config>,
        rules: Arc<Rules>,
        medium: Medium,
        seed: u64,
        log: LogSink,
    ) -> io::Result<Self> {
        Self::start_with_faults(config, rules, medium, seed, log, Faults::default()).await
    }

    /// As [`Broker::start_with_log`]; does these things wrong.
    pub async fn start_with_faults(
        config: Arc<Config>,
        rules: Arc<Rules>,
        medium: Medium,
        seed: u64,
        log: LogSink,
        faults: Faults,
    ) -> io::Result<Self> {
        let hub = keep::start(&config, rules, medium, seed, log)?;
        let slots = if medium == Medium::Sockets { load_tls(&hub, &config)? } else { Vec::new() };
        let mut slots = slots.into_iter();
        let faults = (!faults.is_empty()).then(|| Arc::new(faults));
        if let Some(faults) = &faults {
            hub.log(LogTypes::WARNING, &faults.warning());
        }
        if medium == Medium::Sockets {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(io::Error::other)?;
            hub.set_secret(Secret::new(bytes));
        }
        let mut listeners = Vec::new();
        let mut open = Vec::new();
        for index in 0..config.listeners.len() {
            let tls = slots.next().flatten();
            let (bound, sockets) = bind(&hub, &config, index, medium, tls, faults.as_ref()).await?;
            listeners.push(bound);
            open.extend(sockets);
        }
        let (phase, watch) = watch::channel(Phase::Running);
        let tasks = open
            .into_iter()
            .map(|listener| tokio::spawn(listener.run(Arc::clone(&hub), watch.clone())))
            .collect();
        let timer = tokio::spawn(timer::run(Arc::clone(&hub), medium));
        let addresses = listeners.iter().filter_map(|bound| bound.address).collect();
        let bridges = Mutex::new(Bridges::start(Inside::new(Arc::clone(&hub)), &config, seed));
        Ok(Self { hub, listeners, addresses, phase, tasks, timer, bridges })
    }

    /// Bound address of each listener that has a port (no Unix sockets, no pipes), in the order of
    /// `Config::listeners`.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How a client in this process that speaks no TLS reaches a listener: loopback TCP, the Unix
    /// socket, or the memory pipe, and a WebSocket over it where the listener wants one.
    ///
    /// # Panics
    /// If there is no listener of this index.
    pub fn endpoint(&self, listener: usize) -> Endpoint {
        self.listeners[listener].endpoint.clone()
    }

    /// As SIGHUP: new limits, rules and certificates for the listeners that are open. A certificate
    /// that cannot be loaded leaves the old one in force.
    pub fn reload(&self, config: Arc<Config>, rules: Arc<Rules>) {
        for tls in self.listeners.iter().filter_map(|bound| bound.tls.as_ref()) {
            let found = tls.reload();
            if !found.errors.is_empty() {
                self.hub.log(LogTypes::ERROR, &tls.reload_failed());
            }
            log_findings(&self.hub, &found);
        }
        self.bridges.lock().reload(&config);
        if let (Some(store), Some(persistence)) = (self.hub.store(), &config.persistence) {
            store.configure(persistence);
        }
        self.hub.reload(config, rules);
    }

    /// As SIGUSR1: makes all that is kept safe, and returns when it is. False without persistence.
    pub async fn save(&self) -> bool {
        let Some(store) = self.hub.store() else { return false };
        store.save().await;
        true
    }

    /// As SIGTERM: says goodbye, closes, and returns when all is closed.
    pub async fn stop(self) {
        let goodbyes = self.bridges.lock().stop();
        goodbyes.await;
        // The listeners first: nobody comes in behind the goodbye.
        self.phase.send_replace(Phase::Stopping);
        self.hub.shut_down();
        self.end(End::Clean).await;
    }

    /// As SIGKILL: connections are cut, and what was not kept yet is lost.
    pub async fn kill(self) {
        self.phase.send_replace(Phase::Killed);
        if let Some(store) = self.hub.store() {
            store.close(End::Cut).await;
        }
        self.end(End::Cut).await;
    }

    async fn end(mut self, how: End) {
        for task in std::mem::take(&mut self.tasks) {
            // A listener that panicked has been reported by the runtime.
            let _ = task.await;
        }
        if let Some(store) = self.hub.store() {
            store.close(how).await;
        }
    }

    /// The tree of subscriptions as text, as SIGUSR2 prints it.
    pub fn subscription_tree(&self) -> String {
        self.hub.subscription_tree()
    }

    /// A line of the program's own, among the broker's.
    pub fn log(&self, kind: LogTypes, text: &str) {
        self.hub.log(kind, text);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.timer.abort();
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Reads the certificates, keys, authorities and revocation lists of all listeners, as a start
/// would. All that is wrong, and what is odd, at once.
pub fn check_certificates(config: &Config) -> io::Result<Findings> {
    let setup = TlsSetup::new(config)?;
    let mut found = Findings::default();
    for files in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        TlsSlot::load(files, &setup, &mut found);
    }
    Ok(found)
}

/// The TLS of each listener that has it. All errors are logged; the last is returned.
fn load_tls(hub: &Hub, config: &Config) -> io::Result<Vec<Option<Arc<TlsSlot>>>> {
    let setup = TlsSetup::new(config)?;
    let mut found = Findings::default();
    let load =
        |listener: &ListenerConfig| TlsSlot::load(listener.tls.as_ref()?, &setup, &mut found).map(Arc::new);
    let slots = config.listeners.iter().map(load).collect();
    let last = found.errors.pop();
    log_findings(hub, &found);
    last.map_or(Ok(slots), |error| Err(io::Error::other(error)))
}

fn log_findings(hub: &Hub, found: &Findings) {
    for error in &found.errors {
        hub.log(LogTypes::ERROR, &format!("Error: {error}"));
    }
    for warning in &found.warnings {
        hub.log(LogTypes::WARNING, &format!("Warning: {warning}"));
    }
}

/// Opens the sockets (or the pipe) of one configured listener.
async fn bind(
    hub: &Hub,
    config: &Config,
    index: usize,
    medium: Medium,
    tls: Option<Arc<TlsSlot>>,
    faults: Option<&Arc<Faults>>,
) -> io::Result<(Bound, Vec<Listener>)> {
    let listener = &config.listeners[index];
    let websockets = listener.protocol == ListenerProtocol::WebSockets;
    let reached = |plain: Endpoint| if websockets { plain.websocket() } else { plain };
    let door = |place, tls| Arc::new(Door::new(index, listener, place, tls, faults));
    if medium == Medium::Memory {
        let (address, acceptor) = memory::listener();
        let endpoint = reached(Endpoint::Memory(address));
        let listener = Listener { door: door(Place::Memory, None), source: Source::Memory(acceptor) };
        return Ok((Bound { address: None, endpoint, tls: None }, vec![listener]));
    }
    if let Some(path) = &listener.unix {
        let source = Source::Unix(sockets::unix(hub, path).await?);
        let place = Place::Path(path.display().to_string().into());
        let endpoint = reached(Endpoint::Unix(path.clone()));
        let listener = Listener { door: door(place, tls.as_ref()), source };
        return Ok((Bound { address: None, endpoint, tls }, vec![listener]));
    }
    let sockets = sockets::tcp(hub, config, listener).await?;
    let address = sockets[0].local_addr()?;
    let dialled = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let endpoint = reached(Endpoint::Tcp { host: dialled.to_string(), port: address.port() });
    let door = door(Place::Port(address.port()), tls.as_ref());
    let open = |socket| Listener { door: Arc::clone(&door), source: Source::Tcp(socket) };
    Ok((Bound { address: Some(address), endpoint, tls }, sockets.into_iter().map(open).collect()))
}
