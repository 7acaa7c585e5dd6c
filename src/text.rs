//! Text for people: escaping, did-you-mean, durations. A leaf; knows nothing of MQTT.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

/// Makes text of a peer safe for a terminal or log: control characters become `\u{1b}`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Bidirectional overrides can make a log lie.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Bytes as text where they are UTF-8 (escaped), else as hex with a length.
pub fn printable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => escape(text),
        Err(_) => hex(bytes),
    }
}

/// Lower-case hex, bytes apart: `10 0c 00`.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 3);
    for (i, byte) in bytes.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// So many bytes: `0123456789` over and over.
pub fn filler(size: usize) -> Vec<u8> {
    b"0123456789".iter().copied().cycle().take(size).collect()
}

/// Reads hex digits with or without blanks between bytes.
pub fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

/// The candidate that a misspelt word most likely meant.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score > 0.82)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Reads `250ms`, `1.5s`, `2m`, `1h`; a bare number is seconds. At most a year.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    (seconds <= 31_536_000.0).then(|| Duration::from_secs_f64(seconds))
}

/// `0.4 ms`, `12 ms`, `1.25 s`, `2 min 5 s`.
pub fn print_duration(duration: Duration) -> String {
    let secs = duration.as_secs_f64();
    if secs < 0.01 {
        format!("{:.1} ms", secs * 1e3)
    } else if secs < 1.0 {
        format!("{:.0} ms", secs * 1e3)
    } else if secs < 60.0 {
        format!("{secs:.2} s")
    } else {
        format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

/// The text in at most `width` characters, the last of them an ellipsis if there was more.
pub fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The start of a line of more than `width` characters, and how many more there are.
pub fn cut_line(line: &str, width: usize) -> Cow<'_, str> {
    match line.char_indices().nth(width) {
        None => line.into(),
        Some((at, _)) => format!("{} … ({} characters more)", &line[..at], line[at..].chars().count()).into(),
    }
}

/// `1 row`, `2 rows`.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_could_fool_a_terminal() {
        assert_eq!(escape("a\u{1b}[31m\u{202e}b\n"), "a\\u{1b}[31m\\u{202e}b\\n");
    }

    #[test]
    fn durations_both_ways() {
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("soon"), None);
        assert_eq!(print_duration(Duration::from_micros(400)), "0.4 ms");
        assert_eq!(print_duration(Duration::from_secs(125)), "2 min 5 s");
    }

    #[test]
    fn hex_both_ways() {
        assert_eq!(parse_hex("10 0c00"), Some(vec![0x10, 0x0c, 0]));
        assert_eq!(parse_hex("1"), None);
        assert_eq!(hex(&[0x10, 0x0c]), "10 0c");
    }

    #[test]
    fn suggests_the_nearest_word() {
        assert_eq!(did_you_mean("subcribe", ["publish", "subscribe"]), Some("subscribe"));
        assert_eq!(did_you_mean("xyz", ["publish", "subscribe"]), None);
    }
}
