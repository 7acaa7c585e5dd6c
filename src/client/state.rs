//! The client's half of an MQTT session: packet identifiers, QoS 1 and 2 in both directions,
//! subscriptions under way, and when a PINGREQ is due.
//!
//! Pure: packets and instants go in, packets to send come out. What a broker does wrong (an
//! acknowledgement for nothing, a wrong order) is let pass: judging is the business of the checks.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::mqtt::packet::{Ack, ConnAck, Connect, PacketType, Publish, Subscribe, Unsubscribe};
use crate::mqtt::{Packet, PacketId, ProtocolVersion, QoS, ReasonCode};

/// Unacknowledged publications that a 3.1 or 3.1.1 broker is given at once. The standard has no
/// number; this is mosquitto's (`max_inflight_messages`), beyond which it may hold back.
const WINDOW_V3: u16 = 20;

/// All 65,535 packet identifiers are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all packet identifiers are in use")]
pub struct Exhausted;

/// What a received packet meant to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It completes the request with this identifier.
    Completes(PacketId),
    /// A QoS 2 PUBLISH whose first copy is not released yet: not a new message.
    Repeat,
    /// Anything else.
    Other,
}

/// A request that waits for the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pending {
    /// Behind the window: not sent yet.
    Held(Publish),
    /// Sent; waits for PUBACK or PUBREC.
    Sent(Publish),
    /// PUBREC was received; waits for PUBCOMP.
    Released,
    /// Waits for SUBACK.
    Subscribe,
    /// Waits for UNSUBACK.
    Unsubscribe,
}

/// The client's half of a session. It outlives a connection: hand it to the next one, or a clone of
/// it where that may not come to be.
#[derive(Debug, Clone, Default)]
pub struct Session {
    version: ProtocolVersion,
    last_id: Option<PacketId>,
    pending: BTreeMap<PacketId, Pending>,
    /// Identifiers of pending publications in the order in which they were asked for.
    order: VecDeque<PacketId>,
    held: VecDeque<PacketId>,
    in_flight: u16,
    window: u16,
    /// QoS 2 publications received and not yet released (4.3.3, method B).
    received: BTreeSet<PacketId>,
    keep_alive: Duration,
    last_sent: Option<Instant>,
    pings: u64,
    pongs: u64,
}

impl Session {
    /// A connection begins with this CONNECT, which is sent now. Asking for a clean start forgets the
    /// session.
    pub fn connecting(&mut self, connect: &Connect, now: Instant) {
        self.version = connect.version;
        self.window = WINDOW_V3;
        self.keep_alive = Duration::from_secs(connect.keep_alive.into());
        self.last_sent = Some(now);
        self.pings = 0;
        self.pongs = 0;
        if connect.clean_start {
            self.forget(); // [MQTT-3.1.2-6] 5: [MQTT-3.1.2-4]
        }
    }

    fn forget(&mut self) {
        self.pending.clear();
        self.order.clear();
        self.held.clear();
        self.received.clear();
        self.in_flight = 0;
    }

    /// The broker accepted. What was under way is sent again if it still has the session, and
    /// forgotten if not.
    pub fn connected(&mut self, answer: &ConnAck, out: &mut Vec<Packet>) {
        if self.version.is_v5() {
            self.window = answer.properties.receive_maximum().unwrap_or(u16::MAX).max(1);
            if let Some(secs) = answer.properties.server_keep_alive() {
                // [MQTT-3.1.2-21] (5)
                self.keep_alive = Duration::from_secs(secs.into());
            }
        }
        // SUBSCRIBE and UNSUBSCRIBE do not outlive a connection.
        self.pending.retain(|_, pending| !matches!(pending, Pending::Subscribe | Pending::Unsubscribe));
        if answer.session_present {
            self.resend(out);
        } else {
            self.forget(); // 5: [MQTT-3.2.2-5]
        }
    }

