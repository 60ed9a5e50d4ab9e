//! What is known of each client's connection: to which server, since when, and who was proven on
//! it. Judges nothing.

use std::collections::BTreeMap;

use vivarium_core::ids::{ServerId, SessionId, Zxid};

use super::access::{self, Who};
use crate::observe::{ClientId, Setup, SimTime};

/// A handshake that a server has accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Welcomed {
    /// When it was sent.
    pub asked: SimTime,
    pub server: ServerId,
    pub session: SessionId,
    pub timeout_ms: i32,
    /// The newest zxid that the client had seen, as it told the server.
    pub seen: Zxid,
    /// The client had no session before.
    pub is_new: bool,
    /// The server has no quorum.
    pub read_only: bool,
}

/// A connection that is open, as far as its client knows.
#[derive(Clone, Debug)]
pub struct Connection {
    pub server: ServerId,
    pub read_only: bool,
    /// With what was asked for and not answered yet.
    pub who: Who,
}

#[derive(Clone, Default, Debug)]
pub struct Connections {
    servers: usize,
    open: BTreeMap<ClientId, Connection>,
}

impl Connections {
    pub fn new(setup: &Setup) -> Self {
        Self {
            servers: setup.servers().count(),
            open: BTreeMap::new(),
        }
    }

    pub fn opened(&mut self, client: ClientId, welcomed: &Welcomed) -> Who {
        // Machines are numbered from 0, servers first.
        let machine = self.servers + client.0 as usize - 1;
        let who = access::address(&format!("10.0.{}.{}", machine >> 8, machine & 0xff));
        let connection = Connection {
            server: welcomed.server,
            read_only: welcomed.read_only,
            who: who.clone(),
        };
        self.open.insert(client, connection);
        who
    }

    pub fn closed(&mut self, client: ClientId) {
        self.open.remove(&client);
    }

    pub fn get(&self, client: ClientId) -> Option<&Connection> {
        self.open.get(&client)
    }

    pub fn get_mut(&mut self, client: ClientId) -> Option<&mut Connection> {
        self.open.get_mut(&client)
    }

    /// Who sends the next request.
    pub fn who(&self, client: ClientId) -> Who {
        self.get(client)
            .map_or_else(|| Who::from([]), |c| c.who.clone())
    }
}
