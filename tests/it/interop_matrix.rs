//! Features × client libraries that we did not write × transports, against our broker. The features are
//! in `interop_features.rs`, the libraries behind one language in `support/drivers`.
//!
//! What a library cannot express is a line of its table here and is printed as skipped, never
//! passed over. Every library has one broker with a listener for each transport.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use tempfile::TempDir;

use crate::interop_features::{FEATURES, Feature};
use crate::support::broker::{Process, program};
use crate::support::drivers::row::Row;
use crate::support::drivers::{Driver, mqtt_js, paho_1, paho_2, paho_go, rumqttc};
use crate::support::skip::skipped;
use crate::support::tls::{authority, four_transports, tls_folder};

/// One library.
struct Library {
    name: &'static str,
    /// The protocol versions that it speaks, besides 3.1.
    versions: &'static [u8],
    start: fn() -> Option<Box<dyn Driver>>,
    /// Features that it cannot express, and why.
    lacks: &'static [(&'static str, &'static str)],
}

const URLS: [&str; 4] = ["mqtt", "mqtts", "ws", "wss"];

/// A folder with what the broker of a library needs, and the broker.
struct Lab {
    folder: TempDir,
    broker: Process,
}

impl Lab {
    fn start() -> Self {
        let folder = tls_folder(&authority(), &["localhost", "127.0.0.1"]);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let listeners = four_transports(folder.path());
        let mut passwd = Command::new(program());
        passwd.args(["passwd", "-b", "-H", "scram-sha-256", &path("passwords"), "scram", "pencil"]);
        assert!(passwd.status().expect("it runs").success());
        let acl = "topic readwrite #\ntopic read $SYS/#\ntopic deny denied/#\n\
                   user alice\ntopic readwrite #\nuser scram\ntopic readwrite #\n";
        std::fs::write(path("acl"), acl).expect("written");
        let all = "max_keepalive 600\nmax_packet_size 3000000\n";
        let conf = format!("acl_file {}\n{all}{listeners}", path("acl"));
        std::fs::write(path("mosquitto.conf"), conf).expect("written");
        let broker = Process::start(folder.path(), &["-v"]);
        Self { folder, broker }
    }

    /// A row of the table.
    fn row<'a>(&'a self, driver: &'a mut dyn Driver, name: &str, transport: usize, version: u8) -> Row<'a> {
        let scheme = URLS[transport];
        let secure = scheme.ends_with('s') && scheme != "ws";
        Row {
            driver,
            broker: &self.broker,
            version,
            url: format!("{scheme}://127.0.0.1:{}", self.broker.ports[transport]),
            cafile: secure.then(|| self.folder.path().join("ca.crt").display().to_string()),
            name: format!("{name}/{scheme}/{version}"),
        }
    }
}

/// Plays every feature over every transport in every version; says all that failed.
fn play(library: &Library) {
    for (name, _) in library.lacks {
        assert!(FEATURES.iter().any(|feature| feature.name == *name), "no feature `{name}`");
    }
    let Some(mut driver) = (library.start)() else { return };
    let lab = Lab::start();
    let mut failed = Vec::new();
    for Feature { name, since, everywhere, run } in FEATURES {
        if let Some((_, why)) = library.lacks.iter().find(|(lacking, _)| lacking == name) {
            skipped(&format!("{name}: {} {why}", library.name));
            continue;
        }
        for version in library.versions.iter().filter(|version| *version >= since) {
            for transport in 0..if *everywhere { URLS.len() } else { 1 } {
                let mut row = lab.row(driver.as_mut(), name, transport, *version);
                let place = row.name.clone();
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    run(&mut row);
                    row.reset();
                }));
                if outcome.is_err() {
                    failed.push(place);
                    lab.row(driver.as_mut(), name, transport, *version).reset();
                }
            }
        }
    }
    let log = if failed.is_empty() { Vec::new() } else { lab.broker.lines() };
    assert!(failed.is_empty(), "{}: {failed:#?}\n{}", library.name, log.join("\n"));
}

#[test]
fn paho_for_python_1_6() {
    play(&Library {
        name: "paho for Python 1.6",
        versions: &[4, 5],
        start: paho_1,
        lacks: &[
            ("denied publish", "does not tell the reason code of a PUBACK"),
            ("receive maximum holds", "acknowledges by itself"),
            ("reason of a takeover", "does not read a DISCONNECT of less than three bytes"),
            ("scram", "has no AUTH"),
        ],
    });
}

#[test]
fn paho_for_python_2() {
    play(&Library {
        name: "paho for Python 2",
        versions: &[4, 5],
        start: paho_2,
        lacks: &[("scram", "has no AUTH")],
    });
}

#[test]
fn mqtt_js_5() {
    play(&Library {
        name: "MQTT.js",
        versions: &[4, 5],
        start: mqtt_js,
        lacks: &[("receive maximum holds", "acknowledges by itself")],
    });
}

#[test]
fn paho_for_go() {
    // It has no MQTT 5, so that no feature of MQTT 5 has a row.
    play(&Library { name: "paho for Go", versions: &[4], start: paho_go, lacks: &[] });
}

#[test]
fn rumqttc_of_mqtt_3_1_1() {
    play(&Library { name: "rumqttc", versions: &[4], start: || Some(rumqttc::start()), lacks: &[] });
}

#[test]
fn rumqttc_of_mqtt_5() {
    play(&Library {
        name: "rumqttc v5",
        versions: &[5],
        start: || Some(rumqttc::start()),
        lacks: &[
            ("scram", "answers no AUTH"),
            // The standard leaves out the length of no properties, and so do mosquitto and we.
            ("reason of a takeover", "does not read a DISCONNECT of a reason code alone"),
        ],
    });
}
