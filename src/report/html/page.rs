//! The page around its data: what is to be read without a script. Verdict and counts, what needs
//! attention, remarks; then the matrix and the coverage.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use sha2::{Digest as _, Sha256};

use super::book::{Book, Run, VERDICTS};
use super::causes::{Cause, causes};
use super::matrix::{letter, link, mark, sign};
use super::{coverage, data, html, matrix};
use crate::record::{CaseId, Outcome, Place, Verdict};
use crate::report::failure::{self, Context};
use crate::text::{plural, print_duration};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
/// One program in parts that stand in one function.
const SCRIPT: &[&str] = &[
    include_str!("data.js"),
    include_str!("diagram.js"),
    include_str!("compare.js"),
    include_str!("case.js"),
    include_str!("list.js"),
    include_str!("start.js"),
];

/// Bytes of a page that are not passed.
const LARGEST: usize = 4_900_000;
/// Bytes that the list of cases may take, in the table and in the data.
const LISTED: usize = 3_000_000;
/// Bytes of the causes.
const CAUSES: usize = 800_000;
/// Bytes of the remarks.
const REMARKS: usize = 400_000;
/// Packets of an explanation that are shown.
const PACKETS: usize = 40;
/// Causes that are open at first.
const OPEN: usize = 12;
/// Cases of a cause, or of a remark, that are named.
const NAMED: usize = 60;

/// The finished page. Where there is too much for it, fewer cases are listed.
pub fn page(book: &mut Book) -> io::Result<String> {
    let mut room = LISTED;
    loop {
        book.list(room);
        let text = attempt(book)?;
        match text {
            Some(text) => return Ok(text),
            None if room > 0 => room = if room < LISTED / 100 { 0 } else { room / 2 },
            None => return Err(io::Error::other("a page cannot hold what this run says")),
        }
    }
}

/// The page with the cases that are listed, if it is not too large.
fn attempt(book: &Book) -> io::Result<Option<String>> {
    let causes = causes(book);
    let script = format!("(() => {{\n'use strict';\n{}}})();\n", SCRIPT.concat());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(&script)
    );
    let overview = overview(book);
    let attention = attention(book, &causes);
    let (matrix, coverage, remarks) = (matrix::section(book), coverage::section(book), remarks(book));
    let title = html(&format!("{} · mqttlab on {}", headline(book), targets(book)));
    let fixed = [PAGE, STYLE, &script, &policy, &overview, &attention, &matrix, &coverage, &remarks, &title];
    let room = LARGEST.checked_sub(fixed.iter().map(|part| part.len()).sum::<usize>());
    let Some(room) = room else { return Ok(None) };
    let Some(data) = data::data(book, room)? else { return Ok(None) };
    let left_out = left_out(book, data.left_out);
    Ok(Some(fill(&[
        ("policy", &policy),
        ("title", &title),
        ("style", STYLE),
        ("overview", &overview),
        ("left-out", &left_out),
        ("attention", &attention),
        ("matrix", &matrix),
        ("remarks", &remarks),
        ("coverage", &coverage),
        ("data", &data.json),
        ("script", &script),
    ])))
}

/// What this page lacks, and where it is.
fn left_out(book: &Book, packets: Option<&str>) -> String {
    let mut text = packets.unwrap_or_default().to_owned();
    let missing = book.cases.len() - book.listed;
    if missing > 0 {
        let all = plural(book.cases.len(), "case");
        let _ = write!(text, " Of {all} {missing} are not listed; what passed is left out first.");
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "<p class=\"leftout\">{} The JSON log (<code>--report json=FILE</code>) holds all of it.</p>",
        html(text.trim())
    )
}

/// The beginning of a section that may become too long.
#[derive(Default)]
struct Bounded {
    text: String,
    left_out: usize,
}

impl Bounded {
    /// Adds one of several parts, unless the section has so many bytes then.
    fn add(&mut self, part: &str, most: usize) {
        if self.left_out > 0 || self.text.len() + part.len() > most {
            self.left_out += 1;
        } else {
            self.text.push_str(part);
        }
    }

    fn finish(mut self, noun: &str) -> String {
        if self.left_out > 0 {
            let _ = writeln!(
                self.text,
                "<p class=\"leftout\">To keep this page small, {} more are not in it; the JSON log has them.</p>",
                plural(self.left_out, noun)
            );
        }
        self.text
    }
}

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

