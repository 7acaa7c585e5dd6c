//! One connection: reads what is there, decodes a batch, enters the hub once, writes once.
//!
//! Memory is bounded: nothing is taken from the engine while a write is stalled, and a peer that
//! does not read is read from only for so long.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{sleep, timeout};

use super::hub::{Authenticated, BATCH, Hub};
use crate::broker::auth::{AuthFailure, Rules};
use crate::broker::engine::{ConnId, Drained, Frame, Loss, Peer};
use crate::broker::log::LogTypes;
use crate::mqtt::codec::{DecodeError, Decoder, Limits, MAX_REMAINING_LENGTH};
use crate::mqtt::packet::Connect;
use crate::mqtt::{Packet, ProtocolVersion};
use crate::net::Transport;
use crate::net::framed::{Framed, Progress};
use crate::tls::identity::NoIdentity;

/// Bytes of the largest packet before CONNECT was seen: one string of full length, and the rest.
const CONNECT_LIMIT: u32 = 128 * 1024;

/// Bytes taken from the engine at once.
const ROOM: usize = 64 * 1024;

/// Packets taken from a peer while it takes none of ours: enough for a slow reader's PINGREQs, too
/// few to fill memory with answers.
const STALL_CREDIT: usize = 1024;

/// How often a connection with a stalled write asks whether it is wanted at all: a wake-up does not
/// reach it, because its frames wait already.
const STALL_CHECK: Duration = Duration::from_secs(5);

/// How long a connection that would take another one's session over lets that one speak first, and
/// how often it looks.
const LAST_WORDS: Duration = Duration::from_millis(10);
const LOOK: Duration = Duration::from_millis(1);

/// How long a closing connection waits for its last bytes to be taken.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// How long it then waits for the peer's end of file. Closing while bytes come in would make the
/// system send a reset, which can destroy our last bytes on their way.
const LINGER: Duration = Duration::from_millis(100);

/// Serves one stream of MQTT to its end, and says how it ended. `certified` is the user name of the
/// client's certificate, where its CONNECT has no say.
pub async fn run(
    hub: Arc<Hub>,
    conn: ConnId,
    peer: Peer,
    wake: Arc<Notify>,
    transport: Transport,
    certified: Option<Result<String, NoIdentity>>,
) -> Loss {
    let connection = Connection {
        hub,
        conn,
        peer,
        wake,
        framed: Framed::new(transport, Decoder::server(Limits { max_packet_size: CONNECT_LIMIT })),
        certified,
        stage: Stage::Fresh,
        speaks_tls: false,
        version: ProtocolVersion::V311,
        packets: Vec::new(),
        frames: Vec::new(),
        max_packet_size: None,
        more: false,
        credit: STALL_CREDIT,
    };
    connection.run().await
}

struct Connection {
    hub: Arc<Hub>,
    conn: ConnId,
    peer: Peer,
    wake: Arc<Notify>,
    framed: Framed,
    /// The user name of the client's certificate, where its CONNECT has no say.
    certified: Option<Result<String, NoIdentity>>,
    stage: Stage,
    /// The first bytes, which were no CONNECT, look like TLS.
    speaks_tls: bool,
    version: ProtocolVersion,
    packets: Vec<(Packet, usize)>,
    frames: Vec<Frame>,
    /// What the configuration allows, as long as the decoder allows less.
    max_packet_size: Option<u32>,
    /// The engine has frames that were not taken.
    more: bool,
    /// Packets that may still be read before something must be written.
    credit: usize,
}

/// What was decided cannot be kept: nobody is told, and the connection ends.
const UNSAFE: Drained = Drained { more: false, close: true };

/// How far the client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No CONNECT yet.
    Fresh,
    /// CONNECT was handled.
    Connected,
    /// DISCONNECT was read.
    Left,
}

/// What the bytes that are there amount to.
enum Batch {
    /// All whole packets are taken.
    Empty,
    /// There may be more.
    Full,
    /// The first packet.
    Connect(Box<Connect>, usize),
    /// No packet.
    Malformed(DecodeError),
}

/// Why [`Connection::wait`] returned.
enum Event {
    /// Read, written, or woken.
    Progress,
    /// The peer is gone.
    Ended(Loss),
}

