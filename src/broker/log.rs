//! What the broker says: mosquitto's log types, and lines on their way to a destination.

use std::fmt;

/// A set of mosquitto's `log_type`s (mosquitto.conf(5)), and ours: `denied`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogTypes(u16);

impl LogTypes {
    /// No line at all.
    pub const NONE: Self = Self(0);
    /// `error`
    pub const ERROR: Self = Self(1);
    /// `warning`
    pub const WARNING: Self = Self(1 << 1);
    /// `notice`
    pub const NOTICE: Self = Self(1 << 2);
    /// `information`
    pub const INFORMATION: Self = Self(1 << 3);
    /// `debug`
    pub const DEBUG: Self = Self(1 << 4);
    /// `subscribe`
    pub const SUBSCRIBE: Self = Self(1 << 5);
    /// `unsubscribe`
    pub const UNSUBSCRIBE: Self = Self(1 << 6);
    /// `internal`
    pub const INTERNAL: Self = Self(1 << 7);
    /// `websockets`
    pub const WEBSOCKETS: Self = Self(1 << 8);
    /// `denied`: who was refused what, and the line of the ACL file that decided. Ours.
    pub const DENIED: Self = Self(1 << 9);
    /// `all`
    pub const ALL: Self = Self((1 << 10) - 1);
    /// What mosquitto logs unless told otherwise: error, warning, notice, information.
    pub const DEFAULT: Self = Self(0b1111);

    /// The words of `log_type`.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("none", Self::NONE),
        ("error", Self::ERROR),
        ("warning", Self::WARNING),
        ("notice", Self::NOTICE),
        ("information", Self::INFORMATION),
        ("debug", Self::DEBUG),
        ("subscribe", Self::SUBSCRIBE),
        ("unsubscribe", Self::UNSUBSCRIBE),
        ("internal", Self::INTERNAL),
        ("websockets", Self::WEBSOCKETS),
        ("denied", Self::DENIED),
        ("all", Self::ALL),
    ];

    /// The type or types of a word of `log_type`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind)
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if any type of `other` is in the set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl Default for LogTypes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One line, without its time stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its type; exactly one.
    pub kind: LogTypes,
    /// The text, peers' strings escaped.
    pub text: String,
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
