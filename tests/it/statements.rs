//! Every statement that binds a server is cited in the code that obeys it, or stands in a table
//! with the reason why no code can; and each that a client can test has a script, a vector or a test
//! that names it. Reads all of them as text.
//!
//! A citation is an id in brackets in a comment of `src/`, and its version is told like this:
//!
//! ```text
//! // [MQTT-2.3.1-5] 5: [MQTT-2.2.1-2], [MQTT-2.2.1-3]
//!     3.1.1's               5.0's, to the end of the comment or the next `;`
//! // [MQTT-4.8.2-4], [MQTT-4.8.2-5] of 5.0
//!     5.0's, both: ids that stand right before `of 5.0`
//! // [MQTT-3.8.4-1]
//!     both: without a mark it is 3.1.1's, and 5.0's too unless the id means another rule there
//! // 3.1.1: [MQTT-3.8.4-1]
//!     3.1.1's only
//! ```
//!
//! Lines of comments that follow each other are one comment. An unnumbered rule (`U5-…`) that the
//! codec names in the error itself counts as cited there. 54 ids mean another rule in the other
//! version (`map_311_to_5.csv`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A standard and an id of it.
type Rule = (Standard, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standard {
    V311,
    V5,
}

use Standard::{V5, V311};

/// Where the broker's own code is; what the client or the runner obeys does not count.
const BROKER: &[&str] = &["src/broker", "src/mqtt", "src/net"];

/// Statements that no code of ours can obey in one place, and why.
const WITHOUT_A_PLACE: &[(Standard, &str, &str)] = &[
    (V311, "MQTT-3.8.3-2", "binds brokers without wildcards: this one has them"),
    (V5, "U5-3.2.2-7", "binds brokers without wildcard subscriptions: this one has them"),
    (V5, "U5-3.2.2-8", "binds brokers without subscription identifiers: this one has them"),
    (V5, "U5-3.2.2-9", "binds brokers without shared subscriptions: this one has them"),
    (V311, "MQTT-7.0.0-2", "a claim about every possible peer: nothing beside the standard is needed"),
];

/// Statements that a client could see obeyed or broken, but not with this broker, and why.
const WITHOUT_A_TEST: &[(Standard, &str, &str)] = &[
    (V311, "MQTT-3.8.3-2", "binds brokers without wildcards: this one has them"),
    (V5, "U5-3.2.2-7", "binds brokers without wildcard subscriptions: this one has them"),
    (V5, "U5-3.2.2-8", "binds brokers without subscription identifiers: this one has them"),
    (V5, "U5-3.2.2-9", "binds brokers without shared subscriptions: this one has them"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn table(name: &str) -> Vec<Vec<String>> {
    let path = root().join("fixtures/statements").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    // The first columns have no commas in them.
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

/// What the standards say: who is bound by each statement, and which ids are false friends.
struct Catalogue {
    roles: BTreeMap<Rule, String>,
    /// Whether a client can see if a broker obeys: `yes…`, `partly…`, `no…`.
    testable: BTreeMap<Rule, String>,
    false_friends: BTreeSet<String>,
}

impl Catalogue {
    fn read() -> Self {
        let (mut roles, mut testable) = (BTreeMap::new(), BTreeMap::new());
        for (file, standard) in
            [("mqtt311.csv", Some(V311)), ("mqtt5.csv", Some(V5)), ("unnumbered.csv", None)]
        {
            for row in table(file) {
                let standard = standard.unwrap_or(if row[0].starts_with("U5-") { V5 } else { V311 });
                // A title with a comma in it is in quotes.
                let is_role = |field: &String| ["server", "client", "both"].contains(&field.as_str());
                let at = row.iter().skip(2).position(is_role);
                let at = 2 + at.unwrap_or_else(|| panic!("{file}: {} binds nobody", row[0]));
                let rule = (standard, row[0].clone());
                roles.insert(rule.clone(), row[at].clone());
                testable.insert(rule, row[at + 1].trim_start_matches('"').to_owned());
            }
        }
        let marked = |row: &Vec<String>| row.last().is_some_and(|mark| mark == "yes");
        let false_friends =
            table("map_311_to_5.csv").into_iter().filter(marked).map(|mut row| row.swap_remove(0)).collect();
        Self { roles, testable, false_friends }
    }

    fn has(&self, standard: Standard, id: &str) -> bool {
        self.roles.contains_key(&(standard, id.to_owned()))
    }

    /// What an id without a mark cites.
    fn unmarked(&self, id: &str) -> Vec<Rule> {
        let of_311 = self.has(V311, id);
        let of_5 = self.has(V5, id) && !(of_311 && self.false_friends.contains(id));
        let both = [(of_311, V311), (of_5, V5)];
        both.into_iter().filter(|(is, _)| *is).map(|(_, standard)| (standard, id.to_owned())).collect()
    }

    /// All that a comment cites; an id that its version does not have is an error.
    fn cited(&self, comment: &str) -> Result<Vec<Rule>, String> {
        let mut found = Vec::new();
        let mut marked = None;
        let mut rest = comment;
        while let Some(at) = rest.find('[') {
            let before = rest[..at].trim_end_matches(['`', ' ']);
            if before.contains(';') {
                marked = None;
            }
            if before.ends_with("3.1.1:") {
                marked = Some(V311);
            } else if before.ends_with("5:") {
                marked = Some(V5);
            }
            rest = &rest[at + 1..];
            let Some((id, after)) = rest.split_once(']').filter(|(id, _)| is_id(id)) else { continue };
            let standard = if is_before_of_5(after) { Some(V5) } else { marked };
            let rules = match standard {
                Some(standard) if self.has(standard, id) => vec![(standard, id.to_owned())],
                Some(_) => Vec::new(),
                None => self.unmarked(id),
            };
            if rules.is_empty() {
                return Err(format!("no statement {id} in {standard:?}"));
            }
            found.extend(rules);
            rest = after;
        }
        Ok(found)
    }
}

/// Unnumbered rules between quotes: what the codec's errors name.
fn named_in_errors(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2).filter(|it| it.starts_with("U5-") || it.starts_with("U311-"))
}

fn is_id(text: &str) -> bool {
    ["MQTT-", "U311-", "U5-"].iter().any(|start| text.starts_with(start))
}

/// True if nothing but further ids stands between here and `of 5.0`.
fn is_before_of_5(mut text: &str) -> bool {
    loop {
        text = text.trim_start_matches(['`', ',', ' ']);
        text = text.strip_prefix("and ").unwrap_or(text).trim_start_matches('`');
        match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((id, after)) if is_id(id) => text = after,
            _ => return text.starts_with("of 5.0"),
        }
    }
}

/// The comments of a file: lines of nothing but comment that follow each other are one.
fn comments(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let whole = line.starts_with("//");
        let Some(at) = line.find("//") else {
            goes_on = false;
            continue;
        };
        let comment = line[at..].trim_start_matches(['/', '!']).trim();
        match found.last_mut().filter(|_| goes_on && whole) {
            Some((_, before)) => {
                before.push(' ');
                before.push_str(comment);
            }
            None => found.push((number, comment.to_owned())),
        }
        goes_on = whole;
    }
    found
}

#[test]
fn every_statement_that_binds_a_server_is_cited_where_it_is_obeyed() {
    let catalogue = Catalogue::read();
    let mut problems = Vec::new();
    let mut cited: BTreeMap<Rule, String> = BTreeMap::new();
    for path in files("src", "rs") {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        let counts = BROKER.iter().any(|folder| name.starts_with(folder));
        let text = fs::read_to_string(&path).expect("a readable source");
        if name.starts_with("src/mqtt/codec") {
            for id in named_in_errors(&text) {
                let rules = catalogue.unmarked(id);
                assert!(!rules.is_empty(), "{name}: no statement {id}");
                cited.extend(rules.into_iter().map(|rule| (rule, name.clone())));
            }
        }
        for (line, comment) in comments(&text) {
            match catalogue.cited(&comment) {
                Ok(rules) if counts => {
                    cited.extend(rules.into_iter().map(|rule| (rule, format!("{name}:{line}"))));
                }
                Ok(_) => {}
                Err(error) => problems.push(format!("{name}:{line}: {error}")),
            }
        }
    }
    let mut excused = BTreeSet::new();
    for (standard, id, reason) in WITHOUT_A_PLACE {
        let rule = (*standard, (*id).to_owned());
        assert!(catalogue.roles.contains_key(&rule), "no statement {id} in {standard:?}");
        assert!(!reason.is_empty(), "{id} has no reason");
        if let Some(place) = cited.get(&rule) {
            problems.push(format!("{id} of {standard:?} is cited in {place}: take it out of the table here"));
        }
        assert!(excused.insert(rule), "{id} stands there twice");
    }
    for (rule, role) in &catalogue.roles {
        if role != "client" && !cited.contains_key(rule) && !excused.contains(rule) {
            problems.push(format!("{:?} {} binds a server and is cited nowhere", rule.0, rule.1));
        }
    }
    assert!(problems.is_empty(), "\n{}\n{} problems", problems.join("\n"), problems.len());
}

/// What the packet scripts show, in the versions that they run in.
fn shown_by_scripts(catalogue: &Catalogue, shown: &mut BTreeSet<Rule>) {
    for path in files("fixtures/engine", "txt") {
        let text = fs::read_to_string(&path).expect("a readable script file");
        for script in text.split("\n## ").skip(1) {
            let (title, body) = script.split_once('\n').unwrap_or((script, ""));
            let versions = title.rsplit_once('[').map_or("", |(_, versions)| versions);
            let of_5 = versions.trim_end_matches(']').split(", ").any(|version| version == "5");
            let of_3 = versions.contains("3.1");
            let lines = body.lines().take_while(|line| line.starts_with('#'));
            let comment: Vec<_> = lines.map(|line| line.trim_start_matches(['#', ' '])).collect();
            let rules = catalogue.cited(&comment.join(" "));
            let rules = rules.unwrap_or_else(|e| panic!("{}: {title}: {e}", path.display()));
            shown.extend(rules.into_iter().filter(|(of, _)| if *of == V5 { of_5 } else { of_3 }));
        }
    }
}

/// What the hex vectors show.
fn shown_by_vectors(catalogue: &Catalogue, shown: &mut BTreeSet<Rule>) {
    for path in files("fixtures/packets", "txt") {
        let text = fs::read_to_string(&path).expect("a readable vector file");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<_> = line.split('|').map(str::trim).collect();
            let [versions, .., ids] = columns[..] else { continue };
            let standards = [(versions.contains("3.1"), V311), (versions.split(',').any(|it| it == "5"), V5)];
            for (_, standard) in standards.into_iter().filter(|(is, _)| *is) {
                let ids = ids.split_whitespace().filter(|id| catalogue.has(standard, id));
                shown.extend(ids.map(|id| (standard, id.to_owned())));
            }
        }
    }
}

