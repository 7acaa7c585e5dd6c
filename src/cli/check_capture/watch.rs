//! From the bytes of connections to packets, and to what the checks find in them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::BytesMut;

use crate::capture::{Conversations, Deframer, Happening, Segment, Skipped};
use crate::check::{Exchange, Party, Sight, Violation};
use crate::mqtt::codec::{Decoder, Limits};
use crate::mqtt::{Packet, ProtocolVersion};
use crate::text::plural;

/// Bytes of the largest packet that is read.
const LARGEST: u32 = 16 << 20;
/// Bytes of a broker that are kept until its client has said what it speaks.
const EARLY: usize = 1 << 20;
/// Seconds after the client's system received a CONNACK until the client is taken to have read it.
const READS_WITHIN: f64 = 1.0;
/// Notes that are kept.
const NOTES: usize = 200;

/// One finding with its place.
#[derive(Debug)]
pub struct Finding {
    pub violation: Violation,
    pub frame: u64,
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub client_id: String,
}

/// How the bytes of a connection are to be taken.
#[derive(Debug)]
enum Kind {
    /// Nothing came yet that tells.
    Unknown,
    Mqtt,
    WebSocket(Box<[Deframer; 2]>),
    /// Nothing that is ours, or nothing that can be read.
    Other,
}

/// One connection.
#[derive(Debug)]
struct Wire {
    client: SocketAddr,
    server: SocketAddr,
    client_id: String,
    kind: Kind,
    buffers: [BytesMut; 2],
    decoders: [Option<Decoder>; 2],
    /// Bytes of the server so far, and where its CONNACK ended.
    server_bytes: u64,
    connack_end: Option<u64>,
}

/// A capture as it is read.
#[derive(Debug)]
pub struct Watch {
    exchange: Exchange,
    wires: BTreeMap<u32, Wire>,
    ports: Vec<u16>,
    skipped: BTreeMap<Skipped, u64>,
    /// What was found, oldest first.
    pub findings: Vec<Finding>,
    /// What could not be judged, and why.
    pub notes: Vec<String>,
    /// MQTT connections.
    pub connections: u64,
    /// MQTT packets.
    pub packets: u64,
    /// When the first frame was captured.
    start: Option<f64>,
}

/// True for bytes that begin a CONNECT; `None` when there are too few.
fn is_connect(bytes: &[u8]) -> Option<bool> {
    let (first, rest) = bytes.split_first()?;
    if *first != 0x10 {
        return Some(false);
    }
    let end = rest.iter().take(4).position(|byte| byte & 0x80 == 0);
    let Some(end) = end else { return (rest.len() >= 4).then_some(false) };
    let names: [&[u8]; 2] = [b"\0\x04MQTT", b"\0\x06MQIsdp"];
    let body = &rest[end + 1..];
    if names.iter().any(|name| body.starts_with(name)) {
        return Some(true);
    }
    if names.iter().any(|name| name.starts_with(body)) { None } else { Some(false) }
}

/// True for bytes that begin a connection that may carry MQTT.
pub fn begins(bytes: &[u8]) -> bool {
    is_connect(bytes) == Some(true) || bytes.starts_with(b"GET ")
}

impl Watch {
    /// Takes connections to these ports for MQTT whatever they begin with. `whole`: the capture holds every
    /// connection to the broker.
    pub fn new(ports: Vec<u16>, whole: bool) -> Self {
        Self {
            exchange: Exchange::new(Sight { at_client: false, whole }),
            wires: BTreeMap::new(),
            ports,
            skipped: BTreeMap::new(),
            findings: Vec::new(),
            notes: Vec::new(),
            connections: 0,
            packets: 0,
            start: None,
        }
    }

    /// Seconds since the first frame.
    pub fn since_start(&mut self, at: f64) -> f64 {
        at - *self.start.get_or_insert(at)
    }

    /// A frame that gave no segment.
    pub fn skip(&mut self, why: Skipped) {
        *self.skipped.entry(why).or_default() += 1;
    }

