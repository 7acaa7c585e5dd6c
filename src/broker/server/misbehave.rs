//! Moves the bytes of one connection through the faults of a broker that misbehaves on purpose.
//!
//! Stands between the transport and the connection's task, as a task of its own. A broker without
//! faults never comes here. What a fault does stands in [`fault`](crate::broker::fault).

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, split};
use tokio::time::timeout;

use crate::broker::fault::{Chain, Faults, Outcome, Way};
use crate::net::{Transport, memory};

/// Bytes that wait for one side until no more are read for it.
const ROOM: usize = 256 * 1024;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// How long a client may take to read the last bytes, and then to close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
const LINGER: Duration = Duration::from_millis(100);

/// The stream that the broker is to serve in place of this one.
pub fn interpose(transport: Transport, faults: &Arc<Faults>) -> Transport {
    let (ours, theirs) = memory::pipe();
    let chain = Chain::new(faults);
    tokio::spawn(relay(transport, ours, chain));
    Box::new(theirs)
}

/// Where bytes come from.
struct Source<R> {
    from: R,
    /// Nothing more comes.
    ended: bool,
    landing: Box<[u8]>,
}

impl<R: AsyncRead + Unpin> Source<R> {
    fn new(from: R) -> Self {
        Self { from, ended: false, landing: vec![0; READ_BYTES].into() }
    }

    /// Loses nothing when it is cancelled.
    async fn read(&mut self) -> io::Result<usize> {
        self.from.read(&mut self.landing).await
    }

    /// Hands in what was read.
    fn hand_in(&mut self, way: Way, read: &io::Result<usize>, chain: &mut Chain, outcome: &mut Outcome) {
        match read {
            Ok(count) if *count > 0 => chain.read(way, &self.landing[..*count], outcome),
            Ok(_) | Err(_) => {
                self.ended = true;
                chain.ended(way, outcome);
            }
        }
    }
}

/// Where bytes go.
struct Sink<W> {
    to: W,
    /// Nothing more goes.
    closed: bool,
    unflushed: bool,
}

impl<W: AsyncWrite + Unpin> Sink<W> {
    fn new(to: W) -> Self {
        Self { to, closed: false, unflushed: false }
    }

    /// Writes and flushes what there is, and then closes if that is wanted. Never returns when there is
    /// nothing to do. Loses nothing when it is cancelled.
    async fn write(&mut self, bytes: &mut BytesMut, end: bool) {
        if self.closed {
            bytes.clear();
            return pending().await;
        }
        let done = if !bytes.is_empty() {
            self.unflushed = true;
            self.to.write_buf(bytes).await.map(drop)
        } else if self.unflushed {
            let flushed = self.to.flush().await;
            self.unflushed = false;
            flushed
        } else if end {
            let ended = timeout(CLOSE_PATIENCE, self.to.shutdown()).await;
            self.closed = true;
            ended.unwrap_or(Ok(()))
        } else {
            return pending().await;
        };
        self.closed |= done.is_err();
    }
}

async fn relay(client: Transport, broker: DuplexStream, mut chain: Chain) {
    let ((from_client, to_client), (from_broker, to_broker)) = (split(client), split(broker));
    let (mut from_client, mut to_client) = (Source::new(from_client), Sink::new(to_client));
    let (mut from_broker, mut to_broker) = (Source::new(from_broker), Sink::new(to_broker));
    let mut outcome = Outcome::default();
    // Until the broker has nothing more to say, and all that it said was passed on to who is still there.
    while !(from_broker.ended && (to_client.closed || from_client.ended && outcome.down.is_empty())) {
        let Outcome { up, down, end_up, end_down } = &mut outcome;
        let room_down = down.len() < ROOM;
        let room_up = up.len() < ROOM && room_down;
        tokio::select! {
            biased;
            () = to_client.write(down, *end_down) => {}
            () = to_broker.write(up, *end_up) => {}
            read = from_broker.read(), if !from_broker.ended && room_down => {
                from_broker.hand_in(Way::Down, &read, &mut chain, &mut outcome);
            }
            read = from_client.read(), if !from_client.ended && room_up => {
                from_client.hand_in(Way::Up, &read, &mut chain, &mut outcome);
            }
        }
    }
    // As a connection without faults does: closing while bytes come in would be a reset.
    let ended = async { while from_client.read().await.is_ok_and(|count| count > 0) {} };
    let _ = timeout(LINGER, ended).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::fault::FaultSpec;

    const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";

    async fn pair(fault: &str) -> (DuplexStream, Transport) {
        let (client, ours) = memory::pipe();
        let fault = FaultSpec::named(fault).expect("a fault");
        let mut broker = interpose(Box::new(ours), &Arc::new(Faults::new(&[fault])));
        let mut client = client;
        client.write_all(CONNECT).await.expect("room");
        assert_eq!(read(&mut broker, CONNECT.len()).await, CONNECT);
        (client, broker)
    }

    async fn read(from: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        from.read_exact(&mut bytes).await.expect("so many bytes");
        bytes
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_and_ends_cross_both_ways() {
        for client_first in [true, false] {
            let (mut client, mut broker) = pair("none").await;
            broker.write_all(&[0x20, 2, 0, 0]).await.expect("room");
            assert_eq!(read(&mut client, 4).await, [0x20, 2, 0, 0]);
            let (mut one, mut other): (Transport, Transport) =
                if client_first { (Box::new(client), broker) } else { (broker, Box::new(client)) };
            one.write_all(&[0xC0]).await.expect("room");
            one.shutdown().await.expect("open");
            assert_eq!(read(&mut other, 1).await, [0xC0]);
            assert_eq!(other.read(&mut [0; 1]).await.expect("the end"), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_the_pipes_hold_crosses_while_both_ends_write() {
        const COUNT: usize = 1_000_000;
        let (client, broker) = pair("none").await;
        let one_way = |stream: Transport, packet: [u8; 2], wanted: [u8; 2]| async move {
            let (mut from, mut to) = split(stream);
            let all = packet.repeat(COUNT);
            let (sent, got) = tokio::join!(to.write_all(&all), read(&mut from, 2 * COUNT));
            sent.expect("room");
            assert!(got.chunks(2).all(|packet| packet == wanted));
        };
        let (up, down) = ([0xC0, 0], [0xD0, 0]);
        tokio::join!(one_way(Box::new(client), up, down), one_way(broker, down, up));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_kept_back_leaves_the_client_connected() {
        let (mut client, broker) = pair("never-closes").await;
        drop(broker);
        client.write_all(&[0xC0, 0]).await.expect("still open");
        assert_eq!(read(&mut client, 2).await, [0xD0, 0]);
    }
}
