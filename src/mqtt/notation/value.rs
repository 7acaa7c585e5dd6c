//! The values of fields: from the text of a line, and from packets. What both sides of a
//! comparison are brought to.

use std::fmt::Write as _;

use bytes::Bytes;

use super::fields::Form;
use super::{Field, NotationError};
use crate::mqtt::ReasonCode;
use crate::mqtt::codec::MAX_REMAINING_LENGTH;
use crate::mqtt::packet::PacketType;
use crate::text::did_you_mean;

/// A value, whichever way it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Flag(bool),
    Number(u32),
    /// Strings too: a forced one may be no UTF-8.
    Bytes(Bytes),
    Code(Code),
    /// Any code that says no (`error`); only ever expected.
    AnyError,
    Length(Length),
}

/// A code: in a line, its name may stand for one value before 5.0 and another in 5.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code {
    pub v5: ReasonCode,
    pub v3: ReasonCode,
}

impl Code {
    pub(super) const fn number(code: ReasonCode) -> Self {
        Self { v5: code, v3: code }
    }

    pub(super) fn is(self, code: ReasonCode) -> bool {
        self.v5 == code || self.v3 == code
    }
}

/// A forced Remaining Length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Exactly(u32),
    Off(i64),
}

/// Stands for every code that says no.
const ANY_ERROR: &str = "error";

/// Return codes of 3.1.1 that 5.0 calls otherwise, and what 5.0 made of each.
const OLD_NAMES: &[(&str, u8, u8)] = &[
    ("unacceptable_protocol_version", 1, 0x84),
    ("unsupported_protocol_version", 1, 0x84),
    ("identifier_rejected", 2, 0x85),
    ("client_identifier_not_valid", 2, 0x85),
    ("server_unavailable", 3, 0x88),
    ("bad_user_name_or_password", 4, 0x86),
    ("not_authorized", 5, 0x87),
];

/// Reads the value of `field`.
pub(super) fn read(kind: PacketType, form: Form, field: &Field) -> Result<Value, NotationError> {
    let text = field.value.as_str();
    match form {
        Form::Flag => match text {
            "" | "1" | "true" => Ok(Value::Flag(true)),
            "0" | "false" => Ok(Value::Flag(false)),
            _ => Err(bad(field, "it is there or not; or 1 or 0")),
        },
        Form::Number(max) => match number(text) {
            Some(number) if number <= max => Ok(Value::Number(number)),
            _ => Err(bad(field, &format!("a number from 0 to {max}, decimal or 0x…"))),
        },
        Form::Text | Form::Pair => {
            let bytes = bytes(field)?;
            if bytes.len() > usize::from(u16::MAX) {
                let message = format!("`{}` is longer than the 65,535 bytes that can travel", field.name);
                return Err(NotationError::new(message, field.span.clone()));
            }
            Ok(Value::Bytes(bytes))
        }
        Form::Bytes => bytes(field).map(Value::Bytes),
        Form::Code if text == ANY_ERROR => Ok(Value::AnyError),
        Form::Code => code(kind, field).map(Value::Code),
        Form::Length => length(text)
            .map(Value::Length)
            .ok_or_else(|| bad(field, "a length such as 200, or a difference such as +3 or -1")),
    }
}

fn bad(field: &Field, wanted: &str) -> NotationError {
    let message = format!("`{}` cannot be `{}`", field.name, shorten(&field.value));
    NotationError::new(message, field.span.clone()).with_help(wanted)
}

/// The beginning of a long text.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16).ok(),
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

fn length(text: &str) -> Option<Length> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return number(text).map(Length::Exactly),
    };
    number(digits).map(|number| Length::Off(sign * i64::from(number)))
}

/// True for a field that stands for many codes.
pub(super) fn is_any_error(kind: PacketType, field: &Field) -> bool {
    let form = super::fields::lookup(kind, field.name).map(|(_, meaning)| meaning.form());
    form == Some(Form::Code) && field.value == ANY_ERROR
}

/// True for a code that says no: from 0x80 on, and whatever is not 0 in a CONNACK.
pub(super) fn is_error(kind: PacketType, code: ReasonCode) -> bool {
    code.0 >= 0x80 || (kind == PacketType::ConnAck && code.0 != 0)
}

/// Text, or without quotes `hex:…` and `size:…`.
fn bytes(field: &Field) -> Result<Bytes, NotationError> {
    if let Some(size) = field.value.strip_prefix("size:").filter(|_| !field.quoted) {
        return match number(size) {
            Some(size) if size <= MAX_REMAINING_LENGTH => Ok(crate::text::filler(size as usize).into()),
            _ => Err(bad(field, "a number of bytes behind `size:`, up to 268435455")),
        };
    }
    match field.value.strip_prefix("hex:").filter(|_| !field.quoted) {
        None => Ok(Bytes::copy_from_slice(field.value.as_bytes())),
        Some(digits) => crate::text::parse_hex(digits)
            .map(Bytes::from)
            .ok_or_else(|| bad(field, "an even number of hex digits behind `hex:`, without blanks")),
    }
}

fn code(kind: PacketType, field: &Field) -> Result<Code, NotationError> {
    let text = field.value.as_str();
    if let Some(number) = number(text) {
        return match u8::try_from(number) {
            Ok(number) => Ok(Code::number(ReasonCode(number))),
            Err(_) => Err(bad(field, "a code from 0 to 255, decimal, 0x… or by its name")),
        };
    }
    if kind == PacketType::ConnAck
        && let Some((_, v3, v5)) = OLD_NAMES.iter().find(|(name, ..)| *name == text)
    {
        return Ok(Code { v3: ReasonCode(*v3), v5: ReasonCode(*v5) });
    }
    let names = names(kind);
    if let Some((code, _)) = names.iter().find(|(_, name)| name == text) {
        return Ok(Code::number(*code));
    }
    let message = format!("{} has no code `{}`", kind.name(), shorten(text));
    let error = NotationError::new(message, field.span.clone());
    Err(match did_you_mean(text, names.iter().map(|(_, name)| name.as_str())) {
        Some(name) => error.with_help(format!("did you mean `{name}`?")),
        None => error.with_help(format!("a number, or one of {}", list(&names))),
    })
}

fn list(names: &[(ReasonCode, String)]) -> String {
    names.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The codes of `kind` by name.
fn names(kind: PacketType) -> Vec<(ReasonCode, String)> {
    (0..=255)
        .map(ReasonCode)
        .filter(|code| code.allowed_in(kind))
        .filter_map(|code| Some((code, snake(code.name(kind)?))))
        .collect()
}

/// `Not authorized` as `not_authorized`.
fn snake(name: &str) -> String {
    name.to_lowercase().replace([' ', '-'], "_")
}

/// Bytes as a value of a line: a word where that is unmistakable, else in quotes, else hex.
pub(super) fn written(bytes: &[u8], in_quotes: bool) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !in_quotes && is_plain(text) => text.to_owned(),
        Ok(text) => quote(text),
        Err(_) => {
            let mut out = String::with_capacity(4 + 2 * bytes.len());
            out.push_str("hex:");
            for byte in bytes {
                let _ = write!(out, "{byte:02x}");
            }
            out
        }
    }
}

/// True for text that reads the same without quotes.
pub(super) fn is_plain(text: &str) -> bool {
    let harmless = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '$' | '+' | '#' | ':' | '@')
    };
    !text.is_empty() && !text.starts_with("hex:") && !text.starts_with("size:") && text.chars().all(harmless)
}

/// Text in quotes, with escapes for what would end the line or fool a reader.
pub(super) fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", crate::text::escape(&escaped))
}
