//! `fence`, `wait`, `parallel`, `repeat`: verbs without an actor.

use super::{Actor, Args, StepReader, VerbSpec};
use crate::scenario::decode::values;
use crate::scenario::keys::{Shape, key};
use crate::scenario::node::{Kind, Node};
use crate::scenario::op::{Op, Step};

/// Rounds of a `repeat`.
const MAX_TIMES: u32 = 1_000_000;

pub(super) const FENCE: VerbSpec = VerbSpec {
    name: "fence",
    actor: Actor::Control,
    doc: "Waits until everything that is under way has arrived.",
    value: None,
    keys: &[],
    example: "- a: {subscribe: home/1}
- b: {publish: home/1, payload: x}
- fence
- a: {receives: home/1}",
    decode: |_, _| Some(Op::Barrier),
};

pub(super) const WAIT: VerbSpec = VerbSpec {
    name: "wait",
    actor: Actor::Control,
    doc: "Lets time pass, where the subject is time itself (expiry, keep-alive). To wait for a message \
          use `receives`; to see that none comes, `receives_nothing`.",
    value: Some("duration"),
    keys: &[key("duration", Shape::Duration, "how long")],
    example: "- a: connect
- wait: 100ms
- a: ping",
    decode: wait,
};

pub(super) const PARALLEL: VerbSpec = VerbSpec {
    name: "parallel",
    actor: Actor::Control,
    doc: "Does its branches at the same time and goes on when all are done. A branch is a step or a list of steps.",
    value: Some("branches"),
    keys: &[key("branches", Shape::List(&Shape::Either(&[Shape::Anything, Shape::Steps])), "the branches")],
    example: "- parallel:
  - a: {publish: home/1, payload: one}
  - - b: {publish: home/2, payload: two}
    - b: {publish: home/3, payload: three}",
    decode: parallel,
};

pub(super) const REPEAT: VerbSpec = VerbSpec {
    name: "repeat",
    actor: Actor::Control,
    doc: "Does the same steps many times; `${i}` counts the rounds from 1.",
    value: None,
    keys: &[
        key("times", Shape::Integer(1, MAX_TIMES as u64), "how often"),
        key("steps", Shape::Steps, "what"),
    ],
    example: "- repeat: {times: 3, steps: [{a: {publish: home/1, payload: \"${i}\", qos: 1}}]}",
    decode: repeat,
};

fn wait(reader: &StepReader, args: &Args) -> Option<Op> {
    let node = args.fields.need(reader.scope, "duration", "`wait`")?;
    Some(Op::Pause(values::duration(reader.scope, node, "wait")?))
}

fn parallel(reader: &StepReader, args: &Args) -> Option<Op> {
    let node = args.fields.need(reader.scope, "branches", "`parallel`")?;
    let branches = values::list(reader.scope, node, "parallel");
    Some(Op::Spawn(branches.into_iter().map(|branch| steps_of(reader, branch)).collect()))
}

fn steps_of(reader: &StepReader, branch: &Node) -> Vec<Step> {
    match branch.kind {
        Kind::Seq(_) => reader.steps(branch),
        _ => reader.step(branch).into_iter().collect(),
    }
}

fn repeat(reader: &StepReader, args: &Args) -> Option<Op> {
    let scope = reader.scope;
    let times = args
        .fields
        .need(scope, "times", "`repeat`")
        .and_then(|node| values::count(scope, node, "times", 1, MAX_TIMES));
    let node = args.fields.need(scope, "steps", "`repeat`")?;
    scope.repeats.set(scope.repeats.get() + 1);
    let steps = reader.steps(node);
    scope.repeats.set(scope.repeats.get() - 1);
    Some(Op::Repeat(times?, steps))
}
