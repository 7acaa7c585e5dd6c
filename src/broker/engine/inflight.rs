//! The window of QoS 1 and 2 messages on their way to a client (4.3, 4.4, 4.9).
//!
//! Packet identifiers are given out in order, so the window is a ring: a message's place follows
//! from its identifier. A message that is never acknowledged holds one place and not the ring: once
//! that is long and mostly empty, empty places are used again, and a count of messages keeps what
//! the places no longer say: first in, first sent again. Does not know connections: it answers what
//! is to be sent.

use std::collections::VecDeque;

use crate::mqtt::{PacketId, QoS};

use super::journal::{Pen, Record};
use super::publication::Delivery;

/// Identifiers there are: 1 to 65,535.
const IDS: usize = 65_535;

/// A ring as long as this is not made longer while half of its places are free.
const LONG: usize = 1024;

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
    /// Counts messages: the order of places that were used again.
    number: u64,
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
    /// Slots that hold a message.
    used: usize,
    /// Messages so far.
    count: u64,
    /// Where the next free place is looked for, behind `first`.
    cursor: usize,
    active: usize,
    /// Bytes of active payloads that wait for PUBACK or PUBREC.
    active_bytes: u64,
    /// `max_inflight_bytes`; 0 is no limit.
    max_bytes: u64,
    /// To be sent again as the window allows.
    again: VecDeque<PacketId>,
}

impl Default for Inflight {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            first: PacketId::FIRST,
            used: 0,
            count: 0,
            cursor: 0,
            active: 0,
            active_bytes: 0,
            max_bytes: 0,
            again: VecDeque::new(),
        }
    }
}

impl Inflight {
    /// Takes over `max_inflight_bytes`.
    pub fn limit_bytes(&mut self, most: u64) {
        self.max_bytes = most;
    }

    /// True if another message may be sent to a client that takes `limit` at once. As in mosquitto,
    /// the message that exceeds `max_inflight_bytes` is still sent: it counts when it is there.
    /// `[MQTT-3.3.4-9]`, `[MQTT-4.9.0-2]` of 5.0
    pub fn has_room(&self, limit: u16) -> bool {
        self.takes_more(limit) && self.again.is_empty() && self.used < IDS
    }

    fn takes_more(&self, limit: u16) -> bool {
        self.active < usize::from(limit) && (self.max_bytes == 0 || self.active_bytes < self.max_bytes)
    }

    /// Takes a message into the window under an identifier that is free. [MQTT-2.3.1-4],
    /// [MQTT-4.3.2-1], [MQTT-4.3.3-1] 5: [MQTT-2.2.1-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1]
    pub fn insert(&mut self, delivery: Delivery, pen: &mut Pen<'_>) -> PacketId {
        self.active += 1;
        self.active_bytes += delivery.payload_len();
        self.used += 1;
        self.count += 1;
        let length = self.slots.len();
        let reuses = (length >= LONG && self.used * 2 <= length) || length >= IDS;
        let at = if reuses { self.free_place() } else { length };
        let id = nth_after(self.first, at);
        pen.sent(id, &delivery);
        let stage = Stage::Publish(delivery);
        let slot = Some(Slot { stage, number: self.count, written: false, active: true });
        if reuses {
            self.slots[at] = slot;
        } else {
            self.slots.push_back(slot);
        }
        id
    }

    /// The next free place from the cursor on. There is one: [`Inflight::has_room`] was asked. Takes
    /// few steps while half of them are free.
    fn free_place(&mut self) -> usize {
        let length = self.slots.len();
        let start = if self.cursor < length { self.cursor } else { 0 };
        let found = (start..length).chain(0..start).find(|at| self.slots[*at].is_none());
        let at = found.unwrap_or_default();
        self.cursor = at + 1;
        at
    }

    /// Puts back what was in flight before the broker was restarted, the oldest first; false if the
    /// identifier is taken.
    pub fn restore(&mut self, id: PacketId, stage: Stage) -> bool {
        if self.slots.is_empty() {
            self.first = id;
        }
        let mut at = self.index(id);
        if self.slots.get(at).is_some_and(Option::is_some) {
            return false;
        }
        // Identifiers are used again, so a later message may have one before the first.
        let before = IDS - at;
        if at >= self.slots.len() && before < at - self.slots.len() {
            (0..before).for_each(|_| self.slots.push_front(None));
            self.first = id;
            at = 0;
        }
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        self.used += 1;
        self.count += 1;
        self.slots[at] = Some(Slot { stage, number: self.count, written: true, active: false });
        true
    }

    /// How many are not done with.
    pub fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// The message with this identifier.
    pub fn stage(&self, id: PacketId) -> Option<&Stage> {
        Some(&self.slots.get(self.index(id))?.as_ref()?.stage)
    }

    /// PUBREC came: the message is the client's, its identifier is held until PUBCOMP.
    pub fn release(&mut self, id: PacketId, pen: &mut Pen<'_>) {
        let index = self.index(id);
        if let Some(Some(slot)) = self.slots.get_mut(index) {
            if slot.active {
                self.active_bytes -= slot.stage.payload_len();
            }
            slot.stage = Stage::Release;
            pen.add(|key| Record::Released(key, 0, id));
        }
    }

