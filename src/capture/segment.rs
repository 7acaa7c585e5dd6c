//! From a frame to the TCP segment in it: Ethernet with VLAN tags, Linux's cooked forms, loopback, bare IP.

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_parser::Linktype;

use super::file::Frame;

/// A TCP segment.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    /// The frame that it came in.
    pub frame: u64,
    /// Seconds.
    pub at: f64,
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// Number of its first byte.
    pub seq: u32,
    /// The next byte that its sender expects.
    pub ack: Option<u32>,
    /// It begins a connection.
    pub syn: bool,
    /// Nothing comes after it.
    pub fin: bool,
    /// It ends the connection.
    pub rst: bool,
    /// The bytes.
    pub payload: &'a [u8],
}

/// Why a frame gives no segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skipped {
    /// It holds something else than TCP.
    NotTcp,
    /// Not all of it was kept (a snapshot length).
    Cut,
    /// A piece of an IP packet.
    Fragment,
    /// Its first header is of a kind that is not read.
    Link(i32),
    /// Its headers make no sense.
    Broken,
}

/// Bytes of the headers that are taken off before the IP header.
const SLL2_HEADER: usize = 20;
const SLL_HEADER: usize = 16;
const NULL_HEADER: usize = 4;
/// Link types of the list of tcpdump.org that the crate has no name for.
const IPV4: i32 = 228;
const IPV6: i32 = 229;
const SLL2: i32 = 276;

impl<'a> Segment<'a> {
    /// The segment in a frame.
    pub fn of(frame: &Frame<'a>) -> Result<Self, Skipped> {
        let bytes = frame.bytes;
        let behind = |header: usize| bytes.get(header..).ok_or(Skipped::Broken);
        let sliced = match Linktype(frame.link) {
            Linktype::ETHERNET => SlicedPacket::from_ethernet(bytes),
            Linktype::NULL | Linktype::LOOP => SlicedPacket::from_ip(behind(NULL_HEADER)?),
            Linktype::LINUX_SLL => SlicedPacket::from_ip(behind(SLL_HEADER)?),
            Linktype::RAW | Linktype(IPV4 | IPV6) => SlicedPacket::from_ip(bytes),
            Linktype(SLL2) => SlicedPacket::from_ip(behind(SLL2_HEADER)?),
            Linktype(other) => return Err(Skipped::Link(other)),
        };
        let sliced = sliced.map_err(|_| if frame.cut { Skipped::Cut } else { Skipped::Broken })?;
        let (source, destination, fragment): (IpAddr, IpAddr, bool) = match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header();
                (header.source_addr().into(), header.destination_addr().into(), ip.is_payload_fragmented())
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header = ip.header();
                (header.source_addr().into(), header.destination_addr().into(), ip.is_payload_fragmented())
            }
            _ => return Err(Skipped::NotTcp),
        };
        if fragment {
            return Err(Skipped::Fragment);
        }
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return Err(Skipped::NotTcp) };
        Ok(Self {
            frame: frame.number,
            at: frame.at,
            from: SocketAddr::new(source, tcp.source_port()),
            to: SocketAddr::new(destination, tcp.destination_port()),
            seq: tcp.sequence_number(),
            ack: tcp.ack().then(|| tcp.acknowledgment_number()),
            syn: tcp.syn(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            payload: tcp.payload(),
        })
    }
}
