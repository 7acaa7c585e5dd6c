//! What a packet script configures: its `set`, `listener`, `acl`, `passwd` and `log` lines as a
//! [`Config`] and [`Rules`]. Plays nothing; values are not checked as those of a real file are.

use std::sync::Arc;
use std::time::Duration;

use mqttlab::broker::auth::{Acl, Passwords, Rules, Zone};
use mqttlab::broker::config::{Compat, Config, ListenerConfig, LogConfig, SecurityConfig, SessionLimits};
use mqttlab::broker::log::LogTypes;
use mqttlab::diagnostic::Source;
use mqttlab::mqtt::{ProtocolVersion, QoS};

/// What a script may set before the engine starts and at a reload.
#[derive(Clone)]
pub struct Setup {
    pub limits: SessionLimits,
    pub listeners: Vec<ListenerConfig>,
    pub security: SecurityConfig,
    pub compat: Compat,
    pub anonymous: bool,
    pub logs: LogTypes,
    pub acl: Option<String>,
    pub passwords: Option<String>,
    pub sys_interval: Option<Duration>,
    pub persistence: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: SessionLimits::default(),
            listeners: vec![ListenerConfig::default()],
            security: SecurityConfig::default(),
            compat: Compat::V21,
            anonymous: true,
            logs: LogTypes::NONE,
            acl: None,
            passwords: None,
            sys_interval: None,
            persistence: false,
        }
    }
}

impl Setup {
    /// For the engine.
    pub fn config(&self) -> Arc<Config> {
        Arc::new(Config {
            listeners: self.listeners.clone(),
            security: vec![self.security.clone()],
            limits: self.limits.clone(),
            log: LogConfig { types: self.logs, ..LogConfig::default() },
            compat: self.compat,
            sys_interval: self.sys_interval,
            ..Config::default()
        })
    }

    /// For the engine.
    pub fn rules(&self) -> Result<Arc<Rules>, String> {
        let acl = match &self.acl {
            Some(text) => Some(Acl::parse(&Source::new("acl", text.clone())).map_err(|e| format!("{e:?}"))?),
            None => None,
        };
        let passwords = match &self.passwords {
            Some(text) => Some(
                Passwords::parse(&Source::new("passwd", text.clone()), self.compat)
                    .map_err(|e| format!("{e:?}"))?,
            ),
            None => None,
        };
        Ok(Arc::new(Rules::new(vec![Zone { allow_anonymous: self.anonymous, passwords, acl }])))
    }

    /// `set`, `acl`, `passwd` and `log` lines; false for another line.
    pub fn read(&mut self, line: &str) -> Result<bool, String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "acl" => {
                let acl = self.acl.get_or_insert_default();
                acl.push_str(rest);
                acl.push('\n');
            }
            "passwd" if rest == "forget" => self.passwords = None,
            "passwd" => {
                let passwords = self.passwords.get_or_insert_default();
                passwords.push_str(rest);
                passwords.push('\n');
            }
            "log" => {
                let kind = match rest {
                    "notice" => LogTypes::NOTICE.with(LogTypes::ERROR),
                    "debug" => LogTypes::DEBUG,
                    "subscribe" => LogTypes::SUBSCRIBE.with(LogTypes::UNSUBSCRIBE),
                    "denied" => LogTypes::DENIED,
                    other => return Err(format!("log type {other}?")),
                };
                self.logs = self.logs.with(kind);
            }
            "listener" => self.listeners.push(ListenerConfig::default()),
            "set" => match rest.split_once(' ') {
                Some((name, value)) => self.set(name, value)?,
                None => return Err("set NAME VALUE".to_owned()),
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        if self.set_limit(name, value)? || self.set_switch(name, value)? {
            return Ok(());
        }
        let number = || value.parse::<u16>().map_err(|e| format!("{name}: {e}"));
        let listener = self.listeners.last_mut().ok_or("a listener")?;
        match name {
            "max_connections" => listener.max_connections = Some(number()?.into()),
            "max_qos" => {
                let qos = u8::try_from(number()?).ok().and_then(QoS::from_u8);
                listener.max_qos = qos.ok_or("max_qos 0, 1 or 2")?;
            }
            "max_topic_alias" => listener.max_topic_alias = number()?,
            "max_topic_alias_broker" => listener.max_topic_alias_broker = number()?,
            "mount_point" => listener.mount_point = Some(value.to_owned()),
            "accept_protocol_versions" => {
                let versions = value.split(',').map(ProtocolVersion::parse).collect::<Option<_>>();
                listener.versions = versions.ok_or("versions")?;
            }
            "auto_id_prefix" => value.clone_into(&mut self.security.auto_id_prefix),
            "clientid_prefixes" => self.limits.clientid_prefixes = Some(value.to_owned()),
            "sys_interval" => {
                let secs = u64::from(number()?);
                self.sys_interval = (secs > 0).then(|| Duration::from_secs(secs));
            }
            "persistence" => self.persistence = value == "true",
            "compat" => {
                self.compat = Compat::parse(value).ok_or("compat 2.0 or 2.1")?;
                if self.limits != SessionLimits::default() {
                    return Err("compat stands before other options".to_owned());
                }
                self.limits = SessionLimits::of(self.compat);
            }
            other => return Err(format!("no option {other}")),
        }
        Ok(())
    }

    /// Options that are numbers; false for another one.
    fn set_limit(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let number = || value.parse::<u32>().map_err(|e| format!("{name}: {e}"));
        let small = || value.parse::<u16>().map_err(|e| format!("{name}: {e}"));
        let secs = || number().map(|secs| Some(Duration::from_secs(secs.into())));
        let limits = &mut self.limits;
        match name {
            "max_inflight_messages" => limits.max_inflight_messages = small()?,
            "max_inflight_bytes" => limits.max_inflight_bytes = number()?.into(),
            "max_queued_messages" => limits.max_queued_messages = number()?,
            "max_queued_bytes" => limits.max_queued_bytes = number()?.into(),
            "max_packet_size" => limits.max_packet_size = number()?,
            "max_keepalive" => limits.max_keepalive = small()?,
            "message_size_limit" => limits.message_size_limit = number()?,
            "memory_limit" => limits.memory_limit = Some(number()?.into()),
            "global_max_clients" => limits.global_max_clients = Some(number()?),
            "global_max_connections" => limits.global_max_connections = Some(number()?),
            "persistent_client_expiration" => limits.persistent_client_expiration = secs()?,
            "retain_expiry_interval" => limits.retain_expiry_interval = secs()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options that are true or false; false for another one.
    fn set_switch(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let limits = &mut self.limits;
        let switch = match name {
            "queue_qos0_messages" => &mut limits.queue_qos0_messages,
            "retain_available" => &mut limits.retain_available,
            "upgrade_outgoing_qos" => &mut limits.upgrade_outgoing_qos,
            "allow_duplicate_messages" => &mut limits.allow_duplicate_messages,
            "check_retain_source" => &mut limits.check_retain_source,
            "allow_zero_length_clientid" => &mut self.security.allow_zero_length_clientid,
            "use_username_as_clientid" => {
                &mut self.listeners.last_mut().ok_or("a listener")?.use_username_as_clientid
            }
            "allow_anonymous" => &mut self.anonymous,
            _ => return Ok(false),
        };
        *switch = value.parse().map_err(|e| format!("{name}: {e}"))?;
        Ok(true)
    }
}
