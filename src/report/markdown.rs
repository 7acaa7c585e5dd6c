//! Markdown as GitHub shows it, for job summaries and comments: how it went, what needs attention with its
//! packets, what was skipped; of several runs a table of the cases that they do not agree on.
//!
//! Everything that a peer or a file says is escaped or stands in a fenced block. GitHub refuses a summary
//! of more than 1 MiB, so what goes beyond [`LIMIT`] is left out and counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use indexmap::IndexMap;

use super::failure::{self, Context};
use super::tally::{State, VERDICTS};
use super::{Output, Report, Tally};
use crate::record::{CaseId, Event, EventKind, Outcome, Verdict};
use crate::text::{escape, plural};

/// Bytes of the whole document.
const LIMIT: usize = 900_000;
/// Bytes of one failure.
const BLOCK_LIMIT: usize = 16 * 1024;

/// The Markdown report.
pub struct Markdown {
    out: Output,
    again: String,
    runs: Vec<Run>,
    /// What became of each case, a run a column.
    matrix: IndexMap<CaseId, Vec<Option<Cell>>>,
}

/// One run: one broker.
#[derive(Default)]
struct Run {
    mqttlab: String,
    context: Context,
    seed: u64,
    virtual_time: bool,
    tally: Tally,
    notes: Vec<String>,
    files: BTreeMap<String, BTreeMap<Verdict, usize>>,
    /// What a failure's details are opened by, and the details.
    bad: Vec<(String, String)>,
    bad_bytes: usize,
    /// Failures of which nothing is kept.
    more_bad: usize,
    /// Cases that did not run or are known to fail, by verdict and reason.
    others: BTreeMap<(Verdict, String), Vec<CaseId>>,
}

/// A case in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    verdict: Verdict,
    unmet: bool,
}

impl Markdown {
    /// A document in the making; `again` as in [`Context`].
    pub fn new(out: Output, again: &str) -> Self {
        Self { out, again: again.to_owned(), runs: Vec::new(), matrix: IndexMap::new() }
    }
}

impl Report for Markdown {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let EventKind::RunStarted { mqttlab, target, seed, virtual_time, .. } = &event.kind {
            self.runs.push(Run {
                mqttlab: mqttlab.clone(),
                context: Context { target: target.clone(), again: self.again.clone() },
                seed: *seed,
                virtual_time: *virtual_time,
                ..Run::default()
            });
        }
        let column = self.runs.len();
        let Some(run) = self.runs.last_mut() else { return Ok(()) };
        run.tally.event(event);
        match &event.kind {
            EventKind::Note { text } => run.notes.push(text.clone()),
            EventKind::CaseFinished { outcome } => {
                run.add(outcome);
                let cells = self.matrix.entry(outcome.case.id.clone()).or_default();
                // A case that a run before did not have is no case of that run.
                cells.resize(column - 1, None);
                cells.push(Some(Cell { verdict: outcome.verdict, unmet: outcome.unmet }));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut page = Page::default();
        match self.runs.as_slice() {
            [] => page.add("## mqttlab\n\n**The run did not start.**\n"),
            [run] => {
                run.head(&mut page, "##");
                run.body(&mut page);
            }
            runs => {
                compared(&mut page, runs, &self.matrix);
                for run in runs {
                    run.head(&mut page, "###");
                    run.body(&mut page);
                }
            }
        }
        self.out.write_all(page.finish().as_bytes())?;
        self.out.flush()
    }
}

impl Run {
    fn add(&mut self, outcome: &Outcome) {
        let id = &outcome.case.id;
        *self.files.entry(id.file.clone()).or_default().entry(outcome.verdict).or_default() += 1;
        match outcome.verdict {
            Verdict::Failed | Verdict::Errored if self.bad_bytes < LIMIT => {
                let name = format!("{}: {}: {}", outcome.verdict, id, outcome.case.title);
                let block = failure::block(outcome, &self.context, false);
                let block = cut(&block, BLOCK_LIMIT);
                self.bad_bytes += name.len() + block.len();
                self.bad.push((name, block));
            }
            Verdict::Failed | Verdict::Errored => self.more_bad += 1,
            Verdict::Skipped | Verdict::Known => {
                let reason = outcome.why.as_ref().map(|why| why.actual.clone()).unwrap_or_default();
                self.others.entry((outcome.verdict, reason)).or_default().push(id.clone());
            }
            Verdict::Passed => {
                for note in &outcome.notes {
                    self.notes.push(format!("{id}: {note}"));
                }
            }
        }
    }

    fn head(&self, page: &mut Page, level: &str) {
        let mark = match self.tally.state() {
            State::Passed => "✅",
            State::Failed => "❌",
            State::Errored | State::Incomplete => "⚠️",
            State::NothingTested => "⏭️",
        };
        let time = if self.virtual_time { ", virtual time" } else { "" };
        page.add(&format!("{level} {mark} {}\n\n", text(&self.tally.sentence())));
        page.add(&format!(
            "{}: {} in {}{time}, seed {} (mqttlab {})\n\n",
            text(&self.context.target),
            plural(self.tally.cases, "case"),
            self.tally.duration(),
            self.seed,
            text(&self.mqttlab),
        ));
    }

