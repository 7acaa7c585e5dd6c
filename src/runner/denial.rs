//! `expect: denied`: nobody receives what is published, nothing comes through what is subscribed to.
//!
//! A broker may acknowledge what it denies (MQTT 3.1.1 has no other answer to a PUBLISH), so the
//! acknowledgement proves nothing; delivery does, beside a probe of the control that must arrive.

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::actor::Actor;
use super::context::At;
use super::fence::{CONTROL_WITHIN, connect_control, message, round_trip, subscribe_control};
use super::outcome::Done;
use super::random::secret;
use super::recorder::print;
use super::table::concrete;
use crate::client::{Client, Event};
use crate::mqtt::packet::Publish;
use crate::mqtt::{Packet, ProtocolVersion, QoS, TopicFilter, TopicName};
use crate::net::tap::Content;
use crate::record::{WireEvent, WireSide};
use crate::scenario::op::{Reply, Request};

/// Topics of the broker's own, which nobody can publish a probe to.
const SYS: &str = "$SYS";

/// Asks, and shows that the broker did not do it.
pub async fn denied(at: At<'_>, actor: &Mutex<Actor<'_>>, request: &Request) -> Done {
    let mut actor = actor.lock().await;
    prove(at, &mut actor, request).await?;
    if actor.inbox.ending().is_some() {
        // Closing, be it after an acknowledgement, is a way to deny.
        actor.excuse();
    }
    Ok(())
}

async fn prove(at: At<'_>, actor: &mut Actor<'_>, request: &Request) -> Done {
    match request {
        Request::Publish { topic, payload, .. } => {
            let topic = super::actor::topic(at, topic)?;
            let payload = at.payload(payload)?;
            published(at, actor, request, &topic, &payload).await
        }
        Request::Subscribe { filters, .. } => {
            let (mut topics, mut sys) = (Vec::new(), Vec::new());
            for (filter, _) in filters {
                let filter = TopicFilter::new(at.resolve(filter)?)
                    .map_err(|error| at.errored("a topic filter", error.to_string()))?;
                if filter.path().starts_with(SYS) {
                    sys.push(filter);
                } else {
                    topics.extend(concrete(&filter));
                }
            }
            subscribed(at, actor, request, &topics, &sys).await
        }
        Request::Unsubscribe { .. } | Request::Ping => actor.request(at, request, &Reply::Denied).await,
    }
}

async fn published(
    at: At<'_>,
    actor: &mut Actor<'_>,
    request: &Request,
    topic: &TopicName,
    payload: &Bytes,
) -> Done {
    const EXPECTED: &str = "denied: nobody receives it";
    let mut witness = witness(at, std::slice::from_ref(topic)).await?;
    actor.request(at, request, &Reply::Denied).await?;
    if actor.unconfirmed && actor.is_connected() {
        round_trip(at, actor).await?;
    }
    let came = probe(at, &mut witness, std::slice::from_ref(topic)).await?;
    // What was retained before carries the flag.
    let Some(seen) = came.into_iter().find(|one| one.payload == *payload && !one.retain) else {
        return Ok(());
    };
    let line = print(&Content::Packet(&Packet::Publish(seen)), &Bytes::new(), ProtocolVersion::V311);
    let wire = WireEvent { client: "witness".into(), conn: 0, side: WireSide::Received, line, bytes: None };
    let came = vec![wire.print()];
    at.context.recorder.wire(wire, Instant::now());
    Err(at.failed(EXPECTED, "the witness received it").instead(came))
}

