//! TLS in captures, as tshark reads it: handshakes and alerts, and what is in them with and without keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mqttlab::record::tls::opens_handshake_alone;
use mqttlab::record::{Event, EventKind, TlsSeen};
use mqttlab::report::json;

use crate::captures::{captured, has_tshark, logged, tshark};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mqttlab");
/// What must not be seen without keys.
const PASSWORD: &str = "open-sesame-42";
const TLS: &str = "tcp.port == 8883";
const PLAIN: &str = "tcp.port == 1883";

/// One who logs in with a password; one who refuses the broker's certificate.
const LAB: &str = r"lab: 1
name: TLS
broker:
  listeners:
    tls: {cert: good}
    tls-expired: {cert: old}
    wss: {protocol: websockets, cert: good}
    plain: {}
  users: {bob: {password: open-sesame-42}}
pki:
  lab-ca: {}
  good: {ca: lab-ca, san: [localhost]}
  old: {ca: lab-ca, san: [localhost], not_before: -60d, not_after: -1d}
scenarios:
- id: login
  name: A message over TLS arrives
  clients: {one: {user: bob, listener: tls, trust: lab-ca}}
  steps:
  - one: {subscribe: t/one, qos: 1}
  - one: {publish: t/one, payload: {size: 20000}, qos: 1}
  - one: {receives: t/one}
  - one: disconnect
- id: expired
  name: A certificate that has run out is refused
  clients: {late: {listener: tls-expired, trust: lab-ca}}
  steps:
  - late: {connect: {fails: tls.expired}}
- id: web
  name: A message over a secure WebSocket arrives
  clients: {one: {user: bob, listener: wss, trust: lab-ca}}
  steps:
  - one: {subscribe: t/web}
  - one: {publish: t/web, payload: x}
  - one: {receives: t/web}
";

struct Ran {
    folder: tempfile::TempDir,
    log: String,
}

impl Ran {
    fn capture(&self, scenario: &str) -> PathBuf {
        self.folder.path().join(format!("captures/lab.{scenario}.pcapng"))
    }

    fn tls(&self) -> Vec<TlsSeen> {
        tls_of(&json::read(&self.log).expect("a log"))
    }
}

fn tls_of(events: &[Event]) -> Vec<TlsSeen> {
    let tls = events.iter().filter_map(|event| match &event.kind {
        EventKind::Tls { tls, .. } => Some(tls.seen.clone()),
        _ => None,
    });
    tls.collect()
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    fs::write(folder.join("lab.yaml"), LAB).expect("writes");
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).env_remove("SSLKEYLOGFILE").args(["run", "lab.yaml"]).args(arguments);
    command
}

fn good(output: &Output) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Runs the lab with captures and a log.
fn run(arguments: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let reports = ["--report", "pcapng=captures", "--report", "json=run.jsonl"];
    good(&command(folder.path(), &[&reports, arguments].concat()).output().expect("runs"));
    let log = fs::read_to_string(folder.path().join("run.jsonl")).expect("a log");
    Ran { folder, log }
}

