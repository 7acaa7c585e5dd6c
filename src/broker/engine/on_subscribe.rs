//! SUBSCRIBE and UNSUBSCRIBE (3.8 to 3.11). As in mosquitto no right is needed to subscribe: the
//! right to read is asked for at each delivery.

use std::time::Instant;

use crate::broker::log::LogTypes;
use crate::mqtt::packet::{
    RetainHandling, SubAck, Subscribe, Subscription, SubscriptionOptions, UnsubAck, Unsubscribe,
};
use crate::mqtt::{Packet, Properties, QoS, ReasonCode, TopicFilter};
use crate::text::escape;

use super::journal::Record;
use super::limits::{FILTERS_A_TURN, MAX_SUBSCRIPTIONS, MAX_TOPIC_SEPARATORS};
use super::on_publish::separators;
use super::phrases::Ending;
use super::publication::owned;
use super::retained::Replay;
use super::session::SessionId;
use super::stats::Limit;
use super::subscriptions::{Grant, sees_sys};
use super::{ConnId, Engine, mount};

/// A SUBSCRIBE or UNSUBSCRIBE that is being worked off, some filters a turn. What comes behind it on
/// its connection waits.
#[derive(Debug)]
pub(super) struct Begun {
    asked: Asked,
    /// One for each filter that was worked off.
    codes: Vec<ReasonCode>,
}

#[derive(Debug)]
enum Asked {
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
}

impl Asked {
    /// As long as the answer will be, as only 5.0 limits it.
    fn answer_of_full_length(&self) -> Packet {
        let (properties, codes) = (Properties::new(), |count| vec![ReasonCode::SUCCESS; count]);
        match self {
            Self::Subscribe(Subscribe { id, subscriptions, .. }) => {
                Packet::SubAck(SubAck { id: *id, properties, codes: codes(subscriptions.len()) })
            }
            Self::Unsubscribe(Unsubscribe { id, filters, .. }) => {
                Packet::UnsubAck(UnsubAck { id: *id, properties, codes: codes(filters.len()) })
            }
        }
    }
}

impl Engine {
    pub(super) fn on_subscribe(&mut self, conn: ConnId, id: SessionId, packet: Subscribe, now: Instant) {
        self.debug(id, |id| format!("Received SUBSCRIBE from {id}"));
        let prefix = self.connections.get(conn).and_then(|it| it.mount.as_deref());
        let mounted = prefix.map_or(0, separators);
        for Subscription { filter, options } in &packet.subscriptions {
            if separators(filter.as_str()) + mounted > MAX_TOPIC_SEPARATORS {
                return self.close(conn, &Ending::Malformed(ReasonCode::TOPIC_FILTER_INVALID), now);
            }
            // [MQTT-3.8.3-4] of 5.0
            if options.no_local && filter.shared().is_some() {
                return self.close(conn, &Ending::Protocol(ReasonCode::PROTOCOL_ERROR), now);
            }
        }
        if packet.subscriptions.iter().any(|it| sees_sys(&it.filter)) {
            self.refresh_sys(now);
        }
        self.begin(conn, Asked::Subscribe(packet), now);
    }

    pub(super) fn on_unsubscribe(&mut self, conn: ConnId, id: SessionId, packet: Unsubscribe, now: Instant) {
        self.debug(id, |id| format!("Received UNSUBSCRIBE from {id}"));
        self.begin(conn, Asked::Unsubscribe(packet), now);
    }

