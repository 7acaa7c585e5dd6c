//! Scenarios that play the broker's part: what peers do, who is judged at them, and what bridges of the
//! broker find there. What clients and bridges must do stands in `scenarios/conformance`.

use std::path::Path;

use mqttlab::broker::fault::FaultSpec;
use mqttlab::diagnostic::Source;
use mqttlab::record::{Event, EventKind, Outcome, Verdict, WireSide};
use mqttlab::runner::{self, Clock, RunOptions};
use mqttlab::scenario::{EngineKind, LoadOptions, Loaded, Subject, load};

use crate::support::scenario_files::Beside;

/// A client that is answered, and answers.
const CLIENT: &str = "  peers: [far]
  clients: {c: {peer: far}}
  steps:
  - far:
      plays: |
        < CONNECT
        > CONNACK
        < SUBSCRIBE a qos=1 id=$s
        > SUBACK id=$s 1
        > PUBLISH a \"x\" qos=1 id=7
        < PUBACK id=7
  - c: {subscribe: a, qos: 1}
  - c: {receives: a, payload: x}
  - far:
      plays: |
        < PUBLISH b \"y\" qos=1 id=$p
        > PUBACK id=$p
        < DISCONNECT
        < close
  - c: {publish: b, payload: y, qos: 1}
  - c: disconnect
";

/// A bridge that is cut off before its message is acknowledged.
const BRIDGE: &str = "  peers: [far]
  broker:
    bridges:
      up:
        peer: far
        settings: {topic: 't/# out 1', restart_timeout: 1, notifications: 'false', try_private: 'false'}
  clients: {c: {}}
  steps:
  - far:
      plays: |
        < CONNECT
        > CONNACK
  - far: done
  - c: {publish: t/1, payload: y, qos: 1}
  - far:
      plays: |
        < PUBLISH t/1 \"y\" qos=1 id=$p
        > close
        < CONNECT clean=0
        > CONNACK session_present=1
        < PUBLISH t/1 \"y\" qos=1 id=$p dup
        > PUBACK id=$p
";

fn loaded(body: &str) -> Loaded {
    let head = "lab: 1\nmatrix: {protocol: ['3.1.1', '5']}\nscenarios:\n- id: one\n";
    let source = Source::new("made.yaml", [head, body].concat());
    load(&source, &Beside(Path::new(".")), &LoadOptions::default())
}

/// All that happens, in both versions.
fn events(body: &str, options: &RunOptions) -> Vec<Event> {
    let loaded = loaded(body);
    assert_eq!(loaded.cases.len(), 2, "{:?}", loaded.diagnostics);
    let mut events = Vec::new();
    runner::run(&loaded.cases, options, &mut |event| events.push(event)).expect("the bundled broker");
    events
}

fn outcomes(body: &str, options: &RunOptions) -> Vec<Outcome> {
    let outcomes = events(body, options).into_iter().filter_map(|event| match event.kind {
        EventKind::CaseFinished { outcome } => Some(outcome),
        _ => None,
    });
    outcomes.collect()
}

/// In virtual time, which bridges do not know.
fn quick() -> RunOptions {
    RunOptions { clock: Clock::Virtual, jobs: 2, ..RunOptions::default() }
}

fn with_fault(name: &str) -> RunOptions {
    RunOptions { faults: vec![FaultSpec::named(name).expect("a fault")], ..quick() }
}

