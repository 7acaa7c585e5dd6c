//! The window of QoS 1 and 2 messages on their way to a client (4.3, 4.4, 4.9).
//!
//! Packet identifiers are given out in order, so the window is a ring: a message's place follows
//! from its identifier, and first in, first sent again. Does not know connections: it answers what
//! is to be sent.

use std::collections::VecDeque;

use crate::mqtt::{PacketId, QoS};

use super::journal::{Pen, Record};
use super::publication::Delivery;

/// Identifiers there are: 1 to 65,535.
const IDS: usize = 65_535;

/// How far a message has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// PUBLISH until PUBACK or PUBREC.
    Publish(Delivery),
    /// PUBREL until PUBCOMP.
    Release,
}

#[derive(Debug)]
struct Slot {
    stage: Stage,
    /// It was written to some connection: the next time is a repeat.
    written: bool,
    /// It was given to the present connection and counts against the window.
    active: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Inflight {
    slots: VecDeque<Option<Slot>>,
    /// Identifier of the first slot.
    first: PacketId,
    active: usize,
    /// To be sent again as the window allows.
    again: VecDeque<PacketId>,
}

impl Default for Inflight {
    fn default() -> Self {
        Self { slots: VecDeque::new(), first: PacketId::FIRST, active: 0, again: VecDeque::new() }
    }
}

impl Inflight {
    /// True if another message may be sent to a client that takes `limit` at once.
    /// `[MQTT-3.3.4-9]`, `[MQTT-4.9.0-2]` of 5.0
    pub fn has_room(&self, limit: u16) -> bool {
        self.active < usize::from(limit) && self.again.is_empty() && self.slots.len() < IDS
    }

    /// Takes a message into the window under a new identifier. [MQTT-2.3.1-4], [MQTT-4.3.2-1],
    /// [MQTT-4.3.3-1] 5: [MQTT-2.2.1-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1]
    pub fn insert(&mut self, delivery: Delivery, pen: &mut Pen<'_>) -> PacketId {
        let id = nth_after(self.first, self.slots.len());
        pen.sent(id, &delivery);
        self.slots.push_back(Some(Slot { stage: Stage::Publish(delivery), written: false, active: true }));
        self.active += 1;
        id
    }

    /// Puts back what was in flight before the broker was restarted, the oldest first; false if the
    /// identifier does not fit behind the others.
    pub fn restore(&mut self, id: PacketId, stage: Stage) -> bool {
        if self.slots.is_empty() {
            self.first = id;
        }
        let index = self.index(id);
        if index < self.slots.len() {
            return false;
        }
        self.slots.resize_with(index, || None);
        self.slots.push_back(Some(Slot { stage, written: true, active: false }));
        true
    }

    /// The message with this identifier.
    pub fn stage(&self, id: PacketId) -> Option<&Stage> {
        Some(&self.slots.get(self.index(id))?.as_ref()?.stage)
    }

    /// PUBREC came: the message is the client's, its identifier is held until PUBCOMP.
    pub fn release(&mut self, id: PacketId, pen: &mut Pen<'_>) {
        let index = self.index(id);
        if let Some(Some(slot)) = self.slots.get_mut(index) {
            slot.stage = Stage::Release;
            pen.add(|key| Record::Released(key, 0, id));
        }
    }

    /// The message is done with: the identifier is free.
    pub fn remove(&mut self, id: PacketId, pen: &mut Pen<'_>) {
        let index = self.index(id);
        if let Some(slot) = self.slots.get_mut(index).and_then(Option::take) {
            self.active -= usize::from(slot.active);
            pen.add(|key| Record::Done(key, id));
        }
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first = self.first.next();
        }
    }

    /// The PUBLISH is being written; true if it was before.
    pub fn mark_written(&mut self, id: PacketId) -> bool {
        let index = self.index(id);
        match self.slots.get_mut(index) {
            Some(Some(slot)) => std::mem::replace(&mut slot.written, true),
            _ => false,
        }
    }

    /// True if the PUBLISH was written before.
    pub fn was_written(&self, id: PacketId) -> bool {
        matches!(self.slots.get(self.index(id)), Some(Some(Slot { written: true, .. })))
    }

    /// The connection is gone: all that is open is to be sent again, in order. PUBRELs first, as
    /// they do not wait for the window (`[MQTT-3.3.4-10]` of 5.0). `[MQTT-4.4.0-1]`, `[MQTT-4.6.0-1]`
    pub fn rewind(&mut self) {
        self.active = 0;
        self.again.clear();
        let mut publishes = VecDeque::new();
        let mut id = self.first;
        for slot in &mut self.slots {
            if let Some(slot) = slot {
                slot.active = false;
                match slot.stage {
                    Stage::Release => self.again.push_back(id),
                    Stage::Publish(_) => publishes.push_back(id),
                }
            }
            id = id.next();
        }
        self.again.append(&mut publishes);
    }

