//! Serving behind a leader: proposals are logged and acknowledged, commits applied, requests of
//! our clients passed on.

use alloc::vec::Vec;

use super::synchronize::entry_of;
use super::{Learner, Stage};
use crate::boundary::{CloseReason, Fault};
use crate::durable::{Logged, Persisted};
use crate::ids::{LinkId, Zxid};
use crate::log::LogEntry;
use crate::mutants::Mutant;
use crate::pipeline::Upstream;
use crate::shared::Shared;
use crate::wire::quorum::{
    Forwarded, NO_ZXID, PING_NO_WRITES, QuorumPacket, Revalidated, SessionTouch, packet,
};
use crate::wire::records::op;
use crate::zab::Trouble;

impl Learner {
    pub(super) fn on_serving_packet(
        &mut self,
        packet: &QuorumPacket<'_>,
        sh: &mut Shared,
    ) -> Result<(), Trouble> {
        match packet.kind {
            packet::PROPOSAL if !self.observer => {
                let entry = entry_of(packet, sh.last_logged())?;
                self.log_proposal(entry, sh);
            }
            packet::COMMIT if !self.observer => self.on_commit(packet.zxid, sh),
            packet::INFORM => {
                let entry = entry_of(packet, sh.last_logged())?;
                self.log_proposal(entry, sh);
                let _ = sh.commit_next();
            }
            packet::PING => {
                let is_deaf = sh.config.mutants.has(Mutant::RefusedForEver);
                let stays = is_deaf && !sh.clients.takes_writes();
                sh.set_takes_writes(!stays && packet.data != Some(PING_NO_WRITES));
                self.on_ping(packet.zxid, sh);
            }
            packet::REVALIDATE => {
                let answer = packet.data.and_then(|data| Revalidated::decode(data).ok());
                let malformed = Trouble::Close(CloseReason::PeerMalformed("REVALIDATE"));
                let Revalidated { session, valid } = answer.ok_or(malformed)?;
                let (clients, mut serving) = sh.serving();
                clients.on_revalidated(session, valid, &mut serving);
            }
            packet::SYNC => {
                let (clients, mut serving) = sh.serving();
                clients.on_synced(&mut serving);
            }
            // As in Java, what is late or not meant for this role is passed over.
            _ => {}
        }
        Ok(())
    }

    pub(super) fn log_proposal(&mut self, entry: LogEntry, sh: &mut Shared) {
        assert!(
            matches!(self.stage, Stage::Serving { .. }),
            "votes are cast in a reign only"
        );
        let zxid = entry.zxid;
        sh.append(entry);
        if sh.config.mutants.has(Mutant::AckBeforeSync) {
            self.ack_proposal(Persisted::forged(Logged(zxid)), sh);
        }
        if core::mem::take(&mut sh.has_stale_commit) {
            let _ = sh.commit_next();
        }
    }

    /// Must be the oldest of what we have logged; a leader that commits something else has another
    /// history than ours, and going on would fork ours from everybody's.
    fn on_commit(&mut self, zxid: Zxid, sh: &mut Shared) {
        if sh.config.mutants.has(Mutant::CommitOfOldEpoch) && zxid <= sh.db.applied() {
            return;
        }
        let expected = sh.tail.front().map(|e| e.zxid);
        if expected != Some(zxid) {
            sh.halt(Fault::CommitMismatch {
                expected,
                committed: zxid,
            });
            return;
        }
        let _ = sh.commit_next();
    }

    /// Tells the leader which sessions were heard of since its last ping.
    fn on_ping(&mut self, zxid: Zxid, sh: &mut Shared) {
        let mut data = Vec::new();
        for (session, timeout_ms) in sh.clients.take_touched() {
            SessionTouch {
                session,
                timeout_ms,
            }
            .encode(&mut data);
        }
        if sh.disk.is_low {
            SessionTouch::NO_ROOM.encode(&mut data);
        }
        let packet = QuorumPacket::with_data(packet::PING, zxid, &data);
        if let Some(link) = self.link {
            sh.send(link, |out| packet.encode(out));
        }
    }

    /// Requests of our clients that only the leader can decide.
    pub(crate) fn handle_upstream(&mut self, item: Upstream, sh: &mut Shared) {
        let Some(link) = self.link else { return };
        match item {
            Upstream::Request {
                session,
                scope: _,
                cxid,
                op,
                body,
                identities,
            } => {
                let mut data = Vec::new();
                Forwarded {
                    session,
                    cxid,
                    op,
                    body: &body,
                }
                .encode(&mut data);
                let own = matches!(op, op::CREATE_SESSION | op::CLOSE_SESSION);
                let packet = QuorumPacket {
                    kind: packet::REQUEST,
                    zxid: NO_ZXID,
                    data: Some(&data),
                    authinfo: (!own).then(|| identities.to_vec()),
                };
                sh.send(link, |out| packet.encode(out));
            }
            Upstream::Revalidate {
                session,
                timeout_ms,
            } => {
                Self::ask_revalidation(
                    link,
                    SessionTouch {
                        session,
                        timeout_ms,
                    },
                    sh,
                );
            }
        }
    }

    fn ask_revalidation(link: LinkId, touch: SessionTouch, sh: &mut Shared) {
        let mut data = Vec::new();
        touch.encode(&mut data);
        let packet = QuorumPacket::with_data(packet::REVALIDATE, NO_ZXID, &data);
        sh.send(link, |out| packet.encode(out));
    }
}
