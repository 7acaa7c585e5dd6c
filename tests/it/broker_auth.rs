//! SCRAM-SHA-256 over sockets, with a client that is not ours, on a password file of `mqttlab passwd`.

use std::path::{Path, PathBuf};
use std::process::Command;

use mqttlab::broker::server::Medium;
use mqttlab::client::{Client, ConnectFailure, Session};
use mqttlab::mqtt::{ProtocolVersion, ReasonCode};

use crate::support::broker::{folder, options, start_in};
use crate::support::skip::skipped;

/// Adds users with this hash to a file.
fn passwd(file: &Path, hash: &str, users: &[(&str, &str)]) {
    for (user, password) in users {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqttlab"));
        command.args(["passwd", "-b", "-H", hash]);
        if !file.exists() {
            command.arg("-c");
        }
        let status = command.arg(file).args([user, password]).status();
        assert!(status.expect("the program runs").success());
    }
}

/// Runs the client; what it says. `None`: there is no python.
fn python(port: u16, arguments: &[&str]) -> Option<String> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/scram_client.py");
    let output = Command::new("python3").arg(script).arg(port.to_string()).args(arguments).output();
    let Ok(output) = output else {
        skipped("python3 is not installed");
        assert!(std::env::var_os("CI").is_none(), "python3 is needed in CI");
        return None;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    Some(String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>().join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_ours_proves_its_password() {
    const IN: &str = "CONNACK 0x00, the server knows the password too, ";
    let folder = folder("");
    let file = folder.path().join("passwd");
    passwd(&file, "scram-sha-256", &[("user", "pencil"), ("a,b=c", "pässwort\u{ad} \u{2168}")]);
    passwd(&file, "sha512-pbkdf2", &[("old", "pencil")]);
    let conf = format!("listener 0 127.0.0.1\npassword_file {}\n", file.display());
    std::fs::write(folder.path().join("mosquitto.conf"), conf).expect("written");
    let broker = start_in(folder.path(), Medium::Sockets).await;
    let port = broker.addresses()[0].port();

    for (arguments, expected) in [
        (&["user", "pencil"][..], format!("{IN}published")),
        (&["user", "pencil", "asked"], format!("{IN}published")),
        (&["user", "pencil", "again"], format!("{IN}again, published")),
        (&["a,b=c", "pa\u{308}sswort IX"], format!("{IN}published")),
        (&["user", "pen"], "CONNACK 0x87, closed".to_owned()),
        (&["nobody", "pencil"], "CONNACK 0x87, closed".to_owned()),
        // Of this user the broker has a hash that SCRAM cannot use.
        (&["old", "pencil"], "CONNACK 0x87, closed".to_owned()),
    ] {
        let said = tokio::task::block_in_place(|| python(port, arguments));
        let Some(said) = said else { return };
        assert_eq!(said, expected, "{arguments:?}");
    }

    for (user, password, code) in
        [("user", "pencil", None), ("user", "pen", Some(ReasonCode::NOT_AUTHORIZED))]
    {
        let mut options = options(ProtocolVersion::V5, "plain");
        options.connect.username = Some(user.into());
        options.connect.password = Some(password.into());
        let refused = match Client::connect(&broker.endpoint(0), &options, Session::default(), None).await {
            Ok(_) => None,
            Err(ConnectFailure::Refused(connack)) => Some(connack.code),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(refused, code);
    }
}
