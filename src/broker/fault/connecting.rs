//! Wrong answers to CONNECT.
//!
//! What becomes of sessions and wills is another file's, and so are brokers that let malformed CONNECTs in.

use super::properties::without;
use super::wire::{Deed, Line, Rewriter, Seen, Way, connects, down, handling};
use super::{Family, FaultSpec, fault};
use crate::mqtt::packet::{ConnAck, Connect, Disconnect};
use crate::mqtt::{Packet, Property, ReasonCode};

pub(super) const FAMILY: Family =
    Family { title: "CONNECT and CONNACK", chapters: &["3.1-", "3.2", "1.5", "4.1", "4.12"], faults: FAULTS };

const FAULTS: &[FaultSpec] = &[
    fault("refuses-everybody", "CONNACK refuses a good CONNECT", || refuses(|_| true)),
    fault("connack-wrong-code", "a refusal has the code of another", || {
        answers(|answer, line| {
            if answer.code != ReasonCode::SUCCESS {
                let first = refusal(line).code;
                let second =
                    if line.is_v5() { ReasonCode::BANNED } else { ReasonCode::V3_SERVER_UNAVAILABLE };
                answer.code = if answer.code == first { second } else { first };
            }
            Deed::Pass
        })
    }),
    fault("connack-twice", "CONNACK is sent twice", || answers(|_, _| Deed::Twice)),
    fault("connack-missing", "CONNACK is never sent", || answers(|_, _| Deed::Drop)),
    fault("connack-late", "something else comes before CONNACK", || {
        let mut held = None;
        handling(Way::Down, move |wire, packet| match (packet, held.take()) {
            (Packet::ConnAck(answer), _) if answer.code == ReasonCode::SUCCESS => {
                held = Some(packet.clone());
                true
            }
            (_, Some(answer)) => {
                wire.send(Way::Down, packet.clone());
                wire.send(Way::Down, answer);
                true
            }
            _ => false,
        })
    }),
    fault("closes-without-connack", "a refusal is no packet, only the end (corner 19)", || {
        answers(|answer, _| if answer.code == ReasonCode::SUCCESS { Deed::Pass } else { Deed::Drop })
    }),
    fault("session-present-always", "CONNACK says that there was a session", || {
        answers(|answer, _| {
            answer.session_present |= answer.code == ReasonCode::SUCCESS;
            Deed::Pass
        })
    }),
    fault("session-present-never", "CONNACK does not say that there was a session", || {
        answers(|answer, _| {
            answer.session_present = false;
            Deed::Pass
        })
    }),
    fault("session-present-on-refusal", "a refusal says that there was a session", || {
        answers(|answer, _| {
            answer.session_present |= answer.code != ReasonCode::SUCCESS;
            Deed::Pass
        })
    }),
    fault("assigned-id-missing", "the client is not told which identifier it was given", || {
        hides(|property| matches!(property, Property::AssignedClientIdentifier(_)))
    }),
    fault("assigned-id-unasked", "a client with an identifier is told another", || {
        tells(|connect| !connect.client_id.is_empty(), || Property::AssignedClientIdentifier("other".into()))
    }),
    fault("assigned-id-same-for-all", "all clients without an identifier are given the same", || {
        connects(|connect, _| {
            if connect.client_id.is_empty() {
                connect.client_id = "same".into();
            }
        })
    }),
    fault("server-keep-alive-missing", "the client is not told the keep-alive that holds", || {
        hides(|property| matches!(property, Property::ServerKeepAlive(_)))
    }),
    fault("maximum-qos-missing", "the client is not told the highest QoS", || {
        hides(|property| matches!(property, Property::MaximumQoS(_)))
    }),
    fault("retain-available-missing", "the client is not told that nothing is retained", || {
        hides(|property| matches!(property, Property::RetainAvailable(_)))
    }),
    fault("receive-maximum-missing", "the client is not told how many it may send at once", || {
        hides(|property| matches!(property, Property::ReceiveMaximum(_)))
    }),
    fault("maximum-packet-size-missing", "the client is not told the largest packet", || {
        hides(|property| matches!(property, Property::MaximumPacketSize(_)))
    }),
    fault("topic-alias-maximum-missing", "the client is not told that it may use aliases", || {
        hides(|property| matches!(property, Property::TopicAliasMaximum(_)))
    }),
    fault("authentication-missing", "CONNACK says nothing of the authentication", || {
        hides(|property| {
            matches!(property, Property::AuthenticationMethod(_) | Property::AuthenticationData(_))
        })
    }),
    fault("authentication-unasked", "CONNACK names a method that the client did not", || {
        tells(
            |connect| connect.properties.authentication_method().is_none(),
            || Property::AuthenticationMethod("PLAIN".into()),
        )
    }),
    fault("session-expiry-untold", "the client is not told that its session ends earlier", || {
        hides(|property| matches!(property, Property::SessionExpiryInterval(_)))
    }),
    fault("response-information-unasked", "response information for who did not ask for it", || {
        tells(
            |connect| connect.properties.request_response_information() != Some(1),
            || Property::ResponseInformation("answers/".into()),
        )
    }),
    fault(
        "reason-string-too-long",
        "CONNACK has a reason string, however small the client's packets",
        || tells(|_| true, || Property::ReasonString("x".repeat(1000).into())),
    ),
    fault("connack-property-twice", "CONNACK says one thing twice", || {
        answers(|answer, line| {
            if line.is_v5() {
                answer.properties.push(Property::TopicAliasMaximum(1));
                answer.properties.push(Property::TopicAliasMaximum(1));
            }
            Deed::Pass
        })
    }),
    fault("second-connect-ignored", "a second CONNECT changes nothing (corner 16)", || second_connect(&[])),
    fault("second-connect-answered", "a second CONNECT is answered by CONNACK 0 (corner 16)", || {
        second_connect(&[Way::Down])
    }),
    fault("second-connect-loses-will", "a second CONNECT closes, but the will is lost (corner 17)", || {
        second_connect(&[Way::Up])
    }),
    fault("refuses-empty-id", "a client without an identifier is refused", || {
        refuses(|connect| connect.client_id.is_empty())
    }),
    fault(
        "accepts-empty-id-unclean",
        "3.1.1: neither identifier nor clean session is let in (corner 22)",
        || connects(|connect, _| connect.clean_start |= connect.client_id.is_empty()),
    ),
    fault("refuses-long-ids", "client identifiers of more than 23 characters are refused", || {
        refuses(|connect| connect.client_id.len() > 23)
    }),
    fault("refuses-plain-ids", "client identifiers of letters and digits alone are refused", || {
        refuses(|connect| {
            !connect.client_id.is_empty()
                && connect.client_id.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
    }),
    fault(
        "refuses-password-without-name",
        "5.0: a password without a user name is refused (corner 20)",
        || {
            refuses(|connect| {
                connect.version.is_v5() && connect.password.is_some() && connect.username.is_none()
            })
        },
    ),
    fault("refuses-wills", "a CONNECT with a will is refused", || refuses(|connect| connect.will.is_some())),
    fault("refuses-user-properties", "a CONNECT with user properties is refused", || {
        refuses(|connect| {
            connect.properties.iter().any(|property| matches!(property, Property::UserProperty(..)))
        })
    }),
    fault("refuses-old-clients", "3.1.1 is refused", || refuses(|connect| !connect.version.is_v5())),
    fault("accepts-unknown-method", "an unknown method of authentication is let in (corner 51)", || {
        connects(|connect, _| {
            without(&mut connect.properties, |property| {
                matches!(property, Property::AuthenticationMethod(_) | Property::AuthenticationData(_))
            });
        })
    }),
    fault("forgets-what-came-with-connect", "packets sent before CONNACK are lost", || {
        let mut with_connect = false;
        Box::new(move |wire, seen| match &seen {
            Seen::Frame(Way::Up, frame) if matches!(frame.packet(), Some(Packet::Connect(_))) => {
                with_connect = true;
                wire.pass(seen);
            }
            Seen::Frame(Way::Up, _) if with_connect => {}
            Seen::Pause(Way::Up) => {
                with_connect = false;
                wire.pass(seen);
            }
            _ => wire.pass(seen),
        })
    }),
];

/// Answers to CONNECT.
fn answers(mut edit: impl FnMut(&mut ConnAck, &Line) -> Deed + Send + 'static) -> Rewriter {
    down(move |packet, line| match packet {
        Packet::ConnAck(answer) => edit(answer, line),
        _ => Deed::Pass,
    })
}

/// A property that CONNACK ought to have is left out.
fn hides(which: fn(&Property) -> bool) -> Rewriter {
    answers(move |answer, _| {
        without(&mut answer.properties, which);
        Deed::Pass
    })
}

/// CONNACK has a property that it ought not to have.
fn tells(whom: fn(&Connect) -> bool, property: fn() -> Property) -> Rewriter {
    answers(move |answer, line| {
        let property = property();
        let there = answer.properties.iter().any(|other| other.id() == property.id());
        if line.is_v5()
            && !there
            && answer.code == ReasonCode::SUCCESS
            && line.connect.as_deref().is_some_and(whom)
        {
            answer.properties.push(property);
        }
        Deed::Pass
    })
}

/// A refusal that fits nothing in particular.
fn refusal(line: &Line) -> ConnAck {
    let code = if line.is_v5() { ReasonCode::NOT_AUTHORIZED } else { ReasonCode::V3_NOT_AUTHORIZED };
    ConnAck { code, ..ConnAck::default() }
}

/// Good clients are refused.
fn refuses(whom: fn(&Connect) -> bool) -> Rewriter {
    handling(Way::Up, move |wire, packet| {
        let refused = matches!(packet, Packet::Connect(connect) if whom(connect));
        if refused {
            wire.send(Way::Down, Packet::ConnAck(refusal(wire.line)));
            wire.cut();
        }
        refused
    })
}

/// What becomes of a second CONNECT: CONNACK down, DISCONNECT up.
fn second_connect(ways: &'static [Way]) -> Rewriter {
    let mut connected = false;
    handling(Way::Up, move |wire, packet| {
        let again = matches!(packet, Packet::Connect(_)) && std::mem::replace(&mut connected, true);
        for way in ways.iter().filter(|_| again) {
            wire.send(
                *way,
                match way {
                    Way::Down => Packet::ConnAck(ConnAck::default()),
                    Way::Up => Packet::Disconnect(Disconnect::default()),
                },
            );
        }
        again
    })
}
