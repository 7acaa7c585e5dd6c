//! Properties of messages that are lost, altered, or in the wrong order, and limits of 5.0 that are not kept.

use super::wire::{Deed, Line, Rewriter, connects, messages, publications};
use super::{Family, FaultSpec, fault};
use crate::mqtt::packet::Publish;
use crate::mqtt::{Properties, Property};

pub(super) const FAMILY: Family =
    Family { title: "properties and limits", chapters: &["3.1-", "3.3", "4.9"], faults: FAULTS };

const FAULTS: &[FaultSpec] = &[
    fault("properties-lost", "messages arrive without properties", || {
        messages(|publish, _| {
            publish.properties = Properties::new();
            Deed::Pass
        })
    }),
    fault("user-properties-lost", "user properties are lost", || {
        loses(|property| matches!(property, Property::UserProperty(..)))
    }),
    fault("user-properties-reversed", "user properties come in reverse", || {
        messages(|publish, _| {
            publish.properties = publish.properties.iter().rev().cloned().collect();
            Deed::Pass
        })
    }),
    fault("user-properties-grouped", "user properties come sorted by name (corner 50)", || {
        messages(|publish, _| {
            let mut all: Vec<_> = publish.properties.iter().cloned().collect();
            all.sort_by(|one, other| match (one, other) {
                (Property::UserProperty(one, _), Property::UserProperty(other, _)) => one.cmp(other),
                _ => std::cmp::Ordering::Equal,
            });
            publish.properties = all.into();
            Deed::Pass
        })
    }),
    fault("user-properties-unique", "of user properties with one name the first arrives", || {
        messages(|publish, _| {
            let mut names = Vec::new();
            publish.properties.retain(|property| match property {
                Property::UserProperty(name, _) => {
                    let fresh = !names.contains(name);
                    names.push(name.clone());
                    fresh
                }
                _ => true,
            });
            Deed::Pass
        })
    }),
    fault("content-type-lost", "the content type is lost", || {
        loses(|property| matches!(property, Property::ContentType(_)))
    }),
    fault("response-topic-lost", "the response topic is lost", || {
        loses(|property| matches!(property, Property::ResponseTopic(_)))
    }),
    fault("correlation-data-lost", "the correlation data are lost", || {
        loses(|property| matches!(property, Property::CorrelationData(_)))
    }),
    fault("payload-format-lost", "the payload format is lost", || {
        loses(|property| matches!(property, Property::PayloadFormatIndicator(_)))
    }),
    fault("payload-format-always", "every message says that it is text", || {
        messages(|publish, line| {
            if line.is_v5() && publish.properties.payload_format_indicator().is_none() {
                publish.properties.push(Property::PayloadFormatIndicator(1));
            }
            Deed::Pass
        })
    }),
    fault("expiry-lost", "the expiry of a message does not reach its receiver", || {
        loses(|property| matches!(property, Property::MessageExpiryInterval(_)))
    }),
    fault("expiry-ignored", "messages never expire", || {
        publications(|publish, _| {
            without(&mut publish.properties, |property| {
                matches!(property, Property::MessageExpiryInterval(_))
            });
            Deed::Pass
        })
    }),
    fault("expiry-not-counted-down", "messages arrive with the expiry that they were sent with", || {
        super::wire::both(|packet, way, line| {
            if let crate::mqtt::Packet::Publish(publish) = packet {
                let key = String::from_utf8_lossy(&publish.payload).into_owned();
                match way {
                    super::Way::Up => note_expiry(line, &key, publish),
                    super::Way::Down => restore_expiry(line, &key, publish),
                }
            }
        })
    }),
    fault("expiry-too-early", "messages expire at once", || {
        publications(|publish, _| {
            alter(publish, |property| match property {
                Property::MessageExpiryInterval(_) => Property::MessageExpiryInterval(0),
                other => other.clone(),
            })
        })
    }),
    fault("alias-passed-on", "the topic alias of the publisher reaches the subscribers", || {
        messages(|publish, line| {
            if line.is_v5() && publish.properties.topic_alias().is_none() {
                publish.properties.push(Property::TopicAlias(1));
            }
            Deed::Pass
        })
    }),
    fault("alias-never-replaced", "an alias keeps its first topic", || {
        let mut known = std::collections::BTreeMap::new();
        publications(move |publish, _| {
            if let Some(alias) = publish.properties.topic_alias()
                && !publish.topic.is_empty()
            {
                publish.topic = known.entry(alias).or_insert(publish.topic.clone()).clone();
            }
            Deed::Pass
        })
    }),
    fault("alias-survives", "an alias holds for the next connection of the client too", || {
        publications(|publish, line| {
            let Some(alias) = publish.properties.topic_alias() else { return Deed::Pass };
            let key = format!("{} {alias}", line.client_id());
            if publish.topic.is_empty() {
                let topic = line
                    .shared
                    .get("alias", &key)
                    .and_then(|number| crate::mqtt::TopicName::new(format!("alias/{number}")).ok());
                publish.topic = topic.unwrap_or_default();
            } else {
                line.shared.set("alias", &key, 1);
            }
            Deed::Pass
        })
    }),
    fault("alias-unwanted", "an alias for who takes none", || {
        connects(|connect, _| {
            without(&mut connect.properties, |property| matches!(property, Property::TopicAliasMaximum(_)));
            if connect.version.is_v5() {
                connect.properties.push(Property::TopicAliasMaximum(10));
            }
        })
    }),
    fault("receive-maximum-ignored", "more messages at once than the client takes (corner 44)", || {
        forgets(|property| matches!(property, Property::ReceiveMaximum(_)))
    }),
    fault("receive-maximum-off-by-one", "one message more at once than the client takes (corner 44)", || {
        connects(|connect, _| {
            let more = |property: &Property| match property {
                Property::ReceiveMaximum(most) => Property::ReceiveMaximum(most.saturating_add(1)),
                other => other.clone(),
            };
            connect.properties = connect.properties.iter().map(more).collect();
        })
    }),
    fault("receive-maximum-is-1", "one message at a time, whatever the client takes", || {
        connects(|connect, _| {
            without(&mut connect.properties, |property| matches!(property, Property::ReceiveMaximum(_)));
            if connect.version.is_v5() {
                connect.properties.push(Property::ReceiveMaximum(1));
            }
        })
    }),
    fault("maximum-packet-size-ignored", "larger packets than the client takes (corner 46)", || {
        forgets(|property| matches!(property, Property::MaximumPacketSize(_)))
    }),
    fault(
        "maximum-packet-size-loses-all",
        "a client with a largest packet gets no message (corner 46)",
        || {
            messages(|publish, line| {
                let limited =
                    line.connect.as_ref().is_some_and(|it| it.properties.maximum_packet_size().is_some());
                if limited && !publish.payload.is_empty() { Deed::Drop } else { Deed::Pass }
            })
        },
    ),
    fault("maximum-packet-size-off-by-one", "one byte more than the client takes", || {
        connects(|connect, _| {
            let more = |property: &Property| match property {
                Property::MaximumPacketSize(most) => Property::MaximumPacketSize(most.saturating_add(1)),
                other => other.clone(),
            };
            connect.properties = connect.properties.iter().map(more).collect();
        })
    }),
    fault("maximum-packet-size-too-strict", "a packet of just the largest size is not sent", || {
        connects(|connect, _| {
            let less = |property: &Property| match property {
                Property::MaximumPacketSize(most) => Property::MaximumPacketSize((most - 1).max(1)),
                other => other.clone(),
            };
            connect.properties = connect.properties.iter().map(less).collect();
        })
    }),
];

