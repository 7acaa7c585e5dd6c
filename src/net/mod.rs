//! Byte streams between clients and brokers: TCP, TLS, and in-memory pipes for virtual time.
//!
//! Knows nothing of sessions; [`framed`] is the only place where bytes become packets.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::tls::TlsFailure;

/// Any connected byte stream.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connected byte stream of whatever kind.
pub type Transport = Box<dyn Io>;

/// Where a client connects to.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// Plain TCP.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// TLS over TCP.
    Tls {
        /// Host name or address that is dialled.
        host: String,
        /// Port.
        port: u16,
        /// Name that the certificate must have; usually `host`.
        server_name: String,
        /// Whom to trust.
        config: Arc<rustls::ClientConfig>,
    },
    /// A listener in this process ([`memory`]).
    Memory(memory::Address),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens, no route, name unknown, …
    #[error("{0}")]
    Io(#[from] io::Error),
    /// TCP was there, TLS was not.
    #[error("{failure}: {detail}")]
    Tls {
        /// In the scenarios' words.
        failure: TlsFailure,
        /// In the library's words.
        detail: String,
    },
}

pub mod memory {
    //! In-memory listeners, so that a broker and its clients share one paused clock.

    /// Where an in-memory listener is reached.
    #[derive(Debug, Clone)]
    pub struct Address {
        _private: (),
    }
}

impl Endpoint {
    /// Connects, and does the TLS handshake where there is one.
    pub async fn connect(&self) -> Result<Transport, ConnectError> {
        unimplemented!()
    }
}
