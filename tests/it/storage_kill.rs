//! `kill -9` at random moments under load with `persistence_sync always`: nothing that was
//! acknowledged is lost, QoS 2 is delivered once, what is retained is what was acknowledged last.
//!
//! `KILLS=200 cargo test --test it storage_kill` kills so often; `SEED` chooses the moments.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mqttlab::client::{Client, Event, Options, Session};
use mqttlab::mqtt::packet::{Connect, Publish};
use mqttlab::mqtt::{Packet, PacketId, ProtocolVersion, QoS};
use mqttlab::net::Endpoint;
use tokio::sync::watch;

use crate::support::broker::{OPEN, Process, folder, next_message, publish, subscribe};
use crate::support::random::Random;

/// Kills of one test run.
const KILLS: u64 = 10;
/// Messages that a publisher has under way.
const WINDOW: usize = 16;

/// Who publishes, at which QoS, how many bytes, and whether it retains.
const PUBLISHERS: [(&str, QoS, usize, bool); 3] = [
    ("a", QoS::AtLeastOnce, 20, true),
    ("b", QoS::ExactlyOnce, 20, false),
    ("c", QoS::ExactlyOnce, 8000, false),
];

/// What the clients and the killer share.
struct Load {
    /// Where the broker is; another place after each start.
    endpoint: watch::Receiver<Endpoint>,
    /// Messages acknowledged, by any publisher.
    acknowledged: watch::Sender<u64>,
    /// The last retained message that was acknowledged.
    retained: AtomicU64,
    /// No new messages: finish what is under way.
    finish: AtomicBool,
}

impl Load {
    /// Connects to the broker as soon as there is one. Its session goes on.
    async fn join(&self, client_id: &str, session: &Session) -> Client {
        let version = ProtocolVersion::V311;
        let options = Options::new(Connect { version, client_id: client_id.into(), ..Connect::default() });
        let mut endpoint = self.endpoint.clone();
        loop {
            let there = endpoint.borrow_and_update().clone();
            match Client::connect(&there, &options, session.clone(), None).await {
                Ok((client, _)) => return client,
                // Killed: there will be another one.
                Err(_) => endpoint.changed().await.expect("the killer lives"),
            }
        }
    }
}

