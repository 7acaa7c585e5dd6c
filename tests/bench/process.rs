//! Brokers as child processes, and what the kernel says of them.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The program under measurement.
pub const MQTTLAB: &str = env!("CARGO_BIN_EXE_mqttlab");

/// Brokers that run: whoever ends this process in a hurry ends them first.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Kills every broker that runs.
pub fn end_all() {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    for pid in running.iter().filter_map(|pid| i32::try_from(*pid).ok()).filter_map(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// A broker with mosquitto's command line, killed when dropped.
pub struct Broker {
    child: Child,
    /// Port on 127.0.0.1.
    pub port: u16,
}

impl Broker {
    /// Starts `program` (with `args` before `-c FILE`) on a free port, anonymous clients allowed.
    /// `None` if there is no such program.
    pub fn start(program: &str, args: &[&str], settings: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let config = folder.path().join("mosquitto.conf");
        fs::write(
            &config,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\nlog_type none\n{settings}"),
        )
        .expect("a writable folder");
        open_to_all(folder.path());
        let child = Command::new(program)
            .args(args)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => panic!("{program}: {e}"),
        };
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(child.id());
        let broker = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{program} does not listen");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Some(broker)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let pid = self.pid();
        let _ = self.child.kill();
        let _ = self.child.wait();
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|running| *running != pid);
    }
}

/// mosquitto gives up root, and must still read its file.
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o755));
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// A number of kB in `/proc/PID/status`: `VmHWM` is the peak, `VmRSS` is now.
pub fn memory_kb(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// CPU seconds that a process has used, all threads.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

/// The same in nanoseconds, of the threads that run now.
pub fn cpu_nanos(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// Keeps this thread, and the processes that it starts from now on, to one core. On a machine with
/// fewer cores nothing changes.
pub fn pin(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    let _ = rustix::thread::sched_setaffinity(None, &cores);
}

/// Lets this process and its brokers have as many connections as the system allows.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Runs a command to its end; gives its exit code, its wall time and its peak memory in kB.
pub fn measure(command: &mut Command) -> (i32, Duration, u64) {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn().expect("the program starts");
    let mut peak = 0;
    loop {
        if let Some(kb) = memory_kb(child.id(), "VmHWM") {
            peak = peak.max(kb);
        }
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return (status.code().unwrap_or(-1), start.elapsed(), peak);
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
