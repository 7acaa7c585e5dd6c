//! What a client library that we did not write is asked to do with our broker: one function a feature.
//! Who does it, over what, is the table of `interop_matrix.rs`.
//!
//! Nothing sleeps. That a message does not come is shown by another that had to come after it; that
//! time has passed is shown by a will that the broker sends then.

use serde_json::{Value, json};

use crate::support::drivers::row::Row;

/// A row of the table of features.
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// The first version of the protocol that has it.
    pub since: u8,
    /// Over every transport, or TCP alone: because it takes the time of day.
    pub everywhere: bool,
    /// Does it; panics where the broker does not do as it should.
    pub run: fn(&mut Row),
}

const fn feature(name: &'static str, since: u8, run: fn(&mut Row)) -> Feature {
    Feature { name, since, everywhere: true, run }
}

/// All features.
pub const FEATURES: &[Feature] = &[
    feature("every quality of service", 4, every_qos),
    feature("sessions", 4, sessions),
    feature("retained messages", 4, retained),
    feature("wills", 4, wills),
    feature("wildcards", 4, wildcards),
    feature("unsubscribe", 4, unsubscribe),
    feature("large message", 4, large),
    feature("many messages", 4, many),
    feature("passwords", 4, passwords),
    feature("takeover", 4, takeover),
    feature("reason of a takeover", 5, takeover_reason),
    feature("shared subscriptions", 4, shared),
    feature("system topics", 4, sys),
    feature("empty client identifier", 4, empty_client_id),
    feature("denied publish", 4, denied),
    feature("delayed wills", 5, delayed_wills),
    feature("request and response", 5, request),
    feature("publication properties", 5, properties),
    feature("subscription identifiers", 5, identifiers),
    feature("no local", 5, no_local),
    feature("retain as published", 5, retain_as_published),
    feature("retain handling", 5, retain_handling),
    feature("aliases to the broker", 5, aliases_in),
    feature("aliases of the broker", 5, aliases_out),
    feature("receive maximum", 5, receive_maximum),
    feature("receive maximum holds", 5, receive_maximum_holds),
    feature("maximum packet size", 5, maximum_packet_size),
    feature("limits of the broker", 5, limits),
    feature("scram", 5, scram),
    Feature { name: "time passes", since: 5, everywhere: false, run: time },
];

fn every_qos(row: &mut Row) {
    row.connect("a");
    row.connect("b");
    for granted in 0..3 {
        let topic = row.topic(&granted.to_string());
        row.subscribe("b", &topic, granted);
        for sent in 0..3 {
            row.publish("a", &topic, &format!("q{sent}"), sent);
            let got = row.gets("b", &format!("q{sent}"));
            assert_eq!((got.topic.as_str(), got.qos), (topic.as_str(), u64::from(sent.min(granted))));
            assert!(!got.retain);
        }
    }
}

fn sessions(row: &mut Row) {
    let topic = row.topic("t");
    row.connect("other");
    assert_ne!(row.come_back("a", false), Some(true), "there is none yet");
    row.subscribe("a", &topic, 2);
    row.disconnect("a");
    for qos in 1..3 {
        row.publish("other", &topic, &format!("away {qos}"), qos);
    }
    assert_ne!(row.come_back("a", false), Some(false), "it waited");
    for qos in 1..3 {
        assert_eq!(row.gets("a", &format!("away {qos}")).qos, qos);
    }
    row.publish("other", &topic, "here", 1);
    row.gets("a", "here");
    // Of this one nothing is under way when it is cut: what is would come twice.
    row.come_back("b", false);
    row.subscribe("b", &topic, 2);
    row.cut("b");
    row.publish("other", &topic, "cut", 2);
    assert_ne!(row.come_back("b", false), Some(false), "it outlives a connection that is cut");
    row.gets("b", "cut");
    row.gets("a", "cut");
    row.disconnect("a");
    row.publish("other", &topic, "lost", 1);
    assert_ne!(row.come_back("a", true), Some(true), "a clean start");
    row.subscribe("a", &row.topic("fence"), 1);
    row.publish("other", &topic, "lost", 1);
    row.publish("other", &row.topic("fence"), "fence", 1);
    row.gets("a", "fence");
}

