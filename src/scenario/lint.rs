//! What can be known about a lowered scenario before anything starts: steps on dropped clients,
//! messages that cannot come, what the target must be able to do, the least time it takes, and
//! definitions that nothing uses.
//!
//! Says nothing where it cannot be sure: a false alarm would make an author distrust all the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use super::decode::file::FileLevel;
use super::keys::Fields;
use super::matcher::Matcher;
use super::node::{Kind, Node};
use super::op::{
    ClientIndex, Close, ConnectOutcome, Op, Reply, Request, Step, TargetAction, WireAlternative, WireStep,
    WireStepKind,
};
use super::scope::Scope;
use super::{Body, Capability, Case, Subject};
use crate::diagnostic::{Diagnostic, Span};
use crate::mqtt::notation::PacketLine;
use crate::mqtt::{ProtocolVersion, QoS, TopicFilter, TopicName};

/// Checks a case and fills in what follows from its steps.
pub(super) fn case(scope: &Scope, case: &mut Case) {
    if let Body::Steps(steps) = &case.body {
        Walk::new(scope, case).steps(steps);
        case.least = least(steps);
    }
    let mut requires: BTreeSet<Capability> = case.requires.iter().copied().collect();
    requires.extend(implied(case));
    case.requires = requires.into_iter().collect();
}

/// The least time that steps can take, from their waits.
fn least(steps: &[Step]) -> Duration {
    let one = |step: &Step| match &step.op {
        Op::Pause(duration) => *duration,
        Op::Closed(_, closed) => closed.after.unwrap_or_default(),
        Op::Spawn(branches) => branches.iter().map(|branch| least(branch)).max().unwrap_or_default(),
        Op::Repeat(times, steps) => least(steps).saturating_mul(*times),
        _ => Duration::ZERO,
    };
    steps.iter().map(one).fold(Duration::ZERO, Duration::saturating_add)
}

/// What the target must be able to do for these steps and this set-up.
fn implied(case: &Case) -> BTreeSet<Capability> {
    let mut found = BTreeSet::new();
    if case.subject() == Subject::Client {
        return found;
    }
    let versions = case.clients.iter().filter_map(|client| client.protocol).chain([case.protocol]);
    for version in versions {
        match version {
            ProtocolVersion::V31 => found.insert(Capability::V31),
            ProtocolVersion::V311 => false,
            ProtocolVersion::V5 => found.insert(Capability::V5),
        };
    }
    let broker = &case.setup.broker;
    for client in case.clients.iter().filter(|client| client.at_broker()) {
        if client.user.is_some() {
            found.insert(Capability::Accounts);
        }
        let name = client.listener.as_deref();
        let listener = match name {
            Some(name) => broker.listeners.iter().find(|listener| listener.name == name),
            None => broker.listeners.first(),
        };
        if listener.is_some_and(|listener| listener.websockets) {
            found.insert(Capability::Websocket);
        }
        if listener.is_some_and(|listener| listener.cert.is_some()) {
            found.insert(Capability::Tls);
        }
    }
    if broker.users.iter().any(|user| user.scram) {
        found.insert(Capability::Scram);
    }
    if !broker.settings.is_empty() || !broker.bridges.is_empty() || broker.config.is_some() {
        found.insert(Capability::Config);
    }
    match &case.body {
        Body::Table(table) => {
            found.extend(table.rows.iter().any(|row| row.user.is_some()).then_some(Capability::Accounts));
        }
        Body::Steps(steps) => implied_by_steps(steps, &mut found),
    }
    found
}

fn implied_by_steps(steps: &[Step], found: &mut BTreeSet<Capability>) {
    for step in steps {
        match &step.op {
            Op::Target(TargetAction::Reload) => {
                found.insert(Capability::Reload);
            }
            Op::Target(_) => {
                found.insert(Capability::Restart);
            }
            Op::Send(_, Request::Publish { qos, retain, .. }, _) => {
                found.extend((*qos == QoS::ExactlyOnce).then_some(Capability::Qos2));
                found.extend(retain.then_some(Capability::Retain));
            }
            Op::Send(_, Request::Subscribe { filters, .. }, _) => {
                for (filter, _) in filters {
                    let shared = filter.as_literal().is_some_and(|text| text.starts_with("$share/"));
                    found.extend(shared.then_some(Capability::Shared));
                }
            }
            Op::Spawn(branches) => branches.iter().for_each(|branch| implied_by_steps(branch, found)),
            Op::Repeat(_, steps) => implied_by_steps(steps, found),
            _ => {}
        }
    }
}

