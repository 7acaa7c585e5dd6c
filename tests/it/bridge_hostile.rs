//! Bridges to a broker that is slow, forgetful or hostile, played by the test: what is acknowledged
//! when, what happens to messages when connections end between two packets, and what is refused.

use std::time::Duration;

use mqttlab::broker::config::{BridgeConfig, BridgeDirection, BridgeStart};
use mqttlab::broker::server::Broker;
use mqttlab::client::Client;
use mqttlab::mqtt::packet::{Ack, ConnAck, Disconnect, Publish, SubAck};
use mqttlab::mqtt::{Packet, PacketId, Properties, Property, ProtocolVersion, QoS, ReasonCode};

use crate::support::bridge::{Caller, Log, Remote, bridge, start_bridged, topic, until_state};
use crate::support::broker::{OPEN, connect, next_message, publish, subscribe};

use ProtocolVersion::{V5, V311};
use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};

/// A broker of ours with a bridge to the test: `up/#` out and `down/#` in, at QoS 2.
async fn bridged(change: impl FnOnce(&mut BridgeConfig)) -> (Remote, Broker, Log) {
    let remote = Remote::new().await;
    let topics = vec![
        topic("#", BridgeDirection::Out, ExactlyOnce, "up/", "r/up/"),
        topic("#", BridgeDirection::In, ExactlyOnce, "down/", "r/down/"),
    ];
    let mut config = bridge(remote.port, topics);
    change(&mut config);
    let (near, log) = start_bridged(OPEN, vec![config]).await;
    (remote, near, log)
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

/// A message of the other broker.
fn message(name: &str, payload: &'static str, qos: QoS, number: u16) -> Packet {
    let id = (qos != AtMostOnce).then(|| id(number));
    Packet::Publish(Publish { id, ..publish(name, payload, qos) })
}

fn again(packet: &Packet) -> Packet {
    match packet {
        Packet::Publish(publish) => Packet::Publish(Publish { dup: true, ..publish.clone() }),
        other => panic!("{other:?} is not repeated"),
    }
}

/// The next packet, which is a PUBLISH: payload, QoS, identifier, DUP.
async fn published(caller: &mut Caller) -> (String, QoS, PacketId, bool) {
    match caller.packet().await {
        Packet::Publish(publish) => {
            let payload = String::from_utf8_lossy(&publish.payload).into_owned();
            (payload, publish.qos, publish.id.expect("above QoS 0"), publish.dup)
        }
        other => panic!("{other:?} is no message"),
    }
}

/// A client of ours that watches what comes in.
async fn watch(near: &Broker) -> Client {
    let mut client = connect(&near.endpoint(0), V311, "watch").await;
    client.subscribe(subscribe("down/#", ExactlyOnce)).await.expect("granted");
    client
}

#[tokio::test]
async fn what_goes_out_is_kept_until_the_other_broker_acknowledges_it() {
    let (remote, near, _log) = bridged(|_| {}).await;
    let mut caller = remote.welcome(false).await;
    let mut here = connect(&near.endpoint(0), V311, "here").await;
    here.publish(publish("up/a", "one", AtLeastOnce)).await.expect("taken");
    let (payload, qos, one, dup) = published(&mut caller).await;
    assert_eq!((&*payload, qos, dup), ("one", AtLeastOnce, false));
    here.publish(publish("up/a", "two", ExactlyOnce)).await.expect("taken");
    let (_, _, two, _) = published(&mut caller).await;
    drop(caller);
    // Both come again, under their identifiers.
    let mut caller = remote.welcome(true).await;
    assert_eq!(published(&mut caller).await, ("one".to_owned(), AtLeastOnce, one, true));
    assert_eq!(published(&mut caller).await, ("two".to_owned(), ExactlyOnce, two, true));
    caller.send(&Packet::PubAck(Ack::success(one))).await;
    caller.send(&Packet::PubRec(Ack::success(two))).await;
    assert_eq!(caller.packet().await, Packet::PubRel(Ack::success(two)));
    drop(caller);
    // The second is the other broker's already: only its release comes again.
    let mut caller = remote.welcome(true).await;
    assert_eq!(caller.packet().await, Packet::PubRel(Ack::success(two)));
    caller.send(&Packet::PubComp(Ack::success(two))).await;
    here.publish(publish("up/a", "three", AtLeastOnce)).await.expect("taken");
    let (payload, _, three, dup) = published(&mut caller).await;
    assert_eq!((&*payload, dup), ("three", false));
    assert!(three > two);
}

#[tokio::test]
async fn what_comes_in_twice_is_delivered_once_while_both_remember() {
    let (remote, near, _log) = bridged(|_| {}).await;
    let mut caller = remote.welcome(false).await;
    let mut watch = watch(&near).await;
    let first = message("r/down/a", "first", ExactlyOnce, 7);
    caller.send(&first).await;
    assert_eq!(caller.packet().await, Packet::PubRec(Ack::success(id(7))));
    drop(caller);
    let mut caller = remote.welcome(true).await;
    caller.send(&again(&first)).await;
    assert_eq!(caller.packet().await, Packet::PubRec(Ack::success(id(7))));
    caller.send(&Packet::PubRel(Ack::success(id(7)))).await;
    assert_eq!(caller.packet().await, Packet::PubComp(Ack::success(id(7))));
    caller.send(&message("r/down/a", "second", AtLeastOnce, 7)).await;
    assert_eq!(caller.packet().await, Packet::PubAck(Ack::success(id(7))));
    for payload in ["first", "second"] {
        assert_eq!(next_message(&mut watch).await.payload, payload);
    }
}

#[tokio::test]
async fn a_new_message_is_not_taken_for_one_of_a_session_that_is_lost() {
    let (remote, near, _log) = bridged(|_| {}).await;
    let mut caller = remote.welcome(false).await;
    let mut inbox = watch(&near).await;
    caller.send(&message("r/down/a", "old", ExactlyOnce, 7)).await;
    assert_eq!(caller.packet().await, Packet::PubRec(Ack::success(id(7))));
    drop(caller);
    // The other broker lost its session, and begins to count anew.
    let mut caller = remote.welcome(false).await;
    caller.send(&message("r/down/a", "new", ExactlyOnce, 7)).await;
    assert_eq!(caller.packet().await, Packet::PubRec(Ack::success(id(7))));
    for payload in ["old", "new"] {
        assert_eq!(next_message(&mut inbox).await.payload, payload);
    }
    near.stop().await;
    // Now ours begins anew: the other broker is asked to forget what it may hold of us.
    let topics = vec![topic("#", BridgeDirection::Both, ExactlyOnce, "up/", "r/up/")];
    let (near, _log) = start_bridged(OPEN, vec![bridge(remote.port, topics)]).await;
    let mut caller = remote.welcome(true).await;
    let mut here = connect(&near.endpoint(0), V311, "here").await;
    here.publish(publish("up/a", "x", ExactlyOnce)).await.expect("taken");
    here.publish(publish("up/a", "y", AtLeastOnce)).await.expect("taken");
    for number in 1..=64 {
        assert_eq!(caller.packet().await, Packet::PubRel(Ack::success(id(number))));
        caller.send(&Packet::PubComp(Ack::success(id(number)))).await;
    }
    assert_eq!(published(&mut caller).await, ("x".to_owned(), ExactlyOnce, id(1), false));
    assert_eq!(published(&mut caller).await, ("y".to_owned(), AtLeastOnce, id(2), false));
}

#[tokio::test]
async fn in_5_nothing_of_a_session_that_the_other_broker_lost_is_sent_again() {
    let (remote, near, _log) = bridged(|config| config.version = V5).await;
    let mut caller = remote.welcome(false).await;
    let mut here = connect(&near.endpoint(0), V311, "here").await;
    for (payload, qos) in [("one", AtLeastOnce), ("two", ExactlyOnce), ("three", ExactlyOnce)] {
        here.publish(publish("up/a", payload, qos)).await.expect("taken");
    }
    let (_, _, one, _) = published(&mut caller).await;
    let (_, _, two, _) = published(&mut caller).await;
    let (_, _, three, _) = published(&mut caller).await;
    caller.send(&Packet::PubRec(Ack::success(two))).await;
    assert_eq!(caller.packet().await, Packet::PubRel(Ack::success(two)));
    drop(caller);
    // The first and the third are new to it; the second, which it had received, is done with.
    let mut caller = remote.welcome(false).await;
    assert_eq!(published(&mut caller).await, ("one".to_owned(), AtLeastOnce, one, false));
    assert_eq!(published(&mut caller).await, ("three".to_owned(), ExactlyOnce, three, false));
    caller.send(&Packet::PubAck(Ack::success(one))).await;
    caller.send(&Packet::PubRec(Ack::success(three))).await;
    assert_eq!(caller.packet().await, Packet::PubRel(Ack::success(three)));
    here.publish(publish("up/a", "four", ExactlyOnce)).await.expect("taken");
    let (payload, .., dup) = published(&mut caller).await;
    assert_eq!((&*payload, dup), ("four", false));
}

#[tokio::test]
async fn in_5_a_session_that_is_not_ours_is_left_and_ended() {
    let (remote, _near, log) = bridged(|config| config.version = V5).await;
    let mut caller = remote.accept().await;
    assert!(!caller.connect.clean_start);
    caller.let_in(true).await;
    assert_eq!(caller.packet().await, Packet::Disconnect(Disconnect::default()));
    caller.end().await;
    // Who claims a session even so breaks the rules.
    let mut caller = remote.accept().await;
    assert!(caller.connect.clean_start);
    caller.let_in(true).await;
    assert_eq!(caller.packet().await, Packet::Disconnect(Disconnect::default()));
    caller.end().await;
    log.wait_for("the other broker has a session that was to end", 1).await;
    let caller = remote.welcome(false).await;
    assert!(caller.connect.clean_start);
    drop(caller);
    // From now on there is one of ours.
    let caller = remote.welcome(true).await;
    assert!(!caller.connect.clean_start);
}

#[tokio::test]
async fn what_the_bridge_says_of_itself_leaves_the_messages_their_places() {
    for (most, qos) in [(20, AtMostOnce), (21, AtLeastOnce)] {
        let (remote, _near, _log) = bridged(|config| config.version = V5).await;
        let mut caller = remote.accept().await;
        let properties = [Property::ReceiveMaximum(most)].into_iter().collect();
        caller.send(&Packet::ConnAck(ConnAck { properties, ..ConnAck::default() })).await;
        let Packet::Publish(notice) = caller.packet().await else { panic!("no notice") };
        assert_eq!((notice.qos, &notice.payload[..]), (qos, &b"1"[..]), "{most}");
    }
}

#[tokio::test]
async fn that_nobody_subscribed_is_not_said_by_a_client() {
    let (remote, _near, _log) = bridged(|config| config.version = V5).await;
    let mut caller = remote.welcome(false).await;
    caller.send(&message("r/down/nobody", "x", AtLeastOnce, 7)).await;
    assert_eq!(caller.packet().await, Packet::PubAck(Ack::success(id(7))));
    caller.send(&message("r/down/nobody", "x", ExactlyOnce, 7)).await;
    assert_eq!(caller.packet().await, Packet::PubRec(Ack::success(id(7))));
}

#[tokio::test]
async fn no_more_goes_out_at_once_than_the_other_broker_takes() {
    let (remote, near, _log) = bridged(|config| config.version = V5).await;
    let mut caller = remote.accept().await;
    let connect_properties = &caller.connect.properties;
    assert_eq!(connect_properties.receive_maximum(), Some(20));
    assert_eq!(connect_properties.topic_alias_maximum(), Some(10));
    assert_eq!(connect_properties.session_expiry_interval(), Some(u32::MAX));
    assert_eq!(connect_properties.maximum_packet_size(), Some(2_000_000));
    let properties: Properties = [
        Property::ReceiveMaximum(2),
        Property::MaximumQoS(1),
        Property::RetainAvailable(0),
        Property::MaximumPacketSize(200),
        Property::TopicAliasMaximum(1),
    ]
    .into_iter()
    .collect();
    caller.send(&Packet::ConnAck(ConnAck { properties, ..ConnAck::default() })).await;
    caller.grant().await;
    let mut here = connect(&near.endpoint(0), V311, "here").await;
    here.publish(publish("up/a", vec![b'x'; 300], ExactlyOnce)).await.expect("taken");
    for payload in ["one", "two", "three"] {
        let message = Publish { retain: true, ..publish("up/a", payload, ExactlyOnce) };
        here.publish(message).await.expect("taken");
    }
    let mut ids = Vec::new();
    for (payload, topic) in [("one", "r/up/a"), ("two", "")] {
        let Packet::Publish(message) = caller.packet().await else { panic!("no message") };
        assert_eq!((&message.payload[..], message.topic.as_str()), (payload.as_bytes(), topic));
        assert_eq!((message.qos, message.retain), (AtLeastOnce, false));
        assert_eq!(message.properties.topic_alias(), Some(1));
        ids.push(message.id.expect("QoS 1"));
    }
    // The third comes only now.
    caller.send(&Packet::PubAck(Ack::success(ids[0]))).await;
    let (payload, ..) = published(&mut caller).await;
    assert_eq!(payload, "three");
}

#[tokio::test]
async fn names_that_no_line_means_are_dropped_and_said() {
    let (remote, near, log) = bridged(|_| {}).await;
    let mut caller = remote.welcome(false).await;
    let mut watch = watch(&near).await;
    let deep = format!("r/down/{}", "/".repeat(250));
    let greatest = format!("r/down/{}", "x".repeat(65_528));
    for name in ["r/down", "r/down/", "x", "$SYS/broker/uptime", "r/up/a", &deep, &greatest] {
        for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
            caller.send(&message(name, "evil", qos, 9)).await;
            match qos {
                AtMostOnce => {}
                AtLeastOnce => assert_eq!(caller.packet().await, Packet::PubAck(Ack::success(id(9)))),
                ExactlyOnce => {
                    assert_eq!(caller.packet().await, Packet::PubRec(Ack::success(id(9))));
                    caller.send(&Packet::PubRel(Ack::success(id(9)))).await;
                    assert_eq!(caller.packet().await, Packet::PubComp(Ack::success(id(9))));
                }
            }
        }
    }
    caller.send(&message("r/down/a", "good", AtLeastOnce, 9)).await;
    let message = next_message(&mut watch).await;
    // `x` repeated so often is a topic of ours of just the greatest length.
    let message = if message.payload == "good" { message } else { last(&mut watch).await };
    assert_eq!((&message.payload[..], message.topic.as_str()), (&b"good"[..], "down/a"));
    let said = log.lines().iter().filter(|line| line.contains("are being dropped for bridge b1")).count();
    assert_eq!(said, 1);
}

