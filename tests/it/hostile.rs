//! Peers that send anything: mutated packets, lying lengths and noise on real sockets, before and
//! after CONNECT, in every revision. Whatever comes, the broker serves a fresh client at once.
//!
//! Everything is drawn from a seed that a failure prints; `SEED=17 cargo test --test it hostile`
//! runs that one. What a single wrong packet is answered with is not asked here: see
//! `fixtures/packets` and `fixtures/engine`.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use mqttlab::broker::server::{Broker, Medium};
use mqttlab::mqtt::ProtocolVersion;
use mqttlab::mqtt::QoS::AtLeastOnce;
use mqttlab::mqtt::notation::PacketLine;
use mqttlab::net::Endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::broker::{PATIENCE, connect, next_message, publish, start, subscribe};
use crate::support::random::Random;

/// Conversations of one run, a third in each revision.
const CONVERSATIONS: usize = 1500;
/// A fresh client is served this often in between.
const CHECK_EVERY: usize = 100;
/// What a fresh client may have to wait for a message of its own, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What is mutated, as far as a revision can say it.
const CORPUS: [&str; 20] = [
    "CONNECT clean client=h0",
    "CONNECT client=h1 will.topic=w will.payload=gone will.qos=1 will.retain username=u password=p",
    "CONNECT client=h2 session_expiry=5 receive_maximum=3 maximum_packet_size=100 user.k=v",
    "CONNECT clean client=h3 will.topic=w will.payload=gone will.delay=1 topic_alias_maximum=2",
    "PUBLISH t/x \"hello\" qos=1 id=5",
    "PUBLISH t/x \"hello\" retain",
    "PUBLISH t \"h\" qos=2 id=6",
    "PUBLISH t \"h\" qos=2 id=6 dup",
    "PUBLISH t \"h\" topic_alias=2 user.k=v content_type=c response_topic=r message_expiry=5",
    "SUBSCRIBE a/+ qos=1 # qos=2 id=1",
    "SUBSCRIBE $share/g/t qos=1 id=1",
    "UNSUBSCRIBE a/+ t id=2",
    "PUBACK id=1",
    "PUBREC id=1",
    "PUBREL id=6",
    "PUBCOMP id=1",
    "PINGREQ",
    "DISCONNECT",
    "DISCONNECT 0x04 session_expiry=11",
    "AUTH 0x18 authentication_method=m",
];

fn corpus(version: ProtocolVersion) -> Vec<Vec<u8>> {
    let line = |text: &str| PacketLine::parse(text).expect("a packet line");
    CORPUS.iter().filter_map(|text| Some(line(text).build(version).ok()?.bytes.to_vec())).collect()
}

/// One to four small wrongs.
fn mutate(packet: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1)).min(bytes.len());
        let end = (at + 1 + random.below(4)).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            2 => drop(bytes.drain(at..end)),
            3 => drop(bytes.splice(at..at, random.bytes(5))),
            4 => bytes.truncate(at),
            _ => bytes.extend_from_within(..at),
        }
    }
    bytes
}

/// All that one hostile peer says.
fn conversation(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    if random.below(3) > 0 {
        bytes.extend_from_slice(&corpus[0]);
    }
    for _ in 0..=random.below(6) {
        match random.below(8) {
            0 => bytes.extend(random.bytes(60)),
            // A length that nothing follows.
            1 => bytes.extend([random.byte(), 0xff, 0xff, 0xff, 0x7f]),
            2 => bytes.extend_from_slice(&corpus[random.below(corpus.len())]),
            _ => bytes.extend(mutate(&corpus[random.below(corpus.len())], random)),
        }
    }
    bytes
}

/// A new client gets a message of its own.
async fn is_alive(endpoint: &Endpoint, client_id: &str) {
    let begun = Instant::now();
    let mut client = connect(endpoint, ProtocolVersion::V5, client_id).await;
    client.subscribe(subscribe("alive/t", AtLeastOnce)).await.expect("granted");
    client.publish(publish("alive/t", client_id.to_owned(), AtLeastOnce)).await.expect("acknowledged");
    let message = next_message(&mut client).await;
    assert_eq!(message.payload, client_id);
    assert!(begun.elapsed() < AT_ONCE, "a fresh client waited {:?}", begun.elapsed());
}

/// Says everything, in pieces; leaves at once, or listens until the broker closes.
async fn attack(port: u16, bytes: &[u8], pieces: usize, listens: bool) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("listening");
    for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
        // The broker may have closed already.
        if socket.write_all(piece).await.is_err() {
            return;
        }
    }
    if listens && socket.shutdown().await.is_ok() {
        let mut answer = BytesMut::new();
        let reading = async { while socket.read_buf(&mut answer).await.is_ok_and(|count| count > 0) {} };
        timeout(PATIENCE, reading).await.expect("the broker closes after the peer");
    }
}

fn port(broker: &Broker) -> u16 {
    broker.addresses()[0].port()
}

#[tokio::test]
async fn no_peer_stops_the_broker() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("SEED={seed}");
    let mut random = Random(seed);
    let broker = start(Medium::Sockets).await;
    let endpoint = broker.endpoint(0);
    let corpora = ProtocolVersion::ALL.map(corpus);
    for number in 0..CONVERSATIONS {
        let bytes = conversation(&corpora[number % corpora.len()], &mut random);
        let (pieces, listens) = (1 + random.below(4), random.below(4) == 0);
        attack(port(&broker), &bytes, pieces, listens).await;
        if number % CHECK_EVERY == 0 {
            is_alive(&endpoint, &format!("fresh{number}")).await;
        }
    }
    is_alive(&endpoint, "last").await;
    broker.stop().await;
}

#[tokio::test]
async fn every_packet_cut_at_every_byte() {
    let broker = start(Medium::Sockets).await;
    for version in ProtocolVersion::ALL {
        let corpus = corpus(version);
        for packet in &corpus {
            for end in 1..packet.len() {
                let mut bytes = if packet[0] == 0x10 { Vec::new() } else { corpus[0].clone() };
                bytes.extend_from_slice(&packet[..end]);
                attack(port(&broker), &bytes, 1, end % 8 == 0).await;
            }
        }
        is_alive(&broker.endpoint(0), "fresh").await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn hundreds_that_never_finish_their_connect() {
    let broker = start(Medium::Sockets).await;
    let mut idle = Vec::new();
    for number in 0..400 {
        let mut socket = TcpStream::connect(("127.0.0.1", port(&broker))).await.expect("listening");
        let beginning: &[u8] = [&b""[..], b"\x10", b"\x10\xff\xff\xff\x7f\x00\x04MQ"][number % 3];
        // One that announces too much is closed while it is written to.
        let _ = socket.write_all(beginning).await;
        idle.push(socket);
    }
    is_alive(&broker.endpoint(0), "fresh").await;
    drop(idle);
    is_alive(&broker.endpoint(0), "later").await;
    broker.stop().await;
}
