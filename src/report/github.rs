//! Workflow commands of GitHub Actions, which become annotations at the lines of the scenarios.
//!
//! Failed and errored cases are errors; a SHOULD that is not met, a known deviation that now fails
//! otherwise, and all other notes of cases that did not fail are warnings; the counts are a notice. GitHub
//! shows ten of each kind a step and keeps the rest in the log, so known deviations and skipped cases of
//! which there is nothing to note are left to the other reports.

use std::fmt::Write as _;
use std::io;

use super::failure::{Context, again};
use super::{Output, Report, Tally};
use crate::record::{Event, EventKind, Outcome, Place};
use crate::text::escape;

/// Bytes of one message; GitHub refuses more than 64 KiB.
const MESSAGE: usize = 8 * 1024;

/// The annotations.
pub struct Annotations {
    out: Output,
    again: String,
    context: Context,
    tally: Tally,
}

impl Annotations {
    /// Annotations in the making; `again` as [`Context::of`] takes it.
    pub fn new(out: Output, again: &str) -> Self {
        Self { out, again: again.to_owned(), context: Context::default(), tally: Tally::default() }
    }

    fn case(&mut self, outcome: &Outcome) -> io::Result<()> {
        let mut place = outcome.case.place.as_ref();
        let mut message = String::new();
        let level = if outcome.verdict.is_bad() {
            if let Some(why) = &outcome.why {
                place = why.place.as_ref().or(place);
                let _ =
                    writeln!(message, "expected: {}\nactual: {}", lines(&why.expected), lines(&why.actual));
                if let Some(hint) = &why.hint {
                    let _ = writeln!(message, "hint: {}", lines(hint));
                }
            }
            let _ = write!(message, "again: {}", lines(&again(outcome, &self.context)));
            "error"
        } else if outcome.notes.is_empty() {
            return Ok(());
        } else {
            message = outcome.notes.iter().map(|note| lines(note)).collect::<Vec<_>>().join("\n");
            "warning"
        };
        let verdict = outcome.verdict;
        let title =
            format!("{verdict}: {}: {} [{}]", outcome.case.id, outcome.case.title, self.context.target);
        self.command(level, place, &title, &message)
    }

    fn command(&mut self, level: &str, place: Option<&Place>, title: &str, message: &str) -> io::Result<()> {
        let mut at = String::new();
        if let Some(place) = place {
            let _ = write!(at, "file={},line={},col={},", property(&place.file), place.line, place.column);
        }
        writeln!(
            self.out,
            "::{level} {at}title={}::{}",
            property(title),
            data(&message[..message.floor_char_boundary(MESSAGE)])
        )
    }

    /// The counts of a run, and an error where it has no end.
    fn close_run(&mut self) -> io::Result<()> {
        let title = format!("mqttlab on {}", self.tally.target);
        let sentence = self.tally.sentence();
        let level = if self.tally.is_complete() && self.tally.missing() == 0 { "notice" } else { "error" };
        self.command(level, None, &title, &sentence)
    }
}

impl Report for Annotations {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let EventKind::RunStarted { target, plan, .. } = &event.kind {
            if !self.context.target.is_empty() {
                self.close_run()?;
            }
            self.tally = Tally::default();
            self.context = Context::of(target, plan.as_ref(), &self.again);
        }
        self.tally.event(event);
        match &event.kind {
            EventKind::CaseFinished { outcome } => self.case(outcome),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.close_run()?;
        self.out.flush()
    }
}

/// Several lines stay several lines; all else that could fool a terminal is escaped.
fn lines(text: &str) -> String {
    text.trim_end().lines().map(escape).collect::<Vec<_>>().join("\n")
}

/// The part behind `::`, as `@actions/core` escapes it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value before it, where `:` and `,` mean something too.
fn property(text: &str) -> String {
    data(&escape(text)).replace(':', "%3A").replace(',', "%2C")
}
