//! Packet blocks: each line of a `packets: |` as a step on the wire, with its place in the file.
//!
//! The notation of a packet itself is `mqtt::notation`'s. Variables of the run stay in the fields
//! as `${name}`; the runner puts their values in.

use std::ops::Range;

use bytes::Bytes;

use super::node::Node;
use super::op::{WireAlternative, WireStep, WireStepKind};
use super::scope::Scope;
use crate::diagnostic::{Diagnostic, Span};
use crate::mqtt::ProtocolVersion;
use crate::mqtt::notation::PacketLine;
use crate::text::parse_hex;

const HELP: &str =
    "lines begin with `>` (send), `<` (expect), `<?` (may come) or `*` (note), `! ` or `5: ` before them";

/// Reads a block.
pub(super) fn block(scope: &Scope, node: &Node) -> Option<Vec<WireStep>> {
    let Some(lines) = node.lines() else {
        let message = "packet lines stand in a literal block (`packets: |`)";
        scope.error_help("L018", &node.span, message, "one packet a line, below `packets: |`");
        return None;
    };
    let source = &node.span.source;
    let mut steps = Vec::new();
    let mut complete = true;
    for range in lines {
        let text = source.text[range.clone()].trim();
        if text.is_empty() {
            continue;
        }
        let start = range.start + source.text[range.clone()].find(text).unwrap_or_default();
        let span = Span::new(source, start..start + text.len());
        let (guard, rest) = guarded(text);
        let span = Span::new(source, span.range.end - rest.len()..span.range.end);
        match line(scope, rest, &span) {
            Some(step) if guard.is_none_or(|version| version == scope.combination.protocol) => {
                steps.push(step);
            }
            Some(_) => {}
            None => complete = false,
        }
    }
    if steps.is_empty() && complete {
        scope.error_help("L018", &node.span, "this block has no packet line", HELP);
        return None;
    }
    complete.then_some(steps)
}

/// `5: > CONNECT …`: a line for one revision alone.
fn guarded(text: &str) -> (Option<ProtocolVersion>, &str) {
    let named = |version: &ProtocolVersion| {
        let rest = text.strip_prefix(version.to_string().as_str())?.strip_prefix(':')?;
        Some((Some(*version), rest.trim_start()))
    };
    ProtocolVersion::ALL.iter().find_map(named).unwrap_or((None, text))
}

fn line(scope: &Scope, text: &str, span: &Span) -> Option<WireStep> {
    let (strict, rest) = match text.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let part = |piece: &str| {
        let at = piece.as_ptr() as usize - text.as_ptr() as usize + span.range.start;
        Span::new(&span.source, at..at + piece.len())
    };
    let kind = if let Some(rest) = rest.strip_prefix("<?") {
        WireStepKind::Optional(expected(scope, rest.trim(), &part(rest.trim()))?)
    } else if let Some(rest) = rest.strip_prefix('<') {
        WireStepKind::Expect(alternatives(scope, rest, &part)?)
    } else if let Some(rest) = rest.strip_prefix('>') {
        send(scope, rest.trim(), &part(rest.trim()))?
    } else if let Some(rest) = rest.strip_prefix('*') {
        WireStepKind::Note(rest.trim().to_owned())
    } else {
        scope.error_help("L018", span, "this is not a packet line", HELP);
        return None;
    };
    if strict && !matches!(kind, WireStepKind::Expect(_)) {
        scope.error("L018", span, "`!` stands before a line that expects (`! < …`)");
        return None;
    }
    Some(WireStep { kind, strict, span: span.clone() })
}

