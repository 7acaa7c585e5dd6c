//! ACL files: three lists of lines (anonymous clients, each user, everybody) and the decision.
//!
//! The grammar and the order of evaluation are mosquitto's. SUBSCRIBE is never asked about here:
//! mosquitto grants every one and judges each delivery instead.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::{Access, Decision, Subject};
use crate::diagnostic::{Diagnostic, Source, Span};
use crate::mqtt::TopicFilter;
use crate::mqtt::topic::TopicError;
use crate::text::did_you_mean;

/// A checked ACL file.
#[derive(Debug)]
pub struct Acl {
    source: Arc<Source>,
    /// Lines before the first `user`: for anonymous clients only.
    pub(super) anonymous: Vec<Rule>,
    /// The lines of each user, all of its sections together.
    pub(super) users: BTreeMap<Box<str>, Vec<Rule>>,
    /// `pattern` lines: for everybody, wherever they stand.
    pub(super) patterns: Vec<Rule>,
    warnings: Vec<Diagnostic>,
}

/// One `topic` or `pattern` line.
#[derive(Debug)]
pub(super) struct Rule {
    grant: Grant,
    filter: Box<str>,
    /// So many bytes of the filter are those of every topic that it matches: a quick look.
    literal: usize,
    line: u32,
    bytes: Range<usize>,
}

/// The access word of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grant {
    Deny,
    Read,
    Write,
    ReadWrite,
}

/// A line of an ACL file, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleRef<'a> {
    /// The line, from 1.
    pub line: u32,
    /// Its text.
    pub text: &'a str,
    /// Whom it binds.
    pub section: Section<'a>,
}

/// Whom a line of an ACL file binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section<'a> {
    /// It stands before the first `user`: clients without user name, and nobody else.
    Anonymous,
    /// It stands under `user NAME`.
    User(&'a str),
    /// A `pattern` line.
    Everybody,
}

impl Acl {
    /// Reads an ACL file. All errors at once; what is only suspicious is in [`Acl::warnings`].
    pub fn parse(source: &Arc<Source>) -> Result<Self, Vec<Diagnostic>> {
        let mut parser = Parser {
            acl: Self {
                source: Arc::clone(source),
                anonymous: Vec::new(),
                users: BTreeMap::new(),
                patterns: Vec::new(),
                warnings: Vec::new(),
            },
            user: None,
            errors: Vec::new(),
        };
        let mut start = 0;
        for (number, line) in (1..).zip(source.text.split('\n')) {
            let text = line.trim_end_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
            if !text.starts_with('#') {
                parser.line(number, start..start + text.len());
            }
            start += line.len() + 1;
        }
        if parser.errors.is_empty() { Ok(parser.acl) } else { Err(parser.errors) }
    }

    /// What looks like a mistake but is none for mosquitto.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The name of the file, as it was given.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// Whether the client may; the hard rules for `$` topics are the caller's
    /// ([`Rules::check`](super::Rules::check)).
    pub fn check(&self, who: Subject<'_>, topic: &str, access: Access) -> Decision {
        if let Some(decision) = self.own(who).iter().find_map(|rule| rule.decide(None, topic, access)) {
            return decision;
        }
        if self.refuses_name(who) {
            return Decision::DENIED;
        }
        self.patterns
            .iter()
            .find_map(|rule| rule.decide(Some(who), topic, access))
            .unwrap_or(Decision::DENIED)
    }

    /// The list that binds this client before the patterns do.
    pub(super) fn own(&self, who: Subject<'_>) -> &[Rule] {
        match who.user() {
            None => &self.anonymous,
            Some(name) => self.users.get(name).map_or(&[], Vec::as_slice),
        }
    }

    /// Patterns would let a client called `#` read everything (CVE-2017-7650).
    pub(super) fn refuses_name(&self, who: Subject<'_>) -> bool {
        let wild = |name: &str| name.contains(['+', '#']);
        !self.patterns.is_empty() && (who.user().is_some_and(wild) || wild(who.client_id))
    }

    pub(super) fn rule_ref<'a>(&'a self, rule: &Rule, section: Section<'a>) -> RuleRef<'a> {
        let text = self.source.text.get(rule.bytes.clone()).unwrap_or_default().trim();
        RuleRef { line: rule.line, text, section }
    }
}

