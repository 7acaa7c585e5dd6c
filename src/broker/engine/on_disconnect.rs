//! The end of connections and sessions (3.14, 4.1, 4.13): DISCONNECT, errors, losses, and what
//! becomes of the will (3.1.2.5).

use std::sync::Arc;
use std::time::Instant;

use crate::broker::auth::Access;
use crate::broker::config::Compat;
use crate::broker::log::LogTypes;
use crate::mqtt::codec::{DecodeError, DecodeErrorKind};
use crate::mqtt::packet::{ConnAck, Disconnect, PacketType, Will};
use crate::mqtt::{Packet, Properties, ProtocolVersion, ReasonCode};
use crate::text::escape;

use super::connection::State;
use super::deadline::Timer;
use super::journal::Record;
use super::limits::{CLOSE_GRACE, FILTERS_A_TURN};
use super::phrases::{self, Ending};
use super::publication::after;
use super::session::{Identity, Lifetime, SessionId};
use super::stats::Limit;
use super::{ConnId, Engine, will};

impl Engine {
    pub(super) fn on_disconnect(
        &mut self,
        conn: ConnId,
        session: SessionId,
        packet: &Disconnect,
        now: Instant,
    ) {
        self.debug(session, |id| format!("Received DISCONNECT from {id}"));
        if let Some(secs) = packet.properties.session_expiry_interval() {
            let lifetime = self.capped(Lifetime::from_secs(secs));
            let Some(session) = self.sessions.get_mut(session) else { return };
            // [U5-3.14.2-2], [U5-3.14.2-3] of 5.0
            if session.asked_lifetime == Lifetime::Connection && secs > 0 {
                self.close(conn, &Ending::Protocol(ReasonCode::PROTOCOL_ERROR), now);
                return;
            }
            session.lifetime = lifetime;
        }
        self.close(conn, &Ending::Goodbye(packet.reason), now);
    }

