//! PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7): one shape, four meanings.

use crate::mqtt::{PacketId, Properties, ReasonCode};

/// The body of a PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Identifier of the PUBLISH that this belongs to.
    pub id: PacketId,
    /// Only on the wire in 5.0; `SUCCESS` before.
    pub reason: ReasonCode,
    /// Only in 5.0.
    pub properties: Properties,
}

impl Ack {
    /// A positive acknowledgement.
    pub fn success(id: PacketId) -> Self {
        Self::with_reason(id, ReasonCode::SUCCESS)
    }

    /// An acknowledgement with a reason and no properties.
    pub fn with_reason(id: PacketId, reason: ReasonCode) -> Self {
        Self { id, reason, properties: Properties::new() }
    }
}
