//! The bundled broker: reads mosquitto.conf and behaves like Eclipse Mosquitto.
//!
//! `config` and `auth` turn files into plain data, `engine` decides (no socket, no clock),
//! `server` moves bytes. Only `server` and `log`'s sinks touch the operating system.

pub mod auth;
mod bridge;
pub mod codes;
pub mod config;
pub mod engine;
pub mod fault;
pub mod log;
pub mod server;
pub mod storage;
