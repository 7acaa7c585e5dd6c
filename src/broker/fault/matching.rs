//! Filters that match what they should not, or not what they should; overlapping and shared ones.

use std::collections::BTreeMap;

use super::messages::lowers;
use super::subscribing::{ASIDE, is_aside, options};
use super::wire::{Deed, Rewriter, Seen, Way, messages, minding, up};
use super::{Family, FaultSpec, Shared, fault};
use crate::mqtt::packet::{PacketType, Subscribe, Subscription, SubscriptionOptions, Unsubscribe};
use crate::mqtt::{Packet, PacketId, Properties, Property, QoS, TopicFilter, TopicName};

pub(super) const FAMILY: Family =
    Family { title: "filters", chapters: &["3.3", "3.8", "3.10", "4.7", "4.8"], faults: FAULTS };

const FAULTS: &[FaultSpec] = &[
    fault("overlap-lowest-qos", "overlapping subscriptions deliver with QoS 0 (corner 29)", || {
        overlapping(|_| true)
    }),
    fault("overlap-missing-ids", "overlapping subscriptions name one identifier (corner 30)", || {
        messages(|publish, _| {
            let mut seen = false;
            publish.properties.retain(|property| {
                !matches!(property, Property::SubscriptionIdentifier(_))
                    || !std::mem::replace(&mut seen, true)
            });
            Deed::Pass
        })
    }),
    fault("overlap-lost", "what matches two subscriptions is lost", || {
        let mut filters = Filters::default();
        minding(move |_, way, packet| {
            filters.learn(way, packet);
            matches!((way, packet), (Way::Down, Packet::Publish(publish)) if filters.matching(publish.topic.as_str()) > 1)
        })
    }),
    fault("share-to-everybody", "a shared subscription is one for each of its members", || {
        options(|one| {
            if let Ok(plain) = TopicFilter::new(one.filter.path().to_owned()) {
                one.filter = plain;
            }
        })
    }),
    fault("share-to-nobody", "a shared subscription gets nothing", || {
        let mut filters = Filters::default();
        minding(move |_, way, packet| {
            filters.learn(way, packet);
            matches!((way, packet), (Way::Down, Packet::Publish(publish)) if filters.shared(publish.topic.as_str()))
        })
    }),
    fault("share-groups-are-one", "all groups of a shared subscription are one", || {
        options(|one| {
            if let Some(shared) = one.filter.shared()
                && let Ok(same) = TopicFilter::new(format!("$share/one/{}", shared.filter))
            {
                one.filter = same;
            }
        })
    }),
    fault("share-gets-retained", "a shared subscription is sent retained messages (corner 35)", || {
        aside(|one| one.filter.shared().map(|shared| shared.filter.to_owned()))
    }),
    fault(
        "wildcards-match-dollar",
        "`#` and `+` match topics with a `$` (corner 38)",
        wildcards_match_dollar,
    ),
    fault("plus-matches-many", "`+` matches any number of levels", || {
        rewritten(|filter| filter.find('+').map(|at| format!("{}#", &filter[..at])))
    }),
    fault("hash-matches-one", "`#` matches one level only", || {
        rewritten(|filter| filter.strip_suffix('#').map(|front| format!("{front}+")))
    }),
    fault("hash-misses-parent", "`a/#` does not match `a`", || {
        let mut filters = Filters::default();
        minding(move |_, way, packet| {
            filters.learn(way, packet);
            matches!((way, packet), (Way::Down, Packet::Publish(publish)) if filters.is_parent(publish.topic.as_str()))
        })
    }),
    fault("filters-are-prefixes", "a filter matches all below it", || {
        rewritten(|filter| (!filter.ends_with('#')).then(|| format!("{}/#", filter.trim_end_matches('/'))))
    }),
    fault("wildcards-match-nothing", "filters with wildcards match nothing", || {
        let mut filters = Filters::default();
        minding(move |_, way, packet| {
            filters.learn(way, packet);
            matches!((way, packet), (Way::Down, Packet::Publish(publish)) if !filters.names(publish.topic.as_str()))
        })
    }),
];

fn rewritten(edit: fn(&str) -> Option<String>) -> Rewriter {
    up(move |packet, _| {
        let other = |filter: &mut TopicFilter| {
            if let Some(text) = edit(filter.as_str())
                && let Ok(other) = TopicFilter::new(text)
            {
                *filter = other;
            }
        };
        match packet {
            Packet::Subscribe(subscribe) => {
                subscribe.subscriptions.iter_mut().for_each(|one| other(&mut one.filter));
            }
            Packet::Unsubscribe(unsubscribe) => unsubscribe.filters.iter_mut().for_each(other),
            _ => {}
        }
        Deed::Pass
    })
}

/// The filters that a client is subscribed to, on this connection.
#[derive(Debug, Default)]
pub(super) struct Filters(BTreeMap<TopicFilter, SubscriptionOptions>);

