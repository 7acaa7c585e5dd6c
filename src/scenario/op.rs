//! The operations that every step lowers to. The runner knows these and nothing of YAML.

use std::time::Duration;

use bytes::Bytes;

use super::matcher::{Matcher, PropertyMatch};
use super::value::Template;
use super::{Payload, WillSpec};
use crate::diagnostic::Span;
use crate::mqtt::notation::PacketLine;
use crate::mqtt::packet::SubscriptionOptions;
use crate::mqtt::{Properties, QoS, ReasonCode};
use crate::tls::TlsFailure;

/// Index into [`Case::clients`](super::Case::clients).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientIndex(pub usize);

/// One operation and the step it came from.
#[derive(Debug, Clone)]
pub struct Step {
    /// What to do.
    pub op: Op,
    /// The step in the file.
    pub span: Span,
}

/// What can be done.
#[derive(Debug, Clone)]
pub enum Op {
    /// Connect and check the answer.
    Open(ClientIndex, Open),
    /// Publish, subscribe, unsubscribe or ping, and check the answer.
    Send(ClientIndex, Request, Reply),
    /// Wait for messages (`receives`, `receives_any_order`).
    Expect(ClientIndex, Expect),
    /// Wait for messages each of which one of these clients receives (`receives`, `or`), in any order.
    ExpectAmong(Vec<ClientIndex>, Expect),
    /// Prove, with a fence, that no message is there (`receives_nothing`).
    Quiet(ClientIndex),
    /// Send and expect packets as written (`packets`).
    Packets(ClientIndex, Vec<WireStep>),
    /// Begin to send and expect packets as written on the connections that come to a peer, beside the steps
    /// that follow (`plays`); what it began before comes first.
    Play(ClientIndex, Vec<WireStep>),
    /// Wait until a peer has played all that it began (`done`).
    Played(ClientIndex),
    /// Wait until the broker closes the connection (`closed`).
    Closed(ClientIndex, Closed),
    /// End the connection from this side.
    Close(ClientIndex, Close),
    /// Let time pass (`wait`).
    Pause(Duration),
    /// Do something to the broker.
    Target(TargetAction),
    /// Wait until everything under way has arrived (`fence`).
    Barrier,
    /// Branches at the same time; goes on when all are done (`parallel`).
    Spawn(Vec<Vec<Step>>),
    /// The same steps many times (`repeat`); `${i}` counts from 1.
    Repeat(u32, Vec<Step>),
}

/// How to connect. `None` fields are as the client's definition says.
#[derive(Debug, Clone, Default)]
pub struct Open {
    /// Clean session / clean start.
    pub clean: Option<bool>,
    /// Keep-alive, seconds.
    pub keep_alive: Option<u16>,
    /// Other will; `Some(None)` is none.
    pub will: Option<Option<WillSpec>>,
    /// Other user name (`Some(None)`: anonymous).
    pub user: Option<Option<String>>,
    /// Other password.
    pub password: Option<Template>,
    /// More properties.
    pub properties: Properties,
    /// What must come of it.
    pub outcome: ConnectOutcome,
    /// How long to wait for it.
    pub within: Option<Duration>,
}

/// What must come of a connect.
#[derive(Debug, Clone, Default)]
pub enum ConnectOutcome {
    /// CONNACK 0; session present and properties as far as they are named.
    #[default]
    Accepted,
    /// CONNACK 0 with these details.
    AcceptedWith {
        /// Session present flag.
        session_present: Option<bool>,
        /// Properties.
        properties: Vec<PropertyMatch>,
    },
    /// Refused by any code, or closed without one.
    Refused,
    /// Refused by exactly one of these codes.
    RefusedWith(Vec<ReasonCode>),
    /// TLS fails in this way.
    TlsFails(TlsFailure),
    /// TCP fails: nobody listens.
    Unreachable,
    /// Whatever comes.
    Any,
}