/// Both fail, and say so in these words.
fn assert_failed(body: &str, options: &RunOptions, words: &str) {
    for outcome in outcomes(body, options) {
        let why = outcome.why.as_ref().map(|why| format!("{} / {}", why.expected, why.actual));
        let why = why.unwrap_or_default();
        assert_eq!(outcome.verdict, Verdict::Failed, "{why}");
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn a_peer_is_a_broker_for_either_engine_and_clock() {
    let plain = RunOptions::default();
    let kinds = [
        plain.clone(),
        RunOptions { clock: Clock::Virtual, ..plain.clone() },
        RunOptions { engine: Some(EngineKind::Rumqttc), ..plain },
    ];
    for options in kinds {
        for outcome in outcomes(CLIENT, &options) {
            assert_eq!(outcome.verdict, Verdict::Passed, "{outcome:?}");
        }
    }
    assert!(loaded(CLIENT).cases.iter().all(|case| case.subject() == Subject::Client));
}

#[test]
fn a_peer_speaks_websocket_frame_by_frame() {
    let with = |plays: &str| {
        CLIENT
            .replace("peers: [far]", "peers: {far: {protocol: websockets}}")
            .replace("> PUBLISH a \"x\" qos=1 id=7", plays)
    };
    // One packet in two frames.
    let body = "        3.1.1: > hex 32 06 00 01 61
        3.1.1: > hex 00 07 78
        5: > hex 32 07 00 01 61
        5: > hex 00 07 00 78";
    for outcome in outcomes(&with(body.trim_start()), &quick()) {
        assert_eq!(outcome.verdict, Verdict::Passed, "{outcome:?}");
    }
    let text = "> text PUBLISH a \"x\" qos=1 id=7\n        < close\n        < CONNECT";
    assert_failed(&with(text), &quick(), "text");
    let plain = loaded(&CLIENT.replace("> PUBLISH a", "> text PUBLISH a"));
    assert!(plain.diagnostics.iter().any(|one| one.code == "L023"), "{:?}", plain.diagnostics);
}

#[test]
fn a_client_that_does_wrong_fails_at_the_line_of_the_peer() {
    assert_failed(CLIENT, &with_fault("client-puback-missing"), "far < PUBACK id=7");
    assert_failed(CLIENT, &with_fault("client-never-closes"), "far < close");
    // Checks watch clients at peers.
    assert_failed(CLIENT, &with_fault("client-dup-first"), "DUP");
    let lonely = CLIENT.replace("  - c: {publish: b, payload: y, qos: 1}\n", "");
    assert_failed(&lonely, &quick(), "far < PUBLISH");
    let unasked = CLIENT.replace("< PUBLISH b", "< PUBLISH c");
    assert_failed(&unasked, &quick(), "topic is b, not c");
}

#[test]
fn what_is_known_where_clients_are_tested_is_known_of_clients() {
    let known = |name: &str| {
        CLIENT.replacen("  peers:", &format!("  known: {{{name}: it is like that}}\n  peers:"), 1)
    };
    let fails = |engine| RunOptions { engine, clock: Clock::Real, ..with_fault("client-puback-missing") };
    let ends = [
        ("rumqttc", Some(EngineKind::Rumqttc), Verdict::Known),
        ("rumqttc", None, Verdict::Failed),
        ("mqttlab", None, Verdict::Known),
        ("bundled", None, Verdict::Failed),
    ];
    for (name, engine, verdict) in ends {
        for outcome in outcomes(&known(name), &fails(engine)) {
            assert_eq!(outcome.verdict, verdict, "{name} {engine:?}: {outcome:?}");
        }
    }
}

#[test]
fn what_a_peer_breaks_on_purpose_is_nobodys_fault() {
    let wrong = CLIENT.replace("> PUBACK id=$p", "> PUBACK id=$p\n        > PUBACK id=4711");
    for outcome in outcomes(&wrong, &RunOptions::default()) {
        assert_eq!((outcome.verdict, outcome.notes.len()), (Verdict::Passed, 0), "{outcome:?}");
    }
}

#[test]
fn an_exchange_with_a_peer_is_told_once_and_as_the_client_has_it() {
    let wires = events(CLIENT, &RunOptions::default()).into_iter().filter_map(|event| match event.kind {
        EventKind::Wire { wire, .. } => Some(wire),
        _ => None,
    });
    let wires: Vec<_> = wires.collect();
    assert!(wires.iter().all(|wire| wire.client == "c"), "{wires:#?}");
    let connects =
        wires.iter().filter(|wire| wire.side == WireSide::Sent && wire.line.starts_with("CONNECT"));
    assert_eq!(connects.count(), 2, "one each");
}

#[test]
fn a_bridge_of_the_broker_is_judged_as_a_client() {
    for outcome in outcomes(BRIDGE, &RunOptions::default()) {
        assert_eq!(outcome.verdict, Verdict::Passed, "{outcome:?}");
    }
    assert_failed(BRIDGE, &with_fault("client-dup-missing"), "far < PUBLISH");
    assert_failed(BRIDGE, &with_fault("client-clean-always"), "far < CONNECT");
    assert!(loaded(BRIDGE).cases.iter().all(|case| case.subject() == Subject::Bridge));
}

#[test]
fn what_makes_no_sense_with_peers_is_an_error() {
    let errors = [
        (CLIENT.replace("{peer: far}", "{peer: fra}"), "L009", "there is no peer `fra`"),
        (CLIENT.replace("{peer: far}", "{peer: far, raw: true}"), "L023", "a client of a peer has no `raw`"),
        (CLIENT.replace("clients: {c:", "clients: {far: {}, c:"), "L024", "is the name of a peer already"),
        (CLIENT.replace("peers: [far]", "peers: [far, broker]"), "L024", "cannot name a peer"),
        (CLIENT.replace("- c: disconnect", "- c: receives_nothing"), "L023", "nothing shows that"),
        (CLIENT.replace("subscribe: a, qos: 1}", "subscribe: a, qos: 1, expect: sent}"), "L005", "cannot be"),
        (CLIENT.replace("- c: disconnect", "- far: connect"), "L008", "not something that a peer does"),
        (CLIENT.replace("- c: disconnect", "- c: {plays: x}"), "L008", "not something that a client does"),
        (CLIENT.replace("id=7\n        < PUBACK id=7", "id=$q"), "L010", "which number `$q` is"),
        (BRIDGE.replace("        peer: far\n", ""), "L006", "a bridge needs the key `peer`"),
        (BRIDGE.replace("      up:", "      up there:"), "L024", "is one word"),
    ];
    for (text, code, words) in errors {
        let loaded = loaded(&text);
        let told: Vec<_> = loaded.diagnostics.iter().map(|one| (one.code, format!("{one:?}"))).collect();
        assert!(told.iter().any(|(known, all)| *known == code && all.contains(words)), "{code}: {told:#?}");
    }
    let unused = loaded(&CLIENT.replace("peers: [far]", "peers: [far, near]"));
    assert!(unused.diagnostics.iter().any(|one| one.message.contains("nothing uses the peer `near`")));
}
