//! Why a case is not Passed, and where: between a broker that is wrong (*Failed*) and a run that
//! could not tell (*Errored*).

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use crate::diagnostic::Span;
use crate::record::{Excerpt, Explanation, Place};

/// Why a case ended early.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// The broker did something else than what was expected.
    Failed(Box<Explanation>),
    /// It could not be told.
    Errored(Box<Explanation>),
    /// What plays the client cannot do this.
    Skipped(String),
}

/// What a step comes to.
pub type Done<T = ()> = Result<T, Trouble>;

impl Trouble {
    /// The broker is wrong.
    pub fn failed(span: &Span, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::Failed(Box::new(explain(span, expected, actual)))
    }

    /// It could not be told.
    pub fn errored(span: &Span, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::Errored(Box::new(explain(span, expected, actual)))
    }

    /// Says what came instead, as lines of packets.
    #[must_use]
    pub fn instead(mut self, came: Vec<String>) -> Self {
        if let Some(why) = self.explanation_mut() {
            why.came = came;
        }
        self
    }

    /// The explanation, where there is one.
    pub fn explanation_mut(&mut self) -> Option<&mut Explanation> {
        match self {
            Self::Failed(why) | Self::Errored(why) => Some(why),
            Self::Skipped(_) => None,
        }
    }
}

fn explain(span: &Span, expected: impl Into<String>, actual: impl Into<String>) -> Explanation {
    Explanation {
        expected: expected.into(),
        actual: actual.into(),
        place: Some(place(span)),
        ..Explanation::default()
    }
}

/// A span as reports show it: its first line without passwords, and how much of it is meant.
pub fn place(span: &Span) -> Place {
    let (line, column) = span.source.line_column(span.range.start);
    let shown = without_passwords(&span.source.text);
    let text = shown.split('\n').nth(line - 1).unwrap_or_default().trim_end_matches('\r').to_owned();
    let meant = span.text().lines().next().unwrap_or_default().trim_end().chars().count();
    let width = meant.clamp(1, text.chars().count().saturating_sub(column - 1).max(1));
    Place { file: span.source.name.clone(), line, column, text, width }
}

/// Lines of a scenario that an event log holds.
const SOURCE_LINES: usize = 200;

/// The lines of the scenario that this place is in: from the `- ` of its list item to the next line that
/// stands as far to the left.
pub fn excerpt(span: &Span) -> Excerpt {
    let line_of = |number: usize| span.source.text.get(span.source.line_span(number)).unwrap_or_default();
    let depth = |line: &str| line.len() - line.trim_start().len();
    let at = span.line();
    let inside = depth(line_of(at));
    let opens = |line: &str| line.trim_start().starts_with("- ");
    let first = (1..=at)
        .rev()
        .find(|number| opens(line_of(*number)) && (*number == at || depth(line_of(*number)) < inside))
        .unwrap_or(at);
    let outside = depth(line_of(first));
    let mut lines: Vec<&str> = vec![line_of(first)];
    let rest = span.source.text.lines().skip(first);
    lines.extend(rest.take_while(|line| line.trim().is_empty() || depth(line) > outside));
    lines.truncate(SOURCE_LINES);
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    Excerpt { line: first, text: without_passwords(&lines.join("\n")).into_owned() }
}

