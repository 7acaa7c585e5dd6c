//! Our own broker in this process, over loopback sockets or, for virtual time, over memory pipes.
//!
//! It reads the same files as any other target.

use std::sync::Arc;

use super::{LogTail, TargetError};
use crate::broker::auth::Rules;
use crate::broker::config::{Config, Overrides};
use crate::broker::fault::{FaultSpec, Faults};
use crate::broker::log::LogLine;
use crate::broker::server::files::{FsFiles, load_rules};
use crate::broker::server::{Broker, Medium};
use crate::diagnostic::{Diagnostic, has_errors};
use crate::net::{Endpoint, memory};
use crate::runner::prepare::Prepared;

/// One broker of this process.
#[derive(Debug)]
pub struct Bundled {
    medium: Medium,
    seed: u64,
    faults: Faults,
    broker: Option<Broker>,
}

impl Bundled {
    /// Not started yet.
    pub fn new(memory: bool, seed: u64, faults: &[&'static FaultSpec]) -> Self {
        let medium = if memory { Medium::Memory } else { Medium::Sockets };
        Self { medium, seed, faults: Faults::new(faults), broker: None }
    }

    pub(super) async fn start(&mut self, prepared: &Prepared, log: &LogTail) -> Result<(), TargetError> {
        if self.broker.is_some() {
            return Ok(());
        }
        let (config, rules) = read(prepared)?;
        let (types, log) = (config.log.types, log.clone());
        let sink = Box::new(move |lines: &[LogLine]| {
            for line in lines.iter().filter(|line| types.has(line.kind)) {
                log.push(line.text.clone());
            }
        });
        let faults = self.faults.clone();
        let broker = Broker::start_with_faults(config, rules, self.medium, self.seed, sink, faults).await;
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

    /// A listener without TLS; while the broker is down, an address where nobody listens. `None`:
    /// that is where its socket was.
    pub(super) fn endpoint(&self, index: usize) -> Option<Endpoint> {
        match (&self.broker, self.medium) {
            (Some(broker), _) => Some(broker.endpoint(index)),
            (None, Medium::Sockets) => None,
            (None, Medium::Memory) => Some(Endpoint::Memory(memory::listener().0)),
        }
    }
}

fn read(prepared: &Prepared) -> Result<(Arc<Config>, Arc<Rules>), TargetError> {
    let (config, found) = Config::load(&FsFiles, Some(&prepared.conf()), &Overrides::default());
    let config = config.ok_or_else(|| refused(&found))?;
    let (rules, found) = load_rules(&config, &FsFiles);
    if has_errors(&found) {
        return Err(refused(&found));
    }
    Ok((Arc::new(config), Arc::new(rules)))
}

fn refused(diagnostics: &[Diagnostic]) -> TargetError {
    let first = diagnostics.iter().find(|one| one.is_error()).or(diagnostics.first());
    let message = first.map_or_else(String::new, |one| one.message.clone());
    TargetError::new(format!("the bundled broker refuses its files: {message}"))
}
