//! Lab sheets: a Markdown file as the student hands it in, or a CSV file with nothing but rows.
//!
//! The sheet's ```` ```yaml mqttlab ```` fence says which broker and users its tables are for; a
//! sheet without one gets them from a scenario file named on the command line.

use std::ops::Range;
use std::sync::Arc;

use super::grid::{Grid, is_separator, pipe_row};
use super::read::{is_acl_header, share_points, table};
use crate::diagnostic::{Diagnostic, Source, Span};
use crate::scenario::decode::broker::setup;
use crate::scenario::decode::file::{FILE_KEYS, FileLevel};
use crate::scenario::decode::matrix::combinations;
use crate::scenario::decode::scenario::{Header, SCENARIO_KEYS, assemble, header, scenario};
use crate::scenario::decode::values;
use crate::scenario::keys::Fields;
use crate::scenario::lint;
use crate::scenario::node::Node;
use crate::scenario::scope::{Combination, Inputs, Scope};
use crate::scenario::{Body, Case};

/// Id of the scenario that a table without an id makes.
const DEFAULT_ID: &str = "acl";

/// What a file is written in, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scenario) enum Format {
    /// `.md`, `.markdown`
    Markdown,
    /// `.csv`, `.tsv`
    Csv,
    /// Anything else.
    Yaml,
}

impl Format {
    /// The format of a file with this name.
    pub fn of(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).as_deref() {
            Some("md" | "markdown") => Self::Markdown,
            Some("csv" | "tsv") => Self::Csv,
            _ => Self::Yaml,
        }
    }
}

/// A table within a sheet.
pub(in crate::scenario) struct FoundTable {
    /// Its lines, the header first.
    pub lines: Vec<Range<usize>>,
    /// The heading that it stands under.
    pub heading: Option<String>,
}

/// What a Markdown file holds for us.
#[derive(Default)]
pub(in crate::scenario) struct Sheet {
    /// The ACL tables, in order.
    pub tables: Vec<FoundTable>,
    /// The text within each `mqttlab` fence.
    pub fences: Vec<Range<usize>>,
}

/// The lines of a text, without their ends.
pub(in crate::scenario) fn lines(source: &Source) -> Vec<Range<usize>> {
    let mut start = if source.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    source.text[start..]
        .split_inclusive('\n')
        .map(|line| {
            let range = start..start + line.trim_end_matches(['\n', '\r']).len();
            start += line.len();
            range
        })
        .collect()
}

impl Sheet {
    /// Finds tables and fences.
    pub fn of(source: &Arc<Source>) -> Self {
        let mut sheet = Self::default();
        let lines = lines(source);
        let mut heading = None;
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            let text = source.text[line.clone()].trim();
            if let Some(mark) = fence_mark(text) {
                let end =
                    lines[at + 1..].iter().position(|line| closes(source.text[line.clone()].trim(), mark));
                let end = end.map_or(lines.len(), |end| at + 1 + end);
                if text[mark.len()..].split_whitespace().any(|word| word == "mqttlab") && at + 1 < end {
                    sheet.fences.push(lines[at + 1].start..lines[end - 1].end);
                }
                at = end + 1;
                continue;
            }
            if text.starts_with('#') {
                heading = Some(text.trim_matches('#').trim().to_owned()).filter(|text| !text.is_empty());
            }
            let below = lines.get(at + 1).map_or("", |line| &source.text[line.clone()]);
            if text.contains('|') && is_separator(below) {
                let is_row = |line: &&Range<usize>| source.text[(*line).clone()].contains('|');
                let length = lines[at..].iter().take_while(is_row).count();
                if is_acl_header(&pipe_row(source, line)) {
                    let lines = lines[at..at + length].to_vec();
                    sheet.tables.push(FoundTable { lines, heading: heading.clone() });
                }
                at += length;
                continue;
            }
            at += 1;
        }
        sheet
    }
}

/// The marks that open a fence.
fn fence_mark(line: &str) -> Option<&str> {
    ["`", "~"].into_iter().find_map(|mark| {
        let length = line.len() - line.trim_start_matches(mark).len();
        (length >= 3).then(|| &line[..length])
    })
}

fn closes(line: &str, mark: &str) -> bool {
    line.starts_with(mark) && line.trim_start_matches(&mark[..1]).is_empty()
}

