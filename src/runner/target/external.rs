//! A broker that somebody else runs, at an address, with a profile of what it can do.
//!
//! It is never started, stopped or configured by us.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::profile::{Limits, Profile};
use super::{TargetError, read_text};
use crate::net::Endpoint;
use crate::runner::EnvironmentError;
use crate::runner::prepare::Account;
use crate::scenario::Capability;

/// A broker at an address.
#[derive(Debug, Clone)]
pub struct External {
    /// For reports: the profile's name, else the address without its credentials.
    pub name: String,
    /// What it can do.
    pub capabilities: BTreeSet<Capability>,
    /// How far it goes.
    pub limits: Limits,
    /// Keep-alive of a CONNECT that names none, seconds; `None`: it has none.
    pub keep_alive: Option<u16>,
    /// Accounts that exist there.
    pub accounts: BTreeMap<String, String>,
    /// May read and write everything; `None`: anonymous.
    pub control: Option<Account>,
    /// May read everything; `None`: anonymous.
    pub witness: Option<Account>,
    host: String,
    port: u16,
    tls: bool,
    authority: Option<String>,
    /// Path and query of a WebSocket's request; `None`: bare MQTT.
    websocket: Option<String>,
    headers: BTreeMap<String, String>,
}

/// What MQTT servers have their WebSocket under, where an address says nothing.
const PATH: &str = "/mqtt";

impl External {
    /// Reads the address and the profile.
    pub fn new(url: &str, profile: Option<&Path>) -> Result<Self, EnvironmentError> {
        let bad =
            |why: &str| EnvironmentError::NoTarget { message: format!("{why} (mqtt://user:pass@host:port)") };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("this is not an address"))?;
        let (tls, websocket, usual_port) = match scheme {
            "mqtt" => (false, false, 1883),
            "mqtts" => (true, false, 8883),
            "ws" => (false, true, 80),
            "wss" => (true, true, 443),
            other => {
                return Err(bad(&format!("`{other}://` is none of mqtt://, mqtts://, ws:// and wss://")));
            }
        };
        let (rest, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let path = match path {
            "" | "/" => PATH.to_owned(),
            _ if !websocket => return Err(bad("only ws:// and wss:// have a path")),
            path if path.starts_with('?') => format!("/{path}"),
            path => path.to_owned(),
        };
        let (credentials, place) = rest.rsplit_once('@').map_or((None, rest), |(c, place)| (Some(c), place));
        let (host, port) =
            host_and_port(place).ok_or_else(|| bad("the address has no usable host and port"))?;
        let account = credentials.map(|text| {
            let (name, password) = text.split_once(':').unwrap_or((text, ""));
            Account { name: percent_decoded(name), password: percent_decoded(password) }
        });
        let profile = profile.map(Profile::read).transpose()?.unwrap_or_default();
        let no_target = |message| EnvironmentError::NoTarget { message };
        let mut capabilities = profile.can().map_err(no_target)?;
        if websocket {
            capabilities.insert(Capability::Websocket);
        }
        let named = |name: &Option<String>| -> Result<Option<Account>, EnvironmentError> {
            let Some(name) = name else { return Ok(None) };
            let password = profile.accounts.get(name).ok_or_else(|| EnvironmentError::NoTarget {
                message: format!("the profile names {name}, who is not among its accounts"),
            })?;
            Ok(Some(Account { name: name.clone(), password: password.clone() }))
        };
        let control = named(&profile.control)?.or(account);
        let witness = named(&profile.witness)?.or_else(|| control.clone());
        let port = port.unwrap_or(usual_port);
        Ok(Self {
            name: profile.name.clone().unwrap_or_else(|| format!("{scheme}://{place}")),
            capabilities,
            limits: profile.limits,
            keep_alive: profile.keep_alive,
            control,
            witness,
            host: host.to_owned(),
            port,
            tls,
            authority: profile.cafile.as_deref().map(|path| read_text(Path::new(path))).transpose()?,
            accounts: profile.accounts,
            websocket: websocket.then_some(path),
            headers: profile.headers,
        })
    }

    /// Where clients connect.
    pub fn endpoint(&self) -> Result<Endpoint, TargetError> {
        let plain = if self.tls {
            super::tls_endpoint(&self.host, &self.host, self.port, self.authority.as_deref())?
        } else {
            Endpoint::Tcp { host: self.host.clone(), port: self.port }
        };
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(match &self.websocket {
            Some(path) => {
                let mut endpoint = plain.websocket();
                if let Endpoint::WebSocket { path: at, headers: more, .. } = &mut endpoint {
                    at.clone_from(path);
                    *more = headers;
                }
                endpoint
            }
            None => plain,
        })
    }
}

/// `host`, `host:port`, `[::1]:port`.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !host.is_empty() => Some((host, Some(port.parse().ok()?))),
        None if !text.is_empty() => Some((text, None)),
        _ => None,
    }
}

/// `%40` is `@`. What is no escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'%')
            .then(|| tail.get(..2).and_then(|two| std::str::from_utf8(two).ok()))
            .flatten()
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_credentials() {
        let plain = External::new("mqtt://broker.example.org", None).expect("an address");
        assert_eq!((plain.host.as_str(), plain.port, plain.tls), ("broker.example.org", 1883, false));
        assert_eq!(plain.control, None);
        let full = External::new("mqtts://bob:p%40ss:word@[::1]:8884/", None).expect("an address");
        assert_eq!((full.host.as_str(), full.port, full.tls), ("::1", 8884, true));
        let account = full.control.expect("given");
        assert_eq!((account.name.as_str(), account.password.as_str()), ("bob", "p@ss:word"));
        assert!(!full.name.contains("bob"), "{}", full.name);
        for (url, at, path) in [
            ("ws://h", "h:80", "/mqtt"),
            ("wss://h/", "h:443", "/mqtt"),
            ("ws://h:8080/a/b?c=d", "h:8080", "/a/b?c=d"),
            ("ws://u:p@[::1]?c", "[::1]:80", "/?c"),
        ] {
            let there = External::new(url, None).expect("an address");
            assert!(there.capabilities.contains(&Capability::Websocket));
            let Ok(Endpoint::WebSocket { over, path: found, .. }) = there.endpoint() else {
                panic!("{url} is a WebSocket")
            };
            assert_eq!((over.to_string().as_str(), found.as_str()), (at, path), "{url}");
        }
        for bad in
            ["broker", "http://x", "mqtt://", "mqtt://x:port", "mqtt://x:70000", "mqtt://x/path", "ws:///x"]
        {
            assert!(External::new(bad, None).is_err(), "{bad}");
        }
    }
}
