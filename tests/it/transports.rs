//! What a broker listens on besides plain TCP ports on every address: Unix sockets, chosen
//! addresses and interfaces, and what a proxy says about who comes.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mqttlab::broker::config::{Compat, Config, ListenerConfig, ListenerProtocol, ProxyVersion, SocketDomain};
use mqttlab::broker::server::{Broker, Medium};
use mqttlab::mqtt::{ProtocolVersion, QoS};
use mqttlab::net::Endpoint;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::support::broker::{
    Lines, OPEN, PATIENCE, connect, folder, next_message, publish, start_changed, subscribe, try_start,
};
use crate::support::skip::skipped;
use crate::support::tls::{authority, tls_folder};
use crate::support::ws::{BINARY, REQUEST, Raw, frame};

/// CONNECT of an anonymous 3.1.1 client `raw`, keep-alive off.
const CONNECT: &[u8] = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03raw";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";

/// With one listener that is changed.
async fn start(change: impl FnOnce(&mut ListenerConfig)) -> (Broker, Lines) {
    let folder = folder(OPEN);
    start_changed(folder.path(), Medium::Sockets, |config| change(&mut config.listeners[0])).await
}

fn unix(path: &Path) -> impl FnOnce(&mut Config) {
    let path = path.to_owned();
    move |config| config.listeners[0].unix = Some(path)
}

fn has(lines: &Lines, text: &str) -> bool {
    lines.lock().expect("no panic there").iter().any(|line| line == text)
}

/// Everything until the end of the stream; a reset is an end too.
async fn read_to_end(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = async { while stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {} };
    timeout(PATIENCE, reading).await.expect("an end");
    bytes
}

#[tokio::test]
async fn a_unix_socket_is_made_served_and_removed() {
    let folder = folder(OPEN);
    let path = folder.path().join("broker.sock");
    let (broker, lines) = start_changed(folder.path(), Medium::Sockets, unix(&path)).await;
    let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o770);
    assert!(broker.addresses().is_empty());
    let mut client = connect(&broker.endpoint(0), ProtocolVersion::V5, "over-unix").await;
    client.subscribe(subscribe("t", QoS::ExactlyOnce)).await.expect("granted");
    client.publish(publish("t", vec![b'x'; 1_000_000], QoS::ExactlyOnce)).await.expect("acknowledged");
    assert_eq!(next_message(&mut client).await.payload.len(), 1_000_000);
    let at = path.display();
    for line in [
        format!("Opening unix listen socket on path {at}."),
        format!("New connection from {at}:0 on port 0."),
        format!("New client connected from {at}:0 as over-unix (p5, c1, k60)."),
    ] {
        assert!(has(&lines, &line), "{line}: {lines:?}");
    }
    broker.stop().await;
    assert!(!path.exists(), "removed");
}

#[tokio::test]
async fn a_unix_socket_that_a_killed_broker_left_is_replaced_and_nothing_else() {
    let folder = folder(OPEN);
    let path = folder.path().join("broker.sock");
    let start = || try_start(folder.path(), Medium::Sockets, unix(&path));
    // What is left when nobody removes it.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    assert!(path.exists());
    let (first, _) = start().await.expect("the way is free");
    let busy = start().await.map(drop).expect_err("the first listens");
    assert_eq!(busy.kind(), ErrorKind::AddrInUse);
    UnixStream::connect(&path).await.expect("still there");

    // A path that is another's by now is not removed.
    std::fs::rename(&path, folder.path().join("moved.sock")).expect("renamed");
    let (second, _) = start().await.expect("the way is free");
    first.stop().await;
    UnixStream::connect(&path).await.expect("the second's");
    second.kill().await;

    std::fs::write(&path, "precious").expect("written");
    let refused = start().await.map(drop).expect_err("there is a file");
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).expect("is there"), "precious");
    let long = folder.path().join("x".repeat(200));
    let refused = try_start(folder.path(), Medium::Sockets, unix(&long)).await.map(drop);
    assert!(refused.is_err_and(|error| error.to_string().contains("cannot listen on")));
}

