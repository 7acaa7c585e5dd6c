//! What a broker can do: asked of real brokers, written as profiles, and what profiles rule out.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use bytes::BytesMut;
use mqttlab::client::{Client, Session};
use mqttlab::mqtt::codec::{Decoder, Limits};
use mqttlab::mqtt::{Packet, ProtocolVersion};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

use crate::support::broker::{self, Process};
use crate::support::mosquitto::program;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mqttlab");

fn mqttlab() -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn words(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The profile that a probe of this broker writes.
fn profile(broker: &str) -> Value {
    let assert = mqttlab().args(["probe", broker, "--write", "-"]).assert().success();
    serde_json::from_slice(&assert.get_output().stdout).expect("JSON")
}

#[test]
fn our_own_broker_can_do_all_and_says_how_far() {
    let found = profile("bundled");
    assert_eq!(found["name"], "bundled");
    assert_eq!(words(&found["capabilities"]), ["qos2", "retain", "shared", "v3.1", "v5"].into());
    assert!(found.get("lacks").is_none(), "{found}");
    assert_eq!(found["limits"]["packet_size"], 2_000_000);
    mqttlab()
        .args(["probe", "bundled"])
        .assert()
        .success()
        .stdout(contains("order of delivery").and(contains("50 of 50 pairs came in order")));
}

#[test]
fn mosquitto_is_found_able_too() {
    let Some(path) = program("mosquitto") else { return };
    let found = profile(&path.display().to_string());
    assert_eq!(words(&found["capabilities"]), ["qos2", "retain", "shared", "v3.1", "v5"].into());
    assert!(found.get("lacks").is_none(), "{found}");
}

#[test]
fn what_a_broker_lacks_is_found_and_its_scenarios_are_skipped() {
    let folder = broker::folder(
        "listener 0 127.0.0.1\nallow_anonymous true\nmax_qos 1\nretain_available false\n\
         allow_zero_length_clientid false\nmax_packet_size 5000\nmax_inflight_messages 1\n",
    );
    let running = Process::start(folder.path(), &[]);
    let address = format!("mqtt://127.0.0.1:{}", running.ports[0]);
    let written = folder.path().join("lesser.json");
    mqttlab()
        .args(["probe", &address, "--name", "lesser 1", "--write"])
        .arg(&written)
        .assert()
        .success()
        .stdout(contains("retained messages").and(contains("lesser.json")));
    let found: Value = serde_json::from_str(&fs::read_to_string(&written).expect("written")).expect("JSON");
    assert_eq!(words(&found["capabilities"]), ["shared", "v3.1", "v5"].into(), "{found}");
    assert_eq!(words(&found["lacks"]), ["assigned_ids", "in_flight"].into(), "{found}");
    assert_eq!(found["source"][0], format!("mqttlab probe {address}"));
    assert_eq!(found["limits"]["packet_size"], 5000);

    let scenario = folder.path().join("needs.yaml");
    let text = "lab: 1\nname: needs\nscenarios:\n\
        - {id: two, name: n, clients: {a: {}}, steps: [{a: {publish: n/a, payload: x, qos: 2}}]}\n\
        - {id: kept, name: n, clients: {a: {}}, steps: [{a: {publish: n/b, payload: x, retain: true}}]}\n\
        - {id: big, name: n, clients: {a: {}}, steps: [{a: {publish: n/c, payload: {size: 6000}}}]}\n\
        - {id: unnamed, name: n, clients: {a: {client_id: ''}}, steps: [{a: connect}]}\n\
        - {id: lines, name: n, clients: {a: {}}, steps: [{a: {packets: '> PUBLISH n/d \"x\" qos=2 id=1'}}]}\n\
        - {id: one, name: n, clients: {a: {}}, steps: [{a: {publish: n/e, payload: x, qos: 1}}]}\n";
    fs::write(&scenario, text).expect("written");
    let mut run = mqttlab();
    run.arg("run").arg(&scenario).args(["--broker", &address, "--profile"]).arg(&written).arg("--verbose");
    run.assert().success().stdout(
        contains("1 passed, 5 skipped")
            .and(contains("lesser 1 cannot do `qos2`").count(1))
            .and(contains("lesser 1 cannot do `retain`"))
            .and(contains("lesser 1 takes packets of 5000 bytes, not of 6000"))
            .and(contains("lesser 1 cannot do `assigned_ids`")),
    );
    // Without the profile the same broker fails.
    mqttlab().arg("run").arg(&scenario).args(["--broker", &address]).assert().code(1);
}

/// Carries connections to a broker, all but the DISCONNECT of clients.
fn losing_goodbyes(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(broker) = TcpStream::connect(("127.0.0.1", to)) else { return };
            let (mut from, mut into) =
                (broker.try_clone().expect("a socket"), client.try_clone().expect("one"));
            std::thread::spawn(move || std::io::copy(&mut from, &mut into));
            std::thread::spawn(move || without_goodbye(client, broker));
        }
    });
    port
}

fn without_goodbye(mut client: TcpStream, mut broker: TcpStream) {
    let mut decoder = Decoder::server(Limits::default());
    let mut buffer = BytesMut::new();
    let mut read = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut read) {
        buffer.extend_from_slice(&read[..count]);
        let mut rest = buffer.clone();
        while let Ok(Some((packet, len))) = decoder.decode(&mut buffer) {
            let bytes = rest.split_to(len);
            if !matches!(packet, Packet::Disconnect(_)) && broker.write_all(&bytes).is_err() {
                return;
            }
        }
    }
    let _ = broker.shutdown(Shutdown::Write);
}

