//! Texts that no report may show, in whatever form and in however many pieces they come.
//!
//! Knows no events: the recorder asks before it keeps anything.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use memchr::memmem;

use crate::text;

/// What stands in place of a secret.
pub const HIDDEN: &str = "***";
/// What stands in place of each byte of one.
pub const STAR: u8 = b'*';

/// The secrets of one case.
#[derive(Debug, Default)]
pub struct Secrets {
    /// As they are, the longest first: one may be the beginning of another.
    texts: Vec<String>,
    /// As lines print them: with escapes, and as hex. The longest first.
    forms: Vec<String>,
    /// The latest raw bytes of each connection, as far back as a secret may begin.
    pieces: BTreeMap<u32, VecDeque<Piece>>,
}

/// Raw bytes that were sent at once.
#[derive(Debug)]
struct Piece {
    sent: Bytes,
    shown: Bytes,
}

/// Bytes as they were shown, and as they are to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The very bytes that [`Secrets::raw`] gave.
    pub before: Bytes,
    /// With more asterisks.
    pub after: Bytes,
}

impl Secrets {
    /// From now on these must not be shown.
    pub fn add<'a>(&mut self, secrets: impl IntoIterator<Item = &'a String>) {
        for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
            let hex = text::hex(secret.as_bytes());
            let in_quotes = text::escape(&secret.replace('\\', "\\\\").replace('"', "\\\""));
            let printed = [text::escape(secret), in_quotes, hex.replace(' ', ""), hex];
            self.forms.push(secret.clone());
            self.forms.extend(printed);
            self.texts.push(secret.clone());
        }
        for list in [&mut self.texts, &mut self.forms] {
            list.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
            list.dedup();
        }
    }

    /// The text without them.
    pub fn redact(&self, mut text: String) -> String {
        for form in &self.forms {
            if text.contains(form.as_str()) {
                text = text.replace(form.as_str(), HIDDEN);
            }
        }
        text
    }

    /// The bytes with an asterisk in place of each byte of a secret.
    pub fn overwrite(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        for secret in self.in_clear() {
            let found: Vec<usize> = memmem::find_iter(&bytes, secret).collect();
            for at in found {
                bytes[at..at + secret.len()].fill(STAR);
            }
        }
        bytes
    }

    /// Raw bytes as they may be shown, and those before them of which it shows only now that a secret
    /// begins in them.
    pub fn raw(&mut self, conn: u32, bytes: &Bytes) -> (Bytes, Vec<Rewritten>) {
        let longest = self.texts.first().map_or(0, String::len);
        let mut earlier = self.pieces.remove(&conn).unwrap_or_default();
        // A secret has a byte in the first of them, and one in these.
        let between = |pieces: &VecDeque<Piece>| pieces.iter().skip(1).map(|piece| piece.sent.len()).sum();
        while !earlier.is_empty() && longest < 2_usize.saturating_add(between(&earlier)) {
            earlier.pop_front();
        }
        let mut all: Vec<u8> = earlier.iter().flat_map(|piece| &piece.sent).copied().collect();
        let border = all.len();
        all.extend_from_slice(bytes);
        let mut secret_bytes = vec![false; all.len()];
        for secret in self.in_clear() {
            let from = (border + 1).saturating_sub(secret.len());
            let to = (border + secret.len() - 1).min(all.len());
            for at in memmem::find_iter(&all[from..to], secret) {
                secret_bytes[from + at..from + at + secret.len()].fill(true);
            }
        }
        let (before, now) = secret_bytes.split_at(border);
        let mut rest = before;
        let mut rewritten = Vec::new();
        for piece in &mut earlier {
            let (mine, after) = rest.split_at(piece.sent.len());
            rest = after;
            if mine.contains(&true) {
                let before = std::mem::take(&mut piece.shown);
                piece.shown = starred(&before, mine);
                rewritten.push(Rewritten { before, after: piece.shown.clone() });
            }
        }
        let shown = starred(&self.overwrite(bytes.to_vec()), now);
        earlier.push_back(Piece { sent: bytes.clone(), shown: shown.clone() });
        self.pieces.insert(conn, earlier);
        (shown, rewritten)
    }

    /// A connection is over.
    pub fn ended(&mut self, conn: u32) {
        self.pieces.remove(&conn);
    }

    fn in_clear(&self) -> impl Iterator<Item = &[u8]> {
        let in_clear = |secret: &&[u8]| secret.iter().any(|byte| *byte != STAR);
        self.texts.iter().map(String::as_bytes).filter(in_clear)
    }
}

fn starred(bytes: &[u8], secret: &[bool]) -> Bytes {
    bytes.iter().zip(secret).map(|(byte, secret)| if *secret { STAR } else { *byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(all: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add(&all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        secrets
    }

    #[test]
    fn they_are_found_in_every_form_that_is_printed() {
        let secrets = secrets(&["a\"b\\\n", "open", "open sesame"]);
        for text in ["a\"b\\\n", "a\"b\\\\n", "a\\\"b\\\\\\n", "61 22 62 5c 0a", "6122625c0a"] {
            assert_eq!(secrets.redact(format!("<{text}>")), "<***>", "{text}");
        }
        assert_eq!(secrets.redact("open sesame, open".into()), "***, ***");
        assert_eq!(secrets.overwrite(b"open sesame, open".to_vec()), b"***********, ****");
    }

    #[test]
    fn they_are_found_across_raw_pieces() {
        let mut secrets = secrets(&["hunter2", "unte"]);
        let mut shown: Vec<Bytes> = Vec::new();
        let pieces: [&[u8]; 9] =
            [b"x hu", b"nt", b"er2 hun", b"", b"ter2", b"h", b"hunter2hunt", b"er", b"3 nter2"];
        for piece in pieces {
            let (now, rewritten) = secrets.raw(1, &Bytes::copy_from_slice(piece));
            for Rewritten { before, after } in rewritten {
                let old = shown.iter_mut().find(|old| old.as_ptr() == before.as_ptr()).expect("shown before");
                *old = after;
            }
            shown.push(now);
        }
        let wanted: [&[u8]; 9] =
            [b"x **", b"**", b"*** ***", b"", b"****", b"h", b"*******h***", b"*r", b"3 nter2"];
        assert_eq!(shown, wanted);
        // Another connection is another stream.
        let begins = secrets.raw(2, &Bytes::from_static(b"hunter"));
        assert_eq!(begins.0, "h****r");
        assert_eq!(secrets.raw(3, &Bytes::from_static(b"2")), (Bytes::from_static(b"2"), Vec::new()));
        secrets.ended(2);
        assert_eq!(secrets.raw(2, &Bytes::from_static(b"2")), (Bytes::from_static(b"2"), Vec::new()));
    }
}
