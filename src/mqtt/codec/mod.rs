//! Bytes to packets and back (chapter 2 of the standard).
//!
//! One decoder and one encoder for all three revisions. The decoder is incremental and has
//! limits: it never allocates for a length that was only announced.

mod error;

use bytes::BytesMut;

pub use error::{DecodeError, DecodeErrorKind};

use super::{Packet, ProtocolVersion};

/// The largest value of a variable byte integer, and so of Remaining Length.
pub const MAX_REMAINING_LENGTH: u32 = 268_435_455;

/// What a decoder takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the largest whole packet, fixed header included.
    pub max_packet_size: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_packet_size: MAX_REMAINING_LENGTH + 5 }
    }
}

/// Finds and decodes one packet after the other in a growing buffer.
#[derive(Debug, Clone)]
pub struct Decoder {
    version: Option<ProtocolVersion>,
    limits: Limits,
}

impl Decoder {
    /// For a server: the revision is learnt from the CONNECT that must come first.
    pub fn server(limits: Limits) -> Self {
        Self { version: None, limits }
    }

    /// For a client, who knows which revision it asked for.
    pub fn client(version: ProtocolVersion, limits: Limits) -> Self {
        Self { version: Some(version), limits }
    }

    /// The revision, once known.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.version
    }

    /// Changes the limits, as after an accepted CONNECT.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes the next whole packet off the front of `buffer`.
    ///
    /// `Ok(None)` when more bytes are needed; then at most a fixed header's worth of work is
    /// repeated on the next call. Strings and payloads are slices of the buffer, not copies.
    /// After an error the stream cannot be trusted any more. The second value is the packet's
    /// whole length in bytes.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<(Packet, usize)>, DecodeError> {
        let _ = (buffer, self.limits);
        unimplemented!()
    }
}

/// Appends the bytes of `packet` as `version` writes it. Properties and reason codes that the
/// version does not have are left out.
pub fn encode(packet: &Packet, version: ProtocolVersion, into: &mut BytesMut) {
    let _ = (packet, version, into);
    unimplemented!()
}

/// How many bytes [`encode`] appends.
pub fn encoded_len(packet: &Packet, version: ProtocolVersion) -> usize {
    let _ = (packet, version);
    unimplemented!()
}
