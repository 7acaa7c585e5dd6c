//! mosquitto.conf, ACL and password files: what their mistakes look like, what they mean (asked of
//! Debian's mosquitto as well), and that no text whatever makes us panic.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use assert_cmd::cargo::cargo_bin_cmd;
use mqttlab::broker::auth::{Access, Acl, Hashing, Passwords, Rules, Subject, Zone, hash_password};
use mqttlab::broker::config::{Compat, Config, ConfigFiles, Overrides};
use mqttlab::broker::server::files::{FsFiles, load_rules};
use mqttlab::diagnostic::{Diagnostic, Source};
use proptest::prelude::*;

use crate::support::mosquitto::{Refused, Running, mosquitto, mqttlab, program};
use crate::support::wire::Wire;

fn fixture(path: &str) -> Arc<Source> {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path);
    let text = std::fs::read_to_string(&full).unwrap_or_else(|error| panic!("{path}: {error}"));
    Source::new(path, text)
}

/// Files in memory.
struct Texts(BTreeMap<PathBuf, String>);

impl ConfigFiles for Texts {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let found: Vec<PathBuf> =
            self.0.keys().filter(|path| path.parent() == Some(folder)).cloned().collect();
        if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
    }
}

fn load(text: &str, overrides: &Overrides) -> (Option<Config>, Vec<Diagnostic>) {
    let texts = Texts([("mosquitto.conf".into(), text.to_owned())].into());
    Config::load(&texts, Some(Path::new("mosquitto.conf")), overrides)
}

fn rendered(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|one| one.render(false)).collect::<Vec<_>>().join("\n\n")
}

// Reading the configuration again.

/// The settings that each listener of `old` has after a reload of `fresh`.
fn reloaded(old: &str, fresh: &str) -> (Vec<(u16, bool)>, bool) {
    let config = |text| load(text, &Overrides::default()).0.expect("a good configuration");
    let (old, mut fresh) = (config(old), config(fresh));
    let changed = fresh.keep_listeners(&old);
    let anonymous = |at: usize| fresh.security[fresh.zone(at)].allow_anonymous;
    assert_eq!(fresh.listeners.len(), old.listeners.len());
    (fresh.listeners.iter().enumerate().map(|(at, it)| (it.port, anonymous(at))).collect(), changed)
}

#[test]
fn an_open_listener_takes_its_own_new_settings() {
    let old = "per_listener_settings true\nlistener 1\nallow_anonymous true\nlistener 2\n";
    let turned = "per_listener_settings true\nlistener 2\nlistener 1\nallow_anonymous true\n";
    assert_eq!(reloaded(old, turned), (vec![(1, true), (2, false)], true));
    let shut = "per_listener_settings true\nlistener 1\nlistener 2\n";
    assert_eq!(reloaded(old, shut), (vec![(1, false), (2, false)], false));
    assert_eq!(reloaded("listener 1\n", "listener 1\nallow_anonymous true\n"), (vec![(1, true)], false));
}

/// Without a listener anybody may come in, from this machine: that is not meant for open sockets.
#[test]
fn a_configuration_that_was_cut_short_opens_no_listener_to_anybody() {
    for old in ["listener 1883\n", "listener 1883 127.0.0.1\n"] {
        assert_eq!(reloaded(old, ""), (vec![(1883, false)], true));
    }
    assert_eq!(reloaded("", "listener 1883\n"), (vec![(1883, true)], true));
    assert_eq!(
        reloaded("listener 1\nlistener 2\n", "listener 2\nallow_anonymous true\n").0,
        [(1, false), (2, true)]
    );
}

// What mistakes look like.

#[test]
fn mistakes_in_a_configuration() {
    for compat in [Compat::V20, Compat::V21] {
        let overrides = Overrides { compat: Some(compat), ..Overrides::default() };
        let (config, found) = load(&fixture("config/wrong.conf").text, &overrides);
        assert_eq!(config, None);
        insta::assert_snapshot!(format!("wrong_conf_{compat:?}"), rendered(&found));
    }
}

#[test]
fn a_configuration_with_lines_that_do_nothing() {
    let (config, found) = load(&fixture("config/odd.conf").text, &Overrides::default());
    assert!(config.is_some(), "warnings only");
    insta::assert_snapshot!("odd_conf", rendered(&found));
}

#[test]
fn a_lab_configuration_as_it_runs() {
    let (config, found) = load(&fixture("config/lab.conf").text, &Overrides::default());
    assert_eq!(rendered(&found), "");
    insta::assert_debug_snapshot!("lab_conf", config.expect("good"));
}

