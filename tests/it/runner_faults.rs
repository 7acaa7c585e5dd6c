//! Tests of the tests: brokers that do wrong in one way must not pass, and what cannot be told must
//! be Errored. The faults are made by a proxy in front of our own broker.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mqttlab::broker::server::Medium;
use mqttlab::diagnostic::{Diagnostic, Source};
use mqttlab::mqtt::codec::{Decoder, Limits};
use mqttlab::mqtt::{Packet, ProtocolVersion};
use mqttlab::net::Endpoint;
use mqttlab::net::framed::{Framed, Received};
use mqttlab::record::{Event, EventKind, Outcome, Verdict};
use mqttlab::runner::{self, RunOptions, TargetChoice};
use mqttlab::scenario::{Case, LoadOptions, load};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::support::broker::{OPEN, folder, start_in};
use crate::support::no_files::NoFiles;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToBroker,
    ToClient,
}

/// What the proxy does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Pass,
    Swallow,
    Twice,
    /// Passes it on and closes this client's connection.
    Last,
    /// Closes this client's connection.
    Close,
    /// Closes all connections and refuses new ones.
    Die,
}

type Fault = Arc<dyn Fn(Way, &str, &Packet) -> Deed + Send + Sync>;

/// A broker with a fault, and the runtime that it lives in.
struct Faulty {
    address: SocketAddr,
    _runtime: Runtime,
}

fn faulty(conf: &str, fault: Fault) -> Faulty {
    let runtime = Runtime::new().expect("a runtime");
    let folder = folder(conf);
    let (listener, broker) = runtime.block_on(async {
        let broker = start_in(folder.path(), Medium::Sockets).await;
        (TcpListener::bind("127.0.0.1:0").await.expect("a port"), broker)
    });
    let address = listener.local_addr().expect("bound");
    runtime.spawn(async move {
        let _kept = folder;
        let backend = broker.addresses()[0];
        let (dead, death) = watch::channel(false);
        let dead = Arc::new(dead);
        loop {
            let mut alive = death.clone();
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((client, _)) = accepted else { return };
                    tokio::spawn(relay(client, backend, Arc::clone(&fault), Arc::clone(&dead), death.clone()));
                }
                _ = alive.wait_for(|dead| *dead) => return drop(broker),
            }
        }
    });
    Faulty { address, _runtime: runtime }
}

async fn relay(
    client: TcpStream,
    backend: SocketAddr,
    fault: Fault,
    dead: Arc<watch::Sender<bool>>,
    mut death: watch::Receiver<bool>,
) {
    let endpoint = Endpoint::Tcp { host: backend.ip().to_string(), port: backend.port() };
    let broker = endpoint.connect().await.expect("the broker listens");
    let mut client = Framed::new(Box::new(client), Decoder::server(Limits::default()));
    let mut broker = Framed::new(broker, Decoder::client(ProtocolVersion::V311, Limits::default()));
    let mut version = ProtocolVersion::V311;
    let mut user = String::new();
    loop {
        let (way, packet) = tokio::select! {
            received = client.recv() => (Way::ToBroker, received),
            received = broker.recv() => (Way::ToClient, received),
            _ = death.wait_for(|dead| *dead) => return,
        };
        let Received::Packet(packet, _) = packet else { return };
        if let Packet::Connect(connect) = &packet {
            version = connect.version;
            // Clients of steps log in with the account of the profile; here they count as nobody.
            let of_steps = ["pub-", "watch-"].iter().any(|name| connect.client_id.starts_with(name));
            let named = connect.username.as_ref().filter(|_| !of_steps);
            user = named.map(ToString::to_string).unwrap_or_default();
            *broker.decoder_mut() = Decoder::client(version, Limits::default());
        }
        let done = fault(way, &user, &packet);
        let times = match done {
            Deed::Pass | Deed::Last => 1,
            Deed::Swallow => 0,
            Deed::Twice => 2,
            Deed::Close => return,
            Deed::Die => {
                dead.send_replace(true);
                return;
            }
        };
        let to = if way == Way::ToBroker { &mut broker } else { &mut client };
        for _ in 0..times {
            to.push(&packet, version);
        }
        if to.flush().await.is_err() || done == Deed::Last {
            return;
        }
    }
}

