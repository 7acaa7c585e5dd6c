//! Coverage by statement: the ids that cases of these runs name, with the marks of those cases. Which ids
//! there are besides is the catalogue's business (`mqttlab coverage`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use indexmap::IndexMap;

use super::book::{Book, Entry, VERDICTS};
use super::html;
use super::matrix::{letter, link, marks};
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

/// The whole section; empty if no case names a statement.
pub fn section(book: &Book) -> String {
    let mut statements: BTreeMap<Statement<'_>, Vec<usize>> = BTreeMap::new();
    for (case, entry) in book.cases.values().enumerate() {
        for id in &entry.info.spec {
            statements.entry((&entry.info.protocol, order(id), id)).or_default().push(case);
        }
    }
    let mut by_protocol: BTreeMap<&str, Vec<(&str, &Vec<usize>)>> = BTreeMap::new();
    for ((protocol, _, id), cases) in &statements {
        by_protocol.entry(protocol).or_default().push((id, cases));
    }
    if by_protocol.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<section id=\"coverage\"><h2>Coverage by statement</h2><p class=\"lead\">The statements that cases \
         of this page name, each with the verdicts of those cases.</p><div class=\"versions\">\n",
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
        for (id, cases) in rows {
            out.push_str(&row(book, protocol, id, cases));
        }
        out.push_str("</tbody></table></details>\n");
    }
    out.push_str("</div></section>\n");
    out
}

fn row(book: &Book, protocol: &str, id: &str, cases: &[usize]) -> String {
    let several = book.runs.len() > 1;
    let mut worst = Verdict::Passed;
    let mut scenarios: IndexMap<(&str, &str), Vec<(&CaseId, &Entry)>> = IndexMap::new();
    for (id, entry) in cases.iter().filter_map(|case| book.cases.get_index(*case)) {
        scenarios.entry((&id.file, &id.scenario)).or_default().push((id, entry));
        for outcome in entry.outcomes.iter().flatten() {
            let rank = |verdict| VERDICTS.iter().position(|one| *one == verdict);
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
    let text = book.statements.get(&(protocol.to_owned(), id.to_owned()));
    let text = text.map(|text| format!("<p>{}</p>", html(text))).unwrap_or_default();
    format!(
        "<tr><th scope=\"row\" class=\"{}\"><code>{}</code></th><td>{text}{out}</td></tr>\n",
        letter(worst),
        html(id)
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
