//! PUBLISH (3.3): an application message on its way.

use bytes::Bytes;

use crate::mqtt::{PacketId, Properties, QoS, TopicName};

/// A PUBLISH packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// This is a repeat of an earlier attempt.
    pub dup: bool,
    /// Quality of service of this hop.
    pub qos: QoS,
    /// To a server: store it. From a server: it was stored (or retain-as-published).
    pub retain: bool,
    /// Empty only in 5.0, where a topic alias stands in for it.
    pub topic: TopicName,
    /// Present exactly when `qos` is 1 or 2.
    pub id: Option<PacketId>,
    /// The application's bytes.
    pub payload: Bytes,
    /// Only in 5.0.
    pub properties: Properties,
}
