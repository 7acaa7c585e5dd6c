//! Lets the passive checks watch the connections of one case, and keeps what the other end broke: the
//! broker, or on connections to peers whoever is a client there.
//!
//! What our own end breaks is no finding: scenarios play bad clients and brokers on purpose. The checks
//! know of it, and expect nothing then that only a good one may expect.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;

use crate::check::statements::{Standard, lookup};
use crate::check::{CHECKS, Exchange, Party, Sight, Violation, find};
use crate::mqtt::codec::{Decoder, Limits};
use crate::net::tap::{Content, Direction, Tapped};
use crate::record::{CaseId, EventKind};
use crate::scenario::Case;

/// Broken rules that are kept of one case.
const BREACHES: usize = 20;
/// With this option a session belongs to a user name, whatever the client identifier.
const OTHER_IDENTIFIERS: &str = "use_username_as_clientid";

/// A rule that was broken.
#[derive(Debug, Clone)]
pub struct Breach {
    /// Which, and how.
    pub violation: Violation,
    /// The packets up to there, as an explanation shows them.
    pub packets: Vec<String>,
    /// The one that breaks it; `None` on a connection of the runner's own.
    pub came: Option<String>,
}

/// What the checks made of the cases of a run so far.
#[derive(Debug, Default)]
pub struct Findings(BTreeMap<(Standard, &'static str), Tally>);

/// One check, with the statements of one standard.
#[derive(Debug, Default)]
struct Tally {
    connections: u64,
    broken: BTreeSet<CaseId>,
}

impl Findings {
    /// A case is over.
    pub fn add(&mut self, case: &CaseId, checks: &ChecksOfCase) {
        for Checks { exchange, judged, .. } in [&checks.broker, &checks.clients] {
            for (key, connections) in exchange.watched() {
                if find(key.1).is_some_and(|check| check.binds == *judged) {
                    self.0.entry(*key).or_default().connections += connections;
                }
            }
            for violation in exchange.violations().iter().filter(|one| one.by() == *judged) {
                let tally = self.0.entry((violation.standard, violation.check.name)).or_default();
                tally.broken.insert(case.clone());
            }
        }
    }

    /// For the log, in the order of the checks.
    pub fn events(&self) -> impl Iterator<Item = EventKind> {
        let each = CHECKS.iter().flat_map(|check| Standard::ALL.map(|standard| (check, standard)));
        each.filter_map(|(check, standard)| {
            let tally = self.0.get(&(standard, check.name))?;
            let cited = check.cited(standard).filter_map(|id| lookup(standard.version(), id));
            Some(EventKind::Checked {
                check: check.name.to_owned(),
                rule: check.doc.to_owned(),
                protocol: standard.to_string(),
                statements: cited.map(|one| (one.id.clone(), one.paraphrase.clone())).collect(),
                connections: tally.connections,
                broken: tally.broken.iter().cloned().collect(),
            })
        })
    }
}

/// Who is watched on which connections.
#[derive(Debug)]
pub struct ChecksOfCase {
    /// Of the broker.
    pub broker: Checks,
    /// Of whoever is a client at a peer.
    pub clients: Checks,
}

impl Default for ChecksOfCase {
    fn default() -> Self {
        Self { broker: Checks::of_broker(), clients: Checks::of_clients() }
    }
}

impl ChecksOfCase {
    /// Those that judge this party.
    pub fn of(&mut self, judged: Party) -> &mut Checks {
        match judged {
            Party::Broker => &mut self.broker,
            Party::Client => &mut self.clients,
        }
    }
}

/// How a connection is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watching {
    /// Its packets are in the log.
    pub shown: bool,
    /// Whom the checks judge, if anybody.
    pub judged: Option<Party>,
}

impl Watching {
    /// A client at the broker.
    pub const BROKER: Self = Self { shown: true, judged: Some(Party::Broker) };
}

/// The checks of the connections to the broker, or to the peers of the case.
#[derive(Debug)]
pub struct Checks {
    exchange: Exchange,
    /// Who is judged: who is at the other end of our connections.
    judged: Party,
    /// What we sent as raw bytes and is no whole packet yet.
    raw: BTreeMap<u32, (Decoder, BytesMut)>,
    breaches: Vec<Breach>,
}

impl Checks {
    /// The broker is judged, by the connections of the clients to it.
    pub fn of_broker() -> Self {
        Self::new(Party::Broker, Sight { at_client: true, whole: false })
    }

    /// Clients and bridges are judged, by their connections to peers.
    pub fn of_clients() -> Self {
        Self::new(Party::Client, Sight { at_client: false, whole: true })
    }

    fn new(judged: Party, sight: Sight) -> Self {
        Self { exchange: Exchange::new(sight), judged, raw: BTreeMap::new(), breaches: Vec::new() }
    }

    /// The broker is this case's alone: all that happens to its sessions is seen.
    pub fn own_broker(&mut self, case: &Case) {
        let broker = &case.setup.broker;
        let set = broker.settings.iter().any(|(name, ..)| name == OTHER_IDENTIFIERS);
        let written = broker.config.as_ref().is_some_and(|file| file.text.contains(OTHER_IDENTIFIERS));
        let whole = !set && !written;
        self.exchange.look_from(Sight { at_client: true, whole });
    }

    /// A connection begins.
    pub fn opened(&mut self, conn: u32) {
        self.exchange.opened(conn);
    }

    /// It is over.
    pub fn ended(&mut self, conn: u32) {
        self.exchange.ended(conn);
        self.raw.remove(&conn);
    }

    /// Raw bytes that a client sent are the beginning of a packet so far, or could not be read.
    pub fn unfinished(&self, conn: u32) -> bool {
        self.raw.contains_key(&conn)
    }

    /// The broker may have forgotten its sessions.
    pub fn restarted(&mut self) {
        self.exchange.restarted();
    }

    /// Something crossed a connection. Gives what is broken with it by whom is judged.
    pub fn see(&mut self, conn: u32, tapped: &Tapped<'_>, at: f64) -> Vec<Violation> {
        let len = tapped.bytes.len();
        let (theirs, ours) = (self.judged, self.judged.peer());
        match (tapped.direction, &tapped.content) {
            (Direction::In, Content::Packet(packet)) => {
                self.exchange.packet(conn, theirs, Ok(packet), len, at).to_vec()
            }
            (Direction::In, Content::Malformed(error)) => {
                self.exchange.packet(conn, theirs, Err(error), len, at).to_vec()
            }
            (Direction::Out, Content::Packet(packet)) if !self.raw.contains_key(&conn) => {
                self.exchange.packet(conn, ours, Ok(packet), len, at);
                Vec::new()
            }
            (Direction::Out, Content::Malformed(error)) => {
                self.exchange.packet(conn, ours, Err(error), len, at);
                Vec::new()
            }
            (Direction::Out, _) => {
                self.send_raw(conn, &tapped.bytes, at);
                Vec::new()
            }
            (Direction::In, Content::Raw) => Vec::new(),
        }
    }

    /// Raw bytes may be a piece of a packet, or several.
    fn send_raw(&mut self, conn: u32, bytes: &[u8], at: f64) {
        let ours = self.judged.peer();
        let version = self.exchange.version(conn);
        let decoder = || match (ours, version) {
            (Party::Broker, version) => Decoder::client(version.unwrap_or_default(), Limits::default()),
            (Party::Client, Some(version)) => Decoder::client(version, Limits::default()),
            (Party::Client, None) => Decoder::server(Limits::default()),
        };
        let (decoder, buffer) = self.raw.entry(conn).or_insert_with(|| (decoder(), BytesMut::new()));
        buffer.extend_from_slice(bytes);
        loop {
            match decoder.decode(buffer) {
                Ok(Some((packet, len))) => {
                    self.exchange.packet(conn, ours, Ok(&packet), len, at);
                }
                Ok(None) => break,
                Err(error) => {
                    self.exchange.packet(conn, ours, Err(&error), buffer.len(), at);
                    buffer.clear();
                    return;
                }
            }
        }
        if buffer.is_empty() {
            self.raw.remove(&conn);
        }
    }

    /// Keeps what was found, with the packets before it.
    pub fn keep(&mut self, breach: Breach) {
        if self.breaches.len() < BREACHES {
            self.breaches.push(breach);
        }
    }

    /// What was broken, oldest first.
    pub fn breaches(&self) -> Vec<Breach> {
        self.breaches.clone()
    }
}
