//! Properties that must hold for arbitrary packets, bytes and topics: the codec, the notation and
//! the topic tree against plain restatements of what they promise.

use std::collections::BTreeMap;

use bytes::BytesMut;
use mqttlab::mqtt::codec::{Decoder, Limits, encode, encoded_len};
use mqttlab::mqtt::notation::{PacketLine, print};
use mqttlab::mqtt::topic::TopicTree;
use mqttlab::mqtt::{Packet, ProtocolVersion, TopicFilter};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::packets::{filter, topic, version, versioned_packet};

fn bytes_of(packet: &Packet, version: ProtocolVersion) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(packet, version, &mut bytes);
    bytes
}

/// Decodes everything in `bytes`, fed in pieces of the given sizes, over and over.
fn decode_in_pieces(decoder: &mut Decoder, bytes: &[u8], sizes: &[usize]) -> Vec<Packet> {
    let mut buffer = BytesMut::new();
    let mut packets = vec![];
    let mut left = bytes;
    for size in sizes.iter().cycle() {
        let (piece, rest) = left.split_at((*size).min(left.len()));
        buffer.extend_from_slice(piece);
        while let Some((packet, _)) = decoder.decode(&mut buffer).expect("well-formed") {
            packets.push(packet);
        }
        left = rest;
        if left.is_empty() {
            break;
        }
    }
    assert!(buffer.is_empty());
    packets
}

/// What a decoder makes of arbitrary bytes. Ends because every packet takes some of them.
fn devour(mut decoder: Decoder, bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    loop {
        let before = buffer.len();
        match decoder.decode(&mut buffer) {
            Ok(Some((_, len))) => assert_eq!(before - buffer.len(), len),
            Ok(None) | Err(_) => break,
        }
    }
}

fn devour_as_everyone(bytes: &[u8]) {
    devour(Decoder::server(Limits::default()), bytes);
    devour(Decoder::server(Limits { max_packet_size: 20 }), bytes);
    for version in ProtocolVersion::ALL {
        devour(Decoder::client(version, Limits::default()), bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_decodes_to_the_same((version, packet) in versioned_packet()) {
        let mut bytes = bytes_of(&packet, version);
        let len = bytes.len();
        prop_assert_eq!(len, encoded_len(&packet, version));
        let mut decoder = Decoder::client(version, Limits::default());
        prop_assert_eq!(decoder.decode(&mut bytes), Ok(Some((packet, len))));
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn pieces_decode_to_what_the_whole_decodes_to(
        (version, packets) in version().prop_flat_map(|version| {
            (Just(version), vec(crate::support::packets::packet(version), 1..5))
        }),
        sizes in vec(1..40_usize, 1..6),
    ) {
        let mut bytes = BytesMut::new();
        for packet in &packets {
            encode(packet, version, &mut bytes);
        }
        let mut decoder = Decoder::client(version, Limits::default());
        prop_assert_eq!(decode_in_pieces(&mut decoder, &bytes, &sizes), packets);
    }

    #[test]
    fn what_is_printed_parses_to_the_same((version, packet) in versioned_packet()) {
        let line = print(&packet, version);
        prop_assert!(!line.contains('\n'), "{}", line);
        let parsed = PacketLine::parse(&line).map_err(|error| TestCaseError::fail(format!("{line}: {error:?}")))?;
        let built = parsed.build(version).map_err(|error| TestCaseError::fail(format!("{line}: {error:?}")))?;
        prop_assert_eq!(built.packet.as_ref(), Some(&packet), "{}", line);
        prop_assert_eq!(&built.bytes[..], &bytes_of(&packet, version)[..], "{}", line);
        prop_assert_eq!(parsed.matches(&packet), Ok(()), "{}", line);
    }

    #[test]
    fn arbitrary_lines_never_panic(line in "[ -~\u{e9}\n]{0,40}", (version, packet) in versioned_packet(), at in any::<Index>()) {
        let mut mutated = print(&packet, version);
        let at = at.index(mutated.len());
        if mutated.is_char_boundary(at) {
            mutated.insert_str(at, &line);
        }
        for text in [line, mutated] {
            match PacketLine::parse(&text) {
                Ok(parsed) => {
                    let _ = parsed.matches(&packet);
                    if let Err(error) = parsed.build(version) {
                        prop_assert!(text.get(error.span.clone()).is_some(), "{}: {:?}", text, error);
                    }
                }
                Err(error) => prop_assert!(text.get(error.span.clone()).is_some(), "{}: {:?}", text, error),
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        devour_as_everyone(&bytes);
    }

    #[test]
    fn mutated_packets_never_panic(
        (version, packet) in versioned_packet(),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Index>(),
    ) {
        let mut bytes = bytes_of(&packet, version);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        devour_as_everyone(&bytes);
        devour_as_everyone(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn a_tree_finds_what_each_filter_says_for_itself(
        filters in vec(filter(), 0..20),
        removed in vec(any::<Index>(), 0..6),
        topics in vec(topic(), 1..10),
    ) {
        let mut tree = TopicTree::default();
        let mut naive: BTreeMap<String, TopicFilter> = BTreeMap::new();
        for filter in &filters {
            tree.entry(filter.path(), || filter.path().to_owned());
            naive.insert(filter.path().to_owned(), filter.clone());
        }
        for at in removed.iter().filter(|_| !filters.is_empty()) {
            let path = at.get(&filters).path();
            prop_assert_eq!(tree.remove(path).is_some(), naive.remove(path).is_some());
        }
        prop_assert_eq!(tree.len(), naive.len());
        for topic in topics {
            let mut found = vec![];
            tree.for_each_match(topic.as_str(), |path: &String| found.push(path.clone()));
            found.sort();
            let wanted: Vec<_> =
                naive.iter().filter(|(_, filter)| filter.matches(&topic)).map(|(path, _)| path.clone()).collect();
            prop_assert_eq!(found, wanted, "{}", topic);
        }
    }
}
