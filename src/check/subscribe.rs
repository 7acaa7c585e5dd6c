//! Answers to SUBSCRIBE and UNSUBSCRIBE (3.9, 3.11), and what is sent because of them (3.3).

use super::CheckSpec;
use super::conn::Request;
use super::look::{Look, breach};
use super::statements::Standard::{V5, V311};
use crate::mqtt::packet::{Publish, RetainHandling};
use crate::mqtt::{Packet, Property, QoS};

pub(super) const ANSWER_ID: CheckSpec = CheckSpec {
    name: "broker-answer-id",
    doc: "A SUBACK or UNSUBACK answers a SUBSCRIBE or UNSUBSCRIBE with its identifier, each once.",
    example: "> SUBSCRIBE t id=1\n< SUBACK id=2 0",
    cites: &[
        (V311, "MQTT-2.3.1-7"),
        (V311, "MQTT-3.8.4-2"),
        (V311, "MQTT-3.8.4-4"),
        (V311, "MQTT-3.10.4-4"),
        (V311, "MQTT-3.10.4-6"),
        (V5, "MQTT-2.2.1-6"),
        (V5, "MQTT-3.8.4-2"),
        (V5, "MQTT-3.8.4-5"),
        (V5, "MQTT-3.10.4-5"),
        (V5, "MQTT-3.10.4-6"),
    ],
    look: |look| {
        let (name, id, request, answered) = match look.packet()? {
            Packet::SubAck(ack) => ("SUBACK", ack.id, "SUBSCRIBE", true),
            Packet::UnsubAck(ack) => ("UNSUBACK", ack.id, "UNSUBSCRIBE", false),
            _ => return None,
        };
        let fits = match look.conn.requests.get(&id) {
            Some(Request::Subscribe(_)) => answered,
            Some(Request::Unsubscribe(_)) => !answered,
            None => false,
        };
        breach(!fits, format!("{name} id={id}, but no {request} with this identifier waits for an answer"))
    },
    ..CheckSpec::BROKER
};

pub(super) const ANSWER_COUNT: CheckSpec = CheckSpec {
    name: "broker-answer-count",
    doc: "A SUBACK, and in 5.0 an UNSUBACK, has one code for each filter of the request.",
    example: "> SUBSCRIBE a b id=1\n< SUBACK id=1 0",
    cites: &[(V311, "MQTT-3.8.4-5"), (V5, "MQTT-3.8.4-6"), (V5, "MQTT-3.11.3-2")],
    look: |look| {
        let (name, codes, filters) = match look.packet()? {
            Packet::SubAck(ack) => match look.conn.requests.get(&ack.id)? {
                Request::Subscribe(options) => ("SUBACK", ack.codes.len(), options.len()),
                Request::Unsubscribe(_) => return None,
            },
            Packet::UnsubAck(ack) if look.version.is_v5() => match look.conn.requests.get(&ack.id)? {
                Request::Unsubscribe(filters) => ("UNSUBACK", ack.codes.len(), *filters),
                Request::Subscribe(_) => return None,
            },
            _ => return None,
        };
        breach(codes != filters, format!("{name} with {codes} codes for {filters} filters"))
    },
    ..CheckSpec::BROKER
};

pub(super) const GRANTED: CheckSpec = CheckSpec {
    name: "broker-granted-qos",
    doc: "A SUBACK grants no more than was asked for.",
    example: "> SUBSCRIBE t qos=0 id=1\n< SUBACK id=1 1",
    cites: &[(V311, "MQTT-3.8.4-5"), (V5, "MQTT-3.8.4-7")],
    look: |look| {
        let Packet::SubAck(ack) = look.packet()? else { return None };
        let Request::Subscribe(asked) = look.conn.requests.get(&ack.id)? else { return None };
        let (code, most) =
            ack.codes.iter().zip(asked).find(|(code, asked)| code.0 <= 2 && code.0 > **asked)?;
        breach(true, format!("SUBACK grants QoS {}, but {most} was asked for", code.0))
    },
    ..CheckSpec::BROKER
};

/// A PUBLISH of the broker and the topic that it is to.
fn delivery<'a>(look: &Look<'a>) -> Option<(&'a Publish, &'a crate::mqtt::TopicName)> {
    let Packet::Publish(publish) = look.packet()? else { return None };
    Some((publish, look.conn.topic(look.from, publish)?))
}

pub(super) const MATCHES: CheckSpec = CheckSpec {
    name: "broker-topic-matches",
    doc: "What a broker sends is to a topic that a filter of the client's session matches.",
    example: "> SUBSCRIBE a id=1\n< SUBACK id=1 0\n< PUBLISH b \"x\"",
    cites: &[(V311, "MQTT-3.3.2-3"), (V311, "MQTT-4.7.2-1"), (V5, "MQTT-3.3.2-3"), (V5, "MQTT-4.7.2-1")],
    look: |look| {
        let (_, topic) = delivery(look)?;
        let matching = look.matching()?;
        breach(matching.is_empty(), format!("{topic} matches no filter that this client was granted"))
    },
    ..CheckSpec::BROKER
};

