//! The bytes of one record. Pure; what makes no sense is `None`.
//!
//! Topics and properties are written as the PUBLISH packet of MQTT 5.0 that carries them, so that
//! the codec which checks what clients send checks this too.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::format::Clock;
use crate::broker::engine::{Carried, Key, Publication, Record, SessionRecord, Stored, WillRecord};
use crate::mqtt::codec::{self, Decoder, Limits};
use crate::mqtt::packet::{Publish, RetainHandling, SubscriptionOptions, Will};
use crate::mqtt::{Packet, PacketId, Properties, Property, ProtocolVersion, QoS, TopicFilter};

const SESSION: u8 = 1;
const SESSION_ENDED: u8 = 2;
const SUBSCRIBED: u8 = 3;
const UNSUBSCRIBED: u8 = 4;
const MESSAGE: u8 = 5;
const QUEUED: u8 = 6;
const UNQUEUED: u8 = 7;
const SENT: u8 = 8;
const RELEASED: u8 = 9;
const DONE: u8 = 10;
const RECEIVED: u8 = 11;
const FINISHED: u8 = 12;
const RETAINED: u8 = 13;
const UNRETAINED: u8 = 14;
const WILL: u8 = 15;
const WILL_DUE: u8 = 16;
const WILL_GONE: u8 = 17;

/// Flags of a message and of a will.
const RETAIN: u8 = 4;
const TIMED: u8 = 8;
const SOURCED: u8 = 16;

/// True for a kind of record that there is.
pub(super) fn is_kind(kind: u8) -> bool {
    (SESSION..=WILL_GONE).contains(&kind)
}

/// Appends a record; its kind.
pub(super) fn encode(record: &Record, clock: Clock, into: &mut BytesMut) -> u8 {
    match record {
        Record::Session(session) => put_session(into, session, clock),
        Record::SessionEnded(key) => put_numbers(into, SESSION_ENDED, &[*key]),
        Record::Subscribed(key, filter, options, id) => {
            put_numbers(into, SUBSCRIBED, &[*key, id.unwrap_or(0).into()]);
            into.put_u8(subscription_byte(*options));
            into.put_slice(filter.as_str().as_bytes());
            SUBSCRIBED
        }
        Record::Unsubscribed(key, filter) => {
            put_number(into, *key);
            into.put_slice(filter.as_str().as_bytes());
            UNSUBSCRIBED
        }
        Record::Message(publication) => put_message(into, publication, clock),
        Record::Queued(key, order, carried) => {
            put_numbers(into, QUEUED, &[*key, *order]);
            put_carried(into, carried);
            QUEUED
        }
        Record::Unqueued(key, order) => put_numbers(into, UNQUEUED, &[*key, *order]),
        Record::Sent(key, order, id, carried) => {
            put_numbers(into, SENT, &[*key, *order, id.get().into()]);
            put_carried(into, carried);
            SENT
        }
        Record::Released(key, order, id) => put_numbers(into, RELEASED, &[*key, *order, id.get().into()]),
        Record::Done(key, id) => put_numbers(into, DONE, &[*key, id.get().into()]),
        Record::Received(key, id) => put_numbers(into, RECEIVED, &[*key, id.get().into()]),
        Record::Finished(key, id) => put_numbers(into, FINISHED, &[*key, id.get().into()]),
        Record::Retained(serial) => put_numbers(into, RETAINED, &[*serial]),
        Record::Unretained(serial) => put_numbers(into, UNRETAINED, &[*serial]),
        Record::Will(will) => put_will(into, will, clock),
        Record::WillDue(key, at) => put_numbers(into, WILL_DUE, &[*key, clock.to_millis(*at)]),
        Record::WillGone(key) => put_numbers(into, WILL_GONE, &[*key]),
    }
}

/// Reads a record of this kind.
pub(super) fn decode(kind: u8, bytes: Bytes, clock: Clock) -> Option<Record> {
    let mut reader = Reader(bytes);
    let record = match kind {
        SESSION => Record::Session(Box::new(reader.session(clock)?)),
        SESSION_ENDED => Record::SessionEnded(reader.number()?),
        SUBSCRIBED => {
            let (key, id) = (reader.number()?, u32::try_from(reader.number()?).ok()?);
            let options = subscription_options(reader.byte()?)?;
            Record::Subscribed(key, reader.filter()?, options, (id > 0).then_some(id))
        }
        UNSUBSCRIBED => Record::Unsubscribed(reader.number()?, reader.filter()?),
        MESSAGE => Record::Message(Arc::new(reader.message(clock)?)),
        QUEUED => Record::Queued(reader.number()?, reader.number()?, reader.carried()?),
        UNQUEUED => Record::Unqueued(reader.number()?, reader.number()?),
        SENT => Record::Sent(reader.number()?, reader.number()?, reader.packet_id()?, reader.carried()?),
        RELEASED => Record::Released(reader.number()?, reader.number()?, reader.packet_id()?),
        DONE => Record::Done(reader.number()?, reader.packet_id()?),
        RECEIVED => Record::Received(reader.number()?, reader.packet_id()?),
        FINISHED => Record::Finished(reader.number()?, reader.packet_id()?),
        RETAINED => Record::Retained(reader.number()?),
        UNRETAINED => Record::Unretained(reader.number()?),
        WILL => Record::Will(Box::new(reader.will(clock)?)),
        WILL_DUE => Record::WillDue(reader.number()?, clock.to_instant(reader.number()?)),
        WILL_GONE => Record::WillGone(reader.number()?),
        _ => return None,
    };
    reader.0.is_empty().then_some(record)
}

