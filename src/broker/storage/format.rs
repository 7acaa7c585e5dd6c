//! The bytes of the persistence files: a header, then frames of one record each. Pure: no file, no
//! clock, and no input makes it panic.
//!
//! ```text
//! header   "MQTTLAB\0"  version u16  kind u8  0 u8  number u64  crc32 u32      24 bytes
//! frame    length u32   crc32 u32    kind u8  record                          9 + length bytes
//! ```
//!
//! Numbers are little-endian; inside a record they are LEB128. The checksum of a frame covers its
//! length, kind and record. Bit 7 of the kind ends a batch: what belongs together is kept as a whole
//! or not at all. Instants are milliseconds since 1970.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use super::record;
use crate::broker::engine::Record;

/// How all our files begin.
const MAGIC: [u8; 8] = *b"MQTTLAB\0";

/// The version that we write, and the only one there is.
const VERSION: u16 = 1;

/// Bytes of a header.
pub const HEADER: usize = 24;

/// Bytes of a frame before its record.
pub const FRAME: usize = 9;

/// The bit of a frame's kind that ends a batch.
const END: u8 = 0x80;

/// The kind of a time stamp, which is no record of the engine.
const STAMP: u8 = 0x7f;

/// How Mosquitto's own database begins.
const MOSQUITTO: &[u8] = b"\x00\xb5\x00mosquitto db";

/// Bytes that [`resumes`] looks through at most, and checks the sums of.
const SEARCH: usize = 64 << 20;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// All of the state, with what the segments up to this number say; messages stand first.
    Base = 1,
    /// Changes, as they came. The number says which.
    Segment = 2,
}

/// The header of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// See [`Kind`].
    pub number: u64,
}

/// Why a file is not read, or not further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is Mosquitto's.
    #[error("it is a database of Eclipse Mosquitto, which mqttlab does not read")]
    Mosquitto,
    /// It is something else.
    #[error("it is not a database of mqttlab")]
    Foreign,
    /// It was written by a version that did not exist yet.
    #[error("it was written by a newer version of mqttlab")]
    Newer,
    /// The checksum of its header is wrong.
    #[error("its header is damaged")]
    Header,
    /// What it goes on from is not there.
    #[error("a file before it is missing")]
    Gap,
    /// A frame goes beyond the end of the file.
    #[error("it ends within a record at byte {0}")]
    Short(u64),
    /// A checksum is wrong.
    #[error("the checksum of the record at byte {0} is wrong")]
    Checksum(u64),
    /// The checksum is right, and yet it is no record.
    #[error("the record at byte {0} makes no sense")]
    Record(u64),
}

/// Between the engine's instants and the wall clock, which may jump while the broker is down. Within
/// a run it does not: time goes on from the start of the run at the speed of instants.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    now: Instant,
    millis: u64,
}

impl Clock {
    /// `millis` since 1970 is `now`.
    pub fn new(now: Instant, millis: u64) -> Self {
        Self { now, millis }
    }

    /// As milliseconds since 1970.
    pub fn to_millis(self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.now);
        self.millis.saturating_add(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The instant; what has passed is now, and nothing is further away than 136 years.
    pub fn to_instant(self, millis: u64) -> Instant {
        let most = u64::from(u32::MAX) * 1000;
        self.now + Duration::from_millis(millis.saturating_sub(self.millis).min(most))
    }
}

impl Header {
    /// The bytes of the header.
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.kind as u8;
        bytes[12..20].copy_from_slice(&self.number.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..20]);
        bytes[20..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the first bytes of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.starts_with(MOSQUITTO) {
            return Err(Fault::Mosquitto);
        }
        let Some(bytes) = bytes.first_chunk::<HEADER>() else {
            return Err(if bytes.starts_with(&MAGIC) { Fault::Header } else { Fault::Foreign });
        };
        let is_sound = crc32fast::hash(&bytes[..20]).to_le_bytes() == bytes[20..];
        if bytes[..8] != MAGIC {
            return Err(if is_sound { Fault::Header } else { Fault::Foreign });
        }
        if !is_sound {
            return Err(Fault::Header);
        }
        if u16::from_le_bytes([bytes[8], bytes[9]]) != VERSION {
            return Err(Fault::Newer);
        }
        let kind = match bytes[10] {
            1 => Kind::Base,
            2 => Kind::Segment,
            _ => return Err(Fault::Header),
        };
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[12..20]);
        Ok(Self { kind, number: u64::from_le_bytes(number) })
    }
}

