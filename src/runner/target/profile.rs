//! Profiles: what a broker that we did not set up can do, and which accounts it has. JSON.
//!
//! What a profile rules out is Skipped. Whether a broker keeps to its profile is not looked at here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::read_text;
use crate::runner::EnvironmentError;
use crate::scenario::Capability;
use crate::text::did_you_mean;

/// What a profile file says. All of it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Name and version for reports and `known`: `emqx 5.8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where what is said here is from: addresses of documents, or how it was found out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<String>,
    /// What not every broker can, with the names of `requires`; without it [`USUAL`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// What nearly every broker can ([`ORDINARY`]) and this one cannot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// How far it goes.
    #[serde(skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// The keep-alive that a CONNECT of a packet block gets which names none, seconds: for a broker that
    /// refuses clients without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<u16>,
    /// Accounts that exist there: name and password.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub accounts: BTreeMap<String, String>,
    /// Name of the account that may read and write everything: sends sentinels and probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// The same for the client that watches; else that of `control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<String>,
    /// PEM file of the authority of a `mqtts://` or `wss://` address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cafile: Option<String>,
    /// Headers of the request that opens a `ws://` or `wss://` address: name and value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// How far a broker goes; what is not there is as far as the standard goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of the largest packet that it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet_size: Option<u32>,
    /// Levels of a topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_levels: Option<u16>,
    /// The shortest keep-alive that it heeds, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive_least: Option<u16>,
}

impl Limits {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The keys, for `mqttlab explain profile`.
pub const KEYS: &[(&str, &str)] = &[
    ("name", "name and version of the broker for reports, `known` and baselines: emqx 5.8"),
    ("source", "where what is said here is from: a list of addresses of documents or of sentences"),
    (
        "capabilities",
        "what it can do of that which not every broker can (mqttlab explain requires); without this \
         key qos2, retain, shared and v5. A scenario that uses something else is skipped",
    ),
    (
        "lacks",
        "what it cannot do of that which nearly every broker can: qos1, wildcards, subscription_ids, \
         topic_aliases, in_flight, sessions, assigned_ids, anonymous, sys, v3.1.1",
    ),
    (
        "limits",
        "packet_size (bytes), topic_levels, keep_alive_least (seconds); a scenario that goes beyond is skipped",
    ),
    (
        "keep_alive",
        "the keep-alive, seconds, that a CONNECT line of a packet block gets which names none: for a broker \
         that refuses clients without one",
    ),
    ("accounts", "accounts that exist there: names with their passwords"),
    ("control", "the account that may read and write everything; it shows that the broker works"),
    ("witness", "the same for the client that watches; without this key that of control"),
    ("cafile", "PEM file of the authority of an mqtts:// or wss:// address"),
    ("headers", "headers of the request that opens a ws:// or wss:// address: names with their values"),
];

/// A profile that works.
pub const EXAMPLE: &str = r#"{
  "name": "our broker 1.0",
  "source": ["mqttlab probe mqtt://broker.example.org"],
  "capabilities": ["retain", "v5"],
  "lacks": ["subscription_ids"],
  "limits": {"packet_size": 131072},
  "accounts": {"admin": "secret"},
  "control": "admin"
}"#;

/// What a broker is taken to be able to do unless its profile lacks it.
pub const ORDINARY: [Capability; 10] = [
    Capability::Qos1,
    Capability::Wildcards,
    Capability::SubscriptionIds,
    Capability::TopicAliases,
    Capability::InFlight,
    Capability::Sessions,
    Capability::AssignedIds,
    Capability::Anonymous,
    Capability::Sys,
    Capability::V311,
];

/// What it is taken to be able to do besides if there is no word of it.
const USUAL: [Capability; 4] = [Capability::Qos2, Capability::Retain, Capability::Shared, Capability::V5];

impl Profile {
    /// Reads a file.
    ///
    /// # Errors
    /// One sentence with the file, and the line where there is one.
    pub fn read(path: &Path) -> Result<Self, EnvironmentError> {
        let no_target =
            |why: String| EnvironmentError::NoTarget { message: format!("{}: {why}", path.display()) };
        let profile: Self =
            serde_json::from_str(&read_text(path)?).map_err(|error| no_target(error.to_string()))?;
        profile.can().map_err(no_target)?;
        Ok(profile)
    }

    /// All that the broker can do.
    ///
    /// # Errors
    /// A word that is no capability.
    pub fn can(&self) -> Result<BTreeSet<Capability>, String> {
        let mut can: BTreeSet<Capability> = match &self.capabilities {
            Some(names) => names.iter().map(|name| capability(name)).collect::<Result<_, _>>()?,
            None => USUAL.into(),
        };
        can.extend(ORDINARY);
        for name in &self.lacks {
            can.remove(&capability(name)?);
        }
        Ok(can)
    }
}

fn capability(word: &str) -> Result<Capability, String> {
    let found = Capability::ALL.into_iter().find(|(_, known)| *known == word);
    found.map(|(capability, _)| capability).ok_or_else(|| {
        let names = Capability::ALL.map(|(_, name)| name);
        match did_you_mean(word, names) {
            Some(meant) => format!("`{word}` is no capability, did you mean {meant}?"),
            None => format!("`{word}` is no capability; there are {}", names.join(", ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_works_and_every_key_is_known() {
        let profile: Profile = serde_json::from_str(EXAMPLE).expect("valid");
        let can = profile.can().expect("known words");
        assert!(can.contains(&Capability::Retain) && can.contains(&Capability::Qos1));
        assert!(!can.contains(&Capability::Qos2) && !can.contains(&Capability::SubscriptionIds));
        for (key, _) in KEYS {
            let tried = serde_json::from_str::<Profile>(&format!("{{\"{key}\": true}}"));
            let why = tried.expect_err("no key has a boolean").to_string();
            assert!(!why.contains("unknown field"), "{why}");
        }
    }

    #[test]
    fn a_misspelt_capability_is_told() {
        let profile = Profile { lacks: vec!["wildcard".into()], ..Profile::default() };
        assert_eq!(profile.can(), Err("`wildcard` is no capability, did you mean wildcards?".to_owned()));
    }
}
