//! What the broker holds in all, and what it takes no more of when that is too much: `memory_limit`,
//! and a budget of our own for messages of QoS 0 that wait for readers who do not read.
//!
//! An estimate out of counts that are kept anyway, not the allocator's figure: it is the same in every
//! run. Frees nothing by itself.

use std::time::Instant;

use crate::broker::log::LogTypes;
use crate::mqtt::packet::Publish;
use crate::mqtt::{QoS, ReasonCode};

use super::limits::{BACKLOG_STEP, BACKLOG_TOTAL_BYTES, COPY_BYTES};
use super::phrases::{self, Ending};
use super::publication::Publication;
use super::session::SessionId;
use super::stats::{Ledger, Limit};
use super::{ConnId, Engine};

/// Bytes that a message takes beside its payload.
const MESSAGE: u64 = 512;
/// Bytes of a session without messages and subscriptions.
const SESSION: u64 = 1024;
/// Bytes of a connection without what waits to be written.
const CONNECTION: u64 = 2048;
/// Bytes of a subscription, its filter included.
const SUBSCRIPTION: u64 = 512;

impl Engine {
    /// Bytes that the broker holds, about.
    pub(super) fn held(&self) -> u64 {
        let (kept, kept_bytes) = self.ledger.held();
        let (passing, passing_bytes) = self.passing.held();
        let subscriptions = (self.subscriptions.plain_len() + self.subscriptions.shared_len()) as u64;
        kept_bytes
            + passing_bytes
            + (kept + passing) * MESSAGE
            + self.backlog as u64 * BACKLOG_STEP as u64
            + self.sessions.len() as u64 * SESSION
            + self.connections.len() as u64 * CONNECTION
            + subscriptions * SUBSCRIPTION
    }

    /// True if `memory_limit` leaves no room for so many bytes more. Says in the log when that begins
    /// and when it is over.
    pub(super) fn lacks_room(&mut self, bytes: usize) -> bool {
        let Some(limit) = self.config.limits.memory_limit else { return false };
        let lacks = self.held().saturating_add(bytes as u64) > limit;
        if lacks != std::mem::replace(&mut self.short_of_memory, lacks) {
            self.outputs.log(LogTypes::WARNING, || {
                let text = if lacks { "is reached: messages are being dropped" } else { "leaves room again" };
                format!("memory_limit ({limit} bytes) {text}.")
            });
        }
        lacks
    }

    /// True if there is no room for a message of a client. One that frees room is let through.
    pub(super) fn lacks_room_for(&mut self, publish: &Publish) -> bool {
        let frees = publish.retain && publish.payload.is_empty();
        self.config.limits.memory_limit.is_some() && !frees && self.lacks_room(publish.payload.len())
    }

    /// Drops a message for which there is no room. A client of 5.0 is told; an older one is
    /// disconnected without an acknowledgement, as mosquitto does, so that it can send it again.
    pub(super) fn drop_for_memory(&mut self, conn: ConnId, id: SessionId, publish: &Publish, now: Instant) {
        self.stats.publish_dropped += 1;
        self.stats.refused.add(Limit::Memory);
        self.debug(id, |id| format!("Dropped PUBLISH from {id} {}", phrases::publish_in(publish)));
        let Some(packet_id) = publish.id.filter(|_| publish.qos != QoS::AtMostOnce) else { return };
        if self.sessions.get(id).is_some_and(|session| session.version.is_v5()) {
            if let Some(connection) = self.connections.get_mut(conn) {
                connection.unreleased.remove(&packet_id);
            }
            self.acknowledge(conn, id, publish.qos, packet_id, ReasonCode::QUOTA_EXCEEDED);
        } else {
            self.close(conn, &Ending::OutOfMemory, now);
        }
    }

    /// Counts a new message while it lives: where `$SYS` shows it if it is held, else on its way if it
    /// is large or memory is limited. Small ones on their way are counted where they wait.
    pub(super) fn count(&self, publication: &mut Publication, held: bool) {
        if held {
            publication.enter(&self.ledger);
        } else if publication.payload.len() > COPY_BYTES || self.config.limits.memory_limit.is_some() {
            publication.enter(&self.passing);
        }
    }
}

/// True if all that waits for slow readers together (in steps, and large messages on their way) is as
/// much as the broker gives to that: who lags behind gets no more QoS 0 then.
pub(super) fn is_over_budget(backlog: usize, passing: &Ledger) -> bool {
    let (_, large) = passing.held();
    (backlog * BACKLOG_STEP) as u64 + large >= BACKLOG_TOTAL_BYTES as u64
}
