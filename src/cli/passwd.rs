//! `mqttlab passwd`: makes and edits password files, as `mosquitto_passwd(1)` does.
//!
//! Takes `mosquitto_passwd`'s arguments, prompts, sentences and exit codes, and keeps what
//! `mosquitto_passwd` loses: comments, other lines, and the old file until the new one is whole.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::Exit;
use crate::broker::auth::{Hashing, hash_password};
use crate::broker::config::Compat;

/// The salt that every version of mosquitto reads.
const SALT_BYTES: usize = 12;

/// Makes and edits password files for mosquitto and `mqttlab broker`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are those of mosquitto_passwd")]
pub struct Args {
    /// Make a new FILE; with - for FILE the line is printed
    #[arg(short = 'c')]
    create: bool,

    /// Take the password from the command line
    #[arg(short = 'b')]
    batch: bool,

    /// Delete USER
    #[arg(short = 'D')]
    delete: bool,

    /// Hash the passwords of a FILE of plain `name:password` lines
    #[arg(short = 'U')]
    update: bool,

    /// How to hash: sha512-pbkdf2, sha512 or scram-sha-256
    #[arg(short = 'H', value_name = "HASH", default_value = "sha512-pbkdf2")]
    hash: String,

    /// Rounds of sha512-pbkdf2 [default: 101] or scram-sha-256 [default: 4096]
    #[arg(short = 'I', value_name = "ITERATIONS", allow_negative_numbers = true)]
    iterations: Option<String>,

    /// Which mosquitto to be like: 2.0 overwrites an existing FILE with -c, 2.1 refuses to
    #[arg(long, value_name = "VERSION", default_value = "2.1", value_parser = ["2.0", "2.1"])]
    compat: String,

    /// The password file
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// The user to add, change or delete
    #[arg(value_name = "USER")]
    user: Option<String>,

    /// With -b: the password
    #[arg(value_name = "PASSWORD", allow_hyphen_values = true)]
    password: Option<String>,
}

const EXAMPLES: &str = "\
Hashes have a salt of 12 bytes, so that every version of mosquitto reads them. Without -b the
password is asked for twice.

With scram-sha-256 the line is NAME:$scram-sha-256$ITERATIONS$SALT$STOREDKEY$SERVERKEY. Only mqttlab
reads it. Such a user can prove the password without sending it, by the authentication method
SCRAM-SHA-256 of MQTT 5 (RFC 5802, RFC 7677), and can still come in with the password itself.

Exit codes: 0 done, 1 wrong usage, file or user, 2 the two passwords differ

Examples:
  mqttlab passwd -c passwd alice             a new file with one user
  mqttlab passwd passwd bob                  add bob, or change his password
  mqttlab passwd -b passwd carol s3cret      the same, for scripts
  mqttlab passwd -D passwd bob               delete bob
  mqttlab passwd -U plain.txt                hash a file of plain passwords
  mqttlab passwd -H scram-sha-256 passwd eve add eve, who never has to send her password
  mqttlab passwd -c -b - dave s3cret         print the line";

/// Why nothing was done: `mosquitto_passwd`'s exit code and sentence.
#[derive(Debug, PartialEq, Eq)]
struct Refusal(u8, String);

fn refuse<T>(sentence: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(1, sentence.into()))
}

/// Exit 0 if done, 1 for wrong usage, file or user, 2 if the two passwords differ.
pub fn run(args: &Args) -> Exit {
    match obey(args) {
        Ok(()) => Exit::Success,
        Err(Refusal(code, sentence)) => {
            anstream::eprintln!("{sentence}");
            Exit::Other(code)
        }
    }
}

fn obey(args: &Args) -> Result<(), Refusal> {
    check_combination(args)?;
    let hashing = hashing(&args.hash, args.iterations.as_deref())?;
    let Some(file) = &args.file else { return refuse("Error: FILE is missing, see --help") };
    if args.update {
        if args.user.is_some() {
            return refuse("Error: -U takes a FILE alone");
        }
        let text = read(file)?;
        return write(file, &hash_all(&text, hashing)?);
    }
    let Some(user) = args.user.as_deref() else { return refuse("Error: USER is missing, see --help") };
    check_user(user)?;
    if args.delete {
        return match remove(&read(file)?, user) {
            Some(text) => write(file, &text),
            None => refuse(format!("Warning: User {user} not found in password file.")),
        };
    }
    if args.create && file.as_os_str() != "-" && file.exists() && compat(args) == Compat::V21 {
        return refuse(format!("Error: Unable to open file {} for writing. File exists.", file.display()));
    }
    // A missing file is said before anybody types a password.
    let text = if args.create { String::new() } else { read(file)? };
    let password = match (&args.password, args.batch) {
        (Some(password), true) => password.clone(),
        (None, false) => ask()?,
        (None, true) => return refuse("Error: -b needs a PASSWORD, see --help"),
        (Some(_), false) => return refuse("Error: a PASSWORD on the command line needs -b"),
    };
    if password.is_empty() {
        // Such a user could never come in: brokers take an empty password as none.
        return refuse("Error: Empty password.");
    }
    let line = format!("{user}:{}", hash(hashing, &password)?);
    if args.create && file.as_os_str() == "-" {
        anstream::println!("{line}");
        return Ok(());
    }
    write(file, &set(&text, user, &line))
}

