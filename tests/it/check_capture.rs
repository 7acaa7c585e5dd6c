//! `mqttlab check-capture`: captures of our own runs, captures made byte by byte, and one of dumpcap.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use mqttlab::capture::{Conversations, Segment, read};
use mqttlab::mqtt::ProtocolVersion;
use mqttlab::mqtt::notation::PacketLine;
use serde_json::Value;

use crate::support::random::Random;
use crate::support::skip::skipped;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mqttlab");

fn check(file: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("check-capture").arg(file).args(arguments).output().expect("runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Findings and the line about the whole.
fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// How frames begin.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Link {
    Ethernet,
    Vlan,
    V6,
}

/// A pcap file as it grows, with one connection.
struct Made {
    file: Vec<u8>,
    link: Link,
    /// Next numbers of client and server.
    next: [u32; 2],
    at: u32,
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

impl Made {
    fn new(link: Link) -> Self {
        let mut file = Vec::new();
        for field in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            file.extend(field.to_le_bytes());
        }
        // Numbers that run over on the way.
        Self { file, link, next: [u32::MAX - 20, 7], at: 0 }
    }

    /// One segment with a number of its own.
    fn segment(&mut self, from: usize, seq: u32, flags: &str, payload: &[u8]) {
        let ports = [40_000, 1883];
        let (source, destination) = (ports[from], ports[1 - from]);
        let ack = self.next[1 - from];
        let begin = PacketBuilder::ethernet2([1; 6], [2; 6]);
        let mut addresses = [[10, 0, 0, 1], [10, 0, 0, 2]];
        addresses.rotate_left(from);
        let [one, other] = addresses;
        let step = match self.link {
            Link::Ethernet => begin.ipv4(one, other, 64),
            Link::Vlan => begin.single_vlan(etherparse::VlanId::ZERO).ipv4(one, other, 64),
            Link::V6 => begin.ipv6([one[3]; 16], [other[3]; 16], 64),
        };
        let mut step = step.tcp(source, destination, seq, 1000);
        if flags.contains('S') {
            step = step.syn();
        }
        if flags.contains('F') {
            step = step.fin();
        }
        if flags != "S" {
            step = step.ack(ack);
        }
        let mut frame = Vec::new();
        step.write(&mut frame, payload).expect("a frame");
        let len = u32::try_from(frame.len()).expect("short");
        self.at += 1000;
        for field in [1_700_000_000, self.at, len, len] {
            self.file.extend(field.to_le_bytes());
        }
        self.file.extend(frame);
    }

    fn open(&mut self) {
        self.segment(CLIENT, self.next[CLIENT], "S", &[]);
        self.next[CLIENT] = self.next[CLIENT].wrapping_add(1);
        self.segment(SERVER, self.next[SERVER], "SA", &[]);
        self.next[SERVER] += 1;
        self.segment(CLIENT, self.next[CLIENT], "A", &[]);
    }

    /// Bytes in their turn.
    fn bytes(&mut self, from: usize, payload: &[u8]) {
        self.segment(from, self.next[from], "A", payload);
        self.next[from] = self.next[from].wrapping_add(u32::try_from(payload.len()).expect("short"));
    }

    fn packet(&mut self, from: usize, line: &str) {
        self.bytes(from, &wire(line));
    }

    fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("made.pcap");
        fs::write(&path, &self.file).expect("written");
        path
    }
}

fn wire(line: &str) -> Vec<u8> {
    let line = PacketLine::parse(line).expect("a packet line");
    line.build(ProtocolVersion::V311).expect("3.1.1").bytes.to_vec()
}

fn connected(link: Link) -> Made {
    let mut made = Made::new(link);
    made.open();
    made.packet(CLIENT, "CONNECT clean client=a user=u password=secret");
    made.packet(SERVER, "CONNACK 0");
    made
}

