//! `--only`, `--tag`, `--skip`, `--skip-tag`: which of the cases run. Decides nothing about their order.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use clap::Args;

use super::check::print_errors;
use super::load::{Inputs, Read};
use super::{Exit, complain, usage};
use crate::mqtt::ProtocolVersion;
use crate::record::{Baseline, CaseId};
use crate::scenario::{Body, Case};
use crate::text::did_you_mean;

/// The arguments that select cases.
#[derive(Debug, Default, Args)]
pub struct Selection {
    /// Only this scenario, or this row of its table, or a case as reports name it; may be repeated
    #[arg(long, value_name = "ID[.ROW]", help_heading = "Selection")]
    only: Vec<String>,

    /// Leaves out this scenario, or this row of its table: it is reported as skipped. As --only has it, or as
    /// reports name a case: '1.5-strings · any-first-character · v5'. A broker at an address may die of one. May be repeated
    #[arg(long, value_name = "ID[.ROW]", help_heading = "Selection")]
    skip: Vec<String>,

    /// Only scenarios with this tag; may be repeated
    #[arg(long, value_name = "TAG", help_heading = "Selection")]
    tag: Vec<String>,

    /// No scenario with this tag; may be repeated
    #[arg(long, value_name = "TAG", help_heading = "Selection")]
    skip_tag: Vec<String>,

    /// Only cases whose clients speak this revision (3.1, 3.1.1, 5); may be repeated
    #[arg(long, value_name = "VERSION", value_parser = revision, help_heading = "Selection")]
    protocol: Vec<ProtocolVersion>,
}

fn revision(text: &str) -> Result<ProtocolVersion, String> {
    ProtocolVersion::ALL
        .into_iter()
        .find(|version| version.to_string() == text)
        .ok_or_else(|| "the revisions are 3.1, 3.1.1 and 5".to_owned())
}

/// What is left, and what was asked for.
#[derive(Debug)]
pub struct Selected {
    /// The cases to run.
    pub cases: Vec<Case>,
    /// Rows to run as `RunOptions::rows` wants them; empty: all.
    pub rows: BTreeSet<(String, String, usize)>,
    /// Texts of files of the command line, as [`Read::given`].
    pub given: Vec<String>,
    /// What `--skip` leaves out of them, as `RunOptions::left_out` wants it.
    pub left_out: BTreeMap<CaseId, String>,
    /// Words of `--only` and `--tag` that match nothing, each with a did-you-mean.
    unmatched: Vec<String>,
}

impl Selected {
    /// What is not to be played to the broker of a baseline is left out as well, and why it is so.
    pub fn left_out_with(&self, baseline: Option<&Baseline>) -> BTreeMap<CaseId, String> {
        let mut all = self.left_out.clone();
        let Some(baseline) = baseline else { return all };
        for id in self.cases.iter().flat_map(|case| iter::once(case_id(case)).chain(rows(case))) {
            match baseline.left_out(&id) {
                None => {}
                Some("") => {
                    all.entry(id).or_insert_with(|| "left out by the baseline".to_owned());
                }
                Some(reason) => {
                    all.insert(id, format!("left out: {reason}"));
                }
            }
        }
        all
    }

    /// One sentence for exit code 4.
    fn nothing(&self) -> String {
        if self.unmatched.is_empty() {
            "no test is selected: the files hold none that --only, --tag, --skip-tag and --protocol leave"
                .to_owned()
        } else {
            format!("no test is selected: {}", self.unmatched.join("; "))
        }
    }
}

impl Selection {
    /// True where nothing is left out.
    pub fn is_all(&self) -> bool {
        self.only.is_empty() && self.tag.is_empty() && self.skip_tag.is_empty() && self.protocol.is_empty()
    }

    /// Reads scenarios and keeps the cases that all the arguments leave. Says what is wrong on stderr, and
    /// gives how the command ends where it cannot go on: with invalid files, or with no case, or where a word of
    /// `--skip` names nothing: what was to be left out would run.
    pub fn read(&self, inputs: &Inputs) -> anyhow::Result<Result<Selected, Exit>> {
        let read = inputs.read();
        print_errors(&read)?;
        if read.has_errors() {
            return Ok(Err(Exit::Invalid));
        }
        let selected = match self.select(read) {
            Ok(selected) => selected,
            Err(message) => return Ok(Err(usage(message))),
        };
        if selected.cases.is_empty() {
            complain(format_args!("error: {}", selected.nothing()));
            return Ok(Err(Exit::NothingSelected));
        }
        for word in &selected.unmatched {
            complain(format_args!("warning: {word}"));
        }
        Ok(Ok(selected))
    }

