//! Coverage by statement: the ids that cases of these runs name or that passive checks watched, with the
//! marks of those cases and checks. Which ids there are besides is the catalogue's business (`mqttlab
//! coverage`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use indexmap::IndexMap;

use super::book::{Book, Check, Entry, VERDICTS};
use super::html;
use super::matrix::{letter, link, marks, sign};
use crate::record::{CaseId, Verdict};
use crate::text::plural;

/// Sorts `MQTT-3.1.2-8` before `MQTT-3.1.2-10`: letters, then numbers.
type Order = (String, Vec<u32>);

/// A statement: its protocol, and its place among its like.
type Statement<'a> = (&'a str, Order, &'a str);

fn order(id: &str) -> Order {
    let digits = id.find(|c: char| c.is_ascii_digit()).unwrap_or(id.len());
    let (name, numbers) = id.split_at(digits);
    let numbers = numbers.split(|c: char| !c.is_ascii_digit());
    (name.to_owned(), numbers.filter_map(|part| part.parse().ok()).collect())
}

/// Bytes of the section.
const LONGEST: usize = 1_000_000;

/// What covers a statement.
#[derive(Default)]
struct Cover<'a> {
    /// Cases, by their number.
    cases: Vec<usize>,
    /// Checks, with their run.
    checks: Vec<(usize, &'a str, &'a Check)>,
}

fn covers(book: &Book) -> BTreeMap<Statement<'_>, Cover<'_>> {
    let mut statements: BTreeMap<Statement<'_>, Cover<'_>> = BTreeMap::new();
    for (case, entry) in book.cases.values().enumerate() {
        for id in &entry.info.spec {
            let cover = statements.entry((&entry.info.protocol, order(id), id)).or_default();
            cover.cases.push(case);
        }
    }
    for (run, about) in book.runs.iter().enumerate() {
        for ((protocol, name), check) in &about.checks {
            for id in &check.statements {
                let cover = statements.entry((protocol, order(id), id)).or_default();
                cover.checks.push((run, name, check));
            }
        }
    }
    statements
}

/// The whole section; empty if nothing is about a statement.
pub fn section(book: &Book) -> String {
    let statements = covers(book);
    let mut by_protocol: BTreeMap<&str, Vec<(&str, &Cover<'_>)>> = BTreeMap::new();
    for ((protocol, _, id), cover) in &statements {
        by_protocol.entry(protocol).or_default().push((id, cover));
    }
    if by_protocol.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<section id=\"coverage\"><h2>Coverage by statement</h2><p class=\"lead\">The statements that cases \
         of this page name, or that checks watch in all of them, each with its verdicts.</p>\
         <div class=\"versions\">\n",
    );
    for (protocol, rows) in &by_protocol {
        let title = if protocol.is_empty() { "MQTT" } else { &format!("MQTT {protocol}") };
        let _ = writeln!(
            out,
            "<details open><summary><b>{}</b> <small>{}</small></summary><table class=\"coverage\">\
             <tbody>",
            html(title),
            plural(rows.len(), "statement"),
        );
        let mut missing = 0;
        for (id, cover) in rows {
            let row = row(book, protocol, id, cover);
            if missing > 0 || out.len() + row.len() > LONGEST {
                missing += 1;
            } else {
                out.push_str(&row);
            }
        }
        out.push_str("</tbody></table>");
        if missing > 0 {
            let more = plural(missing, "more statement");
            let _ = write!(out, "<p class=\"leftout\">{more} left out to keep this page small.</p>");
        }
        out.push_str("</details>\n");
    }
    out.push_str("</div></section>\n");
    out
}

