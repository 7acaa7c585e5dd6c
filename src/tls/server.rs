//! TLS as a listener speaks it: a certificate, its key, versions 1.2 and 1.3.
//!
//! Client certificates are neither asked for nor checked.

use std::sync::Arc;

use rustls::{Error, ServerConfig};

use super::material::{self, MaterialError};
use super::provider;

/// One PEM file: its name for messages, and its bytes.
#[derive(Clone, Copy)]
pub struct PemFile<'a> {
    /// Path as configured.
    pub name: &'a str,
    /// The text.
    pub pem: &'a [u8],
}

/// The configuration of a listener with this chain and key.
pub fn config(chain: PemFile<'_>, key: PemFile<'_>) -> Result<Arc<ServerConfig>, MaterialError> {
    let bad_certificate = |detail| MaterialError::Certificate { file: chain.name.to_owned(), detail };
    let bad_key = |detail| MaterialError::Key { file: key.name.to_owned(), detail };
    let certificates = material::certificates(chain.pem).map_err(bad_certificate)?;
    let private = material::key(key.pem).map_err(bad_key)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| bad_certificate(error.to_string()))?;
    let config =
        builder.with_no_client_auth().with_single_cert(certificates, private).map_err(
            |error| match error {
                Error::InconsistentKeys(_) => MaterialError::Inconsistent,
                Error::InvalidCertificate(_) => bad_certificate(error.to_string()),
                other => bad_key(other.to_string()),
            },
        )?;
    Ok(Arc::new(config))
}

/// Checks that a `cafile` holds authorities, as mosquitto does when it starts.
pub fn check_authorities(file: PemFile<'_>) -> Result<(), MaterialError> {
    let bad = |detail| MaterialError::Authorities { file: file.name.to_owned(), detail };
    material::certificates(file.pem).map(drop).map_err(bad)
}
