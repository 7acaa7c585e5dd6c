//! The broker end to end: real sockets (and, where time matters, pipes under a paused clock), our
//! wire client or bare bytes at the other end.

use std::time::Duration;

use bytes::BytesMut;
use mqttlab::broker::auth::{Hashing, hash_password};
use mqttlab::broker::server::{Broker, Medium};
use mqttlab::client::{Client, ConnectFailure, Event, Session};
use mqttlab::mqtt::codec::encode;
use mqttlab::mqtt::packet::{Disconnect, Publish};
use mqttlab::mqtt::{Packet, ProtocolVersion, QoS, ReasonCode};
use mqttlab::net::ConnectError;
use mqttlab::net::framed::Closed;
use mqttlab::tls::TlsFailure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::broker::{
    OPEN, PATIENCE, Process, connect, connect_with, folder, next_message, options, publish, start, start_in,
    subscribe,
};
use crate::support::tls::{authority, issue, tls_endpoint, tls_folder, write_certificate};

use ProtocolVersion::{V5, V311};
use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};

/// CONNECT of an anonymous 3.1.1 client `raw`, keep-alive off.
const CONNECT: &[u8] = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03raw";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const PINGREQ: &[u8] = b"\xc0\x00";
const PINGRESP: &[u8] = b"\xd0\x00";

/// Port of a broker in this process.
fn port(broker: &Broker) -> u16 {
    broker.addresses()[0].port()
}

async fn socket(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.expect("listening")
}

/// Everything until the end of the stream; a reset is an end too.
async fn read_to_end(mut socket: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = async { while socket.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {} };
    timeout(PATIENCE, reading).await.expect("an end");
    bytes
}

async fn ended(client: &mut Client) -> (Vec<Packet>, Closed) {
    let mut packets = Vec::new();
    let reading = async {
        loop {
            match client.next().await {
                Event::Packet(packet) => packets.push(packet),
                Event::Closed(closed) => return closed,
                other => panic!("{other:?}"),
            }
        }
    };
    let closed = timeout(PATIENCE, reading).await.expect("an end");
    (packets, closed)
}

/// Over TCP. [MQTT-7.1.1-1] 5: [MQTT-4.2.0-1]
#[tokio::test]
async fn every_quality_of_service_reaches_every_revision() {
    let broker = start(Medium::Sockets).await;
    let endpoint = broker.endpoint(0);
    for version in ProtocolVersion::ALL {
        let mut watch = connect(&endpoint, version, "watch").await;
        watch.subscribe(subscribe("t/#", ExactlyOnce)).await.expect("granted");
        for from in ProtocolVersion::ALL {
            let mut client = connect(&endpoint, from, "pub").await;
            for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
                client.publish(publish("t/x", format!("{from} {qos}"), qos)).await.expect("acknowledged");
                let message = next_message(&mut watch).await;
                assert_eq!((message.qos, &message.payload[..]), (qos, format!("{from} {qos}").as_bytes()));
            }
            client.disconnect(Disconnect::default()).await;
        }
    }
}

#[tokio::test]
async fn a_second_connection_takes_the_session_over() {
    let broker = start(Medium::Sockets).await;
    let mut old = connect(&broker.endpoint(0), V5, "same").await;
    let mut new = connect(&broker.endpoint(0), V5, "same").await;
    let (packets, closed) = ended(&mut old).await;
    assert!(
        matches!(&packets[..], [Packet::Disconnect(goodbye)] if goodbye.reason == ReasonCode::SESSION_TAKEN_OVER),
        "{packets:?}"
    );
    assert_eq!(closed, Closed::Eof);
    new.ping().await.expect("lives");
}

