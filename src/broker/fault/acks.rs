//! Acknowledgements that are missing, doubled, of the wrong kind, or for the wrong packet; QoS 2 that is
//! not exactly once.

use std::collections::BTreeSet;

use super::wire::{Deed, Rewriter, Seen, Way, both, down, handling, messages, minding, up};
use super::{Family, FaultSpec, fault};
use crate::mqtt::packet::{Ack, PacketType, Publish};
use crate::mqtt::{Packet, PacketId, Properties, Property, QoS, ReasonCode};

pub(super) const FAMILY: Family = Family {
    title: "acknowledgements",
    chapters: &["2.2", "2.3", "3.3", "3.4", "3.5", "3.6", "3.7", "4.3", "4.4", "4.6", "4.9"],
    faults: FAULTS,
};

const FAULTS: &[FaultSpec] = &[
    fault("puback-missing", "PUBACK is never sent", || loses(PacketType::PubAck)),
    fault("pubrec-missing", "PUBREC is never sent", || loses(PacketType::PubRec)),
    fault("pubrel-missing", "PUBREL is never sent", || loses(PacketType::PubRel)),
    fault("pubcomp-missing", "PUBCOMP is never sent", || loses(PacketType::PubComp)),
    fault("suback-missing", "SUBACK is never sent", || loses(PacketType::SubAck)),
    fault("unsuback-missing", "UNSUBACK is never sent", || loses(PacketType::UnsubAck)),
    fault("puback-twice", "PUBACK comes twice", || doubles(PacketType::PubAck)),
    fault("pubrec-twice", "PUBREC comes twice", || doubles(PacketType::PubRec)),
    fault("pubrel-twice", "PUBREL comes twice", || doubles(PacketType::PubRel)),
    fault("pubcomp-twice", "PUBCOMP comes twice", || doubles(PacketType::PubComp)),
    fault("suback-twice", "SUBACK comes twice", || doubles(PacketType::SubAck)),
    fault("unsuback-twice", "UNSUBACK comes twice", || doubles(PacketType::UnsubAck)),
    fault("puback-wrong-id", "PUBACK has another identifier", || wrong_id(PacketType::PubAck)),
    fault("pubrec-wrong-id", "PUBREC has another identifier", || wrong_id(PacketType::PubRec)),
    fault("pubrel-wrong-id", "PUBREL has another identifier", || wrong_id(PacketType::PubRel)),
    fault("pubcomp-wrong-id", "PUBCOMP has another identifier", || wrong_id(PacketType::PubComp)),
    fault("suback-wrong-id", "SUBACK has another identifier", || wrong_id(PacketType::SubAck)),
    fault("unsuback-wrong-id", "UNSUBACK has another identifier", || wrong_id(PacketType::UnsubAck)),
    fault("puback-for-qos2", "QoS 2 is answered by PUBACK", || {
        down(|packet, _| {
            if let Packet::PubRec(ack) = packet {
                *packet = Packet::PubAck(ack.clone());
            }
            Deed::Pass
        })
    }),
    fault("pubrec-for-qos1", "QoS 1 is answered by PUBREC", || {
        down(|packet, _| {
            if let Packet::PubAck(ack) = packet {
                *packet = Packet::PubRec(ack.clone());
            }
            Deed::Pass
        })
    }),
    fault("pubcomp-for-pubrec", "PUBREC of the client is answered by PUBCOMP", || {
        down(|packet, _| {
            if let Packet::PubRel(ack) = packet {
                *packet = Packet::PubComp(ack.clone());
            }
            Deed::Pass
        })
    }),
    fault("acks-with-other-success", "PUBACK and PUBREC say 0x10 although somebody subscribed", || {
        recodes(&[PacketType::PubAck, PacketType::PubRec], |_| ReasonCode::NO_MATCHING_SUBSCRIBERS)
    }),
    fault("acks-refuse", "PUBACK and PUBREC refuse what is passed on", || {
        recodes(&[PacketType::PubAck, PacketType::PubRec], |_| ReasonCode::UNSPECIFIED_ERROR)
    }),
    fault("acks-never-refuse", "PUBACK and PUBREC never refuse", || {
        recodes(&[PacketType::PubAck, PacketType::PubRec], |code| {
            if code.is_success() { code } else { ReasonCode::SUCCESS }
        })
    }),
    fault("pubcomp-0x92", "PUBCOMP does not know the identifier", || {
        recodes(&[PacketType::PubComp], |_| ReasonCode::PACKET_IDENTIFIER_NOT_FOUND)
    }),
    fault("pubcomp-never-0x92", "PUBCOMP knows every identifier", || {
        recodes(&[PacketType::PubComp], |_| ReasonCode::SUCCESS)
    }),
    fault("pubrel-0x92", "PUBREL says that the identifier is not known", || {
        recodes(&[PacketType::PubRel], |_| ReasonCode::PACKET_IDENTIFIER_NOT_FOUND)
    }),
    fault("acks-reversed", "acknowledgements come in the wrong order", || {
        reversed(|packet| {
            matches!(packet, Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_) | Packet::PubRel(_))
        })
    }),
    fault("pubcomp-without-pubrel", "PUBCOMP comes at once with PUBREC", || {
        handling(Way::Down, |wire, packet| {
            if let Packet::PubRec(ack) = packet {
                wire.send(Way::Down, packet.clone());
                wire.send(Way::Down, Packet::PubComp(Ack::success(ack.id)));
                return true;
            }
            false
        })
    }),
    fault("acks-without-asking", "acknowledges what was never sent", || {
        handling(Way::Down, |wire, packet| {
            if matches!(packet, Packet::ConnAck(answer) if answer.code == ReasonCode::SUCCESS)
                && let Some(id) = PacketId::new(77)
            {
                wire.send(Way::Down, packet.clone());
                wire.send(Way::Down, Packet::PubAck(Ack::success(id)));
                return true;
            }
            false
        })
    }),
    fault(
        "problem-information-unasked",
        "reason strings and user properties where they are not wanted",
        || {
            down(|packet, line| {
                if line.is_v5() {
                    match packet {
                        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => {
                            explain(&mut ack.properties);
                        }
                        Packet::SubAck(ack) => explain(&mut ack.properties),
                        Packet::UnsubAck(ack) => explain(&mut ack.properties),
                        _ => {}
                    }
                }
                Deed::Pass
            })
        },
    ),
    fault(
        "qos2-repeat-delivered",
        "QoS 2 that is repeated before PUBREL is delivered again (corner 40)",
        || {
            let mut known = BTreeSet::new();
            handling(Way::Up, move |wire, packet| {
                match packet {
                    Packet::Publish(publish) if publish.qos == QoS::ExactlyOnce => {
                        let again = publish.id.is_some_and(|id| !known.insert(id)) || publish.dup;
                        if again {
                            wire.send(Way::Up, Packet::Publish(copy(publish)));
                        }
                    }
                    Packet::PubRel(ack) => {
                        known.remove(&ack.id);
                    }
                    _ => {}
                }
                false
            })
        },
    ),
    fault("qos2-id-never-freed", "a QoS 2 identifier that was released still counts as a repeat", || {
        let mut known = BTreeSet::new();
        handling(Way::Up, move |wire, packet| match packet {
            Packet::Publish(publish) if publish.qos == QoS::ExactlyOnce => match publish.id {
                Some(id) if !known.insert(id) => {
                    wire.send(Way::Down, Packet::PubRec(Ack::success(id)));
                    true
                }
                _ => false,
            },
            _ => false,
        })
    }),
    fault("qos1-repeat-ignored", "QoS 1 with DUP is taken for one that is known", || {
        handling(Way::Up, |wire, packet| match packet {
            Packet::Publish(Publish { dup: true, qos: QoS::AtLeastOnce, id: Some(id), .. }) => {
                wire.send(Way::Down, Packet::PubAck(Ack::success(*id)));
                true
            }
            _ => false,
        })
    }),
    fault("qos1-id-never-freed", "a second QoS 1 message with an identifier of before is dropped", || {
        let mut known = BTreeSet::new();
        handling(Way::Up, move |wire, packet| match packet {
            Packet::Publish(Publish { qos: QoS::AtLeastOnce, id: Some(id), .. }) if !known.insert(*id) => {
                wire.send(Way::Down, Packet::PubAck(Ack::success(*id)));
                true
            }
            _ => false,
        })
    }),
    fault("dup-passed-on", "DUP of the publisher reaches the subscribers", || {
        both(|packet, way, line| {
            let Packet::Publish(publish) = packet else { return };
            let topic = publish.topic.as_str();
            match way {
                Way::Up if publish.dup => {
                    line.shared.set("dup", topic, 1);
                }
                Way::Down if publish.id.is_some() => publish.dup |= line.shared.get("dup", topic).is_some(),
                _ => {}
            }
        })
    }),
    fault("pubrel-not-resent", "PUBREL is not repeated after a reconnect (corner 42)", || {
        let mut asked = BTreeSet::new();
        minding(move |_, way, packet| match (way, packet) {
            (Way::Up, Packet::PubRec(ack)) => {
                asked.insert(ack.id);
                false
            }
            (Way::Down, Packet::PubRel(ack)) => !asked.contains(&ack.id),
            _ => false,
        })
    }),
    fault("redelivers-after-pubrec", "PUBLISH is repeated although PUBREC had come", || {
        minding(|wire, way, packet| match (way, packet) {
            (Way::Down, Packet::PubRel(ack)) => {
                if let Ok(topic) = crate::mqtt::TopicName::new("again") {
                    let again = Publish {
                        dup: true,
                        qos: QoS::ExactlyOnce,
                        retain: false,
                        topic,
                        id: Some(ack.id),
                        payload: "again".into(),
                        properties: Properties::new(),
                    };
                    wire.send(Way::Down, Packet::Publish(again));
                }
                false
            }
            _ => false,
        })
    }),
    fault("redelivery-without-dup", "repeats without DUP (corner 41)", || {
        messages(|publish, _| {
            publish.dup = false;
            Deed::Pass
        })
    }),
    fault("redelivery-missing", "nothing is repeated after a reconnect (corner 41)", || {
        messages(|publish, _| if publish.dup { Deed::Drop } else { Deed::Pass })
    }),
    fault("redelivery-reversed", "repeats come in reverse (corner 41)", || {
        reversed(|packet| matches!(packet, Packet::Publish(publish) if publish.dup))
    }),
    fault("redelivery-with-new-id", "repeats have another identifier", || {
        messages(|publish, _| {
            if publish.dup {
                publish.id = publish.id.map(|id| id.next().next().next());
            }
            Deed::Pass
        })
    }),
    fault("dup-on-first", "the first PUBLISH has DUP", || {
        messages(|publish, _| {
            publish.dup = publish.id.is_some();
            Deed::Pass
        })
    }),
    fault("resends-at-once", "QoS 1 and 2 are sent twice on one connection", || {
        handling(Way::Down, |wire, packet| {
            let Packet::Publish(publish) = packet else { return false };
            if publish.id.is_some() {
                wire.send(Way::Down, packet.clone());
                wire.send(Way::Down, Packet::Publish(Publish { dup: true, ..publish.clone() }));
            }
            publish.id.is_some()
        })
    }),
    fault("never-takes-puback", "what the client acknowledged is repeated after a reconnect", || {
        up(|packet, _| if matches!(packet, Packet::PubAck(_)) { Deed::Drop } else { Deed::Pass })
    }),
    fault("never-takes-pubrec", "PUBREC of the client is not heard", || {
        up(|packet, _| if matches!(packet, Packet::PubRec(_)) { Deed::Drop } else { Deed::Pass })
    }),
    fault("never-takes-pubcomp", "PUBCOMP of the client is not heard", || {
        up(|packet, _| if matches!(packet, Packet::PubComp(_)) { Deed::Drop } else { Deed::Pass })
    }),
    fault("pubrec-refusal-unheard", "goes on with PUBREL although PUBREC refused", || {
        up(|packet, _| {
            if let Packet::PubRec(ack) = packet {
                ack.reason = ReasonCode::SUCCESS;
            }
            Deed::Pass
        })
    }),
    fault("puback-refusal-repeated", "what PUBACK refused is sent again", || {
        let mut last: Option<Publish> = None;
        minding(move |wire, way, packet| {
            match (way, packet) {
                (Way::Down, Packet::Publish(publish)) => last = Some(publish.clone()),
                (Way::Up, Packet::PubAck(ack) | Packet::PubRec(ack)) if !ack.reason.is_success() => {
                    if let Some(publish) = last.take() {
                        wire.send(Way::Down, Packet::Publish(Publish { dup: true, ..publish }));
                    }
                }
                _ => {}
            }
            false
        })
    }),
    fault("message-ids-all-1", "every message has packet identifier 1", || {
        messages(|publish, _| {
            publish.id = publish.id.map(|_| PacketId::FIRST);
            Deed::Pass
        })
    }),
    fault("message-id-0", "messages have packet identifier 0", || {
        Box::new(|wire, seen| {
            if let Seen::Frame(Way::Down, frame) = &seen
                && let Some(Packet::Publish(publish)) = frame.packet()
                && publish.id.is_some()
            {
                let mut bytes = frame.bytes.to_vec();
                let at = bytes.len() - frame.body().len() + 2 + publish.topic.as_str().len();
                if let Some(id) = bytes.get_mut(at..at + 2) {
                    id.fill(0);
                }
                return wire.raw(Way::Down, bytes);
            }
            wire.pass(seen);
        })
    }),
];

