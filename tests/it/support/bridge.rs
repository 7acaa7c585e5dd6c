//! Brokers of ours with bridges, and the other end of a bridge in our own hands.

use std::sync::Arc;
use std::time::Duration;

use mqttlab::broker::config::{BridgeConfig, BridgeDirection, BridgeRestart, BridgeTopic, Config, Overrides};
use mqttlab::broker::server::files::{FsFiles, load_rules};
use mqttlab::broker::server::{Broker, Medium};
use mqttlab::check::{Exchange, Party, Sight};
use mqttlab::client::Client;
use mqttlab::mqtt::codec::{Decoder, Limits};
use mqttlab::mqtt::packet::{Ack, ConnAck, Connect, PacketType, SubAck, UnsubAck};
use mqttlab::mqtt::{Packet, Properties, ProtocolVersion, QoS, ReasonCode};
use mqttlab::net::framed::{Framed, Received};
use mqttlab::net::tap::{Content, Direction, Tap, Tapped};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::broker::{PATIENCE, connect, folder, next_message, subscribe};

/// Where a bridge named [`bridge`] tells its state, at both brokers.
pub const STATE: &str = "$SYS/broker/connection/far/state";

/// What a broker logged.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Vec<String>>, Notify)>);

impl Log {
    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.0.lock().clone()
    }

    /// Waits until so many lines have this text.
    pub async fn wait_for(&self, text: &str, times: usize) {
        let waiting = async {
            loop {
                let logged = self.0.1.notified();
                if self.0.0.lock().iter().filter(|line| line.contains(text)).count() >= times {
                    return;
                }
                logged.await;
            }
        };
        let seen = timeout(PATIENCE, waiting).await.is_ok();
        assert!(seen, "not {times} times `{text}` in {:#?}", self.lines());
    }
}

/// The configuration of a file of this text, with these bridges.
pub fn config_of(conf: &str, bridges: Vec<BridgeConfig>) -> Config {
    let folder = folder(&format!("{conf}log_type all\n"));
    let path = folder.path().join("mosquitto.conf");
    let (config, found) = Config::load(&FsFiles, Some(&path), &Overrides::default());
    Config { bridges, ..config.unwrap_or_else(|| panic!("{found:?}")) }
}

/// A broker of ours with these bridges.
pub async fn start_bridged(conf: &str, bridges: Vec<BridgeConfig>) -> (Broker, Log) {
    let config = config_of(conf, bridges);
    let (rules, found) = load_rules(&config, &FsFiles);
    assert!(found.is_empty(), "{found:?}");
    let log = Log::default();
    let sink = log.clone();
    let write = Box::new(move |lines: &[mqttlab::broker::log::LogLine]| {
        sink.0.0.lock().extend(lines.iter().map(ToString::to_string));
        sink.0.1.notify_waiters();
    });
    let starting = Broker::start_with_log(Arc::new(config), Arc::new(rules), Medium::Sockets, 7, write);
    (starting.await.expect("a port"), log)
}

/// As SIGHUP with other bridges.
pub fn reload(broker: &Broker, conf: &str, bridges: Vec<BridgeConfig>) {
    let config = config_of(conf, bridges);
    let (rules, _) = load_rules(&config, &FsFiles);
    broker.reload(Arc::new(config), Arc::new(rules));
}

/// A bridge `b1` to a port of this machine, `far` there and `near` here, that tries again soon.
pub fn bridge(port: u16, topics: Vec<BridgeTopic>) -> BridgeConfig {
    BridgeConfig {
        name: "b1".to_owned(),
        addresses: vec![("127.0.0.1".to_owned(), port)],
        topics,
        remote_client_id: Some("far".to_owned()),
        local_client_id: Some("near".to_owned()),
        restart: BridgeRestart::Constant(Duration::from_millis(20)),
        ..BridgeConfig::default()
    }
}

/// A `topic` line.
pub fn topic(
    pattern: &str,
    direction: BridgeDirection,
    qos: QoS,
    local_prefix: &str,
    remote_prefix: &str,
) -> BridgeTopic {
    BridgeTopic {
        pattern: (!pattern.is_empty()).then(|| pattern.to_owned()),
        direction,
        qos,
        local_prefix: local_prefix.to_owned(),
        remote_prefix: remote_prefix.to_owned(),
    }
}

/// Waits until the bridge of a broker is up, or down.
pub async fn until_state(broker: &Broker, wanted: &str) {
    let mut watch = connect(&broker.endpoint(0), ProtocolVersion::V311, "state-watch").await;
    until_state_of(&mut watch, wanted).await;
}

/// Waits until the state of the bridge is this, at the broker where the client is.
pub async fn until_state_of(watch: &mut Client, wanted: &str) {
    watch.subscribe(subscribe(STATE, QoS::AtLeastOnce)).await.expect("granted");
    while next_message(watch).await.payload != wanted {}
}

/// The other broker, played by the test. When it is dropped, the bridge has kept the rules that bind
/// clients (`[MQTT-7.0.0-1]`), as far as the passive checks can tell.
pub struct Remote {
    listener: TcpListener,
    watched: Arc<Mutex<Watched>>,
    /// Where it listens.
    pub port: u16,
}

/// What a bridge sent and was sent.
struct Watched {
    exchange: Exchange,
    calls: u32,
    began: Instant,
}

