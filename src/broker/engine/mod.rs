//! The broker's decisions, without a socket or a clock: packets and instants in, frames out.
//!
//! The vocabulary is quinn's: `handle_*` takes what happened, `poll_*` gives what is to be done.
//! The hub (`server/hub.rs`) owns the one `Engine` behind the one lock.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod admission;
mod alias;
mod arena;
mod connection;
mod deadline;
mod delivery;
mod drain;
mod inflight;
mod journal;
mod kept;
mod inside;
mod limits;
mod memory;
mod mount;
mod on_ack;
mod on_auth;
mod on_connect;
mod on_disconnect;
mod on_publish;
mod on_reload;
mod on_subscribe;
mod on_timeout;
mod outbox;
mod outputs;
mod phrases;
mod publication;
mod queue;
mod random;
mod restore;
mod retained;
mod session;
mod shared;
mod stats;
mod subscriptions;
mod sys;
mod will;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::auth::scram::Secret;
use super::auth::{AuthFailure, Rules};
use super::config::{Config, INSIDE};
use super::log::LogLine;
use super::log::LogTypes;
use crate::mqtt::codec::DecodeError;
use crate::mqtt::packet::Connect;
use crate::mqtt::{Packet, ProtocolVersion, ReasonCode, TopicFilter};

pub use inside::Bridged;
pub use journal::{Carried, Key, Record, SessionRecord, WillRecord};
pub use kept::Kept;
pub use limits::MAX_TOPIC_SEPARATORS;
pub use publication::{Frame, Publication, PublishFrame, Stored};
pub use stats::{Limit, Refused, Stats};

use connection::{Connections, State};
use deadline::{Deadlines, Timer};
use delivery::Hit;
use journal::Journal;
use limits::{CONNECT_TIMEOUT, MAX_ANSWERS};
use outputs::Outputs;
use phrases::Ending;
use random::Random;
use retained::Retained;
use session::{SessionId, Sessions};
use stats::Ledger;
use subscriptions::Subscriptions;
use sys::Sys;

/// A connection, from accept to close. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Index into `Config::listeners`, or [`INSIDE`].
    pub listener: usize,
    /// Address, or `None` for a Unix socket and an in-memory pipe.
    pub address: Option<SocketAddr>,
    /// The port that it came in by, if that is another than the configured one (which may be 0).
    pub port: Option<u16>,
    /// Path of the Unix socket that it came in by.
    pub path: Option<Arc<str>>,
    /// Our own half of a bridge: no rule forbids it anything.
    pub bridge: bool,
}

impl Peer {
    /// A client that came in by this listener.
    pub fn new(listener: usize, address: Option<SocketAddr>) -> Self {
        Self { listener, address, port: None, path: None, bridge: false }
    }

    /// Our own end of a bridge.
    pub fn bridge() -> Self {
        Self { bridge: true, ..Self::new(INSIDE, None) }
    }
}

/// How a connection ended when the client did not say goodbye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// End of file.
    Eof,
    /// Read or write error, as text.
    Io(String),
}

/// Something for the server to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Frames wait for this connection: wake its task, which calls [`Engine::take_frames`].
    Wake(ConnId),
    /// A line for the log.
    Log(LogLine),
}

/// What [`Engine::take_frames`] left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// More frames wait; call again after writing these.
    pub more: bool,
    /// After these frames the connection is to be closed.
    pub close: bool,
}

