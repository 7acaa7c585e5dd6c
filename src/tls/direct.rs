//! Certificates that webpki does not look at, judged as OpenSSL judges them: those of X.509
//! version 1 (which `openssl x509 -req` makes unless told otherwise), and authorities that stand for
//! themselves (which `openssl req -x509` makes). Both must be signed by a trusted authority directly,
//! or be one.
//!
//! All other certificates, and every longer chain, are webpki's business.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA};
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Version};
use x509_parser::revocation_list::CertificateRevocationList;

/// What a certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// By a client.
    Client,
    /// By a server.
    Server,
}

/// Whether a certificate must be valid today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dates {
    /// It must.
    Matter,
    /// `disable_client_cert_date_checks`
    Ignored,
}

/// Whom one side trusts.
#[derive(Debug, Clone)]
pub(super) struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
    /// The same for webpki.
    pub roots: std::sync::Arc<RootCertStore>,
}

impl Authorities {
    /// Those of these certificates that can be read; an error if none can.
    pub fn new(mut certificates: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        certificates.retain(|certificate| roots.add(certificate.clone()).is_ok());
        if certificates.is_empty() {
            return Err("none of its certificates can be read".to_owned());
        }
        Ok(Self { certificates, roots: roots.into() })
    }

    /// All of them.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Judges a certificate of [`is_direct`]'s kind. With `revoked`, a certificate whose issuer has
    /// no list among them is refused, as OpenSSL does.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        purpose: Purpose,
        revoked: &[CertificateRevocationListDer<'_>],
        now: UnixTime,
        dates: Dates,
    ) -> Result<(), Error> {
        let certificate = parse(leaf)?;
        check_purpose(&certificate, purpose)?;
        if dates == Dates::Matter {
            check_dates(&certificate, now)?;
        }
        let trusted = self.certificates.iter().any(|own| own == leaf);
        let issuer = self.certificates.iter().find_map(|own| {
            let (_, own) = X509Certificate::from_der(own).ok()?;
            let may_sign = own.version() != X509Version::V3 || own.is_ca();
            (may_sign && is_signed(&certificate, &own)).then_some(own)
        });
        match issuer {
            Some(issuer) if !revoked.is_empty() => check_revoked(&certificate, &issuer, revoked, now),
            Some(_) => Ok(()),
            None if trusted && revoked.is_empty() => Ok(()),
            None if trusted => Err(CertificateError::UnknownRevocationStatus.into()),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }
}

/// True for a certificate that is judged here.
pub(super) fn is_direct(leaf: &CertificateDer<'_>) -> bool {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return false };
    leaf.version() != X509Version::V3 || leaf.is_ca()
}

/// A certificate, read.
pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(_) => Err(CertificateError::BadEncoding.into()),
    }
}

fn check_dates(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), Error> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Key usage, extended key usage, and that nothing critical is passed over.
fn check_purpose(certificate: &X509Certificate<'_>, purpose: Purpose) -> Result<(), Error> {
    let mut fits = true;
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => fits &= usage.digital_signature(),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                fits &= match purpose {
                    Purpose::Client => usage.client_auth,
                    Purpose::Server => usage.server_auth,
                };
            }
            ParsedExtension::BasicConstraints(_) | ParsedExtension::SubjectAlternativeName(_) => {}
            _ if extension.critical => return Err(CertificateError::UnhandledCriticalExtension.into()),
            _ => {}
        }
    }
    if fits { Ok(()) } else { Err(CertificateError::InvalidPurpose.into()) }
}

fn is_signed(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && is_strong(&certificate.signature_algorithm.algorithm)
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

/// SHA-1 proves nothing any more.
fn is_strong(algorithm: &x509_parser::der_parser::Oid<'_>) -> bool {
    *algorithm != OID_PKCS1_SHA1WITHRSA && *algorithm != OID_SHA1_WITH_RSA
}

fn check_revoked(
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    lists: &[CertificateRevocationListDer<'_>],
    now: UnixTime,
) -> Result<(), Error> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut known = false;
    for list in lists {
        let Ok((_, list)) = CertificateRevocationList::from_der(list) else { continue };
        let is_its = list.issuer().as_raw() == issuer.subject().as_raw()
            && is_strong(&list.signature_algorithm.algorithm)
            && list.verify_signature(issuer.public_key()).is_ok();
        if !is_its {
            continue;
        }
        known = true;
        if list.iter_revoked_certificates().any(|one| one.raw_serial() == certificate.raw_serial()) {
            return Err(CertificateError::Revoked.into());
        }
        if list.next_update().is_some_and(|until| now > until.timestamp()) {
            return Err(CertificateError::ExpiredRevocationList.into());
        }
    }
    if known { Ok(()) } else { Err(CertificateError::UnknownRevocationStatus.into()) }
}

/// As rustls checks the signature of a handshake, also by a certificate that webpki cannot read.
pub(super) fn handshake_signature(
    message: &[u8],
    leaf: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
    is_13: bool,
) -> Result<HandshakeSignatureValid, Error> {
    let certificate = parse(leaf)?;
    let key = certificate.public_key();
    match (certificate.version() == X509Version::V3, is_13) {
        (true, true) => verify_tls13_signature(message, leaf, signed, algorithms),
        (true, false) => verify_tls12_signature(message, leaf, signed, algorithms),
        (false, true) => {
            let key = SubjectPublicKeyInfoDer::from(key.raw);
            verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
        }
        (false, false) => {
            let Some((_, possible)) = algorithms.mapping.iter().find(|(one, _)| *one == signed.scheme) else {
                return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
            };
            let key = &key.subject_public_key.data;
            let fits =
                possible.iter().any(|it| it.verify_signature(key, message, signed.signature()).is_ok());
            if fits {
                Ok(HandshakeSignatureValid::assertion())
            } else {
                Err(CertificateError::BadSignature.into())
            }
        }
    }
}
