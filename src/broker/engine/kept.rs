//! What the records of a journal amount to: the state that outlives the process.
//!
//! Generic over what is held of a message: all of it to start a broker, nothing to find out which
//! records of a file are still needed. Takes any records in any order without panic: one that refers
//! to what is not there is left out, for a file may be damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::mqtt::packet::SubscriptionOptions;
use crate::mqtt::{PacketId, TopicFilter};

use super::journal::{Carried, Key, Record, SessionRecord, WillRecord};
use super::publication::Publication;
use super::stats::Ledger;

/// See the module. `M` is what is held of a message.
#[derive(Debug)]
pub struct Kept<M = Arc<Publication>> {
    pub(super) accounts: BTreeMap<Key, Account>,
    pub(super) wills: BTreeMap<Key, WillRecord>,
    messages: BTreeMap<u64, Stored<M>>,
    pub(super) retained: BTreeSet<u64>,
    /// Messages that perhaps nobody refers to.
    idle: Vec<u64>,
    /// The highest that were given out.
    pub(super) keys: Key,
    pub(super) orders: u64,
    pub(super) serials: u64,
}

/// One session.
#[derive(Debug)]
pub(super) struct Account {
    pub session: SessionRecord,
    pub subscriptions: BTreeMap<TopicFilter, (SubscriptionOptions, Option<u32>)>,
    /// By their order.
    pub queue: BTreeMap<u64, Carried>,
    /// By their order. `None`: released.
    pub inflight: BTreeMap<u64, (PacketId, Option<Carried>)>,
    by_id: BTreeMap<PacketId, u64>,
    pub received: BTreeSet<PacketId>,
}

#[derive(Debug)]
struct Stored<M> {
    message: M,
    uses: usize,
}

impl<M> Default for Kept<M> {
    fn default() -> Self {
        Self {
            accounts: BTreeMap::new(),
            wills: BTreeMap::new(),
            messages: BTreeMap::new(),
            retained: BTreeSet::new(),
            idle: Vec::new(),
            keys: 0,
            orders: 0,
            serials: 0,
        }
    }
}

impl<M> Kept<M> {
    /// Takes over some of what changed together. `keep` says what is to be held of a message.
    pub fn add_with(
        &mut self,
        records: impl IntoIterator<Item = Record>,
        keep: impl Fn(Arc<Publication>) -> M,
    ) {
        for record in records {
            self.apply_one(record, &keep);
        }
    }

    /// That was all of what changed together: messages that nothing refers to can go.
    pub fn settle(&mut self) {
        for serial in std::mem::take(&mut self.idle) {
            if self.messages.get(&serial).is_some_and(|stored| stored.uses == 0) {
                self.messages.remove(&serial);
            }
        }
    }

    fn apply_one(&mut self, record: Record, keep: &impl Fn(Arc<Publication>) -> M) {
        match record {
            Record::Session(session) => self.open(*session),
            Record::SessionEnded(key) => self.end(key),
            Record::Message(publication) => {
                let serial = publication.serial;
                self.serials = self.serials.max(serial);
                self.idle.push(serial);
                self.messages.entry(serial).or_insert_with(|| Stored { message: keep(publication), uses: 0 });
            }
            Record::Retained(serial) => {
                if !self.retained.contains(&serial) && self.refer(serial) {
                    self.retained.insert(serial);
                }
            }
            Record::Unretained(serial) => {
                if self.retained.remove(&serial) {
                    self.drop_use(serial);
                }
            }
            Record::Will(will) => {
                self.keys = self.keys.max(will.key);
                self.wills.insert(will.key, *will);
            }
            Record::WillDue(key, at) => {
                if let Some(will) = self.wills.get_mut(&key) {
                    will.due = Some(at);
                }
            }
            Record::WillGone(key) => {
                self.wills.remove(&key);
            }
            of_a_session => self.apply_to_session(of_a_session),
        }
    }

