//! What no peer can make the engine do: hold without bound, or panic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use mqttlab::broker::auth::{AuthFailure, Hashing, Passwords, Rules, Zone, hash_password};
use mqttlab::broker::config::{Compat, SessionLimits};
use mqttlab::broker::engine::{ConnId, Engine, Frame, Loss, Output, Peer};
use mqttlab::broker::log::LogTypes;
use mqttlab::diagnostic::Source;
use mqttlab::mqtt::notation;
use mqttlab::mqtt::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, PacketType, Publish, RetainHandling, SubAck, Subscribe,
    Subscription, SubscriptionOptions, Unsubscribe, Will,
};
use mqttlab::mqtt::{
    Packet, PacketId, Properties, Property, ProtocolVersion, QoS, ReasonCode, TopicFilter, TopicName,
};

use super::Setup;

/// An engine with helpers that take no time.
struct Bench {
    engine: Engine,
    now: Instant,
}

impl Bench {
    fn new(setup: &Setup) -> Self {
        let now = Instant::now();
        let rules = Rules::new(vec![Zone { allow_anonymous: true, ..Zone::default() }]);
        Self { engine: Engine::new(setup.config(), Arc::new(rules), 1, now), now }
    }

    fn open(&mut self) -> ConnId {
        self.engine.open(Peer::new(0, None), self.now)
    }

    fn connect(&mut self, client_id: &str) -> ConnId {
        let conn = self.open();
        let connect = Connect { client_id: client_id.into(), clean_start: true, ..Connect::default() };
        self.engine.handle_connect(conn, connect, Ok(()), self.now);
        self.take(conn, usize::MAX);
        conn
    }

    fn send(&mut self, conn: ConnId, packet: Packet) {
        self.engine.handle_packet(conn, packet, 10, self.now);
    }

    /// Frames of one call, and whether there are more.
    fn take(&mut self, conn: ConnId, most: usize) -> (Vec<Frame>, bool) {
        let mut frames = Vec::new();
        let drained = self.engine.take_frames(conn, most, &mut frames, self.now);
        (frames, drained.more)
    }

    /// Log lines since the last call.
    fn log(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.engine.poll_output())
            .filter_map(|output| match output {
                Output::Log(line) => Some(line.text),
                Output::Wake(_) => None,
            })
            .collect()
    }
}

/// Where the certificate was to name the user, a proof of a password is none.
#[test]
fn enhanced_authentication_is_no_way_around_a_certificate() {
    let hashing = Hashing::ScramSha256 { iterations: 1 };
    let line = format!("user:{}", hash_password(hashing, b"salt", b"pencil"));
    let passwords = Passwords::parse(&Source::new("passwd", line), Compat::V21).expect("good");
    let rules = Rules::new(vec![Zone { passwords: Some(passwords), ..Zone::default() }]);
    let now = Instant::now();
    let mut bench = Bench { engine: Engine::new(Setup::default().config(), Arc::new(rules), 1, now), now };
    for (auth, expected) in
        [(Err(AuthFailure::BadCredentials), "AUTH 0x18"), (Err(AuthFailure::NoIdentity), "CONNACK 0x86")]
    {
        let conn = bench.open();
        let properties = vec![
            Property::AuthenticationMethod("SCRAM-SHA-256".into()),
            Property::AuthenticationData(b"n,,n=user,r=x"[..].into()),
        ];
        let connect =
            Connect { version: ProtocolVersion::V5, properties: properties.into(), ..Connect::default() };
        bench.engine.handle_connect(conn, connect, auth, now);
        let (frames, _) = bench.take(conn, usize::MAX);
        let packet = frames[0].to_packet(ProtocolVersion::V5);
        let printed = notation::print(&packet, ProtocolVersion::V5);
        assert!(printed.starts_with(expected), "{auth:?}: {printed}");
    }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

fn publish(topic: &str, qos: QoS, payload: Vec<u8>, retain: bool) -> Packet {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain,
        topic: TopicName::new(topic).expect("a topic"),
        id: (qos != QoS::AtMostOnce).then_some(id(1)),
        payload: payload.into(),
        properties: Properties::new(),
    })
}

fn subscribe(filter: &str, qos: QoS) -> Packet {
    Packet::Subscribe(Subscribe {
        id: id(1),
        properties: Properties::new(),
        subscriptions: vec![Subscription {
            filter: TopicFilter::new(filter).expect("a filter"),
            options: SubscriptionOptions { qos, ..SubscriptionOptions::default() },
        }],
    })
}