/// Takes away what is named.
pub(super) fn without(properties: &mut Properties, which: fn(&Property) -> bool) {
    properties.retain(|property| !which(property));
}

fn loses(which: fn(&Property) -> bool) -> Rewriter {
    messages(move |publish, _| {
        without(&mut publish.properties, which);
        Deed::Pass
    })
}

/// What the client said of itself in CONNECT is not heard.
pub(super) fn forgets(which: fn(&Property) -> bool) -> Rewriter {
    connects(move |connect, _| without(&mut connect.properties, which))
}

fn alter(publish: &mut Publish, edit: fn(&Property) -> Property) -> Deed {
    publish.properties = publish.properties.iter().map(edit).collect();
    Deed::Pass
}

fn note_expiry(line: &Line, key: &str, publish: &Publish) {
    if let Some(expiry) = publish.properties.message_expiry_interval() {
        line.shared.set("expiry", key, u64::from(expiry));
    }
}

fn restore_expiry(line: &Line, key: &str, publish: &mut Publish) {
    let sent = line.shared.get("expiry", key).and_then(|expiry| u32::try_from(expiry).ok());
    let restored = |property: &Property| match (property, sent) {
        (Property::MessageExpiryInterval(_), Some(sent)) => Property::MessageExpiryInterval(sent),
        (other, _) => other.clone(),
    };
    publish.properties = publish.properties.iter().map(restored).collect();
}
