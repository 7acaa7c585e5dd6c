//! Who a client is and what it may do: password files and ACL files, with mosquitto's meaning.
//!
//! Pure data and decisions; each decision about a topic can name the line that made it. Reads no
//! file and knows no session: the server hands in texts, the engine asks.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod acl;
mod explain;
mod password;
pub mod prover;
pub mod scram;

use super::config::INSIDE;

pub use acl::{Acl, RuleRef, Section};
pub use explain::Explanation;
pub use password::{Hashing, Passwords, hash_password};

/// What a client wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Be delivered a message.
    Read,
    /// Publish one.
    Write,
}

impl Access {
    /// The word of the ACL file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// The client that an ACL is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// `None`: anonymous. An empty name counts as none.
    pub username: Option<&'a str>,
    /// The client identifier.
    pub client_id: &'a str,
}

impl<'a> Subject<'a> {
    /// The user name, if it has a character: mosquitto takes an empty one as none.
    pub fn user(self) -> Option<&'a str> {
        self.username.filter(|name| !name.is_empty())
    }
}

/// The answer for one client, topic and access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// May it.
    pub allowed: bool,
    /// Line of the ACL file (from 1) that decided; `None` if none matched or there is no file.
    pub line: Option<u32>,
}

impl Decision {
    /// Nothing forbids it.
    const ALLOWED: Self = Self { allowed: true, line: None };
    /// Nothing allows it.
    const DENIED: Self = Self { allowed: false, line: None };
}

/// Why a CONNECT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthFailure {
    /// No user name, and anonymous clients are not let in.
    AnonymousRefused,
    /// Unknown user, wrong or missing password.
    BadCredentials,
    /// The user name is to come from a certificate, and it gives none.
    NoIdentity,
}

/// The security in force: one zone for each [`SecurityConfig`](super::config::SecurityConfig).
#[derive(Debug, Default)]
pub struct Rules {
    zones: Vec<Zone>,
}

/// Passwords and rights that belong together.
#[derive(Debug, Default)]
pub struct Zone {
    /// Clients without user name may come in.
    pub allow_anonymous: bool,
    /// `password_file`; without it a name and password prove nothing.
    pub passwords: Option<Passwords>,
    /// `acl_file`; without it everything is allowed.
    pub acl: Option<Acl>,
}

impl Rules {
    /// Rules of these zones, in the order of `Config::security`.
    pub fn new(zones: Vec<Zone>) -> Self {
        Self { zones }
    }

