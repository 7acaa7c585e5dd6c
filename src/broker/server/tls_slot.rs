//! The TLS of a listener: its files, and the configuration made of them, which a reload replaces.
//!
//! Reads the files; what they mean is decided in [`crate::tls`].

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;

use crate::broker::config::TlsFiles;
use crate::tls::material::MaterialError;
use crate::tls::server::{self, PemFile};

/// The certificate of a listener, which a reload replaces.
pub struct TlsSlot {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

impl TlsSlot {
    /// Reads the files.
    pub fn load(files: &TlsFiles) -> Result<Self, MaterialError> {
        let current = RwLock::new(read(files)?);
        Ok(Self { files: files.clone(), current })
    }

    /// Reads the files again; after an error the old certificate stays.
    pub fn reload(&self) -> Result<(), MaterialError> {
        let fresh = read(&self.files)?;
        *self.current.write() = fresh;
        Ok(())
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
}

/// The server configuration of these files, as they are now.
pub fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, MaterialError> {
    let certfile = files.certfile.display().to_string();
    let keyfile = files.keyfile.display().to_string();
    let chain = std::fs::read(&files.certfile)
        .map_err(|error| MaterialError::Certificate { file: certfile.clone(), detail: error.to_string() })?;
    let key = std::fs::read(&files.keyfile)
        .map_err(|error| MaterialError::Key { file: keyfile.clone(), detail: error.to_string() })?;
    if let Some(cafile) = &files.cafile {
        let file = cafile.display().to_string();
        let pem = std::fs::read(cafile)
            .map_err(|error| MaterialError::Authorities { file: file.clone(), detail: error.to_string() })?;
        server::check_authorities(PemFile { name: &file, pem: &pem })?;
    }
    server::config(PemFile { name: &certfile, pem: &chain }, PemFile { name: &keyfile, pem: &key })
}
