//! Messages of a session that are not in flight yet: QoS 1 and 2 because the window is full or the
//! client is away, QoS 0 because it is away and `queue_qos0_messages` says so. Bounded by
//! `max_queued_messages` and `max_queued_bytes`; what comes when it is full is dropped, as in
//! mosquitto.

use std::collections::VecDeque;
use std::time::Instant;

use super::journal::{Pen, Record};
use super::publication::Delivery;
use super::stats::Limit;
use crate::broker::config::SessionLimits;
use crate::mqtt::QoS;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Each with its place in the journal.
    waiting: VecDeque<(u64, Delivery)>,
    /// No message of the queue expires before.
    first_expiry: Option<Instant>,
    /// Bytes of their payloads.
    bytes: u64,
    /// How many have QoS 0.
    qos_0: usize,
}

impl Queue {
    /// Appends a message; the limit that has no room if as many or as large ones wait already as the limits allow. As in
    /// mosquitto, the message that exceeds `max_queued_bytes` is still taken.
    pub fn push(
        &mut self,
        delivery: Delivery,
        limits: &SessionLimits,
        now: Instant,
        pen: &mut Pen<'_>,
    ) -> Result<(), Limit> {
        if self.full(limits).is_some() && self.first_expiry.is_some_and(|at| at <= now) {
            self.drop_expired(now, pen);
        }
        if let Some(limit) = self.full(limits) {
            return Err(limit);
        }
        let order = pen.queued(&delivery);
        self.add(order, delivery);
        Ok(())
    }

    fn full(&self, limits: &SessionLimits) -> Option<Limit> {
        let (count, bytes) = (limits.max_queued_messages, limits.max_queued_bytes);
        if count > 0 && self.waiting.len() >= count as usize {
            Some(Limit::QueuedMessages)
        } else {
            (bytes > 0 && self.bytes >= bytes).then_some(Limit::QueuedBytes)
        }
    }

    fn add(&mut self, order: u64, delivery: Delivery) {
        self.first_expiry = earliest(self.first_expiry, delivery.publication.expires);
        self.bytes += delivery.payload_len();
        self.qos_0 += usize::from(delivery.qos == QoS::AtMostOnce);
        self.waiting.push_back((order, delivery));
    }

    /// Puts back what waited before the broker was restarted, the oldest first.
    pub fn restore(&mut self, order: u64, delivery: Delivery) {
        self.add(order, delivery);
    }

    /// The oldest message that has not expired, `[MQTT-3.3.2-5]` of 5.0.
    pub fn pop(&mut self, now: Instant, pen: &mut Pen<'_>) -> Option<Delivery> {
        while let Some((order, delivery)) = self.waiting.pop_front() {
            pen.add(|key| Record::Unqueued(key, order));
            self.bytes -= delivery.payload_len();
            self.qos_0 -= usize::from(delivery.qos == QoS::AtMostOnce);
            if !delivery.publication.is_expired(now) {
                return Some(delivery);
            }
        }
        self.first_expiry = None;
        // What a burst took is given back.
        self.waiting.shrink_to(64);
        None
    }

    /// True while a message of QoS 0 waits: a later one may not overtake it. `[MQTT-4.6.0-6]`
    pub fn holds_qos_0(&self) -> bool {
        self.qos_0 > 0
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
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
        self.bytes = self.waiting.iter().map(|(_, it)| it.payload_len()).sum();
        self.qos_0 = self.waiting.iter().filter(|(_, it)| it.qos == QoS::AtMostOnce).count();
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
