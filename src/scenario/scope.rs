//! What names mean at one place of a file: variables, protocol, definitions; and the findings.
//!
//! Decoding runs once for each combination of a scenario's matrix, so that every value may hold
//! `${matrix.…}`. Findings that two combinations share are kept once.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::hidden;
use super::node::{self, Node};
use super::value::{CAPTURED, Template};
use super::{LoadOptions, ScenarioFiles};
use crate::diagnostic::{Diagnostic, Severity, Source, Span};
use crate::mqtt::ProtocolVersion;
use crate::text::did_you_mean;

/// What a client of packet lines says and hears when it proves its password (SCRAM-SHA-256).
const SCRAM: [&str; 3] = ["scram.first", "scram.final", "scram.server"];

/// Findings of one file that are kept; who has more reads none of them.
const MOST_FINDINGS: usize = 200;

/// Findings, each once.
#[derive(Default)]
pub(super) struct Problems {
    list: RefCell<Vec<Diagnostic>>,
    known: RefCell<BTreeSet<Identity>>,
    /// Those that came when the list was full.
    more: Cell<usize>,
    errors: Cell<usize>,
}

/// What makes two findings the same: code, file, place, message.
type Identity = (&'static str, String, usize, String);

impl Problems {
    /// Keeps a finding unless it is known.
    pub fn push(&self, finding: Diagnostic) {
        self.errors.set(self.errors.get() + usize::from(finding.is_error()));
        let (name, start) = match &finding.span {
            Some(span) => (span.source.name.clone(), span.range.start),
            None => (String::new(), 0),
        };
        if !self.known.borrow_mut().insert((finding.code, name, start, finding.message.clone())) {
            return;
        }
        let mut list = self.list.borrow_mut();
        if list.len() < MOST_FINDINGS {
            list.push(finding);
        } else {
            self.more.set(self.more.get() + 1);
        }
    }

    /// True if there is an error.
    pub fn any_error(&self) -> bool {
        self.errors.get() > 0
    }

    /// Errors so far, those that were known already counted again.
    pub fn errors(&self) -> usize {
        self.errors.get()
    }

    /// All, in the order of the file.
    pub fn into_sorted(self) -> Vec<Diagnostic> {
        let mut list = self.list.into_inner();
        list.sort_by_key(|finding| finding.span.as_ref().map(|span| span.range.start));
        if self.more.get() > 0 {
            let message = format!("{} more are not shown", crate::text::plural(self.more.get(), "finding"));
            let severity = if self.errors.get() > 0 { Severity::Error } else { Severity::Warning };
            list.push(Diagnostic { severity, ..Diagnostic::file_error("L025", message) });
        }
        list
    }
}

/// What is given from outside and the same for a whole file.
pub(super) struct Inputs<'a> {
    /// Texts that the file names.
    pub files: &'a dyn ScenarioFiles,
    /// What the command line says.
    pub options: &'a LoadOptions,
    /// Where findings go.
    pub problems: &'a Problems,
}

impl Inputs<'_> {
    /// Parses YAML; what is wrong with it is reported.
    pub fn parse(&self, source: &Arc<Source>, range: Range<usize>) -> Option<Node> {
        match node::parse(source, range) {
            Ok(root) => {
                let mut lost = Vec::new();
                node::lost_ends(&root, &mut lost);
                source.hide(hidden::passwords(&root, &source.text));
                for finding in lost {
                    self.problems.push(finding);
                }
                Some(root)
            }
            Err(finding) => {
                self.problems.push(*finding);
                None
            }
        }
    }
}

/// One combination of a matrix.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Combination {
    /// Protocol of clients that do not say their own.
    pub protocol: ProtocolVersion,
    /// All variables of the matrix, the protocol too.
    pub values: BTreeMap<String, String>,
    /// Its name in reports; empty when it is the only one.
    pub name: String,
}

/// Names that variables of the run may use.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// Accounts.
    pub users: BTreeSet<String>,
    /// Listeners.
    pub listeners: BTreeSet<String>,
    /// Certificates and authorities.
    pub certs: BTreeSet<String>,
    /// Brokers that the scenario plays.
    pub peers: BTreeSet<String>,
}

