//! Numbers for invented client identifiers, from a seed: the same in every run with it. Not for
//! secrets, but where nobody is there to keep them from.

use crate::broker::auth::scram::Secret;

/// Steele, Lea and Flood's `SplitMix64`.
#[derive(Debug)]
pub(super) struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A stand-in for a secret, where every run is to be the same: in tests, and under virtual time.
pub(super) fn secret(seed: u64) -> Secret {
    let mut random = Random(!seed);
    let mut bytes = [0; 32];
    for part in bytes.chunks_exact_mut(8) {
        part.copy_from_slice(&random.next().to_be_bytes());
    }
    Secret::new(bytes)
}
