//! Steps: `- actor: verb` or `- actor: {verb: value, key: value}`, lowered to operations.
//!
//! One row a verb in [`VERBS`]; reading, did-you-mean, `mqttlab explain`, the JSON Schema and the
//! test that every example works all walk the same rows. What an operation does is the runner's.

mod broker;
mod closed;
mod connect;
mod control;
mod disconnect;
mod packets;
mod peer;
mod ping;
mod publish;
mod receives;
mod reply;
mod subscribe;

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::ClientSpec;
use super::keys::{Fields, KeySpec, later};
use super::node::{Key, Kind, Node};
use super::op::{ClientIndex, Op, Step};
use super::scope::{Scope, suggest};
use super::target::BrokerSpec;
use crate::diagnostic::Span;
use crate::mqtt::ProtocolVersion;

/// Who does a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A client, by its name.
    Client,
    /// `broker`.
    Broker,
    /// A peer, by its name.
    Peer,
    /// The verb stands alone: `- fence`, `- wait: 1s`.
    Control,
}

/// One verb.
pub struct VerbSpec {
    /// As it is written.
    pub name: &'static str,
    /// Who does it.
    pub actor: Actor,
    /// One or more sentences for `mqttlab explain`.
    pub doc: &'static str,
    /// The key that a value right behind the verb stands for: `publish: a/b` is
    /// `publish: {topic: a/b}`. `None`: the verb takes no value.
    pub value: Option<&'static str>,
    /// All keys.
    pub keys: &'static [KeySpec],
    /// Steps that work, with clients `a` and `b`.
    pub example: &'static str,
    decode: fn(&StepReader, &Args) -> Option<Op>,
}

/// All verbs, in the order of the reference.
pub const VERBS: &[&VerbSpec] = &[
    &connect::CONNECT,
    &disconnect::DISCONNECT,
    &disconnect::DROP,
    &subscribe::SUBSCRIBE,
    &subscribe::UNSUBSCRIBE,
    &publish::PUBLISH,
    &ping::PING,
    &receives::RECEIVES,
    &receives::RECEIVES_ANY_ORDER,
    &receives::RECEIVES_NOTHING,
    &closed::CLOSED,
    &packets::PACKETS,
    &broker::START,
    &broker::STOP,
    &broker::KILL,
    &broker::RESTART,
    &broker::RELOAD,
    &peer::PLAYS,
    &peer::DONE,
    &control::FENCE,
    &control::WAIT,
    &control::PARALLEL,
    &control::REPEAT,
];

/// Words of the language that this version does not know yet.
const LATER: &[&str] =
    &["freeze", "thaw", "logs", "net", "capture", "use", "sends", "prints", "exits", "connected"];

/// The actor that is the broker.
const BROKER: &str = "broker";

/// True for a word that cannot name a client.
pub(super) fn is_reserved(name: &str) -> bool {
    name == BROKER
        || matches!(name, "net" | "capture" | "use")
        || VERBS.iter().any(|verb| verb.actor == Actor::Control && verb.name == name)
}

/// A verb as it was found in a file.
struct Args<'n> {
    /// The client or peer, for their verbs.
    client: Option<ClientIndex>,
    /// Keys and values, those of the value's own map included.
    fields: Fields<'n>,
    /// What the verb stands behind.
    span: Span,
}

impl Args<'_> {
    /// The client or peer; only for their verbs.
    fn client(&self) -> ClientIndex {
        self.client.expect("a verb of a client or peer is only reached through one")
    }
}

/// Reads the steps of one scenario.
pub(super) struct StepReader<'a> {
    /// What names mean.
    pub scope: &'a Scope<'a>,
    clients: &'a [ClientSpec],
    broker: &'a BrokerSpec,
    ignored: RefCell<BTreeSet<ClientIndex>>,
}

impl<'a> StepReader<'a> {
    /// A reader for these clients.
    pub fn new(scope: &'a Scope<'a>, clients: &'a [ClientSpec], broker: &'a BrokerSpec) -> Self {
        Self { scope, clients, broker, ignored: RefCell::default() }
    }