    /// A segment.
    pub fn segment(&mut self, conversations: &mut Conversations, segment: &Segment<'_>) {
        conversations.segment(segment, begins, &mut |happening| self.happening(&happening));
    }

    fn note(&mut self, text: String) {
        if self.notes.len() < NOTES {
            self.notes.push(text);
        }
    }

    fn happening(&mut self, happening: &Happening<'_>) {
        match *happening {
            Happening::Opened { conn, client, server } => {
                let wire = Wire {
                    client,
                    server,
                    client_id: String::new(),
                    kind: Kind::Unknown,
                    buffers: Default::default(),
                    decoders: [None, None],
                    server_bytes: 0,
                    connack_end: None,
                };
                self.wires.insert(conn, wire);
                self.exchange.opened(conn);
            }
            Happening::Bytes { conn, from_client, bytes, frame, at } => {
                self.bytes(conn, from_client, bytes, frame, at);
            }
            Happening::Heard { conn, position, at } => {
                let end = self.wires.get(&conn).and_then(|wire| wire.connack_end);
                if end.is_some_and(|end| position >= end) {
                    self.exchange.told(conn, at + READS_WITHIN);
                }
            }
            Happening::Missing { conn, from_client, frame } => self.missing(conn, from_client, frame),
            Happening::Ended { conn } => {
                self.exchange.ended(conn);
                self.wires.remove(&conn);
            }
        }
    }

    fn missing(&mut self, conn: u32, from_client: bool, frame: u64) {
        let Some(wire) = self.wires.get_mut(&conn) else { return };
        if matches!(wire.kind, Kind::Other) {
            return;
        }
        let (from, to) = if from_client { (wire.client, wire.server) } else { (wire.server, wire.client) };
        wire.kind = Kind::Other;
        let place = if frame == 0 { "at its end".to_owned() } else { format!("before frame {frame}") };
        // Neither end can be judged by half of what was said.
        self.exchange.unreadable(conn, Party::Client);
        self.exchange.unreadable(conn, Party::Broker);
        self.note(format!("{from} > {to}: bytes are missing in the capture {place}; not judged from there"));
    }

    fn bytes(&mut self, conn: u32, from_client: bool, bytes: &[u8], frame: u64, at: f64) {
        let Some(wire) = self.wires.get_mut(&conn) else { return };
        let side = usize::from(!from_client);
        if !from_client {
            wire.server_bytes += bytes.len() as u64;
        }
        match &mut wire.kind {
            Kind::Other => return,
            Kind::WebSocket(frames) => {
                let Some(inner) = frames[side].take(bytes, LARGEST as usize) else {
                    self.give_up(conn, "its WebSocket frames cannot be read");
                    return;
                };
                wire.buffers[side].extend_from_slice(&inner);
            }
            Kind::Unknown | Kind::Mqtt => wire.buffers[side].extend_from_slice(bytes),
        }
        if matches!(wire.kind, Kind::Unknown) && !self.recognise(conn) {
            return;
        }
        // What the server said before the client could be read waits for that.
        self.decode(conn, Party::Client, frame, at);
        self.decode(conn, Party::Broker, frame, at);
    }

    fn give_up(&mut self, conn: u32, why: &str) {
        let Some(wire) = self.wires.get_mut(&conn) else { return };
        wire.kind = Kind::Other;
        wire.buffers = Default::default();
        let text = format!("{} > {}: {why}; not judged", wire.client, wire.server);
        self.note(text);
    }

    /// What the first bytes of the client are; false while that cannot be told, and where it is none of ours.
    fn recognise(&mut self, conn: u32) -> bool {
        let Some(wire) = self.wires.get_mut(&conn) else { return false };
        let chosen = self.ports.contains(&wire.server.port());
        let first = &wire.buffers[0];
        if first.is_empty() {
            if wire.buffers[1].len() > EARLY {
                wire.kind = Kind::Other;
            }
            return false;
        }
        if first.starts_with(b"GET ") {
            let mut frames = Box::<[Deframer; 2]>::default();
            for (side, frames) in frames.iter_mut().enumerate() {
                let early = std::mem::take(&mut wire.buffers[side]);
                let inner = frames.take(&early, LARGEST as usize).unwrap_or_default();
                wire.buffers[side].extend_from_slice(&inner);
            }
            wire.kind = Kind::WebSocket(frames);
            return true;
        }
        match is_connect(first) {
            Some(false) if first.starts_with(&[0x16, 3]) => {
                if chosen {
                    self.give_up(conn, "it is encrypted");
                } else {
                    wire.kind = Kind::Other;
                }
                false
            }
            Some(false) if !chosen => {
                wire.kind = Kind::Other;
                false
            }
            None if !chosen => false,
            _ => {
                wire.kind = Kind::Mqtt;
                self.connections += 1;
                true
            }
        }
    }

