//! rumqttc's two clients (3.1.1 and 5.0), each with its event loop in a task of its own.

use std::path::Path;
use std::time::Duration;

use rumqttc::v5::mqttbytes as v5;
use rumqttc::{AsyncClient, LastWill, MqttOptions, SubscribeFilter, Transport};
use tokio::task::JoinHandle;

use crate::mqtt::packet::{Connect, RetainHandling, Subscribe};
use crate::mqtt::{ProtocolVersion, QoS};
use crate::runner::link::Command;

/// Its messages above QoS 0 under way at once: it keeps a place for each, and by itself places for 65,535.
const IN_FLIGHT: u16 = 1000;
/// Requests that rumqttc takes before it has sent them.
const REQUESTS: usize = 100;
/// Seconds that rumqttc waits for a connection and a CONNACK: the runner gives up first, and says so.
const PATIENCE: u64 = 3600;
/// Bytes of the largest packet, both ways; rumqttc's own limit is 10 KiB.
const MAX_PACKET: u32 = 268_435_455;

/// A running rumqttc; it ends when this is dropped.
pub(super) struct Loop {
    client: Client,
    polling: JoinHandle<()>,
}

enum Client {
    V4(AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

impl Loop {
    /// Starts it; it connects at once. The error says what it cannot do.
    pub fn start(connect: &Connect, socket: &Path) -> Result<Self, String> {
        let path = socket.to_str().ok_or("rumqttc cannot use a path that is not UTF-8")?.to_owned();
        match connect.version {
            ProtocolVersion::V31 => Err("rumqttc cannot speak MQTT 3.1".into()),
            ProtocolVersion::V311 => Ok(Self::start_v4(connect, path)),
            ProtocolVersion::V5 => Ok(Self::start_v5(connect, path)),
        }
    }

    fn start_v4(connect: &Connect, path: String) -> Self {
        let mut options = MqttOptions::new(&*connect.client_id, path, 0);
        options.set_transport(Transport::unix());
        options.set_keep_alive(Duration::from_secs(connect.keep_alive.into()));
        options.set_clean_session(connect.clean_start);
        options.set_max_packet_size(MAX_PACKET as usize, MAX_PACKET as usize);
        if let Some((name, password)) = credentials(connect) {
            options.set_credentials(name, password);
        }
        if let Some(will) = &connect.will {
            let topic = will.topic.as_str();
            options.set_last_will(LastWill::new(topic, will.payload.to_vec(), qos_v4(will.qos), will.retain));
        }
        let (client, mut events) = AsyncClient::new(options, REQUESTS);
        events.network_options.set_connection_timeout(PATIENCE);
        // After the first error it would connect again, by itself: never ask it twice.
        let polling = tokio::spawn(async move { while events.poll().await.is_ok() {} });
        Self { client: Client::V4(client), polling }
    }

    fn start_v5(connect: &Connect, path: String) -> Self {
        let mut options = rumqttc::v5::MqttOptions::new(&*connect.client_id, path, 0);
        options.set_transport(Transport::unix());
        options.set_keep_alive(Duration::from_secs(connect.keep_alive.into()));
        options.set_clean_start(connect.clean_start);
        options.set_session_expiry_interval(connect.properties.session_expiry_interval());
        options.set_receive_maximum(connect.properties.receive_maximum());
        options.set_connection_timeout(PATIENCE);
        options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
        // Unless it says so to the broker too, it ends at the first packet of more than 10 KiB.
        options.set_max_packet_size(Some(MAX_PACKET));
        if let Some((name, password)) = credentials(connect) {
            options.set_credentials(name, password);
        }
        if let Some(will) = &connect.will {
            let (topic, payload) = (will.topic.as_str(), will.payload.to_vec());
            options.set_last_will(v5::v5::LastWill::new(topic, payload, qos_v5(will.qos), will.retain, None));
        }
        let (client, mut events) = rumqttc::v5::AsyncClient::new(options, REQUESTS);
        let polling = tokio::spawn(async move { while events.poll().await.is_ok() {} });
        Self { client: Client::V5(client), polling }
    }

    /// Hands a request over; `None` when rumqttc has ended, or for what is not for it.
    pub async fn ask(&self, command: &Command) -> Option<()> {
        match (&self.client, command) {
            (Client::V4(client), Command::Publish(publish)) => {
                let topic = publish.topic.as_str();
                let payload = publish.payload.clone();
                client.publish_bytes(topic, qos_v4(publish.qos), publish.retain, payload).await.ok()
            }
            (Client::V5(client), Command::Publish(publish)) => {
                let topic = publish.topic.as_str();
                let payload = publish.payload.clone();
                client.publish_bytes(topic, qos_v5(publish.qos), publish.retain, payload).await.ok()
            }
            (Client::V4(client), Command::Subscribe(subscribe)) => {
                client.subscribe_many(filters_v4(subscribe)).await.ok()
            }
            (Client::V5(client), Command::Subscribe(subscribe)) => {
                client.subscribe_many(filters_v5(subscribe)).await.ok()
            }
            (Client::V4(client), Command::Unsubscribe(unsubscribe)) => {
                client.unsubscribe(unsubscribe.filters.first()?.as_str()).await.ok()
            }
            (Client::V5(client), Command::Unsubscribe(unsubscribe)) => {
                client.unsubscribe(unsubscribe.filters.first()?.as_str()).await.ok()
            }
            _ => None,
        }
    }

    /// Says goodbye.
    pub async fn disconnect(&self) {
        // Where it has ended already, nothing is left to say.
        let _ = match &self.client {
            Client::V4(client) => client.disconnect().await.is_ok(),
            Client::V5(client) => client.disconnect().await.is_ok(),
        };
    }
}

fn credentials(connect: &Connect) -> Option<(String, String)> {
    let name = connect.username.as_ref()?.to_string();
    let password = connect.password.as_deref().unwrap_or_default();
    Some((name, String::from_utf8_lossy(password).into_owned()))
}

fn filters_v4(subscribe: &Subscribe) -> Vec<SubscribeFilter> {
    let all = subscribe.subscriptions.iter();
    all.map(|one| SubscribeFilter::new(one.filter.to_string(), qos_v4(one.options.qos))).collect()
}

fn filters_v5(subscribe: &Subscribe) -> Vec<v5::v5::Filter> {
    let all = subscribe.subscriptions.iter();
    all.map(|one| v5::v5::Filter {
        path: one.filter.to_string(),
        qos: qos_v5(one.options.qos),
        nolocal: one.options.no_local,
        preserve_retain: one.options.retain_as_published,
        retain_forward_rule: match one.options.retain_handling {
            RetainHandling::Send => v5::v5::RetainForwardRule::OnEverySubscribe,
            RetainHandling::SendIfNew => v5::v5::RetainForwardRule::OnNewSubscribe,
            RetainHandling::DoNotSend => v5::v5::RetainForwardRule::Never,
        },
    })
    .collect()
}

fn qos_v4(qos: QoS) -> rumqttc::QoS {
    match qos {
        QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
        QoS::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
    }
}

fn qos_v5(qos: QoS) -> v5::QoS {
    match qos {
        QoS::AtMostOnce => v5::QoS::AtMostOnce,
        QoS::AtLeastOnce => v5::QoS::AtLeastOnce,
        QoS::ExactlyOnce => v5::QoS::ExactlyOnce,
    }
}
