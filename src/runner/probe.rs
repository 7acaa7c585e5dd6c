//! Finds out what a broker can do, with the reason for each finding, and writes it down as a profile.
//!
//! Asks with valid packets only and judges nothing: whether the broker obeys the standard is what
//! scenarios are for. Topics and client identifiers are its own; what it retains it takes away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout, timeout_at};

use super::fence::{self, message};
use super::prepare::Account;
use super::profile::{Limits, ORDINARY, Profile};
use super::random::secret;
use super::target::{Plan, Target};
use super::{EnvironmentError, TargetChoice};
use crate::client::{Client, ConnectFailure, Event, Options, Session};
use crate::mqtt::packet::{ConnAck, Connect, Disconnect, Publish, Subscribe};
use crate::mqtt::property::Property;
use crate::mqtt::{Packet, Properties, ProtocolVersion, QoS, ReasonCode, TopicName};
use crate::scenario::Capability;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the broker may take to say something of itself.
const SYS_PATIENCE: Duration = Duration::from_secs(1);

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was asked about.
    pub what: String,
    /// The answer.
    pub found: Found,
    /// What it is concluded from.
    pub why: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It can.
    Yes,
    /// It cannot.
    No,
    /// So much.
    Value(String),
}

/// What was found about a broker.
#[derive(Debug, Clone)]
pub struct Probed {
    /// The broker: `mosquitto 2.0.11`, `mqtt://host`.
    pub name: String,
    /// In the order of asking.
    pub findings: Vec<Finding>,
    /// The same as a profile, without accounts.
    pub profile: Profile,
}

/// Connects to a broker and tries it out. Blocks; makes its own tokio runtime.
///
/// # Errors
/// No broker, or one that lets nobody in.
pub fn probe(choice: &TargetChoice) -> Result<Probed, EnvironmentError> {
    let plan = Plan::new(choice)?;
    let no_target = |message: String| EnvironmentError::NoTarget { message };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| no_target(error.to_string()))?;
    runtime.block_on(async {
        let started = plan.start(&Arc::default(), &[], 0, false).await;
        let mut target = started.map_err(|error| no_target(format!("{}: {error}", plan.name)))?;
        let asked = Asker::new(&target).ask_all().await.map(|asker| asker.told(&plan.name));
        if target.prepared.is_some() {
            let _ = target.kill().await;
        }
        asked.map_err(|why| no_target(format!("{}: {why}", plan.name)))
    })
}

/// Asks one thing after the other.
struct Asker<'t> {
    target: &'t Target,
    account: Option<Account>,
    /// Start of all topics and client identifiers.
    prefix: String,
    version: ProtocolVersion,
    findings: Vec<Finding>,
    can: Vec<Capability>,
    limits: Limits,
    keep_alive: Option<u16>,
}

impl<'t> Asker<'t> {
    fn new(target: &'t Target) -> Self {
        let [control, _] = target.control_accounts();
        // A broker that was started for this knows no account.
        let account = if target.prepared.is_some() { None } else { control };
        Self {
            target,
            account,
            prefix: format!("mqttlab-probe-{}", &secret()[..8]),
            version: ProtocolVersion::V311,
            findings: Vec::new(),
            can: Vec::new(),
            limits: Limits::default(),
            keep_alive: None,
        }
    }

    async fn ask_all(mut self) -> Result<Self, String> {
        self.versions().await?;
        self.anonymous().await;
        self.without_keep_alive().await;
        self.quality().await;
        self.retained().await;
        self.wildcards().await;
        self.shared().await;
        self.identifiers().await;
        self.sessions().await;
        self.client_ids().await;
        self.sys().await;
        self.announced().await;
        self.order().await;
        Ok(self)
    }

    fn told(self, name: &str) -> Probed {
        let ordinary = |capability: &&Capability| ORDINARY.contains(capability);
        let more = self.can.iter().filter(|one| !ordinary(one)).map(|one| one.name().to_owned());
        let lacks = ORDINARY.iter().filter(|one| !self.can.contains(one)).map(|one| one.name().to_owned());
        let profile = Profile {
            name: Some(name.to_owned()),
            source: vec![format!("mqttlab probe {name}")],
            capabilities: Some(more.collect()),
            lacks: lacks.collect(),
            limits: self.limits,
            keep_alive: self.keep_alive,
            ..Profile::default()
        };
        Probed { name: name.to_owned(), findings: self.findings, profile }
    }

