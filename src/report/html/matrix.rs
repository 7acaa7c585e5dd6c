//! The matrix: a row a scenario (or row of a table), a column a broker and version. Links only; what is
//! behind a mark the page's script shows.

use std::fmt::Write as _;

use indexmap::{IndexMap, IndexSet};

use super::book::{Book, Entry, VERDICTS};
use super::{html, visible};
use crate::record::{CaseId, Outcome, Verdict};
use crate::text::plural;

/// Cases of one scenario that stand in one row.
type Line<'a> = IndexMap<(&'a str, Option<usize>), Vec<usize>>;

/// One letter for a class and for the script.
pub fn letter(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "p",
        Verdict::Failed => "f",
        Verdict::Errored => "e",
        Verdict::Skipped => "s",
        Verdict::Known => "k",
    }
}

/// How an end is drawn.
pub fn sign(verdict: Verdict, unmet: bool) -> &'static str {
    match verdict {
        Verdict::Passed if unmet => "○",
        Verdict::Passed => "✓",
        Verdict::Failed => "✗",
        Verdict::Errored => "!",
        Verdict::Skipped => "–",
        Verdict::Known => "≈",
    }
}

/// `passed`, or that it passed though its SHOULD did not happen.
pub fn word(outcome: &Outcome) -> String {
    if outcome.unmet { format!("{} is not met", outcome.case.level) } else { outcome.verdict.to_string() }
}

/// Names a case in a link: `labs/lab3.yaml:acl.2@v5`.
pub fn key(id: &CaseId) -> String {
    let row = id.row.map(|row| format!(".{row}")).unwrap_or_default();
    let variant = if id.variant.is_empty() { String::new() } else { format!("@{}", id.variant) };
    // As it may be seen: it stands in the address, and in the data.
    visible(&format!("{}:{}{row}{variant}", id.file, id.scenario))
}

/// A link to a case, as an attribute's value; `run` where it is about one of several.
pub fn link(id: &CaseId, run: Option<usize>) -> String {
    let mut out = "#case=".to_owned();
    for byte in key(id).bytes() {
        if byte.is_ascii_alphanumeric() || b"-_./:@~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    if let Some(run) = run {
        let _ = write!(out, "&amp;run={}", run + 1);
    }
    out
}

/// A mark that leads to its case; it may stand for a number of cases.
pub fn mark(outcome: &Outcome, run: Option<usize>, about: &str, count: usize) -> String {
    let mut word = word(outcome);
    let mut number = String::new();
    if count > 1 {
        word = format!("{count} cases: {word}");
        number = format!("<sub>{count}</sub>");
    }
    format!(
        "<a class=\"m {}{}\" href=\"{}\" title=\"{}\">{}{number}</a>",
        letter(outcome.verdict),
        if outcome.unmet { " u" } else { "" },
        link(&outcome.case.id, run),
        html(&format!("{about}{word}")),
        sign(outcome.verdict, outcome.unmet),
    )
}

/// Cases with a mark of their own in a cell; of more, one mark says how many.
const APART: usize = 2;

/// The marks of cases in one run, those that ended in the same way together if they are many.
pub fn marks<'a>(entries: impl Iterator<Item = &'a Entry>, run: usize, several: bool, about: &str) -> String {
    let mut ends: IndexMap<(Verdict, bool), Vec<&Outcome>> = IndexMap::new();
    let mut missing = 0;
    for entry in entries {
        match entry.outcome(run) {
            Some(outcome) => ends.entry((outcome.verdict, outcome.unmet)).or_default().push(outcome),
            None => missing += 1,
        }
    }
    ends.sort_by_cached_key(|(verdict, unmet), _| (VERDICTS.iter().position(|one| one == verdict), !unmet));
    let mut out = String::new();
    for outcomes in ends.values() {
        let shown = if outcomes.len() > APART { 1 } else { outcomes.len() };
        for outcome in &outcomes[..shown] {
            let count = if shown < outcomes.len() { outcomes.len() } else { 1 };
            out += &mark(outcome, several.then_some(run), about, count);
        }
    }
    if missing > 0 {
        out.push_str("<span class=\"m o\" title=\"did not run\">·</span>");
    }
    out
}

/// What tells the columns of one broker apart: the protocol, in old logs the combination.
fn version(entry: &Entry) -> &str {
    let info = &entry.info;
    if info.protocol.is_empty() { &info.id.variant } else { &info.protocol }
}

