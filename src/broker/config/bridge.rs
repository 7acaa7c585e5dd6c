//! A `connection` block as a value: which broker, which topics, with which rights.

use std::path::PathBuf;
use std::time::Duration;

use super::listener::TlsVersion;
use crate::mqtt::{ProtocolVersion, QoS};

/// One `connection` block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of mosquitto.conf(5)")]
pub struct BridgeConfig {
    /// `connection NAME`
    pub name: String,
    /// `address`, `addresses`: hosts and ports, the main one first.
    pub addresses: Vec<(String, u16)>,
    /// `round_robin`: the addresses are equal; otherwise the first one is gone back to.
    pub round_robin: bool,
    /// `topic`
    pub topics: Vec<BridgeTopic>,
    /// `bridge_protocol_version`
    pub version: ProtocolVersion,
    /// `try_private`: says in the protocol level that this is a bridge.
    pub try_private: bool,
    /// `remote_clientid`, `clientid`; `None` is this machine's host name, a dot and the name.
    pub remote_client_id: Option<String>,
    /// `remote_username`, `username`
    pub remote_username: Option<String>,
    /// `remote_password`, `password`
    pub remote_password: Option<String>,
    /// `local_clientid`; `None` is `local.` and the remote one.
    pub local_client_id: Option<String>,
    /// `local_username`
    pub local_username: Option<String>,
    /// `local_password`
    pub local_password: Option<String>,
    /// `cleansession`
    pub clean_session: bool,
    /// `local_cleansession`; `None` is as `cleansession`.
    pub local_clean_session: Option<bool>,
    /// `keepalive_interval`
    pub keep_alive: Duration,
    /// `start_type`, `idle_timeout`, `threshold`
    pub start: BridgeStart,
    /// `restart_timeout`
    pub restart: BridgeRestart,
    /// `notifications`, `notifications_local_only`
    pub notifications: BridgeNotifications,
    /// `notification_topic`
    pub notification_topic: Option<String>,
    /// `bridge_attempt_unsubscribe`
    pub attempt_unsubscribe: bool,
    /// `bridge_bind_address`
    pub bind_address: Option<String>,
    /// `bridge_max_packet_size`; 0 is any.
    pub max_packet_size: u32,
    /// `bridge_max_topic_alias`
    pub max_topic_alias: u16,
    /// `bridge_outgoing_retain`
    pub outgoing_retain: bool,
    /// `bridge_receive_maximum`
    pub receive_maximum: u16,
    /// `bridge_session_expiry_interval`, seconds; the largest number is for ever.
    pub session_expiry_secs: u32,
    /// `bridge_reload_type immediate`: SIGHUP's changes cut the connection.
    pub reload_at_once: bool,
    /// `bridge_tcp_keepalive`: idle, interval, count.
    pub tcp_keepalive: Option<(Duration, Duration, u32)>,
    /// `bridge_tcp_user_timeout`
    pub tcp_user_timeout: Option<Duration>,
    /// TLS, if any `bridge_` option of it is there.
    pub tls: Option<BridgeTls>,
}

/// One `topic` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeTopic {
    /// Filter, without prefixes. `None` is `""`: the prefixes alone are a topic each.
    pub pattern: Option<String>,
    /// Which way.
    pub direction: BridgeDirection,
    /// Of what is forwarded, at most.
    pub qos: QoS,
    /// Put before the pattern here.
    pub local_prefix: String,
    /// Put before the pattern there.
    pub remote_prefix: String,
}

/// Which way a topic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeDirection {
    /// From us to the other broker.
    Out,
    /// From the other broker to us.
    In,
    /// Both.
    Both,
}

/// `start_type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeStart {
    /// At once, and again after each loss.
    Automatic,
    /// When messages wait; ends when it has been idle.
    Lazy {
        /// Messages that must wait.
        threshold: u32,
        /// Time without messages.
        idle: Duration,
    },
    /// At once, and never again.
    Once,
}

/// `restart_timeout`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeRestart {
    /// The same pause each time.
    Constant(Duration),
    /// Random pauses that grow.
    Jitter {
        /// The shortest.
        base: Duration,
        /// The longest.
        cap: Duration,
        /// A connection that stood so long begins again at the shortest.
        stable: Duration,
    },
}

/// `notifications`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeNotifications {
    /// Nobody is told.
    None,
    /// `notifications_local_only`
    Local,
    /// Clients of both brokers.
    Both,
}

/// TLS towards the other broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BridgeTls {
    /// `bridge_cafile`
    pub cafile: Option<PathBuf>,
    /// `bridge_capath`
    pub capath: Option<PathBuf>,
    /// `bridge_tls_use_os_certs`
    pub system_authorities: bool,
    /// `bridge_certfile`
    pub certfile: Option<PathBuf>,
    /// `bridge_keyfile`
    pub keyfile: Option<PathBuf>,
    /// `bridge_insecure`: the name in the certificate is not compared.
    pub insecure: bool,
    /// `bridge_alpn`
    pub alpn: Option<String>,
    /// `bridge_tls_version`
    pub min_version: TlsVersion,
    /// `bridge_ciphers`
    pub ciphers: Option<String>,
    /// `bridge_ciphers_tls1.3`
    pub ciphers_tls13: Option<String>,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            addresses: Vec::new(),
            round_robin: false,
            topics: Vec::new(),
            version: ProtocolVersion::V311,
            try_private: true,
            remote_client_id: None,
            remote_username: None,
            remote_password: None,
            local_client_id: None,
            local_username: None,
            local_password: None,
            clean_session: false,
            local_clean_session: None,
            keep_alive: Duration::from_secs(60),
            start: BridgeStart::Automatic,
            restart: BridgeRestart::Jitter {
                base: Duration::from_secs(5),
                cap: Duration::from_secs(30),
                stable: Duration::ZERO,
            },
            notifications: BridgeNotifications::Both,
            notification_topic: None,
            attempt_unsubscribe: true,
            bind_address: None,
            max_packet_size: 0,
            max_topic_alias: 10,
            outgoing_retain: true,
            receive_maximum: 20,
            session_expiry_secs: u32::MAX,
            reload_at_once: false,
            tcp_keepalive: None,
            tcp_user_timeout: None,
            tls: None,
        }
    }
}
