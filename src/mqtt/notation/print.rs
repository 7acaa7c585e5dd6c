//! From a packet to its fields, and to a line.

use bytes::Bytes;
use bytestring::ByteString;

use super::fields::{self, Form, Meaning};
use super::value::{Code, Value, is_plain, quote, written};
use crate::mqtt::packet::{Ack, Connect, Publish, Subscribe, Will};
use crate::mqtt::property::{self, PropertySpec};
use crate::mqtt::{Packet, Properties, ProtocolVersion, ReasonCode, TopicFilter};

/// One field of a packet, under the name that it has in a line.
#[derive(Debug)]
pub(super) struct Fact {
    pub name: &'static str,
    pub key: Option<ByteString>,
    pub value: Value,
    /// Which filter of a SUBSCRIBE or UNSUBSCRIBE, or which code, counted from 0.
    pub group: usize,
    /// What a line that does not name the field builds; such a field is not printed.
    pub default: bool,
}

impl Fact {
    fn new(name: &'static str, value: Value) -> Self {
        Self { name, key: None, value, group: 0, default: false }
    }

    fn flag(name: &'static str, flag: bool) -> Self {
        Self { default: !flag, ..Self::new(name, Value::Flag(flag)) }
    }

    fn number(name: &'static str, number: impl Into<u32>) -> Self {
        let number = number.into();
        Self { default: number == 0, ..Self::new(name, Value::Number(number)) }
    }

    fn bytes(name: &'static str, bytes: &Bytes) -> Self {
        Self::new(name, Value::Bytes(bytes.clone()))
    }

    fn text(name: &'static str, text: &ByteString) -> Self {
        Self::bytes(name, text.as_bytes())
    }

    fn code(name: &'static str, code: ReasonCode) -> Self {
        Self::new(name, Value::Code(Code::number(code)))
    }

    fn in_group(self, group: usize) -> Self {
        Self { group, ..self }
    }

    fn shown(self) -> Self {
        Self { default: false, ..self }
    }
}

/// Prints `packet` as one line that [`super::PacketLine::parse`] reads back. Passwords are printed:
/// redaction is the event log's business.
pub fn print(packet: &Packet, version: ProtocolVersion) -> String {
    let mut out = packet.packet_type().name().to_owned();
    for fact in facts(packet).iter().filter(|fact| is_shown(fact, packet, version)) {
        out.push(' ');
        out.push_str(&written_fact(fact, packet));
    }
    out
}

fn is_shown(fact: &Fact, packet: &Packet, version: ProtocolVersion) -> bool {
    match (fact.name, packet) {
        ("reason", _) => version.is_v5(),
        ("protocol" | "level", Packet::Connect(connect)) => connect.version != version,
        _ => !fact.default,
    }
}

fn written_fact(fact: &Fact, packet: &Packet) -> String {
    let name = fact.name;
    let value = match &fact.value {
        Value::Flag(true) => return name.to_owned(),
        Value::Flag(false) => "0".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Code(code) => written_code(name, code.v5),
        Value::Bytes(bytes) => written(bytes, matches!(name, "payload" | "will.payload")),
        Value::AnyError | Value::Length(_) => String::new(),
    };
    match (name, packet) {
        ("code" | "payload", _) | ("reason", Packet::Disconnect(_) | Packet::Auth(_)) => value,
        ("filter", _) | ("topic", Packet::Publish(_)) => match &fact.value {
            Value::Bytes(bytes) => written_position(name, bytes, packet),
            _ => value,
        },
        _ => match &fact.key {
            Some(key) => format!("{}={value}", written_key(name, key)),
            None => format!("{name}={value}"),
        },
    }
}

/// A topic or filter in its place without a name, if it cannot be taken for a flag.
fn written_position(name: &str, bytes: &[u8], packet: &Packet) -> String {
    let value = written(bytes, false);
    let plain = std::str::from_utf8(bytes).is_ok_and(is_plain);
    let lookup = fields::lookup(packet.packet_type(), &value);
    let is_flag = matches!(lookup, Some((_, Meaning::Field(spec))) if spec.form == Form::Flag);
    match (plain, is_flag, name) {
        (true, false, _) => value,
        (_, _, "topic") => format!("topic={value}"),
        // In quotes it is a filter all the same.
        _ => String::from_utf8(bytes.to_vec()).map_or(value, |text| quote(&text)),
    }
}

fn written_code(name: &str, code: ReasonCode) -> String {
    if name == "code" && code.0 < 0x10 { code.0.to_string() } else { code.to_string() }
}

fn written_key(name: &str, key: &str) -> String {
    let prefix = name.trim_end_matches("user_property");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(plain) {
        format!("{prefix}user.{key}")
    } else {
        format!("{prefix}user.{}", quote(key))
    }
}

