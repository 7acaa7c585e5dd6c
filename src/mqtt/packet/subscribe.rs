//! SUBSCRIBE and SUBACK (3.8, 3.9).

use crate::mqtt::{PacketId, Properties, QoS, ReasonCode, TopicFilter};

/// A SUBSCRIBE packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Answered by the SUBACK with the same identifier.
    pub id: PacketId,
    /// Only in 5.0.
    pub properties: Properties,
    /// At least one.
    pub subscriptions: Vec<Subscription>,
}

/// One filter of a SUBSCRIBE with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Which topics.
    pub filter: TopicFilter,
    /// How.
    pub options: SubscriptionOptions,
}

/// The options byte behind a filter; before 5.0 only `qos`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscriptionOptions {
    /// The most that the subscriber wants.
    pub qos: QoS,
    /// Do not send me what I published myself.
    pub no_local: bool,
    /// Leave the retain flag as the publisher set it.
    pub retain_as_published: bool,
    /// Which retained messages to send now.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent for a subscription (3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE.
    #[default]
    Send = 0,
    /// Only if the subscription did not exist.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// A SUBACK packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// Identifier of the SUBSCRIBE.
    pub id: PacketId,
    /// Only in 5.0.
    pub properties: Properties,
    /// One a filter, in order: granted QoS or failure (0x80 and up).
    pub codes: Vec<ReasonCode>,
}
