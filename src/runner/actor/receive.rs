//! Waiting for messages: which of those that came are those that are wanted.

use std::fmt::Write as _;

use bytes::Bytes;
use tokio::time::Instant;

use super::Actor;
use crate::broker::auth::{Access, Subject};
use crate::mqtt::Packet;
use crate::mqtt::packet::Publish;
use crate::net::tap::Content;
use crate::runner::context::At;
use crate::runner::link::Taken;
use crate::runner::matching::{capture_message, describe_message, is_message};
use crate::runner::outcome::{Done, Trouble};
use crate::runner::recorder::print;
use crate::scenario::ClientSpec;
use crate::scenario::matcher::Matcher;
use crate::scenario::op::Expect;
use crate::text::{plural, print_duration, printable};

/// Messages that an explanation names.
const SHOWN: usize = 5;

impl Actor<'_> {
    /// Waits for messages.
    pub async fn expect(&mut self, at: At<'_>, expect: &Expect) -> Done {
        self.ensure_open(at).await.or_else(|trouble| {
            // What came before the end still counts.
            if self.inbox.with(|packets| packets.is_empty()) { Err(trouble) } else { Ok(()) }
        })?;
        let since = Instant::now();
        let until = since + expect.within;
        let slots: Vec<_> = expect
            .messages
            .iter()
            .flat_map(|pattern| std::iter::repeat_n(pattern, pattern.times as usize))
            .collect();
        let taken = self
            .inbox
            .take(until, |packets| {
                let picked = at.looking(|lookup| {
                    let fits = |slot: usize, index: usize| match &packets[index] {
                        Packet::Publish(publish) => is_message(slots[slot], publish, lookup),
                        _ => false,
                    };
                    pick(slots.len(), packets.len(), expect.any_order, fits)
                })?;
                let taken: Vec<_> =
                    picked.into_iter().rev().filter_map(|index| packets.remove(index)).collect();
                // In any order, nobody knows which pattern took which of several.
                let known = !expect.any_order || slots.len() == 1;
                for (pattern, packet) in slots.iter().zip(taken.iter().rev()).filter(|_| known) {
                    if let Packet::Publish(publish) = packet {
                        capture_message(pattern, publish, &mut |name, value| at.capture(name, value));
                    }
                }
                Some(())
            })
            .await;
        match taken {
            Taken::Found(()) => Ok(()),
            Taken::Ended(ending) => Err(self.missed(at, expect, None, &ending.how, ending.malformed)),
            Taken::TimedOut => {
                let within = format!("not within {}", print_duration(expect.within));
                Err(self.missed(at, expect, Some(since), &within, false))
            }
        }
    }

    /// What was not received, and what was instead; `since` if nobody said that no more would come.
    fn missed(
        &self,
        at: At<'_>,
        expect: &Expect,
        since: Option<Instant>,
        why: &str,
        malformed: bool,
    ) -> Trouble {
        let wanted = wanted(at, expect, if expect.any_order { " and " } else { ", then " });
        let there = self.unasked();
        let actual = match there.as_slice() {
            _ if malformed => why.to_owned(),
            [] => format!("{why}: nothing came"),
            some => format!("{why}; what came: {}", list(some)),
        };
        let span = expect.messages.first().map_or(at.span, |pattern| &pattern.span);
        let at = if expect.messages.len() == 1 { at.at(span) } else { at };
        let expected = format!("{} receives {wanted}", self.spec.name);
        let trouble = match since.filter(|_| all_wanted(at, expect, &there)) {
            Some(since) => at.silent(since, expected, actual),
            None => at.failed(expected, actual),
        };
        let mut trouble = trouble.instead(self.lines(&there));
        if let (Some(why), false) = (trouble.explanation_mut(), malformed) {
            why.hint = self.acl_hint(at, expect);
        }
        trouble
    }

    /// What the ACL file says against the messages that did not come: the receiver may not read, or
    /// the only other client may not write.
    fn acl_hint(&self, at: At<'_>, expect: &Expect) -> Option<String> {
        let target = at.context.target.try_lock().ok()?;
        let acl = target.prepared.as_ref()?.acl.as_ref()?;
        let denial = |spec: &ClientSpec, topic: &str, access| {
            let client_id = self.client_id(at).unwrap_or_default();
            let who = Subject { username: spec.user.as_deref(), client_id: &client_id };
            let explained = acl.explain(who, topic, access);
            (!explained.decision.allowed).then_some(explained.text)
        };
        let others = at.context.case.clients.iter().filter(|other| other.name != self.spec.name);
        let others: Vec<_> = others.collect();
        expect.messages.iter().find_map(|pattern| {
            let Matcher::Equals(topic) = &pattern.topic else { return None };
            let topic = at.resolve(topic).ok()?;
            denial(self.spec, &topic, Access::Read).or_else(|| match others.as_slice() {
                [other] => denial(other, &topic, Access::Write),
                _ => None,
            })
        })
    }

    /// Messages as the event log has them.
    pub fn lines(&self, came: &[Publish]) -> Vec<String> {
        let shown = came.iter().take(SHOWN);
        shown.map(|publish| self.line(&Packet::Publish(publish.clone()))).collect()
    }

    /// A packet that came, as the event log has it.
    pub fn line(&self, packet: &Packet) -> String {
        let line = print(&Content::Packet(packet), &Bytes::new(), self.wire_version);
        format!("{} < {line}", self.spec.name)
    }

    /// The messages that lie in the inbox, in words.
    pub fn unasked(&self) -> Vec<Publish> {
        self.inbox.with(|packets| {
            packets
                .iter()
                .filter_map(|packet| match packet {
                    Packet::Publish(publish) => Some(publish.clone()),
                    _ => None,
                })
                .collect()
        })
    }
}

