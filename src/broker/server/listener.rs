//! Accepting: sockets and in-memory pipes. [MQTT-7.1.1-1] 5: [MQTT-4.2.0-1]
//!
//! A listener owns its connections: when it ends, they end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::accept::{self, Accepted, Door};
use super::hub::Hub;
use super::sockets::UnixSocket;
use super::{Phase, STOP_PATIENCE};
use crate::broker::log::LogTypes;
use crate::net::memory;

/// Pause after accept failed, which mostly means that no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One open socket or pipe, and what to do with who comes in by it.
pub struct Listener {
    pub door: Arc<Door>,
    pub source: Source,
}

/// What is accepted from.
pub enum Source {
    Tcp(TcpListener),
    Unix(UnixSocket),
    Memory(memory::Acceptor),
}

impl Listener {
    /// Accepts until it is told to end, and ends when its connections have.
    pub async fn run(mut self, hub: Arc<Hub>, mut phase: watch::Receiver<Phase>) {
        let mut connections = JoinSet::new();
        while *phase.borrow_and_update() == Phase::Running {
            tokio::select! {
                accepted = self.source.accept() => match accepted {
                    Ok(Some(accepted)) => {
                        let door = Arc::clone(&self.door);
                        connections.spawn(accept::serve(Arc::clone(&hub), door, accepted));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        hub.log(LogTypes::ERROR, &format!("Error: accept failed: {error}"));
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                changed = phase.changed() => if changed.is_err() { break },
            }
        }
        drop(self.source);
        let drained = async {
            while *phase.borrow_and_update() != Phase::Killed {
                tokio::select! {
                    ended = connections.join_next() => if ended.is_none() { break },
                    _ = phase.changed() => {}
                }
            }
        };
        // Who has not gone by then is cut.
        let _ = timeout(STOP_PATIENCE, drained).await;
        connections.shutdown().await;
    }
}

impl Source {
    /// The next connection; `None` when there can be no more.
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Some(Accepted::Tcp(prepare(stream), address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.socket.accept().await?;
                Ok(Some(Accepted::Unix(stream)))
            }
            Self::Memory(acceptor) => Ok(acceptor.accept().await.map(Accepted::Pipe)),
        }
    }
}

/// We write whole batches, so there is nothing to wait for.
fn prepare(stream: TcpStream) -> TcpStream {
    // Fails only when the peer has gone already, which reading will tell.
    let _ = stream.set_nodelay(true);
    stream
}
