//! A queue between the broker and its log: whoever logs goes on at once, and a thread of its own
//! writes. A pipe that nobody reads stops the log and never the broker.
//!
//! The order of lines is kept. What does not fit is dropped and counted, and the count is logged.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};

use super::log_sink::LogDestinations;
use crate::broker::log::{LogLine, LogTypes};

/// Bytes that may wait, a little more counted for each line than its text.
const ROOM: usize = 4 << 20;

/// What a line costs besides its text.
const LINE: usize = 64;

/// How long the end waits for what was logged.
const PATIENCE: Duration = Duration::from_secs(2);

/// The log of a process. Clones are the same log.
#[derive(Debug, Clone)]
pub struct LogQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Item>,
    bytes: usize,
    dropped: u64,
    /// The thread has something in its hands.
    writing: bool,
}

#[derive(Debug)]
enum Item {
    Lines(Timestamp, Vec<LogLine>),
    /// Goes to stdout as it is.
    Print(String),
    /// Comes as soon as it is open; not at all if it cannot be had.
    Destinations(mpsc::Receiver<LogDestinations>),
}

impl LogQueue {
    /// Starts the thread that writes.
    pub fn start(destinations: LogDestinations) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || its.write(destinations))?;
        Ok(Self { shared })
    }

    /// Logs lines that happened just now.
    pub fn push(&self, lines: &[LogLine]) {
        let bytes = lines.iter().map(|line| line.text.len() + LINE).sum();
        self.shared.push(bytes, lines.len() as u64, || Item::Lines(Timestamp::now(), lines.to_vec()));
    }

    /// Prints a text on stdout, in its place among the lines.
    pub fn print(&self, text: String) {
        self.shared.push(text.len() + LINE, 1, || Item::Print(text));
    }

    /// Writes what comes from now on to the destinations that `open` opens, if it can. Its place among
    /// the lines is taken before: whoever sees a file that was begun anew finds every later line there.
    pub fn redirect<E>(&self, open: impl FnOnce() -> Result<LogDestinations, E>) -> Result<(), E> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.shared.push(0, 0, || Item::Destinations(receiver));
        // The receiver is gone only if the writing thread is.
        let _ = sender.send(open()?);
        Ok(())
    }

    /// Waits until all is written, for a destination that takes nothing only so long.
    pub fn flush(&self) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.shared.state.lock();
        while state.writing || !state.waiting.is_empty() {
            if self.shared.changed.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }
}

impl Shared {
    fn push(&self, bytes: usize, lines: u64, item: impl FnOnce() -> Item) {
        let mut state = self.state.lock();
        // Behind dropped lines others are dropped too, until their count was logged.
        if bytes > 0 && (state.bytes + bytes > ROOM || state.dropped > 0) {
            state.dropped += lines;
            return;
        }
        state.bytes += bytes;
        state.waiting.push_back(item());
        self.changed.notify_all();
    }

    /// What waits, and how many lines behind it were dropped; `None` while there is nothing.
    fn take(&self, state: &mut State) -> Option<(VecDeque<Item>, u64)> {
        state.writing = !state.waiting.is_empty();
        self.changed.notify_all();
        state.bytes = 0;
        let dropped = std::mem::take(&mut state.dropped);
        state.writing.then(|| (std::mem::take(&mut state.waiting), dropped))
    }

    fn write(&self, mut destinations: LogDestinations) {
        loop {
            let mut state = self.state.lock();
            let (items, dropped) = loop {
                if let Some(found) = self.take(&mut state) {
                    break found;
                }
                self.changed.wait(&mut state);
            };
            drop(state);
            for item in items {
                match item {
                    Item::Lines(at, lines) => destinations.add(at, &lines),
                    Item::Print(text) => {
                        destinations.flush();
                        let mut out = io::stdout().lock();
                        // There is nobody to tell.
                        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                    }
                    Item::Destinations(opening) => {
                        destinations.flush();
                        destinations = opening.recv().unwrap_or(destinations);
                    }
                }
            }
            if dropped > 0 {
                let text = format!(
                    "Warning: {dropped} lines of the log were dropped, because it is not written fast enough."
                );
                destinations.add(Timestamp::now(), &[LogLine { kind: LogTypes::WARNING, text }]);
            }
            destinations.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::config::{LogConfig, LogDestination};

    fn line(text: &str) -> LogLine {
        LogLine { kind: LogTypes::ERROR, text: text.to_owned() }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let queue = LogQueue { shared: Arc::default() };
        let long = "x".repeat(ROOM / 2 - LINE);
        for _ in 0..4 {
            queue.push(&[line(&long)]);
        }
        queue.push(&[line("short, but behind what was dropped")]);
        let mut state = queue.shared.state.lock();
        let (items, dropped) = queue.shared.take(&mut state).expect("something waits");
        assert_eq!((items.len(), dropped), (2, 3));
        drop(state);
        queue.push(&[line("after that")]);
        let mut state = queue.shared.state.lock();
        assert_eq!(
            queue.shared.take(&mut state).map(|(items, dropped)| (items.len(), dropped)),
            Some((1, 0))
        );
    }

    #[test]
    fn lines_keep_their_order_over_a_change_of_destinations() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |name: &str| {
            let destinations = vec![LogDestination::File(folder.path().join(name))];
            LogDestinations::open(&LogConfig { destinations, timestamp: false, ..LogConfig::default() })
                .expect("can be opened")
        };
        let queue = LogQueue::start(open("a")).expect("a thread");
        for number in 0..1000 {
            queue.push(&[line(&number.to_string())]);
        }
        let opened: Result<(), ()> = queue.redirect(|| {
            let fresh = open("b");
            queue.push(&[line("the file is there")]);
            Ok(fresh)
        });
        assert_eq!((opened, queue.redirect(|| Err("no such folder"))), (Ok(()), Err("no such folder")));
        queue.push(&[line("last")]);
        queue.flush();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("was written");
        let numbers: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(read("a"), numbers.join("\n") + "\n");
        assert_eq!(read("b"), "the file is there\nlast\n");
    }
}
