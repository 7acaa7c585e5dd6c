//! Options of a `listener` block: addresses, limits of a listener, TLS, WebSocket.

use super::super::draft::{Draft, Entry, ListenerDraft, Text};
use super::Hup::{Contents, No, Yes};
use super::OptionSpec;
use super::Scope::{DefaultListener, Listener};
use super::Status::{Done, Ignored, NotYet, Refused};
use super::security::set_once;
use crate::diagnostic::{Diagnostic, Span};

const CLIENT_CERTIFICATE: &str =
    "mqttlab does not have it yet, and without it clients would be let in that should not be";
const OPENSSL: &str = "it belongs to OpenSSL, and mqttlab uses rustls";

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
        NotYet,
        "listener_auto_id_prefix lab-",
        "`auto_id_prefix` for this listener alone (2.1)",
    ),
    OptionSpec::new(
        "bind_interface",
        Listener,
        No,
        "(none)",
        NotYet,
        "bind_interface eth0",
        "serve one network interface only",
    ),
    OptionSpec::new("socket_domain", Listener, No, "both", NotYet, "socket_domain ipv4", "ipv4 or ipv6 only"),
    OptionSpec::new(
        "max_connections",
        Listener,
        No,
        "-1",
        NotYet,
        "max_connections 100",
        "clients at once on this listener; -1 is any number",
    ),
    OptionSpec::new("max_qos", Listener, No, "2", NotYet, "max_qos 1", "the highest QoS of a PUBLISH"),
    OptionSpec::new("maximum_qos", Listener, No, "2", NotYet, "maximum_qos 1", "the same as `max_qos`"),
    OptionSpec::new(
        "max_topic_alias",
        Listener,
        No,
        "10",
        NotYet,
        "max_topic_alias 20",
        "topic aliases that a client may use (5.0)",
    ),
    OptionSpec::new(
        "max_topic_alias_broker",
        Listener,
        No,
        "10",
        NotYet,
        "max_topic_alias_broker 0",
        "topic aliases that the broker uses towards a client (2.1)",
    ),
    OptionSpec::new(
        "mount_point",
        Listener,
        No,
        "(none)",
        Refused(
            "mqttlab does not have it yet, and without it the listener's clients would meet all the others",
        ),
        "mount_point lab1/",
        "a prefix that the listener's clients do not see",
    ),
    OptionSpec::new(
        "accept_protocol_versions",
        Listener,
        Yes,
        "3,4,5",
        NotYet,
        "accept_protocol_versions 4,5",
        "protocol levels that are let in (2.1)",
    ),
    OptionSpec::new(
        "enable_proxy_protocol",
        Listener,
        No,
        "(off)",
        NotYet,
        "enable_proxy_protocol 2",
        "clients come through a proxy that tells their address (2.1)",
    ),
    OptionSpec::new(
        "proxy_protocol_v2_require_tls",
        Listener,
        No,
        "false",
        Refused(CLIENT_CERTIFICATE),
        "proxy_protocol_v2_require_tls true",
        "turn away what did not reach the proxy over TLS (2.1)",
    ),
    OptionSpec::new(
        "protocol",
        Listener,
        No,
        "mqtt",
        NotYet,
        "protocol websockets",
        "mqtt, websockets, or http_api (2.1)",
    ),
    OptionSpec::new(
        "http_dir",
        Listener,
        No,
        "(none)",
        NotYet,
        "http_dir /srv/www",
        "files that the listener serves over HTTP",
    ),
    OptionSpec::new(
        "websockets_origin",
        Listener,
        No,
        "(any)",
        Refused(CLIENT_CERTIFICATE),
        "websockets_origin https://lab.example",
        "the only Origin that browsers may come from (2.1)",
    ),
    OptionSpec::new(
        "use_username_as_clientid",
        Listener,
        No,
        "false",
        Refused("mqttlab does not have it yet, and without it a client may take another one's identifier"),
        "use_username_as_clientid true",
        "the user name takes the place of the client identifier",
    ),
    OptionSpec::new(
        "certfile",
        Listener,
        Contents,
        "(none)",
        Done(certfile),
        "certfile /etc/mosquitto/server.crt",
        "the server's certificate and those between it and the authority, PEM; needs `keyfile`",
    ),
    OptionSpec::new(
        "keyfile",
        Listener,
        Contents,
        "(none)",
        Done(keyfile),
        "keyfile /etc/mosquitto/server.key",
        "the key of `certfile`, PEM",
    ),
    OptionSpec::new(
        "cafile",
        Listener,
        No,
        "(none)",
        Done(cafile),
        "cafile /etc/mosquitto/ca.crt",
        "authorities whose client certificates are trusted, PEM",
    ),
    OptionSpec::new(
        "capath",
        Listener,
        No,
        "(none)",
        NotYet,
        "capath /etc/ssl/certs",
        "a folder of authorities, hashed names",
    ),
    OptionSpec::new(
        "require_certificate",
        Listener,
        No,
        "false",
        Refused(CLIENT_CERTIFICATE),
        "require_certificate true",
        "turn away clients without a certificate that `cafile` signed",
    ),
    OptionSpec::new(
        "crlfile",
        Listener,
        Contents,
        "(none)",
        Refused(CLIENT_CERTIFICATE),
        "crlfile /etc/mosquitto/crl.pem",
        "certificates that were taken back",
    ),
    OptionSpec::new(
        "use_identity_as_username",
        Listener,
        No,
        "false",
        Refused(CLIENT_CERTIFICATE),
        "use_identity_as_username true",
        "the common name of the client's certificate is its user name",
    ),
    OptionSpec::new(
        "use_subject_as_username",
        Listener,
        No,
        "false",
        Refused(CLIENT_CERTIFICATE),
        "use_subject_as_username true",
        "the whole subject of the client's certificate is its user name",
    ),
    OptionSpec::new(
        "disable_client_cert_date_checks",
        Listener,
        No,
        "false",
        NotYet,
        "disable_client_cert_date_checks true",
        "take client certificates whose time is over (2.1)",
    ),
    OptionSpec::new(
        "tls_version",
        Listener,
        No,
        "tlsv1.2",
        NotYet,
        "tls_version tlsv1.3",
        "the oldest TLS that is spoken",
    ),
    OptionSpec::new(
        "ciphers",
        Listener,
        No,
        "(default)",
        Ignored(OPENSSL),
        "ciphers HIGH",
        "cipher suites up to TLS 1.2",
    ),
    OptionSpec::new(
        "ciphers_tls1.3",
        Listener,
        No,
        "(default)",
        Ignored(OPENSSL),
        "ciphers_tls1.3 TLS_AES_256_GCM_SHA384",
        "cipher suites of TLS 1.3",
    ),
    OptionSpec::new(
        "dhparamfile",
        Listener,
        No,
        "(none)",
        Ignored("rustls needs no Diffie-Hellman parameters"),
        "dhparamfile /etc/mosquitto/dh.pem",
        "Diffie-Hellman parameters; of no effect since 2.1",
    ),
    OptionSpec::new(
        "tls_engine",
        Listener,
        No,
        "(none)",
        Ignored(OPENSSL),
        "tls_engine pkcs11",
        "an engine that holds the key",
    ),
    OptionSpec::new(
        "tls_engine_kpass_sha1",
        Listener,
        No,
        "(none)",
        Ignored(OPENSSL),
        "tls_engine_kpass_sha1 00",
        "hash of the password of the engine's key",
    ),
    OptionSpec::new("tls_keyform", Listener, No, "pem", Ignored(OPENSSL), "tls_keyform pem", "pem or engine"),
    OptionSpec::new(
        "psk_hint",
        Listener,
        No,
        "(none)",
        Refused("mqttlab has no pre-shared keys, and a listener without them would be open"),
        "psk_hint lab",
        "turns on pre-shared keys, and is told to clients",
    ),
];

