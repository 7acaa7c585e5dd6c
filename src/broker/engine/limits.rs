//! What a peer can make the broker hold or do at most, where mosquitto.conf has no option for it.

use std::time::Duration;

/// How long a connection may take to send its CONNECT. [U311-3.1.4-1] 5: [U5-3.1.4-1]
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection that the engine closed may take to write its last frames.
pub(super) const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// Topic separators in a topic or filter; one more closes the connection, as in mosquitto.
pub const MAX_TOPIC_SEPARATORS: usize = 200;
/// Subscriptions of one session.
pub(super) const MAX_SUBSCRIPTIONS: usize = 1 << 20;
/// Retained messages in all.
pub(super) const MAX_RETAINED: usize = 4 << 20;
/// Below this many bytes (overhead included) QoS 0 messages wait for a slow reader in any number;
/// above it, only `max_queued_messages` of them.
pub(super) const BACKLOG_SOFT_BYTES: usize = 1 << 20;
/// QoS 0 messages that would wait above this many bytes are dropped.
pub(super) const BACKLOG_HARD_BYTES: usize = 32 << 20;
/// What waits to be written to one connection counts against the total in steps of so many bytes; less
/// than one is nobody's lag.
pub(super) const BACKLOG_STEP: usize = 64 << 10;
/// When this many bytes wait for slow readers in all, they get no more QoS 0.
pub(super) const BACKLOG_TOTAL_BYTES: usize = 256 << 20;
/// Payloads of retained messages in all, bytes.
pub(super) const MAX_RETAINED_BYTES: u64 = 4 << 30;
/// Answers that wait to be written; a peer that asks for more while it reads nothing is closed. The
/// server stops reading long before.
pub(super) const MAX_ANSWERS: usize = 1 << 16;
/// Retained messages of a replay are sent while fewer bytes than this wait to be written.
pub(super) const REPLAY_BYTES: usize = 64 << 10;
/// Retained topics that a replay looks at in one go; a client may ask for a batch of replays at once.
pub(super) const REPLAY_SCAN: usize = 512;
/// Bytes of the printed tree of subscriptions.
pub(super) const MAX_PRINT: usize = 16 << 20;
/// Publications up to this size are copied out of the read buffer, larger ones only if they stay.
pub(super) const COPY_BYTES: usize = 4096;
/// Filters of a SUBSCRIBE or UNSUBSCRIBE, or subscriptions of a session that ended, that are worked
/// off in one go: nobody else is served meanwhile.
pub(super) const FILTERS_A_TURN: usize = 512;
/// Deadlines that are met in one go.
pub(super) const TIMERS_A_TURN: usize = 512;
