//! The two connections of a bridge as one conversation: what one broker says becomes what the other
//! is told.
//!
//! Pure: packets in, packets out. Messages keep their packet identifiers from one side to the other,
//! and an acknowledgement is passed back only when the other broker gave it. So there is nothing to
//! remember between connections: the sessions of the two brokers are the memory, and QoS 2 is exactly
//! once from end to end while both last. What was held back, refused or lowered is answered here.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use super::alias::Aliases;
use super::lane::{Lane, Lost, Stage};
use super::terms::Terms;
use super::topic::{TopicMap, Wanted, Way};
use crate::broker::engine::MAX_TOPIC_SEPARATORS;
use crate::mqtt::codec::encoded_len;
use crate::mqtt::packet::{
    Ack, PacketType, Publish, SubAck, Subscribe, Subscription, SubscriptionOptions, Unsubscribe,
};
use crate::mqtt::{Packet, PacketId, Properties, Property, QoS, ReasonCode, TopicFilter, TopicName};

/// One of the two brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Ours.
    Here,
    /// The other one.
    There,
}

/// Something of the bridge's own that a broker has not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Request {
    Subscribe(TopicFilter),
    Unsubscribe,
    Publish,
}

/// Why a broker cannot be talked to any longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A packet that must not come now.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// It said goodbye.
    #[error("disconnected with {0}")]
    Goodbye(ReasonCode),
}

/// What happened that is worth a line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A subscription was refused.
    Refused(Side, TopicFilter, ReasonCode),
    /// Messages go to nobody: the first one since the connection was made.
    Dropping(Way, TopicName, &'static str),
}

/// See the module. One for each connection. What binds clients binds it: `[MQTT-7.0.0-1]`
#[derive(Debug)]
pub struct Relay {
    map: TopicMap,
    here: End,
    there: End,
    out: Lane,
    into: Lane,
    aliases: Aliases,
    /// The session at the other broker is a new one: it knows nothing of what went out before.
    anew: bool,
    notes: Vec<Note>,
    dropped: u64,
    forwarded: u64,
    drops_told: bool,
}

#[derive(Debug)]
struct End {
    terms: Terms,
    requests: BTreeMap<PacketId, Request>,
    /// To be sent.
    packets: Vec<Packet>,
    /// So much waits to be written that QoS 0 is dropped.
    congested: bool,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Here => Self::There,
            Self::There => Self::Here,
        }
    }

    /// The way of what this side publishes.
    const fn way(self) -> Way {
        match self {
            Self::Here => Way::Out,
            Self::There => Way::In,
        }
    }
}

impl Way {
    const fn from(self) -> Side {
        match self {
            Self::Out => Side::Here,
            Self::In => Side::There,
        }
    }

    const fn to(self) -> Side {
        self.from().other()
    }
}

impl Relay {
    /// Between two brokers that have accepted us. What is known of identifiers that have gone stale
    /// is handed on from the connection before ([`Relay::into_lost`]).
    pub fn new(map: TopicMap, here: Terms, there: Terms, lost: (Lost, Lost)) -> Self {
        let end = |terms| End { terms, requests: BTreeMap::new(), packets: Vec::new(), congested: false };
        Self {
            map,
            here: end(here),
            there: end(there),
            out: Lane::new(lost.0),
            into: Lane::new(lost.1),
            aliases: Aliases::default(),
            anew: false,
            notes: Vec::new(),
            dropped: 0,
            forwarded: 0,
            drops_told: false,
        }
    }

    /// The session at the other broker is a new one: what our broker repeats is new there, and what that
    /// one had received already is done with. 5: `[MQTT-3.2.2-5]`, `[MQTT-4.4.0-1]`
    pub fn begin_anew(&mut self) {
        self.anew = true;
    }

    /// What is stale on the way out and on the way in, for the next connection.
    pub fn into_lost(self) -> (Lost, Lost) {
        (self.out.into_lost(), self.into.into_lost())
    }

