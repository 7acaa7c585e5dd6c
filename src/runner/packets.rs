//! Packet blocks: lines of packets to send and to expect, exactly as written.
//!
//! What was received and no line asked for stays in the inbox, where the strict inbox finds it.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

use super::actor::Actor;
use super::context::At;
use super::link::{Command, Taken};
use super::login;
use super::outcome::{Done, Trouble};
use super::recorder::print;
use super::scram;
use crate::mqtt::notation::PacketLine;
use crate::mqtt::packet::PacketType;
use crate::mqtt::raw::RawPacket;
use crate::mqtt::{Packet, ProtocolVersion, ReasonCode};
use crate::net::tap::Content;
use crate::scenario::op::{WireAlternative, WireStep, WireStepKind};
use crate::scenario::target::DEFAULT_WITHIN;
use crate::scenario::value::Template;
use crate::text::print_duration;

/// What the lines before said about the coming packets.
#[derive(Default)]
struct Progress {
    /// `<?` lines that wait for a packet.
    optional: Vec<PacketLine>,
    /// Packets at the front of the inbox that earlier lines passed over.
    passed: usize,
}

impl Actor<'_> {
    /// Plays a block.
    pub async fn packets(&mut self, at: At<'_>, steps: &[WireStep]) -> Done {
        let mut progress = Progress::default();
        for step in steps {
            let at = at.at(&step.span);
            match &step.kind {
                WireStepKind::Send(line) => {
                    let raw = self.built(at, line).await?;
                    self.send_bytes(at, Command::Raw(raw.bytes, raw.packet)).await?;
                }
                WireStepKind::SendText(line) => {
                    let raw = self.built(at, line).await?;
                    at.context.recorder.remark(&self.spec.name, "in a text frame:");
                    let command = Command::Alone { bytes: raw.bytes, packet: raw.packet, text: true };
                    self.send_bytes(at, command).await?;
                }
                WireStepKind::SendBytes(bytes) => {
                    let command = Command::Alone { bytes: bytes.clone(), packet: None, text: false };
                    self.send_bytes(at, command).await?;
                }
                WireStepKind::SendClose => {
                    self.leave(Command::Drop).await;
                    progress = Progress::default();
                    let who = if self.spec.plays { "closed by the scenario" } else { "closed by the client" };
                    at.context.recorder.ended(&self.spec.name, who);
                }
                WireStepKind::Expect(alternatives) => {
                    self.expect_packet(at, step, alternatives, &mut progress).await?;
                }
                WireStepKind::Optional(line) => progress.optional.push(self.filled_in(at, line)),
                WireStepKind::Note(text) => at.context.recorder.remark(&self.spec.name, text),
            }
        }
        Ok(())
    }

    async fn send_bytes(&mut self, at: At<'_>, command: Command) -> Done {
        if !self.is_open_for_packets() {
            self.ensure_open(at).await?;
        }
        // A connection that the broker has just closed takes nothing more; the next `<` line says so.
        let _ = self.send(at, command).await;
        Ok(())
    }

    /// A packet to send.
    async fn built(&mut self, at: At<'_>, line: &PacketLine) -> Done<RawPacket> {
        if scram::begins(line) {
            self.begin_scram(at).await?;
        }
        self.all_known(at, line)?;
        let mut line = self.filled_in(at, line);
        if self.spec.at_broker() {
            let target = at.context.target.lock().await;
            login::complete(&mut line, target.default_account(), target.keep_alive());
        }
        if let Some(name) = line.open_numbers().next() {
            return Err(at.errored(format!("a number for ${name}"), "no packet has given it one"));
        }
        let raw = line.build(self.wire_version).map_err(|error| at.errored("a packet", error.to_string()))?;
        if let Some(Packet::Connect(connect)) = &raw.packet {
            self.wire_version = connect.version;
        }
        Ok(raw)
    }

    /// That each variable of a line that is sent has a value.
    fn all_known(&self, at: At<'_>, line: &PacketLine) -> Done {
        for field in line.fields.iter().filter(|field| field.value.contains("${")) {
            let Ok(template) = Template::parse(&field.value) else { continue };
            let template = template.partially(|name| self.scram.value(name));
            if let Some(name) = template.variables().find(|name| scram::is_variable(name)) {
                return Err(at.failed(format!("a value for ${{{name}}}"), self.scram.trouble()));
            }
            at.resolve(&template)?;
        }
        Ok(())
    }

    /// The line with what is known now: variables of the run, and numbers that packets before had.
    fn filled_in(&self, at: At<'_>, line: &PacketLine) -> PacketLine {
        let mut line = line.with_numbers(|name| self.numbers.get(name).copied());
        for field in line.fields.iter_mut().filter(|field| field.value.contains("${")) {
            if let Ok(template) = Template::parse(&field.value) {
                let known = template.partially(|name| at.variable(name).or_else(|| self.scram.value(name)));
                field.value = known.resolve(|name| Some(format!("${{{name}}}"))).unwrap_or_default();
            }
        }
        line
    }

    async fn expect_packet(
        &mut self,
        at: At<'_>,
        step: &WireStep,
        alternatives: &[WireAlternative],
        progress: &mut Progress,
    ) -> Done {
        let alternatives: Vec<_> = alternatives
            .iter()
            .map(|one| match one {
                WireAlternative::Packet(line) => WireAlternative::Packet(self.filled_in(at, line)),
                WireAlternative::All(lines) => {
                    WireAlternative::All(lines.iter().map(|line| self.filled_in(at, line)).collect())
                }
                other => other.clone(),
            })
            .collect();
        if self.spec.plays && !self.is_open_for_packets() {
            self.open_transport(at).await?;
        }
        let since = Instant::now();
        let until = since + DEFAULT_WITHIN;
        let expected = || format!("{} {}", self.spec.name, at.span.shown().trim());
        let taken =
            self.inbox.take(until, |packets| look(packets, &alternatives, step.strict, progress)).await;
        match taken {
            Taken::Found(Seen::Wanted(packet, numbers)) => {
                progress.optional.clear();
                self.numbers.extend(numbers);
                self.scram.heard(&packet);
                match *packet {
                    Packet::ConnAck(answer) => self.said_connect = answer.code == ReasonCode::SUCCESS,
                    // A peer answers in the revision of its client.
                    Packet::Connect(connect) => self.wire_version = connect.version,
                    _ => {}
                }
                Ok(())
            }
            Taken::Found(Seen::Wrong(packet)) if may_skip(&alternatives) => {
                let wrong = differs(&packet, &alternatives);
                Err(Trouble::Skipped(format!("this is about brokers that answer otherwise: {wrong}")))
            }
            Taken::Found(Seen::Wrong(packet)) => Err(self.wrong(at, &packet, &alternatives, expected())),
            Taken::Ended(ending) => {
                let wanted = alternatives.iter().any(|one| matches!(one, WireAlternative::Close));
                if wanted && !ending.malformed {
                    self.excuse();
                    // The next connection begins with an inbox of its own.
                    *progress = Progress::default();
                    return Ok(());
                }
                Err(at.failed(expected(), format!("the connection was {}", ending.how)))
            }
            Taken::TimedOut => {
                let within = print_duration(DEFAULT_WITHIN);
                let nearest = self.inbox.with(|packets| nearest(packets, &alternatives));
                Err(match nearest {
                    Some(packet) if packets_wanted(&alternatives, packet.packet_type()) => {
                        self.wrong(at, &packet, &alternatives, expected())
                    }
                    Some(other) => at
                        .silent(since, expected(), differs(&other, &alternatives))
                        .instead(vec![self.line(&other)]),
                    None => at.silent(since, expected(), format!("nothing within {within}")),
                })
            }
        }
    }

    /// Another packet than what was expected.
    fn wrong(
        &self,
        at: At<'_>,
        packet: &Packet,
        alternatives: &[WireAlternative],
        expected: String,
    ) -> Trouble {
        at.failed(expected, differs(packet, alternatives)).instead(vec![self.line(packet)])
    }
}