/// Appends the records of one batch.
pub fn encode_batch(records: &[Record], clock: Clock, into: &mut BytesMut) {
    for (index, record) in records.iter().enumerate() {
        let end = index + 1 == records.len();
        put_frame(into, end, |into| record::encode(record, clock, into));
    }
}

/// Appends a time stamp, a batch of its own.
pub fn encode_stamp(millis: u64, into: &mut BytesMut) {
    put_frame(into, true, |into| {
        into.put_u64_le(millis);
        STAMP
    });
}

/// Appends a frame whose record and kind `put` says.
fn put_frame(into: &mut BytesMut, end: bool, put: impl FnOnce(&mut BytesMut) -> u8) {
    let start = into.len();
    into.put_bytes(0, FRAME);
    let kind = put(into);
    // A record is little more than one packet.
    let len = u32::try_from(into.len() - start - FRAME).unwrap_or(u32::MAX);
    seal(&mut into[start..], len, kind | if end { END } else { 0 });
}

fn seal(frame: &mut [u8], len: u32, kind: u8) {
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[8] = kind;
    let sum = checksum(len, &frame[8..]);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
}

fn checksum(len: u32, kind_and_record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len.to_le_bytes());
    hasher.update(kind_and_record);
    hasher.finalize()
}

/// One frame, its checksum tested.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Ends a batch.
    pub end: bool,
    kind: u8,
    record: Bytes,
}

/// What a frame holds.
#[derive(Debug)]
pub enum Entry {
    /// A record of the engine.
    Record(Record),
    /// The time when the frames before it were written, milliseconds since 1970.
    Stamp(u64),
}

impl Frame {
    /// What it holds; `None` if that makes no sense.
    pub fn decode(&self, clock: Clock) -> Option<Entry> {
        if self.kind == STAMP {
            return Some(Entry::Stamp(u64::from_le_bytes(*self.record.first_chunk()?)));
        }
        Some(Entry::Record(record::decode(self.kind, self.record.clone(), clock)?))
    }

    /// The serial, if it is a message.
    pub fn message(&self) -> Option<u64> {
        record::message_serial(self.kind, &self.record)
    }

    /// Appends it as a batch of its own.
    pub fn encode_alone(&self, into: &mut BytesMut) {
        put_frame(into, true, |into| {
            into.put_slice(&self.record);
            self.kind
        });
    }
}

/// Reads frames behind a header.
#[derive(Debug)]
pub struct Frames<R> {
    source: R,
    offset: u64,
    total: u64,
}

/// Why there is no further frame.
#[derive(Debug)]
pub enum Stop {
    /// The file is at fault.
    Fault(Fault),
    /// It cannot be read.
    Io(io::Error),
}

impl<R: Read> Frames<R> {
    /// `source` stands behind the header of a file of `total` bytes.
    pub fn new(source: R, total: u64) -> Self {
        Self { source, offset: HEADER as u64, total }
    }

    /// Where the next frame begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame; `None` at the end of the file.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Stop> {
        let left = self.total.saturating_sub(self.offset);
        if left == 0 {
            return Ok(None);
        }
        let short = Stop::Fault(Fault::Short(self.offset));
        let Some(room) = left.checked_sub(FRAME as u64) else { return Err(short) };
        let mut head = [0; FRAME];
        self.source.read_exact(&mut head).map_err(Stop::Io)?;
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let sum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if u64::from(len) > room {
            return Err(short);
        }
        let mut bytes = BytesMut::zeroed(1 + len as usize);
        bytes[0] = head[8];
        self.source.read_exact(&mut bytes[1..]).map_err(Stop::Io)?;
        if checksum(len, &bytes) != sum {
            return Err(Stop::Fault(Fault::Checksum(self.offset)));
        }
        self.offset += FRAME as u64 + u64::from(len);
        Ok(Some(Frame { end: head[8] & END != 0, kind: head[8] & !END, record: bytes.freeze().slice(1..) }))
    }
}