/// The broker.
#[derive(Debug)]
pub struct Engine {
    config: Arc<Config>,
    rules: Arc<Rules>,
    connections: Connections,
    sessions: Sessions,
    subscriptions: Subscriptions,
    retained: Retained,
    deadlines: Deadlines,
    outputs: Outputs,
    journal: Journal,
    stats: Stats,
    /// Messages that are held.
    ledger: Arc<Ledger>,
    sys: Sys,
    random: Random,
    started: Instant,
    /// For nonces, and salts of users that do not exist.
    secret: Secret,
    /// Nonces so far.
    exchanges: u64,
    /// Publications so far.
    serial: u64,
    /// Replays so far.
    tickets: u64,
    /// [`Engine::shut_down`] was called.
    ended: bool,
    /// Counts the messages on their way that are not held, as far as they have to be counted.
    passing: Arc<Ledger>,
    /// What waits to be written to all connections, in steps of `BACKLOG_STEP`.
    backlog: usize,
    /// `memory_limit` is reached.
    short_of_memory: bool,
    /// Of sessions that have ended, still to be taken out of the tree.
    ended_subscriptions: VecDeque<(SessionId, BTreeMap<TopicFilter, u64>)>,
    /// Room for the subscriptions that match a publication, used again for the next.
    hits: Vec<Hit>,
    /// Our bridges.
    bridged: Vec<Bridged>,
}

impl Engine {
    /// An empty broker. `seed` drives what is random (invented client ids).
    pub fn new(config: Arc<Config>, rules: Arc<Rules>, seed: u64, now: Instant) -> Self {
        let mut outputs = Outputs::default();
        outputs.configure(&config.log);
        let mut engine = Self {
            config,
            rules,
            connections: Connections::default(),
            sessions: Sessions::default(),
            subscriptions: Subscriptions::default(),
            retained: Retained::default(),
            deadlines: Deadlines::default(),
            outputs,
            journal: Journal::default(),
            stats: Stats::default(),
            ledger: Arc::default(),
            sys: Sys::new(now),
            random: Random(seed),
            started: now,
            secret: random::secret(seed),
            exchanges: 0,
            serial: 0,
            tickets: 0,
            ended: false,
            passing: Arc::default(),
            backlog: 0,
            short_of_memory: false,
            ended_subscriptions: VecDeque::new(),
            hits: Vec::new(),
            bridged: Vec::new(),
        };
        engine.arm_sys(None, now);
        engine
    }

    /// What nobody can guess, in place of what `seed` made: a broker that others can reach needs it.
    pub fn set_secret(&mut self, secret: Secret) {
        self.secret = secret;
    }

    /// A transport connection was accepted.
    pub fn open(&mut self, peer: Peer, now: Instant) -> ConnId {
        let listener = self.config.listeners.get(peer.listener);
        let is_full = |most: Option<u32>, now: u32| most.is_some_and(|most| now >= most);
        let most = listener.and_then(|it| it.max_connections);
        let denied = if peer.bridge {
            None
        } else if is_full(most, self.connections.of_listener(peer.listener)) {
            Some(Limit::Connections)
        } else if is_full(self.config.limits.global_max_connections, self.connections.of_all()) {
            Some(Limit::AllConnections)
        } else {
            None
        };
        if !peer.bridge {
            self.outputs.log_connection(LogTypes::NOTICE, || match listener {
                _ if denied.is_some() => phrases::denied_connection(&peer),
                listener => phrases::opened(&peer, listener.map_or(0, |it| it.port)),
            });
        }
        let counted = denied.is_none() && !peer.bridge;
        let conn = self.connections.insert(peer, counted, now);
        self.stats.sockets_opened += 1;
        if let Some(limit) = denied {
            self.stats.refused.add(limit);
            self.drop_connection(conn, now);
            return conn;
        }
        self.deadlines.set(Timer::Connection(conn), now + CONNECT_TIMEOUT);
        if self.ended {
            // It was accepted while the others were told.
            self.close(conn, &Ending::ShuttingDown, now);
        }
        conn
    }

