//! What the broker costs, row by row as in the field's comparisons: our broker and mosquitto in turn on
//! one core, the load on the other, CPU time of the broker alone from /proc.
//!
//! Every message is counted: one that does not come ends the bench with an error. Each row starts a
//! broker of its own, so that no row pays for another's memory.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mqttlab::mqtt::packet::Ack;
use mqttlab::mqtt::{Packet, PacketId, QoS, TopicName};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::link::{Link, message, topic};
use crate::process::{Broker, MQTTLAB, cpu_nanos, memory_kb, pin};

/// What a row measures.
struct Row {
    name: &'static str,
    work: Work,
    /// How many of [`Row::name`]'s units are done.
    count: usize,
}

/// The loads.
#[derive(Clone, Copy)]
enum Work {
    Pairs { qos: QoS, size: usize },
    FanOut,
    FanIn,
    Connects,
    Idle,
    Subscriptions,
    MatchOne,
    RetainedSet,
    RetainedGet,
    Latency,
}

const ROWS: &[Row] = &[
    pairs("10 pairs, QoS 0, 16 B", QoS::AtMostOnce, 16, 1_000_000),
    pairs("10 pairs, QoS 1, 16 B", QoS::AtLeastOnce, 16, 400_000),
    pairs("10 pairs, QoS 2, 16 B", QoS::ExactlyOnce, 16, 200_000),
    pairs("10 pairs, QoS 0, 4 KiB", QoS::AtMostOnce, 4096, 300_000),
    pairs("10 pairs, QoS 1, 4 KiB", QoS::AtLeastOnce, 4096, 200_000),
    pairs("10 pairs, QoS 2, 4 KiB", QoS::ExactlyOnce, 4096, 100_000),
    Row { name: "fan-out 1 to 1,000, 64 B", work: Work::FanOut, count: 1_000_000 },
    Row { name: "fan-in 1,000 to 1, 64 B", work: Work::FanIn, count: 300_000 },
    Row { name: "connect and close", work: Work::Connects, count: 10_000 },
    Row { name: "idle connection", work: Work::Idle, count: 10_000 },
    Row { name: "subscription, of 1,000,000", work: Work::Subscriptions, count: 1_000_000 },
    Row { name: "message among 1,000,000 subscriptions", work: Work::MatchOne, count: 1_000_000 },
    Row { name: "retained message set, of 100,000", work: Work::RetainedSet, count: 100_000 },
    Row { name: "retained message collected", work: Work::RetainedGet, count: 100_000 },
    Row { name: "QoS 1 at 20,000 messages/s", work: Work::Latency, count: 100_000 },
];

const fn pairs(name: &'static str, qos: QoS, size: usize, count: usize) -> Row {
    Row { name, work: Work::Pairs { qos, size }, count }
}

/// What a row found for one broker.
struct Found {
    cpu_us: f64,
    wall: Duration,
    /// Of the broker at the end, bytes a unit above what it began with.
    bytes_each: f64,
    /// Median, for [`Work::Latency`].
    latency: Option<Duration>,
}

/// Measures the rows whose names contain one of `wanted`, or all, and prints them side by side.
pub fn run(wanted: &[String]) {
    println!("\nCPU of the broker on a core of its own, us a unit of work; memory in bytes a unit\n");
    println!(
        "| work | mqttlab | mosquitto | ratio | units/s | units/s | bytes | bytes | median us | median us |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for row in ROWS {
        if wanted.is_empty() || wanted.iter().any(|part| row.name.contains(part.as_str())) {
            let ours = measure(row, || Broker::start(MQTTLAB, &["broker"], SETTINGS));
            let theirs = measure(row, || Broker::start("mosquitto", &[], SETTINGS));
            print(row, ours.as_ref(), theirs.as_ref());
        }
    }
}

/// The same for both: nothing is dropped for its number.
const SETTINGS: &str = "max_queued_messages 0\n";

