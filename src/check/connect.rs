//! How a connection begins (3.1, 3.2), and which packets travel which way (2.2.1; 2.1.2 in 5.0).

use super::CheckSpec;
use super::look::{Breach, Look, breach};
use super::statements::Standard::{V5, V311};
use crate::mqtt::codec::DecodeErrorKind;
use crate::mqtt::packet::PacketType;
use crate::mqtt::{Packet, ReasonCode};

pub(super) const CONNECT_FIRST: CheckSpec = CheckSpec {
    name: "client-connect-first",
    doc: "The first packet of a client is CONNECT.",
    example: "> PINGREQ",
    // A broker that dials out is a client like any other.
    cites: &[(V311, "MQTT-3.1.0-1"), (V311, "MQTT-7.0.0-1"), (V5, "MQTT-3.1.0-1")],
    always: true,
    look: |look| {
        let first = look.conn.side(look.from).packets == 0;
        let other = match look.seen {
            Ok(packet) => packet.packet_type() != PacketType::Connect,
            Err(error) => error.kind == DecodeErrorKind::NotConnect,
        };
        breach(first && other, "the first packet of the client is not CONNECT")
    },
    old: true,
    ..CheckSpec::CLIENT
};

pub(super) const ONE_CONNECT: CheckSpec = CheckSpec {
    name: "client-one-connect",
    doc: "A client sends CONNECT once on a connection.",
    example: "> CONNECT client=a\n> CONNECT client=a",
    cites: &[(V311, "MQTT-3.1.0-2"), (V5, "MQTT-3.1.0-2")],
    always: true,
    look: |look| {
        let connect = matches!(look.seen, Ok(Packet::Connect(_)));
        breach(connect && look.conn.connects > 0, "a second CONNECT on one connection")
    },
    old: true,
    ..CheckSpec::CLIENT
};

