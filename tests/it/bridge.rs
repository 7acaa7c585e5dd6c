//! Bridges between two brokers: ours and ours, and ours and Debian's mosquitto in either role. Topics
//! with prefixes each way, every quality of service, retained messages, notifications, and what is
//! published while the other broker is away. What a wrong broker does is in `bridge_hostile`.

use std::time::Duration;

use mqttlab::broker::config::{
    BridgeConfig, BridgeDirection, BridgeRestart, BridgeStart, BridgeTls, BridgeTopic,
};
use mqttlab::broker::server::{Broker, Medium};
use mqttlab::client::Client;
use mqttlab::mqtt::packet::Publish;
use mqttlab::mqtt::{ProtocolVersion, QoS};
use mqttlab::net::Endpoint;

use crate::support::bridge::{STATE, bridge, reload, start_bridged, topic, until_state, until_state_of};
use crate::support::broker::{OPEN, connect, next_message, publish, start, subscribe};
use crate::support::mosquitto::{mosquitto, mqttlab};
use crate::support::tls::{authority, tls_folder};

use BridgeDirection::{Both, In, Out};
use ProtocolVersion::{V5, V31, V311};
use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};

fn port(broker: &Broker) -> u16 {
    broker.addresses()[0].port()
}

fn at(port: u16) -> Endpoint {
    Endpoint::Tcp { host: "127.0.0.1".to_owned(), port }
}

/// One line of each direction, with prefixes.
fn lines(qos: QoS) -> Vec<BridgeTopic> {
    vec![
        topic("#", Out, qos, "up/", "site/up/"),
        topic("#", In, qos, "down/", "site/down/"),
        topic("both/#", Both, qos, "", "site/"),
        topic("", Both, qos, "one/local", "one/remote"),
    ]
}

fn retained(message: Publish) -> Publish {
    Publish { retain: true, ..message }
}

/// A subscriber to everything that is not the broker's.
async fn everything(endpoint: &Endpoint, version: ProtocolVersion, id: &str) -> Client {
    let mut client = connect(endpoint, version, id).await;
    client.subscribe(subscribe("#", ExactlyOnce)).await.expect("granted");
    client
}

/// What comes, as `topic payload qos`, up to and without the message `end`.
async fn until_end(client: &mut Client) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let message = next_message(client).await;
        if message.payload == "end" {
            return found;
        }
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        found.push(format!("{} {payload} {}", message.topic, message.qos));
    }
}

/// Messages cross as `lines` says, and nothing comes back. A bridge is up already.
async fn crosses(near: &Endpoint, far: &Endpoint, qos: QoS) {
    let mut there = everything(far, V5, "there").await;
    let mut here = everything(near, V311, "here").await;
    for (name, payload) in
        [("up/a", "1"), ("both/a", "2"), ("one/local", "3"), ("down/a", "stays"), ("up/x", "end")]
    {
        here.publish(publish(name, payload, qos)).await.expect("acknowledged");
    }
    let wanted = ["site/up/a 1", "site/both/a 2", "one/remote 3"].map(|text| format!("{text} {qos}"));
    assert_eq!(until_end(&mut there).await, wanted);
    let own = ["up/a 1", "both/a 2", "one/local 3", "down/a stays"].map(|text| format!("{text} {qos}"));
    assert_eq!(until_end(&mut here).await, own);
    for (name, payload) in [
        ("site/down/b", "4"),
        ("site/both/b", "5"),
        ("one/remote", "6"),
        ("site/up/b", "stays"),
        ("site/down/x", "end"),
    ] {
        there.publish(publish(name, payload, qos)).await.expect("acknowledged");
    }
    let wanted = ["down/b 4", "both/b 5", "one/local 6"].map(|text| format!("{text} {qos}"));
    assert_eq!(until_end(&mut here).await, wanted);
    let own = ["site/down/b 4", "site/both/b 5", "one/remote 6", "site/up/b stays"];
    assert_eq!(until_end(&mut there).await, own.map(|text| format!("{text} {qos}")));
}

#[tokio::test]
async fn topics_cross_between_two_of_ours_at_every_quality_and_revision() {
    for version in [V31, V311, V5] {
        for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
            let far = start(Medium::Sockets).await;
            let config = BridgeConfig { version, ..bridge(port(&far), lines(qos)) };
            let (near, _log) = start_bridged(OPEN, vec![config]).await;
            until_state(&near, "1").await;
            crosses(&near.endpoint(0), &far.endpoint(0), qos).await;
        }
    }
}

