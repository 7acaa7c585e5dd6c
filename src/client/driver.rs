//! The wire client: a [`Framed`] stream, a [`Session`], and requests that can be pipelined.
//!
//! It starts no task. Whoever owns it must keep calling [`Client::next`] (or one of the waiting
//! calls), or nothing is acknowledged and no PINGREQ is sent. All waiting is on tokio's clock, so
//! that it works when that is paused. Every waiting call can be cancelled without losing anything.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;

use tokio::time::{Duration, Instant, sleep_until, timeout, timeout_at};

use super::options::Options;
use super::rules::{Offence, Rules};
use super::state::{Exhausted, Meaning, Session};
use crate::mqtt::codec::{Decoder, Limits};
use crate::mqtt::packet::{ConnAck, Disconnect, Publish, Subscribe, Unsubscribe};
use crate::mqtt::{Packet, PacketId, ProtocolVersion, ReasonCode};
use crate::net::framed::{Closed, Framed, Progress};
use crate::net::tap::Tap;
use crate::net::{ConnectError, Endpoint, Transport};

/// Events that are kept while a waiting call waits for another one.
const STASH: usize = 100_000;
/// How long a broker that is left may take to hear why.
const FAREWELL: Duration = Duration::from_millis(500);

/// What the broker did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It sent a packet; acknowledgements are among them.
    Packet(Packet),
    /// It sent a QoS 2 PUBLISH again before releasing it: acknowledged, not a new message.
    Repeated(Publish),
    /// It ended the connection. Comes again at every further call.
    Closed(Closed),
    /// It sent bytes that are no packet, or a packet that no client may let pass: the client gave the
    /// connection up. Comes again at every call.
    Malformed(Offence),
}

/// Why there is no accepted connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFailure {
    /// No transport.
    #[error("{0}")]
    Transport(#[from] ConnectError),
    /// CONNACK with a code that is not success.
    #[error("refused with {}", .0.code)]
    Refused(Box<ConnAck>),
    /// Another packet instead of CONNACK.
    #[error("{} instead of CONNACK", .0.packet_type().name())]
    Unexpected(Box<Packet>),
    /// The end instead of CONNACK.
    #[error("{0} before CONNACK")]
    Closed(Closed),
    /// No packet instead of CONNACK, or a CONNACK that no client may let pass.
    #[error("{0}")]
    Malformed(Box<Offence>),
    /// Nothing within [`Options::connect_timeout`].
    #[error("no answer in time")]
    TimedOut,
}

/// Why a request has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The connection ended first.
    #[error("{0}")]
    Closed(Closed),
    /// What came made the client give the connection up.
    #[error("{0}")]
    Malformed(Offence),
    /// 65,535 requests are under way.
    #[error("{0}")]
    Exhausted(#[from] Exhausted),
    /// No request with this identifier is under way, or its outcome was taken already.
    #[error("no request with this identifier is under way")]
    Unknown,
    /// Too many packets came while waiting, and nobody took them.
    #[error("more than {STASH} packets came in while waiting for an acknowledgement")]
    Overrun,
}

/// A connected client.
#[derive(Debug)]
pub struct Client {
    framed: Framed,
    version: ProtocolVersion,
    raw: bool,
    auto_ping: bool,
    /// What is not let pass; a raw client lets all pass.
    rules: Option<Rules>,
    session: Session,
    /// The packets that completed requests nobody has asked for yet.
    outcomes: BTreeMap<PacketId, Packet>,
    stash: VecDeque<Event>,
    end: Option<Event>,
    /// What it gives the connection up for, while the broker is told, and how long that may take.
    leaving: Option<(Offence, Instant)>,
    /// Reused for what the session wants sent.
    out: Vec<Packet>,
}

impl Client {
    /// Connects the transport and sends nothing.
    pub async fn open(
        endpoint: &Endpoint,
        options: &Options,
        session: Session,
        tap: Option<Tap>,
    ) -> Result<Self, ConnectFailure> {
        let version = options.connect.version;
        let connecting = timeout(options.connect_timeout, endpoint.connect());
        let transport = connecting.await.map_err(|_| ConnectFailure::TimedOut)??;
        let rules = (!options.raw).then(|| Rules::of(&options.connect, options.limits));
        let limits = rules.as_ref().map_or(options.limits, Rules::limits);
        let framed = Framed::new(transport, Decoder::client(version, limits)).with_tap(tap);
        let mut session = session;
        session.connecting(&options.connect, Instant::now().into_std());
        Ok(Self {
            framed,
            version,
            raw: options.raw,
            auto_ping: options.auto_ping && !options.raw,
            rules,
            session,
            outcomes: BTreeMap::new(),
            stash: VecDeque::new(),
            end: None,
            leaving: None,
            out: Vec::new(),
        })
    }

