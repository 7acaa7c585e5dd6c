//! All integration tests but the scenarios, in one binary, so that it links once.

mod broker;
mod broker_program;
mod broker_sys;
mod cli;
mod codec;
mod config;
mod config_options;
mod engine;
mod hostile;
mod interop;
mod interop_rumqttc;
mod labs;
mod matrix;
mod properties;
mod readme;
mod report;
mod runner;
mod runner_faults;
mod scenario;
mod scenario_hostile;
mod simulation;
mod statements;
mod support;
mod tidy;
mod transports;
mod websocket;
