//! One end of a bridge on its stream: the hand-shake, and when a sign of life is due.
//!
//! Does not know what the packets in between mean; that is `relay`'s business.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::broker::config::{BridgeConfig, BridgeNotifications};
use crate::mqtt::codec::{Decoder, Limits};
use crate::mqtt::packet::{ConnAck, Connect, Disconnect, Publish, Will};
use crate::mqtt::{Packet, Properties, Property, ProtocolVersion, QoS, ReasonCode, TopicName};
use crate::net::Transport;
use crate::net::framed::{Framed, Received};

/// How long a broker may take for its CONNACK, and a transport to be made.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the two ends call themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Client identifier at the other broker.
    pub there: String,
    /// Client identifier at ours.
    pub here: String,
    /// Where the state of the bridge is published.
    pub state: TopicName,
}

/// A stream of packets and what is known of its silence.
#[derive(Debug)]
pub struct Wire {
    /// The stream.
    pub framed: Framed,
    version: ProtocolVersion,
    keep_alive: Duration,
    sent: Instant,
    heard: Instant,
    /// Since when a PINGRESP is due.
    asked: Option<Instant>,
}

/// Why there was no hand-shake.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// CONNACK with a code that is not success.
    #[error("refused with {}", .0.code)]
    Refused(Box<ConnAck>),
    /// The end, before CONNACK.
    #[error("{0} before CONNACK")]
    Closed(String),
    /// Something else than CONNACK.
    #[error("{0}")]
    Other(String),
}

impl Names {
    /// As configured, or as mosquitto invents them.
    pub fn new(config: &BridgeConfig, host: &str) -> Result<Self, String> {
        let there = config.remote_client_id.clone().unwrap_or_else(|| format!("{host}.{}", config.name));
        let here = config.local_client_id.clone().unwrap_or_else(|| format!("local.{there}"));
        let usual = || format!("$SYS/broker/connection/{there}/state");
        let topic = config.notification_topic.clone().unwrap_or_else(usual);
        let state = TopicName::new(topic).map_err(|error| format!("notification_topic: {error}"))?;
        Ok(Self { there, here, state })
    }

    /// The retained message about the state of the bridge.
    pub fn notice(&self, up: bool) -> Publish {
        Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: true,
            topic: self.state.clone(),
            id: None,
            payload: if up { "1" } else { "0" }.into(),
            properties: Properties::new(),
        }
    }
}

/// CONNECT for the other broker. `private`: with the mark of a bridge; `anew`: whatever session it has is
/// to end; `most`: bytes of the largest packet that our broker takes, 0 for any.
pub fn connect_there(config: &BridgeConfig, names: &Names, private: bool, anew: bool, most: u32) -> Connect {
    let v5 = config.version.is_v5();
    let mut properties = Properties::new();
    if v5 {
        if !config.clean_session {
            properties.push(Property::SessionExpiryInterval(config.session_expiry_secs));
        }
        if config.receive_maximum > 0 {
            properties.push(Property::ReceiveMaximum(config.receive_maximum));
        }
        if most > 0 {
            properties.push(Property::MaximumPacketSize(most));
        }
        if config.max_topic_alias > 0 {
            properties.push(Property::TopicAliasMaximum(config.max_topic_alias));
        }
    }
    let will = (config.notifications == BridgeNotifications::Both).then(|| Will {
        topic: names.state.clone(),
        payload: "0".into(),
        qos: QoS::AtLeastOnce,
        retain: config.outgoing_retain,
        properties: Properties::new(),
    });
    Connect {
        version: config.version,
        bridge: private && !v5,
        clean_start: config.clean_session || anew,
        keep_alive: u16::try_from(config.keep_alive.as_secs()).unwrap_or(u16::MAX),
        client_id: names.there.as_str().into(),
        will,
        username: config.remote_username.as_deref().map(Into::into),
        password: config.remote_password.clone().map(Into::into),
        properties,
    }
}