/// Goes through the steps in order and knows what each client has done so far.
struct Walk<'a> {
    scope: &'a Scope<'a>,
    case: &'a Case,
    clients: Vec<Known>,
}

/// What is known of one client.
#[derive(Default)]
struct Known {
    /// Where it ended its connection, if it did.
    ended: Option<Span>,
    /// What it subscribed to.
    filters: Vec<TopicFilter>,
    /// It has subscriptions that cannot be told: variables, packet blocks, a session of before.
    unclear: bool,
    /// The `$names` of its packet lines.
    numbers: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    fn new(scope: &'a Scope<'a>, case: &'a Case) -> Self {
        let known = |client: &super::ClientSpec| Known {
            // The session of another client with the same identifier may hold subscriptions.
            unclear: client.raw || client.client_id.is_some() || client.peer.is_some(),
            ..Known::default()
        };
        Self { scope, case, clients: case.clients.iter().map(known).collect() }
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        match &step.op {
            Op::Open(client, open) => {
                let known = &mut self.clients[client.0];
                let refused = !matches!(
                    open.outcome,
                    ConnectOutcome::Accepted | ConnectOutcome::AcceptedWith { .. } | ConnectOutcome::Any
                );
                if !refused {
                    known.ended = None;
                }
            }
            Op::Send(client, request, reply) => {
                self.connected(*client, step);
                if matches!(reply, Reply::Denied) {
                    self.proved_at_broker(*client, step);
                }
                if let Request::Subscribe { filters, .. } = request {
                    for (filter, _) in filters {
                        self.subscribed(*client, filter.as_literal());
                    }
                }
            }
            Op::Expect(client, expect) => {
                self.connected(*client, step);
                for message in &expect.messages {
                    self.can_come(*client, &message.topic, &message.span);
                }
            }
            Op::ExpectAmong(clients, _) => clients.iter().for_each(|client| self.connected(*client, step)),
            Op::Quiet(client) => {
                self.proved_at_broker(*client, step);
                self.connected(*client, step);
            }
            Op::Closed(client, _) => self.connected(*client, step),
            Op::Packets(client, lines) => {
                self.numbers(*client, lines);
                self.transport_and_account(*client, lines);
                let known = &mut self.clients[client.0];
                known.unclear = true;
                known.ended = None;
            }
            Op::Play(peer, lines) => {
                self.numbers(*peer, lines);
                self.transport_and_account(*peer, lines);
            }
            Op::Close(client, close) => {
                self.connected(*client, step);
                if !self.case.clients[client.0].raw && matches!(close, Close::Drop | Close::Disconnect { .. })
                {
                    self.clients[client.0].ended = Some(step.span.clone());
                }
            }
            Op::Target(_) | Op::Pause(_) | Op::Barrier | Op::Played(_) => {}
            // Branches see each other's subscriptions.
            Op::Spawn(branches) => {
                for branch in branches {
                    self.subscriptions_of(branch);
                }
                for branch in branches {
                    self.steps(branch);
                }
            }
            Op::Repeat(_, steps) => self.steps(steps),
        }
    }

    fn subscriptions_of(&mut self, steps: &[Step]) {
        for step in steps {
            match &step.op {
                Op::Send(client, Request::Subscribe { filters, .. }, _) => {
                    for (filter, _) in filters {
                        self.subscribed(*client, filter.as_literal());
                    }
                }
                Op::Repeat(_, steps) => self.subscriptions_of(steps),
                _ => {}
            }
        }
    }

