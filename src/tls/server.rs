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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::tls::authority::{Authority, DAY, Issued, KeyAlgorithm, ServerRequest, Validity};

    fn issued() -> Issued {
        let validity = Validity::starting(SystemTime::now(), DAY);
        let key = KeyAlgorithm::EcdsaP256;
        let authority = Authority::new("lab", key, validity).expect("made");
        let names = vec!["localhost".to_owned()];
        let request = ServerRequest { common_name: "broker".into(), names, validity, key };
        authority.issue_server(&request).expect("signed")
    }

    fn message(chain: &str, key: &str) -> String {
        let chain = PemFile { name: "s.crt", pem: chain.as_bytes() };
        let key = PemFile { name: "s.key", pem: key.as_bytes() };
        config(chain, key).map_or_else(|error| error.to_string(), |_| "good".to_owned())
    }

    #[test]
    fn what_is_wrong_is_said_as_mosquitto_says_it() {
        let (one, other) = (issued(), issued());
        assert_eq!(message(&one.certificate_pem, &one.key_pem), "good");
        let inconsistent = "Server certificate/key are inconsistent.";
        assert_eq!(message(&one.certificate_pem, &other.key_pem), inconsistent);
        let no_certificate = message(&one.key_pem, &one.key_pem);
        assert!(no_certificate.starts_with("Unable to load server certificate \"s.crt\". Check certfile."));
        let no_key = message(&one.certificate_pem, &one.certificate_pem);
        assert!(no_key.starts_with("Unable to load server key file \"s.key\". Check keyfile."), "{no_key}");
        let authorities = check_authorities(PemFile { name: "ca.crt", pem: b"" }).expect_err("empty");
        assert!(
            authorities.to_string().starts_with("Unable to load CA certificates. Check cafile \"ca.crt\".")
        );
    }
}
