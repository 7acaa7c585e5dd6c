//! The codec against bytes that it did not write: hex vectors made from the text of the standard,
//! and the public codec of rumqttc.
//!
//! A line of `fixtures/packets/*.txt` is
//! `VERSIONS | WHO | HEX | EXPECTATION | STATEMENTS`, apart from comments (`#`) and empty lines.
//!
//! - VERSIONS: one or more of `3.1`, `3.1.1`, `5`, with commas; each is a case.
//! - WHO: `first` are the first bytes that a server gets, which does not know the revision yet;
//!   `any` is a decoder that knows it.
//! - EXPECTATION: a packet line that says all that is in the packet, and is encoded to the same
//!   bytes; `~ ` before it where other bytes than ours say the same; `error KIND CODE` with a
//!   `DecodeErrorKind` and the reason code of 5.0 that tells the peer; or `more` for a beginning.
//! - STATEMENTS: what the vector is about; an error names one of them (none in 3.1, whose rules
//!   have no ids).

use std::collections::BTreeSet;
use std::path::Path;

use bytes::BytesMut;
use mqttlab::mqtt::codec::{DecodeError, DecodeErrorKind, Decoder, Limits, encode, encoded_len};
use mqttlab::mqtt::notation::{PacketLine, print};
use mqttlab::mqtt::{Packet, ProtocolVersion};
use mqttlab::text::parse_hex;

/// One case of a vector file.
struct Vector {
    /// File and line.
    at: String,
    version: ProtocolVersion,
    first: bool,
    bytes: Vec<u8>,
    expectation: String,
    statements: Vec<String>,
}

impl Vector {
    fn decoder(&self) -> Decoder {
        if self.first {
            Decoder::server(Limits::default())
        } else {
            Decoder::client(self.version, Limits::default())
        }
    }

    fn decode(&self) -> Result<Option<(Packet, usize)>, DecodeError> {
        self.decoder().decode(&mut BytesMut::from(&self.bytes[..]))
    }

    /// The packet of an expectation that is no error.
    fn line(&self) -> Option<(&str, bool)> {
        match self.expectation.as_str() {
            "more" => None,
            text if text.starts_with("error ") => None,
            text => Some(text.strip_prefix("~ ").map_or((text, true), |text| (text, false))),
        }
    }
}

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"))
}

fn vectors() -> Vec<Vector> {
    let mut files: Vec<_> = std::fs::read_dir(fixtures().join("packets"))
        .expect("fixtures/packets")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let mut vectors = vec![];
    for path in files {
        let text = std::fs::read_to_string(&path).expect("text");
        for (number, line) in text.lines().enumerate() {
            let at = format!("{}:{}", path.display(), number + 1);
            if !line.is_empty() && !line.starts_with('#') {
                vectors.extend(cases(line, &at));
            }
        }
    }
    vectors
}

fn cases(line: &str, at: &str) -> Vec<Vector> {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let [versions, who, hex, expectation, statements] = columns[..] else {
        panic!("{at}: five columns");
    };
    assert!(matches!(who, "first" | "any"), "{at}: {who}");
    versions
        .split(',')
        .map(|version| Vector {
            at: at.to_owned(),
            version: ProtocolVersion::parse(version).unwrap_or_else(|| panic!("{at}: {version}")),
            first: who == "first",
            bytes: parse_hex(hex).unwrap_or_else(|| panic!("{at}: {hex}")),
            expectation: expectation.to_owned(),
            statements: statements.split_whitespace().map(str::to_owned).collect(),
        })
        .collect()
}

/// The packet that a line describes.
fn packet_of(line: &str, version: ProtocolVersion) -> Result<Packet, String> {
    let raw = PacketLine::parse(line)
        .and_then(|parsed| parsed.build(version))
        .map_err(|error| format!("{line}: {error} {:?}", error.help))?;
    raw.packet.ok_or_else(|| format!("{line} is not well-formed"))
}

fn check(vector: &Vector) -> Result<(), String> {
    let got = vector.decode();
    match (vector.line(), got) {
        (Some((line, ours)), Ok(Some((packet, len)))) => {
            if len != vector.bytes.len() {
                return Err(format!("takes {len} bytes"));
            }
            let shown = print(&packet, vector.version);
            let parsed = PacketLine::parse(line).map_err(|error| error.to_string())?;
            parsed.matches(&packet).map_err(|mismatch| format!("{shown}: {mismatch:?}"))?;
            if ours && packet_of(line, vector.version)? != packet {
                return Err(format!("the line says less than {shown}"));
            }
            let mut bytes = BytesMut::new();
            encode(&packet, vector.version, &mut bytes);
            if bytes.len() != encoded_len(&packet, vector.version) {
                return Err("encoded_len is wrong".to_owned());
            }
            if ours != (bytes == vector.bytes[..]) {
                return Err(format!("we write {}", mqttlab::text::hex(&bytes)));
            }
            Ok(())
        }
        (None, Ok(None)) if vector.expectation == "more" => Ok(()),
        (None, Err(error)) => check_error(vector, &error),
        (_, got) => Err(format!("got {got:?}")),
    }
}

