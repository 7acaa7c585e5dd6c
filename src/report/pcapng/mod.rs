//! Captures for Wireshark: a pcapng file a case, with TCP made up around the packets that were seen.
//!
//! What a client sends and receives is recorded above TLS and WebSocket, with secrets overwritten, so
//! that is what a capture holds: MQTT on port 1883, whatever carried it. The ciphertext is not kept, since with
//! its key log it would give away the passwords that the event log hides. `tcp` makes the frames, `blocks` the file.

mod blocks;
mod tcp;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use tcp::Network;

use super::{Folder, Report};
use crate::record::{CaseId, CaseInfo, Event, EventKind, Outcome, WireEvent, WireSide};
use crate::text::escape;

/// What every capture says about itself.
const ABOUT: &str = "Made by mqttlab from its event log: the packets are those of the wire, above TLS and WebSocket; \
    passwords and keys in them are overwritten with asterisks; Ethernet, IP and TCP around them are made up.";
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
        Ok(self.case.get_or_insert_with(|| Capture { id, about: Vec::new(), network: Network::default() }))
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
        let mut about = vec![ABOUT.to_owned(), format!("{} on {}", case.id, self.target)];
        about.extend(case.about);
        blocks::section(&mut out, &self.program, &about)?;
        blocks::interface(&mut out)?;
        blocks::names(&mut out, case.network.hosts())?;
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

    fn wire(&mut self, at: f64, id: &CaseId, wire: &WireEvent) -> io::Result<()> {
        let capture = self.capture(id)?;
        let shown = escape(&wire.print());
        let network = &mut capture.network;
        match (wire.side, &wire.bytes) {
            (WireSide::Sent | WireSide::Received, Some(bytes)) if wire.conn > 0 => {
                network.packet(at, &wire.client, wire.conn, wire.side, bytes);
            }
            (WireSide::Link, _) if wire.conn > 0 => {
                network.comment(&shown);
                network.end(at, &wire.client, wire.conn, &wire.line);
            }
            _ => network.comment(&shown),
        }
        Ok(())
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
            EventKind::Wire { case, wire } => self.wire(event.at, case, wire),
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
