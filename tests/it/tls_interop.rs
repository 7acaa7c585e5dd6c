//! TLS of our broker with programs that we did not write: openssl makes certificates, keys and
//! lists as people's recipes do, and is asked what they mean; mosquitto's clients, paho and openssl
//! connect with them.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use mqttlab::tls::authority::{DAY, Validity};
use mqttlab::tls::client::{ClientFiles, from_files};
use mqttlab::tls::identity;
use mqttlab::tls::suites::{Protocol, cipher_name};
use rcgen::string::{BmpString, PrintableString, TeletexString, UniversalString};
use rcgen::{DnType, DnValue};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

use crate::support::broker::{OPEN, Process, folder, program as ours};
use crate::support::mosquitto::program;
use crate::support::paho::paho;
use crate::support::pki::{Pki, Wanted};

/// Runs openssl in a folder; `None` where there is none.
fn openssl(folder: &Path, arguments: &str) -> Option<String> {
    let output = Command::new(program("openssl")?)
        .args(arguments.split(' '))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "openssl {arguments}: {output:?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A folder with an authority, a server and a client, all made as mosquitto-tls(7) says: of X.509
/// version 1, without alternative names.
fn by_the_book() -> Option<TempDir> {
    let folder = folder("");
    let run = |arguments: &str| openssl(folder.path(), arguments);
    run("req -new -x509 -days 2 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=book")?;
    for (name, subject) in [("server", "/CN=localhost"), ("client", "/O=Lab/CN=alice")] {
        run(&format!("req -new -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj {subject}"))?;
        let sign = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 2";
        run(&format!("x509 -req -in {name}.csr -out {name}.crt {sign}"))?;
    }
    Some(folder)
}

fn listener(folder: &Path, key: &str) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        "listener 0 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\n",
        path("ca.crt"),
        path("server.crt"),
        path(key)
    )
}

fn write_conf(folder: &Path, conf: &str) {
    std::fs::write(folder.join("mosquitto.conf"), conf).expect("written");
}

fn publish(folder: &Path, port: u16, arguments: &str) -> Option<Output> {
    let output = Command::new(program("mosquitto_pub")?)
        .args(["-h", "localhost", "-p", &port.to_string(), "-t", "t", "-m", "x", "-q", "1"])
        .args(arguments.split(' '))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output();
    Some(output.expect("it runs"))
}

#[test]
fn certificates_made_by_the_book_serve_and_let_in() {
    let Some(folder) = by_the_book() else { return };
    let text = openssl(folder.path(), "x509 -in client.crt -noout -text").expect("it is there");
    // Newer versions of openssl make version 3.
    assert!(text.contains("Version: 1 (0x0)") || text.contains("Version: 3 (0x2)"), "{text}");
    let tls = listener(folder.path(), "server.key");
    let named = "require_certificate true\nuse_identity_as_username true\n";
    write_conf(folder.path(), &format!("{tls}{named}tls_version tlsv1.3\n{tls}{named}"));
    let broker = Process::start(folder.path(), &[]);
    let with = "--cafile ca.crt --cert client.crt --key client.key";
    for (index, version) in [(0, "tlsv1.3"), (1, "tlsv1.2"), (1, "tlsv1.3")] {
        let arguments = format!("{with} --tls-version {version}");
        let Some(output) = publish(folder.path(), broker.ports[index], &arguments) else { return };
        assert!(output.status.success(), "{version}: {output:?}");
    }
    assert!(broker.wait_for_line("New client connected").ends_with("u'alice')."));
    let without = publish(folder.path(), broker.ports[1], "--cafile ca.crt").expect("as before");
    assert!(!without.status.success(), "{without:?}");
    // Of the same subject, but nobody signed it.
    openssl(
        folder.path(),
        "req -new -x509 -days 2 -newkey rsa:2048 -nodes -keyout own.key -out own.crt -subj /CN=alice",
    );
    let own = publish(folder.path(), broker.ports[1], "--cafile ca.crt --cert own.crt --key own.key");
    assert!(!own.expect("as before").status.success());
}

