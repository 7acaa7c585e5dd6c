//! The runner's verdicts: a broker that does wrong must fail, one that is gone must not be judged,
//! and nothing may be left behind. Cases are made by hand: what YAML means is tested elsewhere.

use std::sync::Arc;
use std::time::Duration;

use mqttlab::diagnostic::{Source, Span};
use mqttlab::mqtt::notation::PacketLine;
use mqttlab::mqtt::packet::SubscriptionOptions;
use mqttlab::mqtt::{Properties, ProtocolVersion, QoS, ReasonCode};
use mqttlab::record::{Event, EventKind, Outcome, Verdict};
use mqttlab::runner::{self, RunOptions, TargetChoice};
use mqttlab::scenario::matcher::Matcher;
use mqttlab::scenario::op::{
    ClientIndex, Close, Closed, ConnectOutcome, Expect, MessagePattern, Op, Open, Reply, Request, Step,
    TargetAction, WireAlternative, WireStep, WireStepKind,
};
use mqttlab::scenario::target::{BrokerSpec, Setup, UserSpec};
use mqttlab::scenario::value::Template;
use mqttlab::scenario::{Body, Case, ClientSpec, EngineKind, Level, Payload, WillSpec};

use crate::support::mosquitto::program;

const A: ClientIndex = ClientIndex(0);
const B: ClientIndex = ClientIndex(1);

fn span() -> Span {
    Span::new(&Source::new("made.yaml", "- by: hand\n"), 0..4)
}

fn client(name: &str) -> ClientSpec {
    ClientSpec::plain(name.into(), span())
}

fn case(version: ProtocolVersion, setup: Setup, clients: Vec<ClientSpec>, ops: Vec<Op>) -> Case {
    Case {
        file: "made.yaml".into(),
        scenario: "made".into(),
        variant: String::new(),
        name: "made by hand".into(),
        protocol: version,
        spec: Vec::new(),
        spec_spans: Vec::new(),
        level: Level::Must,
        tags: Vec::new(),
        requires: Vec::new(),
        points: None,
        hint: None,
        hidden: false,
        known: Vec::new(),
        setup: Arc::new(setup),
        clients,
        body: Body::Steps(ops.into_iter().map(|op| Step { op, span: span() }).collect()),
        span: span(),
        least: Duration::ZERO,
    }
}

fn publish(topic: &str, payload: &str, qos: QoS) -> Request {
    Request::Publish {
        topic: Template::literal(topic),
        payload: Payload::Text(Template::parse(payload).expect("a template")),
        qos,
        retain: false,
        properties: Properties::new(),
    }
}

fn subscribe(filter: &str, qos: QoS) -> Request {
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    Request::Subscribe { filters: vec![(Template::literal(filter), options)], properties: Properties::new() }
}

fn send(client: ClientIndex, request: Request) -> Op {
    Op::Send(client, request, Reply::Positive)
}

fn pattern(topic: &str, payload: &str) -> MessagePattern {
    MessagePattern {
        topic: Matcher::Equals(Template::literal(topic)),
        payload: Matcher::Equals(Template::literal(payload)),
        qos: None,
        retain: None,
        dup: None,
        properties: Vec::new(),
        times: 1,
        span: span(),
    }
}

fn receives(client: ClientIndex, topic: &str, payload: &str) -> Op {
    let within = Duration::from_secs(2);
    Op::Expect(client, Expect { messages: vec![pattern(topic, payload)], any_order: false, within })
}

fn packets(client: ClientIndex, lines: &str) -> Op {
    let line = |text: &str| PacketLine::parse(text).expect("a packet line");
    let steps = lines.lines().map(str::trim).filter(|text| !text.is_empty()).map(|text| {
        let (strict, text) = text.strip_prefix("! ").map_or((false, text), |rest| (true, rest));
        let kind = match text.split_once(' ').expect("an arrow and a packet") {
            (">", "close") => WireStepKind::SendClose,
            (">", packet) => WireStepKind::Send(line(packet)),
            ("<?", packet) => WireStepKind::Optional(line(packet)),
            ("<", packets) => WireStepKind::Expect(
                packets
                    .split(" | ")
                    .map(|one| match one {
                        "close" => WireAlternative::Close,
                        all if all.contains(" & ") => {
                            WireAlternative::All(all.split(" & ").map(line).collect())
                        }
                        packet => WireAlternative::Packet(line(packet)),
                    })
                    .collect(),
            ),
            other => panic!("{other:?}"),
        };
        WireStep { kind, strict, span: span() }
    });
    Op::Packets(client, steps.collect())
}

