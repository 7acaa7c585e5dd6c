//! Passive knowledge about the protocol: which normative statements there are, and checks that
//! watch an exchange of packets for what breaks them.
//!
//! Pure: an [`Exchange`] is told what happened and answers with [`Violation`]s. Nothing is sent, and
//! nothing is concluded from silence. Whether a scenario upholds a statement is found by the runner.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod conn;
mod connect;
pub mod coverage;
mod error;
mod exchange;
mod flights;
mod flow;
mod interests;
mod look;
mod property;
mod publish;
mod qos;
mod session;
mod sessions;
pub mod statements;
mod subscribe;

use std::fmt;

pub use exchange::{Exchange, Sight};
use look::{Breach, Look};
use statements::Standard;

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// Who sent the CONNECT.
    Client,
    /// Who answers it.
    Broker,
}

impl Party {
    /// The other end.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Broker,
            Self::Broker => Self::Client,
        }
    }

    /// `client` or `broker`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Broker => "broker",
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One passive check: something that must hold of every packet that one party sends.
#[derive(Debug, Clone, Copy)]
pub struct CheckSpec {
    /// Its name everywhere.
    pub name: &'static str,
    /// What must hold.
    pub doc: &'static str,
    /// Packets that break it: `>` is from the client, `<` from the broker.
    pub example: &'static str,
    /// The statements that it watches. It looks at connections of those standards only, and few at
    /// those of MQTT 3.1, whose rules are looser than those of 3.1.1.
    pub cites: &'static [(Standard, &'static str)],
    /// Whose packets it looks at.
    pub binds: Party,
    /// It holds even where the other end has broken the protocol on this connection before.
    always: bool,
    /// It holds for MQTT 3.1 as well.
    old: bool,
    /// Looks at one packet, before what is known of the connection is brought up to date with it.
    look: fn(&Look<'_>) -> Option<Breach>,
}

impl CheckSpec {
    /// What checks about clients have in common.
    const CLIENT: Self = Self {
        name: "",
        doc: "",
        example: "",
        cites: &[],
        binds: Party::Client,
        always: false,
        old: false,
        look: |_| None,
    };
    /// What checks about brokers have in common.
    const BROKER: Self = Self { binds: Party::Broker, ..Self::CLIENT };

    /// The statements of one standard that it watches.
    pub fn cited(&self, standard: Standard) -> impl Iterator<Item = &'static str> + use<> {
        self.cites.iter().filter(move |(of, _)| *of == standard).map(|(_, id)| *id)
    }
}

/// All passive checks.
pub const CHECKS: &[CheckSpec] = &[
    connect::CONNECT_FIRST,
    connect::ONE_CONNECT,
    connect::CLIENT_DIRECTION,
    connect::BROKER_DIRECTION,
    connect::CONNACK_FIRST,
    connect::ONE_CONNACK,
    connect::AFTER_REFUSAL,
    connect::REFUSED_SESSION,
    connect::CLEAN_SESSION,
    connect::NO_DISCONNECT,
    connect::EARLY_DISCONNECT,
    connect::CLIENT_GOODBYE,
    connect::BROKER_GOODBYE,
    error::CLIENT_FLAGS,
    error::BROKER_FLAGS,
    error::CLIENT_TYPE,
    error::BROKER_TYPE,
    error::CLIENT_LENGTH,
    error::BROKER_LENGTH,
    error::CLIENT_STRING,
    error::BROKER_STRING,
    error::CLIENT_ZERO_ID,
    error::BROKER_ZERO_ID,
    error::CLIENT_TOPIC,
    error::BROKER_TOPIC,
    error::CLIENT_PROPERTY,
    error::BROKER_PROPERTY,
    error::CLIENT_REASON,
    error::BROKER_REASON,
    error::CLIENT_CONNECT_FLAGS,
    error::CLIENT_SUBSCRIPTION,
    qos::CLIENT_ID_IN_USE,
    qos::BROKER_ID_IN_USE,
    qos::CLIENT_DUP_MISSING,
    qos::BROKER_DUP_MISSING,
    qos::CLIENT_DUP_FIRST,
    qos::BROKER_DUP_FIRST,
    qos::CLIENT_AGAIN,
    qos::BROKER_AGAIN,
    qos::CLIENT_AFTER_RELEASE,
    qos::BROKER_AFTER_RELEASE,
    qos::CLIENT_ACK_TYPE,
    qos::BROKER_ACK_TYPE,
    qos::CLIENT_ACK_UNASKED,
    qos::BROKER_ACK_UNASKED,
    qos::CLIENT_RELEASE,
    qos::BROKER_RELEASE,
    qos::ACK_ORDER,
    subscribe::ANSWER_ID,
    subscribe::ANSWER_COUNT,
    subscribe::GRANTED,
    subscribe::MATCHES,
    subscribe::DELIVERED,
    subscribe::RETAINED,
    subscribe::IDENTIFIER,
    subscribe::IDENTIFIER_MISSING,
    publish::CLIENT_ALIAS_LIMIT,
    publish::BROKER_ALIAS_LIMIT,
    publish::CLIENT_ALIAS_DECLARED,
    publish::BROKER_ALIAS_DECLARED,
    publish::CLIENT_IDENTIFIER,
    flow::CLIENT_PACKET_SIZE,
    flow::BROKER_PACKET_SIZE,
    flow::CLIENT_RECEIVE_MAXIMUM,
    flow::BROKER_RECEIVE_MAXIMUM,
    flow::CLIENT_MAXIMUM_QOS,
    flow::CLIENT_RETAIN,
    flow::CLIENT_UNAVAILABLE,
    flow::CLIENT_KEEP_ALIVE,
    flow::BROKER_KEEP_ALIVE,
    flow::WILL_LIMITS,
    property::PROBLEM_INFORMATION,
    property::RESPONSE_INFORMATION,
    property::ASSIGNED_ID,
    property::CLIENT_EMPTY_ID,
    property::BROKER_EMPTY_ID,
    property::CLIENT_EXPIRY,
    property::BROKER_EXPIRY,
    property::CLIENT_CODES,
    property::BROKER_CODES,
    property::CLIENT_METHOD,
    property::BROKER_METHOD,
    property::CLIENT_WAITS,
    session::SESSION_ENDED,
    session::SESSION_KEPT,
];

/// The check of this name.
pub fn find(name: &str) -> Option<&'static CheckSpec> {
    CHECKS.iter().find(|check| check.name == name)
}

/// A packet that breaks a rule.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The check that found it.
    pub check: &'static CheckSpec,
    /// Of which standard the statements are.
    pub standard: Standard,
    /// The statements that are broken, as far as they can be told apart.
    pub statements: Vec<&'static str>,
    /// One sentence: what is wrong.
    pub sentence: String,
    /// On which connection, as [`Exchange::opened`] named it.
    pub conn: u32,
    /// The packet in notation, secrets hidden.
    pub line: String,
    /// When: seconds on the clock of whoever told.
    pub at: f64,
}

impl Violation {
    /// Who broke the rule.
    pub fn by(&self) -> Party {
        self.check.binds
    }
}

impl fmt::Display for Violation {
    /// `CONNACK twice on one connection [MQTT-3.2.0-2]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.sentence, self.statements.join("] ["))
    }
}
