//! mosquitto.conf(5) as a value. What was typed is a draft; what runs is a [`Config`].
//!
//! Pure: files are read through [`ConfigFiles`], so that a test or a runner can hand in texts.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod draft;
pub mod options;
mod parse;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::log::LogTypes;
use crate::diagnostic::{Diagnostic, has_errors};

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
}

/// A complete, checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// At least one; the default listener of mosquitto if none was configured.
    pub listeners: Vec<ListenerConfig>,
    /// Index 0 holds the global options; a listener with settings of its own
    /// (`per_listener_settings true`, `listener_allow_anonymous`) has a further entry.
    pub security: Vec<SecurityConfig>,
    /// What sessions may use.
    pub limits: SessionLimits,
    /// What is logged, and where.
    pub log: LogConfig,
    /// Which Mosquitto we imitate.
    pub compat: Compat,
    /// No listener was configured: loopback only, anonymous allowed, said in three warnings.
    pub local_only: bool,
}

/// One `listener` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// TCP port; 0 lets the system pick (for tests; mosquitto's meaning with a path is a Unix socket).
    pub port: u16,
    /// `bind_address`, or the address of the `listener` line; `None` is every interface.
    pub bind: Option<String>,
    /// Index into [`Config::security`].
    pub security: usize,
    /// Present when `certfile` and `keyfile` are set.
    pub tls: Option<TlsFiles>,
}

/// TLS files of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Server chain, PEM.
    pub certfile: PathBuf,
    /// Server key, PEM.
    pub keyfile: PathBuf,
    /// Authorities for client certificates.
    pub cafile: Option<PathBuf>,
}

/// Who may come in: `allow_anonymous`, `password_file`, `acl_file`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecurityConfig {
    /// CONNECT without user name is accepted.
    pub allow_anonymous: bool,
    /// Users and their hashes.
    pub password_file: Option<PathBuf>,
    /// Who may read and write what; without it everything is allowed.
    pub acl_file: Option<PathBuf>,
}

/// What a session may use.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl Config {
    /// Reads a configuration, mosquitto's default one without a file. All errors at once; with
    /// warnings alone there is a configuration.
    pub fn load(
        files: &dyn ConfigFiles,
        path: Option<&Path>,
        overrides: &Overrides,
    ) -> (Option<Self>, Vec<Diagnostic>) {
        let draft = match path {
            Some(path) => parse::read(files, path, overrides.compat),
            None => draft::Draft::new(overrides.compat.unwrap_or_default()),
        };
        let (config, diagnostics) = draft.finish(overrides);
        ((!has_errors(&diagnostics)).then_some(config), diagnostics)
    }

    /// Index into [`Config::security`]: the settings of this listener.
    pub fn zone(&self, listener: usize) -> usize {
        self.listeners.get(listener).map_or(0, |listener| listener.security)
    }

    /// Makes this the configuration of a broker whose listeners `old` opened, as SIGHUP asks: open
    /// sockets stay as they are. Each takes the security settings that the same listener has now;
    /// one that is named no more keeps its last ones, so that a file cut short opens nothing. True
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
            self.listeners.push(ListenerConfig { security, ..listener.clone() });
        }
        let opens_same = |(a, b): (&ListenerConfig, &ListenerConfig)| a.is_at(b) && a.tls == b.tls;
        fresh.len() != old.listeners.len() || !fresh.iter().zip(&old.listeners).all(opens_same)
    }
}

impl ListenerConfig {
    /// True if both listen at the same address.
    fn is_at(&self, other: &Self) -> bool {
        (self.port, &self.bind) == (other.port, &other.bind)
    }
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            max_inflight_messages: 20,
            max_queued_messages: 1000,
            max_packet_size: 2_000_000,
            message_size_limit: 0,
            persistent_client_expiration: None,
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
