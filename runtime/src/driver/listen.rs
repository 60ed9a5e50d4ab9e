//! The ports: bound before the data is read, so that a taken port is said at once; listening only
//! when the machine is up, so that nobody waits for a server that is still recovering.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use vivarium_core::boundary::Channel;

use super::connection::{open_client, open_link};
use super::hub::Hub;
use crate::config::{Endpoint, is_wildcard};
use crate::owner;

/// Connections that the system may hold before they are accepted.
const BACKLOG: u32 = 1_024;

/// Pause after a failed accept: usually no file descriptor is left, and one must be freed first.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a port is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Clients,
    Servers(Channel),
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Servers(Channel::Quorum) => "followers",
            Self::Servers(Channel::Election) => "elections",
        }
    }
}

/// Why a port can not be used.
#[derive(Debug)]
pub struct BindError {
    purpose: Purpose,
    /// The key that says which port.
    key: String,
    endpoint: Endpoint,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            purpose,
            key,
            endpoint,
            error,
        } = self;
        write!(
            f,
            "can not listen for {} on {endpoint} ({key}): ",
            purpose.name()
        )?;
        match error.kind() {
            io::ErrorKind::AddrInUse => match owner::of_port(endpoint.port) {
                Some(owner) => write!(
                    f,
                    "the port is used by process {} ({}); stop it, or choose another port",
                    owner.pid, owner.name
                ),
                None => write!(
                    f,
                    "the port is used by another process that is not ours to see; `ss -ltnp` as \
                     root names it"
                ),
            },
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "that is no address of this machine; correct the own line, or set \
                 quorumListenOnAllIPs=true"
            ),
            io::ErrorKind::PermissionDenied => {
                write!(f, "not permitted (ports below 1024 need a privilege)")
            }
            _ => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for BindError {}

/// Binds a port without accepting anything yet.
///
/// # Errors
/// Names the port, what it is for, and who has it.
pub(super) fn bind(
    purpose: Purpose,
    key: &str,
    endpoint: &Endpoint,
) -> Result<TcpSocket, BindError> {
    let fail = |error| BindError {
        purpose,
        key: key.to_owned(),
        endpoint: endpoint.clone(),
        error,
    };
    let (host, port) = (endpoint.host.as_str(), endpoint.port);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    if is_wildcard(host) {
        // One socket for both families. A system without IPv6 gets the other one.
        match bind_address(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            Ok(socket) => return Ok(socket),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => return Err(fail(e)),
            Err(_) => {}
        }
    }
    let host_v4 = if is_wildcard(host) { "0.0.0.0" } else { host };
    for address in (host_v4, port).to_socket_addrs().map_err(fail)? {
        match bind_address(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(fail(last))
}

fn bind_address(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // A restarted server must not wait for the old connections' time in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts for ever.
pub(super) async fn accept(hub: Rc<Hub>, socket: TcpSocket, purpose: Purpose) {
    let listener = match socket.listen(BACKLOG) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "can not listen for {}", purpose.name());
            return;
        }
    };
    loop {
        let (stream, address) = next(&listener, purpose).await;
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        match purpose {
            Purpose::Servers(channel) => open_link(&hub, stream, address, None, channel),
            Purpose::Clients => {
                tracing::debug!(client = %address, "connected");
                open_client(&hub, stream, address);
            }
        }
    }
}

async fn next(listener: &TcpListener, purpose: Purpose) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "can not accept from {}", purpose.name());
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_names_its_owner() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        for host in ["127.0.0.1", "0.0.0.0", "::"] {
            let endpoint = Endpoint {
                host: host.into(),
                port,
            };
            let error = bind(Purpose::Clients, "clientPort", &endpoint).expect_err("taken");
            let error = error.to_string();
            let head =
                format!("can not listen for clients on {endpoint} (clientPort): the port is");
            assert!(error.starts_with(&head), "{error}");
            let me = format!("used by process {} ", std::process::id());
            assert!(error.contains(&me), "{error}");
        }
    }

    #[test]
    fn an_address_of_another_machine() {
        let quorum = Purpose::Servers(Channel::Quorum);
        let endpoint = Endpoint {
            host: "203.0.113.7".into(),
            port: 2888,
        };
        let error = bind(quorum, "server.1", &endpoint).expect_err("not here");
        let error = error.to_string();
        assert!(error.contains("on 203.0.113.7:2888 (server.1)"), "{error}");
        assert!(error.contains("quorumListenOnAllIPs"), "{error}");
    }
}
