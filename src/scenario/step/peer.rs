//! What a peer does: the broker's part, packet by packet.

use super::{Actor, VerbSpec};
use crate::scenario::keys::{Shape, key};
use crate::scenario::op::Op;
use crate::scenario::packets;

pub(super) const PLAYS: VerbSpec = VerbSpec {
    name: "plays",
    actor: Actor::Peer,
    doc: "Plays a broker, packet by packet, in the lines of `packets`: `<` is what a client or bridge must send, `>` \
          is sent to it. It begins at once and goes on beside the steps that follow; a further `plays` of this peer \
          begins when this one is through, and the scenario ends when all are. The first line of a connection waits \
          until somebody connects (10 s at most), and after `> close` or `< close` the next line waits for the next connection.",
    value: Some("lines"),
    keys: &[key("lines", Shape::Text, "the block (`|`)")],
    example: "- far:
    plays: |
      < CONNECT
      > CONNACK
      < PUBLISH home/hall \"on\" qos=1 id=$first
      > PUBACK id=$first
- a: {publish: home/hall, payload: on, qos: 1}",
    decode: |reader, args| {
        let node = args.fields.need(reader.scope, "lines", "`plays`")?;
        Some(Op::Play(args.client(), packets::block(reader.scope, node)?))
    },
};

pub(super) const DONE: VerbSpec = VerbSpec {
    name: "done",
    actor: Actor::Peer,
    doc: "Waits until this peer has played all its lines so far.",
    value: None,
    keys: &[],
    example: "- far:
    plays: |
      < CONNECT
      > CONNACK
- a: connect
- far: done",
    decode: |_, args| Some(Op::Played(args.client())),
};
