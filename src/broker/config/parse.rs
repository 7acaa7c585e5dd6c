//! From texts to a draft: lines, `include_dir`, scopes. mosquitto's rules for lines hold: a
//! comment has its `#` in the first column, words are parted by blanks and not by tabs.
//!
//! Knows no option but `include_dir` and `compat`, which decide how the others are read.

use std::cmp::Ordering;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::draft::{Draft, Entry, Place, unknown_option};
use super::options::{self, Scope, Status};
use super::{Compat, ConfigFiles};
use crate::diagnostic::{Diagnostic, Source, Span};

/// One line that is no comment, with the depth of its file: 0 is the main file.
struct Line {
    source: Arc<Source>,
    name: Range<usize>,
    value: Range<usize>,
    file: usize,
}

/// Reads a file and what it includes into a draft.
pub(super) fn read(files: &dyn ConfigFiles, path: &Path, compat: Option<Compat>) -> Draft {
    let mut reader = Reader { files, lines: Vec::new(), file: 0, errors: Vec::new() };
    reader.file(path, true);
    let compat = compat.or_else(|| compat_of(&reader.lines)).unwrap_or_default();
    let mut draft = Draft::new(compat);
    draft.diagnostics = reader.errors;
    let mut file = 0;
    let mut main = Place::default();
    for line in &reader.lines {
        if line.file != file {
            // An included file begins outside of any block, and leaves the main file's alone.
            if file == 0 {
                main = draft.at;
            }
            draft.at = if line.file == 0 { main } else { Place::default() };
            file = line.file;
        }
        apply(&mut draft, line);
    }
    draft
}

struct Reader<'a> {
    files: &'a dyn ConfigFiles,
    lines: Vec<Line>,
    file: usize,
    errors: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, main: bool) {
        let name = path.display().to_string();
        let text = match self.files.read(path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("Unable to open config file {name}: {error}");
                return self.errors.push(Diagnostic::file_error("C009", message));
            }
        };
        let source = Source::new(name, text);
        let file = if main { 0 } else { self.file };
        let mut start = 0;
        for text in source.text.split('\n') {
            let at = start;
            start += text.len() + 1;
            let Some((name, value)) = split(text.trim_end_matches('\r')) else { continue };
            let shift = |range: Range<usize>| at + range.start..at + range.end;
            let line = Line { source: Arc::clone(&source), name: shift(name), value: shift(value), file };
            let folder = (&source.text[line.name.clone()] == "include_dir").then(|| line.value());
            self.lines.push(line);
            match folder {
                Some(folder) if main => self.include(&folder),
                Some(folder) => self.errors.push(Diagnostic::warning(
                    "C107",
                    folder,
                    "include_dir is only looked at in the main file",
                )),
                None => {}
            }
        }
    }

    fn include(&mut self, folder: &Span) {
        let path = folder.text().trim();
        if path.is_empty() {
            return; // The row of the option says so.
        }
        match self.files.list(Path::new(path)) {
            Ok(found) => {
                let is_conf = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "conf");
                let mut found: Vec<PathBuf> = found.into_iter().filter(is_conf).collect();
                found.sort_by(|a, b| order(&a.to_string_lossy(), &b.to_string_lossy()));
                for path in found {
                    self.file += 1;
                    self.file(&path, false);
                }
            }
            Err(error) => {
                let message = format!("Unable to open include_dir '{path}'");
                let found = Diagnostic::error("C009", folder.clone(), message);
                self.errors.push(found.with_help(error.to_string()));
            }
        }
    }
}

impl Line {
    fn name(&self) -> Span {
        Span::new(&self.source, self.name.clone())
    }

    fn value(&self) -> Span {
        Span::new(&self.source, self.value.clone())
    }
}

/// Alphabetical, and of the same letter the upper case first.
fn order(a: &str, b: &str) -> Ordering {
    let fold = |text: &str| text.to_lowercase();
    fold(a).cmp(&fold(b)).then_with(|| a.cmp(b))
}

/// Where name and value stand; `None` for comments and blank lines.
fn split(line: &str) -> Option<(Range<usize>, Range<usize>)> {
    if line.starts_with('#') {
        return None;
    }
    let start = line.len() - line.trim_start_matches(' ').len();
    if start == line.len() {
        return None;
    }
    let end = line[start..].find(' ').map_or(line.len(), |at| start + at);
    let value = line.len() - line[end..].trim_start_matches(' ').len();
    Some((start..end, value..line.len()))
}

