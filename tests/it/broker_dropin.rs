//! The program in mosquitto's place: under its names, with a distribution's files, as a service.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use mqttlab::mqtt::{ProtocolVersion, QoS};
use mqttlab::net::Endpoint;
use nix::unistd::{User, geteuid};
use tempfile::TempDir;

use crate::support::broker::{
    OPEN, PATIENCE, Process, connect, folder, next_message, program, publish, subscribe,
};
use crate::support::mosquitto;
use crate::support::skip::skipped;

/// A link to the program under another name.
fn link(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    symlink(program(), &path).expect("a link");
    path
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("it starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Looks until it finds something.
fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_link_called_mosquitto_has_its_command_line_and_exit_codes() {
    let folder = folder("nonsense 1\n");
    let broker = link(folder.path(), "mosquitto");
    let conf = folder.path().join("mosquitto.conf").display().to_string();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["-x"], 3, "Error: Unknown option '-x'.\n"),
        (&["-c"], 3, "Error: -c argument given, but no config file specified.\n"),
        (&["-v", "-p"], 3, "Error: -p argument given, but no port specified.\n"),
        (&["-p", "0"], 3, "Error: Invalid port specified (0).\n"),
        (&["-c", "/nonexistent/conf"], 3, "Unable to open config file"),
        (&["-c", &conf], 3, "Unknown configuration variable 'nonsense'"),
        (&["--test-config", "--config-file", &conf], 3, "Unknown configuration variable 'nonsense'"),
    ];
    for (arguments, code, says) in cases {
        let output = run(&broker, arguments);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{arguments:?}: {}", stderr(&output));
        // mosquitto agrees where 2.0 knows the option.
        if let Some(theirs) = mosquitto::program("mosquitto").filter(|_| !arguments[0].starts_with("--")) {
            assert_eq!(run(&theirs, arguments).status.code(), Some(*code), "{arguments:?}");
        }
    }
    for arguments in [["-h"], ["--help"], ["--version"]] {
        let output = run(&broker, &arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(stdout(&output).starts_with("mosquitto "), "{arguments:?}");
        assert!(stdout(&output).contains("(mqttlab "), "it says what it is");
    }
}

#[test]
fn a_link_called_mosquitto_passwd_makes_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let passwd = link(folder.path(), "mosquitto_passwd");
    let file = folder.path().join("users").display().to_string();
    assert_eq!(run(&passwd, &["-c", "-b", &file, "alice", "secret"]).status.code(), Some(0));
    assert!(fs::read_to_string(&file).expect("was made").starts_with("alice:$7$"));
    assert_eq!(run(&passwd, &["-D", &file, "alice"]).status.code(), Some(0));
    assert_eq!(fs::read_to_string(&file).expect("is there"), "");
    let printed = run(&passwd, &["-c", "-b", "-", "bob", "x"]);
    assert!(stdout(&printed).starts_with("bob:$7$"), "{printed:?}");
    for wrong in [&[][..], &["-x"], &["-b", &file], &["--help"], &[&file, "a", "b", "c"]] {
        let output = run(&passwd, wrong);
        assert_eq!(output.status.code(), Some(1), "{wrong:?}");
        if let Some(theirs) = mosquitto::program("mosquitto_passwd") {
            assert_eq!(run(&theirs, wrong).status.code(), Some(1), "{wrong:?}");
        }
    }
}

/// The files of Debian's package, with the folders that its scripts make.
struct Installed {
    root: TempDir,
    broker: PathBuf,
    /// The account that it runs as, if root starts it and there is one.
    account: Option<User>,
}