#[test]
fn mistakes_in_an_acl_file() {
    let errors = Acl::parse(&fixture("acl/wrong.acl")).expect_err("full of mistakes");
    insta::assert_snapshot!("wrong_acl", rendered(&errors));
    let acl = Acl::parse(&fixture("acl/suspicious.acl")).expect("mosquitto takes it");
    insta::assert_snapshot!("suspicious_acl", rendered(acl.warnings()));
}

#[test]
fn mistakes_in_a_password_file() {
    let errors = Passwords::parse(&fixture("passwd/wrong.txt"), Compat::V21).expect_err("bad lines");
    insta::assert_snapshot!("wrong_passwd_V21", rendered(&errors));
    let found = Passwords::parse(&fixture("passwd/wrong.txt"), Compat::V20).expect("drops them");
    insta::assert_snapshot!("wrong_passwd_V20", rendered(found.warnings()));
}

#[test]
fn broken_or_missing_rules_let_nobody_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("can write");
        folder.path().join(name).display().to_string()
    };
    let bad_acl = file("acl", "topic readd x\n");
    let bad_passwd = file("passwd", "a:b\n");
    for line in [
        format!("acl_file {bad_acl}"),
        format!("password_file {bad_passwd}"),
        "acl_file /nonexistent/acl".to_owned(),
        "password_file /nonexistent/passwd".to_owned(),
    ] {
        let (config, _) = load(&format!("listener 0\nallow_anonymous true\n{line}\n"), &Overrides::default());
        let (rules, found) = load_rules(&config.expect("the configuration is good"), &FsFiles);
        assert_eq!(found.len(), 1, "{line}");
        assert!(rules.authenticate(0, None, None).is_err(), "{line}");
        let who = Subject { username: None, client_id: "c" };
        assert!(!rules.check(0, who, "x", Access::Read).allowed, "{line}");
    }
}

// What ACL files mean.

struct Case {
    name: String,
    acl: String,
    requests: Vec<Request>,
}

struct Request {
    text: String,
    username: Option<String>,
    client_id: String,
    access: Access,
    topic: String,
    allowed: bool,
    line: Option<u32>,
}

fn request(text: &str) -> Request {
    let (question, answer) = text.rsplit_once(" = ").expect("an answer");
    let read = question.find(" read ").map(|at| (at, Access::Read, " read ".len()));
    let write = question.find(" write ").map(|at| (at, Access::Write, " write ".len()));
    let (at, access, len) = read.into_iter().chain(write).min_by_key(|found| found.0).expect("an access");
    let (user, client_id) = question[..at].rsplit_once(' ').expect("user and id");
    let (verdict, line) = answer.split_once(' ').map_or((answer, None), |(a, b)| (a, b.parse().ok()));
    Request {
        text: text.to_owned(),
        username: (user != "-").then(|| user.to_owned()),
        client_id: client_id.to_owned(),
        access,
        topic: question[at + len..].to_owned(),
        allowed: verdict == "yes",
        line,
    }
}

fn acl_cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in fixture("acl/cases.txt").text.lines() {
        if let Some(name) = line.strip_prefix("= ") {
            cases.push(Case { name: name.to_owned(), acl: String::new(), requests: Vec::new() });
        }
        let Some(case) = cases.last_mut() else { continue };
        if let Some(text) = line.strip_prefix("| ") {
            case.acl += text;
            case.acl.push('\n');
        } else if let Some(text) = line.strip_prefix("? ") {
            case.requests.push(request(text));
        }
    }
    assert!(cases.iter().map(|case| case.requests.len()).sum::<usize>() > 80, "the table was read");
    cases
}

#[test]
fn acl_table_holds_here() {
    for case in acl_cases() {
        let acl =
            Acl::parse(&Source::new("acl", case.acl.as_str())).unwrap_or_else(|e| panic!("{}", rendered(&e)));
        let rules = Rules::new(vec![Zone { acl: Some(acl), ..Zone::default() }]);
        for one in &case.requests {
            let who = Subject { username: one.username.as_deref(), client_id: &one.client_id };
            let found = rules.check(0, who, &one.topic, one.access);
            assert_eq!((found.allowed, found.line), (one.allowed, one.line), "{}: {}", case.name, one.text);
            let explained = rules.explain(0, who, &one.topic, one.access);
            assert_eq!(explained.decision, found, "{}: {}", case.name, one.text);
            assert!(found.line.is_none_or(|line| explained.text.contains(&format!("(acl:{line})"))));
        }
    }
}

