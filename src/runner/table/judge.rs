//! From what a probe met to what is said about its row. Delivery is the truth; the mechanism of a
//! denial is told beside it.

use tokio::time::Instant;

use super::plan::{Answer, Probe};
use crate::broker::auth::{Access, Acl, Subject};
use crate::mqtt::packet::{ConnAck, Publish};
use crate::mqtt::{Packet, ProtocolVersion, ReasonCode, TopicName, notation};
use crate::record::{Explanation, WireEvent, WireSide};
use crate::runner::outcome::{Trouble, place};
use crate::runner::recorder::Recorder;
use crate::scenario::table::Expected;

/// What a judge must know beside the probe.
#[derive(Debug)]
pub struct Court<'a> {
    /// What the users speak.
    pub version: ProtocolVersion,
    /// The ACL of this broker, where we know it.
    pub acl: Option<&'a Acl>,
    /// The client identifier that the user had.
    pub client_id: &'a str,
    /// False for a user without an account.
    pub known_user: bool,
}

/// What became of one check.
#[derive(Debug)]
pub struct Ruling {
    /// Why it is not passed.
    pub trouble: Option<Trouble>,
    /// How it was denied.
    pub mechanism: Option<String>,
    /// The packets that matter, oldest first.
    pub packets: Vec<Line>,
}

/// One packet or connection event of a row.
#[derive(Debug)]
pub struct Line {
    part: Part,
    wire: WireEvent,
}

/// What a packet is in its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What the user asks.
    Request,
    /// What the broker says to it.
    Answer,
    /// A message of the control that only the witness sees.
    Control,
    /// A message of the row that arrives.
    Arrival,
}

impl Line {
    fn new(part: Part, client: &str, side: WireSide, line: String) -> Self {
        Self { part, wire: WireEvent { client: client.to_owned(), conn: 0, side, line, bytes: None } }
    }

    /// Writes it into the event log.
    pub fn record(&self, recorder: &Recorder) {
        recorder.wire(self.wire.clone(), Instant::now());
    }
}

/// What happened, as far as it can be told.
enum Fact<'p> {
    Arrived,
    /// On some of the probe's topics only: received, missed.
    Partly(&'p TopicName, &'p TopicName),
    Absent,
    Unknown(String),
}

/// Judges one check of a row.
pub fn judge(probe: &Probe<'_>, court: &Court<'_>) -> Ruling {
    let fact = fact(probe);
    let mechanism = matches!(fact, Fact::Absent).then(|| mechanism(probe, court.version));
    let trouble = trouble(probe, court, &fact, mechanism.as_deref());
    Ruling { trouble, mechanism, packets: packets(probe, court.version) }
}

fn fact<'p>(probe: &'p Probe<'_>) -> Fact<'p> {
    if probe.row.topic.starts_with("$SYS") && !probe.received.is_empty() {
        return Fact::Arrived;
    }
    let arrived = |topic: &TopicName| probe.received.iter().any(|publish| publish.topic == *topic);
    let (there, absent): (Vec<_>, Vec<_>) =
        probe.topics.iter().enumerate().partition(|(_, topic)| arrived(topic));
    if absent.is_empty() {
        return Fact::Arrived;
    }
    // One message is enough to show that it was not denied.
    if let (Some((_, there)), Some((_, absent)), true) =
        (there.first(), absent.first(), probe.check.expected != Expected::Allow)
    {
        return Fact::Partly(there, absent);
    }
    // Without the positive control an absence proves nothing.
    if absent.iter().any(|(index, _)| !probe.controls[*index]) {
        return Fact::Unknown("the control message on this topic did not arrive at the witness".into());
    }
    match &probe.answer {
        Answer::Unknown(why) => return Fact::Unknown(why.clone()),
        Answer::Open | Answer::Interrupted => return Fact::Unknown("the connection ended first".into()),
        Answer::Done | Answer::Acknowledged(_) | Answer::Refused(_) | Answer::Closed => {}
    }
    match (there.first(), absent.first()) {
        (Some((_, there)), Some((_, absent))) => Fact::Partly(there, absent),
        _ => Fact::Absent,
    }
}

