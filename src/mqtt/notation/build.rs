//! From a packet line to bytes. Writes field by field and not through [`crate::mqtt::Packet`],
//! which could not hold what is forced.

use bytes::{BufMut, Bytes, BytesMut};

use super::fields::{self, Form, Meaning};
use super::value::{self, Code, Length, Value};
use super::{Field, NotationError, PacketLine};
use crate::mqtt::codec::MAX_REMAINING_LENGTH;
use crate::mqtt::codec::writer::{fixed_flags, put_varint};
use crate::mqtt::packet::PacketType;
use crate::mqtt::property::{Make, PropertySpec};
use crate::mqtt::raw::RawPacket;
use crate::mqtt::{ProtocolVersion, ReasonCode};

pub(super) fn line(line: &PacketLine, version: ProtocolVersion) -> Result<RawPacket, NotationError> {
    if let Some(field) = line.expect_only() {
        let message = "`without` says what must not come, and nothing of what is sent";
        return Err(NotationError::new(message, field.span.clone()));
    }
    let builder = Builder { line, version: line_version(line, version)? };
    let body = builder.body()?;
    if body.len() > MAX_REMAINING_LENGTH as usize {
        let field = line.fields.iter().max_by_key(|field| field.value.len());
        let span = field.map_or(0..0, |field| field.span.clone());
        return Err(NotationError::new("more than the 268,435,455 bytes that a packet can have", span));
    }
    let mut bytes = BytesMut::with_capacity(5 + body.len());
    bytes.put_u8((line.kind as u8) << 4 | builder.flags()?);
    put_varint(&mut bytes, builder.remaining_length(body.len())?);
    bytes.put_slice(&body);
    Ok(RawPacket::from_bytes(bytes.freeze(), builder.version))
}

/// True for what only MQTT 5 has: properties, some options, codes that are not 0.
pub(super) fn is_v5_only(kind: PacketType, field: &Field) -> bool {
    match fields::lookup(kind, field.name) {
        Some((_, Meaning::Property(_) | Meaning::WillProperty(_))) => true,
        // A reason is on the wire only in 5; saying that all is well is harmless before.
        Some((_, Meaning::Field(spec))) if spec.name == "reason" => {
            let zero = Value::Code(Code::number(ReasonCode::SUCCESS));
            value::read(kind, spec.form, field) != Ok(zero)
        }
        Some((name, Meaning::Field(_))) => fields::is_v5_field(kind, name),
        None => false,
    }
}

/// The revision that the fields are laid out in: a CONNECT may name another one itself.
fn line_version(line: &PacketLine, version: ProtocolVersion) -> Result<ProtocolVersion, NotationError> {
    if line.kind != PacketType::Connect {
        return Ok(version);
    }
    let builder = Builder { line, version };
    let level = builder.number("level")?.unwrap_or_else(|| version.level().into());
    let protocol = builder.bytes("protocol")?;
    let protocol = protocol.as_deref().unwrap_or(version.protocol_name().as_bytes());
    let named = ProtocolVersion::ALL.into_iter().find(|version| {
        u32::from(version.level()) == level & 0x7f && version.protocol_name().as_bytes() == protocol
    });
    Ok(named.unwrap_or(version))
}

struct Builder<'a> {
    line: &'a PacketLine,
    version: ProtocolVersion,
}

/// Which properties are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Packet,
    Will,
}

