//! What a case makes use of, read from its clients and steps: the needs that no scenario has to name.
//!
//! Looks at what is asked for, not at what is expected: a case that wants QoS 2 refused needs a broker
//! that knows QoS 2 all the same. Bytes written out are not looked into.

use std::collections::BTreeSet;

use crate::mqtt::notation::PacketLine;
use crate::mqtt::packet::PacketType;
use crate::mqtt::{Properties, ProtocolVersion, QoS};
use crate::scenario::op::{Op, Open, Request, Step, TargetAction, WireStepKind};
use crate::scenario::{Body, Capability, Case, ClientSpec, Payload, WillSpec};

/// What a case makes use of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// What the broker must be able to do.
    pub needs: BTreeSet<Capability>,
    /// Bytes of the largest payload.
    pub payload: usize,
    /// Levels of the deepest topic.
    pub levels: usize,
    /// The shortest keep-alive that is on, seconds.
    pub keep_alive: Option<u16>,
}

/// What a case makes use of, its `requires` among it.
pub fn uses(case: &Case) -> Uses {
    let mut uses = Uses { needs: case.requires.iter().copied().collect(), ..Uses::default() };
    for client in case.clients.iter().filter(|client| client.at_broker()) {
        uses.client(client, case);
    }
    if case.clients.is_empty() {
        uses.version(case.protocol);
    }
    match &case.body {
        Body::Steps(steps) => uses.steps(steps),
        Body::Table(table) => {
            for row in &table.rows {
                uses.filter(&row.topic);
            }
        }
    }
    uses
}

impl Uses {
    fn need(&mut self, capability: Capability) {
        self.needs.insert(capability);
    }

    fn version(&mut self, version: ProtocolVersion) {
        self.need(match version {
            ProtocolVersion::V5 => Capability::V5,
            ProtocolVersion::V311 => Capability::V311,
            ProtocolVersion::V31 => Capability::V31,
        });
    }

    fn client(&mut self, client: &ClientSpec, case: &Case) {
        let version = client.protocol.unwrap_or(case.protocol);
        self.version(version);
        self.session(client.clean, &client.properties, version);
        self.keep_alive(client.keep_alive);
        if client.client_id.as_ref().is_some_and(|id| id.as_literal() == Some("")) {
            self.need(Capability::AssignedIds);
        }
        if let Some(will) = &client.will {
            self.will(will);
        }
    }

    /// Before 5.0 an unclean session is kept; in 5.0 only one with an expiry.
    fn session(&mut self, clean: bool, properties: &Properties, version: ProtocolVersion) {
        let kept = if version.is_v5() {
            properties.session_expiry_interval().is_some_and(|seconds| seconds > 0)
        } else {
            !clean
        };
        if kept {
            self.need(Capability::Sessions);
        }
    }

    fn keep_alive(&mut self, seconds: u16) {
        if seconds > 0 {
            self.keep_alive = Some(self.keep_alive.map_or(seconds, |least| least.min(seconds)));
        }
    }

    fn will(&mut self, will: &WillSpec) {
        self.qos(will.qos);
        self.payload(&will.payload);
        if let Some(topic) = will.topic.as_literal() {
            self.topic(topic);
        }
        if will.retain {
            self.need(Capability::Retain);
        }
    }

