//! The fifteen control packets (chapter 3 of the standard) as plain data.
//!
//! A value of these types is well-formed as far as its types go (identifiers are not zero, topics
//! are valid); whether it may be sent *now* is the business of whoever sends it. Packets that
//! break the format on purpose are made by [`super::raw`].

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod publish;
mod subscribe;
mod unsubscribe;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, Will};
pub use disconnect::Disconnect;
pub use publish::Publish;
pub use subscribe::{RetainHandling, SubAck, Subscribe, Subscription, SubscriptionOptions};
pub use unsubscribe::{UnsubAck, Unsubscribe};

/// One MQTT control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Client asks to be let in (3.1).
    Connect(Box<Connect>),
    /// Server's answer (3.2).
    ConnAck(ConnAck),
    /// An application message (3.3).
    Publish(Publish),
    /// QoS 1 receipt (3.4).
    PubAck(Ack),
    /// QoS 2 receipt, part 1 (3.5).
    PubRec(Ack),
    /// QoS 2 release, part 2 (3.6).
    PubRel(Ack),
    /// QoS 2 complete, part 3 (3.7).
    PubComp(Ack),
    /// Client wants messages (3.8).
    Subscribe(Subscribe),
    /// Server's answer, one code a filter (3.9).
    SubAck(SubAck),
    /// Client no longer wants them (3.10).
    Unsubscribe(Unsubscribe),
    /// Server's answer; codes only in 5.0 (3.11).
    UnsubAck(UnsubAck),
    /// Client asks for a sign of life (3.12).
    PingReq,
    /// Server's sign of life (3.13).
    PingResp,
    /// Goodbye; from a server only in 5.0 (3.14).
    Disconnect(Disconnect),
    /// A step of enhanced authentication, only 5.0 (3.15).
    Auth(Auth),
}

/// The packet type: the upper four bits of the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is named and explained at Packet")]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// All types in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::ConnAck,
        Self::Publish,
        Self::PubAck,
        Self::PubRec,
        Self::PubRel,
        Self::PubComp,
        Self::Subscribe,
        Self::SubAck,
        Self::Unsubscribe,
        Self::UnsubAck,
        Self::PingReq,
        Self::PingResp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// The type with this number; 0 is forbidden.
    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.get(usize::from(value.wrapping_sub(1))).copied()
    }

    /// The standard's name, in capitals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

impl Packet {
    /// Which of the fifteen this is.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}
