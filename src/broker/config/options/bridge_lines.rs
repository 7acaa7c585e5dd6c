//! The lines of a `connection` block that have a grammar: `address`, `topic`, `restart_timeout`.

use std::time::Duration;

use super::super::draft::{DEFAULT_PORT, Draft, Entry};
use super::super::{BridgeDirection, BridgeRestart, BridgeTopic, Compat};
use crate::diagnostic::Diagnostic;
use crate::mqtt::QoS;
use crate::mqtt::topic::{TopicFilter, TopicName};

/// Seconds: mosquitto's longest pauses, constant and growing.
const LONGEST: [i64; 2] = [3600, 7200];

/// `HOST[:PORT] …`; behind the last colon is the port, as in mosquitto, so that an IPv6 address
/// needs one.
pub(super) fn address(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let compat = draft.compat;
    let bridge = draft.bridge(entry)?;
    if let Some(earlier) = bridge.seen.at("address") {
        let message = match compat {
            Compat::V20 => "Invalid bridge configuration",
            Compat::V21 => "Invalid bridge configuration, 'address' only allowed once",
        };
        let error = entry.error("C005", message).with_related(earlier.clone(), "here first");
        return Err(error.with_help("write all addresses in one line"));
    }
    bridge.seen.note(entry, "address");
    let mut addresses = Vec::new();
    for word in entry.words().take_while(|word| !word.starts_with('#')) {
        let (host, port) = match word.rsplit_once(':') {
            Some((host, port)) => (host, bridge_port(entry, port)?),
            None => (word, DEFAULT_PORT),
        };
        // rustls and the resolver take them bare.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        addresses.push((host.to_owned(), port));
    }
    if addresses.is_empty() {
        return Err(entry.error("C002", "Empty address value in configuration"));
    }
    bridge.config.addresses = addresses;
    Ok(())
}

fn bridge_port(entry: &Entry<'_>, text: &str) -> Result<u16, Diagnostic> {
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
        let message = match entry.compat {
            Compat::V20 => format!("Invalid port value ({text})"),
            Compat::V21 => format!("Invalid bridge port value ({text})"),
        };
        let help = if text.is_empty() || text.contains(['[', ']']) {
            "an IPv6 address needs a port: `[::1]:1883`"
        } else {
            "a port is between 1 and 65535"
        };
        entry.error("C003", &message).with_help(help)
    })
}

/// `PATTERN [[[out|in|both] QOS] LOCAL REMOTE]`, where `""` is nothing.
pub(super) fn topic(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.bridge(entry)?;
    entry.word()?;
    let (pattern, rest) = pattern(entry)?;
    let mut words = rest.split(' ').filter(|word| !word.is_empty()).take_while(|word| !word.starts_with('#'));
    let direction = match words.next().map(str::to_ascii_lowercase).as_deref() {
        None | Some("out") => BridgeDirection::Out,
        Some("in") => BridgeDirection::In,
        Some("both") => BridgeDirection::Both,
        Some(other) => {
            let message = format!("Invalid bridge topic direction '{other}'");
            return Err(entry.error("C003", &message).with_help("in, out or both"));
        }
    };
    let qos = match words.next() {
        None => QoS::AtMostOnce,
        Some(word) => word.parse().ok().and_then(QoS::from_u8).ok_or_else(|| {
            entry.error("C003", &format!("Invalid bridge QoS level '{word}'")).with_help("0, 1 or 2")
        })?,
    };
    let mut prefix = |which: &str| -> Result<Option<String>, Diagnostic> {
        let Some(word) = words.next() else { return Ok(None) };
        if word == "\"\"" {
            return Ok(None);
        }
        match TopicName::new(word) {
            Ok(_) => Ok(Some(word.to_owned())),
            Err(_) => Err(entry.error("C003", &format!("Invalid bridge topic {which} prefix '{word}'"))),
        }
    };
    let (local, remote) = (prefix("local")?, prefix("remote")?);
    if pattern.is_none() && (local.is_none() || remote.is_none()) {
        return Err(entry
            .error("C003", "Invalid bridge remapping")
            .with_help("a topic `\"\"` needs both prefixes, which are then topics themselves"));
    }
    let topic = BridgeTopic {
        pattern,
        direction,
        qos,
        local_prefix: local.unwrap_or_default(),
        remote_prefix: remote.unwrap_or_default(),
    };
    for prefix in [&topic.local_prefix, &topic.remote_prefix] {
        let whole = format!("{prefix}{}", topic.pattern.as_deref().unwrap_or_default());
        if TopicFilter::new(whole.as_str()).is_err() {
            return Err(entry.error("C003", &format!("Invalid bridge topic '{whole}'")));
        }
    }
    draft.bridge(entry)?.config.topics.push(topic);
    Ok(())
}

/// The pattern (`None` for `""`) and what follows it. 2.1 takes a pattern with blanks in quotes.
fn pattern<'a>(entry: &'a Entry<'_>) -> Result<(Option<String>, &'a str), Diagnostic> {
    let value = entry.value;
    let (word, rest) = value.split_once(' ').unwrap_or((value, ""));
    if word == "\"\"" {
        return Ok((None, rest));
    }
    match value.strip_prefix('"').filter(|_| entry.compat == Compat::V21) {
        Some(quoted) => match quoted.split_once('"') {
            Some((pattern, rest)) => Ok((Some(pattern.to_owned()), rest)),
            None => Err(entry.error("C003", &format!("Missing closing quote in topic value ({quoted})"))),
        },
        None => Ok((Some(word.to_owned()), rest)),
    }
}

/// `SECONDS`, or `BASE CAP [STABLE]`.
pub(super) fn restart_timeout(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    entry.word()?;
    let mut numbers = Vec::new();
    for word in entry.words().take_while(|word| !word.starts_with('#')).take(3) {
        numbers.push(entry.number_in(word)?);
    }
    let secs = |number: i64| Duration::from_secs(number.unsigned_abs());
    let first = numbers.first().copied().unwrap_or_default();
    let base = first.clamp(1, LONGEST[0]);
    if base != first {
        let message = if first < base {
            "restart_timeout interval too low, using 1 second"
        } else {
            "restart_timeout interval too high, using 3600 seconds"
        };
        draft.diagnostics.push(entry.warning("C110", message));
    }
    let restart = match numbers.get(1).copied() {
        None => BridgeRestart::Constant(secs(base)),
        Some(cap) => {
            if cap < base {
                let message = "backoff cap is lower than the base in restart_timeout";
                return Err(entry.error("C003", message));
            }
            if cap > LONGEST[1] {
                let message = "backoff cap too high, using 7200 seconds";
                draft.diagnostics.push(entry.warning("C110", message));
            }
            let stable = numbers.get(2).copied().unwrap_or_default();
            if stable < 0 {
                let message = "stable connection period cannot be negative";
                return Err(entry.error("C003", message));
            }
            BridgeRestart::Jitter { base: secs(base), cap: secs(cap.min(LONGEST[1])), stable: secs(stable) }
        }
    };
    draft.bridge(entry)?.config.restart = restart;
    Ok(())
}
