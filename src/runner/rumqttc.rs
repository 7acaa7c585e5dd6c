//! Plays a client through rumqttc, an implementation that we did not write.

use super::context::At;
use super::link::{Inbox, Link};
use super::outcome::{Done, Trouble};
use crate::client::{ConnectFailure, Options};
use crate::mqtt::packet::ConnAck;
use crate::net::Endpoint;
use crate::net::tap::Tap;
use crate::scenario::{Case, EngineKind};

/// What it cannot play of a case.
pub fn cannot(case: &Case, engine: Option<EngineKind>) -> Option<String> {
    let plays = |client: &crate::scenario::ClientSpec| {
        !client.raw && engine.unwrap_or(client.engine) == EngineKind::Rumqttc
    };
    case.clients.iter().any(plays).then(|| "rumqttc cannot be used yet".to_owned())
}

/// Connects.
pub async fn connect(
    at: At<'_>,
    endpoint: &Endpoint,
    options: &Options,
    inbox: &Inbox,
    tap: Tap,
    name: &str,
) -> Done<Result<(Link, ConnAck), ConnectFailure>> {
    let _ = (at, endpoint, options, inbox, tap, name);
    Err(Trouble::Skipped("rumqttc cannot be used yet".into()))
}