    /// The other end: a connection that came in, on which nothing is sent by itself.
    pub fn accepted(transport: Transport, limits: Limits, tap: Option<Tap>) -> Self {
        Self {
            framed: Framed::new(transport, Decoder::server(limits)).with_tap(tap),
            version: ProtocolVersion::default(),
            raw: true,
            auto_ping: false,
            rules: None,
            session: Session::default(),
            outcomes: BTreeMap::new(),
            stash: VecDeque::new(),
            end: None,
            leaving: None,
            out: Vec::new(),
        }
    }

    /// Connects, sends CONNECT and waits for a CONNACK that accepts. `session` is that of an
    /// earlier connection ([`Client::into_session`]), or a fresh one.
    pub async fn connect(
        endpoint: &Endpoint,
        options: &Options,
        session: Session,
        tap: Option<Tap>,
    ) -> Result<(Self, ConnAck), ConnectFailure> {
        let connecting = async {
            let mut client = Self::open(endpoint, options, session, tap).await?;
            let answer = client.hand_shake(options).await?;
            Ok((client, answer))
        };
        timeout(options.connect_timeout, connecting).await.map_err(|_| ConnectFailure::TimedOut)?
    }

    async fn hand_shake(&mut self, options: &Options) -> Result<ConnAck, ConnectFailure> {
        self.send(&Packet::Connect(Box::new(options.connect.clone())));
        match self.advance(Until::Event).await {
            Some(Event::Packet(Packet::ConnAck(answer))) if answer.code == ReasonCode::SUCCESS => {
                self.session.connected(&answer, &mut self.out);
                self.push_out();
                Ok(answer)
            }
            Some(Event::Packet(Packet::ConnAck(answer))) => Err(ConnectFailure::Refused(Box::new(answer))),
            Some(Event::Packet(packet)) => Err(ConnectFailure::Unexpected(Box::new(packet))),
            Some(Event::Repeated(publish)) => {
                Err(ConnectFailure::Unexpected(Box::new(Packet::Publish(publish))))
            }
            Some(Event::Malformed(error)) => Err(ConnectFailure::Malformed(Box::new(error))),
            Some(Event::Closed(closed)) => Err(ConnectFailure::Closed(closed)),
            None => Err(ConnectFailure::Closed(Closed::Eof)),
        }
    }

    /// The revision that was asked for.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// From now on packets are written and read as this revision has them, as after a CONNECT that
    /// was sent as raw bytes.
    pub fn speak(&mut self, version: ProtocolVersion) {
        if version != self.version {
            self.version = version;
            *self.framed.decoder_mut() = Decoder::client(version, Limits::default());
        }
    }

    /// What the broker does next. Answers what is to be answered and pings while it waits.
    pub async fn next(&mut self) -> Event {
        if let Some(event) = self.stash.pop_front() {
            return event;
        }
        self.advance(Until::Event).await.unwrap_or(Event::Closed(Closed::Eof))
    }

    /// Queues a packet as it is, past the session's book-keeping.
    pub fn send(&mut self, packet: &Packet) {
        self.framed.push(packet, self.version);
        self.session.sent(Instant::now().into_std());
    }

    /// Queues bytes as they are. `packet` is what they mean, where they mean something.
    pub fn send_raw(&mut self, bytes: &[u8], packet: Option<&Packet>) {
        self.framed.push_raw(bytes, packet);
        self.session.sent(Instant::now().into_std());
    }

    /// Sends bytes in a write of their own; over a WebSocket in a frame of their own, of text if
    /// `text`. Cancelled, it may leave the connection at text frames.
    pub async fn send_alone(
        &mut self,
        bytes: &[u8],
        packet: Option<&Packet>,
        text: bool,
    ) -> Result<(), Lost> {
        self.flush().await?;
        self.framed.frame_as_text(text);
        self.send_raw(bytes, packet);
        let sent = self.flush().await;
        self.framed.frame_as_text(false);
        sent
    }