    fn subscribed(&mut self, client: ClientIndex, filter: Option<&str>) {
        let known = &mut self.clients[client.0];
        match filter.and_then(|text| TopicFilter::new(text.to_owned()).ok()) {
            Some(filter) => known.filters.push(filter),
            None => known.unclear = true,
        }
    }

    /// L010: an identifier is sent that no line before can have brought.
    fn numbers(&mut self, client: ClientIndex, lines: &[WireStep]) {
        for line in lines {
            match &line.kind {
                WireStepKind::Send(packet) | WireStepKind::SendText(packet) => {
                    let known = &self.clients[client.0].numbers;
                    if let Some(name) = packet.open_numbers().find(|name| !known.contains(*name)) {
                        let message = format!("no line before says which number `${name}` is");
                        let help = format!("a line that expects takes it over: `< PUBLISH id=${name}`");
                        self.scope.error_help("L010", &line.span, message, help);
                    }
                }
                WireStepKind::Expect(alternatives) => {
                    let packets = alternatives.iter().flat_map(|one| match one {
                        WireAlternative::Packet(packet) => std::slice::from_ref(packet),
                        WireAlternative::All(packets) => packets.as_slice(),
                        WireAlternative::Close | WireAlternative::Skip => &[],
                    });
                    let found = packets.flat_map(PacketLine::open_numbers).map(str::to_owned);
                    self.clients[client.0].numbers.extend(found);
                }
                _ => {}
            }
        }
    }

    /// L023: a text frame where there are no frames. L010: a proof of nobody's password.
    fn transport_and_account(&self, client: ClientIndex, lines: &[WireStep]) {
        let client = &self.case.clients[client.0];
        let listeners = &self.case.setup.broker.listeners;
        let wanted = client.listener.as_deref();
        let listener = listeners.iter().find(|one| wanted.is_none_or(|name| name == one.name));
        let listener = listener.filter(|_| client.at_broker());
        for line in lines {
            let text = matches!(line.kind, WireStepKind::SendText(_));
            let frames = client.websockets || listener.is_some_and(|listener| listener.websockets);
            if text && !frames {
                let message = format!("`{}` has no WebSocket, and so no text frames", client.name);
                let a_listener = if client.plays { "" } else { "a `listener` with " };
                let help = format!("give it {a_listener}`protocol: websockets`");
                self.scope.error_help("L023", &line.span, message, help);
            }
            if client.user.is_none() && line.span.text().contains("${scram.") {
                let message = format!("`{}` has no `user` whose password it could prove", client.name);
                let help = "give it one, with `hash: scram-sha-256` under `broker: users`";
                self.scope.error_help("L010", &line.span, message, help);
            }
        }
    }

    /// L023: an absence is proved by messages through a broker, which a peer is not.
    fn proved_at_broker(&self, client: ClientIndex, step: &Step) {
        let client = &self.case.clients[client.0];
        if let Some(peer) = &client.peer {
            let message = format!(
                "`{}` is a client of the peer `{peer}`: nothing shows that no message is under way",
                client.name
            );
            let help = format!("let `{peer}` say what may come, with `! <` before its lines");
            self.scope.error_help("L023", &step.span, message, help);
        }
    }

    /// L016: the author ended this connection some steps ago.
    fn connected(&self, client: ClientIndex, step: &Step) {
        let Some(ended) = &self.clients[client.0].ended else { return };
        let name = &self.case.clients[client.0].name;
        let finding = Diagnostic::error(
            "L016",
            step.span.clone(),
            format!("`{name}` is not connected any more when it does this"),
        );
        self.scope.report(
            finding
                .with_related(ended.clone(), "its connection ends here")
                .with_help(format!("connect it again first: `- {name}: connect`")),
        );
    }

