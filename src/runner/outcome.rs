//! Why a case is not Passed, and where: between a broker that is wrong (*Failed*) and a run that
//! could not tell (*Errored*).

use crate::diagnostic::Span;
use crate::record::{Explanation, Place};

/// Why a case ended early.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// The broker did something else than what was expected.
    Failed(Box<Explanation>),
    /// It could not be told.
    Errored(Box<Explanation>),
    /// What plays the client cannot do this.
    Skipped(String),
}

/// What a step comes to.
pub type Done<T = ()> = Result<T, Trouble>;

impl Trouble {
    /// The broker is wrong.
    pub fn failed(span: &Span, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::Failed(Box::new(explain(span, expected, actual)))
    }

    /// It could not be told.
    pub fn errored(span: &Span, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::Errored(Box::new(explain(span, expected, actual)))
    }

    /// The explanation, where there is one.
    pub fn explanation_mut(&mut self) -> Option<&mut Explanation> {
        match self {
            Self::Failed(why) | Self::Errored(why) => Some(why),
            Self::Skipped(_) => None,
        }
    }
}

fn explain(span: &Span, expected: impl Into<String>, actual: impl Into<String>) -> Explanation {
    Explanation {
        expected: expected.into(),
        actual: actual.into(),
        place: Some(place(span)),
        ..Explanation::default()
    }
}

/// A span as reports show it: its first line, and how much of it is meant.
pub fn place(span: &Span) -> Place {
    let (line, column) = span.source.line_column(span.range.start);
    let text = span.source.text[span.source.line_span(line)].to_owned();
    let meant = span.text().lines().next().unwrap_or_default().trim_end().chars().count();
    let width = meant.clamp(1, text.chars().count().saturating_sub(column - 1).max(1));
    Place { file: span.source.name.clone(), line, column, text, width }
}
