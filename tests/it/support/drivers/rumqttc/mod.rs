//! rumqttc, both of its clients, as drivers of the interoperability matrix. It is built without TLS and
//! WebSocket, so that it speaks to a Unix socket of ours that is carried on to the broker.

use std::collections::{BTreeMap, VecDeque};

use mqttlab::net::Endpoint;
use mqttlab::tls::client::{Trust, config};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::broker::PATIENCE;
use super::Driver;

mod v4;
mod v5;

/// rumqttc; which of its clients, a row says.
pub fn start() -> Box<dyn Driver> {
    Box::new(Rumqttc::new())
}

/// What an event loop told.
enum Told {
    /// CONNACK, as the answer that it is.
    In(Value),
    Message(Value),
    /// A QoS 0 message was sent, or another was acknowledged.
    Published(u64),
    /// SUBACK or UNSUBACK.
    Codes(Vec<u8>),
    /// The end: the code of a DISCONNECT of the broker, and what the library says.
    Ended(Option<u8>, String),
}

/// What both clients can do.
enum Client {
    V4(v4::Client),
    V5(v5::Client),
}

struct Peer {
    client: Client,
    told: UnboundedReceiver<Told>,
    messages: VecDeque<Value>,
    carrier: JoinHandle<()>,
    polling: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.carrier.abort();
        self.polling.abort();
    }
}

struct Rumqttc {
    runtime: Runtime,
    peers: BTreeMap<String, Peer>,
}

impl Rumqttc {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        Self { runtime, peers: BTreeMap::new() }
    }
}

impl Driver for Rumqttc {
    fn ask(&mut self, command: &Value) -> Value {
        let name = command["peer"].as_str().unwrap_or_default();
        let peers = &mut self.peers;
        let obeying = async {
            match command["do"].as_str().expect("a verb") {
                "connect" => {
                    let mut peer = Peer::start(command);
                    let answer = peer.connected().await;
                    peers.insert(name.to_owned(), peer);
                    answer
                }
                "reset" => {
                    peers.clear();
                    json!({})
                }
                verb => peers.get_mut(name).expect("a peer").obey(verb, command).await,
            }
        };
        self.runtime
            .block_on(async { timeout(PATIENCE, obeying).await })
            .unwrap_or_else(|_| json!({ "error": "not in time" }))
    }
}

/// What a row's address means.
fn endpoint(command: &Value) -> Endpoint {
    let url = command["url"].as_str().expect("an address");
    let (scheme, address) = url.split_once("://").expect("an address");
    let (host, port) = address.split_once(':').expect("a port");
    let (host, port) = (host.to_owned(), port.parse().expect("a port"));
    let carrier = match command["cafile"].as_str() {
        None => Endpoint::Tcp { host, port },
        Some(cafile) => {
            let authority = std::fs::read_to_string(cafile).expect("is there");
            let config = config(Trust::Authorities(&[&authority])).expect("a certificate");
            Endpoint::Tls { server_name: host.clone(), host, port, config, tap: None }
        }
    };
    if scheme.starts_with("ws") { carrier.websocket() } else { carrier }
}

impl Peer {
    fn start(command: &Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).expect("a socket");
        let endpoint = endpoint(command);
        let carrier = tokio::spawn(async move {
            let (mut library, _) = listener.accept().await.expect("it connects");
            drop(folder);
            let mut broker = endpoint.connect().await.expect("the broker listens");
            // That either of them cuts it is no fault.
            let _ = tokio::io::copy_bidirectional(&mut library, &mut broker).await;
        });
        let path = path.to_str().expect("UTF-8");
        let (client, told, polling) =
            if command["version"] == 5 { v5::start(command, path) } else { v4::start(command, path) };
        Self { client, told, messages: VecDeque::new(), carrier, polling }
    }

    /// The next that is told; messages before it are kept.
    async fn told(&mut self) -> Told {
        loop {
            match self.told.recv().await {
                Some(Told::Message(message)) => self.messages.push_back(message),
                Some(told) => return told,
                None => return Told::Ended(None, "it has ended before".to_owned()),
            }
        }
    }

    async fn connected(&mut self) -> Value {
        match self.told().await {
            Told::In(connack) => connack,
            Told::Ended(Some(code), _) => json!({ "code": code, "properties": {} }),
            Told::Ended(None, why) => json!({ "error": why }),
            _ => json!({ "error": "something before CONNACK" }),
        }
    }

    async fn obey(&mut self, verb: &str, command: &Value) -> Value {
        match verb {
            "message" => self.message().await,
            "count" => {
                // A SUBACK has been waited for: what came before it has been told.
                json!({ "count": self.messages.len() })
            }
            "closed" => self.ended().await,
            "drop" => {
                self.carrier.abort();
                self.ended().await
            }
            "disconnect" => {
                self.client.obey(verb, command).await;
                self.ended().await
            }
            "acknowledge" => {
                self.client.obey(verb, command).await;
                json!({})
            }
            _ => {
                self.client.obey(verb, command).await;
                match self.told().await {
                    Told::Codes(codes) => json!({ "codes": codes }),
                    Told::Published(code) => json!({ "code": code }),
                    Told::In(_) => json!({ "error": "a second CONNACK" }),
                    Told::Ended(_, why) => json!({ "error": why }),
                    Told::Message(_) => json!({ "error": "messages are kept" }),
                }
            }
        }
    }

    async fn message(&mut self) -> Value {
        if let Some(message) = self.messages.pop_front() {
            return message;
        }
        match self.told.recv().await {
            Some(Told::Message(message)) => message,
            Some(Told::Ended(_, why)) => json!({ "error": why }),
            _ => json!({ "error": "no message" }),
        }
    }

    async fn ended(&mut self) -> Value {
        match self.told().await {
            Told::Ended(code, _) => json!({ "code": code }),
            _ => json!({ "error": "it lives" }),
        }
    }
}

impl Client {
    async fn obey(&mut self, verb: &str, command: &Value) {
        match self {
            Self::V4(client) => client.obey(verb, command).await,
            Self::V5(client) => client.obey(verb, command).await,
        }
    }
}

/// A text of a command.
fn text<'a>(command: &'a Value, name: &str) -> &'a str {
    command[name].as_str().unwrap_or_default()
}

/// Bytes that are UTF-8.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
