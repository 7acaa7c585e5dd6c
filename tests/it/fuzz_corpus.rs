//! The corpora of `tests/fuzz`, replayed: what a fuzzer once reached is reached by every test run, and
//! what it once broke stays mended.

use std::fs;
use std::path::Path;

#[path = "../fuzz/bodies/acl.rs"]
mod acl;
#[path = "../fuzz/bodies/config.rs"]
mod config;
#[path = "../fuzz/bodies/decode.rs"]
mod decode;
#[path = "../fuzz/bodies/engine.rs"]
mod engine;
#[path = "../fuzz/bodies/filter.rs"]
mod filter;
#[path = "../fuzz/bodies/passwd.rs"]
mod passwd;
#[path = "../fuzz/bodies/storage.rs"]
mod storage;
#[path = "../fuzz/bodies/websocket.rs"]
mod websocket;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder that can be read").path();
        let input = fs::read(&path).expect("a file that can be read");
        eprintln!("{}", path.display());
        run(&input);
        count += 1;
    }
    assert!(count >= 5, "only {count} inputs for {target}");
}

#[test]
fn decode() {
    replay("decode", decode::run);
}

#[test]
fn filter() {
    replay("filter", filter::run);
}

#[test]
fn config() {
    replay("config", config::run);
}

#[test]
fn acl() {
    replay("acl", acl::run);
}

#[test]
fn passwd() {
    replay("passwd", passwd::run);
}

#[test]
fn websocket() {
    replay("websocket", websocket::run);
}

#[test]
fn engine() {
    replay("engine", engine::run);
}

#[test]
fn storage() {
    replay("storage", storage::run);
}
