//! Finds ports that are free now. Whoever binds them later must be ready to lose the race.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;

use parking_lot::Mutex;

use crate::runner::random::secret_bytes;

/// Below the range that Linux takes ports of outgoing connections from, so that a client of
/// another case cannot take the port of a broker that is being restarted.
const RANGE: std::ops::Range<u16> = 12_000..32_000;
const ATTEMPTS: usize = 200;

/// Handed out lately in this process: cases run beside each other.
static TAKEN: LazyLock<Mutex<BTreeSet<u16>>> = LazyLock::new(|| Mutex::new(BTreeSet::new()));

/// So many different ports on 127.0.0.1 that nobody listens on.
pub(super) fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let mut taken = TAKEN.lock();
    if taken.len() > RANGE.len() / 2 {
        taken.clear();
    }
    let mut ports = Vec::with_capacity(count);
    for _ in 0..ATTEMPTS {
        if ports.len() == count {
            return Ok(ports);
        }
        let offset = u16::from_le_bytes(secret_bytes()) % (RANGE.end - RANGE.start);
        let port = RANGE.start + offset;
        if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            taken.insert(port);
            ports.push(port);
        }
    }
    // A crowded machine: let the system choose.
    while ports.len() < count {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        ports.push(listener.local_addr()?.port());
    }
    Ok(ports)
}