    fn decode(&mut self, conn: u32, from: Party, frame: u64, at: f64) {
        let limits = Limits { max_packet_size: LARGEST };
        loop {
            let version = self.exchange.version(conn);
            let Some(wire) = self.wires.get_mut(&conn) else { return };
            let side = usize::from(from == Party::Broker);
            if wire.buffers[side].is_empty() || matches!(wire.kind, Kind::Other) {
                return;
            }
            // A broker answers in the revision of the CONNECT; without one it is not to be read.
            let waits = from == Party::Broker && version.is_none();
            if waits && wire.buffers[0].is_empty() && wire.decoders[0].is_none() {
                return;
            }
            let decoder = wire.decoders[side].get_or_insert_with(|| match from {
                Party::Client => Decoder::server(limits),
                Party::Broker => Decoder::client(version.unwrap_or(ProtocolVersion::V311), limits),
            });
            let before = wire.buffers[side].len();
            let result = decoder.decode(&mut wire.buffers[side]);
            let left = wire.buffers[side].len() as u64;
            let (seen, len) = match &result {
                Ok(None) => return,
                Ok(Some((packet, len))) => (Ok(packet), *len),
                Err(error) => (Err(error), before),
            };
            self.packets += u64::from(seen.is_ok());
            match seen {
                Ok(Packet::Connect(connect)) => {
                    if matches!(wire.kind, Kind::WebSocket(_)) && wire.client_id.is_empty() {
                        self.connections += 1;
                    }
                    wire.client_id = connect.client_id.to_string();
                }
                Ok(Packet::ConnAck(_)) => wire.connack_end = Some(wire.server_bytes.saturating_sub(left)),
                Err(_) => wire.buffers[side].clear(),
                Ok(_) => {}
            }
            let (client, server, client_id) = (wire.client, wire.server, wire.client_id.clone());
            let found = self.exchange.packet(conn, from, seen, len, at).to_vec();
            self.findings.extend(found.into_iter().map(|violation| Finding {
                violation,
                frame,
                client,
                server,
                client_id: client_id.clone(),
            }));
        }
    }

    /// The end of the file.
    pub fn finish(&mut self, conversations: Conversations) {
        let ours = |address: &SocketAddr| self.ports.contains(&address.port()) || address.port() == 1883;
        let headless: Vec<String> = conversations
            .headless
            .iter()
            .filter(|((one, other), _)| ours(one) || ours(other))
            .map(|((one, other), _)| format!("{one} - {other}: it began before the capture; not judged"))
            .collect();
        let refused = conversations.refused;
        conversations.finish(&mut |happening| self.happening(&happening));
        for note in headless {
            self.note(note);
        }
        if refused > 0 {
            self.note(format!("{refused} connections more than can be followed at once; not judged"));
        }
        let skipped = std::mem::take(&mut self.skipped);
        for (why, count) in skipped {
            let why = match why {
                Skipped::NotTcp => continue,
                Skipped::Cut => "not kept as a whole (a snapshot length)".to_owned(),
                Skipped::Fragment => "fragments of IP packets".to_owned(),
                Skipped::Link(kind) => format!("of link type {kind}, which is not read"),
                Skipped::Broken => "with broken headers".to_owned(),
            };
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            self.note(format!("{} {why}", plural(count, "frame")));
        }
        if self.exchange.dropped() > 0 {
            let text = format!("{} findings more than are kept", self.exchange.dropped());
            self.note(text);
        }
    }
}