#[tokio::test]
async fn tls_and_websockets_work_over_a_unix_socket() {
    let lab = authority();
    let folder = tls_folder(&lab, &["localhost"]);
    let path = folder.path().join("broker.sock");
    let (_broker, _) = start_changed(folder.path(), Medium::Sockets, |config| {
        config.listeners[1].unix = Some(path.clone());
        config.listeners[1].protocol = ListenerProtocol::WebSockets;
    })
    .await;
    let trust = mqttlab::tls::client::Trust::Authorities(&[lab.certificate_pem()]);
    let config = mqttlab::tls::client::config(trust).expect("a certificate");
    let name = mqttlab::tls::server_name("localhost").expect("a name");
    let socket = UnixStream::connect(&path).await.expect("listening");
    let secure = tokio_rustls::TlsConnector::from(config).connect(name, socket).await.expect("trusted");
    let (mut raw, answer) = Raw::over(secure, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    raw.send(&frame(BINARY, CONNECT)).await;
    raw.stream.flush().await.expect("written");
    assert_eq!(raw.next().await, Some((BINARY, CONNACK.to_vec())));
}

#[tokio::test]
async fn one_version_of_ip_can_be_chosen_and_the_bound_port_is_in_the_log() {
    let localhost: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    if TcpListener::bind((localhost[1], 0)).is_err() {
        skipped("this machine has no IPv6");
        return;
    }
    let cases = [
        (SocketDomain::V4, [true, false]),
        (SocketDomain::V6, [false, true]),
        (SocketDomain::Any, [true, true]),
    ];
    for (domain, wanted) in cases {
        let (broker, lines) = start(|listener| {
            listener.bind = None;
            listener.domain = domain;
        })
        .await;
        let port = broker.addresses()[0].port();
        for (ip, wanted) in localhost.iter().zip(wanted) {
            let version = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
            assert_eq!(has(&lines, &format!("Opening {version} listen socket on port {port}.")), wanted);
            let Ok(mut socket) = TcpStream::connect((*ip, port)).await else {
                assert!(!wanted, "{ip} {domain:?}");
                continue;
            };
            assert!(wanted, "{ip} {domain:?}");
            socket.write_all(CONNECT).await.expect("written");
            let mut answer = [0; 4];
            socket.read_exact(&mut answer).await.expect("answered");
            let from = socket.local_addr().expect("connected").port();
            let line = format!("New connection from {ip}:{from} on port {port}.");
            assert!(has(&lines, &line), "{line}: {lines:?}");
        }
    }
}

#[tokio::test]
async fn without_a_listener_both_loopback_addresses_are_served_and_no_other() {
    let folder = folder("");
    let (broker, lines) = start_changed(folder.path(), Medium::Sockets, |config| {
        assert!(config.local_only);
        config.listeners[0].port = 0;
    })
    .await;
    let port = broker.addresses()[0].port();
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let version = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
        let serves = has(&lines, &format!("Opening {version} listen socket on port {port}."));
        assert_eq!(TcpStream::connect((ip, port)).await.is_ok(), serves, "{ip}");
    }
    // Another of this host's addresses.
    TcpStream::connect(("127.0.0.2", port)).await.map(drop).expect_err("not on every address");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_interface_is_served_and_one_that_is_not_there_is_an_error() {
    let on = |name: &str| {
        let name = name.to_owned();
        move |config: &mut Config| config.listeners[0].interface = Some(name)
    };
    let folder = folder(OPEN);
    match try_start(folder.path(), Medium::Sockets, on("lo")).await {
        Ok((broker, _)) => drop(connect(&broker.endpoint(0), ProtocolVersion::V311, "c").await),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            skipped("this kernel lets only root bind to an interface");
        }
        Err(error) => panic!("{error}"),
    }
    let refused = try_start(folder.path(), Medium::Sockets, on("nosuchif0")).await.map(drop);
    let error = refused.expect_err("there is none").to_string();
    assert!(error.contains("cannot listen on") && error.contains("nosuchif0"), "{error}");
}

#[tokio::test]
async fn mosquitto_2_0_has_a_line_of_its_own_for_websockets() {
    let folder = folder(OPEN);
    let (broker, lines) = start_changed(folder.path(), Medium::Sockets, |config| {
        config.compat = Compat::V20;
        config.listeners[0].protocol = ListenerProtocol::WebSockets;
    })
    .await;
    let port = broker.addresses()[0].port();
    assert!(has(&lines, &format!("Opening websockets listen socket on port {port}.")), "{lines:?}");
}