impl Installed {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("is ours");
        let account = User::from_name("mosquitto").expect("can be asked").filter(|_| geteuid().is_root());
        for part in ["run", "lib", "log", "conf.d"] {
            let path = root.path().join(part);
            fs::create_dir(&path).expect("made");
            if let Some(account) = &account {
                chown(&path, Some(account.uid.as_raw()), Some(account.gid.as_raw())).expect("we are root");
            }
        }
        let at = |part: &str| root.path().join(part).display().to_string();
        let conf = "# Place your local configuration in /etc/mosquitto/conf.d/\n#\n\
                    # A full description of the configuration file is at\n\
                    # /usr/share/doc/mosquitto/examples/mosquitto.conf.example\n\n\
                    pid_file /run/mosquitto/mosquitto.pid\n\npersistence true\n\
                    persistence_location /var/lib/mosquitto/\n\n\
                    log_dest file /var/log/mosquitto/mosquitto.log\n\ninclude_dir /etc/mosquitto/conf.d\n"
            .replace("/run/mosquitto", &at("run"))
            .replace("/var/lib/mosquitto", &at("lib"))
            .replace("/var/log/mosquitto", &at("log"))
            .replace("include_dir /etc/mosquitto", &format!("include_dir {}", root.path().display()));
        fs::write(root.path().join("mosquitto.conf"), conf).expect("written");
        fs::write(root.path().join("conf.d/local.conf"), OPEN).expect("written");
        // Without an account of mosquitto's it would become nobody, to whom nothing here belongs.
        if geteuid().is_root() && account.is_none() {
            fs::write(root.path().join("conf.d/user.conf"), "user root\n").expect("written");
        }
        let broker = link(root.path(), "mosquitto");
        Self { root, broker, account }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.broker);
        command.arg("-c").arg(self.root.path().join("mosquitto.conf"));
        command
    }

    fn pid(&self) -> Option<String> {
        fs::read_to_string(self.root.path().join("run/mosquitto.pid")).ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("log/mosquitto.log")).unwrap_or_default()
    }

    /// Waits until it says so, and returns where it listens.
    fn running(&self) -> Endpoint {
        let log = wait_for("it runs", || Some(self.log()).filter(|log| log.contains(" running\n")));
        let port = log.split("listen socket on port ").nth(1).and_then(|rest| rest.split('.').next());
        let port = port.and_then(|port| port.parse().ok()).expect("a number");
        Endpoint::Tcp { host: "127.0.0.1".to_owned(), port }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_distributions_mosquitto_conf_comes_up_and_serves() {
    let installed = Installed::new();
    let mut child = installed.command().spawn().expect("it starts");
    let mut client = connect(&installed.running(), ProtocolVersion::V311, "c").await;
    client.publish(publish("a", "x", QoS::AtLeastOnce)).await.expect("acknowledged");
    let version = format!("mosquitto version 2.1.2 (mqttlab {})", env!("CARGO_PKG_VERSION"));
    client.subscribe(subscribe("$SYS/broker/version", QoS::AtMostOnce)).await.expect("granted");
    assert_eq!(next_message(&mut client).await.payload, version.as_bytes(), "what the log says");
    let pid = installed.pid().expect("a pid file");
    assert_eq!(pid, child.id().to_string());
    if let Some(account) = &installed.account {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let ids = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let (uid, gid) = (account.uid, account.gid);
        assert_eq!(ids("Uid:"), Some(format!("\t{uid}\t{uid}\t{uid}\t{uid}")), "for good");
        assert_eq!(ids("Gid:"), Some(format!("\t{gid}\t{gid}\t{gid}\t{gid}")));
        for thread in fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").map_while(Result::ok) {
            let status = fs::read_to_string(thread.path().join("status")).expect("it runs");
            assert!(status.contains(&format!("Uid:\t{uid}\t{uid}")), "all threads");
        }
    }
    assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
    assert_eq!(child.wait().expect("our child").code(), Some(0));
    assert_eq!(installed.pid(), None, "taken away at the end");
    let log = installed.log();
    for word in ["starting", "running", "terminating"] {
        assert!(log.contains(&format!(": {version} {word}\n")), "{log}");
    }
}

#[test]
fn in_the_background_under_mosquittos_name() {
    let installed = Installed::new();
    let parent = installed.command().arg("-d").output().expect("it starts");
    assert_eq!(parent.status.code(), Some(0), "{}", stderr(&parent));
    installed.running();
    let pid = installed.pid().expect("a pid file");
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
    assert!(line.starts_with(&installed.broker.display().to_string()), "ps shows the same name: {line}");
    assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
    wait_for("it ends", || installed.pid().is_none().then_some(()));
    wait_for("it is gone", || (!Path::new("/proc").join(&pid).exists()).then_some(()));
}

