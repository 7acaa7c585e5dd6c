//! Connections that end in a wrong way, too early, or never; keep-alive and pings.
//!
//! Whether a will is sent then is another file's.

use super::wire::{Deed, Rewriter, Seen, Way, connects, down, handling};
use super::{Family, FaultSpec, fault};
use crate::mqtt::packet::{ConnAck, PacketType};
use crate::mqtt::{Packet, ReasonCode};

pub(super) const FAMILY: Family = Family {
    title: "ends of connections",
    chapters: &["3.1-", "3.2", "3.12", "3.13", "3.14", "3.15", "4.8", "4.12", "4.13"],
    faults: FAULTS,
};

const FAULTS: &[FaultSpec] = &[
    fault("never-closes", "no connection is closed, whatever the client does wrong", || {
        stays_open(|end| !end.left && !end.refused)
    }),
    fault("open-after-refusal", "the connection stays open after a refusal", || {
        stays_open(|end| end.refused)
    }),
    fault("open-after-disconnect", "the connection stays open after the client's DISCONNECT", || {
        stays_open(|end| end.left)
    }),
    fault("forgives-protocol-errors", "stays open where 0x82 was due", || {
        forgives(ReasonCode::PROTOCOL_ERROR)
    }),
    fault("forgives-too-large", "stays open where 0x95 was due", || forgives(ReasonCode::PACKET_TOO_LARGE)),
    fault("forgives-receive-maximum", "takes more than its own Receive Maximum (corner 45)", || {
        forgives(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED)
    }),
    fault("forgives-topic-alias", "takes any topic alias (corner 48)", || {
        forgives(ReasonCode::TOPIC_ALIAS_INVALID)
    }),
    fault("forgives-qos", "takes more than its own Maximum QoS", || forgives(ReasonCode::QOS_NOT_SUPPORTED)),
    fault("forgives-retain", "takes retained messages that it has said it does not", || {
        forgives(ReasonCode::RETAIN_NOT_SUPPORTED)
    }),
    fault("forgives-silence", "stays open where 0x8D was due", || forgives(ReasonCode::KEEP_ALIVE_TIMEOUT)),
    fault("takeover-not-done", "the old connection stays when a client comes twice (corner 25)", || {
        forgives(ReasonCode::SESSION_TAKEN_OVER)
    }),
    fault("lets-everybody-in", "CONNACK 0 for who ought to be refused", lets_everybody_in),
    fault("closes-at-once", "every connection is closed after its CONNACK", || {
        handling(Way::Down, |wire, packet| {
            let first = matches!(packet, Packet::ConnAck(_));
            if first {
                wire.send(Way::Down, packet.clone());
                wire.cut();
            }
            first
        })
    }),
    fault("closes-on-non-ascii", "a topic with a character beyond ASCII closes (corner 5)", || {
        closes_on_topic(|topic| !topic.is_ascii())
    }),
    fault("closes-on-deep-topic", "a topic of more than 20 levels closes (corner 55)", || {
        closes_on_topic(|topic| topic.matches('/').count() >= 20)
    }),
    fault("closes-on-long-topic", "a topic of more than 1,000 bytes closes", || {
        closes_on_topic(|topic| topic.len() > 1000)
    }),
    fault("closes-on-spaces", "a topic with a space closes", || closes_on_topic(|topic| topic.contains(' '))),
    fault("closes-on-slashes", "a topic that begins or ends with a slash closes", || {
        closes_on_topic(|topic| topic.starts_with('/') || topic.ends_with('/'))
    }),
    fault("closes-on-puback", "an acknowledgement closes", || {
        closes_on(&[PacketType::PubAck, PacketType::PubRec, PacketType::PubComp])
    }),
    fault("closes-on-ping", "PINGREQ closes", || closes_on(&[PacketType::PingReq])),
    fault("closes-on-unsubscribe", "UNSUBSCRIBE closes", || closes_on(&[PacketType::Unsubscribe])),
    fault("closes-on-auth", "AUTH closes", || closes_on(&[PacketType::Auth])),
    fault("disconnect-missing", "5.0: closes without saying why", || {
        down(|packet, _| if matches!(packet, Packet::Disconnect(_)) { Deed::Drop } else { Deed::Pass })
    }),
    fault("takeover-untold", "an old connection is not told 0x8E (corner 23)", || {
        down(|packet, _| match packet {
            Packet::Disconnect(goodbye) if goodbye.reason == ReasonCode::SESSION_TAKEN_OVER => Deed::Drop,
            _ => Deed::Pass,
        })
    }),
    fault("disconnect-wrong-reason", "DISCONNECT always says 0x83", || {
        down(|packet, _| {
            if let Packet::Disconnect(goodbye) = packet {
                goodbye.reason = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
            }
            Deed::Pass
        })
    }),
    fault("disconnect-twice", "DISCONNECT is sent twice", || {
        down(|packet, _| if matches!(packet, Packet::Disconnect(_)) { Deed::Twice } else { Deed::Pass })
    }),
    fault("disconnect-to-old-clients", "DISCONNECT to a 3.1.1 client (corner 56)", || {
        Box::new(|wire, seen| {
            if matches!(seen, Seen::End(Way::Down)) && !wire.line.is_v5() && wire.line.connect.is_some() {
                wire.raw(Way::Down, &[0xE0, 0][..]);
            }
            wire.pass(seen);
        })
    }),
    fault(
        "goes-on-after-disconnect",
        "what comes behind a DISCONNECT is dealt with",
        goes_on_after_disconnect,
    ),
    fault("keep-alive-ignored", "a silent client is never cut off (corner 54)", || {
        connects(|connect, _| connect.keep_alive = 0)
    }),
    fault("keep-alive-too-strict", "a client is cut off before one and a half times its keep-alive", || {
        connects(|connect, _| connect.keep_alive = connect.keep_alive.div_ceil(2))
    }),
    fault("keep-alive-0-is-1", "a client that turned the keep-alive off is cut off", || {
        connects(|connect, _| connect.keep_alive = connect.keep_alive.max(1))
    }),
    fault("ping-unanswered", "the first PINGREQ of a connection is not answered", || {
        let mut first = true;
        down(move |packet, _| match packet {
            Packet::PingResp if std::mem::take(&mut first) => Deed::Drop,
            _ => Deed::Pass,
        })
    }),
    fault("ping-answered-twice", "PINGRESP comes twice", || {
        down(|packet, _| if *packet == Packet::PingResp { Deed::Twice } else { Deed::Pass })
    }),
];