#[test]
fn qos_0_for_a_client_that_does_not_read_is_dropped_and_that_is_said_once() {
    let mut bench = Bench::new(&Setup { logs: LogTypes::NOTICE, ..Setup::default() });
    let (slow, fast) = (bench.connect("slow"), bench.connect("fast"));
    bench.send(slow, subscribe("t", QoS::AtMostOnce));
    bench.take(slow, usize::MAX);
    bench.log();
    for _ in 0..100_000 {
        bench.send(fast, publish("t", QoS::AtMostOnce, vec![0; 100], false));
    }
    assert_eq!(bench.log(), ["Outgoing messages are being dropped for client slow."]);
    let (frames, more) = bench.take(slow, usize::MAX);
    assert!(!more && (1000..10_000).contains(&frames.len()), "{} messages waited", frames.len());
    bench.send(fast, publish("t", QoS::AtMostOnce, vec![1], false));
    assert_eq!(bench.take(slow, usize::MAX).0.len(), 1);
    assert_eq!(bench.engine.stats().publish_dropped, 100_000 - frames.len() as u64);
}

#[test]
fn large_messages_for_a_client_that_does_not_read_are_bounded_in_bytes() {
    let mut bench = Bench::new(&Setup::default());
    let (slow, fast) = (bench.connect("slow"), bench.connect("fast"));
    bench.send(slow, subscribe("t", QoS::AtMostOnce));
    bench.take(slow, usize::MAX);
    for _ in 0..200 {
        bench.send(fast, publish("t", QoS::AtMostOnce, vec![0; 1 << 20], false));
    }
    let (frames, _) = bench.take(slow, usize::MAX);
    assert!((8..40).contains(&frames.len()), "{} MiB waited", frames.len());
}

#[test]
fn qos_1_for_a_client_that_does_not_read_is_inflight_and_queue() {
    let limits = SessionLimits { max_queued_messages: 50, ..SessionLimits::default() };
    let mut bench = Bench::new(&Setup { limits, logs: LogTypes::NOTICE, ..Setup::default() });
    let (slow, fast) = (bench.connect("slow"), bench.connect("fast"));
    bench.send(slow, subscribe("t", QoS::AtLeastOnce));
    bench.take(slow, usize::MAX);
    bench.log();
    for _ in 0..500 {
        bench.send(fast, publish("t", QoS::AtLeastOnce, vec![0; 10], false));
        assert_eq!(bench.take(fast, usize::MAX).0.len(), 1, "the publisher is answered");
    }
    // One place is free and taken again: that is not news.
    let (first, _) = bench.take(slow, 1);
    let Packet::Publish(message) = first[0].to_packet(ProtocolVersion::V311) else { panic!("{first:?}") };
    bench.send(slow, Packet::PubAck(Ack::success(message.id.expect("QoS 1"))));
    for _ in 0..10 {
        bench.send(fast, publish("t", QoS::AtLeastOnce, vec![0; 10], false));
    }
    assert_eq!(bench.log(), ["Outgoing messages are being dropped for client slow."]);
    let mut received = 1;
    loop {
        let (frames, _) = bench.take(slow, usize::MAX);
        if frames.is_empty() {
            break;
        }
        for frame in frames {
            let Packet::Publish(publish) = frame.to_packet(ProtocolVersion::V311) else { continue };
            received += 1;
            bench.send(slow, Packet::PubAck(Ack::success(publish.id.expect("QoS 1"))));
        }
    }
    assert_eq!(received, 20 + 50 + 1);
}

#[test]
fn a_replay_of_many_retained_messages_waits_for_its_reader() {
    let mut bench = Bench::new(&Setup::default());
    let fast = bench.connect("fast");
    for n in 0..20_000 {
        bench.send(fast, publish(&format!("t/{n}"), QoS::AtMostOnce, vec![0; 10], true));
    }
    let slow = bench.connect("slow");
    for _ in 0..100 {
        bench.send(slow, subscribe("t/#", QoS::AtMostOnce));
    }
    let (first, mut more) = bench.take(slow, usize::MAX);
    assert!(first.len() < 2000, "{} frames waited", first.len());
    let mut received = first.len();
    while more {
        let (frames, again) = bench.take(slow, 1000);
        received += frames.len();
        more = again;
    }
    let publishes = received - 100;
    // Only the last of the same subscriptions is replayed, behind what the first had begun.
    assert!((20_000..60_000).contains(&publishes), "{publishes} messages");
}

#[test]
fn who_comes_while_the_server_ends_is_not_let_in() {
    let mut bench = Bench::new(&Setup::default());
    bench.engine.shut_down(bench.now);
    let late = bench.connect("late");
    assert!(bench.engine.is_closing(late));
    assert_eq!(bench.engine.stats().clients_connected, 0);
}

