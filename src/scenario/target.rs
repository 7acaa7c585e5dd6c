//! The broker and the certificates that a scenario asks for.

use std::time::Duration;

use crate::diagnostic::Span;

/// Broker and certificates of a case.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// What becomes mosquitto.conf, a password file and an ACL file.
    pub broker: BrokerSpec,
    /// What rcgen makes.
    pub pki: Vec<Certificate>,
}

/// The `broker:` key.
#[derive(Debug, Clone, Default)]
pub struct BrokerSpec {
    /// `allow_anonymous`; `None`: false when there are users, else true.
    pub allow_anonymous: Option<bool>,
    /// Accounts and their rights.
    pub users: Vec<UserSpec>,
    /// Listeners; empty means one plain one.
    pub listeners: Vec<ListenerSpec>,
    /// Other mosquitto.conf options, name and value.
    pub settings: Vec<(String, String, Span)>,
    /// Connections to peers of the scenario.
    pub bridges: Vec<BridgeSpec>,
    /// A mosquitto.conf to take over, ports and paths moved.
    pub config: Option<FileText>,
    /// An ACL file, instead of the users' `allow`.
    pub acl: Option<FileText>,
    /// A password file, as it is; users' passwords are then given under `users`.
    pub password_file: Option<FileText>,
}

/// A file that the scenario names or holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileText {
    /// Path as written (resolved against the scenario file), or a name for text within the YAML.
    pub path: String,
    /// The text.
    pub text: String,
    /// For text within the YAML: line of the scenario file that its first line stands on.
    pub embedded_at: Option<usize>,
}

/// One account.
#[derive(Debug, Clone)]
pub struct UserSpec {
    /// User name.
    pub name: String,
    /// Password; made for the run when `None`.
    pub password: Option<String>,
    /// Kept for SCRAM-SHA-256.
    pub scram: bool,
    /// ACL lines: access word (`read`, `write`, `readwrite`, `deny`) and filter.
    pub allow: Vec<(String, String)>,
    /// Where it is defined.
    pub span: Span,
}

/// One listener.
#[derive(Debug, Clone)]
pub struct ListenerSpec {
    /// Name for `listener:` of clients and for variables.
    pub name: String,
    /// `mqtt` or `websockets`.
    pub websockets: bool,
    /// Name of its certificate in `pki`; TLS if present.
    pub cert: Option<String>,
    /// Options of this listener, name and value.
    pub settings: Vec<(String, String, Span)>,
    /// Where it is defined.
    pub span: Span,
}

/// One `connection` block of mosquitto.conf.
#[derive(Debug, Clone)]
pub struct BridgeSpec {
    /// Name of the connection.
    pub name: String,
    /// The peer at its other end.
    pub peer: String,
    /// Options of this connection, name and value.
    pub settings: Vec<(String, String, Span)>,
    /// Where it is defined.
    pub span: Span,
}

/// One certificate to make.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Name within the scenario.
    pub name: String,
    /// Name of the authority that signs it; `None`: it is an authority itself.
    pub ca: Option<String>,
    /// Subject alternative names: host names and addresses.
    pub san: Vec<String>,
    /// Start of validity relative to the run's start, may be negative (seconds).
    pub not_before: i64,
    /// End of validity relative to the run's start, may be negative (seconds).
    pub not_after: i64,
    /// Where it is defined.
    pub span: Span,
}

impl Certificate {
    /// Validity if nothing is said: from a day ago for 30 days.
    pub const DEFAULT_NOT_BEFORE: i64 = -86_400;
    /// See [`Self::DEFAULT_NOT_BEFORE`].
    pub const DEFAULT_NOT_AFTER: i64 = 29 * 86_400;
}

/// How long a client waits unless told otherwise (`within`).
pub const DEFAULT_WITHIN: Duration = Duration::from_secs(2);
