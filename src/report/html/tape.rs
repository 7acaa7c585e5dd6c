//! What was seen while a case ran, as much of it as a page can show: packets of failures stay longest.
//!
//! A run may hold gigabytes of packets and a page a few megabytes, so what no page will show is forgotten
//! while the run goes on. Knows nothing of how a page looks.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{CaseId, WireEvent, WireSide};
use crate::text::cut_line;

/// How much of a tape is kept.
#[derive(Debug, Clone, Copy)]
pub struct Detail {
    /// Packets; of a longer tape the first and the last.
    pub packets: usize,
    /// Bytes of a packet.
    pub bytes: usize,
    /// Lines of the broker's log.
    pub log: usize,
}

const FULL: Detail = Detail { packets: 4000, bytes: 4096, log: 2000 };
const LITTLE: Detail = Detail { packets: 300, bytes: 64, log: 100 };
const NOTHING: Detail = Detail { packets: 0, bytes: 0, log: 0 };
/// What is kept of a case that passed.
pub const PLAIN: Detail = Detail { packets: 400, bytes: 256, log: 200 };

/// From all to least: what is kept of remarkable cases and of those that passed, and how that is told.
pub const LEVELS: &[(Detail, Detail, Option<&str>)] = &[
    (FULL, PLAIN, None),
    (
        FULL,
        Detail { log: 0, ..PLAIN },
        Some("To keep this page small, it holds no broker's log of cases that passed."),
    ),
    (
        FULL,
        Detail { bytes: 0, log: 0, ..PLAIN },
        Some("To keep this page small, it holds no bytes and no broker's log of cases that passed."),
    ),
    (
        FULL,
        Detail { packets: 24, bytes: 0, log: 0 },
        Some("To keep this page small, it holds only the first and last packets of cases that passed."),
    ),
    (FULL, NOTHING, Some("To keep this page small, it holds no packets of cases that passed.")),
    (
        LITTLE,
        NOTHING,
        Some("To keep this page small, it holds no packets of cases that passed, and not all of others."),
    ),
    (
        Detail { packets: 40, bytes: 16, log: 20 },
        NOTHING,
        Some("To keep this page small, it holds no packets of cases that passed, and few of others."),
    ),
    (NOTHING, NOTHING, Some("There is so much of it that this page holds no packets at all.")),
];

/// Characters of a line that are kept; what is shown is a little longer, for it says how much is missing.
const LINE: usize = 560;
/// Characters by which a packet is found again, fewer than are kept.
const NAME: usize = 500;
/// Fences of a case that are kept.
const FENCES: usize = 2000;
/// Bytes of all tapes that are kept until the page is written.
const KEPT: usize = 48 << 20;
/// What a packet costs besides its texts.
const PACKET: usize = 120;

/// A packet or connection event.
#[derive(Debug)]
pub struct Packet {
    /// Seconds since the start of the run.
    pub at: f64,
    /// Whose.
    pub client: String,
    /// Number of the connection.
    pub conn: u32,
    /// Direction.
    pub side: WireSide,
    /// In notation; a long one cut, and that said.
    pub line: String,
    /// The first of its bytes.
    pub bytes: Option<Vec<u8>>,
    /// All of its bytes.
    pub size: usize,
}

impl Packet {
    /// `bob > PUBLISH …`, as an explanation names it.
    fn print(&self) -> String {
        let wire = WireEvent {
            client: self.client.clone(),
            conn: self.conn,
            side: self.side,
            line: self.line.clone(),
            bytes: None,
        };
        wire.print()
    }
}

/// What happened while a case ran.
#[derive(Debug, Default)]
pub struct Tape {
    /// Seconds between the start of the run and the start of the case.
    pub start: f64,
    /// Packets and ends of connections.
    pub wire: Vec<Packet>,
    /// Where packets were left out, and how many.
    pub gap: (usize, usize),
    /// Lines of the broker's log.
    pub log: Vec<(f64, String)>,
    /// Lines that were left out at the end.
    pub log_gap: usize,
    /// Fences: begin, end, held.
    pub fences: Vec<(f64, f64, bool)>,
}