/// What a look into the inbox found.
enum Seen {
    /// What was wanted, and the numbers that its line left open; it is taken out.
    Wanted(Box<Packet>, Vec<(String, u32)>),
    /// Something else where nothing may come between.
    Wrong(Box<Packet>),
}

/// `None`: what is wanted is not there yet.
fn look(
    packets: &mut VecDeque<Packet>,
    alternatives: &[WireAlternative],
    strict: bool,
    progress: &mut Progress,
) -> Option<Seen> {
    if let Some(found) = alternatives.iter().find_map(|one| together(packets, one, strict, progress)) {
        return Some(found);
    }
    let mut index = progress.passed.min(packets.len());
    while index < packets.len() {
        let packet = &packets[index];
        let fits = alternatives.iter().find_map(|one| match one {
            WireAlternative::Packet(line) => line.captures(packet).ok(),
            WireAlternative::All(_) | WireAlternative::Close | WireAlternative::Skip => None,
        });
        if let Some(numbers) = fits {
            progress.passed = index;
            return packets.remove(index).map(|packet| Seen::Wanted(Box::new(packet), numbers));
        }
        if let Some(optional) = progress.optional.iter().position(|line| line.matches(packet).is_ok()) {
            progress.optional.remove(optional);
            packets.remove(index);
            continue;
        }
        // There is one CONNACK a connection: a wrong one will not be followed by the right one.
        let only_one =
            matches!(packet, Packet::ConnAck(_)) && packets_wanted(alternatives, PacketType::ConnAck);
        // One of several that are wanted together: the others may still come.
        let waits = lines(alternatives).any(|line| line.matches(packet).is_ok());
        if ((strict || may_skip(alternatives)) && !waits) || only_one {
            return Some(Seen::Wrong(Box::new(packet.clone())));
        }
        index += 1;
    }
    None
}

