//! Topic aliases and what else stands in a PUBLISH (3.3.2 of 5.0).

use super::CheckSpec;
use super::look::{Breach, Look, breach};
use super::statements::Standard::V5;
use crate::mqtt::Packet;

pub(super) const CLIENT_ALIAS_LIMIT: CheckSpec = CheckSpec {
    name: "client-alias-limit",
    doc: "A client uses no topic alias above the Topic Alias Maximum of the broker; without one, none.",
    example: "< CONNACK 0 topic_alias_maximum=1\n> PUBLISH a \"x\" topic_alias=2",
    cites: &[(V5, "MQTT-3.2.2-17"), (V5, "MQTT-3.2.2-18"), (V5, "MQTT-3.3.2-9"), (V5, "U5-3.3.2-3")],
    always: true,
    look: |look| {
        let answer = look.conn.accepted()?;
        alias_limit(look, answer.properties.topic_alias_maximum())
    },
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_ALIAS_LIMIT: CheckSpec = CheckSpec {
    name: "broker-alias-limit",
    doc: "A broker uses no topic alias above the Topic Alias Maximum of the client; without one, none.",
    example: "> CONNECT clean client=a topic_alias_maximum=1\n< PUBLISH a \"x\" topic_alias=2",
    cites: &[(V5, "MQTT-3.1.2-26"), (V5, "MQTT-3.1.2-27"), (V5, "MQTT-3.3.2-11"), (V5, "U5-3.3.2-3")],
    always: true,
    look: |look| {
        let connect = look.conn.connect.as_ref()?;
        alias_limit(look, connect.properties.topic_alias_maximum())
    },
    ..CheckSpec::BROKER
};

fn alias_limit(look: &Look<'_>, most: Option<u16>) -> Option<Breach> {
    let Packet::Publish(publish) = look.packet()? else { return None };
    let alias = publish.properties.topic_alias()?;
    let most = most.unwrap_or(0);
    breach(alias > most, format!("topic alias {alias}, where the maximum is {most}"))
}

pub(super) const CLIENT_ALIAS_DECLARED: CheckSpec = CheckSpec {
    name: "client-alias-declared",
    doc: "A topic alias of a client has been given a topic on this connection before it stands for it.",
    example: "> PUBLISH topic=\"\" \"x\" topic_alias=1",
    cites: &[(V5, "MQTT-3.3.2-7"), (V5, "U5-3.3.2-4")],
    always: true,
    look: alias_declared,
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_ALIAS_DECLARED: CheckSpec = CheckSpec {
    name: "broker-alias-declared",
    doc: "A topic alias of a broker has been given a topic on this connection before it stands for it.",
    example: "< PUBLISH topic=\"\" \"x\" topic_alias=1",
    cites: &[(V5, "MQTT-3.3.2-7"), (V5, "U5-3.3.2-4")],
    always: true,
    look: alias_declared,
    ..CheckSpec::BROKER
};

fn alias_declared(look: &Look<'_>) -> Option<Breach> {
    let Packet::Publish(publish) = look.packet()? else { return None };
    let alias = publish.properties.topic_alias().filter(|_| publish.topic.is_empty())?;
    let declared = look.conn.side(look.from).aliases.contains_key(&alias);
    breach(!declared, format!("topic alias {alias} stands for no topic"))
}

pub(super) const CLIENT_IDENTIFIER: CheckSpec = CheckSpec {
    name: "client-subscription-id",
    doc: "A PUBLISH of a client has no subscription identifier.",
    example: "> PUBLISH a \"x\" subscription_id=1",
    cites: &[(V5, "MQTT-3.3.4-6")],
    always: true,
    look: |look| {
        let Packet::Publish(publish) = look.packet()? else { return None };
        let given = publish.properties.subscription_identifier();
        breach(given.is_some(), "a subscription identifier in a PUBLISH of a client")
    },
    ..CheckSpec::CLIENT
};
