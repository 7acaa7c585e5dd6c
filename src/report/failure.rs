//! The block that explains one case that did not pass: expected, actual, place, packets, hint, and
//! the command that repeats it. Also the text of a failure in JUnit and in `cargo test`.

use std::fmt::Write as _;

use super::paint::{BOLD, DIM, Paint, label};
use crate::record::{Outcome, Place, RunPlan};
use crate::text::{cut_line, escape};

/// Characters of a source line that are shown.
const LINE_SHOWN: usize = 160;
/// Characters of a packet or of a sentence that are shown: payloads can have megabytes.
const TEXT_SHOWN: usize = 600;

/// What a block says beyond its outcome.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// What was tested: `mosquitto 2.0.11`.
    pub target: String,
    /// Arguments that the repeating command needs besides file and `--only`.
    pub again: String,
}

impl Context {
    /// Of a run: its plan knows the arguments, `given` are those where a log has none.
    pub fn of(target: &str, plan: Option<&RunPlan>, given: &str) -> Self {
        let again = plan.map_or(given, |plan| &plan.again);
        Self { target: target.to_owned(), again: again.to_owned() }
    }
}

/// `FAIL [0.004s] lab3 · acl · row 2  bob publishes …   [mosquitto 2.0.11, v5]`
pub fn headline(outcome: &Outcome, context: &Context, paint: Paint) -> String {
    let (word, style) = label(outcome.verdict);
    let id = &outcome.case.id;
    let mut name = id.clone();
    name.variant.clear();
    let mut tested: Vec<String> = [&context.target, &id.variant].map(|text| escape(text)).to_vec();
    tested.retain(|text| !text.is_empty());
    let tested = if tested.is_empty() { String::new() } else { format!("   [{}]", tested.join(", ")) };
    format!(
        "{} [{:.3}s] {}  {}{}",
        paint.with(style, word),
        outcome.seconds,
        paint.with(BOLD, escape(&name.to_string())),
        escape(&outcome.case.title),
        paint.with(DIM, tested),
    )
}

/// The headline and all that explains it; every line ends with its end of line.
pub fn block(outcome: &Outcome, context: &Context, colour: bool) -> String {
    let paint = Paint { colour };
    let mut out = headline(outcome, context, paint);
    out.push('\n');
    if let Some(why) = &outcome.why {
        field(&mut out, "expected", &why.expected, paint);
        field(&mut out, "actual", &why.actual, paint);
        if let Some(place) = why.place.as_ref().or(outcome.case.place.as_ref()) {
            excerpt(&mut out, place, paint);
        }
        packets(&mut out, &why.packets);
        field(&mut out, "hint", why.hint.as_deref().unwrap_or_default(), paint);
    }
    for note in &outcome.notes {
        field(&mut out, "note", note, paint);
    }
    field(&mut out, "again", &again(outcome, context), paint);
    out
}

/// `mqttlab run lab3.yaml --only acl.2 --trace`
pub fn again(outcome: &Outcome, context: &Context) -> String {
    let id = &outcome.case.id;
    let only = match id.row {
        Some(row) => format!("{}.{row}", id.scenario),
        None => id.scenario.clone(),
    };
    let mut command = format!("mqttlab run {} --only {}", quote(&id.file), quote(&only));
    if !context.again.is_empty() {
        command.push(' ');
        command += &context.again;
    }
    command + " --trace"
}

/// An argument as a shell wants it.
pub fn quote(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

/// `  expected  deny: nobody receives it`, further lines under the first; nothing for an empty text.
fn field(out: &mut String, name: &str, text: &str, paint: Paint) {
    for (number, line) in text.trim_end().lines().enumerate() {
        let name = if number == 0 { name } else { "" };
        let _ = writeln!(
            out,
            "  {}  {}",
            paint.with(DIM, format_args!("{name:<8}")),
            escape(&cut_line(line, TEXT_SHOWN))
        );
    }
}

/// The line at fault with a caret.
fn excerpt(out: &mut String, place: &Place, paint: Paint) {
    let at = format!("{}:{}:{}", escape(&place.file), place.line, place.column);
    let _ = writeln!(out, "   {} {at}", paint.with(DIM, "-->"));
    if place.text.trim().is_empty() {
        return;
    }
    let number = place.line.to_string();
    let margin = " ".repeat(number.len());
    let shown: Vec<char> = place.text.chars().take(LINE_SHOWN).collect();
    let start = place.column.saturating_sub(1).min(shown.len());
    let end = (start + place.width.max(1)).min(shown.len()).max(start);
    let visible = |part: &[char]| escape(&part.iter().collect::<String>().replace('\t', "    "));
    let indent = " ".repeat(visible(&shown[..start]).chars().count());
    let carets = "^".repeat(visible(&shown[start..end]).chars().count().max(1));
    let bar = paint.with(DIM, "|");
    let _ = writeln!(out, "   {margin} {bar}");
    let _ = writeln!(out, "   {} {bar} {}", paint.with(DIM, number), visible(&shown).trim_end());
    let _ = writeln!(out, "   {margin} {bar} {indent}{}", paint.with(label_style(), carets));
}

fn label_style() -> anstyle::Style {
    label(crate::record::Verdict::Failed).1
}

/// Packets one under the other, arrows in one column.
fn packets(out: &mut String, packets: &[String]) {
    let split: Vec<(&str, &str)> =
        packets.iter().map(|line| line.split_once(' ').unwrap_or(("", line))).collect();
    let width = split.iter().map(|(client, _)| client.chars().count()).max().unwrap_or(0);
    for (client, rest) in split {
        let _ = writeln!(out, "   {:<width$} {}", escape(client), escape(&cut_line(rest, TEXT_SHOWN)));
    }
}
