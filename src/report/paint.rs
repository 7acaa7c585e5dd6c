//! Colours, or none. Whether there are any is decided once, by who opens the output.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

use crate::record::Verdict;

/// Puts styles around text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Paint {
    /// True for ANSI sequences.
    pub colour: bool,
}

/// What is least: numbers, frames, times.
pub const DIM: Style = Style::new().dimmed();
/// What stands out without being good or bad.
pub const BOLD: Style = Style::new().bold();

impl Paint {
    /// The text in a style.
    pub fn with(self, style: Style, text: impl Display) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_string() }
    }
}

/// The word and the style of a verdict.
pub fn label(verdict: Verdict) -> (&'static str, Style) {
    let (word, colour) = match verdict {
        Verdict::Passed => ("PASS", AnsiColor::Green),
        Verdict::Failed => ("FAIL", AnsiColor::Red),
        Verdict::Errored => ("ERROR", AnsiColor::Magenta),
        Verdict::Skipped => ("SKIP", AnsiColor::Yellow),
        Verdict::Known => ("KNOWN", AnsiColor::Yellow),
    };
    (word, Style::new().bold().fg_color(Some(colour.into())))
}
