//! A transport with its two buffers and a decoder: the only place where bytes become packets.
//!
//! Both ends use it. It knows nothing of sessions, and it starts no task: [`Framed::progress`] is
//! the one await, and it loses nothing when it is cancelled, because all state lives in `self`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::Transport;
use super::tap::{Content, Direction, Tap};
use crate::mqtt::codec::{DecodeError, Decoder, encode};
use crate::mqtt::{Packet, ProtocolVersion};

/// Bytes taken from a transport at once.
const READ_BYTES: usize = 64 * 1024;

/// A read of so many bytes makes the next one expect as much.
const STREAM_BYTES: usize = 16 * 1024;

/// Capacity of a written-out buffer that is kept for the next packets; a larger one is passed on.
const KEEP_BYTES: usize = 1024;

/// Capacity up to which a written-out buffer is passed on to the thread's next connection.
const SPARE_BYTES: usize = 256 * 1024;

thread_local! {
    /// Reads land here first, so that a connection with nothing to read owns no buffer, and one
    /// with something to read owns a buffer of just that size.
    static LANDING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
    /// What the last connection wrote from: grown already, and known to the cache.
    static SPARE: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// A transport, its buffers and its decoder.
pub struct Framed {
    transport: Transport,
    decoder: Decoder,
    inbox: BytesMut,
    outbox: BytesMut,
    /// The transport (TLS) may still hold bytes that it took from `outbox`.
    unflushed: bool,
    /// Writing failed: what is pushed from now on goes nowhere, reading goes on to its end.
    broken: bool,
    /// The last read was a large one.
    streams: bool,
    tap: Option<Tap>,
}

/// What one [`Framed::progress`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read; `Some(0)` is the end of the stream; `None`: nothing came.
    pub read: Option<usize>,
    /// Bytes written.
    pub written: usize,
}

/// How a peer's stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// End of file.
    Eof,
    /// A reset (RST) or a broken pipe.
    Reset,
    /// Anything else, in the system's words.
    Error(String),
}

/// What [`Framed::recv`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A packet and its length on the wire.
    Packet(Packet, usize),
    /// Bytes that are no packet; the stream cannot be read any further.
    Malformed(DecodeError),
    /// The end.
    Closed(Closed),
}

impl Framed {
    /// Wraps a connected transport.
    pub fn new(transport: Transport, decoder: Decoder) -> Self {
        Self {
            transport,
            decoder,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            unflushed: false,
            broken: false,
            streams: false,
            tap: None,
        }
    }

    /// Lets `tap` see every packet.
    #[must_use]
    pub fn with_tap(mut self, tap: Option<Tap>) -> Self {
        self.tap = tap;
        self
    }

