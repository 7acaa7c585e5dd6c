//! The way out: which sessions a publication is for, and how it gets to each of them (3.3.4, 4.5,
//! 4.6, 4.9). Coordinates subscriptions, sessions and connections for the handlers.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use crate::broker::auth::Access;
use crate::broker::log::LogTypes;
use crate::mqtt::packet::Ack;
use crate::mqtt::{Packet, PacketId, QoS};
use crate::text::escape;

use super::connection::Connection;
use super::inflight::Stage;
use super::inside;
use super::journal::Pen;
use super::limits::{BACKLOG_HARD_BYTES, BACKLOG_SOFT_BYTES, BACKLOG_STEP, REPLAY_BYTES, REPLAY_SCAN};
use super::memory::is_over_budget;
use super::publication::{Delivery, Frame, Publication, PublishFrame, SubscriptionIds};
use super::retained::Found;
use super::session::{Session, SessionId};
use super::stats::Limit;
use super::subscriptions::Member;
use super::{ConnId, Engine, mount, phrases};

/// Whether any subscription matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Somebody,
    Nobody,
}

/// A subscription that matched, and whether it is a shared one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    member: Member,
    /// 0 for plain subscriptions, which are merged; each share counts for itself.
    share: u32,
}

impl Engine {
    /// Delivers a publication to all whose subscriptions match: one copy for all plain ones of a
    /// session, and one for each share. 5: [MQTT-3.3.4-5], [MQTT-4.8.2-3], [U5-4.8.2-1]
    pub(super) fn route(&mut self, publication: &Arc<Publication>, hits: &[Hit], now: Instant) {
        let limits = &self.config.limits;
        let upgrade = limits.upgrade_outgoing_qos;
        // `allow_duplicate_messages`: a copy for each, as both standards allow too.
        let at_once = if limits.allow_duplicate_messages { 1 } else { usize::MAX };
        for same in hits.chunk_by(|a, b| (a.member.session, a.share) == (b.member.session, b.share)) {
            for together in same.chunks(at_once) {
                let id = together[0].member.session;
                // What our own bridge brought to this very broker does not go out over it again.
                if self.is_far_end(id, publication.origin) {
                    continue;
                }
                if let Some(delivery) = merge(publication, together, upgrade) {
                    self.deliver(id, delivery, now);
                }
            }
        }
    }

    /// All subscriptions that match a topic, sorted by session, in place of what `hits` holds.
    /// [MQTT-3.3.2-3]
    pub(super) fn collect(&self, topic: &str, hits: &mut Vec<Hit>) {
        hits.clear();
        let mut shares: SmallVec<[Member; 4]> = SmallVec::new();
        let mut sorted = true;
        let mut last = None;
        self.subscriptions.visit(
            topic,
            |member| {
                sorted &= last.is_none_or(|last| last <= member.session);
                last = Some(member.session);
                hits.push(Hit { member, share: 0 });
            },
            |group| {
                // [MQTT-4.8.2-4] of 5.0: once given to a member it stays there.
                shares.extend(group.next(|session| self.rank(session, topic)));
            },
        );
        for (member, share) in shares.into_iter().zip(1..) {
            sorted = false;
            hits.push(Hit { member, share });
        }
        if !sorted {
            hits.sort_by_key(|hit| (hit.member.session, hit.share));
        }
    }

    /// How well a member of a share can take a message now: 0 at once, 1 when its queue moves on,
    /// 2 when it is back; `None` if it may not read it.
    fn rank(&self, id: SessionId, topic: &str) -> Option<u8> {
        let session = self.sessions.get(id)?;
        let who = &session.identity;
        let rank = match session.conn {
            None => 2,
            Some(_) if session.queue.is_empty() => 0,
            Some(_) => 1,
        };
        self.rules.check(who.zone, who.subject(), topic, Access::Read).allowed.then_some(rank)
    }

    /// True if one of them is away, so that the message will be held for long.
    pub(super) fn will_wait(&self, hits: &[Hit]) -> bool {
        let away = |hit: &Hit| self.sessions.get(hit.member.session).is_some_and(|it| it.conn.is_none());
        self.stats.clients_connected != self.sessions.len() as u64 && hits.iter().any(away)
    }

