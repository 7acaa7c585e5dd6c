//! Peers: brokers that a case plays itself, where its clients and the broker's bridges connect.
//!
//! Only the doors are here. What a peer says stands in its packet lines, which an
//! [`Actor`](super::actor::Actor) of its own plays, as it does those of a raw client.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex as Lock;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify};

use super::actor::Actor;
use super::context::At;
use super::outcome::Done;
use crate::broker::fault::{FaultSpec, Faults};
use crate::broker::server::misbehave;
use crate::diagnostic::Span;
use crate::mqtt::ProtocolVersion;
use crate::net::websocket::handshake::{LONGEST_HEAD, Served, serve};
use crate::net::{Endpoint, Transport, memory};
use crate::scenario::op::WireStep;
use crate::scenario::target::Setup;
use crate::scenario::{Case, ClientSpec};

/// Where the peers of one case wait for connections.
#[derive(Debug, Default)]
pub struct Doors {
    doors: BTreeMap<String, Door>,
    faults: Option<Arc<Faults>>,
}

#[derive(Debug)]
struct Door {
    endpoint: Endpoint,
    port: u16,
    websockets: bool,
    listener: Mutex<Listener>,
}

#[derive(Debug)]
enum Listener {
    Socket(TcpListener),
    Memory(memory::Acceptor),
}

impl Doors {
    /// Opens them, in memory if the case runs under virtual time. Whoever connects has those of the faults
    /// that are of clients.
    pub async fn open(case: &Case, memory: bool, faults: &[&'static FaultSpec]) -> io::Result<Self> {
        let mut doors = BTreeMap::new();
        for peer in case.clients.iter().filter(|client| client.plays) {
            doors.insert(peer.name.clone(), Door::open(memory, peer.websockets).await?);
        }
        let of_clients: Vec<_> = faults.iter().copied().filter(|fault| fault.is_of_client()).collect();
        let faults = Faults::new(&of_clients);
        Ok(Self { doors, faults: (!faults.is_empty()).then(|| Arc::new(faults)) })
    }

    /// The set-up of the case with the addresses of the peers in the broker's bridges, which speak the
    /// protocol of the case if they do not say another.
    pub fn bridged(&self, case: &Case) -> Arc<Setup> {
        if case.setup.broker.bridges.is_empty() {
            return Arc::clone(&case.setup);
        }
        let mut setup = Setup::clone(&case.setup);
        for bridge in &mut setup.broker.bridges {
            let mut set = |option: &str, value: String| {
                if !bridge.settings.iter().any(|(name, ..)| name == option) {
                    bridge.settings.insert(0, (option.to_owned(), value, bridge.span.clone()));
                }
            };
            set("bridge_protocol_version", spelling(case.protocol).to_owned());
            if let Some(door) = self.doors.get(&bridge.peer) {
                set("address", format!("127.0.0.1:{}", door.port));
            }
        }
        Arc::new(setup)
    }

    /// Where a peer is reached.
    pub fn endpoint(&self, peer: &str) -> Option<Endpoint> {
        self.doors.get(peer).map(|door| door.endpoint.clone())
    }

    /// The next connection to a peer, its handshake done.
    pub async fn accept(&self, peer: &str) -> Result<Transport, NoCall> {
        let Some(door) = self.doors.get(peer) else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        let mut transport: Transport = match &mut *door.listener.lock().await {
            Listener::Socket(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Listener::Memory(acceptor) => {
                let pipe = acceptor.accept().await;
                Box::new(pipe.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?)
            }
        };
        if door.websockets {
            transport = upgraded(transport).await?;
        }
        Ok(match &self.faults {
            Some(faults) => misbehave::interpose(transport, faults),
            None => transport,
        })
    }
}

/// Why nobody is connected to a peer.
#[derive(Debug, thiserror::Error)]
pub enum NoCall {
    /// The socket does not work: nobody's fault.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Who called did not open a WebSocket for MQTT.
    #[error("{0}")]
    Handshake(String),
}

/// [MQTT-6.0.0-3]: nobody gets in who does not offer `mqtt`.
async fn upgraded(transport: Transport) -> Result<Transport, NoCall> {
    match serve(transport, &[], LONGEST_HEAD).await {
        Ok(Served::WebSocket(transport)) => Ok(transport),
        Ok(Served::Plain(..)) => Err(NoCall::Handshake("a request for no WebSocket".to_owned())),
        Ok(Served::Refused(_, refusal)) => Err(NoCall::Handshake(refusal.to_string())),
        Ok(Served::Gone) => Err(NoCall::Handshake("the connection ended before a request".to_owned())),
        Err(error) => Err(NoCall::Handshake(error.to_string())),
    }
}

/// As mosquitto.conf names a revision.
const fn spelling(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V31 => "mqttv31",
        ProtocolVersion::V311 => "mqttv311",
        ProtocolVersion::V5 => "mqttv50",
    }
}

impl Door {
    async fn open(memory: bool, websockets: bool) -> io::Result<Self> {
        let (endpoint, port, listener) = if memory {
            let (address, acceptor) = memory::listener();
            (Endpoint::Memory(address), 0, Listener::Memory(acceptor))
        } else {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let port = listener.local_addr()?.port();
            (Endpoint::Tcp { host: "127.0.0.1".into(), port }, port, Listener::Socket(listener))
        };
        let endpoint = if websockets { endpoint.websocket() } else { endpoint };
        Ok(Self { endpoint, port, websockets, listener: Mutex::new(listener) })
    }
}

/// The blocks that a peer has begun or is to begin, which it plays beside the steps of the case.
#[derive(Debug, Default)]
pub struct Part<'a> {
    state: Lock<PartState<'a>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct PartState<'a> {
    waiting: VecDeque<(&'a Span, &'a [WireStep])>,
    playing: bool,
}

impl<'a> Part<'a> {
    /// One for each client and peer of a case; those of clients stay empty.
    pub fn of(clients: &[ClientSpec]) -> Vec<Self> {
        clients.iter().map(|_| Self::default()).collect()
    }

    /// Lets the peer play these lines when it is through with those before.
    pub fn begin(&self, span: &'a Span, lines: &'a [WireStep]) {
        self.state.lock().waiting.push_back((span, lines));
        self.changed.notify_waiters();
    }

    /// Waits until all that was begun is played.
    pub async fn done(&self) {
        self.wait(|state| (state.waiting.is_empty() && !state.playing).then_some(())).await;
    }

    /// Plays what is begun, for ever; ends with the first trouble.
    pub async fn play(&self, at: At<'a>, actor: &Mutex<Actor<'a>>) -> Done {
        loop {
            let (span, lines) = self
                .wait(|state| {
                    let next = state.waiting.pop_front();
                    state.playing = next.is_some();
                    next
                })
                .await;
            actor.lock().await.packets(at.at(span), lines).await?;
            self.state.lock().playing = false;
            self.changed.notify_waiters();
        }
    }

    async fn wait<T>(&self, mut look: impl FnMut(&mut PartState<'a>) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.state.lock()) {
                return found;
            }
            changed.await;
        }
    }
}