fn listener(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let word = entry.word()?;
    let rest = entry.value[word.len()..].trim_start_matches(' ');
    let bind = rest.split(' ').next().filter(|word| !word.is_empty() && !word.starts_with('#'));
    if bind.is_some_and(|bind| bind.contains('/')) {
        return Err(entry.error("C101", "mqttlab does not have Unix sockets yet"));
    }
    let port = read_port(entry)?;
    let bind = bind.map(|bind| {
        let start = entry.value_span.range.end - rest.len();
        Text { text: bind.to_owned(), span: Span::new(&entry.value_span.source, start..start + bind.len()) }
    });
    draft.listeners.push(ListenerDraft { exists: true, port: Some(port), bind, ..ListenerDraft::default() });
    draft.current = Some(draft.listeners.len() - 1);
    Ok(())
}

fn read_port(entry: &Entry<'_>) -> Result<u16, Diagnostic> {
    let number = entry.number()?;
    u16::try_from(number).map_err(|_| {
        entry
            .error("C003", &format!("Invalid port value ({number})"))
            .with_help("a port is between 1 and 65535")
    })
}

fn deprecated(draft: &mut Draft, entry: &Entry<'_>) {
    let name = entry.name;
    let message = format!("The '{name}' option is now deprecated and will be removed in a future version");
    let found = entry.warning("C103", &message).with_help("write `listener PORT [ADDRESS]`");
    draft.diagnostics.push(found);
    draft.default_listener.exists = true;
}

fn port(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let number = read_port(entry)?;
    deprecated(draft, entry);
    if draft.default_listener.port.replace(number).is_some() {
        let message = "Default listener port specified multiple times. Only the latest will be used";
        draft.diagnostics.push(entry.warning("C109", message));
    }
    Ok(())
}

fn bind_address(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let text = entry.text()?;
    deprecated(draft, entry);
    set_once(entry, &mut draft.default_listener.bind, text).map_err(|error| Diagnostic {
        message: "Duplicate default listener bind_address value in configuration".to_owned(),
        ..error
    })
}

fn listener_allow_anonymous(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let value = entry.boolean()?;
    draft.listener().allow_anonymous = Some(value);
    Ok(())
}

fn certfile(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    set_once(entry, &mut draft.listener().certfile, entry.text()?)
}

fn keyfile(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    set_once(entry, &mut draft.listener().keyfile, entry.text()?)
}

fn cafile(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    set_once(entry, &mut draft.listener().cafile, entry.text()?)
}