fn has(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

/// Sorted: two directions may overtake each other below the packets.
fn sorted(mut types: Vec<u8>) -> Vec<u8> {
    types.sort_unstable();
    types
}

#[test]
fn without_keys_a_capture_has_the_handshake_and_no_secret() {
    let ran = run(&[]);
    for scenario in ["login", "expired", "web"] {
        let bytes = fs::read(ran.capture(scenario)).expect("a capture");
        for secret in [PASSWORD, "TRAFFIC_SECRET", "CLIENT_RANDOM"] {
            assert!(!has(&bytes, secret) && !ran.log.contains(secret), "{secret} in {scenario}");
        }
        // Client hello: name of the server in the clear, the one thing that is.
        assert!(has(&bytes, "localhost"), "{scenario}");
    }
    let hexed = mqttlab::text::hex(PASSWORD.as_bytes());
    assert!(!ran.log.contains(&hexed));
    assert!(!ran.tls().iter().any(|seen| matches!(seen, TlsSeen::Key { .. })));
    if !has_tshark() {
        return;
    }
    let login = ran.capture("login");
    assert_eq!(captured(&login, PLAIN, &[]), logged(&ran.log, "login", ""), "packets as without TLS");
    assert_eq!(captured(&login, TLS, &[]), [0_u8; 0]);
    let password = tshark(&login, &["-Y", "mqtt.passwd", "-T", "fields", "-e", "mqtt.passwd"]);
    assert_eq!(password.trim(), "*".repeat(PASSWORD.len()));
    for (scenario, port) in [("login", TLS), ("expired", TLS), ("web", "tcp.port == 443")] {
        let hello = format!("{port} && tls.handshake.type == 1");
        let fields = ["-T", "fields", "-e", "tls.handshake.extensions_server_name"];
        let names = tshark(&ran.capture(scenario), &[&["-Y", &hello][..], &fields].concat());
        assert_eq!(names, "localhost\n", "{scenario}");
    }
}

#[test]
fn keys_of_handshakes_show_certificates_and_alerts_and_nothing_that_was_sent() {
    let ran = run(&["--tls-log", "handshakes"]);
    let keys: Vec<_> = ran.tls().into_iter().filter(|seen| matches!(seen, TlsSeen::Key { .. })).collect();
    assert_eq!(keys.len(), 3 * 2, "two a connection: {keys:?}");
    assert!(keys.iter().all(|seen| matches!(seen, TlsSeen::Key { line } if opens_handshake_alone(line))));
    for scenario in ["login", "web"] {
        let bytes = fs::read(ran.capture(scenario)).expect("a capture");
        assert!(!has(&bytes, PASSWORD) && !has(&bytes, "CLIENT_TRAFFIC_SECRET_0"), "{scenario}");
    }
    if !has_tshark() {
        return;
    }
    let alert = ["-Y", "tls.alert_message", "-T", "fields", "-e", "tls.alert_message.desc"];
    assert_eq!(tshark(&ran.capture("expired"), &alert), "45\n", "certificate_expired (RFC 8446, 6)");
    for (scenario, name) in [("expired", "old"), ("login", "good")] {
        let certificate = ["-Y", "tls.handshake.certificate", "-V"];
        let shown = tshark(&ran.capture(scenario), &certificate);
        assert!(shown.contains("notAfter") && shown.contains(&format!("commonName={name}")), "{shown}");
    }
    let login = ran.capture("login");
    assert_eq!(captured(&login, TLS, &[]), [0_u8; 0]);
    assert_eq!(captured(&login, PLAIN, &[]), logged(&ran.log, "login", ""));
    let password = tshark(&login, &["-Y", "mqtt.passwd", "-T", "fields", "-e", "mqtt.passwd"]);
    assert_eq!(password.trim(), "*".repeat(PASSWORD.len()));
}

#[test]
fn with_all_keys_tshark_reads_mqtt_within_tls_once() {
    if !has_tshark() {
        return;
    }
    for engine in ["wire", "rumqttc"] {
        let ran = run(&["--tls-log", "keys", "--engine", engine]);
        let login = ran.capture("login");
        let wanted = sorted(logged(&ran.log, "login", ""));
        assert!(wanted.len() > 8, "{engine}: {wanted:?}");
        assert_eq!(sorted(captured(&login, TLS, &[])), wanted, "{engine}");
        assert_eq!(captured(&login, PLAIN, &[]), [0_u8; 0], "{engine}: not twice");
        let password = tshark(&login, &["-Y", "mqtt.passwd", "-T", "fields", "-e", "mqtt.passwd"]);
        assert_eq!(password.trim(), PASSWORD, "{engine}: as the help says");
        // Wireshark reads the WebSocket and not what is in its frames.
        let web = ran.capture("web");
        assert!(tshark(&web, &["-Y", "tcp.port == 443 && websocket"]).lines().count() >= 4, "{engine}");
        assert_eq!(captured(&web, PLAIN, &[]), logged(&ran.log, "web", ""), "{engine}");
    }
}

#[test]
fn tshark_finds_nothing_wrong_with_the_frames_of_tls() {
    const WRONG: &str = "tcp.analysis.flags || _ws.malformed || tls.ignored_unknown_record || _ws.expert.severity >= 0x600000";
    if !has_tshark() {
        return;
    }
    let ran = run(&["--tls-log", "keys"]);
    for scenario in ["login", "expired", "web"] {
        assert_eq!(tshark(&ran.capture(scenario), &["-Y", WRONG]), "", "{scenario}");
        let ends = tshark(&ran.capture(scenario), &["-Y", "tcp.flags.fin == 1 || tcp.flags.reset == 1"]);
        assert!(ends.lines().count() >= 1, "{scenario}");
    }
    // Who reads captures for breaches of MQTT is not led astray.
    let mut check = Command::new(PROGRAM);
    good(&check.arg("check-capture").arg(ran.capture("web")).output().expect("runs"));
}

#[test]
fn a_log_has_tls_only_where_it_was_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |arguments: &[&str]| {
        good(
            &command(folder.path(), &[&["--report", "json=a.jsonl"], arguments].concat())
                .output()
                .expect("runs"),
        );
        tls_of(
            &json::read(&fs::read_to_string(folder.path().join("a.jsonl")).expect("a log")).expect("a log"),
        )
    };
    assert_eq!(of(&[]), []);
    let opened = |seen: &&TlsSeen| matches!(seen, TlsSeen::Opened { .. });
    let closed = |seen: &&TlsSeen| matches!(seen, TlsSeen::Closed { .. });
    let records = of(&["--tls-log", "records"]);
    assert_eq!(records.iter().filter(opened).count(), 3, "{records:?}");
    assert!(records.iter().filter(closed).count() >= 3, "{records:?}");
    let output =
        command(folder.path(), &["--tls-log", "keys", "--report", "junit=a.xml"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2), "nobody holds them");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--report pcapng=FOLDER"));
}