impl Rule {
    /// The decision of this line; `None` if it does not match or does not grant this access, and
    /// the next line is to be asked. `who` is given for a pattern.
    pub(super) fn decide(&self, who: Option<Subject<'_>>, topic: &str, access: Access) -> Option<Decision> {
        let allowed = match (self.grant, access) {
            (Grant::Deny, _) => false,
            (Grant::ReadWrite, _) | (Grant::Read, Access::Read) | (Grant::Write, Access::Write) => true,
            (Grant::Read, Access::Write) | (Grant::Write, Access::Read) => return None,
        };
        self.matches(who, topic).then_some(Decision { allowed, line: Some(self.line) })
    }

    /// Whether this line is about the topic, `%u` and `%c` replaced for a pattern.
    pub(super) fn matches(&self, who: Option<Subject<'_>>, topic: &str) -> bool {
        if who.is_some_and(|who| who.user().is_none()) && self.filter.contains("%u") {
            return false;
        }
        topic.as_bytes().starts_with(&self.filter.as_bytes()[..self.literal])
            && matches(Expansion::new(&self.filter, who), topic.as_bytes())
    }
}

/// How many bytes stand before anything that stands for something else.
fn literal_len(filter: &str) -> usize {
    let end = filter.find(['+', '#', '%']).unwrap_or(filter.len());
    // `a/#` is about `a` too.
    if filter[end..].starts_with('#') { filter[..end].trim_end_matches('/').len() } else { end }
}

/// The bytes of a filter, `%u` and `%c` replaced in passing if there is a client to replace them by.
struct Expansion<'a> {
    filter: &'a [u8],
    insert: &'a [u8],
    who: Option<Subject<'a>>,
}

impl<'a> Expansion<'a> {
    fn new(filter: &'a str, who: Option<Subject<'a>>) -> Self {
        Self { filter: filter.as_bytes(), insert: &[], who }
    }
}

impl Iterator for Expansion<'_> {
    /// A byte, and whether it can be a wildcard: what was inserted never is.
    type Item = (u8, bool);

    fn next(&mut self) -> Option<(u8, bool)> {
        loop {
            if let Some((&byte, rest)) = self.insert.split_first() {
                self.insert = rest;
                return Some((byte, false));
            }
            match (self.filter, self.who) {
                ([b'%', b'u', rest @ ..], Some(who)) => {
                    self.insert = who.user().unwrap_or_default().as_bytes();
                    self.filter = rest;
                }
                ([b'%', b'c', rest @ ..], Some(who)) => {
                    self.insert = who.client_id.as_bytes();
                    self.filter = rest;
                }
                ([byte, rest @ ..], _) => {
                    self.filter = rest;
                    return Some((*byte, true));
                }
                ([], _) => return None,
            }
        }
    }
}

/// The rule of 4.7 over bytes, so that a pattern needs no string of its own.
fn matches(mut filter: Expansion<'_>, topic: &[u8]) -> bool {
    let mut at = 0;
    let mut first = true;
    while let Some((byte, wild)) = filter.next() {
        // [MQTT-4.7.2-1]
        if std::mem::take(&mut first) && topic.starts_with(b"$") && byte != b'$' {
            return false;
        }
        match byte {
            b'#' if wild => return true,
            b'+' if wild => {
                at += topic[at..].iter().position(|b| *b == b'/').unwrap_or(topic.len() - at);
            }
            _ if topic.get(at) == Some(&byte) => at += 1,
            // `a/#` is about `a` too.
            b'/' if at == topic.len() => return matches!(filter.next(), Some((b'#', true))),
            _ => return false,
        }
    }
    at == topic.len()
}

struct Parser {
    acl: Acl,
    user: Option<Box<str>>,
    errors: Vec<Diagnostic>,
}

