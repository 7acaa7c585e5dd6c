//! The event log: one line of JSON an event, in the order in which things happened.

use serde::{Deserialize, Serialize};

use super::verdict::{CaseId, CaseInfo, Outcome};

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
#[expect(clippy::large_enum_variant, reason = "most events are the large ones")]
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
    },
    /// A case begins.
    CaseStarted {
        /// Which.
        case: CaseInfo,
    },
    /// A packet or connection event on a client's wire.
    Wire {
        /// In which case (row left out).
        case: CaseId,
        /// What was seen.
        #[serde(flatten)]
        wire: WireEvent,
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
    /// The last event; missing when the run was cut short.
    RunFinished {
        /// Wall-clock seconds of the whole run.
        seconds: f64,
        /// False when not all cases ran (interrupted, budget).
        complete: bool,
    },
}

/// Which way a packet went, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireSide {
    /// Client to broker: `>`.
    Sent,
    /// Broker to client: `<`.
    Received,
    /// Opened, closed, reset: `*`.
    Link,
}

/// A packet or connection event of one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireEvent {
    /// The client's name in the scenario.
    pub client: String,
    /// Direction.
    pub side: WireSide,
    /// In notation: `PUBLISH a "x" qos=1 id=1`, `close`, `hex 10 0c …`. Secrets redacted.
    pub line: String,
}

impl WireEvent {
    /// `bob > PUBLISH …`
    pub fn print(&self) -> String {
        let arrow = match self.side {
            WireSide::Sent => '>',
            WireSide::Received => '<',
            WireSide::Link => '*',
        };
        format!("{} {arrow} {}", self.client, self.line)
    }
}
