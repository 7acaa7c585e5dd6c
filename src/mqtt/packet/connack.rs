//! CONNACK (3.2): the server's answer to CONNECT.

use crate::mqtt::{Properties, ReasonCode};

/// A CONNACK packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnAck {
    /// The server had a session of this client and goes on with it.
    pub session_present: bool,
    /// 3.1 and 3.1.1: the return code 0 to 5. 5.0: a reason code.
    pub code: ReasonCode,
    /// Only in 5.0.
    pub properties: Properties,
}
