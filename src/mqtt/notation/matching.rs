//! Compares a packet that came with a line that was expected.

use super::fields::{self, Form};
use super::print::{Fact, facts};
use super::value::{self, Value};
use super::{Field, Mismatch, PacketLine, open};
use crate::mqtt::Packet;

/// The numbers that the line leaves open, if the packet is what it says.
pub(super) fn line(line: &PacketLine, packet: &Packet) -> Result<Vec<(String, u32)>, Mismatch> {
    if line.kind != packet.packet_type() {
        return Err(Mismatch {
            field: "type".to_owned(),
            expected: line.kind.name().to_owned(),
            actual: packet.packet_type().name().to_owned(),
        });
    }
    let facts = facts(packet);
    let mut used = vec![false; facts.len()];
    let mut filters = 0_usize;
    let mut codes = 0;
    let mut captures = Vec::new();
    for field in line.fields.iter().filter(|field| field.name != fields::WITHOUT) {
        let option = fields::is_option(line.kind, field.name);
        let group = match field.name {
            "filter" => filters,
            "code" => codes,
            _ if option => filters.saturating_sub(1),
            _ => 0,
        };
        filters += usize::from(field.name == "filter");
        codes += usize::from(field.name == "code");
        let same_name = |fact: &Fact| fact.name == field.name && fact.group == group;
        // [MQTT-3.3.2-18] (5): user properties have an order.
        let start = if field.key.is_some() {
            used.iter()
                .zip(&facts)
                .rposition(|(used, fact)| *used && fact.name == field.name)
                .map_or(0, |at| at + 1)
        } else {
            0
        };
        let found = (start..facts.len())
            .find(|at| !used[*at] && same_name(&facts[*at]) && is_equal(line, field, &facts[*at]));
        match found {
            Some(at) => {
                used[at] = true;
                if let (Some(name), Value::Number(number)) = (open::name_of(line, field), &facts[at].value) {
                    captures.push((name.to_owned(), *number));
                }
            }
            None => return Err(mismatch(field, facts.iter().filter(|fact| same_name(fact)))),
        }
    }
    for field in line.fields.iter().filter(|field| field.name == fields::WITHOUT) {
        let name = fields::left_out(&field.value);
        let mut others = facts.iter().zip(&used).filter(|(fact, used)| !**used && Some(fact.name) == name);
        if let Some((fact, _)) = others.next() {
            let mismatch = mismatch(field, std::iter::once(fact));
            return Err(Mismatch { field: fact.name.to_owned(), expected: "none".to_owned(), ..mismatch });
        }
    }
    for (name, named) in [("filter", filters), ("code", codes)] {
        let there = facts.iter().filter(|fact| fact.name == name).count();
        if named > 0 && named != there {
            return Err(Mismatch {
                field: name.to_owned(),
                expected: crate::text::plural(named, name),
                actual: crate::text::plural(there, name),
            });
        }
    }
    Ok(captures)
}

/// Whether the field says what the packet has. A field that can only be sent never does.
fn is_equal(line: &PacketLine, field: &Field, fact: &Fact) -> bool {
    if field.key.as_deref() != fact.key.as_deref() {
        return false;
    }
    if open::name_of(line, field).is_some() {
        return matches!(fact.value, Value::Number(_));
    }
    let form = fields::lookup(line.kind, field.name).map_or(Form::Bytes, |(_, meaning)| meaning.form());
    match (value::read(line.kind, form, field), &fact.value) {
        (Ok(Value::Code(wanted)), Value::Code(is)) => wanted.is(is.v5),
        (Ok(Value::AnyError), Value::Code(is)) => value::is_error(line.kind, is.v5),
        (Ok(wanted), is) => wanted == *is,
        (Err(_), _) => false,
    }
}