/// Publishes numbers until it is told to finish; the last one.
async fn publish_numbers(load: Arc<Load>, which: (&'static str, QoS, usize, bool)) -> u64 {
    let (name, qos, size, retain) = which;
    let mut session = Session::default();
    let mut open: BTreeMap<PacketId, u64> = BTreeMap::new();
    let mut last = 0;
    loop {
        let mut client = load.join(name, &session).await;
        loop {
            while open.len() < WINDOW && !load.finish.load(Ordering::Relaxed) {
                last += 1;
                let message = publish(&format!("p/{name}"), format!("{last:0size$}"), qos);
                let id = client.start_publish(Publish { retain, ..message }).expect("few are under way");
                open.insert(id.expect("above QoS 0"), last);
            }
            if open.is_empty() {
                return last;
            }
            let done = match client.next().await {
                Event::Packet(Packet::PubAck(ack) | Packet::PubComp(ack)) => ack.id,
                Event::Packet(_) => continue,
                Event::Closed(_) => break,
                other => panic!("{name}: {other:?}"),
            };
            client.take_outcome(done);
            let number = open.remove(&done).expect("was published");
            if retain {
                load.retained.fetch_max(number, Ordering::Relaxed);
            }
            load.acknowledged.send_modify(|count| *count += 1);
        }
        session = client.into_session();
    }
}

/// Receives until it has the last number of each publisher; all numbers of each, as they came.
async fn receive(
    load: Arc<Load>,
    mut session: Session,
    mut last: watch::Receiver<BTreeMap<&'static str, u64>>,
) -> Received {
    let mut received = Received::new();
    loop {
        let mut client = load.join("s", &session).await;
        loop {
            let event = tokio::select! {
                event = client.next() => Some(event),
                // It is known now what the last ones are.
                Ok(()) = last.changed() => None,
            };
            match event {
                Some(Event::Packet(Packet::Publish(message))) => {
                    let name = message.topic.as_str().strip_prefix("p/").expect("our topic").to_owned();
                    let text = std::str::from_utf8(&message.payload).expect("our text");
                    received.entry(name).or_default().push(text.parse().expect("a number"));
                }
                Some(Event::Packet(_) | Event::Repeated(_)) | None => {}
                Some(Event::Closed(_)) => break,
                Some(other) => panic!("{other:?}"),
            }
            let wanted = last.borrow_and_update().clone();
            let has = |(name, last): (&&str, &u64)| received.get(*name).is_some_and(|all| all.contains(last));
            if !wanted.is_empty() && wanted.iter().all(has) {
                return received;
            }
        }
        session = client.into_session();
    }
}

type Received = BTreeMap<String, Vec<u64>>;

/// What is retained, as a new client is told; 0 for nothing.
async fn retained(endpoint: &Endpoint) -> u64 {
    let connect = Connect { client_id: "r".into(), clean_start: true, ..Connect::default() };
    let options = Options::new(connect);
    let (mut client, _) =
        Client::connect(endpoint, &options, Session::default(), None).await.expect("let in");
    client.subscribe(subscribe("p/a", QoS::AtMostOnce)).await.expect("answered");
    let message = next_message(&mut client).await;
    std::str::from_utf8(&message.payload).expect("our text").parse().expect("a number")
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_qos_2_comes_once() {
    let kills = variable("KILLS").unwrap_or(KILLS);
    let seed = variable("SEED").unwrap_or(1);
    eprintln!("storage_kill: SEED={seed}");
    let mut random = Random(seed);
    let folder = folder("");
    let conf = format!(
        "{OPEN}max_queued_messages 0\npersistence true\npersistence_sync always\npersistence_location {}/\n",
        folder.path().display()
    );
    fs::write(folder.path().join("mosquitto.conf"), conf).expect("written");

    let mut process = Process::start(folder.path(), &[]);
    let (place, endpoint) = watch::channel(process.endpoint());
    let (acknowledged, mut progress) = watch::channel(0);
    let retained_so_far = AtomicU64::new(0);
    let finish = AtomicBool::new(false);
    let load = Arc::new(Load { endpoint, acknowledged, retained: retained_so_far, finish });
    let (told, last) = watch::channel(BTreeMap::new());
    let mut first = load.join("s", &Session::default()).await;
    first.subscribe(subscribe("p/#", QoS::ExactlyOnce)).await.expect("answered");
    let subscriber = tokio::spawn(receive(Arc::clone(&load), first.into_session(), last));
    let publishers =
        PUBLISHERS.map(|which| (which.0, tokio::spawn(publish_numbers(Arc::clone(&load), which))));

    for kill in 0..kills {
        let until = *progress.borrow() + 1 + random.next() % 400;
        progress.wait_for(|count| *count >= until).await.expect("publishers live");
        let at_least = load.retained.load(Ordering::Relaxed);
        // SIGKILL.
        drop(process);
        process = Process::start(folder.path(), &[]);
        assert!(process.lines().iter().all(|line| !line.contains("Error")), "{:#?}", process.lines());
        place.send_replace(process.endpoint());
        if at_least > 0 {
            let found = retained(&process.endpoint()).await;
            assert!(found >= at_least, "after kill {kill}: {found} is retained, {at_least} acknowledged");
        }
    }
    load.finish.store(true, Ordering::Relaxed);
    let mut lasts = BTreeMap::new();
    for (name, publisher) in publishers {
        lasts.insert(name, publisher.await.expect("no panic"));
    }
    told.send_replace(lasts.clone());
    let received = subscriber.await.expect("no panic");
    for (name, qos, ..) in PUBLISHERS {
        check(&received[name], lasts[name], qos);
    }
    eprintln!("storage_kill: {kills} kills, {} messages acknowledged", *progress.borrow());
}

/// All numbers came, in order but for repeats, and at QoS 2 without repeats.
fn check(received: &[u64], last: u64, qos: QoS) {
    let mut next = 1;
    for number in received {
        assert!(*number <= next, "{next} is lost: {number} came");
        assert!(*number == next || qos == QoS::AtLeastOnce, "{number} came again");
        next = next.max(number + 1);
    }
    assert_eq!(next, last + 1, "the last ones are lost");
}
