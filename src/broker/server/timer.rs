//! Wakes the engine when one of its deadlines has come. There is one such task a broker.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Medium;
use super::hub::Hub;

/// How often the process's memory is looked at, at most: `$SYS` shows it.
const MEMORY_EVERY: Duration = Duration::from_secs(1);

/// Runs until it is aborted.
pub async fn run(hub: Arc<Hub>, medium: Medium) {
    // Of a broker under virtual time everything is to be the same in every run.
    let looks = medium == Medium::Sockets;
    let mut looked = Instant::now();
    if looks {
        look(&hub);
    }
    loop {
        let due = async {
            match hub.next_deadline() {
                Some(due) => sleep_until(due.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = due => {
                if looks && looked.elapsed() >= MEMORY_EVERY {
                    looked = Instant::now();
                    look(&hub);
                }
                hub.handle_timeout();
            }
            () = hub.deadline_moved() => {}
        }
    }
}

fn look(hub: &Hub) {
    if let Some(bytes) = resident() {
        hub.note_memory(bytes);
    }
}

/// Bytes of memory that the process has, as far as the system says it.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
