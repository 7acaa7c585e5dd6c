//! A WebSocket as a byte stream like any other: what is written goes out in binary frames, what
//! comes in binary frames is read. [`handshake`] opens it, [`frames`] knows its frames.
//!
//! Bytes are unmasked where they land and heads are written beside the payload, so an idle
//! connection holds no buffer. That, and frames that are passed on before they are complete, is why
//! this is not a library's message stream.

mod frames;
pub mod handshake;

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use frames::Role;
use frames::{End, Reader, Written};

use super::{Io, Transport};

/// Bytes of the largest frame that is copied before it is written: a client's, which is masked.
const COPIED_FRAME: usize = 64 * 1024;

/// RFC 6455, 7.4.1
const NORMAL_CLOSURE: u16 = 1000;

/// One end of an open WebSocket.
pub struct WebSocket {
    inner: Transport,
    role: Role,
    reader: Reader,
    /// Read behind the handshake, and not yet looked at.
    early: Vec<u8>,
    /// Heads, control frames and a client's frames that are being written.
    out: Written,
    /// Bytes of `out` that are written.
    written: usize,
    /// Payload that the last head announced and that is still to be written.
    announced: usize,
    /// The last ping's payload, to be sent back. Only the last: a flood costs one answer at a time.
    pong: Option<Written>,
    /// A control frame was handed to the transport, which may still hold it.
    unflushed: bool,
    /// How the other end's frames ended.
    end: Option<End>,
    close_sent: bool,
    /// Data goes in text frames.
    text: bool,
}

impl WebSocket {
    /// Over a transport whose handshake is done. `early` came behind the handshake.
    pub fn new(inner: Transport, role: Role, early: Vec<u8>) -> Self {
        Self {
            inner,
            role,
            reader: Reader::new(role),
            early,
            out: Written::new(),
            written: 0,
            announced: 0,
            pong: None,
            unflushed: false,
            end: None,
            close_sent: false,
            text: false,
        }
    }

    /// A client masks what it sends, so that no proxy takes it for something else.
    fn mask(&self) -> io::Result<Option<[u8; 4]>> {
        match self.role {
            Role::Server => Ok(None),
            Role::Client => fresh_mask().map(Some),
        }
    }

    /// Writes `out` to its end.
    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let rest = &self.out[self.written..];
            match ready!(Pin::new(&mut self.inner).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.set_out(Written::new());
        Poll::Ready(Ok(()))
    }

    fn set_out(&mut self, out: Written) {
        self.out = out;
        self.written = 0;
    }

    /// Writes what is under way and then the answer to a ping, which must not stand within a frame.
    fn poll_pong(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.announced > 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_out(context))?;
        if let Some(payload) = self.pong.take() {
            let pong = frames::pong(&payload, self.mask()?);
            self.set_out(pong);
            self.unflushed = true;
            ready!(self.poll_out(context))?;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.inner).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes as they come into `buffer`: the early ones first.
    fn poll_bytes(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        let count = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early[..count]);
        self.early.drain(..count);
        if self.early.is_empty() {
            self.early = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// After both goodbyes: what still comes is read and forgotten, up to the end of the stream, for
    /// to close a socket with bytes unread can destroy our goodbye on its way.
    fn poll_rest(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            buffer.set_filled(before);
        }
    }

    /// One frame for all of `bytes`, its head and its payload in one write.
    fn poll_frame(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let payload = &bytes[..bytes.len().min(self.announced)];
            let head = &self.out[self.written..];
            let slices = [IoSlice::new(head), IoSlice::new(payload)];
            let count = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, &slices))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = count.min(head.len());
            self.written += of_head;
            if self.written == self.out.len() {
                self.set_out(Written::new());
            }
            if count > of_head {
                self.announced -= count - of_head;
                return Poll::Ready(Ok(count - of_head));
            }
        }
    }

    /// A frame that is taken as a whole and written from a copy.
    fn poll_copied(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let payload = &bytes[..bytes.len().min(COPIED_FRAME)];
        let mask = self.mask()?;
        self.set_out(if self.text { frames::text(payload, mask) } else { frames::binary(payload, mask) });
        match self.poll_out(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What is left is written before the next frame, or by a flush.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(payload.len())),
        }
    }
}

impl AsyncRead for WebSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.end.is_some() && this.close_sent {
            return this.poll_rest(context, buffer);
        }
        loop {
            match &this.end {
                Some(End::Closed(_) | End::Cut) => return Poll::Ready(Ok(())),
                Some(End::Broken(fault)) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, *fault)));
                }
                None => {}
            }
            // Who cannot be written to can still be read from: writing will tell.
            let _ = this.poll_pong(context);
            let before = buffer.filled().len();
            if buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_bytes(context, buffer))?;
            let fresh = &mut buffer.filled_mut()[before..];
            if fresh.is_empty() {
                this.end = Some(End::Cut);
                continue;
            }
            let found = this.reader.read(fresh);
            buffer.set_filled(before + found.data);
            this.pong = found.ping.or(this.pong.take());
            this.end = found.end;
            if found.data > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.announced == 0 {
            ready!(this.poll_pong(context))?;
            if this.role == Role::Client || this.text || !this.inner.is_write_vectored() {
                return this.poll_copied(context, bytes);
            }
            // [MQTT-6.0.0-1]
            this.set_out(frames::binary_head(bytes.len()));
            this.announced = bytes.len();
        }
        this.poll_frame(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.announced == 0 {
            ready!(this.poll_pong(context))?;
        }
        Pin::new(&mut this.inner).poll_flush(context)
    }

    /// Says goodbye with a close frame: the other end's status code, or what it did wrong.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Within a frame there is no place for another one.
        if this.announced == 0 {
            ready!(this.poll_out(context))?;
            if !this.close_sent {
                let code = match this.end {
                    Some(End::Closed(Some(code))) => code,
                    Some(End::Broken(fault)) => fault.close_code(),
                    _ => NORMAL_CLOSURE,
                };
                let close = frames::close(code, this.mask()?);
                this.set_out(close);
                this.close_sent = true;
                ready!(this.poll_out(context))?;
            }
            ready!(Pin::new(&mut this.inner).poll_flush(context))?;
        }
        Pin::new(&mut this.inner).poll_shutdown(context)
    }
}

impl Io for WebSocket {
    fn reset_on_drop(&mut self) {
        self.inner.reset_on_drop();
    }

    fn frame_as_text(&mut self, text: bool) {
        self.text = text;
    }
}

fn fresh_mask() -> io::Result<[u8; 4]> {
    let mut mask = [0; 4];
    getrandom::fill(&mut mask).map_err(io::Error::other)?;
    Ok(mask)
}
