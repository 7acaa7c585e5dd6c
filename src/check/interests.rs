//! What a client has asked to be sent: every filter of every SUBSCRIBE of its session. Judges nothing.
//!
//! Nothing is ever taken away: a broker may send what it had queued before an UNSUBSCRIBE at any time.

use crate::mqtt::packet::{SubAck, Subscribe, SubscriptionOptions};
use crate::mqtt::{PacketId, QoS, ReasonCode, TopicFilter, TopicName};

/// Filters that are remembered of a session; with more, nothing is known any more.
const ASKS: usize = 4_000;

/// One filter of one SUBSCRIBE.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub filter: TopicFilter,
    pub options: SubscriptionOptions,
    /// The subscription identifier.
    pub id: Option<u32>,
    /// The SUBSCRIBE, while it is not answered.
    request: Option<PacketId>,
    /// The answer.
    pub answer: Option<ReasonCode>,
}

impl Ask {
    /// The most that may be sent because of it.
    pub fn most(&self) -> QoS {
        match self.answer {
            Some(code) => QoS::from_u8(code.0).unwrap_or(self.options.qos),
            None => self.options.qos,
        }
    }

    fn was_refused(&self) -> bool {
        self.answer.is_some_and(|code| !code.is_success())
    }

    /// Shared subscriptions are an extension in 3.1.1: there the text may mean itself.
    fn matches(&self, topic: &TopicName) -> bool {
        let literal = self.filter.shared().is_some() && topic.as_str().starts_with("$share/");
        literal || self.filter.matches(topic)
    }
}

/// All that a client has asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Interests {
    asks: Vec<Ask>,
    /// Those of earlier connections are not known.
    unseen: bool,
    /// There were more than are remembered: none is known, whatever comes to be known of earlier connections.
    too_many: bool,
    /// A filter begins with `$`, which may be a broker's own way of asking for something else.
    odd: bool,
}

impl Interests {
    /// What was asked for before is not known.
    pub fn unseen() -> Self {
        Self { unseen: true, ..Self::default() }
    }

    /// There is nothing from before this connection.
    pub fn start_afresh(&mut self) {
        self.unseen = false;
    }

    /// At the start of a connection that goes on with this session.
    pub fn resumed(&self) -> Self {
        let mut resumed = self.clone();
        for ask in &mut resumed.asks {
            ask.request = None;
        }
        resumed
    }

    /// What was asked for before this connection comes to what was asked for on it already.
    pub fn add(&mut self, mut before: Self) {
        self.unseen = before.unseen;
        self.too_many |= before.too_many;
        self.odd |= before.odd;
        before.asks.append(&mut self.asks);
        self.asks = before.asks;
        self.limit();
    }

    /// SUBSCRIBE.
    pub fn ask(&mut self, subscribe: &Subscribe) {
        let id = subscribe.properties.subscription_identifier();
        self.odd |= subscribe.subscriptions.iter().any(|one| is_odd(&one.filter));
        self.asks.extend(subscribe.subscriptions.iter().map(|one| Ask {
            filter: one.filter.clone(),
            options: one.options,
            id,
            request: Some(subscribe.id),
            answer: None,
        }));
        self.limit();
    }

    fn limit(&mut self) {
        self.too_many |= self.asks.len() > ASKS;
        if self.too_many {
            self.asks = Vec::new();
        }
    }

    /// SUBACK.
    pub fn answer(&mut self, ack: &SubAck) {
        let asked = self.asks.iter_mut().filter(|ask| ask.request == Some(ack.id));
        for (ask, code) in asked.zip(&ack.codes) {
            ask.request = None;
            ask.answer = Some(*code);
        }
    }

    /// What a message to this topic may be sent for; `None` where that is not known.
    pub fn matching(&self, topic: &TopicName) -> Option<Vec<&Ask>> {
        if self.unseen || self.too_many || self.odd {
            return None;
        }
        Some(self.asks.iter().filter(|ask| !ask.was_refused() && ask.matches(topic)).collect())
    }
}

fn is_odd(filter: &TopicFilter) -> bool {
    let text = filter.as_str();
    text.starts_with('$') && !text.starts_with("$share/") && !text.starts_with("$SYS")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::notation::PacketLine;
    use crate::mqtt::{Packet, ProtocolVersion};

    #[test]
    fn what_several_connections_of_a_session_ask_for_is_bounded() {
        let filters: Vec<_> = (0..=ASKS / 2).map(|number| format!("t/{number}")).collect();
        let line = PacketLine::parse(&format!("SUBSCRIBE {} id=1", filters.join(" "))).expect("a packet");
        let raw = line.build(ProtocolVersion::V311).expect("a packet");
        let Some(Packet::Subscribe(subscribe)) = raw.packet else { panic!("a SUBSCRIBE") };
        let mut interests = Interests::unseen();
        interests.start_afresh();
        interests.ask(&subscribe);
        let topic = TopicName::new("t/0").expect("a topic");
        assert_eq!(interests.matching(&topic).map(|found| found.len()), Some(1));
        let mut again = Interests::unseen();
        again.ask(&subscribe);
        again.add(interests.resumed());
        assert!(again.matching(&topic).is_none());
        assert_eq!(again.asks.len(), 0);
        again.ask(&subscribe);
        assert!(again.asks.is_empty(), "nothing is gathered that is not looked at");
    }
}
