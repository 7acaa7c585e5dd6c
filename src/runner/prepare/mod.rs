//! Makes the files of a target: mosquitto.conf, password file, ACL file, certificates.
//!
//! Bundled and process targets get the same folder, so that a case that behaves differently shows
//! a difference between brokers and not between set-ups. The folder goes when [`Prepared`] is
//! dropped, also on panic; nothing in it ever gets into a report.

pub mod check;
mod conf;
mod ports;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::random::{secret, secret_bytes};
use crate::broker::auth::{Acl, Hashing, hash_password};
use crate::diagnostic::Source;
use crate::net::Endpoint;
use crate::scenario::target::{BrokerSpec, Certificate, FileText, Setup, UserSpec};
use crate::tls::authority::{Authority, AuthorityError, KeyAlgorithm, ServerRequest, Validity};

/// Why the files could not be made. The environment's fault or the scenario's, never the broker's.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Writing failed.
    #[error("cannot write the broker's files: {0}")]
    Io(#[from] io::Error),
    /// A certificate could not be made.
    #[error("certificate {name}: {error}")]
    Certificate {
        /// Its name in `pki`.
        name: String,
        /// Why.
        error: AuthorityError,
    },
    /// A file that the configuration names is not there.
    #[error("{0}")]
    Missing(String),
}

/// A user name and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User name.
    pub name: String,
    /// Password.
    pub password: String,
}

impl Account {
    fn random(role: &str) -> Self {
        let tag = &secret()[..8];
        Self { name: format!("mqttlab-{role}-{tag}"), password: secret() }
    }
}

/// A listener as clients reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedListener {
    /// Its name in the scenario; empty for the only one.
    pub name: String,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// TLS is spoken here.
    pub tls: bool,
    /// WebSocket is spoken here.
    pub websockets: bool,
}

impl PreparedListener {
    /// What clients speak over this listener's bytes.
    pub fn spoken(&self, over: Endpoint) -> Endpoint {
        if self.websockets { over.websocket() } else { over }
    }
}

/// The generated folder, and what the runner needs to know of it.
#[derive(Debug)]
pub struct Prepared {
    folder: TempDir,
    setup: Arc<Setup>,
    /// In the order of the configuration.
    pub listeners: Vec<PreparedListener>,
    /// Password of each user, given or made.
    pub passwords: BTreeMap<String, String>,
    /// Publishes sentinels and probes: may read and write everything.
    pub control: Account,
    /// Sees what is delivered: may read and write everything.
    pub witness: Account,
    /// PEM of each authority, by its name.
    pub authorities: BTreeMap<String, String>,
    /// The ACL as its author wrote it (under its own name and line numbers), for hints.
    pub acl: Option<Acl>,
    /// Made for this run, to be kept out of every report.
    pub secrets: Vec<String>,
    config: ConfigText,
}

/// What is needed to write mosquitto.conf again with other ports.
#[derive(Debug)]
struct ConfigText {
    password_file: Option<PathBuf>,
    acl_file: Option<PathBuf>,
    extra: Vec<PathBuf>,
}

impl Prepared {
    /// Makes the folder. `dollar_roots` are the first levels (`$lab`) of topics that wildcards do
    /// not cover and that the case uses all the same. With `keep` the folder is made there and stays.
    pub fn new(
        setup: &Arc<Setup>,
        dollar_roots: &[String],
        keep: Option<&Path>,
    ) -> Result<Self, PrepareError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("mqttlab-");
        let folder = match keep {
            Some(parent) => {
                fs::create_dir_all(parent)?;
                builder.disable_cleanup(true).tempdir_in(parent)?
            }
            None => builder.tempdir()?,
        };
        let (control, witness) = (Account::random("control"), Account::random("witness"));
        let passwords: BTreeMap<_, _> = setup
            .broker
            .users
            .iter()
            .map(|user| (user.name.clone(), user.password.clone().unwrap_or_else(secret)))
            .collect();
        let made = setup.broker.users.iter().filter(|user| user.password.is_none());
        let mut secrets: Vec<_> = made.filter_map(|user| passwords.get(&user.name).cloned()).collect();
        secrets.extend([control.password.clone(), witness.password.clone()]);
        let mut prepared = Self {
            folder,
            setup: Arc::clone(setup),
            listeners: Vec::new(),
            passwords,
            control,
            witness,
            authorities: BTreeMap::new(),
            acl: None,
            secrets,
            config: ConfigText { password_file: None, acl_file: None, extra: Vec::new() },
        };
        prepared.write_certificates()?;
        prepared.write_security(dollar_roots)?;
        prepared.move_ports()?;
        Ok(prepared)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// mosquitto.conf.
    pub fn conf(&self) -> PathBuf {
        self.folder().join("mosquitto.conf")
    }