    /// Queues a PUBLISH; the identifier (QoS 1 and 2) is for [`Client::wait`].
    pub fn start_publish(&mut self, publish: Publish) -> Result<Option<PacketId>, Exhausted> {
        let id = self.session.publish(publish, &mut self.out)?;
        id.and_then(|id| self.outcomes.remove(&id));
        self.push_out();
        Ok(id)
    }

    /// Queues a SUBSCRIBE, whose `id` is set here, for [`Client::wait`].
    pub fn start_subscribe(&mut self, subscribe: Subscribe) -> Result<PacketId, Exhausted> {
        let id = self.session.subscribe(subscribe, &mut self.out)?;
        self.outcomes.remove(&id);
        self.push_out();
        Ok(id)
    }

    /// Queues an UNSUBSCRIBE, whose `id` is set here, for [`Client::wait`].
    pub fn start_unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<PacketId, Exhausted> {
        let id = self.session.unsubscribe(unsubscribe, &mut self.out)?;
        self.outcomes.remove(&id);
        self.push_out();
        Ok(id)
    }

    /// Waits until a request is complete: the PUBACK, PUBCOMP, SUBACK or UNSUBACK, or the PUBREC
    /// that refuses. Events that come meanwhile are kept for [`Client::next`].
    pub async fn wait(&mut self, id: PacketId) -> Result<Packet, Lost> {
        loop {
            if let Some(packet) = self.outcomes.remove(&id) {
                return Ok(packet);
            }
            if !self.session.is_pending(id) {
                return Err(Lost::Unknown);
            }
            self.advance_and_stash(Until::Event).await?;
        }
    }

    /// The outcome of a request if it is there already.
    pub fn take_outcome(&mut self, id: PacketId) -> Option<Packet> {
        self.outcomes.remove(&id)
    }

    /// Publishes and waits for the acknowledgement; QoS 0: until it is written.
    pub async fn publish(&mut self, publish: Publish) -> Result<Option<Packet>, Lost> {
        match self.start_publish(publish)? {
            Some(id) => self.wait(id).await.map(Some),
            None => self.flush().await.map(|()| None),
        }
    }

    /// Subscribes and waits for the SUBACK.
    pub async fn subscribe(&mut self, subscribe: Subscribe) -> Result<Packet, Lost> {
        let id = self.start_subscribe(subscribe)?;
        self.wait(id).await
    }

    /// Unsubscribes and waits for the UNSUBACK.
    pub async fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<Packet, Lost> {
        let id = self.start_unsubscribe(unsubscribe)?;
        self.wait(id).await
    }

    /// Queues a PINGREQ. It is answered when [`Client::pongs`] reaches the number returned.
    pub fn start_ping(&mut self) -> u64 {
        let wanted = self.session.ping(&mut self.out);
        self.push_out();
        wanted
    }

    /// PINGRESPs received on this connection.
    pub fn pongs(&self) -> u64 {
        self.session.pongs()
    }

    /// A round trip: PINGREQ and its PINGRESP.
    pub async fn ping(&mut self) -> Result<(), Lost> {
        let wanted = self.start_ping();
        while self.session.pongs() < wanted {
            self.advance_and_stash(Until::Event).await?;
        }
        Ok(())
    }

    /// Waits until all that was queued is written. Reads meanwhile, so that two ends that both
    /// write do not wait for each other.
    pub async fn flush(&mut self) -> Result<(), Lost> {
        while self.framed.pending() > 0 {
            self.advance_and_stash(Until::Written).await?;
        }
        Ok(())
    }

    /// Says goodbye and closes. Returns the session for a later connection.
    pub async fn disconnect(mut self, goodbye: Disconnect) -> Session {
        self.send(&Packet::Disconnect(goodbye));
        if self.flush().await.is_ok() {
            // The broker may have been faster in closing.
            let _ = self.framed.shutdown().await;
        }
        self.session
    }

    /// Cuts the connection without a goodbye; a socket is reset.
    pub fn cut(mut self) -> Session {
        self.framed.reset_on_drop();
        self.session
    }

    /// Closes without a goodbye (end of file) and returns the session for a later connection.
    pub fn into_session(self) -> Session {
        self.session
    }

    fn push_out(&mut self) {
        if self.out.is_empty() {
            return;
        }
        for packet in self.out.drain(..) {
            self.framed.push(&packet, self.version);
        }
        self.session.sent(Instant::now().into_std());
    }

