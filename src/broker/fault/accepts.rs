//! Brokers that accept what they must refuse: each row takes one kind of packet that breaks a rule for
//! a good one, and goes on.
//!
//! What can be made of the bad packet is left to its kind: a CONNECT lets the client in, a SUBSCRIBE and an
//! UNSUBSCRIBE are acknowledged, a PUBLISH of QoS 1 or 2 too; all else is swallowed.

use super::wire::{Content, Frame, Rewriter, Seen, Way, Wire};
use super::{Family, FaultSpec, fault};
use crate::mqtt::codec::{DecodeError, DecodeErrorKind as Kind};
use crate::mqtt::packet::{Ack, Connect, PacketType as Type, SubAck, UnsubAck};
use crate::mqtt::{Packet, PacketId, Properties, ReasonCode};

pub(super) const FAMILY: Family = Family { title: "malformed packets", chapters: &[], faults: FAULTS };

const FAULTS: &[FaultSpec] = &[
    fault("accepts-nul", "U+0000 in a string (corner 1)", || accepts(nul)),
    fault("accepts-bad-utf8", "text that is not UTF-8, outside of CONNECT (corners 2, 4)", || {
        accepts(|error| error.kind == Kind::BadString && !nul(error) && !of(error, &[Type::Connect]))
    }),
    fault("accepts-bad-utf8-in-connect", "a CONNECT with text that is not UTF-8 (corner 3)", || {
        accepts(|error| error.kind == Kind::BadString && !nul(error) && of(error, &[Type::Connect]))
    }),
    fault("accepts-overlong-length", "a length in more bytes than it needs (corner 6)", || {
        accepts(|error| error.kind == Kind::BadLength && cites(error, &["MQTT-1.5.5-1"]))
    }),
    fault("waits-on-endless-length", "waits for more when a length has five bytes (corner 7)", || {
        accepts(|error| error.kind == Kind::BadLength && !cites(error, &["MQTT-1.5.5-1"]))
    }),
    fault(
        "accepts-flags-of-ping-and-acks",
        "reserved flags on PINGREQ, PUBACK, PUBREC, PUBCOMP (corner 8)",
        || {
            accepts(|error| {
                error.kind == Kind::BadFlags
                    && of(error, &[Type::PingReq, Type::PubAck, Type::PubRec, Type::PubComp, Type::Auth])
            })
        },
    ),
    fault(
        "takes-disconnect-with-flags-for-goodbye",
        "DISCONNECT with reserved flags ends well: no will (corner 9)",
        || repairs(Type::Disconnect),
    ),
    fault("accepts-disconnect-flags", "goes on after a DISCONNECT with reserved flags", || {
        accepts(|error| error.kind == Kind::BadFlags && of(error, &[Type::Disconnect]))
    }),
    fault("accepts-subscribe-flags", "carries out a SUBSCRIBE with reserved flags (corner 10)", || {
        repairs(Type::Subscribe)
    }),
    fault("accepts-unsubscribe-flags", "carries out an UNSUBSCRIBE with reserved flags (corner 10)", || {
        repairs(Type::Unsubscribe)
    }),
    fault("accepts-pubrel-flags", "carries out a PUBREL with reserved flags (corner 10)", || {
        repairs(Type::PubRel)
    }),
    fault("accepts-connect-flags", "reserved flags in the first byte of CONNECT (corner 10)", || {
        accepts(|error| error.kind == Kind::BadFlags && of(error, &[Type::Connect]))
    }),
    fault("accepts-reserved-type", "swallows packets of a reserved type", || {
        accepts(|error| error.kind == Kind::ReservedType)
    }),
    fault("accepts-qos3", "a PUBLISH of QoS 3", || {
        accepts(|error| error.kind == Kind::BadFlags && cites(error, &["MQTT-3.3.1-4"]))
    }),
    fault("accepts-dup-qos0", "a PUBLISH with DUP and QoS 0", || {
        accepts(|error| error.kind == Kind::BadFlags && cites(error, &["MQTT-3.3.1-2"]))
    }),
    fault("accepts-id-0-in-publish", "packet identifier 0 in PUBLISH (corner 11)", || {
        accepts(|error| error.kind == Kind::ZeroPacketId && of(error, &[Type::Publish]))
    }),
    fault("accepts-id-0-in-requests", "packet identifier 0 in SUBSCRIBE and UNSUBSCRIBE (corner 11)", || {
        accepts(|error| error.kind == Kind::ZeroPacketId && of(error, &[Type::Subscribe, Type::Unsubscribe]))
    }),
    fault("accepts-id-0-in-acks", "packet identifier 0 in acknowledgements (corner 11)", || {
        accepts(|error| {
            error.kind == Kind::ZeroPacketId
                && !of(error, &[Type::Publish, Type::Subscribe, Type::Unsubscribe])
        })
    }),
    fault("accepts-empty-subscribe", "a SUBSCRIBE without filters (corner 12)", || {
        accepts(|error| error.kind == Kind::NoFilters && of(error, &[Type::Subscribe]))
    }),
    fault("accepts-empty-unsubscribe", "an UNSUBSCRIBE without filters (corner 12)", || {
        accepts(|error| error.kind == Kind::NoFilters && of(error, &[Type::Unsubscribe]))
    }),
    fault("accepts-wildcard-topic", "a PUBLISH to a topic with a wildcard (corner 13)", || {
        accepts(|error| error.kind == Kind::BadTopic && cites(error, &["MQTT-3.3.2-2"]))
    }),
    fault("accepts-empty-topic", "a topic name or filter without characters (corner 13)", || {
        accepts(|error| {
            error.kind == Kind::NoTopic || error.kind == Kind::BadTopic && cites(error, &["MQTT-4.7.3-1"])
        })
    }),
    fault("accepts-hash-anywhere", "`#` that is not the whole last level (corner 14)", || {
        accepts(|error| {
            error.kind == Kind::BadTopic
                && (cites(error, &["MQTT-4.7.1-2"]) && error.detail.contains('#') || hash(error))
        })
    }),
    fault("accepts-plus-anywhere", "`+` that is not a whole level (corner 14)", || {
        accepts(|error| error.kind == Kind::BadTopic && !hash(error) && error.detail.contains('+'))
    }),
    fault("accepts-bad-share", "`$share//a`, `$share/g`, `$share/+/a` (corner 34)", || {
        accepts(|error| error.kind == Kind::BadTopic && error.detail.contains("share"))
    }),
    fault("accepts-qos3-in-subscribe", "QoS 3 in SUBSCRIBE (corner 15)", || {
        accepts(|error| error.kind == Kind::BadSubscriptionValue && error.detail.contains("QoS"))
    }),
    fault("accepts-retain-handling-3", "Retain Handling 3", || {
        accepts(|error| error.kind == Kind::BadSubscriptionValue && error.detail.contains("Retain Handling"))
    }),
    fault("accepts-no-local-on-shared", "No Local on a shared subscription (corner 32)", || {
        accepts(|error| error.kind == Kind::BadSubscriptionValue && error.detail.contains("No Local"))
    }),
    fault("accepts-option-bits", "reserved bits in subscription options (corner 15)", || {
        accepts(|error| error.kind == Kind::BadSubscriptionOptions)
    }),
    fault("accepts-trailing-bytes", "bytes behind the last field (corner 18)", || {
        accepts(|error| error.kind == Kind::TrailingBytes)
    }),
    fault("accepts-truncated", "a packet that ends before its fields do", || {
        accepts(|error| error.kind == Kind::Truncated)
    }),
    fault("accepts-any-level", "a protocol level that no revision has", || {
        accepts(|error| error.kind == Kind::UnsupportedVersion)
    }),
    fault("accepts-any-protocol-name", "a protocol name that is not MQTT", || {
        accepts(|error| error.kind == Kind::BadProtocolName)
    }),
    fault("accepts-reserved-connect-flag", "the reserved bit of the connect flags", || {
        accepts(|error| cites(error, &["MQTT-3.1.2-3"]))
    }),
    fault("accepts-will-qos3", "will QoS 3", || {
        accepts(|error| {
            error.kind == Kind::BadConnectFlags && cites(error, &["MQTT-3.1.2-14", "MQTT-3.1.2-12"])
        })
    }),
    fault("accepts-will-flags-without-will", "will QoS or will retain without a will", || {
        accepts(|error| {
            let rules = ["MQTT-3.1.2-13", "MQTT-3.1.2-15", "MQTT-3.1.2-11"];
            error.kind == Kind::BadConnectFlags && cites(error, &rules)
        })
    }),
    fault("accepts-password-without-name", "a password without a user name in 3.1.1 (corner 20)", || {
        accepts(|error| error.kind == Kind::BadConnectFlags && cites(error, &["MQTT-3.1.2-22"]))
    }),
    fault("accepts-packets-before-connect", "swallows what comes before CONNECT", || {
        accepts(|error| error.kind == Kind::NotConnect)
    }),
    fault("accepts-unknown-property", "a property that the standard does not have", || {
        accepts(|error| error.kind == Kind::UnknownProperty)
    }),
    fault("accepts-misplaced-property", "a property where it may not stand (corner 49)", || {
        accepts(|error| error.kind == Kind::MisplacedProperty)
    }),
    fault("accepts-duplicate-property", "a property twice that may stand once (corner 49)", || {
        accepts(|error| error.kind == Kind::DuplicateProperty)
    }),
    fault(
        "accepts-bad-property-value",
        "0 as Receive Maximum, 2 as a flag, and their like (corner 47)",
        || accepts(|error| error.kind == Kind::BadProperty),
    ),
    fault("accepts-missing-property", "authentication data without a method (corner 51)", || {
        accepts(|error| error.kind == Kind::MissingProperty)
    }),
    fault("accepts-topic-alias-0", "topic alias 0", || accepts(|error| error.kind == Kind::BadTopicAlias)),
    fault("accepts-bad-reason", "a reason code that the packet may not carry", || {
        accepts(|error| error.kind == Kind::BadReasonCode)
    }),
    fault("accepts-anything", "every malformed packet", || accepts(|_| true)),
    fault(
        "answers-malformed-connect",
        "CONNACK for a CONNECT that should only be closed (corner 21)",
        || {
            on_malformed(
                |error| of(error, &[Type::Connect]),
                |wire, _| {
                    let refused: &[u8] =
                        if wire.line.is_v5() { &[0x20, 3, 0, 0x82, 0] } else { &[0x20, 2, 0, 2] };
                    wire.raw(Way::Down, refused);
                    wire.cut();
                },
            )
        },
    ),
    fault(
        "closes-without-connack-on-level",
        "an unknown protocol level is closed without CONNACK 1 (corner 19)",
        || on_malformed(|error| error.kind == Kind::UnsupportedVersion, |wire, _| wire.cut()),
    ),
    fault(
        "error-loses-will",
        "a malformed packet ends the connection well: the will is lost (corner 17)",
        || {
            on_malformed(
                |error| !of(error, &[Type::Connect]),
                |wire, _| {
                    wire.raw(Way::Up, &[0xE0, 0][..]);
                },
            )
        },
    ),
    fault(
        "error-undoes-earlier",
        "what came just before a malformed packet is forgotten",
        error_undoes_earlier,
    ),
];

