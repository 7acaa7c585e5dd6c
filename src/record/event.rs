//! The event log: one line of JSON an event, in the order in which things happened.

use std::fmt;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::tls::TlsEvent;
use super::verdict::{CaseId, CaseInfo, Excerpt, Outcome};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since the start of the run.
    pub at: f64,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The first event.
    RunStarted {
        /// Version of this program.
        mqttlab: String,
        /// What is tested: `bundled`, `mosquitto 2.0.11`, `mqtt://…`.
        target: String,
        /// Seed of all random choices.
        seed: u64,
        /// Cases to come, rows counted one by one.
        cases: usize,
        /// True when time was virtual.
        virtual_time: bool,
        /// Wall-clock time of the start as RFC 3339 has it, in UTC; empty in logs that do not say.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        started: String,
        /// What this run is the whole or a part of; logs of other programs have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<RunPlan>,
    },
    /// A case begins.
    CaseStarted {
        /// Which.
        case: CaseInfo,
        /// Its lines in the file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Excerpt>,
        /// What the statements say that it covers, in our words, by id.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        statements: BTreeMap<String, String>,
    },
    /// A packet or connection event on a client's wire.
    Wire {
        /// In which case (row left out).
        case: CaseId,
        /// What was seen.
        #[serde(flatten)]
        wire: WireEvent,
    },
    /// Something about a client's TLS connection, below its packets; only in logs for which it was asked.
    Tls {
        /// In which case (row left out).
        case: CaseId,
        /// What was seen.
        #[serde(flatten)]
        tls: TlsEvent,
    },
    /// A fence ends: round trips that show that nothing is under way any more.
    Fence {
        /// In which case.
        case: CaseId,
        /// When it began, seconds since the start of the run.
        since: f64,
        /// False if a control message did not arrive, so that nothing is shown.
        held: bool,
    },
    /// A line of the broker's log.
    BrokerLog {
        /// In which case.
        case: CaseId,
        /// The line.
        line: String,
    },
    /// Something about the run that a reader should know (order cannot be trusted, …).
    Note {
        /// One sentence.
        text: String,
    },
    /// A case ended; a table gives one for each row.
    CaseFinished {
        /// How.
        outcome: Outcome,
    },
    /// What a passive check made of all connections of the run.
    Checked {
        /// Its name.
        check: String,
        /// What must hold.
        rule: String,
        /// Protocol revision of the statements: `3.1.1`.
        protocol: String,
        /// What the statements say that it watches, in our words, by id.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        statements: BTreeMap<String, String>,
        /// Connections on which it looked at what its party sent.
        connections: u64,
        /// Cases (rows left out) in which it found the rule broken.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        broken: Vec<CaseId>,
    },
    /// The last event; missing when the run was cut short.
    RunFinished {
        /// Wall-clock seconds of the whole run.
        seconds: f64,
        /// False when not all cases ran (interrupted, budget).
        complete: bool,
    },
}

/// What was to be run, so that the parts of one run find each other again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunPlan {
    /// 16 hex digits that stand for the selected cases, their texts, the target and the options: equal in
    /// all parts of one run, different in any other.
    pub hash: String,
    /// Cases of the whole plan, rows counted one by one.
    pub cases: usize,
    /// Which part this is; `None`: the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// Arguments that the repeating command of a failure needs besides file and `--only`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub again: String,
}

/// A part of a run: `2/5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// Which, from 1 to `of`.
    pub index: usize,
    /// Of how many.
    pub of: usize,
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// Which way a packet went, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireSide {
    /// Client to broker: `>`.
    Sent,
    /// Broker to client: `<`.
    Received,
    /// The connection ended: closed, reset, or cut by an error: `*`.
    Link,
    /// A remark of the scenario or of the runner: `*`.
    Note,
}

/// A packet or connection event of one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireEvent {
    /// The client's name in the scenario.
    pub client: String,
    /// Which of the case's connections, from 1 in the order in which they were opened; 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conn: u32,
    /// Direction.
    pub side: WireSide,
    /// In notation: `PUBLISH a "x" qos=1 id=1`, `close`, `hex 10 0c …`. Secrets redacted.
    pub line: String,
    /// The packet as it was on the wire, secrets overwritten with asterisks; `None` where it is no
    /// packet, and where what is secret in it could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hexadecimal")]
    pub bytes: Option<Bytes>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(conn: &u32) -> bool {
    *conn == 0
}

/// Bytes as hex digits.
pub(super) mod hex_digits {
    use bytes::Bytes;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::text::{hex, parse_hex};

    pub fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex(bytes))
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Bytes, D::Error> {
        let digits = String::deserialize(from)?;
        let bytes = parse_hex(&digits).ok_or_else(|| D::Error::custom("these are no pairs of hex digits"))?;
        Ok(bytes.into())
    }
}

/// Bytes as hex digits, where there are any.
mod hexadecimal {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer};

    use super::hex_digits;

    #[expect(clippy::ref_option, reason = "as serde calls it")]
    pub fn serialize<S: Serializer>(bytes: &Option<Bytes>, to: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => hex_digits::serialize(bytes, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Bytes>, D::Error> {
        hex_digits::deserialize(from).map(Some)
    }
}

impl WireEvent {
    /// `bob > PUBLISH …`
    pub fn print(&self) -> String {
        let arrow = match self.side {
            WireSide::Sent => '>',
            WireSide::Received => '<',
            WireSide::Link | WireSide::Note => '*',
        };
        format!("{} {arrow} {}", self.client, self.line)
    }
}
