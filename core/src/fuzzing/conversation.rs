//! Whole conversations of several clients with a standalone server: any bytes, cut anywhere, with
//! time passing, a disk that is slow, and crashes that lose what is not stable.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use bytes::Bytes;

use super::client::Client;
use super::tape::Tape;
use crate::boundary::{Action, Event, Input, Outbox, SnapshotStep, Whom, WriteOp};
use crate::config::{Config, Rules};
use crate::ids::{ConnId, Epoch, ServerId, SessionId, WriteSeq, Zxid};
use crate::mutants::Mutants;
use crate::node::Node;
use crate::recovery::{Recovered, Recovery};
use crate::snapshot::SnapshotLoader;
use crate::time::{Instant, Now, WallMs};
use crate::wire::client::{ConnectRequest, Password, RequestHeader, put_frame};
use crate::wire::jute::Write;

/// Connections at a time.
const SLOTS: usize = 4;

/// Turns that a server may need until nothing is under way.
const TURNS_MAX: usize = 10_000;

/// What a node may put out in one turn, far beyond what the inputs here can ask for: replies of a
/// node under test stay in proportion to what its clients sent.
const TURN_BYTES_MAX: usize = 8 << 20;

/// What survives a crash.
#[derive(Default)]
struct Disk {
    /// Not yet stable, oldest first.
    queue: VecDeque<(WriteSeq, WriteOp)>,
    log: Vec<(Zxid, Bytes)>,
    accepted: Epoch,
    current: Epoch,
    /// The newest whole snapshot, and the one being written.
    snapshot: Option<(Zxid, Vec<u8>)>,
    writing: Option<(Zxid, Vec<u8>)>,
    /// The last step of a snapshot was not reported.
    owes_step: bool,
}