/// What a client asks of the broker.
#[derive(Debug, Clone)]
pub enum Request {
    /// PUBLISH.
    Publish {
        /// Where.
        topic: Template,
        /// What.
        payload: Payload,
        /// Quality of service.
        qos: QoS,
        /// Retained.
        retain: bool,
        /// Properties, 5.0.
        properties: Properties,
    },
    /// SUBSCRIBE to one or more filters in one packet.
    Subscribe {
        /// Filters with options.
        filters: Vec<(Template, SubscriptionOptions)>,
        /// Properties, 5.0.
        properties: Properties,
    },
    /// UNSUBSCRIBE.
    Unsubscribe {
        /// Filters.
        filters: Vec<Template>,
        /// Properties, 5.0.
        properties: Properties,
    },
    /// PINGREQ.
    Ping,
}

/// What must be answered to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reply {
    /// A positive acknowledgement; for SUBSCRIBE the QoS asked for. Nothing for QoS 0.
    #[default]
    Positive,
    /// The broker's refusal can be seen (negative code or close), or the request had no effect
    /// although acknowledged; which of these is found by who receives it. `expect: denied`.
    Denied,
    /// A negative code. `expect: refused`
    Refused,
    /// The connection is closed. `expect: closed`
    Closed,
    /// Whatever comes. `expect: any`
    Any,
    /// Nothing is waited for, so that the steps go on while it is under way. `expect: sent`
    Unawaited,
    /// Exactly these codes in the acknowledgement, one a filter. `expect: {suback: 0x87}`
    Codes(Vec<ReasonCode>),
}

/// Messages to wait for.
#[derive(Debug, Clone)]
pub struct Expect {
    /// Which.
    pub messages: Vec<MessagePattern>,
    /// In this order, or in any.
    pub any_order: bool,
    /// How long to wait for all of them.
    pub within: Duration,
}

/// One message to wait for.
#[derive(Debug, Clone)]
pub struct MessagePattern {
    /// Topic.
    pub topic: Matcher,
    /// Payload.
    pub payload: Matcher,
    /// QoS as delivered.
    pub qos: Option<QoS>,
    /// Retain flag as delivered.
    pub retain: Option<bool>,
    /// Dup flag as delivered.
    pub dup: Option<bool>,
    /// Properties, 5.0.
    pub properties: Vec<PropertyMatch>,
    /// How often; default 1. More of the same are caught by the strict inbox.
    pub times: u32,
    /// Where it is written.
    pub span: Span,
}

/// How a connection is ended from this side.
#[derive(Debug, Clone)]
pub enum Close {
    /// DISCONNECT, then close.
    Disconnect {
        /// Reason code, 5.0.
        reason: ReasonCode,
        /// Properties, 5.0.
        properties: Properties,
    },
    /// Cut without DISCONNECT.
    Drop,
}

/// Until when the broker must close the connection.
#[derive(Debug, Clone)]
pub struct Closed {
    /// Not before.
    pub after: Option<Duration>,
    /// Not later than. Counted from the step.
    pub within: Duration,
    /// Reason of the 5.0 DISCONNECT, where one is demanded.
    pub reason: Option<ReasonCode>,
}

/// What to do with the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the verbs of `broker:`")]
pub enum TargetAction {
    Start,
    Stop,
    Kill,
    Restart,
    Reload,
}

/// One line of a `packets` block.
#[derive(Debug, Clone)]
pub struct WireStep {
    /// What the line says.
    pub kind: WireStepKind,
    /// `! `: nothing else may come between the line before and this one.
    pub strict: bool,
    /// The line.
    pub span: Span,
}

/// What a line of a `packets` block says.
#[derive(Debug, Clone)]
pub enum WireStepKind {
    /// `> PACKET`
    Send(PacketLine),
    /// `> text PACKET`: in a WebSocket frame of text.
    SendText(PacketLine),
    /// `> hex …`: in a write, and over a WebSocket a frame, of its own.
    SendBytes(Bytes),
    /// `> close`: cut the connection.
    SendClose,
    /// `< A | B | close`
    Expect(Vec<WireAlternative>),
    /// `<? PACKET`: may or may not come before what comes next.
    Optional(PacketLine),
    /// `* note`
    Note(String),
}

/// One side of a `|`.
#[derive(Debug, Clone)]
pub enum WireAlternative {
    /// This packet.
    Packet(PacketLine),
    /// `A & B`: these packets, in any order.
    All(Vec<PacketLine>),
    /// End of file or reset.
    Close,
    /// Another packet than those: the scenario is not about this broker.
    Skip,
}
