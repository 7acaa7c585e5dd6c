//! AUTH (3.15, 4.12), 5.0 only: SCRAM-SHA-256 before CONNACK and, on a connection that came in with
//! it, again at any time. What SCRAM is stands in `auth::scram`.
//!
//! The time to CONNACK is that of a CONNECT: the timer of the connection goes on.

use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;

use crate::broker::auth::scram::{Challenge, Failure, First, METHOD};
use crate::broker::config::ListenerConfig;
use crate::broker::log::LogTypes;
use crate::mqtt::packet::{Auth, Connect};
use crate::mqtt::{Packet, Properties, Property, ReasonCode};
use crate::text::escape;

use super::admission::Refusal;
use super::connection::State;
use super::on_connect::Proof;
use super::phrases::{self, Ending};
use super::session::SessionId;
use super::{ConnId, Engine};

/// How far a connection is with SCRAM.
#[derive(Debug, Default)]
pub(super) enum Enhanced {
    /// Its CONNECT named no method.
    #[default]
    None,
    /// It came in with it.
    Proven,
    /// An exchange is under way.
    Running(Box<Exchange>),
}

/// An exchange that waits for the client.
#[derive(Debug)]
pub(super) struct Exchange {
    /// What is answered when it ends well; `None`: a connection that was let in proves itself again.
    connect: Option<Connect>,
    /// `None`: the client has not said yet who it is.
    challenge: Option<Challenge>,
}

/// Where a message of the client leads to.
enum Step {
    /// An answer with which the exchange goes on.
    Ask(Challenge),
    /// It knows the password: who, and the server's proof.
    Done(ByteString, Bytes),
}