impl Connection {
    async fn run(mut self) -> Loss {
        loop {
            let batch = self.decode();
            let again = matches!(batch, Batch::Full | Batch::Connect(..));
            let mut drained = self.exchange().await;
            match batch {
                Batch::Empty | Batch::Full => {}
                Batch::Connect(connect, size) => {
                    self.connect(connect, size).await;
                    drained = self.exchange().await;
                }
                Batch::Malformed(error) => {
                    // What came before it is done first.
                    while !self.packets.is_empty() && !drained.close {
                        yield_now().await;
                        drained = self.exchange().await;
                    }
                    self.complain(&error);
                    drained = self.exchange().await;
                    if !drained.close && !drained.more {
                        return self.close(Loss::Io(error.to_string())).await;
                    }
                }
            }
            self.framed.write_now().await;
            if drained.close {
                return self.close(Loss::Eof).await;
            }
            if again || (self.more && self.framed.pending() == 0) {
                // However much one client wants, the others have their turns.
                yield_now().await;
                continue;
            }
            match self.wait().await {
                Event::Progress => {}
                Event::Ended(loss) => return self.close(loss).await,
            }
        }
    }

    fn decode(&mut self) -> Batch {
        self.speaks_tls = self.stage == Stage::Fresh && looks_like_tls(self.framed.undecoded());
        while self.packets.len() < BATCH {
            match self.framed.decode() {
                Ok(Some((Packet::Connect(connect), size))) if self.stage == Stage::Fresh => {
                    return Batch::Connect(connect, size);
                }
                Ok(Some(packet)) => {
                    if matches!(packet.0, Packet::Disconnect(_)) {
                        self.stage = Stage::Left;
                    }
                    self.packets.push(packet);
                }
                Ok(None) => return Batch::Empty,
                Err(error) => return Batch::Malformed(error),
            }
        }
        Batch::Full
    }

    /// One visit of the hub: hands in the batch, and takes frames if there is nothing else to write.
    /// What was decided is kept before anybody is told, where the configuration asks for that.
    async fn exchange(&mut self) -> Drained {
        if self.hub.room().await.is_err() {
            return UNSAFE;
        }
        let stalled = self.framed.pending() > 0;
        let handed = self.packets.len();
        let room = (!stalled).then_some(ROOM);
        let (drained, barrier) = self.hub.exchange(self.conn, &mut self.packets, room, &mut self.frames);
        let taken = handed.saturating_sub(self.packets.len());
        self.credit = if stalled { self.credit.saturating_sub(taken) } else { STALL_CREDIT };
        if let Some(barrier) = barrier
            && self.hub.safe(barrier).await.is_err()
        {
            self.frames.clear();
            return UNSAFE;
        }
        self.more = drained.more;
        self.widen();
        if !self.frames.is_empty() {
            let (frames, version) = (&mut self.frames, self.version);
            let mut written = 0;
            self.framed.push_with(|into| {
                let before = into.len();
                frames.drain(..).for_each(|frame| frame.encode(version, into));
                written = into.len() - before;
            });
            self.hub.count_written(written);
        }
        drained
    }

    /// Authenticates outside of the lock, and lets the engine decide.
    async fn connect(&mut self, mut connect: Box<Connect>, size: usize) {
        self.stage = Stage::Connected;
        let certified = self.take_identity(&mut connect);
        let_the_old_one_leave(&self.hub, &connect.client_id).await;
        let max_packet_size = loop {
            let (config, rules) = self.hub.in_force();
            let zone = config.zone(self.peer.listener);
            let result = match certified {
                Some(result) => result,
                None => authenticate(&self.hub, &rules, zone, &connect).await,
            };
            match self.hub.connect(self.conn, Authenticated { connect, size, result, by: rules }) {
                Ok(()) => break config.limits.max_packet_size,
                Err(again) => connect = again,
            }
        };
        self.version = self.hub.version(self.conn).unwrap_or_default();
        let max_packet_size = match max_packet_size {
            0 => MAX_REMAINING_LENGTH + 5,
            size => size,
        };
        self.max_packet_size = Some(max_packet_size);
    }

    /// A client that has to prove who it is (4.12) keeps the limit of a CONNECT until it is let in.
    fn widen(&mut self) {
        if let Some(max_packet_size) = self.max_packet_size.filter(|_| self.hub.is_connected(self.conn)) {
            self.framed.decoder_mut().set_limits(Limits { max_packet_size });
            self.max_packet_size = None;
        }
    }

    /// Where the client's certificate names the user, the name takes the place of what CONNECT says,
    /// and no password is asked for. `None`: CONNECT says it.
    fn take_identity(&mut self, connect: &mut Connect) -> Option<Result<(), AuthFailure>> {
        let certified = self.certified.take()?;
        // [MQTT-3.1.2-22]: the engine is to see what is wrong with it.
        let is_broken = !connect.version.is_v5() && connect.password.is_some() && connect.username.is_none();
        match certified {
            _ if is_broken => Some(Ok(())),
            Ok(name) => {
                connect.username = Some(name.into());
                connect.password = None;
                Some(Ok(()))
            }
            Err(why) => {
                let from = self.peer.address.map_or_else(String::new, |address| address.to_string());
                self.hub.log(LogTypes::NOTICE, &format!("Client from {from} has no user name: {why}."));
                Some(Err(AuthFailure::NoIdentity))
            }
        }
    }