/// A client that leaves and is back before the broker has looked has left all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_and_comes_back_at_once_leaves_no_will() {
    const GOODBYE: &[u8] = b"\xe0\x00";
    /// CONNECT of `raw` with a will, `w`: `gone`.
    const WITH_WILL: &[u8] = b"\x10\x18\x00\x04MQTT\x04\x06\x00\x00\x00\x03raw\x00\x01w\x00\x04gone";
    let broker = start(Medium::Sockets).await;
    let mut watch = connect(&broker.endpoint(0), V311, "watch").await;
    watch.subscribe(subscribe("#", AtMostOnce)).await.expect("granted");
    let mut old: Option<TcpStream> = None;
    for _ in 0..200 {
        let mut new = match old.take() {
            Some(mut old) => {
                old.write_all(GOODBYE).await.expect("sent");
                socket(port(&broker)).await
            }
            None => socket(port(&broker)).await,
        };
        new.write_all(WITH_WILL).await.expect("sent");
        let mut answer = [0; 4];
        new.read_exact(&mut answer).await.expect("let in");
        assert_eq!(answer, CONNACK);
        old = Some(new);
    }
    old.expect("one").write_all(GOODBYE).await.expect("sent");
    watch.publish(publish("end", "", AtMostOnce)).await.expect("sent");
    assert_eq!(next_message(&mut watch).await.topic.as_str(), "end", "and no will before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_come_at_once_with_their_passwords() {
    let folder = folder("listener 0 127.0.0.1\n");
    let passwords = folder.path().join("passwords");
    let hash = hash_password(Hashing::Pbkdf2 { iterations: 101 }, &[7; 12], b"a1");
    std::fs::write(&passwords, format!("alice:{hash}\n")).expect("written");
    let conf = format!("listener 0 127.0.0.1\npassword_file {}\n", passwords.display());
    std::fs::write(folder.path().join("mosquitto.conf"), conf).expect("written");
    let broker = start_in(folder.path(), Medium::Sockets).await;
    let endpoint = broker.endpoint(0);
    let mut clients = JoinSet::new();
    for number in 0..1000 {
        let endpoint = endpoint.clone();
        clients.spawn(async move {
            let mut options = options(V311, &format!("c{number}"));
            options.connect.username = Some("alice".into());
            options.connect.password = Some("a1".into());
            options.connect_timeout = PATIENCE;
            let mut client = connect_with(&endpoint, &options).await;
            client.subscribe(subscribe(&format!("to/{number}"), AtLeastOnce)).await.expect("granted");
            client
        });
    }
    let mut clients = clients.join_all().await;
    // All are there at the same time; each writes to another one.
    for (number, client) in clients.iter_mut().enumerate() {
        client.start_publish(publish(&format!("to/{number}"), "x", AtLeastOnce)).expect("an identifier");
        client.flush().await.expect("written");
    }
    for client in &mut clients {
        next_message(client).await;
    }
    let mut wrong = options(V311, "wrong");
    wrong.connect.username = Some("alice".into());
    wrong.connect.password = Some("a2".into());
    let refused = Client::connect(&endpoint, &wrong, Session::default(), None).await;
    let Err(ConnectFailure::Refused(answer)) = refused else { panic!("{refused:?}") };
    assert_eq!(answer.code, ReasonCode::V3_NOT_AUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_reading_costs_bounded_memory_and_nobody_else() {
    let folder = folder(OPEN);
    let process = Process::start(folder.path(), &[]);
    let endpoint = process.endpoint();
    let mut deaf = connect(&endpoint, V311, "deaf").await;
    deaf.subscribe(subscribe("flood", AtLeastOnce)).await.expect("granted");
    let mut hears = connect(&endpoint, V311, "hears").await;
    hears.subscribe(subscribe("end", AtLeastOnce)).await.expect("granted");
    let mut publisher = connect(&endpoint, V311, "pub").await;
    let before = process.memory();
    for qos in [AtMostOnce, AtLeastOnce] {
        for _ in 0..200 {
            for _ in 0..200 {
                publisher.start_publish(publish("flood", vec![b'x'; 2048], qos)).expect("an identifier");
            }
            publisher.ping().await.expect("the publisher is not held up");
        }
    }
    publisher.publish(publish("end", "end", AtLeastOnce)).await.expect("acknowledged");
    next_message(&mut hears).await;
    let grown = process.memory().saturating_sub(before);
    assert!(grown < 100 << 20, "160 MB were sent to a client that does not read; the broker grew by {grown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_and_never_reads_is_held_back() {
    let folder = folder(OPEN);
    let process = Process::start(folder.path(), &[]);
    let before = process.memory();
    let mut flood = socket(process.ports[0]).await;
    flood.write_all(CONNECT).await.expect("written");
    // 16 million pings would be answered with 32 MB.
    let pings = PINGREQ.repeat(64 * 1024);
    let flooding = async {
        for _ in 0..256 {
            flood.write_all(&pings).await?;
        }
        std::io::Result::Ok(())
    };
    let outcome = timeout(Duration::from_secs(5), flooding).await;
    assert!(outcome.is_err(), "the broker reads on although its answers are not taken: {outcome:?}");
    let mut other = connect(&process.endpoint(), V311, "other").await;
    other.ping().await.expect("served");
    let grown = process.memory().saturating_sub(before);
    assert!(grown < 20 << 20, "the broker grew by {grown}");
}

#[tokio::test]
async fn a_session_of_single_bytes_and_one_of_a_single_write_are_the_same() {
    let broker = start(Medium::Sockets).await;
    let mut bytes = BytesMut::from(CONNECT);
    encode(&Packet::Subscribe(subscribe("t", ExactlyOnce)), V311, &mut bytes);
    bytes.extend_from_slice(PINGREQ);
    for sizes in [1, 2, 3, 1000] {
        let mut socket = socket(port(&broker)).await;
        socket.set_nodelay(true).expect("a socket");
        for chunk in bytes.chunks(sizes) {
            socket.write_all(chunk).await.expect("written");
        }
        let wanted = [CONNACK, b"\x90\x03\x00\x01\x02", PINGRESP].concat();
        let mut answer = vec![0; wanted.len()];
        timeout(PATIENCE, socket.read_exact(&mut answer)).await.expect("in time").expect("all of it");
        assert_eq!(answer, wanted, "in pieces of {sizes}");
    }
}

#[tokio::test]
async fn a_pipelined_batch_is_answered_in_order_and_before_the_end() {
    let broker = start(Medium::Sockets).await;
    let mut bytes = BytesMut::from(CONNECT);
    for _ in 0..1000 {
        bytes.extend_from_slice(PINGREQ);
        // PUBLISH, QoS 1, to `t`, identifier 9
        bytes.extend_from_slice(b"\x32\x06\x00\x01t\x00\x09!");
    }
    let mut socket = socket(port(&broker)).await;
    socket.write_all(&bytes).await.expect("written");
    // The client ends its half: what it asked is answered all the same.
    socket.shutdown().await.expect("open");
    let wanted = [CONNACK, &[PINGRESP, b"\x40\x02\x00\x09"].concat().repeat(1000)].concat();
    assert_eq!(read_to_end(socket).await, wanted);
}

#[tokio::test]
async fn malformed_bytes_close_only_their_sender() {
    let broker = start(Medium::Sockets).await;
    let mut witness = connect(&broker.endpoint(0), V5, "witness").await;
    let after_connect: [&[u8]; 8] = [
        b"\x00\x00",                  // reserved type
        b"\xf0\x00",                  // AUTH before 5.0
        b"\xc1\x00",                  // flags of PINGREQ
        b"\x36\x05\x00\x01t\x00\x01", // QoS 3
        b"\x30\xff\xff\xff\xff\x01",  // length of five bytes
        b"\x82\x02\x00\x01",          // no filter
        b"\x30\x04\x00\x02a\xff",     // not UTF-8
        b"\x20\x02\x00\x00",          // CONNACK from a client
    ];
    for bytes in after_connect {
        let mut socket = socket(port(&broker)).await;
        socket.write_all(&[CONNECT, bytes, PINGREQ].concat()).await.expect("written");
        assert_eq!(read_to_end(socket).await, CONNACK, "after {bytes:02x?}");
    }
    let before_connect: [&[u8]; 4] =
        [PINGREQ, b"\x10\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"];
    for bytes in before_connect {
        let mut socket = socket(port(&broker)).await;
        socket.write_all(bytes).await.expect("written");
        assert_eq!(read_to_end(socket).await, b"", "after {bytes:02x?}");
    }
    witness.ping().await.expect("untouched");
}

#[tokio::test]
async fn a_first_packet_of_more_than_64_kib_is_not_waited_for() {
    let broker = start(Medium::Sockets).await;
    let mut socket = socket(port(&broker)).await;
    // CONNECT with a Remaining Length of 256 MB, of which nothing comes.
    socket.write_all(b"\x10\xff\xff\xff\x7f").await.expect("written");
    assert_eq!(read_to_end(socket).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_messages_arrive_in_order_and_once() {
    let folder = folder(&format!("{OPEN}max_queued_messages 0\n"));
    let broker = start_in(folder.path(), Medium::Sockets).await;
    let mut watch = connect(&broker.endpoint(0), V311, "watch").await;
    watch.subscribe(subscribe("n", ExactlyOnce)).await.expect("granted");
    let mut client = connect(&broker.endpoint(0), V311, "pub").await;
    let publishing = tokio::spawn(async move {
        for number in 0..20_000 {
            let message = publish("n", number.to_string(), ExactlyOnce);
            let id = client.start_publish(message).expect("an identifier").expect("QoS 2 has one");
            if number % 500 == 499 {
                client.wait(id).await.expect("complete");
            }
        }
    });
    for number in 0..20_000 {
        assert_eq!(next_message(&mut watch).await.payload, number.to_string());
    }
    publishing.await.expect("no panic");
}

#[tokio::test]
async fn a_stopping_broker_says_goodbye_and_a_killed_one_does_not() {
    for (stops, version, wanted) in [(true, V5, 1), (true, V311, 0), (false, V5, 0)] {
        let broker = start(Medium::Sockets).await;
        let endpoint = broker.endpoint(0);
        let mut client = connect(&endpoint, version, "c").await;
        if stops {
            broker.stop().await;
        } else {
            broker.kill().await;
        }
        let (packets, _) = ended(&mut client).await;
        assert_eq!(packets.len(), wanted, "{packets:?}");
        if let Some(Packet::Disconnect(goodbye)) = packets.first() {
            assert_eq!(goodbye.reason, ReasonCode::SERVER_SHUTTING_DOWN);
        }
        let refused = endpoint.connect().await.map(drop).expect_err("nobody listens");
        assert!(
            matches!(refused, ConnectError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_after_ten_seconds_of_virtual_time() {
    let broker = start(Medium::Memory).await;
    let begin = tokio::time::Instant::now();
    let silent = broker.endpoint(0).connect().await.expect("listening");
    assert_eq!(read_to_end(silent).await, b"");
    assert_eq!(begin.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn keep_alive_and_will_work_in_virtual_time() {
    let broker = start(Medium::Memory).await;
    let endpoint = broker.endpoint(0);
    let mut watch = connect(&endpoint, V311, "watch").await;
    watch.subscribe(subscribe("will", AtLeastOnce)).await.expect("granted");
    let mut options = options(V311, "quiet");
    options.auto_ping = false;
    options.connect.keep_alive = 120;
    options.connect.will = Some(mqttlab::mqtt::packet::Will {
        topic: mqttlab::mqtt::TopicName::new("will").expect("a topic"),
        payload: "lost".into(),
        qos: AtLeastOnce,
        retain: false,
        properties: mqttlab::mqtt::Properties::new(),
    });
    let mut quiet = connect_with(&endpoint, &options).await;
    let begin = tokio::time::Instant::now();
    // `watch` pings all the while and is kept.
    let receiving = async {
        loop {
            if let Event::Packet(Packet::Publish(will)) = watch.next().await {
                return will;
            }
        }
    };
    let (will, closed) = tokio::join!(receiving, quiet.next());
    assert_eq!((&will.payload[..], closed), (&b"lost"[..], Event::Closed(Closed::Eof)));
    assert_eq!(begin.elapsed().as_secs(), 180);
}

/// A search for retained messages takes as long as it takes; the others are served meanwhile.
#[tokio::test]
async fn who_searches_all_retained_messages_does_not_keep_others_waiting() {
    let broker = start(Medium::Memory).await;
    let mut witness = connect(&broker.endpoint(0), V311, "witness").await;
    for n in 0..3000 {
        let message = Publish { retain: true, ..publish(&format!("r/{n}/x"), "kept", AtMostOnce) };
        witness.publish(message).await.expect("written");
    }
    let last = Publish { retain: true, ..publish("z", "found", AtLeastOnce) };
    witness.publish(last).await.expect("acknowledged");
    let mut searcher = connect(&broker.endpoint(0), V311, "searcher").await;
    for n in 0..40 {
        searcher.start_subscribe(subscribe(&format!("+/+/none{n}"), AtMostOnce)).expect("an identifier");
    }
    searcher.start_subscribe(subscribe("z", AtMostOnce)).expect("an identifier");
    let searching = async {
        assert_eq!(next_message(&mut searcher).await.payload, "found");
        false
    };
    let pinging = async {
        for _ in 0..5 {
            witness.ping().await.expect("answered");
        }
        true
    };
    let first = tokio::select! { first = searching => first, first = pinging => first };
    assert!(first, "five round trips took longer than the search");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_listens_beside_plain_and_takes_a_new_certificate_at_reload() {
    let lab = authority();
    let folder = tls_folder(&lab, &["localhost"]);
    let process = Process::start(folder.path(), &[]);
    let endpoint = tls_endpoint(process.ports[1], &lab);
    let mut secure = connect(&endpoint, V5, "secure").await;
    let mut plain = connect(&process.endpoint(), V311, "plain").await;
    plain.subscribe(subscribe("t", AtLeastOnce)).await.expect("granted");
    let large = vec![b'x'; 300_000];
    secure.publish(publish("t", large.clone(), AtLeastOnce)).await.expect("acknowledged");
    assert_eq!(next_message(&mut plain).await.payload, large);

    write_certificate(folder.path(), &issue(&lab, &["elsewhere.example.org"]));
    process.signal("HUP");
    process.wait_for_line("Reloading config.");
    // The line is logged before the work: a refused name is the sign that it is done.
    let failure = timeout(PATIENCE, async {
        loop {
            match endpoint.connect().await {
                Ok(_) => {}
                Err(ConnectError::Tls { failure, .. }) => return failure,
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert_eq!(failure.await.expect("in time"), TlsFailure::NameMismatch);
    secure.ping().await.expect("who was there stays");

    std::fs::write(folder.path().join("server.crt"), "no certificate").expect("written");
    process.signal("HUP");
    process.wait_for_line("Error when reloading certificate");
    secure.ping().await.expect("who was there stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_shakes_hands_does_not_hold_up_the_end() {
    let lab = authority();
    let folder = tls_folder(&lab, &["localhost"]);
    let mut process = Process::start(folder.path(), &[]);
    let idle = socket(process.ports[1]).await;
    process.wait_for_line("New connection from 127.0.0.1");
    let begin = std::time::Instant::now();
    process.signal("TERM");
    read_to_end(idle).await;
    assert!(process.wait().success());
    assert!(begin.elapsed() < Duration::from_secs(4), "took {:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_clients_on_a_tls_port_are_closed_and_named_in_the_log() {
    let lab = authority();
    let folder = tls_folder(&lab, &["localhost"]);
    let process = Process::start(folder.path(), &[]);
    let mut confused = socket(process.ports[1]).await;
    confused.write_all(CONNECT).await.expect("written");
    read_to_end(confused).await;
    process.wait_for_line("Client connection from 127.0.0.1 failed");
    let other_way = tls_endpoint(process.ports[0], &lab).connect().await.map(drop).expect_err("no TLS there");
    assert!(matches!(other_way, ConnectError::Tls { .. }), "{other_way}");
    process.wait_for_line("appears to be using TLS to connect to a non-TLS listener");
}

/// A session of one revision with every packet that a client may send.
fn whole_session(version: ProtocolVersion) -> BytesMut {
    let mut bytes = BytesMut::new();
    let ack = || mqttlab::mqtt::packet::Ack::success(mqttlab::mqtt::PacketId::FIRST);
    let mut message = publish("t", "payload", ExactlyOnce);
    message.id = Some(mqttlab::mqtt::PacketId::FIRST);
    let packets = [
        Packet::Connect(Box::new(options(version, "hostile").connect)),
        Packet::Subscribe(subscribe("t/#", AtLeastOnce)),
        Packet::Publish(message),
        Packet::PubRel(ack()),
        Packet::PubAck(ack()),
        Packet::PubRec(ack()),
        Packet::PubComp(ack()),
        Packet::PingReq,
        Packet::Disconnect(Disconnect::default()),
    ];
    for packet in packets {
        encode(&packet, version, &mut bytes);
    }
    bytes
}

/// The next of a sequence of numbers that looks random (xorshift).
fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).expect("31 bits")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_hostile_inputs_end_their_own_connection_and_nothing_else() {
    let broker = start(Medium::Sockets).await;
    let mut witness = connect(&broker.endpoint(0), V5, "witness").await;
    witness.subscribe(subscribe("alive", AtLeastOnce)).await.expect("granted");
    let sessions = ProtocolVersion::ALL.map(whole_session);
    for seed in 1..=1000_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut bytes = sessions[random(&mut state) % 3].to_vec();
        for _ in 0..=random(&mut state) % 4 {
            let at = random(&mut state) % bytes.len();
            let byte = u8::try_from(random(&mut state) % 256).expect("a byte");
            match random(&mut state) % 4 {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at + 1),
            }
        }
        let mut socket = socket(port(&broker)).await;
        // The broker may have closed before all was written.
        let _ = socket.write_all(&bytes).await;
        let _ = socket.shutdown().await;
        read_to_end(socket).await;
        if seed % 100 == 0 {
            witness.publish(publish("alive", seed.to_string(), AtLeastOnce)).await.expect("served");
            assert_eq!(next_message(&mut witness).await.payload, seed.to_string(), "at seed {seed}");
        }
    }
}
