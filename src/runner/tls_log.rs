//! What is recorded of the TLS connections of a case's clients: nothing, unless somebody asks.
//!
//! The connections of the runner's own (control, witness, the users of a table) are not recorded, as their
//! packets are not.

use std::sync::Arc;

use super::recorder::Recorder;
use crate::net::Endpoint;
use crate::net::tap::{Crossed, Direction, StreamTap};
use crate::record::tls::opens_handshake_alone;
use crate::record::{TlsEnd, TlsSeen};
use crate::tls::key_log::{self, KeyLogFile};

/// How much of TLS gets into the event log; each holds what those before it hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsDepth {
    /// Nothing.
    #[default]
    Nothing,
    /// Both directions as they are on the wire.
    Records,
    /// And the keys of handshakes (TLS 1.3), which open certificates and alerts and nothing that was sent.
    Handshakes,
    /// And all keys: who has the log can read what was sent, passwords included.
    Keys,
}

/// What is recorded of TLS connections.
#[derive(Debug, Clone, Default)]
pub struct TlsLog {
    /// In the event log.
    pub depth: TlsDepth,
    /// Where all keys go besides (`SSLKEYLOGFILE`).
    pub keys: Option<Arc<KeyLogFile>>,
}

impl TlsLog {
    /// Lets a connection of this client to this address be recorded, if it is one over TLS and somebody
    /// asked for it. `conn` is its number in the log.
    pub(super) fn watch(&self, endpoint: &mut Endpoint, recorder: &Recorder, client: &str, conn: u32) {
        if self.depth == TlsDepth::Nothing && self.keys.is_none() {
            return;
        }
        let (carrier, websocket) = match endpoint {
            Endpoint::WebSocket { over, .. } => (&mut **over, true),
            other => (other, false),
        };
        let address = carrier.to_string();
        let Endpoint::Tls { server_name, config, tap, .. } = carrier else { return };
        if self.depth >= TlsDepth::Handshakes || self.keys.is_some() {
            let (log, recorder, client) = (self.clone(), recorder.clone(), client.to_owned());
            *config = key_log::told(config, move |line| {
                if let Some(file) = &log.keys {
                    file.write(&line);
                }
                let wanted = match log.depth {
                    TlsDepth::Nothing | TlsDepth::Records => false,
                    TlsDepth::Handshakes => opens_handshake_alone(&line),
                    TlsDepth::Keys => true,
                };
                if wanted {
                    recorder.tls(&client, conn, TlsSeen::Key { line });
                }
            });
        }
        if self.depth >= TlsDepth::Records {
            let opened = TlsSeen::Opened { address, server_name: server_name.clone(), websocket };
            let (recorder, client) = (recorder.clone(), client.to_owned());
            *tap = Some(StreamTap::new(move |crossed| recorder.tls(&client, conn, seen(crossed, &opened))));
        }
    }
}

fn seen(crossed: Crossed<'_>, opened: &TlsSeen) -> TlsSeen {
    match crossed {
        Crossed::Opened => opened.clone(),
        Crossed::Bytes(way, bytes) => TlsSeen::Bytes { from: end(way), bytes: bytes.to_vec().into() },
        Crossed::Closed(way) => TlsSeen::Closed { by: end(way) },
        Crossed::Reset(way) => TlsSeen::Reset { by: end(way) },
    }
}

fn end(way: Direction) -> TlsEnd {
    match way {
        Direction::In => TlsEnd::Broker,
        Direction::Out => TlsEnd::Client,
    }
}