    /// [MQTT-4.4.0-1], in the original order [MQTT-4.6.0-1].
    fn resend(&mut self, out: &mut Vec<Packet>) {
        self.in_flight = 0;
        self.held.clear();
        for id in self.order.clone() {
            match self.pending.get_mut(&id) {
                Some(Pending::Sent(publish)) if self.in_flight < self.window => {
                    publish.dup = true; // [MQTT-3.3.1-1]
                    self.in_flight += 1;
                    out.push(Packet::Publish(publish.clone()));
                }
                Some(Pending::Released) => {
                    self.in_flight = self.in_flight.saturating_add(1);
                    out.push(Packet::PubRel(Ack::success(id)));
                }
                Some(Pending::Held(_) | Pending::Sent(_)) => self.held.push_back(id),
                _ => {}
            }
        }
        self.release_held(out);
    }

    /// A publication. With QoS 1 or 2 it gets an identifier, and waits if the broker's window is
    /// full.
    pub fn publish(
        &mut self,
        mut publish: Publish,
        out: &mut Vec<Packet>,
    ) -> Result<Option<PacketId>, Exhausted> {
        if publish.qos == QoS::AtMostOnce {
            publish.id = None;
            out.push(Packet::Publish(publish));
            return Ok(None);
        }
        let id = self.free_id()?;
        publish.id = Some(id);
        self.pending.insert(id, Pending::Held(publish));
        self.order.push_back(id);
        self.held.push_back(id);
        self.release_held(out);
        Ok(Some(id))
    }

    /// A SUBSCRIBE; its identifier is set here.
    pub fn subscribe(
        &mut self,
        mut subscribe: Subscribe,
        out: &mut Vec<Packet>,
    ) -> Result<PacketId, Exhausted> {
        subscribe.id = self.free_id()?;
        let id = subscribe.id;
        self.pending.insert(id, Pending::Subscribe);
        out.push(Packet::Subscribe(subscribe));
        Ok(id)
    }

    /// An UNSUBSCRIBE; its identifier is set here.
    pub fn unsubscribe(
        &mut self,
        mut unsubscribe: Unsubscribe,
        out: &mut Vec<Packet>,
    ) -> Result<PacketId, Exhausted> {
        unsubscribe.id = self.free_id()?;
        let id = unsubscribe.id;
        self.pending.insert(id, Pending::Unsubscribe);
        out.push(Packet::Unsubscribe(unsubscribe));
        Ok(id)
    }

    /// True while a request with this identifier waits for its end.
    pub fn is_pending(&self, id: PacketId) -> bool {
        self.pending.contains_key(&id)
    }

    /// A PINGREQ. Returns the number of [`Session::pongs`] at which it is answered.
    pub fn ping(&mut self, out: &mut Vec<Packet>) -> u64 {
        self.pings += 1;
        out.push(Packet::PingReq);
        self.pings
    }

    /// PINGRESPs received on this connection.
    pub fn pongs(&self) -> u64 {
        self.pongs
    }

    /// Something was received: what it means, and what is to be answered.
    pub fn receive(&mut self, packet: &Packet, out: &mut Vec<Packet>) -> Meaning {
        match packet {
            Packet::Publish(publish) => self.receive_publish(publish, out),
            Packet::PubAck(ack) => self.complete(ack.id, PacketType::PubAck, out),
            Packet::PubRec(ack) => self.receive_pubrec(ack, out),
            Packet::PubComp(ack) => self.complete(ack.id, PacketType::PubComp, out),
            Packet::PubRel(ack) => {
                let known = self.received.remove(&ack.id);
                // [MQTT-4.3.3-2] 5: [MQTT-4.3.3-11]
                out.push(Packet::PubComp(self.answer(ack.id, known)));
                Meaning::Other
            }
            Packet::SubAck(ack) => self.complete(ack.id, PacketType::SubAck, out),
            Packet::UnsubAck(ack) => self.complete(ack.id, PacketType::UnsubAck, out),
            Packet::PingResp => {
                self.pongs += 1;
                Meaning::Other
            }
            _ => Meaning::Other,
        }
    }