impl Watched {
    /// A tap for one more connection; those before it are over.
    fn tap(this: &Arc<Mutex<Self>>) -> Tap {
        let mut watched = this.lock();
        let before = watched.calls;
        watched.exchange.ended(before);
        watched.calls += 1;
        let call = watched.calls;
        watched.exchange.opened(call);
        let this = Arc::clone(this);
        Tap::new(move |tapped: Tapped<'_>| {
            let from = match tapped.direction {
                Direction::In => Party::Client,
                Direction::Out => Party::Broker,
            };
            let mut watched = this.lock();
            let at = tapped.at.saturating_duration_since(watched.began).as_secs_f64();
            let seen = match tapped.content {
                Content::Packet(packet) => Ok(packet),
                Content::Malformed(error) => Err(error),
                Content::Raw => return watched.exchange.unreadable(call, from),
            };
            watched.exchange.packet(call, from, seen, tapped.bytes.len(), at);
        })
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let watched = self.watched.lock();
        let of_bridge = watched.exchange.violations().iter().filter(|found| found.by() == Party::Client);
        let breaches: Vec<_> = of_bridge.map(|found| format!("{found} ({})", found.line)).collect();
        assert!(
            std::thread::panicking() || breaches.is_empty(),
            "the bridge is no good client: {breaches:#?}"
        );
    }
}

/// A bridge's connection to a [`Remote`].
pub struct Caller {
    framed: Framed,
    /// How it introduced itself.
    pub connect: Connect,
}

impl Remote {
    /// On a port of the system's choice.
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let exchange = Exchange::new(Sight { at_client: false, whole: true });
        let watched = Arc::new(Mutex::new(Watched { exchange, calls: 0, began: Instant::now() }));
        Self { listener, watched, port }
    }

    /// The next connection, up to its CONNECT.
    pub async fn accept(&self) -> Caller {
        let accepted = timeout(PATIENCE, self.listener.accept()).await.expect("a connection in time");
        let (stream, _) = accepted.expect("accepted");
        let mut framed = Framed::new(Box::new(stream), Decoder::server(Limits::default()));
        framed = framed.with_tap(Some(Watched::tap(&self.watched)));
        match timeout(PATIENCE, framed.recv()).await {
            Ok(Received::Packet(Packet::Connect(connect), _)) => Caller { framed, connect: *connect },
            other => panic!("{other:?} is no CONNECT"),
        }
    }

    /// The next connection, let in and with all its requests granted. `present`: with the session
    /// that it had.
    pub async fn welcome(&self, present: bool) -> Caller {
        let mut caller = self.accept().await;
        caller.let_in(present).await;
        caller.grant().await;
        caller
    }
}

impl Remote {
    /// True if somebody waits to be accepted.
    pub async fn was_called(&self) -> bool {
        std::future::poll_fn(|context| std::task::Poll::Ready(self.listener.poll_accept(context).is_ready()))
            .await
    }
}

impl Caller {
    /// What comes next, pings not answered; `None` at the end.
    pub async fn raw_packet(&mut self) -> Option<Packet> {
        match timeout(PATIENCE, self.framed.recv()).await.expect("something in time") {
            Received::Packet(packet, _) => Some(packet),
            _ => None,
        }
    }

    /// CONNACK that accepts.
    pub async fn let_in(&mut self, session_present: bool) {
        self.send(&Packet::ConnAck(ConnAck { session_present, ..ConnAck::default() })).await;
    }

    /// Sends a packet.
    pub async fn send(&mut self, packet: &Packet) {
        self.framed.push(packet, self.connect.version);
        // A bridge that has gone already is seen when it is read from.
        let _ = self.framed.flush().await;
    }

    /// Sends bytes.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.framed.push_raw(bytes, None);
        let _ = self.framed.flush().await;
    }

    /// What comes next, pings answered.
    pub async fn receive(&mut self) -> Received {
        loop {
            let received = timeout(PATIENCE, self.framed.recv()).await.expect("something in time");
            if !matches!(received, Received::Packet(Packet::PingReq, _)) {
                return received;
            }
            self.send(&Packet::PingResp).await;
        }
    }

    /// The next packet.
    pub async fn packet(&mut self) -> Packet {
        match self.receive().await {
            Received::Packet(packet, _) => packet,
            other => panic!("{other:?} is no packet"),
        }
    }

    /// Waits for the end of the connection, whatever comes before.
    pub async fn end(&mut self) {
        while matches!(self.receive().await, Received::Packet(..)) {}
    }

    /// Answers the state, the unsubscriptions and the subscriptions that a bridge begins with, up to
    /// a PINGREQ of nobody: until one SUBSCRIBE came.
    pub async fn grant(&mut self) {
        loop {
            match self.packet().await {
                Packet::Publish(publish) => {
                    if let Some(id) = publish.id {
                        self.send(&Packet::PubAck(Ack::success(id))).await;
                    }
                }
                Packet::Unsubscribe(packet) => {
                    let codes = vec![ReasonCode::SUCCESS];
                    let ack = UnsubAck { id: packet.id, properties: Properties::new(), codes };
                    self.send(&Packet::UnsubAck(ack)).await;
                }
                Packet::Subscribe(packet) => {
                    let codes =
                        packet.subscriptions.iter().map(|it| ReasonCode(it.options.qos.as_u8())).collect();
                    let ack = SubAck { id: packet.id, properties: Properties::new(), codes };
                    self.send(&Packet::SubAck(ack)).await;
                    return;
                }
                other => panic!("{} to begin with", PacketType::name(other.packet_type())),
            }
        }
    }
}