/// The serial of a message, without the rest of it.
pub(super) fn message_serial(kind: u8, bytes: &Bytes) -> Option<u64> {
    (kind == MESSAGE).then(|| Reader(bytes.clone()).number()).flatten()
}

fn put_number(into: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        into.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.put_u8((value & 0x7f) as u8);
}

fn put_numbers(into: &mut BytesMut, kind: u8, values: &[u64]) -> u8 {
    for value in values {
        put_number(into, *value);
    }
    kind
}

fn put_text(into: &mut BytesMut, text: &str) {
    put_number(into, text.len() as u64);
    into.put_slice(text.as_bytes());
}

/// 0 is none.
fn put_instant(into: &mut BytesMut, at: Option<Instant>, clock: Clock) {
    put_number(into, at.map_or(0, |at| clock.to_millis(at).saturating_add(1)));
}

fn put_name(into: &mut BytesMut, username: Option<&ByteString>) {
    into.put_u8(u8::from(username.is_some()));
    put_text(into, username.map_or("", |name| name));
}

fn put_session(into: &mut BytesMut, session: &SessionRecord, clock: Clock) -> u8 {
    let SessionRecord { key, client_id, username, listener, version, lifetime, connected, ends } = session;
    put_numbers(into, SESSION, &[*key, (*listener).into(), (*lifetime).into()]);
    into.put_u8(version.level());
    into.put_u8(u8::from(*connected));
    put_instant(into, *ends, clock);
    put_name(into, username.as_ref());
    put_text(into, client_id);
    SESSION
}

fn put_carried(into: &mut BytesMut, carried: &Carried) {
    put_number(into, carried.serial);
    into.put_u8(carried.qos.as_u8() | if carried.retain { RETAIN } else { 0 });
    put_number(into, carried.ids.len() as u64);
    carried.ids.iter().for_each(|id| put_number(into, (*id).into()));
}

fn put_message(into: &mut BytesMut, publication: &Publication, clock: Clock) -> u8 {
    let Stored { publish, serial, expires, source } = publication.to_journal();
    put_number(into, serial);
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = flag(publish.retain, RETAIN) | flag(expires.is_some(), TIMED);
    into.put_u8(publish.qos.as_u8() | flags | flag(source.is_some(), SOURCED));
    if let Some(at) = expires {
        put_number(into, clock.to_millis(at));
    }
    if let Some((client_id, username, listener)) = source {
        put_number(into, listener.into());
        put_name(into, username.as_ref());
        put_text(into, &client_id);
    }
    put_publish(into, publish);
    MESSAGE
}

/// The packet without its payload, then the payload.
fn put_publish(into: &mut BytesMut, publish: Publish) {
    let payload = publish.payload;
    let head = Publish { dup: false, qos: QoS::AtMostOnce, id: None, payload: Bytes::new(), ..publish };
    let mut bytes = BytesMut::new();
    codec::encode(&Packet::Publish(head), ProtocolVersion::V5, &mut bytes);
    put_number(into, bytes.len() as u64);
    into.put_slice(&bytes);
    into.put_slice(&payload);
}

fn put_will(into: &mut BytesMut, record: &WillRecord, clock: Clock) -> u8 {
    let WillRecord { key, client_id, username, listener, will, due } = record;
    put_numbers(into, WILL, &[*key, (*listener).into()]);
    put_instant(into, *due, clock);
    // 0 is none.
    put_number(into, will.properties.will_delay_interval().map_or(0, |delay| u64::from(delay) + 1));
    put_name(into, username.as_ref());
    put_text(into, client_id);
    into.put_u8(will.qos.as_u8() | if will.retain { RETAIN } else { 0 });
    let mut properties = will.properties.clone();
    properties.retain(|property| !matches!(property, Property::WillDelayInterval(_)));
    let publish = Publish {
        dup: false,
        qos: will.qos,
        retain: will.retain,
        topic: will.topic.clone(),
        id: None,
        payload: will.payload.clone(),
        properties,
    };
    put_publish(into, publish);
    WILL
}

/// As in a SUBSCRIBE packet (3.8.3.1 of 5.0).
fn subscription_byte(options: SubscriptionOptions) -> u8 {
    let SubscriptionOptions { qos, no_local, retain_as_published, retain_handling } = options;
    qos.as_u8() | u8::from(no_local) << 2 | u8::from(retain_as_published) << 3 | (retain_handling as u8) << 4
}

