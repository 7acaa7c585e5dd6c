//! PUBLISH from a client (3.3, 4.3): its rights, its acknowledgement, retaining it, passing it on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::auth::Access;
use crate::broker::log::LogTypes;
use crate::mqtt::packet::{Ack, Publish};
use crate::mqtt::{Packet, PacketId, QoS, ReasonCode};
use crate::text::escape;

use super::deadline::Timer;
use super::delivery::Reach;
use super::inside;
use super::journal::Record;
use super::limits::MAX_TOPIC_SEPARATORS;
use super::phrases::{self, Ending};
use super::publication::{Publication, owned};
use super::session::{Identity, SessionId};
use super::stats::Limit;
use super::{ConnId, Engine, mount};

impl Engine {
    pub(super) fn on_publish(&mut self, conn: ConnId, id: SessionId, mut publish: Publish, now: Instant) {
        self.stats.publish_received += 1;
        self.stats.publish_bytes_received += publish.payload.len() as u64;
        if let Err(ending) = self.check_publish(conn, &mut publish) {
            return self.close(conn, &ending, now);
        }
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(packet_id) = publish.id {
            let qos = publish.qos;
            // [MQTT-3.3.4-7], [U5-3.3.4-1] of 5.0
            if session.version.is_v5()
                && self.connections.get_mut(conn).is_none_or(|connection| !connection.begin(qos, packet_id))
            {
                let reason = ReasonCode::RECEIVE_MAXIMUM_EXCEEDED;
                return self.close(conn, &Ending::Protocol(reason), now);
            }
            // [MQTT-4.3.3-2] 5: [MQTT-4.3.3-10]
            if qos == QoS::ExactlyOnce && session.received.contains(&packet_id) {
                self.debug(id, |id| format!("Received PUBLISH from {id} {}", phrases::publish_in(&publish)));
                return self.acknowledge(conn, id, QoS::ExactlyOnce, packet_id, ReasonCode::SUCCESS);
            }
        }
        if self.lacks_room_for(&publish) {
            return self.drop_for_memory(conn, id, &publish, now);
        }
        let (qos, packet_id) = (publish.qos, publish.id);
        let mut reason = self.accept(conn, id, publish, now);
        if qos == QoS::ExactlyOnce && reason.is_success() {
            // The standard allows 0x10 in PUBREC; mosquitto says it in PUBACK only.
            reason = ReasonCode::SUCCESS;
        }
        let Some(packet_id) = packet_id else { return };
        let Some(session) = self.sessions.get_mut(id) else { return };
        // A refusal is told in 5.0 only; before, it looks like any other.
        // [MQTT-3.3.5-2] 5: [MQTT-4.3.3-9], [MQTT-4.3.3-10]
        if qos == QoS::ExactlyOnce && (reason.is_success() || !session.version.is_v5()) {
            session.received.insert(packet_id);
            self.journal.pen(session.journal_key()).add(|key| Record::Received(key, packet_id));
        } else if qos == QoS::ExactlyOnce
            && let Some(connection) = self.connections.get_mut(conn)
        {
            connection.unreleased.remove(&packet_id);
        }
        self.acknowledge(conn, id, qos, packet_id, reason);
    }

    /// What makes a PUBLISH a protocol error. Puts the topic in that an alias stands for.
    fn check_publish(&mut self, conn: ConnId, publish: &mut Publish) -> Result<(), Ending> {
        // [MQTT-3.3.4-6] of 5.0
        if publish.properties.subscription_identifier().is_some() {
            return Err(Ending::Protocol(ReasonCode::PROTOCOL_ERROR));
        }
        // 5: [MQTT-3.2.2-14], [U5-3.2.2-5]
        if publish.retain && !self.config.limits.retain_available {
            return Err(Ending::Protocol(ReasonCode::RETAIN_NOT_SUPPORTED));
        }
        if let Some(connection) = self.connections.get_mut(conn) {
            // 5: [MQTT-3.2.2-11], [U5-3.2.2-4]
            if publish.qos > connection.max_qos {
                return Err(Ending::Protocol(ReasonCode::QOS_NOT_SUPPORTED));
            }
            let topic = std::mem::take(&mut publish.topic);
            let alias = publish.properties.topic_alias();
            publish.topic = connection.aliases.resolve(topic, alias).map_err(Ending::Protocol)?;
            if let Some(prefix) = &connection.mount {
                let inside = mount::topic(prefix, &publish.topic);
                publish.topic = inside.ok_or(Ending::Malformed(ReasonCode::TOPIC_NAME_INVALID))?;
            }
        }
        if separators(publish.topic.as_str()) > MAX_TOPIC_SEPARATORS {
            return Err(Ending::Malformed(ReasonCode::TOPIC_NAME_INVALID));
        }
        Ok(())
    }

