//! What all steps of one case share, and what one step knows of itself.

use std::collections::BTreeMap;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::checks::Watching;
use super::fence::{Control, Order};
use super::link::Watch;
use super::matching::Lookup;
use super::outcome::{Done, Trouble};
use super::peer::Doors;
use super::recorder::{PROBE, Recorder};
use super::starvation::Starvation;
use super::target::Target;
use super::tls_log::TlsLog;
use crate::check::Party;
use crate::diagnostic::Span;
use crate::mqtt::ProtocolVersion;
use crate::net::tap::Tap;
use crate::scenario::value::{CAPTURED, Template};
use crate::scenario::{Case, ClientSpec, EngineKind, Payload};
use bytes::Bytes;

/// One case that runs.
#[derive(Debug)]
pub struct Context<'a> {
    /// What is run.
    pub case: &'a Case,
    /// Where it is written down.
    pub recorder: Recorder,
    /// The broker.
    pub target: Mutex<Target>,
    /// Where the peers of the case listen.
    pub doors: Doors,
    /// Variables of the run: `listeners.NAME.port` and so on.
    pub variables: BTreeMap<String, String>,
    /// What steps captured, by name.
    pub captured: parking_lot::Mutex<BTreeMap<String, String>>,
    /// Tells client identifiers and control messages of this case from all others.
    pub nonce: String,
    /// Plays clients that do not need the wire client.
    pub engine: Option<EngineKind>,
    /// The control client, once somebody needed it.
    pub control: Mutex<Option<Control>>,
    /// How far the broker's order of delivery can be trusted.
    pub order: Order,
    /// What is recorded of TLS connections.
    pub tls: &'a TlsLog,
    /// Whether the machine lets us run.
    pub starvation: Starvation,
}

impl Context<'_> {
    /// What a connection of this client reports to.
    pub fn watch(&self, client: &str) -> Watch {
        Watch {
            recorder: self.recorder.clone(),
            client: client.to_owned(),
            fence_topic: self.fence_topic(),
            probe: self.probe(),
        }
    }

    /// A tap for one more connection of a client or peer. What is said between a client and a peer of the
    /// case is shown as the client has it, and the client is judged as the peer sees it.
    pub fn tap(&self, spec: &ClientSpec, version: ProtocolVersion) -> Tap {
        let watching = if spec.plays {
            let shown = !self.case.clients.iter().any(|one| one.peer.as_ref() == Some(&spec.name));
            Watching { shown, judged: Some(Party::Client) }
        } else if spec.peer.is_some() {
            Watching { shown: true, judged: None }
        } else {
            Watching::BROKER
        };
        self.recorder.tap(&spec.name, version, watching)
    }

    /// How payloads of this case's probes begin.
    pub fn probe(&self) -> String {
        format!("{PROBE}{}", self.nonce)
    }

    /// Where sentinels of this case are published.
    pub fn fence_topic(&self) -> String {
        fence_topic(&self.nonce)
    }
}

/// Where sentinels of a case with this nonce are published.
pub fn fence_topic(nonce: &str) -> String {
    format!("mqttlab/fence/{nonce}")
}

/// A step that runs: its place, and its counter where it is repeated.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The case.
    pub context: &'a Context<'a>,
    /// The step in the file.
    pub span: &'a Span,
    /// `${i}`
    pub count: Option<u32>,
}

impl<'a> At<'a> {
    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<String> {
        if name == "i" {
            return self.count.map(|count| count.to_string());
        }
        if let Some(name) = name.strip_prefix(CAPTURED) {
            return self.context.captured.lock().get(name).cloned();
        }
        self.context.variables.get(name).cloned()
    }

    /// Lets `use_it` look variables up.
    pub fn looking<T>(&self, use_it: impl FnOnce(Lookup<'_>) -> T) -> T {
        use_it(&|name| self.variable(name))
    }

    /// A text with its variables replaced.
    pub fn resolve(&self, template: &Template) -> Done<String> {
        template
            .resolve(|name| self.variable(name))
            .map_err(|name| self.errored("a value for every variable", format!("${{{name}}} has none")))
    }

    /// Keeps a value for later steps.
    pub fn capture(&self, name: &str, value: &str) {
        self.context.captured.lock().insert(name.to_owned(), value.to_owned());
    }

    /// A payload with its variables replaced.
    pub fn payload(&self, payload: &Payload) -> Done<Bytes> {
        match payload {
            Payload::Text(template) => Ok(self.resolve(template)?.into()),
            Payload::Bytes(bytes) => Ok(bytes.clone()),
        }
    }

    /// The same step at another place of the file.
    #[must_use]
    pub fn at(self, span: &'a Span) -> Self {
        Self { span, ..self }
    }

    /// The broker is wrong.
    pub fn failed(&self, expected: impl Into<String>, actual: impl Into<String>) -> Trouble {
        Trouble::failed(self.span, expected, actual)
    }

    /// Nothing came in the time from `since` to now: the broker is wrong, unless it was we who had no time.
    pub fn silent(&self, since: Instant, expected: impl Into<String>, actual: impl Into<String>) -> Trouble {
        let busy = self.context.starvation.excuse(since);
        Trouble::silent(self.span, expected, actual, busy)
    }

    /// It cannot be told.
    pub fn errored(&self, expected: impl Into<String>, actual: impl Into<String>) -> Trouble {
        Trouble::errored(self.span, expected, actual)
    }
}
