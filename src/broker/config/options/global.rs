//! Options of the whole broker: sessions, packets, log, persistence.

use std::path::PathBuf;
use std::time::Duration;

use super::super::draft::{Draft, Entry};
use super::super::{Compat, LogDestination};
use super::Hup::{No, Yes};
use super::OptionSpec;
use super::Scope::Global;
use super::Status::{Done, Ignored, NotYet};
use crate::broker::log::LogTypes;
use crate::diagnostic::Diagnostic;
use crate::text::did_you_mean;

/// The largest payload that a packet can carry in mosquitto's eyes.
const MAX_PAYLOAD: u32 = 268_435_455;

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "compat",
        Global,
        No,
        "2.1",
        Done(compat),
        "compat 2.0",
        "which mosquitto to be like where 2.0 and 2.1 differ; an option of mqttlab's own",
    ),
    OptionSpec::new(
        "include_dir",
        Global,
        Yes,
        "(none)",
        Done(include_dir),
        "include_dir /etc/mosquitto/conf.d",
        "read every *.conf of a folder, in alphabetical order; in the main file only",
    ),
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
        "max_queued_messages",
        Global,
        Yes,
        "1000",
        Done(max_queued_messages),
        "max_queued_messages 1000",
        "messages that wait for a client beyond those; 0 is any number",
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
        "persistent_client_expiration",
        Global,
        Yes,
        "(never)",
        Done(persistent_client_expiration),
        "persistent_client_expiration 14d",
        "how long a session is kept for a client that stays away: a number and s, h, d, w, m or y",
    ),
    OptionSpec::new(
        "log_dest",
        Global,
        Yes,
        "stderr",
        Done(log_dest),
        "log_dest file /var/log/mosquitto.log",
        "where the log goes: none, stdout, stderr, file PATH; may be repeated",
    ),
    OptionSpec::new(
        "log_type",
        Global,
        Yes,
        "error warning notice information",
        Done(log_type),
        "log_type all",
        "what is logged; may be repeated; `denied` (mqttlab's own) tells who was refused what, and by which line",
    ),
    OptionSpec::new(
        "log_timestamp",
        Global,
        Yes,
        "true",
        Done(log_timestamp),
        "log_timestamp false",
        "begin each line of the log with the time",
    ),
    OptionSpec::new(
        "log_timestamp_format",
        Global,
        Yes,
        "(seconds since 1970)",
        Done(log_timestamp_format),
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        "the time in the log, as strftime(3) takes it",
    ),
    OptionSpec::new(
        "connection_messages",
        Global,
        Yes,
        "true",
        Done(connection_messages),
        "connection_messages false",
        "log when clients come and go",
    ),
    OptionSpec::new(
        "log_facility",
        Global,
        Yes,
        "daemon",
        NotYet,
        "log_facility 5",
        "the syslog facility, local0 to local7",
    ),
    OptionSpec::new(
        "allow_duplicate_messages",
        Global,
        Yes,
        "true",
        NotYet,
        "allow_duplicate_messages false",
        "one delivery for each subscription that matches (false in 2.0)",
    ),
    OptionSpec::new(
        "autosave_interval",
        Global,
        Yes,
        "1800",
        NotYet,
        "autosave_interval 60",
        "seconds, or changes, between two writes of the persistence file",
    ),
    OptionSpec::new(
        "autosave_on_changes",
        Global,
        Yes,
        "false",
        NotYet,
        "autosave_on_changes true",
        "`autosave_interval` counts changes and not seconds",
    ),
    OptionSpec::new(
        "persistence",
        Global,
        Yes,
        "false",
        NotYet,
        "persistence true",
        "keep sessions and retained messages on disk",
    ),
    OptionSpec::new(
        "retained_persistence",
        Global,
        Yes,
        "false",
        NotYet,
        "retained_persistence true",
        "the same as `persistence`",
    ),
    OptionSpec::new(
        "persistence_file",
        Global,
        Yes,
        "mosquitto.db",
        NotYet,
        "persistence_file lab.db",
        "name of the persistence file",
    ),
    OptionSpec::new(
        "persistence_location",
        Global,
        Yes,
        "(the current folder)",
        NotYet,
        "persistence_location /var/lib/mosquitto/",
        "folder of the persistence file",
    ),
    OptionSpec::new(
        "enable_control_api",
        Global,
        Yes,
        "false",
        NotYet,
        "enable_control_api true",
        "commands on $CONTROL topics (2.1)",
    ),
    OptionSpec::new(
        "global_max_clients",
        Global,
        Yes,
        "-1",
        NotYet,
        "global_max_clients 100",
        "sessions at most (2.1)",
    ),
    OptionSpec::new(
        "global_max_connections",
        Global,
        Yes,
        "-1",
        NotYet,
        "global_max_connections 100",
        "connected clients at most (2.1)",
    ),
    OptionSpec::new(
        "max_inflight_bytes",
        Global,
        Yes,
        "0",
        NotYet,
        "max_inflight_bytes 1000000",
        "bytes on their way to a client at once; 0 is any number",
    ),
    OptionSpec::new(
        "max_queued_bytes",
        Global,
        Yes,
        "0",
        NotYet,
        "max_queued_bytes 1000000",
        "bytes that wait for a client; 0 is any number",
    ),
    OptionSpec::new(
        "max_keepalive",
        Global,
        Yes,
        "0",
        NotYet,
        "max_keepalive 600",
        "the longest keep-alive that a client may ask for, in seconds; 0 is any",
    ),
    OptionSpec::new(
        "memory_limit",
        Global,
        Yes,
        "0",
        NotYet,
        "memory_limit 100000000",
        "bytes of heap; 0 is any number",
    ),
    OptionSpec::new(
        "pid_file",
        Global,
        No,
        "(none)",
        NotYet,
        "pid_file /run/mosquitto.pid",
        "where the process id is written",
    ),
    OptionSpec::new(
        "queue_qos0_messages",
        Global,
        Yes,
        "false",
        NotYet,
        "queue_qos0_messages true",
        "keep QoS 0 messages too for clients that are away",
    ),
    OptionSpec::new(
        "retain_available",
        Global,
        Yes,
        "true",
        NotYet,
        "retain_available false",
        "whether retained messages may be sent",
    ),
    OptionSpec::new(
        "retain_expiry_interval",
        Global,
        Yes,
        "0",
        NotYet,
        "retain_expiry_interval 5",
        "minutes between two looks for retained messages whose time is over",
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
    OptionSpec::new(
        "set_tcp_nodelay",
        Global,
        Yes,
        "false",
        NotYet,
        "set_tcp_nodelay true",
        "send small packets at once",
    ),
    OptionSpec::new(
        "sys_interval",
        Global,
        Yes,
        "10",
        NotYet,
        "sys_interval 0",
        "seconds between two updates of $SYS; 0 is never",
    ),
    OptionSpec::new(
        "upgrade_outgoing_qos",
        Global,
        Yes,
        "false",
        NotYet,
        "upgrade_outgoing_qos true",
        "deliver with the subscription's QoS though the message was sent with less",
    ),
    OptionSpec::new(
        "user",
        Global,
        No,
        "mosquitto",
        Ignored("mqttlab keeps the account that it was started by"),
        "user nobody",
        "the account to become when root starts the broker",
    ),
    OptionSpec::new(
        "websockets_log_level",
        Global,
        Yes,
        "0",
        Ignored("it belongs to libwebsockets"),
        "websockets_log_level 127",
        "what libwebsockets logs",
    ),
    OptionSpec::new(
        "websockets_headers_size",
        Global,
        Yes,
        "4096",
        NotYet,
        "websockets_headers_size 8192",
        "bytes of the largest HTTP header",
    ),
    OptionSpec::new(
        "packet_buffer_size",
        Global,
        Yes,
        "4096",
        NotYet,
        "packet_buffer_size 8192",
        "bytes read at once (2.1)",
    ),
];

