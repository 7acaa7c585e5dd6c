//! MQTT over WebSocket: frames and requests as no well-behaved client sends them, by hand; and the
//! plain HTTP of such a listener.

use std::os::unix::fs::symlink;

use mqttlab::broker::config::{Config, ListenerProtocol};
use mqttlab::broker::server::{Broker, Medium};
use mqttlab::mqtt::packet::Disconnect;
use mqttlab::mqtt::{ProtocolVersion, QoS};
use mqttlab::net::Endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::broker::{
    OPEN, connect, connect_with, folder, next_message, options, publish, start_changed, subscribe,
};
use crate::support::tls::{authority, tls_endpoint, tls_folder};
use crate::support::ws::{BINARY, CLOSE, PING, PONG, REQUEST, Raw, frame};

/// Pings: more than the sockets' buffers hold answers for.
const FLOOD: u32 = 60_000;

/// CONNECT of an anonymous 3.1.1 client `raw`, keep-alive off.
const CONNECT: &[u8] = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03raw";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const PINGREQ: &[u8] = b"\xc0\x00";
const PINGRESP: &[u8] = b"\xd0\x00";

fn websockets(config: &mut Config) {
    for listener in &mut config.listeners {
        listener.protocol = ListenerProtocol::WebSockets;
    }
}

async fn start_with(change: impl FnOnce(&mut Config)) -> Broker {
    let change = |config: &mut Config| {
        websockets(config);
        change(config);
    };
    start_changed(folder(OPEN).path(), Medium::Sockets, change).await.0
}

async fn start() -> Broker {
    start_with(|_| {}).await
}

fn port(broker: &Broker) -> u16 {
    broker.addresses()[0].port()
}

/// A client that is let in.
async fn connected(broker: &Broker) -> Raw<TcpStream> {
    let mut raw = Raw::open(port(broker)).await;
    raw.send(&frame(BINARY, CONNECT)).await;
    assert_eq!(raw.next().await, Some((BINARY, CONNACK.to_vec())));
    raw
}

/// HARDENING 45 `ws-framing`: frame borders mean nothing. [MQTT-6.0.0-2]
#[tokio::test]
async fn packets_are_found_however_they_lie_in_frames() {
    let broker = start().await;
    let packets = [CONNECT, PINGREQ, b"\x82\x06\x00\x01\x00\x01t\x02", PINGREQ].concat();
    let wanted = [CONNACK, PINGRESP, b"\x90\x03\x00\x01\x02", PINGRESP].concat();
    for size in [1, 2, 5, packets.len()] {
        // Frames of their own, and fragments of one message with control frames between them.
        let mut frames = Vec::new();
        let mut fragments = frame(0x02, b"");
        for piece in packets.chunks(size) {
            frames.extend(frame(BINARY, piece));
            fragments.extend([frame(0x00, piece), frame(PONG, b"unasked")].concat());
        }
        fragments.extend(frame(0x80, b""));
        for bytes in [frames, fragments] {
            for chunk in [1, bytes.len()] {
                let mut raw = Raw::open(port(&broker)).await;
                for bytes in bytes.chunks(chunk) {
                    raw.send(bytes).await;
                }
                assert_eq!(raw.data(wanted.len()).await, wanted, "pieces of {size}, writes of {chunk}");
            }
        }
    }
}

#[tokio::test]
async fn a_batch_of_answers_is_one_frame() {
    let broker = start().await;
    let mut raw = connected(&broker).await;
    // A frame that is written at once is read at once: it is smaller than what is read at a time.
    raw.send(&frame(BINARY, &PINGREQ.repeat(60))).await;
    assert_eq!(raw.next().await, Some((BINARY, PINGRESP.repeat(60))));
}

/// HARDENING 45 `ws-zero-frame`: frames of no length are no end of anything (mosquitto #3704).
#[tokio::test]
async fn empty_frames_are_harmless() {
    let broker = start().await;
    let mut raw = Raw::open(port(&broker)).await;
    let empty = [frame(BINARY, b""), frame(0x02, b""), frame(0x00, b""), frame(0x80, b"")].concat();
    for packet in [CONNECT, PINGREQ] {
        raw.send(&empty).await;
        raw.send(&empty.repeat(1000)).await;
        raw.send(&frame(BINARY, packet)).await;
    }
    let wanted = [CONNACK, PINGRESP].concat();
    assert_eq!(raw.data(wanted.len()).await, wanted);
}

