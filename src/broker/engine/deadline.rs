//! When something happens by itself: one instant a timer, the earliest first.
//!
//! Knows nothing of what a timer means. A keep-alive is not moved at every packet: its timer looks,
//! when it fires, whether the client was heard since, and is set again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytestring::ByteString;

use super::ConnId;
use super::session::SessionId;

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Silence of a connection, its missing CONNECT, or its end.
    Connection(ConnId),
    /// The will delay is over.
    Will(SessionId),
    /// The session ends.
    Session(SessionId),
    /// There are more subscriptions of ended sessions to forget.
    Subscriptions,
    /// A retained message expires.
    Retained(ByteString),
    /// The next sample of `$SYS`.
    Sys,
}

/// All timers that are set; each at most once.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    at: BTreeMap<Timer, Instant>,
    order: BTreeSet<(Instant, Timer)>,
}

impl Deadlines {
    /// Sets a timer, in place of what it was set to.
    pub fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(old) = self.at.insert(timer.clone(), at) {
            self.order.remove(&(old, timer.clone()));
        }
        self.order.insert((at, timer));
    }

    /// Forgets a timer.
    pub fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.at.remove_entry(timer) {
            self.order.remove(&(at, timer));
        }
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out a timer that is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.order.first()?.0 > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test has to begin at some instant")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fires_in_order_and_once() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let timer = |n| Timer::Connection(ConnId(n));
        let mut deadlines = Deadlines::default();
        deadlines.set(timer(1), after(9));
        deadlines.set(timer(2), after(3));
        deadlines.set(timer(3), after(1));
        deadlines.set(timer(1), after(2));
        deadlines.cancel(&timer(3));
        assert_eq!(deadlines.next(), Some(after(2)));
        assert_eq!(deadlines.pop_due(after(1)), None);
        assert_eq!(deadlines.pop_due(after(5)), Some(timer(1)));
        assert_eq!(deadlines.pop_due(after(5)), Some(timer(2)));
        assert_eq!(deadlines.pop_due(after(99)), None);
        assert_eq!(deadlines.next(), None);
    }
}
