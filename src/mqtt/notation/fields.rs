//! Which fields each packet line has: the table that parser, builder, matcher, printer and
//! `mqttlab explain` share. Properties come from [`PROPERTIES`].

use crate::mqtt::packet::PacketType;
use crate::mqtt::property::{Make, PROPERTIES, PropertySpec};

/// One packet of the notation.
#[derive(Debug)]
pub struct PacketSpec {
    /// Which packet.
    pub kind: PacketType,
    /// What it does.
    pub doc: &'static str,
    /// A whole line.
    pub example: &'static str,
    /// Fields besides its properties and [`COMMON_FIELDS`].
    pub fields: &'static [FieldSpec],
    /// The field that a value without a name is.
    pub positional: Option<&'static str>,
}

/// One field of a packet line.
#[derive(Debug)]
pub struct FieldSpec {
    /// Its name.
    pub name: &'static str,
    /// Another name that is understood.
    pub alias: Option<&'static str>,
    /// What its value looks like.
    pub form: Form,
    /// What it says.
    pub doc: &'static str,
    /// A value.
    pub example: &'static str,
}

/// What the value of a field looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// There or not; or `=1`, `=0`.
    Flag,
    /// A number up to this, decimal or `0x…`.
    Number(u32),
    /// A string with two bytes of length: a word, `"…"` or `hex:…`.
    Text,
    /// Bytes: as text.
    Bytes,
    /// A reason or return code: a number or a name.
    Code,
    /// A length, or `+`/`-` and a difference to the right one.
    Length,
    /// A user property: a name and a value.
    Pair,
}

/// A row for people: what a line of some packet may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldDoc {
    /// As it is written before `=`.
    pub name: &'static str,
    /// What it says.
    pub doc: &'static str,
    /// A value.
    pub example: &'static str,
    /// Only MQTT 5 has it.
    pub only_v5: bool,
}

const fn field(name: &'static str, form: Form, doc: &'static str, example: &'static str) -> FieldSpec {
    FieldSpec { name, alias: None, form, doc, example }
}

const fn aliased(
    name: &'static str,
    alias: &'static str,
    form: Form,
    doc: &'static str,
    example: &'static str,
) -> FieldSpec {
    FieldSpec { name, alias: Some(alias), form, doc, example }
}

const fn flag(name: &'static str, doc: &'static str) -> FieldSpec {
    field(name, Form::Flag, doc, "1")
}

const ID: FieldSpec = field("id", Form::Number(65_535), "packet identifier; 0 can be forced", "7");
const REASON: FieldSpec = aliased("reason", "code", Form::Code, "reason code, number or name", "0x87");
const CODE: FieldSpec =
    aliased("code", "reason", Form::Code, "return code, number or name", "not_authorized");
const CODES: FieldSpec = aliased("code", "reason", Form::Code, "one code a filter, in order", "1");
const FILTER: FieldSpec =
    field("filter", Form::Text, "topic filter; several may follow each other", "home/#");

/// Names what a packet that is expected must not have.
pub(super) const WITHOUT: &str = "without";

/// Fields that every packet has: to force it wrong, and to say what it must not have.
pub const COMMON_FIELDS: &[FieldSpec] = &[
    field("flags", Form::Number(15), "force the lower four bits of the first byte", "0x06"),
    field("length", Form::Length, "force Remaining Length, or add to the right one", "+3"),
    field(WITHOUT, Form::Text, "expected to have no such field, or no other than named", "topic_alias"),
];

