//! TLS connections in the log of a case, within the same limits as packets.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::{Recorder, WIRE_BYTES, WIRE_EVENTS};
use crate::record::{Event, EventKind, TlsEvent, TlsSeen};

/// What is kept of them.
#[derive(Debug, Default)]
pub(super) struct Kept {
    events: usize,
    /// Connections of which not all is kept.
    cut: BTreeSet<u32>,
}

impl Kept {
    /// How many connections are not kept to their end.
    pub(super) fn cut(&self) -> usize {
        self.cut.len()
    }
}

impl Recorder {
    /// Adds something about a TLS connection that happens now. What is too much ends that connection in
    /// the log: records with a gap before them cannot be read.
    pub fn tls(&self, client: &str, conn: u32, mut seen: TlsSeen) {
        let at = self.seconds(Instant::now());
        let mut state = self.0.state.lock();
        if state.tls.cut.contains(&conn) {
            return;
        }
        let size = if let TlsSeen::Bytes { bytes, .. } = &seen { bytes.len() } else { 0 };
        if state.tls.events >= WIRE_EVENTS || state.wire_bytes.saturating_add(size) > WIRE_BYTES {
            state.tls.cut.insert(conn);
            seen = TlsSeen::Cut;
        } else {
            state.tls.events += 1;
            state.wire_bytes += size;
        }
        let tls = TlsEvent { client: client.to_owned(), conn, seen };
        state.events.push(Event { at, kind: EventKind::Tls { case: self.0.case.clone(), tls } });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{CaseId, TlsEnd};

    #[tokio::test]
    async fn tls_that_is_too_much_ends_its_connection_in_the_log() {
        let case = CaseId { file: "a.yaml".into(), scenario: "s".into(), variant: String::new(), row: None };
        let recorder = Recorder::new(case, 0.0);
        let from = TlsEnd::Client;
        let some = |size| TlsSeen::Bytes { from, bytes: vec![0; size].into() };
        recorder.tls("bob", 1, some(WIRE_BYTES - 10));
        recorder.tls("bob", 2, some(10));
        for seen in [some(1), some(0), TlsSeen::Closed { by: from }] {
            recorder.tls("bob", 1, seen);
        }
        let close = TlsSeen::Closed { by: from };
        recorder.tls("bob", 2, close.clone());
        let mut kept = Vec::new();
        let mut notes = Vec::new();
        for event in recorder.finish() {
            match event.kind {
                EventKind::Tls { tls: TlsEvent { conn, seen, .. }, .. } => kept.push((conn, seen)),
                EventKind::Note { text } => notes.push(text),
                _ => {}
            }
        }
        assert_eq!(kept[2..], [(1, TlsSeen::Cut), (2, close)]);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].ends_with(": the TLS of 1 connection ends early"), "{notes:?}");
    }
}
