//! TLS connections as event logs have them, below the packets: records of both directions as they were on
//! the wire, the ends of the connection, and keys where somebody asked for those by name.
//!
//! Without keys nothing in here says what was sent.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::event::hex_digits;

/// Something about a TLS connection of one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsEvent {
    /// The client's name in the scenario.
    pub client: String,
    /// Which of the case's connections, from 1 on, numbered as those of packets are.
    pub conn: u32,
    /// What.
    #[serde(flatten)]
    pub seen: TlsSeen,
}

/// What was seen of a TLS connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "snake_case")]
pub enum TlsSeen {
    /// TCP is there, TLS begins.
    Opened {
        /// What was dialled: `127.0.0.1:8883`.
        address: String,
        /// The name that the certificate must have.
        server_name: String,
        /// A WebSocket comes within, and not MQTT at once.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        websocket: bool,
    },
    /// Some bytes; records of TLS may begin and end anywhere in them.
    Bytes {
        /// Who sent them.
        from: TlsEnd,
        /// As they were on the wire.
        #[serde(with = "hex_digits")]
        bytes: Bytes,
    },
    /// One end sends no more.
    Closed {
        /// Which.
        by: TlsEnd,
    },
    /// The connection was reset.
    Reset {
        /// By which end.
        by: TlsEnd,
    },
    /// A key, for who reads the records.
    Key {
        /// As a line of an `SSLKEYLOGFILE`, without its end.
        line: String,
    },
    /// What follows on this connection is not in this log: it is too much.
    Cut,
}

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsEnd {
    /// The client.
    Client,
    /// The broker.
    Broker,
}

/// True for a key that opens a handshake of TLS 1.3 (certificates and alerts) and nothing that was sent
/// after it. TLS 1.2 has no such keys: it hides no more of a handshake than its last messages.
pub fn opens_handshake_alone(key: &str) -> bool {
    matches!(
        key.split(' ').next(),
        Some("CLIENT_HANDSHAKE_TRAFFIC_SECRET" | "SERVER_HANDSHAKE_TRAFFIC_SECRET")
    )
}
