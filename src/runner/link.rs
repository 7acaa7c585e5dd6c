//! One connection of the wire client, kept alive by a task of its own, with what it received.
//!
//! The task acknowledges and pings while the scenario does something else; it judges nothing. What
//! came in lies in the [`Inbox`], which outlives the connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::recorder::Recorder;
use crate::client::{Client, Event, Session};
use crate::mqtt::packet::{Disconnect, Publish, Subscribe, Unsubscribe};
use crate::mqtt::{Packet, PacketId};
use crate::net::framed::Closed;

/// Packets that wait to be looked at; beyond this the connection is not read any further.
const INBOX: usize = 100_000;
/// Commands under way to the task.
const COMMANDS: usize = 16;
/// How long a broker may take to close after DISCONNECT before we do. It need not at all; where
/// it does, we know that the goodbye was dealt with.
const GOODBYE: Duration = Duration::from_millis(500);

/// How a connection ended.
#[derive(Debug, Clone)]
pub struct Ending {
    /// When.
    pub at: Instant,
    /// `closed by the peer`, `reset by the peer`, or what was malformed.
    pub how: String,
    /// The bytes of the broker were no packet.
    pub malformed: bool,
}

/// What one client received and nobody has asked for yet.
#[derive(Debug, Clone, Default)]
pub struct Inbox(Arc<InboxShared>);

#[derive(Debug, Default)]
struct InboxShared {
    state: Mutex<InboxState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct InboxState {
    packets: VecDeque<Packet>,
    /// PINGRESPs of this connection.
    pongs: u64,
    ending: Option<Ending>,
}

/// What waiting for something in the inbox came to.
#[derive(Debug)]
pub enum Taken<T> {
    /// It is there.
    Found(T),
    /// The connection ended without it.
    Ended(Ending),
    /// Not in time.
    TimedOut,
}

impl Inbox {
    /// Before a new connection: messages stay, acknowledgements of the old connection go.
    fn reopened(&self) {
        let mut state = self.0.state.lock();
        state.packets.retain(|packet| matches!(packet, Packet::Publish(_)));
        state.ending = None;
        state.pongs = 0;
    }

    pub(super) fn push(&self, packet: Packet) {
        self.0.state.lock().packets.push_back(packet);
        self.0.changed.notify_waiters();
    }

    pub(super) fn end(&self, how: String, malformed: bool) {
        let mut state = self.0.state.lock();
        state.ending.get_or_insert(Ending { at: Instant::now(), how, malformed });
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Until something comes or is taken note of here.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }

    fn is_full(&self) -> bool {
        self.0.state.lock().packets.len() >= INBOX
    }

    /// How the connection ended, if it did.
    pub fn ending(&self) -> Option<Ending> {
        self.0.state.lock().ending.clone()
    }

    /// Looks at (and may change) what lies there.
    pub fn with<T>(&self, look: impl FnOnce(&mut VecDeque<Packet>) -> T) -> T {
        look(&mut self.0.state.lock().packets)
    }

    /// Waits until `take` finds what it looks for, the connection ends, or time is up. What came
    /// before the end is looked at first.
    pub async fn take<T>(
        &self,
        until: Instant,
        mut take: impl FnMut(&mut VecDeque<Packet>) -> Option<T>,
    ) -> Taken<T> {
        self.wait(until, |state| take(&mut state.packets)).await
    }

    async fn wait<T>(&self, until: Instant, mut look: impl FnMut(&mut InboxState) -> Option<T>) -> Taken<T> {
        loop {
            let changed = self.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.0.state.lock();
                if let Some(found) = look(&mut state) {
                    return Taken::Found(found);
                }
                if let Some(ending) = &state.ending {
                    return Taken::Ended(ending.clone());
                }
            }
            if timeout_at(until, changed).await.is_err() {
                return Taken::TimedOut;
            }
        }
    }

