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

use super::book::{Book, Entry, Run, VERDICTS, without_row};
use super::matrix::{key, letter};
use super::tape::{Cut, Detail, LEVELS, Names, PLAIN, Packet, Tape};
use super::visible;
use crate::record::{CaseId, Excerpt, Explanation, Outcome, Place, WireSide};
use crate::report::failure;

/// The data of a page.
pub struct Data {
    /// JSON that may stand inside of a `<script>`.
    pub json: String,
    /// What it lacks, in a sentence.
    pub left_out: Option<&'static str>,
}

/// The data in at most `room` bytes; what it lacks for that is said. `None` if that cannot be.
pub fn data(book: &Book, room: usize) -> io::Result<Option<Data>> {
    for (remarkable, passed, left_out) in &LEVELS[book.tapes.level()..] {
        let json = embedded(&Document::new(book, *remarkable, *passed))?;
        if json.len() <= room {
            return Ok(Some(Data { json, left_out: *left_out }));
        }
    }
    Ok(None)
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
    /// All outcomes by verdict, those of cases too that are not listed.
    counts: BTreeMap<&'static str, usize>,
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
    /// Its packets, where they are not on the tape.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    packets: Vec<usize>,
    /// Which of those came instead of what was expected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    instead: Vec<usize>,
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
    names: BTreeMap<(CaseId, usize), Names>,
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
            names: BTreeMap::new(),
            sources: Vec::new(),
            source_of: BTreeMap::new(),
            known_sources: BTreeMap::new(),
        };
        maker.tapes(remarkable, passed);
        let cases = book.cases.iter().take(book.listed).map(|(id, entry)| maker.case(id, entry)).collect();
        Self {
            cases,
            texts: maker.texts.0.into_keys().collect(),
            runs: book.runs.iter().map(|run: &Run| RunData { target: visible(&run.target) }).collect(),
            tapes: maker.tapes,
            sources: maker.sources,
            counts: counts(book),
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
        for (id, entry) in book.cases.iter().take(book.listed) {
            *matters.entry(without_row(id)).or_default() |= entry.is_remarkable(runs);
        }
        for ((id, run), tape) in book.tapes.iter() {
            // Of a case that is not listed nobody can ask for them; one that never ended is not in the list.
            let Some(matters) = matters.get(id) else { continue };
            let detail = if *matters { remarkable } else { passed };
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
        let cut = Cut::of(tape.wire.len(), detail.packets);
        let kept = tape.wire.iter().enumerate().filter(|(index, _)| cut.kept(*index).is_some());
        let wire = kept
            .map(|(_, packet)| {
                let bytes = packet.bytes.as_ref().filter(|_| detail.bytes > 0);
                (
                    micros(packet.at),
                    self.texts.seen(&packet.client),
                    packet.conn,
                    side(packet.side),
                    self.texts.seen(&packet.line),
                    bytes.map(|bytes| self.texts.number(base64(bytes, detail.bytes, packet.size))),
                )
            })
            .collect();
        let gap = if cut.left_out > 0 { (cut.at, tape.gap.1 + cut.left_out) } else { tape.gap };
        let log = tape.log.iter().take(detail.log);
        TapeData {
            wire,
            log: log.map(|(at, line)| (micros(*at), self.texts.seen(line))).collect(),
            fences: tape.fences.iter().map(|(a, b, held)| (micros(*a), micros(*b), *held)).collect(),
            gap: (gap.1 > 0).then_some(gap),
            log_gap: tape.log_gap + tape.log.len().saturating_sub(detail.log),
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
        let found = self.found(case, why);
        // What the tape does not show is told beside it.
        let missing = found.named.is_empty() || found.came.len() < why.came.len();
        let told: &[String] = if missing { &why.packets } else { &[] };
        let instead = told.iter().enumerate().filter(|(_, line)| why.came.contains(line));
        WhyData {
            instead: instead.map(|(index, _)| index).collect(),
            expected: self.texts.seen(&why.expected),
            actual: self.texts.seen(&why.actual),
            hint: why.hint.as_ref().map(|hint| self.texts.seen(hint)),
            place: why.place.as_ref().map(|place| self.place(place)),
            packets: told.iter().map(|line| self.texts.seen(line)).collect(),
            named: found.named,
            came: found.came,
        }
    }

    /// Which packets of what is shown of a tape an explanation is about.
    fn found(&mut self, case: &(CaseId, usize), why: &Explanation) -> Found {
        let Some(shown) = self.made.get(case).and_then(|number| self.tapes.get(*number)) else {
            return Found::default();
        };
        let Some(tape) = self.book.tapes.get(case) else { return Found::default() };
        let names = self.names.entry(case.clone()).or_insert_with(|| tape.names());
        let found = found(&tape.wire, names, why);
        let cut = Cut::of(tape.wire.len(), shown.wire.len());
        let kept = |all: Vec<usize>| all.into_iter().filter_map(|index| cut.kept(index)).collect();
        Found { named: kept(found.named), came: kept(found.came) }
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
fn found(wire: &[Packet], index: &Names, why: &Explanation) -> Found {
    let mut end = wire.len();
    let mut named = Vec::new();
    for packet in why.packets.iter().rev() {
        if let Some(index) = index.of(packet).iter().rev().find(|index| **index < end) {
            named.push(*index);
            end = *index;
        }
    }
    named.reverse();
    let last = named.last().map_or(wire.len(), |last| last + 1);
    let mut came: Vec<usize> = Vec::new();
    for packet in why.came.iter().rev() {
        let free = |index: &&usize| !came.contains(index);
        let (before, after): (Vec<usize>, Vec<usize>) = index.of(packet).iter().partition(|at| **at < last);
        // One that came after the explanation's last packet is better than none.
        let index = before.iter().rev().find(free).or_else(|| after.iter().find(free));
        came.extend(index);
    }
    if came.is_empty() {
        came.extend(answer(&wire[..last], why));
    }
    came.sort_unstable();
    Found { named, came }
}

/// The packet that an explanation names by its kind alone: `SUBACK 0x80`.
fn answer(wire: &[Packet], why: &Explanation) -> Option<usize> {
    let kind = why.actual.split([' ', ':', ',']).next()?;
    if kind.len() < 4 || !kind.chars().all(|c| c.is_ascii_uppercase()) {
        return None;
    }
    let is_it =
        |packet: &Packet| packet.side == WireSide::Received && packet.line.split(' ').next() == Some(kind);
    wire.iter().rposition(is_it)
}

/// All outcomes by verdict.
fn counts(book: &Book) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for run in &book.runs {
        for verdict in VERDICTS {
            *counts.entry(letter(verdict)).or_default() += run.count(verdict);
        }
        *counts.entry("u").or_default() += run.unmet;
        *counts.entry("p").or_default() -= run.unmet;
    }
    counts
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

/// The first bytes of so many, and behind `~` how many more there are.
fn base64(bytes: &[u8], most: usize, all: usize) -> String {
    let shown = &bytes[..bytes.len().min(most)];
    let mut text = STANDARD.encode(shown);
    if shown.len() < all {
        let _ = write!(text, "~{}", all - shown.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_things_say_how_much_more_there_is() {
        assert_eq!(base64(b"abcd", 3, 4), "YWJj~1");
        assert_eq!(base64(b"ab", 3, 9), "YWI=~7");
        assert_eq!(base64(b"abc", 3, 3), "YWJj");
    }
}
