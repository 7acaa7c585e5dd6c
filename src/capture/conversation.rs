//! TCP connections put together again: out of order, twice, overlapping (RFC 9293). Bytes that are not
//! in the capture are reported, and nothing behind them is.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::segment::Segment;

/// Bytes of one direction that wait for earlier ones.
const WAITING: usize = 4 << 20;
/// Pieces of one direction that wait.
const PIECES: usize = 4096;
/// Connections at once.
const CONNECTIONS: usize = 10_000;

/// Something that a connection did.
#[derive(Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it; positions count the bytes of a direction from 0")]
pub enum Happening<'a> {
    /// The first end is the one that opened it.
    Opened { conn: u32, client: SocketAddr, server: SocketAddr },
    /// The next bytes of one direction.
    Bytes { conn: u32, from_client: bool, bytes: &'a [u8], frame: u64, at: f64 },
    /// The client's system has received all bytes of the server before this position.
    Heard { conn: u32, position: u64, at: f64 },
    /// Bytes of one direction are not in the capture: the rest of it is not told.
    Missing { conn: u32, from_client: bool, frame: u64 },
    /// It is over.
    Ended { conn: u32 },
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// The number of the next byte.
    next: Option<u32>,
    /// Bytes told so far.
    position: u64,
    /// Pieces behind a gap, by position.
    waiting: BTreeMap<u64, Vec<u8>>,
    held: usize,
    fin: bool,
    lost: bool,
}

#[derive(Debug)]
struct Conversation {
    number: u32,
    client: SocketAddr,
    /// Of the client, of the server.
    halves: [Half; 2],
}

/// All connections of a capture.
#[derive(Debug, Default)]
pub struct Conversations {
    open: BTreeMap<(SocketAddr, SocketAddr), Conversation>,
    opened: u32,
    /// Connections that are not told because there are too many.
    pub refused: u64,
    /// Segments with bytes of connections whose beginning is not in the capture.
    pub headless: BTreeMap<(SocketAddr, SocketAddr), u64>,
}

/// How far `number` is ahead of `base`; negative: behind.
fn ahead(number: u32, base: u32) -> i64 {
    i64::from(number.wrapping_sub(base).cast_signed())
}

fn key(segment: &Segment<'_>) -> (SocketAddr, SocketAddr) {
    (segment.from.min(segment.to), segment.from.max(segment.to))
}

