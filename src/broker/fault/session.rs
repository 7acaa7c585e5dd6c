//! Sessions that are lost or kept too long, and wills that are sent when they should not be, or not when
//! they should.

use super::properties::{forgets, without};
use super::wire::{Deed, Rewriter, Seen, Way, connects, minding, up};
use super::{Family, FaultSpec, fault};
use crate::mqtt::packet::{Connect, Disconnect, Publish, Will};
use crate::mqtt::{Packet, Property, QoS, ReasonCode, TopicName};

pub(super) const FAMILY: Family =
    Family { title: "sessions and wills", chapters: &["3.1-", "3.2", "3.14", "4.1"], faults: FAULTS };

const FAULTS: &[FaultSpec] = &[
    fault("session-lost", "every session is new", || connects(|connect, _| connect.clean_start = true)),
    fault("session-kept-though-clean", "a clean start is none", || {
        connects(|connect, _| {
            connect.clean_start &= connect.client_id.is_empty();
        })
    }),
    fault("session-ends-with-connection", "5.0: the session ends with its connection (corner 53)", || {
        forgets(|property| matches!(property, Property::SessionExpiryInterval(_)))
    }),
    fault("session-never-expires", "5.0: a session is kept for ever (corner 53)", || {
        up(|packet, line| {
            let properties = match packet {
                Packet::Connect(connect) => &mut connect.properties,
                Packet::Disconnect(goodbye) => &mut goodbye.properties,
                _ => return Deed::Pass,
            };
            without(properties, |property| matches!(property, Property::SessionExpiryInterval(_)));
            if let (true, Packet::Connect(connect)) = (line.is_v5(), packet) {
                connect.properties.push(Property::SessionExpiryInterval(u32::MAX));
            }
            Deed::Pass
        })
    }),
    fault("session-expiry-of-disconnect-ignored", "DISCONNECT does not change the session's expiry", || {
        up(|packet, _| {
            if let Packet::Disconnect(goodbye) = packet {
                without(&mut goodbye.properties, |property| {
                    matches!(property, Property::SessionExpiryInterval(_))
                });
            }
            Deed::Pass
        })
    }),
    fault("disconnect-raises-expiry", "DISCONNECT may raise a session's expiry from 0 (corner 28)", || {
        up(|packet, line| {
            let asked =
                line.connect.as_ref().and_then(|it| it.properties.session_expiry_interval()).unwrap_or(0);
            if let (0, Packet::Disconnect(goodbye)) = (asked, packet) {
                without(&mut goodbye.properties, |property| {
                    matches!(property, Property::SessionExpiryInterval(_))
                });
            }
            Deed::Pass
        })
    }),
    fault("identifiers-are-prefixes", "clients whose identifiers begin alike have one session", || {
        connects(|connect, _| {
            let short: String = connect.client_id.chars().take(4).collect();
            connect.client_id = short.into();
        })
    }),
    fault("identifiers-ignore-case", "identifiers that differ in case are one", || {
        connects(|connect, _| connect.client_id = connect.client_id.to_lowercase().into())
    }),
    fault("identifiers-never-meet", "no client is known when it comes again", || {
        connects(|connect, line| {
            if !connect.client_id.is_empty() {
                let count = line.shared.count("connect", "");
                connect.client_id = format!("{}-{count}", connect.client_id).into();
            }
        })
    }),
    fault("offline-messages-lost", "what came while the client was away is lost (corner 43)", || {
        let mut resumed = false;
        Box::new(move |wire, seen| {
            if let Seen::Frame(Way::Down, frame) = &seen {
                match frame.packet() {
                    Some(Packet::ConnAck(answer)) => resumed = answer.session_present,
                    Some(Packet::Publish(publish)) if resumed && !publish.dup => return,
                    _ => {}
                }
            }
            if matches!(seen, Seen::Frame(Way::Up, _)) {
                resumed = false;
            }
            wire.pass(seen);
        })
    }),
    fault("offline-messages-reversed", "what came while the client was away comes in reverse", || {
        super::acks::reversed(
            |packet| matches!(packet, Packet::Publish(publish) if publish.id.is_some() && !publish.dup),
        )
    }),
    fault("will-never-sent", "no will is ever sent", || connects(|connect, _| connect.will = None)),
    fault("will-lost-on-cut", "a connection that is cut has ended well: no will", || {
        Box::new(|wire, seen| {
            if matches!(seen, Seen::End(Way::Up)) {
                wire.raw(Way::Up, &[0xE0, 0][..]);
            }
            wire.pass(seen);
        })
    }),
    fault("will-only-on-cut", "no will at a takeover (corner 24), an error or a silence", will_only_on_cut),
    fault("will-sent-after-disconnect", "the will is sent although the client said goodbye", || {
        Box::new(|wire, seen| {
            if let Seen::Frame(Way::Up, frame) = &seen
                && matches!(frame.packet(), Some(Packet::Disconnect(_)))
            {
                return wire.end(Way::Up);
            }
            wire.pass(seen);
        })
    }),
    fault("disconnect-0x04-is-0x00", "DISCONNECT 0x04 does not send the will (corner 27)", || {
        goodbyes(|goodbye| goodbye.reason = ReasonCode::SUCCESS)
    }),
    fault("disconnect-0x00-is-0x04", "DISCONNECT 0x00 sends the will", || {
        goodbyes(|goodbye| goodbye.reason = ReasonCode::DISCONNECT_WITH_WILL)
    }),
    fault("will-at-once", "the will delay is ignored", || {
        wills(|will, _| {
            without(&mut will.properties, |property| matches!(property, Property::WillDelayInterval(_)));
        })
    }),
    fault(
        "will-delay-outlives-session",
        "the will comes after its delay though the session ended (corner 26)",
        || {
            connects(|connect, _| {
                let delay =
                    connect.will.as_ref().and_then(|will| will.properties.will_delay_interval()).unwrap_or(0);
                let expiry = connect.properties.session_expiry_interval().unwrap_or(0);
                if delay > expiry {
                    without(&mut connect.properties, |property| {
                        matches!(property, Property::SessionExpiryInterval(_))
                    });
                    connect.properties.push(Property::SessionExpiryInterval(delay));
                }
            })
        },
    ),
    fault("will-delay-too-long", "the will comes a second too late", || {
        wills(|will, _| {
            let later = |property: &Property| match property {
                Property::WillDelayInterval(delay) => Property::WillDelayInterval(delay + 5),
                other => other.clone(),
            };
            will.properties = will.properties.iter().map(later).collect();
        })
    }),
    fault("will-not-retained", "the will is sent, but not retained", || wills(|will, _| will.retain = false)),
    fault("will-retained", "every will is retained", || wills(|will, _| will.retain = true)),
    fault("will-qos-0", "every will is sent with QoS 0", || wills(|will, _| will.qos = QoS::AtMostOnce)),
    fault("will-other-topic", "the will is sent to another topic", || {
        wills(|will, _| {
            if let Ok(topic) = TopicName::new(format!("{}/will", will.topic)) {
                will.topic = topic;
            }
        })
    }),
    fault("will-empty", "the will has no payload", || wills(|will, _| will.payload = bytes::Bytes::new())),
    fault("will-properties-lost", "the will has lost its properties", || {
        wills(|will, _| {
            will.properties.retain(|property| matches!(property, Property::WillDelayInterval(_)));
        })
    }),
    fault("will-never-replaced", "a client's first will holds for ever", || {
        connects(|connect, line| {
            if line.shared.get("will", &connect.client_id) == Some(0) {
                connect.will = None;
            }
            line.shared.set("will", &connect.client_id, 0);
        })
    }),
    fault("will-twice", "the will is sent twice", || {
        minding(|wire, way, packet| {
            match (way, packet) {
                (Way::Up, Packet::Connect(connect)) => {
                    if let Some(will) = &connect.will {
                        wire.line.shared.set("wills", will.topic.as_str(), 1);
                    }
                }
                (Way::Down, Packet::Publish(publish))
                    if wire.line.shared.get("wills", publish.topic.as_str()).is_some() =>
                {
                    let again = Publish { dup: false, qos: QoS::AtMostOnce, id: None, ..publish.clone() };
                    wire.send(Way::Down, Packet::Publish(again));
                }
                _ => {}
            }
            false
        })
    }),
];

