//! Gives the words of a packet line their meaning.

use super::fields::{self, Form, Meaning, PacketSpec};
use super::lex::{self, Word};
use super::value;
use super::{Field, NotationError, PacketLine, open};
use crate::mqtt::packet::PacketType;
use crate::text::did_you_mean;

pub(super) fn line(text: &str) -> Result<PacketLine, NotationError> {
    let start = text.len() - text.trim_start().len();
    let len = text[start..].find(char::is_whitespace).unwrap_or(text.len() - start);
    let name = &text[start..start + len];
    let kind = PacketType::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let names = PacketType::ALL.map(PacketType::name);
        if name.is_empty() {
            return NotationError::new("a packet is missing", start..start).with_help(names.join(", "));
        }
        let error = NotationError::new(format!("no packet is called `{name}`"), start..start + len);
        match did_you_mean(name, names) {
            Some(name) => error.with_help(format!("did you mean `{name}`?")),
            None => error.with_help(names.join(", ")),
        }
    })?;
    let mut line = PacketLine { kind, fields: vec![] };
    for word in lex::words(text, start + len)? {
        let field = match &word.name {
            Some(name) => named(kind, name, &word)?,
            None => positional(&mut line, &word)?,
        };
        check(&line, &field)?;
        line.fields.push(field);
    }
    Ok(line)
}

fn field(name: &'static str, word: &Word) -> Field {
    Field {
        name,
        key: word.key.clone(),
        value: word.value.clone(),
        quoted: word.quoted,
        span: word.span.clone(),
    }
}

fn named(kind: PacketType, name: &str, word: &Word) -> Result<Field, NotationError> {
    match fields::lookup(kind, name) {
        Some((_, meaning)) if meaning.form() == Form::Pair && word.key.is_none() => {
            let message = "a user property has a name of its own";
            Err(NotationError::new(message, word.name_span.clone()).with_help("user.NAME=VALUE"))
        }
        Some((name, _)) => Ok(field(name, word)),
        None => Err(unknown(kind, name, word)),
    }
}

fn unknown(kind: PacketType, name: &str, word: &Word) -> NotationError {
    let message = format!("{} has no field `{name}`", kind.name());
    let error = NotationError::new(message, word.name_span.clone());
    let docs = PacketSpec::of(kind).docs();
    let names: Vec<&str> = docs.iter().map(|doc| doc.name).collect();
    if let Some(name) = did_you_mean(name, names.iter().copied()) {
        return error.with_help(format!("did you mean `{name}`?"));
    }
    let forced = format!("force.{name}");
    if fields::lookup(kind, &forced).is_some() {
        return error.with_help(format!("to put a property where it may not stand: `{forced}=…`"));
    }
    error.with_help(format!("its fields are {}", names.join(", ")))
}

/// A word without `=`: a flag by its name, or the field that stands there without one.
fn positional(line: &mut PacketLine, word: &Word) -> Result<Field, NotationError> {
    let kind = line.kind;
    if !word.quoted
        && let Some((name, Meaning::Field(spec))) = fields::lookup(kind, &word.value)
        && spec.form == Form::Flag
    {
        return Ok(Field { value: String::new(), ..field(name, word) });
    }
    if kind == PacketType::Publish {
        return publish(line, word);
    }
    match PacketSpec::of(kind).positional {
        Some(name) => Ok(field(name, word)),
        None => Err(stray(kind, word)),
    }
}

fn stray(kind: PacketType, word: &Word) -> NotationError {
    let message = format!("`{}` says nothing in {}", word.value, kind.name());
    let error = NotationError::new(message, word.span.clone());
    let docs = PacketSpec::of(kind).docs();
    match did_you_mean(&word.value, docs.iter().map(|doc| doc.name)) {
        Some(name) => error.with_help(format!("did you mean `{name}`?")),
        None if kind == PacketType::Publish => error.with_help("a payload stands in quotes"),
        None => error.with_help("fields are written name=value"),
    }
}

/// A word without quotes is the topic, one in quotes the payload; of two in quotes the first is
/// the topic after all.
fn publish(line: &mut PacketLine, word: &Word) -> Result<Field, NotationError> {
    let has = |name| line.fields.iter().any(|field| field.name == name);
    let is_topic = !word.value.starts_with("hex:") && !word.value.starts_with("size:");
    if !word.quoted && is_topic {
        return if has("topic") { Err(stray(line.kind, word)) } else { Ok(field("topic", word)) };
    }
    if has("payload") && !has("topic") {
        let earlier = line.fields.iter_mut().find(|field| field.name == "payload" && field.quoted);
        if let Some(earlier) = earlier {
            earlier.name = "topic";
        }
    }
    Ok(field("payload", word))
}