    fn found(&mut self, capability: Capability, answer: Result<String, String>) {
        let (found, why) = match answer {
            Ok(why) => {
                self.can.push(capability);
                (Found::Yes, why)
            }
            Err(why) => (Found::No, why),
        };
        self.findings.push(Finding { what: capability.doc().into(), found, why });
    }

    fn value(&mut self, what: &str, value: Option<String>, without: &str) {
        let (found, why) = match value {
            Some(value) => (Found::Value(value), "CONNACK says so"),
            None => (Found::Value(without.to_owned()), "CONNACK does not say, so the standard does"),
        };
        self.findings.push(Finding { what: what.to_owned(), found, why: why.to_owned() });
    }

    fn connect(&self, role: &str) -> Connect {
        Connect {
            version: self.version,
            clean_start: true,
            keep_alive: 60,
            client_id: format!("{}-{role}", self.prefix).into(),
            username: self.account.as_ref().map(|account| account.name.as_str().into()),
            password: self.account.as_ref().map(|account| Bytes::from(account.password.clone())),
            ..Connect::default()
        }
    }

    async fn open(&self, connect: Connect) -> Result<(Client, ConnAck), String> {
        self.open_with(connect, Session::default(), false).await
    }

    async fn open_with(
        &self,
        connect: Connect,
        session: Session,
        raw: bool,
    ) -> Result<(Client, ConnAck), String> {
        let endpoint = self.target.control_endpoint().map_err(|error| error.to_string())?;
        let options = Options { connect_timeout: PATIENCE, raw, ..Options::new(connect) };
        Client::connect(&endpoint, &options, session, None).await.map_err(|error| match error {
            ConnectFailure::Refused(answer) => format!("CONNACK {}", answer.code),
            other => other.to_string(),
        })
    }

    /// What a subscriber to `filter` is sent of these messages, told apart by a last message on a topic of
    /// its own that comes after all others.
    async fn exchange(
        &self,
        mut subscribe: Subscribe,
        messages: Vec<Publish>,
    ) -> Result<(ReasonCode, Vec<Publish>), String> {
        let (mut publisher, _) = self.open(self.connect("pub")).await?;
        let (mut subscriber, _) = self.open(self.connect("sub")).await?;
        let end = self.topic("end")?;
        self.granted(&mut subscriber, fence::subscribe_to(end.as_str(), QoS::AtMostOnce)?).await?;
        subscribe.subscriptions.truncate(1);
        let code = self.granted(&mut subscriber, subscribe).await?;
        for publish in messages {
            let qos = publish.qos;
            match timeout(PATIENCE, publisher.publish(publish)).await {
                Err(_) => return Err(format!("a PUBLISH with QoS {qos} is not acknowledged")),
                Ok(Err(lost)) => return Err(format!("a PUBLISH with QoS {qos} is answered with: {lost}")),
                Ok(Ok(Some(Packet::PubAck(ack) | Packet::PubRec(ack)))) if is_negative(ack.reason) => {
                    return Err(format!("a PUBLISH with QoS {qos} is answered with {}", ack.reason));
                }
                Ok(Ok(_)) => {}
            }
        }
        publisher.start_publish(message(&end, "end", QoS::AtMostOnce)).map_err(|error| error.to_string())?;
        let _ = timeout(PATIENCE, publisher.flush()).await;
        let came = received(&mut subscriber, &end).await;
        for client in [publisher, subscriber] {
            let _ = timeout(PATIENCE, client.disconnect(Disconnect::with_reason(ReasonCode::SUCCESS))).await;
        }
        Ok((code, came))
    }

