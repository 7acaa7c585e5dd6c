//! What the cells of an ACL table mean, and everything that can be wrong with them.

use std::collections::BTreeMap;

use super::grid::{Cell, Grid, GridRow};
use super::{Action, Expected, Reading, Row, RowCheck, Table};
use crate::diagnostic::{Diagnostic, Span};
use crate::mqtt::{QoS, ReasonCode};
use crate::scenario::decode::values::{check_topic_filter, check_topic_name};
use crate::scenario::scope::{Scope, suggest};
use crate::text::plural;

/// Quality of service of a row that does not say: a publish that is acknowledged has an end.
const DEFAULT_QOS: QoS = QoS::AtLeastOnce;

/// A column by the word in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Topic,
    User,
    Client,
    Publish,
    Subscribe,
    Qos,
    Retain,
    Expectation,
    Points,
    Passed,
}

/// The words of the header, for help and the reference.
pub const COLUMNS: &[(&str, &str)] = &[
    ("Topic", "the topic; in a subscribe row a filter may stand"),
    ("User", "the account; `-`, `anonymous` or nothing: without user name"),
    ("Client", "the client identifier, for `%c` patterns"),
    ("Publish", "a mark, or what is expected of a publish"),
    ("Subscribe", "a mark, or what is expected of a subscription"),
    ("QoS", "0, 1 (default) or 2"),
    ("Retain", "a mark: the message is retained"),
    ("Expectation", "PASS or FAIL, or a note"),
    ("Points", "points of this row"),
    ("PASSED", "y or n, written by --fill"),
];

const ALL: [Column; 10] = [
    Column::Topic,
    Column::User,
    Column::Client,
    Column::Publish,
    Column::Subscribe,
    Column::Qos,
    Column::Retain,
    Column::Expectation,
    Column::Points,
    Column::Passed,
];

fn column(word: &str) -> Option<Column> {
    let at = COLUMNS.iter().position(|(name, _)| name.eq_ignore_ascii_case(word))?;
    Some(ALL[at])
}

/// True for the header of an ACL table, in a sheet that may have others.
pub(in crate::scenario) fn is_acl_header(header: &GridRow) -> bool {
    let has = |wanted| header.cells.iter().any(|cell| column(&cell.text) == Some(wanted));
    has(Column::Topic) && (has(Column::Publish) || has(Column::Subscribe))
}

/// A row as its cells by column.
struct Cells<'g> {
    by_column: BTreeMap<Column, &'g Cell>,
    row: &'g GridRow,
    number: usize,
}

impl<'g> Cells<'g> {
    fn get(&self, column: Column) -> Option<&'g Cell> {
        self.by_column.get(&column).copied()
    }

    fn text(&self, column: Column) -> &'g str {
        self.get(column).map_or("", |cell| cell.text.as_str())
    }
}

/// Reads a table; errors say which row.
pub(in crate::scenario) fn table(scope: &Scope, grid: &Grid) -> Option<Table> {
    let columns = header(scope, grid)?;
    if grid.rows.is_empty() {
        scope.error("T001", &grid.header.span, "this table has no rows");
        return None;
    }
    let rows: Vec<Option<Cells>> =
        grid.rows.iter().enumerate().map(|(at, row)| cells(scope, &columns, at, row)).collect();
    let complete = rows.iter().all(Option::is_some);
    let rows: Vec<Cells> = rows.into_iter().flatten().collect();
    let reading = reading(scope, &rows)?;
    let read = |cells: &Cells| at_row(scope, cells.number, || row(scope, cells, reading));
    let found: Vec<Option<Row>> = rows.iter().map(read).collect();
    let rows = found.into_iter().collect::<Option<Vec<Row>>>().filter(|_| complete)?;
    compare(scope, &rows);
    Some(Table { rows, reading })
}

/// Findings within `work` get the row's name.
fn at_row<T>(scope: &Scope, number: usize, work: impl FnOnce() -> T) -> T {
    let before = scope.place.replace(Some(format!("acl_table, row {number}")));
    let found = work();
    scope.place.replace(before);
    found
}