fn cases(yaml: &str) -> Vec<Case> {
    let loaded = load(&Source::new("made.yaml", yaml), &NoFiles, &LoadOptions::default());
    let errors: Vec<&Diagnostic> = loaded.diagnostics.iter().filter(|one| one.is_error()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    loaded.cases
}

fn run(cases: &[Case], target: TargetChoice) -> Vec<Event> {
    let mut events = Vec::new();
    let options = RunOptions { target, ..RunOptions::default() };
    let complete = runner::run(cases, &options, &mut |event| events.push(event)).expect("a target");
    assert!(complete);
    events
}

/// Runs against a faulty broker with the accounts of the test's profile.
fn outcomes(yaml: &str, broker: &Faulty) -> Vec<Outcome> {
    let profile = tempfile::NamedTempFile::with_suffix(".json").expect("a file");
    let text =
        r#"{"name": "faulty 1.0", "accounts": {"boss": "x", "alice": "x", "bob": "x"}, "control": "boss"}"#;
    std::fs::write(profile.path(), text).expect("written");
    let url = format!("mqtt://{}", broker.address);
    let target = TargetChoice::External { url, profile: Some(profile.path().to_owned()) };
    finished(run(&cases(yaml), target))
}

fn finished(events: Vec<Event>) -> Vec<Outcome> {
    let outcomes = events.into_iter().filter_map(|event| match event.kind {
        EventKind::CaseFinished { outcome } => Some(outcome),
        _ => None,
    });
    outcomes.collect()
}

fn verdicts(outcomes: &[Outcome]) -> BTreeMap<Verdict, usize> {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(outcome.verdict).or_default() += 1;
    }
    counts
}

fn is_publish(packet: &Packet, topic: &str) -> bool {
    matches!(packet, Packet::Publish(publish) if publish.topic.as_str() == topic)
}

const ACL: &str = "user boss\ntopic readwrite #\nuser alice\ntopic readwrite a/#\nuser bob\ntopic read a/#\n";

/// Anybody may come in with a name; the ACL binds alice and bob.
fn conf() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let acl = folder.path().join("acl");
    std::fs::write(&acl, ACL).expect("written");
    let conf = format!("listener 0 127.0.0.1\nallow_anonymous true\nacl_file {}\n", acl.display());
    (folder, conf)
}

const TABLE: &str = r"
lab: 1
broker: {users: {alice: {password: x}, bob: {password: x}}}
scenarios:
- id: acl
  name: who may do what
  acl_table: |
    | Topic  | User  | Publish | Subscribe | Expectation |
    |--------|-------|---------|-----------|-------------|
    | a/1    | alice | X       | -         | allow       |
    | b/1    | alice | X       | -         | deny        |
    | a/1    | bob   | -       | X         | allow       |
    | b/1    | bob   | -       | X         | deny        |
    | a/+    | bob   | -       | X         | allow       |
    | a/2    | bob   | X       | -         | deny        |
";

const STEPS: &str = r"
lab: 1
clients: {pub: {}, watch: {}}
scenarios:
- id: quiet
  name: what was not subscribed does not arrive
  steps:
  - watch: {subscribe: a/1, qos: 1}
  - pub: {publish: a/2, payload: other, qos: 1}
  - watch: receives_nothing
  - pub: {publish: a/1, payload: mine, qos: 1}
  - watch: {receives: a/1, payload: mine}
";

#[test]
fn without_a_fault_all_passes() {
    let (_folder, conf) = conf();
    for (yaml, conf) in [(TABLE, conf.as_str()), (STEPS, OPEN)] {
        let found = outcomes(yaml, &faulty(conf, Arc::new(|_, _, _| Deed::Pass)));
        assert!(found.iter().all(|one| one.verdict == Verdict::Passed), "{found:#?}");
    }
}

#[test]
fn a_witness_that_sees_nothing_passes_nothing() {
    let (_folder, conf) = conf();
    // The calibration of the run still works, the messages of the rows get lost.
    let fault = |way, user: &str, packet: &Packet| {
        let lost = way == Way::ToClient
            && user == "boss"
            && (is_publish(packet, "a/1") || is_publish(packet, "b/1"));
        if lost { Deed::Swallow } else { Deed::Pass }
    };
    let found = outcomes(TABLE, &faulty(&conf, Arc::new(fault)));
    let about: Vec<_> = found.iter().filter(|one| one.case.title.contains("/1")).collect();
    assert_eq!(about.len(), 4);
    for outcome in about {
        // Row 3 is seen by bob himself: delivery needs no control.
        let row = outcome.case.id.row;
        let wanted = if row == Some(3) { Verdict::Passed } else { Verdict::Errored };
        assert_eq!(outcome.verdict, wanted, "{outcome:#?}");
    }
}