fn run_with(options: &RunOptions, cases: &[Case]) -> (bool, Vec<Event>) {
    let mut events = Vec::new();
    let complete = runner::run(cases, options, &mut |event| events.push(event)).expect("a target");
    (complete, events)
}

fn outcomes(events: &[Event]) -> Vec<Outcome> {
    let finished = events.iter().filter_map(|event| match &event.kind {
        EventKind::CaseFinished { outcome } => Some(outcome.clone()),
        _ => None,
    });
    finished.collect()
}

fn only_outcome(target: &TargetChoice, case: Case) -> Outcome {
    let options = RunOptions { target: target.clone(), ..RunOptions::default() };
    let (_, events) = run_with(&options, &[case]);
    let mut all = outcomes(&events);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Our broker, and the mosquitto that is installed. Without one this is said, and in CI it fails.
fn targets() -> Vec<TargetChoice> {
    let mut all = vec![TargetChoice::Bundled];
    all.extend(mosquitto());
    all
}

fn mosquitto() -> Option<TargetChoice> {
    program("mosquitto").map(TargetChoice::Process)
}

fn assert_passed(target: &TargetChoice, case: Case) {
    let outcome = only_outcome(target, case);
    assert_eq!(outcome.verdict, Verdict::Passed, "{target:?}: {:#?}", outcome.why);
}

fn assert_failed(target: &TargetChoice, case: Case, words: &str) {
    let outcome = only_outcome(target, case);
    assert_eq!(outcome.verdict, Verdict::Failed, "{target:?}: {:#?}", outcome.why);
    let why = format!("{:?}", outcome.why);
    assert!(why.contains(words), "{why}");
}

fn two() -> Vec<ClientSpec> {
    vec![client("a"), client("b")]
}

#[test]
fn messages_of_every_qos_and_version_arrive() {
    for target in targets() {
        for version in ProtocolVersion::ALL {
            let mut ops = vec![send(A, subscribe("t/#", QoS::ExactlyOnce))];
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                ops.push(send(B, publish("t/x", "hello", qos)));
                ops.push(receives(A, "t/x", "hello"));
            }
            ops.push(send(A, Request::Ping));
            ops.push(Op::Quiet(A));
            assert_passed(&target, case(version, Setup::default(), two(), ops));
        }
    }
}

#[test]
fn a_message_that_nobody_asked_for_fails_at_the_end() {
    for target in targets() {
        let ops = || {
            vec![send(A, subscribe("#", QoS::AtMostOnce)), send(B, publish("t", "extra", QoS::AtMostOnce))]
        };
        let made = case(ProtocolVersion::V311, Setup::default(), two(), ops());
        assert_failed(&target, made, "nobody asked for");
        let mut ops = ops();
        ops.push(Op::Quiet(A));
        assert_failed(&target, case(ProtocolVersion::V5, Setup::default(), two(), ops), "receives nothing");
    }
}

#[test]
fn a_message_that_does_not_come_fails() {
    for target in targets() {
        let within = Duration::from_millis(100);
        let expect = Expect { messages: vec![pattern("t", "never")], any_order: false, within };
        let ops = vec![
            send(A, subscribe("t", QoS::AtMostOnce)),
            send(B, publish("t", "other", QoS::AtLeastOnce)),
            Op::Expect(A, expect),
        ];
        assert_failed(&target, case(ProtocolVersion::V311, Setup::default(), two(), ops), "other");
    }
}

#[test]
fn a_will_is_sent_when_the_client_vanishes_and_not_when_it_says_goodbye() {
    for target in targets() {
        let will = WillSpec {
            topic: Template::literal("w"),
            payload: Payload::Text(Template::literal("gone")),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: Properties::new(),
        };
        let clients = vec![client("watch"), ClientSpec { will: Some(will), ..client("sensor") }];
        let goodbye = Close::Disconnect { reason: ReasonCode::SUCCESS, properties: Properties::new() };
        let ops = vec![
            send(A, subscribe("w", QoS::AtLeastOnce)),
            Op::Open(B, Open::default()),
            Op::Close(B, Close::Drop),
            receives(A, "w", "gone"),
            Op::Open(B, Open::default()),
            Op::Close(B, goodbye),
            Op::Quiet(A),
        ];
        assert_passed(&target, case(ProtocolVersion::V311, Setup::default(), clients, ops));
    }
}

