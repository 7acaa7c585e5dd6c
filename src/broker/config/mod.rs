//! mosquitto.conf(5) as a value. What was typed is a draft; what runs is a [`Config`].
//!
//! Pure: files are read through [`ConfigFiles`], so that a test or a runner can hand in texts.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod bridge;
mod draft;
mod listener;
pub mod options;
mod parse;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::log::LogTypes;
use crate::diagnostic::{Diagnostic, has_errors};

pub use bridge::{
    BridgeConfig, BridgeDirection, BridgeNotifications, BridgeRestart, BridgeStart, BridgeTls, BridgeTopic,
};
pub use listener::{
    ListenerConfig, ListenerProtocol, ProxyVersion, SocketDomain, TlsFiles, TlsIdentity, TlsVersion,
};

/// Where configuration texts come from.
pub trait ConfigFiles {
    /// The text of a file.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// The files of a folder, for `include_dir`, unsorted.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
}

/// Which Mosquitto we behave like where 2.0 and 2.1 differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compat {
    /// Mosquitto 2.0 (`--compat 2.0`).
    V20,
    /// Mosquitto 2.1.
    #[default]
    V21,
}

impl Compat {
    /// Reads `2.0` and `2.1`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "2.0" => Some(Self::V20),
            "2.1" => Some(Self::V21),
            _ => None,
        }
    }

    /// The version under mosquitto's name: the release whose behaviour this is, and what it is.
    pub fn release(self) -> String {
        let like = match self {
            Self::V20 => "2.0.22",
            Self::V21 => "2.1.2",
        };
        format!("{like} (mqttlab {})", env!("CARGO_PKG_VERSION"))
    }
}

/// What the command line says about the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// `-p`: ports of the default listener; not looked at if the file has a listener.
    pub ports: Vec<u16>,
    /// `-v`: log everything, whatever `log_type` says.
    pub verbose: bool,
    /// `--compat`; stronger than the option `compat`.
    pub compat: Option<Compat>,
    /// The environment's `MOSQUITTO_PERSISTENCE_LOCATION`; stronger than `persistence_location`.
    pub persistence_location: Option<PathBuf>,
    /// The program was started under mosquitto's name.
    pub as_mosquitto: bool,
}

/// Instead of the index of a listener: the broker's own end of a bridge, which came in by none. No
/// rule of a listener holds for it, and nothing is forbidden to it, as in mosquitto.
pub const INSIDE: usize = usize::MAX;

/// A complete, checked configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// At least one; the default listener of mosquitto if none was configured.
    pub listeners: Vec<ListenerConfig>,
    /// Index 0 holds the global options; a listener with settings of its own
    /// (`per_listener_settings true`, `listener_allow_anonymous`) has a further entry.
    pub security: Vec<SecurityConfig>,
    /// What sessions may use.
    pub limits: SessionLimits,
    /// `sys_interval`: how often `$SYS` is published; `None` is never.
    pub sys_interval: Option<Duration>,
    /// Connections to other brokers.
    pub bridges: Vec<BridgeConfig>,
    /// What outlives the process; `None` is nothing.
    pub persistence: Option<PersistenceConfig>,
    /// What the process does with itself.
    pub process: ProcessConfig,
    /// What is logged, and where.
    pub log: LogConfig,
    /// Which Mosquitto we imitate.
    pub compat: Compat,
    /// No listener was configured: loopback only, anonymous allowed, said in three warnings.
    pub local_only: bool,
}

/// Who may come in: `allow_anonymous`, `password_file`, `acl_file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityConfig {
    /// CONNECT without user name is accepted.
    pub allow_anonymous: bool,
    /// Users and their hashes.
    pub password_file: Option<PathBuf>,
    /// Who may read and write what; without it everything is allowed.
    pub acl_file: Option<PathBuf>,
    /// `allow_zero_length_clientid`: the broker invents an identifier for a client that has none.
    pub allow_zero_length_clientid: bool,
    /// `auto_id_prefix`: how invented identifiers begin.
    pub auto_id_prefix: String,
}

/// What outlives the process: `persistence` and its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersistenceConfig {
    /// `persistence_location`, `persistence_file`
    pub file: PathBuf,
    /// `persistence_sync`, an option of mqttlab's own.
    pub sync: PersistenceSync,
    /// `autosave_interval`, `autosave_on_changes`
    pub autosave: Autosave,
}

