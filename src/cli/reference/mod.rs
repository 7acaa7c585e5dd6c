//! The reference as entries, collected from the registries: what `mqttlab explain` prints. Holds
//! no knowledge of its own but the titles of the chapters.

mod language;

use indexmap::IndexMap;

use super::EXITS;
use crate::broker::config::options::{self, Hup, Scope, Status};
use crate::check::statements::Standard;
use crate::check::{CHECKS, statements};
use crate::mqtt::notation::{FieldDoc, PACKETS};
use crate::mqtt::packet::PacketType;
use crate::mqtt::property::PROPERTIES;
use crate::mqtt::{ProtocolVersion, ReasonCode};
use crate::report::REPORTS;
use crate::runner::profile;

/// One chapter of the reference.
#[derive(Debug)]
pub struct Chapter {
    /// As it is asked for.
    pub name: &'static str,
    /// What it holds, in a few words.
    pub doc: &'static str,
    /// Its entries.
    pub entries: fn() -> Vec<Entry>,
}

/// One thing that can be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// As it is written.
    pub name: String,
    /// One sentence.
    pub doc: String,
    /// More, each with a word what it is.
    pub details: Vec<(&'static str, String)>,
    /// Lines that use it.
    pub example: String,
}

/// All chapters.
pub const CHAPTERS: &[Chapter] = &[
    Chapter {
        name: "concepts",
        doc: "ideas that hold in the whole scenario language",
        entries: language::concepts,
    },
    Chapter { name: "verbs", doc: "what a step can do", entries: language::verbs },
    Chapter { name: "file", doc: "keys of a scenario file", entries: language::file },
    Chapter { name: "scenario", doc: "keys of a scenario", entries: language::scenario },
    Chapter { name: "client", doc: "keys of a client", entries: language::client },
    Chapter { name: "will", doc: "keys of a will", entries: language::will },
    Chapter { name: "broker", doc: "keys of the broker", entries: language::broker_keys },
    Chapter { name: "user", doc: "keys of a user", entries: language::user },
    Chapter { name: "listener", doc: "keys of a listener", entries: language::listener },
    Chapter { name: "certificate", doc: "keys of a certificate under pki", entries: language::certificate },
    Chapter { name: "payload", doc: "forms of a payload", entries: language::payload },
    Chapter { name: "matchers", doc: "tests on a received value", entries: language::matcher },
    Chapter {
        name: "requires",
        doc: "what a target may or may not be able to do",
        entries: language::requires,
    },
    Chapter {
        name: "profile",
        doc: "keys of a profile, which says what a broker at an address can do",
        entries: profile,
    },
    Chapter {
        name: "codes",
        doc: "findings about scenarios, tables, mosquitto.conf, ACL and password files, baselines",
        entries: language::codes,
    },
    Chapter { name: "reports", doc: "formats of --report", entries: reports },
    Chapter { name: "exit-codes", doc: "what the exit codes of mqttlab run mean", entries: exit_codes },
    Chapter {
        name: "packets",
        doc: "packet lines, as packets: blocks have them and -v prints them",
        entries: packets,
    },
    Chapter {
        name: "reasons",
        doc: "reason codes of MQTT 5.0, and the packets that carry them",
        entries: reasons,
    },
    Chapter { name: "properties", doc: "names of the MQTT 5.0 properties", entries: properties },
    Chapter {
        name: "options",
        doc: "options of mosquitto.conf, and which of them we have",
        entries: options,
    },
    Chapter {
        name: "checks",
        doc: "what must hold of every packet of every run, and of a capture",
        entries: checks,
    },
    Chapter {
        name: "statements",
        doc: "normative statements of MQTT 3.1.1 and 5.0, for spec: and the reports",
        entries: statements,
    },
];

fn entry(name: impl Into<String>, doc: impl Into<String>) -> Entry {
    Entry { name: name.into(), doc: doc.into(), ..Entry::default() }
}

fn reports() -> Vec<Entry> {
    REPORTS.iter().map(|spec| Entry { example: spec.example.into(), ..entry(spec.name, spec.doc) }).collect()
}

/// Each key with the whole profile as its example.
fn profile() -> Vec<Entry> {
    let example = profile::EXAMPLE;
    profile::KEYS.iter().map(|(name, doc)| Entry { example: example.into(), ..entry(*name, *doc) }).collect()
}

fn exit_codes() -> Vec<Entry> {
    EXITS.iter().map(|(exit, doc)| entry(exit.code().to_string(), *doc)).collect()
}

