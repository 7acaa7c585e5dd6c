//! The persistence files as a log that is appended to: a base, which is the whole state, and numbered
//! segments of what changed since. Files, but no thread and no clock of its own.
//!
//! ```text
//! mosquitto.db          the base: all that the segments up to its number say
//! mosquitto.db.7        a segment; the one with the highest number is written
//! mosquitto.db.tmp      a base that is being written
//! mosquitto.db.lock     locked while a broker uses the others
//! ```
//!
//! A base takes its name only when it is whole and safe, and only then the segments that it covers
//! are removed. So whenever the power fails, the base and the segments behind its number are all of
//! the state. Nothing is ever thrown away that could not be read: it is set aside under a new name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::files::{BaseWriter, beside, create_segment, lock, open_frames, remove_segments, sealed_files};
use super::format::{self, Clock, HEADER, Stop};
use super::opening::Opening;
use crate::broker::engine::Kept;

/// Files are compacted when they are so many times as long as the state was after the last time.
const GROWTH: u64 = 4;

/// Bytes below which files are not compacted.
const SMALL: u64 = 16 << 20;

/// True if files of `total` bytes are worth to be compacted, `live` being what they had the last time.
pub(super) fn is_long(total: u64, live: u64) -> bool {
    total >= SMALL.max(GROWTH * live)
}

/// Why there is no persistence.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Two brokers on one file would destroy it.
    #[error("the persistence file {0} is in use by another broker")]
    InUse(PathBuf),
    /// The system says no.
    #[error("the persistence file {path} cannot be {verb}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried: opened, read, written.
        verb: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

pub(super) fn failed(path: &Path, verb: &'static str) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.to_owned();
    move |source| StorageError::Io { path, verb, source }
}

/// What was found when the files were opened.
#[derive(Debug)]
pub struct Opened {
    /// The state.
    pub kept: Kept,
    /// Where it goes on.
    pub log: Log,
    /// The latest time that the files know, milliseconds since 1970; 0 without any.
    pub stamp: u64,
    /// What was wrong with the files and what became of it, for the log.
    pub troubles: Vec<String>,
}

/// The segment that is written, and how much there is.
#[derive(Debug)]
pub struct Log {
    pub(super) base: PathBuf,
    pub(super) file: File,
    pub(super) number: u64,
    /// Bytes of the segment that are whole batches.
    pub(super) len: u64,
    /// Bytes of the base and of the segments before this one.
    pub(super) sealed: u64,
    /// Bytes of the base.
    pub(super) live: u64,
    #[expect(dead_code, reason = "held as long as the log is, and not read")]
    pub(super) lock: File,
}

impl Log {
    /// Opens the files at `base`, making them if there are none, and reads what they hold. What is
    /// damaged is set aside with `suffix` in its name; what stands before the damage is used.
    pub fn open(base: &Path, clock: Clock, suffix: &str) -> Result<Opened, StorageError> {
        let lock = lock(base)?;
        // Not finished, so nobody relies on it.
        let _ = fs::remove_file(beside(base, "tmp"));
        Opening::new(base, clock, suffix).read_all(lock)
    }

    /// Appends whole batches. After an error the file is as it was before, if that can be had.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // What was written of it must not stand before what comes next.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Makes all that was appended safe from a power failure.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Bytes of all files, and of the base alone.
    pub fn sizes(&self) -> (u64, u64) {
        (self.sealed + self.len, self.live)
    }

    /// Goes on in a new segment; the files before it can now be compacted.
    pub fn rotate(&mut self) -> io::Result<Compaction> {
        self.file.sync_all()?;
        let next = create_segment(&self.base, self.number + 1)?;
        let compaction = Compaction { base: self.base.clone(), through: self.number };
        self.file = next;
        self.number += 1;
        self.sealed += self.len;
        self.len = HEADER as u64;
        Ok(compaction)
    }

    /// A compaction has ended: the files before the segment have so many bytes now.
    pub fn compacted(&mut self, bytes: u64) {
        self.sealed = bytes;
        self.live = bytes;
    }
}

/// The files before the one that is written, to be replaced by a base that says the same.
#[derive(Debug)]
pub struct Compaction {
    base: PathBuf,
    through: u64,
}

impl Compaction {
    /// Writes the new base; its bytes. Takes as long as it takes: for a thread of its own.
    /// `cancelled` ends it early; the files are then as they were.
    pub fn run(self, clock: Clock, cancelled: &AtomicBool) -> io::Result<u64> {
        let Self { base, through } = self;
        let sealed = sealed_files(&base, through)?;
        let mut kept = Kept::<()>::default();
        let mut stamp = 0;
        for path in &sealed {
            let (_, mut frames) = open_frames(path)?;
            let is_base = *path == base;
            let reading = format::read_batches(&mut frames, clock, |batch| {
                if !cancelled.load(Ordering::Relaxed) {
                    kept.add_with(batch, |_| ());
                }
                if !is_base {
                    kept.settle();
                }
            })?;
            kept.settle();
            stamp = stamp.max(reading.stamp);
            if let Some(fault) = reading.fault {
                // It was whole when it was sealed.
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{}: {fault}", path.display()),
                ));
            }
        }
        let mut writer = BaseWriter::create(&base, through)?;
        for path in &sealed {
            let (_, mut frames) = open_frames(path)?;
            while let Some(frame) = frames.next_frame().map_err(into_io)? {
                // A message may stand in two files; the second time changes nothing.
                if cancelled.load(Ordering::Relaxed) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                if frame.message().is_some_and(|serial| kept.message(serial).is_some()) {
                    writer.put(|into| frame.encode_alone(into))?;
                }
            }
        }
        let bytes = writer.finish(&kept, clock, stamp)?;
        remove_segments(&base, through)?;
        Ok(bytes)
    }
}

fn into_io(stop: Stop) -> io::Error {
    match stop {
        Stop::Io(error) => error,
        Stop::Fault(fault) => io::Error::new(io::ErrorKind::InvalidData, fault.to_string()),
    }
}
