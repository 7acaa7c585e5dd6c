//! A blocking MQTT 3.1.1 client that does nothing by itself: packets out, packets in, a fence.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mqttlab::mqtt::codec::{Decoder, Limits, encode};
use mqttlab::mqtt::packet::{Connect, Publish, Subscribe, Subscription, SubscriptionOptions};
use mqttlab::mqtt::{Packet, PacketId, Properties, ProtocolVersion, QoS, TopicFilter, TopicName};

const VERSION: ProtocolVersion = ProtocolVersion::V311;

pub struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
    decoder: Decoder,
}

impl Wire {
    /// Connects with a clean session, and returns CONNACK's code.
    pub fn connect(port: u16, client_id: &str, username: Option<&str>, password: Option<&str>) -> (Self, u8) {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the broker listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("can be set");
        stream.set_nodelay(true).expect("can be set");
        let decoder = Decoder::client(VERSION, Limits::default());
        let mut wire = Self { stream, buffer: BytesMut::new(), decoder };
        wire.send(&Packet::Connect(Box::new(Connect {
            version: VERSION,
            clean_start: true,
            client_id: client_id.into(),
            username: username.map(Into::into),
            password: password.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            ..Connect::default()
        })));
        match wire.receive() {
            Packet::ConnAck(ack) => (wire, ack.code.0),
            other => panic!("{other:?} is no CONNACK"),
        }
    }

    pub fn subscribe(&mut self, filter: &str) {
        let subscription = Subscription {
            filter: TopicFilter::new(filter.to_owned()).expect("a filter"),
            options: SubscriptionOptions::default(),
        };
        let subscriptions = vec![subscription];
        let subscribe = Subscribe { id: PacketId::FIRST, properties: Properties::default(), subscriptions };
        self.send(&Packet::Subscribe(subscribe));
        while !matches!(self.receive(), Packet::SubAck(_)) {}
    }

    /// Publishes with QoS 1 and waits for the PUBACK.
    pub fn publish(&mut self, topic: &str, payload: &str) {
        self.send(&Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: TopicName::new(topic.to_owned()).expect("a topic"),
            id: Some(PacketId::FIRST),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            properties: Properties::default(),
        }));
        while !matches!(self.receive(), Packet::PubAck(_)) {}
    }

    /// The payloads that have come when the broker has answered a PINGREQ.
    pub fn delivered(&mut self) -> Vec<String> {
        self.send(&Packet::PingReq);
        let mut found = Vec::new();
        loop {
            match self.receive() {
                Packet::Publish(publish) => {
                    found.push(String::from_utf8_lossy(&publish.payload).into_owned());
                }
                Packet::PingResp => return found,
                _ => {}
            }
        }
    }

    fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, VERSION, &mut bytes);
        self.stream.write_all(&bytes).expect("the broker takes it");
    }

    fn receive(&mut self) -> Packet {
        let mut chunk = [0; 4096];
        loop {
            if let Some((packet, _)) = self.decoder.decode(&mut self.buffer).expect("well formed") {
                return packet;
            }
            let count = self.stream.read(&mut chunk).expect("the broker answers in time");
            assert!(count > 0, "the broker closed the connection");
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }
}