/// What can be said of a field before anything is built: its value, that it is not there already,
/// and that an option has a filter before it.
fn check(line: &PacketLine, field: &Field) -> Result<(), NotationError> {
    let (_, meaning) = fields::lookup(line.kind, field.name).expect("fields have canonical names");
    // A variable of a scenario is replaced later; until then only its place is known.
    if !field.value.contains("${") && open::open(line, field).is_none() {
        value::read(line.kind, meaning.form(), field)?;
    }
    if field.name == fields::WITHOUT && fields::left_out(&field.value).is_none() {
        let message = format!("there is no property `{}`", field.value);
        return Err(NotationError::new(message, field.span.clone()).with_help(
            "the name of a property, or `user`; of CONNECT also `username`, `password`, `will.topic`",
        ));
    }
    let option = fields::is_option(line.kind, field.name);
    let since = match line.fields.iter().rposition(|other| other.name == "filter") {
        Some(at) if option => at,
        None if option => {
            let message = format!("`{}` belongs behind a topic filter", field.name);
            return Err(NotationError::new(message, field.span.clone()));
        }
        _ => 0,
    };
    if !meaning.repeats() && line.fields[since..].iter().any(|other| other.name == field.name) {
        let message = format!("`{}` stands there twice", field.name);
        return Err(NotationError::new(message, field.span.clone()));
    }
    let single = line.kind != PacketType::SubAck && line.kind != PacketType::UnsubAck;
    if field.name == "code" && single && line.fields.iter().any(|other| other.name == "code") {
        return Err(NotationError::new("a second code", field.span.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match line(text) {
            Ok(line) => line
                .fields
                .iter()
                .map(|field| format!("{}={}", field.name, field.value))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => {
                format!("{}: {} ({})", &text[error.span], error.message, error.help.unwrap_or_default())
            }
        }
    }

    #[test]
    fn values_without_a_name_find_their_field() {
        assert_eq!(shown("PUBLISH  a/b \"x y\" dup"), "topic=a/b payload=x y dup=");
        assert_eq!(shown("PUBLISH \"x y\""), "payload=x y");
        assert_eq!(shown("PUBLISH \"a b\" \"x\""), "topic=a b payload=x");
        assert_eq!(shown("PUBLISH a hex:00ff qos=1"), "topic=a payload=hex:00ff qos=1");
        assert_eq!(shown("CONNACK not_authorized session_present"), "code=not_authorized session_present=");
        assert_eq!(shown("SUBACK id=3 1 0x80"), "id=3 code=1 code=0x80");
        assert_eq!(
            shown("SUBSCRIBE a/# qos=1 rap b qos=0 id=3"),
            "filter=a/# qos=1 rap= filter=b qos=0 id=3"
        );
    }

    #[test]
    fn user_properties_have_any_name() {
        let parsed = line(r#"CONNECT user=alice user.colour=blue user."my key"="a b" will.user.x=1"#);
        let fields = parsed.expect("well-formed").fields;
        let keys: Vec<_> = fields.iter().map(|field| (field.name, field.key.as_deref())).collect();
        assert_eq!(
            keys,
            [
                ("user", None),
                ("user_property", Some("colour")),
                ("user_property", Some("my key")),
                ("will.user_property", Some("x")),
            ]
        );
    }

    #[test]
    fn a_variable_may_stand_for_any_value() {
        assert_eq!(shown("PUBACK id=${id} ${code}"), "id=${id} reason=${code}");
        let line = line("PUBACK id=${id}").expect("well-formed");
        let error = line.build(crate::mqtt::ProtocolVersion::V311).expect_err("not a number");
        assert_eq!(error.span, 7..15);
    }

    #[test]
    fn mistakes_are_pointed_at() {
        assert_eq!(
            shown("SUBSCRBE a"),
            "SUBSCRBE: no packet is called `SUBSCRBE` (did you mean `SUBSCRIBE`?)"
        );
        assert_eq!(
            shown("PUBLISH a \"x\" qoss=1"),
            "qoss: PUBLISH has no field `qoss` (did you mean `qos`?)"
        );
        assert_eq!(
            shown("PUBLISH a \"x\" retian"),
            "retian: `retian` says nothing in PUBLISH (did you mean `retain`?)"
        );
        assert_eq!(
            shown("CONNACK not_autorized"),
            "not_autorized: CONNACK has no code `not_autorized` (did you mean `not_authorized`?)"
        );
        assert_eq!(
            shown("PUBLISH a qos=4"),
            "qos=4: `qos` cannot be `4` (a number from 0 to 3, decimal or 0x…)"
        );
        assert_eq!(shown("PUBLISH a id=1 id=2"), "id=2: `id` stands there twice ()");
        assert_eq!(shown("SUBSCRIBE qos=1 a"), "qos=1: `qos` belongs behind a topic filter ()");
        assert_eq!(shown("PUBLISH a \"x"), "\"x: the closing quote is missing ()");
        assert_eq!(
            shown("PUBLISH a server_keepalive=1"),
            "server_keepalive: PUBLISH has no field `server_keepalive` \
             (to put a property where it may not stand: `force.server_keepalive=…`)"
        );
    }
}
