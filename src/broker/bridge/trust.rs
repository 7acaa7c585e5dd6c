//! The TLS of a bridge: which other brokers it believes, and what it shows of itself.
//!
//! The files are read for each connection, so that renewed ones serve, and that a missing or empty
//! file of authorities refuses the second connection as it does the first (a mosquitto before 2.0.9
//! verified nothing then).

use std::sync::Arc;

use rustls::ClientConfig;

use crate::broker::config::{BridgeTls, TlsVersion};
use crate::tls::client::{ClientFiles, from_files};
use crate::tls::suites::{MinVersion, Protocol};

/// The configuration of the next connection. Reads files.
pub fn load(options: &BridgeTls) -> Result<Arc<ClientConfig>, String> {
    from_files(&ClientFiles {
        cafile: options.cafile.clone(),
        capath: options.capath.clone(),
        system_authorities: options.system_authorities,
        certfile: options.certfile.clone(),
        keyfile: options.keyfile.clone(),
        any_name: options.insecure,
        alpn: options.alpn.clone(),
        protocol: Protocol {
            min_version: match options.min_version {
                TlsVersion::V12 => MinVersion::Tls12,
                TlsVersion::V13 => MinVersion::Tls13,
            },
            ciphers: options.ciphers.clone(),
            ciphers_tls13: options.ciphers_tls13.clone(),
        },
    })
    .map_err(|error| error.to_string())
}
