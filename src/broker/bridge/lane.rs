//! The messages that are under way in one direction, by the packet identifier that they have on both
//! sides.
//!
//! Pure. An identifier can be stale: the broker where messages end may still hold one of QoS 2 that
//! began in a session which is lost. It would take a new message of that identifier for the old one
//! and drop it, so it is made to forget the old one first. Does not send anything itself.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};

use crate::mqtt::PacketId;
use crate::mqtt::packet::Publish;

/// Identifiers that are made fresh at once: one round trip for so many.
const PURGE: u16 = 64;

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// QoS 1: waits for PUBACK.
    Once,
    /// QoS 2, passed on as QoS 1: waits for PUBACK.
    Lowered,
    /// QoS 2: waits for PUBREC.
    Sent,
    /// QoS 2: waits for PUBREL of where it began.
    Received,
    /// QoS 2: waits for PUBCOMP.
    Released,
}

/// The identifiers that may be stale: one bit each, or none at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost(Option<Box<[u64]>>);

impl Lost {
    /// Every identifier, when the session where messages begin is a new one and the one where they
    /// end is not.
    pub fn all() -> Self {
        Self(Some(vec![u64::MAX; 1 << 10].into_boxed_slice()))
    }

    fn has(&self, id: PacketId) -> bool {
        self.0.as_ref().is_some_and(|bits| bits[usize::from(id.get() >> 6)] >> (id.get() & 63) & 1 == 1)
    }

    fn remove(&mut self, id: PacketId) {
        if let Some(bits) = &mut self.0 {
            bits[usize::from(id.get() >> 6)] &= !(1 << (id.get() & 63));
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Lane {
    /// Passed on and not yet done with.
    pub open: BTreeMap<PacketId, Stage>,
    /// QoS 2 messages that the bridge answered itself: their PUBREL is not passed on.
    pub settled: BTreeSet<PacketId>,
    /// The message that has to wait; nothing overtakes it.
    pub held: Option<Publish>,
    lost: Lost,
    purging: BTreeSet<PacketId>,
}

impl Lane {
    /// Nothing under way.
    pub fn new(lost: Lost) -> Self {
        Self { lost, ..Self::default() }
    }

    /// What is still stale.
    pub fn into_lost(self) -> Lost {
        self.lost
    }

    /// A message is passed on. False if another one has its identifier; the same one may come again
    /// until it is released.
    pub fn begin(&mut self, id: PacketId, stage: Stage, dup: bool) -> bool {
        let again = |before: &Stage| match before {
            Stage::Sent | Stage::Received => stage == Stage::Sent,
            before => stage == *before,
        };
        if self.open.get(&id).is_some_and(|before| !dup || !again(before)) {
            return false;
        }
        self.settled.remove(&id);
        self.open.insert(id, stage);
        true
    }

    /// A message is released. False if that was not its turn.
    pub fn release(&mut self, id: PacketId) -> bool {
        let stage = self.open.get(&id);
        let fits = matches!(stage, None | Some(Stage::Received | Stage::Released));
        if fits {
            self.open.insert(id, Stage::Released);
        }
        fits
    }

    /// True if the broker where messages end may hold an old message of this identifier.
    pub fn is_stale(&self, id: PacketId) -> bool {
        self.lost.has(id) && !self.open.contains_key(&id)
    }

    /// The identifiers to be released now, this one and those that come next, unless some are.
    pub fn purge(&mut self, id: PacketId) -> Vec<PacketId> {
        if !self.purging.is_empty() {
            return Vec::new();
        }
        let block = std::iter::successors(Some(id), |id| Some(id.next()));
        let stale = |id: &PacketId| self.lost.has(*id) && !self.open.contains_key(id);
        let block: Vec<_> = block.take(usize::from(PURGE)).filter(stale).collect();
        self.purging.extend(&block);
        block
    }

    /// True until all of them are answered.
    pub fn is_purging(&self) -> bool {
        !self.purging.is_empty()
    }

    /// A PUBCOMP: true if it was for one of those.
    pub fn purged(&mut self, id: PacketId) -> bool {
        let was = self.purging.remove(&id);
        if was {
            self.lost.remove(id);
        }
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).expect("not 0")
    }

    #[test]
    fn an_identifier_is_taken_until_its_message_is_done_with() {
        let mut lane = Lane::default();
        assert!(lane.begin(id(1), Stage::Sent, false));
        assert!(!lane.begin(id(1), Stage::Sent, false), "another message");
        assert!(lane.begin(id(1), Stage::Sent, true), "the same one again");
        assert!(!lane.begin(id(1), Stage::Once, true), "a repeat does not change its quality");
        lane.open.insert(id(1), Stage::Received);
        assert!(lane.begin(id(1), Stage::Sent, true), "until it is released");
        lane.open.insert(id(1), Stage::Released);
        assert!(!lane.begin(id(1), Stage::Sent, true));
        lane.open.remove(&id(1));
        assert!(lane.begin(id(1), Stage::Once, false));
    }

    #[test]
    fn a_message_is_released_only_when_it_was_received() {
        let mut lane = Lane::default();
        assert!(lane.release(id(1)), "of a connection before this one");
        for (stage, may) in [
            (Stage::Once, false),
            (Stage::Lowered, false),
            (Stage::Sent, false),
            (Stage::Received, true),
            (Stage::Released, true),
        ] {
            lane.open.insert(id(2), stage);
            assert_eq!(lane.release(id(2)), may, "{stage:?}");
            assert_eq!(lane.open[&id(2)], if may { Stage::Released } else { stage });
        }
    }

    #[test]
    fn stale_identifiers_are_made_fresh_in_blocks_that_leave_out_what_is_open() {
        let mut lane = Lane::new(Lost::all());
        assert!(lane.is_stale(id(1)) && lane.is_stale(id(u16::MAX)));
        assert!(lane.begin(id(u16::MAX), Stage::Sent, false));
        assert!(!lane.is_stale(id(u16::MAX)), "it is in use: the other broker knows this very message");
        let block = lane.purge(id(u16::MAX - 1));
        assert_eq!(block.len(), usize::from(PURGE) - 1);
        assert_eq!(block[..2], [id(u16::MAX - 1), id(1)], "on behind the last one, and never 0");
        assert_eq!(lane.purge(id(1000)), [], "one block at a time");
        assert!(!lane.purged(id(1000)), "a PUBCOMP for something else");
        for one in block {
            assert!(lane.is_purging() && lane.purged(one) && !lane.is_stale(one));
        }
        assert!(!lane.is_purging());
        let lane = Lane::new(lane.into_lost());
        assert!(
            !lane.is_stale(id(1)) && lane.is_stale(id(1000)),
            "the next connection goes on with the rest"
        );
    }
}
