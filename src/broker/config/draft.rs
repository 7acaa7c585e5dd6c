//! What was typed: option values as far as they have come, before defaults are filled in.
//!
//! Knows nothing of the text's lines beyond the spans that it was given; `parse` reads them, the
//! rows of `options` put their values here, and [`Draft::finish`] makes the [`Config`].

use std::path::PathBuf;

use super::options::{OptionSpec, Scope};
use super::{
    Compat, Config, ListenerConfig, LogConfig, LogDestination, Overrides, SecurityConfig, SessionLimits,
    TlsFiles,
};
use crate::broker::log::LogTypes;
use crate::diagnostic::{Diagnostic, Severity, Span};
use crate::text::did_you_mean;

/// The port of MQTT without TLS.
pub(super) const DEFAULT_PORT: u16 = 1883;

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub text: String,
    pub span: Span,
}

/// One option line.
pub(super) struct Entry<'a> {
    /// As it was typed.
    pub name: &'a str,
    pub spec: &'static OptionSpec,
    /// What follows the name and its blanks, to the end of the line.
    pub value: &'a str,
    pub name_span: Span,
    pub value_span: Span,
    pub compat: Compat,
}

/// Options of a listener.
#[derive(Debug, Default)]
pub(super) struct ListenerDraft {
    /// For the default listener: something asked for it.
    pub exists: bool,
    pub port: Option<u16>,
    pub bind: Option<Text>,
    pub security: SecurityDraft,
    pub allow_anonymous: Option<bool>,
    pub certfile: Option<Text>,
    pub keyfile: Option<Text>,
    pub cafile: Option<Text>,
}

/// Security options, of the broker or of a listener.
#[derive(Debug, Default)]
pub(super) struct SecurityDraft {
    pub allow_anonymous: Option<bool>,
    pub password_file: Option<Text>,
    pub acl_file: Option<Text>,
}

/// What was typed.
#[derive(Debug)]
pub(super) struct Draft {
    pub compat: Compat,
    pub listeners: Vec<ListenerDraft>,
    pub default_listener: ListenerDraft,
    /// The listener that options belong to; `None` before the first `listener` of a file.
    pub current: Option<usize>,
    pub in_bridge: bool,
    pub security: SecurityDraft,
    pub per_listener: bool,
    pub first_security: Option<Span>,
    pub limits: SessionLimits,
    pub max_packet_size: Option<u32>,
    pub log: LogConfig,
    pub log_types: Option<LogTypes>,
    pub log_destinations: Option<Vec<LogDestination>>,
    pub diagnostics: Vec<Diagnostic>,
}

impl Entry<'_> {
    /// The name as mosquitto's messages write it.
    pub fn quoted(&self) -> String {
        match self.compat {
            Compat::V20 => self.name.to_owned(),
            Compat::V21 => format!("'{}'", self.name),
        }
    }

    /// An error about the value, or about the name if there is no value.
    pub fn error(&self, code: &'static str, message: &str) -> Diagnostic {
        let span = if self.value.is_empty() { &self.name_span } else { &self.value_span };
        Diagnostic::error(code, span.clone(), message)
    }

    /// A warning at the same place.
    pub fn warning(&self, code: &'static str, message: &str) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..self.error(code, message) }
    }

    fn empty(&self) -> Diagnostic {
        self.error("C002", &format!("Empty {} value in configuration", self.quoted()))
            .with_help(format!("for example `{}`", self.spec.example))
    }

    /// `Invalid 'x' value (v)`
    pub fn invalid(&self, value: &str) -> Diagnostic {
        self.error("C003", &format!("Invalid {} value ({value})", self.quoted()))
    }

    /// The first word of the value; what follows it is not looked at, as in mosquitto.
    pub fn word(&self) -> Result<&str, Diagnostic> {
        self.value.split(' ').next().filter(|word| !word.is_empty()).ok_or_else(|| self.empty())
    }

    /// The whole value, blanks at its ends left out.
    pub fn text(&self) -> Result<Text, Diagnostic> {
        let text = self.value.trim();
        if text.is_empty() {
            return Err(self.empty());
        }
        Ok(Text { text: text.to_owned(), span: self.value_span.clone() })
    }

    /// `true false 1 0`
    pub fn boolean(&self) -> Result<bool, Diagnostic> {
        match self.word()? {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => {
                let help = match other.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "true" => "write `true`",
                    "no" | "off" | "false" => "write `false`",
                    _ => "true, false, 1 or 0",
                };
                Err(self.invalid(other).with_help(help))
            }
        }
    }

    /// A whole number. With [`Compat::V20`] what cannot be read counts as far as it can, as atoi(3) does.
    pub fn number(&self) -> Result<i64, Diagnostic> {
        let word = self.word()?;
        let sign = usize::from(word.starts_with(['-', '+']));
        let digits = word[sign..].bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && sign + digits == word.len() {
            return word.parse().map_err(|_| self.invalid(word));
        }
        match self.compat {
            Compat::V20 => Ok(word[..sign + digits].parse().unwrap_or(0)),
            Compat::V21 => Err(self
                .error("C004", &format!("{} value not a number", self.quoted()))
                .with_help("a whole number")),
        }
    }

    /// A number of at most `max`; less than nothing counts as nothing.
    pub fn number_to<T>(&self, max: T) -> Result<T, Diagnostic>
    where
        T: TryFrom<i64> + Copy + PartialOrd + std::fmt::Display,
    {
        let number = self.number()?.max(0);
        match T::try_from(number) {
            Ok(number) if number <= max => Ok(number),
            _ => Err(self.error("C003", &format!("{} must be <= {max}", self.name))),
        }
    }
}

