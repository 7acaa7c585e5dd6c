//! Which versions and cipher suites are spoken: OpenSSL's names and lists (openssl-ciphers(1)) read
//! as a choice among the nine suites that there are here.
//!
//! Only suites with forward secrecy and authenticated encryption exist here, so that most of
//! OpenSSL's groups are either all of them or none.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite as suite, default_provider};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion};

use super::material::MaterialError;

/// The lowest version that is spoken; there is none below 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

/// Versions and cipher suites of one side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protocol {
    /// `tls_version`
    pub min_version: MinVersion,
    /// `ciphers`: suites of TLS 1.2, as openssl-ciphers(1) has them; `None` is all.
    pub ciphers: Option<String>,
    /// `ciphers_tls1.3`: suites of TLS 1.3, parted by colons; `None` is all.
    pub ciphers_tls13: Option<String>,
}

impl Protocol {
    /// For the builders of configurations.
    pub(super) fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self.min_version {
            MinVersion::Tls12 => &BOTH,
            MinVersion::Tls13 => &BOTH[..1],
        }
    }

    /// The provider with the chosen suites alone, in the chosen order.
    pub fn provider(&self) -> Result<Arc<CryptoProvider>, MaterialError> {
        let newer: Vec<&Suite> = match &self.ciphers_tls13 {
            None => NEWER.iter().collect(),
            Some(list) => chosen_by_name(list),
        };
        if let (true, Some(list)) = (newer.is_empty(), &self.ciphers_tls13) {
            return Err(MaterialError::Ciphers13 { list: list.clone(), known: names(&NEWER) });
        }
        let older: Vec<&Suite> = match &self.ciphers {
            None => OLDER.iter().collect(),
            Some(list) => chosen_by_list(list),
        };
        if let (true, Some(list)) = (older.is_empty(), &self.ciphers) {
            return Err(MaterialError::Ciphers { list: list.clone(), known: names(&OLDER) });
        }
        let cipher_suites = newer.iter().chain(&older).map(|suite| suite.suite).collect();
        Ok(Arc::new(CryptoProvider { cipher_suites, ..default_provider() }))
    }
}

/// A cipher suite as OpenSSL calls it; `TLS_…` where it has no other name for it.
pub fn cipher_name(suite: CipherSuite) -> &'static str {
    let known = NEWER.iter().chain(&OLDER).find(|known| known.suite.suite() == suite);
    known.map_or_else(|| suite.as_str().unwrap_or("unknown"), |known| known.name)
}

/// One cipher suite under OpenSSL's name.
struct Suite {
    suite: SupportedCipherSuite,
    name: &'static str,
}

/// Of TLS 1.3, in the order of preference.
static NEWER: [Suite; 3] = [
    Suite { suite: suite::TLS13_AES_256_GCM_SHA384, name: "TLS_AES_256_GCM_SHA384" },
    Suite { suite: suite::TLS13_CHACHA20_POLY1305_SHA256, name: "TLS_CHACHA20_POLY1305_SHA256" },
    Suite { suite: suite::TLS13_AES_128_GCM_SHA256, name: "TLS_AES_128_GCM_SHA256" },
];

/// Of TLS 1.2, in OpenSSL's order.
static OLDER: [Suite; 6] = [
    Suite { suite: suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, name: "ECDHE-ECDSA-AES256-GCM-SHA384" },
    Suite { suite: suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, name: "ECDHE-RSA-AES256-GCM-SHA384" },
    Suite {
        suite: suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
    },
    Suite { suite: suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, name: "ECDHE-RSA-CHACHA20-POLY1305" },
    Suite { suite: suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, name: "ECDHE-ECDSA-AES128-GCM-SHA256" },
    Suite { suite: suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, name: "ECDHE-RSA-AES128-GCM-SHA256" },
];

fn names(suites: &[Suite]) -> String {
    suites.iter().map(|suite| suite.name).collect::<Vec<_>>().join(":")
}

/// `ciphers_tls1.3`: names alone; OpenSSL passes over those that it does not know.
fn chosen_by_name(list: &str) -> Vec<&'static Suite> {
    let mut chosen: Vec<&Suite> = Vec::new();
    for name in list.split(':') {
        if let Some(suite) = NEWER.iter().find(|suite| suite.name == name.trim())
            && !chosen.iter().any(|other| other.name == suite.name)
        {
            chosen.push(suite);
        }
    }
    chosen
}