    /// Picks free ports and writes mosquitto.conf with them. To be called again when another
    /// program was faster and took one of them.
    pub fn move_ports(&mut self) -> Result<(), PrepareError> {
        let setup = Arc::clone(&self.setup);
        let (text, listeners) = match &setup.broker.config {
            Some(file) => self.moved(file)?,
            None => self.generated()?,
        };
        write_private(&self.conf(), &text)?;
        self.listeners = listeners;
        Ok(())
    }

    /// Index of a listener; `None` is the first.
    pub fn listener(&self, name: Option<&str>) -> Option<usize> {
        match name {
            None => (!self.listeners.is_empty()).then_some(0),
            Some(name) => self.listeners.iter().position(|listener| listener.name == name),
        }
    }

    /// The listener for control clients: a plain one, else the first.
    pub fn control_listener(&self) -> usize {
        self.listeners.iter().position(|one| !one.tls && !one.websockets).unwrap_or(0)
    }

    /// Path of a certificate (`cert`), its key (`key`) or its authority (`ca`).
    pub fn certificate_path(&self, name: &str, what: &str) -> Option<PathBuf> {
        let certificate = self.setup.pki.iter().find(|certificate| certificate.name == name)?;
        let file = match what {
            "cert" => format!("{name}.crt"),
            "key" => format!("{name}.key"),
            "ca" => format!("{}.crt", certificate.ca.as_deref().unwrap_or(name)),
            _ => return None,
        };
        Some(self.folder().join(file))
    }

    /// `certs.NAME.cert` and so on, with their paths.
    pub fn certificate_variables(&self) -> Vec<(String, String)> {
        let names = self.setup.pki.iter().map(|certificate| &certificate.name);
        let all = names.flat_map(|name| ["cert", "key", "ca"].map(|what| (name, what)));
        all.filter_map(|(name, what)| {
            let path = self.certificate_path(name, what)?;
            Some((format!("certs.{name}.{what}"), path.display().to_string()))
        })
        .collect()
    }

    fn write_certificates(&mut self) -> Result<(), PrepareError> {
        let now = SystemTime::now();
        let mut authorities = BTreeMap::new();
        for spec in self.setup.pki.iter().filter(|spec| spec.ca.is_none()) {
            let authority = Authority::new(&spec.name, KeyAlgorithm::EcdsaP256, validity(spec, now))
                .map_err(|error| PrepareError::Certificate { name: spec.name.clone(), error })?;
            let pem = authority.certificate_pem().to_owned();
            write_private(&self.folder().join(format!("{}.crt", spec.name)), &pem)?;
            self.authorities.insert(spec.name.clone(), pem);
            authorities.insert(spec.name.as_str(), authority);
        }
        for spec in &self.setup.pki {
            let Some(ca) = &spec.ca else { continue };
            let authority = authorities.get(ca.as_str()).ok_or_else(|| {
                PrepareError::Missing(format!("certificate {}: there is no authority {ca}", spec.name))
            })?;
            let request = ServerRequest {
                common_name: spec.name.clone(),
                names: spec.san.clone(),
                validity: validity(spec, now),
                key: KeyAlgorithm::EcdsaP256,
            };
            let issued = authority
                .issue_server(&request)
                .map_err(|error| PrepareError::Certificate { name: spec.name.clone(), error })?;
            write_private(&self.folder().join(format!("{}.crt", spec.name)), &issued.certificate_pem)?;
            write_private(&self.folder().join(format!("{}.key", spec.name)), &issued.key_pem)?;
        }
        Ok(())
    }

