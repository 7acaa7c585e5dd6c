//! One client of a scenario: connects, asks, waits, and says what it missed.
//!
//! The only executor of client operations; packet blocks are in `packets`, absences in `fence`.

mod connect;
mod receive;
mod request;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

pub use receive::{all_wanted, list, pick, wanted};

use super::context::{At, Context};
use super::link::{Command, Ending, Inbox, Link};
use super::outcome::{Done, Trouble};
use super::scram::Exchange;
use crate::client::{Client, Session};
use crate::mqtt::packet::Disconnect;
use crate::mqtt::{Packet, ProtocolVersion, TopicName};
use crate::net::Endpoint;
use crate::scenario::ClientSpec;
use crate::scenario::op::{Close, Closed, Open};
use crate::scenario::value::Template;
use crate::text::print_duration;

/// How long connecting may take unless told otherwise: TLS on a busy machine needs more than the
/// usual 2 s.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a peer waits for a connection: bridges take their time before they try again.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// Clocks of broker and runner are read at different moments; a broker that waits exactly 1.5 s
/// must not be seen to close after 1.4999 s.
const CLOCK_SLACK: Duration = Duration::from_millis(20);

/// One client of a scenario.
#[derive(Debug)]
pub struct Actor<'a> {
    /// Its definition.
    pub spec: &'a ClientSpec,
    /// The revision that it speaks.
    pub version: ProtocolVersion,
    /// The revision of the latest CONNECT that was sent as a packet line.
    pub wire_version: ProtocolVersion,
    /// What it received.
    pub inbox: Inbox,
    /// Its connection.
    pub link: Option<Link>,
    /// QoS 0 messages were sent that no later answer has confirmed.
    pub unconfirmed: bool,
    /// A raw client was answered with CONNACK 0.
    pub said_connect: bool,
    /// What packet lines call `$name`.
    pub numbers: BTreeMap<String, u32>,
    /// Its enhanced authentication, of packet lines.
    pub scram: Exchange,
    session: Session,
    client_id: String,
    /// Its connection ended, or is about to, by the scenario's own doing.
    excused: bool,
    /// Not later than the latest packet left. A broker's timer runs from when it read that packet,
    /// so that a moment between the two must not count against it.
    last_sent: Instant,
}

impl<'a> Actor<'a> {
    /// Not connected yet.
    pub fn new(spec: &'a ClientSpec, context: &Context<'_>) -> Self {
        let version = spec.protocol.unwrap_or(context.case.protocol);
        // MQTT 3.1 takes 23 characters.
        let name: String = spec.name.chars().filter(char::is_ascii_alphanumeric).take(14).collect();
        Self {
            spec,
            version,
            wire_version: version,
            inbox: Inbox::default(),
            link: None,
            unconfirmed: false,
            said_connect: false,
            numbers: BTreeMap::new(),
            scram: Exchange::default(),
            session: Session::default(),
            client_id: format!("{name}-{}", context.nonce),
            excused: false,
            last_sent: Instant::now(),
        }
    }

    /// The broker is being stopped: the end of the connection is no fault.
    pub fn excuse(&mut self) {
        self.excused = true;
    }

    /// True when the end of its connection is no fault.
    pub fn is_excused(&self) -> bool {
        self.excused
    }

    /// The client identifier, as far as it is known before the broker assigns one.
    pub fn client_id(&self, at: At<'_>) -> Done<String> {
        match &self.spec.client_id {
            Some(template) => at.resolve(template),
            None => Ok(self.client_id.clone()),
        }
    }

    /// True while there is a connection that is not known to have ended.
    pub fn is_connected(&self) -> bool {
        self.link.is_some() && self.inbox.ending().is_none() && !self.excused
    }

    /// True once the broker has let it in; a raw client may be connected without.
    pub fn is_accepted(&self) -> bool {
        !self.spec.raw || self.said_connect
    }

    /// Connects at first use, and again after an end that the scenario brought about.
    pub async fn ensure_open(&mut self, at: At<'_>) -> Done {
        if self.is_connected() {
            return Ok(());
        }
        if let (true, false, Some(ending)) = (self.link.is_some(), self.excused, self.inbox.ending()) {
            return Err(self.lost(at, "a connection that lasts", &ending));
        }
        if self.spec.raw {
            return self.open_transport(at).await;
        }
        self.open(at, &Open::default()).await
    }

