//! Which clock a case runs by.

use std::time::Duration;

use super::{RunOptions, TargetChoice, Transport, rumqttc};
use crate::scenario::{Case, Subject};

/// Real time, or virtual time: memory pipes under a paused clock, where a wait costs nothing.
/// Only the bundled broker can be told what time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// Virtual for cases that would wait for more than [`PATIENCE`], real for all others.
    #[default]
    Auto,
    /// Virtual for all cases that can.
    Virtual,
    /// Real for all cases.
    Real,
}

/// Waits longer than this are not sat through where they need not be.
pub const PATIENCE: Duration = Duration::from_secs(5);

impl Clock {
    /// Whether a case runs under virtual time. TLS, rumqttc and bridges need sockets, and sockets do not
    /// know a paused clock.
    pub(super) fn is_virtual(case: &Case, options: &RunOptions) -> bool {
        let tls = case.setup.broker.listeners.iter().any(|listener| listener.cert.is_some())
            || options.transport.is_some_and(Transport::has_tls);
        let rumqttc = case.clients.iter().any(|client| rumqttc::plays(client, options.engine));
        let wanted = match options.clock {
            Self::Auto => case.least > PATIENCE,
            Self::Virtual => true,
            Self::Real => false,
        };
        let bridge = case.subject() == Subject::Bridge;
        wanted && options.target == TargetChoice::Bundled && !tls && !rumqttc && !bridge
    }
}
