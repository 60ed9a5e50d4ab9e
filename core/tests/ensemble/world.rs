//! The perfect world: links never fail unless cut, disks sync at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use vivarium_core::boundary::{
    Action, Channel, CloseReason, Input, Outbox, SnapshotStep, Whom, WriteOp,
};
use vivarium_core::config::{Config, LearnerType, Member, Rules};
use vivarium_core::database::Database;
use vivarium_core::ids::{ConnId, Epoch, LinkId, ServerId, SessionId, WriteSeq, Zxid};
use vivarium_core::mutants::Mutants;
use vivarium_core::node::{Node, Status};
use vivarium_core::recovery::{Recovered, Recovery};
use vivarium_core::snapshot::SnapshotLoader;
use vivarium_core::time::{Instant, Now, WallMs};
use vivarium_core::wire::client::{ConnectRequest, Request, RequestHeader, put_frame};
use vivarium_core::wire::txn::TxnHeader;

const SEED: u64 = 7;

#[derive(Default)]
struct Disk {
    snapshot: Option<(Zxid, Vec<u8>)>,
    installing: Vec<u8>,
    log: Vec<(Zxid, Bytes)>,
    accepted: Epoch,
    current: Epoch,
}

impl Disk {
    fn perform(&mut self, op: &WriteOp) {
        match op {
            WriteOp::Append { zxid, record } => self.log.push((*zxid, record.clone())),
            WriteOp::AcceptedEpoch(epoch) => self.accepted = *epoch,
            WriteOp::CurrentEpoch(epoch) => self.current = *epoch,
            WriteOp::Truncate { after } => self.log.retain(|(zxid, _)| zxid <= after),
            WriteOp::Install(step) => match step {
                SnapshotStep::Begin { zxid } => {
                    self.log.retain(|(z, _)| z <= zxid);
                    self.installing.clear();
                }
                SnapshotStep::Chunk(bytes) => self.installing.extend_from_slice(bytes),
                SnapshotStep::End { zxid, .. } => {
                    self.snapshot = Some((*zxid, std::mem::take(&mut self.installing)));
                }
                SnapshotStep::Abandon => self.installing.clear(),
            },
        }
    }

    fn recover(&self) -> Recovered {
        let mut recovery = match &self.snapshot {
            None => Recovery::fresh(SEED, Mutants::NONE),
            Some((zxid, body)) => {
                let mut loader = SnapshotLoader::new(SEED, Mutants::NONE);
                let read = loader.feed(body).expect("a snapshot that was written");
                assert_eq!(read, body.len());
                Recovery::from_snapshot(loader.finish(*zxid).expect("whole"))
            }
        };
        for (_, record) in &self.log {
            recovery
                .replay(record.clone())
                .expect("a record that was written");
        }
        recovery.finish(self.accepted, self.current)
    }
}

/// One end of a connection between servers.
type End = (ServerId, LinkId);

pub(crate) struct World {
    config: Config,
    now_ns: u64,
    nodes: BTreeMap<ServerId, Node>,
    disks: BTreeMap<ServerId, Disk>,
    /// Both directions of each link.
    links: BTreeMap<End, End>,
    cut: BTreeSet<ServerId>,
    /// Disks of which nothing is heard, with what there would be to hear.
    stuck: BTreeMap<ServerId, Vec<Event>>,
    next_id: u64,
    events: VecDeque<(ServerId, Event)>,
    clients: BTreeMap<ConnId, Vec<u8>>,
    closed: BTreeMap<ConnId, CloseReason>,
    reports: BTreeMap<ServerId, Vec<String>>,
    /// Writes to any disk, and messages between servers with whoever sent them.
    pub(crate) writes: usize,
    pub(crate) sent: Vec<ServerId>,
}

enum Event {
    Opened(LinkId, Option<ServerId>, Channel),
    Bytes(LinkId, Vec<u8>),
    Drained(LinkId, usize),
    Closed(LinkId),
    DialFailed(ServerId, Channel),
    Persisted(WriteSeq),
    Reload(WriteSeq),
    Stored,
}