impl Tape {
    /// Adds a packet.
    pub fn packet(&mut self, at: f64, wire: &WireEvent) {
        let bytes = wire.bytes.as_ref();
        self.wire.push(Packet {
            at,
            client: wire.client.clone(),
            conn: wire.conn,
            side: wire.side,
            line: cut_line(&wire.line, LINE).into_owned(),
            bytes: bytes.map(|bytes| bytes[..bytes.len().min(FULL.bytes)].to_vec()),
            size: bytes.map_or(0, bytes::Bytes::len),
        });
        if self.wire.len() >= 2 * FULL.packets {
            self.shorten(FULL.packets);
        }
    }

    /// Adds a line of the broker's log.
    pub fn line(&mut self, at: f64, line: &str) {
        if self.log.len() < FULL.log {
            self.log.push((at, cut_line(line, LINE).into_owned()));
        } else {
            self.log_gap += 1;
        }
    }

    /// Adds a fence.
    pub fn fence(&mut self, since: f64, at: f64, held: bool) {
        if self.fences.len() < FENCES {
            self.fences.push((since, at, held));
        }
    }

    fn shorten(&mut self, most: usize) {
        let cut = Cut::of(self.wire.len(), most);
        if cut.left_out > 0 {
            self.wire.drain(cut.at..cut.at + cut.left_out);
            self.wire.shrink_to_fit();
            self.gap = (cut.at, self.gap.1 + cut.left_out);
        }
    }

    fn reduce(&mut self, detail: Detail) {
        self.shorten(detail.packets);
        for packet in &mut self.wire {
            if detail.bytes == 0 {
                packet.bytes = None;
            } else if let Some(bytes) = &mut packet.bytes {
                bytes.truncate(detail.bytes);
                bytes.shrink_to_fit();
            }
        }
        self.log_gap += self.log.len().saturating_sub(detail.log);
        self.log.truncate(detail.log);
    }

    /// Roughly its bytes in memory.
    fn cost(&self) -> usize {
        let wire = self
            .wire
            .iter()
            .map(|one| PACKET + one.client.len() + one.line.len() + one.bytes.as_ref().map_or(0, Vec::len));
        wire.sum::<usize>() + self.log.iter().map(|(_, line)| PACKET / 2 + line.len()).sum::<usize>()
    }

    /// Where each packet is, by what an explanation calls it.
    pub fn names(&self) -> Names {
        let mut names = Names::default();
        for (index, packet) in self.wire.iter().enumerate() {
            names.0.entry(name(&packet.print()).to_owned()).or_default().push(index);
        }
        names
    }
}

/// Where each packet of a tape is.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<String, Vec<usize>>);

impl Names {
    /// All of this name, the first first.
    pub fn of(&self, packet: &str) -> &[usize] {
        self.0.get(name(packet)).map_or(&[], Vec::as_slice)
    }
}

/// The start of a printed packet: the rest of a long one is not kept.
fn name(packet: &str) -> &str {
    packet.char_indices().nth(NAME).map_or(packet, |(at, _)| &packet[..at])
}

/// The middle of a long tape that is left out.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Where.
    pub at: usize,
    /// How many packets.
    pub left_out: usize,
}

impl Cut {
    /// Of so many packets, so that at most `most` are left.
    pub fn of(all: usize, most: usize) -> Self {
        if all <= most {
            return Self { at: all, left_out: 0 };
        }
        Self { at: most / 2, left_out: all - most }
    }

    /// Where a packet of the whole tape is in what was kept.
    pub fn kept(self, index: usize) -> Option<usize> {
        if index < self.at {
            Some(index)
        } else {
            index.checked_sub(self.left_out).filter(|at| *at >= self.at)
        }
    }
}

/// The case without its row, and the run.
type Key = (CaseId, usize);

/// The tapes of all cases and runs. When they become too many, all lose detail, those of cases that passed
/// first.
#[derive(Debug, Default)]
pub struct Shelf {
    tapes: BTreeMap<Key, Tape>,
    remarkable: BTreeSet<Key>,
    /// Cases that may still go on.
    open: BTreeSet<Key>,
    level: usize,
    cost: usize,
}

impl Shelf {
    /// The tape of a case, which goes on.
    pub fn open(&mut self, key: Key) -> &mut Tape {
        if !self.tapes.contains_key(&key) {
            self.open.insert(key.clone());
        }
        self.tapes.entry(key).or_default()
    }

