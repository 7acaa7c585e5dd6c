//! Faults that the broker has on purpose (`--fault NAME`), so that every test can be seen to fail.
//!
//! The engine knows nothing of them: a fault stands between a connection's transport (above TLS and
//! WebSocket) and the broker, and alters, drops, adds or answers packets there. One row in a table
//! each; most imitate what a real broker was seen to do wrong. Pure: `server/misbehave.rs` moves the bytes.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod accepts;
mod acks;
mod chain;
mod clients;
mod connecting;
mod ending;
mod matching;
mod messages;
mod properties;
mod retained;
mod session;
mod shared;
mod subscribing;
mod wire;

use std::fmt;

pub use chain::{Chain, Outcome};
pub use shared::Shared;
pub use wire::Way;

use crate::text::did_you_mean;
use wire::Rewriter;

/// Clients whose identifier begins like this are treated well by every fault: those by which a run
/// proves that what it saw could have been seen otherwise.
pub const SPARED: &str = "mqttlab-";

/// One fault.
#[derive(Debug)]
pub struct FaultSpec {
    /// As `--fault` takes it.
    pub name: &'static str,
    /// What the broker does wrong.
    pub doc: &'static str,
    make: fn() -> Rewriter,
}

const fn fault(name: &'static str, doc: &'static str, make: fn() -> Rewriter) -> FaultSpec {
    FaultSpec { name, doc, make }
}

/// Faults that are about one thing.
#[derive(Debug)]
pub struct Family {
    /// About what.
    pub title: &'static str,
    /// How the chapters begin that these faults break most directly; none: any.
    pub chapters: &'static [&'static str],
    /// They themselves.
    pub faults: &'static [FaultSpec],
}

/// All faults.
pub const FAMILIES: &[Family] = &[
    messages::FAMILY,
    acks::FAMILY,
    accepts::FAMILY,
    connecting::FAMILY,
    ending::FAMILY,
    session::FAMILY,
    subscribing::FAMILY,
    matching::FAMILY,
    retained::FAMILY,
    properties::FAMILY,
    clients::FAMILY,
];

/// Every fault.
pub fn all() -> impl Iterator<Item = &'static FaultSpec> {
    FAMILIES.iter().flat_map(|family| family.faults)
}

impl FaultSpec {
    /// True for what a client does wrong, and not the broker.
    pub fn is_of_client(&self) -> bool {
        clients::FAMILY.faults.iter().any(|fault| fault.name == self.name)
    }

    /// The fault of this name; the error is one sentence.
    pub fn named(name: &str) -> Result<&'static Self, String> {
        all().find(|fault| fault.name == name).ok_or_else(|| {
            let help = match did_you_mean(name, all().map(|fault| fault.name)) {
                Some(near) => format!("did you mean {near}?"),
                None => "`--fault list` shows all".to_owned(),
            };
            format!("there is no fault {}; {help}", crate::text::escape(name))
        })
    }
}

/// The faults of one broker.
#[derive(Clone, Default)]
pub struct Faults {
    specs: Vec<&'static FaultSpec>,
    shared: Shared,
}

impl Faults {
    /// These, the first next to the client.
    pub fn new(specs: &[&'static FaultSpec]) -> Self {
        Self { specs: specs.to_vec(), shared: Shared::default() }
    }

    /// The broker is as good as it can be.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// The warning in the broker's log.
    pub fn warning(&self) -> String {
        let names: Vec<_> = self.specs.iter().map(|fault| fault.name).collect();
        format!("Warning: this broker misbehaves on purpose (--fault {}).", names.join(" --fault "))
    }

    fn rewriters(&self) -> Vec<Rewriter> {
        self.specs.iter().map(|fault| (fault.make)()).collect()
    }

    fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.specs.iter().map(|fault| fault.name)).finish()
    }
}
