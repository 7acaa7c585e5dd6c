//! Failures by cause: cases that break the same statement, else cases of which the same is said. Says
//! nothing about which cause is right; a person looks at a few groups instead of at all cases.

use std::collections::{BTreeMap, BTreeSet};

use super::book::Book;
use crate::record::{CaseInfo, Outcome, Verdict};

/// Cases that fail for what looks like one reason.
#[derive(Debug)]
pub struct Cause {
    /// The statement that all of them break, with the protocol that it is of.
    pub statement: Option<(String, String)>,
    /// What happened, of the first.
    pub sentence: String,
    /// How they ended.
    pub verdict: Verdict,
    /// Case and run.
    pub items: Vec<(usize, usize)>,
}

struct Item<'a> {
    case: usize,
    run: usize,
    outcome: &'a Outcome,
}

/// What is wrong, the failed before the errored, the largest group first.
pub fn causes(book: &Book) -> Vec<Cause> {
    let mut all = Vec::new();
    for verdict in [Verdict::Failed, Verdict::Errored] {
        let items: Vec<_> =
            book.ended_so(verdict).map(|(case, run, outcome)| Item { case, run, outcome }).collect();
        let mut found = grouped(items, verdict);
        found.sort_by_key(|cause| std::cmp::Reverse(cause.items.len()));
        all.append(&mut found);
    }
    all
}

fn grouped(items: Vec<Item<'_>>, verdict: Verdict) -> Vec<Cause> {
    let mut found = Vec::new();
    let mut left = items;
    // That something could not be told breaks no statement.
    while let Some(key) = most_broken(&left).filter(|_| verdict == Verdict::Failed) {
        let (these, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|item| statements(&item.outcome.case).any(|one| one == key));
        found.push(cause(these, verdict, Some(key)));
        left = others;
    }
    let mut by_sentence: BTreeMap<String, Vec<Item<'_>>> = BTreeMap::new();
    let mut order = Vec::new();
    for item in left {
        let key = shape(actual(item.outcome));
        if !by_sentence.contains_key(&key) {
            order.push(key.clone());
        }
        by_sentence.entry(key).or_default().push(item);
    }
    found.extend(order.into_iter().filter_map(|key| Some(cause(by_sentence.remove(&key)?, verdict, None))));
    found
}

/// The statement that most scenarios break, if two do: variants of one scenario are one.
fn most_broken(items: &[Item<'_>]) -> Option<(String, String)> {
    let mut broken: BTreeMap<(String, String), BTreeSet<(&str, &str)>> = BTreeMap::new();
    for item in items {
        let id = &item.outcome.case.id;
        for key in statements(&item.outcome.case) {
            broken.entry(key).or_default().insert((&id.file, &id.scenario));
        }
    }
    broken.into_iter().filter(|(_, by)| by.len() > 1).max_by_key(|(_, by)| by.len()).map(|(key, _)| key)
}

/// Ids of a case with their protocol: the same id means another rule in the other version.
fn statements(case: &CaseInfo) -> impl Iterator<Item = (String, String)> {
    case.spec.iter().map(|id| (case.protocol.clone(), id.clone()))
}

fn cause(items: Vec<Item<'_>>, verdict: Verdict, statement: Option<(String, String)>) -> Cause {
    let sentence = items.first().map(|item| actual(item.outcome).to_owned()).unwrap_or_default();
    let items = items.into_iter().map(|item| (item.case, item.run)).collect();
    Cause { statement, sentence, verdict, items }
}

fn actual(outcome: &Outcome) -> &str {
    outcome.why.as_ref().map(|why| why.actual.as_str()).unwrap_or_default()
}

/// A sentence without what changes from case to case: numbers, and names that are made for one case.
fn shape(sentence: &str) -> String {
    let mut out = String::new();
    for word in sentence.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let (name, end) = match word.char_indices().next_back() {
            Some((at, c)) if !c.is_ascii_alphanumeric() => word.split_at(at),
            _ => (word, ""),
        };
        let made = name.len() >= 8 && name.chars().all(|c| c.is_ascii_hexdigit());
        // 0x87 is no number that changes.
        let number = name.starts_with(|c: char| c.is_ascii_digit()) && !name.starts_with("0x");
        out.push_str(if made || number { "#" } else { name });
        out.push_str(end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_the_same_whatever_their_numbers() {
        assert_eq!(shape("admin received it 0.6 ms later"), shape("admin received it 12.1 ms later"));
        assert_eq!(shape("came: \"p2-480a845d\""), shape("came: \"p2-1ffe4062\""));
        assert_ne!(shape("PUBACK 0x87"), shape("PUBACK 0x80"));
        assert_ne!(shape("bob received it"), shape("eve received it"));
    }
}