impl Engine {
    /// A CONNECT that names an authentication method. That it is acceptable otherwise was looked at.
    pub(super) fn begin_exchange(&mut self, conn: ConnId, connect: &Connect, method: &str, now: Instant) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let listener = connection.peer.listener;
        let zone = self.config.zone(listener);
        // A certificate has said already who this is, or that it is nobody.
        let listener = self.config.listeners.get(listener);
        let certified = listener.is_some_and(ListenerConfig::names_by_certificate);
        if certified || method != METHOD || self.rules.scram(zone, "", &self.secret).is_none() {
            // [MQTT-4.12.0-1] of 5.0
            let refusal = Refusal { v3: None, v5: ReasonCode::BAD_AUTHENTICATION_METHOD };
            return self.refuse(conn, connect, &refusal, now);
        }
        connection.state = State::Authenticating;
        let data = connect.properties.authentication_data();
        let exchange = Exchange { connect: Some(connect.clone()), challenge: None };
        match data {
            Some(data) => self.step(conn, exchange, &data, now),
            // It wants to be asked.
            None => self.ask(conn, exchange, None),
        }
    }

    /// A packet before CONNACK: AUTH, or goodbye. `[MQTT-3.1.2-30]` of 5.0
    pub(super) fn before_connack(&mut self, conn: ConnId, packet: &Packet, now: Instant) {
        match packet {
            Packet::Auth(auth) => self.on_auth(conn, auth, now),
            Packet::Disconnect(disconnect) => self.close(conn, &Ending::Goodbye(disconnect.reason), now),
            _ => {
                let connection = self.connections.get_mut(conn);
                let enhanced = connection.map(|it| std::mem::take(&mut it.enhanced)).unwrap_or_default();
                self.fail(conn, &enhanced, ReasonCode::PROTOCOL_ERROR, now);
            }
        }
    }

    pub(super) fn on_auth(&mut self, conn: ConnId, auth: &Auth, now: Instant) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let enhanced = std::mem::take(&mut connection.enhanced);
        if self.outputs.logs(LogTypes::DEBUG) {
            let method = auth.properties.authentication_method().unwrap_or_default();
            let (code, method) = (auth.reason.0, escape(&method));
            let line =
                format!("Received AUTH from {} (rc{code}, {method})", self.client_name(conn, &enhanced));
            self.outputs.log(LogTypes::DEBUG, || line);
        }
        // 5: [MQTT-4.12.0-5], [MQTT-4.12.1-1]
        let is_ours = auth.properties.authentication_method().is_some_and(|method| method == METHOD);
        let exchange = match (enhanced, auth.reason) {
            // 5: [MQTT-4.12.0-3]
            (Enhanced::Running(exchange), ReasonCode::CONTINUE_AUTHENTICATION) if is_ours => *exchange,
            (Enhanced::Proven, ReasonCode::REAUTHENTICATE) if is_ours => {
                Exchange { connect: None, challenge: None }
            }
            // 5: [MQTT-4.12.0-7], [MQTT-3.15.2-1], [U5-3.15-1]
            (enhanced, _) => return self.fail(conn, &enhanced, ReasonCode::PROTOCOL_ERROR, now),
        };
        match auth.properties.authentication_data() {
            Some(data) => self.step(conn, exchange, &data, now),
            None if auth.reason == ReasonCode::REAUTHENTICATE => self.ask(conn, exchange, None),
            None => {
                let enhanced = Enhanced::Running(Box::new(exchange));
                self.fail(conn, &enhanced, ReasonCode::PROTOCOL_ERROR, now);
            }
        }
    }

    /// A message of SCRAM.
    fn step(&mut self, conn: ConnId, mut exchange: Exchange, data: &[u8], now: Instant) {
        match self.advance(conn, &exchange, data) {
            Ok(Step::Ask(challenge)) => {
                let message = Bytes::copy_from_slice(challenge.message().as_bytes());
                exchange.challenge = Some(challenge);
                self.ask(conn, exchange, Some(message));
            }
            Ok(Step::Done(username, message)) => {
                if let Some(connection) = self.connections.get_mut(conn) {
                    connection.enhanced = Enhanced::Proven;
                }
                match exchange.connect {
                    Some(connect) => {
                        let connect = Connect { username: Some(username), password: None, ..connect };
                        self.let_in(conn, &connect, Proof::Scram(message), now);
                    }
                    None => self.send_auth(conn, ReasonCode::SUCCESS, Some(message)),
                }
            }
            Err(_) => {
                let enhanced = Enhanced::Running(Box::new(exchange));
                self.fail(conn, &enhanced, ReasonCode::NOT_AUTHORIZED, now);
            }
        }
    }

    /// The exchange goes on. `[MQTT-4.12.0-2]` of 5.0
    fn ask(&mut self, conn: ConnId, exchange: Exchange, message: Option<Bytes>) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.enhanced = Enhanced::Running(Box::new(exchange));
        }
        self.send_auth(conn, ReasonCode::CONTINUE_AUTHENTICATION, message);
    }

    fn advance(&mut self, conn: ConnId, exchange: &Exchange, data: &[u8]) -> Result<Step, Failure> {
        let connection = self.connections.get(conn).ok_or(Failure::Unsupported)?;
        let zone = self.config.zone(connection.peer.listener);
        let Some(challenge) = &exchange.challenge else {
            let first = First::parse(data)?;
            // Who it says elsewhere to be, it has to be.
            let said = match &exchange.connect {
                Some(connect) => connect.username.as_deref(),
                None => connection.session().and_then(|id| self.username(id)),
            };
            if said.is_some_and(|said| said != first.username) {
                return Err(Failure::Unsupported);
            }
            let keys = self.rules.scram(zone, &first.username, &self.secret).ok_or(Failure::Unsupported)?;
            self.exchanges += 1;
            return Ok(Step::Ask(Challenge::new(first, keys, &self.secret.nonce(self.exchanges))));
        };
        let answer = challenge.finish(data)?;
        // The password file may be another since.
        let keys = self.rules.scram(zone, challenge.username(), &self.secret);
        if keys.as_ref() != Some(challenge.keys()) {
            return Err(Failure::Proof);
        }
        Ok(Step::Done(ByteString::from(challenge.username()), Bytes::from(answer)))
    }

    fn username(&self, id: SessionId) -> Option<&str> {
        self.sessions.get(id)?.identity.username.as_deref()
    }

    /// The end of a connection that does not prove itself: CONNACK before it was let in, DISCONNECT
    /// after. `[MQTT-4.12.0-4]`, `[MQTT-4.12.1-2]` of 5.0
    fn fail(&mut self, conn: ConnId, enhanced: &Enhanced, reason: ReasonCode, now: Instant) {
        if let Enhanced::Running(exchange) = enhanced
            && let Some(connect) = &exchange.connect
        {
            return self.refuse(conn, connect, &Refusal { v3: None, v5: reason }, now);
        }
        let ending = match reason {
            ReasonCode::NOT_AUTHORIZED => Ending::NotAuthorised(ByteString::new()),
            reason => Ending::Protocol(reason),
        };
        self.close(conn, &ending, now);
    }

    /// 5: `[MQTT-4.12.0-5]`
    fn send_auth(&mut self, conn: ConnId, reason: ReasonCode, data: Option<Bytes>) {
        if self.outputs.logs(LogTypes::DEBUG) {
            let line = match self.connections.get(conn) {
                Some(connection) => self.client_name(conn, &connection.enhanced),
                None => return,
            };
            self.outputs
                .log(LogTypes::DEBUG, || format!("Sending AUTH to {line} (rc{}, {METHOD})", reason.0));
        }
        let mut properties = Properties::new();
        properties.push(Property::AuthenticationMethod(METHOD.into()));
        if let Some(data) = data {
            properties.push(Property::AuthenticationData(data));
        }
        self.send(conn, Packet::Auth(Auth { reason, properties }));
    }

    /// For the log: the client's identifier, or where it is.
    fn client_name(&self, conn: ConnId, enhanced: &Enhanced) -> String {
        let Some(connection) = self.connections.get(conn) else { return String::new() };
        let asked = match enhanced {
            Enhanced::Running(exchange) => exchange.connect.as_ref().map(|connect| &connect.client_id),
            Enhanced::None | Enhanced::Proven => None,
        };
        let session = connection.session().and_then(|id| self.sessions.get(id));
        let id = asked.or_else(|| session.map(|session| &session.identity.client_id));
        match id.filter(|id| !id.is_empty()) {
            Some(id) => escape(id),
            None => phrases::address(&connection.peer),
        }
    }
}