#[test]
fn bridges_go_by_the_common_name_where_there_is_no_other() {
    let Some(folder) = by_the_book() else { return };
    write_conf(folder.path(), &format!("{OPEN}{}", listener(folder.path(), "server.key")));
    let broker = Process::start(folder.path(), &[]);
    let cafile = Some(folder.path().join("ca.crt"));
    let config = from_files(&ClientFiles { cafile, ..ClientFiles::default() }).expect("good files");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let connects = |server_name: &str| {
        let endpoint = mqttlab::net::Endpoint::Tls {
            host: "127.0.0.1".to_owned(),
            port: broker.ports[1],
            server_name: server_name.to_owned(),
            config: std::sync::Arc::clone(&config),
            tap: None,
        };
        runtime.block_on(endpoint.connect()).map(drop)
    };
    connects("localhost").expect("its common name");
    assert!(connects("localhost.example.org").is_err());
}

#[test]
fn a_list_of_openssl_ca_is_obeyed_by_certificates_of_both_versions() {
    let Some(folder) = by_the_book() else { return };
    let ca = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\ncrlnumber=number\n\
              default_md=sha256\ndefault_crl_days=2\npolicy=p\nx509_extensions=e\ndefault_days=2\n\
              new_certs_dir=.\nprivate_key=ca.key\ncertificate=ca.crt\nunique_subject=no\n\
              [p]\ncommonName=supplied\n[e]\nbasicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n";
    for (name, text) in [("ca.cnf", ca), ("index.txt", ""), ("serial", "21"), ("number", "01")] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let run = |arguments: &str| openssl(folder.path(), arguments);
    run("ca -config ca.cnf -batch -notext -in client.csr -out new.crt");
    run("ca -config ca.cnf -gencrl -out crl.pem");
    let crl = folder.path().join("crl.pem").display().to_string();
    let tls = listener(folder.path(), "server.key");
    write_conf(
        folder.path(),
        &format!("allow_anonymous true\n{tls}require_certificate true\ncrlfile {crl}\n"),
    );
    let broker = Process::start(folder.path(), &[]);
    let attempt = |certificate: &str| {
        let with = format!("--cafile ca.crt --cert {certificate} --key client.key");
        publish(folder.path(), broker.ports[0], &with).map(|output| output.status.success())
    };
    let Some(good) = attempt("client.crt") else { return };
    assert!(good);
    assert_eq!(attempt("new.crt"), Some(true));
    for (revoked, number) in [("client.crt", "02"), ("new.crt", "03")] {
        run(&format!("ca -config ca.cnf -revoke {revoked}"));
        run("ca -config ca.cnf -gencrl -out crl.pem");
        broker.signal("HUP");
        while attempt(revoked) == Some(true) {}
        let list = run("crl -in crl.pem -noout -crlnumber").expect("it is there");
        assert!(list.contains(number), "{list}");
    }
    broker.wait_for_line("(certificate revoked)");
}

