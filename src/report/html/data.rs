//! The data that the page's script draws from: compact JSON, texts that come again written once.
//!
//! Everything in it may be shown as it is: what could fool the eye is escaped here, not in the script.
//! A page stays readable at thousands of cases because those that simply passed may lose detail; what
//! failed, or differs between brokers, goes last. What was left out is said.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use serde::Serialize;

use super::book::{Book, Entry, Run, Tape, without_row};
use super::matrix::{key, letter};
use super::visible;
use crate::record::{CaseId, Excerpt, Explanation, Outcome, Place, WireSide};
use crate::report::failure;

/// How much of a tape is kept.
#[derive(Debug, Clone, Copy)]
struct Detail {
    /// Packets; of a longer tape the first and the last.
    packets: usize,
    /// Bytes of a packet.
    bytes: usize,
    /// Lines of the broker's log.
    log: usize,
}

const FULL: Detail = Detail { packets: 4000, bytes: 4096, log: 2000 };
const PLAIN: Detail = Detail { packets: 400, bytes: 256, log: 200 };
const LITTLE: Detail = Detail { packets: 300, bytes: 64, log: 100 };

/// From all to least: what is kept of remarkable cases and of those that passed, and how that is told.
const LEVELS: &[(Detail, Detail, Option<&str>)] = &[
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
const NOTHING: Detail = Detail { packets: 0, bytes: 0, log: 0 };

/// The data of a page.
pub struct Data {
    /// JSON that may stand inside of a `<script>`.
    pub json: String,
    /// What it lacks, in a sentence.
    pub left_out: Option<&'static str>,
}

/// The data in at most `room` bytes, if that can be.
pub fn data(book: &Book, room: usize) -> io::Result<Data> {
    let mut last = None;
    for (remarkable, passed, left_out) in LEVELS {
        let json = embedded(&Document::new(book, *remarkable, *passed))?;
        let fits = json.len() <= room;
        last = Some(Data { json, left_out: *left_out });
        if fits {
            break;
        }
    }
    last.ok_or_else(|| io::Error::other("no level of detail"))
}

/// JSON without anything that HTML or JavaScript could take for something else. Those characters stand
/// only inside of strings.
fn embedded(document: &Document) -> io::Result<String> {
    let json = serde_json::to_string(document)?;
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Texts that come again and again, by number.
#[derive(Default)]
struct Texts(IndexMap<String, usize>);

impl Texts {
    fn number(&mut self, text: String) -> usize {
        let next = self.0.len();
        *self.0.entry(text).or_insert(next)
    }

    /// What a person sees of this text.
    fn seen(&mut self, text: &str) -> usize {
        self.number(visible(text))
    }
}

#[derive(Serialize)]
struct Document {
    texts: Vec<String>,
    runs: Vec<RunData>,
    cases: Vec<CaseData>,
    tapes: Vec<TapeData>,
    /// First line and text.
    sources: Vec<(usize, String)>,
    left_out: bool,
}

#[derive(Serialize)]
struct RunData {
    target: String,
}

#[derive(Serialize)]
struct CaseData {
    key: String,
    /// `lab3 · acl · row 2 · v5`
    name: String,
    file: usize,
    title: usize,
    level: String,
    tags: Vec<usize>,
    protocol: usize,
    /// Id and text.
    spec: Vec<(usize, usize)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<PlaceData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<usize>,
    /// One a run.
    ends: Vec<Option<EndData>>,
}

/// Line, column, text, width.
type PlaceData = (usize, usize, usize, usize);

#[derive(Serialize)]
struct EndData {
    verdict: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unmet: bool,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<WhyData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mechanism: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tape: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<usize>,
}

#[derive(Serialize)]
struct WhyData {
    expected: usize,
    actual: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<PlaceData>,
    packets: Vec<usize>,
    /// Packets of the tape that are named in the explanation.
    named: Vec<usize>,
    /// Those that should not have come.
    came: Vec<usize>,
}

/// Microseconds since the case began, client, connection, side, line, bytes in base64.
type WireData = (i64, usize, u32, u8, usize, Option<usize>);

#[derive(Serialize)]
struct TapeData {
    wire: Vec<WireData>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log: Vec<(i64, usize)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fences: Vec<(i64, i64, bool)>,
    /// Where packets are left out, and how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<(usize, usize)>,
    /// Lines of the log that are left out at the end.
    #[serde(skip_serializing_if = "is_zero")]
    log_gap: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What a document is made with.
struct Maker<'b> {
    book: &'b Book,
    texts: Texts,
    tapes: Vec<TapeData>,
    made: BTreeMap<(CaseId, usize), usize>,
    sources: Vec<(usize, String)>,
    source_of: BTreeMap<CaseId, usize>,
    known_sources: BTreeMap<(String, usize), usize>,
}

impl Document {
    fn new(book: &Book, remarkable: Detail, passed: Detail) -> Self {
        let mut maker = Maker {
            book,
            texts: Texts::default(),
            tapes: Vec::new(),
            made: BTreeMap::new(),
            sources: Vec::new(),
            source_of: BTreeMap::new(),
            known_sources: BTreeMap::new(),
        };
        maker.tapes(remarkable, passed);
        let cases = book.cases.iter().map(|(id, entry)| maker.case(id, entry)).collect();
        Self {
            cases,
            texts: maker.texts.0.into_keys().collect(),
            runs: book.runs.iter().map(|run: &Run| RunData { target: visible(&run.target) }).collect(),
            tapes: maker.tapes,
            sources: maker.sources,
            left_out: passed.packets < PLAIN.packets,
        }
    }
}

impl Maker<'_> {
    /// All tapes: those of a table with one remarkable row are remarkable.
    fn tapes(&mut self, remarkable: Detail, passed: Detail) {
        let book = self.book;
        let runs = book.runs.len();
        let mut matters: BTreeMap<CaseId, bool> = BTreeMap::new();
        for (id, entry) in &book.cases {
            *matters.entry(without_row(id)).or_default() |= entry.is_remarkable(runs);
        }
        for ((id, run), tape) in &book.tapes {
            let detail = if matters.get(id).copied().unwrap_or(true) { remarkable } else { passed };
            if detail.packets == 0 || (tape.wire.is_empty() && tape.log.is_empty()) {
                continue;
            }
            let data = self.tape(tape, detail);
            self.made.insert((id.clone(), *run), self.tapes.len());
            self.tapes.push(data);
        }
    }

    fn tape(&mut self, tape: &Tape, detail: Detail) -> TapeData {
        let micros = |at: f64| micros(at - tape.start);
        let gap = Gap::of(tape.wire.len(), detail.packets);
        let kept = tape.wire.iter().enumerate().filter(|(index, _)| gap.kept(*index).is_some());
        let wire = kept
            .map(|(_, (at, wire))| {
                let bytes = wire.bytes.as_ref().filter(|_| detail.bytes > 0);
                (
                    micros(*at),
                    self.texts.seen(&wire.client),
                    wire.conn,
                    side(wire.side),
                    self.texts.seen(&wire.line),
                    bytes.map(|bytes| self.texts.number(base64(bytes, detail.bytes))),
                )
            })
            .collect();
        let log = tape.log.iter().take(detail.log);
        TapeData {
            wire,
            log: log.map(|(at, line)| (micros(*at), self.texts.seen(line))).collect(),
            fences: tape.fences.iter().map(|(a, b, held)| (micros(*a), micros(*b), *held)).collect(),
            gap: (gap.left_out > 0).then_some((gap.at, gap.left_out)),
            log_gap: tape.log.len().saturating_sub(detail.log),
        }
    }

    fn case(&mut self, id: &CaseId, entry: &Entry) -> CaseData {
        let info = &entry.info;
        let ends =
            (0..self.book.runs.len()).map(|run| Some(self.end(id, run, entry.outcome(run)?))).collect();
        CaseData {
            key: key(id),
            name: visible(&id.to_string()),
            file: self.texts.seen(&id.file),
            title: self.texts.seen(&info.title),
            level: info.level.to_string(),
            tags: info.tags.iter().map(|tag| self.texts.seen(tag)).collect(),
            protocol: self.texts.seen(&info.protocol),
            spec: info.spec.iter().map(|id| self.statement(&info.protocol, id)).collect(),
            place: info.place.as_ref().map(|place| self.place(place)),
            source: self.source(&without_row(id)),
            ends,
        }
    }

    fn statement(&mut self, protocol: &str, id: &str) -> (usize, usize) {
        let key = (protocol.to_owned(), id.to_owned());
        let text = self.book.statements.get(&key).map_or("", String::as_str);
        (self.texts.seen(id), self.texts.seen(text))
    }

    fn source(&mut self, id: &CaseId) -> Option<usize> {
        if let Some(number) = self.source_of.get(id) {
            return Some(*number);
        }
        let Excerpt { line, text } = self.book.sources.get(id)?;
        let sources = &mut self.sources;
        // The variants of a scenario share its lines.
        let number = *self.known_sources.entry((id.file.clone(), *line)).or_insert_with(|| {
            sources.push((*line, visible(text)));
            sources.len() - 1
        });
        self.source_of.insert(id.clone(), number);
        Some(number)
    }

    fn end(&mut self, id: &CaseId, run: usize, outcome: &Outcome) -> EndData {
        let case = (without_row(id), run);
        let tape = self.made.get(&case).copied();
        let context = self.book.runs.get(run).filter(|_| outcome.verdict.is_bad());
        let again = context.map(|run| failure::again(outcome, &run.context));
        EndData {
            verdict: letter(outcome.verdict),
            unmet: outcome.unmet,
            seconds: (outcome.seconds * 1e6).round() / 1e6,
            why: outcome.why.as_ref().map(|why| self.why(&case, why)),
            mechanism: outcome.mechanism.as_ref().map(|text| self.texts.seen(text)),
            notes: outcome.notes.iter().map(|note| self.texts.seen(note)).collect(),
            tape,
            again: again.map(|again| self.texts.seen(&again)),
        }
    }

    fn why(&mut self, case: &(CaseId, usize), why: &Explanation) -> WhyData {
        let tape = self.book.tapes.get(case);
        let kept = self.made.get(case).and_then(|number| self.tapes.get(*number)).map(|tape| tape.wire.len());
        let gap = Gap::of(tape.map_or(0, |tape| tape.wire.len()), kept.unwrap_or(0));
        let found = tape.map(|tape| found(tape, why)).unwrap_or_default();
        let kept = |all: Vec<usize>| all.into_iter().filter_map(|index| gap.kept(index)).collect();
        WhyData {
            expected: self.texts.seen(&why.expected),
            actual: self.texts.seen(&why.actual),
            hint: why.hint.as_ref().map(|hint| self.texts.seen(hint)),
            place: why.place.as_ref().map(|place| self.place(place)),
            packets: why.packets.iter().map(|line| self.texts.seen(line)).collect(),
            named: kept(found.named),
            came: kept(found.came),
        }
    }

    fn place(&mut self, place: &Place) -> PlaceData {
        // Columns are of the line as written; tabs become wider when shown.
        let before = place.text.chars().take(place.column.saturating_sub(1));
        let tabs = before.filter(|c| *c == '\t').count();
        (place.line, place.column + 3 * tabs, self.texts.seen(&place.text), place.width)
    }
}

/// Which packets of a tape an explanation is about.
#[derive(Debug, Default)]
struct Found {
    named: Vec<usize>,
    came: Vec<usize>,
}

/// Packets are named by their text; the latest of several with the same text is meant.
fn found(tape: &Tape, why: &Explanation) -> Found {
    let lines: Vec<String> = tape.wire.iter().map(|(_, wire)| wire.print()).collect();
    let mut end = lines.len();
    let mut named = Vec::new();
    for packet in why.packets.iter().rev() {
        if let Some(index) = lines[..end].iter().rposition(|line| line == packet) {
            named.push(index);
            end = index;
        }
    }
    named.reverse();
    let last = named.last().map_or(lines.len(), |last| last + 1);
    let mut came: Vec<usize> = Vec::new();
    for packet in why.came.iter().rev() {
        let free = |index: &usize| !came.contains(index) && lines[*index] == *packet;
        // One that came after the explanation's last packet is better than none.
        let index = (0..last).rev().find(free).or_else(|| (last..lines.len()).find(free));
        came.extend(index);
    }
    if came.is_empty() {
        came.extend(answer(tape, why, last));
    }
    came.sort_unstable();
    Found { named, came }
}

/// The packet that an explanation names by its kind alone: `SUBACK 0x80`.
fn answer(tape: &Tape, why: &Explanation, last: usize) -> Option<usize> {
    let kind = why.actual.split([' ', ':', ',']).next()?;
    if kind.len() < 4 || !kind.chars().all(|c| c.is_ascii_uppercase()) {
        return None;
    }
    let is_it = |wire: &crate::record::WireEvent| {
        wire.side == WireSide::Received && wire.line.split(' ').next() == Some(kind)
    };
    tape.wire.iter().take(last).rposition(|(_, wire)| is_it(wire))
}

/// The middle of a long tape that is left out.
#[derive(Debug, Clone, Copy)]
struct Gap {
    at: usize,
    left_out: usize,
}

impl Gap {
    fn of(all: usize, kept: usize) -> Self {
        if all <= kept {
            return Self { at: all, left_out: 0 };
        }
        Self { at: kept / 2, left_out: all - kept }
    }

    /// Where a packet of the whole tape is in what was kept.
    fn kept(self, index: usize) -> Option<usize> {
        if index < self.at {
            Some(index)
        } else {
            index.checked_sub(self.left_out).filter(|at| *at >= self.at)
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a cast from f64 stays within the range of i64")]
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}

fn side(side: WireSide) -> u8 {
    match side {
        WireSide::Sent => 0,
        WireSide::Received => 1,
        WireSide::Link => 2,
        WireSide::Note => 3,
    }
}

/// The first bytes, and behind `~` how many more there are.
fn base64(bytes: &[u8], most: usize) -> String {
    let shown = &bytes[..bytes.len().min(most)];
    let mut text = STANDARD.encode(shown);
    if shown.len() < bytes.len() {
        let _ = write!(text, "~{}", bytes.len() - shown.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_tape_keeps_its_ends() {
        let gap = Gap::of(10, 4);
        let kept: Vec<_> = (0..10).map(|index| gap.kept(index)).collect();
        let none = [None; 6];
        assert_eq!(kept[..2], [Some(0), Some(1)]);
        assert_eq!(kept[2..8], none);
        assert_eq!(kept[8..], [Some(2), Some(3)]);
        assert!((0..3).all(|index| Gap::of(3, 4).kept(index) == Some(index)));
    }

    #[test]
    fn long_things_say_how_much_more_there_is() {
        assert_eq!(base64(b"abcd", 3), "YWJj~1");
        assert_eq!(base64(b"abc", 3), "YWJj");
    }
}
