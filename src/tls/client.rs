//! TLS as a client speaks it: it trusts the authorities that it is given, and nobody else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::direct::{self, Authorities, Dates, Purpose};
use super::material::{self, MaterialError, Mismatch};
use super::suites::Protocol;
use super::{files, identity, private_key, provider};

/// Whom a client trusts.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// The authorities in these PEM texts; none at all is allowed, and then nobody is trusted.
    Authorities(&'a [&'a str]),
    /// Anybody (`insecure`): neither name, nor date, nor issuer is looked at.
    Anybody,
}

/// The configuration of a client without a certificate of its own.
pub fn config(trust: Trust<'_>) -> Result<Arc<ClientConfig>, MaterialError> {
    let provider = provider();
    let file = || "trust".to_owned();
    let bad = |detail: String| MaterialError::Authorities { option: "cafile", file: file(), detail };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(error.to_string()))?;
    let mut config = match trust {
        Trust::Authorities(texts) => {
            let mut roots = RootCertStore::empty();
            for text in texts {
                for certificate in material::certificates(text.as_bytes()).map_err(bad)? {
                    roots.add(certificate).map_err(|error| bad(error.to_string()))?;
                }
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAnybody(provider)))
            .with_no_client_auth(),
    };
    // Each handshake is to show the whole of it: a resumed one sends no certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// TLS of a client as files and rules: a bridge's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientFiles {
    /// Whom to trust.
    pub cafile: Option<PathBuf>,
    /// A folder of them.
    pub capath: Option<PathBuf>,
    /// Whom the system trusts is trusted too.
    pub system_authorities: bool,
    /// The client's own chain.
    pub certfile: Option<PathBuf>,
    /// Its key.
    pub keyfile: Option<PathBuf>,
    /// The server may have any name (`bridge_insecure`); who signed it still matters.
    pub any_name: bool,
    /// The protocol to ask for in the handshake.
    pub alpn: Option<String>,
    /// Versions and suites.
    pub protocol: Protocol,
}

/// The configuration of a client of these files. A key under a passphrase is refused: a bridge
/// connects while nobody is there to ask.
pub fn from_files(from: &ClientFiles) -> Result<Arc<ClientConfig>, MaterialError> {
    let provider = from.protocol.provider()?;
    let verifier = Verifier {
        authorities: authorities(from)?,
        any_name: from.any_name,
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(from.protocol.versions())
        .map_err(|error| MaterialError::Library(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own_certificate(from, &provider)? {
        Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = from.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    Ok(Arc::new(config))
}

/// All authorities that a client trusts; each source must have some.
fn authorities(from: &ClientFiles) -> Result<Authorities, MaterialError> {
    let bad = |option, path: &Path, detail| MaterialError::ClientAuthorities {
        option,
        file: files::name(path),
        detail,
    };
    let mut found = Vec::new();
    if let Some(cafile) = &from.cafile {
        let certificates = files::read(cafile).and_then(|pem| material::certificates(&pem));
        found.extend(certificates.map_err(|detail| bad("bridge_cafile", cafile, detail))?);
    }
    if let Some(capath) = &from.capath {
        let certificates = files::read_folder(capath);
        found.extend(certificates.map_err(|detail| bad("bridge_capath", capath, detail))?);
    }
    if from.system_authorities {
        let system = rustls_native_certs::load_native_certs();
        if system.certs.is_empty() {
            let detail = system.errors.first().map_or_else(|| "none".to_owned(), ToString::to_string);
            return Err(bad("bridge_tls_use_os_certs", Path::new("true"), detail));
        }
        found.extend(system.certs);
    }
    if found.is_empty() {
        return Err(MaterialError::NobodyTrusted { cafile: "bridge_cafile", capath: "bridge_capath" });
    }
    let named = from.cafile.as_deref().or(from.capath.as_deref()).unwrap_or(Path::new("true"));
    Authorities::new(found).map_err(|detail| bad("bridge_cafile", named, detail))
}

fn own_certificate(
    from: &ClientFiles,
    provider: &CryptoProvider,
) -> Result<Option<Arc<CertifiedKey>>, MaterialError> {
    let (Some(certfile), Some(keyfile)) = (&from.certfile, &from.keyfile) else { return Ok(None) };
    let bad_certificate = |detail| MaterialError::ClientCertificate { file: files::name(certfile), detail };
    let bad_key = |detail| MaterialError::ClientKey { file: files::name(keyfile), detail };
    let chain = files::read(certfile).and_then(|pem| material::certificates(&pem));
    let chain = chain.map_err(bad_certificate)?;
    let nobody = &mut |_: &str| Err("a bridge has nobody to ask".to_owned());
    let key = files::read(keyfile).and_then(|pem| private_key::load(&files::name(keyfile), &pem, nobody));
    match material::certified_key(chain, key.map_err(bad_key)?, provider) {
        Ok(own) => Ok(Some(own)),
        Err(Mismatch::Pair) => Err(MaterialError::ClientInconsistent),
        Err(Mismatch::Certificate(detail)) => Err(bad_certificate(detail)),
        Err(Mismatch::Key(detail)) => Err(bad_key(detail)),
    }
}

/// As OpenSSL verifies a server, for the brokers that are out there: certificates of version 1 and
/// self-signed ones too, and the common name where there is no alternative name.
#[derive(Debug)]
struct Verifier {
    authorities: Authorities,
    any_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn check_name(&self, leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
        if self.any_name {
            return Ok(());
        }
        match identity::common_name_of_nameless(leaf) {
            Some(common_name) if identity::names_match(&common_name, &name.to_str()) => Ok(()),
            Some(_) => Err(CertificateError::NotValidForName.into()),
            None => verify_server_name(&ParsedCertificate::try_from(leaf)?, name),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if direct::is_direct(end_entity) {
            self.authorities.verify(end_entity, Purpose::Server, &[], now, Dates::Matter)?;
        } else {
            let algorithms = self.provider.signature_verification_algorithms.all;
            let roots = &self.authorities.roots;
            let leaf = ParsedCertificate::try_from(end_entity)?;
            verify_server_cert_signed_by_trust_anchor(&leaf, roots, intermediates, now, algorithms)?;
        }
        self.check_name(end_entity, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        direct::handshake_signature(message, cert, signature, algorithms, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        direct::handshake_signature(message, cert, signature, algorithms, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts every certificate, but still demands that the server owns the key of what it shows.
#[derive(Debug)]
struct AcceptAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
