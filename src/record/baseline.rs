//! Baselines: what a broker is known to do wrong, case by case, each with its reason, in a file that a
//! person keeps and a later run is held against.
//!
//! Pure: texts come in and go out, events pass through. Which file belongs to which broker, and where it
//! is kept, is the command line's business. What could not be told (*Errored*) is never blessed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{CaseId, Outcome, Verdict};
use crate::diagnostic::{Diagnostic, Source, Span};
use crate::text::{did_you_mean, escape};

/// The form of the file that this version reads and writes.
const FORM: u64 = 1;
/// Characters of what happened that are kept.
const ACTUAL_KEPT: usize = 160;

/// Findings about baselines.
pub const CODES: &[(&str, &str)] = &[
    ("B001", "a baseline is no JSON, or has a key or value that baselines do not have"),
    ("B002", "a baseline of a form that this version does not read"),
];

/// What a broker did when somebody blessed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The form of this file; what it is called there says what the file is.
    #[serde(rename = "baseline")]
    form: u64,
    /// Name and version of the broker: `mosquitto 2.0.11`.
    pub broker: String,
    /// What its cases came to, by scenario file.
    files: BTreeMap<String, Blessed>,
}

/// What the cases of one file came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Blessed {
    /// Cases that failed, and why that is so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    deviations: BTreeMap<String, Deviation>,
    /// Cases that passed, or whose scenario itself knows of the deviation.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    passed: BTreeSet<String>,
    /// Cases that nobody should play to this broker, and why, as a person wrote it: it dies of them, so that
    /// nothing could be told of those that come after.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    left_out: BTreeMap<String, String>,
    /// Cases that need what this broker lacks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    skipped: BTreeSet<String>,
}

/// A case that this broker is known to fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deviation {
    /// Always `failed`: what errored is not known.
    verdict: Blessable,
    /// What happened, in short.
    actual: String,
    /// Why, as a person wrote it; empty where nobody has yet.
    reason: String,
}

/// The one verdict that can be blessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Blessable {
    Failed,
}

/// How a case stood when the baseline was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before<'b> {
    /// It failed.
    Failed {
        /// Why, as a person wrote it; may be empty.
        reason: &'b str,
        /// What happened, in short.
        actual: &'b str,
    },
    /// It passed, or was skipped.
    Fine,
    /// It was not there, or left out.
    Absent,
}

impl Baseline {
    /// Reads a baseline.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn parse(source: &Arc<Source>) -> Result<Self, Diagnostic> {
        let refused = |error: &serde_json::Error| refusal(source, error);
        let read: Self = serde_json::from_str(&source.text).map_err(|error| refused(&error))?;
        if read.form == FORM {
            return Ok(read);
        }
        let message =
            format!("{} is a baseline of form {}, this version reads {FORM}", source.name, read.form);
        Err(Diagnostic::file_error("B002", message).with_help("bless the broker again with this version"))
    }

    /// The text of the file, sorted, a case or a value a line.
    pub fn print(&self) -> String {
        serde_json::to_string_pretty(self).map_or_else(|error| error.to_string(), |text| text + "\n")
    }

    /// How a case stood.
    pub fn before(&self, id: &CaseId) -> Before<'_> {
        let Some(file) = self.file(&id.file).and_then(|name| self.files.get(name)) else {
            return Before::Absent;
        };
        let key = key(id);
        match file.deviations.get(&key) {
            Some(known) => Before::Failed { reason: &known.reason, actual: &known.actual },
            None if file.passed.contains(&key) || file.skipped.contains(&key) => Before::Fine,
            None => Before::Absent,
        }
    }

    /// Why a case, or a row of its table, is not to be played to this broker; empty where nobody has said.
    /// `None`: it is.
    pub fn left_out(&self, id: &CaseId) -> Option<&str> {
        self.file(&id.file).and_then(|name| self.files.get(name)?.left_out(id))
    }

    /// True for the broker of this baseline, whatever its version: `mosquitto 2.1.2` is held against what
    /// is known of `mosquitto 2.0.11`.
    pub fn is_of(&self, target: &str) -> bool {
        fn name(text: &str) -> &str {
            text.split(' ').next().unwrap_or(text)
        }
        target == self.broker || name(target) == name(&self.broker)
    }

    /// Scenario files that it knows.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Deviations, and cases left out, that nobody has given a reason for: file and case.
    pub fn without_reason(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().flat_map(|(file, blessed)| {
            let deviations = blessed.deviations.iter().map(|(case, known)| (case, &known.reason));
            let open = deviations.chain(&blessed.left_out).filter(|(_, reason)| reason.is_empty());
            open.map(move |(case, _)| (file.as_str(), case.as_str()))
        })
    }

    /// The name under which a scenario file stands here: the same path, or the only one of which one is
    /// the end of the other, since a run may be started from elsewhere.
    fn file(&self, path: &str) -> Option<&str> {
        let path = path.strip_prefix("./").unwrap_or(path);
        if let Some((name, _)) = self.files.get_key_value(path) {
            return Some(name);
        }
        let mut alike = self.files.keys().filter(|name| ends_with(name, path) || ends_with(path, name));
        match (alike.next(), alike.next()) {
            (Some(name), None) => Some(name),
            _ => None,
        }
    }

    /// The cases of a table or scenario file as they stand after this run: reasons that a person wrote
    /// stay, what errored stays as it was. `whole` says that every case of the files ran, so that cases
    /// that are not there any more go; `is_gone` tells of files that are no more, which go unless they ran.
    pub fn blessed(
        before: Option<&Self>,
        broker: &str,
        outcomes: &[Outcome],
        whole: bool,
        is_gone: impl Fn(&str) -> bool,
    ) -> Self {
        let mut files = before.map(|old| old.files.clone()).unwrap_or_default();
        let ran: BTreeSet<_> = before
            .into_iter()
            .flat_map(|old| outcomes.iter().filter_map(|outcome| old.file(&outcome.case.id.file)))
            .collect();
        files.retain(|name, _| ran.contains(name.as_str()) || !is_gone(name));
        let mut seen = BTreeSet::new();
        for outcome in outcomes {
            let id = &outcome.case.id;
            let name = before.and_then(|old| old.file(&id.file)).unwrap_or(&id.file);
            let name = name.strip_prefix("./").unwrap_or(name).to_owned();
            let old = before.and_then(|old| old.files.get(&name));
            let file = files.entry(name.clone()).or_default();
            if seen.insert(name) && whole {
                *file = Blessed::default();
            }
            file.bless(old, outcome);
        }
        files.retain(|_, file| *file != Blessed::default());
        Self { form: FORM, broker: broker.to_owned(), files }
    }
}