    fn qos(&mut self, qos: QoS) {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.need(Capability::Qos1),
            QoS::ExactlyOnce => self.need(Capability::Qos2),
        }
    }

    fn payload(&mut self, payload: &Payload) {
        let length = match payload {
            Payload::Text(text) => text.as_literal().map_or(0, str::len),
            Payload::Bytes(bytes) => bytes.len(),
        };
        self.payload = self.payload.max(length);
    }

    fn topic(&mut self, topic: &str) {
        self.levels = self.levels.max(topic.split('/').count());
    }

    fn filter(&mut self, filter: &str) {
        let shared = filter.strip_prefix("$share/");
        if shared.is_some() {
            self.need(Capability::Shared);
        }
        let filter = shared.and_then(|rest| rest.split_once('/')).map_or(filter, |(_, rest)| rest);
        if filter.contains(['+', '#']) {
            self.need(Capability::Wildcards);
        }
        if filter == "$SYS" || filter.starts_with("$SYS/") {
            self.need(Capability::Sys);
        }
        self.topic(filter);
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            match &step.op {
                Op::Open(_, open) => self.open(open),
                Op::Send(_, request, _) => self.request(request),
                Op::Packets(_, lines) => {
                    for line in lines {
                        if let WireStepKind::Send(line) = &line.kind {
                            self.line(line);
                        }
                    }
                }
                Op::Target(TargetAction::Reload) => self.need(Capability::Reload),
                Op::Target(_) => self.need(Capability::Restart),
                Op::Spawn(branches) => branches.iter().for_each(|steps| self.steps(steps)),
                Op::Repeat(_, steps) => self.steps(steps),
                Op::Close(..)
                | Op::Expect(..)
                | Op::ExpectAmong(..)
                | Op::Quiet(_)
                | Op::Closed(..)
                | Op::Pause(_)
                | Op::Barrier
                | Op::Play(..)
                | Op::Played(_) => {}
            }
        }
    }

    fn open(&mut self, open: &Open) {
        if open.properties.session_expiry_interval().is_some_and(|seconds| seconds > 0) {
            self.need(Capability::Sessions);
        }
        if let Some(seconds) = open.keep_alive {
            self.keep_alive(seconds);
        }
        if let Some(Some(will)) = &open.will {
            self.will(will);
        }
    }

    fn request(&mut self, request: &Request) {
        match request {
            Request::Publish { topic, payload, qos, retain, properties } => {
                self.qos(*qos);
                self.payload(payload);
                if let Some(topic) = topic.as_literal() {
                    self.topic(topic);
                }
                if *retain {
                    self.need(Capability::Retain);
                }
                if properties.topic_alias().is_some() {
                    self.need(Capability::TopicAliases);
                }
            }
            Request::Subscribe { filters, properties } => {
                if properties.subscription_identifier().is_some() {
                    self.need(Capability::SubscriptionIds);
                }
                for (filter, options) in filters {
                    self.qos(options.qos);
                    self.filter(filter.as_literal().unwrap_or_default());
                }
            }
            Request::Unsubscribe { .. } | Request::Ping => {}
        }
    }

    /// A line of a packet block. What stands for no value (`qos=3`, `id=$first`) says nothing.
    fn line(&mut self, line: &PacketLine) {
        for field in &line.fields {
            let number = || field.value.parse::<u32>().ok();
            match (line.kind, field.name) {
                (PacketType::Publish | PacketType::Subscribe, "qos") | (PacketType::Connect, "will.qos") => {
                    if let Some(qos) = number().and_then(|n| QoS::from_u8(u8::try_from(n).ok()?)) {
                        self.qos(qos);
                    }
                }
                (PacketType::Publish, "retain") | (PacketType::Connect, "will.retain")
                    if field.value != "0" =>
                {
                    self.need(Capability::Retain);
                }
                (PacketType::Publish, "topic") => self.topic(&field.value),
                (PacketType::Publish, "payload") => self.payload = self.payload.max(field.value.len()),
                (PacketType::Publish, "topic_alias") => self.need(Capability::TopicAliases),
                (PacketType::Subscribe, "filter") => self.filter(&field.value),
                (PacketType::Subscribe, "subscription_id") => self.need(Capability::SubscriptionIds),
                (PacketType::Connect, "keepalive") => {
                    self.keep_alive(number().and_then(|n| u16::try_from(n).ok()).unwrap_or(0));
                }
                (PacketType::Connect, "session_expiry") if number().is_some_and(|n| n > 0) => {
                    self.need(Capability::Sessions);
                }
                _ => {}
            }
        }
    }
}
