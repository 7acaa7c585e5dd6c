//! Options about sessions: what they may use, what is queued, retained and counted for them.

use std::time::Duration;

use super::super::Compat;
use super::super::draft::{Draft, Entry};
use super::Hup::{No, Yes};
use super::OptionSpec;
use super::Scope::Global;
use super::Status::{Done, Ignored};
use crate::diagnostic::Diagnostic;

/// The largest payload that a packet can carry in mosquitto's eyes.
const MAX_PAYLOAD: u32 = 268_435_455;

/// Minutes: mosquitto's longest `retain_expiry_interval`, 19 years.
const MAX_RETAIN_EXPIRY: i64 = 10_000_000;

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "max_inflight_messages",
        Global,
        Yes,
        "20",
        Done(max_inflight_messages),
        "max_inflight_messages 20",
        "messages of QoS 1 and 2 on their way to a client at once; 0 is any number",
    ),
    OptionSpec::new(
        "max_inflight_bytes",
        Global,
        Yes,
        "0",
        Done(|draft, entry| bytes(entry, &mut draft.limits.max_inflight_bytes)),
        "max_inflight_bytes 1000000",
        "bytes on their way to a client at once; 0 is any number",
    ),
    OptionSpec::new(
        "max_queued_messages",
        Global,
        Yes,
        "1000",
        Done(max_queued_messages),
        "max_queued_messages 1000",
        "messages that wait for a client beyond those; 0 is any number",
    ),
    OptionSpec::new(
        "max_queued_bytes",
        Global,
        Yes,
        "0",
        Done(|draft, entry| bytes(entry, &mut draft.limits.max_queued_bytes)),
        "max_queued_bytes 1000000",
        "bytes that wait for a client; 0 is any number",
    ),
    OptionSpec::new(
        "max_packet_size",
        Global,
        Yes,
        "2000000",
        Done(max_packet_size),
        "max_packet_size 65536",
        "bytes of the largest packet, at least 20; told to 5.0 clients; no limit in 2.0 unless set",
    ),
    OptionSpec::new(
        "message_size_limit",
        Global,
        Yes,
        "0",
        Done(message_size_limit),
        "message_size_limit 65536",
        "bytes of the largest payload; what is larger is acknowledged and dropped; 0 is any",
    ),
    OptionSpec::new(
        "max_keepalive",
        Global,
        Yes,
        "0",
        Done(max_keepalive),
        "max_keepalive 600",
        "the longest keep-alive that a client may ask for, in seconds; 0 is any",
    ),
    OptionSpec::new(
        "persistent_client_expiration",
        Global,
        Yes,
        "(never)",
        Done(persistent_client_expiration),
        "persistent_client_expiration 14d",
        "how long a session is kept for a client that stays away: a number and s, h, d, w, m or y",
    ),
    OptionSpec::new(
        "queue_qos0_messages",
        Global,
        Yes,
        "false",
        Done(|draft, entry| entry.set(&mut draft.limits.queue_qos0_messages)),
        "queue_qos0_messages true",
        "keep QoS 0 messages too for clients that are away",
    ),
    OptionSpec::new(
        "retain_available",
        Global,
        Yes,
        "true",
        Done(|draft, entry| entry.set(&mut draft.limits.retain_available)),
        "retain_available false",
        "whether retained messages may be sent",
    ),
    OptionSpec::new(
        "retain_expiry_interval",
        Global,
        Yes,
        "0",
        Done(retain_expiry_interval),
        "retain_expiry_interval 5",
        "minutes between two looks for retained messages whose time is over",
    ),
    OptionSpec::new(
        "check_retain_source",
        Global,
        Yes,
        "false",
        Done(|draft, entry| entry.set(&mut draft.limits.check_retain_source)),
        "check_retain_source true",
        "before a retained message is sent, ask whether its publisher may still write the topic",
    ),
    OptionSpec::new(
        "upgrade_outgoing_qos",
        Global,
        Yes,
        "false",
        Done(|draft, entry| entry.set(&mut draft.limits.upgrade_outgoing_qos)),
        "upgrade_outgoing_qos true",
        "deliver with the subscription's QoS though the message was sent with less",
    ),
    OptionSpec::new(
        "allow_duplicate_messages",
        Global,
        Yes,
        "true",
        Done(allow_duplicate_messages),
        "allow_duplicate_messages false",
        "one delivery for each subscription that matches (false in 2.0)",
    ),
    OptionSpec::new(
        "clientid_prefixes",
        Global,
        Yes,
        "(none)",
        Done(clientid_prefixes),
        "clientid_prefixes lab-",
        "only identifiers that begin so may connect; deprecated",
    ),
    OptionSpec::new(
        "global_max_clients",
        Global,
        Yes,
        "-1",
        Done(|draft, entry| limit(entry, &mut draft.limits.global_max_clients)),
        "global_max_clients 100",
        "sessions at most (2.1)",
    ),
    OptionSpec::new(
        "global_max_connections",
        Global,
        Yes,
        "-1",
        Done(|draft, entry| limit(entry, &mut draft.limits.global_max_connections)),
        "global_max_connections 100",
        "connected clients at most (2.1)",
    ),
    OptionSpec::new(
        "memory_limit",
        Global,
        Yes,
        "0",
        Done(memory_limit),
        "memory_limit 100000000",
        "bytes of heap; 0 is any number",
    ),
    OptionSpec::new(
        "sys_interval",
        Global,
        Yes,
        "10",
        Done(sys_interval),
        "sys_interval 0",
        "seconds between two updates of $SYS; 0 is never",
    ),
    OptionSpec::new(
        "retry_interval",
        Global,
        No,
        "(none)",
        Ignored("mosquitto has removed it; only a reconnect sends again"),
        "retry_interval 20",
        "seconds until a message was sent again, long ago",
    ),
];

