//! What a person sees: failures as they happen, then what was skipped and why, then one line that
//! says how it went. Never says passed of a run in which something could not be told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};

use super::failure::{self, Context};
use super::paint::{BOLD, DIM, Paint, label};
use super::progress::Progress;
use super::tally::{State, counts_of};
use super::{Output, Report, Tally};
use crate::record::{CaseId, Event, EventKind, Outcome, Verdict, WireEvent};
use crate::text::{escape, plural};

/// Failures shown with everything; of those that follow only the first line is printed.
const BLOCKS_SHOWN: usize = 50;
/// Cases named when several are told in one line.
const NAMES_SHOWN: usize = 4;
/// Columns of a mechanism in front of a row.
const MECHANISM_WIDTH: usize = 20;

/// How much is said.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a command line")]
pub struct ConsoleOptions {
    /// ANSI sequences.
    pub colour: bool,
    /// A line for each case that passed, all failures in full.
    pub verbose: bool,
    /// Every packet as it is seen.
    pub trace: bool,
    /// A progress bar on stderr.
    pub progress: bool,
    /// Arguments that the repeating command needs besides file and `--only`, where the log does not say.
    pub again: String,
}

/// The console report.
pub struct Console {
    out: Output,
    options: ConsoleOptions,
    paint: Paint,
    context: Context,
    progress: Progress,
    /// Of the runs before the one that goes on.
    earlier: Vec<Sums>,
    sums: Sums,
    blocks: usize,
    shortened: usize,
    last_error: Option<(CaseId, String)>,
}

/// What is summed up at the end, of each run on its own: brokers are never added together.
#[derive(Default)]
struct Sums {
    tally: Tally,
    files: BTreeMap<String, BTreeMap<Verdict, usize>>,
    skipped: BTreeMap<String, Vec<CaseId>>,
    known: BTreeMap<String, Vec<CaseId>>,
}

impl Console {
    /// A console in the making.
    pub fn new(out: Output, options: ConsoleOptions) -> Self {
        Self {
            out,
            paint: Paint { colour: options.colour },
            context: Context { target: String::new(), again: options.again.clone() },
            progress: Progress::new(options.progress),
            options,
            earlier: Vec::new(),
            sums: Sums::default(),
            blocks: 0,
            shortened: 0,
            last_error: None,
        }
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        let out = &mut self.out;
        self.progress.suspend(|| out.write_all(text.as_bytes()))
    }

    fn started(&mut self, kind: &EventKind) -> io::Result<()> {
        let EventKind::RunStarted { mqttlab, target, seed, cases, virtual_time, plan, .. } = kind else {
            return Ok(());
        };
        self.context = Context::of(target, plan.as_ref(), &self.options.again);
        let time = if *virtual_time { ", virtual time" } else { "" };
        let shard = plan.as_ref().and_then(|plan| plan.shard);
        let shard = shard.map_or(String::new(), |shard| format!(", shard {shard}"));
        let line = format!(
            "mqttlab {} on {}: {}{shard}{time}, seed {seed}\n",
            escape(mqttlab),
            self.paint.with(BOLD, escape(target)),
            plural(*cases, "case"),
        );
        self.print(&line)
    }

    fn wire(&mut self, at: f64, case: &CaseId, wire: &WireEvent) -> io::Result<()> {
        if !self.options.trace {
            return Ok(());
        }
        let line = format!("{} {}\n", self.moment(at, case), escape(&wire.print()));
        self.print(&line)
    }

    fn broker_line(&mut self, at: f64, case: &CaseId, line: &str) -> io::Result<()> {
        if !self.options.trace {
            return Ok(());
        }
        let line = format!("{} broker | {}\n", self.moment(at, case), escape(line));
        self.print(&line)
    }

    /// `  0.001204 acl · v5 |`
    fn moment(&self, at: f64, case: &CaseId) -> String {
        self.paint.with(DIM, format_args!("{at:>10.6} {} |", escape(&case.to_string())))
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        let line = format!("{}  {}\n", self.paint.with(BOLD, "note"), escape(text));
        self.print(&line)
    }

    fn finished(&mut self, outcome: &Outcome) -> io::Result<()> {
        let id = &outcome.case.id;
        *self.sums.files.entry(id.file.clone()).or_default().entry(outcome.verdict).or_default() += 1;
        match outcome.verdict {
            Verdict::Passed => {
                if self.options.verbose || !outcome.notes.is_empty() {
                    let line = self.one_line(outcome);
                    self.print(&line)?;
                }
            }
            Verdict::Failed | Verdict::Errored => {
                let text = self.bad(outcome);
                self.print(&text)?;
            }
            Verdict::Skipped | Verdict::Known => {
                let reason = outcome.why.as_ref().map(|why| why.actual.clone()).unwrap_or_default();
                let sums = &mut self.sums;
                let group =
                    if outcome.verdict == Verdict::Known { &mut sums.known } else { &mut sums.skipped };
                group.entry(reason).or_default().push(id.clone());
                // A known deviation has a note where it is not what it was.
                let changed = outcome.verdict == Verdict::Known && !outcome.notes.is_empty();
                if self.options.verbose || changed {
                    let line = self.one_line(outcome);
                    self.print(&line)?;
                }
            }
        }
        Ok(())
    }