/// The last `compat` of the main file.
fn compat_of(lines: &[Line]) -> Option<Compat> {
    let is_compat = |line: &&Line| line.name().text() == "compat";
    let line = lines.iter().rev().find(is_compat)?;
    Compat::parse(line.value().text().split(' ').next()?)
}

fn apply(draft: &mut Draft, line: &Line) {
    let (name_span, value_span) = (line.name(), line.value());
    let name = name_span.text();
    let Some(spec) = options::find(name) else {
        let found = unknown_option(name, name_span.clone(), draft.compat);
        return draft.diagnostics.push(found);
    };
    let entry = Entry {
        name,
        spec,
        value: value_span.text(),
        name_span: name_span.clone(),
        value_span: value_span.clone(),
        compat: draft.compat,
    };
    if let Err(found) = place(draft, &entry).and_then(|()| by_status(draft, &entry)) {
        draft.diagnostics.push(found);
    }
}

/// Whether the option may stand here.
fn place(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    if entry.spec.scope == Scope::Bridge && entry.name != "connection" {
        return draft.bridge(entry).map(drop);
    }
    if !draft.opens_default_listener(entry) || draft.default_listener.exists {
        return Ok(());
    }
    match draft.compat {
        Compat::V21 => {
            let message = format!("The '{}' option requires a listener to be defined first", entry.name);
            let error = Diagnostic::error("C006", entry.name_span.clone(), message);
            Err(error.with_help("it belongs below a line `listener PORT`"))
        }
        Compat::V20 => {
            if entry.spec.scope == Scope::Listener {
                draft.default_listener.exists = true;
            }
            let message =
                format!("'{}' stands above every listener, and belongs to one on port 1883", entry.name);
            let found = Diagnostic::warning("C108", entry.name_span.clone(), message);
            draft.diagnostics.push(found.with_help("put it below the line `listener PORT` that it is for"));
            Ok(())
        }
    }
}

fn by_status(draft: &mut Draft, entry: &Entry<'_>) -> Result<(), Diagnostic> {
    let name = entry.name;
    let found = match entry.spec.status {
        Status::Done(apply) => return apply(draft, entry),
        Status::Ignored(_) | Status::Refused(_) if is_default(entry) => return Ok(()),
        Status::Ignored(reason) => entry.warning("C102", &format!("{name} has no effect here: {reason}")),
        Status::Refused(reason) => entry.error("C008", &format!("{name} cannot be ignored: {reason}")),
    };
    draft.diagnostics.push(found);
    Ok(())
}

