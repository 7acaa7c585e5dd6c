//! Topic aliases of one connection to the other broker: those that it declares, and those that it takes.
//!
//! Pure. Both tables begin empty with each connection. 5: `[MQTT-3.3.2-7]`

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use crate::mqtt::packet::Publish;
use crate::mqtt::{Property, TopicName};

/// See the module.
#[derive(Debug, Default)]
pub struct Aliases {
    theirs: BTreeMap<u16, TopicName>,
    ours: Vec<TopicName>,
}

impl Aliases {
    /// Puts the topic in that an alias of the other broker stands for, which may use so many; the error is
    /// one sentence. `[MQTT-3.3.2-8]` and the like of 5.0
    pub fn resolve(&mut self, mut publish: Publish, most: u16) -> Result<Publish, String> {
        let Some(alias) = publish.properties.topic_alias() else { return Ok(publish) };
        if alias == 0 || alias > most {
            return Err(format!("topic alias {alias} is not allowed"));
        }
        if publish.topic.is_empty() {
            let topic = self.theirs.get(&alias).cloned();
            publish.topic = topic.ok_or_else(|| format!("topic alias {alias} was never declared"))?;
        } else {
            self.theirs.insert(alias, publish.topic.clone());
        }
        Ok(publish)
    }

    /// Leaves the topic out that the other broker knows by a number, of which it takes so many.
    /// 5: `[MQTT-3.2.2-17]`
    pub fn shorten(&mut self, mut publish: Publish, most: u16) -> Publish {
        let at = match self.ours.iter().position(|known| *known == publish.topic) {
            Some(at) => {
                publish.topic = TopicName::aliased();
                at
            }
            None if self.ours.len() < usize::from(most) => {
                self.ours.push(publish.topic.clone());
                self.ours.len() - 1
            }
            None => return publish,
        };
        publish.properties.push(Property::TopicAlias(u16::try_from(at + 1).unwrap_or(u16::MAX)));
        publish
    }
}
