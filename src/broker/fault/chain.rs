//! The faults of one connection, one behind the other, between the bytes of the client and those of
//! the broker.
//!
//! Finds packets in the bytes and holds no more of them than [`LONGEST`]; moves no byte itself.

use bytes::{Bytes, BytesMut};

use super::wire::{Content, Frame, Line, Rewriter, Seen, Way, Wire};
use super::{Faults, SPARED};
use crate::mqtt::{Packet, ProtocolVersion};

/// Bytes of the longest packet that is looked at; of a longer one the parts go on as they come.
pub const LONGEST: usize = 1024 * 1024;

/// What is to be written, and what ends behind it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Bytes to the broker.
    pub up: BytesMut,
    /// Bytes to the client.
    pub down: BytesMut,
    /// Nothing follows `up`.
    pub end_up: bool,
    /// Nothing follows `down`.
    pub end_down: bool,
}

/// See the module.
pub struct Chain {
    /// The first is next to the client.
    rewriters: Vec<Rewriter>,
    line: Line,
    up: Splitter,
    down: Splitter,
    /// Not for this client.
    spared: bool,
}

impl Chain {
    /// For a fresh connection.
    pub fn new(faults: &Faults) -> Self {
        Self {
            rewriters: faults.rewriters(),
            line: Line { shared: faults.shared().clone(), ..Line::default() },
            up: Splitter::default(),
            down: Splitter::default(),
            spared: false,
        }
    }

    /// Bytes came.
    pub fn read(&mut self, way: Way, bytes: &[u8], outcome: &mut Outcome) {
        if self.spared {
            return emit(Seen::Frame(way, Frame::piece(Bytes::copy_from_slice(bytes))), outcome);
        }
        self.splitter(way).push(bytes);
        while let Some(found) = self.splitter(way).next() {
            let frame = match found {
                Found::Whole(bytes) => Frame::read(bytes, self.line.version),
                Found::Piece(bytes) => Frame::piece(bytes),
            };
            if way == Way::Up && self.line.version.is_none() {
                self.learn(&frame);
            }
            self.feed(Seen::Frame(way, frame), outcome);
        }
        self.feed(Seen::Pause(way), outcome);
    }

    /// The stream ended.
    pub fn ended(&mut self, way: Way, outcome: &mut Outcome) {
        let rest = self.splitter(way).rest();
        if !rest.is_empty() {
            self.feed(Seen::Frame(way, Frame::piece(rest)), outcome);
        }
        self.feed(Seen::End(way), outcome);
    }

    fn splitter(&mut self, way: Way) -> &mut Splitter {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }

    /// The first packet says which revision is spoken, and who it is.
    fn learn(&mut self, frame: &Frame) {
        match &frame.content {
            Content::Packet(Packet::Connect(connect)) => {
                self.spared = connect.client_id.starts_with(SPARED);
                self.line.version = Some(connect.version);
                self.line.connect = Some(connect.clone());
            }
            _ => self.line.version = announced(frame),
        }
    }

    fn feed(&mut self, seen: Seen, outcome: &mut Outcome) {
        let at = match way(&seen) {
            _ if self.spared => return emit(seen, outcome),
            Way::Up => 0,
            Way::Down => self.rewriters.len(),
        };
        self.pass_on(seen, at, outcome);
    }

    /// `at` counts the gaps between the rewriters: 0 is the client, the last is the broker.
    fn pass_on(&mut self, seen: Seen, at: usize, outcome: &mut Outcome) {
        let index = match way(&seen) {
            Way::Up if at == self.rewriters.len() => return emit(seen, outcome),
            Way::Down if at == 0 => return emit(seen, outcome),
            Way::Up => at,
            Way::Down => at - 1,
        };
        let mut out = Vec::new();
        (self.rewriters[index])(&mut Wire::new(&self.line, &mut out), seen);
        for seen in out {
            let next = match way(&seen) {
                Way::Up => index + 1,
                Way::Down => index,
            };
            self.pass_on(seen, next, outcome);
        }
    }
}

fn way(seen: &Seen) -> Way {
    match seen {
        Seen::Frame(way, _) | Seen::Pause(way) | Seen::End(way) => *way,
    }
}

fn emit(seen: Seen, outcome: &mut Outcome) {
    match seen {
        Seen::Frame(Way::Up, frame) if !outcome.end_up => outcome.up.extend_from_slice(&frame.bytes),
        Seen::Frame(Way::Down, frame) if !outcome.end_down => outcome.down.extend_from_slice(&frame.bytes),
        Seen::End(Way::Up) => outcome.end_up = true,
        Seen::End(Way::Down) => outcome.end_down = true,
        Seen::Frame(..) | Seen::Pause(_) => {}
    }
}

/// The revision that a CONNECT announces which cannot be read to its end.
fn announced(frame: &Frame) -> Option<ProtocolVersion> {
    let body = frame.body();
    let length = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    let level = body.get(2 + length)? & 0x7F;
    ProtocolVersion::ALL.into_iter().find(|version| version.level() == level)
}

