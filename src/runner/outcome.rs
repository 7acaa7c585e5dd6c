//! Why a case is not Passed, and where: between a broker that is wrong (*Failed*) and a run that
//! could not tell (*Errored*).

use crate::diagnostic::Span;
use crate::record::{Excerpt, Explanation, Place};

/// Why a case ended early.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// The broker did something else than what was expected.
    Failed(Box<Explanation>),
    /// It could not be told.
    Errored(Box<Explanation>),
    /// What plays the client cannot do this.
    Skipped(String),
    /// Somebody wanted it left out.
    LeftOut(String),
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

    /// Nothing came: the broker is wrong, unless there is an excuse of our own.
    pub fn silent(
        span: &Span,
        expected: impl Into<String>,
        actual: impl Into<String>,
        excuse: Option<String>,
    ) -> Self {
        match excuse {
            None => Self::failed(span, expected, actual),
            Some(why) => Self::errored(span, expected, format!("{}; {why}", actual.into())),
        }
    }

    /// Says what came instead, as lines of packets.
    #[must_use]
    pub fn instead(mut self, came: Vec<String>) -> Self {
        if let Some(why) = self.explanation_mut() {
            why.came = came;
        }
        self
    }

    /// The explanation, where there is one.
    pub fn explanation_mut(&mut self) -> Option<&mut Explanation> {
        match self {
            Self::Failed(why) | Self::Errored(why) => Some(why),
            Self::Skipped(_) | Self::LeftOut(_) => None,
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

/// A span as reports show it: its first line without passwords, and how much of it is meant.
pub fn place(span: &Span) -> Place {
    let (line, column) = span.source.line_column(span.range.start);
    let text = Span::new(&span.source, span.source.line_span(line)).shown().into_owned();
    let meant = span.text().lines().next().unwrap_or_default().trim_end().chars().count();
    let width = meant.clamp(1, text.chars().count().saturating_sub(column - 1).max(1));
    Place { file: span.source.name.clone(), line, column, text, width }
}

/// Lines of a scenario that an event log holds.
const SOURCE_LINES: usize = 200;

/// The lines of the scenario that this place is in: from the `- ` of its list item to the next line that
/// stands as far to the left.
pub fn excerpt(span: &Span) -> Excerpt {
    let line_of = |number: usize| span.source.text.get(span.source.line_span(number)).unwrap_or_default();
    let depth = |line: &str| line.len() - line.trim_start().len();
    let at = span.line();
    let inside = depth(line_of(at));
    let opens = |line: &str| line.trim_start().starts_with("- ");
    let first = (1..=at)
        .rev()
        .find(|number| opens(line_of(*number)) && (*number == at || depth(line_of(*number)) < inside))
        .unwrap_or(at);
    let outside = depth(line_of(first));
    let rest = span.source.text.lines().skip(first);
    let below = rest.take_while(|line| line.trim().is_empty() || depth(line) > outside);
    let last = first + below.take(SOURCE_LINES - 1).count();
    let range = span.source.line_span(first).start..span.source.line_span(last).end;
    let shown = Span::new(&span.source, range);
    Excerpt { line: first, text: shown.shown().trim_end().replace("\r\n", "\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;

    #[test]
    fn silence_is_a_failure_unless_we_have_an_excuse() {
        let source = Source::new("a.yaml", "- a: ping");
        let span = Span::new(&source, 2..9);
        let actual = |trouble: Trouble| match trouble {
            Trouble::Failed(why) => ("failed", why.actual),
            Trouble::Errored(why) => ("errored", why.actual),
            Trouble::Skipped(why) | Trouble::LeftOut(why) => ("not run", why),
        };
        let failed = Trouble::silent(&span, "PINGRESP", "nothing", None);
        assert_eq!(actual(failed), ("failed", "nothing".to_owned()));
        let errored = Trouble::silent(&span, "PINGRESP", "nothing", Some("too busy".into()));
        assert_eq!(actual(errored), ("errored", "nothing; too busy".to_owned()));
    }

    #[test]
    fn passwords_are_not_in_a_place() {
        let text = "steps:\r\n- bob: {connect: {password: hunter2}}\r\n- bob: {publish: x}\r\n";
        let source = Source::new("a.yaml", text);
        let hunter = text.find("hunter2").expect("there");
        source.hide(std::iter::once(hunter..hunter + 7));
        let span = |word: &str| {
            let at = text.find(word).expect("there");
            Span::new(&source, at..at + word.len())
        };
        let bob = place(&span("bob: {connect: {password: hunter2}}"));
        assert_eq!((bob.line, bob.column), (2, 3));
        assert_eq!(bob.text, "- bob: {connect: {password: ***}}");
        assert_eq!(bob.width, bob.text.len() - 2);
        assert_eq!(place(&span("hunter2")).text, bob.text);
        assert_eq!(place(&span("bob: {publish: x}")).text, "- bob: {publish: x}");
        assert_eq!(excerpt(&span("bob: {publish")).text, "- bob: {publish: x}");
        assert_eq!(excerpt(&span("hunter2")).text, bob.text);
    }

    #[test]
    fn an_excerpt_is_the_whole_scenario_and_nothing_of_the_next() {
        let text = "lab: 1\nscenarios:\n- name: first\n  id: a\n\n  steps:\n  - x: 1\n\n- id: b\n";
        let source = Source::new("a.yaml", text);
        let of = |word: &str| {
            let at = text.find(word).expect("there");
            excerpt(&Span::new(&source, at..at + 1))
        };
        let first = Excerpt { line: 3, text: "- name: first\n  id: a\n\n  steps:\n  - x: 1".into() };
        assert_eq!(of("id: a"), first);
        assert_eq!(of("first"), first);
        assert_eq!(of("id: b"), Excerpt { line: 9, text: "- id: b".into() });
    }
}