    /// Gives the connection up, keeping the session.
    pub async fn leave(&mut self, last: Command) {
        if let Some(link) = self.link.take() {
            self.session = link.finish(last).await;
        }
        self.excused = false;
        self.unconfirmed = false;
        self.said_connect = false;
    }

    /// True while packet lines go to the connection that there is: also after the broker closed it,
    /// unless a line (or a step) said that this was expected.
    pub fn is_open_for_packets(&self) -> bool {
        self.link.is_some() && !self.excused
    }

    fn spawn(&self, at: At<'_>, client: Client) -> Link {
        Link::spawn(client, &self.inbox, at.context.watch(&self.spec.name))
    }

    fn started(&mut self, link: Link) {
        self.link = Some(link);
        self.excused = false;
    }

    async fn endpoint(&self, at: At<'_>) -> Done<Endpoint> {
        if let Some(peer) = &self.spec.peer {
            let endpoint = at.context.doors.endpoint(peer);
            return endpoint.ok_or_else(|| at.errored("an address", format!("{peer} has none")));
        }
        let target = at.context.target.lock().await;
        let mut endpoint = target
            .endpoint(self.spec.listener.as_deref(), self.spec.trust.as_deref())
            .map_err(|error| at.errored("an address", error.to_string()))?;
        if let (Some(wanted), Endpoint::WebSocket { subprotocols, .. }) =
            (&self.spec.subprotocols, &mut endpoint)
        {
            subprotocols.clone_from(wanted);
        }
        Ok(endpoint)
    }

    /// Waits until the broker closes.
    pub async fn closed(&mut self, at: At<'_>, closed: &Closed) -> Done {
        if self.link.is_none() {
            return Err(at.errored("a connection that the broker closes", "there is none"));
        }
        let since = Instant::now();
        let until = since + closed.within;
        let name = &self.spec.name;
        let expected =
            format!("the broker closes the connection of {name} within {}", print_duration(closed.within));
        let Some(ending) = self.inbox.ended(until).await else {
            return Err(at.silent(since, expected, "it is still open"));
        };
        if ending.malformed {
            return Err(at.failed(expected, ending.how));
        }
        self.excused = true;
        let since = ending.at.saturating_duration_since(self.last_sent);
        if let Some(after) = closed.after.filter(|after| since + CLOCK_SLACK < *after) {
            return Err(at.failed(
                format!("{name} is not cut off before {} of silence", print_duration(after)),
                format!("closed after {}", print_duration(since)),
            ));
        }
        let Some(wanted) = closed.reason else { return Ok(()) };
        let found = self.inbox.with(|packets| {
            packets.iter().find_map(|packet| match packet {
                Packet::Disconnect(disconnect) => Some(disconnect.reason),
                _ => None,
            })
        });
        match found {
            Some(reason) if reason == wanted => Ok(()),
            Some(reason) => Err(at.failed(format!("DISCONNECT {wanted}"), format!("DISCONNECT {reason}"))),
            None => Err(at.failed(format!("DISCONNECT {wanted}"), "closed without DISCONNECT")),
        }
    }

    /// Ends the connection from this side.
    pub async fn close(&mut self, at: At<'_>, close: &Close) -> Done {
        self.ensure_open(at).await?;
        let last = match close {
            Close::Disconnect { reason, properties } => {
                Command::Disconnect(Disconnect { reason: *reason, properties: properties.clone() })
            }
            Close::Drop => Command::Drop,
        };
        self.leave(last).await;
        at.context.recorder.ended(&self.spec.name, "closed by the client");
        Ok(())
    }

    /// The connection ended although it should not have.
    fn lost(&self, at: At<'_>, wanted: &str, ending: &Ending) -> Trouble {
        at.failed(wanted, format!("the connection of {} was {}", self.spec.name, ending.how))
    }
}

/// A topic with its variables replaced.
pub fn topic(at: At<'_>, template: &Template) -> Done<TopicName> {
    let text = at.resolve(template)?;
    TopicName::new(text).map_err(|error| at.errored("a topic", error.to_string()))
}
