//! The HTTP that opens a WebSocket (RFC 6455, 4), from both ends; a server's first look at any
//! HTTP request. Serves no files: what to do with a plain request is the caller's business.

use std::fmt::Write as _;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Role, WebSocket};
use crate::net::Transport;

/// Bytes of the longest request or answer, without its body, unless told otherwise: mosquitto 2.1's
/// `packet_buffer_size`.
pub const LONGEST_HEAD: usize = 4096;

/// Header lines of a request or answer.
const HEADERS: usize = 64;

/// Bytes read at once.
const CHUNK: usize = 1024;

/// The subprotocol that we offer, and prefer. `[MQTT-6.0.0-3]`, `[MQTT-6.0.0-4]`
pub const SUBPROTOCOL: &str = "mqtt";

/// What clients of MQTT 3.1 offer.
const OLD_SUBPROTOCOL: &str = "mqttv3.1";

/// RFC 6455, 1.3
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The head of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    http_1_1: bool,
    headers: Vec<(String, String)>,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A WebSocket, which can be opened with this answer.
    WebSocket(String),
    /// Something else.
    Plain,
}

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no HTTP.
    #[error("the request is no HTTP")]
    NoHttp,
    /// Its head is too large.
    #[error("the request's headers are too large")]
    TooLarge,
    /// Not as RFC 6455 wants it.
    #[error("the request for a WebSocket lacks something: GET of HTTP/1.1 and Sec-WebSocket-Key")]
    Incomplete,
    /// A version other than 13.
    #[error("the request is for another version of WebSocket than 13")]
    Version,
    /// Not from where `websockets_origin` says.
    #[error("the request's origin is not allowed")]
    Origin,
    /// `[MQTT-6.0.0-3]` says that `mqtt` must be offered; a browser would not take an answer with
    /// a subprotocol that it has not offered.
    #[error("the request does not offer the subprotocol mqtt")]
    Subprotocol,
}

/// Why a client has no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The stream broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server speaks HTTP and says no.
    #[error("the server answers HTTP {status}, and no WebSocket")]
    Refused {
        /// The status code.
        status: u16,
    },
    /// What it answers is no answer to a client's handshake.
    #[error("the server's answer opens no WebSocket: {0}")]
    Invalid(&'static str),
}

impl Refusal {
    /// The status line's code and text.
    pub fn status(self) -> &'static str {
        match self {
            Self::NoHttp | Self::Incomplete | Self::Subprotocol => "400 Bad Request",
            Self::Origin => "403 Forbidden",
            Self::Version => "426 Upgrade Required",
            Self::TooLarge => "431 Request Header Fields Too Large",
        }
    }
}

impl Request {
    /// Reads a complete head.
    fn parse(head: &[u8]) -> Result<Self, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLarge),
            Ok(httparse::Status::Partial) | Err(_) => return Err(Refusal::NoHttp),
        }
        let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
        Ok(Self {
            method: text(request.method),
            target: text(request.path),
            http_1_1: request.version == Some(1),
            headers: owned(request.headers),
        })
    }

    /// A header's value; of several lines the first.
    fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.values(name).next()
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// The parts of a header that is a list.
    fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values(name).flat_map(|value| value.split(',')).map(str::trim)
    }

    /// Whether this is for a WebSocket, whatever its path, and whether it can have one.
    pub fn asked(&self, origins: &[String]) -> Result<Asked, Refusal> {
        let has = |name, wanted: &str| self.list(name).any(|part| part.eq_ignore_ascii_case(wanted));
        if !has("Upgrade", "websocket") || !has("Connection", "upgrade") {
            return Ok(Asked::Plain);
        }
        if self.header("Sec-WebSocket-Version") != Some("13") {
            return Err(Refusal::Version);
        }
        let key = self.header("Sec-WebSocket-Key").unwrap_or_default();
        let sixteen = STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16);
        if self.method != "GET" || !self.http_1_1 || !sixteen {
            return Err(Refusal::Incomplete);
        }
        let origin = self.header("Origin");
        if !origins.is_empty() && !origins.iter().any(|allowed| Some(allowed.as_str()) == origin) {
            return Err(Refusal::Origin);
        }
        // [MQTT-6.0.0-4]: ours is answered wherever it stands in the list.
        let offered = |name: &&str| self.list("Sec-WebSocket-Protocol").any(|part| part == *name);
        let subprotocol =
            [SUBPROTOCOL, OLD_SUBPROTOCOL].into_iter().find(offered).ok_or(Refusal::Subprotocol)?;
        Ok(Asked::WebSocket(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n",
            accept_key(key)
        )))
    }
}

/// The request that a connection begins with, of so many bytes at most without its body, and the
/// bytes that came behind it. `None`: the stream ended before.
pub async fn read_request(
    transport: &mut Transport,
    longest: usize,
) -> io::Result<Option<Result<(Request, Vec<u8>), Refusal>>> {
    Ok(match read_head(transport, longest).await? {
        Head::Complete(head, rest) => Some(Request::parse(&head).map(|request| (request, rest))),
        Head::TooLarge => Some(Err(Refusal::TooLarge)),
        Head::Ended => None,
    })
}

