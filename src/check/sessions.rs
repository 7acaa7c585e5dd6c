//! Which connection a client identifier was last let in on, over all connections. Judges nothing.

use std::collections::BTreeMap;

use bytestring::ByteString;

use super::conn::Conn;
use super::look::Prior;

/// Client identifiers that are remembered; of more, nothing is known.
const IDENTIFIERS: usize = 10_000;

/// What is known of one client identifier.
#[derive(Debug, Default)]
struct Known {
    /// The connection that was let in last; `None` when that is not certain.
    last: Option<u32>,
    /// Connections in the middle of their handshake.
    shaking: u32,
    /// Two were at once: which came last cannot be told.
    overlapped: bool,
}

/// All client identifiers.
#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<ByteString, Known>);

impl Sessions {
    /// A connection sent its CONNECT.
    pub fn asked(&mut self, id: &ByteString) {
        if id.is_empty() || (self.0.len() >= IDENTIFIERS && !self.0.contains_key(id)) {
            return;
        }
        let known = self.0.entry(id.clone()).or_default();
        known.shaking += 1;
        known.overlapped |= known.shaking > 1;
    }

    /// It was let in (`Some`), or refused, or ended without an answer. Gives the connection that the session
    /// was of until then.
    pub fn answered(&mut self, id: &ByteString, conn: Option<u32>) -> Option<u32> {
        let known = self.0.get_mut(id)?;
        let before = known.last;
        known.last = conn.filter(|_| !known.overlapped);
        known.shaking = known.shaking.saturating_sub(1);
        known.overlapped &= known.shaking > 0;
        before
    }

    /// The connection whose session a CONNACK on another is about, and how it was left.
    pub fn before<'a>(&self, conn: &Conn, connections: &'a BTreeMap<u32, Conn>) -> Option<(&'a Conn, Prior)> {
        let connect = conn.connect.as_ref()?;
        let known = self.0.get(&connect.client_id).filter(|known| !known.overlapped)?;
        let last = connections.get(&known.last?)?;
        if last.is_broken() || last.version() != conn.version() {
            return None;
        }
        let (asked, answer) = (last.connect.as_ref()?, last.accepted()?);
        let since = last.accepted_at?;
        let prior = if connect.version.is_v5() {
            let given = answer.properties.session_expiry_interval();
            let secs = given.or(asked.properties.session_expiry_interval()).unwrap_or(0);
            match secs {
                _ if last.expiry_changed => Prior::Unknown,
                // Whether a connection that is taken over has ended before is for a broker to say.
                0 => Prior::Unknown,
                secs => Prior::Kept { secs: secs.into(), since },
            }
        } else if asked.clean_start {
            Prior::Gone
        } else {
            Prior::Kept { secs: f64::INFINITY, since }
        };
        Some((last, prior))
    }

    /// True if the session of this identifier is that of this connection.
    pub fn is_last(&self, id: &ByteString, conn: u32) -> bool {
        self.0.get(id).is_some_and(|known| known.last == Some(conn))
    }

    /// Nothing is known any more.
    pub fn forget(&mut self) {
        for known in self.0.values_mut() {
            known.last = None;
        }
    }
}
