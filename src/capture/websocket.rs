//! One direction of a WebSocket as it was captured (RFC 6455): the head, then what its data frames hold.
//! Judges nothing; gives up at what it does not understand (compression).

/// Bytes of a head.
const HEAD: usize = 64 * 1024;

/// Takes frames off a stream.
#[derive(Debug, Default)]
pub struct Deframer {
    buffer: Vec<u8>,
    opened: bool,
}

/// What stands before the payload of a frame.
struct Header {
    opcode: u8,
    mask: Option<[u8; 4]>,
    /// Bytes of the header.
    len: usize,
    payload: usize,
}

impl Deframer {
    /// Takes bytes and gives what data frames hold; `None` when it cannot be read any further.
    pub fn take(&mut self, bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
        self.buffer.extend_from_slice(bytes);
        let mut out = Vec::new();
        if !self.opened {
            let Some(end) = self.buffer.windows(4).position(|part| part == b"\r\n\r\n") else {
                return (self.buffer.len() <= HEAD).then_some(out);
            };
            self.buffer.drain(..end + 4);
            self.opened = true;
        }
        let mut done = 0;
        loop {
            let rest = &self.buffer[done..];
            let Some(header) = header(rest)? else { break };
            if header.payload > limit {
                return None;
            }
            let Some(payload) = rest.get(header.len..header.len + header.payload) else { break };
            // Continuation, text, binary; the others are control frames.
            if header.opcode <= 2 {
                let mask = header.mask.unwrap_or_default();
                out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            }
            done += header.len + header.payload;
        }
        self.buffer.drain(..done);
        Some(out)
    }
}

/// `None` for what is not understood, `Some(None)` when bytes are missing.
#[expect(clippy::option_option, reason = "explained above, and used once")]
fn header(bytes: &[u8]) -> Option<Option<Header>> {
    let [first, second, ..] = *bytes else { return Some(None) };
    if first & 0x70 != 0 {
        return None;
    }
    let (extended, payload) = match second & 0x7f {
        126 => {
            (2, bytes.get(2..4).map(|len| len.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))))
        }
        127 => {
            (8, bytes.get(2..10).map(|len| len.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))))
        }
        short => (0, Some(u64::from(short))),
    };
    let Some(payload) = payload else { return Some(None) };
    let payload = usize::try_from(payload).ok()?;
    let masked = second & 0x80 != 0;
    let mask = if masked {
        let Some(mask) = bytes.get(2 + extended..6 + extended) else { return Some(None) };
        Some([mask[0], mask[1], mask[2], mask[3]])
    } else {
        None
    };
    let len = 2 + extended + if masked { 4 } else { 0 };
    Some(Some(Header { opcode: first & 0x0f, mask, len, payload }))
}
