//! The reign: packets of learners that hold our history, proposals and commits to them, pings, and
//! the question, every tick, whether a quorum still follows.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::handler::{Handler, Stage};
use super::synchronize::{commit, encoded, proposal};
use super::{Leading, Phase};
use crate::boundary::CloseReason;
use crate::ids::{LinkId, ServerId, Zxid};
use crate::log::LogEntry;
use crate::mutants::Mutant;
use crate::pipeline::Upstream;
use crate::session::Scope;
use crate::session::tracker::Owner;
use crate::shared::Shared;
use crate::wire::quorum::{
    Forwarded, NO_ZXID, PING_NO_WRITES, QuorumPacket, Revalidated, SessionTouch, packet,
};
use crate::zab::broadcast::{News, Request};
use crate::zab::{Leave, Trouble};

const MALFORMED: Trouble = Trouble::Close(CloseReason::PeerMalformed("packet data"));

impl Leading {
    /// A packet of a learner that is synchronizing or synchronized. Whatever it is, it shows that
    /// the learner lives.
    pub(super) fn on_learner_packet(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket<'_>,
        sh: &mut Shared,
    ) -> Result<(), Trouble> {
        let handler = self
            .handlers
            .get_mut(&link)
            .expect("the caller has seen it");
        let alive_until = sh.now.mono + sh.sync_time();
        handler.deadline = handler.deadline.max(alive_until);
        match packet.kind {
            packet::ACK => self.on_ack(link, packet.zxid, sh),
            packet::PING => self.on_ping(link, packet, sh)?,
            packet::REVALIDATE => self.on_revalidate(link, packet, sh)?,
            packet::REQUEST => self.on_request(link, packet, sh)?,
            _ => {
                return Err(Trouble::Close(CloseReason::PeerMisbehaved(
                    "unexpected packet",
                )));
            }
        }
        Ok(())
    }

    /// The ACK of NEWLEADER may come after acks of proposals (ZOOKEEPER-4685), and more than once.
    fn on_ack(&mut self, link: LinkId, zxid: Zxid, sh: &mut Shared) {
        let handler = self
            .handlers
            .get_mut(&link)
            .expect("the caller has seen it");
        let server = handler.server.expect("introduced");
        let votes = handler.votes || sh.config.mutants.has(Mutant::ObserverCounts);
        let reign = match &mut self.phase {
            Phase::Synchronization { epoch, .. } | Phase::Broadcast { epoch, .. } => *epoch,
            _ => return,
        };
        if zxid != reign.zxid() {
            if let Phase::Broadcast { order, .. } = &mut self.phase
                && votes
            {
                order.count(server, zxid, sh);
            }
            return;
        }
        if matches!(handler.stage, Stage::Synchronizing) {
            handler.stage = Stage::Synchronized { serving: false };
        }
        match &mut self.phase {
            Phase::Synchronization { acks, .. } => {
                if votes {
                    acks.insert(server);
                }
                self.count_new_leader_acks(sh);
            }
            Phase::Broadcast { .. } => Self::make_serving(handler, sh),
            _ => {}
        }
    }

    fn on_ping(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket<'_>,
        sh: &mut Shared,
    ) -> Result<(), Trouble> {
        let touches = SessionTouch::decode_all(packet.data).map_err(|_| MALFORMED)?;
        let Phase::Broadcast { order, .. } = &mut self.phase else {
            return Ok(());
        };
        let lacks_room = touches.contains(&SessionTouch::NO_ROOM);
        for touch in touches {
            order.touch(touch.session, touch.timeout_ms, sh);
        }
        let handler = self
            .handlers
            .get_mut(&link)
            .expect("the caller has seen it");
        handler.lacks_room = lacks_room;
        if let Some(round) = handler.pings.pop_front() {
            handler.confirmed = round;
            self.confirm(round, sh);
        }
        Ok(())
    }

    /// Has a quorum answered this round of pings by now?
    fn confirm(&mut self, round: u64, sh: &mut Shared) {
        let answered = self
            .handlers
            .values()
            .filter(|h| h.votes && h.confirmed >= round);
        let mut servers: BTreeSet<_> = answered.filter_map(|h| h.server).collect();
        servers.insert(sh.config.me);
        let is_quorum =
            sh.voters.is_quorum(&servers) || sh.config.mutants.has(Mutant::StaleLeaderServing);
        if let Phase::Broadcast { order, .. } = &mut self.phase
            && is_quorum
        {
            order.confirm_round(round, sh);
        }
    }

    fn on_revalidate(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket<'_>,
        sh: &mut Shared,
    ) -> Result<(), Trouble> {
        let touch = packet.data.and_then(|data| SessionTouch::decode(data).ok());
        let SessionTouch {
            session,
            timeout_ms,
        } = touch.ok_or(MALFORMED)?;
        let Phase::Broadcast { order, .. } = &mut self.phase else {
            return Ok(());
        };
        order.handle_revalidate(link, session, timeout_ms, sh);
        Ok(())
    }

