//! `disconnect` and `drop`: a client ends its connection, politely or not.

use super::{Actor, Args, StepReader, VerbSpec};
use crate::mqtt::packet::PacketType;
use crate::mqtt::{Properties, ReasonCode};
use crate::scenario::decode::properties::{Carrier, needs_v5, to_send};
use crate::scenario::decode::values;
use crate::scenario::keys::{Shape, key};
use crate::scenario::op::{Close, Op};

pub(super) const DISCONNECT: VerbSpec = VerbSpec {
    name: "disconnect",
    actor: Actor::Client,
    doc: "Sends DISCONNECT and closes the connection: the broker forgets the will.",
    value: Some("reason"),
    keys: &[
        key("reason", Shape::Integer(0, 0xFF), "reason code, 5.0; 0x04 asks for the will all the same"),
        key("properties", Shape::Properties, "properties of the DISCONNECT, 5.0"),
    ],
    example: "- a: connect
- a: disconnect",
    decode: disconnect,
};

pub(super) const DROP: VerbSpec = VerbSpec {
    name: "drop",
    actor: Actor::Client,
    doc: "Cuts the connection without DISCONNECT, as a client that loses power: the broker sends its will.",
    value: None,
    keys: &[],
    example: "- a: connect
- a: drop",
    decode: drop,
};

fn disconnect(reader: &StepReader, args: &Args) -> Option<Op> {
    let scope = reader.scope;
    let version = reader.version(args.client());
    let reason = match args.fields.get("reason") {
        Some(node) if !needs_v5(scope, node, "a reason code", version) => return None,
        Some(node) => values::reason(scope, node, "reason")?,
        None => ReasonCode::SUCCESS,
    };
    let properties = match args.fields.get("properties") {
        Some(node) => to_send(scope, node, Carrier::Packet(PacketType::Disconnect), version),
        None => Properties::new(),
    };
    Some(Op::Close(args.client(), Close::Disconnect { reason, properties }))
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of all verbs")]
fn drop(_: &StepReader, args: &Args) -> Option<Op> {
    Some(Op::Close(args.client(), Close::Drop))
}
