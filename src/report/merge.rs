//! Puts the logs of the parts of one run (`--shard i/n`) together to the log that the whole run would
//! have written. Reads no files and judges no case.

use std::collections::BTreeMap;

use super::json::Log;
use crate::record::{Event, EventKind, RunPlan, Shard};
use crate::text::{plural, print_duration};

/// A log and what it is called.
#[derive(Debug)]
pub struct Part {
    /// Its file.
    pub name: String,
    /// What was read of it.
    pub log: Log,
}

/// Why logs cannot be put together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Nothing was recorded.
    #[error("no run is recorded in {0}")]
    Nothing(String),
    /// One of several logs is not of a shard.
    #[error("{0} is not the log of one shard (mqttlab run --shard): only shards of one run are put together")]
    NoShard(String),
    /// Shards of different runs.
    #[error("{first} and {second} are not of one run: {what}")]
    Mixed {
        /// A file.
        first: String,
        /// Another.
        second: String,
        /// What differs.
        what: String,
    },
    /// The same shard twice.
    #[error("{first} and {second} both hold shard {shard}")]
    Twice {
        /// A file.
        first: String,
        /// Another.
        second: String,
        /// Which.
        shard: Shard,
    },
}

/// What the log of a shard begins with.
struct Head<'a> {
    mqttlab: &'a str,
    target: &'a str,
    seed: u64,
    cases: usize,
    virtual_time: bool,
    started: &'a str,
    plan: &'a RunPlan,
    shard: Shard,
}

/// The log of the whole run. One log of a whole run, or of several, stays as it is. Where a shard is
/// missing or was cut short, notes say so and the run is not complete.
pub fn merge(mut parts: Vec<Part>) -> Result<Vec<Event>, MergeError> {
    let names = parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(", ");
    let (empty, begun): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| part.log.events.is_empty());
    let Some(first) = begun.first() else { return Err(MergeError::Nothing(names)) };
    if parts.len() == 1 && shard_of(first).is_none() {
        return Ok(parts.remove(0).log.events);
    }
    let mut shards: BTreeMap<usize, (&Part, Head<'_>)> = BTreeMap::new();
    for part in &begun {
        let head = shard_of(part).ok_or_else(|| MergeError::NoShard(part.name.clone()))?;
        if let Some((other, known)) = shards.values().next()
            && let Some(what) = difference(known, &head)
        {
            return Err(MergeError::Mixed { first: other.name.clone(), second: part.name.clone(), what });
        }
        let shard = head.shard;
        if let Some((other, _)) = shards.insert(shard.index, (part, head)) {
            return Err(MergeError::Twice { first: other.name.clone(), second: part.name.clone(), shard });
        }
    }
    let empty: Vec<&str> = empty.iter().map(|part| part.name.as_str()).collect();
    Ok(whole(&shards, &empty))
}

/// The head of a log of exactly one run, which was a shard.
fn shard_of(part: &Part) -> Option<Head<'_>> {
    let mut heads = part.log.events.iter().filter_map(|event| match &event.kind {
        EventKind::RunStarted { mqttlab, target, seed, cases, virtual_time, started, plan } => {
            Some((mqttlab, target, *seed, *cases, *virtual_time, started, plan.as_ref()))
        }
        _ => None,
    });
    let (mqttlab, target, seed, cases, virtual_time, started, plan) = heads.next()?;
    let plan = plan?;
    let shard = plan.shard.filter(|shard| (1..=shard.of).contains(&shard.index))?;
    let alone = heads.next().is_none();
    alone.then_some(Head { mqttlab, target, seed, cases, virtual_time, started, plan, shard })
}

/// What two shards that are not of one run differ in.
fn difference(a: &Head<'_>, b: &Head<'_>) -> Option<String> {
    let differ = |what: &str, a: &dyn std::fmt::Display, b: &dyn std::fmt::Display| {
        Some(format!("{what} {a} there and {b} here"))
    };
    if a.mqttlab != b.mqttlab {
        return differ("mqttlab", &a.mqttlab, &b.mqttlab);
    }
    if a.target != b.target {
        return differ("the broker is", &a.target, &b.target);
    }
    if a.shard.of != b.shard.of {
        return differ("shards of", &a.shard.of, &b.shard.of);
    }
    let same = a.plan.hash == b.plan.hash && a.plan.cases == b.plan.cases && a.virtual_time == b.virtual_time;
    (!same).then(|| "the selected cases, their files or the options of the run differ".to_owned())
}

fn whole(shards: &BTreeMap<usize, (&Part, Head<'_>)>, empty: &[&str]) -> Vec<Event> {
    let Some((_, head)) = shards.values().next() else { return Vec::new() };
    let of = head.shard.of;
    let started = EventKind::RunStarted {
        mqttlab: head.mqttlab.to_owned(),
        target: head.target.to_owned(),
        seed: head.seed,
        cases: head.plan.cases,
        virtual_time: head.virtual_time,
        // All of them say it in UTC, in one form.
        started: shards.values().map(|(_, head)| head.started).min().unwrap_or_default().to_owned(),
        plan: Some(RunPlan { shard: None, ..head.plan.clone() }),
    };
    let mut events = vec![Event { at: 0.0, kind: started }];
    let mut note = |text: String| events.push(Event { at: 0.0, kind: EventKind::Note { text } });
    let mut longest: f64 = 0.0;
    let mut all_ended = true;
    for (part, head) in shards.values() {
        let (seconds, complete) = end(&part.log);
        longest = longest.max(seconds);
        all_ended &= complete;
        let time = print_duration(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default());
        let cut = if complete { "" } else { ", cut short" };
        note(format!(
            "shard {}: {} in {time}, seed {}{cut}",
            head.shard,
            plural(head.cases, "case"),
            head.seed
        ));
    }
    for index in (1..=of).filter(|index| !shards.contains_key(index)) {
        all_ended = false;
        note(format!("shard {} is missing", Shard { index, of }));
    }
    for name in empty {
        note(format!("{name} is empty"));
    }
    for (part, _) in shards.values() {
        let between = part.log.events.iter().filter(|event| {
            !matches!(event.kind, EventKind::RunStarted { .. } | EventKind::RunFinished { .. })
        });
        events.extend(between.cloned());
    }
    events
        .push(Event { at: longest, kind: EventKind::RunFinished { seconds: longest, complete: all_ended } });
    events
}

/// How long a run took, and whether it came to its end.
fn end(log: &Log) -> (f64, bool) {
    let finished = log.events.iter().rev().find_map(|event| match event.kind {
        EventKind::RunFinished { seconds, complete } => Some((seconds, complete && !log.cut)),
        _ => None,
    });
    let last = log.events.iter().map(|event| event.at).fold(0.0, f64::max);
    finished.unwrap_or((last, false))
}