/// The broker never hears of the will; it is published here, when the client's stream ends without goodbye.
fn will_only_on_cut() -> Rewriter {
    let mut will = None;
    Box::new(move |wire, seen| {
        if let Seen::Frame(Way::Up, frame) = &seen {
            match frame.packet() {
                Some(Packet::Connect(connect)) if connect.will.is_some() => {
                    let mut bare = connect.clone();
                    will = bare.will.take();
                    return wire.send(Way::Up, Packet::Connect(bare));
                }
                Some(Packet::Disconnect(_)) => will = None,
                _ => {}
            }
        }
        if matches!(seen, Seen::End(Way::Up))
            && let Some(will) = will.take()
        {
            let Will { topic, payload, retain, properties, .. } = will;
            let mut publish =
                Publish { dup: false, qos: QoS::AtMostOnce, retain, topic, id: None, payload, properties };
            without(&mut publish.properties, |property| matches!(property, Property::WillDelayInterval(_)));
            wire.send(Way::Up, Packet::Publish(publish));
        }
        wire.pass(seen);
    })
}

fn wills(edit: fn(&mut Will, &Connect)) -> Rewriter {
    connects(move |connect, _| {
        if let Some(mut will) = connect.will.take() {
            edit(&mut will, connect);
            connect.will = Some(will);
        }
    })
}

fn goodbyes(edit: fn(&mut Disconnect)) -> Rewriter {
    up(move |packet, line| {
        if let (true, Packet::Disconnect(goodbye)) = (line.is_v5(), packet) {
            edit(goodbye);
        }
        Deed::Pass
    })
}