    fn on_request(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket<'_>,
        sh: &mut Shared,
    ) -> Result<(), Trouble> {
        let asked = packet.data.and_then(|data| Forwarded::decode(data).ok());
        let Forwarded {
            session,
            cxid,
            op,
            body,
        } = asked.ok_or(MALFORMED)?;
        let identities = packet.authinfo.as_deref().unwrap_or_default();
        let origin = Owner::Learner(link);
        let Phase::Broadcast { order, .. } = &mut self.phase else {
            return Ok(());
        };
        order.handle_request(
            Request {
                origin,
                session,
                scope: Scope::Global,
                cxid,
                op,
                body,
                identities,
            },
            sh,
        );
        Ok(())
    }

    /// Requests of our own clients.
    pub(crate) fn handle_upstream(&mut self, item: Upstream, sh: &mut Shared) {
        if let Phase::Broadcast { order, .. } = &mut self.phase {
            order.handle_upstream(item, sh);
        }
    }

    /// The end of a turn: sessions that our own clients kept alive, then everything that the
    /// learners must hear of it.
    pub(crate) fn on_turn_end(&mut self, sh: &mut Shared) -> Result<(), Leave> {
        if let Phase::Broadcast { order, .. } = &mut self.phase {
            for (session, timeout_ms) in sh.clients.take_touched() {
                order.touch(session, timeout_ms, sh);
            }
            if order.is_exhausted() {
                return Err(Leave("no zxid of this epoch is left"));
            }
        }
        self.spread_news(sh);
        let is_news = self.established().is_some() && {
            let takes_writes = self.takes_writes(sh);
            sh.set_takes_writes(takes_writes)
        };
        let wants_round = self.order().is_some_and(|o| o.wants_round());
        if wants_round || is_news {
            self.ping(sh);
        }
        self.step_streams(sh);
        let lost: Vec<_> = self
            .handlers
            .keys()
            .copied()
            .filter(|l| !sh.links.is_open(*l))
            .collect();
        for link in lost {
            self.handle_closed(link, sh);
        }
        Ok(())
    }

    pub(super) fn spread_news(&mut self, sh: &mut Shared) {
        let Phase::Broadcast { order, .. } = &mut self.phase else {
            return;
        };
        for news in order.take_news() {
            match news {
                News::Propose(entry) => {
                    let packet = proposal(&entry);
                    for handler in forwarding(&mut self.handlers).filter(|h| h.follower) {
                        handler.send(&packet, sh);
                    }
                }
                News::Commit(entry) => Self::spread_commit(&mut self.handlers, &entry, sh),
                News::Synced(link) => {
                    if let Some(handler) = self.handlers.get_mut(&link) {
                        let packet = QuorumPacket::bare(packet::SYNC, Zxid::ZERO);
                        handler.send(&encoded(&packet), sh);
                    }
                }
                News::Revalidated(link, session, valid) => {
                    if let Some(handler) = self.handlers.get_mut(&link) {
                        let mut data = Vec::new();
                        Revalidated { session, valid }.encode(&mut data);
                        let answer = QuorumPacket::with_data(packet::REVALIDATE, NO_ZXID, &data);
                        handler.send(&encoded(&answer), sh);
                    }
                }
            }
        }
    }

    fn spread_commit(
        handlers: &mut alloc::collections::BTreeMap<LinkId, Handler>,
        entry: &LogEntry,
        sh: &mut Shared,
    ) {
        let packet = commit(entry.zxid);
        for handler in forwarding(handlers).filter(|h| h.follower) {
            handler.send(&packet, sh);
        }
        if handlers.values().any(|h| h.is_forwarding() && !h.follower) {
            let inform = QuorumPacket::with_data(packet::INFORM, entry.zxid, &entry.record);
            let packet = encoded(&inform);
            for handler in forwarding(handlers).filter(|h| !h.follower) {
                handler.send(&packet, sh);
            }
        }
    }

    // ----- time -----

    pub(crate) fn on_wake(&mut self, sh: &mut Shared) -> Result<(), Leave> {
        let now = sh.now.mono;
        let late = match &self.phase {
            Phase::Gathering { until } => (*until <= now).then_some("no quorum came to follow"),
            Phase::Recording { until, .. } => (*until <= now).then_some("epoch not recorded"),
            Phase::Inviting { until, .. } => (*until <= now).then_some("no quorum promised"),
            Phase::Synchronization { until, .. } => {
                (*until <= now).then_some("no quorum was synchronized")
            }
            Phase::Broadcast { .. } => None,
        };
        if let Some(why) = late {
            return Err(Leave(why));
        }
        if let Phase::Broadcast { order, .. } = &mut self.phase {
            order.on_wake(sh);
        }
        if self.next_tick <= now {
            self.next_tick = now + sh.config.tick / 2;
            self.half_ticks += 1;
            self.on_half_tick(sh)?;
        }
        Ok(())
    }

