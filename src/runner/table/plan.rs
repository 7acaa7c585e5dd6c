//! What a table asks of which connection, in batches that cannot disturb each other.
//!
//! Pure. A batch is bounded, so that neither the broker nor we have to hold a whole table.

use std::collections::{BTreeMap, BTreeSet};

use crate::mqtt::packet::Publish;
use crate::mqtt::{Packet, ReasonCode, TopicFilter, TopicName};
use crate::scenario::table::{Action, Expected, Row, RowCheck, Table};

/// Rows of one batch. Their messages must fit into the buffers of a connection.
const BATCH: usize = 400;

/// Who a row is about: account and client identifier.
pub type Who = (Option<String>, Option<String>);

/// One check of one row, and what became of it.
#[derive(Debug, Clone)]
pub struct Probe<'t> {
    /// The row.
    pub row: &'t Row,
    /// The question.
    pub check: &'t RowCheck,
    /// Index of the connection that asks it.
    pub party: usize,
    /// Where messages are published: the topic, or generated ones that the filter matches.
    pub topics: Vec<TopicName>,
    /// What was sent, for the report.
    pub request: Option<Packet>,
    /// What the broker said to it.
    pub answer: Answer,
    /// Messages of this probe that arrived: at the witness (publish), at the user (subscribe).
    pub received: Vec<Publish>,
    /// What the witness saw of the control's messages of a subscribe probe.
    pub witnessed: Vec<Publish>,
    /// Which of `topics` the witness saw the control's message on.
    pub controls: Vec<bool>,
}

/// What a broker said to a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    Open,
    /// QoS 0, and the round trip after it.
    Done,
    /// The acknowledgement.
    Acknowledged(Packet),
    /// The user was not let in: the code, or none.
    Refused(Option<ReasonCode>),
    /// The connection was closed.
    Closed,
    /// The connection was closed while others of its probes were under way: whose fault that was
    /// is not known.
    Interrupted,
    /// It cannot be told, and why.
    Unknown(String),
}

impl Probe<'_> {
    /// True for a row that publishes.
    pub fn publishes(&self) -> bool {
        self.check.action == Action::Publish
    }

    /// The payload that tells this probe's messages from all others.
    pub fn payload(&self, topic: usize, nonce: &str) -> String {
        let number = self.row.number;
        if self.publishes() { format!("p{number}-{nonce}") } else { format!("s{number}.{topic}-{nonce}") }
    }

    /// Asks again: only what arrived so far is kept.
    pub fn reset(&mut self) {
        self.request = None;
        self.answer = Answer::Open;
        self.witnessed.clear();
        self.controls.fill(false);
    }
}

/// The connections of a table and its probes.
#[derive(Debug)]
pub struct Plan<'t> {
    /// One connection each.
    pub parties: Vec<Who>,
    /// In the order of the rows.
    pub batches: Vec<Vec<Probe<'t>>>,
}

impl<'t> Plan<'t> {
    /// Plans `rows` of a table. The error names a row whose topic cannot be used.
    pub fn new(rows: impl Iterator<Item = &'t Row>, table: &'t Table) -> Result<Self, (&'t Row, String)> {
        let allowed = allowed(table);
        let mut parties = Vec::new();
        let mut index: BTreeMap<Who, usize> = BTreeMap::new();
        let mut batches: Vec<Vec<Probe<'t>>> = vec![Vec::new()];
        let mut filters: BTreeMap<usize, Vec<TopicFilter>> = BTreeMap::new();
        for row in rows {
            let who = (row.user.clone(), row.client_id.clone());
            let party = *index.entry(who.clone()).or_insert_with(|| {
                parties.push(who);
                parties.len() - 1
            });
            let probes = row
                .checks
                .iter()
                .map(|check| probe(row, check, party, &allowed).map_err(|why| (row, why)))
                .collect::<Result<Vec<_>, _>>()?;
            let filter = TopicFilter::new(row.topic.as_str()).ok();
            let mine = filters.entry(party).or_default();
            let clash = probes.iter().any(|probe| !probe.publishes())
                && filter.as_ref().is_some_and(|filter| {
                    filter.shared().is_some() || mine.iter().any(|other| overlap(filter.path(), other.path()))
                });
            let last = batches.last().map_or(0, Vec::len);
            if last > 0 && (clash || last + probes.len() > BATCH) {
                batches.push(Vec::new());
                filters.clear();
            }
            if probes.iter().any(|probe| !probe.publishes()) {
                filters.entry(party).or_default().extend(filter);
            }
            if let Some(batch) = batches.last_mut() {
                batch.extend(probes);
            }
        }
        Ok(Self { parties, batches })
    }
}