    async fn granted(&self, client: &mut Client, subscribe: Subscribe) -> Result<ReasonCode, String> {
        let filter = subscribe.subscriptions.first().map(|one| one.filter.to_string()).unwrap_or_default();
        match timeout(PATIENCE, client.subscribe(subscribe)).await {
            Ok(Ok(Packet::SubAck(ack))) => match ack.codes.first() {
                Some(code) if !is_negative(*code) => Ok(*code),
                Some(code) => Err(format!("SUBSCRIBE {filter} is answered with {code}")),
                None => Err(format!("the SUBACK for {filter} has no code")),
            },
            Ok(Ok(other)) => Err(format!("SUBSCRIBE is answered with {}", other.packet_type().name())),
            Ok(Err(lost)) => Err(format!("SUBSCRIBE {filter} is answered with: {lost}")),
            Err(_) => Err(format!("no SUBACK for {filter} within {} s", PATIENCE.as_secs())),
        }
    }

    fn topic(&self, last: &str) -> Result<TopicName, String> {
        TopicName::new(format!("{}/{last}", self.prefix)).map_err(|error| error.to_string())
    }

    /// 3.1, 3.1.1 and 5.0; the last that is taken is what the others are asked with.
    async fn versions(&mut self) -> Result<(), String> {
        let mut reasons = Vec::new();
        let mut taken = None;
        for (version, capability) in [
            (ProtocolVersion::V31, Capability::V31),
            (ProtocolVersion::V311, Capability::V311),
            (ProtocolVersion::V5, Capability::V5),
        ] {
            self.version = version;
            // 3.1 has identifiers of 23 characters at most.
            let connect = Connect { client_id: "mqttlab-probe".into(), ..self.connect("") };
            let answer = self.open(connect).await.map(|_| "CONNACK 0".to_owned());
            match &answer {
                Ok(_) => taken = Some(version),
                Err(why) => reasons.push(why.clone()),
            }
            self.found(capability, answer);
        }
        self.version = taken.ok_or_else(|| format!("it lets nobody in: {}", reasons.join("; ")))?;
        Ok(())
    }

    async fn anonymous(&mut self) {
        let connect = Connect { username: None, password: None, ..self.connect("nobody") };
        let answer = self.open(connect).await.map(|_| "CONNACK 0 without a user name".to_owned());
        self.found(Capability::Anonymous, answer);
    }

    async fn without_keep_alive(&mut self) {
        let connect = Connect { keep_alive: 0, ..self.connect("silent") };
        let (found, why) = match self.open(connect).await {
            Ok(_) => (Found::Yes, "CONNACK 0 with a keep-alive of 0".to_owned()),
            Err(why) => {
                self.keep_alive = Some(fence::HOURS);
                (Found::No, why)
            }
        };
        self.findings.push(Finding { what: "clients without a keep-alive".into(), found, why });
    }

    async fn quality(&mut self) {
        for (qos, capability) in [(QoS::AtLeastOnce, Capability::Qos1), (QoS::ExactlyOnce, Capability::Qos2)]
        {
            let answer = self.delivered_with(qos).await;
            self.found(capability, answer);
        }
        let answer = self.goes_on().await;
        self.found(Capability::InFlight, answer);
    }

    async fn delivered_with(&self, qos: QoS) -> Result<String, String> {
        let topic = self.topic(&format!("qos{qos}"))?;
        let subscribe = fence::subscribe_to(topic.as_str(), qos)?;
        let (code, came) = self.exchange(subscribe, vec![message(&topic, "x", qos)]).await?;
        match came.first() {
            Some(publish) if publish.qos == qos => Ok(format!("granted, and delivered with QoS {qos}")),
            Some(publish) => Err(format!("granted {code}, delivered with QoS {}", publish.qos)),
            None => Err(format!("granted {code}, but nothing is delivered")),
        }
    }