fn send(scope: &Scope, text: &str, span: &Span) -> Option<WireStepKind> {
    if text == "close" {
        return Some(WireStepKind::SendClose);
    }
    if let Some(rest) = text.strip_prefix("text ") {
        let inner = rest.trim_start();
        let at = span.range.end - inner.len();
        return sent(scope, inner, &Span::new(&span.source, at..span.range.end)).map(WireStepKind::SendText);
    }
    let known = known_values(scope, text, span)?;
    let Some(digits) = known.strip_prefix("hex").filter(|rest| rest.is_empty() || rest.starts_with(' '))
    else {
        return sent(scope, text, span).map(WireStepKind::Send);
    };
    let bytes = parse_hex(digits).filter(|bytes| !bytes.is_empty());
    if bytes.is_none() {
        scope.error("L018", span, "`hex` is followed by pairs of hex digits such as `10 0c`");
    }
    bytes.map(|bytes| WireStepKind::SendBytes(Bytes::from(bytes)))
}

/// A packet that is to be sent. What stands for several things can only be expected.
fn sent(scope: &Scope, text: &str, span: &Span) -> Option<PacketLine> {
    let line = packet(scope, text, span)?;
    if let Some(field) = line.expect_only() {
        let message = format!("`{}` says what must not come, and nothing of what is sent", field.name);
        scope.error_help("L018", span, message, "leave it out");
        return None;
    }
    if let Some(field) = line.receive_only() {
        let message = format!("`{}` stands for many codes and cannot be sent", field.value);
        scope.error_help("L018", span, message, "write one of them, such as 0x80");
        return None;
    }
    Some(line)
}

/// `A | B & C | close | skip`; a bar within quotes belongs to the packet.
fn alternatives(scope: &Scope, text: &str, part: &dyn Fn(&str) -> Span) -> Option<Vec<WireAlternative>> {
    let mut found = Vec::new();
    for range in split(text, "|") {
        let piece = text[range].trim();
        let word = match piece {
            "close" => Some(WireAlternative::Close),
            "skip" => Some(WireAlternative::Skip),
            _ => None,
        };
        if let Some(word) = word {
            found.push(word);
            continue;
        }
        let lines = split(piece, " & ").into_iter().map(|range| {
            let piece = piece[range].trim();
            expected(scope, piece, &part(piece))
        });
        let mut lines = lines.collect::<Option<Vec<_>>>()?;
        found.push(match (lines.pop(), lines.is_empty()) {
            (Some(line), true) => WireAlternative::Packet(line),
            (Some(line), false) => {
                lines.push(line);
                WireAlternative::All(lines)
            }
            (None, _) => continue,
        });
    }
    Some(found)
}

/// The parts between marks that stand outside of quotes.
fn split(text: &str, mark: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if !quoted && text[at..].starts_with(mark) => {
                found.push(start..at);
                start = at + mark.len();
            }
            _ => {}
        }
    }
    found.push(start..text.len());
    found
}

/// A packet that is to come. What forces bytes on the wire can never be seen in one.
fn expected(scope: &Scope, text: &str, span: &Span) -> Option<PacketLine> {
    let line = packet(scope, text, span)?;
    if let Some(field) = line.send_only() {
        let message = format!("`{}` forces something on the wire and cannot be expected", field.name);
        scope.error_help(
            "L018",
            span,
            message,
            "leave it out: a packet with wrong flags or length is malformed",
        );
        return None;
    }
    Some(line)
}

/// The text with the values of the variables that are known already.
fn known_values(scope: &Scope, text: &str, span: &Span) -> Option<String> {
    let template = scope.template_of(text, span)?;
    Some(template.resolve(|name| Some(format!("${{{name}}}"))).unwrap_or_else(|_| text.to_owned()))
}

/// A packet, with the variables replaced that are known already.
fn packet(scope: &Scope, text: &str, span: &Span) -> Option<PacketLine> {
    let resolved = known_values(scope, text, span)?;
    match PacketLine::parse(&resolved) {
        Ok(line) => Some(line),
        Err(error) => {
            // Offsets are those of the file only where nothing was replaced.
            let range = if resolved == text {
                span.range.start + error.span.start..span.range.start + error.span.end
            } else {
                span.range.clone()
            };
            let finding = Diagnostic::error("L018", Span::new(&span.source, range), error.message);
            scope.report(match error.help {
                Some(help) => finding.with_help(help),
                None => finding,
            });
            None
        }
    }
}