fn retained(row: &mut Row) {
    let topic = row.topic("t");
    row.connect("a");
    row.retain("a", &topic, "first");
    row.retain("a", &topic, "second");
    row.connect("b");
    row.subscribe("b", &topic, 1);
    let got = row.gets("b", "second");
    assert_eq!((got.retain, got.qos), (true, 1));
    row.retain("a", &topic, "");
    assert!(!row.gets("b", "").retain, "to who was there already it is an ordinary message");
    row.retain("a", &row.topic("control"), "control");
    row.connect("c");
    row.subscribe("c", &row.topic("#"), 1);
    row.gets("c", "control");
}

fn wills(row: &mut Row) {
    let topic = row.topic("will");
    let will = json!({ "will": { "topic": topic, "payload": "lost", "qos": 1, "retain": true } });
    row.connect("watch");
    row.subscribe("watch", &topic, 1);
    row.connect_with("a", &will);
    row.cut("a");
    let got = row.gets("watch", "lost");
    assert_eq!((got.qos, got.retain), (1, false));
    row.connect("late");
    row.subscribe("late", &topic, 0);
    assert!(row.gets("late", "lost").retain);
    row.connect_with("b", &will);
    row.disconnect("b");
    // Nothing else orders what two connections say.
    row.broker.wait_for_line(&format!("Received DISCONNECT from {}", row.topic("b")));
    row.publish("late", &topic, "no will", 1);
    row.gets("watch", "no will");
}

fn wildcards(row: &mut Row) {
    row.connect("a");
    row.connect("b");
    row.subscribe("b", &row.topic("+/x"), 1);
    row.subscribe("b", &row.topic("deep/#"), 1);
    for (name, wanted) in
        [("1/x", true), ("1/y", false), ("1/2/x", false), ("/x", true), ("deep", true), ("deep/1/2", true)]
    {
        row.publish("a", &row.topic(name), name, 1);
        if wanted {
            row.gets("b", name);
        }
    }
}

fn unsubscribe(row: &mut Row) {
    let (left, kept) = (row.topic("left"), row.topic("kept"));
    row.connect("a");
    row.subscribe("a", &left, 1);
    row.subscribe("a", &kept, 1);
    row.publish("a", &left, "1", 1);
    row.gets("a", "1");
    for known in [true, false] {
        let answer = row.ask(&json!({ "do": "unsubscribe", "peer": "a", "filter": left }));
        if row.version == 5 {
            assert_eq!(answer["codes"], json!([if known { 0 } else { 0x11 }]));
        }
    }
    row.publish("a", &left, "2", 1);
    row.publish("a", &kept, "3", 1);
    row.gets("a", "3");
}

fn large(row: &mut Row) {
    let payload: String = ('a'..='z').cycle().take(1024 * 1024).collect();
    row.connect("a");
    row.connect("b");
    row.subscribe("b", &row.topic("t"), 2);
    for qos in [0, 2] {
        row.publish("a", &row.topic("t"), &payload, qos);
        assert!(row.message("b").payload == payload, "{}: of quality {qos}", row.name);
    }
}

fn many(row: &mut Row) {
    row.connect("a");
    row.connect("b");
    row.subscribe("b", &row.topic("+"), 2);
    for n in 0..60 {
        row.publish("a", &row.topic("t"), &n.to_string(), n % 3);
    }
    // Each quality of service keeps its order.
    let mut last = [None; 3];
    for _ in 0..60 {
        let got = row.message("b");
        let (n, qos) = (got.payload.parse::<u64>().expect("a number"), got.qos);
        let index = usize::try_from(qos).expect("small");
        assert_eq!(n % 3, qos);
        assert_eq!(last[index].replace(n), n.checked_sub(3), "{}", row.name);
    }
}

