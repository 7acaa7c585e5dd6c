//! A broker that keeps its state: opens the files before there is a hub, and says what came of it.

use std::io;
use std::sync::{Arc, OnceLock, Weak};

use super::hub::{self, Hub};
use super::{LogSink, Medium};
use crate::broker::auth::Rules;
use crate::broker::config::Config;
use crate::broker::log::LogTypes;
use crate::broker::storage::{self, Opened, Store};

/// The hub, with what was kept.
pub fn start(
    config: &Arc<Config>,
    rules: Arc<Rules>,
    medium: Medium,
    seed: u64,
    log: LogSink,
) -> io::Result<Arc<Hub>> {
    let Some(persistence) = &config.persistence else {
        return Ok(Arc::new(Hub::new(Arc::clone(config), rules, seed, log, None)));
    };
    let Opened { kept, troubles, pending } =
        storage::open(persistence, hub::now()).map_err(io::Error::other)?;
    let counts = [
        (kept.sessions(), "clients"),
        (kept.subscriptions(), "subscriptions"),
        (kept.retained(), "retained messages"),
    ];
    // The writer begins before there is a hub, and the hub ends before the writer.
    let place: Arc<OnceLock<Weak<Hub>>> = Arc::default();
    let told = Arc::clone(&place);
    let report = move |kind: LogTypes, text: &str| {
        if let Some(hub) = told.get().and_then(Weak::upgrade) {
            hub.log(kind, text);
        }
    };
    let store = Store::start(pending, medium == Medium::Memory, Box::new(report))?;
    let hub = Arc::new(Hub::new(Arc::clone(config), rules, seed, log, Some((kept, store))));
    let _ = place.set(Arc::downgrade(&hub));
    for text in troubles {
        let kind = if text.starts_with("Warning") { LogTypes::WARNING } else { LogTypes::ERROR };
        hub.log(kind, &text);
    }
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        hub.log(LogTypes::INFORMATION, &format!("Restored {count} {what}."));
    }
    Ok(hub)
}
