//! A client that speaks MQTT on the wire: [`state`] and [`rules`] decide (no socket, no clock), [`driver`]
//! moves bytes, [`options`] say how.
//!
//! It is a test instrument: it reports everything that it receives, closes only where a client must, never
//! reconnects by itself, and with [`Options::raw`] does nothing that it was not told to do.

pub mod driver;
pub mod options;
pub mod rules;
pub mod state;

pub use driver::{Client, ConnectFailure, Event, Lost};
pub use options::Options;
pub use rules::Offence;
pub use state::Session;