/// HARDENING 45 `ws-empty-credentials` (nanomq #1819).
#[tokio::test]
async fn an_empty_user_name_and_password_are_a_name_and_a_password() {
    let broker = start().await;
    let mut raw = Raw::open(port(&broker)).await;
    raw.send(&frame(BINARY, b"\x10\x13\x00\x04MQTT\x04\xc2\x00\x00\x00\x03raw\x00\x00\x00\x00")).await;
    raw.send(&frame(BINARY, PINGREQ)).await;
    let wanted = [CONNACK, PINGRESP].concat();
    assert_eq!(raw.data(wanted.len()).await, wanted);
}

#[tokio::test]
async fn wrong_frames_close_their_sender_alone_and_say_why() {
    let broker = start().await;
    let mut witness = connect(&broker.endpoint(0), ProtocolVersion::V5, "witness").await;
    let unmasked = [&[BINARY, 2][..], PINGREQ].concat();
    let cases: [(Vec<u8>, u16); 11] = [
        // [MQTT-6.0.0-1]
        (frame(0x81, PINGREQ), 1003),
        (frame(0x01, b""), 1003),
        (unmasked, 1002),
        (frame(0xC2, PINGREQ), 1002),
        (frame(0x83, b""), 1002),
        (frame(0x8F, b""), 1002),
        (frame(0x80, PINGREQ), 1002),
        (frame(0x09, b""), 1002),
        (frame(PING, &[b'x'; 126]), 1002),
        ([frame(0x02, b"\xc0"), frame(0x02, b"\x00")].concat(), 1002),
        (frame(CLOSE, b"\x03"), 1002),
    ];
    for (bytes, code) in cases {
        let mut raw = connected(&broker).await;
        raw.send(&bytes).await;
        // What stands behind is not read, and does not keep the goodbye from arriving.
        let _ = raw.stream.write_all(&frame(BINARY, PINGREQ).repeat(1000)).await;
        let goodbye = (CLOSE, code.to_be_bytes().to_vec());
        assert_eq!(raw.next().await, Some(goodbye), "{:02x?}", &bytes[..2]);
        assert_eq!(raw.next().await, None);
        witness.ping().await.expect("untouched");
    }
}

#[tokio::test]
async fn pings_are_answered_and_a_flood_of_them_costs_nothing() {
    let broker = start().await;
    let mut raw = connected(&broker).await;
    raw.send(&frame(PING, b"there?")).await;
    assert_eq!(raw.next().await, Some((PONG, b"there?".to_vec())));
    raw.send(&frame(PING, b"")).await;
    assert_eq!(raw.next().await, Some((PONG, Vec::new())));

    let (mut reading, mut writing) = tokio::io::split(raw.stream);
    let flood = tokio::spawn(async move {
        for number in 0..FLOOD {
            let payload = [&number.to_be_bytes()[..], &[0; 121]].concat();
            writing.write_all(&frame(PING, &payload)).await.expect("the broker reads on");
        }
        writing.write_all(&frame(BINARY, PINGREQ)).await.expect("the broker reads on");
        writing
    });
    // All is sent before anything is read: only the last of those that wait is answered.
    let writing = flood.await.expect("no panic");
    let mut answers = Vec::new();
    let wanted = [&[BINARY, 2][..], PINGRESP].concat();
    while !answers.ends_with(&wanted) {
        assert!(reading.read_buf(&mut answers).await.expect("open") > 0, "closed");
    }
    let pongs: Vec<u32> = answers[..answers.len() - wanted.len()]
        .chunks(127)
        .map(|pong| u32::from_be_bytes([pong[2], pong[3], pong[4], pong[5]]))
        .collect();
    assert!(pongs.is_sorted(), "in their order");
    assert_eq!(pongs.last(), Some(&(FLOOD - 1)), "the last is answered");
    drop(writing);
}

#[tokio::test]
async fn goodbyes_are_said_in_both_directions() {
    let broker = start().await;
    for (ours, theirs) in [(&b"\x03\xe8bye"[..], 1000_u16), (b"\x0f\xa0", 4000), (b"", 1000)] {
        let mut raw = connected(&broker).await;
        raw.send(&[frame(BINARY, PINGREQ), frame(CLOSE, ours), frame(BINARY, PINGREQ)].concat()).await;
        assert_eq!(raw.next().await, Some((BINARY, PINGRESP.to_vec())));
        assert_eq!(raw.next().await, Some((CLOSE, theirs.to_be_bytes().to_vec())));
        assert_eq!(raw.next().await, None);
    }
    let mut raw = connected(&broker).await;
    raw.send(&frame(BINARY, b"\xe0\x00")).await;
    assert_eq!(raw.next().await, Some((CLOSE, vec![0x03, 0xE8])), "after DISCONNECT");
    assert_eq!(raw.next().await, None);
    let mut raw = connected(&broker).await;
    broker.stop().await;
    assert_eq!(raw.next().await, Some((CLOSE, vec![0x03, 0xE8])), "at the end of the broker");
    assert_eq!(raw.next().await, None);
}