impl Filters {
    pub(super) fn learn(&mut self, way: Way, packet: &Packet) {
        match (way, packet) {
            (Way::Up, Packet::Subscribe(subscribe)) => {
                let all = subscribe.subscriptions.iter();
                self.0.extend(all.map(|one| (one.filter.clone(), one.options)));
            }
            (Way::Up, Packet::Unsubscribe(unsubscribe)) => {
                self.0.retain(|filter, _| !unsubscribe.filters.contains(filter));
            }
            _ => {}
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &TopicFilter> {
        self.0.keys()
    }

    fn fitting(&self, topic: &str) -> impl Iterator<Item = &TopicFilter> {
        let topic = TopicName::new(topic.to_owned()).ok();
        self.0.keys().filter(move |filter| topic.as_ref().is_some_and(|topic| filter.matches(topic)))
    }

    fn matching(&self, topic: &str) -> usize {
        self.fitting(topic).count()
    }

    fn shared(&self, topic: &str) -> bool {
        self.fitting(topic).any(|filter| filter.shared().is_some())
    }

    fn is_parent(&self, topic: &str) -> bool {
        self.fitting(topic).any(|filter| filter.path().strip_suffix("/#") == Some(topic))
    }

    fn names(&self, topic: &str) -> bool {
        self.0.keys().any(|filter| filter.path() == topic)
    }
}

fn overlapping(which: fn(usize) -> bool) -> Rewriter {
    let mut filters = Filters::default();
    let topics = Shared::default();
    let known = topics.clone();
    let mut lower = lowers(move |publish| known.get("overlap", publish.topic.as_str()).is_some());
    Box::new(move |wire, seen| {
        if let Seen::Frame(way, frame) = &seen
            && let Some(packet) = frame.packet()
        {
            filters.learn(*way, packet);
            if let (Way::Down, Packet::Publish(publish)) = (way, packet) {
                let count = filters.matching(publish.topic.as_str());
                if count > 1 && which(count) {
                    topics.set("overlap", publish.topic.as_str(), 1);
                } else {
                    topics.remove("overlap", publish.topic.as_str());
                }
            }
        }
        lower(wire, seen);
    })
}

/// Before a subscription another one is made, and ended at once: its retained messages stay.
fn aside(of: fn(&Subscription) -> Option<String>) -> Rewriter {
    minding(move |wire, way, packet| {
        if let (Way::Up, Packet::Subscribe(subscribe)) = (way, packet) {
            for one in &subscribe.subscriptions {
                let filter = of(one).and_then(|text| TopicFilter::new(text).ok());
                let (Some(filter), Some(id)) = (filter, PacketId::new(ASIDE)) else { continue };
                let options = SubscriptionOptions { qos: one.options.qos, ..SubscriptionOptions::default() };
                let subscriptions = vec![Subscription { filter: filter.clone(), options }];
                wire.send(
                    Way::Up,
                    Packet::Subscribe(Subscribe { id, properties: Properties::new(), subscriptions }),
                );
                let gone = Unsubscribe { id, properties: Properties::new(), filters: vec![filter] };
                wire.send(Way::Up, Packet::Unsubscribe(gone));
            }
        }
        is_aside(way, packet)
    })
}

/// A publication to `$a/b` is published once more to a name that wildcards match, and gets its name back on
/// the way to the subscriber. The broker's own are subscribed to.
fn wildcards_match_dollar() -> Rewriter {
    const DISGUISE: char = '\u{F0000}';
    minding(move |wire, way, packet| match (way, packet) {
        (Way::Up, Packet::Publish(publish)) => {
            if let Some(rest) = publish.topic.as_str().strip_prefix('$')
                && let Ok(topic) = TopicName::new(format!("{DISGUISE}{rest}"))
            {
                let mut disguised = publish.clone();
                (disguised.topic, disguised.qos, disguised.id, disguised.dup) =
                    (topic, QoS::AtMostOnce, None, false);
                wire.send(Way::Up, Packet::Publish(disguised));
            }
            false
        }
        (Way::Up, Packet::Subscribe(subscribe)) => {
            let wild = subscribe.subscriptions.iter().find(|one| one.filter.as_str().starts_with(['#', '+']));
            if let (Some(wild), Some(id), Ok(filter)) =
                (wild, PacketId::new(ASIDE), TopicFilter::new("$SYS/#"))
            {
                let subscriptions = vec![Subscription { filter, options: wild.options }];
                wire.send(
                    Way::Up,
                    Packet::Subscribe(Subscribe { id, properties: Properties::new(), subscriptions }),
                );
            }
            false
        }
        (Way::Down, Packet::Publish(publish)) => match publish.topic.as_str().strip_prefix(DISGUISE) {
            Some(rest) => {
                if let Ok(topic) = TopicName::new(format!("${rest}")) {
                    let mut bare = publish.clone();
                    bare.topic = topic;
                    wire.send(Way::Down, Packet::Publish(bare));
                }
                true
            }
            None => false,
        },
        _ => packet.packet_type() == PacketType::SubAck && is_aside(way, packet),
    })
}
