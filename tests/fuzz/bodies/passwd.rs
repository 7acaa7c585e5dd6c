//! Any text as a password file: read or refused, with places that can be shown. Nobody logs in: that
//! takes as long as the iterations say that stand in the file.

use mqttlab::broker::auth::Passwords;
use mqttlab::broker::config::Compat;
use mqttlab::diagnostic::Source;

/// Runs one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let source = Source::new("passwd", text);
    for compat in [Compat::V20, Compat::V21] {
        match Passwords::parse(&source, compat) {
            Ok(passwords) => {
                for one in passwords.warnings() {
                    assert!(!one.render(false).is_empty());
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
}