    async fn goes_on(&self) -> Result<String, String> {
        let topic = self.topic("flight")?;
        let (mut deaf, _) = self.open_with(self.connect("deaf"), Session::default(), true).await?;
        self.granted(&mut deaf, fence::subscribe_to(topic.as_str(), QoS::AtLeastOnce)?).await?;
        let elsewhere = fence::subscribe_to(&format!("{}/elsewhere", self.prefix), QoS::AtMostOnce)?;
        let messages = ["1", "2"].map(|payload| message(&topic, payload, QoS::AtLeastOnce));
        self.exchange(elsewhere, messages.into()).await?;
        let mut come = 0;
        while let Ok(Event::Packet(packet)) = timeout(PATIENCE, deaf.next()).await {
            come += usize::from(matches!(packet, Packet::Publish(_)));
            if come == 2 {
                return Ok("both of two come".into());
            }
        }
        Err(format!("{come} of two comes"))
    }

    async fn retained(&mut self) {
        let answer = self.retains().await;
        self.found(Capability::Retain, answer);
    }

    async fn retains(&self) -> Result<String, String> {
        let topic = self.topic("retained")?;
        let elsewhere = fence::subscribe_to(&format!("{}/elsewhere", self.prefix), QoS::AtMostOnce)?;
        let keep =
            |payload: &'static str| Publish { retain: true, ..message(&topic, payload, self.acknowledged()) };
        let subscribe = fence::subscribe_to(topic.as_str(), QoS::AtMostOnce)?;
        let came = match self.exchange(elsewhere, vec![keep("x")]).await {
            Ok(_) => self.exchange(subscribe, Vec::new()).await,
            Err(why) => Err(why),
        };
        // Taken away again, whatever came of it.
        let gone = self.tell(keep("")).await;
        let (_, came) = came?;
        gone?;
        match came.first() {
            Some(publish) if publish.retain => Ok("sent to a later subscriber".into()),
            Some(_) => Err("sent to a later subscriber, but not marked as retained".into()),
            None => Err("not sent to a later subscriber".into()),
        }
    }

