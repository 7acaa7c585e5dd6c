//! The broker as a running thing: listeners, connection tasks, the hub with its one lock.

pub mod files;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::auth::Rules;
use super::config::Config;
use crate::net::Endpoint;

/// A running broker. Dropping it kills it: connections are cut without goodbye.
#[derive(Debug)]
pub struct Broker {
    _private: (),
}

/// Over what a broker listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Sockets, as configured.
    Sockets,
    /// In-memory pipes, one for each configured listener; for virtual time.
    Memory,
}

impl Broker {
    /// Binds all listeners and serves on the current tokio runtime.
    pub async fn start(
        config: Arc<Config>,
        rules: Arc<Rules>,
        medium: Medium,
        seed: u64,
    ) -> io::Result<Self> {
        let _ = (config, rules, medium, seed);
        unimplemented!()
    }

    /// Bound address of each listener (sockets only), in the order of `Config::listeners`.
    pub fn addresses(&self) -> &[SocketAddr] {
        unimplemented!()
    }

    /// How a plain client in this process reaches a listener: loopback TCP, or the memory pipe.
    pub fn endpoint(&self, listener: usize) -> Endpoint {
        let _ = listener;
        unimplemented!()
    }

    /// As SIGHUP.
    pub fn reload(&self, config: Arc<Config>, rules: Arc<Rules>) {
        let _ = (config, rules);
        unimplemented!()
    }

    /// As SIGTERM: says goodbye, closes, and returns when all is closed.
    pub async fn stop(self) {
        unimplemented!()
    }

    /// As SIGKILL: connections are cut.
    pub async fn kill(self) {
        unimplemented!()
    }
}
