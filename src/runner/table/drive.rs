//! Puts the probes of a table on the wire: everybody asks, the control publishes, the witness and
//! the users report what arrived.
//!
//! Judges nothing. An error means that control or witness are gone, and with them every proof.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::plan::{Answer, Probe, Who};
use crate::client::{Client, ConnectFailure, Event, Lost, Options, Session};
use crate::mqtt::packet::{Connect, Publish, Subscribe, Unsubscribe};
use crate::mqtt::{Packet, PacketId, Properties, ProtocolVersion, QoS, ReasonCode, TopicFilter, TopicName};
use crate::net::Endpoint;
use crate::net::framed::Closed;
use crate::net::tap::Tap;
use crate::runner::context::Context;
use crate::runner::fence::{CONTROL_WITHIN, connect_control, message, subscribe_control, subscribe_to};
use crate::runner::prepare::Account;
use crate::runner::recorder::Recorder;

/// Topics of the broker's own, which nobody can publish a control message to.
const SYS: &str = "$SYS";

/// One connection of a user.
#[derive(Debug)]
struct Party {
    who: Who,
    client_id: String,
    password: Option<String>,
    gate: Gate,
    /// PINGRESPs taken from this connection.
    pongs: u64,
}

#[derive(Debug)]
enum Gate {
    Closed,
    Open(Box<Client>),
    Shut(Answer),
}

impl Gate {
    /// The next probe gets a connection of its own: this one may have been closed by another's
    /// doing (users who share a client identifier end each other's connections).
    fn give_up(&mut self) {
        if matches!(self, Self::Open(_)) {
            *self = Self::Closed;
        }
    }
}

/// All connections of a table.
#[derive(Debug)]
pub struct Driver {
    version: ProtocolVersion,
    endpoint: Endpoint,
    parties: Vec<Party>,
    control: Client,
    witness: Client,
    fence: TopicName,
    nonce: String,
    fences: u64,
    /// Topics of the broker's own that the witness received something on.
    sys: Vec<TopicName>,
    quiet: Option<Duration>,
    recorder: Recorder,
}

/// Which message is whose: payload to probe and topic.
type Expected = BTreeMap<String, (usize, usize)>;

impl Driver {
    /// Connects control and witness. Users are connected when their first row comes.
    pub async fn connect(
        context: &Context<'_>,
        parties: &[Who],
        roots: &[String],
        sys: bool,
    ) -> Result<Self, String> {
        let version = ProtocolVersion::V311;
        let target = context.target.lock().await;
        let [control, witness] = target.control_accounts();
        let tap = |name| Some(context.recorder.own_tap(name));
        let control = connect_control(&target, control.as_ref(), "control", version, tap("control")).await?;
        let mut witness =
            connect_control(&target, witness.as_ref(), "witness", version, tap("witness")).await?;
        subscribe_control(&mut witness, "#", QoS::AtMostOnce).await?;
        for root in roots {
            subscribe_control(&mut witness, &format!("{root}/#"), QoS::AtMostOnce).await?;
        }
        if sys {
            subscribe_control(&mut witness, "$SYS/#", QoS::AtMostOnce).await?;
        }
        let parties = parties.iter().enumerate().map(|(index, who)| Party {
            who: who.clone(),
            client_id: who.1.clone().unwrap_or_else(|| format!("lab-{index}-{}", context.nonce)),
            password: who.0.as_deref().and_then(|user| target.password(user)),
            gate: Gate::Closed,
            pongs: 0,
        });
        Ok(Self {
            version: context.case.protocol,
            endpoint: target.table_endpoint().map_err(|error| error.to_string())?,
            parties: parties.collect(),
            control,
            witness,
            fence: TopicName::new(context.fence_topic()).map_err(|error| error.to_string())?,
            nonce: context.nonce.clone(),
            fences: 0,
            sys: Vec::new(),
            quiet: context.order.quiet,
            recorder: context.recorder.clone(),
        })
    }

    /// The client identifier of a connection.
    pub fn client_id(&self, party: usize) -> &str {
        &self.parties[party].client_id
    }

