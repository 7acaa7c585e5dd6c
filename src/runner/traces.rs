//! What a case leaves behind on a broker that goes on living: topics that it used, retained
//! messages, sessions. Takes them away again.
//!
//! Nothing here judges; what cannot be taken away is left.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tokio::time::timeout;

use super::context::Context;
use super::fence::{CONTROL_WITHIN, connect_control, message};
use crate::client::{Client, Options, Session};
use crate::mqtt::packet::{Connect, Disconnect};
use crate::mqtt::{Packet, Properties, ProtocolVersion, QoS, TopicName};

/// Topics that are remembered; a case with more is not one that a shared broker would like.
const TOPICS: usize = 10_000;

/// What the clients of a case have sent, as far as it may outlive them.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    topics: BTreeSet<TopicName>,
    retained: BTreeSet<TopicName>,
    sessions: BTreeMap<String, Connect>,
}

impl Traces {
    /// Looks at a packet that a client sends.
    pub fn note(&mut self, packet: &Packet) {
        match packet {
            Packet::Publish(publish) => self.publication(&publish.topic, publish.retain),
            Packet::Connect(connect) => {
                if let Some(will) = &connect.will {
                    self.publication(&will.topic, will.retain);
                }
                let lives_on = connect.properties.session_expiry_interval().unwrap_or(0) > 0;
                if (!connect.clean_start || lives_on) && !connect.client_id.is_empty() {
                    self.sessions.insert(connect.client_id.to_string(), (**connect).clone());
                }
            }
            _ => {}
        }
    }

    fn publication(&mut self, topic: &TopicName, retain: bool) {
        // Of a topic alias the topic was seen when it was declared.
        if topic.is_empty() || self.topics.len() >= TOPICS {
            return;
        }
        self.topics.insert(topic.clone());
        if retain {
            self.retained.insert(topic.clone());
        }
    }

    /// True if a message on this topic cannot be of this case.
    pub fn is_foreign(&self, topic: &TopicName) -> bool {
        self.topics.len() < TOPICS && !self.topics.contains(topic)
    }
}

/// Clears the retained messages and ends the sessions of a case.
pub async fn clear(context: &Context<'_>) {
    let traces = context.recorder.traces();
    let target = context.target.lock().await;
    if !traces.retained.is_empty() {
        let [account, _] = target.control_accounts();
        let control = connect_control(&target, account.as_ref(), "clear", ProtocolVersion::V311, None).await;
        if let Ok(mut control) = control {
            for topic in &traces.retained {
                let empty = message(topic, Bytes::new(), QoS::AtLeastOnce);
                let clear = crate::mqtt::packet::Publish { retain: true, ..empty };
                // Best effort: the next case says if it matters.
                let _ = timeout(CONTROL_WITHIN, control.publish(clear)).await;
            }
            control.disconnect(Disconnect::default()).await;
        }
    }
    for connect in traces.sessions.into_values() {
        let Ok(endpoint) = target.control_endpoint() else { return };
        let clean = Connect { clean_start: true, will: None, properties: Properties::new(), ..connect };
        let options = Options { connect_timeout: CONTROL_WITHIN, ..Options::new(clean) };
        if let Ok((client, _)) = Client::connect(&endpoint, &options, Session::default(), None).await {
            client.disconnect(Disconnect::default()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::packet::Will;

    #[test]
    fn what_outlives_a_case_is_remembered() {
        let topic = |text: &str| TopicName::new(text.to_owned()).expect("a topic");
        let mut traces = Traces::default();
        traces.note(&Packet::Publish(message(&topic("plain"), "x", QoS::AtMostOnce)));
        let will = Will {
            topic: topic("will"),
            payload: Bytes::new(),
            qos: QoS::AtMostOnce,
            retain: true,
            properties: Properties::new(),
        };
        let connect = Connect { client_id: "stays".into(), will: Some(will), ..Connect::default() };
        traces.note(&Packet::Connect(Box::new(connect)));
        let passing = Connect { client_id: "goes".into(), clean_start: true, ..Connect::default() };
        traces.note(&Packet::Connect(Box::new(passing)));
        assert!(!traces.is_foreign(&topic("plain")) && !traces.is_foreign(&topic("will")));
        assert!(traces.is_foreign(&topic("somebody/else")));
        assert_eq!(traces.retained.iter().map(TopicName::as_str).collect::<Vec<_>>(), ["will"]);
        assert_eq!(traces.sessions.keys().map(String::as_str).collect::<Vec<_>>(), ["stays"]);
    }
}
