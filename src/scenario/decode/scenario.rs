//! One entry of `scenarios:`, once for each combination of its matrix.

use std::sync::Arc;
use std::time::Duration;

use super::broker::{BROKER_KEYS, CERTIFICATE_KEYS, setup};
use super::client::{CLIENT_KEYS, clients};
use super::file::FileLevel;
use super::matrix::{MATRIX_KEYS, combinations};
use super::peer::{PEER_KEYS, peers};
use super::{merge, values};
use crate::diagnostic::Span;
use crate::mqtt::ProtocolVersion;
use crate::scenario::keys::{Fields, KeySpec, Shape, key};
use crate::scenario::lint;
use crate::scenario::node::{Kind, Node};
use crate::scenario::scope::{Combination, Scope};
use crate::scenario::step::StepReader;
use crate::scenario::table::{self, Table};
use crate::scenario::target::Setup;
use crate::scenario::{Body, Capability, Case, Known, Level};

/// Keys that only a scenario has.
pub const SCENARIO_KEYS: &[KeySpec] = &[
    key("id", Shape::Text, "stable name, of letters, digits, `-` and `_`"),
    key("name", Shape::Text, "one sentence of what must hold"),
    key(
        "spec",
        Shape::Anything,
        "ids of the statements it covers: a list, or lists by version `{3.1.1: [], 5: []}`",
    ),
    key("level", Shape::Word(&["must", "should", "may"]), "how binding it is; default must"),
    key("tags", Shape::OneOrMany(&Shape::Text), "words for selecting"),
    key("requires", Shape::OneOrMany(&Shape::Text), "what the target must be able to do; else it is skipped"),
    key("broker", Shape::Keys(BROKER_KEYS), "added to the file's `broker`, or overriding it"),
    key("pki", Shape::MapOf(&Shape::Keys(CERTIFICATE_KEYS)), "added to the file's `pki`"),
    key("matrix", Shape::Keys(MATRIX_KEYS), "runs once for each combination of these values"),
    key("clients", Shape::MapOf(&Shape::Keys(CLIENT_KEYS)), "who takes part, added to the file's `clients`"),
    key(
        "peers",
        Shape::MapOf(&Shape::Keys(PEER_KEYS)),
        "brokers that the scenario plays, added to the file's",
    ),
    key("points", Shape::Number, "for passing; shared over the rows of a table"),
    key("hint", Shape::Text, "shown when it fails"),
    key("hidden", Shape::Bool, "not shown to students; default false"),
    key(
        "known",
        Shape::MapOf(&Shape::Text),
        "brokers that fail it, with the reason: `{mosquitto: why}`; where clients are tested, clients (`rumqttc`)",
    ),
    key("steps", Shape::Steps, "what happens, one step after the other"),
    key("acl_table", Shape::Anything, "a table of who may do what: a block (`|`), a list, or a path"),
    key("programs", Shape::Later, "programs under test"),
];

/// What a scenario is, whatever its combination.
pub(in crate::scenario) struct Header {
    pub id: String,
    pub name: String,
    pub span: Span,
    pub level: Level,
    pub tags: Vec<String>,
    pub requires: Vec<Capability>,
    pub points: Option<f64>,
    pub hint: Option<String>,
    pub hidden: bool,
    pub known: Vec<Known>,
}

/// Reads one scenario into its cases.
pub(in crate::scenario) fn scenario(file: &FileLevel, node: &Node) -> Vec<Case> {
    let base = &file.scope;
    if !matches!(node.kind, Kind::Map(_)) {
        base.wrong(node, "scenarios", "a list of scenarios, each a map");
        return Vec::new();
    }
    let Some(fields) = Fields::of(base, node, &[SCENARIO_KEYS], "a scenario") else { return Vec::new() };
    fields.need(base, "id", "a scenario");
    let header = header(base, &fields, "");
    if let Some(id) = fields.get("id") {
        file.claim_id(&header.id, &id.span);
    }
    let body = body_key(base, &fields);
    let matrix = fields.get("matrix").or(file.matrix.as_ref());
    let mut cases = Vec::new();
    for combination in combinations(base, matrix) {
        let scope = Scope::new(base.inputs, combination);
        cases.extend(case(file, scope, &fields, &header, body));
    }
    cases
}