/// What led to the end of a connection.
#[derive(Debug, Clone, Copy, Default)]
struct Story {
    /// CONNACK said no.
    refused: bool,
    /// The client said goodbye.
    left: bool,
    /// The broker's last word.
    reason: Option<ReasonCode>,
}

/// The broker closes, and the client does not notice: it is not listened to any more, but its pings are
/// answered.
fn stays_open(when: fn(&Story) -> bool) -> Rewriter {
    let mut story = Story::default();
    let mut deaf = false;
    Box::new(move |wire, seen| match &seen {
        Seen::Frame(Way::Up, frame) if deaf => {
            if frame.packet() == Some(&Packet::PingReq) {
                wire.send(Way::Down, Packet::PingResp);
            }
        }
        Seen::Frame(way, frame) => {
            match frame.packet() {
                Some(Packet::ConnAck(answer)) => story.refused = answer.code != ReasonCode::SUCCESS,
                Some(Packet::Disconnect(_)) if *way == Way::Up => story.left = true,
                Some(Packet::Disconnect(goodbye)) => {
                    story.reason = Some(goodbye.reason);
                    if when(&story) {
                        return;
                    }
                }
                _ => {}
            }
            wire.pass(seen);
        }
        Seen::End(Way::Down) if when(&story) => deaf = true,
        Seen::End(Way::Up) if deaf => wire.cut(),
        Seen::End(_) | Seen::Pause(_) => wire.pass(seen),
    })
}

/// Stays open where 5.0 closes with one reason.
fn forgives(reason: ReasonCode) -> Rewriter {
    let mut inner = stays_open(|story| story.reason.is_some());
    let mut forgiven = false;
    Box::new(move |wire, seen| {
        if let Seen::Frame(Way::Down, frame) = &seen
            && let Some(Packet::Disconnect(goodbye)) = frame.packet()
        {
            forgiven = goodbye.reason == reason;
        }
        let ends = matches!(&seen, Seen::Frame(Way::Down, frame) if matches!(frame.packet(), Some(Packet::Disconnect(_))));
        if ends && !forgiven {
            return wire.pass(seen);
        }
        inner(wire, seen);
    })
}

/// Lets in who is refused, and goes no further.
fn lets_everybody_in() -> Rewriter {
    let mut inner = stays_open(|story| story.refused);
    Box::new(move |wire, seen| {
        let refused = matches!(&seen, Seen::Frame(Way::Down, frame)
            if matches!(frame.packet(), Some(Packet::ConnAck(answer)) if answer.code != ReasonCode::SUCCESS));
        if refused {
            wire.send(Way::Down, Packet::ConnAck(ConnAck::default()));
            let mut nowhere = Vec::new();
            return inner(&mut super::wire::Wire::new(wire.line, &mut nowhere), seen);
        }
        inner(wire, seen);
    })
}

fn closes_on_topic(which: fn(&str) -> bool) -> Rewriter {
    handling(Way::Up, move |wire, packet| {
        let named = match packet {
            Packet::Publish(publish) => which(publish.topic.as_str()),
            Packet::Subscribe(subscribe) => {
                subscribe.subscriptions.iter().any(|one| which(one.filter.as_str()))
            }
            _ => false,
        };
        if named {
            wire.cut();
        }
        named
    })
}

fn closes_on(kinds: &'static [PacketType]) -> Rewriter {
    handling(Way::Up, move |wire, packet| {
        let named = kinds.contains(&packet.packet_type());
        if named {
            wire.cut();
        }
        named
    })
}

/// Holds a DISCONNECT until all that came with it was dealt with.
fn goes_on_after_disconnect() -> Rewriter {
    let mut held = None;
    Box::new(move |wire, seen| match seen {
        Seen::Frame(Way::Up, frame) if matches!(frame.packet(), Some(Packet::Disconnect(_))) => {
            held = Some(Seen::Frame(Way::Up, frame));
        }
        Seen::Pause(Way::Up) | Seen::End(Way::Up) => {
            if let Some(goodbye) = held.take() {
                wire.pass(goodbye);
            }
            wire.pass(seen);
        }
        other => wire.pass(other),
    })
}
