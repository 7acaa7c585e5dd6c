//! Options of a `connection` block about its connection: sockets, limits of MQTT 5.0, TLS.

use std::path::PathBuf;
use std::time::Duration;

use super::super::BridgeTls;
use super::super::draft::{Draft, Entry};
use super::Hup::Since21;
use super::OptionSpec;
use super::Scope::Bridge;
use super::Status::{Done, Refused};
use super::security::PSK;
use super::tls::version;
use crate::diagnostic::Diagnostic;

/// Why a stapled answer cannot be insisted on.
const OCSP: &str = "mqttlab cannot judge OCSP answers, and without them a revoked broker would be believed";

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "bridge_bind_address",
        Bridge,
        Since21,
        "(any)",
        Done(|draft, entry| {
            draft.bridge(entry)?.text(entry, "bridge_bind_address", |config| &mut config.bind_address)
        }),
        "bridge_bind_address 10.0.0.1",
        "address on this side",
    ),
    OptionSpec::new(
        "bridge_max_packet_size",
        Bridge,
        Since21,
        "0",
        Done(max_packet_size),
        "bridge_max_packet_size 65536",
        "bytes of the largest packet towards the other broker",
    ),
    OptionSpec::new(
        "bridge_max_topic_alias",
        Bridge,
        Since21,
        "10",
        Done(max_topic_alias),
        "bridge_max_topic_alias 0",
        "topic aliases of a 5.0 bridge (2.1)",
    ),
    OptionSpec::new(
        "bridge_receive_maximum",
        Bridge,
        Since21,
        "20",
        Done(receive_maximum),
        "bridge_receive_maximum 100",
        "receive maximum of a 5.0 bridge (2.1)",
    ),
    OptionSpec::new(
        "bridge_session_expiry_interval",
        Bridge,
        Since21,
        "(never)",
        Done(session_expiry_interval),
        "bridge_session_expiry_interval 3600",
        "session expiry of a 5.0 bridge, in seconds (2.1)",
    ),
    OptionSpec::new(
        "bridge_tcp_keepalive",
        Bridge,
        Since21,
        "(off)",
        Done(tcp_keepalive),
        "bridge_tcp_keepalive 60 10 3",
        "keep-alive of the socket (2.1)",
    ),
    OptionSpec::new(
        "bridge_tcp_user_timeout",
        Bridge,
        Since21,
        "(off)",
        Done(tcp_user_timeout),
        "bridge_tcp_user_timeout 5000",
        "how long sent data may stay unacknowledged (2.1)",
    ),
    OptionSpec::new(
        "bridge_cafile",
        Bridge,
        Since21,
        "(none)",
        Done(|draft, entry| file(draft, entry, |tls| &mut tls.cafile)),
        "bridge_cafile /etc/mosquitto/ca.crt",
        "authorities of the other broker's certificate",
    ),
    OptionSpec::new(
        "bridge_capath",
        Bridge,
        Since21,
        "(none)",
        Done(|draft, entry| file(draft, entry, |tls| &mut tls.capath)),
        "bridge_capath /etc/ssl/certs",
        "a folder of them",
    ),
    OptionSpec::new(
        "bridge_tls_use_os_certs",
        Bridge,
        Since21,
        "false",
        Done(|draft, entry| switch(draft, entry, |tls| &mut tls.system_authorities)),
        "bridge_tls_use_os_certs true",
        "trust what this machine trusts (2.1)",
    ),
    OptionSpec::new(
        "bridge_certfile",
        Bridge,
        Since21,
        "(none)",
        Done(|draft, entry| file(draft, entry, |tls| &mut tls.certfile)),
        "bridge_certfile /etc/mosquitto/bridge.crt",
        "client certificate of the bridge",
    ),
    OptionSpec::new(
        "bridge_keyfile",
        Bridge,
        Since21,
        "(none)",
        Done(|draft, entry| file(draft, entry, |tls| &mut tls.keyfile)),
        "bridge_keyfile /etc/mosquitto/bridge.key",
        "its key",
    ),
    OptionSpec::new(
        "bridge_identity",
        Bridge,
        Since21,
        "(none)",
        Refused(PSK),
        "bridge_identity lab",
        "identity of a pre-shared key",
    ),
    OptionSpec::new(
        "bridge_psk",
        Bridge,
        Since21,
        "(none)",
        Refused(PSK),
        "bridge_psk 00ff",
        "the pre-shared key, in hex",
    ),
    OptionSpec::new(
        "bridge_insecure",
        Bridge,
        Since21,
        "false",
        Done(insecure),
        "bridge_insecure true",
        "do not compare the host name with the certificate",
    ),
    OptionSpec::new(
        "bridge_alpn",
        Bridge,
        Since21,
        "(none)",
        Done(|draft, entry| words(draft, entry, |tls| &mut tls.alpn)),
        "bridge_alpn mqtt",
        "application protocol asked for in the handshake",
    ),
    OptionSpec::new(
        "bridge_ciphers",
        Bridge,
        Since21,
        "(default)",
        Done(|draft, entry| words(draft, entry, |tls| &mut tls.ciphers)),
        "bridge_ciphers HIGH",
        "cipher suites up to TLS 1.2 (2.1)",
    ),
    OptionSpec::new(
        "bridge_ciphers_tls1.3",
        Bridge,
        Since21,
        "(default)",
        Done(|draft, entry| words(draft, entry, |tls| &mut tls.ciphers_tls13)),
        "bridge_ciphers_tls1.3 TLS_AES_256_GCM_SHA384",
        "cipher suites of TLS 1.3 (2.1)",
    ),
    OptionSpec::new(
        "bridge_require_ocsp",
        Bridge,
        Since21,
        "false",
        Refused(OCSP),
        "bridge_require_ocsp true",
        "insist on a stapled OCSP answer",
    ),
    OptionSpec::new(
        "bridge_tls_version",
        Bridge,
        Since21,
        "tlsv1.2",
        Done(tls_version),
        "bridge_tls_version tlsv1.3",
        "the oldest TLS that is spoken",
    ),
];