fn header(scope: &Scope, grid: &Grid) -> Option<Vec<Option<Column>>> {
    let mut columns: Vec<Option<Column>> = Vec::new();
    for cell in &grid.header.cells {
        let found = column(&cell.text);
        if found.is_none() && !cell.text.is_empty() {
            let shown = crate::text::escape(&cell.text);
            let help = suggest(&cell.text, COLUMNS.iter().map(|(name, _)| *name), "");
            let message = format!("the column `{shown}` is not known and not looked at");
            scope.report(Diagnostic::warning("T002", cell.span.clone(), message).with_help(help));
        }
        if found.is_some() && columns.contains(&found) {
            scope.error("T004", &cell.span, format!("the column `{}` is here twice", cell.text));
            return None;
        }
        columns.push(found);
    }
    let has = |wanted| columns.contains(&Some(wanted));
    let missing = if !has(Column::Topic) {
        "a table needs the column `Topic`"
    } else if !has(Column::Publish) && !has(Column::Subscribe) {
        "a table needs the column `Publish` or `Subscribe`"
    } else {
        return Some(columns);
    };
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    scope.error_help("T003", &grid.header.span, missing, format!("columns are {}", names.join(", ")));
    None
}

/// The cells by column, unless there are more than columns.
fn cells<'g>(scope: &Scope, columns: &[Option<Column>], at: usize, row: &'g GridRow) -> Option<Cells<'g>> {
    let number = at + 1;
    if let Some(extra) = row.cells.get(columns.len()) {
        at_row(scope, number, || {
            let (cells, columns) = (plural(row.cells.len(), "cell"), plural(columns.len(), "column"));
            let message = format!("this row has {cells}, the table {columns}");
            scope.error_help("T014", &extra.span, message, "a bar within a cell is written `\\|`");
        });
        return None;
    }
    let by_column = columns.iter().zip(&row.cells);
    let by_column = by_column.filter_map(|(column, cell)| Some(((*column)?, cell))).collect();
    Some(Cells { by_column, row, number })
}

/// What a cell says, in whichever column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Nothing,
    Allow,
    Deny(Expected),
    /// A bare `x`.
    Cross,
    Other,
}

fn word(text: &str) -> Word {
    let lower = text.to_lowercase();
    match lower.as_str() {
        "" | "-" | "–" | "—" => Word::Nothing,
        "x" => Word::Cross,
        "pass" | "allow" | "allowed" | "yes" | "y" | "✓" | "✔" | "✔️" | "✅" => Word::Allow,
        "fail" | "deny" | "denied" | "no" | "n" | "✗" | "✘" | "❌" => Word::Deny(Expected::Deny),
        _ => deny_with(&lower).map_or(Word::Other, Word::Deny),
    }
}

/// `deny(0x87)`, `deny(disconnect)`
fn deny_with(text: &str) -> Option<Expected> {
    let how = text.strip_prefix("deny")?.trim().strip_prefix('(')?.strip_suffix(')')?.trim();
    if how == "disconnect" {
        return Some(Expected::DenyByDisconnect);
    }
    let code = u8::from_str_radix(how.strip_prefix("0x")?, 16).ok()?;
    (code >= 0x80).then_some(Expected::DenyWithCode(ReasonCode(code)))
}

/// Marks if every Expectation says allow or deny, else the cells speak for themselves.
fn reading(scope: &Scope, rows: &[Cells]) -> Option<Reading> {
    let says = |cells: &Cells| matches!(word(cells.text(Column::Expectation)), Word::Allow | Word::Deny(_));
    if rows.iter().all(says) {
        return Some(Reading::Marks);
    }
    let actions = |cells: &Cells| [Column::Publish, Column::Subscribe].map(|column| word(cells.text(column)));
    let crossed = rows.iter().find(|cells| actions(cells).contains(&Word::Cross));
    let Some(crossed) = crossed else { return Some(Reading::Cells) };
    // With crosses and some verdicts, Expectation is meant, and some of its cells are not clear.
    if rows.iter().any(says) {
        for cells in rows.iter().filter(|cells| !says(cells)) {
            let cell = cells.get(Column::Expectation);
            let span = cell.map_or(&cells.row.span, |cell| &cell.span);
            at_row(scope, cells.number, || {
                let message = "Expectation says neither allow nor deny, as it does in other rows";
                scope.error_help("T005", span, message, "write PASS or FAIL (or allow, deny, yes, no)");
            });
        }
        return Some(Reading::Marks);
    }
    let column =
        [Column::Publish, Column::Subscribe].into_iter().find(|c| word(crossed.text(*c)) == Word::Cross)?;
    at_row(scope, crossed.number, || {
        let span = &crossed.get(column).expect("it has a cross").span;
        let message = "`x` could mean tested, or no: Expectation does not say allow or deny in every row";
        let help = "write yes or no here, or PASS or FAIL into each cell of a column `Expectation`";
        scope.error_help("T006", span, message, help);
    });
    None
}

