//! `receives`, `receives_any_order`, `receives_nothing`: what must arrive, and that nothing does.

use super::{Actor, Args, StepReader, VerbSpec};
use crate::mqtt::packet::PacketType;
use crate::scenario::decode::properties::{Carrier, to_match};
use crate::scenario::decode::{matchers, values};
use crate::scenario::keys::{Fields, KeySpec, Shape, key};
use crate::scenario::matcher::Matcher;
use crate::scenario::node::{Kind, Node};
use crate::scenario::op::{ClientIndex, Expect, MessagePattern, Op};
use crate::scenario::target::DEFAULT_WITHIN;

const TOPIC_DOC: &str = "the topic, a filter that it matches, `/…/` or `any`";
const PAYLOAD: KeySpec = key("payload", Shape::Matcher, "what the payload must be like; default: anything");
const QOS: KeySpec = key("qos", Shape::Integer(0, 2), "QoS as delivered");
const RETAIN: KeySpec = key("retain", Shape::Bool, "retain flag as delivered");
const DUP: KeySpec = key("dup", Shape::Bool, "dup flag as delivered");
const PROPERTIES: KeySpec =
    key("properties", Shape::PropertyMatchers, "properties that it must have (`absent`: must not), 5.0");
const TIMES: KeySpec = key("times", Shape::Integer(1, 1_000_000), "how often it comes; default 1");

/// Keys of one message in a list.
const MESSAGE_KEYS: &[KeySpec] =
    &[key("topic", Shape::Matcher, TOPIC_DOC), PAYLOAD, QOS, RETAIN, DUP, PROPERTIES, TIMES];

const KEYS: &[KeySpec] = &[
    key(
        "topic",
        Shape::OneOrMany(&Shape::Either(&[Shape::Matcher, Shape::Keys(MESSAGE_KEYS)])),
        "a topic, or a list of messages, each a topic or a map",
    ),
    PAYLOAD,
    QOS,
    RETAIN,
    DUP,
    PROPERTIES,
    TIMES,
    key(
        "or",
        Shape::OneOrMany(&Shape::Text),
        "other clients: each message comes to one of all these, whichever, as in a shared subscription; in any order",
    ),
    key("within", Shape::Duration, "how long to wait for all of them; default 2 s"),
    key("extra", Shape::Word(&["ignore", "fail"]), "messages that nobody asks for do not fail this client"),
];

