//! What a case needs of a broker, and whether the broker of this run has it.

use std::collections::BTreeSet;
use std::path::Path;

use super::login;
use super::profile::{Limits, Profile};
use super::target::Plan;
use super::uses::{Uses, uses};
use super::{EnvironmentError, TargetChoice, rumqttc};
use crate::scenario::{Body, Capability, Case, EngineKind, Subject};

/// Which of the cases a broker with this profile would skip, and why. Connects to nothing.
///
/// # Errors
/// The profile cannot be read.
pub fn skipped(profile: &Path, cases: &[Case]) -> Result<Vec<Option<String>>, EnvironmentError> {
    // The address says nothing but that packets are carried by TCP, and that there is an account where
    // nobody gets in without.
    let can = Profile::read(profile)?.can().unwrap_or_default();
    let account = if can.contains(&Capability::Anonymous) { "" } else { "user:password@" };
    let url = format!("mqtt://{account}localhost");
    let plan = Plan::new(&TargetChoice::External { url, profile: Some(profile.to_owned()) })?;
    Ok(cases.iter().map(|case| missing(&plan, case, None)).collect())
}

/// Why this case cannot run on this broker; `None` if it can.
pub fn missing(plan: &Plan, case: &Case, engine: Option<EngineKind>) -> Option<String> {
    if case.subject() == Subject::Client {
        let other = "it tests a client, and no broker has a part in it";
        return (!plan.is_bundled()).then(|| other.to_owned()).or_else(|| rumqttc::cannot(case, engine));
    }
    let has = plan.capabilities();
    let used = uses(case);
    let mut needs = used.needs.clone();
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
        let anonymous = case.clients.iter().any(|client| client.at_broker() && client.user.is_none());
        if anonymous && external.control.is_none() {
            needs.insert(Capability::Anonymous);
        }
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
    if let Some(why) = login::cannot(case).filter(|_| logs_in) {
        return Some(format!("{} wants an account, and {why}", plan.name));
    }
    if let Some(lacking) = needs.iter().find(|need| !has.contains(need)) {
        return Some(format!("{} cannot do `{}`", plan.name, lacking.name()));
    }
    if let Some(why) = plan.external().and_then(|external| beyond(&external.limits, &used)) {
        return Some(format!("{} {why}", plan.name));
    }
    rumqttc::cannot(case, engine)
}

/// The limit of a broker that a case goes beyond.
fn beyond(limits: &Limits, uses: &Uses) -> Option<String> {
    if let Some(most) = limits.packet_size.filter(|most| uses.payload > *most as usize) {
        return Some(format!("takes packets of {most} bytes, not of {}", uses.payload));
    }
    if let Some(most) = limits.topic_levels.filter(|most| uses.levels > usize::from(*most)) {
        return Some(format!("takes topics of {most} levels, not of {}", uses.levels));
    }
    if let (Some(least), Some(wanted)) = (limits.keep_alive_least, uses.keep_alive)
        && wanted < least
    {
        return Some(format!("takes a keep-alive from {least} s on, not of {wanted} s"));
    }
    None
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