/// All fields of `packet`, in the order in which they are printed.
pub(super) fn facts(packet: &Packet) -> Vec<Fact> {
    match packet {
        Packet::Connect(connect) => connect_facts(connect),
        Packet::ConnAck(ack) => {
            let mut facts =
                vec![Fact::code("code", ack.code), Fact::flag("session_present", ack.session_present)];
            facts.extend(property_facts(&ack.properties));
            facts
        }
        Packet::Publish(publish) => publish_facts(publish),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack_facts(ack)
        }
        Packet::Subscribe(subscribe) => subscribe_facts(subscribe),
        Packet::Unsubscribe(unsubscribe) => {
            let mut facts = filter_facts(unsubscribe.filters.iter());
            facts.push(Fact::number("id", unsubscribe.id.get()));
            facts.extend(property_facts(&unsubscribe.properties));
            facts
        }
        Packet::SubAck(ack) => codes_facts(ack.id.get(), &ack.codes, &ack.properties),
        Packet::UnsubAck(ack) => codes_facts(ack.id.get(), &ack.codes, &ack.properties),
        Packet::PingReq | Packet::PingResp => vec![],
        Packet::Disconnect(packet) => reason_facts(packet.reason, &packet.properties),
        Packet::Auth(packet) => reason_facts(packet.reason, &packet.properties),
    }
}

fn connect_facts(connect: &Connect) -> Vec<Fact> {
    let protocol = ByteString::from_static(connect.version.protocol_name());
    let mut facts = vec![
        Fact::text("protocol", &protocol),
        Fact::number("level", connect.version.level()),
        Fact::flag("bridge", connect.bridge),
        Fact::flag("clean", connect.clean_start),
        Fact { default: connect.client_id.is_empty(), ..Fact::text("client", &connect.client_id) },
        Fact::number("keepalive", connect.keep_alive),
    ];
    facts.extend(connect.username.as_ref().map(|name| Fact::text("user", name)));
    facts.extend(connect.password.as_ref().map(|password| Fact::bytes("password", password)));
    if let Some(Will { topic, payload, qos, retain, properties }) = &connect.will {
        facts.push(Fact::text("will.topic", topic.as_byte_string()));
        facts.push(Fact::bytes("will.payload", payload));
        facts.push(Fact::number("will.qos", qos.as_u8()));
        facts.push(Fact::flag("will.retain", *retain));
        facts.extend(properties.iter().map(|property| property_fact(property, |spec| spec.will_name)));
    }
    facts.extend(property_facts(&connect.properties));
    facts
}

fn publish_facts(publish: &Publish) -> Vec<Fact> {
    let mut facts = vec![
        Fact::text("topic", publish.topic.as_byte_string()),
        Fact::bytes("payload", &publish.payload),
        Fact::number("qos", publish.qos.as_u8()),
    ];
    facts.extend(publish.id.map(|id| Fact::number("id", id.get())));
    facts.push(Fact::flag("dup", publish.dup));
    facts.push(Fact::flag("retain", publish.retain));
    facts.extend(property_facts(&publish.properties));
    facts
}

fn ack_facts(ack: &Ack) -> Vec<Fact> {
    let mut facts = vec![Fact::number("id", ack.id.get())];
    facts.extend(reason_facts(ack.reason, &ack.properties));
    facts
}

fn reason_facts(reason: ReasonCode, properties: &Properties) -> Vec<Fact> {
    let mut facts = vec![Fact::code("reason", reason)];
    facts.extend(property_facts(properties));
    facts
}

fn filter_facts<'a>(filters: impl Iterator<Item = &'a TopicFilter>) -> Vec<Fact> {
    filters
        .enumerate()
        .map(|(at, filter)| Fact::text("filter", filter.as_byte_string()).in_group(at))
        .collect()
}

fn subscribe_facts(subscribe: &Subscribe) -> Vec<Fact> {
    let mut facts = vec![];
    for (at, subscription) in subscribe.subscriptions.iter().enumerate() {
        let options = subscription.options;
        facts.extend(
            [
                Fact::text("filter", subscription.filter.as_byte_string()),
                Fact::number("qos", options.qos.as_u8()).shown(),
                Fact::flag("no_local", options.no_local),
                Fact::flag("rap", options.retain_as_published),
                Fact::number("rh", options.retain_handling as u8),
            ]
            .map(|fact| fact.in_group(at)),
        );
    }
    facts.push(Fact::number("id", subscribe.id.get()));
    facts.extend(property_facts(&subscribe.properties));
    facts
}

fn codes_facts(id: u16, codes: &[ReasonCode], properties: &Properties) -> Vec<Fact> {
    let mut facts = vec![Fact::number("id", id)];
    facts.extend(codes.iter().enumerate().map(|(at, code)| Fact::code("code", *code).in_group(at)));
    facts.extend(property_facts(properties));
    facts
}

fn property_facts(properties: &Properties) -> impl Iterator<Item = Fact> + '_ {
    properties.iter().map(|property| property_fact(property, |spec| spec.name))
}

fn property_fact(property: &crate::mqtt::Property, name: fn(&'static PropertySpec) -> &'static str) -> Fact {
    let name = name(property.spec());
    match property.value() {
        property::Value::Byte(value) => Fact::number(name, value).shown(),
        property::Value::TwoByte(value) => Fact::number(name, value).shown(),
        property::Value::FourByte(value) | property::Value::Variable(value) => {
            Fact::number(name, value).shown()
        }
        property::Value::Text(text) => Fact::text(name, text),
        property::Value::Binary(bytes) => Fact::bytes(name, bytes),
        property::Value::Pair(key, value) => Fact { key: Some(key.clone()), ..Fact::text(name, value) },
    }
}
