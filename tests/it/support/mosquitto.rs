//! Brokers with mosquitto's command line: Eclipse Mosquitto as Debian installs it, and this program.
//!
//! Where mosquitto is missing its tests are skipped with a line on stderr; with `CI=true` they fail.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::skip::skipped;

/// A program of PATH or of /usr/sbin, where Debian has the broker.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var("CI").is_err(), "{name} is not installed, and CI must have it");
        skipped(&format!("{name} is not installed"));
    }
    found
}

/// A running broker; ended when dropped.
pub struct Running {
    child: Child,
    /// Where it listens on loopback.
    pub port: u16,
    _folder: TempDir,
}

/// Why a broker did not start.
pub struct Refused {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its log.
    pub log: String,
}

/// Starts mosquitto with a configuration in which `{port}` is a free port and `{dir}` the folder of
/// `files`. `None` if it is not installed.
pub fn mosquitto(conf: &str, files: &[(&str, &str)]) -> Option<Result<Running, Refused>> {
    let program = program("mosquitto")?;
    // As root mosquitto would become another user, who may not read the folder.
    Some(start(&program, &[], &format!("{conf}\nuser root\n"), files))
}

/// Starts `mqttlab broker` in the same way.
pub fn mqttlab(conf: &str, files: &[(&str, &str)]) -> Result<Running, Refused> {
    start(Path::new(env!("CARGO_BIN_EXE_mqttlab")), &["broker"], conf, files)
}

fn start(program: &Path, args: &[&str], conf: &str, files: &[(&str, &str)]) -> Result<Running, Refused> {
    // Another process may take the port between our look and the broker's bind: once more then.
    for _ in 0..5 {
        match attempt(program, args, conf, files) {
            Err(refused) if refused.log.contains("ddress already in use") => {}
            done => return done,
        }
    }
    panic!("no free port for {}", program.display());
}

fn attempt(program: &Path, args: &[&str], conf: &str, files: &[(&str, &str)]) -> Result<Running, Refused> {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().display().to_string();
    let port = free_port();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("can write");
    }
    let path = folder.path().join("mosquitto.conf");
    std::fs::write(&path, conf.replace("{port}", &port.to_string()).replace("{dir}", &dir))
        .expect("can write");
    let mut child = Command::new(program)
        .args(args)
        .arg("-c")
        .arg(&path)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the broker starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let mut log = String::new();
    for line in lines.by_ref() {
        log += &line;
        log.push('\n');
        if line.ends_with(" running") {
            // A full pipe would block the broker: somebody reads on.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(Running { child, port, _folder: folder });
        }
    }
    Err(Refused { code: child.wait().expect("a child").code(), log })
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}