#[test]
fn keys_of_every_form_are_loaded_and_old_encryption_is_refused_with_the_way_out() {
    let Some(folder) = by_the_book() else { return };
    let run = |arguments: &str| openssl(folder.path(), arguments);
    let tested = |key: &str| {
        write_conf(folder.path(), &listener(folder.path(), key));
        let output = Command::new(ours())
            .args(["broker", "--test-config", "-c"])
            .arg(folder.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    run("rsa -in server.key -traditional -out pkcs1.key");
    assert_eq!(tested("pkcs1.key").0, Some(0));
    for (name, make) in [
        ("ec.key", "ecparam -name prime256v1 -genkey -noout -out ec.key"),
        ("p384.key", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out p384.key"),
        ("ed.key", "genpkey -algorithm ed25519 -out ed.key"),
    ] {
        run(make);
        run(&format!("req -new -x509 -days 2 -key {name} -out server.crt -subj /CN=localhost"));
        assert_eq!(tested(name), (Some(0), String::new()), "{name}");
    }
    for (name, make, hint) in [
        ("pbes2.key", "pkey -in ed.key -aes256 -passout pass:secret", "openssl pkey -in "),
        ("old.key", "rsa -in pkcs1.key -traditional -aes128 -passout pass:secret", "-topk8 -v2 aes-256-cbc"),
        ("older.key", "rsa -in pkcs1.key -traditional -des3 -passout pass:secret", "-topk8 -v2 aes-256-cbc"),
        ("pbes1.key", "pkcs8 -topk8 -v1 PBE-SHA1-3DES -in ed.key -passout pass:secret", "-topk8 -v2"),
    ] {
        run(&format!("{make} -out {name}"));
        let (code, text) = tested(name);
        assert_eq!(code, Some(1), "{name}: {text}");
        assert!(text.contains("Check keyfile.") && text.contains(hint), "{name}: {text}");
    }
}

/// Starts a program on a terminal of its own, answers its question, and prints what it said.
const ON_A_TERMINAL: &str = r"
import os, pty, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
said = b''
answered = False
while True:
    try:
        more = os.read(terminal, 4096)
    except OSError:
        break
    if not more:
        break
    said += more
    if not answered and b'pass phrase for ' in said:
        while termios.tcgetattr(terminal)[3] & termios.ECHO:
            pass
        os.write(terminal, sys.argv[1].encode() + b'\n')
        answered = True
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(said.decode(errors='replace'))
print('exit', code)
";

#[test]
fn a_passphrase_is_asked_for_on_the_terminal() {
    let Some(folder) = by_the_book() else { return };
    let Some(python) = program("python3") else { return };
    for cipher in ["aes256", "aes-128-cbc", "des3"] {
        openssl(
            folder.path(),
            &format!("pkey -in server.key -{cipher} -passout pass:secret -out encrypted.key"),
        );
        write_conf(folder.path(), &listener(folder.path(), "encrypted.key"));
        for (passphrase, wanted) in [("secret", "exit 0"), ("wrong", "exit 1")] {
            let output = Command::new(&python)
                .args(["-c", ON_A_TERMINAL, passphrase])
                .arg(ours())
                .args(["broker", "--test-config", "-c"])
                .arg(folder.path().join("mosquitto.conf"))
                .output()
                .expect("it runs");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("Enter PEM pass phrase for "), "{cipher}: {output:?}");
            assert_eq!(text.lines().last(), Some(wanted), "{cipher} {passphrase}: {output:?}");
            assert_eq!(text.contains("the passphrase is wrong"), passphrase == "wrong", "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}

#[test]
fn subjects_read_as_openssl_prints_them() {
    let folder = folder("");
    let lab = Pki::new("lab");
    let bmp = |text: &str| DnValue::BmpString(BmpString::try_from(text).expect("fits"));
    let cases: Vec<Vec<(DnType, DnValue)>> = vec![
        vec![(DnType::CommonName, "alice".into())],
        vec![
            (DnType::CountryName, "AT".into()),
            (DnType::StateOrProvinceName, "Wien".into()),
            (DnType::LocalityName, "Wien".into()),
            (DnType::OrganizationName, "Ö, \"Lab\" + Söhne; <x>=#\\".into()),
            (DnType::OrganizationalUnitName, "#first".into()),
            (DnType::CommonName, " spaces  ".into()),
        ],
        vec![(DnType::CommonName, " ".into())],
        vec![(DnType::CommonName, "tab\tand\u{7f}and\u{80}".into())],
        vec![(DnType::CommonName, bmp("Grüße 肉"))],
        vec![(
            DnType::CommonName,
            DnValue::UniversalString(UniversalString::try_from("🦀 x").expect("fits")),
        )],
        vec![
            (
                DnType::OrganizationName,
                DnValue::PrintableString(PrintableString::try_from("Plain Co.").expect("fits")),
            ),
            (DnType::CommonName, DnValue::TeletexString(TeletexString::try_from("teletex").expect("fits"))),
        ],
        vec![
            (DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 25]), "example".into()),
            (DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]), "alice".into()),
            (DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]), "a@example.org".into()),
            (DnType::CustomDnType(vec![2, 5, 4, 5]), "12".into()),
            (DnType::CustomDnType(vec![2, 5, 4, 42]), "Alice".into()),
            (DnType::CustomDnType(vec![2, 5, 4, 65]), "al".into()),
            (DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99_999, 7]), "unknown".into()),
        ],
    ];
    for (number, subject) in cases.into_iter().enumerate() {
        let name = format!("subject{number}");
        let (path, _) = lab.write(folder.path(), &name, &Wanted { subject, ..Wanted::client("") });
        let asked = format!("x509 -in {name}.crt -noout -subject -nameopt RFC2253");
        let Some(answer) = openssl(folder.path(), &asked) else { return };
        let pem = std::fs::read(path).expect("written");
        let certificate = CertificateDer::from_pem_slice(&pem).expect("a certificate");
        let wanted = answer.trim_start_matches("subject=").trim_end_matches('\n');
        assert_eq!(identity::subject(&certificate).as_deref(), Ok(wanted));
    }
    // Several parts in one set, and a set of bytes that are no text, are openssl's to make.
    let set = "req -new -x509 -days 2 -newkey rsa:2048 -nodes -keyout k -multivalue-rdn -subj";
    openssl(folder.path(), &format!("{set} /C=AT/O=Lab+OU=x+CN=alice -out set.crt"));
    let asked = "x509 -in set.crt -noout -subject -nameopt RFC2253";
    let Some(answer) = openssl(folder.path(), asked) else { return };
    let pem = std::fs::read(folder.path().join("set.crt")).expect("written");
    let certificate = CertificateDer::from_pem_slice(&pem).expect("a certificate");
    let wanted = answer.trim_start_matches("subject=").trim_end_matches('\n');
    assert_eq!(identity::subject(&certificate).as_deref(), Ok(wanted));
}

