//! Of scenarios that stand alone: whatever file they name is not there.

use std::io;
use std::path::Path;

use mqttlab::scenario::ScenarioFiles;

/// No file.
pub struct NoFiles;

impl ScenarioFiles for NoFiles {
    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}
