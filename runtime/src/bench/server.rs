//! A standalone server in this process: the machine itself, with a driver that answers every write
//! at once and counts the bytes for clients.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use vivarium_core::boundary::{Action, Input, Outbox, SnapshotStep};
use vivarium_core::config::{Config, Rules};
use vivarium_core::ids::{ConnId, Epoch, ServerId, SessionId, Zxid};
use vivarium_core::mutants::Mutants;
use vivarium_core::node::{Node, Status};
use vivarium_core::recovery::{Recovered, Recovery};
use vivarium_core::time::{Instant, Now, WallMs};
use vivarium_core::wire::client::{ConnectRequest, CreateOp, Request, RequestHeader, put_frame};
use vivarium_core::wire::records::Acl;

pub(super) const SEED: u64 = 1;

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
    /// Where snapshots are what is measured.
    pub(super) watch: Option<Watch>,
}

/// A look at every call of the machine. The steps of a snapshot are answered one in an exchange,
/// as if a disk took them, so that writes go on between them.
#[derive(Default)]
pub(super) struct Watch {
    /// Of every call so far.
    pub(super) calls: Vec<Call>,
    /// A snapshot was begun and has not ended.
    pub(super) is_walking: bool,
    pub(super) snapshots: usize,
    /// Bytes of all snapshots.
    pub(super) bytes: usize,
    unanswered: usize,
}

/// One call of `handle` or `flush`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) wall: Duration,
    /// On a processor: what another process's turn there can not make longer.
    pub(super) cpu: Duration,
    /// While a snapshot was under way, its first and its last call among them.
    pub(super) is_walking: bool,
}

impl Watch {
    /// A step of a snapshot left the machine, which waits for an answer now.
    fn see(&mut self, step: &SnapshotStep) {
        self.unanswered += 1;
        match step {
            SnapshotStep::Begin { .. } => self.is_walking = true,
            SnapshotStep::Chunk(bytes) => self.bytes += bytes.len(),
            SnapshotStep::End { .. } => {
                self.is_walking = false;
                self.snapshots += 1;
            }
            SnapshotStep::Abandon => unreachable!("every step succeeds"),
        }
    }
}

/// When something began.
struct Began(std::time::Instant, Duration);

impl Began {
    fn now() -> Self {
        Self(std::time::Instant::now(), cpu_time())
    }
}

/// How long this thread has been on a processor.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("time runs forward")
}

impl Server {
    pub(super) fn boot() -> Self {
        let found = Recovery::fresh(SEED, Mutants::NONE).finish(Epoch(0), Epoch(0));
        // Snapshots are not what is measured.
        Self::boot_from(found, u32::MAX)
    }

    pub(super) fn boot_from(found: Recovered, snap_count: u32) -> Self {
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
            snap_count,
            seed: SEED,
            rules,
            mutants: Mutants::NONE,
        };
        let mut server = Self {
            node: Node::boot(config, found, NOW),
            out: Outbox::default(),
            opened: 0,
            replied: 0,
            watch: None,
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
        if let Some(watch) = &mut self.watch
            && watch.unanswered > 0
        {
            watch.unanswered -= 1;
            self.handle(Input::SnapshotStored { ok: true });
        }
        self.handle(Input::ClientBytes { conn, bytes });
        self.finish();
    }

    fn handle(&mut self, input: Input<'_>) {
        let began = self.watch.is_some().then(Began::now);
        self.node.handle(NOW, input);
        self.note(began);
    }

    fn flush(&mut self) {
        let began = self.watch.is_some().then(Began::now);
        self.node.flush(NOW, &mut self.out);
        self.note(began);
    }

    fn note(&mut self, began: Option<Began>) {
        let (Some(Began(wall, cpu)), Some(watch)) = (began, &mut self.watch) else {
            return;
        };
        let (wall, cpu) = (wall.elapsed(), cpu_time() - cpu);
        let was_walking = watch.is_walking;
        for action in self.out.actions() {
            if let Action::Snapshot(step) = action {
                watch.see(step);
            }
        }
        watch.calls.push(Call {
            wall,
            cpu,
            is_walking: was_walking || watch.is_walking,
        });
    }

    /// Turns until nothing is left to do.
    fn finish(&mut self) {
        self.replied = 0;
        loop {
            self.flush();
            let (mut written, mut stored) = (None, 0);
            for action in self.out.actions() {
                match action {
                    Action::Write { seq, .. } => written = Some(*seq),
                    Action::Reply { bytes, .. } => self.replied += bytes.len(),
                    Action::Snapshot(SnapshotStep::Abandon) => {}
                    Action::Snapshot(_) if self.watch.is_none() => stored += 1,
                    _ => {}
                }
            }
            self.out.clear();
            let is_behind = self.node.deadline().is_some_and(|due| due <= NOW.mono);
            if written.is_none() && stored == 0 && !is_behind {
                return;
            }
            for _ in 0..stored {
                self.handle(Input::SnapshotStored { ok: true });
            }
            if let Some(upto) = written {
                self.handle(Input::Persisted { upto });
            }
            if is_behind {
                self.handle(Input::Wake);
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
