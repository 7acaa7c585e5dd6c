//! QoS 1 and 2 messages of a session that are not in flight yet: the window is full or the client
//! is away. Bounded by `max_queued_messages`; what comes when it is full is dropped, as in mosquitto.

use std::collections::VecDeque;
use std::time::Instant;

use super::journal::{Pen, Record};
use super::publication::Delivery;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Each with its place in the journal.
    waiting: VecDeque<(u64, Delivery)>,
    /// No message of the queue expires before.
    first_expiry: Option<Instant>,
}

impl Queue {
    /// Appends a message; false if `limit` (0: none) of them wait already.
    pub fn push(&mut self, delivery: Delivery, limit: u32, now: Instant, pen: &mut Pen<'_>) -> bool {
        let limit = if limit == 0 { usize::MAX } else { limit as usize };
        if self.waiting.len() >= limit && self.first_expiry.is_some_and(|at| at <= now) {
            self.drop_expired(now, pen);
        }
        if self.waiting.len() >= limit {
            return false;
        }
        self.first_expiry = earliest(self.first_expiry, delivery.publication.expires);
        let order = pen.queued(&delivery);
        self.waiting.push_back((order, delivery));
        true
    }

    /// Puts back what waited before the broker was restarted, the oldest first.
    pub fn restore(&mut self, order: u64, delivery: Delivery) {
        self.first_expiry = earliest(self.first_expiry, delivery.publication.expires);
        self.waiting.push_back((order, delivery));
    }

    /// The oldest message that has not expired, `[MQTT-3.3.2-5]` of 5.0.
    pub fn pop(&mut self, now: Instant, pen: &mut Pen<'_>) -> Option<Delivery> {
        while let Some((order, delivery)) = self.waiting.pop_front() {
            pen.add(|key| Record::Unqueued(key, order));
            if !delivery.publication.is_expired(now) {
                return Some(delivery);
            }
        }
        self.first_expiry = None;
        // What a burst took is given back.
        self.waiting.shrink_to(64);
        None
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn drop_expired(&mut self, now: Instant, pen: &mut Pen<'_>) {
        self.waiting.retain(|(order, delivery)| {
            let expired = delivery.publication.is_expired(now);
            if expired {
                pen.add(|key| Record::Unqueued(key, *order));
            }
            !expired
        });
        let expiries = self.waiting.iter().map(|(_, delivery)| delivery.publication.expires);
        self.first_expiry = expiries.fold(None, earliest);
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