impl Disk {
    fn stable(&self) -> Zxid {
        self.log.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// Makes the oldest write stable.
    fn sync_one(&mut self) -> Option<WriteSeq> {
        let (seq, op) = self.queue.pop_front()?;
        match op {
            WriteOp::Append { zxid, record } => {
                assert!(zxid > self.stable(), "the log runs forward");
                self.log.push((zxid, record));
            }
            WriteOp::AcceptedEpoch(epoch) => self.accepted = epoch,
            WriteOp::CurrentEpoch(epoch) => self.current = epoch,
            WriteOp::Truncate { .. } | WriteOp::Install(_) => panic!("alone, and told {op:?}"),
        }
        Some(seq)
    }

    fn take_snapshot_step(&mut self, step: &SnapshotStep) {
        assert!(!self.owes_step, "a second step before the first was stored");
        self.owes_step = true;
        match step {
            SnapshotStep::Begin { zxid } => self.writing = Some((*zxid, Vec::new())),
            SnapshotStep::Chunk(bytes) => {
                let writing = self.writing.as_mut().expect("begun");
                writing.1.extend_from_slice(bytes);
            }
            SnapshotStep::End { digest, .. } => {
                let (zxid, body) = self.writing.take().expect("begun");
                let mut loader = SnapshotLoader::new(1, Mutants::NONE);
                assert_eq!(loader.feed(&body), Ok(body.len()));
                let database = loader.finish(zxid).expect("whole");
                assert_eq!(database.digest(), *digest, "of the snapshot at {zxid}");
                self.snapshot = Some((zxid, body));
            }
            SnapshotStep::Abandon => self.writing = None,
        }
    }

    fn recover(&self) -> Recovered {
        let mut recovery = match &self.snapshot {
            Some((zxid, body)) if *zxid <= self.stable() => {
                let mut loader = SnapshotLoader::new(1, Mutants::NONE);
                assert_eq!(loader.feed(body), Ok(body.len()));
                Recovery::from_snapshot(loader.finish(*zxid).expect("whole"))
            }
            _ => Recovery::fresh(1, Mutants::NONE),
        };
        for (_, record) in &self.log {
            recovery.replay(record.clone()).expect("was written");
        }
        assert_eq!(recovery.digest_mismatches(), 0, "the log leads elsewhere");
        recovery.finish(self.accepted, self.current)
    }
}

struct World {
    config: Config,
    node: Node,
    now: Now,
    out: Outbox,
    disk: Disk,
    clients: [Option<Client>; SLOTS],
    opened: u64,
    sessions: Vec<(SessionId, Password)>,
    /// The newest zxid that any client was shown.
    shown: Zxid,
}

fn rules(tape: &mut Tape<'_>) -> Rules {
    let (one, two) = (tape.byte(), tape.byte());
    let bit = |byte: u8, n: u8| byte >> n & 1 == 1;
    Rules {
        extended_types: bit(one, 0),
        enforce_quota: bit(one, 1),
        skip_acl: bit(one, 2),
        super_digest: bit(one, 3).then(|| "super:D/InIHSb7yEEbrWz8b9l71RjZJU=".into()),
        digest_auth: !bit(one, 4),
        enforced_schemes: if bit(one, 5) {
            Vec::from(["digest".into()])
        } else {
            Vec::new()
        },
        eager_acl_check: bit(one, 6),
        local_sessions: bit(two, 0),
        local_sessions_upgrading: bit(two, 1),
        container_check_interval: Duration::from_secs(1),
        container_never_used: Duration::from_secs(u64::from(bit(two, 2))),
        outstanding_max: if bit(two, 4) { 4 } else { 1_000 },
        ..Rules::default()
    }
}

impl World {
    fn new(tape: &mut Tape<'_>) -> Self {
        let config = Config {
            me: ServerId(0),
            members: Default::default(),
            tick: Duration::from_millis(500),
            init_limit: 10,
            sync_limit: 5,
            session_timeout_min: Duration::from_secs(1),
            session_timeout_max: Duration::from_secs(10),
            snap_count: 10,
            seed: 1,
            rules: rules(tape),
            mutants: Mutants::NONE,
        };
        let now = Now {
            mono: Instant(1_000_000_000),
            wall: WallMs(1_700_000_000_000),
        };
        let disk = Disk::default();
        let mut world = Self {
            node: Node::boot(config.clone(), disk.recover(), now),
            config,
            now,
            out: Outbox::default(),
            disk,
            clients: [const { None }; SLOTS],
            opened: 0,
            sessions: Vec::new(),
            shown: Zxid::ZERO,
        };
        world.turn();
        world
    }

    fn client(&mut self, n: u8) -> Option<&mut Client> {
        self.clients[usize::from(n) % SLOTS].as_mut()
    }

    fn owner(&mut self, conn: ConnId) -> &mut Client {
        let mut all = self.clients.iter_mut().flatten();
        all.find(|c| c.conn == conn).expect("an open connection")
    }

    fn input(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
    }

    /// Ends the turn and carries out what it asks for.
    fn turn(&mut self) {
        if self.node.deadline().is_some_and(|at| at <= self.now.mono) {
            self.input(Input::Wake);
        }
        self.node.flush(self.now, &mut self.out);
        let late = self.node.deadline().filter(|at| *at <= self.now.mono);
        assert!(late.is_none(), "a deadline in the past after a flush");
        let out = core::mem::take(&mut self.out);
        let mut bytes_out = 0;
        for action in out.actions() {
            match action {
                Action::Write { seq, op } => self.disk.queue.push_back((*seq, op.clone())),
                Action::Snapshot(step) => self.disk.take_snapshot_step(step),
                Action::Reply { conn, bytes } => {
                    bytes_out += bytes.len();
                    let stable = self.disk.stable();
                    let owner = self.owner(*conn);
                    let session = owner.receive(out.bytes(*bytes), stable);
                    let newest = owner.newest();
                    self.sessions.extend(session);
                    self.shown = self.shown.max(newest);
                }
                Action::Close {
                    whom: Whom::Client(conn),
                    ..
                }
                | Action::Command { conn, .. } => {
                    let owner = self.owner(*conn);
                    assert!(!owner.is_closed, "closed twice");
                    owner.is_closed = true;
                }
                Action::Report(Event::DigestMismatch { zxid }) => panic!("mismatch at {zxid}"),
                Action::Report(_) => {}
                other => panic!("not for a standalone server: {other:?}"),
            }
        }
        assert!(bytes_out < TURN_BYTES_MAX, "{bytes_out} bytes in one turn");
        self.out = out;
        self.out.clear();
    }

