//! What can be known of a case's set-up before anything starts: options, statement ids, and the
//! files of the broker. Starts nothing and writes nothing; reads only what a given mosquitto.conf
//! names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{acl_source, named_source};
use crate::broker::auth::{Acl, Passwords};
use crate::broker::config::{Compat, Config, ConfigFiles, Overrides};
use crate::broker::server::files::load_rules;
use crate::check::statements;
use crate::diagnostic::{Diagnostic, Span};
use crate::mqtt::ProtocolVersion;
use crate::scenario::Case;
use crate::scenario::target::{BrokerSpec, FileText, Setup};
use crate::text::did_you_mean;

/// Codes of the findings that are made here, and what they stand for.
pub const CODES: &[(&str, &str)] =
    &[("S001", "a statement id that this version of the standard does not have")];

/// All findings about these cases' set-ups, each once.
pub fn check(cases: &[Case]) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut seen: Vec<&Arc<Setup>> = Vec::new();
    let mut add = |finding: Diagnostic| {
        if !found.contains(&finding) {
            found.push(finding);
        }
    };
    for case in cases {
        case.spec.iter().filter_map(|id| statement(case, id)).for_each(&mut add);
        if !seen.iter().any(|setup| Arc::ptr_eq(setup, &case.setup)) {
            seen.push(&case.setup);
            broker(&case.setup.broker).into_iter().for_each(&mut add);
        }
    }
    found
}

fn statement(case: &Case, id: &str) -> Option<Diagnostic> {
    if statements::lookup(case.protocol, id).is_some() {
        return None;
    }
    let standard = if case.protocol == ProtocolVersion::V5 { "MQTT 5.0" } else { "MQTT 3.1.1" };
    let finding = Diagnostic::error("S001", case.span.clone(), format!("{standard} has no statement {id}"));
    Some(match did_you_mean(id, statements::all(case.protocol).map(|known| known.id.as_str())) {
        Some(meant) => finding.with_help(format!("did you mean {meant}?")),
        None => finding.with_help("`mqttlab explain statements` lists them"),
    })
}

fn broker(broker: &BrokerSpec) -> Vec<Diagnostic> {
    let mut found = settings("", &broker.settings);
    for listener in &broker.listeners {
        found.extend(settings("listener 1883\n", &listener.settings));
    }
    for bridge in &broker.bridges {
        let begin = format!("connection {}\naddress 127.0.0.1\n", bridge.name);
        found.extend(settings(&begin, &bridge.settings));
    }
    if let Some(acl) = acl_source(broker) {
        found.extend(Acl::parse(&acl).map_or_else(|errors| errors, |acl| acl.warnings().to_vec()));
    }
    if let Some(file) = &broker.password_file {
        let passwords = Passwords::parse(&named_source(file), Compat::default());
        found.extend(passwords.map_or_else(|errors| errors, |passwords| passwords.warnings().to_vec()));
    }
    if let Some(file) = &broker.config {
        found.extend(config(broker, file));
    }
    found
}

/// Options and values that stand in the YAML: read as lines, told at their places in it.
fn settings(above: &str, settings: &[(String, String, Span)]) -> Vec<Diagnostic> {
    if settings.is_empty() {
        return Vec::new();
    }
    let mut text = above.to_owned();
    for (name, value, _) in settings {
        text += &[name, " ", &value.replace('\n', " "), "\n"].concat();
    }
    let lines_above = above.lines().count();
    let files = Given { file: &FileText { path: String::new(), text, embedded_at: None } };
    let (_, findings) = Config::load(&files, Some(Path::new("")), &Overrides::default());
    let moved = |mut finding: Diagnostic| {
        let line = finding.span.as_ref()?.line();
        let (.., place) = settings.get(line.checked_sub(lines_above + 1)?)?;
        finding.span = Some(place.clone());
        finding.related.clear();
        Some(finding)
    };
    findings.into_iter().filter_map(moved).collect()
}

