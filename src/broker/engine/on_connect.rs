//! CONNECT and CONNACK (3.1, 3.2): who is let in, with which session.

use std::time::{Duration, Instant};

use bytestring::ByteString;

use crate::broker::auth::AuthFailure;
use crate::broker::config::{Compat, INSIDE};
use crate::broker::log::LogTypes;
use crate::mqtt::packet::{ConnAck, Connect};
use crate::mqtt::{Packet, Properties, Property, ProtocolVersion, ReasonCode};
use crate::text::escape;

use super::alias::OwnAliases;
use super::connection::State;
use super::deadline::Timer;
use super::limits::{MAX_TOPIC_ALIAS, MAX_TOPIC_SEPARATORS};
use super::on_publish::separators;
use super::phrases::{self, Ending};
use super::publication::owned;
use super::session::{Identity, Lifetime, Session, SessionId};
use super::{ConnId, Engine, Peer, will};

/// Why a CONNECT is refused.
struct Refusal {
    /// Return code before 5.0; `None`: none fits, and the connection is just closed.
    /// 3.1.1: [MQTT-3.2.2-6]
    v3: Option<ReasonCode>,
    v5: ReasonCode,
}

impl Engine {
    pub(super) fn on_connect(
        &mut self,
        conn: ConnId,
        connect: &Connect,
        auth: Result<(), AuthFailure>,
        now: Instant,
    ) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        match connection.state {
            State::Fresh => {}
            // [MQTT-3.1.0-2] 5: [MQTT-3.2.0-2]
            State::Connected(_) => {
                return self.close(conn, &Ending::Protocol(ReasonCode::PROTOCOL_ERROR), now);
            }
            State::Closing => return,
        }
        connection.version = Some(connect.version);
        connection.last_heard = now;
        connection.max_packet_size = connect.properties.maximum_packet_size();
        // [MQTT-3.1.2-26], [MQTT-3.1.2-27] of 5.0; mosquitto has them since 2.1.
        let most = if self.config.compat == Compat::V20 { 0 } else { MAX_TOPIC_ALIAS };
        connection.own_aliases =
            OwnAliases::new(connect.properties.topic_alias_maximum().unwrap_or(0).min(most));
        let Peer { listener, bridge, .. } = connection.peer;
        if !bridge && self.belongs_to_bridge(&connect.client_id) {
            // mosquitto would let anybody take a bridge's messages.
            let code = ReasonCode::CLIENT_IDENTIFIER_NOT_VALID;
            let refusal = Refusal { v3: Some(ReasonCode::V3_IDENTIFIER_REJECTED), v5: code };
            return self.refuse(conn, connect, &refusal, now);
        }
        if let Err(refusal) = self.admit(connect, auth) {
            return self.refuse(conn, connect, &refusal, now);
        }
        let assigned = connect.client_id.is_empty();
        let client_id = if assigned { self.invent_client_id() } else { owned(&connect.client_id) };
        let properties = match connect.version {
            ProtocolVersion::V5 => self.connack_properties(connect, assigned.then(|| client_id.clone())),
            _ => Properties::new(),
        };
        let answer = ConnAck { session_present: false, code: ReasonCode::SUCCESS, properties };
        // [MQTT-3.1.2-24] of 5.0
        if self.connections.get(conn).is_none_or(|it| !it.takes(&Packet::ConnAck(answer.clone()))) {
            return self.close(conn, &Ending::Oversize, now);
        }
        let username = connect.username.as_ref().map(owned);
        let identity = Identity { client_id, username, listener, zone: self.config.zone(listener) };
        let (session, present) = self.claim_session(identity, connect, now);
        self.attach(conn, session, connect, now);
        self.welcome(conn, session, connect, present, answer);
        // [MQTT-4.4.0-1]
        self.fill(session, now);
    }

    /// True if this is the name of a session of a bridge of ours.
    fn belongs_to_bridge(&self, client_id: &str) -> bool {
        let session = self.sessions.find(client_id).and_then(|id| self.sessions.get(id));
        session.is_some_and(|session| session.identity.listener == INSIDE)
    }

    /// Whether a CONNECT is acceptable, apart from its format. Any identifier that is not empty is:
    /// [MQTT-3.1.3-5]
    fn admit(&self, connect: &Connect, auth: Result<(), AuthFailure>) -> Result<(), Refusal> {
        let v5 = connect.version.is_v5();
        let refuse = |v3, v5| Err(Refusal { v3, v5 });
        // [MQTT-3.1.3-8], [MQTT-3.1.3-9] 5: [MQTT-3.1.3-8]; 3.1 has no empty identifier at all.
        let needs_id = match connect.version {
            ProtocolVersion::V31 => true,
            ProtocolVersion::V311 => !connect.clean_start,
            ProtocolVersion::V5 => false,
        };
        if connect.client_id.is_empty() && needs_id {
            return refuse(Some(ReasonCode::V3_IDENTIFIER_REJECTED), ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
        }
        // [MQTT-3.1.2-22]; legal in 5.0.
        if !v5 && connect.password.is_some() && connect.username.is_none() {
            return refuse(None, ReasonCode::PROTOCOL_ERROR);
        }
        if connect.properties.authentication_method().is_some() {
            // [MQTT-4.12.0-1] of 5.0
            return refuse(None, ReasonCode::BAD_AUTHENTICATION_METHOD);
        }
        if connect.properties.authentication_data().is_some() {
            return refuse(None, ReasonCode::PROTOCOL_ERROR);
        }
        let limit = self.config.limits.message_size_limit as usize;
        if limit > 0 && connect.will.as_ref().is_some_and(|will| will.payload.len() > limit) {
            return refuse(Some(ReasonCode::V3_NOT_AUTHORIZED), ReasonCode::PACKET_TOO_LARGE);
        }
        // As for any topic that is published to.
        if connect.will.as_ref().is_some_and(|will| separators(will.topic.as_str()) > MAX_TOPIC_SEPARATORS) {
            return refuse(None, ReasonCode::TOPIC_NAME_INVALID);
        }
        match auth {
            Ok(()) => Ok(()),
            Err(_) => refuse(Some(ReasonCode::V3_NOT_AUTHORIZED), ReasonCode::NOT_AUTHORIZED),
        }
    }

    fn refuse(&mut self, conn: ConnId, connect: &Connect, refusal: &Refusal, now: Instant) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let code = if connect.version.is_v5() { Some(refusal.v5) } else { refusal.v3 };
        if let Some(code) = code {
            // [MQTT-3.2.2-4], [MQTT-3.2.2-5] 5: [MQTT-3.2.2-6], [MQTT-3.2.2-7], [MQTT-3.1.4-2]
            connection.send(Packet::ConnAck(ConnAck { code, ..ConnAck::default() }));
            let to = match &*connect.client_id {
                "" => phrases::address(&connection.peer),
                id => escape(id),
            };
            self.outputs.log(LogTypes::DEBUG, || format!("Sending CONNACK to {to} (0, {})", code.0));
        }
        let ending = match refusal.v5 {
            ReasonCode::NOT_AUTHORIZED => Ending::NotAuthorised(owned(&connect.client_id)),
            ReasonCode::PROTOCOL_ERROR => Ending::Protocol(refusal.v5),
            ReasonCode::PACKET_TOO_LARGE => Ending::Oversize,
            code => Ending::Refused(code),
        };
        self.close(conn, &ending, now);
    }

    /// [MQTT-3.1.3-6] 5: [MQTT-3.1.3-6], [MQTT-3.2.2-16]
    fn invent_client_id(&mut self) -> ByteString {
        loop {
            let (a, b) = (self.random.next(), self.random.next());
            let id = format!(
                "auto-{:08X}-{:04X}-{:04X}-{:04X}-{:012X}",
                a >> 32,
                a >> 16 & 0xffff,
                // Version 4 and variant 1 of a UUID.
                a & 0x0fff | 0x4000,
                b >> 48 & 0x3fff | 0x8000,
                b & 0xffff_ffff_ffff
            );
            if self.sessions.find(&id).is_none() {
                return ByteString::from(id);
            }
        }
    }

    /// The session of a client, and whether it went on from before. `[MQTT-3.1.2-4]`,
    /// `[MQTT-3.1.2-6]`, `[MQTT-3.1.4-3]` 5: `[MQTT-3.1.2-4]`, `[MQTT-3.1.2-5]`,
    /// `[MQTT-3.1.2-6]`, `[MQTT-3.1.4-4]`
    fn claim_session(&mut self, identity: Identity, connect: &Connect, now: Instant) -> (SessionId, bool) {
        if let Some(old) = self.sessions.find(&identity.client_id) {
            // [MQTT-3.1.4-2] 5: [MQTT-3.1.4-3], [U5-3.1.4-2]
            if let Some(conn) = self.sessions.get(old).and_then(|session| session.conn) {
                self.close(conn, &Ending::TakenOver, now);
            }
            if connect.clean_start {
                self.end_session(old, now);
            } else if let Some(session) = self.sessions.get_mut(old) {
                session.identity = identity;
                session.version = connect.version;
                self.deadlines.cancel(&Timer::Session(old));
                // [MQTT-3.1.3-9] of 5.0
                self.deadlines.cancel(&Timer::Will(old));
                return (old, true);
            }
        }
        (self.sessions.insert(Session::new(identity, connect.version)), false)
    }

    /// Ties connection and session together.
    fn attach(&mut self, conn: ConnId, id: SessionId, connect: &Connect, now: Instant) {
        let asked = asked_lifetime(connect);
        let bridge = self.connections.get(conn).is_some_and(|connection| connection.peer.bridge);
        // The limits for clients are none for a bridge: the other broker keeps to its own.
        let lifetime = if bridge { asked } else { self.capped(asked) };
        let own_limit = match self.config.limits.max_inflight_messages {
            _ if bridge => u16::MAX,
            0 => u16::MAX,
            limit => limit,
        };
        if let Some(session) = self.sessions.get_mut(id) {
            session.conn = Some(conn);
            session.asked_lifetime = asked;
            // [MQTT-3.1.2-23], [U5-3.1.2-3] of 5.0
            session.lifetime = lifetime;
            // [MQTT-4.9.0-1], [U5-3.1.2-4] of 5.0
            session.window = own_limit.min(connect.properties.receive_maximum().unwrap_or(u16::MAX));
            // [MQTT-3.1.2-8], [MQTT-3.1.2-12] 5: [MQTT-3.1.2-7]
            session.will = connect.will.as_ref().map(|will| Box::new(will::keep(will)));
        }
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.state = State::Connected(id);
        connection.receive_maximum = own_limit;
        // [MQTT-3.1.2-24] 5: [MQTT-3.1.2-22], [MQTT-3.2.2-22]
        connection.patience =
            (connect.keep_alive > 0).then(|| Duration::from_millis(u64::from(connect.keep_alive) * 1500));
        match connection.patience {
            Some(patience) => self.deadlines.set(Timer::Connection(conn), now + patience),
            None => self.deadlines.cancel(&Timer::Connection(conn)),
        }
        self.stats.clients_connected += 1;
        self.stats.clients_maximum = self.stats.clients_maximum.max(self.stats.clients_connected);
    }

    /// Sends CONNACK, the first packet of all. `[MQTT-3.2.0-1]`, `[MQTT-3.1.4-4]`
    /// 5: `[MQTT-3.1.4-5]`
    fn welcome(&mut self, conn: ConnId, id: SessionId, connect: &Connect, present: bool, answer: ConnAck) {
        let Some(session) = self.sessions.get(id) else { return };
        let client_id = session.identity.client_id.clone();
        // [MQTT-3.2.2-1], [MQTT-3.2.2-2], [MQTT-3.2.2-3] 5: [MQTT-3.2.2-2], [MQTT-3.2.2-3]
        let session_present = present && connect.version != ProtocolVersion::V31;
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let bridge = connection.peer.bridge;
        if !bridge {
            self.outputs.log_connection(LogTypes::NOTICE, || {
                phrases::connected(self.config.compat, connect, &client_id, &connection.peer)
            });
        }
        if !bridge && self.outputs.logs(LogTypes::DEBUG) {
            for line in phrases::will(connect) {
                self.outputs.log(LogTypes::DEBUG, || line);
            }
            self.outputs.log(LogTypes::DEBUG, || {
                format!("Sending CONNACK to {} ({}, 0)", escape(&client_id), u8::from(session_present))
            });
        }
        connection.send(Packet::ConnAck(ConnAck { session_present, ..answer }));
        self.outputs.wake(conn, connection);
    }

    /// In mosquitto's order; never Response Information. 5: [MQTT-3.1.2-28], [U5-3.2.2-1]
    fn connack_properties(&self, connect: &Connect, assigned: Option<ByteString>) -> Properties {
        let limits = &self.config.limits;
        let mut properties = Properties::new();
        properties.push(Property::TopicAliasMaximum(MAX_TOPIC_ALIAS));
        if let Some(client_id) = assigned {
            // [MQTT-3.1.3-7] of 5.0
            properties.push(Property::AssignedClientIdentifier(client_id));
        }
        let asked = asked_lifetime(connect);
        let lifetime = self.capped(asked);
        // [U5-3.2.2-3] of 5.0
        if lifetime != asked {
            properties.push(Property::SessionExpiryInterval(lifetime.as_secs()));
        }
        if limits.max_packet_size > 0 {
            properties.push(Property::MaximumPacketSize(limits.max_packet_size));
        }
        if limits.max_inflight_messages > 0 {
            properties.push(Property::ReceiveMaximum(limits.max_inflight_messages));
        }
        properties
    }

    /// No longer than `persistent_client_expiration`.
    pub(super) fn capped(&self, lifetime: Lifetime) -> Lifetime {
        let Some(most) = self.config.limits.persistent_client_expiration else { return lifetime };
        let most = u32::try_from(most.as_secs()).unwrap_or(u32::MAX - 1);
        match lifetime {
            Lifetime::Connection => lifetime,
            Lifetime::Secs(secs) => Lifetime::from_secs(secs.min(most)),
            Lifetime::Forever => Lifetime::from_secs(most),
        }
    }
}

/// How long a client wants its session kept.
fn asked_lifetime(connect: &Connect) -> Lifetime {
    match connect.properties.session_expiry_interval() {
        _ if !connect.version.is_v5() && connect.clean_start => Lifetime::Connection,
        _ if !connect.version.is_v5() => Lifetime::Forever,
        secs => Lifetime::from_secs(secs.unwrap_or(0)),
    }
}
