//! Ethernet, IPv4 and TCP around the bytes of connections that were seen without them: handshake,
//! segments, acknowledgements, FIN or RST, with right lengths and checksums.
//!
//! Every client has an address of its own, every connection a port. No loss, no delay, no windows: all
//! frames of an event have its time.

use std::collections::BTreeMap;

use indexmap::IndexSet;

use crate::record::TlsEnd;

/// Payload of one segment.
const MSS: usize = 1460;
const BROKER: [u8; 4] = [10, 77, 0, 1];
/// The first port of a client; as many connections as follow have one of their own.
const FIRST_PORT: u16 = 49152;
const PORTS: u32 = 16384;
const WINDOW: u16 = u16::MAX;
/// Bytes after which the other side acknowledges by itself, well below the window.
const ACKNOWLEDGED_AFTER: u32 = 32 * 1024;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// One frame of the capture.
#[derive(Debug)]
pub struct Frame {
    /// Seconds since the start of the run.
    pub at: f64,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// What is to be said about it.
    pub comments: Vec<String>,
}

/// The network of one case.
#[derive(Debug, Default)]
pub struct Network {
    frames: Vec<Frame>,
    clients: IndexSet<String>,
    connections: BTreeMap<Stream, Connection>,
    /// Comments for the next frame.
    waiting: Vec<String>,
    /// Identification of the next IP packet.
    identification: u16,
}

/// What of a client's connection a TCP connection of the capture carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    /// Its number within the case.
    pub conn: u32,
    /// Where the broker listens, which tells Wireshark what to read.
    pub port: u16,
}

/// The first byte of what comes from whoever called.
const CONNECT: u8 = 0x10;

/// Which end of a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Client,
    Broker,
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Broker,
            Self::Broker => Self::Client,
        }
    }
}

impl From<TlsEnd> for End {
    fn from(end: TlsEnd) -> Self {
        match end {
            TlsEnd::Client => Self::Client,
            TlsEnd::Broker => Self::Broker,
        }
    }
}

/// One TCP connection.
#[derive(Debug, Clone, Copy)]
struct Connection {
    address: [u8; 4],
    /// Who opened it, and from which port; a peer of the scenario is called by a bridge.
    caller: End,
    port: u16,
    /// Next sequence numbers of client and broker.
    next: [u32; 2],
    /// What of them the other side has acknowledged.
    acknowledged: [u32; 2],
    /// Whether they send no more.
    closed: [bool; 2],
}

impl Network {
    /// Says something about the next frame.
    pub fn comment(&mut self, text: &str) {
        self.waiting.push(text.to_owned());
    }

    /// Says something about the latest frame.
    pub fn comment_last(&mut self, text: &str) {
        match self.frames.last_mut() {
            Some(frame) => frame.comments.push(text.to_owned()),
            None => self.comment(text),
        }
    }

    /// Bytes of a connection, which is opened where it was not yet.
    pub fn bytes(&mut self, at: f64, client: &str, stream: Stream, from: End, bytes: &[u8]) {
        let calls = bytes.first() == Some(&CONNECT);
        self.open_from(if calls { from } else { End::Client }, at, client, stream, "");
        let mut segments = bytes.chunks(MSS).peekable();
        while let Some(segment) = segments.next() {
            let push = if segments.peek().is_none() { PSH } else { 0 };
            self.segment(at, stream, from, ACK | push, segment);
            let Some(connection) = self.connections.get(&stream) else { return };
            let [next, acknowledged] = [connection.next, connection.acknowledged].map(|of| of[from as usize]);
            if next.wrapping_sub(acknowledged) > ACKNOWLEDGED_AFTER {
                self.segment(at, stream, from.other(), ACK, &[]);
            }
        }
    }

    /// A connection ended; `how` as the event log says it.
    pub fn end(&mut self, at: f64, client: &str, stream: Stream, how: &str) {
        self.open(at, client, stream, "");
        match how {
            "reset by the peer" => self.segment(at, stream, End::Broker, RST | ACK, &[]),
            "closed by the peer" => self.goodbye(at, stream, End::Broker),
            "closed by the client" | "closed by the scenario" => self.goodbye(at, stream, End::Client),
            // Given up by the client: what came was no packet, or the connection broke.
            _ => self.segment(at, stream, End::Client, RST | ACK, &[]),
        }
    }

    /// One end of a connection sends no more; the other may.
    pub fn close(&mut self, at: f64, stream: Stream, by: End) {
        if self.connections.get(&stream).is_some_and(|connection| !connection.closed[by as usize]) {
            self.segment(at, stream, by, FIN | ACK, &[]);
            self.segment(at, stream, by.other(), ACK, &[]);
        }
    }

    /// A connection was reset.
    pub fn reset(&mut self, at: f64, stream: Stream, by: End) {
        if self.connections.get(&stream).is_some_and(|connection| connection.closed != [true; 2]) {
            self.segment(at, stream, by, RST | ACK, &[]);
        }
    }

    /// All frames; comments without a frame are about the last.
    pub fn finish(&mut self) -> Vec<Frame> {
        if let Some(last) = self.frames.last_mut() {
            last.comments.append(&mut self.waiting);
        }
        std::mem::take(&mut self.frames)
    }

    /// Addresses and what they are called.
    pub fn hosts(&self) -> impl Iterator<Item = ([u8; 4], &str)> {
        let clients = self.clients.iter().enumerate().map(|(index, name)| (address(index), name.as_str()));
        std::iter::once((BROKER, "broker")).chain(clients)
    }

