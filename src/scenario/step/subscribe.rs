//! `subscribe` and `unsubscribe`.

use super::reply::{
    EXPECT_SUBSCRIBE, EXPECT_UNSUBSCRIBE, SUBSCRIBE_CODES, UNSUBSCRIBE_CODES, check_count, reply,
};
use super::{Actor, Args, StepReader, VerbSpec};
use crate::mqtt::packet::{PacketType, RetainHandling, SubscriptionOptions};
use crate::mqtt::{Properties, Property, ProtocolVersion};
use crate::scenario::decode::properties::{Carrier, needs_v5, to_send};
use crate::scenario::decode::values;
use crate::scenario::keys::{Fields, KeySpec, Shape, key};
use crate::scenario::node::{Kind, Node};
use crate::scenario::op::{Op, Reply, Request};
use crate::scenario::scope::Scope;
use crate::scenario::value::Template;

const QOS: KeySpec = key("qos", Shape::Integer(0, 2), "the most that is asked for; default 0");
const NO_LOCAL: KeySpec = key("no_local", Shape::Bool, "not what this client published itself, 5.0");
const RETAIN_AS_PUBLISHED: KeySpec =
    key("retain_as_published", Shape::Bool, "the retain flag stays as the publisher set it, 5.0");
const RETAIN_HANDLING: KeySpec = key(
    "retain_handling",
    Shape::Integer(0, 2),
    "retained messages now: 0 send (default), 1 only if the subscription is new, 2 none; 5.0",
);

/// Keys of one filter in a list.
const FILTER_KEYS: &[KeySpec] =
    &[key("filter", Shape::Text, "the topic filter"), QOS, NO_LOCAL, RETAIN_AS_PUBLISHED, RETAIN_HANDLING];

pub(super) const SUBSCRIBE: VerbSpec = VerbSpec {
    name: "subscribe",
    actor: Actor::Client,
    doc: "Subscribes to one filter or several in one packet, and checks that the QoS asked for is granted.",
    value: Some("filter"),
    keys: &[
        key(
            "filter",
            Shape::OneOrMany(&Shape::Either(&[Shape::Text, Shape::Keys(FILTER_KEYS)])),
            "a topic filter, or a list of filters, each alone or as a map with its own options",
        ),
        QOS,
        NO_LOCAL,
        RETAIN_AS_PUBLISHED,
        RETAIN_HANDLING,
        key("id", Shape::Integer(1, 268_435_455), "subscription identifier, 5.0"),
        key("properties", Shape::Properties, "properties of the SUBSCRIBE, 5.0"),
        EXPECT_SUBSCRIBE,
    ],
    example: "- a: {subscribe: home/+/temp, qos: 1}
- a: {subscribe: [\"home/#\", {filter: garden/door, qos: 2}]}",
    decode: subscribe,
};

pub(super) const UNSUBSCRIBE: VerbSpec = VerbSpec {
    name: "unsubscribe",
    actor: Actor::Client,
    doc: "Ends one subscription or several in one packet.",
    value: Some("filter"),
    keys: &[
        key("filter", Shape::OneOrMany(&Shape::Text), "a topic filter, or a list of filters"),
        key("properties", Shape::Properties, "properties of the UNSUBSCRIBE, 5.0"),
        EXPECT_UNSUBSCRIBE,
    ],
    example: "- a: {subscribe: home/+/temp}
- a: {unsubscribe: home/+/temp}",
    decode: unsubscribe,
};

fn subscribe(reader: &StepReader, args: &Args) -> Option<Op> {
    let (scope, fields) = (reader.scope, &args.fields);
    let version = reader.version(args.client());
    let common = options(scope, fields, SubscriptionOptions::default(), version)?;
    let node = fields.need(scope, "filter", "`subscribe`")?;
    let filters = filter_list(scope, node)?.into_iter().map(|item| one_filter(scope, item, common, version));
    let filters: Vec<_> = filters.collect();
    let filters = filters.into_iter().collect::<Option<Vec<_>>>()?;
    let mut properties = match fields.get("properties") {
        Some(node) => to_send(scope, node, Carrier::Packet(PacketType::Subscribe), version),
        None => Properties::new(),
    };
    if let Some(node) = fields.get("id") {
        if !needs_v5(scope, node, "a subscription identifier", version) {
            return None;
        }
        properties.push(Property::SubscriptionIdentifier(values::count(scope, node, "id", 1, 268_435_455)?));
    }
    let reply = reply(scope, fields, SUBSCRIBE_CODES)?;
    check_count(scope, fields, &reply, filters.len());
    Some(Op::Send(args.client(), Request::Subscribe { filters, properties }, reply))
}

fn filter_list<'n>(scope: &Scope, node: &'n Node) -> Option<Vec<&'n Node>> {
    let items = values::one_or_many(node);
    if items.is_empty() {
        scope.wrong(node, "filter", "at least one topic filter");
        return None;
    }
    Some(items)
}

fn one_filter(
    scope: &Scope,
    node: &Node,
    common: SubscriptionOptions,
    version: ProtocolVersion,
) -> Option<(Template, SubscriptionOptions)> {
    if !matches!(node.kind, Kind::Map(_)) {
        return Some((values::topic_filter(scope, node, "subscribe")?, common));
    }
    let fields = Fields::of(scope, node, &[FILTER_KEYS], "a filter")?;
    let filter = fields.need(scope, "filter", "this map")?;
    Some((values::topic_filter(scope, filter, "filter")?, options(scope, &fields, common, version)?))
}

fn options(
    scope: &Scope,
    fields: &Fields,
    base: SubscriptionOptions,
    version: ProtocolVersion,
) -> Option<SubscriptionOptions> {
    let mut options = base;
    if let Some(node) = fields.get("qos") {
        options.qos = values::qos(scope, node)?;
    }
    for (name, what) in [
        ("no_local", "`no_local`"),
        ("retain_as_published", "`retain_as_published`"),
        ("retain_handling", "`retain_handling`"),
    ] {
        let Some(node) = fields.get(name) else { continue };
        if !needs_v5(scope, node, what, version) {
            return None;
        }
        match name {
            "no_local" => options.no_local = values::boolean(scope, node, name)?,
            "retain_as_published" => options.retain_as_published = values::boolean(scope, node, name)?,
            _ => {
                options.retain_handling = match values::integer(scope, node, name, 0, 2)? {
                    0 => RetainHandling::Send,
                    1 => RetainHandling::SendIfNew,
                    _ => RetainHandling::DoNotSend,
                };
            }
        }
    }
    Some(options)
}

fn unsubscribe(reader: &StepReader, args: &Args) -> Option<Op> {
    let (scope, fields) = (reader.scope, &args.fields);
    let node = fields.need(scope, "filter", "`unsubscribe`")?;
    let filters =
        filter_list(scope, node)?.into_iter().map(|i| values::topic_filter(scope, i, "unsubscribe"));
    let filters: Vec<_> = filters.collect();
    let filters = filters.into_iter().collect::<Option<Vec<_>>>()?;
    let version = reader.version(args.client());
    let properties = match fields.get("properties") {
        Some(node) => to_send(scope, node, Carrier::Packet(PacketType::Unsubscribe), version),
        None => Properties::new(),
    };
    let reply = reply(scope, fields, UNSUBSCRIBE_CODES)?;
    if let (Some(node), Reply::Codes(_)) = (fields.get("expect"), &reply)
        && !needs_v5(scope, node, "a code in UNSUBACK", version)
    {
        return None;
    }
    check_count(scope, fields, &reply, filters.len());
    Some(Op::Send(args.client(), Request::Unsubscribe { filters, properties }, reply))
}