impl Draft {
    pub fn new(compat: Compat) -> Self {
        Self {
            compat,
            listeners: Vec::new(),
            default_listener: ListenerDraft::default(),
            current: None,
            in_bridge: false,
            security: SecurityDraft::default(),
            per_listener: false,
            first_security: None,
            limits: SessionLimits::default(),
            max_packet_size: None,
            log: LogConfig::default(),
            log_types: None,
            log_destinations: None,
            diagnostics: Vec::new(),
        }
    }

    /// The listener that an option belongs to.
    pub fn listener(&mut self) -> &mut ListenerDraft {
        match self.current.and_then(|at| self.listeners.get_mut(at)) {
            Some(listener) => listener,
            None => &mut self.default_listener,
        }
    }

    /// The security settings that an option belongs to.
    pub fn security(&mut self, entry: &Entry<'_>) -> &mut SecurityDraft {
        self.first_security.get_or_insert_with(|| entry.name_span.clone());
        if self.per_listener { &mut self.listener().security } else { &mut self.security }
    }

    /// The trap of 2.0: this option stands above every `listener`, and opens port 1883.
    pub fn opens_default_listener(&self, entry: &Entry<'_>) -> bool {
        let of_listener = match entry.spec.scope {
            Scope::Listener => entry.name != "listener",
            Scope::Security => self.per_listener,
            _ => false,
        };
        of_listener && self.current.is_none()
    }

    /// Fills in defaults. What contradicts itself is told in `diagnostics`.
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
            listeners.push(draft.finish(self.per_listener, &mut security, &mut diagnostics));
        }
        if local_only {
            listeners = local_listeners(&overrides.ports);
        }
        let default_packet_size = if self.compat == Compat::V20 { 0 } else { self.limits.max_packet_size };
        self.limits.max_packet_size = self.max_packet_size.unwrap_or(default_packet_size);
        self.log.types = if overrides.verbose { LogTypes::ALL } else { self.log_types.unwrap_or_default() };
        if let Some(destinations) = self.log_destinations {
            self.log.destinations = destinations;
        }
        let config = Config {
            listeners,
            security,
            limits: self.limits,
            log: self.log,
            compat: self.compat,
            local_only,
            ..Config::default()
        };
        (config, diagnostics)
    }
}

/// Without a listener in the file: this machine only, on 1883 or where `-p` says.
fn local_listeners(ports: &[u16]) -> Vec<ListenerConfig> {
    let ports = if ports.is_empty() { &[DEFAULT_PORT] } else { ports };
    let bind = Some("127.0.0.1".to_owned());
    ports
        .iter()
        .map(|port| ListenerConfig { port: *port, bind: bind.clone(), ..ListenerConfig::default() })
        .collect()
}

impl SecurityDraft {
    fn finish(&self, anonymous: bool) -> SecurityConfig {
        let path = |text: &Option<Text>| text.as_ref().map(|text| PathBuf::from(&text.text));
        SecurityConfig {
            allow_anonymous: self.allow_anonymous.unwrap_or(anonymous),
            password_file: path(&self.password_file),
            acl_file: path(&self.acl_file),
            ..SecurityConfig::default()
        }
    }
}

impl ListenerDraft {
    fn finish(
        self,
        per_listener: bool,
        security: &mut Vec<SecurityConfig>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> ListenerConfig {
        let shared = security[0].clone();
        let own = match (per_listener, self.allow_anonymous) {
            (true, anonymous) => {
                let found = self.security.finish(false);
                Some(SecurityConfig { allow_anonymous: anonymous.unwrap_or(found.allow_anonymous), ..found })
            }
            (false, Some(allow_anonymous)) => Some(SecurityConfig { allow_anonymous, ..shared }),
            (false, None) => None,
        };
        let index = match own {
            Some(own) => {
                security.push(own);
                security.len() - 1
            }
            None => 0,
        };
        ListenerConfig {
            port: self.port.unwrap_or(DEFAULT_PORT),
            bind: self.bind.as_ref().map(|bind| bind.text.clone()),
            security: index,
            tls: self.tls(diagnostics),
            ..ListenerConfig::default()
        }
    }

    /// A certificate without a key never makes a plain listener, as it does in 2.0.
    fn tls(self, diagnostics: &mut Vec<Diagnostic>) -> Option<TlsFiles> {
        let path = |text: Text| PathBuf::from(text.text);
        match (self.certfile, self.keyfile) {
            (Some(certfile), Some(keyfile)) => Some(TlsFiles {
                certfile: path(certfile),
                keyfile: path(keyfile),
                cafile: self.cafile.map(path),
                ..TlsFiles::default()
            }),
            (None, None) => {
                if let Some(cafile) = self.cafile {
                    let message = "cafile without certfile and keyfile: the listener is not encrypted";
                    diagnostics.push(Diagnostic::warning("C106", cafile.span, message));
                }
                None
            }
            (Some(text), None) | (None, Some(text)) => {
                let message = "Both certfile and keyfile must be provided to enable TLS";
                diagnostics.push(Diagnostic::error("C011", text.span, message));
                None
            }
        }
    }
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
