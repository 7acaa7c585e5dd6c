//! The start: reads all files of the persistence log, and decides what of them is used and where the
//! log goes on. Throws nothing away that could not be read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{
    BaseWriter, beside, create_segment, exists, open_frames, read_header, remove_segments, segment_numbers,
};
use super::format::{self, Clock, Fault, HEADER, Header, Kind, Reading};
use super::log::{Log, Opened, StorageError, failed, is_long};
use crate::broker::engine::{Kept, Record};

/// A file as it is read at the start.
struct Source {
    path: PathBuf,
    kind: Kind,
    reading: Reading,
    /// Bytes of the whole file.
    len: u64,
}

/// The reading of all files at the start.
pub(super) struct Opening<'a> {
    base: &'a Path,
    clock: Clock,
    suffix: &'a str,
    /// The number of the base.
    through: u64,
    kept: Kept,
    stamp: u64,
    troubles: Vec<String>,
}

impl<'a> Opening<'a> {
    pub fn new(base: &'a Path, clock: Clock, suffix: &'a str) -> Self {
        Self { base, clock, suffix, through: 0, kept: Kept::default(), stamp: 0, troubles: Vec::new() }
    }

    pub fn read_all(&mut self, lock: File) -> Result<Opened, StorageError> {
        let mut files: Vec<Source> = Vec::new();
        let mut broken: Option<(PathBuf, Fault)> = None;
        if fs::metadata(self.base).is_ok_and(|it| it.len() > 0) {
            match self.read(self.base, Kind::Base)? {
                Ok((header, source)) => {
                    self.through = header.number;
                    files.push(source);
                }
                Err(fault) => broken = Some((self.base.to_owned(), fault)),
            }
        }
        let numbers = segment_numbers(self.base).map_err(failed(self.base, "read"))?;
        let last = numbers.last().copied().unwrap_or(0).max(self.through);
        let through = self.through;
        let mut behind: Vec<PathBuf> = Vec::new();
        for (number, expected) in numbers.into_iter().filter(|number| *number > through).zip(through + 1..) {
            let path = beside(self.base, &number.to_string());
            let damaged = files.last().is_some_and(|file| file.reading.fault.is_some());
            if number != expected || broken.is_some() || damaged {
                // What comes behind a gap cannot be understood.
                behind.push(path);
                continue;
            }
            match self.read(&path, Kind::Segment)? {
                Ok((_, source)) => files.push(source),
                Err(fault) => broken = Some((path, fault)),
            }
        }
        let is_torn = broken.is_none() && behind.is_empty() && Self::is_torn(&files)?;
        let faulty =
            files.last().filter(|_| !is_torn).and_then(|file| Some((file.path.clone(), file.reading.fault?)));
        let gap = behind.first().map(|path| (path.clone(), Fault::Gap));
        if let Some((path, fault)) = broken.or(faulty).or(gap) {
            behind.retain(|other| *other != path);
            return self.start_over(&path, fault, behind, last, lock);
        }
        self.go_on(&files, is_torn, last, lock)
    }

    /// Takes over the whole batches of a file.
    fn read(&mut self, path: &Path, kind: Kind) -> Result<Result<(Header, Source), Fault>, StorageError> {
        let header = match read_header(path).map_err(failed(path, "read"))? {
            Ok(header) if header.kind == kind => header,
            Ok(_) => return Ok(Err(Fault::Header)),
            Err(fault) => return Ok(Err(fault)),
        };
        let (len, mut frames) = open_frames(path).map_err(failed(path, "read"))?;
        let take = |batch| {
            self.kept.add_with(batch, |publication| publication);
            // All of a base belongs together, and its messages stand first.
            if kind == Kind::Segment {
                self.kept.settle();
            }
        };
        let reading = format::read_batches(&mut frames, self.clock, take).map_err(failed(path, "read"))?;
        self.kept.settle();
        self.stamp = self.stamp.max(reading.stamp);
        Ok(Ok((header, Source { path: path.to_owned(), kind, reading, len })))
    }

    /// True if the last file ends within a batch, as when the machine stopped while it was written.
    fn is_torn(files: &[Source]) -> Result<bool, StorageError> {
        let Some(last) = files.last().filter(|last| last.kind == Kind::Segment) else { return Ok(false) };
        match last.reading.fault {
            Some(Fault::Short(_) | Fault::Checksum(_)) => {}
            _ => return Ok(false),
        }
        let mut rest = Vec::new();
        let mut read = || {
            let mut file = File::open(&last.path)?;
            file.seek(SeekFrom::Start(last.reading.end))?;
            file.take(1 + (64 << 20)).read_to_end(&mut rest)
        };
        read().map_err(failed(&last.path, "read"))?;
        Ok(!format::resumes(format::behind_whole_frames(&rest)))
    }

