//! paho for C, as the example programs that Debian has of it, over every transport; and mosquitto's
//! `mosquitto_rr`, over TLS and a Unix socket too. What the programs cannot do (sessions, options of
//! subscriptions, ...) is in the matrix with libraries that can.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::broker::Process;
use crate::support::mosquitto::program;
use crate::support::tls::{authority, four_transports, tls_folder};

const SCHEMES: [&str; 4] = ["tcp", "ssl", "ws", "wss"];

/// A broker with a listener for each scheme, and one on a Unix socket.
struct Lab {
    folder: TempDir,
    broker: Process,
}

impl Lab {
    fn start() -> Self {
        let folder = tls_folder(&authority(), &["localhost", "127.0.0.1"]);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let conf = format!("{}listener 0 {}\n", four_transports(folder.path()), path("socket"));
        std::fs::write(path("mosquitto.conf"), conf).expect("written");
        let broker = Process::start(folder.path(), &["-v"]);
        Self { folder, broker }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// One of the programs, for a transport and a version.
    fn command(&self, program: &Path, transport: usize, version: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let address = format!("{}://127.0.0.1:{}", SCHEMES[transport], self.broker.ports[transport]);
        command.args(arguments).args(["-c", &address, "-V", version, "--cafile", &self.path("ca.crt")]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A running subscriber, and what it prints.
struct Subscriber {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Subscriber {
    /// Waits until it has subscribed.
    fn start(lab: &Lab, mut command: Command, id: &str) -> Self {
        let mut child = command.args(["-i", id]).spawn().expect("it runs");
        lab.broker.wait_for_line(&format!("Sending SUBACK to {id}"));
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdout }
    }

    /// The next line, without its end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it prints");
        line.trim_end().to_owned()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn paho_for_c_talks_to_us_over_every_transport() {
    let [Some(publish), Some(publish_sync), Some(subscribe), Some(subscribe_sync)] =
        ["paho_c_pub", "paho_cs_pub", "paho_c_sub", "paho_cs_sub"].map(program)
    else {
        return;
    };
    let lab = Lab::start();
    for (transport, scheme) in SCHEMES.iter().enumerate() {
        for version in ["311", "5"] {
            let topic = format!("c/{scheme}/{version}");
            let run = |program: &Path, arguments: &[&str]| {
                lab.command(program, transport, version, arguments).output().expect("it runs")
            };
            // Both libraries receive what both send, and what is retained and replaced before.
            for payload in ["replaced", "kept"] {
                succeeds(&run(&publish, &["-t", &topic, "-m", payload, "-q", "1", "-r"]));
            }
            let mut both = [(&subscribe, "async"), (&subscribe_sync, "sync")].map(|(program, name)| {
                let id = format!("{name}-{scheme}-{version}");
                let command = lab.command(program, transport, version, &["-t", &topic, "-q", "2"]);
                Subscriber::start(&lab, command, &id)
            });
            for subscriber in &mut both {
                assert_eq!(subscriber.line(), "kept");
            }
            for (qos, program) in [("0", &publish), ("1", &publish_sync), ("2", &publish)] {
                let payload = format!("of quality {qos}");
                succeeds(&run(program, &["-t", &topic, "-m", &payload, "-q", qos]));
                for subscriber in &mut both {
                    assert_eq!(subscriber.line(), payload, "{topic}");
                }
            }
            succeeds(&run(&publish, &["-t", &topic, "-n", "-q", "1", "-r"]));
        }
    }
}

#[test]
fn paho_for_c_shows_the_properties_of_a_message() {
    let [Some(publish), Some(subscribe)] = ["paho_c_pub", "paho_c_sub"].map(program) else { return };
    let lab = Lab::start();
    for transport in 0..SCHEMES.len() {
        let id = format!("properties-{transport}");
        let topic = format!("p/{transport}/#");
        let command = lab.command(&subscribe, transport, "5", &["-t", &topic, "-q", "1"]);
        let mut subscriber = Subscriber::start(&lab, command, &id);
        let topic = format!("p/{transport}/t");
        let message = ["-t", &topic, "-m", "x", "-q", "1", "--user-property", "name", "value"];
        let message = [&message[..], &["--message-expiry", "100"]].concat();
        succeeds(&lab.command(&publish, transport, "5", &message).output().expect("it runs"));
        let mut text = String::new();
        while !(text.contains("name") && text.contains("MESSAGE_EXPIRY_INTERVAL")) {
            let line = subscriber.line();
            assert!(!line.is_empty() || !text.is_empty(), "it has ended");
            text += &line;
        }
    }
}

#[test]
fn the_will_of_a_killed_paho_for_c_is_sent_and_passwords_are_asked_for() {
    let [Some(publish), Some(subscribe)] = ["paho_cs_pub", "paho_c_sub"].map(program) else { return };
    let lab = Lab::start();
    for transport in 0..SCHEMES.len() {
        let topic = format!("will/{transport}");
        let command = lab.command(&subscribe, transport, "311", &["-t", &topic, "-q", "1"]);
        let mut watch = Subscriber::start(&lab, command, &format!("watch-{transport}"));
        let will = ["-t", "none", "--will-topic", &topic, "--will-payload", "lost", "--will-qos", "1"];
        let command = lab.command(&subscribe, transport, "5", &will);
        drop(Subscriber::start(&lab, command, &format!("dies-{transport}")));
        assert_eq!(watch.line(), "lost");
        for (password, accepted) in [("a1", true), ("a2", false)] {
            let message = ["-t", &topic, "-m", password, "-q", "1", "-u", "alice", "-P", password];
            let output = lab.command(&publish, transport, "5", &message).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(said.contains("Connect failed"), !accepted, "{said}");
            if accepted {
                assert_eq!(watch.line(), password);
            }
        }
        succeeds(
            &lab.command(&publish, transport, "5", &["-t", &topic, "-m", "fence"]).output().expect("it runs"),
        );
        assert_eq!(watch.line(), "fence");
    }
}

#[test]
fn mosquitto_rr_is_answered_over_every_transport_that_it_has() {
    let [Some(ask), Some(publish), Some(subscribe)] =
        ["mosquitto_rr", "mosquitto_pub", "mosquitto_sub"].map(program)
    else {
        return;
    };
    let lab = Lab::start();
    let (plain, secure) = (lab.broker.ports[0].to_string(), lab.broker.ports[1].to_string());
    let (cafile, socket) = (lab.path("ca.crt"), lab.path("socket"));
    let transports = [
        ("plain", vec!["-h", "127.0.0.1", "-p", &plain]),
        ("secure", vec!["-h", "127.0.0.1", "-p", &secure, "--cafile", &cafile]),
        ("socket", vec!["--unix", &socket]),
    ];
    for (name, address) in transports {
        for version in ["311", "5"] {
            let run = |program: &Path, arguments: &[&str]| {
                let mut command = Command::new(program);
                command.args(&address).args(["-V", version]).args(arguments);
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
                command
            };
            let (service, answers) = (format!("ask/{name}/{version}"), format!("answer/{name}/{version}"));
            let id = format!("server-{name}-{version}");
            let command = run(&subscribe, &["-t", &service, "-q", "1", "-C", "1", "-F", "%p %R %D"]);
            let mut server = Subscriber::start(&lab, command, &id);
            let arguments = ["-t", &service, "-e", &answers, "-m", "question", "-q", "1", "-W", "60"];
            let asking = run(&ask, &arguments).spawn().expect("it runs");
            let line = server.line();
            let mut words = line.split(' ');
            assert_eq!(words.next(), Some("question"), "{line}");
            if version == "5" {
                assert_eq!(words.next(), Some(answers.as_str()), "{line}");
            }
            succeeds(&run(&publish, &["-t", &answers, "-m", "answer", "-q", "1"]).output().expect("it runs"));
            let output = asking.wait_with_output().expect("our child");
            succeeds(&output);
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "answer");
        }
    }
}
