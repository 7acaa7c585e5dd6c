//! Options about who may come in and what they may do; plugins, which we refuse to leave out
//! silently because they would have decided that.

use super::super::draft::{Draft, Entry, Text};
use super::Hup::{No, Yes};
use super::Scope::{Plugin, Security};
use super::Status::{Done, Ignored, NotYet, Refused};
use super::{OptionSpec, Scope};
use crate::diagnostic::Diagnostic;

const PLUGIN: &str = "mqttlab loads no plugins, and without this one other clients would be let in";
const PSK: &str = "mqttlab has no pre-shared keys, and a listener without them would be open";

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
        NotYet,
        "allow_zero_length_clientid false",
        "invent an identifier for clients that send an empty one",
    ),
    OptionSpec::new(
        "auto_id_prefix",
        Security,
        Yes,
        "auto-",
        NotYet,
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
    OptionSpec::new(
        "clientid_prefixes",
        Scope::Global,
        Yes,
        "(none)",
        Refused("mqttlab does not have it yet, and without it other clients would be let in"),
        "clientid_prefixes lab-",
        "only identifiers that begin so may connect; deprecated",
    ),
    OptionSpec::new(
        "check_retain_source",
        Scope::Global,
        Yes,
        "false",
        NotYet,
        "check_retain_source true",
        "before a retained message is sent, ask whether its publisher may still write the topic",
    ),
];

fn allow_anonymous(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let value = entry.boolean()?;
    draft.security(entry).allow_anonymous = Some(value);
    Ok(())
}

fn password_file(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let text = entry.text()?;
    if draft.opens_default_listener(entry) {
        draft.default_listener.exists = true;
    }
    set_once(entry, &mut draft.security(entry).password_file, text)
}

fn acl_file(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let text = entry.text()?;
    set_once(entry, &mut draft.security(entry).acl_file, text)
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

/// Options with a text may stand once.
pub(super) fn set_once(entry: &Entry<'_>, slot: &mut Option<Text>, text: Text) -> Result<(), Diagnostic> {
    match slot {
        None => {
            *slot = Some(text);
            Ok(())
        }
        Some(earlier) => Err(entry
            .error("C005", &format!("Duplicate {} value in configuration", entry.quoted()))
            .with_related(earlier.span.clone(), "here first")),
    }
}
