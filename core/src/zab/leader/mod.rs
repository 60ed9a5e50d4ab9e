//! Leading: from an election won to a reign that ends (ZooKeeper's `Leader`).
//!
//! The phases follow each other and never go back: the accepted epochs of a quorum choose the new
//! one; it is on our disk before anybody hears of it (ZOOKEEPER-1291); a quorum promises it; every
//! learner is brought to our history; a quorum that holds it durably makes the reign. Leaving is
//! the only other way out.

mod handler;
mod reign;
mod synchronize;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use handler::{Handler, Stage};
pub(crate) use synchronize::SNAPSHOT_SIGNATURE;

use super::broadcast::Broadcast;
use super::{Leave, Trouble, next_packet};
use crate::boundary::{CloseReason, Event};
use crate::durable::{Accepted, Current, Persisted, Settled};
use crate::ids::{Epoch, LinkId, ServerId, Zxid};
use crate::limits::{ELECTIONS_AHEAD_MAX, PARKED_BYTES_MAX};
use crate::shared::Shared;
use crate::time::Instant;
use crate::wire::quorum::{LearnerInfo, QuorumPacket, decode_ack_epoch, leader_info, packet};

/// What a leader is waiting for. Each phase holds what only it needs.
#[derive(Debug)]
enum Phase {
    /// Accepted epochs of a quorum, to choose a newer one.
    Gathering { until: Instant },
    /// The chosen epoch, on its way to our own `acceptedEpoch`.
    Recording { epoch: Epoch, until: Instant },
    /// Promises of a quorum not to follow anybody older.
    Inviting {
        epoch: Epoch,
        until: Instant,
        promises: BTreeSet<ServerId>,
    },
    /// Durable copies of our history at a quorum.
    Synchronization {
        epoch: Epoch,
        until: Instant,
        acks: BTreeSet<ServerId>,
    },
    /// The reign.
    Broadcast { epoch: Epoch, order: Box<Broadcast> },
}

/// A server that won an election.
#[derive(Debug)]
pub(crate) struct Leading {
    phase: Phase,
    /// In order of their links, which is the order in which they came.
    handlers: BTreeMap<LinkId, Handler>,
    next_tick: Instant,
    /// Half ticks since the reign began.
    half_ticks: u64,
}

impl Leading {
    pub(crate) fn enter(sh: &mut Shared) -> Self {
        let until = sh.now.mono + sh.init_time();
        let mut leading = Self {
            phase: Phase::Gathering { until },
            handlers: BTreeMap::new(),
            next_tick: sh.now.mono + sh.config.tick / 2,
            half_ticks: 0,
        };
        // A single voter needs nobody.
        leading.choose_epoch(sh);
        leading
    }

    /// The epoch of the reign, once it is one.
    pub(crate) fn established(&self) -> Option<Epoch> {
        match &self.phase {
            Phase::Broadcast { epoch, .. } => Some(*epoch),
            _ => None,
        }
    }

    /// Has no quorum come to follow yet?
    pub(crate) fn is_gathering(&self) -> bool {
        matches!(self.phase, Phase::Gathering { .. })
    }

    pub(crate) fn order(&self) -> Option<&Broadcast> {
        match &self.phase {
            Phase::Broadcast { order, .. } => Some(order),
            _ => None,
        }
    }