fn row(book: &Book, protocol: &str, id: &str, cover: &Cover<'_>) -> String {
    let several = book.runs.len() > 1;
    let mut worst = Verdict::Passed;
    let mut scenarios: IndexMap<(&str, &str), Vec<(&CaseId, &Entry)>> = IndexMap::new();
    let rank = |verdict| VERDICTS.iter().position(|one| *one == verdict);
    for (id, entry) in cover.cases.iter().filter_map(|case| book.cases.get_index(*case)) {
        scenarios.entry((&id.file, &id.scenario)).or_default().push((id, entry));
        for outcome in entry.outcomes.iter().flatten() {
            if rank(outcome.verdict) < rank(worst) {
                worst = outcome.verdict;
            }
        }
    }
    let mut out = String::new();
    for ((file, scenario), entries) in &scenarios {
        let Some((first, entry)) = entries.first() else { continue };
        out.push_str("<span class=\"by\">");
        for (run, about) in book.runs.iter().enumerate() {
            let target = if several { format!("{}: ", about.target) } else { String::new() };
            out += &marks(entries.iter().map(|(_, entry)| *entry), run, several, &target);
        }
        let _ = write!(
            out,
            " <a href=\"{}\" title=\"{}\">{}</a></span> ",
            link(first, None),
            html(&format!("{file}: {}", entry.info.title)),
            html(scenario)
        );
    }
    if cover.checks.iter().any(|(.., check)| !check.broken.is_empty()) {
        worst = Verdict::Failed;
    }
    out += &checks(book, &cover.checks);
    let text = book.statements.get(&(protocol.to_owned(), id.to_owned()));
    let text = text.map(|text| format!("<p>{}</p>", html(text))).unwrap_or_default();
    format!(
        "<tr><th scope=\"row\" class=\"{}\"><code>{}</code></th><td>{text}{out}</td></tr>\n",
        letter(worst),
        html(id)
    )
}

/// Checks with a mark for each run: where one found something, it leads to a case.
fn checks(book: &Book, all: &[(usize, &str, &Check)]) -> String {
    let mut by_name: IndexMap<&str, Vec<(usize, &Check)>> = IndexMap::new();
    for (run, name, check) in all {
        by_name.entry(name).or_default().push((*run, check));
    }
    let mut out = String::new();
    for (name, runs) in by_name {
        out.push_str("<span class=\"by\">");
        for (run, check) in &runs {
            out += &check_mark(book, *run, check);
        }
        let rule = runs.first().map(|(_, check)| check.rule.as_str()).unwrap_or_default();
        let _ = write!(out, " <span title=\"{}\">check {}</span></span> ", html(rule), html(name));
    }
    out
}

fn check_mark(book: &Book, run: usize, check: &Check) -> String {
    let several = book.runs.len() > 1;
    let target = book.runs.get(run).filter(|_| several).map(|run| format!("{}: ", run.target));
    let target = target.unwrap_or_default();
    let watched = usize::try_from(check.connections).unwrap_or(usize::MAX);
    let watched = plural(watched, "connection");
    let Some(first) = check.broken.first() else {
        let title = html(&format!("{target}nothing found on {watched}"));
        return format!("<span class=\"m p\" title=\"{title}\">{}</span>", sign(Verdict::Passed, false));
    };
    // Of a table its first row.
    let mut rows = book
        .cases
        .keys()
        .filter(|id| (&id.file, &id.scenario, &id.variant) == (&first.file, &first.scenario, &first.variant));
    let first = rows.next().unwrap_or(first);
    let cases = plural(check.broken.len(), "case");
    format!(
        "<a class=\"m f\" href=\"{}\" title=\"{}\">{}</a>",
        link(first, several.then_some(run)),
        html(&format!("{target}broken in {cases}, watched on {watched}")),
        sign(Verdict::Failed, false)
    )
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn statements_are_in_the_order_of_the_standard() {
        assert!(order("MQTT-3.1.2-8") < order("MQTT-3.1.2-10"));
        assert!(order("MQTT-3.1.2-10") < order("MQTT-3.10.1-1"));
        assert!(order("MQTT-3.1.2-8") < order("U5-3.1.2-a"));
    }
}