impl Parser {
    /// One line that is no comment. Words are parted by blanks alone: a tab is part of a word.
    fn line(&mut self, number: u32, line: Range<usize>) {
        let source = Arc::clone(&self.acl.source);
        let text = &source.text[line.clone()];
        let indent = text.len() - text.trim_start_matches(' ').len();
        if indent == text.len() {
            return;
        }
        let (word, rest) = split_word(&text[indent..]);
        match word {
            "topic" => self.topic(number, line, rest, false),
            "pattern" => self.topic(number, line, rest, true),
            "user" => match rest.map(trim_blanks).filter(|name| !name.is_empty()) {
                Some(name) => {
                    self.user = Some(name.into());
                    if name.contains('\t') {
                        self.warn("A105", line, "the user name holds a tab".to_owned(), "use a blank");
                    }
                }
                None => self.error("A004", line, "Missing username in acl_file", "write `user NAME`"),
            },
            _ => self.unknown(line.start + indent..line.start + indent + word.len(), word),
        }
    }

    fn topic(&mut self, number: u32, line: Range<usize>, rest: Option<&str>, pattern: bool) {
        let Some(rest) = rest.map(|rest| rest.trim_start_matches(' ')).filter(|rest| !rest.is_empty()) else {
            let sentence = "Empty topic in acl_file";
            return self.error("A005", line, sentence, "write `topic readwrite FILTER`");
        };
        // `rest` runs to the end of the line.
        let start = line.end - rest.len();
        let (word, filter) = match split_word(rest) {
            (word, Some(filter)) => (Some(word), trim_blanks(filter)),
            (filter, None) => (None, filter),
        };
        let grant = match word {
            None | Some("readwrite") => Grant::ReadWrite,
            Some("read") => Grant::Read,
            Some("write") => Grant::Write,
            Some("deny") => Grant::Deny,
            Some(other) => return self.access(start..start + other.len(), other),
        };
        if let Err(error) = TopicFilter::new(filter.to_owned())
            && error != TopicError::BadShare
        {
            return self.filter(line.end - filter.len()..line.end, filter, error);
        }
        if word.is_none() && matches!(filter, "read" | "write" | "readwrite" | "deny") {
            let message = format!("this line grants readwrite on a topic called `{filter}`");
            self.warn("A102", start..line.end, message, "the topic is missing: `topic read FILTER`");
        }
        if filter.contains('\t') {
            let message = "a tab does not part words, it is part of the topic".to_owned();
            self.warn("A103", start..line.end, message, "use a blank");
        }
        let rule = Rule {
            grant,
            filter: filter.into(),
            literal: literal_len(filter),
            line: number,
            bytes: line.clone(),
        };
        if pattern {
            self.check_pattern(line.end - filter.len()..line.end, filter);
            insert(&mut self.acl.patterns, rule);
        } else if let Some(user) = &self.user {
            insert(self.acl.users.entry(user.clone()).or_default(), rule);
        } else {
            insert(&mut self.acl.anonymous, rule);
        }
    }

    fn check_pattern(&mut self, place: Range<usize>, filter: &str) {
        let partly = |level: &str| level.len() > 2 && (level.contains("%u") || level.contains("%c"));
        if !filter.contains("%u") && !filter.contains("%c") {
            let message = format!("ACL pattern '{filter}' does not contain '%c' or '%u'");
            self.warn("A101", place, message, "this line gives every client the same right");
        } else if filter.split('/').any(partly) {
            let message = "'%u' or '%c' is only a part of a level".to_owned();
            self.warn(
                "A104",
                place,
                message,
                "mosquitto 2.1 replaces them only where they are a whole level",
            );
        }
    }

    fn unknown(&mut self, place: Range<usize>, word: &str) {
        let message = format!("Invalid line in acl_file \"{}\": {word}", self.acl.source.name);
        let help = if word.starts_with('#') {
            "a comment begins in the first column".to_owned()
        } else if word.contains('\t') {
            "a tab does not part words: use a blank".to_owned()
        } else if let Some(meant) = did_you_mean(word, ["user", "topic", "pattern"]) {
            format!("did you mean `{meant}`?")
        } else {
            "a line begins with `user`, `topic`, `pattern` or `#`".to_owned()
        };
        self.error("A001", place, &message, &help);
    }

