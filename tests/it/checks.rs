//! The passive checks on packet scripts: `fixtures/checks/*.txt`.
//!
//! ```text
//! ## broker-one-connack breaks [5]          the last packet is the one that breaks it, and it alone
//! ## client-direction breaks, client-x too  … and another check with it
//! ## broker-one-connack holds [3.1.1, 5]    nothing is found; without versions: both
//! part                                      not all connections to the broker are seen
//! middle                                    seen on the way, not at the client
//! a> CONNECT client=a session_expiry=9      … which 3.1.1 does without, as without codes in UNSUBACK
//! a> CONNECT clean client=a                 client `a` sends; the first packet opens its connection
//! a(3.1)> CONNECT client=a                  … of another version than the script's
//! a> hex c0 00                              any bytes
//! a< CONNACK 0                              the broker sends to `a`
//! a* closed                                 the connection is over; the next line opens another
//! +30s                                      time passes
//! restart                                   the broker may have forgotten everything
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use mqttlab::check::{self, CHECKS, Exchange, Party, Sight};
use mqttlab::mqtt::ProtocolVersion;
use mqttlab::mqtt::codec::{Decoder, Limits};
use mqttlab::mqtt::notation::PacketLine;
use mqttlab::text;

use crate::support::random::Random;

/// One script.
struct Script {
    place: String,
    check: String,
    breaks: bool,
    /// Checks that find something as well.
    too: Vec<String>,
    versions: Vec<ProtocolVersion>,
    lines: Vec<String>,
}

fn scripts() -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/checks");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files.iter().flat_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vec<Script> {
    let text = fs::read_to_string(path).expect("a text");
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let mut scripts: Vec<Script> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(title) = line.strip_prefix("## ") {
            scripts.push(heading(title, format!("{name}:{}", number + 1)));
        } else if !line.is_empty() && !line.starts_with('#') {
            scripts.last_mut().expect("a heading first").lines.push(line.to_owned());
        }
    }
    scripts
}

fn heading(title: &str, place: String) -> Script {
    let (words, versions) = match title.split_once('[') {
        Some((words, versions)) => {
            let versions = versions.trim_end_matches(']').split(',');
            (words, versions.map(|v| ProtocolVersion::parse(v.trim()).expect("a version")).collect())
        }
        None => (title, vec![ProtocolVersion::V311, ProtocolVersion::V5]),
    };
    let (check, verb) = words.trim().split_once(' ').unwrap_or_else(|| panic!("{place}: NAME breaks|holds"));
    let mut verbs = verb.split(',').map(str::trim);
    let breaks = match verbs.next() {
        Some("breaks") => true,
        Some("holds") => false,
        other => panic!("{place}: {other:?}"),
    };
    let too = verbs.map(|more| more.trim_end_matches(" too").to_owned()).collect();
    Script { place, check: check.to_owned(), breaks, too, versions, lines: Vec::new() }
}

/// A connection as the script goes on.
struct Wire {
    number: u32,
    from_client: Decoder,
    version: ProtocolVersion,
}

struct Replay {
    exchange: Exchange,
    version: ProtocolVersion,
    wires: BTreeMap<String, Wire>,
    opened: u32,
    now: f64,
}

impl Replay {
    fn new(version: ProtocolVersion, lines: &[String]) -> Self {
        let said = |word: &str| lines.iter().any(|line| line == word);
        let sight = Sight { at_client: !said("middle"), whole: !said("part") };
        Self { exchange: Exchange::new(sight), version, wires: BTreeMap::new(), opened: 0, now: 0.0 }
    }

    fn line(&mut self, line: &str) {
        if matches!(line, "part" | "middle") {
            return;
        }
        if line == "restart" {
            self.exchange.restarted();
            return;
        }
        if let Some(time) = line.strip_prefix('+') {
            self.now += text::parse_duration(time).expect("a duration").as_secs_f64();
            return;
        }
        let at = line.find(['>', '<', '*']).unwrap_or_else(|| panic!("{line}: who?"));
        let (who, rest) = line.split_at(at);
        let (sign, rest) = rest.split_at(1);
        let (name, version) = match who.split_once('(') {
            Some((name, version)) => {
                (name, ProtocolVersion::parse(version.trim_end_matches(')')).expect("a version"))
            }
            None => (who, self.version),
        };
        if sign == "*" {
            let wire = self.wires.remove(name).unwrap_or_else(|| panic!("{line}: not open"));
            self.exchange.ended(wire.number);
            return;
        }
        let from = if sign == ">" { Party::Client } else { Party::Broker };
        self.packet(name, version, from, rest.trim());
    }

    fn packet(&mut self, name: &str, version: ProtocolVersion, from: Party, line: &str) {
        let code = |word: &&str| line.starts_with("UNSUBACK") && *word == "0";
        let newer = |word: &&str| !version.is_v5() && (word.starts_with("session_expiry=") || code(word));
        let line: Vec<&str> = line.split(' ').filter(|word| !newer(word)).collect();
        let line = &line.join(" ");
        let wire = self.wires.entry(name.to_owned()).or_insert_with(|| {
            self.opened += 1;
            self.exchange.opened(self.opened);
            Wire { number: self.opened, from_client: Decoder::server(Limits::default()), version }
        });
        let bytes = if let Some(digits) = line.strip_prefix("hex ") {
            text::parse_hex(digits).unwrap_or_else(|| panic!("{line}: hex")).into()
        } else {
            let parsed = PacketLine::parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            parsed.build(wire.version).unwrap_or_else(|e| panic!("{line}: {e}")).bytes
        };
        let mut buffer = BytesMut::from(&bytes[..]);
        let decoded = match from {
            Party::Client => wire.from_client.decode(&mut buffer),
            Party::Broker => Decoder::client(wire.version, Limits::default()).decode(&mut buffer),
        };
        self.now += 0.001;
        let size = bytes.len();
        match &decoded {
            Ok(Some((packet, len))) => {
                assert_eq!(*len, size, "{line}: more than a packet");
                self.exchange.packet(wire.number, from, Ok(packet), size, self.now);
            }
            Ok(None) => panic!("{line}: less than a packet"),
            Err(error) => {
                self.exchange.packet(wire.number, from, Err(error), size, self.now);
            }
        }
    }
}

