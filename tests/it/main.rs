//! All integration tests but the scenarios, in one binary, so that it links once.

mod cli;
mod codec;
mod config;
mod broker;
mod broker_program;
mod interop;
mod interop_rumqttc;
mod properties;
mod engine;
mod readme;
mod report;
mod scenario;
mod scenario_hostile;
mod simulation;
mod support;
mod runner;
mod tidy;
