//! mqttlab teaches, grades, verifies and compares MQTT brokers.
//!
//! Modules in dependency order; `ARCHITECTURE.md` beside this file is the map, and
//! `tests/it/tidy.rs` holds the layers apart.

pub mod text;
pub mod diagnostic;
pub mod mqtt;
pub mod tls;
pub mod net;
pub mod client;
pub mod broker;
pub mod record;
pub mod scenario;
pub mod check;
pub mod capture;
pub mod runner;
pub mod report;
pub mod cli;