fn check_combination(args: &Args) -> Result<(), Refusal> {
    for (both, names) in [
        (args.create && args.delete, "-c and -D"),
        (args.create && args.update, "-c and -U"),
        (args.delete && args.update, "-D and -U"),
        (args.delete && args.batch, "-D and -b"),
        (args.update && args.batch, "-U and -b"),
    ] {
        if both {
            return refuse(format!("Error: {names} cannot be used together."));
        }
    }
    Ok(())
}

fn compat(args: &Args) -> Compat {
    Compat::parse(&args.compat).unwrap_or_default()
}

fn hashing(name: &str, iterations: Option<&str>) -> Result<Hashing, Refusal> {
    let usual = if name == "scram-sha-256" { "4096" } else { "101" };
    let iterations = match iterations.unwrap_or(usual).parse() {
        Ok(0) | Err(_) => return refuse("Error: Number of iterations must be > 0."),
        Ok(iterations) if iterations > Hashing::MOST_ITERATIONS => {
            let most = Hashing::MOST_ITERATIONS;
            return refuse(format!("Error: Number of iterations must be <= {most}."));
        }
        Ok(iterations) => iterations,
    };
    match name {
        "sha512" => Ok(Hashing::Sha512),
        "sha512-pbkdf2" => Ok(Hashing::Pbkdf2 { iterations }),
        "scram-sha-256" => Ok(Hashing::ScramSha256 { iterations }),
        other => refuse(format!("Error: Unknown hash type '{other}'")),
    }
}

/// A name that the line cannot hold would lock its user out, or make another user.
fn check_user(user: &str) -> Result<(), Refusal> {
    let fault = if user.contains(':') {
        "Username must not contain the ':' character."
    } else if user.is_empty() || user.trim() != user {
        "Username must not be empty, nor begin or end with a blank."
    } else if user.starts_with('#') {
        "Username must not begin with '#', its line would be a comment."
    } else if user.chars().any(char::is_control) {
        "Username must not contain control characters."
    } else if user.len() > usize::from(u16::MAX) {
        "Username must be less than 65536 characters long."
    } else {
        return Ok(());
    };
    refuse(format!("Error: {fault}"))
}

fn hash(hashing: Hashing, password: &str) -> Result<String, Refusal> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt)
        .map_err(|error| Refusal(1, format!("Error: no random numbers for the salt: {error}")))?;
    Ok(hash_password(hashing, &salt, password.as_bytes()))
}

/// Asks twice; without echo on a terminal.
fn ask() -> Result<String, Refusal> {
    let failed = |error: io::Error| Refusal(1, format!("Error: Unable to read the password: {error}"));
    let first = prompt("Password: ").map_err(failed)?;
    if first.is_empty() {
        return refuse("Error: Empty password.");
    }
    let second = prompt("Reenter password: ").map_err(failed)?;
    if first == second { Ok(first) } else { Err(Refusal(2, "Error: Passwords do not match.".to_owned())) }
}

fn prompt(text: &str) -> io::Result<String> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(text);
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    writeln!(out)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn read(file: &Path) -> Result<String, Refusal> {
    fs::read_to_string(file).map_err(|error| {
        Refusal(1, format!("Error: Unable to open password file {}. {error}.", file.display()))
    })
}

/// The user of a line of a password file.
fn user_of(line: &str) -> Option<&str> {
    if line.starts_with('#') {
        return None;
    }
    line.split_once(':').map(|(user, _)| user.trim())
}

