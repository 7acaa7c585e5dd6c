//! rumqttc's client for MQTT 3.1.1.

use std::time::Duration;

use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet};
use rumqttc::{QoS, SubscribeReasonCode, Transport};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::{Told, shown, text};

/// Bytes of the largest packet.
const LARGEST: usize = 4_000_000;

pub(super) struct Client(AsyncClient);

pub(super) fn start(command: &Value, path: &str) -> (super::Client, UnboundedReceiver<Told>, JoinHandle<()>) {
    let mut options = MqttOptions::new(text(command, "id"), path, 0);
    options.set_transport(Transport::unix());
    options.set_keep_alive(Duration::from_secs(60));
    options.set_clean_session(command["clean"] == true);
    options.set_max_packet_size(LARGEST, LARGEST);
    if command["user"].is_string() {
        options.set_credentials(text(command, "user"), text(command, "password"));
    }
    let will = &command["will"];
    if will.is_object() {
        let (topic, payload) = (text(will, "topic"), text(will, "payload"));
        options.set_last_will(LastWill::new(topic, payload, quality(will), will["retain"] == true));
    }
    let (client, events) = AsyncClient::new(options, 10);
    let (sender, told) = unbounded_channel();
    (super::Client::V4(Client(client)), told, tokio::spawn(poll(events, sender)))
}

fn quality(command: &Value) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        [usize::try_from(command["qos"].as_u64().expect("a number")).expect("small")]
}

/// Until the first error: after it the library would connect again.
async fn poll(mut events: EventLoop, sender: UnboundedSender<Told>) {
    loop {
        let told = match events.poll().await {
            Ok(event) => told(event),
            Err(error) => {
                let code = match &error {
                    ConnectionError::ConnectionRefused(code) => Some(*code as u8),
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
            "code": connack.code as u8, "present": connack.session_present, "properties": {},
        })),
        Event::Incoming(Packet::Publish(publish)) => Told::Message(json!({
            "topic": publish.topic,
            "payload": shown(&publish.payload),
            "qos": publish.qos as u8,
            "retain": publish.retain,
            "properties": {},
        })),
        Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) | Event::Outgoing(Outgoing::Publish(0)) => {
            Told::Published(0)
        }
        Event::Incoming(Packet::SubAck(suback)) => Told::Codes(
            suback
                .return_codes
                .iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(qos) => *qos as u8,
                    SubscribeReasonCode::Failure => 0x80,
                })
                .collect(),
        ),
        Event::Incoming(Packet::UnsubAck(_)) => Told::Codes(Vec::new()),
        _ => return None,
    })
}

impl Client {
    pub(super) async fn obey(&mut self, verb: &str, command: &Value) {
        let client = &self.0;
        let asked = match verb {
            "subscribe" => client.subscribe(text(command, "filter"), quality(command)).await,
            "unsubscribe" => client.unsubscribe(text(command, "filter")).await,
            "publish" => {
                let (topic, payload) = (text(command, "topic"), text(command, "payload"));
                client.publish(topic, quality(command), command["retain"] == true, payload).await
            }
            "disconnect" => client.disconnect().await,
            other => panic!("rumqttc for 3.1.1 has no {other}"),
        };
        asked.expect("the event loop runs");
    }
}
