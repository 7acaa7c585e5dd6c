//! The system's log: a datagram a line to its socket, as RFC 3164 describes it and syslog(3) sends it.
//!
//! A line that the system does not take is lost: there is nobody to tell.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Zoned;

use crate::broker::log::LogTypes;

/// Where the system listens.
pub(super) const SOCKET: &str = "/dev/log";

/// The facility `daemon`; `local0` is 16.
const DAEMON: u8 = 3;
const LOCAL0: u8 = 16;

/// A system that takes nothing for so long loses the line.
const PATIENCE: Duration = Duration::from_secs(1);

/// An open way to the system's log.
#[derive(Debug)]
pub(super) struct Syslog {
    socket: UnixDatagram,
    path: PathBuf,
    facility: u8,
}

impl Syslog {
    /// `facility` is that of `log_facility`: 0 to 7 for `local0` to `local7`, `None` for `daemon`.
    pub fn new(path: &Path, facility: Option<u8>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let facility = facility.map_or(DAEMON, |local| LOCAL0 + local);
        Ok(Self { socket, path: path.to_owned(), facility })
    }

    /// Sends a line. The socket is named each time: a syslogd that starts again has another.
    pub fn send(&self, kind: LogTypes, at: &Zoned, text: &str) -> io::Result<()> {
        let priority = self.facility * 8 + severity(kind);
        let time = at.strftime("%b %e %H:%M:%S");
        let line = format!("<{priority}>{time} mosquitto[{}]: {text}", std::process::id());
        self.socket.send_to(line.as_bytes(), &self.path).map(drop)
    }
}

/// The severity that mosquitto gives to a type of line.
fn severity(kind: LogTypes) -> u8 {
    const ERROR: u8 = 3;
    const WARNING: u8 = 4;
    const NOTICE: u8 = 5;
    const INFORMATION: u8 = 6;
    const DEBUG: u8 = 7;
    let severities = [
        (LogTypes::ERROR, ERROR),
        (LogTypes::WARNING, WARNING),
        (LogTypes::NOTICE, NOTICE),
        (LogTypes::SUBSCRIBE, NOTICE),
        (LogTypes::UNSUBSCRIBE, NOTICE),
        (LogTypes::DENIED, NOTICE),
        (LogTypes::INFORMATION, INFORMATION),
    ];
    severities.iter().find(|(one, _)| *one == kind).map_or(DEBUG, |(_, severity)| *severity)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn lines_as_a_syslogd_reads_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let system = UnixDatagram::bind(&path).expect("bound");
        let at = Timestamp::from_second(1_793_610_154).expect("a time").to_zoned(TimeZone::UTC);
        let pid = std::process::id();
        for (facility, kind, priority) in
            [(None, LogTypes::NOTICE, 29), (Some(5), LogTypes::ERROR, 171), (Some(0), LogTypes::DEBUG, 135)]
        {
            Syslog::new(&path, facility).expect("opens").send(kind, &at, "hello").expect("sent");
            let mut buffer = [0; 200];
            let length = system.recv(&mut buffer).expect("received");
            let line = std::str::from_utf8(&buffer[..length]).expect("text");
            assert_eq!(line, format!("<{priority}>Nov  2 09:02:34 mosquitto[{pid}]: hello"));
        }
        drop(system);
        let lost = Syslog::new(&path, None).expect("opens").send(LogTypes::ERROR, &at, "x");
        assert!(lost.is_err(), "and the broker goes on");
    }
}
