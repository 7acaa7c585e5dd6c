//! TLS of our broker's listeners over sockets: whose certificate lets a client in, under which name,
//! what a reload changes, and what a start says about files that are wrong.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use mqttlab::client::{Client, ConnectFailure, Session};
use mqttlab::mqtt::{Packet, Property, ProtocolVersion, QoS, ReasonCode};
use mqttlab::net::Endpoint;
use mqttlab::tls::authority::{DAY, Validity};
use mqttlab::tls::client::{ClientFiles, from_files};
use mqttlab::tls::material::MaterialError;
use rcgen::string::BmpString;
use rcgen::{DnType, DnValue, ExtendedKeyUsagePurpose};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::broker::{
    OPEN, PATIENCE, Process, connect, connect_with, folder, options, program, publish,
};
use crate::support::pki::{Pki, Wanted, at, endpoint};

const V311: ProtocolVersion = ProtocolVersion::V311;
const V5: ProtocolVersion = ProtocolVersion::V5;

/// What a listener says to a client: `in`, a CONNACK code, or `-` for no answer at all.
async fn answer(endpoint: &Endpoint, version: ProtocolVersion) -> String {
    let options = options(version, "client");
    let connecting = Client::connect(endpoint, &options, Session::default(), None);
    match timeout(PATIENCE, connecting).await.expect("in time") {
        Ok((client, _)) => {
            client.disconnect(mqttlab::mqtt::packet::Disconnect::default()).await;
            "in".to_owned()
        }
        Err(ConnectFailure::Refused(connack)) => connack.code.0.to_string(),
        Err(ConnectFailure::Transport(_) | ConnectFailure::Closed(_)) => "-".to_owned(),
        Err(other) => panic!("{other}"),
    }
}

fn append(folder: &Path, conf: &str) {
    std::fs::write(folder.join("mosquitto.conf"), conf).expect("written");
}

fn revoked_list(folder: &Path, lab: &Pki, serials: &[u64]) -> PathBuf {
    let path = folder.join("crl.pem");
    let list = lab.revoke(serials, Validity::starting(SystemTime::now(), DAY));
    std::fs::write(&path, list).expect("written");
    path
}

