//! TCP as a client dials it. Listening is the broker's business (`broker/server/listener.rs`).

use std::io;

use tokio::net::TcpStream;

/// Dials every address of `host` until one answers. A packet is never held back to be joined with
/// a later one (`TCP_NODELAY`): our clients measure and compare.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
