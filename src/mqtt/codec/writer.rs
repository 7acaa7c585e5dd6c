//! Packets to bytes (chapter 3), and how long they get.
//!
//! Writes what it is given: only lengths are seen to. A string or binary field that is longer
//! than its two bytes of length can say is cut there; whoever lets people make such strings checks
//! them before.

use bytes::{BufMut, BytesMut};

use crate::mqtt::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, PacketType, Publish, SubAck, Subscribe, SubscriptionOptions,
    UnsubAck, Unsubscribe, Will,
};
use crate::mqtt::property::Value;
use crate::mqtt::{Packet, PacketId, Properties, Property, ProtocolVersion, QoS, ReasonCode};

/// How many bytes a variable byte integer takes.
pub(in crate::mqtt) const fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// Writes a variable byte integer of at most 268,435,455.
pub(in crate::mqtt) fn put_varint(into: &mut BytesMut, mut value: usize) {
    for _ in 0..3 {
        if value < 0x80 {
            break;
        }
        into.put_u8(low_byte(value) | 0x80);
        value >>= 7;
    }
    into.put_u8(low_byte(value) & 0x7f);
}

/// The lowest byte of `value`.
const fn low_byte(value: usize) -> u8 {
    value.to_le_bytes()[0]
}

/// What of `field` can travel, and the two bytes that say how much that is.
fn wire(field: &[u8]) -> (u16, &[u8]) {
    match u16::try_from(field.len()) {
        Ok(len) => (len, field),
        Err(_) => (u16::MAX, &field[..usize::from(u16::MAX)]),
    }
}

fn field_len(field: &[u8]) -> usize {
    2 + wire(field).1.len()
}

/// Writes a string or binary field: two bytes of length, and the bytes.
pub(in crate::mqtt) fn put_field(into: &mut BytesMut, field: &[u8]) {
    let (len, bytes) = wire(field);
    into.put_u16(len);
    into.put_slice(bytes);
}

fn property_len(property: &Property) -> usize {
    1 + match property.value() {
        Value::Byte(_) => 1,
        Value::TwoByte(_) => 2,
        Value::FourByte(_) => 4,
        Value::Variable(value) => varint_len(value as usize),
        Value::Text(text) => field_len(text.as_bytes()),
        Value::Binary(bytes) => field_len(bytes),
        Value::Pair(name, value) => field_len(name.as_bytes()) + field_len(value.as_bytes()),
    }
}

/// Bytes of `properties` without their property length.
pub(super) fn list_len<'a>(properties: impl IntoIterator<Item = &'a Property>) -> usize {
    properties.into_iter().map(property_len).sum()
}

/// Writes one property.
pub(in crate::mqtt) fn put_property(into: &mut BytesMut, property: &Property) {
    into.put_u8(property.id());
    match property.value() {
        Value::Byte(value) => into.put_u8(value),
        Value::TwoByte(value) => into.put_u16(value),
        Value::FourByte(value) => into.put_u32(value),
        Value::Variable(value) => put_varint(into, value as usize),
        Value::Text(text) => put_field(into, text.as_bytes()),
        Value::Binary(bytes) => put_field(into, bytes),
        Value::Pair(name, value) => {
            put_field(into, name.as_bytes());
            put_field(into, value.as_bytes());
        }
    }
}

/// Writes `properties` without their property length.
pub(super) fn put_list<'a>(into: &mut BytesMut, properties: impl IntoIterator<Item = &'a Property>) {
    for property in properties {
        put_property(into, property);
    }
}

/// Bytes of `properties` with their property length; none before 5.0.
fn properties_len(properties: &Properties, version: ProtocolVersion) -> usize {
    if !version.is_v5() {
        return 0;
    }
    let len = list_len(properties);
    varint_len(len) + len
}

/// Writes `properties` with their property length; nothing before 5.0.
pub(in crate::mqtt) fn put_properties(
    into: &mut BytesMut,
    properties: &Properties,
    version: ProtocolVersion,
) {
    // [MQTT-2.2.2-1] of 5.0
    if version.is_v5() {
        put_varint(into, list_len(properties));
        put_list(into, properties);
    }
}

/// The revision that `packet` is written in: a CONNECT knows its own.
pub(super) fn written_version(packet: &Packet, version: ProtocolVersion) -> ProtocolVersion {
    if let Packet::Connect(connect) = packet { connect.version } else { version }
}

