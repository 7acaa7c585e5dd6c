//! Our broker for tests: in this process, or as the program; and wire clients for it.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mqttlab::broker::config::{Config, Overrides};
use mqttlab::broker::log::LogLine;
use mqttlab::broker::server::files::{FsFiles, load_rules};
use mqttlab::broker::server::{Broker, Medium};
use mqttlab::client::{Client, Event, Options, Session};
use mqttlab::mqtt::packet::{Connect, Publish, Subscribe, Subscription, SubscriptionOptions};
use mqttlab::mqtt::{PacketId, Properties, ProtocolVersion, QoS, TopicFilter, TopicName};
use mqttlab::net::Endpoint;
use tempfile::TempDir;

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A listener on a port of the system's choice that lets anybody in.
pub const OPEN: &str = "listener 0 127.0.0.1\nallow_anonymous true\n";

/// A folder with a `mosquitto.conf` of this text in it.
pub fn folder(conf: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("mosquitto.conf"), conf).expect("written");
    folder
}

/// Starts a broker in this process with the `mosquitto.conf` of a folder.
pub async fn start_in(folder: &Path, medium: Medium) -> Broker {
    start_changed(folder, medium, |_| {}).await.0
}

/// The lines that a broker in this process logs.
pub type Lines = Arc<Mutex<Vec<String>>>;

/// As [`start_in`], with a configuration that is changed before, and with the log.
pub async fn start_changed(
    folder: &Path,
    medium: Medium,
    change: impl FnOnce(&mut Config),
) -> (Broker, Lines) {
    try_start(folder, medium, change).await.expect("it starts")
}

/// As [`start_changed`], where it may be that it does not start.
pub async fn try_start(
    folder: &Path,
    medium: Medium,
    change: impl FnOnce(&mut Config),
) -> std::io::Result<(Broker, Lines)> {
    let path = folder.join("mosquitto.conf");
    let (config, found) = Config::load(&FsFiles, Some(&path), &Overrides::default());
    let mut config = config.unwrap_or_else(|| panic!("{found:?}"));
    change(&mut config);
    let (rules, found) = load_rules(&config, &FsFiles);
    assert!(found.is_empty(), "{found:?}");
    let lines = Lines::default();
    let sink = Arc::clone(&lines);
    let log = Box::new(move |fresh: &[LogLine]| {
        sink.lock().expect("no panic there").extend(fresh.iter().map(|line| line.text.clone()));
    });
    let broker = Broker::start_with_log(Arc::new(config), Arc::new(rules), medium, 7, log).await?;
    Ok((broker, lines))
}

/// Starts a broker in this process that lets anybody in.
pub async fn start(medium: Medium) -> Broker {
    start_in(folder(OPEN).path(), medium).await
}

/// An ordinary client's options.
pub fn options(version: ProtocolVersion, client_id: &str) -> Options {
    Options::new(Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_id: client_id.into(),
        ..Connect::default()
    })
}

/// A client that is let in.
pub async fn connect(endpoint: &Endpoint, version: ProtocolVersion, client_id: &str) -> Client {
    connect_with(endpoint, &options(version, client_id)).await
}

/// A client that is let in.
pub async fn connect_with(endpoint: &Endpoint, options: &Options) -> Client {
    Client::connect(endpoint, options, Session::default(), None).await.expect("let in").0
}

/// A PUBLISH.
pub fn publish(topic: &str, payload: impl Into<Bytes>, qos: QoS) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: TopicName::new(topic.to_owned()).expect("a topic"),
        id: None,
        payload: payload.into(),
        properties: Properties::new(),
    }
}

/// A SUBSCRIBE to one filter.
pub fn subscribe(filter: &str, qos: QoS) -> Subscribe {
    let filter = TopicFilter::new(filter.to_owned()).expect("a filter");
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    Subscribe {
        id: PacketId::FIRST,
        properties: Properties::new(),
        subscriptions: vec![Subscription { filter, options }],
    }
}

/// The next message that the client receives.
pub async fn next_message(client: &mut Client) -> Publish {
    let receiving = async {
        loop {
            match client.next().await {
                Event::Packet(mqttlab::mqtt::Packet::Publish(publish)) => return publish,
                Event::Packet(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, receiving).await.expect("a message in time")
}

/// `mqttlab broker` as a process. It is killed when this is dropped.
pub struct Process {
    child: Child,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
    /// Ports of the listeners, in their order.
    pub ports: Vec<u16>,
}

impl Process {
    /// Starts it with the `mosquitto.conf` of a folder and waits until it runs.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let conf = folder.join("mosquitto.conf");
        let mut command = Command::new(program());
        command.arg("broker").arg("-c").arg(conf).args(arguments);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("piped"));
        let stderr = Box::new(child.stderr.take().expect("piped"));
        let log = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        for output in [stdout, stderr] {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    log.0.lock().expect("no panic there").push(line);
                    log.1.notify_all();
                }
            });
        }
        let mut process = Self { child, log, ports: Vec::new() };
        process.wait_for_line(" running");
        process.ports = process
            .lines()
            .iter()
            .filter_map(|line| line.split_once("Opening ipv4 listen socket on port ")?.1.strip_suffix('.'))
            .map(|port| port.parse().expect("a number"))
            .collect();
        process
    }

    /// Where the first listener is.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: self.ports[0] }
    }

    /// What was logged so far.
    pub fn lines(&self) -> Vec<String> {
        self.log.0.lock().expect("no panic there").clone()
    }

    /// Waits until a line with this text was logged or printed, and returns it.
    pub fn wait_for_line(&self, text: &str) -> String {
        let with_it = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        self.wait_for(&format!("line with `{text}`"), with_it)
    }

    /// Waits until there is something in the lines so far.
    pub fn wait_for<T>(&self, what: &str, look: impl Fn(&[String]) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let mut lines = self.log.0.lock().expect("no panic there");
        loop {
            if let Some(found) = look(&lines) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} in {lines:#?}");
            lines = self.log.1.wait_timeout(lines, left).expect("no panic there").0;
        }
    }

    /// Sends a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it is our child")
    }

    /// Resident memory, bytes.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("a process on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("is there");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program under test.
pub fn program() -> PathBuf {
    assert_cmd::cargo::cargo_bin!("mqttlab").to_path_buf()
}
