//! CONNECT (3.1): the first packet of every connection, and the will that it carries.

use bytes::Bytes;
use bytestring::ByteString;

use crate::mqtt::{Properties, ProtocolVersion, QoS, TopicName};

/// A CONNECT packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connect {
    /// Revision, from protocol name and level.
    pub version: ProtocolVersion,
    /// The 0x80 bit of the protocol level: mosquitto's mark of a bridge connection.
    pub bridge: bool,
    /// Clean Session (3.1, 3.1.1) or Clean Start (5.0).
    pub clean_start: bool,
    /// Seconds; 0 turns the mechanism off.
    pub keep_alive: u16,
    /// May be empty: the server then invents one, where the version lets it.
    pub client_id: ByteString,
    /// What the server publishes when the client vanishes.
    pub will: Option<Will>,
    /// User name, if the flag is set; may be empty.
    pub username: Option<ByteString>,
    /// Password bytes, if the flag is set.
    pub password: Option<Bytes>,
    /// Only in 5.0.
    pub properties: Properties,
}

/// The will message of a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where it is published.
    pub topic: TopicName,
    /// What is published.
    pub payload: Bytes,
    /// With which quality of service.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// Will properties, only in 5.0.
    pub properties: Properties,
}
