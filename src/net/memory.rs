//! In-memory listeners, so that a broker and its clients share one paused clock.
//!
//! No registry and no names: whoever holds the [`Address`] can connect. A pipe holds a bounded
//! number of bytes in each direction, as a socket does, so back-pressure is the same.

use std::fmt;
use std::io;

use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// Bytes that each direction of a pipe holds before its writer waits.
const PIPE_BYTES: usize = 64 * 1024;

/// Connections that may wait to be accepted, as listen(2)'s backlog.
const BACKLOG: usize = 1024;

/// Where an in-memory listener is reached.
#[derive(Debug, Clone)]
pub struct Address {
    backlog: mpsc::Sender<DuplexStream>,
}

/// The listener's end. Dropping it refuses connections from then on.
#[derive(Debug)]
pub struct Acceptor {
    backlog: mpsc::Receiver<DuplexStream>,
}

/// A new listener and how to reach it.
pub fn listener() -> (Address, Acceptor) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (Address { backlog: sender }, Acceptor { backlog: receiver })
}

/// Both ends of a pipe.
pub fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(PIPE_BYTES)
}

impl Address {
    /// Connects; waits while the backlog is full.
    pub async fn connect(&self) -> io::Result<DuplexStream> {
        let (ours, theirs) = pipe();
        let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
        self.backlog.send(theirs).await.map_err(refused)?;
        Ok(ours)
    }
}

impl Acceptor {
    /// The next connection; `None` when every [`Address`] is gone. Cancellation-safe.
    pub async fn accept(&mut self) -> Option<DuplexStream> {
        self.backlog.recv().await
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_cross_and_a_dropped_listener_refuses() {
        let (address, mut acceptor) = listener();
        let mut client = address.connect().await.expect("listener is there");
        let mut server = acceptor.accept().await.expect("one is waiting");
        client.write_all(b"ping").await.expect("room");
        let mut got = [0; 4];
        server.read_exact(&mut got).await.expect("four bytes");
        assert_eq!(&got, b"ping");
        drop(server);
        assert_eq!(client.read(&mut got).await.expect("end of file"), 0);
        drop(acceptor);
        let error = address.connect().await.expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
