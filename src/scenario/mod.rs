//! Scenarios: what a YAML file or a lab sheet says, checked and lowered to operations.
//!
//! Pure: texts come in through a loader, time and sockets are the runner's. `decode` reads the
//! YAML tree into drafts and collects every error, `lower` turns drafts into [`Case`]s.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod codes;
pub mod decode;
mod hidden;
pub mod keys;
mod lint;
pub mod matcher;
mod node;
mod packets;
mod scope;
pub mod step;
pub mod op;
pub mod table;
pub mod target;
pub mod value;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::diagnostic::Span;
use crate::mqtt::{Properties, ProtocolVersion, QoS};
use op::Step;
use scope::{Inputs, Problems};
use table::Table;
use table::sheet::Format;
use target::Setup;
use value::Template;

/// One scenario under one combination of its matrix: what the runner runs.
#[derive(Debug, Clone)]
pub struct Case {
    /// Path of the file as given.
    pub file: String,
    /// `id` of the scenario.
    pub scenario: String,
    /// Matrix combination, such as `v5`; empty when there is only one.
    pub variant: String,
    /// One sentence of what must hold.
    pub name: String,
    /// Protocol of clients that do not say their own.
    pub protocol: ProtocolVersion,
    /// Statement ids for this protocol.
    pub spec: Vec<String>,
    /// Where each of them stands.
    pub spec_spans: Vec<Span>,
    /// MUST, SHOULD or MAY.
    pub level: Level,
    /// For selecting.
    pub tags: Vec<String>,
    /// What the target must be able to do.
    pub requires: Vec<Capability>,
    /// Points for passing; shared over the rows of a table.
    pub points: Option<f64>,
    /// The author's hint for a failure.
    pub hint: Option<String>,
    /// Not shown to students.
    pub hidden: bool,
    /// Brokers that are known to fail, with the reason.
    pub known: Vec<Known>,
    /// Broker and certificates. Cases of one file with the same set-up share the `Arc`.
    pub setup: Arc<Setup>,
    /// The clients in the order of definition, and behind them the peers.
    pub clients: Vec<ClientSpec>,
    /// What happens.
    pub body: Body,
    /// Where the scenario stands.
    pub span: Span,
    /// The least time it can take, from its waits.
    pub least: Duration,
}

/// What a case does.
#[derive(Debug, Clone)]
pub enum Body {
    /// Operations, one after the other.
    Steps(Vec<Step>),
    /// Rows, pipelined.
    Table(Arc<Table>),
}

/// How binding a scenario is (RFC 2119 words of the standard).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Fails the run.
    #[default]
    Must,
    /// Reported; fails only under `--strict`.
    Should,
    /// Reported.
    May,
}

/// An expected deviation of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// `mosquitto`, `mosquitto 2.0`, …: a prefix of the target's name and version.
    pub broker: String,
    /// Why it is so.
    pub reason: String,
}

/// What a target may or may not be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// QoS 1.
    Qos1,
    /// QoS 2.
    Qos2,
    /// Retained messages.
    Retain,
    /// `+` and `#` in subscriptions.
    Wildcards,
    /// Shared subscriptions.
    Shared,
    /// Subscription identifiers of 5.0.
    SubscriptionIds,
    /// Topic aliases of 5.0.
    TopicAliases,
    /// Several messages on their way to a client that acknowledges none; the standards let a broker wait.
    InFlight,
    /// Sessions that outlive their connection.
    Sessions,
    /// An empty client identifier, for which the broker makes one.
    AssignedIds,
    /// Clients without a user name.
    Anonymous,
    /// Messages about the broker below `$SYS/`.
    Sys,
    /// A WebSocket listener.
    Websocket,
    /// TLS listeners with certificates of this run.
    Tls,
    /// Accounts and ACLs can be set, or the profile has those that the scenario names.
    Accounts,
    /// It can be stopped and started again.
    Restart,
    /// It can be told to reread its files.
    Reload,
    /// Its configuration can be set.
    Config,
    /// Enhanced authentication with SCRAM-SHA-256, of the accounts that the scenario names.
    Scram,
    /// MQTT 5.0.
    V5,
    /// MQTT 3.1.1.
    V311,
    /// MQTT 3.1.
    V31,
}