/// The page with `{{name}}` replaced; what was put in is not looked at again.
fn fill(parts: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        out.push_str(parts.iter().find(|(one, _)| *one == name).map_or("", |(_, text)| text));
        rest = after;
    }
    out + rest
}

fn targets(book: &Book) -> String {
    book.runs.iter().map(|run| run.target.as_str()).collect::<Vec<_>>().join(", ")
}

fn total(book: &Book, verdict: Verdict) -> usize {
    book.runs.iter().map(|run| run.count(verdict)).sum()
}

fn is_complete(book: &Book) -> bool {
    !book.runs.is_empty() && book.runs.iter().all(Run::is_complete)
}

/// `2 failed, 1 errored of 10`, never `passed` of what could not be told.
fn headline(book: &Book) -> String {
    let count = |verdict| total(book, verdict);
    let ended: usize = book.runs.iter().map(Run::ended).sum();
    let mut bad = Vec::new();
    for verdict in [Verdict::Failed, Verdict::Errored] {
        if count(verdict) > 0 {
            bad.push(format!("{} {verdict}", count(verdict)));
        }
    }
    let text = match (bad.is_empty(), count(Verdict::Passed)) {
        (false, _) => format!("{} of {ended}", bad.join(", ")),
        (true, 0) => "nothing passed".to_owned(),
        (true, passed) if passed == ended => format!("all {passed} passed"),
        (true, passed) => format!("{passed} of {ended} passed, none failed"),
    };
    if is_complete(book) { text } else { format!("incomplete: {text}") }
}

fn overview(book: &Book) -> String {
    let bad = total(book, Verdict::Failed) + total(book, Verdict::Errored) > 0;
    let class = match (bad, is_complete(book) && total(book, Verdict::Passed) > 0) {
        (true, _) => "bad",
        (false, false) => "unsure",
        (false, true) => "good",
    };
    let mut out = format!("<section id=\"overview\"><h1 class=\"{class}\">{}</h1>\n", html(&headline(book)));
    if book.runs.len() > 1 {
        let differ = book.cases.values().filter(|entry| entry.differs(book.runs.len())).count();
        let _ = writeln!(
            out,
            "<p class=\"lead\">{} on {}; {} {}.</p>",
            plural(book.cases.len(), "case"),
            plural(book.runs.len(), "broker"),
            plural(differ, "case"),
            if differ == 1 { "differs" } else { "differ" },
        );
    }
    out.push_str(
        "<div class=\"scroll\"><table class=\"runs\"><thead><tr><th scope=\"col\">Broker</th><th></th>",
    );
    for verdict in VERDICTS {
        let _ = write!(out, "<th scope=\"col\">{verdict}</th>");
    }
    out.push_str("<th scope=\"col\">not run</th><th scope=\"col\">time</th></tr></thead><tbody>\n");
    for run in &book.runs {
        out.push_str(&run_row(run));
    }
    out.push_str("</tbody></table></div></section>\n");
    out
}

fn run_row(run: &Run) -> String {
    let mut about = vec![format!("mqttlab {}", run.mqttlab), format!("seed {}", run.seed)];
    if !run.started.is_empty() {
        about.insert(1, run.started.clone());
    }
    if run.virtual_time {
        about.push("virtual time".into());
    }
    if run.complete != Some(true) {
        about.push("cut short".into());
    }
    let missing = run.cases.saturating_sub(run.ended());
    let mut out = format!(
        "<tr><th scope=\"row\">{} <small>{}</small></th><td class=\"share\">{}</td>",
        html(&run.target),
        html(&about.join(" · ")),
        bar(run, missing)
    );
    let cell = |class: &str, count: usize| {
        let class = if count == 0 { "zero" } else { class };
        format!("<td class=\"count {class}\">{count}</td>")
    };
    for verdict in VERDICTS {
        out += &cell(letter(verdict), run.count(verdict));
    }
    out += &cell("o", missing);
    let seconds = Duration::try_from_secs_f64(run.seconds).unwrap_or_default();
    let _ = writeln!(out, "<td class=\"count\">{}</td></tr>", html(&print_duration(seconds)));
    out
}

