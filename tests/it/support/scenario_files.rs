//! Scenario files as the tests read them: all below a folder, and what stands beside one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mqttlab::scenario::ScenarioFiles;

/// All scenario files below a folder, in order of their paths.
pub fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Files that a scenario names, relative to it.
pub struct Beside<'a>(pub &'a Path);

impl ScenarioFiles for Beside<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(self.0.parent().unwrap_or(Path::new(".")).join(path))
    }
}
