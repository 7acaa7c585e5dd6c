//! Collects the events of one case, in order, with secrets taken out before anything is kept.
//!
//! Decides nothing; the schedule hands the finished list on as a whole, so that the events of
//! cases that run beside each other do not mix.

mod line;
mod tls;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
pub use line::print;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::checks::{Breach, ChecksOfCase, Findings, Watching};
use super::secrets::{HIDDEN, Rewritten, STAR, Secrets};
use super::traces::Traces;
use crate::check::Party;
use crate::mqtt::{Packet, ProtocolVersion, TopicName};
use crate::net::tap::{Content, Direction, Tap, Tapped};
use crate::record::{CaseId, CaseInfo, Event, EventKind, WireEvent, WireSide};
use crate::scenario::Case;
use crate::text;

/// Wire events of one case that are kept; of a longer case the rest is only counted. As many of TLS.
const WIRE_EVENTS: usize = 50_000;
/// Bytes of lines, packets and TLS records of one case that are kept; of what comes after that only the
/// beginning.
const WIRE_BYTES: usize = 64 << 20;
/// Characters of a line beyond [`WIRE_BYTES`].
const LINE_SHOWN: usize = 200;
/// Lines that an explanation shows.
const LAST_LINES: usize = 24;
/// How payloads begin that the runner publishes to show what a client may receive.
pub const PROBE: &str = "mqttlab-probe-";

/// The events of one case; clones share them.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    case: CaseId,
    /// Seconds between the start of the run and `began`.
    offset: f64,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    wire: usize,
    wire_bytes: usize,
    dropped: usize,
    cut: usize,
    last: VecDeque<String>,
    secrets: Secrets,
    /// Lines that were shown before it was known what is secret in them, and how they must read.
    rewritten: Vec<[String; 2]>,
    /// Connections so far, and the latest of each client.
    opened: u32,
    own: u32,
    open: BTreeMap<String, u32>,
    traces: Traces,
    /// Probes that came: client and topic.
    probes: Vec<(String, TopicName)>,
    checks: ChecksOfCase,
    /// Connections on which a CONNECT goes out in raw pieces and is not whole yet.
    connecting: BTreeSet<u32>,
    tls: tls::Kept,
}

/// Connections of the runner's own are numbered from here: they are no clients of the case.
const OWN: u32 = 1 << 31;

/// Tells the checks when a connection is given up.
struct Watched {
    recorder: Recorder,
    conn: u32,
    judged: Option<Party>,
}

impl Watched {
    /// Lets the checks see a packet, and says in the log what is broken with it.
    fn check(&self, client: &str, tapped: &Tapped<'_>) {
        let Self { recorder, conn, judged } = self;
        let (conn, Some(judged)) = (*conn, *judged) else { return };
        let at = recorder.seconds(tapped.at);
        let found = {
            let mut state = recorder.0.state.lock();
            let checks = state.checks.of(judged);
            let found = checks.see(conn, tapped, at);
            if !checks.unfinished(conn) {
                state.connecting.remove(&conn);
            }
            found
        };
        // It is in the log already, unless the connection is one of ours.
        let came = (conn < OWN && !found.is_empty()).then(|| recorder.last_lines().pop()).flatten();
        for violation in found {
            let line = format!("breaks {}: {violation}", violation.check.name);
            let shown = if conn < OWN { conn } else { 0 };
            let note =
                WireEvent { client: client.to_owned(), conn: shown, side: WireSide::Note, line, bytes: None };
            recorder.wire(note, tapped.at);
            let breach = Breach { violation, packets: recorder.last_lines(), came: came.clone() };
            recorder.0.state.lock().checks.of(judged).keep(breach);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut state = self.recorder.0.state.lock();
        if let Some(judged) = self.judged {
            state.checks.of(judged).ended(self.conn);
        }
        state.connecting.remove(&self.conn);
        state.secrets.ended(self.conn);
    }
}

impl Recorder {
    /// For one case (its row left out) that begins now.
    pub fn new(case: CaseId, offset: f64) -> Self {
        let shared = Shared { case, offset, began: Instant::now(), state: Mutex::default() };
        Self(Arc::new(shared))
    }

    /// Texts that must never be shown.
    pub fn hide(&self, secrets: &[String]) {
        self.0.state.lock().secrets.add(secrets);
    }

