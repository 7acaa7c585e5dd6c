//! The secrets of TLS sessions in the form of `SSLKEYLOGFILE`, for Wireshark: written to a file (`--tls-keylog` of
//! the broker), or handed to who asks for those of one configuration.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::{ClientConfig, KeyLog};

/// An open key log. Who can read it can read the traffic.
pub struct KeyLogFile {
    file: Mutex<File>,
}

impl KeyLogFile {
    /// Opens a file to append to; a new one is for its owner alone.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Adds a line, given without its end.
    pub fn write(&self, line: &str) {
        // A full disk must not end a session.
        let _ = self.file.lock().write_all(format!("{line}\n").as_bytes());
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.write(&line(label, client_random, secret));
    }
}

impl fmt::Debug for KeyLogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLogFile")
    }
}

/// `LABEL CLIENT_RANDOM SECRET`, in hex digits.
fn line(label: &str, client_random: &[u8], secret: &[u8]) -> String {
    let mut line = label.to_owned();
    for part in [client_random, secret] {
        line.push(' ');
        for byte in part {
            // Writing to a string cannot fail.
            let _ = write!(line, "{byte:02x}");
        }
    }
    line
}

/// The same configuration, with `see` told every secret of its connections, as a line without its end.
pub fn told(config: &ClientConfig, see: impl Fn(String) + Send + Sync + 'static) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.key_log = Arc::new(Told(see));
    Arc::new(config)
}

struct Told<F>(F);

impl<F: Fn(String) + Send + Sync> KeyLog for Told<F> {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        (self.0)(line(label, client_random, secret));
    }
}

impl<F> fmt::Debug for Told<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}