    /// Waits for the PINGRESP that answers [`Sent::Ping`].
    pub async fn pong(&self, wanted: u64, until: Instant) -> Taken<()> {
        self.wait(until, |state| (state.pongs >= wanted).then_some(())).await
    }

    fn set_pongs(&self, pongs: u64) {
        self.0.state.lock().pongs = pongs;
        self.0.changed.notify_waiters();
    }

    /// Waits for the end of the connection.
    pub async fn ended(&self, until: Instant) -> Option<Ending> {
        match self.take::<()>(until, |_| None).await {
            Taken::Ended(ending) => Some(ending),
            _ => None,
        }
    }
}

/// What the task is told to send.
#[derive(Debug)]
pub enum Command {
    /// PUBLISH; QoS 1 and 2 get an identifier.
    Publish(Publish),
    /// SUBSCRIBE.
    Subscribe(Subscribe),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe),
    /// PINGREQ, whose PINGRESP does not lie in the inbox but is waited for by [`Inbox::pong`].
    Ping,
    /// Bytes as they are, and what they mean.
    Raw(Bytes, Option<Packet>),
    /// The same in a write of their own, and over a WebSocket in a frame of their own.
    Alone {
        /// As they are.
        bytes: Bytes,
        /// What they mean.
        packet: Option<Packet>,
        /// A text frame.
        text: bool,
    },
    /// DISCONNECT, and the end.
    Disconnect(Disconnect),
    /// The end without a goodbye.
    Drop,
}

/// What came of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Handed to the connection.
    Plain,
    /// With this packet identifier.
    WithId(PacketId),
    /// Answered when so many PINGRESPs have come.
    Ping(u64),
    /// The connection has no identifier left.
    Exhausted,
}

/// Commands, each with the place for its answer.
pub(super) type Commands = mpsc::Receiver<(Command, oneshot::Sender<Sent>)>;

/// What a connection reports to, and whose messages it keeps to itself.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The log of the case.
    pub recorder: Recorder,
    /// The client's name.
    pub client: String,
    /// Messages to this topic are the runner's own and of no concern to the scenario, though a
    /// client that subscribes to everything gets them.
    pub fence_topic: String,
    /// So do messages whose payload begins like this, on whatever topic.
    pub probe: String,
}

impl Watch {
    /// True for a message that only proves that an earlier one would have come.
    pub fn is_sentinel(&self, packet: &Packet) -> bool {
        matches!(packet, Packet::Publish(publish) if publish.topic.as_str() == self.fence_topic
            || publish.payload.starts_with(self.probe.as_bytes()))
    }
}

/// A running connection.
#[derive(Debug)]
pub struct Link {
    commands: mpsc::Sender<(Command, oneshot::Sender<Sent>)>,
    task: JoinHandle<Session>,
}

impl Link {
    /// Runs a connected client in a task of its own.
    pub fn spawn(client: Client, inbox: &Inbox, watch: Watch) -> Self {
        let (link, commands) = Self::channel(inbox);
        link(tokio::spawn(serve(client, inbox.clone(), commands, watch)))
    }

    /// The two ends of a connection whose task is not known yet.
    pub(super) fn channel(inbox: &Inbox) -> (impl FnOnce(JoinHandle<Session>) -> Self + use<>, Commands) {
        inbox.reopened();
        let (commands, receiver) = mpsc::channel(COMMANDS);
        (move |task| Self { commands, task }, receiver)
    }

    /// Sends something; `None` when the connection is over.
    pub async fn send(&self, command: Command) -> Option<Sent> {
        let (answer, answered) = oneshot::channel();
        self.commands.send((command, answer)).await.ok()?;
        answered.await.ok()
    }

    /// Ends the connection with a last command and returns the session.
    pub async fn finish(self, last: Command) -> Session {
        let Self { commands, task } = self;
        let (answer, _) = oneshot::channel();
        // A connection that is over takes no command; its task has ended or is about to.
        let _ = commands.send((last, answer)).await;
        drop(commands);
        task.await.unwrap_or_default()
    }
}

