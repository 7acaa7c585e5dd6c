//! Which statements of the catalogue are covered, by which scenarios and checks, and how they last came
//! out. Reads nothing: scenarios are told to it, results come as events.
//!
//! Of a statement that binds the broker, a scenario of brokers or a check of them is a cover; of one that
//! binds the client, a scenario that plays the broker's part or a check of clients. A scenario of a bridge,
//! where a broker is the client, is both. What cannot be told from outside is never counted as missing.

use std::collections::{BTreeMap, BTreeSet};

use super::statements::{self, Standard, Statement};
use super::{CHECKS, Party};
use crate::record::{CaseId, Event, EventKind, Outcome, Verdict};

/// How far a statement can be told from outside, as the catalogue has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Testable {
    /// Wholly.
    Yes,
    /// In part; the catalogue says what stays unseen.
    Partly,
    /// Not at all.
    No,
}

impl Testable {
    /// As the catalogue writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::No => "no",
        }
    }

    /// Reads `partly: what stays unseen`; the words behind the colon may be missing.
    pub fn read(text: &str) -> (Self, &str) {
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        let testable = match word.trim() {
            "yes" => Self::Yes,
            "partly" => Self::Partly,
            _ => Self::No,
        };
        (testable, rest.trim())
    }
}

/// One statement and what covers it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Of which standard.
    pub standard: Standard,
    /// The statement.
    pub statement: &'static Statement,
    /// Whether a run against a broker can tell it.
    pub by_broker: Testable,
    /// What such a run does not see, in the catalogue's words; may be empty.
    pub unseen: &'static str,
    /// Whether watching a client can tell it.
    pub by_client: Testable,
    /// Scenarios of brokers whose `spec` names it: their ids by file.
    pub scenarios: BTreeMap<String, BTreeSet<String>>,
    /// Scenarios that play the broker's part and name it.
    pub client_scenarios: BTreeMap<String, BTreeSet<String>>,
    /// Checks that watch brokers for it.
    pub broker_checks: Vec<&'static str>,
    /// Checks that watch clients for it.
    pub client_checks: Vec<&'static str>,
    /// How the cases that name it last came out.
    results: BTreeMap<CaseId, Verdict>,
}

impl Row {
    /// True if the broker's side of it is covered.
    pub fn is_covered(&self) -> bool {
        !self.scenarios.is_empty() || !self.broker_checks.is_empty()
    }

    /// True if the client's side of it is covered.
    pub fn is_client_covered(&self) -> bool {
        !self.client_scenarios.is_empty() || !self.client_checks.is_empty()
    }

    /// True if something could cover it and nothing does.
    pub fn is_missing(&self) -> bool {
        self.by_broker != Testable::No && !self.is_covered()
    }

    /// Last results, by verdict.
    pub fn results(&self) -> BTreeMap<Verdict, usize> {
        let mut counts = BTreeMap::new();
        for verdict in self.results.values() {
            *counts.entry(*verdict).or_default() += 1;
        }
        counts
    }

    fn is_numbered(&self) -> bool {
        self.statement.id.starts_with("MQTT-")
    }

    fn binds(&self, who: &str) -> bool {
        [who, "both"].contains(&self.statement.role.as_str())
    }
}

/// A scenario that names a statement.
#[derive(Debug, Clone, Copy)]
pub struct Cited<'c> {
    /// Its file.
    pub file: &'c str,
    /// Its id.
    pub scenario: &'c str,
    /// Whom it tests: the broker, a client, or a broker that is a client itself.
    pub about: &'c [Party],
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Share {
    /// Those that are covered.
    pub covered: usize,
    /// All.
    pub all: usize,
}

/// The coverage of one standard in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Rows that a run against a broker can tell.
    pub yes: Share,
    /// Rows that it can tell in part.
    pub partly: Share,
    /// Rows that it cannot tell; some are named all the same.
    pub no: Share,
    /// Numbered statements that bind the server: those of them that can be told, and are.
    pub server: Share,
    /// All numbered statements that bind the server.
    pub server_statements: usize,
    /// Numbered statements that bind the client and can be told by watching one.
    pub client: Share,
    /// All numbered statements that bind the client.
    pub client_statements: usize,
}

