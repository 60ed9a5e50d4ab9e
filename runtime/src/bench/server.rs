//! A standalone server in this process: the machine itself, with a driver that answers every write
//! at once and counts the bytes for clients.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use vivarium_core::boundary::{Action, Input, Outbox, SnapshotStep};
use vivarium_core::config::{Config, Rules};
use vivarium_core::ids::{ConnId, Epoch, ServerId, SessionId, Zxid};
use vivarium_core::mutants::Mutants;
use vivarium_core::node::{Node, Status};
use vivarium_core::recovery::Recovery;
use vivarium_core::time::{Instant, Now, WallMs};
use vivarium_core::wire::client::{ConnectRequest, CreateOp, Request, RequestHeader, put_frame};
use vivarium_core::wire::records::Acl;

const SEED: u64 = 1;

/// The clock stands still, so nothing expires.
const NOW: Now = Now {
    mono: Instant(1),
    wall: WallMs(1_700_000_000_000),
};

pub(super) struct Server {
    node: Node,
    out: Outbox,
    opened: u64,
    /// Bytes for clients in the last exchange.
    pub(super) replied: usize,
}

impl Server {
    pub(super) fn boot() -> Self {
        let rules = Rules {
            address_connections_max: 0,
            ..Rules::default()
        };
        let config = Config {
            me: ServerId(0),
            members: BTreeMap::new(),
            tick: Duration::from_secs(2),
            init_limit: 10,
            sync_limit: 5,
            session_timeout_min: Duration::from_secs(4),
            session_timeout_max: Duration::from_secs(40),
            // Snapshots are not what is measured.
            snap_count: u32::MAX,
            seed: SEED,
            rules,
            mutants: Mutants::NONE,
        };
        let found = Recovery::fresh(SEED, Mutants::NONE).finish(Epoch(0), Epoch(0));
        let mut server = Self {
            node: Node::boot(config, found, NOW),
            out: Outbox::default(),
            opened: 0,
            replied: 0,
        };
        server.finish();
        server
    }

    pub(super) fn status(&self) -> Status {
        self.node.status()
    }

    /// Opens a connection with a session of its own.
    pub(super) fn connect(&mut self) -> ConnId {
        self.opened += 1;
        let conn = ConnId(self.opened);
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.node.handle(NOW, Input::ClientOpened { conn, address });
        let hello = ConnectRequest {
            protocol: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 40_000,
            session: SessionId(0),
            password: None,
            read_only: Some(false),
        };
        let mut bytes = Vec::new();
        put_frame(&mut bytes, |out| hello.encode(out));
        self.exchange(conn, &bytes);
        assert!(self.replied > 0, "the handshake is answered");
        conn
    }

    pub(super) fn disconnect(&mut self, conn: ConnId) {
        self.node.handle(NOW, Input::ClientClosed { conn });
        self.finish();
    }

    /// Hands over a client's bytes and carries everything out that follows.
    pub(super) fn exchange(&mut self, conn: ConnId, bytes: &[u8]) {
        self.node.handle(NOW, Input::ClientBytes { conn, bytes });
        self.finish();
    }

    /// Turns until nothing is left to do.
    fn finish(&mut self) {
        self.replied = 0;
        loop {
            self.node.flush(NOW, &mut self.out);
            let (mut written, mut stored) = (None, 0);
            for action in self.out.actions() {
                match action {
                    Action::Write { seq, .. } => written = Some(*seq),
                    Action::Reply { bytes, .. } => self.replied += bytes.len(),
                    Action::Snapshot(SnapshotStep::Abandon) => {}
                    Action::Snapshot(_) => stored += 1,
                    _ => {}
                }
            }
            self.out.clear();
            let is_behind = self.node.deadline().is_some_and(|due| due <= NOW.mono);
            if written.is_none() && stored == 0 && !is_behind {
                return;
            }
            for _ in 0..stored {
                self.node.handle(NOW, Input::SnapshotStored { ok: true });
            }
            if let Some(upto) = written {
                self.node.handle(NOW, Input::Persisted { upto });
            }
            if is_behind {
                self.node.handle(NOW, Input::Wake);
            }
        }
    }
}

/// Appends a request as a client sends it.
pub(super) fn put_request(out: &mut Vec<u8>, request: &Request<'_>) {
    put_frame(out, |out| {
        let header = RequestHeader {
            xid: 1,
            op: request.op(),
        };
        header.write(out);
        request.encode(out);
    });
}

pub(super) fn create(path: &str) -> Request<'_> {
    Request::Create {
        kind: CreateOp::Create,
        path: path.into(),
        data: Some(b"x"),
        acl: Some(vec![Acl::world(31)]),
        flags: 0,
    }
}