fn print(row: &Row, ours: Option<&Found>, theirs: Option<&Found>) {
    let show = |found: Option<&Found>, get: fn(&Found, &Row) -> Option<f64>, digits: usize| {
        found.and_then(|found| get(found, row)).map_or("–".to_owned(), |value| format!("{value:.digits$}"))
    };
    let ratio = ours
        .zip(theirs)
        .map_or("–".to_owned(), |(ours, theirs)| format!("{:.2}", ours.cpu_us / theirs.cpu_us));
    let cpu = |found: &Found, _: &Row| Some(found.cpu_us);
    let rate = |found: &Found, row: &Row| Some(row.count as f64 / found.wall.as_secs_f64());
    let bytes = |found: &Found, row: &Row| {
        matches!(row.work, Work::Idle | Work::Subscriptions | Work::RetainedSet).then_some(found.bytes_each)
    };
    let latency = |found: &Found, _: &Row| found.latency.map(|it| it.as_secs_f64() * 1e6);
    println!(
        "| {} | {} | {} | {ratio} | {} | {} | {} | {} | {} | {} |",
        row.name,
        show(ours, cpu, 2),
        show(theirs, cpu, 2),
        show(ours, rate, 0),
        show(theirs, rate, 0),
        show(ours, bytes, 0),
        show(theirs, bytes, 0),
        show(ours, latency, 0),
        show(theirs, latency, 0),
    );
}

/// One row on one broker; `None` if it is not installed.
fn measure(row: &Row, start: impl Fn() -> Option<Broker>) -> Option<Found> {
    pin(0);
    let broker = start();
    pin(1);
    let broker = broker?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    Some(LocalSet::new().block_on(&runtime, work(row, &broker)))
}

/// What is measured of a broker, from its making on.
struct Meter<'a> {
    broker: &'a Broker,
    cpu: u64,
    memory: u64,
    start: Instant,
}

impl<'a> Meter<'a> {
    fn start(broker: &'a Broker) -> Self {
        let cpu = cpu_nanos(broker.pid()).unwrap_or_default();
        let memory = memory_kb(broker.pid(), "VmRSS").unwrap_or_default();
        Self { broker, cpu, memory, start: Instant::now() }
    }

    fn stop(&self, count: usize) -> Found {
        let wall = self.start.elapsed();
        let cpu = cpu_nanos(self.broker.pid()).unwrap_or_default() - self.cpu;
        let memory = memory_kb(self.broker.pid(), "VmRSS").unwrap_or_default();
        let bytes = memory.saturating_sub(self.memory) * 1024;
        Found {
            cpu_us: cpu as f64 / 1e3 / count as f64,
            wall,
            bytes_each: bytes as f64 / count as f64,
            latency: None,
        }
    }
}

async fn work(row: &Row, broker: &Broker) -> Found {
    let (port, count) = (broker.port, row.count);
    match row.work {
        Work::Pairs { qos, size } => {
            let pairs = Pairs::open(port, 10, qos).await;
            let meter = Meter::start(broker);
            pairs.run(qos, size, count / 10).await;
            meter.stop(count)
        }
        Work::FanOut => {
            let (publisher, subscribers) = fan(port, 1_000, |_| "fan/out".to_owned()).await;
            let meter = Meter::start(broker);
            fan_out(publisher, subscribers, count / 1_000).await;
            meter.stop(count)
        }
        Work::FanIn => {
            let (mut subscriber, publishers) = fan(port, 1_000, |n| format!("none/{n}")).await;
            subscriber.subscribe(["fan/in".to_owned()].into_iter(), QoS::AtMostOnce).await;
            let meter = Meter::start(broker);
            fan_in(subscriber, publishers, count / 1_000).await;
            meter.stop(count)
        }
        Work::Connects => {
            let meter = Meter::start(broker);
            let visits = (0..GUESTS).map(|guest| visit(port, guest, count / GUESTS));
            all(visits.map(tokio::task::spawn_local).collect()).await;
            meter.stop(count)
        }
        Work::Idle => {
            let meter = Meter::start(broker);
            let mut links = Vec::new();
            for n in 0..count {
                links.push(Link::open(port, format!("c{n}")).await);
            }
            let found = meter.stop(count);
            drop(links);
            found
        }
        Work::Subscriptions => subscriptions(broker, count).await.0,
        Work::MatchOne => {
            let (_, holders) = subscriptions(broker, 1_000_000).await;
            match_one(broker, holders, count).await
        }
        Work::RetainedSet => {
            let mut publisher = Link::open(port, "setter".to_owned()).await;
            let meter = Meter::start(broker);
            retain(&mut publisher, count).await;
            meter.stop(count)
        }
        Work::RetainedGet => {
            let mut publisher = Link::open(port, "setter".to_owned()).await;
            retain(&mut publisher, count).await;
            let mut collector = Link::open(port, "getter".to_owned()).await;
            let meter = Meter::start(broker);
            collector.subscribe(["kept/#".to_owned()].into_iter(), QoS::AtMostOnce).await;
            for _ in 0..count {
                assert!(matches!(collector.reader.recv().await, Packet::Publish(_)));
            }
            meter.stop(count)
        }
        Work::Latency => {
            let pairs = Pairs::open(port, 1, QoS::AtLeastOnce).await;
            let meter = Meter::start(broker);
            let median = pairs.paced(count).await;
            Found { latency: Some(median), ..meter.stop(count) }
        }
    }
}

