//! Certificates made for a run, and the TLS that clients and listeners speak with them.
//!
//! One provider (aws-lc-rs), passed explicitly; there is no process-wide default.

pub mod authority;
pub mod client;
mod client_certificates;
mod direct;
mod files;
pub mod identity;
pub mod key_log;
pub mod material;
pub mod private_key;
pub mod server;
pub mod suites;

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, Error};

/// Why a TLS connection could not be had, in the words that scenarios use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFailure {
    /// The certificate is for another name.
    NameMismatch,
    /// The certificate is of an authority that this client does not trust.
    UnknownCa,
    /// The certificate is past its end.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The other side does not speak TLS.
    NotTls,
    /// The other side sent an alert or ended the handshake.
    Handshake,
}

impl TlsFailure {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::NameMismatch,
        Self::UnknownCa,
        Self::Expired,
        Self::NotYetValid,
        Self::NotTls,
        Self::Handshake,
    ];

    /// `tls.name_mismatch` and so on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NameMismatch => "tls.name_mismatch",
            Self::UnknownCa => "tls.unknown_ca",
            Self::Expired => "tls.expired",
            Self::NotYetValid => "tls.not_yet_valid",
            Self::NotTls => "tls.not_tls",
            Self::Handshake => "tls.handshake",
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The one provider of everything in this program.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The name that a certificate must be for: a host name or an address.
pub fn server_name(name: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).ok()
}

/// What an error of a TLS stream means, if it is one of TLS at all.
pub fn classify(error: &io::Error) -> Option<TlsFailure> {
    error.get_ref()?.downcast_ref::<Error>().map(classify_tls)
}

/// What an error of the library means.
pub fn classify_tls(error: &Error) -> TlsFailure {
    match error {
        Error::InvalidCertificate(reason) => classify_certificate(reason),
        Error::InvalidMessage(_) => TlsFailure::NotTls,
        _ => TlsFailure::Handshake,
    }
}

fn classify_certificate(reason: &CertificateError) -> TlsFailure {
    match reason {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFailure::NameMismatch
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFailure::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFailure::NotYetValid
        }
        // An authority of the right name with another key signed it.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFailure::UnknownCa,
        // A self-signed server certificate: an authority in the place of a server.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            TlsFailure::UnknownCa
        }
        _ => TlsFailure::Handshake,
    }
}
