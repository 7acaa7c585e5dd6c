//! Listeners and security settings as they were typed, and what becomes of them at the end of the
//! file: which settings a listener has, and whether its TLS options belong together.

use std::path::PathBuf;

use super::super::{
    Compat, ListenerConfig, ListenerProtocol, ProxyVersion, SecurityConfig, TlsFiles, TlsIdentity,
};
use super::entry::{Entry, Seen};
use crate::diagnostic::Diagnostic;

/// Options of a listener.
#[derive(Debug, Default)]
pub(in crate::broker::config) struct ListenerDraft {
    /// For the default listener: something asked for it.
    pub exists: bool,
    /// What needs no look at other options.
    pub config: ListenerConfig,
    pub tls: TlsFiles,
    pub use_identity: bool,
    pub use_subject: bool,
    pub security: SecurityDraft,
    /// `listener_allow_anonymous`
    pub allow_anonymous: Option<bool>,
    /// `listener_auto_id_prefix`
    pub auto_id_prefix: Option<String>,
    pub seen: Seen,
}

/// Security options, of the broker or of a listener.
#[derive(Debug, Default)]
pub(in crate::broker::config) struct SecurityDraft {
    pub allow_anonymous: Option<bool>,
    pub password_file: Option<PathBuf>,
    pub acl_file: Option<PathBuf>,
    pub allow_zero_length_clientid: Option<bool>,
    pub auto_id_prefix: Option<String>,
    pub seen: Seen,
}

impl SecurityDraft {
    pub fn finish(&self, anonymous: bool) -> SecurityConfig {
        let default = SecurityConfig::default();
        SecurityConfig {
            allow_anonymous: self.allow_anonymous.unwrap_or(anonymous),
            password_file: self.password_file.clone(),
            acl_file: self.acl_file.clone(),
            allow_zero_length_clientid: self
                .allow_zero_length_clientid
                .unwrap_or(default.allow_zero_length_clientid),
            auto_id_prefix: self.auto_id_prefix.clone().unwrap_or(default.auto_id_prefix),
        }
    }
}

/// Options that do nothing on a listener without TLS, and would let clients in that should not be.
const DECIDING: &[&str] =
    &["require_certificate", "use_identity_as_username", "use_subject_as_username", "crlfile"];

/// Options that do nothing on a listener without TLS.
const TLS_ONLY: &[&str] = &["tls_version", "ciphers", "ciphers_tls1.3", "disable_client_cert_date_checks"];

impl ListenerDraft {
    /// A text of the listener that may stand once.
    pub fn text(&mut self, entry: &Entry<'_>) -> Result<String, Diagnostic> {
        entry.text_once(&mut self.seen, entry.spec.name)
    }

    /// A switch whose place is wanted at the end if it is on.
    pub fn switch(&mut self, entry: &Entry<'_>, slot: fn(&mut Self) -> &mut bool) -> Result<(), Diagnostic> {
        let on = entry.boolean()?;
        *slot(self) = on;
        if on {
            self.seen.note(entry, entry.spec.name);
        }
        Ok(())
    }

    pub fn finish(
        mut self,
        compat: Compat,
        per_listener: bool,
        security: &mut Vec<SecurityConfig>,
        found: &mut Vec<Diagnostic>,
    ) -> ListenerConfig {
        self.config.security = self.zone(per_listener, security);
        self.check_proxy(found);
        if self.config.protocol != ListenerProtocol::WebSockets {
            for name in ["http_dir", "websockets_origin"] {
                if let Some(span) = self.seen.at(name) {
                    let message = format!("{name} has no effect: the listener's protocol is not websockets");
                    let warning = Diagnostic::warning("C102", span.clone(), message);
                    found.push(warning.with_help("write `protocol websockets`"));
                }
            }
        }
        self.config.tls = self.finish_tls(compat, found);
        self.config
    }

    /// Index of the listener's settings, which are the broker's if it has none of its own.
    fn zone(&self, per_listener: bool, security: &mut Vec<SecurityConfig>) -> usize {
        if !per_listener && self.allow_anonymous.is_none() && self.auto_id_prefix.is_none() {
            return 0;
        }
        let mut own = if per_listener { self.security.finish(false) } else { security[0].clone() };
        if let Some(allow_anonymous) = self.allow_anonymous {
            own.allow_anonymous = allow_anonymous;
        }
        if let Some(prefix) = &self.auto_id_prefix {
            own.auto_id_prefix.clone_from(prefix);
        }
        security.push(own);
        security.len() - 1
    }

    fn check_proxy(&self, found: &mut Vec<Diagnostic>) {
        let Some(span) = self.seen.at("proxy_protocol_v2_require_tls") else { return };
        if self.config.proxy_protocol != Some(ProxyVersion::V2) {
            let message = "proxy_protocol_v2_require_tls needs `enable_proxy_protocol 2`";
            found.push(Diagnostic::error("C014", span.clone(), message));
        }
    }

    /// A certificate without a key never makes a plain listener, as it does in 2.0; nor does an
    /// option that decides who may come in by their certificate.
    fn finish_tls(&mut self, compat: Compat, found: &mut Vec<Diagnostic>) -> Option<TlsFiles> {
        let mut error = |span: &crate::diagnostic::Span, code, message: &str| {
            found.push(Diagnostic::error(code, span.clone(), message));
        };
        let at = |name| self.seen.at(name);
        let proxy = self.config.proxy_protocol == Some(ProxyVersion::V2);
        match (at("certfile"), at("keyfile")) {
            (Some(span), Some(_)) => {
                if proxy {
                    let text = "certfile and keyfile cannot be used with `enable_proxy_protocol 2`";
                    error(span, "C014", text);
                }
            }
            (None, None) => {
                self.without_certificate(compat, found);
                return None;
            }
            (Some(span), None) | (None, Some(span)) => {
                error(span, "C011", "Both certfile and keyfile must be provided to enable TLS");
                return None;
            }
        }
        let authorities = at("cafile").or(at("capath"));
        if let (None, Some(span)) = (authorities, at("require_certificate")) {
            error(
                span,
                "C014",
                "require_certificate needs a cafile or capath: without it nobody can come in",
            );
        }
        let mut tls = std::mem::take(&mut self.tls);
        tls.identity = match (self.use_identity, self.use_subject) {
            (true, _) => TlsIdentity::CommonName,
            (false, true) => TlsIdentity::Subject,
            (false, false) => TlsIdentity::Connect,
        };
        Some(tls)
    }

    fn without_certificate(&self, compat: Compat, found: &mut Vec<Diagnostic>) {
        if let Some((name, span)) = self.seen.any(&["cafile", "capath"]) {
            found.push(match compat {
                Compat::V21 => {
                    let message = format!("{name} specified without certfile and keyfile");
                    Diagnostic::error("C011", span.clone(), message)
                }
                Compat::V20 => {
                    let message =
                        format!("{name} without certfile and keyfile: the listener is not encrypted");
                    Diagnostic::warning("C106", span.clone(), message)
                }
            });
        }
        if let Some((name, span)) = self.seen.any(DECIDING) {
            let message = format!("{name} needs certfile and keyfile: the listener is not encrypted");
            found.push(Diagnostic::error("C013", span.clone(), message));
        }
        if let Some((name, span)) = self.seen.any(TLS_ONLY) {
            let message =
                format!("{name} has no effect without certfile and keyfile: the listener is not encrypted");
            found.push(Diagnostic::warning("C111", span.clone(), message));
        }
    }
}