impl World {
    pub(crate) fn new(voters: i64, observers: i64) -> Self {
        let member = |kind| Member {
            kind,
            host: "localhost".into(),
            quorum_port: 2888,
            election_port: 3888,
            client_address: None,
        };
        let kind = |id| {
            if id <= voters {
                LearnerType::Participant
            } else {
                LearnerType::Observer
            }
        };
        let members: BTreeMap<_, _> = (1..=voters + observers)
            .map(|id| (ServerId(id), member(kind(id))))
            .collect();
        let disks = members.keys().map(|id| (*id, Disk::default())).collect();
        let config = Config {
            me: ServerId(0),
            members,
            tick: Duration::from_millis(500),
            init_limit: 10,
            sync_limit: 5,
            session_timeout_min: Duration::from_secs(1),
            session_timeout_max: Duration::from_secs(10),
            snap_count: 100,
            seed: SEED,
            // All clients come from one address.
            rules: Rules {
                address_connections_max: 0,
                ..Rules::default()
            },
            mutants: Mutants::NONE,
        };
        Self {
            config,
            now_ns: 1_000_000_000,
            nodes: BTreeMap::new(),
            disks,
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            stuck: BTreeMap::new(),
            next_id: 1,
            events: VecDeque::new(),
            clients: BTreeMap::new(),
            closed: BTreeMap::new(),
            reports: BTreeMap::new(),
            writes: 0,
            sent: Vec::new(),
        }
    }

    /// One server and no ensemble.
    pub(crate) fn alone() -> Self {
        let mut world = Self::new(1, 0);
        world.config.members.clear();
        world
    }

    /// As if everything that a server has logged in this epoch, and more, had come before: its last
    /// transaction is the one with this counter. It must be down.
    pub(crate) fn forge_last_counter(&mut self, id: ServerId, counter: u32) {
        assert!(!self.nodes.contains_key(&id));
        let disk = self.disks.get_mut(&id).expect("every server has a disk");
        assert!(disk.snapshot.is_none(), "it would have to be forged, too");
        let (zxid, record) = disk.log.last_mut().expect("something is logged");
        *zxid = Zxid::new(zxid.epoch(), counter);
        let mut header = TxnHeader::peek(record).expect("a record that was written");
        header.zxid = *zxid;
        let mut forged = Vec::new();
        header.write(&mut forged);
        forged.extend_from_slice(&record[TxnHeader::BYTES..]);
        *record = forged.into();
    }

    /// From the next start of a server on.
    pub(crate) fn set_rules(&mut self, rules: Rules) {
        self.config.rules = rules;
    }

    pub(crate) fn ids(&self) -> Vec<ServerId> {
        self.disks.keys().copied().collect()
    }

    pub(crate) fn running(&self) -> Vec<ServerId> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn status(&self, id: ServerId) -> Status {
        self.nodes[&id].status()
    }

    pub(crate) fn database(&self, id: ServerId) -> &Database {
        self.nodes[&id].database()
    }

    pub(crate) fn reports(&self, id: ServerId) -> &[String] {
        self.reports.get(&id).map_or(&[], |r| r)
    }

    pub(crate) fn received(&self, client: ConnId) -> &[u8] {
        &self.clients[&client]
    }

    pub(crate) fn assert_equal_digests(&self) {
        let states: BTreeSet<_> = self
            .nodes
            .values()
            .map(|n| (n.status().applied, n.status().digest))
            .collect();
        assert_eq!(states.len(), 1, "{states:?}");
    }

