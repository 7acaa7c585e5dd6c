//! Arbitrary well-formed packets of every revision, for property tests.

use bytes::Bytes;
use bytestring::ByteString;
use mqttlab::mqtt::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, PacketType, Publish, RetainHandling, SubAck, Subscribe,
    Subscription, SubscriptionOptions, UnsubAck, Unsubscribe, Will,
};
use mqttlab::mqtt::property::{Make, PROPERTIES, PropertySpec};
use mqttlab::mqtt::{
    Packet, PacketId, Properties, Property, ProtocolVersion, QoS, ReasonCode, TopicFilter, TopicName,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A revision.
pub fn version() -> impl Strategy<Value = ProtocolVersion> {
    proptest::sample::select(ProtocolVersion::ALL.to_vec())
}

/// A string that may travel: no U+0000, and now and then what notations stumble over.
pub fn text() -> impl Strategy<Value = ByteString> {
    prop_oneof![
        4 => "[a-z0-9]{0,8}",
        3 => "[ -~]{0,12}",
        2 => "[^\\x00]{0,6}",
        1 => "(hex:[0-9a-f]{0,4}|qos=1|dup|\"|\\\\|\u{feff}|#|\u{202e}|id=3|0x87|\n)",
    ]
    .prop_map(ByteString::from)
}

/// Bytes, often text.
pub fn payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        text().prop_map(ByteString::into_bytes),
        vec(any::<u8>(), 0..20).prop_map(Bytes::from),
        vec(any::<u8>(), 120..300).prop_map(Bytes::from),
    ]
}

/// A topic name.
pub fn topic() -> impl Strategy<Value = TopicName> {
    prop_oneof!["[ab$]{0,2}(/[ab$]{0,1}){0,4}", text().prop_map(|t| t.to_string())].prop_map(|text| {
        TopicName::new(text.replace(['+', '#'], "_")).unwrap_or_else(|_| TopicName::new("t").expect("valid"))
    })
}

/// A topic filter, shared or not.
pub fn filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof!["[ab$]{0,1}", Just("+".to_owned()), "[^+#/\\x00]{0,4}"];
    (vec(level, 0..5), any::<bool>(), proptest::bool::weighted(0.2)).prop_map(|(mut levels, hash, share)| {
        if hash {
            levels.push("#".to_owned());
        }
        let path = levels.join("/");
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let text = if share { format!("$share/g/{path}") } else { path };
        TopicFilter::new(text).unwrap_or_else(|_| TopicFilter::new("t").expect("valid"))
    })
}

fn id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).expect("not zero"))
}

fn qos() -> impl Strategy<Value = QoS> {
    (0..3_u8).prop_map(|qos| QoS::from_u8(qos).expect("below 3"))
}

/// A value that this property may have.
fn property(spec: &'static PropertySpec) -> BoxedStrategy<Property> {
    match spec.make {
        Make::Byte(make) => (0..2_u8).prop_map(make).boxed(),
        Make::TwoByte(make) => (1..=u16::MAX).prop_map(make).boxed(),
        Make::FourByte(make) => (1..=u32::MAX).prop_map(make).boxed(),
        Make::Variable(make) => (1..=268_435_455_u32).prop_map(make).boxed(),
        Make::Text(make) if spec.name == "response_topic" => {
            topic().prop_map(move |topic| make(topic.as_byte_string().clone())).boxed()
        }
        Make::Text(make) => text().prop_map(make).boxed(),
        Make::Binary(make) => payload().prop_map(make).boxed(),
        Make::Pair(make) => (text(), text()).prop_map(move |(name, value)| make(name, value)).boxed(),
    }
}

