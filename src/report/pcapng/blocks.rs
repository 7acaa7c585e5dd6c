//! Blocks of a pcapng file (draft-ietf-opsawg-pcapng), little endian. Knows nothing of what is in packets.

use std::io::{self, Write};
use std::time::Duration;

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const NAMES: u32 = 4;
const PACKET: u32 = 6;
const SECRETS: u32 = 10;

/// Option codes.
const END: u16 = 0;
const COMMENT: u16 = 1;
const USER_APPLICATION: u16 = 4;
const TIME_RESOLUTION: u16 = 9;

/// Ethernet.
const LINK_TYPE: u16 = 1;
/// Time stamps are nanoseconds: ten to the minus ninth.
const NANOSECONDS: u8 = 9;
/// Bytes of one comment.
const COMMENT_LIMIT: usize = 4096;

/// The head of the file.
pub fn section(out: &mut impl Write, program: &str, comments: &[String]) -> io::Result<()> {
    let mut body = Vec::new();
    body.extend(0x1A2B_3C4D_u32.to_le_bytes());
    body.extend(1_u16.to_le_bytes());
    body.extend(0_u16.to_le_bytes());
    // The length of the section is left open.
    body.extend(u64::MAX.to_le_bytes());
    option(&mut body, USER_APPLICATION, program.as_bytes());
    for comment in comments {
        option(&mut body, COMMENT, shortened(comment).as_bytes());
    }
    option(&mut body, END, &[]);
    block(out, SECTION, &body)
}

/// The one interface of the file.
pub fn interface(out: &mut impl Write) -> io::Result<()> {
    let mut body = Vec::new();
    body.extend(LINK_TYPE.to_le_bytes());
    body.extend([0; 2]);
    // No limit of bytes a packet.
    body.extend(0_u32.to_le_bytes());
    option(&mut body, TIME_RESOLUTION, &[NANOSECONDS]);
    option(&mut body, END, &[]);
    block(out, INTERFACE, &body)
}

/// What the addresses are called.
pub fn names<'a>(out: &mut impl Write, hosts: impl Iterator<Item = ([u8; 4], &'a str)>) -> io::Result<()> {
    /// A record for an IPv4 address.
    const IPV4: u16 = 1;
    let mut body = Vec::new();
    for (address, name) in hosts {
        let mut record = address.to_vec();
        // A name ends with a zero byte, so there is none in it.
        record.extend(shortened(name).bytes().filter(|byte| *byte != 0));
        record.push(0);
        option(&mut body, IPV4, &record);
    }
    option(&mut body, END, &[]);
    block(out, NAMES, &body)
}

/// Keys for what follows, as the lines of an `SSLKEYLOGFILE`.
pub fn tls_keys(out: &mut impl Write, lines: &[String]) -> io::Result<()> {
    const TLS_KEY_LOG: u32 = 0x544C_534B;
    let text = lines.join("\n") + "\n";
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    let mut body = Vec::with_capacity(text.len() + 12);
    body.extend(TLS_KEY_LOG.to_le_bytes());
    body.extend(length.to_le_bytes());
    body.extend(text.as_bytes());
    pad(&mut body);
    block(out, SECRETS, &body)
}

/// One frame, so long after 1970.
pub fn packet(out: &mut impl Write, at: Duration, frame: &[u8], comments: &[String]) -> io::Result<()> {
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).to_be_bytes();
    let [h0, h1, h2, h3, l0, l1, l2, l3] = nanos;
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    let mut body = Vec::with_capacity(frame.len() + 64);
    body.extend(0_u32.to_le_bytes());
    body.extend([h3, h2, h1, h0, l3, l2, l1, l0]);
    body.extend(length.to_le_bytes());
    body.extend(length.to_le_bytes());
    body.extend(frame);
    pad(&mut body);
    for comment in comments {
        option(&mut body, COMMENT, shortened(comment).as_bytes());
    }
    if !comments.is_empty() {
        option(&mut body, END, &[]);
    }
    block(out, PACKET, &body)
}

/// An option, or a record of names, which has the same form.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    // Whatever comes here was shortened before.
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(code.to_le_bytes());
    body.extend(length.to_le_bytes());
    body.extend(&value[..usize::from(length)]);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len() + 12).map_err(io::Error::other)?.to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length)?;
    out.write_all(body)?;
    out.write_all(&length)
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(COMMENT_LIMIT)]
}