/// `persistence_sync`: when what was decided is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PersistenceSync {
    /// As `autosave_interval` says, and at the end.
    #[default]
    Autosave,
    /// Every second.
    Interval,
    /// Before it is acknowledged.
    Always,
}

/// When the state is saved besides at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autosave {
    /// `autosave_interval 0`
    Never,
    /// After this time.
    Every(Duration),
    /// `autosave_on_changes true`: after so many changes.
    Changes(u32),
}

/// What the process does with itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessConfig {
    /// `user`: the account to change to when started as root; `None` is `mosquitto`, then `nobody`.
    pub user: Option<String>,
    /// `pid_file`
    pub pid_file: Option<PathBuf>,
    /// `packet_buffer_size`: bytes of the longest head of an HTTP request, if more than 4,096.
    pub packet_buffer_size: u16,
    /// `--tls-keylog`: where the secrets of TLS sessions are written.
    pub tls_keylog: Option<PathBuf>,
    /// It goes by mosquitto's name.
    pub as_mosquitto: bool,
    /// Passphrases of private keys may be asked for on the terminal; never by the file's will.
    pub asks_passphrases: bool,
}

/// What a session may use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of mosquitto.conf(5)")]
pub struct SessionLimits {
    /// Unacknowledged QoS 1 and 2 messages in flight to a client; 0 is no limit (65,535). Default 20.
    pub max_inflight_messages: u16,
    /// Messages queued beyond those in flight; 0 is no limit. Default 1,000.
    pub max_queued_messages: u32,
    /// Bytes of the largest packet; 0 is no limit. Default 2,000,000 (2.1) or 0 (2.0).
    pub max_packet_size: u32,
    /// Bytes of the largest payload; 0 is no limit. Default 0.
    pub message_size_limit: u32,
    /// How long the session of a client that is away is kept at most; `None` is for ever.
    pub persistent_client_expiration: Option<Duration>,
    /// Bytes in flight to a client at once, above QoS 0; 0 is no limit.
    pub max_inflight_bytes: u64,
    /// Bytes queued beyond those; 0 is no limit.
    pub max_queued_bytes: u64,
    /// Seconds of the longest keep-alive; 0 is no limit.
    pub max_keepalive: u16,
    /// QoS 0 messages wait for clients that are away.
    pub queue_qos0_messages: bool,
    /// Messages may be retained.
    pub retain_available: bool,
    /// Messages are delivered at the QoS of the subscription, even above their own.
    pub upgrade_outgoing_qos: bool,
    /// A message comes once for each subscription that matches. Default true (2.1) or false (2.0).
    pub allow_duplicate_messages: bool,
    /// The publisher's right is asked for again when a retained message is delivered.
    pub check_retain_source: bool,
    /// Only identifiers that begin so are let in.
    pub clientid_prefixes: Option<String>,
    /// Sessions at once, connected or not.
    pub global_max_clients: Option<u32>,
    /// Connections at once.
    pub global_max_connections: Option<u32>,
    /// Bytes that the broker may hold; `None` is no limit.
    pub memory_limit: Option<u64>,
    /// How often expired retained messages are looked for; `None`: each when it expires.
    pub retain_expiry_interval: Option<Duration>,
}

/// What is logged, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `log_type`
    pub types: LogTypes,
    /// `log_dest`; stderr unless told otherwise. Empty: `log_dest none`.
    pub destinations: Vec<LogDestination>,
    /// `log_timestamp`
    pub timestamp: bool,
    /// `log_timestamp_format`, strftime(3); `None` is seconds since 1970.
    pub timestamp_format: Option<String>,
    /// `connection_messages`
    pub connection_messages: bool,
}

/// One `log_dest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogDestination {
    /// `stdout`
    Stdout,
    /// `stderr`
    Stderr,
    /// `file PATH`
    File(PathBuf),
    /// `topic`: `$SYS/broker/log/#`
    Topic,
    /// `syslog`, with the facility of `log_facility`: 0 to 7 are local0 to local7, `None` is daemon.
    Syslog(Option<u8>),
}