    /// Whatever is wrong with the bytes: the connection ends. [MQTT-4.8.0-1] 5: [MQTT-4.13.1-1],
    /// [U5-4.13.1-1]
    pub(super) fn on_malformed(&mut self, conn: ConnId, error: &DecodeError, now: Instant) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let reason = error.reason();
        let ending = match error.kind {
            DecodeErrorKind::TooLarge => {
                self.stats.refused.add(Limit::PacketSize);
                Ending::Oversize
            }
            // mosquitto reads the type first and knows no such packet.
            DecodeErrorKind::ReservedType => Ending::Protocol(reason),
            // Whatever is wrong with a second CONNECT, it is one. [MQTT-3.1.0-2]
            _ if error.packet == Some(PacketType::Connect) && connection.state != State::Fresh => {
                Ending::Protocol(ReasonCode::PROTOCOL_ERROR)
            }
            _ if reason == ReasonCode::PROTOCOL_ERROR => Ending::Protocol(reason),
            _ => Ending::Malformed(reason),
        };
        if connection.state != State::Fresh {
            self.close(conn, &ending, now);
            return;
        }
        let v21 = self.config.compat == Compat::V21;
        let refusal = |code| Packet::ConnAck(ConnAck { code, ..ConnAck::default() });
        if error.kind == DecodeErrorKind::UnsupportedVersion {
            // [MQTT-3.1.2-2]. mosquitto 2.1 answers all in 5.0, which older clients cannot read.
            let (version, code) = if v21 && error.version.is_none() {
                (ProtocolVersion::V5, reason)
            } else {
                (ProtocolVersion::V311, ReasonCode::V3_UNACCEPTABLE_PROTOCOL)
            };
            connection.version = Some(version);
            connection.send(refusal(code));
            self.close(conn, &Ending::Refused(reason), now);
            return;
        }
        // Before 5.0 a CONNECT that breaks the format gets no answer. [MQTT-3.1.4-1]
        let is_connect = error.packet == Some(PacketType::Connect);
        if v21 && is_connect && error.version == Some(ProtocolVersion::V5) {
            connection.version = Some(ProtocolVersion::V5);
            connection.send(refusal(reason));
        }
        self.close(conn, &ending, now);
    }

    /// Ends a connection: says so in the log, to a 5.0 client, and to its session. What waits is
    /// written, nothing is added, and the transport is closed behind it.
    /// 5: [MQTT-3.14.4-1], [MQTT-3.14.4-2], [MQTT-4.13.2-1]
    pub(super) fn close(&mut self, conn: ConnId, ending: &Ending, now: Instant) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let session = connection.session();
        if connection.state == State::Closing {
            return;
        }
        connection.state = State::Closing;
        connection.begun = None;
        let client_id = session.and_then(|id| self.sessions.get(id)).map(|it| it.identity.client_id.clone());
        let (kind, line) = phrases::ended(self.config.compat, ending, client_id.as_deref(), &connection.peer);
        if !connection.peer.bridge {
            self.outputs.log_connection(kind, || line);
        }
        connection.outbox.forget_stored();
        // [U311-3.14-1] 5: [MQTT-3.14.0-1], [MQTT-3.14.2-2], [U5-4.13.1-1]
        if session.is_some() && connection.version == Some(ProtocolVersion::V5) {
            let told = match ending {
                Ending::TakenOver if self.config.compat == Compat::V20 => None,
                _ => ending.disconnect_reason(),
            };
            if let Some(reason) = told {
                connection.send(Packet::Disconnect(Disconnect { reason, properties: Properties::new() }));
            }
        }
        self.outputs.wake(conn, connection);
        self.deadlines.set(Timer::Connection(conn), now + CLOSE_GRACE);
        if let Some(session) = session {
            self.stats.clients_connected -= 1;
            // [MQTT-3.1.2-10], [MQTT-3.14.4-3]
            let keeps_will = !matches!(ending, Ending::Goodbye(ReasonCode::SUCCESS));
            self.detach(session, keeps_will, now);
        }
    }

    /// Ends a connection that sent nothing yet, without a word to it.
    pub(super) fn drop_connection(&mut self, conn: ConnId, now: Instant) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.state = State::Closing;
        self.outputs.wake(conn, connection);
        self.deadlines.set(Timer::Connection(conn), now + CLOSE_GRACE);
    }

    /// Forgets a connection, and what waited for it.
    pub(super) fn remove_connection(&mut self, conn: ConnId) {
        if let Some(mut connection) = self.connections.remove(conn) {
            connection.outbox.clear();
            connection.outbox.settle(&mut self.backlog);
        }
    }

    /// A session whose connection has ended. [MQTT-4.1.0-1], [MQTT-4.1.0-2] 5: [MQTT-4.1.0-1]
    fn detach(&mut self, id: SessionId, keeps_will: bool, now: Instant) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.conn = None;
        session.inflight.rewind();
        let key = session.key;
        if !keeps_will && session.will.take().is_some() {
            self.journal.add(|| Record::WillGone(key));
        }
        let delay = session.will.as_deref().map(will::delay);
        let ends = match session.lifetime {
            Lifetime::Connection => return self.end_session(id, now),
            Lifetime::Secs(secs) => Some(after(now, secs)),
            Lifetime::Forever => None,
        };
        if let Some(at) = ends {
            self.deadlines.set(Timer::Session(id), at);
        }
        self.record_absence(id, ends);
        match delay {
            None => {}
            // [MQTT-3.1.2-8] 5: [MQTT-3.1.2-8]
            Some(0) => self.release_will(id, now),
            // [MQTT-3.1.2-8] of 5.0; if the session ends first, that releases it.
            Some(secs) => {
                self.journal.add(|| Record::WillDue(key, after(now, secs)));
                self.deadlines.set(Timer::Will(id), after(now, secs));
            }
        }
    }

    /// The session is over: nothing of it is left but its will, which goes out now. Messages that
    /// waited go to nobody else, and what it retained stays. [MQTT-3.1.2-7] 5: [MQTT-4.8.2-5]
    pub(super) fn end_session(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.remove(id) else { return };
        self.journal.pen(session.journal_key()).add(Record::SessionEnded);
        self.ended_subscriptions.push_back((id, session.subscriptions));
        self.forget_subscriptions(now);
        self.deadlines.cancel(&Timer::Session(id));
        self.deadlines.cancel(&Timer::Will(id));
        if let Some(will) = session.will {
            self.journal.add(|| Record::WillGone(session.key));
            self.publish_will(&session.identity, *will, id, now);
        }
    }

    /// Takes subscriptions of sessions that have ended out of the tree, as many as in one go. Nobody is
    /// behind those that still stand there.
    pub(super) fn forget_subscriptions(&mut self, now: Instant) {
        let mut left = FILTERS_A_TURN;
        while let Some((id, subscriptions)) = self.ended_subscriptions.front_mut() {
            while let Some((filter, _)) = subscriptions.pop_first() {
                self.subscriptions.remove(*id, &filter);
                left -= 1;
                if left == 0 {
                    return self.deadlines.set(Timer::Subscriptions, now);
                }
            }
            self.ended_subscriptions.pop_front();
        }
    }

    /// The server ends: all wills go out as in mosquitto, while there is somebody to get them. One
    /// with a delay goes on waiting after the restart if its session does.
    pub(super) fn release_wills(&mut self, now: Instant) {
        for id in self.sessions.ids() {
            let Some(session) = self.sessions.get(id) else { continue };
            let Some(will) = session.will.as_deref() else { continue };
            let lasts = self.journal.is_on() && session.lifetime != Lifetime::Connection;
            if will::delay(will) == 0 || !lasts {
                self.release_will(id, now);
            }
        }
    }

    /// The will of a client that has been away for its delay.
    pub(super) fn release_will(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(will) = session.will.take() else { return };
        let identity = Arc::clone(&session.identity);
        let key = session.key;
        self.journal.add(|| Record::WillGone(key));
        self.deadlines.cancel(&Timer::Will(id));
        self.publish_will(&identity, *will, id, now);
    }

    pub(super) fn publish_will(&mut self, who: &Arc<Identity>, will: Will, origin: SessionId, now: Instant) {
        let topic = will.topic.clone();
        let decision = self.rules.check(who.zone, who.subject(), topic.as_str(), Access::Write);
        if !decision.allowed {
            self.outputs
                .log(LogTypes::DENIED, || phrases::denied("will", topic.as_str(), who, None, decision));
            return;
        }
        let publish = will::into_publish(will);
        if self.lacks_room_for(&publish) {
            self.stats.publish_dropped += 1;
            return;
        }
        let source = publish.retain.then(|| Arc::clone(who));
        self.publish_for(publish, origin, source, now);
    }

    /// A debug line that names a client, made only if debug lines are logged.
    pub(super) fn debug(&mut self, session: SessionId, line: impl FnOnce(&str) -> String) {
        if self.outputs.logs(LogTypes::DEBUG) {
            let id = self.sessions.get(session).map(|it| escape(&it.identity.client_id)).unwrap_or_default();
            self.outputs.log(LogTypes::DEBUG, || line(&id));
        }
    }
}