fn users() -> Setup {
    let user = |name: &str, password: Option<&str>, allow: &[(&str, &str)]| UserSpec {
        name: name.into(),
        password: password.map(Into::into),
        scram: false,
        allow: allow.iter().map(|(access, filter)| ((*access).into(), (*filter).into())).collect(),
        span: span(),
    };
    let users = vec![
        user("alice", Some("open-sesame"), &[("readwrite", "home/#")]),
        user("bob", None, &[("read", "home/#")]),
    ];
    Setup { broker: BrokerSpec { users, ..BrokerSpec::default() }, pki: Vec::new() }
}

fn as_user(name: &str) -> ClientSpec {
    ClientSpec { user: Some(name.into()), ..client(name) }
}

#[test]
fn accounts_are_those_of_the_set_up() {
    for target in targets() {
        let wrong = Open {
            password: Some(Template::literal("guess")),
            user: Some(Some("alice".into())),
            outcome: ConnectOutcome::Refused,
            ..Open::default()
        };
        let ops = vec![
            send(A, subscribe("home/+", QoS::AtLeastOnce)),
            Op::Send(B, publish("home/x", "not allowed", QoS::AtLeastOnce), Reply::Denied),
            Op::Quiet(A),
            send(A, publish("home/x", "allowed", QoS::AtLeastOnce)),
            receives(A, "home/x", "allowed"),
            Op::Open(ClientIndex(2), wrong),
        ];
        let clients = vec![as_user("alice"), as_user("bob"), client("nobody")];
        assert_passed(&target, case(ProtocolVersion::V5, users(), clients, ops));
        let ops = vec![Op::Open(A, Open::default())];
        assert_failed(&target, case(ProtocolVersion::V311, users(), vec![client("nobody")], ops), "refused");
    }
}

#[test]
fn what_the_broker_says_of_itself_is_denied_or_is_not() {
    for target in targets() {
        for (filter, verdict) in [
            ("$SYS/broker/uptime", Verdict::Failed),
            ("$SYS/#", Verdict::Failed),
            // Nothing to be denied: that cannot be told.
            ("$SYS/broker/nothing", Verdict::Errored),
        ] {
            let ops = vec![Op::Send(A, subscribe(filter, QoS::AtMostOnce), Reply::Denied)];
            let outcome =
                only_outcome(&target, case(ProtocolVersion::V311, Setup::default(), vec![client("a")], ops));
            assert_eq!(outcome.verdict, verdict, "{filter} {target:?}: {:#?}", outcome.why);
        }
        // Nobody asked for these messages, but `receives_nothing` asks whether there are any.
        let ops = vec![send(A, subscribe("$SYS/#", QoS::AtMostOnce))];
        let version = ProtocolVersion::V311;
        assert_passed(&target, case(version, Setup::default(), vec![client("a")], ops.clone()));
        let ops = [ops, vec![Op::Quiet(A)]].concat();
        assert_failed(&target, case(version, Setup::default(), vec![client("a")], ops), "$SYS/broker/");
    }
}

#[test]
fn a_message_that_the_acl_keeps_back_is_explained() {
    let within = Duration::from_millis(100);
    let expect = Expect { messages: vec![pattern("home/x", "no")], any_order: false, within };
    let ops = vec![
        send(A, subscribe("home/+", QoS::AtLeastOnce)),
        Op::Send(B, publish("home/x", "no", QoS::AtMostOnce), Reply::Any),
        Op::Expect(A, expect),
    ];
    let clients = vec![as_user("alice"), as_user("bob")];
    let outcome = only_outcome(&TargetChoice::Bundled, case(ProtocolVersion::V311, users(), clients, ops));
    assert_eq!(outcome.verdict, Verdict::Failed);
    let hint = outcome.why.and_then(|why| why.hint).expect("a hint");
    assert!(hint.contains("no line grants bob write on home/x"), "{hint}");
}

#[test]
fn clients_come_back_after_the_broker_was_restarted() {
    for target in targets() {
        let closed = Closed { after: None, within: Duration::from_secs(5), reason: None };
        let unreachable = Open { outcome: ConnectOutcome::Unreachable, ..Open::default() };
        let ops = vec![
            send(A, subscribe("t", QoS::AtMostOnce)),
            Op::Open(B, Open::default()),
            Op::Target(TargetAction::Restart),
            Op::Closed(A, closed.clone()),
            send(A, subscribe("t", QoS::AtMostOnce)),
            send(B, publish("t", "1", QoS::AtLeastOnce)),
            receives(A, "t", "1"),
            Op::Target(TargetAction::Kill),
            Op::Closed(A, closed),
            Op::Open(B, unreachable),
            Op::Target(TargetAction::Start),
            send(A, subscribe("t", QoS::AtMostOnce)),
            Op::Target(TargetAction::Reload),
            send(B, publish("t", "2", QoS::AtLeastOnce)),
            receives(A, "t", "2"),
        ];
        assert_passed(&target, case(ProtocolVersion::V311, Setup::default(), two(), ops));
    }
}

