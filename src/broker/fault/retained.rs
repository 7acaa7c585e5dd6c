//! Retained messages that are not kept, not sent, or sent in a wrong way.

use std::collections::BTreeSet;

use super::messages::raises;
use super::subscribing::options;
use super::wire::{Deed, Way, messages, minding, publications};
use super::{Family, FaultSpec, fault};
use crate::mqtt::packet::{Publish, RetainHandling};
use crate::mqtt::{Packet, QoS};

pub(super) const FAMILY: Family =
    Family { title: "retained messages", chapters: &["3.3", "3.8"], faults: FAULTS };

const FAULTS: &[FaultSpec] = &[
    fault("retained-not-kept", "nothing is retained", || {
        publications(|publish, _| {
            publish.retain = false;
            Deed::Pass
        })
    }),
    fault("retained-qos0-not-kept", "messages of QoS 0 are not retained", || {
        publications(|publish, _| {
            publish.retain &= publish.id.is_some();
            Deed::Pass
        })
    }),
    fault("retained-kept-without-flag", "every message is retained", || {
        publications(|publish, _| {
            publish.retain = true;
            Deed::Pass
        })
    }),
    fault("retained-never-replaced", "a topic keeps its first retained message", || {
        publications(|publish, line| {
            let first = line.shared.get("retained", publish.topic.as_str()).is_none();
            if publish.retain {
                line.shared.set("retained", publish.topic.as_str(), 1);
            }
            publish.retain &= first;
            Deed::Pass
        })
    }),
    fault("retained-never-deleted", "an empty message does not delete the retained one", || {
        publications(|publish, _| {
            publish.retain &= !publish.payload.is_empty();
            Deed::Pass
        })
    }),
    fault("retained-deleted-silently", "an empty message that deletes does not reach subscribers", || {
        messages(|publish, _| if publish.payload.is_empty() { Deed::Drop } else { Deed::Pass })
    }),
    fault("retained-empty-kept", "an empty message is retained: later subscribers get it", || {
        let mut emptied = Vec::new();
        minding(move |wire, way, packet| {
            match (way, packet) {
                (Way::Up, Packet::Publish(publish)) if publish.retain && publish.payload.is_empty() => {
                    wire.line.shared.set("emptied", publish.topic.as_str(), 1);
                }
                (Way::Up, Packet::Subscribe(subscribe)) => {
                    let names = subscribe.subscriptions.iter().map(|one| one.filter.as_str());
                    emptied = names
                        .filter(|name| wire.line.shared.get("emptied", name).is_some())
                        .filter_map(|name| crate::mqtt::TopicName::new(name.to_owned()).ok())
                        .collect();
                }
                (Way::Down, Packet::SubAck(_)) => {
                    wire.send(Way::Down, packet.clone());
                    for topic in emptied.drain(..) {
                        let publish = Publish {
                            dup: false,
                            qos: QoS::AtMostOnce,
                            retain: true,
                            topic,
                            id: None,
                            payload: bytes::Bytes::new(),
                            properties: crate::mqtt::Properties::new(),
                        };
                        wire.send(Way::Down, Packet::Publish(publish));
                    }
                    return true;
                }
                _ => {}
            }
            false
        })
    }),
    fault("retained-deleted-by-reading", "a retained message is sent once, and then no more", || {
        messages(|publish, line| {
            let again = publish.retain && line.shared.count("read", publish.topic.as_str()) > 1;
            if again { Deed::Drop } else { Deed::Pass }
        })
    }),
    fault("retained-without-flag", "retained messages are sent without the flag", || {
        messages(|publish, _| {
            publish.retain = false;
            Deed::Pass
        })
    }),
    fault("live-with-flag", "messages as they are published are sent with the retain flag", || {
        messages(|publish, _| {
            publish.retain = true;
            Deed::Pass
        })
    }),
    fault("retained-not-sent", "retained messages are not sent to new subscribers", || {
        messages(|publish, _| if publish.retain { Deed::Drop } else { Deed::Pass })
    }),
    fault("retained-not-for-wildcards", "only the first retained message of a subscription is sent", || {
        let mut sent = false;
        minding(move |_, way, packet| match (way, packet) {
            (Way::Up, Packet::Subscribe(_)) => {
                sent = false;
                false
            }
            (Way::Down, Packet::Publish(publish)) if publish.retain => std::mem::replace(&mut sent, true),
            _ => false,
        })
    }),
    fault("retained-twice", "retained messages are sent twice", || {
        messages(|publish, _| if publish.retain && publish.id.is_none() { Deed::Twice } else { Deed::Pass })
    }),
    fault("retained-qos-raised", "retained messages of QoS 0 are sent with QoS 1 (corner 36)", || {
        raises(|publish| publish.retain)
    }),
    fault("retained-qos-lowered", "retained messages are sent with QoS 0", || {
        super::messages::lowers(|publish| publish.retain)
    }),
    fault(
        "retained-not-on-resubscribe",
        "a second SUBSCRIBE brings no retained messages (corner 37)",
        || {
            let mut known = BTreeSet::new();
            let mut again = false;
            minding(move |_, way, packet| match (way, packet) {
                (Way::Up, Packet::Subscribe(subscribe)) => {
                    again = false;
                    for one in &subscribe.subscriptions {
                        again |= !known.insert(one.filter.clone());
                    }
                    false
                }
                (Way::Down, Packet::Publish(publish)) => publish.retain && again,
                _ => false,
            })
        },
    ),
    fault("retain-handling-ignored", "retained messages are sent whatever Retain Handling says", || {
        options(|one| one.options.retain_handling = RetainHandling::Send)
    }),
    fault("retain-handling-1-is-2", "Retain Handling 1 sends none to a new subscription", || {
        options(|one| {
            if one.options.retain_handling == RetainHandling::SendIfNew {
                one.options.retain_handling = RetainHandling::DoNotSend;
            }
        })
    }),
    fault("retain-handling-2-is-1", "Retain Handling 2 sends to a new subscription", || {
        options(|one| {
            if one.options.retain_handling == RetainHandling::DoNotSend {
                one.options.retain_handling = RetainHandling::SendIfNew;
            }
        })
    }),
    fault("retain-handling-1-is-0", "Retain Handling 1 sends to a subscription that existed", || {
        options(|one| {
            if one.options.retain_handling == RetainHandling::SendIfNew {
                one.options.retain_handling = RetainHandling::Send;
            }
        })
    }),
    fault(
        "retained-late",
        "retained messages are kept, but not sent to who is subscribed when they come",
        || {
            let mut own = BTreeSet::new();
            minding(move |wire, way, packet| {
                match (way, packet) {
                    (Way::Up, Packet::Publish(publish)) if publish.retain => {
                        wire.line.shared.set("late", publish.topic.as_str(), 1);
                    }
                    (Way::Up, Packet::Subscribe(_)) => own.clear(),
                    (Way::Down, Packet::Publish(publish)) if !publish.retain => {
                        let kept = wire.line.shared.get("late", publish.topic.as_str()).is_some();
                        return kept && own.insert(publish.topic.clone());
                    }
                    _ => {}
                }
                false
            })
        },
    ),
];
