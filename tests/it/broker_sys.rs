//! `$SYS` and the log on topics, over sockets: what the engine cannot know by itself.

use std::sync::Arc;
use std::time::Duration;

use mqttlab::broker::config::{Config, LogDestination, Overrides};
use mqttlab::broker::log::LogTypes;
use mqttlab::broker::server::files::{FsFiles, load_rules};
use mqttlab::broker::server::{Broker, Medium};
use mqttlab::client::Client;
use mqttlab::mqtt::{ProtocolVersion, QoS};

use crate::support::broker::{OPEN, Process, connect, folder, next_message, publish, subscribe};

/// An open broker with this configuration changed.
async fn start(medium: Medium, change: impl FnOnce(&mut Config)) -> Broker {
    let folder = folder(OPEN);
    let (config, found) =
        Config::load(&FsFiles, Some(&folder.path().join("mosquitto.conf")), &Overrides::default());
    let mut config = config.unwrap_or_else(|| panic!("{found:?}"));
    change(&mut config);
    let (rules, _) = load_rules(&config, &FsFiles);
    Broker::start(Arc::new(config), Arc::new(rules), medium, 7).await.expect("a port")
}

async fn next(client: &mut Client) -> (String, String) {
    let message = next_message(client).await;
    (message.topic.to_string(), String::from_utf8_lossy(&message.payload).into_owned())
}

/// The number that a topic says next.
async fn number(client: &mut Client, topic: &str) -> u64 {
    loop {
        let (on, text) = next(client).await;
        if on == topic {
            return text.parse().expect("a number");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_are_counted_in_both_directions() {
    let broker = start(Medium::Memory, |config| config.sys_interval = Some(Duration::from_secs(10))).await;
    let mut client = connect(&broker.endpoint(0), ProtocolVersion::V311, "c").await;
    client.subscribe(subscribe("$SYS/broker/bytes/#", QoS::AtMostOnce)).await.expect("granted");
    let topic = |what: &str| format!("$SYS/broker/bytes/{what}");
    assert_eq!(
        (number(&mut client, &topic("received")).await, number(&mut client, &topic("sent")).await),
        (15 + 26, 0)
    );
    // What is in the second sample: CONNACK, SUBACK and the two PUBLISHes before.
    let sent = 4 + 5 + (2 + 2 + 26 + 2) + (2 + 2 + 22 + 1);
    assert_eq!(number(&mut client, &topic("sent")).await, sent);
}

#[tokio::test]
async fn memory_is_what_the_process_has() {
    let broker = start(Medium::Sockets, |config| config.sys_interval = Some(Duration::from_secs(10))).await;
    let mut client = connect(&broker.endpoint(0), ProtocolVersion::V311, "c").await;
    client.subscribe(subscribe("$SYS/broker/heap/#", QoS::AtMostOnce)).await.expect("granted");
    let now = number(&mut client, "$SYS/broker/heap/current").await;
    let most = number(&mut client, "$SYS/broker/heap/maximum").await;
    assert!((1 << 20..1 << 40).contains(&now) && most >= now, "{now} {most}");
}

/// Who subscribes to debug lines would get a line for each line: they are not for topics.
#[tokio::test]
async fn log_lines_go_to_topics_and_make_no_new_ones() {
    let broker = start(Medium::Sockets, |config| {
        config.log.types = LogTypes::ALL;
        config.log.destinations = vec![LogDestination::Topic];
        config.log.timestamp = false;
    })
    .await;
    let endpoint = broker.endpoint(0);
    let mut watch = connect(&endpoint, ProtocolVersion::V5, "watch").await;
    watch.subscribe(subscribe("$SYS/broker/log/#", QoS::ExactlyOnce)).await.expect("granted");
    let message = next_message(&mut watch).await;
    assert_eq!(
        (message.topic.as_str(), &message.payload[..]),
        ("$SYS/broker/log/M/subscribe", &b"watch 2 $SYS/broker/log/#"[..])
    );
    assert_eq!((message.qos, message.retain), (QoS::ExactlyOnce, false));
    assert!(message.properties.message_expiry_interval().is_some_and(|secs| secs <= 20));

    let mut other = connect(&endpoint, ProtocolVersion::V5, "other").await;
    other.publish(publish("t", "x", QoS::AtLeastOnce)).await.expect("acknowledged");
    let (topic, line) = next(&mut watch).await;
    assert!(topic == "$SYS/broker/log/N" && line.starts_with("New connection from 127.0.0.1:"), "{line}");
    let (topic, line) = next(&mut watch).await;
    assert!(topic == "$SYS/broker/log/N" && line.contains("New client connected from"), "{line}");
    broker.log(LogTypes::WARNING, "of the program");
    assert_eq!(next(&mut watch).await, ("$SYS/broker/log/W".to_owned(), "of the program".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigusr2_the_tree_of_subscriptions_is_printed() {
    let folder = folder(OPEN);
    let mut process = Process::start(folder.path(), &[]);
    let mut client = connect(&process.endpoint(), ProtocolVersion::V311, "c").await;
    for filter in ["a/+/c", "a/#", "$share/g/a"] {
        client.subscribe(subscribe(filter, QoS::AtLeastOnce)).await.expect("granted");
    }
    process.signal("USR2");
    for line in ["    a ($share/g: c, 1)", "      +", "        c (c, 1)", "      # (c, 1)"] {
        process.wait_for_line(line);
    }
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
}
