//! Limits that one end gives the other: sizes, quotas, times, what is there at all (3.1.2.10, 3.1.2.11, 3.2.2.3
//! and 4.9 of 5.0).
//!
//! A client that does not wait for CONNACK cannot know what that says; it is judged by it only from when it
//! is sure to have read it.

use super::look::{Breach, Look, breach};
use super::statements::Standard::{V5, V311};
use super::{CheckSpec, Party};
use crate::mqtt::packet::{ConnAck, Publish, Subscribe};
use crate::mqtt::{Packet, Properties, Property, QoS, ReasonCode};

/// Seconds that a packet may be on its way longer than the one before it.
const DELAY: f64 = 5.0;
/// Seconds that clocks and timers may be off.
const SLACK: f64 = 0.02;

/// The CONNACK, if the client knows it.
fn known<'a>(look: &Look<'a>) -> Option<&'a ConnAck> {
    look.conn.told_at.filter(|told| *told <= look.at)?;
    look.conn.accepted()
}

fn publish<'a>(look: &Look<'a>) -> Option<&'a Publish> {
    match look.packet()? {
        Packet::Publish(publish) => Some(publish),
        _ => None,
    }
}

fn subscribe<'a>(look: &Look<'a>) -> Option<&'a Subscribe> {
    match look.packet()? {
        Packet::Subscribe(subscribe) => Some(subscribe),
        _ => None,
    }
}

