//! Retained messages (3.3.1.3), one a topic, and the replays of them to new subscriptions.
//!
//! A replay is a cursor over the sorted topics, not a list: it holds nothing but where it is, and
//! goes on as its client reads. What is published after the subscription reaches the client as it
//! happens, so a replay leaves it out.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;

use crate::mqtt::TopicFilter;

use super::limits::MAX_RETAINED;
use super::publication::Publication;
use super::subscriptions::Grant;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Retained {
    messages: BTreeMap<ByteString, Arc<Publication>>,
}

/// Retained messages on their way to a new subscription.
#[derive(Debug, Clone)]
pub(super) struct Replay {
    pub filter: TopicFilter,
    pub grant: Grant,
    /// Tells this replay from others of the same filter.
    pub ticket: u64,
    /// Publications with a higher serial came after the subscription.
    before: u64,
    next: Next,
}

/// Where a replay goes on.
#[derive(Debug, Clone)]
enum Next {
    /// At the topic of the filter itself: the only one, or the parent that `/#` matches too.
    Exact,
    /// At this topic or the first one after it.
    From(ByteString),
    /// After this topic.
    After(ByteString),
    End,
}

/// What a replay found.
#[derive(Debug)]
pub(super) enum Found {
    Message(Arc<Publication>),
    /// Nothing yet, it has looked at many topics.
    Pause,
    End,
}

impl Replay {
    /// All that is retained for `filter` now, when `serial` publications were made.
    pub fn new(filter: TopicFilter, grant: Grant, ticket: u64, serial: u64) -> Self {
        let path = filter.path();
        let next = match literal_prefix(path) {
            Some(prefix) if path != format!("{prefix}#") || prefix.is_empty() => {
                Next::From(ByteString::from(prefix))
            }
            _ => Next::Exact,
        };
        Self { filter, grant, ticket, before: serial, next }
    }
}

impl Retained {
    /// Stores a message in place of the topic's last one, or with an empty payload forgets that.
    /// False if there are too many topics. `[MQTT-3.3.1-5]`
    pub fn set(&mut self, publication: &Arc<Publication>) -> bool {
        let topic = publication.topic.as_byte_string();
        // [MQTT-3.3.1-10], [MQTT-3.3.1-11] 5: [MQTT-3.3.1-6], [MQTT-3.3.1-7]
        if publication.payload.is_empty() {
            self.messages.remove(topic);
            return true;
        }
        if self.messages.len() >= MAX_RETAINED && !self.messages.contains_key(topic) {
            return false;
        }
        self.messages.insert(topic.clone(), Arc::clone(publication));
        true
    }

    /// Forgets the message of a topic if it has expired.
    pub fn expire(&mut self, topic: &str, now: Instant) {
        if self.messages.get(topic).is_some_and(|publication| publication.is_expired(now)) {
            self.messages.remove(topic);
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// The next message of a replay; looks at as many topics as `scan` has left.
    pub fn next(&self, replay: &mut Replay, scan: &mut usize, now: Instant) -> Found {
        loop {
            if *scan == 0 {
                return Found::Pause;
            }
            *scan -= 1;
            let found = match &replay.next {
                Next::End => return Found::End,
                Next::Exact => {
                    let path = replay.filter.path();
                    let (topic, next) = match path.strip_suffix("/#") {
                        Some(parent) => (parent, Next::From(ByteString::from(format!("{parent}/")))),
                        None => (path, Next::End),
                    };
                    let found = self.messages.get(topic);
                    replay.next = next;
                    found
                }
                Next::From(_) | Next::After(_) => self.step(replay),
            };
            if let Some(publication) = found
                && publication.serial <= replay.before
                && !publication.is_expired(now)
            {
                return Found::Message(Arc::clone(publication));
            }
        }
    }

    /// Looks at the next topic in order and moves on behind it, or behind all topics that share the
    /// level that does not match.
    fn step(&self, replay: &mut Replay) -> Option<&Arc<Publication>> {
        let bound = match &replay.next {
            Next::From(topic) => Bound::Included(topic.clone()),
            Next::After(topic) => Bound::Excluded(topic.clone()),
            Next::Exact | Next::End => return None,
        };
        let path = replay.filter.path();
        let prefix = literal_prefix(path).unwrap_or(path);
        let found = self.messages.range((bound, Bound::Unbounded)).next();
        let Some((topic, publication)) = found.filter(|(topic, _)| topic.starts_with(prefix)) else {
            replay.next = Next::End;
            return None;
        };
        let step = compare(path, topic);
        replay.next = match step {
            Step::Skip(len) => Next::From(ByteString::from(format!("{}0", &topic[..len]))),
            Step::Match | Step::Next => Next::After(topic.clone()),
        };
        (step == Step::Match).then_some(publication)
    }
}

/// How a topic stands to a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Match,
    /// No match; the next topic may.
    Next,
    /// No topic matches that begins with so many bytes and a separator. The byte after `/` is `0`.
    Skip(usize),
}

fn compare(filter: &str, topic: &str) -> Step {
    // [MQTT-4.7.2-1]
    let hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
    let mut levels = topic.split('/');
    let mut end = 0;
    for (depth, wanted) in filter.split('/').enumerate() {
        if wanted == "#" && !hidden {
            return Step::Match;
        }
        let Some(level) = levels.next() else { return Step::Next };
        end += level.len() + usize::from(depth > 0);
        if hidden || (wanted != "+" && wanted != level) {
            return if end < topic.len() { Step::Skip(end) } else { Step::Next };
        }
    }
    if end == topic.len() { Step::Match } else { Step::Skip(end) }
}

/// What stands before the first wildcard; `None` without one.
fn literal_prefix(path: &str) -> Option<&str> {
    path.find(['+', '#']).map(|at| &path[..at])
}
