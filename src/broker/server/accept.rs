//! From an accepted socket to a stream of MQTT: what a proxy says of the client, TLS, and the
//! WebSocket, each where the listener has it, and all of it within the time that a CONNECT has.
//!
//! No packet is read here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, DuplexStream};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::connection;
use super::http;
use super::hub::Hub;
use super::misbehave;
use super::tls_slot::{Secured, TlsSlot};
use crate::broker::config::{ListenerConfig, ListenerProtocol, ProxyVersion};
use crate::broker::engine::{ConnId, Loss, Peer};
use crate::broker::fault::Faults;
use crate::broker::log::LogTypes;
use crate::net::proxy_header::{self, ProxyHeader};
use crate::net::websocket::handshake::{LONGEST_HEAD, Request, Served, serve as serve_websocket};
use crate::net::{Io, Transport};
use crate::tls::describe;

/// How long a peer has for all handshakes together. The engine counts the time to CONNECT.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one configured listener does with those that it accepts.
pub struct Door {
    /// Index into `Config::listeners`.
    pub index: usize,
    /// What is listened to, for the log.
    pub place: Place,
    tls: Option<Arc<TlsSlot>>,
    config: ListenerConfig,
    faults: Option<Arc<Faults>>,
}

/// What is listened to.
#[derive(Debug, Clone)]
pub enum Place {
    /// A port, as it was bound.
    Port(u16),
    /// The path of a Unix socket.
    Path(Arc<str>),
    /// Nothing that has a name.
    Memory,
}

/// What a listener accepted.
pub enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
    Pipe(DuplexStream),
}

/// What the handshakes came to.
enum Entered {
    /// A stream of MQTT.
    Mqtt(Transport),
    /// A request for something else, to be answered when the broker has forgotten the connection.
    Http(Transport, Box<Request>),
    /// The peer went.
    Gone,
}

impl Door {
    /// Of a configured listener that is open at this place. TLS is for sockets only.
    pub fn new(
        index: usize,
        config: &ListenerConfig,
        place: Place,
        tls: Option<&Arc<TlsSlot>>,
        faults: Option<&Arc<Faults>>,
    ) -> Self {
        Self { index, place, tls: tls.cloned(), config: config.clone(), faults: faults.cloned() }
    }

    fn peer(&self, address: Option<SocketAddr>) -> Peer {
        let mut peer = Peer::new(self.index, address);
        match &self.place {
            Place::Port(port) => peer.port = Some(*port),
            Place::Path(path) => peer.path = Some(Arc::clone(path)),
            Place::Memory => {}
        }
        peer
    }
}

/// Serves one connection to its end.
pub async fn serve(hub: Arc<Hub>, door: Arc<Door>, mut accepted: Accepted) {
    let Ok(address) = announced(&hub, &door, &mut accepted).await else { return };
    let peer = door.peer(address);
    let (conn, wake) = hub.open(peer.clone());
    let guard = Lost { hub: Arc::clone(&hub), conn, loss: Loss::Io("cut".to_owned()) };
    // Boxed: the handshakes are large, and every connection's task would be as large for ever.
    let entering = Box::pin(timeout(PATIENCE, enter(&hub, &door, accepted)));
    let entered = tokio::select! {
        entered = entering => entered.unwrap_or_else(|_| Err("handshake timed out".to_owned())),
        // Nothing is sent to a client before its CONNECT: the engine has ended the connection.
        () = wake.notified() => return guard.because(Loss::Io("ended in the handshake".to_owned())),
    };
    match entered {
        Ok((Entered::Mqtt(transport), secured)) => {
            if let Some(secured) = &secured {
                hub.secured(conn, &secured.negotiated);
            }
            let certified = secured.and_then(|secured| secured.username);
            let transport = match &door.faults {
                None => transport,
                Some(faults) => misbehave::interpose(transport, faults),
            };
            let loss = connection::run(hub, conn, peer, wake, transport, certified).await;
            guard.because(loss);
        }
        Ok((Entered::Http(transport, request), _)) => {
            // It counts as a connection meanwhile, and has no longer than others have to say CONNECT.
            tokio::select! {
                () = http::answer(transport, &request, door.config.http_dir.as_deref()) => {}
                () = wake.notified() => {}
            }
            guard.because(Loss::Eof);
        }
        Ok((Entered::Gone, _)) => guard.because(Loss::Eof),
        Err(text) => {
            let from = address.map_or_else(String::new, |address| address.ip().to_string());
            hub.log(LogTypes::NOTICE, &format!("Client connection from {from} failed: {text}."));
            guard.because(Loss::Io(text));
        }
    }
}

/// Serves the broker's own end of a bridge, which comes in by no door.
pub async fn serve_inside(hub: Arc<Hub>, pipe: DuplexStream) {
    let peer = Peer::bridge();
    let (conn, wake) = hub.open(peer.clone());
    let guard = Lost { hub: Arc::clone(&hub), conn, loss: Loss::Io("cut".to_owned()) };
    let loss = connection::run(hub, conn, peer, wake, Box::new(pipe), None).await;
    guard.because(loss);
}

