//! Takes the fields of one whole packet apart: numbers, strings, binary data (1.5), properties.
//!
//! Everything that is not a number is a slice of the packet, not a copy. Knows no packets.

use bytes::Bytes;
use bytestring::ByteString;

use super::error::{DecodeErrorKind as Kind, Fault, Rule};
use crate::mqtt::topic::TopicError;
use crate::mqtt::{PacketId, TopicFilter, TopicName};

/// A variable byte integer at the front of `bytes` (1.5.5; 2.2.3 in 3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Varint {
    /// It goes on behind what is there.
    Partial,
    /// More than four bytes.
    Endless,
    /// Its value, how many bytes it takes, and whether fewer would have done.
    Whole { value: u32, len: usize, overlong: bool },
}

pub(super) fn varint(bytes: &[u8]) -> Varint {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Varint::Whole { value, len: at + 1, overlong: at > 0 && *byte == 0 };
        }
    }
    if bytes.len() < 4 { Varint::Partial } else { Varint::Endless }
}

/// The body of one packet, read from the front.
#[derive(Debug)]
pub(super) struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: usize, what: &str) -> Result<Bytes, Fault> {
        if self.left() < count {
            let left = self.left();
            return Err(truncated(format!("{what} needs {count} bytes, {left} are left")));
        }
        self.at += count;
        Ok(self.bytes.slice(self.at - count..self.at))
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Fault> {
        let Some(array) = self.bytes[self.at..].first_chunk::<N>() else {
            return Err(truncated(format!("{what} needs {N} bytes, {} are left", self.left())));
        };
        self.at += N;
        Ok(*array)
    }

    pub(super) fn u8(&mut self, what: &str) -> Result<u8, Fault> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, what: &str) -> Result<u16, Fault> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Fault> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// A variable byte integer of 5.0.
    pub(super) fn varint(&mut self, what: &str) -> Result<u32, Fault> {
        match varint(&self.bytes[self.at..]) {
            Varint::Partial => Err(truncated(format!("{what} does not end"))),
            Varint::Endless => Err(endless(what)),
            Varint::Whole { overlong: true, .. } => Err(overlong(what)),
            Varint::Whole { value, len, .. } => {
                self.at += len;
                Ok(value)
            }
        }
    }

    /// Two bytes of length and that many bytes.
    pub(super) fn binary(&mut self, what: &str) -> Result<Bytes, Fault> {
        let len = self.u16(what)?;
        self.take(usize::from(len), what)
    }

    /// A UTF-8 string.
    pub(super) fn string(&mut self, what: &str) -> Result<ByteString, Fault> {
        let bytes = self.binary(what)?;
        // [MQTT-1.5.3-2] 5: [MQTT-1.5.4-2], [U5-1.5.4-1]
        if bytes.contains(&0) {
            let rule = Rule("MQTT-1.5.3-2", "MQTT-1.5.4-2");
            return Err(Fault::new(Kind::BadString, rule, format!("{what} has a U+0000 in it")));
        }
        // [MQTT-1.5.3-1] 5: [MQTT-1.5.4-1]; U+FEFF is kept: [MQTT-1.5.3-3] 5: [MQTT-1.5.4-3]
        ByteString::try_from(bytes).map_err(|error| {
            let rule = Rule("MQTT-1.5.3-1", "MQTT-1.5.4-1");
            Fault::new(Kind::BadString, rule, format!("{what} is not UTF-8: {error}"))
        })
    }

    /// A packet identifier.
    pub(super) fn packet_id(&mut self) -> Result<PacketId, Fault> {
        // [MQTT-2.3.1-1] 5: [MQTT-2.2.1-3]
        PacketId::new(self.u16("packet identifier")?).ok_or_else(|| {
            let rule = Rule("MQTT-2.3.1-1", "MQTT-2.2.1-3");
            Fault::new(Kind::ZeroPacketId, rule, "packet identifier 0")
        })
    }

    /// A topic name that is not empty.
    pub(super) fn topic_name(&mut self, what: &str) -> Result<TopicName, Fault> {
        TopicName::new(self.string(what)?).map_err(|error| bad_topic(what, error))
    }

    /// A topic filter.
    pub(super) fn topic_filter(&mut self) -> Result<TopicFilter, Fault> {
        TopicFilter::new(self.string("topic filter")?).map_err(|error| bad_topic("topic filter", error))
    }

    /// Whether the next bytes are these.
    pub(super) fn starts_with(&self, bytes: &[u8]) -> bool {
        self.bytes[self.at..].starts_with(bytes)
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> Bytes {
        let rest = self.bytes.slice(self.at..);
        self.at = self.bytes.len();
        rest
    }

    /// The next `count` bytes as a body of their own.
    pub(super) fn section(&mut self, count: usize, what: &str) -> Result<Self, Fault> {
        self.take(count, what).map(Self::new)
    }

    /// Checks that nothing is left over. [U311-3.1.3-1]
    pub(super) fn end(&self) -> Result<(), Fault> {
        match self.left() {
            0 => Ok(()),
            left => {
                let detail = format!("{} after the last field", crate::text::plural(left, "byte"));
                Err(Fault::new(Kind::TrailingBytes, Rule::VIOLATION, detail))
            }
        }
    }
}

fn truncated(detail: String) -> Fault {
    Fault::new(Kind::Truncated, Rule::VIOLATION, detail)
}

/// A fifth byte: 2.2.3 of 3.1.1, 1.5.5 of 5.0.
pub(super) fn endless(what: &str) -> Fault {
    let rule = Rule("U311-2.2.3-1", "U5-1.5.5-1");
    Fault::new(Kind::BadLength, rule, format!("{what} takes more than four bytes"))
}

/// [MQTT-1.5.5-1] of 5.0; the older revisions do not forbid it.
pub(super) fn overlong(what: &str) -> Fault {
    let detail = format!("{what} takes more bytes than it needs");
    Fault::new(Kind::BadLength, Rule::v5("MQTT-1.5.5-1"), detail)
}

fn bad_topic(what: &str, error: TopicError) -> Fault {
    let rule = match error {
        TopicError::Empty => Rule("MQTT-4.7.3-1", "MQTT-4.7.3-1"),
        TopicError::TooLong => Rule("MQTT-4.7.3-3", "MQTT-4.7.3-3"),
        TopicError::Nul => Rule("MQTT-4.7.3-2", "MQTT-4.7.3-2"),
        TopicError::WildcardInName(_) => Rule("MQTT-3.3.2-2", "MQTT-3.3.2-2"),
        TopicError::MisplacedHash(_) => Rule("MQTT-4.7.1-2", "MQTT-4.7.1-1"),
        TopicError::MisplacedPlus(_) => Rule("MQTT-4.7.1-3", "MQTT-4.7.1-2"),
        TopicError::BadShare => Rule::v5("MQTT-4.8.2-1"),
    };
    let why = match error {
        TopicError::Empty => "is empty",
        TopicError::TooLong => "is longer than 65,535 bytes",
        TopicError::Nul => "has a U+0000 in it",
        TopicError::WildcardInName(_) => "has a wildcard in it",
        TopicError::MisplacedHash(_) => "has a `#` that is not its last level, alone",
        TopicError::MisplacedPlus(_) => "has a `+` that is not alone in its level",
        TopicError::BadShare => "is not `$share/NAME/FILTER`",
    };
    Fault::new(Kind::BadTopic, rule, format!("{what} {why}"))
}
