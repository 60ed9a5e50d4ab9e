//! Carries out what a turn asked for, one effect after the other, until the process dies.

use std::time::Duration;

use bytes::Bytes;
use vivarium_core::boundary::{
    Action, CloseReason, Event as Report, Fault, Outbox, SnapshotStep, Span, Whom, WriteOp,
};
use vivarium_core::ids::{ConnId, LinkId, ServerId};
use vivarium_core::node::RoleName;

use super::World;
use super::host::PendingCrash;
use crate::config::Ambush;
use crate::decisions::Lane;
use crate::net::{Machine, PipeId, Port};

/// How long the process stays away after a failure of its disk, unless the fault says otherwise.
const DOWN_AFTER_FAILURE: Duration = Duration::from_millis(300);

const fn pipe_of(id: u64) -> PipeId {
    PipeId(id as u32)
}

impl World {
    /// Carries out the actions in order. A pending crash strikes after a drawn prefix.
    pub(super) fn perform(&mut self, h: usize, out: &Outbox) {
        let crash_after = self.crash_point(h, out.actions().len());
        for (n, action) in out.actions().iter().enumerate() {
            if crash_after == Some(n) {
                break;
            }
            self.act(h, out, action);
            if !self.hosts[h].is_up() {
                return;
            }
        }
        if let Some(done) = crash_after {
            self.recount_death(h, out, done);
            let PendingCrash { power, down, .. } =
                self.hosts[h].strike.take().expect("a crash was pending");
            self.crash(h, power, down);
        }
        self.start_group(h);
    }

    /// After how many of this turn's effects the process dies, if it is to die in this turn.
    fn crash_point(&mut self, h: usize, actions: usize) -> Option<usize> {
        let host = &mut self.hosts[h];
        let pending = host.strike.as_mut()?;
        if actions == 0 {
            return None;
        }
        if pending.turns > 0 {
            pending.turns -= 1;
            return None;
        }
        let s = host.turn_stream.on(Lane::Point);
        Some(s.range(0, actions as u64) as usize)
    }

    fn act(&mut self, h: usize, out: &Outbox, action: &Action) {
        match action {
            Action::Send {
                link: LinkId(id),
                bytes,
            } => {
                let bytes = self.lay_out(*id, out, *bytes);
                self.send(h, pipe_of(*id), bytes);
            }
            Action::Reply {
                conn: ConnId(id),
                bytes,
            } => {
                let bytes = self.lay_out(*id, out, *bytes);
                self.note_sent(h, pipe_of(*id), &bytes);
                self.send(h, pipe_of(*id), bytes);
            }
            Action::SendShared { link, body } => {
                self.hash.bytes(body);
                self.send(h, pipe_of(link.0), body.clone());
            }
            Action::Write { seq, op } => {
                self.hash.word(12 << 32 | seq.0);
                self.hash_op(op);
                self.recount_write(h, op);
                self.hosts[h].disk.push(*seq, op.clone());
            }
            Action::Snapshot(step) => {
                self.hash_step(step);
                let takes = self.hosts[h]
                    .disk
                    .push_snapshot(step.clone(), &self.config.disk);
                self.plan_snapshot_step(h, takes);
            }
            Action::Close { whom, why } => self.close(h, *whom, why),
            Action::Dial { peer, channel } => {
                self.hash.word(13 << 32 | peer.0 as u64);
                let to = Machine(self.index(*peer) as u16);
                let from = self.hosts[h].machine;
                self.net
                    .dial(&mut self.time, from, to, Port::Peer(*channel));
            }
            Action::Command { conn, word } => {
                self.send(h, pipe_of(conn.0), Bytes::from(format!("{word:?}\n")));
                self.close(h, Whom::Client(*conn), &CloseReason::Stopping);
            }
            Action::Report(report) => self.report(h, report),
            Action::Halt(fault) => self.halt(h, fault),
        }
    }

    fn lay_out(&mut self, id: u64, out: &Outbox, span: Span) -> Bytes {
        let bytes = out.bytes(span);
        self.hash.word(id);
        self.hash.bytes(bytes);
        // One block serves many sends; each is a slice that knows when the block is done with.
        if self.arena.capacity() < bytes.len() {
            self.arena.reserve(bytes.len().max(super::ARENA_BYTES));
        }
        self.arena.extend_from_slice(bytes);
        self.arena.split().freeze()
    }

    fn send(&mut self, h: usize, pipe: PipeId, bytes: Bytes) {
        if let Some(side) = self.hosts[h].open.get(&pipe) {
            let side = *side;
            self.show_sending(pipe, side, &bytes);
            self.net.send(&mut self.time, pipe, side, bytes);
        }
    }

