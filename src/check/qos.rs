//! Packet identifiers, acknowledgements and repetition of QoS 1 and 2 (2.3.1, 4.3, 4.4, 4.6; 2.2.1 in 5.0).

use super::flights::{Flight, Stage};
use super::look::{Breach, Look, breach};
use super::statements::Standard::{V5, V311};
use super::{CheckSpec, Party};
use crate::mqtt::packet::{Ack, Publish};
use crate::mqtt::{Packet, PacketId, Properties, QoS};

/// A PUBLISH with an identifier.
fn numbered<'a>(look: &Look<'a>) -> Option<(&'a Publish, PacketId)> {
    let Packet::Publish(publish) = look.packet()? else { return None };
    Some((publish, publish.id?))
}

pub(super) const CLIENT_ID_IN_USE: CheckSpec = CheckSpec {
    name: "client-id-in-use",
    doc: "A new PUBLISH, SUBSCRIBE or UNSUBSCRIBE of a client has an identifier that no unfinished one has.",
    example: "> PUBLISH a \"x\" qos=1 id=1\n> PUBLISH a \"y\" qos=1 id=1",
    cites: &[
        (V311, "MQTT-2.3.1-2"),
        (V311, "MQTT-4.3.2-1"),
        (V311, "MQTT-4.3.3-1"),
        (V5, "MQTT-2.2.1-3"),
        (V5, "MQTT-4.3.2-1"),
        (V5, "MQTT-4.3.3-1"),
    ],
    always: true,
    look: in_use,
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_ID_IN_USE: CheckSpec = CheckSpec {
    name: "broker-id-in-use",
    doc: "A new PUBLISH of a broker has an identifier that no unfinished one to this client has.",
    example: "< PUBLISH a \"x\" qos=1 id=1\n< PUBLISH a \"y\" qos=1 id=1",
    cites: &[
        (V311, "MQTT-2.3.1-4"),
        (V311, "MQTT-4.3.2-1"),
        (V311, "MQTT-4.3.3-1"),
        (V5, "MQTT-2.2.1-4"),
        (V5, "MQTT-4.3.2-1"),
        (V5, "MQTT-4.3.3-1"),
    ],
    look: in_use,
    ..CheckSpec::BROKER
};

fn in_use(look: &Look<'_>) -> Option<Breach> {
    let flights = &look.conn.side(look.from).flights;
    let (name, id, mine) = match look.packet()? {
        Packet::Publish(publish) if !publish.dup => ("PUBLISH", publish.id?, Some(publish)),
        Packet::Subscribe(subscribe) => ("SUBSCRIBE", subscribe.id, None),
        Packet::Unsubscribe(unsubscribe) => ("UNSUBSCRIBE", unsubscribe.id, None),
        _ => return None,
    };
    // What was sent before the reconnect and comes again lacks DUP: another check's business.
    let forgotten =
        mine.is_some_and(|publish| look.conn.repeats(look.from, publish) && flights.may_be_older(id));
    let requested = look.from == Party::Client && look.conn.requests.contains_key(&id);
    // What is open from an earlier connection may be dropped: expired, or too large for this one.
    let droppable = |flight: &Flight| !flight.here && (flight.expires || limits_size(look));
    let used = flights.get(id).is_some_and(|flight| !droppable(flight)) && !forgotten;
    breach(used || requested, format!("{name} with identifier {id}, which is in use"))
}

fn limits_size(look: &Look<'_>) -> bool {
    let limit = |properties: &Properties| properties.maximum_packet_size().is_some();
    let connect = look.conn.connect.as_ref().is_some_and(|connect| limit(&connect.properties));
    connect || look.conn.connack.as_ref().is_some_and(|answer| limit(&answer.properties))
}

pub(super) const CLIENT_DUP_MISSING: CheckSpec = CheckSpec {
    name: "client-dup-missing",
    doc: "A PUBLISH that a client sends again has DUP set.",
    example: "> PUBLISH a \"x\" qos=1 id=1\n> CONNECT client=a\n< CONNACK 0 session_present\n> PUBLISH a \"x\" qos=1 id=1",
    cites: &[(V311, "MQTT-3.3.1-1"), (V5, "MQTT-3.3.1-1")],
    always: true,
    look: dup_missing,
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_DUP_MISSING: CheckSpec = CheckSpec {
    name: "broker-dup-missing",
    doc: "A PUBLISH that a broker sends again has DUP set.",
    example: "< PUBLISH a \"x\" qos=1 id=1\n> CONNECT client=a\n< CONNACK 0 session_present\n< PUBLISH a \"x\" qos=1 id=1",
    cites: &[(V311, "MQTT-3.3.1-1"), (V5, "MQTT-3.3.1-1")],
    look: dup_missing,
    ..CheckSpec::BROKER
};

fn dup_missing(look: &Look<'_>) -> Option<Breach> {
    let (publish, id) = numbered(look)?;
    let flight = look.conn.side(look.from).flights.get(id).filter(|flight| !flight.here)?;
    let again = !publish.dup && flight.qos == publish.qos && look.conn.repeats(look.from, publish);
    breach(again, format!("PUBLISH {id} is sent again without DUP"))
}

pub(super) const CLIENT_DUP_FIRST: CheckSpec = CheckSpec {
    name: "client-dup-first",
    doc: "The first PUBLISH of a message in a new session of a client has DUP clear.",
    example: "> CONNECT clean client=a\n> PUBLISH a \"x\" qos=1 id=1 dup",
    cites: &[(V311, "MQTT-4.3.2-1"), (V311, "MQTT-4.3.3-1"), (V5, "MQTT-4.3.2-2"), (V5, "MQTT-4.3.3-2")],
    always: true,
    look: dup_first,
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_DUP_FIRST: CheckSpec = CheckSpec {
    name: "broker-dup-first",
    doc: "The first PUBLISH of a message to a client in a new session has DUP clear, whatever its publisher set.",
    example: "> CONNECT clean client=a\n< CONNACK 0\n< PUBLISH a \"x\" qos=1 id=1 dup",
    cites: &[
        (V311, "MQTT-3.3.1-3"),
        (V311, "MQTT-4.3.2-1"),
        (V311, "MQTT-4.3.3-1"),
        (V5, "MQTT-3.3.1-3"),
        (V5, "MQTT-4.3.2-2"),
        (V5, "MQTT-4.3.3-2"),
    ],
    look: dup_first,
    ..CheckSpec::BROKER
};

fn dup_first(look: &Look<'_>) -> Option<Breach> {
    let (publish, id) = numbered(look)?;
    let flights = &look.conn.side(look.from).flights;
    let unseen = flights.unknown_to_sender || flights.sent_unseen;
    let first = !flights.was_used(id) && flights.get(id).is_none() && !unseen;
    breach(publish.dup && first, format!("DUP in the first PUBLISH with identifier {id} of this session"))
}

pub(super) const CLIENT_AGAIN: CheckSpec = CheckSpec {
    name: "client-again",
    doc: "A client sends nothing again but after a reconnect.",
    example: "> PUBLISH a \"x\" qos=1 id=1\n> PUBLISH a \"x\" qos=1 id=1 dup",
    cites: &[(V5, "MQTT-4.4.0-1")],
    always: true,
    look: again,
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_AGAIN: CheckSpec = CheckSpec {
    name: "broker-again",
    doc: "A broker sends nothing again but after a reconnect.",
    example: "< PUBLISH a \"x\" qos=1 id=1\n< PUBLISH a \"x\" qos=1 id=1 dup",
    cites: &[(V5, "MQTT-4.4.0-1")],
    look: again,
    ..CheckSpec::BROKER
};

fn again(look: &Look<'_>) -> Option<Breach> {
    let flights = &look.conn.side(look.from).flights;
    match look.packet()? {
        Packet::Publish(publish) => {
            let id = publish.id?;
            breach(publish.dup && flights.was_used(id), format!("PUBLISH {id} again on the same connection"))
        }
        Packet::PubRel(ack) => {
            let count = flights.count(ack.id);
            let twice = count.released > 0 && count.released >= count.received;
            let id = ack.id;
            breach(twice && !flights.may_be_older(id), format!("PUBREL {id} again on the same connection"))
        }
        _ => None,
    }
}

pub(super) const CLIENT_AFTER_RELEASE: CheckSpec = CheckSpec {
    name: "client-after-release",
    doc: "A client that sent PUBREL does not send the PUBLISH again.",
    example: "> PUBLISH a \"x\" qos=2 id=1\n< PUBREC id=1\n> PUBREL id=1\n> PUBLISH a \"x\" qos=2 id=1 dup",
    cites: &[(V311, "MQTT-4.3.3-1"), (V5, "MQTT-4.3.3-6")],
    always: true,
    look: after_release,
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_AFTER_RELEASE: CheckSpec = CheckSpec {
    name: "broker-after-release",
    doc: "A broker that sent PUBREL does not send the PUBLISH again.",
    example: "< PUBLISH a \"x\" qos=2 id=1\n> PUBREC id=1\n< PUBREL id=1\n< PUBLISH a \"x\" qos=2 id=1 dup",
    cites: &[(V311, "MQTT-4.3.3-1"), (V5, "MQTT-4.3.3-6")],
    look: after_release,
    ..CheckSpec::BROKER
};

fn after_release(look: &Look<'_>) -> Option<Breach> {
    let (publish, id) = numbered(look)?;
    let flight = look.conn.side(look.from).flights.get(id)?;
    let broken = publish.dup && flight.stage == Stage::Released;
    breach(broken, format!("PUBLISH {id} again, though its PUBREL was sent"))
}

pub(super) const CLIENT_ACK_TYPE: CheckSpec = CheckSpec {
    name: "client-ack-type",
    doc: "A client answers QoS 1 with PUBACK and QoS 2 with PUBREC.",
    example: "< PUBLISH a \"x\" qos=2 id=1\n> PUBACK id=1",
    cites: &[(V311, "MQTT-3.3.4-1"), (V5, "MQTT-3.3.4-1")],
    look: ack_type,
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_ACK_TYPE: CheckSpec = CheckSpec {
    name: "broker-ack-type",
    doc: "A broker answers QoS 1 with PUBACK and QoS 2 with PUBREC.",
    example: "> PUBLISH a \"x\" qos=2 id=1\n< PUBACK id=1",
    cites: &[(V311, "MQTT-3.3.4-1"), (V5, "MQTT-3.3.4-1")],
    look: ack_type,
    ..CheckSpec::BROKER
};

fn ack_type(look: &Look<'_>) -> Option<Breach> {
    let (ack, qos, name) = match look.packet()? {
        Packet::PubAck(ack) => (ack, QoS::AtLeastOnce, "PUBACK"),
        Packet::PubRec(ack) => (ack, QoS::ExactlyOnce, "PUBREC"),
        Packet::PubComp(ack) => (ack, QoS::ExactlyOnce, "PUBCOMP"),
        _ => return None,
    };
    let flights = &look.conn.side(look.from.peer()).flights;
    let flight = flights.get(ack.id)?;
    // The answer to a repeat may come when the identifier means another message already.
    breach(
        flight.qos != qos && !flights.repeated,
        format!("{name} {} for a PUBLISH with QoS {}", ack.id, flight.qos),
    )
}

pub(super) const CLIENT_ACK_UNASKED: CheckSpec = CheckSpec {
    name: "client-ack-unasked",
    doc: "Each PUBACK and PUBREC of a client answers a PUBLISH with its identifier, each PUBCOMP a PUBREL.",
    example: "> PUBACK id=1",
    cites: &[(V311, "MQTT-2.3.1-6"), (V5, "MQTT-2.2.1-5")],
    look: ack_unasked,
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_ACK_UNASKED: CheckSpec = CheckSpec {
    name: "broker-ack-unasked",
    doc: "Each PUBACK and PUBREC of a broker answers a PUBLISH with its identifier, each PUBCOMP a PUBREL.",
    example: "< PUBACK id=1",
    cites: &[(V311, "MQTT-2.3.1-6"), (V311, "MQTT-4.3.3-2"), (V5, "MQTT-2.2.1-5"), (V5, "MQTT-4.3.3-11")],
    look: ack_unasked,
    ..CheckSpec::BROKER
};

fn ack_unasked(look: &Look<'_>) -> Option<Breach> {
    let flights = &look.conn.side(look.from.peer()).flights;
    let (ack, name, request, waiting) = match look.packet()? {
        Packet::PubAck(ack) => (ack, "PUBACK", "PUBLISH", flights.count(ack.id).asked),
        Packet::PubRec(ack) => (ack, "PUBREC", "PUBLISH", flights.count(ack.id).asked),
        Packet::PubComp(ack) => {
            let count = flights.count(ack.id);
            (ack, "PUBCOMP", "PUBREL", count.released.saturating_sub(count.completed))
        }
        _ => return None,
    };
    let id = ack.id;
    let unasked = waiting == 0 && !flights.may_be_older(id);
    breach(unasked, format!("{name} {id}, but no {request} with this identifier waits for it"))
}

pub(super) const CLIENT_RELEASE: CheckSpec = CheckSpec {
    name: "client-release",
    doc: "A client sends PUBREL for what it has a PUBREC for.",
    example: "> PUBLISH a \"x\" qos=2 id=1\n> PUBREL id=1",
    cites: &[(V311, "MQTT-4.3.3-1"), (V5, "MQTT-4.3.3-3"), (V5, "MQTT-4.3.3-4")],
    look: release,
    ..CheckSpec::CLIENT
};

pub(super) const BROKER_RELEASE: CheckSpec = CheckSpec {
    name: "broker-release",
    doc: "A broker sends PUBREL for what it has a PUBREC for.",
    example: "< PUBLISH a \"x\" qos=2 id=1\n< PUBREL id=1",
    cites: &[(V311, "MQTT-4.3.3-1"), (V5, "MQTT-4.3.3-3"), (V5, "MQTT-4.3.3-4")],
    look: release,
    ..CheckSpec::BROKER
};

fn release(look: &Look<'_>) -> Option<Breach> {
    let Packet::PubRel(Ack { id, .. }) = look.packet()? else { return None };
    let flights = &look.conn.side(look.from).flights;
    let received = flights.count(*id).received > 0 || flights.may_be_older(*id);
    // The PUBCOMP that was seen last may not have come through.
    let older = flights.unknown_to_sender || (flights.sent_unseen && !flights.was_used(*id));
    let known = received || older;
    breach(!known, format!("PUBREL {id} without a PUBREC"))
}

pub(super) const ACK_ORDER: CheckSpec = CheckSpec {
    name: "client-ack-order",
    doc: "A client acknowledges in the order of what it acknowledges: PUBACK and PUBREC in that of the PUBLISH \
          packets, PUBREL in that of the PUBREC packets.",
    example: "< PUBLISH a \"x\" qos=1 id=1\n< PUBLISH a \"y\" qos=1 id=2\n> PUBACK id=2\n> PUBACK id=1",
    cites: &[
        (V311, "MQTT-4.6.0-2"),
        (V311, "MQTT-4.6.0-3"),
        (V311, "MQTT-4.6.0-4"),
        (V5, "MQTT-4.6.0-2"),
        (V5, "MQTT-4.6.0-3"),
        (V5, "MQTT-4.6.0-4"),
    ],
    look: |look| {
        let theirs = &look.conn.side(Party::Broker).flights;
        let own = &look.conn.side(Party::Client).flights;
        let (ack, flights, place, statement) = match look.packet()? {
            Packet::PubAck(ack) => (ack, theirs, 0, "MQTT-4.6.0-2"),
            Packet::PubRec(ack) => (ack, theirs, 1, "MQTT-4.6.0-3"),
            Packet::PubRel(ack) => (ack, own, 2, "MQTT-4.6.0-4"),
            _ => return None,
        };
        let flight = flights.get(ack.id).filter(|flight| flight.here)?;
        let order = if place == 2 { flight.received } else { flight.published };
        let late = order > 0 && order < flights.last[place] && !flights.repeated;
        let name = look.packet()?.packet_type().name();
        breach(late, Breach::of(Some(statement), format!("{name} {} after that of a later packet", ack.id)))
    },
    ..CheckSpec::CLIENT
};
