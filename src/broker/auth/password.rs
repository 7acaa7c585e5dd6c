//! Password files: `name:hash` lines in mosquitto's two formats, `$6$` and `$7$`, and in ours for
//! SCRAM, `$scram-sha-256$ITERATIONS$SALT$STOREDKEY$SERVERKEY`.
//!
//! Neither reads files nor makes salts: both are handed in. Plain-text passwords are refused.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;

use super::scram;
use crate::broker::config::Compat;
use crate::diagnostic::{Diagnostic, Severity, Source, Span};

/// Bytes of the salt that every mosquitto accepts; 2.1 also takes [`LONG_SALT`].
const SALT: usize = 12;
const LONG_SALT: usize = 64;
const HASH: usize = 64;

/// How the lines of our own format begin.
const SCRAM: &str = "$scram-sha-256$";

/// How a password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hashing {
    /// `$6$`: one round of SHA-512 over password and salt.
    Sha512,
    /// `$7$`: PBKDF2-HMAC-SHA512.
    Pbkdf2 {
        /// Rounds, at least 1.
        iterations: u32,
    },
    /// `$scram-sha-256$`: the two keys of SCRAM-SHA-256, which prove a password that the broker never
    /// sees. Ours: mosquitto has no such users.
    ScramSha256 {
        /// Rounds, at least 1; RFC 7677 wants 4,096.
        iterations: u32,
    },
}

impl Hashing {
    /// What `mosquitto_passwd` 2.0 writes, which every version reads.
    pub const DEFAULT: Self = Self::Pbkdf2 { iterations: 101 };

    /// As RFC 7677 wants it at least.
    pub const DEFAULT_SCRAM: Self = Self::ScramSha256 { iterations: 4096 };

    /// More rounds than this take seconds for every CONNECT.
    pub const MOST_ITERATIONS: u32 = 5_000_000;

    fn hash(self, salt: &[u8], password: &[u8]) -> [u8; HASH] {
        match self {
            Self::Sha512 => Sha512::new().chain_update(password).chain_update(salt).finalize().into(),
            Self::Pbkdf2 { iterations } => {
                let mut out = [0; HASH];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut out);
                out
            }
            Self::ScramSha256 { iterations } => {
                let keys = scram::derive(iterations, salt, password);
                let mut out = [0; HASH];
                out[..scram::HASH].copy_from_slice(&keys.stored);
                out[scram::HASH..].copy_from_slice(&keys.server);
                out
            }
        }
    }
}

/// What stands behind `name:` in a password file. Use a random salt of 12 bytes, which every
/// version of mosquitto reads.
pub fn hash_password(hashing: Hashing, salt: &[u8], password: &[u8]) -> String {
    let bytes = hashing.hash(salt, password);
    let (salt, hash) = (STANDARD.encode(salt), STANDARD.encode(bytes));
    match hashing {
        Hashing::Sha512 => format!("$6${salt}${hash}"),
        Hashing::Pbkdf2 { iterations } => format!("$7${iterations}${salt}${hash}"),
        Hashing::ScramSha256 { iterations } => {
            let (stored, server) = bytes.split_at(scram::HASH);
            let (stored, server) = (STANDARD.encode(stored), STANDARD.encode(server));
            format!("{SCRAM}{iterations}${salt}${stored}${server}")
        }
    }
}

/// A checked password file.
#[derive(Debug)]
pub struct Passwords {
    users: BTreeMap<Box<str>, Credential>,
    /// What a password of a user that does not exist is hashed with: so that it takes as long as
    /// that of most who do.
    usual: Option<Hashing>,
    /// Any user of SCRAM, for the same reason.
    usual_scram: Option<scram::Keys>,
    warnings: Vec<Diagnostic>,
}

#[derive(PartialEq, Eq)]
struct Credential {
    hashing: Hashing,
    salt: Vec<u8>,
    hash: [u8; HASH],
}