/// Connections that are opened at the same time.
const GUESTS: usize = 20;

/// One connection after the other.
async fn visit(port: u16, guest: usize, count: usize) {
    for n in 0..count {
        Link::open(port, format!("c{guest}-{n}")).await.close().await;
    }
}

/// How far the two ends of a flow have come, so that no more than a window is under way.
#[derive(Default)]
struct Flow {
    arrived: Cell<usize>,
    moved: Notify,
}

impl Flow {
    fn arrived(&self, count: usize) {
        self.arrived.set(self.arrived.get() + count);
        self.moved.notify_one();
    }

    async fn room(&self, sent: usize, window: usize) {
        while sent - self.arrived.get() >= window {
            self.moved.notified().await;
        }
    }
}

/// Publishers, each with a subscriber of its own.
struct Pairs(Vec<(Link, Link)>);

/// QoS 0 messages that a publisher has under way: enough to keep the broker busy, few enough that
/// none is dropped.
const WINDOW: usize = 100;
/// The same above QoS 0: mosquitto's default, and what it ends connections for that go beyond.
const WINDOW_ACKNOWLEDGED: usize = 20;

impl Pairs {
    async fn open(port: u16, count: usize, qos: QoS) -> Self {
        let mut pairs = Vec::new();
        for n in 0..count {
            let mut subscriber = Link::open(port, format!("sub{n}")).await;
            subscriber.subscribe([format!("pair/{n}")].into_iter(), qos).await;
            pairs.push((Link::open(port, format!("pub{n}")).await, subscriber));
        }
        Self(pairs)
    }

    async fn run(self, qos: QoS, size: usize, each: usize) {
        let mut tasks = Vec::new();
        for (n, (publisher, subscriber)) in self.0.into_iter().enumerate() {
            let flow = Rc::new(Flow::default());
            tasks.push(tokio::task::spawn_local(publish(publisher, n, qos, size, each, Rc::clone(&flow))));
            tasks.push(tokio::task::spawn_local(collect(subscriber, each, flow)));
        }
        all(tasks).await;
    }

    /// One message each 50 us; the median time from end to end.
    async fn paced(mut self, count: usize) -> Duration {
        let (publisher, subscriber) = self.0.pop().expect("a pair");
        let start = Instant::now();
        let times = tokio::task::spawn_local(stamps(subscriber, count, start));
        tokio::task::spawn_local(pace(publisher, count, start));
        let mut times = times.await.expect("the load runs");
        times.sort_unstable();
        times[times.len() / 2]
    }
}

async fn all<F: Future<Output = Result<(), tokio::task::JoinError>>>(tasks: Vec<F>) {
    for task in tasks {
        task.await.expect("the load runs");
    }
}

async fn publish(link: Link, n: usize, qos: QoS, size: usize, count: usize, flow: Rc<Flow>) {
    let Link { mut reader, mut writer } = link;
    let topic = topic(format!("pair/{n}"));
    let mut id = PacketId::FIRST;
    let window = if qos == QoS::AtMostOnce { WINDOW } else { WINDOW_ACKNOWLEDGED };
    let (mut sent, mut done) = (0, 0);
    while done < count {
        // QoS 0 has no answers but what the subscriber sees.
        let answered = if qos == QoS::AtMostOnce { flow.arrived.get() } else { done };
        while sent < count && sent - answered < window && sent - flow.arrived.get() < WINDOW {
            let mut payload = vec![b'x'; size];
            payload[..8].copy_from_slice(&(sent as u64).to_be_bytes());
            writer.push(&message(&topic, qos, id, &Bytes::from(payload), false));
            id = id.next();
            sent += 1;
        }
        writer.flush().await;
        if qos == QoS::AtMostOnce && sent == count {
            return;
        }
        if qos == QoS::AtMostOnce || sent == done {
            // As many as can be are under way, and no queue grows.
            flow.room(sent, WINDOW).await;
            continue;
        }
        reader.fill().await;
        while let Some(packet) = reader.decoded() {
            match packet {
                Packet::PubRec(ack) => writer.push(&Packet::PubRel(Ack::success(ack.id))),
                Packet::PubAck(_) | Packet::PubComp(_) => done += 1,
                other => panic!("{other:?}"),
            }
        }
        writer.flush().await;
    }
}

