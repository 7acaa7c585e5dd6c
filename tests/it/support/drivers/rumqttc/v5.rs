//! rumqttc's client for MQTT 5.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAckProperties, ConnectReturnCode, Filter, LastWill, LastWillProperties, Packet, PubAckReason,
    PubCompReason, Publish, PublishProperties, RetainForwardRule, SubscribeProperties, SubscribeReasonCode,
    UnsubAckReason,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{Outgoing, Transport};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::{Told, shown, text};

/// Bytes of the largest packet.
const LARGEST: u32 = 4_000_000;

/// Messages that nobody has acknowledged, where that is not for the library to do.
type Open = Arc<Mutex<Vec<Publish>>>;

pub(super) struct Client {
    client: AsyncClient,
    open: Open,
}

pub(super) fn start(command: &Value, path: &str) -> (super::Client, UnboundedReceiver<Told>, JoinHandle<()>) {
    let mut options = MqttOptions::new(text(command, "id"), path, 0);
    let properties = &command["properties"];
    options.set_transport(Transport::unix());
    options.set_keep_alive(Duration::from_secs(command["keepAlive"].as_u64().unwrap_or(60)));
    options.set_clean_start(command["clean"] == true);
    options.set_manual_acks(command["manual"] == true);
    // It refuses what is larger than it has told, which is 10 KiB if it has told nothing.
    options.set_max_packet_size(Some(number(properties, "MaximumPacketSize").unwrap_or(LARGEST)));
    options.set_session_expiry_interval(number(properties, "SessionExpiryInterval"));
    options.set_receive_maximum(number(properties, "ReceiveMaximum"));
    options.set_topic_alias_max(number(properties, "TopicAliasMaximum"));
    if command["user"].is_string() {
        options.set_credentials(text(command, "user"), text(command, "password"));
    }
    let will = &command["will"];
    if will.is_object() {
        let (topic, payload) = (text(will, "topic"), text(will, "payload"));
        let properties = LastWillProperties {
            delay_interval: number(&will["properties"], "WillDelayInterval"),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: optional(&will["properties"], "ContentType"),
            response_topic: None,
            correlation_data: None,
            user_properties: pairs(&will["properties"]),
        };
        let retain = will["retain"] == true;
        options.set_last_will(LastWill::new(topic, payload, quality(will), retain, Some(properties)));
    }
    let (client, events) = AsyncClient::new(options, 10);
    let (sender, told) = unbounded_channel();
    let open = Open::default();
    let polling = tokio::spawn(poll(events, sender, Arc::clone(&open)));
    (super::Client::V5(Client { client, open }), told, polling)
}

fn number<T: TryFrom<u64>>(properties: &Value, name: &str) -> Option<T> {
    properties[name].as_u64().and_then(|number| T::try_from(number).ok())
}

fn optional(properties: &Value, name: &str) -> Option<String> {
    properties[name].as_str().map(str::to_owned)
}

fn pairs(properties: &Value) -> Vec<(String, String)> {
    let pair = |pair: &Value| {
        let text = |index: usize| pair[index].as_str().expect("a string").to_owned();
        (text(0), text(1))
    };
    properties["UserProperty"].as_array().map(|all| all.iter().map(pair).collect()).unwrap_or_default()
}

fn quality(command: &Value) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        [usize::try_from(command["qos"].as_u64().expect("a number")).expect("small")]
}

fn refusal(code: ConnectReturnCode) -> u8 {
    match code {
        ConnectReturnCode::Success => 0,
        ConnectReturnCode::BadUserNamePassword => 0x86,
        ConnectReturnCode::NotAuthorized => 0x87,
        _ => 0x80,
    }
}

/// Until the first error: after it the library would connect again.
async fn poll(mut events: EventLoop, sender: UnboundedSender<Told>, open: Open) {
    loop {
        let told = match events.poll().await {
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let told = Told::Message(message(&publish));
                open.lock().unwrap_or_else(PoisonError::into_inner).push(publish);
                Some(told)
            }
            Ok(event) => told(event),
            Err(error) => {
                let code = match &error {
                    ConnectionError::ConnectionRefused(code) => Some(refusal(*code)),
                    ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
                        Some(*reason_code as u8)
                    }
                    _ => None,
                };
                // Nobody may listen any longer.
                let _ = sender.send(Told::Ended(code, error.to_string()));
                return;
            }
        };
        if told.is_some_and(|told| sender.send(told).is_err()) {
            return;
        }
    }
}