/// Finds the ends of packets (2.2.3; 2.1.4 in 5.0).
#[derive(Debug, Default)]
struct Splitter {
    buffer: BytesMut,
    /// Bytes of a long packet that are still to come.
    skip: usize,
    /// The length of a packet cannot be read: what follows is no packet any more.
    lost: bool,
}

enum Found {
    Whole(Bytes),
    Piece(Bytes),
}

impl Splitter {
    fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Found> {
        if self.buffer.is_empty() {
            return None;
        }
        if self.lost {
            return Some(Found::Piece(self.rest()));
        }
        if self.skip > 0 {
            let now = self.skip.min(self.buffer.len());
            self.skip -= now;
            return Some(Found::Piece(self.buffer.split_to(now).freeze()));
        }
        let mut length = 0;
        for (at, byte) in self.buffer.iter().skip(1).take(4).enumerate() {
            length |= usize::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return self.packet(at + 2 + length);
            }
        }
        // Five bytes: no length. What is there of it is shown as a whole.
        self.lost = self.buffer.len() >= 5;
        self.lost.then(|| Found::Whole(self.rest()))
    }

    fn packet(&mut self, whole: usize) -> Option<Found> {
        if self.buffer.len() >= whole {
            return Some(Found::Whole(self.buffer.split_to(whole).freeze()));
        }
        if whole <= LONGEST {
            return None;
        }
        self.skip = whole - self.buffer.len();
        Some(Found::Piece(self.rest()))
    }

    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.buffer).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Deed, down, up};
    use super::*;

    fn chain(rewriters: Vec<Rewriter>) -> Chain {
        Chain { rewriters, ..Chain::new(&Faults::new(&[])) }
    }

    const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
    const PINGREQ: &[u8] = &[0xC0, 0];

    #[test]
    fn packets_are_found_wherever_the_bytes_are_cut() {
        let mut seen = 0;
        let counting = up(move |packet, _| {
            seen += 1;
            assert_eq!(matches!(packet, Packet::Connect(_)), seen == 1);
            Deed::Pass
        });
        let mut chain = chain(vec![counting]);
        let mut outcome = Outcome::default();
        let all = [CONNECT, PINGREQ, PINGREQ].concat();
        for byte in &all {
            chain.read(Way::Up, &[*byte], &mut outcome);
        }
        assert_eq!(outcome.up, all);
        assert!(outcome.down.is_empty() && !outcome.end_up);
        chain.ended(Way::Up, &mut outcome);
        assert!(outcome.end_up && !outcome.end_down);
    }

    #[test]
    fn each_fault_sees_what_the_one_before_it_left() {
        let swallow = || up(|packet, _| if *packet == Packet::PingReq { Deed::Drop } else { Deed::Pass });
        let answer = down(|packet, _| {
            *packet = Packet::PingReq;
            Deed::Twice
        });
        let mut chain = chain(vec![answer, swallow()]);
        let mut outcome = Outcome::default();
        chain.read(Way::Up, &[CONNECT, PINGREQ].concat(), &mut outcome);
        assert_eq!(outcome.up, CONNECT);
        chain.read(Way::Down, &[0xD0, 0], &mut outcome);
        assert_eq!(outcome.down, [PINGREQ, PINGREQ].concat());
    }

    #[test]
    fn unfinished_endless_and_long_packets_go_on_as_they_are() {
        for bytes in [&[0x30, 0x05, 0x00][..], &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1, 2, 3]] {
            let mut chain = chain(vec![up(|_, _| Deed::Drop)]);
            let mut outcome = Outcome::default();
            chain.read(Way::Up, bytes, &mut outcome);
            chain.ended(Way::Up, &mut outcome);
            assert_eq!(outcome.up, bytes);
        }
        let mut chain = chain(vec![up(|_, _| Deed::Drop)]);
        let mut outcome = Outcome::default();
        // 2 MiB, not all of it there.
        chain.read(Way::Up, &[0x30, 0x80, 0x80, 0x80, 0x01, 0x00], &mut outcome);
        assert_eq!(outcome.up.len(), 6, "nothing waits for the end of it");
    }

    #[test]
    fn who_proves_what_happens_is_spared() {
        let mut chain = chain(vec![up(|_, _| Deed::Drop), down(|_, _| Deed::Drop)]);
        let mut outcome = Outcome::default();
        let connect = b"\x10\x14\x00\x04MQTT\x04\x02\x00\x00\x00\x08mqttlab-";
        chain.read(Way::Up, connect, &mut outcome);
        chain.read(Way::Up, PINGREQ, &mut outcome);
        chain.read(Way::Down, &[0xD0, 0], &mut outcome);
        assert_eq!(outcome.up, [connect, PINGREQ].concat());
        assert_eq!(outcome.down, &[0xD0, 0][..]);
    }
}
