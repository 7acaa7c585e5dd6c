//! Our own broker in this process, over loopback sockets or, for virtual time, over memory pipes.
//!
//! It reads the same files as any other target.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{LogTail, TargetError};
use crate::broker::auth::{Acl, Passwords, Rules, Zone};
use crate::broker::config::{Config, ConfigFiles, Overrides};
use crate::broker::server::{Broker, Medium};
use crate::diagnostic::{Diagnostic, Source};
use crate::net::{Endpoint, memory};
use crate::runner::prepare::Prepared;

/// One broker of this process.
#[derive(Debug)]
pub struct Bundled {
    medium: Medium,
    seed: u64,
    broker: Option<Broker>,
}

impl Bundled {
    /// Not started yet.
    pub fn new(memory: bool, seed: u64) -> Self {
        Self { medium: if memory { Medium::Memory } else { Medium::Sockets }, seed, broker: None }
    }

    pub(super) async fn start(&mut self, prepared: &Prepared, _log: &LogTail) -> Result<(), TargetError> {
        if self.broker.is_some() {
            return Ok(());
        }
        let (config, rules) = read(prepared)?;
        let broker = Broker::start(config, rules, self.medium, self.seed).await;
        self.broker = Some(broker.map_err(|error| TargetError::new(format!("the bundled broker: {error}")))?);
        Ok(())
    }

    pub(super) async fn stop(&mut self) -> Result<(), TargetError> {
        if let Some(broker) = self.broker.take() {
            broker.stop().await;
        }
        Ok(())
    }

    pub(super) async fn kill(&mut self) -> Result<(), TargetError> {
        if let Some(broker) = self.broker.take() {
            broker.kill().await;
        }
        Ok(())
    }

    pub(super) fn reload(&mut self, prepared: &Prepared) -> Result<(), TargetError> {
        let Some(broker) = &self.broker else { return Err(TargetError::new("the broker is not running")) };
        let (config, rules) = read(prepared)?;
        broker.reload(config, rules);
        Ok(())
    }

    pub(super) fn is_down(&self) -> bool {
        self.broker.is_none()
    }

    /// A plain listener; while the broker is down, an address where nobody listens.
    pub(super) fn endpoint(&self, index: usize, port: u16) -> Endpoint {
        match (&self.broker, self.medium) {
            (Some(broker), _) => broker.endpoint(index),
            (None, Medium::Sockets) => Endpoint::Tcp { host: "127.0.0.1".into(), port },
            (None, Medium::Memory) => Endpoint::Memory(memory::listener().0),
        }
    }
}

/// The files that mosquitto.conf names, from disk.
pub(super) struct Disk;

impl ConfigFiles for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }
}

fn read(prepared: &Prepared) -> Result<(Arc<Config>, Arc<Rules>), TargetError> {
    let (config, diagnostics) = Config::load(&Disk, Some(&prepared.conf()), &Overrides::default());
    let Some(mut config) = config else { return Err(refused(&diagnostics)) };
    // Its lines would get between those of the report.
    config.log.destinations.clear();
    let zones = config.security.iter().map(|security| {
        let source = |path: &PathBuf| {
            let text = fs::read_to_string(path)
                .map_err(|error| TargetError::new(format!("{}: {error}", path.display())))?;
            Ok(Source::new(path.display().to_string(), text))
        };
        let passwords = match &security.password_file {
            Some(path) => Some(Passwords::parse(&source(path)?, config.compat).map_err(|all| refused(&all))?),
            None => None,
        };
        let acl = match &security.acl_file {
            Some(path) => Some(Acl::parse(&source(path)?).map_err(|all| refused(&all))?),
            None => None,
        };
        Ok(Zone { allow_anonymous: security.allow_anonymous, passwords, acl })
    });
    let rules = Rules::new(zones.collect::<Result<_, TargetError>>()?);
    Ok((Arc::new(config), Arc::new(rules)))
}

fn refused(diagnostics: &[Diagnostic]) -> TargetError {
    let first = diagnostics.iter().find(|one| one.is_error()).or(diagnostics.first());
    let message = first.map_or_else(String::new, |one| one.message.clone());
    TargetError::new(format!("the bundled broker refuses its files: {message}"))
}