    /// Passes a publication on if its client may; the reason code for its acknowledgement.
    fn accept(&mut self, conn: ConnId, id: SessionId, publish: Publish, now: Instant) -> ReasonCode {
        let Some(session) = self.sessions.get(id) else { return ReasonCode::UNSPECIFIED_ERROR };
        let who = &session.identity;
        let topic = publish.topic.as_str();
        let decision = self.rules.check(who.zone, who.subject(), topic, Access::Write);
        let limit = self.config.limits.message_size_limit as usize;
        let too_large = limit > 0 && publish.payload.len() > limit;
        if self.outputs.logs(LogTypes::DEBUG) {
            let verb = match (decision.allowed, too_large) {
                (false, _) => "Denied",
                (true, true) => "Dropped too large",
                (true, false) => "Received",
            };
            let line =
                format!("{verb} PUBLISH from {} {}", escape(&who.client_id), phrases::publish_in(&publish));
            self.outputs.log(LogTypes::DEBUG, || line);
        }
        if !decision.allowed {
            let peer = self.connections.get(conn).map(|connection| &connection.peer);
            self.outputs.log(LogTypes::DENIED, || phrases::denied("publish to", topic, who, peer, decision));
            return ReasonCode::NOT_AUTHORIZED;
        }
        if too_large {
            self.stats.publish_dropped += 1;
            self.stats.refused.add(Limit::MessageSize);
            // A limit that an administrator imposed. mosquitto says 0x95, which PUBACK and PUBREC may
            // not carry: strict clients fail on it. [MQTT-3.4.2-1], [MQTT-3.5.2-1] of 5.0
            return ReasonCode::QUOTA_EXCEEDED;
        }
        let source = publish.retain.then(|| Arc::clone(who));
        match self.publish_for(publish, id, source, now) {
            Reach::Somebody => ReasonCode::SUCCESS,
            Reach::Nobody => ReasonCode::NO_MATCHING_SUBSCRIBERS,
        }
    }

    /// Delivers a message to all who subscribed, and retains it if it asks for that.
    /// `[MQTT-4.5.0-1]`
    pub(super) fn publish(&mut self, publish: Publish, origin: SessionId, now: Instant) -> Reach {
        self.publish_for(publish, origin, None, now)
    }

    /// [`Engine::publish`] for a client whose right was asked for.
    pub(super) fn publish_for(
        &mut self,
        publish: Publish,
        origin: SessionId,
        source: Option<Arc<Identity>>,
        now: Instant,
    ) -> Reach {
        let origin = inside::near_end(&self.bridged, &self.sessions, origin);
        let mut hits = std::mem::take(&mut self.hits);
        self.collect(publish.topic.as_str(), &mut hits);
        let keep = publish.retain || self.will_wait(&hits);
        self.serial += 1;
        let mut publication = Publication::new(publish, origin, self.serial, keep, now);
        let held = keep || publication.qos != QoS::AtMostOnce;
        self.count(&mut publication, held);
        publication.source = source;
        let publication = Arc::new(publication);
        // [MQTT-3.3.1-12] 5: [MQTT-3.3.1-8]
        if publication.retain {
            self.retain(&publication);
        }
        let reach = if hits.is_empty() { Reach::Nobody } else { Reach::Somebody };
        self.route(&publication, &hits, now);
        self.hits = hits;
        reach
    }

    fn retain(&mut self, publication: &Arc<Publication>) {
        if !self.retained.set(publication, &mut self.journal) {
            self.stats.refused.add(Limit::Retained);
            self.outputs.log(LogTypes::WARNING, || {
                "Too many retained messages: a new one was not stored.".to_owned()
            });
            return;
        }
        // A copy: the publication's own shares its buffer with the payload, which will be replaced.
        let timer = Timer::Retained(owned(publication.topic.as_byte_string()));
        match publication.expires {
            Some(at) if !publication.payload.is_empty() => self.deadlines.set(timer, self.sweep(at)),
            _ => self.deadlines.cancel(&timer),
        }
    }

    /// When a retained message that expires at this instant is forgotten: with
    /// `retain_expiry_interval` many at once, at a multiple of that time. Nobody is sent it between.
    fn sweep(&self, at: Instant) -> Instant {
        let step = self.config.limits.retain_expiry_interval.map_or(0, |step| step.as_secs());
        if step == 0 {
            return at;
        }
        let since = at.saturating_duration_since(self.started).as_secs();
        let due = Duration::from_secs((since / step + 1).saturating_mul(step));
        self.started.checked_add(due).unwrap_or(at)
    }

    /// PUBACK or PUBREC, when the message is ours, expired or not. [MQTT-3.3.4-1], [MQTT-2.3.1-6],
    /// [MQTT-4.3.2-2], [MQTT-4.3.3-2] 5: [MQTT-2.2.1-5], [MQTT-4.3.2-4], [MQTT-4.3.2-5],
    /// [MQTT-4.3.3-8], [MQTT-4.3.3-13]
    pub(super) fn acknowledge(
        &mut self,
        conn: ConnId,
        id: SessionId,
        qos: QoS,
        packet_id: PacketId,
        reason: ReasonCode,
    ) {
        let name = if qos == QoS::ExactlyOnce { "PUBREC" } else { "PUBACK" };
        self.debug(id, |id| format!("Sending {name} to {id} (m{packet_id}, rc{})", reason.0));
        let ack = Ack::with_reason(packet_id, reason);
        self.send(conn, if qos == QoS::ExactlyOnce { Packet::PubRec(ack) } else { Packet::PubAck(ack) });
    }
}

/// How many `/` a topic or filter has.
pub(super) fn separators(topic: &str) -> usize {
    topic.bytes().filter(|byte| *byte == b'/').count()
}
