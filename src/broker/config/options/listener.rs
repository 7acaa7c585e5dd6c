//! Options of a `listener` block: where it listens, what it speaks, what its clients may do.

use std::net::IpAddr;

use super::super::draft::{Draft, Entry, ListenerDraft};
use super::super::{Compat, ListenerConfig, ListenerProtocol, ProxyVersion, SocketDomain};
use super::Hup::{No, Yes};
use super::OptionSpec;
use super::Scope::{DefaultListener, Listener};
use super::Status::Done;
use super::security::short;
use crate::diagnostic::Diagnostic;
use crate::mqtt::topic::TopicName;
use crate::mqtt::{ProtocolVersion, QoS};

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "listener",
        Listener,
        No,
        "1883 127.0.0.1",
        Done(listener),
        "listener 1883",
        "open a port, on an address if one follows; the lines below belong to it",
    ),
    OptionSpec::new(
        "port",
        DefaultListener,
        No,
        "1883",
        Done(port),
        "port 1883",
        "port of the default listener; deprecated",
    ),
    OptionSpec::new(
        "bind_address",
        DefaultListener,
        No,
        "(all)",
        Done(bind_address),
        "bind_address 127.0.0.1",
        "address of the default listener; deprecated",
    ),
    OptionSpec::new(
        "listener_allow_anonymous",
        Listener,
        No,
        "(allow_anonymous)",
        Done(listener_allow_anonymous),
        "listener_allow_anonymous true",
        "`allow_anonymous` for this listener alone (2.1)",
    ),
    OptionSpec::new(
        "listener_auto_id_prefix",
        Listener,
        No,
        "auto-",
        Done(listener_auto_id_prefix),
        "listener_auto_id_prefix lab-",
        "`auto_id_prefix` for this listener alone (2.1)",
    ),
    OptionSpec::new(
        "bind_interface",
        Listener,
        No,
        "(none)",
        Done(bind_interface),
        "bind_interface eth0",
        "serve one network interface only",
    ),
    OptionSpec::new(
        "socket_domain",
        Listener,
        No,
        "both",
        Done(socket_domain),
        "socket_domain ipv4",
        "ipv4 or ipv6 only",
    ),
    OptionSpec::new(
        "max_connections",
        Listener,
        No,
        "-1",
        Done(max_connections),
        "max_connections 100",
        "clients at once on this listener; -1 is any number",
    ),
    OptionSpec::new("max_qos", Listener, No, "2", Done(max_qos), "max_qos 1", "the highest QoS of a PUBLISH"),
    OptionSpec::new(
        "maximum_qos",
        Listener,
        No,
        "2",
        Done(max_qos),
        "maximum_qos 1",
        "the same as `max_qos`",
    ),
    OptionSpec::new(
        "max_topic_alias",
        Listener,
        No,
        "10",
        Done(|draft, entry| alias(entry, &mut draft.listener().config.max_topic_alias)),
        "max_topic_alias 20",
        "topic aliases that a client may use (5.0)",
    ),
    OptionSpec::new(
        "max_topic_alias_broker",
        Listener,
        No,
        "10",
        Done(|draft, entry| alias(entry, &mut draft.listener().config.max_topic_alias_broker)),
        "max_topic_alias_broker 0",
        "topic aliases that the broker uses towards a client (2.1)",
    ),
    OptionSpec::new(
        "mount_point",
        Listener,
        No,
        "(none)",
        Done(mount_point),
        "mount_point lab1/",
        "a prefix that the listener's clients do not see",
    ),
    OptionSpec::new(
        "accept_protocol_versions",
        Listener,
        Yes,
        "3,4,5",
        Done(accept_protocol_versions),
        "accept_protocol_versions 4,5",
        "protocol levels that are let in (2.1)",
    ),
    OptionSpec::new(
        "enable_proxy_protocol",
        Listener,
        No,
        "(off)",
        Done(enable_proxy_protocol),
        "enable_proxy_protocol 2",
        "clients come through a proxy that tells their address (2.1)",
    ),
    OptionSpec::new(
        "proxy_protocol_v2_require_tls",
        Listener,
        No,
        "false",
        Done(proxy_protocol_v2_require_tls),
        "proxy_protocol_v2_require_tls true",
        "turn away what did not reach the proxy over TLS (2.1)",
    ),
    OptionSpec::new(
        "protocol",
        Listener,
        No,
        "mqtt",
        Done(protocol),
        "protocol websockets",
        "mqtt, websockets, or http_api (2.1)",
    ),
    OptionSpec::new(
        "http_dir",
        Listener,
        No,
        "(none)",
        Done(http_dir),
        "http_dir /srv/www",
        "files that the listener serves over HTTP",
    ),
    OptionSpec::new(
        "websockets_origin",
        Listener,
        No,
        "(any)",
        Done(websockets_origin),
        "websockets_origin https://lab.example",
        "the only Origin that browsers may come from (2.1)",
    ),
    OptionSpec::new(
        "use_username_as_clientid",
        Listener,
        No,
        "false",
        Done(|draft, entry| entry.set(&mut draft.listener().config.use_username_as_clientid)),
        "use_username_as_clientid true",
        "the user name takes the place of the client identifier",
    ),
];

