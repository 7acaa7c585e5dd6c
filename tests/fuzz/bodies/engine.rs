//! Four connections, any bytes on each in any order, time that passes, crashes: the whole engine. What
//! it sends is well-formed, within what each client said it takes, and it never comes to rest wrongly.
//!
//! An input is a list of steps: a byte whose low two bits choose the connection and whose next three
//! choose what happens, then a byte of argument, then as many bytes as it says where bytes are sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mqttlab::broker::auth::{Acl, Rules, Zone};
use mqttlab::broker::config::{
    Autosave, Config, ListenerConfig, PersistenceConfig, PersistenceSync, SecurityConfig, SessionLimits,
};
use mqttlab::broker::engine::{ConnId, Engine, Kept, Loss, Output, Peer, Record};
use mqttlab::diagnostic::Source;
use mqttlab::mqtt::codec::{Decoder, Limits};
use mqttlab::mqtt::{Packet, PacketId, ProtocolVersion, QoS};

const CONNECTIONS: usize = 4;
const LIMITS: Limits = Limits { max_packet_size: 1 << 16 };

struct Wire {
    conn: ConnId,
    server: Decoder,
    input: BytesMut,
    /// Said by its CONNECT.
    receive_maximum: usize,
    max_packet_size: usize,
    version: ProtocolVersion,
    client: Option<Decoder>,
    output: BytesMut,
    /// Messages above QoS 0 that it has and has not acknowledged.
    open: BTreeSet<PacketId>,
    welcomed: bool,
}

struct Run {
    config: Arc<Config>,
    rules: Arc<Rules>,
    engine: Engine,
    kept: Vec<Vec<Record>>,
    now: Instant,
    wires: [Option<Wire>; CONNECTIONS],
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut run = Run::new();
    let mut data = data;
    while let [step, argument, rest @ ..] = data {
        let at = usize::from(step & 3);
        data = rest;
        match step >> 2 & 7 {
            0..=2 => {
                let (bytes, rest) = data.split_at(usize::from(*argument).min(data.len()));
                data = rest;
                run.send(at, bytes);
            }
            3 => run.lose(at),
            4 => run.pass(u64::from(*argument)),
            5 => run.engine.reload(Arc::clone(&run.config), Arc::clone(&run.rules), run.now),
            6 => run.crash(),
            _ => run.pass(u64::from(*argument) * 100),
        }
        run.serve();
    }
    (0..CONNECTIONS).for_each(|at| run.lose(at));
    run.serve();
    assert_eq!(run.engine.stats().clients_connected, 0);
}

impl Run {
    fn new() -> Self {
        let config = Arc::new(Config {
            listeners: vec![ListenerConfig::default()],
            security: vec![SecurityConfig { allow_anonymous: true, ..SecurityConfig::default() }],
            limits: SessionLimits {
                max_inflight_messages: 4,
                max_queued_messages: 8,
                max_packet_size: LIMITS.max_packet_size,
                queue_qos0_messages: true,
                allow_duplicate_messages: true,
                ..SessionLimits::default()
            },
            sys_interval: Some(Duration::from_secs(10)),
            persistence: Some(PersistenceConfig {
                file: "unused".into(),
                sync: PersistenceSync::Always,
                autosave: Autosave::Never,
            }),
            ..Config::default()
        });
        let acl = "topic readwrite #\ntopic deny secret/#\npattern read own/%c\n";
        let acl = Acl::parse(&Source::new("acl", acl)).expect("a good file");
        let zone = Zone { allow_anonymous: true, acl: Some(acl), ..Zone::default() };
        let rules = Arc::new(Rules::new(vec![zone]));
        // The clock only has to have a beginning.
        let now = Instant::now();
        let engine = Engine::new(Arc::clone(&config), Arc::clone(&rules), 7, now);
        Self { config, rules, engine, kept: Vec::new(), now, wires: [const { None }; CONNECTIONS] }
    }

