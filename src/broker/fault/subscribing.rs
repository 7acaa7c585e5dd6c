//! Subscriptions that are granted, kept or ended in a wrong way, and their options and identifiers.
//!
//! What a filter matches is another file's.

use std::collections::{BTreeMap, BTreeSet};

use super::matching::Filters;
use super::wire::{Deed, Rewriter, Way, down, handling, messages, minding, up};
use super::{Family, FaultSpec, fault};
use crate::mqtt::packet::{SubAck, Subscription, UnsubAck, Unsubscribe};
use crate::mqtt::{Packet, PacketId, Properties, Property, QoS, ReasonCode, TopicFilter};

pub(super) const FAMILY: Family =
    Family { title: "subscriptions", chapters: &["3.8", "3.9", "3.10", "3.11"], faults: FAULTS };

const FAULTS: &[FaultSpec] = &[
    fault("suback-refuses", "SUBACK refuses what is granted", || {
        subacks(|codes, _| codes.fill(ReasonCode::UNSPECIFIED_ERROR))
    }),
    fault("suback-grants-2", "SUBACK says QoS 2 for everything", || {
        subacks(|codes, _| {
            each(codes, |code| if code.is_success() { ReasonCode::GRANTED_QOS_2 } else { code });
        })
    }),
    fault("suback-grants-0", "SUBACK says QoS 0 for everything", || {
        subacks(|codes, _| {
            each(codes, |code| if code.is_success() { ReasonCode::GRANTED_QOS_0 } else { code });
        })
    }),
    fault("suback-never-refuses", "SUBACK says QoS 0 where it should refuse (corner 57)", || {
        subacks(|codes, _| {
            each(codes, |code| if code.is_success() { code } else { ReasonCode::GRANTED_QOS_0 });
        })
    }),
    fault("suback-reversed", "the codes of SUBACK come in reverse", || subacks(|codes, _| codes.reverse())),
    fault("suback-one-code", "SUBACK has one code for all filters", || subacks(|codes, _| codes.truncate(1))),
    fault("suback-code-too-many", "SUBACK has one code more than there were filters", || {
        subacks(|codes, _| codes.push(ReasonCode::GRANTED_QOS_0))
    }),
    fault("suback-a-filter", "a SUBSCRIBE of several filters gets a SUBACK for each", || {
        handling(Way::Down, |wire, packet| match packet {
            Packet::SubAck(ack) if ack.codes.len() > 1 => {
                for code in &ack.codes {
                    wire.send(Way::Down, Packet::SubAck(SubAck { codes: vec![*code], ..ack.clone() }));
                }
                true
            }
            _ => false,
        })
    }),
    fault("suback-too-early", "SUBACK comes, the subscription does not", || {
        handling(Way::Up, |wire, packet| match packet {
            Packet::Subscribe(subscribe) => {
                let granted = |one: &Subscription| ReasonCode(one.options.qos.as_u8());
                let codes = subscribe.subscriptions.iter().map(granted).collect();
                let ack = SubAck { id: subscribe.id, properties: Properties::new(), codes };
                wire.send(Way::Down, Packet::SubAck(ack));
                true
            }
            _ => false,
        })
    }),
    fault("unsuback-one-code", "UNSUBACK has one code for all filters (corner 52)", || {
        unsubacks(|codes| codes.truncate(1))
    }),
    fault("unsuback-no-codes", "UNSUBACK has no codes (corner 52)", || unsubacks(Vec::clear)),
    fault("unsuback-never-0x11", "UNSUBACK says 0 for what was never subscribed (corner 52)", || {
        unsubacks(|codes| codes.fill(ReasonCode::SUCCESS))
    }),
    fault("unsuback-always-0x11", "UNSUBACK says 0x11 for what was subscribed", || {
        unsubacks(|codes| codes.fill(ReasonCode::NO_SUBSCRIPTION_EXISTED))
    }),
    fault("unsuback-reversed", "the codes of UNSUBACK come in reverse", || {
        unsubacks(|codes| codes.reverse())
    }),
    fault("unsubscribe-ignored", "UNSUBSCRIBE is acknowledged, and nothing else", || {
        handling(Way::Up, |wire, packet| match packet {
            Packet::Unsubscribe(unsubscribe) => {
                let codes = if wire.line.is_v5() {
                    vec![ReasonCode::SUCCESS; unsubscribe.filters.len()]
                } else {
                    Vec::new()
                };
                let ack = UnsubAck { id: unsubscribe.id, properties: Properties::new(), codes };
                wire.send(Way::Down, Packet::UnsubAck(ack));
                true
            }
            _ => false,
        })
    }),
    fault("unsubscribe-first-only", "only the first filter of an UNSUBSCRIBE is unsubscribed", || {
        up(|packet, _| {
            if let Packet::Unsubscribe(unsubscribe) = packet {
                unsubscribe.filters.truncate(1);
            }
            Deed::Pass
        })
    }),
    fault("unsubscribe-by-match", "UNSUBSCRIBE ends all subscriptions that its filters match", || {
        unsubscribes_too_much(|gone, kept| {
            crate::mqtt::TopicName::new(kept).is_ok_and(|topic| gone.matches(&topic))
        })
    }),
    fault("unsubscribe-all", "UNSUBSCRIBE ends all subscriptions", || unsubscribes_too_much(|_, _| true)),
    fault("unsubscribe-ends-delivery", "what was under way at an UNSUBSCRIBE is lost", || {
        let mut gone = false;
        minding(move |_, way, packet| match (way, packet) {
            (Way::Up, Packet::Unsubscribe(_)) => {
                gone = true;
                false
            }
            (Way::Down, Packet::Publish(_) | Packet::PubRel(_)) => gone,
            _ => false,
        })
    }),
    fault("subscribe-first-only", "only the first filter of a SUBSCRIBE is subscribed", || {
        let mut counts = BTreeMap::new();
        minding(move |wire, way, packet| match (way, packet) {
            (Way::Up, Packet::Subscribe(subscribe)) if subscribe.subscriptions.len() > 1 => {
                counts.insert(subscribe.id, subscribe.subscriptions.len());
                let mut first = subscribe.clone();
                first.subscriptions.truncate(1);
                wire.send(Way::Up, Packet::Subscribe(first));
                true
            }
            (Way::Down, Packet::SubAck(ack)) => match (counts.remove(&ack.id), ack.codes.first()) {
                (Some(count), Some(code)) => {
                    wire.send(Way::Down, Packet::SubAck(SubAck { codes: vec![*code; count], ..ack.clone() }));
                    true
                }
                _ => false,
            },
            _ => false,
        })
    }),
    fault("resubscribe-ignored", "a second SUBSCRIBE to a filter changes nothing", || {
        let mut known = BTreeMap::new();
        up(move |packet, _| {
            if let Packet::Subscribe(subscribe) = packet {
                for one in &mut subscribe.subscriptions {
                    one.options = *known.entry(one.filter.clone()).or_insert(one.options);
                }
            }
            Deed::Pass
        })
    }),
    fault("resubscribe-adds", "a second SUBSCRIBE to a filter is a second subscription", || {
        let mut known: BTreeMap<TopicFilter, u32> = BTreeMap::new();
        minding(move |wire, way, packet| {
            match (way, packet) {
                (Way::Up, Packet::Subscribe(subscribe)) => {
                    for one in &subscribe.subscriptions {
                        *known.entry(one.filter.clone()).or_default() += 1;
                    }
                }
                (Way::Down, Packet::Publish(publish)) if !publish.retain => {
                    let often =
                        known.iter().any(|(filter, count)| *count > 1 && filter.matches(&publish.topic));
                    if often {
                        let mut copy = publish.clone();
                        (copy.qos, copy.id, copy.dup) = (QoS::AtMostOnce, None, false);
                        wire.send(Way::Down, Packet::Publish(copy));
                    }
                }
                _ => {}
            }
            false
        })
    }),
    fault("resubscribe-loses", "nothing arrives from a SUBSCRIBE that is repeated on", || {
        let mut known = BTreeSet::new();
        let mut lost = Vec::new();
        minding(move |_, way, packet| {
            match (way, packet) {
                (Way::Up, Packet::Subscribe(subscribe)) => {
                    for one in &subscribe.subscriptions {
                        if !known.insert(one.filter.clone()) {
                            lost.push(one.filter.clone());
                        }
                    }
                }
                (Way::Down, Packet::Publish(publish)) => {
                    return lost.iter().any(|filter| filter.matches(&publish.topic));
                }
                _ => {}
            }
            false
        })
    }),
    fault("grants-more-than-asked", "messages come with a higher QoS than was granted", || {
        let mut asked = BTreeMap::new();
        minding(move |wire, way, packet| match (way, packet) {
            (Way::Up, Packet::Subscribe(subscribe)) => {
                let codes = subscribe.subscriptions.iter().map(|one| one.options.qos).collect::<Vec<_>>();
                asked.insert(subscribe.id, codes);
                let mut raised = subscribe.clone();
                raised.subscriptions.iter_mut().for_each(|one| one.options.qos = QoS::ExactlyOnce);
                wire.send(Way::Up, Packet::Subscribe(raised));
                true
            }
            (Way::Down, Packet::SubAck(ack)) => {
                let Some(qos) = asked.remove(&ack.id) else { return false };
                let codes = ack.codes.iter().zip(qos);
                let codes =
                    codes.map(|(code, qos)| if code.is_success() { ReasonCode(qos.as_u8()) } else { *code });
                wire.send(Way::Down, Packet::SubAck(SubAck { codes: codes.collect(), ..ack.clone() }));
                true
            }
            _ => false,
        })
    }),
    fault("no-local-ignored", "a client gets its own messages in spite of No Local (corner 33)", || {
        options(|one| one.options.no_local = false)
    }),
    fault("no-local-always", "no client gets its own messages", || {
        options(|one| one.options.no_local = one.filter.shared().is_none())
    }),
    fault("retain-as-published-ignored", "Retain As Published is ignored (corner 33)", || {
        options(|one| one.options.retain_as_published = false)
    }),
    fault("retain-as-published-always", "every message keeps its retain flag", || {
        options(|one| one.options.retain_as_published = true)
    }),
    fault("subscription-id-missing", "messages do not name their subscription", || {
        messages(|publish, _| {
            publish.properties.retain(|property| !matches!(property, Property::SubscriptionIdentifier(_)));
            Deed::Pass
        })
    }),
    fault("subscription-id-wrong", "messages name another subscription", || {
        messages(|publish, _| {
            let other = |property: &Property| match property {
                Property::SubscriptionIdentifier(id) => Property::SubscriptionIdentifier(id % 1000 + 1),
                other => other.clone(),
            };
            publish.properties = publish.properties.iter().map(other).collect();
            Deed::Pass
        })
    }),
    fault("subscription-id-unasked", "messages name a subscription that has no identifier", || {
        messages(|publish, line| {
            if line.is_v5() && publish.properties.subscription_identifier().is_none() {
                publish.properties.push(Property::SubscriptionIdentifier(9));
            }
            Deed::Pass
        })
    }),
    fault("subscription-id-never-replaced", "a subscription keeps its first identifier", || {
        let mut known: BTreeMap<TopicFilter, Properties> = BTreeMap::new();
        up(move |packet, _| {
            if let Packet::Subscribe(subscribe) = packet
                && let Some(first) = subscribe.subscriptions.first()
            {
                let properties = known.entry(first.filter.clone()).or_insert(subscribe.properties.clone());
                subscribe.properties = properties.clone();
            }
            Deed::Pass
        })
    }),
    fault(
        "client-subscription-id-taken",
        "a PUBLISH of a client with a subscription identifier (corner 31)",
        || {
            super::wire::publications(|publish, _| {
                publish
                    .properties
                    .retain(|property| !matches!(property, Property::SubscriptionIdentifier(_)));
                Deed::Pass
            })
        },
    ),
];

