//! See `bodies/filter.rs`.
#![no_main]

#[path = "../bodies/filter.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