#[test]
fn a_subscriber_that_gets_nothing_fails_what_is_allowed() {
    let (_folder, conf) = conf();
    let fault = |way, user: &str, packet: &Packet| {
        let lost = way == Way::ToClient && user == "bob" && matches!(packet, Packet::Publish(_));
        if lost { Deed::Swallow } else { Deed::Pass }
    };
    let found = outcomes(TABLE, &faulty(&conf, Arc::new(fault)));
    let failed: Vec<_> =
        found.iter().filter(|one| one.verdict == Verdict::Failed).filter_map(|one| one.case.id.row).collect();
    assert_eq!(failed, [3, 5], "{found:#?}");
}

#[test]
fn a_broker_that_lets_through_what_is_forbidden_fails() {
    let found = outcomes(TABLE, &faulty(OPEN, Arc::new(|_, _, _| Deed::Pass)));
    let failed: Vec<_> =
        found.iter().filter(|one| one.verdict == Verdict::Failed).filter_map(|one| one.case.id.row).collect();
    assert_eq!(failed, [2, 4, 6], "{found:#?}");
    let why = found[1].why.as_ref().expect("failed");
    assert!(why.packets.iter().any(|line| line.starts_with("alice > PUBLISH b/1")), "{why:?}");
    assert!(why.packets.iter().any(|line| line.starts_with("witness < PUBLISH b/1")), "{why:?}");
}

#[test]
fn a_broker_that_closes_on_a_denied_publish_denies_that_row_alone() {
    let (_folder, conf) = conf();
    let fault = |way, user: &str, packet: &Packet| {
        let denied = way == Way::ToBroker && user != "boss" && is_publish(packet, "b/1");
        if denied { Deed::Close } else { Deed::Pass }
    };
    let found = outcomes(TABLE, &faulty(&conf, Arc::new(fault)));
    assert!(found.iter().all(|one| one.verdict == Verdict::Passed), "{found:#?}");
    assert_eq!(found[1].mechanism.as_deref(), Some("disconnect"));
}

#[test]
fn a_broker_that_dies_in_the_middle_passes_no_row_that_was_left() {
    // Bob's rows 3 and 5 overlap, so that rows 5 and 6 are asked after 1 to 4.
    for (who, errored) in [("alice", vec![1, 2, 3, 4, 5, 6]), ("bob", vec![5, 6])] {
        let (_folder, conf) = conf();
        let fault = move |way, user: &str, packet: &Packet| {
            let now = way == Way::ToBroker && user == who && matches!(packet, Packet::Publish(_));
            if now { Deed::Die } else { Deed::Pass }
        };
        let found = outcomes(TABLE, &faulty(&conf, Arc::new(fault)));
        let left: Vec<_> = found
            .iter()
            .filter(|one| one.verdict == Verdict::Errored)
            .filter_map(|one| one.case.id.row)
            .collect();
        assert_eq!(left, errored, "{found:#?}");
        assert_eq!(found.iter().filter(|one| one.verdict == Verdict::Passed).count(), 6 - errored.len());
    }
}

#[test]
fn a_broker_that_delivers_twice_fails_the_strict_inbox() {
    let fault = |way, user: &str, packet: &Packet| {
        let twice = way == Way::ToClient && user.is_empty() && is_publish(packet, "a/1");
        if twice { Deed::Twice } else { Deed::Pass }
    };
    let found = outcomes(STEPS, &faulty(OPEN, Arc::new(fault)));
    assert_eq!(verdicts(&found), BTreeMap::from([(Verdict::Failed, 1)]), "{found:#?}");
}

