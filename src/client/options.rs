//! How a client connects and how much it does by itself.

use std::time::Duration;

use crate::mqtt::codec::Limits;
use crate::mqtt::packet::Connect;

/// How a client connects and how much it does by itself.
#[derive(Debug, Clone)]
pub struct Options {
    /// The CONNECT that is sent, as it is.
    pub connect: Connect,
    /// Sends PINGREQ when the keep-alive demands it.
    pub auto_ping: bool,
    /// Nothing is answered and nothing is sent unless told: no acknowledgements, no PINGREQ.
    pub raw: bool,
    /// How long transport, TLS and CONNACK may take together.
    pub connect_timeout: Duration,
    /// What is taken from the broker.
    pub limits: Limits,
}

impl Options {
    /// An ordinary client that sends this CONNECT.
    pub fn new(connect: Connect) -> Self {
        Self {
            connect,
            auto_ping: true,
            raw: false,
            connect_timeout: Duration::from_secs(10),
            limits: Limits::default(),
        }
    }
}
