//! Any bytes as packets, in each version and both directions: what is read can be written, and what
//! was written reads as the same. The first byte chooses.

use bytes::BytesMut;
use mqttlab::mqtt::ProtocolVersion;
use mqttlab::mqtt::codec::{Decoder, Limits, encode, encoded_len};

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    let limits = Limits { max_packet_size: 1 << 20 };
    let version = ProtocolVersion::ALL[usize::from(*choice) % ProtocolVersion::ALL.len()];
    let mut decoder =
        if choice & 0x80 == 0 { Decoder::server(limits) } else { Decoder::client(version, limits) };
    let mut buffer = BytesMut::from(bytes);
    while let Ok(Some((packet, size))) = decoder.decode(&mut buffer) {
        assert!(size <= bytes.len());
        let version = decoder.version().unwrap_or(version);
        let mut written = BytesMut::new();
        encode(&packet, version, &mut written);
        assert_eq!(written.len(), encoded_len(&packet, version), "{packet:?}");
        let client = matches!(packet, mqttlab::mqtt::Packet::Connect(_));
        let mut again = if client { Decoder::server(limits) } else { Decoder::client(version, limits) };
        let text = format!("{packet:?}");
        match again.decode(&mut written) {
            Ok(Some((same, _))) => assert_eq!(format!("{same:?}"), text),
            // A packet of the other direction, which this side may refuse but not misread.
            other => assert!(!client, "{text}: {other:?}"),
        }
    }
}
