//! TLS as a client speaks it: it trusts the authorities that it is given, and nobody else.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::material::{self, MaterialError};
use super::provider;

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
    let bad = |detail: String| MaterialError::Authorities { file: "trust".to_owned(), detail };
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