    /// Publishes one message, and nothing besides that could fail.
    async fn tell(&self, publish: Publish) -> Result<(), String> {
        let (mut client, _) = self.open(self.connect("pub")).await?;
        let answer = timeout(PATIENCE, client.publish(publish)).await;
        let _ = timeout(PATIENCE, client.disconnect(Disconnect::with_reason(ReasonCode::SUCCESS))).await;
        match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(lost)) => Err(format!("a retained message cannot be taken away: {lost}")),
            Err(_) => Err("taking a retained message away is not acknowledged".into()),
        }
    }

    async fn wildcards(&mut self) {
        let answer = self.matches("+/leaf", "one/leaf").await;
        let answer = match answer {
            Ok(_) => self.matches("deep/#", "deep/a/b").await.map(|_| "+ and # match".to_owned()),
            Err(why) => Err(why),
        };
        self.found(Capability::Wildcards, answer);
    }

    /// Whether a filter below our prefix gets a message.
    async fn matches(&self, filter: &str, topic: &str) -> Result<String, String> {
        let filter = format!("{}/{filter}", self.prefix);
        let subscribe = fence::subscribe_to(&filter, QoS::AtMostOnce)?;
        let messages = vec![message(&self.topic(topic)?, "x", self.acknowledged())];
        let (_, came) = self.exchange(subscribe, messages).await?;
        if came.is_empty() { Err(format!("{filter} gets nothing")) } else { Ok(filter) }
    }

    async fn shared(&mut self) {
        let answer = self.shares().await;
        self.found(Capability::Shared, answer);
    }

    async fn shares(&self) -> Result<String, String> {
        let topic = self.topic("shared")?;
        let subscribe = fence::subscribe_to(&format!("$share/group/{topic}"), QoS::AtMostOnce)?;
        let (_, came) = self.exchange(subscribe, vec![message(&topic, "x", self.acknowledged())]).await?;
        if came.is_empty() {
            Err("$share/group/… gets nothing".into())
        } else {
            Ok("$share/group/… is served".into())
        }
    }

    async fn identifiers(&mut self) {
        let answer = self.identifies().await;
        self.found(Capability::SubscriptionIds, answer);
    }

    async fn identifies(&self) -> Result<String, String> {
        if !self.version.is_v5() {
            return Err("they are of MQTT 5.0".into());
        }
        let topic = self.topic("identified")?;
        let mut subscribe = fence::subscribe_to(topic.as_str(), QoS::AtMostOnce)?;
        subscribe.properties.push(Property::SubscriptionIdentifier(7));
        let (_, came) = self.exchange(subscribe, vec![message(&topic, "x", self.acknowledged())]).await?;
        match came.first().map(|publish| publish.properties.subscription_identifier()) {
            Some(Some(7)) => Ok("a message has it".into()),
            Some(_) => Err("a message comes without it".into()),
            None => Err("the subscription gets nothing".into()),
        }
    }

    /// QoS 1, where there is that: its acknowledgement says that the broker has the message.
    fn acknowledged(&self) -> QoS {
        if self.can.contains(&Capability::Qos1) { QoS::AtLeastOnce } else { QoS::AtMostOnce }
    }

    async fn sessions(&mut self) {
        let answer = self.keeps_sessions().await;
        self.found(Capability::Sessions, answer);
    }

    async fn keeps_sessions(&self) -> Result<String, String> {
        let kept = self.comes_back().await;
        let gone = self.end_session("kept").await;
        let told = |text: String| match &gone {
            Ok(()) => text,
            Err(why) => format!("{text}; the session may be left behind: {why}"),
        };
        kept.map(told).map_err(told)
    }

    /// The session goes when it is begun anew, also where a DISCONNECT was lost.
    async fn end_session(&self, role: &str) -> Result<(), String> {
        let (client, _) = self.open(self.connect(role)).await?;
        let goodbye = Disconnect::with_reason(ReasonCode::SUCCESS);
        let _ = timeout(PATIENCE, client.disconnect(goodbye)).await;
        Ok(())
    }

    async fn comes_back(&self) -> Result<String, String> {
        let topic = self.topic("kept")?;
        let mut connect = Connect { clean_start: false, ..self.connect("kept") };
        if self.version.is_v5() {
            connect.properties.push(Property::SessionExpiryInterval(60));
        }
        let (mut client, _) = self.open(connect.clone()).await?;
        self.granted(&mut client, fence::subscribe_to(topic.as_str(), self.acknowledged())?).await?;
        let session = client.disconnect(Disconnect::with_reason(ReasonCode::SUCCESS)).await;
        let elsewhere = fence::subscribe_to(&format!("{}/elsewhere", self.prefix), QoS::AtMostOnce)?;
        self.exchange(elsewhere, vec![message(&topic, "x", self.acknowledged())]).await?;
        let (mut client, answer) = self.open_with(connect, session, false).await?;
        let came = match timeout(PATIENCE, client.next()).await {
            Ok(Event::Packet(Packet::Publish(publish))) => publish.topic == topic,
            _ => false,
        };
        drop(client);
        match (answer.session_present, came) {
            (true, true) => Ok("present after a reconnect, with what came meanwhile".into()),
            // What scenarios will find fault with is there all the same.
            (true, false) => Ok("present after a reconnect, but what came meanwhile is lost".into()),
            (false, _) => Err("not present after a reconnect".into()),
        }
    }

    /// Identifiers that the broker makes, and what it does with one that is taken.
    async fn client_ids(&mut self) {
        let unnamed = Connect { client_id: "".into(), ..self.connect("") };
        let answer = self.open(unnamed).await.map(|(_, answer)| {
            answer.properties.assigned_client_identifier().map_or_else(
                || "an empty client identifier is accepted".to_owned(),
                |id| format!("an empty client identifier becomes {id}"),
            )
        });
        self.found(Capability::AssignedIds, answer);
        let (found, why) = match self.takes_over().await {
            Ok(why) => (Found::Yes, why),
            Err(why) => (Found::No, why),
        };
        self.findings.push(Finding { what: "one connection a client identifier".into(), found, why });
    }

    async fn takes_over(&self) -> Result<String, String> {
        let (mut first, _) = self.open(self.connect("twin")).await?;
        let (_second, _) =
            self.open(self.connect("twin")).await.map_err(|why| format!("the second is refused: {why}"))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match timeout_at(until, first.next()).await {
                Ok(Event::Closed(_) | Event::Malformed(_)) => {
                    return Ok("the first is closed when the second comes".into());
                }
                Ok(_) => {}
                Err(_) => return Err("two stay connected under one identifier".into()),
            }
        }
    }

    async fn sys(&mut self) {
        let answer = self.tells_of_itself().await;
        self.found(Capability::Sys, answer);
    }

    async fn tells_of_itself(&self) -> Result<String, String> {
        let (mut client, _) = self.open(self.connect("sys")).await?;
        self.granted(&mut client, fence::subscribe_to("$SYS/#", QoS::AtMostOnce)?).await?;
        let until = Instant::now() + SYS_PATIENCE;
        while let Ok(event) = timeout_at(until, client.next()).await {
            match event {
                Event::Packet(Packet::Publish(publish)) => return Ok(format!("sends {}", publish.topic)),
                Event::Closed(closed) => return Err(closed.to_string()),
                _ => {}
            }
        }
        Err(format!("nothing comes within {} s", SYS_PATIENCE.as_secs()))
    }

    /// The numbers of a 5.0 CONNACK.
    async fn announced(&mut self) {
        if !self.version.is_v5() {
            return;
        }
        let role = "numbers";
        let mut connect = self.connect(role);
        connect.properties.push(Property::SessionExpiryInterval(u32::MAX));
        let opened = match self.open(connect).await {
            Ok((client, answer)) => {
                let mut goodbye = Disconnect::with_reason(ReasonCode::SUCCESS);
                goodbye.properties.push(Property::SessionExpiryInterval(0));
                let _ = timeout(PATIENCE, client.disconnect(goodbye)).await;
                Some(answer)
            }
            Err(_) => None,
        };
        // Also where no CONNACK came in time: the broker may have opened it.
        let gone = self.end_session(role).await;
        let Some(answer) = opened else { return };
        let said: &Properties = &answer.properties;
        let text = |number: Option<u32>| number.map(|number| number.to_string());
        self.limits.packet_size = said.maximum_packet_size();
        let aliases = match said.topic_alias_maximum() {
            Some(most) if most > 0 => Ok(format!("CONNACK allows {most}")),
            _ => Err("CONNACK allows none".to_owned()),
        };
        self.value("maximum packet size, bytes", text(said.maximum_packet_size()), "no limit");
        self.found(Capability::TopicAliases, aliases);
        self.value("receive maximum", text(said.receive_maximum().map(u32::from)), "65535");
        self.value(
            "server keep alive, seconds",
            text(said.server_keep_alive().map(u32::from)),
            "as the client says",
        );
        self.value(
            "longest session expiry, seconds",
            text(said.session_expiry_interval()),
            "as the client says",
        );
        if let (Err(why), Some(last)) = (gone, self.findings.last_mut()) {
            last.why = format!("{}; a session that never expires may be left behind: {why}", last.why);
        }
    }

    async fn order(&mut self) {
        let topic = format!("{}/order", self.prefix);
        let (found, why) = match fence::calibrate(self.target, &topic).await {
            Ok(order) => match order.quiet {
                None => (Found::Yes, "50 of 50 pairs came in order, before the answer to a ping".to_owned()),
                Some(quiet) => {
                    let quiet = crate::text::print_duration(quiet);
                    (Found::No, format!("a probe was overtaken; absences take {quiet} of quiet"))
                }
            },
            Err(why) => (Found::No, why),
        };
        self.findings.push(Finding { what: "order of delivery".into(), found, why });
    }
}

fn is_negative(code: ReasonCode) -> bool {
    code >= ReasonCode::UNSPECIFIED_ERROR
}

/// What comes before the last message, or until patience ends.
async fn received(client: &mut Client, end: &TopicName) -> Vec<Publish> {
    let mut came = Vec::new();
    let until = Instant::now() + PATIENCE;
    while let Ok(event) = timeout_at(until, client.next()).await {
        match event {
            Event::Packet(Packet::Publish(publish)) if publish.topic == *end => break,
            Event::Packet(Packet::Publish(publish)) => came.push(publish),
            Event::Closed(_) | Event::Malformed(_) => break,
            Event::Packet(_) | Event::Repeated(_) => {}
        }
    }
    came
}