    /// Gives a message to one session: to its connection, its window or its queue. What is in the
    /// queue goes first, so messages of one QoS keep their order. [MQTT-4.6.0-5], [MQTT-4.6.0-6]
    /// 5: [MQTT-4.6.0-5], [MQTT-4.6.0-6]
    pub(super) fn deliver(&mut self, id: SessionId, delivery: Delivery, now: Instant) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let who = &session.identity;
        let topic = delivery.publication.topic.as_str();
        let decision = self.rules.check(who.zone, who.subject(), topic, Access::Read);
        let connection = session.conn.and_then(|conn| Some((conn, self.connections.get_mut(conn)?)));
        if !decision.allowed {
            let peer = connection.map(|(_, connection)| &connection.peer);
            self.outputs.log(LogTypes::DENIED, || phrases::denied("read of", topic, who, peer, decision));
            return;
        }
        let limits = &self.config.limits;
        let qos_0 = delivery.qos == QoS::AtMostOnce;
        let behind = |connection: &Connection| {
            let full = backlogged(connection, limits.max_queued_messages);
            let lags = connection.outbox.bytes() >= BACKLOG_STEP;
            full.or_else(|| {
                (lags && is_over_budget(self.backlog, &self.passing)).then_some(Limit::SlowReaders)
            })
        };
        let behind = connection.as_ref().filter(|_| qos_0).and_then(|(_, connection)| behind(connection));
        let refused = match connection {
            None if qos_0 && !limits.queue_qos0_messages && !inside::keeps_qos_0(&self.bridged, who) => {
                return;
            }
            Some(_) if behind.is_some() => behind,
            Some((conn, connection))
                if session.queue.is_empty() && (qos_0 || session.inflight.has_room(session.window))
                    || qos_0 && !session.queue.holds_qos_0() =>
            {
                let mut pen = self.journal.pen(session.journal_key());
                if let Some(frame) = window(session, connection, delivery, &mut pen) {
                    self.outputs.log(LogTypes::DEBUG, || {
                        let to = escape(&session.identity.client_id);
                        format!("Sending PUBLISH to {to} {}", phrases::publish_out(&frame))
                    });
                    connection.outbox.push(Frame::Publish(frame));
                    connection.outbox.settle(&mut self.backlog);
                    self.outputs.wake(conn, connection);
                }
                None
            }
            // [MQTT-3.1.2-5]
            _ => {
                let mut pen = self.journal.pen(session.journal_key());
                session.queue.push(delivery, limits, now, &mut pen).err()
            }
        };
        let Some(limit) = refused else {
            // Said again only after all that waited has gone, or a slow reader would fill the log.
            session.dropping &= !session.queue.is_empty()
                || session
                    .conn
                    .and_then(|conn| self.connections.get(conn))
                    .is_some_and(|it| it.outbox.len() > 1);
            return;
        };
        self.stats.publish_dropped += 1;
        self.stats.refused.add(limit);
        if !std::mem::replace(&mut session.dropping, true) {
            let client_id = &session.identity.client_id;
            self.outputs.log(LogTypes::NOTICE, || {
                format!("Outgoing messages are being dropped for client {}.", escape(client_id))
            });
        }
    }

    /// Sends what the window of a connected session has room for: first again what was open when
    /// its last connection ended, then what is queued, then retained messages.
    pub(super) fn fill(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(conn) = session.conn else { return };
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let mut pen = self.journal.pen(session.journal_key());
        let debug = self.outputs.logs(LogTypes::DEBUG);
        let waiting = connection.outbox.len();
        while let Some((packet_id, stage)) = session.inflight.next_again(session.window) {
            match stage {
                Stage::Release => connection.send(Packet::PubRel(Ack::success(packet_id))),
                Stage::Publish(delivery) => {
                    let delivery = delivery.clone();
                    let who = &session.identity;
                    let topic = delivery.publication.topic.as_str();
                    let decision = self.rules.check(who.zone, who.subject(), topic, Access::Read);
                    if !decision.allowed {
                        let peer = Some(&connection.peer);
                        self.outputs
                            .log(LogTypes::DENIED, || phrases::denied("read of", topic, who, peer, decision));
                    }
                    let frame = decision.allowed.then(|| addressed(connection, delivery)).flatten();
                    if let Some(frame) = frame {
                        let frame = PublishFrame { id: Some(packet_id), ..frame };
                        connection.outbox.push(Frame::Publish(frame));
                    } else {
                        session.inflight.remove(packet_id, &mut pen);
                    }
                }
            }
        }
        while session.inflight.has_room(session.window) {
            let Some(delivery) = session.queue.pop(now, &mut pen) else { break };
            let who = &session.identity;
            let topic = delivery.publication.topic.as_str();
            let decision = self.rules.check(who.zone, who.subject(), topic, Access::Read);
            if !decision.allowed {
                let peer = Some(&connection.peer);
                self.outputs.log(LogTypes::DENIED, || phrases::denied("read of", topic, who, peer, decision));
                continue;
            }
            let Some(frame) = window(session, connection, delivery, &mut pen) else { continue };
            if debug {
                let to = escape(&session.identity.client_id);
                self.outputs.log(LogTypes::DEBUG, || {
                    format!("Sending PUBLISH to {to} {}", phrases::publish_out(&frame))
                });
            }
            connection.outbox.push(Frame::Publish(frame));
        }
        if connection.outbox.len() > waiting {
            self.outputs.wake(conn, connection);
        }
        if !session.replays.is_empty() {
            self.replay(id, now);
        }
    }

    /// Goes on with the retained messages of new subscriptions as far as there is room. True if
    /// there is more to look for at once.
    pub(super) fn replay(&mut self, id: SessionId, now: Instant) -> bool {
        let mut scan = REPLAY_SCAN;
        loop {
            let Some(session) = self.sessions.get_mut(id) else { return false };
            let Some((conn, connection)) =
                session.conn.and_then(|conn| Some((conn, self.connections.get_mut(conn)?)))
            else {
                return false;
            };
            let blocked = connection.begun.is_some()
                || connection.outbox.bytes() >= REPLAY_BYTES
                || !session.queue.is_empty()
                || !session.inflight.has_room(session.window);
            let Some(replay) = session.replays.front() else { return false };
            if blocked {
                return false;
            }
            if !session.wants(replay) {
                session.replays.pop_front();
                continue;
            }
            let Some(replay) = session.replays.front_mut() else { return false };
            match self.retained.next(replay, &mut scan, now) {
                // [MQTT-3.8.3-3] of 5.0
                Found::Message(publication)
                    if publication.source.as_ref().is_some_and(|source| {
                        let (from, to) = (&*source.client_id, &*session.identity.client_id);
                        replay.grant.no_local && from == to || inside::goes_round(&self.bridged, from, to)
                    }) => {}
                // `check_retain_source`: whoever published it may still do that.
                Found::Message(publication)
                    if self.config.limits.check_retain_source
                        && publication.source.as_ref().is_some_and(|source| {
                            let zone = self.config.zone(source.listener);
                            let topic = publication.topic.as_str();
                            !self.rules.check(zone, source.subject(), topic, Access::Write).allowed
                        }) => {}
                Found::Message(publication) => {
                    let grant = replay.grant;
                    let delivery = Delivery {
                        // [MQTT-3.8.4-6] 5: [MQTT-3.8.4-8]
                        qos: lowered(publication.qos, grant.qos, self.config.limits.upgrade_outgoing_qos),
                        publication,
                        // 3.1.1: [MQTT-3.3.1-8]
                        retain: true,
                        ids: grant.id.into_iter().map(NonZeroU32::get).collect(),
                    };
                    self.deliver(id, delivery, now);
                }
                Found::Pause => {
                    self.outputs.wake(conn, connection);
                    return true;
                }
                Found::End => {
                    session.replays.pop_front();
                }
            }
        }
    }

    /// Appends a packet to a connection that is still open. No window holds it back.
    /// 5: [MQTT-3.3.4-10], [MQTT-4.9.0-3]
    pub(super) fn send(&mut self, conn: ConnId, packet: Packet) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.send(packet);
        self.outputs.wake(conn, connection);
    }
}

