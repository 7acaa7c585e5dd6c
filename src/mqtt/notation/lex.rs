//! Cuts a packet line into words: `name=value`, `word`, `"quoted"`. Knows no packets.

use std::ops::Range;

use super::NotationError;

/// One word of a line.
#[derive(Debug)]
pub(super) struct Word {
    /// What stands before `=`, if there is one, without the key of a user property.
    pub name: Option<String>,
    /// The key of `user.KEY=` and `will.user.KEY=`.
    pub key: Option<String>,
    /// What stands behind `=`, or the whole word; unquoted.
    pub value: String,
    /// The value stood in quotes.
    pub quoted: bool,
    /// The whole word.
    pub span: Range<usize>,
    /// The part before `=`, or the whole word.
    pub name_span: Range<usize>,
}

/// Cuts `text` from byte `at` on.
pub(super) fn words(text: &str, at: usize) -> Result<Vec<Word>, NotationError> {
    let mut lexer = Lexer { text, at };
    let mut words = vec![];
    loop {
        lexer.skip(char::is_whitespace);
        if lexer.rest().is_empty() {
            return Ok(words);
        }
        words.push(lexer.word()?);
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn word(&mut self) -> Result<Word, NotationError> {
        let start = self.at;
        if self.rest().starts_with('"') {
            let value = self.quoted()?;
            self.end_of_word()?;
            let span = start..self.at;
            let name_span = span.clone();
            return Ok(Word { name: None, key: None, value, quoted: true, span, name_span });
        }
        let name = self.skip(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        let mut key = user_key(name);
        if key.as_deref() == Some("") && self.rest().starts_with('"') {
            key = Some(self.quoted()?);
        }
        let name_span = start..self.at;
        if name.is_empty() || !self.rest().starts_with('=') {
            self.at = start;
            let value = self.bare()?.to_owned();
            let span = start..self.at;
            let name_span = span.clone();
            return Ok(Word { name: None, key: None, value, quoted: false, span, name_span });
        }
        self.at += 1;
        let quoted = self.rest().starts_with('"');
        let value = if quoted { self.quoted()? } else { self.bare()?.to_owned() };
        self.end_of_word()?;
        let name = match (&key, name.starts_with("will.")) {
            (Some(_), true) => "will.user_property".to_owned(),
            (Some(_), false) => "user_property".to_owned(),
            (None, _) => name.to_owned(),
        };
        let span = start..self.at;
        Ok(Word { name: Some(name), key, value, quoted, span, name_span })
    }

    /// Everything up to the next blank.
    fn bare(&mut self) -> Result<&'a str, NotationError> {
        let start = self.at;
        let word = self.skip(|c| !c.is_whitespace());
        match word.find('"') {
            Some(at) => Err(NotationError::new("a quote inside a word", start + at..start + at + 1)
                .with_help("put the whole value in quotes, and `\\\"` for a quote inside")),
            None => Ok(word),
        }
    }

    fn end_of_word(&mut self) -> Result<(), NotationError> {
        match self.rest().chars().next() {
            Some(c) if !c.is_whitespace() => {
                let span = self.at..self.at + c.len_utf8();
                Err(NotationError::new("a blank is missing behind the closing quote", span))
            }
            _ => Ok(()),
        }
    }

    /// `"…"` with escapes.
    fn quoted(&mut self) -> Result<String, NotationError> {
        let start = self.at;
        let mut out = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.at = start + at + 1;
                    return Ok(out);
                }
                '\\' => {
                    let rest = &self.rest()[at + 1..];
                    let (c, len) = escape(rest).ok_or_else(|| {
                        let end = start + at + 1 + rest.chars().next().map_or(0, char::len_utf8);
                        NotationError::new("not an escape", start + at..end)
                            .with_help("escapes are \\\" \\\\ \\n \\r \\t \\0 and \\u{1f600}")
                    })?;
                    out.push(c);
                    // All that belongs to an escape is ASCII.
                    for _ in 0..len {
                        chars.next();
                    }
                }
                c => out.push(c),
            }
        }
        Err(NotationError::new("the closing quote is missing", start..self.text.len()))
    }
}

/// The key in `user.KEY` or `will.user.KEY`.
fn user_key(name: &str) -> Option<String> {
    name.strip_prefix("will.").unwrap_or(name).strip_prefix("user.").map(str::to_owned)
}

/// What stands behind a backslash: the character that it means, and how many it takes.
fn escape(rest: &str) -> Option<(char, usize)> {
    let simple = |c| Some((c, 1));
    match rest.chars().next()? {
        '"' => simple('"'),
        '\\' => simple('\\'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        '0' => simple('\0'),
        'u' => {
            let digits = rest.strip_prefix("u{")?.split_once('}')?.0;
            let number = u32::from_str_radix(digits, 16).ok()?;
            let plain = digits.len() <= 6 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            Some((char::from_u32(number).filter(|_| plain)?, digits.len() + 3))
        }
        _ => None,
    }
}