    fn close(&mut self, h: usize, whom: Whom, why: &CloseReason) {
        let id = match whom {
            Whom::Client(ConnId(id)) | Whom::Link(LinkId(id)) => id,
        };
        self.hash.word(14 << 32 | id);
        self.hash.bytes(format!("{why:?}").as_bytes());
        if let Some(side) = self.hosts[h].open.remove(&pipe_of(id)) {
            self.net.close(&mut self.time, pipe_of(id), side);
        }
        self.tell(h, format_args!("closes {whom:?}: {why:?}"));
    }

    fn hash_op(&mut self, op: &WriteOp) {
        match op {
            WriteOp::Append { zxid, record } => {
                self.hash.word(zxid.0 as u64);
                self.hash.bytes(record);
            }
            WriteOp::AcceptedEpoch(epoch) => self.hash.word(15 << 32 | epoch.0 as u64),
            WriteOp::CurrentEpoch(epoch) => self.hash.word(16 << 32 | epoch.0 as u64),
            WriteOp::Truncate { after } => self.hash.word(after.0 as u64 ^ 17 << 56),
            WriteOp::Install(step) => self.hash_step(step),
        }
    }

    fn hash_step(&mut self, step: &SnapshotStep) {
        match step {
            SnapshotStep::Begin { zxid } => self.hash.word(zxid.0 as u64 ^ 18 << 56),
            SnapshotStep::Chunk(bytes) => self.hash.bytes(bytes),
            SnapshotStep::End { zxid, digest } => {
                self.hash.word(zxid.0 as u64 ^ 19 << 56);
                self.hash.word(*digest);
            }
            SnapshotStep::Abandon => self.hash.word(20 << 56),
        }
    }

    /// The process says something about itself.
    fn report(&mut self, h: usize, report: &Report) {
        let text = format!("{report:?}");
        self.hash.bytes(text.as_bytes());
        let view = &mut self.hosts[h].view;
        match report {
            Report::Looking { .. } => {
                view.role = RoleName::Looking;
                view.serving = false;
            }
            Report::Leading => {
                view.role = RoleName::Leading;
                view.serving = false;
            }
            Report::Following { .. } => view.role = RoleName::Following,
            Report::Observing { .. } => view.role = RoleName::Observing,
            Report::Serving { epoch, .. } => {
                view.epoch = *epoch;
                view.serving = true;
            }
            Report::Left { .. } => {
                view.role = RoleName::Looking;
                view.serving = false;
            }
            Report::Synchronized { mode, .. } => view.sync = Some(mode),
            Report::DigestMismatch { zxid } => {
                let id = self.hosts[h].id;
                self.violate(
                    "tree-digest",
                    format!("server {id}: its tree after {zxid} is not the leader's"),
                );
            }
            Report::SyncChosen { .. }
            | Report::SessionExpired { .. }
            | Report::SnapshotTaken { .. }
            | Report::SnapshotGivenUp { .. }
            | Report::QuotaExceeded(_)
            | Report::LimitReached(_)
            | Report::TakesWrites(_)
            | Report::Note { .. } => {}
        }
        self.tell(h, format_args!("{text}"));
        self.recount_report(h, report);
        self.lie_in_wait(h);
    }

    /// Something just changed at this server: a good moment to strike soon.
    fn lie_in_wait(&mut self, h: usize) {
        if self.healed {
            return;
        }
        let none = Ambush::NONE;
        let ambush = self.config.ambush.as_ref().unwrap_or(&none);
        let s = self.ambush_stream.on_for(Lane::Ambush, h as u16 + 1);
        if !s.maybe(ambush.per_mille, 1_000) || self.hosts[h].strike.is_some() {
            return;
        }
        let turns = s.range(0, ambush.turns_max);
        let down = std::time::Duration::from_nanos(s.range(1, ambush.down_max.as_nanos() as u64));
        let power = s.chance(1, 2);
        self.hosts[h].strike = Some(PendingCrash {
            power,
            down: Some(down),
            turns,
        });
    }

    /// The process ends itself. It may do so when told to stop or when its disk failed; any other
    /// reason means that it lost or invented something.
    fn halt(&mut self, h: usize, fault: &Fault) {
        self.hash.bytes(format!("{fault:?}").as_bytes());
        self.tell(h, format_args!("halts: {fault:?}"));
        let host = &mut self.hosts[h];
        let ServerId(id) = host.id;
        let mut down = None;
        let expected = match fault {
            Fault::Stopped => true,
            Fault::Disk => {
                down = host.down_after_failure.or(Some(DOWN_AFTER_FAILURE));
                host.disk.has_failed()
            }
            Fault::CommitMismatch { .. }
            | Fault::RecordUndecodable { .. }
            | Fault::ServerIdTooLarge { .. }
            | Fault::OwnerUnknown { .. } => false,
        };
        if !expected {
            self.violate("halted", format!("server {id} gave up: {fault:?}"));
        }
        self.crash(h, false, down);
    }
}
