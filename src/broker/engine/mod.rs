//! The broker's decisions, without a socket or a clock: packets and instants in, frames out.
//!
//! The vocabulary is quinn's: `handle_*` takes what happened, `poll_*` gives what is to be done.
//! The hub (`server/hub.rs`) owns the one `Engine` behind the one lock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::auth::{AuthFailure, Rules};
use super::config::Config;
use super::log::LogLine;
use crate::mqtt::codec::{self, DecodeError};
use crate::mqtt::packet::Connect;
use crate::mqtt::{Packet, ProtocolVersion};

/// A connection, from accept to close. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Index into `Config::listeners`.
    pub listener: usize,
    /// Address, or `None` for an in-memory pipe.
    pub address: Option<SocketAddr>,
}

/// How a connection ended when the client did not say goodbye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// End of file.
    Eof,
    /// Read or write error, as text.
    Io(String),
}

/// Something for the server to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Frames wait for this connection: wake its task, which calls [`Engine::take_frames`].
    Wake(ConnId),
    /// A line for the log.
    Log(LogLine),
}

/// One packet addressed to one connection.
#[derive(Debug, Clone)]
pub enum Frame {
    /// An ordinary packet.
    Packet(Packet),
}

impl Frame {
    /// Appends the bytes of this frame as `version` writes it.
    pub fn encode(&self, version: ProtocolVersion, into: &mut BytesMut) {
        match self {
            Self::Packet(packet) => codec::encode(packet, version, into),
        }
    }
}

/// What [`Engine::take_frames`] left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// More frames wait; call again after writing these.
    pub more: bool,
    /// After these frames the connection is to be closed.
    pub close: bool,
}

/// The broker.
#[derive(Debug)]
pub struct Engine {
    _config: Arc<Config>,
}

impl Engine {
    /// An empty broker. `seed` drives what is random (invented client ids).
    pub fn new(config: Arc<Config>, rules: Arc<Rules>, seed: u64, now: Instant) -> Self {
        let _ = (rules, seed, now);
        Self { _config: config }
    }

    /// A transport connection was accepted.
    pub fn open(&mut self, peer: Peer, now: Instant) -> ConnId {
        let _ = (peer, now);
        unimplemented!()
    }

    /// The first packet. `auth` was found outside of the lock by [`Rules::authenticate`].
    pub fn handle_connect(
        &mut self,
        conn: ConnId,
        connect: Connect,
        auth: Result<(), AuthFailure>,
        now: Instant,
    ) {
        let _ = (conn, connect, auth, now);
        unimplemented!()
    }

    /// Any packet after the first (a second CONNECT too). `size` is its length on the wire.
    pub fn handle_packet(&mut self, conn: ConnId, packet: Packet, size: usize, now: Instant) {
        let _ = (conn, packet, size, now);
        unimplemented!()
    }

    /// The peer's bytes cannot be decoded.
    pub fn handle_malformed(&mut self, conn: ConnId, error: &DecodeError, now: Instant) {
        let _ = (conn, error, now);
        unimplemented!()
    }

    /// The transport is gone. Harmless for a connection that the engine closed itself.
    pub fn handle_loss(&mut self, conn: ConnId, loss: Loss, now: Instant) {
        let _ = (conn, loss, now);
        unimplemented!()
    }

    /// A deadline of [`Engine::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        unimplemented!()
    }

    /// When [`Engine::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// The next thing to do; `None` when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        unimplemented!()
    }

    /// Moves frames of about `max_bytes` to the connection's task, which encodes them outside of
    /// the lock. What was taken counts as written: the task calls this only when it can write.
    pub fn take_frames(
        &mut self,
        conn: ConnId,
        max_bytes: usize,
        into: &mut Vec<Frame>,
        now: Instant,
    ) -> Drained {
        let _ = (conn, max_bytes, into, now);
        unimplemented!()
    }

    /// The revision that a connection speaks, once its CONNECT was handled.
    pub fn version(&self, conn: ConnId) -> Option<ProtocolVersion> {
        let _ = conn;
        unimplemented!()
    }

    /// New configuration and rules, after SIGHUP. Clients that would not be let in any more are
    /// closed as mosquitto closes them.
    pub fn reload(&mut self, config: Arc<Config>, rules: Arc<Rules>, now: Instant) {
        let _ = (config, rules, now);
        unimplemented!()
    }

    /// The server ends: every connection is told (5.0) and closed.
    pub fn shut_down(&mut self, now: Instant) {
        let _ = now;
        unimplemented!()
    }
}