#[test]
fn a_broken_rule_is_found_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    for link in [Link::Ethernet, Link::Vlan, Link::V6] {
        let mut made = connected(link);
        made.packet(CLIENT, "PUBLISH t \"x\" qos=1 id=5");
        made.packet(SERVER, "PUBACK id=5");
        made.packet(SERVER, "PUBACK id=5");
        made.packet(CLIENT, "DISCONNECT");
        made.packet(CLIENT, "PINGREQ");
        let output = check(&made.write(folder.path()), &["--json"]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let lines = lines(&output);
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert_eq!(lines[0]["finding"], "broker-ack-unasked");
        assert_eq!(lines[0]["by"], "broker");
        assert_eq!(lines[0]["frame"], 8);
        assert_eq!(lines[0]["packet"], "PUBACK id=5");
        assert_eq!(lines[0]["statements"][0], "MQTT-2.3.1-6");
        assert_eq!(lines[0]["client_id"], "a");
        assert_eq!(lines[1]["finding"], "client-after-disconnect");
        assert_eq!(lines[2]["packets"], 7);
        assert_eq!(lines[2]["connections"], 1);
    }
}

#[test]
fn text_names_the_check_and_hides_passwords() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut made = connected(Link::Ethernet);
    made.packet(CLIENT, "CONNECT clean client=a user=u password=secret");
    let output = check(&made.write(folder.path()), &[]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("client-one-connect") && text.contains("[MQTT-3.1.0-2]"), "{text}");
    assert!(text.contains("3 packets in 1 connection of MQTT: 1 finding"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn segments_are_put_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut made = connected(Link::Ethernet);
    let publish = wire("PUBLISH t \"0123456789\" qos=1 id=5");
    let start = made.next[CLIENT];
    // The end first, an overlap, the beginning, and some of it again.
    made.segment(CLIENT, start.wrapping_add(8), "A", &publish[8..]);
    made.segment(CLIENT, start.wrapping_add(3), "A", &publish[3..10]);
    made.segment(CLIENT, start, "A", &publish[..5]);
    made.segment(CLIENT, start, "A", &publish[..5]);
    made.next[CLIENT] = start.wrapping_add(u32::try_from(publish.len()).expect("short"));
    made.packet(SERVER, "PUBACK id=5");
    let output = check(&made.write(folder.path()), &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let whole = &lines(&output)[0];
    assert_eq!((&whole["packets"], &whole["notes"]), (&4.into(), &Value::Array(vec![])), "{whole}");
}

#[test]
fn what_is_missing_is_said_and_nobody_is_blamed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut made = connected(Link::Ethernet);
    // This PUBLISH was not captured, its acknowledgement was.
    let lost = wire("PUBLISH t \"x\" qos=1 id=5");
    made.next[CLIENT] = made.next[CLIENT].wrapping_add(u32::try_from(lost.len()).expect("short"));
    made.packet(SERVER, "PUBACK id=5");
    let output = check(&made.write(folder.path()), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("bytes are missing in the capture before frame 6"), "{}", text(&output));
}

#[test]
fn what_began_before_the_capture_and_other_protocols_are_let_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut made = Made::new(Link::Ethernet);
    made.packet(CLIENT, "PUBACK id=5");
    let output = check(&made.write(folder.path()), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("it began before the capture"), "{}", text(&output));
    let mut made = Made::new(Link::Ethernet);
    made.open();
    made.bytes(CLIENT, b"\xc0\x00");
    let path = made.write(folder.path());
    assert_eq!(check(&path, &[]).status.code(), Some(0), "not known for MQTT");
    let output = check(&path, &["--port", "1883", "--json"]);
    assert_eq!(lines(&output)[0]["finding"], "client-connect-first", "{}", text(&output));
}

