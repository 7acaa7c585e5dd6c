//! The hub: the one lock around the [`Engine`], and the only file that takes it.
//!
//! The lock is held to decide and for nothing else. What the engine says is to be done (wake a
//! connection, write a log line) is done after the lock was given back.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use jiff::Zoned;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::LogSink;
use super::log_sink::{Stamp, cut};
use crate::broker::auth::scram::Secret;
use crate::broker::auth::{AuthFailure, Rules};
use crate::broker::config::{Config, LogConfig, LogDestination};
use crate::broker::engine::{ConnId, Drained, Engine, Frame, Kept, Loss, Output, Peer};
use crate::broker::log::{LogLine, LogTypes};
use crate::broker::storage::{Position, Store, Unwritable};
use crate::mqtt::codec::DecodeError;
use crate::mqtt::packet::Connect;
use crate::mqtt::{Packet, ProtocolVersion};

/// Packets handled in one lock hold.
pub const BATCH: usize = 64;

/// The engine and what is asked for only under its lock.
struct Core {
    engine: Engine,
    config: Arc<Config>,
    rules: Arc<Rules>,
    wakers: HashMap<ConnId, Arc<Notify>>,
    /// The deadline that the timer task sleeps towards.
    armed: Option<Instant>,
    /// What lines on topics begin with; `None` without `log_dest topic`.
    topic_stamp: Option<Stamp>,
}

/// See the module.
pub struct Hub {
    core: Mutex<Core>,
    deadline_moved: Notify,
    /// Bytes encoded for clients of which the engine was not told yet.
    wrote: AtomicU64,
    log: Mutex<LogSink>,
    /// Password hashes computed at the same time. A broker's own: under a paused clock, a wait for
    /// another runtime's hash would look idle, and time would run to the next time-out.
    hashing: Semaphore,
    /// Where the engine's journal goes, if it is kept.
    store: Option<Store>,
}

/// A place in the journal that has to be safe before frames are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier(Position);

/// Permits of [`Hub::hashing`].
const HASHES: usize = 4;

/// What is to be done once the lock is free.
#[derive(Default)]
struct ToDo {
    wake: SmallVec<[Arc<Notify>; 8]>,
    lines: Vec<LogLine>,
    deadline_moved: bool,
}

/// A CONNECT that waits to be let in.
pub struct Authenticated {
    /// What was asked.
    pub connect: Box<Connect>,
    /// Its length on the wire.
    pub size: usize,
    /// What the rules said.
    pub result: Result<(), AuthFailure>,
    /// Which rules.
    pub by: Arc<Rules>,
}

impl Hub {
    /// A hub with a broker that begins with what was kept, or an empty one.
    pub fn new(
        config: Arc<Config>,
        rules: Arc<Rules>,
        seed: u64,
        log: LogSink,
        kept: Option<(Kept, Store)>,
    ) -> Self {
        let now = now();
        let mut engine = Engine::new(Arc::clone(&config), Arc::clone(&rules), seed, now);
        let store = kept.map(|(kept, store)| {
            engine.restore(kept, now);
            store.append(engine.take_records(), now);
            store
        });
        let topic_stamp = topic_stamp(&config.log);
        let core = Core { engine, config, rules, wakers: HashMap::new(), armed: None, topic_stamp };
        Self {
            core: Mutex::new(core),
            deadline_moved: Notify::new(),
            wrote: AtomicU64::new(0),
            log: Mutex::new(log),
            hashing: Semaphore::new(HASHES),
            store,
        }
    }

    /// What nobody can guess, for the engine.
    pub fn set_secret(&self, secret: Secret) {
        self.core.lock().engine.set_secret(secret);
    }

    /// A place among those whose password is hashed now.
    pub async fn hashing(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed; without a permit only the order of work would differ.
        self.hashing.acquire().await.ok()
    }

    /// A transport was accepted. The second value is notified when frames wait for it.
    pub fn open(&self, peer: Peer) -> (ConnId, Arc<Notify>) {
        self.enter(None, |core, now| {
            let conn = core.engine.open(peer, now);
            let wake = Arc::new(Notify::new());
            core.wakers.insert(conn, Arc::clone(&wake));
            (conn, wake)
        })
    }

    /// The transport is TLS, of this version and cipher.
    pub fn secured(&self, conn: ConnId, negotiated: &str) {
        self.enter(Some(conn), |core, _| core.engine.secured(conn, negotiated));
    }

