//! YAML text to a tree of nodes that know where they stand.
//!
//! The only user of the YAML library, so that it can be exchanged. Nothing here knows what a
//! scenario is: keys and meanings are `decode`'s business. Hostile text (deep, huge, looping
//! aliases) ends in a diagnostic within a budget, never in a panic or a hang.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, Error as YamlError, NonFiniteFloatPolicy, Spanned};

use crate::diagnostic::{Diagnostic, Source, Span};

/// Levels of lists and maps; more is an attack or an accident.
const MAX_DEPTH: usize = 64;
/// Values in one file; a suite of a hundred thousand steps fits.
const MAX_NODES: usize = 2_000_000;
/// Values that aliases unfold to.
const MAX_ALIASED: usize = 100_000;
/// Bytes of one file.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Deserialising 64 levels without optimisation needs more than a default stack.
const PARSER_STACK: usize = 16 * 1024 * 1024;

/// One value of a YAML document and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it stands; for an alias, where it is used.
    pub span: Span,
    /// Bytes of its text; for an alias, at its anchor.
    pub written: Range<usize>,
}

/// What a YAML value is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Nothing, `~` or `null`; the text as written.
    Null(String),
    /// `true` or `false`.
    Bool(bool),
    /// A number, as written (`007`, `0x87`, `1.50`).
    Number(String),
    /// Any other plain, quoted or block text, decoded.
    String(String),
    /// A list.
    Seq(Vec<Node>),
    /// Keys and values in the order written.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// As written (`3.1.1`, `5`).
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

impl Node {
    /// The text of a scalar as it was written.
    pub fn lexeme(&self) -> Option<&str> {
        match &self.kind {
            Kind::Bool(true) => Some("true"),
            Kind::Bool(false) => Some("false"),
            Kind::Null(text) | Kind::Number(text) | Kind::String(text) => Some(text),
            Kind::Seq(_) | Kind::Map(_) => None,
        }
    }

    /// True for nothing at all.
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null(_))
    }

    /// `a list`, `a map`, `the number 12`: for messages.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Null(_) => "nothing".into(),
            Kind::Bool(value) => format!("the boolean `{value}`"),
            Kind::Number(text) => format!("the number `{text}`"),
            Kind::String(text) if text.contains('\n') => "a text of several lines".into(),
            Kind::String(text) => format!("the text `{}`", crate::text::escape(text)),
            Kind::Seq(_) => "a list".into(),
            Kind::Map(_) => "a map".into(),
        }
    }

    /// The lines of a text as places in the file: of a literal block (`|`) line by line without
    /// the indentation, of a one-line scalar the one line. `None` where lines cannot be told
    /// apart in the file (folded or escaped text).
    pub fn lines(&self) -> Option<Vec<Range<usize>>> {
        let Kind::String(text) = &self.kind else { return None };
        let source = &self.span.source.text;
        match self.block() {
            Some(Block { literal: true, body }) => Some(literal_lines(source, body, text.lines())),
            Some(_) => None,
            None => {
                let found = self.span.text().find(text.as_str())?;
                let start = self.span.range.start + found;
                let line = Range { start, end: start + text.len() };
                (!text.contains('\n')).then(|| vec![line])
            }
        }
    }

    /// True for a literal or folded block.
    pub fn is_block(&self) -> bool {
        self.block().is_some()
    }

    /// The line of the file (from 1) that the first line of a literal block stands on.
    pub fn block_line(&self) -> Option<usize> {
        self.block().map(|block| self.span.source.line_column(block.body).0)
    }

    fn block(&self) -> Option<Block> {
        matches!(self.kind, Kind::String(_))
            .then(|| block_at(&self.span.source.text, self.span.range.start))
            .flatten()
    }
}

/// A block scalar.
struct Block {
    /// `|` and not `>`.
    literal: bool,
    /// Where the line below the header begins.
    body: usize,
}

