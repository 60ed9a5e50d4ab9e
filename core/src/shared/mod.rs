//! What every role works on: the replicated state, the log's tail, the disk queue, the links and
//! the clients. Roles borrow it; nothing here knows which role is on.

mod disk;
mod snapshots;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use disk::DiskState;
use snapshots::Snapshots;

use crate::boundary::{Action, CloseReason, Event, Fault, Outbox, SnapshotStep, WriteOp};
use crate::config::Config;
use crate::database::{Change, Database, Outcome};
use crate::durable::{Accepted, Current, Ledger, Logged, Mark, Settled};
use crate::ids::{Epoch, LinkId, ServerId, WriteSeq, Zxid};
use crate::limits::EXTENDED_SERVER_ID_MAX;
use crate::links::Links;
use crate::log::{CommittedLog, LogEntry};
use crate::mutants::Mutant;
use crate::pipeline::{Clients, Serving};
use crate::quorum::Voters;
use crate::recovery::Recovered;
use crate::time::Now;
use crate::wire::election::verifier_text;
use crate::wire::txn::{TxnHeader, TxnRecord};

/// The parts of a node that outlive its roles.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) voters: Voters,
    pub(crate) now: Now,
    /// Effects of the running turn.
    pub(crate) out: Outbox,
    pub(crate) links: Links,
    pub(crate) clients: Clients,
    pub(crate) db: Database,
    pub(crate) recent: CommittedLog,
    pub(crate) ledger: Ledger,
    /// Highest epoch promised to a leader, on its way to the disk or there already.
    pub(crate) promised: Epoch,
    /// Highest epoch that a learner said it had promised, since the start: the next reign begins
    /// beyond it.
    pub(crate) heard_of: Epoch,
    /// The leader of this epoch wants our history cut where our disk can not: it must send all of
    /// its own. No other leader may be told so, since one that has not heard our true history could
    /// be behind it.
    pub(crate) needs_snapshot: Option<Epoch>,
    /// Only with [`Mutant::CommitOfOldEpoch`]: a commit that came too late for its reign.
    pub(crate) has_stale_commit: bool,
    /// `acceptedEpoch` on disk; never above `promised`.
    pub(crate) accepted: Epoch,
    /// `currentEpoch` on disk; never above `accepted`.
    pub(crate) current: Epoch,
    /// Given to the log and not applied, oldest first. Empty while looking: what was logged is
    /// then part of the history that this server stands for (ZOOKEEPER-2845).
    pub(crate) tail: VecDeque<LogEntry>,
    pub(crate) snapshots: Snapshots,
    pub(crate) disk: DiskState,
    /// Committed in this turn, for checkers.
    pub(crate) applied_this_turn: Vec<LogEntry>,
    pub(crate) digest_mismatches: u64,
    pub(crate) halted: bool,
    changes: Vec<Change>,
}

impl Shared {
    pub(crate) fn boot(config: Config, found: Recovered, now: Now) -> Self {
        assert!(
            found.current <= found.accepted,
            "storage refuses such epochs"
        );
        let voters = if config.is_standalone() {
            Voters::alone(config.me)
        } else {
            Voters::of(&config)
        };
        let mut shared = Self {
            voters,
            now,
            out: Outbox::default(),
            links: Links::default(),
            clients: Clients::new(&config, now),
            db: found.database,
            recent: found.recent,
            ledger: Ledger::default(),
            promised: found.accepted,
            heard_of: Epoch::default(),
            needs_snapshot: None,
            has_stale_commit: false,
            accepted: found.accepted,
            current: found.current,
            tail: VecDeque::new(),
            snapshots: Snapshots::new(&config),
            disk: DiskState::default(),
            applied_this_turn: Vec::new(),
            digest_mismatches: 0,
            halted: false,
            changes: Vec::new(),
            config,
        };
        shared.check_server_ids();
        shared.check_owners();
        shared.write_config_node();
        shared
    }

    /// A session carries its server's id in the top byte, where an extended type has its mark.
    fn check_server_ids(&mut self) {
        let members = self.config.members.keys().copied();
        let highest = members.chain([self.config.me]).max().expect("there is one");
        if self.config.rules.extended_types && highest.0 > EXTENDED_SERVER_ID_MAX {
            self.halt(Fault::ServerIdTooLarge { id: highest });
        }
    }