/// Messages until the good one.
async fn last(watch: &mut Client) -> Publish {
    loop {
        let message = next_message(watch).await;
        if message.payload == "good" {
            return message;
        }
    }
}

#[tokio::test]
async fn a_broker_that_breaks_the_rules_is_left_and_tried_again() {
    let (remote, near, _log) = bridged(|_| {}).await;
    let subscribed = |caller: &Packet| match caller {
        Packet::Subscribe(packet) => Some(packet.id),
        _ => None,
    };
    // SUBACK without codes, or with too many.
    for codes in [Vec::new(), vec![ReasonCode::SUCCESS; 2]] {
        let mut caller = remote.accept().await;
        caller.let_in(false).await;
        let id = loop {
            if let Some(id) = subscribed(&caller.packet().await) {
                break id;
            }
        };
        caller.send(&Packet::SubAck(SubAck { id, properties: Properties::new(), codes })).await;
        caller.end().await;
    }
    let wrong = [
        // CONNACK again, a packet for brokers, 256 MB announced, acknowledgements of the wrong kind.
        vec![0x20, 2, 0, 0],
        vec![0xC0, 0],
        vec![0x82, 8, 0, 1, 0, 3, b'a', b'/', b'b', 0],
        vec![0x30, 0xff, 0xff, 0xff, 0x7f],
        vec![0xF0, 0],
        vec![0x30, 3, 0, 1, b'#'],
        vec![0x30, 2, 0, 0],
        vec![0x62, 2, 0, 5, 0x62, 2, 0, 5, 0x34, 6, 0, 2, b'r', b'/', 0, 5],
    ];
    for bytes in &wrong[..7] {
        let mut caller = remote.welcome(false).await;
        caller.send_raw(bytes).await;
        caller.end().await;
    }
    // Acknowledgements for nothing mean nothing.
    let mut caller = remote.welcome(false).await;
    for packet in [Packet::PubAck, Packet::PubRec, Packet::PubComp] {
        caller.send(&packet(Ack::success(id(77)))).await;
    }
    let mut watch = watch(&near).await;
    caller.send(&message("r/down/a", "fine", AtMostOnce, 1)).await;
    assert_eq!(next_message(&mut watch).await.payload, "fine");
    // The wrong kind of acknowledgement for something does.
    let mut here = connect(&near.endpoint(0), V311, "here").await;
    here.publish(publish("up/a", "x", ExactlyOnce)).await.expect("taken");
    let (_, _, number, _) = published(&mut caller).await;
    caller.send(&Packet::PubAck(Ack::success(number))).await;
    caller.end().await;
    let mut caller = remote.welcome(true).await;
    assert_eq!(published(&mut caller).await, ("x".to_owned(), ExactlyOnce, number, true));
}