/// The mechanism of a broker that says yes and delivers nothing.
const SILENT: &str = "silent";

/// How a denial was made.
fn mechanism(probe: &Probe<'_>, version: ProtocolVersion) -> String {
    match &probe.answer {
        Answer::Acknowledged(packet) => match codes(packet).into_iter().find(|code| code.0 >= 0x80) {
            Some(code) => format!("{} 0x{:02x}", packet.packet_type().name(), code.0),
            None => SILENT.into(),
        },
        Answer::Refused(Some(code)) if version.is_v5() => format!("refused CONNECT (0x{:02x})", code.0),
        Answer::Refused(Some(code)) => format!("refused CONNECT ({})", code.0),
        Answer::Refused(None) => "refused CONNECT (closed)".into(),
        Answer::Closed => "disconnect".into(),
        _ => SILENT.into(),
    }
}

fn codes(packet: &Packet) -> Vec<ReasonCode> {
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => vec![ack.reason],
        Packet::SubAck(ack) => ack.codes.clone(),
        _ => Vec::new(),
    }
}

fn trouble(
    probe: &Probe<'_>,
    court: &Court<'_>,
    fact: &Fact<'_>,
    mechanism: Option<&str>,
) -> Option<Trouble> {
    let who = name(probe);
    let (allow, deny) = if probe.publishes() {
        ("allow: the witness receives it".to_owned(), "deny: nobody receives it".to_owned())
    } else {
        (format!("allow: {who} receives what is published"), format!("deny: {who} receives nothing"))
    };
    let expected = match probe.check.expected {
        Expected::Allow => allow,
        Expected::Deny => deny,
        Expected::DenyWithCode(code) => format!("{deny}, and the answer is 0x{:02x}", code.0),
        Expected::DenyByDisconnect => format!("{deny}, and the connection is closed"),
    };
    let denied = || match mechanism {
        None | Some(SILENT) => format!("{}, and the broker reported no error", absence(probe, &who)),
        Some(mechanism) => format!("{} ({mechanism})", absence(probe, &who)),
    };
    let actual = match (fact, probe.check.expected) {
        (Fact::Arrived, Expected::Allow) | (Fact::Absent, Expected::Deny) => return None,
        (Fact::Absent, Expected::DenyByDisconnect) if probe.answer == Answer::Closed => return None,
        (Fact::Absent, Expected::DenyWithCode(code)) if answered(probe, code) => return None,
        (Fact::Absent, _) => denied(),
        (Fact::Arrived, _) if probe.publishes() => "the witness received it".into(),
        (Fact::Arrived, _) => format!("{who} received it"),
        (Fact::Partly(there, absent), _) => format!("{who} received it on {there}, but not on {absent}"),
        (Fact::Unknown(why), _) => why.clone(),
    };
    let lines = packets(probe, court.version);
    let parted = instead(probe, fact);
    let mut why = Explanation {
        expected,
        actual,
        place: Some(place(&probe.row.topic_span)),
        packets: lines.iter().map(|line| line.wire.print()).collect(),
        came: lines.iter().filter(|line| Some(line.part) == parted).map(|line| line.wire.print()).collect(),
        hint: None,
    };
    if matches!(fact, Fact::Unknown(_)) {
        return Some(Trouble::Errored(Box::new(why)));
    }
    why.hint = hint(probe, court, fact);
    Some(Trouble::Failed(Box::new(why)))
}

/// Which of its packets a row should not have met: what arrived although it is denied, the answer that
/// denies what is allowed, the wrong answer to what is denied. A silent denial has none.
fn instead(probe: &Probe<'_>, fact: &Fact<'_>) -> Option<Part> {
    let refused = match &probe.answer {
        Answer::Acknowledged(packet) => codes(packet).iter().any(|code| code.0 >= 0x80),
        Answer::Refused(_) | Answer::Closed => true,
        _ => false,
    };
    match (fact, probe.check.expected) {
        (Fact::Unknown(_), _) | (Fact::Arrived, Expected::Allow) => None,
        (Fact::Arrived | Fact::Partly(..), expected) if expected != Expected::Allow => Some(Part::Arrival),
        (_, Expected::Allow) => refused.then_some(Part::Answer),
        _ => Some(Part::Answer),
    }
}