fn properties_of(
    specs: Vec<&'static PropertySpec>,
    repeats: fn(&PropertySpec) -> bool,
) -> BoxedStrategy<Properties> {
    let any_of = proptest::sample::select(specs).prop_flat_map(property);
    vec(any_of, 0..6)
        .prop_map(move |list| {
            let mut seen = vec![];
            let mut kept = Properties::new();
            for property in list {
                let spec = property.spec();
                if repeats(spec) || !seen.contains(&spec.id) {
                    seen.push(spec.id);
                    kept.push(property);
                }
            }
            kept
        })
        .boxed()
}

/// Properties that `kind` may carry; none before 5.0.
fn properties(kind: PacketType, version: ProtocolVersion) -> BoxedStrategy<Properties> {
    if !version.is_v5() {
        return Just(Properties::new()).boxed();
    }
    let specs = PROPERTIES.iter().filter(|spec| spec.packets.contains(&kind)).collect();
    let repeats = match kind {
        PacketType::Publish => |spec: &PropertySpec| spec.repeats_in(PacketType::Publish),
        _ => |spec: &PropertySpec| spec.name == "user_property",
    };
    properties_of(specs, repeats)
}

fn will(version: ProtocolVersion) -> impl Strategy<Value = Will> {
    let properties = if version.is_v5() {
        properties_of(PROPERTIES.iter().filter(|spec| spec.in_will).collect(), |spec| {
            spec.name == "user_property"
        })
    } else {
        Just(Properties::new()).boxed()
    };
    (topic(), payload(), qos(), any::<bool>(), properties).prop_map(
        |(topic, payload, qos, retain, properties)| Will { topic, payload, qos, retain, properties },
    )
}

fn connect(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let flags = (any::<bool>(), any::<bool>(), any::<u16>());
    let credentials = (option::of(text()), option::of(payload()));
    (flags, text(), option::of(will(version)), credentials, properties(PacketType::Connect, version))
        .prop_map(move |((bridge, clean_start, keep_alive), client_id, will, credentials, mut properties)| {
            let (username, password) = credentials;
            if properties.authentication_method().is_none() {
                properties.retain(|property| !matches!(property, Property::AuthenticationData(_)));
            }
            Packet::Connect(Box::new(Connect {
                version,
                bridge: bridge && !version.is_v5(),
                clean_start,
                keep_alive,
                client_id,
                will,
                // A password needs a user name before 5.0.
                password: password.filter(|_| version.is_v5() || username.is_some()),
                username,
                properties,
            }))
        })
        .boxed()
}

/// A code that `kind` may carry in `version`.
fn code(kind: PacketType, version: ProtocolVersion) -> impl Strategy<Value = ReasonCode> {
    let allowed: Vec<ReasonCode> = (0..=255)
        .map(ReasonCode)
        .filter(|code| match (version.is_v5(), kind) {
            (true, _) => code.allowed_in(kind),
            (false, PacketType::ConnAck) => code.0 <= 5,
            (false, PacketType::SubAck) => code.0 <= 2 || code.0 == 0x80,
            (false, _) => code.0 == 0,
        })
        .collect();
    proptest::sample::select(allowed)
}

fn conn_ack(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let kind = PacketType::ConnAck;
    (any::<bool>(), code(kind, version), properties(kind, version))
        .prop_map(move |(present, code, properties)| {
            let session_present = present && version != ProtocolVersion::V31;
            Packet::ConnAck(ConnAck { session_present, code, properties })
        })
        .boxed()
}

fn publish(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let flags = (any::<bool>(), qos(), any::<bool>());
    (flags, topic(), id(), payload(), properties(PacketType::Publish, version), any::<bool>())
        .prop_map(|((dup, qos, retain), topic, id, payload, properties, aliased)| {
            let aliased = aliased && properties.topic_alias().is_some();
            Packet::Publish(Publish {
                dup: dup && qos != QoS::AtMostOnce,
                qos,
                retain,
                topic: if aliased { TopicName::aliased() } else { topic },
                id: (qos != QoS::AtMostOnce).then_some(id),
                payload,
                properties,
            })
        })
        .boxed()
}

