//! What a client does wrong: faults of whoever connects to a peer of a scenario.
//!
//! They stand at the peer's door and alter what the client sends, and now and then what it hears. The
//! bundled broker has none of them.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::wire::{Deed, Rewriter, Seen, Way, connects, down, handling, messages, minding, publications, up};
use super::{Family, FaultSpec, fault};
use crate::mqtt::packet::{Ack, ConnAck, PacketType, Publish};
use crate::mqtt::{Packet, PacketId, Properties, Property, QoS, ReasonCode, TopicName};

pub(super) const FAMILY: Family = Family { title: "clients", chapters: &[], faults: FAULTS };

const FAULTS: &[FaultSpec] = &[
    fault("client-puback-missing", "the client sends no PUBACK", || loses(PacketType::PubAck)),
    fault("client-pubrec-missing", "the client sends no PUBREC", || loses(PacketType::PubRec)),
    fault("client-pubrel-missing", "the client sends no PUBREL", || loses(PacketType::PubRel)),
    fault("client-pubcomp-missing", "the client sends no PUBCOMP", || loses(PacketType::PubComp)),
    fault("client-disconnect-missing", "the client says no goodbye", || loses(PacketType::Disconnect)),
    fault("client-never-closes", "the client never closes its connection", || {
        Box::new(|wire, seen| {
            if !matches!(seen, Seen::End(Way::Up)) {
                wire.pass(seen);
            }
        })
    }),
    fault("client-dup-missing", "the client sends again without DUP", || {
        publications(|publish, _| {
            publish.dup = false;
            Deed::Pass
        })
    }),
    fault("client-dup-first", "the client sets DUP when it sends for the first time", || {
        publications(|publish, _| {
            publish.dup |= publish.id.is_some();
            Deed::Pass
        })
    }),
    fault("client-resend-missing", "the client does not send again", || {
        publications(|publish, _| if publish.dup { Deed::Drop } else { Deed::Pass })
    }),
    fault("client-clean-always", "the client never asks for its session", || {
        connects(|connect, _| connect.clean_start = true)
    }),
    fault("client-again-disorderly", "the client sends again in another order", || {
        swapped(|packet| matches!(packet, Packet::Publish(publish) if publish.dup))
    }),
    fault("client-again-renumbered", "the client sends again with another identifier", || {
        up(|packet, _| {
            if let Packet::Publish(Publish { dup: true, id: Some(id), .. }) = packet {
                *id = id.next();
            }
            Deed::Pass
        })
    }),
    fault(
        "client-again-always",
        "the client sends its last message again on every further connection",
        || {
            minding(|wire, way, packet| {
                let notes = wire.line.shared.clone();
                match (way, packet) {
                    (Way::Up, Packet::Publish(Publish { dup: false, id: Some(id), .. })) => {
                        notes.set("client-sent", "", id.get().into());
                        false
                    }
                    (Way::Down, Packet::ConnAck(_)) => {
                        wire.send(Way::Down, packet.clone());
                        if let Some(id) = notes.get("client-sent", "").and_then(|id| u16::try_from(id).ok()) {
                            wire.send(Way::Up, Packet::Publish(message(id)));
                        }
                        true
                    }
                    _ => false,
                }
            })
        },
    ),
    fault(
        "client-again-at-once",
        "the client sends a message again before a ping or a message of QoS 0",
        || {
            let mut last = None;
            handling(Way::Up, move |wire, packet| {
                match packet {
                    Packet::Publish(publish) if publish.id.is_some() => last = Some(publish.clone()),
                    Packet::PingReq | Packet::Publish(_) => {
                        last.take().into_iter().for_each(|publish: Publish| {
                            wire.send(Way::Up, Packet::Publish(Publish { dup: true, ..publish }));
                        });
                    }
                    _ => {}
                }
                false
            })
        },
    ),
    fault("client-release-forgotten", "the client does not release again what it released before", || {
        minding(|wire, way, packet| {
            let notes = wire.line.shared.clone();
            match (way, packet) {
                (Way::Up, Packet::PubRel(ack)) => {
                    notes.set("client-released", &ack.id.to_string(), 1).is_some()
                }
                _ => false,
            }
        })
    }),
    fault(
        "client-receipt-once",
        "the client receives a message of QoS 2 once, and its repetitions never",
        || {
            minding(|wire, way, packet| match (way, packet) {
                (Way::Up, Packet::PubRec(ack)) => {
                    wire.line.shared.set("client-received", &ack.id.to_string(), 1).is_some()
                }
                _ => false,
            })
        },
    ),
    fault("client-delivers-repetitions", "the client takes a repetition of QoS 2 for a new message", || {
        minding(|wire, way, packet| match (way, packet) {
            (Way::Down, Packet::Publish(publish)) if publish.qos == QoS::ExactlyOnce && publish.dup => {
                let id = publish.id.and_then(|id| PacketId::new(id.get() ^ ANOTHER));
                wire.send(Way::Down, Packet::Publish(Publish { id, ..publish.clone() }));
                true
            }
            (Way::Up, Packet::PubRec(ack)) if ack.id.get() & ANOTHER != 0 => {
                let id = PacketId::new(ack.id.get() ^ ANOTHER).unwrap_or(PacketId::FIRST);
                wire.send(Way::Up, Packet::PubRec(Ack { id, ..ack.clone() }));
                true
            }
            _ => false,
        })
    }),
    fault(
        "client-misses-same",
        "the client takes a packet identifier that came before for a repetition",
        || {
            let mut seen = BTreeSet::new();
            messages(move |publish, _| {
                let known = publish.id.is_some_and(|id| !seen.insert(id));
                if known { Deed::Drop } else { Deed::Pass }
            })
        },
    ),
    fault("client-remembers-received", "the client never forgets which messages it has not released", || {
        minding(|wire, way, packet| match (way, packet) {
            (Way::Down, Packet::Publish(publish)) if publish.qos == QoS::ExactlyOnce => {
                let id = publish.id.map(|id| id.to_string()).unwrap_or_default();
                wire.line.shared.set("client-received", &id, 1).is_some()
            }
            _ => false,
        })
    }),
    fault("client-acks-disorderly", "the client's acknowledgements overtake each other", || {
        swapped(|packet| matches!(packet, Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubRel(_)))
    }),
    fault("client-acks-explained", "the client's acknowledgements and goodbyes say why, at length", || {
        up(|packet, _| {
            if let Some(properties) = words_of(packet) {
                properties.push(Property::ReasonString("because it is as it is".into()));
            }
            Deed::Pass
        })
    }),
    fault(
        "client-acks-anything",
        "the client acknowledges identifiers of nothing as if it knew them",
        || {
            up(|packet, _| {
                if let Packet::PubRel(ack) | Packet::PubComp(ack) = packet {
                    ack.reason = ReasonCode::SUCCESS;
                }
                Deed::Pass
            })
        },
    ),
    fault("client-acks-wrong-type", "the client answers QoS 2 as QoS 1", || {
        up(|packet, _| {
            if let Packet::PubRec(ack) = packet {
                *packet = Packet::PubAck(ack.clone());
            }
            Deed::Pass
        })
    }),
    fault(
        "client-short-acks-unheard",
        "the client does not understand acknowledgements without properties",
        || {
            Box::new(|wire, seen| {
                let short = matches!(&seen, Seen::Frame(Way::Down, frame)
                if matches!(frame.kind(), Some(PacketType::PubAck | PacketType::PubRec)) && frame.body().len() == 2);
                if !short {
                    wire.pass(seen);
                }
            })
        },
    ),
    fault("client-ids-repeated", "all messages of the client have the same identifier", || {
        publications(|publish, _| {
            publish.id = publish.id.map(|_| PacketId::FIRST);
            Deed::Pass
        })
    }),
    fault("client-qos0-numbered", "the client puts a packet identifier into QoS 0", || {
        publications(|publish, _| {
            if publish.id.is_none() {
                publish.payload = [&[0, 1], &publish.payload[..]].concat().into();
            }
            Deed::Pass
        })
    }),
    fault("client-ping-missing", "the client never pings", || loses(PacketType::PingReq)),
    fault("client-window-ignored", "the client sends more at once than the broker takes", || {
        handling(Way::Up, |wire, packet| {
            if let Packet::Publish(publish) = packet
                && let Some(id) = publish.id
            {
                wire.send(Way::Up, packet.clone());
                wire.send(Way::Up, Packet::Publish(message(id.get().wrapping_add(1000))));
                return true;
            }
            false
        })
    }),
    fault("client-full-window-blocks", "the client sends nothing while a message is unacknowledged", || {
        let mut waits = false;
        minding(move |_, way, packet| {
            match (way, packet) {
                (Way::Up, Packet::Publish(publish)) if publish.id.is_some() => {
                    waits = true;
                    return false;
                }
                (Way::Down, Packet::PubAck(_) | Packet::PubComp(_)) => waits = false,
                _ => {}
            }
            waits && way == Way::Up && !matches!(packet, Packet::PubRel(_) | Packet::Disconnect(_))
        })
    }),
    fault("client-refusals-unheard", "the client does not hear that a message was refused", || {
        handling(Way::Down, |_, packet| match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) => !ack.reason.is_success(),
            _ => false,
        })
    }),
    fault("client-aliases-unheeded", "the client loses messages whose topic is an alias", || {
        messages(|publish, _| if publish.topic.is_empty() { Deed::Drop } else { Deed::Pass })
    }),
    fault("client-eats-marks", "the client takes U+FEFF away from topics", || {
        messages(|publish, _| {
            let kept = publish.topic.as_str().replace('\u{feff}', "");
            publish.topic = TopicName::new(kept).unwrap_or_else(|_| publish.topic.clone());
            Deed::Pass
        })
    }),
    fault("client-disconnect-unheard", "the client does not understand a DISCONNECT", || {
        handling(Way::Down, |_, packet| matches!(packet, Packet::Disconnect(_)))
    }),
    fault("client-renamed", "the client says another client identifier than its own", || {
        connects(|connect, _| connect.client_id = "somebody-else".into())
    }),
    fault("client-user-missing", "the client leaves its user name out", || {
        connects(|connect, _| connect.username = None)
    }),
    fault("client-password-missing", "the client leaves its password out", || {
        connects(|connect, _| connect.password = None)
    }),
    fault("client-will-missing", "the client leaves its will out", || {
        connects(|connect, _| connect.will = None)
    }),
    fault("client-will-plain", "the will of the client has no properties", || {
        connects(|connect, _| {
            if let Some(will) = &mut connect.will {
                will.properties = Properties::new();
            }
        })
    }),
    fault("client-will-qos1", "the will of the client always has QoS 1", || {
        connects(|connect, _| {
            if let Some(will) = &mut connect.will {
                will.qos = QoS::AtLeastOnce;
            }
        })
    }),
    fault("client-gives-up", "the client does not come again", || {
        up(|packet, line| match packet {
            Packet::Connect(_) if line.shared.count("client-comes", "") > 1 => Deed::Drop,
            _ => Deed::Pass,
        })
    }),
    fault("client-subscribe-missing", "the client does not subscribe", || loses(PacketType::Subscribe)),
    fault("client-properties-missing", "the client publishes without properties", || {
        publications(|publish, _| {
            publish.properties = Properties::new();
            Deed::Pass
        })
    }),
    fault("client-broker-reason", "the client says in acknowledgements that nobody subscribed", || {
        up(|packet, line| {
            if let Packet::PubAck(ack) | Packet::PubRec(ack) = packet
                && line.is_v5()
                && ack.reason == ReasonCode::SUCCESS
            {
                ack.reason = ReasonCode::NO_MATCHING_SUBSCRIBERS;
            }
            Deed::Pass
        })
    }),
    fault("client-session-assumed", "the client goes on with a session that the broker has lost", || {
        down(|packet, line| {
            if let Packet::ConnAck(answer) = packet {
                answer.session_present |= line.shared.count("client-let-in", line.client_id()) > 1;
            }
            Deed::Pass
        })
    }),
    fault("client-session-taken", "the client takes a session that it knows nothing of", || {
        hears(|answer| answer.session_present = false)
    }),
    fault("client-above-receive-maximum", "the client does not heed Receive Maximum", || {
        ignores(|property| matches!(property, Property::ReceiveMaximum(_)))
    }),
    fault("client-above-maximum-qos", "the client does not heed Maximum QoS", || {
        ignores(|property| matches!(property, Property::MaximumQoS(_)))
    }),
    fault("client-retains-always", "the client does not heed Retain Available", || {
        ignores(|property| matches!(property, Property::RetainAvailable(_)))
    }),
    fault("client-above-packet-size", "the client does not heed Maximum Packet Size", || {
        ignores(|property| matches!(property, Property::MaximumPacketSize(_)))
    }),
    fault("client-own-keep-alive", "the client does not heed Server Keep Alive", || {
        ignores(|property| matches!(property, Property::ServerKeepAlive(_)))
    }),
    fault("client-above-alias-maximum", "the client uses topic aliases that nobody offered", || {
        hears(|answer| {
            answer.properties.retain(|property| !matches!(property, Property::TopicAliasMaximum(_)));
            answer.properties.push(Property::TopicAliasMaximum(10));
        })
    }),
];