/// The block whose content begins at `at`: only blank lines are between it and a `|` or `>` that
/// ends a line.
fn block_at(source: &str, at: usize) -> Option<Block> {
    let above = source[..at].trim_end();
    let header = above.rsplit('\n').next().unwrap_or(above);
    let body = above.len() + source[above.len()..at].find('\n')? + 1;
    let header = header.split(" #").next().unwrap_or(header).trim_end();
    let mark = header.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+'));
    let before = mark.strip_suffix(['|', '>'])?;
    let alone = before.is_empty() || before.ends_with([' ', '\t']);
    alone.then(|| Block { literal: mark.ends_with('|'), body })
}

/// Finds each line of a decoded literal block in the source: the same line less its indentation.
fn literal_lines<'a>(source: &str, body: usize, decoded: impl Iterator<Item = &'a str>) -> Vec<Range<usize>> {
    let mut at = body;
    decoded
        .map(|line| {
            let end = source[at..].find('\n').map_or(source.len(), |found| at + found);
            let written = source[at..end].trim_end_matches('\r');
            let start = at + written.len().saturating_sub(line.len());
            let range = start..at + written.len();
            at = (end + 1).min(source.len());
            range
        })
        .collect()
}

/// Values that lost their end because YAML took a lone `#` for a comment: `topic: home/ #`.
pub(super) fn lost_ends(node: &Node, found: &mut Vec<Diagnostic>) {
    match &node.kind {
        Kind::Seq(items) => items.iter().for_each(|item| lost_ends(item, found)),
        Kind::Map(entries) => entries.iter().for_each(|(_, value)| lost_ends(value, found)),
        Kind::String(_) | Kind::Number(_) | Kind::Bool(_) if !node.is_block() => {
            let rest = &node.span.source.text[node.span.range.end..];
            let rest = rest.lines().next().unwrap_or_default();
            let blanks = rest.len() - rest.trim_start().len();
            if blanks > 0 && rest.trim() == "#" {
                let at = node.span.range.end + blanks;
                let span = Span::new(&node.span.source, at..at + 1);
                let message =
                    format!("this `#` starts a comment, so the value is only `{}`", node.span.text());
                let help = "put the value in quotes, or leave out the `#`";
                found.push(Diagnostic::error("L020", span, message).with_help(help));
            }
        }
        _ => {}
    }
}

/// Parses one document.
pub(super) fn parse(source: &Arc<Source>, range: Range<usize>) -> Result<Node, Box<Diagnostic>> {
    let base = range.start;
    let text = &source.text[range];
    if text.len() > MAX_BYTES {
        let message = format!("this file has {} bytes; {MAX_BYTES} are the most", text.len());
        return Err(Box::new(Diagnostic::error("L003", Span::new(source, base..base), message)));
    }
    // The library skips a byte order mark without counting it.
    let (text, base) = match text.strip_prefix('\u{feff}') {
        Some(rest) => (rest, base + '\u{feff}'.len_utf8()),
        None => (text, base),
    };
    let parsed = std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("yaml".into())
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || {
                serde_yaml::from_str_with_options::<Raw>(text, options())
                    .map_err(|error| explain(&error, source, base))
                    .map(|raw| Place { source, base }.node(raw))
            })
            .map(std::thread::ScopedJoinHandle::join)
    });
    match parsed {
        Ok(Ok(result)) => result,
        // The library's own defect, or no memory for a thread: still an answer.
        Ok(Err(_)) | Err(_) => Err(Box::new(Diagnostic::error(
            "L001",
            Span::new(source, base..base),
            "this file cannot be read as YAML",
        ))),
    }
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_documents: 2,
            max_anchors: 1_000,
            max_recorded_anchor_events: MAX_ALIASED,
            max_total_scalar_bytes: MAX_BYTES,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MAX_ALIASED },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