/// The parser has looked for it before all others; here its value is checked.
fn compat(_: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let word = entry.word()?;
    match Compat::parse(word) {
        Some(_) => Ok(()),
        None => Err(entry.invalid(word).with_help("2.0 or 2.1")),
    }
}

/// The parser has read the folder; here its name is checked.
fn include_dir(_: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    entry.text().map(|_| ())
}

fn max_inflight_messages(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.limits.max_inflight_messages = entry.number_to(u16::MAX)?;
    Ok(())
}

fn max_queued_messages(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.limits.max_queued_messages = entry.number_to(u32::MAX)?;
    Ok(())
}

fn max_packet_size(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let number = entry.number()?;
    match u32::try_from(number) {
        Ok(size) if size >= 20 => draft.max_packet_size = Some(size),
        _ => return Err(entry.invalid(&number.to_string()).with_help("at least 20 bytes")),
    }
    Ok(())
}

fn message_size_limit(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let number = entry.number()?;
    match u32::try_from(number) {
        Ok(size) if size <= MAX_PAYLOAD => draft.limits.message_size_limit = size,
        _ => {
            return Err(entry.invalid(&number.to_string()).with_help(format!("at most {MAX_PAYLOAD} bytes")));
        }
    }
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

fn log_dest(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let word = entry.word()?;
    let destination = match word {
        "none" => {
            draft.log_destinations = Some(Vec::new());
            return Ok(());
        }
        "stdout" => LogDestination::Stdout,
        "stderr" => LogDestination::Stderr,
        "file" => LogDestination::File(log_file(draft, entry)?),
        "topic" | "syslog" | "dlt" | "android" => {
            let message = format!("mqttlab does not have log_dest {word} yet: the line has no effect");
            draft.diagnostics.push(entry.warning("C101", &message));
            return Ok(());
        }
        other => {
            let error = entry.invalid(other);
            let help = "none, stdout, stderr, syslog, topic or file PATH";
            return Err(error.with_help(help));
        }
    };
    let list = draft.log_destinations.get_or_insert_default();
    if !list.contains(&destination) {
        list.push(destination);
    }
    Ok(())
}

/// mosquitto keeps blanks behind the path, which nobody means: so do we, and say it.
fn log_file(draft: &mut Draft, entry: &Entry<'_>) -> Result<PathBuf, Diagnostic> {
    let path = entry.value["file".len()..].trim_start_matches(' ');
    if path.trim().is_empty() {
        let message = match entry.compat {
            Compat::V20 => "Empty \"log_dest file\" value in configuration",
            Compat::V21 => "Empty 'log_dest file' value in configuration",
        };
        return Err(entry.error("C002", message).with_help("write `log_dest file PATH`"));
    }
    if path.ends_with([' ', '\t']) {
        let message = "the name of the log file ends with a blank";
        draft
            .diagnostics
            .push(entry.warning("C104", message).with_help("remove the blank at the end of the line"));
    }
    let destinations = draft.log_destinations.as_deref().unwrap_or_default();
    if destinations.iter().any(|found| matches!(found, LogDestination::File(_))) {
        let message = match entry.compat {
            Compat::V20 => "Duplicate \"log_dest file\" value in configuration",
            Compat::V21 => "Duplicate 'log_dest file' value in configuration",
        };
        return Err(entry.error("C005", message).with_help("one file only"));
    }
    Ok(PathBuf::from(path))
}

fn log_type(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let word = entry.word()?;
    let Some(kind) = LogTypes::parse(word) else {
        let error = entry.invalid(word);
        return Err(match did_you_mean(word, LogTypes::NAMES.iter().map(|(name, _)| *name)) {
            Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
            None => error,
        });
    };
    let types = draft.log_types.get_or_insert(LogTypes::NONE);
    *types = if kind == LogTypes::NONE { kind } else { types.with(kind) };
    Ok(())
}

fn log_timestamp(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.log.timestamp = entry.boolean()?;
    Ok(())
}

fn log_timestamp_format(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.log.timestamp_format = Some(entry.text()?.text);
    Ok(())
}

fn connection_messages(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.log.connection_messages = entry.boolean()?;
    Ok(())
}
