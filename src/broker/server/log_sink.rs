//! Where log lines go: stdout, stderr, a file, the system's log; with mosquitto's time stamps.
//!
//! Decides nothing about what is worth a line, and keeps none: a destination that cannot be
//! written to loses the line, as a broker must not stop for its log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use jiff::fmt::strtime::{BrokenDownTime, Config as Strftime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::syslog::{self, Syslog};
use crate::broker::config::{LogConfig, LogDestination};
use crate::broker::log::{LogLine, LogTypes};
use crate::diagnostic::Diagnostic;

/// mosquitto's longest line with its time stamp, in bytes, its end not counted.
const MAX_LINE: usize = 999;

/// Bytes that are written at once at most, and a line.
const BATCH: usize = 64 << 10;

/// The open destinations of a [`LogConfig`].
#[derive(Debug)]
pub struct LogDestinations {
    types: LogTypes,
    stamp: Stamp,
    outputs: Vec<Output>,
    system: Option<Syslog>,
    /// Lines that are to be written at once.
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Output {
    Stdout,
    Stderr,
    File(File),
}

/// What a line begins with: `log_timestamp`, `log_timestamp_format`.
#[derive(Debug)]
pub enum Stamp {
    /// Nothing.
    None,
    /// Seconds since 1970.
    Epoch,
    /// As strftime(3) prints it.
    Format(String),
}

impl LogDestinations {
    /// Opens the destinations; files are appended to. Opening them anew is also what SIGHUP and a
    /// rotated log file ask for.
    pub fn open(config: &LogConfig) -> Result<Self, Diagnostic> {
        let mut outputs = Vec::new();
        let mut system = None;
        for destination in &config.destinations {
            outputs.push(match destination {
                LogDestination::Stdout => Output::Stdout,
                LogDestination::Stderr => Output::Stderr,
                LogDestination::File(path) => Output::File(open_file(path)?),
                LogDestination::Syslog(facility) => {
                    let opened = Syslog::new(Path::new(syslog::SOCKET), *facility).map_err(|error| {
                        let message = "Unable to log to syslog".to_owned();
                        Diagnostic::file_error("C012", message).with_help(error.to_string())
                    })?;
                    system = Some(opened);
                    continue;
                }
                // The hub's, which has the subscribers.
                LogDestination::Topic => continue,
            });
        }
        Ok(Self { types: config.types, stamp: Stamp::new(config), outputs, system, buffer: Vec::new() })
    }

    /// Whether a line of this type is written anywhere.
    pub fn wants(&self, kind: LogTypes) -> bool {
        (!self.outputs.is_empty() || self.system.is_some()) && self.types.has(kind)
    }

    /// Takes lines of this moment, for [`LogDestinations::flush`] to write.
    pub fn add(&mut self, at: Timestamp, lines: &[LogLine]) {
        let mut stamp = None;
        let at = at.to_zoned(TimeZone::system());
        for line in lines {
            if !self.wants(line.kind) {
                continue;
            }
            let text = cut(stamp.get_or_insert_with(|| self.stamp.print(&at)), &line.text);
            if let Some(system) = &self.system {
                // There is nobody to tell.
                let _ = system.send(line.kind, &at, &text);
            }
            self.buffer.extend_from_slice(text.as_bytes());
            self.buffer.push(b'\n');
        }
        if self.buffer.len() >= BATCH {
            self.flush();
        }
    }

    /// Writes what was added: one system call a destination.
    pub fn flush(&mut self) {
        if !self.buffer.is_empty() {
            for output in &mut self.outputs {
                // There is nobody to tell.
                let _ = output.write(&self.buffer);
            }
            self.buffer.clear();
        }
    }
}

fn open_file(path: &Path) -> Result<File, Diagnostic> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
        let message = format!("Unable to open log file {} for writing", path.display());
        Diagnostic::file_error("C012", message).with_help(error.to_string())
    })
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(bytes),
            Self::File(file) => file.write_all(bytes),
        }
    }
}