    fn now(&self) -> Now {
        let wall = WallMs((self.now_ns / 1_000_000) as i64);
        Now {
            mono: Instant(self.now_ns),
            wall,
        }
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn start(&mut self, id: ServerId) {
        let config = Config {
            me: id,
            ..self.config.clone()
        };
        let node = Node::boot(config, self.disks[&id].recover(), self.now());
        assert!(self.nodes.insert(id, node).is_none());
        self.turn(id, None);
    }

    pub(crate) fn start_all(&mut self) {
        for id in self.ids() {
            self.start(id);
        }
    }

    pub(crate) fn crash(&mut self, id: ServerId) {
        self.nodes.remove(&id);
        self.events.retain(|(to, _)| *to != id);
        self.drop_links(id);
    }

    fn drop_links(&mut self, id: ServerId) {
        let gone: Vec<_> = self
            .links
            .keys()
            .copied()
            .filter(|(at, _)| *at == id)
            .collect();
        for end in gone {
            let far = self.links.remove(&end).expect("listed");
            self.links.remove(&far);
            self.events.push_back((far.0, Event::Closed(far.1)));
            self.events.push_back((end.0, Event::Closed(end.1)));
        }
    }

    pub(crate) fn isolate(&mut self, id: ServerId) {
        self.cut.insert(id);
        self.drop_links(id);
    }

    pub(crate) fn rejoin(&mut self, id: ServerId) {
        self.cut.remove(&id);
    }

    /// From now on nothing that a server writes becomes stable, until [`Self::unstick`].
    pub(crate) fn stick(&mut self, id: ServerId) {
        self.stuck.insert(id, Vec::new());
    }

    pub(crate) fn unstick(&mut self, id: ServerId) {
        let held = self.stuck.remove(&id).expect("it was stuck");
        self.events
            .extend(held.into_iter().map(|event| (id, event)));
    }

    /// The disk of a server becomes full but for its reserve, or has room again.
    pub(crate) fn set_low(&mut self, id: ServerId, low: bool) {
        self.turn(id, Some(Input::DiskRoom { low }));
    }

    /// A client that asks for a session.
    pub(crate) fn connect(&mut self, id: ServerId) -> ConnId {
        self.arrive(
            id,
            &ConnectRequest {
                protocol: 0,
                last_zxid_seen: Zxid::ZERO,
                timeout_ms: 10_000,
                session: SessionId(0),
                password: Some(&[0; 16]),
                read_only: Some(false),
            },
        )
    }

    pub(crate) fn arrive(&mut self, id: ServerId, hello: &ConnectRequest<'_>) -> ConnId {
        let conn = ConnId(self.fresh_id());
        self.clients.insert(conn, Vec::new());
        let mut request = Vec::new();
        put_frame(&mut request, |out| hello.encode(out));
        // Each has an address of its own, of which a server takes only so many connections.
        let number = u32::try_from(conn.0).expect("a short world");
        let (address, bytes) = (std::net::Ipv4Addr::from(number).into(), &request);
        self.turn(id, Some(Input::ClientOpened { conn, address }));
        self.turn(id, Some(Input::ClientBytes { conn, bytes }));
        conn
    }

    pub(crate) fn hang_up(&mut self, id: ServerId, conn: ConnId) {
        self.turn(id, Some(Input::ClientClosed { conn }));
    }

    /// Why a server has closed this connection.
    pub(crate) fn closed(&self, client: ConnId) -> Option<&CloseReason> {
        self.closed.get(&client)
    }

    /// One request of a client whose session is open: header and body.
    pub(crate) fn say(&mut self, id: ServerId, client: ConnId, request: &Request<'_>) {
        self.ask(id, client, &[(1, request.clone())]);
    }

    /// Requests with their xids, all in one turn.
    pub(crate) fn ask(&mut self, id: ServerId, conn: ConnId, requests: &[(i32, Request<'_>)]) {
        let mut bytes = Vec::new();
        for (xid, request) in requests {
            let (xid, op) = (*xid, request.op());
            put_frame(&mut bytes, |out| {
                RequestHeader { xid, op }.write(out);
                request.encode(out);
            });
        }
        let bytes = &bytes;
        self.turn(id, Some(Input::ClientBytes { conn, bytes }));
    }

    /// The same bytes from each of these clients, all in one turn.
    pub(crate) fn ask_together(&mut self, id: ServerId, clients: &[ConnId], bytes: &[u8]) {
        let now = self.now();
        let node = self.nodes.get_mut(&id).expect("it runs");
        for &conn in clients {
            self.clients.insert(conn, Vec::new());
            node.handle(now, Input::ClientBytes { conn, bytes });
        }
        self.turn(id, None);
    }

    pub(crate) fn run_ms(&mut self, ms: u64) {
        let end = self.now_ns + ms * 1_000_000;
        loop {
            self.drain();
            let due = self
                .nodes
                .iter()
                .filter_map(|(id, n)| Some((n.deadline()?, *id)))
                .min();
            match due {
                Some((at, id)) if at.0 <= end => {
                    assert!(at.0 >= self.now_ns);
                    self.now_ns = at.0;
                    self.turn(id, Some(Input::Wake));
                }
                _ => break,
            }
        }
        self.now_ns = end;
    }

    /// Somebody connects to the quorum port who is no server.
    pub(crate) fn intrude(&mut self, at: ServerId) -> LinkId {
        let (near, far) = (LinkId(self.fresh_id()), LinkId(self.fresh_id()));
        let nobody = ServerId(0);
        self.links.insert((at, near), (nobody, far));
        self.links.insert((nobody, far), (at, near));
        self.events
            .push_back((at, Event::Opened(near, None, Channel::Quorum)));
        self.drain();
        near
    }

    /// Bytes come in on a link.
    pub(crate) fn hand(&mut self, at: ServerId, link: LinkId, bytes: &[u8]) {
        self.events
            .push_back((at, Event::Bytes(link, bytes.to_vec())));
        self.drain();
    }

    pub(crate) fn is_open(&self, at: ServerId, link: LinkId) -> bool {
        self.links.contains_key(&(at, link))
    }

    fn drain(&mut self) {
        while self.step() {}
    }

    /// So many of the events that wait happen, in their order.
    pub(crate) fn run_events(&mut self, count: usize) {
        (0..count).all(|_| self.step());
    }

    /// The next event. False if none waits.
    fn step(&mut self) -> bool {
        let Some((to, event)) = self.events.pop_front() else {
            return false;
        };
        let input = match &event {
            Event::Opened(link, peer, channel) => Input::LinkOpened {
                link: *link,
                peer: *peer,
                channel: *channel,
            },
            Event::Bytes(link, bytes) => Input::LinkBytes { link: *link, bytes },
            Event::Drained(link, bytes) => Input::LinkDrained {
                link: *link,
                bytes: *bytes,
            },
            Event::Closed(link) => Input::LinkClosed { link: *link },
            Event::DialFailed(peer, channel) => Input::DialFailed {
                peer: *peer,
                channel: *channel,
            },
            Event::Persisted(upto) => Input::Persisted { upto: *upto },
            Event::Reload(seq) => {
                let state = Box::new(self.disks[&to].recover());
                Input::Reloaded { seq: *seq, state }
            }
            Event::Stored => Input::SnapshotStored { ok: true },
        };
        self.turn(to, Some(input));
        true
    }

    fn turn(&mut self, id: ServerId, input: Option<Input<'_>>) {
        let now = self.now();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if let Some(input) = input {
            node.handle(now, input);
        }
        if node.deadline().is_some_and(|at| at <= now.mono) {
            node.handle(now, Input::Wake);
        }
        let mut out = Outbox::default();
        node.flush(now, &mut out);
        assert!(
            node.deadline().is_none_or(|at| at > now.mono),
            "{id}: {:?}",
            node.deadline()
        );
        for action in out.actions().to_vec() {
            self.perform(id, action, &out);
        }
    }

    fn perform(&mut self, id: ServerId, action: Action, out: &Outbox) {
        match action {
            Action::Write { seq, op } => {
                self.writes += 1;
                self.disks
                    .get_mut(&id)
                    .expect("every server has a disk")
                    .perform(&op);
                let truncated = matches!(op, WriteOp::Truncate { .. });
                let event = if truncated {
                    Event::Reload(seq)
                } else {
                    Event::Persisted(seq)
                };
                match self.stuck.get_mut(&id) {
                    Some(held) => held.push(event),
                    None => self.events.push_back((id, event)),
                }
            }
            Action::Snapshot(_) => match self.stuck.get_mut(&id) {
                Some(held) => held.push(Event::Stored),
                None => self.events.push_back((id, Event::Stored)),
            },
            Action::Send { link, bytes } => self.send(id, link, out.bytes(bytes).to_vec()),
            Action::SendShared { link, body } => self.send(id, link, body.to_vec()),
            Action::Reply { conn, bytes } => {
                let client = self.clients.get_mut(&conn).expect("a client of this test");
                client.extend_from_slice(out.bytes(bytes));
            }
            Action::Close {
                whom: Whom::Link(link),
                ..
            } => {
                if let Some(far) = self.links.remove(&(id, link)) {
                    self.links.remove(&far);
                    self.events.push_back((far.0, Event::Closed(far.1)));
                }
            }
            Action::Close {
                whom: Whom::Client(conn),
                why,
            } => {
                self.closed.insert(conn, why);
            }
            Action::Command { .. } => {}
            Action::Dial { peer, channel } => self.dial(id, peer, channel),
            Action::Report(event) => {
                self.reports
                    .entry(id)
                    .or_default()
                    .push(format!("{event:?}"));
            }
            Action::Halt(fault) => panic!("server {id} halted: {fault:?}"),
        }
    }

    fn dial(&mut self, id: ServerId, peer: ServerId, channel: Channel) {
        let cut = self.cut.contains(&id) || self.cut.contains(&peer);
        if cut || !self.nodes.contains_key(&peer) {
            self.events
                .push_back((id, Event::DialFailed(peer, channel)));
            return;
        }
        let (near, far) = (LinkId(self.fresh_id()), LinkId(self.fresh_id()));
        self.links.insert((id, near), (peer, far));
        self.links.insert((peer, far), (id, near));
        self.events
            .push_back((id, Event::Opened(near, Some(peer), channel)));
        self.events
            .push_back((peer, Event::Opened(far, None, channel)));
    }

    fn send(&mut self, id: ServerId, link: LinkId, bytes: Vec<u8>) {
        if let Some(&(to, far)) = self.links.get(&(id, link)) {
            self.sent.push(id);
            self.events
                .push_back((id, Event::Drained(link, bytes.len())));
            self.events.push_back((to, Event::Bytes(far, bytes)));
        }
    }
}
