//! `properties:` of MQTT 5.0, to send and to test, by the names that packet lines use.

use bytestring::ByteString;

use super::matchers::matcher;
use super::values;
use crate::mqtt::packet::PacketType;
use crate::mqtt::property::{Make, PROPERTIES, PropertySpec};
use crate::mqtt::{Properties, Property, ProtocolVersion};
use crate::scenario::matcher::PropertyMatch;
use crate::scenario::node::{Key, Kind, Node};
use crate::scenario::scope::{Scope, suggest};

/// The key of user properties: a map from names to values.
const USER: &str = "user";

/// What carries the properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scenario) enum Carrier {
    /// A packet.
    Packet(PacketType),
    /// The will of a CONNECT.
    Will,
}

impl Carrier {
    fn takes(self, spec: &PropertySpec) -> bool {
        match self {
            Self::Will => spec.in_will,
            Self::Packet(kind) => spec.packets.contains(&kind),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Will => "a will",
            Self::Packet(kind) => kind.name(),
        }
    }
}

/// True if the revision has properties; else an error at `node`.
pub(in crate::scenario) fn needs_v5(
    scope: &Scope,
    node: &Node,
    what: &str,
    version: ProtocolVersion,
) -> bool {
    if !version.is_v5() {
        let message = format!("{what} needs MQTT 5.0, and this runs under {version}");
        let help = "run the scenario under 5 alone (`matrix: {protocol: [\"5\"]}`), or leave it out";
        scope.error_help("L015", &node.span, message, help);
    }
    version.is_v5()
}

/// Properties to send.
pub(in crate::scenario) fn to_send(
    scope: &Scope,
    node: &Node,
    carrier: Carrier,
    version: ProtocolVersion,
) -> Properties {
    let mut found = Properties::new();
    for (key, value, spec) in entries(scope, node, carrier, version) {
        match spec.make {
            Make::Pair(make) => {
                for (name, value) in pairs(scope, value) {
                    if let Some(text) = scope.text(value, &name.text) {
                        found.push(make(ByteString::from(name.text.as_str()), text.into()));
                    }
                }
            }
            _ => {
                for item in values::one_or_many(value) {
                    if let Some(property) = one(scope, item, &key.text, spec) {
                        found.push(property);
                    }
                }
            }
        }
    }
    found
}

/// Tests on properties that come.
pub(in crate::scenario) fn to_match(
    scope: &Scope,
    node: &Node,
    carrier: Carrier,
    version: ProtocolVersion,
) -> Vec<PropertyMatch> {
    let mut found = Vec::new();
    for (_, value, spec) in entries(scope, node, carrier, version) {
        if matches!(spec.make, Make::Pair(_)) {
            for (name, value) in pairs(scope, value) {
                let name = format!("{USER}.{}", name.text);
                found.extend(property_match(scope, value, name));
            }
        } else {
            found.extend(property_match(scope, value, spec.name.to_owned()));
        }
    }
    found
}

/// `absent` means that it must not be there.
fn property_match(scope: &Scope, node: &Node, name: String) -> Option<PropertyMatch> {
    if node.lexeme() == Some("absent") {
        return Some(PropertyMatch { name, matcher: None });
    }
    let matcher = matcher(scope, node, &name)?;
    Some(PropertyMatch { name, matcher: Some(matcher) })
}

fn entries<'n>(
    scope: &Scope,
    node: &'n Node,
    carrier: Carrier,
    version: ProtocolVersion,
) -> Vec<(&'n Key, &'n Node, &'static PropertySpec)> {
    let Kind::Map(entries) = &node.kind else {
        scope.wrong(node, "properties", "a map from property names to values");
        return Vec::new();
    };
    if !entries.is_empty() && !needs_v5(scope, node, "a property", version) {
        return Vec::new();
    }
    let mut known = Vec::new();
    for (key, value) in entries {
        let is_it = |spec: &&PropertySpec| match spec.make {
            Make::Pair(_) => key.text == USER || key.text == spec.long_name,
            _ => key.text == spec.name || key.text == spec.long_name,
        };
        match PROPERTIES.iter().find(is_it) {
            Some(spec) if carrier.takes(spec) => known.push((key, value, spec)),
            Some(_) => {
                let message = format!("{} cannot carry the property `{}`", carrier.name(), key.text);
                let help = "a packet line (`packets: |`) can send it all the same";
                scope.error_help("L005", &key.span, message, help);
            }
            None => {
                let names = PROPERTIES.iter().filter(|spec| carrier.takes(spec)).map(name_of);
                let help = suggest(&key.text, names, "");
                let shown = crate::text::escape(&key.text);
                scope.error_help("L004", &key.span, format!("there is no property `{shown}`"), help);
            }
        }
    }
    known
}

fn name_of(spec: &PropertySpec) -> &'static str {
    if matches!(spec.make, Make::Pair(_)) { USER } else { spec.name }
}

fn pairs<'n>(scope: &Scope, node: &'n Node) -> &'n [(Key, Node)] {
    if let Kind::Map(entries) = &node.kind {
        entries
    } else {
        scope.wrong(node, USER, "a map from names to values");
        &[]
    }
}

fn one(scope: &Scope, node: &Node, what: &str, spec: &PropertySpec) -> Option<Property> {
    let number = |max: u32| values::count(scope, node, what, 0, max);
    match spec.make {
        Make::Byte(make) => u8::try_from(number(u8::MAX.into())?).ok().map(make),
        Make::TwoByte(make) => u16::try_from(number(u16::MAX.into())?).ok().map(make),
        Make::FourByte(make) => number(u32::MAX).map(make),
        Make::Variable(make) => number(268_435_455).map(make),
        Make::Text(make) => scope.text(node, what).map(|text| make(text.into())),
        Make::Binary(make) => match &node.kind {
            Kind::Map(entries) if matches!(entries.as_slice(), [(key, _)] if key.text == "hex") => {
                values::hex(scope, &entries[0].1, "hex").map(make)
            }
            _ => scope.text(node, what).map(|text| make(text.into())),
        },
        Make::Pair(_) => None,
    }
}