pub(super) const DELIVERED: CheckSpec = CheckSpec {
    name: "broker-delivered-qos",
    doc: "A broker sends nothing with a higher QoS than it granted.",
    example: "> SUBSCRIBE a qos=1 id=1\n< SUBACK id=1 0\n< PUBLISH a \"x\" qos=1 id=1",
    cites: &[(V311, "MQTT-3.8.4-6"), (V5, "MQTT-3.8.4-8"), (V5, "MQTT-4.8.2-3")],
    look: |look| {
        let (publish, _) = delivery(look)?;
        let matching = look.matching()?;
        let most: QoS = matching.iter().map(|ask| ask.most()).max()?;
        breach(publish.qos > most, format!("QoS {} where at most {most} was granted", publish.qos))
    },
    ..CheckSpec::BROKER
};

pub(super) const RETAINED: CheckSpec = CheckSpec {
    name: "broker-retain-flag",
    doc: "RETAIN is set in what is sent because of a SUBSCRIBE, at most once for each filter and topic, \
          and in nothing else unless Retain As Published asks for it.",
    example: "> SUBSCRIBE a id=1\n< SUBACK id=1 0\n< PUBLISH a \"x\" retain\n< PUBLISH a \"y\" retain",
    cites: &[(V311, "MQTT-3.3.1-9"), (V5, "MQTT-3.3.1-11"), (V5, "MQTT-3.3.1-12"), (V5, "U5-3.8.4-1")],
    look: |look| {
        let (publish, topic) = delivery(look)?;
        let conn = look.conn;
        let connect = conn.connect.as_ref()?;
        // mosquitto keeps the flag for bridges of 3.1.1.
        if !publish.retain || publish.dup || connect.bridge || conn.retained_unknown {
            return None;
        }
        let matching = look.matching()?;
        if matching.iter().any(|ask| ask.options.retain_as_published) {
            return None;
        }
        let asks = matching.iter().filter(|ask| {
            let shared = look.version.is_v5() && ask.filter.shared().is_some();
            ask.options.retain_handling != RetainHandling::DoNotSend && !shared
        });
        let most = asks.count();
        let found = conn.retained.get(topic).copied().unwrap_or(0) as usize + 1;
        let times = crate::text::plural(most, "filter");
        breach(
            found > most,
            format!("message {found} with RETAIN to {topic}, but {times} asked for retained ones"),
        )
    },
    ..CheckSpec::BROKER
};

/// Subscription identifiers of a PUBLISH.
fn identifiers(publish: &Publish) -> impl Iterator<Item = u32> + '_ {
    publish.properties.iter().filter_map(|property| match property {
        Property::SubscriptionIdentifier(id) => Some(*id),
        _ => None,
    })
}

pub(super) const IDENTIFIER: CheckSpec = CheckSpec {
    name: "broker-subscription-id",
    doc: "The subscription identifiers of a PUBLISH are of SUBSCRIBEs whose filters match its topic.",
    example: "> SUBSCRIBE a id=1 subscription_id=5\n< SUBACK id=1 0\n< PUBLISH a \"x\" subscription_id=6",
    cites: &[(V5, "U5-3.3.2-6"), (V5, "MQTT-3.3.4-5")],
    look: |look| {
        let (publish, _) = delivery(look)?;
        let matching = look.matching()?;
        let strange = identifiers(publish).find(|id| !matching.iter().any(|ask| ask.id == Some(*id)))?;
        breach(true, format!("subscription identifier {strange}, which no matching SUBSCRIBE had"))
    },
    ..CheckSpec::BROKER
};

pub(super) const IDENTIFIER_MISSING: CheckSpec = CheckSpec {
    name: "broker-subscription-id-missing",
    doc: "A PUBLISH carries a subscription identifier where every SUBSCRIBE that matches its topic had one.",
    example: "> SUBSCRIBE a id=1 subscription_id=5\n< SUBACK id=1 0\n< PUBLISH a \"x\"",
    cites: &[(V5, "MQTT-3.3.4-3"), (V5, "MQTT-3.3.4-4")],
    look: |look| {
        let (publish, _) = delivery(look)?;
        let matching = look.matching()?;
        let wanted = !matching.is_empty() && matching.iter().all(|ask| ask.id.is_some());
        breach(
            wanted && identifiers(publish).next().is_none(),
            "no subscription identifier, though every SUBSCRIBE that matches had one",
        )
    },
    ..CheckSpec::BROKER
};
