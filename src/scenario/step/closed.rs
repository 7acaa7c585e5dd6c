//! `closed`: the broker closes the connection.

use super::{Actor, Args, StepReader, VerbSpec};
use crate::scenario::decode::properties::needs_v5;
use crate::scenario::decode::values;
use crate::scenario::keys::{Shape, key};
use crate::scenario::op::{Closed, Op};
use crate::scenario::target::DEFAULT_WITHIN;

pub(super) const CLOSED: VerbSpec = VerbSpec {
    name: "closed",
    actor: Actor::Client,
    doc: "Waits until the broker closes the connection.",
    value: Some("within"),
    keys: &[
        key("after", Shape::Duration, "not before this; counted from the last packet that the client sent"),
        key("within", Shape::Duration, "not later than this; default 2 s, or 2 s after `after`"),
        key("reason", Shape::Integer(0, 0xFF), "reason code of the broker's DISCONNECT, 5.0"),
    ],
    example: "- a: {connect: {keepalive: 1s}}
- a: {closed: {after: 1.5s, within: 8s}}",
    decode,
};

fn decode(reader: &StepReader, args: &Args) -> Option<Op> {
    let (scope, fields) = (reader.scope, &args.fields);
    let time = |name: &str| fields.get(name).map(|node| values::duration(scope, node, name));
    let after = time("after").map_or(Some(None), |value| value.map(Some))?;
    let within = time("within").unwrap_or(Some(after.unwrap_or_default() + DEFAULT_WITHIN))?;
    let reason = match fields.get("reason") {
        Some(node) if !needs_v5(scope, node, "a reason code", reader.version(args.client())) => return None,
        Some(node) => Some(values::reason(scope, node, "reason")?),
        None => None,
    };
    if after.is_some_and(|after| after >= within) {
        scope.error("L023", &args.span, "`after` must be less than `within`");
        return None;
    }
    Some(Op::Closed(args.client(), Closed { after, within, reason }))
}
