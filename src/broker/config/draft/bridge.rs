//! A `connection` block as it was typed, and what is asked of it at the end of the file.

use super::super::{BridgeConfig, BridgeNotifications, BridgeStart, BridgeTls};
use super::entry::{Entry, Seen};
use crate::diagnostic::{Diagnostic, Span};

/// Options of a bridge.
#[derive(Debug)]
pub(in crate::broker::config) struct BridgeDraft {
    /// The line `connection`.
    span: Span,
    /// What needs no look at other options.
    pub config: BridgeConfig,
    pub tls: BridgeTls,
    /// `start_type lazy`
    pub lazy: bool,
    pub threshold: u32,
    pub idle_secs: u32,
    pub notifications: bool,
    /// `notifications_local_only`
    pub local_only: bool,
    pub seen: Seen,
}

/// Options that say whom the bridge trusts: with one of them it speaks TLS.
const AUTHORITIES: &[&str] = &["bridge_cafile", "bridge_capath", "bridge_tls_use_os_certs"];

/// Options that mean nothing without TLS.
const TLS_ONLY: &[&str] = &[
    "bridge_certfile",
    "bridge_keyfile",
    "bridge_insecure",
    "bridge_require_ocsp",
    "bridge_alpn",
    "bridge_tls_version",
    "bridge_ciphers",
    "bridge_ciphers_tls1.3",
];

impl BridgeDraft {
    pub fn new(name: &str, span: Span) -> Self {
        Self {
            span,
            config: BridgeConfig { name: name.to_owned(), ..BridgeConfig::default() },
            tls: BridgeTls::default(),
            lazy: false,
            threshold: 10,
            idle_secs: 60,
            notifications: true,
            local_only: false,
            seen: Seen::default(),
        }
    }

    /// A text that may stand once; `name` is what mosquitto's messages call it.
    pub fn text(
        &mut self,
        entry: &Entry<'_>,
        name: &'static str,
        slot: fn(&mut BridgeConfig) -> &mut Option<String>,
    ) -> Result<(), Diagnostic> {
        *slot(&mut self.config) = Some(entry.text_once(&mut self.seen, name)?);
        Ok(())
    }

    /// A switch of TLS whose place is wanted at the end if it is on.
    pub fn tls_switch(
        &mut self,
        entry: &Entry<'_>,
        slot: fn(&mut BridgeTls) -> &mut bool,
    ) -> Result<bool, Diagnostic> {
        let on = entry.boolean()?;
        *slot(&mut self.tls) = on;
        if on {
            self.seen.note(entry, entry.spec.name);
        }
        Ok(on)
    }

    pub fn finish(mut self, found: &mut Vec<Diagnostic>) -> BridgeConfig {
        let mut error = |code, span: &Span, message: &str| {
            found.push(Diagnostic::error(code, span.clone(), message));
        };
        if self.config.addresses.is_empty() {
            error("C015", &self.span, "Invalid bridge configuration: no remote addresses defined");
        }
        if self.config.topics.is_empty() {
            error("C015", &self.span, "Invalid bridge configuration: no topics defined");
        }
        let pair = (self.seen.at("bridge_certfile"), self.seen.at("bridge_keyfile"));
        if let (Some(span), None) | (None, Some(span)) = pair {
            error("C011", span, "Both bridge_certfile and bridge_keyfile must be provided");
        }
        let encrypted = self.seen.any(AUTHORITIES).is_some();
        if let (false, Some((name, span))) = (encrypted, self.seen.any(TLS_ONLY)) {
            let message = format!(
                "{name} needs a bridge_cafile, bridge_capath or bridge_tls_use_os_certs: without it the \
                 connection is not encrypted"
            );
            error("C013", span, &message);
        }
        if self.lazy {
            let idle = std::time::Duration::from_secs(self.idle_secs.into());
            self.config.start = BridgeStart::Lazy { threshold: self.threshold, idle };
        }
        self.config.notifications = match (self.notifications, self.local_only) {
            (false, _) => BridgeNotifications::None,
            (true, true) => BridgeNotifications::Local,
            (true, false) => BridgeNotifications::Both,
        };
        self.config.tls = encrypted.then_some(self.tls);
        self.config
    }
}

/// Two bridges are two clients of this broker.
pub(in crate::broker::config) fn check_identifiers(bridges: &[BridgeDraft], found: &mut Vec<Diagnostic>) {
    let identifier = |bridge: &BridgeDraft| {
        let config = &bridge.config;
        let remote = || config.remote_client_id.clone().unwrap_or_else(|| format!("\0.{}", config.name));
        config.local_client_id.clone().unwrap_or_else(|| format!("local.{}", remote()))
    };
    for (number, bridge) in bridges.iter().enumerate() {
        let own = identifier(bridge);
        if let Some(earlier) = bridges[..number].iter().find(|earlier| identifier(earlier) == own) {
            let message = format!(
                "Bridge local_clientid '{own}' is not unique. Try changing or setting the local_clientid \
                 value for one of the bridges"
            );
            let error = Diagnostic::error("C014", bridge.span.clone(), message);
            found.push(error.with_related(earlier.span.clone(), "this bridge has it too"));
        }
    }
}
