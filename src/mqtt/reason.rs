//! Reason codes (2.4 of MQTT 5.0) and the return codes of 3.1.1, one byte with many names.
//!
//! A byte that no standard names can be held too: a broker under test may send one.

use std::fmt;

use super::packet::PacketType;

/// A reason code (5.0) or return code (3.1, 3.1.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReasonCode(pub u8);

/// One row of the standard's table: value, name, and the packets that may carry it.
struct Row {
    code: ReasonCode,
    name: &'static str,
    packets: &'static [PacketType],
}

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $konst:ident = $value:literal, $name:literal, [$($packet:ident),*];)*) => {
        impl ReasonCode {
            $($(#[$doc])* pub const $konst: Self = Self($value);)*
        }
        const TABLE: &[Row] = &[
            $(Row { code: ReasonCode::$konst, name: $name, packets: &[$(PacketType::$packet),*] },)*
        ];
    };
}

reason_codes! {
    /// It worked; in DISCONNECT a normal disconnection; in SUBACK granted QoS 0.
    SUCCESS = 0x00, "Success", [ConnAck, PubAck, PubRec, PubRel, PubComp, UnsubAck, Auth];
    /// DISCONNECT: close without the will.
    NORMAL_DISCONNECTION = 0x00, "Normal disconnection", [Disconnect];
    /// SUBACK: granted at QoS 0.
    GRANTED_QOS_0 = 0x00, "Granted QoS 0", [SubAck];
    /// SUBACK: granted at QoS 1.
    GRANTED_QOS_1 = 0x01, "Granted QoS 1", [SubAck];
    /// SUBACK: granted at QoS 2.
    GRANTED_QOS_2 = 0x02, "Granted QoS 2", [SubAck];
    /// DISCONNECT: close, and send the will all the same.
    DISCONNECT_WITH_WILL = 0x04, "Disconnect with Will Message", [Disconnect];
    /// Accepted, nobody subscribes.
    NO_MATCHING_SUBSCRIBERS = 0x10, "No matching subscribers", [PubAck, PubRec];
    /// UNSUBACK: there was none.
    NO_SUBSCRIPTION_EXISTED = 0x11, "No subscription existed", [UnsubAck];
    /// AUTH: another step.
    CONTINUE_AUTHENTICATION = 0x18, "Continue authentication", [Auth];
    /// AUTH: start again.
    REAUTHENTICATE = 0x19, "Re-authenticate", [Auth];
    /// Something else went wrong; the only failure of a 3.1.1 SUBACK.
    UNSPECIFIED_ERROR = 0x80, "Unspecified error", [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    /// Bytes that break the format.
    MALFORMED_PACKET = 0x81, "Malformed Packet", [ConnAck, Disconnect];
    /// Well-formed, but not allowed here.
    PROTOCOL_ERROR = 0x82, "Protocol Error", [ConnAck, Disconnect];
    /// Valid but refused by this implementation.
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83, "Implementation specific error", [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    /// The server does not speak this revision.
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "Unsupported Protocol Version", [ConnAck];
    /// Valid string, not a client identifier that the server takes.
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "Client Identifier not valid", [ConnAck];
    /// The server does not accept these credentials.
    BAD_USER_NAME_OR_PASSWORD = 0x86, "Bad User Name or Password", [ConnAck];
    /// The client may not do that.
    NOT_AUTHORIZED = 0x87, "Not authorized", [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    /// The server is not there.
    SERVER_UNAVAILABLE = 0x88, "Server unavailable", [ConnAck];
    /// The server has too much to do.
    SERVER_BUSY = 0x89, "Server busy", [ConnAck, Disconnect];
    /// This client was banned.
    BANNED = 0x8A, "Banned", [ConnAck];
    /// The server ends.
    SERVER_SHUTTING_DOWN = 0x8B, "Server shutting down", [Disconnect];
    /// Not the method that this connection uses, or one that is not supported.
    BAD_AUTHENTICATION_METHOD = 0x8C, "Bad authentication method", [ConnAck, Disconnect];
    /// Nothing came for 1.5 times the keep-alive.
    KEEP_ALIVE_TIMEOUT = 0x8D, "Keep Alive timeout", [Disconnect];
    /// Another connection uses this client identifier now.
    SESSION_TAKEN_OVER = 0x8E, "Session taken over", [Disconnect];
    /// Well-formed, but not accepted by this server.
    TOPIC_FILTER_INVALID = 0x8F, "Topic Filter invalid", [SubAck, UnsubAck, Disconnect];
    /// Well-formed, but not accepted by this server.
    TOPIC_NAME_INVALID = 0x90, "Topic Name invalid", [ConnAck, PubAck, PubRec, Disconnect];
    /// The identifier is in use.
    PACKET_IDENTIFIER_IN_USE = 0x91, "Packet identifier in use", [PubAck, PubRec, SubAck, UnsubAck];
    /// The identifier is not known.
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, "Packet Identifier not found", [PubRel, PubComp];
    /// More unacknowledged publications than allowed.
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "Receive Maximum exceeded", [Disconnect];
    /// Alias zero, too large, or never declared.
    TOPIC_ALIAS_INVALID = 0x94, "Topic Alias invalid", [Disconnect];
    /// Larger than allowed.
    PACKET_TOO_LARGE = 0x95, "Packet too large", [ConnAck, Disconnect];
    /// The client sends too fast.
    MESSAGE_RATE_TOO_HIGH = 0x96, "Message rate too high", [Disconnect];
    /// A limit of the server or of an administrator was hit.
    QUOTA_EXCEEDED = 0x97, "Quota exceeded", [ConnAck, PubAck, PubRec, SubAck, Disconnect];
    /// By an administrator's hand.
    ADMINISTRATIVE_ACTION = 0x98, "Administrative action", [Disconnect];
    /// Not what the payload format indicator says.
    PAYLOAD_FORMAT_INVALID = 0x99, "Payload format invalid", [ConnAck, PubAck, PubRec, Disconnect];
    /// This server has no retained messages.
    RETAIN_NOT_SUPPORTED = 0x9A, "Retain not supported", [ConnAck, Disconnect];
    /// More than the server's maximum QoS.
    QOS_NOT_SUPPORTED = 0x9B, "QoS not supported", [ConnAck, Disconnect];
    /// For now, use another server.
    USE_ANOTHER_SERVER = 0x9C, "Use another server", [ConnAck, Disconnect];
    /// For good, use another server.
    SERVER_MOVED = 0x9D, "Server moved", [ConnAck, Disconnect];
    /// This server has no shared subscriptions.
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, "Shared Subscriptions not supported", [SubAck, Disconnect];
    /// Connections come too fast.
    CONNECTION_RATE_EXCEEDED = 0x9F, "Connection rate exceeded", [ConnAck, Disconnect];
    /// Longer than is allowed for one connection.
    MAXIMUM_CONNECT_TIME = 0xA0, "Maximum connect time", [Disconnect];
    /// This server has no subscription identifiers.
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1, "Subscription Identifiers not supported", [SubAck, Disconnect];
    /// This server has no wildcard subscriptions.
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2, "Wildcard Subscriptions not supported", [SubAck, Disconnect];
}

/// Return codes of a 3.1 or 3.1.1 CONNACK (table 3.1 there).
impl ReasonCode {
    /// Refused: protocol level.
    pub const V3_UNACCEPTABLE_PROTOCOL: Self = Self(1);
    /// Refused: client identifier.
    pub const V3_IDENTIFIER_REJECTED: Self = Self(2);
    /// Refused: server unavailable.
    pub const V3_SERVER_UNAVAILABLE: Self = Self(3);
    /// Refused: bad user name or password.
    pub const V3_BAD_CREDENTIALS: Self = Self(4);
    /// Refused: not authorized.
    pub const V3_NOT_AUTHORIZED: Self = Self(5);

    /// True below 0x80. For a 3.x CONNACK compare with 0 instead.
    pub const fn is_success(self) -> bool {
        self.0 < 0x80
    }

    /// True when MQTT 5.0 lets `packet` carry this code. Whoever makes a packet takes its code from
    /// that list, and so do the tests when they decode what the broker sent.
    /// 5: `[MQTT-3.2.2-8]`, `[MQTT-3.4.2-1]`, `[MQTT-3.5.2-1]`, `[MQTT-3.6.2-1]`, `[MQTT-3.7.2-1]`,
    /// `[MQTT-3.9.3-2]`, `[MQTT-3.11.3-2]`, `[MQTT-3.14.2-1]`
    pub fn allowed_in(self, packet: PacketType) -> bool {
        TABLE.iter().any(|row| row.code == self && row.packets.contains(&packet))
    }

    /// The standard's name of this code in `packet`, or of the code alone, if it has one.
    pub fn name(self, packet: PacketType) -> Option<&'static str> {
        let named = |row: &&Row| row.code == self;
        TABLE
            .iter()
            .filter(named)
            .find(|row| row.packets.contains(&packet))
            .or_else(|| TABLE.iter().find(named))
            .map(|row| row.name)
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReasonCode({self})")
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02x}", self.0)
    }
}

impl From<u8> for ReasonCode {
    fn from(value: u8) -> Self {
        Self(value)
    }
}