impl Conversations {
    /// Takes the next segment. `begins` says whether the first bytes that are seen of a connection are the
    /// first that its client sent.
    pub fn segment(
        &mut self,
        segment: &Segment<'_>,
        begins: impl Fn(&[u8]) -> bool,
        tell: &mut impl FnMut(Happening<'_>),
    ) {
        let key = key(segment);
        if segment.syn {
            self.syn(segment, key, tell);
            return;
        }
        if !self.open.contains_key(&key) {
            if segment.payload.is_empty() {
                return;
            }
            if !begins(segment.payload) {
                if self.headless.len() < CONNECTIONS {
                    *self.headless.entry(key).or_default() += 1;
                }
                return;
            }
            self.start(key, segment.from, [Some(segment.seq), segment.ack], segment.to, tell);
        }
        let Some(conversation) = self.open.get_mut(&key) else { return };
        if segment.rst || conversation.take(segment, tell) {
            tell(Happening::Ended { conn: conversation.number });
            self.open.remove(&key);
        }
    }

    fn syn(
        &mut self,
        segment: &Segment<'_>,
        key: (SocketAddr, SocketAddr),
        tell: &mut impl FnMut(Happening<'_>),
    ) {
        let first = segment.seq.wrapping_add(1);
        let answers = segment.ack.is_some();
        if let Some(known) = self.open.get_mut(&key) {
            let half = known.half(segment.from);
            if half.next.is_none() || (half.next == Some(first) && half.position == 0) {
                half.next = Some(first);
                return;
            }
            tell(Happening::Ended { conn: known.number });
            self.open.remove(&key);
        }
        match segment.ack {
            Some(ack) if answers => {
                self.start(key, segment.to, [Some(ack), Some(first)], segment.from, tell);
            }
            _ => self.start(key, segment.from, [Some(first), None], segment.to, tell),
        }
    }

    fn start(
        &mut self,
        key: (SocketAddr, SocketAddr),
        client: SocketAddr,
        next: [Option<u32>; 2],
        server: SocketAddr,
        tell: &mut impl FnMut(Happening<'_>),
    ) {
        if self.open.len() >= CONNECTIONS {
            self.refused += 1;
            return;
        }
        self.opened += 1;
        let halves = next.map(|next| Half { next, ..Half::default() });
        self.open.insert(key, Conversation { number: self.opened, client, halves });
        tell(Happening::Opened { conn: self.opened, client, server });
    }

    /// At the end of the capture: what waits for bytes that never came.
    pub fn finish(self, tell: &mut impl FnMut(Happening<'_>)) {
        for conversation in self.open.into_values() {
            for (index, half) in conversation.halves.iter().enumerate() {
                if !half.waiting.is_empty() && !half.lost {
                    tell(Happening::Missing { conn: conversation.number, from_client: index == 0, frame: 0 });
                }
            }
        }
    }
}

impl Conversation {
    fn half(&mut self, of: SocketAddr) -> &mut Half {
        &mut self.halves[usize::from(of != self.client)]
    }

    /// Takes a segment; true when both directions are over.
    fn take(&mut self, segment: &Segment<'_>, tell: &mut impl FnMut(Happening<'_>)) -> bool {
        let conn = self.number;
        let from_client = segment.from == self.client;
        if let Some(ack) = segment.ack {
            let other = self.half(segment.to);
            let base = *other.next.get_or_insert(ack);
            let unseen = ahead(ack, base);
            // Who answers what is not in the capture cannot be judged by what is.
            if unseen > i64::from(other.fin) && !segment.payload.is_empty() && !other.lost {
                other.lose();
                tell(Happening::Missing { conn, from_client: !from_client, frame: segment.frame });
            }
            let heard = other.position.saturating_sub(unseen.min(0).unsigned_abs());
            if from_client {
                tell(Happening::Heard { conn, position: heard, at: segment.at });
            }
        }
        let half = self.half(segment.from);
        let next = *half.next.get_or_insert(segment.seq);
        let offset = ahead(segment.seq, next);
        let mut say = |bytes: &[u8]| {
            tell(Happening::Bytes { conn, from_client, bytes, frame: segment.frame, at: segment.at });
        };
        if !half.put(offset, segment.payload, &mut say) {
            tell(Happening::Missing { conn, from_client, frame: segment.frame });
        }
        let half = self.half(segment.from);
        let end = segment.seq.wrapping_add(u32::try_from(segment.payload.len()).unwrap_or(u32::MAX));
        half.fin |= segment.fin && half.next == Some(end);
        self.halves.iter().all(|half| half.fin)
    }
}

impl Half {
    fn lose(&mut self) {
        self.lost = true;
        self.waiting.clear();
        self.held = 0;
    }

    /// Takes bytes that begin so far from the next one; false when too much waits already.
    fn put(&mut self, offset: i64, bytes: &[u8], say: &mut impl FnMut(&[u8])) -> bool {
        if self.lost || bytes.is_empty() {
            return true;
        }
        if offset > 0 {
            let place = self.position + offset.unsigned_abs();
            let longer = self.waiting.get(&place).is_none_or(|known| known.len() < bytes.len());
            if longer {
                self.held += bytes.len();
                let replaced = self.waiting.insert(place, bytes.to_vec());
                self.held -= replaced.map_or(0, |old| old.len());
            }
            if self.held > WAITING || self.waiting.len() > PIECES {
                self.lose();
                return false;
            }
            return true;
        }
        self.tell(offset.unsigned_abs(), bytes, say);
        while let Some((place, piece)) = self.waiting.pop_first() {
            if place > self.position {
                self.waiting.insert(place, piece);
                break;
            }
            self.held -= piece.len();
            self.tell(self.position - place, &piece, say);
        }
        true
    }

    /// Tells what is new behind the first `known` bytes.
    fn tell(&mut self, known: u64, bytes: &[u8], say: &mut impl FnMut(&[u8])) {
        let new = usize::try_from(known).ok().and_then(|known| bytes.get(known..)).unwrap_or_default();
        if new.is_empty() {
            return;
        }
        self.position += new.len() as u64;
        self.next = self.next.map(|next| next.wrapping_add(u32::try_from(new.len()).unwrap_or(0)));
        say(new);
    }
}
