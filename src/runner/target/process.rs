//! A broker as a child process with mosquitto's command line: mosquitto itself, another program
//! that reads mosquitto.conf, or this very binary.
//!
//! The child is always ended by its own process id, and never outlives its [`Process`].

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::{LogTail, TargetError};
use crate::runner::EnvironmentError;
use crate::runner::prepare::Prepared;

/// A broker that is not there after this long will not come.
const START: Duration = Duration::from_secs(10);
/// A broker that was told to end and has not after this long is killed.
const STOP: Duration = Duration::from_secs(5);
/// What mosquitto says when all its listeners are open: `mosquitto version 2.0.11 running`.
const RUNNING: &str = " running";
/// A broker that does not say so and is still there after this long has its ports.
const SETTLE: Duration = Duration::from_millis(250);
/// Between two looks whether the broker listens.
const LOOK: Duration = Duration::from_millis(2);

/// A program and its version.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    /// True for this very program, whose broker is a subcommand.
    subcommand: bool,
    /// `mosquitto 2.0.11`
    pub name: String,
}

impl Program {
    /// Looks a bare name up in PATH and where system daemons live, and asks for the version.
    pub fn find(wanted: &Path) -> Result<Self, EnvironmentError> {
        let missing = || EnvironmentError::NoTarget {
            message: format!(
                "there is no program {}; install it (Debian: apt-get install mosquitto) or give a path",
                wanted.display()
            ),
        };
        let path = if wanted.components().count() > 1 {
            wanted.to_owned()
        } else {
            let search = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&search)
                .chain(["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"].map(PathBuf::from))
                .map(|folder| folder.join(wanted))
                .find(|path| path.is_file())
                .ok_or_else(missing)?
        };
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let subcommand = stem.starts_with("mqttlab");
        // mosquitto 2.0 has no --version; its -h begins with it, and ends with status 3.
        let flag = if subcommand { "--version" } else { "-h" };
        let output = std::process::Command::new(&path)
            .arg(flag)
            .stdin(Stdio::null())
            .output()
            .map_err(|_| missing())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text
            .split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
            .unwrap_or("of unknown version");
        Ok(Self { name: format!("{stem} {version}"), path, subcommand })
    }

    fn command(&self, conf: &Path) -> Command {
        let mut command = Command::new(&self.path);
        if self.subcommand {
            command.arg("broker");
        }
        command.arg("-c").arg(conf);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

/// One child.
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Option<Child>,
    /// How it ended, if that was not our doing.
    ended: Option<String>,
}

impl Process {
    /// Not started yet.
    pub fn new(program: Program) -> Self {
        Self { program, child: None, ended: None }
    }

    pub(super) async fn start(&mut self, prepared: &Prepared, log: &LogTail) -> Result<(), TargetError> {
        self.still_there()?;
        if self.child.is_some() {
            return Ok(());
        }
        let failed = |error: std::io::Error| {
            TargetError::new(format!("{} does not start: {error}", self.program.path.display()))
        };
        let mut child = self.program.command(&prepared.conf()).spawn().map_err(failed)?;
        let mut readers = tokio::task::JoinSet::new();
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(follow(stderr, log.clone()));
        }
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(follow(stdout, log.clone()));
        }
        let ports: Vec<u16> = prepared.listeners.iter().map(|listener| listener.port).collect();
        let said = log.count(RUNNING);
        let outcome = timeout(START, ready(&mut child, &ports, log, said)).await;
        if let Ok(Ok(None)) = outcome {
            readers.detach_all();
            self.child = Some(child);
            return Ok(());
        }
        let _ = child.kill().await;
        // Its last words, up to the end of its streams.
        while readers.join_next().await.is_some() {}
        let last = log.last().map(|line| format!(": {line}")).unwrap_or_default();
        Err(TargetError::new(match outcome {
            Ok(Ok(Some(status))) => format!("{} ended with {status}{last}", self.program.name),
            Ok(Err(error)) => format!("{} does not start: {error}{last}", self.program.name),
            _ => format!("{} does not listen after {} s{last}", self.program.name, START.as_secs()),
        }))
    }

    pub(super) async fn stop(&mut self) -> Result<(), TargetError> {
        self.still_there()?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        signal(&child, Signal::TERM)?;
        if timeout(STOP, child.wait()).await.is_err() {
            let _ = child.kill().await;
            return Err(TargetError::new(format!(
                "{} was still there {} s after SIGTERM",
                self.program.name,
                STOP.as_secs()
            )));
        }
        Ok(())
    }

    pub(super) async fn kill(&mut self) -> Result<(), TargetError> {
        self.still_there()?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().await.map_err(|error| TargetError::new(error.to_string()))
    }

    pub(super) async fn reload(&mut self, log: &LogTail) -> Result<(), TargetError> {
        let Some(child) = &self.child else { return Err(TargetError::new("the broker is not running")) };
        let before = log.count("Reloading config");
        signal(child, Signal::HUP)?;
        // Its log says when it has taken note; a broker without that line gets this long.
        let _ = timeout(Duration::from_secs(1), async {
            while log.count("Reloading config") == before {
                sleep(LOOK).await;
            }
        })
        .await;
        Ok(())
    }

    pub(super) fn died(&mut self) -> Option<String> {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            self.ended = Some(format!("{} ended with {status}", self.program.name));
            self.child = None;
        }
        self.ended.clone()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.child.is_none() && self.ended.is_none()
    }

    /// What ended by itself must not be taken for what was told to.
    fn still_there(&mut self) -> Result<(), TargetError> {
        self.died().map_or(Ok(()), |how| Err(TargetError::new(how)))
    }
}

/// Waits until every port answers (`None`) or the child has ended. A broker opens its listeners one
/// after the other, and a certificate takes its time.
///
/// Somebody else's broker that was faster in taking a port would answer too, and what it does would
/// be taken for what ours does. So ours has to say that it runs, or at least to live on for a while.
async fn ready(
    child: &mut Child,
    ports: &[u16],
    log: &LogTail,
    said: usize,
) -> std::io::Result<Option<ExitStatus>> {
    for &port in ports {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            sleep(LOOK).await;
        }
    }
    let until = Instant::now() + SETTLE;
    while log.count(RUNNING) == said && Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        sleep(LOOK).await;
    }
    child.try_wait()
}

/// Copies a stream of the child into the log, line by line.
async fn follow(stream: impl AsyncRead + Unpin, log: LogTail) {
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        log.push(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
}

fn signal(child: &Child, signal: Signal) -> Result<(), TargetError> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(()) };
    kill_process(pid, signal).map_err(|error| TargetError::new(format!("cannot signal the broker: {error}")))
}
