//! What rumqttc cannot do, found in a case before it starts.

use crate::mqtt::{Properties, Property, ProtocolVersion, ReasonCode};
use crate::scenario::op::{Close, Op, Open, Request, Step};
use crate::scenario::{Body, Case, ClientSpec, EngineKind, Subject};

/// True where rumqttc plays this client.
pub fn plays(client: &ClientSpec, engine: Option<EngineKind>) -> bool {
    !client.raw && engine.unwrap_or(client.engine) == EngineKind::Rumqttc
}

/// Why rumqttc cannot play the clients that it is to play; `None` if it can.
pub fn cannot(case: &Case, engine: Option<EngineKind>) -> Option<String> {
    let Body::Steps(steps) = &case.body else { return None };
    let tested = case.subject() == Subject::Client;
    let of_clients = case.clients.iter().filter(|client| plays(client, engine)).find_map(|client| {
        let version = client.protocol.unwrap_or(case.protocol);
        // Each connection is a rumqttc of its own, without the memory of the one before.
        let remembers =
            (tested && !client.clean).then_some("take its half of a session to the next connection");
        remembers.or_else(|| in_definition(client, version))
    });
    of_clients.or_else(|| in_steps(case, engine, steps)).map(|what| format!("rumqttc cannot {what}"))
}

fn in_definition(client: &ClientSpec, version: ProtocolVersion) -> Option<&'static str> {
    if version == ProtocolVersion::V31 {
        return Some("speak MQTT 3.1");
    }
    if !client.auto_ping {
        return Some("keep from pinging");
    }
    let empty_id = client.client_id.as_ref().is_some_and(|id| id.as_literal() == Some(""));
    if empty_id && !client.clean {
        return Some("leave its client identifier to the broker and keep the session");
    }
    let will = client.will.as_ref();
    if will.is_some_and(|will| !will.properties.is_empty()) {
        return Some("be asked for properties of a will");
    }
    keep_alive(client.keep_alive, version).or_else(|| connect_properties(&client.properties))
}

fn keep_alive(secs: u16, version: ProtocolVersion) -> Option<&'static str> {
    (version.is_v5() && secs < 5).then_some("have a keep-alive below 5 s with MQTT 5")
}

fn connect_properties(properties: &Properties) -> Option<&'static str> {
    let known = |property: &Property| {
        matches!(property, Property::SessionExpiryInterval(_) | Property::ReceiveMaximum(_))
    };
    (!properties.iter().all(known)).then_some("be asked for these properties of CONNECT")
}

fn in_steps(case: &Case, engine: Option<EngineKind>, steps: &[Step]) -> Option<&'static str> {
    let mine = |index: usize| case.clients.get(index).is_some_and(|client| plays(client, engine));
    steps.iter().find_map(|step| match &step.op {
        Op::Open(client, open) if mine(client.0) => {
            let client = &case.clients[client.0];
            in_open(client, open, client.protocol.unwrap_or(case.protocol))
        }
        Op::Send(client, request, _) if mine(client.0) => in_request(request),
        Op::Packets(client, _) if mine(client.0) => Some("send or show packets as written"),
        Op::Close(client, Close::Disconnect { reason, properties }) if mine(client.0) => {
            let plain = *reason == ReasonCode::SUCCESS && properties.is_empty();
            (!plain).then_some("give a reason or properties in DISCONNECT")
        }
        Op::Spawn(branches) => branches.iter().find_map(|steps| in_steps(case, engine, steps)),
        Op::Repeat(_, steps) => in_steps(case, engine, steps),
        _ => None,
    })
}

fn in_open(client: &ClientSpec, open: &Open, version: ProtocolVersion) -> Option<&'static str> {
    let nameless = open.user.as_ref().unwrap_or(&client.user).is_none();
    if nameless && (open.password.is_some() || client.password.is_some()) {
        return Some("send a password without a user name");
    }
    let secs = open.keep_alive.and_then(|secs| keep_alive(secs, version));
    secs.or_else(|| connect_properties(&open.properties))
}

fn in_request(request: &Request) -> Option<&'static str> {
    let properties = match request {
        Request::Ping => return Some("ping when asked to"),
        Request::Unsubscribe { filters, .. } if filters.len() > 1 => {
            return Some("give several filters in one UNSUBSCRIBE");
        }
        Request::Publish { properties, .. }
        | Request::Subscribe { properties, .. }
        | Request::Unsubscribe { properties, .. } => properties,
    };
    (!properties.is_empty()).then_some("be asked for properties of requests")
}
