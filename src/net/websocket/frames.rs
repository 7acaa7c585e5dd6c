//! Frames of RFC 6455: reading them as a state machine that is handed bytes, and heads to write.
//!
//! Pure. A data frame is passed on as it comes in and never collected, so a frame of any announced
//! length costs nothing: what it may hold is for the MQTT decoder to limit.

use smallvec::SmallVec;

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends masked frames and takes unmasked ones.
    Client,
    /// The other way about.
    Server,
}

/// Bytes of the longest head: two, a length of eight, a mask of four.
const LONGEST_HEAD: usize = 14;

/// Bytes of the longest payload of a control frame (RFC 6455, 5.5).
const LONGEST_CONTROL: usize = 125;

/// In the place of a length: it follows in two bytes.
const LENGTH_OF_TWO: u8 = 0x7E;
/// In the place of a length: it follows in eight bytes.
const LENGTH_OF_EIGHT: u8 = 0x7F;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// A head, with the payload behind it where that is short.
pub type Written = SmallVec<[u8; 16]>;

/// What the other end did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// MQTT travels in binary frames.
    #[error("a text frame, where MQTT needs binary ones")]
    Text,
    /// A client that does not mask.
    #[error("a frame of a client without a mask")]
    Unmasked,
    /// A server that masks.
    #[error("a masked frame of a server")]
    Masked,
    /// A bit that belongs to an extension, and none was agreed on.
    #[error("a frame with a reserved bit set")]
    ReservedBit,
    /// A kind of frame that there is not.
    #[error("a frame of the unknown kind {0:#x}")]
    UnknownKind(u8),
    /// A control frame in parts, or too long.
    #[error("a control frame that is fragmented or longer than 125 bytes")]
    Control,
    /// A continuation of nothing.
    #[error("a continuation frame without a beginning")]
    Continuation,
    /// A new message within a fragmented one.
    #[error("a new message before the end of the fragmented one")]
    Interleaved,
    /// A length whose highest bit is set.
    #[error("a frame of impossible length")]
    Length,
    /// A status code that must not be sent, or half a one.
    #[error("a close frame with an invalid status code")]
    CloseCode,
}

impl Fault {
    /// The status code that the connection is closed with (RFC 6455, 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::Text => 1003,
            _ => 1002,
        }
    }
}

/// How the other end's stream of frames ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A close frame, with its status code if it has one.
    Closed(Option<u16>),
    /// Without one; a [`Reader`] does not see that.
    Cut,
    /// Frames that cannot be read on.
    Broken(Fault),
}

/// What [`Reader::read`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Bytes of data, which now stand at the beginning of what was handed in.
    pub data: usize,
    /// Payload of the last ping; only that one need be answered (RFC 6455, 5.5.3).
    pub ping: Option<Written>,
    /// Nothing is read after this.
    pub end: Option<End>,
}

/// Reads frames.
#[derive(Debug)]
pub struct Reader {
    role: Role,
    head: [u8; LONGEST_HEAD],
    /// Bytes of `head` that are there.
    known: u8,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// A data message was begun and not ended.
    fragmented: bool,
    /// Payload so far of a control frame.
    control: Written,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: u8,
    last: bool,
    mask: Option<[u8; 4]>,
    /// Bytes still to come.
    left: u64,
}

