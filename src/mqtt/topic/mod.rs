//! Topic names, topic filters and the tree that matches one against many (chapter 4.7).

mod filter;
mod name;
mod tree;

pub use filter::{Shared, TopicFilter};
pub use name::TopicName;
pub use tree::TopicTree;

/// Why a string is not a topic name or filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// `[MQTT-4.7.3-1]`
    #[error("a topic has at least one character [MQTT-4.7.3-1]")]
    Empty,
    /// `[MQTT-4.7.3-3]`
    #[error("a topic has at most 65,535 bytes [MQTT-4.7.3-3]")]
    TooLong,
    /// `[MQTT-4.7.3-2]`
    #[error("U+0000 may not stand in a topic [MQTT-4.7.3-2]")]
    Nul,
    /// `[MQTT-3.3.2-2]`, at this byte.
    #[error("a topic that is published to has no wildcard [MQTT-3.3.2-2]")]
    WildcardInName(usize),
    /// `[MQTT-4.7.1-2]` (3.1.1), `[MQTT-4.7.1-1]` (5), at this byte.
    #[error("`#` must be the last level, alone [MQTT-4.7.1-2]")]
    MisplacedHash(usize),
    /// `[MQTT-4.7.1-3]` (3.1.1), `[MQTT-4.7.1-2]` (5), at this byte.
    #[error("`+` must be a level of its own [MQTT-4.7.1-3]")]
    MisplacedPlus(usize),
    /// `[MQTT-4.8.2-1]`, `[MQTT-4.8.2-2]` (5)
    #[error(
        "a shared subscription is `$share/NAME/FILTER`, with no wildcard or empty string in NAME [MQTT-4.8.2-1]"
    )]
    BadShare,
}
