//! The JSON Schema of scenario files, for editors: made from the rows that the reader itself works
//! by. It is for completion and typing errors; `mqttlab check` knows far more.

use serde_json::{Map, Value, json};

use crate::scenario::decode::file::FILE_KEYS;
use crate::scenario::keys::{KeySpec, Shape};
use crate::scenario::step::{Actor, VERBS, VerbSpec};

/// The whole schema.
pub fn schema() -> Value {
    let mut root = keys(FILE_KEYS);
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("mqttlab scenarios");
    root["$defs"] = json!({
        "step": step(),
        "text": { "type": ["string", "number", "boolean"] },
        "variable": { "type": "string", "pattern": r"\$\{" },
        "client-verb": does(Actor::Client),
        "broker-verb": does(Actor::Broker),
        "peer-verb": does(Actor::Peer),
    });
    root
}

/// A verb that stands alone, or a map of one key: an actor, or such a verb with its value.
fn step() -> Value {
    let mut properties = Map::new();
    let mut alone = Vec::new();
    for verb in verbs(Actor::Control) {
        alone.push(verb.name);
        properties.insert(verb.name.to_owned(), value(verb));
    }
    properties.insert("broker".to_owned(), json!({ "$ref": "#/$defs/broker-verb" }));
    json!({ "anyOf": [
        { "enum": alone },
        {
            "type": "object",
            "minProperties": 1,
            "properties": properties,
            "additionalProperties": {
                "anyOf": [{ "$ref": "#/$defs/client-verb" }, { "$ref": "#/$defs/peer-verb" }],
            },
        },
    ]})
}

/// What an actor does: the bare verb, or a map with the verb and the keys it takes.
fn does(actor: Actor) -> Value {
    let mut forms = vec![json!({ "enum": verbs(actor).map(|verb| verb.name).collect::<Vec<_>>() })];
    forms.extend(verbs(actor).map(|verb| {
        let mut map = keys(verb.keys);
        map["properties"][verb.name] = value(verb);
        map["required"] = json!([verb.name]);
        map
    }));
    json!({ "anyOf": forms })
}

fn verbs(actor: Actor) -> impl Iterator<Item = &'static VerbSpec> {
    VERBS.iter().copied().filter(move |verb| verb.actor == actor)
}

/// What stands right behind a verb: its main value, or all its keys as a map.
fn value(verb: &VerbSpec) -> Value {
    let main = verb.value.and_then(|name| verb.keys.iter().find(|key| key.name == name));
    let mut forms = vec![keys(verb.keys), json!({ "type": "null" })];
    forms.extend(main.map(|key| shape(&key.shape)));
    json!({ "description": verb.doc, "anyOf": forms })
}

/// A map with these keys and no others.
fn keys(keys: &[KeySpec]) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .filter(|key| !matches!(key.shape, Shape::Later))
        .map(|key| {
            let mut schema = shape(&key.shape);
            schema["description"] = json!(key.doc);
            (key.name.to_owned(), schema)
        })
        .collect();
    json!({ "type": ["object", "null"], "properties": properties, "additionalProperties": false })
}

fn shape(what: &Shape) -> Value {
    let or_variable = |schema: Value| json!({ "anyOf": [schema, { "$ref": "#/$defs/variable" }] });
    match what {
        Shape::Text => json!({ "$ref": "#/$defs/text" }),
        Shape::Bool => or_variable(json!({ "type": "boolean" })),
        Shape::Integer(least, most) => {
            or_variable(json!({ "type": "integer", "minimum": least, "maximum": most }))
        }
        Shape::Number => or_variable(json!({ "type": "number" })),
        Shape::Duration => json!({ "type": ["string", "number"] }),
        Shape::Word(words) => or_variable(json!({ "enum": words_and_numbers(words) })),
        Shape::OneOrMany(one) => {
            let one = shape(one);
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Shape::List(one) => json!({ "type": "array", "items": shape(one) }),
        Shape::MapOf(one) => json!({ "anyOf": [
            { "type": ["object", "null"], "additionalProperties": shape(one) },
            { "type": "array", "items": { "$ref": "#/$defs/text" } },
        ]}),
        Shape::Keys(inner) => keys(inner),
        Shape::Steps => json!({ "type": "array", "items": { "$ref": "#/$defs/step" } }),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(shape).collect::<Vec<_>>() }),
        Shape::Payload | Shape::Matcher | Shape::Anything | Shape::Later => json!({}),
        Shape::Properties | Shape::PropertyMatchers => json!({ "type": ["object", "null"] }),
    }
}

/// YAML reads `5` as a number, and means the word.
fn words_and_numbers(words: &[&str]) -> Vec<Value> {
    let numbers = words.iter().filter_map(|word| serde_json::from_str::<serde_json::Number>(word).ok());
    words.iter().map(|word| json!(word)).chain(numbers.map(Value::Number)).collect()
}