    /// A packet of one of the brokers.
    pub fn receive(&mut self, side: Side, packet: Packet) -> Result<(), Fault> {
        let (from, to) = (side.way(), side.other().way());
        match packet {
            Packet::Publish(publish) => {
                let publish = self.unalias(side, publish)?;
                self.publish(from, publish)?;
            }
            Packet::PubRel(ack) => self.release(from, &ack)?,
            Packet::PubAck(ack) => self.acknowledged(to, &ack)?,
            Packet::PubRec(ack) => self.received(to, &ack)?,
            Packet::PubComp(ack) => self.completed(to, &ack)?,
            Packet::SubAck(ack) => self.subscribed(side, &ack)?,
            Packet::UnsubAck(ack) => {
                if self.end(side).requests.get(&ack.id) == Some(&Request::Unsubscribe) {
                    self.end(side).requests.remove(&ack.id);
                }
            }
            Packet::PingResp => {}
            Packet::Disconnect(goodbye) => return Err(Fault::Goodbye(goodbye.reason)),
            other => return Err(unexpected(other.packet_type())),
        }
        self.go_on(Way::Out)?;
        self.go_on(Way::In)
    }

    /// True while nothing more may be taken from this broker: its next message has to wait for an
    /// answer of the other one.
    pub fn is_held(&self, side: Side) -> bool {
        match side {
            Side::Here => self.out.held.is_some(),
            Side::There => self.into.held.is_some(),
        }
    }

    /// So much waits to be written to this broker that QoS 0 messages for it are dropped.
    pub fn set_congested(&mut self, side: Side, congested: bool) {
        self.end(side).congested = congested;
    }

    /// What is to be sent to a broker.
    pub fn take_packets(&mut self, side: Side) -> Vec<Packet> {
        mem::take(&mut self.end(side).packets)
    }

    /// What is to be said in the log.
    pub fn take_notes(&mut self) -> Vec<Note> {
        mem::take(&mut self.notes)
    }

    /// Messages dropped since the last time this was asked.
    pub fn take_dropped(&mut self) -> u64 {
        mem::take(&mut self.dropped)
    }

    /// Messages passed on, either way.
    pub fn forwarded(&self) -> u64 {
        self.forwarded
    }

    /// Subscribes; the identifier is for the log.
    pub fn subscribe(&mut self, side: Side, wanted: Wanted, options: SubscriptionOptions) -> PacketId {
        let id = self.request(side, Request::Subscribe(wanted.filter.clone()));
        let options = SubscriptionOptions { qos: wanted.qos, ..options };
        let subscriptions = vec![Subscription { filter: wanted.filter, options }];
        let packet = Subscribe { id, properties: Properties::new(), subscriptions };
        self.end(side).packets.push(Packet::Subscribe(packet));
        id
    }

    /// Unsubscribes; the identifier is for the log.
    pub fn unsubscribe(&mut self, side: Side, filter: TopicFilter) -> PacketId {
        let id = self.request(side, Request::Unsubscribe);
        let packet = Unsubscribe { id, properties: Properties::new(), filters: vec![filter] };
        self.end(side).packets.push(Packet::Unsubscribe(packet));
        id
    }

    /// Publishes something of the bridge's own, with this quality or the best that the broker has.
    pub fn tell(&mut self, side: Side, mut publish: Publish) {
        let terms = self.end(side).terms;
        publish.retain &= terms.retain;
        publish.qos = publish.qos.min(terms.max_qos);
        publish.id = (publish.qos != QoS::AtMostOnce).then(|| self.request(side, Request::Publish));
        self.end(side).packets.push(Packet::Publish(publish));
    }

