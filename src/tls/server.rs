//! TLS as a listener speaks it: a chain and its key, versions and suites, and whether clients need
//! certificates.
//!
//! Reads files when it is told to; watches none.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{KeyLog, ServerConfig};

use super::client_certificates::{self, NoVerifier};
use super::direct::{Authorities, Dates};
use super::material::{self, MaterialError, Mismatch};
use super::private_key::{self, Ask};
use super::suites::Protocol;
use super::{files, identity};

/// TLS of a listener as files and rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerFiles {
    /// Its chain.
    pub certfile: PathBuf,
    /// Its key.
    pub keyfile: PathBuf,
    /// Who may sign certificates of clients.
    pub cafile: Option<PathBuf>,
    /// A folder of them.
    pub capath: Option<PathBuf>,
    /// Certificates of clients that are revoked. With it, a client whose authority has no list in it
    /// is refused, and so are all when the list is past its date, as OpenSSL has it.
    pub crlfile: Option<PathBuf>,
    /// Clients must have a certificate. Otherwise none is asked for.
    pub require_certificate: bool,
    /// Certificates of clients need not be valid today.
    pub ignore_client_dates: bool,
    /// Versions and suites.
    pub protocol: Protocol,
}

/// What was made of the files.
#[derive(Debug)]
pub struct Loaded {
    /// For the handshakes from now on. It has keys for session tickets of its own, so that no
    /// session outlives the files by which it was let in.
    pub config: Arc<ServerConfig>,
    /// What is odd, but no reason not to serve.
    pub warnings: Vec<String>,
}

/// Reads the files. All that is wrong with them at once.
pub fn from_files(
    from: &ServerFiles,
    ask: Ask<'_>,
    key_log: Option<Arc<dyn KeyLog>>,
) -> Result<Loaded, Vec<MaterialError>> {
    let mut errors = Vec::new();
    let provider = keep(from.protocol.provider(), &mut errors);
    let provider = provider.unwrap_or_else(super::provider);
    let own = keep(own_certificate(from, ask, &provider), &mut errors);
    let authorities = keep(authorities(from), &mut errors).flatten();
    let revoked = keep(revoked(from), &mut errors).unwrap_or_default();
    let mut warnings = Vec::new();
    warnings.extend(own.iter().flat_map(|own| date_warnings("certificate", &from.certfile, &own.cert[..1])));
    if let Some(authorities) = &authorities {
        let named = from.cafile.as_deref().or(from.capath.as_deref()).unwrap_or(Path::new(""));
        warnings.extend(date_warnings("CA certificate", named, authorities.certificates()));
    }
    let verifier = keep(client_verifier(from, authorities, revoked, &provider), &mut errors);
    let (Some(own), Some(verifier), true) = (own, verifier, errors.is_empty()) else { return Err(errors) };
    match config(from, own, verifier, provider, key_log) {
        Ok(config) => Ok(Loaded { config, warnings }),
        Err(error) => Err(vec![MaterialError::Library(error.to_string())]),
    }
}

/// The value, or its error among the others.
fn keep<T>(result: Result<T, MaterialError>, errors: &mut Vec<MaterialError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

fn config(
    from: &ServerFiles,
    own: Arc<CertifiedKey>,
    verifier: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
    key_log: Option<Arc<dyn KeyLog>>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(from.protocol.versions())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    // As mosquitto: the order of `ciphers` is the listener's to say.
    config.ignore_client_order = true;
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    if let Some(key_log) = key_log {
        config.key_log = key_log;
    }
    Ok(Arc::new(config))
}

fn own_certificate(
    from: &ServerFiles,
    ask: Ask<'_>,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, MaterialError> {
    let bad_certificate = |detail| MaterialError::Certificate { file: files::name(&from.certfile), detail };
    let bad_key = |detail| MaterialError::Key { file: files::name(&from.keyfile), detail };
    let chain = files::read(&from.certfile).and_then(|pem| material::certificates(&pem));
    let chain = chain.map_err(bad_certificate)?;
    let pem = files::read(&from.keyfile).map_err(bad_key)?;
    let key = private_key::load(&files::name(&from.keyfile), &pem, ask).map_err(bad_key)?;
    match material::certified_key(chain, key, provider) {
        Ok(own) => Ok(own),
        Err(Mismatch::Pair) => Err(MaterialError::Inconsistent),
        Err(Mismatch::Certificate(detail)) => Err(bad_certificate(detail)),
        Err(Mismatch::Key(detail)) => Err(bad_key(detail)),
    }
}

/// Those of `cafile` and `capath` together; a file that is named is read even if no client is asked.
fn authorities(from: &ServerFiles) -> Result<Option<Authorities>, MaterialError> {
    let bad =
        |option, path: &Path, detail| MaterialError::Authorities { option, file: files::name(path), detail };
    let mut found = Vec::new();
    if let Some(cafile) = &from.cafile {
        let certificates = files::read(cafile).and_then(|pem| material::certificates(&pem));
        found.extend(certificates.map_err(|detail| bad("cafile", cafile, detail))?);
    }
    if let Some(capath) = &from.capath {
        let certificates = files::read_folder(capath);
        found.extend(certificates.map_err(|detail| bad("capath", capath, detail))?);
    }
    let Some(named) = from.cafile.as_deref().or(from.capath.as_deref()) else { return Ok(None) };
    let option = if from.cafile.is_some() { "cafile" } else { "capath" };
    Authorities::new(found).map(Some).map_err(|detail| bad(option, named, detail))
}

fn revoked(from: &ServerFiles) -> Result<Vec<CertificateRevocationListDer<'static>>, MaterialError> {
    let Some(crlfile) = &from.crlfile else { return Ok(Vec::new()) };
    let lists = files::read(crlfile).and_then(|pem| material::revocation_lists(&pem));
    lists.map_err(|detail| MaterialError::Revocations { file: files::name(crlfile), detail })
}

fn client_verifier(
    from: &ServerFiles,
    authorities: Option<Authorities>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, MaterialError> {
    if !from.require_certificate {
        return Ok(rustls::server::WebPkiClientVerifier::no_client_auth());
    }
    // An error in a file that was named has been said.
    let named = from.cafile.is_some() || from.capath.is_some();
    let Some(authorities) = authorities else {
        let nobody = MaterialError::NobodyTrusted { cafile: "cafile", capath: "capath" };
        return if named { Ok(rustls::server::WebPkiClientVerifier::no_client_auth()) } else { Err(nobody) };
    };
    let dates = if from.ignore_client_dates { Dates::Ignored } else { Dates::Matter };
    client_certificates::verifier(authorities, revoked, dates, provider).map_err(|error| match error {
        NoVerifier::Revocations(detail) => {
            let file = from.crlfile.as_deref().map(files::name).unwrap_or_default();
            MaterialError::Revocations { file, detail }
        }
        NoVerifier::Other(detail) => MaterialError::Library(detail),
    })
}

/// Certificates that do not hold today.
fn date_warnings(what: &str, file: &Path, certificates: &[CertificateDer<'_>]) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let date =
        |seconds| jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".into(), |it| it.to_string());
    let warning = |certificate| {
        let (from, until) = identity::validity(certificate)?;
        let subject = identity::subject(certificate).unwrap_or_default();
        let file = file.display();
        if now > until {
            Some(format!("The {what} \"{subject}\" in \"{file}\" expired on {}.", date(until)))
        } else if now < from {
            Some(format!("The {what} \"{subject}\" in \"{file}\" is not valid before {}.", date(from)))
        } else {
            None
        }
    };
    certificates.iter().filter_map(warning).collect()
}
