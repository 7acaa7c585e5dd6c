//! The journal: what changed in the state that outlives the process, one record a change.
//!
//! Kept only when somebody will take it ([`Engine::restore`](super::Engine::restore) begins it);
//! otherwise nothing is made. A [`Kept`](super::Kept) is what the records amount to. Knows no
//! bytes and no file: that is `storage`.

use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;

use crate::broker::config::INSIDE;
use crate::mqtt::packet::{SubscriptionOptions, Will};
use crate::mqtt::{PacketId, ProtocolVersion, QoS, TopicFilter};

use super::publication::{Delivery, Publication, SubscriptionIds};

/// How the journal names a listener.
pub(super) fn listener_number(listener: usize) -> u32 {
    u32::try_from(listener).unwrap_or(u32::MAX)
}

/// The listener of such a number, [`INSIDE`] too.
pub(super) fn listener_of(number: u32) -> usize {
    if number == u32::MAX { INSIDE } else { number as usize }
}

/// A session in the journal; never used again for another one.
pub type Key = u64;

/// One change. Those of one [`take`](Journal::take) belong together: all of them are kept or none,
/// or a QoS 2 message could be passed on and then be taken for new.
#[derive(Debug, Clone)]
pub enum Record {
    /// A session was opened, or its client came or went.
    Session(Box<SessionRecord>),
    /// A session is over, with all that belonged to it except its will.
    SessionEnded(Key),
    /// A subscription, in place of one with the same filter.
    Subscribed(Key, TopicFilter, SubscriptionOptions, Option<u32>),
    /// The end of a subscription.
    Unsubscribed(Key, TopicFilter),
    /// A message, before anything refers to it by its serial.
    Message(Arc<Publication>),
    /// A message waits for the client. The second number orders what a session gets.
    Queued(Key, u64, Carried),
    /// It waits no more.
    Unqueued(Key, u64),
    /// A message is on its way to the client.
    Sent(Key, u64, PacketId, Carried),
    /// The client has taken over this QoS 2 message. It keeps its order; a number says it where the
    /// message is not known any more.
    Released(Key, u64, PacketId),
    /// This packet identifier is free.
    Done(Key, PacketId),
    /// A QoS 2 message of the client was passed on.
    Received(Key, PacketId),
    /// The client will not repeat it.
    Finished(Key, PacketId),
    /// The message with this serial is retained.
    Retained(u64),
    /// It is not retained any more.
    Unretained(u64),
    /// What is to be published if the client vanishes.
    Will(Box<WillRecord>),
    /// The client has vanished: its will goes out at this instant.
    WillDue(Key, Instant),
    /// The will was published or taken back.
    WillGone(Key),
}

/// A message as one session gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Of its publication.
    pub serial: u64,
    /// As granted.
    pub qos: QoS,
    /// As it is to be set.
    pub retain: bool,
    /// Identifiers of the subscriptions that it answers.
    pub ids: SubscriptionIds,
}

impl From<&Delivery> for Carried {
    fn from(delivery: &Delivery) -> Self {
        let Delivery { publication, qos, retain, ids } = delivery;
        Self { serial: publication.serial, qos: *qos, retain: *retain, ids: ids.clone() }
    }
}

/// Whose session it is, and how long it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Of the session.
    pub key: Key,
    /// Of the client.
    pub client_id: ByteString,
    /// Of the last CONNECT.
    pub username: Option<ByteString>,
    /// Where it came in last: index into `Config::listeners`.
    pub listener: u32,
    /// Of the last CONNECT.
    pub version: ProtocolVersion,
    /// Session Expiry Interval in seconds, `u32::MAX` for ever.
    pub lifetime: u32,
    /// The client is there.
    pub connected: bool,
    /// If it is not: when the session ends.
    pub ends: Option<Instant>,
}

/// A will, with what its rights depend on: sessions that end with their connection are not kept, but
/// their wills are.
#[derive(Debug, Clone)]
pub struct WillRecord {
    /// Of the session.
    pub key: Key,
    /// Of the client.
    pub client_id: ByteString,
    /// Of the client.
    pub username: Option<ByteString>,
    /// Where it came in: index into `Config::listeners`.
    pub listener: u32,
    /// The will.
    pub will: Will,
    /// When it goes out, once the client has vanished.
    pub due: Option<Instant>,
}

/// Collects records, if anybody wants them.
#[derive(Debug, Default)]
pub(super) struct Journal {
    on: bool,
    records: Vec<Record>,
    /// The last key that was given out.
    keys: Key,
    /// The last place in a session's order that was given out.
    orders: u64,
}

impl Journal {
    /// Begins to collect; keys and orders go on behind these.
    pub fn begin(&mut self, keys: Key, orders: u64) {
        *self = Self { on: true, records: Vec::new(), keys, orders };
    }

    /// True if records are collected.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// A key for a new session.
    pub fn new_key(&mut self) -> Key {
        self.keys += 1;
        self.keys
    }

    /// A record, made only if it is wanted.
    pub fn add(&mut self, record: impl FnOnce() -> Record) {
        if self.on {
            self.records.push(record());
        }
    }

    /// Makes sure that a message can be referred to.
    pub fn message(&mut self, publication: &Arc<Publication>) {
        if self.on && publication.begin_to_store() {
            self.records.push(Record::Message(Arc::clone(publication)));
        }
    }

    /// For the records of one session; `None`: it is not kept.
    pub fn pen(&mut self, session: Option<Key>) -> Pen<'_> {
        let key = session.filter(|_| self.on);
        Pen { journal: self, key }
    }

    /// What was collected since the last time.
    pub fn take(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }
}

/// Writes the records of one session, or none at all if it is not kept.
pub(super) struct Pen<'a> {
    journal: &'a mut Journal,
    key: Option<Key>,
}

impl Pen<'_> {
    /// A record of this session.
    pub fn add(&mut self, record: impl FnOnce(Key) -> Record) {
        if let Some(key) = self.key {
            self.journal.records.push(record(key));
        }
    }

    /// A message waits; its place in the order.
    pub fn queued(&mut self, delivery: &Delivery) -> u64 {
        self.refer(delivery, Record::Queued)
    }

    /// A message is on its way.
    pub fn sent(&mut self, id: PacketId, delivery: &Delivery) {
        self.refer(delivery, |key, order, carried| Record::Sent(key, order, id, carried));
    }

    fn refer(&mut self, delivery: &Delivery, record: impl FnOnce(Key, u64, Carried) -> Record) -> u64 {
        let Some(key) = self.key else { return 0 };
        self.journal.message(&delivery.publication);
        self.journal.orders += 1;
        let order = self.journal.orders;
        self.journal.records.push(record(key, order, Carried::from(delivery)));
        order
    }
}