/// A value that changes nothing.
fn is_default(entry: &Entry<'_>) -> bool {
    let value = match entry.value.trim() {
        "1" if entry.spec.default == "true" => "true",
        "0" if entry.spec.default == "false" => "false",
        other => other,
    };
    value == entry.spec.default
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;

    use super::*;
    use crate::broker::config::{Config, LogDestination, Overrides};
    use crate::broker::log::LogTypes;

    /// Files in memory.
    struct Texts(BTreeMap<PathBuf, String>);

    impl ConfigFiles for Texts {
        fn read(&self, path: &Path) -> io::Result<String> {
            self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
            Ok(self.0.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
        }
    }

    fn load_with(
        text: &str,
        others: &[(&str, &str)],
        overrides: &Overrides,
    ) -> (Option<Config>, Vec<String>) {
        let mut texts: BTreeMap<PathBuf, String> =
            others.iter().map(|(path, text)| (path.into(), (*text).to_owned())).collect();
        texts.insert("c".into(), text.to_owned());
        let (config, found) = Config::load(&Texts(texts), Some(Path::new("c")), overrides);
        let show = |one: Diagnostic| {
            let place = one.span.map_or(String::new(), |span| span.location());
            format!("{} {place} {}", one.code, one.message)
        };
        (config, found.into_iter().map(show).collect())
    }

    fn load(text: &str) -> (Option<Config>, Vec<String>) {
        load_with(text, &[], &Overrides::default())
    }

    fn good(text: &str) -> Config {
        let (config, found) = load(text);
        assert_eq!(found, [""; 0]);
        config.expect("no errors")
    }

    #[test]
    fn without_a_listener_this_machine_only() {
        let (config, found) = Config::load(&Texts(BTreeMap::new()), None, &Overrides::default());
        assert!(found.is_empty());
        let config = config.expect("the default");
        assert!(config.local_only && config.security[0].allow_anonymous);
        assert_eq!((config.listeners[0].port, config.listeners[0].bind.as_deref()), (1883, None));
        let ports = Overrides { ports: vec![5, 6], ..Overrides::default() };
        let (config, _) = load_with("allow_anonymous false\n", &[], &ports);
        let config = config.expect("good");
        assert!(!config.security[0].allow_anonymous);
        assert_eq!(config.listeners.iter().map(|one| one.port).collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn ports_of_the_command_line_give_way_to_listeners() {
        let ports = Overrides { ports: vec![5], ..Overrides::default() };
        let (config, found) = load_with("listener 7\n", &[], &ports);
        assert_eq!(config.expect("good").listeners[0].port, 7);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn lines_end_and_begin_as_in_mosquitto() {
        let config = good(
            "# c\n\n   listener   1884  ::1 # not looked at\r\nallow_anonymous true yes\nacl_file  a b # c \n",
        );
        assert_eq!((config.listeners[0].port, config.listeners[0].bind.as_deref()), (1884, Some("::1")));
        assert!(config.security[0].allow_anonymous && !config.local_only);
        assert_eq!(config.security[0].acl_file, Some("a b # c".into()));
        assert_eq!(good("listener 1884 # c\n").listeners[0].bind, None);
        let (_, found) = load(" # c\n\tlistener 1\nlistenr 1\nallow_anonymous\ttrue\n");
        assert_eq!(
            found,
            [
                "C001 c:1:2 Unknown configuration variable '#'",
                "C001 c:2:1 Unknown configuration variable '\\tlistener'",
                "C001 c:3:1 Unknown configuration variable 'listenr'",
                "C001 c:4:1 Unknown configuration variable 'allow_anonymous\\ttrue'",
            ]
        );
    }

    #[test]
    fn values_are_checked() {
        let text = "listener 99999\nlistener x\nallow_anonymous yes\npassword_file\nmax_inflight_messages 70000\n\
                    max_packet_size 19\nlog_type all\nlog_type debugg\nlog_dest file\npersistent_client_expiration 5\n\
                    max_queued_messages 5x\ncompat 3\nacl_file a\nacl_file b\n";
        let (config, found) = load(text);
        assert_eq!(config, None);
        assert_eq!(
            found,
            [
                "C003 c:1:10 Invalid 'port' value (99999)",
                "C004 c:2:10 'listener' value not a number",
                "C003 c:3:17 Invalid 'allow_anonymous' value (yes)",
                "C002 c:4:1 Empty 'password_file' value in configuration",
                "C003 c:5:23 'max_inflight_messages' must be <= 65535",
                "C003 c:6:17 'max_packet_size' must be >= 20",
                "C003 c:8:10 Invalid 'log_type' value (debugg)",
                "C002 c:9:10 Empty 'log_dest file' value in configuration",
                "C003 c:10:30 Invalid 'persistent_client_expiration' duration in configuration",
                "C004 c:11:21 'max_queued_messages' value not a number",
                "C003 c:12:8 Invalid 'compat' value (3)",
                "C005 c:14:10 Duplicate 'acl_file' value in configuration",
            ]
        );
    }

    #[test]
    fn compat_changes_defaults_words_and_numbers() {
        assert_eq!(good("listener 1\n").limits.max_packet_size, 2_000_000);
        let old = good("listener 1\nmax_queued_messages 5x\ncompat 2.0\n");
        assert_eq!((old.limits.max_packet_size, old.limits.max_queued_messages), (0, 5));
        assert_eq!(load("compat 2.0\nfoo\n").1, ["C001 c:2:1 Unknown configuration variable \"foo\""]);
        let forced = Overrides { compat: Some(Compat::V21), ..Overrides::default() };
        assert_eq!(load_with("compat 2.0\n", &[], &forced).0.expect("good").compat, Compat::V21);
    }

    #[test]
    fn sessions_and_log() {
        let config = good(
            "listener 1\nmax_inflight_messages -1\nmessage_size_limit 7\npersistent_client_expiration 2w\n\
             log_type none\nlog_type error\nlog_type denied\nlog_dest stdout\nlog_dest file /x y\nlog_timestamp 0\n\
             log_timestamp_format %H %M\nconnection_messages false\n",
        );
        assert_eq!((config.limits.max_inflight_messages, config.limits.message_size_limit), (0, 7));
        assert_eq!(config.limits.persistent_client_expiration.map(|time| time.as_secs()), Some(14 * 86_400));
        assert_eq!(config.log.types, LogTypes::ERROR.with(LogTypes::DENIED));
        assert_eq!(config.log.destinations, [LogDestination::Stdout, LogDestination::File("/x y".into())]);
        assert_eq!(config.log.timestamp_format.as_deref(), Some("%H %M"));
        assert!(!config.log.timestamp && !config.log.connection_messages);
        assert_eq!(good("listener 1\nlog_dest stdout\nlog_dest none\n").log.destinations, []);
        assert_eq!(good("listener 1\n").log.destinations, [LogDestination::Stderr]);
        let verbose = Overrides { verbose: true, ..Overrides::default() };
        assert_eq!(load_with("log_type error\n", &[], &verbose).0.expect("good").log.types, LogTypes::ALL);
        let (config, found) = load("log_dest file x \n");
        assert_eq!(config.expect("a warning only").log.destinations, [LogDestination::File("x ".into())]);
        assert_eq!(found, ["C104 c:1:10 the name of the log file ends with a blank"]);
    }

    #[test]
    fn per_listener_settings_belong_to_the_listener_above() {
        let config = good(
            "per_listener_settings true\nlistener 1\nallow_anonymous true\nlistener 2\nacl_file a\npassword_file p\n",
        );
        let of = |at: usize| &config.security[config.listeners[at].security];
        assert!(of(0).allow_anonymous && of(0).acl_file.is_none());
        assert!(!of(1).allow_anonymous && of(1).acl_file.is_some() && of(1).password_file.is_some());
        assert_eq!(config.security.len(), 3);
        let late = load("allow_anonymous true\nper_listener_settings true\n").1;
        assert_eq!(
            late,
            ["C010 c:2:23 per_listener_settings must be set before any other security settings"]
        );
        let trap = "per_listener_settings true\npassword_file p\nlistener 7\n";
        assert_eq!(
            load(trap).1,
            ["C006 c:2:1 The 'password_file' option requires a listener to be defined first"]
        );
        let (config, found) = load(&format!("{trap}compat 2.0\n"));
        let ports = config.expect("2.0 opens port 1883 beside it").listeners;
        assert_eq!(ports.iter().map(|one| one.port).collect::<Vec<_>>(), [7, 1883]);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn rules_are_never_lost_with_the_listener_that_they_were_written_for() {
        let (config, _) = load("compat 2.0\nper_listener_settings true\nacl_file a\n");
        let config = config.expect("good");
        assert_eq!(config.security[config.listeners[0].security].acl_file, Some("a".into()));
    }

    #[test]
    fn a_listener_may_let_anonymous_clients_in_on_its_own() {
        let config = good("password_file p\nlistener 1\nlistener 2\nlistener_allow_anonymous true\n");
        let of = |at: usize| &config.security[config.listeners[at].security];
        assert!(!of(0).allow_anonymous && of(1).allow_anonymous);
        assert_eq!(of(1).password_file, Some("p".into()));
    }

    #[test]
    fn tls_needs_both_files() {
        let config = good("listener 8883\ncertfile c\nkeyfile k\ncafile a\n");
        let tls = config.listeners[0].tls.as_ref().expect("both are there");
        assert_eq!(
            (tls.certfile.to_str(), tls.cafile.as_ref().and_then(|path| path.to_str())),
            (Some("c"), Some("a"))
        );
        for text in ["listener 1\ncertfile c\n", "compat 2.0\nlistener 1\nkeyfile c\n"] {
            assert_eq!(load(text).0, None, "mosquitto 2.0 would open a plain listener");
        }
        assert_eq!(load("certfile c\nkeyfile c\n").1.len(), 2, "they need a listener");
    }

    #[test]
    fn the_default_listener_comes_last() {
        let (config, found) = load("port 9\nlistener 8\nbind_address 127.0.0.1\n");
        let listeners = config.expect("warnings only").listeners;
        assert_eq!(listeners.iter().map(|one| one.port).collect::<Vec<_>>(), [8, 9]);
        assert_eq!(listeners[1].bind.as_deref(), Some("127.0.0.1"));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn includes_in_alphabetical_order_with_listeners_of_their_own() {
        let files = [
            ("d/b.conf", "max_queued_messages 2\n"),
            ("d/B.conf", "max_queued_messages 3\n"),
            ("d/a.conf", "certfile x\n"),
            ("d/a.txt", "no configuration"),
            ("d/c.conf", "include_dir d\nfoo\n"),
        ];
        let (_, found) =
            load_with("listener 1\ninclude_dir d\nmax_connections -1\n", &files, &Overrides::default());
        assert_eq!(
            found,
            [
                "C107 d/c.conf:1:13 include_dir is only looked at in the main file",
                "C006 d/a.conf:1:1 The 'certfile' option requires a listener to be defined first",
                "C001 d/c.conf:2:1 Unknown configuration variable 'foo'",
            ]
        );
        let (config, _) = load_with("listener 1\ninclude_dir d\n", &files[..2], &Overrides::default());
        assert_eq!(config.expect("good").limits.max_queued_messages, 2, "B goes before b");
        assert_eq!(load("include_dir\n").1, ["C002 c:1:1 Empty 'include_dir' value in configuration"]);
    }

    #[test]
    fn what_we_do_not_have_is_said() {
        let text = "listener 1\nretry_interval 20\nwebsockets_log_level 0\nwebsockets_log_level 1\n\
                    enable_control_api false\nlog_dest dlt\ndhparamfile /x\n";
        let (config, found) = load(text);
        assert_eq!(config.expect("warnings only").log.destinations, [LogDestination::Stderr]);
        assert_eq!(
            found,
            [
                "C102 c:2:16 retry_interval has no effect here: mosquitto has removed it; only a reconnect sends again",
                "C102 c:4:22 websockets_log_level has no effect here: it belongs to libwebsockets",
                "C102 c:6:10 log_dest dlt has no effect here: it belongs to another system",
                "C102 c:7:13 dhparamfile is no longer required",
            ]
        );
        let (config, found) = load("listener 1\ntls_keyform pem\nplugin /x.so\npsk_hint x\naddress x\n");
        assert_eq!(config, None);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    /// Lines that an option's example needs above and below it.
    fn around(option: &options::OptionSpec) -> (&'static str, &'static str) {
        match (option.scope, option.name) {
            (_, "connection") => ("", "address h\ntopic #\n"),
            (_, "address" | "addresses") => ("connection b\n", "topic #\n"),
            (_, "topic") => ("connection b\n", "address h\n"),
            (_, "bridge_certfile") => {
                ("connection b\naddress h\ntopic #\n", "bridge_keyfile k\nbridge_cafile a\n")
            }
            (_, "bridge_keyfile") => {
                ("connection b\naddress h\ntopic #\n", "bridge_certfile c\nbridge_cafile a\n")
            }
            (_, "bridge_cafile") => ("connection b\naddress h\ntopic #\n", ""),
            (Scope::Bridge, _) => ("connection b\naddress h\ntopic #\n", "bridge_cafile a\n"),
            (_, "listener") => ("", ""),
            (_, "certfile") => ("listener 1\n", "keyfile k\n"),
            (_, "keyfile") => ("listener 1\n", "certfile c\n"),
            (_, "cafile") => ("listener 1\n", "certfile c\nkeyfile k\n"),
            (_, "http_dir" | "websockets_origin") => ("listener 1\n", "protocol websockets\n"),
            (_, "enable_proxy_protocol") => ("listener 1\n", ""),
            (_, "proxy_protocol_v2_require_tls") => ("listener 1\n", "enable_proxy_protocol 2\n"),
            (Scope::Listener, _) => ("listener 1\n", "certfile c\nkeyfile k\ncafile a\n"),
            (_, "persistence_sync") => ("", "persistence true\n"),
            _ => ("", ""),
        }
    }

    #[test]
    fn every_example_works() {
        for option in options::all() {
            let (before, after) = around(option);
            let (_, found) = load(&format!("{before}{}\n{after}", option.example));
            let codes: Vec<&str> = found.iter().map(|one| &one[..4]).collect();
            let expected: &[&str] = match (option.status, option.name) {
                (Status::Done(_), "port" | "bind_address") => &["C103"],
                (Status::Done(_), "dhparamfile") | (Status::Ignored(_), _) => &["C102"],
                (Status::Done(_), "bridge_insecure") => &["C112"],
                (Status::Done(_), _) => &[],
                (Status::Refused(_), _) => &["C008"],
            };
            assert_eq!(codes, expected, "{}: {found:?}", option.name);
        }
    }
}