fn answered(probe: &Probe<'_>, wanted: ReasonCode) -> bool {
    match &probe.answer {
        Answer::Acknowledged(packet) => codes(packet).contains(&wanted),
        Answer::Refused(code) => *code == Some(wanted),
        _ => false,
    }
}

fn absence(probe: &Probe<'_>, who: &str) -> String {
    if probe.publishes() { "nobody received it".into() } else { format!("{who} received nothing") }
}

/// What is likely at fault: the line that decided, or that there is none.
fn hint(probe: &Probe<'_>, court: &Court<'_>, fact: &Fact<'_>) -> Option<String> {
    if let Answer::Refused(_) = probe.answer {
        return Some(match &probe.row.user {
            Some(user) if !court.known_user => format!("{user} is in no password file"),
            Some(user) => format!("the broker does not take the password of {user}"),
            None => "allow_anonymous is false: who has no user name is refused".into(),
        });
    }
    let acl = court.acl?;
    let who = Subject { username: probe.row.user.as_deref(), client_id: court.client_id };
    let access = if probe.publishes() { Access::Write } else { Access::Read };
    let (topic, arrived) = match fact {
        Fact::Partly(there, absent) if probe.check.expected == Expected::Allow => {
            let _ = there;
            (*absent, false)
        }
        Fact::Partly(there, _) => (*there, true),
        Fact::Arrived => (probe.topics.first()?, true),
        Fact::Absent | Fact::Unknown(_) => (probe.topics.first()?, false),
    };
    let explained = acl.explain(who, topic.as_str(), access);
    if explained.decision.allowed == arrived {
        return Some(explained.text);
    }
    let rule = if explained.decision.allowed { "allows" } else { "denies" };
    Some(format!("the ACL file {rule} it, but this broker does otherwise: {}", explained.text))
}

/// The name of the user in reports.
pub fn name(probe: &Probe<'_>) -> String {
    probe.row.user.clone().unwrap_or_else(|| "anonymous".into())
}

/// The packets of a probe, oldest first.
fn packets(probe: &Probe<'_>, version: ProtocolVersion) -> Vec<Line> {
    let who = name(probe);
    let print = |packet: &Packet| notation::print(packet, version);
    let mine = |part, side, line: String| Line::new(part, &who, side, line);
    let mut lines = Vec::new();
    match &probe.answer {
        Answer::Refused(Some(code)) => {
            let refusal = ConnAck { code: *code, ..ConnAck::default() };
            lines.push(mine(Part::Answer, WireSide::Received, print(&Packet::ConnAck(refusal))));
        }
        Answer::Refused(None) => {
            lines.push(mine(Part::Answer, WireSide::Link, "closed without CONNACK".into()));
        }
        _ => {}
    }
    lines.extend(probe.request.as_ref().map(|packet| mine(Part::Request, WireSide::Sent, print(packet))));
    match &probe.answer {
        Answer::Acknowledged(packet) => lines.push(mine(Part::Answer, WireSide::Received, print(packet))),
        Answer::Closed => lines.push(mine(Part::Answer, WireSide::Link, "closed by the peer".into())),
        _ => {}
    }
    let arrives = |part, receiver: &str, publish: &Publish| {
        Line::new(part, receiver, WireSide::Received, print(&Packet::Publish(publish.clone())))
    };
    // That a subscriber got nothing means something beside the witness, who did.
    lines.extend(probe.witnessed.iter().map(|publish| arrives(Part::Control, "witness", publish)));
    let receiver = if probe.publishes() { "witness" } else { &who };
    lines.extend(probe.received.iter().map(|publish| arrives(Part::Arrival, receiver, publish)));
    lines
}
