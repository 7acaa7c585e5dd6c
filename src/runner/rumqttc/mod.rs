//! Plays a client through rumqttc, an implementation that we did not write.
//!
//! rumqttc speaks to a Unix socket of ours; a relay carries its bytes, unchanged, to the broker
//! over whatever transport that has. What arrived is what the relay saw on the wire, for rumqttc
//! gives its events in another order than that of the wire. What it cannot do is named before the
//! case starts (Skipped), never played by something else.

mod limits;
mod loops;
mod relay;

use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

pub use limits::{cannot, plays};
use loops::Loop;
use relay::{Relay, Seen};

use super::context::At;
use super::link::{Command, Commands, Inbox, Link, Sent};
use super::outcome::{Done, Trouble};
use crate::client::{ConnectFailure, Options, Session};
use crate::mqtt::packet::{ConnAck, Unsubscribe};
use crate::mqtt::{Packet, PacketId, Properties, ReasonCode, TopicFilter};
use crate::net::Endpoint;
use crate::net::framed::Closed;
use crate::net::tap::Tap;

/// A name that nobody subscribes to: rumqttc pings when it likes, so that a round trip is an
/// UNSUBSCRIBE of this.
const NOBODY: &str = "mqttlab/nobody";
/// How long rumqttc may take to send what it was asked to.
const SEND: Duration = Duration::from_secs(2);
/// How long a broker may take to close after DISCONNECT before we do.
const GOODBYE: Duration = Duration::from_millis(500);
/// Packets of rumqttc that wait to be looked at.
const OUTGOING: usize = 1024;

/// Connects through rumqttc and waits for the CONNACK.
pub async fn connect(
    at: At<'_>,
    endpoint: &Endpoint,
    options: &Options,
    inbox: &Inbox,
    tap: Tap,
    name: &str,
) -> Done<Result<(Link, ConnAck), ConnectFailure>> {
    let until = Instant::now() + options.connect_timeout;
    let transport = match timeout_at(until, endpoint.connect()).await {
        Ok(Ok(transport)) => transport,
        Ok(Err(error)) => return Ok(Err(error.into())),
        Err(_) => return Ok(Err(ConnectFailure::TimedOut)),
    };
    let io = |error: std::io::Error| at.errored("a Unix socket for rumqttc", error.to_string());
    let folder = tempfile::tempdir().map_err(io)?;
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).map_err(io)?;
    let (link, commands) = Link::channel(inbox);
    let rumqttc = Loop::start(&options.connect, &path).map_err(Trouble::Skipped)?;
    let accepted = timeout_at(until, listener.accept()).await;
    let Ok(Ok((client, _))) = accepted else { return Ok(Err(ConnectFailure::TimedOut)) };
    let (outgoing, seen) = mpsc::channel(OUTGOING);
    let (answered, answer) = mpsc::channel(1);
    let relay = Relay {
        client,
        transport,
        version: options.connect.version,
        tap,
        inbox: inbox.clone(),
        watch: at.context.watch(name),
        outgoing,
        answered: Some(answered),
    };
    let relaying = tokio::spawn(relay.run());
    let player = Player { rumqttc, relaying, seen, inbox: inbox.clone() };
    let outcome = first_answer(answer, until).await;
    Ok(outcome.map(|answer| (link(tokio::spawn(player.serve(commands))), answer)))
}

/// The CONNACK, or what came instead.
async fn first_answer(mut answer: mpsc::Receiver<Seen>, until: Instant) -> Result<ConnAck, ConnectFailure> {
    match timeout_at(until, answer.recv()).await {
        Ok(Some(Seen::Packet(Packet::ConnAck(answer)))) if answer.code == ReasonCode::SUCCESS => Ok(answer),
        Ok(Some(Seen::Packet(Packet::ConnAck(answer)))) => Err(ConnectFailure::Refused(Box::new(answer))),
        Ok(Some(Seen::Packet(packet))) => Err(ConnectFailure::Unexpected(Box::new(packet))),
        Ok(Some(Seen::Closed(closed))) => Err(ConnectFailure::Closed(closed)),
        Ok(None) => Err(ConnectFailure::Closed(Closed::Eof)),
        Err(_) => Err(ConnectFailure::TimedOut),
    }
}

/// A connected rumqttc.
struct Player {
    rumqttc: Loop,
    relaying: tokio::task::JoinHandle<()>,
    /// What rumqttc sends, as the relay sees it.
    seen: mpsc::Receiver<Packet>,
    inbox: Inbox,
}

impl Drop for Player {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

impl Player {
    async fn serve(mut self, mut commands: Commands) -> Session {
        while let Some((command, answer)) = commands.recv().await {
            match command {
                Command::Drop => break,
                Command::Disconnect(_) => {
                    self.rumqttc.disconnect().await;
                    // The broker closes when it has dealt with the goodbye.
                    self.inbox.ended(Instant::now() + GOODBYE).await;
                    break;
                }
                command => {
                    if let Some(sent) = self.send(command).await {
                        // Nobody waits any more where a step was given up.
                        let _ = answer.send(sent);
                    }
                }
            }
        }
        self.inbox.end(Closed::Eof.to_string(), false);
        Session::default()
    }

    /// Asks rumqttc, and waits until it has put that on the wire; `None` if it does not.
    async fn send(&mut self, command: Command) -> Option<Sent> {
        // What it sent by itself (pings, acknowledgements) is no answer to this.
        while self.seen.try_recv().is_ok() {}
        let command = match command {
            Command::Ping => Command::Unsubscribe(Unsubscribe {
                id: PacketId::FIRST,
                properties: Properties::new(),
                filters: vec![TopicFilter::new(NOBODY).ok()?],
            }),
            other => other,
        };
        self.rumqttc.ask(&command).await?;
        let until = Instant::now() + SEND;
        loop {
            match (timeout_at(until, self.seen.recv()).await.ok()??, &command) {
                (Packet::Publish(publish), Command::Publish(_)) => {
                    return Some(publish.id.map_or(Sent::Plain, Sent::WithId));
                }
                (Packet::Subscribe(subscribe), Command::Subscribe(_)) => {
                    return Some(Sent::WithId(subscribe.id));
                }
                (Packet::Unsubscribe(unsubscribe), Command::Unsubscribe(_)) => {
                    return Some(Sent::WithId(unsubscribe.id));
                }
                _ => {}
            }
        }
    }
}
