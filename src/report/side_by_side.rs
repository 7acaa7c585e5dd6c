//! The packets of two brokers in one case beside each other, from where they part.

use std::fmt::Write as _;

use super::comparison::Cell;
use super::paint::{DIM, Paint};
use crate::text::{escape, plural, shortened};

/// Lines shown before the first that differs.
const BEFORE: usize = 4;
/// Lines of the one shown after the last of the other.
const AFTER: usize = 3;
/// Lines shown in all.
const SHOWN: usize = 28;
/// Columns of one side.
const WIDEST: usize = 62;

/// One line on the left, one on the right, or one on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair<'l> {
    left: Option<&'l str>,
    right: Option<&'l str>,
    same: bool,
}

/// The packets of the broker that breaks a rule on the left, of one that keeps it on the right: names
/// and cells. Where a side has none (rows of a table), those of its explanation.
pub fn block(left: (&str, &Cell), right: (&str, &Cell), paint: Paint) -> String {
    let (ours, theirs) = (lines(left.1), lines(right.1));
    if ours.is_empty() && theirs.is_empty() {
        return String::new();
    }
    let mut pairs = align(&ours, &theirs);
    if theirs.is_empty() {
        // Rows of a table: what the other did is not kept apart, so nothing stands against it.
        for pair in &mut pairs {
            pair.same = true;
        }
    }
    let first = pairs.iter().position(|pair| !pair.same).unwrap_or(0);
    let start = first.saturating_sub(BEFORE);
    // When the case ended for the one, what the other did after it matters little.
    let last = pairs.iter().rposition(|pair| pair.left.is_some()).map_or(0, |at| at + 1);
    let end = (start + SHOWN).min(last.max(first) + AFTER).min(pairs.len());
    let shown = &pairs[start..end];
    let longest = shown.iter().filter_map(|pair| pair.left).map(|line| line.chars().count()).max();
    let width = longest.unwrap_or(0).max(left.0.chars().count()).min(WIDEST);
    let mut out = String::new();
    let right_head = if theirs.is_empty() { String::new() } else { format!(" │ {}", escape(right.0)) };
    let head = format!("      {:<width$}{right_head}", shortened(&escape(left.0), width));
    let _ = writeln!(out, "{}", paint.with(DIM, head.trim_end()));
    if start > 0 {
        let _ =
            writeln!(out, "      {}", paint.with(DIM, format_args!("… {} the same", plural(start, "line"))));
    }
    for pair in shown {
        let mark = if pair.same { ' ' } else { '!' };
        let left = shortened(pair.left.unwrap_or_default(), width);
        let right = shortened(pair.right.unwrap_or_default(), WIDEST);
        let bar = if theirs.is_empty() { "" } else { " │ " };
        let line = format!("    {mark} {left:<width$}{bar}{right}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let more = pairs.len() - end + left.1.dropped.max(right.1.dropped);
    if more > 0 {
        let _ = writeln!(out, "      {}", paint.with(DIM, format_args!("… {more} more")));
    }
    out
}

fn lines(cell: &Cell) -> Vec<String> {
    let told = cell.outcome.why.as_ref().map_or(&[][..], |why| &why.packets);
    let lines = if cell.lines.is_empty() { told } else { &cell.lines };
    lines.iter().map(|line| escape(line)).collect()
}

/// The longest common sequence, and what each side has besides; what stands against each other there is
/// one line.
fn align<'l>(left: &'l [String], right: &'l [String]) -> Vec<Pair<'l>> {
    let key = |lines: &[String]| -> Vec<String> { lines.iter().map(|line| comparable(line)).collect() };
    let (ours, theirs) = (key(left), key(right));
    let mut common = vec![vec![0_usize; right.len() + 1]; left.len() + 1];
    for l in (0..left.len()).rev() {
        for r in (0..right.len()).rev() {
            common[l][r] = if ours[l] == theirs[r] {
                common[l + 1][r + 1] + 1
            } else {
                common[l + 1][r].max(common[l][r + 1])
            };
        }
    }
    let mut pairs = Vec::new();
    let (mut l, mut r) = (0, 0);
    let (mut alone, mut other): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() && ours[l] == theirs[r] {
            against(&mut pairs, &mut alone, &mut other);
            pairs.push(Pair { left: Some(&left[l]), right: Some(&right[r]), same: true });
            (l, r) = (l + 1, r + 1);
        } else if r == right.len() || l < left.len() && common[l + 1][r] >= common[l][r + 1] {
            alone.push(&left[l]);
            l += 1;
        } else {
            other.push(&right[r]);
            r += 1;
        }
    }
    against(&mut pairs, &mut alone, &mut other);
    pairs
}

fn against<'l>(pairs: &mut Vec<Pair<'l>>, left: &mut Vec<&'l str>, right: &mut Vec<&'l str>) {
    for index in 0..left.len().max(right.len()) {
        let (left, right) = (left.get(index).copied(), right.get(index).copied());
        pairs.push(Pair { left, right, same: false });
    }
    left.clear();
    right.clear();
}

/// A line without what says nothing about a difference: ports of this machine, and what a broker
/// announces of itself in CONNACK.
fn comparable(line: &str) -> String {
    if let Some((client, answer)) = line.split_once(" < CONNACK ") {
        let (code, rest) = answer.split_once(' ').unwrap_or((answer, ""));
        let present = rest.split(' ').any(|field| field.starts_with("session_present"));
        return format!("{client} < CONNACK {code} {present}");
    }
    match line.split_once("127.0.0.1:") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}127.0.0.1:{rest}")
        }
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_have_is_in_one_line() {
        let lines = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
        let (left, right) = (lines("a,b,x,d"), lines("a,b,c,y,d"));
        let shown: Vec<String> = align(&left, &right)
            .iter()
            .map(|pair| format!("{}{}", pair.left.unwrap_or("-"), pair.right.unwrap_or("-")))
            .collect();
        assert_eq!(shown, ["aa", "bb", "xc", "-y", "dd"]);
        let (left, right) = (lines("a open 127.0.0.1:4000"), lines("a open 127.0.0.1:5"));
        assert!(align(&left, &right)[0].same);
    }
}
