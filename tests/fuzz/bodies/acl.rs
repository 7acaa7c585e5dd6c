//! Any text as an ACL file: read or refused, and what is read answers every question.

use mqttlab::broker::auth::{Access, Acl, Subject};
use mqttlab::diagnostic::Source;

/// Runs one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let source = Source::new("acl", text.clone().into_owned());
    match Acl::parse(&source) {
        Ok(acl) => {
            for (username, client_id) in
                [(None, "c"), (Some("alice"), "c"), (Some("+"), "#"), (Some(""), "/")]
            {
                let who = Subject { username, client_id };
                for topic in ["a", "a/b", "alice/x", "$SYS/broker/uptime", "/", "a/alice/c", "é"] {
                    for access in [Access::Read, Access::Write] {
                        let decision = acl.check(who, topic, access);
                        if let Some(line) = decision.line {
                            assert!(line >= 1 && line as usize <= text.split('\n').count());
                        }
                    }
                }
            }
        }
        Err(found) => {
            assert!(!found.is_empty());
            for one in &found {
                assert!(!one.render(false).is_empty());
            }
        }
    }
}
