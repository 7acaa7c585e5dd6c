//! What outlives the broker, on disk: the bytes under damage, and the files through crashes. The
//! broker that begins with them is in `storage_broker.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bytes::BytesMut;
use mqttlab::broker::auth::{Rules, Zone};
use mqttlab::broker::config::{Config, ListenerConfig, SecurityConfig};
use mqttlab::broker::engine::{ConnId, Engine, Kept, Peer, Record};
use mqttlab::broker::storage::format::{self, Clock, Fault, HEADER, Header, Kind};
use mqttlab::broker::storage::log::{Log, Opened, StorageError};
use mqttlab::mqtt::notation::PacketLine;
use mqttlab::mqtt::{Packet, ProtocolVersion};

use crate::support::random::Random;

/// An engine that keeps a journal, driven by lines of packet notation.
pub struct Source {
    engine: Engine,
    now: Instant,
    conns: Vec<(String, ConnId)>,
}

impl Source {
    pub fn new() -> Self {
        let config = Config {
            listeners: vec![ListenerConfig::default()],
            security: vec![SecurityConfig { allow_anonymous: true, ..SecurityConfig::default() }],
            ..Config::default()
        };
        let rules = Rules::new(vec![Zone { allow_anonymous: true, ..Zone::default() }]);
        let now = Instant::now();
        let mut engine = Engine::new(Arc::new(config), Arc::new(rules), 1, now);
        engine.restore(Kept::default(), now);
        Self { engine, now, conns: Vec::new() }
    }

    /// One packet of a client, and the records that it gave rise to.
    pub fn line(&mut self, line: &str) -> Vec<Record> {
        let (name, text) = line.split_once("> ").expect("a line of a script");
        let packet = PacketLine::parse(text).expect("a packet").build(ProtocolVersion::V5).expect("a packet");
        match packet.packet.expect("a sound packet") {
            Packet::Connect(connect) => {
                let conn = self.engine.open(Peer::new(0, None), self.now);
                self.conns.retain(|(other, _)| other != name);
                self.conns.push((name.to_owned(), conn));
                self.engine.handle_connect(conn, *connect, Ok(()), self.now);
            }
            packet => {
                let conn = self.conns.iter().find(|(other, _)| other == name).expect("connected").1;
                self.engine.handle_packet(conn, packet, 9, self.now);
            }
        }
        for (_, conn) in &self.conns {
            while self.engine.take_frames(*conn, usize::MAX, &mut Vec::new(), self.now).more {}
        }
        self.engine.take_records()
    }

    pub fn lines(&mut self, lines: &[&str]) -> Vec<Vec<Record>> {
        lines.iter().map(|line| self.line(line)).filter(|batch| !batch.is_empty()).collect()
    }
}

/// Gives rise to every kind of record.
const EVERYTHING: &[&str] = &[
    "a> CONNECT client=a user=alice session_expiry=100 will.topic=gone will.payload=x will.delay=30 will.qos=1",
    "a> SUBSCRIBE t/# qos=2 rap id=1 subscription_identifier=7",
    "a> SUBSCRIBE $share/g/s qos=1 id=2",
    "a> UNSUBSCRIBE $share/g/s id=3",
    "p> CONNECT client=p session_expiry=4294967295 will.topic=gone will.payload=y",
    "p> PUBLISH t/1 \"one\" qos=1 id=1 retain message_expiry_interval=60 user.k=v",
    "p> PUBLISH t/2 \"two\" qos=2 id=2",
    "p> PUBLISH t/3 \"three\" qos=2 id=3",
    "p> PUBREL id=2",
    "a> PUBACK id=1",
    "a> PUBREC id=2",
    "a> PUBCOMP id=2",
    "a> PUBREC id=3",
    "a> DISCONNECT 0x04",
    "p> PUBLISH t/4 \"waits\" qos=1 id=4",
    "p> PUBLISH t/1 \"\" retain",
    "p> PUBLISH r \"stays\" retain",
    "p> DISCONNECT session_expiry=0",
    "a> CONNECT client=a user=alice session_expiry=100",
    "a> PUBACK id=1",
];

fn clock(now: Instant) -> Clock {
    Clock::new(now, 1_800_000_000_000)
}

/// The bytes of a segment with these batches, and where each batch ends.
fn encode(batches: &[Vec<Record>], clock: Clock) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = BytesMut::from(&Header { kind: Kind::Segment, number: 1 }.encode()[..]);
    let mut ends = vec![HEADER];
    for batch in batches {
        format::encode_batch(batch, clock, &mut bytes);
        ends.push(bytes.len());
    }
    (bytes.to_vec(), ends)
}