/// CONNECT for our broker, which gives so many messages at once.
pub fn connect_here(config: &BridgeConfig, names: &Names, window: u16) -> Connect {
    let clean = is_clean_here(config);
    let mut properties = Properties::new();
    if !clean {
        properties.push(Property::SessionExpiryInterval(u32::MAX));
    }
    properties.push(Property::ReceiveMaximum(window.max(1)));
    Connect {
        version: ProtocolVersion::V5,
        bridge: false,
        clean_start: clean,
        keep_alive: 0,
        client_id: names.here.as_str().into(),
        will: None,
        username: config.local_username.as_deref().map(Into::into),
        password: config.local_password.clone().map(Into::into),
        properties,
    }
}

/// Whether the session at our broker ends with the connection.
pub fn is_clean_here(config: &BridgeConfig) -> bool {
    config.local_clean_session.unwrap_or(config.clean_session)
}

impl Wire {
    /// On a fresh stream, towards a broker from which packets up to `most` bytes (0: any) are taken.
    pub fn new(transport: Transport, version: ProtocolVersion, most: u32) -> Self {
        let limits = if most == 0 { Limits::default() } else { Limits { max_packet_size: most } };
        let now = Instant::now();
        let framed = Framed::new(transport, Decoder::client(version, limits));
        Self { framed, version, keep_alive: Duration::ZERO, sent: now, heard: now, asked: None }
    }

    /// CONNECT, and the CONNACK that accepts it.
    pub async fn hand_shake(&mut self, connect: Connect) -> Result<ConnAck, Failure> {
        let keep_alive = connect.keep_alive;
        self.push(&Packet::Connect(Box::new(connect)));
        let received = timeout(PATIENCE, self.framed.recv()).await;
        match received.map_err(|_| Failure::Other("no answer in time".to_owned()))? {
            Received::Packet(Packet::ConnAck(answer), _) if answer.code == ReasonCode::SUCCESS => {
                // [MQTT-3.1.2-21] of 5.0
                let secs = answer.properties.server_keep_alive().unwrap_or(keep_alive);
                self.keep_alive = Duration::from_secs(secs.into());
                self.heard = Instant::now();
                Ok(answer)
            }
            Received::Packet(Packet::ConnAck(answer), _) => Err(Failure::Refused(Box::new(answer))),
            Received::Packet(other, _) => {
                Err(Failure::Other(format!("{} instead of CONNACK", other.packet_type().name())))
            }
            Received::Malformed(error) => Err(Failure::Other(error.to_string())),
            Received::Closed(closed) => Err(Failure::Closed(closed.to_string())),
        }
    }

    /// Queues a packet.
    pub fn push(&mut self, packet: &Packet) {
        self.framed.push(packet, self.version);
        self.sent = Instant::now();
    }

    /// Bytes came in.
    pub fn heard(&mut self) {
        self.heard = Instant::now();
        self.asked = None;
    }

    /// What is being read only later cannot be missed yet.
    pub fn excuse(&mut self) {
        self.asked = self.asked.map(|_| Instant::now());
    }

    /// When [`Wire::check`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        if self.keep_alive.is_zero() {
            return None;
        }
        Some(match self.asked {
            Some(since) => since + self.keep_alive,
            // In time for the broker, and often enough to notice that it is gone.
            None => (self.sent + self.keep_alive * 3 / 4).min(self.heard + self.keep_alive),
        })
    }

    /// Asks for a sign of life where it is time. False if one has not come for a whole keep-alive.
    pub fn check(&mut self) -> bool {
        let now = Instant::now();
        if self.due().is_none_or(|due| due > now) {
            return true;
        }
        if self.asked.is_some() {
            return false;
        }
        self.push(&Packet::PingReq);
        self.asked = Some(now);
        true
    }

    /// The last word: a notice if there is one, and DISCONNECT.
    pub async fn say_goodbye(mut self, notice: Option<Publish>) {
        if let Some(notice) = notice {
            self.push(&Packet::Publish(notice));
        }
        self.push(&Packet::Disconnect(Disconnect::default()));
        let goodbye = async {
            self.framed.flush().await?;
            self.framed.shutdown().await?;
            while self.framed.discard().await? > 0 {}
            Ok::<(), std::io::Error>(())
        };
        // Who does not take it learns of our end by the end of the stream.
        let _ = timeout(GOODBYE, goodbye).await;
    }
}
