//! `packets`: what is sent and expected, packet by packet.

use super::{Actor, Args, StepReader, VerbSpec};
use crate::scenario::keys::{Shape, key};
use crate::scenario::op::Op;
use crate::scenario::packets;

pub(super) const PACKETS: VerbSpec = VerbSpec {
    name: "packets",
    actor: Actor::Client,
    doc: "Sends and expects packets as they are written, one a line: `> PACKET` sends, `< PACKET` expects, \
          `< A | B & C | close` expects any of these \
          (B and C in any order), `< A | skip` skips the scenario if another \
          packet comes (it is about brokers that answer A), `<? PACKET` may come or not, `> hex 10 0c …` sends raw \
          bytes in a write (over a WebSocket: a frame) of their own, `> text PACKET` sends a packet in a WebSocket \
          frame of text, `> close` cuts the connection, `* note` is a note, and `! ` before a line says that nothing \
          else may come before it; `5: ` or `3.1.1: ` before a line keeps it to that version. `id=$first` is \
          whatever number comes, and the same number in the lines of this client after it. Fields that are \
          not named are not checked on receive and are the standard's default on send. The code `error` \
          expects any code that says no; a value `size:N` is so many bytes, `hex:…` is bytes. A client of \
          packet blocks is best `raw: true`.",
    value: Some("lines"),
    keys: &[key("lines", Shape::Text, "the block (`|`)")],
    example: "- a:
    packets: |
      > SUBSCRIBE home/+ qos=1 id=7
      < SUBACK id=7",
    decode,
};

fn decode(reader: &StepReader, args: &Args) -> Option<Op> {
    let node = args.fields.need(reader.scope, "lines", "`packets`")?;
    Some(Op::Packets(args.client(), packets::block(reader.scope, node)?))
}
