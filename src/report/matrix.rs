//! What brokers do, side by side: a row a scenario, a column a broker and version; then where they
//! part, with the packets of the one that breaks the rule beside those of one that keeps it.
//!
//! Judges nothing: a rule is broken where the event log says Failed.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::comparison::{Cell, Comparison, Difference, Row, RowKey, Run, Standing};
use super::paint::{BOLD, DIM, Paint};
use super::progress::Progress;
use super::side_by_side;
use super::{Output, Report};
use crate::record::{Event, EventKind, Level};
use crate::text::{escape, plural, print_duration, shortened};

/// Differences that are shown with their packets; of those that follow only the first line.
const BLOCKS_SHOWN: usize = 50;
/// Columns of the name of a row.
const NAME_WIDTH: usize = 44;
/// Characters of a title beside a row.
const TITLE_SHOWN: usize = 70;
/// Columns of a cell.
const CELL: usize = 6;

/// How much is said.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a command line")]
pub struct MatrixOptions {
    /// ANSI sequences.
    pub colour: bool,
    /// Only rows in which brokers differ.
    pub only_different: bool,
    /// All differences with their packets, known ones too.
    pub verbose: bool,
    /// A progress bar on stderr.
    pub progress: bool,
}

/// The matrix report.
pub struct Matrix {
    out: Output,
    options: MatrixOptions,
    paint: Paint,
    comparison: Comparison,
    progress: Progress,
}

impl Matrix {
    /// A matrix in the making.
    pub fn new(out: Output, options: MatrixOptions) -> Self {
        Self {
            out,
            options,
            paint: Paint { colour: options.colour },
            comparison: Comparison::default(),
            progress: Progress::new(options.progress),
        }
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        let out = &mut self.out;
        self.progress.suspend(|| out.write_all(text.as_bytes()))
    }

    /// The rows, with the file above its first.
    fn table(&self) -> String {
        let layout = Layout::of(&self.comparison, self.options.only_different);
        if layout.rows.is_empty() {
            return String::new();
        }
        let mut out = self.head(&layout);
        let mut file = "";
        for (key, row) in &layout.rows {
            if key.file != file {
                file = &key.file;
                let _ = writeln!(out, "{}", self.paint.with(BOLD, escape(file)));
            }
            let _ = write!(out, "  {:<width$}", Layout::name(key), width = layout.width);
            for run in 0..self.comparison.runs.len() {
                out.push(' ');
                for version in &layout.versions {
                    let cell = row.versions.get(*version).and_then(|cells| cells.get(run)?.as_ref());
                    let (word, style) = word(cell);
                    out += &self.paint.with(style, format_args!("{word:<CELL$}"));
                }
                out += &" ".repeat(layout.columns[run] - layout.versions.len() * CELL);
            }
            let _ = writeln!(out, " {}", self.paint.with(DIM, shortened(&escape(&row.title), TITLE_SHOWN)));
        }
        out
    }

