//! The MQTT protocol as data: packets, properties, reason codes, topics, and the codec between
//! them and bytes, for MQTT 3.1, 3.1.1 and 5.0.
//!
//! Pure: nothing here reads a socket, a clock or a file. There are no v3 and v5 copies of
//! anything: the version is a field of the codec and of CONNECT, and a packet of an older version
//! simply has no properties.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod codec;
pub mod notation;
pub mod packet;
pub mod property;
pub mod raw;
pub mod reason;
pub mod topic;

use std::fmt;
use std::num::NonZeroU16;

pub use packet::Packet;
pub use property::{Properties, Property};
pub use reason::ReasonCode;
pub use topic::{TopicFilter, TopicName};

/// The protocol revision that a connection speaks, fixed by its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ProtocolVersion {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1: protocol name `MQTT`, level 4.
    #[default]
    V311,
    /// MQTT 5.0: protocol name `MQTT`, level 5.
    V5,
}

impl ProtocolVersion {
    /// All revisions, oldest first.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// The protocol level byte of CONNECT (3, 4 or 5).
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// The protocol name string of CONNECT.
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// True for MQTT 5.0, the only revision with properties and reason codes.
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }

    /// Reads `3.1`, `3.1.1`, `5`, `5.0` and mosquitto's spellings (`mqttv311`, `311`, …).
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("mqttv").unwrap_or(text).trim_start_matches('v') {
            "3.1" | "31" => Some(Self::V31),
            "3.1.1" | "311" => Some(Self::V311),
            "5" | "5.0" | "50" => Some(Self::V5),
            _ => None,
        }
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        })
    }
}

/// Quality of service of a publication or the most that a subscription grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum QoS {
    /// At most once: no acknowledgement.
    #[default]
    AtMostOnce = 0,
    /// At least once: PUBACK.
    AtLeastOnce = 1,
    /// Exactly once: PUBREC, PUBREL, PUBCOMP.
    ExactlyOnce = 2,
}

impl QoS {
    /// The number that travels in the packet; 3 and more are not a QoS.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The number that travels in the packet.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for QoS {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_u8())
    }
}

/// A packet identifier: 1 to 65,535, never zero `[MQTT-2.3.1-1]` (3.1.1), `[MQTT-2.2.1-3]` (5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The smallest identifier.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// `None` for zero.
    pub const fn new(value: u16) -> Option<Self> {
        match NonZeroU16::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The identifier after this one; 65,535 is followed by 1.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(value) => Self(value),
            None => Self::FIRST,
        }
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