async fn subscribed(
    at: At<'_>,
    actor: &mut Actor<'_>,
    request: &Request,
    topics: &[TopicName],
    sys: &[TopicFilter],
) -> Done {
    let mut witness = witness(at, topics).await?;
    for filter in sys {
        speaks(at, &mut witness, filter).await?;
    }
    let of_broker = |actor: &Actor<'_>| {
        let mut there = actor.unasked();
        there.retain(|publish| sys.iter().any(|filter| filter.matches(&publish.topic)));
        there
    };
    let had = of_broker(actor).len();
    actor.request(at, request, &Reply::Denied).await?;
    if !actor.is_connected() {
        return Ok(());
    }
    let before = at.context.recorder.probes(&actor.spec.name);
    probe(at, &mut witness, topics).await?;
    round_trip(at, actor).await?;
    let name = &actor.spec.name;
    let expected = || format!("denied: {name} receives nothing through it");
    if let Some(topic) = at.context.recorder.probes(name).get(before.len()) {
        return Err(at.failed(expected(), format!("{name} received what was published to {topic}")));
    }
    match of_broker(actor).get(had) {
        Some(publish) => Err(at.failed(
            expected(),
            format!("{name} received what the broker says of itself on {}", publish.topic),
        )),
        None => Ok(()),
    }
}

/// Shows that the broker says something of itself here, so that it could have reached the client too.
async fn speaks(at: At<'_>, witness: &mut Client, filter: &TopicFilter) -> Done {
    const EXPECTED: &str = "a message of the broker's own that arrives at the witness";
    subscribe_control(witness, filter.as_str(), QoS::AtMostOnce)
        .await
        .map_err(|why| at.errored(EXPECTED, why))?;
    let until = Instant::now() + CONTROL_WITHIN;
    loop {
        match timeout_at(until, witness.next()).await {
            Ok(Event::Packet(Packet::Publish(publish))) if filter.matches(&publish.topic) => return Ok(()),
            Ok(Event::Packet(_) | Event::Repeated(_)) => {}
            Ok(Event::Closed(closed)) => {
                return Err(at.errored(EXPECTED, format!("the witness was {closed}")));
            }
            Ok(Event::Malformed(error)) => {
                return Err(at.errored(EXPECTED, format!("the witness received {error}")));
            }
            Err(_) => return Err(at.errored(EXPECTED, format!("none arrived on {filter}"))),
        }
    }
}

/// A client that may do everything and is subscribed to these topics.
async fn witness(at: At<'_>, topics: &[TopicName]) -> Done<Client> {
    let target = at.context.target.lock().await;
    let [account, _] = target.control_accounts();
    let tap = at.context.recorder.own_tap("witness");
    let connected = async {
        let mut client =
            connect_control(&target, account.as_ref(), "witness", ProtocolVersion::V311, Some(tap)).await?;
        for topic in topics {
            subscribe_control(&mut client, topic.as_str(), QoS::AtMostOnce).await?;
        }
        Ok(client)
    };
    connected.await.map_err(|why: String| at.errored("a witness of the denial", why))
}

/// Publishes a probe to every topic and returns what the witness received before the last came.
async fn probe(at: At<'_>, witness: &mut Client, topics: &[TopicName]) -> Done<Vec<Publish>> {
    const EXPECTED: &str = "a control message that arrives";
    let mut came = Vec::new();
    if let Some(quiet) = at.context.order.quiet {
        sleep(quiet).await;
    }
    let payload = format!("{}-{}", at.context.probe(), &secret()[..8]);
    for topic in topics.iter().filter(|topic| !topic.as_str().starts_with(SYS)) {
        let sent = witness.start_publish(message(topic, payload.clone(), QoS::AtMostOnce));
        sent.map_err(|error| at.errored(EXPECTED, error.to_string()))?;
        let until = Instant::now() + CONTROL_WITHIN;
        loop {
            match timeout_at(until, witness.next()).await {
                Ok(Event::Packet(Packet::Publish(publish)))
                    if publish.topic == *topic && *publish.payload == *payload.as_bytes() =>
                {
                    break;
                }
                Ok(Event::Packet(Packet::Publish(publish))) => came.push(publish),
                Ok(Event::Packet(_) | Event::Repeated(_)) => {}
                Ok(Event::Closed(closed)) => {
                    return Err(at.errored(EXPECTED, format!("the witness was {closed}")));
                }
                Ok(Event::Malformed(error)) => {
                    return Err(at.errored(EXPECTED, format!("the witness received {error}")));
                }
                Err(_) => return Err(at.errored(EXPECTED, format!("none arrived on {topic}"))),
            }
        }
    }
    Ok(came)
}