/// Shares of the verdicts as a drawing: styles of single elements are not allowed by the policy.
fn bar(run: &Run, missing: usize) -> String {
    const WIDTH: f64 = 1000.0;
    let all = (run.ended() + missing).max(1) as f64;
    let mut out = format!(
        "<svg class=\"bar\" viewBox=\"0 0 {WIDTH} 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
    );
    let mut x = 0.0;
    let counts = VERDICTS.map(|verdict| (letter(verdict), run.count(verdict)));
    for (class, count) in counts.into_iter().chain([("o", missing)]).filter(|(_, count)| *count > 0) {
        // What is there can be seen, however little.
        let width = (count as f64 / all * WIDTH).max(6.0);
        let _ = write!(out, "<rect class=\"{class}\" x=\"{x:.1}\" width=\"{width:.1}\" height=\"10\"/>");
        x += width;
    }
    out + "</svg>"
}

fn attention(book: &Book, causes: &[Cause]) -> String {
    if causes.is_empty() {
        return String::new();
    }
    let mut parts = Bounded::default();
    for (number, cause) in causes.iter().enumerate() {
        parts.add(&one_cause(book, cause, number < OPEN), CAUSES);
    }
    format!(
        "<section id=\"attention\"><h2>Needs attention <small>{}</small></h2>\n{}</section>\n",
        plural(causes.len(), "cause"),
        parts.finish("cause")
    )
}

fn one_cause(book: &Book, cause: &Cause, is_open: bool) -> String {
    let (name, sentence) = match &cause.statement {
        Some((protocol, id)) => {
            (format!("<code>{}</code> <small>MQTT {}</small> ", html(id), html(protocol)), "")
        }
        None => (String::new(), cause.sentence.lines().next().unwrap_or_default()),
    };
    let mut out = format!(
        "<details class=\"cause {}\"{}><summary><span class=\"m {}\">{}</span> {name}<b>{}</b> \
         <small>{}</small></summary>\n",
        letter(cause.verdict),
        if is_open { " open" } else { "" },
        letter(cause.verdict),
        sign(cause.verdict, false),
        html(sentence),
        plural(cause.items.len(), "case"),
    );
    let sample = cause.items.first().and_then(|(case, run)| {
        let (_, entry) = book.cases.get_index(*case)?;
        Some((entry.outcome(*run)?, book.runs.get(*run)?))
    });
    if let Some((outcome, run)) = sample {
        out.push_str(&explained(outcome, &run.context));
    }
    out.push_str(&named(book, &cause.items));
    out + "</details>\n"
}

/// Case after case, each with its mark.
fn named(book: &Book, items: &[(usize, usize)]) -> String {
    let several = book.runs.len() > 1;
    let mut out = String::from("<ul class=\"cases\">");
    let listed = items.iter().filter(|(case, _)| *case < book.listed).take(NAMED);
    let mut count = 0;
    for (case, run) in listed {
        let Some((id, entry)) = book.cases.get_index(*case) else { continue };
        let Some(outcome) = entry.outcome(*run) else { continue };
        let target = book.runs.get(*run).filter(|_| several).map(|run| html(&run.target));
        count += 1;
        let _ = writeln!(
            out,
            "<li data-c=\"{case}\">{} <a href=\"{}\">{}</a> {}{}</li>",
            mark(outcome, several.then_some(*run), "", 1),
            link(id, several.then_some(*run)),
            html(&id.to_string()),
            html(&entry.info.title),
            target.map(|target| format!(" <small>{target}</small>")).unwrap_or_default(),
        );
    }
    if items.len() > count {
        let _ = write!(
            out,
            "<li>and {}: see the table of all cases</li>",
            plural(items.len() - count, "more case")
        );
    }
    out + "</ul>\n"
}

