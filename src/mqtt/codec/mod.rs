//! Bytes to packets and back (chapter 2 of the standard).
//!
//! One decoder and one encoder for all three revisions. The decoder is incremental and has
//! limits: it never allocates for a length that was only announced. It judges form, not
//! direction or order: a server gets to see a CONNACK if a client sends one.

mod body;
mod decode;
mod error;
mod properties;
mod reader;
pub(in crate::mqtt) mod writer;

use bytes::{Buf, Bytes, BytesMut};

pub use body::{PublishBody, PublishHeader};
pub use error::{DecodeError, DecodeErrorKind};

use self::error::{Fault, Rule};
use self::reader::{Reader, Varint};
use super::packet::PacketType;
use super::{Packet, ProtocolVersion};

/// The largest value of a variable byte integer, and so of Remaining Length.
pub const MAX_REMAINING_LENGTH: u32 = 268_435_455;

/// What a decoder takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the largest whole packet, fixed header included. A decoded packet may take some
    /// 40 times as many bytes in memory (thousands of tiny properties), so a server sets this.
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

/// The first bytes of a packet, up to and with Remaining Length (2.2; 2.1 in 5.0).
struct FixedHeader {
    kind: PacketType,
    flags: u8,
    /// Bytes that the fixed header takes.
    len: usize,
    /// Bytes that follow it.
    remaining: usize,
    overlong: bool,
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
        let kind = buffer.first().and_then(|first| PacketType::from_u8(first >> 4));
        let header = match self.fixed_header(buffer) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(None),
            Err(fault) => return Err(fault.at(kind, self.version)),
        };
        let whole = header.len + header.remaining;
        if buffer.len() < whole {
            return Ok(None);
        }
        let mut frame = buffer.split_to(whole).freeze();
        frame.advance(header.len);
        let packet = match header.kind {
            PacketType::Connect => self.connect(&header, frame)?,
            kind => {
                // The fixed header lets nothing but CONNECT pass while the revision is not known.
                let version = self.version.unwrap_or_default();
                decode::body(kind, header.flags, version, &mut Reader::new(frame))
                    .map_err(|fault| fault.at(Some(kind), self.version))?
            }
        };
        Ok(Some((packet, whole)))
    }

    /// Judges as much of the fixed header as is there.
    fn fixed_header(&self, bytes: &[u8]) -> Result<Option<FixedHeader>, Fault> {
        let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
        let flags = first & 0x0f;
        let kind = self.packet_type(first >> 4)?;
        if let Some(version) = self.version.filter(|_| kind != PacketType::Connect) {
            decode::check_flags(kind, flags, version)?;
        }
        let (remaining, len, overlong) = match reader::varint(rest) {
            Varint::Partial => return Ok(None),
            Varint::Endless => return Err(reader::endless("remaining length")),
            Varint::Whole { value, len, overlong } => (value as usize, 1 + len, overlong),
        };
        if overlong && self.version == Some(ProtocolVersion::V5) {
            return Err(reader::overlong("remaining length"));
        }
        if len + remaining > self.limits.max_packet_size as usize {
            let limit = self.limits.max_packet_size;
            let detail = format!("{} bytes are more than the {limit} that are taken", len + remaining);
            return Err(Fault::new(DecodeErrorKind::TooLarge, Rule::v5("U5-3.2.2-6"), detail));
        }
        Ok(Some(FixedHeader { kind, flags, len, remaining, overlong }))
    }

    fn packet_type(&self, number: u8) -> Result<PacketType, Fault> {
        let kind = PacketType::from_u8(number);
        let reserved = match kind {
            None => true,
            Some(PacketType::Auth) => self.version.is_some_and(|version| !version.is_v5()),
            Some(_) => false,
        };
        // 2.2.1; 2.1.2 in 5.0
        let Some(kind) = kind.filter(|_| !reserved) else {
            let rule = Rule("U311-2.2.1-1", "U5-2.1.2-1");
            let detail = format!("packet type {number} is reserved");
            return Err(Fault::new(DecodeErrorKind::ReservedType, rule, detail));
        };
        // [MQTT-3.1.0-1]
        if self.version.is_none() && kind != PacketType::Connect {
            let rule = Rule("MQTT-3.1.0-1", "MQTT-3.1.0-1");
            return Err(Fault::new(DecodeErrorKind::NotConnect, rule, "the first packet is not CONNECT"));
        }
        Ok(kind)
    }

    /// A CONNECT says itself how it is to be read, so its fixed header is judged last.
    fn connect(&mut self, header: &FixedHeader, frame: Bytes) -> Result<Packet, DecodeError> {
        let kind = PacketType::Connect;
        let mut reader = Reader::new(frame);
        let packet =
            decode::connect(&mut reader).map_err(|(fault, version)| fault.at(Some(kind), version))?;
        let version = writer::written_version(&packet, ProtocolVersion::V311);
        let rest = || {
            decode::check_flags(kind, header.flags, version)?;
            if header.overlong && version.is_v5() {
                return Err(reader::overlong("remaining length"));
            }
            // [MQTT-3.1.4-1]
            reader.end()
        };
        rest().map_err(|fault| fault.at(Some(kind), Some(version)))?;
        self.version.get_or_insert(version);
        Ok(packet)
    }
}

/// Appends the bytes of `packet` as `version` writes it; a CONNECT is written as its own version
/// says. Properties and reason codes that the version does not have are left out.
pub fn encode(packet: &Packet, version: ProtocolVersion, into: &mut BytesMut) {
    writer::put_packet(into, packet, writer::written_version(packet, version));
}

/// How many bytes [`encode`] appends.
pub fn encoded_len(packet: &Packet, version: ProtocolVersion) -> usize {
    let len = writer::body_len(packet, writer::written_version(packet, version));
    1 + writer::varint_len(len) + len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::packet::Publish;
    use crate::mqtt::{PacketId, Properties, Property, QoS, TopicName};

    #[test]
    fn a_body_for_many_is_what_encode_writes_for_one() {
        let shared = vec![Property::ContentType("text/plain".into())];
        let own = vec![Property::SubscriptionIdentifier(7), Property::MessageExpiryInterval(9)];
        for version in ProtocolVersion::ALL {
            for id in [None, PacketId::new(500)] {
                let topic = TopicName::new("a/b").expect("a topic");
                let payload = Bytes::from_static(b"21.5");
                let qos = if id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                let header = PublishHeader { dup: id.is_some(), qos, retain: true, id, aliased: false };
                let body = PublishBody::new(version, topic.clone(), &shared.clone().into(), payload.clone());
                let properties: Properties = shared.iter().chain(&own).cloned().collect();
                let whole = Packet::Publish(Publish {
                    dup: header.dup,
                    qos,
                    retain: true,
                    topic,
                    id,
                    payload,
                    properties,
                });
                let (mut one, mut many) = (BytesMut::new(), BytesMut::new());
                encode(&whole, version, &mut one);
                body.write(&mut many, header, &own);
                assert_eq!(one, many, "{version}");
                assert_eq!(one.len(), body.len(header, &own));
            }
        }
    }
}
