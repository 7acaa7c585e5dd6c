//! Numbers that a line leaves open: `id=$first` is whatever number the packet has, and the same
//! number in every line after it. Which names have a number already is the caller's to remember.

use super::fields::{self, Form};
use super::{Field, PacketLine};

impl PacketLine {
    /// The names of the numbers that are open, without their `$`.
    pub fn open_numbers(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter_map(|field| open(self, field)).map(|(name, _)| name)
    }

    /// The line with those numbers put in that `lookup` knows.
    #[must_use]
    pub fn with_numbers(&self, lookup: impl Fn(&str) -> Option<u32>) -> Self {
        let mut line = self.clone();
        for field in &mut line.fields {
            if let Some((name, more)) = open(self, field)
                && let Some(number) = lookup(name)
            {
                field.value = (u64::from(number) + u64::from(more)).to_string();
            }
        }
        line
    }
}

/// The name behind `$` in a field that takes a number over.
pub(super) fn name_of<'f>(line: &PacketLine, field: &'f Field) -> Option<&'f str> {
    open(line, field).filter(|(_, more)| *more == 0).map(|(name, _)| name)
}

/// The name behind `$` in a field that holds a number, and what is added; elsewhere `$` is a
/// character like others.
pub(super) fn open<'f>(line: &PacketLine, field: &'f Field) -> Option<(&'f str, u32)> {
    let text = field.value.strip_prefix('$').filter(|_| !field.quoted)?;
    let (name, more) = match text.split_once('+') {
        Some((name, more)) => (name, more.parse().ok()?),
        None => (text, 0),
    };
    let is_word =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let (_, meaning) = fields::lookup(line.kind, field.name).filter(|_| is_word)?;
    matches!(meaning.form(), Form::Number(_)).then_some((name, more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::ProtocolVersion;

    #[test]
    fn an_open_number_is_taken_and_put_in() {
        let sent = PacketLine::parse("PUBLISH a/b \"x\" qos=1 id=7").expect("well-formed");
        let packet = sent.build(ProtocolVersion::V311).expect("bytes").packet.expect("well-formed");
        let wanted = PacketLine::parse("PUBLISH qos=1 id=$first").expect("well-formed");
        assert_eq!(wanted.captures(&packet), Ok(vec![("first".to_owned(), 7)]));
        assert!(wanted.with_numbers(|_| Some(8)).matches(&packet).is_err());
        assert!(wanted.with_numbers(|_| Some(7)).matches(&packet).is_ok());
        let none = PacketLine::parse("PUBLISH topic_alias=$alias").expect("well-formed");
        assert_eq!(none.matches(&packet).expect_err("it has no alias").actual, "none");
    }

    #[test]
    fn only_numbers_are_open() {
        let line =
            PacketLine::parse("PUBLISH $SYS/x \"$x\" qos=1 id=$a content_type=$b").expect("well-formed");
        assert_eq!(line.open_numbers().collect::<Vec<_>>(), ["a"]);
        assert_eq!(line.with_numbers(|_| Some(1)).fields[3].value, "1");
        let error = line.build(ProtocolVersion::V5).expect_err("nobody says which number");
        assert_eq!(error.message, "`id` cannot be `$a`");
        assert!(PacketLine::parse("PUBLISH id=$").is_err());
        let over = PacketLine::parse("PUBLISH a topic_alias=$max+1").expect("well-formed");
        assert_eq!(over.open_numbers().collect::<Vec<_>>(), ["max"]);
        assert_eq!(over.with_numbers(|_| Some(10)).fields[1].value, "11");
        let sent = over.with_numbers(|_| Some(65_535)).build(ProtocolVersion::V5);
        assert_eq!(sent.expect_err("there is no such alias").message, "`topic_alias` cannot be `65536`");
    }
}
