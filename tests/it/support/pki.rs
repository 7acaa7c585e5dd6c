//! An authority for tests that signs what a proper one would not: certificates of any date, purpose
//! and name, and lists of those that it took back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use mqttlab::net::Endpoint;
use mqttlab::tls::authority::{DAY, Validity};
use mqttlab::tls::client::{ClientFiles, from_files};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use time::OffsetDateTime;

/// An authority.
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pub certificate_pem: String,
}

/// What a certificate is to be like.
pub struct Wanted {
    pub subject: Vec<(DnType, DnValue)>,
    pub validity: Validity,
    pub purpose: ExtendedKeyUsagePurpose,
    pub serial: u64,
}

impl Wanted {
    /// A good client's, with this common name.
    pub fn client(common_name: &str) -> Self {
        Self {
            subject: vec![(DnType::CommonName, common_name.into())],
            validity: Validity::starting(SystemTime::now(), DAY),
            purpose: ExtendedKeyUsagePurpose::ClientAuth,
            serial: 1,
        }
    }
}

impl Pki {
    pub fn new(common_name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params =
            params(&[(DnType::CommonName, common_name.into())], Validity::starting(SystemTime::now(), DAY));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), certificate_pem }
    }

    /// Certificate and key, PEM.
    pub fn issue(&self, wanted: &Wanted) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(&wanted.subject, wanted.validity);
        params.serial_number = Some(SerialNumber::from(wanted.serial));
        params.extended_key_usages = vec![wanted.purpose.clone()];
        params.use_authority_key_identifier_extension = true;
        if wanted.purpose == ExtendedKeyUsagePurpose::ServerAuth {
            let names = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
            params.subject_alt_names = names.expect("names").subject_alt_names;
        }
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }

    /// A list on which these serial numbers are, good for this time.
    pub fn revoke(&self, serials: &[u64], validity: Validity) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: OffsetDateTime::from(validity.not_before),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: OffsetDateTime::from(validity.not_before),
            next_update: OffsetDateTime::from(validity.not_after),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("signed").pem().expect("written")
    }

    /// Writes `server.crt`, `server.key` and `ca.crt` to a folder; answers with the lines of
    /// mosquitto.conf for a TLS listener that uses them.
    pub fn serve_in(&self, folder: &Path) -> String {
        let purpose = ExtendedKeyUsagePurpose::ServerAuth;
        let (certificate, key) = self.issue(&Wanted { purpose, ..Wanted::client("broker") });
        let path = |name: &str| folder.join(name);
        std::fs::write(path("server.crt"), certificate).expect("written");
        std::fs::write(path("server.key"), key).expect("written");
        std::fs::write(path("ca.crt"), &self.certificate_pem).expect("written");
        let [certfile, keyfile, cafile] = ["server.crt", "server.key", "ca.crt"].map(path);
        let (certfile, keyfile) = (certfile.display(), keyfile.display());
        let cafile = cafile.display();
        format!("listener 0 127.0.0.1\ncertfile {certfile}\nkeyfile {keyfile}\ncafile {cafile}\n")
    }

    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str, wanted: &Wanted) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.issue(wanted);
        let paths = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        std::fs::write(&paths.0, certificate).expect("written");
        std::fs::write(&paths.1, key).expect("written");
        paths
    }
}

fn params(subject: &[(DnType, DnValue)], validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), value.clone());
    }
    params.not_before = OffsetDateTime::from(validity.not_before);
    params.not_after = OffsetDateTime::from(validity.not_after);
    params
}

/// A TLS listener for who trusts the `ca.crt` of a folder and has, perhaps, a certificate.
pub fn endpoint(folder: &Path, port: u16, own: Option<&(PathBuf, PathBuf)>) -> Endpoint {
    let files = ClientFiles {
        cafile: Some(folder.join("ca.crt")),
        certfile: own.map(|(certificate, _)| certificate.clone()),
        keyfile: own.map(|(_, key)| key.clone()),
        ..ClientFiles::default()
    };
    at(port, from_files(&files).expect("good files"))
}

/// A TLS listener for this configuration.
pub fn at(port: u16, config: Arc<rustls::ClientConfig>) -> Endpoint {
    let host = "127.0.0.1".to_owned();
    Endpoint::Tls { host, port, server_name: "localhost".to_owned(), config, tap: None }
}