impl Capability {
    /// All with the names that `requires` uses.
    pub const ALL: [(Self, &'static str); 22] = [
        (Self::Qos1, "qos1"),
        (Self::Qos2, "qos2"),
        (Self::Retain, "retain"),
        (Self::Wildcards, "wildcards"),
        (Self::Shared, "shared"),
        (Self::SubscriptionIds, "subscription_ids"),
        (Self::TopicAliases, "topic_aliases"),
        (Self::InFlight, "in_flight"),
        (Self::Sessions, "sessions"),
        (Self::AssignedIds, "assigned_ids"),
        (Self::Anonymous, "anonymous"),
        (Self::Sys, "sys"),
        (Self::Websocket, "websocket"),
        (Self::Tls, "tls"),
        (Self::Accounts, "accounts"),
        (Self::Restart, "restart"),
        (Self::Reload, "reload"),
        (Self::Config, "config"),
        (Self::Scram, "scram"),
        (Self::V5, "v5"),
        (Self::V311, "v3.1.1"),
        (Self::V31, "v3.1"),
    ];

    /// The name that `requires` uses.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(c, _)| *c == self).map_or("", |(_, name)| name)
    }

    /// What it means, for people.
    pub const fn doc(self) -> &'static str {
        match self {
            Self::Qos1 => "QoS 1",
            Self::Qos2 => "QoS 2",
            Self::Retain => "retained messages",
            Self::Wildcards => "+ and # in subscriptions",
            Self::Shared => "shared subscriptions",
            Self::SubscriptionIds => "subscription identifiers of MQTT 5.0",
            Self::TopicAliases => "topic aliases of MQTT 5.0",
            Self::InFlight => "a second message while the first is not acknowledged",
            Self::Sessions => "sessions that outlive their connection",
            Self::AssignedIds => "client identifiers made by the broker",
            Self::Anonymous => "clients without a user name",
            Self::Sys => "messages about the broker below $SYS/",
            Self::Websocket => "a WebSocket listener",
            Self::Tls => "TLS listeners with certificates of the run",
            Self::Accounts => "accounts and ACLs of the scenario, or a profile that has those accounts",
            Self::Restart => "being stopped and started again",
            Self::Reload => "reading its files again",
            Self::Config => "a configuration of the scenario's own",
            Self::Scram => "enhanced authentication with SCRAM-SHA-256",
            Self::V5 => "MQTT 5.0",
            Self::V311 => "MQTT 3.1.1",
            Self::V31 => "MQTT 3.1",
        }
    }
}

/// A client of a scenario.
#[expect(clippy::struct_excessive_bools, reason = "switches of the language, each by its name")]
#[derive(Debug, Clone)]
pub struct ClientSpec {
    /// Its name; also the start of its client identifier unless that is given.
    pub name: String,
    /// Account; `None` is anonymous.
    pub user: Option<String>,
    /// Overrides the account's password.
    pub password: Option<Template>,
    /// Client identifier; `None`: one made for the run, `""`: left to the broker.
    pub client_id: Option<Template>,
    /// Name of the listener; `None` is the first.
    pub listener: Option<String>,
    /// What it offers to a WebSocket listener; `None`: `mqtt`.
    pub subprotocols: Option<Vec<String>>,
    /// Name of the authority (`pki`) that it trusts; for TLS listeners.
    pub trust: Option<String>,
    /// Own protocol revision.
    pub protocol: Option<ProtocolVersion>,
    /// Clean session / clean start.
    pub clean: bool,
    /// Keep-alive in seconds; 0 is off.
    pub keep_alive: u16,
    /// The will.
    pub will: Option<WillSpec>,
    /// Sends PINGREQ by itself; default true.
    pub auto_ping: bool,
    /// Sends nothing by itself: no CONNECT at first use, no acknowledgements, no pings.
    pub raw: bool,
    /// Which implementation plays it.
    pub engine: EngineKind,
    /// Name of the peer that it connects to, in place of the broker.
    pub peer: Option<String>,
    /// It is a peer itself: a broker that the scenario plays, which waits for connections.
    pub plays: bool,
    /// As a peer it speaks MQTT in WebSocket frames.
    pub websockets: bool,
    /// Properties of its CONNECT, 5.0.
    pub properties: Properties,
    /// Messages that nobody asked for do not fail the scenario.
    pub ignore_extra: bool,
    /// Where it is defined.
    pub span: Span,
}