#[test]
fn every_statement_that_can_be_tested_has_a_test() {
    let catalogue = Catalogue::read();
    let mut shown = BTreeSet::new();
    shown_by_scripts(&catalogue, &mut shown);
    shown_by_vectors(&catalogue, &mut shown);
    for path in files("tests", "rs").into_iter().filter(|path| !path.ends_with("statements.rs")) {
        let text = fs::read_to_string(&path).expect("a readable source");
        for (line, comment) in comments(&text) {
            let rules = catalogue.cited(&comment);
            shown.extend(rules.unwrap_or_else(|e| panic!("{}:{line}: {e}", path.display())));
        }
    }
    let mut problems = Vec::new();
    let mut excused = BTreeSet::new();
    for (standard, id, reason) in WITHOUT_A_TEST {
        let rule = (*standard, (*id).to_owned());
        assert!(catalogue.roles.contains_key(&rule), "no statement {id} in {standard:?}");
        assert!(!reason.is_empty(), "{id} has no reason");
        if shown.contains(&rule) {
            problems.push(format!("{id} of {standard:?} has a test: take it out of the table here"));
        }
        assert!(excused.insert(rule), "{id} stands there twice");
    }
    for (rule, testable) in &catalogue.testable {
        let binds = catalogue.roles.get(rule).is_some_and(|role| role != "client");
        if binds && testable.starts_with("yes") && !shown.contains(rule) && !excused.contains(rule) {
            problems.push(format!("{:?} {} can be tested and no test names it", rule.0, rule.1));
        }
    }
    assert!(problems.is_empty(), "\n{}\n{} problems", problems.join("\n"), problems.len());
}