fn max_inflight_messages(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let number = entry.number()?.max(0);
    draft.limits.max_inflight_messages = u16::try_from(number)
        .map_err(|_| entry.error("C003", &format!("{} must be <= {}", entry.quoted(), u16::MAX)))?;
    Ok(())
}

fn max_queued_messages(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.limits.max_queued_messages = entry.amount()?;
    Ok(())
}

fn bytes(entry: &Entry<'_>, slot: &mut u64) -> Result<(), Diagnostic> {
    *slot = entry.amount()?.into();
    Ok(())
}

fn limit(entry: &Entry<'_>, slot: &mut Option<u32>) -> Result<(), Diagnostic> {
    *slot = entry.limit()?;
    Ok(())
}

fn max_packet_size(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let number = entry.number()?;
    match (u32::try_from(number), entry.compat) {
        (Ok(size), _) if size >= 20 => draft.max_packet_size = Some(size),
        (_, Compat::V20) => return Err(entry.invalid(number).with_help("at least 20 bytes")),
        (_, Compat::V21) => {
            return Err(entry.error("C003", &format!("{} must be >= 20", entry.quoted())));
        }
    }
    Ok(())
}

fn message_size_limit(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let help = |error: Diagnostic| error.with_help(format!("at most {MAX_PAYLOAD} bytes"));
    draft.limits.message_size_limit = entry.number_up_to(MAX_PAYLOAD).map_err(help)?;
    Ok(())
}

fn max_keepalive(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let help = |error: Diagnostic| error.with_help("seconds, at most 65535; 0 is any");
    draft.limits.max_keepalive = entry.number_up_to(u16::MAX).map_err(help)?;
    Ok(())
}

fn memory_limit(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let number = entry.long()?;
    let bytes = u64::try_from(number).map_err(|_| entry.invalid(number))?;
    draft.limits.memory_limit = (bytes > 0).then_some(bytes);
    Ok(())
}

fn sys_interval(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let help = |error: Diagnostic| error.with_help("seconds, at most 65535; 0 is never");
    draft.sys_interval_secs = entry.number_up_to(u16::MAX).map_err(help)?;
    Ok(())
}

fn allow_duplicate_messages(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.allow_duplicate_messages = Some(entry.boolean()?);
    Ok(())
}

fn clientid_prefixes(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.limits.clientid_prefixes = Some(draft.text_once(entry)?);
    Ok(())
}

fn retain_expiry_interval(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let number = entry.number()?;
    if number < 1 {
        return Err(entry.error("C003", "retain_expiry_interval must be >= 1").with_help("minutes"));
    }
    if number > MAX_RETAIN_EXPIRY {
        let message = "retain_expiry_interval being capped at 19 years";
        draft.diagnostics.push(entry.warning("C110", message));
    }
    let minutes = number.min(MAX_RETAIN_EXPIRY).unsigned_abs();
    draft.limits.retain_expiry_interval = Some(Duration::from_secs(minutes * 60));
    Ok(())
}

fn persistent_client_expiration(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let word = entry.word()?;
    let invalid = || {
        let message = format!("Invalid {} duration in configuration", entry.quoted());
        entry.error("C003", &message).with_help("a number from 1 and s, h, d, w, m or y: `14d`")
    };
    let unit = word.chars().last().unwrap_or_default();
    let seconds = match unit {
        's' if entry.compat == Compat::V21 => 1,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        'm' => 30 * 86_400,
        'y' => 365 * 86_400,
        _ => return Err(invalid()),
    };
    let number: u64 = word.trim_end_matches(unit).parse().ok().filter(|n| *n > 0).ok_or_else(invalid)?;
    let seconds = number.checked_mul(seconds).ok_or_else(invalid)?;
    // 2106 is for ever.
    let seconds = seconds.min(u64::from(u32::MAX));
    draft.limits.persistent_client_expiration = Some(Duration::from_secs(seconds));
    Ok(())
}
