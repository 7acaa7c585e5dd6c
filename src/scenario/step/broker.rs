//! `broker: start | stop | kill | restart | reload`.

use super::{Actor, Args, StepReader, VerbSpec};
use crate::scenario::op::{Op, TargetAction};

const fn verb(
    name: &'static str,
    doc: &'static str,
    example: &'static str,
    decode: fn(&StepReader, &Args) -> Option<Op>,
) -> VerbSpec {
    VerbSpec { name, actor: Actor::Broker, doc, value: None, keys: &[], example, decode }
}

pub(super) const START: VerbSpec = verb(
    "start",
    "Starts the broker again after `stop` or `kill`.",
    "- broker: stop\n- broker: start",
    |_, _| Some(Op::Target(TargetAction::Start)),
);

pub(super) const STOP: VerbSpec =
    verb("stop", "Stops the broker in good order: it saves what it keeps.", "- broker: stop", |_, _| {
        Some(Op::Target(TargetAction::Stop))
    });

pub(super) const KILL: VerbSpec =
    verb("kill", "Ends the broker at once, as a power failure would.", "- broker: kill", |_, _| {
        Some(Op::Target(TargetAction::Kill))
    });

pub(super) const RESTART: VerbSpec =
    verb("restart", "`stop`, then `start` on the same ports.", "- broker: restart", |_, _| {
        Some(Op::Target(TargetAction::Restart))
    });

pub(super) const RELOAD: VerbSpec =
    verb("reload", "Makes the broker read its files again (SIGHUP).", "- broker: reload", |_, _| {
        Some(Op::Target(TargetAction::Reload))
    });
