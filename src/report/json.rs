//! JSON lines: the event log itself. What is written reads back as the same events.
//!
//! Control characters and bidirectional marks leave as `\u` escapes, so that a log is safe to look at
//! in a terminal.

use std::io::{self, Write};

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, Serializer};

use super::{Output, Report};
use crate::record::{Event, EventKind, RunPlan};
use crate::text::escape;

/// Writes each event as it comes.
pub struct JsonLines {
    out: Output,
    /// A line about the log is still to come before it.
    head: bool,
}

/// The format of blobs that this program writes and reads.
const BLOB_FORMAT: u32 = 1;

/// The first line of a blob.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// The format of all that follows.
    mqttlab_blob: u32,
    /// Version of the program that wrote it.
    version: String,
    /// What was run; the event that follows says the same.
    #[serde(default)]
    plan: Option<RunPlan>,
}

impl JsonLines {
    /// A log in the making.
    pub fn new(out: Output) -> Self {
        Self { out, head: false }
    }

    /// A log that begins with a line about itself.
    pub fn blob(out: Output) -> Self {
        Self { out, head: true }
    }

    fn head(&mut self, event: &Event) -> io::Result<()> {
        let EventKind::RunStarted { mqttlab, plan, .. } = &event.kind else { return Ok(()) };
        if std::mem::take(&mut self.head) {
            let head = Head { mqttlab_blob: BLOB_FORMAT, version: mqttlab.clone(), plan: plan.clone() };
            self.out.write_all(line(&head)?.as_bytes())?;
        }
        Ok(())
    }
}

impl Report for JsonLines {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.head(event)?;
        self.out.write_all(print(event)?.as_bytes())?;
        // What has ended is safe even if this process is not.
        if matches!(event.kind, EventKind::CaseFinished { .. }) {
            self.out.flush()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// One event as one line, end of line included.
pub fn print(event: &Event) -> io::Result<String> {
    line(event)
}

fn line(value: &impl Serialize) -> io::Result<String> {
    let mut line = Vec::with_capacity(256);
    value.serialize(&mut Serializer::with_formatter(&mut line, SafeFormatter))?;
    line.push(b'\n');
    String::from_utf8(line).map_err(io::Error::other)
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {source}")]
pub struct ReadError {
    /// From 1.
    pub line: usize,
    source: serde_json::Error,
}

/// Reads a log back. Empty lines are passed over; a last line without its end is a cut log.
pub fn read(text: &str) -> Result<Vec<Event>, ReadError> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|source| ReadError { line: number + 1, source })
        })
        .collect()
}

/// A log or blob as it was found on a disk.
#[derive(Debug, Default)]
pub struct Log {
    /// All events.
    pub events: Vec<Event>,
    /// Its last line ends in the middle: who wrote it was stopped.
    pub cut: bool,
}

/// Reads a log or a blob. That its last line is not whole is no error.
pub fn read_log(text: &str) -> Result<Log, ReadError> {
    let wrong = |line: usize, why: String| ReadError { line, source: serde_json::Error::custom(why) };
    let (whole, rest) = text.rsplit_once('\n').unwrap_or(("", text));
    let mut body = whole;
    let first = whole.lines().next().unwrap_or_default();
    if let Ok(head) = serde_json::from_str::<Head>(first) {
        if head.mqttlab_blob != BLOB_FORMAT {
            return Err(wrong(
                1,
                format!("a blob of format {}, written by mqttlab {}", head.mqttlab_blob, head.version),
            ));
        }
        body = &whole[first.len()..];
    }
    let mut log = Log { events: read(body)?, cut: false };
    match serde_json::from_str(rest) {
        Ok(event) => log.events.push(event),
        Err(_) => log.cut = !rest.trim().is_empty(),
    }
    Ok(log)
}

/// Compact JSON, with escapes for what `text::escape` would escape.
struct SafeFormatter;

impl Formatter for SafeFormatter {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut safe = 0;
        for (at, c) in fragment.char_indices() {
            if c.is_ascii_graphic() || c == ' ' || is_safe(c) {
                continue;
            }
            out.write_all(&fragment.as_bytes()[safe..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            safe = at + c.len_utf8();
        }
        out.write_all(&fragment.as_bytes()[safe..])
    }
}

fn is_safe(c: char) -> bool {
    let mut buffer = [0; 4];
    let text: &str = c.encode_utf8(&mut buffer);
    escape(text) == text
}
