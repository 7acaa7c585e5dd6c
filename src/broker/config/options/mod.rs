//! The option registry: one row for every option of mosquitto.conf(5), and ours.
//!
//! `explain`, did-you-mean, the warnings about what we do not have and the test that every
//! example works come from the rows. A new option is one row and, if it is done, one function.

mod bridge;
mod bridge_lines;
mod bridge_link;
mod listener;
mod log;
mod process;
mod security;
mod sessions;
mod tls;

use super::draft::{Draft, Entry};
use crate::diagnostic::Diagnostic;

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// As it is written; a trailing `*` stands for the rest of the name.
    pub name: &'static str,
    /// What it belongs to.
    pub scope: Scope,
    /// What SIGHUP does with it.
    pub hup: Hup,
    /// The value in force without it.
    pub default: &'static str,
    /// What it means, in a few words.
    pub doc: &'static str,
    /// A line that uses it.
    pub example: &'static str,
    /// Whether we have it.
    pub status: Status,
}

/// What an option belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole broker.
    Global,
    /// The `listener` line above it.
    Listener,
    /// The listener that `port` and `bind_address` open.
    DefaultListener,
    /// The whole broker; the listener above it with `per_listener_settings true`.
    Security,
    /// The `connection` line above it.
    Bridge,
    /// The `plugin` line above it.
    Plugin,
}

/// What SIGHUP does with an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hup {
    /// Read again.
    Yes,
    /// Stays as it was at the start.
    No,
    /// The file that it names is read again, the name is not.
    Contents,
    /// Read again by mosquitto 2.1, not by 2.0.
    Since21,
}

/// Takes a value into the draft.
pub(super) type Apply = fn(&mut Draft, &Entry<'_>) -> Result<(), Diagnostic>;

/// Whether we have an option.
#[derive(Debug, Clone, Copy)]
pub enum Status {
    /// We do.
    #[expect(private_interfaces, reason = "only this module's parser calls it")]
    Done(Apply),
    /// It can have no effect here, for this reason: a warning, unless the value is the default.
    Ignored(&'static str),
    /// To go on without it would be unsafe, for this reason: an error, unless the value is the default.
    Refused(&'static str),
}

impl OptionSpec {
    /// A row. The order of the arguments is that of the fields.
    const fn new(
        name: &'static str,
        scope: Scope,
        hup: Hup,
        default: &'static str,
        status: Status,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, scope, hup, default, doc, example, status }
    }

    fn is_called(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()),
            None => self.name == name,
        }
    }
}

/// Every option, by what it belongs to.
pub fn all() -> impl Iterator<Item = &'static OptionSpec> {
    let tables = [
        process::OPTIONS,
        sessions::OPTIONS,
        log::OPTIONS,
        security::OPTIONS,
        listener::OPTIONS,
        tls::OPTIONS,
        bridge::OPTIONS,
        bridge_link::OPTIONS,
    ];
    tables.into_iter().flatten()
}

/// The option of this name.
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    all().find(|option| option.is_called(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_rows_are_complete() {
        let mut seen = BTreeSet::new();
        for option in all() {
            assert!(seen.insert(option.name), "{} twice", option.name);
            assert!(!option.doc.is_empty() && !option.default.is_empty(), "{}", option.name);
            let name = option.name.trim_end_matches('*');
            assert!(option.example.starts_with(name), "the example of {} uses it", option.name);
        }
        assert!(seen.len() >= 140, "only {} options", seen.len());
    }

    #[test]
    fn prefixes_need_more_than_themselves() {
        assert!(find("plugin_opt_x").is_some());
        assert!(find("plugin_opt_").is_none());
        assert_eq!(find("listener").map(|option| option.scope), Some(Scope::Listener));
    }
}
