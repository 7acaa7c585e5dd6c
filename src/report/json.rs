//! JSON lines: the event log itself. What is written reads back as the same events.
//!
//! Control characters and bidirectional marks leave as `\u` escapes, so that a log is safe to look at
//! in a terminal.

use std::io::{self, Write};

use serde::Serialize as _;
use serde_json::ser::{Formatter, Serializer};

use super::{Output, Report};
use crate::record::{Event, EventKind};
use crate::text::escape;

/// Writes each event as it comes.
pub struct JsonLines {
    out: Output,
}

impl JsonLines {
    /// A log in the making.
    pub fn new(out: Output) -> Self {
        Self { out }
    }
}

impl Report for JsonLines {
    fn event(&mut self, event: &Event) -> io::Result<()> {
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
    let mut line = Vec::with_capacity(256);
    event.serialize(&mut Serializer::with_formatter(&mut line, SafeFormatter))?;
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