pub(super) const RECEIVES: VerbSpec = VerbSpec {
    name: "receives",
    actor: Actor::Client,
    doc: "Waits for a message, or for several in this order. What arrives and is never asked for \
          fails the scenario at its end, unless `extra: ignore`.",
    value: Some("topic"),
    keys: KEYS,
    example: "- a: {subscribe: \"home/#\", qos: 1}
- b: {publish: home/kitchen/temp, payload: \"21.5\", qos: 1}
- a: {receives: home/kitchen/temp, payload: {gte: 20, lte: 25}, qos: 1, within: 1s}
- b: {publish: home/door, payload: open}
- b: {publish: home/door, payload: closed}
- a: {receives: [{topic: home/door, payload: open}, {topic: home/door, payload: /clos.*/}]}",
    decode: receives,
};

pub(super) const RECEIVES_ANY_ORDER: VerbSpec = VerbSpec {
    name: "receives_any_order",
    actor: Actor::Client,
    doc: "Waits for several messages, whatever comes first.",
    value: Some("topic"),
    keys: KEYS,
    example: "- a: {subscribe: \"home/#\"}
- parallel:
  - b: {publish: home/1, payload: one}
  - a: {publish: home/2, payload: two}
- a: {receives_any_order: [home/1, {topic: home/2, payload: two}]}",
    decode: receives_any_order,
};

pub(super) const RECEIVES_NOTHING: VerbSpec = VerbSpec {
    name: "receives_nothing",
    actor: Actor::Client,
    doc: "Proves, by a message sent behind everything else and without waiting, that no message is there.",
    value: None,
    keys: &[],
    example: "- a: {subscribe: home/1}
- b: {publish: home/2, payload: not for a}
- a: receives_nothing",
    decode: receives_nothing,
};

fn receives(reader: &StepReader, args: &Args) -> Option<Op> {
    expect(reader, args, false)
}

fn receives_any_order(reader: &StepReader, args: &Args) -> Option<Op> {
    expect(reader, args, true)
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of all verbs")]
fn receives_nothing(_: &StepReader, args: &Args) -> Option<Op> {
    Some(Op::Quiet(args.client()))
}

fn expect(reader: &StepReader, args: &Args, any_order: bool) -> Option<Op> {
    let (scope, fields, client) = (reader.scope, &args.fields, args.client());
    if let Some(node) = fields.get("extra") {
        let word = values::word(scope, node, "extra", &["ignore", "fail"])?;
        reader.ignored.borrow_mut().extend((word == "ignore").then_some(client));
    }
    let within = match fields.get("within") {
        Some(node) => values::duration(scope, node, "within")?,
        None => DEFAULT_WITHIN,
    };
    let others = match fields.get("or") {
        Some(node) => others(reader, client, node)?,
        None => Vec::new(),
    };
    let op = |messages| {
        let expect = Expect { messages, any_order: any_order || !others.is_empty(), within };
        if others.is_empty() {
            return Op::Expect(client, expect);
        }
        Op::ExpectAmong(std::iter::once(client).chain(others).collect(), expect)
    };
    let topic = fields.need(scope, "topic", "`receives`")?;
    let Kind::Seq(items) = &topic.kind else {
        return Some(op(vec![message(reader, args, fields, topic)?]));
    };
    if items.is_empty() {
        let help = "to expect that nothing comes write `receives_nothing`";
        scope.error_help("L005", &topic.span, "this list expects no message", help);
        return None;
    }
    // Keys beside a list are those of all its messages.
    let messages: Vec<Option<MessagePattern>> = items.iter().map(|item| listed(reader, args, item)).collect();
    messages.into_iter().collect::<Option<Vec<_>>>().map(op)
}

/// The clients that `or` names.
fn others(reader: &StepReader, client: ClientIndex, node: &Node) -> Option<Vec<ClientIndex>> {
    let mut found = Vec::new();
    for item in values::one_or_many(node) {
        let name = reader.scope.text(item, "or")?;
        let names = reader.clients.iter().map(|client| client.name.as_str());
        reader.scope.defined("client", &name, &item.span, names).then_some(())?;
        let index = ClientIndex(reader.clients.iter().position(|client| client.name == name)?);
        if index == client || found.contains(&index) {
            reader.scope.error("L005", &item.span, format!("`{name}` is there twice"));
            return None;
        }
        found.push(index);
    }
    Some(found)
}

fn listed(reader: &StepReader, args: &Args, item: &Node) -> Option<MessagePattern> {
    let Kind::Map(entries) = &item.kind else { return message(reader, args, &args.fields, item) };
    // A map of tests is a topic matcher, not a message.
    if entries.iter().any(|(key, _)| matchers::MATCHER_KEYS.iter().any(|spec| spec.name == key.text)) {
        return message(reader, args, &args.fields, item);
    }
    let mut all: Vec<_> = entries.iter().map(|(key, node)| (key, node)).collect();
    for spec in MESSAGE_KEYS.iter().filter(|spec| spec.name != "topic") {
        let common = args.fields.entry(spec.name);
        all.extend(common.filter(|_| !entries.iter().any(|(key, _)| key.text == spec.name)));
    }
    let fields = Fields::checked(reader.scope, all, item.span.clone(), &[MESSAGE_KEYS], "a message");
    let topic = fields.need(reader.scope, "topic", "a message")?;
    message(reader, args, &fields, topic)
}

fn message(reader: &StepReader, args: &Args, fields: &Fields, topic: &Node) -> Option<MessagePattern> {
    let scope = reader.scope;
    let version = reader.version(args.client());
    let flag = |name: &str| fields.get(name).map(|node| values::boolean(scope, node, name));
    Some(MessagePattern {
        topic: matchers::topic(scope, topic, "topic")?,
        payload: match fields.get("payload") {
            Some(node) => matchers::matcher(scope, node, "payload")?,
            None => Matcher::Any,
        },
        qos: match fields.get("qos") {
            Some(node) => Some(values::qos(scope, node)?),
            None => None,
        },
        retain: flag("retain").map_or(Some(None), |value| value.map(Some))?,
        dup: flag("dup").map_or(Some(None), |value| value.map(Some))?,
        properties: fields
            .get("properties")
            .map(|node| to_match(scope, node, Carrier::Packet(PacketType::Publish), version))
            .unwrap_or_default(),
        times: match fields.get("times") {
            Some(node) => values::count(scope, node, "times", 1, 1_000_000)?,
            None => 1,
        },
        span: topic.span.clone(),
    })
}
