//! From what was found to a verdict: levels, known deviations, hints.

use std::collections::BTreeSet;

use super::checks::Breach;
use super::execute::case_info;
use super::outcome::{Trouble, place};
use super::recorder::Recorder;
use super::table;
use crate::check::Violation;
use crate::record::{CaseInfo, Explanation, Outcome, Verdict};
use crate::scenario::{Body, Case, Known, Level};

/// What was found about a case, or about one row of a table.
#[derive(Debug, Clone)]
pub struct Found {
    /// The case.
    pub info: CaseInfo,
    /// Why it is not passed.
    pub trouble: Option<Trouble>,
    /// How long it took.
    pub seconds: f64,
    /// How a denial was made.
    pub mechanism: Option<String>,
    /// Worth saying.
    pub notes: Vec<String>,
    /// Rules of the protocol that were broken meanwhile by whom the case tests.
    pub breaches: Vec<Breach>,
}

impl Found {
    /// The same trouble for the case, or for each of the rows of its table.
    pub fn all(case: &Case, rows: &BTreeSet<usize>, trouble: &Trouble) -> Vec<Self> {
        let found = |info| Self {
            info,
            trouble: Some(trouble.clone()),
            seconds: 0.0,
            mechanism: None,
            notes: Vec::new(),
            breaches: Vec::new(),
        };
        match &case.body {
            Body::Steps(_) => vec![found(case_info(case))],
            Body::Table(table) => table::selected_rows(table, rows)
                .map(|row| found(table::row_info(case, table, row)))
                .collect(),
        }
    }
}

/// The outcome of what was found on this broker.
pub fn judge(case: &Case, broker: &str, strict: bool, found: Found, recorder: &Recorder) -> Outcome {
    let Found { info, trouble, seconds, mechanism, mut notes, breaches } = found;
    let known = case.known.iter().find(|known| applies(known, broker));
    let met = trouble.is_none();
    let left_out = matches!(trouble, Some(Trouble::LeftOut(_)));
    let mut unmet = false;
    let (verdict, why) = match trouble {
        None => (Verdict::Passed, None),
        Some(Trouble::Skipped(reason) | Trouble::LeftOut(reason)) => {
            (Verdict::Skipped, Some(Explanation { actual: reason, ..Explanation::default() }))
        }
        Some(Trouble::Errored(why)) => (Verdict::Errored, Some(*why)),
        Some(Trouble::Failed(mut why)) => match (known, case.level) {
            (Some(known), _) => {
                why.actual = format!("{} ({})", known.reason, why.actual);
                (Verdict::Known, Some(*why))
            }
            (None, Level::Should) if !strict => {
                unmet = true;
                notes.push(format!("SHOULD is not met: {}, but {}", why.expected, why.actual));
                (Verdict::Passed, None)
            }
            (None, Level::May) => {
                unmet = true;
                notes.push(format!("MAY is not made use of: {}, but {}", why.expected, why.actual));
                (Verdict::Passed, None)
            }
            _ => (Verdict::Failed, Some(*why)),
        },
    };
    let (verdict, why, hinted) = match (verdict, breaches.split_first()) {
        // A row of a table is about rights; the rest is only mentioned. What is known of the scenario is
        // another matter: a baseline holds known breaches.
        (Verdict::Passed, Some((first, more))) if info.id.row.is_none() => {
            notes.extend(more.iter().map(mention));
            (Verdict::Failed, Some(broken(case, first)), false)
        }
        _ => {
            notes.extend(breaches.iter().map(mention));
            (verdict, why, true)
        }
    };
    if let (Verdict::Passed, true, Some(known)) = (verdict, met, known) {
        notes.push(format!(
            "a surprise: it passed, though {} was known to fail: {}",
            known.broker, known.reason
        ));
    }
    let why = why.map(|mut why| {
        if let (Verdict::Failed, Some(author), true) = (verdict, &case.hint, hinted) {
            why.hint = Some(why.hint.map_or_else(|| author.clone(), |found| format!("{found}. {author}")));
        }
        clean(&mut why, recorder);
        why
    });
    let notes = notes.into_iter().map(|note| recorder.redact(note)).collect();
    Outcome { case: info, verdict, unmet, left_out, seconds, why, mechanism, notes }
}

