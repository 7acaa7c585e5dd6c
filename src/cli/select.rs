//! `--only`, `--tag`, `--skip-tag`: which of the cases run. Decides nothing about their order.

use std::collections::BTreeSet;

use clap::Args;

use super::check::print_errors;
use super::load::{Inputs, Read};
use super::{Exit, complain};
use crate::mqtt::ProtocolVersion;
use crate::scenario::{Body, Case};
use crate::text::did_you_mean;

/// The arguments that select cases.
#[derive(Debug, Default, Args)]
pub struct Selection {
    /// Only this scenario, or this row of its table; may be repeated
    #[arg(long, value_name = "ID[.ROW]", help_heading = "Selection")]
    only: Vec<String>,

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
    /// Words of `--only` and `--tag` that match nothing, each with a did-you-mean.
    unmatched: Vec<String>,
}

impl Selected {
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
    /// gives how the command ends where it cannot go on: with invalid files, or with no case.
    pub fn read(&self, inputs: &Inputs) -> anyhow::Result<Result<Selected, Exit>> {
        let read = inputs.read();
        print_errors(&read)?;
        if read.has_errors() {
            return Ok(Err(Exit::Invalid));
        }
        let selected = self.select(read);
        if selected.cases.is_empty() {
            complain(format_args!("error: {}", selected.nothing()));
            return Ok(Err(Exit::NothingSelected));
        }
        for word in &selected.unmatched {
            complain(format_args!("warning: {word}"));
        }
        Ok(Ok(selected))
    }

    fn select(&self, mut read: Read) -> Selected {
        let given = std::mem::take(&mut read.given);
        let cases = read.into_cases();
        let unmatched = self.unmatched(&cases);
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
        Selected { cases: kept, rows, given, unmatched }
    }

    fn unmatched(&self, cases: &[Case]) -> Vec<String> {
        let ids = || cases.iter().map(|case| case.scenario.as_str());
        let tags = || cases.iter().flat_map(|case| case.tags.iter().map(String::as_str));
        let only = self
            .only
            .iter()
            .filter(|word| !cases.iter().any(|case| matches(word, case).is_some()))
            .map(|word| unknown("--only", word, did_you_mean(word, ids())));
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

/// `acl`, or row 2 of it as `acl.2`; a scenario's own id may hold dots and wins.
fn matches(word: &str, case: &Case) -> Option<Part> {
    if word == case.scenario {
        return Some(Part::Whole);
    }
    let (id, row) = word.rsplit_once('.')?;
    let row: usize = row.parse().ok()?;
    let Body::Table(table) = &case.body else { return None };
    (id == case.scenario && table.rows.iter().any(|r| r.number == row)).then_some(Part::Row(row))
}