/// The library's error as a diagnostic of ours.
fn explain(error: &YamlError, source: &Arc<Source>, base: usize) -> Box<Diagnostic> {
    let mut error = error.without_snippet();
    while let YamlError::AliasError { error: inner, .. } = error {
        error = inner.without_snippet();
    }
    let range = error.location().map_or(base..base, |at| byte_range(&at, source, base));
    let span = Span::new(source, range);
    let too_deep = || {
        Diagnostic::error(
            "L003",
            span.clone(),
            "this file is nested too deeply or unfolds to too many values",
        )
        .with_help(format!("at most {MAX_DEPTH} levels and {MAX_NODES} values, aliases unfolded"))
    };
    let found = match error {
        YamlError::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("this");
            Diagnostic::error("L002", span, format!("the key `{}` is here twice", crate::text::escape(key)))
                .with_help("keep one of them; a later one does not override an earlier one")
        }
        YamlError::Budget { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. } => too_deep(),
        YamlError::ExternalMessage { msg, .. } if msg.contains("recursion limit") => too_deep(),
        YamlError::MultipleDocuments { .. } => {
            Diagnostic::error("L001", span, "a second document begins here")
                .with_help("one file, one document")
        }
        YamlError::UnknownAnchor { .. } => Diagnostic::error("L001", span, "this alias has no anchor"),
        YamlError::ExternalMessage { msg, .. } | YamlError::Message { msg, .. } => {
            syntax(span, &crate::text::escape(msg))
        }
        other => syntax(span, &crate::text::escape(&without_place(&other.to_string()))),
    };
    Box::new(found)
}

/// The library ends its messages with a position that ours shows better.
fn without_place(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

fn syntax(span: Span, message: &str) -> Diagnostic {
    let text = &span.source.text;
    let line = span.line();
    let near = line.saturating_sub(1).max(1)..=line;
    let hash = near.clone().any(|line| text[span.source.line_span(line)].contains(" #"));
    let tab = message.contains("tab");
    let brace = near.into_iter().any(|line| text[span.source.line_span(line)].contains("${"));
    let found = Diagnostic::error("L001", span, format!("this is not YAML: {message}"));
    if tab {
        found.with_help("indent with spaces; YAML does not take tabs")
    } else if hash {
        found.with_help(
            "a `#` after a space starts a comment: quote a topic filter that begins with it (\"#\")",
        )
    } else if brace {
        found.with_help("inside `{…}` and `[…]` a variable must stand in quotes: \"${name}\"")
    } else {
        found
    }
}

/// The byte at this line and column (in characters), both from 1; the end if there is none.
fn offset_of(text: &str, line: u64, column: u64) -> usize {
    let mut lines = text.split_inclusive('\n');
    let before: usize =
        lines.by_ref().take(usize::try_from(line).unwrap_or(1).saturating_sub(1)).map(str::len).sum();
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let line = lines.next().unwrap_or_default().trim_end_matches(['\n', '\r']);
    before + line.char_indices().nth(column).map_or(line.len(), |(at, _)| at)
}

fn byte_range(at: &serde_yaml::Location, source: &Source, base: usize) -> Range<usize> {
    let span = at.span();
    let known = span.byte_offset().zip(span.byte_len());
    let range = known.and_then(|(offset, len)| {
        let start = base + usize::try_from(offset).ok()?;
        Some(start..start + usize::try_from(len).ok()?)
    });
    let range = range.unwrap_or_else(|| {
        let start = base + offset_of(&source.text[base..], at.line(), at.column());
        start..start + source.text[start..].chars().next().map_or(0, char::len_utf8)
    });
    let end = range.end.min(source.text.len());
    range.start.min(end)..end
}

/// Turns raw values into nodes of one text.
struct Place<'a> {
    source: &'a Arc<Source>,
    base: usize,
}

