//! What happens by itself: keep-alive (3.1.2.10), session expiry (3.1.2.11.2), will delay
//! (3.1.3.2.2), expired retained messages, connections that never say who they are.

use std::time::Instant;

use super::connection::State;
use super::deadline::Timer;
use super::limits::TIMERS_A_TURN;
use super::phrases::Ending;
use super::{ConnId, Engine};
use crate::broker::log::LogTypes;
use crate::text::escape;

impl Engine {
    pub(super) fn on_timeout(&mut self, now: Instant) {
        // What is left is due at once: the caller comes again, and others between.
        for _ in 0..TIMERS_A_TURN {
            let Some(timer) = self.deadlines.pop_due(now) else { return };
            match timer {
                Timer::Connection(conn) => self.on_silence(conn, now),
                Timer::Will(session) => self.release_will(session, now),
                Timer::Session(session) => {
                    if let Some(session) = self.sessions.get(session) {
                        let client_id = session.identity.client_id.clone();
                        self.outputs.log(LogTypes::NOTICE, || {
                            format!("Expiring client {} due to timeout.", escape(&client_id))
                        });
                        self.stats.clients_expired += 1;
                    }
                    // [MQTT-4.1.0-2] of 5.0
                    self.end_session(session, now);
                }
                Timer::Subscriptions => return self.forget_subscriptions(now),
                Timer::Sys => self.on_sys_interval(now),
                Timer::Retained(topic) => self.retained.expire(&topic, now, &mut self.journal),
            }
        }
    }

    fn on_silence(&mut self, conn: ConnId, now: Instant) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        match connection.state {
            // [MQTT-4.12.0-4] of 5.0
            State::Fresh | State::Authenticating => self.close(conn, &Ending::NoConnect, now),
            // Whole packets count, as both standards count them: a client is heard when a packet of it
            // is. mosquitto also lets a packet in progress count while 1,000 bytes of it are missing,
            // which keeps who sends a byte now and then for ever.
            // [MQTT-3.1.2-24] 5: [MQTT-3.1.2-22]
            State::Connected(_) => match connection.patience.map(|patience| connection.last_heard + patience)
            {
                Some(due) if due > now => self.deadlines.set(Timer::Connection(conn), due),
                Some(_) => self.close(conn, &Ending::KeepAlive, now),
                None => {}
            },
            State::Closing => {
                // Its task never took the last frames: it learns from `take_frames` that it is over.
                self.outputs.wake(conn, connection);
                self.remove_connection(conn);
            }
        }
    }
}