    /// The names of the brokers, and under each the versions.
    fn head(&self, layout: &Layout<'_>) -> String {
        let mut out = " ".repeat(layout.width + 2);
        for (run, width) in self.comparison.runs.iter().zip(&layout.columns) {
            let _ =
                write!(out, " {}", self.paint.with(BOLD, format_args!("{:<width$}", escape(&run.target))));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        let mut line = " ".repeat(layout.width + 2);
        for width in &layout.columns {
            let versions = layout.versions.iter().fold(String::new(), |mut line, version| {
                let _ = write!(line, "{:<CELL$}", escape(version));
                line
            });
            let _ = write!(line, " {versions:<width$}");
        }
        if !line.trim().is_empty() {
            out += &self.paint.with(DIM, line.trim_end());
            out.push('\n');
        }
        out
    }

    /// Each difference, what breaks a rule first.
    fn differences(&self) -> String {
        let (mut violations, mut choices) = (String::new(), String::new());
        let mut blocks = 0;
        for (key, row) in &self.comparison.rows {
            for version in row.versions.keys() {
                match row.difference(version) {
                    Difference::Violation => {
                        blocks += 1;
                        let packets = self.options.verbose || blocks <= BLOCKS_SHOWN;
                        violations += &self.violation(key, row, version, packets);
                    }
                    Difference::Choice => choices += &self.choice(key, row, version),
                    Difference::None | Difference::Untold => {}
                }
            }
        }
        if blocks > BLOCKS_SHOWN && !self.options.verbose {
            let more = plural(blocks - BLOCKS_SHOWN, "difference");
            let _ = writeln!(violations, "{more} without packets; --verbose shows all");
        }
        let mut out = String::new();
        if !violations.is_empty() {
            let _ = write!(out, "\n{}\n{violations}", self.paint.with(BOLD, "A rule is broken"));
        }
        if !choices.is_empty() {
            let _ = write!(out, "\n{}\n{choices}", self.paint.with(BOLD, "Free choices"));
        }
        out
    }

    /// One case of which one broker breaks the rule that another keeps.
    fn violation(&self, key: &RowKey, row: &Row, version: &str, packets: bool) -> String {
        let mut out = String::new();
        let cells = row.versions.get(version).map_or(&[][..], Vec::as_slice);
        let keeper = row.keeper(version);
        let spec = cells.iter().flatten().next().map_or(&[][..], |cell| &cell.outcome.case.spec);
        let cited = if spec.is_empty() { String::new() } else { format!("  [{}]", escape(&spec.join(" "))) };
        let _ = writeln!(
            out,
            "{}  {}{}",
            self.paint.with(BOLD, named(key, version)),
            escape(&row.title),
            self.paint.with(DIM, cited),
        );
        for (run, cell) in cells.iter().enumerate() {
            let (Some(cell), Some(broker)) = (cell, self.comparison.runs.get(run)) else { continue };
            if !cell.standing().breaks() {
                continue;
            }
            self.broken(&mut out, broker, cell);
            let shown = packets && (self.options.verbose || cell.standing() == Standing::Failed);
            if let (true, Some((kept, keeper))) = (shown, keeper) {
                let keeper = (self.comparison.runs[kept].target.as_str(), keeper);
                out += &side_by_side::block((&broker.target, cell), keeper, self.paint);
            }
        }
        out
    }

    fn broken(&self, out: &mut String, broker: &Run, cell: &Cell) {
        let (word, style) = word(Some(cell));
        let why = cell.outcome.why.clone().unwrap_or_default();
        let said = [("expected", &why.expected), ("actual", &why.actual)];
        let said = said.into_iter().filter(|(_, text)| !text.is_empty());
        let _ = writeln!(out, "  {} {}", self.paint.with(style, word), escape(&broker.target));
        for (name, text) in said {
            let _ =
                writeln!(out, "    {}  {}", self.paint.with(DIM, format_args!("{name:<8}")), escape(text));
        }
    }

    /// `acl · row 2 · v5  bundled: silent; mosquitto: PUBACK 0x87`
    fn choice(&self, key: &RowKey, row: &Row, version: &str) -> String {
        let cells = row.versions.get(version).into_iter().flatten().zip(&self.comparison.runs);
        let each = cells.filter_map(|(cell, broker)| {
            let outcome = &cell.as_ref()?.outcome;
            let did = match (&outcome.mechanism, outcome.unmet, outcome.notes.last()) {
                (Some(mechanism), ..) => mechanism.clone(),
                (None, true, Some(note)) => note.clone(),
                (None, true, None) => "does not".into(),
                (None, false, _) => "does".into(),
            };
            Some(format!("  {}: {}\n", escape(&broker.target), escape(&did)))
        });
        let level = if row.level == Level::Must { String::new() } else { format!("  {}", row.level) };
        let name = self.paint.with(BOLD, named(key, version));
        format!("{name}{level}  {}\n{}", escape(&row.title), each.collect::<String>())
    }

    /// A line a broker, and one that counts the differences.
    fn summary(&self) -> String {
        const ORDER: [(Standing, &str); 6] = [
            (Standing::Failed, "failed"),
            (Standing::Errored, "errored"),
            (Standing::Known, "known"),
            (Standing::Passed, "passed"),
            (Standing::Choice, "free choice"),
            (Standing::Skipped, "skipped"),
        ];
        let runs = &self.comparison.runs;
        let width = runs.iter().map(|run| escape(&run.target).chars().count()).max().unwrap_or(0);
        let mut out = String::from("\n");
        for run in runs {
            let counts = ORDER.iter().filter_map(|(standing, word)| {
                let count = *run.counts.get(standing)?;
                let several = *standing == Standing::Choice;
                Some(if several { plural(count, word) } else { format!("{count} {word}") })
            });
            let mut counts: Vec<String> = counts.collect();
            let missing = run.cases.saturating_sub(run.counts.values().sum());
            if missing > 0 {
                counts.push(format!("{missing} not run"));
            }
            let time = Duration::try_from_secs_f64(run.seconds).unwrap_or_default();
            let cut = if run.complete { "" } else { "INCOMPLETE: " };
            let counts = counts.join(", ");
            let target = self.paint.with(BOLD, format_args!("{:<width$}", escape(&run.target)));
            let _ = writeln!(out, "{target}  {cut}{counts} in {}", print_duration(time));
        }
        out + &self.last_line()
    }

    fn last_line(&self) -> String {
        let count = |difference| self.comparison.count(difference);
        let (broken, chosen, untold) =
            (count(Difference::Violation), count(Difference::Choice), count(Difference::Untold));
        let (text, colour) = if self.comparison.rows.is_empty() {
            ("nothing was compared".to_owned(), AnsiColor::Yellow)
        } else if broken + chosen + untold == 0 {
            ("no difference".to_owned(), AnsiColor::Green)
        } else {
            let parts = [
                (broken, plural(broken, "violation")),
                (chosen, plural(chosen, "free choice")),
                (untold, format!("{untold} that cannot be told")),
            ];
            let parts = parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text);
            let text = format!("differences: {}", parts.collect::<Vec<_>>().join(", "));
            (text, if broken > 0 { AnsiColor::Red } else { AnsiColor::Yellow })
        };
        self.paint.with(Style::new().bold().fg_color(Some(colour.into())), text) + "\n"
    }
}