fn mismatch<'a>(field: &Field, found: impl Iterator<Item = &'a Fact>) -> Mismatch {
    let shown = |name: &str, key: Option<&str>, value: String| match key {
        Some(key) => format!("{name}.{key}={value}"),
        None => value,
    };
    let actual: Vec<String> = found
        .map(|fact| {
            let value = match &fact.value {
                Value::Flag(flag) => u8::from(*flag).to_string(),
                Value::Number(number) => number.to_string(),
                Value::Bytes(bytes) => value::written(bytes, false),
                Value::Code(code) => code.v5.to_string(),
                Value::AnyError | Value::Length(_) => String::new(),
            };
            shown("user", fact.key.as_deref(), value)
        })
        .collect();
    let expected = match (field.value.as_str(), field.quoted) {
        ("", false) => "1".to_owned(),
        (text, false) => text.to_owned(),
        (text, true) => value::written(text.as_bytes(), false),
    };
    Mismatch {
        field: field.name.to_owned(),
        expected: shown("user", field.key.as_deref(), expected),
        actual: if actual.is_empty() { "none".to_owned() } else { actual.join(", ") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::ProtocolVersion;

    /// `ok`, or what differs, when the packet of one line is matched against another.
    fn matched(expected: &str, came: &str) -> String {
        let packet = PacketLine::parse(came)
            .and_then(|line| line.build(ProtocolVersion::V5))
            .unwrap_or_else(|error| panic!("{came}: {error}"))
            .packet
            .expect("well-formed");
        match PacketLine::parse(expected).expect(expected).matches(&packet) {
            Ok(()) => "ok".to_owned(),
            Err(mismatch) => format!("{}: {} != {}", mismatch.field, mismatch.expected, mismatch.actual),
        }
    }

    #[test]
    fn what_is_not_named_is_not_checked() {
        let came = "PUBLISH a/b \"21.5\" qos=1 id=7 retain user.x=1 user.x=2 content_type=text";
        assert_eq!(matched("PUBLISH", came), "ok");
        assert_eq!(matched("PUBLISH a/b \"21.5\"", came), "ok");
        assert_eq!(matched("PUBLISH id=7 dup=0 retain user.x=2", came), "ok");
        assert_eq!(
            matched("PUBLISH user.x=1 user.x=1", came),
            "user_property: user.x=1 != user.x=1, user.x=2"
        );
        assert_eq!(matched("PUBLISH a/c", came), "topic: a/c != a/b");
        assert_eq!(matched("PUBLISH retain=0", came), "retain: 0 != 1");
        assert_eq!(matched("PUBLISH dup", came), "dup: 1 != 0");
        assert_eq!(matched("PUBLISH topic_alias=1", came), "topic_alias: 1 != none");
        assert_eq!(matched("PUBLISH \"hex:00\"", came), "payload: \"hex:00\" != 21.5");
        assert_eq!(matched("PUBLISH flags=2", came), "flags: 2 != none");
        assert_eq!(matched("PUBACK", came), "type: PUBACK != PUBLISH");
    }

    #[test]
    fn user_properties_come_in_their_order() {
        let came = "PUBLISH a user.x=1 user.y=2 user.x=3";
        assert_eq!(matched("PUBLISH user.x=1 user.y=2 user.x=3", came), "ok");
        assert_eq!(matched("PUBLISH user.x=1 user.x=3", came), "ok");
        assert_eq!(
            matched("PUBLISH user.y=2 user.x=1", came),
            "user_property: user.x=1 != user.x=1, user.y=2, user.x=3"
        );
    }

    #[test]
    fn what_must_not_be_there() {
        let came = "PUBLISH a subscription_id=1 subscription_id=2 user.x=1";
        assert_eq!(matched("PUBLISH without=topic_alias without=content_type", came), "ok");
        assert_eq!(matched("PUBLISH without=topic_alias", "PUBLISH topic_alias=1"), "topic_alias: none != 1");
        assert_eq!(
            matched("PUBLISH subscription_id=1 without=subscription_id", came),
            "subscription_id: none != 2"
        );
        assert_eq!(
            matched("PUBLISH subscription_id=2 subscription_id=1 without=subscription_id", came),
            "ok"
        );
        assert_eq!(matched("PUBLISH without=user", came), "user_property: none != user.x=1");
        assert_eq!(matched("PUBLISH user.x=1 without=user", came), "ok");
        let came = "CONNECT client=c user=alice will.topic=t will.payload=\"x\"";
        assert_eq!(matched("CONNECT without=user without=password", came), "ok");
        assert_eq!(matched("CONNECT without=username", came), "user: none != alice");
        assert_eq!(matched("CONNECT without=will.topic", came), "will.topic: none != t");
    }

    #[test]
    fn lists_are_compared_whole() {
        assert_eq!(matched("SUBACK", "SUBACK id=3 1 0x80"), "ok");
        assert_eq!(matched("SUBACK 1 unspecified_error", "SUBACK id=3 1 0x80"), "ok");
        assert_eq!(matched("SUBACK 1", "SUBACK id=3 1 0x80"), "code: 1 code != 2 codes");
        assert_eq!(matched("SUBACK 0x80 1", "SUBACK id=3 1 0x80"), "code: 0x80 != 0x01");
        let came = "SUBSCRIBE a qos=1 b qos=2 rap id=1";
        assert_eq!(matched("SUBSCRIBE a b rap", came), "ok");
        assert_eq!(matched("SUBSCRIBE a rap b", came), "rap: 1 != 0");
        assert_eq!(matched("SUBSCRIBE a qos=2 b", came), "qos: 2 != 1");
    }

    #[test]
    fn codes_go_by_number_or_name() {
        assert_eq!(matched("CONNACK not_authorized", "CONNACK 0x87"), "ok");
        assert_eq!(matched("CONNACK not_authorized", "CONNACK 0x86"), "code: not_authorized != 0x86");
        assert_eq!(matched("DISCONNECT normal_disconnection", "DISCONNECT"), "ok");
        assert_eq!(matched("PUBACK quota_exceeded", "PUBACK id=1 0x97"), "ok");
    }
}