#[test]
fn scripts_break_and_hold_as_they_say() {
    let mut problems = Vec::new();
    for script in scripts() {
        for version in &script.versions {
            let mut replay = Replay::new(*version, &script.lines);
            let mut early = 0;
            for (index, line) in script.lines.iter().enumerate() {
                replay.line(line);
                if index + 1 < script.lines.len() {
                    early = replay.exchange.violations().len();
                }
            }
            let found: BTreeSet<&str> =
                replay.exchange.violations().iter().map(|violation| violation.check.name).collect();
            let mut wanted: BTreeSet<&str> = script.too.iter().map(String::as_str).collect();
            if script.breaks {
                wanted.insert(&script.check);
            }
            if found != wanted {
                let said: Vec<String> =
                    replay.exchange.violations().iter().map(ToString::to_string).collect();
                problems.push(format!("{} in {version}: {found:?}, not {wanted:?}: {said:?}", script.place));
            } else if script.breaks && script.too.is_empty() && early > 0 {
                problems.push(format!("{} in {version}: found before the last packet", script.place));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_check_is_seen_to_break_and_to_hold_in_every_version_that_it_cites() {
    let scripts = scripts();
    let mut problems = Vec::new();
    for script in &scripts {
        if check::find(&script.check).is_none() {
            problems.push(format!("{}: no check {}", script.place, script.check));
        }
    }
    for spec in CHECKS {
        for standard in check::statements::Standard::ALL {
            let cited = spec.cited(standard).count() > 0;
            for breaks in [true, false] {
                let shown = scripts.iter().any(|script| {
                    script.check == spec.name
                        && script.breaks == breaks
                        && script.versions.contains(&standard.version())
                });
                let word = if breaks { "breaks" } else { "holds" };
                if cited && !shown {
                    problems.push(format!("no script `{} {word} [{standard}]`", spec.name));
                }
            }
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn checks_cite_statements_that_exist_and_bind_whom_they_say() {
    for spec in CHECKS {
        assert!(!spec.cites.is_empty(), "{}", spec.name);
        assert!(spec.doc.ends_with('.'), "{}", spec.name);
        assert!(spec.name.starts_with(spec.binds.name()), "{}", spec.name);
        for (standard, id) in spec.cites {
            let statement = check::statements::lookup(standard.version(), id);
            let statement = statement.unwrap_or_else(|| panic!("{}: no {id} of {standard}", spec.name));
            let role = if spec.binds == Party::Broker { "server" } else { "client" };
            // A client's fault that only the broker's reaction is written down for names that reaction.
            let fits = statement.role == role || statement.role == "both" || spec.binds == Party::Client;
            assert!(fits, "{} binds the {}, {id} the {}", spec.name, spec.binds, statement.role);
        }
        for line in spec.example.lines() {
            let (sign, packet) = line.split_at(1);
            assert!(matches!(sign, ">" | "<"), "{}: {line}", spec.name);
            let packet = packet.trim();
            if !packet.starts_with("hex ") {
                PacketLine::parse(packet).unwrap_or_else(|e| panic!("{}: {line}: {e}", spec.name));
            }
        }
    }
    let names: BTreeSet<&str> = CHECKS.iter().map(|spec| spec.name).collect();
    assert_eq!(names.len(), CHECKS.len(), "names are used once");
}

/// Packets of all scripts in any order, from anybody, on connections that come and go.
#[test]
fn no_order_of_packets_makes_a_check_panic() {
    let mut packets = Vec::new();
    for version in ProtocolVersion::ALL {
        for line in scripts().iter().flat_map(|script| &script.lines) {
            let Some((_, line)) = line.split_once(['>', '<']) else { continue };
            let built = PacketLine::parse(line.trim()).and_then(|line| line.build(version));
            packets.extend(built.ok().and_then(|raw| Some((raw.packet?, raw.bytes.len()))));
        }
    }
    assert!(packets.len() > 1000, "{}", packets.len());
    let mut random = Random(20_261_121);
    let mut found = BTreeSet::new();
    for round in 0..300 {
        let mut exchange = Exchange::new(Sight { at_client: random.one_in(2), whole: random.one_in(2) });
        let mut now = 0.0;
        for conn in 1..=8 {
            exchange.opened(conn);
        }
        for _ in 0..200 {
            let conn = u32::try_from(random.below(9)).expect("small");
            let from = if random.one_in(2) { Party::Client } else { Party::Broker };
            let (packet, len) = &packets[random.below(packets.len())];
            exchange.packet(conn, from, Ok(packet), *len, now);
            now += f64::from(u32::from(random.byte()));
            match random.below(60) {
                0 => exchange.ended(conn),
                1 => exchange.restarted(),
                2 => exchange.unreadable(conn, from),
                3 => exchange.told(conn, now),
                _ => {}
            }
        }
        found.extend(exchange.violations().iter().map(|violation| violation.check.name));
        assert!(exchange.violations().iter().all(|one| !one.statements.is_empty()), "round {round}");
    }
    assert!(found.len() > 20, "{found:?}");
}