/// Acknowledges until `count` messages have come, each once and in order.
async fn collect(mut link: Link, count: usize, flow: Rc<Flow>) {
    let mut next = 0_u64;
    while next < count as u64 {
        link.reader.fill().await;
        let before = next;
        while let Some(packet) = link.reader.decoded() {
            match packet {
                Packet::Publish(publish) => {
                    let number = u64::from_be_bytes(publish.payload[..8].try_into().expect("8 bytes"));
                    assert_eq!(number, next, "lost, repeated or out of order");
                    next += 1;
                    match (publish.qos, publish.id) {
                        (QoS::AtLeastOnce, Some(id)) => link.writer.push(&Packet::PubAck(Ack::success(id))),
                        (QoS::ExactlyOnce, Some(id)) => link.writer.push(&Packet::PubRec(Ack::success(id))),
                        _ => {}
                    }
                }
                Packet::PubRel(ack) => link.writer.push(&Packet::PubComp(Ack::success(ack.id))),
                other => panic!("{other:?}"),
            }
        }
        flow.arrived(usize::try_from(next - before).expect("a count"));
        link.writer.flush().await;
    }
}

/// One publisher or subscriber, and `count` others.
async fn fan(port: u16, count: usize, filter: impl Fn(usize) -> String) -> (Link, Vec<Link>) {
    let one = Link::open(port, "one".to_owned()).await;
    let mut many = Vec::new();
    for n in 0..count {
        let mut link = Link::open(port, format!("many{n}")).await;
        link.subscribe([filter(n)].into_iter(), QoS::AtMostOnce).await;
        many.push(link);
    }
    (one, many)
}

async fn fan_out(mut publisher: Link, subscribers: Vec<Link>, each: usize) {
    let many = subscribers.len();
    let flow = Rc::new(Flow::default());
    let mut tasks = Vec::new();
    for link in subscribers {
        tasks.push(tokio::task::spawn_local(count_in(link, each, Rc::clone(&flow))));
    }
    let topic = topic("fan/out".to_owned());
    let payload = Bytes::from(vec![b'x'; 64]);
    for sent in 0..each {
        flow.room(sent * many, 10 * many).await;
        publisher.writer.push(&message(&topic, QoS::AtMostOnce, PacketId::FIRST, &payload, false));
        publisher.writer.flush().await;
    }
    all(tasks).await;
}

/// Counts messages until `left` have come. It has the whole link: who drops the writing half ends it.
async fn count_in(mut link: Link, mut left: usize, flow: Rc<Flow>) {
    while left > 0 {
        link.reader.wait().await;
        while let Some(packet) = link.reader.decoded() {
            assert!(matches!(packet, Packet::Publish(_)));
            left -= 1;
            flow.arrived(1);
        }
    }
}

/// Messages that each of the publishers writes at once, and again when all of them have arrived.
const BURST: usize = 10;

async fn fan_in(mut subscriber: Link, mut publishers: Vec<Link>, each: usize) {
    let topic = topic("fan/in".to_owned());
    let mut left = vec![each; publishers.len()];
    let mut under_way = vec![0; publishers.len()];
    for (n, publisher) in publishers.iter_mut().enumerate() {
        under_way[n] = send_burst(publisher, n, &topic).await;
    }
    let mut open = each * publishers.len();
    while open > 0 {
        subscriber.reader.fill().await;
        while let Some(packet) = subscriber.reader.decoded() {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            let n = u64::from_be_bytes(publish.payload[..8].try_into().expect("8 bytes"));
            let n = usize::try_from(n).expect("an index");
            open -= 1;
            left[n] -= 1;
            under_way[n] -= 1;
            if under_way[n] == 0 && left[n] > 0 {
                under_way[n] = send_burst(&mut publishers[n], n, &topic).await;
            }
        }
    }
}

