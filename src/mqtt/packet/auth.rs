//! AUTH (3.15): a step of enhanced authentication, 5.0 only.

use crate::mqtt::{Properties, ReasonCode};

/// An AUTH packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// `SUCCESS`, `CONTINUE_AUTHENTICATION` or `REAUTHENTICATE`.
    pub reason: ReasonCode,
    /// Authentication method and data, reason string, user properties.
    pub properties: Properties,
}
