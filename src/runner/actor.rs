//! One client of a scenario: connects, asks, waits, and says what it missed.
//!
//! The only executor of client operations; packet blocks are in `packets`, absences in `fence`.

use std::time::Duration;

use tokio::time::Instant;

use super::context::{At, Context};
use super::link::{Arrived, Command, Ending, Inbox, Link, Sent, Taken};
use super::matching::{describe_message, is_message, unmet_property};
use super::outcome::{Done, Trouble};
use super::rumqttc;
use crate::client::{Client, ConnectFailure, Options, Session};
use crate::mqtt::packet::{Connect, ConnAck, Disconnect, Publish, Subscribe, Subscription, Unsubscribe, Will};
use crate::mqtt::{Packet, PacketId, ProtocolVersion, QoS, ReasonCode, TopicFilter, TopicName};
use crate::net::ConnectError;
use crate::scenario::op::{Close, Closed, ConnectOutcome, Expect, Open, Reply, Request};
use crate::scenario::target::DEFAULT_WITHIN;
use crate::scenario::value::Template;
use crate::scenario::{ClientSpec, EngineKind, WillSpec};
use crate::text::{plural, print_duration, printable};

/// How long connecting may take unless told otherwise: TLS on a busy machine needs more than the
/// usual 2 s.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
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
    session: Session,
    client_id: String,
    /// Its connection ended, or is about to, by the scenario's own doing.
    excused: bool,
    last_sent: Instant,
}