    /// The zones, in the order of `Config::security`.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// Whether a CONNECT with these credentials is let in. Takes a password hash's time
    /// (milliseconds): call it outside of the hub's lock. A zone that does not exist lets nobody in.
    pub fn authenticate(
        &self,
        zone: usize,
        username: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<(), AuthFailure> {
        if zone == INSIDE {
            return Ok(());
        }
        let zone = self.zones.get(zone);
        let allow_anonymous = zone.is_some_and(|zone| zone.allow_anonymous);
        let Some(username) = username.filter(|name| !name.is_empty()) else {
            return if allow_anonymous { Ok(()) } else { Err(AuthFailure::AnonymousRefused) };
        };
        let accepted = match zone.and_then(|zone| zone.passwords.as_ref()) {
            // Without a password file a name is as good as none, whatever the password.
            None => allow_anonymous,
            Some(passwords) => passwords.verify(username, password.unwrap_or_default()),
        };
        if accepted { Ok(()) } else { Err(AuthFailure::BadCredentials) }
    }

    /// What a proof of SCRAM by this user is checked with, be there such a user or not; `None` where no
    /// user of the zone can use it.
    pub fn scram(&self, zone: usize, username: &str, secret: &scram::Secret) -> Option<scram::Keys> {
        self.zones.get(zone)?.passwords.as_ref()?.scram(username, secret)
    }

    /// Whether a client that `old` let in may stay: anonymous clients while they are allowed, users
    /// while their line of the password file is the same. Passwords are not kept, so a line that
    /// changed counts as another password. No hash is made.
    pub fn still_admits(&self, zone: usize, username: Option<&str>, old: &Self, old_zone: usize) -> bool {
        if zone == INSIDE {
            return true;
        }
        let Some(zone) = self.zones.get(zone) else { return false };
        let Some(username) = username.filter(|name| !name.is_empty()) else { return zone.allow_anonymous };
        let Some(passwords) = &zone.passwords else { return zone.allow_anonymous };
        let old = old.zones.get(old_zone).and_then(|zone| zone.passwords.as_ref());
        old.is_some_and(|old| passwords.has_same(old, username))
    }

    /// Whether the client may read or write the topic (the ACL file, and the hard rules for `$SYS`
    /// and `$share`). Allocates nothing. A zone that does not exist allows nothing.
    pub fn check(&self, zone: usize, who: Subject<'_>, topic: &str, access: Access) -> Decision {
        if zone == INSIDE {
            return Decision::ALLOWED;
        }
        let Some(zone) = self.zones.get(zone) else { return Decision::DENIED };
        if !dollar_allows(topic, access) {
            return Decision::DENIED;
        }
        zone.acl.as_ref().map_or(Decision::ALLOWED, |acl| acl.check(who, topic, access))
    }

    /// As [`Rules::check`], with the lines that were considered and a sentence for people.
    pub fn explain(&self, zone: usize, who: Subject<'_>, topic: &str, access: Access) -> Explanation<'_> {
        let decision = self.check(zone, who, topic, access);
        if !dollar_allows(topic, access) {
            let text = format!("no client may {} `{topic}`, whatever the ACL file says", access.word());
            return Explanation { decision, rules: Vec::new(), text };
        }
        match self.zones.get(zone).and_then(|zone| zone.acl.as_ref()) {
            Some(acl) => acl.explain(who, topic, access),
            None => Explanation {
                decision,
                rules: Vec::new(),
                text: "without acl_file every client may read and write every topic".to_owned(),
            },
        }
    }
}

/// What holds before and without an ACL file: nobody publishes to `$SYS` but bridges their state,
/// and `$share` is for subscriptions only.
fn dollar_allows(topic: &str, access: Access) -> bool {
    if topic.starts_with("$SYS") && access == Access::Write {
        let state =
            topic.strip_prefix("$SYS/broker/connection/").and_then(|rest| rest.strip_suffix("/state"));
        return state.is_some_and(|name| !name.contains('/'));
    }
    !topic.starts_with("$share")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::config::Compat;
    use crate::diagnostic::Source;

    fn zone(allow_anonymous: bool, with_file: bool) -> Rules {
        let line = format!("alice:{}\n", hash_password(Hashing::Sha512, b"salt12345678", b"secret"));
        let passwords = with_file
            .then(|| Passwords::parse(&Source::new("passwd", line), Compat::V21).expect("a good file"));
        Rules::new(vec![Zone { allow_anonymous, passwords, acl: None }])
    }

    /// The columns of mosquitto's matrix: anonymous; user, no password; right; wrong; unknown; empty.
    #[test]
    fn authentication_matrix() {
        let credentials: [(Option<&str>, Option<&[u8]>); 6] = [
            (None, None),
            (Some("alice"), None),
            (Some("alice"), Some(b"secret")),
            (Some("alice"), Some(b"wrong")),
            (Some("mallory"), Some(b"secret")),
            (Some(""), Some(b"secret")),
        ];
        let row =
            |rules: &Rules| credentials.map(|(name, password)| rules.authenticate(0, name, password).is_ok());
        assert_eq!(row(&zone(false, false)), [false; 6]);
        assert_eq!(row(&zone(true, false)), [true; 6]);
        assert_eq!(row(&zone(false, true)), [false, false, true, false, false, false]);
        assert_eq!(row(&zone(true, true)), [true, false, true, false, false, true]);
    }

    #[test]
    fn failures_are_told_apart_and_missing_zones_are_closed() {
        let rules = zone(false, true);
        assert_eq!(rules.authenticate(0, None, None), Err(AuthFailure::AnonymousRefused));
        assert_eq!(rules.authenticate(0, Some("alice"), None), Err(AuthFailure::BadCredentials));
        assert_eq!(rules.authenticate(1, None, None), Err(AuthFailure::AnonymousRefused));
        let who = Subject { username: None, client_id: "c" };
        assert!(!rules.check(1, who, "a", Access::Read).allowed);
        assert!(rules.check(0, who, "a", Access::Read).allowed);
    }

    #[test]
    fn hard_rules_hold_without_a_file() {
        let rules = zone(true, false);
        let who = Subject { username: Some("alice"), client_id: "c" };
        let may = |topic, access| rules.check(0, who, topic, access).allowed;
        assert!(!may("$SYS/broker/uptime", Access::Write));
        assert!(may("$SYS/broker/uptime", Access::Read));
        assert!(may("$SYS/broker/connection/b1/state", Access::Write));
        assert!(!may("$SYS/broker/connection/b1/x/state", Access::Write));
        assert!(!may("$share/g/a", Access::Write));
        assert!(may("$aws/things", Access::Write));
    }

    #[test]
    fn the_brokers_own_end_of_a_bridge_is_forbidden_nothing() {
        let rules = zone(false, true);
        let who = Subject { username: None, client_id: "local.vm.b1" };
        assert_eq!(rules.authenticate(INSIDE, None, None), Ok(()));
        assert!(rules.still_admits(INSIDE, None, &zone(false, true), INSIDE));
        assert!(rules.check(INSIDE, who, "$SYS/broker/clients/total", Access::Write).allowed);
    }
}