fn passwords(row: &mut Row) {
    row.connect("anybody");
    row.connect_with("good", &json!({ "user": "alice", "password": "a1" }));
    row.publish("good", &row.topic("t"), "in", 1);
    for (peer, user, password) in [("bad", "alice", "a2"), ("nobody", "bob", "a1")] {
        let code = row.enter(peer, &json!({ "user": user, "password": password }))["code"].clone();
        // Some libraries speak of 3.1.1 in the codes of 5.
        assert!(code == 0x87 || (code == 5 && row.version == 4), "{}: {code}", row.name);
    }
}

/// The code of the DISCONNECT that the first of two gets, if any.
fn taken_over(row: &mut Row) -> Value {
    let id = row.topic("same");
    row.connect_with("a", &json!({ "id": id }));
    row.connect_with("b", &json!({ "id": id }));
    let closed = row.ask(&json!({ "do": "closed", "peer": "a" }));
    row.publish("b", &row.topic("t"), "lives", 1);
    closed["code"].clone()
}

fn takeover(row: &mut Row) {
    let code = taken_over(row);
    assert!(row.version == 5 || code.is_null(), "{}: {code}", row.name);
}

fn takeover_reason(row: &mut Row) {
    assert_eq!(taken_over(row), 0x8E, "{}", row.name);
}

fn shared(row: &mut Row) {
    const COUNT: usize = 20;
    let (topic, done) = (row.topic("t"), row.topic("done"));
    row.connect("sender");
    for peer in ["a", "b"] {
        row.connect(peer);
        row.subscribe(peer, &format!("$share/group/{topic}"), 1);
        row.subscribe(peer, &done, 1);
    }
    for n in 0..COUNT {
        row.publish("sender", &topic, &n.to_string(), 1);
    }
    row.publish("sender", &done, "done", 1);
    let mut seen = vec![0; COUNT];
    for peer in ["a", "b"] {
        let mut own = 0;
        loop {
            let got = row.message(peer);
            if got.topic == done {
                break;
            }
            seen[got.payload.parse::<usize>().expect("a number")] += 1;
            own += 1;
        }
        assert!(own > 0, "{}: {peer} has its share", row.name);
    }
    assert!(seen.iter().all(|count| *count == 1), "{}: {seen:?}", row.name);
}

fn sys(row: &mut Row) {
    row.connect("a");
    row.subscribe("a", "$SYS/broker/version", 0);
    let got = row.message("a");
    assert!(got.retain && got.payload.starts_with("mqttlab version"), "{}: {got:?}", row.name);
    row.subscribe("a", "#", 0);
    row.publish("a", &row.topic("t"), "first", 0);
    // `#` has no `$SYS`, of which there is a lot; of retained messages of others there may be some.
    loop {
        let got = row.message("a");
        assert!(!got.topic.starts_with('$'), "{}: {got:?}", row.name);
        if got.topic == row.topic("t") {
            return;
        }
    }
}

fn empty_client_id(row: &mut Row) {
    let connack = row.connect_with("a", &json!({ "id": "" }));
    if row.version == 5 {
        let assigned = connack["properties"]["AssignedClientIdentifier"].as_str();
        assert!(assigned.is_some_and(|id| !id.is_empty()), "{}: {connack}", row.name);
    }
    row.connect_with("b", &json!({ "id": "" }));
    // Both are in: they have different ones.
    for peer in ["a", "b"] {
        row.publish(peer, &row.topic("t"), "in", 1);
    }
}

fn denied(row: &mut Row) {
    row.connect_with("alice", &json!({ "user": "alice", "password": "a1" }));
    let topic = format!("denied/{}", row.name);
    row.subscribe("alice", &topic, 1);
    row.connect("a");
    let code = row.publish_with("a", &topic, "denied", 1, &json!({}));
    assert_eq!(code, if row.version == 5 { 0x87 } else { 0 }, "{}", row.name);
    // The connection stays, and alice may read what she writes there.
    row.publish("a", &row.topic("t"), "allowed", 1);
    row.publish("alice", &topic, "allowed", 1);
    row.gets("alice", "allowed");
}