/// Not its own doing: only the limits on queues apply.
#[test]
fn messages_that_wait_in_great_number_do_not_end_the_connection() {
    let limits = SessionLimits { max_queued_messages: 0, ..SessionLimits::default() };
    let mut bench = Bench::new(&Setup { limits, logs: LogTypes::NOTICE, ..Setup::default() });
    let (slow, fast) = (bench.connect("slow"), bench.connect("fast"));
    bench.send(slow, subscribe("t", QoS::AtMostOnce));
    bench.log();
    for _ in 0..100_000 {
        bench.send(fast, publish("t", QoS::AtMostOnce, vec![0; 10], false));
    }
    bench.send(slow, Packet::PingReq);
    assert_eq!(bench.log(), [""; 0]);
    assert_eq!(bench.take(slow, usize::MAX).0.len(), 100_002);
}

#[test]
fn answers_that_nobody_reads_end_the_connection() {
    let mut bench = Bench::new(&Setup { logs: LogTypes::NOTICE, ..Setup::default() });
    let conn = bench.connect("a");
    bench.log();
    for _ in 0..200_000 {
        bench.send(conn, Packet::PingReq);
    }
    assert_eq!(bench.log(), ["Client a [memory:0] disconnected: quota exceeded."]);
    let (frames, _) = bench.take(conn, usize::MAX);
    assert!(frames.len() < 70_000);
}

/// Each reader is within its own limit, all of them together are not.
#[test]
fn what_waits_for_all_slow_readers_together_is_bounded() {
    let mut bench = Bench::new(&Setup::default());
    let fast = bench.connect("fast");
    let slow: Vec<_> = (0..100).map(|n| bench.connect(&format!("slow{n}"))).collect();
    for (n, conn) in slow.iter().enumerate() {
        bench.send(*conn, subscribe(&format!("t/{n}"), QoS::AtMostOnce));
        bench.take(*conn, usize::MAX);
    }
    let mut sent = 0_u64;
    for _ in 0..20 {
        for n in 0..slow.len() {
            bench.send(fast, publish(&format!("t/{n}"), QoS::AtMostOnce, vec![0; 1 << 20], false));
            sent += 1;
        }
    }
    let mut waited = 0;
    for conn in &slow {
        waited += bench.take(*conn, usize::MAX).0.len() as u64;
    }
    assert!((200..400).contains(&waited), "{waited} MiB waited");
    assert_eq!(bench.engine.stats().publish_dropped, sent - waited);
    bench.send(fast, publish("t/7", QoS::AtMostOnce, vec![0; 1 << 20], false));
    assert_eq!(bench.take(slow[7], usize::MAX).0.len(), 1, "what was read makes room");
}

/// Small messages are counted where they wait.
#[test]
fn small_messages_for_all_slow_readers_together_are_bounded() {
    let limits = SessionLimits { max_queued_messages: 0, ..SessionLimits::default() };
    let mut bench = Bench::new(&Setup { limits, ..Setup::default() });
    let fast = bench.connect("fast");
    let slow: Vec<_> = (0..20).map(|n| bench.connect(&format!("slow{n}"))).collect();
    for conn in &slow {
        bench.send(*conn, subscribe("t", QoS::AtMostOnce));
        bench.take(*conn, usize::MAX);
    }
    for _ in 0..10_000 {
        bench.send(fast, publish("t", QoS::AtMostOnce, vec![0; 2000], false));
    }
    let waited: usize = slow.iter().map(|conn| bench.take(*conn, usize::MAX).0.len()).sum();
    assert!((100_000..150_000).contains(&waited), "{waited} messages waited");
    for conn in slow {
        bench.engine.handle_loss(conn, Loss::Eof, bench.now);
    }
    assert_eq!(bench.engine.stats().waiting, 0);
}

/// A SUBSCRIBE to topics `from..to`, below a level of its own.
fn subscribe_many(from: usize, to: usize) -> Packet {
    let options = SubscriptionOptions::default();
    let filter = |n| TopicFilter::new(format!("t/{n}")).expect("a filter");
    let subscriptions = (from..to).map(|n| Subscription { filter: filter(n), options }).collect::<Vec<_>>();
    Packet::Subscribe(Subscribe { id: id(1), properties: Properties::new(), subscriptions })
}

