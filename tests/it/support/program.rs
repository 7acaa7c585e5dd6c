//! The program that is tested, run in a folder of its own.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mqttlab");

/// A folder with this text as `lab.yaml`.
pub fn folder_of(lab: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("lab.yaml"), lab).expect("writes");
    folder
}

/// mqttlab with these words in a folder.
pub fn mqttlab(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).args(words.split_whitespace());
    command
}
