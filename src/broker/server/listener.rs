//! Accepting: sockets and in-memory pipes. [MQTT-7.1.1-1] 5: [MQTT-4.2.0-1]
//!
//! A listener owns its connections: when it ends, they end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection::{self, Accepted};
use super::hub::Hub;
use super::tls_slot::TlsSlot;
use super::{Phase, STOP_PATIENCE};
use crate::broker::config::ListenerConfig;
use crate::broker::engine::Peer;
use crate::broker::log::LogTypes;
use crate::net::{Endpoint, memory};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Pause after accept failed, which mostly means that no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One open socket or pipe.
pub struct Listener {
    index: usize,
    source: Source,
    tls: Option<Arc<TlsSlot>>,
}

/// A [`Listener`] on a socket, and where it is.
pub struct Socket {
    pub address: SocketAddr,
    pub listener: Listener,
}

enum Source {
    Tcp(TcpListener),
    Memory(memory::Acceptor),
}

impl Listener {
    /// An in-memory listener and how to reach it. TLS is for sockets only.
    pub fn memory(index: usize) -> (Endpoint, Self) {
        let (address, acceptor) = memory::listener();
        (Endpoint::Memory(address), Self { index, source: Source::Memory(acceptor), tls: None })
    }

    /// The sockets of a configured listener: one for each address that it names, or one for each
    /// version of IP. At least one.
    pub async fn sockets(
        hub: &Hub,
        index: usize,
        config: &ListenerConfig,
        local_only: bool,
        tls: Option<&Arc<TlsSlot>>,
    ) -> io::Result<Vec<Socket>> {
        let mut sockets: Vec<Socket> = Vec::new();
        let mut failure = None;
        for ip in addresses(config, local_only).await? {
            // Port 0: the first socket picks, the others follow.
            let port = sockets.first().map_or(config.port, |first| first.address.port());
            match open(SocketAddr::new(ip, port)) {
                Ok(socket) => {
                    let address = socket.local_addr()?;
                    let version = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
                    let text = format!("Opening {version} listen socket on port {}.", address.port());
                    hub.log(LogTypes::INFORMATION, &text);
                    let listener = Self { index, source: Source::Tcp(socket), tls: tls.cloned() };
                    sockets.push(Socket { address, listener });
                }
                // A machine without IPv6, or the other way about.
                Err(error) if config.bind.is_none() && is_missing_family(&error) => failure = Some(error),
                Err(error) => {
                    let text = format!("cannot listen on {}: {error}", SocketAddr::new(ip, port));
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
        match failure {
            Some(error) if sockets.is_empty() => Err(error),
            _ => Ok(sockets),
        }
    }

    /// Accepts until it is told to end, and ends when its connections have.
    pub async fn run(mut self, hub: Arc<Hub>, mut phase: watch::Receiver<Phase>) {
        let mut connections = JoinSet::new();
        while *phase.borrow_and_update() == Phase::Running {
            tokio::select! {
                accepted = self.source.accept() => match accepted {
                    Ok(Some((accepted, address))) => {
                        let peer = Peer::new(self.index, address);
                        let tls = self.tls.as_ref().map(|slot| slot.current());
                        connections.spawn(connection::serve(Arc::clone(&hub), peer, accepted, tls));
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
    async fn accept(&mut self) -> io::Result<Option<(Accepted, Option<SocketAddr>)>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Some((Accepted::Socket(prepare(stream)), Some(address))))
            }
            Self::Memory(acceptor) => Ok(acceptor.accept().await.map(|pipe| (Accepted::Pipe(pipe), None))),
        }
    }
}

/// We write whole batches, so there is nothing to wait for.
fn prepare(stream: TcpStream) -> TcpStream {
    // Fails only when the peer has gone already, which reading will tell.
    let _ = stream.set_nodelay(true);
    stream
}

/// Where a listener listens, mosquitto's first choice first.
async fn addresses(config: &ListenerConfig, local_only: bool) -> io::Result<Vec<IpAddr>> {
    match &config.bind {
        Some(host) => {
            let mut found: Vec<IpAddr> =
                lookup_host((host.as_str(), config.port)).await?.map(|address| address.ip()).collect();
            found.sort_unstable();
            found.dedup();
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, format!("no address of {host}")));
            }
            Ok(found)
        }
        None if local_only => Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
        None => Ok(vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]),
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // The other version has a socket of its own.
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn is_missing_family(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let missing = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT];
    error.raw_os_error().is_some_and(|code| missing.iter().any(|errno| errno.raw_os_error() == code))
}