const CONNECT: &[FieldSpec] = &[
    aliased("clean", "clean_start", Form::Flag, "Clean Session (3.1, 3.1.1), Clean Start (5)", "1"),
    aliased("client", "client_id", Form::Text, "client identifier; empty if not named", "sensor-1"),
    aliased("keepalive", "keep_alive", Form::Number(65_535), "seconds; 0 (off) if not named", "60"),
    aliased("user", "username", Form::Text, "user name", "alice"),
    field("password", Form::Bytes, "password", "a1"),
    field("will.topic", Form::Text, "where the will is published", "home/state"),
    field("will.payload", Form::Bytes, "what the will says", "\"offline\""),
    field("will.qos", Form::Number(3), "quality of service of the will; 3 can be forced", "1"),
    flag("will.retain", "the will is retained"),
    flag("bridge", "mosquitto's mark of a bridge, 0x80 in the protocol level"),
    field("protocol", Form::Text, "force the protocol name", "MQTX"),
    field("level", Form::Number(255), "force the protocol level", "9"),
    field("connect_flags", Form::Number(255), "force the byte of connect flags", "0x03"),
];

const PUBLISH: &[FieldSpec] = &[
    field("topic", Form::Text, "topic name; the first value without quotes", "home/temp"),
    field("payload", Form::Bytes, "the message; a value in quotes, or hex:…", "\"21.5\""),
    field("qos", Form::Number(3), "quality of service; 3 can be forced", "1"),
    ID,
    flag("dup", "this is a repeat"),
    flag("retain", "store it; or: it was stored"),
];

const SUBSCRIBE: &[FieldSpec] = &[
    FILTER,
    field("qos", Form::Number(3), "most that is wanted, of the filter before it; 3 can be forced", "1"),
    flag("no_local", "not what I published myself (5)"),
    aliased("rap", "retain_as_published", Form::Flag, "leave the retain flag as published (5)", "1"),
    aliased("rh", "retain_handling", Form::Number(3), "retained messages: 0 send, 1 if new, 2 not (5)", "1"),
    field("options", Form::Number(255), "force the whole byte of options", "0xc1"),
    ID,
];

/// All packets, in the order of their numbers.
pub const PACKETS: &[PacketSpec] = &[
    PacketSpec {
        kind: PacketType::Connect,
        doc: "the client asks to be let in",
        example: "CONNECT clean client=sensor user=alice password=a1 will.topic=home/state will.payload=\"off\"",
        fields: CONNECT,
        positional: None,
    },
    PacketSpec {
        kind: PacketType::ConnAck,
        doc: "the server's answer",
        example: "CONNACK 0 session_present=1",
        fields: &[CODE, flag("session_present", "the server goes on with a session it had")],
        positional: Some("code"),
    },
    PacketSpec {
        kind: PacketType::Publish,
        doc: "a message",
        example: "PUBLISH home/temp \"21.5\" qos=1 id=7 retain",
        fields: PUBLISH,
        positional: Some("topic"),
    },
    ack(PacketType::PubAck, "receipt of QoS 1", "PUBACK id=7 reason=0x10"),
    ack(PacketType::PubRec, "receipt of QoS 2, part 1", "PUBREC id=7"),
    ack(PacketType::PubRel, "release of QoS 2, part 2", "PUBREL id=7"),
    ack(PacketType::PubComp, "completion of QoS 2, part 3", "PUBCOMP id=7"),
    PacketSpec {
        kind: PacketType::Subscribe,
        doc: "the client wants messages",
        example: "SUBSCRIBE home/# qos=1 office/+ qos=0 id=3",
        fields: SUBSCRIBE,
        positional: Some("filter"),
    },
    PacketSpec {
        kind: PacketType::SubAck,
        doc: "the server's answer, one code a filter",
        example: "SUBACK id=3 1 0x80",
        fields: &[ID, CODES],
        positional: Some("code"),
    },
    PacketSpec {
        kind: PacketType::Unsubscribe,
        doc: "the client no longer wants them",
        example: "UNSUBSCRIBE home/# id=4",
        fields: &[FILTER, ID],
        positional: Some("filter"),
    },
    PacketSpec {
        kind: PacketType::UnsubAck,
        doc: "the server's answer; codes only in MQTT 5",
        example: "UNSUBACK id=4 0",
        fields: &[ID, CODES],
        positional: Some("code"),
    },
    PacketSpec {
        kind: PacketType::PingReq,
        doc: "the client asks for a sign of life",
        example: "PINGREQ",
        fields: &[],
        positional: None,
    },
    PacketSpec {
        kind: PacketType::PingResp,
        doc: "the server's sign of life",
        example: "PINGRESP",
        fields: &[],
        positional: None,
    },
    PacketSpec {
        kind: PacketType::Disconnect,
        doc: "goodbye; a reason only in MQTT 5",
        example: "DISCONNECT 0x04 session_expiry=0",
        fields: &[REASON],
        positional: Some("reason"),
    },
    PacketSpec {
        kind: PacketType::Auth,
        doc: "a step of enhanced authentication (MQTT 5)",
        example: "AUTH 0x18 method=SCRAM-SHA-1 data=hex:00ff",
        fields: &[REASON],
        positional: Some("reason"),
    },
];

