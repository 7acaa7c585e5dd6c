//! A publication: one message inside the broker, stored once however many receive it; a delivery:
//! it as one session gets it; a frame: it (or any packet) addressed to one connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use smallvec::SmallVec;

use crate::mqtt::packet::Publish;
use crate::mqtt::{Packet, PacketId, Properties, Property, ProtocolVersion, QoS, TopicName, codec};

use super::limits::COPY_BYTES;
use super::session::SessionId;

/// One message inside the broker.
#[derive(Debug)]
pub struct Publication {
    pub(super) topic: TopicName,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Those that travel on unchanged: no alias, no subscription identifier, no expiry.
    pub(super) properties: Properties,
    pub(super) expires: Option<Instant>,
    /// The session that published it, for No Local.
    pub(super) origin: SessionId,
    /// Counts publications, to tell what came before a subscription.
    pub(super) serial: u64,
}

impl Publication {
    /// Takes a client's packet over. `keep`: it will be held for long, so it must not hold the
    /// buffer that it was read into.
    pub(super) fn new(publish: Publish, origin: SessionId, serial: u64, keep: bool, now: Instant) -> Self {
        let Publish { topic, payload, qos, retain, mut properties, .. } = publish;
        let expires = properties.message_expiry_interval().map(|secs| after(now, secs));
        properties.retain(|property| {
            !matches!(
                property,
                Property::MessageExpiryInterval(_)
                    | Property::TopicAlias(_)
                    | Property::SubscriptionIdentifier(_)
            )
        });
        let mut it = Self { topic, payload, qos, retain, properties, expires, origin, serial };
        if keep || it.payload.len() + it.topic.as_str().len() <= COPY_BYTES {
            it.own();
        }
        it
    }

    /// Copies what is a slice of a larger buffer.
    fn own(&mut self) {
        let topic = self.topic.as_str();
        let mut both = BytesMut::with_capacity(topic.len() + self.payload.len());
        both.extend_from_slice(topic.as_bytes());
        both.extend_from_slice(&self.payload);
        let mut both = both.freeze();
        let name = both.split_to(topic.len());
        if let Ok(Ok(name)) = ByteString::try_from(name).map(TopicName::new) {
            self.topic = name;
        }
        self.payload = both;
        self.properties = owned_properties(&self.properties);
    }

    /// True once it may not be delivered any more.
    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// Bytes that it takes on the wire, roughly.
    pub(super) fn size(&self) -> usize {
        self.topic.as_str().len() + self.payload.len() + 8
    }
}

/// `now` and so many seconds; a time that cannot be told is never reached.
pub(super) fn after(now: Instant, secs: u32) -> Instant {
    now.checked_add(Duration::from_secs(secs.into())).unwrap_or(now)
}

/// Subscription identifiers of the subscriptions that a delivery answers.
pub(super) type SubscriptionIds = SmallVec<[u32; 2]>;

/// A publication as one session gets it.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub publication: Arc<Publication>,
    pub qos: QoS,
    pub retain: bool,
    pub ids: SubscriptionIds,
}

/// A PUBLISH addressed to one connection.
#[derive(Debug, Clone)]
pub struct PublishFrame {
    pub(super) delivery: Delivery,
    pub(super) id: Option<PacketId>,
    pub(super) dup: bool,
    /// What is left of the message expiry interval, seconds; set when the frame is taken.
    pub(super) expiry: Option<u32>,
}

impl PublishFrame {
    /// What is left of the expiry interval, whole seconds of waiting taken off, `[MQTT-3.3.2-6]` of 5.0.
    pub(super) fn count_down(&mut self, now: Instant) {
        self.expiry = self.delivery.publication.expires.map(|at| {
            let left = at.saturating_duration_since(now);
            let secs = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            u32::try_from(secs).unwrap_or(u32::MAX)
        });
    }

    /// The packet that travels.
    pub fn to_packet(&self, version: ProtocolVersion) -> Publish {
        let Delivery { publication, qos, retain, ids } = &self.delivery;
        let mut properties = Properties::new();
        if version.is_v5() {
            properties = publication.properties.clone();
            if let Some(secs) = self.expiry {
                properties.push(Property::MessageExpiryInterval(secs));
            }
            for id in ids {
                properties.push(Property::SubscriptionIdentifier(*id));
            }
        }
        Publish {
            dup: self.dup,
            qos: *qos,
            retain: *retain,
            topic: publication.topic.clone(),
            id: self.id,
            payload: publication.payload.clone(),
            properties,
        }
    }
}

/// One packet addressed to one connection.
#[derive(Debug, Clone)]
pub enum Frame {
    /// An ordinary packet.
    Packet(Packet),
    /// A PUBLISH that shares its publication with other receivers.
    Publish(PublishFrame),
}

impl Frame {
    /// Appends the bytes of this frame as `version` writes it.
    pub fn encode(&self, version: ProtocolVersion, into: &mut BytesMut) {
        match self {
            Self::Packet(packet) => codec::encode(packet, version, into),
            Self::Publish(frame) => codec::encode(&Packet::Publish(frame.to_packet(version)), version, into),
        }
    }

    /// The packet that [`Frame::encode`] writes.
    pub fn to_packet(&self, version: ProtocolVersion) -> Packet {
        match self {
            Self::Packet(packet) => packet.clone(),
            Self::Publish(frame) => Packet::Publish(frame.to_packet(version)),
        }
    }

    /// Bytes that it takes on the wire, roughly.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Packet(Packet::SubAck(suback)) => 8 + suback.codes.len(),
            Self::Packet(Packet::UnsubAck(unsuback)) => 8 + unsuback.codes.len(),
            Self::Packet(_) => 8,
            Self::Publish(frame) => frame.delivery.publication.size(),
        }
    }
}

/// A copy that does not hold a larger buffer.
pub(super) fn owned(text: &ByteString) -> ByteString {
    let text: &str = text;
    ByteString::from(text)
}

/// A copy that does not hold a larger buffer.
pub(super) fn owned_topic(topic: &TopicName) -> TopicName {
    TopicName::new(owned(topic.as_byte_string())).unwrap_or_default()
}

/// Copies that do not hold a larger buffer.
pub(super) fn owned_properties(properties: &Properties) -> Properties {
    let copy = |property: &Property| match property {
        Property::ContentType(text) => Property::ContentType(owned(text)),
        Property::ResponseTopic(text) => Property::ResponseTopic(owned(text)),
        Property::CorrelationData(data) => Property::CorrelationData(Bytes::copy_from_slice(data)),
        Property::UserProperty(name, value) => Property::UserProperty(owned(name), owned(value)),
        other => other.clone(),
    };
    properties.iter().map(copy).collect()
}