fn delayed_wills(row: &mut Row) {
    let topic = row.topic("will");
    let options = |clean: bool| {
        json!({
            "clean": clean,
            "properties": { "SessionExpiryInterval": 300 },
            "will": {
                "topic": topic, "payload": "late", "qos": 1, "retain": false,
                "properties": { "WillDelayInterval": 200, "ContentType": "text/plain", "UserProperty": [["a", "1"]] },
            },
        })
    };
    row.connect("watch");
    row.subscribe("watch", &topic, 1);
    row.connect_with("a", &options(true));
    row.cut("a");
    // Back in time: no will.
    assert_eq!(row.connect_with("a", &options(false))["present"], true);
    row.publish("watch", &topic, "fence", 1);
    row.gets("watch", "fence");
    row.cut("a");
    // The session ends, and the will does not wait any longer.
    assert_eq!(row.connect_with("a", &json!({}))["present"], false);
    let got = row.gets("watch", "late");
    assert_eq!(got.properties["ContentType"], "text/plain");
    assert_eq!(got.properties["UserProperty"], json!([["a", "1"]]));
    assert!(got.properties["WillDelayInterval"].is_null());
}

fn request(row: &mut Row) {
    let (service, answers) = (row.topic("service"), row.topic("answers"));
    row.connect("server");
    row.subscribe("server", &service, 1);
    row.connect("client");
    row.subscribe("client", &answers, 1);
    let wanted = json!({ "ResponseTopic": answers, "CorrelationData": "17" });
    row.publish_with("client", &service, "question", 1, &json!({ "properties": wanted }));
    let got = row.gets("server", "question").properties;
    let back = json!({ "properties": { "CorrelationData": got["CorrelationData"] } });
    let to = got["ResponseTopic"].as_str().expect("where to answer").to_owned();
    row.publish_with("server", &to, "answer", 1, &back);
    assert_eq!(row.gets("client", "answer").properties["CorrelationData"], "17");
}

fn properties(row: &mut Row) {
    let topic = row.topic("t");
    row.connect("a");
    row.subscribe("a", &topic, 2);
    let sent = json!({
        "ContentType": "text/plain",
        "ResponseTopic": "somewhere",
        "CorrelationData": "correlated",
        "UserProperty": [["b", "2"], ["b", "3"], ["a", "1"]],
        "PayloadFormatIndicator": 1,
        "MessageExpiryInterval": 100,
    });
    for qos in 0..3 {
        row.publish_with("a", &topic, "x", qos, &json!({ "properties": sent }));
        let mut got = row.gets("a", "x").properties;
        let left = got["MessageExpiryInterval"].take().as_u64().expect("how long it lives");
        assert!((1..=100).contains(&left), "{}: {left}", row.name);
        for (name, value) in sent.as_object().expect("properties") {
            assert!(got[name] == *value || name == "MessageExpiryInterval", "{}: {got}", row.name);
        }
    }
}

fn identifiers(row: &mut Row) {
    row.connect("a");
    row.subscribe_with("a", &row.topic("one/#"), 1, &json!({ "identifier": 1 }));
    row.subscribe_with("a", &row.topic("+/x"), 1, &json!({ "identifier": 268_435_455 }));
    row.subscribe("a", &row.topic("none"), 1);
    for (name, wanted) in [("one/y", json!([1])), ("two/x", json!([268_435_455])), ("none", Value::Null)] {
        row.publish("a", &row.topic(name), name, 1);
        assert_eq!(row.gets("a", name).properties["SubscriptionIdentifier"], wanted, "{}", row.name);
    }
    // Both match: a message with both, or one for each.
    row.publish("a", &row.topic("one/x"), "both", 1);
    let mut found = Vec::new();
    while found.len() < 2 {
        let got = row.gets("a", "both").properties;
        found
            .extend(got["SubscriptionIdentifier"].as_array().expect("identifiers").iter().map(Value::as_u64));
    }
    found.sort_unstable();
    assert_eq!(found, [Some(1), Some(268_435_455)], "{}", row.name);
}

