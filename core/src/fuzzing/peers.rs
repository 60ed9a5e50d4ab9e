//! A hostile peer on the election and quorum ports of real servers: garbage, half frames, replays
//! of what it has overheard, and well-formed messages with made-up contents.
//!
//! Two of three voters are real and can talk to each other. Who speaks on the other connections is
//! nobody that the configuration knows, or the third voter gone bad, or it stands before one voter
//! that is alone. Nobody can be elected by, or lose his leader to, one whom the configuration does
//! not know; a voter can disturb an election, but when it falls silent the other two must agree.
//! And nothing that a peer sends ends a server.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::tape::Tape;
use crate::boundary::{Action, Channel, Input, Outbox, SnapshotStep, Whom, WriteOp};
use crate::config::{Config, LearnerType, Member, Rules};
use crate::ids::{Epoch, LinkId, ServerId, SessionId, WriteSeq, Zxid};
use crate::mutants::Mutants;
use crate::node::{Node, RoleName};
use crate::recovery::{Recovered, Recovery};
use crate::snapshot::SnapshotLoader;
use crate::time::{Instant, Now, WallMs};
use crate::wire::election::{InitialMessage, Notification, PeerState};
use crate::wire::quorum::{Forwarded, LearnerInfo, QuorumPacket, SessionTouch, packet};

/// Connections of the hostile peer at a time.
const SLOTS: usize = 4;

/// Inputs that may follow from one, far beyond what two servers have to say to each other.
const INPUTS_MAX: usize = 20_000;

/// Messages that are kept for replays, and the longest of them.
const OVERHEARD_MAX: usize = 64;
const OVERHEARD_BYTES_MAX: usize = 1_024;

/// By then two servers that nobody disturbs have a leader: `initLimit`, and a few rounds.
const RECOVERY: Duration = Duration::from_secs(60);

/// In no configuration.
const STRANGER: ServerId = ServerId(9);

/// The third voter.
const THIRD: ServerId = ServerId(3);

/// Who is hostile, and to whom.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A stranger, to an ensemble that serves.
    Stranger,
    /// The third voter, to the other two.
    Voter,
    /// A stranger, to a voter that finds no other.
    Alone,
}

#[derive(Default)]
struct Disk {
    base: Option<(Zxid, Vec<u8>)>,
    installing: Option<(Zxid, Vec<u8>)>,
    log: Vec<(Zxid, Bytes)>,
    accepted: Epoch,
    current: Epoch,
}

impl Disk {
    /// Makes the write stable at once; true if the directory is to be read again.
    fn perform(&mut self, op: &WriteOp) -> bool {
        match op {
            WriteOp::Append { zxid, record } => self.log.push((*zxid, record.clone())),
            WriteOp::AcceptedEpoch(epoch) => self.accepted = *epoch,
            WriteOp::CurrentEpoch(epoch) => self.current = *epoch,
            WriteOp::Truncate { after } => {
                self.log.retain(|(zxid, _)| zxid <= after);
                return true;
            }
            WriteOp::Install(SnapshotStep::Begin { zxid }) => {
                self.installing = Some((*zxid, Vec::new()));
            }
            WriteOp::Install(SnapshotStep::Chunk(bytes)) => {
                let (_, body) = self.installing.as_mut().expect("begun");
                body.extend_from_slice(bytes);
            }
            WriteOp::Install(SnapshotStep::End { .. }) => {
                self.base = self.installing.take();
                self.log.clear();
            }
            WriteOp::Install(SnapshotStep::Abandon) => self.installing = None,
        }
        false
    }

    fn recover(&self) -> Recovered {
        let mut recovery = match &self.base {
            None => Recovery::fresh(1, Mutants::NONE),
            Some((zxid, body)) => {
                let mut loader = SnapshotLoader::new(1, Mutants::NONE);
                assert_eq!(loader.feed(body), Ok(body.len()));
                Recovery::from_snapshot(loader.finish(*zxid).expect("whole"))
            }
        };
        for (_, record) in &self.log {
            recovery.replay(record.clone()).expect("was written");
        }
        recovery.finish(self.accepted, self.current)
    }
}

struct Server {
    node: Node,
    disk: Disk,
    out: Outbox,
}

/// The other end of a server's link.
#[derive(Clone, Copy)]
enum Far {
    Server(usize, LinkId),
    Hostile(usize),
}

/// What a server is about to hear.
enum Heard {
    Opened(LinkId, Option<ServerId>, Channel),
    Bytes(LinkId, Vec<u8>),
    Closed(LinkId),
    Failed(ServerId, Channel),
    Persisted(WriteSeq),
    Reloaded(WriteSeq, Box<Recovered>),
    Stored,
}

/// A connection of the hostile peer.
#[derive(Clone, Copy)]
struct Slot {
    server: usize,
    link: LinkId,
    /// Garbage has not begun yet: its first byte is one that no message begins with.
    is_fresh: bool,
}

