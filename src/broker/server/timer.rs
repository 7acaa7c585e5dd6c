//! Wakes the engine when one of its deadlines has come. There is one such task a broker.

use std::future::pending;
use std::sync::Arc;

use tokio::time::sleep_until;

use super::hub::Hub;

/// Runs until it is aborted.
pub async fn run(hub: Arc<Hub>) {
    loop {
        let due = async {
            match hub.next_deadline() {
                Some(due) => sleep_until(due.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = due => hub.handle_timeout(),
            () = hub.deadline_moved() => {}
        }
    }
}