/// The same table, asked of a running broker: a witness with all rights sees what is let through.
/// The rows with which it does not agree.
fn disagreements(start: impl Fn(&str, &[(&str, &str)]) -> Option<Result<Running, Refused>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in acl_cases() {
        let dollars =
            ["$aws/#", "$q/#", "$SYS/#", "$SYSTEM/#"].map(|filter| format!("topic readwrite {filter}\n"));
        let acl = format!("{}user witness\ntopic readwrite #\n{}", case.acl, dollars.concat());
        let conf = "listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {dir}/acl";
        let Some(started) = start(conf, &[("acl", &acl)]) else { return wrong };
        let broker = started.unwrap_or_else(|refused| panic!("{}: {}", case.name, refused.log));
        for one in &case.requests {
            let client = Wire::connect(broker.port, &one.client_id, one.username.as_deref(), None).0;
            let witness = Wire::connect(broker.port, "witness", Some("witness"), None).0;
            let (mut reader, mut writer) =
                if one.access == Access::Read { (client, witness) } else { (witness, client) };
            reader.subscribe(&one.topic);
            writer.publish(&one.topic, "probe");
            if (reader.delivered() == ["probe"]) != one.allowed {
                wrong.push(format!("{}: {}", case.name, one.text));
            }
        }
    }
    wrong
}

#[test]
fn acl_table_holds_on_mosquitto() {
    assert_eq!(disagreements(mosquitto), [""; 0]);
}

#[test]
fn acl_table_holds_on_our_broker() {
    assert_eq!(disagreements(|conf, files| Some(mqttlab(conf, files))), [""; 0]);
}

#[test]
fn mosquitto_refuses_the_acl_lines_that_we_refuse() {
    let source = fixture("acl/wrong.acl");
    let conf = "listener {port} 127.0.0.1\nacl_file {dir}/acl";
    for (number, line) in (1..).zip(source.text.lines()) {
        let ours = Acl::parse(&Source::new("acl", line)).is_ok();
        let Some(started) = mosquitto(conf, &[("acl", line)]) else { return };
        let theirs = match started {
            Ok(_) => true,
            Err(refused) => {
                assert_eq!(refused.code, Some(3), "{}", refused.log);
                false
            }
        };
        assert_eq!(ours, theirs, "line {number}: {line}");
    }
}

// What configurations mean.

/// `conf | yes`: mosquitto 2.0.11 starts. `;` stands for the end of a line, `\t` for a tab.
#[test]
fn mosquitto_takes_the_lines_that_we_take() {
    let overrides = Overrides { compat: Some(Compat::V20), ..Overrides::default() };
    for line in fixture("config/accepted.txt").text.lines().filter(|line| !line.starts_with('#')) {
        let (conf, verdict) = line.rsplit_once(" | ").expect("a verdict");
        let expected = verdict == "yes";
        let conf = conf.replace(';', "\n").replace("\\t", "\t") + "\n";
        let (ours, found) = load(&conf.replace("{port}", "1"), &overrides);
        assert_eq!(ours.is_some(), expected, "we: {line}\n{}", rendered(&found));
        let Some(started) = mosquitto(&conf, &[]) else { continue };
        match started {
            Ok(_) => assert!(expected, "mosquitto takes {line}"),
            Err(refused) => {
                assert!(!expected && refused.code == Some(3), "mosquitto refuses {line}: {}", refused.log);
                // mosquitto stops at its first error; ours has the same sentence.
                let sentence = found.iter().find(|one| one.is_error()).map(|one| one.message.as_str());
                let sentence = sentence.expect("an error");
                assert!(
                    refused.log.replace('\t', "\\t").contains(sentence),
                    "{sentence}\nis not in\n{}",
                    refused.log
                );
            }
        }
    }
}

/// The matrix of MOSQUITTO.md: anonymous; user, no password; right; wrong; unknown; empty name.
#[test]
fn authentication_is_mosquittos() {
    let credentials = [
        (None, None),
        (Some("alice"), None),
        (Some("alice"), Some("secret")),
        (Some("alice"), Some("wrong")),
        (Some("mallory"), Some("secret")),
        (Some(""), Some("secret")),
    ];
    let line = format!("alice:{}\n", hash_password(Hashing::DEFAULT, b"salt12345678", b"secret"));
    for conf in [
        "",
        "allow_anonymous true\n",
        "password_file {dir}/pw\n",
        "password_file {dir}/pw\nallow_anonymous true\n",
    ] {
        let passwords = conf
            .contains("password_file")
            .then(|| Passwords::parse(&Source::new("pw", line.as_str()), Compat::V20).expect("good"));
        let zone = Zone { allow_anonymous: conf.contains("allow_anonymous"), passwords, acl: None };
        let rules = Rules::new(vec![zone]);
        let ours = credentials.map(|(name, password): (_, Option<&str>)| {
            rules.authenticate(0, name, password.map(str::as_bytes)).is_ok()
        });
        let full = format!("listener {{port}} 127.0.0.1\n{conf}");
        let files = [("pw", line.as_str())];
        for started in [Some(mqttlab(&full, &files)), mosquitto(&full, &files)].into_iter().flatten() {
            let broker = started.unwrap_or_else(|refused| panic!("{}", refused.log));
            let codes = credentials.map(|(name, password)| Wire::connect(broker.port, "c", name, password).1);
            assert_eq!(codes, ours.map(|accepted| if accepted { 0 } else { 5 }), "{conf}");
        }
    }
}

