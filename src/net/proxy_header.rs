//! The header that a proxy puts before a client's bytes to say where the client is: versions 1
//! and 2 of the PROXY protocol (haproxy.org, proxy-protocol.txt).
//!
//! Pure: it says how many bytes it still wants, so that not one of the client's is read with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;

/// Bytes of the shortest: `PROXY UNKNOWN`.
const SHORTEST_LINE: usize = 15;

/// Bytes in front of the addresses of version 2.
const FIXED: usize = 16;

/// Bytes of the longest header of version 2 behind the first 16. The protocol allows 65,535, which
/// nobody needs: with a certificate's fields it is a few hundred.
const LONGEST_REST: usize = 4096;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What a header of version 2 says about the client's TLS.
const TYPE_SSL: u8 = 0x20;

/// Bit of the `client` field: the client came over TLS.
const CLIENT_SSL: u8 = 0x01;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client's address. `None`: the proxy speaks for itself (a health check), or the client
    /// has none that can be told; then the connection's own counts.
    pub source: Option<SocketAddr>,
    /// The client's connection to the proxy was TLS.
    pub tls: bool,
}

/// Why it is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("corrupt PROXY header")]
pub struct ProxyHeaderError;

/// Which version must come. One is not taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How many bytes at least are still to be read behind these; 0 when the header is complete.
pub fn wanted(version: Version, bytes: &[u8]) -> Result<usize, ProxyHeaderError> {
    match version {
        Version::V1 => {
            let start = bytes.len().min(6);
            if bytes[..start] != b"PROXY "[..start] {
                return Err(ProxyHeaderError);
            }
            match bytes.len() {
                short if short < SHORTEST_LINE => Ok(SHORTEST_LINE - short),
                _ if bytes.ends_with(b"\r\n") => Ok(0),
                long if long >= LONGEST_LINE => Err(ProxyHeaderError),
                _ => Ok(1),
            }
        }
        Version::V2 => {
            let start = bytes.len().min(SIGNATURE.len());
            if bytes[..start] != SIGNATURE[..start] {
                return Err(ProxyHeaderError);
            }
            if bytes.len() < FIXED {
                return Ok(FIXED - bytes.len());
            }
            let rest = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
            if rest > LONGEST_REST {
                return Err(ProxyHeaderError);
            }
            Ok((FIXED + rest).saturating_sub(bytes.len()))
        }
    }
}

/// Reads a header that [`wanted`] calls complete.
pub fn parse(version: Version, bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    match version {
        Version::V1 => parse_line(bytes),
        Version::V2 => parse_binary(bytes),
    }
}

fn parse_line(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ProxyHeaderError)?;
    let line = text.strip_suffix("\r\n").ok_or(ProxyHeaderError)?;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match words[..] {
        // Whatever follows is not looked at.
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, port, to_port] => {
            let ip = |text: &str| -> Result<IpAddr, ProxyHeaderError> {
                let ip: IpAddr = text.parse().map_err(|_| ProxyHeaderError)?;
                if ip.is_ipv4() == (family == "TCP4") { Ok(ip) } else { Err(ProxyHeaderError) }
            };
            ip(destination)?;
            port_number(to_port)?;
            Some(SocketAddr::new(ip(source)?, port_number(port)?))
        }
        _ => return Err(ProxyHeaderError),
    };
    Ok(ProxyHeader { source, tls: false })
}

/// Decimal, without sign or leading zeros.
fn port_number(text: &str) -> Result<u16, ProxyHeaderError> {
    let plain = text == "0" || text.starts_with(|first: char| ('1'..='9').contains(&first));
    if plain { text.parse().map_err(|_| ProxyHeaderError) } else { Err(ProxyHeaderError) }
}