    async fn advance_and_stash(&mut self, until: Until) -> Result<(), Lost> {
        if self.stash.len() >= STASH {
            return Err(Lost::Overrun);
        }
        match self.advance(until).await {
            None => Ok(()),
            Some(Event::Closed(closed)) => Err(Lost::Closed(closed)),
            Some(Event::Malformed(error)) => Err(Lost::Malformed(error)),
            Some(event) => {
                self.stash.push_back(event);
                Ok(())
            }
        }
    }

    /// The one loop: decodes, pings, reads and writes, until there is an event, or (with
    /// [`Until::Written`]) nothing is left to write.
    async fn advance(&mut self, until: Until) -> Option<Event> {
        loop {
            if let Some(end) = &self.end {
                return Some(end.clone());
            }
            if let Some((offence, until)) = &self.leaving {
                let told = self.framed.pending() == 0
                    || !matches!(timeout_at(*until, self.framed.progress(false)).await, Ok(Ok(_)));
                if told {
                    self.end = Some(Event::Malformed(offence.clone()));
                }
                continue;
            }
            match self.framed.decode() {
                Ok(Some((packet, _))) => match self.digest(packet) {
                    Ok(event) => return Some(event),
                    Err(offence) => self.give_up(offence),
                },
                Ok(None) => {}
                Err(error) => self.give_up(error.into()),
            }
            if self.leaving.is_some() {
                continue;
            }
            if until == Until::Written && self.framed.pending() == 0 {
                return None;
            }
            let due = self.session.ping_due().filter(|_| self.auto_ping);
            let progress = tokio::select! {
                progress = self.framed.progress(true) => progress,
                () = until_due(due) => {
                    self.session.ping(&mut self.out);
                    self.push_out();
                    continue;
                }
            };
            match progress {
                Ok(Progress { read: Some(0), .. }) => self.hang_up(Closed::Eof),
                Ok(_) => {}
                Err(error) => self.hang_up(error.into()),
            }
        }
    }

    /// The broker ended the connection: this end of it is closed too, and at once, so that the
    /// broker does not wait for it.
    fn hang_up(&mut self, closed: Closed) {
        self.framed.hang_up();
        self.end = Some(Event::Closed(closed));
    }

    /// The broker did what no client lets pass: a 5.0 broker is told why before the end [U5-4.13.1-2].
    fn give_up(&mut self, offence: Offence) {
        if self.rules.is_some() && self.version.is_v5() {
            self.send(&Packet::Disconnect(Disconnect { reason: offence.reason, ..Disconnect::default() }));
        }
        self.leaving = Some((offence, Instant::now() + FAREWELL));
    }

    /// Lets the session see a packet and queues its answers.
    fn digest(&mut self, mut packet: Packet) -> Result<Event, Offence> {
        if let Some(rules) = &mut self.rules {
            rules.judge(&mut packet)?;
        }
        let meaning = self.session.receive(&packet, &mut self.out);
        if self.raw {
            // Publications that the window held back go out, answers do not.
            self.out.retain(|packet| matches!(packet, Packet::Publish(_)));
        }
        self.push_out();
        Ok(match (meaning, packet) {
            (Meaning::Repeat, Packet::Publish(publish)) if !self.raw => Event::Repeated(publish),
            (Meaning::Completes(id), packet) => {
                self.outcomes.insert(id, packet.clone());
                Event::Packet(packet)
            }
            (_, packet) => Event::Packet(packet),
        })
    }
}

/// What [`Client::advance`] goes on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Event,
    Written,
}

