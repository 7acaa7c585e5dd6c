//! New configuration and rules while clients are connected. ACLs act at once on every delivery, as
//! nothing of them is remembered; here is only who must go.

use std::sync::Arc;
use std::time::Instant;

use crate::broker::auth::Rules;
use crate::broker::config::{Config, ListenerConfig};

use super::Engine;
use super::phrases::Ending;

impl Engine {
    pub(super) fn on_reload(&mut self, config: Arc<Config>, rules: Arc<Rules>, now: Instant) {
        self.outputs.configure(&config.log);
        let before = std::mem::replace(&mut self.config, config);
        self.arm_sys(before.sys_interval, now);
        let old = std::mem::replace(&mut self.rules, rules);
        for id in self.sessions.ids() {
            let Some(session) = self.sessions.get_mut(id) else { continue };
            let was = session.identity.zone;
            let zone = self.config.zone(session.identity.listener);
            Arc::make_mut(&mut session.identity).zone = zone;
            session.inflight.limit_bytes(self.config.limits.max_inflight_bytes);
            let Some(conn) = session.conn else { continue };
            let username = session.identity.username.as_deref();
            // Whom a certificate names the password file is not asked about.
            let listener = self.config.listeners.get(session.identity.listener);
            if listener.is_some_and(ListenerConfig::names_by_certificate) {
                continue;
            }
            if !self.rules.still_admits(zone, username, &old, was) {
                self.close(conn, &Ending::Administrative, now);
            }
        }
    }
}