/// A packet with its fields; those of MQTT 5.0 only are marked.
fn packets() -> Vec<Entry> {
    PACKETS
        .iter()
        .map(|spec| {
            let field = |field: FieldDoc| {
                let only = if field.only_v5 { " (5.0)" } else { "" };
                (field.name, format!("{}{only}, such as {}", field.doc, field.example))
            };
            Entry {
                details: spec.docs().into_iter().map(field).collect(),
                example: spec.example.into(),
                ..entry(spec.kind.name(), spec.doc)
            }
        })
        .collect()
}

/// One entry a code and name: a code may have another name in another packet.
fn reasons() -> Vec<Entry> {
    let mut found: IndexMap<(u8, &str), Vec<&str>> = IndexMap::new();
    for code in 0..=u8::MAX {
        for packet in PacketType::ALL {
            let reason = ReasonCode(code);
            if let Some(name) = reason.name(packet).filter(|_| reason.allowed_in(packet)) {
                found.entry((code, name)).or_default().push(packet.name());
            }
        }
    }
    found
        .into_iter()
        .map(|((code, name), packets)| {
            entry(format!("0x{code:02x}"), format!("{name}: {}", packets.join(", ")))
        })
        .collect()
}

fn properties() -> Vec<Entry> {
    PROPERTIES
        .iter()
        .map(|spec| {
            let packets: Vec<String> = spec.packets.iter().map(|packet| packet.name().to_owned()).collect();
            Entry {
                details: vec![
                    ("identifier", format!("0x{:02x}", spec.id)),
                    ("packets", packets.join(", ")),
                    ("will", if spec.in_will { spec.will_name.to_owned() } else { "no".to_owned() }),
                ],
                example: spec.example.into(),
                ..entry(spec.name, spec.doc)
            }
        })
        .collect()
}

fn options() -> Vec<Entry> {
    options::all()
        .map(|option| Entry {
            details: vec![
                ("belongs to", scope(option.scope).to_owned()),
                ("default", option.default.to_owned()),
                ("on SIGHUP", hup(option.hup).to_owned()),
                ("here", status(option.status)),
            ],
            example: option.example.into(),
            ..entry(option.name, option.doc)
        })
        .collect()
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Global => "the whole broker",
        Scope::Listener => "the listener above it",
        Scope::DefaultListener => "the listener that port and bind_address open",
        Scope::Security => "the whole broker; with per_listener_settings true the listener above it",
        Scope::Bridge => "the connection above it",
        Scope::Plugin => "the plugin above it",
    }
}

fn hup(hup: Hup) -> &'static str {
    match hup {
        Hup::Yes => "read again",
        Hup::No => "stays as it was at the start",
        Hup::Contents => "the file is read again, its name is not",
        Hup::Since21 => "read again since mosquitto 2.1",
    }
}

fn status(status: Status) -> String {
    match status {
        Status::Done(..) => "supported".to_owned(),
        Status::Ignored(why) => format!("has no effect: {why}"),
        Status::Refused(why) => format!("refused: {why}"),
    }
}

fn checks() -> Vec<Entry> {
    CHECKS
        .iter()
        .map(|check| {
            let cites = Standard::ALL.into_iter().filter_map(|standard| {
                let ids: Vec<_> = check.cited(standard).collect();
                let name = if standard == Standard::V5 { "MQTT 5.0" } else { "MQTT 3.1.1" };
                (!ids.is_empty()).then(|| (name, ids.join(", ")))
            });
            Entry {
                details: [("binds", format!("the {}", check.binds))].into_iter().chain(cites).collect(),
                example: check.example.into(),
                ..entry(check.name, check.doc)
            }
        })
        .collect()
}

/// A label that both standards use gives one entry with both meanings.
fn statements() -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    for (version, standard) in [(ProtocolVersion::V311, "MQTT 3.1.1"), (ProtocolVersion::V5, "MQTT 5.0")] {
        for statement in statements::all(version) {
            let detail = (
                standard,
                format!("{} [{}, binds {}]", statement.paraphrase, statement.section, statement.role),
            );
            match found.binary_search_by(|entry| entry.name.as_str().cmp(&statement.id)) {
                Ok(at) => found[at].details.push(detail),
                Err(at) => {
                    let doc = statement.paraphrase.clone();
                    found.insert(at, Entry { details: vec![detail], ..entry(&statement.id, doc) });
                }
            }
        }
    }
    found
}