    /// The configuration and the rules in force, to authenticate by outside of the lock.
    pub fn in_force(&self) -> (Arc<Config>, Arc<Rules>) {
        let core = self.core.lock();
        (Arc::clone(&core.config), Arc::clone(&core.rules))
    }

    /// A CONNECT. It is handed back if the rules changed while it was authenticated.
    pub fn connect(&self, conn: ConnId, request: Authenticated) -> Result<(), Box<Connect>> {
        self.enter(Some(conn), |core, now| {
            if !Arc::ptr_eq(&core.rules, &request.by) {
                return Err(request.connect);
            }
            core.engine.read(request.size as u64);
            core.engine.handle_connect(conn, *request.connect, request.result, now);
            Ok(())
        })
    }

    /// The peer's bytes cannot be decoded.
    pub fn malformed(&self, conn: ConnId, error: &DecodeError) {
        self.enter(Some(conn), |core, now| core.engine.handle_malformed(conn, error, now));
    }

    /// Hands in what was received and, if `room` bytes can be written, takes what is to be sent.
    /// Packets that stay are to be handed in again: they stand behind a request that takes more than
    /// one turn.
    pub fn exchange(
        &self,
        conn: ConnId,
        packets: &mut Vec<(Packet, usize)>,
        room: Option<usize>,
        frames: &mut Vec<Frame>,
    ) -> (Drained, Option<Barrier>) {
        let (drained, position) = self.visit(Some(conn), |core, now| {
            let mut left = Vec::new();
            for (packet, size) in packets.drain(..) {
                if !left.is_empty() || core.engine.is_busy(conn) {
                    left.push((packet, size));
                } else {
                    core.engine.handle_packet(conn, packet, size, now);
                }
            }
            packets.append(&mut left);
            if let Some(room) = room {
                return core.engine.take_frames(conn, room, frames, now);
            }
            core.engine.resume(conn, now);
            Drained { more: true, close: core.engine.is_closing(conn) }
        });
        let strict = self.store.as_ref().is_some_and(Store::is_strict);
        (drained, (strict && frames.iter().any(Frame::is_promise)).then_some(Barrier(position)))
    }

    /// Waits until the frames behind a barrier may be written.
    pub async fn safe(&self, barrier: Barrier) -> Result<(), Unwritable> {
        match &self.store {
            Some(store) => store.durable(barrier.0).await,
            None => Ok(()),
        }
    }

    /// Waits while the disk is behind; clients wait with it.
    pub async fn room(&self) -> Result<(), Unwritable> {
        match &self.store {
            Some(store) => store.room().await,
            None => Ok(()),
        }
    }

    /// What keeps the state, if anything does.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// The revision that a connection speaks, once its first packet was handled.
    pub fn version(&self, conn: ConnId) -> Option<ProtocolVersion> {
        self.core.lock().engine.version(conn)
    }

    /// True once the client was let in, until its connection ends.
    pub fn is_connected(&self, conn: ConnId) -> bool {
        self.core.lock().engine.is_connected(conn)
    }

    /// True if a client of this identifier is connected.
    pub fn has_client(&self, client_id: &str) -> bool {
        self.core.lock().engine.has_client(client_id)
    }

    /// True when the engine has ended this connection.
    pub fn is_closing(&self, conn: ConnId) -> bool {
        self.core.lock().engine.is_closing(conn)
    }

    /// The transport is gone: the connection's last word.
    pub fn lost(&self, conn: ConnId, loss: Loss) {
        self.enter(Some(conn), |core, now| {
            core.engine.handle_loss(conn, loss, now);
            core.wakers.remove(&conn);
        });
    }

    /// A question to the engine.
    pub fn ask<R>(&self, question: impl FnOnce(&Engine) -> R) -> R {
        question(&self.core.lock().engine)
    }

    /// Something that the broker itself does.
    pub fn act(&self, act: impl FnOnce(&mut Engine, Instant)) {
        self.enter(None, |core, now| act(&mut core.engine, now));
    }

    /// New configuration and rules.
    pub fn reload(&self, config: Arc<Config>, rules: Arc<Rules>) {
        self.enter(None, |core, now| {
            core.topic_stamp = topic_stamp(&config.log);
            core.config = Arc::clone(&config);
            core.rules = Arc::clone(&rules);
            core.engine.reload(config, rules, now);
        });
    }