/// What a scenario does, as written.
#[derive(Clone, Copy)]
pub(in crate::scenario) enum BodyNode<'n> {
    Steps(&'n Node),
    Table(&'n Node),
}

fn body_key<'n>(scope: &Scope, fields: &Fields<'n>) -> Option<BodyNode<'n>> {
    match (fields.get("steps"), fields.get("acl_table")) {
        (Some(steps), None) => Some(BodyNode::Steps(steps)),
        (None, Some(table)) => Some(BodyNode::Table(table)),
        (Some(_), Some(table)) => {
            scope.error("L023", &table.span, "a scenario has `steps` or an `acl_table`, not both");
            None
        }
        (None, None) => {
            scope.error("L006", &fields.span, "a scenario needs `steps` or an `acl_table`");
            None
        }
    }
}

fn case(
    file: &FileLevel,
    mut scope: Scope,
    fields: &Fields,
    header: &Header,
    body: Option<BodyNode>,
) -> Option<Case> {
    let errors = scope.inputs.problems.errors();
    let peer_nodes = merge(file.peers.as_ref(), fields.get("peers"), 1);
    let peers = peer_nodes.as_ref().map(|node| peers(&mut scope, node)).unwrap_or_default();
    let setup = setup_for(file, &mut scope, fields);
    let client_nodes = merge(file.clients.as_ref(), fields.get("clients"), 1);
    let mut clients =
        client_nodes.as_ref().map(|node| clients(&scope, node, &setup.broker)).unwrap_or_default();
    clients.extend(peers);
    let spec = fields.get("spec").map(|node| spec(&scope, node)).unwrap_or_default();
    let reader = StepReader::new(&scope, &clients, &setup.broker);
    let body = match body? {
        BodyNode::Steps(node) => Body::Steps(reader.steps(node)),
        BodyNode::Table(node) => Body::Table(Arc::new(table_of(&scope, node, header)?)),
    };
    let ignored = reader.into_ignored();
    scope.check_captured();
    let mut case = assemble(header, &scope.combination, setup, clients, body);
    for index in ignored {
        case.clients[index.0].ignore_extra = true;
    }
    case.file.clone_from(&header.span.source.name);
    (case.spec, case.spec_spans) = spec.into_iter().unzip();
    // What follows from steps means nothing while some of them cannot be read.
    if scope.inputs.problems.errors() == errors {
        lint::case(&scope, &mut case);
    }
    lint::unused_in_scenario(&scope, fields, &case);
    file.used.borrow_mut().extend(scope.used.into_inner());
    Some(case)
}

pub(in crate::scenario) fn assemble(
    header: &Header,
    combination: &Combination,
    setup: Arc<Setup>,
    clients: Vec<crate::scenario::ClientSpec>,
    body: Body,
) -> Case {
    Case {
        file: header.span.source.name.clone(),
        scenario: header.id.clone(),
        variant: combination.name.clone(),
        name: header.name.clone(),
        protocol: combination.protocol,
        spec: Vec::new(),
        spec_spans: Vec::new(),
        level: header.level,
        tags: header.tags.clone(),
        requires: header.requires.clone(),
        points: header.points,
        hint: header.hint.clone(),
        hidden: header.hidden,
        known: header.known.clone(),
        setup,
        clients,
        body,
        span: header.span.clone(),
        least: Duration::ZERO,
    }
}

/// Broker and certificates; shared among the scenarios that add nothing of their own.
fn setup_for(file: &FileLevel, scope: &mut Scope, fields: &Fields) -> Arc<Setup> {
    let own = fields.get("broker").is_some() || fields.get("pki").is_some();
    let shared = if own { None } else { file.shared.borrow().clone() };
    let found = shared.unwrap_or_else(|| {
        let broker = merge(file.broker.as_ref(), fields.get("broker"), 2);
        let pki = merge(file.pki.as_ref(), fields.get("pki"), 1);
        let made = Arc::new(setup(scope, broker.as_ref(), pki.as_ref()));
        if !own && !scope.matrix_used.get() {
            *file.shared.borrow_mut() = Some(Arc::clone(&made));
        }
        made
    });
    scope.names.users = found.broker.users.iter().map(|user| user.name.clone()).collect();
    scope.names.listeners = found.broker.listeners.iter().map(|listener| listener.name.clone()).collect();
    scope.names.certs = found.pki.iter().map(|certificate| certificate.name.clone()).collect();
    found
}

