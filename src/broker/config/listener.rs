//! A `listener` block as a value: where it listens, what it speaks, its limits, its TLS.

use std::path::PathBuf;

use crate::mqtt::{ProtocolVersion, QoS};

/// One `listener` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// TCP port; 0 lets the system pick, unless there is a [`ListenerConfig::unix`] path.
    pub port: u16,
    /// `listener 0 /path`: a Unix socket instead of TCP.
    pub unix: Option<PathBuf>,
    /// `bind_address`, or the address of the `listener` line; `None` is every interface.
    pub bind: Option<String>,
    /// `bind_interface`: the network interface, by name.
    pub interface: Option<String>,
    /// `socket_domain`; both versions of IP unless told otherwise.
    pub domain: SocketDomain,
    /// `protocol`
    pub protocol: ListenerProtocol,
    /// Index into [`Config::security`](super::Config::security).
    pub security: usize,
    /// Present when `certfile` and `keyfile` are set.
    pub tls: Option<TlsFiles>,
    /// `max_connections`; `None` is any number.
    pub max_connections: Option<u32>,
    /// `max_qos`
    pub max_qos: QoS,
    /// `max_topic_alias`: the highest alias that a client may use, 0 is none.
    pub max_topic_alias: u16,
    /// `max_topic_alias_broker`: the highest that we use towards a client, 0 is none.
    pub max_topic_alias_broker: u16,
    /// `mount_point`: put before every topic that comes in, taken off every topic that goes out.
    pub mount_point: Option<String>,
    /// `use_username_as_clientid`
    pub use_username_as_clientid: bool,
    /// `accept_protocol_versions`
    pub versions: Vec<ProtocolVersion>,
    /// `enable_proxy_protocol`: the version of `HAProxy`'s header that must come first.
    pub proxy_protocol: Option<ProxyVersion>,
    /// `proxy_protocol_v2_require_tls`
    pub proxy_requires_tls: bool,
    /// `http_dir`: files that a `websockets` listener serves.
    pub http_dir: Option<PathBuf>,
    /// `websockets_origin`: the only origins that are let in; empty is all of them.
    pub origins: Vec<String>,
}

/// `socket_domain`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SocketDomain {
    /// Both versions.
    #[default]
    Any,
    /// `ipv4`
    V4,
    /// `ipv6`
    V6,
}

/// `protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListenerProtocol {
    /// `mqtt`: MQTT on the byte stream itself.
    #[default]
    Mqtt,
    /// `websockets`
    WebSockets,
}

/// `enable_proxy_protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// TLS of a listener: files and rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// Server chain, PEM.
    pub certfile: PathBuf,
    /// Server key, PEM.
    pub keyfile: PathBuf,
    /// Authorities for client certificates.
    pub cafile: Option<PathBuf>,
    /// A folder of them.
    pub capath: Option<PathBuf>,
    /// Revoked client certificates, PEM.
    pub crlfile: Option<PathBuf>,
    /// A client without a certificate is not let in.
    pub require_certificate: bool,
    /// Where the user name comes from.
    pub identity: TlsIdentity,
    /// `tls_version`
    pub min_version: TlsVersion,
    /// `ciphers`: OpenSSL's names of TLS 1.2 suites.
    pub ciphers: Option<String>,
    /// `ciphers_tls1.3`
    pub ciphers_tls13: Option<String>,
    /// `disable_client_cert_date_checks`
    pub ignore_client_dates: bool,
}

/// Where the user name of a TLS client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsIdentity {
    /// From its CONNECT.
    #[default]
    Connect,
    /// `use_identity_as_username`: the common name of its certificate.
    CommonName,
    /// `use_subject_as_username`: the whole subject, as RFC 2253 writes it.
    Subject,
}

/// `tls_version`: the lowest that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// TLS 1.2
    #[default]
    V12,
    /// TLS 1.3
    V13,
}

impl ListenerConfig {
    /// User names come from the clients' certificates.
    pub fn names_by_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.identity != TlsIdentity::Connect)
    }

    /// True if both listen at the same address.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        let place = |it: &Self| (it.port, it.bind.clone(), it.unix.clone());
        place(self) == place(other)
    }

    /// True if a change from one to the other opens or changes nothing but what a reload can change.
    pub(super) fn opens_as(&self, other: &Self) -> bool {
        let fixed = |it: &Self| (it.interface.clone(), it.domain, it.protocol, it.tls.clone());
        self.is_at(other) && fixed(self) == fixed(other)
    }
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            port: super::draft::DEFAULT_PORT,
            unix: None,
            bind: None,
            interface: None,
            domain: SocketDomain::Any,
            protocol: ListenerProtocol::Mqtt,
            security: 0,
            tls: None,
            max_connections: None,
            max_qos: QoS::ExactlyOnce,
            max_topic_alias: 10,
            max_topic_alias_broker: 10,
            mount_point: None,
            use_username_as_clientid: false,
            versions: ProtocolVersion::ALL.to_vec(),
            proxy_protocol: None,
            proxy_requires_tls: false,
            http_dir: None,
            origins: Vec::new(),
        }
    }
}
