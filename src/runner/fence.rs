//! Proves that nothing arrives: completion marks, a positive control, and a round trip of the
//! receiver; where a broker's order cannot be trusted, a measured quiet time on top.
//!
//! A control that does not arrive makes the proof impossible (*Errored*), never a pass.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::actor::{Actor, list};
use super::context::At;
use super::link::{Command, Sent, Taken};
use super::outcome::{Done, Trouble};
use super::prepare::Account;
use super::random::secret;
use super::target::{Target, TargetError};
use crate::client::{Client, ConnectFailure, Event, Options, Session};
use crate::mqtt::packet::{Connect, Publish, Subscribe, Subscription, SubscriptionOptions};
use crate::mqtt::{Packet, PacketId, Properties, ProtocolVersion, QoS, ReasonCode, TopicFilter, TopicName};
use crate::net::tap::Tap;
use crate::scenario::Subject;

/// How long a control message may take.
pub const CONTROL_WITHIN: Duration = Duration::from_secs(5);
/// Keep-alive of control clients, seconds: as good as none, which some brokers refuse.
pub const HOURS: u16 = u16::MAX;
/// Sentinels of one fence. The first may be handled by a broker in the same round of its event
/// loop as the end of a connection that came before it; the second cannot.
const ROUNDS: usize = 2;
/// Pairs of probe and sentinel in a calibration.
const PAIRS: usize = 50;
/// The least quiet time.
const QUIET: Duration = Duration::from_millis(50);

/// How far a broker's order of delivery can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Order {
    /// Waited after the fence; `None` where what was sent first arrives first.
    pub quiet: Option<Duration>,
}

/// A client that may do everything and proves that the broker works.
#[derive(Debug)]
pub struct Control {
    client: Client,
    topic: TopicName,
    count: u64,
}

/// Connects a control client.
pub async fn connect_control(
    target: &Target,
    account: Option<&Account>,
    name: &str,
    version: ProtocolVersion,
    tap: Option<Tap>,
) -> Result<Client, String> {
    let endpoint = target.control_endpoint().map_err(|TargetError(text)| text)?;
    let mut connect = Connect {
        version,
        clean_start: true,
        keep_alive: HOURS,
        client_id: format!("mqttlab-{name}-{}", &secret()[..8]).into(),
        username: account.map(|account| account.name.as_str().into()),
        password: account.map(|account| Bytes::from(account.password.clone())),
        ..Connect::default()
    };
    let options = |connect| Options { connect_timeout: CONTROL_WITHIN, ..Options::new(connect) };
    let mut connected = Client::connect(&endpoint, &options(connect.clone()), Session::default(), tap).await;
    // A broker may refuse a long keep-alive to clients that it cannot tell another one. A tap is for one
    // connection, and so the second goes unseen.
    if matches!(connected, Err(ConnectFailure::Refused(_))) && !version.is_v5() {
        connect.version = ProtocolVersion::V5;
        connected = Client::connect(&endpoint, &options(connect), Session::default(), None).await;
    }
    connected.map(|(client, _)| client).map_err(|error| format!("the {name} client cannot connect: {error}"))
}

/// A SUBSCRIBE to one filter.
pub fn subscribe_to(filter: &str, qos: QoS) -> Result<Subscribe, String> {
    let filter = TopicFilter::new(filter).map_err(|error| format!("{filter}: {error}"))?;
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    Ok(Subscribe {
        id: PacketId::FIRST,
        properties: Properties::new(),
        subscriptions: vec![Subscription { filter, options }],
    })
}

/// Subscribes and insists on being granted.
pub async fn subscribe_control(client: &mut Client, filter: &str, qos: QoS) -> Result<(), String> {
    let answer = timeout(CONTROL_WITHIN, client.subscribe(subscribe_to(filter, qos)?)).await;
    match answer {
        Ok(Ok(Packet::SubAck(ack))) if ack.codes.iter().all(|code| *code < ReasonCode::UNSPECIFIED_ERROR) => {
            Ok(())
        }
        Ok(Ok(_)) => Err(format!("a control client may not subscribe to {filter}")),
        Ok(Err(lost)) => Err(format!("a control client lost its connection: {lost}")),
        Err(_) => Err("no SUBACK for a control client".into()),
    }
}

/// A PUBLISH without properties.
pub fn message(topic: &TopicName, payload: impl Into<Bytes>, qos: QoS) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: topic.clone(),
        id: None,
        payload: payload.into(),
        properties: Properties::new(),
    }
}

/// Whether the broker lets a control client in and has a message go round: why not.
pub async fn answers(target: &Target) -> Result<(), String> {
    let [account, _] = target.control_accounts();
    let client = connect_control(target, account.as_ref(), "control", ProtocolVersion::V311, None).await?;
    Control::new(client, &format!("mqttlab/answers/{}", &secret()[..8])).await?.round().await
}

impl Control {
    async fn new(mut client: Client, topic: &str) -> Result<Self, String> {
        subscribe_control(&mut client, topic, QoS::AtMostOnce).await?;
        let topic = TopicName::new(topic).map_err(|error| error.to_string())?;
        Ok(Self { client, topic, count: 0 })
    }

