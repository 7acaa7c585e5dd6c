//! A packet as a line of the log. Secrets beyond those of a CONNECT are the recorder's business.

use bytes::Bytes;

use super::HIDDEN;
use crate::mqtt::codec::DecodeError;
use crate::mqtt::{Packet, ProtocolVersion, notation};
use crate::net::tap::Content;
use crate::text;

/// One packet in notation, its credentials hidden; or its bytes, where it is none.
pub fn print(content: &Content<'_>, bytes: &Bytes, version: ProtocolVersion) -> String {
    match content {
        Content::Packet(Packet::Connect(connect)) if connect.password.is_some() => {
            let mut connect = connect.clone();
            connect.password = Some(Bytes::from_static(HIDDEN.as_bytes()));
            let version = connect.version;
            notation::print(&Packet::Connect(connect), version)
        }
        Content::Packet(packet) => notation::print(packet, version),
        Content::Raw => format!("hex {}", text::hex(bytes)),
        Content::Malformed(error) => malformed(error, bytes),
    }
}

fn malformed(error: &DecodeError, bytes: &Bytes) -> String {
    const SHOWN: usize = 64;
    let more = if bytes.len() > SHOWN { " …" } else { "" };
    format!("hex {}{more} ({error})", text::hex(&bytes[..bytes.len().min(SHOWN)]))
}