/// `ciphers`: words that add, move, take away, and forbid.
fn chosen_by_list(list: &str) -> Vec<&'static Suite> {
    let mut chosen: Vec<&Suite> = Vec::new();
    let mut forbidden: Vec<&str> = Vec::new();
    for word in list.split([':', ',', ' ', ';']).filter(|word| !word.is_empty()) {
        if word == "@STRENGTH" {
            chosen.sort_by_key(|suite| suite.name.contains("AES128"));
            continue;
        }
        let (verb, group) = match word.split_at_checked(1) {
            Some((verb @ ("!" | "-" | "+"), group)) => (verb, group),
            _ => ("", word),
        };
        let meant = |suite: &&Suite| group.split('+').all(|part| belongs(suite, part));
        match verb {
            "!" => {
                forbidden.extend(OLDER.iter().filter(meant).map(|suite| suite.name));
                chosen.retain(|suite| !forbidden.contains(&suite.name));
            }
            "-" => chosen.retain(|suite| !meant(suite)),
            // To the end, where it is there at all.
            "+" => chosen.sort_by_key(meant),
            _ => {
                let there: Vec<&str> = chosen.iter().map(|suite| suite.name).collect();
                let is_new =
                    |suite: &&Suite| !there.contains(&suite.name) && !forbidden.contains(&suite.name);
                chosen.extend(OLDER.iter().filter(meant).filter(is_new));
            }
        }
    }
    chosen
}

/// Whether a suite of TLS 1.2 is one of those that a word means. Words that OpenSSL knows for
/// suites that are not here mean none, as do words that nobody knows.
fn belongs(suite: &Suite, word: &str) -> bool {
    let name = suite.name;
    match word {
        "ALL" | "DEFAULT" | "HIGH" | "TLSv1.2" | "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" | "ECDH" => true,
        "aRSA" => name.contains("-RSA-"),
        "aECDSA" | "ECDSA" => name.contains("-ECDSA-"),
        "AES" | "AESGCM" | "FIPS" => name.contains("AES"),
        "AES128" | "AES256" | "CHACHA20" => name.contains(word),
        "SUITEB128" => name.contains("-ECDSA-AES"),
        "SUITEB128ONLY" => name.contains("-ECDSA-AES128"),
        "SUITEB192" => name.contains("-ECDSA-AES256"),
        _ => word == name || suite.suite.suite().as_str() == Some(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(list: &str) -> Vec<&'static str> {
        chosen_by_list(list).iter().map(|suite| suite.name).collect()
    }

    /// Each line as `openssl ciphers -v` of 3.0 answers it, as far as the suites are here; its own
    /// answers are compared in tests/it.
    #[test]
    fn lists_mean_what_openssl_means() {
        assert_eq!(chosen("DEFAULT:!aNULL:!eNULL:!LOW:!EXPORT:!SSLv2:@STRENGTH").len(), 6);
        assert_eq!(
            chosen("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"),
            ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(chosen("aRSA+AESGCM"), ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(chosen("CHACHA20:!aECDSA"), ["ECDHE-RSA-CHACHA20-POLY1305"]);
        assert_eq!(chosen("!AES:ALL").len(), 2);
        assert_eq!(chosen("ALL:-AES:AES128:+aRSA").len(), 4);
        assert_eq!(chosen("ALL:-AES:AES128:+aRSA")[3], "ECDHE-RSA-AES128-GCM-SHA256");
        assert_eq!(chosen("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), ["ECDHE-RSA-AES128-GCM-SHA256"]);
        for none in ["", "AES128-SHA", "RC4:MD5", "ALL:!HIGH", "kRSA", "ECDHE+nonsense"] {
            assert_eq!(chosen(none), [""; 0], "{none}");
        }
    }

    #[test]
    fn suites_of_the_newest_version_are_named_one_by_one() {
        let both = Protocol {
            ciphers_tls13: Some("TLS_AES_128_CCM_SHA256:TLS_AES_128_GCM_SHA256".to_owned()),
            ..Protocol::default()
        };
        let provider = both.provider().expect("one of them is here");
        let named: Vec<&str> = provider.cipher_suites.iter().map(|it| cipher_name(it.suite())).collect();
        assert_eq!(named[0], "TLS_AES_128_GCM_SHA256");
        assert_eq!(named.len(), 7, "those of TLS 1.2 are chosen apart: {named:?}");
        let none = Protocol { ciphers_tls13: Some("AES".to_owned()), ..Protocol::default() };
        let error = none.provider().expect_err("nothing is left").to_string();
        assert!(error.contains("TLS_AES_256_GCM_SHA384"), "{error}");
    }
}
