//! Tables that the standards spell out, gone through whole: connect flags, fixed-header flags,
//! which property may stand where and how often, reason codes, strings of every field, packets cut
//! at every byte. The tables are written down here once more, from the standards, so that a slip in
//! the codec's own is seen. What the engine does with an error is shown in `fixtures/engine`.

use bytes::BytesMut;
use mqttlab::mqtt::codec::{DecodeError, DecodeErrorKind as Kind, Decoder, Limits};
use mqttlab::mqtt::packet::PacketType;
use mqttlab::mqtt::{Packet, ProtocolVersion, QoS};

use ProtocolVersion::{V5, V31, V311};

/// A packet from its first byte and what follows the Remaining Length.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut len = body.len();
    loop {
        let more = len > 0x7f;
        bytes.push(u8::try_from(len & 0x7f).expect("7 bits") | if more { 0x80 } else { 0 });
        len >>= 7;
        if !more {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// Two bytes of length, and the bytes.
fn field(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("a short field");
    [&len.to_be_bytes(), bytes].concat()
}

/// What a server makes of bytes; a CONNECT decides for itself which version it is.
fn decode(version: ProtocolVersion, bytes: &[u8]) -> Result<Option<Packet>, DecodeError> {
    let mut decoder = match bytes.first() {
        Some(first) if first >> 4 == 1 => Decoder::server(Limits::default()),
        _ => Decoder::client(version, Limits::default()),
    };
    let mut buffer = BytesMut::from(bytes);
    let found = decoder.decode(&mut buffer)?;
    assert!(found.is_none() || buffer.is_empty(), "a packet is taken whole");
    Ok(found.map(|(packet, _)| packet))
}

fn connect(version: ProtocolVersion, flags: u8, payload: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    let name = field(version.protocol_name().as_bytes());
    let body = [&name[..], &[version.level(), flags, 0, 60], properties, payload].concat();
    packet(0x10, &body)
}

/// [MQTT-3.1.2-3], [MQTT-3.1.2-9] 5: [MQTT-3.1.2-3], [U5-3.1.2-1], [U5-3.1.2-2]
#[test]
fn connect_flags() {
    for version in ProtocolVersion::ALL {
        for flags in 0..=255_u8 {
            let has = |bit: u8| flags & bit != 0;
            let (will, qos, retain) = (has(0x04), flags >> 3 & 3, has(0x20));
            let (password, username) = (has(0x40), has(0x80));
            let mut payload = field(b"c");
            if will {
                payload.extend_from_slice(if version == V5 { &[0] } else { &[] });
                payload.extend([field(b"w"), field(b"gone")].concat());
            }
            payload.extend(if username { field(b"u") } else { Vec::new() });
            payload.extend(if password { field(b"p") } else { Vec::new() });
            // 3.1 has no rule for bits that say nothing.
            let strict = version != V31;
            let is_wrong = strict && has(0x01)
                || will && qos == 3
                || strict && !will && (qos != 0 || retain)
                || version != V5 && password && !username;
            let found = decode(version, &connect(version, flags, &payload));
            match (is_wrong, found) {
                (true, Err(error)) => {
                    assert_eq!((error.kind, error.reason().0), (Kind::BadConnectFlags, 0x81));
                }
                (false, Ok(Some(Packet::Connect(connect)))) => {
                    assert_eq!(connect.version, version);
                    assert_eq!(connect.clean_start, has(0x02));
                    assert_eq!(connect.username.is_some(), username);
                    assert_eq!(connect.password.is_some(), password);
                    let found = connect.will.map(|will| (will.qos.as_u8(), will.retain));
                    assert_eq!(found, will.then_some((qos, retain)), "{version} {flags:08b}");
                }
                (_, found) => panic!("{version} {flags:08b}: {found:?}"),
            }
        }
    }
}

/// A good body of every packet that a client may send, and of those that it may not.
fn body(kind: PacketType, version: ProtocolVersion, properties: &[u8]) -> Vec<u8> {
    use PacketType as T;
    let length = u8::try_from(properties.len()).expect("short");
    let properties = if version == V5 { [&[length], properties].concat() } else { Vec::new() };
    let reason = |code: u8| if version == V5 { [&[code][..], &properties].concat() } else { Vec::new() };
    match kind {
        T::Connect => {
            let name = field(version.protocol_name().as_bytes());
            [&name[..], &[version.level(), 2, 0, 60], &properties, &field(b"c")].concat()
        }
        T::ConnAck => [&[0, 0], &properties[..]].concat(),
        T::Publish => [&field(b"t")[..], &properties, b"x"].concat(),
        T::PubAck | T::PubRec | T::PubRel | T::PubComp => [&[0, 1], &reason(0)[..]].concat(),
        T::Subscribe => [&[0, 1], &properties[..], &field(b"t"), &[0]].concat(),
        T::SubAck => [&[0, 1], &properties[..], &[0]].concat(),
        T::Unsubscribe => [&[0, 1], &properties[..], &field(b"t")].concat(),
        T::UnsubAck if version == V5 => [&[0, 1], &properties[..], &[0]].concat(),
        T::UnsubAck => vec![0, 1],
        T::PingReq | T::PingResp => Vec::new(),
        T::Disconnect => reason(0),
        T::Auth => reason(0x18),
    }
}

fn right_flags(kind: PacketType) -> u8 {
    match kind {
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 2,
        _ => 0,
    }
}

/// Authentication Method `m`, without which AUTH is nothing.
const METHOD: &[u8] = &[0x15, 0, 1, b'm'];

/// [MQTT-2.2.2-1], [MQTT-2.2.2-2], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1], [MQTT-3.14.1-1]
/// 5: [MQTT-2.1.3-1], [U5-2.1.3-1], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1],
/// [MQTT-3.14.1-1], [MQTT-3.15.1-1]
#[test]
fn fixed_header_flags() {
    for version in ProtocolVersion::ALL {
        for kind in PacketType::ALL {
            if kind == PacketType::Auth && version != V5 {
                continue;
            }
            let properties = if kind == PacketType::Auth { METHOD } else { &[] };
            for flags in 0..16 {
                let mut body = body(kind, version, properties);
                let is_right = match kind {
                    PacketType::Publish => {
                        if flags & 0b0110 != 0 {
                            body.splice(3..3, [0, 9]);
                        }
                        let dup_alone = flags & 0b1110 == 0b1000 && version != V31;
                        flags & 0b0110 != 0b0110 && !dup_alone
                    }
                    _ => flags == right_flags(kind) || version == V31,
                };
                let found = decode(version, &packet((kind as u8) << 4 | flags, &body));
                match found {
                    Ok(Some(found)) => {
                        assert!(is_right && found.packet_type() == kind, "{version} {kind:?} {flags:04b}");
                    }
                    Err(error) if !is_right => {
                        assert_eq!((error.kind, error.reason().0), (Kind::BadFlags, 0x81));
                    }
                    found => panic!("{version} {kind:?} {flags:04b}: {found:?}"),
                }
            }
        }
    }
}

/// Where a client may put properties: packets, and the will.
const PLACES: [(&str, Option<PacketType>); 11] = [
    ("CONNECT", Some(PacketType::Connect)),
    ("will", None),
    ("PUBLISH", Some(PacketType::Publish)),
    ("PUBACK", Some(PacketType::PubAck)),
    ("PUBREC", Some(PacketType::PubRec)),
    ("PUBREL", Some(PacketType::PubRel)),
    ("PUBCOMP", Some(PacketType::PubComp)),
    ("SUBSCRIBE", Some(PacketType::Subscribe)),
    ("UNSUBSCRIBE", Some(PacketType::Unsubscribe)),
    ("DISCONNECT", Some(PacketType::Disconnect)),
    ("AUTH", Some(PacketType::Auth)),
];

/// Table 2-4 of MQTT 5.0: identifier, a good value, and the places of a client's that it may stand in.
const PROPERTIES: [(u8, &[u8], &str); 27] = [
    (0x01, &[1], "PUBLISH will"),
    (0x02, &[0, 0, 0, 9], "PUBLISH will"),
    (0x03, &[0, 1, b'a'], "PUBLISH will"),
    (0x08, &[0, 1, b'a'], "PUBLISH will"),
    (0x09, &[0, 1, 0], "PUBLISH will"),
    (0x0B, &[7], "PUBLISH SUBSCRIBE"),
    (0x11, &[0, 0, 0, 9], "CONNECT DISCONNECT"),
    (0x12, &[0, 1, b'a'], ""),
    (0x13, &[0, 9], ""),
    (0x15, &[0, 1, b'm'], "CONNECT AUTH"),
    (0x16, &[0, 1, 0], "CONNECT AUTH"),
    (0x17, &[1], "CONNECT"),
    (0x18, &[0, 0, 0, 9], "will"),
    (0x19, &[1], "CONNECT"),
    (0x1A, &[0, 1, b'a'], ""),
    (0x1C, &[0, 1, b'a'], "DISCONNECT"),
    (0x1F, &[0, 1, b'a'], "PUBACK PUBREC PUBREL PUBCOMP DISCONNECT AUTH"),
    (0x21, &[0, 9], "CONNECT"),
    (0x22, &[0, 9], "CONNECT"),
    (0x23, &[0, 9], "PUBLISH"),
    (0x24, &[1], ""),
    (0x25, &[1], ""),
    (
        0x26,
        &[0, 1, b'k', 0, 1, b'v'],
        "CONNECT will PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE UNSUBSCRIBE DISCONNECT AUTH",
    ),
    (0x27, &[0, 0, 0, 9], "CONNECT"),
    (0x28, &[1], ""),
    (0x29, &[1], ""),
    (0x2A, &[1], ""),
];

/// A packet of 5.0 with these properties in this place.
fn with_properties(place: Option<PacketType>, properties: &[u8]) -> Vec<u8> {
    let Some(kind) = place else {
        let length = u8::try_from(properties.len()).expect("short");
        let payload = [&field(b"c")[..], &[length], properties, &field(b"w"), &field(b"gone")].concat();
        return connect(V5, 0x06, &payload);
    };
    packet((kind as u8) << 4 | right_flags(kind), &body(kind, V5, properties))
}

/// A property, and before it what it needs to be of any use there.
fn property(place: Option<PacketType>, id: u8, value: &[u8], times: usize) -> Vec<u8> {
    let is_method = id == 0x15;
    let needs_method = place == Some(PacketType::Auth) || (place == Some(PacketType::Connect) && id == 0x16);
    let mut bytes = if needs_method && !is_method { METHOD.to_vec() } else { Vec::new() };
    for _ in 0..times {
        bytes.push(id);
        bytes.extend_from_slice(value);
    }
    bytes
}

/// 5: [U5-2.2.2-1], [U5-3.1.2-3], [U5-3.1.2-4], [U5-3.1.2-5], [U5-3.1.2-7], [U5-3.1.2-8],
/// [U5-3.1.2-9], [U5-3.1.2-11], [U5-3.1.2-12], [U5-3.1.3-1], [U5-3.3.2-2], [U5-3.4.2-2],
/// [U5-3.8.2-1], [U5-3.14.2-2], [U5-3.14.2-4], [U5-3.15.2-1]
#[test]
fn properties_stand_where_they_may_and_once() {
    for (name, place) in PLACES {
        for (id, value, places) in PROPERTIES {
            let may = places.split(' ').any(|it| it == name);
            let once = decode(V5, &with_properties(place, &property(place, id, value, 1)));
            let twice = decode(V5, &with_properties(place, &property(place, id, value, 2)));
            let repeats = id == 0x26 || (id == 0x0B && name == "PUBLISH");
            if may {
                assert!(matches!(once, Ok(Some(_))), "0x{id:02x} in {name}: {once:?}");
            } else {
                let error = once.expect_err("may not stand there");
                assert_eq!((error.kind, error.reason().0), (Kind::MisplacedProperty, 0x81), "{name}");
            }
            match twice {
                Ok(Some(_)) => assert!(may && repeats, "0x{id:02x} twice in {name}"),
                Err(error) if may && !repeats => {
                    assert_eq!((error.kind, error.reason().0), (Kind::DuplicateProperty, 0x82), "{name}");
                }
                other => assert!(!may, "0x{id:02x} twice in {name}: {other:?}"),
            }
        }
        for id in (0..=255).filter(|id| PROPERTIES.iter().all(|(known, ..)| known != id)) {
            // From 0x80 on an identifier takes two bytes.
            let bytes = if id < 0x80 { vec![id, 0] } else { vec![id, 1, 0] };
            let error = decode(V5, &with_properties(place, &bytes)).expect_err("no such property");
            assert_eq!((error.kind, error.reason().0), (Kind::UnknownProperty, 0x81), "0x{id:02x} in {name}");
        }
    }
}

/// Values that the text forbids one by one. 5: [U5-3.1.2-4], [U5-3.1.2-5], [U5-3.1.2-8],
/// [U5-3.1.2-9], [U5-3.3.2-5], [U5-3.8.2-1], [MQTT-3.3.2-8], [MQTT-3.3.2-14]
#[test]
fn values_of_properties() {
    let forbidden: [(&str, u8, &[u8], u8); 15] = [
        ("CONNECT", 0x21, &[0, 0], 0x82),
        ("CONNECT", 0x27, &[0, 0, 0, 0], 0x82),
        ("CONNECT", 0x17, &[2], 0x82),
        ("CONNECT", 0x17, &[255], 0x82),
        ("CONNECT", 0x19, &[2], 0x82),
        ("PUBLISH", 0x01, &[2], 0x82),
        ("will", 0x01, &[2], 0x82),
        ("PUBLISH", 0x23, &[0, 0], 0x94),
        ("PUBLISH", 0x0B, &[0], 0x82),
        ("SUBSCRIBE", 0x0B, &[0], 0x82),
        ("SUBSCRIBE", 0x0B, &[0x80, 0], 0x81),
        ("SUBSCRIBE", 0x0B, &[0x80, 0x80, 0x80, 0x80, 1], 0x81),
        ("PUBLISH", 0x08, &[0, 1, b'#'], 0x82),
        ("PUBLISH", 0x08, &[0, 3, b'a', b'/', b'+'], 0x82),
        ("will", 0x08, &[0, 1, b'+'], 0x82),
    ];
    for (name, id, value, code) in forbidden {
        let (_, place) = *PLACES.iter().find(|(it, _)| *it == name).expect("a place");
        let found = decode(V5, &with_properties(place, &property(place, id, value, 1)));
        assert_eq!(found.expect_err("forbidden").reason().0, code, "0x{id:02x} {value:?} in {name}");
    }
}

/// Reason codes that a client's packets may have.
const CODES: [(PacketType, &[u8]); 6] = [
    (PacketType::PubAck, &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
    (PacketType::PubRec, &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
    (PacketType::PubRel, &[0, 0x92]),
    (PacketType::PubComp, &[0, 0x92]),
    (PacketType::Auth, &[0, 0x18, 0x19]),
    (
        PacketType::Disconnect,
        &[
            0, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95,
            0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
            // In DISCONNECT for a re-authentication with another method (4.12.1).
            0x8c,
        ],
    ),
];

/// 5: [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1], [MQTT-3.14.2-1],
/// [MQTT-3.15.2-1]
#[test]
fn reason_codes() {
    for (kind, allowed) in CODES {
        let at = if matches!(kind, PacketType::Disconnect | PacketType::Auth) { 0 } else { 2 };
        for code in 0..=255 {
            let properties = if kind == PacketType::Auth { METHOD } else { &[] };
            let mut body = body(kind, V5, properties);
            body[at] = code;
            let found = decode(V5, &packet((kind as u8) << 4 | right_flags(kind), &body));
            assert_eq!(found.is_ok(), allowed.contains(&code), "{kind:?} 0x{code:02x}: {found:?}");
            if let Err(error) = found {
                assert_eq!((error.kind, error.reason().0), (Kind::BadReasonCode, 0x82));
            }
        }
    }
}

/// Packets of a version with a string of any bytes in one of its fields, by the field's name.
fn strings(version: ProtocolVersion, text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let no_properties: &[u8] = if version == V5 { &[0] } else { &[] };
    let text = field(text);
    let will = [&field(b"c")[..], no_properties, &text, &field(b"gone")].concat();
    let mut found = vec![
        ("client identifier".to_owned(), connect(version, 2, &text)),
        ("will topic".to_owned(), connect(version, 6, &will)),
        ("user name".to_owned(), connect(version, 0x82, &[&field(b"c")[..], &text].concat())),
        ("topic".to_owned(), packet(0x30, &[&text[..], no_properties, b"x"].concat())),
        ("filter".to_owned(), packet(0x82, &[&[0, 1], no_properties, &text, &[0]].concat())),
        ("unsubscribe".to_owned(), packet(0xa2, &[&[0, 1], no_properties, &text].concat())),
    ];
    let texts = [0x03, 0x08, 0x15, 0x1C, 0x1F];
    for (name, place) in PLACES.iter().filter(|_| version == V5) {
        for (id, _, _) in PROPERTIES
            .iter()
            .filter(|(id, _, places)| texts.contains(id) && places.split(' ').any(|it| it == *name))
        {
            let bytes = property(*place, *id, &text, 1);
            found.push((format!("0x{id:02x} in {name}"), with_properties(*place, &bytes)));
        }
        let pairs = [[&text[..], &field(b"v")].concat(), [&field(b"k")[..], &text].concat()];
        for (half, pair) in ["name", "value"].into_iter().zip(pairs) {
            let bytes = property(*place, 0x26, &pair, 1);
            found.push((format!("user property {half} in {name}"), with_properties(*place, &bytes)));
        }
    }
    found
}

/// [MQTT-1.5.3-1], [MQTT-1.5.3-2], [MQTT-1.5.3-3], [MQTT-3.3.2-1], [MQTT-4.7.3-2]
/// 5: [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-1.5.4-3], [MQTT-1.5.7-1], [U5-1.5.4-1], [U5-1.5.7-1],
/// [MQTT-3.3.2-1], [MQTT-3.3.2-13], [MQTT-3.3.2-19], [MQTT-4.7.3-2]
#[test]
fn strings_of_every_field() {
    let bad: [&[u8]; 15] = [
        b"a\0b",
        b"\0",
        &[0xed, 0xa0, 0x80],
        &[0xed, 0xbf, 0xbf],
        &[0xed, 0xa0, 0x81, 0xed, 0xb0, 0x80],
        &[0xc0, 0x80],
        &[0xc1, 0xbf],
        &[0xe0, 0x80, 0xaf],
        &[0xf0, 0x80, 0x80, 0x80],
        &[0xf4, 0x90, 0x80, 0x80],
        &[0xf8, 0x88, 0x80, 0x80, 0x80],
        &[0x61, 0x80],
        &[0xc3],
        &[0xe2, 0x82],
        &[0xff],
    ];
    let good = [
        "\u{feff}a",
        "\u{feff}",
        "\u{ffff}",
        "\u{fffe}",
        "\u{1}",
        "\u{7f}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{10ffff}",
        "é",
    ];
    for version in ProtocolVersion::ALL {
        for text in bad {
            for (name, bytes) in strings(version, text) {
                let error = decode(version, &bytes).expect_err("no string");
                let what = format!("{version} {name} {text:02x?}");
                assert_eq!((error.kind, error.reason().0), (Kind::BadString, 0x81), "{what}");
            }
        }
        for text in good {
            for (name, bytes) in strings(version, text.as_bytes()) {
                let found = decode(version, &bytes);
                let Ok(Some(found)) = found else { panic!("{version} {name} {text:?}: {found:?}") };
                let mut again = BytesMut::new();
                mqttlab::mqtt::codec::encode(&found, version, &mut again);
                assert_eq!(again, bytes, "{version} {name}: every byte is kept");
            }
        }
    }
}

/// Packets with all that they may have; each byte of them is needed.
fn whole_packets(version: ProtocolVersion) -> Vec<Vec<u8>> {
    let will = [&field(b"w")[..], &field(b"gone")].concat();
    let no_properties: &[u8] = if version == V5 { &[0] } else { &[] };
    let payload = [&field(b"client")[..], no_properties, &will, &field(b"u"), &field(b"p")].concat();
    let mut found = vec![connect(version, 0xf6, &payload)];
    for kind in PacketType::ALL.into_iter().filter(|kind| *kind != PacketType::Connect) {
        if kind != PacketType::Auth || version == V5 {
            let properties = if kind == PacketType::Auth { METHOD } else { &[0x26, 0, 1, b'k', 0, 1, b'v'] };
            found.push(packet((kind as u8) << 4 | right_flags(kind), &body(kind, version, properties)));
        }
    }
    found
}

/// Where a shorter body is another good packet: reasons and properties that are left out, a shorter
/// payload, MQTT 3.1's user name, and answers without a code.
fn may_end_at(kind: PacketType, version: ProtocolVersion, len: usize, whole: usize) -> bool {
    use PacketType as T;
    match kind {
        T::PubAck | T::PubRec | T::PubRel | T::PubComp => len == 2 || len == 3,
        T::Disconnect => len <= 1,
        T::Auth => len == 0,
        T::Publish | T::SubAck => len + 1 == whole,
        T::UnsubAck => version == V5 && len + 1 == whole,
        T::Connect => version == V31 && (len + 3 == whole || len + 6 == whole),
        _ => false,
    }
}

/// [U311-3.1.3-1], [MQTT-4.8.0-1] 5: [MQTT-4.13.1-1]
#[test]
fn packets_that_end_too_early_or_too_late() {
    for version in ProtocolVersion::ALL {
        for bytes in whole_packets(version) {
            let kind = PacketType::from_u8(bytes[0] >> 4).expect("a type");
            assert!(matches!(decode(version, &bytes), Ok(Some(_))), "{version} {kind:?}");
            for len in 0..bytes.len() {
                let cut = decode(version, &bytes[..len]);
                assert!(matches!(cut, Ok(None)), "{version} {kind:?}: {len} bytes are a beginning: {cut:?}");
            }
            let body = &bytes[2..];
            for len in 0..body.len() {
                let found = decode(version, &packet(bytes[0], &body[..len]));
                let may = may_end_at(kind, version, len, body.len());
                assert_eq!(found.is_ok(), may, "{version} {kind:?} of {len} bytes: {found:?}");
            }
            let longer = decode(version, &packet(bytes[0], &[body, &[0]].concat()));
            let takes_more = matches!(kind, PacketType::Publish | PacketType::SubAck)
                || (kind == PacketType::UnsubAck && version == V5);
            assert_eq!(longer.is_ok(), takes_more, "{version} {kind:?} and a byte: {longer:?}");
        }
    }
}

/// [MQTT-3.8.3-4] 5: [MQTT-3.8.3-5], [U5-3.8.3-2], [U5-3.8.3-3], [MQTT-3.8.3-4]
#[test]
fn subscription_options() {
    for version in [V311, V5] {
        for (filter, shared) in [("t", false), ("$share/g/t", true)] {
            for options in 0..=255_u8 {
                let no_properties: &[u8] = if version == V5 { &[0] } else { &[] };
                let body = [&[0, 1], no_properties, &field(filter.as_bytes()), &[options]].concat();
                let found = decode(version, &packet(0x82, &body));
                let reserved = options & if version == V5 { 0xc0 } else { 0xfc } != 0;
                let value = options & 3 == 3 || options & 0x30 == 0x30 || (shared && options & 4 != 0);
                match found {
                    Ok(Some(Packet::Subscribe(subscribe))) => {
                        assert!(!reserved && !value, "{version} {options:08b}");
                        assert_eq!(subscribe.subscriptions[0].options.qos.as_u8(), options & 3);
                    }
                    Err(error) => {
                        assert!(reserved || value, "{version} {options:08b}: {error}");
                        let code = if reserved { 0x81 } else { 0x82 };
                        assert_eq!(error.reason().0, code, "{version} {options:08b}");
                    }
                    found => panic!("{found:?}"),
                }
            }
        }
    }
    assert_eq!(QoS::from_u8(3), None);
}
