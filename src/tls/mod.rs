//! Certificates made for a run, and the TLS that clients and listeners speak with them.
//!
//! One provider (aws-lc-rs), passed explicitly; there is no process-wide default.

use std::fmt;

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