fn subscription_options(byte: u8) -> Option<SubscriptionOptions> {
    let retain_handling = match byte >> 4 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return None,
    };
    Some(SubscriptionOptions {
        qos: QoS::from_u8(byte & 3)?,
        no_local: byte & 4 != 0,
        retain_as_published: byte & 8 != 0,
        retain_handling,
    })
}

struct Reader(Bytes);

impl Reader {
    fn byte(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    /// Up to 2^63: whatever is counted goes on from there without an overflow.
    fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn number32(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn take(&mut self, len: u64) -> Option<Bytes> {
        let len = usize::try_from(len).ok().filter(|len| *len <= self.0.len())?;
        Some(self.0.split_to(len))
    }

    /// A copy: the rest of the record is not to be held for it.
    fn text(&mut self) -> Option<ByteString> {
        let len = self.number()?;
        let bytes = self.take(len)?;
        std::str::from_utf8(&bytes).ok().map(ByteString::from)
    }

    fn filter(&mut self) -> Option<TopicFilter> {
        let rest = std::mem::take(&mut self.0);
        TopicFilter::new(ByteString::try_from(rest).ok()?).ok()
    }

    fn packet_id(&mut self) -> Option<PacketId> {
        PacketId::new(u16::try_from(self.number()?).ok()?)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    #[expect(clippy::option_option, reason = "what cannot be read, and what is not there")]
    fn instant(&mut self, clock: Clock) -> Option<Option<Instant>> {
        Some(self.number()?.checked_sub(1).map(|millis| clock.to_instant(millis)))
    }

    #[expect(clippy::option_option, reason = "what cannot be read, and what is not there")]
    fn name(&mut self) -> Option<Option<ByteString>> {
        let is_there = self.flag()?;
        let name = self.text()?;
        Some(is_there.then_some(name))
    }

    fn session(&mut self, clock: Clock) -> Option<SessionRecord> {
        let (key, listener, lifetime): (Key, u32, u32) = (self.number()?, self.number32()?, self.number32()?);
        let level = self.byte()?;
        let version = ProtocolVersion::ALL.into_iter().find(|version| version.level() == level)?;
        let connected = self.flag()?;
        let ends = self.instant(clock)?;
        let username = self.name()?;
        let client_id = self.text()?;
        Some(SessionRecord { key, client_id, username, listener, version, lifetime, connected, ends })
    }

    fn carried(&mut self) -> Option<Carried> {
        let serial = self.number()?;
        let flags = self.byte()?;
        let count = self.number()?;
        let ids = (0..count).map(|_| self.number32().and_then(NonZeroU32::new).map(NonZeroU32::get));
        let ids = ids.collect::<Option<_>>()?;
        Some(Carried { serial, qos: QoS::from_u8(flags & !RETAIN)?, retain: flags & RETAIN != 0, ids })
    }

    fn message(&mut self, clock: Clock) -> Option<Publication> {
        let serial = self.number()?;
        let flags = self.byte()?;
        let expires = if flags & TIMED == 0 { None } else { Some(clock.to_instant(self.number()?)) };
        let source = if flags & SOURCED == 0 {
            None
        } else {
            let listener = self.number32()?;
            let username = self.name()?;
            Some((self.text()?, username, listener))
        };
        let publish = self.publish(flags & !(TIMED | SOURCED))?;
        Some(Publication::from_journal(Stored { publish, serial, expires, source }))
    }

    fn publish(&mut self, flags: u8) -> Option<Publish> {
        let len = self.number()?;
        let mut head = BytesMut::from(&self.take(len)?[..]);
        let mut decoder = Decoder::client(ProtocolVersion::V5, Limits::default());
        let Ok(Some((Packet::Publish(publish), _))) = decoder.decode(&mut head) else { return None };
        if !head.is_empty() || publish.topic.is_empty() {
            return None;
        }
        let payload = std::mem::take(&mut self.0);
        let qos = QoS::from_u8(flags & !RETAIN)?;
        Some(Publish { qos, retain: flags & RETAIN != 0, payload, ..publish })
    }

    fn will(&mut self, clock: Clock) -> Option<WillRecord> {
        let (key, listener) = (self.number()?, self.number32()?);
        let due = self.instant(clock)?;
        let delay = self.number()?.checked_sub(1);
        let username = self.name()?;
        let client_id = self.text()?;
        let flags = self.byte()?;
        let Publish { topic, payload, qos, retain, mut properties, .. } = self.publish(flags)?;
        if let Some(delay) = delay {
            let delay = u32::try_from(delay).ok()?;
            let rest = std::mem::replace(&mut properties, Properties::new());
            properties.push(Property::WillDelayInterval(delay));
            rest.iter().cloned().for_each(|property| properties.push(property));
        }
        let will = Will { topic, payload: Bytes::copy_from_slice(&payload), qos, retain, properties };
        Some(WillRecord { key, client_id, username, listener, will, due })
    }
}
