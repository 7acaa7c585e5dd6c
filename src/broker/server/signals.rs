//! Signals of the operating system, as mosquitto takes them.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT: end.
    Stop,
    /// SIGRTMIN: open the log file anew.
    ReopenLog,
    /// SIGUSR2: print the tree of subscriptions.
    PrintTree,
    /// SIGUSR1: make safe what is kept.
    Save,
}

/// Listens for the signals of the process from its making on.
#[derive(Debug)]
pub struct Signals {
    hup: Stream,
    term: Stream,
    int: Stream,
    usr1: Stream,
    usr2: Stream,
    rtmin: Stream,
}

impl Signals {
    /// Takes the signals over from the system's defaults.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
            rtmin: signal(SignalKind::from_raw(nix::libc::SIGRTMIN()))?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hup.recv() => Signal::Reload,
            _ = self.term.recv() => Signal::Stop,
            _ = self.int.recv() => Signal::Stop,
            _ = self.usr1.recv() => Signal::Save,
            _ = self.rtmin.recv() => Signal::ReopenLog,
            _ = self.usr2.recv() => Signal::PrintTree,
        }
    }
}