    /// True when the brokers have answered all that the bridge asked for itself.
    pub fn is_settled(&self) -> bool {
        self.here.requests.is_empty() && self.there.requests.is_empty()
    }

    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Here => &mut self.here,
            Side::There => &mut self.there,
        }
    }

    fn lane(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::Out => &mut self.out,
            Way::In => &mut self.into,
        }
    }

    fn send(&mut self, side: Side, packet: Packet) {
        self.end(side).packets.push(packet);
    }

    /// An identifier for a request of our own, which nothing under way has. `[MQTT-2.3.1-1]`,
    /// `[MQTT-2.3.1-2]` 5: `[MQTT-2.2.1-3]`, `[MQTT-4.3.2-1]`. Brokers count upwards for their messages, so ours
    /// come from the end; a message that has the same one waits.
    fn request(&mut self, side: Side, request: Request) -> PacketId {
        let taken: BTreeSet<PacketId> = self.end(side).requests.keys().copied().collect();
        let lane = self.lane(side.other().way());
        let mut ids = (1..=u16::MAX).rev().filter_map(PacketId::new);
        // A configuration has far fewer topics than there are identifiers.
        let id = ids.find(|id| !taken.contains(id) && !lane.open.contains_key(id)).unwrap_or(PacketId::FIRST);
        self.end(side).requests.insert(id, request);
        id
    }

    fn subscribed(&mut self, side: Side, ack: &SubAck) -> Result<(), Fault> {
        let Some(Request::Subscribe(filter)) = self.end(side).requests.get(&ack.id).cloned() else {
            return Ok(());
        };
        // CVE-2024-10525 was a SUBACK without codes.
        let [code] = ack.codes[..] else {
            return Err(Fault::Protocol(format!("SUBACK with {} codes for one filter", ack.codes.len())));
        };
        self.end(side).requests.remove(&ack.id);
        if code.0 >= ReasonCode::UNSPECIFIED_ERROR.0 {
            self.notes.push(Note::Refused(side, filter, code));
        }
        Ok(())
    }

    /// Puts the topic in that an alias of the other broker stands for.
    fn unalias(&mut self, side: Side, publish: Publish) -> Result<Publish, Fault> {
        let publish = match side {
            Side::Here => publish,
            Side::There => {
                let most = self.there.terms.aliases_in;
                self.aliases.resolve(publish, most).map_err(Fault::Protocol)?
            }
        };
        if publish.topic.is_empty() {
            return Err(Fault::Protocol("a message without a topic".to_owned()));
        }
        Ok(publish)
    }

    /// A message: under its name on the other side, as good as that side takes it.
    fn publish(&mut self, way: Way, publish: Publish) -> Result<(), Fault> {
        let passed = match self.fit(way, &publish) {
            Ok(passed) => passed,
            Err(why) => {
                self.drop_message(way, &publish, why);
                return Ok(());
            }
        };
        if let Some(id) = passed.id {
            if self.must_wait(way, id, passed.qos) {
                self.lane(way).held = Some(publish);
                return Ok(());
            }
            let stage = match (publish.qos, passed.qos) {
                (QoS::ExactlyOnce, QoS::ExactlyOnce) => Stage::Sent,
                (QoS::ExactlyOnce, _) => Stage::Lowered,
                _ => Stage::Once,
            };
            if !self.lane(way).begin(id, stage, publish.dup) {
                return Err(Fault::Protocol(format!("packet identifier {id} is in use")));
            }
        } else {
            self.settle(way, &publish);
        }
        self.forwarded += 1;
        let passed = match way {
            Way::Out => self.aliases.shorten(passed, self.there.terms.aliases_out),
            Way::In => passed,
        };
        self.send(way.to(), Packet::Publish(passed));
        Ok(())
    }

    /// A message as the other side is to get it, with DUP only above QoS 0, or why it does not.
    fn fit(&mut self, way: Way, publish: &Publish) -> Result<Publish, &'static str> {
        let mapped = self.map.map(way, &publish.topic).ok_or("no topic line is for it")?;
        // One more would end the connection to our engine.
        let separators = mapped.topic.as_str().bytes().filter(|byte| *byte == b'/').count();
        if way == Way::In && separators > MAX_TOPIC_SEPARATORS {
            return Err("its topic has too many levels");
        }
        let end = self.end(way.to());
        let terms = end.terms;
        if publish.qos == QoS::AtMostOnce && end.congested {
            return Err("too much waits to be written");
        }
        // 5: [MQTT-3.2.2-11]
        let qos = publish.qos.min(mapped.qos).min(terms.max_qos);
        let id = publish.id.filter(|_| qos != QoS::AtMostOnce);
        let passed = Publish {
            // [MQTT-3.3.1-1], [MQTT-3.3.1-2] 5: [MQTT-3.3.1-1], [MQTT-3.3.1-2]
            dup: publish.dup && id.is_some() && !(way == Way::Out && self.anew),
            qos,
            // 5: [MQTT-3.2.2-14]
            retain: publish.retain && terms.retain,
            topic: mapped.topic,
            id,
            payload: publish.payload.clone(),
            properties: passed_on(&publish.properties),
        };
        let size = encoded_len(&Packet::Publish(passed.clone()), terms.version) + aliased_len(terms);
        if terms.max_packet_size.is_some_and(|most| size > most as usize) {
            return Err("it is too large");
        }
        Ok(passed)
    }

    /// True if a message has to wait: its identifier stands for a request of ours, or for a message
    /// that the other broker remembers from a session of this one that is no more.
    fn must_wait(&mut self, way: Way, id: PacketId, qos: QoS) -> bool {
        if self.end(way.to()).requests.contains_key(&id) {
            return true;
        }
        if qos != QoS::ExactlyOnce || !self.lane(way).is_stale(id) {
            return false;
        }
        for id in self.lane(way).purge(id) {
            self.send(way.to(), Packet::PubRel(Ack::success(id)));
        }
        true
    }

    /// Goes on with a message that had to wait.
    fn go_on(&mut self, way: Way) -> Result<(), Fault> {
        let Some(held) = &self.lane(way).held else { return Ok(()) };
        let id = held.id;
        let waits = id.is_some_and(|id| self.end(way.to()).requests.contains_key(&id));
        if waits || self.lane(way).is_purging() {
            return Ok(());
        }
        let Some(held) = self.lane(way).held.take() else { return Ok(()) };
        self.publish(way, held)
    }

    fn drop_message(&mut self, way: Way, publish: &Publish, why: &'static str) {
        self.dropped += 1;
        if !mem::replace(&mut self.drops_told, true) {
            self.notes.push(Note::Dropping(way, publish.topic.clone(), why));
        }
        self.settle(way, publish);
    }

    /// Answers a message that the other broker does not get, or not with an answer. `[MQTT-4.5.0-2]`
    /// 5: `[MQTT-4.5.0-2]`
    fn settle(&mut self, way: Way, publish: &Publish) {
        let Some(id) = publish.id else { return };
        let ack = Ack::success(id);
        if publish.qos == QoS::ExactlyOnce {
            self.lane(way).settled.insert(id);
            self.send(way.from(), Packet::PubRec(ack));
        } else {
            self.send(way.from(), Packet::PubAck(ack));
        }
    }

    /// PUBREL of the broker where the message began: it goes on only behind PUBREC, with the message's
    /// identifier. `[MQTT-4.3.3-1]` 5: `[MQTT-4.3.3-4]`
    fn release(&mut self, way: Way, ack: &Ack) -> Result<(), Fault> {
        let of_old = way == Way::Out && self.anew && !self.out.open.contains_key(&ack.id);
        let lane = self.lane(way);
        if lane.settled.remove(&ack.id) || of_old {
            self.send(way.from(), Packet::PubComp(Ack::success(ack.id)));
            return Ok(());
        }
        // Without an entry it is from an earlier connection.
        if !lane.release(ack.id) {
            return Err(Fault::Protocol(format!("PUBREL for {}, which was not received", ack.id)));
        }
        self.send(way.to(), Packet::PubRel(Ack::success(ack.id)));
        Ok(())
    }

    /// PUBACK of the broker where the message ended: its identifier is free.
    /// `[MQTT-2.3.1-3]`, `[MQTT-4.3.2-1]` 5: `[MQTT-4.3.2-3]`
    fn acknowledged(&mut self, way: Way, ack: &Ack) -> Result<(), Fault> {
        if self.end(way.to()).requests.get(&ack.id) == Some(&Request::Publish) {
            self.end(way.to()).requests.remove(&ack.id);
            return Ok(());
        }
        match self.lane(way).open.get(&ack.id) {
            Some(Stage::Once) => {
                self.lane(way).open.remove(&ack.id);
                self.answer(way, PacketType::PubAck, ack);
            }
            Some(Stage::Lowered) => {
                self.lane(way).open.remove(&ack.id);
                self.lane(way).settled.insert(ack.id);
                self.send(way.from(), Packet::PubRec(Ack::success(ack.id)));
            }
            Some(_) => return Err(Fault::Protocol(format!("PUBACK for {}, which is of QoS 2", ack.id))),
            None => {}
        }
        Ok(())
    }

    /// PUBREC of the broker where the message ended.
    fn received(&mut self, way: Way, ack: &Ack) -> Result<(), Fault> {
        let refused = !ack.reason.is_success();
        match self.lane(way).open.get(&ack.id) {
            Some(Stage::Sent) if refused => {
                self.lane(way).open.remove(&ack.id);
                if self.end(way.from()).terms.version.is_v5() {
                    self.answer(way, PacketType::PubRec, ack);
                } else {
                    // Who cannot be told of a refusal takes it for done.
                    self.lane(way).settled.insert(ack.id);
                    self.send(way.from(), Packet::PubRec(Ack::success(ack.id)));
                }
            }
            Some(Stage::Sent) => {
                self.lane(way).open.insert(ack.id, Stage::Received);
                self.answer(way, PacketType::PubRec, ack);
            }
            Some(Stage::Once | Stage::Lowered) => {
                return Err(Fault::Protocol(format!("PUBREC for {}, which is of QoS 1", ack.id)));
            }
            Some(Stage::Received | Stage::Released) | None => {}
        }
        Ok(())
    }

    /// PUBCOMP of the broker where the message ended.
    fn completed(&mut self, way: Way, ack: &Ack) -> Result<(), Fault> {
        if self.lane(way).purged(ack.id) {
            return Ok(());
        }
        match self.lane(way).open.get(&ack.id) {
            Some(Stage::Released) => {
                self.lane(way).open.remove(&ack.id);
                self.answer(way, PacketType::PubComp, ack);
            }
            Some(_) => return Err(Fault::Protocol(format!("PUBCOMP for {}, not released", ack.id))),
            None => {}
        }
        Ok(())
    }

    /// Passes an acknowledgement back, with its reason where it may stand there. That nobody subscribed is
    /// for brokers alone to say. 5: `[MQTT-3.4.2-1]`, `[MQTT-3.5.2-1]`
    fn answer(&mut self, way: Way, kind: PacketType, ack: &Ack) {
        let reason = match ack.reason {
            ReasonCode::NO_MATCHING_SUBSCRIBERS if way == Way::In => ReasonCode::SUCCESS,
            reason if reason.allowed_in(kind) => reason,
            _ => ReasonCode::UNSPECIFIED_ERROR,
        };
        let ack = Ack::with_reason(ack.id, reason);
        self.send(
            way.from(),
            match kind {
                PacketType::PubRec => Packet::PubRec(ack),
                PacketType::PubComp => Packet::PubComp(ack),
                _ => Packet::PubAck(ack),
            },
        );
    }
}