/// The text with this line for the user: in the place of the old one, or at the end.
fn set(text: &str, user: &str, line: &str) -> String {
    let mut out = String::with_capacity(text.len() + line.len() + 2);
    let mut done = false;
    for old in text.lines() {
        if user_of(old) == Some(user) {
            if !done {
                push_line(&mut out, line);
                done = true;
            }
        } else {
            push_line(&mut out, old);
        }
    }
    if !done {
        push_line(&mut out, line);
    }
    out
}

/// The text without the user; `None` if it is not there.
fn remove(text: &str, user: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| user_of(line) != Some(user)) {
        push_line(&mut out, line);
    }
    (out.lines().count() < text.lines().count()).then_some(out)
}

/// The text with every plain password hashed. Lines with a hash stay.
fn hash_all(text: &str, hashing: Hashing) -> Result<String, Refusal> {
    let mut out = String::with_capacity(text.len() * 4);
    for (number, line) in (1..).zip(text.lines()) {
        let comment = line.starts_with('#') || line.trim().is_empty();
        let field = line.split_once(':').map(|(user, field)| (user.trim(), field.trim()));
        match field {
            _ if comment => push_line(&mut out, line),
            Some((_, field))
                if ["$6$", "$7$", "$scram-sha-256$"].iter().any(|kind| field.starts_with(kind)) =>
            {
                push_line(&mut out, line);
            }
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                push_line(&mut out, &format!("{user}:{}", hash(hashing, password)?));
            }
            _ => return refuse(format!("Error: Corrupt password file at line {number}.")),
        }
    }
    Ok(out)
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

/// Puts the new file in the old one's place when it is whole. Others than owner and group never
/// get to read it; owner and group stay, so that a broker that could read it still can.
fn write(file: &Path, text: &str) -> Result<(), Refusal> {
    replace(file, text).map_err(|error| {
        Refusal(1, format!("Error: Unable to open file {} for writing. {error}.", file.display()))
    })
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let old = fs::metadata(file).ok();
    // What a symbolic link points to is replaced, not the link.
    let file = if old.is_some() { fs::canonicalize(file)? } else { file.to_owned() };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::Builder::new().prefix(".passwd").tempfile_in(folder)?;
    new.write_all(text.as_bytes())?;
    if let Some(old) = old {
        // Only root may give a file away; for others it stays theirs.
        let kept = chown(new.path(), Some(old.uid()), Some(old.gid())).is_ok();
        let of_others = old.mode() & 0o007;
        let mode = if kept && of_others == 0 { old.mode() & 0o660 } else { 0o600 };
        new.as_file().set_permissions(Permissions::from_mode(mode))?;
    }
    new.as_file().sync_all()?;
    new.persist(&file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_line_takes_the_old_ones_place_and_the_rest_stays() {
        let text = "# staff\nalice:1\nno colon\n bob :2\nalice:3";
        assert_eq!(set(text, "alice", "alice:4"), "# staff\nalice:4\nno colon\n bob :2\n");
        assert_eq!(set(text, "bob", "bob:4"), "# staff\nalice:1\nno colon\nbob:4\nalice:3\n");
        assert_eq!(set("", "carol", "carol:1"), "carol:1\n");
        assert_eq!(remove(text, "alice").as_deref(), Some("# staff\nno colon\n bob :2\n"));
        assert_eq!(remove(text, "# staff"), None);
    }

    #[test]
    fn plain_passwords_are_hashed_and_hashes_stay() {
        let line = format!("bob:{}", hash_password(Hashing::Sha512, &[1; 12], b"x"));
        let text =
            hash_all(&format!("# c\n\nalice: secret \n{line}\n"), Hashing::DEFAULT).expect("good lines");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1], lines[3]), ("# c", "", line.as_str()));
        assert!(lines[2].starts_with("alice:$7$101$") && !text.contains("secret"));
        assert_eq!(
            hash_all("a:b\njunk\n", Hashing::DEFAULT),
            Err(Refusal(1, "Error: Corrupt password file at line 2.".to_owned()))
        );
    }

    #[test]
    fn so_many_rounds_that_the_broker_would_refuse_the_file_are_refused() {
        assert!(hashing("sha512-pbkdf2", Some("5000000")).is_ok());
        assert_eq!(hashing("scram-sha-256", None), Ok(Hashing::ScramSha256 { iterations: 4096 }));
        for bad in ["0", "-1", "x", "5000001"] {
            assert!(hashing("sha512-pbkdf2", Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_a_line_cannot_hold_are_refused() {
        for bad in ["a:b", "", " a", "#a", "a\nb"] {
            assert!(check_user(bad).is_err(), "{bad:?}");
        }
        assert_eq!(check_user("a b"), Ok(()));
    }
}
