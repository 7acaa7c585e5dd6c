//! Scenarios as they are written, played on our own broker: what packet lines and captured values
//! do at run time. What a file lowers to is tested in `scenario`, verdicts on wrong brokers in
//! `runner_faults`.

use std::path::PathBuf;

use mqttlab::diagnostic::Source;
use mqttlab::record::{Event, EventKind, Outcome, Verdict};
use mqttlab::runner::{self, RunOptions};
use mqttlab::scenario::{LoadOptions, load};

use crate::support::no_files::NoFiles;

/// What the steps come to, under 5.0.
fn played(clients: &str, steps: &str) -> Outcome {
    let mut text =
        format!("lab: 1\nmatrix: {{protocol: [\"5\"]}}\nscenarios:\n- id: one\n  clients: {clients}\n");
    text.push_str("  steps:\n");
    for line in steps.lines() {
        text.extend(["  ", line, "\n"]);
    }
    let path = PathBuf::from("made.yaml");
    let loaded = load(&Source::new(path.display().to_string(), text), &NoFiles, &LoadOptions::default());
    assert!(!loaded.cases.is_empty(), "{:?}", loaded.diagnostics);
    let mut events: Vec<Event> = Vec::new();
    runner::run(&loaded.cases, &RunOptions::default(), &mut |event| events.push(event)).expect("a broker");
    let outcome = events.into_iter().find_map(|event| match event.kind {
        EventKind::CaseFinished { outcome, .. } => Some(outcome),
        _ => None,
    });
    outcome.expect("the case is finished")
}

fn assert_verdict(outcome: &Outcome, verdict: Verdict, words: &str) {
    let why =
        outcome.why.as_ref().map(|why| format!("{} / {}", why.expected, why.actual)).unwrap_or_default();
    assert_eq!(outcome.verdict, verdict, "{why}");
    assert!(why.contains(words), "{why}");
}