/// What names mean while one combination of one scenario is decoded.
pub(super) struct Scope<'a> {
    /// What is the same for the whole file.
    pub inputs: &'a Inputs<'a>,
    /// The combination.
    pub combination: Combination,
    /// What is defined.
    pub names: Names,
    /// Definitions that something used, `user.alice`.
    pub used: RefCell<BTreeSet<String>>,
    /// Set once a variable of the matrix was read.
    pub matrix_used: Cell<bool>,
    /// A name for the place that is read, put to its findings.
    pub place: RefCell<Option<String>>,
    /// How many `repeat`s are around this place; `${i}` needs one.
    pub repeats: Cell<usize>,
    /// Names that steps capture values under.
    pub captures: RefCell<BTreeSet<String>>,
    /// Captured values that something uses, with the place.
    pub captured: RefCell<Vec<(String, Span)>>,
}

impl<'a> Scope<'a> {
    /// A scope without definitions.
    pub fn new(inputs: &'a Inputs<'a>, combination: Combination) -> Self {
        Self {
            inputs,
            combination,
            names: Names::default(),
            used: RefCell::default(),
            matrix_used: Cell::new(false),
            place: RefCell::default(),
            repeats: Cell::new(0),
            captures: RefCell::default(),
            captured: RefCell::default(),
        }
    }

    /// Keeps a finding.
    pub fn report(&self, mut finding: Diagnostic) {
        if finding.place.is_none() {
            finding.place.clone_from(&self.place.borrow());
        }
        // One line is enough for a caret.
        if let Some(span) = &mut finding.span {
            let first = span.text().lines().next().map_or(0, str::len);
            span.range.end = span.range.end.min(span.range.start + first);
        }
        self.inputs.problems.push(finding);
    }

    /// Keeps an error.
    pub fn error(&self, code: &'static str, span: &Span, message: impl Into<String>) {
        self.report(Diagnostic::error(code, span.clone(), message));
    }

    /// Keeps an error with a way out.
    pub fn error_help(
        &self,
        code: &'static str,
        span: &Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.report(Diagnostic::error(code, span.clone(), message).with_help(help));
    }

    /// Notes that a definition is used.
    pub fn mark_used(&self, kind: &str, name: &str) {
        self.used.borrow_mut().insert(format!("{kind}.{name}"));
    }