/// mosquitto with an open listener. `None` where it is not installed.
fn open_mosquitto(port: &str) -> Option<crate::support::mosquitto::Running> {
    let conf = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
    Some(mosquitto(&conf, &[])?.unwrap_or_else(|refused| panic!("{}", refused.log)))
}

#[tokio::test]
async fn topics_cross_to_mosquitto_at_every_quality_and_revision() {
    for version in [V31, V311, V5] {
        for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
            let Some(far) = open_mosquitto("{port}") else { return };
            let config = BridgeConfig { version, ..bridge(far.port, lines(qos)) };
            let (near, _log) = start_bridged(OPEN, vec![config]).await;
            until_state(&near, "1").await;
            crosses(&near.endpoint(0), &at(far.port), qos).await;
        }
    }
}

/// The same bridges in the words of mosquitto.conf, to a broker of ours.
fn conf(far: u16, version: &str, qos: QoS, more: &str) -> String {
    format!(
        "listener {{port}} 127.0.0.1\nallow_anonymous true\nconnection b1\n\
         address 127.0.0.1:{far}\nremote_clientid far\nlocal_clientid near\n\
         bridge_protocol_version {version}\ntopic # out {qos} up/ site/up/\n\
         topic # in {qos} down/ site/down/\ntopic both/# both {qos} \"\" site/\n\
         topic \"\" both {qos} one/local one/remote\n{more}"
    )
}

#[tokio::test]
async fn topics_cross_from_a_file_of_mosquittos_whoever_reads_it() {
    for version in ["mqttv31", "mqttv311", "mqttv50"] {
        for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
            for program in [|conf: &str| mosquitto(conf, &[]), |conf: &str| Some(mqttlab(conf, &[]))] {
                let (far, log) = start_bridged(OPEN, Vec::new()).await;
                let Some(near) = program(&conf(port(&far), version, qos, "")) else { continue };
                let near = near.unwrap_or_else(|refused| panic!("{}", refused.log));
                log.wait_for("Sending SUBACK to far", 3).await;
                crosses(&at(near.port), &far.endpoint(0), qos).await;
            }
        }
    }
}

/// A folder with certificates for these names, of an authority of its own and of another one's.
fn certificates(names: &[&str]) -> tempfile::TempDir {
    let folder = tls_folder(&authority(), names);
    std::fs::write(folder.path().join("other.crt"), authority().certificate_pem()).expect("written");
    std::fs::write(folder.path().join("empty.crt"), "").expect("written");
    folder
}