#[test]
fn the_log_tells_what_came_instead_and_when_fences_and_lines_of_the_broker_were() {
    for target in targets() {
        let ops = vec![
            send(A, subscribe("#", QoS::AtMostOnce)),
            send(B, publish("t", "extra", QoS::AtMostOnce)),
            Op::Quiet(A),
        ];
        let mut made = case(ProtocolVersion::V5, Setup::default(), two(), ops);
        made.spec = vec!["MQTT-3.8.4-3".into()];
        let options = RunOptions { target: target.clone(), ..RunOptions::default() };
        let (_, events) = run_with(&options, &[made]);
        let why = outcomes(&events).remove(0).why.expect("it failed");
        let is_line = |event: &Event, came: &str| matches!(&event.kind, EventKind::Wire { wire, .. } if wire.print() == came);
        assert_eq!(why.came.len(), 1, "{why:?}");
        let extra = events.iter().find(|event| is_line(event, &why.came[0])).expect("came is on the wire");
        let fence = events.iter().find_map(|event| match event.kind {
            EventKind::Fence { since, held: true, .. } => Some((since, event.at)),
            _ => None,
        });
        let (since, end) = fence.expect("receives_nothing is fenced");
        assert!(since < end && extra.at < end, "{since} {end} {}", extra.at);
        let first_line = events.iter().find(|event| matches!(event.kind, EventKind::BrokerLog { .. }));
        assert!(first_line.expect("it logs").at < since, "a line has the time when it was said");
        let ordered = events.is_sorted_by(|a, b| a.at <= b.at);
        assert!(ordered, "events come in the order of their times");
        let started = events.iter().find_map(|event| match &event.kind {
            EventKind::CaseStarted { source, statements, .. } => Some((source.clone(), statements)),
            _ => None,
        });
        let (source, statements) = started.expect("it began");
        assert_eq!(source.expect("a scenario has lines").text, "- by: hand");
        assert!(statements["MQTT-3.8.4-3"].contains("replaces"), "{statements:?}");
    }
}

#[test]
fn packet_blocks_are_played_as_written() {
    for target in targets() {
        let clients = || vec![ClientSpec { raw: true, ..client("raw") }, client("watch")];
        let ops = vec![
            send(B, subscribe("q", QoS::ExactlyOnce)),
            packets(
                A,
                "> CONNECT clean client=raw-1
                 < CONNACK 0
                 > PUBLISH q \"once\" qos=2 id=10
                 ! < PUBREC id=10
                 > PUBLISH q \"once\" qos=2 id=10 dup
                 < PUBREC id=10
                 > PUBREL id=10
                 <? PINGRESP
                 ! < PUBCOMP id=10
                 > PINGREQ
                 ! < PINGRESP
                 > CONNECT clean client=raw-1
                 < close | DISCONNECT",
            ),
            receives(B, "q", "once"),
        ];
        assert_passed(&target, case(ProtocolVersion::V311, Setup::default(), clients(), ops));
        let ops = vec![packets(A, "> CONNECT clean client=raw-2\n< CONNACK 0 session_present=1")];
        assert_failed(
            &target,
            case(ProtocolVersion::V311, Setup::default(), clients(), ops),
            "session_present",
        );
    }
}

#[test]
fn packets_that_are_wanted_together_come_in_any_order() {
    for target in targets() {
        let clients = || vec![ClientSpec { raw: true, ..client("raw") }];
        let ops = |line: &str| {
            let begin = "> CONNECT clean client=together
                         < CONNACK 0
                         > SUBSCRIBE t qos=0 id=1
                         < SUBACK id=1
                         > PUBLISH t \"x\" qos=1 id=7
                         > PINGREQ\n";
            vec![packets(A, &format!("{begin}{line}"))]
        };
        // A broker may deliver before it acknowledges, or after.
        for line in [
            "! < PUBLISH t \"x\" & PINGRESP & PUBACK id=7",
            "! < PUBACK id=8 | PUBACK id=7 & PUBLISH t & PINGRESP | close",
            "<? PUBLISH t\n! < PUBACK id=7 & PINGRESP\n<? PUBLISH t\n> PINGREQ\n! < PINGRESP",
        ] {
            assert_passed(&target, case(ProtocolVersion::V311, Setup::default(), clients(), ops(line)));
        }
        for (line, words) in [
            ("! < PUBACK id=7 & PINGRESP", "PUBLISH t"),
            ("< PUBLISH t & PUBACK id=7 & PUBACK id=8", "id is 7, not 8"),
        ] {
            assert_failed(
                &target,
                case(ProtocolVersion::V311, Setup::default(), clients(), ops(line)),
                words,
            );
        }
    }
}