    fn receive_publish(&mut self, publish: &Publish, out: &mut Vec<Packet>) -> Meaning {
        match (publish.qos, publish.id) {
            (QoS::AtLeastOnce, Some(id)) => {
                out.push(Packet::PubAck(Ack::success(id))); // [MQTT-4.3.2-2] 5: [MQTT-4.3.2-4]
                Meaning::Other
            }
            (QoS::ExactlyOnce, Some(id)) => {
                out.push(Packet::PubRec(Ack::success(id))); // [MQTT-4.3.3-2] 5: [MQTT-4.3.3-8]
                if self.received.insert(id) { Meaning::Other } else { Meaning::Repeat }
            }
            _ => Meaning::Other,
        }
    }

    fn receive_pubrec(&mut self, ack: &Ack, out: &mut Vec<Packet>) -> Meaning {
        if !ack.reason.is_success() {
            return self.complete(ack.id, PacketType::PubRec, out);
        }
        if let Some(Pending::Sent(publish)) = self.pending.get(&ack.id)
            && publish.qos == QoS::ExactlyOnce
        {
            self.pending.insert(ack.id, Pending::Released);
        }
        let known = self.pending.contains_key(&ack.id);
        // [MQTT-4.3.3-1] 5: [MQTT-4.3.3-4]
        out.push(Packet::PubRel(self.answer(ack.id, known)));
        Meaning::Other
    }

    /// 5: [U5-3.6.2-1]: an identifier of nothing is answered as such.
    fn answer(&self, id: PacketId, known: bool) -> Ack {
        if known || !self.version.is_v5() {
            return Ack::success(id);
        }
        Ack::with_reason(id, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND)
    }

    /// The end of a request, if `by` is what ends it.
    fn complete(&mut self, id: PacketId, by: PacketType, out: &mut Vec<Packet>) -> Meaning {
        let ends = match (self.pending.get(&id), by) {
            (Some(Pending::Sent(publish)), PacketType::PubAck) => publish.qos == QoS::AtLeastOnce,
            (Some(Pending::Sent(publish)), PacketType::PubRec) => publish.qos == QoS::ExactlyOnce,
            (Some(Pending::Released), PacketType::PubComp)
            | (Some(Pending::Subscribe), PacketType::SubAck)
            | (Some(Pending::Unsubscribe), PacketType::UnsubAck) => true,
            _ => false,
        };
        if !ends {
            return Meaning::Other;
        }
        self.pending.remove(&id);
        if !matches!(by, PacketType::SubAck | PacketType::UnsubAck) {
            self.in_flight = self.in_flight.saturating_sub(1);
            self.forget_order(id);
            self.release_held(out);
        }
        Meaning::Completes(id)
    }

    /// Publications end mostly in their order, so what is searched is mostly at the front.
    fn forget_order(&mut self, id: PacketId) {
        if let Some(at) = self.order.iter().position(|other| *other == id) {
            self.order.remove(at);
        }
    }

    /// [MQTT-3.3.4-7] (5): never more than the broker's Receive Maximum in flight.
    fn release_held(&mut self, out: &mut Vec<Packet>) {
        while self.in_flight < self.window
            && let Some(id) = self.held.pop_front()
        {
            let publish = match self.pending.remove(&id) {
                Some(Pending::Held(publish)) => publish,
                // The window of an earlier connection was larger. [MQTT-3.3.1-1]
                Some(Pending::Sent(publish)) => Publish { dup: true, ..publish },
                Some(_) | None => continue,
            };
            self.in_flight += 1;
            out.push(Packet::Publish(publish.clone()));
            self.pending.insert(id, Pending::Sent(publish));
        }
    }

    /// [MQTT-2.3.1-2] 5: [MQTT-2.2.1-3]: an identifier that is not in use.
    fn free_id(&mut self) -> Result<PacketId, Exhausted> {
        if self.pending.len() >= usize::from(u16::MAX) {
            return Err(Exhausted);
        }
        let mut id = self.last_id.map_or(PacketId::FIRST, PacketId::next);
        while self.pending.contains_key(&id) {
            id = id.next();
        }
        self.last_id = Some(id);
        Ok(id)
    }

    /// Something was sent.
    pub fn sent(&mut self, now: Instant) {
        self.last_sent = Some(now);
    }

