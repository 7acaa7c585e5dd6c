//! Options about the process and its files: persistence, account, process id, what is read besides.

use super::super::draft::{Draft, Entry};
use super::super::{Compat, PersistenceSync};
use super::Hup::{No, Yes};
use super::OptionSpec;
use super::Scope::Global;
use super::Status::{Done, Ignored};
use crate::diagnostic::Diagnostic;

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
        "persistence",
        Global,
        Yes,
        "false",
        Done(|draft, entry| entry.set(&mut draft.persistence.on)),
        "persistence true",
        "keep sessions and retained messages on disk",
    ),
    OptionSpec::new(
        "retained_persistence",
        Global,
        Yes,
        "false",
        Done(|draft, entry| entry.set(&mut draft.persistence.on)),
        "retained_persistence true",
        "the same as `persistence`",
    ),
    OptionSpec::new(
        "persistence_file",
        Global,
        Yes,
        "mosquitto.db",
        Done(persistence_file),
        "persistence_file lab.db",
        "name of the persistence file",
    ),
    OptionSpec::new(
        "persistence_location",
        Global,
        Yes,
        "(the current folder)",
        Done(persistence_location),
        "persistence_location /var/lib/mosquitto/",
        "folder of the persistence file",
    ),
    OptionSpec::new(
        "autosave_interval",
        Global,
        Yes,
        "1800",
        Done(autosave_interval),
        "autosave_interval 60",
        "seconds, or changes, between two writes of the persistence file",
    ),
    OptionSpec::new(
        "autosave_on_changes",
        Global,
        Yes,
        "false",
        Done(|draft, entry| entry.set(&mut draft.persistence.on_changes)),
        "autosave_on_changes true",
        "`autosave_interval` counts changes and not seconds",
    ),
    OptionSpec::new(
        "persistence_sync",
        Global,
        Yes,
        "autosave",
        Done(persistence_sync),
        "persistence_sync always",
        "when it is safe on disk: autosave, interval (a second) or always (before the acknowledgement); mqttlab's own",
    ),
    OptionSpec::new(
        "user",
        Global,
        No,
        "mosquitto",
        Done(user),
        "user nobody",
        "the account to become when root starts the broker",
    ),
    OptionSpec::new(
        "pid_file",
        Global,
        No,
        "(none)",
        Done(pid_file),
        "pid_file /run/mosquitto.pid",
        "where the process id is written",
    ),
    OptionSpec::new(
        "set_tcp_nodelay",
        Global,
        Yes,
        "false",
        Done(set_tcp_nodelay),
        "set_tcp_nodelay true",
        "send small packets at once; here it is always so",
    ),
    OptionSpec::new(
        "enable_control_api",
        Global,
        Yes,
        "false",
        Ignored("mqttlab has no commands on topics; use the signals of mosquitto(8)"),
        "enable_control_api true",
        "commands on $CONTROL topics (2.1)",
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
        Done(buffer_size),
        "websockets_headers_size 8192",
        "the older name of `packet_buffer_size`",
    ),
    OptionSpec::new(
        "packet_buffer_size",
        Global,
        Yes,
        "4096",
        Done(buffer_size),
        "packet_buffer_size 8192",
        "bytes of the largest request that opens a WebSocket (2.1), 4096 at least; all else grows by itself here",
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

fn persistence_file(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.persistence.file = Some(draft.text_once(entry)?);
    Ok(())
}

fn persistence_location(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.persistence.location = Some(draft.text_once(entry)?);
    Ok(())
}

fn autosave_interval(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.persistence.interval = Some(entry.amount()?);
    Ok(())
}

fn persistence_sync(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let sync = match entry.word()? {
        "autosave" => PersistenceSync::Autosave,
        "interval" => PersistenceSync::Interval,
        "always" => PersistenceSync::Always,
        other => return Err(entry.invalid(other).with_help("autosave, interval or always")),
    };
    draft.persistence.sync = Some(sync);
    if sync != PersistenceSync::Autosave {
        draft.seen.note(entry, "persistence_sync");
    }
    Ok(())
}

/// With 2.1 the last one counts.
fn user(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.process.user = Some(match draft.compat {
        Compat::V20 => draft.text_once(entry)?,
        Compat::V21 => entry.text()?,
    });
    Ok(())
}

fn pid_file(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.process.pid_file = Some(draft.text_once(entry)?.into());
    Ok(())
}

/// Small packets are sent at once whatever it says.
fn set_tcp_nodelay(_: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    entry.boolean().map(drop)
}

/// Buffers grow with what they hold: the number limits only what a browser may say before MQTT.
fn buffer_size(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    if let Ok(size) = u16::try_from(entry.number()?) {
        draft.process.packet_buffer_size = size;
        return Ok(());
    }
    let what = match entry.compat {
        Compat::V20 => "Websockets headers size",
        Compat::V21 => "Packet buffer size",
    };
    Err(entry.error("C003", &format!("{what} must be between 0 and 65535 inclusive")))
}
