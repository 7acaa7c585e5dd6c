//! What a broker takes from a bridge, as its CONNACK says (3.2.2.3 of 5.0).
//!
//! Pure. Brokers before 5.0 say nothing, and take everything.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::broker::config::BridgeConfig;
use crate::mqtt::packet::ConnAck;
use crate::mqtt::{ProtocolVersion, QoS};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How it is spoken to.
    pub version: ProtocolVersion,
    /// The best quality of service.
    pub max_qos: QoS,
    /// Messages may be retained.
    pub retain: bool,
    /// Bytes of the largest packet.
    pub max_packet_size: Option<u32>,
    /// Messages above QoS 0 that are under way to it at once; `None`: it did not say.
    pub receive_maximum: Option<u16>,
    /// Topic aliases that it may use.
    pub aliases_in: u16,
    /// Topic aliases that it takes.
    pub aliases_out: u16,
}

impl Terms {
    /// What an accepting CONNACK says.
    pub fn of(version: ProtocolVersion, answer: &ConnAck) -> Self {
        let properties = &answer.properties;
        Self {
            version,
            max_qos: properties.maximum_qos().and_then(QoS::from_u8).unwrap_or(QoS::ExactlyOnce),
            retain: properties.retain_available() != Some(0),
            max_packet_size: properties.maximum_packet_size(),
            receive_maximum: properties.receive_maximum(),
            aliases_in: 0,
            aliases_out: 0,
        }
    }

    /// As the options of the bridge narrow it, for the other broker.
    #[must_use]
    pub fn narrowed(self, config: &BridgeConfig, answer: &ConnAck) -> Self {
        let own_size = Some(config.max_packet_size).filter(|size| *size > 0);
        let v5 = self.version.is_v5();
        let offered = answer.properties.topic_alias_maximum().unwrap_or(0);
        Self {
            retain: self.retain && config.outgoing_retain,
            max_packet_size: match (self.max_packet_size, own_size) {
                (Some(theirs), Some(ours)) => Some(theirs.min(ours)),
                (theirs, ours) => theirs.or(ours),
            },
            aliases_in: if v5 { config.max_topic_alias } else { 0 },
            aliases_out: if v5 { offered.min(config.max_topic_alias) } else { 0 },
            ..self
        }
    }
}