fn max_packet_size(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.bridge(entry)?.config.max_packet_size = entry.amount()?;
    Ok(())
}

fn max_topic_alias(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.bridge(entry)?.config.max_topic_alias = u16::try_from(entry.number()?)
        .map_err(|_| entry.error("C003", "bridge_max_topic_alias must be >= 0 and <= 65535"))?;
    Ok(())
}

fn receive_maximum(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let number = u16::try_from(entry.number()?).ok().filter(|number| *number > 0);
    draft.bridge(entry)?.config.receive_maximum = number
        .ok_or_else(|| entry.error("C003", "bridge_receive_maximum must be greater than 0 and <= 65535"))?;
    Ok(())
}

fn session_expiry_interval(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    draft.bridge(entry)?.config.session_expiry_secs = u32::try_from(entry.number()?)
        .map_err(|_| entry.error("C003", "bridge_session_expiry_interval must not be negative"))?;
    Ok(())
}

/// Seconds idle, seconds between two probes, probes.
fn tcp_keepalive(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let mut words = entry.words();
    let mut next = |what: &str| {
        let word = words.next().ok_or_else(|| {
            let name = entry.quote(&format!("bridge_tcp_keepalive_{what}"));
            entry.error("C002", &format!("Empty {name} value in configuration"))
        })?;
        let number = u32::try_from(entry.number_in(word)?).ok().filter(|number| *number > 0);
        number.ok_or_else(|| entry.error("C003", &format!("invalid TCP keepalive {what} value")))
    };
    let (idle, interval, probes) = (next("idle")?, next("interval")?, next("counter")?);
    let secs = |number: u32| Duration::from_secs(number.into());
    draft.bridge(entry)?.config.tcp_keepalive = Some((secs(idle), secs(interval), probes));
    Ok(())
}

/// Milliseconds; 0 is the system's own.
fn tcp_user_timeout(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let millis =
        u64::try_from(entry.number()?).map_err(|_| entry.error("C003", "invalid TCP user timeout value"))?;
    draft.bridge(entry)?.config.tcp_user_timeout = (millis > 0).then(|| Duration::from_millis(millis));
    Ok(())
}

fn file(
    draft: &mut Draft,
    entry: &Entry<'_>,
    slot: fn(&mut BridgeTls) -> &mut Option<PathBuf>,
) -> Result<(), Diagnostic> {
    let bridge = draft.bridge(entry)?;
    *slot(&mut bridge.tls) = Some(entry.text_once(&mut bridge.seen, entry.spec.name)?.into());
    Ok(())
}

fn words(
    draft: &mut Draft,
    entry: &Entry<'_>,
    slot: fn(&mut BridgeTls) -> &mut Option<String>,
) -> Result<(), Diagnostic> {
    let bridge = draft.bridge(entry)?;
    *slot(&mut bridge.tls) = Some(entry.text_once(&mut bridge.seen, entry.spec.name)?);
    Ok(())
}

fn switch(
    draft: &mut Draft,
    entry: &Entry<'_>,
    slot: fn(&mut BridgeTls) -> &mut bool,
) -> Result<(), Diagnostic> {
    draft.bridge(entry)?.tls_switch(entry, slot).map(drop)
}

fn insecure(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let bridge = draft.bridge(entry)?;
    if bridge.tls_switch(entry, |tls| &mut tls.insecure)? {
        let name = bridge.config.name.clone();
        let quoted = entry.quote(&name);
        let message = format!("Bridge {quoted} using insecure mode");
        draft.diagnostics.push(entry.warning("C112", &message));
    }
    Ok(())
}

fn tls_version(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let bridge = draft.bridge(entry)?;
    let text = entry.text_once(&mut bridge.seen, entry.spec.name)?;
    bridge.tls.min_version = version(entry, &text)?;
    Ok(())
}
