//! What the faults of all connections of one broker know together: small notes under names.
//!
//! Bounded, and forgotten with the broker.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Notes that are kept; further ones are not taken.
const MOST: usize = 10_000;

/// Notes of one broker. A clone is the same notes.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<BTreeMap<(&'static str, String), u64>>>);

impl Shared {
    /// What was noted for `key` on this page.
    pub fn get(&self, page: &'static str, key: &str) -> Option<u64> {
        self.0.lock().get(&(page, key.to_owned())).copied()
    }

    /// Notes something, and returns what was noted before.
    pub fn set(&self, page: &'static str, key: &str, value: u64) -> Option<u64> {
        let mut notes = self.0.lock();
        let key = (page, key.to_owned());
        if notes.len() >= MOST && !notes.contains_key(&key) {
            return None;
        }
        notes.insert(key, value)
    }

    /// Takes a note away.
    pub fn remove(&self, page: &'static str, key: &str) -> Option<u64> {
        self.0.lock().remove(&(page, key.to_owned()))
    }

    /// Counts: 1 at first.
    pub fn count(&self, page: &'static str, key: &str) -> u64 {
        let next = self.get(page, key).unwrap_or(0) + 1;
        self.set(page, key, next);
        next
    }
}
