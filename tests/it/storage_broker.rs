//! A broker that keeps its state (`persistence true`), in this process and as a program: what is
//! there after a stop and after a kill, what the log says, and what happens when it cannot be kept.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use mqttlab::broker::config::{Config, Overrides};
use mqttlab::broker::log::LogLine;
use mqttlab::broker::server::files::{FsFiles, load_rules};
use mqttlab::broker::server::{Broker, Medium};
use mqttlab::client::{Client, Options, Session};
use mqttlab::mqtt::packet::{Connect, Disconnect, Publish, Will};
use mqttlab::mqtt::{Properties, Property, ProtocolVersion, QoS};
use mqttlab::net::Endpoint;
use parking_lot::Mutex;

use crate::support::broker::{OPEN, Process, folder, next_message, program, publish, subscribe};

/// A folder with a `mosquitto.conf` that keeps the state there.
fn keeping(more: &str) -> tempfile::TempDir {
    let folder = folder("");
    let conf = format!("{OPEN}persistence true\npersistence_location {}/\n{more}", folder.path().display());
    fs::write(folder.path().join("mosquitto.conf"), conf).expect("written");
    folder
}

fn load(folder: &Path) -> Arc<Config> {
    let (config, found) = Config::load(&FsFiles, Some(&folder.join("mosquitto.conf")), &Overrides::default());
    Arc::new(config.unwrap_or_else(|| panic!("{found:?}")))
}

/// A broker, and what it logs.
async fn start(folder: &Path, medium: Medium) -> (Broker, Arc<Mutex<Vec<String>>>) {
    let config = load(folder);
    let (rules, _) = load_rules(&config, &FsFiles);
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&lines);
    let sink = Box::new(move |new: &[LogLine]| log.lock().extend(new.iter().map(|line| line.text.clone())));
    let broker = Broker::start_with_log(config, Arc::new(rules), medium, 7, sink).await.expect("starts");
    (broker, lines)
}

fn durable(client_id: &str) -> Options {
    let connect = Connect {
        version: ProtocolVersion::V5,
        client_id: client_id.into(),
        properties: Properties::from(vec![Property::SessionExpiryInterval(1000)]),
        ..Connect::default()
    };
    Options::new(connect)
}

async fn join(endpoint: &Endpoint, client_id: &str) -> (Client, bool) {
    let (client, answer) =
        Client::connect(endpoint, &durable(client_id), Session::default(), None).await.expect("let in");
    (client, answer.session_present)
}

fn retained(topic: &str, payload: &str) -> Publish {
    Publish { retain: true, ..publish(topic, payload.to_owned(), QoS::AtLeastOnce) }
}

/// Leaves a session with a waiting message, and a retained one.
async fn leave_traces(endpoint: &Endpoint) {
    let (mut away, present) = join(endpoint, "away").await;
    assert!(!present);
    away.subscribe(subscribe("t/#", QoS::ExactlyOnce)).await.expect("answered");
    away.disconnect(Disconnect::default()).await;
    let (mut client, _) = join(endpoint, "p").await;
    client.publish(publish("t/1", "waits", QoS::ExactlyOnce)).await.expect("answered");
    client.publish(retained("r", "stays")).await.expect("answered");
}