impl ClientSpec {
    /// A client of this name of which nothing is said.
    pub fn plain(name: String, span: Span) -> Self {
        Self {
            name,
            user: None,
            password: None,
            client_id: None,
            listener: None,
            subprotocols: None,
            trust: None,
            protocol: None,
            clean: true,
            keep_alive: Self::KEEP_ALIVE,
            will: None,
            auto_ping: true,
            raw: false,
            engine: EngineKind::Wire,
            peer: None,
            plays: false,
            websockets: false,
            properties: Properties::new(),
            ignore_extra: false,
            span,
        }
    }

    /// Seconds of keep-alive when nothing is said, as mosquitto's clients have it.
    const KEEP_ALIVE: u16 = 60;

    /// True for a client of the broker under test: not for a peer, nor for a client of one.
    pub fn at_broker(&self) -> bool {
        !self.plays && self.peer.is_none()
    }
}

/// What a case tells the truth about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The broker.
    Broker,
    /// The broker where it is a client itself: a bridge to a peer.
    Bridge,
    /// Clients, which connect to peers alone; the broker of the run has no part in it.
    Client,
}

impl Case {
    /// Whom it tests.
    pub fn subject(&self) -> Subject {
        if !self.setup.broker.bridges.is_empty() {
            return Subject::Bridge;
        }
        let with_peer = self.clients.iter().any(|client| client.peer.is_some());
        if with_peer && !self.clients.iter().any(ClientSpec::at_broker) {
            Subject::Client
        } else {
            Subject::Broker
        }
    }
}

/// Which implementation plays a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineKind {
    /// Our own wire client.
    #[default]
    Wire,
    /// rumqttc, which we did not write.
    Rumqttc,
}

/// The will of a client.
#[derive(Debug, Clone)]
pub struct WillSpec {
    /// Where it is published.
    pub topic: Template,
    /// What is published.
    pub payload: Payload,
    /// Quality of service.
    pub qos: QoS,
    /// Retained.
    pub retain: bool,
    /// Will properties, 5.0.
    pub properties: Properties,
}

/// Bytes of a message as a scenario gives them.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Text with variables.
    Text(Template),
    /// Bytes (`payload: {hex: 00ff}`, `payload: {size: 4096}`).
    Bytes(Bytes),
}

/// Where texts named by a scenario file come from; paths are relative to that file.
pub trait ScenarioFiles {
    /// The text of a file.
    fn read(&self, path: &std::path::Path) -> std::io::Result<String>;
}

/// Of a scenario that stands alone, in tests.
#[cfg(test)]
pub(crate) struct NoFiles;

#[cfg(test)]
impl ScenarioFiles for NoFiles {
    fn read(&self, _: &std::path::Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// What the command line says about reading.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// `--set name=value`
    pub set: std::collections::BTreeMap<String, String>,
    /// The environment variables that a file may name as `${env.NAME}`.
    pub env: std::collections::BTreeMap<String, String>,
    /// `--acl FILE`: stands in for the broker's `acl` and its users' `allow`.
    pub acl: Option<target::FileText>,
    /// `--password-file FILE`: stands in for the broker's `password_file`.
    pub password_file: Option<target::FileText>,
    /// `--config FILE`: stands in for the broker's `config`, `settings` and `allow_anonymous`.
    pub config: Option<target::FileText>,
    /// `--with FILE`: the scenario file whose `broker` and `pki` a lab sheet's table gets.
    pub with: Option<Arc<crate::diagnostic::Source>>,
}

/// What reading a file gave.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Empty if there is an error.
    pub cases: Vec<Case>,
    /// All findings.
    pub diagnostics: Vec<crate::diagnostic::Diagnostic>,
}

/// Reads a scenario file (YAML) or a lab sheet (Markdown with a `mqttlab` fence or a bare table,
/// CSV), checks everything that can be known before anything starts, and lowers it to cases.
pub fn load(
    source: &Arc<crate::diagnostic::Source>,
    files: &dyn ScenarioFiles,
    options: &LoadOptions,
) -> Loaded {
    let problems = Problems::default();
    let inputs = Inputs { files, options, problems: &problems };
    let mut cases = match Format::of(&source.name) {
        Format::Markdown | Format::Csv => table::sheet::load(&inputs, source),
        Format::Yaml => {
            let root = inputs.parse(source, 0..source.text.len());
            root.map(|root| decode::file::file(&inputs, &root)).unwrap_or_default()
        }
    };
    if problems.any_error() {
        cases.clear();
    }
    Loaded { cases, diagnostics: problems.into_sorted() }
}
