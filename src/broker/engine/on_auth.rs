//! AUTH (3.15, 4.12). There is no authentication method yet, so CONNECT refuses all of them and an
//! AUTH can only be a mistake.

use std::time::Instant;

use super::phrases::Ending;
use super::{ConnId, Engine};
use crate::mqtt::ReasonCode;

impl Engine {
    /// `[MQTT-4.12.0-7]` of 5.0
    pub(super) fn on_auth(&mut self, conn: ConnId, now: Instant) {
        self.close(conn, &Ending::Protocol(ReasonCode::PROTOCOL_ERROR), now);
    }
}
