//! The TLS of a listener: its files, and the configuration made of them, which a reload replaces;
//! and what a handshake with it established.
//!
//! What the files mean is decided in [`crate::tls`].

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::pki_types::CertificateDer;
use rustls::{KeyLog, ProtocolVersion, ServerConfig, ServerConnection};

use crate::broker::config::{Config, TlsFiles, TlsIdentity, TlsVersion};
use crate::tls::identity::{self, NoIdentity};
use crate::tls::key_log::KeyLogFile;
use crate::tls::material::MaterialError;
use crate::tls::server::{self, Loaded, ServerFiles};
use crate::tls::suites::{MinVersion, Protocol, cipher_name};

/// The TLS of one listener.
pub struct TlsSlot {
    files: ServerFiles,
    identity: TlsIdentity,
    /// Of the key, as it was given at the start: nobody is there to be asked at a reload.
    passphrase: Option<String>,
    key_log: Option<Arc<dyn KeyLog>>,
    current: RwLock<Arc<ServerConfig>>,
}

/// What the slots of a broker have in common.
pub struct TlsSetup {
    /// Passphrases may be asked for on the terminal.
    asks: bool,
    key_log: Option<Arc<dyn KeyLog>>,
}

impl TlsSetup {
    /// Opens the key log, if there is to be one.
    pub fn new(config: &Config) -> std::io::Result<Self> {
        let open = |path: &std::path::PathBuf| -> std::io::Result<Arc<dyn KeyLog>> {
            match KeyLogFile::open(path) {
                Ok(file) => Ok(Arc::new(file)),
                Err(error) => {
                    let text = format!("cannot open the TLS key log {}: {error}", path.display());
                    Err(std::io::Error::new(error.kind(), text))
                }
            }
        };
        let key_log = config.process.tls_keylog.as_ref().map(open).transpose()?;
        Ok(Self { asks: config.process.asks_passphrases, key_log })
    }
}

/// What was found in the files of listeners.
#[derive(Debug, Default)]
pub struct Findings {
    /// Why there is no TLS.
    pub errors: Vec<MaterialError>,
    /// What is odd, but no reason not to serve.
    pub warnings: Vec<String>,
}

impl TlsSlot {
    /// Reads the files; `None` after an error.
    pub fn load(files: &TlsFiles, setup: &TlsSetup, found: &mut Findings) -> Option<Self> {
        let identity = files.identity;
        let files = server_files(files);
        let mut passphrase = None;
        let mut ask = |file: &str| {
            let given = if setup.asks { ask_on_terminal(file) } else { Err(NOBODY.to_owned()) };
            passphrase = given.clone().ok();
            given
        };
        match server::from_files(&files, &mut ask, setup.key_log.clone()) {
            Ok(Loaded { config, warnings }) => {
                found.warnings.extend(warnings);
                let current = RwLock::new(config);
                Some(Self { files, identity, passphrase, key_log: setup.key_log.clone(), current })
            }
            Err(errors) => {
                found.errors.extend(errors);
                None
            }
        }
    }

    /// Reads all of the files again, the authorities too, which mosquitto does not. After an error
    /// the old ones stay.
    pub fn reload(&self) -> Findings {
        let mut ask = |_: &str| self.passphrase.clone().ok_or_else(|| NOBODY.to_owned());
        match server::from_files(&self.files, &mut ask, self.key_log.clone()) {
            Ok(Loaded { config, warnings }) => {
                *self.current.write() = config;
                Findings { errors: Vec::new(), warnings }
            }
            Err(errors) => Findings { errors, warnings: Vec::new() },
        }
    }

    /// What the log says when [`TlsSlot::reload`] fails.
    pub fn reload_failed(&self) -> String {
        let (certificate, key) = (self.files.certfile.display(), self.files.keyfile.display());
        format!("Error when reloading certificate '{certificate}' or key '{key}'.")
    }

    /// What the next handshake is to use.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read())
    }

    /// What a handshake that is done established.
    pub fn established(&self, connection: &ServerConnection) -> Secured {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let cipher = connection.negotiated_cipher_suite().map_or("unknown", |it| cipher_name(it.suite()));
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        Secured {
            negotiated: format!("{version} cipher {cipher}"),
            username: username(self.identity, certificate),
        }
    }
}

/// What a TLS handshake established.
#[derive(Debug, Clone)]
pub struct Secured {
    /// `TLSv1.3 cipher TLS_AES_256_GCM_SHA384`
    pub negotiated: String,
    /// Who the client is by its certificate; `None` where its CONNECT says it.
    pub username: Option<Result<String, NoIdentity>>,
}

const NOBODY: &str = "nobody is there to be asked for its passphrase";

fn ask_on_terminal(file: &str) -> Result<String, String> {
    rpassword::prompt_password(format!("Enter PEM pass phrase for {file}:"))
        .map_err(|error| format!("its passphrase cannot be asked for ({error})"))
}

/// `use_identity_as_username`, `use_subject_as_username`
fn username(
    rule: TlsIdentity,
    certificate: Option<&CertificateDer<'_>>,
) -> Option<Result<String, NoIdentity>> {
    let of = match rule {
        TlsIdentity::Connect => return None,
        TlsIdentity::CommonName => identity::common_name,
        TlsIdentity::Subject => identity::subject,
    };
    Some(certificate.ok_or(NoIdentity::NoCertificate).and_then(of))
}

fn server_files(files: &TlsFiles) -> ServerFiles {
    ServerFiles {
        certfile: files.certfile.clone(),
        keyfile: files.keyfile.clone(),
        cafile: files.cafile.clone(),
        capath: files.capath.clone(),
        crlfile: files.crlfile.clone(),
        require_certificate: files.require_certificate,
        ignore_client_dates: files.ignore_client_dates,
        protocol: Protocol {
            min_version: match files.min_version {
                TlsVersion::V12 => MinVersion::Tls12,
                TlsVersion::V13 => MinVersion::Tls13,
            },
            ciphers: files.ciphers.clone(),
            ciphers_tls13: files.ciphers_tls13.clone(),
        },
    }
}