    /// To change its limits.
    pub fn decoder_mut(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    /// Bytes that wait to be written.
    pub fn pending(&self) -> usize {
        self.outbox.len() + usize::from(self.unflushed)
    }

    /// The next packet among the bytes that were read; `None` when more are needed.
    pub fn decode(&mut self) -> Result<Option<(Packet, usize)>, DecodeError> {
        if self.inbox.is_empty() {
            return Ok(None);
        }
        let seen = self.tap.is_some().then(|| first_packet(&self.inbox));
        let decoded = self.decoder.decode(&mut self.inbox);
        if let (Some(tap), Some(bytes)) = (&self.tap, seen) {
            match &decoded {
                Ok(None) => {}
                Ok(Some((packet, _))) => tap.record(Direction::In, bytes, Content::Packet(packet)),
                Err(error) => tap.record(Direction::In, bytes, Content::Malformed(error)),
            }
        }
        if self.inbox.is_empty() {
            // Packets share the buffer; an idle connection holds none.
            self.inbox = BytesMut::new();
        }
        decoded
    }

    /// Queues a packet. Call [`Framed::progress`] or [`Framed::flush`] to write.
    pub fn push(&mut self, packet: &Packet, version: ProtocolVersion) {
        if self.broken {
            return;
        }
        let start = self.outbox.len();
        encode(packet, version, &mut self.outbox);
        if let Some(tap) = &self.tap {
            let bytes = Bytes::copy_from_slice(&self.outbox[start..]);
            tap.record(Direction::Out, bytes, Content::Packet(packet));
        }
    }

    /// Queues bytes as they are. `packet` is what they mean, where they mean something.
    pub fn push_raw(&mut self, bytes: &[u8], packet: Option<&Packet>) {
        if self.broken {
            return;
        }
        self.outbox.extend_from_slice(bytes);
        if let Some(tap) = &self.tap {
            let content = packet.map_or(Content::Raw, Content::Packet);
            tap.record(Direction::Out, Bytes::copy_from_slice(bytes), content);
        }
    }

    /// Queues what `write` appends, which must be whole packets. Not shown to the tap: for the
    /// broker's side, which writes publications that are encoded already.
    pub fn push_with(&mut self, write: impl FnOnce(&mut BytesMut)) {
        if self.broken {
            return;
        }
        if self.outbox.capacity() == 0 {
            self.outbox = SPARE.take();
        }
        write(&mut self.outbox);
    }

    /// See [`Io::frame_as_text`](super::Io::frame_as_text). Flush before and after: what is queued has
    /// no frame yet.
    pub fn frame_as_text(&mut self, text: bool) {
        self.transport.frame_as_text(text);
    }

    /// The bytes that were read and not yet decoded.
    pub fn undecoded(&self) -> &[u8] {
        &self.inbox
    }

    /// Writes what can be written at once, without waiting.
    pub async fn write_now(&mut self) {
        if self.pending() > 0 {
            poll_fn(|context| {
                self.try_write(context);
                Poll::Ready(())
            })
            .await;
        }
    }

    /// Waits until bytes were written or (if `reading`) read, or the stream ended. Never returns
    /// if there is nothing to write and `reading` is false.
    ///
    /// Decode all that is there before reading on: the buffer grows with what was not decoded.
    pub async fn progress(&mut self, reading: bool) -> io::Result<Progress> {
        poll_fn(|context| self.poll_progress(context, reading)).await
    }

    /// Writes all that is queued, without reading. Only for peers that are sure to read.
    pub async fn flush(&mut self) -> io::Result<()> {
        while self.pending() > 0 {
            self.progress(false).await?;
        }
        Ok(())
    }

    /// The next packet, or the end. Writes what is queued while it waits. Cancellation-safe.
    pub async fn recv(&mut self) -> Received {
        loop {
            match self.decode() {
                Ok(Some((packet, size))) => return Received::Packet(packet, size),
                Ok(None) => {}
                Err(error) => return Received::Malformed(error),
            }
            match self.progress(true).await {
                Ok(Progress { read: Some(0), .. }) => return Received::Closed(Closed::Eof),
                Ok(_) => {}
                Err(error) => return Received::Closed(error.into()),
            }
        }
    }

    /// Reads and forgets; 0 is the end of the stream.
    pub async fn discard(&mut self) -> io::Result<usize> {
        let progress = self.progress(true).await?;
        self.inbox = BytesMut::new();
        Ok(progress.read.unwrap_or(1))
    }

    /// Closes the transport at once; what was read stays.
    pub fn hang_up(&mut self) {
        self.transport = Box::new(tokio::io::empty());
        self.outbox = BytesMut::new();
        self.unflushed = false;
        self.broken = true;
    }

    /// Says goodbye on the transport's level: TLS's closing alert, then the end of our stream.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.transport.shutdown().await
    }

    /// Makes the drop an abrupt one.
    pub fn reset_on_drop(&mut self) {
        self.transport.reset_on_drop();
    }

    fn poll_progress(&mut self, context: &mut Context<'_>, reading: bool) -> Poll<io::Result<Progress>> {
        let (written, failed) = if self.pending() > 0 { self.try_write(context) } else { (None, None) };
        if !reading && let Some(error) = failed {
            return Poll::Ready(Err(error));
        }
        let read = if reading { self.poll_read(context) } else { Poll::Pending };
        match (read, written) {
            (Poll::Ready(Ok(count)), _) => {
                Poll::Ready(Ok(Progress { read: Some(count), written: written.unwrap_or(0) }))
            }
            (Poll::Ready(Err(error)), _) => Poll::Ready(Err(error)),
            (Poll::Pending, Some(written)) => Poll::Ready(Ok(Progress { read: None, written })),
            (Poll::Pending, None) => Poll::Pending,
        }
    }

    /// How many bytes were written, if there was progress; and an error, after which nothing is
    /// written any more, while what the peer sent before can still be read.
    fn try_write(&mut self, context: &mut Context<'_>) -> (Option<usize>, Option<io::Error>) {
        let mut written = 0;
        match self.poll_write(context, &mut written) {
            Poll::Ready(Ok(())) => (Some(written), None),
            Poll::Pending => ((written > 0).then_some(written), None),
            Poll::Ready(Err(error)) => {
                self.broken = true;
                self.unflushed = false;
                self.outbox = BytesMut::new();
                (Some(written), Some(error))
            }
        }
    }