/// Whether another packet means that the scenario is not about this broker.
fn may_skip(alternatives: &[WireAlternative]) -> bool {
    alternatives.iter().any(|one| matches!(one, WireAlternative::Skip))
}

/// The packets of `A & B`, once all of them are there.
fn together(
    packets: &mut VecDeque<Packet>,
    alternative: &WireAlternative,
    strict: bool,
    progress: &mut Progress,
) -> Option<Seen> {
    let WireAlternative::All(lines) = alternative else { return None };
    let from = progress.passed.min(packets.len());
    let (mut taken, mut numbers) = (Vec::new(), Vec::new());
    for line in lines {
        let (index, found) = (from..packets.len())
            .filter(|index| !taken.contains(index))
            .find_map(|index| line.captures(&packets[index]).ok().map(|found| (index, found)))?;
        taken.push(index);
        numbers.extend(found);
    }
    taken.sort_unstable();
    let last = taken.last().copied()?;
    let between: Vec<_> = (from..last).filter(|index| !taken.contains(index)).collect();
    for index in between {
        let packet = &packets[index];
        match progress.optional.iter().position(|line| line.matches(packet).is_ok()) {
            Some(optional) => {
                progress.optional.remove(optional);
                taken.push(index);
            }
            None if strict => return Some(Seen::Wrong(Box::new(packet.clone()))),
            None => {}
        }
    }
    let packet = packets[last].clone();
    taken.sort_unstable();
    for index in taken.into_iter().rev() {
        packets.remove(index);
    }
    progress.passed = from;
    Some(Seen::Wanted(Box::new(packet), numbers))
}

/// All packets that the alternatives name.
fn lines(alternatives: &[WireAlternative]) -> impl Iterator<Item = &PacketLine> {
    alternatives.iter().flat_map(|one| match one {
        WireAlternative::Packet(line) => std::slice::from_ref(line),
        WireAlternative::All(lines) => lines.as_slice(),
        WireAlternative::Close | WireAlternative::Skip => &[],
    })
}

/// Whether one of the alternatives is a packet of this kind.
fn packets_wanted(alternatives: &[WireAlternative], kind: PacketType) -> bool {
    lines(alternatives).any(|line| line.kind == kind)
}

/// The packet of a kind that was wanted; else the last that came.
fn nearest(packets: &VecDeque<Packet>, alternatives: &[WireAlternative]) -> Option<Packet> {
    let same_kind = packets.iter().rev().find(|packet| packets_wanted(alternatives, packet.packet_type()));
    same_kind.or(packets.back()).cloned()
}

/// A packet, and how it differs from the line for its kind.
fn differs(packet: &Packet, alternatives: &[WireAlternative]) -> String {
    let text = describe(packet);
    let same_kind = lines(alternatives).filter(|line| line.kind == packet.packet_type());
    let mismatch = same_kind.map(|line| line.matches(packet)).find_map(Result::err);
    match mismatch {
        Some(one) => format!("{text}: {} is {}, not {}", one.field, one.actual, one.expected),
        None => text,
    }
}

fn describe(packet: &Packet) -> String {
    print(&Content::Packet(packet), &Bytes::new(), ProtocolVersion::V5)
}
