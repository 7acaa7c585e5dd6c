//! TLS over TCP, as a stream like any other. Certificates and trust come from [`crate::tls`].

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::{ConnectError, Io};
use crate::tls::{TlsFailure, classify, server_name};

/// Either end of a TLS connection.
pub type TlsTransport = TlsStream<TcpStream>;

impl Io for TlsTransport {
    fn reset_on_drop(&mut self) {
        let (socket, _) = self.get_ref();
        // As for a plain socket: nothing to cut if the peer was faster.
        let _ = socket.set_zero_linger();
    }
}

/// The client's side of the handshake on a connected socket.
pub async fn connect(
    socket: TcpStream,
    name: &str,
    config: &Arc<rustls::ClientConfig>,
) -> Result<TlsTransport, ConnectError> {
    let name = server_name(name).ok_or_else(|| {
        let text = format!("`{name}` is neither a host name nor an address");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    match TlsConnector::from(Arc::clone(config)).connect(name, socket).await {
        Ok(stream) => Ok(TlsStream::Client(stream)),
        Err(error) => Err(ConnectError::Tls { failure: of_handshake(&error), detail: error.to_string() }),
    }
}

/// A handshake that broke for no reason that rustls names was ended by the other side.
fn of_handshake(error: &io::Error) -> TlsFailure {
    classify(error).unwrap_or(TlsFailure::Handshake)
}