fn nul(error: &DecodeError) -> bool {
    error.detail.contains("U+0000") || cites(error, &["MQTT-1.5.3-2", "MQTT-1.5.4-2", "MQTT-4.7.3-2"])
}

fn hash(error: &DecodeError) -> bool {
    error.detail.contains("`#`")
}

fn of(error: &DecodeError, kinds: &[Type]) -> bool {
    error.packet.is_some_and(|kind| kinds.contains(&kind))
}

fn cites(error: &DecodeError, statements: &[&str]) -> bool {
    error.statement.is_some_and(|id| statements.contains(&id))
}

/// Does something else with malformed packets of a kind.
fn on_malformed(
    which: fn(&DecodeError) -> bool,
    mut act: impl FnMut(&mut Wire<'_>, &Frame) + Send + 'static,
) -> Rewriter {
    Box::new(move |wire, seen| match &seen {
        Seen::Frame(Way::Up, frame) if frame.error().is_some_and(which) => act(wire, frame),
        _ => wire.pass(seen),
    })
}

/// Takes malformed packets of a kind for good ones.
fn accepts(which: fn(&DecodeError) -> bool) -> Rewriter {
    on_malformed(which, |wire, frame| match frame.kind() {
        Some(Type::Connect) => {
            let connect = Connect {
                version: wire.line.version(),
                clean_start: true,
                client_id: "accepted".into(),
                ..Connect::default()
            };
            wire.send(Way::Up, Packet::Connect(Box::new(connect)));
        }
        Some(kind) => {
            if let Some(answer) = acknowledgement(kind, frame, wire.line.is_v5()) {
                wire.send(Way::Down, answer);
            }
        }
        None => {}
    })
}

/// What a broker answers that saw nothing wrong.
fn acknowledgement(kind: Type, frame: &Frame, v5: bool) -> Option<Packet> {
    let body = frame.body();
    let id_at = |at: usize| PacketId::new(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    match kind {
        Type::Publish => {
            let qos = frame.bytes.first()? >> 1 & 3;
            let topic = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
            let ack = Ack::success(id_at(2 + topic)?);
            match qos {
                1 => Some(Packet::PubAck(ack)),
                2 => Some(Packet::PubRec(ack)),
                _ => None,
            }
        }
        Type::Subscribe => Some(Packet::SubAck(SubAck {
            id: id_at(0)?,
            properties: Properties::new(),
            codes: vec![ReasonCode::SUCCESS],
        })),
        Type::Unsubscribe => Some(Packet::UnsubAck(UnsubAck {
            id: id_at(0)?,
            properties: Properties::new(),
            codes: if v5 { vec![ReasonCode::SUCCESS] } else { Vec::new() },
        })),
        Type::PingReq => Some(Packet::PingResp),
        _ => None,
    }
}

/// Sets the flags of a packet right, and carries it out.
fn repairs(kind: Type) -> Rewriter {
    Box::new(move |wire, seen| match &seen {
        Seen::Frame(Way::Up, Frame { bytes, content: Content::Malformed(error) })
            if error.kind == Kind::BadFlags && error.packet == Some(kind) =>
        {
            let flags = if kind == Type::Disconnect { 0 } else { 2 };
            let mut good = bytes.to_vec();
            if let Some(first) = good.first_mut() {
                *first = *first & 0xF0 | flags;
            }
            wire.raw(Way::Up, good);
        }
        _ => wire.pass(seen),
    })
}

/// Holds what came until all that is there was looked at, and drops it if an error is among it.
fn error_undoes_earlier() -> Rewriter {
    let mut held: Vec<Seen> = Vec::new();
    Box::new(move |wire, seen| match seen {
        Seen::Frame(Way::Up, frame) if frame.error().is_some() => {
            held.clear();
            wire.pass(Seen::Frame(Way::Up, frame));
        }
        Seen::Frame(Way::Up, frame) => held.push(Seen::Frame(Way::Up, frame)),
        Seen::Pause(Way::Up) | Seen::End(Way::Up) => {
            held.drain(..).for_each(|held| wire.pass(held));
            wire.pass(seen);
        }
        other => wire.pass(other),
    })
}