    fn select(&self, mut read: Read) -> Result<Selected, String> {
        let given = std::mem::take(&mut read.given);
        let cases = read.into_cases();
        let unmatched = self.unmatched(&cases);
        let left_out = self.left_out(&cases)?;
        let mut rows = BTreeSet::new();
        let mut whole = BTreeSet::new();
        let mut kept = Vec::new();
        for case in cases {
            let has = |tags: &[String]| case.tags.iter().any(|tag| tags.contains(tag));
            if !self.tag.is_empty() && !has(&self.tag) || has(&self.skip_tag) {
                continue;
            }
            if !self.protocol.is_empty() && !self.protocol.contains(&case.protocol) {
                continue;
            }
            let mut wanted = self.only.is_empty();
            for word in &self.only {
                match matches(word, &case) {
                    Some(Part::Whole) => {
                        wanted = true;
                        whole.insert((case.file.clone(), case.scenario.clone()));
                    }
                    Some(Part::Row(row)) => {
                        wanted = true;
                        rows.insert((case.file.clone(), case.scenario.clone(), row));
                    }
                    None => {}
                }
            }
            if wanted {
                kept.push(case);
            }
        }
        rows.retain(|(file, scenario, _)| !whole.contains(&(file.clone(), scenario.clone())));
        Ok(Selected { cases: kept, rows, given, left_out, unmatched })
    }

    fn left_out(&self, cases: &[Case]) -> Result<BTreeMap<CaseId, String>, String> {
        let mut all = BTreeMap::new();
        for word in &self.skip {
            let before = all.len();
            for case in cases {
                let row = match matches(word, case) {
                    Some(Part::Whole) => None,
                    Some(Part::Row(row)) => Some(row),
                    None => continue,
                };
                all.insert(CaseId { row, ..case_id(case) }, format!("left out by --skip {word}"));
            }
            if all.len() == before && !cases.iter().any(|case| matches(word, case).is_some()) {
                return Err(unknown("--skip", word, alike(word, cases).as_deref()));
            }
        }
        Ok(all)
    }

    fn unmatched(&self, cases: &[Case]) -> Vec<String> {
        let tags = || cases.iter().flat_map(|case| case.tags.iter().map(String::as_str));
        let only = self
            .only
            .iter()
            .filter(|word| !cases.iter().any(|case| matches(word, case).is_some()))
            .map(|word| unknown("--only", word, alike(word, cases).as_deref()));
        let tag = self
            .tag
            .iter()
            .filter(|word| !tags().any(|tag| tag == word.as_str()))
            .map(|word| unknown("--tag", word, did_you_mean(word, tags())));
        only.chain(tag).collect()
    }
}

fn unknown(option: &str, word: &str, meant: Option<&str>) -> String {
    let meant = meant.map_or(String::new(), |meant| format!(", did you mean {meant}?"));
    format!("{option} {word} matches nothing{meant}")
}

/// What of a case a word of `--only` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Row(usize),
}

/// `acl`, or row 2 of it as `acl.2`; a scenario's own id may hold dots and wins. Else the name of a case in
/// reports, with or without its variant: `lab3 · acl`, `lab3 · acl · row 2 · v5`.
fn matches(word: &str, case: &Case) -> Option<Part> {
    if word == case.scenario || names(word, &case_id(case)) {
        return Some(Part::Whole);
    }
    let Body::Table(table) = &case.body else { return None };
    if let Some(id) = rows(case).find(|id| names(word, id)) {
        return id.row.map(Part::Row);
    }
    let (id, row) = word.rsplit_once('.')?;
    let row: usize = row.parse().ok()?;
    (id == case.scenario && table.rows.iter().any(|r| r.number == row)).then_some(Part::Row(row))
}

/// True for the name that reports give this case or row.
fn names(word: &str, id: &CaseId) -> bool {
    word.contains('·')
        && (word == id.to_string() || word == CaseId { variant: String::new(), ..id.clone() }.to_string())
}

/// The name in reports of a case, be it a table.
pub fn case_id(case: &Case) -> CaseId {
    let (file, scenario, variant) = (case.file.clone(), case.scenario.clone(), case.variant.clone());
    CaseId { file, scenario, variant, row: None }
}

/// The names of the rows of a case.
fn rows(case: &Case) -> impl Iterator<Item = CaseId> {
    let rows = match &case.body {
        Body::Table(table) => table.rows.as_slice(),
        Body::Steps(_) => &[],
    };
    rows.iter().map(|row| CaseId { row: Some(row.number), ..case_id(case) })
}

/// What may have been meant by a word that names nothing.
fn alike(word: &str, cases: &[Case]) -> Option<String> {
    if word.contains('·') {
        let short = |case| CaseId { variant: String::new(), ..case_id(case) }.to_string();
        let named: Vec<_> =
            cases.iter().map(short).chain(cases.iter().map(|case| case_id(case).to_string())).collect();
        return did_you_mean(word, named.iter().map(String::as_str)).map(str::to_owned);
    }
    did_you_mean(word, cases.iter().map(|case| case.scenario.as_str())).map(str::to_owned)
}