    fn on_half_tick(&mut self, sh: &mut Shared) -> Result<(), Leave> {
        let now = sh.now.mono;
        let silent: Vec<_> = self
            .handlers
            .values()
            .filter(|h| h.deadline <= now)
            .map(|h| h.link)
            .collect();
        for link in silent {
            self.drop_learner(link, CloseReason::PeerTimeout, sh);
        }
        let Phase::Broadcast { order, .. } = &mut self.phase else {
            return Ok(());
        };
        let sync_time = sh.sync_time();
        // One that says that its disk is full may stay: it bounds by itself how far it is behind,
        // and serves reads as well as any.
        let stuck = |h: &&Handler| {
            let can_vote = h.votes && h.is_forwarding() && !h.lacks_room;
            let Some(server) = h.server.filter(|_| can_vote) else {
                return false;
            };
            let waiting = order.waiting_for(server, h.forwarding_since);
            !h.is_streaming() && waiting.is_some_and(|since| now - since > sync_time)
        };
        let stuck: Vec<_> = self
            .handlers
            .values()
            .filter(stuck)
            .map(|h| h.link)
            .collect();
        for link in stuck {
            self.drop_learner(link, CloseReason::PeerTimeout, sh);
        }
        if self.half_ticks.is_multiple_of(2) && !self.has_quorum(sh) {
            return Err(Leave("a quorum does not follow any more"));
        }
        if self.can_others_lead(sh)
            && let Some(why) = sh.reason_to_make_way()
        {
            return Err(Leave(why));
        }
        self.ping(sh);
        Ok(())
    }

    /// Voters whose disks can take another write: a quorum without ourselves?
    fn can_others_lead(&self, sh: &Shared) -> bool {
        sh.voters.is_quorum(&self.with_room())
    }

    fn with_room(&self) -> BTreeSet<ServerId> {
        let serving = |h: &&Handler| matches!(h.stage, Stage::Synchronized { serving: true });
        let able = self
            .handlers
            .values()
            .filter(|h| serving(h) && h.votes && !h.lacks_room);
        able.filter_map(|h| h.server).collect()
    }

    /// A write is taken only if a quorum of those who follow, ourselves included, has room for it:
    /// what is proposed can then become stable. How many follow at all is another question.
    fn takes_writes(&self, sh: &Shared) -> bool {
        let lacking = |h: &Handler| h.votes && h.lacks_room;
        let all_have_room = sh.has_room() && !self.handlers.values().any(lacking);
        if all_have_room || sh.config.mutants.has(Mutant::WritesWithoutRoom) {
            return true;
        }
        let mut able = self.with_room();
        if sh.has_room() {
            able.insert(sh.config.me);
        }
        sh.voters.is_quorum(&able)
    }

    /// Ourselves and the voters that follow and were heard of lately.
    fn has_quorum(&self, sh: &Shared) -> bool {
        let following = self
            .handlers
            .values()
            .filter(|h| h.votes && h.is_forwarding());
        let mut servers: BTreeSet<_> = following.filter_map(|h| h.server).collect();
        servers.insert(sh.config.me);
        sh.voters.is_quorum(&servers) || sh.config.mutants.has(Mutant::StaleLeaderServing)
    }

    /// Asks every serving learner for a sign of life. A learner that is still synchronizing would
    /// not answer, which would mix up the rounds.
    fn ping(&mut self, sh: &mut Shared) {
        let zxid = self.last_proposed(sh);
        let Phase::Broadcast { order, .. } = &mut self.phase else {
            return;
        };
        let round = order.begin_round();
        let mut ping = QuorumPacket::bare(packet::PING, zxid);
        if !sh.clients.takes_writes() {
            ping.data = Some(PING_NO_WRITES);
        }
        let packet = encoded(&ping);
        for handler in self.handlers.values_mut() {
            if matches!(handler.stage, Stage::Synchronized { serving: true }) {
                handler.pings.push_back(round);
                handler.send(&packet, sh);
            }
        }
        // Nobody needs to be asked where one voter is the quorum.
        self.confirm(round, sh);
    }

    pub(crate) fn learners(&self) -> usize {
        self.handlers.len()
    }

    /// Synchronized followers and observers, for `mntr`.
    pub(crate) fn synchronized(&self) -> (usize, usize) {
        let synced = || {
            self.handlers
                .values()
                .filter(|h| matches!(h.stage, Stage::Synchronized { .. }))
        };
        (
            synced().filter(|h| h.follower).count(),
            synced().filter(|h| !h.follower).count(),
        )
    }
}

fn forwarding(
    handlers: &mut alloc::collections::BTreeMap<LinkId, Handler>,
) -> impl Iterator<Item = &mut Handler> {
    handlers.values_mut().filter(|h| h.is_forwarding())
}
