//! What a case needs of a broker, and whether the broker of this run has it.

use std::collections::BTreeSet;

use super::rumqttc;
use super::target::Plan;
use crate::mqtt::ProtocolVersion;
use crate::scenario::op::{Op, Step, TargetAction};
use crate::scenario::{Body, Capability, Case, EngineKind};

/// Why this case cannot run on this broker; `None` if it can.
pub fn missing(plan: &Plan, case: &Case, engine: Option<EngineKind>) -> Option<String> {
    let has = plan.capabilities();
    let mut needs: BTreeSet<_> = case.requires.iter().copied().collect();
    add_versions(case, &mut needs);
    if let Body::Steps(steps) = &case.body {
        add_actions(steps, &mut needs);
    }
    let setup = &case.setup;
    if setup.broker.listeners.iter().any(|listener| listener.websockets) {
        needs.insert(Capability::Websocket);
    }
    if let Some(external) = plan.external() {
        let users = users(case);
        if !users.is_empty() && users.iter().all(|user| external.accounts.contains_key(*user)) {
            needs.remove(&Capability::Accounts);
        } else if !users.is_empty() || case.setup.broker.acl.is_some() {
            needs.insert(Capability::Accounts);
        }
        let anonymous = case.clients.iter().any(|client| client.user.is_none());
        let asks_about_anonymous = match setup.broker.allow_anonymous {
            Some(allowed) => allowed || anonymous,
            None => false,
        };
        let of_listeners = setup.broker.listeners.iter().any(|listener| !listener.settings.is_empty());
        let settings = !setup.broker.settings.is_empty() || of_listeners;
        if setup.broker.config.is_some() || settings || asks_about_anonymous {
            needs.insert(Capability::Config);
        }
        if setup.broker.listeners.len() > 1 || setup.broker.listeners.iter().any(|one| one.cert.is_some()) {
            needs.insert(Capability::Tls);
        }
    }
    let logs_in = plan.external().is_some_and(|external| external.control.is_some());
    if logs_in && case.clients.iter().any(|client| client.raw) {
        return Some(format!("{} wants an account, and packet blocks are sent as written", plan.name));
    }
    if let Some(lacking) = needs.iter().find(|need| !has.contains(need)) {
        return Some(format!("{} cannot do `{}`", plan.name, lacking.name()));
    }
    rumqttc::cannot(case, engine)
}

fn add_versions(case: &Case, needs: &mut BTreeSet<Capability>) {
    let own = case.clients.iter().filter_map(|client| client.protocol);
    for version in own.chain([case.protocol]) {
        match version {
            ProtocolVersion::V5 => needs.insert(Capability::V5),
            ProtocolVersion::V31 => needs.insert(Capability::V31),
            ProtocolVersion::V311 => false,
        };
    }
}

fn add_actions(steps: &[Step], needs: &mut BTreeSet<Capability>) {
    for step in steps {
        match &step.op {
            Op::Target(TargetAction::Reload) => {
                needs.insert(Capability::Reload);
            }
            Op::Target(_) => {
                needs.insert(Capability::Restart);
            }
            Op::Spawn(branches) => branches.iter().for_each(|steps| add_actions(steps, needs)),
            Op::Repeat(_, steps) => add_actions(steps, needs),
            _ => {}
        }
    }
}

/// The accounts that a case uses.
fn users(case: &Case) -> BTreeSet<&str> {
    let of_clients = case.clients.iter().filter_map(|client| client.user.as_deref());
    let of_rows = match &case.body {
        Body::Table(table) => table.rows.as_slice(),
        Body::Steps(_) => &[],
    };
    of_clients.chain(of_rows.iter().filter_map(|row| row.user.as_deref())).collect()
}
