//! What the broker remembers of a client (4.1): subscriptions, messages on their way in both
//! directions, the will. Outlives connections. Sends nothing itself.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::auth::Subject;
use crate::mqtt::packet::Will;
use crate::mqtt::{PacketId, ProtocolVersion, TopicFilter};

use super::ConnId;
use super::arena::Arena;
use super::inflight::Inflight;
use super::journal::Key;
use super::queue::Queue;
use super::retained::Replay;

/// A session, from its making to its end. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionId(pub u64);

impl SessionId {
    /// Stands for the broker where it publishes something itself. No session has it.
    pub const BROKER: Self = Self(u64::MAX);
}

/// Who a client says it is, as far as its rights depend on it.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub client_id: ByteString,
    pub username: Option<ByteString>,
    /// Index into `Config::listeners`: where the client came in last.
    pub listener: usize,
    /// Index into `Config::security`: the rules of that listener.
    pub zone: usize,
}

impl Identity {
    /// For the ACL.
    pub fn subject(&self) -> Subject<'_> {
        Subject { username: self.username.as_deref(), client_id: &self.client_id }
    }
}

/// How long a session outlives its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// Not at all.
    Connection,
    /// So many seconds.
    Secs(u32),
    /// Until a client asks for a clean start.
    Forever,
}

impl Lifetime {
    /// Of the Session Expiry Interval of 5.0.
    pub fn from_secs(secs: u32) -> Self {
        match secs {
            0 => Self::Connection,
            u32::MAX => Self::Forever,
            secs => Self::Secs(secs),
        }
    }

    /// The Session Expiry Interval that says it.
    pub fn as_secs(self) -> u32 {
        match self {
            Self::Connection => 0,
            Self::Secs(secs) => secs,
            Self::Forever => u32::MAX,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    /// Shared with what it published and is retained.
    pub identity: Arc<Identity>,
    pub version: ProtocolVersion,
    /// In the journal; 0 if there is none.
    pub key: Key,
    /// It is kept in the journal: it may outlive its connection.
    pub durable: bool,
    /// The present connection.
    pub conn: Option<ConnId>,
    /// As the CONNECT asked, before a DISCONNECT may change it.
    pub asked_lifetime: Lifetime,
    pub lifetime: Lifetime,
    /// Filters that stand in the tree of subscriptions for this session, each with the ticket of
    /// its replay: a replay with another ticket is void.
    pub subscriptions: BTreeMap<TopicFilter, u64>,
    pub inflight: Inflight,
    pub queue: Queue,
    /// Messages that the client takes at once.
    pub window: u16,
    /// QoS 2 messages from the client between PUBREC and PUBREL.
    pub received: BTreeSet<PacketId>,
    pub will: Option<Box<Will>>,
    /// Retained messages still to be sent for new subscriptions, oldest first.
    pub replays: VecDeque<Replay>,
    /// Messages are being dropped: said in the log when it begins, not for each.
    pub dropping: bool,
}

impl Session {
    /// A new session of this client.
    pub fn new(identity: Arc<Identity>, version: ProtocolVersion) -> Self {
        Self {
            identity,
            version,
            key: 0,
            durable: false,
            conn: None,
            asked_lifetime: Lifetime::Connection,
            lifetime: Lifetime::Connection,
            subscriptions: BTreeMap::new(),
            inflight: Inflight::default(),
            queue: Queue::default(),
            window: u16::MAX,
            received: BTreeSet::new(),
            will: None,
            replays: VecDeque::new(),
            dropping: false,
        }
    }

    /// For the journal, if the session is kept there.
    pub fn journal_key(&self) -> Option<Key> {
        self.durable.then_some(self.key)
    }

    /// True if the replay belongs to a subscription that still is as it was.
    pub fn wants(&self, replay: &Replay) -> bool {
        self.subscriptions.get(&replay.filter) == Some(&replay.ticket)
    }

    /// Adds a replay, and sorts out void ones when there are many.
    pub fn add_replay(&mut self, replay: Replay) {
        self.replays.push_back(replay);
        if self.replays.len() > 2 * self.subscriptions.len() + 16 {
            let replays = std::mem::take(&mut self.replays);
            self.replays = replays.into_iter().filter(|replay| self.wants(replay)).collect();
        }
    }
}

/// All sessions, by key and by client identifier. `[MQTT-3.1.3-2]`
#[derive(Debug, Default)]
pub(super) struct Sessions {
    arena: Arena<Session>,
    by_client_id: HashMap<ByteString, SessionId>,
}

impl Sessions {
    /// Stores a session; there must be none of this client.
    pub fn insert(&mut self, session: Session) -> SessionId {
        let client_id = session.identity.client_id.clone();
        let id = SessionId(self.arena.insert(session));
        self.by_client_id.insert(client_id, id);
        id
    }

    /// The session, if it has not ended.
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.arena.get(id.0)
    }

    /// The session, if it has not ended.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.arena.get_mut(id.0)
    }

    /// The session of a client.
    pub fn find(&self, client_id: &str) -> Option<SessionId> {
        self.by_client_id.get(client_id).copied()
    }

    /// Ends a session.
    pub fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.arena.remove(id.0)?;
        self.by_client_id.remove(&session.identity.client_id);
        Some(session)
    }

    /// How many, connected or not.
    pub fn len(&self) -> usize {
        self.arena.len()
    }

    /// All of them, in an order that depends on nothing but what happened.
    pub fn ids(&self) -> Vec<SessionId> {
        self.arena.keys().into_iter().map(SessionId).collect()
    }
}
