//! Clients that we did not write, over WebSocket and secure WebSocket: MQTT.js, which browsers use,
//! and paho-mqtt for Python; and our runner against a broker at a `ws://` address. What is not
//! installed is skipped with a line on stderr; with `CI=true` that is a failure.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::broker::{self, Process, folder};
use crate::support::mosquitto::program;
use crate::support::paho::python;
use crate::support::skip::skipped;
use crate::support::tls::{authority, tls_folder};

/// Listeners: WebSocket, secure WebSocket, TCP, TLS.
struct Server {
    folder: TempDir,
    broker: Process,
}

impl Server {
    fn start() -> Self {
        let folder = tls_folder(&authority(), &["localhost", "127.0.0.1"]);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let tls = format!("certfile {}\nkeyfile {}\n", path("server.crt"), path("server.key"));
        let conf = format!(
            "allow_anonymous true\nlistener 0 127.0.0.1\nprotocol websockets\n\
             listener 0 127.0.0.1\nprotocol websockets\n{tls}\
             listener 0 127.0.0.1\nlistener 0 127.0.0.1\n{tls}"
        );
        std::fs::write(path("mosquitto.conf"), conf).expect("written");
        let broker = Process::start(folder.path(), &[]);
        Self { folder, broker }
    }

    fn port(&self, listener: usize) -> String {
        self.broker.ports[listener].to_string()
    }

    fn cafile(&self) -> String {
        self.folder.path().join("ca.crt").display().to_string()
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support").join(name)
}

#[track_caller]
fn says_ok(output: &Output) {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok", "{output:?}");
}

/// Where `.ci/run` puts MQTT.js, outside of what git sees; `None` where it has not been.
fn mqtt_js() -> Option<(PathBuf, PathBuf)> {
    let node = program("node")?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mqttjs");
    if !folder.join("node_modules/mqtt").is_dir() {
        assert!(std::env::var_os("CI").is_none(), "MQTT.js must be installed in CI");
        skipped("MQTT.js is not installed (npm install --prefix target/mqttjs mqtt@5)");
        return None;
    }
    Some((node, folder))
}

#[test]
fn mqtt_js_talks_to_us_over_every_transport_in_every_revision() {
    let Some((node, modules)) = mqtt_js() else { return };
    let server = Server::start();
    let transports = [("ws", false), ("wss", true), ("mqtt", false), ("mqtts", true)];
    for (listener, (scheme, secure)) in transports.into_iter().enumerate() {
        let address = format!("{scheme}://127.0.0.1:{}", server.port(listener));
        for version in ["3", "4", "5"] {
            let mut command = Command::new(&node);
            command.arg(script("mqttjs_client.mjs")).arg(&modules).args([&address, version]);
            if secure {
                command.arg(server.cafile());
            }
            says_ok(&command.output().expect("it runs"));
        }
    }
}

#[test]
fn a_page_and_the_client_that_browsers_load_come_from_the_listener_that_they_talk_to() {
    let Some((_, modules)) = mqtt_js() else { return };
    let Some(curl) = program("curl") else { return };
    let dist = modules.join("node_modules/mqtt/dist");
    let conf = format!(
        "listener 0 127.0.0.1\nprotocol websockets\nhttp_dir {}\nallow_anonymous true\n",
        dist.display()
    );
    let folder = folder(&conf);
    let broker = Process::start(folder.path(), &[]);
    let url = format!("http://127.0.0.1:{}/mqtt.min.js", broker.ports[0]);
    let output =
        Command::new(curl).args(["-sSf", "-D", "-", "-o"]).arg(folder.path().join("got")).arg(url).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let headers = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(headers.contains("Content-Type: text/javascript; charset=utf-8\r\n"), "{headers}");
    let read = |path: PathBuf| std::fs::read(path).expect("is there");
    assert!(read(folder.path().join("got")) == read(dist.join("mqtt.min.js")), "as it is on the disk");
}

#[test]
fn paho_talks_to_us_over_websockets_and_over_tls_too() {
    let Some(python) = python() else { return };
    let server = Server::start();
    let ca = server.cafile();
    for version in ["3", "4", "5"] {
        let plain = server.port(0);
        let secure = server.port(1);
        for arguments in
            [&[plain.as_str(), version, "websockets"][..], &[&secure, version, "websockets", &ca]]
        {
            let output = Command::new(&python).arg(script("paho_client.py")).args(arguments).output();
            says_ok(&output.expect("it runs"));
        }
    }
}

#[test]
fn scenarios_run_against_a_broker_at_a_websocket_address() {
    let server = Server::start();
    let scenario = server.folder.path().join("lab.yaml");
    let text = "lab: 1\nscenarios:\n- id: a\n  name: n\n  requires: websocket\n  clients: {a: {}, b: {}}\n  steps:\n  \
                - a: {subscribe: t, qos: 1}\n  - b: {publish: t, payload: x, qos: 1}\n  - a: {receives: t, payload: x}\n";
    std::fs::write(&scenario, text).expect("written");
    let profile = server.folder.path().join("profile.json");
    let text = format!(r#"{{"cafile": "{}", "headers": {{"X-Lab": "1"}}}}"#, server.cafile());
    std::fs::write(&profile, text).expect("written");
    let plain = format!("ws://127.0.0.1:{}/any/path?x=y", server.port(0));
    let secure = format!("wss://127.0.0.1:{}", server.port(1));
    let profile = profile.display().to_string();
    for arguments in [&[plain.as_str()][..], &[&secure, "--profile", &profile]] {
        let mut command = Command::new(broker::program());
        let output =
            command.arg("run").arg(&scenario).arg("--broker").args(arguments).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}
