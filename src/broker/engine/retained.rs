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

use super::journal::{Journal, Record};
use super::limits::{MAX_RETAINED, MAX_RETAINED_BYTES};
use super::publication::{Publication, owned};
use super::session::SessionId;
use super::subscriptions::Grant;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Retained {
    messages: BTreeMap<ByteString, Arc<Publication>>,
    /// Of their payloads.
    bytes: u64,
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
    /// False if there are too many topics or bytes. `[MQTT-3.3.1-5]`, `[MQTT-3.3.1-7]` 5: `[MQTT-3.3.1-5]`
    pub fn set(&mut self, publication: &Arc<Publication>, journal: &mut Journal) -> bool {
        let topic = publication.topic.as_byte_string();
        // [MQTT-3.3.1-10], [MQTT-3.3.1-11] 5: [MQTT-3.3.1-6], [MQTT-3.3.1-7]
        if publication.payload.is_empty() {
            self.remove(topic, journal);
            return true;
        }
        let bytes = self.bytes + publication.payload.len() as u64;
        let by_client = publication.origin != SessionId::BROKER;
        if let Some(last) = self.messages.get_mut(topic) {
            let bytes = bytes - last.payload.len() as u64;
            if bytes > MAX_RETAINED_BYTES && by_client {
                return false;
            }
            self.bytes = bytes;
            let last = std::mem::replace(last, Arc::clone(publication));
            remember(publication, journal);
            forget(Some(last), journal);
            return true;
        }
        // What the broker says itself is few, and is not to depend on its clients.
        if (self.messages.len() >= MAX_RETAINED || bytes > MAX_RETAINED_BYTES) && by_client {
            return false;
        }
        self.bytes = bytes;
        // A copy: the publication's own shares its buffer with the payload, which will be replaced.
        self.messages.insert(owned(topic), Arc::clone(publication));
        remember(publication, journal);
        true
    }

    /// Puts back what was retained before the broker was restarted.
    pub fn restore(&mut self, publication: Arc<Publication>) {
        self.bytes += publication.payload.len() as u64;
        self.messages.insert(owned(publication.topic.as_byte_string()), publication);
    }

    /// Forgets the message of a topic if it has expired.
    pub fn expire(&mut self, topic: &str, now: Instant, journal: &mut Journal) {
        if self.messages.get(topic).is_some_and(|publication| publication.is_expired(now)) {
            self.remove(topic, journal);
        }
    }

    fn remove(&mut self, topic: &str, journal: &mut Journal) {
        let last = self.messages.remove(topic);
        self.bytes -= last.as_ref().map_or(0, |last| last.payload.len() as u64);
        forget(last, journal);
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

    /// Looks at the next topic in order and moves on behind it, or over all that cannot match.
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
        let is_match = step == Step::Match;
        replay.next = match step {
            Step::Jump(to) => Next::From(ByteString::from(to)),
            Step::Match | Step::Next => Next::After(topic.clone()),
            Step::End => Next::End,
        };
        is_match.then_some(publication)
    }
}

/// True for what the journal keeps: `$SYS` is made anew by each run, as in mosquitto.
fn is_kept(publication: &Publication) -> bool {
    !publication.topic.as_str().starts_with("$SYS/")
}

fn remember(publication: &Arc<Publication>, journal: &mut Journal) {
    if is_kept(publication) {
        journal.message(publication);
        journal.add(|| Record::Retained(publication.serial));
    }
}

fn forget(publication: Option<Arc<Publication>>, journal: &mut Journal) {
    if let Some(publication) = publication.filter(|it| is_kept(it)) {
        journal.add(|| Record::Unretained(publication.serial));
    }
}

/// How a topic stands to a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Match,
    /// No match; the next topic may.
    Next,
    /// No match; the next that may is this or behind it. Always behind the topic.
    Jump(String),
    /// No match, and none behind it.
    End,
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
        let start = if depth > 0 { end + 1 } else { 0 };
        end = start + level.len();
        if hidden {
            return if end < topic.len() { behind(&topic[..end]) } else { Step::Next };
        }
        if wanted != "+" && wanted != level {
            return seek(&topic[..start], wanted, topic);
        }
    }
    if end == topic.len() { Step::Match } else { behind(&topic[..end]) }
}

/// To `wanted` below `parent`, or to what is below that, or behind the parent: the first of them
/// that is behind `topic`.
fn seek(parent: &str, wanted: &str, topic: &str) -> Step {
    let target = format!("{parent}{wanted}");
    if target.as_str() > topic {
        return Step::Jump(target);
    }
    let below = format!("{target}/");
    if below.as_str() > topic {
        return Step::Jump(below);
    }
    parent.strip_suffix('/').map_or(Step::End, behind)
}

