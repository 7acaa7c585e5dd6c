//! Captures for Wireshark: a pcapng file a case, with TCP made up around what was seen.
//!
//! MQTT is on port 1883, whatever carried it, as it is recorded above TLS and WebSocket: with secrets
//! overwritten. TLS, where the log has its records, is beside it as it was on the wire, on port 8883, or 443 with a
//! WebSocket within: ports by which Wireshark knows what to look for in it, whichever was dialled (a comment says
//! that). MQTT over TLS whose keys are in the log is on 8883 alone, for there Wireshark reads it, and it is not
//! redacted; in a WebSocket Wireshark reads frames and no MQTT, so that this stays on 1883 too.
//! `tcp` makes the frames, `blocks` the file.

mod blocks;
mod tcp;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use tcp::{End, Network, Stream};

use super::{Folder, Report};
use crate::record::tls::opens_handshake_alone;
use crate::record::{CaseId, CaseInfo, Event, EventKind, Outcome, TlsEvent, TlsSeen, WireEvent, WireSide};
use crate::text::escape;

/// What every capture says about itself.
const ABOUT: &str = "Made by mqttlab from its event log; Ethernet, IP and TCP are made up. MQTT is on port 1883, \
    whatever carried it; passwords and keys in it are overwritten with asterisks.";
/// And one with TLS.
const ABOUT_TLS: &str = "TLS is on port 8883, or 443 with a WebSocket within, as it was on the wire; what it carried \
    is on port 1883 too, unless it is MQTT on port 8883 and this file has the keys.";
/// And one with keys.
const ABOUT_HANDSHAKES: &str = "The keys in this file open handshakes of TLS and nothing else.";
const ABOUT_KEYS: &str = "The keys in this file open all that was sent over TLS, passwords included.";
/// Ports by which Wireshark knows what to look for.
const MQTT: u16 = 1883;
const MQTT_OVER_TLS: u16 = 8883;
const HTTP_OVER_TLS: u16 = 443;
/// Bytes of a name of a file, its ending left out.
const NAME: usize = 120;

/// The captures.
pub struct Pcapng {
    folder: Box<dyn Folder>,
    names: BTreeSet<String>,
    program: String,
    target: String,
    /// Runs so far.
    runs: usize,
    /// Between 1970 and the start of the run; nothing in a log that does not say when it was.
    began: Duration,
    /// The case whose events come now.
    case: Option<Capture>,
}

/// One file in the making.
struct Capture {
    id: CaseId,
    /// About the whole: title, verdicts, notes without a packet.
    about: Vec<String>,
    network: Network,
    /// TLS by number of the connection.
    tls: BTreeMap<u32, Secured>,
    /// For the TLS in it.
    keys: Vec<String>,
}

/// A connection over TLS.
struct Secured {
    stream: Stream,
    /// Wireshark has the keys for the MQTT in it.
    is_open: bool,
}

impl Capture {
    fn new(id: CaseId) -> Self {
        let (tls, keys) = (BTreeMap::new(), Vec::new());
        Self { id, about: Vec::new(), network: Network::default(), tls, keys }
    }

    /// True for a connection whose packets Wireshark reads in its TLS.
    fn reads_within(&self, conn: u32) -> bool {
        self.tls.get(&conn).is_some_and(|secured| secured.is_open)
    }

    fn wire(&mut self, at: f64, wire: &WireEvent) {
        let shown = escape(&wire.print());
        let stream = Stream { conn: wire.conn, port: MQTT };
        let within = self.reads_within(wire.conn);
        let network = &mut self.network;
        match (wire.side, &wire.bytes) {
            (WireSide::Sent | WireSide::Received, Some(_)) if within => {}
            (WireSide::Link, _) if within => network.comment_last(&shown),
            (WireSide::Sent, Some(bytes)) if wire.conn > 0 => {
                network.bytes(at, &wire.client, stream, End::Client, bytes);
            }
            (WireSide::Received, Some(bytes)) if wire.conn > 0 => {
                network.bytes(at, &wire.client, stream, End::Broker, bytes);
            }
            (WireSide::Link, _) if wire.conn > 0 => {
                network.comment(&shown);
                network.end(at, &wire.client, stream, &wire.line);
            }
            _ => network.comment(&shown),
        }
    }

    fn tls(&mut self, at: f64, tls: &TlsEvent) {
        if let TlsSeen::Opened { address, server_name, websocket } = &tls.seen {
            let port = if *websocket { HTTP_OVER_TLS } else { MQTT_OVER_TLS };
            let stream = Stream { conn: tls.conn, port };
            let what = escape(&format!(", TLS to {address}, as {server_name}"));
            self.network.open(at, &tls.client, stream, &what);
            self.tls.insert(tls.conn, Secured { stream, is_open: false });
            return;
        }
        let Some(secured) = self.tls.get_mut(&tls.conn) else { return };
        let stream = secured.stream;
        match &tls.seen {
            TlsSeen::Bytes { from, bytes } => {
                self.network.bytes(at, &tls.client, stream, (*from).into(), bytes);
            }
            TlsSeen::Closed { by } => self.network.close(at, stream, (*by).into()),
            TlsSeen::Reset { by } => self.network.reset(at, stream, (*by).into()),
            TlsSeen::Key { line } => {
                secured.is_open |= stream.port == MQTT_OVER_TLS && !opens_handshake_alone(line);
                self.keys.push(line.clone());
            }
            TlsSeen::Cut => {
                secured.is_open = false;
                let conn = tls.conn;
                self.network.comment_last(&format!("the log has no more of the TLS of connection {conn}"));
            }
            TlsSeen::Opened { .. } => {}
        }
    }