    /// The handshake, where there was none yet; `what` is said about it.
    pub fn open(&mut self, at: f64, client: &str, stream: Stream, what: &str) {
        self.open_from(End::Client, at, client, stream, what);
    }

    fn open_from(&mut self, caller: End, at: f64, client: &str, stream: Stream, what: &str) {
        if self.connections.contains_key(&stream) {
            return;
        }
        let client = crate::text::escape(client);
        let conn = stream.conn;
        let port = FIRST_PORT + u16::try_from(conn.wrapping_sub(1) % PORTS).unwrap_or_default();
        self.comment(&format!("{client}: connection {conn} of this case{what}"));
        let (index, _) = self.clients.insert_full(client);
        let address = address(index);
        let connection =
            Connection { address, caller, port, next: [0, 0], acknowledged: [0, 0], closed: [false, false] };
        self.connections.insert(stream, connection);
        self.segment(at, stream, caller, SYN, &[]);
        self.segment(at, stream, caller.other(), SYN | ACK, &[]);
        self.segment(at, stream, caller, ACK, &[]);
    }

    fn goodbye(&mut self, at: f64, stream: Stream, from: End) {
        if self.connections.get(&stream).is_none_or(|connection| connection.closed != [false; 2]) {
            return;
        }
        self.segment(at, stream, from, FIN | ACK, &[]);
        self.segment(at, stream, from.other(), FIN | ACK, &[]);
        self.segment(at, stream, from, ACK, &[]);
    }

    fn segment(&mut self, at: f64, stream: Stream, from: End, flags: u8, payload: &[u8]) {
        let Some(connection) = self.connections.get_mut(&stream) else { return };
        let (mine, theirs) = (from as usize, from.other() as usize);
        let (near, far) = match connection.caller {
            End::Client => (connection.port, stream.port),
            End::Broker => (stream.port, connection.port),
        };
        let (client, broker) = ((connection.address, near), (BROKER, far));
        let (source, target) = if from == End::Client { (client, broker) } else { (broker, client) };
        let acknowledges = flags & ACK != 0;
        let numbers = (connection.next[mine], if acknowledges { connection.next[theirs] } else { 0 });
        let tcp = tcp(source, target, numbers, flags, payload);
        let bytes = ethernet(from, &ipv4(source.0, target.0, self.identification, &tcp));
        self.identification = self.identification.wrapping_add(1);
        let counted = u32::from(flags & (SYN | FIN) != 0) + u32::try_from(payload.len()).unwrap_or(0);
        connection.next[mine] = connection.next[mine].wrapping_add(counted);
        if acknowledges {
            connection.acknowledged[theirs] = connection.next[theirs];
        }
        connection.closed[mine] |= flags & (FIN | RST) != 0;
        connection.closed[theirs] |= flags & RST != 0;
        // Stamps of two directions may be a little out of the order of the log, which is what counts.
        let at = self.frames.last().map_or(at, |before| at.max(before.at));
        self.frames.push(Frame { at, bytes, comments: std::mem::take(&mut self.waiting) });
    }
}

/// Of the client with this index.
fn address(index: usize) -> [u8; 4] {
    let [.., high, low] = (index + 2).to_be_bytes();
    [10, 77, high, low]
}

fn ethernet(from: End, packet: &[u8]) -> Vec<u8> {
    /// Addresses that nobody owns.
    const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]];
    const IPV4: [u8; 2] = [0x08, 0x00];
    let (source, target) = (MACS[from as usize], MACS[from.other() as usize]);
    [&target[..], &source, &IPV4, packet].concat()
}

fn ipv4(source: [u8; 4], target: [u8; 4], identification: u16, payload: &[u8]) -> Vec<u8> {
    const HEADER: usize = 20;
    const TCP: u8 = 6;
    let length = u16::try_from(HEADER + payload.len()).unwrap_or(u16::MAX);
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend(identification.to_be_bytes());
    // Not to be fragmented, 64 hops, checksum to come.
    header.extend([0x40, 0, 64, TCP, 0, 0]);
    header.extend(source);
    header.extend(target);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(payload);
    header
}

fn tcp(
    source: ([u8; 4], u16),
    target: ([u8; 4], u16),
    (sequence, acknowledgement): (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    const PROTOCOL: [u8; 2] = [0, 6];
    /// Option of a SYN: the largest segment.
    const MSS_OPTION: [u8; 2] = [2, 4];
    let mut options = Vec::new();
    if flags & SYN != 0 {
        options.extend(MSS_OPTION);
        options.extend(u16::try_from(MSS).unwrap_or(u16::MAX).to_be_bytes());
    }
    let words = u8::try_from(5 + options.len() / 4).unwrap_or(5);
    let mut segment = Vec::with_capacity(24 + payload.len());
    segment.extend(source.1.to_be_bytes());
    segment.extend(target.1.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledgement.to_be_bytes());
    segment.extend([words << 4, flags]);
    segment.extend(WINDOW.to_be_bytes());
    // Checksum to come, nothing urgent.
    segment.extend([0; 4]);
    segment.extend(options);
    segment.extend(payload);
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX).to_be_bytes();
    let sum = checksum(&[&source.0, &target.0, &PROTOCOL, &length, &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// The Internet checksum (RFC 1071) of parts of which only the last may have an odd length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 = words.map(|word| u64::from(word[0]) * 256 + u64::from(*word.get(1).unwrap_or(&0))).sum();
    let mut sum = sum;
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }
}
