//! Properties and reason codes that may stand in a packet, but not from this sender or not now (chapter 3 of 5.0).

use super::CheckSpec;
use super::look::{Breach, Look, breach};
use super::statements::Standard::{V5, V311};
use crate::mqtt::packet::Disconnect;
use crate::mqtt::{Packet, Properties, Property, ReasonCode};

pub(super) const PROBLEM_INFORMATION: CheckSpec = CheckSpec {
    name: "broker-problem-information",
    doc: "Where the client asked for no problem information, only PUBLISH, CONNACK and DISCONNECT of the broker have \
          reason strings and user properties.",
    example: "> CONNECT clean client=a request_problem_info=0\n< CONNACK 0\n< SUBACK id=1 0 reason_string=\"no\"",
    cites: &[(V5, "MQTT-3.1.2-29")],
    always: true,
    look: |look| {
        let connect = look.conn.connect.as_ref()?;
        let unwanted = connect.properties.request_problem_information() == Some(0);
        let packet = look.packet().filter(|_| unwanted)?;
        let properties = match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
                &ack.properties
            }
            Packet::SubAck(ack) => &ack.properties,
            Packet::UnsubAck(ack) => &ack.properties,
            Packet::Auth(auth) => &auth.properties,
            _ => return None,
        };
        let told = |one: &Property| matches!(one, Property::ReasonString(_) | Property::UserProperty(..));
        let found = properties.iter().find(|one| told(one))?.spec().long_name;
        let name = packet.packet_type().name();
        breach(true, format!("{found} in {name}, though the client asked for no problem information"))
    },
    ..CheckSpec::BROKER
};

pub(super) const RESPONSE_INFORMATION: CheckSpec = CheckSpec {
    name: "broker-response-information",
    doc: "CONNACK has Response Information only where the client asked for it.",
    example: "> CONNECT clean client=a\n< CONNACK 0 response_info=answers",
    cites: &[(V5, "MQTT-3.1.2-28")],
    always: true,
    look: |look| {
        let (connect, answer) = look.first_answer()?;
        let given = answer.properties.iter().any(|one| matches!(one, Property::ResponseInformation(_)));
        let wanted = connect.properties.request_response_information() == Some(1);
        breach(given && !wanted, "Response Information that the client did not ask for")
    },
    ..CheckSpec::BROKER
};

pub(super) const ASSIGNED_ID: CheckSpec = CheckSpec {
    name: "broker-assigned-id",
    doc: "A client without an identifier is told in CONNACK which one it got.",
    example: "> CONNECT clean\n< CONNACK 0",
    cites: &[(V5, "MQTT-3.1.3-6"), (V5, "MQTT-3.1.3-7"), (V5, "MQTT-3.2.2-16")],
    always: true,
    look: |look| {
        let (connect, answer) = look.first_answer()?;
        let needed = connect.client_id.is_empty() && answer.code == ReasonCode::SUCCESS;
        let given = answer.properties.assigned_client_identifier().is_some_and(|id| !id.is_empty());
        breach(needed && !given, "no Assigned Client Identifier for a client without an identifier")
    },
    ..CheckSpec::BROKER
};

pub(super) const CLIENT_EMPTY_ID: CheckSpec = CheckSpec {
    name: "client-empty-id",
    doc: "A client without an identifier asks for a clean session.",
    example: "> CONNECT clean=0",
    cites: &[(V311, "MQTT-3.1.3-7")],
    always: true,
    look: |look| {
        let Packet::Connect(connect) = look.packet()? else { return None };
        breach(
            connect.client_id.is_empty() && !connect.clean_start,
            "Clean Session 0 without a client identifier",
        )
    },
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_EMPTY_ID: CheckSpec = CheckSpec {
    name: "broker-empty-id",
    doc: "A broker refuses a client that has no identifier and asks for no clean session.",
    example: "> CONNECT clean=0\n< CONNACK 0",
    cites: &[(V311, "MQTT-3.1.3-8")],
    always: true,
    look: |look| {
        let (connect, answer) = look.first_answer()?;
        let wrong = connect.client_id.is_empty() && !connect.clean_start;
        let accepted = answer.code == ReasonCode::SUCCESS;
        breach(wrong && accepted, "CONNACK 0 for Clean Session 0 without a client identifier")
    },
    ..CheckSpec::BROKER
};

fn disconnect<'a>(look: &Look<'a>) -> Option<&'a Disconnect> {
    match look.packet()? {
        Packet::Disconnect(disconnect) => Some(disconnect),
        _ => None,
    }
}

