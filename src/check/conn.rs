//! What is known of one connection: who said what so far. Judges nothing.

use std::collections::BTreeMap;

use super::Party;
use super::flights::{Flights, content};
use super::interests::Interests;
use crate::mqtt::packet::{ConnAck, Connect, Publish};
use crate::mqtt::{Packet, PacketId, ProtocolVersion, ReasonCode, TopicName};

/// Topics whose retained messages are counted; beyond that they are not.
const TOPICS: usize = 4_000;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Conn {
    /// The first CONNECT, its password and will payload left out.
    pub connect: Option<Box<Connect>>,
    /// The first CONNACK.
    pub connack: Option<Box<ConnAck>>,
    /// CONNECT packets so far.
    pub connects: u32,
    /// CONNACK packets so far.
    pub connacks: u32,
    /// When the first CONNACK came.
    pub accepted_at: Option<f64>,
    /// DISCONNECT gave the session another time to live.
    pub expiry_changed: bool,
    /// From when on the client is sure to have read the CONNACK.
    pub told_at: Option<f64>,
    /// Its network connection is over.
    pub ended: bool,
    /// Requests that wait for SUBACK or UNSUBACK.
    pub requests: BTreeMap<PacketId, Request>,
    /// What the client asked to be sent, in this session.
    pub interests: Interests,
    /// PUBLISH packets with RETAIN and without DUP, by topic.
    pub retained: BTreeMap<TopicName, u32>,
    /// Too many to be counted.
    pub retained_unknown: bool,
    client: Side,
    broker: Side,
}

/// A SUBSCRIBE or UNSUBSCRIBE.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// With the options of its filters.
    Subscribe(Vec<u8>),
    /// With so many filters.
    Unsubscribe(usize),
}

/// One end of a connection.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Packets that it sent.
    pub packets: u64,
    /// It sent DISCONNECT.
    pub said_goodbye: bool,
    /// It broke the protocol, so that what the other end does then cannot be judged by it.
    pub broke: bool,
    /// What it sends can no longer be read.
    pub unreadable: bool,
    /// When its latest packet was seen.
    pub last_at: Option<f64>,
    /// Names of checks that found something here already.
    pub reported: Vec<&'static str>,
    /// What its topic aliases stand for.
    pub aliases: BTreeMap<u16, TopicName>,
    /// What it publishes.
    pub flights: Flights,
}

