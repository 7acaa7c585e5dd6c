//! Shared subscriptions (4.8.2): the members of one share and whose turn it is. Which member can
//! take a message is the caller's to say.

use std::cell::Cell;

use super::session::SessionId;
use super::subscriptions::{Grant, Member, find};

/// The members of one `$share/NAME/FILTER`.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub name: Box<str>,
    members: Vec<Member>,
    turn: Cell<usize>,
}

impl Group {
    /// A share without members.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds or replaces a member; true if it is new.
    pub fn insert(&mut self, session: SessionId, grant: Grant) -> bool {
        match find(&self.members, session) {
            Ok(at) => {
                self.members[at].grant = grant;
                false
            }
            Err(at) => {
                self.members.insert(at, Member { session, grant });
                true
            }
        }
    }

    /// Removes a member; true if it was one.
    pub fn remove(&mut self, session: SessionId) -> bool {
        let found = find(&self.members, session);
        if let Ok(at) = found {
            self.members.remove(at);
        }
        found.is_ok()
    }

    /// Its members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// True without members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member whose turn it is. 5: [U5-4.8.2-1], [U5-4.8.2-2]. `rank` says how well a member can take the message: the first
    /// from the turn on that has rank 0 is taken, else the first with the lowest rank; `None`
    /// cannot at all.
    pub fn next(&self, rank: impl Fn(SessionId) -> Option<u8>) -> Option<Member> {
        let count = self.members.len();
        let start = if self.turn.get() < count { self.turn.get() } else { 0 };
        let mut best: Option<(u8, usize)> = None;
        for at in (start..count).chain(0..start) {
            let Some(rank) = rank(self.members[at].session) else { continue };
            if best.is_none_or(|(lowest, _)| rank < lowest) {
                best = Some((rank, at));
            }
            if rank == 0 {
                break;
            }
        }
        let (_, at) = best?;
        self.turn.set(at + 1);
        Some(self.members[at])
    }
}
