//! How long a bridge waits before it tries again (mosquitto.conf(5), `restart_timeout`).
//!
//! Pure: the same seed gives the same pauses.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use crate::broker::config::BridgeRestart;

/// "Decorrelated jitter": each pause lies between the base and three times the last one.
#[derive(Debug)]
pub struct Backoff {
    last: Option<Duration>,
    state: u64,
}

impl Backoff {
    /// From the beginning.
    pub fn new(seed: u64) -> Self {
        Self { last: None, state: seed }
    }

    /// A connection stood for so long.
    pub fn stood(&mut self, restart: BridgeRestart, time: Duration) {
        if let BridgeRestart::Jitter { stable, .. } = restart
            && time >= stable
        {
            self.last = None;
        }
    }

    /// The next pause.
    pub fn next(&mut self, restart: BridgeRestart) -> Duration {
        match restart {
            BridgeRestart::Constant(pause) => pause,
            BridgeRestart::Jitter { base, cap, .. } => {
                let top = self.last.unwrap_or(base).saturating_mul(3).min(cap).max(base);
                let span = u64::try_from(top.saturating_sub(base).as_millis()).unwrap_or(u64::MAX);
                let pause = base + Duration::from_millis(self.random() % span.saturating_add(1).max(1));
                self.last = Some(pause);
                pause
            }
        }
    }

    /// Steele, Lea and Flood's `SplitMix64`.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn pauses_grow_at_random_within_their_bounds_and_begin_again() {
        let restart = BridgeRestart::Jitter { base: secs(5), cap: secs(30), stable: secs(60) };
        let run = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..50).map(|_| backoff.next(restart)).collect::<Vec<_>>()
        };
        let pauses = run(7);
        assert_eq!(pauses, run(7));
        assert_ne!(pauses, run(8));
        assert!(pauses.iter().all(|pause| (secs(5)..=secs(30)).contains(pause)), "{pauses:?}");
        assert!(pauses[0] <= secs(15));
        assert!(pauses.iter().any(|pause| *pause > secs(15)));
        let mut backoff = Backoff::new(7);
        let after = |backoff: &mut Backoff, stood: u64| {
            assert!((0..20).all(|_| backoff.next(restart) >= secs(5)));
            backoff.stood(restart, secs(stood));
            backoff.last
        };
        assert!(after(&mut backoff, 59).is_some());
        assert_eq!(after(&mut backoff, 60), None);
    }

    #[test]
    fn a_constant_is_constant_and_a_base_above_the_cap_is_the_base() {
        let mut backoff = Backoff::new(1);
        for _ in 0..3 {
            assert_eq!(backoff.next(BridgeRestart::Constant(secs(20))), secs(20));
            let odd = BridgeRestart::Jitter { base: secs(9), cap: secs(3), stable: secs(0) };
            assert_eq!(backoff.next(odd), secs(9));
        }
    }
}