    /// Time since the case began, on tokio's clock.
    pub fn elapsed(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// Seconds between the start of the run and `at`.
    pub fn seconds(&self, at: Instant) -> f64 {
        self.0.offset + at.saturating_duration_since(self.0.began).as_secs_f64()
    }

    /// Adds an event that happens now.
    pub fn push(&self, kind: EventKind) {
        let at = self.seconds(Instant::now());
        self.0.state.lock().events.push(Event { at, kind });
    }

    /// Adds something that a reader should know.
    pub fn note(&self, text: impl Into<String>) {
        let text = self.redact(text.into());
        self.push(EventKind::Note { text });
    }

    /// Adds a packet or a connection event.
    pub fn wire(&self, mut wire: WireEvent, at: Instant) {
        wire.line = self.redact(wire.line);
        let at = self.seconds(at);
        let mut state = self.0.state.lock();
        let size = wire.line.len() + wire.bytes.as_ref().map_or(0, Bytes::len);
        let fits = state.wire_bytes.saturating_add(size) <= WIRE_BYTES;
        // Short ones stay whole: there are at most WIRE_EVENTS of them.
        let large = size > LINE_SHOWN;
        if large && !fits {
            wire.line = text::cut_line(&wire.line, LINE_SHOWN).into_owned();
            wire.bytes = None;
        }
        if state.last.len() == LAST_LINES {
            state.last.pop_front();
        }
        state.last.push_back(wire.print());
        if state.wire == WIRE_EVENTS {
            state.dropped += 1;
            return;
        }
        state.wire += 1;
        if large && !fits {
            state.cut += 1;
        } else {
            state.wire_bytes += size;
        }
        state.events.push(Event { at, kind: EventKind::Wire { case: self.0.case.clone(), wire } });
    }

    /// The number of the latest connection of a client; 0: it has none.
    pub fn latest(&self, client: &str) -> u32 {
        self.0.state.lock().open.get(client).copied().unwrap_or_default()
    }

    /// The latest connection of a client ends now.
    pub fn ended(&self, client: &str, how: &str) {
        self.say(client, WireSide::Link, how);
    }

    /// A remark of the scenario about a client.
    pub fn remark(&self, client: &str, text: &str) {
        self.say(client, WireSide::Note, text);
    }

    fn say(&self, client: &str, side: WireSide, line: &str) {
        let conn = self.latest(client);
        if conn == 0 && side == WireSide::Link {
            // Its packets are not shown either.
            return;
        }
        let wire = WireEvent { client: client.to_owned(), conn, side, line: line.to_owned(), bytes: None };
        self.wire(wire, Instant::now());
    }

    /// Adds lines of the broker's log, with the moment of each.
    pub fn broker_log(&self, lines: Vec<(Instant, String)>) {
        for (at, line) in lines {
            let line = text::escape(&self.redact(line));
            let kind = EventKind::BrokerLog { case: self.0.case.clone(), line };
            let at = self.seconds(at);
            self.0.state.lock().events.push(Event { at, kind });
        }
    }

    /// A fence that began at `since` ends now.
    pub fn fence(&self, since: Instant, held: bool) {
        let since = self.seconds(since);
        self.push(EventKind::Fence { case: self.0.case.clone(), since, held });
    }

    /// The latest wire events, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        self.0.state.lock().last.iter().cloned().collect()
    }

    /// What the clients have sent so far that may outlive them.
    pub fn traces(&self) -> Traces {
        self.0.state.lock().traces.clone()
    }

    /// Topics of the runner's probes that reached this client, oldest first.
    pub fn probes(&self, client: &str) -> Vec<TopicName> {
        let state = self.0.state.lock();
        state.probes.iter().filter(|(who, _)| who == client).map(|(_, topic)| topic.clone()).collect()
    }