    /// Connects and subscribes to the sentinels.
    pub async fn connect(target: &Target, topic: &str, tap: Tap) -> Result<Self, String> {
        let [account, _] = target.control_accounts();
        // 3.1.1 is what every broker speaks.
        let client =
            connect_control(target, account.as_ref(), "control", ProtocolVersion::V311, Some(tap)).await?;
        Self::new(client, topic).await
    }

    /// Sends a sentinel and waits until it has come back.
    pub async fn round(&mut self) -> Result<(), String> {
        self.count += 1;
        let payload = self.count.to_string();
        let sentinel = message(&self.topic, payload.clone(), QoS::AtMostOnce);
        self.client.start_publish(sentinel).map_err(|error| error.to_string())?;
        let until = Instant::now() + CONTROL_WITHIN;
        loop {
            match timeout_at(until, self.client.next()).await {
                Ok(Event::Packet(Packet::Publish(publish))) if *publish.payload == *payload.as_bytes() => {
                    return Ok(());
                }
                Ok(Event::Packet(_) | Event::Repeated(_)) => {}
                Ok(Event::Closed(closed)) => return Err(format!("the control client was {closed}")),
                Ok(Event::Malformed(error)) => return Err(format!("the control client received {error}")),
                Err(_) => return Err("the control message did not arrive".into()),
            }
        }
    }
}

/// The receivers that a fence is for.
pub type Actors<'a> = [Mutex<Actor<'a>>];

/// Waits until everything that is under way has arrived, at all clients.
pub async fn fence(at: At<'_>, actors: &Actors<'_>) -> Done {
    let since = Instant::now();
    let held = raise(at, actors).await;
    at.context.recorder.fence(since, held.is_ok());
    held
}

async fn raise(at: At<'_>, actors: &Actors<'_>) -> Done {
    // (1) Completion marks: what was sent without waiting for an answer has been dealt with.
    for actor in actors {
        let mut actor = actor.lock().await;
        if actor.unconfirmed && actor.is_connected() && actor.spec.at_broker() {
            round_trip(at, &mut actor).await?;
        }
    }
    // (2) The positive control.
    control_rounds(at).await?;
    // (3) Whatever was routed to a receiver before, comes before its answer.
    receivers(at, actors).await?;
    if let Some(quiet) = at.context.order.quiet {
        sleep(quiet).await;
        receivers(at, actors).await?;
    }
    Ok(())
}

async fn receivers(at: At<'_>, actors: &Actors<'_>) -> Done {
    for actor in actors {
        let mut actor = actor.lock().await;
        if actor.is_connected() && actor.is_accepted() && actor.spec.at_broker() {
            round_trip(at, &mut actor).await?;
        }
    }
    Ok(())
}

async fn control_rounds(at: At<'_>) -> Done {
    const EXPECTED: &str = "a control message that arrives";
    let context = at.context;
    let mut slot = context.control.lock().await;
    if slot.is_none() {
        let target = context.target.lock().await;
        let control =
            Control::connect(&target, &context.fence_topic(), context.recorder.own_tap("control")).await;
        *slot = Some(control.map_err(|why| at.errored(EXPECTED, why))?);
    }
    let Some(control) = slot.as_mut() else { return Err(at.errored(EXPECTED, "no control client")) };
    for _ in 0..ROUNDS {
        if let Err(why) = control.round().await {
            *slot = None;
            return Err(at.errored(EXPECTED, why));
        }
    }
    Ok(())
}

/// A request whose answer comes after everything that the broker sent this client before.
pub async fn round_trip(at: At<'_>, actor: &mut Actor<'_>) -> Done {
    let until = Instant::now() + CONTROL_WITHIN;
    let sent = actor.send(at, Command::Ping).await;
    let taken = match sent {
        Some(Sent::Ping(wanted)) => actor.inbox.pong(wanted, until).await,
        // rumqttc pings when it likes; it unsubscribes from a name that nobody uses instead.
        Some(Sent::WithId(id)) => actor.unsubscribed(id, until).await,
        _ => match actor.inbox.ending() {
            Some(ending) => Taken::Ended(ending),
            None => Taken::TimedOut,
        },
    };
    match taken {
        Taken::Found(()) => {
            actor.unconfirmed = false;
            Ok(())
        }
        // Nothing more can come; whether it may end is asked by the steps.
        Taken::Ended(ending) if !ending.malformed => Ok(()),
        Taken::Ended(ending) => Err(at.failed("packets that can be read", ending.how)),
        Taken::TimedOut => Err(at.errored(
            "PINGRESP, which shows that nothing is under way any more",
            format!("none for {} within {} s", actor.spec.name, CONTROL_WITHIN.as_secs()),
        )),
    }
}