fn table_of(scope: &Scope, node: &Node, header: &Header) -> Option<Table> {
    let mut table = table::from_node(scope, node)?;
    table::share_points(scope, &mut table, header.points, &header.span);
    Some(table)
}

/// Reads what does not depend on the combination.
pub(in crate::scenario) fn header(scope: &Scope, fields: &Fields, default_id: &str) -> Header {
    let id = match fields.get("id") {
        Some(node) => id(scope, node).unwrap_or_default(),
        None => default_id.to_owned(),
    };
    let text = |name: &str| fields.get(name).and_then(|node| scope.text(node, name));
    let level =
        fields.get("level").and_then(|node| values::word(scope, node, "level", &["must", "should", "may"]));
    let tags = fields.get("tags").map(values::one_or_many).unwrap_or_default();
    let requires = fields.get("requires").map(values::one_or_many).unwrap_or_default();
    Header {
        name: text("name").unwrap_or_else(|| id.clone()),
        id,
        span: fields.get("id").map_or_else(|| fields.span.clone(), |node| node.span.clone()),
        level: match level {
            Some("should") => Level::Should,
            Some("may") => Level::May,
            _ => Level::Must,
        },
        tags: tags.into_iter().filter_map(|node| scope.text(node, "tags")).collect(),
        requires: requires.into_iter().filter_map(|node| capability(scope, node)).collect(),
        points: fields.get("points").and_then(|node| values::points(scope, node)),
        hint: text("hint"),
        hidden: fields.get("hidden").and_then(|node| values::boolean(scope, node, "hidden")).unwrap_or(false),
        known: fields.get("known").map(|node| known(scope, node)).unwrap_or_default(),
    }
}

/// An id names files and selections, so it is made of plain characters.
fn id(scope: &Scope, node: &Node) -> Option<String> {
    let text = scope.text(node, "id")?;
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    if text.is_empty() || !text.chars().all(plain) {
        scope.error_help(
            "L024",
            &node.span,
            "an id is made of letters, digits, `-` and `_`",
            "try `acl-table`",
        );
        return None;
    }
    Some(text)
}

fn capability(scope: &Scope, node: &Node) -> Option<Capability> {
    let names = Capability::ALL.map(|(_, name)| name);
    let word = values::word(scope, node, "requires", &names)?;
    Capability::ALL.iter().find(|(_, name)| *name == word).map(|(capability, _)| *capability)
}

fn known(scope: &Scope, node: &Node) -> Vec<Known> {
    let Kind::Map(entries) = &node.kind else {
        scope.wrong(node, "known", "a map from brokers to reasons");
        return Vec::new();
    };
    entries
        .iter()
        .filter_map(|(broker, reason)| {
            Some(Known { broker: broker.text.clone(), reason: scope.text(reason, "known")? })
        })
        .collect()
}

/// Statement ids for the protocol of this combination, each with its place.
fn spec(scope: &Scope, node: &Node) -> Vec<(String, Span)> {
    let ids = |node: &Node| -> Vec<(String, Span)> {
        let items = values::one_or_many(node).into_iter();
        items.filter_map(|item| Some((scope.text(item, "spec")?, item.span.clone()))).collect()
    };
    let Kind::Map(entries) = &node.kind else { return ids(node) };
    let mut found = Vec::new();
    for (version, node) in entries {
        match ProtocolVersion::parse(&version.text) {
            Some(version) if version == scope.combination.protocol => found.extend(ids(node)),
            Some(_) => {}
            None => {
                let message = format!("`{}` is not a version of MQTT", crate::text::escape(&version.text));
                scope.error_help("L004", &version.span, message, "versions are 3.1, 3.1.1 and 5");
            }
        }
    }
    found
}
