//! Certificates and keys from PEM texts. Errors are worded as mosquitto words them, so that its
//! users know what to do.
//!
//! Reads no files: the caller hands in bytes and the file's name for the message. Keys that are
//! encrypted are refused.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What is wrong with a file of a TLS listener or client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaterialError {
    /// No certificate in it.
    #[error("Unable to load server certificate \"{file}\". Check certfile. ({detail})")]
    Certificate {
        /// The file.
        file: String,
        /// In the library's words.
        detail: String,
    },
    /// No private key in it.
    #[error("Unable to load server key file \"{file}\". Check keyfile. ({detail})")]
    Key {
        /// The file.
        file: String,
        /// In the library's words.
        detail: String,
    },
    /// The key is not the certificate's.
    #[error("Server certificate/key are inconsistent.")]
    Inconsistent,
    /// No authority in it.
    #[error("Unable to load CA certificates. Check cafile \"{file}\". ({detail})")]
    Authorities {
        /// The file.
        file: String,
        /// In the library's words.
        detail: String,
    },
}

/// The certificates of a PEM text, in their order.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    if chain.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(chain) }
}

/// The first private key of a PEM text.
pub fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        let encrypted = pem.windows(9).any(|part| part == b"ENCRYPTED");
        if encrypted { "the key is encrypted".to_owned() } else { error.to_string() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_without_what_is_wanted_are_refused() {
        assert!(certificates(b"hello").is_err());
        assert!(key(b"").is_err());
        let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert_eq!(key(encrypted).expect_err("encrypted"), "the key is encrypted");
    }
}