/// `receives_nothing`: after the fence the inbox of this client is empty.
pub async fn quiet(at: At<'_>, actors: &Actors<'_>, index: usize) -> Done {
    {
        let actor = actors[index].lock().await;
        // A connection that may have ended brings nothing more, but may have brought something.
        let may_have_ended = actor.is_excused() && actor.link.is_some();
        if !actor.is_connected() && !may_have_ended {
            let name = &actor.spec.name;
            return Err(match actor.inbox.ending() {
                Some(ending) if actor.link.is_some() => at
                    .failed(format!("{name} receives nothing"), format!("its connection was {}", ending.how)),
                _ => at.errored(format!("{name} receives nothing"), "it is not connected"),
            });
        }
    }
    fence(at, actors).await?;
    let actor = actors[index].lock().await;
    let there = actor.unasked();
    if there.is_empty() {
        return Ok(());
    }
    let expected = format!("{} receives nothing", actor.spec.name);
    Err(unasked(at, expected, &there).await.instead(actor.lines(&there)))
}

/// Messages that should not be there. On a broker that others use too, a message that no client
/// of this case can have sent says nothing about the broker.
async fn unasked(at: At<'_>, expected: String, there: &[Publish]) -> Trouble {
    let shared = at.context.target.lock().await.prepared.is_none();
    let traces = at.context.recorder.traces();
    let (foreign, own): (Vec<_>, Vec<_>) =
        there.iter().cloned().partition(|publish| shared && traces.is_foreign(&publish.topic));
    if own.is_empty() {
        let actual = format!("messages that no client of this case sent: {}", list(&foreign));
        return at.errored(expected, actual);
    }
    at.failed(expected, format!("it received {}", list(&own)))
}

/// The strict inbox at the end of a scenario: no message that nobody asked for.
pub async fn strict_inboxes(at: At<'_>, actors: &Actors<'_>) -> Done {
    // Also where no client is left: a broker that is no more has closed every connection, as
    // might have been asked for.
    let beside = at.context.case.subject() == Subject::Client;
    if !beside && !at.context.target.lock().await.is_stopped() {
        fence(at, actors).await?;
    }
    for actor in actors {
        let actor = actor.lock().await;
        let mut there = actor.unasked();
        // When the broker says something of itself is its own business.
        there.retain(|publish| !publish.topic.as_str().starts_with("$SYS/"));
        if !actor.spec.ignore_extra && !there.is_empty() {
            let expected = if actor.spec.plays {
                format!("{} is sent no PUBLISH that none of its lines expects", actor.spec.name)
            } else {
                format!("{} receives no message that nobody asked for", actor.spec.name)
            };
            let trouble = unasked(at.at(&actor.spec.span), expected, &there).await;
            return Err(trouble.instead(actor.lines(&there)));
        }
    }
    Ok(())
}

/// Measures whether the order of a broker that we do not know can be trusted: a probe that is
/// acknowledged to its publisher must reach the witness before the witness's own round trip ends,
/// and before a later sentinel.
pub async fn calibrate(target: &Target, topic: &str) -> Result<Order, String> {
    let [control, witness] = target.control_accounts();
    let version = ProtocolVersion::V311;
    let mut publisher = connect_control(target, control.as_ref(), "control", version, None).await?;
    let mut receiver = connect_control(target, witness.as_ref(), "witness", version, None).await?;
    subscribe_control(&mut receiver, &format!("{topic}/+"), QoS::AtLeastOnce).await?;
    let name = |last: &str| TopicName::new(format!("{topic}/{last}")).map_err(|error| error.to_string());
    let (probe, sentinel) = (name("probe")?, name("sentinel")?);
    let mut ordered = true;
    let mut delays = Vec::with_capacity(PAIRS);
    for pair in 0..PAIRS {
        let sent = Instant::now();
        for topic in [&probe, &sentinel] {
            let probing = publisher.publish(message(topic, pair.to_string(), QoS::AtLeastOnce));
            let answer = timeout(CONTROL_WITHIN, probing).await.map_err(|_| "no PUBACK for a probe")?;
            answer.map_err(|lost| lost.to_string())?;
        }
        timeout(CONTROL_WITHIN, receiver.ping())
            .await
            .map_err(|_| "no PINGRESP")?
            .map_err(|lost| lost.to_string())?;
        // What `ping` saw before its PINGRESP was stashed; PINGRESP itself is the last of it.
        let mut seen = Vec::new();
        let mut before_pong = 0;
        let until = Instant::now() + CONTROL_WITHIN;
        let mut pong = false;
        while seen.len() < 2 || !pong {
            match timeout_at(until, receiver.next()).await {
                Ok(Event::Packet(Packet::Publish(publish))) => {
                    before_pong += usize::from(!pong);
                    seen.push(publish.topic);
                }
                Ok(Event::Packet(Packet::PingResp)) => pong = true,
                Ok(Event::Packet(_) | Event::Repeated(_)) => {}
                Ok(_) => return Err("the witness lost its connection".into()),
                Err(_) => return Err("a calibration message did not arrive".into()),
            }
        }
        delays.push(sent.elapsed());
        ordered &= before_pong == 2 && seen == [probe.clone(), sentinel.clone()];
    }
    delays.sort();
    let p99 = delays[PAIRS * 99 / 100];
    Ok(Order { quiet: (!ordered).then(|| QUIET.max(p99 * 20)) })
}