    /// The message is done with: the identifier is free.
    pub fn remove(&mut self, id: PacketId, pen: &mut Pen<'_>) {
        let index = self.index(id);
        if let Some(slot) = self.slots.get_mut(index).and_then(Option::take) {
            self.used -= 1;
            if slot.active {
                self.active -= 1;
                self.active_bytes -= slot.stage.payload_len();
            }
            pen.add(|key| Record::Done(key, id));
        }
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first = self.first.next();
            self.cursor = self.cursor.saturating_sub(1);
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
        self.active_bytes = 0;
        self.again.clear();
        let mut open = Vec::with_capacity(self.used);
        let mut id = self.first;
        for slot in &mut self.slots {
            if let Some(slot) = slot {
                slot.active = false;
                open.push((matches!(slot.stage, Stage::Publish(_)), slot.number, id));
            }
            id = id.next();
        }
        open.sort_unstable_by_key(|(is_publish, number, _)| (*is_publish, *number));
        self.again.extend(open.into_iter().map(|(_, _, id)| id));
    }

    /// The next message to be sent again, if the window of `limit` allows it.
    pub fn next_again(&mut self, limit: u16) -> Option<(PacketId, &Stage)> {
        while let Some(id) = self.again.front().copied() {
            let index = self.index(id);
            let room = self.takes_more(limit);
            let Some(Some(slot)) =
                self.slots.get_mut(index).filter(|slot| slot.as_ref().is_some_and(|s| !s.active))
            else {
                self.again.pop_front();
                continue;
            };
            if matches!(slot.stage, Stage::Publish(_)) && !room {
                return None;
            }
            self.again.pop_front();
            slot.active = true;
            self.active += 1;
            self.active_bytes += slot.stage.payload_len();
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

    fn payload_len(&self) -> u64 {
        match self {
            Self::Publish(delivery) => delivery.payload_len(),
            Self::Release => 0,
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
    fn a_message_that_is_never_acknowledged_holds_its_own_identifier_only() {
        let mut inflight = Inflight::default();
        let stuck = inflight.insert(delivery(QoS::AtLeastOnce), &mut Journal::default().pen(None));
        for _ in 0..200_000 {
            assert!(inflight.has_room(20));
            let new = inflight.insert(delivery(QoS::AtLeastOnce), &mut Journal::default().pen(None));
            assert_ne!(new, stuck);
            inflight.remove(new, &mut Journal::default().pen(None));
        }
        assert!(inflight.slots.len() <= LONG, "the ring is {} long", inflight.slots.len());
        inflight.remove(stuck, &mut Journal::default().pen(None));
        assert!(inflight.slots.is_empty());
    }

    #[test]
    fn all_identifiers_can_be_in_use_and_each_is_used_again() {
        let mut inflight = Inflight::default();
        for _ in 0..IDS {
            assert!(inflight.has_room(u16::MAX));
            inflight.insert(delivery(QoS::AtLeastOnce), &mut Journal::default().pen(None));
        }
        assert!(!inflight.has_room(u16::MAX));
        for number in [65_535, 7, 30_000] {
            inflight.remove(id(number), &mut Journal::default().pen(None));
            assert!(inflight.has_room(u16::MAX));
            assert_eq!(
                inflight.insert(delivery(QoS::AtLeastOnce), &mut Journal::default().pen(None)),
                id(number)
            );
            assert!(!inflight.has_room(u16::MAX));
        }
        inflight.rewind();
        let again: Vec<_> = std::iter::from_fn(|| Some(inflight.next_again(u16::MAX)?.0.get())).collect();
        assert_eq!(again.len(), IDS);
        assert_eq!(again[..8], [1, 2, 3, 4, 5, 6, 8, 9]);
        assert_eq!(again[IDS - 3..], [65_535, 7, 30_000], "in the order of the messages");
    }

    #[test]
    fn a_window_is_put_back_whatever_its_identifiers_are() {
        let mut inflight = Inflight::default();
        let order = [900, 1000, 3, 65_000, 901];
        for number in order {
            assert!(inflight.restore(id(number), Stage::Release));
        }
        assert!(!inflight.restore(id(3), Stage::Release));
        inflight.rewind();
        let again: Vec<_> = std::iter::from_fn(|| Some(inflight.next_again(9)?.0.get())).collect();
        assert_eq!(again, order);
        assert!(inflight.slots.len() < 3000, "the ring is {} long", inflight.slots.len());
        for number in order {
            inflight.remove(id(number), &mut Journal::default().pen(None));
        }
        assert!(inflight.slots.is_empty() && inflight.has_room(1));
    }

    #[test]
    fn bytes_are_a_limit_too() {
        let mut inflight = Inflight::default();
        inflight.limit_bytes(1);
        assert!(inflight.has_room(9));
        // Without payload it is as if it were not there.
        inflight.insert(delivery(QoS::AtLeastOnce), &mut Journal::default().pen(None));
        assert!(inflight.has_room(9));
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
