//! What is recorded of TLS connections: `--tls-log`, what reports ask for by themselves, and `SSLKEYLOGFILE`.

use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;

use super::complain;
use super::outputs::ReportArg;
use crate::runner::{TlsDepth, TlsLog};
use crate::tls::key_log::KeyLogFile;

/// Names the file of TLS keys for programs that use OpenSSL or NSS, and for us.
const KEY_LOG_FILE: &str = "SSLKEYLOGFILE";

/// `--tls-log`
#[derive(Debug, clap::Args)]
pub struct TlsArgs {
    /// What captures and event logs hold of TLS connections, below the packets
    ///
    /// For --report pcapng, which has the records without this, json and blob. If SSLKEYLOGFILE is set in the
    /// environment, all keys are added to the file that it names, whatever stands here.
    #[arg(long, value_name = "WHAT", help_heading = "Reports")]
    tls_log: Option<What>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// What was on the wire; in TLS 1.3 all after the hellos is encrypted
    Records,
    /// The keys of handshakes too: they open certificates and alerts, and nothing that was sent
    Handshakes,
    /// All keys too: who gets the report can read everything that was sent, passwords included
    Keys,
}

impl TlsArgs {
    /// What the runner is to record for these reports; the error is one sentence about the command line.
    pub fn chosen(&self, reports: &[ReportArg]) -> Result<TlsLog, String> {
        if self.tls_log.is_some() && !reports.iter().any(ReportArg::holds_tls) {
            return Err(
                "--tls-log is for captures and event logs: add --report pcapng=FOLDER, or json or blob"
                    .into(),
            );
        }
        let depth = match self.tls_log {
            Some(What::Records) => TlsDepth::Records,
            Some(What::Handshakes) => TlsDepth::Handshakes,
            Some(What::Keys) => TlsDepth::Keys,
            None if reports.iter().any(ReportArg::asks_for_tls) => TlsDepth::Records,
            None => TlsDepth::Nothing,
        };
        Ok(TlsLog { depth, keys: key_log_file() })
    }
}

/// The file that the environment names. One that cannot be written stops nobody: it may be meant for other
/// programs.
fn key_log_file() -> Option<Arc<KeyLogFile>> {
    let name = std::env::var_os(KEY_LOG_FILE).filter(|name| !name.is_empty())?;
    let path = Path::new(&name);
    match KeyLogFile::open(path) {
        Ok(file) => Some(Arc::new(file)),
        Err(error) => {
            complain(format_args!("warning: {KEY_LOG_FILE}: cannot write {}: {error}", path.display()));
            None
        }
    }
}