#[test]
fn a_probe_leaves_no_session_where_its_goodbye_is_lost() {
    let folder = broker::folder(broker::OPEN);
    let running = Process::start(folder.path(), &["-v"]);
    let address = format!("mqtt://127.0.0.1:{}", losing_goodbyes(running.ports[0]));
    mqttlab().args(["probe", &address]).assert().success();
    let lines = running.lines();
    assert!(!lines.iter().any(|line| line.contains("Received DISCONNECT")), "{lines:#?}");
    let named = |line: &String| Some(line.split_once(" as mqttlab-probe-")?.1.split_once(' ')?.0.to_owned());
    let clients: BTreeSet<String> = lines.iter().filter_map(named).collect();
    assert!(clients.iter().any(|client| client.ends_with("-numbers")), "{lines:#?}");
    let count = |lines: &[String], text: &str| lines.iter().filter(|line| line.contains(text)).count();
    running.wait_for("end of each connection", |lines| {
        (count(lines, "] disconnected") >= count(lines, "New client connected")).then_some(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let left: Vec<String> = runtime.block_on(async {
        let mut left = Vec::new();
        for client in clients {
            let mut options = broker::options(ProtocolVersion::V5, &format!("mqttlab-probe-{client}"));
            options.connect.clean_start = false;
            let connected = Client::connect(&running.endpoint(), &options, Session::default(), None).await;
            if connected.expect("let in").1.session_present {
                left.push(client);
            }
        }
        left
    });
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn nobody_there_is_no_broker() {
    mqttlab().args(["probe", "mqtt://127.0.0.1:1"]).assert().code(5).stderr(contains("it lets nobody in"));
    mqttlab().args(["probe", "bundled", "--profile", "x.json"]).assert().code(2);
    let folder = broker::folder("listener 0 127.0.0.1\nallow_anonymous false\n");
    let running = Process::start(folder.path(), &[]);
    let address = format!("mqtt://127.0.0.1:{}", running.ports[0]);
    mqttlab().args(["probe", &address]).assert().code(5).stderr(contains("CONNACK"));
}

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/profiles");
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    found
}

/// Scenarios of the standard that a broker with this profile would skip: scenario and reason.
fn skipped(profile: &Path) -> (usize, Vec<(String, String)>) {
    let assert = mqttlab()
        .args(["list", "scenarios/conformance", "--json", "--profile"])
        .arg(profile)
        .assert()
        .success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).expect("UTF-8");
    let cases: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let skipped = cases.iter().filter_map(|case| {
        Some((case["id"].as_str()?.to_owned(), case.get("skipped")?.as_str()?.to_owned()))
    });
    (cases.len(), skipped.collect())
}

#[test]
fn every_profile_that_is_shipped_says_where_it_is_from_and_rules_something_out() {
    let profiles = shipped();
    assert!(profiles.len() >= 5, "{profiles:?}");
    for path in profiles {
        let text = fs::read_to_string(&path).expect("readable");
        let profile: Value = serde_json::from_str(&text).expect("JSON");
        let name = profile["name"].as_str().expect("a name");
        if path.ends_with("lab03.json") {
            continue;
        }
        assert!(!words(&profile["source"]).is_empty(), "{name} does not say where it is from");
        let (all, skipped) = skipped(&path);
        assert!(!skipped.is_empty() && skipped.len() < all, "{name}: {} of {all}", skipped.len());
        let of_clients = |why: &str| why == "it tests a client, and no broker has a part in it";
        let odd = skipped.iter().find(|(_, why)| !why.starts_with(name) && !of_clients(why));
        assert_eq!(odd, None, "{name}");
    }
}

#[test]
fn a_cloud_that_lacks_a_feature_is_not_tested_for_it() {
    let reasons = |file: &str| -> BTreeSet<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/profiles").join(file);
        skipped(&path).1.into_iter().map(|(_, why)| why).collect()
    };
    let aws = reasons("aws-iot-core.json");
    assert!(aws.contains("AWS IoT Core cannot do `qos2`"), "{aws:?}");
    assert!(!aws.iter().any(|why| why.contains("`retain`")), "{aws:?}");
    let azure = reasons("azure-event-grid.json");
    assert!(azure.contains("Azure Event Grid cannot do `retain`"), "{azure:?}");
    let emqx = reasons("emqx.json");
    assert!(!emqx.iter().any(|why| why.contains("`qos2`")), "{emqx:?}");
}

#[test]
fn a_profile_is_explained_and_checked() {
    mqttlab()
        .args(["explain", "profile"])
        .assert()
        .success()
        .stdout(contains("lacks").and(contains("limits")));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.json");
    for (text, says) in [
        (r#"{"lacks": ["wildcard"]}"#, "did you mean wildcards?"),
        (r#"{"limit": {}}"#, "unknown field `limit`"),
        ("{", "EOF"),
    ] {
        fs::write(&path, text).expect("written");
        let mut list = mqttlab();
        list.args(["list", "scenarios/conformance", "--profile"]).arg(&path);
        list.assert().code(5).stderr(contains(says).and(contains("p.json")));
    }
}
