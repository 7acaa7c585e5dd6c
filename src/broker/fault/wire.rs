//! What a fault sees of one connection and what it can do about it: frames both ways, the ends of both
//! streams, and the means to send, to drop and to answer.
//!
//! Pure. Says nothing about what is wrong to do; the folder's other files do.

use bytes::{Bytes, BytesMut};

use super::shared::Shared;
use crate::mqtt::codec::{DecodeError, Decoder, Limits, encode};
use crate::mqtt::packet::{Connect, PacketType, Publish};
use crate::mqtt::{Packet, ProtocolVersion};

/// Which way something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the broker.
    Up,
    /// From the broker to the client.
    Down,
}

/// What comes by.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A packet, or bytes that are none.
    Frame(Way, Frame),
    /// What was there is dealt with; more may come or not. The moment to let go what was held back.
    Pause(Way),
    /// The stream ended this way: nothing more comes.
    End(Way),
}

/// One packet on the wire.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its bytes.
    pub bytes: Bytes,
    /// What they are.
    pub content: Content,
}

/// What a frame is.
#[derive(Debug, Clone)]
pub enum Content {
    /// A packet.
    Packet(Packet),
    /// As long as its header says, and no packet.
    Malformed(DecodeError),
    /// A part of a packet that is too long to be held, or that was never finished.
    Piece,
}

impl Frame {
    /// What a peer that speaks `version` takes the bytes for; `None`: it waits for a CONNECT.
    pub fn read(bytes: Bytes, version: Option<ProtocolVersion>) -> Self {
        let mut decoder = match version {
            Some(version) => Decoder::client(version, Limits::default()),
            None => Decoder::server(Limits::default()),
        };
        let content = match decoder.decode(&mut BytesMut::from(&bytes[..])) {
            Ok(Some((packet, _))) => Content::Packet(packet),
            Ok(None) => Content::Piece,
            Err(error) => Content::Malformed(error),
        };
        Self { bytes, content }
    }

    /// Bytes that are looked at no further.
    pub fn piece(bytes: Bytes) -> Self {
        Self { bytes, content: Content::Piece }
    }

    fn of(packet: Packet, version: ProtocolVersion) -> Self {
        let mut bytes = BytesMut::new();
        encode(&packet, version, &mut bytes);
        Self { bytes: bytes.freeze(), content: Content::Packet(packet) }
    }

    /// The type in its first byte.
    pub fn kind(&self) -> Option<PacketType> {
        self.bytes.first().and_then(|first| PacketType::from_u8(first >> 4))
    }

    /// The packet, if it is one.
    pub fn packet(&self) -> Option<&Packet> {
        match &self.content {
            Content::Packet(packet) => Some(packet),
            Content::Malformed(_) | Content::Piece => None,
        }
    }

    /// What is wrong with it.
    pub fn error(&self) -> Option<&DecodeError> {
        match &self.content {
            Content::Malformed(error) => Some(error),
            Content::Packet(_) | Content::Piece => None,
        }
    }

    /// What stands behind the fixed header.
    pub fn body(&self) -> &[u8] {
        let length = self.bytes.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0);
        length.and_then(|at| self.bytes.get(at + 2..)).unwrap_or_default()
    }
}

/// What is known of a connection.
#[derive(Debug, Default)]
pub struct Line {
    /// Its revision, as far as its CONNECT said it.
    pub version: Option<ProtocolVersion>,
    /// Its first CONNECT, as the client sent it.
    pub connect: Option<Box<Connect>>,
    /// What the faults of all connections of this broker know together.
    pub shared: Shared,
}

impl Line {
    /// The revision that packets are written in.
    pub fn version(&self) -> ProtocolVersion {
        self.version.unwrap_or_default()
    }

    /// Whether it is 5.0.
    pub fn is_v5(&self) -> bool {
        self.version().is_v5()
    }

    /// The identifier that the client gave itself.
    pub fn client_id(&self) -> &str {
        self.connect.as_ref().map_or("", |connect| &connect.client_id)
    }
}

/// The connection at the place of one fault. What is given to it goes on to the next.
#[derive(Debug)]
pub struct Wire<'w> {
    /// What is known of it.
    pub line: &'w Line,
    out: &'w mut Vec<Seen>,
}

impl<'w> Wire<'w> {
    pub(super) fn new(line: &'w Line, out: &'w mut Vec<Seen>) -> Self {
        Self { line, out }
    }

    /// Lets it go on.
    pub fn pass(&mut self, seen: Seen) {
        self.out.push(seen);
    }

