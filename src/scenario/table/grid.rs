//! A table as cells with their places, whatever it was written in.
//!
//! Knows Markdown, CSV and YAML; what the cells mean is `read`'s business.

use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{Source, Span};
use crate::scenario::node::{Kind, Node};
use crate::scenario::scope::Scope;

/// One cell.
#[derive(Debug, Clone)]
pub(in crate::scenario) struct Cell {
    /// What it says, trimmed and without escapes.
    pub text: String,
    /// Where it says so.
    pub span: Span,
    /// All that stands between its bars, where a new text can be put.
    pub room: Option<Span>,
}

/// One row.
#[derive(Debug, Clone)]
pub(in crate::scenario) struct GridRow {
    /// In the order of the header; may be fewer.
    pub cells: Vec<Cell>,
    /// The whole row.
    pub span: Span,
}

/// A table.
#[derive(Debug, Clone)]
pub(in crate::scenario) struct Grid {
    /// Names of the columns.
    pub header: GridRow,
    /// The rows.
    pub rows: Vec<GridRow>,
}

impl Grid {
    /// Reads lines of Markdown or CSV.
    pub fn of_lines(scope: &Scope, source: &Arc<Source>, lines: &[Range<usize>]) -> Option<Self> {
        let mut lines = lines.iter().filter(|line| !source.text[(*line).clone()].trim().is_empty());
        let first = lines.next()?;
        if source.text[first.clone()].contains('|') {
            markdown(scope, source, first, lines)
        } else {
            csv(scope, source, first, lines)
        }
    }

    /// Reads a list of maps, one a row, with the names of the columns as keys.
    pub fn of_list(scope: &Scope, node: &Node) -> Option<Self> {
        let Kind::Seq(items) = &node.kind else { return None };
        let mut header: Vec<Cell> = Vec::new();
        for item in items {
            let Kind::Map(entries) = &item.kind else {
                scope.wrong(item, "acl_table", "a list of rows, each a map from columns to cells");
                return None;
            };
            for (key, _) in entries {
                if !header.iter().any(|cell| cell.text == key.text) {
                    header.push(Cell { text: key.text.clone(), span: key.span.clone(), room: None });
                }
            }
        }
        let rows = items.iter().map(|item| row_of_map(&header, item)).collect();
        let header = GridRow { cells: header, span: node.span.clone() };
        Some(Self { header, rows })
    }
}

fn row_of_map(header: &[Cell], item: &Node) -> GridRow {
    let entries: &[_] = if let Kind::Map(entries) = &item.kind { entries } else { &[] };
    let cells = header.iter().map(|column| {
        let value = entries.iter().find(|(key, _)| key.text == column.text).map(|(_, value)| value);
        let text = value.and_then(Node::lexeme).unwrap_or_default().trim().to_owned();
        let span = value.map_or_else(|| item.span.clone(), |value| value.span.clone());
        let room = value.filter(|value| !value.span.range.is_empty()).map(|value| value.span.clone());
        Cell { text, span, room }
    });
    GridRow { cells: cells.collect(), span: item.span.clone() }
}

/// A pipe table: header, a line of dashes, rows.
fn markdown<'l>(
    scope: &Scope,
    source: &Arc<Source>,
    first: &Range<usize>,
    mut lines: impl Iterator<Item = &'l Range<usize>>,
) -> Option<Grid> {
    let header = pipe_row(source, first);
    match lines.next() {
        Some(line) if is_separator(&source.text[line.clone()]) => {}
        other => {
            let at = other.unwrap_or(first).clone();
            let help = "below the names of the columns stands `|---|---|…`";
            scope.error_help("T001", &Span::new(source, at), "this is not the second line of a table", help);
            return None;
        }
    }
    let mut rows = Vec::new();
    for line in lines {
        if !source.text[line.clone()].contains('|') {
            scope.error("T001", &Span::new(source, line.clone()), "this line is not a row of the table");
            return None;
        }
        rows.push(pipe_row(source, line));
    }
    Some(Grid { header, rows })
}