fn ack(kind: PacketType, version: ProtocolVersion, wrap: fn(Ack) -> Packet) -> BoxedStrategy<Packet> {
    (id(), code(kind, version), properties(kind, version))
        .prop_map(move |(id, reason, properties)| wrap(Ack { id, reason, properties }))
        .boxed()
}

fn options(version: ProtocolVersion, shared: bool) -> impl Strategy<Value = SubscriptionOptions> {
    let handling = proptest::sample::select(vec![
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ]);
    (qos(), any::<bool>(), any::<bool>(), handling).prop_map(move |(qos, no_local, rap, retain_handling)| {
        if version.is_v5() {
            SubscriptionOptions {
                qos,
                no_local: no_local && !shared,
                retain_as_published: rap,
                retain_handling,
            }
        } else {
            SubscriptionOptions { qos, ..SubscriptionOptions::default() }
        }
    })
}

fn subscribe(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let subscription = filter().prop_flat_map(move |filter| {
        options(version, filter.shared().is_some())
            .prop_map(move |options| Subscription { filter: filter.clone(), options })
    });
    (id(), properties(PacketType::Subscribe, version), vec(subscription, 1..4))
        .prop_map(|(id, properties, subscriptions)| {
            Packet::Subscribe(Subscribe { id, properties, subscriptions })
        })
        .boxed()
}

fn sub_ack(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let kind = PacketType::SubAck;
    (id(), properties(kind, version), vec(code(kind, version), 1..4))
        .prop_map(|(id, properties, codes)| Packet::SubAck(SubAck { id, properties, codes }))
        .boxed()
}

fn unsubscribe(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    (id(), properties(PacketType::Unsubscribe, version), vec(filter(), 1..4))
        .prop_map(|(id, properties, filters)| Packet::Unsubscribe(Unsubscribe { id, properties, filters }))
        .boxed()
}

fn unsub_ack(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let kind = PacketType::UnsubAck;
    let codes = if version.is_v5() { 1..4 } else { 0..1 };
    (id(), properties(kind, version), vec(code(kind, version), codes))
        .prop_map(|(id, properties, codes)| Packet::UnsubAck(UnsubAck { id, properties, codes }))
        .boxed()
}

fn disconnect(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let kind = PacketType::Disconnect;
    (code(kind, version), properties(kind, version))
        .prop_map(|(reason, properties)| Packet::Disconnect(Disconnect { reason, properties }))
        .boxed()
}

fn auth() -> BoxedStrategy<Packet> {
    let version = ProtocolVersion::V5;
    let others = properties(PacketType::Auth, version);
    (code(PacketType::Auth, version), text(), others)
        .prop_map(|(reason, method, mut properties)| {
            if properties.authentication_method().is_none() {
                properties.push(Property::AuthenticationMethod(method));
            }
            Packet::Auth(Auth { reason, properties })
        })
        .boxed()
}

/// Any packet that is well-formed in `version`.
pub fn packet(version: ProtocolVersion) -> impl Strategy<Value = Packet> {
    let mut kinds = vec![
        connect(version),
        conn_ack(version),
        publish(version),
        ack(PacketType::PubAck, version, Packet::PubAck),
        ack(PacketType::PubRec, version, Packet::PubRec),
        ack(PacketType::PubRel, version, Packet::PubRel),
        ack(PacketType::PubComp, version, Packet::PubComp),
        subscribe(version),
        sub_ack(version),
        unsubscribe(version),
        unsub_ack(version),
        Just(Packet::PingReq).boxed(),
        Just(Packet::PingResp).boxed(),
        disconnect(version),
    ];
    if version.is_v5() {
        kinds.push(auth());
    }
    proptest::strategy::Union::new(kinds)
}

/// A revision and a packet of it.
pub fn versioned_packet() -> impl Strategy<Value = (ProtocolVersion, Packet)> {
    version().prop_flat_map(|version| (Just(version), packet(version)))
}
