//! Password files: `name:hash` lines in mosquitto's two formats, `$6$` and `$7$`.
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

use crate::broker::config::Compat;
use crate::diagnostic::{Diagnostic, Severity, Source, Span};

/// Bytes of the salt that every mosquitto accepts; 2.1 also takes [`LONG_SALT`].
const SALT: usize = 12;
const LONG_SALT: usize = 64;
const HASH: usize = 64;

/// How a password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    /// `$6$`: one round of SHA-512 over password and salt.
    Sha512,
    /// `$7$`: PBKDF2-HMAC-SHA512.
    Pbkdf2 {
        /// Rounds, at least 1.
        iterations: u32,
    },
}

impl Hashing {
    /// What `mosquitto_passwd` 2.0 writes, which every version reads.
    pub const DEFAULT: Self = Self::Pbkdf2 { iterations: 101 };

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
        }
    }
}

/// What stands behind `name:` in a password file. Use a random salt of 12 bytes, which every
/// version of mosquitto reads.
pub fn hash_password(hashing: Hashing, salt: &[u8], password: &[u8]) -> String {
    let hash = STANDARD.encode(hashing.hash(salt, password));
    let salt = STANDARD.encode(salt);
    match hashing {
        Hashing::Sha512 => format!("$6${salt}${hash}"),
        Hashing::Pbkdf2 { iterations } => format!("$7${iterations}${salt}${hash}"),
    }
}

/// A checked password file.
#[derive(Debug)]
pub struct Passwords {
    users: BTreeMap<Box<str>, Credential>,
    warnings: Vec<Diagnostic>,
}

#[derive(PartialEq, Eq)]
struct Credential {
    hashing: Hashing,
    salt: Vec<u8>,
    hash: [u8; HASH],
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
        let mut found = Self { users: BTreeMap::new(), warnings: Vec::new() };
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
        let Some(credential) = self.users.get(username) else { return false };
        if password.is_empty() {
            return false;
        }
        let password = password.split(|byte| *byte == 0).next().unwrap_or_default();
        credential.hashing.hash(&credential.salt, password).ct_eq(&credential.hash).into()
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
    let hashing = match fields.next() {
        Some("6") => Hashing::Sha512,
        Some("7") => {
            let iterations = fields.next().and_then(|field| field.parse().ok()).filter(|n| *n > 0);
            let Some(iterations) = iterations else {
                return Err(fail("Invalid hash iterations", "a whole number from 1"));
            };
            if iterations > Hashing::MOST_ITERATIONS {
                return Err(fail("Invalid hash iterations", "so many rounds would take seconds a login"));
            }
            Hashing::Pbkdf2 { iterations }
        }
        _ => {
            let help =
                "only $6$ and $7$ are read; hash a file of plain passwords with `mqttlab passwd -U FILE`";
            return Err(fail("Invalid password hash type", help));
        }
    };
    let (Some(salt), Some(hash)) = (fields.next(), fields.next()) else {
        return Err(fail("Invalid password hash", "`$6$SALT$HASH` or `$7$ITERATIONS$SALT$HASH`"));
    };
    let long = compat == Compat::V21;
    let salt =
        STANDARD.decode(salt).ok().filter(|salt| salt.len() == SALT || long && salt.len() == LONG_SALT);
    let Some(salt) = salt else {
        let help = if long { "a salt has 12 or 64 bytes in base64" } else { "a salt has 12 bytes in base64" };
        return Err(fail("Unable to decode password salt", help));
    };
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