#[test]
fn lists_of_ciphers_mean_what_openssl_says() {
    let folder = folder("");
    let here: Vec<&str> = suites(None).expect("all").into_iter().skip(3).collect();
    for list in [
        "ALL",
        "HIGH",
        "HIGH:!aNULL:!MD5",
        "DEFAULT:!aNULL:!eNULL:!LOW:!EXPORT:!SSLv2:@STRENGTH",
        "ECDHE+AESGCM",
        "EECDH+AESGCM:EDH+AESGCM",
        "aRSA+AES256:ECDSA",
        "CHACHA20:AES128",
        "ALL:-AES:AES128:+aRSA",
        "HIGH:!AES256",
        "AES128+ECDHE:AES256+ECDHE:@STRENGTH",
        "ECDHE-RSA-AES128-GCM-SHA256,ECDHE-RSA-AES256-GCM-SHA384",
        "nonsense:ECDHE-ECDSA-CHACHA20-POLY1305",
    ] {
        let output = Command::new(match program("openssl") {
            Some(openssl) => openssl,
            None => return,
        })
        .args(["ciphers", list])
        .current_dir(folder.path())
        .output()
        .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let wanted: Vec<&str> = text.trim().split(':').filter(|name| here.contains(name)).collect();
        let found: Vec<&str> = suites(Some(list)).expect("some").into_iter().skip(3).collect();
        assert_eq!(found, wanted, "{list}");
    }
}

/// Our names of the suites that a list leaves, those of TLS 1.3 first.
fn suites(ciphers: Option<&str>) -> Option<Vec<&'static str>> {
    let protocol = Protocol { ciphers: ciphers.map(str::to_owned), ..Protocol::default() };
    let provider = protocol.provider().ok()?;
    Some(provider.cipher_suites.iter().map(|suite| cipher_name(suite.suite())).collect())
}

