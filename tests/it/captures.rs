//! `--report pcapng`: captures as another program reads them. What tshark finds in them is compared with
//! the event log of the same run.

use std::fs;
use std::path::Path;
use std::process::Command;

use mqttlab::record::{EventKind, WireSide};
use mqttlab::report::json;

use crate::support::skip::skipped;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mqttlab");

/// One that is whole, with a payload of many segments and a fence; one that breaks off; one skipped.
const LAB: &str = r#"lab: 1
name: Captures
scenarios:
- id: large
  name: A large message arrives, and nothing else
  spec: {5: [MQTT-3.3.2-1]}
  matrix: {protocol: ['3.1.1', '5']}
  clients: {sub: {}, "näme": {}}
  steps:
  - sub: {subscribe: c/large, qos: 1}
  - "näme": {publish: c/large, payload: {size: 200000}, qos: 1}
  - sub: {receives: c/large}
  - sub: receives_nothing
  - "näme": disconnect
- id: broken
  name: What is no packet ends the connection
  clients: {raw: {raw: true}}
  steps:
  - raw:
      packets: |
        > hex ff ff
        < close
"#;

pub fn has_tshark() -> bool {
    let found = Command::new("tshark").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "CI installs tshark");
        skipped("tshark is not installed");
    }
    found
}

/// What tshark prints of a capture.
pub fn tshark(file: &Path, arguments: &[&str]) -> String {
    let output = Command::new("tshark").arg("-r").arg(file).args(arguments).output().expect("tshark");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", file.display());
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn run(folder: &Path, arguments: &[&str]) -> std::process::Output {
    fs::write(folder.join("lab.yaml"), LAB).expect("writes");
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).args(["run", "lab.yaml"]).args(arguments).output().expect("runs")
}

/// Packet types of a case in the order of the log.
pub fn logged(log: &str, scenario: &str, variant: &str) -> Vec<u8> {
    let events = json::read(log).expect("a log");
    let types = events.into_iter().filter_map(|event| match event.kind {
        EventKind::Wire { case, wire }
            if case.scenario == scenario
                && case.variant == variant
                && matches!(wire.side, WireSide::Sent | WireSide::Received) =>
        {
            wire.bytes.and_then(|bytes| bytes.first().map(|first| first >> 4))
        }
        _ => None,
    });
    types.collect()
}

/// The packet types of a capture, in order, of the frames that this filter lets through.
pub fn captured(file: &Path, filter: &str, arguments: &[&str]) -> Vec<u8> {
    let filter = format!("mqtt && {filter}");
    let fields = [arguments, &["-Y", &filter, "-T", "fields", "-e", "mqtt.msgtype"]].concat();
    tshark(file, &fields)
        .split(|c: char| !c.is_ascii_digit())
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().expect("a type"))
        .collect()
}

#[test]
fn tshark_reads_what_the_log_holds() {
    if !has_tshark() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(folder.path(), &["--report", "pcapng=captures", "--report", "json=run.jsonl"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let log = fs::read_to_string(folder.path().join("run.jsonl")).expect("a log");
    for variant in ["v3.1.1", "v5"] {
        let file = folder.path().join(format!("captures/lab.large.{variant}.pcapng"));
        let types = captured(&file, "tcp", &[]);
        let wanted = logged(&log, "large", variant);
        assert!(wanted.len() > 10, "{wanted:?}");
        assert_eq!(types, wanted, "{variant}");
        let version = tshark(&file, &["-Y", "mqtt.msgtype == 1", "-T", "fields", "-e", "mqtt.ver"]);
        let level = if variant == "v5" { "5" } else { "4" };
        assert!(version.lines().all(|line| line == level), "{version}");
        let large = tshark(&file, &["-Y", "mqtt.msg", "-T", "fields", "-e", "mqtt.len"]);
        assert_eq!(
            large.lines().filter(|line| line.starts_with("2000")).count(),
            2,
            "sent and received: {large}"
        );
    }
}

#[test]
fn tshark_finds_nothing_wrong_with_the_frames() {
    const WRONG: &str =
        "tcp.analysis.flags || ip.checksum.status == 0 || tcp.checksum.status == 0 || _ws.malformed";
    if !has_tshark() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path(), &["--report", "pcapng=captures"]);
    let large = folder.path().join("captures/lab.large.v5.pcapng");
    let strict = ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"];
    let wrong = tshark(&large, &[&strict[..], &["-Y", WRONG]].concat());
    assert_eq!(wrong, "");
    let right = tshark(
        &large,
        &[&strict[..], &["-Y", "tcp.checksum.status == 1 && ip.checksum.status == 1"]].concat(),
    );
    assert_eq!(right.lines().count(), tshark(&large, &[]).lines().count(), "all were looked at");
    let longest = tshark(&large, &["-T", "fields", "-e", "tcp.len"]);
    assert!(longest.lines().all(|length| length.parse::<usize>().is_ok_and(|length| length <= 1460)));
}

#[test]
fn connections_open_and_close_and_are_named() {
    if !has_tshark() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path(), &["--report", "pcapng=captures"]);
    let large = folder.path().join("captures/lab.large.v5.pcapng");
    let count = |filter: &str| tshark(&large, &["-Y", filter]).lines().count();
    let streams = tshark(&large, &["-T", "fields", "-e", "tcp.stream"]);
    let streams: std::collections::BTreeSet<&str> = streams.lines().collect();
    assert_eq!(count("tcp.flags.syn == 1 && tcp.flags.ack == 0"), streams.len(), "a handshake each");
    assert!(count("tcp.flags.fin == 1") >= 2, "who disconnects is seen off");
    assert!(count("frame.comment contains \"fence\"") >= 1);
    assert!(count("frame.comment contains \"näme: connection\"") == 1);
    // The log says when the run was: long after 1970, not in the future.
    let year = tshark(&large, &["-t", "ud"]);
    let now = jiff::Timestamp::now().to_string();
    assert!(year.lines().all(|line| line.contains(&now[..4])), "{year}");
    let named = tshark(&large, &["-N", "n", "-Y", "mqtt.msgtype == 1"]);
    assert!(named.contains("näme") && named.contains("broker"), "{named}");
    let about = Command::new("capinfos").arg("-p").arg(&large).output();
    if let Ok(about) = about {
        let about = String::from_utf8_lossy(&about.stdout).into_owned();
        assert!(about.is_empty() || about.contains("A large message arrives"), "{about}");
    }
    let broken = folder.path().join("captures/lab.broken.pcapng");
    assert!(tshark(&broken, &["-Y", "tcp.flags.fin == 1 || tcp.flags.reset == 1"]).lines().count() >= 1);
}

