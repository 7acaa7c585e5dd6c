//! TLS over TCP, as a stream like any other. Certificates and trust come from [`crate::tls`].

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::{ConnectError, Io};
use crate::tls::{TlsFailure, classify, server_name};

/// Either end of a TLS connection.
pub type TlsTransport = TlsStream<TcpStream>;

impl<S: Io> Io for TlsStream<S> {
    fn reset_on_drop(&mut self) {
        self.get_mut().0.reset_on_drop();
    }
}

/// The client's side of the handshake on a connected stream.
pub async fn connect<S: Io>(
    stream: S,
    name: &str,
    config: &Arc<rustls::ClientConfig>,
) -> Result<TlsStream<S>, ConnectError> {
    let name = server_name(name).ok_or_else(|| {
        let text = format!("`{name}` is neither a host name nor an address");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    match TlsConnector::from(Arc::clone(config)).connect(name, stream).await {
        Ok(stream) => Ok(TlsStream::Client(stream)),
        Err(error) => Err(ConnectError::Tls { failure: of_handshake(&error), detail: error.to_string() }),
    }
}

/// A handshake that broke for no reason that rustls names was ended by the other side.
fn of_handshake(error: &io::Error) -> TlsFailure {
    classify(error).unwrap_or(TlsFailure::Handshake)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use TlsFailure::{Expired, NameMismatch, NotYetValid, UnknownCa};

    use super::*;
    use crate::net::{Endpoint, Transport};
    use crate::tls::authority::{Authority, DAY, KeyAlgorithm, ServerRequest, Validity};
    use crate::tls::client::{Trust, config};
    use crate::tls::server::{self, ServerFiles};

    fn authority(name: &str, key: KeyAlgorithm) -> Authority {
        Authority::new(name, key, Validity::starting(SystemTime::now(), DAY)).expect("an authority")
    }

    fn request(names: &[&str], validity: Validity, key: KeyAlgorithm) -> ServerRequest {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        ServerRequest { common_name: "broker".into(), names, validity, key }
    }

    fn trusting(authority: &Authority) -> Arc<rustls::ClientConfig> {
        config(Trust::Authorities(&[authority.certificate_pem()])).expect("a certificate")
    }

    /// Connects to a server with this certificate, and sends four bytes to and fro.
    async fn greet(
        authority: &Authority,
        request: &ServerRequest,
        name: &str,
        config: Arc<rustls::ClientConfig>,
    ) -> Result<(), ConnectError> {
        let issued = authority.issue_server(request).expect("signed");
        let folder = tempfile::tempdir().expect("a folder");
        let files = ServerFiles {
            certfile: folder.path().join("server.crt"),
            keyfile: folder.path().join("server.key"),
            ..ServerFiles::default()
        };
        std::fs::write(&files.certfile, issued.certificate_pem).expect("written");
        std::fs::write(&files.keyfile, issued.key_pem).expect("written");
        let nobody = &mut |_: &str| Err(String::new());
        let loaded = server::from_files(&files, nobody, None).expect("a pair");
        let acceptor = TlsAcceptor::from(loaded.config);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let echo = tokio::spawn(async move {
            let (socket, _) = listener.accept().await?;
            let mut stream = acceptor.accept(socket).await?;
            let mut greeting = [0; 4];
            stream.read_exact(&mut greeting).await?;
            stream.write_all(&greeting).await?;
            stream.shutdown().await
        });
        let endpoint =
            Endpoint::Tls { host: "127.0.0.1".into(), port, server_name: name.into(), config, tap: None };
        let outcome = match endpoint.connect().await {
            Ok(stream) => {
                exchange(stream).await;
                Ok(())
            }
            Err(error) => Err(error),
        };
        // The server's side of a failed handshake fails too.
        let _ = echo.await.expect("no panic");
        outcome
    }

    async fn exchange(mut stream: Transport) {
        stream.write_all(b"ping").await.expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("closed with a goodbye");
        assert_eq!(answer, b"ping");
    }

    fn failure(outcome: Result<(), ConnectError>) -> TlsFailure {
        match outcome.expect_err("must fail") {
            ConnectError::Tls { failure, .. } => failure,
            other => panic!("not TLS: {other}"),
        }
    }

    #[tokio::test]
    async fn both_kinds_of_keys_and_names_are_accepted() {
        let now = SystemTime::now();
        for key in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
            let lab = authority("lab", key);
            let request = request(&["localhost", "127.0.0.1"], Validity::starting(now, DAY), key);
            for name in ["localhost", "127.0.0.1"] {
                greet(&lab, &request, name, trusting(&lab)).await.expect("accepted");
            }
        }
    }

    #[tokio::test]
    async fn each_flaw_has_its_name() {
        let now = SystemTime::now();
        let key = KeyAlgorithm::EcdsaP256;
        let lab = authority("lab", key);
        let good = Validity::starting(now, DAY);
        let mut flaws = Vec::new();
        for validity in [Validity::past(now), Validity::future(now)] {
            let request = request(&["localhost"], validity, key);
            flaws.push(failure(greet(&lab, &request, "localhost", trusting(&lab)).await));
        }
        let elsewhere = request(&["broker.example.org"], good, key);
        flaws.push(failure(greet(&lab, &elsewhere, "localhost", trusting(&lab)).await));
        // One of another name, one of the same name with another key, and none at all.
        let here = request(&["localhost"], good, key);
        for other in [authority("other", key), authority("lab", key)] {
            flaws.push(failure(greet(&lab, &here, "localhost", trusting(&other)).await));
        }
        let nobody = config(Trust::Authorities(&[])).expect("allowed");
        flaws.push(failure(greet(&lab, &here, "localhost", nobody).await));
        assert_eq!(flaws, [Expired, NotYetValid, NameMismatch, UnknownCa, UnknownCa, UnknownCa]);
    }

    #[tokio::test]
    async fn who_trusts_anybody_is_connected_all_the_same() {
        let key = KeyAlgorithm::EcdsaP256;
        let expired = request(&["elsewhere"], Validity::past(SystemTime::now()), key);
        let insecure = config(Trust::Anybody).expect("nothing to read");
        greet(&authority("lab", key), &expired, "localhost", insecure).await.expect("accepted");
    }

    #[tokio::test]
    async fn a_peer_that_speaks_no_tls_is_told_from_one_that_hangs_up() {
        let mut seen = Vec::new();
        for answer in [&b"\x20\x02\x00\x00 no TLS here"[..], b""] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let server = tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.expect("a client");
                let mut hello = [0; 5];
                socket.read_exact(&mut hello).await.expect("a record's head");
                socket.write_all(answer).await.expect("written");
            });
            let config = config(Trust::Anybody).expect("nothing to read");
            let host = "127.0.0.1".to_owned();
            let endpoint = Endpoint::Tls { server_name: host.clone(), host, port, config, tap: None };
            let connecting = tokio::time::timeout(Duration::from_secs(10), endpoint.connect());
            seen.push(failure(connecting.await.expect("in time").map(drop)));
            server.await.expect("no panic");
        }
        assert_eq!(seen, [TlsFailure::NotTls, TlsFailure::Handshake]);
    }
}