/// Topics that a user should receive by other rows.
type Allowed<'t> = BTreeMap<Option<&'t str>, Vec<TopicName>>;

fn allowed(table: &Table) -> Allowed<'_> {
    let mut allowed = Allowed::new();
    let check = RowCheck { action: Action::Subscribe, expected: Expected::Allow };
    for row in table.rows.iter().filter(|row| row.checks.contains(&check)) {
        // A filter is no topic name.
        if let Ok(topic) = TopicName::new(row.topic.as_str()) {
            allowed.entry(row.user.as_deref()).or_default().push(topic);
        }
    }
    allowed
}

/// Topics that a denied filter is probed with beside its own.
const MORE_TOPICS: usize = 8;

fn probe<'t>(
    row: &'t Row,
    check: &'t RowCheck,
    party: usize,
    allowed: &Allowed<'_>,
) -> Result<Probe<'t>, String> {
    let topics = match check.action {
        Action::Publish => vec![TopicName::new(row.topic.as_str()).map_err(|error| error.to_string())?],
        Action::Subscribe => {
            let filter = TopicFilter::new(row.topic.as_str()).map_err(|error| error.to_string())?;
            let mut topics = concrete(&filter);
            // Who must receive nothing through `#` must not receive through it what is his either.
            if check.expected != Expected::Allow && row.topic.contains(['+', '#']) {
                let his = allowed.get(&row.user.as_deref()).into_iter().flatten();
                let more = his.filter(|topic| filter.matches(topic) && !topics.contains(topic));
                let more: BTreeSet<_> = more.take(MORE_TOPICS).cloned().collect();
                topics.extend(more);
            }
            topics
        }
    };
    Ok(Probe {
        row,
        check,
        party,
        controls: vec![false; topics.len()],
        topics,
        request: None,
        answer: Answer::Open,
        received: Vec::new(),
        witnessed: Vec::new(),
    })
}

/// Topics that the filter matches, its corners among them: the parent of `#` (4.7.1.2), more than
/// one level under it, and an empty level for `+` (4.7.1.3).
pub fn concrete(filter: &TopicFilter) -> Vec<TopicName> {
    const WORD: &str = "any";
    let path = filter.path();
    let filled = |one: &str, rest: &str| {
        path.split('/')
            .map(|level| match level {
                "+" => one,
                "#" => rest,
                level => level,
            })
            .collect::<Vec<_>>()
            .join("/")
    };
    let mut texts = vec![filled(WORD, WORD)];
    if path.ends_with('#') {
        texts.push(filled(WORD, &format!("{WORD}/{WORD}")));
        texts.extend(filled(WORD, WORD).strip_suffix(&format!("/{WORD}")).map(str::to_owned));
    }
    if path.split('/').any(|level| level == "+") {
        texts.push(filled("", WORD));
    }
    let mut topics: Vec<TopicName> = Vec::new();
    for topic in texts.into_iter().filter_map(|text| TopicName::new(text).ok()) {
        if filter.matches(&topic) && !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    topics
}

/// Whether there is a topic that both filters match.
fn overlap(a: &str, b: &str) -> bool {
    let mut left = a.split('/');
    let mut right = b.split('/');
    loop {
        match (left.next(), right.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some(x), Some(y)) if x == y || x == "+" || y == "+" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(filter: &str) -> Vec<String> {
        let filter = TopicFilter::new(filter).expect("a filter");
        concrete(&filter).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn filters_are_probed_at_their_corners() {
        assert_eq!(topics("a/b"), ["a/b"]);
        assert_eq!(topics("a/#"), ["a/any", "a/any/any", "a"]);
        assert_eq!(topics("#"), ["any", "any/any"]);
        assert_eq!(topics("a/+/b"), ["a/any/b", "a//b"]);
        assert_eq!(topics("+"), ["any"], "an empty topic is none");
        assert_eq!(topics("$share/g/a/+"), ["a/any", "a/"]);
        assert_eq!(topics("+/#"), ["any/any", "any/any/any", "any", "/any"]);
    }

    #[test]
    fn overlapping_filters_are_found() {
        assert!(overlap("a/b", "a/b") && overlap("a/+", "a/b") && overlap("a/#", "a") && overlap("#", "x/y"));
        assert!(overlap("+/b", "a/+") && overlap("a/+/c", "a/b/#"));
        assert!(!overlap("a/b", "a/c") && !overlap("a", "a/b") && !overlap("a/+", "a/b/c"));
    }
}