#[tokio::test]
async fn a_frame_may_be_endless_but_no_packet_in_it() {
    let broker = start_with(|config| config.limits.max_packet_size = 100).await;
    // A frame of 2^62 bytes.
    let head = [&[BINARY, 0xFF, 0x40][..], &[0; 11]].concat();
    let mut early = Raw::open(port(&broker)).await;
    early.send(&[&head[..], b"\x10\xff\xff\xff\x7f"].concat()).await;
    assert_eq!(early.next().await, Some((CLOSE, vec![0x03, 0xE8])), "before CONNECT");
    let mut late = Raw::open(port(&broker)).await;
    late.send(&[&head[..], CONNECT, &PINGREQ.repeat(1000)].concat()).await;
    let wanted = [CONNACK, &PINGRESP.repeat(1000)].concat();
    assert_eq!(late.data(wanted.len()).await, wanted);
    late.send(b"\x30\x65").await;
    assert_eq!(late.next().await, Some((CLOSE, vec![0x03, 0xE8])), "after CONNECT");
}

#[tokio::test]
async fn requests_that_open_nothing_are_told_why() {
    let broker = start_with(|config| config.listeners[0].origins = vec!["http://lab".to_owned()]).await;
    let with_origin = REQUEST.replace("Host:", "Origin: http://lab\r\nHost:");
    let long = "x".repeat(1 << 20);
    let cases = [
        (with_origin.replace("/mqtt", "/any/path?x=y"), "101 "),
        (with_origin.replace("Protocol: mqtt", "Protocol: chat, mqttv3.1, mqtt"), "101 "),
        // [MQTT-6.0.0-4]
        (with_origin.replace("Protocol: mqtt", "Protocol: chat"), "400 "),
        (with_origin.replace("Sec-WebSocket-Protocol: mqtt\r\n", ""), "400 "),
        (with_origin.replace("Sec-WebSocket-Key", "X"), "400 "),
        (with_origin.replace("Version: 13", "Version: 8"), "426 "),
        (REQUEST.to_owned(), "403 "),
        (with_origin.replace("//lab", "//elsewhere"), "403 "),
        (with_origin.replace("Host:", &format!("X: {long}\r\nHost:")), "431 "),
        (with_origin.replace("/mqtt", &long), "431 "),
        (with_origin.replace("Host:", &format!("{}Host:", "X: y\r\n".repeat(100))), "431 "),
        ("HELLO\r\n\r\n".to_owned(), "400 "),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "404 "),
    ];
    for (request, status) in cases {
        let (raw, answer) = Raw::request(port(&broker), &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer} to {request:.200}");
        if status == "101 " {
            assert!(answer.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{answer}");
            assert!(!answer.contains("Extensions"), "{answer}");
        } else {
            raw.rest().await;
        }
    }
}