    fn body(&self, page: &mut Page) {
        if let Some((earned, all, untold)) = self.tally.points() {
            let untold =
                if untold > 0.0 { format!(" ({untold:.2} could not be told)") } else { String::new() };
            page.add(&format!("Points: {earned:.2} of {all:.2}{untold}\n\n"));
        }
        for (name, block) in &self.bad {
            page.add(&details(name, block));
        }
        if self.more_bad > 0 {
            page.add(&format!("{} more are not shown.\n\n", plural(self.more_bad, "failure")));
        }
        self.reasons(page);
        if self.files.len() > 1 {
            self.per_file(page);
        }
        if !self.notes.is_empty() {
            let notes = self.notes.join("\n");
            page.add(&details(&plural(self.notes.len(), "note"), &cut(&notes, 4 * BLOCK_LIMIT)));
        }
    }

    fn reasons(&self, page: &mut Page) {
        if self.others.is_empty() {
            return;
        }
        page.add("| not judged | cases | why |\n|---|---:|---|\n");
        for ((verdict, reason), cases) in &self.others {
            page.add(&format!("| {verdict} | {} | {} |\n", cases.len(), text(&cut(reason, BLOCK_LIMIT))));
        }
        page.add("\n");
    }

    fn per_file(&self, page: &mut Page) {
        let mut rows = String::from("| file |");
        for verdict in VERDICTS {
            let _ = write!(rows, " {verdict} |");
        }
        rows.push_str("\n|---|---:|---:|---:|---:|---:|\n");
        for (file, counts) in &self.files {
            let _ = write!(rows, "| {} |", text(file));
            for verdict in VERDICTS {
                let _ = match counts.get(&verdict) {
                    Some(count) => write!(rows, " {count} |"),
                    None => write!(rows, " |"),
                };
            }
            rows.push('\n');
        }
        page.add(&folded("by file", &rows));
    }
}

/// The counts of several runs beside each other, and the cases that they do not agree on.
fn compared(page: &mut Page, runs: &[Run], matrix: &IndexMap<CaseId, Vec<Option<Cell>>>) {
    let all_cells = |cells: &[Option<Cell>]| -> Vec<Option<Cell>> {
        (0..runs.len()).map(|column| cells.get(column).copied().flatten()).collect()
    };
    let differ: Vec<(&CaseId, Vec<Option<Cell>>)> = matrix
        .iter()
        .map(|(id, cells)| (id, all_cells(cells)))
        .filter(|(_, cells)| cells.iter().any(|cell| *cell != cells[0]))
        .collect();
    page.add(&format!("## {} runs compared\n\n", runs.len()));
    page.add(&columns(runs, ""));
    for verdict in VERDICTS {
        page.add(&row(&verdict.to_string(), runs.iter().map(|run| run.tally.count(verdict).to_string())));
    }
    let alike = matrix.len() - differ.len();
    if differ.is_empty() {
        page.add(&format!("\nNo difference in {}.\n\n", plural(alike, "case")));
        return;
    }
    page.add(&format!("\n{} came out alike; these did not:\n\n", plural(alike, "case")));
    page.add(&columns(runs, "case"));
    for (id, cells) in differ {
        page.add(&row(&text(&id.to_string()), cells.into_iter().map(word)));
    }
    page.add("\n");
}

fn columns(runs: &[Run], first: &str) -> String {
    let names = row(first, runs.iter().map(|run| text(&run.context.target)));
    format!("{names}|---|{}\n", "---|".repeat(runs.len()))
}

/// A row of a table; its cells are Markdown.
fn row(first: &str, cells: impl Iterator<Item = String>) -> String {
    let mut row = format!("| {first} |");
    for cell in cells {
        let _ = write!(row, " {cell} |");
    }
    row + "\n"
}

fn word(cell: Option<Cell>) -> String {
    match cell {
        None => String::new(),
        Some(Cell { verdict: Verdict::Passed, unmet: true }) => "another choice".to_owned(),
        Some(Cell { verdict, .. }) if verdict.is_bad() => format!("**{verdict}**"),
        Some(Cell { verdict, .. }) => verdict.to_string(),
    }
}

/// A document that does not grow beyond [`LIMIT`]: what is added after it is full is only counted.
#[derive(Default)]
struct Page {
    text: String,
    left_out: usize,
}

impl Page {
    /// Adds a part that is whole in itself.
    fn add(&mut self, part: &str) {
        if self.left_out > 0 || self.text.len() + part.len() > LIMIT {
            self.left_out += 1;
        } else {
            self.text.push_str(part);
        }
    }

    fn finish(mut self) -> String {
        if self.left_out > 0 {
            let parts = plural(self.left_out, "part");
            let _ = write!(self.text, "\n{parts} of this report are left out: GitHub shows 1 MiB at most.\n");
        }
        self.text
    }
}

/// A line that opens to a block of text as it is.
fn details(name: &str, block: &str) -> String {
    let longest = block.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let block = block.lines().map(escape).collect::<Vec<_>>().join("\n");
    folded(name, &format!("{fence}text\n{block}\n{fence}\n"))
}

/// A line that opens to some Markdown. The line itself is HTML.
fn folded(name: &str, markdown: &str) -> String {
    let name = escape(name).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<details><summary>{name}</summary>\n\n{markdown}\n</details>\n\n")
}

/// Text that means nothing to Markdown.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in escape(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// The first lines of a text, so many bytes of them.
fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}\n…", &text[..end])
}