    /// State that comes from outside may have owners that this server must not guess at.
    fn check_owners(&mut self) {
        if self.config.rules.extended_types
            && let Some(owner) = self.db.tree().unknown_owner()
        {
            self.halt(Fault::OwnerUnknown { owner });
        }
    }

    /// `/zookeeper/config` shows the members; it is written outside of transactions, as ZooKeeper
    /// does at each start.
    fn write_config_node(&mut self) {
        if !self.config.is_standalone() {
            self.db
                .set_config_node(&verifier_text(&self.config.members, 0));
        }
    }

    /// The last transaction of this server's history: in the log, if not yet applied.
    pub(crate) fn last_logged(&self) -> Zxid {
        self.tail
            .back()
            .map_or_else(|| self.db.applied(), |e| e.zxid)
    }

    pub(crate) fn report(&mut self, event: Event) {
        self.out.push(Action::Report(event));
    }

    /// Stops for good; the driver carries out what came before and nothing after.
    pub(crate) fn halt(&mut self, fault: Fault) {
        if !self.halted {
            self.halted = true;
            self.out.push(Action::Halt(fault));
        }
    }

    // ----- the disk queue -----

    fn write(&mut self, mark: Mark, op: WriteOp) -> WriteSeq {
        let bytes = match &op {
            WriteOp::Append { record, .. } => record.len(),
            WriteOp::Install(SnapshotStep::Chunk(bytes)) => bytes.len(),
            WriteOp::Install(_)
            | WriteOp::AcceptedEpoch(_)
            | WriteOp::CurrentEpoch(_)
            | WriteOp::Truncate { .. } => 0,
        };
        let seq = self.ledger.issue(mark, self.now.mono, bytes);
        self.out.push(Action::Write { seq, op });
        seq
    }

    /// Gives a transaction to the log. Its proof comes back as `Settled::Logged`.
    pub(crate) fn append(&mut self, entry: LogEntry) {
        assert!(entry.zxid > self.last_logged(), "the log only grows");
        let op = WriteOp::Append {
            zxid: entry.zxid,
            record: entry.record.clone(),
        };
        self.write(Mark::Logged(Logged(entry.zxid)), op);
        self.tail.push_back(entry);
    }

    pub(crate) fn write_accepted(&mut self, epoch: Epoch) {
        assert!(epoch > self.promised, "an epoch is promised once");
        self.promised = epoch;
        self.write(
            Mark::Accepted(Accepted(epoch)),
            WriteOp::AcceptedEpoch(epoch),
        );
    }

    pub(crate) fn write_current(&mut self, epoch: Epoch) {
        assert!(
            epoch <= self.promised,
            "a reign is joined only after it was promised"
        );
        self.write(Mark::Current(Current(epoch)), WriteOp::CurrentEpoch(epoch));
    }

    /// A write that proves nothing by itself.
    pub(crate) fn write_plain(&mut self, op: WriteOp) -> WriteSeq {
        self.write(Mark::Nothing, op)
    }

    /// The next stable write up to `upto`, with what it means for this server as a whole.
    pub(crate) fn settle(&mut self, upto: WriteSeq) -> Option<(WriteSeq, Settled)> {
        let (seq, settled) = self.ledger.settle(upto)?;
        match settled {
            Settled::Accepted(p) => self.accepted = self.accepted.max(p.get().0),
            Settled::Current(p) => self.current = self.current.max(p.get().0),
            Settled::Logged(_) | Settled::Nothing => {}
        }
        assert!(self.current <= self.accepted);
        assert!(self.accepted <= self.promised);
        Some((seq, settled))
    }

    /// The data directory was read again after a truncation.
    pub(crate) fn reload(&mut self, state: Box<Recovered>) {
        assert!(self.tail.is_empty(), "a truncation leaves nothing to apply");
        // The storage raises the current epoch to that of the last transaction, if it was promised
        // (ZOOKEEPER-1653): the crash that it repairs and this reading look the same to it.
        self.accepted = self.accepted.max(state.accepted);
        self.current = self.current.max(state.current);
        self.promised = self.promised.max(self.accepted);
        assert!(self.current <= self.accepted);
        self.db = state.database;
        self.recent = state.recent;
        self.check_owners();
        self.write_config_node();
    }