fn sample() -> (Clock, Vec<u8>, Vec<usize>) {
    let mut source = Source::new();
    let batches = source.lines(EVERYTHING);
    let kinds: std::collections::BTreeSet<String> = batches
        .iter()
        .flatten()
        .map(|record| format!("{record:?}").chars().take_while(char::is_ascii_alphabetic).collect())
        .collect();
    assert_eq!(kinds.len(), 17, "one of each kind: {kinds:?}");
    let clock = clock(source.now);
    let (bytes, ends) = encode(&batches, clock);
    (clock, bytes, ends)
}

#[test]
fn what_is_written_is_read() {
    let (clock, bytes, ends) = sample();
    let (header, batches, reading) = format::decode_all(&bytes, clock).expect("our own file");
    assert_eq!(header, Header { kind: Kind::Segment, number: 1 });
    assert_eq!((reading.fault, reading.end), (None, bytes.len() as u64));
    assert_eq!(encode(&batches, clock), (bytes, ends));
}

/// Nothing but whole batches from the start is ever taken for good, wherever the file was cut off.
#[test]
fn a_file_cut_off_anywhere_is_a_prefix() {
    let (clock, bytes, ends) = sample();
    for cut in 0..bytes.len() {
        let Ok((_, batches, reading)) = format::decode_all(&bytes[..cut], clock) else {
            assert!(cut < HEADER);
            continue;
        };
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(batches.len(), whole, "cut at {cut}");
        assert_eq!(encode(&batches, clock).0, bytes[..ends[whole]], "cut at {cut}");
        assert_eq!(reading.end, ends[whole] as u64);
        assert_eq!(reading.fault.is_some(), cut != ends[whole], "cut at {cut}: {:?}", reading.fault);
        let rest = &bytes[ends[whole]..cut];
        assert!(!format::resumes(format::behind_whole_frames(rest)), "cut at {cut}: not torn");
    }
}

/// … and whichever bit is flipped; and it is seen that there was more behind it.
#[test]
fn a_file_with_a_flipped_bit_is_a_prefix() {
    let (clock, bytes, ends) = sample();
    let mut random = Random(1);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << random.below(8);
        let Ok((_, batches, reading)) = format::decode_all(&damaged, clock) else {
            assert!(at < HEADER, "at {at}");
            continue;
        };
        let whole = ends.iter().filter(|end| **end <= at).count() - 1;
        assert_eq!(batches.len(), whole, "flipped at {at}");
        assert_eq!(encode(&batches, clock).0, bytes[..ends[whole]], "flipped at {at}");
        assert!(reading.fault.is_some(), "flipped at {at}");
        let resumes = format::resumes(format::behind_whole_frames(&damaged[ends[whole]..]));
        let is_last = whole + 2 == ends.len();
        assert!(resumes || is_last, "flipped at {at}: taken for a torn end");
    }
}

#[test]
fn noise_is_refused_and_lengths_are_not_believed() {
    let mut random = Random(3);
    let (clock, bytes, _) = sample();
    for _ in 0..20_000 {
        let mut noise = bytes[..HEADER].to_vec();
        noise.extend(random.bytes(60));
        let (_, batches, _) = format::decode_all(&noise, clock).expect("the header is good");
        assert!(batches.is_empty());
        let _ = format::resumes(&noise);
    }
    let mut huge = bytes[..HEADER].to_vec();
    huge.extend([0xff; 40]);
    let (_, _, reading) = format::decode_all(&huge, clock).expect("the header is good");
    assert_eq!(reading.fault, Some(Fault::Short(HEADER as u64)));
    assert_eq!(Header::decode(b"\x00\xb5\x00mosquitto db\0\0\0\0\0\0\0\0\0\0\0"), Err(Fault::Mosquitto));
    assert_eq!(Header::decode(b"SQLite format 3\0\x10\0\x02\x02\0\x40\x20\x20"), Err(Fault::Foreign));
}

/// Time that passed while the broker was down counts; a clock that went back takes nothing.
#[test]
fn instants_survive_on_the_wall_clock() {
    let now = Instant::now();
    let second = std::time::Duration::from_secs(1);
    let written = Clock::new(now, 5_000_000).to_millis(now + 100 * second);
    let later = Clock::new(now, 5_060_000);
    assert_eq!(later.to_instant(written), now + 40 * second);
    assert_eq!(Clock::new(now, 9_000_000).to_instant(written), now, "it has passed");
    let far = later.to_instant(u64::MAX);
    assert!(far > now && later.to_millis(far) > 5_060_000);
}

/// What a log holds, in words that can be compared.
fn state(opened: &Opened) -> Vec<String> {
    let messages = opened.kept.all_messages().map(|message| format!("{:?}", message.to_journal()));
    messages.chain(opened.kept.records().map(|record| format!("{record:?}"))).collect()
}

fn open(folder: &Path, clock: Clock) -> Opened {
    Log::open(&folder.join("mosquitto.db"), clock, "now").expect("can be opened")
}

