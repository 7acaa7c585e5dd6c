//! What can be wrong with a peer's bytes, with the rule that they break.

use std::fmt;

use crate::mqtt::packet::PacketType;
use crate::mqtt::{ProtocolVersion, ReasonCode};

/// A packet that breaks the format. The connection is lost: the next packet cannot be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// Which rule.
    pub kind: DecodeErrorKind,
    /// In which packet, as far as the first byte told.
    pub packet: Option<PacketType>,
    /// The revision in force, if it was known. In a CONNECT: the one that it announces.
    pub version: Option<ProtocolVersion>,
    /// What was found, for people.
    pub detail: String,
}

/// The rule that a packet breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecodeErrorKind {
    /// Packet type 0, or AUTH before 5.0.
    ReservedType,
    /// Flags of the fixed header that are not as the type demands; QoS 3; DUP with QoS 0.
    BadFlags,
    /// A variable byte integer of five bytes, or (5.0) one longer than it needs to be.
    BadLength,
    /// Larger than the limit of this decoder.
    TooLarge,
    /// Ends before its fields do, or has bytes left over.
    Truncated,
    /// Bytes after the last field.
    TrailingBytes,
    /// Not UTF-8, a surrogate, or U+0000.
    BadString,
    /// Packet identifier 0.
    ZeroPacketId,
    /// Not a topic name or not a topic filter.
    BadTopic,
    /// Property that is unknown, misplaced, repeated, or of a forbidden value.
    BadProperty,
    /// A reason code that this packet cannot carry.
    BadReasonCode,
    /// Protocol name that is not `MQTT` or `MQIsdp`.
    BadProtocolName,
    /// Protocol level that no revision has.
    UnsupportedVersion,
    /// Connect flags that contradict each other, or the reserved bit.
    BadConnectFlags,
    /// Reserved bits or QoS 3 in subscription options.
    BadSubscriptionOptions,
    /// No filter in SUBSCRIBE or UNSUBSCRIBE.
    NoFilters,
    /// A packet before CONNECT.
    NotConnect,
}

impl DecodeError {
    /// The 5.0 reason code that tells the peer (Malformed Packet, Protocol Error, …).
    pub fn reason(&self) -> ReasonCode {
        match self.kind {
            DecodeErrorKind::TooLarge => ReasonCode::PACKET_TOO_LARGE,
            DecodeErrorKind::UnsupportedVersion => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            DecodeErrorKind::NotConnect | DecodeErrorKind::NoFilters => ReasonCode::PROTOCOL_ERROR,
            DecodeErrorKind::BadProperty => ReasonCode::PROTOCOL_ERROR,
            _ => ReasonCode::MALFORMED_PACKET,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.packet.map_or("packet", PacketType::name);
        write!(f, "malformed {name}: {}", self.detail)
    }
}

impl std::error::Error for DecodeError {}