    /// A leader's snapshot replaces everything that this server had.
    pub(crate) fn install(&mut self, db: Database) {
        assert!(self.tail.is_empty());
        self.needs_snapshot = None;
        self.db = db;
        self.recent.clear();
        self.check_owners();
        self.write_config_node();
    }

    // ----- the replicated state -----

    /// Applies the oldest logged transaction, now committed, and tells the clients. Returns its
    /// header and result.
    pub(crate) fn commit_next(&mut self) -> Option<(TxnHeader, Outcome)> {
        let entry = self
            .tail
            .pop_front()
            .expect("only what was logged is committed");
        if let Ok(header) = TxnHeader::peek(&entry.record) {
            let (clients, mut serving) = self.serving();
            clients.before_applied(header.session, &mut serving);
        }
        let applied = self.apply(&entry)?;
        self.applied_this_turn.push(entry.clone());
        self.recent.push(entry);
        self.snapshots.count_txn();
        let (header, outcome) = applied;
        let changes = core::mem::take(&mut self.changes);
        let (clients, mut serving) = self.serving();
        clients.on_applied(&header, &outcome, &changes, &mut serving);
        self.changes = changes;
        Some((header, outcome))
    }

    /// Applies a transaction that the leader has committed, while no client is served yet.
    pub(crate) fn apply_synchronized(&mut self) {
        let entry = self
            .tail
            .pop_front()
            .expect("only what was logged is applied");
        if self.apply(&entry).is_some() {
            self.applied_this_turn.push(entry.clone());
            self.recent.push(entry);
            self.snapshots.count_txn();
        }
    }

    fn apply(&mut self, entry: &LogEntry) -> Option<(TxnHeader, Outcome)> {
        assert!(
            entry.zxid > self.db.applied(),
            "history is applied once, in order"
        );
        let Ok(record) = TxnRecord::decode(&entry.record) else {
            self.halt(Fault::RecordUndecodable { zxid: entry.zxid });
            return None;
        };
        let outcome = self.db.apply(&record, &mut self.changes);
        assert_eq!(self.db.applied(), entry.zxid);
        if record
            .digest
            .is_some_and(|expected| expected != self.db.digest())
        {
            self.digest_mismatches += 1;
            self.report(Event::DigestMismatch { zxid: entry.zxid });
        }
        Some((record.header, outcome))
    }

    /// At the end of a role everything logged becomes part of the state: it is what this server
    /// will stand for in the election.
    pub(crate) fn fast_forward(&mut self) {
        if self.config.mutants.has(Mutant::CommitOfOldEpoch) && !self.tail.is_empty() {
            self.has_stale_commit = true;
        }
        while let Some(entry) = self.tail.pop_front() {
            if self.apply(&entry).is_none() {
                return;
            }
            self.recent.push(entry);
        }
    }

    // ----- clients -----

    /// The clients, and what they may use while they handle something.
    pub(crate) fn serving(&mut self) -> (&mut Clients, Serving<'_>) {
        let serving = Serving {
            now: self.now,
            db: &self.db,
            out: &mut self.out,
        };
        (&mut self.clients, serving)
    }

    pub(crate) fn stop_serving(&mut self, why: CloseReason) {
        self.clients.stop_serving(&mut self.out, why);
    }

    // ----- links -----

    pub(crate) fn send(&mut self, link: LinkId, fill: impl FnOnce(&mut Vec<u8>)) {
        self.links.send(link, &mut self.out, fill);
    }

    pub(crate) fn send_shared(&mut self, link: LinkId, body: Bytes) {
        self.links.send_shared(link, body, &mut self.out);
    }

    pub(crate) fn close_link(&mut self, link: LinkId, why: CloseReason) {
        self.links.close(link, why, &mut self.out);
    }

    pub(crate) fn dial(&mut self, peer: ServerId, channel: crate::boundary::Channel) {
        self.out.push(Action::Dial { peer, channel });
    }
}
