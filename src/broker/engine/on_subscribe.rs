//! SUBSCRIBE and UNSUBSCRIBE (3.8 to 3.11). As in mosquitto no right is needed to subscribe: the
//! right to read is asked for at each delivery.

use std::time::Instant;

use crate::broker::log::LogTypes;
use crate::mqtt::packet::{RetainHandling, SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe};
use crate::mqtt::{Packet, Properties, QoS, ReasonCode, TopicFilter};
use crate::text::escape;

use super::journal::Record;
use super::limits::{MAX_SUBSCRIPTIONS, MAX_TOPIC_SEPARATORS};
use super::on_publish::separators;
use super::phrases::Ending;
use super::publication::owned;
use super::retained::Replay;
use super::session::SessionId;
use super::subscriptions::{Grant, sees_sys};
use super::{ConnId, Engine};

impl Engine {
    pub(super) fn on_subscribe(&mut self, conn: ConnId, id: SessionId, packet: &Subscribe, now: Instant) {
        self.debug(id, |id| format!("Received SUBSCRIBE from {id}"));
        for Subscription { filter, options } in &packet.subscriptions {
            if separators(filter.as_str()) > MAX_TOPIC_SEPARATORS {
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
        let subscription_id = packet.properties.subscription_identifier();
        // [MQTT-3.8.4-4], [MQTT-3.8.4-5], [MQTT-3.9.3-1] 5: [MQTT-3.8.4-5], [MQTT-3.8.4-6],
        // [MQTT-3.8.4-7], [MQTT-3.9.3-1]
        let (most, bridge) =
            self.connections.get(conn).map_or((QoS::ExactlyOnce, false), |it| (it.max_qos, it.bridge));
        let codes = packet
            .subscriptions
            .iter()
            .map(|Subscription { filter, options }| {
                let mut options = *options;
                // [MQTT-3.2.2-10] of 5.0: granted lower, not refused.
                options.qos = options.qos.min(most);
                if bridge && filter.shared().is_none() {
                    // A broker gets back nothing of what it sent, and messages as they were
                    // published, as mosquitto treats those that say so in their protocol level.
                    options.no_local = true;
                    options.retain_as_published = true;
                }
                self.subscribe(id, &Subscription { filter: filter.clone(), options }, subscription_id)
            })
            .collect();
        self.debug(id, |id| format!("Sending SUBACK to {id}"));
        // [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-2.3.1-7] 5: [MQTT-2.2.1-6]
        self.send(conn, Packet::SubAck(SubAck { id: packet.id, properties: Properties::new(), codes }));
        // What is retained comes behind SUBACK. [U311-3.8.4-1]
        self.replay(id, now);
    }

    /// One filter of a SUBSCRIBE; the code for it.
    fn subscribe(&mut self, id: SessionId, asked: &Subscription, subscription_id: Option<u32>) -> ReasonCode {
        let Subscription { filter, options } = asked;
        self.outputs.log(LogTypes::DEBUG, || format!("\t{} (QoS {})", escape(filter.as_str()), options.qos));
        let Some(session) = self.sessions.get_mut(id) else { return ReasonCode::UNSPECIFIED_ERROR };
        let filter = match session.subscriptions.get_key_value(filter) {
            Some((filter, _)) => filter.clone(),
            None if session.subscriptions.len() >= MAX_SUBSCRIPTIONS => {
                self.stats.refused.subscriptions += 1;
                let v5 = session.version.is_v5();
                return if v5 { ReasonCode::QUOTA_EXCEEDED } else { ReasonCode::UNSPECIFIED_ERROR };
            }
            // A copy, so that the buffer it was read into can go.
            None => match TopicFilter::new(owned(filter.as_byte_string())) {
                Ok(filter) => filter,
                Err(_) => return ReasonCode::TOPIC_FILTER_INVALID,
            },
        };
        let grant = Grant::new(*options, subscription_id);
        let new = self.subscriptions.insert(id, &filter, grant);
        self.journal
            .pen(session.journal_key())
            .add(|key| Record::Subscribed(key, filter.clone(), *options, subscription_id));
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

    pub(super) fn on_unsubscribe(&mut self, conn: ConnId, id: SessionId, packet: &Unsubscribe) {
        self.debug(id, |id| format!("Received UNSUBSCRIBE from {id}"));
        let codes: Vec<_> = packet.filters.iter().map(|filter| self.unsubscribe(id, filter)).collect();
        self.debug(id, |id| format!("Sending UNSUBACK to {id}"));
        // [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.10.4-6], [MQTT-2.3.1-7]
        // 5: [MQTT-2.2.1-6], [MQTT-3.11.3-1], [MQTT-3.11.3-2]
        let v5 = self.sessions.get(id).is_some_and(|session| session.version.is_v5());
        let codes = if v5 { codes } else { Vec::new() };
        self.send(conn, Packet::UnsubAck(UnsubAck { id: packet.id, properties: Properties::new(), codes }));
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
