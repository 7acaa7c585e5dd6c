//! What was typed: option values as far as they have come, before defaults are filled in.
//!
//! Knows nothing of the text's lines beyond the spans that it was given; `parse` reads them, the
//! rows of `options` put their values here, and [`Draft::finish`] makes the [`Config`].

mod bridge;
mod entry;
mod listener;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::Scope;
use super::{
    Autosave, Compat, Config, ListenerConfig, LogConfig, LogDestination, Overrides, PersistenceConfig,
    PersistenceSync, ProcessConfig, SessionLimits,
};
use crate::broker::log::LogTypes;
use crate::diagnostic::{Diagnostic, Severity, Span};
use crate::text::did_you_mean;

pub(super) use bridge::BridgeDraft;
pub(super) use entry::{Entry, Seen};
pub(super) use listener::{ListenerDraft, SecurityDraft};

/// The port of MQTT without TLS.
pub(super) const DEFAULT_PORT: u16 = 1883;

/// mosquitto's `autosave_interval`.
const AUTOSAVE_INTERVAL: u32 = 1800;

/// What is kept on disk, and when.
#[derive(Debug, Default)]
pub(super) struct PersistenceDraft {
    pub on: bool,
    pub file: Option<String>,
    pub location: Option<String>,
    pub interval: Option<u32>,
    pub on_changes: bool,
    pub sync: Option<PersistenceSync>,
}

/// What was typed.
#[derive(Debug)]
pub(super) struct Draft {
    pub compat: Compat,
    pub listeners: Vec<ListenerDraft>,
    pub default_listener: ListenerDraft,
    pub bridges: Vec<BridgeDraft>,
    /// What options of a block belong to.
    pub at: Place,
    pub security: SecurityDraft,
    pub per_listener: bool,
    pub first_security: Option<Span>,
    pub limits: SessionLimits,
    pub max_packet_size: Option<u32>,
    pub allow_duplicate_messages: Option<bool>,
    pub sys_interval_secs: u16,
    pub persistence: PersistenceDraft,
    pub process: ProcessConfig,
    pub log: LogConfig,
    pub log_types: Option<LogTypes>,
    pub log_destinations: Option<Vec<LogDestination>>,
    pub log_facility: Option<u8>,
    /// Global options that may stand once.
    pub seen: Seen,
    pub diagnostics: Vec<Diagnostic>,
}

/// What options of a block belong to: indices, `None` before the first of a file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub listener: Option<usize>,
    pub bridge: Option<usize>,
}

impl Draft {
    pub fn new(compat: Compat) -> Self {
        Self {
            compat,
            listeners: Vec::new(),
            default_listener: ListenerDraft::default(),
            bridges: Vec::new(),
            at: Place::default(),
            security: SecurityDraft::default(),
            per_listener: false,
            first_security: None,
            limits: SessionLimits::default(),
            max_packet_size: None,
            allow_duplicate_messages: None,
            sys_interval_secs: 10,
            persistence: PersistenceDraft::default(),
            process: ProcessConfig::default(),
            log: LogConfig::default(),
            log_types: None,
            log_destinations: None,
            log_facility: None,
            seen: Seen::default(),
            diagnostics: Vec::new(),
        }
    }

    /// The listener that an option belongs to.
    pub fn listener(&mut self) -> &mut ListenerDraft {
        match self.at.listener.and_then(|at| self.listeners.get_mut(at)) {
            Some(listener) => listener,
            None => &mut self.default_listener,
        }
    }

    /// The bridge that an option belongs to.
    pub fn bridge(&mut self, entry: &Entry<'_>) -> Result<&mut BridgeDraft, Diagnostic> {
        let message = match self.compat {
            Compat::V20 => "Invalid bridge configuration".to_owned(),
            Compat::V21 => format!("The '{}' option requires a bridge to be defined first", entry.name),
        };
        self.at.bridge.and_then(|at| self.bridges.get_mut(at)).ok_or_else(|| {
            let error = Diagnostic::error("C007", entry.name_span.clone(), message);
            error.with_help("it belongs below a line `connection NAME`")
        })
    }

    /// The security settings that an option belongs to.
    pub fn security(&mut self, entry: &Entry<'_>) -> &mut SecurityDraft {
        self.first_security.get_or_insert_with(|| entry.name_span.clone());
        if self.per_listener { &mut self.listener().security } else { &mut self.security }
    }

    /// A global text that may stand once.
    pub fn text_once(&mut self, entry: &Entry<'_>) -> Result<String, Diagnostic> {
        entry.text_once(&mut self.seen, entry.spec.name)
    }

    /// The trap of 2.0: this option stands above every `listener`, and opens port 1883.
    pub fn opens_default_listener(&self, entry: &Entry<'_>) -> bool {
        let of_listener = match entry.spec.scope {
            Scope::Listener => entry.name != "listener",
            Scope::Security => self.per_listener,
            _ => false,
        };
        of_listener && self.at.listener.is_none()
    }