    /// The next message to be sent again, if the window of `limit` allows it.
    pub fn next_again(&mut self, limit: u16) -> Option<(PacketId, &Stage)> {
        while let Some(id) = self.again.front().copied() {
            let index = self.index(id);
            let Some(Some(slot)) =
                self.slots.get_mut(index).filter(|slot| slot.as_ref().is_some_and(|s| !s.active))
            else {
                self.again.pop_front();
                continue;
            };
            if matches!(slot.stage, Stage::Publish(_)) && self.active >= usize::from(limit) {
                return None;
            }
            self.again.pop_front();
            slot.active = true;
            self.active += 1;
            let stage = &self.slots.get(index)?.as_ref()?.stage;
            return Some((id, stage));
        }
        None
    }

    fn index(&self, id: PacketId) -> usize {
        (usize::from(id.get()) + IDS - usize::from(self.first.get())) % IDS
    }
}

impl Stage {
    /// The quality of service of a PUBLISH that waits for its acknowledgement.
    pub fn qos(&self) -> Option<QoS> {
        match self {
            Self::Publish(delivery) => Some(delivery.qos),
            Self::Release => None,
        }
    }
}

/// The identifier `n` after `id`, around the end.
fn nth_after(id: PacketId, n: usize) -> PacketId {
    let number = (usize::from(id.get()) - 1 + n) % IDS + 1;
    u16::try_from(number).ok().and_then(PacketId::new).unwrap_or(PacketId::FIRST)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test has to begin at some instant")]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::broker::engine::journal::Journal;
    use crate::broker::engine::publication::Publication;
    use crate::broker::engine::session::SessionId;
    use crate::mqtt::packet::Publish;
    use crate::mqtt::{Properties, TopicName};

    fn delivery(qos: QoS) -> Delivery {
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: TopicName::new("t").expect("a topic"),
            id: None,
            payload: bytes::Bytes::new(),
            properties: Properties::new(),
        };
        let publication = Arc::new(Publication::new(publish, SessionId(0), 1, true, Instant::now()));
        Delivery { publication, qos, retain: false, ids: smallvec::SmallVec::new() }
    }

    fn id(number: u16) -> PacketId {
        PacketId::new(number).expect("not zero")
    }

    #[test]
    fn identifiers_go_around_and_are_never_shared() {
        let mut inflight = Inflight::default();
        let mut open = VecDeque::new();
        for _ in 0..200_000 {
            let new = inflight.insert(delivery(QoS::AtLeastOnce), &mut Journal::default().pen(None));
            assert!(!open.contains(&new));
            open.push_back(new);
            if open.len() == 20 {
                inflight.remove(open.pop_front().expect("20 of them"), &mut Journal::default().pen(None));
            }
        }
    }

    #[test]
    fn a_message_that_is_never_acknowledged_stops_at_the_last_identifier() {
        let mut inflight = Inflight::default();
        let stuck = inflight.insert(delivery(QoS::AtLeastOnce), &mut Journal::default().pen(None));
        let mut sent = 1;
        while inflight.has_room(20) {
            let new = inflight.insert(delivery(QoS::AtLeastOnce), &mut Journal::default().pen(None));
            inflight.remove(new, &mut Journal::default().pen(None));
            sent += 1;
        }
        assert_eq!(sent, IDS);
        inflight.remove(stuck, &mut Journal::default().pen(None));
        assert!(inflight.has_room(20));
        assert_eq!(inflight.insert(delivery(QoS::AtLeastOnce), &mut Journal::default().pen(None)), id(1));
    }

    #[test]
    fn sends_again_in_order_as_the_window_allows() {
        let mut inflight = Inflight::default();
        for qos in [QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce] {
            inflight.insert(delivery(qos), &mut Journal::default().pen(None));
        }
        inflight.release(id(3), &mut Journal::default().pen(None));
        inflight.rewind();
        let mut again = |limit| inflight.next_again(limit).map(|(id, _)| id.get());
        // The PUBREL is first and takes a place of the window until PUBCOMP.
        assert_eq!((again(2), again(2), again(2)), (Some(3), Some(1), None));
        inflight.remove(id(3), &mut Journal::default().pen(None));
        let mut again = |limit| inflight.next_again(limit).map(|(id, _)| id.get());
        assert_eq!((again(2), again(2)), (Some(2), None));
        inflight.remove(id(9), &mut Journal::default().pen(None));
        inflight.remove(id(1), &mut Journal::default().pen(None));
        inflight.remove(id(2), &mut Journal::default().pen(None));
        assert!(!inflight.has_room(2));
        assert_eq!(inflight.next_again(2).map(|(id, _)| id.get()), Some(4));
        assert!(inflight.has_room(2));
    }
}
