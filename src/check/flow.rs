//! Limits that one end gives the other: sizes, quotas, times (3.1.2.10, 3.1.2.11, 3.2.2.3 and 4.9 of 5.0).

use super::look::breach;
use super::statements::Standard::V5;
use super::{CheckSpec, Party};

pub(super) const BROKER_PACKET_SIZE: CheckSpec = CheckSpec {
    name: "broker-packet-size",
    doc: "A broker sends nothing larger than the Maximum Packet Size of the client.",
    example: "> CONNECT clean client=a maximum_packet_size=20\n< CONNACK 0 reason_string=\"much too long\"",
    cites: &[(V5, "MQTT-3.1.2-24")],
    binds: Party::Broker,
    always: true,
    look: |look| {
        let limit = look.conn.connect.as_ref()?.properties.maximum_packet_size()?;
        let sentence = format!("a packet of {} bytes for a client that takes {limit}", look.size);
        breach(look.size > limit as usize, sentence)
    },
};