/// What was read of a file.
#[derive(Debug, Default)]
pub struct Reading {
    /// Where the last whole batch ends, bytes from the start of the file.
    pub end: u64,
    /// Records in whole batches.
    pub records: u64,
    /// The last time stamp.
    pub stamp: u64,
    /// Why not all of it; a batch that is not complete is a fault too.
    pub fault: Option<Fault>,
}

/// Hands all whole batches of a file to `take`, in order, up to its end or its first fault.
pub fn read_batches<R: Read>(
    frames: &mut Frames<R>,
    clock: Clock,
    mut take: impl FnMut(Vec<Record>),
) -> io::Result<Reading> {
    let mut reading = Reading { end: frames.offset(), ..Reading::default() };
    let mut batch = Vec::new();
    loop {
        let at = frames.offset();
        match frames.next_frame() {
            Ok(Some(frame)) => {
                match frame.decode(clock) {
                    Some(Entry::Record(record)) => batch.push(record),
                    Some(Entry::Stamp(millis)) => reading.stamp = reading.stamp.max(millis),
                    None => {
                        reading.fault = Some(Fault::Record(at));
                        return Ok(reading);
                    }
                }
                if frame.end {
                    reading.records += batch.len() as u64;
                    reading.end = frames.offset();
                    take(std::mem::take(&mut batch));
                }
            }
            Ok(None) => {
                reading.fault = (reading.end < at).then_some(Fault::Short(reading.end));
                return Ok(reading);
            }
            Err(Stop::Fault(fault)) => {
                reading.fault = Some(fault);
                return Ok(reading);
            }
            Err(Stop::Io(error)) => return Err(error),
        }
    }
}

/// A whole file at once: its header, its batches, and how far they go.
pub fn decode_all(bytes: &[u8], clock: Clock) -> Result<(Header, Vec<Vec<Record>>, Reading), Fault> {
    let header = Header::decode(bytes)?;
    let mut batches = Vec::new();
    let mut frames = Frames::new(&bytes[HEADER..], bytes.len() as u64);
    let reading = read_batches(&mut frames, clock, |batch| batches.push(batch));
    // A slice can always be read.
    let reading = reading.unwrap_or_default();
    Ok((header, batches, reading))
}

/// What follows the frames at the start that are whole, though their batch is not.
pub fn behind_whole_frames(bytes: &[u8]) -> &[u8] {
    let total = (HEADER + bytes.len()) as u64;
    let mut frames = Frames::new(bytes, total);
    while let Ok(Some(_)) = frames.next_frame() {}
    let at = usize::try_from(frames.offset()).unwrap_or(usize::MAX).saturating_sub(HEADER);
    bytes.get(at..).unwrap_or_default()
}

/// True if a whole frame begins anywhere in what follows a fault: then the file was damaged, and not
/// just cut off when the machine stopped. In doubt (much has to be looked at) that is taken for true.
pub fn resumes(bytes: &[u8]) -> bool {
    if bytes.len() > SEARCH {
        return true;
    }
    let mut work = 0;
    for at in 1..bytes.len().saturating_sub(FRAME - 1) {
        let frame = &bytes[at..];
        let len = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]);
        let Some(body) = frame.get(8..FRAME + len as usize) else { continue };
        if !record::is_kind(body[0] & !END) && body[0] & !END != STAMP {
            continue;
        }
        work += body.len();
        if work > SEARCH || checksum(len, body).to_le_bytes() == frame[4..8] {
            return true;
        }
    }
    false
}
