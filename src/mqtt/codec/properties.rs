//! Properties on the wire: where each may stand, how often, with which values (2.2.2 and chapter 3
//! of MQTT 5.0). The table of names and forms is [`crate::mqtt::property::PROPERTIES`].

use super::error::{DecodeErrorKind as Kind, Fault, Rule};
use super::reader::Reader;
use crate::mqtt::packet::PacketType;
use crate::mqtt::property::{Make, PropertySpec, Value};
use crate::mqtt::{Properties, Property, TopicName};

/// Where a list of properties stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the variable header of this packet.
    Header(PacketType),
    /// In the payload of CONNECT, for the will.
    Will,
}

/// Reads a property length and the properties behind it.
pub(super) fn read(reader: &mut Reader, place: Place) -> Result<Properties, Fault> {
    // [MQTT-2.2.2-1]
    let len = reader.varint("property length")?;
    if len == 0 {
        return Ok(Properties::new());
    }
    let mut section = reader.section(len as usize, "the properties")?;
    let mut list = Vec::new();
    // One bit an identifier; the largest is 0x2A.
    let mut seen = 0_u64;
    while section.left() > 0 {
        let id = section.varint("property identifier")?;
        let spec = u8::try_from(id).ok().and_then(PropertySpec::of_id).ok_or_else(|| {
            let detail = format!("no property has the identifier 0x{id:02x}");
            Fault::new(Kind::UnknownProperty, Rule::v5("U5-2.2.2-1"), detail)
        })?;
        check_place(spec, place)?;
        let bit = 1_u64 << spec.id;
        if seen & bit != 0 && !may_repeat(spec, place) {
            let detail = format!("{} stands there twice", spec.long_name);
            return Err(Fault::new(Kind::DuplicateProperty, once_rule(spec, place), detail));
        }
        seen |= bit;
        let property = read_value(&mut section, spec)?;
        check_value(&property, place)?;
        list.push(property);
    }
    let properties = Properties::from(list);
    check_companions(&properties, place)?;
    Ok(properties)
}

fn check_place(spec: &PropertySpec, place: Place) -> Result<(), Fault> {
    let (allowed, name) = match place {
        Place::Header(packet) => (spec.packets.contains(&packet), packet.name()),
        Place::Will => (spec.in_will, "a will"),
    };
    if allowed {
        return Ok(());
    }
    let detail = format!("{} may not stand in {name}", spec.long_name);
    Err(Fault::new(Kind::MisplacedProperty, Rule::v5("U5-2.2.2-1"), detail))
}

fn may_repeat(spec: &PropertySpec, place: Place) -> bool {
    match place {
        Place::Header(packet) => spec.repeats_in(packet),
        Place::Will => matches!(spec.make, Make::Pair(_)),
    }
}

fn read_value(reader: &mut Reader, spec: &PropertySpec) -> Result<Property, Fault> {
    let what = spec.long_name;
    Ok(match spec.make {
        Make::Byte(make) => make(reader.u8(what)?),
        Make::TwoByte(make) => make(reader.u16(what)?),
        Make::FourByte(make) => make(reader.u32(what)?),
        Make::Variable(make) => make(reader.varint(what)?),
        // [MQTT-3.3.2-13], [MQTT-3.3.2-19] of 5.0
        Make::Text(make) => make(reader.string(what)?),
        Make::Binary(make) => make(reader.binary(what)?),
        // [MQTT-1.5.7-1], [U5-1.5.7-1] of 5.0
        Make::Pair(make) => {
            let name = reader.string(what)?;
            make(name, reader.string(what)?)
        }
    })
}