/// The one delivery that answers all matching subscriptions of a session, at the highest granted
/// QoS and with all their identifiers; `None` if No Local leaves none. `[MQTT-3.3.5-1]`
/// 5: `[MQTT-3.3.4-2]`, `[MQTT-3.3.4-3]`, `[MQTT-3.3.4-4]`, `[MQTT-3.8.3-3]`, `[U5-3.3.2-6]`
fn merge(publication: &Arc<Publication>, hits: &[Hit], upgrade: bool) -> Option<Delivery> {
    let mut granted = None;
    let mut as_published = false;
    let mut ids = SubscriptionIds::new();
    for Hit { member, .. } in hits {
        if member.grant.no_local && publication.origin == member.session {
            continue;
        }
        granted = granted.max(Some(member.grant.qos));
        as_published |= member.grant.retain_as_published;
        ids.extend(member.grant.id.map(NonZeroU32::get));
    }
    Some(Delivery {
        publication: Arc::clone(publication),
        // [MQTT-3.8.4-6] 5: [MQTT-3.8.4-8]
        qos: lowered(publication.qos, granted?, upgrade),
        // [MQTT-3.3.1-9] 5: [MQTT-3.3.1-12], [MQTT-3.3.1-13]
        retain: as_published && publication.retain,
        ids,
    })
}