/// What a broker said to a request.
enum Answer {
    /// The acknowledgement, with its codes.
    Codes(&'static str, Vec<ReasonCode>),
    /// PINGRESP, or nothing to wait for.
    Plain,
    /// The end of the connection.
    Ended(Ending),
    /// Nothing.
    Silence,
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

    /// Waits for an UNSUBACK.
    pub async fn unsubscribed(&self, id: PacketId, until: Instant) -> Taken<()> {
        self.inbox
            .take(until, |packets| {
                let index = packets.iter().position(|arrived| completes(&arrived.packet, id))?;
                packets.remove(index).map(|_| ())
            })
            .await
    }

    /// True where rumqttc plays this client.
    fn is_rumqttc(&self, at: At<'_>) -> bool {
        !self.spec.raw && at.context.engine.unwrap_or(self.spec.engine) == EngineKind::Rumqttc
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

    /// Opens a transport and sends nothing (raw clients).
    pub async fn open_transport(&mut self, at: At<'_>) -> Done {
        self.leave(Command::Drop).await;
        let mut options = Options::new(Connect { version: self.version, ..Connect::default() });
        options.raw = true;
        options.connect_timeout = CONNECT_WITHIN;
        let endpoint = self.endpoint(at).await?;
        let tap = at.context.recorder.tap(&self.spec.name, self.version);
        let client = Client::open(&endpoint, &options, Session::default(), Some(tap)).await;
        let client = client.map_err(|failure| at.failed("a connection", failure.to_string()))?;
        self.started(self.spawn(at, client));
        Ok(())
    }

    fn spawn(&self, at: At<'_>, client: Client) -> Link {
        Link::spawn(client, &self.inbox, at.context.watch(&self.spec.name))
    }

    fn started(&mut self, link: Link) {
        self.link = Some(link);
        self.excused = false;
        self.last_sent = Instant::now();
    }

    async fn endpoint(&self, at: At<'_>) -> Done<crate::net::Endpoint> {
        let target = at.context.target.lock().await;
        target
            .endpoint(self.spec.listener.as_deref(), self.spec.trust.as_deref())
            .map_err(|error| at.errored("an address", error.to_string()))
    }

    /// Connects and checks what comes of it.
    pub async fn open(&mut self, at: At<'_>, open: &Open) -> Done {
        self.leave(Command::Drop).await;
        let mut options = Options::new(self.connect_packet(at, open).await?);
        options.auto_ping = self.spec.auto_ping;
        options.raw = self.spec.raw;
        options.connect_timeout = open.within.unwrap_or(CONNECT_WITHIN);
        let endpoint = self.endpoint(at).await?;
        let recorder = &at.context.recorder;
        let result = if self.is_rumqttc(at) {
            let tap = recorder.tap(&self.spec.name, self.version);
            rumqttc::connect(at, &endpoint, &options, &self.inbox, tap, &self.spec.name).await?
        } else {
            let session = std::mem::take(&mut self.session);
            let tap = recorder.tap(&self.spec.name, self.version);
            let connected = Client::connect(&endpoint, &options, session, Some(tap)).await;
            connected.map(|(client, answer)| (self.spawn(at, client), answer))
        };
        let outcome = result.map(|(link, answer)| {
            self.started(link);
            self.said_connect = true;
            answer
        });
        check_connect(at, &open.outcome, outcome)
    }

    async fn connect_packet(&self, at: At<'_>, open: &Open) -> Done<Connect> {
        let user = open.user.as_ref().unwrap_or(&self.spec.user);
        let given: Option<&Template> = open.password.as_ref().or(match open.user {
            None => self.spec.password.as_ref(),
            Some(_) => None,
        });
        let password = match (given, user) {
            (Some(template), _) => Some(at.resolve(template)?),
            (None, Some(user)) => at.context.target.lock().await.password(user),
            (None, None) => None,
        };
        let will = open.will.as_ref().unwrap_or(&self.spec.will);
        let mut properties = self.spec.properties.clone();
        for property in &open.properties {
            properties.push(property.clone());
        }
        Ok(Connect {
            version: self.version,
            bridge: false,
            clean_start: open.clean.unwrap_or(self.spec.clean),
            keep_alive: open.keep_alive.unwrap_or(self.spec.keep_alive),
            client_id: self.client_id(at)?.into(),
            will: will.as_ref().map(|will| will_packet(at, will)).transpose()?,
            username: user.as_deref().map(Into::into),
            password: password.map(Into::into),
            properties,
        })
    }

    /// Asks something of the broker and checks the answer.
    pub async fn request(&mut self, at: At<'_>, request: &Request, reply: &Reply) -> Done {
        self.ensure_open(at).await?;
        let until = Instant::now() + DEFAULT_WITHIN;
        let command = request_command(at, request)?;
        let asked = match &command {
            Command::Subscribe(subscribe) => {
                subscribe.subscriptions.iter().map(|one| ReasonCode(one.options.qos.as_u8())).collect()
            }
            _ => Vec::new(),
        };
        let qos0 = matches!(request, Request::Publish { qos: QoS::AtMostOnce, .. });
        let sent = self.send(at, command).await;
        self.unconfirmed |= qos0;
        let answer = match sent {
            None => match self.inbox.ending() {
                Some(ending) => Answer::Ended(ending),
                None => Answer::Silence,
            },
            Some(Sent::Exhausted) => return Err(at.errored("a free packet identifier", "all are in use")),
            Some(Sent::Plain) if matches!(reply, Reply::Closed) => match self.inbox.ended(until).await {
                Some(ending) => Answer::Ended(ending),
                None => Answer::Plain,
            },
            Some(Sent::Plain) => Answer::Plain,
            Some(Sent::Ping(wanted)) => match self.inbox.pong(wanted, until).await {
                Taken::Found(()) => Answer::Plain,
                Taken::Ended(ending) => Answer::Ended(ending),
                Taken::TimedOut => Answer::Silence,
            },
            Some(Sent::WithId(id)) => self.acknowledgement(id, until).await,
        };
        if matches!(answer, Answer::Codes(..)) && !qos0 {
            self.unconfirmed = false;
        }
        self.check_reply(at, request, reply, answer, &asked)
    }

    /// Hands a command to the connection.
    pub async fn send(&mut self, _at: At<'_>, command: Command) -> Option<Sent> {
        self.last_sent = Instant::now();
        self.link.as_ref()?.send(command).await
    }

    async fn acknowledgement(&self, id: PacketId, until: Instant) -> Answer {
        let taken = self.inbox.take(until, |packets| {
            let at = packets.iter().position(|arrived| completes(&arrived.packet, id))?;
            packets.remove(at)
        });
        match taken.await {
            Taken::Found(Arrived { packet, .. }) => match packet {
                Packet::PubAck(ack) => Answer::Codes("PUBACK", vec![ack.reason]),
                Packet::PubRec(ack) => Answer::Codes("PUBREC", vec![ack.reason]),
                Packet::PubComp(ack) => Answer::Codes("PUBCOMP", vec![ack.reason]),
                Packet::SubAck(ack) => Answer::Codes("SUBACK", ack.codes),
                Packet::UnsubAck(ack) => Answer::Codes("UNSUBACK", ack.codes),
                _ => Answer::Plain,
            },
            Taken::Ended(ending) => Answer::Ended(ending),
            Taken::TimedOut => Answer::Silence,
        }
    }

    fn check_reply(
        &mut self,
        at: At<'_>,
        request: &Request,
        reply: &Reply,
        answer: Answer,
        asked: &[ReasonCode],
    ) -> Done {
        let wanted = describe_reply(request, reply, asked);
        if let Answer::Ended(ending) = &answer {
            if ending.malformed {
                return Err(at.failed(wanted, ending.how.clone()));
            }
            return match reply {
                Reply::Closed | Reply::Denied | Reply::Any => {
                    self.excused = true;
                    Ok(())
                }
                _ => Err(self.lost(at, &wanted, ending)),
            };
        }
        let fine = match (reply, &answer) {
            (Reply::Any, _) | (Reply::Denied | Reply::Positive, Answer::Plain) => true,
            (Reply::Closed, _) | (_, Answer::Silence | Answer::Ended(_)) => false,
            (Reply::Refused, Answer::Codes(_, codes)) => {
                !codes.is_empty() && codes.iter().all(|code| code.0 >= 0x80)
            }
            (Reply::Denied, Answer::Codes(..)) => true,
            (Reply::Codes(wanted), Answer::Codes(_, codes)) => wanted == codes,
            (Reply::Positive, Answer::Codes(_, codes)) if asked.is_empty() => {
                codes.iter().all(|code| code.0 < 0x80)
            }
            (Reply::Positive, Answer::Codes(_, codes)) => codes == asked,
            (Reply::Refused | Reply::Codes(_), Answer::Plain) => false,
        };
        if fine {
            return Ok(());
        }
        let actual = match answer {
            Answer::Codes(name, codes) if codes.is_empty() => format!("{name} without a code"),
            Answer::Codes(name, codes) => {
                let codes: Vec<_> = codes.iter().map(|code| format!("0x{:02x}", code.0)).collect();
                format!("{name} {}", codes.join(" "))
            }
            Answer::Plain => "no refusal, and the connection is still open".into(),
            Answer::Silence | Answer::Ended(_) => format!("nothing within {}", print_duration(DEFAULT_WITHIN)),
        };
        Err(at.failed(wanted, actual))
    }

    /// Waits for messages.
    pub async fn expect(&mut self, at: At<'_>, expect: &Expect) -> Done {
        self.ensure_open(at).await.or_else(|trouble| {
            // What came before the end still counts.
            if self.inbox.with(|packets| packets.is_empty()) { Err(trouble) } else { Ok(()) }
        })?;
        let until = Instant::now() + expect.within;
        let slots: Vec<_> = expect
            .messages
            .iter()
            .flat_map(|pattern| std::iter::repeat_n(pattern, pattern.times as usize))
            .collect();
        let taken = self
            .inbox
            .take(until, |packets| {
                let picked = at.looking(|lookup| {
                    let fits = |slot: usize, index: usize| match &packets[index].packet {
                        Packet::Publish(publish) => is_message(slots[slot], publish, lookup),
                        _ => false,
                    };
                    pick(slots.len(), packets.len(), expect.any_order, fits)
                })?;
                for index in picked.into_iter().rev() {
                    packets.remove(index);
                }
                Some(())
            })
            .await;
        match taken {
            Taken::Found(()) => Ok(()),
            Taken::Ended(ending) => Err(self.missed(at, expect, &ending.how, ending.malformed)),
            Taken::TimedOut => {
                let within = format!("not within {}", print_duration(expect.within));
                Err(self.missed(at, expect, &within, false))
            }
        }
    }

    /// What was not received, and what was instead.
    fn missed(&self, at: At<'_>, expect: &Expect, why: &str, malformed: bool) -> Trouble {
        let wanted = at.looking(|lookup| {
            let all: Vec<_> = expect
                .messages
                .iter()
                .map(|pattern| {
                    let times = if pattern.times > 1 { format!("{} × ", pattern.times) } else { String::new() };
                    times + &describe_message(pattern, lookup)
                })
                .collect();
            all.join(if expect.any_order { " and " } else { ", then " })
        });
        let there = self.unasked();
        let actual = match there.as_slice() {
            _ if malformed => why.to_owned(),
            [] => format!("{why}: nothing came"),
            some => format!("{why}; what came: {}", list(some)),
        };
        let span = expect.messages.first().map_or(at.span, |pattern| &pattern.span);
        let at = if expect.messages.len() == 1 { at.at(span) } else { at };
        at.failed(format!("{} receives {wanted}", self.spec.name), actual)
    }

    /// The messages that lie in the inbox, in words.
    pub fn unasked(&self) -> Vec<String> {
        self.inbox.with(|packets| {
            packets
                .iter()
                .filter_map(|arrived| match &arrived.packet {
                    Packet::Publish(publish) => Some(describe_publish(publish)),
                    _ => None,
                })
                .collect()
        })
    }

    /// Waits until the broker closes.
    pub async fn closed(&mut self, at: At<'_>, closed: &Closed) -> Done {
        if self.link.is_none() {
            return Err(at.errored("a connection that the broker closes", "there is none"));
        }
        let until = Instant::now() + closed.within;
        let name = &self.spec.name;
        let expected = format!("the broker closes the connection of {name} within {}", print_duration(closed.within));
        let Some(ending) = self.inbox.ended(until).await else {
            return Err(at.failed(expected, "it is still open"));
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
            packets.iter().find_map(|arrived| match &arrived.packet {
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
        at.context.recorder.link(&self.spec.name, "closed by the client");
        Ok(())
    }

    /// The connection ended although it should not have.
    fn lost(&self, at: At<'_>, wanted: &str, ending: &Ending) -> Trouble {
        at.failed(wanted, format!("the connection of {} was {}", self.spec.name, ending.how))
    }
}

/// Whether a packet is the last answer to the request with this identifier.
fn completes(packet: &Packet, wanted: PacketId) -> bool {
    match packet {
        Packet::PubAck(ack) | Packet::PubComp(ack) => ack.id == wanted,
        Packet::PubRec(ack) => ack.id == wanted && ack.reason.0 >= 0x80,
        Packet::SubAck(ack) => ack.id == wanted,
        Packet::UnsubAck(ack) => ack.id == wanted,
        _ => false,
    }
}

fn will_packet(at: At<'_>, will: &WillSpec) -> Done<Will> {
    Ok(Will {
        topic: topic(at, &will.topic)?,
        payload: at.payload(&will.payload)?,
        qos: will.qos,
        retain: will.retain,
        properties: will.properties.clone(),
    })
}

fn topic(at: At<'_>, template: &Template) -> Done<TopicName> {
    let text = at.resolve(template)?;
    TopicName::new(text).map_err(|error| at.errored("a topic", error.to_string()))
}

fn filter(at: At<'_>, template: &Template) -> Done<TopicFilter> {
    let text = at.resolve(template)?;
    TopicFilter::new(text).map_err(|error| at.errored("a topic filter", error.to_string()))
}

fn request_command(at: At<'_>, request: &Request) -> Done<Command> {
    Ok(match request {
        Request::Publish { topic: name, payload, qos, retain, properties } => Command::Publish(Publish {
            dup: false,
            qos: *qos,
            retain: *retain,
            topic: topic(at, name)?,
            id: None,
            payload: at.payload(payload)?,
            properties: properties.clone(),
        }),
        Request::Subscribe { filters, properties } => {
            let subscriptions = filters
                .iter()
                .map(|(name, options)| Ok(Subscription { filter: filter(at, name)?, options: *options }))
                .collect::<Done<_>>()?;
            Command::Subscribe(Subscribe { id: PacketId::FIRST, properties: properties.clone(), subscriptions })
        }
        Request::Unsubscribe { filters, properties } => {
            let filters = filters.iter().map(|name| filter(at, name)).collect::<Done<_>>()?;
            Command::Unsubscribe(Unsubscribe { id: PacketId::FIRST, properties: properties.clone(), filters })
        }
        Request::Ping => Command::Ping,
    })
}

fn describe_reply(request: &Request, reply: &Reply, asked: &[ReasonCode]) -> String {
    let name = match request {
        Request::Publish { qos: QoS::ExactlyOnce, .. } => "PUBREC and PUBCOMP",
        Request::Publish { .. } => "PUBACK",
        Request::Subscribe { .. } => "SUBACK",
        Request::Unsubscribe { .. } => "UNSUBACK",
        Request::Ping => "PINGRESP",
    };
    let hex = |codes: &[ReasonCode]| {
        codes.iter().map(|code| format!("0x{:02x}", code.0)).collect::<Vec<_>>().join(" ")
    };
    match reply {
        Reply::Positive if asked.is_empty() => format!("{name} without an error"),
        Reply::Positive => format!("{name} {}", hex(asked)),
        Reply::Denied => "denied, by whatever mechanism".into(),
        Reply::Refused => format!("{name} with an error code"),
        Reply::Closed => "the broker closes the connection".into(),
        Reply::Any => "any answer".into(),
        Reply::Codes(codes) => format!("{name} {}", hex(codes)),
    }
}

fn check_connect(at: At<'_>, wanted: &ConnectOutcome, outcome: Result<ConnAck, ConnectFailure>) -> Done {
    let refusal = match &outcome {
        Err(ConnectFailure::Refused(answer)) => Some(Some(answer.code)),
        Err(ConnectFailure::Closed(_)) => Some(None),
        _ => None,
    };
    let expected = match wanted {
        ConnectOutcome::Any => return Ok(()),
        ConnectOutcome::Accepted => "CONNACK 0".to_owned(),
        ConnectOutcome::AcceptedWith { session_present, properties } => {
            if let Ok(answer) = &outcome {
                return check_accepted(at, answer, *session_present, properties);
            }
            "CONNACK 0".to_owned()
        }
        ConnectOutcome::Refused => "a refused connection".to_owned(),
        ConnectOutcome::RefusedWith(codes) => {
            let codes: Vec<_> = codes.iter().map(|code| format!("0x{:02x}", code.0)).collect();
            format!("CONNACK {}", codes.join(" or "))
        }
        ConnectOutcome::TlsFails(failure) => failure.to_string(),
        ConnectOutcome::Unreachable => "nobody listens".to_owned(),
    };
    let fine = match (wanted, &outcome) {
        (ConnectOutcome::Accepted, Ok(_)) => true,
        (ConnectOutcome::Refused, _) => refusal.is_some(),
        (ConnectOutcome::RefusedWith(codes), _) => refusal.flatten().is_some_and(|code| codes.contains(&code)),
        (ConnectOutcome::TlsFails(wanted), Err(ConnectFailure::Transport(ConnectError::Tls { failure, .. }))) => {
            wanted == failure
        }
        (ConnectOutcome::Unreachable, Err(ConnectFailure::Transport(ConnectError::Io(_)))) => true,
        _ => false,
    };
    if fine {
        return Ok(());
    }
    let actual = match &outcome {
        Ok(answer) => format!("CONNACK {}", answer.code),
        Err(failure) => failure.to_string(),
    };
    // A broker that cannot be reached has not done anything wrong yet.
    Err(match &outcome {
        Err(ConnectFailure::Transport(ConnectError::Io(_))) => at.errored(expected, actual),
        _ => at.failed(expected, actual),
    })
}

fn check_accepted(
    at: At<'_>,
    answer: &ConnAck,
    session_present: Option<bool>,
    properties: &[crate::scenario::matcher::PropertyMatch],
) -> Done {
    if let Some(wanted) = session_present.filter(|wanted| *wanted != answer.session_present) {
        let say = |flag: bool| format!("CONNACK 0 session_present={}", u8::from(flag));
        return Err(at.failed(say(wanted), say(answer.session_present)));
    }
    match at.looking(|lookup| unmet_property(properties, &answer.properties, lookup)) {
        Some(unmet) => Err(at.failed("CONNACK with the properties asked for", unmet)),
        None => Ok(()),
    }
}

/// Chooses for each of `slots` patterns a message of its own among `messages`, in the order of the
/// patterns or in any, and gives their indices in ascending order.
fn pick(
    slots: usize,
    messages: usize,
    any_order: bool,
    fits: impl Fn(usize, usize) -> bool,
) -> Option<Vec<usize>> {
    if slots > messages {
        return None;
    }
    if !any_order {
        let mut next = 0;
        return (0..slots)
            .map(|slot| {
                let found = (next..messages).find(|index| fits(slot, *index))?;
                next = found + 1;
                Some(found)
            })
            .collect();
    }
    // Patterns may overlap, so the first that fits may be another's only one: augmenting paths.
    let mut owner = vec![None; messages];
    for slot in 0..slots {
        let mut seen = vec![false; messages];
        if !assign(slot, &fits, &mut owner, &mut seen) {
            return None;
        }
    }
    Some((0..messages).filter(|index| owner[*index].is_some()).collect())
}

fn assign(
    slot: usize,
    fits: &impl Fn(usize, usize) -> bool,
    owner: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    let free = (0..owner.len()).find(|index| owner[*index].is_none() && !seen[*index] && fits(slot, *index));
    if let Some(index) = free {
        owner[index] = Some(slot);
        return true;
    }
    for index in 0..owner.len() {
        if seen[index] || !fits(slot, index) {
            continue;
        }
        seen[index] = true;
        if owner[index].is_none_or(|other| assign(other, fits, owner, seen)) {
            owner[index] = Some(slot);
            return true;
        }
    }
    false
}

/// A message in words.
pub fn describe_publish(publish: &Publish) -> String {
    const SHOWN: usize = 60;
    let mut payload: String = printable(&publish.payload).chars().take(SHOWN).collect();
    if publish.payload.len() > SHOWN {
        payload += "…";
    }
    let retain = if publish.retain { " retain" } else { "" };
    format!("{} \"{payload}\" qos={}{retain}", publish.topic, publish.qos)
}

/// The first few, and how many more.
pub fn list(all: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN {
        text += &format!(" and {}", plural(all.len() - SHOWN, "more message"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_given_to_patterns() {
        // Pattern 0 takes anything, pattern 1 only message 0.
        let fits = |slot: usize, index: usize| slot == 0 || index == 0;
        assert_eq!(pick(2, 2, true, fits), Some(vec![0, 1]));
        assert_eq!(pick(2, 2, false, fits), None, "in order, message 0 is taken by pattern 0");
        assert_eq!(pick(2, 1, true, fits), None);
        assert_eq!(pick(1, 3, false, |_, index| index == 2), Some(vec![2]));
        assert_eq!(pick(0, 3, true, fits), Some(vec![]));
    }
}
