//! `expect:` of a request: what the broker must answer.

use crate::scenario::decode::values;
use crate::scenario::keys::{Fields, KeySpec, Shape, key};
use crate::scenario::node::{Kind, Node};
use crate::scenario::op::Reply;
use crate::scenario::scope::{Scope, suggest};

const WORDS: &[&str] = &["denied", "refused", "closed", "any"];
const PUBLISH_WORDS: &[&str] = &["denied", "refused", "closed", "any", "sent"];

/// The `expect` key of publish.
pub(super) const EXPECT_PUBLISH: KeySpec = key(
    "expect",
    Shape::Either(&[Shape::Word(PUBLISH_WORDS), Shape::Keys(PUBLISH_CODES)]),
    "what is answered; `denied`: whatever is answered, nobody receives it; `sent`: nothing is waited for; \
     default: a positive acknowledgement (for QoS 0 none)",
);

/// The `expect` key of subscribe.
pub(super) const EXPECT_SUBSCRIBE: KeySpec = key(
    "expect",
    Shape::Either(&[Shape::Word(WORDS), Shape::Keys(SUBSCRIBE_CODES)]),
    "what is answered; `denied`: whatever is answered, nothing comes through it; default: the QoS that \
     was asked for",
);

/// The `expect` key of unsubscribe.
pub(super) const EXPECT_UNSUBSCRIBE: KeySpec = key(
    "expect",
    Shape::Either(&[Shape::Word(WORDS), Shape::Keys(UNSUBSCRIBE_CODES)]),
    "what is answered; default: a positive acknowledgement",
);

/// The `expect` key of ping.
pub(super) const EXPECT_PING: KeySpec =
    key("expect", Shape::Word(&["closed", "any"]), "what is answered; default: PINGRESP");

const CODE: Shape = Shape::OneOrMany(&Shape::Integer(0, 0xFF));
pub(super) const PUBLISH_CODES: &[KeySpec] = &[
    key("puback", CODE, "exactly this reason code, QoS 1"),
    key("pubrec", CODE, "exactly this reason code, QoS 2"),
];
pub(super) const SUBSCRIBE_CODES: &[KeySpec] = &[key("suback", CODE, "exactly these codes, one a filter")];
pub(super) const UNSUBSCRIBE_CODES: &[KeySpec] =
    &[key("unsuback", CODE, "exactly these codes, one a filter")];

/// Reads `expect`; `codes` are the acknowledgements that may be named.
pub(super) fn reply(scope: &Scope, fields: &Fields, codes: &[KeySpec]) -> Option<Reply> {
    let Some(node) = fields.get("expect") else { return Some(Reply::Positive) };
    if let Kind::Map(entries) = &node.kind {
        Fields::of(scope, node, &[codes], "`expect`")?;
        let [(packet, codes)] = entries.as_slice() else {
            scope.wrong(node, "expect", "one acknowledgement and its codes");
            return None;
        };
        return values::reasons(scope, codes, &packet.text).map(Reply::Codes);
    }
    let text = scope.text(node, "expect")?;
    match text.as_str() {
        "denied" => Some(Reply::Denied),
        "refused" => Some(Reply::Refused),
        "closed" => Some(Reply::Closed),
        "any" => Some(Reply::Any),
        "sent" if words(codes).contains(&"sent") => Some(Reply::Unawaited),
        _ => {
            unknown(scope, node, &text, codes);
            None
        }
    }
}

/// The words for a request with these acknowledgements.
fn words(codes: &[KeySpec]) -> &'static [&'static str] {
    let publishes =
        codes.iter().any(|code| PUBLISH_CODES.iter().any(|of_publish| of_publish.name == code.name));
    if publishes { PUBLISH_WORDS } else { WORDS }
}

fn unknown(scope: &Scope, node: &Node, text: &str, codes: &[KeySpec]) {
    let words = suggest(text, words(codes).iter().copied(), "").replace('?', "");
    let help = match codes.first() {
        Some(code) => format!("{words}, or exactly: {{{}: 0x87}}", code.name),
        None => words,
    };
    scope.error_help("L005", &node.span, format!("`expect` cannot be {}", node.describe()), help);
}

/// The number of codes must be that of the filters.
pub(super) fn check_count(scope: &Scope, fields: &Fields, reply: &Reply, filters: usize) {
    let (Reply::Codes(codes), Some(node)) = (reply, fields.get("expect")) else { return };
    if codes.len() != filters {
        let message = format!(
            "{} for {}; an acknowledgement has one a filter",
            crate::text::plural(codes.len(), "code"),
            crate::text::plural(filters, "filter")
        );
        scope.error("L005", &node.span, message);
    }
}
