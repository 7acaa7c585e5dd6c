//! `mqttlab broker` as a program: its exit codes, signals, reload and background mode. What it says
//! to clients is tested in `broker.rs`.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use mqttlab::client::Event;
use mqttlab::mqtt::{Packet, ProtocolVersion, QoS, ReasonCode};

use crate::support::broker::{OPEN, PATIENCE, Process, connect, folder, program, publish};

/// Runs it to its end, with the `mosquitto.conf` of a folder.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let conf = folder.join("mosquitto.conf");
    Command::new(program()).arg("broker").arg("-c").arg(conf).args(arguments).output().expect("it starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn exit_codes_are_those_of_mosquitto() {
    let busy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = format!("listener {} 127.0.0.1\n", busy.local_addr().expect("bound").port());
    let cases = [
        ("allow_anonymus true\n", 3, "allow_anonymous"),
        ("acl_file /nonexistent/acl\n", 13, "/nonexistent/acl"),
        ("password_file /nonexistent/passwords\n", 13, "/nonexistent/passwords"),
        ("listener 0 127.0.0.1\ncertfile /nonexistent/c\nkeyfile /nonexistent/k\n", 1, "Check certfile"),
        (&taken, 1, "cannot listen on 127.0.0.1"),
    ];
    for (conf, code, says) in cases {
        let output = run(folder(conf).path(), &[]);
        assert_eq!(output.status.code(), Some(code), "{conf}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{conf}: {}", stderr(&output));
    }
}

#[test]
fn a_configuration_is_tested_with_all_its_files() {
    let good = folder(OPEN);
    let output = run(good.path(), &["--test-config"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for (conf, code) in [
        ("acl_file /nonexistent/acl\n", 13),
        ("nonsense 1\n", 3),
        ("listener 0\ncertfile /nonexistent/c\nkeyfile /nonexistent/k\n", 1),
    ] {
        let output = run(folder(conf).path(), &["--test-config"]);
        assert_eq!(output.status.code(), Some(code), "{conf}: {}", stderr(&output));
    }
}

#[test]
fn signals_end_it_well_or_do_no_harm() {
    for signal in ["TERM", "INT"] {
        let folder = folder(OPEN);
        let mut process = Process::start(folder.path(), &[]);
        for harmless in ["USR2", "USR1", "PIPE"] {
            process.signal(harmless);
        }
        process.wait_for_line("there is nothing to save");
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0));
        process.wait_for_line(" terminating");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_takes_good_rules_and_keeps_the_last_good_ones_before_bad_ones() {
    let folder = folder("");
    let acl = folder.path().join("acl");
    let conf = format!("{OPEN}acl_file {}\n", acl.display());
    fs::write(folder.path().join("mosquitto.conf"), conf).expect("written");
    fs::write(&acl, "topic readwrite a\n").expect("written");
    let process = Process::start(folder.path(), &[]);
    let mut client = connect(&process.endpoint(), ProtocolVersion::V5, "c").await;
    let mut may = async |topic: &str| {
        let message = publish(topic, "x", QoS::AtLeastOnce);
        let answer = client.publish(message).await.expect("answered").expect("QoS 1");
        let Packet::PubAck(ack) = answer else { panic!("{answer:?}") };
        ack.reason != ReasonCode::NOT_AUTHORIZED
    };
    assert_eq!((may("a").await, may("b").await), (true, false));

    fs::write(&acl, "topic readwrite b\n").expect("written");
    process.signal("HUP");
    // The new rules are in force some time after the signal.
    while !may("b").await {}
    assert!(!may("a").await);

    fs::write(&acl, "topic readd a\n").expect("written");
    process.signal("HUP");
    process.wait_for_line("files are kept as they were");
    assert_eq!((may("a").await, may("b").await), (false, true));

    fs::write(folder.path().join("mosquitto.conf"), "nonsense\n").expect("written");
    process.signal("HUP");
    process.wait_for_line("the configuration is kept as it was");
    assert_eq!((may("a").await, may("b").await), (false, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_background_it_outlives_its_parent_and_logs_to_its_file() {
    let folder = folder("");
    let log = folder.path().join("log");
    let conf = format!("{OPEN}log_dest file {}\n", log.display());
    fs::write(folder.path().join("mosquitto.conf"), conf).expect("written");
    let stayed = Detached(folder.path());
    let output = run(folder.path(), &["-d"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let until = Instant::now() + PATIENCE;
    let text = loop {
        let text = fs::read_to_string(&log).unwrap_or_default();
        if text.contains(" running") {
            break text;
        }
        assert!(Instant::now() < until, "{text}");
        std::thread::yield_now();
    };
    let port = text.split("listen socket on port ").nth(1).and_then(|rest| rest.split('.').next());
    let port = port.and_then(|port| port.parse().ok()).expect("a number");
    let endpoint = mqttlab::net::Endpoint::Tcp { host: "127.0.0.1".to_owned(), port };
    let mut client = connect(&endpoint, ProtocolVersion::V5, "c").await;
    client.ping().await.expect("answered");
    assert_eq!(stayed.pids().len(), 1);
    drop(stayed);
    loop {
        match client.next().await {
            Event::Closed(_) => break,
            Event::Packet(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The process that stayed: the one with this folder on its command line. Dropping this ends it.
struct Detached<'a>(&'a Path);

impl Detached<'_> {
    fn pids(&self) -> Vec<String> {
        let folder = self.0.display().to_string();
        let processes = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
        let ours = processes.filter(|process| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&folder)
        });
        ours.map(|it| it.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        for pid in self.pids() {
            // It may be ending already.
            let _ = Command::new("kill").arg(pid).status();
        }
    }
}
