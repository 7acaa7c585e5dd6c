//! One connection of the load, asynchronous and lean: it batches what it writes, decodes what it
//! reads, and knows nothing of what is measured.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mqttlab::mqtt::codec::{Decoder, Limits, encode};
use mqttlab::mqtt::packet::{Connect, Disconnect, Publish, Subscribe, Subscription, SubscriptionOptions};
use mqttlab::mqtt::{Packet, PacketId, Properties, ProtocolVersion, QoS, TopicFilter, TopicName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// The version that all loads speak.
pub const VERSION: ProtocolVersion = ProtocolVersion::V311;

/// A message that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub struct Link {
    pub reader: Reader,
    pub writer: Writer,
}

/// Its reading half.
pub struct Reader {
    stream: OwnedReadHalf,
    decoder: Decoder,
    input: BytesMut,
}

/// Its writing half.
pub struct Writer {
    stream: OwnedWriteHalf,
    output: BytesMut,
}

impl Link {
    /// Connects; the broker must let it in.
    pub async fn open(port: u16, client_id: String) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the broker listens");
        stream.set_nodelay(true).expect("a socket");
        let (reader, writer) = stream.into_split();
        let decoder = Decoder::client(VERSION, Limits::default());
        let mut link = Self {
            reader: Reader { stream: reader, decoder, input: BytesMut::new() },
            writer: Writer { stream: writer, output: BytesMut::new() },
        };
        let connect = Connect {
            version: VERSION,
            clean_start: true,
            client_id: client_id.into(),
            ..Connect::default()
        };
        link.writer.push(&Packet::Connect(Box::new(connect)));
        link.writer.flush().await;
        let answer = link.reader.recv().await;
        assert!(matches!(&answer, Packet::ConnAck(ack) if ack.code.is_success()), "let in: {answer:?}");
        link
    }

    /// Subscribes to all of `filters` with one packet.
    pub async fn subscribe(&mut self, filters: impl Iterator<Item = String>, qos: QoS) {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let subscriptions = filters
            .map(|filter| Subscription { filter: TopicFilter::new(filter).expect("a filter"), options })
            .collect();
        let properties = Properties::new();
        self.writer.push(&Packet::Subscribe(Subscribe { id: PacketId::FIRST, properties, subscriptions }));
        self.writer.flush().await;
        assert!(matches!(self.reader.recv().await, Packet::SubAck(_)), "subscribed");
    }

    /// A round trip: all that was sent before has been handled.
    pub async fn ping(&mut self) {
        self.writer.push(&Packet::PingReq);
        self.writer.flush().await;
        assert_eq!(self.reader.recv().await, Packet::PingResp);
    }

    /// Says goodbye and waits until the broker has closed.
    pub async fn close(mut self) {
        self.writer.push(&Packet::Disconnect(Disconnect::default()));
        self.writer.flush().await;
        let _ = self.reader.stream.read(&mut [0; 64]).await;
    }
}

impl Reader {
    /// Waits for bytes that must come.
    pub async fn fill(&mut self) {
        timeout(PATIENCE, self.wait()).await.expect("nothing is lost");
    }

    /// Waits for bytes, however long.
    pub async fn wait(&mut self) {
        self.input.reserve(64 * 1024);
        let count = self.stream.read_buf(&mut self.input).await.expect("a connection that stands");
        assert!(count > 0, "the broker closed the connection");
    }

    /// A packet that is there.
    pub fn decoded(&mut self) -> Option<Packet> {
        self.decoder.decode(&mut self.input).expect("a broker's packets").map(|(packet, _)| packet)
    }

    /// The next packet.
    pub async fn recv(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.decoded() {
                return packet;
            }
            self.fill().await;
        }
    }
}

impl Writer {
    /// Adds a packet to the next write.
    pub fn push(&mut self, packet: &Packet) {
        encode(packet, VERSION, &mut self.output);
    }

    /// Writes.
    pub async fn flush(&mut self) {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await.expect("the broker reads");
            self.output.clear();
        }
    }
}

/// A PUBLISH.
pub fn message(topic: &TopicName, qos: QoS, id: PacketId, payload: &Bytes, retain: bool) -> Packet {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain,
        topic: topic.clone(),
        id: (qos != QoS::AtMostOnce).then_some(id),
        payload: payload.clone(),
        properties: Properties::new(),
    })
}

/// A topic name that is known to be one.
pub fn topic(name: String) -> TopicName {
    TopicName::new(name).expect("a topic")
}
