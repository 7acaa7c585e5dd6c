//! What the log says about connections, in the words of mosquitto 2.0 and 2.1: one table.
//!
//! Peers' strings are escaped here. Which lines are logged is `outputs`' business.

use std::fmt::Write as _;

use bytestring::ByteString;

use crate::broker::auth::Decision;
use crate::broker::config::Compat;
use crate::broker::log::LogTypes;
use crate::mqtt::packet::{Connect, Publish};
use crate::mqtt::{PacketId, ProtocolVersion, ReasonCode};
use crate::text::escape;

use super::Peer;
use super::publication::PublishFrame;
use super::session::Identity;

/// How a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// DISCONNECT of the client, with its reason.
    Goodbye(ReasonCode),
    /// End of file.
    Eof,
    /// Read or write error.
    Io(String),
    /// Silence for one and a half times the keep-alive.
    KeepAlive,
    /// No CONNECT in time.
    NoConnect,
    /// A packet that must not come now.
    Protocol(ReasonCode),
    /// Bytes that are no packet.
    Malformed(ReasonCode),
    /// A packet that is too large.
    Oversize,
    /// CONNECT refused: not with these credentials. With the client identifier that it gave.
    NotAuthorised(ByteString),
    /// CONNECT refused for another reason.
    Refused(ReasonCode),
    /// Another connection has this client identifier now.
    TakenOver,
    /// The rules in force do not let the client in any more.
    Administrative,
    /// More waits to be written than any reader needs.
    Unread,
    /// A message for which `memory_limit` leaves no room, of a client that cannot be told.
    OutOfMemory,
    /// The server ends.
    ShuttingDown,
}

/// A row of the table: the whole line of 2.0 around the client's name, and what 2.1 says after
/// `disconnected`.
struct Phrase {
    kind_20: LogTypes,
    v20: &'static str,
    v21: &'static str,
}

const NOT_ALLOWED: &str = "Client {} disconnected due to using not allowed feature (QoS too high, retain not supported, or bad AUTH method).";

impl Ending {
    /// The reason of the DISCONNECT that a 5.0 client is sent; `None`: it is just closed.
    pub fn disconnect_reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Protocol(reason) | Self::Malformed(reason) => Some(*reason),
            Self::KeepAlive => Some(ReasonCode::KEEP_ALIVE_TIMEOUT),
            Self::Oversize => Some(ReasonCode::PACKET_TOO_LARGE),
            Self::TakenOver => Some(ReasonCode::SESSION_TAKEN_OVER),
            // Of a client that proved itself once, and now cannot.
            Self::NotAuthorised(_) => Some(ReasonCode::NOT_AUTHORIZED),
            Self::Unread | Self::OutOfMemory => Some(ReasonCode::QUOTA_EXCEEDED),
            Self::ShuttingDown => Some(ReasonCode::SERVER_SHUTTING_DOWN),
            Self::Goodbye(_)
            | Self::Eof
            | Self::Io(_)
            | Self::NoConnect
            | Self::Refused(_)
            | Self::Administrative => None,
        }
    }

    fn phrase(&self) -> Phrase {
        let row = |v20, v21| Phrase { kind_20: LogTypes::NOTICE, v20, v21 };
        match self {
            Self::Goodbye(_) => row("Client {} disconnected.", ""),
            Self::Eof => row("Client {} closed its connection.", "connection closed by client"),
            Self::Io(_) => row("Bad socket read/write on client {}: ", ""),
            Self::KeepAlive | Self::NoConnect => {
                row("Client {} has exceeded timeout, disconnecting.", "exceeded timeout")
            }
            Self::Protocol(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED) => {
                row("Client {} disconnected due to protocol error.", "receive maximum exceeded")
            }
            Self::Protocol(ReasonCode::TOPIC_ALIAS_INVALID) => {
                row("Client {} disconnected due to protocol error.", "topic alias invalid")
            }
            Self::Malformed(_) => row("Client {} disconnected due to malformed packet.", "malformed packet"),
            Self::Oversize => row("Client {} disconnected due to oversize packet.", "oversize packet"),
            Self::NotAuthorised(_) => row("Client {} disconnected, not authorised.", "not authorised"),
            Self::Refused(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID) => {
                row("Client {} disconnected due to protocol error.", "client identifier not valid")
            }
            Self::Refused(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION) => {
                row("Client {} disconnected due to protocol error.", "unsupported protocol version")
            }
            Self::Refused(ReasonCode::BAD_AUTHENTICATION_METHOD) => {
                row("Client {} disconnected due to protocol error.", "bad authentication method")
            }
            Self::Protocol(ReasonCode::QOS_NOT_SUPPORTED) | Self::Refused(ReasonCode::QOS_NOT_SUPPORTED) => {
                row(NOT_ALLOWED, "QoS not supported")
            }
            Self::Protocol(ReasonCode::RETAIN_NOT_SUPPORTED)
            | Self::Refused(ReasonCode::RETAIN_NOT_SUPPORTED) => row(NOT_ALLOWED, "retain not supported"),
            Self::Refused(ReasonCode::SERVER_BUSY) => {
                row("Client {} disconnected due to server busy.", "server busy")
            }
            Self::Protocol(_) | Self::Refused(_) => {
                row("Client {} disconnected due to protocol error.", "protocol error")
            }
            Self::TakenOver => Phrase {
                kind_20: LogTypes::ERROR,
                v20: "Client {} already connected, closing old connection.",
                v21: "session taken over",
            },
            Self::Administrative => row("Client {} disconnected.", "administrative action"),
            Self::Unread => row("Client {} disconnected due to quota exceeded.", "quota exceeded"),
            Self::OutOfMemory => row("Client {} disconnected due to out of memory.", "out of memory"),
            Self::ShuttingDown => row("Client {} disconnected.", "server shutting down"),
        }
    }
}