impl Builder<'_> {
    fn field(&self, name: &str) -> Option<&Field> {
        self.line.fields.iter().find(|field| field.name == name)
    }

    fn read(&self, field: &Field) -> Result<Value, NotationError> {
        let form = fields::lookup(self.line.kind, field.name).map(|(_, meaning)| meaning.form());
        value::read(self.line.kind, form.unwrap_or(Form::Bytes), field)
    }

    fn number(&self, name: &str) -> Result<Option<u32>, NotationError> {
        match self.field(name).map(|field| self.read(field)).transpose()? {
            Some(Value::Number(number)) => Ok(Some(number)),
            _ => Ok(None),
        }
    }

    fn byte(&self, name: &str) -> Result<Option<u8>, NotationError> {
        // The table of fields bounds the number.
        Ok(self.number(name)?.and_then(|number| u8::try_from(number).ok()))
    }

    fn flag(&self, name: &str) -> Result<bool, NotationError> {
        match self.field(name).map(|field| self.read(field)).transpose()? {
            Some(Value::Flag(flag)) => Ok(flag),
            _ => Ok(false),
        }
    }

    fn bytes(&self, name: &str) -> Result<Option<Bytes>, NotationError> {
        match self.field(name).map(|field| self.read(field)).transpose()? {
            Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// The codes of the line, as this revision writes them.
    fn codes(&self, name: &str) -> Result<Vec<u8>, NotationError> {
        let mut codes = vec![];
        for field in self.line.fields.iter().filter(|field| field.name == name) {
            match self.read(field)? {
                Value::Code(code) => codes.push(if self.version.is_v5() { code.v5.0 } else { code.v3.0 }),
                Value::AnyError => {
                    let message = "`error` stands for any code that says no, and cannot be sent";
                    return Err(NotationError::new(message, field.span.clone())
                        .with_help("one of them, such as 0x80"));
                }
                _ => {}
            }
        }
        Ok(codes)
    }

    /// Writes a string or binary field that `name` says, or an empty one.
    fn put_named(&self, into: &mut BytesMut, name: &str) -> Result<(), NotationError> {
        if let Some(field) = self.field(name) {
            self.put_field(into, field)
        } else {
            into.put_u16(0);
            Ok(())
        }
    }

    fn put_field(&self, into: &mut BytesMut, field: &Field) -> Result<(), NotationError> {
        if let Value::Bytes(bytes) = self.read(field)? {
            put_bytes(into, &bytes, field)?;
        }
        Ok(())
    }

    fn put_id(&self, into: &mut BytesMut) -> Result<(), NotationError> {
        let id = self.number("id")?.and_then(|id| u16::try_from(id).ok());
        into.put_u16(id.unwrap_or(1));
        Ok(())
    }

    fn body(&self) -> Result<BytesMut, NotationError> {
        if !self.version.is_v5() {
            self.refuse_v5_fields()?;
        }
        let mut into = BytesMut::new();
        match self.line.kind {
            PacketType::Connect => self.connect(&mut into)?,
            PacketType::ConnAck => {
                into.put_u8(u8::from(self.flag("session_present")?));
                into.put_u8(self.codes("code")?.first().copied().unwrap_or(0));
                self.put_properties(&mut into, Whose::Packet)?;
            }
            PacketType::Publish => self.publish(&mut into)?,
            PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp => {
                self.put_id(&mut into)?;
                self.put_reason(&mut into)?;
            }
            PacketType::Subscribe => self.subscribe(&mut into)?,
            PacketType::Unsubscribe => {
                self.put_id(&mut into)?;
                self.put_properties(&mut into, Whose::Packet)?;
                for field in self.line.fields.iter().filter(|field| field.name == "filter") {
                    self.put_field(&mut into, field)?;
                }
            }
            PacketType::SubAck | PacketType::UnsubAck => {
                self.put_id(&mut into)?;
                self.put_properties(&mut into, Whose::Packet)?;
                into.put_slice(&self.codes("code")?);
            }
            PacketType::PingReq | PacketType::PingResp => self.put_forced(&mut into)?,
            PacketType::Disconnect => self.put_reason(&mut into)?,
            PacketType::Auth => self.auth(&mut into)?,
        }
        Ok(into)
    }

    fn refuse_v5_fields(&self) -> Result<(), NotationError> {
        match self.line.needs_v5() {
            Some(field) => {
                let message = format!("`{}` is part of MQTT 5 only", field.name);
                Err(NotationError::new(message, field.span.clone())
                    .with_help(format!("this connection speaks MQTT {}", self.version)))
            }
            None if self.line.kind == PacketType::Auth => {
                Err(NotationError::new("AUTH is part of MQTT 5 only", 0..0))
            }
            None => Ok(()),
        }
    }

    fn connect(&self, into: &mut BytesMut) -> Result<(), NotationError> {
        match self.field("protocol") {
            Some(field) => self.put_field(into, field)?,
            None => put_text(into, self.version.protocol_name()),
        }
        let level = self.byte("level")?.unwrap_or(self.version.level());
        into.put_u8(level | u8::from(self.flag("bridge")?) << 7);
        let has_will = self.line.fields.iter().any(|field| field.name.starts_with("will."));
        let flags = match self.byte("connect_flags")? {
            Some(flags) => flags,
            None => {
                u8::from(self.flag("clean")?) << 1
                    | u8::from(has_will) << 2
                    | self.byte("will.qos")?.unwrap_or(0) << 3
                    | u8::from(self.flag("will.retain")?) << 5
                    | u8::from(self.field("password").is_some()) << 6
                    | u8::from(self.field("user").is_some()) << 7
            }
        };
        into.put_u8(flags);
        let keep_alive = self.number("keepalive")?.and_then(|secs| u16::try_from(secs).ok());
        into.put_u16(keep_alive.unwrap_or(0));
        self.put_properties(into, Whose::Packet)?;
        self.put_named(into, "client")?;
        if has_will {
            self.put_properties(into, Whose::Will)?;
            self.put_named(into, "will.topic")?;
            self.put_named(into, "will.payload")?;
        }
        for name in ["user", "password"] {
            if let Some(field) = self.field(name) {
                self.put_field(into, field)?;
            }
        }
        Ok(())
    }

    fn publish(&self, into: &mut BytesMut) -> Result<(), NotationError> {
        self.put_named(into, "topic")?;
        let id = self.field("id");
        match (self.number("qos")?.unwrap_or(0), id) {
            (0, None) => {}
            (0, Some(field)) if self.field("flags").is_none() => {
                let message = "a PUBLISH of QoS 0 has no packet identifier";
                return Err(NotationError::new(message, field.span.clone())
                    .with_help("give it qos=1 or qos=2, or force it with flags=0"));
            }
            _ => self.put_id(into)?,
        }
        self.put_properties(into, Whose::Packet)?;
        into.put_slice(&self.bytes("payload")?.unwrap_or_default());
        Ok(())
    }

    fn subscribe(&self, into: &mut BytesMut) -> Result<(), NotationError> {
        self.put_id(into)?;
        self.put_properties(into, Whose::Packet)?;
        let fields = &self.line.fields;
        for (at, filter) in fields.iter().enumerate().filter(|(_, field)| field.name == "filter") {
            self.put_field(into, filter)?;
            let behind = &fields[at + 1..];
            let end = behind.iter().position(|field| field.name == "filter").unwrap_or(behind.len());
            let mut options = 0;
            for field in &behind[..end] {
                options = match (field.name, self.read(field)?) {
                    ("qos", Value::Number(qos)) => options | qos,
                    ("no_local", Value::Flag(flag)) => options | u32::from(flag) << 2,
                    ("rap", Value::Flag(flag)) => options | u32::from(flag) << 3,
                    ("rh", Value::Number(handling)) => options | handling << 4,
                    ("options", Value::Number(byte)) => byte,
                    _ => options,
                };
            }
            into.put_u8(u8::try_from(options & 0xff).unwrap_or_default());
        }
        Ok(())
    }

    /// Reason code and properties, left out where they say nothing.
    fn put_reason(&self, into: &mut BytesMut) -> Result<(), NotationError> {
        let reason = self.codes("reason")?.first().copied().unwrap_or(0);
        let has_properties = self.properties(Whose::Packet).next().is_some();
        if self.version.is_v5() && (reason != 0 || has_properties) {
            into.put_u8(reason);
        }
        if has_properties {
            self.put_properties(into, Whose::Packet)?;
        }
        Ok(())
    }

    fn auth(&self, into: &mut BytesMut) -> Result<(), NotationError> {
        let reason = self.codes("reason")?.first().copied().unwrap_or(0);
        if reason != 0 || self.properties(Whose::Packet).next().is_some() {
            into.put_u8(reason);
            self.put_properties(into, Whose::Packet)?;
        }
        Ok(())
    }

    /// Properties that are put into a packet that has none at all.
    fn put_forced(&self, into: &mut BytesMut) -> Result<(), NotationError> {
        if self.properties(Whose::Packet).next().is_some() {
            self.put_properties(into, Whose::Packet)?;
        }
        Ok(())
    }

    fn properties(&self, whose: Whose) -> impl Iterator<Item = (&Field, &'static PropertySpec)> {
        self.line.fields.iter().filter_map(move |field| {
            match (fields::lookup(self.line.kind, field.name)?.1, whose) {
                (Meaning::Property(spec), Whose::Packet) | (Meaning::WillProperty(spec), Whose::Will) => {
                    Some((field, spec))
                }
                _ => None,
            }
        })
    }

    fn put_properties(&self, into: &mut BytesMut, whose: Whose) -> Result<(), NotationError> {
        if !self.version.is_v5() {
            return Ok(());
        }
        let mut list = BytesMut::new();
        for (field, spec) in self.properties(whose) {
            list.put_u8(spec.id);
            match (spec.make, self.read(field)?) {
                // The table of forms bounds each number.
                (Make::Byte(_), Value::Number(number)) => list.put_uint(number.into(), 1),
                (Make::TwoByte(_), Value::Number(number)) => list.put_uint(number.into(), 2),
                (Make::FourByte(_), Value::Number(number)) => list.put_u32(number),
                (Make::Variable(_), Value::Number(number)) => put_varint(&mut list, number as usize),
                (Make::Pair(_), Value::Bytes(bytes)) => {
                    let key = field.key.as_deref().unwrap_or_default();
                    put_bytes(&mut list, key.as_bytes(), field)?;
                    put_bytes(&mut list, &bytes, field)?;
                }
                (_, Value::Bytes(bytes)) => put_bytes(&mut list, &bytes, field)?,
                _ => {}
            }
        }
        put_varint(into, list.len());
        into.put_slice(&list);
        Ok(())
    }

    fn flags(&self) -> Result<u8, NotationError> {
        if let Some(flags) = self.byte("flags")? {
            return Ok(flags);
        }
        let kind = self.line.kind;
        if kind != PacketType::Publish {
            return Ok(fixed_flags(kind));
        }
        let qos = self.byte("qos")?.unwrap_or(0);
        Ok(u8::from(self.flag("dup")?) << 3 | qos << 1 | u8::from(self.flag("retain")?))
    }

    fn remaining_length(&self, right: usize) -> Result<usize, NotationError> {
        let Some(field) = self.field("length") else { return Ok(right) };
        let length = match self.read(field)? {
            Value::Length(Length::Exactly(length)) => i64::from(length),
            Value::Length(Length::Off(off)) => i64::try_from(right).unwrap_or(i64::MAX).saturating_add(off),
            _ => return Ok(right),
        };
        match u32::try_from(length) {
            Ok(length) if length <= MAX_REMAINING_LENGTH => Ok(length as usize),
            _ => {
                let message = format!("a Remaining Length of {length} cannot be written");
                Err(NotationError::new(message, field.span.clone())
                    .with_help("it goes from 0 to 268435455; the line `> hex …` sends any bytes"))
            }
        }
    }
}

fn put_text(into: &mut BytesMut, text: &'static str) {
    into.put_u16(u16::try_from(text.len()).unwrap_or_default());
    into.put_slice(text.as_bytes());
}

/// Two bytes of length, and the bytes, if they can travel.
fn put_bytes(into: &mut BytesMut, bytes: &[u8], field: &Field) -> Result<(), NotationError> {
    let len = u16::try_from(bytes.len()).map_err(|_| {
        let message = format!("`{}` is longer than the 65,535 bytes that can travel", field.name);
        NotationError::new(message, field.span.clone())
    })?;
    into.put_u16(len);
    into.put_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::hex;

    fn built(text: &str, version: ProtocolVersion) -> String {
        let parsed = PacketLine::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        match parsed.build(version) {
            Ok(raw) => {
                format!("{}{}", hex(&raw.bytes), if raw.packet.is_some() { "" } else { " (malformed)" })
            }
            Err(error) => format!("{}: {}", &text[error.span], error.message),
        }
    }

    #[test]
    fn wrong_packets_can_be_built() {
        let v4 = |text| built(text, ProtocolVersion::V311);
        assert_eq!(v4("PINGREQ"), "c0 00");
        assert_eq!(v4("PINGREQ flags=1"), "c1 00 (malformed)");
        assert_eq!(v4("PINGREQ length=+3"), "c0 03 (malformed)");
        assert_eq!(v4("PUBLISH a \"x\" length=-1"), "30 03 00 01 61 78 (malformed)");
        assert_eq!(v4("PUBLISH a \"x\" length=200"), "30 c8 01 00 01 61 78 (malformed)");
        assert_eq!(v4("PUBLISH a \"x\" flags=0x06"), "36 04 00 01 61 78 (malformed)");
        assert_eq!(v4("PUBLISH a \"x\" qos=1 id=0"), "32 06 00 01 61 00 00 78 (malformed)");
        assert_eq!(v4("PUBLISH a \"x\" qos=3 id=1"), "36 06 00 01 61 00 01 78 (malformed)");
        assert_eq!(v4("PUBLISH a/# \"x\""), "30 06 00 03 61 2f 23 78 (malformed)");
        assert_eq!(v4("PUBLISH topic=hex:c080"), "30 04 00 02 c0 80 (malformed)");
        assert_eq!(v4("SUBSCRIBE id=3"), "82 02 00 03 (malformed)");
        assert_eq!(v4("SUBSCRIBE a options=0x83"), "82 06 00 01 00 01 61 83 (malformed)");
        assert_eq!(
            v4("CONNECT protocol=MQTX level=9"),
            "10 0c 00 04 4d 51 54 58 09 00 00 00 00 00 (malformed)"
        );
        assert_eq!(v4("CONNECT connect_flags=1"), "10 0c 00 04 4d 51 54 54 04 01 00 00 00 00 (malformed)");
    }

    #[test]
    fn wrong_properties_can_be_built() {
        let v5 = |text| built(text, ProtocolVersion::V5);
        assert_eq!(v5("PUBLISH a topic_alias=1"), "30 07 00 01 61 03 23 00 01");
        assert_eq!(
            v5("PUBLISH a topic_alias=1 topic_alias=1"),
            "30 0a 00 01 61 06 23 00 01 23 00 01 (malformed)"
        );
        assert_eq!(v5("PUBLISH a force.server_keepalive=1"), "30 07 00 01 61 03 13 00 01 (malformed)");
        assert_eq!(v5("CONNACK 0 receive_maximum=0"), "20 06 00 00 03 21 00 00 (malformed)");
        assert_eq!(v5("DISCONNECT reason=0x04 session_expiry=0"), "e0 07 04 05 11 00 00 00 00");
    }

    #[test]
    fn what_a_revision_does_not_have_is_refused() {
        let v4 = |text| built(text, ProtocolVersion::V311);
        assert_eq!(v4("PUBLISH a topic_alias=1"), "topic_alias=1: `topic_alias` is part of MQTT 5 only");
        assert_eq!(v4("PUBACK id=2 reason=0x10"), "reason=0x10: `reason` is part of MQTT 5 only");
        assert_eq!(v4("PUBACK id=2 reason=0x00"), "40 02 00 02");
        assert_eq!(v4("CONNACK not_authorized"), "20 02 00 05");
        assert_eq!(built("CONNACK not_authorized", ProtocolVersion::V5), "20 03 00 87 00");
        assert_eq!(v4("PUBLISH a id=4"), "id=4: a PUBLISH of QoS 0 has no packet identifier");
        // A CONNECT may say itself what it is.
        assert_eq!(v4("CONNECT level=5"), "10 0d 00 04 4d 51 54 54 05 00 00 00 00 00 00");
    }
}
