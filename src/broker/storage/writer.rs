//! The thread that writes the journal: takes what waits, writes it in one go, makes it safe as the
//! configuration asks, and has the files compacted when most of what they say is past.
//!
//! What cannot be written is tried again. Where it has to be safe before it is told
//! (`persistence_sync always`), nobody is told anything meanwhile. Otherwise the broker goes on until
//! too much waits; then it goes on in memory alone, says so, and leaves the files as they were.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::format::{self, Clock};
use super::log::{Log, is_long};
use super::{End, MOST_WAITING, Position, Progress, Report, Shared, weight};
use crate::broker::config::{Autosave, PersistenceSync};
use crate::broker::engine::Record;
use crate::broker::log::LogTypes;

/// Bytes that are written at once.
const CHUNK: usize = 1 << 20;

/// How often `persistence_sync interval` makes safe what was written.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Whether the files can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    /// Not now; it is tried again then.
    Failing(Instant),
    /// Nothing is written any more.
    Given,
}

/// See the module.
pub(super) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    clock: Clock,
    /// The name in log lines.
    name: String,
    report: Report,
    health: Health,
    progress: Progress,
    /// Taken and not written: whole batches as bytes, and those that were not encoded yet.
    buffer: BytesMut,
    backlog: std::vec::IntoIter<Vec<Record>>,
    /// What they weigh, and where they end.
    weight: usize,
    position: Position,
    /// Something was written that is not safe.
    dirty: bool,
    /// Records since the last save.
    changes: u64,
    /// The engine's present, and the last that was written down.
    now: Instant,
    stamped: Option<Instant>,
    saved: Instant,
    synced: Instant,
    compaction: Option<JoinHandle<()>>,
    cancel: Arc<AtomicBool>,
    /// Files are not compacted before they have so many bytes.
    compact_at: u64,
}