/// What came of a server's half of the handshake.
pub enum Served {
    /// A WebSocket is open.
    WebSocket(Transport),
    /// The request is for something else.
    Plain(Transport, Box<Request>),
    /// It is turned away, which the client is not told yet.
    Refused(Transport, Refusal),
    /// The stream ended before.
    Gone,
}

/// Opens a WebSocket as a server, for one of these origins (none: any) and a request of so many bytes at
/// most. Has no time limit of its own.
pub async fn serve(mut transport: Transport, origins: &[String], longest: usize) -> io::Result<Served> {
    let (request, early) = match read_request(&mut transport, longest).await? {
        Some(Ok(found)) => found,
        Some(Err(refusal)) => return Ok(Served::Refused(transport, refusal)),
        None => return Ok(Served::Gone),
    };
    match request.asked(origins) {
        Ok(Asked::WebSocket(answer)) => {
            transport.write_all(answer.as_bytes()).await?;
            transport.flush().await?;
            Ok(Served::WebSocket(Box::new(WebSocket::new(transport, Role::Server, early))))
        }
        Ok(Asked::Plain) => Ok(Served::Plain(transport, Box::new(request))),
        Err(refusal) => Ok(Served::Refused(transport, refusal)),
    }
}

/// Opens a WebSocket as a client. `host` is what the server is called; `headers` come on top of
/// the handshake's own; `subprotocols` are offered in this order, and `mqtt` must be taken if it is
/// among them.
pub async fn connect(
    mut transport: Transport,
    host: &str,
    path: &str,
    headers: &[(String, String)],
    subprotocols: &[String],
) -> Result<WebSocket, UpgradeError> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let key = STANDARD.encode(nonce);
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    );
    if !subprotocols.is_empty() {
        let _ = write!(request, "Sec-WebSocket-Protocol: {}\r\n", subprotocols.join(", "));
    }
    for (name, value) in headers {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    request.push_str("\r\n");
    transport.write_all(request.as_bytes()).await?;
    transport.flush().await?;
    match read_head(&mut transport, LONGEST_HEAD).await? {
        Head::Complete(head, rest) => {
            check_answer(&head, &key, subprotocols)?;
            Ok(WebSocket::new(transport, Role::Client, rest))
        }
        Head::TooLarge => Err(UpgradeError::Invalid("its headers have no end")),
        Head::Ended => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

/// RFC 6455, 4.1: what a client makes sure of.
fn check_answer(head: &[u8], key: &str, offered: &[String]) -> Result<(), UpgradeError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    if !answer.parse(head).is_ok_and(|status| status.is_complete()) {
        return Err(UpgradeError::Invalid("it is no HTTP"));
    }
    let status = answer.code.unwrap_or_default();
    if status != 101 {
        return Err(UpgradeError::Refused { status });
    }
    let headers = owned(answer.headers);
    let value = |name: &str| {
        headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if !value("Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(UpgradeError::Invalid("no `Upgrade: websocket`"));
    }
    if value("Sec-WebSocket-Accept") != Some(accept_key(key).as_str()) {
        return Err(UpgradeError::Invalid("Sec-WebSocket-Accept does not fit"));
    }
    let chosen = value("Sec-WebSocket-Protocol");
    let ours = offered.iter().any(|name| name == SUBPROTOCOL);
    // [MQTT-6.0.0-4]: none may be chosen where `mqtt` was not offered.
    match chosen {
        Some(SUBPROTOCOL) if ours => {}
        None if !ours => {}
        Some(SUBPROTOCOL) => return Err(UpgradeError::Invalid("`mqtt` was not offered")),
        _ => return Err(UpgradeError::Invalid("the subprotocol is not `mqtt`")),
    }
    if value("Sec-WebSocket-Extensions").is_some() {
        return Err(UpgradeError::Invalid("an extension that was not asked for"));
    }
    Ok(())
}

enum Head {
    /// Up to and with the empty line, and what came behind it.
    Complete(Vec<u8>, Vec<u8>),
    TooLarge,
    /// The stream ended before.
    Ended,
}

async fn read_head(transport: &mut Transport, longest: usize) -> io::Result<Head> {
    let mut bytes = Vec::with_capacity(CHUNK);
    let mut seen: usize = 0;
    loop {
        // The empty line may have begun in what was read before.
        let from = seen.saturating_sub(3);
        if let Some(at) = bytes[from..].windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(from + at + 4);
            return Ok(Head::Complete(bytes, rest));
        }
        seen = bytes.len();
        if seen >= longest {
            return Ok(Head::TooLarge);
        }
        bytes.reserve(CHUNK);
        if transport.read_buf(&mut bytes).await? == 0 {
            return Ok(Head::Ended);
        }
    }
}

/// A value that is no text is none that we look for.
fn owned(headers: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    let text = |header: &httparse::Header<'_>| {
        let value = std::str::from_utf8(header.value).ok()?;
        Some((header.name.to_owned(), value.to_owned()))
    };
    headers.iter().filter_map(text).collect()
}

