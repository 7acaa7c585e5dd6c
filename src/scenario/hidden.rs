//! Which bytes of a scenario are passwords: reports show the text around them.
//!
//! Knows places, not meanings: the value of each key `password`, wherever it stands, and what lines of
//! packets and of mosquitto.conf name so.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::node::{Kind, Node};

/// Keys whose values are hidden: of the language, and options of mosquitto.conf.
const KEYS: [&str; 3] = ["password", "remote_password", "bridge_psk"];

/// Passwords in a document: by the tree, and by its text in comments and in what is no YAML.
pub(super) fn passwords(root: &Node, text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    below(root, &mut found);
    written(text, &mut found);
    found
}

fn below(node: &Node, found: &mut Vec<Range<usize>>) {
    match &node.kind {
        Kind::Seq(items) => items.iter().for_each(|item| below(item, found)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                below(value, found);
                if KEYS.contains(&key.text.as_str()) && !value.is_null() && value.lexeme().is_some() {
                    found.push(value.written.clone());
                }
            }
        }
        Kind::Null(_) | Kind::Bool(_) | Kind::Number(_) | Kind::String(_) => {}
    }
}

/// `password=iotlab` of a packet line, `remote_password iotlab` of mosquitto.conf, `password: iotlab` of a
/// comment.
fn written(text: &str, found: &mut Vec<Range<usize>>) {
    static VALUE: LazyLock<Regex> = LazyLock::new(|| {
        let quoted = r#""(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*'"#;
        Regex::new(&format!(
            r#"(?m)\bpassword["']?[ \t]*(?:=[ \t]*({quoted}|\S+)|:[ \t]*(?:[&!]\S+[ \t]+)*({quoted}|[^\s,}}*>|&!][^,}}\n]*))|^[ \t]*(?:remote_password|bridge_psk)[ \t]+(\S.*)"#
        ))
        .expect("a valid expression")
    });
    if !KEYS.iter().any(|key| text.contains(key)) {
        return;
    }
    found.extend(
        VALUE
            .captures_iter(text)
            .filter_map(|groups| groups.iter().skip(1).flatten().next().map(|one| one.range())),
    );
}

#[cfg(test)]
mod tests {
    use super::super::node;
    use crate::diagnostic::{Source, Span};

    /// The text as reports show it.
    fn shown(text: &str) -> String {
        let source = Source::new("a.yaml", text);
        let root =
            node::parse(&source, 0..text.len()).unwrap_or_else(|error| panic!("{}", error.render(false)));
        source.hide(super::passwords(&root, text));
        Span::new(&source, 0..text.len()).shown().into_owned()
    }

    #[test]
    fn passwords_of_every_style_are_hidden() {
        let before = r#"users:
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
  six: {password: , allow: {}}
  seven:
    password: hunter7,hunter8}
  eight: {'password': 'it''s', allow: {}}
# password: hunter9
steps:
- packets: |
    > CONNECT password=hunter9,hunter0 client=c
    > CONNECT user=u password="x \" y" client=c
"#;
        let after = r"users:
  one: {password: &pw ***, allow: {}}
  two: {password: !!str ***}
  three:
    password: >-
      ***

      ***
    allow: {read: t}
  four:
  - password: &x |
      ***
    'allow': {}
  five:
    password:
      ***
  six: {password: , allow: {}}
  seven:
    password: ***
  eight: {'password': ***, allow: {}}
# password: ***
steps:
- packets: |
    > CONNECT password=*** client=c
    > CONNECT user=u password=*** client=c
";
        assert_eq!(shown(before), after);
    }

    #[test]
    fn a_password_is_hidden_where_its_anchor_stands() {
        let before = "users: {a: {password: *pw}, b: {password: *block}}\n";
        let anchors = "name: &pw hunter2\nhint: &block |\n  hunter3\n  hunter4\nmore: [&other x, *pw]\n";
        let hidden = "name: &pw ***\nhint: &block |\n  ***\n  ***\nmore: [&other x, *pw]\n";
        assert_eq!(shown(&format!("{anchors}{before}")), format!("{hidden}{before}"));
    }

    #[test]
    fn a_password_of_several_lines_is_hidden_whole() {
        let before = "users: {a: {password: \"hunter2\n   hunter3, }\n\n  hunter4\", allow: {}},\n  b: {password: hunter5\n    hunter6}}\n";
        let after =
            "users: {a: {password: ***\n   ***\n\n  ***, allow: {}},\n  b: {password: ***\n    ***}}\n";
        assert_eq!(shown(before), after);
    }

    #[test]
    fn what_bridges_log_in_with_is_hidden() {
        let before = "config: |\n  connection x\n  remote_username u\n  remote_password two words\n  bridge_psk 0A\nsettings: {remote_password: x, max_qos: 1}\n";
        let after = "config: |\n  connection x\n  remote_username u\n  remote_password ***\n  bridge_psk ***\nsettings: {remote_password: ***, max_qos: 1}\n";
        assert_eq!(shown(before), after);
    }
}
