//! All connections of one case or capture, and what the checks make of them.
//!
//! An end of a connection acts on what it has read, which is some of what the other end has sent
//! so far. How much cannot be seen. So a packet counts as a breach only if it is one however much
//! of what was told before it had been read.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::conn::Conn;
use super::look::{Look, Prior};
use super::sessions::Sessions;
use super::statements::Standard;
use super::{CHECKS, CheckSpec, Party, Violation};
use crate::mqtt::codec::DecodeError;
use crate::mqtt::packet::ConnAck;
use crate::mqtt::{Packet, ProtocolVersion, ReasonCode, notation};

/// Violations that are kept; the rest is only counted.
const VIOLATIONS: usize = 1_000;
/// Connections that are remembered at once; more are let pass.
const CONNECTIONS: usize = 20_000;
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
    sessions: Sessions,
    /// Connections on which a check has looked at something.
    watched: BTreeMap<(Standard, &'static str), u64>,
    found: Vec<Violation>,
    /// Violations that were not kept.
    dropped: usize,
}

impl Exchange {
    /// Nothing happened yet.
    pub fn new(sight: Sight) -> Self {
        Self {
            sight,
            connections: BTreeMap::new(),
            sessions: Sessions::default(),
            watched: BTreeMap::new(),
            found: Vec::new(),
            dropped: 0,
        }
    }

    /// Before the first connection: how much of the broker's dealings is seen.
    pub fn look_from(&mut self, sight: Sight) {
        self.sight = sight;
    }

    /// A connection begins. Numbers are not used twice.
    pub fn opened(&mut self, conn: u32) {
        if self.connections.len() < CONNECTIONS {
            self.connections.insert(conn, Conn::default());
        }
    }

    /// `from` sent a packet of `len` bytes; or bytes that are none, after which nothing that it sends
    /// can be read. Seconds are on any clock that does not run backwards. Gives what this packet breaks.
    pub fn packet(
        &mut self,
        conn: u32,
        from: Party,
        seen: Result<&Packet, &DecodeError>,
        len: usize,
        at: f64,
    ) -> &[Violation] {
        let first = self.found.len();
        let Some(known) = self.connections.get(&conn) else { return &[] };
        if known.side(from).unreadable {
            return &[];
        }
        let announced = match seen {
            Ok(Packet::Connect(connect)) if known.connects == 0 => Some(connect.version),
            Ok(_) => None,
            Err(error) => error.version,
        };
        let version = known.version().or(announced).unwrap_or_default();
        let prior = match seen {
            Ok(Packet::ConnAck(_)) => self.before(known).map_or(Prior::Unknown, |(_, prior)| prior),
            _ => Prior::Unknown,
        };
        let matching = OnceCell::new();
        let look = Look { from, version, conn: known, seen, size: len, prior, at, matching };
        if known.side(from).packets == 0 {
            for check in CHECKS.iter().filter(|check| applies(check, &look)) {
                *self.watched.entry((Standard::of(version), check.name)).or_default() += 1;
            }
        }
        let found = judge(&look, conn);
        let Some(known) = self.connections.get_mut(&conn) else { return &[] };
        let sender = known.side_mut(from);
        sender.broke |= !found.is_empty();
        sender.reported.extend(found.iter().map(|violation| violation.check.name));
        for violation in found {
            if self.found.len() < VIOLATIONS {
                self.found.push(violation);
            } else {
                self.dropped += 1;
            }
        }
        match seen {
            Ok(packet) => self.take(conn, from, packet, at),
            Err(_) => self.unreadable(conn, from),
        }
        &self.found[first..]
    }

    /// The connection that a CONNACK on this one is about as well.
    fn before(&self, conn: &Conn) -> Option<(&Conn, Prior)> {
        let first = self.sight.whole && conn.connects == 1 && conn.connacks == 0;
        self.sessions.before(conn, &self.connections).filter(|_| first)
    }

