//! Options about who may come in and what they may do; plugins, which we refuse to leave out
//! silently because they would have decided that.

use super::super::draft::{Draft, Entry};
use super::Hup::{No, Yes};
use super::Scope::{Plugin, Security};
use super::Status::{Done, Ignored, Refused};
use super::{OptionSpec, Scope};
use crate::diagnostic::Diagnostic;

const PLUGIN: &str = "mqttlab loads no plugins, and without this one other clients would be let in";
pub(super) const PSK: &str = "mqttlab has no pre-shared keys, and without them others would be let in";

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "allow_anonymous",
        Security,
        Yes,
        "false",
        Done(allow_anonymous),
        "allow_anonymous true",
        "let clients in that give no user name; true by itself while no listener is configured",
    ),
    OptionSpec::new(
        "password_file",
        Security,
        Yes,
        "(none)",
        Done(password_file),
        "password_file /etc/mosquitto/passwd",
        "users and their hashes, made by `mqttlab passwd`",
    ),
    OptionSpec::new(
        "acl_file",
        Security,
        Yes,
        "(none)",
        Done(acl_file),
        "acl_file /etc/mosquitto/acl",
        "who may read and write which topics; without it everybody may everything",
    ),
    OptionSpec::new(
        "per_listener_settings",
        Scope::Global,
        Yes,
        "false",
        Done(per_listener_settings),
        "per_listener_settings true",
        "each listener has security options of its own, those written below it",
    ),
    OptionSpec::new(
        "allow_zero_length_clientid",
        Security,
        Yes,
        "true",
        Done(allow_zero_length_clientid),
        "allow_zero_length_clientid false",
        "invent an identifier for clients that send an empty one",
    ),
    OptionSpec::new(
        "auto_id_prefix",
        Security,
        Yes,
        "auto-",
        Done(auto_id_prefix),
        "auto_id_prefix lab-",
        "how invented identifiers begin, up to 50 characters",
    ),
    OptionSpec::new(
        "psk_file",
        Security,
        Yes,
        "(none)",
        Refused(PSK),
        "psk_file /etc/mosquitto/psk",
        "pre-shared keys, `identity:hexkey` a line",
    ),
    OptionSpec::new(
        "plugin",
        Security,
        No,
        "(none)",
        Refused(PLUGIN),
        "plugin /usr/lib/p.so",
        "a shared object that decides",
    ),
    OptionSpec::new(
        "auth_plugin",
        Security,
        No,
        "(none)",
        Refused(PLUGIN),
        "auth_plugin /usr/lib/p.so",
        "the older name of `plugin`",
    ),
    OptionSpec::new(
        "global_plugin",
        Scope::Global,
        No,
        "(none)",
        Refused(PLUGIN),
        "global_plugin /usr/lib/p.so",
        "a plugin for all listeners (2.1)",
    ),
    OptionSpec::new(
        "plugin_load",
        Plugin,
        No,
        "(none)",
        Refused(PLUGIN),
        "plugin_load name /usr/lib/p.so",
        "load a plugin once, for `plugin_use` (2.1)",
    ),
    OptionSpec::new(
        "plugin_use",
        Scope::Listener,
        No,
        "(none)",
        Refused(PLUGIN),
        "plugin_use name",
        "attach a loaded plugin to the listener (2.1)",
    ),
    OptionSpec::new(
        "auth_plugin_deny_special_chars",
        Plugin,
        No,
        "true",
        Ignored("there is no plugin to protect"),
        "auth_plugin_deny_special_chars false",
        "keep names that hold + or # from plugins",
    ),
    OptionSpec::new(
        "plugin_opt_*",
        Plugin,
        No,
        "(none)",
        Ignored("it is for a plugin"),
        "plugin_opt_db /var/lib/p.db",
        "a setting of the plugin above",
    ),
    OptionSpec::new(
        "auth_opt_*",
        Plugin,
        No,
        "(none)",
        Ignored("it is for a plugin"),
        "auth_opt_db /var/lib/p.db",
        "the older name of `plugin_opt_*`",
    ),
];

fn allow_anonymous(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let value = entry.boolean()?;
    draft.security(entry).allow_anonymous = Some(value);
    Ok(())
}

fn password_file(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    entry.text()?;
    if draft.opens_default_listener(entry) {
        draft.default_listener.exists = true;
    }
    let security = draft.security(entry);
    security.password_file = Some(entry.text_once(&mut security.seen, entry.spec.name)?.into());
    Ok(())
}

fn acl_file(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    entry.text()?;
    let security = draft.security(entry);
    security.acl_file = Some(entry.text_once(&mut security.seen, entry.spec.name)?.into());
    Ok(())
}

fn allow_zero_length_clientid(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let value = entry.boolean()?;
    draft.security(entry).allow_zero_length_clientid = Some(value);
    Ok(())
}

fn auto_id_prefix(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let security = draft.security(entry);
    let prefix = entry.text_once(&mut security.seen, entry.spec.name)?;
    security.auto_id_prefix = Some(short(entry, prefix)?);
    Ok(())
}

/// A prefix of invented identifiers, which mosquitto bounds.
pub(super) fn short(entry: &Entry<'_>, prefix: String) -> Result<String, Diagnostic> {
    if prefix.len() <= 50 {
        return Ok(prefix);
    }
    let name = if entry.name == "auto_id_prefix" { entry.name.to_owned() } else { entry.quoted() };
    Err(entry.error("C003", &format!("{name} length must be <= 50")))
}

fn per_listener_settings(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let value = entry.boolean()?;
    if let Some(earlier) = &draft.first_security {
        let message = "per_listener_settings must be set before any other security settings";
        return Err(entry
            .error("C010", message)
            .with_related(earlier.clone(), "a security setting before it")
            .with_help("make it the first line of the file"));
    }
    draft.per_listener = value;
    Ok(())
}