    /// Takes all events out, in the order of their times: the broker's log comes late.
    pub fn finish(&self) -> Vec<Event> {
        let (dropped, cut, tls) = {
            let state = self.0.state.lock();
            (state.dropped, state.cut, state.tls.cut())
        };
        let more =
            (dropped > 0).then(|| format!("{} more are not in this log", text::plural(dropped, "packet")));
        let cut = (cut > 0).then(|| format!("{} without the bytes", text::plural(cut, "large packet")));
        let tls = (tls > 0).then(|| format!("the TLS of {} ends early", text::plural(tls, "connection")));
        let less: Vec<String> = more.into_iter().chain(cut).chain(tls).collect();
        if !less.is_empty() {
            self.note(format!("{}: {}", self.0.case, less.join(", ")));
        }
        let mut state = self.0.state.lock();
        let mut events = std::mem::take(&mut state.events);
        events.sort_by(|a, b| a.at.total_cmp(&b.at));
        let place = |case: &mut CaseInfo| {
            if let Some(place) = &mut case.place {
                place.text = state.secrets.redact(std::mem::take(&mut place.text));
            }
        };
        for event in &mut events {
            match &mut event.kind {
                // Written before the secrets of this run were known.
                EventKind::CaseStarted { case, source, .. } => {
                    place(case);
                    if let Some(source) = source {
                        source.text = state.secrets.redact(std::mem::take(&mut source.text));
                    }
                }
                EventKind::CaseFinished { outcome } => {
                    place(&mut outcome.case);
                    let lines =
                        outcome.why.iter_mut().flat_map(|why| why.packets.iter_mut().chain(&mut why.came));
                    for line in lines {
                        for [before, after] in &state.rewritten {
                            if line == before {
                                line.clone_from(after);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        events
    }

    /// A tap that records what one client or peer sends and receives on one more connection.
    pub fn tap(&self, client: &str, version: ProtocolVersion, watching: Watching) -> Tap {
        let recorder = self.clone();
        let client = client.to_owned();
        let conn = {
            let mut state = self.0.state.lock();
            state.opened += 1;
            let conn = state.opened;
            if watching.shown {
                state.open.insert(client.clone(), conn);
            }
            if let Some(judged) = watching.judged {
                state.checks.of(judged).opened(conn);
            }
            conn
        };
        let Watching { shown, judged } = watching;
        let watched = Watched { recorder: self.clone(), conn, judged };
        Tap::new(move |tapped: Tapped<'_>| {
            if judged == Some(Party::Broker) {
                recorder.note_traces(&client, &tapped);
            }
            if shown {
                let side = match tapped.direction {
                    Direction::In => WireSide::Received,
                    Direction::Out => WireSide::Sent,
                };
                let (line, bytes) = recorder.shown(conn, &tapped, version);
                let wire = WireEvent { client: client.clone(), conn, side, line, bytes };
                recorder.wire(wire, tapped.at);
            }
            watched.check(&client, &tapped);
        })
    }

    /// What a packet leaves on a broker, and whether it is a probe of ours that arrives.
    fn note_traces(&self, client: &str, tapped: &Tapped<'_>) {
        match (tapped.direction, &tapped.content) {
            (Direction::Out, Content::Packet(packet)) => self.0.state.lock().traces.note(packet),
            (Direction::In, Content::Packet(Packet::Publish(publish)))
                if publish.payload.starts_with(PROBE.as_bytes()) =>
            {
                self.0.state.lock().probes.push((client.to_owned(), publish.topic.clone()));
            }
            _ => {}
        }
    }

    /// A tap for a connection of the runner's own, which only the checks watch.
    pub fn own_tap(&self, name: &str) -> Tap {
        let name = name.to_owned();
        let conn = {
            let mut state = self.0.state.lock();
            state.own += 1;
            let conn = OWN + state.own;
            state.checks.broker.opened(conn);
            conn
        };
        let watched = Watched { recorder: self.clone(), conn, judged: Some(Party::Broker) };
        Tap::new(move |tapped: Tapped<'_>| watched.check(&name, &tapped))
    }

    /// The broker is this case's alone.
    pub fn own_broker(&self, case: &Case) {
        self.0.state.lock().checks.broker.own_broker(case);
    }

    /// The broker was started anew, or read its configuration again.
    pub fn restarted(&self) {
        self.0.state.lock().checks.broker.restarted();
    }

    /// Rules that the broker broke, and then those that clients of peers broke; each oldest first.
    pub fn breaches(&self) -> Vec<Breach> {
        let checks = &self.0.state.lock().checks;
        [checks.broker.breaches(), checks.clients.breaches()].concat()
    }

    /// Adds what the checks made of this case.
    pub fn count(&self, findings: &mut Findings) {
        findings.add(&self.0.case, &self.0.state.lock().checks);
    }

    /// A packet in notation, and its bytes with its secrets overwritten; `None` where they cannot be told
    /// from the rest.
    fn shown(&self, conn: u32, tapped: &Tapped<'_>, version: ProtocolVersion) -> (String, Option<Bytes>) {
        let Tapped { bytes, content, .. } = tapped;
        let mut state = self.0.state.lock();
        if !matches!(content, Content::Packet(_)) && state.is_of_connect(conn, bytes) {
            let first = if is_connect(bytes) { text::hex(&bytes[..1]) } else { "…".to_owned() };
            let many = text::plural(bytes.len(), "byte");
            let broken = match content {
                Content::Malformed(error) => format!(": {error}"),
                _ => String::new(),
            };
            return (format!("hex {first} ({many} of a CONNECT, not shown{broken})"), None);
        }
        if matches!((content, tapped.direction), (Content::Raw, Direction::Out)) {
            let (shown, rewritten) = state.secrets.raw(conn, bytes);
            for one in &rewritten {
                state.rewrite(conn, one);
            }
            return (print(content, &shown, version), Some(shown));
        }
        let shown = match content {
            Content::Packet(Packet::Connect(connect)) => match &connect.password {
                // The last field of a CONNECT.
                Some(password) if bytes.ends_with(password) => {
                    let kept = bytes.len() - password.len();
                    let stars = std::iter::repeat_n(STAR, password.len());
                    Some(bytes[..kept].iter().copied().chain(stars).collect())
                }
                Some(_) => None,
                None => Some(bytes.to_vec()),
            },
            _ => Some(bytes.to_vec()),
        };
        let shown: Option<Bytes> = shown.map(|bytes| state.secrets.overwrite(bytes).into());
        // What is no packet is printed from its bytes.
        let line = print(content, shown.as_ref().unwrap_or(bytes), version);
        (line, shown)
    }

    /// The text without the secrets of this run.
    pub fn redact(&self, text: String) -> String {
        self.0.state.lock().secrets.redact(text)
    }
}

impl State {
    /// Whether bytes that are no packet belong to a CONNECT, which may hold a password anywhere: they begin
    /// like one, or follow on such a beginning before a packet is whole.
    fn is_of_connect(&mut self, conn: u32, bytes: &[u8]) -> bool {
        if is_connect(bytes) {
            self.connecting.insert(conn);
        }
        self.connecting.contains(&conn)
    }

    /// Shows raw bytes that are in the log already with more asterisks.
    fn rewrite(&mut self, conn: u32, Rewritten { before, after }: &Rewritten) {
        let found = self.events.iter_mut().rev().find_map(|event| match &mut event.kind {
            EventKind::Wire { wire, .. } if wire.conn == conn => {
                let bytes = wire.bytes.as_ref()?;
                (bytes.as_ptr() == before.as_ptr()).then_some(wire)
            }
            _ => None,
        });
        if let Some(wire) = found {
            let line = wire.print();
            wire.line = print(&Content::Raw, after, ProtocolVersion::V5);
            wire.bytes = Some(after.clone());
            self.rewritten.push([line, wire.print()]);
        }
    }
}

fn is_connect(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|byte| byte >> 4 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::packet::Connect;
    use crate::record::{Explanation, Outcome, Verdict};
    use crate::text::hex;

    #[tokio::test]
    async fn passwords_and_secrets_never_get_in() {
        let case = CaseId { file: "a.yaml".into(), scenario: "s".into(), variant: String::new(), row: None };
        let recorder = Recorder::new(case, 0.0);
        recorder.hide(&["0123456789abcdef".to_owned()]);
        let connect = Connect {
            username: Some("bob".into()),
            password: Some(Bytes::from_static(b"open sesame")),
            ..Connect::default()
        };
        let tap = recorder.tap("bob", ProtocolVersion::V311, Watching::BROKER);
        let packet = Packet::Connect(Box::new(connect));
        let bytes = Bytes::from_static(b"\x10\x20 open sesame");
        tap.record(Direction::Out, bytes.clone(), Content::Packet(&packet));
        tap.record(Direction::Out, bytes, Content::Raw);
        recorder.note("the password is 0123456789abcdef");
        recorder.broker_log(vec![(Instant::now(), "0123456789abcdef".into())]);
        let events = recorder.finish();
        let all = serde_json::to_string(&events).expect("plain data");
        let shown = hex(b"open sesame");
        assert!(!all.contains(&shown) && all.contains(&hex(b" ***********")), "{all}");
        assert!(!all.contains("open sesame") && !all.contains("0123456789abcdef"), "{all}");
        assert!(all.contains("bob") && all.contains(HIDDEN), "{all}");
    }

    #[tokio::test]
    async fn raw_pieces_of_a_connect_and_secrets_in_raw_bytes_are_hidden() {
        let case = CaseId { file: "a.yaml".into(), scenario: "s".into(), variant: String::new(), row: None };
        let recorder = Recorder::new(case, 0.0);
        recorder.hide(&["0123456789abcdef".to_owned()]);
        let tap = recorder.tap("bob", ProtocolVersion::V311, Watching::BROKER);
        let raw = |bytes: &'static [u8]| tap.record(Direction::Out, Bytes::from_static(bytes), Content::Raw);
        raw(b"\x10");
        raw(b"\x1a\x00\x04MQTT\x04\xc2\x00\x00");
        raw(b"\x00\x01c\x00\x03bob\x00\x06");
        raw(b"sesame");
        // The CONNECT is whole now.
        raw(b"\x30\x13\x00\x01t0123456789abcdef");
        raw(b"\xc0\x00");
        let lines: Vec<String> = recorder
            .finish()
            .into_iter()
            .filter_map(|event| match event.kind {
                EventKind::Wire { wire, .. } => Some((wire.line, wire.bytes)),
                _ => None,
            })
            .map(|(line, bytes)| format!("{line} | {}", bytes.map(|bytes| hex(&bytes)).unwrap_or_default()))
            .collect();
        let stars = ["2a"; 16].join(" ");
        assert_eq!(
            lines,
            [
                "hex 10 (1 byte of a CONNECT, not shown) | ".to_owned(),
                "hex 1a (11 bytes of a CONNECT, not shown) | ".to_owned(),
                "hex … (10 bytes of a CONNECT, not shown) | ".to_owned(),
                "hex … (6 bytes of a CONNECT, not shown) | ".to_owned(),
                format!("hex 30 13 00 01 74 {stars} | 30 13 00 01 74 {stars}"),
                "hex c0 00 | c0 00".to_owned(),
            ]
        );
    }

    #[tokio::test]
    async fn a_secret_in_two_raw_pieces_is_hidden_in_both() {
        let case = CaseId { file: "a.yaml".into(), scenario: "s".into(), variant: String::new(), row: None };
        let recorder = Recorder::new(case, 0.0);
        recorder.hide(&["0123456789abcdef".to_owned()]);
        let tap = recorder.tap("bob", ProtocolVersion::V311, Watching::BROKER);
        let raw = |bytes: &'static [u8]| tap.record(Direction::Out, Bytes::from_static(bytes), Content::Raw);
        raw(b"\x30\x13\x00\x01t0123");
        let packets = recorder.last_lines();
        raw(b"456789abcdef");
        let case = CaseInfo { id: recorder.0.case.clone(), ..CaseInfo::default() };
        let outcome = Outcome {
            case,
            verdict: Verdict::Failed,
            unmet: false,
            left_out: false,
            seconds: 0.0,
            why: Some(Explanation { packets, ..Explanation::default() }),
            mechanism: None,
            notes: Vec::new(),
        };
        recorder.push(EventKind::CaseFinished { outcome });
        let all = serde_json::to_string(&recorder.finish()).expect("plain data");
        let (first, second) = (["2a"; 4].join(" "), ["2a"; 12].join(" "));
        assert!(!all.contains("30 31 32 33") && !all.contains("34 35"), "{all}");
        // Bytes and line of each piece, and the line in the explanation.
        assert_eq!(all.matches(&format!("30 13 00 01 74 {first}\"")).count(), 3, "{all}");
        assert_eq!(all.matches(&format!("{second}\"")).count(), 2, "{all}");
    }

    #[tokio::test]
    async fn large_packets_are_cut_when_many_bytes_are_kept() {
        let case = CaseId { file: "a.yaml".into(), scenario: "s".into(), variant: String::new(), row: None };
        let recorder = Recorder::new(case, 0.0);
        let packet = |line: String, bytes: usize| {
            let bytes = Some(Bytes::from(vec![0; bytes]));
            let wire = WireEvent { client: "bob".into(), conn: 1, side: WireSide::Sent, line, bytes };
            recorder.wire(wire, Instant::now());
        };
        packet("x".repeat(1 << 20), WIRE_BYTES - (1 << 20));
        packet("y".repeat(300), 100);
        packet("PINGREQ".into(), 2);
        let mut kept = Vec::new();
        let mut notes = Vec::new();
        for event in recorder.finish() {
            match event.kind {
                EventKind::Wire { wire: WireEvent { line, bytes, .. }, .. } => {
                    kept.push((line.len(), bytes.map(|bytes| bytes.len())));
                }
                EventKind::Note { text } => notes.push(text),
                _ => {}
            }
        }
        let cut = text::cut_line(&"y".repeat(300), LINE_SHOWN).len();
        assert_eq!(kept, [(1 << 20, Some(WIRE_BYTES - (1 << 20))), (cut, None), (7, Some(2))]);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].ends_with(": 1 large packet without the bytes"), "{notes:?}");
    }
}