/// What is to be done, besides writing what was taken.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "things to do, in any combination")]
struct Turn {
    save: bool,
    sync: bool,
    end: Option<End>,
    compacted: Option<io::Result<u64>>,
    saves: u64,
    strict: bool,
    gave_up: bool,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, log: Log, clock: Clock, name: String, report: Report) -> Self {
        let start = Instant::now();
        let now = shared.state.lock().now;
        Self {
            now,
            shared,
            log,
            clock,
            name,
            report,
            health: Health::Good,
            progress: Progress::default(),
            buffer: BytesMut::new(),
            backlog: Vec::new().into_iter(),
            weight: 0,
            position: 0,
            dirty: false,
            changes: 0,
            stamped: None,
            saved: start,
            synced: start,
            compaction: None,
            cancel: Arc::default(),
            compact_at: 0,
        }
    }

    /// Writes until it is told to end.
    pub fn run(mut self) {
        loop {
            let turn = self.wait();
            if let Some(result) = turn.compacted {
                self.end_compaction(result);
            }
            if turn.gave_up {
                let text = format!(
                    "Error: {0} could not be written for too long. The state is kept in memory alone from now on; {0} is as it was before.",
                    self.name
                );
                (self.report)(LogTypes::ERROR, &text);
            }
            if turn.end == Some(End::Cut) {
                return;
            }
            self.write(turn.strict);
            let ending = turn.end == Some(End::Clean);
            if ending {
                self.stamp();
            }
            if turn.save || ending {
                self.save(turn.strict);
            } else if self.dirty && (turn.sync || turn.strict) {
                self.sync(turn.strict);
            }
            self.tell(turn.saves, turn.strict);
            if ending {
                if self.health != Health::Good {
                    let text = format!("Error: the last changes are not in {}.", self.name);
                    (self.report)(LogTypes::ERROR, &text);
                }
                return;
            }
            self.compact_if_worth(turn.strict);
        }
    }

    /// Waits until there is something to do, and takes it.
    fn wait(&mut self) -> Turn {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        loop {
            let strict = state.sync == PersistenceSync::Always;
            let retry = match self.health {
                Health::Good | Health::Given => None,
                Health::Failing(at) => Some(at),
            };
            let too_much = !strict && shared.waiting.load(Ordering::Relaxed) > MOST_WAITING;
            let takes = retry.is_none() && !state.batches.is_empty();
            let save_at = match state.autosave {
                Autosave::Every(time) => self.saved.checked_add(time),
                Autosave::Never | Autosave::Changes(_) => None,
            };
            let many = matches!(state.autosave, Autosave::Changes(most) if self.changes >= u64::from(most));
            let sync_at =
                (state.sync == PersistenceSync::Interval && self.dirty).then(|| self.synced + INTERVAL);
            let now = Instant::now();
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            let turn = Turn {
                save: is_due(save_at) || many || state.saves > self.progress.saves,
                sync: is_due(sync_at),
                end: state.end,
                compacted: state.compacted.take(),
                saves: state.saves,
                strict,
                gave_up: retry.is_some() && too_much,
            };
            let busy = turn.save || turn.sync || turn.end.is_some() || turn.compacted.is_some();
            if turn.gave_up {
                self.give_up(&mut state.batches);
            }
            if busy || takes || is_due(retry) || turn.gave_up {
                if self.backlog.len() == 0 && self.buffer.is_empty() {
                    let batches = std::mem::take(&mut state.batches);
                    self.weight = batches.iter().flatten().map(weight).sum();
                    self.position = shared.position.load(Ordering::Relaxed);
                    self.backlog = batches.into_iter();
                    self.now = state.now;
                }
                return turn;
            }
            match [save_at, sync_at, retry].into_iter().flatten().min() {
                Some(at) => {
                    shared.work.wait_until(&mut state, at);
                }
                None => shared.work.wait(&mut state),
            }
        }
    }

    /// Writes what was taken, as far as that can be done.
    fn write(&mut self, strict: bool) {
        if self.health == Health::Given {
            // Or what stands there would keep all that comes from being taken, and so from being dropped.
            self.buffer.clear();
            self.backlog = Vec::new().into_iter();
            return;
        }
        if self.backlog.len() > 0 && self.stamped.is_none_or(|at| at + INTERVAL <= self.now) {
            self.stamp();
        }
        loop {
            while self.buffer.len() < CHUNK {
                let Some(batch) = self.backlog.next() else { break };
                self.changes += batch.len() as u64;
                format::encode_batch(&batch, self.clock, &mut self.buffer);
            }
            if self.buffer.is_empty() {
                break;
            }
            if let Err(error) = self.log.append(&self.buffer) {
                return self.fail(&error, strict);
            }
            self.dirty = true;
            self.buffer.clear();
        }
        if self.buffer.capacity() > 4 * CHUNK {
            // What one large message took is given back.
            self.buffer = BytesMut::new();
        }
        if matches!(self.health, Health::Failing(_)) {
            self.health = Health::Good;
            (self.report)(LogTypes::NOTICE, &format!("{} can be written again.", self.name));
        }
    }

    /// Writes down what time it is: the wall clock may go back before the next start.
    fn stamp(&mut self) {
        if self.health != Health::Given {
            self.stamped = Some(self.now);
            format::encode_stamp(self.clock.to_millis(self.now), &mut self.buffer);
        }
    }

    fn fail(&mut self, error: &io::Error, strict: bool) {
        if self.health == Health::Good {
            let then = if strict {
                "Clients are closed until it can be: what cannot be kept is not acknowledged."
            } else {
                "It is tried again every second."
            };
            let text = format!("Error: {} cannot be written: {error}. {then}", self.name);
            (self.report)(LogTypes::ERROR, &text);
        }
        self.health = Health::Failing(Instant::now() + RETRY);
    }

    /// Too much waits that cannot be written.
    fn give_up(&mut self, batches: &mut Vec<Vec<Record>>) {
        self.health = Health::Given;
        batches.clear();
        self.shared.waiting.store(0, Ordering::Relaxed);
        self.position = self.shared.position.load(Ordering::Relaxed);
        self.weight = 0;
        self.buffer.clear();
        self.backlog = Vec::new().into_iter();
    }

    /// Makes what was written safe.
    fn sync(&mut self, strict: bool) {
        self.synced = Instant::now();
        if self.health == Health::Given {
            return;
        }
        match self.log.sync() {
            Ok(()) => self.dirty = false,
            Err(error) => {
                // Nobody knows what is in the file now; to try again would only seem to help.
                let then = if strict {
                    "Nothing is acknowledged any more; start the broker again."
                } else {
                    "The state is not kept any more; start the broker again."
                };
                let text = format!("Error: {} cannot be made safe: {error}. {then}", self.name);
                (self.report)(LogTypes::ERROR, &text);
                self.health = Health::Given;
            }
        }
    }

    fn save(&mut self, strict: bool) {
        if self.health == Health::Given {
            let text = format!("Error: {} is not written any more.", self.name);
            (self.report)(LogTypes::ERROR, &text);
        } else {
            let text = format!("Saving in-memory database to {}.", self.name);
            (self.report)(LogTypes::INFORMATION, &text);
        }
        if self.dirty || !self.buffer.is_empty() {
            self.write(strict);
            self.sync(strict);
        }
        self.saved = Instant::now();
        self.changes = 0;
    }

    /// Tells those who wait how far it is.
    fn tell(&mut self, saves: u64, strict: bool) {
        let all = self.buffer.is_empty() && self.backlog.len() == 0;
        let before = self.progress;
        let given = self.health == Health::Given;
        if all && !(strict && (self.dirty || given)) {
            self.progress.durable = self.position;
        }
        if all {
            self.shared.waiting.fetch_sub(self.weight, Ordering::Relaxed);
            self.weight = 0;
        }
        self.progress.refusing = strict && self.health != Health::Good;
        self.progress.saves = saves;
        if self.progress != before || all {
            self.shared.publish(self.progress);
        }
    }

    fn compact_if_worth(&mut self, strict: bool) {
        let (total, live) = self.log.sizes();
        if self.compaction.is_some()
            || self.health != Health::Good
            || total < self.compact_at
            || !is_long(total, live)
        {
            return;
        }
        // An error of making safe is told once: it must not be lost among those of compacting.
        self.sync(strict);
        if self.health != Health::Good {
            return;
        }
        let started = self.log.rotate().and_then(|compaction| {
            let (shared, clock, cancel) = (Arc::clone(&self.shared), self.clock, Arc::clone(&self.cancel));
            thread::Builder::new().name("compaction".to_owned()).spawn(move || {
                let result = compaction.run(clock, &cancel);
                shared.state.lock().compacted = Some(result);
                shared.work.notify_one();
            })
        });
        match started {
            Ok(thread) => self.compaction = Some(thread),
            Err(error) => self.end_compaction(Err(error)),
        }
    }

    fn end_compaction(&mut self, result: io::Result<u64>) {
        self.compaction = None;
        match result {
            Ok(bytes) => self.log.compacted(bytes),
            Err(error) => {
                // All is still there, only longer than it need be.
                self.compact_at = 2 * self.log.sizes().0;
                let text = format!("Warning: {} cannot be compacted: {error}.", self.name);
                (self.report)(LogTypes::WARNING, &text);
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The files are not free before nobody writes them.
        self.cancel.store(true, Ordering::Relaxed);
        if let Some(thread) = self.compaction.take() {
            let _ = thread.join();
        }
        // Nobody is to wait for a writer that is gone.
        self.progress.refusing = self.shared.state.lock().sync == PersistenceSync::Always;
        self.progress.saves = u64::MAX;
        self.shared.waiting.store(0, Ordering::Relaxed);
        if !self.progress.refusing {
            self.progress.durable = u64::MAX;
        }
        self.shared.publish(self.progress);
    }
}
