//! Counts of what the broker did, for the `$SYS` topics. Counts only; publishes nothing.

/// Since the broker started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Packets of any type from clients.
    pub messages_received: u64,
    /// Packets of any type to clients.
    pub messages_sent: u64,
    /// Bytes of packets from clients.
    pub bytes_received: u64,
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
}