#[test]
fn a_broker_that_breaks_the_protocol_fails_what_would_pass() {
    let fault = |way, user: &str, packet: &Packet| {
        let twice = way == Way::ToClient && user.is_empty() && matches!(packet, Packet::PubAck(_));
        if twice { Deed::Twice } else { Deed::Pass }
    };
    let broker = faulty(OPEN, Arc::new(fault));
    for yaml in [STEPS.to_owned(), STEPS.replace("    clients", "    level: may\n    clients")] {
        let found = outcomes(&yaml, &broker);
        assert_eq!(verdicts(&found), BTreeMap::from([(Verdict::Failed, 1)]), "{found:#?}");
        let why = found[0].why.as_ref().expect("a reason");
        assert_eq!(
            why.actual,
            "PUBACK 1, but no PUBLISH with this identifier waits for it [MQTT-2.3.1-6] [MQTT-4.3.3-2]"
        );
        let breach = "breaks broker-ack-unasked";
        assert!(why.packets.last().is_some_and(|line| line.contains(breach)), "{why:#?}");
    }
}

#[test]
fn an_absence_without_its_control_is_not_proved() {
    let seen = AtomicUsize::new(0);
    // The calibration takes its 100 messages; after that the control's sentinels get lost.
    let fault = move |way, _: &str, packet: &Packet| {
        let Packet::Publish(publish) = packet else { return Deed::Pass };
        let sentinel = way == Way::ToClient && publish.topic.as_str().starts_with("mqttlab/fence/");
        if sentinel && seen.fetch_add(1, Ordering::Relaxed) >= 100 { Deed::Swallow } else { Deed::Pass }
    };
    let found = outcomes(STEPS, &faulty(OPEN, Arc::new(fault)));
    assert_eq!(verdicts(&found), BTreeMap::from([(Verdict::Errored, 1)]), "{found:#?}");
}

#[test]
fn an_acknowledgement_that_never_comes_fails() {
    let fault = |_, user: &str, packet: &Packet| {
        if user.is_empty() && matches!(packet, Packet::PubAck(_)) { Deed::Swallow } else { Deed::Pass }
    };
    let found = outcomes(STEPS, &faulty(OPEN, Arc::new(fault)));
    assert_eq!(verdicts(&found), BTreeMap::from([(Verdict::Failed, 1)]), "{found:#?}");
}

#[test]
fn an_address_without_a_broker_is_no_verdict() {
    let options = RunOptions {
        target: TargetChoice::External { url: "mqtt://127.0.0.1:1".into(), profile: None },
        ..RunOptions::default()
    };
    assert!(runner::run(&cases(STEPS), &options, &mut |_| {}).is_err());
}

#[test]
fn what_an_address_cannot_do_is_skipped_with_the_reason() {
    let broker = faulty(OPEN, Arc::new(|_, _, _| Deed::Pass));
    let yaml = STEPS.replace("  - watch: receives_nothing\n", "  - broker: restart\n");
    let found = outcomes(&yaml.replace("name: what", "requires: [restart]\n  name: what"), &broker);
    assert_eq!(verdicts(&found), BTreeMap::from([(Verdict::Skipped, 1)]), "{found:#?}");
    for settings in ["settings: {max_keepalive: 10}", "listeners: {plain: {settings: {max_qos: 1}}}"] {
        let yaml = format!("{STEPS}\nbroker: {{{settings}}}\n");
        let found = outcomes(&yaml, &broker);
        assert_eq!(verdicts(&found), BTreeMap::from([(Verdict::Skipped, 1)]), "{found:#?}");
        assert!(found[0].why.as_ref().is_some_and(|why| why.actual.contains("config")), "{found:#?}");
    }
    let strangers = TABLE.replace("alice", "mallory");
    let found = outcomes(&strangers, &broker);
    assert_eq!(verdicts(&found), BTreeMap::from([(Verdict::Skipped, 6)]), "{found:#?}");
    assert!(found[0].why.as_ref().is_some_and(|why| why.actual.contains("accounts")), "{found:#?}");
}