/// The messages that are waited for, in words.
pub fn wanted(at: At<'_>, expect: &Expect, between: &str) -> String {
    at.looking(|lookup| {
        let described = expect.messages.iter().map(|pattern| {
            let times = if pattern.times > 1 { format!("{} × ", pattern.times) } else { String::new() };
            times + &describe_message(pattern, lookup)
        });
        described.collect::<Vec<_>>().join(between)
    })
}

/// Whether each message that came is one of those that are waited for: then others only did not come.
pub fn all_wanted(at: At<'_>, expect: &Expect, came: &[Publish]) -> bool {
    let is_wanted = |publish: &Publish| {
        at.looking(|lookup| expect.messages.iter().any(|pattern| is_message(pattern, publish, lookup)))
    };
    came.iter().all(is_wanted)
}

/// Chooses for each of `slots` patterns a message of its own among `messages`, in the order of the
/// patterns or in any, and gives their indices in ascending order.
pub fn pick(
    slots: usize,
    messages: usize,
    any_order: bool,
    fits: impl Fn(usize, usize) -> bool,
) -> Option<Vec<usize>> {
    if slots > messages {
        return None;
    }
    if !any_order {
        let mut next = 0;
        return (0..slots)
            .map(|slot| {
                let found = (next..messages).find(|index| fits(slot, *index))?;
                next = found + 1;
                Some(found)
            })
            .collect();
    }
    // Patterns may overlap, so the first that fits may be another's only one: augmenting paths.
    let mut owner = vec![None; messages];
    for slot in 0..slots {
        let mut seen = vec![false; messages];
        if !assign(slot, &fits, &mut owner, &mut seen) {
            return None;
        }
    }
    Some((0..messages).filter(|index| owner[*index].is_some()).collect())
}

fn assign(
    slot: usize,
    fits: &impl Fn(usize, usize) -> bool,
    owner: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    let free = (0..owner.len()).find(|index| owner[*index].is_none() && !seen[*index] && fits(slot, *index));
    if let Some(index) = free {
        owner[index] = Some(slot);
        return true;
    }
    for index in 0..owner.len() {
        if seen[index] || !fits(slot, index) {
            continue;
        }
        seen[index] = true;
        if owner[index].is_none_or(|other| assign(other, fits, owner, seen)) {
            owner[index] = Some(slot);
            return true;
        }
    }
    false
}

/// A message in words.
fn describe_publish(publish: &Publish) -> String {
    const SHOWN: usize = 60;
    let mut payload: String = printable(&publish.payload).chars().take(SHOWN).collect();
    if publish.payload.len() > SHOWN {
        payload += "…";
    }
    let retain = if publish.retain { " retain" } else { "" };
    format!("{} \"{payload}\" qos={}{retain}", publish.topic, publish.qos)
}

/// The first few, and how many more.
pub fn list(all: &[Publish]) -> String {
    let mut text = all.iter().take(SHOWN).map(describe_publish).collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN {
        let _ = write!(text, " and {}", plural(all.len() - SHOWN, "more message"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_given_to_patterns() {
        // Pattern 0 takes anything, pattern 1 only message 0.
        let fits = |slot: usize, index: usize| slot == 0 || index == 0;
        assert_eq!(pick(2, 2, true, fits), Some(vec![0, 1]));
        assert_eq!(pick(2, 2, false, fits), None, "in order, message 0 is taken by pattern 0");
        assert_eq!(pick(2, 1, true, fits), None);
        assert_eq!(pick(1, 3, false, |_, index| index == 2), Some(vec![2]));
        assert_eq!(pick(0, 3, true, fits), Some(vec![]));
    }
}
