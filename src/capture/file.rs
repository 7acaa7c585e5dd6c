//! The two formats of capture files, read block by block.

use std::io::Read;

use pcap_parser::traits::{PcapNGPacketBlock as _, PcapReaderIterator};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

/// Bytes of the reader's buffer at first, and at most: the largest block that is taken.
const BUFFER: usize = 1 << 20;
const LARGEST_BLOCK: usize = 1 << 26;
/// Network interfaces of one section.
const INTERFACES: usize = 4096;

/// One captured frame.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Its number in the file, from 1, as Wireshark counts.
    pub number: u64,
    /// When it was captured: seconds since 1970.
    pub at: f64,
    /// What its first header is.
    pub link: i32,
    /// Its bytes, as far as they were kept.
    pub bytes: &'a [u8],
    /// Not all of them were kept.
    pub cut: bool,
}

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Neither of the formats.
    #[error("this is neither a pcapng nor a pcap file")]
    NoCapture,
    /// It cannot be read at all.
    #[error("it cannot be read")]
    Io,
    /// A block breaks the format. What stood before it was read.
    #[error("the file is damaged after frame {0}")]
    Damaged(u64),
}

/// How the times of an interface are written.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: i32,
    /// Units a second.
    resolution: u64,
    /// Seconds to be added.
    offset: i64,
}

/// Calls `each` with every frame. A file that ends in the middle of a block is read up to there; gives
/// whether it ended well.
pub fn read<R: Read + Send>(file: R, mut each: impl FnMut(&Frame<'_>)) -> Result<bool, Unreadable> {
    let mut reader = create_reader(BUFFER, file).map_err(|error| match error {
        PcapError::ReadError => Unreadable::Io,
        _ => Unreadable::NoCapture,
    })?;
    let mut blocks = Blocks { interfaces: Vec::new(), legacy: None, number: 0 };
    // Where the reader stood when it last wanted more.
    let mut wanted = None;
    loop {
        match reader.next() {
            Ok((len, block)) => {
                blocks.block(&block, &mut each);
                reader.consume(len);
                wanted = None;
            }
            Err(PcapError::Eof) => return Ok(true),
            Err(PcapError::UnexpectedEof) => return Ok(false),
            Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall) => {
                if !more(reader.as_mut(), &mut wanted)? {
                    return if reader.reader_exhausted() {
                        Ok(false)
                    } else {
                        Err(Unreadable::Damaged(blocks.number))
                    };
                }
            }
            Err(PcapError::ReadError) => return Err(Unreadable::Io),
            Err(PcapError::HeaderNotRecognized) => return Err(Unreadable::NoCapture),
            Err(_) => return Err(Unreadable::Damaged(blocks.number)),
        }
    }
}

/// Reads on; makes room where that did not help. False where nothing helps.
fn more(reader: &mut dyn PcapReaderIterator, wanted: &mut Option<usize>) -> Result<bool, Unreadable> {
    let before = reader.data().len();
    if *wanted == Some(before) {
        // A block is larger than the buffer, or the file ends within it.
        let room = (before.max(BUFFER)).saturating_mul(2);
        if reader.reader_exhausted() || room > LARGEST_BLOCK || !reader.grow(room) {
            return Ok(false);
        }
    }
    *wanted = Some(before);
    match reader.refill() {
        Ok(()) => Ok(true),
        Err(PcapError::ReadError) => Err(Unreadable::Io),
        Err(_) => Ok(false),
    }
}

struct Blocks {
    interfaces: Vec<Interface>,
    legacy: Option<Interface>,
    number: u64,
}

impl Blocks {
    fn block(&mut self, block: &PcapBlockOwned<'_>, each: &mut impl FnMut(&Frame<'_>)) {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let nanos = header.is_nanosecond_precision();
                let resolution = if nanos { 1_000_000_000 } else { 1_000_000 };
                self.legacy = Some(Interface { link: header.network.0, resolution, offset: 0 });
            }
            PcapBlockOwned::Legacy(packet) => {
                let Some(interface) = self.legacy else { return };
                let part = f64::from(packet.ts_usec) / interface.resolution as f64;
                let at = f64::from(packet.ts_sec) + part;
                let kept = packet.data.len().min(packet.caplen as usize);
                self.frame(at, interface.link, &packet.data[..kept], packet.origlen, each);
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                if self.interfaces.len() < INTERFACES {
                    self.interfaces.push(Interface {
                        link: interface.linktype.0,
                        resolution: interface.ts_resolution().filter(|units| *units > 0).unwrap_or(1_000_000),
                        offset: interface.ts_offset(),
                    });
                }
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let Some(interface) = self.interfaces.get(packet.if_id as usize).copied() else {
                    self.number += 1;
                    return;
                };
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let whole = (ticks / interface.resolution) as f64;
                let part = (ticks % interface.resolution) as f64 / interface.resolution as f64;
                let at = whole + part + interface.offset as f64;
                let kept = packet.data.len().min(packet.caplen as usize);
                self.frame(at, interface.link, &packet.data[..kept], packet.origlen, each);
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let link = self.interfaces.first().map_or(Linktype::ETHERNET.0, |one| one.link);
                self.frame(0.0, link, packet.packet_data(), packet.origlen, each);
            }
            PcapBlockOwned::NG(_) => {}
        }
    }

    fn frame(&mut self, at: f64, link: i32, bytes: &[u8], whole: u32, each: &mut impl FnMut(&Frame<'_>)) {
        self.number += 1;
        each(&Frame { number: self.number, at, link, bytes, cut: bytes.len() < whole as usize });
    }
}