#[test]
fn no_password_or_key_gets_into_the_events_and_nothing_stays_behind() {
    let yaml = r##"
lab: 1
broker:
  users: {alice: {password: open-sesame-1}, bob: {}}
  listeners: {plain: {}, tls: {cert: good}}
pki: {lab-ca: {}, good: {ca: lab-ca, san: [localhost, 127.0.0.1]}}
scenarios:
- id: secret
  name: secrets stay secret
  clients: {alice: {user: alice}, bob: {user: bob, listener: tls, trust: lab-ca}}
  steps:
  - alice: {subscribe: "#"}
  - bob: {publish: x, payload: "${users.bob.password} ${certs.good.key}"}
  - alice: {receives: never, within: 0.2s}
"##;
    let events = run(&cases(yaml), TargetChoice::Bundled);
    let text = serde_json::to_string(&events).expect("plain data");
    assert!(text.contains("\"failed\"") && text.contains("***"), "{text}");
    assert!(!text.contains("open-sesame") && !text.contains("PRIVATE"), "{text}");
    let folder = text.split("/mqttlab-").nth(1).and_then(|rest| rest.split('/').next()).expect("a path");
    let left = std::env::temp_dir().join(format!("mqttlab-{folder}"));
    assert!(!left.exists(), "{}", left.display());
}

const RIGHTS: &str = r#"
lab: 1
broker:
  allow_anonymous: false
  users: {alice: {allow: {readwrite: ["a/#"]}}, bob: {allow: {read: ["a/#"]}}}
clients: {alice: {user: alice}, bob: {user: bob}}
scenarios:
"#;

#[test]
fn denied_means_that_nothing_arrives() {
    for (steps, verdict) in [
        ("alice: {publish: a/1, payload: x, qos: 1, expect: denied}", Verdict::Failed),
        ("alice: {publish: a/1, payload: x, expect: denied}", Verdict::Failed),
        ("bob: {publish: a/1, payload: x, qos: 1, expect: denied}", Verdict::Passed),
        ("bob: {publish: a/1, payload: x, expect: denied}", Verdict::Passed),
        ("bob: {subscribe: a/+, expect: denied}", Verdict::Failed),
        ("bob: {subscribe: [b/1, b/2], expect: denied}", Verdict::Passed),
        // Others see nothing of the proof.
        ("alice: {subscribe: \"#\"}\n  - bob: {subscribe: b/1, expect: denied}", Verdict::Passed),
    ] {
        let yaml = format!("{RIGHTS}- id: one\n  name: what is denied\n  steps:\n  - {steps}\n");
        let found = finished(run(&cases(&yaml), TargetChoice::Bundled));
        assert_eq!(verdicts(&found), BTreeMap::from([(verdict, 1)]), "{steps}: {found:#?}");
    }
}

#[test]
fn a_broker_that_died_has_not_closed_a_connection_rightly() {
    let fault = |way, user: &str, packet: &Packet| {
        let last = way == Way::ToBroker && user.is_empty() && is_publish(packet, "a/1");
        if last { Deed::Die } else { Deed::Pass }
    };
    let yaml = STEPS.split("  steps:").next().expect("a head").to_owned()
        + "  steps:\n  - pub: {publish: a/1, qos: 1, expect: closed}\n";
    let found = outcomes(&yaml, &faulty(OPEN, Arc::new(fault)));
    assert_eq!(verdicts(&found), BTreeMap::from([(Verdict::Errored, 1)]), "{found:#?}");
}

#[test]
fn users_with_the_same_client_identifier_are_told_apart() {
    let users = "{readwrite: [\"#\"]}";
    let mut yaml = format!(
        "lab: 1\nbroker:\n  allow_anonymous: false\n  users: {{a: {{allow: {users}}}, b: {{allow: {users}}}, \
         c: {{allow: {users}}}}}\nscenarios:\n- id: t\n  name: one identifier\n  acl_table: |\n    \
         | Topic | User | Client | Publish | Subscribe | Expectation |\n    |-|-|-|-|-|-|\n"
    );
    for row in 0..12 {
        let user = ["a", "b", "c"][row % 3];
        writeln!(yaml, "    | t/{row} | {user} | same | X | X | allow |").expect("a string takes it");
    }
    let found = finished(run(&cases(&yaml), TargetChoice::Bundled));
    assert_eq!(verdicts(&found), BTreeMap::from([(Verdict::Passed, 12)]), "{found:#?}");
}