/// What a check made of the runs in a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Connections on which it looked at what its party sent.
    pub connections: u64,
    /// Cases that last broke its rule.
    pub broken: BTreeSet<CaseId>,
}

/// The whole catalogue, or one standard of it.
#[derive(Debug, Clone)]
pub struct Coverage {
    rows: Vec<Row>,
    watched: BTreeMap<(Standard, String), Watched>,
}

impl Coverage {
    /// Of these standards, with the checks that there are and no scenario yet.
    pub fn new(standards: &[Standard]) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        for &standard in standards {
            rows.extend(statements::all(standard.version()).map(|statement| row(standard, statement)));
        }
        rows.sort_by_cached_key(|row| (row.standard, !row.is_numbered(), numbers(&row.statement.id)));
        Self { rows, watched: BTreeMap::new() }
    }

    /// All statements: by standard, numbered ones first, in the order of the chapters.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// A scenario about these parties names a statement. False if there is none of that name.
    pub fn cite(&mut self, standard: Standard, id: &str, scenario: Cited<'_>) -> bool {
        let Some(meant) = statements::lookup(standard.version(), id) else { return false };
        let Cited { file, scenario, about } = scenario;
        for row in self.rows.iter_mut().filter(|row| is(row, standard, &meant.id)) {
            let both = about.len() > 1;
            for party in about {
                // Of a bridge, what a statement says of the side that it does not bind tells nothing.
                let (told, scenarios) = match party {
                    Party::Broker => (row.by_broker != Testable::No, &mut row.scenarios),
                    Party::Client => (row.by_client != Testable::No, &mut row.client_scenarios),
                };
                if told || !both {
                    scenarios.entry(file.to_owned()).or_default().insert(scenario.to_owned());
                }
            }
        }
        true
    }

    /// Takes the next event of a log: later results of a case replace earlier ones.
    pub fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::CaseFinished { outcome } => {
                let case = CaseId { row: None, ..outcome.case.id.clone() };
                for watched in self.watched.values_mut() {
                    watched.broken.remove(&case);
                }
                self.result(outcome);
            }
            // It comes at the end of a run, behind the cases that it names.
            EventKind::Checked { check, protocol, connections, broken, .. } => {
                let watched = self.watched.entry((standard_of(protocol), check.clone())).or_default();
                watched.connections += connections;
                watched.broken.extend(broken.iter().cloned());
            }
            _ => {}
        }
    }

    /// What the checks that watch for a statement made of the logs.
    pub fn watched(&self, row: &Row) -> impl Iterator<Item = (&'static str, &Watched)> {
        let checks = row.broker_checks.iter().chain(&row.client_checks);
        checks.filter_map(|name| Some((*name, self.watched.get(&(row.standard, (*name).to_owned()))?)))
    }

    fn result(&mut self, outcome: &Outcome) {
        let case = &outcome.case;
        let standard = standard_of(&case.protocol);
        for id in &case.spec {
            let Some(meant) = statements::lookup(standard.version(), id) else { continue };
            for row in self.rows.iter_mut().filter(|row| is(row, standard, &meant.id)) {
                row.results.insert(case.id.clone(), outcome.verdict);
            }
        }
    }

    /// The numbers of one standard.
    pub fn totals(&self, standard: Standard) -> Totals {
        let mut totals = Totals::default();
        for row in self.rows.iter().filter(|row| row.standard == standard) {
            let covered = row.is_covered();
            match row.by_broker {
                Testable::Yes => totals.yes.count(covered),
                Testable::Partly => totals.partly.count(covered),
                Testable::No => totals.no.count(covered),
            }
            if !row.is_numbered() {
                continue;
            }
            if row.binds("server") {
                totals.server_statements += 1;
                if row.by_broker == Testable::Yes {
                    totals.server.count(covered);
                }
            }
            if row.binds("client") {
                totals.client_statements += 1;
                if row.by_client == Testable::Yes {
                    totals.client.count(row.is_client_covered());
                }
            }
        }
        totals
    }
}