    /// Writes until all is written and flushed, or the transport takes no more.
    fn poll_write(&mut self, context: &mut Context<'_>, written: &mut usize) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let count = ready!(Pin::new(&mut self.transport).poll_write(context, &self.outbox))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.advance(count);
            self.unflushed = true;
            *written += count;
        }
        self.pass_on_outbox();
        ready!(Pin::new(&mut self.transport).poll_flush(context))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// An idle connection keeps no large buffer.
    fn pass_on_outbox(&mut self) {
        // What was written from the front is room again.
        if self.outbox.try_reclaim(KEEP_BYTES + 1) {
            let outbox = std::mem::take(&mut self.outbox);
            if outbox.capacity() <= SPARE_BYTES {
                SPARE.set(outbox);
            }
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read =
            if self.streams { self.poll_read_in_place(context) } else { self.poll_read_landing(context) };
        if let Poll::Ready(Ok(count)) = read {
            self.streams = count >= STREAM_BYTES;
        }
        read
    }

    /// Where much comes at once, it is not copied.
    fn poll_read_in_place(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.inbox.reserve(READ_BYTES);
        let read = pin!(self.transport.read_buf(&mut self.inbox)).poll(context);
        if read.is_pending() && self.inbox.is_empty() {
            // An idle connection holds no buffer.
            self.inbox = BytesMut::new();
        }
        read
    }

    fn poll_read_landing(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        LANDING.with_borrow_mut(|landing| {
            let mut buffer = ReadBuf::new(landing);
            ready!(Pin::new(&mut self.transport).poll_read(context, &mut buffer))?;
            let bytes = buffer.filled();
            if self.inbox.is_empty() {
                self.inbox = BytesMut::from(bytes);
            } else {
                self.inbox.extend_from_slice(bytes);
            }
            Poll::Ready(Ok(bytes.len()))
        })
    }
}

impl fmt::Debug for Framed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed")
            .field("inbox", &self.inbox.len())
            .field("outbox", &self.outbox.len())
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // TLS: the peer ended the stream without close_notify.
            io::ErrorKind::UnexpectedEof => Self::Eof,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::Reset
            }
            _ => Self::Error(error.to_string()),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eof => f.write_str("closed by the peer"),
            Self::Reset => f.write_str("reset by the peer"),
            Self::Error(text) => f.write_str(text),
        }
    }
}

/// The bytes of the first packet as its Remaining Length announces it (2.2.3), or all there are
/// if that is less or cannot be read. Only for showing: the decoder judges.
pub fn first_packet(buffer: &[u8]) -> Bytes {
    let mut length = 0;
    for (at, byte) in buffer.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let end = (at + 2 + length).min(buffer.len());
            return Bytes::copy_from_slice(&buffer[..end]);
        }
    }
    Bytes::copy_from_slice(buffer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::mqtt::codec::Limits;
    use crate::net::memory;

    async fn pair() -> (Framed, Framed) {
        let (address, mut acceptor) = memory::listener();
        let client = Box::new(address.connect().await.expect("listening"));
        let server = Box::new(acceptor.accept().await.expect("waiting"));
        let decoder = || Decoder::client(ProtocolVersion::V311, Limits::default());
        (Framed::new(client, decoder()), Framed::new(server, decoder()))
    }

    #[tokio::test]
    async fn a_packet_written_byte_by_byte_is_found() {
        let (mut client, mut server) = pair().await;
        for byte in [0xC0, 0x00] {
            client.push_raw(&[byte], None);
            client.flush().await.expect("room");
        }
        assert_eq!(server.recv().await, Received::Packet(Packet::PingReq, 2));
        drop(client);
        assert_eq!(server.recv().await, Received::Closed(Closed::Eof));
    }

    #[tokio::test]
    async fn more_than_the_pipe_holds_crosses_while_both_ends_write() {
        let (mut client, mut server) = pair().await;
        for _ in 0..100_000 {
            client.push(&Packet::PingReq, ProtocolVersion::V311);
            server.push(&Packet::PingResp, ProtocolVersion::V311);
        }
        let drain = |mut framed: Framed, wanted: Packet| async move {
            for _ in 0..100_000 {
                assert_eq!(framed.recv().await, Received::Packet(wanted.clone(), 2));
            }
            assert_eq!(framed.pending(), 0);
            framed
        };
        tokio::join!(drain(client, Packet::PingResp), drain(server, Packet::PingReq));
    }

    #[tokio::test]
    async fn the_tap_sees_each_packet_with_its_own_bytes() {
        let (client, mut server) = pair().await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let tap = Tap::new({
            let seen = Arc::clone(&seen);
            move |record| seen.lock().push((record.direction, record.bytes.to_vec()))
        });
        let mut client = client.with_tap(Some(tap));
        client.push(&Packet::PingReq, ProtocolVersion::V311);
        server.push_raw(&[0xD0, 0, 0xD0, 0, 0xD1, 0], None);
        server.flush().await.expect("room");
        assert_eq!(client.recv().await, Received::Packet(Packet::PingResp, 2));
        assert_eq!(client.recv().await, Received::Packet(Packet::PingResp, 2));
        assert!(matches!(client.recv().await, Received::Malformed(_)));
        let (out, of) = (Direction::Out, Direction::In);
        let wanted = [(out, vec![0xC0, 0]), (of, vec![0xD0, 0]), (of, vec![0xD0, 0]), (of, vec![0xD1, 0])];
        assert_eq!(*seen.lock(), wanted);
    }
}