#[tokio::test]
async fn a_request_may_be_as_large_as_the_configuration_says_and_never_less_than_4_kib() {
    for (size, lengths) in [(0, [3000, 5000]), (16_384, [15_000, 20_000])] {
        let broker = start_with(|config| config.process.packet_buffer_size = size).await;
        for (length, status) in lengths.into_iter().zip(["101 ", "431 "]) {
            let request = REQUEST.replace("Host:", &format!("Cookie: {}\r\nHost:", "x".repeat(length)));
            let (_, answer) = Raw::request(port(&broker), &request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{length} of {size}: {answer}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_request_is_waited_for_no_longer_than_a_connect() {
    let folder = folder(OPEN);
    let (broker, _) = start_changed(folder.path(), Medium::Memory, websockets).await;
    let Endpoint::WebSocket { over, .. } = broker.endpoint(0) else { panic!("a WebSocket") };
    for bytes in [&b""[..], &REQUEST.as_bytes()[..100], REQUEST.as_bytes()] {
        let begin = tokio::time::Instant::now();
        let mut silent = over.connect().await.expect("listening");
        silent.write_all(bytes).await.expect("room");
        let mut rest = Vec::new();
        // An end without a goodbye is an end.
        let _ = silent.read_to_end(&mut rest).await;
        assert_eq!(begin.elapsed().as_secs(), 10, "after {} bytes", bytes.len());
    }
}

#[tokio::test]
async fn files_are_served_and_nothing_outside_of_their_folder() {
    let outer = folder("secret");
    let site = outer.path().join("site");
    std::fs::create_dir_all(site.join("js")).expect("made");
    std::fs::write(site.join("index.html"), "<p>lab").expect("written");
    std::fs::write(site.join("js/a b.js"), "1").expect("written");
    std::fs::write(site.join("large.bin"), vec![7; 300_000]).expect("written");
    symlink(outer.path().join("mosquitto.conf"), site.join("out")).expect("made");
    symlink(outer.path(), site.join("up")).expect("made");
    symlink(site.join("index.html"), site.join("in.html")).expect("made");
    let broker = start_with(|config| config.listeners[0].http_dir = Some(site)).await;
    let get = async |method: &str, target: &str| {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (raw, head) = Raw::request(port(&broker), &request).await;
        (head, raw.rest().await)
    };
    let found = [
        ("/", "text/html", &b"<p>lab"[..]),
        ("/index.html?x", "text/html", b"<p>lab"),
        ("/in.html", "text/html", b"<p>lab"),
        ("/js/a%20b.js", "text/javascript", b"1"),
        ("/large.bin", "application/octet-stream", &vec![7; 300_000]),
    ];
    for (target, kind, content) in found {
        let (head, body) = get("GET", target).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{target}: {head}");
        assert!(head.contains(&format!("Content-Type: {kind}")), "{target}: {head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", content.len())), "{target}: {head}");
        assert!(body == content, "{target}");
        assert_eq!(get("HEAD", target).await, (head, Vec::new()));
    }
    let nothing = [
        "/none",
        "/js",
        "/out",
        "/up/mosquitto.conf",
        "/../mosquitto.conf",
        "/js/../../mosquitto.conf",
        "/%2e%2e/mosquitto.conf",
        "/..%2fmosquitto.conf",
        "//etc/passwd",
        "/index.html/x",
        "/%00",
        "*",
    ];
    for target in nothing {
        let (head, body) = get("GET", target).await;
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{target}: {head}");
        assert_eq!(body, b"404 Not Found\n", "{target}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let (head, _) = get(method, "/index.html").await;
        assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n"), "{head}");
    }
    // On the same listener as MQTT.
    connected(&broker).await;
}

#[tokio::test]
async fn our_client_sends_a_megabyte_and_more_over_websockets_and_tls() {
    let lab = authority();
    let folder = tls_folder(&lab, &["localhost"]);
    let (broker, _) = start_changed(folder.path(), Medium::Sockets, websockets).await;
    let secure = tls_endpoint(broker.addresses()[1].port(), &lab).websocket();
    let payload: Vec<u8> = (0..1_500_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    for version in ProtocolVersion::ALL {
        let mut plain = connect(&broker.endpoint(0), version, "plain").await;
        let mut tls = connect(&secure, version, "tls").await;
        for client in [&mut plain, &mut tls] {
            client.subscribe(subscribe("large", QoS::ExactlyOnce)).await.expect("granted");
        }
        for from in 0..2 {
            let client = if from == 0 { &mut plain } else { &mut tls };
            client.publish(publish("large", payload.clone(), QoS::ExactlyOnce)).await.expect("acknowledged");
            for client in [&mut plain, &mut tls] {
                assert!(next_message(client).await.payload == payload, "{version} from {from}");
            }
        }
        plain.disconnect(Disconnect::default()).await;
    }
}

#[tokio::test]
async fn an_idle_websocket_answers_after_its_peer_has_stalled() {
    let broker = start().await;
    let mut deaf = connected(&broker).await;
    deaf.send(&frame(BINARY, b"\x82\x06\x00\x02\x00\x01t\x00")).await;
    assert_eq!(deaf.data(5).await, b"\x90\x03\x00\x02\x00");
    let mut options = options(ProtocolVersion::V311, "pub");
    options.connect.clean_start = true;
    let mut client = connect_with(&broker.endpoint(0), &options).await;
    // More than the sockets' buffers hold: a frame is cut in the middle by a full socket.
    for _ in 0..100 {
        client.publish(publish("t", vec![b'x'; 100_000], QoS::AtLeastOnce)).await.expect("acknowledged");
    }
    deaf.send(&frame(PING, b"still there?")).await;
    let mut pongs = 0;
    let mut data = 0;
    while pongs == 0 {
        match deaf.next().await {
            Some((BINARY, payload)) => data += payload.len(),
            Some((PONG, payload)) => {
                assert_eq!(payload, b"still there?");
                pongs += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(data > 0, "{data}");
    // What it did not take in time was dropped, as for any slow reader; nothing was cut in pieces.
    deaf.send(&frame(BINARY, PINGREQ)).await;
    loop {
        let Some((BINARY, payload)) = deaf.next().await else { panic!("closed") };
        if payload.ends_with(PINGRESP) {
            break;
        }
    }
}