    /// All tapes.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Tape)> {
        self.tapes.iter()
    }

    /// The tape of a case.
    pub fn get(&self, key: &Key) -> Option<&Tape> {
        self.tapes.get(key)
    }

    /// There is something to see in this case.
    pub fn remark(&mut self, key: Key) {
        self.remarkable.insert(key);
    }

    /// Which of [`LEVELS`] the tapes have come down to.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Cases that are over are kept in the detail that a page may show.
    pub fn close(&mut self, is_over: impl Fn(&Key) -> bool) {
        for key in self.open.extract_if(.., |key| is_over(key)) {
            if let Some(tape) = self.tapes.get_mut(&key) {
                tape.reduce(detail(self.level, self.remarkable.contains(&key)));
                self.cost += tape.cost();
            }
        }
        while self.cost > KEPT && self.level + 1 < LEVELS.len() {
            self.level += 1;
            self.cost = 0;
            for (key, tape) in self.tapes.iter_mut().filter(|(key, _)| !self.open.contains(*key)) {
                tape.reduce(detail(self.level, self.remarkable.contains(key)));
                self.cost += tape.cost();
            }
        }
    }
}

fn detail(level: usize, remarkable: bool) -> Detail {
    let (others, passed, _) = LEVELS[level];
    if remarkable { others } else { passed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_tape_keeps_its_ends() {
        let cut = Cut::of(10, 4);
        let kept: Vec<_> = (0..10).map(|index| cut.kept(index)).collect();
        let none = [None; 6];
        assert_eq!(kept[..2], [Some(0), Some(1)]);
        assert_eq!(kept[2..8], none);
        assert_eq!(kept[8..], [Some(2), Some(3)]);
        assert!((0..3).all(|index| Cut::of(3, 4).kept(index) == Some(index)));
    }

    fn wire(line: String, bytes: usize) -> WireEvent {
        let bytes = Some(vec![7; bytes].into());
        WireEvent { client: "bob".into(), conn: 1, side: WireSide::Sent, line, bytes }
    }

    fn key(number: usize) -> Key {
        (CaseId { scenario: format!("case-{number:05}"), ..CaseId::default() }, 0)
    }

    #[test]
    fn a_tape_never_holds_more_than_a_page_shows() {
        let mut tape = Tape::default();
        for number in 0..20_000 {
            tape.packet(0.0, &wire(format!("PUBLISH t \"{number}\""), 10_000));
            tape.line(0.0, &"x".repeat(10_000));
        }
        assert!(tape.wire.len() < 2 * FULL.packets);
        assert_eq!(tape.wire.len() + tape.gap.1, 20_000);
        assert_eq!((tape.log.len(), tape.log_gap), (FULL.log, 20_000 - FULL.log));
        let last = tape.wire.last().expect("a packet");
        assert_eq!((last.line.as_str(), last.size), ("PUBLISH t \"19999\"", 10_000));
        assert_eq!(last.bytes.as_ref().map(Vec::len), Some(FULL.bytes));
        assert_eq!(tape.wire[0].line, "PUBLISH t \"0\"");
        assert!(tape.log[0].1.len() < 700);
    }

    #[test]
    fn packets_of_failures_outlive_those_of_what_passed() {
        let mut shelf = Shelf::default();
        for number in 0..400 {
            for packet in 0..400 {
                shelf.open(key(number)).packet(0.0, &wire(format!("PUBLISH t \"{packet}\""), 256));
            }
            if number % 100 == 0 {
                shelf.remark(key(number));
            }
            shelf.close(|_| true);
            assert!(shelf.cost <= KEPT, "after {number}: {} bytes", shelf.cost);
        }
        assert!(shelf.level() > 0);
        for number in [0, 100, 200] {
            let tape = shelf.get(&key(number)).expect("a tape");
            assert_eq!(tape.wire.len(), 400);
            assert!(tape.wire.iter().all(|packet| packet.bytes.as_ref().map(Vec::len) == Some(256)));
        }
        let passed = shelf.get(&key(1)).expect("a tape");
        assert!(passed.wire.iter().all(|packet| packet.bytes.is_none()), "what passed lost its bytes");
    }

    #[test]
    fn long_packets_are_found_by_how_they_begin() {
        let mut tape = Tape::default();
        let long = wire(format!("PUBLISH t \"{}\"", "é".repeat(70_000)), 0);
        tape.packet(0.0, &wire("PINGREQ".into(), 2));
        tape.packet(0.0, &long);
        assert_eq!(tape.names().of(&long.print()), [1]);
        assert_eq!(tape.names().of("bob > PINGREQ"), [0]);
        assert!(tape.names().of("eve > PINGREQ").is_empty());
    }
}
