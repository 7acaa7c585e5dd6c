//! Markdown as GitHub shows it, for job summaries and comments: how it went, what needs attention with its
//! packets, what was skipped; of several runs tables of the cases in
//! which the brokers part, with the packets of both beside each other.
//!
//! Everything that a peer or a file says is escaped or stands in a fenced block. GitHub refuses a summary
//! of more than 1 MiB, so what goes beyond [`LIMIT`] is left out and counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use super::comparison::{Cell, Comparison, Difference, Row, RowKey, Standing};
use super::failure::{self, Context};
use super::matrix::named;
use super::paint::Paint;
use super::tally::{State, VERDICTS};
use super::{Output, Report, Tally, side_by_side};
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
    comparison: Comparison,
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

impl Markdown {
    /// A document in the making; `again` as [`Context::of`] takes it.
    pub fn new(out: Output, again: &str) -> Self {
        Self { out, again: again.to_owned(), runs: Vec::new(), comparison: Comparison::default() }
    }
}

impl Report for Markdown {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let EventKind::RunStarted { mqttlab, target, seed, virtual_time, plan, .. } = &event.kind {
            self.runs.push(Run {
                mqttlab: mqttlab.clone(),
                context: Context::of(target, plan.as_ref(), &self.again),
                seed: *seed,
                virtual_time: *virtual_time,
                ..Run::default()
            });
        }
        self.comparison.event(event);
        let Some(run) = self.runs.last_mut() else { return Ok(()) };
        run.tally.event(event);
        match &event.kind {
            EventKind::Note { text } => run.notes.push(text.clone()),
            EventKind::CaseFinished { outcome } => run.add(outcome),
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
                compared(&mut page, &self.comparison);
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
            Verdict::Passed => {}
        }
        if matches!(outcome.verdict, Verdict::Passed | Verdict::Known) {
            self.notes.extend(outcome.notes.iter().map(|note| format!("{id}: {note}")));
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

/// Several runs beside each other: counts, and the cases in which the brokers part.
fn compared(page: &mut Page, comparison: &Comparison) {
    const STANDINGS: [Standing; 6] = [
        Standing::Failed,
        Standing::Errored,
        Standing::Known,
        Standing::Passed,
        Standing::Choice,
        Standing::Skipped,
    ];
    const DIFFERENCES: [(Difference, &str); 3] = [
        (Difference::Violation, "One broker breaks a rule that another keeps"),
        (Difference::Choice, "Free choices"),
        (Difference::Untold, "What cannot be told of all"),
    ];
    page.add(&format!("## {} runs compared\n\n", comparison.runs.len()));
    page.add(&columns(comparison, ""));
    for standing in STANDINGS {
        let counts = comparison.runs.iter().map(|run| run.counts.get(&standing).copied().unwrap_or(0));
        page.add(&row(word(standing), counts.map(|count| count.to_string())));
    }
    let alike = plural(comparison.count(Difference::None), "case");
    page.add(&format!("\n{alike} came out alike.\n\n"));
    for (difference, title) in DIFFERENCES {
        if comparison.count(difference) == 0 {
            continue;
        }
        page.add(&format!("### {title}\n\n"));
        page.add(&columns(comparison, "case"));
        for (key, found, version) in parted(comparison, difference) {
            let cells = found.versions.get(version).map_or(&[][..], Vec::as_slice);
            let cells = (0..comparison.runs.len()).map(|run| cell(cells.get(run).and_then(Option::as_ref)));
            page.add(&row(&format!("{}: {}", text(&named(key, version)), text(&found.title)), cells));
        }
        page.add("\n");
    }
    for (key, found, version) in parted(comparison, Difference::Violation) {
        let block = side_by_sides(comparison, found, version);
        page.add(&details(&format!("{}: {}", named(key, version), found.title), &cut(&block, BLOCK_LIMIT)));
    }
}

/// Rows and versions in which the brokers part like this.
fn parted(comparison: &Comparison, difference: Difference) -> impl Iterator<Item = (&RowKey, &Row, &String)> {
    let all = comparison.rows.iter();
    let each = all.flat_map(|(key, row)| row.versions.keys().map(move |version| (key, row, version)));
    each.filter(move |(_, row, version)| row.difference(version) == difference)
}

/// What each broker that breaks the rule did, beside what one did that keeps it.
fn side_by_sides(comparison: &Comparison, row: &Row, version: &str) -> String {
    let mut out = String::new();
    let cells = row.versions.get(version).into_iter().flatten().zip(&comparison.runs);
    for (cell, run) in cells {
        let Some(cell) = cell.as_ref().filter(|cell| cell.standing().breaks()) else { continue };
        let _ = writeln!(out, "{} {}", word(cell.standing()), run.target);
        if let Some(why) = &cell.outcome.why {
            let _ = writeln!(out, "  expected  {}\n  actual    {}", why.expected, why.actual);
        }
        if let Some((index, keeper)) = row.keeper(version)
            && let Some(other) = comparison.runs.get(index)
        {
            let plain = Paint { colour: false };
            out += &side_by_side::block((&run.target, cell), (&other.target, keeper), plain);
        }
    }
    out
}

fn columns(comparison: &Comparison, first: &str) -> String {
    let names = row(first, comparison.runs.iter().map(|run| text(&run.target)));
    format!("{names}|---|{}\n", "---|".repeat(comparison.runs.len()))
}

/// What a broker made of a case; of a free choice, which it was.
fn cell(cell: Option<&Cell>) -> String {
    let Some(cell) = cell else { return String::new() };
    let standing = cell.standing();
    let mechanism = cell.outcome.mechanism.as_deref().unwrap_or_default();
    match standing {
        Standing::Failed | Standing::Errored => format!("**{}**", word(standing)),
        Standing::Passed | Standing::Choice if !mechanism.is_empty() => {
            format!("{}: {}", word(standing), text(mechanism))
        }
        _ => word(standing).to_owned(),
    }
}

const fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Passed => "passed",
        Standing::Choice => "free choice",
        Standing::Failed => "failed",
        Standing::Known => "known",
        Standing::Errored => "errored",
        Standing::Skipped => "skipped",
    }
}

/// A row of a table; its cells are Markdown.
fn row(first: &str, cells: impl Iterator<Item = String>) -> String {
    let mut row = format!("| {first} |");
    for cell in cells {
        let _ = write!(row, " {cell} |");
    }
    row + "\n"
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
    format!("{}\n…", &text[..text.floor_char_boundary(limit)])
}
