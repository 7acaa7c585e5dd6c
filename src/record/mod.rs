//! What happened in a run, as data: cases, wire events, verdicts.
//!
//! The event log is the only thing that reports read: console, JUnit and JSON lines are
//! projections of it. Pure; secrets are redacted before an event is made.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod against;
pub mod baseline;
pub mod event;
pub mod tls;
pub mod verdict;

pub use against::Against;
pub use baseline::Baseline;
pub use event::{Event, EventKind, RunPlan, Shard, WireEvent, WireSide};
pub use tls::{TlsEnd, TlsEvent, TlsSeen};
pub use verdict::{CaseId, CaseInfo, Excerpt, Explanation, Level, Outcome, Place, RowMark, Verdict};