    fn apply_to_session(&mut self, record: Record) {
        match record {
            Record::Queued(key, order, carried) => self.queue(key, order, carried),
            Record::Unqueued(key, order) => {
                let carried = self.accounts.get_mut(&key).and_then(|it| it.queue.remove(&order));
                self.drop_carried(carried);
            }
            Record::Sent(key, order, id, carried) => self.send(key, order, id, carried),
            Record::Released(key, order, id) => self.release(key, order, id),
            Record::Done(key, id) => {
                let Some(account) = self.accounts.get_mut(&key) else { return };
                let order = account.by_id.remove(&id);
                let carried = order.and_then(|order| account.inflight.remove(&order)).and_then(|it| it.1);
                self.drop_carried(carried);
            }
            Record::Subscribed(key, filter, options, id) => {
                if let Some(account) = self.accounts.get_mut(&key) {
                    account.subscriptions.insert(filter, (options, id));
                }
            }
            Record::Unsubscribed(key, filter) => {
                if let Some(account) = self.accounts.get_mut(&key) {
                    account.subscriptions.remove(&filter);
                }
            }
            Record::Received(key, id) => {
                if let Some(account) = self.accounts.get_mut(&key) {
                    account.received.insert(id);
                }
            }
            Record::Finished(key, id) => {
                if let Some(account) = self.accounts.get_mut(&key) {
                    account.received.remove(&id);
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, session: SessionRecord) {
        self.keys = self.keys.max(session.key);
        if let Some(account) = self.accounts.get_mut(&session.key) {
            account.session = session;
            return;
        }
        let account = Account {
            session,
            subscriptions: BTreeMap::new(),
            queue: BTreeMap::new(),
            inflight: BTreeMap::new(),
            by_id: BTreeMap::new(),
            received: BTreeSet::new(),
        };
        self.accounts.insert(account.session.key, account);
    }

    fn end(&mut self, key: Key) {
        let Some(account) = self.accounts.remove(&key) else { return };
        let inflight = account.inflight.into_values().filter_map(|(_, carried)| carried);
        for carried in account.queue.into_values().chain(inflight) {
            self.drop_use(carried.serial);
        }
    }

    fn queue(&mut self, key: Key, order: u64, carried: Carried) {
        self.orders = self.orders.max(order);
        if !self.accounts.contains_key(&key) || !self.refer(carried.serial) {
            return;
        }
        let old = self.accounts.get_mut(&key).and_then(|account| account.queue.insert(order, carried));
        self.drop_carried(old);
    }

    fn send(&mut self, key: Key, order: u64, id: PacketId, carried: Carried) {
        self.orders = self.orders.max(order);
        if !self.accounts.contains_key(&key) || !self.refer(carried.serial) {
            return;
        }
        if let Some(account) = self.accounts.get_mut(&key) {
            account.put(order, id, Some(carried)).into_iter().for_each(|old| self.drop_carried(old));
        }
    }

    fn release(&mut self, key: Key, order: u64, id: PacketId) {
        self.orders = self.orders.max(order);
        let Some(account) = self.accounts.get_mut(&key) else { return };
        let order = account.by_id.get(&id).copied().unwrap_or(order);
        account.put(order, id, None).into_iter().for_each(|old| self.drop_carried(old));
    }

    /// Counts a use of a message; false if there is no such message.
    fn refer(&mut self, serial: u64) -> bool {
        let Some(stored) = self.messages.get_mut(&serial) else { return false };
        stored.uses += 1;
        true
    }

    fn drop_carried(&mut self, carried: Option<Carried>) {
        if let Some(carried) = carried {
            self.drop_use(carried.serial);
        }
    }

    fn drop_use(&mut self, serial: u64) {
        if let Some(stored) = self.messages.get_mut(&serial) {
            stored.uses -= 1;
            if stored.uses == 0 {
                self.idle.push(serial);
            }
        }
    }

    /// What is held of a message that is referred to.
    pub fn message(&self, serial: u64) -> Option<&M> {
        self.messages.get(&serial).map(|stored| &stored.message)
    }

    /// What is held of all messages, in the order in which they were published.
    pub fn all_messages(&self) -> impl Iterator<Item = &M> {
        self.messages.values().map(|stored| &stored.message)
    }

    /// How many messages are referred to.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// How many sessions are kept.
    pub fn sessions(&self) -> usize {
        self.accounts.len()
    }

    /// How many subscriptions they have.
    pub fn subscriptions(&self) -> usize {
        self.accounts.values().map(|account| account.subscriptions.len()).sum()
    }

    /// How many messages are retained.
    pub fn retained(&self) -> usize {
        self.retained.len()
    }

    /// The records that amount to this state, without the messages, which have to stand before them.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let accounts = self.accounts.iter().flat_map(|(key, account)| account.records(*key));
        let retained = self.retained.iter().copied().map(Record::Retained);
        let wills = self.wills.values().cloned().map(|will| Record::Will(Box::new(will)));
        accounts.chain(retained).chain(wills)
    }
}

impl Kept {
    /// Counts all messages among those that are held.
    pub(super) fn enter(&mut self, ledger: &Arc<Ledger>) {
        // Nobody else has one yet.
        self.messages.values_mut().filter_map(|stored| Arc::get_mut(&mut stored.message)).for_each(|it| {
            it.enter(ledger);
        });
    }

    /// Takes over what changed together.
    pub fn apply(&mut self, records: impl IntoIterator<Item = Record>) {
        self.add_with(records, |publication| publication);
        self.settle();
    }
}

impl Account {
    /// Puts something in flight, in place of what had its identifier or its order, which is given
    /// back. In a sound journal that is one thing at most.
    fn put(&mut self, order: u64, id: PacketId, carried: Option<Carried>) -> [Option<Carried>; 2] {
        let by_id = self.by_id.remove(&id).and_then(|before| self.inflight.remove(&before));
        let by_order = self.inflight.remove(&order);
        if let Some((other, _)) = &by_order {
            self.by_id.remove(other);
        }
        self.by_id.insert(id, order);
        self.inflight.insert(order, (id, carried));
        [by_id.and_then(|it| it.1), by_order.and_then(|it| it.1)]
    }

    fn records(&self, key: Key) -> impl Iterator<Item = Record> + '_ {
        let session = std::iter::once(Record::Session(Box::new(self.session.clone())));
        let subscriptions = self
            .subscriptions
            .iter()
            .map(move |(filter, (options, id))| Record::Subscribed(key, filter.clone(), *options, *id));
        let inflight = self.inflight.iter().map(move |(order, (id, carried))| match carried {
            Some(carried) => Record::Sent(key, *order, *id, carried.clone()),
            None => Record::Released(key, *order, *id),
        });
        let queue =
            self.queue.iter().map(move |(order, carried)| Record::Queued(key, *order, carried.clone()));
        let received = self.received.iter().map(move |id| Record::Received(key, *id));
        session.chain(subscriptions).chain(inflight).chain(queue).chain(received)
    }
}
