//! See `bodies/passwd.rs`.
#![no_main]

#[path = "../bodies/passwd.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
