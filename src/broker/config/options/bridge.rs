//! Options of a `connection` block: where the other broker is, what is forwarded, who we are there.

use std::time::Duration;

use super::super::draft::{BridgeDraft, Draft, Entry};
use super::super::{BridgeStart, Compat};
use super::Hup::{No, Since21};
use super::OptionSpec;
use super::Scope::Bridge;
use super::Status::Done;
use super::bridge_lines::{address, restart_timeout, topic};
use crate::diagnostic::Diagnostic;
use crate::mqtt::ProtocolVersion;

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "connection",
        Bridge,
        No,
        "(none)",
        Done(connection),
        "connection cloud",
        "open a bridge to another broker; the lines below belong to it",
    ),
    OptionSpec::new(
        "address",
        Bridge,
        Since21,
        "(none)",
        Done(address),
        "address broker.example:1883",
        "where the other broker is: host and port, several of them",
    ),
    OptionSpec::new(
        "addresses",
        Bridge,
        Since21,
        "(none)",
        Done(address),
        "addresses a.example b.example",
        "the same as `address`",
    ),
    OptionSpec::new(
        "topic",
        Bridge,
        Since21,
        "(none)",
        Done(topic),
        "topic sensor/# out 1 local/ remote/",
        "what is forwarded, in which direction, with which QoS and prefixes",
    ),
    OptionSpec::new(
        "bridge_attempt_unsubscribe",
        Bridge,
        Since21,
        "true",
        Done(|draft, entry| entry.set(&mut draft.bridge(entry)?.config.attempt_unsubscribe)),
        "bridge_attempt_unsubscribe false",
        "take back subscriptions that an earlier run may have left",
    ),
    OptionSpec::new(
        "bridge_outgoing_retain",
        Bridge,
        Since21,
        "true",
        Done(|draft, entry| entry.set(&mut draft.bridge(entry)?.config.outgoing_retain)),
        "bridge_outgoing_retain false",
        "keep the retain flag of what goes out",
    ),
    OptionSpec::new(
        "bridge_protocol_version",
        Bridge,
        Since21,
        "mqttv311",
        Done(protocol_version),
        "bridge_protocol_version mqttv50",
        "mqttv31, mqttv311 or mqttv50",
    ),
    OptionSpec::new(
        "bridge_reload_type",
        Bridge,
        Since21,
        "lazy",
        Done(reload_type),
        "bridge_reload_type immediate",
        "when SIGHUP's changes reach the bridge (2.1)",
    ),
    OptionSpec::new(
        "cleansession",
        Bridge,
        Since21,
        "false",
        Done(|draft, entry| entry.set(&mut draft.bridge(entry)?.config.clean_session)),
        "cleansession true",
        "a clean session at the other broker",
    ),
    OptionSpec::new(
        "local_cleansession",
        Bridge,
        Since21,
        "(cleansession)",
        Done(local_cleansession),
        "local_cleansession true",
        "a clean session at this one",
    ),
    OptionSpec::new(
        "keepalive_interval",
        Bridge,
        Since21,
        "60",
        Done(keepalive_interval),
        "keepalive_interval 30",
        "seconds between two signs of life, at least 5",
    ),
    OptionSpec::new(
        "idle_timeout",
        Bridge,
        Since21,
        "60",
        Done(idle_timeout),
        "idle_timeout 120",
        "seconds until a lazy bridge closes",
    ),
    OptionSpec::new(
        "threshold",
        Bridge,
        Since21,
        "10",
        Done(threshold),
        "threshold 50",
        "waiting messages that wake a lazy bridge",
    ),
    OptionSpec::new(
        "start_type",
        Bridge,
        Since21,
        "automatic",
        Done(start_type),
        "start_type lazy",
        "automatic, lazy or once",
    ),
    OptionSpec::new(
        "restart_timeout",
        Bridge,
        Since21,
        "5 30",
        Done(restart_timeout),
        "restart_timeout 10 60",
        "seconds until the next attempt: fixed, or between two bounds",
    ),
    OptionSpec::new(
        "round_robin",
        Bridge,
        Since21,
        "false",
        Done(|draft, entry| entry.set(&mut draft.bridge(entry)?.config.round_robin)),
        "round_robin true",
        "all addresses are equal; else the first is the main one",
    ),
    OptionSpec::new(
        "try_private",
        Bridge,
        Since21,
        "true",
        Done(|draft, entry| entry.set(&mut draft.bridge(entry)?.config.try_private)),
        "try_private false",
        "tell the other broker that we are a bridge",
    ),
    OptionSpec::new(
        "notifications",
        Bridge,
        Since21,
        "true",
        Done(notifications),
        "notifications false",
        "publish whether the bridge is up",
    ),
    OptionSpec::new(
        "notifications_local_only",
        Bridge,
        Since21,
        "false",
        Done(notifications_local_only),
        "notifications_local_only true",
        "publish it on this broker only",
    ),
    OptionSpec::new(
        "notification_topic",
        Bridge,
        Since21,
        "$SYS/broker/connection/ID/state",
        Done(|draft, entry| {
            draft.bridge(entry)?.text(entry, "notification_topic", |config| &mut config.notification_topic)
        }),
        "notification_topic bridge/state",
        "where it is published",
    ),
    OptionSpec::new(
        "clientid",
        Bridge,
        Since21,
        "(HOST.NAME)",
        Done(|draft, entry| {
            draft.bridge(entry)?.text(entry, "bridge remote clientid", |config| &mut config.remote_client_id)
        }),
        "clientid lab",
        "the same as `remote_clientid`",
    ),
    OptionSpec::new(
        "remote_clientid",
        Bridge,
        Since21,
        "(HOST.NAME)",
        Done(|draft, entry| {
            draft.bridge(entry)?.text(entry, "bridge remote clientid", |config| &mut config.remote_client_id)
        }),
        "remote_clientid lab",
        "identifier at the other broker",
    ),
    OptionSpec::new(
        "local_clientid",
        Bridge,
        Since21,
        "(local.ID)",
        Done(|draft, entry| {
            draft.bridge(entry)?.text(entry, "bridge local clientid", |config| &mut config.local_client_id)
        }),
        "local_clientid lab-local",
        "identifier at this one",
    ),
    OptionSpec::new(
        "username",
        Bridge,
        Since21,
        "(none)",
        Done(|draft, entry| {
            draft.bridge(entry)?.text(entry, "bridge remote_username", |config| &mut config.remote_username)
        }),
        "username alice",
        "the same as `remote_username`",
    ),
    OptionSpec::new(
        "remote_username",
        Bridge,
        Since21,
        "(none)",
        Done(|draft, entry| {
            draft.bridge(entry)?.text(entry, "bridge remote_username", |config| &mut config.remote_username)
        }),
        "remote_username alice",
        "user name at the other broker",
    ),
    OptionSpec::new(
        "password",
        Bridge,
        Since21,
        "(none)",
        Done(|draft, entry| {
            draft.bridge(entry)?.text(entry, "bridge remote_password", |config| &mut config.remote_password)
        }),
        "password secret",
        "the same as `remote_password`",
    ),
    OptionSpec::new(
        "remote_password",
        Bridge,
        Since21,
        "(none)",
        Done(|draft, entry| {
            draft.bridge(entry)?.text(entry, "bridge remote_password", |config| &mut config.remote_password)
        }),
        "remote_password secret",
        "password at the other broker",
    ),
    OptionSpec::new(
        "local_username",
        Bridge,
        Since21,
        "(none)",
        Done(|draft, entry| {
            draft.bridge(entry)?.text(entry, "bridge local_username", |config| &mut config.local_username)
        }),
        "local_username bridge",
        "user name at this one",
    ),
    OptionSpec::new(
        "local_password",
        Bridge,
        Since21,
        "(none)",
        Done(|draft, entry| {
            draft.bridge(entry)?.text(entry, "bridge local_password", |config| &mut config.local_password)
        }),
        "local_password secret",
        "password at this one",
    ),
];

