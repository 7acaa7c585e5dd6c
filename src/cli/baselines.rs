//! `--baseline`: files of known deviations, read and laid over the events of a run. What a baseline
//! means is `record`'s business.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Source};
use crate::record::{Against, Baseline, Event};

/// Reads baselines. Those that are wrong are printed, all of them, and there is nothing to go on with.
pub fn read_all<'p>(
    paths: impl IntoIterator<Item = &'p PathBuf>,
) -> anyhow::Result<Result<Vec<Against>, ()>> {
    let mut all = Vec::new();
    let mut wrong = false;
    for path in paths {
        match read(path) {
            Ok(baseline) => all.push(Against::new(baseline, path.display().to_string())),
            Err(finding) => {
                wrong = true;
                writeln!(anstream::stderr(), "{}\n", finding.render(true))?;
            }
        }
    }
    Ok(if wrong { Err(()) } else { Ok(all) })
}

/// Reads one.
pub fn read(path: &Path) -> Result<Baseline, Diagnostic> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Diagnostic::file_error("B001", format!("cannot read {name}: {error}")))?;
    Baseline::parse(&Source::new(name, text))
}

/// Hands an event on, as a baseline lets it pass.
pub fn pass(against: Option<&mut Against>, event: Event, on: &mut dyn FnMut(&Event)) {
    match against {
        Some(against) => against.pass(event).iter().for_each(on),
        None => on(&event),
    }
}