fn row(scope: &Scope, cells: &Cells, reading: Reading) -> Option<Row> {
    let qos = qos(scope, cells)?;
    let checks = match reading {
        Reading::Marks => marked(scope, cells)?,
        Reading::Cells => spoken(scope, cells)?,
    };
    let topic = topic(scope, cells, &checks)?;
    codes_can_come(scope, cells, &checks, qos)?;
    let name = |column| {
        let text = cells.text(column);
        (!matches!(text, "" | "-" | "–" | "—")).then(|| text.to_owned())
    };
    Some(Row {
        number: cells.number,
        topic,
        user: name(Column::User).filter(|user| !matches!(user.as_str(), "anonymous" | "(anonymous)")),
        client_id: name(Column::Client),
        checks,
        qos,
        retain: retain(scope, cells)?,
        points: points(scope, cells),
        span: cells.row.span.clone(),
        topic_span: cells.get(Column::Topic).map_or_else(|| cells.row.span.clone(), |cell| cell.span.clone()),
        passed_cell: cells.get(Column::Passed).and_then(|cell| cell.room.clone()),
    })
}

const ACTIONS: [(Column, Action); 2] =
    [(Column::Publish, Action::Publish), (Column::Subscribe, Action::Subscribe)];

/// First reading: Expectation holds for each marked action.
fn marked(scope: &Scope, cells: &Cells) -> Option<Vec<RowCheck>> {
    let expected = match word(cells.text(Column::Expectation)) {
        Word::Deny(how) => how,
        Word::Allow => Expected::Allow,
        // Reported when the reading was chosen.
        _ => return None,
    };
    let mut checks = Vec::new();
    for (column, action) in ACTIONS {
        match word(cells.text(column)) {
            Word::Cross | Word::Allow => checks.push(RowCheck { action, expected }),
            Word::Nothing | Word::Deny(Expected::Deny) => {}
            _ => {
                unreadable(scope, cells, column, "`X` for tested or `-` for not tested");
                return None;
            }
        }
    }
    some(scope, cells, checks, "mark Publish or Subscribe with `X`")
}

/// Second reading: each action says itself what is expected.
fn spoken(scope: &Scope, cells: &Cells) -> Option<Vec<RowCheck>> {
    let mut checks = Vec::new();
    for (column, action) in ACTIONS {
        match word(cells.text(column)) {
            Word::Nothing => {}
            Word::Allow => checks.push(RowCheck { action, expected: Expected::Allow }),
            Word::Deny(expected) => checks.push(RowCheck { action, expected }),
            Word::Cross | Word::Other => {
                let wanted = "yes, no, allow, deny, deny(0x87), deny(disconnect), or `-` for not tested";
                unreadable(scope, cells, column, wanted);
                return None;
            }
        }
    }
    some(scope, cells, checks, "say yes or no under Publish or Subscribe")
}

fn some(scope: &Scope, cells: &Cells, checks: Vec<RowCheck>, help: &str) -> Option<Vec<RowCheck>> {
    if checks.is_empty() {
        scope.error_help("T007", &cells.row.span, "this row tests nothing", help);
        return None;
    }
    Some(checks)
}

fn unreadable(scope: &Scope, cells: &Cells, column: Column, wanted: &str) {
    let Some(cell) = cells.get(column) else { return };
    let shown = crate::text::escape(&cell.text);
    let name = COLUMNS.get(column as usize).map_or("", |(name, _)| name);
    scope.error_help(
        "T005",
        &cell.span,
        format!("`{shown}` cannot stand under {name}"),
        format!("write {wanted}"),
    );
}

fn topic(scope: &Scope, cells: &Cells, checks: &[RowCheck]) -> Option<String> {
    let text = cells.text(Column::Topic);
    let span = cells.get(Column::Topic).map_or(&cells.row.span, |cell| &cell.span);
    if text.is_empty() {
        scope.error("T005", span, "this row has no topic");
        return None;
    }
    let template = scope.template_of(text, span)?;
    let Some(text) = template.as_literal() else {
        scope.error("L010", span, "a table can use variables only that are known before the run");
        return None;
    };
    if checks.iter().any(|check| check.action == Action::Publish) {
        check_topic_name(scope, text, span)?;
    } else {
        check_topic_filter(scope, text, span)?;
    }
    Some(text.to_owned())
}

/// A code needs an acknowledgement that has one.
fn codes_can_come(scope: &Scope, cells: &Cells, checks: &[RowCheck], qos: QoS) -> Option<()> {
    let publish = checks
        .iter()
        .find(|check| check.action == Action::Publish && matches!(check.expected, Expected::DenyWithCode(_)));
    if publish.is_none() {
        return Some(());
    }
    let version = scope.combination.protocol;
    if !version.is_v5() {
        let message = format!("a code for a publish needs MQTT 5.0, and this runs under {version}");
        scope.error_help("L015", &cells.row.span, message, "run it under 5 alone, or write deny");
        return None;
    }
    if qos == QoS::AtMostOnce {
        scope.error("T005", &cells.row.span, "a publish with QoS 0 is not acknowledged, so there is no code");
        return None;
    }
    Some(())
}

