//! See `bodies/storage.rs`.
#![no_main]

#[path = "../bodies/storage.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
