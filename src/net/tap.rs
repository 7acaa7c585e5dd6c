//! Sees every packet that crosses a [`Framed`](super::framed::Framed), with its bytes and its time.
//!
//! A callback, not a channel: the owner decides where the records go and how many it keeps. It is
//! called on the connection's task and must not wait.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::mqtt::Packet;
use crate::mqtt::codec::DecodeError;

/// Which way a packet goes, seen from the tapped end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Received.
    In,
    /// Sent: handed to the transport's queue.
    Out,
}

/// What crossed.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// A packet.
    Packet(&'a Packet),
    /// Sent as raw bytes; may be anything.
    Raw,
    /// Received, and not a packet: these bytes and all after them cannot be read.
    Malformed(&'a DecodeError),
}

/// One record.
#[derive(Debug, Clone)]
pub struct Tapped<'a> {
    /// Which way.
    pub direction: Direction,
    /// When, on tokio's clock.
    pub at: Instant,
    /// The bytes of this packet alone.
    pub bytes: Bytes,
    /// What they mean.
    pub content: Content<'a>,
}

/// A callback for [`Tapped`] records; clones share it.
#[derive(Clone)]
pub struct Tap(Arc<dyn Fn(Tapped<'_>) + Send + Sync>);

impl Tap {
    /// Calls `see` with every record.
    pub fn new(see: impl Fn(Tapped<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(see))
    }

    /// Hands over one record, stamped with the present.
    pub fn record(&self, direction: Direction, bytes: Bytes, content: Content<'_>) {
        (self.0)(Tapped { direction, at: Instant::now(), bytes, content });
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}

/// What is seen of a stream below its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossed<'a> {
    /// It is connected.
    Opened,
    /// Bytes, in their order; they begin and end anywhere.
    Bytes(Direction, &'a [u8]),
    /// Nothing more comes, or goes.
    Closed(Direction),
    /// It was reset: from the other end (`In`), or from this one.
    Reset(Direction),
}

/// A callback for what crosses a stream of bytes ([`Overheard`](super::overheard::Overheard)); clones
/// share it. It must not wait.
#[derive(Clone)]
pub struct StreamTap(Arc<dyn Fn(Crossed<'_>) + Send + Sync>);

impl StreamTap {
    /// Calls `see` with all that crosses.
    pub fn new(see: impl Fn(Crossed<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(see))
    }

    /// Hands over what crosses just now.
    pub fn record(&self, crossed: Crossed<'_>) {
        (self.0)(crossed);
    }
}

impl fmt::Debug for StreamTap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamTap")
    }
}