    fn complain(&mut self, error: &DecodeError) {
        if self.speaks_tls {
            let from = self.peer.address.map_or_else(String::new, |address| address.to_string());
            let text =
                format!("Client from {from} appears to be using TLS to connect to a non-TLS listener.");
            self.hub.log(LogTypes::NOTICE, &text);
        }
        self.hub.malformed(self.conn, error);
        if self.stage == Stage::Fresh {
            self.version = self.hub.version(self.conn).unwrap_or_default();
        }
    }

    async fn wait(&mut self) -> Event {
        while self.framed.pending() > 0 {
            if let Ok(event) = timeout(STALL_CHECK, self.progress()).await {
                return event;
            }
            if self.hub.is_closing(self.conn) {
                return Event::Ended(Loss::Io("nothing was read".to_owned()));
            }
        }
        self.progress().await
    }

    async fn progress(&mut self) -> Event {
        let reading = self.credit > 0;
        loop {
            let progress = tokio::select! {
                progress = self.framed.progress(reading) => progress,
                () = self.wake.notified() => {
                    let_others_go_first().await;
                    return Event::Progress;
                }
            };
            match progress {
                Ok(Progress { read: Some(0), .. }) => return Event::Ended(Loss::Eof),
                Ok(Progress { read: Some(_), .. }) => return Event::Progress,
                Ok(_) if self.framed.pending() > 0 => {}
                Ok(_) => return Event::Progress,
                // 3.1.1: [MQTT-4.8.0-2]
                Err(error) => return Event::Ended(Loss::Io(error.to_string())),
            }
        }
    }

    /// Writes what is queued, says goodbye to the transport, and waits a while for the peer's.
    async fn close(mut self, loss: Loss) -> Loss {
        let goodbye = async {
            self.framed.flush().await?;
            self.framed.shutdown().await
        };
        let said = timeout(CLOSE_PATIENCE, goodbye).await;
        // Nothing comes after a DISCONNECT, and nothing of ours is under way that its sender wants.
        if self.stage != Stage::Left && matches!(said, Ok(Ok(()))) {
            let ended = async { while self.framed.discard().await.is_ok_and(|count| count > 0) {} };
            let _ = timeout(LINGER, ended).await;
        }
        loss
    }
}

/// Who says goodbye and comes back at once is not to be taken for its own rival: a DISCONNECT that has
/// arrived on the old connection is read first, or the will would be sent.
async fn let_the_old_one_leave(hub: &Hub, client_id: &str) {
    let gone = async {
        while !client_id.is_empty() && hub.has_client(client_id) {
            sleep(LOOK).await;
        }
    };
    // Who does not leave is thrown out.
    let _ = timeout(LAST_WORDS, gone).await;
}

/// Puts the task behind those that can run now. tokio runs a task that was woken right after the one
/// that woke it; a receiver that let the other senders go first finds all that they have for it, and
/// writes it at once.
async fn let_others_go_first() {
    let mut gone = false;
    poll_fn(|context| {
        if std::mem::replace(&mut gone, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Whether a CONNECT is let in. A password's hash takes milliseconds and so a thread of its own.
async fn authenticate(
    hub: &Hub,
    rules: &Arc<Rules>,
    zone: usize,
    connect: &Connect,
) -> Result<(), AuthFailure> {
    let check = |rules: &Rules, connect: &Connect| {
        rules.authenticate(zone, connect.username.as_deref(), connect.password.as_deref())
    };
    if connect.properties.authentication_method().is_some() {
        // The engine asks for another proof, whatever is said here.
        return Err(AuthFailure::BadCredentials);
    }
    let hashes = rules.zones().get(zone).is_some_and(|zone| zone.passwords.is_some());
    if !hashes || connect.username.is_none() {
        return check(rules, connect);
    }
    let _permit = hub.hashing().await;
    let (rules, credentials) = (Arc::clone(rules), connect.clone());
    let verdict = spawn_blocking(move || {
        rules.authenticate(zone, credentials.username.as_deref(), credentials.password.as_deref())
    });
    verdict.await.unwrap_or(Err(AuthFailure::BadCredentials))
}

/// A TLS client's first bytes: handshake record, major version 3.
fn looks_like_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 0x03, ..])
}