impl Credential {
    fn scram(&self) -> Option<scram::Keys> {
        let Hashing::ScramSha256 { iterations } = self.hashing else { return None };
        let (stored, server) = self.hash.split_at(scram::HASH);
        let (stored, server) = (stored.try_into().ok()?, server.try_into().ok()?);
        Some(scram::Keys { iterations, salt: self.salt.clone(), stored, server })
    }
}

/// The one that most have.
fn usual(all: impl Iterator<Item = Hashing>) -> Option<Hashing> {
    let mut counts: BTreeMap<Hashing, usize> = BTreeMap::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(hashing, _)| hashing)
}

impl fmt::Debug for Credential {
    /// Keeps hashes out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("hashing", &self.hashing).finish_non_exhaustive()
    }
}

impl Passwords {
    /// Reads a password file. A line that cannot be used is an error as in 2.1, and all of them are
    /// told at once; with [`Compat::V20`] only its user is dropped, with a warning.
    pub fn parse(source: &Arc<Source>, compat: Compat) -> Result<Self, Vec<Diagnostic>> {
        let mut found = Self { users: BTreeMap::new(), usual: None, usual_scram: None, warnings: Vec::new() };
        let mut places: BTreeMap<&str, Range<usize>> = BTreeMap::new();
        let shown = redacted(source);
        let mut start = 0;
        for (line, shown_line) in source.text.split('\n').zip(shown.text.split('\n')) {
            let place = start..start + shown_line.trim_end().len();
            start += shown_line.len() + 1;
            match read_line(line, compat) {
                Ok(None) => {}
                Ok(Some((name, credential))) => {
                    if let Some(earlier) = places.insert(name, place.clone()) {
                        let sentence = duplicate(name, source, compat);
                        let error = Diagnostic::error("P003", Span::new(&shown, place), sentence)
                            .with_related(Span::new(&shown, earlier), "here first")
                            .with_help("one line a user; mosquitto 2.0 takes the last");
                        found.report(compat, error);
                    }
                    found.users.insert(name.into(), credential);
                }
                Err(problem) => found.report(compat, problem.diagnostic(&shown, place)),
            }
        }
        found.usual = usual(found.users.values().map(|credential| credential.hashing));
        found.usual_scram = found.users.values().find_map(Credential::scram);
        if found.warnings.iter().any(Diagnostic::is_error) { Err(found.warnings) } else { Ok(found) }
    }

    /// What was dropped or looks like a mistake.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Whether the user stands here with the same hash as there.
    pub fn has_same(&self, other: &Self, username: &str) -> bool {
        self.users.get(username).is_some_and(|credential| other.users.get(username) == Some(credential))
    }

    /// Whether this is the user's password. No password, or an empty one, never is. Like mosquitto
    /// we take what stands before the first zero byte.
    pub fn verify(&self, username: &str, password: &[u8]) -> bool {
        if password.is_empty() {
            return false;
        }
        let password = password.split(|byte| *byte == 0).next().unwrap_or_default();
        let Some(credential) = self.users.get(username) else {
            // The time that an answer takes must not tell who exists.
            if let Some(usual) = self.usual {
                std::hint::black_box(usual.hash(&[0; SALT], password));
            }
            return false;
        };
        credential.hashing.hash(&credential.salt, password).ct_eq(&credential.hash).into()
    }

    /// What a proof of SCRAM by this user is checked with. A user that does not exist, or has no such
    /// line, gets keys that nobody knows. `None` if no user has one: then there is no SCRAM.
    pub fn scram(&self, username: &str, secret: &scram::Secret) -> Option<scram::Keys> {
        let fake = secret.keys(username, self.usual_scram.as_ref()?);
        Some(self.users.get(username).and_then(Credential::scram).unwrap_or(fake))
    }

    fn report(&mut self, compat: Compat, mut diagnostic: Diagnostic) {
        if compat == Compat::V20 {
            diagnostic.severity = Severity::Warning;
        }
        self.warnings.push(diagnostic);
    }
}