impl Share {
    fn count(&mut self, covered: bool) {
        self.all += 1;
        self.covered += usize::from(covered);
    }

    /// Rounded down: what is not all is never 100.
    pub fn percent(self) -> usize {
        (self.covered * 100).checked_div(self.all).unwrap_or(100)
    }
}

fn row(standard: Standard, statement: &'static Statement) -> Row {
    let (by_broker, unseen) = Testable::read(&statement.broker_testable);
    let checks = |party: Party| -> Vec<&'static str> {
        let watching = CHECKS.iter().filter(|check| check.binds == party);
        watching.filter(|check| check.cited(standard).any(|id| id == statement.id)).map(|c| c.name).collect()
    };
    Row {
        standard,
        statement,
        by_broker,
        unseen,
        by_client: Testable::read(&statement.client_testable).0,
        scenarios: BTreeMap::new(),
        client_scenarios: BTreeMap::new(),
        broker_checks: checks(Party::Broker),
        client_checks: checks(Party::Client),
        results: BTreeMap::new(),
    }
}

/// The one that a log means; MQTT 3.1 shares the ids of 3.1.1.
fn standard_of(protocol: &str) -> Standard {
    if protocol == Standard::V5.to_string() { Standard::V5 } else { Standard::V311 }
}

fn is(row: &Row, standard: Standard, id: &str) -> bool {
    row.standard == standard && row.statement.id == id
}

/// The numbers in an id, so that 3.10 comes after 3.9.
fn numbers(id: &str) -> Vec<u32> {
    // The first is that of the standard in `U5-…`.
    let digits = id.trim_start_matches(|c: char| c != '-');
    digits.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What can be told from outside at all, as the catalogue was counted.
    #[test]
    fn the_ceiling_is_that_of_the_catalogue() {
        let coverage = Coverage::new(&Standard::ALL);
        let old = coverage.totals(Standard::V311);
        assert_eq!((old.server.all, old.server_statements), (99, 109));
        assert_eq!((old.client.all, old.client_statements), (62, 72));
        let new = coverage.totals(Standard::V5);
        assert_eq!((new.server.all, new.server_statements), (181, 206));
        assert_eq!((new.client.all, new.client_statements), (104, 133));
    }

    #[test]
    fn chapters_are_in_their_order() {
        let coverage = Coverage::new(&[Standard::V5]);
        let ids: Vec<&str> = coverage.rows().iter().map(|row| row.statement.id.as_str()).collect();
        let at = |id: &str| ids.iter().position(|known| *known == id).expect(id);
        assert!(at("MQTT-3.2.0-1") < at("MQTT-3.10.1-1"));
        assert!(at("MQTT-4.13.1-1") < at("U5-1.5.4-1"));
    }

    #[test]
    fn scenarios_and_results_count_for_their_standard_alone() {
        let mut coverage = Coverage::new(&Standard::ALL);
        let a = Cited { file: "a.yaml", scenario: "x", about: &[Party::Broker] };
        assert!(coverage.cite(Standard::V311, "MQTT-3.1.2.7", a), "a misprint is understood");
        assert!(!coverage.cite(Standard::V5, "MQTT-none", a), "does not exist");
        let row = |standard: Standard| {
            let mut rows = coverage.rows().iter().filter(|row| row.standard == standard);
            rows.find(|row| row.statement.id == "MQTT-3.1.2-7").expect("both have it")
        };
        assert!(row(Standard::V311).scenarios.contains_key("a.yaml"));
        assert!(row(Standard::V5).scenarios.is_empty());
    }

    #[test]
    fn a_part_is_never_the_whole() {
        assert_eq!(Share { covered: 299, all: 300 }.percent(), 99);
        assert_eq!(Testable::read("partly: no close"), (Testable::Partly, "no close"));
    }
}
