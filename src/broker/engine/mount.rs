//! `mount_point`: the prefix of all topics of a listener's clients inside the broker. Put before what
//! comes in here; what goes out is cut where a frame is made for a connection.
//!
//! Rights, subscriptions and retained messages know the whole topic alone, as in mosquitto.

use crate::mqtt::{TopicFilter, TopicName};

/// The topic inside the broker; `None` if that is too long.
pub(super) fn topic(prefix: &str, topic: &TopicName) -> Option<TopicName> {
    TopicName::new(format!("{prefix}{topic}")).ok()
}

/// The filter inside the broker, behind the name of a share; `None` if that is none, as `lab#` for
/// `#` behind `lab`.
pub(super) fn filter(prefix: &str, filter: &TopicFilter) -> Option<TopicFilter> {
    let whole = match filter.shared() {
        Some(shared) => format!("$share/{}/{prefix}{}", shared.group, shared.filter),
        None => format!("{prefix}{filter}"),
    };
    TopicFilter::new(whole).ok()
}

/// How many bytes of a topic a client under this prefix does not see; `None` if the topic is not its
/// to see at all.
pub(super) fn hidden(prefix: Option<&str>, topic: &str) -> Option<u16> {
    let Some(prefix) = prefix else { return Some(0) };
    let seen = topic.strip_prefix(prefix)?;
    if seen.is_empty() { None } else { u16::try_from(prefix.len()).ok() }
}