fn connection(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let name = entry.word()?;
    let taken = draft.bridges.iter().any(|bridge| bridge.config.name == name);
    draft.bridges.push(BridgeDraft::new(name, entry.value_span.clone()));
    draft.at.bridge = Some(draft.bridges.len() - 1);
    if taken {
        let quote = if entry.compat == Compat::V20 { '"' } else { '\'' };
        return Err(entry.error("C005", &format!("Duplicate bridge name {quote}{name}{quote}")));
    }
    Ok(())
}

fn protocol_version(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let text = entry.text()?;
    draft.bridge(entry)?.config.version = match text.as_str() {
        "mqttv31" => ProtocolVersion::V31,
        "mqttv311" => ProtocolVersion::V311,
        "mqttv50" => ProtocolVersion::V5,
        other => return Err(entry.invalid(other).with_help("mqttv31, mqttv311 or mqttv50")),
    };
    Ok(())
}

fn reload_type(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.bridge(entry)?.config.reload_at_once = match entry.word()? {
        "lazy" => false,
        "immediate" => true,
        other => return Err(bad_word(entry, other).with_help("lazy or immediate")),
    };
    Ok(())
}

fn start_type(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let bridge = draft.bridge(entry)?;
    (bridge.lazy, bridge.config.start) = match entry.word()? {
        "automatic" => (false, BridgeStart::Automatic),
        "once" => (false, BridgeStart::Once),
        // Its figures may come later.
        "lazy" => (true, BridgeStart::Automatic),
        "manual" => return Err(entry.error("C003", "Manual start_type not supported")),
        other => return Err(bad_word(entry, other).with_help("automatic, lazy or once")),
    };
    Ok(())
}

fn bad_word(entry: &Entry<'_>, word: &str) -> Diagnostic {
    entry.error("C003", &format!("Invalid {} value in configuration ({word})", entry.quoted()))
}

fn local_cleansession(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.bridge(entry)?.config.local_clean_session = Some(entry.boolean()?);
    Ok(())
}

fn keepalive_interval(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let number = entry.number()?;
    if number > i64::from(u16::MAX) {
        return Err(entry.error("C003", "Bridge keepalive value too high").with_help("65535 at most"));
    }
    let seconds = at_least(draft, entry, number, 5, "keepalive interval too low, using 5 seconds");
    draft.bridge(entry)?.config.keep_alive = Duration::from_secs(seconds.into());
    Ok(())
}

fn idle_timeout(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let number = entry.number()?;
    let seconds = at_least(draft, entry, number, 1, "idle_timeout interval too low, using 1 second");
    draft.bridge(entry)?.idle_secs = seconds;
    Ok(())
}

fn threshold(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let number = entry.number()?;
    let messages = at_least(draft, entry, number, 1, "threshold too low, using 1 message");
    draft.bridge(entry)?.threshold = messages;
    Ok(())
}

/// What is less than the least counts as that, which is told.
pub(super) fn at_least(draft: &mut Draft, entry: &Entry<'_>, number: i64, least: u32, message: &str) -> u32 {
    match u32::try_from(number) {
        Ok(number) if number >= least => number,
        _ => {
            draft.diagnostics.push(entry.warning("C110", message));
            least
        }
    }
}

fn notifications(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.bridge(entry)?.notifications = entry.boolean()?;
    Ok(())
}

fn notifications_local_only(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.bridge(entry)?.local_only = entry.boolean()?;
    Ok(())
}