/// The Remaining Length of `packet`.
pub(super) fn body_len(packet: &Packet, version: ProtocolVersion) -> usize {
    match packet {
        Packet::Connect(connect) => connect_len(connect),
        Packet::ConnAck(ack) => 2 + properties_len(&ack.properties, version),
        Packet::Publish(publish) => publish_len(publish, version),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            2 + reason_len(ack.reason, &ack.properties, version)
        }
        Packet::Subscribe(packet) => {
            let filters: usize =
                packet.subscriptions.iter().map(|s| field_len(s.filter.as_str().as_bytes()) + 1).sum();
            2 + properties_len(&packet.properties, version) + filters
        }
        Packet::SubAck(ack) => 2 + properties_len(&ack.properties, version) + ack.codes.len(),
        Packet::Unsubscribe(packet) => {
            let filters: usize = packet.filters.iter().map(|f| field_len(f.as_str().as_bytes())).sum();
            2 + properties_len(&packet.properties, version) + filters
        }
        Packet::UnsubAck(ack) => {
            let codes = if version.is_v5() { ack.codes.len() } else { 0 };
            2 + properties_len(&ack.properties, version) + codes
        }
        Packet::PingReq | Packet::PingResp => 0,
        Packet::Disconnect(packet) => reason_len(packet.reason, &packet.properties, version),
        Packet::Auth(packet) => auth_len(packet),
    }
}

/// Writes `packet` whole.
pub(super) fn put_packet(into: &mut BytesMut, packet: &Packet, version: ProtocolVersion) {
    let len = body_len(packet, version);
    into.reserve(5 + len);
    into.put_u8(first_byte(packet));
    put_varint(into, len);
    match packet {
        Packet::Connect(connect) => put_connect(into, connect),
        Packet::ConnAck(ack) => put_conn_ack(into, ack, version),
        Packet::Publish(publish) => put_publish(into, publish, version),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            put_ack(into, ack, version);
        }
        Packet::Subscribe(packet) => put_subscribe(into, packet, version),
        Packet::SubAck(ack) => put_sub_ack(into, ack, version),
        Packet::Unsubscribe(packet) => put_unsubscribe(into, packet, version),
        Packet::UnsubAck(ack) => put_unsub_ack(into, ack, version),
        Packet::PingReq | Packet::PingResp => {}
        Packet::Disconnect(Disconnect { reason, properties }) => {
            put_reason(into, *reason, properties, version);
        }
        Packet::Auth(packet) => put_auth(into, packet),
    }
}

/// Packet type and flags (2.2.1, 2.2.2; 2.1.2, 2.1.3 in 5.0).
fn first_byte(packet: &Packet) -> u8 {
    let kind = packet.packet_type();
    // [MQTT-2.2.2-1] 5: [MQTT-2.1.3-1]
    match packet {
        Packet::Publish(publish) => publish_first_byte(publish.dup, publish.qos, publish.retain),
        _ => (kind as u8) << 4 | fixed_flags(kind),
    }
}

/// The flags that the standard gives every packet but PUBLISH.
pub(in crate::mqtt) const fn fixed_flags(kind: PacketType) -> u8 {
    match kind {
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
        _ => 0,
    }
}

/// The first byte of a PUBLISH.
pub(super) fn publish_first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    (PacketType::Publish as u8) << 4 | u8::from(dup) << 3 | qos.as_u8() << 1 | u8::from(retain)
}

fn connect_len(connect: &Connect) -> usize {
    let version = connect.version;
    let will = connect.will.as_ref().map_or(0, |will| {
        properties_len(&will.properties, version)
            + field_len(will.topic.as_str().as_bytes())
            + field_len(&will.payload)
    });
    field_len(version.protocol_name().as_bytes())
        + 4
        + properties_len(&connect.properties, version)
        + field_len(connect.client_id.as_bytes())
        + will
        + connect.username.as_ref().map_or(0, |name| field_len(name.as_bytes()))
        + connect.password.as_ref().map_or(0, |password| field_len(password))
}

fn put_connect(into: &mut BytesMut, connect: &Connect) {
    let version = connect.version;
    put_field(into, version.protocol_name().as_bytes());
    let bridge = if connect.bridge && !version.is_v5() { 0x80 } else { 0 };
    into.put_u8(version.level() | bridge);
    into.put_u8(connect_flags(connect));
    into.put_u16(connect.keep_alive);
    put_properties(into, &connect.properties, version);
    // [MQTT-3.1.3-1]
    put_field(into, connect.client_id.as_bytes());
    if let Some(Will { topic, payload, properties, .. }) = &connect.will {
        put_properties(into, properties, version);
        put_field(into, topic.as_str().as_bytes());
        put_field(into, payload);
    }
    if let Some(username) = &connect.username {
        put_field(into, username.as_bytes());
    }
    if let Some(password) = &connect.password {
        put_field(into, password);
    }
}

