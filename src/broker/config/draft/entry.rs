//! One option line, and how its value is read: words, texts, numbers, as mosquitto reads them.
//!
//! Knows no option: names come from the line, ranges from the rows of `options`.

use std::collections::BTreeMap;

use super::super::Compat;
use super::super::options::OptionSpec;
use crate::diagnostic::{Diagnostic, Severity, Span};

/// One option line.
pub(in crate::broker::config) struct Entry<'a> {
    /// As it was typed.
    pub name: &'a str,
    pub spec: &'static OptionSpec,
    /// What follows the name and its blanks, to the end of the line.
    pub value: &'a str,
    pub name_span: Span,
    pub value_span: Span,
    pub compat: Compat,
}

/// Where options stood that may stand once, or that others are compared with at the end.
#[derive(Debug, Default)]
pub(in crate::broker::config) struct Seen(BTreeMap<&'static str, Span>);

impl Seen {
    /// Remembers where an option stands; the first place counts.
    pub fn note(&mut self, entry: &Entry<'_>, name: &'static str) {
        self.0.entry(name).or_insert_with(|| entry.value_span.clone());
    }

    /// The place of an option that was there.
    pub fn at(&self, name: &str) -> Option<&Span> {
        self.0.get(name)
    }

    /// The first of these that was there.
    pub fn any<'a>(&self, names: &[&'a str]) -> Option<(&'a str, &Span)> {
        names.iter().find_map(|name| Some((*name, self.at(name)?)))
    }
}

impl Entry<'_> {
    /// The name as mosquitto's messages write it.
    pub fn quoted(&self) -> String {
        self.quote(self.name)
    }

    /// Another name in the same way.
    pub fn quote(&self, name: &str) -> String {
        match self.compat {
            Compat::V20 => name.to_owned(),
            Compat::V21 => format!("'{name}'"),
        }
    }

    /// An error about the value, or about the name if there is no value.
    pub fn error(&self, code: &'static str, message: &str) -> Diagnostic {
        let span = if self.value.is_empty() { &self.name_span } else { &self.value_span };
        Diagnostic::error(code, span.clone(), message)
    }

    /// A warning at the same place.
    pub fn warning(&self, code: &'static str, message: &str) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..self.error(code, message) }
    }

    fn empty(&self, name: &str) -> Diagnostic {
        self.error("C002", &format!("Empty {} value in configuration", self.quote(name)))
            .with_help(format!("for example `{}`", self.spec.example))
    }

    /// `Invalid 'x' value (v)`
    pub fn invalid(&self, value: impl std::fmt::Display) -> Diagnostic {
        self.error("C003", &format!("Invalid {} value ({value})", self.quoted()))
    }

    /// The words of the value.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.value.split(' ').filter(|word| !word.is_empty())
    }

    /// The first word of the value; what follows it is not looked at, as in mosquitto.
    pub fn word(&self) -> Result<&str, Diagnostic> {
        self.words().next().ok_or_else(|| self.empty(self.name))
    }

    /// The whole value, blanks at its ends left out.
    pub fn text(&self) -> Result<String, Diagnostic> {
        self.text_of(self.name)
    }

    fn text_of(&self, name: &str) -> Result<String, Diagnostic> {
        let text = self.value.trim();
        if text.is_empty() { Err(self.empty(name)) } else { Ok(text.to_owned()) }
    }

    /// A text that may stand once; `name` is what mosquitto's messages call it.
    pub fn text_once(&self, seen: &mut Seen, name: &'static str) -> Result<String, Diagnostic> {
        let text = self.text_of(name)?;
        if let Some(earlier) = seen.at(name) {
            let message = format!("Duplicate {} value in configuration", self.quote(name));
            return Err(self.error("C005", &message).with_related(earlier.clone(), "here first"));
        }
        seen.note(self, name);
        Ok(text)
    }

    /// `true false 1 0`
    pub fn boolean(&self) -> Result<bool, Diagnostic> {
        match self.word()? {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => {
                let help = match other.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "true" => "write `true`",
                    "no" | "off" | "false" => "write `false`",
                    _ => "true, false, 1 or 0",
                };
                Err(self.invalid(other).with_help(help))
            }
        }
    }

    /// [`Entry::boolean`] into its place.
    pub fn set(&self, slot: &mut bool) -> Result<(), Diagnostic> {
        *slot = self.boolean()?;
        Ok(())
    }

    /// A whole number of 32 bits. With [`Compat::V20`] what cannot be read counts as far as it can,
    /// as atoi(3) does; with [`Compat::V21`] `0x` and `0` begin numbers to the base 16 and 8.
    pub fn number(&self) -> Result<i64, Diagnostic> {
        self.number_in(self.word()?)
    }

    /// [`Entry::number`] of another word of the line.
    pub fn number_in(&self, word: &str) -> Result<i64, Diagnostic> {
        let number = self.long_in(word)?;
        match i32::try_from(number) {
            Ok(_) => Ok(number),
            Err(_) => Err(self.error("C003", &format!("{} value out of range", self.quoted()))),
        }
    }

    /// A whole number of 64 bits.
    pub fn long(&self) -> Result<i64, Diagnostic> {
        self.long_in(self.word()?)
    }

    fn long_in(&self, word: &str) -> Result<i64, Diagnostic> {
        let (negative, digits) = match word.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, word.strip_prefix('+').unwrap_or(word)),
        };
        let (radix, digits) = match (self.compat, digits.strip_prefix("0x").or(digits.strip_prefix("0X"))) {
            (Compat::V21, Some(digits)) => (16, digits),
            (Compat::V21, None) if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
            _ => (10, digits),
        };
        let count = digits.bytes().take_while(|byte| char::from(*byte).is_digit(radix)).count();
        if self.compat == Compat::V21 && (count == 0 || count < digits.len()) {
            let message = format!("{} value not a number", self.quoted());
            return Err(self.error("C004", &message).with_help("a whole number"));
        }
        if count == 0 {
            return Ok(0);
        }
        match i64::from_str_radix(&digits[..count], radix) {
            Ok(number) => Ok(if negative { -number } else { number }),
            Err(_) => Err(self.error("C003", &format!("{} value out of range", self.quoted()))),
        }
    }

    /// A number from 0 (for unsigned `T`) to `max`, or `Invalid 'x' value (n)`.
    pub fn number_up_to<T: TryFrom<i64> + Copy + PartialOrd>(&self, max: T) -> Result<T, Diagnostic> {
        let number = self.number()?;
        T::try_from(number).ok().filter(|value| *value <= max).ok_or_else(|| self.invalid(number))
    }

    /// A number; less than nothing counts as nothing.
    pub fn amount(&self) -> Result<u32, Diagnostic> {
        Ok(u32::try_from(self.number()?).unwrap_or(0))
    }

    /// A number; less than nothing counts as no limit.
    pub fn limit(&self) -> Result<Option<u32>, Diagnostic> {
        Ok(u32::try_from(self.number()?).ok())
    }
}