impl Reader {
    /// At the beginning of a connection, for this end of it.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            head: [0; LONGEST_HEAD],
            known: 0,
            frame: None,
            fragmented: false,
            control: Written::new(),
        }
    }

    /// Reads what came. Data is unmasked and moved to the front of `bytes`. Frame borders mean
    /// nothing: a frame may hold a part of a packet or many. `[MQTT-6.0.0-2]`
    pub fn read(&mut self, bytes: &mut [u8]) -> Found {
        let mut found = Found::default();
        let mut at = 0;
        loop {
            match &mut self.frame {
                None if at == bytes.len() => return found,
                None => {
                    self.head[usize::from(self.known)] = bytes[at];
                    self.known += 1;
                    at += 1;
                    match self.begin() {
                        Ok(begun) => self.frame = begun,
                        Err(fault) => {
                            found.end = Some(End::Broken(fault));
                            return found;
                        }
                    }
                }
                Some(frame) if frame.left > 0 => {
                    if at == bytes.len() {
                        return found;
                    }
                    let left = usize::try_from(frame.left).unwrap_or(usize::MAX);
                    let count = left.min(bytes.len() - at);
                    frame.unmask(&mut bytes[at..at + count]);
                    frame.left -= count as u64;
                    if is_control(frame.kind) {
                        self.control.extend_from_slice(&bytes[at..at + count]);
                    } else {
                        bytes.copy_within(at..at + count, found.data);
                        found.data += count;
                    }
                    at += count;
                }
                Some(frame) => {
                    let frame = *frame;
                    self.frame = None;
                    self.finish(frame, &mut found);
                    if found.end.is_some() {
                        return found;
                    }
                }
            }
        }
    }

    /// The frame that the head announces, once the head is complete. Each rule is looked at as
    /// soon as its bytes are there.
    fn begin(&mut self) -> Result<Option<Frame>, Fault> {
        let known = usize::from(self.known);
        let kind = self.head[0] & 0x0F;
        let last = self.head[0] & 0x80 != 0;
        if known == 1 {
            self.check_kind(kind, last)?;
            return Ok(None);
        }
        let (masked, short) = (self.head[1] & 0x80 != 0, self.head[1] & 0x7F);
        if known == 2 {
            match (self.role, masked) {
                (Role::Server, false) => return Err(Fault::Unmasked),
                (Role::Client, true) => return Err(Fault::Masked),
                _ => {}
            }
            if is_control(kind) && usize::from(short) > LONGEST_CONTROL {
                return Err(Fault::Control);
            }
        }
        let length_bytes = match short {
            LENGTH_OF_TWO => 2,
            LENGTH_OF_EIGHT => 8,
            _ => 0,
        };
        let mask_at = 2 + length_bytes;
        let needed = mask_at + if masked { 4 } else { 0 };
        if known < needed {
            return Ok(None);
        }
        let left = match length_bytes {
            0 => u64::from(short),
            _ => self.head[2..mask_at].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        if left >> 63 != 0 {
            return Err(Fault::Length);
        }
        let mask = masked.then(|| [0, 1, 2, 3].map(|n| self.head[mask_at + n]));
        self.known = 0;
        Ok(Some(Frame { kind, last, mask, left }))
    }

    fn check_kind(&self, kind: u8, last: bool) -> Result<(), Fault> {
        if self.head[0] & 0x70 != 0 {
            return Err(Fault::ReservedBit);
        }
        match kind {
            // [MQTT-6.0.0-1]: any other data frame ends the connection.
            TEXT => Err(Fault::Text),
            CONTINUATION if !self.fragmented => Err(Fault::Continuation),
            BINARY if self.fragmented => Err(Fault::Interleaved),
            CLOSE | PING | PONG if !last => Err(Fault::Control),
            CONTINUATION | BINARY | CLOSE | PING | PONG => Ok(()),
            unknown => Err(Fault::UnknownKind(unknown)),
        }
    }

    fn finish(&mut self, frame: Frame, found: &mut Found) {
        let payload = std::mem::take(&mut self.control);
        match frame.kind {
            PING => found.ping = Some(payload),
            PONG => {}
            CLOSE => {
                found.end = Some(match close_code(&payload) {
                    Ok(code) => End::Closed(code),
                    Err(fault) => End::Broken(fault),
                });
            }
            _ => self.fragmented = !frame.last,
        }
    }
}

impl Frame {
    fn unmask(&mut self, bytes: &mut [u8]) {
        if let Some(mask) = &mut self.mask {
            apply_mask(bytes, *mask);
            mask.rotate_left(bytes.len() % 4);
        }
    }
}

fn is_control(kind: u8) -> bool {
    kind & 0x8 != 0
}

/// The status code of a close frame, which may be left out (RFC 6455, 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Fault> {
    match payload {
        [] => Ok(None),
        [_] => Err(Fault::CloseCode),
        [high, low, ..] => match u16::from_be_bytes([*high, *low]) {
            code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(Some(code)),
            _ => Err(Fault::CloseCode),
        },
    }
}

/// Masks, or takes the mask off.
fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    let mut chunks = bytes.chunks_exact_mut(4);
    for chunk in &mut chunks {
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// The head of a binary frame with a payload of this length, which follows unmasked: a server's.
pub fn binary_head(length: usize) -> Written {
    head(BINARY, length, None)
}

/// A whole binary frame.
pub fn binary(payload: &[u8], mask: Option<[u8; 4]>) -> Written {
    whole(BINARY, payload, mask)
}

/// A whole text frame, which MQTT has no use for.
pub fn text(payload: &[u8], mask: Option<[u8; 4]>) -> Written {
    whole(TEXT, payload, mask)
}

/// The answer to a ping.
pub fn pong(payload: &[u8], mask: Option<[u8; 4]>) -> Written {
    whole(PONG, payload, mask)
}

/// A close frame.
pub fn close(code: u16, mask: Option<[u8; 4]>) -> Written {
    whole(CLOSE, &code.to_be_bytes(), mask)
}

fn whole(kind: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Written {
    let mut frame = head(kind, payload.len(), mask);
    let start = frame.len();
    frame.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut frame[start..], mask);
    }
    frame
}