fn parse_binary(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let (fixed, rest) = bytes.split_at_checked(FIXED).ok_or(ProxyHeaderError)?;
    let local = match fixed[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyHeaderError),
    };
    let (source, fields) = match fixed[13] {
        0x11 => {
            let (addresses, fields) = rest.split_first_chunk::<12>().ok_or(ProxyHeaderError)?;
            let [a, b, c, d, ..] = *addresses;
            let port = u16::from_be_bytes([addresses[8], addresses[9]]);
            (Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port)), fields)
        }
        0x21 => {
            let (addresses, fields) = rest.split_first_chunk::<36>().ok_or(ProxyHeaderError)?;
            let ip: [u8; 16] = *addresses.first_chunk().ok_or(ProxyHeaderError)?;
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            (Some(SocketAddr::new(Ipv6Addr::from(ip).into(), port)), fields)
        }
        0x31 => (None, rest.split_first_chunk::<216>().ok_or(ProxyHeaderError)?.1),
        // Unspecified: who sends it skips what it does not know, and so do we.
        0x00 => return Ok(ProxyHeader { source: None, tls: false }),
        // Datagrams do not come over a stream; a proxy that speaks for itself may say anything.
        _ if local => return Ok(ProxyHeader { source: None, tls: false }),
        _ => return Err(ProxyHeaderError),
    };
    let tls = says_tls(fields)?;
    Ok(if local { ProxyHeader { source: None, tls: false } } else { ProxyHeader { source, tls } })
}

/// Walks the fields behind the addresses: a type, a length of two bytes, a value.
fn says_tls(mut fields: &[u8]) -> Result<bool, ProxyHeaderError> {
    let mut tls = false;
    while !fields.is_empty() {
        let (kind, value, rest) = field(fields)?;
        if kind == TYPE_SSL {
            // Client bits, the verification's outcome of four bytes, and fields within.
            let (head, mut within) = value.split_first_chunk::<5>().ok_or(ProxyHeaderError)?;
            tls |= head[0] & CLIENT_SSL != 0;
            while !within.is_empty() {
                within = field(within)?.2;
            }
        }
        fields = rest;
    }
    Ok(tls)
}

