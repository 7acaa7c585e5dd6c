//! TCP as a client dials it. Listening is the broker's business (`broker/server/listener.rs`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

/// How a socket is made; by default as the system does it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dial {
    /// Host name or address of this machine from which it dials.
    pub from: Option<String>,
    /// Idle time before the first probe of a silent connection, time between probes, and how many.
    /// Whole seconds.
    pub keepalive: Option<(Duration, Duration, u32)>,
    /// How long what was sent may go without an acknowledgement of TCP; whole milliseconds.
    pub user_timeout: Option<Duration>,
}

/// Dials every address of `host` until one answers. A packet is never held back to be joined with
/// a later one (`TCP_NODELAY`): our clients measure and compare.
pub async fn connect(host: &str, port: u16, dial: &Dial) -> io::Result<TcpStream> {
    let from = match &dial.from {
        Some(name) => lookup_host((name.as_str(), 0)).await?.map(|address| address.ip()).collect(),
        None => Vec::new(),
    };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, format!("no address of {host}"));
    for address in lookup_host((host, port)).await? {
        match connect_to(address, &from, dial).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn connect_to(address: SocketAddr, from: &[IpAddr], dial: &Dial) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if dial.from.is_some() {
        let same = from.iter().find(|ip| ip.is_ipv4() == address.is_ipv4());
        let ip = same.ok_or_else(|| {
            let text = "the address to dial from is of another version of IP";
            io::Error::new(io::ErrorKind::AddrNotAvailable, text)
        })?;
        socket.bind(SocketAddr::new(*ip, 0))?;
    }
    if let Some((idle, interval, count)) = dial.keepalive {
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, idle)?;
        sockopt::set_tcp_keepintvl(&socket, interval)?;
        sockopt::set_tcp_keepcnt(&socket, count)?;
    }
    if let Some(timeout) = dial.user_timeout {
        let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(&socket, millis)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_made_as_it_is_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let secs = Duration::from_secs;
        let dial = Dial {
            from: Some("127.0.0.2".to_owned()),
            keepalive: Some((secs(7), secs(8), 9)),
            user_timeout: Some(secs(3)),
        };
        let stream = connect("127.0.0.1", port, &dial).await.expect("listening");
        assert_eq!(stream.local_addr().expect("connected").ip().to_string(), "127.0.0.2");
        assert!(sockopt::socket_keepalive(&stream).expect("a socket"));
        assert_eq!(sockopt::tcp_keepidle(&stream).expect("a socket"), secs(7));
        assert_eq!(sockopt::tcp_keepintvl(&stream).expect("a socket"), secs(8));
        assert_eq!(sockopt::tcp_keepcnt(&stream).expect("a socket"), 9);
        assert_eq!(sockopt::tcp_user_timeout(&stream).expect("a socket"), 3000);
        let dial = Dial { from: Some("::1".to_owned()), ..Dial::default() };
        assert!(connect("127.0.0.1", port, &dial).await.is_err());
    }
}