    /// The clients that a step said `extra: ignore` of.
    pub fn into_ignored(self) -> BTreeSet<ClientIndex> {
        self.ignored.into_inner()
    }

    /// A list of steps.
    pub fn steps(&self, node: &Node) -> Vec<Step> {
        let items = super::decode::values::list(self.scope, node, "steps");
        if items.is_empty() && matches!(node.kind, Kind::Seq(_)) {
            self.scope.wrong(node, "steps", "a list of at least one step");
        }
        items.into_iter().filter_map(|item| self.step(item)).collect()
    }

    /// The protocol of a client.
    fn version(&self, client: ClientIndex) -> ProtocolVersion {
        self.clients[client.0].protocol.unwrap_or(self.scope.combination.protocol)
    }

    fn step(&self, node: &Node) -> Option<Step> {
        let op = match &node.kind {
            Kind::Map(entries) => match entries.as_slice() {
                [(actor, value)] => self.actor(actor, value)?,
                [(actor, _), (other, _), ..] => {
                    let message = format!(
                        "a step has one key, its actor; this one has `{}` and `{}`",
                        crate::text::escape(&actor.text),
                        crate::text::escape(&other.text)
                    );
                    let help = format!(
                        "write `- {}: {{verb: value, key: value}}`",
                        crate::text::escape(&actor.text)
                    );
                    self.scope.error_help("L022", &other.span, message, help);
                    return None;
                }
                [] => {
                    self.scope.error("L022", &node.span, "this step is empty");
                    return None;
                }
            },
            _ => self.bare_word(node)?,
        };
        Some(Step { op, span: node.span.clone() })
    }

    /// `- fence`
    fn bare_word(&self, node: &Node) -> Option<Op> {
        let word = node.lexeme().unwrap_or_default();
        let control = VERBS.iter().find(|verb| verb.actor == Actor::Control && verb.name == word);
        if let Some(verb) = control {
            return self.verb(verb, None, &[], None, &node.span);
        }
        let message = format!("a step is `- actor: verb`, not {}", node.describe());
        let help = if self.clients.iter().any(|client| client.name == word) {
            format!("what does it do? For example `- {word}: connect`")
        } else {
            "for example `- watch: {subscribe: home/#}`".to_owned()
        };
        self.scope.error_help("L022", &node.span, message, help);
        None
    }

    fn actor(&self, key: &Key, value: &Node) -> Option<Op> {
        let name = key.text.as_str();
        if let Some(verb) = VERBS.iter().find(|verb| verb.actor == Actor::Control && verb.name == name) {
            return self.verb(verb, None, &[], Some(value), &key.span);
        }
        if name == BROKER {
            return self.action(Actor::Broker, None, key, value);
        }
        if let Some(index) = self.clients.iter().position(|client| client.name == name) {
            let plays = self.clients[index].plays;
            let (kind, what) = if plays { (Actor::Peer, "peer") } else { (Actor::Client, "client") };
            self.scope.mark_used(what, name);
            return self.action(kind, Some(ClientIndex(index)), key, value);
        }
        if LATER.contains(&name) {
            later(self.scope, name, &key.span);
            return None;
        }
        let known = self.clients.iter().map(|client| client.name.as_str());
        let control = VERBS.iter().filter(|verb| verb.actor == Actor::Control).map(|verb| verb.name);
        let mut help = suggest(name, known.chain([BROKER]).chain(control), "");
        if !help.starts_with("did you mean") {
            help = format!("define it: `clients: {{{}: {{}}}}`; {help}", crate::text::escape(name));
        }
        let message = format!("there is no client or other actor `{}`", crate::text::escape(name));
        self.scope.error_help("L008", &key.span, message, help);
        None
    }

