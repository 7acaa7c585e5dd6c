//! Counts of what the broker did, for the `$SYS` topics. Counts only; `sys.rs` publishes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Since the broker started, unless it says "now".
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Packets of any type from clients.
    pub messages_received: u64,
    /// Packets of any type to clients.
    pub messages_sent: u64,
    /// Bytes of packets from clients.
    pub bytes_received: u64,
    /// Bytes of packets to clients, as far as the server has reported them ([`Engine::wrote`](super::Engine::wrote)).
    pub bytes_sent: u64,
    /// PUBLISH packets from clients.
    pub publish_received: u64,
    /// Bytes of their payloads.
    pub publish_bytes_received: u64,
    /// PUBLISH packets to clients.
    pub publish_sent: u64,
    /// Bytes of their payloads.
    pub publish_bytes_sent: u64,
    /// Messages dropped because a queue or backlog was full.
    pub publish_dropped: u64,
    /// Transport connections that were accepted.
    pub sockets_opened: u64,
    /// Transport connections now.
    pub sockets: u64,
    /// CONNECT packets.
    pub connects: u64,
    /// Clients connected now.
    pub clients_connected: u64,
    /// Most clients connected at once.
    pub clients_maximum: u64,
    /// Sessions that ended because their client was away too long.
    pub clients_expired: u64,
    /// Sessions now, connected or not.
    pub sessions: u64,
    /// Retained messages now.
    pub retained: u64,
    /// Subscriptions now, without the shared ones.
    pub subscriptions: u64,
    /// Shared subscriptions now.
    pub shared_subscriptions: u64,
    /// Messages held now: retained, queued, or above QoS 0 on their way. Each once, however many it is for.
    pub stored: u64,
    /// Bytes of their payloads.
    pub stored_bytes: u64,
    /// Bytes of the process's memory, as far as the server has reported them
    /// ([`Engine::note_memory`](super::Engine::note_memory)); 0 is not known.
    pub memory: u64,
    /// The most that was reported.
    pub memory_maximum: u64,
    /// Packets now that wait to be written.
    pub waiting: u64,
    /// Bytes of them, about.
    pub waiting_bytes: u64,
    /// What the limits refused.
    pub refused: Refused,
}

/// What refuses or drops something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Payloads larger than `message_size_limit`.
    MessageSize,
    /// Packets larger than `max_packet_size`.
    PacketSize,
    /// Connections beyond `max_connections` of their listener.
    Connections,
    /// Connections beyond `global_max_connections`.
    AllConnections,
    /// Clients beyond `global_max_clients`.
    Clients,
    /// Messages for a client for which as many wait as `max_queued_messages` says.
    QueuedMessages,
    /// Messages for a client for which as much waits as `max_queued_bytes` says.
    QueuedBytes,
    /// Messages and subscriptions for which `memory_limit` leaves no room.
    Memory,
    /// Messages that were not retained, because there are too many or too large ones.
    Retained,
    /// Subscriptions of a client that has too many.
    Subscriptions,
    /// Clients that asked for more than they read.
    Unread,
    /// QoS 0 messages for a client that reads too slowly for the bytes that wait for it.
    SlowReader,
    /// QoS 0 messages for slow readers, for whom too much waits in all.
    SlowReaders,
}

impl Limit {
    /// All of them, in the order of the type.
    pub const ALL: [Self; 13] = [
        Self::MessageSize,
        Self::PacketSize,
        Self::Connections,
        Self::AllConnections,
        Self::Clients,
        Self::QueuedMessages,
        Self::QueuedBytes,
        Self::Memory,
        Self::Retained,
        Self::Subscriptions,
        Self::Unread,
        Self::SlowReader,
        Self::SlowReaders,
    ];

    /// Its level in `$SYS/broker/limits/`: the option's name, if it is one.
    pub fn name(self) -> &'static str {
        match self {
            Self::MessageSize => "message_size_limit",
            Self::PacketSize => "max_packet_size",
            Self::Connections => "max_connections",
            Self::AllConnections => "global_max_connections",
            Self::Clients => "global_max_clients",
            Self::QueuedMessages => "max_queued_messages",
            Self::QueuedBytes => "max_queued_bytes",
            Self::Memory => "memory_limit",
            Self::Retained => "retained",
            Self::Subscriptions => "subscriptions",
            Self::Unread => "unread",
            Self::SlowReader => "slow_reader",
            Self::SlowReaders => "slow_readers",
        }
    }
}

/// What each limit refused since the broker started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Refused([u64; Limit::ALL.len()]);

impl Refused {
    /// How often this limit did.
    pub fn count(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// Once more.
    pub(super) fn add(&mut self, limit: Limit) {
        self.0[limit as usize] += 1;
    }
}

/// Counts the messages that are held. They are let go of outside of the engine's lock too, where the
/// last frame of one is encoded.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Ledger {
    /// How many messages, and the bytes of their payloads.
    pub fn held(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// A held message's entry in the ledger, which ends with it.
#[derive(Debug)]
pub(super) struct Entry {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Entry {
    /// Enters a message whose payload has so many bytes.
    pub fn new(ledger: &Arc<Ledger>, bytes: usize) -> Self {
        let bytes = bytes as u64;
        ledger.count.fetch_add(1, Ordering::Relaxed);
        ledger.bytes.fetch_add(bytes, Ordering::Relaxed);
        Self { ledger: Arc::clone(ledger), bytes }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.ledger.count.fetch_sub(1, Ordering::Relaxed);
        self.ledger.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
