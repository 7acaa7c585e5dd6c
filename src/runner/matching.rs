//! Whether what was received is what a scenario wants, and how to say what it wants.
//!
//! Pure; variables are looked up by the caller.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::mqtt::packet::Publish;
use crate::mqtt::property::Value;
use crate::mqtt::{Properties, Property, TopicName};
use crate::scenario::matcher::{Matcher, PropertyMatch};
use crate::scenario::op::MessagePattern;
use crate::text;

/// Looks up a variable of the run.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Whether `bytes` are what the matcher wants. An unknown variable matches nothing.
pub fn matches(matcher: &Matcher, bytes: &[u8], lookup: Lookup<'_>) -> bool {
    let as_text = || std::str::from_utf8(bytes).ok();
    match matcher {
        Matcher::Any => true,
        Matcher::Capture(_) => as_text().is_some(),
        Matcher::Equals(wanted) => wanted.resolve(lookup).is_ok_and(|wanted| wanted.as_bytes() == bytes),
        Matcher::Bytes(wanted) => wanted == bytes,
        Matcher::Regex(regex) => as_text().is_some_and(|text| regex.is_match(text)),
        Matcher::Contains(part) => match (as_text(), part.resolve(lookup)) {
            (Some(text), Ok(part)) => text.contains(&part),
            _ => false,
        },
        Matcher::Json(wanted) => {
            serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|value| value == *wanted)
        }
        Matcher::Length(length) => bytes.len() == *length,
        Matcher::Number { gte, lte } => {
            let number = as_text().and_then(|text| text.trim().parse::<f64>().ok());
            number.is_some_and(|n| gte.is_none_or(|low| n >= low) && lte.is_none_or(|high| n <= high))
        }
        Matcher::Filter(filter) => {
            as_text().and_then(|text| TopicName::new(text).ok()).is_some_and(|topic| filter.matches(&topic))
        }
        Matcher::All(all) => all.iter().all(|one| matches(one, bytes, lookup)),
    }
}

/// The matcher in words.
pub fn describe(matcher: &Matcher, lookup: Lookup<'_>) -> String {
    let show = |template: &crate::scenario::value::Template| match template.resolve(lookup) {
        Ok(text) => text::escape(&text),
        Err(name) => format!("${{{name}}}"),
    };
    match matcher {
        Matcher::Any => "anything".into(),
        Matcher::Capture(name) => format!("anything, kept as {}", text::escape(name)),
        Matcher::Equals(wanted) => show(wanted),
        Matcher::Bytes(bytes) => text::printable(bytes),
        Matcher::Regex(regex) => format!("/{}/", regex.as_str()),
        Matcher::Contains(part) => format!("containing {}", show(part)),
        Matcher::Json(value) => format!("the JSON {value}"),
        Matcher::Length(length) => format!("of {}", text::plural(*length, "byte")),
        Matcher::Number { gte, lte } => match (gte, lte) {
            (Some(low), Some(high)) => format!("a number from {low} to {high}"),
            (Some(low), None) => format!("a number from {low}"),
            (None, Some(high)) => format!("a number up to {high}"),
            (None, None) => "a number".into(),
        },
        Matcher::Filter(filter) => filter.to_string(),
        Matcher::All(all) => all.iter().map(|one| describe(one, lookup)).collect::<Vec<_>>().join(" and "),
    }
}

/// Whether a message is what the pattern wants.
pub fn is_message(pattern: &MessagePattern, publish: &Publish, lookup: Lookup<'_>) -> bool {
    matches(&pattern.topic, publish.topic.as_str().as_bytes(), lookup)
        && matches(&pattern.payload, &publish.payload, lookup)
        && pattern.qos.is_none_or(|qos| qos == publish.qos)
        && pattern.retain.is_none_or(|retain| retain == publish.retain)
        && pattern.dup.is_none_or(|dup| dup == publish.dup)
        && unmet_property(&pattern.properties, &publish.properties, lookup).is_none()
}

/// Hands to `keep` what the matcher captures of a value that it matched.
fn capture(matcher: &Matcher, bytes: &[u8], keep: &mut dyn FnMut(&str, &str)) {
    match (matcher, std::str::from_utf8(bytes)) {
        (Matcher::Capture(name), Ok(text)) => keep(name, text),
        (Matcher::All(all), _) => all.iter().for_each(|one| capture(one, bytes, keep)),
        _ => {}
    }
}

/// Hands to `keep` what the pattern captures of a message that it matched.
pub fn capture_message(pattern: &MessagePattern, publish: &Publish, keep: &mut dyn FnMut(&str, &str)) {
    capture(&pattern.topic, publish.topic.as_str().as_bytes(), keep);
    capture(&pattern.payload, &publish.payload, keep);
    capture_properties(&pattern.properties, &publish.properties, keep);
}

/// Hands to `keep` what is captured of properties that were as wanted.
pub fn capture_properties(wanted: &[PropertyMatch], there: &Properties, keep: &mut dyn FnMut(&str, &str)) {
    for one in wanted {
        let found = there.iter().find_map(|property| value(property, &one.name));
        if let (Some(matcher), Some(found)) = (&one.matcher, found) {
            capture(matcher, &found, keep);
        }
    }
}

