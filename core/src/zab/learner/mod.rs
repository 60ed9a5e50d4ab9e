//! Following or observing a leader (ZooKeeper's `Learner`, `Follower`, `Observer`): from the
//! connection to the leader to the day it is lost. Followers vote on proposals, observers hear of
//! what was decided; all else is the same for both.
//!
//! The order of durability is that of ZooKeeper 3.9.4: the promise of an epoch is on disk before
//! ACKEPOCH, everything committed that the leader sent and then the epoch are on disk before the
//! ACK of NEWLEADER, each proposal is on disk before its ACK. Each of these messages is built from
//! the proof.

mod follow;
mod synchronize;

use alloc::boxed::Box;
use alloc::vec::Vec;

use synchronize::Syncing;

use super::{Leave, Trouble, next_packet};
use crate::boundary::{Channel, CloseReason};
use crate::durable::{Accepted, Current, Logged, Persisted, Settled};
use crate::ids::{Epoch, LinkId, ServerId, WriteSeq, Zxid};
use crate::limits::{LEADER_CONNECT_RETRY, LEADER_CONNECT_TRIES};
use crate::mutants::Mutant;
use crate::recovery::Recovered;
use crate::shared::Shared;
use crate::time::Instant;
use crate::wire::quorum::{
    LearnerInfo, NO_ZXID, PROTOCOL_VERSION, QuorumPacket, ack_epoch, packet,
};

/// What a learner is waiting for. Each stage holds what only it needs.
#[derive(Debug)]
enum Stage {
    /// A connection to the leader.
    Connecting {
        tries: u32,
        dialling: bool,
        retry: Instant,
    },
    /// LEADERINFO, with the new epoch.
    Introduced,
    /// The epoch, on its way to our `acceptedEpoch`.
    Promising { epoch: Epoch },
    /// DIFF, TRUNC or SNAP.
    Promised { epoch: Epoch },
    /// TRUNC was carried out; the data directory is being read again. What the leader sends
    /// meanwhile waits unread.
    Reloading {
        epoch: Epoch,
        zxid: Zxid,
        seq: WriteSeq,
    },
    /// The rest of the leader's history, up to NEWLEADER.
    Syncing(Box<Syncing>),
    /// Our copy of the history and the epoch, on their way to the disk.
    Recording(Box<Syncing>),
    /// UPTODATE.
    Acknowledged(Box<Syncing>),
    /// Clients are served.
    Serving { epoch: Epoch },
}

/// A server that follows or observes.
#[derive(Debug)]
pub(crate) struct Learner {
    leader: ServerId,
    observer: bool,
    link: Option<LinkId>,
    stage: Stage,
    /// Writes up to here belong to earlier roles and prove nothing to this leader.
    before: WriteSeq,
    /// Connecting and synchronizing must be over by then.
    patience: Instant,
}

impl Learner {
    pub(crate) fn enter(leader: ServerId, sh: &mut Shared) -> Self {
        assert!(leader != sh.config.me, "nobody follows himself");
        let mut learner = Self {
            leader,
            observer: sh.config.is_observer(),
            link: None,
            stage: Stage::Connecting {
                tries: 0,
                dialling: false,
                retry: sh.now.mono,
            },
            before: sh.ledger.issued(),
            patience: sh.now.mono + sh.init_time(),
        };
        learner.dial(sh);
        learner
    }

