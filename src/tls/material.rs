//! Certificates and revocation lists from PEM texts, and what can be wrong with them. Errors are
//! worded as mosquitto words them, so that its users know what to do.
//!
//! Reads no files: the caller hands in bytes.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

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
    #[error("Unable to load CA certificates. Check {option} \"{file}\". ({detail})")]
    Authorities {
        /// `cafile` or `capath`.
        option: &'static str,
        /// The file.
        file: String,
        /// In the library's words.
        detail: String,
    },
    /// The other side must have a certificate, and nobody is trusted to sign it.
    #[error("Unable to load CA certificates. Neither {cafile} nor {capath} is set.")]
    NobodyTrusted {
        /// Name of the option.
        cafile: &'static str,
        /// Name of the option.
        capath: &'static str,
    },
    /// No list of revoked certificates in it.
    #[error("Unable to load certificate revocation file \"{file}\". Check crlfile. ({detail})")]
    Revocations {
        /// The file.
        file: String,
        /// In the library's words.
        detail: String,
    },
    /// `ciphers` leaves nothing.
    #[error("Unable to set TLS ciphers. Check cipher list \"{list}\". (it leaves none of {known})")]
    Ciphers {
        /// As configured.
        list: String,
        /// What there is.
        known: String,
    },
    /// `ciphers_tls1.3` leaves nothing.
    #[error(
        "Unable to set TLS 1.3 ciphersuites. Check cipher_tls13 list \"{list}\". (it leaves none of {known})"
    )]
    Ciphers13 {
        /// As configured.
        list: String,
        /// What there is.
        known: String,
    },
    /// A client's own certificate.
    #[error("Unable to load client certificate, check bridge_certfile \"{file}\". ({detail})")]
    ClientCertificate {
        /// The file.
        file: String,
        /// In the library's words.
        detail: String,
    },
    /// A client's own key.
    #[error("Unable to load client key file, check bridge_keyfile \"{file}\". ({detail})")]
    ClientKey {
        /// The file.
        file: String,
        /// In the library's words.
        detail: String,
    },
    /// A client's key is not its certificate's.
    #[error("Client certificate/key are inconsistent.")]
    ClientInconsistent,
    /// Whom a client is to trust.
    #[error("Unable to load CA certificates, check {option} \"{file}\". ({detail})")]
    ClientAuthorities {
        /// `bridge_cafile` and so on.
        option: &'static str,
        /// The file.
        file: String,
        /// In the library's words.
        detail: String,
    },
    /// The library refuses the whole of it.
    #[error("Unable to set up TLS ({0})")]
    Library(String),
}

/// The certificates of a PEM text, in their order.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    if chain.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(chain) }
}

/// The revocation lists of a PEM text.
pub(super) fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let lists = CertificateRevocationListDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    if lists.is_empty() { Err("no revocation list in it".to_owned()) } else { Ok(lists) }
}

/// Why a chain and a key do not go together.
pub(super) enum Mismatch {
    /// The chain's first certificate cannot be read.
    Certificate(String),
    /// There is no signing with this key.
    Key(String),
    /// They are of different pairs.
    Pair,
}

/// A chain with its key. rustls' own way refuses certificates of version 1, which is what
/// `openssl x509 -req` makes unless told otherwise.
pub(super) fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Mismatch> {
    let signing =
        provider.key_provider.load_private_key(key).map_err(|error| Mismatch::Key(error.to_string()))?;
    let leaf = chain.first().map(AsRef::as_ref).unwrap_or_default();
    let (_, leaf) =
        X509Certificate::from_der(leaf).map_err(|error| Mismatch::Certificate(error.to_string()))?;
    match signing.public_key() {
        Some(public) if public.as_ref() != leaf.public_key().raw => Err(Mismatch::Pair),
        _ => Ok(Arc::new(CertifiedKey::new(chain, signing))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_without_what_is_wanted_are_refused() {
        assert!(certificates(b"hello").is_err());
        assert!(revocation_lists(b"hello").is_err());
    }
}