impl Conn {
    /// The revision in force.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.connect.as_ref().map(|connect| connect.version)
    }

    pub fn side(&self, party: Party) -> &Side {
        match party {
            Party::Client => &self.client,
            Party::Broker => &self.broker,
        }
    }

    pub fn side_mut(&mut self, party: Party) -> &mut Side {
        match party {
            Party::Client => &mut self.client,
            Party::Broker => &mut self.broker,
        }
    }

    /// The CONNACK, if it let the client in.
    pub fn accepted(&self) -> Option<&ConnAck> {
        self.connack.as_deref().filter(|answer| answer.code == ReasonCode::SUCCESS)
    }

    /// True when one of the two broke the protocol.
    pub fn is_broken(&self) -> bool {
        self.client.broke || self.broker.broke || self.connects > 1
    }

    /// Seconds of the keep-alive in force, 0 for none.
    pub fn keep_alive(&self) -> Option<u16> {
        let asked = self.connect.as_ref()?.keep_alive;
        Some(self.connack.as_ref().and_then(|answer| answer.properties.server_keep_alive()).unwrap_or(asked))
    }

    /// The topic that a PUBLISH is to, its alias resolved.
    pub fn topic<'a>(&'a self, from: Party, publish: &'a Publish) -> Option<&'a TopicName> {
        if !publish.topic.is_empty() {
            return Some(&publish.topic);
        }
        self.side(from).aliases.get(&publish.properties.topic_alias()?)
    }

    /// Brings it up to date with a packet.
    pub fn take(&mut self, from: Party, packet: &Packet, at: f64) {
        let side = self.side_mut(from);
        side.packets += 1;
        side.last_at = Some(at);
        match packet {
            Packet::Connect(connect) => self.take_connect(connect),
            Packet::ConnAck(answer) => {
                self.connacks += 1;
                if self.connack.is_none() {
                    self.accepted_at = Some(at);
                    self.connack = Some(Box::new(answer.clone()));
                }
            }
            Packet::Publish(publish) => self.take_publish(from, publish),
            Packet::PubAck(ack) => self.side_mut(from.peer()).flights.acknowledge(ack),
            Packet::PubRec(ack) => self.side_mut(from.peer()).flights.receive(ack),
            Packet::PubRel(ack) => side.flights.release(ack),
            Packet::PubComp(ack) => self.side_mut(from.peer()).flights.complete(ack),
            Packet::Subscribe(subscribe) => {
                let qos = subscribe.subscriptions.iter().map(|one| one.options.qos.as_u8()).collect();
                self.requests.insert(subscribe.id, Request::Subscribe(qos));
                self.interests.ask(subscribe);
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.requests.insert(unsubscribe.id, Request::Unsubscribe(unsubscribe.filters.len()));
            }
            Packet::SubAck(ack) => {
                self.requests.remove(&ack.id);
                self.interests.answer(ack);
            }
            Packet::UnsubAck(ack) => {
                self.requests.remove(&ack.id);
            }
            Packet::Disconnect(goodbye) => {
                side.said_goodbye = true;
                self.expiry_changed |= goodbye.properties.session_expiry_interval().is_some();
            }
            Packet::PingReq | Packet::PingResp | Packet::Auth(_) => {}
        }
        // Only a client that has read what came after the CONNACK answers it.
        let answers = matches!(packet, Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_));
        if from == Party::Client
            && answers
            && self.connack.is_some()
            && self.told_at.is_none_or(|told| told > at)
        {
            self.told_at = Some(at);
        }
    }

    fn take_connect(&mut self, connect: &Connect) {
        self.connects += 1;
        if self.connect.is_some() {
            return;
        }
        let mut connect = Box::new(connect.clone());
        connect.password = None;
        if let Some(will) = &mut connect.will {
            will.payload = bytes::Bytes::new();
        }
        if !connect.clean_start {
            self.client.flights = Flights::unseen();
            self.interests = Interests::unseen();
        }
        self.connect = Some(connect);
    }

    fn take_publish(&mut self, from: Party, publish: &Publish) {
        let topic = self.topic(from, publish).cloned();
        let side = self.side_mut(from);
        side.flights.publish(publish);
        if let (Some(alias), Some(topic)) = (publish.properties.topic_alias(), &topic) {
            side.aliases.insert(alias, topic.clone());
        }
        if let (Party::Broker, true, false, Some(topic)) = (from, publish.retain, publish.dup, topic) {
            if self.retained.len() < TOPICS || self.retained.contains_key(&topic) {
                *self.retained.entry(topic).or_default() += 1;
            } else {
                self.retained_unknown = true;
            }
        }
    }

    /// The broker let the client in without a session: all that there is began here.
    pub fn start_afresh(&mut self) {
        let version = self.version().unwrap_or_default();
        let clean = self.connect.as_ref().is_some_and(|connect| connect.clean_start);
        self.broker.flights.unknown = false;
        self.broker.flights.unknown_to_sender = false;
        self.client.flights.unknown = false;
        // A 3.1.1 client may go on with what it remembers by itself.
        self.client.flights.unknown_to_sender = !clean && !version.is_v5();
        self.interests.start_afresh();
    }

    /// The broker goes on with a session: that of an earlier connection, if that was seen. `at_client`: what
    /// the client has read is known.
    pub fn go_on(&mut self, before: Option<&Self>, at_client: bool) {
        let Some(before) = before else {
            self.client.flights.add(Flights::unseen());
            self.broker.flights.add(Flights::unseen());
            self.interests.add(Interests::unseen());
            self.retained_unknown = true;
            return;
        };
        self.client.flights.add(before.client.flights.resumed());
        self.broker.flights.add(before.broker.flights.resumed());
        // What a broker writes before it takes note of an end is lost, and is sent again with DUP.
        self.broker.flights.sent_unseen = true;
        // What acknowledges it may never have come to the client either.
        self.client.flights.sent_unseen = !at_client;
        self.interests.add(before.interests.resumed());
        self.retained.clone_from(&before.retained);
        self.retained_unknown = before.retained_unknown;
    }

    /// Whether a PUBLISH says what an open one of the same identifier said.
    pub fn repeats(&self, from: Party, publish: &Publish) -> bool {
        let open = publish.id.and_then(|id| self.side(from).flights.get(id));
        // What an alias stood for on another connection is not known.
        open.is_some_and(|flight| flight.content == content(publish))
    }
}
