//! CONNECT lines of packet blocks on a broker that somebody else runs: what a line leaves open and that
//! broker wants, an account or a keep-alive, is filled in. What the line says stays as it is written; a case
//! whose bytes do not let this be done is not for such a broker.

use super::prepare::Account;
use crate::mqtt::notation::{Field, PacketLine};
use crate::mqtt::packet::PacketType;
use crate::scenario::op::{Op, Step, WireStepKind};
use crate::scenario::{Body, Case};

/// Fields that force a CONNECT out of shape where something is added to it.
const FORCED: [&str; 2] = ["connect_flags", "length"];

/// Logs a CONNECT in that names no account, and gives it a keep-alive if it names none.
pub fn complete(line: &mut PacketLine, account: Option<&Account>, keep_alive: Option<u16>) {
    if line.kind != PacketType::Connect {
        return;
    }
    let is_named = line.fields.iter().any(|field| matches!(field.name, "keepalive" | "length"));
    let account = account.filter(|_| is_open(line));
    let account = account
        .into_iter()
        .flat_map(|account| [("user", account.name.clone()), ("password", account.password.clone())]);
    let keep_alive = keep_alive.filter(|_| !is_named).map(|seconds| ("keepalive", seconds.to_string()));
    let more = account.chain(keep_alive);
    let field = |(name, value)| Field { name, key: None, value, quoted: true, span: 0..0 };
    line.fields.extend(more.map(field));
}

/// Why a case cannot be played where nobody gets in without an account: it writes out a CONNECT in bytes, or
/// one that is about user names, passwords and their flags.
pub fn cannot(case: &Case) -> Option<&'static str> {
    match &case.body {
        Body::Steps(steps) => in_steps(case, steps),
        Body::Table(_) => None,
    }
}

fn in_steps(case: &Case, steps: &[Step]) -> Option<&'static str> {
    steps.iter().find_map(|step| match &step.op {
        Op::Packets(client, lines) if case.clients[client.0].at_broker() => {
            lines.iter().find_map(|line| in_line(&line.kind))
        }
        Op::Spawn(branches) => branches.iter().find_map(|steps| in_steps(case, steps)),
        Op::Repeat(_, steps) => in_steps(case, steps),
        _ => None,
    })
}

fn in_line(line: &WireStepKind) -> Option<&'static str> {
    const CONNECT: u8 = PacketType::Connect as u8;
    match line {
        WireStepKind::Send(line) | WireStepKind::SendText(line) => (line.kind == PacketType::Connect
            && !is_open(line))
        .then_some("a CONNECT here is about user names, passwords or flags"),
        WireStepKind::SendBytes(bytes) => {
            let begins = bytes.first().is_some_and(|first| first >> 4 == CONNECT);
            begins.then_some("a CONNECT here is written out in bytes")
        }
        _ => None,
    }
}

/// True for a CONNECT that leaves the account open and stays right when it gets one.
fn is_open(line: &PacketLine) -> bool {
    !line.fields.iter().any(|field| {
        matches!(field.name, "user" | "password") && field.key.is_none() || FORCED.contains(&field.name)
    })
}