struct World {
    stage: Stage,
    servers: Vec<Server>,
    now: Now,
    links: u64,
    far: BTreeMap<(usize, LinkId), Far>,
    waiting: VecDeque<(usize, Heard)>,
    slots: [Option<Slot>; SLOTS],
    overheard: Vec<Vec<u8>>,
    /// The hostile peer answers on its election port.
    accepts: bool,
    /// The reign that no stranger may end.
    reign: Option<Epoch>,
}

fn config(me: i64) -> Config {
    let member = |id: i64| {
        let member = Member {
            kind: LearnerType::Participant,
            host: "h".into(),
            quorum_port: 1,
            election_port: 2,
            client_address: None,
        };
        (ServerId(id), member)
    };
    Config {
        me: ServerId(me),
        members: (1..=3).map(member).collect(),
        tick: Duration::from_millis(500),
        init_limit: 10,
        sync_limit: 5,
        session_timeout_min: Duration::from_secs(1),
        session_timeout_max: Duration::from_secs(10),
        snap_count: 1_000,
        seed: 1,
        rules: Rules::default(),
        mutants: Mutants::NONE,
    }
}

impl World {
    fn new(stage: Stage) -> Self {
        let now = Now {
            mono: Instant(1_000_000_000),
            wall: WallMs(1_700_000_000_000),
        };
        let count = if stage == Stage::Alone { 1 } else { 2 };
        let server = |me: i64| {
            let disk = Disk::default();
            Server {
                node: Node::boot(config(me), disk.recover(), now),
                disk,
                out: Outbox::default(),
            }
        };
        let mut world = Self {
            stage,
            servers: (1..=count).map(server).collect(),
            now,
            links: 0,
            far: BTreeMap::new(),
            waiting: VecDeque::new(),
            slots: [None; SLOTS],
            overheard: Vec::new(),
            accepts: false,
            reign: None,
        };
        (0..world.servers.len()).for_each(|at| world.flush(at));
        world.settle();
        if stage != Stage::Alone {
            world.wait(Duration::from_secs(1));
            let reign = world.common_reign();
            world.reign = Some(reign.expect("two of three agree when the third is not there"));
        }
        world
    }

    /// The epoch in which one server leads and the other follows.
    fn common_reign(&self) -> Option<Epoch> {
        let all = || self.servers.iter().map(|server| server.node.status());
        let epoch = all().find_map(|status| status.established)?;
        let of_it = all().filter(|status| status.serving && status.current_epoch == epoch);
        (of_it.count() == self.servers.len()).then_some(epoch)
    }

    /// What no stranger may have brought about.
    fn check(&self) {
        match self.stage {
            Stage::Stranger => assert_eq!(self.common_reign(), self.reign, "the reign has ended"),
            Stage::Alone => {
                let status = self.servers[0].node.status();
                assert_eq!(status.role, RoleName::Looking, "elected by a stranger");
            }
            Stage::Voter => {}
        }
    }

    // ----- the servers -----

    fn settle(&mut self) {
        for _ in 0..INPUTS_MAX {
            let Some((at, heard)) = self.waiting.pop_front() else {
                return;
            };
            let (now, node) = (self.now, &mut self.servers[at].node);
            match heard {
                Heard::Opened(link, peer, channel) => node.handle(
                    now,
                    Input::LinkOpened {
                        link,
                        peer,
                        channel,
                    },
                ),
                Heard::Bytes(link, bytes) => {
                    let (link, bytes) = (link, &bytes[..]);
                    node.handle(now, Input::LinkBytes { link, bytes });
                }
                Heard::Closed(link) => node.handle(now, Input::LinkClosed { link }),
                Heard::Failed(peer, channel) => {
                    node.handle(now, Input::DialFailed { peer, channel });
                }
                Heard::Persisted(upto) => node.handle(now, Input::Persisted { upto }),
                Heard::Reloaded(seq, state) => node.handle(now, Input::Reloaded { seq, state }),
                Heard::Stored => node.handle(now, Input::SnapshotStored { ok: true }),
            }
            self.flush(at);
        }
        panic!("two servers talk to each other for ever");
    }

    fn flush(&mut self, at: usize) {
        let mut out = core::mem::take(&mut self.servers[at].out);
        self.servers[at].node.flush(self.now, &mut out);
        for action in out.actions() {
            self.act(at, &out, action);
        }
        out.clear();
        self.servers[at].out = out;
    }