pub(super) const CLIENT_PACKET_SIZE: CheckSpec = CheckSpec {
    name: "client-packet-size",
    doc: "A client sends nothing larger than the Maximum Packet Size of the broker.",
    example: "< CONNACK 0 maximum_packet_size=10\n> PUBLISH a \"much too long\"",
    cites: &[
        (V5, "MQTT-3.2.2-15"),
        (V5, "U5-3.2.2-6"),
        (V5, "MQTT-3.4.2-2"),
        (V5, "MQTT-3.4.2-3"),
        (V5, "MQTT-3.5.2-2"),
        (V5, "MQTT-3.5.2-3"),
        (V5, "MQTT-3.6.2-2"),
        (V5, "MQTT-3.6.2-3"),
        (V5, "MQTT-3.7.2-2"),
        (V5, "MQTT-3.7.2-3"),
        (V5, "MQTT-3.14.2-3"),
        (V5, "MQTT-3.14.2-4"),
        (V5, "MQTT-3.15.2-2"),
        (V5, "MQTT-3.15.2-3"),
    ],
    always: true,
    look: |look| too_large(look, &known(look)?.properties),
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_PACKET_SIZE: CheckSpec = CheckSpec {
    name: "broker-packet-size",
    doc: "A broker sends nothing larger than the Maximum Packet Size of the client.",
    example: "> CONNECT clean client=a maximum_packet_size=20\n< CONNACK 0 reason_string=\"much too long\"",
    cites: &[
        (V5, "MQTT-3.1.2-24"),
        (V5, "MQTT-3.2.2-19"),
        (V5, "MQTT-3.2.2-20"),
        (V5, "MQTT-3.4.2-2"),
        (V5, "MQTT-3.4.2-3"),
        (V5, "MQTT-3.5.2-2"),
        (V5, "MQTT-3.5.2-3"),
        (V5, "MQTT-3.6.2-2"),
        (V5, "MQTT-3.6.2-3"),
        (V5, "MQTT-3.7.2-2"),
        (V5, "MQTT-3.7.2-3"),
        (V5, "MQTT-3.9.2-1"),
        (V5, "MQTT-3.9.2-2"),
        (V5, "MQTT-3.11.2-1"),
        (V5, "MQTT-3.11.2-2"),
        (V5, "MQTT-3.14.2-3"),
        (V5, "MQTT-3.14.2-4"),
        (V5, "MQTT-3.15.2-2"),
        (V5, "MQTT-3.15.2-3"),
    ],
    always: true,
    look: |look| {
        let mut found = too_large(look, &look.conn.connect.as_ref()?.properties)?;
        found.statement = Some("MQTT-3.1.2-24");
        Some(found)
    },
    ..CheckSpec::BROKER
};

fn too_large(look: &Look<'_>, limits: &Properties) -> Option<Breach> {
    let limit = limits.maximum_packet_size()?;
    let size = look.size;
    breach(size > limit as usize, format!("{size} bytes for a {} that takes {limit}", look.from.peer()))
}

pub(super) const CLIENT_RECEIVE_MAXIMUM: CheckSpec = CheckSpec {
    name: "client-receive-maximum",
    doc: "A client has no more QoS 1 and 2 messages unacknowledged than the Receive Maximum of the broker.",
    example: "< CONNACK 0 receive_maximum=1\n> PUBLISH a \"x\" qos=1 id=1\n> PUBLISH a \"y\" qos=1 id=2",
    cites: &[(V5, "MQTT-3.3.4-7"), (V5, "MQTT-4.9.0-1"), (V5, "MQTT-4.9.0-2")],
    look: |look| too_many(look, &known(look)?.properties),
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_RECEIVE_MAXIMUM: CheckSpec = CheckSpec {
    name: "broker-receive-maximum",
    doc: "A broker has no more QoS 1 and 2 messages unacknowledged than the Receive Maximum of the client.",
    example: "> CONNECT clean client=a receive_maximum=1\n< PUBLISH a \"x\" qos=1 id=1\n< PUBLISH a \"y\" qos=1 id=2",
    cites: &[(V5, "MQTT-3.3.4-9"), (V5, "MQTT-4.9.0-1"), (V5, "MQTT-4.9.0-2"), (V5, "U5-4.9-1")],
    look: |look| too_many(look, &look.conn.connect.as_ref()?.properties),
    ..CheckSpec::BROKER
};

fn too_many(look: &Look<'_>, limits: &Properties) -> Option<Breach> {
    publish(look)?.id?;
    let most = limits.receive_maximum().unwrap_or(u16::MAX);
    let open = look.conn.side(look.from).flights.balance + 1;
    let receiver = look.from.peer();
    breach(
        open > i64::from(most),
        format!("{open} messages unacknowledged for a {receiver} that takes {most}"),
    )
}

pub(super) const CLIENT_MAXIMUM_QOS: CheckSpec = CheckSpec {
    name: "client-maximum-qos",
    doc: "A client publishes with no higher QoS than the Maximum QoS of the broker.",
    example: "< CONNACK 0 maximum_qos=0\n> PUBLISH a \"x\" qos=1 id=1",
    cites: &[(V5, "MQTT-3.2.2-11"), (V5, "U5-3.2.2-4")],
    always: true,
    look: |look| {
        let most = known(look)?.properties.maximum_qos()?;
        let qos = publish(look)?.qos;
        breach(qos.as_u8() > most, format!("QoS {qos} to a broker that takes at most {most}"))
    },
    ..CheckSpec::CLIENT
};

pub(super) const CLIENT_RETAIN: CheckSpec = CheckSpec {
    name: "client-retain-available",
    doc: "A client sends nothing with RETAIN to a broker that keeps no messages.",
    example: "< CONNACK 0 retain_available=0\n> PUBLISH a \"x\" retain",
    cites: &[(V5, "MQTT-3.2.2-14"), (V5, "U5-3.2.2-5")],
    always: true,
    look: |look| {
        let none = known(look)?.properties.retain_available() == Some(0);
        breach(none && publish(look)?.retain, "RETAIN to a broker that keeps no messages")
    },
    ..CheckSpec::CLIENT
};

pub(super) const CLIENT_UNAVAILABLE: CheckSpec = CheckSpec {
    name: "client-unavailable",
    doc: "A client subscribes in no way that the broker said that it lacks: wildcards, subscription \
          identifiers, shared subscriptions.",
    example: "< CONNACK 0 wildcard_available=0\n> SUBSCRIBE a/# id=1",
    cites: &[(V5, "U5-3.2.2-7"), (V5, "U5-3.2.2-8"), (V5, "U5-3.2.2-9")],
    always: true,
    look: |look| {
        let answer = known(look)?;
        let subscribe = subscribe(look)?;
        let lacks = |property: &Property| answer.properties.iter().any(|one| one == property);
        let any =
            |test: fn(&str) -> bool| subscribe.subscriptions.iter().any(|one| test(one.filter.as_str()));
        if lacks(&Property::WildcardSubscriptionAvailable(0)) && any(|filter| filter.contains(['+', '#'])) {
            Some(Breach::of(Some("U5-3.2.2-7"), "a wildcard for a broker that has none"))
        } else if lacks(&Property::SubscriptionIdentifierAvailable(0))
            && subscribe.properties.subscription_identifier().is_some()
        {
            Some(Breach::of(Some("U5-3.2.2-8"), "a subscription identifier for a broker that has none"))
        } else if lacks(&Property::SharedSubscriptionAvailable(0))
            && any(|filter| filter.starts_with("$share/"))
        {
            Some(Breach::of(Some("U5-3.2.2-9"), "a shared subscription for a broker that has none"))
        } else {
            None
        }
    },
    ..CheckSpec::CLIENT
};

pub(super) const CLIENT_KEEP_ALIVE: CheckSpec = CheckSpec {
    name: "client-keep-alive",
    doc: "A client lets no more than its keep-alive pass between two packets. Found when it is overdue by half, \
          and by 5 s.",
    example: "> CONNECT clean client=a keepalive=10\n< CONNACK 0",
    cites: &[(V311, "MQTT-3.1.2-23"), (V5, "MQTT-3.1.2-20"), (V5, "MQTT-3.1.2-21"), (V5, "MQTT-3.2.2-21")],
    always: true,
    look: |look| {
        let limit = f64::from(look.conn.keep_alive().filter(|secs| *secs > 0)?);
        let silent = look.at - look.conn.side(Party::Client).last_at?;
        let late = silent > (limit * 1.5).max(limit + DELAY);
        breach(late, format!("after {silent:.1} s, where the keep-alive is {limit} s"))
    },
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_KEEP_ALIVE: CheckSpec = CheckSpec {
    name: "broker-keep-alive",
    doc: "A broker that says Keep Alive timeout has heard nothing for one and a half times the keep-alive.",
    example: "> CONNECT clean client=a keepalive=10\n< CONNACK 0\n< DISCONNECT 0x8d",
    cites: &[(V5, "MQTT-3.1.2-22"), (V5, "MQTT-3.2.2-22")],
    look: |look| {
        let Packet::Disconnect(goodbye) = look.packet()? else { return None };
        let limit = f64::from(look.conn.keep_alive()?);
        let silent = look.at - look.conn.side(Party::Client).last_at?;
        let early = goodbye.reason == ReasonCode::KEEP_ALIVE_TIMEOUT && silent + SLACK < limit * 1.5;
        let sentence = format!("Keep Alive timeout after {silent:.2} s, where the keep-alive is {limit} s");
        breach(early, sentence)
    },
    ..CheckSpec::BROKER
};

pub(super) const WILL_LIMITS: CheckSpec = CheckSpec {
    name: "broker-will-limits",
    doc: "A broker refuses a will that is above its Maximum QoS, or retained where it keeps no messages.",
    example: "> CONNECT clean client=a will.topic=w will.qos=2\n< CONNACK 0 maximum_qos=1",
    cites: &[(V5, "MQTT-3.2.2-12"), (V5, "MQTT-3.2.2-13")],
    always: true,
    look: |look| {
        let (connect, answer) = look.first_answer()?;
        let will = connect.will.as_ref().filter(|_| answer.code == ReasonCode::SUCCESS)?;
        let most = answer.properties.maximum_qos().unwrap_or(QoS::ExactlyOnce.as_u8());
        if will.qos.as_u8() > most {
            let sentence = format!("a will with QoS {} is accepted, where the maximum is {most}", will.qos);
            return Some(Breach::of(Some("MQTT-3.2.2-12"), sentence));
        }
        let kept = will.retain && answer.properties.retain_available() == Some(0);
        breach(kept, Breach::of(Some("MQTT-3.2.2-13"), "a retained will is accepted, where nothing is kept"))
    },
    ..CheckSpec::BROKER
};
