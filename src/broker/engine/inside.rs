//! What the broker's own bridges ask of the engine besides being a client of it.

use std::time::Instant;

use crate::broker::config::INSIDE;
use crate::mqtt::TopicFilter;
use crate::mqtt::packet::Publish;

use super::Engine;
use super::phrases::Ending;
use super::session::{Identity, SessionId, Sessions};

/// A bridge as far as it concerns the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridged {
    /// Client identifier of its own end.
    pub here: String,
    /// Client identifier of the other end: whoever has it here is the bridge itself, come back.
    pub there: String,
    /// Messages of QoS 0 wait for it too.
    pub keeps_qos_0: bool,
}

/// The session that a message of this one counts as being from: a bridge to its own broker is one
/// client and not two, or what it carries would go round.
pub(super) fn near_end(bridged: &[Bridged], sessions: &Sessions, id: SessionId) -> SessionId {
    if bridged.is_empty() {
        return id;
    }
    let name = sessions.get(id).map(|session| &session.identity.client_id);
    let bridge = name.and_then(|name| bridged.iter().find(|bridge| bridge.there == **name));
    bridge.and_then(|bridge| sessions.find(&bridge.here)).unwrap_or(id)
}

/// Whether what a client retained comes back to itself over a bridge, under either of its names.
pub(super) fn goes_round(bridged: &[Bridged], from: &str, to: &str) -> bool {
    bridged.iter().any(|bridge| {
        let is_end = |name: &str| name == bridge.here || name == bridge.there;
        is_end(from) && is_end(to) && (from != to || to == bridge.there)
    })
}

/// Whether messages of QoS 0 wait for this client while it is away, as for a lazy bridge.
pub(super) fn keeps_qos_0(bridged: &[Bridged], who: &Identity) -> bool {
    who.listener == INSIDE && bridged.iter().any(|bridge| bridge.keeps_qos_0 && bridge.here == *who.client_id)
}

impl Engine {
    /// True if this session is the far end of a bridge whose messages count as being from `origin`.
    pub(super) fn is_far_end(&self, id: SessionId, origin: SessionId) -> bool {
        let near = near_end(&self.bridged, &self.sessions, id);
        near != id && near == origin
    }

    /// A bridge begins or changes; the one before is known by its own end.
    pub fn set_bridge(&mut self, bridge: Bridged) {
        self.bridged.retain(|other| other.here != bridge.here);
        self.bridged.push(bridge);
    }

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
        self.bridged.retain(|bridge| bridge.here != client_id);
        let Some(id) = self.sessions.find(client_id) else { return };
        if let Some(conn) = self.sessions.get(id).and_then(|session| session.conn) {
            self.close(conn, &Ending::Administrative, now);
        }
        self.end_session(id, now);
    }
}
