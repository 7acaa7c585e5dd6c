//! `ping`.

use super::reply::{EXPECT_PING, reply};
use super::{Actor, Args, StepReader, VerbSpec};
use crate::scenario::op::{Op, Request};

pub(super) const PING: VerbSpec = VerbSpec {
    name: "ping",
    actor: Actor::Client,
    doc: "Sends PINGREQ and checks that PINGRESP comes.",
    value: None,
    keys: &[EXPECT_PING],
    example: "- a: ping",
    decode,
};

fn decode(reader: &StepReader, args: &Args) -> Option<Op> {
    Some(Op::Send(args.client(), Request::Ping, reply(reader.scope, &args.fields, &[])?))
}
