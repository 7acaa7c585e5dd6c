//! What is known of one connection: who said what so far. Judges nothing.

use super::Party;
use crate::mqtt::packet::{ConnAck, Connect};
use crate::mqtt::{Packet, ProtocolVersion};

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Conn {
    /// The first CONNECT, its password and will payload left out.
    pub connect: Option<Box<Connect>>,
    /// The first CONNACK.
    pub connack: Option<Box<ConnAck>>,
    /// CONNECT packets so far.
    pub connects: u32,
    /// CONNACK packets so far.
    pub connacks: u32,
    /// When it was over.
    pub ended_at: Option<f64>,
    client: Side,
    broker: Side,
}

/// One end of a connection.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Packets that it sent.
    pub packets: u64,
    /// It sent DISCONNECT.
    pub said_goodbye: bool,
    /// It broke the protocol, so that what the other end does then cannot be judged by it.
    pub broke: bool,
    /// What it sends can no longer be read.
    pub unreadable: bool,
    /// When its latest packet was seen.
    pub last_at: Option<f64>,
    /// Names of checks that found something here already.
    pub reported: Vec<&'static str>,
}

impl Conn {
    /// The revision in force.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.connect.as_ref().map(|connect| connect.version)
    }

    pub fn side(&self, party: Party) -> &Side {
        match party {
            Party::Client => &self.client,
            Party::Broker => &self.broker,
        }
    }

    pub fn side_mut(&mut self, party: Party) -> &mut Side {
        match party {
            Party::Client => &mut self.client,
            Party::Broker => &mut self.broker,
        }
    }

    /// Brings it up to date with a packet.
    pub fn take(&mut self, from: Party, packet: &Packet, at: f64) {
        let side = self.side_mut(from);
        side.packets += 1;
        side.last_at = Some(at);
        match packet {
            Packet::Connect(connect) => {
                self.connects += 1;
                if self.connect.is_none() {
                    let mut connect = connect.clone();
                    connect.password = None;
                    if let Some(will) = &mut connect.will {
                        will.payload = bytes::Bytes::new();
                    }
                    self.connect = Some(connect);
                }
            }
            Packet::ConnAck(answer) => {
                self.connacks += 1;
                if self.connack.is_none() {
                    self.connack = Some(Box::new(answer.clone()));
                }
            }
            Packet::Disconnect(_) => side.said_goodbye = true,
            _ => {}
        }
    }
}
