//! Errors about something a person wrote: file, line, column, caret, and a way out.
//!
//! A leaf: every reader of files (scenario, configuration, ACL, table) collects `Diagnostic`s and
//! returns all of them at once; only the command line prints them.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A text that a person wrote, and its name.
#[derive(Debug)]
pub struct Source {
    /// The path as it was given.
    pub name: String,
    /// The whole text.
    pub text: String,
    /// Where its lines begin, once somebody asked: a table of thousands of rows asks for each.
    lines: OnceLock<Vec<usize>>,
    /// What reports do not show of it, in ascending order.
    hidden: OnceLock<Vec<Range<usize>>>,
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.text == other.text
    }
}

impl Eq for Source {}

impl Source {
    /// Wraps a text for sharing among spans.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
            lines: OnceLock::new(),
            hidden: OnceLock::new(),
        })
    }

    /// Says which bytes [`Span::shown`] keeps to itself, once and for all.
    pub fn hide(&self, ranges: impl IntoIterator<Item = Range<usize>>) {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_by_key(|range| range.start);
        let mut apart: Vec<Range<usize>> = Vec::new();
        for range in ranges {
            match apart.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => apart.push(range),
            }
        }
        // Who reads the same text again finds the same.
        let _ = self.hidden.set(apart);
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let ends = self.text.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(ends).collect()
        })
    }

    /// Line and column (in characters), both from 1, of a byte offset.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines().partition_point(|start| *start <= offset);
        let start = self.lines()[line - 1];
        (line, self.text[start..offset].chars().count() + 1)
    }

    /// The bytes of line `line` (from 1), without its end of line.
    pub fn line_span(&self, line: usize) -> Range<usize> {
        let Some(start) = line.checked_sub(1).and_then(|index| self.lines().get(index)).copied() else {
            return self.text.len()..self.text.len();
        };
        let end = self.lines().get(line).map_or(self.text.len(), |next| next - 1);
        start..start + self.text[start..end].trim_end_matches('\r').len()
    }
}

/// A place in a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Which text.
    pub source: Arc<Source>,
    /// Which bytes of it.
    pub range: Range<usize>,
}

impl Span {
    /// A place.
    pub fn new(source: &Arc<Source>, range: Range<usize>) -> Self {
        Self { source: Arc::clone(source), range }
    }

    /// `lab3.yaml:31:7`.
    pub fn location(&self) -> String {
        let (line, column) = self.source.line_column(self.range.start);
        format!("{}:{line}:{column}", self.source.name)
    }

    /// `lab3.yaml:31`.
    pub fn file_line(&self) -> String {
        format!("{}:{}", self.source.name, self.line())
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.source.line_column(self.range.start).0
    }

    /// The text at this place.
    pub fn text(&self) -> &str {
        self.source.text.get(self.range.clone()).unwrap_or_default()
    }

    /// The text at this place with asterisks for what is hidden of it; as many lines.
    pub fn shown(&self) -> Cow<'_, str> {
        let Range { start, end } = self.range.clone();
        let hidden = self.source.hidden.get().map_or(&[][..], Vec::as_slice);
        let first = hidden.partition_point(|range| range.end <= start);
        let mut inside = hidden[first..].iter().take_while(|range| range.start < end).peekable();
        if inside.peek().is_none() {
            return self.text().into();
        }
        let written = |range: Range<usize>| self.source.text.get(range).unwrap_or_default();
        let mut shown = String::new();
        let mut at = start;
        for range in inside {
            shown += written(at..range.start.max(start));
            at = range.end.min(end);
            for line in written(range.start.max(start)..at).split_inclusive('\n') {
                let ends = line.trim_end().len();
                let indented = line.len() - line.trim_start().len();
                if indented < ends {
                    shown += &line[..indented];
                    shown += "***";
                }
                shown += &line[ends..];
            }
        }
        shown += written(at..end);
        shown.into()
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing starts.
    Error,
    /// Likely a mistake.
    Warning,
}

/// One finding about something a person wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code: `L…` scenario language, `T…` tables, `C…` mosquitto.conf, `A…` ACL file,
    /// `P…` password file, `B…` baseline.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// Where; `None` when the file itself is the trouble.
    pub span: Option<Span>,
    /// A name for the place beyond its line: `acl_table, row 3`.
    pub place: Option<String>,
    /// Other places that matter, each with a word why.
    pub related: Vec<(Span, String)>,
    /// The way out.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            span: Some(span),
            place: None,
            related: Vec::new(),
            help: None,
        }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// An error about a file as a whole (missing, unreadable).
    pub fn file_error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            span: None,
            place: None,
            related: Vec::new(),
            help: None,
        }
    }

    /// Adds the way out.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a name for the place.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Adds another place that matters.
    #[must_use]
    pub fn with_related(mut self, span: Span, why: impl Into<String>) -> Self {
        self.related.push((span, why.into()));
        self
    }

    /// True for an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// As rustc prints it; with ANSI colours if `colour`.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message.as_str()).id(self.code);
        let mut group = match &self.span {
            None => Group::with_title(title),
            Some(span) => title.element(
                Snippet::source(span.source.text.as_str())
                    .path(span.source.name.as_str())
                    .annotation(AnnotationKind::Primary.span(clamp(span))),
            ),
        };
        for (span, why) in &self.related {
            group = group.element(
                Snippet::source(span.source.text.as_str())
                    .path(span.source.name.as_str())
                    .annotation(AnnotationKind::Context.span(clamp(span)).label(why.as_str())),
            );
        }
        if let Some(place) = &self.place {
            group = group.element(Level::NOTE.message(format!("in {place}")));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

/// The range of a span, made to lie on character borders inside its text.
fn clamp(span: &Span) -> Range<usize> {
    let text = &span.source.text;
    let border = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = border(span.range.start);
    start..border(span.range.end).max(start)
}

/// True if any of them is an error.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(Diagnostic::is_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_file_line_column_caret_and_help() {
        let source = Source::new("lab3.yaml", "a: 1\nb: héllo #x\n");
        let at = source.text.find('#').expect("there");
        let found = Diagnostic::error("L014", Span::new(&source, at..at + 1), "no such thing")
            .at("acl_table, row 3")
            .with_help("leave it out")
            .render(false);
        assert!(found.contains("error[L014]: no such thing"), "{found}");
        assert!(found.contains("lab3.yaml:2:10"), "{found}");
        assert!(found.contains("help: leave it out"), "{found}");
        assert!(found.contains("acl_table, row 3"), "{found}");
    }

    #[test]
    fn spans_out_of_range_do_not_panic() {
        let source = Source::new("x", "é");
        let wild = Diagnostic::error("L001", Span::new(&source, 1..99), "m");
        assert!(wild.render(false).contains("x:1:1"));
    }
}
