//! What of the simulated engine's journal is on a disk, and what a crash leaves of it. Follows the
//! rule of `persistence_sync always`: a frame is written after everything that was decided before it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use mqttlab::broker::auth::Rules;
use mqttlab::broker::config::Config;
use mqttlab::broker::engine::{Engine, Frame, Kept, Peer, Record};
use mqttlab::mqtt::packet::{Connect, Subscribe, Subscription, SubscriptionOptions};
use mqttlab::mqtt::{Packet, PacketId, Properties, ProtocolVersion, TopicFilter};

use crate::support::random::Random;

/// Records that belong together, one batch a call of the engine.
#[derive(Default)]
pub struct Disk {
    batches: Vec<Vec<Record>>,
    /// So many batches are surely there.
    durable: usize,
}

impl Disk {
    /// Takes what the engine has decided.
    pub fn write(&mut self, engine: &mut Engine) {
        let records = engine.take_records();
        if !records.is_empty() {
            self.batches.push(records);
        }
    }

    /// Everything so far is there, because somebody was told something.
    pub fn barrier(&mut self) {
        self.durable = self.batches.len();
    }

    /// The power fails: of what nobody was told yet, any part may be there. A new engine goes on.
    pub fn crash(
        &mut self,
        config: Arc<Config>,
        rules: Arc<Rules>,
        random: &mut Random,
        now: Instant,
    ) -> Engine {
        let kept = self.durable + random.below(self.batches.len() - self.durable + 1);
        self.batches.truncate(kept);
        let mut kept = Kept::default();
        for batch in &self.batches {
            kept.apply(batch.iter().cloned());
        }
        let mut engine = Engine::new(config, rules, random.next(), now);
        engine.restore(kept, now);
        self.write(&mut engine);
        engine
    }
}

/// What is retained below `r/`, as a new client is told.
pub fn retained(engine: &mut Engine, now: Instant) -> BTreeMap<String, String> {
    let conn = engine.open(Peer::new(0, None), now);
    let version = ProtocolVersion::V311;
    let connect = Connect { version, client_id: "reader".into(), clean_start: true, ..Connect::default() };
    engine.handle_connect(conn, connect, Ok(()), now);
    let filter = TopicFilter::new("r/#").expect("a filter");
    let subscriptions = vec![Subscription { filter, options: SubscriptionOptions::default() }];
    let subscribe = Subscribe { id: PacketId::FIRST, properties: Properties::new(), subscriptions };
    engine.handle_packet(conn, Packet::Subscribe(subscribe), 9, now);
    let mut frames = Vec::new();
    while engine.take_frames(conn, usize::MAX, &mut frames, now).more {}
    engine.handle_loss(conn, mqttlab::broker::engine::Loss::Eof, now);
    let publish = |frame: &Frame| match frame.to_packet(version) {
        Packet::Publish(publish) => {
            let payload = String::from_utf8(publish.payload.to_vec()).expect("our own text");
            Some((publish.topic.to_string(), payload))
        }
        _ => None,
    };
    frames.iter().filter_map(publish).collect()
}