#[tokio::test]
async fn topics_cross_over_tls_in_both_roles() {
    let folder = certificates(&["127.0.0.1"]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let server = format!("certfile {}\nkeyfile {}\n", path("server.crt"), path("server.key"));
    // A process as the other broker: mosquitto, or ours.
    let other = format!(
        "per_listener_settings false\nallow_anonymous true\nlistener {{port}} 127.0.0.1\ncafile {}\n{server}",
        path("ca.crt")
    );
    for program in [|conf: &str| mosquitto(conf, &[]), |conf: &str| Some(mqttlab(conf, &[]))] {
        let Some(far) = program(&other) else { continue };
        let far = far.unwrap_or_else(|refused| panic!("{}", refused.log));
        let tls = BridgeTls { cafile: Some(path("ca.crt").into()), ..BridgeTls::default() };
        let config = BridgeConfig { tls: Some(tls), ..bridge(far.port, lines(AtLeastOnce)) };
        let (near, _log) = start_bridged(OPEN, vec![config]).await;
        until_state(&near, "1").await;
        let mut here = connect(&near.endpoint(0), V311, "here").await;
        here.subscribe(subscribe("down/#", AtLeastOnce)).await.expect("granted");
        let message = retained(publish("up/a", "x", AtLeastOnce));
        here.publish(message).await.expect("taken");
        // Over there it is turned about by a second bridge.
        let back = vec![topic("#", In, AtLeastOnce, "down/", "site/up/")];
        let tls = BridgeTls { cafile: Some(path("ca.crt").into()), ..BridgeTls::default() };
        let names = (Some("far2".to_owned()), Some("near2".to_owned()));
        let second = BridgeConfig {
            name: "b2".to_owned(),
            remote_client_id: names.0,
            local_client_id: names.1,
            tls: Some(tls),
            ..bridge(far.port, back)
        };
        reload(&near, OPEN, vec![second]);
        assert_eq!(next_message(&mut here).await.payload, "x");
    }
    // A process as the one with the bridge.
    for program in [|conf: &str| mosquitto(conf, &[]), |conf: &str| Some(mqttlab(conf, &[]))] {
        let conf_far = format!("{OPEN}listener 0 127.0.0.1\n{server}");
        let (far, log) = start_bridged(&conf_far, Vec::new()).await;
        let more = format!("bridge_cafile {}\n", path("ca.crt"));
        let encrypted = far.addresses()[1].port();
        let Some(near) = program(&conf(encrypted, "mqttv311", ExactlyOnce, &more)) else { continue };
        let near = near.unwrap_or_else(|refused| panic!("{}", refused.log));
        log.wait_for("Sending SUBACK to far", 3).await;
        crosses(&at(near.port), &far.endpoint(0), ExactlyOnce).await;
    }
}

#[tokio::test]
async fn a_broker_that_is_not_who_it_should_be_gets_nothing() {
    let folder = certificates(&["somewhere.else"]);
    let path = |name: &str| folder.path().join(name);
    let conf = std::fs::read_to_string(path("mosquitto.conf")).expect("there");
    let (far, far_log) = start_bridged(&conf, Vec::new()).await;
    let encrypted = far.addresses()[1].port();
    let with = |tls: BridgeTls| BridgeConfig { tls: Some(tls), ..bridge(encrypted, lines(AtLeastOnce)) };
    let ca = |name: &str| BridgeTls { cafile: Some(path(name)), ..BridgeTls::default() };
    let wrong = [
        // Another name, another authority with any name, and none at all.
        ca("ca.crt"),
        BridgeTls { insecure: true, ..ca("other.crt") },
        BridgeTls { insecure: true, ..ca("empty.crt") },
        BridgeTls { insecure: true, ..ca("missing.crt") },
        BridgeTls { insecure: true, ..BridgeTls::default() },
    ];
    for tls in wrong {
        let (near, log) = start_bridged(OPEN, vec![with(tls.clone())]).await;
        // The first time, and each time after it.
        log.wait_for("Error creating bridge: ", 3).await;
        near.stop().await;
    }
    assert!(!far_log.lines().iter().any(|line| line.contains("as far")));
    let (near, _log) = start_bridged(OPEN, vec![with(BridgeTls { insecure: true, ..ca("ca.crt") })]).await;
    until_state(&near, "1").await;
}

#[tokio::test]
async fn what_is_retained_stays_retained_on_the_other_side_before_and_after_the_connection() {
    let remotes = [Some(open_mosquitto("{port}")), None];
    for mosquitto in remotes {
        for version in [V311, V5] {
            let ours = start(Medium::Sockets).await;
            let far = match &mosquitto {
                Some(Some(running)) => at(running.port),
                Some(None) => continue,
                None => ours.endpoint(0),
            };
            let Endpoint::Tcp { port: far_port, .. } = far else { panic!("{far}") };
            let mut there = connect(&far, V311, "there").await;
            let old = format!("site/both/old {version}");
            there.publish(retained(publish(&old, "there", AtLeastOnce))).await.expect("taken");
            let (near, _log) = start_bridged(OPEN, Vec::new()).await;
            let mut here = connect(&near.endpoint(0), V5, "here").await;
            let kept = format!("up/kept {version}");
            here.publish(retained(publish(&kept, "here", AtLeastOnce))).await.expect("taken");
            let config = BridgeConfig { version, ..bridge(far_port, lines(AtLeastOnce)) };
            reload(&near, OPEN, vec![config.clone()]);
            until_state(&near, "1").await;
            let live = format!("up/live {version}");
            here.publish(retained(publish(&live, "later", AtLeastOnce))).await.expect("taken");
            there.subscribe(subscribe(&format!("site/{live}"), AtMostOnce)).await.expect("granted");
            assert_eq!(next_message(&mut there).await.payload, "later");
            // What is retained has crossed now, so new subscribers find it there.
            let mut new = connect(&far, V311, "new").await;
            for name in [&kept, &live] {
                new.subscribe(subscribe(&format!("site/{name}"), AtMostOnce)).await.expect("granted");
                assert!(next_message(&mut new).await.retain, "{name} to {far}");
            }
            let mut new = connect(&near.endpoint(0), V311, "new").await;
            new.subscribe(subscribe(&format!("both/old {version}"), AtMostOnce)).await.expect("granted");
            assert!(next_message(&mut new).await.retain, "from {far}");
            // `bridge_outgoing_retain false` takes the flag away.
            let plain = BridgeConfig { outgoing_retain: false, reload_at_once: true, ..config };
            reload(&near, OPEN, vec![plain]);
            let flat = format!("up/flat {version}");
            there.subscribe(subscribe(&format!("site/{flat}"), AtMostOnce)).await.expect("granted");
            here.publish(retained(publish(&flat, "flat", AtLeastOnce))).await.expect("taken");
            while next_message(&mut there).await.payload != "flat" {}
            let mut new = connect(&far, V311, "new").await;
            for name in [&flat, &live] {
                new.subscribe(subscribe(&format!("site/{name}"), AtMostOnce)).await.expect("granted");
            }
            assert_eq!(next_message(&mut new).await.payload, "later", "{flat} is not retained");
            near.stop().await;
        }
    }
}

/// A bridge that tries again only when it is told to.
fn patient(config: BridgeConfig) -> BridgeConfig {
    let restart = BridgeRestart::Constant(Duration::from_hours(1));
    BridgeConfig { restart, reload_at_once: true, ..config }
}

/// Orders a patient bridge to try again now.
fn try_again(near: &Broker, config: &BridgeConfig) {
    let keep_alive = config.keep_alive + Duration::from_secs(1);
    reload(near, OPEN, vec![BridgeConfig { keep_alive, ..config.clone() }]);
}

async fn queue_while_away(near: &Broker) -> Vec<String> {
    let mut here = connect(&near.endpoint(0), V311, "here").await;
    let mut wanted = Vec::new();
    for number in 0..50 {
        let qos = if number % 2 == 0 { AtLeastOnce } else { ExactlyOnce };
        here.publish(publish(&format!("up/{}", number % 7), format!("{number}"), qos)).await.expect("taken");
        wanted.push(format!("site/up/{} {number} {qos}", number % 7));
    }
    here.publish(publish("up/x", "end", ExactlyOnce)).await.expect("taken");
    wanted
}

#[tokio::test]
async fn what_is_published_while_mosquitto_is_away_arrives_once_and_in_order() {
    for version in [V311, V5] {
        let Some(far) = open_mosquitto("{port}") else { return };
        let there = far.port;
        let config = patient(BridgeConfig { version, ..bridge(there, lines(ExactlyOnce)) });
        let (near, _log) = start_bridged(OPEN, vec![config.clone()]).await;
        until_state(&near, "1").await;
        drop(far);
        until_state(&near, "0").await;
        let wanted = queue_while_away(&near).await;
        let Some(_far) = open_mosquitto(&there.to_string()) else { return };
        let mut watch = everything(&at(there), V311, "there").await;
        try_again(&near, &config);
        let found = until_end(&mut watch).await;
        // mosquitto delivers QoS 2 when it is released, later than QoS 1 that came behind it.
        for qos in [AtLeastOnce, ExactlyOnce] {
            let of = |list: &[String]| -> Vec<String> {
                list.iter().filter(|line| line.ends_with(&format!(" {qos}"))).cloned().collect()
            };
            assert_eq!(of(&found), of(&wanted));
        }
    }
}

#[tokio::test]
async fn what_is_published_while_one_of_ours_is_away_arrives_once_and_in_order() {
    for version in [V31, V311, V5] {
        let far = start(Medium::Sockets).await;
        let there = port(&far);
        let config = patient(BridgeConfig { version, ..bridge(there, lines(ExactlyOnce)) });
        let (near, _log) = start_bridged(OPEN, vec![config.clone()]).await;
        until_state(&near, "1").await;
        far.kill().await;
        until_state(&near, "0").await;
        let wanted = queue_while_away(&near).await;
        let conf = format!("listener {there} 127.0.0.1\nallow_anonymous true\n");
        let (far, _log) = start_bridged(&conf, Vec::new()).await;
        let mut watch = everything(&far.endpoint(0), V311, "there").await;
        try_again(&near, &config);
        assert_eq!(until_end(&mut watch).await, wanted);
        near.kill().await;
    }
}

#[tokio::test]
async fn what_comes_in_while_the_bridge_is_away_waits_at_the_other_broker() {
    // In 5.0 who has lost its session must not go on with the one that the other broker has kept.
    for version in [V311, V5] {
        let folder = tempfile::tempdir().expect("a folder");
        let keeps = format!("{OPEN}persistence true\npersistence_location {}/\n", folder.path().display());
        let conf = if version == V5 { keeps.as_str() } else { OPEN };
        let far = start(Medium::Sockets).await;
        let config = BridgeConfig { version, ..bridge(port(&far), lines(ExactlyOnce)) };
        let (near, _log) = start_bridged(conf, vec![config.clone()]).await;
        until_state(&near, "1").await;
        near.stop().await;
        let mut there = connect(&far.endpoint(0), V311, "there").await;
        until_state_of(&mut there, "0").await;
        let names = (0..50).map(|number| format!("{}", number % 5)).collect::<Vec<_>>();
        for (number, name) in names.iter().enumerate() {
            let qos = if number % 2 == 0 { AtLeastOnce } else { ExactlyOnce };
            let message = publish(&format!("site/down/{name}"), number.to_string(), qos);
            there.publish(message).await.expect("taken");
        }
        there.publish(publish("site/down/x", "end", ExactlyOnce)).await.expect("taken");
        let (near, _log) = start_bridged(conf, Vec::new()).await;
        let mut here = everything(&near.endpoint(0), V311, "here").await;
        reload(&near, conf, vec![config]);
        let found = until_end(&mut here).await;
        let wanted: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(number, name)| format!("down/{name} {number} {}", 1 + number % 2))
            .collect();
        assert_eq!(found, wanted);
    }
}