    /// Finds `name` among what is defined; the error is L009.
    pub fn defined<'n>(
        &self,
        kind: &str,
        name: &str,
        span: &Span,
        names: impl IntoIterator<Item = &'n str> + Clone,
    ) -> bool {
        if names.clone().into_iter().any(|known| known == name) {
            self.mark_used(kind, name);
            return true;
        }
        let message = format!("there is no {kind} `{}`", crate::text::escape(name));
        self.error_help("L009", span, message, suggest(name, names, "it is not defined in this file"));
        false
    }

    /// The text of a scalar with the variables replaced that are known before the run.
    pub fn template(&self, node: &Node, what: &str) -> Option<Template> {
        let Some(text) = node.lexeme() else {
            self.wrong(node, what, "a text");
            return None;
        };
        self.template_of(text, &node.span)
    }

    /// The same for a text that is not a scalar of its own.
    pub fn template_of(&self, text: &str, span: &Span) -> Option<Template> {
        let template = match Template::parse(text) {
            Ok(template) => template.partially(|name| self.early(name)),
            Err(error) => {
                self.error_help("L010", span, error.message, "`$${` stands for `${`");
                return None;
            }
        };
        let unknown: Vec<&str> = template.variables().filter(|name| !self.known_later(name)).collect();
        for name in &unknown {
            self.unknown_variable(name, span);
        }
        let captured = template.variables().filter_map(|name| name.strip_prefix(CAPTURED));
        self.captured.borrow_mut().extend(captured.map(|name| (name.to_owned(), span.clone())));
        unknown.is_empty().then_some(template)
    }

    /// A text that must be known before the run.
    pub fn text(&self, node: &Node, what: &str) -> Option<String> {
        let template = self.template(node, what)?;
        if let Some(text) = template.as_literal() {
            return Some(text.to_owned());
        }
        let names: Vec<&str> = template.variables().collect();
        let message =
            format!("`{what}` must be known before the run, and ${{{}}} is not", names.join("}, ${"));
        self.error("L010", &node.span, message);
        None
    }

    /// The value of a variable that is known when the file is read.
    fn early(&self, name: &str) -> Option<String> {
        let options = self.inputs.options;
        if let Some(variable) = name.strip_prefix("matrix.") {
            self.matrix_used.set(true);
            return self.combination.values.get(variable).cloned();
        }
        match name.strip_prefix("env.") {
            Some(variable) => options.env.get(variable).cloned(),
            None => options.set.get(name).cloned(),
        }
    }

    /// True for a variable that the run will know.
    fn known_later(&self, name: &str) -> bool {
        if name == "i" {
            return self.repeats.get() > 0;
        }
        // Whether a step captures it is known when all steps are.
        if name.starts_with(CAPTURED) || SCRAM.contains(&name) {
            return true;
        }
        let mut parts = name.rsplitn(2, '.');
        let (Some(field), Some(path)) = (parts.next(), parts.next()) else { return false };
        let (kind, names, fields): (_, _, &[&str]) = match path.split_once('.') {
            Some(("listeners", name)) => (("listener", name), &self.names.listeners, &["host", "port"]),
            Some(("users", name)) => (("user", name), &self.names.users, &["password"]),
            Some(("certs", name)) => (("certificate", name), &self.names.certs, &["cert", "key", "ca"]),
            _ => return false,
        };
        let known = names.contains(kind.1) && fields.contains(&field);
        if known {
            self.mark_used(kind.0, kind.1);
        }
        known
    }

    /// Reports captured values that nothing captures.
    pub fn check_captured(&self) {
        let captures = self.captures.borrow();
        for (name, span) in self.captured.take().iter().filter(|(name, _)| !captures.contains(name)) {
            let message = format!("no step captures `{}`", crate::text::escape(name));
            let help =
                suggest(name, captures.iter().map(String::as_str), "capture it by a test: `{capture: NAME}`");
            self.error_help("L010", span, message, help);
        }
    }

    fn unknown_variable(&self, name: &str, span: &Span) {
        let shown = crate::text::escape(name);
        if name == "i" {
            let help = "`${i}` counts the rounds of `repeat`";
            self.error_help("L010", span, "there is no variable `${i}` here", help);
            return;
        }
        let mut known: Vec<String> = Vec::new();
        known.extend(self.combination.values.keys().map(|name| format!("matrix.{name}")));
        known.extend(self.inputs.options.set.keys().cloned());
        for listener in &self.names.listeners {
            known.extend([format!("listeners.{listener}.host"), format!("listeners.{listener}.port")]);
        }
        known.extend(self.names.users.iter().map(|user| format!("users.{user}.password")));
        for cert in &self.names.certs {
            known.extend(["cert", "key", "ca"].map(|field| format!("certs.{cert}.{field}")));
        }
        let otherwise = if name.starts_with("env.") {
            "this variable is not in the environment".to_owned()
        } else {
            format!("give it a value with --set {shown}=…, or write `$${{` for a plain `${{`")
        };
        let help = suggest(name, known.iter().map(String::as_str), &otherwise);
        self.error_help("L010", span, format!("there is no variable `${{{shown}}}`"), help);
    }

    /// Reports that a value is of the wrong kind.
    pub fn wrong(&self, node: &Node, what: &str, wanted: &str) {
        let finding = Diagnostic::error(
            "L005",
            node.span.clone(),
            format!("`{what}` must be {wanted}, not {}", node.describe()),
        );
        let line_end = {
            let text = &node.span.source.text[node.span.range.end..];
            text.lines().next().unwrap_or_default()
        };
        let comment = node.is_null() && line_end.trim_start_matches([':', '-', ' ']).starts_with('#');
        self.report(if comment {
            finding.with_help("a `#` after a space starts a comment: put the value in quotes, \"#\"")
        } else {
            finding
        });
    }

    /// The text of a file that `node` names, as a source of its own.
    pub fn file(&self, node: &Node, what: &str) -> Option<Arc<Source>> {
        let path = self.text(node, what)?;
        match self.inputs.files.read(std::path::Path::new(&path)) {
            Ok(text) => Some(Source::new(beside(&node.span.source.name, &path), text)),
            Err(error) => {
                let message = format!("cannot read {}: {error}", crate::text::escape(&path));
                self.error_help(
                    "L019",
                    &node.span,
                    message,
                    "paths are relative to the file that names them",
                );
                None
            }
        }
    }
}

/// A path as seen from where the naming file is seen from.
fn beside(file: &str, path: &str) -> String {
    match file.rsplit_once('/') {
        Some((folder, _)) if !path.starts_with('/') => format!("{folder}/{path}"),
        _ => path.to_owned(),
    }
}

/// `did you mean …?`, or all candidates if they are few, or `otherwise`.
pub(super) fn suggest<'n>(
    word: &str,
    candidates: impl IntoIterator<Item = &'n str>,
    otherwise: &str,
) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match did_you_mean(word, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if !candidates.is_empty() && candidates.len() <= 40 => {
            format!("known here: {}", candidates.join(", "))
        }
        None => otherwise.to_owned(),
    }
}
