//! The catalogue of normative statements of MQTT 3.1.1 and 5.0, found by version and id.
//!
//! An id means nothing without its version: 121 ids are used by both standards, 54 of them for
//! another rule. The texts are paraphrases; the standard counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use crate::mqtt::ProtocolVersion;

/// One normative statement, or one unlabelled requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// `MQTT-3.3.1-4`; `U5-…` and `U311-…` for requirements that the standard gives no label.
    pub id: String,
    /// Chapter and its title.
    pub section: String,
    /// Whom it binds: `server`, `client` or `both`.
    pub role: String,
    /// Whether a black-box run against a broker can test it: `yes`, `partly…`, `no…`.
    pub broker_testable: String,
    /// Whether watching a client can test it: `yes`, `partly…`, `no…`.
    pub client_testable: String,
    /// In our words.
    pub paraphrase: String,
}

/// A standard whose statements have ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standard {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

impl Standard {
    /// Both, oldest first.
    pub const ALL: [Self; 2] = [Self::V311, Self::V5];

    /// The one whose ids are used for a revision. MQTT 3.1 labels none and shares those of 3.1.1.
    pub const fn of(version: ProtocolVersion) -> Self {
        if version.is_v5() { Self::V5 } else { Self::V311 }
    }

    /// The revision that it describes.
    pub const fn version(self) -> ProtocolVersion {
        match self {
            Self::V311 => ProtocolVersion::V311,
            Self::V5 => ProtocolVersion::V5,
        }
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.version())
    }
}

/// How the standards misprint their own labels, and the label that is meant.
const ALIASES: &[(ProtocolVersion, &str, &str)] = &[
    (ProtocolVersion::V311, "MQTT-3.1.2.7", "MQTT-3.1.2-7"),
    (ProtocolVersion::V311, "MQTT-3-8.3-4", "MQTT-3.8.3-4"),
    (ProtocolVersion::V311, "MQTT-3.3.1.-1", "MQTT-3.3.1-1"),
    (ProtocolVersion::V5, "MQTT-4.2-1", "MQTT-4.2.0-1"),
];

type Catalogue = BTreeMap<String, Statement>;

static V311: LazyLock<Catalogue> =
    LazyLock::new(|| read(include_str!("../../fixtures/statements/mqtt311.csv"), "U311-"));
static V5: LazyLock<Catalogue> =
    LazyLock::new(|| read(include_str!("../../fixtures/statements/mqtt5.csv"), "U5-"));

/// All statements of a revision, by id. MQTT 3.1 labels none and shares those of 3.1.1.
pub fn all(version: ProtocolVersion) -> impl Iterator<Item = &'static Statement> {
    catalogue(version).values()
}

/// The statement with this label. Misprinted labels are understood, brackets too.
pub fn lookup(version: ProtocolVersion, id: &str) -> Option<&'static Statement> {
    let id = id.trim().trim_start_matches('[').trim_end_matches(']');
    let meant = ALIASES
        .iter()
        .find(|(of, misprint, _)| of.is_v5() == version.is_v5() && *misprint == id)
        .map_or(id, |(_, _, meant)| meant);
    catalogue(version).get(meant)
}

fn catalogue(version: ProtocolVersion) -> &'static Catalogue {
    if version.is_v5() { &V5 } else { &V311 }
}

/// The numbered statements of one file, and the unnumbered ones of that version.
fn read(numbered: &str, prefix: &str) -> Catalogue {
    let unnumbered = include_str!("../../fixtures/statements/unnumbered.csv");
    let more = unnumbered.lines().skip(1).filter(|line| line.starts_with(prefix));
    numbered
        .lines()
        .skip(1)
        .chain(more)
        .filter_map(|line| {
            let mut fields = split_csv(line).into_iter();
            let statement = Statement {
                id: fields.next()?,
                section: fields.next()?,
                role: fields.next()?,
                broker_testable: fields.next()?,
                client_testable: fields.next()?,
                paraphrase: fields.next()?,
            };
            Some((statement.id.clone(), statement))
        })
        .collect()
}

/// One line of CSV (RFC 4180, no line breaks within fields).
fn split_csv(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut().expect("starts with one field and only grows");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(version: ProtocolVersion) -> usize {
        all(version).filter(|statement| statement.id.starts_with("MQTT-")).count()
    }

    #[test]
    fn the_catalogues_are_complete() {
        assert_eq!(numbered(ProtocolVersion::V311), 141);
        assert_eq!(numbered(ProtocolVersion::V5), 251);
        assert!(all(ProtocolVersion::V5).any(|statement| statement.id.starts_with("U5-")));
        assert!(all(ProtocolVersion::V311).all(|statement| !statement.id.starts_with("U5-")));
        for version in ProtocolVersion::ALL {
            for statement in all(version) {
                assert!(matches!(statement.role.as_str(), "server" | "client" | "both"), "{statement:?}");
                assert!(!statement.paraphrase.is_empty(), "{statement:?}");
            }
        }
    }

    #[test]
    fn an_id_means_something_only_with_its_version() {
        let old = lookup(ProtocolVersion::V311, "MQTT-3.1.2-24").expect("keep alive");
        let new = lookup(ProtocolVersion::V5, "MQTT-3.1.2-24").expect("maximum packet size");
        assert_ne!(old.section, new.section);
        assert!(lookup(ProtocolVersion::V5, "MQTT-2.2.1-1").is_none(), "does not exist");
    }

    #[test]
    fn misprints_of_the_standards_are_understood() {
        for (version, misprint, meant) in ALIASES {
            assert_eq!(lookup(*version, misprint).expect("an alias").id, *meant);
        }
        assert!(lookup(ProtocolVersion::V5, "MQTT-3.1.2.7").is_none(), "a misprint of 3.1.1 only");
        assert_eq!(lookup(ProtocolVersion::V311, "[MQTT-4.7.2-1]").expect("bracketed").id, "MQTT-4.7.2-1");
    }

    #[test]
    fn quoted_fields_keep_their_commas() {
        assert_eq!(split_csv(r#"a,"b, ""c""",d"#), ["a", "b, \"c\"", "d"]);
    }
}