#[test]
fn a_denied_filter_brings_not_even_what_is_allowed_by_itself() {
    let rows = |more: &str| {
        let table = "| Topic | User | Publish | Subscribe | Expectation |\n    |-|-|-|-|-|\n";
        format!("{RIGHTS}- id: t\n  name: filters\n  acl_table: |\n    {table}    {more}\n")
    };
    let alone = "| # | bob | - | X | deny |";
    let found = finished(run(&cases(&rows(alone)), TargetChoice::Bundled));
    assert_eq!(verdicts(&found), BTreeMap::from([(Verdict::Passed, 1)]), "{found:#?}");
    let both = format!("{alone}\n    | a/1 | bob | - | X | allow |");
    let found = finished(run(&cases(&rows(&both)), TargetChoice::Bundled));
    let verdicts: Vec<_> = found.iter().map(|one| one.verdict).collect();
    assert_eq!(verdicts, [Verdict::Failed, Verdict::Passed], "{found:#?}");
}

#[test]
fn a_row_says_which_packet_came_instead() {
    let yaml = format!(
        "{RIGHTS}- id: t\n  name: rows\n  matrix: {{protocol: ['5']}}\n  acl_table: |\n    \
         | Topic | User | Publish | Subscribe | QoS | Expectation |\n    |-|-|-|-|-|-|\n    \
         | a/1 | alice | X | - | 1 | deny |\n    | a/2 | bob | X | - | 1 | allow |\n    \
         | a/3 | bob | - | X | 0 | deny |\n    | b/4 | bob | - | X | 0 | allow |\n    \
         | a/5 | - | X | - | 0 | allow |\n    | b/6 | bob | X | - | 1 | deny (0x80) |\n    \
         | a/7 | alice | X | - | 1 | allow |\n"
    );
    let events = run(&cases(&yaml), TargetChoice::Bundled);
    let lines: Vec<String> = events.iter().filter_map(wire_line).collect();
    let mut came = Vec::new();
    for outcome in finished(events) {
        let why = outcome.why.unwrap_or_default();
        assert!(why.came.iter().all(|line| lines.contains(line) && why.packets.contains(line)), "{why:?}");
        let parts = why.came.iter().map(|line| line.split(' ').take(4).collect::<Vec<_>>().join(" "));
        came.push(parts.collect::<Vec<_>>().join(", "));
    }
    assert_eq!(
        came,
        [
            "witness < PUBLISH a/1",
            "bob < PUBACK id=1",
            "bob < PUBLISH a/3",
            "",
            "anonymous < CONNACK 0x87",
            "bob < PUBACK id=4",
            "",
        ]
    );
}

fn wire_line(event: &Event) -> Option<String> {
    match &event.kind {
        EventKind::Wire { wire, .. } => Some(wire.print()),
        _ => None,
    }
}

#[test]
fn a_broker_that_acknowledges_and_closes_has_closed() {
    let fault = |way, user: &str, packet: &Packet| {
        let answer = way == Way::ToClient && user.is_empty() && matches!(packet, Packet::PubAck(_));
        if answer { Deed::Last } else { Deed::Pass }
    };
    let yaml = STEPS.split("  steps:").next().expect("a head").to_owned()
        + "  steps:\n  - pub: {publish: a/1, qos: 1, expect: closed}\n  - pub: receives_nothing\n";
    let found = outcomes(&yaml, &faulty(OPEN, Arc::new(fault)));
    assert_eq!(verdicts(&found), BTreeMap::from([(Verdict::Passed, 1)]), "{found:#?}");
}

#[test]
fn a_broker_that_one_case_brings_down_is_not_judged_by_the_next() {
    let down = AtomicBool::new(false);
    let fault = move |_, _: &str, packet: &Packet| {
        if is_publish(packet, "a/2") {
            down.store(true, Ordering::Relaxed);
        }
        if down.load(Ordering::Relaxed) { Deed::Swallow } else { Deed::Pass }
    };
    let (start, scenario) = STEPS.split_once("- id: quiet").expect("a scenario");
    let after = scenario.replace("a/2", "a/3");
    let yaml = format!("{start}- id: first{scenario}- id: second{after}- id: third{after}");
    let found = outcomes(&yaml, &faulty(OPEN, Arc::new(fault)));
    let ends: Vec<_> = found.iter().map(|one| one.verdict).collect();
    assert_eq!(ends, [Verdict::Failed, Verdict::Errored, Verdict::Errored], "{found:#?}");
    assert!(found[2].why.as_ref().is_some_and(|why| why.expected.contains("answers")), "{found:#?}");
}