/// Clients of all kinds, by name.
fn clients(folder: &Path, lab: &Pki) -> Vec<(&'static str, Option<(PathBuf, PathBuf)>)> {
    let now = SystemTime::now();
    let other = Pki::new("other");
    let same_name = Pki::new("lab");
    let good = || Wanted::client("alice");
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let wanted: [(&'static str, &Pki, Wanted); 7] = [
        ("good", lab, good()),
        ("expired", lab, Wanted { validity: Validity::past(now), ..good() }),
        ("early", lab, Wanted { validity: Validity::future(now), ..good() }),
        ("revoked", lab, Wanted { serial: 666, ..good() }),
        ("other-ca", &other, good()),
        ("same-ca-name", &same_name, good()),
        ("wrong-purpose", lab, Wanted { purpose: server, ..good() }),
    ];
    let mut all = vec![("none", None)];
    all.extend(wanted.map(|(name, by, wanted)| (name, Some(by.write(folder, name, &wanted)))));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn only_certificates_that_hold_let_in_over_tls_and_over_websockets() {
    let folder = folder("");
    let lab = Pki::new("lab");
    let listener = lab.serve_in(folder.path());
    let crl = revoked_list(folder.path(), &lab, &[666]);
    let demanding = format!("{listener}require_certificate true\ncrlfile {}\n", crl.display());
    let conf = format!(
        "allow_anonymous true\n{demanding}{demanding}protocol websockets\n\
         {demanding}disable_client_cert_date_checks true\n{listener}"
    );
    append(folder.path(), &conf);
    let broker = Process::start(folder.path(), &[]);
    let mut seen = Vec::new();
    for (name, own) in clients(folder.path(), &lab) {
        let [plain, websocket, dateless, lenient] =
            [0, 1, 2, 3].map(|index| endpoint(folder.path(), broker.ports[index], own.as_ref()));
        let answers = [
            answer(&plain, V5).await,
            answer(&websocket.websocket(), V5).await,
            answer(&dateless, V311).await,
            answer(&lenient, V311).await,
        ];
        seen.push(format!("{name}: {}", answers.join(" ")));
    }
    let expected = [
        "none: - - - in",
        "good: in in in in",
        "expired: - - in in",
        "early: - - in in",
        "revoked: - - - in",
        "other-ca: - - - in",
        "same-ca-name: - - - in",
        "wrong-purpose: - - - in",
    ];
    assert_eq!(seen, expected);
    let lines = broker.lines().join("\n");
    for cause in [
        "peer did not return a certificate",
        "certificate verify failed (certificate has expired)",
        "certificate verify failed (certificate is not yet valid)",
        "certificate verify failed (certificate revoked)",
        "certificate verify failed (unable to get local issuer certificate)",
        "certificate verify failed (certificate signature failure)",
        "certificate verify failed (unsuitable certificate purpose)",
    ] {
        let line = format!("Client connection from 127.0.0.1 failed: {cause}.");
        let said = lines.lines().any(|found| found.ends_with(&line));
        assert!(said, "{cause}: {lines}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_old_or_of_another_authority_lets_nobody_in() {
    let lab = Pki::new("lab");
    for (by, validity) in [
        (&lab, Validity::past(SystemTime::now())),
        (&Pki::new("other"), Validity::starting(SystemTime::now(), DAY)),
    ] {
        let folder = folder("");
        let listener = lab.serve_in(folder.path());
        let crl = folder.path().join("crl.pem");
        std::fs::write(&crl, by.revoke(&[], validity)).expect("written");
        let conf = format!(
            "allow_anonymous true\n{listener}require_certificate true\ncrlfile {}\n\
             disable_client_cert_date_checks true\n",
            crl.display()
        );
        append(folder.path(), &conf);
        let broker = Process::start(folder.path(), &[]);
        for wanted in [
            Wanted::client("alice"),
            Wanted { validity: Validity::past(SystemTime::now()), ..Wanted::client("alice") },
        ] {
            let own = lab.write(folder.path(), "alice", &wanted);
            assert_eq!(answer(&endpoint(folder.path(), broker.ports[0], Some(&own)), V5).await, "-");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_authorities_is_read_whatever_its_files_are_called() {
    let folder = folder("");
    let (lab, second) = (Pki::new("lab"), Pki::new("second"));
    let listener = lab.serve_in(folder.path());
    let authorities = folder.path().join("authorities");
    std::fs::create_dir_all(authorities.join("a-folder")).expect("made");
    std::fs::write(authorities.join("README"), "no certificate").expect("written");
    std::fs::write(authorities.join("second.pem"), &second.certificate_pem).expect("written");
    let capath = format!("capath {}\n", authorities.display());
    append(folder.path(), &format!("allow_anonymous true\n{listener}{capath}require_certificate true\n"));
    let broker = Process::start(folder.path(), &[]);
    for by in [&lab, &second] {
        let own = by.write(folder.path(), "alice", &Wanted::client("alice"));
        assert_eq!(answer(&endpoint(folder.path(), broker.ports[0], Some(&own)), V5).await, "in");
    }
    let other = Pki::new("third").write(folder.path(), "alice", &Wanted::client("alice"));
    assert_eq!(answer(&endpoint(folder.path(), broker.ports[0], Some(&other)), V5).await, "-");
}

/// The user `user` with the password `pencil`, of RFC 7677.
const SCRAM: &str = "user:$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==$\
    WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n";

/// A broker that takes user names from certificates and whose ACL knows two of them.
fn naming(lab: &Pki, option: &str) -> (TempDir, Process) {
    let folder = folder("");
    let listener = lab.serve_in(folder.path());
    let acl = folder.path().join("acl");
    std::fs::write(&acl, "user alice\ntopic a/#\nuser CN=alice,O=Lab\\, Ltd.,C=AT\ntopic b/#\n")
        .expect("written");
    let passwords = folder.path().join("passwords");
    std::fs::write(&passwords, SCRAM).expect("written");
    let conf = format!(
        "acl_file {}\npassword_file {}\n{listener}require_certificate true\n{option} true\n\
         {listener}{option} true\n{listener}require_certificate true\n{option} true\nprotocol websockets\n\
         listener 0 127.0.0.1\n",
        acl.display(),
        passwords.display()
    );
    append(folder.path(), &conf);
    let broker = Process::start(folder.path(), &["-v"]);
    (folder, broker)
}

/// Publishes and returns the reason code of the PUBACK.
async fn published(client: &mut Client, topic: &str) -> u8 {
    match client.publish(publish(topic, "x", QoS::AtLeastOnce)).await.expect("answered") {
        Some(Packet::PubAck(ack)) => ack.reason.0,
        other => panic!("{other:?}"),
    }
}

const NOT_AUTHORISED: u8 = 0x87;
const NO_SUBSCRIBERS: u8 = 0x10;

#[tokio::test(flavor = "multi_thread")]
async fn the_common_name_is_the_user_and_no_password_is_asked_for() {
    let lab = Pki::new("lab");
    let (folder, broker) = naming(&lab, "use_identity_as_username");
    let own = lab.write(folder.path(), "alice", &Wanted::client("alice"));
    let over_tls = endpoint(folder.path(), broker.ports[0], Some(&own));
    let over_websocket = endpoint(folder.path(), broker.ports[2], Some(&own)).websocket();
    for endpoint in [over_tls, over_websocket] {
        let mut said = options(V5, "c1");
        said.connect.username = Some("mallory".into());
        said.connect.password = Some("guess".into());
        let mut client = connect_with(&endpoint, &said).await;
        assert_eq!(published(&mut client, "a/1").await, NO_SUBSCRIBERS);
        assert_eq!(published(&mut client, "b/1").await, NOT_AUTHORISED);
    }
    assert!(broker.wait_for_line(" as c1 (").contains("u'alice'"));
    // In mosquitto's order, after what is said of the will.
    let lines = broker.lines();
    let at = |text: &str| lines.iter().position(|line| line.contains(text)).expect("logged");
    let negotiated = at("Client c1 negotiated TLSv1.3 cipher TLS_AES_256_GCM_SHA384");
    assert!(at(" as c1 (") < negotiated && negotiated < at("Sending CONNACK to c1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_subject_can_be_the_user() {
    let lab = Pki::new("lab");
    let (folder, broker) = naming(&lab, "use_subject_as_username");
    let subject = vec![
        (DnType::CountryName, "AT".into()),
        (DnType::OrganizationName, "Lab, Ltd.".into()),
        (DnType::CommonName, "alice".into()),
    ];
    let own = lab.write(folder.path(), "alice", &Wanted { subject, ..Wanted::client("") });
    let mut client = connect(&endpoint(folder.path(), broker.ports[0], Some(&own)), V5, "c1").await;
    assert_eq!(published(&mut client, "a/1").await, NOT_AUTHORISED);
    assert_eq!(published(&mut client, "b/1").await, NO_SUBSCRIBERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_a_clean_name_makes_no_user() {
    let lab = Pki::new("lab");
    let (folder, broker) = naming(&lab, "use_identity_as_username");
    let common_name = |value: DnValue| vec![(DnType::CommonName, value)];
    let subjects = [
        vec![(DnType::OrganizationName, "no common name".into())],
        common_name("".into()),
        common_name("alice\0evil".into()),
        common_name("alice\n1795268941: forged line".into()),
        common_name("ali+ce".into()),
        common_name("#".into()),
        // Bytes that are no UTF-8, and some that are with NULs among them.
        common_name(DnValue::BmpString(BmpString::try_from("\u{8089}").expect("fits"))),
        common_name(DnValue::BmpString(BmpString::try_from("alice").expect("fits"))),
    ];
    for subject in subjects {
        let shown = format!("{subject:?}");
        let own = lab.write(folder.path(), "odd", &Wanted { subject, ..Wanted::client("") });
        let endpoint = endpoint(folder.path(), broker.ports[0], Some(&own));
        assert_eq!(answer(&endpoint, V311).await, "4", "{shown}");
        assert_eq!(answer(&endpoint, V5).await, "134", "{shown}");
    }
    // The second listener asks for no certificate, and so has no name for anybody.
    let own = lab.write(folder.path(), "alice", &Wanted::client("alice"));
    let unasked = endpoint(folder.path(), broker.ports[1], Some(&own));
    assert_eq!([answer(&unasked, V311).await, answer(&unasked, V5).await], ["4", "134"]);
    broker.wait_for_line("has no user name: it has no certificate.");
    assert!(broker.wait_for_line("not authorised").contains("Client client ["));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_named_by_a_certificate_has_no_other_way_to_prove_a_name() {
    let lab = Pki::new("lab");
    let (folder, broker) = naming(&lab, "use_identity_as_username");
    let own = lab.write(folder.path(), "alice", &Wanted::client("alice"));
    let mut asks = options(V5, "c1");
    asks.connect.properties.push(Property::AuthenticationMethod("SCRAM-SHA-256".into()));
    let (folder, ports) = (folder.path(), &broker.ports);
    let plain = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: ports[3] };
    let certain = endpoint(folder, ports[0], Some(&own));
    let nameless = endpoint(folder, ports[1], None);
    let mut seen = Vec::new();
    for endpoint in [plain, certain, nameless] {
        let connecting = Client::connect(&endpoint, &asks, Session::default(), None);
        seen.push(match timeout(PATIENCE, connecting).await.expect("in time") {
            Err(ConnectFailure::Refused(connack)) => connack.code.to_string(),
            Err(ConnectFailure::Unexpected(packet)) => packet.packet_type().name().to_owned(),
            other => panic!("{:?}", other.map(|_| "let in")),
        });
    }
    let no_method = ReasonCode::BAD_AUTHENTICATION_METHOD.to_string();
    // A certificate without a name is mosquitto's 0x86, whatever method is asked for beside it.
    let nobody = ReasonCode::BAD_USER_NAME_OR_PASSWORD.to_string();
    assert_eq!(seen, ["AUTH", &no_method, &nobody]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_renews_everything_and_sends_nobody_away() {
    let lab = Pki::new("lab");
    let folder = folder("");
    let listener = lab.serve_in(folder.path());
    let crl = revoked_list(folder.path(), &lab, &[]);
    let conf = format!(
        "{listener}require_certificate true\nuse_identity_as_username true\ncrlfile {}\n",
        crl.display()
    );
    append(folder.path(), &conf);
    let broker = Process::start(folder.path(), &[]);
    let alice = lab.write(folder.path(), "alice", &Wanted { serial: 7, ..Wanted::client("alice") });
    let bob = Pki::new("second");
    let (alice, bob_key) = (
        endpoint(folder.path(), broker.ports[0], Some(&alice)),
        bob.write(folder.path(), "bob", &Wanted::client("bob")),
    );
    let bob_at = endpoint(folder.path(), broker.ports[0], Some(&bob_key));
    let mut stays = connect(&alice, V5, "stays").await;
    assert_eq!(answer(&bob_at, V5).await, "-");

    // A list that is no list leaves all as it was.
    std::fs::write(&crl, "no list").expect("written");
    broker.signal("HUP");
    broker.wait_for_line("Error when reloading certificate '");
    broker.wait_for_line("Check crlfile.");
    assert_eq!(answer(&alice, V5).await, "in");

    // A list with alice on it, and a second authority.
    let now = Validity::starting(SystemTime::now(), DAY);
    std::fs::write(&crl, lab.revoke(&[7], now) + &bob.revoke(&[], now)).expect("written");
    let both = lab.certificate_pem.clone() + &bob.certificate_pem;
    std::fs::write(folder.path().join("ca.crt"), both).expect("written");
    broker.signal("HUP");
    while answer(&alice, V5).await == "in" {}
    assert_eq!(answer(&bob_at, V5).await, "in");
    stays.ping().await.expect("who was there stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed_until_a_reload() {
    let lab = Pki::new("lab");
    let folder = folder("");
    let listener = lab.serve_in(folder.path());
    append(folder.path(), &format!("allow_anonymous true\n{listener}require_certificate true\n"));
    let broker = Process::start(folder.path(), &[]);
    let own = lab.write(folder.path(), "alice", &Wanted::client("alice"));
    let files = ClientFiles {
        cafile: Some(folder.path().join("ca.crt")),
        certfile: Some(own.0),
        keyfile: Some(own.1),
        ..ClientFiles::default()
    };
    let config = from_files(&files).expect("good files");
    let kind = || async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let socket =
            tokio::net::TcpStream::connect(("127.0.0.1", broker.ports[0])).await.expect("it listens");
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::clone(&config));
        let name = mqttlab::tls::server_name("localhost").expect("a name");
        let mut stream = connector.connect(name, socket).await.expect("a handshake");
        // The ticket comes before the CONNACK.
        stream.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01r").await.expect("written");
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await.expect("answered");
        assert_eq!(connack, *b"\x20\x02\x00\x00");
        stream.get_ref().1.handshake_kind().expect("done")
    };
    assert_eq!(kind().await, rustls::HandshakeKind::Full);
    assert_eq!(kind().await, rustls::HandshakeKind::Resumed);
    broker.signal("HUP");
    // The tickets of old are good until the reload is done.
    while kind().await == rustls::HandshakeKind::Resumed {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_trusts_whom_it_is_told_and_looks_at_the_name() {
    let lab = Pki::new("lab");
    let folder = folder("");
    let listener = lab.serve_in(folder.path());
    append(folder.path(), &format!("allow_anonymous true\n{listener}"));
    let broker = Process::start(folder.path(), &[]);
    let ca = Some(folder.path().join("ca.crt"));
    let other = folder.path().join("other.crt");
    std::fs::write(&other, Pki::new("other").certificate_pem).expect("written");
    let trusts = |cafile: &Option<PathBuf>, any_name, name: &str| {
        let files = ClientFiles {
            cafile: cafile.clone(),
            any_name,
            alpn: Some("mqtt".to_owned()),
            ..ClientFiles::default()
        };
        let config = from_files(&files).expect("good files");
        let server_name = name.to_owned();
        Endpoint::Tls { host: "127.0.0.1".to_owned(), port: broker.ports[0], server_name, config, tap: None }
    };
    assert_eq!(answer(&trusts(&ca, false, "localhost"), V5).await, "in");
    assert_eq!(answer(&trusts(&ca, false, "127.0.0.1"), V5).await, "in");
    assert_eq!(answer(&trusts(&ca, false, "elsewhere.example.org"), V5).await, "-");
    assert_eq!(answer(&trusts(&ca, true, "elsewhere.example.org"), V5).await, "in");
    assert_eq!(answer(&trusts(&Some(other), true, "localhost"), V5).await, "-");
    // Nobody is not everybody.
    std::fs::write(folder.path().join("empty.crt"), "").expect("written");
    for cafile in [None, Some(folder.path().join("empty.crt"))] {
        let error = from_files(&ClientFiles { cafile, ..ClientFiles::default() }).expect_err("nobody");
        assert!(
            matches!(error, MaterialError::NobodyTrusted { .. } | MaterialError::ClientAuthorities { .. }),
            "{error}"
        );
    }
}

/// Exit code and stderr of `mqttlab broker --test-config`.
fn test_config(folder: &Path) -> (Option<i32>, String) {
    let output = Command::new(program())
        .args(["broker", "--test-config", "-c"])
        .arg(folder.join("mosquitto.conf"))
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn all_that_is_wrong_with_certificates_is_said_at_once() {
    let lab = Pki::new("lab");
    let folder = folder("");
    let good = lab.serve_in(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    lab.write(folder.path(), "other", &Wanted::client("other"));
    let past = Wanted { validity: Validity::past(SystemTime::now()), ..Wanted::client("past") };
    lab.write(folder.path(), "past", &past);
    std::fs::write(folder.path().join("none"), "none").expect("written");
    let listener = |certificate: &str, key: &str, rest: &str| {
        format!("listener 0 127.0.0.1\ncertfile {}\nkeyfile {}\n{rest}\n", path(certificate), path(key))
    };
    let conf = [
        good,
        listener("none", "server.key", &format!("cafile {}", path("missing"))),
        listener("server.crt", "none", &format!("capath {}", path("missing"))),
        listener("server.crt", "other.key", &format!("crlfile {}", path("none"))),
        listener("past.crt", "past.key", "ciphers NULL"),
        listener("server.crt", "server.key", "ciphers_tls1.3 NULL"),
    ];
    append(folder.path(), &conf.concat());
    let (code, text) = test_config(folder.path());
    assert_eq!(code, Some(1), "{text}");
    for line in [
        format!("Error: Unable to load server certificate \"{}\". Check certfile.", path("none")),
        format!("Error: Unable to load CA certificates. Check cafile \"{}\".", path("missing")),
        format!("Error: Unable to load server key file \"{}\". Check keyfile.", path("none")),
        format!("Error: Unable to load CA certificates. Check capath \"{}\".", path("missing")),
        "Error: Server certificate/key are inconsistent.".to_owned(),
        format!("Error: Unable to load certificate revocation file \"{}\". Check crlfile.", path("none")),
        "Error: Unable to set TLS ciphers. Check cipher list \"NULL\".".to_owned(),
        "Error: Unable to set TLS 1.3 ciphersuites. Check cipher_tls13 list \"NULL\".".to_owned(),
    ] {
        assert!(text.lines().any(|found| found.starts_with(&line)), "{line}\n{text}");
    }
    // A certificate that is over still serves, as in mosquitto.
    append(folder.path(), &listener("past.crt", "past.key", "allow_anonymous true"));
    let (code, text) = test_config(folder.path());
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("Warning: The certificate \"CN=past\" in ") && text.contains("expired on"),
        "{text}"
    );
    let broker = Process::start(folder.path(), &[]);
    broker.wait_for_line("Warning: The certificate \"CN=past\" in ");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_log_has_the_secrets_and_is_nobody_elses() {
    let lab = Pki::new("lab");
    let folder = folder("");
    append(folder.path(), &format!("{OPEN}{}", lab.serve_in(folder.path())));
    let log = folder.path().join("keys.log");
    let broker = Process::start(folder.path(), &["--tls-keylog", &log.display().to_string()]);
    let files = ClientFiles { cafile: Some(folder.path().join("ca.crt")), ..ClientFiles::default() };
    let config = from_files(&files).expect("good files");
    assert_eq!(answer(&at(broker.ports[1], config), V5).await, "in");
    let text = std::fs::read_to_string(&log).expect("is there");
    for label in ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"] {
        let line = text.lines().find(|line| line.starts_with(label)).expect("logged");
        let parts: Vec<usize> = line.split(' ').map(str::len).collect();
        assert_eq!(parts, [label.len(), 64, 96], "{line}");
    }
    let mode = std::fs::metadata(&log).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
