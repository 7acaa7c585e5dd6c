//! A publication: one message inside the broker, stored once however many receive it; a delivery:
//! it as one session gets it; a frame: it (or any packet) addressed to one connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use smallvec::SmallVec;

use crate::mqtt::codec::{PublishBody, PublishHeader};
use crate::mqtt::packet::Publish;
use crate::mqtt::{Packet, PacketId, Properties, Property, ProtocolVersion, QoS, TopicName, codec};

use super::alias::OwnAlias;
use super::journal;
use super::limits::COPY_BYTES;
use super::session::{Identity, SessionId};
use super::stats::{Entry, Ledger};

/// A publication as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Without what is told apart here.
    pub publish: Publish,
    /// Its number.
    pub serial: u64,
    /// When it may not be delivered any more.
    pub expires: Option<Instant>,
    /// Who published it, with user name and listener, where that is kept.
    pub source: Option<(ByteString, Option<ByteString>, u32)>,
}

/// One message inside the broker.
#[derive(Debug)]
pub struct Publication {
    pub(super) topic: TopicName,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Those that travel on unchanged: no alias, no subscription identifier, no expiry.
    /// 5: `[MQTT-3.3.2-4]`, `[MQTT-3.3.2-15]`, `[MQTT-3.3.2-16]`, `[MQTT-3.3.2-17]`,
    /// `[MQTT-3.3.2-18]`, `[MQTT-3.3.2-20]`
    pub(super) properties: Properties,
    pub(super) expires: Option<Instant>,
    /// The session that published it, for No Local.
    pub(super) origin: SessionId,
    /// Counts publications, to tell what came before a subscription.
    pub(super) serial: u64,
    /// Where it is counted while it lives, if it is held.
    entry: Option<Entry>,
    /// It is in the journal.
    stored: AtomicBool,
    /// Who published it, if it asks to be retained: for `check_retain_source`, and for No Local,
    /// which goes by the client identifier and not by the session.
    pub(super) source: Option<Arc<Identity>>,
    /// What is the same for all 5.0 receivers, encoded for the first of them.
    body: OnceLock<Box<PublishBody>>,
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
        let mut it = Self {
            topic,
            payload,
            qos,
            retain,
            properties,
            expires,
            origin,
            serial,
            source: None,
            entry: None,
            stored: AtomicBool::new(false),
            body: OnceLock::new(),
        };
        if keep || it.payload.len() + it.topic.as_str().len() <= COPY_BYTES {
            it.own();
        }
        it
    }

    /// Counts it among the messages that are held, as long as it lives.
    pub(super) fn enter(&mut self, ledger: &Arc<Ledger>) {
        self.entry = Some(Entry::new(ledger, self.payload.len()));
    }

    /// As it was read from the journal.
    pub fn from_journal(stored: Stored) -> Self {
        let Stored { publish, serial, expires, source } = stored;
        let Publish { topic, payload, qos, retain, properties, .. } = publish;
        let mut it = Self {
            topic,
            payload,
            qos,
            retain,
            properties,
            expires,
            origin: SessionId::BROKER,
            serial,
            source: source.map(|(client_id, username, listener)| {
                // Its zone is looked up when it is asked for: it may be another one by then.
                Arc::new(Identity { client_id, username, listener: journal::listener_of(listener), zone: 0 })
            }),
            entry: None,
            stored: AtomicBool::new(true),
            body: OnceLock::new(),
        };
        it.own();
        it
    }

    /// What [`Publication::from_journal`] takes.
    pub fn to_journal(&self) -> Stored {
        let publish = Publish {
            dup: false,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic.clone(),
            id: None,
            payload: self.payload.clone(),
            properties: self.properties.clone(),
        };
        let source = self
            .source
            .as_ref()
            .map(|who| (who.client_id.clone(), who.username.clone(), journal::listener_number(who.listener)));
        Stored { publish, serial: self.serial, expires: self.expires, source }
    }

    /// Bytes of what it carries.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// True the first time: it is to be written to the journal.
    pub(super) fn begin_to_store(&self) -> bool {
        !self.stored.swap(true, Ordering::Relaxed)
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

    /// What all receivers of a revision share. Without properties that costs no more than to count.
    /// Behind a mount point, which hides so many bytes of the topic, nothing is shared.
    fn with_body<R>(
        &self,
        version: ProtocolVersion,
        hidden: u16,
        use_it: impl FnOnce(&PublishBody) -> R,
    ) -> R {
        let new = || {
            let topic = if hidden == 0 { self.topic.clone() } else { self.topic.without(hidden.into()) };
            PublishBody::new(version, topic, &self.properties, self.payload.clone())
        };
        if version.is_v5() && !self.properties.is_empty() && hidden == 0 {
            use_it(self.body.get_or_init(|| Box::new(new())))
        } else {
            use_it(&new())
        }
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

/// `now` and so many seconds.
pub(super) fn after(now: Instant, secs: u32) -> Instant {
    now + Duration::from_secs(secs.into())
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

impl Delivery {
    /// What counts against `max_inflight_bytes` and `max_queued_bytes`, as in mosquitto.
    pub(super) fn payload_len(&self) -> u64 {
        self.publication.payload.len() as u64
    }
}

/// A PUBLISH addressed to one connection.
#[derive(Debug, Clone)]
pub struct PublishFrame {
    pub(super) delivery: Delivery,
    pub(super) id: Option<PacketId>,
    pub(super) dup: bool,
    /// What is left of the message expiry interval, seconds; set when the frame is taken.
    pub(super) expiry: Option<u32>,
    /// Set when the frame is taken.
    pub(super) alias: Option<OwnAlias>,
    /// Bytes of the topic that are a mount point, which is not sent.
    pub(super) hidden: u16,
}

impl PublishFrame {
    /// A delivery on its way.
    pub(super) fn new(delivery: Delivery, id: Option<PacketId>) -> Self {
        Self { delivery, id, dup: false, expiry: None, alias: None, hidden: 0 }
    }

    /// The topic that the client sees.
    pub(super) fn topic(&self) -> TopicName {
        self.delivery.publication.topic.without(self.hidden.into())
    }

    /// What is left of the expiry interval, whole seconds of waiting taken off, `[MQTT-3.3.2-6]` of 5.0.
    pub(super) fn count_down(&mut self, now: Instant) {
        self.expiry = self.delivery.publication.expires.map(|at| {
            let left = at.saturating_duration_since(now);
            let secs = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            u32::try_from(secs).unwrap_or(u32::MAX)
        });
    }

    fn header(&self) -> PublishHeader {
        PublishHeader {
            dup: self.dup,
            qos: self.delivery.qos,
            retain: self.delivery.retain,
            id: self.id,
            aliased: self.alias.is_some_and(|alias| alias.known),
        }
    }

    /// The properties that only this receiver gets.
    fn own_properties(&self) -> SmallVec<[Property; 2]> {
        let expiry = self.expiry.map(Property::MessageExpiryInterval);
        let ids = self.delivery.ids.iter().map(|id| Property::SubscriptionIdentifier(*id));
        let alias = self.alias.map(|alias| Property::TopicAlias(alias.number));
        expiry.into_iter().chain(ids).chain(alias).collect()
    }

    fn encode(&self, version: ProtocolVersion, into: &mut BytesMut) {
        let own = if version.is_v5() { self.own_properties() } else { SmallVec::new() };
        self.delivery
            .publication
            .with_body(version, self.hidden, |body| body.write(into, self.header(), &own));
    }

    /// How many bytes it takes on the wire.
    pub(super) fn len(&self, version: ProtocolVersion) -> usize {
        let own = if version.is_v5() { self.own_properties() } else { SmallVec::new() };
        self.delivery.publication.with_body(version, self.hidden, |body| body.len(self.header(), &own))
    }

    /// The packet that travels.
    pub fn to_packet(&self, version: ProtocolVersion) -> Publish {
        let Delivery { publication, qos, retain, ids: _ } = &self.delivery;
        let mut properties = Properties::new();
        if version.is_v5() {
            properties = publication.properties.clone();
            self.own_properties().into_iter().for_each(|property| properties.push(property));
        }
        let aliased = self.header().aliased;
        Publish {
            dup: self.dup,
            qos: *qos,
            retain: *retain,
            topic: if aliased { TopicName::aliased() } else { self.topic() },
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
            Self::Publish(frame) => frame.encode(version, into),
        }
    }

    /// The packet that [`Frame::encode`] writes.
    pub fn to_packet(&self, version: ProtocolVersion) -> Packet {
        match self {
            Self::Packet(packet) => packet.clone(),
            Self::Publish(frame) => Packet::Publish(frame.to_packet(version)),
        }
    }

    /// True if its receiver relies on the broker not to forget what was decided before it.
    pub fn is_promise(&self) -> bool {
        match self {
            Self::Packet(packet) => !matches!(packet, Packet::PingResp),
            Self::Publish(frame) => frame.id.is_some(),
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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test has to begin at some instant")]
mod tests {
    use super::*;
    use crate::broker::config::INSIDE;

    /// What a bridge published is not taken for a client's: no rule is asked for it.
    #[test]
    fn the_journal_keeps_who_published() {
        let topic = TopicName::new("t").expect("a topic");
        for listener in [0, 3, INSIDE] {
            let publish = Publish {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: true,
                topic: topic.clone(),
                id: None,
                payload: Bytes::new(),
                properties: Properties::new(),
            };
            let mut publication = Publication::new(publish, SessionId(0), 1, true, Instant::now());
            let (client_id, username) = ("a".into(), Some("alice".into()));
            publication.source = Some(Arc::new(Identity { client_id, username, listener, zone: 0 }));
            let stored = publication.to_journal();
            let back = Publication::from_journal(stored.clone());
            assert_eq!(back.source.as_ref().map(|it| it.listener), Some(listener));
            assert_eq!(back.to_journal(), stored);
        }
    }

    /// The shared body and the receiver's header are together what the codec makes of the packet.
    #[test]
    fn a_frame_is_encoded_as_its_packet() {
        let now = Instant::now();
        for properties in [
            Properties::new(),
            Properties::from(vec![
                Property::UserProperty("a".into(), "b".into()),
                Property::MessageExpiryInterval(9),
            ]),
        ] {
            let publish = Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain: true,
                topic: TopicName::new("a/b").expect("a topic"),
                id: Some(PacketId::FIRST),
                payload: Bytes::from_static(b"payload"),
                properties,
            };
            let publication = Arc::new(Publication::new(publish, SessionId(0), 1, true, now));
            for (qos, id, ids) in
                [(QoS::AtMostOnce, None, vec![]), (QoS::AtLeastOnce, Some(PacketId::FIRST), vec![1, 300])]
            {
                let delivery =
                    Delivery { publication: Arc::clone(&publication), qos, retain: true, ids: ids.into() };
                let mut frame = PublishFrame { dup: id.is_some(), ..PublishFrame::new(delivery, id) };
                frame.count_down(now);
                for (version, hidden) in ProtocolVersion::ALL.into_iter().flat_map(|it| [(it, 0), (it, 2)]) {
                    frame.hidden = hidden;
                    let alias = OwnAlias { number: 2, known: id.is_some() };
                    frame.alias = version.is_v5().then_some(alias);
                    let (mut shared, mut whole) = (BytesMut::new(), BytesMut::new());
                    Frame::Publish(frame.clone()).encode(version, &mut shared);
                    codec::encode(&Packet::Publish(frame.to_packet(version)), version, &mut whole);
                    assert_eq!(shared, whole);
                    assert_eq!(frame.len(version), whole.len());
                }
            }
        }
    }
}