    /// Fills in defaults. What contradicts itself is told in the diagnostics.
    pub fn finish(mut self, overrides: &Overrides) -> (Config, Vec<Diagnostic>) {
        let mut drafts = std::mem::take(&mut self.listeners);
        let mut diagnostics = std::mem::take(&mut self.diagnostics);
        if self.default_listener.exists {
            drafts.push(std::mem::take(&mut self.default_listener));
        }
        let local_only = drafts.is_empty();
        if !local_only && !overrides.ports.is_empty() {
            diagnostics.push(Diagnostic {
                severity: Severity::Warning,
                ..Diagnostic::file_error(
                    "C105",
                    "-p is not looked at, because the configuration has a listener",
                )
            });
        }
        let shared =
            if local_only && self.per_listener { &self.default_listener.security } else { &self.security };
        let mut security = vec![shared.finish(local_only)];
        let mut listeners = Vec::new();
        for draft in drafts {
            listeners.push(draft.finish(self.compat, self.per_listener, &mut security, &mut diagnostics));
        }
        if local_only {
            listeners = local_listeners(&overrides.ports);
        }
        bridge::check_identifiers(&self.bridges, &mut diagnostics);
        let bridges = std::mem::take(&mut self.bridges);
        let bridges = bridges.into_iter().map(|bridge| bridge.finish(&mut diagnostics)).collect();
        let config = Config {
            listeners,
            security,
            bridges,
            sys_interval: interval(self.sys_interval_secs.into()),
            persistence: self.finish_persistence(overrides, &mut diagnostics),
            limits: self.finish_limits(),
            process: ProcessConfig {
                as_mosquitto: overrides.as_mosquitto,
                ..std::mem::take(&mut self.process)
            },
            compat: self.compat,
            local_only,
            log: self.finish_log(overrides),
        };
        (config, diagnostics)
    }

    fn finish_limits(&mut self) -> SessionLimits {
        let mut limits = std::mem::take(&mut self.limits);
        let own = SessionLimits::of(self.compat);
        limits.max_packet_size = self.max_packet_size.unwrap_or(own.max_packet_size);
        limits.allow_duplicate_messages =
            self.allow_duplicate_messages.unwrap_or(own.allow_duplicate_messages);
        limits
    }

    fn finish_persistence(
        &mut self,
        overrides: &Overrides,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<PersistenceConfig> {
        let draft = std::mem::take(&mut self.persistence);
        if !draft.on {
            if let Some(span) = self.seen.at("persistence_sync") {
                let message = "persistence_sync needs `persistence true`: nothing is kept without it";
                diagnostics.push(Diagnostic::error("C014", span.clone(), message));
            }
            return None;
        }
        let name = draft.file.unwrap_or_else(|| "mosquitto.db".to_owned());
        let location = overrides.persistence_location.clone().or(draft.location.map(PathBuf::from));
        let file = match location {
            // mosquitto puts them together as texts: a name with a leading `/` stays in the folder.
            Some(location) => location.join(name.trim_start_matches('/')),
            None => Path::new(&name).to_owned(),
        };
        let autosave = match (draft.interval.unwrap_or(AUTOSAVE_INTERVAL), draft.on_changes) {
            (0, _) => Autosave::Never,
            (changes, true) => Autosave::Changes(changes),
            (seconds, false) => Autosave::Every(Duration::from_secs(seconds.into())),
        };
        Some(PersistenceConfig { file, sync: draft.sync.unwrap_or_default(), autosave })
    }

    fn finish_log(self, overrides: &Overrides) -> LogConfig {
        let mut log = self.log;
        log.types = if overrides.verbose { LogTypes::ALL } else { self.log_types.unwrap_or_default() };
        if let Some(destinations) = self.log_destinations {
            log.destinations = destinations;
        }
        for destination in &mut log.destinations {
            if let LogDestination::Syslog(facility) = destination {
                *facility = self.log_facility;
            }
        }
        log
    }
}

/// 0 is never.
fn interval(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Without a listener in the file: this machine only, on 1883 or where `-p` says.
fn local_listeners(ports: &[u16]) -> Vec<ListenerConfig> {
    let ports = if ports.is_empty() { &[DEFAULT_PORT] } else { ports };
    ports.iter().map(|port| ListenerConfig { port: *port, ..ListenerConfig::default() }).collect()
}

/// The error about a name that no option has.
pub(super) fn unknown_option(name: &str, span: Span, compat: Compat) -> Diagnostic {
    let quote = if compat == Compat::V20 { '"' } else { '\'' };
    let shown = crate::text::escape(name);
    let found =
        Diagnostic::error("C001", span, format!("Unknown configuration variable {quote}{shown}{quote}"));
    if name.starts_with('#') {
        return found.with_help("a comment begins in the first column");
    }
    if name.contains('\t') {
        return found.with_help("a tab does not part words: use a blank");
    }
    match did_you_mean(name, super::options::all().map(|option| option.name)) {
        Some(meant) => found.with_help(format!("did you mean `{meant}`?")),
        None => found,
    }
}