fn listener(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let port = read_port(entry)?;
    let place = entry.words().nth(1).filter(|word| !word.starts_with('#'));
    let mut config = ListenerConfig { port, ..ListenerConfig::default() };
    match place {
        // A free port is an extension of ours: mosquitto takes every word behind 0 for a path.
        Some(host) if port != 0 || host == "localhost" || host.parse::<IpAddr>().is_ok() => {
            config.bind = Some(host.to_owned());
        }
        Some(path) => config.unix = Some(path.into()),
        None => {}
    }
    draft.listeners.push(ListenerDraft { exists: true, config, ..ListenerDraft::default() });
    draft.at.listener = Some(draft.listeners.len() - 1);
    Ok(())
}

fn read_port(entry: &Entry<'_>) -> Result<u16, Diagnostic> {
    let number = entry.number()?;
    u16::try_from(number).map_err(|_| {
        entry
            .error("C003", &format!("Invalid {} value ({number})", entry.quote("port")))
            .with_help("a port is between 1 and 65535")
    })
}

/// With 2.1 what follows belongs to the default listener.
fn deprecated(draft: &mut Draft, entry: &Entry<'_>) {
    let name = entry.name;
    let message = format!("The '{name}' option is now deprecated and will be removed in a future version");
    let found = entry.warning("C103", &message).with_help("write `listener PORT [ADDRESS]`");
    draft.diagnostics.push(found);
    draft.default_listener.exists = true;
    if draft.compat == Compat::V21 {
        draft.at.listener = None;
    }
}

fn port(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let number = read_port(entry)?;
    deprecated(draft, entry);
    if draft.default_listener.seen.at("port").is_some() {
        let message = "Default listener port specified multiple times. Only the latest will be used";
        draft.diagnostics.push(entry.warning("C109", message));
    }
    draft.default_listener.seen.note(entry, "port");
    draft.default_listener.config.port = number;
    Ok(())
}

fn bind_address(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    entry.text()?;
    deprecated(draft, entry);
    let listener = &mut draft.default_listener;
    listener.config.bind = Some(entry.text_once(&mut listener.seen, "default listener bind_address")?);
    Ok(())
}

fn listener_allow_anonymous(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let value = entry.boolean()?;
    draft.listener().allow_anonymous = Some(value);
    Ok(())
}

fn listener_auto_id_prefix(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let prefix = draft.listener().text(entry)?;
    draft.listener().auto_id_prefix = Some(short(entry, prefix)?);
    Ok(())
}

fn bind_interface(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let listener = draft.listener();
    listener.config.interface = Some(listener.text(entry)?);
    Ok(())
}

