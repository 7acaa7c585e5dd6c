//! What can be wrong with a peer's bytes, with the rule that they break.
//!
//! Says what is wrong and which reason code tells the peer so; whether anything is sent is the
//! business of whoever holds the connection.

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
    /// The revision in force, if it was known. In a CONNECT: the one that it announces; 3.1.1 where
    /// that is none, but older than 5.0.
    pub version: Option<ProtocolVersion>,
    /// What was found, for people, with the statement behind it in brackets.
    pub detail: String,
    /// Id of the broken statement in `version` (3.1.1's where the revision is not known);
    /// `None` for 3.1, whose rules have no ids.
    pub statement: Option<&'static str>,
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
    /// Ends before its fields do.
    Truncated,
    /// Bytes after the last field.
    TrailingBytes,
    /// Not UTF-8, a surrogate, or U+0000.
    BadString,
    /// Packet identifier 0.
    ZeroPacketId,
    /// Not a topic name or not a topic filter.
    BadTopic,
    /// A 5.0 PUBLISH with neither a topic nor an alias for one.
    NoTopic,
    /// Topic alias 0.
    BadTopicAlias,
    /// A property identifier that the standard does not have.
    UnknownProperty,
    /// A property where it may not stand.
    MisplacedProperty,
    /// A property twice that may stand once.
    DuplicateProperty,
    /// A property with a value that it may not have.
    BadProperty,
    /// A property that another one or the packet demands is not there.
    MissingProperty,
    /// A reason code that this packet cannot carry.
    BadReasonCode,
    /// Protocol name that is not `MQTT` or `MQIsdp`.
    BadProtocolName,
    /// Protocol level that no revision has.
    UnsupportedVersion,
    /// Connect flags that contradict each other, or the reserved bit.
    BadConnectFlags,
    /// Reserved bits in subscription options.
    BadSubscriptionOptions,
    /// Subscription options that say something forbidden: QoS 3, Retain Handling 3, No Local on a
    /// shared subscription.
    BadSubscriptionValue,
    /// No filter in SUBSCRIBE or UNSUBSCRIBE.
    NoFilters,
    /// A packet before CONNECT.
    NotConnect,
}

impl DecodeErrorKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 24] = [
        Self::ReservedType,
        Self::BadFlags,
        Self::BadLength,
        Self::TooLarge,
        Self::Truncated,
        Self::TrailingBytes,
        Self::BadString,
        Self::ZeroPacketId,
        Self::BadTopic,
        Self::NoTopic,
        Self::BadTopicAlias,
        Self::UnknownProperty,
        Self::MisplacedProperty,
        Self::DuplicateProperty,
        Self::BadProperty,
        Self::MissingProperty,
        Self::BadReasonCode,
        Self::BadProtocolName,
        Self::UnsupportedVersion,
        Self::BadConnectFlags,
        Self::BadSubscriptionOptions,
        Self::BadSubscriptionValue,
        Self::NoFilters,
        Self::NotConnect,
    ];
}

impl DecodeError {
    /// The 5.0 reason code that tells the peer (Malformed Packet, Protocol Error, …).
    ///
    /// Malformed is what cannot be taken apart (1.2 of MQTT 5.0), and what the text calls so;
    /// a Protocol Error was taken apart and says what it may not.
    pub fn reason(&self) -> ReasonCode {
        use DecodeErrorKind as Kind;
        match self.kind {
            Kind::TooLarge => ReasonCode::PACKET_TOO_LARGE,
            // [MQTT-3.1.2-1], [MQTT-3.1.2-2]
            Kind::UnsupportedVersion | Kind::BadProtocolName => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            Kind::BadTopicAlias => ReasonCode::TOPIC_ALIAS_INVALID,
            Kind::NotConnect
            | Kind::NoFilters
            | Kind::ZeroPacketId
            | Kind::NoTopic
            | Kind::DuplicateProperty
            | Kind::BadProperty
            | Kind::MissingProperty
            | Kind::BadReasonCode
            | Kind::BadSubscriptionValue => ReasonCode::PROTOCOL_ERROR,
            Kind::ReservedType
            | Kind::BadFlags
            | Kind::BadLength
            | Kind::Truncated
            | Kind::TrailingBytes
            | Kind::BadString
            | Kind::BadTopic
            | Kind::UnknownProperty
            | Kind::MisplacedProperty
            | Kind::BadConnectFlags
            | Kind::BadSubscriptionOptions => ReasonCode::MALFORMED_PACKET,
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

/// The statement that a rule is, in 3.1.1 and in 5.0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule(pub &'static str, pub &'static str);

impl Rule {
    /// What holds wherever nothing more special does: a violation ends the connection.
    pub(super) const VIOLATION: Self = Self("MQTT-4.8.0-1", "MQTT-4.13.1-1");
    /// A rule that only 5.0 has.
    pub(super) const fn v5(id: &'static str) -> Self {
        Self("MQTT-4.8.0-1", id)
    }
}

/// A broken rule before it is known which packet it stands in.
#[derive(Debug)]
pub(super) struct Fault {
    kind: DecodeErrorKind,
    rule: Rule,
    detail: String,
}

impl Fault {
    pub(super) fn new(kind: DecodeErrorKind, rule: Rule, detail: impl Into<String>) -> Self {
        Self { kind, rule, detail: detail.into() }
    }

    /// Says where it was found.
    pub(super) fn at(self, packet: Option<PacketType>, version: Option<ProtocolVersion>) -> DecodeError {
        let statement = match version {
            Some(ProtocolVersion::V5) => Some(self.rule.1),
            Some(ProtocolVersion::V31) => None,
            Some(ProtocolVersion::V311) | None => Some(self.rule.0),
        };
        let mut detail = self.detail;
        if let Some(id) = statement {
            detail.push_str(" [");
            detail.push_str(id);
            detail.push(']');
        }
        DecodeError { kind: self.kind, packet, version, detail, statement }
    }
}
