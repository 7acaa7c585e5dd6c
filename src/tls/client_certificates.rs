//! Whether a client's certificate is accepted: webpki's judgement, and OpenSSL's where webpki looks
//! away (see [`direct`](super::direct)) or where dates are not to matter.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::direct::{self, Authorities, Dates, Purpose};
use super::identity;

/// Why nobody could be verified.
pub(super) enum NoVerifier {
    /// The revocation lists are not as they must be.
    Revocations(String),
    /// The library's words.
    Other(String),
}

/// Demands a certificate of these authorities that is on none of these lists. Without lists nothing
/// is looked up; with them, a certificate whose authority has none is refused.
pub(super) fn verifier(
    authorities: Authorities,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    dates: Dates,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, NoVerifier> {
    let mut lists_until = None;
    for list in &revoked {
        let (_, list) = CertificateRevocationList::from_der(list)
            .map_err(|error| NoVerifier::Revocations(error.to_string()))?;
        let until = list.next_update().map(|until| until.timestamp());
        lists_until = [lists_until, until].into_iter().flatten().min();
    }
    let builder = || {
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&authorities.roots), Arc::clone(provider))
            // Mosquitto tells no client whom it trusts.
            .clear_root_hint_subjects()
            .with_crls(revoked.clone())
            .only_check_end_entity_revocation()
    };
    let refused = |error| match error {
        VerifierBuilderError::InvalidCrl(error) => NoVerifier::Revocations(format!("{error:?}")),
        error => NoVerifier::Other(error.to_string()),
    };
    let today = builder().enforce_revocation_expiration().build().map_err(refused)?;
    let any_day = match dates {
        Dates::Matter => None,
        Dates::Ignored => Some(builder().build().map_err(refused)?),
    };
    let provider = Arc::clone(provider);
    Ok(Arc::new(Verifier { today, any_day, authorities, revoked, lists_until, dates, provider }))
}

#[derive(Debug)]
struct Verifier {
    /// Everything is to be as it must be at the time that is asked for.
    today: Arc<dyn ClientCertVerifier>,
    /// The same, but for the lists' dates; there if certificates' dates do not matter.
    any_day: Option<Arc<dyn ClientCertVerifier>>,
    authorities: Authorities,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    /// Seconds since 1970 when the first list is past its date.
    lists_until: Option<i64>,
    dates: Dates,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Asks again for a time at which all certificates of the chain were valid. What else is wrong
    /// with them is wrong at any time.
    fn verify_at_any_time(
        &self,
        any_day: &Arc<dyn ClientCertVerifier>,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        failure: Error,
    ) -> Result<ClientCertVerified, Error> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        // The lists are to be of today all the same.
        if self.lists_until.is_some_and(|until| seconds > until) {
            return Err(CertificateError::ExpiredRevocationList.into());
        }
        let chain = std::iter::once(leaf).chain(intermediates);
        let validities: Vec<(i64, i64)> = chain.filter_map(identity::validity).collect();
        let from = validities.iter().map(|(from, _)| *from).max().unwrap_or(seconds);
        let until = validities.iter().map(|(_, until)| *until).min().unwrap_or(seconds);
        if from > until {
            return Err(failure);
        }
        let then = u64::try_from(seconds.clamp(from, until)).unwrap_or(0);
        let then = UnixTime::since_unix_epoch(std::time::Duration::from_secs(then));
        any_day.verify_client_cert(leaf, intermediates, then)
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.today.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if direct::is_direct(end_entity) {
            self.authorities.verify(end_entity, Purpose::Client, &self.revoked, now, self.dates)?;
            return Ok(ClientCertVerified::assertion());
        }
        let judged = self.today.verify_client_cert(end_entity, intermediates, now);
        match (&self.any_day, judged) {
            (Some(any_day), Err(error)) if is_about_dates(&error) => {
                self.verify_at_any_time(any_day, end_entity, intermediates, now, error)
            }
            (_, judged) => judged,
        }
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

fn is_about_dates(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        )
    )
}
