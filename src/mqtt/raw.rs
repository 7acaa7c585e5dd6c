//! Packets that are wrong on purpose: bytes of a good packet with flags, lengths or identifiers
//! forced, or no packet at all. How they are written down is the notation's business.

use bytes::{Bytes, BytesMut};

use super::codec::{Decoder, Limits};
use super::{Packet, ProtocolVersion};

/// Bytes to be sent as they are, and the packet they were made from, where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawPacket {
    /// What goes on the wire.
    pub bytes: Bytes,
    /// The well-formed packet with these bytes; `None` if they are not exactly one.
    pub packet: Option<Packet>,
}

impl RawPacket {
    /// Any bytes, and what a peer that speaks `version` takes them for.
    pub fn from_bytes(bytes: Bytes, version: ProtocolVersion) -> Self {
        let mut buffer = BytesMut::from(&bytes[..]);
        let packet = match Decoder::client(version, Limits::default()).decode(&mut buffer) {
            Ok(Some((packet, len))) if len == bytes.len() => Some(packet),
            _ => None,
        };
        Self { bytes, packet }
    }
}