    /// Sends a packet.
    pub fn send(&mut self, way: Way, packet: Packet) {
        let frame = Frame::of(packet, self.line.version());
        self.out.push(Seen::Frame(way, frame));
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, way: Way, bytes: impl Into<Bytes>) {
        let frame = Frame::read(bytes.into(), self.line.version);
        self.out.push(Seen::Frame(way, frame));
    }

    /// Ends the stream this way.
    pub fn end(&mut self, way: Way) {
        self.out.push(Seen::End(way));
    }

    /// Ends both.
    pub fn cut(&mut self) {
        self.end(Way::Down);
        self.end(Way::Up);
    }
}

/// A fault at work on one connection: gets all that comes by, and passes on what it likes.
pub type Rewriter = Box<dyn FnMut(&mut Wire<'_>, Seen) + Send>;

/// What becomes of a packet that was looked at, and perhaps altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It goes on.
    Pass,
    /// It goes nowhere.
    Drop,
    /// It goes on twice.
    Twice,
}

/// Looks at the packets of one way. One that `edit` leaves as it is keeps its bytes.
pub fn packets(of: Way, mut edit: impl FnMut(&mut Packet, &Line) -> Deed + Send + 'static) -> Rewriter {
    Box::new(move |wire, seen| {
        let (way, frame) = match seen {
            Seen::Frame(way, frame) if way == of => (way, frame),
            other => return wire.pass(other),
        };
        let Some(packet) = frame.packet() else { return wire.pass(Seen::Frame(way, frame)) };
        let mut edited = packet.clone();
        let deed = edit(&mut edited, wire.line);
        let frame = if edited == *packet { frame } else { Frame::of(edited, wire.line.version()) };
        match deed {
            Deed::Pass => wire.pass(Seen::Frame(way, frame)),
            Deed::Drop => {}
            Deed::Twice => {
                wire.pass(Seen::Frame(way, frame.clone()));
                wire.pass(Seen::Frame(way, frame));
            }
        }
    })
}

/// Packets of the broker.
pub fn down(edit: impl FnMut(&mut Packet, &Line) -> Deed + Send + 'static) -> Rewriter {
    packets(Way::Down, edit)
}

/// Packets of the client.
pub fn up(edit: impl FnMut(&mut Packet, &Line) -> Deed + Send + 'static) -> Rewriter {
    packets(Way::Up, edit)
}

/// Messages to the client.
pub fn messages(mut edit: impl FnMut(&mut Publish, &Line) -> Deed + Send + 'static) -> Rewriter {
    down(move |packet, line| match packet {
        Packet::Publish(publish) => edit(publish, line),
        _ => Deed::Pass,
    })
}

/// Messages of the client.
pub fn publications(mut edit: impl FnMut(&mut Publish, &Line) -> Deed + Send + 'static) -> Rewriter {
    up(move |packet, line| match packet {
        Packet::Publish(publish) => edit(publish, line),
        _ => Deed::Pass,
    })
}

/// Packets of both.
pub fn both(mut edit: impl FnMut(&mut Packet, Way, &Line) + Send + 'static) -> Rewriter {
    Box::new(move |wire, seen| {
        if let Seen::Frame(way, frame) = &seen
            && let Some(packet) = frame.packet()
        {
            let mut edited = packet.clone();
            edit(&mut edited, *way, wire.line);
            if edited != *packet {
                return wire.send(*way, edited);
            }
        }
        wire.pass(seen);
    })
}

/// The client's CONNECT.
pub fn connects(mut edit: impl FnMut(&mut Connect, &Line) + Send + 'static) -> Rewriter {
    up(move |packet, line| {
        if let Packet::Connect(connect) = packet {
            edit(connect, line);
        }
        Deed::Pass
    })
}

/// Packets one way, each with the means to do something else: what `handle` does not take (false) goes on.
pub fn handling(
    of: Way,
    mut handle: impl FnMut(&mut Wire<'_>, &Packet) -> bool + Send + 'static,
) -> Rewriter {
    Box::new(move |wire, seen| {
        if let Seen::Frame(way, frame) = &seen
            && *way == of
            && let Some(packet) = frame.packet()
            && handle(wire, packet)
        {
            return;
        }
        wire.pass(seen);
    })
}

/// Packets both ways, as [`handling`].
pub fn minding(mut handle: impl FnMut(&mut Wire<'_>, Way, &Packet) -> bool + Send + 'static) -> Rewriter {
    Box::new(move |wire, seen| {
        if let Seen::Frame(way, frame) = &seen
            && let Some(packet) = frame.packet()
            && handle(wire, *way, packet)
        {
            return;
        }
        wire.pass(seen);
    })
}
