//! paho-mqtt for Python, running scripts of tests.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::mosquitto::program;
use super::skip::skipped;

/// Where the Python is that has paho; `None` where it is not installed.
pub fn python() -> Option<PathBuf> {
    let python = program("python3")?;
    let importable = Command::new(&python).args(["-c", "import paho.mqtt.client"]).output();
    if !importable.expect("it runs").status.success() {
        assert!(std::env::var_os("CI").is_none(), "paho-mqtt must be installed in CI");
        skipped("paho-mqtt is not installed (pip install paho-mqtt)");
        return None;
    }
    Some(python)
}

/// What a script prints, without blanks at the ends; `None` where paho is not installed.
pub fn paho(script: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(python()?)
        .args(["-W", "ignore", "-c", script])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