#[tokio::test]
async fn both_brokers_are_told_whether_the_bridge_is_up() {
    let far = start(Medium::Sockets).await;
    let mut there = connect(&far.endpoint(0), V311, "there").await;
    let config = bridge(port(&far), lines(AtMostOnce));
    let (near, log) = start_bridged(OPEN, vec![config.clone()]).await;
    until_state_of(&mut there, "1").await;
    until_state(&near, "1").await;
    let mut new = connect(&far.endpoint(0), V311, "new").await;
    new.subscribe(subscribe(STATE, AtMostOnce)).await.expect("granted");
    assert!(next_message(&mut new).await.retain);
    let wanted = [
        "Bridge near doing local SUBSCRIBE on topic up/#".to_owned(),
        format!("Connecting bridge (step 1) b1 (127.0.0.1:{})", port(&far)),
        "Bridge far sending CONNECT".to_owned(),
        "Received CONNACK on connection near.".to_owned(),
    ];
    let lines_so_far = log.lines();
    let mut lines_left = lines_so_far.iter();
    for text in &wanted {
        assert!(lines_left.any(|line| line == text), "no `{text}` in its turn in {lines_so_far:#?}");
    }
    // Killed: the will says it.
    near.kill().await;
    until_state_of(&mut there, "0").await;
    // Told to nobody there, and elsewhere here.
    let quiet = BridgeConfig {
        notifications: mqttlab::broker::config::BridgeNotifications::Local,
        notification_topic: Some("bridges/b1".to_owned()),
        ..config
    };
    let (near, log) = start_bridged(OPEN, vec![quiet]).await;
    let mut here = connect(&near.endpoint(0), V311, "here").await;
    here.subscribe(subscribe("bridges/#", AtMostOnce)).await.expect("granted");
    while next_message(&mut here).await.payload != "1" {}
    near.stop().await;
    assert!(log.lines().iter().any(|line| line.starts_with("Client near [")), "{:#?}", log.lines());
    let mut new = connect(&far.endpoint(0), V311, "new").await;
    new.subscribe(subscribe(STATE, AtMostOnce)).await.expect("granted");
    assert_eq!(next_message(&mut new).await.payload, "0");
}