// Password files, made by one and read by the other.

#[test]
fn files_of_mosquitto_passwd_verify_here() {
    let Some(program) = program("mosquitto_passwd") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("passwd");
    let users = [
        ("alice", "secret", "sha512-pbkdf2"),
        ("bob", "pä ss:wörd$", "sha512"),
        ("c d", "x", "sha512-pbkdf2"),
    ];
    std::fs::write(&file, "").expect("can write");
    for (name, password, hash) in users {
        let status = Command::new(&program)
            .args(["-b", "-H", hash])
            .arg(&file)
            .args([name, password])
            .status()
            .expect("runs");
        assert!(status.success());
    }
    let text = std::fs::read_to_string(&file).expect("was written");
    for compat in [Compat::V20, Compat::V21] {
        let found = Passwords::parse(&Source::new("passwd", text.as_str()), compat).expect("a good file");
        for (name, password, _) in users {
            assert!(found.verify(name, password.as_bytes()), "{name}");
            assert!(!found.verify(name, b"another"), "{name}");
        }
    }
}

#[test]
fn mosquitto_reads_the_files_that_we_make() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("passwd");
    let passwd = |args: &[&str]| {
        cargo_bin_cmd!("mqttlab")
            .arg("passwd")
            .args(args)
            .arg(&file)
            .args(&["alice", "secret"][..])
            .assert()
            .success();
    };
    passwd(&["-c", "-b"]);
    cargo_bin_cmd!("mqttlab")
        .args(["passwd", "-b", "-H", "sha512"])
        .arg(&file)
        .args(["bob", "geheim"])
        .assert()
        .success();
    cargo_bin_cmd!("mqttlab")
        .args(["passwd", "-b", "-I", "7"])
        .arg(&file)
        .args(["carol", "pä ss"])
        .assert()
        .success();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "# plain\ndave: x y \n").expect("can write");
    cargo_bin_cmd!("mqttlab").args(["passwd", "-U"]).arg(&plain).assert().success();
    let text = [&file, &plain].map(|path| std::fs::read_to_string(path).expect("was written")).concat();
    let conf = "listener {port} 127.0.0.1\npassword_file {dir}/pw";
    let Some(started) = mosquitto(conf, &[("pw", &text)]) else { return };
    let mosquitto = started.unwrap_or_else(|refused| panic!("{}", refused.log));
    for (name, password) in [("alice", "secret"), ("bob", "geheim"), ("carol", "pä ss"), ("dave", "x y")] {
        assert_eq!(Wire::connect(mosquitto.port, "c", Some(name), Some(password)).1, 0, "{name}");
        assert_eq!(Wire::connect(mosquitto.port, "c", Some(name), Some("wrong")).1, 5, "{name}");
    }
}

#[test]
fn passwd_has_mosquittos_exit_codes_and_keeps_what_it_does_not_own() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("passwd");
    let path = file.to_str().expect("UTF-8");
    let run = |args: &[&str], input: &str| {
        cargo_bin_cmd!("mqttlab").arg("passwd").args(args).write_stdin(input).assert()
    };
    run(&[path, "alice"], "").code(1).stderr(predicates::str::contains("Unable to open password file"));
    run(&["-c", path, "alice"], "one\ntwo\n").code(2).stderr("Error: Passwords do not match.\n");
    assert!(!file.exists(), "nothing is left of it");
    run(&["-c", path, "alice"], "one\none\n").code(0).stdout("Password: \nReenter password: \n");
    run(&["-c", "-b", path, "alice", "x"], "").code(1).stderr(predicates::str::contains("File exists"));
    run(&["-c", "-b", "--compat", "2.0", path, "alice", "x"], "").code(0);
    let mode = || std::fs::metadata(&file).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);

    let text = std::fs::read_to_string(&file).expect("readable");
    std::fs::write(&file, format!("# staff\n{text}# end")).expect("can write");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("can be set");
    run(&["-b", path, "bob", "y"], "").code(0);
    assert_eq!(mode(), 0o600, "nobody else gets to read it");
    run(&["-D", path, "alice"], "").code(0);
    run(&["-D", path, "alice"], "").code(1).stderr("Warning: User alice not found in password file.\n");
    let text = std::fs::read_to_string(&file).expect("readable");
    assert!(text.starts_with("# staff\n# end\nbob:$7$101$"), "{text}");
    let leftovers = std::fs::read_dir(folder.path()).expect("readable").count();
    assert_eq!(leftovers, 1, "no temporary file stays");

    for (args, code) in [
        (&["-b", path, "a:b", "x"][..], 1),
        (&["-b", path, "a", ""], 1),
        (&["-I", "0", "-b", path, "a", "x"], 1),
        (&["-H", "md5", "-b", path, "a", "x"], 1),
        (&["-c", "-D", path, "a"], 1),
        (&["-b", path, "a"], 1),
        (&[], 1),
    ] {
        run(args, "").code(code);
    }
}