    fn act(&mut self, at: usize, out: &Outbox, action: &Action) {
        match action {
            Action::Write { seq, op } => {
                let disk = &mut self.servers[at].disk;
                let heard = if disk.perform(op) {
                    Heard::Reloaded(*seq, Box::new(disk.recover()))
                } else {
                    Heard::Persisted(*seq)
                };
                self.waiting.push_back((at, heard));
            }
            Action::Snapshot(_) => self.waiting.push_back((at, Heard::Stored)),
            Action::Send { link, bytes } => self.carry(at, *link, out.bytes(*bytes)),
            Action::SendShared { link, body } => self.carry(at, *link, body),
            Action::Close {
                whom: Whom::Link(link),
                ..
            } => self.end(at, *link),
            Action::Dial { peer, channel } => self.dial(at, *peer, *channel),
            Action::Halt(fault) => panic!("a peer has ended server {}: {fault:?}", at + 1),
            Action::Close { .. } | Action::Reply { .. } | Action::Command { .. } => {
                unreachable!("there are no clients")
            }
            Action::Report(_) => {}
        }
    }

    fn link(&mut self) -> LinkId {
        self.links += 1;
        LinkId(self.links)
    }

    fn carry(&mut self, at: usize, link: LinkId, bytes: &[u8]) {
        if self.overheard.len() < OVERHEARD_MAX && bytes.len() <= OVERHEARD_BYTES_MAX {
            self.overheard.push(bytes.to_vec());
        }
        if let Some(Far::Server(to, link)) = self.far.get(&(at, link)).copied() {
            self.waiting
                .push_back((to, Heard::Bytes(link, bytes.to_vec())));
        }
    }

    /// A server has ended the link.
    fn end(&mut self, at: usize, link: LinkId) {
        match self.far.remove(&(at, link)) {
            Some(Far::Server(to, other)) => {
                self.far.remove(&(to, other));
                self.waiting.push_back((to, Heard::Closed(other)));
            }
            Some(Far::Hostile(slot)) => self.slots[slot] = None,
            None => {}
        }
    }

    fn dial(&mut self, at: usize, peer: ServerId, channel: Channel) {
        let to = (peer.0 - 1) as usize;
        if to < self.servers.len() {
            let (near, other) = (self.link(), self.link());
            self.far.insert((at, near), Far::Server(to, other));
            self.far.insert((to, other), Far::Server(at, near));
            let opened = |link, peer| Heard::Opened(link, peer, channel);
            self.waiting.push_back((at, opened(near, Some(peer))));
            self.waiting.push_back((to, opened(other, None)));
            return;
        }
        let free = self.slots.iter().position(Option::is_none);
        match free.filter(|_| self.accepts && channel == Channel::Election) {
            Some(slot) => self.connect(slot, at, Some(peer), channel),
            None => self.waiting.push_back((at, Heard::Failed(peer, channel))),
        }
    }

    fn connect(&mut self, slot: usize, at: usize, peer: Option<ServerId>, channel: Channel) {
        let link = self.link();
        self.far.insert((at, link), Far::Hostile(slot));
        self.slots[slot] = Some(Slot {
            server: at,
            link,
            is_fresh: true,
        });
        self.waiting
            .push_back((at, Heard::Opened(link, peer, channel)));
    }

