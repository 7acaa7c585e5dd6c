//! QoS 1 and 2 publications on their way from one end to the other (4.3). Judges nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::mqtt::packet::{Ack, Publish};
use crate::mqtt::{PacketId, QoS};

/// How far a publication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// PUBLISH was sent.
    Published,
    /// PUBREC came.
    Received,
    /// PUBREL was sent.
    Released,
}

/// One publication under way.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub qos: QoS,
    pub stage: Stage,
    /// Its PUBLISH was sent on this connection.
    pub here: bool,
    /// It has a Message Expiry Interval.
    pub expires: bool,
    /// Tells what it says from what others say.
    pub content: u64,
    /// Its place among the PUBLISH packets.
    pub published: u64,
    /// Its place among the PUBREC packets.
    pub received: u64,
}

/// Packets of one identifier on this connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    /// PUBLISH packets that wait for PUBACK or PUBREC.
    pub asked: u32,
    /// PUBREC packets so far; one at least when there was a PUBREL.
    pub received: u32,
    /// PUBREL packets so far.
    pub released: u32,
    /// PUBCOMP packets so far.
    pub completed: u32,
}

/// The publications of one sender.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts of their own")]
pub(super) struct Flights {
    open: BTreeMap<PacketId, Flight>,
    /// The receiver may know of more, from an earlier connection.
    pub unknown: bool,
    /// The sender may know of more.
    pub unknown_to_sender: bool,
    /// The sender may have sent what nobody saw, or may not have read that it was acknowledged: it ended with
    /// its connection.
    pub sent_unseen: bool,
    counts: BTreeMap<PacketId, Count>,
    used: BTreeSet<PacketId>,
    /// PUBLISH packets on this connection, less those that are settled.
    pub balance: i64,
    /// Something was sent again on this connection, so that acknowledgements cannot be told apart.
    pub repeated: bool,
    clock: u64,
    /// Places of the latest that were answered with PUBACK, PUBREC and PUBREL.
    pub last: [u64; 3],
}

impl Flights {
    /// Nothing, and perhaps something that nobody saw.
    pub fn unseen() -> Self {
        Self { unknown: true, unknown_to_sender: true, ..Self::default() }
    }

    /// The publication that uses this identifier.
    pub fn get(&self, id: PacketId) -> Option<&Flight> {
        self.open.get(&id)
    }

    /// What was counted of this identifier.
    pub fn count(&self, id: PacketId) -> Count {
        self.counts.get(&id).copied().unwrap_or_default()
    }

    /// True if a PUBLISH of this connection had it.
    pub fn was_used(&self, id: PacketId) -> bool {
        self.used.contains(&id)
    }

    /// True if it may belong to an earlier connection.
    pub fn may_be_older(&self, id: PacketId) -> bool {
        self.unknown || self.open.get(&id).is_some_and(|flight| !flight.here)
    }

    /// What is open at the start of a connection that goes on with this session.
    pub fn resumed(&self) -> Self {
        let mut open = self.open.clone();
        for flight in open.values_mut() {
            flight.here = false;
            flight.published = 0;
            flight.received = 0;
        }
        Self { open, unknown: self.unknown, unknown_to_sender: self.unknown_to_sender, ..Self::default() }
    }

    /// What was open before this connection comes to what was sent on it already.
    pub fn add(&mut self, before: Self) {
        self.unknown = before.unknown;
        self.unknown_to_sender = before.unknown_to_sender;
        for (id, flight) in before.open {
            self.open.entry(id).or_insert(flight);
        }
    }

    /// PUBLISH.
    pub fn publish(&mut self, publish: &Publish) {
        let Some(id) = publish.id else { return };
        self.clock += 1;
        self.balance += 1;
        self.repeated |= publish.dup && self.was_used(id);
        self.used.insert(id);
        self.counts.entry(id).or_default().asked += 1;
        let published = self.clock;
        match self.open.get_mut(&id) {
            Some(flight) if publish.dup => {
                flight.here = true;
                flight.published = published;
            }
            _ => {
                let flight = Flight {
                    qos: publish.qos,
                    stage: Stage::Published,
                    here: true,
                    expires: publish.properties.message_expiry_interval().is_some(),
                    content: content(publish),
                    published,
                    received: 0,
                };
                self.open.insert(id, flight);
            }
        }
    }

    /// PUBACK.
    pub fn acknowledge(&mut self, ack: &Ack) {
        self.balance -= 1;
        let count = self.counts.entry(ack.id).or_default();
        count.asked = count.asked.saturating_sub(1);
        if let Some(flight) = self.open.remove(&ack.id) {
            self.last[0] = self.last[0].max(flight.published);
        }
    }

    /// PUBREC.
    pub fn receive(&mut self, ack: &Ack) {
        self.clock += 1;
        let count = self.counts.entry(ack.id).or_default();
        count.asked = count.asked.saturating_sub(1);
        count.received += 1;
        if let Some(flight) = self.open.get_mut(&ack.id) {
            self.last[1] = self.last[1].max(flight.published);
            if flight.stage == Stage::Published {
                flight.stage = Stage::Received;
                flight.received = self.clock;
            }
        }
        if !ack.reason.is_success() {
            self.balance -= 1;
            self.open.remove(&ack.id);
        }
    }

    /// PUBREL.
    pub fn release(&mut self, ack: &Ack) {
        let count = self.counts.entry(ack.id).or_default();
        // Without a PUBREC here it goes on with what an earlier connection had.
        count.received = count.received.max(1);
        count.released += 1;
        if let Some(flight) = self.open.get_mut(&ack.id) {
            flight.stage = Stage::Released;
            self.last[2] = self.last[2].max(flight.received);
        }
    }

    /// PUBCOMP.
    pub fn complete(&mut self, ack: &Ack) {
        self.balance -= 1;
        self.counts.entry(ack.id).or_default().completed += 1;
        self.open.remove(&ack.id);
    }
}

/// Tells one message from another.
pub(super) fn content(publish: &Publish) -> u64 {
    let mut hasher = DefaultHasher::new();
    publish.topic.as_str().hash(&mut hasher);
    publish.payload.hash(&mut hasher);
    hasher.finish()
}
