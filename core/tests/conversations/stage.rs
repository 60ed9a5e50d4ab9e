//! One machine with a perfect disk, whose neighbours are played by a test.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use vivarium_core::boundary::{Action, Channel, Input, Outbox, SnapshotStep, Whom, WriteOp};
use vivarium_core::config::{Config, Member, Rules};
use vivarium_core::ids::{Epoch, LinkId, ServerId, WriteSeq, Zxid};
use vivarium_core::mutants::Mutants;
use vivarium_core::node::{Node, Status};
use vivarium_core::recovery::{Recovered, Recovery};
use vivarium_core::snapshot::SnapshotLoader;
use vivarium_core::time::{Instant, Now, WallMs};

const SEED: u64 = 7;

/// What survives of a server.
#[derive(Default)]
pub(crate) struct Disk {
    snapshot: Option<(Zxid, Vec<u8>)>,
    installing: Vec<u8>,
    log: BTreeMap<Zxid, Bytes>,
    accepted: Epoch,
    current: Epoch,
}

impl Disk {
    /// As a server left it that had these transactions and epochs.
    pub(crate) fn holding(log: BTreeMap<Zxid, Bytes>, accepted: Epoch, current: Epoch) -> Self {
        Self {
            log,
            accepted,
            current,
            ..Self::default()
        }
    }

    fn perform(&mut self, op: WriteOp) {
        match op {
            WriteOp::Append { zxid, record } => drop(self.log.insert(zxid, record)),
            WriteOp::AcceptedEpoch(epoch) => self.accepted = epoch,
            WriteOp::CurrentEpoch(epoch) => self.current = epoch,
            WriteOp::Truncate { after } => self.log.retain(|zxid, _| *zxid <= after),
            WriteOp::Install(SnapshotStep::Begin { .. }) => self.installing.clear(),
            WriteOp::Install(SnapshotStep::Chunk(bytes)) => self.installing.extend(bytes),
            WriteOp::Install(SnapshotStep::End { zxid, .. }) => {
                self.snapshot = Some((zxid, std::mem::take(&mut self.installing)));
                self.log.clear();
            }
            WriteOp::Install(SnapshotStep::Abandon) => self.installing.clear(),
        }
    }

    fn recover(&self) -> Recovered {
        let mut recovery = match &self.snapshot {
            None => Recovery::fresh(SEED, Mutants::NONE),
            Some((zxid, body)) => {
                let mut loader = SnapshotLoader::new(SEED, Mutants::NONE);
                assert_eq!(loader.feed(body).ok(), Some(body.len()));
                Recovery::from_snapshot(loader.finish(*zxid).expect("whole"))
            }
        };
        for record in self.log.values() {
            recovery.replay(record.clone()).expect("readable");
        }
        recovery.finish(self.accepted, self.current)
    }
}

enum Done {
    Persisted(WriteSeq),
    Reload(WriteSeq),
    Stored,
}

pub(crate) struct Stage {
    node: Node,
    disk: Disk,
    now_ns: u64,
    done: VecDeque<Done>,
    /// What it sent on each connection.
    pub(crate) sent: BTreeMap<LinkId, Vec<u8>>,
    pub(crate) dials: Vec<(ServerId, Channel)>,
    /// Why it closed connections.
    pub(crate) closed: Vec<(LinkId, String)>,
    pub(crate) reports: Vec<String>,
}

impl Stage {
    pub(crate) fn boot(me: ServerId, members: BTreeMap<ServerId, Member>, disk: Disk) -> Self {
        let config = Config {
            me,
            members,
            tick: Duration::from_secs(1),
            init_limit: 20,
            sync_limit: 10,
            session_timeout_min: Duration::from_secs(2),
            session_timeout_max: Duration::from_secs(20),
            snap_count: 10_000,
            seed: SEED,
            rules: Rules::default(),
            mutants: Mutants::NONE,
        };
        let now_ns = 1_000_000_000;
        let mut stage = Self {
            node: Node::boot(config, disk.recover(), now(now_ns)),
            disk,
            now_ns,
            done: VecDeque::new(),
            sent: BTreeMap::new(),
            dials: Vec::new(),
            closed: Vec::new(),
            reports: Vec::new(),
        };
        stage.turn(None);
        stage
    }

    pub(crate) fn status(&self) -> Status {
        self.node.status()
    }

    /// A connection that the other side has opened.
    pub(crate) fn opened(&mut self, link: LinkId, peer: Option<ServerId>, channel: Channel) {
        let input = Input::LinkOpened {
            link,
            peer,
            channel,
        };
        self.turn(Some(input));
    }

    /// Bytes come in, and what they lead to happens, down to the disk.
    pub(crate) fn hear(&mut self, link: LinkId, bytes: &[u8]) {
        self.turn(Some(Input::LinkBytes { link, bytes }));
        self.run_ms(1);
    }

    /// Time passes.
    pub(crate) fn run_ms(&mut self, ms: u64) {
        let end = self.now_ns + ms * 1_000_000;
        loop {
            while let Some(done) = self.done.pop_front() {
                let input = match done {
                    Done::Persisted(upto) => Input::Persisted { upto },
                    Done::Reload(seq) => {
                        let state = Box::new(self.disk.recover());
                        Input::Reloaded { seq, state }
                    }
                    Done::Stored => Input::SnapshotStored { ok: true },
                };
                self.turn(Some(input));
            }
            match self.node.deadline() {
                Some(at) if at.0 <= end => {
                    self.now_ns = self.now_ns.max(at.0);
                    self.turn(Some(Input::Wake));
                }
                _ => break,
            }
        }
        self.now_ns = end;
    }

    fn turn(&mut self, input: Option<Input<'_>>) {
        let now = now(self.now_ns);
        if let Some(input) = input {
            self.node.handle(now, input);
        }
        if self.node.deadline().is_some_and(|at| at <= now.mono) {
            self.node.handle(now, Input::Wake);
        }
        let mut out = Outbox::default();
        self.node.flush(now, &mut out);
        for action in out.actions().to_vec() {
            self.perform(action, &out);
        }
    }

    fn perform(&mut self, action: Action, out: &Outbox) {
        match action {
            Action::Write { seq, op } => {
                let is_cut = matches!(op, WriteOp::Truncate { .. });
                self.disk.perform(op);
                self.done.push_back(if is_cut {
                    Done::Reload(seq)
                } else {
                    Done::Persisted(seq)
                });
            }
            Action::Snapshot(_) => self.done.push_back(Done::Stored),
            Action::Send { link, bytes } => {
                let sent = self.sent.entry(link).or_default();
                sent.extend_from_slice(out.bytes(bytes));
            }
            Action::SendShared { link, body } => {
                self.sent.entry(link).or_default().extend(body);
            }
            Action::Close {
                whom: Whom::Link(link),
                why,
            } => self.closed.push((link, format!("{why:?}"))),
            Action::Dial { peer, channel } => self.dials.push((peer, channel)),
            Action::Report(event) => self.reports.push(format!("{event:?}")),
            Action::Halt(fault) => panic!("halted: {fault:?}"),
            Action::Close { .. } | Action::Reply { .. } | Action::Command { .. } => {}
        }
    }
}

fn now(ns: u64) -> Now {
    Now {
        mono: Instant(ns),
        wall: WallMs((ns / 1_000_000) as i64),
    }
}