    fn access(&mut self, place: Range<usize>, word: &str) {
        let message =
            format!("Invalid topic access type \"{word}\" in acl_file \"{}\"", self.acl.source.name);
        let help = match did_you_mean(word, ["read", "write", "readwrite", "deny"]) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "read, write, readwrite or deny; a topic with a blank needs one before it".to_owned(),
        };
        self.error("A002", place, &message, &help);
    }

    fn filter(&mut self, place: Range<usize>, filter: &str, error: TopicError) {
        let message = format!("Invalid ACL topic \"{filter}\" in acl_file \"{}\"", self.acl.source.name);
        let help = if filter.contains(" #") {
            "a comment has a line of its own, and begins in the first column".to_owned()
        } else {
            error.to_string()
        };
        self.error("A003", place, &message, &help);
    }

    fn error(&mut self, code: &'static str, place: Range<usize>, message: &str, help: &str) {
        let span = Span::new(&self.acl.source, place);
        self.errors.push(Diagnostic::error(code, span, message).with_help(help));
    }

    fn warn(&mut self, code: &'static str, place: Range<usize>, message: String, help: &str) {
        let span = Span::new(&self.acl.source, place);
        self.acl.warnings.push(Diagnostic::warning(code, span, message).with_help(help));
    }
}

/// `deny` goes before all others, the latest first; the others keep their order.
fn insert(list: &mut Vec<Rule>, rule: Rule) {
    let at = if rule.grant == Grant::Deny { 0 } else { list.len() };
    list.insert(at, rule);
}

/// The first word and what follows the blank behind it; `None` if nothing does.
fn split_word(text: &str) -> (&str, Option<&str>) {
    match text.split_once(' ') {
        Some((word, rest)) => (word, Some(rest)),
        None => (text, None),
    }
}