    /// Opens a connection in this place, in which another one hangs up.
    fn open(&mut self, n: u8) {
        let n = usize::from(n) % SLOTS;
        self.hang_up(n);
        self.opened += 1;
        let conn = ConnId(self.opened);
        self.clients[n] = Some(Client::new(conn));
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
        self.input(Input::ClientOpened { conn, address });
    }

    fn hang_up(&mut self, n: usize) {
        if let Some(client) = self.clients[n].take() {
            self.input(Input::ClientClosed { conn: client.conn });
            // What the server had to say to it can not be delivered any more.
            self.turn_without(client);
        }
    }

    /// A turn whose effects on a client that hung up come to nothing.
    fn turn_without(&mut self, gone: Client) {
        let conn = gone.conn;
        let place = self.clients.iter().position(Option::is_none);
        let place = place.expect("its own place is free");
        self.clients[place] = Some(gone);
        self.turn();
        assert_eq!(self.clients[place].as_ref().map(|c| c.conn), Some(conn));
        self.clients[place] = None;
    }

    /// Hands over what waits at the sockets, if the node wants it. Says whether there was any.
    fn read(&mut self) -> bool {
        let mut any = false;
        for n in 0..SLOTS {
            if !self.node.appetite().clients {
                break;
            }
            let Some(client) = self.clients[n].as_mut().filter(|c| !c.is_closed) else {
                continue;
            };
            let Some(bytes) = client.inbound.pop_front() else {
                continue;
            };
            client.note_sent(&bytes, self.config.rules.frame_bytes_max);
            let conn = client.conn;
            self.input(Input::ClientBytes {
                conn,
                bytes: &bytes,
            });
            any = true;
        }
        any
    }

    fn sync(&mut self, writes: usize) -> bool {
        let mut last = None;
        for _ in 0..writes {
            match self.disk.sync_one() {
                Some(seq) => last = Some(seq),
                None => break,
            }
        }
        if let Some(upto) = last {
            self.input(Input::Persisted { upto });
        }
        last.is_some()
    }

    fn store_step(&mut self) -> bool {
        let owes = core::mem::take(&mut self.disk.owes_step);
        if owes {
            self.input(Input::SnapshotStored { ok: true });
        }
        owes
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.now.wall.0 += i64::try_from(time.as_millis()).expect("a short time");
    }

    /// Lets time pass with the node woken when it wants to be.
    fn wait(&mut self, time: Duration) {
        let end = self.now.mono + time;
        for _ in 0..TURNS_MAX {
            self.turn();
            match self.node.deadline().filter(|at| *at <= end) {
                Some(at) => self.pass(at - self.now.mono),
                None => return self.pass(end - self.now.mono),
            }
        }
        panic!("{TURNS_MAX} deadlines within {time:?}");
    }

