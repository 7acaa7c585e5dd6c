//! Plain HTTP on a WebSocket listener: the files of `http_dir`, and the answers to requests that
//! open no WebSocket. One request a connection; GET and HEAD; no ranges, no listings, no writing.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::net::Transport;
use crate::net::websocket::handshake::{Refusal, Request};

/// How long a peer may take for each piece of what it asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a closing connection waits for the peer's end of file, as MQTT's does.
const LINGER: Duration = Duration::from_millis(100);

/// Bytes of a file that are held at once.
const PIECE: usize = 16 * 1024;

/// Content types by the ending of a file's name: what a page that speaks MQTT is made of.
const TYPES: &[(&str, &str)] = &[
    ("css", "text/css; charset=utf-8"),
    ("gif", "image/gif"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webp", "image/webp"),
    ("woff2", "font/woff2"),
    ("xml", "application/xml"),
];

/// A file that is to be sent.
struct Found {
    file: File,
    length: u64,
    kind: &'static str,
}

/// Answers a request that is none for a WebSocket, and closes.
pub async fn answer(mut transport: Transport, request: &Request, folder: Option<&Path>) {
    let head = request.method == "HEAD";
    if !head && request.method != "GET" {
        return say(transport, "405 Method Not Allowed", "Allow: GET, HEAD\r\n", head).await;
    }
    let Some(found) = find(folder, &request.target).await else {
        return say(transport, "404 Not Found", "", head).await;
    };
    let lines = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        found.kind, found.length
    );
    if send(&mut transport, lines.as_bytes()).await.is_ok()
        && (head || copy(found, &mut transport).await.is_ok())
    {
        close(transport).await;
    }
}

/// Answers a handshake that opens no WebSocket, and closes.
pub async fn refuse(transport: Transport, refusal: Refusal) {
    let more = if refusal == Refusal::Version { "Sec-WebSocket-Version: 13\r\n" } else { "" };
    say(transport, refusal.status(), more, false).await;
}

/// Writes all of it, if the peer takes it in time.
async fn send(transport: &mut Transport, bytes: &[u8]) -> io::Result<()> {
    let sending = async {
        transport.write_all(bytes).await?;
        transport.flush().await
    };
    timeout(PATIENCE, sending).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A status and its text as the page.
async fn say(mut transport: Transport, status: &str, more: &str, head: bool) {
    let page = format!("{status}\n");
    let mut lines = format!(
        "HTTP/1.1 {status}\r\n{more}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        page.len()
    );
    if !head {
        lines += &page;
    }
    if send(&mut transport, lines.as_bytes()).await.is_ok() {
        close(transport).await;
    }
}

/// The file behind a target. `None`: there is none, or it is not within the folder.
async fn find(folder: Option<&Path>, target: &str) -> Option<Found> {
    let wanted = relative(target)?;
    let root = tokio::fs::canonicalize(folder?).await.ok()?;
    // A symbolic link may lead anywhere: what counts is where one arrives.
    let mut path = tokio::fs::canonicalize(root.join(wanted)).await.ok()?;
    if tokio::fs::metadata(&path).await.ok()?.is_dir() {
        path = tokio::fs::canonicalize(path.join("index.html")).await.ok()?;
    }
    // To open a pipe would wait for its writer.
    if !path.starts_with(&root) || !tokio::fs::metadata(&path).await.ok()?.is_file() {
        return None;
    }
    let file = File::open(&path).await.ok()?;
    let length = file.metadata().await.ok()?.len();
    Some(Found { file, length, kind: content_type(&path) })
}

/// The path that a target names below the folder; it goes only down.
fn relative(target: &str) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let path = PathBuf::from(decoded(path)?);
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

/// `%20` is a space. `None`: what is no escape, no text, or no name of a file.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let (two, tail) = tail.split_at_checked(2)?;
            let both = two.iter().all(u8::is_ascii_hexdigit).then_some(two)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(both).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn content_type(path: &Path) -> &'static str {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    let known = TYPES.iter().find(|(known, _)| *known == ending);
    known.map_or("application/octet-stream", |(_, kind)| kind)
}

/// Sends as many bytes as were announced. A file that has become shorter ends the stream early.
async fn copy(found: Found, transport: &mut Transport) -> io::Result<()> {
    let mut left = found.file.take(found.length);
    let mut piece = vec![0; PIECE];
    loop {
        match left.read(&mut piece).await? {
            0 => return Ok(()),
            count => send(transport, &piece[..count]).await?,
        }
    }
}

async fn close(mut transport: Transport) {
    let ended = async {
        let mut rest = [0; 512];
        transport.shutdown().await?;
        while transport.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Who does not end by then is cut.
    let _ = timeout(LINGER, ended).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_leads_only_down() {
        let path = |text: &str| relative(text).map(|path| path.display().to_string());
        assert_eq!(path("/").as_deref(), Some(""));
        assert_eq!(path("/a/b%20c.js?x=../y#z").as_deref(), Some("a/b c.js"));
        let wrong = [
            "/../x",
            "/a/../../x",
            "/%2e%2e/x",
            "/a%2f..%2fx",
            "//etc/passwd",
            "x",
            "*",
            "/%",
            "/%zz",
            "/%00",
            "/%ff",
            "/./x",
        ];
        for target in wrong {
            assert_eq!(path(target), None, "{target}");
        }
    }
}