#[test]
fn openssl_negotiates_what_the_listener_allows_and_in_its_order() {
    let Some(folder) = by_the_book() else { return };
    let tls = listener(folder.path(), "server.key");
    let conf = format!(
        "{OPEN}{tls}ciphers ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305\n\
         ciphers_tls1.3 TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384\n\
         {tls}tls_version tlsv1.3\n"
    );
    write_conf(folder.path(), &conf);
    let broker = Process::start(folder.path(), &[]);
    let asked = |listener: usize, arguments: &str| {
        let output = Command::new(program("openssl")?)
            .args(["s_client", "-connect", &format!("127.0.0.1:{}", broker.ports[listener])])
            .args(arguments.split(' '))
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.starts_with("New, ") || line.starts_with("Reused, "));
        Some(line.unwrap_or("nothing").to_owned())
    };
    let negotiated = |arguments: &str| asked(1, arguments);
    assert_eq!(asked(2, "-tls1_2").as_deref(), Some("New, (NONE), Cipher is (NONE)"));
    assert_eq!(asked(2, "-tls1_3").as_deref(), Some("New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384"));
    for (arguments, wanted) in [
        ("-tls1_3", "New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256"),
        ("-tls1_2", "New, TLSv1.2, Cipher is ECDHE-RSA-AES128-GCM-SHA256"),
        (
            "-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305",
            "New, TLSv1.2, Cipher is ECDHE-RSA-CHACHA20-POLY1305",
        ),
        ("-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384", "New, (NONE), Cipher is (NONE)"),
        ("-alpn mqtt -tls1_3", "New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256"),
        ("-alpn x-amzn-mqtt-ca -tls1_2", "New, TLSv1.2, Cipher is ECDHE-RSA-AES128-GCM-SHA256"),
        ("-tls1_1 -cipher ALL@SECLEVEL=0", "New, (NONE), Cipher is (NONE)"),
    ] {
        assert_eq!(negotiated(arguments).as_deref(), Some(wanted), "{arguments}");
    }
    let session = folder.path().join("session").display().to_string();
    negotiated(&format!("-tls1_2 -sess_out {session}"));
    let again = negotiated(&format!("-tls1_2 -sess_in {session}")).expect("as before");
    assert!(again.starts_with("Reused, "), "{again}");
}

#[test]
fn paho_comes_in_with_its_certificate_and_not_without() {
    let folder = folder("");
    let lab = Pki::new("lab");
    let tls = lab.serve_in(folder.path());
    let now = SystemTime::now();
    lab.write(folder.path(), "alice", &Wanted::client("alice"));
    lab.write(folder.path(), "old", &Wanted { validity: Validity::past(now), ..Wanted::client("alice") });
    let crl = folder.path().join("crl.pem");
    std::fs::write(&crl, lab.revoke(&[], Validity::starting(now, DAY))).expect("written");
    let certain =
        format!("{tls}require_certificate true\nuse_identity_as_username true\ncrlfile {}\n", crl.display());
    write_conf(folder.path(), &format!("{certain}{certain}protocol websockets\n"));
    let broker = Process::start(folder.path(), &[]);
    for (index, transport) in [(0, "tcp"), (1, "websockets")] {
        for (name, wanted) in [("alice", "0"), ("old", "refused"), ("", "refused")] {
            let path = |ending: &str| match name {
                "" => String::new(),
                name => folder.path().join(format!("{name}.{ending}")).display().to_string(),
            };
            let ca = folder.path().join("ca.crt").display().to_string();
            let port = broker.ports[index].to_string();
            let Some(said) = paho(PAHO, &[&port, transport, &ca, &path("crt"), &path("key")]) else { return };
            assert_eq!(said, wanted, "{transport} {name}");
        }
    }
    assert!(broker.wait_for_line("New client connected").ends_with("u'alice')."));
}

/// Prints the code of CONNACK, or `refused` if there is none.
const PAHO: &str = r"
import sys, threading
import paho.mqtt.client as mqtt
port, transport, ca, certificate, key = sys.argv[1:]
arguments = {'transport': transport}
if hasattr(mqtt, 'CallbackAPIVersion'):
    arguments['callback_api_version'] = mqtt.CallbackAPIVersion.VERSION1
client = mqtt.Client(client_id='paho', **arguments)
client.tls_set(ca, certificate or None, key or None)
outcome = []
done = threading.Event()
def connected(client, userdata, flags, code):
    outcome.append(str(int(code)))
    done.set()
def gone(*rest):
    outcome.append('refused')
    done.set()
client.on_connect = connected
client.on_disconnect = gone
try:
    client.connect('localhost', int(port))
    client.loop_start()
    done.wait(60)
    client.loop_stop()
except Exception:
    outcome.append('refused')
print(outcome[0])
";