    fn hang_up(&mut self, slot: usize) {
        if let Some(Slot { server, link, .. }) = self.slots[slot].take() {
            self.far.remove(&(server, link));
            self.waiting.push_back((server, Heard::Closed(link)));
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now.mono + time;
        for _ in 0..INPUTS_MAX {
            self.settle();
            let deadlines = self.servers.iter().filter_map(|s| s.node.deadline());
            let next = deadlines.min().filter(|at| *at <= end);
            let until = next.unwrap_or(end).max(self.now.mono);
            let passed = until - self.now.mono;
            self.now.mono = until;
            self.now.wall.0 += i64::try_from(passed.as_millis()).expect("a short time");
            if next.is_none() {
                return;
            }
            for at in 0..self.servers.len() {
                let node = &mut self.servers[at].node;
                if node.deadline().is_some_and(|due| due <= until) {
                    node.handle(self.now, Input::Wake);
                    self.flush(at);
                }
            }
        }
        panic!("too many deadlines within {time:?}");
    }

    // ----- the hostile peer -----

    /// Who it says that it is.
    fn sid(&self) -> ServerId {
        if self.stage == Stage::Voter {
            THIRD
        } else {
            STRANGER
        }
    }

    /// Sends as much of it as `cut` says.
    fn say(&mut self, slot: usize, bytes: &[u8], cut: u8) {
        let Some(open) = self.slots[slot].as_mut() else {
            return;
        };
        open.is_fresh = false;
        let (server, link) = (open.server, open.link);
        let kept = bytes.len().saturating_sub(usize::from(cut));
        if kept > 0 {
            self.waiting
                .push_back((server, Heard::Bytes(link, bytes[..kept].to_vec())));
        }
    }

    fn garbage(&mut self, slot: usize, tape: &mut Tape<'_>) {
        let length = usize::from(tape.byte());
        let mut bytes = Vec::new();
        if self.stage != Stage::Voter && self.slots[slot].is_some_and(|open| open.is_fresh) {
            bytes.push(0xfe);
        }
        bytes.extend_from_slice(tape.take(length));
        self.say(slot, &bytes, 0);
    }

    fn notification(&self, tape: &mut Tape<'_>) -> Vec<u8> {
        const STATES: [PeerState; 4] = [
            PeerState::Looking,
            PeerState::Following,
            PeerState::Leading,
            PeerState::Observing,
        ];
        let state = STATES[usize::from(tape.byte() % 4)];
        let message = Notification {
            state,
            leader: ServerId(tape.large()),
            zxid: Zxid(tape.large()),
            round: tape.large(),
            peer_epoch: Epoch(tape.large()),
            version: i32::from(tape.byte() % 3),
            config: None,
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        bytes
    }

    fn packet(&self, tape: &mut Tape<'_>) -> Vec<u8> {
        let mut data = Vec::new();
        let kind = i32::from(tape.byte() % 20);
        match kind {
            packet::FOLLOWERINFO | packet::OBSERVERINFO => LearnerInfo {
                server: self.sid(),
                protocol: i32::from(tape.byte()) << 12,
                config_version: Some(tape.large()),
            }
            .encode(&mut data),
            packet::ACKEPOCH => data.extend_from_slice(&(tape.large() as i32).to_be_bytes()),
            packet::PING | packet::REVALIDATE => {
                for _ in 0..tape.byte() % 3 {
                    SessionTouch {
                        session: SessionId(tape.large()),
                        timeout_ms: tape.large() as i32,
                    }
                    .encode(&mut data);
                }
            }
            packet::REQUEST => {
                let (op, body) = tape.request();
                Forwarded {
                    session: SessionId(tape.large()),
                    cxid: tape.large() as i32,
                    op,
                    body: &body,
                }
                .encode(&mut data);
            }
            _ => {
                let length = usize::from(tape.byte());
                data.extend_from_slice(tape.take(length));
            }
        }
        let zxid = Zxid(tape.large());
        let mut bytes = Vec::new();
        QuorumPacket::with_data(kind, zxid, &data).encode(&mut bytes);
        bytes
    }

    fn step(&mut self, tape: &mut Tape<'_>) {
        let step = tape.byte();
        let (slot, at) = (usize::from(step >> 4) % SLOTS, usize::from(step >> 6));
        match step & 0xf {
            kind @ 0..=2 => {
                let channel = [Channel::Election, Channel::Quorum][usize::from(kind % 2)];
                self.hang_up(slot);
                self.connect(slot, at % self.servers.len(), None, channel);
            }
            3 => self.hang_up(slot),
            4 => self.garbage(slot, tape),
            5 | 6 => {
                let which = usize::from(tape.byte()) % self.overheard.len().max(1);
                let bytes = self.overheard.get(which).cloned().unwrap_or_default();
                self.say(slot, &bytes, tape.byte() % 4);
            }
            7 => {
                let hello = InitialMessage {
                    server: self.sid(),
                    addresses: tape
                        .byte()
                        .is_multiple_of(2)
                        .then_some(Cow::Borrowed("h:2")),
                };
                let mut bytes = Vec::new();
                hello.encode(&mut bytes);
                self.say(slot, &bytes, tape.byte() % 4);
            }
            8 | 9 => {
                let bytes = self.notification(tape);
                self.say(slot, &bytes, tape.byte() % 4);
            }
            10..=12 => {
                let bytes = self.packet(tape);
                self.say(slot, &bytes, tape.byte() % 4);
            }
            13 => self.accepts = !self.accepts,
            14 => self.wait(Duration::from_millis(u64::from(tape.byte()) * 5)),
            _ => self.wait(Duration::from_secs(3)),
        }
        self.settle();
        self.check();
    }

    /// The hostile peer is gone; the others must find each other.
    fn recover(&mut self) {
        self.accepts = false;
        (0..SLOTS).for_each(|slot| self.hang_up(slot));
        self.wait(RECOVERY);
        self.check();
        if self.stage != Stage::Alone {
            assert!(self.common_reign().is_some(), "two voters do not agree");
            let digest = |s: &Server| s.node.database().digest();
            assert_eq!(digest(&self.servers[0]), digest(&self.servers[1]));
        }
    }
}

/// A hostile peer's conversations. The first byte says who it is, the others what it does.
///
/// # Panics
///
/// If a server ends, if a stranger changes anything, or if the two voters do not agree afterwards.
pub fn peer_conversation(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    let stage = [Stage::Stranger, Stage::Voter, Stage::Alone][usize::from(tape.byte() % 3)];
    let mut world = World::new(stage);
    while !tape.is_at_end() {
        world.step(&mut tape);
    }
    world.recover();
}