/// RFC 6455, 4.2.2: proves that the key was read.
fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key.as_bytes()).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn request(text: &str) -> Result<Request, Refusal> {
        Request::parse(text.replace('\n', "\r\n").as_bytes())
    }

    fn upgrade(changed: &str, to: &str) -> Result<Asked, Refusal> {
        let text = format!(
            "GET /any/path?x HTTP/1.1\nHost: h\nconnection: keep-alive, Upgrade\nUpgrade: WebSocket\n\
             Sec-WebSocket-Version: 13\nSec-WebSocket-Key: {KEY}\nOrigin: http://lab\n\
             Sec-WebSocket-Protocol: chat, mqttv3.1\nSec-WebSocket-Protocol: mqtt\n\n"
        );
        assert!(text.contains(changed), "{changed}");
        request(&text.replace(changed, to)).expect("HTTP").asked(&["http://lab".into(), "http://b".into()])
    }

    fn opened(asked: Result<Asked, Refusal>, subprotocol: &str) -> bool {
        let Ok(Asked::WebSocket(answer)) = asked else { return false };
        answer.contains(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n"))
            && answer.ends_with(&format!("Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"))
    }

    #[test]
    fn our_subprotocol_is_found_among_several() {
        assert!(opened(upgrade("chat", "chat"), "mqtt"));
        assert!(opened(upgrade("Sec-WebSocket-Protocol: mqtt\n", ""), "mqttv3.1"));
        assert_eq!(
            upgrade("chat, mqttv3.1\nSec-WebSocket-Protocol: mqtt", "MQTT"),
            Err(Refusal::Subprotocol)
        );
        assert_eq!(
            upgrade("Sec-WebSocket-Protocol: chat, mqttv3.1\nSec-WebSocket-Protocol: mqtt\n", ""),
            Err(Refusal::Subprotocol)
        );
    }

    #[test]
    fn each_lack_has_its_status() {
        let cases = [
            ("13", "8", Refusal::Version, "426"),
            (KEY, "c2hvcnQ=", Refusal::Incomplete, "400"),
            ("GET", "POST", Refusal::Incomplete, "400"),
            ("HTTP/1.1", "HTTP/1.0", Refusal::Incomplete, "400"),
            ("http://lab", "http://lab.example.org", Refusal::Origin, "403"),
            ("Origin: http://lab\n", "", Refusal::Origin, "403"),
        ];
        for (changed, to, refusal, status) in cases {
            assert_eq!(upgrade(changed, to), Err(refusal), "{changed}");
            assert!(refusal.status().starts_with(status));
        }
        for (changed, to) in [("Upgrade: WebSocket\n", ""), ("keep-alive, Upgrade", "close")] {
            assert_eq!(upgrade(changed, to), Ok(Asked::Plain), "{changed}");
        }
        assert_eq!(request("HELLO\n\n"), Err(Refusal::NoHttp));
        let many = format!("GET / HTTP/1.1\n{}\n", "A: b\n".repeat(HEADERS + 1));
        assert_eq!(request(&many), Err(Refusal::TooLarge));
    }

    #[test]
    fn a_client_believes_only_a_whole_answer() {
        let answer = format!(
            "HTTP/1.1 101 Fine\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: {ACCEPT}\n\
             Sec-WebSocket-Protocol: mqtt\n\n"
        );
        let check_offered = |changed: &str, to: &str, offered: &[&str]| {
            let text = answer.replace(changed, to).replace('\n', "\r\n");
            let offered: Vec<_> = offered.iter().map(|name| (*name).to_owned()).collect();
            check_answer(text.as_bytes(), KEY, &offered)
        };
        let check = |changed: &str, to: &str| check_offered(changed, to, &["chat", "mqtt"]);
        assert!(check("Fine", "Fine").is_ok());
        let none = ("Sec-WebSocket-Protocol: mqtt\n", "");
        assert!(check(none.0, none.1).is_err());
        assert!(check_offered(none.0, none.1, &["chat"]).is_ok(), "it knows nothing that is offered");
        assert!(check_offered("Protocol: mqtt", "Protocol: chat", &["chat"]).is_err());
        assert!(check_offered(none.0, none.1, &[]).is_ok());
        assert!(check_offered("Fine", "Fine", &["chat"]).is_err(), "nobody offered mqtt");
        assert!(check_offered("Fine", "Fine", &[]).is_err(), "nobody offered anything");
        let wrong = [
            ("101", "200"),
            ("websocket", "h2c"),
            (ACCEPT, "s3pP"),
            ("Protocol: mqtt", "Protocol: chat"),
            ("Connection: Upgrade", "Sec-WebSocket-Extensions: permessage-deflate"),
            ("HTTP/1.1", "MQTT"),
        ];
        for (changed, to) in wrong {
            assert!(check(changed, to).is_err(), "{changed}");
        }
    }
}