const fn ack(kind: PacketType, doc: &'static str, example: &'static str) -> PacketSpec {
    PacketSpec { kind, doc, example, fields: &[ID, REASON], positional: Some("reason") }
}

/// What a name before `=` means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meaning {
    Field(&'static FieldSpec),
    /// A property of the packet; forced, where it may not stand.
    Property(&'static PropertySpec),
    /// A property of the will.
    WillProperty(&'static PropertySpec),
}

impl Meaning {
    pub(super) fn form(self) -> Form {
        match self {
            Self::Field(field) => field.form,
            Self::Property(spec) | Self::WillProperty(spec) => match spec.make {
                Make::Byte(_) => Form::Number(255),
                Make::TwoByte(_) => Form::Number(65_535),
                Make::FourByte(_) => Form::Number(u32::MAX),
                Make::Variable(_) => Form::Number(crate::mqtt::codec::MAX_REMAINING_LENGTH),
                Make::Text(_) => Form::Text,
                Make::Binary(_) => Form::Bytes,
                Make::Pair(_) => Form::Pair,
            },
        }
    }

    /// True for fields that may stand there more than once.
    pub(super) fn repeats(self) -> bool {
        match self {
            Self::Field(field) => matches!(field.name, "filter" | "code" | WITHOUT),
            Self::Property(_) | Self::WillProperty(_) => true,
        }
    }
}

impl PacketSpec {
    /// The row of a packet.
    pub fn of(kind: PacketType) -> &'static Self {
        &PACKETS[kind as usize - 1]
    }

    /// Everything that a line of this packet may name, properties included.
    pub fn docs(&self) -> Vec<FieldDoc> {
        let doc = |field: &'static FieldSpec| FieldDoc {
            name: field.name,
            doc: field.doc,
            example: field.example,
            only_v5: is_v5_field(self.kind, field.name),
        };
        let mut docs: Vec<FieldDoc> = self.fields.iter().map(doc).collect();
        let property = |name, spec: &'static PropertySpec| FieldDoc {
            name,
            doc: spec.doc,
            example: spec.example,
            only_v5: true,
        };
        let of_packet = PROPERTIES.iter().filter(|spec| spec.packets.contains(&self.kind));
        docs.extend(of_packet.map(|spec| property(property_name(spec), spec)));
        if self.kind == PacketType::Connect {
            let of_will = PROPERTIES.iter().filter(|spec| spec.in_will);
            docs.extend(of_will.map(|spec| property(will_property_name(spec), spec)));
        }
        docs.extend(COMMON_FIELDS.iter().map(doc));
        docs
    }
}

