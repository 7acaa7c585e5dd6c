//! Options about the log: where it goes, what it holds, how its lines begin.

use std::path::PathBuf;

use super::super::draft::{Draft, Entry};
use super::super::{Compat, LogDestination};
use super::Hup::Yes;
use super::OptionSpec;
use super::Scope::Global;
use super::Status::Done;
use crate::broker::log::LogTypes;
use crate::diagnostic::Diagnostic;
use crate::text::did_you_mean;

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "log_dest",
        Global,
        Yes,
        "stderr",
        Done(log_dest),
        "log_dest file /var/log/mosquitto.log",
        "where the log goes: none, stdout, stderr, syslog, topic ($SYS/broker/log/…), file PATH; may be repeated",
    ),
    OptionSpec::new(
        "log_facility",
        Global,
        Yes,
        "daemon",
        Done(log_facility),
        "log_facility 5",
        "the syslog facility, local0 to local7",
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
];

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
        "topic" => LogDestination::Topic,
        // Its facility may come later.
        "syslog" => LogDestination::Syslog(None),
        "dlt" | "android" => {
            let message = format!("log_dest {word} has no effect here: it belongs to another system");
            draft.diagnostics.push(entry.warning("C102", &message));
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
    draft.log.timestamp_format = Some(entry.text()?);
    Ok(())
}

fn connection_messages(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.log.connection_messages = entry.boolean()?;
    Ok(())
}

fn log_facility(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let help = |error: Diagnostic| error.with_help("0 to 7, which stand for local0 to local7");
    draft.log_facility = Some(entry.number_up_to(7).map_err(help)?);
    Ok(())
}