#[tokio::test]
async fn a_broker_that_never_answers_a_ping_is_left() {
    let (remote, _near, log) = bridged(|config| config.keep_alive = Duration::from_secs(1)).await;
    let mut caller = remote.welcome(false).await;
    assert_eq!(caller.connect.keep_alive, 1);
    assert_eq!(caller.raw_packet().await, Some(Packet::PingReq));
    assert_eq!(caller.raw_packet().await, None);
    log.wait_for("disconnected: exceeded timeout.", 1).await;
}

#[tokio::test]
async fn the_mark_of_a_bridge_is_given_up_where_it_is_refused() {
    let (remote, near, log) = bridged(|_| {}).await;
    for closes in [false, true] {
        let mut caller = remote.accept().await;
        assert!(caller.connect.bridge);
        if closes {
            drop(caller);
        } else {
            let code = ReasonCode::V3_UNACCEPTABLE_PROTOCOL;
            caller.send(&Packet::ConnAck(ConnAck { code, ..ConnAck::default() })).await;
            drop(caller);
            break;
        }
    }
    let caller = remote.welcome(false).await;
    assert!(!caller.connect.bridge);
    until_state(&near, "1").await;
    drop(caller);
    // It is not tried again, and another refusal is an error.
    let mut caller = remote.accept().await;
    assert!(!caller.connect.bridge);
    let code = ReasonCode::V3_NOT_AUTHORIZED;
    caller.send(&Packet::ConnAck(ConnAck { code, ..ConnAck::default() })).await;
    log.wait_for("Connection Refused: not authorised", 1).await;
}