#[test]
fn one_scenario_may_have_one_file_and_several_may_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let several = run(folder.path(), &["--report", "pcapng=all.pcapng"]);
    assert_eq!(several.status.code(), Some(2), "{}", String::from_utf8_lossy(&several.stderr));
    let one = run(folder.path(), &["--only", "broken", "--report", "pcapng=one.pcapng"]);
    assert_eq!(one.status.code(), Some(0), "{}", String::from_utf8_lossy(&one.stderr));
    let bytes = fs::read(folder.path().join("one.pcapng")).expect("a file");
    assert_eq!(bytes.get(..4), Some(&[0x0a, 0x0d, 0x0d, 0x0a][..]), "a section header");
}

#[test]
fn captures_of_several_runs_have_names_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(folder.path(), &["--only", "broken", "--report", "json=one.jsonl"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let log = fs::read_to_string(folder.path().join("one.jsonl")).expect("a log");
    fs::write(folder.path().join("three.jsonl"), log.repeat(3)).expect("writes");
    let mut merge = Command::new(PROGRAM);
    merge.current_dir(folder.path()).args([
        "merge",
        "three.jsonl",
        "--report",
        "pcapng=captures",
        "--exit-zero",
    ]);
    merge.output().expect("runs");
    let files = fs::read_dir(folder.path().join("captures")).expect("a folder");
    let mut names: Vec<String> =
        files.map(|file| file.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, ["lab.broken.bundled-2.pcapng", "lab.broken.bundled.pcapng", "lab.broken.pcapng"]);
}

#[test]
fn a_bridge_is_the_one_who_calls() {
    const BRIDGE: &str = "lab: 1
scenarios:
- id: bridge
  name: A bridge comes to a peer
  peers: [far]
  broker: {bridges: {up: {peer: far, settings: {topic: 't/# out', notifications: 'false'}}}}
  clients: {c: {}}
  steps:
  - far:
      plays: |
        < CONNECT
        > CONNACK
  - far: done
  - c: {publish: t/1, payload: x}
  - far:
      plays: |
        < PUBLISH t/1
        > close
";
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("bridge.yaml"), BRIDGE).expect("writes");
    let mqttlab = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.current_dir(folder.path()).args(arguments).output().expect("runs").status.code()
    };
    assert_eq!(mqttlab(&["run", "bridge.yaml", "--report", "pcapng=captures"]), Some(0));
    let file = folder.path().join("captures/bridge.bridge.pcapng");
    // Who is the client is told by who opens the connection.
    assert_eq!(mqttlab(&["check-capture", &file.display().to_string()]), Some(0));
    if has_tshark() {
        let lines = tshark(&file, &["-Y", "mqtt.msgtype == 1", "-T", "fields", "-e", "tcp.dstport"]);
        assert_eq!(lines.lines().collect::<Vec<_>>(), ["1883", "1883"]);
    }
}