#[test]
fn what_the_account_or_the_pid_file_lacks_ends_the_start() {
    let pid = folder(&format!("{OPEN}pid_file /nonexistent/folder/pid\n"));
    let conf = |folder: &TempDir| folder.path().join("mosquitto.conf").display().to_string();
    let output = run(&program(), &["broker", "-c", &conf(&pid)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("Error: Unable to write pid file."), "{}", stderr(&output));
    if !geteuid().is_root() {
        return skipped("only root can become another user");
    }
    let user = folder(&format!("{OPEN}user no_such_user\n"));
    let output = run(&program(), &["broker", "-c", &conf(&user)]);
    assert_eq!(output.status.code(), Some(1));
    let sentence = "Error: Unable to drop privileges to 'no_such_user' because this user does not exist.\n";
    assert_eq!(stderr(&output), sentence);
    let root = folder(&format!("{OPEN}user root\n"));
    Process::start(root.path(), &[]).wait_for_line("Warning: Mosquitto should not be run as root/admin");
}

#[test]
fn systemd_is_told_what_the_broker_does() {
    let folder = folder(OPEN);
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).expect("bound");
    systemd.set_read_timeout(Some(PATIENCE)).expect("set");
    let hear = || {
        let mut buffer = [0; 300];
        let length = systemd.recv(&mut buffer).expect("a message in time");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    let mut child = Command::new(program())
        .args(["broker", "-q", "-c"])
        .arg(folder.path().join("mosquitto.conf"))
        .env("NOTIFY_SOCKET", &path)
        .spawn()
        .expect("it starts");
    let signal = |name: &str| {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill runs").success());
    };
    assert_eq!(hear(), "READY=1");
    signal("-HUP");
    let reloading = hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(hear(), "READY=1");
    signal("-TERM");
    assert_eq!(hear(), "STOPPING=1");
    assert_eq!(child.wait().expect("our child").code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nobody() {
    let folder = folder(&format!("{OPEN}log_type all\n"));
    let mut child = Command::new(program())
        .args(["broker", "-c"])
        .arg(folder.path().join("mosquitto.conf"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let port = lines.by_ref().find_map(|line| {
        line.split_once("Opening ipv4 listen socket on port ")?.1.trim_end_matches('.').parse().ok()
    });
    let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: port.expect("a port") };
    // From here on nobody reads: a pipe holds 64 KiB, and this is more.
    let mut client = connect(&endpoint, ProtocolVersion::V311, "c").await;
    let topic = "t".repeat(300);
    for _ in 0..500 {
        client.publish(publish(&topic, "x", QoS::AtLeastOnce)).await.expect("acknowledged");
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
    assert_eq!(child.wait().expect("our child").code(), Some(0), "nor does it keep the broker from its end");
    let received = lines.filter(|line| line.contains("Received PUBLISH from c")).count();
    assert!((100..500).contains(&received), "the pipe held {received} lines, and the rest is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_file_that_was_moved_away_is_begun_anew() {
    let folder = folder("");
    let (log, old) = (folder.path().join("log"), folder.path().join("log.1"));
    let conf = format!("{OPEN}log_dest stderr\nlog_dest file {}\n", log.display());
    fs::write(folder.path().join("mosquitto.conf"), conf).expect("written");
    let mut process = Process::start(folder.path(), &[]);
    for signal in ["HUP", "RTMIN"] {
        fs::rename(&log, &old).expect("moved");
        process.signal(signal);
        wait_for(signal, || log.exists().then_some(()));
        let mut client = connect(&process.endpoint(), ProtocolVersion::V311, signal).await;
        client.ping().await.expect("answered");
        let named = format!(" as {signal} ");
        wait_for("the line", || fs::read_to_string(&log).ok().filter(|text| text.contains(&named)));
        assert!(!fs::read_to_string(&old).expect("is there").contains(&named));
    }
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    assert!(fs::read_to_string(&log).expect("is there").ends_with(" terminating\n"), "all was written");
}

#[test]
fn a_test_of_the_configuration_says_all_that_is_wrong() {
    let folder = folder("");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let conf = format!(
        "nonsense 1\nacl_file {}\npassword_file /nonexistent/users\nlistener 1883\ncertfile {}\nkeyfile \
         /nonexistent/key\nconnection b\naddress h\ntopic #\nbridge_cafile {}\n",
        at("acl"),
        at("acl"),
        at("acl")
    );
    fs::write(at("mosquitto.conf"), conf).expect("written");
    fs::write(at("acl"), "topic readd a\n").expect("written");
    let output = run(&program(), &["broker", "--test-config", "-c", &at("mosquitto.conf")]);
    assert_eq!(output.status.code(), Some(3));
    let said = stderr(&output);
    for sentence in [
        "Unknown configuration variable 'nonsense'",
        "Invalid topic access type",
        "Unable to open pwfile",
        "Check certfile",
        "check bridge_cafile",
    ] {
        assert!(said.contains(sentence), "{sentence} is not in\n{said}");
    }
}