#[tokio::test]
async fn a_broker_that_sends_the_bridge_elsewhere_is_not_obeyed() {
    let (remote, _near, log) = bridged(|config| config.version = V5).await;
    let elsewhere = Remote::new().await;
    for code in [ReasonCode::USE_ANOTHER_SERVER, ReasonCode::SERVER_MOVED] {
        let mut caller = remote.accept().await;
        let address = format!("127.0.0.1:{}", elsewhere.port);
        let properties = [Property::ServerReference(address.into())].into_iter().collect();
        caller.send(&Packet::ConnAck(ConnAck { code, properties, ..ConnAck::default() })).await;
        caller.end().await;
    }
    remote.welcome(false).await;
    log.wait_for("Connection Refused: ", 2).await;
    assert!(!elsewhere.was_called().await);
}

#[tokio::test]
async fn a_bridge_that_is_started_once_is_not_started_again() {
    let (remote, near, log) = bridged(|config| config.start = BridgeStart::Once).await;
    let caller = remote.welcome(false).await;
    until_state(&near, "1").await;
    drop(caller);
    until_state(&near, "0").await;
    log.wait_for("Client near [", 1).await;
    assert!(!remote.was_called().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_both_sides_at_once_stops_neither() {
    let (far, _) = start_bridged(OPEN, Vec::new()).await;
    let port = far.addresses()[0].port();
    let topics = vec![
        topic("#", BridgeDirection::Out, AtLeastOnce, "up/", "r/up/"),
        topic("#", BridgeDirection::In, AtLeastOnce, "down/", "r/down/"),
    ];
    let (near, _log) = start_bridged(OPEN, vec![bridge(port, topics)]).await;
    until_state(&near, "1").await;
    let sides = [
        (near.endpoint(0), "up/", far.endpoint(0), "r/up/#"),
        (far.endpoint(0), "r/down/", near.endpoint(0), "down/#"),
    ];
    let mut floods = tokio::task::JoinSet::new();
    for (from, prefix, to, filter) in sides {
        floods.spawn(async move {
            let mut watch = connect(&to, V311, &format!("watch {prefix}")).await;
            watch.subscribe(subscribe(filter, AtLeastOnce)).await.expect("granted");
            let reading = async {
                let mut kept = 0;
                loop {
                    let message = next_message(&mut watch).await;
                    if message.topic.as_str().ends_with("end") {
                        return kept;
                    }
                    kept += usize::from(message.qos == AtLeastOnce);
                }
            };
            let mut client = connect(&from, V311, &format!("flood {prefix}")).await;
            let writing = async {
                // 60 MB of QoS 0, which may be lost, and some of QoS 1, which may not.
                for number in 0..30_000 {
                    client
                        .start_publish(publish(&format!("{prefix}a"), vec![b'x'; 2000], AtMostOnce))
                        .expect("sent");
                    if number % 100 == 0 {
                        client
                            .publish(publish(&format!("{prefix}b"), "kept", AtLeastOnce))
                            .await
                            .expect("taken");
                    }
                }
                client.publish(publish(&format!("{prefix}end"), "", AtLeastOnce)).await.expect("taken");
            };
            tokio::join!(reading, writing).0
        });
    }
    while let Some(kept) = floods.join_next().await {
        assert_eq!(kept.expect("no panic"), 300);
    }
    until_state(&near, "1").await;
}
