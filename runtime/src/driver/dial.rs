//! Connecting to other servers. Names are resolved at every attempt: servers move.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::spawn_local;
use vivarium_core::boundary::Channel;
use vivarium_core::ids::ServerId;

use super::connection::open_link;
use super::hub::{Arrival, Hub};
use crate::config::{Settings, unbracket};

/// Per address, as ZooKeeper's `zookeeper.cnxTimeout`.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Dials `peer` in the background; ends in `LinkOpened` or `DialFailed`.
pub(super) fn start(hub: &Rc<Hub>, settings: &Settings, peer: ServerId, channel: Channel) {
    let member = settings
        .members
        .get(&peer)
        .expect("the machine dials members only");
    let host = unbracket(&member.host).to_owned();
    let port = match channel {
        Channel::Election => member.election_port,
        Channel::Quorum => member.quorum_port,
    };
    let hub = hub.clone();
    spawn_local(async move {
        match connect(&host, port).await {
            Ok((stream, address)) => open_link(&hub, stream, address, Some(peer), channel),
            Err(error) => {
                tracing::debug!(%peer, host, port, %error, "can not reach the server");
                hub.push(Arrival::DialFailed { peer, channel });
            }
        }
    });
}

async fn connect(host: &str, port: u16) -> io::Result<(TcpStream, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        match tokio::time::timeout(TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
