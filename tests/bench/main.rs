//! Speed, as ratios measured in one run: `cargo bench` (all), `cargo bench -- table`, `cargo bench -- load`.
//!
//! Prints tables and fails only when something was lost. No figure here is a test: machines differ.

mod load;
mod process;
mod table;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    // Under `cargo test --all-targets` there is nothing to measure.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let run = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    if run("table") {
        table::run();
    }
    if run("load") {
        load::run();
    }
}
