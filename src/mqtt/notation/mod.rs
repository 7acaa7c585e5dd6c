//! The one-line text form of a packet, both ways: `PUBLISH home/x "21.5" qos=1 id=2 dup`.
//!
//! Printing and parsing use one table of fields a packet, so that what is printed parses back to
//! the same packet. A parsed line is kept as named fields: it can be *built* into bytes (defaults
//! for what is not named, forced flags and lengths for wrong packets) or *matched* against a
//! packet that came (what is not named is not checked). Knows nothing of `>`, `<`, `|` and the
//! rest of a packet block: that is the scenario language's.

mod build;
mod fields;
mod lex;
mod matching;
mod open;
mod parse;
mod print;
mod value;

use std::ops::Range;

pub use fields::{COMMON_FIELDS, FieldDoc, FieldSpec, Form, PACKETS, PacketSpec};
pub use print::print;

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
    /// The name in a user property: `colour` of `user.colour=blue`.
    pub key: Option<String>,
    /// The unquoted value; empty for a bare flag.
    pub value: String,
    /// It stood in quotes, so a leading `hex:` means itself.
    pub quoted: bool,
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

impl NotationError {
    fn new(message: impl Into<String>, span: Range<usize>) -> Self {
        Self { message: message.into(), span, help: None }
    }

    fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
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
        parse::line(text)
    }

    /// The bytes that a client or server of `version` would send, forced errors included.
    pub fn build(&self, version: ProtocolVersion) -> Result<RawPacket, NotationError> {
        build::line(self, version)
    }

    /// Whether `packet` is what the line says, as far as the line says it. Lists (filters, codes)
    /// are compared whole, and properties in any order.
    pub fn matches(&self, packet: &Packet) -> Result<(), Mismatch> {
        self.captures(packet).map(|_| ())
    }

    /// The same; what a packet that matches has where the line leaves a number open.
    pub fn captures(&self, packet: &Packet) -> Result<Vec<(String, u32)>, Mismatch> {
        matching::line(self, packet)
    }

    /// The first field that only makes sense on a packet that is sent (`flags`, `length`, …):
    /// no packet that came matches a line with one.
    pub fn send_only(&self) -> Option<&Field> {
        self.fields.iter().find(|field| fields::is_send_only(self.kind, field.name))
    }

    /// The first field that only makes sense on a packet that is expected (`without`).
    pub fn expect_only(&self) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == fields::WITHOUT)
    }

    /// The first field that no packet can be sent with: `error` stands for many codes.
    pub fn receive_only(&self) -> Option<&Field> {
        self.fields.iter().find(|field| value::is_any_error(self.kind, field))
    }

    /// The first field that only MQTT 5 has, properties among them.
    pub fn needs_v5(&self) -> Option<&Field> {
        self.fields.iter().find(|field| build::is_v5_only(self.kind, field))
    }
}
