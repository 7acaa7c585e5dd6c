//! The files of the persistence log: their names, how one is made, read and taken away, and how a
//! base is written. What they mean is decided in [`log`](super::log) and `opening`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::BytesMut;

use super::format::{self, Clock, Fault, Frames, HEADER, Header, Kind};
use super::log::{StorageError, failed};
use crate::broker::engine::Kept;

/// Nobody else is to read what clients say (CVE-2017-9868).
const MODE: u32 = 0o600;

/// Bytes that a base is written in at once.
const CHUNK: usize = 1 << 20;
/// A base on its way.
pub(super) struct BaseWriter<'a> {
    base: &'a Path,
    file: File,
    buffer: BytesMut,
    written: u64,
}

impl<'a> BaseWriter<'a> {
    pub fn create(base: &'a Path, through: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(beside(base, "tmp"))?;
        let mut buffer = BytesMut::with_capacity(CHUNK);
        buffer.extend_from_slice(&Header { kind: Kind::Base, number: through }.encode());
        Ok(Self { base, file, buffer, written: 0 })
    }

    pub fn put(&mut self, encode: impl FnOnce(&mut BytesMut)) -> io::Result<()> {
        encode(&mut self.buffer);
        if self.buffer.len() < CHUNK {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is no message, and gives the file its name.
    pub fn finish<M>(mut self, kept: &Kept<M>, clock: Clock, stamp: u64) -> io::Result<u64> {
        for record in kept.records() {
            self.put(|into| format::encode_batch(std::slice::from_ref(&record), clock, into))?;
        }
        self.put(|into| format::encode_stamp(stamp, into))?;
        self.flush()?;
        self.file.sync_all()?;
        fs::rename(beside(self.base, "tmp"), self.base)?;
        sync_folder(self.base)?;
        Ok(self.written)
    }
}

/// `base` with something behind its name.
pub(super) fn beside(base: &Path, suffix: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

pub(super) fn read_header(path: &Path) -> io::Result<Result<Header, Fault>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(HEADER as u64).read_to_end(&mut bytes)?;
    Ok(Header::decode(&bytes))
}

/// The bytes of a file, and its frames.
pub(super) fn open_frames(path: &Path) -> io::Result<(u64, Frames<BufReader<File>>)> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(HEADER as u64))?;
    Ok((len, Frames::new(BufReader::with_capacity(CHUNK, file), len)))
}

/// The base, if there is one, and the segments that follow it, up to this one.
pub(super) fn sealed_files(base: &Path, through: u64) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut covered = 0;
    if exists(base) {
        covered = read_header(base)?.map_or(0, |header| header.number);
        files.push(base.to_owned());
    }
    let numbers = segment_numbers(base)?.into_iter();
    let wanted = numbers.filter(|number| (covered + 1..=through).contains(number));
    files.extend(wanted.map(|number| beside(base, &number.to_string())));
    Ok(files)
}

/// The numbers of all segments, sorted.
pub(super) fn segment_numbers(base: &Path) -> io::Result<Vec<u64>> {
    let Some(name) = base.file_name().and_then(|name| name.to_str()) else { return Ok(Vec::new()) };
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder(base))? {
        let entry = entry?.file_name();
        let rest = entry.to_str().and_then(|entry| entry.strip_prefix(name)?.strip_prefix('.'));
        let number = rest.filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes the segments up to this one: the base says what they say.
pub(super) fn remove_segments(base: &Path, through: u64) -> io::Result<()> {
    for number in segment_numbers(base)?.into_iter().filter(|number| *number <= through) {
        fs::remove_file(beside(base, &number.to_string()))?;
    }
    Ok(())
}

pub(super) fn create_segment(base: &Path, number: u64) -> io::Result<File> {
    let path = beside(base, &number.to_string());
    // Under its name only when its header is there.
    let early = beside(base, "tmp");
    let _ = fs::remove_file(&early);
    let mut file = OpenOptions::new().append(true).create_new(true).mode(MODE).open(&early)?;
    file.write_all(&Header { kind: Kind::Segment, number }.encode())?;
    file.sync_all()?;
    fs::rename(&early, path)?;
    sync_folder(base)?;
    Ok(file)
}

pub(super) fn folder(base: &Path) -> &Path {
    base.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes names that were given or taken away safe from a power failure.
pub(super) fn sync_folder(base: &Path) -> io::Result<()> {
    File::open(folder(base))?.sync_all()
}

/// Takes the lock; it is given back when the file is closed, however the process ends.
pub(super) fn lock(base: &Path) -> Result<File, StorageError> {
    let path = beside(base, "lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(&path)
        .map_err(failed(&path, "opened"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StorageError::InUse(base.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(&path, "locked")(error)),
    }
}