async fn find_traces(endpoint: &Endpoint) {
    let (mut away, present) = join(endpoint, "away").await;
    assert!(present);
    let message = next_message(&mut away).await;
    assert_eq!((message.topic.as_str(), &message.payload[..]), ("t/1", &b"waits"[..]));
    away.subscribe(subscribe("r", QoS::AtMostOnce)).await.expect("answered");
    let message = next_message(&mut away).await;
    assert_eq!((&message.payload[..], message.retain), (&b"stays"[..], true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_keeps_everything() {
    for sync in ["autosave", "interval", "always"] {
        let folder = keeping(&format!("persistence_sync {sync}\n"));
        let (broker, lines) = start(folder.path(), Medium::Sockets).await;
        leave_traces(&broker.endpoint(0)).await;
        broker.stop().await;
        let saving = format!("Saving in-memory database to {}/mosquitto.db.", folder.path().display());
        assert!(lines.lock().contains(&saving), "{:?}", lines.lock());
        let (broker, lines) = start(folder.path(), Medium::Sockets).await;
        for line in ["Restored 2 clients.", "Restored 1 subscriptions.", "Restored 1 retained messages."] {
            assert!(lines.lock().iter().any(|it| it == line), "{:?}", lines.lock());
        }
        find_traces(&broker.endpoint(0)).await;
        broker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_takes_nothing_that_was_acknowledged_if_all_is_synced() {
    let folder = keeping("persistence_sync always\n");
    let (broker, _) = start(folder.path(), Medium::Sockets).await;
    leave_traces(&broker.endpoint(0)).await;
    broker.kill().await;
    let (broker, _) = start(folder.path(), Medium::Sockets).await;
    find_traces(&broker.endpoint(0)).await;
    broker.kill().await;
}

/// Under a paused clock a wait for the disk must not look like idleness, or time would run on.
#[tokio::test(start_paused = true)]
async fn virtual_time_waits_for_the_disk() {
    let folder = keeping("persistence_sync always\n");
    let (broker, _) = start(folder.path(), Medium::Memory).await;
    let before = tokio::time::Instant::now();
    leave_traces(&broker.endpoint(0)).await;
    assert!(before.elapsed() < std::time::Duration::from_secs(1), "{:?}", before.elapsed());
    // Time that passed on that clock has passed for sessions too.
    tokio::time::advance(std::time::Duration::from_secs(900)).await;
    let (mut client, _) = join(&broker.endpoint(0), "q").await;
    client.ping().await.expect("answered");
    broker.kill().await;
    let (broker, _) = start(folder.path(), Medium::Memory).await;
    find_traces(&broker.endpoint(0)).await;
    broker.kill().await;
    tokio::time::advance(std::time::Duration::from_secs(200)).await;
    let (broker, _) = start(folder.path(), Medium::Memory).await;
    assert!(join(&broker.endpoint(0), "q").await.1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_will_of_a_client_goes_out_after_a_kill() {
    let folder = keeping("persistence_sync always\n");
    let (broker, _) = start(folder.path(), Medium::Sockets).await;
    let will = Will {
        topic: mqttlab::mqtt::TopicName::new("gone").expect("a topic"),
        payload: "yes".into(),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Properties::new(),
    };
    let connect =
        Connect { client_id: "w".into(), clean_start: true, will: Some(will), ..Connect::default() };
    let options = Options::new(connect);
    let client =
        Client::connect(&broker.endpoint(0), &options, Session::default(), None).await.expect("let in");
    broker.kill().await;
    drop(client);
    let (broker, _) = start(folder.path(), Medium::Sockets).await;
    let (mut client, _) = join(&broker.endpoint(0), "r").await;
    client.subscribe(subscribe("gone", QoS::AtMostOnce)).await.expect("answered");
    assert_eq!(&next_message(&mut client).await.payload[..], b"yes");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_does_not_keep_the_broker_from_starting() {
    let folder = keeping("");
    fs::write(folder.path().join("mosquitto.db"), b"\x00\xb5\x00mosquitto db and more").expect("written");
    let (broker, lines) = start(folder.path(), Medium::Sockets).await;
    let said = lines.lock().join("\n");
    assert!(said.contains("it is a database of Eclipse Mosquitto"), "{said}");
    assert!(said.contains("it was set aside as"), "{said}");
    leave_traces(&broker.endpoint(0)).await;
    broker.stop().await;
    let aside = fs::read_dir(folder.path()).expect("a folder").filter_map(Result::ok);
    let aside: Vec<_> = aside.filter(|it| it.file_name().to_string_lossy().contains(".mosquitto-")).collect();
    assert_eq!(fs::read(aside[0].path()).expect("there"), b"\x00\xb5\x00mosquitto db and more");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_can_read_what_is_kept() {
    let folder = keeping("");
    let (broker, _) = start(folder.path(), Medium::Sockets).await;
    leave_traces(&broker.endpoint(0)).await;
    broker.stop().await;
    for entry in fs::read_dir(folder.path()).expect("a folder").filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with("mosquitto.db") {
            let mode = entry.metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
        }
    }
}

#[test]
fn a_file_that_cannot_be_had_is_said_at_the_start() {
    let refused = |folder: &Path| {
        let mut command = Command::new(program());
        command.args(["broker", "-c"]).arg(folder.join("mosquitto.conf"));
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    };
    let folder = keeping("persistence_file missing/lab.db\n");
    let said = refused(folder.path());
    assert!(said.contains("missing/lab.db.lock cannot be opened"), "{said}");

    let folder = keeping("");
    let first = Process::start(folder.path(), &[]);
    let said = refused(folder.path());
    assert!(said.contains("is in use by another broker"), "{said}");
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr1_and_changes_save() {
    let folder = keeping("autosave_interval 3\nautosave_on_changes true\n");
    let mut process = Process::start(folder.path(), &[]);
    leave_traces(&process.endpoint()).await;
    process.wait_for_line("Saving in-memory database to");
    let folder = keeping("autosave_interval 0\n");
    process = Process::start(folder.path(), &[]);
    leave_traces(&process.endpoint()).await;
    assert!(!process.lines().iter().any(|line| line.contains("Saving")), "{:?}", process.lines());
    process.signal("USR1");
    process.wait_for_line("Saving in-memory database to");
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
}

/// A disk that is full, by a limit on the size of files. With `always` nobody is told what cannot be
/// kept: the client is closed. Otherwise the broker goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_nothing_is_acknowledged_that_is_not_kept() {
    for (sync, closes) in [("always", true), ("autosave", false)] {
        let folder = keeping(&format!("persistence_sync {sync}\nlog_dest stdout\n"));
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" broker -c \"$1\""])
            .arg(program())
            .arg(folder.path().join("mosquitto.conf"))
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("sh");
        let mut output = child.stdout.take().expect("piped");
        let port = read_port(&mut output);
        let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port };
        let (mut client, _) = join(&endpoint, "p").await;
        let mut acknowledged = 0;
        let lost = loop {
            match client.publish(retained(&format!("r/{acknowledged}"), &"x".repeat(1000))).await {
                Ok(_) if acknowledged == 200 => break false,
                Ok(_) => acknowledged += 1,
                Err(_) => break true,
            }
        };
        assert_eq!(lost, closes, "{sync}");
        drop(client);
        read_until(&mut output, "mosquitto.db cannot be written");
        child.kill().expect("it runs");
        child.wait().expect("our child");
        let (broker, lines) = start(folder.path(), Medium::Sockets).await;
        let restored = lines.lock().iter().find_map(|line| {
            line.strip_prefix("Restored ")?.strip_suffix(" retained messages.")?.parse::<usize>().ok()
        });
        if closes {
            // The last may be there although its acknowledgement is not.
            let kept = restored.expect("retained messages");
            assert!((acknowledged..=acknowledged + 1).contains(&kept), "{kept} of {acknowledged}");
        }
        broker.stop().await;
    }
}

/// Reads a log up to these words.
fn read_until(output: &mut impl Read, words: &str) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with(words) {
        assert_eq!(output.read(&mut byte).expect("readable"), 1, "no `{words}` in {text}");
        text.push(char::from(byte[0]));
    }
    text
}

/// Reads the log up to the line that says that it runs, and answers its port.
fn read_port(output: &mut impl Read) -> u16 {
    let text = read_until(output, " running");
    let port = text.split("listen socket on port ").nth(1).and_then(|rest| rest.split('.').next());
    port.and_then(|port| port.parse().ok()).expect("a number")
}