    pub(crate) fn leader(&self) -> ServerId {
        self.leader
    }

    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.stage, Stage::Serving { .. })
    }

    /// Has the leader said nothing yet?
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting { .. })
    }

    /// May the link to the leader be read?
    pub(crate) fn wants_input(&self) -> bool {
        match &self.stage {
            Stage::Syncing(syncing) => syncing.wants_input(),
            _ => true,
        }
    }

    /// The epoch that this server serves in.
    pub(crate) fn established(&self) -> Option<Epoch> {
        match &self.stage {
            Stage::Serving { epoch } => Some(*epoch),
            _ => None,
        }
    }

    // ----- connecting -----

    fn dial(&mut self, sh: &mut Shared) {
        if let Stage::Connecting {
            tries, dialling, ..
        } = &mut self.stage
        {
            *tries += 1;
            *dialling = true;
            sh.dial(self.leader, Channel::Quorum);
        }
    }

    /// The leader is not there, or not yet the leader.
    fn on_refused(&mut self, sh: &Shared) -> Result<(), Leave> {
        match &mut self.stage {
            Stage::Connecting {
                tries,
                dialling,
                retry,
            } => {
                if *tries >= LEADER_CONNECT_TRIES {
                    return Err(Leave("the leader can not be reached"));
                }
                *dialling = false;
                *retry = sh.now.mono + LEADER_CONNECT_RETRY;
                Ok(())
            }
            _ => Err(Leave("the leader closed the connection")),
        }
    }

    pub(crate) fn handle_dial_failed(&mut self, peer: ServerId, sh: &Shared) -> Result<(), Leave> {
        let waits = matches!(self.stage, Stage::Connecting { dialling: true, .. });
        if peer == self.leader && waits {
            self.on_refused(sh)
        } else {
            Ok(())
        }
    }

    /// Our connection to the leader is up.
    pub(crate) fn handle_opened(&mut self, link: LinkId, peer: ServerId, sh: &mut Shared) {
        let waits = matches!(self.stage, Stage::Connecting { dialling: true, .. });
        if peer != self.leader || !waits || self.link.is_some() {
            sh.close_link(link, CloseReason::RoleLeft);
            return;
        }
        self.link = Some(link);
        let kind = if self.observer {
            packet::OBSERVERINFO
        } else {
            packet::FOLLOWERINFO
        };
        let mut data = Vec::new();
        LearnerInfo {
            server: sh.config.me,
            protocol: PROTOCOL_VERSION,
            config_version: Some(0),
        }
        .encode(&mut data);
        let info = QuorumPacket::with_data(kind, sh.promised.zxid(), &data);
        sh.send(link, |out| info.encode(out));
    }

    pub(crate) fn handle_closed(&mut self, link: LinkId, sh: &Shared) -> Result<(), Leave> {
        if self.link != Some(link) {
            return Ok(());
        }
        self.link = None;
        self.on_refused(sh)
    }

    // ----- packets -----

    pub(crate) fn handle_bytes(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        sh: &mut Shared,
    ) -> Result<(), Leave> {
        if self.link != Some(link) {
            // A learner that has chosen us by mistake; it hears that we do not lead.
            sh.close_link(link, CloseReason::NotServing);
            return Ok(());
        }
        if matches!(self.stage, Stage::Connecting { .. }) {
            // The leader has accepted us; from here on losing it means looking again.
            self.stage = Stage::Introduced;
        }
        let Some(all) = sh.links.take_bytes(link, bytes, sh.now.mono) else {
            return Ok(());
        };
        let mut at = 0;
        let read = self.read_all(link, &all, &mut at, sh);
        sh.links.put_back(link, all, at);
        match read {
            Ok(()) => Ok(()),
            Err(Trouble::Leave(why)) => Err(why),
            Err(Trouble::Close(why)) => {
                sh.close_link(link, why);
                self.link = None;
                Err(Leave("the leader broke the protocol"))
            }
        }
    }

    fn read_all(
        &mut self,
        link: LinkId,
        all: &[u8],
        at: &mut usize,
        sh: &mut Shared,
    ) -> Result<(), Trouble> {
        while sh.links.is_open(link) && !sh.halted {
            if sh.is_disk_queue_full() {
                return Err(Trouble::Leave(Leave("the disk is too far behind")));
            }
            let rest = &all[*at..];
            match &mut self.stage {
                Stage::Reloading { .. } => return Ok(()),
                Stage::Syncing(syncing) if syncing.is_loading() => {
                    let read = syncing.load(rest, sh)?;
                    *at += read;
                    if read == 0 {
                        return Ok(());
                    }
                }
                _ => match next_packet(rest).map_err(Trouble::Close)? {
                    None => return Ok(()),
                    Some((packet, length)) => {
                        *at += length;
                        self.handle_packet(&packet, sh)?;
                    }
                },
            }
        }
        Ok(())
    }

    fn handle_packet(&mut self, packet: &QuorumPacket<'_>, sh: &mut Shared) -> Result<(), Trouble> {
        match &mut self.stage {
            Stage::Introduced if packet.kind == packet::LEADERINFO => {
                self.on_leader_info(packet.zxid.epoch(), sh)
            }
            Stage::Promised { .. } => self.on_sync_mode(packet, sh),
            Stage::Syncing(_) => self.on_sync_packet(packet, sh),
            Stage::Recording(syncing) | Stage::Acknowledged(syncing)
                if packet.kind != packet::UPTODATE =>
            {
                syncing.handle_packet(packet, sh)
            }
            Stage::Acknowledged(_) => self.on_up_to_date(sh),
            Stage::Serving { .. } => self.on_serving_packet(packet, sh),
            _ => Err(Trouble::Close(CloseReason::PeerMisbehaved(
                "packet out of its phase",
            ))),
        }
    }

    // ----- discovery -----

    fn on_leader_info(&mut self, epoch: Epoch, sh: &mut Shared) -> Result<(), Trouble> {
        if epoch < sh.promised {
            return Err(Trouble::Leave(Leave(
                "the leader is of an epoch that was given up",
            )));
        }
        if epoch > sh.promised {
            sh.write_accepted(epoch);
        }
        if epoch > sh.accepted {
            // Perhaps promised in an earlier role, to a leader that never heard of it.
            self.stage = Stage::Promising { epoch };
            return Ok(());
        }
        // Promised before: the leader may have us, but not our vote again.
        self.stage = Stage::Promised { epoch };
        self.send_ack_epoch(epoch, None, sh);
        Ok(())
    }

    fn on_promised(&mut self, proof: Persisted<Accepted>, sh: &mut Shared) {
        let Stage::Promising { epoch } = self.stage else {
            return;
        };
        if proof.get().0 == epoch {
            self.stage = Stage::Promised { epoch };
            self.send_ack_epoch(epoch, Some(proof), sh);
        }
    }

    /// With a proof this is a vote for the epoch; without one it only tells our history. A leader
    /// that already knows it, and that we can not follow from there, is told of none: the zxid -1
    /// is before everything, so a snapshot comes.
    fn send_ack_epoch(
        &mut self,
        epoch: Epoch,
        proof: Option<Persisted<Accepted>>,
        sh: &mut Shared,
    ) {
        let data = ack_epoch(proof.map(|_| sh.current));
        let has_told = proof.is_none() && sh.needs_snapshot == Some(epoch);
        let last = if has_told { NO_ZXID } else { sh.last_logged() };
        let packet = QuorumPacket::with_data(packet::ACKEPOCH, last, &data);
        if let Some(link) = self.link {
            sh.send(link, |out| packet.encode(out));
        }
    }

    // ----- disk -----

    pub(crate) fn on_settled(&mut self, seq: WriteSeq, settled: Settled, sh: &mut Shared) {
        if let Settled::Accepted(proof) = settled {
            self.on_promised(proof, sh);
        }
        if let Stage::Syncing(syncing) = &mut self.stage {
            syncing.on_stored(seq);
        }
        if seq <= self.before {
            return;
        }
        match settled {
            Settled::Current(proof) => self.on_recorded(proof, sh),
            Settled::Logged(proof) => self.on_logged(proof, sh),
            Settled::Accepted(_) | Settled::Nothing => {}
        }
    }

    /// The leader's history is ours, on disk, and so is its epoch: the vote for the reign.
    fn on_recorded(&mut self, proof: Persisted<Current>, sh: &mut Shared) {
        let recording = core::mem::replace(&mut self.stage, Stage::Introduced);
        match recording {
            Stage::Recording(syncing) if syncing.epoch() == proof.get().0 => {
                self.ack(proof.get().0.zxid(), sh);
                self.stage = Stage::Acknowledged(syncing);
            }
            other => self.stage = other,
        }
    }

    fn on_logged(&mut self, proof: Persisted<Logged>, sh: &mut Shared) {
        let is_vote = self.is_serving() && !sh.config.mutants.has(Mutant::AckBeforeSync);
        if is_vote && (!self.observer || sh.config.mutants.has(Mutant::ObserverCounts)) {
            self.ack_proposal(proof, sh);
        }
    }

    /// Only a durable proposal is acknowledged.
    fn ack_proposal(&self, proof: Persisted<Logged>, sh: &mut Shared) {
        self.ack(proof.get().0, sh);
    }

    fn ack(&self, zxid: Zxid, sh: &mut Shared) {
        if let Some(link) = self.link {
            let packet = QuorumPacket::bare(packet::ACK, zxid);
            sh.send(link, |out| packet.encode(out));
        }
    }

    /// The data directory was read again after TRUNC; what the leader sent meanwhile is read now.
    pub(crate) fn on_reloaded(
        &mut self,
        seq: WriteSeq,
        state: Box<Recovered>,
        sh: &mut Shared,
    ) -> Result<(), Leave> {
        let Stage::Reloading {
            epoch,
            zxid,
            seq: awaited,
        } = self.stage
        else {
            unreachable!("the driver reloads only what was truncated")
        };
        assert_eq!(seq, awaited);
        sh.reload(state);
        if sh.db.applied() > zxid {
            // The oldest snapshot here is newer: an earlier leader sent it and never came to reign.
            sh.needs_snapshot = Some(epoch);
            self.stage = Stage::Promised { epoch };
            return Err(Leave(
                "the history can not be cut there; a snapshot is needed",
            ));
        }
        self.stage = Stage::Syncing(Box::new(Syncing::after_trunc(epoch, zxid)));
        match self.link {
            Some(link) => self.handle_bytes(link, &[], sh),
            None => Ok(()),
        }
    }

    // ----- time -----

    fn silence_limit(&self, sh: &Shared) -> Instant {
        let heard = self
            .link
            .and_then(|l| sh.links.get(l))
            .map_or(sh.now.mono, |l| l.heard);
        // A leader that is not read is not silent.
        let heard = if self.wants_input() {
            heard
        } else {
            sh.now.mono
        };
        match &self.stage {
            Stage::Connecting { .. } => self.patience,
            Stage::Acknowledged(_) | Stage::Serving { .. } => heard + sh.sync_time(),
            _ => heard + sh.init_time(),
        }
    }

    pub(crate) fn deadline(&self, sh: &Shared) -> Instant {
        match &self.stage {
            Stage::Connecting {
                dialling: false,
                retry,
                ..
            } => self.patience.min(*retry),
            _ => self.silence_limit(sh),
        }
    }

    pub(crate) fn on_wake(&mut self, sh: &mut Shared) -> Result<(), Leave> {
        let now = sh.now.mono;
        if let Stage::Connecting {
            dialling: false,
            retry,
            ..
        } = self.stage
            && retry <= now
            && now < self.patience
        {
            self.dial(sh);
        }
        if self.silence_limit(sh) <= now {
            return Err(Leave("the leader is silent"));
        }
        if self.link.is_some_and(|link| !sh.links.is_open(link)) {
            self.link = None;
            return Err(Leave("the leader does not read"));
        }
        Ok(())
    }

    /// The end of the role. A snapshot that did not arrive whole leaves nothing behind
    /// (ZOOKEEPER-3642). Returns the write after which the data directory has been read again, if
    /// it is being: until then this server may not speak for its history.
    pub(crate) fn end(self, sh: &mut Shared) -> Option<WriteSeq> {
        if let Some(link) = self.link {
            sh.close_link(link, CloseReason::RoleLeft);
        }
        match self.stage {
            Stage::Reloading { seq, .. } => Some(seq),
            Stage::Syncing(syncing) => {
                syncing.abandon(sh);
                None
            }
            _ => None,
        }
    }
}