/// A broken rule of the protocol as the reason of a failure.
fn broken(case: &Case, breach: &Breach) -> Explanation {
    let Breach { violation, packets, came } = breach;
    Explanation {
        expected: violation.check.doc.to_owned(),
        actual: violation.to_string(),
        place: Some(place(&case.span)),
        packets: packets.clone(),
        came: came.iter().cloned().collect(),
        hint: Some(format!("this check watches all runs: mqttlab explain {}", violation.check.name)),
    }
}

/// A broken rule of the protocol beside another verdict.
fn mention(breach: &Breach) -> String {
    let Violation { check, line, .. } = &breach.violation;
    format!("the {} breaks {}: {} ({line})", check.binds, check.name, breach.violation)
}

/// Keeps secrets out of an explanation.
fn clean(why: &mut Explanation, recorder: &Recorder) {
    let excerpt = why.place.as_mut().map(|place| &mut place.text);
    for text in [&mut why.expected, &mut why.actual]
        .into_iter()
        .chain(&mut why.packets)
        .chain(&mut why.came)
        .chain(&mut why.hint)
        .chain(excerpt)
    {
        *text = recorder.redact(std::mem::take(text));
    }
}

/// `mosquitto 2.0` is known of `mosquitto 2.0.11`, not of `mosquitto 2.01`.
fn applies(known: &Known, broker: &str) -> bool {
    broker
        .strip_prefix(known.broker.trim())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::statements::Standard;
    use crate::check::{CHECKS, Party};
    use crate::diagnostic::Source;
    use crate::scenario::{LoadOptions, NoFiles, load};

    /// The verdict and notes of a scenario known to fail, with the rules that the broker broke meanwhile.
    fn judged(trouble: Option<Trouble>, breaches: Vec<Breach>) -> (Verdict, Vec<String>) {
        let text = "lab: 1\nscenarios:\n- id: a\n  name: n\n  known: {mosquitto 2.0: it stalls}\n  clients: {a: {}}\n  steps:\n  - a: connect\n";
        let loaded = load(&Source::new("lab.yaml", text), &NoFiles, &LoadOptions::default());
        let case = loaded.cases.first().expect("a case");
        let info = case_info(case);
        let recorder = Recorder::new(info.id.clone(), 0.0);
        let found = Found { info, trouble, seconds: 0.0, mechanism: None, notes: Vec::new(), breaches };
        let outcome = judge(case, "mosquitto 2.0.11", false, found, &recorder);
        (outcome.verdict, outcome.notes)
    }

    #[test]
    fn a_broken_rule_is_not_what_is_known_of_a_scenario() {
        let violation = Violation {
            check: CHECKS.iter().find(|check| check.binds == Party::Broker).expect("a check of brokers"),
            standard: Standard::V5,
            statements: Vec::new(),
            sentence: "the broker sends what it must not".into(),
            conn: 1,
            line: "PUBLISH t".into(),
            at: 0.0,
        };
        let breach = || vec![Breach { violation: violation.clone(), packets: Vec::new(), came: None }];
        assert_eq!(judged(None, breach()), (Verdict::Failed, Vec::new()));
        let (verdict, notes) = judged(None, Vec::new());
        assert_eq!(verdict, Verdict::Passed);
        assert!(notes[0].starts_with("a surprise: it passed"), "{notes:?}");
        let failed = Trouble::Failed(Box::default());
        let (verdict, notes) = judged(Some(failed), breach());
        assert_eq!(verdict, Verdict::Known);
        assert!(notes[0].starts_with("the broker breaks"), "{notes:?}");
    }

    #[test]
    fn known_deviations_are_of_a_broker_and_its_versions() {
        let known = |broker: &str| Known { broker: broker.into(), reason: String::new() };
        assert!(applies(&known("mosquitto"), "mosquitto 2.0.11"));
        assert!(applies(&known("mosquitto 2.0"), "mosquitto 2.0.11"));
        assert!(applies(&known("mosquitto 2.0.11"), "mosquitto 2.0.11"));
        assert!(!applies(&known("mosquitto 2.0.1"), "mosquitto 2.0.11"));
        assert!(!applies(&known("mosquitto 2.1"), "mosquitto 2.0.11"));
        assert!(!applies(&known("mosq"), "mosquitto 2.0.11"));
    }
}