fn connect_flags(connect: &Connect) -> u8 {
    let will =
        connect.will.as_ref().map_or(0, |will| 0x04 | will.qos.as_u8() << 3 | u8::from(will.retain) << 5);
    u8::from(connect.clean_start) << 1
        | will
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.username.is_some()) << 7
}

fn put_conn_ack(into: &mut BytesMut, ack: &ConnAck, version: ProtocolVersion) {
    // [MQTT-3.2.2-1] of 5.0; 3.1 has no session present.
    into.put_u8(u8::from(ack.session_present && version != ProtocolVersion::V31));
    into.put_u8(ack.code.0);
    put_properties(into, &ack.properties, version);
}

fn id_of(publish: &Publish) -> Option<PacketId> {
    // [MQTT-2.3.1-5] 5: [MQTT-2.2.1-2]
    publish.id.filter(|_| publish.qos != QoS::AtMostOnce)
}

fn publish_len(publish: &Publish, version: ProtocolVersion) -> usize {
    let id = if id_of(publish).is_some() { 2 } else { 0 };
    field_len(publish.topic.as_str().as_bytes())
        + id
        + properties_len(&publish.properties, version)
        + publish.payload.len()
}

fn put_publish(into: &mut BytesMut, publish: &Publish, version: ProtocolVersion) {
    put_field(into, publish.topic.as_str().as_bytes());
    if let Some(id) = id_of(publish) {
        into.put_u16(id.get());
    }
    put_properties(into, &publish.properties, version);
    into.put_slice(&publish.payload);
}

/// A reason code and properties, each left out where it says nothing (3.4.2.1, 3.14.2.1).
fn reason_len(reason: ReasonCode, properties: &Properties, version: ProtocolVersion) -> usize {
    match (version.is_v5(), properties.is_empty()) {
        (false, _) => 0,
        (true, true) => usize::from(reason != ReasonCode::SUCCESS),
        (true, false) => 1 + properties_len(properties, version),
    }
}

fn put_reason(into: &mut BytesMut, reason: ReasonCode, properties: &Properties, version: ProtocolVersion) {
    let len = reason_len(reason, properties, version);
    if len > 0 {
        into.put_u8(reason.0);
    }
    if len > 1 {
        put_properties(into, properties, version);
    }
}

fn put_ack(into: &mut BytesMut, ack: &Ack, version: ProtocolVersion) {
    into.put_u16(ack.id.get());
    put_reason(into, ack.reason, &ack.properties, version);
}

/// The byte behind a filter; before 5.0 only the QoS.
pub(in crate::mqtt) fn options_byte(options: SubscriptionOptions, version: ProtocolVersion) -> u8 {
    let qos = options.qos.as_u8();
    if !version.is_v5() {
        return qos;
    }
    qos | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4
}

fn put_subscribe(into: &mut BytesMut, packet: &Subscribe, version: ProtocolVersion) {
    into.put_u16(packet.id.get());
    put_properties(into, &packet.properties, version);
    for subscription in &packet.subscriptions {
        put_field(into, subscription.filter.as_str().as_bytes());
        into.put_u8(options_byte(subscription.options, version));
    }
}

fn put_sub_ack(into: &mut BytesMut, ack: &SubAck, version: ProtocolVersion) {
    into.put_u16(ack.id.get());
    put_properties(into, &ack.properties, version);
    put_codes(into, &ack.codes);
}

fn put_codes(into: &mut BytesMut, codes: &[ReasonCode]) {
    for code in codes {
        into.put_u8(code.0);
    }
}

fn put_unsubscribe(into: &mut BytesMut, packet: &Unsubscribe, version: ProtocolVersion) {
    into.put_u16(packet.id.get());
    put_properties(into, &packet.properties, version);
    for filter in &packet.filters {
        put_field(into, filter.as_str().as_bytes());
    }
}

fn put_unsub_ack(into: &mut BytesMut, ack: &UnsubAck, version: ProtocolVersion) {
    into.put_u16(ack.id.get());
    put_properties(into, &ack.properties, version);
    if version.is_v5() {
        put_codes(into, &ack.codes);
    }
}

fn auth_len(packet: &Auth) -> usize {
    let nothing = packet.reason == ReasonCode::SUCCESS && packet.properties.is_empty();
    if nothing { 0 } else { 1 + properties_len(&packet.properties, ProtocolVersion::V5) }
}

fn put_auth(into: &mut BytesMut, packet: &Auth) {
    if auth_len(packet) > 0 {
        into.put_u8(packet.reason.0);
        put_properties(into, &packet.properties, ProtocolVersion::V5);
    }
}
