//! What a client does wrong: faults of whoever connects to a peer of a scenario.
//!
//! They stand at the peer's door and alter what the client sends. The bundled broker has none of them.

use super::wire::{Deed, Rewriter, Seen, Way, connects, publications, up};
use super::{Family, FaultSpec, fault};
use crate::mqtt::Packet;
use crate::mqtt::packet::PacketType;

pub(super) const FAMILY: Family = Family { title: "clients", chapters: &[], faults: FAULTS };

const FAULTS: &[FaultSpec] = &[
    fault("client-puback-missing", "the client sends no PUBACK", || loses(PacketType::PubAck)),
    fault("client-pubrec-missing", "the client sends no PUBREC", || loses(PacketType::PubRec)),
    fault("client-pubrel-missing", "the client sends no PUBREL", || loses(PacketType::PubRel)),
    fault("client-pubcomp-missing", "the client sends no PUBCOMP", || loses(PacketType::PubComp)),
    fault("client-disconnect-missing", "the client says no goodbye", || loses(PacketType::Disconnect)),
    fault("client-never-closes", "the client never closes its connection", || {
        Box::new(|wire, seen| {
            if !matches!(seen, Seen::End(Way::Up)) {
                wire.pass(seen);
            }
        })
    }),
    fault("client-dup-missing", "the client sends again without DUP", || {
        publications(|publish, _| {
            publish.dup = false;
            Deed::Pass
        })
    }),
    fault("client-dup-first", "the client sets DUP when it sends for the first time", || {
        publications(|publish, _| {
            publish.dup |= publish.id.is_some();
            Deed::Pass
        })
    }),
    fault("client-resend-missing", "the client does not send again", || {
        publications(|publish, _| if publish.dup { Deed::Drop } else { Deed::Pass })
    }),
    fault("client-clean-always", "the client never asks for its session", || {
        connects(|connect, _| connect.clean_start = true)
    }),
];

fn loses(kind: PacketType) -> Rewriter {
    up(move |packet: &mut Packet, _| if packet.packet_type() == kind { Deed::Drop } else { Deed::Pass })
}