impl Stamp {
    /// As configured.
    pub fn new(config: &LogConfig) -> Self {
        match (config.timestamp, &config.timestamp_format) {
            (false, _) => Self::None,
            (true, None) => Self::Epoch,
            (true, Some(format)) => Self::Format(format.clone()),
        }
    }

    /// The stamp and what parts it from the text.
    pub fn print(&self, now: &Zoned) -> String {
        match self {
            Self::None => String::new(),
            Self::Epoch => epoch(now.timestamp()),
            Self::Format(format) => {
                // What strftime does not know stays as it was written.
                let lenient = Strftime::new().lenient(true);
                match BrokenDownTime::from(now).to_string_with_config(&lenient, format) {
                    Ok(text) => format!("{text}: "),
                    Err(_) => epoch(now.timestamp()),
                }
            }
        }
    }
}

fn epoch(now: Timestamp) -> String {
    format!("{}: ", now.as_second())
}

/// A line with its stamp, no longer than mosquitto's.
pub fn cut(stamp: &str, text: &str) -> String {
    let room = text.floor_char_boundary(MAX_LINE.saturating_sub(stamp.len()));
    format!("{stamp}{}", &text[..room])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: LogTypes, text: &str) -> LogLine {
        LogLine { kind, text: text.to_owned() }
    }

    fn written(config: LogConfig, lines: &[LogLine]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let config = LogConfig { destinations: vec![LogDestination::File(path.clone())], ..config };
        for line in lines {
            // Opened anew each time: files are appended to.
            let mut destinations = LogDestinations::open(&config).expect("can be opened");
            destinations.add(Timestamp::now(), std::slice::from_ref(line));
            destinations.flush();
        }
        std::fs::read_to_string(path).expect("was written")
    }

    #[test]
    fn chosen_types_with_seconds_since_1970() {
        let lines =
            [line(LogTypes::NOTICE, "one"), line(LogTypes::DEBUG, "two"), line(LogTypes::ERROR, "three")];
        let text = written(LogConfig::default(), &lines);
        let texts: Vec<&str> =
            text.lines().filter_map(|line| line.split_once(": ")).map(|(_, text)| text).collect();
        assert_eq!(texts, ["one", "three"]);
        let seconds: i64 = text.split(':').next().and_then(|stamp| stamp.parse().ok()).expect("a number");
        assert!(seconds > 1_700_000_000);
    }

    #[test]
    fn no_stamp_and_long_lines() {
        let config = LogConfig { timestamp: false, ..LogConfig::default() };
        let text = written(config, &[line(LogTypes::ERROR, &"é".repeat(800))]);
        assert_eq!(text.len(), 999, "998 bytes of whole characters, and the end of the line");
        assert!(text.ends_with("é\n"));
    }

    #[test]
    fn stamps_as_strftime_prints_them() {
        let at = Timestamp::from_second(1_795_256_554).expect("a time").to_zoned(TimeZone::UTC);
        let print = |format: &str| Stamp::Format(format.to_owned()).print(&at);
        assert_eq!(print("%Y-%m-%dT%H:%M:%S"), "2026-11-21T10:22:34: ");
        assert_eq!(print("%s %O %"), "1795256554 %O %: ", "unknown conversions stay");
        assert_eq!(Stamp::Epoch.print(&at), "1795256554: ");
        assert_eq!(Stamp::None.print(&at), "");
    }

    #[test]
    fn nothing_goes_nowhere_and_a_bad_path_is_an_error() {
        let nowhere = LogConfig { destinations: Vec::new(), ..LogConfig::default() };
        assert!(!LogDestinations::open(&nowhere).expect("opens nothing").wants(LogTypes::ERROR));
        let path = LogDestination::File("/nonexistent/folder/log".into());
        let bad = LogConfig { destinations: vec![path], ..LogConfig::default() };
        let error = LogDestinations::open(&bad).expect_err("no such folder");
        assert_eq!(error.message, "Unable to open log file /nonexistent/folder/log for writing");
    }
}
