//! Our broker and mosquitto under the same load, one after the other: a million QoS 1 messages over
//! 1,000 connections, and a subscriber that stops reading.
//!
//! The load comes from this process over plain sockets with our codec; the CPU time is the broker's
//! alone, from /proc. A message that does not arrive ends the bench with an error.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mqttlab::mqtt::codec::{Decoder, Limits, encode};
use mqttlab::mqtt::packet::{Ack, Connect, Publish, Subscribe, Subscription, SubscriptionOptions};
use mqttlab::mqtt::{Packet, PacketId, Properties, ProtocolVersion, QoS, TopicFilter, TopicName};

use crate::process::{Broker, MQTTLAB, cpu_seconds, memory_kb};

const VERSION: ProtocolVersion = ProtocolVersion::V311;
const PAIRS: usize = 500;
const MESSAGES: usize = 1_000_000;
/// Publications that a publisher has under way.
const WINDOW: usize = 20;

/// Measures both brokers and prints the figures side by side.
pub fn run() {
    println!("\n{MESSAGES} QoS 1 messages of 16 B, {PAIRS} publishers to {PAIRS} subscribers\n");
    println!("| broker | messages/s | CPU us/message | peak MB | after a stuck reader, MB |");
    println!("|---|---:|---:|---:|---:|");
    let ours = || Broker::start(MQTTLAB, &["broker"], "");
    let theirs = || Broker::start("mosquitto", &[], "");
    measure("mqttlab", ours);
    measure("mosquitto", theirs);
}

fn measure(name: &str, start: impl Fn() -> Option<Broker>) {
    let Some(broker) = start() else {
        println!("| {name} | not installed | | | |");
        return;
    };
    let before = cpu_seconds(broker.pid()).unwrap_or_default();
    let time = pairs(broker.port);
    let cpu = cpu_seconds(broker.pid()).unwrap_or_default() - before;
    let peak = memory_kb(broker.pid(), "VmHWM").unwrap_or_default() / 1024;
    drop(broker);
    let stuck = start().map_or(0, |broker| stuck_reader(&broker));
    let rate = MESSAGES as f64 / time.as_secs_f64();
    println!("| {name} | {rate:.0} | {:.2} | {peak} | {stuck} |", cpu * 1e6 / MESSAGES as f64);
}

/// One blocking connection.
struct Link {
    stream: TcpStream,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
}

impl Link {
    fn open(port: u16, client_id: String) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the broker listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
        let decoder = Decoder::client(VERSION, Limits::default());
        let mut link = Self { stream, decoder, input: BytesMut::new(), output: BytesMut::new() };
        let connect = Connect {
            version: VERSION,
            clean_start: true,
            client_id: client_id.into(),
            ..Connect::default()
        };
        link.push(&Packet::Connect(Box::new(connect)));
        link.flush();
        assert!(matches!(link.recv(), Packet::ConnAck(_)), "let in");
        link
    }

    fn push(&mut self, packet: &Packet) {
        encode(packet, VERSION, &mut self.output);
    }

    fn flush(&mut self) {
        self.stream.write_all(&self.output).expect("the broker reads");
        self.output.clear();
    }

    fn decoded(&mut self) -> Option<Packet> {
        self.decoder.decode(&mut self.input).expect("a broker's packets").map(|(packet, _)| packet)
    }

    fn fill(&mut self) {
        let mut chunk = [0; 16_384];
        let got = self.stream.read(&mut chunk).expect("an answer within a minute");
        assert!(got > 0, "the broker closed the connection");
        self.input.extend_from_slice(&chunk[..got]);
    }

    fn recv(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.decoded() {
                return packet;
            }
            self.fill();
        }
    }

    fn subscribe(&mut self, topic: &str, qos: QoS) {
        let filter = TopicFilter::new(topic.to_owned()).expect("a filter");
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        self.push(&Packet::Subscribe(Subscribe {
            id: PacketId::FIRST,
            properties: Properties::new(),
            subscriptions: vec![Subscription { filter, options }],
        }));
        self.flush();
        assert!(matches!(self.recv(), Packet::SubAck(_)), "subscribed");
    }
}

fn message(topic: &TopicName, id: Option<PacketId>, payload: &Bytes) -> Packet {
    Packet::Publish(Publish {
        dup: false,
        qos: if id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce },
        retain: false,
        topic: topic.clone(),
        id,
        payload: payload.clone(),
        properties: Properties::new(),
    })
}

/// All pairs at once, each with a thread an end; returns when every message has arrived.
fn pairs(port: u16) -> Duration {
    let each = MESSAGES / PAIRS;
    let subscribers: Vec<Link> = (0..PAIRS)
        .map(|n| {
            let mut link = Link::open(port, format!("sub-{n}"));
            link.subscribe(&format!("bench/{n}"), QoS::AtLeastOnce);
            link
        })
        .collect();
    let publishers: Vec<Link> = (0..PAIRS).map(|n| Link::open(port, format!("pub-{n}"))).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for link in subscribers {
            scope.spawn(move || collect(link, each));
        }
        for (n, link) in publishers.into_iter().enumerate() {
            scope.spawn(move || publish(link, n, each));
        }
    });
    start.elapsed()
}

/// Acknowledges until `count` different messages are there; a loss is a time-out.
fn collect(mut link: Link, count: usize) {
    let mut next = 0_u64;
    while next < count as u64 {
        link.fill();
        while let Some(packet) = link.decoded() {
            let Packet::Publish(publish) = packet else { panic!("not a PUBLISH") };
            let number = u64::from_be_bytes(publish.payload[..8].try_into().expect("16 bytes"));
            assert_eq!(number, next, "lost, repeated or out of order");
            next += 1;
            let id = publish.id.expect("QoS 1");
            link.push(&Packet::PubAck(Ack::success(id)));
        }
        link.flush();
    }
}

fn publish(mut link: Link, n: usize, count: usize) {
    let topic = TopicName::new(format!("bench/{n}")).expect("a topic");
    let mut id = PacketId::FIRST;
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < count {
        while sent < count && sent - acknowledged < WINDOW {
            let mut payload = [0; 16];
            payload[..8].copy_from_slice(&(sent as u64).to_be_bytes());
            link.push(&message(&topic, Some(id), &Bytes::copy_from_slice(&payload)));
            id = id.next();
            sent += 1;
        }
        link.flush();
        link.fill();
        while let Some(packet) = link.decoded() {
            assert!(matches!(packet, Packet::PubAck(_)), "not a PUBACK");
            acknowledged += 1;
        }
    }
}

/// 200,000 messages of 1 KiB for a subscriber that never reads; resident megabytes afterwards.
fn stuck_reader(broker: &Broker) -> u64 {
    let mut reader = Link::open(broker.port, "stuck".into());
    reader.subscribe("bench/stuck", QoS::AtMostOnce);
    let mut link = Link::open(broker.port, "fast".into());
    let topic = TopicName::new("bench/stuck").expect("a topic");
    let payload = Bytes::from(vec![b'x'; 1024]);
    for _ in 0..2_000 {
        for _ in 0..100 {
            link.push(&message(&topic, None, &payload));
        }
        link.flush();
    }
    link.push(&Packet::PingReq);
    link.flush();
    assert_eq!(link.recv(), Packet::PingResp, "the publisher is not held up");
    memory_kb(broker.pid(), "VmRSS").unwrap_or_default() / 1024
}