#[tokio::test]
async fn nobody_comes_in_under_the_name_of_a_bridge_and_its_rights_are_its_own() {
    let far = start(Medium::Sockets).await;
    let folder = tempfile::tempdir().expect("a folder");
    let acl = folder.path().join("acl");
    std::fs::write(&acl, "topic readwrite up/#\ntopic read $SYS/#\n").expect("written");
    let conf = format!("{OPEN}acl_file {}\nmax_keepalive 60\nclientid_prefixes c\n", acl.display());
    let (near, _log) = start_bridged(&conf, vec![bridge(port(&far), lines(AtLeastOnce))]).await;
    let mut here = connect(&near.endpoint(0), V311, "c-here").await;
    until_state_of(&mut here, "1").await;
    // The ACL lets no client write there; the bridge does.
    let mut there = connect(&far.endpoint(0), V311, "there").await;
    there.publish(retained(publish("site/down/up", "in", AtLeastOnce))).await.expect("taken");
    there.subscribe(subscribe("site/up/#", AtLeastOnce)).await.expect("granted");
    here.publish(publish("up/a", "out", AtLeastOnce)).await.expect("taken");
    assert_eq!(next_message(&mut there).await.payload, "out");
    let thief = crate::support::broker::options(V5, "near");
    let refused = Client::connect(&near.endpoint(0), &thief, mqttlab::client::Session::default(), None).await;
    assert!(refused.is_err(), "{refused:?}");
    here.publish(publish("up/a", "still", AtLeastOnce)).await.expect("taken");
    assert_eq!(next_message(&mut there).await.payload, "still");
}

