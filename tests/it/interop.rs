//! Clients that we did not write, against our broker: Debian's `mosquitto_pub` and
//! `mosquitto_sub`, openssl, and paho-mqtt for Python. What is not installed is skipped with a line on stderr; with
//! `CI=true` that is a failure.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use mqttlab::broker::auth::{Hashing, hash_password};
use mqttlab::tls::authority::{DAY, KeyAlgorithm, ServerRequest, Validity};

use crate::support::broker::{OPEN, Process, folder};
use crate::support::mosquitto::program;
use crate::support::paho::python;
use crate::support::tls::{authority, issue, tls_folder, write_certificate};

const VERSIONS: [&str; 3] = ["31", "311", "5"];

/// Both clients of Debian, and a running broker of ours.
struct Tools {
    broker: Process,
    publish: std::path::PathBuf,
    subscribe: std::path::PathBuf,
}

impl Tools {
    /// `None` where they are not installed.
    fn with(folder: &Path) -> Option<Self> {
        let (publish, subscribe) = (program("mosquitto_pub")?, program("mosquitto_sub")?);
        Some(Self { broker: Process::start(folder, &["-v"]), publish, subscribe })
    }

    fn command(&self, program: &Path, listener: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let port = self.broker.ports[listener].to_string();
        command.args(["-h", "localhost", "-p", &port]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `mosquitto_pub` to its end.
    fn publish(&self, arguments: &[&str]) -> Output {
        self.command(&self.publish, 0, arguments).output().expect("it runs")
    }

    /// `mosquitto_sub`, already subscribed. It gives up by itself.
    fn subscribe(&self, client_id: &str, arguments: &[&str]) -> Child {
        let common = ["-i", client_id, "-W", "60"];
        let child = self.command(&self.subscribe, 0, &[&common, arguments].concat()).spawn();
        self.broker.wait_for_line(&format!("Sending SUBACK to {client_id}"));
        child.expect("it runs")
    }
}

/// What it printed, line by line, if it ended well.
#[track_caller]
fn lines(child: Child) -> Vec<String> {
    let output = child.wait_with_output().expect("it is our child");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn mosquitto_clients_of_every_revision_talk_at_every_quality_of_service() {
    let folder = folder(OPEN);
    let Some(tools) = Tools::with(folder.path()) else { return };
    for to in VERSIONS {
        for from in VERSIONS {
            let id = format!("watch-{to}-{from}");
            let format = ["-F", "%t %p q%q r%r", "-t", "lab/+/temp", "-q", "2", "-C", "3", "-V", to];
            let watch = tools.subscribe(&id, &format);
            for qos in ["0", "1", "2"] {
                let payload = format!("from {from}");
                succeeds(&tools.publish(&["-V", from, "-t", "lab/7/temp", "-m", &payload, "-q", qos]));
            }
            let wanted = ["0", "1", "2"].map(|qos| format!("lab/7/temp from {from} q{qos} r0"));
            assert_eq!(lines(watch), wanted, "{from} to {to}");
        }
    }
}

#[test]
fn mosquitto_clients_retain_replace_and_delete() {
    let folder = folder(OPEN);
    let Some(tools) = Tools::with(folder.path()) else { return };
    for payload in ["first", "second"] {
        succeeds(&tools.publish(&["-t", "kept", "-m", payload, "-q", "1", "-r"]));
    }
    let late = tools.subscribe("late", &["-t", "kept", "-C", "1", "-F", "%p r%r"]);
    assert_eq!(lines(late), ["second r1"]);
    succeeds(&tools.publish(&["-t", "kept", "-n", "-r"]));
    // The control shows that what was deleted would have come before it.
    succeeds(&tools.publish(&["-t", "control", "-m", "there", "-r"]));
    let after = tools.subscribe("after", &["-t", "kept", "-t", "control", "-C", "1", "-v"]);
    assert_eq!(lines(after), ["control there"]);
}

#[test]
fn the_will_of_a_killed_mosquitto_client_is_sent() {
    let folder = folder(OPEN);
    let Some(tools) = Tools::with(folder.path()) else { return };
    for version in VERSIONS {
        let watch = tools.subscribe(&format!("watch{version}"), &["-t", "state", "-C", "1", "-q", "1"]);
        let will = ["--will-topic", "state", "--will-payload", "lost", "--will-qos", "1", "-V", version];
        let mut dies = tools.subscribe(&format!("dies{version}"), &[&["-t", "x"], &will[..]].concat());
        dies.kill().expect("it lives");
        dies.wait().expect("it is our child");
        assert_eq!(lines(watch), ["lost"]);
    }
}

#[test]
fn what_came_while_a_mosquitto_client_was_away_is_delivered_when_it_is_back() {
    let folder = folder(OPEN);
    let Some(tools) = Tools::with(folder.path()) else { return };
    let stored = ["-t", "q", "-q", "2", "-c"];
    lines(tools.subscribe("away", &[&stored, &["-E"][..]].concat()));
    for (qos, payload) in [("1", "one"), ("2", "two")] {
        succeeds(&tools.publish(&["-t", "q", "-q", qos, "-m", payload]));
    }
    let back = tools.subscribe("away", &[&stored, &["-C", "2"][..]].concat());
    assert_eq!(lines(back), ["one", "two"]);
}

#[test]
fn mosquitto_clients_are_refused_with_the_codes_that_they_know() {
    let folder = folder("");
    let passwords = folder.path().join("passwords");
    let hash = hash_password(Hashing::DEFAULT, &[7; 12], b"a1");
    std::fs::write(&passwords, format!("alice:{hash}\n")).expect("written");
    let conf = format!("listener 0 127.0.0.1\npassword_file {}\n", passwords.display());
    std::fs::write(folder.path().join("mosquitto.conf"), conf).expect("written");
    let Some(tools) = Tools::with(folder.path()) else { return };
    let message = ["-t", "t", "-m", "x", "-q", "1"];
    for (version, refused) in [("31", 5), ("311", 5), ("5", 135)] {
        for (credentials, code) in
            [(&["-u", "alice", "-P", "a1"][..], 0), (&["-u", "alice", "-P", "a2"], refused), (&[], refused)]
        {
            let output = tools.publish(&[&message[..], &["-V", version], credentials].concat());
            assert_eq!(output.status.code(), Some(code), "{version} {credentials:?}: {output:?}");
        }
    }
}

#[test]
fn mosquitto_clients_and_openssl_accept_our_certificates_and_refuse_wrong_ones() {
    let lab = authority();
    let folder = tls_folder(&lab, &["localhost", "127.0.0.1"]);
    let Some(tools) = Tools::with(folder.path()) else { return };
    let ca = folder.path().join("ca.crt").display().to_string();
    let other = folder.path().join("other.crt");
    std::fs::write(&other, authority().certificate_pem()).expect("written");
    let attempt = |cafile: &str| {
        let message = ["-t", "t", "-m", "x", "-q", "1", "--cafile", cafile];
        tools.command(&tools.publish, 1, &message).output().expect("it runs")
    };
    succeeds(&attempt(&ca));
    // Its code depends on which of its calls meets the failure first.
    assert!(matches!(attempt(&other.display().to_string()).status.code(), Some(1 | 8)));

    assert_eq!(openssl(&tools, &ca, "localhost"), Some("0 (ok)".to_owned()));
    assert_eq!(openssl(&tools, &ca, "broker.example.org"), Some("62 (hostname mismatch)".to_owned()));

    write_certificate(folder.path(), &issue(&lab, &["elsewhere.example.org"]));
    tools.broker.signal("HUP");
    // The reload is done when the name is refused.
    while attempt(&ca).status.success() {}
    assert_eq!(openssl(&tools, &ca, "elsewhere.example.org"), Some("0 (ok)".to_owned()));
}

#[test]
fn openssl_accepts_our_rsa_certificates() {
    let now = std::time::SystemTime::now();
    let (validity, key) = (Validity::starting(now, DAY), KeyAlgorithm::Rsa2048);
    let lab = mqttlab::tls::authority::Authority::new("lab", key, validity).expect("made");
    let folder = tls_folder(&lab, &["localhost"]);
    let request =
        ServerRequest { common_name: "broker".into(), names: vec!["localhost".into()], validity, key };
    write_certificate(folder.path(), &lab.issue_server(&request).expect("signed"));
    let Some(tools) = Tools::with(folder.path()) else { return };
    let ca = folder.path().join("ca.crt").display().to_string();
    assert_eq!(openssl(&tools, &ca, "localhost"), Some("0 (ok)".to_owned()));
}

/// What `openssl s_client` thinks of the TLS listener; `None` where there is no openssl.
fn openssl(tools: &Tools, cafile: &str, name: &str) -> Option<String> {
    let port = tools.broker.ports[1];
    let output = Command::new(program("openssl")?)
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-CAfile", cafile])
        .args(["-verify_hostname", name])
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdict = text.lines().find_map(|line| line.trim().strip_prefix("Verify return code: "));
    Some(verdict.unwrap_or_else(|| panic!("{output:?}")).to_owned())
}

#[test]
fn paho_talks_to_us_in_both_revisions() {
    let Some(python) = python() else { return };
    let folder = folder(OPEN);
    let broker = Process::start(folder.path(), &[]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/paho_client.py");
    for version in ["3", "4", "5"] {
        let port = broker.ports[0].to_string();
        let output = Command::new(&python).args([script, &port, version]).output().expect("it runs");
        succeeds(&output);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok", "{output:?}");
    }
}
