//! Any bytes as a persistence file, and as the records of one whose checksums are right: none makes
//! the reader panic, nor the engine that begins with what they say. An input is a list of records:
//! the kind (bit 7 ends a batch), the length, and so many bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mqttlab::broker::auth::{Rules, Zone};
use mqttlab::broker::config::{Config, ListenerConfig, SecurityConfig};
use mqttlab::broker::engine::{Engine, Kept, Peer};
use mqttlab::broker::storage::format::{self, Clock, HEADER, Header, Kind};
use mqttlab::mqtt::ProtocolVersion;
use mqttlab::mqtt::packet::Connect;

/// Runs one input.
pub fn run(data: &[u8]) {
    let now = Instant::now();
    let clock = Clock::new(now, 1_800_000_000_000);
    let _ = format::decode_all(data, clock);
    let _ = format::resumes(data);

    let mut file = Header { kind: Kind::Segment, number: 1 }.encode().to_vec();
    let mut rest = data;
    while let [kind, len, more @ ..] = rest {
        let (record, behind) = more.split_at(more.len().min(usize::from(*len)));
        seal(*kind, record, &mut file);
        rest = behind;
    }
    let (_, batches, reading) = format::decode_all(&file, clock).expect("the header is good");
    assert!(reading.end >= HEADER as u64 && reading.end <= file.len() as u64);
    let mut kept = Kept::default();
    for batch in batches {
        kept.apply(batch);
    }
    begin(kept, now);
}

/// A frame whose checksum is right.
fn seal(kind: u8, record: &[u8], into: &mut Vec<u8>) {
    let len = u32::try_from(record.len()).expect("at most 255").to_le_bytes();
    let sum = crc32(&[&len[..], &[kind], record].concat());
    into.extend([&len[..], &sum.to_le_bytes(), &[kind], record].concat());
}

/// As the file has it, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

/// An engine that begins with it, whose clients come back and whose timers all fire.
fn begin(kept: Kept, now: Instant) {
    let config = Config {
        listeners: vec![ListenerConfig::default()],
        security: vec![SecurityConfig { allow_anonymous: true, ..SecurityConfig::default() }],
        ..Config::default()
    };
    let rules = Rules::new(vec![Zone { allow_anonymous: true, ..Zone::default() }]);
    let mut engine = Engine::new(Arc::new(config), Arc::new(rules), 1, now);
    engine.restore(kept, now);
    for client_id in ["a", "p"] {
        let conn = engine.open(Peer::new(0, None), now);
        let version = ProtocolVersion::V5;
        let connect = Connect { version, client_id: client_id.into(), ..Connect::default() };
        engine.handle_connect(conn, connect, Ok(()), now);
        while engine.take_frames(conn, usize::MAX, &mut Vec::new(), now).more {}
    }
    let end = now + Duration::from_secs(1 << 20);
    while engine.poll_timeout().is_some_and(|due| due <= end) {
        engine.handle_timeout(end);
    }
    let mut again = Kept::default();
    again.apply(engine.take_records());
}