impl Place<'_> {
    fn node(&self, raw: Raw) -> Node {
        let mut span = Span::new(self.source, byte_range(&raw.0.referenced, self.source, self.base));
        let mut defined = byte_range(&raw.0.defined, self.source, self.base);
        let written = || self.source.text.get(defined.clone()).unwrap_or_default();
        let kind = match raw.0.value {
            RawKind::Null => {
                let text = written();
                Kind::Null(if matches!(text, "~" | "null" | "Null" | "NULL") {
                    text.into()
                } else {
                    String::new()
                })
            }
            RawKind::Bool(value) => Kind::Bool(value),
            RawKind::Number => Kind::Number(written().trim().to_owned()),
            RawKind::String(text) => {
                span.range = self.narrowed(span.range, &text);
                defined = self.narrowed(defined.clone(), &text);
                Kind::String(text)
            }
            RawKind::Seq(items) => {
                let items: Vec<Node> = items.into_iter().map(|item| self.node(item)).collect();
                let end = items.last().map(|last| last.span.range.end);
                span.range = self.widened(span.range, end);
                Kind::Seq(items)
            }
            RawKind::Map(entries) => {
                let entries: Vec<(Key, Node)> = entries
                    .into_iter()
                    .map(|(key, value)| {
                        let range = byte_range(&key.referenced, self.source, self.base);
                        (Key { text: key.value, span: Span::new(self.source, range) }, self.node(value))
                    })
                    .collect();
                let end = entries.last().map(|(key, last)| last.span.range.end.max(key.span.range.end));
                span.range = self.widened(span.range, end);
                Kind::Map(entries)
            }
        };
        Node { kind, span, written: defined }
    }

    /// A block reaches to the end of its text; the library lets it reach to what comes next.
    fn narrowed(&self, range: Range<usize>, text: &str) -> Range<usize> {
        let source = &self.source.text;
        let Some(block) = block_at(source, range.start) else { return range };
        let lines = if block.literal { literal_lines(source, block.body, text.lines()) } else { Vec::new() };
        let end = match lines.last() {
            Some(last) => last.end,
            None => range.start + source[range.clone()].trim_end().len(),
        };
        range.start.min(end)..end
    }

    /// A collection reaches to its last item (an alias within it may stand anywhere).
    fn widened(&self, range: Range<usize>, end: Option<usize>) -> Range<usize> {
        let end = end.unwrap_or(range.end).max(range.end);
        let flow = self.source.text[range.start..].starts_with(['{', '[']);
        let rest = self.source.text[end..].trim_start();
        if flow && rest.starts_with(['}', ']']) && end > range.start + 1 {
            return range.start..self.source.text.len() - rest.len() + 1;
        }
        range.start..end
    }
}

/// A value as the library gives it.
struct Raw(Spanned<RawKind>);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Raw)
    }
}

enum RawKind {
    Null,
    Bool(bool),
    Number,
    String(String),
    Seq(Vec<Raw>),
    Map(Vec<(Spanned<String>, Raw)>),
}

impl<'de> Deserialize<'de> for RawKind {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<RawKind, E> {
        Ok(RawKind::Null)
    }

