//! The running broker as its own bridges see it: a way in that is no listener, the log, and a few
//! questions. Knows nothing of what a bridge is.

use std::fmt;
use std::sync::Arc;

use super::accept;
use super::hub::Hub;
use crate::broker::config::Config;
use crate::broker::engine::Bridged;
use crate::broker::log::LogTypes;
use crate::mqtt::TopicFilter;
use crate::mqtt::packet::Publish;
use crate::net::{Transport, memory};

/// See the module.
#[derive(Clone)]
pub struct Inside {
    hub: Arc<Hub>,
}

impl Inside {
    /// Into this broker.
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// A connection. It ends when the stream is dropped.
    pub fn connect(&self) -> Transport {
        let (ours, theirs) = memory::pipe();
        tokio::spawn(accept::serve_inside(Arc::clone(&self.hub), theirs));
        Box::new(ours)
    }

    /// What the engine is to know of a bridge.
    pub fn set_bridge(&self, bridge: Bridged) {
        self.hub.act(|engine, _| engine.set_bridge(bridge));
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.hub.in_force().0
    }

    /// A line of the log.
    pub fn log(&self, kind: LogTypes, text: &str) {
        self.hub.log(kind, text);
    }

    /// The filters that a client's session is subscribed to.
    pub fn subscriptions_of(&self, client_id: &str) -> Vec<TopicFilter> {
        self.hub.ask(|engine| engine.subscriptions_of(client_id))
    }

    /// How many messages wait for a client.
    pub fn waiting_for(&self, client_id: &str) -> usize {
        self.hub.ask(|engine| engine.waiting_for(client_id))
    }

    /// Publishes something about a client in its absence.
    pub fn announce(&self, client_id: &str, publish: Publish) {
        self.hub.act(|engine, now| engine.announce_as(client_id, publish, now));
    }

    /// Counts messages that were dropped.
    pub fn count_dropped(&self, messages: u64) {
        self.hub.act(|engine, _| engine.count_dropped(messages));
    }

    /// Ends the session of a client, and its connection if there is still one.
    pub fn forget(&self, client_id: &str) {
        self.hub.act(|engine, now| engine.forget(client_id, now));
    }
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inside")
    }
}
