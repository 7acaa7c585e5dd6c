//! Speed, as ratios measured in one run: `cargo bench` (all), or `cargo bench -- table`, `load`, `rows`,
//! `scenarios`, or parts of the names of rows: `cargo bench -- rows 'QoS 1'`.
//!
//! Prints tables and fails only when something was lost. No figure here is a test: machines differ.

mod link;
mod load;
mod process;
mod rows;
mod scenarios;
mod table;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    // Under `cargo test --all-targets` there is nothing to measure.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    // A loss found by any part of a load ends the bench.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |what| {
        report(what);
        process::end_all();
        std::process::exit(1);
    }));
    let run = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    if run("table") {
        table::run();
    }
    if run("load") {
        load::run();
    }
    if run("scenarios") {
        scenarios::run();
    }
    if run("rows") {
        process::raise_file_limit();
        rows::run(wanted.get(1..).unwrap_or_default());
    }
}