/// The client hears another CONNACK than was sent.
fn hears(edit: fn(&mut ConnAck)) -> Rewriter {
    down(move |packet, _| {
        if let Packet::ConnAck(answer) = packet {
            edit(answer);
        }
        Deed::Pass
    })
}

/// The client does not see these properties of CONNACK.
fn ignores(unseen: fn(&Property) -> bool) -> Rewriter {
    down(move |packet, _| {
        if let Packet::ConnAck(answer) = packet {
            answer.properties.retain(|property| !unseen(property));
        }
        Deed::Pass
    })
}

fn loses(kind: PacketType) -> Rewriter {
    up(move |packet: &mut Packet, _| if packet.packet_type() == kind { Deed::Drop } else { Deed::Pass })
}

/// Makes another packet identifier of one.
const ANOTHER: u16 = 0x4000;

/// A message that nobody asked the client for.
fn message(id: u16) -> Publish {
    Publish {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: TopicName::new("unasked").unwrap_or_default(),
        id: PacketId::new(id).or(Some(PacketId::FIRST)),
        payload: Bytes::new(),
        properties: Properties::new(),
    }
}

/// The properties of a packet that may have a reason string.
fn words_of(packet: &mut Packet) -> Option<&mut Properties> {
    match packet {
        Packet::PubAck(Ack { properties, .. })
        | Packet::PubRec(Ack { properties, .. })
        | Packet::PubRel(Ack { properties, .. })
        | Packet::PubComp(Ack { properties, .. }) => Some(properties),
        Packet::Disconnect(disconnect) => Some(&mut disconnect.properties),
        _ => None,
    }
}

/// Each second packet of a kind overtakes the one before it.
fn swapped(which: fn(&Packet) -> bool) -> Rewriter {
    let mut held: Option<Seen> = None;
    Box::new(move |wire, seen| match &seen {
        Seen::Frame(Way::Up, frame) if frame.packet().is_some_and(which) => match held.take() {
            Some(first) => {
                wire.pass(seen);
                wire.pass(first);
            }
            None => held = Some(seen),
        },
        Seen::End(Way::Up) => {
            held.take().into_iter().for_each(|held| wire.pass(held));
            wire.pass(seen);
        }
        _ => wire.pass(seen),
    })
}
