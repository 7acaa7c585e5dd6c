//! A publication that goes to many receivers: what is the same for all of them is encoded once a
//! revision, and each receiver's header is put before it.

use bytes::{BufMut, Bytes, BytesMut};

use super::writer;
use crate::mqtt::{PacketId, Properties, Property, ProtocolVersion, QoS, TopicName};

/// The parts of a PUBLISH that all receivers of one revision share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PublishBody {
    version: ProtocolVersion,
    topic: TopicName,
    /// Without their property length.
    properties: Bytes,
    payload: Bytes,
}

/// The parts of a PUBLISH that differ from receiver to receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublishHeader {
    /// This is a repeat of an earlier attempt.
    pub dup: bool,
    /// Quality of service of this hop.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// Present exactly when `qos` is 1 or 2.
    pub id: Option<PacketId>,
    /// The receiver knows the topic by an alias, which is among its own properties: leave the
    /// topic out.
    pub aliased: bool,
}

impl PublishBody {
    /// Encodes what is shared. Leave out of `properties` what differs between receivers or
    /// changes with time: subscription identifiers, topic alias, message expiry.
    pub fn new(version: ProtocolVersion, topic: TopicName, properties: &Properties, payload: Bytes) -> Self {
        let mut bytes = BytesMut::new();
        if version.is_v5() {
            writer::put_list(&mut bytes, properties);
        }
        Self { version, topic, properties: bytes.freeze(), payload }
    }

    /// The revision that this is encoded for.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// How many bytes [`Self::write`] appends.
    pub fn len(&self, header: PublishHeader, own: &[Property]) -> usize {
        let rest = self.remaining_length(header, own);
        1 + writer::varint_len(rest) + rest
    }

    fn topic_of(&self, header: PublishHeader) -> &[u8] {
        if header.aliased { &[] } else { self.topic.as_str().as_bytes() }
    }

    fn properties_len(&self, own: &[Property]) -> usize {
        self.properties.len() + writer::list_len(own)
    }

    fn remaining_length(&self, header: PublishHeader, own: &[Property]) -> usize {
        let id = if header.id.is_some() { 2 } else { 0 };
        let properties = if self.version.is_v5() {
            let len = self.properties_len(own);
            writer::varint_len(len) + len
        } else {
            0
        };
        2 + self.topic_of(header).len() + id + properties + self.payload.len()
    }

    /// Appends the whole PUBLISH for one receiver; `own` are the properties that only it gets.
    pub fn write(&self, into: &mut BytesMut, header: PublishHeader, own: &[Property]) {
        let rest = self.remaining_length(header, own);
        into.reserve(5 + rest);
        into.put_u8(writer::publish_first_byte(header.dup, header.qos, header.retain));
        writer::put_varint(into, rest);
        writer::put_field(into, self.topic_of(header));
        if let Some(id) = header.id {
            into.put_u16(id.get());
        }
        if self.version.is_v5() {
            writer::put_varint(into, self.properties_len(own));
            into.put_slice(&self.properties);
            writer::put_list(into, own);
        }
        into.put_slice(&self.payload);
    }
}
