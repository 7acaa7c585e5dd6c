//! All connections of one case or capture, and what the checks make of them.
//!
//! An end of a connection acts on what it has read, which is some of what the other end has sent
//! so far. How much cannot be seen. So a packet counts as a breach only if it is one however much
//! of what was told before it had been read.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::conn::Conn;
use super::look::Look;
use super::statements::Standard;
use super::{CHECKS, CheckSpec, Party, Violation};
use crate::mqtt::codec::DecodeError;
use crate::mqtt::{Packet, ProtocolVersion, notation};

/// Violations that are kept; the rest is only counted.
const VIOLATIONS: usize = 1_000;
/// Connections that are watched at once; of more, the rest is let pass.
const CONNECTIONS: usize = 10_000;
/// Characters of a packet line that are kept.
const LINE: usize = 400;
/// What stands in place of a password.
const HIDDEN: &[u8] = b"***";

/// From where an exchange is seen, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Packets of the client are told when it hands them over and those of the broker when the
    /// client has read them: then it is known what a client knew.
    pub at_client: bool,
    /// Every connection to the broker that could share a session with one of these is told.
    pub whole: bool,
}

/// Watches connections, packet by packet.
#[derive(Debug)]
pub struct Exchange {
    sight: Sight,
    connections: BTreeMap<u32, Conn>,
    found: Vec<Violation>,
    /// Violations that were not kept.
    dropped: usize,
}

impl Exchange {
    /// Nothing happened yet.
    pub fn new(sight: Sight) -> Self {
        Self { sight, connections: BTreeMap::new(), found: Vec::new(), dropped: 0 }
    }

    /// A connection begins. Numbers are not used twice.
    pub fn opened(&mut self, conn: u32) {
        if self.connections.len() < CONNECTIONS {
            self.connections.insert(conn, Conn::default());
        }
    }

    /// `from` sent a packet of `size` bytes; or bytes that are none, after which nothing that it sends
    /// can be read. Seconds are on any clock that does not run backwards.
    pub fn packet(
        &mut self,
        conn: u32,
        from: Party,
        seen: Result<&Packet, &DecodeError>,
        size: usize,
        at: f64,
    ) {
        let Some(known) = self.connections.get(&conn) else { return };
        if known.side(from).unreadable {
            return;
        }
        let announced = match seen {
            Ok(Packet::Connect(connect)) if known.connects == 0 => Some(connect.version),
            Ok(_) => None,
            Err(error) => error.version,
        };
        let version = known.version().or(announced);
        let look = Look { from, version: version.unwrap_or_default(), conn: known, seen, size, at };
        let found = judge(&look, conn);
        let Some(known) = self.connections.get_mut(&conn) else { return };
        let sender = known.side_mut(from);
        sender.broke |= !found.is_empty();
        sender.reported.extend(found.iter().map(|violation| violation.check.name));
        match seen {
            Ok(packet) => known.take(from, packet, at),
            Err(_) => self.unreadable(conn, from),
        }
        for violation in found {
            if self.found.len() < VIOLATIONS {
                self.found.push(violation);
            } else {
                self.dropped += 1;
            }
        }
    }

    /// From now on what `from` sends on this connection cannot be read, and perhaps breaks the
    /// protocol.
    pub fn unreadable(&mut self, conn: u32, from: Party) {
        if let Some(conn) = self.connections.get_mut(&conn) {
            let side = conn.side_mut(from);
            side.unreadable = true;
            side.broke = true;
        }
    }

    /// A connection is over, whoever ended it.
    pub fn ended(&mut self, conn: u32, at: f64) {
        if let Some(conn) = self.connections.get_mut(&conn) {
            conn.ended_at = Some(at);
        }
    }

    /// The broker was started anew, or told to read its configuration again, and may have forgotten
    /// everything.
    pub fn restarted(&mut self) {
        self.connections.clear();
    }

    /// What was found so far, oldest first.
    pub fn violations(&self) -> &[Violation] {
        &self.found
    }

    /// Violations that were found and not kept, because there are too many.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// From where it is seen.
    pub fn sight(&self) -> Sight {
        self.sight
    }
}

/// Asks all checks that are about the sender of this packet.
fn judge(look: &Look<'_>, conn: u32) -> Vec<Violation> {
    let standard = Standard::of(look.version);
    let side = look.conn.side(look.from);
    let peer_broke = look.conn.side(look.from.peer()).broke;
    let applies = |check: &&CheckSpec| {
        check.binds == look.from
            && (check.always || !peer_broke)
            && check.cites.iter().any(|(of, _)| *of == standard)
            // What breaks a rule once often breaks it with every packet.
            && !side.reported.contains(&check.name)
    };
    CHECKS
        .iter()
        .filter(applies)
        .filter_map(|check| {
            let breach = (check.look)(look)?;
            let cited = check.cited(standard);
            let statements = match breach.statement {
                Some(one) => vec![one],
                None => cited.collect(),
            };
            let line = print(look.seen, look.version);
            Some(Violation {
                check,
                standard,
                statements,
                sentence: breach.sentence,
                conn,
                line,
                at: look.at,
            })
        })
        .collect()
}

/// A packet in notation, its password hidden, cut off where it is long.
fn print(seen: Result<&Packet, &DecodeError>, version: ProtocolVersion) -> String {
    let line = match seen {
        Ok(Packet::Connect(connect)) if connect.password.is_some() => {
            let mut connect = connect.clone();
            connect.password = Some(Bytes::from_static(HIDDEN));
            notation::print(&Packet::Connect(connect), version)
        }
        Ok(packet) => notation::print(packet, version),
        Err(error) => error.to_string(),
    };
    match line.char_indices().nth(LINE) {
        Some((at, _)) => format!("{} …", &line[..at]),
        None => line,
    }
}