fn no_local(row: &mut Row) {
    let topic = row.topic("t");
    row.connect("a");
    row.connect("b");
    row.subscribe_with("a", &topic, 1, &json!({ "noLocal": true }));
    row.publish("a", &topic, "own", 1);
    row.publish("b", &topic, "other", 1);
    row.gets("a", "other");
}

fn retain_as_published(row: &mut Row) {
    let topic = row.topic("t");
    for (peer, keep) in [("keeps", true), ("drops", false)] {
        row.connect(peer);
        row.subscribe_with(peer, &topic, 1, &json!({ "retainAsPublished": keep }));
    }
    row.retain("keeps", &topic, "retained");
    row.publish("keeps", &topic, "ordinary", 1);
    for (peer, keep) in [("keeps", true), ("drops", false)] {
        assert_eq!(row.gets(peer, "retained").retain, keep, "{}: {peer}", row.name);
        assert!(!row.gets(peer, "ordinary").retain);
    }
}

fn retain_handling(row: &mut Row) {
    let topic = row.topic("t");
    row.connect("a");
    row.retain("a", &topic, "kept");
    // Of a new subscription and of one that is there already.
    for (handling, sent) in [(0, [true, true]), (1, [true, false]), (2, [false, false])] {
        let peer = format!("handling {handling}");
        row.connect(&peer);
        for sent in sent {
            row.subscribe_with(&peer, &topic, 1, &json!({ "retainHandling": handling }));
            row.publish("a", &topic, "fence", 1);
            if sent {
                row.gets(&peer, "kept");
            }
            row.gets(&peer, "fence");
        }
    }
}

fn aliases_in(row: &mut Row) {
    let (first, second) = (row.topic("1"), row.topic("2"));
    row.connect("watch");
    row.subscribe("watch", &row.topic("#"), 1);
    row.connect("a");
    let alias = json!({ "properties": { "TopicAlias": 3 } });
    for (sent, meant) in
        [(&first, &first), (&String::new(), &first), (&second, &second), (&String::new(), &second)]
    {
        row.publish_with("a", sent, "x", 1, &alias);
        let got = row.gets("watch", "x");
        assert_eq!(got.topic, *meant);
        assert!(got.properties["TopicAlias"].is_null(), "{}: an alias is of one connection", row.name);
    }
}

fn aliases_out(row: &mut Row) {
    let topic = row.topic("t");
    row.connect_with("a", &json!({ "properties": { "TopicAliasMaximum": 5 } }));
    row.subscribe("a", &topic, 1);
    row.connect("b");
    row.publish("b", &topic, "1", 1);
    let first = row.gets("a", "1");
    assert_eq!(first.topic, topic);
    let alias = first.properties["TopicAlias"].clone();
    assert!(alias.as_u64().is_some_and(|alias| (1..=5).contains(&alias)), "{}: {alias}", row.name);
    row.publish("b", &topic, "2", 1);
    let second = row.gets("a", "2");
    assert_eq!(second.properties["TopicAlias"], alias);
    // Libraries put the topic there that it stands for, or leave that to their user.
    assert!(second.topic.is_empty() || second.topic == topic, "{}: {second:?}", row.name);
}

fn receive_maximum(row: &mut Row) {
    let topic = row.topic("t");
    let options = |clean: bool| {
        json!({
            "clean": clean, "properties": { "SessionExpiryInterval": 300, "ReceiveMaximum": 1 },
        })
    };
    row.connect_with("a", &options(true));
    row.subscribe("a", &topic, 2);
    row.disconnect("a");
    row.connect("b");
    for n in 0..10 {
        row.publish("b", &topic, &n.to_string(), 1 + n % 2);
    }
    row.connect_with("a", &options(false));
    for n in 0..10 {
        row.gets("a", &n.to_string());
    }
}