/// Reads a lab sheet or a CSV file.
pub(in crate::scenario) fn load(inputs: &Inputs, source: &Arc<Source>) -> Vec<Case> {
    let sheet = match Format::of(&source.name) {
        Format::Csv => {
            let table = FoundTable { lines: lines(source), heading: None };
            Sheet { tables: vec![table], fences: Vec::new() }
        }
        _ => Sheet::of(source),
    };
    let scope = Scope::new(inputs, Combination::default());
    let start = Span::new(source, 0..0);
    if let Some(second) = sheet.fences.get(1) {
        let span = Span::new(source, second.clone());
        scope.error("T013", &span, "a sheet has one `mqttlab` fence, and this is a second one");
    }
    let Some(fence) = parsed(&scope, sheet.fences.first().map(|range| (source, range.clone()))) else {
        return Vec::new();
    };
    let with = inputs.options.with.as_ref().map(|with| (with, 0..with.text.len()));
    let Some(with) = parsed(&scope, with) else { return Vec::new() };
    if fence.is_none() && with.is_none() {
        let help = "add a fence ```yaml mqttlab with `broker:`, or name a scenario file: --with FILE";
        scope.error_help("T013", &start, "nobody says which broker and users this sheet is for", help);
        return Vec::new();
    }
    read(inputs, &scope, &sheet, source, fence.as_ref(), with.as_ref())
}

/// `Some(None)`: there is nothing to parse. `None`: it is reported.
#[expect(clippy::option_option, reason = "absent and broken are different things")]
fn parsed(scope: &Scope, text: Option<(&Arc<Source>, Range<usize>)>) -> Option<Option<Node>> {
    let Some((source, range)) = text else { return Some(None) };
    scope.inputs.parse(source, range).map(Some)
}

fn read(
    inputs: &Inputs,
    scope: &Scope,
    sheet: &Sheet,
    source: &Arc<Source>,
    fence: Option<&Node>,
    with: Option<&Node>,
) -> Vec<Case> {
    let keys: &[&[_]] = &[FILE_KEYS, SCENARIO_KEYS];
    let fields = fence.and_then(|node| Fields::of(scope, node, keys, "a sheet"));
    let with = with.and_then(|node| Fields::of(scope, node, &[FILE_KEYS], "a scenario file"));
    let mut level = FileLevel::new(inputs, fields.as_ref());
    if let Some(with) = &with {
        // What the command line names is the lecturer's, what the sheet says the student's.
        let over = FileLevel::new(inputs, Some(with));
        (level.broker, level.pki) = (over.broker, over.pki);
        level.matrix = over.matrix.or(level.matrix);
    }
    let scenarios = fields.as_ref().and_then(|fields| fields.get("scenarios"));
    let mut cases: Vec<Case> = Vec::new();
    for item in scenarios.map(|node| values::list(scope, node, "scenarios")).unwrap_or_default() {
        cases.extend(scenario(&level, item));
    }
    if sheet.tables.is_empty() && scenarios.is_none() {
        let help = "a table has a header with Topic, and Publish or Subscribe, and a line of dashes below it";
        scope.error_help("T012", &Span::new(source, 0..0), "this sheet has no ACL table", help);
    }
    let rows: usize = sheet.tables.iter().map(|table| table.lines.len().saturating_sub(2)).sum();
    for (number, found) in sheet.tables.iter().enumerate() {
        let header = table_header(scope, fields.as_ref(), source, found, number, rows);
        level.claim_id(&header.id, &header.span);
        for combination in combinations(scope, level.matrix.as_ref()) {
            cases.extend(case(&level, source, found, &header, combination));
        }
    }
    cases
}

/// The sheet's own keys, with the table's place and its share of the points.
fn table_header(
    scope: &Scope,
    fields: Option<&Fields>,
    source: &Arc<Source>,
    found: &FoundTable,
    number: usize,
    rows: usize,
) -> Header {
    let span = Span::new(source, found.lines.first().cloned().unwrap_or(0..0));
    let empty = Fields::none(span.clone());
    let mut made = header(scope, fields.unwrap_or(&empty), DEFAULT_ID);
    if number > 0 {
        made.id = format!("{}-{}", made.id, number + 1);
    }
    if fields.is_none_or(|fields| fields.get("name").is_none()) {
        made.name = found.heading.clone().unwrap_or_else(|| "Who may publish and subscribe where".to_owned());
    }
    #[expect(clippy::cast_precision_loss, reason = "a sheet has few rows")]
    let share = found.lines.len().saturating_sub(2) as f64 / rows.max(1) as f64;
    made.points = made.points.map(|points| points * share);
    made.span = span;
    made
}

fn case(
    level: &FileLevel,
    source: &Arc<Source>,
    found: &FoundTable,
    header: &Header,
    combination: Combination,
) -> Option<Case> {
    let mut scope = Scope::new(level.scope.inputs, combination);
    let setup = Arc::new(setup(&scope, level.broker.as_ref(), level.pki.as_ref()));
    scope.names.users = setup.broker.users.iter().map(|user| user.name.clone()).collect();
    let Some(grid) = Grid::of_lines(&scope, source, &found.lines) else {
        if found.lines.is_empty() {
            level.scope.report(Diagnostic::error("T012", header.span.clone(), "this file is empty"));
        }
        return None;
    };
    let mut table = table(&scope, &grid)?;
    share_points(&scope, &mut table, header.points, &header.span);
    let mut case = assemble(header, &scope.combination, setup, Vec::new(), Body::Table(Arc::new(table)));
    case.file.clone_from(&source.name);
    lint::case(&scope, &mut case);
    Some(case)
}
