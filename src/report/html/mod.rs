//! HTML: one file that needs neither a server nor the network. Verdicts, counts and failures are plain
//! HTML; the rest is drawn by a script from data that the file carries.
//!
//! A log of several runs is one page, the runs beside each other. Everything that comes from a peer or a
//! person is escaped twice: control characters as everywhere, then for HTML or for JSON in HTML. The
//! page decides nothing: verdicts are those of the log.

mod book;
mod causes;
mod coverage;
mod data;
mod matrix;
mod page;
mod tape;

use std::io;

use super::{Output, Report};
use crate::record::Event;
use crate::text::{cut_line, escape, plural};
use book::Book;

/// The HTML report; written when the last run has ended.
pub struct Html {
    out: Output,
    book: Book,
}

impl Html {
    /// A page in the making; `again` as `Context::of` takes it.
    pub fn new(out: Output, again: &str) -> Self {
        Self { out, book: Book { again: again.to_owned(), ..Book::default() } }
    }
}

impl Report for Html {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.book.event(event);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.book.sort();
        self.book.tapes.close(|_| true);
        let text = page::page(&mut self.book)?;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// Characters of a line that are shown: a topic may have 65,535 bytes.
const LINE: usize = 600;
/// Lines of a text that are shown: a table may have 50,000.
const LINES: usize = 400;

/// Text as a person may see it, line by line: what could fool the eye becomes visible.
fn visible(text: &str) -> String {
    let all = text.trim_end().lines();
    let mut lines: Vec<_> =
        all.clone().take(LINES).map(|line| escape(&cut_line(line, LINE).replace('\t', "    "))).collect();
    let more = all.skip(LINES).count();
    if more > 0 {
        lines.push(format!("… ({})", plural(more, "more line")));
    }
    lines.join("\n")
}

/// Text between tags, or an attribute between double quotes.
fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        assert_eq!(html("a\"'<b>&\u{202e}\n\tx"), "a&quot;&#39;&lt;b&gt;&amp;\\u{202e}\n    x");
        assert_eq!(visible("two\r\nlines\n\n"), "two\nlines");
        let long = visible(&("x".repeat(601) + "\ny"));
        let many = visible(&"x\n".repeat(402));
        assert!(many.ends_with("x\nx\n… (2 more lines)") && many.lines().count() == 401, "{many}");
        assert!(long.ends_with("x … (1 characters more)\ny") && long.len() < 640, "{long}");
    }
}