pub(super) const CLIENT_DIRECTION: CheckSpec = CheckSpec {
    name: "client-direction",
    doc: "A client sends none of the packets that only a broker sends.",
    example: "> SUBACK id=1 0",
    cites: &[(V311, "U311-2.2.1-2"), (V5, "U5-2.1.2-1")],
    always: true,
    look: |look| {
        let wrong = [PacketType::ConnAck, PacketType::SubAck, PacketType::UnsubAck, PacketType::PingResp];
        wrong_way(look, &wrong)
    },
    old: true,
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_DIRECTION: CheckSpec = CheckSpec {
    name: "broker-direction",
    doc: "A broker sends none of the packets that only a client sends.",
    example: "< PINGREQ",
    cites: &[(V311, "U311-2.2.1-2"), (V5, "U5-2.1.2-1")],
    always: true,
    look: |look| {
        let wrong =
            [PacketType::Connect, PacketType::Subscribe, PacketType::Unsubscribe, PacketType::PingReq];
        wrong_way(look, &wrong)
    },
    old: true,
    ..CheckSpec::BROKER
};

fn wrong_way(look: &Look<'_>, wrong: &[PacketType]) -> Option<Breach> {
    let kind = look.packet()?.packet_type();
    breach(wrong.contains(&kind), format!("{} sent by the {}", kind.name(), look.from))
}

pub(super) const CONNACK_FIRST: CheckSpec = CheckSpec {
    name: "broker-connack-first",
    doc: "The first packet of a broker is CONNACK; in MQTT 5.0 AUTH may come before it.",
    example: "> CONNECT client=a\n< PINGRESP",
    cites: &[(V311, "MQTT-3.2.0-1"), (V5, "MQTT-3.2.0-1")],
    always: true,
    look: |look| {
        let packet = look.packet()?;
        let allowed = match packet {
            Packet::ConnAck(_) => true,
            Packet::Auth(_) => look.version.is_v5(),
            _ => false,
        };
        let name = packet.packet_type().name();
        breach(look.conn.connacks == 0 && !allowed, format!("{name} before CONNACK"))
    },
    old: true,
    ..CheckSpec::BROKER
};

pub(super) const ONE_CONNACK: CheckSpec = CheckSpec {
    name: "broker-one-connack",
    doc: "A broker sends at most one CONNACK on a connection.",
    example: "< CONNACK 0\n< CONNACK 0",
    cites: &[(V5, "MQTT-3.2.0-2")],
    always: true,
    look: |look| {
        look.connack()?;
        breach(look.conn.connacks > 0, "a second CONNACK on one connection")
    },
    ..CheckSpec::BROKER
};

pub(super) const AFTER_REFUSAL: CheckSpec = CheckSpec {
    name: "broker-after-refusal",
    doc: "A broker that refuses a connection in CONNACK closes it and sends nothing more.",
    example: "< CONNACK 5\n< PINGRESP",
    cites: &[(V311, "MQTT-3.2.2-5"), (V5, "MQTT-3.2.2-7")],
    always: true,
    look: |look| {
        let answer = look.conn.connack.as_ref()?;
        let name = look.seen.map_or("bytes", |packet| packet.packet_type().name());
        breach(answer.code != ReasonCode::SUCCESS, format!("{name} after CONNACK {}", answer.code))
    },
    old: true,
    ..CheckSpec::BROKER
};

pub(super) const REFUSED_SESSION: CheckSpec = CheckSpec {
    name: "broker-refused-session",
    doc: "A CONNACK that refuses says that there is no session.",
    example: "< CONNACK 5 session_present",
    cites: &[(V311, "MQTT-3.2.2-4"), (V5, "MQTT-3.2.2-6")],
    always: true,
    look: |look| {
        let answer = look.connack()?;
        let broken = answer.code != ReasonCode::SUCCESS && answer.session_present;
        breach(broken, format!("CONNACK {} says that a session is present", answer.code))
    },
    ..CheckSpec::BROKER
};

pub(super) const CLEAN_SESSION: CheckSpec = CheckSpec {
    name: "broker-clean-session",
    doc: "Who asks for a clean start is told that there is no session.",
    example: "> CONNECT clean client=a\n< CONNACK 0 session_present",
    cites: &[(V311, "MQTT-3.2.2-1"), (V5, "MQTT-3.2.2-2")],
    always: true,
    look: |look| {
        let (connect, answer) = look.first_answer()?;
        let broken = connect.clean_start && answer.code == ReasonCode::SUCCESS && answer.session_present;
        breach(broken, "CONNACK says that a session is present, though the client asked for a clean start")
    },
    ..CheckSpec::BROKER
};

pub(super) const NO_DISCONNECT: CheckSpec = CheckSpec {
    name: "broker-no-disconnect",
    doc: "Before 5.0 a broker sends no DISCONNECT.",
    example: "< DISCONNECT",
    cites: &[(V311, "U311-3.14-1")],
    always: true,
    old: true,
    look: |look| breach(matches!(look.packet()?, Packet::Disconnect(_)), "DISCONNECT from a broker"),
    ..CheckSpec::BROKER
};

pub(super) const EARLY_DISCONNECT: CheckSpec = CheckSpec {
    name: "broker-early-disconnect",
    doc: "A broker sends DISCONNECT only after a CONNACK that let the client in.",
    example: "> CONNECT clean client=a\n< DISCONNECT 0x89",
    cites: &[(V5, "MQTT-3.14.0-1")],
    always: true,
    look: |look| {
        let goodbye = matches!(look.packet()?, Packet::Disconnect(_));
        breach(
            goodbye && look.conn.accepted().is_none(),
            "DISCONNECT without a CONNACK that let the client in",
        )
    },
    ..CheckSpec::BROKER
};

pub(super) const CLIENT_GOODBYE: CheckSpec = CheckSpec {
    name: "client-after-disconnect",
    doc: "A client that sent DISCONNECT sends nothing more.",
    example: "> DISCONNECT\n> PINGREQ",
    cites: &[(V311, "MQTT-3.14.4-2"), (V5, "MQTT-3.14.4-1")],
    always: true,
    old: true,
    look: after_goodbye,
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_GOODBYE: CheckSpec = CheckSpec {
    name: "broker-after-disconnect",
    doc: "A broker that sent DISCONNECT sends nothing more.",
    example: "< DISCONNECT 0x8b\n< PINGRESP",
    cites: &[(V5, "MQTT-3.14.4-1")],
    always: true,
    look: after_goodbye,
    ..CheckSpec::BROKER
};

fn after_goodbye(look: &Look<'_>) -> Option<Breach> {
    let name = look.seen.map_or("bytes", |packet| packet.packet_type().name());
    breach(look.conn.side(look.from).said_goodbye, format!("{name} after DISCONNECT"))
}