#[test]
fn a_captured_value_is_a_variable_of_later_steps() {
    let clients = "{nameless: {client_id: \"\", properties: {session_expiry: 60}}, raw: {raw: true}, \
                   again: {client_id: \"${captured.id}\", clean: false}}";
    let steps = "- nameless: {connect: {connack: {assigned_client_id: {capture: id, length: 41}}}}
- nameless: drop
- raw:
    packets: |
      > CONNECT client=${captured.id} session_expiry=60
      < CONNACK 0 session_present=1
      > SUBSCRIBE ${captured.id} id=1
      < SUBACK 0
      > PUBLISH ${captured.id} \"x\"
      < PUBLISH ${captured.id} \"x\"
      > close
- again: {connect: {session_present: true}}
- again: {publish: answers, payload: \"${captured.id}\"}";
    assert_verdict(&played(clients, steps), Verdict::Passed, "");
    let steps = "- again: connect\n- nameless: {connect: {connack: {assigned_client_id: {capture: id}}}}";
    assert_verdict(&played(clients, steps), Verdict::Errored, "${captured.id} has none");
    let steps = "- raw:\n    packets: |\n      > CONNECT client=${captured.id}\n- nameless: {connect: {connack: {assigned_client_id: {capture: id}}}}";
    assert_verdict(&played(clients, steps), Verdict::Errored, "${captured.id} has none");
}

#[test]
fn a_message_can_be_captured_part_by_part() {
    let clients = "{asks: {}, answers: {}}";
    let steps = "- answers: {subscribe: questions}
- asks: {subscribe: answers/7}
- asks: {publish: questions, payload: why, properties: {response_topic: answers/7}}
- answers: {receives: questions, payload: {capture: what}, properties: {response_topic: {capture: where}}}
- answers: {publish: \"${captured.where}\", payload: \"${captured.what} not\"}
- asks: {receives: answers/7, payload: why not}";
    assert_verdict(&played(clients, steps), Verdict::Passed, "");
}

#[test]
fn user_properties_are_matched_by_name() {
    let clients = "{watch: {}, pub: {}}";
    let steps = |wanted: &str| {
        format!(
            "- watch: {{subscribe: t}}
- pub: {{publish: t, properties: {{user: {{colour: blue, \"a b\": \"\"}}}}}}
- watch: {{receives: t, properties: {{user: {wanted}}}, within: 100ms}}"
        )
    };
    let fits = steps("{colour: blue, \"a b\": \"\", shape: absent}");
    assert_verdict(&played(clients, &fits), Verdict::Passed, "");
    let other = steps("{colour: red}");
    assert_verdict(&played(clients, &other), Verdict::Failed, "user.colour red");
}

#[test]
fn error_is_any_code_that_says_no() {
    let clients = "{a: {raw: true}}";
    let refused = |line: &str| {
        format!("- a:\n    packets: |\n      > CONNECT clean client=a receive_maximum=0\n      < {line}\n")
    };
    assert_verdict(&played(clients, &refused("CONNACK error")), Verdict::Passed, "");
    let accepted = "- a:\n    packets: |\n      > CONNECT clean client=a\n      < CONNACK error\n";
    assert_verdict(&played(clients, accepted), Verdict::Failed, "CONNACK error / CONNACK 0");
}

#[test]
fn a_broker_that_answers_otherwise_is_skipped_where_a_line_says_so() {
    let clients = "{a: {raw: true}}";
    let about = |answer: &str| {
        format!(
            "- a:\n    packets: |\n      > CONNECT clean client=a\n      < {answer} | skip\n      < PINGRESP\n"
        )
    };
    let outcome = played(clients, &about("CONNACK 0 shared_available=0"));
    assert_verdict(&outcome, Verdict::Skipped, "shared_available is none, not 0");
    // It goes on where the broker is meant.
    let outcome = played(clients, &about("CONNACK 0 shared_available=0 | CONNACK 0"));
    assert_verdict(&outcome, Verdict::Failed, "PINGRESP");
}

#[test]
fn long_values_need_not_be_written_out() {
    let clients = "{a: {raw: true}}";
    let steps = "- a:
    packets: |
      > CONNECT clean client=a
      < CONNACK 0
      > SUBSCRIBE filter=size:65535 id=1
      < SUBACK 0
      > PUBLISH topic=size:65535 size:70000
      < PUBLISH topic=size:65535 size:70000
      > PUBLISH topic=size:65535 \"size:5\"
      < PUBLISH \"size:5\"";
    assert_verdict(&played(clients, steps), Verdict::Passed, "");
}

#[test]
fn user_properties_are_tested_by_their_names() {
    let steps = |wanted: &str| {
        format!(
            "- a: {{subscribe: t, qos: 1}}
- a: {{publish: t, payload: x, qos: 1, properties: {{user: {{colour: blue}}}}}}
- a: {{receives: t, properties: {{user: {{{wanted}}}}}}}"
        )
    };
    assert_verdict(&played("{a: {}}", &steps("colour: blue, size: absent")), Verdict::Passed, "");
    assert_verdict(&played("{a: {}}", &steps("colour: red")), Verdict::Failed, "user.colour red");
    assert_verdict(&played("{a: {}}", &steps("colour: absent")), Verdict::Failed, "user.colour");
}

#[test]
fn a_message_may_come_to_one_of_several_clients_and_to_one_alone() {
    let clients = "{a: {}, b: {}, pub: {}}";
    let steps = |filter: &str, expected: &str| {
        format!(
            "- a: {{subscribe: {filter}}}
- b: {{subscribe: {filter}}}
- repeat: {{times: 5, steps: [{{pub: {{publish: t, payload: x}}}}]}}
- a: {{receives: t, payload: {expected}, times: 5, or: b, within: 100ms}}"
        )
    };
    assert_verdict(&played(clients, &steps("$share/g/t", "x")), Verdict::Passed, "");
    let outcome = played(clients, &steps("$share/g/t", "y"));
    assert_verdict(&outcome, Verdict::Failed, "one of a, b receives 5 × a message on t, payload y");
    // Each of them gets each.
    assert_verdict(&played(clients, &steps("t", "x")), Verdict::Failed, "nobody asked for");
    assert_verdict(&played(clients, &steps("u", "x")), Verdict::Failed, "a: nothing; b: nothing");
}

#[test]
fn a_password_is_proved_packet_by_packet() {
    let clients = |password: &str| {
        format!(
            "{{eve: {{user: eve, password: {password}, raw: true}}}}
  broker: {{users: {{eve: {{password: pencil, hash: scram-sha-256}}}}}}"
        )
    };
    let steps = "- eve:
    packets: |
      > CONNECT clean client=eve method=SCRAM-SHA-256 data=${scram.first}
      < AUTH 0x18
      > AUTH 0x18 method=SCRAM-SHA-256 data=${scram.final}
      < CONNACK 0 data=${scram.server}";
    assert_verdict(&played(&clients("pencil"), steps), Verdict::Passed, "");
    assert_verdict(&played(&clients("crayon"), steps), Verdict::Failed, "CONNACK 0x87");
    let without = steps.replace("      < AUTH 0x18\n", "");
    assert_verdict(&played(&clients("pencil"), &without), Verdict::Failed, "no AUTH with a challenge came");
    let wrong = steps.replace("${scram.server}", "v=AAAA");
    assert_verdict(&played(&clients("pencil"), &wrong), Verdict::Failed, "CONNACK");
}

#[test]
fn websocket_frames_and_subprotocols_are_chosen() {
    let clients = "{page: {raw: true}, chat: {subprotocols: [chat]}, both: {subprotocols: [chat, mqtt]}}
  broker: {listeners: {ws: {protocol: websockets}}}";
    let steps = "- page:
    packets: |
      > CONNECT clean client=page
      < CONNACK 0
      > SUBSCRIBE t id=1
      < SUBACK 0
      > hex 30 05 00 01
      > hex 74 00 78
      < PUBLISH t \"x\"
      > text PUBLISH t \"y\"
      ! < close
- both: ping
- chat: {connect: {fails: refused}}";
    assert_verdict(&played(clients, steps), Verdict::Passed, "");
    let binary = steps.replace("> text PUBLISH", "> PUBLISH");
    assert_verdict(&played(clients, &binary), Verdict::Failed, "PUBLISH t \"y\"");
    assert_verdict(&played(clients, "- chat: connect"), Verdict::Failed, "HTTP 400");
}

#[test]
fn a_property_of_a_step_stands_in_for_that_of_the_client() {
    let clients = "{a: {client_id: a, clean: false, properties: {session_expiry: 60, user: {x: \"1\"}}}}";
    let steps = "- a: {connect: {properties: {session_expiry: 0, user: {y: \"2\"}}}}
- a: disconnect
- a: {connect: {session_present: false}}
- a: disconnect
- a: {connect: {session_present: true}}";
    assert_verdict(&played(clients, steps), Verdict::Passed, "");
}
