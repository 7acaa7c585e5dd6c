//! DISCONNECT (3.14): goodbye, with a reason in 5.0.

use crate::mqtt::{Properties, ReasonCode};

/// A DISCONNECT packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disconnect {
    /// `SUCCESS` (normal disconnection) before 5.0.
    pub reason: ReasonCode,
    /// Only in 5.0.
    pub properties: Properties,
}

impl Disconnect {
    /// A goodbye with a reason and no properties.
    pub fn with_reason(reason: ReasonCode) -> Self {
        Self { reason, properties: Properties::new() }
    }
}
