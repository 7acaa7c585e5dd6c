//! CONNECT and CONNACK (3.1, 3.2): who is let in, with which session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;

use crate::broker::auth::AuthFailure;
use crate::broker::auth::scram::METHOD;
use crate::broker::config::{Compat, INSIDE};
use crate::broker::log::LogTypes;
use crate::mqtt::packet::{ConnAck, Connect};
use crate::mqtt::{Packet, Properties, Property, ProtocolVersion, QoS, ReasonCode};
use crate::text::escape;

use super::admission::{self, ID_REJECTED, Named, Refusal};
use super::alias::{Aliases, OwnAliases};
use super::connection::State;
use super::deadline::Timer;
use super::phrases::{self, Ending};
use super::publication::owned;
use super::random::Random;
use super::session::{Identity, Lifetime, Session, SessionId, Sessions};
use super::stats::Limit;
use super::{ConnId, Engine, Peer, will};

/// What shows that a client is who it says.
#[derive(Debug)]
pub(super) enum Proof {
    /// The rules were asked.
    Rules(Result<(), AuthFailure>),
    /// An exchange ended well: what CONNACK says of it.
    Scram(Bytes),
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
            State::Connected(_) | State::Authenticating => {
                return self.close(conn, &Ending::Protocol(ReasonCode::PROTOCOL_ERROR), now);
            }
            State::Closing => return,
        }
        connection.version = Some(connect.version);
        connection.last_heard = now;
        connection.max_packet_size = connect.properties.maximum_packet_size();
        let index = connection.peer.listener;
        let listener = self.config.listeners.get(index);
        // [MQTT-3.1.2-26], [MQTT-3.1.2-27] of 5.0; mosquitto has them since 2.1.
        let most = match listener {
            Some(listener) if self.config.compat == Compat::V21 => listener.max_topic_alias_broker,
            _ => 0,
        };
        connection.own_aliases =
            OwnAliases::new(connect.properties.topic_alias_maximum().unwrap_or(0).min(most));
        if let Some(method) = connect.properties.authentication_method() {
            // Where certificates name the users, a password names nobody.
            let auth = auth.or_else(|why| if why == AuthFailure::NoIdentity { Err(why) } else { Ok(()) });
            return match admission::admit(&self.config, listener, connect, auth) {
                Ok(()) => self.begin_exchange(conn, connect, &method, now),
                Err(refusal) => self.refuse(conn, connect, &refusal, now),
            };
        }
        self.let_in(conn, connect, Proof::Rules(auth), now);
    }

    /// A CONNECT whose sender is who it says, if `proof` says so.
    pub(super) fn let_in(&mut self, conn: ConnId, connect: &Connect, proof: Proof, now: Instant) {
        let Some(connection) = self.connections.get(conn) else { return };
        let Peer { listener: index, bridge, .. } = connection.peer;
        let listener = self.config.listeners.get(index);
        let (auth, answer) = match proof {
            Proof::Rules(auth) => (auth, None),
            Proof::Scram(answer) => (Ok(()), Some(answer)),
        };
        let zone = self.config.zone(index);
        let security = self.config.security.get(zone);
        let (random, sessions) = (&mut self.random, &self.sessions);
        let named = admission::admit(&self.config, listener, connect, auth).and_then(|()| {
            admission::name(&self.config, listener, security, connect, |prefix| {
                invent_client_id(random, sessions, prefix)
            })
        });
        let named = match named.and_then(|named| self.admit_session(named, bridge)) {
            Ok(named) => named,
            Err(refusal) => return self.refuse(conn, connect, &refusal, now),
        };
        let properties = match connect.version {
            ProtocolVersion::V5 => self.connack_properties(connect, index, &named, answer),
            _ => Properties::new(),
        };
        let answer = ConnAck { session_present: false, code: ReasonCode::SUCCESS, properties };
        // [MQTT-3.1.2-24] of 5.0
        if self.connections.get(conn).is_none_or(|it| !it.takes(&Packet::ConnAck(answer.clone()))) {
            return self.close(conn, &Ending::Oversize, now);
        }
        let username = connect.username.as_ref().map(owned);
        let identity = Arc::new(Identity { client_id: named.client_id, username, listener: index, zone });
        let (session, present) = self.claim_session(identity, connect, now);
        self.attach(conn, session, connect, now);
        self.welcome(conn, session, connect, present, answer);
        // [MQTT-4.4.0-1]
        self.fill(session, now);
    }

    /// What stands before all topics of this listener's clients.
    fn mount_point(&self, listener: usize) -> Option<&str> {
        self.config.listeners.get(listener)?.mount_point.as_deref().filter(|prefix| !prefix.is_empty())
    }

    /// Whether a client may have the session of this name.
    fn admit_session(&mut self, named: Named, bridge: bool) -> Result<Named, Refusal> {
        let session = self.sessions.find(&named.client_id).and_then(|id| self.sessions.get(id));
        // A session of a bridge of ours: mosquitto would let anybody take a bridge's messages.
        if !bridge && session.is_some_and(|session| session.identity.listener == INSIDE) {
            return Err(ID_REJECTED);
        }
        // `global_max_clients`: a client that has a session comes in all the same.
        let most = self.config.limits.global_max_clients.filter(|_| !bridge && session.is_none());
        if most.is_some_and(|most| self.sessions.len() >= most as usize) {
            self.stats.refused.add(Limit::Clients);
            // mosquitto tells 5.0 only; the older versions have a code for it too.
            return Err(Refusal { v3: Some(ReasonCode::V3_SERVER_UNAVAILABLE), v5: ReasonCode::SERVER_BUSY });
        }
        Ok(named)
    }

    pub(super) fn refuse(&mut self, conn: ConnId, connect: &Connect, refusal: &Refusal, now: Instant) {
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
            ReasonCode::NOT_AUTHORIZED | ReasonCode::BAD_USER_NAME_OR_PASSWORD => {
                Ending::NotAuthorised(owned(&connect.client_id))
            }
            ReasonCode::PROTOCOL_ERROR => Ending::Protocol(refusal.v5),
            ReasonCode::PACKET_TOO_LARGE => Ending::Oversize,
            code => Ending::Refused(code),
        };
        self.close(conn, &ending, now);
    }

    /// The session of a client, and whether it went on from before. `[MQTT-3.1.2-4]`,
    /// `[MQTT-3.1.2-6]`, `[MQTT-3.1.4-3]` 5: `[MQTT-3.1.2-4]`, `[MQTT-3.1.2-5]`,
    /// `[MQTT-3.1.2-6]`, `[MQTT-3.1.4-4]`
    fn claim_session(
        &mut self,
        identity: Arc<Identity>,
        connect: &Connect,
        now: Instant,
    ) -> (SessionId, bool) {
        if let Some(old) = self.sessions.find(&identity.client_id) {
            // [MQTT-3.1.4-2] 5: [MQTT-3.1.4-3], [U5-3.1.4-2]
            if let Some(conn) = self.sessions.get(old).and_then(|session| session.conn) {
                self.close(conn, &Ending::TakenOver, now);
            }
            let prefix = self.mount_point(identity.listener);
            // Under another mount point its subscriptions are to what the client does not see.
            let (same_user, same_topics) = self.sessions.get(old).map_or((true, true), |session| {
                let (was, is) = (session.identity.subject(), identity.subject());
                let same_user = was.user() == is.user() || identity.listener == INSIDE;
                (same_user, self.mount_point(session.identity.listener) == prefix)
            });
            if !connect.clean_start && !same_user {
                // The standard knows no users: it leaves to the server how long it keeps a session.
                // mosquitto hands this one over, with all that waits in it for somebody else.
                self.outputs.log(LogTypes::NOTICE, || {
                    let id = escape(&identity.client_id);
                    format!("Client {id} had a session of another user, which was discarded.")
                });
            }
            if connect.clean_start || !same_user || !same_topics {
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
        let most_bytes = self.config.limits.max_inflight_bytes;
        let listener = self.connections.get(conn).map(|connection| connection.peer.listener);
        let prefix = listener.and_then(|listener| self.mount_point(listener).map(str::to_owned));
        if let Some(session) = self.sessions.get_mut(id) {
            session.inflight.limit_bytes(most_bytes);
            session.conn = Some(conn);
            session.asked_lifetime = asked;
            // [MQTT-3.1.2-23], [U5-3.1.2-3] of 5.0
            session.lifetime = lifetime;
            // [MQTT-4.9.0-1], [U5-3.1.2-4] of 5.0
            session.window = own_limit.min(connect.properties.receive_maximum().unwrap_or(u16::MAX));
            // [MQTT-3.1.2-8], [MQTT-3.1.2-12] 5: [MQTT-3.1.2-7]
            let will = connect.will.as_ref().map(|will| Box::new(will::keep(will, prefix.as_deref())));
            let had_will = std::mem::replace(&mut session.will, will).is_some();
            if self.journal.is_on() {
                if session.key == 0 {
                    session.key = self.journal.new_key();
                }
                session.durable |= lifetime != Lifetime::Connection;
                self.record_presence(id);
                self.record_will(id, had_will);
            }
        }
        let keep_alive = if bridge { connect.keep_alive } else { self.keep_alive(connect) };
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if let Some(listener) = self.config.listeners.get(connection.peer.listener) {
            connection.aliases = Aliases::new(listener.max_topic_alias);
            connection.max_qos = listener.max_qos;
            connection.mount = prefix.as_deref().map(Arc::from);
        }
        connection.bridge = connect.bridge;
        connection.state = State::Connected(id);
        connection.receive_maximum = own_limit;
        // [MQTT-3.1.2-24] 5: [MQTT-3.1.2-22], [MQTT-3.2.2-22]
        connection.patience = (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1500));
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
        }
        if let Some(negotiated) = connection.secured.take()
            && self.config.compat == Compat::V21
        {
            let line = || format!("Client {} negotiated {negotiated}", escape(&client_id));
            self.outputs.log(LogTypes::NOTICE, line);
        }
        if !bridge && self.outputs.logs(LogTypes::DEBUG) {
            self.outputs.log(LogTypes::DEBUG, || {
                format!("Sending CONNACK to {} ({}, 0)", escape(&client_id), u8::from(session_present))
            });
        }
        connection.send(Packet::ConnAck(ConnAck { session_present, ..answer }));
        self.outputs.wake(conn, connection);
    }

    /// Seconds that a client may be silent: what it asked, or what `max_keepalive` says if that is
    /// shorter. Older clients are not let in with a longer one. `[MQTT-3.1.2-21]` of 5.0
    fn keep_alive(&self, connect: &Connect) -> u16 {
        match (self.config.limits.max_keepalive, connect.keep_alive) {
            (0, asked) => asked,
            (longest, 0) => longest,
            (longest, asked) => asked.min(longest),
        }
    }

    /// In mosquitto's order. Response Information (0x1A) is not among them: the standard leaves it to
    /// the server even where a client asks for it, and mosquitto has none. Nor is there a reason
    /// string or a user property in this or any other packet of ours, so that a client that wants no
    /// problem information is obeyed too. `[MQTT-3.1.2-28]`, `[MQTT-3.1.2-29]`, `[MQTT-3.2.2-19]`,
    /// `[U5-3.2.2-1]`
    fn connack_properties(
        &self,
        connect: &Connect,
        listener: usize,
        named: &Named,
        proof: Option<Bytes>,
    ) -> Properties {
        let limits = &self.config.limits;
        let listener = self.config.listeners.get(listener);
        let mut properties = Properties::new();
        let keep_alive = self.keep_alive(connect);
        if keep_alive != connect.keep_alive {
            properties.push(Property::ServerKeepAlive(keep_alive));
        }
        if let Some(most) = listener.map(|it| it.max_topic_alias).filter(|most| *most > 0) {
            properties.push(Property::TopicAliasMaximum(most));
        }
        if named.assigned {
            // [MQTT-3.1.3-7] of 5.0
            properties.push(Property::AssignedClientIdentifier(named.client_id.clone()));
        }
        // [MQTT-4.12.0-5], [MQTT-4.12.0-6] of 5.0
        if let Some(proof) = proof {
            properties.push(Property::AuthenticationMethod(METHOD.into()));
            properties.push(Property::AuthenticationData(proof));
        }
        let asked = asked_lifetime(connect);
        let lifetime = self.capped(asked);
        // [U5-3.2.2-3] of 5.0
        if lifetime != asked {
            properties.push(Property::SessionExpiryInterval(lifetime.as_secs()));
        }
        if !limits.retain_available {
            properties.push(Property::RetainAvailable(0));
        }
        if limits.max_packet_size > 0 {
            properties.push(Property::MaximumPacketSize(limits.max_packet_size));
        }
        if limits.max_inflight_messages > 0 {
            properties.push(Property::ReceiveMaximum(limits.max_inflight_messages));
        }
        // [MQTT-3.2.2-9] of 5.0
        if let Some(most) = listener.map(|it| it.max_qos).filter(|most| *most < QoS::ExactlyOnce) {
            properties.push(Property::MaximumQoS(most.as_u8()));
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

/// [MQTT-3.1.3-6] 5: [MQTT-3.1.3-6], [MQTT-3.2.2-16]
fn invent_client_id(random: &mut Random, sessions: &Sessions, prefix: &str) -> ByteString {
    loop {
        let (a, b) = (random.next(), random.next());
        let id = format!(
            "{prefix}{:08X}-{:04X}-{:04X}-{:04X}-{:012X}",
            a >> 32,
            a >> 16 & 0xffff,
            // Version 4 and variant 1 of a UUID.
            a & 0x0fff | 0x4000,
            b >> 48 & 0x3fff | 0x8000,
            b & 0xffff_ffff_ffff
        );
        if sessions.find(&id).is_none() {
            return ByteString::from(id);
        }
    }
}