/// A given mosquitto.conf and what it names, as far as nothing else stands in for it.
fn config(broker: &BrokerSpec, file: &FileText) -> Vec<Diagnostic> {
    let files = Given { file };
    let (config, mut found) = Config::load(&files, Some(Path::new(&file.path)), &Overrides::default());
    let Some(mut config) = config else { return found };
    for security in &mut config.security {
        security.acl_file.take_if(|_| broker.acl.is_some());
        security.password_file.take_if(|_| broker.password_file.is_some());
    }
    found.extend(load_rules(&config, &files).1);
    found
}

/// A configuration whose text is at hand; what it names is read from beside it.
struct Given<'a> {
    file: &'a FileText,
}

impl Given<'_> {
    fn beside(&self, path: &Path) -> PathBuf {
        Path::new(&self.file.path).parent().unwrap_or(Path::new("")).join(path)
    }
}

impl ConfigFiles for Given<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        if path == Path::new(&self.file.path) {
            return Ok(self.file.text.clone());
        }
        fs::read_to_string(self.beside(path))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        // As they are named in the configuration: `read` puts them beside it.
        fs::read_dir(self.beside(folder))?
            .map(|entry| entry.map(|entry| folder.join(entry.file_name())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::scenario::{LoadOptions, NoFiles, load};

    /// Code and line of every finding about a broker with these keys.
    fn findings(scenario: &str, options: &LoadOptions) -> Vec<(&'static str, String)> {
        let text = format!(
            "lab: 1\nscenarios:\n- id: a\n  name: n\n{scenario}  clients: {{a: {{}}}}\n  steps:\n  - a: connect\n"
        );
        let loaded = load(&Source::new("lab.yaml", text), &NoFiles, options);
        assert_eq!(loaded.cases.len(), 1, "{:?}", loaded.diagnostics);
        let place = |finding: &Diagnostic| finding.span.as_ref().map(Span::file_line).unwrap_or_default();
        check(&loaded.cases).iter().map(|finding| (finding.code, place(finding))).collect()
    }

    fn file(path: &str, text: &str) -> FileText {
        FileText { path: path.into(), text: text.into(), embedded_at: None }
    }

    #[test]
    fn a_set_up_without_mistakes_has_no_finding() {
        let scenario = "  spec: {3.1.1: [MQTT-3.1.2-8], 5: [MQTT-3.1.2-8]}\n  broker:\n    settings: {max_inflight_messages: 20}\n";
        assert_eq!(findings(scenario, &LoadOptions::default()), []);
    }

    #[test]
    fn settings_are_told_at_their_places() {
        let scenario = "  broker:\n    settings:\n      max_inflight_messages: 20\n      max_inflight: 3\n      max_queued_messages: many\n";
        let places = [("C001", "lab.yaml:8".to_owned()), ("C004", "lab.yaml:9".to_owned())];
        assert_eq!(findings(scenario, &LoadOptions::default()), places);
    }

    #[test]
    fn statement_ids_are_those_of_the_version() {
        let scenario = "  spec: [MQTT-no-such]\n";
        assert_eq!(findings(scenario, &LoadOptions::default()), [("S001", "lab.yaml:3".to_owned())]);
    }

    #[test]
    fn files_of_the_command_line_are_read_by_the_rules_of_the_broker() {
        let options = LoadOptions {
            acl: Some(file("student/acl", "topic read a\ntopc read b\n")),
            password_file: Some(file("student/passwd", "alice:secret\n")),
            config: Some(file("student/conf", "listener 1883\nmax_inflight 3\nacl_file /nowhere\n")),
            ..LoadOptions::default()
        };
        let found = findings("", &options);
        let wanted = [("A001", "student/acl:2"), ("P002", "student/passwd:1"), ("C001", "student/conf:2")];
        assert_eq!(found, wanted.map(|(code, place)| (code, place.to_owned())));
    }

    #[test]
    fn what_a_configuration_names_must_be_there() {
        let config = Some(file("student/conf", "listener 1883\nacl_file no/such/acl\n"));
        let options = LoadOptions { config: config.clone(), ..LoadOptions::default() };
        assert_eq!(findings("", &options), [("A000", String::new())]);
        let acl = Some(file("acl", "topic read a\n"));
        assert_eq!(findings("", &LoadOptions { acl, config, ..LoadOptions::default() }), []);
    }
}
