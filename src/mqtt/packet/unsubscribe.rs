//! UNSUBSCRIBE and UNSUBACK (3.10, 3.11).

use crate::mqtt::{PacketId, Properties, ReasonCode, TopicFilter};

/// An UNSUBSCRIBE packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Answered by the UNSUBACK with the same identifier.
    pub id: PacketId,
    /// Only in 5.0.
    pub properties: Properties,
    /// At least one.
    pub filters: Vec<TopicFilter>,
}

/// An UNSUBACK packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// Identifier of the UNSUBSCRIBE.
    pub id: PacketId,
    /// Only in 5.0.
    pub properties: Properties,
    /// One a filter in 5.0, empty before.
    pub codes: Vec<ReasonCode>,
}