/// The line for the end of a connection, and its type.
pub(super) fn ended(
    compat: Compat,
    ending: &Ending,
    client_id: Option<&str>,
    peer: &Peer,
) -> (LogTypes, String) {
    let phrase = ending.phrase();
    if compat == Compat::V20 {
        let name = client_id.map_or_else(|| "<unknown>".to_owned(), escape);
        let (before, after) = phrase.v20.split_once("{}").unwrap_or((phrase.v20, ""));
        let mut line = format!("{before}{name}{after}");
        if let Ending::Io(error) = ending {
            line.push_str(&escape(error));
        }
        return (phrase.kind_20, line);
    }
    let address = address(peer);
    let client_id = match ending {
        Ending::NotAuthorised(given) if !given.is_empty() => Some(&**given),
        _ => client_id,
    };
    let name = client_id.map_or_else(|| address.clone(), escape);
    let mut line = format!("Client {name} [{address}] disconnected");
    match ending {
        Ending::Goodbye(_) => {}
        Ending::Io(error) => {
            let _ = write!(line, ": {}", escape(error));
        }
        _ => {
            let _ = write!(line, ": {}", phrase.v21);
        }
    }
    line.push('.');
    (LogTypes::NOTICE, line)
}

/// The line for an accepted transport connection; `port` is the configured one.
pub(super) fn opened(peer: &Peer, port: u16) -> String {
    format!("New connection from {} on port {}.", address(peer), peer.port.unwrap_or(port))
}

/// The line for a transport connection that is one too many.
pub(super) fn denied_connection(peer: &Peer) -> String {
    format!("Client connection from {} denied: max_connections exceeded.", host(peer))
}

/// The line for an accepted CONNECT.
pub(super) fn connected(compat: Compat, connect: &Connect, client_id: &str, peer: &Peer) -> String {
    let keep_alive = connect.keep_alive;
    let level = match (compat, connect.version) {
        (Compat::V20, ProtocolVersion::V31) => 1,
        (Compat::V20, ProtocolVersion::V311) => 2,
        (_, version) => version.level(),
    };
    let mut line = format!(
        "New {} connected from {} as {} (p{level}, c{}, k{keep_alive}",
        if connect.bridge { "bridge" } else { "client" },
        address(peer),
        escape(client_id),
        u8::from(connect.clean_start)
    );
    if let Some(username) = &connect.username {
        let _ = write!(line, ", u'{}'", escape(username));
    }
    line.push_str(").");
    line
}

/// The lines about the will of an accepted CONNECT.
pub(super) fn will(connect: &Connect) -> Vec<String> {
    match &connect.will {
        None => vec!["No will message specified.".to_owned()],
        Some(will) => vec![
            format!(
                "Will message specified ({} bytes) (r{}, q{}).",
                will.payload.len(),
                u8::from(will.retain),
                will.qos
            ),
            format!("\t{}", escape(will.topic.as_str())),
        ],
    }
}

/// `d0, q1, r0, m5, 'topic', ... (7 bytes)` of a PUBLISH that came.
pub(super) fn publish_in(publish: &Publish) -> String {
    format!(
        "(d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
        u8::from(publish.dup),
        publish.qos,
        u8::from(publish.retain),
        publish.id.map_or(0, PacketId::get),
        escape(publish.topic.as_str()),
        publish.payload.len()
    )
}

/// `d0, q1, r0, m5, 'topic', ... (7 bytes)` of a PUBLISH that goes.
pub(super) fn publish_out(frame: &PublishFrame) -> String {
    let publication = &frame.delivery.publication;
    format!(
        "(d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
        u8::from(frame.dup),
        frame.delivery.qos,
        u8::from(frame.delivery.retain),
        frame.id.map_or(0, PacketId::get),
        escape(frame.topic().as_str()),
        publication.payload.len()
    )
}

/// Where a client is, for the log: as mosquitto, without brackets around an address of version 6.
pub(super) fn address(peer: &Peer) -> String {
    format!("{}:{}", host(peer), peer.address.map_or(0, |address| address.port()))
}

/// The same without the port. Clients of a Unix socket have its path.
fn host(peer: &Peer) -> String {
    match (&peer.address, &peer.path) {
        (Some(address), _) => address.ip().to_string(),
        (None, Some(path)) => path.to_string(),
        (None, None) => "memory".to_owned(),
    }
}

/// The line of `log_type denied`: who was refused what, and which line of the ACL file decided.
pub(super) fn denied(
    what: &str,
    topic: &str,
    who: &Identity,
    peer: Option<&Peer>,
    decision: Decision,
) -> String {
    let mut line = format!("Denied {what} '{}' of {}", escape(topic), escape(&who.client_id));
    if let Some(peer) = peer {
        let _ = write!(line, " [{}]", address(peer));
    }
    match &who.username {
        Some(username) => {
            let _ = write!(line, " (u'{}')", escape(username));
        }
        None => line.push_str(" (anonymous)"),
    }
    match decision.line {
        Some(number) => {
            let _ = write!(line, ": line {number} of the ACL file.");
        }
        None => line.push_str(": no line of the ACL file allows it."),
    }
    line
}
