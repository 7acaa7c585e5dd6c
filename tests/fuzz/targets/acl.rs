//! See `bodies/acl.rs`.
#![no_main]

#[path = "../bodies/acl.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