    /// `connect`, or `{publish: …, qos: 1}`.
    fn action(&self, kind: Actor, client: Option<ClientIndex>, actor: &Key, value: &Node) -> Option<Op> {
        let verbs = || VERBS.iter().copied().filter(move |verb| verb.actor == kind);
        let Kind::Map(entries) = &value.kind else {
            let Some(word) = value.lexeme().filter(|_| !value.is_null()) else {
                let message = format!("what does `{}` do? A verb, or a map that begins with one", actor.text);
                let span = if value.is_null() { &actor.span } else { &value.span };
                self.scope.error_help(
                    "L022",
                    span,
                    message,
                    format!("for example `{}: {}`", actor.text, first(kind)),
                );
                return None;
            };
            let Some(verb) = verbs().find(|verb| verb.name == word) else {
                self.unknown_verb(kind, word, &value.span);
                return None;
            };
            return self.verb(verb, client, &[], None, &value.span);
        };
        let found: Vec<(&Key, &Node, &VerbSpec)> = entries
            .iter()
            .filter_map(|(key, node)| Some((key, node, verbs().find(|verb| verb.name == key.text)?)))
            .collect();
        match found.as_slice() {
            [(key, node, verb)] => {
                let others: Vec<(&Key, &Node)> =
                    entries.iter().filter(|(k, _)| k.text != key.text).map(|(k, n)| (k, n)).collect();
                self.verb(verb, client, &others, Some(node), &key.span)
            }
            [_, (second, ..), ..] => {
                let message = format!("a step has one verb, and `{}` is a second one", second.text);
                self.scope.error_help("L022", &second.span, message, "make it a step of its own");
                None
            }
            [] => {
                match entries.first() {
                    Some((key, _)) => self.unknown_verb(kind, &key.text, &key.span),
                    None => self.scope.error("L022", &value.span, "this step has no verb"),
                }
                None
            }
        }
    }

    fn unknown_verb(&self, kind: Actor, word: &str, span: &Span) {
        if LATER.contains(&word) {
            later(self.scope, word, span);
            return;
        }
        let names = VERBS.iter().filter(|verb| verb.actor == kind).map(|verb| verb.name);
        let who = match kind {
            Actor::Broker => "`broker`",
            Actor::Peer => "a peer",
            Actor::Client | Actor::Control => "a client",
        };
        let message = format!("`{}` is not something that {who} does", crate::text::escape(word));
        self.scope.error_help("L008", span, message, suggest(word, names, ""));
    }

    /// Puts value and keys together and reads them.
    fn verb(
        &self,
        verb: &VerbSpec,
        client: Option<ClientIndex>,
        others: &[(&Key, &Node)],
        value: Option<&Node>,
        span: &Span,
    ) -> Option<Op> {
        let what = format!("`{}`", verb.name);
        let primary = verb.value.map(|name| Key { text: name.to_owned(), span: span.clone() });
        let mut entries: Vec<(&Key, &Node)> = Vec::new();
        match (value, &primary) {
            (None, _) => {}
            (Some(node), _) if node.is_null() && node.lexeme() == Some("") && may_be_empty(verb) => {}
            (Some(Node { kind: Kind::Map(own), .. }), _) => entries.extend(own.iter().map(|(k, n)| (k, n))),
            (Some(node), Some(primary)) => entries.push((primary, node)),
            (Some(node), None) => {
                self.scope.error("L005", &node.span, format!("{what} takes no value"));
                return None;
            }
        }
        for (key, node) in others {
            if entries.iter().any(|(known, _)| known.text == key.text) {
                self.scope.error("L002", &key.span, format!("the key `{}` is here twice", key.text));
            } else {
                entries.push((key, node));
            }
        }
        let fields = Fields::checked(self.scope, entries, span.clone(), &[verb.keys], &what);
        (verb.decode)(self, &Args { client, fields, span: span.clone() })
    }
}

/// Verbs whose main value may be left out.
fn may_be_empty(verb: &VerbSpec) -> bool {
    matches!(verb.name, "connect" | "disconnect" | "closed") || verb.value.is_none()
}

fn first(kind: Actor) -> &'static str {
    match kind {
        Actor::Broker => "restart",
        Actor::Peer => "done",
        Actor::Client | Actor::Control => "connect",
    }
}