/// One failure in full.
fn explained(outcome: &Outcome, context: &Context) -> String {
    let Some(why) = &outcome.why else { return String::new() };
    let mut out = format!(
        "<div class=\"why\"><div><p class=\"about\">{} <small>{}</small></p><dl class=\"parted\"><dt>expected</dt>\
         <dd>{}</dd><dt>actual</dt><dd>{}</dd>",
        html(&outcome.case.title),
        html(&context.target),
        html(&why.expected),
        html(&why.actual)
    );
    if let Some(hint) = &why.hint {
        let _ = write!(out, "<dt>hint</dt><dd>{}</dd>", html(hint));
    }
    for note in &outcome.notes {
        let _ = write!(out, "<dt>note</dt><dd>{}</dd>", html(note));
    }
    let _ =
        write!(out, "<dt>again</dt><dd><code>{}</code></dd></dl>", html(&failure::again(outcome, context)));
    if let Some(place) = why.place.as_ref().or(outcome.case.place.as_ref()) {
        out.push_str(&excerpt(place));
    }
    out.push_str("</div>");
    if !why.packets.is_empty() {
        out.push_str("<pre class=\"packets\">");
        let skipped = why.packets.len().saturating_sub(PACKETS);
        for line in why.packets.iter().skip(skipped) {
            let class = if why.came.contains(line) { "came" } else { "" };
            let _ = writeln!(out, "<span class=\"{class}\">{}</span>", html(line));
        }
        out.push_str("</pre>");
    }
    out + "</div>\n"
}

/// The line at fault, what is meant in it marked.
fn excerpt(place: &Place) -> String {
    let line: Vec<char> = place.text.chars().collect();
    let start = place.column.saturating_sub(1).min(line.len());
    let end = (start + place.width).min(line.len()).max(start);
    // Blanks at the end of a part count here, and `html` takes them away.
    let part = |part: &[char]| {
        let text: String = part.iter().collect();
        let kept = text.trim_end();
        html(kept) + &" ".repeat(text.chars().count() - kept.chars().count())
    };
    format!(
        "<pre class=\"source\"><a class=\"at\">{}:{}:{}</a>\n{}<mark>{}</mark>{}</pre>",
        html(&place.file),
        place.line,
        place.column,
        part(&line[..start]),
        part(&line[start..end]),
        part(&line[end..])
    )
}

/// What is worth saying though it is no failure.
fn remarks(book: &Book) -> String {
    let mut out = Bounded::default();
    for (verdict, title) in [(Verdict::Known, "Known deviations"), (Verdict::Skipped, "Skipped")] {
        let mut by_reason: IndexMap<&str, Vec<(usize, usize)>> = IndexMap::new();
        for (case, run, outcome) in book.ended_so(verdict) {
            let reason = outcome.why.as_ref().map(|why| why.actual.as_str()).unwrap_or_default();
            by_reason.entry(reason).or_default().push((case, run));
        }
        for (reason, items) in by_reason {
            out.add(&remark(title, reason, &named(book, &items), items.len()), REMARKS);
        }
    }
    let mut by_note: IndexMap<&str, Vec<(usize, usize)>> = IndexMap::new();
    for (case, run, outcome) in book.ended_so(Verdict::Passed) {
        for note in &outcome.notes {
            by_note.entry(note).or_default().push((case, run));
        }
    }
    for (note, items) in by_note {
        out.add(&remark("Passed, but", note, &named(book, &items), items.len()), REMARKS);
    }
    // That a run was cut short is said whatever there is besides.
    let mut ends = String::new();
    for run in &book.runs {
        for note in &run.notes {
            let note = format!("<p class=\"note\"><b>{}</b> {}</p>\n", html(&run.target), html(note));
            out.add(&note, REMARKS);
        }
        ends.push_str(&not_ended(run));
    }
    let text = out.finish("remark") + &ends;
    if text.is_empty() {
        return text;
    }
    format!("<section id=\"remarks\"><h2>Remarks</h2>\n{text}</section>\n")
}

fn remark(title: &str, text: &str, cases: &str, count: usize) -> String {
    format!(
        "<details class=\"remark\"><summary><b>{title}</b> {} <small>{}</small></summary>{cases}</details>\n",
        html(text),
        plural(count, "case"),
    )
}

fn not_ended(run: &Run) -> String {
    if run.is_complete() {
        return String::new();
    }
    let missing = plural(run.cases.saturating_sub(run.ended()), "case");
    let open: Vec<_> = run.open.iter().take(NAMED).map(CaseId::to_string).collect();
    let under_way =
        if open.is_empty() { String::new() } else { format!("; under way were {}", open.join(", ")) };
    let text = format!("the run was cut short: {missing} did not end{under_way}");
    format!("<p class=\"note\"><b>{}</b> {}</p>\n", html(&run.target), html(&text))
}
