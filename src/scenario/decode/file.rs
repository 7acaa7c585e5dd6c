//! A scenario file as a whole: its own keys, and the scenarios in it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::broker::{BROKER_KEYS, CERTIFICATE_KEYS};
use super::client::CLIENT_KEYS;
use super::matrix::MATRIX_KEYS;
use super::peer::PEER_KEYS;
use super::scenario::{SCENARIO_KEYS, scenario};
use super::values;
use crate::diagnostic::{Diagnostic, Span};
use crate::scenario::Case;
use crate::scenario::keys::{Fields, KeySpec, Shape, key};
use crate::scenario::lint;
use crate::scenario::node::Node;
use crate::scenario::scope::{Combination, Inputs, Scope};
use crate::scenario::target::Setup;

/// The version of the format that this program reads.
const FORMAT: u64 = 1;

/// Keys of a file.
pub const FILE_KEYS: &[KeySpec] = &[
    key("lab", Shape::Integer(1, 1), "version of the format"),
    key("name", Shape::Text, "what the file is about"),
    key("matrix", Shape::Keys(MATRIX_KEYS), "each scenario runs once for each combination of these values"),
    key("broker", Shape::Keys(BROKER_KEYS), "becomes mosquitto.conf, a password file and an ACL file"),
    key("pki", Shape::MapOf(&Shape::Keys(CERTIFICATE_KEYS)), "certificates made fresh for every run"),
    key("clients", Shape::MapOf(&Shape::Keys(CLIENT_KEYS)), "who takes part"),
    key("peers", Shape::MapOf(&Shape::Keys(PEER_KEYS)), "brokers that the scenarios play themselves"),
    key("programs", Shape::Later, "programs under test"),
    key("scenarios", Shape::List(&Shape::Keys(SCENARIO_KEYS)), "what must hold"),
];

/// What a file gives to all its scenarios.
pub(in crate::scenario) struct FileLevel<'a> {
    /// For findings about the file itself.
    pub scope: Scope<'a>,
    /// `broker`, not yet read: it may use the matrix.
    pub broker: Option<Node>,
    /// `pki`.
    pub pki: Option<Node>,
    /// `clients`.
    pub clients: Option<Node>,
    /// `peers`.
    pub peers: Option<Node>,
    /// `matrix`.
    pub matrix: Option<Node>,
    /// The set-up, once read without the matrix.
    pub shared: RefCell<Option<Arc<Setup>>>,
    /// What the scenarios used of it.
    pub used: RefCell<BTreeSet<String>>,
    ids: RefCell<BTreeMap<String, Span>>,
}

impl<'a> FileLevel<'a> {
    /// Takes what all scenarios share from the fields of a file.
    pub fn new(inputs: &'a Inputs<'a>, fields: Option<&Fields>) -> Self {
        let take = |name: &str| fields.and_then(|fields| fields.get(name)).cloned();
        Self {
            scope: Scope::new(inputs, Combination::default()),
            broker: take("broker"),
            pki: take("pki"),
            clients: take("clients"),
            peers: take("peers"),
            matrix: take("matrix"),
            shared: RefCell::default(),
            used: RefCell::default(),
            ids: RefCell::default(),
        }
    }

    /// Reports an id that is there already.
    pub fn claim_id(&self, id: &str, span: &Span) {
        if id.is_empty() {
            return;
        }
        if let Some(first) = self.ids.borrow().get(id) {
            let finding = Diagnostic::error("L011", span.clone(), format!("the id `{id}` is here twice"));
            self.scope.report(finding.with_related(first.clone(), "first used here"));
            return;
        }
        self.ids.borrow_mut().insert(id.to_owned(), span.clone());
    }
}

/// Reads a whole file.
pub(in crate::scenario) fn file(inputs: &Inputs, root: &Node) -> Vec<Case> {
    let scope = Scope::new(inputs, Combination::default());
    if root.is_null() {
        scope.error_help("L006", &root.span, "this file is empty", "begin with `lab: 1` and `scenarios:`");
        return Vec::new();
    }
    let Some(fields) = Fields::of(&scope, root, &[FILE_KEYS], "a scenario file") else { return Vec::new() };
    match fields.get("lab") {
        Some(node) => {
            values::integer(&scope, node, "lab", FORMAT, FORMAT);
        }
        None => {
            scope.error_help(
                "L006",
                &root.span,
                "a scenario file needs the key `lab`",
                "begin with `lab: 1`",
            );
        }
    }
    if let Some(node) = fields.get("name") {
        scope.text(node, "name");
    }
    let level = FileLevel::new(inputs, Some(&fields));
    let scenarios = fields.need(&scope, "scenarios", "a scenario file");
    let items = scenarios.map(|node| values::list(&scope, node, "scenarios")).unwrap_or_default();
    let mut cases: Vec<Case> = Vec::new();
    for item in items {
        cases.extend(scenario(&level, item));
    }
    lint::unused_in_file(&level, &cases);
    cases
}