    /// The transport is TLS, of this version and cipher, for the log.
    pub fn secured(&mut self, conn: ConnId, negotiated: &str) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.secured = Some(negotiated.into());
        }
    }

    /// The first packet. `auth` was found outside of the lock by [`Rules::authenticate`]; it counts
    /// for nothing if the CONNECT names an authentication method, unless a certificate was to name the
    /// client and did not.
    #[expect(clippy::needless_pass_by_value, reason = "packets are handed over")]
    pub fn handle_connect(
        &mut self,
        conn: ConnId,
        connect: Connect,
        auth: Result<(), AuthFailure>,
        now: Instant,
    ) {
        self.stats.messages_received += 1;
        self.stats.connects += 1;
        self.on_connect(conn, &connect, auth, now);
    }

    /// Any packet after the first (a second CONNECT too). `size` is its length on the wire.
    ///
    /// A SUBSCRIBE or UNSUBSCRIBE of many filters is only begun: [`Engine::resume`] goes on with it. A
    /// caller that comes before that is done waits for all of it, so ask [`Engine::is_busy`].
    pub fn handle_packet(&mut self, conn: ConnId, packet: Packet, size: usize, now: Instant) {
        while self.is_busy(conn) {
            self.resume(conn, now);
        }
        let Some(connection) = self.connections.get_mut(conn) else { return };
        self.stats.messages_received += 1;
        self.stats.bytes_received += size as u64;
        connection.last_heard = now;
        let session = match connection.state {
            State::Connected(session) => session,
            // [MQTT-3.1.0-1]
            State::Fresh => return self.close(conn, &Ending::Protocol(ReasonCode::PROTOCOL_ERROR), now),
            State::Authenticating => return self.before_connack(conn, &packet, now),
            // [MQTT-3.1.4-5] 5: [MQTT-3.1.4-6]
            State::Closing => return,
        };
        if connection.outbox.answers() > MAX_ANSWERS {
            self.stats.refused.add(Limit::Unread);
            return self.close(conn, &Ending::Unread, now);
        }
        match packet {
            Packet::Publish(publish) => self.on_publish(conn, session, publish, now),
            Packet::PubAck(ack) => self.on_puback(conn, session, &ack, now),
            Packet::PubRec(ack) => self.on_pubrec(conn, session, &ack, now),
            Packet::PubRel(ack) => self.on_pubrel(conn, session, &ack),
            Packet::PubComp(ack) => self.on_pubcomp(conn, session, &ack, now),
            Packet::Subscribe(subscribe) => self.on_subscribe(conn, session, subscribe, now),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(conn, session, unsubscribe, now),
            Packet::PingReq => {
                self.debug(session, |id| format!("Received PINGREQ from {id}"));
                self.debug(session, |id| format!("Sending PINGRESP to {id}"));
                // [MQTT-3.12.4-1]
                self.send(conn, Packet::PingResp);
            }
            Packet::Disconnect(disconnect) => self.on_disconnect(conn, session, &disconnect, now),
            Packet::Auth(auth) => self.on_auth(conn, &auth, now),
            // [MQTT-3.1.0-2], and what only a server sends: [U311-2.2.1-2] 5: [U5-2.1.2-1]
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => {
                self.close(conn, &Ending::Protocol(ReasonCode::PROTOCOL_ERROR), now);
            }
        }
    }

    /// True while a request of this connection is begun and not answered.
    pub fn is_busy(&self, conn: ConnId) -> bool {
        self.connections.get(conn).is_some_and(|connection| connection.begun.is_some())
    }

    /// Goes on with the request that is begun, for one turn. [`Engine::take_frames`] does it as well.
    pub fn resume(&mut self, conn: ConnId, now: Instant) {
        self.go_on(conn, now);
    }

    /// The peer's bytes cannot be decoded.
    pub fn handle_malformed(&mut self, conn: ConnId, error: &DecodeError, now: Instant) {
        self.on_malformed(conn, error, now);
    }

    /// The transport is gone. Harmless for a connection that the engine closed itself.
    pub fn handle_loss(&mut self, conn: ConnId, loss: Loss, now: Instant) {
        let ending = match loss {
            Loss::Eof => Ending::Eof,
            Loss::Io(error) => Ending::Io(error),
        };
        self.close(conn, &ending, now);
        self.remove_connection(conn);
        self.deadlines.cancel(&Timer::Connection(conn));
    }

    /// A deadline of [`Engine::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.on_timeout(now);
    }

    /// When [`Engine::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The next thing to do; `None` when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop()
    }

    /// What changed in the state that is kept, since the last time. The records belong together, and
    /// stand in the order in which they are to be kept. None before [`Engine::restore`].
    pub fn take_records(&mut self) -> Vec<Record> {
        self.journal.take()
    }

    /// Moves frames of about `max_bytes` to the connection's task, which encodes them outside of
    /// the lock. What was taken counts as written: the task calls this only when it can write.
    pub fn take_frames(
        &mut self,
        conn: ConnId,
        max_bytes: usize,
        into: &mut Vec<Frame>,
        now: Instant,
    ) -> Drained {
        self.drain(conn, max_bytes, into, now)
    }

    /// The revision that a connection speaks, once its CONNECT was handled.
    pub fn version(&self, conn: ConnId) -> Option<ProtocolVersion> {
        self.connections.get(conn)?.version
    }

    /// True once the client was let in, until its connection ends.
    pub fn is_connected(&self, conn: ConnId) -> bool {
        self.connections.get(conn).is_some_and(|connection| connection.session().is_some())
    }

    /// True if a client of this identifier is connected, so that another one would take over.
    pub fn has_client(&self, client_id: &str) -> bool {
        let session = self.sessions.find(client_id).and_then(|id| self.sessions.get(id));
        session.is_some_and(|session| session.conn.is_some())
    }

    /// True when the engine has ended this connection, whether or not its last frames were taken.
    pub fn is_closing(&self, conn: ConnId) -> bool {
        self.connections.get(conn).is_none_or(|connection| connection.state == State::Closing)
    }

    /// A CONNECT took so many bytes. Those of other packets are counted where they are handled.
    pub fn read(&mut self, bytes: u64) {
        self.stats.bytes_received += bytes;
    }

    /// The server has encoded so many bytes for its clients since it last said so.
    pub fn wrote(&mut self, bytes: u64) {
        self.stats.bytes_sent += bytes;
    }

    /// Bytes of memory that the process has now; an engine cannot look.
    pub fn note_memory(&mut self, bytes: u64) {
        self.stats.memory = bytes;
        self.stats.memory_maximum = self.stats.memory_maximum.max(bytes);
    }

    /// The tree of subscriptions as text, a level a line, as mosquitto prints it on SIGUSR2.
    pub fn subscription_tree(&self) -> String {
        let name = |id| self.sessions.get(id).map(|it| &*it.identity.client_id).unwrap_or_default();
        self.subscriptions.print(name)
    }

    /// What the broker did so far.
    pub fn stats(&self) -> Stats {
        let (stored, stored_bytes) = self.ledger.held();
        let (waiting, waiting_bytes) = self.connections.waiting();
        Stats {
            sockets: self.connections.len() as u64,
            stored,
            stored_bytes,
            waiting,
            waiting_bytes,
            sessions: self.sessions.len() as u64,
            retained: self.retained.len() as u64,
            subscriptions: self.subscriptions.plain_len() as u64,
            shared_subscriptions: self.subscriptions.shared_len() as u64,
            ..self.stats
        }
    }

    /// New configuration and rules, after SIGHUP. Clients that would not be let in any more are
    /// closed as mosquitto closes them.
    pub fn reload(&mut self, config: Arc<Config>, rules: Arc<Rules>, now: Instant) {
        self.on_reload(config, rules, now);
    }

    /// The server ends: every connection is told (5.0) and closed, and one that comes later at once.
    pub fn shut_down(&mut self, now: Instant) {
        self.ended = true;
        self.release_wills(now);
        for conn in self.connections.ids() {
            self.close(conn, &Ending::ShuttingDown, now);
        }
    }
}