    /// L017: no subscription of this client could bring a message on this topic.
    fn can_come(&self, client: ClientIndex, topic: &Matcher, span: &Span) {
        let known = &self.clients[client.0];
        if known.unclear {
            return;
        }
        let possible = match topic {
            Matcher::Equals(template) => {
                match template.as_literal().map(|text| TopicName::new(text.to_owned())) {
                    Some(Ok(topic)) => known.filters.iter().any(|filter| filter.matches(&topic)),
                    _ => !known.filters.is_empty(),
                }
            }
            _ => !known.filters.is_empty(),
        };
        if possible {
            return;
        }
        let name = &self.case.clients[client.0].name;
        let message = if known.filters.is_empty() {
            format!("`{name}` has not subscribed to anything when it waits for this message")
        } else {
            format!("no subscription of `{name}` matches this topic")
        };
        let list: Vec<&str> = known.filters.iter().map(TopicFilter::as_str).collect();
        let help = if list.is_empty() {
            format!("subscribe first: `- {name}: {{subscribe: …}}`")
        } else {
            format!("it subscribed to {}", list.join(", "))
        };
        self.scope.error_help("L017", span, message, help);
    }
}

/// Names that a map (or list) defines, with their places.
fn definitions(node: Option<&Node>) -> Vec<(&str, &Span)> {
    match node.map(|node| &node.kind) {
        Some(Kind::Map(entries)) => entries.iter().map(|(key, _)| (key.text.as_str(), &key.span)).collect(),
        Some(Kind::Seq(items)) => {
            items.iter().filter_map(|item| Some((item.lexeme()?, &item.span))).collect()
        }
        _ => Vec::new(),
    }
}

fn child<'n>(node: Option<&'n Node>, name: &str) -> Option<&'n Node> {
    let Kind::Map(entries) = &node?.kind else { return None };
    entries.iter().find(|(key, _)| key.text == name).map(|(_, value)| value)
}

/// L021 for what a scenario defines for itself.
pub(super) fn unused_in_scenario(scope: &Scope, fields: &Fields, case: &Case) {
    if scope.inputs.problems.any_error() {
        return;
    }
    let used = scope.used.borrow();
    let is_table = matches!(case.body, Body::Table(_));
    let clients = fields.get("clients").filter(|_| !is_table);
    // An account that nobody uses may be there to make a password file: say nothing.
    let peers = fields.get("peers").filter(|_| !is_table);
    unused(scope, &used, None, child(fields.get("broker"), "listeners"), fields.get("pki"), [clients, peers]);
}

/// L021 for what a file defines for its scenarios.
pub(super) fn unused_in_file(file: &FileLevel, cases: &[Case]) {
    if cases.is_empty() || file.scope.inputs.problems.any_error() {
        return;
    }
    let used = file.used.borrow();
    let broker = file.broker.as_ref();
    // A table tests accounts, and one of them may be its witness; packets name them in their way.
    let clear = cases.iter().all(|case| matches!(&case.body, Body::Steps(steps) if !has_packets(steps)));
    let users = child(broker, "users").filter(|_| clear);
    let actors = [file.clients.as_ref(), file.peers.as_ref()];
    unused(&file.scope, &used, users, child(broker, "listeners"), file.pki.as_ref(), actors);
}

fn has_packets(steps: &[Step]) -> bool {
    steps.iter().any(|step| match &step.op {
        Op::Packets(..) | Op::Play(..) => true,
        Op::Spawn(branches) => branches.iter().any(|branch| has_packets(branch)),
        Op::Repeat(_, steps) => has_packets(steps),
        _ => false,
    })
}

fn unused(
    scope: &Scope,
    used: &BTreeSet<String>,
    users: Option<&Node>,
    listeners: Option<&Node>,
    pki: Option<&Node>,
    [clients, peers]: [Option<&Node>; 2],
) {
    // The first listener is the one that clients use without saying so.
    let kinds = [
        ("client", clients, 0),
        ("peer", peers, 0),
        ("user", users, 0),
        ("listener", listeners, 1),
        ("certificate", pki, 0),
    ];
    for (kind, node, skip) in kinds {
        for (name, span) in definitions(node).into_iter().skip(skip) {
            if !used.contains(&format!("{kind}.{name}")) {
                let message = format!("nothing uses the {kind} `{}`", crate::text::escape(name));
                let finding = Diagnostic::warning("L021", span.clone(), message);
                scope.report(finding.with_help("use it or leave it out"));
            }
        }
    }
}