async fn serve(mut client: Client, inbox: Inbox, mut commands: Commands, watch: Watch) -> Session {
    // Numbers of the PINGRESPs that the scenario asked for in so many words.
    let mut pings = VecDeque::new();
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                None | Some((Command::Drop, _)) => {
                    let _ = client.flush().await;
                    return client.into_session();
                }
                Some((Command::Disconnect(goodbye), _)) => return say_goodbye(client, goodbye, &inbox, &watch).await,
                Some((Command::Alone { bytes, packet, text }, answer)) => {
                    // A connection that has ended shows in the next event.
                    let _ = client.send_alone(&bytes, packet.as_ref(), text).await;
                    let _ = answer.send(Sent::Plain);
                }
                Some((command, answer)) => {
                    let sent = send(&mut client, command, &mut pings);
                    // Nobody waits any more where a step was given up.
                    let _ = answer.send(sent);
                }
            },
            event = client.next(), if !inbox.is_full() => match event {
                Event::Packet(Packet::PingResp) => {
                    if pings.front() == Some(&client.pongs()) {
                        pings.pop_front();
                        inbox.push(Packet::PingResp);
                    }
                    inbox.set_pongs(client.pongs());
                }
                Event::Packet(packet) => {
                    if let Some(id) = acknowledged(&packet) {
                        client.take_outcome(id);
                    }
                    if !watch.is_sentinel(&packet) {
                        inbox.push(packet);
                    }
                }
                // The session answered it; for the application it is no new message.
                Event::Repeated(_) => {}
                Event::Closed(closed) => {
                    watch.recorder.ended(&watch.client, &closed.to_string());
                    inbox.end(closed.to_string(), false);
                    return client.into_session();
                }
                Event::Malformed(error) => {
                    watch.recorder.ended(&watch.client, &format!("given up: {error}"));
                    inbox.end(error.to_string(), true);
                    return client.into_session();
                }
            },
        }
    }
}

fn send(client: &mut Client, command: Command, pings: &mut VecDeque<u64>) -> Sent {
    let with_id = |id| match id {
        Ok(Some(id)) => Sent::WithId(id),
        Ok(None) => Sent::Plain,
        Err(_) => Sent::Exhausted,
    };
    match command {
        Command::Publish(publish) => with_id(client.start_publish(publish)),
        Command::Subscribe(subscribe) => with_id(client.start_subscribe(subscribe).map(Some)),
        Command::Unsubscribe(unsubscribe) => with_id(client.start_unsubscribe(unsubscribe).map(Some)),
        Command::Ping => Sent::Ping(client.start_ping()),
        Command::Raw(_, Some(Packet::PingReq)) => {
            pings.push_back(client.start_ping());
            Sent::Plain
        }
        Command::Raw(bytes, packet) => {
            if let Some(Packet::Connect(connect)) = &packet {
                client.speak(connect.version);
            }
            client.send_raw(&bytes, packet.as_ref());
            Sent::Plain
        }
        Command::Alone { .. } | Command::Disconnect(_) | Command::Drop => Sent::Plain,
    }
}

/// Sends DISCONNECT and reads on until the broker closes: then it has dealt with it.
async fn say_goodbye(mut client: Client, goodbye: Disconnect, inbox: &Inbox, watch: &Watch) -> Session {
    client.send(&Packet::Disconnect(goodbye));
    let until = Instant::now() + GOODBYE;
    while let Ok(event) = timeout_at(until, client.next()).await {
        match event {
            Event::Packet(packet) if !watch.is_sentinel(&packet) => inbox.push(packet),
            Event::Packet(_) | Event::Repeated(_) => {}
            Event::Closed(_) | Event::Malformed(_) => break,
        }
    }
    inbox.end(Closed::Eof.to_string(), false);
    client.into_session()
}

fn acknowledged(packet: &Packet) -> Option<PacketId> {
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => Some(ack.id),
        Packet::SubAck(ack) => Some(ack.id),
        Packet::UnsubAck(ack) => Some(ack.id),
        _ => None,
    }
}