    /// Until the node neither has anything under way nor asks for a turn. What was asked by then
    /// and has no answer gets none.
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let read = self.read();
            self.turn();
            let synced = self.sync(usize::MAX);
            let stored = self.store_step();
            self.pass(Duration::from_micros(1));
            let asks = self.node.deadline().is_some_and(|at| at <= self.now.mono);
            if read || synced || stored || asks {
                continue;
            }
            self.clients
                .iter()
                .flatten()
                .for_each(Client::check_settled);
            let left = self.node.status().outstanding;
            return assert_eq!(left, 0, "requests of nobody");
        }
        panic!("something is under way for ever");
    }

    /// The process dies with what is not stable, but for the first `writes` of it.
    fn crash(&mut self, writes: usize) {
        for _ in 0..writes {
            self.disk.sync_one();
        }
        let found = self.disk_after_crash();
        self.clients = [const { None }; SLOTS];
        self.node = Node::boot(self.config.clone(), found, self.now);
        self.turn();
    }

    fn disk_after_crash(&mut self) -> Recovered {
        self.disk.queue.clear();
        self.disk.writing = None;
        self.disk.owes_step = false;
        let found = self.disk.recover();
        let applied = found.database.applied();
        assert!(applied >= self.shown, "{applied} is less than was shown");
        found
    }

    fn hello(&mut self, n: u8, tape: &mut Tape<'_>) {
        let (which, seen) = (usize::from(tape.byte()), tape.byte());
        let fresh = (SessionId(0), [0; 16]);
        let (session, password) = self.sessions.get(which).copied().unwrap_or(fresh);
        let request = ConnectRequest {
            protocol: 0,
            last_zxid_seen: Zxid(i64::from(seen & 0xf)),
            timeout_ms: i32::from(seen) * 100,
            session,
            password: Some(&password),
            read_only: (seen & 0x10 == 0).then_some(seen & 0x20 != 0),
        };
        let mut frame = Vec::new();
        put_frame(&mut frame, |out| request.encode(out));
        if let Some(client) = self.client(n) {
            client.send(&frame, usize::MAX);
        }
    }

    fn ask(&mut self, n: u8, tape: &mut Tape<'_>) {
        let (op, body) = tape.request();
        let cut = usize::from(tape.byte());
        if let Some(client) = self.client(n) {
            let xid = client.next_xid();
            let mut frame = Vec::new();
            put_frame(&mut frame, |out| {
                RequestHeader { xid, op }.write(out);
                out.extend_from_slice(&body);
            });
            client.send(&frame, cut);
        }
    }

    /// Any bytes, as they are or as one frame.
    fn say(&mut self, n: u8, tape: &mut Tape<'_>, framed: bool) {
        let length = usize::from(tape.byte());
        let mut bytes = Vec::new();
        if framed {
            bytes.put_count(length);
        }
        bytes.extend_from_slice(tape.take(length));
        let cut = usize::from(tape.byte());
        if let Some(client) = self.client(n) {
            client.send(&bytes, cut);
        }
    }

    fn step(&mut self, tape: &mut Tape<'_>) {
        let step = tape.byte();
        let n = step >> 4;
        match step & 0xf {
            0 => self.open(n),
            1 => {
                self.open(n);
                self.hello(n, tape);
                self.settle();
            }
            2 => self.hello(n, tape),
            3 => self.hang_up(usize::from(n) % SLOTS),
            4 => self.say(n, tape, false),
            5 => self.say(n, tape, true),
            6 => self.wait(Duration::from_millis(u64::from(tape.byte()) * 50)),
            7 => drop(self.sync(usize::from(n) + 1)),
            8 => drop(self.store_step()),
            9 => self.turn(),
            10 => self.crash(usize::from(n)),
            11 => self.settle(),
            _ => {
                self.ask(n, tape);
                if step & 1 == 0 {
                    self.read();
                }
            }
        }
    }
}

/// Clients that say anything at any time to a server that may crash. The first two bytes are the
/// server's switches, the others what happens.
///
/// # Panics
///
/// If the server breaks a promise: see `Client`, `Disk::recover` and `World::settle`.
pub fn client_conversation(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    let mut world = World::new(&mut tape);
    while !tape.is_at_end() {
        world.step(&mut tape);
    }
    world.settle();
    let held = world.node.database().digest();
    let found = world.disk_after_crash();
    assert_eq!(found.database.digest(), held, "the disk holds another tree");
}