fn append(log: &mut Log, batches: &[Vec<Record>], clock: Clock) {
    let mut bytes = BytesMut::new();
    for batch in batches {
        format::encode_batch(batch, clock, &mut bytes);
    }
    log.append(&bytes).expect("written");
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// All files of a folder, to be put back.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a folder");
    for name in names(from) {
        fs::copy(from.join(&name), to.path().join(&name)).expect("copied");
    }
    to
}

/// The power fails at every step of a compaction: the state is the same after each.
#[test]
fn a_compaction_can_be_cut_off_anywhere() {
    let mut source = Source::new();
    let clock = clock(source.now);
    let folder = tempfile::tempdir().expect("a folder");
    let mut steps = Vec::new();
    let mut log = open(folder.path(), clock).log;
    append(&mut log, &source.lines(EVERYTHING), clock);
    for _ in 0..3 {
        // Two segments that are full, so that there is something to merge and to remove.
        for _ in 0..40 {
            append(
                &mut log,
                &source.lines(&["p> CONNECT client=p", "p> PUBLISH t/1 \"x\" qos=1 id=1"]),
                clock,
            );
        }
        let compaction = log.rotate().expect("a new segment");
        append(&mut log, &source.lines(&["p> PUBLISH t/2 \"last\" qos=1 id=9 retain"]), clock);
        let before = copy(folder.path());
        let bytes = compaction.run(clock, &AtomicBool::new(false)).expect("compacted");
        log.compacted(bytes);
        let after = copy(folder.path());
        let (old, live) = (names(before.path()), names(after.path()));
        assert!(old.iter().any(|name| !live.contains(name)), "{old:?} {live:?}");
        // A base that was being written, and one that has its name while the segments are still there.
        let writing = copy(before.path());
        let whole = fs::read(after.path().join("mosquitto.db")).expect("the base");
        fs::write(writing.path().join("mosquitto.db.tmp"), &whole[..whole.len() / 2]).expect("written");
        let named = copy(before.path());
        fs::write(named.path().join("mosquitto.db"), &whole).expect("written");
        steps.push([before, writing, named, after]);
    }
    drop(log);
    for states in steps {
        let read = states.map(|folder| {
            let opened = open(folder.path(), clock);
            assert_eq!(opened.troubles, Vec::<String>::new());
            let state = state(&opened);
            drop(opened);
            // Once more, as the first opening tidies up.
            assert_eq!(crate::storage::state(&open(folder.path(), clock)), state);
            state
        });
        assert!(!read[0].is_empty());
        assert_eq!(read[0], read[1]);
        assert_eq!(read[0], read[2]);
        assert_eq!(read[0], read[3]);
    }
    let small: u64 = names(folder.path())
        .iter()
        .map(|name| fs::metadata(folder.path().join(name)).expect("there").len())
        .sum();
    assert!(small < 20_000, "{small} bytes are left");
}

/// A broker that is killed before each compaction ends does not fill the disk.
#[test]
fn a_long_log_is_compacted_at_the_start() {
    let mut source = Source::new();
    let clock = clock(source.now);
    let folder = tempfile::tempdir().expect("a folder");
    let mut log = open(folder.path(), clock).log;
    append(&mut log, &source.lines(EVERYTHING), clock);
    let payload = "x".repeat(1 << 16);
    source.line("p> CONNECT client=p session_expiry=9");
    for _ in 0..300 {
        let records = source.line(&format!("p> PUBLISH big \"{payload}\" retain"));
        append(&mut log, &[records], clock);
    }
    drop(log);
    let opened = open(folder.path(), clock);
    let before = state(&opened);
    drop(opened);
    let bytes: u64 = names(folder.path())
        .iter()
        .map(|name| fs::metadata(folder.path().join(name)).expect("there").len())
        .sum();
    assert!(bytes < 1 << 20, "{bytes} bytes are left");
    assert_eq!(state(&open(folder.path(), clock)), before);
}

#[test]
fn a_cancelled_compaction_changes_nothing() {
    let mut source = Source::new();
    let clock = clock(source.now);
    let folder = tempfile::tempdir().expect("a folder");
    let mut log = open(folder.path(), clock).log;
    append(&mut log, &source.lines(EVERYTHING), clock);
    let compaction = log.rotate().expect("a new segment");
    assert!(compaction.run(clock, &AtomicBool::new(true)).is_err());
    drop(log);
    let there = names(folder.path());
    assert_eq!(there, ["mosquitto.db.1", "mosquitto.db.2", "mosquitto.db.lock", "mosquitto.db.tmp"]);
    assert_eq!(open(folder.path(), clock).kept.sessions(), 1);
}

