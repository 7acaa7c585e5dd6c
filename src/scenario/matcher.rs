//! What a received value must be like.

use bytes::Bytes;
use regex::Regex;

use super::value::Template;

/// A test on one value.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// Anything.
    Any,
    /// Exactly this text.
    Equals(Template),
    /// Exactly these bytes.
    Bytes(Bytes),
    /// `/…/`
    Regex(Regex),
    /// `{contains: …}`
    Contains(Template),
    /// `{json: …}`: the same JSON value, whatever its spelling.
    Json(serde_json::Value),
    /// `{length: n}`: so many bytes.
    Length(usize),
    /// A number within these bounds (`gte`, `lte`), both inclusive.
    Number {
        /// Lower bound.
        gte: Option<f64>,
        /// Upper bound.
        lte: Option<f64>,
    },
    /// A topic filter that the topic must match (`receives: home/+/temp` is not one: a topic with
    /// wildcards in `receives` means this).
    Filter(crate::mqtt::TopicFilter),
    /// Anything that is text; its value becomes `${captured.NAME}`.
    Capture(String),
    /// All of these.
    All(Vec<Matcher>),
}

/// A test on one property of a packet.
#[derive(Debug, Clone)]
pub struct PropertyMatch {
    /// Short name as in the notation (`message_expiry`, `user.key`).
    pub name: String,
    /// The test; `None`: must be absent.
    pub matcher: Option<Matcher>,
}