    /// `PASS [0.004s] silent   lab3 · acl · row 2  bob publishes …`, and its notes below. The
    /// mechanism stands first, so that it is a column.
    fn one_line(&self, outcome: &Outcome) -> String {
        let (word, style) = label(outcome.verdict);
        let mut line = format!("{} [{:.3}s] ", self.paint.with(style, word), outcome.seconds);
        if outcome.case.id.row.is_some() {
            let mechanism = escape(outcome.mechanism.as_deref().unwrap_or("-"));
            let _ = write!(line, "{mechanism:<MECHANISM_WIDTH$} ");
        }
        let _ = write!(line, "{}  ", self.paint.with(BOLD, escape(&outcome.case.id.to_string())));
        line += &escape(&outcome.case.title);
        line.push('\n');
        for note in &outcome.notes {
            let _ = writeln!(line, "  {}  {}", self.paint.with(DIM, "note    "), escape(note));
        }
        line
    }

    /// The whole block; or its first line if there were many, or if the reason is that of the row before.
    fn bad(&mut self, outcome: &Outcome) -> String {
        let mut table = outcome.case.id.clone();
        table.row = None;
        let reason = outcome.why.as_ref().map(|why| why.actual.clone()).unwrap_or_default();
        let this = (outcome.verdict == Verdict::Errored).then_some((table, reason));
        let again = this.is_some() && this == self.last_error;
        self.last_error = this;
        if !self.options.verbose && (again || self.blocks >= BLOCKS_SHOWN) {
            self.shortened += 1;
            return failure::headline(outcome, &self.context, self.paint) + "\n";
        }
        self.blocks += 1;
        failure::block(outcome, &self.context, self.options.colour)
    }

    fn summary(&self) -> String {
        let mut out = String::new();
        if self.shortened > 0 {
            let cases = plural(self.shortened, "case");
            let _ =
                writeln!(out, "{cases} shown by the first line only; --verbose shows all packets and hints");
        }
        let several = !self.earlier.is_empty();
        for sums in self.earlier.iter().chain([&self.sums]) {
            out += &sums.summary(self.paint, self.options.verbose, several);
        }
        out
    }
}

impl Sums {
    /// Of several runs, each says of which broker it is.
    fn summary(&self, paint: Paint, verbose: bool, several: bool) -> String {
        let mut out = String::new();
        let target = paint.with(BOLD, escape(&self.tally.target));
        if several {
            let _ = writeln!(out, "on {target}:");
        }
        if self.files.len() > 1 || verbose {
            out += &self.per_file();
        }
        out += &grouped(paint, Verdict::Skipped, &self.skipped);
        out += &grouped(paint, Verdict::Known, &self.known);
        if let Some((earned, all, untold)) = self.tally.points() {
            let _ = write!(out, "points {} of {}", points(earned), points(all));
            if untold > 0.0 {
                let _ = write!(out, " ({} could not be told)", points(untold));
            }
            out.push('\n');
        }
        out + &self.last_line(paint)
    }

    fn per_file(&self) -> String {
        let width = self.files.keys().map(|file| escape(file).chars().count()).max().unwrap_or(0);
        let mut out = String::new();
        for (file, counts) in &self.files {
            let counts = counts_of(|verdict| counts.get(&verdict).copied().unwrap_or(0));
            let _ = writeln!(out, "  {:<width$}  {counts}", escape(file));
        }
        out
    }

    /// `61 passed, 1 known in 0.42 s`, `FAILED: 1 failed, 61 passed in 0.42 s`, …
    fn last_line(&self, paint: Paint) -> String {
        let colour = match self.tally.state() {
            State::Incomplete | State::Errored => AnsiColor::Magenta,
            State::Failed => AnsiColor::Red,
            State::NothingTested => AnsiColor::Yellow,
            State::Passed => AnsiColor::Green,
        };
        let text = format!("{} in {}", self.tally.sentence(), self.tally.duration());
        paint.with(Style::new().bold().fg_color(Some(colour.into())), text) + "\n"
    }
}

impl Report for Console {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if matches!(event.kind, EventKind::RunStarted { .. }) && !self.context.target.is_empty() {
            self.earlier.push(std::mem::take(&mut self.sums));
        }
        self.sums.tally.event(event);
        self.progress.event(event);
        match &event.kind {
            started @ EventKind::RunStarted { .. } => self.started(started),
            EventKind::Wire { case, wire } => self.wire(event.at, case, wire),
            EventKind::BrokerLog { case, line } => self.broker_line(event.at, case, line),
            EventKind::Note { text } => self.note(text),
            EventKind::CaseFinished { outcome } => self.finished(outcome),
            EventKind::CaseStarted { .. }
            | EventKind::Tls { .. }
            | EventKind::Fence { .. }
            | EventKind::Checked { .. }
            | EventKind::RunFinished { .. } => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.progress.clear();
        let summary = self.summary();
        self.out.write_all(summary.as_bytes())?;
        self.out.flush()
    }
}

/// Cases of one verdict, a line for each reason.
fn grouped(paint: Paint, verdict: Verdict, groups: &BTreeMap<String, Vec<CaseId>>) -> String {
    let (word, style) = label(verdict);
    let mut out = String::new();
    for (reason, cases) in groups {
        let names: Vec<String> =
            cases.iter().take(NAMES_SHOWN).map(|case| escape(&case.to_string())).collect();
        let more = cases.len().saturating_sub(NAMES_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let _ = writeln!(
            out,
            "{} {}: {}\n      {}{more}",
            paint.with(style, word),
            plural(cases.len(), "case"),
            escape(reason),
            paint.with(DIM, names.join(", ")),
        );
    }
    out
}

/// Points to two places: shares of rows add up to what was shared.
fn points(points: f64) -> f64 {
    // The sum of nothing is -0.0.
    (points * 100.0).round() / 100.0 + 0.0
}