/// The whole section.
pub fn section(book: &Book) -> String {
    let mut versions: IndexSet<&str> = book.cases.values().map(version).collect();
    versions.sort();
    let mut files: IndexMap<&str, Line<'_>> = IndexMap::new();
    for (number, (id, _)) in book.cases.iter().enumerate().take(book.listed) {
        let lines = files.entry(&id.file).or_default();
        lines.entry((&id.scenario, id.row)).or_default().push(number);
    }
    let columns = book.runs.len() * versions.len();
    let mut out = String::new();
    let _ = write!(
        out,
        "<section id=\"matrix\"><h2>All cases</h2><div class=\"scroll\"><table class=\"matrix\">{}",
        head(book, &versions)
    );
    for (file, lines) in &files {
        let cases: usize = lines.values().map(Vec::len).sum();
        let _ = writeln!(
            out,
            "<tbody><tr class=\"file\"><th scope=\"rowgroup\" colspan=\"{}\"><span>{}</span> <small>{}</small>\
             </th></tr>",
            columns + 1,
            html(file),
            plural(cases, "case"),
        );
        for cases in lines.values() {
            out.push_str(&row(book, cases, &versions));
        }
        out.push_str(&unlisted(book, file, columns));
        out.push_str("</tbody>\n");
    }
    for file in book.unlisted.keys().filter(|file| !files.contains_key(file.as_str())).take(FILES) {
        let _ = write!(out, "<tbody>{}</tbody>", unlisted(book, file, columns));
    }
    out.push_str("</table></div><p class=\"none\" hidden>No case fits the filter.</p></section>\n");
    out
}

/// Files of which no case is listed that are named.
const FILES: usize = 1000;

/// How the cases of a file ended that are not listed.
fn unlisted(book: &Book, file: &str, columns: usize) -> String {
    let Some(counts) = book.unlisted.get(file) else { return String::new() };
    let counts: Vec<_> =
        VERDICTS.iter().filter_map(|verdict| Some(format!("{} {verdict}", counts.get(verdict)?))).collect();
    format!(
        "<tr class=\"rest\"><td colspan=\"{}\">… and in {}, not listed to keep this page small: {}</td></tr>\n",
        columns + 1,
        html(file),
        counts.join(", ")
    )
}

fn head(book: &Book, versions: &IndexSet<&str>) -> String {
    let several = book.runs.len() > 1;
    let mut out = String::from("<thead>");
    if several {
        out.push_str("<tr><th class=\"name\" rowspan=\"2\" scope=\"col\">Scenario</th>");
        for run in &book.runs {
            let _ = write!(
                out,
                "<th class=\"run\" scope=\"colgroup\" colspan=\"{}\">{}</th>",
                versions.len(),
                html(&run.target)
            );
        }
        out.push_str("</tr><tr>");
    } else {
        out.push_str("<tr><th class=\"name\" scope=\"col\">Scenario</th>");
    }
    for _ in &book.runs {
        for version in versions {
            let name = if version.is_empty() { "verdict" } else { version };
            let _ = write!(out, "<th class=\"version\" scope=\"col\">{}</th>", html(name));
        }
    }
    out.push_str("</tr></thead>\n");
    out
}

fn row(book: &Book, cases: &[usize], versions: &IndexSet<&str>) -> String {
    let several = book.runs.len() > 1;
    let entries: Vec<(&CaseId, &Entry)> =
        cases.iter().filter_map(|case| book.cases.get_index(*case)).collect();
    let Some((id, first)) = entries.first() else { return String::new() };
    let name = match id.row {
        Some(row) => format!("{} · row {row}", id.scenario),
        None => id.scenario.clone(),
    };
    let numbers: Vec<_> = cases.iter().map(usize::to_string).collect();
    let mut out = format!(
        "<tr data-c=\"{}\"><th scope=\"row\" class=\"name\"><a href=\"{}\">{}</a> <code>{}</code></th>",
        numbers.join(" "),
        link(id, None),
        html(&first.info.title),
        html(&name),
    );
    for (run, about) in book.runs.iter().enumerate() {
        for version_name in versions {
            let here = entries.iter().filter(|(_, entry)| version(entry) == *version_name);
            let target = if several { format!("{}: ", about.target) } else { String::new() };
            let marks = marks(here.map(|(_, entry)| *entry), run, several, &target);
            let _ = write!(out, "<td>{marks}</td>");
        }
    }
    out.push_str("</tr>\n");
    out
}