fn field(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), ProxyHeaderError> {
    let (head, rest) = bytes.split_first_chunk::<3>().ok_or(ProxyHeaderError)?;
    let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
    let (value, rest) = rest.split_at_checked(length).ok_or(ProxyHeaderError)?;
    Ok((head[0], value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the server reads: what is wanted and no more.
    fn read(version: Version, stream: &[u8]) -> Result<(ProxyHeader, usize), Option<ProxyHeaderError>> {
        let mut count = 0;
        loop {
            match wanted(version, &stream[..count]).map_err(Some)? {
                0 => return parse(version, &stream[..count]).map(|header| (header, count)).map_err(Some),
                more if count + more > stream.len() => return Err(None),
                more => count += more,
            }
        }
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    const IPV4: [u8; 12] = [10, 0, 0, 7, 127, 0, 0, 1, 0x1F, 0x90, 0x07, 0x5B];

    #[test]
    fn lines_say_where_the_client_is_and_no_byte_behind_them_is_wanted() {
        let cases = [
            ("PROXY TCP4 10.0.0.7 127.0.0.1 8080 1883\r\n", Some("10.0.0.7:8080")),
            ("PROXY TCP6 2001:db8::7 ::1 8080 1883\r\n", Some("[2001:db8::7]:8080")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n", None),
        ];
        for (line, source) in cases {
            let stream = format!("{line}\u{10}\r\n");
            let (header, count) = read(Version::V1, stream.as_bytes()).expect(line);
            assert_eq!(header.source.map(|source| source.to_string()).as_deref(), source);
            assert_eq!((header.tls, count), (false, line.len()), "{line}");
            for short in 0..line.len() {
                assert_eq!(read(Version::V1, &line.as_bytes()[..short]), Err(None), "{line} cut at {short}");
            }
        }
    }

    #[test]
    fn other_lines_are_refused() {
        let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
        let wrong = [
            "GET / HTTP/1.1\r\n",
            "\u{10}\u{f}\0\u{4}MQTT\u{4}\u{2}\0\0\0\u{3}raw",
            "PROXY TCP4 10.0.0.7 127.0.0.1 8080\r\n",
            "PROXY TCP4 10.0.0.7 127.0.0.1 8080 1883 x\r\n",
            "PROXY TCP4 2001:db8::7 ::1 8080 1883\r\n",
            "PROXY TCP6 10.0.0.7 127.0.0.1 8080 1883\r\n",
            "PROXY TCP4 10.0.0.7 127.0.0.1 65536 1883\r\n",
            "PROXY TCP4 10.0.0.7 127.0.0.1 +80 1883\r\n",
            "PROXY TCP4 10.0.0.7 127.0.0.1 8080 01883\r\n",
            "PROXY UDP4 10.0.0.7 127.0.0.1 8080 1883\r\n",
            &long,
        ];
        for line in wrong {
            assert_eq!(read(Version::V1, line.as_bytes()), Err(Some(ProxyHeaderError)), "{line}");
        }
        let v2 = binary(0x21, 0x11, &IPV4);
        assert_eq!(read(Version::V1, &v2), Err(Some(ProxyHeaderError)));
        assert_eq!(read(Version::V2, b"PROXY UNKNOWN\r\n  "), Err(Some(ProxyHeaderError)));
    }

    #[test]
    fn binary_headers_say_where_the_client_is_and_whether_it_came_over_tls() {
        let ssl = [&[TYPE_SSL, 0, 12, CLIENT_SSL, 0, 0, 0, 0, 0x21, 0, 4][..], b"TLS1"].concat();
        let no_op = [0x04, 0, 2, 0, 0];
        let v6 = [[0x20; 16].as_slice(), &[0; 16], &[0x1F, 0x90, 0x07, 0x5B]].concat();
        let cases = [
            (binary(0x21, 0x11, &IPV4), Some("10.0.0.7:8080"), false),
            (binary(0x21, 0x11, &[&IPV4[..], &no_op, &ssl].concat()), Some("10.0.0.7:8080"), true),
            (binary(0x21, 0x21, &v6), Some("[2020:2020:2020:2020:2020:2020:2020:2020]:8080"), false),
            (binary(0x21, 0x31, &[&[0; 216][..], &ssl].concat()), None, true),
            // LOCAL: what it says about a client is nobody's.
            (binary(0x20, 0x11, &[&IPV4[..], &ssl].concat()), None, false),
            (binary(0x20, 0x00, b""), None, false),
            (binary(0x21, 0x00, b"whatever"), None, false),
        ];
        for (bytes, source, tls) in cases {
            let stream = [&bytes[..], b"\x10"].concat();
            let (header, count) = read(Version::V2, &stream).expect("a header");
            assert_eq!(header.source.map(|source| source.to_string()).as_deref(), source);
            assert_eq!((header.tls, count), (tls, bytes.len()), "{bytes:02x?}");
            for short in 0..bytes.len() {
                assert_eq!(read(Version::V2, &bytes[..short]), Err(None), "cut at {short}");
            }
        }
    }

    /// Mosquitto read beyond the end of such a header (#3435).
    #[test]
    fn proxy_v2_tlv() {
        let fields: [&[u8]; 7] = [
            &[0x04],
            &[0x04, 0],
            &[0x04, 0, 1],
            &[0x04, 0xFF, 0xFF, 0],
            &[TYPE_SSL, 0, 4, 1, 0, 0, 0],
            &[TYPE_SSL, 0, 6, 1, 0, 0, 0, 0, 0x21],
            &[TYPE_SSL, 0, 8, 1, 0, 0, 0, 0, 0x21, 0, 9],
        ];
        for fields in fields {
            let bytes = binary(0x21, 0x11, &[&IPV4[..], fields].concat());
            assert_eq!(read(Version::V2, &bytes), Err(Some(ProxyHeaderError)), "{fields:02x?}");
        }
    }

    #[test]
    fn other_binary_headers_are_refused() {
        let mut oversize = binary(0x21, 0x11, &IPV4);
        oversize[14..16].copy_from_slice(&[0xFF, 0xFF]);
        let wrong = [
            oversize,
            binary(0x11, 0x11, &IPV4),
            binary(0x22, 0x11, &IPV4),
            binary(0x21, 0x12, &IPV4),
            binary(0x21, 0x11, &IPV4[..11]),
            binary(0x21, 0x21, &IPV4),
            binary(0x21, 0x31, &IPV4),
        ];
        for bytes in wrong {
            assert_eq!(read(Version::V2, &bytes), Err(Some(ProxyHeaderError)), "{bytes:02x?}");
        }
    }
}