/// At which QoS a message goes to a subscription: at its own, but no higher than granted; with
/// `upgrade_outgoing_qos` at what was granted, against the standard's letter.
fn lowered(own: QoS, granted: QoS, upgrade: bool) -> QoS {
    if upgrade { granted } else { own.min(granted) }
}

/// Which limit has no room for a QoS 0 message behind what waits.
fn backlogged(connection: &Connection, max_queued: u32) -> Option<Limit> {
    let many = max_queued > 0 && connection.outbox.len() >= max_queued as usize;
    let bytes = connection.outbox.bytes();
    if bytes >= BACKLOG_HARD_BYTES {
        return Some(Limit::SlowReader);
    }
    (many && bytes >= BACKLOG_SOFT_BYTES).then_some(Limit::QueuedMessages)
}

/// Whether a message is within the client's Maximum Packet Size. `[MQTT-3.1.2-24]` of 5.0
fn takes(connection: &Connection, frame: &PublishFrame) -> bool {
    let (Some(most), Some(version)) = (connection.max_packet_size, connection.version) else { return true };
    // With what it will have at the latest when it is taken.
    let id = (frame.delivery.qos != QoS::AtMostOnce).then_some(PacketId::FIRST);
    let expiry = frame.delivery.publication.expires.map(|_| 0);
    let alias = connection.own_aliases.largest();
    let whole = PublishFrame { id, expiry, alias, ..frame.clone() };
    whole.len(version) <= most as usize
}

/// A message as this client sees it; `None` if it takes no packet that large, or its mount point
/// leaves nothing to see.
fn addressed(connection: &Connection, delivery: Delivery) -> Option<PublishFrame> {
    let hidden = mount::hidden(connection.mount.as_deref(), delivery.publication.topic.as_str())?;
    let frame = PublishFrame { hidden, ..PublishFrame::new(delivery, None) };
    takes(connection, &frame).then_some(frame)
}

/// The frame of a message, taken into the window above QoS 0. `None` if the client takes no packet
/// that large: then it counts as delivered. `[MQTT-3.1.2-25]` of 5.0
fn window(
    session: &mut Session,
    connection: &Connection,
    delivery: Delivery,
    pen: &mut Pen<'_>,
) -> Option<PublishFrame> {
    let mut frame = addressed(connection, delivery)?;
    if frame.delivery.qos != QoS::AtMostOnce {
        frame.id = Some(session.inflight.insert(frame.delivery.clone(), pen));
    }
    Some(frame)
}