    /// Brings what is known up to date.
    fn take(&mut self, conn: u32, from: Party, packet: &Packet, at: f64) {
        let Some(known) = self.connections.get(&conn) else { return };
        let first_answer = known.connects > 0 && known.connacks == 0;
        match packet {
            Packet::ConnAck(answer) if first_answer => self.take_answer(conn, answer),
            Packet::Connect(connect) if known.connects == 0 => self.sessions.asked(&connect.client_id),
            _ => {}
        }
        if let Some(known) = self.connections.get_mut(&conn) {
            known.take(from, packet, at);
            if self.sight.at_client && known.told_at.is_none() {
                known.told_at = known.accepted_at;
            }
        }
    }

    /// The first CONNACK of a connection: the session that it is about is another one's, or a new one.
    fn take_answer(&mut self, conn: u32, answer: &ConnAck) {
        let Some(mut known) = self.connections.remove(&conn) else { return };
        let accepted = answer.code == ReasonCode::SUCCESS;
        if accepted && answer.session_present {
            let before = self.before(&known);
            let kept = before.filter(|(_, prior)| matches!(prior, Prior::Kept { .. }));
            known.go_on(kept.map(|(before, _)| before), self.sight.at_client);
        } else if accepted {
            known.start_afresh();
        }
        if let Some(connect) = &known.connect {
            let before = self.sessions.answered(&connect.client_id, accepted.then_some(conn));
            self.let_go(before);
        }
        self.connections.insert(conn, known);
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

    /// The client is sure to have read the CONNACK by then.
    pub fn told(&mut self, conn: u32, at: f64) {
        if let Some(conn) = self.connections.get_mut(&conn) {
            conn.told_at = Some(conn.told_at.map_or(at, |told| told.min(at)));
        }
    }

    /// The revision of a connection, once its CONNECT was seen.
    pub fn version(&self, conn: u32) -> Option<ProtocolVersion> {
        self.connections.get(&conn)?.version()
    }

    /// A connection is over, whoever ended it.
    pub fn ended(&mut self, conn: u32) {
        let Some(known) = self.connections.get_mut(&conn) else { return };
        known.ended = true;
        let Some(id) = known.connect.as_ref().map(|connect| connect.client_id.clone()) else {
            self.connections.remove(&conn);
            return;
        };
        if known.connacks == 0 {
            let before = self.sessions.answered(&id, None);
            self.let_go(before);
        }
        if !self.sessions.is_last(&id, conn) {
            self.connections.remove(&conn);
        }
    }

    /// Forgets a connection that no session is of any more, if it is over.
    fn let_go(&mut self, conn: Option<u32>) {
        let Some(conn) = conn else { return };
        if self.connections.get(&conn).is_some_and(|known| known.ended) {
            self.connections.remove(&conn);
        }
    }

    /// The broker was started anew, or told to read its configuration again, and may have forgotten
    /// every session.
    pub fn restarted(&mut self) {
        self.sessions.forget();
        self.connections.retain(|_, conn| !conn.ended);
    }

    /// On how many connections a check has looked at the packets that it is about, by standard and name.
    /// Connections of clients that had broken the protocol before are left out where that excuses a broker.
    pub fn watched(&self) -> &BTreeMap<(Standard, &'static str), u64> {
        &self.watched
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

/// True if a check is about the sender of this packet, and can say something on this connection.
fn applies(check: &CheckSpec, look: &Look<'_>) -> bool {
    let standard = Standard::of(look.version);
    check.binds == look.from
        && (check.always || !look.conn.side(look.from.peer()).broke)
        && (check.old || look.version != ProtocolVersion::V31)
        && check.cites.iter().any(|(of, _)| *of == standard)
}

/// Asks all checks that are about the sender of this packet.
fn judge(look: &Look<'_>, conn: u32) -> Vec<Violation> {
    let standard = Standard::of(look.version);
    let side = look.conn.side(look.from);
    // What breaks a rule once often breaks it with every packet.
    let is_new = |check: &&CheckSpec| !side.reported.contains(&check.name);
    CHECKS
        .iter()
        .filter(|check| applies(check, look))
        .filter(is_new)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::notation::PacketLine;

    fn say(exchange: &mut Exchange, conn: u32, from: Party, line: &str) {
        let raw = PacketLine::parse(line).expect("a packet").build(ProtocolVersion::V311).expect("a packet");
        exchange.packet(conn, from, Ok(&raw.packet.expect("a packet")), raw.bytes.len(), f64::from(conn));
    }

    /// A connection of client `id` with this answer, over at once.
    fn short(exchange: &mut Exchange, conn: u32, id: &str, answer: Option<&str>) {
        exchange.opened(conn);
        say(exchange, conn, Party::Client, &format!("CONNECT client={id}"));
        if let Some(answer) = answer {
            say(exchange, conn, Party::Broker, answer);
        }
        exchange.ended(conn);
    }

    #[test]
    fn only_the_last_connection_of_a_session_outlives_its_end() {
        let mut exchange = Exchange::new(Sight { at_client: false, whole: true });
        let answers = [Some("CONNACK 0"), Some("CONNACK 0 session_present"), Some("CONNACK 5"), None];
        for conn in 1..=100 {
            short(&mut exchange, conn, "a", answers[conn as usize % answers.len()]);
            assert!(exchange.connections.len() <= 1, "after connection {conn}");
        }
        short(&mut exchange, 101, "a", Some("CONNACK 0"));
        short(&mut exchange, 102, "b", Some("CONNACK 0"));
        assert_eq!(exchange.connections.keys().copied().collect::<Vec<_>>(), [101, 102]);
        exchange.restarted();
        assert!(exchange.connections.is_empty(), "no session is known to be of them");
    }

    #[test]
    fn a_connection_that_is_taken_over_is_forgotten_when_it_ends() {
        let mut exchange = Exchange::new(Sight { at_client: false, whole: true });
        for conn in [1, 2] {
            exchange.opened(conn);
            say(&mut exchange, conn, Party::Client, "CONNECT client=a");
            say(&mut exchange, conn, Party::Broker, "CONNACK 0");
        }
        assert_eq!(exchange.connections.len(), 2);
        exchange.ended(1);
        assert_eq!(exchange.connections.keys().copied().collect::<Vec<_>>(), [2]);
    }

    /// SUBSCRIBE packets for so many filters, all before the CONNACK, as a client may send them.
    fn early(exchange: &mut Exchange, conn: u32, filters: usize) {
        let all: Vec<String> = (0..filters).map(|number| format!("t/{number}")).collect();
        for (id, some) in all.chunks(1_000).enumerate() {
            let line = format!("SUBSCRIBE {} id={}", some.join(" "), id + 1);
            say(exchange, conn, Party::Client, &line);
        }
    }

    #[test]
    fn more_filters_than_are_remembered_are_not_taken_for_none() {
        let mut exchange = Exchange::new(Sight { at_client: false, whole: true });
        // Too many in a new session, in one that goes on, and in one that went on before.
        let connections =
            [("a", 4_001, false), ("a", 0, true), ("b", 1, false), ("b", 4_001, true), ("b", 0, true)];
        for (conn, (id, filters, present)) in (1..).zip(connections) {
            exchange.opened(conn);
            say(&mut exchange, conn, Party::Client, &format!("CONNECT client={id}"));
            early(&mut exchange, conn, filters);
            let answer = if present { "CONNACK 0 session_present" } else { "CONNACK 0" };
            say(&mut exchange, conn, Party::Broker, answer);
            say(&mut exchange, conn, Party::Broker, "PUBLISH t/0 \"x\"");
            exchange.ended(conn);
        }
        let found: Vec<_> = exchange.violations().iter().map(ToString::to_string).collect();
        assert_eq!(found, Vec::<String>::new());
    }
}