    /// Asks all probes of a batch. Where a connection was closed under several of them, each is
    /// asked again on a connection of its own.
    pub async fn batch(&mut self, probes: &mut [Probe<'_>]) -> Result<(), String> {
        self.attempt(probes).await?;
        for probe in probes {
            if probe.answer == Answer::Interrupted {
                probe.reset();
                self.parties[probe.party].gate.give_up();
                self.attempt(std::slice::from_mut(probe)).await?;
                if probe.answer == Answer::Interrupted {
                    probe.answer = Answer::Closed;
                }
            }
        }
        Ok(())
    }

    async fn attempt(&mut self, probes: &mut [Probe<'_>]) -> Result<(), String> {
        self.ask(probes).await;
        self.publish_controls(probes).await?;
        if let Some(quiet) = self.quiet {
            tokio::time::sleep(quiet).await;
            self.publish_controls(probes).await?;
        }
        self.receive(probes).await;
        Ok(())
    }

    /// Users publish and subscribe, and get their answers.
    async fn ask(&mut self, probes: &mut [Probe<'_>]) {
        let mut by_party: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, probe) in probes.iter().enumerate() {
            by_party.entry(probe.party).or_default().push(index);
        }
        let mut under_way = Vec::new();
        for (party, indices) in by_party {
            let party = &mut self.parties[party];
            let tap = self.recorder.own_tap(&party.client_id);
            party.open(&self.endpoint, self.version, tap).await;
            match &mut party.gate {
                Gate::Shut(answer) => {
                    for index in indices {
                        probes[index].answer = answer.clone();
                    }
                }
                Gate::Closed => {}
                Gate::Open(client) => {
                    let ids: Vec<_> = indices
                        .into_iter()
                        .map(|index| (index, start(client, &mut probes[index], &self.nonce)))
                        .collect();
                    // What cannot be written now is noticed when the answers are waited for.
                    let _ = client.flush().await;
                    under_way.push((probes[ids[0].0].party, ids));
                }
            }
        }
        let until = Instant::now() + CONTROL_WITHIN;
        for (party, ids) in under_way {
            self.parties[party].answers(probes, &ids, until).await;
        }
    }

    /// The control publishes what must arrive, and the witness reads until it has.
    async fn publish_controls(&mut self, probes: &mut [Probe<'_>]) -> Result<(), String> {
        let mut expected = Expected::new();
        let mut theirs = Expected::new();
        for (index, probe) in probes.iter_mut().enumerate() {
            probe.controls.fill(false);
            probe.witnessed.clear();
            for (at, topic) in probe.topics.iter().enumerate() {
                let payload = probe.payload(at, &self.nonce);
                if probe.publishes() {
                    theirs.insert(payload, (index, at));
                    let sentinel = format!("c{}-{}", probe.row.number, self.nonce);
                    let topic = if topic.as_str().starts_with(SYS) { &self.fence } else { topic };
                    start_control(&mut self.control, message(topic, sentinel.clone(), QoS::AtMostOnce))?;
                    expected.insert(sentinel, (index, at));
                } else if !topic.as_str().starts_with(SYS) {
                    start_control(&mut self.control, message(topic, payload.clone(), probe.row.qos))?;
                    expected.insert(payload, (index, at));
                }
            }
        }
        self.fences += 1;
        let last = format!("f{}-{}", self.fences, self.nonce);
        start_control(&mut self.control, message(&self.fence, last.clone(), QoS::AtMostOnce))?;
        let until = Instant::now() + CONTROL_WITHIN;
        let mut fenced = false;
        let mut missing = expected.len();
        while !fenced || missing > 0 {
            let event = tokio::select! {
                event = self.witness.next() => event,
                event = self.control.next() => {
                    end_of(&event, "control")?;
                    continue;
                }
                () = tokio::time::sleep_until(until) => break,
            };
            end_of(&event, "witness")?;
            let Event::Packet(Packet::Publish(publish)) = event else { continue };
            if publish.topic.as_str().starts_with(SYS) && !self.sys.contains(&publish.topic) {
                self.sys.push(publish.topic.clone());
            }
            let Ok(payload) = std::str::from_utf8(&publish.payload) else { continue };
            fenced |= payload == last;
            if let Some((index, at)) = expected.get(payload) {
                let probe = &mut probes[*index];
                missing -= usize::from(!probe.controls[*at]);
                probe.controls[*at] = true;
                if !probe.publishes() {
                    probe.witnessed.push(publish);
                }
            } else if let Some((index, _)) = theirs.get(payload) {
                probes[*index].received.push(publish);
            }
        }
        self.confirm_sys(probes);
        Ok(())
    }

    /// What the broker publishes itself is its own positive control.
    fn confirm_sys(&self, probes: &mut [Probe<'_>]) {
        for probe in probes.iter_mut().filter(|probe| !probe.publishes()) {
            let Ok(filter) = TopicFilter::new(probe.row.topic.as_str()) else { continue };
            if filter.path().starts_with(SYS) && self.sys.iter().any(|topic| filter.matches(topic)) {
                probe.controls.fill(true);
            }
        }
    }

    /// Users read what has come for them, and give their subscriptions back.
    async fn receive(&mut self, probes: &mut [Probe<'_>]) {
        let mut by_party: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, probe) in probes.iter().enumerate() {
            if !probe.publishes() {
                by_party.entry(probe.party).or_default().push(index);
            }
        }
        for (party, indices) in by_party {
            let mut theirs = Expected::new();
            for index in &indices {
                for at in 0..probes[*index].topics.len() {
                    theirs.insert(probes[*index].payload(at, &self.nonce), (*index, at));
                }
            }
            let party = &mut self.parties[party];
            if !matches!(party.gate, Gate::Open(_)) {
                continue;
            }
            if let Err(answer) = party.read_all(probes, &theirs).await {
                party.gate = Gate::Closed;
                for index in indices {
                    probes[index].answer = answer.clone();
                }
                continue;
            }
            let filters =
                indices.iter().filter_map(|index| TopicFilter::new(probes[*index].row.topic.as_str()).ok());
            party.unsubscribe(filters.collect()).await;
        }
    }

    /// Takes retained messages of the table away again.
    pub async fn clean(&mut self, topics: &[TopicName]) {
        for topic in topics {
            let empty = Publish { retain: true, ..message(topic, Bytes::new(), QoS::AtMostOnce) };
            let _ = self.control.start_publish(empty);
        }
        let until = Instant::now() + CONTROL_WITHIN;
        let _ = timeout_at(until, self.control.ping()).await;
    }
}

impl Party {
    /// Connects if there is no connection.
    async fn open(&mut self, endpoint: &Endpoint, version: ProtocolVersion, tap: Tap) {
        if !matches!(self.gate, Gate::Closed) {
            return;
        }
        let account = self.who.0.as_ref().map(|name| Account {
            name: name.clone(),
            // A stranger has none; an empty one would be refused for being empty.
            password: self.password.clone().unwrap_or_else(|| "mqttlab".into()),
        });
        let connect = Connect {
            version,
            clean_start: true,
            client_id: self.client_id.as_str().into(),
            username: account.as_ref().map(|account| account.name.as_str().into()),
            password: account.map(|account| Bytes::from(account.password)),
            ..Connect::default()
        };
        let options = Options { connect_timeout: CONTROL_WITHIN, ..Options::new(connect) };
        self.pongs = 0;
        self.gate = match Client::connect(endpoint, &options, Session::default(), Some(tap)).await {
            Ok((client, _)) => Gate::Open(Box::new(client)),
            Err(ConnectFailure::Refused(answer)) => Gate::Shut(refusal(answer.code)),
            Err(ConnectFailure::Closed(Closed::Eof)) => Gate::Shut(Answer::Refused(None)),
            Err(other) => Gate::Shut(Answer::Unknown(format!("no connection: {other}"))),
        };
    }

    /// Waits for the answers to what was asked on this connection.
    async fn answers(&mut self, probes: &mut [Probe<'_>], ids: &[(usize, Option<PacketId>)], until: Instant) {
        let Gate::Open(client) = &mut self.gate else { return };
        let mut closed = false;
        for (index, id) in ids {
            let Some(id) = id else { continue };
            probes[*index].answer = match timeout_at(until, client.wait(*id)).await {
                Ok(Ok(packet)) => Answer::Acknowledged(packet),
                Ok(Err(Lost::Closed(_))) => {
                    closed = true;
                    Answer::Interrupted
                }
                Ok(Err(other)) => Answer::Unknown(other.to_string()),
                Err(_) => {
                    Answer::Unknown(format!("no acknowledgement within {} s", CONTROL_WITHIN.as_secs()))
                }
            };
        }
        // QoS 0 has no answer: what was sent before a PINGREQ was dealt with before its PINGRESP.
        let unanswered: Vec<_> = ids.iter().filter(|(_, id)| id.is_none()).map(|(index, _)| *index).collect();
        if !unanswered.is_empty() && !closed {
            let answer = match timeout_at(until, client.ping()).await {
                Ok(Ok(())) => Answer::Done,
                Ok(Err(Lost::Closed(_))) => {
                    closed = true;
                    Answer::Interrupted
                }
                Ok(Err(other)) => Answer::Unknown(other.to_string()),
                Err(_) => Answer::Unknown("no PINGRESP".into()),
            };
            for index in &unanswered {
                probes[*index].answer = answer.clone();
            }
        }
        if closed {
            for index in unanswered {
                probes[index].answer = Answer::Interrupted;
            }
            // With the connection went its subscriptions.
            for (index, _) in ids {
                if !probes[*index].publishes() {
                    probes[*index].answer = Answer::Interrupted;
                }
            }
            self.gate = Gate::Closed;
        }
    }

    /// Reads until a round trip brings nothing new: a broker sends QoS 1 and 2 in windows, and
    /// the next window goes out when our acknowledgements, which precede the PINGREQ, are in.
    async fn read_all(&mut self, probes: &mut [Probe<'_>], theirs: &Expected) -> Result<(), Answer> {
        let Gate::Open(client) = &mut self.gate else { return Ok(()) };
        let until = Instant::now() + CONTROL_WITHIN;
        loop {
            let wanted = client.start_ping();
            let mut news = false;
            while self.pongs < wanted {
                match timeout_at(until, client.next()).await {
                    Ok(Event::Packet(Packet::PingResp)) => self.pongs += 1,
                    Ok(Event::Packet(Packet::Publish(publish))) => {
                        news |= publish.qos != QoS::AtMostOnce;
                        take(probes, theirs, publish);
                    }
                    Ok(Event::Packet(_) | Event::Repeated(_)) => {}
                    Ok(Event::Closed(_)) => return Err(Answer::Interrupted),
                    Ok(Event::Malformed(error)) => return Err(Answer::Unknown(error.to_string())),
                    Err(_) => return Err(Answer::Unknown("no PINGRESP".into())),
                }
            }
            if !news {
                return Ok(());
            }
        }
    }

    async fn unsubscribe(&mut self, filters: Vec<TopicFilter>) {
        let Gate::Open(client) = &mut self.gate else { return };
        let request = Unsubscribe { id: PacketId::FIRST, properties: Properties::new(), filters };
        let until = Instant::now() + CONTROL_WITHIN;
        // Without it later rows could see these subscriptions: better a new connection.
        if !matches!(timeout_at(until, client.unsubscribe(request)).await, Ok(Ok(_))) {
            self.gate = Gate::Closed;
        }
    }
}

/// What a refused CONNECT says about the rights of the user: nothing, if the broker is only busy or
/// does not speak this version. 3.1.1, 3.2.2.3; 5.0, 3.2.2.2.
fn refusal(code: ReasonCode) -> Answer {
    match code.0 {
        // Bad user name or password, not authorized; 5.0 has "banned" and "bad method" too.
        4 | 5 | 0x86 | 0x87 | 0x8A | 0x8C => Answer::Refused(Some(code)),
        _ => Answer::Unknown(format!("the CONNECT was refused for another reason than the user: {code}")),
    }
}

/// Queues a probe; the identifier is that of the answer to wait for.
fn start(client: &mut Client, probe: &mut Probe<'_>, nonce: &str) -> Option<PacketId> {
    if probe.publishes() {
        let publish = Publish {
            retain: probe.row.retain,
            ..message(&probe.topics[0], probe.payload(0, nonce), probe.row.qos)
        };
        let id = client.start_publish(publish.clone()).ok().flatten();
        probe.request = Some(Packet::Publish(Publish { id, ..publish }));
        return id;
    }
    let subscribe = subscribe_to(&probe.row.topic, probe.row.qos).ok()?;
    let id = client.start_subscribe(subscribe.clone()).ok()?;
    probe.request = Some(Packet::Subscribe(Subscribe { id, ..subscribe }));
    Some(id)
}

fn start_control(control: &mut Client, publish: Publish) -> Result<(), String> {
    control.start_publish(publish).map(|_| ()).map_err(|error| format!("the control client: {error}"))
}

/// A message that came for a user, given to the probe that it belongs to.
fn take(probes: &mut [Probe<'_>], theirs: &Expected, publish: Publish) {
    let payload = std::str::from_utf8(&publish.payload).ok();
    if let Some((index, _)) = payload.and_then(|payload| theirs.get(payload)) {
        probes[*index].received.push(publish);
        return;
    }
    if !publish.topic.as_str().starts_with(SYS) {
        return;
    }
    let mine = theirs.values().find(|(index, _)| {
        TopicFilter::new(probes[*index].row.topic.as_str()).is_ok_and(|filter| filter.matches(&publish.topic))
    });
    if let Some((index, _)) = mine {
        probes[*index].received.push(publish);
    }
}

fn end_of(event: &Event, who: &str) -> Result<(), String> {
    match event {
        Event::Closed(closed) => Err(format!("the {who} client was {closed}")),
        Event::Malformed(error) => Err(format!("the {who} client received {error}")),
        Event::Packet(_) | Event::Repeated(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_the_user_is_a_denial() {
        for code in [4, 5, 0x86, 0x87] {
            assert_eq!(refusal(ReasonCode(code)), Answer::Refused(Some(ReasonCode(code))));
        }
        // Version, identifier, unavailable; busy, quota.
        for code in [1, 2, 3, 0x84, 0x85, 0x88, 0x89, 0x97] {
            assert!(matches!(refusal(ReasonCode(code)), Answer::Unknown(_)), "{code:#x}");
        }
    }
}