#[tokio::test]
async fn a_lazy_bridge_connects_when_enough_waits_and_ends_when_it_has_been_idle() {
    let (far, far_log) = start_bridged(OPEN, Vec::new()).await;
    let start = BridgeStart::Lazy { threshold: 3, idle: Duration::from_millis(200) };
    let config = BridgeConfig { start, ..bridge(port(&far), lines(AtLeastOnce)) };
    let (near, log) = start_bridged(OPEN, vec![config]).await;
    log.wait_for("doing local SUBSCRIBE", 3).await;
    let mut here = connect(&near.endpoint(0), V311, "here").await;
    let mut there = everything(&far.endpoint(0), V311, "there").await;
    for (round, connected) in [(1, "1"), (2, "2")] {
        // Those of QoS 0 wait too: they may be all that it ever connects for.
        for (payload, qos) in [("a", AtMostOnce), ("b", AtLeastOnce), (connected, AtMostOnce)] {
            here.publish(publish("up/a", payload, qos)).await.expect("taken");
        }
        for payload in ["a", "b", connected] {
            assert_eq!(next_message(&mut there).await.payload, payload);
        }
        far_log.wait_for("Received DISCONNECT from far", round).await;
    }
    let connects = log.lines().iter().filter(|line| line.starts_with("Connecting bridge (step 1)")).count();
    assert_eq!(connects, 2);
}

#[tokio::test]
async fn other_addresses_are_tried_in_turn() {
    let (far, far_log) = start_bridged(OPEN, Vec::new()).await;
    // Bound, so that nobody else has the port, and not listening.
    let reserved = tokio::net::TcpSocket::new_v4().expect("a socket");
    reserved.set_reuseaddr(true).expect("can be set");
    reserved.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let nobody = reserved.local_addr().expect("bound").port();
    let mut config = bridge(nobody, lines(AtLeastOnce));
    config.addresses.push(("127.0.0.1".to_owned(), port(&far)));
    let (near, log) = start_bridged(OPEN, vec![config]).await;
    until_state(&near, "1").await;
    let lines_so_far = log.lines();
    assert!(lines_so_far.iter().any(|line| line.starts_with("Error creating bridge: ")), "{lines_so_far:#?}");
    assert!(
        far_log.lines().iter().any(|line| line.contains("New bridge connected") && line.contains("as far"))
    );
    // The first one is the main one: as soon as it is there, it is gone back to.
    let conf = format!("listener {nobody} 127.0.0.1\nallow_anonymous true\n");
    let (_main, main_log) = start_bridged(&conf, Vec::new()).await;
    main_log.wait_for("Sending SUBACK to far", 3).await;
    far_log.wait_for("Received DISCONNECT from far", 1).await;
}

