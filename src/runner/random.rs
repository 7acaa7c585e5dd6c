//! Randomness of a run: repeatable numbers from a seed, and secrets that nobody can repeat.

use crate::text;

/// A small repeatable generator (`SplitMix64`). Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of one case: every case of a run has a sequence of its own.
    pub fn new(seed: u64, case: usize) -> Self {
        Self(seed ^ (case as u64 + 1).wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Eight hex digits, to tell the messages of one run from those of another.
    pub fn nonce(&mut self) -> String {
        format!("{:08x}", self.next() >> 32)
    }
}

/// Bytes from the operating system. Without them no secret can be made and the run cannot go on.
pub fn secret_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A password or an account name that cannot be guessed.
pub fn secret() -> String {
    text::hex(&secret_bytes::<12>()).replace(' ', "")
}