#[test]
fn websockets_are_looked_into() {
    let folder = tempfile::tempdir().expect("a folder");
    let frame = |payload: &[u8], mask: Option<u8>| {
        let mut frame = vec![0x82, u8::try_from(payload.len()).expect("short") | mask.map_or(0, |_| 0x80)];
        frame.extend(mask.map(|mask| [mask; 4]).into_iter().flatten());
        frame.extend(payload.iter().map(|byte| byte ^ mask.unwrap_or(0)));
        frame
    };
    let mut made = Made::new(Link::Ethernet);
    made.open();
    made.bytes(CLIENT, b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    made.bytes(SERVER, b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    made.bytes(CLIENT, &frame(&wire("CONNECT clean client=a"), Some(0x5a)));
    made.bytes(SERVER, &frame(&wire("CONNACK 0 session_present"), None));
    let output = check(&made.write(folder.path()), &["--json"]);
    assert_eq!(lines(&output)[0]["finding"], "broker-clean-session", "{}", text(&output));
    assert_eq!(lines(&output)[1]["connections"], 1);
}

#[test]
fn files_that_are_none_end_with_3() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("no.pcap");
    fs::write(&path, "this is a text, not a capture of anything").expect("written");
    assert_eq!(check(&path, &[]).status.code(), Some(3));
    assert_eq!(check(&folder.path().join("missing"), &[]).status.code(), Some(3));
    let mut made = connected(Link::Ethernet);
    made.packet(CLIENT, "PINGREQ");
    made.file.truncate(made.file.len() - 5);
    let output = check(&made.write(folder.path()), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("ends in the middle of a frame"), "{}", text(&output));
}

#[test]
fn damaged_captures_do_no_harm() {
    let mut made = connected(Link::Ethernet);
    for id in 1..20 {
        made.packet(CLIENT, &format!("PUBLISH t \"0123456789\" qos=1 id={id}"));
        made.packet(SERVER, &format!("PUBACK id={id}"));
    }
    let mut random = Random(7);
    let mut told = 0;
    for _ in 0..300 {
        let mut file = made.file.clone();
        for _ in 0..=random.below(8) {
            let at = random.below(file.len());
            file[at] = random.byte();
        }
        file.truncate(file.len() - random.below(file.len()));
        let mut conversations = Conversations::default();
        // A damaged file is an error or not; it is no reason to panic.
        let _ = read(&file[..], |frame| {
            if let Ok(segment) = Segment::of(frame) {
                conversations.segment(&segment, |_| true, &mut |_| told += 1);
            }
        });
        conversations.finish(&mut |_| told += 1);
    }
    assert!(told > 300, "most were read");
}

/// Dumpcap on the loopback interface, if it may.
#[test]
fn a_capture_of_dumpcap_of_a_run_has_no_findings() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port").port();
    let file = folder.path().join("run.pcapng");
    let filter = format!("tcp port {port}");
    let capture = Command::new("dumpcap")
        .args(["-q", "-i", "lo", "-f", &filter, "-w"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut capture) = capture else { return skipped("dumpcap is not installed") };
    let mut said = BufReader::new(capture.stderr.take().expect("piped")).lines().map_while(Result::ok);
    if !said.any(|line| line.starts_with("File:")) {
        let _ = capture.wait();
        return skipped("dumpcap may not capture here");
    }
    let conf = folder.path().join("broker.conf");
    fs::write(&conf, format!("listener {port} 127.0.0.1\nallow_anonymous true\n")).expect("written");
    let mut broker = Command::new(PROGRAM).args(["broker", "-c"]).arg(&conf).spawn().expect("a broker");
    let late = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < late, "the broker does not listen");
        std::thread::yield_now();
    }
    let url = format!("mqtt://127.0.0.1:{port}");
    let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/labs/publish_subscribe.yaml");
    let run = Command::new(PROGRAM).arg("run").arg(labs).args(["--broker", &url]).output().expect("runs");
    assert!(run.status.success(), "{}", text(&run));
    for child in [&mut broker, &mut capture] {
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("ours");
        child.wait().expect("ends");
    }
    let output = check(&file, &["--complete", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let whole = lines(&output).pop().expect("a line");
    assert!(whole["packets"].as_u64().is_some_and(|packets| packets > 50), "{whole}");
}

#[test]
fn captures_of_our_own_runs_have_no_findings() {
    let folder = tempfile::tempdir().expect("a folder");
    let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/labs/retain.yaml");
    let run = Command::new(PROGRAM)
        .current_dir(folder.path())
        .arg("run")
        .arg(labs)
        .args(["--report", "pcapng=captures"])
        .output()
        .expect("runs");
    assert!(run.status.success(), "{}", text(&run));
    let mut packets = 0;
    for entry in fs::read_dir(folder.path().join("captures")).expect("captures") {
        let output = check(&entry.expect("a file").path(), &["--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        packets += lines(&output)[0]["packets"].as_u64().expect("a number");
    }
    assert!(packets > 50, "{packets}");
}
