//! Certificate authorities and server certificates, made fresh for a run.
//!
//! Writes no files and reads no clock: the time is an argument, PEM texts are the result.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use time::OffsetDateTime;

/// What a key is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    #[default]
    EcdsaP256,
    /// RSA of 2,048 bits with SHA-256.
    Rsa2048,
}

/// From when until when a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First instant.
    pub not_before: SystemTime,
    /// Last instant.
    pub not_after: SystemTime,
}

impl Validity {
    /// From a minute before `now`, for clocks that differ, until `length` after it.
    pub fn starting(now: SystemTime, length: Duration) -> Self {
        Self { not_before: now - Duration::from_secs(60), not_after: now + length }
    }

    /// Two days ago until yesterday.
    pub fn past(now: SystemTime) -> Self {
        Self { not_before: now - 2 * DAY, not_after: now - DAY }
    }

    /// Tomorrow until the day after.
    pub fn future(now: SystemTime) -> Self {
        Self { not_before: now + DAY, not_after: now + 2 * DAY }
    }
}

/// Twenty-four hours.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a server certificate is for.
#[derive(Debug, Clone)]
pub struct ServerRequest {
    /// Subject's common name; only for people, clients look at `names`.
    pub common_name: String,
    /// Subject alternative names: host names and addresses.
    pub names: Vec<String>,
    /// When it holds.
    pub validity: Validity,
    /// What its key is made of.
    pub key: KeyAlgorithm,
}

/// A certificate with its key, both as PEM. The key is not in the debug output.
#[derive(Clone)]
pub struct Issued {
    /// The certificate; for a server the leaf alone, since the authority signs it directly.
    pub certificate_pem: String,
    /// Its private key, PKCS#8.
    pub key_pem: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// A self-signed certificate authority. Its key never leaves it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Neither a host name nor an address.
    #[error("`{0}` is neither a host name nor an address")]
    BadName(String),
    /// The library refused.
    #[error("cannot make the certificate: {0}")]
    Library(#[from] rcgen::Error),
}

impl Authority {
    /// A new authority with this common name.
    pub fn new(common_name: &str, key: KeyAlgorithm, validity: Validity) -> Result<Self, AuthorityError> {
        let key = generate(key)?;
        let mut params = params(common_name, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem })
    }

    /// What clients are to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Signs a new server certificate.
    pub fn issue_server(&self, request: &ServerRequest) -> Result<Issued, AuthorityError> {
        let key = generate(request.key)?;
        let mut params = params(&request.common_name, request.validity);
        params.subject_alt_names =
            request.names.iter().map(|name| alternative_name(name)).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if request.key == KeyAlgorithm::Rsa2048 {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn generate(algorithm: KeyAlgorithm) -> Result<KeyPair, rcgen::Error> {
    match algorithm {
        KeyAlgorithm::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyAlgorithm::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
    }
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = OffsetDateTime::from(validity.not_before);
    params.not_after = OffsetDateTime::from(validity.not_after);
    params
}

fn alternative_name(name: &str) -> Result<SanType, AuthorityError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    // A wildcard is a name in a certificate, though none that can be dialled.
    let host = name.strip_prefix("*.").unwrap_or(name);
    let bad = || AuthorityError::BadName(name.to_owned());
    super::server_name(host).ok_or_else(bad)?;
    Ok(SanType::DnsName(Ia5String::try_from(name).map_err(|_| bad())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_in_debug_output() {
        let now = SystemTime::now();
        let validity = Validity::starting(now, DAY);
        let authority = Authority::new("lab", KeyAlgorithm::EcdsaP256, validity).expect("made");
        let request = ServerRequest {
            common_name: "broker".into(),
            names: vec!["localhost".into(), "127.0.0.1".into(), "*.example.org".into()],
            validity,
            key: KeyAlgorithm::EcdsaP256,
        };
        let issued = authority.issue_server(&request).expect("signed");
        assert!(issued.key_pem.contains("PRIVATE KEY"));
        let shown = format!("{authority:?} {issued:?}");
        assert!(shown.contains("CERTIFICATE") && !shown.contains("PRIVATE KEY"), "{shown}");
        let bad = ServerRequest { names: vec!["not a host".into()], ..request };
        assert!(matches!(authority.issue_server(&bad), Err(AuthorityError::BadName(_))));
    }
}