/// Behind all topics below this one. The byte after `/` is `0`.
fn behind(topic: &str) -> Step {
    Step::Jump(format!("{topic}0"))
}

/// What stands before the first wildcard; `None` without one.
fn literal_prefix(path: &str) -> Option<&str> {
    path.find(['+', '#']).map(|at| &path[..at])
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test has to begin at some instant")]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mqtt::packet::Publish;
    use crate::mqtt::{Properties, QoS, TopicName};

    fn publication(topic: &str, serial: u64) -> Arc<Publication> {
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: true,
            topic: TopicName::new(topic).expect("a topic"),
            id: None,
            payload: Bytes::from_static(b"x"),
            properties: Properties::new(),
        };
        Arc::new(Publication::new(publish, SessionId(0), serial, true, Instant::now()))
    }

    fn replay(retained: &Retained, filter: &str, scan: usize) -> Vec<String> {
        let filter = TopicFilter::new(filter).expect("a filter");
        let grant = Grant { qos: QoS::AtMostOnce, no_local: false, retain_as_published: false, id: None };
        let mut replay = Replay::new(filter, grant, 1, 1);
        let mut found = Vec::new();
        loop {
            match retained.next(&mut replay, &mut scan.clone(), Instant::now()) {
                Found::Message(publication) => found.push(publication.topic.to_string()),
                Found::Pause => {}
                Found::End => return found,
            }
        }
    }

    /// Every topic and filter of up to three levels out of these: the cursor finds what the matcher
    /// says, in order, however often it pauses.
    #[test]
    fn a_replay_finds_what_its_filter_matches() {
        let levels = ["", "a", "a-", "a0", "b", "$s"];
        let mut retained = Retained::default();
        let mut topics = Vec::new();
        for a in levels {
            topics.push(a.to_owned());
            for b in levels {
                topics.push(format!("{a}/{b}"));
                topics.extend(levels.map(|c| format!("{a}/{b}/{c}")));
            }
        }
        topics.retain(|topic| !topic.is_empty());
        for topic in &topics {
            assert!(retained.set(&publication(topic, 1), &mut Journal::default()));
        }
        topics.sort();
        let wild = ["", "a", "a-", "+", "#", "$s"];
        for a in wild {
            for b in wild {
                for filter in [a.to_owned(), format!("{a}/{b}"), format!("{a}/{b}/#"), format!("{a}/+/{b}")] {
                    let Ok(valid) = TopicFilter::new(filter.as_str()) else { continue };
                    let name = |topic: &str| TopicName::new(topic).expect("a topic");
                    let expected: Vec<String> =
                        topics.iter().filter(|topic| valid.matches(&name(topic))).cloned().collect();
                    assert_eq!(replay(&retained, &filter, 1), expected, "{filter}");
                    assert_eq!(replay(&retained, &filter, 1000), expected, "{filter}");
                }
            }
        }
    }

    #[test]
    fn a_replaced_message_is_gone() {
        let mut retained = Retained::default();
        let first = publication("t", 1);
        let payload = first.payload.clone();
        retained.set(&first, &mut Journal::default());
        drop(first);
        assert!(!payload.is_unique());
        retained.set(&publication("t", 2), &mut Journal::default());
        assert!(payload.is_unique(), "nothing holds the buffer of the first message");
    }

    #[test]
    fn what_came_after_the_subscription_is_left_out() {
        let mut retained = Retained::default();
        retained.set(&publication("t/1", 1), &mut Journal::default());
        retained.set(&publication("t/2", 2), &mut Journal::default());
        assert_eq!(replay(&retained, "t/#", 9), ["t/1"]);
    }

    #[test]
    fn levels_that_cannot_match_are_skipped() {
        let mut retained = Retained::default();
        for n in 0..1000 {
            retained.set(&publication(&format!("a/{n}"), 1), &mut Journal::default());
            retained.set(&publication(&format!("b/{n}"), 1), &mut Journal::default());
        }
        retained.set(&publication("c/x", 1), &mut Journal::default());
        let filter = TopicFilter::new("+/x").expect("a filter");
        let grant = Grant { qos: QoS::AtMostOnce, no_local: false, retain_as_published: false, id: None };
        let mut scan = 12;
        let mut replay = Replay::new(filter, grant, 1, 1);
        assert!(matches!(retained.next(&mut replay, &mut scan, Instant::now()), Found::Message(_)));
    }
}
