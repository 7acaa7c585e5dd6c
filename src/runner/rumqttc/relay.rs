//! Carries bytes between rumqttc and the broker as they are, and reads along.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::mqtt::codec::{Decoder, Limits};
use crate::mqtt::{Packet, ProtocolVersion};
use crate::net::Transport;
use crate::net::framed::{Closed, first_packet};
use crate::net::tap::{Content, Direction, Tap};
use crate::runner::link::{Inbox, Watch};

/// The first thing that came from the broker.
#[derive(Debug)]
pub(super) enum Seen {
    Packet(Packet),
    Closed(Closed),
}

/// One connection.
pub(super) struct Relay {
    pub client: UnixStream,
    pub transport: Transport,
    pub version: ProtocolVersion,
    pub tap: Tap,
    pub inbox: Inbox,
    pub watch: Watch,
    /// What rumqttc sends.
    pub outgoing: mpsc::Sender<Packet>,
    /// Where the first answer goes.
    pub answered: Option<mpsc::Sender<Seen>>,
}

impl Relay {
    /// Until either side ends.
    pub async fn run(mut self) {
        let mut from_client = Ear::new(Direction::Out, self.version);
        let mut from_broker = Ear::new(Direction::In, self.version);
        let mut up = BytesMut::with_capacity(4096);
        let mut down = BytesMut::with_capacity(4096);
        let closed = loop {
            tokio::select! {
                read = self.client.read_buf(&mut up) => {
                    // rumqttc ends after a DISCONNECT, and when it does not like what it read.
                    let Ok(1..) = read else { break Closed::Eof };
                    // Seen before it leaves, as with the wire client: no answer comes earlier.
                    let packets = from_client.hear(&up, &self.tap);
                    let written = self.transport.write_all(&up).await;
                    if written.is_err() || self.transport.flush().await.is_err() {
                        break Closed::Reset;
                    }
                    for packet in packets {
                        // A flood that nobody looks at is not worth waiting for.
                        let _ = self.outgoing.try_send(packet);
                    }
                    up.clear();
                }
                read = self.transport.read_buf(&mut down) => {
                    match read {
                        Ok(0) => break Closed::Eof,
                        Ok(_) => {}
                        Err(error) => break error.into(),
                    }
                    for packet in from_broker.hear(&down, &self.tap) {
                        self.take(packet).await;
                    }
                    if from_broker.malformed || self.client.write_all(&down).await.is_err() {
                        break Closed::Eof;
                    }
                    down.clear();
                }
            }
        };
        if let Some(answered) = self.answered.take() {
            let _ = answered.send(Seen::Closed(closed.clone())).await;
        }
        self.watch.recorder.ended(&self.watch.client, &closed.to_string());
        let how = if from_broker.malformed {
            "ended by bytes that are no packet".into()
        } else {
            closed.to_string()
        };
        self.inbox.end(how, from_broker.malformed);
    }

    async fn take(&mut self, packet: Packet) {
        if let Some(answered) = self.answered.take() {
            let _ = answered.send(Seen::Packet(packet)).await;
        } else if !self.watch.is_sentinel(&packet) && packet != Packet::PingResp {
            self.inbox.push(packet);
        }
    }
}

/// One direction of a connection, listened to.
struct Ear {
    direction: Direction,
    decoder: Decoder,
    buffer: BytesMut,
    malformed: bool,
}

impl Ear {
    fn new(direction: Direction, version: ProtocolVersion) -> Self {
        let decoder = match direction {
            Direction::Out => Decoder::server(Limits::default()),
            Direction::In => Decoder::client(version, Limits::default()),
        };
        Self { direction, decoder, buffer: BytesMut::new(), malformed: false }
    }

    fn hear(&mut self, bytes: &[u8], tap: &Tap) -> Vec<Packet> {
        let mut packets = Vec::new();
        self.buffer.extend_from_slice(bytes);
        while !self.malformed {
            let seen = first_packet(&self.buffer);
            match self.decoder.decode(&mut self.buffer) {
                Ok(Some((packet, _))) => {
                    tap.record(self.direction, seen, Content::Packet(&packet));
                    packets.push(packet);
                }
                Ok(None) => break,
                Err(error) => {
                    let rest = self.buffer.split().freeze();
                    tap.record(self.direction, rest, Content::Malformed(&error));
                    self.malformed = true;
                }
            }
        }
        packets
    }
}