fn loses(kind: PacketType) -> Rewriter {
    down_of(kind, |_| Deed::Drop)
}

fn doubles(kind: PacketType) -> Rewriter {
    down_of(kind, |_| Deed::Twice)
}

fn wrong_id(kind: PacketType) -> Rewriter {
    down_of(kind, |packet| {
        let id = match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
                &mut ack.id
            }
            Packet::SubAck(ack) => &mut ack.id,
            Packet::UnsubAck(ack) => &mut ack.id,
            _ => return Deed::Pass,
        };
        *id = id.next();
        Deed::Pass
    })
}

fn down_of(kind: PacketType, edit: fn(&mut Packet) -> Deed) -> Rewriter {
    down(move |packet, _| if packet.packet_type() == kind { edit(packet) } else { Deed::Pass })
}

fn recodes(kinds: &'static [PacketType], code: fn(ReasonCode) -> ReasonCode) -> Rewriter {
    down(move |packet, line| {
        let named = kinds.contains(&packet.packet_type()) && line.is_v5();
        if let (
            true,
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack),
        ) = (named, packet)
        {
            ack.reason = code(ack.reason);
        }
        Deed::Pass
    })
}

/// What comes at once of a kind comes in reverse; what came between keeps its place behind it.
pub(super) fn reversed(which: fn(&Packet) -> bool) -> Rewriter {
    let mut held: Vec<Seen> = Vec::new();
    Box::new(move |wire, seen| match &seen {
        Seen::Frame(Way::Down, frame) if frame.packet().is_some_and(which) => held.push(seen),
        Seen::Frame(Way::Down, _) | Seen::Pause(Way::Down) | Seen::End(Way::Down) => {
            held.drain(..).rev().for_each(|held| wire.pass(held));
            wire.pass(seen);
        }
        _ => wire.pass(seen),
    })
}

fn explain(properties: &mut Properties) {
    properties.push(Property::ReasonString("because".into()));
    properties.push(Property::UserProperty("why".into(), "not".into()));
}

/// The same message, to be passed on once more.
fn copy(publish: &Publish) -> Publish {
    Publish { dup: false, qos: QoS::AtMostOnce, id: None, ..publish.clone() }
}
