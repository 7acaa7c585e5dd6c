//! Says that something was skipped so that it is seen: the test runner keeps what `eprintln!`
//! prints of tests that pass, but not what is written to stderr itself.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// One line on stderr, once: `SKIPPED test: why`.
pub fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED {test}: {why}\n");
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(line.clone()) {
        // Who closed stderr does not want to know.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