/// Tells the hub that a connection is gone, even when its task was aborted.
struct Lost {
    hub: Arc<Hub>,
    conn: ConnId,
    loss: Loss,
}

impl Lost {
    fn because(mut self, loss: Loss) {
        self.loss = loss;
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        self.hub.lost(self.conn, self.loss.clone());
    }
}

/// Where the client is: at the other end of the socket, or where the proxy there says. Who does
/// not announce himself where that is wanted is not let in.
async fn announced(hub: &Hub, door: &Door, accepted: &mut Accepted) -> Result<Option<SocketAddr>, ()> {
    let socket = match accepted {
        Accepted::Tcp(_, address) => Some(*address),
        Accepted::Unix(_) | Accepted::Pipe(_) => None,
    };
    let version = match door.config.proxy_protocol {
        None => return Ok(socket),
        Some(ProxyVersion::V1) => proxy_header::Version::V1,
        Some(ProxyVersion::V2) => proxy_header::Version::V2,
    };
    let header = match accepted {
        Accepted::Tcp(stream, _) => timeout(PATIENCE, read_header(stream, version)).await,
        Accepted::Unix(stream) => timeout(PATIENCE, read_header(stream, version)).await,
        Accepted::Pipe(pipe) => timeout(PATIENCE, read_header(pipe, version)).await,
    };
    let rejected = |address: Option<SocketAddr>, why: &str| {
        let from = address.map_or_else(String::new, |it| format!("{}:{}", it.ip(), it.port()));
        hub.log(LogTypes::NOTICE, &format!("Connection from {from} rejected, {why}."));
    };
    match header {
        Ok(Ok(header)) => {
            let address = header.source.or(socket);
            if door.config.proxy_requires_tls && !header.tls {
                rejected(address, "client did not connect using TLS");
                return Err(());
            }
            Ok(address)
        }
        // A health check of the proxy connects and goes.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(()),
        Ok(Err(error)) => {
            rejected(socket, &error.to_string());
            Err(())
        }
        Err(_) => {
            rejected(socket, "no PROXY header in time");
            Err(())
        }
    }
}

/// Reads the header and not one byte more.
async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
    version: proxy_header::Version,
) -> io::Result<ProxyHeader> {
    let corrupt = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut bytes = Vec::new();
    loop {
        let more = proxy_header::wanted(version, &bytes).map_err(corrupt)?;
        if more == 0 {
            return proxy_header::parse(version, &bytes).map_err(corrupt);
        }
        let known = bytes.len();
        bytes.resize(known + more, 0);
        stream.read_exact(&mut bytes[known..]).await?;
    }
}

/// TLS and the WebSocket.
async fn enter(hub: &Hub, door: &Door, accepted: Accepted) -> Result<(Entered, Option<Secured>), String> {
    let (transport, secured) = secure(accepted, door.tls.as_deref()).await?;
    let entered = match door.config.protocol {
        ListenerProtocol::Mqtt => Entered::Mqtt(transport),
        ListenerProtocol::WebSockets => {
            let longest = usize::from(hub.in_force().0.process.packet_buffer_size).max(LONGEST_HEAD);
            upgrade(transport, &door.config.origins, longest).await?
        }
    };
    Ok((entered, secured))
}

/// The TLS handshake, where the listener has TLS.
async fn secure(accepted: Accepted, tls: Option<&TlsSlot>) -> Result<(Transport, Option<Secured>), String> {
    match (accepted, tls) {
        (Accepted::Pipe(pipe), _) => Ok((Box::new(pipe), None)),
        (Accepted::Tcp(socket, _), None) => Ok((Box::new(socket), None)),
        (Accepted::Unix(socket), None) => Ok((Box::new(socket), None)),
        (Accepted::Tcp(socket, _), Some(tls)) => handshake(socket, tls).await,
        (Accepted::Unix(socket), Some(tls)) => handshake(socket, tls).await,
    }
}

async fn handshake<S>(socket: S, tls: &TlsSlot) -> Result<(Transport, Option<Secured>), String>
where
    S: Io + 'static,
{
    match TlsAcceptor::from(tls.current()).accept(socket).await {
        Ok(stream) => {
            let secured = tls.established(stream.get_ref().1);
            Ok((Box::new(TlsStream::Server(stream)), Some(secured)))
        }
        Err(error) => Err(describe(&error)),
    }
}

/// The request for a WebSocket and its answer.
async fn upgrade(transport: Transport, origins: &[String], longest: usize) -> Result<Entered, String> {
    match serve_websocket(transport, origins, longest).await.map_err(|error| error.to_string())? {
        Served::WebSocket(transport) => Ok(Entered::Mqtt(transport)),
        Served::Plain(transport, request) => Ok(Entered::Http(transport, request)),
        Served::Refused(transport, refusal) => {
            http::refuse(transport, refusal).await;
            Err(refusal.to_string())
        }
        Served::Gone => Ok(Entered::Gone),
    }
}
