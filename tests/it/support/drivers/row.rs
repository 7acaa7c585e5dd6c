//! A row of the interoperability matrix: one feature, one library, one transport, one version; what a
//! feature says to the driver goes through here. The features are in `interop_features.rs`.

use serde_json::{Value, json};

use super::super::broker::Process;
use super::Driver;

/// One feature, one library, one transport, one version.
pub struct Row<'a> {
    pub driver: &'a mut dyn Driver,
    pub broker: &'a Process,
    pub version: u8,
    pub url: String,
    pub cafile: Option<String>,
    /// Of no other row: topics and client identifiers begin with it.
    pub name: String,
}

/// A message that has come.
#[derive(Debug)]
pub struct Message {
    pub topic: String,
    pub payload: String,
    pub qos: u64,
    pub retain: bool,
    pub properties: Value,
}

impl Row<'_> {
    pub fn ask(&mut self, command: &Value) -> Value {
        let answer = self.driver.ask(command);
        assert!(answer.get("error").is_none(), "{}: {command} fails: {answer}", self.name);
        answer
    }

    /// All connections are gone.
    pub fn reset(&mut self) {
        self.ask(&json!({ "do": "reset" }));
    }

    pub fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    /// Connects, or is refused. The client identifier is that of the peer unless options say other.
    pub fn enter(&mut self, peer: &str, options: &Value) -> Value {
        let mut command = json!({
            "do": "connect", "peer": peer, "url": self.url, "id": self.topic(peer),
            "version": self.version, "clean": true,
        });
        if let Some(cafile) = &self.cafile {
            command["cafile"] = json!(cafile);
        }
        with(&mut command, options);
        self.ask(&command)
    }

    pub fn connect_with(&mut self, peer: &str, options: &Value) -> Value {
        let connack = self.enter(peer, options);
        assert_eq!(connack["code"], 0, "{}: {options}: {connack}", self.name);
        connack
    }

    pub fn connect(&mut self, peer: &str) {
        self.connect_with(peer, &json!({}));
    }

    /// With a session that lasts; whether there was one, where the library tells.
    pub fn come_back(&mut self, peer: &str, clean: bool) -> Option<bool> {
        let mut options = json!({ "clean": clean });
        if self.version == 5 {
            options["properties"] = json!({ "SessionExpiryInterval": 300 });
        }
        self.connect_with(peer, &options)["present"].as_bool()
    }

    pub fn subscribe_with(&mut self, peer: &str, filter: &str, qos: u8, options: &Value) {
        let mut command = json!({ "do": "subscribe", "peer": peer, "filter": filter, "qos": qos });
        with(&mut command, options);
        assert_eq!(self.ask(&command)["codes"], json!([qos]), "{}: {command}", self.name);
    }

    pub fn subscribe(&mut self, peer: &str, filter: &str, qos: u8) {
        self.subscribe_with(peer, filter, qos, &json!({}));
    }

    /// The code of the acknowledgement.
    pub fn publish_with(&mut self, peer: &str, topic: &str, payload: &str, qos: u8, options: &Value) -> u64 {
        let mut command = json!({
            "do": "publish", "peer": peer, "topic": topic, "payload": payload, "qos": qos, "retain": false,
        });
        with(&mut command, options);
        self.ask(&command)["code"].as_u64().expect("a code")
    }

    pub fn publish(&mut self, peer: &str, topic: &str, payload: &str, qos: u8) {
        let code = self.publish_with(peer, topic, payload, qos, &json!({}));
        // 0x10: there were no subscribers.
        assert!(code == 0 || code == 0x10, "{}: {code}", self.name);
    }

    pub fn retain(&mut self, peer: &str, topic: &str, payload: &str) {
        self.publish_with(peer, topic, payload, 1, &json!({ "retain": true }));
    }

    pub fn message(&mut self, peer: &str) -> Message {
        let got = self.ask(&json!({ "do": "message", "peer": peer }));
        let text = |name: &str| got[name].as_str().expect("a string").to_owned();
        Message {
            topic: text("topic"),
            payload: text("payload"),
            qos: got["qos"].as_u64().expect("a number"),
            retain: got["retain"].as_bool().expect("a flag"),
            properties: got["properties"].clone(),
        }
    }

    /// The next message has this payload.
    #[track_caller]
    pub fn gets(&mut self, peer: &str, payload: &str) -> Message {
        let message = self.message(peer);
        assert_eq!(message.payload, payload, "{}", self.name);
        message
    }

    pub fn disconnect(&mut self, peer: &str) {
        self.ask(&json!({ "do": "disconnect", "peer": peer }));
    }

    pub fn cut(&mut self, peer: &str) {
        self.ask(&json!({ "do": "drop", "peer": peer }));
    }
}

fn with(command: &mut Value, options: &Value) {
    for (name, value) in options.as_object().expect("options") {
        command[name] = value.clone();
    }
}