/// The message that a pattern wants, in words.
pub fn describe_message(pattern: &MessagePattern, lookup: Lookup<'_>) -> String {
    let mut out = format!("a message on {}", describe(&pattern.topic, lookup));
    if !matches!(pattern.payload, Matcher::Any) {
        let _ = write!(out, ", payload {}", describe(&pattern.payload, lookup));
    }
    if let Some(qos) = pattern.qos {
        let _ = write!(out, ", QoS {qos}");
    }
    for (name, flag) in [("retain", pattern.retain), ("dup", pattern.dup)] {
        if let Some(flag) = flag {
            let _ = write!(out, ", {name}={}", u8::from(flag));
        }
    }
    for property in &pattern.properties {
        let wanted =
            property.matcher.as_ref().map_or_else(|| "absent".to_owned(), |wanted| describe(wanted, lookup));
        let _ = write!(out, ", {} {wanted}", property.name);
    }
    out
}

/// The first property that is not as wanted, in words.
pub fn unmet_property(wanted: &[PropertyMatch], there: &Properties, lookup: Lookup<'_>) -> Option<String> {
    wanted.iter().find_map(|one| {
        let mut values = there.iter().filter_map(|property| value(property, &one.name)).peekable();
        match &one.matcher {
            None => values.peek().map(|value| format!("{} is {}", one.name, text::printable(value))),
            Some(matcher) if values.peek().is_none() => {
                Some(format!("{} is missing, not {}", one.name, describe(matcher, lookup)))
            }
            Some(matcher) => {
                let found: Vec<Bytes> = values.collect();
                if found.iter().any(|value| matches(matcher, value, lookup)) {
                    return None;
                }
                let found: Vec<_> = found.iter().map(|value| text::printable(value)).collect();
                Some(format!("{} is {}, not {}", one.name, found.join(", "), describe(matcher, lookup)))
            }
        }
    })
}

/// What stands before the name of a user property.
const USER_PROPERTY: &str = "user.";

/// The value of a property as text or bytes, if `name` (of the notation) means this property.
fn value(property: &Property, name: &str) -> Option<Bytes> {
    let spec = property.spec();
    let is_named = name == spec.name || name == spec.long_name;
    let text = |number: u32| is_named.then(|| Bytes::from(number.to_string()));
    match property.value() {
        Value::Byte(value) => text(value.into()),
        Value::TwoByte(value) => text(value.into()),
        Value::FourByte(value) | Value::Variable(value) => text(value),
        Value::Text(value) => is_named.then(|| value.as_bytes().clone()),
        Value::Binary(value) => is_named.then(|| value.clone()),
        Value::Pair(key, value) => {
            let wanted = name.strip_prefix(USER_PROPERTY)?;
            (wanted == &**key).then(|| value.as_bytes().clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::value::Template;

    fn ask(matcher: &Matcher, text: &str) -> bool {
        matches(matcher, text.as_bytes(), &|name| (name == "x").then(|| "42".to_owned()))
    }

    #[test]
    fn matchers() {
        let template = |text| Template::parse(text).expect("a template");
        assert!(ask(&Matcher::Equals(template("a${x}")), "a42"));
        assert!(!ask(&Matcher::Equals(template("a${y}")), "a${y}"), "unknown variables match nothing");
        assert!(ask(&Matcher::Contains(template("${x}")), "1421"));
        assert!(ask(&Matcher::Json(serde_json::json!({"a": [1, 2]})), "{ \"a\":[1,2] }"));
        assert!(!ask(&Matcher::Json(serde_json::json!(1)), "no json"));
        assert!(ask(&Matcher::Number { gte: Some(20.0), lte: None }, " 21.5 "));
        assert!(!ask(&Matcher::Number { gte: None, lte: Some(20.0) }, "21.5"));
        assert!(!ask(&Matcher::Number { gte: None, lte: None }, "warm"));
        let filter = crate::mqtt::TopicFilter::new("a/+").expect("a filter");
        assert!(ask(&Matcher::Filter(filter.clone()), "a/b") && !ask(&Matcher::Filter(filter), "a/b/c"));
        assert!(!matches(&Matcher::Length(3), b"ab", &|_| None));
    }

    #[test]
    fn properties_by_name() {
        let there: Properties = vec![
            Property::MessageExpiryInterval(7),
            Property::UserProperty("k".into(), "one".into()),
            Property::UserProperty("k".into(), "two".into()),
        ]
        .into();
        let wanted = |name: &str, text: Option<&str>| {
            let matcher = text.map(|text| Matcher::Equals(Template::literal(text)));
            let wanted = [PropertyMatch { name: name.to_owned(), matcher }];
            unmet_property(&wanted, &there, &|_| None)
        };
        let expiry = Property::MessageExpiryInterval(0).spec().name;
        let user = "user.k";
        assert_eq!(wanted(expiry, Some("7")), None);
        assert!(wanted(expiry, Some("8")).expect("differs").contains("is 7, not 8"));
        assert_eq!(wanted(user, Some("two")), None);
        assert!(wanted(user, None).is_some());
        assert_eq!(wanted("content_type", None), None);
        assert!(wanted("content_type", Some("x")).expect("missing").contains("missing"));
    }
}