impl Config {
    /// Reads a configuration, mosquitto's default one without a file. All errors at once; with
    /// warnings alone there is a configuration.
    pub fn load(
        files: &dyn ConfigFiles,
        path: Option<&Path>,
        overrides: &Overrides,
    ) -> (Option<Self>, Vec<Diagnostic>) {
        let (config, diagnostics) = Self::inspect(files, path, overrides);
        ((!has_errors(&diagnostics)).then_some(config), diagnostics)
    }

    /// As [`Config::load`], with what could be understood in spite of errors: for looking at the
    /// other files that it names, never for running.
    pub fn inspect(
        files: &dyn ConfigFiles,
        path: Option<&Path>,
        overrides: &Overrides,
    ) -> (Self, Vec<Diagnostic>) {
        let draft = match path {
            Some(path) => parse::read(files, path, overrides.compat),
            None => draft::Draft::new(overrides.compat.unwrap_or_default()),
        };
        draft.finish(overrides)
    }

    /// Under which name and version the broker speaks of itself, in the log and in `$SYS`.
    pub fn banner(&self) -> String {
        if self.process.as_mosquitto {
            format!("mosquitto version {}", self.compat.release())
        } else {
            format!("mqttlab version {}", env!("CARGO_PKG_VERSION"))
        }
    }

    /// Index into [`Config::security`]: the settings of this listener; [`INSIDE`] has none.
    pub fn zone(&self, listener: usize) -> usize {
        if listener == INSIDE {
            return INSIDE;
        }
        self.listeners.get(listener).map_or(0, |listener| listener.security)
    }

    /// Makes this the configuration of a broker whose listeners `old` opened, as SIGHUP asks: open
    /// sockets stay as they are. Each takes the security settings that the same listener has now;
    /// one that is named no more keeps its last ones, so that a file cut short opens nothing. The
    /// protocol versions that it accepts are its new ones with 2.1; with 2.0 bridges stay too. True
    /// if listeners differ.
    pub fn keep_listeners(&mut self, old: &Self) -> bool {
        let fresh = std::mem::take(&mut self.listeners);
        let same_default = self.local_only == old.local_only;
        self.local_only = old.local_only;
        for (index, listener) in old.listeners.iter().enumerate() {
            let is_it = |other: &&ListenerConfig| same_default && other.is_at(listener);
            let found = fresh.get(index).filter(is_it).or_else(|| fresh.iter().find(is_it));
            let security = found.map_or(self.security.len(), |found| found.security);
            if found.is_none() {
                self.security.push(old.security[listener.security].clone());
            }
            let versions = found.filter(|_| self.compat == Compat::V21).map(|found| &found.versions);
            let versions = versions.unwrap_or(&listener.versions).clone();
            self.listeners.push(ListenerConfig { security, versions, ..listener.clone() });
        }
        if self.compat == Compat::V20 {
            self.bridges.clone_from(&old.bridges);
        }
        let opens_same = |(a, b): (&ListenerConfig, &ListenerConfig)| a.opens_as(b);
        !same_default
            || fresh.len() != old.listeners.len()
            || !fresh.iter().zip(&old.listeners).all(opens_same)
    }
}

impl Default for SecurityConfig {
    fn default() -> Self {
        Self {
            allow_anonymous: false,
            password_file: None,
            acl_file: None,
            allow_zero_length_clientid: true,
            auto_id_prefix: "auto-".to_owned(),
        }
    }
}

impl Default for SessionLimits {
    /// Those of 2.1.
    fn default() -> Self {
        Self::of(Compat::default())
    }
}

impl SessionLimits {
    /// Mosquitto's own, where mosquitto.conf says nothing.
    pub fn of(compat: Compat) -> Self {
        let old = compat == Compat::V20;
        Self {
            max_inflight_messages: 20,
            max_queued_messages: 1000,
            max_packet_size: if old { 0 } else { 2_000_000 },
            message_size_limit: 0,
            persistent_client_expiration: None,
            max_inflight_bytes: 0,
            max_queued_bytes: 0,
            max_keepalive: 0,
            queue_qos0_messages: false,
            retain_available: true,
            upgrade_outgoing_qos: false,
            allow_duplicate_messages: !old,
            check_retain_source: false,
            clientid_prefixes: None,
            global_max_clients: None,
            global_max_connections: None,
            memory_limit: None,
            retain_expiry_interval: None,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            types: LogTypes::DEFAULT,
            destinations: vec![LogDestination::Stderr],
            timestamp: true,
            timestamp_format: None,
            connection_messages: true,
        }
    }
}