impl Blessed {
    /// A table may stand here as a whole.
    fn left_out(&self, id: &CaseId) -> Option<&str> {
        let whole = || self.left_out.get(&key(&CaseId { row: None, ..id.clone() }));
        self.left_out.get(&key(id)).or_else(whole).map(String::as_str)
    }

    fn bless(&mut self, old: Option<&Self>, outcome: &Outcome) {
        let key = key(&outcome.case.id);
        let known = old.and_then(|old| old.deviations.get(&key));
        if outcome.verdict == Verdict::Errored {
            let Some(old) = old else { return };
            if let Some(known) = known {
                self.deviations.insert(key, known.clone());
            } else if old.passed.contains(&key) {
                self.passed.insert(key);
            } else if old.skipped.contains(&key) {
                self.skipped.insert(key);
            }
            return;
        }
        self.deviations.remove(&key);
        self.passed.remove(&key);
        self.skipped.remove(&key);
        self.left_out.remove(&key);
        match outcome.verdict {
            Verdict::Failed => {
                let actual = short(outcome.why.as_ref().map_or("", |why| &why.actual));
                let known = known.cloned();
                let reason = known.as_ref().map(|known| known.reason.clone()).unwrap_or_default();
                // Times and ports change from run to run; the file should not.
                let actual = match known {
                    Some(known) if alike(&known.actual, &actual) => known.actual,
                    _ => actual,
                };
                self.deviations.insert(key, Deviation { verdict: Blessable::Failed, actual, reason });
            }
            Verdict::Skipped if outcome.left_out => {
                let reason = old.and_then(|old| old.left_out(&outcome.case.id)).unwrap_or_default();
                self.left_out.insert(key, reason.to_owned());
            }
            Verdict::Skipped => {
                self.skipped.insert(key);
            }
            Verdict::Passed | Verdict::Known | Verdict::Errored => {
                self.passed.insert(key);
            }
        }
    }
}

/// A case within its file: `acl.2 (v5)`, as `--only` has it, and its variant.
fn key(id: &CaseId) -> String {
    let mut key = id.scenario.clone();
    if let Some(row) = id.row {
        let _ = write!(key, ".{row}");
    }
    if !id.variant.is_empty() {
        let _ = write!(key, " ({})", id.variant);
    }
    key
}

fn ends_with(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|rest| rest.ends_with('/'))
}

/// The first line, escaped, and not too much of it.
pub fn short(text: &str) -> String {
    let line = escape(text.lines().next().unwrap_or_default());
    if line.chars().count() <= ACTUAL_KEPT {
        return line;
    }
    line.chars().take(ACTUAL_KEPT - 1).chain(['…']).collect()
}

/// True where two texts differ in nothing but numbers and made-up names, which have digits in them. A
/// code (`0x87`) is no number.
pub fn alike(one: &str, other: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| word.starts_with("0x") || !word.contains(|c: char| c.is_ascii_digit()))
            .map(str::to_owned)
            .collect()
    };
    words(one) == words(other)
}

/// A finding for what serde refuses.
fn refusal(source: &Arc<Source>, error: &serde_json::Error) -> Diagnostic {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let end = source.line_span(error.line()).start + error.column();
    let end =
        (0..=end.min(source.text.len())).rev().find(|at| source.text.is_char_boundary(*at)).unwrap_or(0);
    let mut quoted = message.split('`').skip(1).step_by(2);
    let named = quoted.next().unwrap_or_default();
    let start = source.text[..end].rfind(&format!("\"{named}\"")).map_or(end.saturating_sub(1), |at| at + 1);
    let start = (0..=start).rev().find(|at| source.text.is_char_boundary(*at)).unwrap_or(0);
    let width = if named.is_empty() { end - start } else { named.len() };
    let range = start..(start + width).min(source.text.len()).max(start);
    let finding = Diagnostic::error("B001", Span::new(source, range), message.to_owned());
    let known: Vec<&str> = quoted.collect();
    match did_you_mean(named, known.iter().copied()) {
        Some(meant) => finding.with_help(format!("did you mean `{meant}`?")),
        None if known.is_empty() => finding,
        None => finding.with_help(format!("there are {}", known.join(", "))),
    }
}
