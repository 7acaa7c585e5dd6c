//! Packets that are wrong on purpose: bytes of a good packet with flags, lengths or identifiers
//! forced, or no packet at all.

use bytes::Bytes;

use super::Packet;

/// Bytes to be sent as they are, and the packet they were made from, where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawPacket {
    /// What goes on the wire.
    pub bytes: Bytes,
    /// The well-formed packet with these bytes; `None` if anything was forced.
    pub packet: Option<Packet>,
}
