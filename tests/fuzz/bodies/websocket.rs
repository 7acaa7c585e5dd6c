//! Any bytes as a WebSocket: as the handshake, as a client's frames and as a server's. However they
//! are cut, the same comes out. The first byte says where to cut.

use std::future::Future;

use mqttlab::net::Transport;
use mqttlab::net::websocket::handshake::{LONGEST_HEAD, read_request};
use mqttlab::net::websocket::{Role, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let whole = read_all(bytes, bytes.len(), Role::Server).await;
        let pieces = read_all(bytes, usize::from(*cut) % 7 + 1, Role::Server).await;
        assert_eq!(whole, pieces, "what arrives in pieces reads as the whole does");
        read_all(bytes, bytes.len(), Role::Client).await;
        shake_hands(bytes).await;
    });
}

/// What is read of frames that arrive `piece` bytes at a time, and whether it ended well.
async fn read_all(bytes: &[u8], piece: usize, role: Role) -> (Vec<u8>, bool) {
    let (mut peer, ours) = tokio::io::duplex(64);
    let transport: Transport = Box::new(ours);
    let mut socket = WebSocket::new(transport, role, Vec::new());
    let send = async move {
        for part in bytes.chunks(piece.max(1)) {
            if peer.write_all(part).await.is_err() {
                break;
            }
        }
        let _ = peer.shutdown().await;
        // Takes what is answered, so that nobody waits for room.
        let _ = tokio::io::copy(&mut peer, &mut tokio::io::sink()).await;
    };
    let mut found = Vec::new();
    let receive = async {
        let ended = socket.read_to_end(&mut found).await.is_ok();
        drop(socket);
        ended
    };
    let ((), ended) = both(send, receive).await;
    (found, ended)
}

async fn shake_hands(bytes: &[u8]) {
    let (mut peer, ours) = tokio::io::duplex(1 << 20);
    let mut transport: Transport = Box::new(ours);
    let _ = peer.write_all(bytes).await;
    let _ = peer.shutdown().await;
    if let Ok(Some(Ok((request, rest)))) = read_request(&mut transport, LONGEST_HEAD).await {
        assert!(rest.len() <= bytes.len());
        let _ = request.asked(&["http://here".to_owned()]);
        let _ = request.asked(&[]);
    }
}

async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    tokio::join!(a, b)
}