// No text makes us panic.

/// Texts near a good one: cut, doubled, shuffled, and with hostile characters put in.
fn mutated(seed: &'static str) -> impl Strategy<Value = String> {
    let junk = prop::sample::select(vec![
        "\0",
        "\t",
        " ",
        "  ",
        "\r",
        "\n",
        "#",
        "+",
        "$",
        ":",
        "é",
        "\u{202e}",
        "\u{feff}",
        "%u",
        "%c",
        "%",
        "/",
        "-1",
        "99999999999999999999",
        "'",
        "\"",
        "{}",
        "topic",
        "user",
        "pattern",
        "listener",
        "$7$4294967295$",
        "$6$$",
    ]);
    let edit = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_u8, junk);
    prop::collection::vec(edit, 1..12).prop_map(move |edits| {
        let mut text: Vec<char> = seed.chars().collect();
        for (from, to, kind, junk) in edits {
            let (a, b) = (from.index(text.len() + 1), to.index(text.len() + 1));
            let (start, end) = (a.min(b), a.max(b).min(a.min(b) + 40));
            match kind {
                0 => drop(text.drain(start..end)),
                1 => drop(text.splice(start..start, junk.chars())),
                2 => {
                    let piece = text[start..end].to_vec();
                    text.splice(start..start, piece);
                }
                _ => text[start..end].reverse(),
            }
        }
        text.into_iter().collect()
    })
}

const CONF: &str = include_str!("../../fixtures/config/wrong.conf");
const ACL: &str = include_str!("../../fixtures/acl/suspicious.acl");
const PASSWD: &str = include_str!("../../fixtures/passwd/wrong.txt");

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_configuration_makes_us_panic(text in prop_oneof![mutated(CONF), any::<String>()], old: bool) {
        let compat = if old { Compat::V20 } else { Compat::V21 };
        let (config, found) = load(&text, &Overrides { compat: Some(compat), ..Overrides::default() });
        prop_assert_eq!(config.is_none(), found.iter().any(Diagnostic::is_error));
        for one in &found {
            one.render(false);
        }
        if let Some(config) = config {
            prop_assert!(config.listeners.iter().all(|one| one.security < config.security.len()));
            prop_assert!(!config.listeners.is_empty());
        }
    }

    #[test]
    fn no_acl_makes_us_panic(text in prop_oneof![mutated(ACL), any::<String>()], name: String, topic: String) {
        match Acl::parse(&Source::new("acl", text)) {
            Ok(acl) => {
                let rules = Rules::new(vec![Zone { acl: Some(acl), ..Zone::default() }]);
                for access in [Access::Read, Access::Write] {
                    for topic in [topic.as_str(), "a/b", "$SYS/x", ""] {
                        let who = Subject { username: Some(&name), client_id: "c" };
                        let explained = rules.explain(0, who, topic, access);
                        prop_assert_eq!(explained.decision, rules.check(0, who, topic, access));
                    }
                }
            }
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                rendered(&errors);
            }
        }
    }

    #[test]
    fn no_password_file_makes_us_panic(text in prop_oneof![mutated(PASSWD), any::<String>()], old: bool) {
        let compat = if old { Compat::V20 } else { Compat::V21 };
        match Passwords::parse(&Source::new("passwd", text), compat) {
            Ok(found) => {
                rendered(found.warnings());
                prop_assert!(!found.verify("nobody", b"x"));
                prop_assert!(!found.verify("", b""));
            }
            Err(errors) => {
                prop_assert!(!old, "2.0 drops users and goes on");
                rendered(&errors);
            }
        }
    }
}
