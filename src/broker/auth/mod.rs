//! Who a client is and what it may do: password files and ACL files, with mosquitto's meaning.
//!
//! Pure data and decisions; each decision about a topic can name the line that made it.

/// What a client wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Be delivered a message.
    Read,
    /// Publish one.
    Write,
}

/// The client that an ACL is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// `None`: anonymous.
    pub username: Option<&'a str>,
    /// The client identifier.
    pub client_id: &'a str,
}

/// The answer for one client, topic and access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// May it.
    pub allowed: bool,
    /// Line of the ACL file (from 1) that decided; `None` if none matched or there is no file.
    pub line: Option<u32>,
}

/// Why a CONNECT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthFailure {
    /// No user name, and anonymous clients are not let in.
    AnonymousRefused,
    /// Unknown user, wrong or missing password.
    BadCredentials,
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
}

impl Rules {
    /// Rules of these zones, in the order of `Config::security`.
    pub fn new(zones: Vec<Zone>) -> Self {
        Self { zones }
    }

    /// Whether a CONNECT with these credentials is let in. Takes a password hash's time
    /// (milliseconds): call it outside of the hub's lock.
    pub fn authenticate(
        &self,
        zone: usize,
        username: Option<&str>,
        password: Option<&[u8]>,
    ) -> Result<(), AuthFailure> {
        let _ = (&self.zones, zone, username, password);
        unimplemented!()
    }

    /// Whether the client may read or write the topic (the ACL file, and the hard rules for `$SYS`).
    pub fn check(&self, zone: usize, who: Subject<'_>, topic: &str, access: Access) -> Decision {
        let _ = (zone, who, topic, access);
        unimplemented!()
    }
}