/// The file as diagnostics show it: hashes, and passwords in their place, stay out of logs and reports.
fn redacted(source: &Source) -> Arc<Source> {
    let line = |line: &str| match line.split_once(':') {
        _ if line.starts_with('#') || line.trim().is_empty() => line.to_owned(),
        Some((name, _)) => format!("{name}:…"),
        None => "…".to_owned(),
    };
    let lines: Vec<String> = source.text.split('\n').map(line).collect();
    Source::new(source.name.clone(), lines.join("\n"))
}

fn duplicate(name: &str, source: &Source, compat: Compat) -> String {
    match compat {
        Compat::V20 => format!("user {name} appears twice, the last one counts"),
        Compat::V21 => format!("Duplicate user '{name}' in password file '{}'", source.name),
    }
}

/// Why a line cannot be used.
struct Problem<'a> {
    code: &'static str,
    text: String,
    help: &'a str,
    severity: Severity,
}

impl Problem<'_> {
    fn new(code: &'static str, text: String, help: &'static str) -> Self {
        Self { code, text, help, severity: Severity::Error }
    }

    fn diagnostic(self, source: &Arc<Source>, place: Range<usize>) -> Diagnostic {
        let mut found =
            Diagnostic::error(self.code, Span::new(source, place), self.text).with_help(self.help);
        found.severity = self.severity;
        found
    }
}

/// A line's user; `None` for comments and blank lines.
fn read_line(line: &str, compat: Compat) -> Result<Option<(&str, Credential)>, Problem<'static>> {
    if line.starts_with('#') || line.trim().is_empty() {
        return Ok(None);
    }
    if !line.contains(':') {
        // mosquitto passes over such a line in silence.
        let mut problem =
            Problem::new("P101", "a line without `:` names no user".to_owned(), "write `name:hash`");
        problem.severity = Severity::Warning;
        return Err(problem);
    }
    let mut fields = line.split(':').filter(|field| !field.is_empty());
    let name = fields.next().unwrap_or_default().trim();
    let make = "make the line with `mqttlab passwd FILE NAME`";
    let Some(hash) = fields.next().map(str::trim).filter(|hash| !hash.is_empty()) else {
        return Err(Problem::new("P001", "Invalid line in password file".to_owned(), make));
    };
    if name.is_empty() || name.len() > usize::from(u16::MAX) {
        return Err(Problem::new("P001", "Invalid line in password file, no usable user name".into(), make));
    }
    let credential = read_hash(name, hash, compat)?;
    Ok(Some((name, credential)))
}

