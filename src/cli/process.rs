//! What the broker does with its own process, as mosquitto does it: the account that it runs as, the
//! file with its id, the background, and what systemd is told.

use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use nix::unistd::{User, getegid, geteuid, initgroups, setgid, setuid};
use sd_notify::NotifyState;

/// mosquitto's own account, and the one where there is none of that name.
pub(super) const DEFAULT_USER: &str = "mosquitto";
const FALLBACK_USER: &str = "nobody";

/// Becomes `user` if root has started this process; all threads do. `root` stays root. Answers with
/// mosquitto's warnings.
///
/// # Errors
/// The sentence that mosquitto ends with.
pub(super) fn drop_privileges(user: &str) -> Result<Vec<String>, String> {
    let mut warnings = Vec::new();
    if !geteuid().is_root() {
        return Ok(warnings);
    }
    if user != "root" {
        let account = find(user, &mut warnings)?;
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            format!("Error setting {what} whilst dropping privileges: {error}.")
        };
        let name = CString::new(account.name.as_str()).map_err(|error| failed("groups", &error))?;
        initgroups(&name, account.gid).map_err(|error| failed("groups", &error))?;
        setgid(account.gid).map_err(|error| failed("gid", &error))?;
        setuid(account.uid).map_err(|error| failed("uid", &error))?;
    }
    if geteuid().is_root() || getegid().as_raw() == 0 {
        warnings.push("Warning: Mosquitto should not be run as root/administrator.".to_owned());
    }
    Ok(warnings)
}

fn find(user: &str, warnings: &mut Vec<String>) -> Result<User, String> {
    let missing = |name: &str| {
        format!("Error: Unable to drop privileges to '{name}' because this user does not exist.")
    };
    let look = |name: &str| User::from_name(name).ok().flatten();
    match look(user) {
        Some(account) => Ok(account),
        None if user == DEFAULT_USER => {
            warnings.push(format!(
                "Warning: Unable to drop privileges to '{user}' because this user does not exist. Trying \
                 '{FALLBACK_USER}' instead."
            ));
            look(FALLBACK_USER).ok_or_else(|| missing(FALLBACK_USER))
        }
        None => Err(missing(user)),
    }
}

/// The file with the process id, which is taken away when this is dropped.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it, without an end of line, as mosquitto does.
    pub fn write(path: &Path) -> io::Result<Self> {
        std::fs::write(path, std::process::id().to_string())?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Its folder may be another account's: then it stays, as mosquitto's does.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Starts this program again under the same name, without a terminal, and leaves it alone.
pub(super) fn detach() -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command
        .args(arguments)
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start in the background")?;
    Ok(())
}

/// The process that [`detach`] has started leaves the terminal.
pub(super) fn leave_terminal() -> anyhow::Result<()> {
    // Not the leader of its group, because it was started as a child: this cannot fail.
    rustix::process::setsid().context("cannot leave the terminal")?;
    Ok(())
}

/// What systemd is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// The broker serves: after its start, and after a reload.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It ends.
    Stopping,
}

/// Tells systemd, if it wants to know.
pub(super) fn tell(news: News) {
    let mut states = vec![match news {
        News::Ready => NotifyState::Ready,
        News::Reloading => NotifyState::Reloading,
        News::Stopping => NotifyState::Stopping,
    }];
    if news == News::Reloading {
        // `Type=notify-reload` wants the time with it.
        states.extend(NotifyState::monotonic_usec_now());
    }
    // Without NOTIFY_SOCKET it does nothing; a systemd that is gone is none of our business.
    let _ = sd_notify::notify(&states);
}