fn property_name(spec: &'static PropertySpec) -> &'static str {
    if matches!(spec.make, Make::Pair(_)) { "user.NAME" } else { spec.name }
}

fn will_property_name(spec: &'static PropertySpec) -> &'static str {
    if matches!(spec.make, Make::Pair(_)) { "will.user.NAME" } else { spec.will_name }
}

/// The canonical name and the meaning of a name in a line of `kind`.
pub(super) fn lookup(kind: PacketType, name: &str) -> Option<(&'static str, Meaning)> {
    let spec = PacketSpec::of(kind);
    let fields = spec.fields.iter().chain(COMMON_FIELDS);
    if let Some(field) = fields.clone().find(|field| field.name == name) {
        return Some((field.name, Meaning::Field(field)));
    }
    let of_packet = |spec: &&PropertySpec| spec.packets.contains(&kind);
    let called = |spec: &&PropertySpec, name: &str| spec.name == name || spec.long_name == name;
    if let Some(spec) = PROPERTIES.iter().filter(of_packet).find(|spec| called(spec, name)) {
        return Some((spec.name, Meaning::Property(spec)));
    }
    if let Some(name) = name.strip_prefix("will.").filter(|_| kind == PacketType::Connect) {
        let spec = PROPERTIES.iter().filter(|spec| spec.in_will).find(|spec| called(spec, name))?;
        return Some((spec.will_name, Meaning::WillProperty(spec)));
    }
    if let Some(name) = name.strip_prefix("force.") {
        let spec = PROPERTIES.iter().find(|spec| called(spec, name))?;
        return Some((spec.forced_name, Meaning::Property(spec)));
    }
    let field = fields.clone().find(|field| field.alias == Some(name))?;
    Some((field.name, Meaning::Field(field)))
}

/// True for options of a filter, which belong to the filter before them.
pub(super) fn is_option(kind: PacketType, name: &str) -> bool {
    kind == PacketType::Subscribe && matches!(name, "qos" | "no_local" | "rap" | "rh" | "options")
}

/// True for fields that force something on the wire.
pub(super) fn is_send_only(kind: PacketType, name: &str) -> bool {
    matches!(name, "flags" | "length" | "connect_flags")
        || name.starts_with("force.")
        || (kind == PacketType::Subscribe && name == "options")
}

/// What `without=NAME` is about: a property, or what a CONNECT may lack. (`user` is a user property there too.)
pub(super) fn left_out(name: &str) -> Option<&'static str> {
    match name {
        "username" => return Some("user"),
        "password" => return Some("password"),
        "will.topic" => return Some("will.topic"),
        _ => {}
    }
    let called = |spec: &&PropertySpec| match spec.make {
        Make::Pair(_) => name == "user" || name == spec.long_name,
        _ => name == spec.name || name == spec.long_name,
    };
    PROPERTIES.iter().find(called).map(|spec| spec.name)
}

/// True for fields besides properties that older revisions do not have.
pub(super) fn is_v5_field(kind: PacketType, name: &str) -> bool {
    match kind {
        _ if name == "reason" => true,
        PacketType::Subscribe => matches!(name, "no_local" | "rap" | "rh"),
        PacketType::UnsubAck => name == "code",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::ProtocolVersion;
    use crate::mqtt::notation::PacketLine;

    #[test]
    fn rows_are_in_the_order_of_the_packet_types() {
        assert!(PACKETS.iter().map(|spec| spec.kind).eq(PacketType::ALL));
    }

    #[test]
    fn every_example_works() {
        for spec in PACKETS {
            let line = PacketLine::parse(spec.example).expect(spec.example);
            let built = line.build(ProtocolVersion::V5).expect(spec.example);
            assert!(built.packet.is_some(), "{}", spec.example);
            for doc in spec.docs() {
                // Options stand behind a filter, and an identifier belongs to QoS 1 and 2.
                let before = match (spec.kind, doc.name) {
                    (PacketType::Subscribe, name) if name != "filter" => "a",
                    (PacketType::Publish, "id") => "a qos=1",
                    _ => "",
                };
                let text = format!("{} {before} {}={}", spec.kind.name(), doc.name, doc.example);
                let line = PacketLine::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
                if doc.name != WITHOUT {
                    line.build(ProtocolVersion::V5).unwrap_or_else(|error| panic!("{text}: {error}"));
                }
                assert_eq!(line.needs_v5().is_some(), doc.only_v5, "{text}");
            }
        }
    }
}
