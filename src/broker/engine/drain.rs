//! The last step of the way out: frames leave the engine for their connection's task. From here on
//! they count as written.

use std::time::Instant;

use super::connection::State;
use super::publication::Frame;
use super::session::Session;
use super::{ConnId, Drained, Engine};

impl Engine {
    pub(super) fn drain(
        &mut self,
        conn: ConnId,
        max_bytes: usize,
        into: &mut Vec<Frame>,
        now: Instant,
    ) -> Drained {
        self.go_on(conn, now);
        let Some(connection) = self.connections.get_mut(conn) else {
            return Drained { more: false, close: true };
        };
        // Nobody needs to be woken for what this call itself adds.
        connection.woken = true;
        let id = connection.session();
        let mut session = id.and_then(|id| self.sessions.get_mut(id));
        let key = session.as_deref().and_then(Session::journal_key);
        let mut taken = 0;
        let mut freed = false;
        while taken < max_bytes {
            let Some(mut frame) = connection.outbox.pop() else { break };
            if let Frame::Publish(publish) = &mut frame {
                let inflight = session.as_deref_mut().map(|session| &mut session.inflight);
                let slot = publish.id.zip(inflight);
                let publication = &publish.delivery.publication;
                if publication.is_expired(now) && slot.as_ref().is_none_or(|(id, it)| !it.was_written(*id)) {
                    // [MQTT-3.3.2-5], [MQTT-4.3.3-7] of 5.0
                    if let Some((id, inflight)) = slot {
                        inflight.remove(id, &mut self.journal.pen(key));
                        freed = true;
                    }
                    continue;
                }
                self.stats.publish_sent += 1;
                self.stats.publish_bytes_sent += publication.payload.len() as u64;
                publish.count_down(now);
                // [MQTT-3.3.1-1], [MQTT-3.3.1-2], [MQTT-3.3.1-3], [MQTT-4.3.1-1]
                // 5: [MQTT-4.3.2-2], [MQTT-4.3.3-2]
                publish.dup = slot.is_some_and(|(id, inflight)| inflight.mark_written(id));
                publish.alias = connection.own_aliases.stand_in(&publish.delivery.publication.topic);
            }
            taken += frame.size();
            self.stats.messages_sent += 1;
            into.push(frame);
        }
        connection.outbox.settle(&mut self.backlog);
        let has_replay = session.is_some_and(|session| !session.replays.is_empty());
        let mut paused = false;
        if let Some(id) = id {
            if freed {
                self.fill(id, now);
            }
            if has_replay {
                paused = self.replay(id, now);
            }
        }
        let Some(connection) = self.connections.get_mut(conn) else {
            return Drained { more: false, close: true };
        };
        let more = paused || connection.begun.is_some() || !connection.outbox.is_empty();
        connection.woken = more;
        Drained { more, close: connection.state == State::Closing && !more }
    }
}