impl Report for Matrix {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.comparison.event(event);
        self.progress.event(event);
        match &event.kind {
            EventKind::Note { text } => {
                let broker = self.comparison.runs.last().map_or("", |run| &run.target);
                let line =
                    format!("{}  {}: {}\n", self.paint.with(BOLD, "note"), escape(broker), escape(text));
                self.print(&line)
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.progress.clear();
        let text = self.table() + &self.differences() + &self.summary();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// What is shown and how wide.
struct Layout<'c> {
    rows: Vec<(&'c RowKey, &'c Row)>,
    versions: Vec<&'c str>,
    /// Columns of the names.
    width: usize,
    /// Columns of each broker.
    columns: Vec<usize>,
}

impl<'c> Layout<'c> {
    fn of(comparison: &'c Comparison, only_different: bool) -> Self {
        let differs = |row: &Row| row.greatest_difference() > Difference::None;
        let rows: Vec<_> =
            comparison.rows.iter().filter(|(_, row)| !only_different || differs(row)).collect();
        let versions: Vec<&str> = comparison.versions().into_iter().collect();
        let cells = versions.len() * CELL;
        let columns =
            comparison.runs.iter().map(|run| escape(&run.target).chars().count().max(cells) + 1).collect();
        let mut layout = Self { rows, versions, width: 0, columns };
        let names = layout.rows.iter().map(|(key, _)| Layout::name(key).chars().count());
        layout.width = names.max().unwrap_or(0);
        layout
    }

    fn name(key: &RowKey) -> String {
        let mut name = escape(&key.scenario);
        if let Some(row) = key.row {
            let _ = write!(name, " · row {row}");
        }
        if !key.variant.is_empty() {
            let _ = write!(name, " · {}", escape(&key.variant));
        }
        shortened(&name, NAME_WIDTH)
    }
}

/// `3.1-connect · second-connect · v5`
pub(super) fn named(key: &RowKey, version: &str) -> String {
    let mut variant = key.variant.clone();
    if !version.is_empty() {
        let comma = if variant.is_empty() { "" } else { "," };
        variant = format!("{variant}{comma}v{version}");
    }
    let id = crate::record::CaseId {
        file: key.file.clone(),
        scenario: key.scenario.clone(),
        variant,
        row: key.row,
    };
    escape(&id.to_string())
}

/// What a cell shows; what did not run at all is a stroke.
fn word(cell: Option<&Cell>) -> (&'static str, Style) {
    let Some(cell) = cell else { return ("-", DIM) };
    let (word, colour) = match cell.standing() {
        Standing::Passed => ("pass", AnsiColor::Green),
        Standing::Choice => ("free", AnsiColor::Cyan),
        Standing::Failed => ("FAIL", AnsiColor::Red),
        Standing::Known => ("known", AnsiColor::Yellow),
        Standing::Errored => ("ERROR", AnsiColor::Magenta),
        Standing::Skipped => ("skip", AnsiColor::Yellow),
    };
    (word, Style::new().fg_color(Some(colour.into())))
}
