//! What outlives the process, on disk: the engine's journal as a log that is appended to.
//!
//! [`format`] knows the bytes, [`log`] the files, `writer` the thread that writes them; a [`Store`] is
//! what the hub holds of it. What the records mean is the engine's.
//!
//! Why a log of our own: DEPENDENCIES and the numbers there. Every ready-made store is as slow with
//! `fsync` and slower without, and the fastest of them forgets everything at a `kill -9`.

mod files;
pub mod format;
pub mod log;
mod opening;
mod record;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::config::{Autosave, PersistenceConfig, PersistenceSync};
use super::engine::{Kept, Record};
use super::log::LogTypes;
use format::Clock;
use log::{Log, StorageError};
use writer::Writer;

/// Takes lines for the broker's log. Never called under a lock of the store.
pub type Report = Box<dyn Fn(LogTypes, &str) + Send>;

/// Bytes of records that wait to be written before clients have to wait: a slow disk slows them
/// down, and memory stays what it is.
const MOST_WAITING: usize = 16 << 20;

/// Bytes that a record is counted as, besides its payload.
const RECORD: usize = 64;

/// The files, opened and read.
#[derive(Debug)]
pub struct Opened {
    /// The state that was kept.
    pub kept: Kept,
    /// What was wrong with the files, for the log.
    pub troubles: Vec<String>,
    /// Where it goes on.
    pub pending: Pending,
}

/// Opens the persistence files. `now` is the engine's present.
pub fn open(config: &PersistenceConfig, now: Instant) -> Result<Opened, StorageError> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let wall = u64::try_from(wall).unwrap_or(u64::MAX);
    let suffix = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut clock = Clock::new(now, wall);
    let mut opened = Log::open(&config.file, clock, &suffix)?;
    if opened.stamp > wall {
        // The clock went back while nobody looked. To read what is left of every interval as it was
        // last known, time stood still meanwhile.
        clock = Clock::new(now, opened.stamp);
        let troubles = std::mem::take(&mut opened.troubles);
        drop(opened);
        opened = Log::open(&config.file, clock, &suffix)?;
        opened.troubles.splice(0..0, troubles);
    }
    let log::Opened { kept, log, stamp: _, troubles } = opened;
    Ok(Opened { kept, troubles, pending: Pending { log, clock, config: config.clone(), now } })
}

/// A place in the journal: so many batches were handed over before it.
pub type Position = u64;

/// How far the writer is, for those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Progress {
    /// All batches before this are as safe as the configuration asks for.
    durable: Position,
    /// Saves that were asked for and are done.
    saves: u64,
    /// What was decided must not be told: it cannot be written, and is to be safe before.
    refusing: bool,
}

/// How the writer is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All that waits is written and safe.
    Clean,
    /// As a `kill -9`: what waits is lost.
    Cut,
}

/// What is handed to the writer.
#[derive(Debug)]
struct State {
    batches: Vec<Vec<Record>>,
    /// The engine's present when the last of them was made.
    now: Instant,
    /// Saves that were asked for.
    saves: u64,
    end: Option<End>,
    sync: PersistenceSync,
    autosave: Autosave,
    compacted: Option<io::Result<u64>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The writer has something to do.
    work: Condvar,
    /// The writer has done something, for waits that must look busy.
    done: Condvar,
    progress: watch::Sender<Progress>,
    /// Batches handed over so far.
    position: AtomicU64,
    /// Bytes of records that wait to be written.
    waiting: AtomicUsize,
    virtual_time: bool,
}

/// The persistence file cannot be written: what was decided must not be told to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unwritable;

/// The journal's way to the disk. Dropping it loses what waits, as a `kill -9` would.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    /// `persistence_sync always`
    strict: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Where the journal goes on, after [`open`].
#[derive(Debug)]
pub struct Pending {
    log: Log,
    clock: Clock,
    config: PersistenceConfig,
    now: Instant,
}

