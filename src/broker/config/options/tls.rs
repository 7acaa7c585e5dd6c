//! TLS options of a `listener` block. What needs OpenSSL itself is refused.

use std::path::PathBuf;

use super::super::draft::{Draft, Entry};
use super::super::{Compat, TlsFiles, TlsVersion};
use super::Hup::{Contents, No};
use super::OptionSpec;
use super::Scope::Listener;
use super::Status::{Done, Refused};
use super::security::PSK;
use crate::diagnostic::Diagnostic;

const ENGINE: &str = "mqttlab uses rustls, which has no engines; give the key as a PEM file";

pub(super) const OPTIONS: &[OptionSpec] = &[
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
        "the key of `certfile`, PEM; the passphrase of an encrypted one is asked for on the terminal",
    ),
    OptionSpec::new(
        "cafile",
        Listener,
        Contents,
        "(none)",
        Done(|draft, entry| file(draft, entry, |tls| &mut tls.cafile)),
        "cafile /etc/mosquitto/ca.crt",
        "authorities whose client certificates are trusted, PEM; read again too, which mosquitto does not do",
    ),
    OptionSpec::new(
        "capath",
        Listener,
        Contents,
        "(none)",
        Done(|draft, entry| file(draft, entry, |tls| &mut tls.capath)),
        "capath /etc/ssl/certs",
        "a folder of authorities; all PEM files in it, whatever their names",
    ),
    OptionSpec::new(
        "require_certificate",
        Listener,
        No,
        "false",
        Done(|draft, entry| draft.listener().switch(entry, |listener| &mut listener.tls.require_certificate)),
        "require_certificate true",
        "turn away clients without a certificate that `cafile` signed",
    ),
    OptionSpec::new(
        "crlfile",
        Listener,
        Contents,
        "(none)",
        Done(|draft, entry| file(draft, entry, |tls| &mut tls.crlfile)),
        "crlfile /etc/mosquitto/crl.pem",
        "certificates that were taken back; as OpenSSL has it, an authority without a list here, or with one that is over, lets nobody in",
    ),
    OptionSpec::new(
        "use_identity_as_username",
        Listener,
        No,
        "false",
        Done(|draft, entry| draft.listener().switch(entry, |listener| &mut listener.use_identity)),
        "use_identity_as_username true",
        "the common name of the client's certificate is its user name",
    ),
    OptionSpec::new(
        "use_subject_as_username",
        Listener,
        No,
        "false",
        Done(|draft, entry| draft.listener().switch(entry, |listener| &mut listener.use_subject)),
        "use_subject_as_username true",
        "the whole subject of the client's certificate is its user name",
    ),
    OptionSpec::new(
        "disable_client_cert_date_checks",
        Listener,
        No,
        "false",
        Done(|draft, entry| draft.listener().switch(entry, |listener| &mut listener.tls.ignore_client_dates)),
        "disable_client_cert_date_checks true",
        "take client certificates whose time is over or not yet come (2.1)",
    ),
    OptionSpec::new(
        "tls_version",
        Listener,
        No,
        "tlsv1.2",
        Done(tls_version),
        "tls_version tlsv1.3",
        "the oldest TLS that is spoken",
    ),
    OptionSpec::new(
        "ciphers",
        Listener,
        No,
        "(default)",
        Done(|draft, entry| suites(draft, entry, |tls| &mut tls.ciphers)),
        "ciphers HIGH",
        "cipher suites of TLS 1.2, as openssl-ciphers(1) writes them",
    ),
    OptionSpec::new(
        "ciphers_tls1.3",
        Listener,
        No,
        "(default)",
        Done(|draft, entry| suites(draft, entry, |tls| &mut tls.ciphers_tls13)),
        "ciphers_tls1.3 TLS_AES_256_GCM_SHA384",
        "cipher suites of TLS 1.3",
    ),
    OptionSpec::new(
        "dhparamfile",
        Listener,
        No,
        "(none)",
        Done(dhparamfile),
        "dhparamfile /etc/mosquitto/dh.pem",
        "Diffie-Hellman parameters; of no effect since 2.1",
    ),
    OptionSpec::new(
        "tls_engine",
        Listener,
        No,
        "(none)",
        Refused(ENGINE),
        "tls_engine pkcs11",
        "an engine that holds the key",
    ),
    OptionSpec::new(
        "tls_engine_kpass_sha1",
        Listener,
        No,
        "(none)",
        Refused(ENGINE),
        "tls_engine_kpass_sha1 00",
        "hash of the password of the engine's key",
    ),
    OptionSpec::new(
        "tls_keyform",
        Listener,
        No,
        "pem",
        Refused(ENGINE),
        "tls_keyform engine",
        "pem or engine",
    ),
    OptionSpec::new(
        "psk_hint",
        Listener,
        No,
        "(none)",
        Refused(PSK),
        "psk_hint lab",
        "turns on pre-shared keys, and is told to clients",
    ),
];

fn file(
    draft: &mut Draft,
    entry: &Entry<'_>,
    slot: fn(&mut TlsFiles) -> &mut Option<PathBuf>,
) -> Result<(), Diagnostic> {
    let listener = draft.listener();
    *slot(&mut listener.tls) = Some(listener.text(entry)?.into());
    Ok(())
}

fn certfile(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let listener = draft.listener();
    listener.tls.certfile = listener.text(entry)?.into();
    Ok(())
}

fn keyfile(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let listener = draft.listener();
    listener.tls.keyfile = listener.text(entry)?.into();
    Ok(())
}

fn suites(
    draft: &mut Draft,
    entry: &Entry<'_>,
    slot: fn(&mut TlsFiles) -> &mut Option<String>,
) -> Result<(), Diagnostic> {
    let listener = draft.listener();
    *slot(&mut listener.tls) = Some(listener.text(entry)?);
    Ok(())
}

fn tls_version(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let listener = draft.listener();
    let text = listener.text(entry)?;
    listener.tls.min_version = version(entry, &text)?;
    Ok(())
}

/// `tlsv1.2` or `tlsv1.3`.
pub(super) fn version(entry: &Entry<'_>, text: &str) -> Result<TlsVersion, Diagnostic> {
    let help = match text {
        "tlsv1.2" => return Ok(TlsVersion::V12),
        "tlsv1.3" => return Ok(TlsVersion::V13),
        "tlsv1" | "tlsv1.0" | "tlsv1.1" => "it is obsolete (RFC 8996) and not spoken here: write `tlsv1.2`",
        _ => "tlsv1.2 or tlsv1.3",
    };
    let message = match entry.compat {
        Compat::V20 => format!("Unsupported {} \"{text}\"", entry.name),
        Compat::V21 => format!("Unsupported {} '{text}'", entry.name),
    };
    Err(entry.error("C003", &message).with_help(help))
}

/// Of no effect, and said in mosquitto's words.
fn dhparamfile(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    entry.text()?;
    draft.diagnostics.push(entry.warning("C102", "dhparamfile is no longer required"));
    Ok(())
}