fn read_hash(name: &str, text: &str, compat: Compat) -> Result<Credential, Problem<'static>> {
    let fail = |sentence: &str, help| Problem::new("P002", format!("{sentence} for user {name}"), help);
    let mut fields = text.split('$').filter(|field| !field.is_empty());
    let kind = fields.next();
    let iterations = match kind {
        Some("6") => 0,
        Some("7" | "scram-sha-256") => {
            let iterations = fields.next().and_then(|field| field.parse().ok()).filter(|n| *n > 0);
            let Some(iterations) = iterations else {
                return Err(fail("Invalid hash iterations", "a whole number from 1"));
            };
            if iterations > Hashing::MOST_ITERATIONS {
                return Err(fail("Invalid hash iterations", "so many rounds would take seconds a login"));
            }
            iterations
        }
        _ => {
            let help = "only $6$, $7$ and $scram-sha-256$ are read; hash a file of plain passwords with \
                        `mqttlab passwd -U FILE`";
            return Err(fail("Invalid password hash type", help));
        }
    };
    let (Some(salt), Some(hash)) = (fields.next(), fields.next()) else {
        let help = "`$6$SALT$HASH`, `$7$ITERATIONS$SALT$HASH` or \
                    `$scram-sha-256$ITERATIONS$SALT$STOREDKEY$SERVERKEY`";
        return Err(fail("Invalid password hash", help));
    };
    let salt = STANDARD.decode(salt).ok();
    if kind == Some("scram-sha-256") {
        let Some(salt) = salt.filter(|salt| !salt.is_empty() && salt.len() <= LONG_SALT) else {
            return Err(fail("Unable to decode password salt", "a salt has 1 to 64 bytes in base64"));
        };
        let key = |text: &str| STANDARD.decode(text).ok().filter(|key| key.len() == scram::HASH);
        let keys =
            key(hash).zip(fields.next().and_then(key)).map(|(stored, server)| [stored, server].concat());
        return match keys.and_then(|keys| keys.try_into().ok()) {
            Some(hash) => Ok(Credential { hashing: Hashing::ScramSha256 { iterations }, salt, hash }),
            None => Err(fail("Unable to decode password", "a key has 32 bytes in base64, and there are two")),
        };
    }
    let long = compat == Compat::V21;
    let Some(salt) = salt.filter(|salt| salt.len() == SALT || long && salt.len() == LONG_SALT) else {
        let help = if long { "a salt has 12 or 64 bytes in base64" } else { "a salt has 12 bytes in base64" };
        return Err(fail("Unable to decode password salt", help));
    };
    let hashing = if kind == Some("7") { Hashing::Pbkdf2 { iterations } } else { Hashing::Sha512 };
    match STANDARD.decode(hash).ok().and_then(|hash| hash.try_into().ok()) {
        Some(hash) => Ok(Credential { hashing, salt, hash }),
        None => Err(fail("Unable to decode password", "a hash has 64 bytes in base64")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by Debian's `mosquitto_passwd` 2.0.11 for the password `secret`.
    const MADE: &str = "\
alice:$7$101$VwOXynsllbKJLuFt$+xo49d69CSjFnQO1WbWTdW1xlY0h5Rn7LTkk71YoP7v0/WSGmhcONRaHDZogDNGZyk/aGmGj1FKod/Ft6Vbl0w==
bob:$6$rSdKUDex4OqdqgBL$6VWQnzwH0WC2KVsqIXb758JgfKKMwrBbi/+3HaCpcfYhawiKQ29lHBQvZzKoMzO+R76pH9wUA3ztVvZTe1P/Aw==
";

    fn parse(text: &str, compat: Compat) -> Result<Passwords, Vec<String>> {
        Passwords::parse(&Source::new("passwd", text), compat)
            .map_err(|all| all.into_iter().map(|one| one.message).collect())
    }

    #[test]
    fn verifies_what_mosquitto_passwd_made() {
        let found = parse(MADE, Compat::V20).expect("good");
        for name in ["alice", "bob"] {
            assert!(found.verify(name, b"secret"));
            assert!(found.verify(name, b"secret\0and more"), "mosquitto stops at a zero byte");
            assert!(!found.verify(name, b"Secret"));
            assert!(!found.verify(name, b""));
        }
        assert!(!found.verify("carol", b"secret"));
    }

    #[test]
    fn makes_the_same_lines() {
        let salt = STANDARD.decode("VwOXynsllbKJLuFt").expect("base64");
        let made = format!("alice:{}", hash_password(Hashing::DEFAULT, &salt, b"secret"));
        assert_eq!(Some(made.as_str()), MADE.lines().next());
        let salt = STANDARD.decode("rSdKUDex4OqdqgBL").expect("base64");
        let made = format!("bob:{}", hash_password(Hashing::Sha512, &salt, b"secret"));
        assert_eq!(Some(made.as_str()), MADE.lines().nth(1));
    }

    #[test]
    fn a_bad_line_is_fatal_in_2_1_and_drops_its_user_in_2_0() {
        let text = format!("{MADE}plain:secret\nnosalt:$7$101\nit:$7$0$AAAA$AAAA\nshort:$6$AAAA$AAAA\n:x\n");
        let errors = parse(&text, Compat::V21).expect_err("bad lines");
        assert_eq!(
            errors,
            [
                "Invalid password hash type for user plain",
                "Invalid password hash for user nosalt",
                "Invalid hash iterations for user it",
                "Unable to decode password salt for user short",
                "Invalid line in password file",
            ]
        );
        let found = parse(&text, Compat::V20).expect("the good users stay");
        assert!(found.verify("alice", b"secret"));
        assert!(!found.verify("plain", b"secret"));
        assert_eq!(found.warnings().len(), 5);
    }

    #[test]
    fn users_of_scram_have_keys_and_passwords() {
        let hashing = Hashing::ScramSha256 { iterations: 4096 };
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let line = format!("user:{}", hash_password(hashing, &salt, b"pencil"));
        // Computed with Python's hashlib from the example of RFC 7677.
        let made = "user:$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==$\
                    WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(line, made);
        let secret = scram::Secret::new([1; 32]);
        for compat in [Compat::V20, Compat::V21] {
            let found = parse(&format!("{MADE}{line}\n"), compat).expect("good");
            assert!(found.verify("user", b"pencil") && !found.verify("user", b"pen"));
            let keys = found.scram("user", &secret).expect("has SCRAM");
            assert_eq!((keys.iterations, &keys.salt), (4096, &salt));
            assert_ne!(found.scram("alice", &secret).expect("has SCRAM").salt, salt, "alice has no keys");
        }
        assert_eq!(parse(MADE, Compat::V21).expect("good").scram("alice", &secret), None);
        for (part, error) in [
            ("$4096$", "Invalid hash iterations for user user"),
            ("qY=$wf", "Unable to decode password for user user"),
            ("W22Z", "Unable to decode password salt for user user"),
        ] {
            assert_eq!(parse(&line.replace(part, "$0$"), Compat::V21).expect_err("bad"), [error]);
        }
    }

    #[test]
    fn a_user_that_does_not_exist_costs_what_most_do() {
        let found = parse(&MADE.replace("bob:$6", "carol:$7$101$AAAAAAAAAAAAAAAA$AAAA\nbob:$6"), Compat::V20);
        assert_eq!(found.expect("carol is dropped").usual, Some(Hashing::DEFAULT));
        let line = |name, rounds| {
            let hashing = Hashing::Pbkdf2 { iterations: rounds };
            format!("{name}:{}\n", hash_password(hashing, &[1; 12], b"x"))
        };
        let found = parse(&(line("a", 1) + &line("b", 3) + &line("c", 3) + &line("d", 9)), Compat::V21);
        assert_eq!(found.expect("good").usual, Some(Hashing::Pbkdf2 { iterations: 3 }));
    }

    #[test]
    fn blank_lines_and_lines_without_a_colon_let_nobody_in() {
        // CVE-2018-12551
        let found = parse("\n# c\n\nmallory\n  \n", Compat::V21).expect("nothing fatal");
        assert!(!found.verify("mallory", b"") && !found.verify("", b"") && !found.verify("mallory", b"x"));
        assert_eq!(found.warnings().len(), 1);
    }

    #[test]
    fn long_salts_are_of_2_1() {
        let line = format!("a:{}", hash_password(Hashing::Pbkdf2 { iterations: 2 }, &[7; 64], b"pw"));
        assert!(parse(&line, Compat::V21).expect("good").verify("a", b"pw"));
        assert!(!parse(&line, Compat::V20).expect("dropped").verify("a", b"pw"));
    }

    #[test]
    fn of_two_lines_for_a_user_2_0_takes_the_last() {
        let line = |password| format!("a:{}\n", hash_password(Hashing::Sha512, &[1; 12], password));
        let text = line(b"one") + &line(b"two");
        let found = parse(&text, Compat::V20).expect("no error");
        assert!(found.verify("a", b"two") && !found.verify("a", b"one"));
        assert_eq!(
            parse(&text, Compat::V21).expect_err("fatal"),
            ["Duplicate user 'a' in password file 'passwd'"]
        );
    }

    #[test]
    fn hashes_and_passwords_stay_out_of_what_is_printed() {
        let errors = Passwords::parse(&Source::new("passwd", "a:geheim\ngeheim\n:geheim\n"), Compat::V21);
        let text: String = errors.expect_err("bad lines").iter().map(|one| one.render(false)).collect();
        assert!(text.contains("passwd:3:1") && !text.contains("geheim"), "{text}");
        let found = format!("{:?}", parse(MADE, Compat::V21).expect("good"));
        assert!(found.contains("alice") && !found.contains("salt"), "{found}");
    }
}
