//! A topic name: what is published to. No wildcards.

use std::fmt;

use bytestring::ByteString;

use super::TopicError;

/// A valid topic name, or the empty stand-in of a PUBLISH that uses a topic alias.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicName(ByteString);

impl TopicName {
    /// Checks the grammar; does not look at `$` prefixes.
    pub fn new(text: impl Into<ByteString>) -> Result<Self, TopicError> {
        let text = text.into();
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > usize::from(u16::MAX) {
            return Err(TopicError::TooLong);
        }
        // [MQTT-4.7.3-2], [MQTT-3.3.2-2], [MQTT-4.7.1-1] 5: [MQTT-4.7.0-1]
        match text.bytes().position(|b| matches!(b, 0 | b'+' | b'#')) {
            Some(at) if text.as_bytes()[at] == 0 => Err(TopicError::Nul),
            Some(at) => Err(TopicError::WildcardInName(at)),
            None => Ok(Self(text)),
        }
    }

    /// The zero-length name that stands beside a topic alias in a 5.0 PUBLISH.
    pub fn aliased() -> Self {
        Self(ByteString::new())
    }

    /// What is left without so many bytes at the start, out of the same buffer; the whole name if it
    /// cannot be cut there.
    #[must_use]
    pub fn without(&self, bytes: usize) -> Self {
        match self.0.get(bytes..) {
            Some(rest) if !rest.is_empty() => Self(self.0.slice_ref(rest)),
            _ => self.clone(),
        }
    }

    /// True for the zero-length name of a PUBLISH that uses an alias.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared bytes behind it.
    pub fn as_byte_string(&self) -> &ByteString {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