fn trim_blanks(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(text: &str) -> Acl {
        Acl::parse(&Source::new("acl", text)).expect("a good file")
    }

    fn codes(text: &str) -> Vec<(&'static str, usize)> {
        let place = |one: &Diagnostic| (one.code, one.span.as_ref().map_or(0, Span::line));
        match Acl::parse(&Source::new("acl", text)) {
            Ok(acl) => acl.warnings.iter().map(place).collect(),
            Err(errors) => errors.iter().map(place).collect(),
        }
    }

    /// `alice/id read a/b` → the deciding line, negative when denied; 0 when no line decided.
    fn ask(acl: &Acl, request: &str) -> i64 {
        let mut words = request.split(' ');
        let mut next = || words.next().expect("a word");
        let (username, client_id) = next().split_once('/').expect("name/id");
        let access = if next() == "read" { Access::Read } else { Access::Write };
        let who = Subject { username: Some(username), client_id };
        let decision = acl.check(who, next(), access);
        let line = i64::from(decision.line.unwrap_or_default());
        if decision.allowed { line } else { -line }
    }

    #[test]
    fn three_lists() {
        let acl = acl(
            "topic read pub/#\nuser alice\ntopic a\nuser bob\ntopic read b\nuser alice\ntopic write c\npattern p/%u\n",
        );
        assert_eq!(ask(&acl, "/x read pub/1"), 1);
        assert_eq!(
            ask(&acl, "alice/x read pub/1"),
            0,
            "lines before the first user bind anonymous clients only"
        );
        assert_eq!(ask(&acl, "alice/x write a"), 3);
        assert_eq!(ask(&acl, "alice/x write c"), 7, "sections of a user add up");
        assert_eq!(ask(&acl, "bob/x write b"), 0);
        assert_eq!(ask(&acl, "bob/x write p/bob"), 8, "a pattern is for everybody, wherever it stands");
        assert_eq!(ask(&acl, "bob/x write p/alice"), 0);
        assert_eq!(ask(&acl, "carol/x read b"), 0);
    }

    #[test]
    fn deny_goes_first_within_its_list_only() {
        let acl = acl(
            "user alice\ntopic s/#\ntopic deny s/x\ntopic deny s/+\ntopic t/alice\npattern deny t/%u\npattern u/%u\npattern deny u/#\n",
        );
        assert_eq!(ask(&acl, "alice/x read s/x"), -4, "the latest deny is asked first");
        assert_eq!(ask(&acl, "alice/x read s/x/y"), 2);
        assert_eq!(ask(&acl, "alice/x read t/alice"), 5, "a topic line is asked before any pattern");
        assert_eq!(ask(&acl, "alice/x write u/alice"), -8);
    }

    #[test]
    fn a_match_without_the_access_goes_on() {
        let acl = acl("user a\ntopic read x/#\ntopic write x/y\n");
        assert_eq!(ask(&acl, "a/i write x/y"), 3);
        assert_eq!(ask(&acl, "a/i read x/y"), 2);
        assert_eq!(ask(&acl, "a/i write x/z"), 0);
    }

    #[test]
    fn filters_match_as_subscriptions_do() {
        let acl = acl("user a\ntopic a/#\ntopic +/b\ntopic c/+/d\ntopic $aws/#\ntopic e/+\n");
        for (topic, line) in [
            ("a", 2),
            ("a/x/y", 2),
            ("ab", 0),
            ("x/b", 3),
            ("x/b/c", 0),
            ("$x/b", 0),
            ("c/x/d", 4),
            ("c//d", 4),
            ("c/x/y/d", 0),
            ("$aws", 5),
            ("$aws/x", 5),
            ("e/", 6),
            ("e", 0),
            ("/b", 3),
        ] {
            assert_eq!(ask(&acl, &format!("a/i read {topic}")), line, "{topic}");
        }
    }

    #[test]
    fn patterns_replace_name_and_id() {
        let acl = acl("pattern read in/%u/%c/#\npattern write x%c\n");
        assert_eq!(ask(&acl, "ann/7 read in/ann/7"), 1);
        assert_eq!(ask(&acl, "ann/7 read in/ann/7/z"), 1);
        assert_eq!(ask(&acl, "ann/7 read in/ann/8/z"), 0);
        assert_eq!(ask(&acl, "/7 read in//7"), 0, "a pattern with %u is not for anonymous clients");
        assert_eq!(ask(&acl, "/7 write x7"), 2);
        // CVE-2017-7650
        assert_eq!(ask(&acl, "+/7 read in/ann/7"), 0);
        assert_eq!(ask(&acl, "ann/# read in/ann/7"), 0);
        assert_eq!(ask(&acl, "%c/7 read in/%c/7"), 1, "what was inserted is not expanded again");
    }

    #[test]
    fn an_empty_file_denies_everything() {
        assert_eq!(ask(&acl("# nothing\n\n"), "a/i read x"), 0);
    }

    #[test]
    fn all_errors_at_once() {
        let text = "topic readd a\n # x\nuser\nuser  \ntopic\ntopic  \ntopic read a/#/b\ntopc a\ntopic\tread a\ntopic read a/b # c\n";
        assert_eq!(
            codes(text),
            [
                ("A002", 1),
                ("A001", 2),
                ("A004", 3),
                ("A004", 4),
                ("A005", 5),
                ("A005", 6),
                ("A003", 7),
                ("A001", 8),
                ("A001", 9),
                ("A003", 10),
            ]
        );
    }

    #[test]
    fn suspicious_lines_are_warned_about() {
        assert_eq!(
            codes("pattern a/b\npattern x%u/y\ntopic read\ntopic read\ta\n"),
            [("A101", 1), ("A104", 2), ("A102", 3), ("A103", 4),]
        );
        assert_eq!(codes("  topic read a b/c  \r\nuser a b\n"), []);
    }

    #[test]
    fn explains_itself() {
        let acl =
            acl("topic read all/#\nuser bob\ntopic readwrite home/#\ntopic deny home/x\ntopic read r\n");
        let say = |name, topic, access| {
            acl.explain(Subject { username: Some(name), client_id: "c" }, topic, access).text
        };
        assert_eq!(
            say("bob", "home/1", Access::Write),
            "bob has write access: `topic readwrite home/#` under `user bob` (acl:3)"
        );
        assert_eq!(
            say("bob", "home/x", Access::Read),
            "bob is denied: `topic deny home/x` under `user bob` (acl:4)"
        );
        assert_eq!(
            say("bob", "r", Access::Write),
            "no line grants bob write on r; `topic read r` under `user bob` (acl:5) does not"
        );
        assert_eq!(say("user1", "/sensor/data", Access::Write), "no line grants user1 write on /sensor/data");
        assert_eq!(
            say("bob", "all/1", Access::Read),
            "no line grants bob read on all/1; `topic read all/#` before the first `user` (acl:1) binds clients \
             without a user name only"
        );
    }
}