/// Lines of a scenario with asterisks for the passwords in them: `password: iotlab`, `password=iotlab`, and
/// what stands below `password: >-`. As many lines as before.
fn without_passwords(text: &str) -> Cow<'_, str> {
    /// A key in the middle of a line, or an argument of a packet line.
    static INSIDE: LazyLock<Regex> = LazyLock::new(|| {
        let quoted = r#""(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*'"#;
        Regex::new(&format!(
            r#"(\bpassword["']?[ \t]*)(?:(=[ \t]*)(?:{quoted}|\S+)|(:[ \t]*(?:[&!]\S+[ \t]+)*)(?:{quoted}|[^\s,}}][^,}}\n]*))"#
        ))
        .expect("a valid expression")
    });
    /// A key that a line begins with: its value is all that follows, and all lines that stand deeper.
    static FIRST: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"^([ \t]*(?:- +)*)["']?password["']?[ \t]*:(?:[ \t]|$)"#).expect("a valid expression")
    });
    if !text.contains("password") {
        return text.into();
    }
    let mut below = None;
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let depth = line.len() - line.trim_start().len();
        if below.is_some_and(|key| depth > key) && !line.trim().is_empty() {
            lines.push(format!("{}***", &line[..depth]).into());
            continue;
        }
        if !line.trim().is_empty() {
            below = None;
        }
        let first = line.contains("password").then(|| FIRST.captures(line)).flatten();
        lines.push(match first {
            Some(key) => {
                below = Some(key[1].len());
                let value = if line[key[0].len()..].trim().is_empty() { "" } else { "***" };
                format!("{}{value}", &key[0]).into()
            }
            None => INSIDE.replace_all(line, "$1$2$3***"),
        });
    }
    lines.join("\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;

    #[test]
    fn passwords_are_not_in_it() {
        let text = r#"- id: a
  broker: {users: {u: {password: iotlab}, v: {password: "two words", allow: {}}}}
  clients: {one: {user: u, 'password': 'it''s', listener: tls}}
  steps:
  - one:
      packets: |
        > CONNECT user=u password="x y" client=c"#;
        let source = Source::new("a.yaml", text);
        let shown = excerpt(&Span::new(&source, 0..5)).text;
        for secret in ["iotlab", "two", "words", "it", "x y"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        assert_eq!(shown.matches("***").count(), 4, "{shown}");
        assert!(shown.contains("listener: tls") && shown.ends_with("client=c"), "{shown}");
    }

    #[test]
    fn passwords_of_every_style_are_hidden() {
        let text = "- id: a
  broker:
    users:
      one: {password: &pw hunter2, allow: {}}
      two: {password: !!str correct horse battery}
      three:
        password: >-
          hunter3

          hunter4
        allow: {read: t}
      four:
      - password: &x |
          hunter5
        'allow': {}
      five:
        password:
          hunter6
      six: {allow: {}}
      seven:
        password: hunter7,hunter8}
  steps:
  - packets: |
      > CONNECT password=hunter9,hunter0 client=c
";
        let source = Source::new("a.yaml", text);
        let shown = excerpt(&Span::new(&source, 0..5)).text;
        for secret in ["hunter", "correct", "horse", "battery"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        for kept in ["&pw ***, allow: {}}", "allow: {read: t}", "'allow': {}", "six: {allow: {}}", "client=c"]
        {
            assert!(shown.contains(kept), "{kept} not in {shown}");
        }
        assert_eq!(shown.lines().count(), text.lines().count(), "{shown}");
        let below = text.find("hunter4").expect("there");
        assert_eq!(place(&Span::new(&source, below..below + 7)).text, "          ***");
    }

    #[test]
    fn passwords_are_not_in_a_place() {
        let text = "steps:\r\n- bob: {connect: {password: hunter2}}\r\n- bob: {publish: x}\r\n";
        let source = Source::new("a.yaml", text);
        let of = |word: &str| {
            let at = text.find(word).expect("there");
            place(&Span::new(&source, at..at + word.len()))
        };
        let bob = of("bob: {connect: {password: hunter2}}");
        assert_eq!((bob.line, bob.column), (2, 3));
        assert_eq!(bob.text, "- bob: {connect: {password: ***}}");
        assert_eq!(bob.width, bob.text.len() - 2);
        assert_eq!(of("hunter2").text, bob.text);
        assert_eq!(of("bob: {publish: x}").text, "- bob: {publish: x}");
    }

    #[test]
    fn an_excerpt_is_the_whole_scenario_and_nothing_of_the_next() {
        let text = "lab: 1\nscenarios:\n- name: first\n  id: a\n\n  steps:\n  - x: 1\n\n- id: b\n";
        let source = Source::new("a.yaml", text);
        let of = |word: &str| {
            let at = text.find(word).expect("there");
            excerpt(&Span::new(&source, at..at + 1))
        };
        let first = Excerpt { line: 3, text: "- name: first\n  id: a\n\n  steps:\n  - x: 1".into() };
        assert_eq!(of("id: a"), first);
        assert_eq!(of("first"), first);
        assert_eq!(of("id: b"), Excerpt { line: 9, text: "- id: b".into() });
    }
}
