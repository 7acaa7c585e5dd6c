//! `publish`.

use super::reply::{EXPECT_PUBLISH, PUBLISH_CODES, reply};
use super::{Actor, Args, StepReader, VerbSpec};
use crate::mqtt::packet::PacketType;
use crate::mqtt::{Properties, QoS};
use crate::scenario::Payload;
use crate::scenario::decode::properties::{Carrier, needs_v5, to_send};
use crate::scenario::decode::values;
use crate::scenario::keys::{Shape, key};
use crate::scenario::node::{Kind, Node};
use crate::scenario::op::{Op, Reply, Request};
use crate::scenario::value::Template;

pub(super) const PUBLISH: VerbSpec = VerbSpec {
    name: "publish",
    actor: Actor::Client,
    doc: "Publishes a message and, for QoS 1 and 2, checks that it is acknowledged.",
    value: Some("topic"),
    keys: &[
        key("topic", Shape::Text, "where"),
        key(
            "payload",
            Shape::Payload,
            "what: a text, or {hex: …}, {json: …}, {size: …}, {file: …}; default: nothing",
        ),
        key("qos", Shape::Integer(0, 2), "quality of service; default 0"),
        key("retain", Shape::Bool, "the broker keeps it; default false"),
        key("properties", Shape::Properties, "properties of the PUBLISH, 5.0"),
        EXPECT_PUBLISH,
    ],
    example: "- a: {publish: home/kitchen/temp, payload: \"21.5\", qos: 1, retain: true}
- a: {publish: home/kitchen/picture, payload: {size: 4096}}
- a: {publish: home/kitchen/state, payload: {json: {temp: 21.5}}, expect: any}",
    decode,
};

fn decode(reader: &StepReader, args: &Args) -> Option<Op> {
    let (scope, fields) = (reader.scope, &args.fields);
    let topic =
        fields.need(scope, "topic", "`publish`").and_then(|node| values::topic_name(scope, node, "publish"));
    let payload = match fields.get("payload") {
        Some(node) => values::payload(scope, node),
        None => Some(Payload::Text(Template::literal(""))),
    };
    let qos = fields.get("qos").map_or(Some(QoS::AtMostOnce), |node| values::qos(scope, node));
    let retain = fields.get("retain").map_or(Some(false), |node| values::boolean(scope, node, "retain"));
    let version = reader.version(args.client());
    let properties = match fields.get("properties") {
        Some(node) => to_send(scope, node, Carrier::Packet(PacketType::Publish), version),
        None => Properties::new(),
    };
    let reply = reply(scope, fields, PUBLISH_CODES)?;
    let qos = qos?;
    if let (Some(node), Reply::Codes(_)) = (fields.get("expect"), &reply) {
        code_can_come(reader, args, node, qos)?;
    }
    Some(Op::Send(
        args.client(),
        Request::Publish { topic: topic?, payload: payload?, qos, retain: retain?, properties },
        reply,
    ))
}

/// The acknowledgement that is named must be the one of this QoS, and have a code at all.
fn code_can_come(reader: &StepReader, args: &Args, node: &Node, qos: QoS) -> Option<()> {
    let Kind::Map(entries) = &node.kind else { return Some(()) };
    let (packet, _) = entries.first()?;
    let comes = match qos {
        QoS::AtMostOnce => "no acknowledgement",
        QoS::AtLeastOnce => "puback",
        QoS::ExactlyOnce => "pubrec",
    };
    if packet.text != comes {
        let message = format!("a message with QoS {qos} is answered by {comes}, not by {}", packet.text);
        reader.scope.error("L023", &packet.span, message);
        return None;
    }
    needs_v5(reader.scope, node, "a code in an acknowledgement", reader.version(args.client())).then_some(())
}
