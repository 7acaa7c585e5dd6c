//! Many clients against one engine, on bytes that arrive in pieces, connections that break and a
//! broker that crashes and comes back with what it had on disk, all drawn from a seed: what QoS 1 and
//! 2, order, the receive maximum and retained messages promise must hold in every run.
//!
//! No sockets and no clock. A failing run prints its seed; `SEED=17 cargo test --test it simulation`
//! runs that one alone, `SEEDS=10000` runs so many.

mod disk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mqttlab::broker::auth::{Rules, Zone};
use mqttlab::broker::config::{Config, SecurityConfig, SessionLimits};
use mqttlab::broker::engine::{ConnId, Engine, Kept, Loss, Output, Peer};
use mqttlab::mqtt::codec::{self, Decoder, Limits};
use mqttlab::mqtt::packet::{
    Ack, Connect, Disconnect, Publish, Subscribe, Subscription, SubscriptionOptions,
};
use mqttlab::mqtt::{
    Packet, PacketId, Properties, Property, ProtocolVersion, QoS, ReasonCode, TopicFilter, TopicName,
};

use crate::support::random::Random;
use disk::Disk;

/// Seeds of one test run.
const SEEDS: u64 = 300;
/// Random steps before everything is brought to rest.
const STEPS: usize = 600;
const TOPICS: usize = 3;
/// One step in so many is a crash of the broker.
const CRASH: usize = 150;

/// What a client has sent and not finished.
enum Outgoing {
    Publish(Publish),
    Release,
}

/// A transport connection: bytes under way in both directions.
struct Wire {
    conn: ConnId,
    server: Decoder,
    client: Decoder,
    /// Written by the client, not seen by the server yet; and what the server has of a packet.
    to_server: VecDeque<u8>,
    at_server: BytesMut,
    to_client: VecDeque<u8>,
    at_client: BytesMut,
    connected: bool,
    /// QoS 1 and 2 messages that the server sent here and the client has not acknowledged.
    open: BTreeSet<PacketId>,
}

/// A client that never forgets: it keeps its side of the session over all connections.
struct Client {
    name: String,
    version: ProtocolVersion,
    receive_maximum: u16,
    filters: Vec<(TopicFilter, QoS)>,
    wire: Option<Wire>,
    outgoing: BTreeMap<u64, (PacketId, Outgoing)>,
    next_id: PacketId,
    /// QoS 2 messages between PUBREC and PUBREL.
    half_received: BTreeSet<PacketId>,
    /// Answers that it owes, in order.
    owed: VecDeque<Packet>,
    received: Vec<(String, QoS)>,
    sent: usize,
    /// The last message that it retained, and the last of those that was acknowledged.
    retained: usize,
    retained_surely: usize,
}

/// A message as its publisher sent it.
struct Sent {
    topic: usize,
    qos: QoS,
    payload: String,
}

struct World {
    engine: Engine,
    disk: Disk,
    config: Arc<Config>,
    rules: Arc<Rules>,
    random: Random,
    now: Instant,
    clients: Vec<Client>,
    sent: Vec<Sent>,
    order: u64,
    /// `max_inflight_messages`
    limit: u16,
    /// A digest of all that reached a client.
    digest: u64,
}

fn config(max_inflight: u16) -> Arc<Config> {
    let listener = mqttlab::broker::config::ListenerConfig::default();
    Arc::new(Config {
        listeners: vec![listener],
        security: vec![SecurityConfig { allow_anonymous: true, ..SecurityConfig::default() }],
        limits: SessionLimits {
            max_inflight_messages: max_inflight,
            max_queued_messages: 0,
            allow_duplicate_messages: false,
            ..SessionLimits::default()
        },
        ..Config::default()
    })
}

fn topic_name(topic: usize) -> String {
    format!("t/{topic}")
}