fn unexpected(kind: PacketType) -> Fault {
    Fault::Protocol(format!("{} is not for a client", kind.name()))
}

/// The properties that belong to the message and not to the connection.
fn passed_on(properties: &Properties) -> Properties {
    let own = |property: &&Property| {
        !matches!(property, Property::TopicAlias(_) | Property::SubscriptionIdentifier(_))
    };
    properties.iter().filter(own).cloned().collect()
}

/// What an alias may add to a packet.
fn aliased_len(terms: Terms) -> usize {
    if terms.aliases_out > 0 { 3 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::config::{BridgeDirection, BridgeTopic};
    use crate::mqtt::ProtocolVersion::V5;
    use crate::mqtt::packet::ConnAck;

    /// A message of QoS 2 from here has gone there, under this identifier.
    fn one_under_way(id: PacketId) -> Relay {
        let direction = BridgeDirection::Out;
        let (pattern, qos) = (Some("#".to_owned()), QoS::ExactlyOnce);
        let (local_prefix, remote_prefix) = (String::new(), "far/".to_owned());
        let line = BridgeTopic { pattern, direction, qos, local_prefix, remote_prefix };
        let terms = Terms::of(V5, &ConnAck::default());
        let map = TopicMap::new(&[line]).expect("a good line");
        let mut relay = Relay::new(map, terms, terms, Default::default());
        let topic = TopicName::new("t").expect("a topic");
        let (payload, properties) = (bytes::Bytes::new(), Properties::new());
        let publish = Publish { dup: false, qos, retain: false, topic, id: Some(id), payload, properties };
        relay.receive(Side::Here, Packet::Publish(publish)).expect("in order");
        let sent = relay.take_packets(Side::There);
        assert!(
            matches!(&sent[..], [Packet::Publish(it)] if it.id == Some(id) && *it.topic.as_str() == *"far/t")
        );
        assert!(relay.take_packets(Side::Here).is_empty(), "nothing is acknowledged that is not there yet");
        relay
    }

    #[test]
    fn a_step_is_passed_on_only_in_its_turn() {
        let id = PacketId::FIRST;
        let ack = || Ack::success(id);
        let mut relay = one_under_way(id);
        relay.receive(Side::There, Packet::PubRec(ack())).expect("in order");
        assert_eq!(relay.take_packets(Side::Here), [Packet::PubRec(ack())]);
        relay.receive(Side::Here, Packet::PubRel(ack())).expect("in order");
        assert_eq!(relay.take_packets(Side::There), [Packet::PubRel(ack())]);
        relay.receive(Side::There, Packet::PubComp(ack())).expect("in order");
        assert_eq!(relay.take_packets(Side::Here), [Packet::PubComp(ack())]);
        for (side, early) in [
            (Side::Here, Packet::PubRel(ack())),
            (Side::There, Packet::PubComp(ack())),
            (Side::There, Packet::PubAck(ack())),
        ] {
            assert!(matches!(one_under_way(id).receive(side, early), Err(Fault::Protocol(_))));
        }
    }
}
