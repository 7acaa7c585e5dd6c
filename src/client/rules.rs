//! What a client may not let pass: the packets of a broker that make it close the connection.
//!
//! Pure, and of one connection; [`super::state`] holds what outlives it. Only what the client itself must
//! notice is here: whether a broker keeps all its rules is the business of the checks. A client that is told
//! of a session which it does not know goes on, for scenarios resume sessions of other clients.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::mqtt::codec::{DecodeError, Limits};
use crate::mqtt::packet::{Connect, Publish};
use crate::mqtt::{Packet, PacketId, Properties, Property, QoS, ReasonCode, TopicName};

/// Why a client gives the connection up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offence {
    /// What a 5.0 broker is told in DISCONNECT.
    pub reason: ReasonCode,
    /// What the broker did, in words.
    pub what: String,
}

impl Offence {
    fn new(reason: ReasonCode, what: impl Into<String>) -> Self {
        Self { reason, what: what.into() }
    }

    fn protocol(what: impl Into<String>) -> Self {
        Self::new(ReasonCode::PROTOCOL_ERROR, what)
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Offence {}

impl From<DecodeError> for Offence {
    fn from(error: DecodeError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

/// What holds on one connection.
#[derive(Debug)]
pub struct Rules {
    /// What it began with.
    connect: Connect,
    limits: Limits,
    accepted: bool,
    aliases: BTreeMap<u16, TopicName>,
    /// QoS 2 messages of this connection that are not released.
    unreleased: BTreeSet<PacketId>,
}

impl Rules {
    /// Those of a connection that begins with this CONNECT; `limits` are the program's own.
    pub fn of(connect: &Connect, limits: Limits) -> Self {
        let most = connect.properties.maximum_packet_size().unwrap_or(u32::MAX);
        Self {
            connect: connect.clone(),
            limits: Limits { max_packet_size: limits.max_packet_size.min(most) },
            accepted: false,
            aliases: BTreeMap::new(),
            unreleased: BTreeSet::new(),
        }
    }

    /// What is read: no packet beyond the Maximum Packet Size of the CONNECT.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Looks at what came. A PUBLISH gets the topic that its alias stands for.
    pub fn judge(&mut self, packet: &mut Packet) -> Result<(), Offence> {
        self.direction(packet)?;
        if self.connect.properties.request_problem_information() == Some(0) && tells_of_problems(packet) {
            let name = packet.packet_type().name();
            // [U5-3.1.2-10]
            return Err(Offence::protocol(format!("{name} has problem information that nobody asked for")));
        }
        match packet {
            Packet::ConnAck(answer) => {
                if std::mem::replace(&mut self.accepted, true) {
                    return Err(Offence::protocol("CONNACK comes a second time"));
                }
                // [MQTT-3.2.2-4] of 5.0, as far as the client must know that it has no state.
                if self.connect.version.is_v5() && self.connect.clean_start && answer.session_present {
                    return Err(Offence::protocol("CONNACK tells of a session after a clean start"));
                }
            }
            Packet::Publish(publish) => self.publish(publish)?,
            Packet::PubRel(ack) => {
                self.unreleased.remove(&ack.id);
            }
            _ => {}
        }
        Ok(())
    }

    /// [MQTT-4.8.0-1] 5: [MQTT-4.13.1-1]: what a broker does not send.
    fn direction(&self, packet: &Packet) -> Result<(), Offence> {
        let wrong = match packet {
            Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => true,
            Packet::Disconnect(_) => !self.connect.version.is_v5(),
            Packet::Auth(_) => self.connect.properties.authentication_method().is_none(),
            _ => false,
        };
        let name = || packet.packet_type().name();
        if wrong { Err(Offence::protocol(format!("{} is not for a client", name()))) } else { Ok(()) }
    }

    fn publish(&mut self, publish: &mut Publish) -> Result<(), Offence> {
        if !self.connect.version.is_v5() {
            return Ok(());
        }
        if let Some(id) = publish.id {
            // All but QoS 2 is answered at once, and so is behind us when the next comes.
            let most = self.connect.properties.receive_maximum().unwrap_or(u16::MAX);
            if self.unreleased.len() >= most.into() && !self.unreleased.contains(&id) {
                let what = format!("more than {most} messages are unacknowledged");
                return Err(Offence::new(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED, what));
            }
            if publish.qos == QoS::ExactlyOnce {
                self.unreleased.insert(id);
            }
        }
        let Some(alias) = publish.properties.topic_alias() else { return Ok(()) };
        let most = self.connect.properties.topic_alias_maximum().unwrap_or(0);
        if alias == 0 || alias > most {
            let what = format!("topic alias {alias} of {most} at most");
            return Err(Offence::new(ReasonCode::TOPIC_ALIAS_INVALID, what));
        }
        if !publish.topic.is_empty() {
            self.aliases.insert(alias, publish.topic.clone());
            return Ok(());
        }
        let known = self.aliases.get(&alias);
        // [MQTT-3.3.2-10] of 5.0
        publish.topic =
            known.ok_or_else(|| Offence::protocol(format!("topic alias {alias} is not set")))?.clone();
        Ok(())
    }
}

/// Whether it has a Reason String or User Properties, and is not one of the packets that always may.
fn tells_of_problems(packet: &Packet) -> bool {
    let tells = |properties: &Properties| {
        let mut all = properties.iter();
        all.any(|one| matches!(one, Property::ReasonString(_) | Property::UserProperty(..)))
    };
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            tells(&ack.properties)
        }
        Packet::SubAck(ack) => tells(&ack.properties),
        Packet::UnsubAck(ack) => tells(&ack.properties),
        Packet::Auth(auth) => tells(&auth.properties),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::ProtocolVersion;
    use crate::mqtt::notation::PacketLine;

    /// The packets of the broker after a CONNECT, in notation; the words and reason of the first that the
    /// client does not let pass.
    fn judged(version: ProtocolVersion, connect: &str, lines: &[&str]) -> Result<(), (u8, String)> {
        let read = |line: &str| {
            let line = PacketLine::parse(line).expect(line);
            line.build(version).expect("a packet").packet.expect("well-formed")
        };
        let Packet::Connect(connect) = read(connect) else { panic!("{connect}") };
        let mut rules = Rules::of(&connect, Limits::default());
        for line in lines {
            rules.judge(&mut read(line)).map_err(|offence| (offence.reason.0, offence.what))?;
        }
        Ok(())
    }

    #[test]
    fn an_ordinary_broker_offends_nobody() {
        for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
            let lines =
                ["CONNACK", "PUBLISH t qos=2 id=1", "PUBLISH t qos=2 id=1 dup", "PUBREL id=1", "PINGRESP"];
            assert_eq!(judged(version, "CONNECT clean", &lines), Ok(()));
        }
        let present = ["CONNACK session_present=1", "DISCONNECT"];
        assert_eq!(judged(ProtocolVersion::V5, "CONNECT", &present), Ok(()));
        assert_eq!(judged(ProtocolVersion::V311, "CONNECT clean", &present[..1]), Ok(()));
        let explained =
            ["CONNACK reason_string=\"x\"", "PUBLISH t user.x=1", "DISCONNECT reason_string=\"x\""];
        assert_eq!(judged(ProtocolVersion::V5, "CONNECT request_problem_info=0", &explained), Ok(()));
    }

    #[test]
    fn what_a_client_must_not_let_pass() {
        let aliases = "CONNECT topic_alias_maximum=2";
        let narrow = "CONNECT receive_maximum=1";
        let quiet = "CONNECT request_problem_info=0";
        let both: [(&str, &[&str], u8, &str); 10] = [
            ("CONNECT", &["CONNACK", "CONNACK"], 0x82, "a second time"),
            ("CONNECT", &["CONNACK", "PINGREQ"], 0x82, "PINGREQ is not for a client"),
            ("CONNECT", &["CONNACK", "AUTH 0x18 method=m"], 0x82, "AUTH is not for a client"),
            ("CONNECT clean", &["CONNACK session_present=1"], 0x82, "after a clean start"),
            ("CONNECT", &["CONNACK", "PUBLISH t topic_alias=1"], 0x94, "1 of 0 at most"),
            (aliases, &["CONNACK", "PUBLISH t topic_alias=3"], 0x94, "3 of 2 at most"),
            (aliases, &["CONNACK", "PUBLISH topic=\"\" topic_alias=2"], 0x82, "2 is not set"),
            (narrow, &["CONNACK", "PUBLISH t qos=2 id=1", "PUBLISH t qos=1 id=2"], 0x93, "more than 1"),
            (quiet, &["CONNACK", "PUBACK id=1 reason_string=\"x\""], 0x82, "PUBACK has problem information"),
            (quiet, &["CONNACK", "SUBACK id=1 0 user.x=1"], 0x82, "SUBACK has problem information"),
        ];
        for (connect, lines, reason, words) in both {
            let (told, what) = judged(ProtocolVersion::V5, connect, lines).expect_err(words);
            assert!(told == reason && what.contains(words), "{told:#x} {what}");
        }
        let old =
            judged(ProtocolVersion::V311, "CONNECT", &["CONNACK", "DISCONNECT"]).expect_err("no such packet");
        assert!(old.1.contains("DISCONNECT is not for a client"), "{}", old.1);
    }

    #[test]
    fn an_alias_stands_for_the_last_topic_that_it_came_with() {
        let connect = Connect {
            version: ProtocolVersion::V5,
            properties: [Property::TopicAliasMaximum(1)].into_iter().collect(),
            ..Connect::default()
        };
        let mut rules = Rules::of(&connect, Limits::default());
        for (topic, meant) in [("a", "a"), ("", "a"), ("b", "b"), ("", "b")] {
            let line =
                PacketLine::parse(&format!("PUBLISH topic=\"{topic}\" topic_alias=1")).expect("a line");
            let mut packet = line.build(ProtocolVersion::V5).expect("built").packet.expect("a packet");
            rules.judge(&mut packet).expect("fine");
            assert!(
                matches!(&packet, Packet::Publish(publish) if publish.topic.as_str() == meant),
                "{packet:?}"
            );
        }
    }
}