    fn epoch(&self) -> Option<Epoch> {
        match &self.phase {
            Phase::Gathering { .. } | Phase::Recording { .. } => None,
            Phase::Inviting { epoch, .. }
            | Phase::Synchronization { epoch, .. }
            | Phase::Broadcast { epoch, .. } => Some(*epoch),
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        match &self.phase {
            Phase::Gathering { until }
            | Phase::Recording { until, .. }
            | Phase::Inviting { until, .. }
            | Phase::Synchronization { until, .. } => self.next_tick.min(*until),
            Phase::Broadcast { order, .. } => order
                .deadline()
                .map_or(self.next_tick, |at| self.next_tick.min(at)),
        }
    }

    // ----- links -----

    /// A server has connected to our quorum port.
    pub(crate) fn handle_opened(&mut self, link: LinkId, sh: &Shared) {
        let deadline = sh.now.mono + sh.init_time();
        self.handlers
            .insert(link, Handler::new(link, deadline, sh.now.mono));
    }

    pub(crate) fn handle_closed(&mut self, link: LinkId, sh: &mut Shared) {
        if let Some(mut handler) = self.handlers.remove(&link) {
            handler.end(sh);
            if let Phase::Broadcast { order, .. } = &mut self.phase {
                order.disown(link);
            }
        }
    }

    fn drop_learner(&mut self, link: LinkId, why: CloseReason, sh: &mut Shared) {
        sh.close_link(link, why);
        self.handle_closed(link, sh);
    }

    /// Reads the packets in what came in.
    pub(crate) fn handle_bytes(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        sh: &mut Shared,
    ) -> Result<(), Leave> {
        let Some(all) = sh.links.take_bytes(link, bytes, sh.now.mono) else {
            return Ok(());
        };
        let mut at = 0;
        while sh.links.is_open(link) && self.handlers.contains_key(&link) {
            let handled = match next_packet(&all[at..]) {
                Ok(None) => break,
                Ok(Some((packet, length))) => {
                    at += length;
                    self.handle_packet(link, &packet, sh)
                }
                Err(why) => Err(Trouble::Close(why)),
            };
            match handled {
                Ok(()) => {}
                Err(Trouble::Close(why)) => self.drop_learner(link, why, sh),
                Err(Trouble::Leave(why)) => return Err(why),
            }
        }
        // Whoever reaches the port may announce any length, but not make us keep it.
        let is_unknown = |h: &Handler| matches!(h.stage, Stage::Unknown);
        if all.len() - at > PARKED_BYTES_MAX && self.handlers.get(&link).is_some_and(is_unknown) {
            let why = CloseReason::PeerMalformed("no introduction");
            self.drop_learner(link, why, sh);
        }
        sh.links.put_back(link, all, at);
        Ok(())
    }

    fn handle_packet(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket<'_>,
        sh: &mut Shared,
    ) -> Result<(), Trouble> {
        let handler = self
            .handlers
            .get_mut(&link)
            .expect("the caller has seen it");
        match (&handler.stage, packet.kind) {
            (Stage::Unknown, packet::FOLLOWERINFO | packet::OBSERVERINFO) => {
                self.on_info(link, packet, sh)
            }
            (Stage::Invited, packet::ACKEPOCH) => self.on_ack_epoch(link, packet, sh),
            (Stage::Synchronizing | Stage::Synchronized { .. }, _) => {
                self.on_learner_packet(link, packet, sh)
            }
            _ => Err(Trouble::Close(CloseReason::PeerMisbehaved(
                "packet out of its phase",
            ))),
        }
    }

    // ----- discovery -----

    fn on_info(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket<'_>,
        sh: &mut Shared,
    ) -> Result<(), Trouble> {
        let malformed = Trouble::Close(CloseReason::PeerMalformed("learner info"));
        let Some(info) = packet.data.and_then(|data| LearnerInfo::decode(data).ok()) else {
            return Err(malformed);
        };
        let server = info.server;
        if server == sh.config.me {
            return Err(Trouble::Close(CloseReason::PeerIsMe));
        }
        if !sh.config.members.contains_key(&server) {
            return Err(Trouble::Close(CloseReason::PeerUnknown(server)));
        }
        let of_same = |h: &&Handler| h.server == Some(server);
        if let Some(older) = self.handlers.values().find(of_same).map(|h| h.link) {
            // Its own connection is alive: this one is somebody else's, or comes too early. A
            // server that has really restarted is let in one tick after it was last heard.
            let heard = sh.links.get(older).map(|l| l.heard);
            if heard.is_some_and(|at| sh.now.mono - at < sh.config.tick) {
                return Err(Trouble::Close(CloseReason::PeerMisbehaved(
                    "a server with this id is connected",
                )));
            }
            self.drop_learner(older, CloseReason::Replaced, sh);
        }
        let accepted = packet.zxid.epoch();
        if accepted.0 > sh.promised.0 + ELECTIONS_AHEAD_MAX {
            return Err(Trouble::Close(CloseReason::PeerMisbehaved(
                "a promise of an epoch that can not have been",
            )));
        }
        sh.links.get_mut(link).expect("bytes came from it").peer = Some(server);
        let handler = self
            .handlers
            .get_mut(&link)
            .expect("the caller has seen it");
        handler.server = Some(server);
        handler.follower = packet.kind == packet::FOLLOWERINFO;
        handler.votes = handler.follower && sh.voters.contains(server);
        handler.accepted = accepted;
        handler.stage = Stage::Introduced;
        sh.heard_of = sh.heard_of.max(accepted);
        match self.epoch() {
            // It has promised a newer epoch to a leader that never came to reign, and may not
            // follow us: only an epoch beyond both lets it back in.
            Some(epoch) if accepted > epoch => {
                return Err(Trouble::Leave(Leave("a server has promised a newer epoch")));
            }
            Some(epoch) => self.invite(link, epoch, sh),
            None => self.choose_epoch(sh),
        }
        Ok(())
    }

    /// A quorum of voters, ourselves included (ZOOKEEPER-1270), decides the new epoch: one more
    /// than any of them, or any observer, has ever accepted.
    fn choose_epoch(&mut self, sh: &mut Shared) {
        let Phase::Gathering { until } = self.phase else {
            return;
        };
        let introduced = || self.handlers.values().filter(|h| h.server.is_some());
        let mut joined: BTreeSet<_> = introduced()
            .filter(|h| h.votes)
            .filter_map(|h| h.server)
            .collect();
        joined.insert(sh.config.me);
        if !sh.voters.is_quorum(&joined) {
            return;
        }
        let epoch = sh.promised.max(sh.heard_of).next();
        sh.write_accepted(epoch);
        self.phase = Phase::Recording { epoch, until };
    }

    /// The chosen epoch is on our disk: nobody can hear of it before (ZOOKEEPER-1291).
    fn on_epoch_recorded(&mut self, proof: Persisted<Accepted>, sh: &mut Shared) {
        let Phase::Recording { epoch, until } = self.phase else {
            return;
        };
        if proof.get().0 != epoch {
            return;
        }
        let promises = BTreeSet::from([sh.config.me]);
        self.phase = Phase::Inviting {
            epoch,
            until,
            promises,
        };
        let waiting = |h: &&Handler| matches!(h.stage, Stage::Introduced);
        let links: alloc::vec::Vec<_> = self
            .handlers
            .values()
            .filter(waiting)
            .map(|h| h.link)
            .collect();
        for link in links {
            self.invite(link, epoch, sh);
        }
        self.count_promises(sh);
    }

    fn invite(&mut self, link: LinkId, epoch: Epoch, sh: &mut Shared) {
        let data = leader_info();
        let packet = QuorumPacket::with_data(packet::LEADERINFO, epoch.zxid(), &data);
        sh.send(link, |out| packet.encode(out));
        self.handlers
            .get_mut(&link)
            .expect("it was introduced")
            .stage = Stage::Invited;
    }

    fn on_ack_epoch(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket<'_>,
        sh: &mut Shared,
    ) -> Result<(), Trouble> {
        let Some(current) = packet.data.and_then(|data| decode_ack_epoch(data).ok()) else {
            return Err(Trouble::Close(CloseReason::PeerMalformed("ACKEPOCH")));
        };
        let ours = (sh.current, sh.last_logged());
        let handler = self
            .handlers
            .get_mut(&link)
            .expect("the caller has seen it");
        handler.stage = Stage::Promised { last: packet.zxid };
        let (server, votes) = (handler.server.expect("introduced"), handler.votes);
        if let Phase::Inviting { promises, .. } = &mut self.phase {
            // A server that has seen more must not lose it by following us. It is refused, not
            // fatal: we fail only if we find no quorum without it.
            match current {
                Some(theirs) if (theirs, packet.zxid) > ours => {
                    return Err(Trouble::Close(CloseReason::PeerAhead));
                }
                // It had promised this epoch already; that is no second vote.
                None => {}
                Some(_) if votes => {
                    promises.insert(server);
                }
                Some(_) => {}
            }
            self.count_promises(sh);
        } else {
            self.synchronize(link, sh);
        }
        Ok(())
    }

    fn count_promises(&mut self, sh: &mut Shared) {
        let Phase::Inviting {
            epoch,
            until,
            promises,
        } = &self.phase
        else {
            return;
        };
        if !sh.voters.is_quorum(promises) {
            return;
        }
        let (epoch, until) = (*epoch, *until);
        sh.write_current(epoch);
        self.phase = Phase::Synchronization {
            epoch,
            until,
            acks: BTreeSet::new(),
        };
        let promised = |h: &&Handler| matches!(h.stage, Stage::Promised { .. });
        let links: alloc::vec::Vec<_> = self
            .handlers
            .values()
            .filter(promised)
            .map(|h| h.link)
            .collect();
        for link in links {
            self.synchronize(link, sh);
        }
    }

    // ----- synchronization -----

    /// Our own history is durable under the new epoch: a vote for the reign like any other.
    fn on_own_epoch(&mut self, proof: Persisted<Current>, sh: &mut Shared) {
        let me = sh.config.me;
        if let Phase::Synchronization { epoch, acks, .. } = &mut self.phase
            && proof.get().0 == *epoch
        {
            acks.insert(me);
            self.count_new_leader_acks(sh);
        }
    }

    fn count_new_leader_acks(&mut self, sh: &mut Shared) {
        let Phase::Synchronization { epoch, acks, .. } = &self.phase else {
            return;
        };
        if !sh.voters.is_quorum(acks) || !acks.contains(&sh.config.me) {
            return;
        }
        let epoch = *epoch;
        let order = Box::new(Broadcast::start(epoch, sh.voters.clone(), sh));
        self.phase = Phase::Broadcast { epoch, order };
        self.next_tick = sh.now.mono + sh.config.tick / 2;
        self.half_ticks = 0;
        for handler in self.handlers.values_mut() {
            Self::make_serving(handler, sh);
        }
        sh.clients.start_serving(epoch.zxid());
        sh.report(Event::Serving {
            epoch,
            zxid: sh.db.applied(),
        });
    }

    // ----- disk -----

    pub(crate) fn on_settled(&mut self, settled: Settled, sh: &mut Shared) {
        match settled {
            Settled::Accepted(proof) => self.on_epoch_recorded(proof, sh),
            Settled::Current(proof) => self.on_own_epoch(proof, sh),
            Settled::Logged(proof) => {
                if let Phase::Broadcast { order, .. } = &mut self.phase {
                    order.count_own(proof, sh);
                }
            }
            Settled::Nothing => {}
        }
    }

    /// The end of the role: learners are let go, nothing is taken back.
    pub(crate) fn end(mut self, sh: &mut Shared) {
        for (link, handler) in &mut self.handlers {
            handler.end(sh);
            sh.close_link(*link, CloseReason::RoleLeft);
        }
    }

    fn last_proposed(&self, sh: &Shared) -> Zxid {
        self.order()
            .map_or_else(|| sh.last_logged(), Broadcast::last_proposed)
    }
}

impl Shared {
    /// `initLimit`: how long connecting and synchronizing may take.
    pub(crate) fn init_time(&self) -> Duration {
        self.config.tick * self.config.init_limit
    }

    /// `syncLimit`: how far behind a learner may be, how long a peer may be silent.
    pub(crate) fn sync_time(&self) -> Duration {
        self.config.tick * self.config.sync_limit
    }
}