fn head(kind: u8, length: usize, mask: Option<[u8; 4]>) -> Written {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut head = Written::new();
    head.push(0x80 | kind);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => head.push(bit | short),
        (_, Ok(middle)) => {
            head.push(bit | LENGTH_OF_TWO);
            head.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            head.push(bit | LENGTH_OF_EIGHT);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    head.extend(mask.into_iter().flatten());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

    /// What a server makes of these bytes, however they are cut.
    fn read_in_pieces(bytes: &[u8], size: usize) -> (Vec<u8>, Vec<Vec<u8>>, Option<End>) {
        let mut reader = Reader::new(Role::Server);
        let (mut data, mut pings) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(size) {
            let mut piece = piece.to_vec();
            let found = reader.read(&mut piece);
            data.extend_from_slice(&piece[..found.data]);
            pings.extend(found.ping.map(|ping| ping.to_vec()));
            if found.end.is_some() {
                return (data, pings, found.end);
            }
        }
        (data, pings, None)
    }

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = whole(BINARY, payload, Some(MASK));
        frame[0] = first;
        frame.to_vec()
    }

    #[test]
    fn data_comes_through_whatever_the_frames_and_the_reads_are() {
        let long: Vec<u8> = (0..70_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let frames = [
            masked(0x82, b""),
            masked(0x02, b"one"),
            masked(0x89, b"are you there?"),
            masked(0x00, b""),
            masked(0x80, b"two"),
            masked(0x82, &long[..200]),
            masked(0x8A, b"unasked"),
            masked(0x82, &long),
            masked(0x88, &[0x03, 0xE8]),
            masked(0x82, b"after the end"),
        ];
        let bytes = frames.concat();
        let wanted = [b"onetwo", &long[..200], &long].concat();
        for size in [1, 2, 3, 7, 64, 4096, bytes.len()] {
            let (data, pings, end) = read_in_pieces(&bytes, size);
            assert!(data == wanted, "in pieces of {size}");
            assert_eq!(pings, [b"are you there?"], "in pieces of {size}");
            assert_eq!(end, Some(End::Closed(Some(1000))));
        }
    }

    #[test]
    fn each_fault_is_seen_at_its_first_byte() {
        let cases: [(&[u8], Fault, u16); 13] = [
            (&[0x81], Fault::Text, 1003),
            (&[0x01], Fault::Text, 1003),
            (&[0x82, 0x01], Fault::Unmasked, 1002),
            (&[0xC2], Fault::ReservedBit, 1002),
            (&[0x83], Fault::UnknownKind(3), 1002),
            (&[0x8B], Fault::UnknownKind(11), 1002),
            (&[0x80], Fault::Continuation, 1002),
            (&[0x09], Fault::Control, 1002),
            (&[0x89, 0xFE], Fault::Control, 1002),
            (&[0x02, 0x80, 0, 0, 0, 0, 0x82], Fault::Interleaved, 1002),
            (&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Fault::Length, 1002),
            (&[0x88, 0x81, 0, 0, 0, 0, 3], Fault::CloseCode, 1002),
            (&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xED], Fault::CloseCode, 1002),
        ];
        for (bytes, fault, code) in cases {
            let (data, _, end) = read_in_pieces(bytes, bytes.len());
            assert_eq!((data.len(), end), (0, Some(End::Broken(fault))), "{bytes:02x?}");
            assert_eq!(fault.close_code(), code);
            let (_, _, before) = read_in_pieces(&bytes[..bytes.len() - 1], 1);
            assert_eq!(before, None, "{bytes:02x?}");
        }
        let mut client = Reader::new(Role::Client);
        assert_eq!(client.read(&mut [0x82, 0x81]).end, Some(End::Broken(Fault::Masked)));
    }

    #[test]
    fn a_frame_of_any_announced_length_is_passed_on_as_it_comes() {
        let mut reader = Reader::new(Role::Server);
        let mut bytes = [0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, b'x', b'y'];
        let found = reader.read(&mut bytes);
        assert_eq!((found.data, found.end, &bytes[..2]), (2, None, &b"xy"[..]));
    }

    #[test]
    fn heads_have_the_shortest_form() {
        assert_eq!(&binary_head(0)[..], [0x82, 0]);
        assert_eq!(&binary_head(125)[..], [0x82, 125]);
        assert_eq!(&binary_head(126)[..], [0x82, 126, 0, 126]);
        assert_eq!(&binary_head(65_535)[..], [0x82, 126, 0xFF, 0xFF]);
        assert_eq!(&binary_head(65_536)[..], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(&close(1003, None)[..], [0x88, 2, 0x03, 0xEB]);
        assert_eq!(&pong(b"x", Some([1, 0, 0, 0]))[..], [0x8A, 0x81, 1, 0, 0, 0, b'x' ^ 1]);
    }
}
