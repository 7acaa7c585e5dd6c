//! What the server is to do: wake a connection's task, write a log line. Lines of types that are
//! not logged are never made.

use std::collections::VecDeque;

use crate::broker::config::LogConfig;
use crate::broker::log::{LogLine, LogTypes};

use super::connection::Connection;
use super::{ConnId, Output};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    queue: VecDeque<Output>,
    types: LogTypes,
    connection_messages: bool,
}

impl Outputs {
    /// Takes over which lines are logged.
    pub fn configure(&mut self, config: &LogConfig) {
        self.types = config.types;
        self.connection_messages = config.connection_messages;
    }

    /// True if lines of this type are logged.
    pub fn logs(&self, kind: LogTypes) -> bool {
        self.types.has(kind)
    }

    /// A line, made only if its type is logged.
    pub fn log(&mut self, kind: LogTypes, text: impl FnOnce() -> String) {
        if self.types.has(kind) {
            self.queue.push_back(Output::Log(LogLine { kind, text: text() }));
        }
    }

    /// A line about a connection's beginning or end (`connection_messages`).
    pub fn log_connection(&mut self, kind: LogTypes, text: impl FnOnce() -> String) {
        if self.connection_messages {
            self.log(kind, text);
        }
    }

    /// Wakes a connection's task, unless it was woken and has not answered yet.
    pub fn wake(&mut self, conn: ConnId, connection: &mut Connection) {
        if !std::mem::replace(&mut connection.woken, true) {
            self.queue.push_back(Output::Wake(conn));
        }
    }

    /// The next thing to do.
    pub fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }
}
