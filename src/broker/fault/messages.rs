//! Messages on their way to subscribers: lost, doubled, late, out of order, altered.
//!
//! Properties and retained messages have files of their own.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::acks::reversed;
use super::wire::{Deed, Rewriter, Seen, Way, messages, minding, publications};
use super::{Family, FaultSpec, fault};
use crate::mqtt::packet::{Ack, Publish};
use crate::mqtt::{Packet, PacketId, QoS, TopicName};

pub(super) const FAMILY: Family = Family {
    title: "messages",
    chapters: &["3.3", "4.1", "4.5", "4.6", "1.5", "2.", "6", "4.7"],
    faults: FAULTS,
};

const FAULTS: &[FaultSpec] = &[
    fault("none", "does nothing: a control for those that look for faults", || messages(|_, _| Deed::Pass)),
    fault("loses-messages", "no message arrives", || messages(|_, _| Deed::Drop)),
    fault("loses-qos0", "no message of QoS 0 arrives", || {
        messages(|publish, _| if publish.id.is_none() { Deed::Drop } else { Deed::Pass })
    }),
    fault("loses-first", "the first message of a connection is lost", || loses(|count| count == 1)),
    fault("loses-every-second", "every second message of a connection is lost", || {
        loses(|count| count % 2 == 0)
    }),
    fault("loses-every-third", "every third message of a connection is lost", || {
        loses(|count| count % 3 == 0)
    }),
    fault("loses-to-publisher", "a client does not get what it published itself", || {
        let mut own = BTreeSet::new();
        minding(move |_, way, packet| match (way, packet) {
            (Way::Up, Packet::Publish(publish)) => {
                own.insert(publish.payload.clone());
                false
            }
            (Way::Down, Packet::Publish(publish)) => own.contains(&publish.payload) && !publish.retain,
            _ => false,
        })
    }),
    fault("loses-empty", "messages without payload are lost", || {
        messages(|publish, _| if publish.payload.is_empty() { Deed::Drop } else { Deed::Pass })
    }),
    fault("loses-large", "messages of more than 1,000 bytes are lost", || {
        messages(|publish, _| if publish.payload.len() > 1000 { Deed::Drop } else { Deed::Pass })
    }),
    fault("loses-empty-levels", "topics with an empty level match nothing (corner 39)", || {
        messages(|publish, _| {
            let empty = publish.topic.as_str().split('/').any(str::is_empty);
            if empty { Deed::Drop } else { Deed::Pass }
        })
    }),
    fault("loses-dollar", "topics with a `$` match nothing", || {
        messages(|publish, _| if publish.topic.as_str().starts_with('$') { Deed::Drop } else { Deed::Pass })
    }),
    fault("loses-further-in-flight", "only the first QoS 1 or 2 message in flight arrives", || {
        messages(|publish, _| if publish.id.is_some_and(|id| id.get() > 1) { Deed::Drop } else { Deed::Pass })
    }),
    fault("doubles-messages", "every QoS 0 message arrives twice", || {
        messages(|publish, _| if publish.id.is_none() { Deed::Twice } else { Deed::Pass })
    }),
    fault("doubles-acknowledged", "every QoS 1 and 2 message arrives once more with QoS 0", || {
        super::wire::handling(Way::Down, |wire, packet| {
            if let Packet::Publish(publish) = packet
                && publish.id.is_some()
            {
                let again = Publish { dup: false, qos: QoS::AtMostOnce, id: None, ..publish.clone() };
                wire.send(Way::Down, Packet::Publish(again));
            }
            false
        })
    }),
    fault("reverses-messages", "messages that come at once come in reverse", || {
        reversed(|packet| matches!(packet, Packet::Publish(_)))
    }),
    fault("swaps-messages", "each second message of a publisher overtakes the one before it", swaps_messages),
    fault("delays-messages", "a message comes only when the next has come", || {
        let mut held: Option<Publish> = None;
        super::wire::handling(Way::Down, move |wire, packet| {
            let Packet::Publish(publish) = packet else { return false };
            if let Some(before) = held.replace(publish.clone()) {
                wire.send(Way::Down, Packet::Publish(before));
            }
            true
        })
    }),
    fault("lowers-qos", "every message has QoS 0", || lowers(|_| true)),
    fault("lowers-qos2", "QoS 2 arrives as QoS 0", || lowers(|publish| publish.qos == QoS::ExactlyOnce)),
    fault("raises-qos", "QoS 0 arrives as QoS 1", || raises(|publish| publish.id.is_none())),
    fault("alters-payload", "the first byte of each payload is another", || {
        alters(|payload| {
            if let Some(first) = payload.first_mut() {
                *first ^= 1;
            }
        })
    }),
    fault("truncates-payload", "the last byte of each payload is missing", || {
        alters(|payload| {
            payload.pop();
        })
    }),
    fault("empties-payload", "every payload is empty", || alters(Vec::clear)),
    fault("repairs-utf8", "payloads that are not UTF-8 are made so", || {
        alters(|payload| *payload = String::from_utf8_lossy(payload).into_owned().into_bytes())
    }),
    fault("cuts-payload-at-nul", "a payload ends at its first zero byte", || {
        alters(|payload| {
            payload.truncate(payload.iter().position(|byte| *byte == 0).unwrap_or(payload.len()));
        })
    }),
    fault("lowercases-topics", "topics arrive in lower case", || topics(str::to_lowercase)),
    fault("ignores-case", "topics that differ only in case are the same", || {
        publications(|publish, _| rename(publish, str::to_lowercase))
    }),
    fault("trims-slashes", "slashes at the ends of topics are lost", || {
        topics(|topic| topic.trim_matches('/').to_owned())
    }),
    fault("merges-slashes", "empty levels within topics are lost", || {
        publications(|publish, _| {
            rename(publish, |topic| topic.replace("//", "/").trim_matches('/').to_owned())
        })
    }),
    fault("trims-spaces", "spaces in topics are lost", || topics(|topic| topic.replace(' ', ""))),
    fault("strips-bom", "U+FEFF in topics is lost", || topics(|topic| topic.replace('\u{FEFF}', ""))),
    fault("normalizes-topics", "characters beyond ASCII in topics become `?`", || {
        topics(|topic| topic.chars().map(|it| if it.is_ascii() { it } else { '?' }).collect())
    }),
    fault("shortens-topics", "topics of more than 200 bytes are cut", || {
        topics(|topic| topic.chars().take(200).collect())
    }),
    fault("loses-last-level", "topics arrive without their last level", || {
        topics(|topic| topic.rsplit_once('/').map_or(topic, |(front, _)| front).to_owned())
    }),
    fault("answers-with-alias", "topics arrive as aliases that were never declared", || {
        messages(|publish, line| {
            if line.is_v5() {
                publish.topic = TopicName::aliased();
                publish.properties.push(crate::mqtt::Property::TopicAlias(1));
            }
            Deed::Pass
        })
    }),
    fault("sends-unasked", "a message that nobody subscribed to arrives after CONNACK", || {
        super::wire::handling(Way::Down, |wire, packet| {
            let good = matches!(packet, Packet::ConnAck(answer) if answer.code.0 == 0);
            if let (true, Ok(topic)) = (good, TopicName::new("unasked")) {
                wire.send(Way::Down, packet.clone());
                let publish = Publish {
                    dup: false,
                    qos: QoS::AtMostOnce,
                    retain: false,
                    topic,
                    id: None,
                    payload: Bytes::from_static(b"hello"),
                    properties: crate::mqtt::Properties::new(),
                };
                wire.send(Way::Down, Packet::Publish(publish));
            }
            good
        })
    }),
];