async fn send_burst(link: &mut Link, n: usize, topic: &TopicName) -> usize {
    let mut payload = vec![b'x'; 64];
    payload[..8].copy_from_slice(&(n as u64).to_be_bytes());
    let payload = Bytes::from(payload);
    for _ in 0..BURST {
        link.writer.push(&message(topic, QoS::AtMostOnce, PacketId::FIRST, &payload, false));
    }
    link.writer.flush().await;
    BURST
}

/// Filters of one subscribing client, and of one packet.
const EACH: usize = 100_000;
const AT_ONCE: usize = 1_000;

/// `count` different filters, of as many clients as it takes.
async fn subscriptions(broker: &Broker, count: usize) -> (Found, Vec<Link>) {
    let mut links = Vec::new();
    for n in 0..count / EACH {
        links.push(Link::open(broker.port, format!("holder{n}")).await);
    }
    let meter = Meter::start(broker);
    for (n, link) in links.iter_mut().enumerate() {
        for first in (0..EACH).step_by(AT_ONCE) {
            let filters = (first..first + AT_ONCE).map(|k| format!("many/{n}/of/{k}"));
            link.subscribe(filters, QoS::AtMostOnce).await;
        }
    }
    (meter.stop(count), links)
}

/// Messages that each match one of a million filters.
async fn match_one(broker: &Broker, holders: Vec<Link>, count: usize) -> Found {
    let holders_count = holders.len();
    let flow = Rc::new(Flow::default());
    for link in holders {
        tokio::task::spawn_local(count_in(link, usize::MAX, Rc::clone(&flow)));
    }
    let mut publisher = Link::open(broker.port, "publisher".to_owned()).await;
    let payload = Bytes::from_static(b"0123456789abcdef");
    let meter = Meter::start(broker);
    for sent in 0..count {
        flow.room(sent, 1_000).await;
        // A step that meets all of them in no order.
        let place = sent * 7_919 % (holders_count * EACH);
        let topic = topic(format!("many/{}/of/{}", place / EACH, place % EACH));
        publisher.writer.push(&message(&topic, QoS::AtMostOnce, PacketId::FIRST, &payload, false));
        if sent % 100 == 99 {
            publisher.writer.flush().await;
        }
    }
    publisher.writer.flush().await;
    flow.room(count, 1).await;
    meter.stop(count)
}

async fn retain(publisher: &mut Link, count: usize) {
    let payload = Bytes::from_static(b"0123456789abcdef");
    for n in 0..count {
        let topic = topic(format!("kept/{}/{}", n / 1_000, n % 1_000));
        publisher.writer.push(&message(&topic, QoS::AtMostOnce, PacketId::FIRST, &payload, true));
        if n % 64 == 63 {
            publisher.writer.flush().await;
        }
    }
    publisher.ping().await;
}

/// Sends a message each 50 us, with the time in it.
async fn pace(mut link: Link, count: usize, start: Instant) {
    let topic = topic("pair/0".to_owned());
    let mut id = PacketId::FIRST;
    for n in 0..count {
        let due = Duration::from_micros(50 * n as u64);
        while start.elapsed() < due {
            tokio::task::yield_now().await;
        }
        let mut payload = vec![b'x'; 16];
        let now = u64::try_from(start.elapsed().as_nanos()).expect("a short run");
        payload[..8].copy_from_slice(&now.to_be_bytes());
        link.writer.push(&message(&topic, QoS::AtLeastOnce, id, &Bytes::from(payload), false));
        id = id.next();
        link.writer.flush().await;
    }
    loop {
        link.reader.recv().await;
    }
}

async fn stamps(mut link: Link, count: usize, start: Instant) -> Vec<Duration> {
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        let packet = link.reader.recv().await;
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        let sent = u64::from_be_bytes(publish.payload[..8].try_into().expect("8 bytes"));
        times.push(start.elapsed().saturating_sub(Duration::from_nanos(sent)));
        if let Some(id) = publish.id {
            link.writer.push(&Packet::PubAck(Ack::success(id)));
            link.writer.flush().await;
        }
    }
    times
}
