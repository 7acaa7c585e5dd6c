//! Captures of other programs: from a file of tshark, dumpcap or tcpdump to the bytes that each end of each
//! TCP connection sent, in order.
//!
//! Knows nothing of MQTT. Whatever the file says is hostile: nothing is kept without a limit, and what
//! is missing is said to be missing, not guessed.

mod conversation;
mod file;
mod segment;
mod websocket;

pub use conversation::{Conversations, Happening};
pub use file::{Frame, Unreadable, read};
pub use segment::{Segment, Skipped};
pub use websocket::Deframer;