fn loses(which: fn(u64) -> bool) -> Rewriter {
    let mut count = 0;
    messages(move |_, _| {
        count += 1;
        if which(count) { Deed::Drop } else { Deed::Pass }
    })
}

fn alters(edit: fn(&mut Vec<u8>)) -> Rewriter {
    messages(move |publish, _| {
        let mut payload = publish.payload.to_vec();
        edit(&mut payload);
        publish.payload = payload.into();
        Deed::Pass
    })
}

fn topics(edit: fn(&str) -> String) -> Rewriter {
    messages(move |publish, _| rename(publish, edit))
}

/// Where nothing is left of the topic, the message is lost.
fn rename(publish: &mut Publish, edit: fn(&str) -> String) -> Deed {
    if publish.topic.is_empty() {
        return Deed::Pass;
    }
    match TopicName::new(edit(publish.topic.as_str())) {
        Ok(topic) => {
            publish.topic = topic;
            Deed::Pass
        }
        Err(_) => Deed::Drop,
    }
}

/// Two messages that come at once are published the other way round.
fn swaps_messages() -> Rewriter {
    let mut held: Option<Seen> = None;
    Box::new(move |wire, seen| match &seen {
        Seen::Frame(Way::Up, frame) if matches!(frame.packet(), Some(Packet::Publish(_))) => {
            match held.take() {
                None => held = Some(seen),
                Some(before) => {
                    wire.pass(seen);
                    wire.pass(before);
                }
            }
        }
        Seen::Frame(Way::Up, _) | Seen::Pause(Way::Up) | Seen::End(Way::Up) => {
            if let Some(before) = held.take() {
                wire.pass(before);
            }
            wire.pass(seen);
        }
        _ => wire.pass(seen),
    })
}

/// Messages arrive with QoS 0; the broker is told that they were acknowledged.
pub(super) fn lowers(mut which: impl FnMut(&Publish) -> bool + Send + 'static) -> Rewriter {
    let mut released = BTreeSet::new();
    minding(move |wire, way, packet| match (way, packet) {
        (Way::Down, Packet::Publish(publish)) if publish.id.is_some() && which(publish) => {
            let Some(id) = publish.id else { return false };
            let lower = Publish { dup: false, qos: QoS::AtMostOnce, id: None, ..publish.clone() };
            wire.send(Way::Down, Packet::Publish(lower));
            if publish.qos == QoS::ExactlyOnce {
                released.insert(id);
                wire.send(Way::Up, Packet::PubRec(Ack::success(id)));
            } else {
                wire.send(Way::Up, Packet::PubAck(Ack::success(id)));
            }
            true
        }
        (Way::Down, Packet::PubRel(ack)) if released.remove(&ack.id) => {
            wire.send(Way::Up, Packet::PubComp(Ack::success(ack.id)));
            true
        }
        _ => false,
    })
}

/// Messages of QoS 0 arrive with QoS 1; the acknowledgement goes no further.
pub(super) fn raises(mut which: impl FnMut(&Publish) -> bool + Send + 'static) -> Rewriter {
    const FROM: u16 = 60_000;
    let mut last = FROM;
    minding(move |wire, way, packet| match (way, packet) {
        (Way::Down, Packet::Publish(publish)) if publish.id.is_none() && which(publish) => {
            last = last.saturating_add(1);
            let raised = Publish { qos: QoS::AtLeastOnce, id: PacketId::new(last), ..publish.clone() };
            wire.send(Way::Down, Packet::Publish(raised));
            true
        }
        (Way::Up, Packet::PubAck(ack)) => ack.id.get() > FROM && ack.id.get() <= last,
        _ => false,
    })
}
