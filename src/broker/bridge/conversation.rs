//! A bridge while both brokers are there: moves packets between two streams and the relay.
//!
//! Memory is bounded. Above QoS 0 no more comes from a broker than the other one has room for. Of
//! QoS 0 nothing is taken from a broker while much waits to be written to the other; if neither
//! reads, what comes from ours is dropped, or the two would wait for each other for ever.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::Orders;
use super::relay::{Fault, Note, Relay, Side};
use super::topic::Way;
use super::wire::{PATIENCE, Wire};
use crate::broker::log::LogTypes;
use crate::broker::server::Inside;
use crate::mqtt::ReasonCode;
use crate::mqtt::packet::Publish;
use crate::net::framed::{Closed, Progress};
use crate::text::escape;

/// Packets taken from one side in one go.
const BATCH: usize = 64;

/// While more bytes than this wait to be written to a side, nothing is taken from the other.
const FULL: usize = 256 * 1024;

/// While more bytes than this wait to be written to a side, QoS 0 messages for it are dropped.
const OVERFULL: usize = 1024 * 1024;

/// How often the main address is tried while another one serves; mosquitto's number.
const MAIN_RETRY: Duration = Duration::from_secs(5);

/// Why a conversation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The other broker closed the connection.
    Closed,
    /// The other broker cannot be talked to any longer.
    Failed(String),
    /// It did not answer for a whole keep-alive.
    Silent,
    /// Our broker closed its end.
    Here,
    /// The main address answers again.
    Main,
    /// A lazy bridge had nothing to do.
    Idle,
    /// Orders came.
    Orders,
}

/// See the module.
pub struct Conversation<'a> {
    pub inside: &'a Inside,
    pub orders: &'a mut Orders,
    pub relay: Relay,
    pub here: Wire,
    pub there: Wire,
    /// How the bridge is called in the log.
    pub name: &'a str,
    /// Told to our clients, in this client's name, when both brokers have answered everything.
    pub up: Option<(&'a str, Publish)>,
    /// After so long without a message it ends.
    pub idle: Option<Duration>,
    /// The main address, while the connection is to another one.
    pub main: Option<(String, u16)>,
}

/// What [`Conversation::wait`] saw.
enum Event {
    Moved(Side, Progress),
    Closed(Side, Closed),
    Time,
    Main,
    Orders,
}