    fn visit_none<E>(self) -> Result<RawKind, E> {
        Ok(RawKind::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawKind, E> {
        Ok(RawKind::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<RawKind, E> {
        Ok(RawKind::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<RawKind, E> {
        Ok(RawKind::Number)
    }

    fn visit_i128<E>(self, _: i128) -> Result<RawKind, E> {
        Ok(RawKind::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<RawKind, E> {
        Ok(RawKind::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<RawKind, E> {
        Ok(RawKind::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<RawKind, E> {
        Ok(RawKind::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<RawKind, E> {
        Ok(RawKind::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawKind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(RawKind::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawKind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(RawKind::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn tree(text: &str) -> Node {
        let source = Source::new("t.yaml", text);
        parse(&source, 0..text.len()).unwrap_or_else(|error| panic!("{}", error.render(false)))
    }

    fn get<'a>(node: &'a Node, key: &str) -> &'a Node {
        let Kind::Map(entries) = &node.kind else { panic!("a map, not {node:?}") };
        &entries.iter().find(|(k, _)| k.text == key).expect("there").1
    }

    #[test]
    fn scalars_keep_what_was_written() {
        let node =
            tree("a: 007\nb: 12\nc: yes\nd: true\ne: 0x87\nf:\ng: ~\nh: \"12\"\n3.1.1: x\n5: é\ni: .inf\n");
        assert!(matches!(&get(&node, "a").kind, Kind::Number(t) if t == "007"));
        assert!(matches!(&get(&node, "b").kind, Kind::Number(t) if t == "12"));
        assert!(matches!(&get(&node, "c").kind, Kind::String(t) if t == "yes"));
        assert!(matches!(&get(&node, "d").kind, Kind::Bool(true)));
        assert!(matches!(&get(&node, "e").kind, Kind::Number(t) if t == "0x87"));
        assert!(matches!(&get(&node, "f").kind, Kind::Null(t) if t.is_empty()));
        assert!(matches!(&get(&node, "g").kind, Kind::Null(t) if t == "~"));
        assert!(matches!(&get(&node, "h").kind, Kind::String(t) if t == "12"));
        assert_eq!(get(&node, "3.1.1").span.text(), "x");
        assert_eq!(get(&node, "5").span.location(), "t.yaml:10:4");
        assert_eq!(get(&node, "i").lexeme(), Some(".inf"));
    }

    #[test]
    fn spans_of_collections_and_aliases() {
        let node = tree("x: &a {q: 1, r: [2, 3] }\ny: *a\nz:\n- 1\n- b: c\n");
        assert_eq!(get(&node, "x").span.text(), "{q: 1, r: [2, 3] }");
        assert_eq!(get(&node, "y").span.location(), "t.yaml:2:4");
        assert_eq!(get(get(&node, "y"), "q").lexeme(), Some("1"));
        assert_eq!(get(&node, "z").span.text(), "1\n- b: c");
    }

    #[test]
    fn lines_of_literal_blocks_are_places_in_the_file() {
        for text in [
            "a:\n  b: |\n    one\n\n      two\n    é\n  c: d\n",
            "a:\r\n  b: |-\r\n    one\r\n\r\n      two\r\n    é\r\n  c: d\r\n",
            "\u{feff}a:\n  b: |4\n        one\n\n          two\n        é",
        ] {
            let source = Source::new("t.yaml", text);
            let node = parse(&source, 0..text.len()).expect("valid");
            let block = get(get(&node, "a"), "b");
            let lines: Vec<&str> = block.lines().expect("a block").into_iter().map(|r| &text[r]).collect();
            let wanted: Vec<&str> = block.lexeme().expect("text").lines().collect();
            assert_eq!(lines, wanted, "{text:?}");
            assert_eq!(wanted.len(), 4);
        }
        let node = tree("a: x.md\nb: \"q\\nr\"\nc: >\n  fold\n  ed\n");
        assert_eq!(get(&node, "a").lines(), Some(vec![Range { start: 3, end: 7 }]));
        assert_eq!(get(&node, "b").lines(), None);
        assert_eq!(get(&node, "c").lines(), None);
    }

    #[test]
    fn hostile_text_is_answered_with_a_diagnostic() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let previous = format!("*a{}, ", level - 1).repeat(9);
            let _ = writeln!(bomb, "a{level}: &a{level} [{previous}]");
        }
        let deep = format!("base: {}", "[".repeat(100_000));
        let dashes = "- ".repeat(50_000);
        let texts = [
            ("a: 1\na: 2\n", "L002"),
            ("a: [1\nb: 2\n", "L001"),
            ("a:\n\t- b: 1\n", "L001"),
            ("a: 1\n---\nb: 2\n", "L001"),
            ("a: *no\n", "L001"),
            (&deep, "L003"),
            (&dashes, "L003"),
            (&bomb, "L003"),
            ("a: b\u{0}c\n", "L001"),
            ("a: \u{1b}[31m\n", "L001"),
            ("a: [#, b]\n", "L001"),
        ];
        for (text, wanted) in texts {
            let source = Source::new("t.yaml", text);
            let found = parse(&source, 0..text.len());
            let shown = &text[..text.len().min(40)];
            let finding = found.err().unwrap_or_else(|| panic!("{shown:?} was taken"));
            assert_eq!(finding.code, wanted, "{shown:?}: {}", finding.message);
        }
    }
}