    /// When a PINGREQ is due if nothing else is sent: at three quarters of the keep-alive, so that
    /// it arrives before the interval ends `[MQTT-3.1.2-23]`.
    pub fn ping_due(&self) -> Option<Instant> {
        if self.keep_alive.is_zero() {
            return None;
        }
        Some(self.last_sent? + self.keep_alive * 3 / 4)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mqtt::{Properties, ReasonCode, TopicName};

    fn publish(qos: QoS) -> Publish {
        Publish {
            dup: false,
            qos,
            retain: false,
            topic: TopicName::new("t").expect("a name"),
            id: None,
            payload: Bytes::new(),
            properties: Properties::new(),
        }
    }

    fn session(version: ProtocolVersion) -> Session {
        let mut session = Session::default();
        session.connecting(&connect(version, true), Instant::now());
        session
    }

    fn connect(version: ProtocolVersion, clean_start: bool) -> Connect {
        Connect { version, clean_start, keep_alive: 60, ..Connect::default() }
    }

    fn id(value: u16) -> PacketId {
        PacketId::new(value).expect("not zero")
    }

    #[test]
    fn qos_2_goes_through_its_four_packets() {
        let (mut session, mut out) = (session(ProtocolVersion::V311), Vec::new());
        let first = session.publish(publish(QoS::ExactlyOnce), &mut out).expect("free").expect("an id");
        assert!(matches!(out.pop(), Some(Packet::Publish(_))));
        assert_eq!(session.receive(&Packet::PubRec(Ack::success(first)), &mut out), Meaning::Other);
        assert_eq!(out.pop(), Some(Packet::PubRel(Ack::success(first))));
        // A PUBACK does not end a QoS 2 publication.
        assert_eq!(session.receive(&Packet::PubAck(Ack::success(first)), &mut out), Meaning::Other);
        let end = session.receive(&Packet::PubComp(Ack::success(first)), &mut out);
        assert_eq!((end, out.len()), (Meaning::Completes(first), 0));
    }

    #[test]
    fn a_refusing_pubrec_is_the_end() {
        let (mut session, mut out) = (session(ProtocolVersion::V5), Vec::new());
        let first = session.publish(publish(QoS::ExactlyOnce), &mut out).expect("free").expect("an id");
        let refused = Packet::PubRec(Ack::with_reason(first, ReasonCode::NOT_AUTHORIZED));
        out.clear();
        assert_eq!(session.receive(&refused, &mut out), Meaning::Completes(first));
        assert!(out.is_empty(), "no PUBREL: {out:?}");
    }

    #[test]
    fn a_repeated_qos_2_publish_is_acknowledged_and_marked() {
        let (mut session, mut out) = (session(ProtocolVersion::V311), Vec::new());
        let mut incoming = publish(QoS::ExactlyOnce);
        incoming.id = Some(id(9));
        let incoming = Packet::Publish(incoming);
        assert_eq!(session.receive(&incoming, &mut out), Meaning::Other);
        assert_eq!(session.receive(&incoming, &mut out), Meaning::Repeat);
        session.receive(&Packet::PubRel(Ack::success(id(9))), &mut out);
        assert_eq!(session.receive(&incoming, &mut out), Meaning::Other);
        assert_eq!(out.len(), 4);
    }

    #[test]
    fn no_more_than_the_receive_maximum_is_in_flight() {
        let (mut session, mut out) = (session(ProtocolVersion::V5), Vec::new());
        let limit = [crate::mqtt::Property::ReceiveMaximum(2)].into_iter().collect();
        session.connected(&ConnAck { properties: limit, ..ConnAck::default() }, &mut out);
        for _ in 0..5 {
            session.publish(publish(QoS::AtLeastOnce), &mut out).expect("free");
        }
        assert_eq!(out.len(), 2);
        session.receive(&Packet::PubAck(Ack::success(id(2))), &mut out);
        assert_eq!(out.len(), 3);
        // One that was acknowledged already frees nothing.
        session.receive(&Packet::PubAck(Ack::success(id(2))), &mut out);
        assert_eq!(out.len(), 3);
    }

    #[test]
    fn a_resumed_session_sends_again_in_order_and_a_fresh_one_forgets() {
        let (mut session, mut out) = (session(ProtocolVersion::V311), Vec::new());
        for qos in [QoS::ExactlyOnce, QoS::AtLeastOnce] {
            session.publish(publish(qos), &mut out).expect("free");
        }
        session.receive(&Packet::PubRec(Ack::success(id(1))), &mut out);
        out.clear();
        session.connecting(&connect(ProtocolVersion::V311, false), Instant::now());
        session.connected(&ConnAck { session_present: true, ..ConnAck::default() }, &mut out);
        assert_eq!(out[0], Packet::PubRel(Ack::success(id(1))));
        assert!(matches!(&out[1], Packet::Publish(again) if again.dup && again.id == Some(id(2))));
        out.clear();
        session.connected(&ConnAck::default(), &mut out);
        assert!(out.is_empty());
        assert_eq!(session.receive(&Packet::PubAck(Ack::success(id(2))), &mut out), Meaning::Other);
    }

    #[test]
    fn what_a_smaller_window_holds_back_is_still_sent_again() {
        let (mut session, mut out) = (session(ProtocolVersion::V5), Vec::new());
        for _ in 0..2 {
            session.publish(publish(QoS::AtLeastOnce), &mut out).expect("free");
        }
        out.clear();
        session.connecting(&connect(ProtocolVersion::V5, false), Instant::now());
        let limit = [crate::mqtt::Property::ReceiveMaximum(1)].into_iter().collect();
        let answer = ConnAck { session_present: true, properties: limit, ..ConnAck::default() };
        session.connected(&answer, &mut out);
        session.receive(&Packet::PubAck(Ack::success(id(1))), &mut out);
        let again = |at: usize| matches!(&out[at], Packet::Publish(publish) if publish.dup);
        assert!(out.len() == 2 && again(0) && again(1), "{out:?}");
    }

    #[test]
    fn a_clean_start_forgets_whatever_the_broker_says() {
        let (mut session, mut out) = (session(ProtocolVersion::V311), Vec::new());
        session.publish(publish(QoS::AtLeastOnce), &mut out).expect("free");
        let mut incoming = publish(QoS::ExactlyOnce);
        incoming.id = Some(id(9));
        session.receive(&Packet::Publish(incoming.clone()), &mut out);
        out.clear();
        session.connecting(&connect(ProtocolVersion::V311, true), Instant::now());
        session.connected(&ConnAck { session_present: true, ..ConnAck::default() }, &mut out);
        assert!(out.is_empty(), "{out:?}");
        assert_eq!(session.receive(&Packet::Publish(incoming), &mut out), Meaning::Other);
    }

    #[test]
    fn what_nobody_knows_is_answered_so_in_5_0() {
        for (version, reason) in [(ProtocolVersion::V311, 0), (ProtocolVersion::V5, 0x92)] {
            let (mut session, mut out) = (session(version), Vec::new());
            session.receive(&Packet::PubRel(Ack::success(id(4))), &mut out);
            session.receive(&Packet::PubRec(Ack::success(id(5))), &mut out);
            let answer = |id| Ack::with_reason(id, ReasonCode(reason));
            assert_eq!(out, [Packet::PubComp(answer(id(4))), Packet::PubRel(answer(id(5)))]);
        }
    }

    #[test]
    fn identifiers_run_out_and_are_never_used_twice() {
        let (mut session, mut out) = (session(ProtocolVersion::V311), Vec::new());
        for _ in 0..u16::MAX {
            session.publish(publish(QoS::AtLeastOnce), &mut out).expect("free");
        }
        assert_eq!(session.publish(publish(QoS::AtLeastOnce), &mut out), Err(Exhausted));
        session.receive(&Packet::PubAck(Ack::success(id(7))), &mut out);
        let next = session.publish(publish(QoS::AtLeastOnce), &mut out).expect("one is free");
        assert_eq!(next, Some(id(7)));
    }
}
