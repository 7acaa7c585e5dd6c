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

/// Why a listener's handshake failed, in OpenSSL's words where it has some, so that people find what
/// others wrote about it.
pub fn describe(error: &io::Error) -> String {
    use rustls::AlertDescription as Alert;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::NoCertificatesPresented) => "peer did not return a certificate".to_owned(),
        Some(Error::InvalidCertificate(reason)) => {
            format!("certificate verify failed ({})", describe_certificate(reason))
        }
        Some(Error::InvalidMessage(_)) => "wrong version number, the client speaks no TLS".to_owned(),
        Some(Error::AlertReceived(Alert::UnknownCA)) => {
            "tlsv1 alert unknown ca, the client does not trust the listener's certificate".to_owned()
        }
        Some(Error::AlertReceived(Alert::BadCertificate)) => {
            "sslv3 alert bad certificate, the client refuses the listener's certificate".to_owned()
        }
        Some(Error::AlertReceived(Alert::CertificateExpired)) => {
            "sslv3 alert certificate expired, the listener's certificate is over".to_owned()
        }
        _ => error.to_string(),
    }
}

fn describe_certificate(reason: &CertificateError) -> String {
    let words = match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid"
        }
        CertificateError::Revoked => "certificate revoked",
        CertificateError::UnknownIssuer => "unable to get local issuer certificate",
        CertificateError::BadSignature => "certificate signature failure",
        CertificateError::UnknownRevocationStatus => "unable to get certificate CRL",
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            "CRL has expired"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "unsuitable certificate purpose"
        }
        other => return other.to_string(),
    };
    words.to_owned()
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