/// `|---|:--:|`
pub(in crate::scenario) fn is_separator(line: &str) -> bool {
    let line = line.trim();
    line.contains('-')
        && line.contains('|')
        && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' ' | '\t'))
}

/// The cells between the bars; `\|` is not a bar.
pub(in crate::scenario) fn pipe_row(source: &Arc<Source>, line: &Range<usize>) -> GridRow {
    let text = &source.text[line.clone()];
    let mut bars: Vec<usize> = Vec::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '|' => bars.push(at),
            _ => {}
        }
    }
    let trimmed = text.trim();
    let start = text.find(trimmed).unwrap_or_default();
    let mut edges = Vec::new();
    // A row may do without its outer bars.
    if bars.first() != Some(&start) {
        edges.push((start, start));
    }
    edges.extend(bars.iter().map(|bar| (*bar, bar + 1)));
    let end = start + trimmed.len();
    if bars.last().is_none_or(|bar| bar + 1 != end) {
        edges.push((end, end));
    }
    let cells = edges.windows(2).map(|pair| {
        let room = line.start + pair[0].1..line.start + pair[1].0;
        cell(source, room, unescape)
    });
    GridRow { cells: cells.collect(), span: Span::new(source, line.start + start..line.start + end) }
}

fn cell(source: &Arc<Source>, room: Range<usize>, plain: impl Fn(&str) -> String) -> Cell {
    let text = &source.text[room.clone()];
    let trimmed = text.trim();
    let start = room.start + text.find(trimmed).unwrap_or_default();
    let span = if trimmed.is_empty() { room.clone() } else { start..start + trimmed.len() };
    Cell { text: plain(trimmed), span: Span::new(source, span), room: Some(Span::new(source, room)) }
}

/// Markdown's escapes and code marks taken off: `` `home/#` ``, `a\|b`, `\_`.
fn unescape(text: &str) -> String {
    let code =
        text.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).filter(|code| !code.contains('`'));
    if let Some(code) = code {
        return code.trim().replace("\\|", "|");
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next) if c == '\\' && next.is_ascii_punctuation() => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

/// Cells apart by `,`, `;` or tabs; the header says which.
fn csv<'l>(
    scope: &Scope,
    source: &Arc<Source>,
    first: &Range<usize>,
    lines: impl Iterator<Item = &'l Range<usize>>,
) -> Option<Grid> {
    let head = &source.text[first.clone()];
    let Some(delimiter) = [';', '\t', ','].into_iter().find(|c| head.contains(*c)) else {
        let help = "a table is Markdown (`| Topic | User | …`), CSV (`Topic,User,…`) or a YAML list of rows";
        scope.error_help("T001", &Span::new(source, first.clone()), "this is not a table", help);
        return None;
    };
    let header = csv_row(scope, source, first, delimiter)?;
    let rows: Vec<Option<GridRow>> = lines.map(|line| csv_row(scope, source, line, delimiter)).collect();
    Some(Grid { header, rows: rows.into_iter().collect::<Option<_>>()? })
}

fn csv_row(scope: &Scope, source: &Arc<Source>, line: &Range<usize>, delimiter: char) -> Option<GridRow> {
    let text = &source.text[line.clone()];
    let mut cells = Vec::new();
    let (mut start, mut quoted) = (0, false);
    let mut push = |range: Range<usize>| {
        cells.push(cell(source, line.start + range.start..line.start + range.end, csv_text));
    };
    for (at, c) in text.char_indices() {
        if c == '"' {
            quoted = !quoted;
        } else if c == delimiter && !quoted {
            push(start..at);
            start = at + c.len_utf8();
        }
    }
    push(start..text.len());
    let span = Span::new(source, line.clone());
    if quoted {
        scope.error("T001", &span, "a quote of this row is not closed");
        return None;
    }
    Some(GridRow { cells, span })
}

fn csv_text(text: &str) -> String {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\"").trim().to_owned(),
        None => text.to_owned(),
    }
}