impl Client {
    fn new(index: usize, random: &mut Random) -> Self {
        let qos = |random: &mut Random| QoS::from_u8(u8::try_from(random.below(3)).expect("0 to 2"));
        let mut filters = vec![(format!("t/{}", random.below(TOPICS)), qos(random).expect("a QoS"))];
        if random.one_in(2) {
            filters.push(("t/+".to_owned(), qos(random).expect("a QoS")));
        }
        Self {
            name: format!("c{index}"),
            version: ProtocolVersion::ALL[random.below(3)],
            receive_maximum: [1, 2, 5, 100][random.below(4)],
            filters: filters
                .into_iter()
                .map(|(filter, qos)| (TopicFilter::new(filter).expect("a filter"), qos))
                .collect(),
            wire: None,
            outgoing: BTreeMap::new(),
            next_id: PacketId::FIRST,
            half_received: BTreeSet::new(),
            owed: VecDeque::new(),
            received: Vec::new(),
            sent: 0,
            retained: 0,
            retained_surely: 0,
        }
    }

    fn connect_packet(&self) -> Packet {
        let mut properties = Properties::new();
        if self.version.is_v5() {
            properties.push(Property::SessionExpiryInterval(u32::MAX));
            properties.push(Property::ReceiveMaximum(self.receive_maximum));
        }
        Packet::Connect(Box::new(Connect {
            version: self.version,
            client_id: self.name.clone().into(),
            clean_start: false,
            properties,
            ..Connect::default()
        }))
    }

    fn send(&mut self, packet: &Packet) {
        if let Some(wire) = &mut self.wire {
            let mut bytes = BytesMut::new();
            codec::encode(packet, self.version, &mut bytes);
            wire.to_server.extend(bytes);
        }
    }

    /// The highest QoS granted to this client for a topic, if it subscribed.
    fn granted(&self, topic: usize) -> Option<QoS> {
        let topic = TopicName::new(topic_name(topic)).expect("a topic");
        self.filters.iter().filter(|(filter, _)| filter.matches(&topic)).map(|(_, qos)| *qos).max()
    }

    fn on_packet(&mut self, packet: Packet, limit: u16) {
        match packet {
            Packet::ConnAck(connack) => {
                assert_eq!(connack.code, ReasonCode::SUCCESS, "{} is refused", self.name);
                self.on_connected();
            }
            Packet::Publish(publish) => self.on_publish(&publish, limit),
            Packet::PubAck(ack) => self.finish(ack.id, false),
            Packet::PubRec(ack) => {
                self.accepted(ack.id);
                if let Some((_, outgoing)) = self.outgoing.values_mut().find(|(id, _)| *id == ack.id) {
                    *outgoing = Outgoing::Release;
                }
                self.owed.push_back(Packet::PubRel(Ack::success(ack.id)));
            }
            Packet::PubRel(ack) => {
                self.half_received.remove(&ack.id);
                self.owed.push_back(Packet::PubComp(Ack::success(ack.id)));
            }
            Packet::PubComp(ack) => self.finish(ack.id, true),
            Packet::SubAck(_) | Packet::PingResp => {}
            other => panic!("{} got {other:?}", self.name),
        }
    }