    /// Password and ACL files, where the set-up asks for them.
    fn write_security(&mut self, dollar_roots: &[String]) -> Result<(), PrepareError> {
        let setup = Arc::clone(&self.setup);
        let broker = &setup.broker;
        let closed = broker.allow_anonymous == Some(false) && broker.config.is_none();
        if broker.password_file.is_some() || !broker.users.is_empty() || closed {
            let given = broker.password_file.as_ref().map(|file| file.text.as_str());
            let path = self.folder().join("passwd");
            write_private(&path, &self.password_text(given))?;
            self.config.password_file = Some(path);
        }
        if let Some(source) = acl_source(broker) {
            let text = match &broker.acl {
                Some(file) => &file.text,
                None => &source.text,
            };
            let path = self.folder().join("acl");
            write_private(&path, &self.acl_text(text, dollar_roots))?;
            self.config.acl_file = Some(path);
            self.acl = Acl::parse(&source).ok();
        }
        Ok(())
    }

    /// The given file (or one made of `users`) with the control accounts at its end.
    fn password_text(&self, given: Option<&str>) -> String {
        let line = |hashing: Hashing, name: &str, password: &str| {
            let hash = hash_password(hashing, &secret_bytes::<12>(), password.as_bytes());
            format!("{name}:{hash}\n")
        };
        let of_user = |user: &UserSpec| {
            let hashing = if user.scram { Hashing::DEFAULT_SCRAM } else { Hashing::DEFAULT };
            self.passwords.get(&user.name).map(|password| line(hashing, &user.name, password))
        };
        let mut text = match given {
            Some(text) => ended(text),
            None => self.setup.broker.users.iter().filter_map(of_user).collect(),
        };
        for account in [&self.control, &self.witness] {
            text += &line(Hashing::DEFAULT, &account.name, &account.password);
        }
        text
    }

    /// The author's text with the control accounts' sections at its end, so that its line numbers
    /// stay what they are.
    fn acl_text(&self, text: &str, dollar_roots: &[String]) -> String {
        let mut text = ended(text);
        for account in [&self.control, &self.witness] {
            let _ = writeln!(text, "user {}\ntopic readwrite #\ntopic read $SYS/#", account.name);
            for root in dollar_roots {
                let _ = writeln!(text, "topic readwrite {root}/#");
            }
        }
        text
    }
}

/// The ACL that binds a broker, under the name and line numbers that its author knows.
pub fn acl_source(broker: &BrokerSpec) -> Option<Arc<Source>> {
    if let Some(file) = &broker.acl {
        return Some(named_source(file));
    }
    if broker.users.iter().all(|user| user.allow.is_empty()) {
        return None;
    }
    let mut text = String::new();
    for user in &broker.users {
        let _ = writeln!(text, "user {}", user.name);
        for (access, filter) in &user.allow {
            let _ = writeln!(text, "topic {access} {filter}");
        }
    }
    Some(Source::new("the ACL made of `users`", text))
}

/// A text under its own name; one within the YAML is moved down to the line that it stands on.
fn named_source(file: &FileText) -> Arc<Source> {
    let above = file.embedded_at.map_or(0, |line| line.saturating_sub(1));
    Source::new(file.path.as_str(), "\n".repeat(above) + &file.text)
}

fn validity(spec: &Certificate, now: SystemTime) -> Validity {
    let at = |seconds: i64| {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { now - distance } else { now + distance }
    };
    Validity { not_before: at(spec.not_before), not_after: at(spec.not_after) }
}

/// The text with a line feed at its end.
fn ended(text: &str) -> String {
    let mut text = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    // Away with the old one first: the mode counts only for a new file.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