    /// What the file says about itself and the case.
    fn about(&self, target: &str) -> Vec<String> {
        let mut about = vec![ABOUT.to_owned()];
        if !self.tls.is_empty() {
            about.push(ABOUT_TLS.to_owned());
        }
        match self.keys.iter().any(|line| !opens_handshake_alone(line)) {
            true => about.push(ABOUT_KEYS.to_owned()),
            false if !self.keys.is_empty() => about.push(ABOUT_HANDSHAKES.to_owned()),
            false => {}
        }
        about.push(format!("{} on {target}", self.id));
        about.extend(self.about.iter().cloned());
        about
    }
}

impl Pcapng {
    /// Captures in the making.
    pub fn new(folder: Box<dyn Folder>) -> Self {
        Self {
            folder,
            names: BTreeSet::new(),
            program: String::new(),
            target: String::new(),
            runs: 0,
            began: Duration::ZERO,
            case: None,
        }
    }

    /// The capture of this case; that of another case is written.
    fn capture(&mut self, id: &CaseId) -> io::Result<&mut Capture> {
        let mut id = id.clone();
        id.row = None;
        if self.case.as_ref().is_none_or(|case| case.id != id) {
            self.write()?;
        }
        Ok(self.case.get_or_insert_with(|| Capture::new(id)))
    }

    /// Writes the case that is open, if any packet was seen.
    fn write(&mut self) -> io::Result<()> {
        let Some(mut case) = self.case.take() else { return Ok(()) };
        let frames = case.network.finish();
        if frames.is_empty() {
            return Ok(());
        }
        let name = self.name(&case.id);
        let mut out = self.folder.create(&name)?;
        blocks::section(&mut out, &self.program, &case.about(&self.target))?;
        blocks::interface(&mut out)?;
        blocks::names(&mut out, case.network.hosts())?;
        if !case.keys.is_empty() {
            blocks::tls_keys(&mut out, &case.keys)?;
        }
        for frame in &frames {
            let at = self.began + Duration::try_from_secs_f64(frame.at).unwrap_or_default();
            blocks::packet(&mut out, at, &frame.bytes, &frame.comments)?;
        }
        out.flush()
    }

    /// `3.1-connect.first-packet.v5.pcapng`; from the second run on with its broker, and with a number where
    /// that is taken already.
    fn name(&mut self, id: &CaseId) -> String {
        let file = id.file.rsplit('/').next().unwrap_or(&id.file);
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let broker = if self.runs > 1 { self.target.as_str() } else { "" };
        let mut parts = [stem, &id.scenario, &id.variant, broker].map(plain).to_vec();
        parts.retain(|part| !part.is_empty());
        let mut name = parts.join(".");
        name.truncate(NAME);
        let name = name.trim_matches('.').to_owned();
        let mut unique = format!("{name}.pcapng");
        let mut number = 2_u32;
        while !self.names.insert(unique.to_lowercase()) {
            unique = format!("{name}-{number}.pcapng");
            number += 1;
        }
        unique
    }

    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        let about = &mut self.capture(&outcome.case.id)?.about;
        let row = outcome.case.id.row.map_or(String::new(), |row| format!("row {row}: "));
        about.push(escape(&format!("{row}{}", outcome.verdict)));
        if let Some(why) = &outcome.why {
            about.push(escape(&format!("expected: {}", why.expected)));
            about.push(escape(&format!("actual: {}", why.actual)));
        }
        Ok(())
    }

    fn started(&mut self, case: &CaseInfo) -> io::Result<()> {
        let capture = self.capture(&case.id)?;
        capture.about.push(escape(&case.title));
        if !case.spec.is_empty() {
            capture.about.push(escape(&format!("MQTT {}: {}", case.protocol, case.spec.join(", "))));
        }
        Ok(())
    }
}

impl Report for Pcapng {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match &event.kind {
            EventKind::RunStarted { mqttlab, target, started, .. } => {
                self.write()?;
                self.runs += 1;
                self.began = started.parse().map_or(Duration::ZERO, since_1970);
                self.program = escape(&format!("mqttlab {mqttlab}"));
                self.target = escape(target);
                Ok(())
            }
            EventKind::CaseStarted { case, .. } => self.started(case),
            EventKind::Wire { case, wire } => {
                self.capture(case)?.wire(event.at, wire);
                Ok(())
            }
            EventKind::Tls { case, tls } => {
                self.capture(case)?.tls(event.at, tls);
                Ok(())
            }
            EventKind::CaseFinished { outcome } => self.outcome(outcome),
            EventKind::Fence { case, held, .. } => {
                let text = if *held {
                    "fence: what should have come before this and has not come will not come"
                } else {
                    "fence: a control message did not come, so that nothing is shown"
                };
                self.capture(case)?.network.comment_last(text);
                Ok(())
            }
            EventKind::Note { text } => {
                if let Some(case) = &mut self.case {
                    case.network.comment(&escape(text));
                }
                Ok(())
            }
            EventKind::RunFinished { .. } => self.write(),
            EventKind::BrokerLog { .. } | EventKind::Checked { .. } => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.write()
    }
}

fn since_1970(moment: Timestamp) -> Duration {
    Duration::try_from(moment.as_duration()).unwrap_or_default()
}

/// What may stand in the name of a file anywhere.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}