    /// Subscribes again (which changes nothing) and repeats what is open.
    fn on_connected(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.connected = true;
        }
        let subscriptions = self
            .filters
            .iter()
            .map(|(filter, qos)| Subscription {
                filter: filter.clone(),
                options: SubscriptionOptions { qos: *qos, ..SubscriptionOptions::default() },
            })
            .collect();
        let id = PacketId::new(65_000).expect("not zero");
        self.send(&Packet::Subscribe(Subscribe { id, properties: Properties::new(), subscriptions }));
        let again: Vec<Packet> = self
            .outgoing
            .values()
            .map(|(id, outgoing)| match outgoing {
                Outgoing::Publish(publish) => Packet::Publish(Publish { dup: true, ..publish.clone() }),
                Outgoing::Release => Packet::PubRel(Ack::success(*id)),
            })
            .collect();
        for packet in again {
            self.send(&packet);
        }
    }

    fn on_publish(&mut self, publish: &Publish, limit: u16) {
        let payload = String::from_utf8(publish.payload.to_vec()).expect("our own text");
        let Some(id) = publish.id else {
            self.received.push((payload, QoS::AtMostOnce));
            return;
        };
        let wire = self.wire.as_mut().expect("it came over one");
        wire.open.insert(id);
        assert!(
            wire.open.len() <= usize::from(limit),
            "{}: {} unacknowledged, at most {limit} allowed",
            self.name,
            wire.open.len()
        );
        if publish.qos == QoS::AtLeastOnce {
            self.received.push((payload, publish.qos));
            self.owed.push_back(Packet::PubAck(Ack::success(id)));
        } else {
            if self.half_received.insert(id) {
                self.received.push((payload, publish.qos));
            }
            self.owed.push_back(Packet::PubRec(Ack::success(id)));
        }
    }

    /// The broker has taken over this message.
    fn accepted(&mut self, id: PacketId) {
        if let Some((_, Outgoing::Publish(publish))) = self.outgoing.values().find(|(open, _)| *open == id)
            && publish.retain
        {
            let text = std::str::from_utf8(&publish.payload).expect("our own text");
            let number = text.rsplit('/').next().and_then(|number| number.parse().ok());
            self.retained_surely = number.expect("our own number");
        }
    }

    fn finish(&mut self, id: PacketId, released: bool) {
        if !released {
            self.accepted(id);
        }
        self.outgoing
            .retain(|_, (open, outgoing)| *open != id || matches!(outgoing, Outgoing::Release) != released);
    }

    /// Pays one answer.
    fn pay(&mut self) {
        let Some(packet) = self.owed.pop_front() else { return };
        if let (Packet::PubAck(ack) | Packet::PubComp(ack), Some(wire)) = (&packet, &mut self.wire) {
            wire.open.remove(&ack.id);
        }
        self.send(&packet);
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let now = Instant::now();
        let max_inflight = [0, 1, 3, 20][random.below(4)];
        let rules = Rules::new(vec![Zone { allow_anonymous: true, ..Zone::default() }]);
        let (config, rules) = (config(max_inflight), Arc::new(rules));
        let mut engine = Engine::new(Arc::clone(&config), Arc::clone(&rules), seed, now);
        engine.restore(Kept::default(), now);
        let disk = Disk::default();
        let count = 2 + random.below(4);
        let clients = (0..count).map(|index| Client::new(index, &mut random)).collect();
        let limit = max_inflight;
        Self {
            engine,
            disk,
            config,
            rules,
            random,
            now,
            clients,
            sent: Vec::new(),
            order: 0,
            limit,
            digest: 0,
        }
    }

    /// What the engine may have open towards a client.
    fn limit(&self, client: usize) -> u16 {
        let own = if self.limit == 0 { u16::MAX } else { self.limit };
        let client = &self.clients[client];
        if client.version.is_v5() { own.min(client.receive_maximum) } else { own }
    }

    fn connect(&mut self, index: usize) {
        let conn = self.engine.open(Peer::new(0, None), self.now);
        let client = &mut self.clients[index];
        client.owed.clear();
        client.wire = Some(Wire {
            conn,
            server: Decoder::server(Limits::default()),
            client: Decoder::client(client.version, Limits::default()),
            to_server: VecDeque::new(),
            at_server: BytesMut::new(),
            to_client: VecDeque::new(),
            at_client: BytesMut::new(),
            connected: false,
            open: BTreeSet::new(),
        });
        let packet = client.connect_packet();
        client.send(&packet);
    }

    /// Cuts the connection: what is under way is lost.
    fn drop_connection(&mut self, index: usize) {
        if let Some(wire) = self.clients[index].wire.take() {
            self.engine.handle_loss(wire.conn, Loss::Eof, self.now);
            self.disk.write(&mut self.engine);
        }
    }

    /// The broker is gone and comes back with what was on its disk; all connections are cut.
    fn crash(&mut self) {
        let (config, rules) = (Arc::clone(&self.config), Arc::clone(&self.rules));
        self.engine = self.disk.crash(config, rules, &mut self.random, self.now);
        for client in &mut self.clients {
            client.wire = None;
        }
        self.check_retained();
    }

    fn check_retained(&mut self) {
        let found = disk::retained(&mut self.engine, self.now);
        self.disk.write(&mut self.engine);
        for client in &self.clients {
            let number = found.get(&format!("r/{}", client.name)).map_or(0, |text| {
                text.rsplit('/').next().and_then(|number| number.parse().ok()).expect("our own number")
            });
            assert!(
                (client.retained_surely..=client.retained).contains(&number),
                "{}: number {number} is retained, {} was acknowledged",
                client.name,
                client.retained_surely
            );
        }
    }

    fn publish(&mut self, index: usize) {
        let topic = self.random.below(TOPICS);
        let qos = QoS::from_u8(u8::try_from(self.random.below(3)).expect("0 to 2")).expect("a QoS");
        let client = &mut self.clients[index];
        // The engine's own receive maximum holds for 5.0 clients.
        let open = client.outgoing.len();
        if !client.wire.as_ref().is_some_and(|wire| wire.connected)
            || (self.limit > 0 && open >= usize::from(self.limit))
        {
            return;
        }
        // At one QoS a client: a QoS 1 message that is repeated may come behind a QoS 2 one.
        let retained_at = if index.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let retain = qos == retained_at && self.random.one_in(4);
        client.sent += 1;
        let payload = format!("{}/{topic}/{}/{}", client.name, qos.as_u8(), client.sent);
        let topic_name = if retain { format!("r/{}", client.name) } else { topic_name(topic) };
        if retain {
            client.retained = client.sent;
        }
        let id = (qos > QoS::AtMostOnce).then_some(client.next_id);
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic: TopicName::new(topic_name).expect("a topic"),
            id,
            payload: payload.clone().into(),
            properties: Properties::new(),
        };
        if let Some(id) = id {
            client.next_id = if id.get() < 60_000 { id.next() } else { PacketId::FIRST };
            self.order += 1;
            client.outgoing.insert(self.order, (id, Outgoing::Publish(publish.clone())));
            if !retain {
                self.sent.push(Sent { topic, qos, payload });
            }
        }
        client.send(&Packet::Publish(publish));
    }

    /// Some bytes arrive at the server.
    fn move_to_server(&mut self, index: usize, most: usize) {
        let Some(wire) = &mut self.clients[index].wire else { return };
        let count = wire.to_server.len().min(1 + self.random.below(most));
        wire.at_server.extend(wire.to_server.drain(..count));
        while let Some((packet, size)) = wire.server.decode(&mut wire.at_server).expect("good bytes") {
            match packet {
                Packet::Connect(connect) => {
                    self.engine.handle_connect(wire.conn, *connect, Ok(()), self.now);
                }
                packet => self.engine.handle_packet(wire.conn, packet, size, self.now),
            }
            self.disk.write(&mut self.engine);
        }
    }

    /// What the engine wants done: frames are taken and written.
    fn serve(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            let Output::Wake(conn) = output else { continue };
            let wire = self.clients.iter_mut().filter_map(|client| client.wire.as_mut());
            let Some(wire) = wire.into_iter().find(|wire| wire.conn == conn) else { continue };
            loop {
                let mut frames = Vec::new();
                let most = 1 + self.random.below(200);
                let drained = self.engine.take_frames(conn, most, &mut frames, self.now);
                self.disk.write(&mut self.engine);
                if !frames.is_empty() {
                    self.disk.barrier();
                }
                let version = self.engine.version(conn).expect("it has spoken");
                let mut bytes = BytesMut::new();
                for frame in frames {
                    frame.encode(version, &mut bytes);
                }
                wire.to_client.extend(bytes);
                assert!(!drained.close, "the engine closes a well-behaved client");
                if !drained.more {
                    break;
                }
            }
        }
    }

    /// Some bytes arrive at the client.
    fn move_to_client(&mut self, index: usize, most: usize) {
        let limit = self.limit(index);
        let most = 1 + self.random.below(most);
        let client = &mut self.clients[index];
        let Some(wire) = &mut client.wire else { return };
        let count = wire.to_client.len().min(most);
        wire.at_client.extend(wire.to_client.drain(..count));
        loop {
            let Some(wire) = &mut client.wire else { return };
            let decoded = wire.client.decode(&mut wire.at_client).expect("the engine sends good bytes");
            let Some((packet, size)) = decoded else { return };
            let kind = packet.packet_type() as u64;
            self.digest = self.digest.rotate_left(7) ^ (size as u64) << 8 ^ kind ^ (index as u64) << 40;
            client.on_packet(packet, limit);
        }
    }

    fn step(&mut self) {
        let index = self.random.below(self.clients.len());
        if self.random.one_in(CRASH) {
            self.crash();
        }
        match self.random.below(16) {
            0 if self.random.one_in(4) => self.drop_connection(index),
            0 if self.random.one_in(4) => self.clients[index].send(&Packet::PingReq),
            0..=4 => self.publish(index),
            5..=8 => self.move_to_server(index, 120),
            9..=11 => self.move_to_client(index, 120),
            12..=14 => self.clients[index].pay(),
            _ => self.now += Duration::from_millis(self.random.next() % 1000),
        }
        if self.clients[index].wire.is_none() {
            self.connect(index);
        }
        self.serve();
    }

    /// No more breaks: everything under way arrives, everything owed is paid.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for index in 0..self.clients.len() {
                if self.clients[index].wire.is_none() {
                    self.connect(index);
                }
                while !self.clients[index].owed.is_empty() {
                    self.clients[index].pay();
                }
                let wire = self.clients[index].wire.as_ref().expect("just connected");
                quiet &= wire.to_server.is_empty() && wire.to_client.is_empty();
                self.move_to_server(index, 1 << 16);
                self.serve();
                self.move_to_client(index, 1 << 16);
                quiet &= self.clients[index].owed.is_empty();
            }
            if quiet {
                return;
            }
        }
    }

    fn check(&self) {
        for client in &self.clients {
            assert!(client.outgoing.is_empty(), "{} was not acknowledged in the end", client.name);
            assert!(client.half_received.is_empty(), "{} waits for a PUBREL", client.name);
            let mut count: BTreeMap<&str, usize> = BTreeMap::new();
            let mut first = Vec::new();
            for (payload, qos) in &client.received {
                let seen = count.entry(payload).or_default();
                *seen += 1;
                if *seen == 1 {
                    first.push((payload.as_str(), *qos));
                }
            }
            for Sent { topic, qos, payload } in &self.sent {
                let got = count.get(payload.as_str()).copied().unwrap_or(0);
                match client.granted(*topic).map(|granted| granted.min(*qos)) {
                    None => assert_eq!(got, 0, "{} got {payload} without subscription", client.name),
                    Some(QoS::AtMostOnce) => {}
                    Some(QoS::AtLeastOnce) => assert!(got >= 1, "{} lost {payload}", client.name),
                    Some(QoS::ExactlyOnce) => {
                        assert_eq!(got, 1, "{} got {payload} {got} times", client.name);
                    }
                }
            }
            in_order(&client.name, &first);
        }
    }
}

/// Messages of one publisher, topic and QoS come in the order they were sent, repeats aside.
fn in_order(who: &str, received: &[(&str, QoS)]) {
    let mut last: BTreeMap<(String, QoS), usize> = BTreeMap::new();
    for (payload, qos) in received {
        let (stream, number) = payload.rsplit_once('/').expect("our own text");
        if *qos == QoS::AtMostOnce && stream.ends_with("/1") {
            // May be lost the first time and come with its publisher's repeat.
            continue;
        }
        let number = number.parse().expect("our own number");
        let before = last.insert((stream.to_owned(), *qos), number).unwrap_or(0);
        assert!(before < number, "{who} got {payload} after number {before}");
    }
}

fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    for index in 0..world.clients.len() {
        world.connect(index);
    }
    // Everybody has subscribed before anything is published.
    world.settle();
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
    world.check();
    world.check_retained();
    for index in 0..world.clients.len() {
        world.clients[index].send(&Packet::Disconnect(Disconnect::default()));
        world.clients[index].pay();
    }
    world.digest
}

#[test]
fn promises_hold_in_every_run() {
    let seeds = match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("simulation: SEED={seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_seed_is_a_run() {
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