fn each(codes: &mut [ReasonCode], edit: fn(ReasonCode) -> ReasonCode) {
    for code in codes {
        *code = edit(*code);
    }
}

fn subacks(edit: fn(&mut Vec<ReasonCode>, bool)) -> Rewriter {
    down(move |packet, line| {
        if let Packet::SubAck(ack) = packet {
            edit(&mut ack.codes, line.is_v5());
        }
        Deed::Pass
    })
}

fn unsubacks(edit: fn(&mut Vec<ReasonCode>)) -> Rewriter {
    down(move |packet, line| {
        if let (true, Packet::UnsubAck(ack)) = (line.is_v5(), packet) {
            edit(&mut ack.codes);
        }
        Deed::Pass
    })
}

/// Something else is subscribed to than was asked for.
pub(super) fn options(edit: fn(&mut Subscription)) -> Rewriter {
    up(move |packet, _| {
        if let Packet::Subscribe(subscribe) = packet {
            subscribe.subscriptions.iter_mut().for_each(edit);
        }
        Deed::Pass
    })
}

fn unsubscribes_too_much(which: fn(&TopicFilter, &str) -> bool) -> Rewriter {
    let mut filters = Filters::default();
    minding(move |wire, way, packet| {
        if let (Way::Up, Packet::Unsubscribe(unsubscribe)) = (way, packet) {
            let gone = |kept: &TopicFilter| {
                !unsubscribe.filters.contains(kept)
                    && unsubscribe.filters.iter().any(|gone| which(gone, kept.as_str()))
            };
            let more: Vec<_> = filters.all().filter(|kept| gone(kept)).cloned().collect();
            if let (false, Some(id)) = (more.is_empty(), PacketId::new(ASIDE)) {
                let more = Unsubscribe { id, properties: Properties::new(), filters: more };
                wire.send(Way::Up, Packet::Unsubscribe(more));
            }
        }
        filters.learn(way, packet);
        is_aside(way, packet)
    })
}

/// Identifier of requests that the client did not make.
pub(super) const ASIDE: u16 = 65_000;

/// The answer to one of them.
pub(super) fn is_aside(way: Way, packet: &Packet) -> bool {
    let id = match packet {
        Packet::SubAck(ack) => ack.id,
        Packet::UnsubAck(ack) => ack.id,
        _ => return false,
    };
    way == Way::Down && id.get() == ASIDE
}
