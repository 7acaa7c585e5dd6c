//! Opening what a configured listener listens on: TCP sockets, one for each address, or a Unix
//! socket. Accepting is [`listener`](super::listener)'s business.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream, lookup_host};

use super::hub::Hub;
use crate::broker::config::{Compat, Config, ListenerConfig, ListenerProtocol, SocketDomain};
use crate::broker::log::LogTypes;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How often another port is tried where the system may pick one and one version of IP has it
/// taken already.
const PORT_ATTEMPTS: usize = 16;

/// Mode of a Unix socket: mosquitto opens it under the mask 0007.
const UNIX_MODE: u32 = 0o770;

/// A Unix socket, whose path is removed with it.
pub struct UnixSocket {
    pub socket: UnixListener,
    path: PathBuf,
    /// Device and inode: by then another broker may have put its own there.
    file: (u64, u64),
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // Where that is not allowed any more, the next start removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The TCP sockets of a listener: one for each address that it names, or one for each version of
/// IP. At least one.
pub async fn tcp(hub: &Hub, config: &Config, listener: &ListenerConfig) -> io::Result<Vec<TcpListener>> {
    let addresses = addresses(listener, config.local_only).await?;
    let mut attempt = 1;
    let sockets = loop {
        match open_all(listener, &addresses) {
            Err(error)
                if listener.port == 0
                    && error.kind() == io::ErrorKind::AddrInUse
                    && attempt < PORT_ATTEMPTS =>
            {
                attempt += 1;
            }
            other => break other?,
        }
    };
    for (number, socket) in sockets.iter().enumerate() {
        let address = socket.local_addr()?;
        let kind = match (config.compat, listener.protocol) {
            (Compat::V20, ListenerProtocol::WebSockets) if number > 0 => continue,
            (Compat::V20, ListenerProtocol::WebSockets) => "websockets",
            _ if address.is_ipv4() => "ipv4",
            _ => "ipv6",
        };
        hub.log(LogTypes::INFORMATION, &format!("Opening {kind} listen socket on port {}.", address.port()));
    }
    Ok(sockets)
}

/// The Unix socket of a listener.
pub async fn unix(hub: &Hub, path: &Path) -> io::Result<UnixSocket> {
    hub.log(LogTypes::INFORMATION, &format!("Opening unix listen socket on path {}.", path.display()));
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()))
    };
    make_way(path).await.map_err(failed)?;
    let socket = tokio::net::UnixSocket::new_stream().map_err(failed)?;
    socket.bind(path).map_err(failed)?;
    // Until it listens nobody comes in, whatever the umask has made of its mode.
    fs::set_permissions(path, Permissions::from_mode(UNIX_MODE)).map_err(failed)?;
    let socket = socket.listen(BACKLOG).map_err(failed)?;
    Ok(UnixSocket { socket, path: path.to_owned(), file: identity(path).map_err(failed)? })
}

/// Removes what a broker that was killed left behind. Mosquitto removes whatever is there; we
/// remove only a socket that nobody listens on.
async fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(there) if !there.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else than a socket"))
        }
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            _ => Err(io::ErrorKind::AddrInUse.into()),
        },
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Where a listener listens, without its port; mosquitto's first choice first.
async fn addresses(listener: &ListenerConfig, local_only: bool) -> io::Result<Vec<SocketAddr>> {
    let everywhere = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let here = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let any = |of: [std::net::IpAddr; 2]| of.map(|ip| SocketAddr::new(ip, 0)).to_vec();
    let mut found = match (&listener.bind, &listener.interface) {
        // Of the two, the interface is the one that counts.
        (Some(host), None) => {
            let mut found: Vec<_> = lookup_host((host.as_str(), 0)).await?.collect();
            found.sort_unstable();
            found.dedup();
            found
        }
        (None, None) if local_only => any(here),
        _ => any(everywhere),
    };
    found.retain(|address| match listener.domain {
        SocketDomain::Any => true,
        SocketDomain::V4 => address.is_ipv4(),
        SocketDomain::V6 => address.is_ipv6(),
    });
    if found.is_empty() {
        let host = listener.bind.as_deref().unwrap_or_default();
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{host} has no address of this socket_domain"),
        ));
    }
    Ok(found)
}

/// All of them on one port.
fn open_all(listener: &ListenerConfig, addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut missing = None;
    let mut port = listener.port;
    for address in addresses {
        let mut address = *address;
        address.set_port(port);
        match open(address, listener.interface.as_deref()) {
            Ok(socket) => {
                // Port 0: the first socket picks, the others follow.
                port = socket.local_addr()?.port();
                sockets.push(socket);
            }
            // A machine without IPv6, or the other way about.
            Err(error) if listener.bind.is_none() && is_missing_family(&error) => missing = Some(error),
            Err(error) => {
                let on = listener.interface.as_ref().map_or_else(String::new, |name| format!(" of {name}"));
                return Err(io::Error::new(error.kind(), format!("cannot listen on {address}{on}: {error}")));
            }
        }
    }
    match missing {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

fn open(address: SocketAddr, interface: Option<&str>) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // The other version has a socket of its own.
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if let Some(name) = interface {
        bind_to(&socket, name)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Nothing that comes in by another interface is served, whatever address it is for.
#[cfg(target_os = "linux")]
fn bind_to(socket: &TcpSocket, interface: &str) -> io::Result<()> {
    socket.bind_device(Some(interface.as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn bind_to(_: &TcpSocket, _: &str) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "bind_interface needs Linux"))
}

fn is_missing_family(error: &io::Error) -> bool {
    let missing = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT];
    error.raw_os_error().is_some_and(|code| missing.iter().any(|errno| errno.raw_os_error() == code))
}
