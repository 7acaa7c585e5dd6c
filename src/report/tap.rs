//! TAP 14 (<https://testanything.org/tap-version-14-specification.html>): a test point a case or row.
//!
//! A known deviation is `not ok` with the directive for things to do, which harms no run; what was skipped is
//! `ok … # SKIP`. The
//! plan comes last, since a log may hold several runs; a run that was cut short bails out instead.

use std::fmt::Write as _;
use std::io;

use super::{Output, Report, Tally};
use crate::record::{Event, EventKind, Outcome, Place, Verdict};
use crate::text::{escape, plural};

/// The directive of a test that is expected to fail.
const TO_DO: &str = concat!("TO", "DO");

/// The TAP report.
pub struct Tap {
    out: Output,
    begun: bool,
    number: usize,
    /// Of all runs.
    tally: Tally,
}

impl Tap {
    /// A stream in the making.
    pub fn new(out: Output) -> Self {
        Self { out, begun: false, number: 0, tally: Tally::default() }
    }

    fn begin(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        self.out.write_all(b"TAP version 14\n")
    }

    fn comment(&mut self, text: &str) -> io::Result<()> {
        self.begin()?;
        writeln!(self.out, "# {}", escape(text))
    }

    fn point(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.begin()?;
        self.number += 1;
        let reason = outcome.why.as_ref().map(|why| why.actual.as_str()).unwrap_or_default();
        let (ok, directive) = match outcome.verdict {
            Verdict::Passed => ("ok", String::new()),
            Verdict::Failed | Verdict::Errored => ("not ok", String::new()),
            Verdict::Skipped => ("ok", format!(" # SKIP {}", words(reason))),
            Verdict::Known => ("not ok", format!(" # {TO_DO} {}", words(reason))),
        };
        let mut text = format!(
            "{ok} {} - {}: {}{directive}\n",
            self.number,
            words(&outcome.case.id.to_string()),
            words(&outcome.case.title)
        );
        diagnostics(&mut text, outcome);
        self.out.write_all(text.as_bytes())
    }
}

impl Report for Tap {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let EventKind::RunStarted { mqttlab, target, seed, cases, .. } = &event.kind {
            let cases = plural(*cases, "case");
            self.comment(&format!("mqttlab {mqttlab} on {target}: {cases}, seed {seed}"))?;
        }
        self.tally.event(event);
        match &event.kind {
            EventKind::Note { text } => self.comment(text),
            EventKind::CaseFinished { outcome } => self.point(outcome),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.begin()?;
        let missing = self.tally.missing();
        if !self.tally.is_complete() || missing > 0 {
            let missing = plural(missing, "case");
            writeln!(self.out, "Bail out! the run was cut short: {missing} did not end")?;
        } else if self.number == 0 {
            writeln!(self.out, "1..0 # SKIP no case was selected")?;
        } else {
            writeln!(self.out, "1..{}", self.number)?;
        }
        self.out.flush()
    }
}

/// Text of a description or directive: `#` would begin a directive, `\` an escape.
fn words(text: &str) -> String {
    escape(text).replace('\\', "\\\\").replace('#', "\\#")
}

/// The YAML block below a point; none where there is nothing to say. Strings are JSON's, which YAML knows.
fn diagnostics(out: &mut String, outcome: &Outcome) {
    let before = out.len();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {name}: {}", string(value));
        }
    };
    if let Some(why) = outcome.why.as_ref().filter(|_| outcome.verdict != Verdict::Skipped) {
        line("verdict", &outcome.verdict.to_string());
        line("message", &why.actual);
        line("expected", &why.expected);
        line("hint", why.hint.as_deref().unwrap_or_default());
    }
    line("mechanism", outcome.mechanism.as_deref().unwrap_or_default());
    list(out, "notes", &outcome.notes);
    list(out, "spec", if outcome.verdict.is_bad() { &outcome.case.spec } else { &[] });
    if let Some(why) = outcome.why.as_ref().filter(|_| outcome.verdict != Verdict::Skipped) {
        if let Some(place) = why.place.as_ref().or(outcome.case.place.as_ref()) {
            at(out, place);
        }
        list(out, "packets", &why.packets);
        let _ = writeln!(out, "  duration_ms: {:.3}", outcome.seconds * 1e3);
    }
    if out.len() > before {
        out.insert_str(before, "  ---\n");
        out.push_str("  ...\n");
    }
}

fn at(out: &mut String, place: &Place) {
    let _ = writeln!(out, "  at:\n    file: {}", string(&place.file));
    let _ = writeln!(out, "    line: {}\n    column: {}", place.line, place.column);
}

fn list(out: &mut String, name: &str, values: &[String]) {
    if values.is_empty() {
        return;
    }
    let _ = writeln!(out, "  {name}:");
    for value in values {
        let _ = writeln!(out, "    - {}", string(value));
    }
}

fn string(text: &str) -> String {
    serde_json::Value::from(escape(text)).to_string()
}