#[test]
fn numbers_of_the_broker_are_taken_over() {
    for target in targets() {
        let clients = || vec![ClientSpec { raw: true, ..client("raw") }, client("pub")];
        let ops = |after: &str| {
            let step = |op| Step { op, span: span() };
            let sent = send(B, publish("n", "${i}", QoS::AtLeastOnce));
            vec![
                packets(
                    A,
                    "> CONNECT clean=0 client=numbers session_expiry=60
                     < CONNACK 0
                     > SUBSCRIBE n qos=1 id=1
                     < SUBACK id=1",
                ),
                Op::Repeat(3, vec![step(sent)]),
                packets(
                    A,
                    "< PUBLISH n \"1\" id=$one
                     < PUBLISH n \"2\" id=$two
                     < PUBLISH n \"3\" id=$three
                     > PUBACK id=$two
                     > PINGREQ
                     < PINGRESP
                     > close",
                ),
                packets(A, "> CONNECT clean=0 client=numbers session_expiry=60\n< CONNACK 0 session_present"),
                Op::Repeat(1, vec![step(packets(A, after))]),
            ]
        };
        let again = "! < PUBLISH n \"${i}\" dup id=$one\n! < PUBLISH n \"3\" dup id=$three";
        assert_passed(&target, case(ProtocolVersion::V5, Setup::default(), clients(), ops(again)));
        let swapped = "> PINGREQ\n! < PUBLISH n \"1\" id=$three";
        let swapped = case(ProtocolVersion::V5, Setup::default(), clients(), ops(swapped));
        assert_failed(&target, swapped, "id is 1, not 3");
        let unknown = case(ProtocolVersion::V5, Setup::default(), clients(), ops("> PUBACK id=$four"));
        let outcome = only_outcome(&target, unknown);
        assert_eq!(outcome.verdict, Verdict::Errored, "{outcome:?}");
    }
}

#[test]
fn branches_and_repeats() {
    for target in targets() {
        let times = 40;
        let step = |op| Step { op, span: span() };
        let load = |client, topic: &str| {
            vec![step(Op::Repeat(times, vec![step(send(client, publish(topic, "${i}", QoS::AtLeastOnce)))]))]
        };
        let all = |topic| MessagePattern { times, payload: Matcher::Any, ..pattern(topic, "") };
        let expect = Expect {
            messages: vec![all("l/1"), all("l/2")],
            any_order: true,
            within: Duration::from_secs(5),
        };
        let ops = vec![
            send(A, subscribe("l/+", QoS::AtLeastOnce)),
            Op::Spawn(vec![load(B, "l/1"), load(ClientIndex(2), "l/2")]),
            Op::Expect(A, expect),
        ];
        let clients = vec![client("a"), client("b"), client("c")];
        assert_passed(&target, case(ProtocolVersion::V5, Setup::default(), clients, ops));
    }
}

#[test]
fn rumqttc_plays_the_same_steps_and_what_it_cannot_is_skipped() {
    for target in targets() {
        let options =
            RunOptions { target: target.clone(), engine: Some(EngineKind::Rumqttc), ..RunOptions::default() };
        let played = |version| {
            let mut ops = vec![send(A, subscribe("t/#", QoS::ExactlyOnce))];
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                ops.push(send(B, publish("t/x", "hello", qos)));
                ops.push(receives(A, "t/x", "hello"));
            }
            ops.extend([Op::Quiet(A), Op::Close(B, Close::Drop), Op::Target(TargetAction::Restart)]);
            ops.push(send(A, subscribe("t/#", QoS::AtMostOnce)));
            case(version, Setup::default(), two(), ops)
        };
        let ping = case(ProtocolVersion::V311, Setup::default(), two(), vec![send(A, Request::Ping)]);
        let cases = [played(ProtocolVersion::V311), played(ProtocolVersion::V5), ping];
        let (_, events) = run_with(&options, &cases);
        let all = outcomes(&events);
        let verdicts: Vec<_> = all.iter().map(|one| one.verdict).collect();
        assert_eq!(verdicts, [Verdict::Passed, Verdict::Passed, Verdict::Skipped], "{all:#?}");
        let why = all[2].why.as_ref().expect("a reason");
        assert_eq!(why.actual, "rumqttc cannot ping when asked to");
    }
}
