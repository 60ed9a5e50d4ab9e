//! Bringing one learner to the leader's history, and joining it to the stream of proposals in the
//! same step, so that nothing falls between the two (ZOOKEEPER-962).

use alloc::vec::Vec;

use bytes::Bytes;

use super::handler::{Handler, Stage};
use super::{Leading, Phase};
use crate::boundary::Event;
use crate::ids::{Epoch, LinkId, Zxid};
use crate::log::LogEntry;
use crate::shared::Shared;
use crate::wire::election::verifier_text;
use crate::wire::jute::Write;
use crate::wire::quorum::{QuorumPacket, packet};
use crate::zab::plan::{self, Plan};

/// The text that ends a snapshot on the wire.
pub(crate) const SNAPSHOT_SIGNATURE: &str = "BenWasHere";

pub(super) fn encoded(packet: &QuorumPacket<'_>) -> Bytes {
    let mut bytes = Vec::new();
    packet.encode(&mut bytes);
    Bytes::from(bytes)
}

pub(super) fn proposal(entry: &LogEntry) -> Bytes {
    encoded(&QuorumPacket::with_data(
        packet::PROPOSAL,
        entry.zxid,
        &entry.record,
    ))
}

pub(super) fn commit(zxid: Zxid) -> Bytes {
    encoded(&QuorumPacket::bare(packet::COMMIT, zxid))
}

impl Leading {
    /// Sends the way from the learner's last transaction to ours, then what is proposed and not
    /// yet committed, then NEWLEADER. From here on it hears everything.
    pub(super) fn synchronize(&mut self, link: LinkId, sh: &mut Shared) {
        // What was proposed or committed in this turn goes to the others now: this learner gets it
        // as part of its way, and must not get it twice.
        self.spread_news(sh);
        let epoch = self.epoch().expect("synchronization follows discovery");
        let handler = self
            .handlers
            .get_mut(&link)
            .expect("the caller has seen it");
        let Stage::Promised { last } = handler.stage else {
            unreachable!("only a learner that has promised is synchronized")
        };
        let server = handler.server.expect("introduced");
        let plan = plan::choose(last, sh.db.applied(), &sh.recent);
        sh.report(Event::SyncChosen {
            learner: server,
            mode: plan.name(),
            from: last,
        });
        handler.stage = Stage::Synchronizing;
        handler.forwarding_since = sh.now.mono;
        handler.deadline = sh.now.mono + sh.init_time() + sh.sync_time();
        Self::send_history(handler, plan, sh);
        if let Phase::Broadcast { order, .. } = &mut self.phase
            && handler.follower
        {
            // It drops what has no quorum yet, if it had it, and gets it again below: only what it
            // acknowledges from here on is on its disk.
            order.void_votes(server);
            let pending: Vec<_> = order.uncommitted(sh).map(proposal).collect();
            for packet in pending {
                handler.send(&packet, sh);
            }
        }
        Self::send_new_leader(handler, epoch, sh);
    }

    fn send_history(handler: &mut Handler, plan: Plan, sh: &mut Shared) {
        let applied = sh.db.applied();
        let (op, after) = match plan {
            Plan::Diff { from } => (QuorumPacket::bare(packet::DIFF, applied), from),
            Plan::Trunc { to } => (QuorumPacket::bare(packet::TRUNC, to), to),
            Plan::Snap => (QuorumPacket::bare(packet::SNAP, applied), applied),
        };
        handler.send(&encoded(&op), sh);
        if plan == Plan::Snap {
            let walk = sh.db.begin_walk();
            assert_eq!(sh.db.walk_zxid(walk), applied);
            handler.begin_stream(walk);
        }
        let entries: Vec<LogEntry> = sh.recent.after(after).cloned().collect();
        for entry in entries {
            handler.send(&proposal(&entry), sh);
            handler.send(&commit(entry.zxid), sh);
        }
    }

    /// Behind everything before it, never ahead (ZOOKEEPER-3104).
    fn send_new_leader(handler: &mut Handler, epoch: Epoch, sh: &mut Shared) {
        let text = verifier_text(&sh.config.members, 0);
        let zxid = epoch.zxid();
        let packet = QuorumPacket::with_data(packet::NEWLEADER, zxid, text.as_bytes());
        handler.send(&encoded(&packet), sh);
    }

    /// A learner that holds our history is let loose on its clients.
    pub(super) fn make_serving(handler: &mut Handler, sh: &mut Shared) {
        if let Stage::Synchronized {
            serving: serving @ false,
        } = &mut handler.stage
        {
            *serving = true;
            handler.deadline = sh.now.mono + sh.sync_time();
            let packet = QuorumPacket::bare(packet::UPTODATE, Zxid(-1));
            handler.send(&encoded(&packet), sh);
        }
    }

    /// Snapshots go out piece by piece, as fast as each learner takes them.
    pub(super) fn step_streams(&mut self, sh: &mut Shared) {
        let mut signature = Vec::new();
        for handler in self.handlers.values_mut().filter(|h| h.is_streaming()) {
            signature.clear();
            signature.put_string(SNAPSHOT_SIGNATURE);
            handler.step_stream(&signature, sh);
        }
    }
}
