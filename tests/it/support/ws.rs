//! A WebSocket client that is only a socket: the test writes each frame, right or wrong, and sees
//! each frame that comes. Shares no code with what it tests.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// First bytes of frames that are whole.
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8A;

/// A request that opens a WebSocket, for a test to change.
pub const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// A frame of a client.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0xA5, 0x5A, 0x0F, 0xF0];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | u8::try_from(short).expect("short")),
        middle @ 126..=0xFFFF => {
            frame.push(0xFE);
            frame.extend(u16::try_from(middle).expect("not long").to_be_bytes());
        }
        long => {
            frame.push(0xFF);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
    frame
}

/// One connection.
pub struct Raw<S> {
    pub stream: S,
    buffer: BytesMut,
}

impl Raw<TcpStream> {
    /// Sends a request to a port of this host, and returns the head of the answer.
    pub async fn request(port: u16, request: &str) -> (Self, String) {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("listening");
        Self::over(stream, request).await
    }

    /// An open WebSocket.
    pub async fn open(port: u16) -> Self {
        let (raw, answer) = Self::request(port, REQUEST).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        raw
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// The same over a stream that is there.
    pub async fn over(mut stream: S, request: &str) -> (Self, String) {
        // Who refuses may have closed before all is written.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut raw = Self { stream, buffer: BytesMut::new() };
        loop {
            if let Some(end) = raw.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = raw.buffer.split_to(end + 4);
                return (raw, String::from_utf8(head.to_vec()).expect("text"));
            }
            assert!(raw.more().await, "no answer: {:?}", raw.buffer);
        }
    }

    /// Sends bytes that may be anything.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the broker takes it");
    }

    /// The next frame of the broker: its first byte and its payload. `None` is the end.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = self.decode() {
                return Some(frame);
            }
            if !self.more().await {
                assert!(self.buffer.is_empty(), "half a frame: {:?}", self.buffer);
                return None;
            }
        }
    }

    /// What comes behind the answer until the end, as it is.
    pub async fn rest(mut self) -> Vec<u8> {
        while self.more().await {}
        self.buffer.to_vec()
    }

    /// Reads on until so many bytes of binary frames are there.
    pub async fn data(&mut self, length: usize) -> Vec<u8> {
        let mut data = Vec::new();
        while data.len() < length {
            match self.next().await {
                Some((BINARY, payload)) => data.extend(payload),
                other => panic!("{other:02x?} after {data:02x?}"),
            }
        }
        data
    }

    fn decode(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, second) = (*self.buffer.first()?, *self.buffer.get(1)?);
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (head, length) = match second {
            126 => (4, self.buffer.get(2..4)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))),
            127 => (10, self.buffer.get(2..10)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))),
            short => (2, usize::from(short)),
        };
        self.buffer.get(head..head + length)?;
        self.buffer.advance(head);
        Some((first, self.buffer.split_to(length).to_vec()))
    }

    /// False at the end of the stream; a reset is an end too.
    async fn more(&mut self) -> bool {
        let reading = self.stream.read_buf(&mut self.buffer);
        timeout(PATIENCE, reading).await.expect("in time").is_ok_and(|count| count > 0)
    }
}