async fn until_due(due: Option<std::time::Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mqtt::codec::Limits;
    use crate::mqtt::packet::{Ack, Connect};
    use crate::mqtt::{Properties, QoS, TopicName};
    use crate::net::framed::Received;
    use crate::net::memory;

    const V: ProtocolVersion = ProtocolVersion::V311;

    /// A client and the other end of its pipe, which a test plays by hand.
    async fn pair(options: &Options) -> (Client, Framed) {
        let (address, mut acceptor) = memory::listener();
        let broker = async {
            let pipe = acceptor.accept().await.expect("one comes");
            let mut broker = Framed::new(Box::new(pipe), Decoder::server(Limits::default()));
            assert!(matches!(broker.recv().await, Received::Packet(Packet::Connect(_), _)));
            broker.push(&Packet::ConnAck(ConnAck::default()), V);
            broker.flush().await.expect("room");
            broker
        };
        let endpoint = Endpoint::Memory(address);
        let connecting = Client::connect(&endpoint, options, Session::default(), None);
        let (connected, broker) = tokio::join!(connecting, broker);
        (connected.expect("let in").0, broker)
    }

    fn options() -> Options {
        Options::new(Connect { keep_alive: 60, client_id: "c".into(), ..Connect::default() })
    }

    fn publish(qos: QoS, id: Option<u16>) -> Publish {
        Publish {
            dup: false,
            qos,
            retain: false,
            topic: TopicName::new("t").expect("a name"),
            id: id.and_then(PacketId::new),
            payload: Bytes::new(),
            properties: Properties::new(),
        }
    }

    async fn packet(broker: &mut Framed) -> Packet {
        match broker.recv().await {
            Received::Packet(packet, _) => packet,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_pipelined_and_acknowledged_in_any_order() {
        let (mut client, mut broker) = pair(&options()).await;
        let ids: Vec<PacketId> = (0..3)
            .map(|_| client.start_publish(publish(QoS::AtLeastOnce, None)).expect("free").expect("an id"))
            .collect();
        client.flush().await.expect("room");
        for _ in 0..3 {
            assert!(matches!(packet(&mut broker).await, Packet::Publish(_)));
        }
        for id in ids.iter().rev() {
            broker.push(&Packet::PubAck(Ack::success(*id)), V);
        }
        broker.push(&Packet::Publish(publish(QoS::AtMostOnce, None)), V);
        broker.flush().await.expect("room");
        for id in &ids {
            assert_eq!(client.wait(*id).await, Ok(Packet::PubAck(Ack::success(*id))));
        }
        assert_eq!(client.wait(ids[0]).await, Err(Lost::Unknown), "it was taken");
        // What came while waiting is not lost, and keeps its order.
        for id in ids.iter().rev() {
            assert_eq!(client.next().await, Event::Packet(Packet::PubAck(Ack::success(*id))));
        }
        assert!(matches!(client.next().await, Event::Packet(Packet::Publish(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn it_pings_when_the_keep_alive_demands_it_and_answers_only_what_it_is_told() {
        for raw in [false, true] {
            let (mut client, mut broker) = pair(&Options { raw, ..options() }).await;
            broker.push(&Packet::Publish(publish(QoS::ExactlyOnce, Some(9))), V);
            broker.push(&Packet::Publish(publish(QoS::ExactlyOnce, Some(9))), V);
            broker.flush().await.expect("room");
            let begin = Instant::now();
            assert!(matches!(client.next().await, Event::Packet(Packet::Publish(_))));
            assert_eq!(matches!(client.next().await, Event::Repeated(_)), !raw);
            let hears = async {
                let mut packets = Vec::new();
                while packets.len() < 3 {
                    packets.push(packet(&mut broker).await);
                }
                packets
            };
            tokio::select! {
                packets = hears => {
                    assert!(!raw);
                    let pubrec = || Packet::PubRec(Ack::success(PacketId::new(9).expect("not zero")));
                    assert_eq!(packets, [pubrec(), pubrec(), Packet::PingReq]);
                    assert_eq!(begin.elapsed().as_secs(), 45);
                }
                event = client.next() => panic!("{event:?}"),
                () = tokio::time::sleep(Duration::from_secs(600)) => assert!(raw, "not a word is right for raw only"),
            }
        }
    }

    #[tokio::test]
    async fn the_end_comes_again_and_again_and_ends_what_waits() {
        let (mut client, broker) = pair(&options()).await;
        let id = client.start_publish(publish(QoS::AtLeastOnce, None)).expect("free").expect("an id");
        drop(broker);
        assert_eq!(client.wait(id).await, Err(Lost::Closed(Closed::Eof)));
        assert_eq!(client.ping().await, Err(Lost::Closed(Closed::Eof)));
        assert_eq!(client.next().await, Event::Closed(Closed::Eof));
        assert_eq!(client.next().await, Event::Closed(Closed::Eof));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_does_not_answer_is_given_up() {
        let (address, _acceptor) = memory::listener();
        let endpoint = Endpoint::Memory(address);
        let failure = Client::connect(&endpoint, &options(), Session::default(), None).await;
        assert!(matches!(failure, Err(ConnectFailure::TimedOut)));
    }
}
