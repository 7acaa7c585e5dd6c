//! A stream whose bytes a tap sees as they cross it, and its ends: what is below TLS.
//!
//! Changes nothing and holds nothing back. What the system does by itself (acknowledgements, a reset
//! because of bytes that nobody read) is not seen.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Io;
use super::tap::{Crossed, Direction, StreamTap};

/// The stream. Its drop is seen as the end of this side.
#[derive(Debug)]
pub struct Overheard<S: Io> {
    stream: S,
    tap: StreamTap,
    /// Directions in which nothing follows.
    closed: [bool; 2],
    /// It was reset by either: nothing can follow.
    reset: bool,
    /// The coming drop resets it.
    abrupt: bool,
}

impl<S: Io> Overheard<S> {
    /// Around a stream that was just connected.
    pub fn new(stream: S, tap: StreamTap) -> Self {
        tap.record(Crossed::Opened);
        Self { stream, tap, closed: [false; 2], reset: false, abrupt: false }
    }

    fn closes(&mut self, way: Direction) {
        if !self.reset && !std::mem::replace(&mut self.closed[way as usize], true) {
            self.tap.record(Crossed::Closed(way));
        }
    }

    /// After an error: the stream is broken.
    fn broke(&mut self) {
        if !self.reset {
            self.reset = true;
            self.tap.record(Crossed::Reset(Direction::In));
        }
    }
}

impl<S: Io> Overheard<S> {
    /// The answer is read by the task that runs just now, so it is not seen before this.
    fn wrote<'b>(&mut self, result: &io::Result<usize>, parts: impl IntoIterator<Item = &'b [u8]>) {
        let Ok(mut count) = *result else { return self.broke() };
        for part in parts {
            let part = &part[..part.len().min(count)];
            count -= part.len();
            if !part.is_empty() {
                self.tap.record(Crossed::Bytes(Direction::Out, part));
            }
        }
    }
}

impl<S: Io> AsyncRead for Overheard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let room = into.remaining() > 0;
        let result = ready!(Pin::new(&mut this.stream).poll_read(cx, into));
        match (&result, into.filled().get(before..)) {
            (Err(_), _) => this.broke(),
            (Ok(()), Some([]) | None) if room => this.closes(Direction::In),
            (Ok(()), Some([]) | None) => {}
            (Ok(()), Some(bytes)) => this.tap.record(Crossed::Bytes(Direction::In, bytes)),
        }
        Poll::Ready(result)
    }
}

impl<S: Io> AsyncWrite for Overheard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes));
        this.wrote(&result, [bytes]);
        Poll::Ready(result)
    }

    // Without this an alert would not leave: a failed handshake writes but once.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, parts));
        this.wrote(&result, parts.iter().map(|part| &**part));
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_shutdown(cx));
        if result.is_ok() {
            this.closes(Direction::Out);
        }
        Poll::Ready(result)
    }
}

impl<S: Io> Io for Overheard<S> {
    fn reset_on_drop(&mut self) {
        self.abrupt = true;
        self.stream.reset_on_drop();
    }
}

impl<S: Io> Drop for Overheard<S> {
    fn drop(&mut self) {
        if self.abrupt && !self.reset {
            self.tap.record(Crossed::Reset(Direction::Out));
        } else {
            self.closes(Direction::Out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    type Log = Arc<Mutex<Vec<String>>>;

    fn tap(log: &Log) -> StreamTap {
        let log = Arc::clone(log);
        StreamTap::new(move |crossed| {
            log.lock().push(match crossed {
                Crossed::Bytes(way, bytes) => format!("{way:?} {}", bytes.escape_ascii()),
                other => format!("{other:?}"),
            });
        })
    }

    #[tokio::test]
    async fn all_that_crosses_is_seen_once_and_in_order() {
        let log = Log::default();
        let (near, mut far) = duplex(4);
        let mut near = Overheard::new(near, tap(&log));
        near.write_all(b"ping").await.expect("room");
        let mut buffer = [0; 8];
        far.read_exact(&mut buffer[..4]).await.expect("there");
        far.write_all(b"pong").await.expect("room");
        // No place to read into is no end.
        assert_eq!(near.read(&mut []).await.expect("nothing"), 0);
        near.read_exact(&mut buffer[..4]).await.expect("there");
        drop(far);
        assert_eq!(near.read(&mut buffer).await.expect("the end"), 0);
        assert_eq!(near.read(&mut buffer).await.expect("still the end"), 0);
        assert!(near.write_all(b"late").await.is_err());
        drop(near);
        assert_eq!(*log.lock(), ["Opened", "Out ping", "In pong", "Closed(In)", "Reset(In)"]);
    }

    #[tokio::test]
    async fn several_parts_leave_at_once_where_the_stream_can_do_that() {
        let log = Log::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("listening");
        let mut near = Overheard::new(near, tap(&log));
        assert!(near.is_write_vectored());
        let parts = [b"one".as_slice(), b"", b"two"].map(IoSlice::new);
        assert_eq!(near.write_vectored(&parts).await.expect("room"), 6);
        assert_eq!(*log.lock(), ["Opened", "Out one", "Out two"]);
    }

    #[tokio::test]
    async fn an_end_of_this_side_is_a_close_or_a_reset() {
        let log = Log::default();
        let (near, _far) = duplex(4);
        let mut near = Overheard::new(near, tap(&log));
        near.shutdown().await.expect("a pipe");
        drop(near);
        let (near, _far) = duplex(4);
        let mut near = Overheard::new(near, tap(&log));
        near.reset_on_drop();
        drop(near);
        assert_eq!(*log.lock(), ["Opened", "Closed(Out)", "Opened", "Reset(Out)"]);
    }
}