impl Store {
    /// Starts the thread that writes. `virtual_time`: the runtime's clock may be paused, and must not
    /// run on while a task waits for the disk.
    pub fn start(pending: Pending, virtual_time: bool, report: Report) -> io::Result<Self> {
        let Pending { log, clock, config, now } = pending;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                batches: Vec::new(),
                now,
                saves: 0,
                end: None,
                sync: config.sync,
                autosave: config.autosave,
                compacted: None,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
            progress: watch::Sender::new(Progress::default()),
            position: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            virtual_time,
        });
        let strict = AtomicBool::new(config.sync == PersistenceSync::Always);
        let name = config.file.display().to_string();
        let writer = Writer::new(Arc::clone(&shared), log, clock, name, report);
        let thread = thread::Builder::new().name("persistence".to_owned()).spawn(|| writer.run())?;
        Ok(Self { shared, strict, thread: Mutex::new(Some(thread)) })
    }

    /// Hands over what was decided together; the place behind it. Called under the hub's lock: does
    /// no more than to put it in a list.
    pub fn append(&self, records: Vec<Record>, now: Instant) -> Position {
        if records.is_empty() {
            return self.shared.position.load(Ordering::Relaxed);
        }
        let bytes = records.iter().map(weight).sum();
        let mut state = self.shared.state.lock();
        state.batches.push(records);
        state.now = now;
        self.shared.waiting.fetch_add(bytes, Ordering::Relaxed);
        let position = self.shared.position.fetch_add(1, Ordering::Relaxed) + 1;
        self.shared.work.notify_one();
        position
    }

    /// True if what was decided has to be safe before it is told.
    pub fn is_strict(&self) -> bool {
        self.strict.load(Ordering::Relaxed)
    }

    /// Waits until all before this place is safe.
    pub async fn durable(&self, position: Position) -> Result<(), Unwritable> {
        self.wait(move |_, progress| match progress {
            Progress { durable, .. } if durable >= position => Some(Ok(())),
            Progress { refusing: true, .. } => Some(Err(Unwritable)),
            _ => None,
        })
        .await
    }

    /// Waits while more is to be written than the disk can take.
    pub async fn room(&self) -> Result<(), Unwritable> {
        self.wait(|shared, progress| {
            if progress.refusing {
                return Some(Err(Unwritable));
            }
            (shared.waiting.load(Ordering::Relaxed) <= MOST_WAITING).then_some(Ok(()))
        })
        .await
    }

    /// Makes all that was decided safe now; returns when it is, or when that failed, which the log
    /// says.
    pub async fn save(&self) {
        let wanted = {
            let mut state = self.shared.state.lock();
            state.saves += 1;
            self.shared.work.notify_one();
            state.saves
        };
        let _ = self.wait(move |_, progress| (progress.saves >= wanted).then_some(Ok(()))).await;
    }

    /// Takes over when it is to save. The file stays the same.
    pub fn configure(&self, config: &PersistenceConfig) {
        let mut state = self.shared.state.lock();
        state.sync = config.sync;
        state.autosave = config.autosave;
        self.strict.store(config.sync == PersistenceSync::Always, Ordering::Relaxed);
        self.shared.work.notify_one();
    }

    /// Ends the writer, and returns when the files are free.
    pub async fn close(&self, end: End) {
        let thread = self.thread.lock().take();
        self.tell(end);
        if let Some(thread) = thread {
            // It has said in the log what went wrong.
            let _ = spawn_blocking(move || thread.join()).await;
        }
    }

    fn tell(&self, end: End) {
        self.shared.state.lock().end.get_or_insert(end);
        self.shared.work.notify_one();
    }

    /// Waits until `met` says how it ended; at once if it does already.
    async fn wait(
        &self,
        met: impl Fn(&Shared, Progress) -> Option<Result<(), Unwritable>> + Send + 'static,
    ) -> Result<(), Unwritable> {
        let now = *self.shared.progress.borrow();
        if let Some(result) = met(&self.shared, now) {
            return result;
        }
        if self.shared.virtual_time {
            let shared = Arc::clone(&self.shared);
            return spawn_blocking(move || shared.wait(met)).await.unwrap_or(Err(Unwritable));
        }
        let mut progress = self.shared.progress.subscribe();
        loop {
            let now = *progress.borrow_and_update();
            if let Some(result) = met(&self.shared, now) {
                return result;
            }
            if progress.changed().await.is_err() {
                return Err(Unwritable);
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.tell(End::Cut);
    }
}

impl Shared {
    fn wait(
        &self,
        met: impl Fn(&Self, Progress) -> Option<Result<(), Unwritable>>,
    ) -> Result<(), Unwritable> {
        let mut state = self.state.lock();
        loop {
            let now = *self.progress.borrow();
            if let Some(result) = met(self, now) {
                return result;
            }
            self.done.wait(&mut state);
        }
    }

    /// Says how far the writer is.
    fn publish(&self, progress: Progress) {
        self.progress.send_replace(progress);
        // Under the lock, so that nobody begins to wait between looking and waiting.
        let _state = self.state.lock();
        self.done.notify_all();
    }
}

/// Bytes that a record is counted as while it waits.
fn weight(record: &Record) -> usize {
    RECORD
        + match record {
            Record::Message(publication) => publication.payload_len(),
            Record::Will(will) => will.will.payload.len(),
            _ => 0,
        }
}
