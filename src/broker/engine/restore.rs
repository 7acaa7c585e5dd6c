//! The state that outlives the process: how sessions and wills get into the journal, and how a new
//! engine begins with what was kept.
//!
//! Connections do not outlive the process: whoever was connected has vanished when the broker comes
//! back, and its will is published then (3.1.2.5 allows that).

use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;

use super::deadline::Timer;
use super::inflight::Stage;
use super::journal::{Carried, Record, SessionRecord, WillRecord};
use super::kept::{Account, Kept};
use super::publication::{Delivery, after, owned};
use super::session::{Identity, Lifetime, Session, SessionId};
use super::subscriptions::Grant;
use super::{Engine, journal, will};

/// A session that is back, without its client.
struct Returned {
    id: SessionId,
    connected: bool,
    ends: Option<Instant>,
    will: Option<WillRecord>,
}

impl Engine {
    /// Begins with the state that was kept, and keeps a journal from now on. To be called before
    /// anything else; an empty kept is a new broker.
    pub fn restore(&mut self, mut kept: Kept, now: Instant) {
        self.serial = self.serial.max(kept.serials);
        kept.enter(&self.ledger);
        self.journal.begin(kept.keys, kept.orders);
        self.restore_retained(&kept);
        let mut wills = std::mem::take(&mut kept.wills);
        let mut returned = Vec::new();
        for (key, account) in std::mem::take(&mut kept.accounts) {
            let SessionRecord { lifetime, connected, ends, .. } = account.session;
            if lifetime == 0 {
                // Its connection has ended, though nobody was there to see it.
                self.journal.add(|| Record::SessionEnded(key));
                continue;
            }
            let id = self.restore_session(account, &kept);
            returned.push(Returned { id, connected, ends, will: wills.remove(&key) });
        }
        for session in returned {
            self.restore_absence(session, now);
        }
        // Of sessions that ended with their connections.
        for (key, record) in wills {
            self.journal.add(|| Record::WillGone(key));
            let who = self.identity(record.client_id, record.username, record.listener);
            self.publish_will(&Arc::new(who), record.will, SessionId::BROKER, now);
        }
    }

    fn restore_retained(&mut self, kept: &Kept) {
        for publication in kept.retained.iter().filter_map(|serial| kept.message(*serial)) {
            if let Some(at) = publication.expires {
                self.deadlines.set(Timer::Retained(owned(publication.topic.as_byte_string())), at);
            }
            self.retained.restore(Arc::clone(publication));
        }
    }

    fn restore_session(&mut self, account: Account, kept: &Kept) -> SessionId {
        let Account { session: record, subscriptions, queue, inflight, received, .. } = account;
        let carry = |carried: Carried| {
            let Carried { serial, qos, retain, ids } = carried;
            let publication = Arc::clone(kept.message(serial)?);
            Some(Delivery { publication, qos, retain, ids })
        };
        let identity = self.identity(record.client_id, record.username, record.listener);
        let mut session = Session::new(Arc::new(identity), record.version);
        session.key = record.key;
        session.durable = true;
        session.lifetime = Lifetime::from_secs(record.lifetime);
        session.asked_lifetime = session.lifetime;
        session.received = received;
        for (packet_id, carried) in inflight.into_values() {
            let stage = match carried.map(carry) {
                None => Stage::Release,
                Some(Some(delivery)) => Stage::Publish(delivery),
                Some(None) => continue,
            };
            session.inflight.restore(packet_id, stage);
        }
        session.inflight.rewind();
        for (order, carried) in queue {
            if let Some(delivery) = carry(carried) {
                session.queue.restore(order, delivery);
            }
        }
        session.subscriptions = subscriptions.keys().map(|filter| (filter.clone(), 0)).collect();
        let id = self.sessions.insert(session);
        for (filter, (options, subscription_id)) in subscriptions {
            self.subscriptions.insert(id, &filter, Grant::new(options, subscription_id));
        }
        id
    }

    /// Sets the clocks of a session whose client is away.
    fn restore_absence(&mut self, returned: Returned, now: Instant) {
        let Returned { id, connected, ends, will } = returned;
        let Some(session) = self.sessions.get_mut(id) else { return };
        let ends = match session.lifetime {
            Lifetime::Secs(secs) if connected => Some(after(now, secs)),
            Lifetime::Secs(_) => ends,
            Lifetime::Connection | Lifetime::Forever => None,
        };
        session.will = will.as_ref().map(|record| Box::new(record.will.clone()));
        if let Some(at) = ends {
            self.deadlines.set(Timer::Session(id), at);
        }
        if connected {
            self.record_absence(id, ends);
        }
        let Some(record) = will else { return };
        let due = record.due.unwrap_or_else(|| after(now, will::delay(&record.will)));
        if due <= now {
            self.release_will(id, now);
        } else {
            self.journal.add(|| Record::WillDue(record.key, due));
            self.deadlines.set(Timer::Will(id), due);
        }
    }

    fn identity(&self, client_id: ByteString, username: Option<ByteString>, listener: u32) -> Identity {
        let listener = journal::listener_of(listener);
        Identity { client_id, username, listener, zone: self.config.zone(listener) }
    }

    /// A session was opened, or its client came.
    pub(super) fn record_presence(&mut self, id: SessionId) {
        self.record_session(id, true, None);
    }

    /// The client of a session has gone; `ends`: the session ends then.
    pub(super) fn record_absence(&mut self, id: SessionId, ends: Option<Instant>) {
        self.record_session(id, false, ends);
    }

    fn record_session(&mut self, id: SessionId, connected: bool, ends: Option<Instant>) {
        let Some(session) = self.sessions.get(id) else { return };
        self.journal.pen(session.journal_key()).add(|key| {
            Record::Session(Box::new(SessionRecord {
                key,
                client_id: session.identity.client_id.clone(),
                username: session.identity.username.clone(),
                listener: journal::listener_number(session.identity.listener),
                version: session.version,
                lifetime: session.lifetime.as_secs(),
                connected,
                ends,
            }))
        });
    }

    /// A client came, with or without a will.
    pub(super) fn record_will(&mut self, id: SessionId, had_will: bool) {
        let Some(session) = self.sessions.get(id) else { return };
        let key = session.key;
        match &session.will {
            Some(will) => self.journal.add(|| {
                Record::Will(Box::new(WillRecord {
                    key,
                    client_id: session.identity.client_id.clone(),
                    username: session.identity.username.clone(),
                    listener: journal::listener_number(session.identity.listener),
                    will: (**will).clone(),
                    due: None,
                }))
            }),
            None if had_will => self.journal.add(|| Record::WillGone(key)),
            None => {}
        }
    }
}
