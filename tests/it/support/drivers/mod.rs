//! Client libraries that we did not write, behind one small language, so that one table of features
//! drives them all. What a feature is stands in `interop_features.rs`, not here.
//!
//! A driver obeys one command at a time, a JSON object whose `do` is one of:
//!
//! | `do` | with | answer |
//! |---|---|---|
//! | `connect` | `peer` (name of the connection), `url` (`mqtt`, `mqtts`, `ws` or `wss`), `cafile`, `id`, `version` (4 or 5), `clean`, `keepAlive` (s), `user`, `password`, `will`, `properties`, `manual` (acknowledge on command), `scram` | `code` of CONNACK, `present`, `properties` |
//! | `subscribe` | `filter`, `qos`, `noLocal`, `retainAsPublished`, `retainHandling`, `identifier` | `codes` of SUBACK |
//! | `unsubscribe` | `filter` | `codes` of UNSUBACK, where there are any |
//! | `publish` | `topic`, `payload`, `qos`, `retain`, `properties` | `code`, when it is acknowledged |
//! | `message` | | the next one: `topic`, `payload`, `qos`, `retain`, `properties` |
//! | `count` | | `count` of messages that nobody has asked for yet |
//! | `acknowledge` | | when all messages so far are acknowledged |
//! | `closed` | | when the broker closed the connection, with the `code` of its DISCONNECT or null |
//! | `disconnect` | `code` | when it is done |
//! | `drop` | | when the socket is cut |
//! | `reset` | | when all connections are gone |
//!
//! Properties have the standard's names without blanks; user properties are a list of pairs. What fails
//! or takes too long is answered with `error`. The first line of a driver names its library.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use super::broker::PATIENCE;
use super::mosquitto::program;
use super::skip::skipped;

pub mod row;
pub mod rumqttc;

/// Who obeys commands.
pub trait Driver {
    /// Obeys one, and answers.
    fn ask(&mut self, command: &Value) -> Value;
}

/// A driver that is a program.
pub struct Program {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
}

impl Program {
    fn start(mut command: Command, library: &str) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the driver starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok()
        });
        let driver = Self { child, stdin, answers };
        let said = driver.answer();
        let name = said["library"].as_str().unwrap_or_default();
        assert!(name.starts_with(library), "{name} instead of {library}");
        driver
    }

    fn answer(&self) -> Value {
        let line = self.answers.recv_timeout(PATIENCE).expect("the driver answers in time");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }
}

impl Driver for Program {
    fn ask(&mut self, command: &Value) -> Value {
        writeln!(self.stdin, "{command}").expect("the driver listens");
        self.answer()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn boxed(command: Command, library: &str) -> Box<dyn Driver> {
    Box::new(Program::start(command, library))
}

fn absent<T>(why: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "CI must have it: {why}");
    skipped(why);
    None
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/drivers").join(name)
}

/// paho for Python 1.6, as Debian has it.
pub fn paho_1() -> Option<Box<dyn Driver>> {
    const DEBIAN: &str = "/usr/lib/python3/dist-packages";
    let python = program("python3")?;
    if !Path::new(DEBIAN).join("paho/mqtt/client.py").is_file() {
        return absent("paho-mqtt 1.6 is not installed (apt install python3-paho-mqtt)");
    }
    let mut command = Command::new(python);
    command.env("PYTHONPATH", DEBIAN).args(["-B", "-W", "ignore"]).arg(source("paho_python.py"));
    Some(boxed(command, "paho-mqtt 1"))
}

/// paho for Python 2, as `PyPI` has it.
pub fn paho_2() -> Option<Box<dyn Driver>> {
    let python = program("python3")?;
    let probe = Command::new(&python).args(["-c", "from paho.mqtt.enums import CallbackAPIVersion"]).output();
    if !probe.expect("it runs").status.success() {
        return absent("paho-mqtt 2 is not installed (pip install 'paho-mqtt>=2')");
    }
    let mut command = Command::new(python);
    command.args(["-B", "-W", "ignore"]).arg(source("paho_python.py"));
    Some(boxed(command, "paho-mqtt 2"))
}

/// MQTT.js, where `.ci/run` puts it.
pub fn mqtt_js() -> Option<Box<dyn Driver>> {
    let node = program("node")?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mqttjs");
    if !folder.join("node_modules/mqtt").is_dir() {
        return absent("MQTT.js is not installed (npm install --prefix target/mqttjs mqtt@5)");
    }
    let mut command = Command::new(node);
    command.arg(source("mqttjs.mjs")).arg(folder);
    Some(boxed(command, "mqtt.js 5"))
}

/// paho for Go, as Debian has it; compiled here, which takes a moment when Go's cache is empty.
pub fn paho_go() -> Option<Box<dyn Driver>> {
    const DEBIAN: &str = "/usr/share/gocode";
    let go = program("go")?;
    if !Path::new(DEBIAN).join("src/github.com/eclipse/paho.mqtt.golang").is_dir() {
        return absent(
            "paho for Go is not installed (apt install golang-github-eclipse-paho.mqtt.golang-dev)",
        );
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    std::fs::create_dir_all(&folder).expect("a folder");
    let binary = folder.join("paho_go.go");
    let built = Command::new(go)
        .env("GO111MODULE", "off")
        .env("GOPATH", DEBIAN)
        .env("GOCACHE", folder.join("cache"))
        .env("GOFLAGS", "")
        .args(["build", "-o"])
        .arg(&binary)
        .arg(source("paho_go.go"))
        .output()
        .expect("it runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(boxed(Command::new(binary), "paho.mqtt.golang"))
}