    fn send(&mut self, at: usize, bytes: &[u8]) {
        let (engine, now) = (&mut self.engine, self.now);
        let wire = self.wires[at].get_or_insert_with(|| Wire::new(engine.open(Peer::new(0, None), now)));
        wire.input.extend_from_slice(bytes);
        // What a connection's task hands in at once.
        for _ in 0..64 {
            match wire.server.decode(&mut wire.input) {
                Ok(Some((Packet::Connect(connect), _))) if wire.client.is_none() => {
                    wire.version = connect.version;
                    wire.client = Some(Decoder::client(connect.version, Limits::default()));
                    let properties = &connect.properties;
                    wire.receive_maximum = properties.receive_maximum().unwrap_or(u16::MAX).into();
                    wire.max_packet_size =
                        properties.maximum_packet_size().map_or(usize::MAX, |size| size as usize);
                    engine.handle_connect(wire.conn, *connect, Ok(()), now);
                }
                Ok(Some((packet, size))) => {
                    match &packet {
                        Packet::PubAck(ack) | Packet::PubComp(ack) => drop(wire.open.remove(&ack.id)),
                        Packet::PubRec(ack) if !ack.reason.is_success() => drop(wire.open.remove(&ack.id)),
                        _ => {}
                    }
                    engine.handle_packet(wire.conn, packet, size, now);
                }
                Ok(None) => break,
                Err(error) => {
                    engine.handle_malformed(wire.conn, &error, now);
                    break;
                }
            }
        }
        self.take(at);
    }

    fn lose(&mut self, at: usize) {
        if let Some(wire) = self.wires[at].take() {
            self.engine.handle_loss(wire.conn, Loss::Eof, self.now);
        }
    }

    fn pass(&mut self, secs: u64) {
        let until = self.now + Duration::from_secs(secs);
        // Each deadline for itself; a timer that never moves on would never end this.
        for _ in 0..100_000 {
            match self.engine.poll_timeout() {
                Some(due) if due <= until => {
                    self.now = self.now.max(due);
                    self.engine.handle_timeout(self.now);
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("deadlines without end");
    }

    /// The engine is gone, and another one begins with what it kept.
    fn crash(&mut self) {
        self.kept.push(self.engine.take_records());
        self.wires = [const { None }; CONNECTIONS];
        let mut kept = Kept::default();
        self.kept.iter().for_each(|batch| kept.apply(batch.iter().cloned()));
        self.engine = Engine::new(Arc::clone(&self.config), Arc::clone(&self.rules), 7, self.now);
        self.engine.restore(kept, self.now);
    }

    fn serve(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            if let Output::Wake(conn) = output
                && let Some(at) =
                    self.wires.iter().position(|it| it.as_ref().is_some_and(|it| it.conn == conn))
            {
                self.take(at);
            }
        }
        self.kept.push(self.engine.take_records());
    }

    fn take(&mut self, at: usize) {
        let Some(wire) = &mut self.wires[at] else { return };
        let mut frames = Vec::new();
        loop {
            let drained = self.engine.take_frames(wire.conn, 1 << 12, &mut frames, self.now);
            let version = self.engine.version(wire.conn).unwrap_or(wire.version);
            for frame in frames.drain(..) {
                frame.encode(version, &mut wire.output);
            }
            wire.check(version);
            if drained.close {
                self.lose(at);
                return;
            }
            if !drained.more {
                return;
            }
        }
    }
}

impl Wire {
    fn new(conn: ConnId) -> Self {
        Self {
            conn,
            server: Decoder::server(LIMITS),
            input: BytesMut::new(),
            receive_maximum: usize::MAX,
            max_packet_size: usize::MAX,
            version: ProtocolVersion::default(),
            client: None,
            output: BytesMut::new(),
            open: BTreeSet::new(),
            welcomed: false,
        }
    }

    /// What was sent here.
    fn check(&mut self, version: ProtocolVersion) {
        if self.output.is_empty() {
            // What it speaks is not known before it was answered.
            return;
        }
        let client = self.client.get_or_insert_with(|| Decoder::client(version, Limits::default()));
        while let Some((packet, size)) = client.decode(&mut self.output).expect("a broker's packets") {
            assert!(size <= self.max_packet_size, "{packet:?} is larger than the client takes");
            match packet {
                Packet::ConnAck(_) => {
                    assert!(!std::mem::replace(&mut self.welcomed, true), "CONNACK twice");
                }
                // [MQTT-3.2.0-1]
                Packet::Auth(_) | Packet::Disconnect(_) => {}
                packet if !self.welcomed => panic!("{packet:?} before CONNACK"),
                Packet::Publish(publish) if publish.qos != QoS::AtMostOnce => {
                    self.open.insert(publish.id.expect("an identifier"));
                    assert!(self.open.len() <= self.receive_maximum, "receive maximum");
                }
                _ => {}
            }
        }
        assert!(self.output.is_empty(), "half a packet");
    }
}