    fn begin(&mut self, conn: ConnId, asked: Asked, now: Instant) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        // Without the answer the client would wait for ever: better it is not begun.
        // 5: [MQTT-3.1.2-24], [MQTT-3.8.4-1], [MQTT-3.10.4-4]
        if connection.max_packet_size.is_some() && !connection.takes(&asked.answer_of_full_length()) {
            return self.close(conn, &Ending::Oversize, now);
        }
        connection.begun = Some(Box::new(Begun { asked, codes: Vec::new() }));
        self.outputs.wake(conn, connection);
        self.go_on(conn, now);
    }

    /// Works off some filters of what is begun, and answers once all are.
    /// [MQTT-3.8.4-4], [MQTT-3.8.4-5], [MQTT-3.9.3-1], [MQTT-3.10.4-6]
    /// 5: [MQTT-3.8.4-5], [MQTT-3.8.4-6], [MQTT-3.8.4-7], [MQTT-3.9.3-1], [MQTT-3.11.3-2]
    pub(super) fn go_on(&mut self, conn: ConnId, now: Instant) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let Some(mut begun) = connection.begun.take() else { return };
        let Some(id) = connection.session() else { return };
        let prefix = connection.mount.clone();
        let prefix = prefix.as_deref();
        let (most, bridge) = (connection.max_qos, connection.bridge);
        let Begun { asked, codes } = &mut *begun;
        let end = codes.len() + FILTERS_A_TURN;
        let total = match asked {
            Asked::Subscribe(packet) => {
                let subscription_id = packet.properties.subscription_identifier();
                for Subscription { filter, options } in
                    packet.subscriptions.iter().take(end).skip(codes.len())
                {
                    let options = lowered(*options, filter, most, bridge);
                    let code = match prefix.map(|prefix| mount::filter(prefix, filter)) {
                        None => self.subscribe(id, filter, options, subscription_id),
                        Some(Some(inside)) => self.subscribe(id, &inside, options, subscription_id),
                        Some(None) => ReasonCode::TOPIC_FILTER_INVALID,
                    };
                    codes.push(code);
                }
                packet.subscriptions.len()
            }
            Asked::Unsubscribe(packet) => {
                for filter in packet.filters.iter().take(end).skip(codes.len()) {
                    let code = match prefix.map(|prefix| mount::filter(prefix, filter)) {
                        None => self.unsubscribe(id, filter),
                        Some(Some(inside)) => self.unsubscribe(id, &inside),
                        Some(None) => ReasonCode::NO_SUBSCRIPTION_EXISTED,
                    };
                    codes.push(code);
                }
                packet.filters.len()
            }
        };
        if codes.len() == total {
            return self.answer(conn, id, *begun, now);
        }
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.begun = Some(begun);
        }
    }

    /// SUBACK or UNSUBACK. [MQTT-2.3.1-7] 5: [MQTT-2.2.1-6]
    fn answer(&mut self, conn: ConnId, id: SessionId, Begun { asked, mut codes }: Begun, now: Instant) {
        let v5 = self.sessions.get(id).is_some_and(|session| session.version.is_v5());
        let properties = Properties::new();
        match asked {
            Asked::Subscribe(packet) => {
                self.debug(id, |id| format!("Sending SUBACK to {id}"));
                if !v5 {
                    // The only failure there is before 5.0. [MQTT-3.9.3-2]
                    codes.iter_mut().filter(|code| !code.is_success()).for_each(|code| {
                        *code = ReasonCode::UNSPECIFIED_ERROR;
                    });
                }
                // [MQTT-3.8.4-1], [MQTT-3.8.4-2]
                self.send(conn, Packet::SubAck(SubAck { id: packet.id, properties, codes }));
                // What is retained comes behind SUBACK. [U311-3.8.4-1]
                self.replay(id, now);
            }
            Asked::Unsubscribe(packet) => {
                self.debug(id, |id| format!("Sending UNSUBACK to {id}"));
                // [MQTT-3.10.4-4], [MQTT-3.10.4-5] 5: [MQTT-3.11.3-1]
                let codes = if v5 { codes } else { Vec::new() };
                self.send(conn, Packet::UnsubAck(UnsubAck { id: packet.id, properties, codes }));
            }
        }
    }

    /// One filter of a SUBSCRIBE; the code for it.
    fn subscribe(
        &mut self,
        id: SessionId,
        filter: &TopicFilter,
        options: SubscriptionOptions,
        subscription_id: Option<u32>,
    ) -> ReasonCode {
        self.outputs.log(LogTypes::DEBUG, || format!("\t{} (QoS {})", escape(filter.as_str()), options.qos));
        let short = self.config.limits.memory_limit.is_some() && self.lacks_room(filter.as_str().len());
        let Some(session) = self.sessions.get_mut(id) else { return ReasonCode::UNSPECIFIED_ERROR };
        let filter = match session.subscriptions.get_key_value(filter) {
            Some((filter, _)) => filter.clone(),
            None if short || session.subscriptions.len() >= MAX_SUBSCRIPTIONS => {
                self.stats.refused.add(if short { Limit::Memory } else { Limit::Subscriptions });
                return ReasonCode::QUOTA_EXCEEDED;
            }
            // A copy, so that the buffer it was read into can go.
            None => match TopicFilter::new(owned(filter.as_byte_string())) {
                Ok(filter) => filter,
                Err(_) => return ReasonCode::TOPIC_FILTER_INVALID,
            },
        };
        let grant = Grant::new(options, subscription_id);
        let new = self.subscriptions.insert(id, &filter, grant);
        self.journal
            .pen(session.journal_key())
            .add(|key| Record::Subscribed(key, filter.clone(), options, subscription_id));
        let client_id = &session.identity.client_id;
        self.outputs.log(LogTypes::SUBSCRIBE, || {
            format!("{} {} {}", escape(client_id), options.qos, escape(filter.as_str()))
        });
        // [MQTT-3.3.1-6], [MQTT-3.8.4-3] 5: [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11],
        // [MQTT-3.8.4-4], [U5-3.8.4-1]
        let wanted = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => new,
            RetainHandling::DoNotSend => false,
        };
        if wanted && filter.shared().is_none() {
            self.tickets += 1;
            session.subscriptions.insert(filter.clone(), self.tickets);
            session.add_replay(Replay::new(filter, grant, self.tickets, self.serial));
        } else if new {
            session.subscriptions.insert(filter, 0);
        }
        ReasonCode(options.qos.as_u8())
    }

    fn unsubscribe(&mut self, id: SessionId, filter: &TopicFilter) -> ReasonCode {
        self.outputs.log(LogTypes::DEBUG, || format!("\t{}", escape(filter.as_str())));
        let Some(session) = self.sessions.get_mut(id) else { return ReasonCode::UNSPECIFIED_ERROR };
        let client_id = &session.identity.client_id;
        self.outputs
            .log(LogTypes::UNSUBSCRIBE, || format!("{} {}", escape(client_id), escape(filter.as_str())));
        // What is on its way is finished. [MQTT-3.10.4-1], [MQTT-3.10.4-2], [MQTT-3.10.4-3]
        // 5: [U5-3.11.3-1]
        if session.subscriptions.remove(filter).is_some() && self.subscriptions.remove(id, filter) {
            self.journal.pen(session.journal_key()).add(|key| Record::Unsubscribed(key, filter.clone()));
            ReasonCode::SUCCESS
        } else {
            ReasonCode::NO_SUBSCRIPTION_EXISTED
        }
    }
}

/// What is granted of what was asked: no higher QoS than the listener has, [MQTT-3.2.2-10] of 5.0. A
/// broker gets back nothing of what it sent, and messages as they were published, as mosquitto treats
/// those that say so in their protocol level.
fn lowered(asked: SubscriptionOptions, filter: &TopicFilter, most: QoS, bridge: bool) -> SubscriptionOptions {
    let bridge = bridge && filter.shared().is_none();
    SubscriptionOptions {
        qos: asked.qos.min(most),
        no_local: asked.no_local || bridge,
        retain_as_published: asked.retain_as_published || bridge,
        ..asked
    }
}