pub(super) const CLIENT_EXPIRY: CheckSpec = CheckSpec {
    name: "client-session-expiry",
    doc: "A client whose session was to end with its connection does not prolong it in DISCONNECT.",
    example: "> CONNECT clean client=a\n> DISCONNECT session_expiry=10",
    cites: &[(V5, "U5-3.14.2-2")],
    always: true,
    look: |look| {
        let later = disconnect(look)?.properties.session_expiry_interval()?;
        let first = look.conn.connect.as_ref()?.properties.session_expiry_interval().unwrap_or(0);
        breach(first == 0 && later > 0, "a Session Expiry Interval in DISCONNECT, where CONNECT had none")
    },
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_EXPIRY: CheckSpec = CheckSpec {
    name: "broker-session-expiry",
    doc: "A DISCONNECT of a broker has no Session Expiry Interval.",
    example: "< DISCONNECT 0x8b session_expiry=10",
    cites: &[(V5, "MQTT-3.14.2-2")],
    always: true,
    look: |look| {
        let given = disconnect(look)?.properties.session_expiry_interval();
        breach(given.is_some(), "a Session Expiry Interval in a DISCONNECT of the broker")
    },
    ..CheckSpec::BROKER
};

/// Reason codes of DISCONNECT that a client may send (table 3-10 of 5.0).
const OF_CLIENTS: &[ReasonCode] = &[
    ReasonCode::NORMAL_DISCONNECTION,
    ReasonCode::DISCONNECT_WITH_WILL,
    ReasonCode::UNSPECIFIED_ERROR,
    ReasonCode::MALFORMED_PACKET,
    ReasonCode::PROTOCOL_ERROR,
    ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
    ReasonCode::TOPIC_NAME_INVALID,
    ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
    ReasonCode::TOPIC_ALIAS_INVALID,
    ReasonCode::PACKET_TOO_LARGE,
    ReasonCode::MESSAGE_RATE_TOO_HIGH,
    ReasonCode::QUOTA_EXCEEDED,
    ReasonCode::ADMINISTRATIVE_ACTION,
    ReasonCode::PAYLOAD_FORMAT_INVALID,
];

pub(super) const CLIENT_CODES: CheckSpec = CheckSpec {
    name: "client-reason-side",
    doc: "A client uses none of the reason codes that are the broker's alone.",
    example: "> DISCONNECT 0x8b",
    cites: &[(V5, "MQTT-3.14.2-1"), (V5, "MQTT-3.4.2-1"), (V5, "MQTT-3.5.2-1"), (V5, "MQTT-3.15.2-1")],
    always: true,
    look: |look| {
        let (code, statement, wrong) = match look.packet()? {
            Packet::Disconnect(goodbye) => {
                (goodbye.reason, "MQTT-3.14.2-1", !OF_CLIENTS.contains(&goodbye.reason))
            }
            Packet::PubAck(ack) => {
                (ack.reason, "MQTT-3.4.2-1", ack.reason == ReasonCode::NO_MATCHING_SUBSCRIBERS)
            }
            Packet::PubRec(ack) => {
                (ack.reason, "MQTT-3.5.2-1", ack.reason == ReasonCode::NO_MATCHING_SUBSCRIBERS)
            }
            Packet::Auth(auth) => (auth.reason, "MQTT-3.15.2-1", auth.reason == ReasonCode::SUCCESS),
            _ => return None,
        };
        let name = look.packet()?.packet_type().name();
        breach(wrong, Breach::of(Some(statement), format!("{name} {code} from a client")))
    },
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_CODES: CheckSpec = CheckSpec {
    name: "broker-reason-side",
    doc: "A broker uses none of the reason codes that are the client's alone.",
    example: "< DISCONNECT 0x04",
    cites: &[(V5, "MQTT-3.14.2-1"), (V5, "MQTT-3.15.2-1")],
    always: true,
    look: |look| {
        let (code, statement, wrong) = match look.packet()? {
            Packet::Disconnect(goodbye) => {
                let wrong = goodbye.reason == ReasonCode::DISCONNECT_WITH_WILL;
                (goodbye.reason, "MQTT-3.14.2-1", wrong)
            }
            Packet::Auth(auth) => (auth.reason, "MQTT-3.15.2-1", auth.reason == ReasonCode::REAUTHENTICATE),
            _ => return None,
        };
        let name = look.packet()?.packet_type().name();
        breach(wrong, Breach::of(Some(statement), format!("{name} {code} from a broker")))
    },
    ..CheckSpec::BROKER
};

/// The properties of an AUTH or a CONNACK, and its name.
fn authentication<'a>(look: &Look<'a>) -> Option<(&'static str, &'a Properties)> {
    match look.packet()? {
        Packet::Auth(auth) => Some(("AUTH", &auth.properties)),
        Packet::ConnAck(answer) if answer.code == ReasonCode::SUCCESS => {
            Some(("CONNACK", &answer.properties))
        }
        _ => None,
    }
}

pub(super) const CLIENT_METHOD: CheckSpec = CheckSpec {
    name: "client-authentication",
    doc: "A client sends AUTH only with the method of its CONNECT, and in answer to AUTH with reason 0x18.",
    example: "> CONNECT clean client=a\n> AUTH continue_authentication method=X",
    cites: &[
        (V5, "MQTT-4.12.0-3"),
        (V5, "MQTT-4.12.0-5"),
        (V5, "MQTT-4.12.0-7"),
        (V5, "MQTT-4.12.1-1"),
        (V5, "U5-3.15-1"),
    ],
    always: true,
    look: |look| {
        let Packet::Auth(auth) = look.packet()? else { return None };
        let connect = look.conn.connect.as_ref()?;
        let Some(method) = connect.properties.authentication_method() else {
            return Some(Breach::of(Some("MQTT-4.12.0-7"), "AUTH, though CONNECT named no method"));
        };
        if auth.properties.authentication_method().is_some_and(|one| one != method) {
            return Some(Breach::of(Some("U5-3.15-1"), "AUTH with another method than CONNECT"));
        }
        let early = look.conn.connacks == 0 && auth.reason == ReasonCode::REAUTHENTICATE;
        breach(early, Breach::of(Some("MQTT-4.12.0-3"), "AUTH 0x19 before CONNACK"))
    },
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_METHOD: CheckSpec = CheckSpec {
    name: "broker-authentication",
    doc: "AUTH and CONNACK of a broker have the method of the CONNECT, and AUTH before CONNACK has reason 0x18; \
          without a method in CONNECT there is neither.",
    example: "> CONNECT clean client=a\n< CONNACK 0 method=X",
    cites: &[(V5, "MQTT-4.12.0-2"), (V5, "MQTT-4.12.0-5"), (V5, "MQTT-4.12.0-6")],
    look: |look| {
        let (name, properties) = authentication(look)?;
        let asked = look.conn.connect.as_ref()?.properties.authentication_method();
        let given = properties.authentication_method();
        let Some(asked) = asked else {
            let sentence = format!("{name} with authentication, though CONNECT named no method");
            return breach(given.is_some() || name == "AUTH", Breach::of(Some("MQTT-4.12.0-6"), sentence));
        };
        if given != Some(asked) {
            let sentence = format!("{name} without the authentication method of the CONNECT");
            return Some(Breach::of(Some("MQTT-4.12.0-5"), sentence));
        }
        let Packet::Auth(auth) = look.packet()? else { return None };
        let wrong = look.conn.connacks == 0 && auth.reason != ReasonCode::CONTINUE_AUTHENTICATION;
        breach(wrong, Breach::of(Some("MQTT-4.12.0-2"), format!("AUTH {} before CONNACK", auth.reason)))
    },
    ..CheckSpec::BROKER
};

pub(super) const CLIENT_WAITS: CheckSpec = CheckSpec {
    name: "client-authentication-waits",
    doc: "A client that named an authentication method sends nothing but AUTH and DISCONNECT until CONNACK comes.",
    example: "> CONNECT clean client=a method=X\n> PINGREQ",
    cites: &[(V5, "MQTT-3.1.2-30")],
    always: true,
    look: |look| {
        let connect = look.conn.connect.as_ref()?;
        connect.properties.authentication_method()?;
        let packet = look.packet()?;
        let allowed = matches!(packet, Packet::Auth(_) | Packet::Disconnect(_));
        let name = packet.packet_type().name();
        breach(look.conn.connacks == 0 && !allowed, format!("{name} before CONNACK, in authentication"))
    },
    ..CheckSpec::CLIENT
};
