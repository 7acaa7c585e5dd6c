//! What the broker's own bridges ask of the engine besides being a client of it.

use std::time::Instant;

use crate::mqtt::TopicFilter;
use crate::mqtt::packet::Publish;

use super::Engine;
use super::phrases::Ending;
use super::session::SessionId;

impl Engine {
    /// The filters that this client's session is subscribed to.
    pub fn subscriptions_of(&self, client_id: &str) -> Vec<TopicFilter> {
        let session = self.sessions.find(client_id).and_then(|id| self.sessions.get(id));
        session.map(|session| session.subscriptions.keys().cloned().collect()).unwrap_or_default()
    }

    /// How many messages wait for this client.
    pub fn waiting_for(&self, client_id: &str) -> usize {
        let session = self.sessions.find(client_id).and_then(|id| self.sessions.get(id));
        session.map_or(0, |session| session.queue.len() + session.inflight.len())
    }

    /// A message of the broker's own about this client, who does not get it back with No Local.
    pub fn announce_as(&mut self, client_id: &str, publish: Publish, now: Instant) {
        let origin = self.sessions.find(client_id).unwrap_or(SessionId::BROKER);
        self.publish(publish, origin, now);
    }

    /// A bridge could not pass messages on.
    pub fn count_dropped(&mut self, messages: u64) {
        self.stats.publish_dropped += messages;
    }

    /// Ends this client's session, and its connection if there is still one.
    pub fn forget(&mut self, client_id: &str, now: Instant) {
        let Some(id) = self.sessions.find(client_id) else { return };
        if let Some(conn) = self.sessions.get(id).and_then(|session| session.conn) {
            self.close(conn, &Ending::Administrative, now);
        }
        self.end_session(id, now);
    }
}