fn check_error(vector: &Vector, error: &DecodeError) -> Result<(), String> {
    let got = format!("error {:?} {}", error.kind, error.reason());
    if got != vector.expectation {
        return Err(format!("got {got}: {error}"));
    }
    if vector.version == ProtocolVersion::V31 {
        return Ok(());
    }
    match error.statement {
        Some(id) if vector.statements.iter().any(|known| known == id) => Ok(()),
        id => Err(format!("names {id:?}: {error}")),
    }
}

/// Fails with everything that is wrong, and not only with the first.
fn all(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_vector_decodes_as_it_says() {
    let vectors = vectors();
    assert!(vectors.len() > 450, "{} vectors", vectors.len());
    let problems: Vec<String> = vectors
        .iter()
        .filter_map(|vector| {
            let problem = check(vector).err()?;
            Some(format!("{} ({}) wants {}: {problem}", vector.at, vector.version, vector.expectation))
        })
        .collect();
    all(&problems);
}

#[test]
fn a_beginning_is_never_an_error_and_a_wrong_packet_is_wrong_byte_by_byte() {
    let mut problems = vec![];
    for vector in vectors() {
        let mut decoder = vector.decoder();
        let mut buffer = BytesMut::new();
        let mut result = Ok(None);
        for (at, byte) in vector.bytes.iter().enumerate() {
            buffer.extend_from_slice(&[*byte]);
            result = decoder.decode(&mut buffer);
            let last = at + 1 == vector.bytes.len();
            match &result {
                Ok(None) => {}
                Err(_) if vector.line().is_none() => break,
                _ if last => {}
                early => problems.push(format!("{}: {early:?} after {} bytes", vector.at, at + 1)),
            }
        }
        if result != vector.decode() {
            problems.push(format!("{}: {result:?} byte by byte", vector.at));
        }
    }
    all(&problems);
}

#[test]
fn cited_statements_are_in_the_catalogue_of_their_version() {
    let ids = |file: &str| -> BTreeSet<String> {
        let text = std::fs::read_to_string(fixtures().join("statements").join(file)).expect("a catalogue");
        text.lines().skip(1).filter_map(|line| Some(line.split_once(',')?.0.to_owned())).collect()
    };
    let (old, new, loose) = (ids("mqtt311.csv"), ids("mqtt5.csv"), ids("unnumbered.csv"));
    let mut problems = vec![];
    let versions_of_line: Vec<Vector> = vectors();
    for vector in &versions_of_line {
        let id_of_some_version = |id: &String| {
            let others = versions_of_line.iter().filter(|other| other.at == vector.at);
            others.into_iter().any(|other| match other.version {
                ProtocolVersion::V5 => new.contains(id) || (id.starts_with("U5-") && loose.contains(id)),
                _ => old.contains(id) || (id.starts_with("U311-") && loose.contains(id)),
            })
        };
        for id in vector.statements.iter().filter(|id| !id_of_some_version(id)) {
            problems.push(format!("{}: {id} is no statement of {}", vector.at, vector.version));
        }
    }
    all(&problems);
}

#[test]
fn every_kind_of_error_has_a_vector() {
    let seen: BTreeSet<String> = vectors()
        .iter()
        .filter_map(|vector| Some(vector.expectation.strip_prefix("error ")?.split_once(' ')?.0.to_owned()))
        .collect();
    // What is too large depends on the limit, and has a test of its own.
    let missing: Vec<_> = DecodeErrorKind::ALL
        .iter()
        .filter(|kind| **kind != DecodeErrorKind::TooLarge && !seen.contains(&format!("{kind:?}")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_packet_above_the_limit_is_refused_from_its_header() {
    let mut decoder = Decoder::client(ProtocolVersion::V5, Limits { max_packet_size: 100 });
    let header = |remaining: u8| BytesMut::from(&[0x30, remaining][..]);
    assert_eq!(decoder.decode(&mut header(98)), Ok(None));
    let error = decoder.decode(&mut header(99)).expect_err("101 bytes");
    assert_eq!(error.kind, DecodeErrorKind::TooLarge);
    assert_eq!(error.reason().0, 0x95);
    decoder.set_limits(Limits { max_packet_size: 101 });
    assert_eq!(decoder.decode(&mut header(99)), Ok(None));
    // Before CONNECT as well.
    let mut decoder = Decoder::server(Limits { max_packet_size: 100 });
    let mut huge = BytesMut::from(&[0x10, 0xff, 0xff, 0xff, 0x7f][..]);
    assert_eq!(decoder.decode(&mut huge).expect_err("256 MiB").kind, DecodeErrorKind::TooLarge);
}

#[test]
fn payloads_and_strings_are_slices_of_what_was_read() {
    let bytes = parse_hex("30 07 00 03 61 2f 62 78 79").expect("hex");
    let mut buffer = BytesMut::from(&bytes[..]);
    let range = buffer.as_ptr_range();
    let mut decoder = Decoder::client(ProtocolVersion::V311, Limits::default());
    let Ok(Some((Packet::Publish(publish), _))) = decoder.decode(&mut buffer) else { panic!("a PUBLISH") };
    assert!(range.contains(&publish.payload.as_ptr()));
    assert!(range.contains(&publish.topic.as_str().as_ptr()));
}

#[test]
fn a_server_learns_the_revision_from_the_first_connect_only() {
    let mut decoder = Decoder::server(Limits::default());
    let first = packet_of("CONNECT clean", ProtocolVersion::V311).expect("well-formed");
    let second = packet_of("CONNECT clean", ProtocolVersion::V5).expect("well-formed");
    let mut buffer = BytesMut::new();
    encode(&first, ProtocolVersion::V311, &mut buffer);
    encode(&second, ProtocolVersion::V311, &mut buffer);
    assert_eq!(decoder.version(), None);
    for packet in [first, second] {
        assert_eq!(decoder.decode(&mut buffer).map(|got| got.map(|(packet, _)| packet)), Ok(Some(packet)));
        assert_eq!(decoder.version(), Some(ProtocolVersion::V311));
    }
}

/// Lines that both codecs can say. Each goes out through ours, in and out through rumqttc's, and
/// in through ours again.
const BOTH: &[&str] = &[
    "CONNECT clean client=c keepalive=10 user=u password=p",
    "CONNECT clean client=c keepalive=10 will.topic=w will.payload=\"bye\" will.qos=1 will.retain",
    "CONNACK 0 session_present",
    "PUBLISH a/b \"21.5\"",
    "PUBLISH a/b \"21.5\" qos=1 id=10 dup retain",
    "PUBLISH a/b hex:00ff qos=2 id=65535",
    "PUBACK id=1",
    "PUBREC id=258",
    "PUBREL id=3",
    "PUBCOMP id=4",
    "SUBSCRIBE a/# qos=1 b/+/c qos=2 id=9",
    "SUBACK id=9 1 2 0x80",
    "UNSUBSCRIBE a/# b id=11",
    "PINGREQ",
    "PINGRESP",
];

/// What only 5.0 has.
const BOTH_V5: &[&str] = &[
    "CONNECT clean client=c keepalive=10 session_expiry=60 receive_maximum=5 maximum_packet_size=100 topic_alias_maximum=7",
    "CONNECT clean client=c keepalive=10 user.a=1 user.a=2 method=m data=d will.topic=w will.payload=\"x\" will.delay=5",
    "CONNACK 0x87 reason_string=no user.a=b",
    "CONNACK 0 receive_maximum=5 maximum_qos=1 retain_available=0 server_keepalive=30 assigned_client_id=x",
    "PUBLISH a \"x\" qos=1 id=1 message_expiry=60 content_type=text/plain response_topic=r correlation_data=hex:00ff user.a=b",
    "PUBLISH a \"x\" subscription_id=1 subscription_id=300",
    "PUBLISH topic=\"\" \"x\" topic_alias=3",
    "PUBACK id=1 reason=0x10",
    "PUBREC id=1 reason=0x97",
    "SUBSCRIBE a qos=1 no_local rap rh=1 b qos=2 rh=2 id=9",
    "SUBSCRIBE a qos=1 id=9 subscription_id=16383",
    "UNSUBACK id=11 0 0x11",
    // rumqttc does not read the short forms of DISCONNECT that 3.14.2.1 allows.
    "DISCONNECT 0x04 user.a=b",
];

/// The words of a line in some order: rumqttc keeps properties by kind, not as they came.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    words.sort();
    words
}

fn through_rumqttc(bytes: &mut BytesMut, version: ProtocolVersion) -> Result<BytesMut, String> {
    let mut out = BytesMut::new();
    if version.is_v5() {
        use rumqttc::v5::mqttbytes::v5::Packet;
        let packet = Packet::read(bytes, None).map_err(|error| format!("does not read: {error:?}"))?;
        packet.write(&mut out, None).map_err(|error| format!("does not write: {error:?}"))?;
    } else {
        use rumqttc::mqttbytes::v4::Packet;
        let packet = Packet::read(bytes, 1000).map_err(|error| format!("does not read: {error:?}"))?;
        packet.write(&mut out, 1000).map_err(|error| format!("does not write: {error:?}"))?;
    }
    Ok(out)
}

#[test]
fn rumqttc_reads_what_we_write_and_we_read_what_it_writes() {
    let old = BOTH.iter().map(|line| (ProtocolVersion::V311, *line));
    let new = BOTH.iter().chain(BOTH_V5).map(|line| (ProtocolVersion::V5, *line));
    let mut problems = vec![];
    for (version, line) in old.chain(new) {
        let packet = packet_of(line, version).expect("well-formed");
        let mut bytes = BytesMut::new();
        encode(&packet, version, &mut bytes);
        let back = through_rumqttc(&mut bytes, version).and_then(|mut back| {
            let got = Decoder::client(version, Limits::default()).decode(&mut back);
            let (packet, _) = got.map_err(|error| error.to_string())?.ok_or("too short")?;
            Ok(print(&packet, version))
        });
        let wanted = print(&packet, version);
        if back.as_deref().map(words) != Ok(words(&wanted)) {
            problems.push(format!("{version} {wanted}: {back:?}"));
        }
    }
    all(&problems);
}