fn told(event: Event) -> Option<Told> {
    Some(match event {
        Event::Incoming(Packet::ConnAck(connack)) => Told::In(json!({
            "code": refusal(connack.code),
            "present": connack.session_present,
            "properties": connack.properties.as_ref().map_or(Value::Null, granted),
        })),
        Event::Incoming(Packet::PubAck(puback)) => Told::Published(match puback.reason {
            PubAckReason::Success => 0,
            PubAckReason::NoMatchingSubscribers => 0x10,
            PubAckReason::NotAuthorized => 0x87,
            _ => 0x80,
        }),
        Event::Incoming(Packet::PubComp(pubcomp)) => {
            Told::Published(if pubcomp.reason == PubCompReason::Success { 0 } else { 0x92 })
        }
        Event::Outgoing(Outgoing::Publish(0)) => Told::Published(0),
        Event::Incoming(Packet::SubAck(suback)) => Told::Codes(
            suback
                .return_codes
                .iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(qos) => *qos as u8,
                    _ => 0x80,
                })
                .collect(),
        ),
        Event::Incoming(Packet::UnsubAck(unsuback)) => Told::Codes(
            unsuback
                .reasons
                .iter()
                .map(|reason| match reason {
                    UnsubAckReason::Success => 0,
                    UnsubAckReason::NoSubscriptionExisted => 0x11,
                    _ => 0x80,
                })
                .collect(),
        ),
        _ => return None,
    })
}

fn granted(properties: &ConnAckProperties) -> Value {
    json!({
        "AssignedClientIdentifier": properties.assigned_client_identifier,
        "ServerKeepAlive": properties.server_keep_alive,
        "MaximumPacketSize": properties.max_packet_size,
        "ReceiveMaximum": properties.receive_max,
        "TopicAliasMaximum": properties.topic_alias_max,
    })
}

fn message(publish: &Publish) -> Value {
    let properties = publish.properties.clone().unwrap_or_default();
    let some = |list: Value| if list == json!([]) { Value::Null } else { list };
    json!({
        "topic": shown(&publish.topic),
        "payload": shown(&publish.payload),
        "qos": publish.qos as u8,
        "retain": publish.retain,
        "properties": {
            "ContentType": properties.content_type,
            "ResponseTopic": properties.response_topic,
            "CorrelationData": properties.correlation_data.map(|data| shown(&data)),
            "UserProperty": some(json!(properties.user_properties)),
            "PayloadFormatIndicator": properties.payload_format_indicator,
            "MessageExpiryInterval": properties.message_expiry_interval,
            "SubscriptionIdentifier": some(json!(properties.subscription_identifiers)),
            "TopicAlias": properties.topic_alias,
        },
    })
}

impl Client {
    pub(super) async fn obey(&mut self, verb: &str, command: &Value) {
        let client = &self.client;
        let asked = match verb {
            "subscribe" => {
                let filter = Filter {
                    path: text(command, "filter").to_owned(),
                    qos: quality(command),
                    nolocal: command["noLocal"] == true,
                    preserve_retain: command["retainAsPublished"] == true,
                    retain_forward_rule: match command["retainHandling"].as_u64() {
                        Some(1) => RetainForwardRule::OnNewSubscribe,
                        Some(2) => RetainForwardRule::Never,
                        _ => RetainForwardRule::OnEverySubscribe,
                    },
                };
                let id = number(command, "identifier");
                let properties = SubscribeProperties { id, user_properties: Vec::new() };
                client.subscribe_many_with_properties([filter], properties).await
            }
            "unsubscribe" => client.unsubscribe(text(command, "filter")).await,
            "publish" => {
                let (topic, payload) = (text(command, "topic"), text(command, "payload").to_owned());
                let (qos, retain) = (quality(command), command["retain"] == true);
                let properties = published(&command["properties"]);
                client.publish_with_properties(topic, qos, retain, payload, properties).await
            }
            "acknowledge" => {
                let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
                for publish in open {
                    client.ack(&publish).await.expect("the event loop runs");
                }
                Ok(())
            }
            "disconnect" => client.disconnect().await,
            other => panic!("rumqttc for 5 has no {other}"),
        };
        asked.expect("the event loop runs");
    }
}

fn published(properties: &Value) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: number(properties, "PayloadFormatIndicator"),
        message_expiry_interval: number(properties, "MessageExpiryInterval"),
        topic_alias: number(properties, "TopicAlias"),
        response_topic: optional(properties, "ResponseTopic"),
        correlation_data: optional(properties, "CorrelationData").map(Bytes::from),
        user_properties: pairs(properties),
        subscription_identifiers: Vec::new(),
        content_type: optional(properties, "ContentType"),
    }
}