fn receive_maximum_holds(row: &mut Row) {
    let topic = row.topic("t");
    row.connect_with("a", &json!({ "manual": true, "properties": { "ReceiveMaximum": 2 } }));
    row.subscribe("a", &topic, 1);
    row.connect("b");
    for n in 0..5 {
        row.publish("b", &topic, &n.to_string(), 1);
    }
    for window in [&["0", "1"][..], &["2", "3"], &["4"]] {
        for payload in window {
            row.gets("a", payload);
        }
        // A SUBACK is of the same stream: what had been sent before it is here.
        row.subscribe("a", &row.topic("fence"), 1);
        assert_eq!(row.ask(&json!({ "do": "count", "peer": "a" }))["count"], 0, "{}", row.name);
        row.ask(&json!({ "do": "acknowledge", "peer": "a" }));
    }
}

fn maximum_packet_size(row: &mut Row) {
    let topic = row.topic("t");
    row.connect_with("a", &json!({ "properties": { "MaximumPacketSize": 300 } }));
    row.subscribe("a", &topic, 1);
    row.connect("b");
    row.subscribe("b", &topic, 1);
    let large = "x".repeat(300);
    row.publish("b", &topic, &large, 1);
    row.publish("b", &topic, "small", 1);
    row.gets("b", &large);
    row.gets("a", "small");
}

fn limits(row: &mut Row) {
    let connack = row.connect_with("a", &json!({ "keepAlive": 1000 }));
    let wanted = [
        ("ServerKeepAlive", 600),
        ("MaximumPacketSize", 3_000_000),
        ("ReceiveMaximum", 20),
        ("TopicAliasMaximum", 10),
    ];
    for (name, value) in wanted {
        assert_eq!(connack["properties"][name], value, "{}: {connack}", row.name);
    }
}

fn scram(row: &mut Row) {
    let connack = row.connect_with("a", &json!({ "scram": ["scram", "pencil"] }));
    assert_eq!(connack["knows"], true, "{}: the broker knows the password too", row.name);
    row.publish("a", &row.topic("t"), "in", 1);
    let refused = row.enter("b", &json!({ "scram": ["scram", "pen"] }));
    assert_eq!(refused["code"], 0x87, "{}: {refused}", row.name);
}

/// A session and a message that end after a second, and a will that waits for two: when it comes, both
/// are gone.
fn time(row: &mut Row) {
    let topic = row.topic("t");
    let session = |clean: bool, seconds: u32| json!({ "clean": clean, "properties": { "SessionExpiryInterval": seconds } });
    row.connect("watch");
    row.subscribe("watch", &row.topic("will"), 1);
    for (peer, seconds) in [("short", 1), ("long", 300)] {
        row.connect_with(peer, &session(true, seconds));
        row.subscribe(peer, &topic, 1);
        row.disconnect(peer);
    }
    row.publish_with("watch", &topic, "short", 1, &json!({ "properties": { "MessageExpiryInterval": 1 } }));
    row.publish_with("watch", &topic, "long", 1, &json!({ "properties": { "MessageExpiryInterval": 300 } }));
    let will = json!({
        "topic": row.topic("will"), "payload": "clock", "qos": 1, "retain": false,
        "properties": { "WillDelayInterval": 2 },
    });
    row.connect_with("clock", &json!({ "will": will, "properties": { "SessionExpiryInterval": 300 } }));
    row.cut("clock");
    row.gets("watch", "clock");
    assert_eq!(row.connect_with("short", &session(false, 0))["present"], false, "{}", row.name);
    assert_eq!(row.connect_with("long", &session(false, 0))["present"], true, "{}", row.name);
    let left = row.gets("long", "long").properties["MessageExpiryInterval"].as_u64();
    assert!(left.is_some_and(|left| left <= 298), "{}: {left:?}", row.name);
}
