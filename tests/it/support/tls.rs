//! Certificates for tests, made on the spot, and a broker's folder with them in it.

use std::path::Path;
use std::time::SystemTime;

use mqttlab::broker::auth::{Hashing, hash_password};
use mqttlab::net::Endpoint;
use mqttlab::tls::authority::{Authority, DAY, Issued, KeyAlgorithm, ServerRequest, Validity};
use mqttlab::tls::client::{Trust, config};
use tempfile::TempDir;

use super::broker::{OPEN, folder};

/// A folder with `ca.crt`, `server.crt` and `server.key`, and a `mosquitto.conf` with a plain and a
/// TLS listener.
pub fn tls_folder(authority: &Authority, names: &[&str]) -> TempDir {
    let folder = folder("");
    let path = |name: &str| folder.path().join(name);
    write_certificate(folder.path(), &issue(authority, names));
    std::fs::write(path("ca.crt"), authority.certificate_pem()).expect("written");
    let conf = format!(
        "{OPEN}listener 0 127.0.0.1\ncertfile {}\nkeyfile {}\n",
        path("server.crt").display(),
        path("server.key").display()
    );
    std::fs::write(path("mosquitto.conf"), conf).expect("written");
    folder
}

/// Lines for a listener each of MQTT, the same over TLS, WebSocket, and that over TLS, on the files of a
/// [`tls_folder`]; and a password file there, with the password of alice.
pub fn four_transports(folder: &Path) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let hash = hash_password(Hashing::DEFAULT, &[7; 12], b"a1");
    std::fs::write(path("passwords"), format!("alice:{hash}\n")).expect("written");
    let tls = format!("certfile {}\nkeyfile {}\n", path("server.crt"), path("server.key"));
    format!(
        "allow_anonymous true\npassword_file {}\n\
         listener 0 127.0.0.1\n\
         listener 0 127.0.0.1\n{tls}\
         listener 0 127.0.0.1\nprotocol websockets\n\
         listener 0 127.0.0.1\nprotocol websockets\n{tls}",
        path("passwords"),
    )
}

/// A certificate for these names.
pub fn issue(authority: &Authority, names: &[&str]) -> Issued {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    let validity = Validity::starting(SystemTime::now(), DAY);
    let request =
        ServerRequest { common_name: "broker".into(), names, validity, key: KeyAlgorithm::EcdsaP256 };
    authority.issue_server(&request).expect("signed")
}

/// Where [`tls_folder`] has it.
pub fn write_certificate(folder: &Path, issued: &Issued) {
    std::fs::write(folder.join("server.crt"), &issued.certificate_pem).expect("written");
    std::fs::write(folder.join("server.key"), &issued.key_pem).expect("written");
}

/// A fresh authority.
pub fn authority() -> Authority {
    let validity = Validity::starting(SystemTime::now(), DAY);
    Authority::new("lab", KeyAlgorithm::EcdsaP256, validity).expect("made")
}

/// Where a TLS listener is, for who trusts the authority.
pub fn tls_endpoint(port: u16, authority: &Authority) -> Endpoint {
    Endpoint::Tls {
        host: "127.0.0.1".to_owned(),
        port,
        server_name: "localhost".to_owned(),
        config: config(Trust::Authorities(&[authority.certificate_pem()])).expect("a certificate"),
        tap: None,
    }
}