#[tokio::test]
async fn addresses_that_are_equal_take_turns() {
    let (first, first_log) = start_bridged(OPEN, Vec::new()).await;
    let (second, second_log) = start_bridged(OPEN, Vec::new()).await;
    let mut config = bridge(port(&first), lines(AtLeastOnce));
    config.addresses.push(("127.0.0.1".to_owned(), port(&second)));
    config.round_robin = true;
    let (_near, _log) = start_bridged(OPEN, vec![config]).await;
    let connected = "Sending CONNACK to far";
    first_log.wait_for("Sending SUBACK to far", 3).await;
    // Somebody takes the bridge's session over: its broker is alive, and the other one has its turn.
    let _thief = connect(&at(port(&first)), V311, "far").await;
    second_log.wait_for("Sending SUBACK to far", 3).await;
    let times = |lines: Vec<String>| lines.iter().filter(|line| line.contains(connected)).count();
    assert_eq!((times(first_log.lines()), times(second_log.lines())), (2, 1), "the bridge and the thief");
    let _thief = connect(&at(port(&second)), V311, "far").await;
    first_log.wait_for(connected, 3).await;
}

#[tokio::test]
async fn a_reload_adds_changes_and_removes_bridges() {
    let (far, far_log) = start_bridged(OPEN, Vec::new()).await;
    let (near, log) = start_bridged(OPEN, Vec::new()).await;
    let config = bridge(port(&far), lines(AtLeastOnce));
    reload(&near, OPEN, vec![config.clone()]);
    until_state(&near, "1").await;
    // Nothing changed: nothing happens. What changed may wait for the next connection.
    reload(&near, OPEN, vec![config.clone()]);
    let other = vec![topic("new/#", Out, AtLeastOnce, "", "")];
    reload(&near, OPEN, vec![BridgeConfig { topics: other.clone(), ..config.clone() }]);
    let mut here = connect(&near.endpoint(0), V311, "here").await;
    let mut there = everything(&far.endpoint(0), V311, "there").await;
    here.publish(publish("up/a", "old", AtLeastOnce)).await.expect("taken");
    assert_eq!(next_message(&mut there).await.payload, "old");
    assert_eq!(far_log.lines().iter().filter(|line| line.contains("as far")).count(), 1);
    // Or not.
    reload(&near, OPEN, vec![BridgeConfig { topics: other, reload_at_once: true, ..config }]);
    far_log.wait_for("Sending UNSUBACK to far", 2).await;
    until_state(&near, "1").await;
    here.publish(publish("up/a", "not any more", AtLeastOnce)).await.expect("taken");
    here.publish(publish("new/a", "new", AtLeastOnce)).await.expect("taken");
    assert_eq!(next_message(&mut there).await.payload, "new");
    reload(&near, OPEN, Vec::new());
    far_log.wait_for("Received DISCONNECT from far", 2).await;
    until_state(&near, "0").await;
    let starts = log.lines().iter().filter(|line| line.starts_with("Connecting bridge (step 1)")).count();
    assert_eq!(starts, 2);
}

#[tokio::test]
async fn a_bridge_to_its_own_broker_does_not_go_round() {
    for (version, try_private) in [(V311, true), (V311, false), (V5, true)] {
        let (near, log) = start_bridged(OPEN, Vec::new()).await;
        let all = vec![topic("#", Both, AtLeastOnce, "", "")];
        reload(&near, OPEN, vec![BridgeConfig { version, try_private, ..bridge(port(&near), all) }]);
        log.wait_for("Sending SUBACK to far", 1).await;
        until_state(&near, "1").await;
        let mut here = everything(&near.endpoint(0), V311, "here").await;
        let mut counts = std::collections::BTreeMap::new();
        for end in ["first", "second"] {
            for payload in ["x", end] {
                here.publish(publish("t", payload, AtLeastOnce)).await.expect("taken");
            }
            // The message itself, and once for each way over the bridge.
            while counts.get(end) != Some(&3) {
                let payload = String::from_utf8_lossy(&next_message(&mut here).await.payload).into_owned();
                *counts.entry(payload).or_insert(0) += 1;
            }
        }
        assert_eq!((counts["x"], counts["first"]), (6, 3), "{version}");
        // A bridge may still move topics within one broker.
        let moved = vec![topic("a/#", Out, AtLeastOnce, "", "b/")];
        let config = BridgeConfig { version, reload_at_once: true, ..bridge(port(&near), moved) };
        reload(&near, OPEN, vec![config]);
        here.publish(publish("a/x", "moved", AtLeastOnce)).await.expect("taken");
        while next_message(&mut here).await.topic.as_str() != "b/a/x" {}
    }
}
