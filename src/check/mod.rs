//! Passive knowledge about the protocol: which normative statements there are.
//!
//! Pure; whether a scenario upholds a statement is found by the runner.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod statements;