#[test]
fn a_log_with_tls_makes_the_same_capture_again() {
    let ran = run(&["--tls-log", "keys"]);
    let mut merge = Command::new(PROGRAM);
    merge.current_dir(ran.folder.path()).args(["merge", "run.jsonl", "--report", "pcapng=again"]);
    good(&merge.output().expect("runs"));
    for scenario in ["login", "expired", "web"] {
        let again = ran.folder.path().join(format!("again/lab.{scenario}.pcapng"));
        assert!(fs::read(ran.capture(scenario)).expect("a capture") == fs::read(again).expect("another"));
    }
}

#[test]
fn the_file_that_the_environment_names_gets_all_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let reports = ["--report", "pcapng=captures", "--report", "json=run.jsonl"];
    let mut command = command(folder.path(), &reports);
    good(&command.env("SSLKEYLOGFILE", "keys.log").output().expect("runs"));
    let keys = folder.path().join("keys.log");
    let mode = fs::metadata(&keys).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&keys).expect("written");
    assert_eq!(text.lines().filter(|line| line.starts_with("CLIENT_TRAFFIC_SECRET_0 ")).count(), 2, "{text}");
    let log = fs::read_to_string(folder.path().join("run.jsonl")).expect("a log");
    assert!(!log.contains("TRAFFIC_SECRET"), "they go there and nowhere else");
    let ran = Ran { folder, log };
    if has_tshark() {
        let option = format!("tls.keylog_file:{}", keys.display());
        let read = captured(&ran.capture("login"), TLS, &["-o", &option]);
        assert_eq!(sorted(read), sorted(logged(&ran.log, "login", "")));
    }
    let mut command = self::command(ran.folder.path(), &[]);
    let output = command.env("SSLKEYLOGFILE", "no/such/folder/keys.log").output().expect("runs");
    good(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("warning: SSLKEYLOGFILE"));
}

#[test]
fn a_recorded_handshake_is_read_again_and_its_gaps_are_told() {
    if !has_tshark() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/records/tls.jsonl");
    let mut merge = Command::new(PROGRAM);
    merge.current_dir(folder.path()).arg("merge").arg(log).args(["--report", "pcapng=captures"]);
    good(&merge.output().expect("runs"));
    let file = folder.path().join("captures/tls.expired.pcapng");
    let alert =
        ["-Y", "tls.alert_message", "-T", "fields", "-e", "tls.alert_message.desc", "-e", "tcp.dstport"];
    assert_eq!(tshark(&file, &alert), "45\t8883\n");
    assert_eq!(tshark(&file, &["-Y", "tcp.port == 443 && tls.handshake.type == 1"]).lines().count(), 1);
    let gap = "frame.comment contains \"no more of the TLS of connection 2\"";
    assert_eq!(tshark(&file, &["-Y", gap]).lines().count(), 1);
    assert_eq!(tshark(&file, &["-Y", "tcp.flags.reset == 1"]).lines().count(), 1);
    assert_eq!(
        tshark(&file, &["-Y", "frame.comment contains \"TLS to [::1]:8084, as localhost\""]).lines().count(),
        1
    );
}