fn socket_domain(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.listener().config.domain = match entry.word()? {
        "ipv4" => SocketDomain::V4,
        "ipv6" => SocketDomain::V6,
        other => {
            let message = match entry.compat {
                Compat::V20 => format!("Invalid socket_domain value \"{other}\" in configuration"),
                Compat::V21 => format!("Invalid 'socket_domain' value '{other}' in configuration"),
            };
            return Err(entry.error("C003", &message).with_help("ipv4 or ipv6; without the line both"));
        }
    };
    Ok(())
}

fn max_connections(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.listener().config.max_connections = entry.limit()?;
    Ok(())
}

fn max_qos(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let qos = u8::try_from(entry.number()?).ok().and_then(QoS::from_u8).ok_or_else(|| {
        entry.error("C003", &format!("{} must be between 0 and 2 inclusive", entry.quote("max_qos")))
    })?;
    draft.listener().config.max_qos = qos;
    Ok(())
}

fn alias(entry: &Entry<'_>, slot: &mut u16) -> Result<(), Diagnostic> {
    *slot = u16::try_from(entry.number()?).map_err(|_| {
        entry
            .error("C003", &format!("Invalid {} value in configuration", entry.quoted()))
            .with_help("at most 65535; 0 is none")
    })?;
    Ok(())
}

fn mount_point(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let prefix = draft.listener().text(entry)?;
    if TopicName::new(prefix.as_str()).is_err() {
        let message = match entry.compat {
            Compat::V20 => format!("Invalid mount_point '{prefix}'"),
            Compat::V21 => format!("Invalid 'mount_point' value ({prefix})"),
        };
        let message = format!("{message}. Does it contain a wildcard character?");
        return Err(entry.error("C003", &message).with_help("a topic, as a rule with a / at its end"));
    }
    draft.listener().config.mount_point = Some(prefix);
    Ok(())
}

/// Words that mosquitto passes over are told.
fn accept_protocol_versions(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    entry.word()?;
    let mut versions = Vec::new();
    let words = entry.value.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    for word in words.take_while(|word| !word.starts_with('#')) {
        let version = match word {
            "3" => ProtocolVersion::V31,
            "4" => ProtocolVersion::V311,
            "5" => ProtocolVersion::V5,
            other => {
                let message = format!("{other} is no protocol version and is passed over");
                draft.diagnostics.push(entry.warning("C110", &message).with_help("3, 4 and 5 are known"));
                continue;
            }
        };
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    if versions.is_empty() {
        return Err(entry.invalid(entry.value.trim()).with_help("3, 4 and 5 are known, parted by commas"));
    }
    draft.listener().config.versions = versions;
    Ok(())
}

fn enable_proxy_protocol(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.listener().config.proxy_protocol = Some(match entry.number()? {
        1 => ProxyVersion::V1,
        2 => ProxyVersion::V2,
        _ => return Err(entry.error("C003", "enable_proxy_protocol must be 1 or 2")),
    });
    Ok(())
}

fn proxy_protocol_v2_require_tls(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.listener().switch(entry, |listener| &mut listener.config.proxy_requires_tls)
}

fn protocol(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.listener().config.protocol = match entry.word()? {
        "mqtt" => ListenerProtocol::Mqtt,
        "websockets" => ListenerProtocol::WebSockets,
        "http_api" => {
            let message = "protocol http_api cannot be had: mqttlab has no HTTP API";
            return Err(entry.error("C008", message).with_help("take the listener out"));
        }
        other => return Err(entry.invalid(other).with_help("mqtt or websockets")),
    };
    Ok(())
}

fn http_dir(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let listener = draft.listener();
    listener.config.http_dir = Some(listener.text(entry)?.into());
    Ok(())
}

/// May stand several times.
fn websockets_origin(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let origin = entry.text()?;
    let listener = draft.listener();
    listener.seen.note(entry, entry.spec.name);
    listener.config.origins.push(origin);
    Ok(())
}