#[test]
fn the_catalogue_is_whole() {
    let catalogue = Catalogue::read();
    let count = |standard, prefix: &str| {
        let binds = |role: &str| role != "client";
        let of = |rule: &Rule| rule.0 == standard && rule.1.starts_with(prefix);
        catalogue.roles.iter().filter(|(rule, role)| of(rule) && binds(role)).count()
    };
    assert_eq!((count(V311, "MQTT-"), count(V5, "MQTT-")), (109, 206));
    assert_eq!(catalogue.false_friends.len(), 54);
}

#[test]
fn citations_tell_their_version() {
    let catalogue = Catalogue::read();
    let cited = |comment: &str| {
        let rules = catalogue.cited(comment).map(|rules| rules.into_iter().collect::<BTreeSet<_>>());
        rules.map(|rules| rules.into_iter().map(|(s, id)| format!("{s:?} {id}")).collect::<Vec<_>>())
    };
    let ok = |comment: &str| cited(comment).expect("known ids");
    assert_eq!(ok("[MQTT-2.3.1-5] 5: [MQTT-2.2.1-2]"), ["V311 MQTT-2.3.1-5", "V5 MQTT-2.2.1-2"]);
    assert_eq!(ok("`[MQTT-3.1.2-24]`"), ["V311 MQTT-3.1.2-24"]);
    assert_eq!(ok("`[MQTT-3.1.2-24]`, `[MQTT-3.1.2-25]` of 5.0"), ["V5 MQTT-3.1.2-24", "V5 MQTT-3.1.2-25"]);
    assert_eq!(ok("[MQTT-3.8.4-1]"), ["V311 MQTT-3.8.4-1", "V5 MQTT-3.8.4-1"]);
    assert_eq!(ok("5: [MQTT-3.1.2-22]; [MQTT-3.1.2-24]"), ["V311 MQTT-3.1.2-24", "V5 MQTT-3.1.2-22"]);
    assert_eq!(ok("3.1.1: [MQTT-3.8.4-1]"), ["V311 MQTT-3.8.4-1"]);
    assert_eq!(ok("[MQTT-4.12.0-1], [U5-4.9-1], slice[0]"), ["V5 MQTT-4.12.0-1", "V5 U5-4.9-1"]);
    assert!(cited("[MQTT-nonsense]").is_err());
    assert!(cited("5: [MQTT-3.3.5-2]").is_err());
    let text = "let a = 1; // [x] 5:\n// [y]\n//! [z]\nfn f() {}\n// [w]\n";
    let found: Vec<_> = comments(text).into_iter().map(|(_, comment)| comment).collect();
    assert_eq!(found, ["[x] 5:", "[y] [z]", "[w]"]);
}