/// The values that the text forbids one by one.
fn check_value(property: &Property, place: Place) -> Result<(), Fault> {
    let rule = value_rule(property, place);
    let forbidden = match property {
        Property::PayloadFormatIndicator(value)
        | Property::RequestProblemInformation(value)
        | Property::RequestResponseInformation(value)
        | Property::MaximumQoS(value)
        | Property::RetainAvailable(value)
        | Property::WildcardSubscriptionAvailable(value)
        | Property::SubscriptionIdentifierAvailable(value)
        | Property::SharedSubscriptionAvailable(value) => *value > 1,
        Property::ReceiveMaximum(0)
        | Property::MaximumPacketSize(0)
        | Property::SubscriptionIdentifier(0) => true,
        // [MQTT-3.3.2-8]
        Property::TopicAlias(0) => {
            return Err(Fault::new(Kind::BadTopicAlias, rule, "topic alias 0"));
        }
        // [MQTT-3.3.2-14]
        Property::ResponseTopic(topic) => TopicName::new(topic.clone()).is_err(),
        _ => false,
    };
    if forbidden {
        let name = property.spec().long_name;
        let detail = match property.value() {
            Value::Byte(value) => format!("{name} may not be {value}"),
            Value::TwoByte(_) | Value::FourByte(_) | Value::Variable(_) => format!("{name} may not be 0"),
            Value::Text(_) | Value::Binary(_) | Value::Pair(..) => {
                format!("{name} is not a topic that could be published to")
            }
        };
        return Err(Fault::new(Kind::BadProperty, rule, detail));
    }
    Ok(())
}

/// Properties that are nothing without another one.
fn check_companions(properties: &Properties, place: Place) -> Result<(), Fault> {
    let has_data = properties.authentication_data().is_some();
    let has_method = properties.authentication_method().is_some();
    if place == Place::Header(PacketType::Connect) && has_data && !has_method {
        let rule = Rule::v5("U5-3.1.2-12");
        return Err(Fault::new(Kind::MissingProperty, rule, "authentication data without a method"));
    }
    Ok(())
}

fn value_rule(property: &Property, place: Place) -> Rule {
    Rule::v5(match (property, place) {
        (Property::TopicAlias(_), _) => "MQTT-3.3.2-8",
        (Property::ResponseTopic(_), _) => "MQTT-3.3.2-14",
        (Property::SubscriptionIdentifier(_), Place::Header(PacketType::Publish)) => "U5-3.3.2-5",
        (Property::SubscriptionIdentifier(_), _) => "U5-3.8.2-1",
        (_, Place::Header(PacketType::ConnAck)) => "U5-3.2.2-1",
        (Property::ReceiveMaximum(_), _) => "U5-3.1.2-4",
        (Property::MaximumPacketSize(_), _) => "U5-3.1.2-5",
        (Property::RequestResponseInformation(_), _) => "U5-3.1.2-8",
        (Property::RequestProblemInformation(_), _) => "U5-3.1.2-9",
        (Property::PayloadFormatIndicator(_), _) => "U5-3.3.2-7",
        _ => "MQTT-4.13.1-1",
    })
}

/// The sentence that says that a property stands there once.
fn once_rule(spec: &PropertySpec, place: Place) -> Rule {
    let packet = match place {
        Place::Will => return Rule::v5("U5-3.1.3-1"),
        Place::Header(packet) => packet,
    };
    Rule::v5(match packet {
        PacketType::Connect => match spec.id {
            0x11 => "U5-3.1.2-3",
            0x21 => "U5-3.1.2-4",
            0x27 => "U5-3.1.2-5",
            0x22 => "U5-3.1.2-7",
            0x19 => "U5-3.1.2-8",
            0x17 => "U5-3.1.2-9",
            0x15 => "U5-3.1.2-11",
            _ => "U5-3.1.2-12",
        },
        PacketType::ConnAck => "U5-3.2.2-1",
        PacketType::Publish => "U5-3.3.2-2",
        PacketType::Subscribe => "U5-3.8.2-1",
        PacketType::Disconnect if spec.id == 0x11 => "U5-3.14.2-2",
        PacketType::Disconnect => "U5-3.14.2-4",
        PacketType::Auth => "U5-3.15.2-1",
        _ => "U5-3.4.2-2",
    })
}