/// A log of two segments and a base, and what it holds.
fn three_files(folder: &Path) -> (Clock, Vec<String>) {
    let mut source = Source::new();
    let clock = clock(source.now);
    let mut log = open(folder, clock).log;
    append(&mut log, &source.lines(EVERYTHING), clock);
    let compaction = log.rotate().expect("a new segment");
    compaction.run(clock, &AtomicBool::new(false)).expect("compacted");
    append(&mut log, &source.lines(&["p> CONNECT client=q session_expiry=9"]), clock);
    log.rotate().expect("a new segment");
    append(&mut log, &source.lines(&["p> SUBSCRIBE x qos=1 id=1"]), clock);
    append(&mut log, &source.lines(&["p> SUBSCRIBE y qos=1 id=1"]), clock);
    drop(log);
    (clock, names(folder))
}

#[test]
fn a_damaged_file_is_set_aside_and_what_stands_before_is_used() {
    for (file, clients, subscriptions) in
        [("mosquitto.db", 0, 0), ("mosquitto.db.2", 1, 1), ("mosquitto.db.3", 2, 1)]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let (clock, _) = three_files(folder.path());
        let path = folder.path().join(file);
        let mut bytes = fs::read(&path).expect("there");
        // In the first record; others are behind it.
        bytes[HEADER + 10] ^= 0x10;
        fs::write(&path, &bytes).expect("written");
        let opened = open(folder.path(), clock);
        assert_eq!(opened.troubles.len(), 2, "{:?}", opened.troubles);
        assert_eq!((opened.kept.sessions(), opened.kept.subscriptions()), (clients, subscriptions), "{file}");
        let aside = folder.path().join(format!("{file}.damaged-now"));
        assert_eq!(fs::read(aside).expect("set aside"), bytes);
        let rescued = state(&opened);
        drop(opened);
        let again = open(folder.path(), clock);
        assert_eq!((again.troubles.len(), state(&again)), (0, rescued), "{file}: what was rescued stays");
    }
}

#[test]
fn a_torn_end_is_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let (clock, before) = three_files(folder.path());
    let path = folder.path().join("mosquitto.db.3");
    let whole = fs::read(&path).expect("there");
    fs::write(&path, &whole[..whole.len() - 3]).expect("written");
    let opened = open(folder.path(), clock);
    assert_eq!(opened.troubles.len(), 1, "{:?}", opened.troubles);
    assert!(opened.troubles[0].contains("cut off"), "{:?}", opened.troubles);
    assert_eq!((opened.kept.sessions(), opened.kept.subscriptions()), (2, 2));
    drop(opened);
    assert_eq!(open(folder.path(), clock).troubles, Vec::<String>::new());
    assert_eq!(names(folder.path()), before);
}

#[test]
fn a_gap_between_segments_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let (clock, _) = three_files(folder.path());
    fs::remove_file(folder.path().join("mosquitto.db.2")).expect("removed");
    let opened = open(folder.path(), clock);
    assert_eq!(opened.kept.sessions(), 1);
    assert!(!opened.troubles.is_empty());
    assert!(names(folder.path()).contains(&"mosquitto.db.3.damaged-now".to_owned()));
}

#[test]
fn a_file_of_somebody_else_is_kept() {
    let cases: [(&[u8], &str); 3] = [
        (b"\x00\xb5\x00mosquitto db\0\0\0\0\0\0\0\0\x06", "mosquitto"),
        (b"hello", "foreign"),
        (
            &{
                let mut header = Header { kind: Kind::Base, number: 0 }.encode();
                header[8] = 9;
                let sum = crc32(&header[..20]);
                header[20..].copy_from_slice(&sum.to_le_bytes());
                header
            },
            "newer",
        ),
    ];
    for (bytes, why) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mosquitto.db");
        fs::write(&path, bytes).expect("written");
        let now = Instant::now();
        let opened = open(folder.path(), clock(now));
        assert_eq!(opened.kept.sessions(), 0);
        assert_eq!(opened.troubles.len(), 2);
        let aside = folder.path().join(format!("mosquitto.db.{why}-now"));
        assert_eq!(fs::read(aside).expect("set aside"), bytes);
        drop(opened);
        assert_eq!(open(folder.path(), clock(now)).troubles, Vec::<String>::new());
    }
}

/// As the file has it, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

#[test]
fn a_file_has_one_broker_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join("mosquitto.db");
    let clock = clock(Instant::now());
    let first = Log::open(&path, clock, "now").expect("free");
    assert!(matches!(Log::open(&path, clock, "now"), Err(StorageError::InUse(_))));
    drop(first);
    Log::open(&path, clock, "now").expect("free again");
    let missing = folder.path().join("missing/mosquitto.db");
    assert!(matches!(Log::open(&missing, clock, "now"), Err(StorageError::Io { .. })));
}