fn qos(scope: &Scope, cells: &Cells) -> Option<QoS> {
    match cells.text(Column::Qos) {
        "" | "-" => Some(DEFAULT_QOS),
        "0" => Some(QoS::AtMostOnce),
        "1" => Some(QoS::AtLeastOnce),
        "2" => Some(QoS::ExactlyOnce),
        _ => {
            unreadable(scope, cells, Column::Qos, "0, 1 or 2");
            None
        }
    }
}

fn retain(scope: &Scope, cells: &Cells) -> Option<bool> {
    match word(cells.text(Column::Retain)) {
        Word::Nothing | Word::Deny(Expected::Deny) => Some(false),
        Word::Cross | Word::Allow => Some(true),
        _ => {
            unreadable(scope, cells, Column::Retain, "`X` for retained or `-` for not");
            None
        }
    }
}

fn points(scope: &Scope, cells: &Cells) -> Option<f64> {
    let cell = cells.get(Column::Points)?;
    let points = cell.text.replace(',', ".").parse::<f64>().ok();
    let points = points.filter(|points| points.is_finite() && *points >= 0.0);
    if points.is_none() {
        unreadable(scope, cells, Column::Points, "a number, 0 or more");
    }
    points
}

/// What is asked, apart from the answer.
type Question<'r> = (&'r str, Option<&'r str>, Option<&'r str>, Action, QoS, bool);

/// T008 and T009.
fn compare(scope: &Scope, rows: &[Row]) {
    let mut seen: BTreeMap<Question, Vec<(&Row, Expected)>> = BTreeMap::new();
    for row in rows {
        let mut same: Option<&Row> = None;
        let mut all_same = true;
        for check in &row.checks {
            let question = (
                row.topic.as_str(),
                row.user.as_deref(),
                row.client_id.as_deref(),
                check.action,
                row.qos,
                row.retain,
            );
            let earlier = seen.entry(question).or_default();
            if let Some((other, _)) =
                earlier.iter().find(|(_, expected)| contradict(*expected, check.expected))
            {
                contradiction(scope, other, row);
            }
            if let Some((other, _)) = earlier.iter().find(|(_, expected)| *expected == check.expected) {
                same = Some(other);
            } else {
                all_same = false;
                earlier.push((row, check.expected));
            }
        }
        if let (Some(other), true) = (same, all_same) {
            let message = format!("rows {} and {} are the same", other.number, row.number);
            let finding = Diagnostic::warning("T009", row.span.clone(), message)
                .at(format!("acl_table, row {}", row.number))
                .with_related(other.span.clone(), format!("row {}", other.number));
            scope.report(finding);
        }
    }
}

fn contradict(one: Expected, other: Expected) -> bool {
    match (one, other) {
        (Expected::Allow, Expected::Allow) => false,
        (Expected::Allow, _) | (_, Expected::Allow) => true,
        (Expected::DenyWithCode(one), Expected::DenyWithCode(other)) => one != other,
        _ => false,
    }
}

fn contradiction(scope: &Scope, one: &Row, other: &Row) {
    let message = format!("rows {} and {} contradict each other", one.number, other.number);
    let finding = Diagnostic::error("T008", other.span.clone(), message)
        .at(format!("acl_table, row {}", other.number))
        .with_related(one.span.clone(), format!("row {}", one.number))
        .with_help("the same user, topic and action can be allowed or denied, not both");
    scope.report(finding);
}

/// Gives each row its points: its own, or an equal share of the scenario's.
pub(in crate::scenario) fn share_points(scope: &Scope, table: &mut Table, points: Option<f64>, span: &Span) {
    let own: Vec<f64> = table.rows.iter().filter_map(|row| row.points).collect();
    let Some(total) = points else { return };
    if own.is_empty() {
        #[expect(clippy::cast_precision_loss, reason = "a table has few rows")]
        let share = total / table.rows.len() as f64;
        for row in &mut table.rows {
            row.points = Some(share);
        }
        return;
    }
    let sum: f64 = own.iter().sum();
    if (sum - total).abs() > 1e-6 {
        let message = format!("the rows have {sum} points together, the scenario says {total}");
        scope.error_help("T010", span, message, "leave out one of the two");
    }
}
