//! Plays cases over another transport than the plain TCP that they are written for (`--transport`).
//!
//! The listeners of a case become TLS or WebSocket ones, with a certificate made for the run that
//! every client trusts. A case that brings transports of its own is about these, and stays away.

use std::fmt;
use std::sync::Arc;

use crate::diagnostic::Span;
use crate::scenario::target::{Certificate, ListenerSpec, Setup};
use crate::scenario::{Case, Subject};

/// What carries the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    WebSocket,
    /// WebSocket over TLS.
    SecureWebSocket,
}

/// Names of what is made for the run; a scenario's own names have no `@`.
const AUTHORITY: &str = "mqttlab@ca";
const CERTIFICATE: &str = "mqttlab@server";
const BESIDE: &str = "mqttlab@plain";

impl Transport {
    /// True where sockets are needed and a paused clock does not help.
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }

    const fn has_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }

    /// The case over this transport; the error says why it cannot be.
    pub(super) fn carry(self, case: &Case) -> Result<Case, String> {
        let broker = &case.setup.broker;
        if broker.config.is_some() {
            return Err(format!("it brings its own mosquitto.conf, which says nothing of {self}"));
        }
        if broker.listeners.iter().any(|listener| listener.websockets || listener.cert.is_some()) {
            return Err(format!("it brings listeners of its own, and cannot be played over {self}"));
        }
        if case.subject() == Subject::Client {
            return Err(format!("it tests a client at a broker of its own, which does not speak {self}"));
        }
        let mut case = case.clone();
        case.setup = Arc::new(self.set_up(&case.setup, &case.span));
        if self.has_tls() {
            for client in &mut case.clients {
                client.trust = Some(AUTHORITY.into());
            }
        }
        Ok(case)
    }

    fn set_up(self, setup: &Setup, span: &Span) -> Setup {
        let mut setup = setup.clone();
        let listeners = &mut setup.broker.listeners;
        let plain = |name: &str| ListenerSpec {
            name: name.into(),
            websockets: false,
            cert: None,
            settings: Vec::new(),
            span: span.clone(),
        };
        if listeners.is_empty() {
            listeners.push(plain(""));
        }
        for listener in &mut *listeners {
            listener.websockets = self.has_websocket();
            listener.cert = self.has_tls().then(|| CERTIFICATE.to_owned());
        }
        if self.has_websocket() {
            // mosquitto 2.0.11 does not start with WebSocket listeners alone.
            listeners.push(plain(BESIDE));
        }
        if self.has_tls() {
            let certificate = |name: &str, ca: Option<&str>, san: &[&str]| Certificate {
                name: name.into(),
                ca: ca.map(Into::into),
                san: san.iter().map(|name| (*name).to_owned()).collect(),
                not_before: Certificate::DEFAULT_NOT_BEFORE,
                not_after: Certificate::DEFAULT_NOT_AFTER,
                span: span.clone(),
            };
            setup.pki.push(certificate(AUTHORITY, None, &[]));
            setup.pki.push(certificate(CERTIFICATE, Some(AUTHORITY), &["localhost", "127.0.0.1"]));
        }
        setup
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::WebSocket => "WebSocket",
            Self::SecureWebSocket => "secure WebSocket",
        })
    }
}
