//! PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7, 4.3): the rest of QoS 1 and 2 after PUBLISH.

use std::time::Instant;

use crate::mqtt::packet::Ack;
use crate::mqtt::{Packet, QoS, ReasonCode};

use super::inflight::Stage;
use super::journal::Record;
use super::phrases::Ending;
use super::session::SessionId;
use super::{ConnId, Engine};

impl Engine {
    /// QoS 1 is done, whatever the reason says. [MQTT-4.3.2-1] 5: [MQTT-4.3.2-3], [MQTT-4.4.0-2],
    /// [MQTT-4.8.2-6], [U5-4.9-1]
    pub(super) fn on_puback(&mut self, conn: ConnId, id: SessionId, ack: &Ack, now: Instant) {
        self.debug(id, |id| format!("Received PUBACK from {id} (Mid: {}, RC:{})", ack.id, ack.reason.0));
        let Some(session) = self.sessions.get_mut(id) else { return };
        match session.inflight.stage(ack.id).map(Stage::qos) {
            Some(Some(QoS::AtLeastOnce)) => {
                session.inflight.remove(ack.id, &mut self.journal.pen(session.journal_key()));
                self.fill(id, now);
            }
            Some(_) => self.close(conn, &Ending::Protocol(ReasonCode::PROTOCOL_ERROR), now),
            None => {}
        }
    }

    /// QoS 2 is the client's; the identifier is released. [MQTT-4.3.3-1] 5: [MQTT-2.2.1-5],
    /// [MQTT-4.3.3-3], [MQTT-4.3.3-4], [MQTT-4.3.3-6]
    pub(super) fn on_pubrec(&mut self, conn: ConnId, id: SessionId, ack: &Ack, now: Instant) {
        self.debug(id, |id| format!("Received PUBREC from {id} (Mid: {})", ack.id));
        let Some(session) = self.sessions.get_mut(id) else { return };
        let reason = match session.inflight.stage(ack.id) {
            Some(Stage::Publish(delivery)) if delivery.qos != QoS::ExactlyOnce => {
                return self.close(conn, &Ending::Protocol(ReasonCode::PROTOCOL_ERROR), now);
            }
            Some(_) if !ack.reason.is_success() => {
                // [MQTT-4.4.0-2], [MQTT-4.8.2-6], [U5-4.9-1] of 5.0
                session.inflight.remove(ack.id, &mut self.journal.pen(session.journal_key()));
                return self.fill(id, now);
            }
            Some(_) => {
                session.inflight.release(ack.id, &mut self.journal.pen(session.journal_key()));
                ReasonCode::SUCCESS
            }
            // [MQTT-4.3.3-4] of 5.0: an error wants no PUBREL
            None if !ack.reason.is_success() => return,
            // [U5-3.6.2-1] of 5.0
            None => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        self.debug(id, |id| format!("Sending PUBREL to {id} (m{})", ack.id));
        self.send(conn, Packet::PubRel(Ack::with_reason(ack.id, reason)));
    }

    /// The client will not repeat this QoS 2 message any more. [MQTT-4.3.3-2] 5: [MQTT-4.3.3-11],
    /// [MQTT-4.3.3-12]
    pub(super) fn on_pubrel(&mut self, conn: ConnId, id: SessionId, ack: &Ack) {
        self.debug(id, |id| format!("Received PUBREL from {id} (Mid: {})", ack.id));
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.unreleased.remove(&ack.id);
        }
        let Some(session) = self.sessions.get_mut(id) else { return };
        let reason = if session.received.remove(&ack.id) {
            self.journal.pen(session.journal_key()).add(|key| Record::Finished(key, ack.id));
            ReasonCode::SUCCESS
        } else {
            // [U5-3.6.2-1] of 5.0
            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
        };
        self.debug(id, |id| format!("Sending PUBCOMP to {id} (m{})", ack.id));
        self.send(conn, Packet::PubComp(Ack::with_reason(ack.id, reason)));
    }

    /// QoS 2 is done. [MQTT-4.3.3-1] 5: [MQTT-4.3.3-5], [U5-4.9-1]
    pub(super) fn on_pubcomp(&mut self, conn: ConnId, id: SessionId, ack: &Ack, now: Instant) {
        self.debug(id, |id| format!("Received PUBCOMP from {id} (Mid: {}, RC:{})", ack.id, ack.reason.0));
        let Some(session) = self.sessions.get_mut(id) else { return };
        match session.inflight.stage(ack.id) {
            Some(Stage::Release) => {
                session.inflight.remove(ack.id, &mut self.journal.pen(session.journal_key()));
                self.fill(id, now);
            }
            Some(Stage::Publish(_)) => {
                self.close(conn, &Ending::Protocol(ReasonCode::PROTOCOL_ERROR), now);
            }
            None => {}
        }
    }
}
