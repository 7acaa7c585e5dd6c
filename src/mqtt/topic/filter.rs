//! A topic filter: what is subscribed to. `+` stands for one level, `#` for the rest.

use std::fmt;

use bytestring::ByteString;

use super::{TopicError, TopicName};

/// A valid topic filter, `$share/NAME/` included where it has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(ByteString);

/// The two parts of `$share/NAME/FILTER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared<'a> {
    /// The share name.
    pub group: &'a str,
    /// The filter behind it.
    pub filter: &'a str,
}

impl TopicFilter {
    /// Checks the grammar, of shared subscriptions too, whatever the version. 3.1.1 does not know those,
    /// but lets a server use names that begin with `$` for purposes of its own (4.7.2), and mosquitto
    /// offers them to clients of every version: `$share/g` alone means nothing in any of them.
    pub fn new(text: impl Into<ByteString>) -> Result<Self, TopicError> {
        let text = text.into();
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > usize::from(u16::MAX) {
            return Err(TopicError::TooLong);
        }
        check_levels(&text)?;
        if let Some(rest) = text.strip_prefix("$share/") {
            // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
            match rest.split_once('/') {
                Some((group, filter))
                    if !group.is_empty() && !group.contains(['+', '#']) && !filter.is_empty() => {}
                _ => return Err(TopicError::BadShare),
            }
        }
        Ok(Self(text))
    }

    /// The text, with `$share/NAME/` if it has that.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared bytes behind it.
    pub fn as_byte_string(&self) -> &ByteString {
        &self.0
    }

    /// Group and filter of a shared subscription.
    pub fn shared(&self) -> Option<Shared<'_>> {
        let (group, filter) = self.0.strip_prefix("$share/")?.split_once('/')?;
        Some(Shared { group, filter })
    }

    /// The filter without `$share/NAME/`.
    pub fn path(&self) -> &str {
        self.shared().map_or(&self.0, |shared| shared.filter)
    }

    /// Whether a publication to `topic` is for this filter. Level by level, without allocation.
    pub fn matches(&self, topic: &TopicName) -> bool {
        matches(self.path(), topic.as_str())
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.3-2] 5: [MQTT-4.7.1-1], [MQTT-4.7.1-2]
fn check_levels(text: &str) -> Result<(), TopicError> {
    let mut at = 0;
    for level in text.split('/') {
        if level.contains('\0') {
            return Err(TopicError::Nul);
        }
        if let Some(hash) = level.find('#')
            && (level.len() != 1 || at + 1 != text.len())
        {
            return Err(TopicError::MisplacedHash(at + hash));
        }
        if let Some(plus) = level.find('+')
            && level.len() != 1
        {
            return Err(TopicError::MisplacedPlus(at + plus));
        }
        at += level.len() + 1;
    }
    Ok(())
}

/// The rule of 4.7 for a valid filter and a valid topic: level by level, byte by byte.
/// [MQTT-4.7.3-4], [U311-4.7.1-1], [U311-4.7.1-2], [U311-4.7.3-1] 5: [U5-4.7.1-1]
fn matches(filter: &str, topic: &str) -> bool {
    // [MQTT-4.7.2-1]
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
