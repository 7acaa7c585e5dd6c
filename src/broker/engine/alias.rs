//! Topic aliases (3.3.2.3.4). One table a connection and direction, empty at its start
//! `[MQTT-3.3.2-7]` (all ids here are of 5.0). Does not know packets: what is written with an alias
//! is decided where frames leave the engine.

use crate::mqtt::{ReasonCode, TopicName};

use super::publication::owned_topic;

/// The aliases that a client declared.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    most: u16,
    topics: Vec<Option<TopicName>>,
}

impl Aliases {
    /// A client that may declare so many.
    pub fn new(most: u16) -> Self {
        Self { most, topics: Vec::new() }
    }

    /// The topic that is meant by topic and alias of a PUBLISH.
    pub fn resolve(&mut self, topic: TopicName, alias: Option<u16>) -> Result<TopicName, ReasonCode> {
        let Some(alias) = alias else {
            return if topic.is_empty() { Err(ReasonCode::PROTOCOL_ERROR) } else { Ok(topic) };
        };
        // [MQTT-3.3.2-8], [MQTT-3.3.2-9], [MQTT-3.3.2-12], [U5-3.3.2-3], [U5-3.3.2-4] of 5.0
        if alias == 0 || alias > self.most {
            return Err(ReasonCode::TOPIC_ALIAS_INVALID);
        }
        let index = usize::from(alias - 1);
        if topic.is_empty() {
            return self.topics.get(index).cloned().flatten().ok_or(ReasonCode::PROTOCOL_ERROR);
        }
        if self.topics.len() <= index {
            self.topics.resize(index + 1, None);
        }
        self.topics[index] = Some(owned_topic(&topic));
        Ok(topic)
    }
}

/// An alias of ours in a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnAlias {
    /// From 1.
    pub number: u16,
    /// The client knows it: the topic is left out.
    pub known: bool,
}

/// The aliases that we declared to a client. The first topics get one and keep it, as in mosquitto.
#[derive(Debug, Default)]
pub(super) struct OwnAliases {
    most: u16,
    topics: Vec<TopicName>,
}

impl OwnAliases {
    /// A client that takes so many.
    pub fn new(most: u16) -> Self {
        Self { most, topics: Vec::new() }
    }

    /// What an alias may add to a PUBLISH at most.
    pub fn largest(&self) -> Option<OwnAlias> {
        (self.most > 0).then_some(OwnAlias { number: self.most, known: false })
    }

    /// The alias for a topic that is sent now, never above the client's maximum.
    /// 5: [MQTT-3.3.2-11], [MQTT-3.1.2-26]
    pub fn stand_in(&mut self, topic: &TopicName) -> Option<OwnAlias> {
        if let Some(at) = self.topics.iter().position(|known| known == topic) {
            return Some(OwnAlias { number: u16::try_from(at + 1).ok()?, known: true });
        }
        if self.topics.len() >= usize::from(self.most) {
            return None;
        }
        self.topics.push(owned_topic(topic));
        Some(OwnAlias { number: u16::try_from(self.topics.len()).ok()?, known: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declares_uses_and_replaces() {
        let topic = |text: &str| TopicName::new(text).expect("a topic");
        let mut aliases = Aliases::new(10);
        assert_eq!(aliases.resolve(TopicName::aliased(), Some(3)), Err(ReasonCode::PROTOCOL_ERROR));
        assert_eq!(aliases.resolve(topic("a"), Some(3)), Ok(topic("a")));
        assert_eq!(aliases.resolve(TopicName::aliased(), Some(3)), Ok(topic("a")));
        assert_eq!(aliases.resolve(topic("b"), Some(3)), Ok(topic("b")));
        assert_eq!(aliases.resolve(TopicName::aliased(), Some(3)), Ok(topic("b")));
        assert_eq!(aliases.resolve(TopicName::aliased(), Some(2)), Err(ReasonCode::PROTOCOL_ERROR));
        assert_eq!(aliases.resolve(topic("c"), Some(0)), Err(ReasonCode::TOPIC_ALIAS_INVALID));
        assert_eq!(aliases.resolve(topic("c"), Some(11)), Err(ReasonCode::TOPIC_ALIAS_INVALID));
        assert_eq!(aliases.resolve(TopicName::aliased(), None), Err(ReasonCode::PROTOCOL_ERROR));
    }
}