    /// Every connection is told goodbye.
    pub fn shut_down(&self) {
        self.enter(None, |core, now| core.engine.shut_down(now));
    }

    /// The deadline that the timer is to sleep towards.
    pub fn next_deadline(&self) -> Option<Instant> {
        let mut core = self.core.lock();
        core.armed = core.engine.poll_timeout();
        core.armed
    }

    /// Waits until there is an earlier deadline than the last [`Hub::next_deadline`].
    pub async fn deadline_moved(&self) {
        self.deadline_moved.notified().await;
    }

    /// The deadline has come.
    pub fn handle_timeout(&self) {
        self.enter(None, |core, now| {
            core.engine.wrote(self.wrote.swap(0, Ordering::Relaxed));
            core.engine.handle_timeout(now);
        });
    }

    /// A connection has encoded so many bytes for its client.
    pub fn count_written(&self, bytes: usize) {
        self.wrote.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of memory that the process has.
    pub fn note_memory(&self, bytes: u64) {
        self.core.lock().engine.note_memory(bytes);
    }

    /// The tree of subscriptions, as text.
    pub fn subscription_tree(&self) -> String {
        self.core.lock().engine.subscription_tree()
    }

    /// A line that is not the engine's.
    pub fn log(&self, kind: LogTypes, text: &str) {
        let now = now();
        let mut core = self.core.lock();
        if core.config.log.types.has(kind) {
            let mut todo = ToDo::default();
            todo.lines.push(LogLine { kind, text: text.to_owned() });
            core.collect(None, now, &mut todo);
            self.finish(core, now, todo);
        }
    }

    /// Takes the lock, acts, gives it back, and does what the engine wants done. `own` is the
    /// connection that calls: it looks after its own frames and is not woken.
    fn enter<R>(&self, own: Option<ConnId>, act: impl FnOnce(&mut Core, Instant) -> R) -> R {
        self.visit(own, act).0
    }

    /// As [`Hub::enter`], with the place in the journal behind all that was decided.
    fn visit<R>(&self, own: Option<ConnId>, act: impl FnOnce(&mut Core, Instant) -> R) -> (R, Position) {
        let now = now();
        let mut core = self.core.lock();
        let result = act(&mut core, now);
        let mut todo = ToDo::default();
        core.collect(own, now, &mut todo);
        (result, self.finish(core, now, todo))
    }

    fn finish(&self, mut core: MutexGuard<'_, Core>, now: Instant, todo: ToDo) -> Position {
        let position = self.store.as_ref().map_or(0, |store| store.append(core.engine.take_records(), now));
        if todo.lines.is_empty() {
            drop(core);
        } else {
            // Hand over hand, so that lines are written in the order in which they arose.
            let mut log = self.log.lock();
            drop(core);
            log(&todo.lines);
        }
        if todo.deadline_moved {
            self.deadline_moved.notify_one();
        }
        for wake in todo.wake {
            wake.notify_one();
        }
        position
    }
}

impl Core {
    /// What the engine wants done. Lines that are there go to topics too, those that this gives rise
    /// to do not.
    fn collect(&mut self, own: Option<ConnId>, now: Instant, todo: &mut ToDo) {
        self.take_outputs(own, todo);
        if let Some(stamp) = self.topic_stamp.as_ref().filter(|_| !todo.lines.is_empty()) {
            let stamp = stamp.print(&Zoned::now());
            for line in &todo.lines {
                self.engine.announce_log(line.kind, cut(&stamp, &line.text), now);
            }
            // The caller too: it has taken its frames already.
            self.take_outputs(None, todo);
        }
        let due = self.engine.poll_timeout();
        todo.deadline_moved = match (due, self.armed) {
            (Some(due), Some(armed)) => due < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if todo.deadline_moved {
            self.armed = due;
        }
    }

    fn take_outputs(&mut self, own: Option<ConnId>, todo: &mut ToDo) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Wake(conn) if Some(conn) == own => {}
                Output::Wake(conn) => todo.wake.extend(self.wakers.get(&conn).map(Arc::clone)),
                Output::Log(line) => todo.lines.push(line),
            }
        }
    }
}

/// What `log_dest topic` asks for.
fn topic_stamp(config: &LogConfig) -> Option<Stamp> {
    config.destinations.contains(&LogDestination::Topic).then(|| Stamp::new(config))
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}

/// The present, on tokio's clock, which tests pause.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