/// HARDENING 46 `proxy-protocol`
#[tokio::test]
async fn a_proxy_says_who_comes_and_who_comes_without_one_is_not_let_in() {
    let v1 = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 1883\r\n".to_vec();
    let v2 = |command: u8, rest: &[u8]| {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n", &[command, 0x11][..], &length, rest].concat()
    };
    let address = [203, 0, 113, 7, 127, 0, 0, 1, 0x12, 0x67, 0x07, 0x5B];
    let truncated = [&address[..], &[0x04, 0xFF, 0xFF, 0]].concat();
    let secure = [&address[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat();
    let corrupt = "rejected, corrupt PROXY header.";
    let cases = [
        (ProxyVersion::V1, false, v1.clone(), true, "New connection from 203.0.113.7:4711 on port "),
        (ProxyVersion::V1, false, b"PROXY UNKNOWN\r\n".to_vec(), true, "New connection from 127.0.0.1:"),
        (ProxyVersion::V2, false, v2(0x21, &address), true, "New connection from 203.0.113.7:4711 on port "),
        (ProxyVersion::V2, false, v2(0x20, &address), true, "New connection from 127.0.0.1:"),
        (ProxyVersion::V2, true, v2(0x21, &secure), true, "New connection from 203.0.113.7:4711 on port "),
        (
            ProxyVersion::V2,
            true,
            v2(0x21, &address),
            false,
            "Connection from 203.0.113.7:4711 rejected, client did not connect using TLS.",
        ),
        (ProxyVersion::V2, true, v2(0x20, &secure), false, "rejected, client did not connect using TLS."),
        (ProxyVersion::V2, false, v2(0x21, &truncated), false, corrupt),
        (ProxyVersion::V2, false, v2(0x21, &address[..11]), false, corrupt),
        (ProxyVersion::V2, false, v1, false, corrupt),
        (ProxyVersion::V1, false, v2(0x21, &address), false, corrupt),
        (ProxyVersion::V1, false, Vec::new(), false, corrupt),
        (ProxyVersion::V1, false, b"PROXY UNKNOWN".repeat(100), false, corrupt),
    ];
    for (version, requires_tls, header, let_in, line) in cases {
        let (broker, lines) = start(|listener| {
            listener.proxy_protocol = Some(version);
            listener.proxy_requires_tls = requires_tls;
        })
        .await;
        let mut socket = TcpStream::connect(broker.addresses()[0]).await.expect("listening");
        let bytes = [&header[..], CONNECT, b"\xe0\x00"].concat();
        // Who is refused may be cut before all is written.
        let _ = socket.write_all(&bytes).await;
        let answer = read_to_end(socket).await;
        assert_eq!(answer == CONNACK, let_in, "{answer:?} to {header:?}");
        let lines = lines.lock().expect("no panic there").clone();
        assert!(lines.iter().any(|one| one.contains(line)), "{line} in {lines:#?}");
    }
}

#[tokio::test]
async fn a_proxy_header_comes_before_tls_and_websockets() {
    let lab = authority();
    let folder = tls_folder(&lab, &["localhost"]);
    let (broker, lines) = start_changed(folder.path(), Medium::Sockets, |config| {
        config.listeners[1].proxy_protocol = Some(ProxyVersion::V1);
        config.listeners[1].protocol = ListenerProtocol::WebSockets;
    })
    .await;
    let trust = mqttlab::tls::client::Trust::Authorities(&[lab.certificate_pem()]);
    let config = mqttlab::tls::client::config(trust).expect("a certificate");
    let name = mqttlab::tls::server_name("localhost").expect("a name");
    let mut socket = TcpStream::connect(broker.addresses()[1]).await.expect("listening");
    socket.write_all(b"PROXY TCP6 2001:db8::7 ::1 4711 8883\r\n").await.expect("written");
    let secure = tokio_rustls::TlsConnector::from(config).connect(name, socket).await.expect("trusted");
    let (mut raw, _) = Raw::over(secure, REQUEST).await;
    raw.send(&frame(BINARY, CONNECT)).await;
    raw.stream.flush().await.expect("written");
    assert_eq!(raw.next().await, Some((BINARY, CONNACK.to_vec())));
    let port = broker.addresses()[1].port();
    assert!(has(&lines, &format!("New connection from 2001:db8::7:4711 on port {port}.")), "{lines:?}");
}

#[tokio::test]
async fn our_client_tells_a_server_that_is_no_websocket_from_one_that_is_not_there() {
    let (broker, _) = start(|_| {}).await;
    let plain = broker.endpoint(0);
    let error = plain.clone().websocket().connect().await.map(drop).expect_err("it speaks MQTT");
    assert!(matches!(error, mqttlab::net::ConnectError::Io(_)), "{error}");
    let (picky, _) = start(|listener| {
        listener.protocol = ListenerProtocol::WebSockets;
        listener.origins = vec!["http://lab".to_owned()];
    })
    .await;
    let Endpoint::WebSocket { over, path, .. } = picky.endpoint(0) else { panic!("a WebSocket") };
    let with = |headers: &[(&str, &str)]| Endpoint::WebSocket {
        over: over.clone(),
        path: path.clone(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        subprotocols: vec!["mqtt".to_owned()],
    };
    let refused = with(&[]).connect().await.map(drop).expect_err("no origin");
    assert_eq!(refused.to_string(), "the server answers HTTP 403, and no WebSocket");
    connect(&with(&[("Origin", "http://lab")]), ProtocolVersion::V311, "c").await;
    broker.kill().await;
    let refused = plain.websocket().connect().await.map(drop).expect_err("nobody listens");
    let mqttlab::net::ConnectError::Io(error) = refused else { panic!("{refused}") };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
