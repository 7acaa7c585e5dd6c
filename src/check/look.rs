//! What a check gets to see: one packet, and what is known of its connection before it.

use std::cell::OnceCell;

use super::Party;
use super::conn::Conn;
use super::interests::Ask;
use crate::mqtt::codec::DecodeError;
use crate::mqtt::packet::{ConnAck, Connect};
use crate::mqtt::{Packet, ProtocolVersion};

/// What is known of the session that a CONNACK is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Prior {
    /// Nothing.
    Unknown,
    /// It ended with its connection.
    Gone,
    /// It is kept for so many seconds from when its connection ends, which was accepted at this time.
    Kept { secs: f64, since: f64 },
}

/// One packet in its place.
#[derive(Debug)]
pub(super) struct Look<'a> {
    /// Who sent it.
    pub from: Party,
    /// The revision of the connection; in a CONNECT its own.
    pub version: ProtocolVersion,
    /// The connection before this packet.
    pub conn: &'a Conn,
    /// The packet, or why it is none.
    pub seen: Result<&'a Packet, &'a DecodeError>,
    /// Its bytes on the wire.
    pub size: usize,
    /// Of a CONNACK: what is known of the session.
    pub prior: Prior,
    /// Seconds on the teller's clock.
    pub at: f64,
    /// What a PUBLISH may be sent for, once a check has asked: several do.
    pub matching: OnceCell<Option<Vec<&'a Ask>>>,
}

/// What is wrong with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Breach {
    /// One sentence.
    pub sentence: String,
    /// Which of the check's statements, if it is one in particular.
    pub statement: Option<&'static str>,
}

impl Breach {
    /// Of one statement in particular.
    pub fn of(statement: Option<&'static str>, sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), statement }
    }
}

impl From<String> for Breach {
    fn from(sentence: String) -> Self {
        Self { sentence, statement: None }
    }
}

impl From<&str> for Breach {
    fn from(sentence: &str) -> Self {
        sentence.to_owned().into()
    }
}

/// Says what is wrong if it is.
pub(super) fn breach(broken: bool, sentence: impl Into<Breach>) -> Option<Breach> {
    broken.then(|| sentence.into())
}

impl<'a> Look<'a> {
    /// The packet, if it is one.
    pub fn packet(&self) -> Option<&'a Packet> {
        self.seen.ok()
    }

    /// What a PUBLISH of the broker may be sent for; `None` where that is not known.
    pub fn matching(&self) -> Option<&[&'a Ask]> {
        let find = || {
            let Packet::Publish(publish) = self.packet()? else { return None };
            self.conn.interests.matching(self.conn.topic(self.from, publish)?)
        };
        self.matching.get_or_init(find).as_deref()
    }

    /// The packet if it is a CONNACK.
    pub fn connack(&self) -> Option<&'a ConnAck> {
        match self.seen {
            Ok(Packet::ConnAck(answer)) => Some(answer),
            _ => None,
        }
    }

    /// A CONNACK that answers the one CONNECT of its connection, and that.
    pub fn first_answer(&self) -> Option<(&'a Connect, &'a ConnAck)> {
        let answer = self.connack().filter(|_| self.conn.connects == 1 && self.conn.connacks == 0)?;
        Some((self.conn.connect.as_deref()?, answer))
    }
}
