//! The one-line text form of a packet, both ways: `PUBLISH home/x "21.5" qos=1 id=2 dup`.
//!
//! Printing and parsing use one table of fields a packet, so that what is printed parses back to
//! the same packet. A parsed line is kept as named fields: it can be *built* into bytes (defaults
//! for what is not named, forced flags and lengths for wrong packets) or *matched* against a
//! packet that came (what is not named is not checked).

use std::ops::Range;

use super::packet::PacketType;
use super::raw::RawPacket;
use super::{Packet, ProtocolVersion};

/// A parsed packet line, without its leading `>` or `<`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketLine {
    /// Which packet.
    pub kind: PacketType,
    /// Named fields in the order written.
    pub fields: Vec<Field>,
}

/// One `name=value` (or bare flag, or positional value) of a packet line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The canonical name: a positional topic is `topic`, a quoted string is `payload`, …
    pub name: &'static str,
    /// The unquoted value; empty for a bare flag.
    pub value: String,
    /// Where it stands in the parsed text, bytes.
    pub span: Range<usize>,
}

/// What is wrong with a packet line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NotationError {
    /// One sentence.
    pub message: String,
    /// Bytes of the parsed text that it is about.
    pub span: Range<usize>,
    /// A way out, if there is one (did-you-mean, list of fields).
    pub help: Option<String>,
}

/// How a packet differs from a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The field that differs (`type`, `topic`, `qos`, …).
    pub field: String,
    /// What the line says.
    pub expected: String,
    /// What the packet has.
    pub actual: String,
}

impl PacketLine {
    /// Reads `CONNACK 0 session_present=1 …`.
    pub fn parse(text: &str) -> Result<Self, NotationError> {
        let _ = text;
        unimplemented!()
    }

    /// The bytes that a client or server of `version` would send, forced errors included.
    pub fn build(&self, version: ProtocolVersion) -> Result<RawPacket, NotationError> {
        let _ = version;
        unimplemented!()
    }

    /// Whether `packet` is what the line says, as far as the line says it.
    pub fn matches(&self, packet: &Packet) -> Result<(), Mismatch> {
        let _ = packet;
        unimplemented!()
    }
}

/// Prints `packet` as one line that [`PacketLine::parse`] reads back. Passwords are printed:
/// redaction is the event log's business.
pub fn print(packet: &Packet, version: ProtocolVersion) -> String {
    let _ = (packet, version);
    unimplemented!()
}
