//! Byte streams between clients and brokers: TCP, TLS, Unix sockets, a WebSocket over any of them,
//! and in-memory pipes for virtual time.
//!
//! Knows nothing of sessions; [`framed`] is the only place where bytes become packets.

pub mod framed;
pub mod memory;
pub mod overheard;
pub mod proxy_header;
pub mod tap;
mod tcp;
mod tls;
pub mod websocket;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Empty};
use tokio::net::{TcpStream, UnixStream};

pub use tcp::Dial;
pub use tls::TlsTransport;

use crate::tls::TlsFailure;
use overheard::Overheard;
use tap::StreamTap;
use websocket::handshake::{self, UpgradeError};

/// Any connected byte stream.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes the coming drop an abrupt one: the peer sees a reset (RST) where the medium has such
    /// a thing, and what was not yet sent is lost. An in-memory pipe has only an end of file.
    fn reset_on_drop(&mut self) {}

    /// What is written from now on goes in text frames, or again in binary ones, where there are
    /// frames. For tests of the other end: MQTT travels in binary frames. `[MQTT-6.0.0-1]`
    fn frame_as_text(&mut self, _text: bool) {}
}

impl Io for DuplexStream {}

/// What is left of a transport that was hung up.
impl Io for Empty {}

impl Io for TcpStream {
    fn reset_on_drop(&mut self) {
        // A socket that is already closed by the peer refuses; then there is nothing to cut.
        let _ = self.set_zero_linger();
    }
}

/// A Unix socket has no reset: the peer sees an end of file, or an error if it had not read all.
impl Io for UnixStream {}

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
        /// Sees the connection as it is on the wire.
        tap: Option<StreamTap>,
    },
    /// A listener in this process ([`memory`]).
    Memory(memory::Address),
    /// A Unix socket, by its path.
    Unix(PathBuf),
    /// A WebSocket, over any of the others.
    WebSocket {
        /// What carries it.
        over: Box<Endpoint>,
        /// Path and query of the request, from the `/` on.
        path: String,
        /// Headers of the request besides the handshake's own: name and value.
        headers: Vec<(String, String)>,
        /// Subprotocols that are offered, best first.
        subprotocols: Vec<String>,
    },
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
    /// The transport was there, the WebSocket was not.
    #[error("{0}")]
    WebSocket(UpgradeError),
}

impl From<UpgradeError> for ConnectError {
    fn from(error: UpgradeError) -> Self {
        match error {
            UpgradeError::Io(error) => Self::Io(error),
            other => Self::WebSocket(other),
        }
    }
}

impl Endpoint {
    /// A WebSocket of the usual path over this.
    #[must_use]
    pub fn websocket(self) -> Self {
        Self::WebSocket {
            over: Box::new(self),
            path: "/mqtt".to_owned(),
            headers: Vec::new(),
            subprotocols: vec![handshake::SUBPROTOCOL.to_owned()],
        }
    }

    /// Connects, and does the handshakes that there are. Has no time limit of its own: the caller
    /// knows how long it wants to wait.
    pub async fn connect(&self) -> Result<Transport, ConnectError> {
        self.connect_as(&Dial::default()).await
    }

    /// As [`Endpoint::connect`], over a socket of this kind where there is one.
    pub async fn connect_as(&self, dial: &Dial) -> Result<Transport, ConnectError> {
        match self {
            Self::Tcp { host, port } => Ok(Box::new(tcp::connect(host, *port, dial).await?)),
            Self::Tls { host, port, server_name, config, tap } => {
                let stream = tcp::connect(host, *port, dial).await?;
                let Some(tap) = tap else {
                    return Ok(Box::new(tls::connect(stream, server_name, config).await?));
                };
                let stream = Overheard::new(stream, tap.clone());
                Ok(Box::new(tls::connect(stream, server_name, config).await?))
            }
            Self::Memory(address) => Ok(Box::new(address.connect().await?)),
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Self::WebSocket { over, path, headers, subprotocols } => {
                let transport = Box::pin(over.connect()).await?;
                let host = over.host_header();
                Ok(Box::new(handshake::connect(transport, &host, path, headers, subprotocols).await?))
            }
        }
    }
}

impl Endpoint {
    /// What a request over this calls its server.
    fn host_header(&self) -> String {
        match self {
            Self::Tls { server_name, port, .. } => {
                Self::Tcp { host: server_name.clone(), port: *port }.to_string()
            }
            Self::Unix(_) | Self::Memory(_) => "localhost".to_owned(),
            Self::Tcp { .. } | Self::WebSocket { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } | Self::Tls { host, port, .. } if host.contains(':') => {
                write!(f, "[{host}]:{port}")
            }
            Self::Tcp { host, port } | Self::Tls { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Memory(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::WebSocket { over, path, .. } => write!(f, "{over}{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_version_6_is_bracketed() {
        let at = |host: &str| Endpoint::Tcp { host: host.into(), port: 1883 }.to_string();
        assert_eq!(at("::1"), "[::1]:1883");
        assert_eq!(at("localhost"), "localhost:1883");
    }
}