impl Conversation<'_> {
    /// Until it ends. The streams are still there then, for a goodbye.
    pub async fn run(&mut self) -> End {
        let mut active = Instant::now();
        let mut forwarded = self.relay.forwarded();
        let main = self.main.take();
        let mut main = std::pin::pin!(back_at(main));
        loop {
            let more = match self.pump() {
                Ok(more) => more,
                Err(end) => return end,
            };
            self.report();
            self.here.framed.write_now().await;
            self.there.framed.write_now().await;
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            if self.relay.forwarded() != forwarded {
                forwarded = self.relay.forwarded();
                active = Instant::now();
            }
            let idle_at = self.idle.map(|idle| active + idle);
            match self.wait(idle_at, main.as_mut()).await {
                Event::Moved(Side::There, Progress { read: Some(count), .. }) if count > 0 => {
                    self.there.heard();
                }
                Event::Moved(side, Progress { read: Some(0), .. }) | Event::Closed(side, Closed::Eof) => {
                    return if side == Side::Here { End::Here } else { End::Closed };
                }
                Event::Moved(..) => {}
                Event::Closed(Side::Here, _) => return End::Here,
                Event::Closed(Side::There, closed) => return End::Failed(closed.to_string()),
                Event::Time if idle_at.is_some_and(|at| at <= Instant::now()) => return End::Idle,
                Event::Time if self.there.check() => {}
                Event::Time => return End::Silent,
                Event::Main => return End::Main,
                Event::Orders => return End::Orders,
            }
        }
    }

    /// Decodes what is there and passes it through the relay. True if there is more.
    fn pump(&mut self) -> Result<bool, End> {
        let mut more = false;
        for side in [Side::There, Side::Here] {
            let mut budget = BATCH;
            while !self.relay.is_held(side) && self.may_take(side) {
                if budget == 0 {
                    more = true;
                    break;
                }
                budget -= 1;
                let wire = if side == Side::Here { &mut self.here } else { &mut self.there };
                match wire.framed.decode() {
                    Ok(None) => break,
                    Ok(Some((packet, _))) => {
                        self.relay.set_congested(Side::There, self.there.framed.pending() > OVERFULL);
                        self.relay.set_congested(Side::Here, self.here.framed.pending() > OVERFULL);
                        self.relay.receive(side, packet).map_err(|fault| end_of(side, &fault))?;
                        self.hand_over();
                    }
                    Err(_) if side == Side::Here => return Err(End::Here),
                    Err(error) => return Err(End::Failed(error.to_string())),
                }
            }
        }
        // What the relay itself had to say before anything came.
        self.hand_over();
        Ok(more)
    }

    /// Gives the streams what the relay wants sent.
    fn hand_over(&mut self) {
        for packet in self.relay.take_packets(Side::Here) {
            self.here.push(&packet);
        }
        for packet in self.relay.take_packets(Side::There) {
            self.there.push(&packet);
        }
    }

    /// Whether messages may be taken from a side. From ours always if the other broker is not read
    /// from: of what our broker then sends, QoS 0 is dropped, and there is an end to the rest.
    fn may_take(&self, side: Side) -> bool {
        let here_full = self.here.framed.pending() > FULL;
        match side {
            Side::There => !here_full,
            Side::Here => here_full || self.there.framed.pending() <= FULL,
        }
    }

    async fn wait(
        &mut self,
        idle_at: Option<Instant>,
        main: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Event {
        let ours = self.may_take(Side::Here) && !self.relay.is_held(Side::Here);
        let theirs = self.may_take(Side::There) && !self.relay.is_held(Side::There);
        if !theirs {
            self.there.excuse();
        }
        let due = [idle_at, self.there.due()].into_iter().flatten().min();
        let moved = |side, result: std::io::Result<Progress>| match result {
            Ok(progress) => Event::Moved(side, progress),
            Err(error) => Event::Closed(side, error.into()),
        };
        tokio::select! {
            result = self.there.framed.progress(theirs) => moved(Side::There, result),
            result = self.here.framed.progress(ours) => moved(Side::Here, result),
            () = self.orders.changed() => Event::Orders,
            () = until(due) => Event::Time,
            () = main => Event::Main,
        }
    }

    /// What is to be said in the log, and counted.
    fn report(&mut self) {
        if self.relay.is_settled()
            && let Some((client_id, notice)) = self.up.take()
        {
            self.inside.announce(client_id, notice);
        }
        let dropped = self.relay.take_dropped();
        if dropped > 0 {
            self.inside.count_dropped(dropped);
        }
        for note in self.relay.take_notes() {
            let text = match note {
                Note::Refused(side, filter, code) => {
                    let whose = if side == Side::Here { "our" } else { "the other" };
                    let filter = escape(filter.as_str());
                    format!("Warning: Bridge {}: {whose} broker refused topic {filter} ({code}).", self.name)
                }
                Note::Dropping(way, topic, why) => {
                    let which = if way == Way::Out { "Outgoing" } else { "Incoming" };
                    let topic = escape(topic.as_str());
                    format!("{which} messages are being dropped for bridge {}: '{topic}': {why}.", self.name)
                }
            };
            self.inside.log(LogTypes::WARNING, &text);
        }
    }
}

/// Whose fault it is decides who is left.
fn end_of(side: Side, fault: &Fault) -> End {
    match (side, fault) {
        (Side::Here, Fault::Goodbye(_)) => End::Here,
        (Side::There, Fault::Goodbye(ReasonCode::SUCCESS)) => End::Closed,
        (_, fault) => End::Failed(fault.to_string()),
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Returns when the main address takes connections again.
async fn back_at(main: Option<(String, u16)>) {
    let Some((host, port)) = main else { return std::future::pending().await };
    loop {
        sleep_until(Instant::now() + MAIN_RETRY).await;
        let attempt = timeout(PATIENCE, TcpStream::connect((host.as_str(), port))).await;
        if let Ok(Ok(socket)) = attempt
            && socket.peer_addr().is_ok_and(|address: SocketAddr| address.port() == port)
        {
            return;
        }
    }
}