    /// Goes on in the last segment, or in the first one there is.
    fn go_on(
        &mut self,
        files: &[Source],
        is_torn: bool,
        last: u64,
        lock: File,
    ) -> Result<Opened, StorageError> {
        let live = files.first().filter(|file| file.kind == Kind::Base).map_or(0, |file| file.len);
        let total: u64 = files.iter().map(|file| file.reading.end).sum();
        // The power failed before they were.
        remove_segments(self.base, self.through).map_err(failed(self.base, "written"))?;
        if is_long(total, live) {
            // Or it would grow for ever in a broker that never lives long enough to compact it.
            let live = self.write_base(last).map_err(failed(self.base, "written"))?;
            return self.go_on_behind(last, live, lock);
        }
        let Some(segment) = files.last().filter(|file| file.kind == Kind::Segment) else {
            let file = create_segment(self.base, last + 1).map_err(failed(self.base, "written"))?;
            let log = Log {
                base: self.base.to_owned(),
                file,
                number: last + 1,
                len: HEADER as u64,
                sealed: total,
                live,
                lock,
            };
            return Ok(self.opened(log));
        };
        let file =
            OpenOptions::new().append(true).open(&segment.path).map_err(failed(&segment.path, "written"))?;
        let len = segment.reading.end;
        if is_torn {
            self.troubles.push(format!(
                "Warning: the last {} bytes of {} were not written completely and are cut off.",
                segment.len - len,
                segment.path.display()
            ));
            let cut = || {
                file.set_len(len)?;
                file.sync_all()
            };
            cut().map_err(failed(&segment.path, "written"))?;
        }
        let log =
            Log { base: self.base.to_owned(), file, number: last, len, sealed: total - len, live, lock };
        Ok(self.opened(log))
    }

    fn opened(&mut self, log: Log) -> Opened {
        Opened {
            kept: std::mem::take(&mut self.kept),
            log,
            stamp: self.stamp,
            troubles: std::mem::take(&mut self.troubles),
        }
    }

    /// Makes a base of what could be read, sets aside what could not, and goes on behind all of it.
    fn start_over(
        &mut self,
        path: &Path,
        fault: Fault,
        behind: Vec<PathBuf>,
        last: u64,
        lock: File,
    ) -> Result<Opened, StorageError> {
        let written = |error| failed(self.base, "written")(error);
        let is_base = path == self.base;
        let aside = aside(path, fault, self.suffix);
        if is_base {
            // Under both names until the new base takes the first: there is always a base.
            copy_aside(path, &aside).map_err(written)?;
        }
        let live = self.write_base(last).map_err(written)?;
        if !is_base {
            fs::rename(path, &aside).map_err(written)?;
        }
        for path in behind {
            fs::rename(&path, self::aside(&path, fault, self.suffix)).map_err(written)?;
        }
        self.troubles.push(format!("Error: {} cannot be used: {fault}.", path.display()));
        self.troubles.push(format!(
            "Error: it was set aside as {}. Restored from what stands before the fault: {} clients, {} \
             subscriptions, {} retained messages.",
            aside.display(),
            self.kept.sessions(),
            self.kept.subscriptions(),
            self.kept.retained()
        ));
        self.go_on_behind(last, live, lock)
    }

    /// Goes on in a new segment, behind a base of `live` bytes that says all.
    fn go_on_behind(&mut self, last: u64, live: u64, lock: File) -> Result<Opened, StorageError> {
        remove_segments(self.base, last).map_err(failed(self.base, "written"))?;
        let file = create_segment(self.base, last + 1).map_err(failed(self.base, "written"))?;
        let (number, len) = (last + 1, HEADER as u64);
        let log = Log { base: self.base.to_owned(), file, number, len, sealed: live, live, lock };
        Ok(self.opened(log))
    }

    /// Writes all that was read as a base; its bytes.
    fn write_base(&self, last: u64) -> io::Result<u64> {
        let mut writer = BaseWriter::create(self.base, last)?;
        self.write_messages(&mut writer)?;
        writer.finish(&self.kept, self.clock, self.stamp)
    }

    fn write_messages(&self, writer: &mut BaseWriter<'_>) -> io::Result<()> {
        for publication in self.kept.all_messages() {
            let record = Record::Message(Arc::clone(publication));
            writer.put(|into| format::encode_batch(&[record], self.clock, into))?;
        }
        Ok(())
    }
}

/// Where a file that cannot be used is kept.
fn aside(path: &Path, fault: Fault, suffix: &str) -> PathBuf {
    let why = match fault {
        Fault::Mosquitto => "mosquitto",
        Fault::Foreign => "foreign",
        Fault::Newer => "newer",
        _ => "damaged",
    };
    let name = beside(path, &format!("{why}-{suffix}"));
    // There may have been a fault in the same second.
    let more = (2..1000).map(|count| beside(path, &format!("{why}-{suffix}-{count}")));
    std::iter::once(name.clone()).chain(more).find(|name| !exists(name)).unwrap_or(name)
}

/// A second name for a file, or a copy where the file system has no second names.
fn copy_aside(path: &Path, aside: &Path) -> io::Result<()> {
    if fs::hard_link(path, aside).is_ok() {
        return Ok(());
    }
    fs::copy(path, aside)?;
    File::open(aside)?.sync_all()
}