/// Counts turns, not time: in each other connections can be served.
#[test]
fn a_subscribe_of_many_filters_takes_many_turns() {
    const FILTERS: usize = 100_000;
    let mut bench = Bench::new(&Setup::default());
    let (greedy, other) = (bench.connect("greedy"), bench.connect("other"));
    bench.send(greedy, subscribe_many(0, FILTERS));
    let mut turns = 1;
    let mut before = 0;
    while bench.engine.is_busy(greedy) {
        let now = bench.engine.stats().subscriptions;
        assert!(now - before <= 1000, "{} filters in one turn", now - before);
        before = now;
        bench.send(other, Packet::PingReq);
        assert_eq!(bench.take(other, usize::MAX).0.len(), 1, "another connection is served meanwhile");
        bench.engine.resume(greedy, bench.now);
        turns += 1;
    }
    assert!(turns >= FILTERS / 1000, "{turns} turns");
    let (frames, _) = bench.take(greedy, usize::MAX);
    let Packet::SubAck(answer) = frames[0].to_packet(ProtocolVersion::V311) else { panic!("{frames:?}") };
    assert_eq!((frames.len(), answer.codes.len()), (1, FILTERS));

    // The end of the session takes its turns too.
    bench.engine.handle_loss(greedy, Loss::Eof, bench.now);
    let mut before = bench.engine.stats().subscriptions;
    assert!(before > FILTERS as u64 - 1000, "{before} subscriptions are left");
    while before > 0 {
        assert!(bench.engine.poll_timeout().is_some_and(|due| due <= bench.now));
        bench.engine.handle_timeout(bench.now);
        let now = bench.engine.stats().subscriptions;
        assert!(now < before && before - now <= 1000, "{} filters in one turn", before - now);
        before = now;
    }
}

#[test]
fn what_stands_behind_a_long_request_is_answered_after_it() {
    let mut bench = Bench::new(&Setup::default());
    let conn = bench.connect("a");
    bench.send(conn, subscribe_many(0, 2000));
    bench.send(conn, Packet::PingReq);
    let filters = (0..2000).map(|n| TopicFilter::new(format!("t/{n}")).expect("a filter")).collect();
    bench.send(conn, Packet::Unsubscribe(Unsubscribe { id: id(2), properties: Properties::new(), filters }));
    let mut answers = Vec::new();
    let mut more = true;
    while more {
        let (frames, again) = bench.take(conn, usize::MAX);
        answers.extend(frames.iter().map(|frame| frame.to_packet(ProtocolVersion::V311).packet_type()));
        more = again;
    }
    assert_eq!(answers, [PacketType::SubAck, PacketType::PingResp, PacketType::UnsubAck]);
    assert_eq!(bench.engine.stats().subscriptions, 0);
}

/// Numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn small(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("a byte")
    }

    fn qos(&mut self) -> QoS {
        QoS::from_u8(self.small() % 3).expect("0 to 2")
    }

    fn id(&mut self) -> PacketId {
        id([1, 2, 3, 65_534, 65_535][usize::from(self.small() % 5)])
    }

    fn topic(&mut self) -> TopicName {
        let deep = "/".repeat(201);
        let all = ["t", "t/1", "$SYS/x", "$share/g/t", "", &deep];
        TopicName::new(all[usize::from(self.small()) % all.len()]).unwrap_or_default()
    }

    fn filter(&mut self) -> TopicFilter {
        let all = ["t", "t/+", "#", "$share/g/#", "$share/h/t", "$SYS/#", "+/1"];
        TopicFilter::new(all[usize::from(self.small()) % all.len()]).expect("a filter")
    }

    fn ack(&mut self) -> Ack {
        Ack::with_reason(self.id(), ReasonCode([0, 0, 0, 0x80, 0x92][usize::from(self.small() % 5)]))
    }

    fn properties(&mut self) -> Properties {
        let number = [0, 1, 2, u32::MAX][usize::from(self.small() % 4)];
        let short = [0, 1, 10, u16::MAX][usize::from(self.small() % 4)];
        let all = [
            Property::SessionExpiryInterval(number),
            Property::ReceiveMaximum(short.max(1)),
            Property::MaximumPacketSize(number.max(1)),
            Property::TopicAlias(short),
            Property::MessageExpiryInterval(number),
            Property::WillDelayInterval(number),
            Property::SubscriptionIdentifier(1),
            Property::UserProperty(ByteString::from("a"), ByteString::from("b")),
        ];
        all.into_iter().filter(|_| self.below(4) == 0).collect()
    }

    fn connect(&mut self) -> Connect {
        let will = Will {
            topic: TopicName::new("t/1").expect("a topic"),
            payload: "gone".into(),
            qos: self.qos(),
            retain: self.below(2) == 0,
            properties: self.properties(),
        };
        Connect {
            version: ProtocolVersion::ALL[usize::from(self.small() % 3)],
            clean_start: self.below(2) == 0,
            keep_alive: u16::from(self.small() % 3),
            client_id: ["", "a", "b"][usize::from(self.small() % 3)].into(),
            will: (self.below(2) == 0).then_some(will),
            properties: self.properties(),
            ..Connect::default()
        }
    }

    fn packet(&mut self) -> Packet {
        match self.below(24) {
            0..=7 => {
                let qos = self.qos();
                Packet::Publish(Publish {
                    dup: self.below(2) == 0,
                    qos,
                    retain: self.below(3) == 0,
                    topic: self.topic(),
                    id: (qos != QoS::AtMostOnce).then(|| self.id()),
                    payload: vec![0; usize::from(self.small())].into(),
                    properties: self.properties(),
                })
            }
            8..=10 => Packet::Subscribe(Subscribe {
                id: self.id(),
                properties: self.properties(),
                subscriptions: (0..=self.below(3))
                    .map(|_| Subscription {
                        filter: self.filter(),
                        options: SubscriptionOptions {
                            qos: self.qos(),
                            no_local: self.below(4) == 0,
                            retain_as_published: self.below(2) == 0,
                            retain_handling: RetainHandling::Send,
                        },
                    })
                    .collect(),
            }),
            11 => Packet::Unsubscribe(Unsubscribe {
                id: self.id(),
                properties: self.properties(),
                filters: vec![self.filter(), self.filter()],
            }),
            12..=13 => Packet::PubAck(self.ack()),
            14..=15 => Packet::PubRec(self.ack()),
            16..=17 => Packet::PubRel(self.ack()),
            18..=19 => Packet::PubComp(self.ack()),
            20 => Packet::PingReq,
            21 => Packet::Disconnect(Disconnect {
                reason: ReasonCode(self.small() % 5),
                properties: self.properties(),
            }),
            22 if self.below(4) == 0 => Packet::Connect(Box::new(self.connect())),
            22 if self.below(4) == 0 => Packet::Auth(Auth::default()),
            22 if self.below(4) == 0 => Packet::ConnAck(ConnAck::default()),
            22 if self.below(4) == 0 => {
                Packet::SubAck(SubAck { id: self.id(), properties: Properties::new(), codes: Vec::new() })
            }
            _ => Packet::PingResp,
        }
    }
}

/// Clients that send whatever they like, whenever they like, and read now and then.
fn abuse(seed: u64) {
    let mut random = Random(seed);
    let limits = SessionLimits {
        max_inflight_messages: 2,
        max_queued_messages: 3,
        persistent_client_expiration: Some(Duration::from_secs(3)),
        ..SessionLimits::default()
    };
    let mut bench = Bench::new(&Setup { limits, logs: LogTypes::ALL, ..Setup::default() });
    let mut conns: Vec<ConnId> = (0..4).map(|_| bench.open()).collect();
    for _ in 0..400 {
        let at = usize::from(random.small()) % conns.len();
        let conn = conns[at];
        match random.below(12) {
            0 => {
                bench.engine.handle_loss(conn, Loss::Eof, bench.now);
                conns[at] = bench.open();
            }
            1..=2 => bench.engine.handle_connect(conn, random.connect(), Ok(()), bench.now),
            3 => {
                bench.now += Duration::from_millis(random.below(2000));
                bench.engine.handle_timeout(bench.now);
            }
            4..=5 => {
                let mut frames = Vec::new();
                let most = usize::try_from(random.below(300)).expect("small");
                let drained = bench.engine.take_frames(conn, most, &mut frames, bench.now);
                if drained.close {
                    conns[at] = bench.open();
                }
            }
            _ => bench.send(conn, random.packet()),
        }
        bench.log();
    }
    for conn in conns {
        bench.engine.handle_loss(conn, Loss::Eof, bench.now);
    }
    bench.now += Duration::from_secs(1000);
    bench.engine.handle_timeout(bench.now);
    let stats = bench.engine.stats();
    assert_eq!(
        (stats.clients_connected, stats.sessions, stats.subscriptions, stats.shared_subscriptions),
        (0, 0, 0, 0),
        "nothing is left of clients that are gone"
    );
    // The last are those of retained messages with the longest expiry there is.
    bench.now += Duration::from_secs(u64::from(u32::MAX) + 1);
    bench.engine.handle_timeout(bench.now);
    assert_eq!(bench.engine.poll_timeout(), None, "no timer is left");
}

#[test]
fn nothing_that_clients_send_breaks_the_engine() {
    for seed in 0..500 {
        if let Err(panic) = std::panic::catch_unwind(|| abuse(seed)) {
            eprintln!("abuse: seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}
