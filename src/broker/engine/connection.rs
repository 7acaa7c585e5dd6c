//! One transport connection: how far it is, what it may be sent, what waits to be written to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mqtt::{Packet, PacketId, ProtocolVersion, QoS, codec};

use super::alias::{Aliases, OwnAliases};
use super::arena::Arena;
use super::on_auth::Enhanced;
use super::on_subscribe::Begun;
use super::outbox::Outbox;
use super::publication::Frame;
use super::session::SessionId;
use super::{ConnId, Peer};

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No CONNECT yet.
    Fresh,
    /// Its CONNECT wants to be proved: AUTH packets go to and fro.
    Authenticating,
    /// Accepted, with this session.
    Connected(SessionId),
    /// Refused or ended by us: what waits is still written, nothing is read.
    Closing,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    pub peer: Peer,
    pub version: Option<ProtocolVersion>,
    pub state: State,
    pub outbox: Outbox,
    /// The task was told that frames wait and has not taken all of them.
    pub woken: bool,
    pub last_heard: Instant,
    /// One and a half times the keep-alive.
    pub patience: Option<Duration>,
    pub aliases: Aliases,
    /// Those that we declared to the client.
    pub own_aliases: OwnAliases,
    /// QoS 2 messages that we said to take at once.
    pub receive_maximum: u16,
    /// QoS 2 messages of this connection between PUBREC and PUBREL, repeats of older ones too. What
    /// an earlier connection left open does not count, or a client that lost its state would be
    /// kept out for ever.
    pub unreleased: BTreeSet<PacketId>,
    /// Bytes of the largest packet that the client takes.
    pub max_packet_size: Option<u32>,
    /// The highest that the client may publish with and is granted.
    pub max_qos: QoS,
    /// A broker: `try_private`, the highest bit of its protocol level.
    pub bridge: bool,
    /// Version and cipher of its TLS, until the log has said it.
    pub secured: Option<Box<str>>,
    pub enhanced: Enhanced,
    /// `mount_point` of its listener.
    pub mount: Option<Arc<str>>,
    /// A request that takes more than one turn.
    pub begun: Option<Box<Begun>>,
    /// It counts against `max_connections` and `global_max_connections`.
    counted: bool,
}

impl Connection {
    /// The session of an accepted connection.
    pub fn session(&self) -> Option<SessionId> {
        match self.state {
            State::Connected(session) => Some(session),
            State::Fresh | State::Authenticating | State::Closing => None,
        }
    }

    /// A message of QoS 1 or 2 came; false if these are more than we said to take at once. One of
    /// QoS 1 is open only until its turn ends, but until then it counts.
    pub fn begin(&mut self, qos: QoS, id: PacketId) -> bool {
        let room = self.unreleased.len() < usize::from(self.receive_maximum);
        match qos {
            QoS::ExactlyOnce => self.unreleased.contains(&id) || (room && self.unreleased.insert(id)),
            QoS::AtLeastOnce => room,
            QoS::AtMostOnce => true,
        }
    }

    /// Appends a packet, unless the client takes none that large: then it counts as sent.
    /// `[MQTT-3.1.2-24]`, `[MQTT-3.1.2-25]` of 5.0
    ///
    /// No packet of ours has a reason string or user properties of its own, so they make none too
    /// large and tell nobody who does not want to know. 5: [MQTT-3.1.2-29], [MQTT-3.2.2-19],
    /// [MQTT-3.2.2-20], [MQTT-3.4.2-2], [MQTT-3.4.2-3], [MQTT-3.5.2-2], [MQTT-3.5.2-3],
    /// [MQTT-3.6.2-2], [MQTT-3.6.2-3], [MQTT-3.7.2-2], [MQTT-3.7.2-3], [MQTT-3.9.2-1],
    /// [MQTT-3.9.2-2], [MQTT-3.11.2-1], [MQTT-3.11.2-2], [MQTT-3.14.2-3], [MQTT-3.14.2-4],
    /// [MQTT-3.15.2-2], [MQTT-3.15.2-3]
    pub fn send(&mut self, packet: Packet) {
        if self.takes(&packet) {
            self.outbox.push(Frame::Packet(packet));
        }
    }

    /// Whether a packet is within the client's Maximum Packet Size.
    pub fn takes(&self, packet: &Packet) -> bool {
        let Some(most) = self.max_packet_size else { return true };
        codec::encoded_len(packet, self.version.unwrap_or_default()) <= most as usize
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    arena: Arena<Connection>,
    by_listener: Vec<u32>,
}

impl Connections {
    /// A new connection of this peer. `counted`: there is room for it.
    pub fn insert(&mut self, peer: Peer, counted: bool, now: Instant) -> ConnId {
        if counted {
            if self.by_listener.len() <= peer.listener {
                self.by_listener.resize(peer.listener + 1, 0);
            }
            self.by_listener[peer.listener] += 1;
        }
        ConnId(self.arena.insert(Connection {
            peer,
            version: None,
            state: State::Fresh,
            outbox: Outbox::default(),
            woken: false,
            last_heard: now,
            patience: None,
            aliases: Aliases::default(),
            own_aliases: OwnAliases::default(),
            receive_maximum: u16::MAX,
            unreleased: BTreeSet::new(),
            max_packet_size: None,
            max_qos: QoS::ExactlyOnce,
            bridge: false,
            mount: None,
            begun: None,
            secured: None,
            enhanced: Enhanced::default(),
            counted,
        }))
    }

    /// How many of a listener there are, without those that were one too many.
    pub fn of_listener(&self, listener: usize) -> u32 {
        self.by_listener.get(listener).copied().unwrap_or(0)
    }

    /// How many of all listeners there are.
    pub fn of_all(&self) -> u32 {
        self.by_listener.iter().sum()
    }

    /// The connection, if it is still known.
    pub fn get(&self, id: ConnId) -> Option<&Connection> {
        self.arena.get(id.0)
    }

    /// The connection, if it is still known.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.arena.get_mut(id.0)
    }

    /// Forgets a connection.
    pub fn remove(&mut self, id: ConnId) -> Option<Connection> {
        let connection = self.arena.remove(id.0)?;
        if connection.counted {
            self.by_listener[connection.peer.listener] -= 1;
        }
        Some(connection)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.arena.len()
    }

    /// Frames that wait to be written to any of them, and their bytes.
    pub fn waiting(&self) -> (u64, u64) {
        let outboxes = self.arena.values().map(|connection| &connection.outbox);
        outboxes.fold((0, 0), |(frames, bytes), outbox| {
            (frames + outbox.len() as u64, bytes + outbox.bytes() as u64)
        })
    }

    /// All of them.
    pub fn ids(&self) -> Vec<ConnId> {
        self.arena.keys().into_iter().map(ConnId).collect()
    }
}
