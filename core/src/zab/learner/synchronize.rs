//! Receiving the leader's history: DIFF, TRUNC or SNAP, then transactions, then NEWLEADER; and
//! what arrives between NEWLEADER and UPTODATE, which only waits.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use bytes::Bytes;

use super::{Learner, Stage};
use crate::boundary::{CloseReason, Event, SnapshotStep, WriteOp};
use crate::durable::{Current, Persisted};
use crate::ids::{Epoch, WriteSeq, Zxid};
use crate::limits::SNAPSHOT_UNSTORED_BYTES_MAX;
use crate::log::LogEntry;
use crate::mutants::Mutant;
use crate::shared::Shared;
use crate::snapshot::SnapshotLoader;
use crate::wire::jute::{DecodeError, Reader};
use crate::wire::quorum::{QuorumPacket, packet};
use crate::wire::txn::TxnRecord;
use crate::zab::Trouble;
use crate::zab::leader::SNAPSHOT_SIGNATURE;

const fn misbehaved(rule: &'static str) -> Trouble {
    Trouble::Close(CloseReason::PeerMisbehaved(rule))
}

/// A snapshot on its way in.
#[derive(Debug)]
enum Loading {
    /// No snapshot, or it is there.
    No,
    Body(Box<SnapshotLoader>),
    Signature(Box<SnapshotLoader>),
}

/// The synchronization with one leader.
#[derive(Debug)]
pub(super) struct Syncing {
    epoch: Epoch,
    mode: &'static str,
    /// Where the leader's history stood when it sent the mode.
    zxid: Zxid,
    loading: Loading,
    /// The disk has begun to install a snapshot and has not heard the end of it.
    installing: bool,
    /// Pieces of the snapshot that the disk has not taken yet, and their bytes.
    unstored: VecDeque<(WriteSeq, usize)>,
    unstored_bytes: usize,
    /// Received and not given to the log, oldest first; the first `committed` are committed.
    pending: VecDeque<LogEntry>,
    committed: usize,
}

/// A transaction as a leader sends it, checked: it can be decoded and follows the one before.
pub(super) fn entry_of(packet: &QuorumPacket<'_>, last: Zxid) -> Result<LogEntry, Trouble> {
    let data = packet
        .data
        .ok_or(misbehaved("a proposal without a transaction"))?;
    let record = TxnRecord::decode(data).map_err(|_| misbehaved("an unreadable transaction"))?;
    let zxid = packet.zxid;
    if record.header.zxid != zxid {
        return Err(misbehaved("a transaction under a zxid that is not its own"));
    }
    // Within an epoch there are no holes, and an epoch begins with 1.
    let begins = zxid.epoch() > last.epoch() && zxid.counter() == 1;
    if zxid.0 != last.0 + 1 && !begins {
        return Err(misbehaved("a proposal that does not follow the one before"));
    }
    Ok(LogEntry {
        zxid,
        record: Bytes::copy_from_slice(data),
    })
}

impl Syncing {
    fn new(epoch: Epoch, mode: &'static str, zxid: Zxid) -> Self {
        let (loading, pending) = (Loading::No, VecDeque::new());
        Self {
            epoch,
            mode,
            zxid,
            loading,
            installing: false,
            unstored: VecDeque::new(),
            unstored_bytes: 0,
            pending,
            committed: 0,
        }
    }

    pub(super) fn after_trunc(epoch: Epoch, zxid: Zxid) -> Self {
        Self::new(epoch, "TRUNC", zxid)
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn is_loading(&self) -> bool {
        !matches!(self.loading, Loading::No)
    }

    fn last(&self, sh: &Shared) -> Zxid {
        self.pending
            .back()
            .map_or_else(|| sh.last_logged(), |e| e.zxid)
    }

    // ----- snapshot -----

    fn begin_snapshot(epoch: Epoch, zxid: Zxid, sh: &mut Shared) -> Self {
        let loader = SnapshotLoader::new(sh.config.seed, sh.config.mutants);
        sh.write_plain(WriteOp::Install(SnapshotStep::Begin { zxid }));
        let mut syncing = Self::new(epoch, "SNAP", zxid);
        syncing.loading = Loading::Body(Box::new(loader));
        syncing.installing = true;
        syncing
    }

    /// Takes what it can use of the raw stream; 0 means that more must come. The bytes go to the
    /// disk as they are: the stream is the body of a snapshot file.
    pub(super) fn load(&mut self, bytes: &[u8], sh: &mut Shared) -> Result<usize, Trouble> {
        match core::mem::replace(&mut self.loading, Loading::No) {
            Loading::No => unreachable!("the caller has asked"),
            Loading::Body(mut loader) => {
                let fed = loader.feed(bytes);
                let read = fed.map_err(|_| misbehaved("an unreadable snapshot"))?;
                if read > 0 {
                    let chunk = Bytes::copy_from_slice(&bytes[..read]);
                    let seq = sh.write_plain(WriteOp::Install(SnapshotStep::Chunk(chunk)));
                    self.unstored.push_back((seq, read));
                    self.unstored_bytes += read;
                }
                self.loading = if loader.is_complete() {
                    Loading::Signature(loader)
                } else {
                    Loading::Body(loader)
                };
                Ok(read)
            }
            Loading::Signature(loader) => self.finish_snapshot(loader, bytes, sh),
        }
    }

    /// The disk has taken everything up to this write.
    pub(super) fn on_stored(&mut self, upto: WriteSeq) {
        while let Some(&(seq, bytes)) = self.unstored.front()
            && seq <= upto
        {
            self.unstored.pop_front();
            self.unstored_bytes -= bytes;
        }
    }

    /// Does the disk keep up with the snapshot?
    pub(super) fn wants_input(&self) -> bool {
        self.unstored_bytes < SNAPSHOT_UNSTORED_BYTES_MAX
    }

    fn finish_snapshot(
        &mut self,
        loader: Box<SnapshotLoader>,
        bytes: &[u8],
        sh: &mut Shared,
    ) -> Result<usize, Trouble> {
        let mut reader = Reader::new(bytes);
        match reader.string() {
            Ok(Some(text)) if text == SNAPSHOT_SIGNATURE => {}
            Err(DecodeError::Truncated) if bytes.len() < 4 + SNAPSHOT_SIGNATURE.len() => {
                self.loading = Loading::Signature(loader);
                return Ok(0);
            }
            _ => return Err(misbehaved("a snapshot without its signature")),
        }
        let loaded = loader.finish(self.zxid);
        let db = loaded.map_err(|_| misbehaved("a snapshot that contradicts itself"))?;
        let (zxid, digest) = (self.zxid, db.digest());
        sh.write_plain(WriteOp::Install(SnapshotStep::End { zxid, digest }));
        self.installing = false;
        sh.install(db);
        Ok(reader.position())
    }

    /// The leader is lost. What has arrived of a snapshot is forgotten; the old state stands, on
    /// disk and here, until the last piece is there.
    pub(super) fn abandon(self, sh: &mut Shared) {
        if self.installing {
            sh.write_plain(WriteOp::Install(SnapshotStep::Abandon));
        }
    }

    // ----- transactions -----

    /// PROPOSAL, COMMIT and INFORM only collect; whatever else a leader says may be passed over.
    pub(super) fn handle_packet(
        &mut self,
        packet: &QuorumPacket<'_>,
        sh: &Shared,
    ) -> Result<(), Trouble> {
        match packet.kind {
            packet::PROPOSAL => {
                let entry = entry_of(packet, self.last(sh))?;
                self.pending.push_back(entry);
            }
            packet::COMMIT => {
                let next = self.pending.get(self.committed).map(|e| e.zxid);
                if next != Some(packet.zxid) {
                    return Err(misbehaved("a commit of something else than what is next"));
                }
                self.committed += 1;
            }
            packet::INFORM => {
                if self.committed != self.pending.len() {
                    return Err(misbehaved("an observer's transaction behind a proposal"));
                }
                let entry = entry_of(packet, self.last(sh))?;
                self.pending.push_back(entry);
                self.committed += 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives what is committed to the log, and makes it part of our state.
    fn log_committed(&mut self, sh: &mut Shared) {
        for _ in 0..core::mem::take(&mut self.committed) {
            let entry = self
                .pending
                .pop_front()
                .expect("committed entries are pending");
            sh.append(entry);
            sh.apply_synchronized();
        }
    }
}

impl Learner {
    pub(super) fn on_sync_mode(
        &mut self,
        packet: &QuorumPacket<'_>,
        sh: &mut Shared,
    ) -> Result<(), Trouble> {
        let Stage::Promised { epoch } = self.stage else {
            unreachable!("the caller has seen it")
        };
        assert!(
            sh.tail.is_empty(),
            "history is settled before it is compared"
        );
        let zxid = packet.zxid;
        self.stage = match packet.kind {
            packet::DIFF => Stage::Syncing(Box::new(Syncing::new(epoch, "DIFF", zxid))),
            packet::TRUNC => {
                sh.abandon_snapshot();
                let seq = sh.write_plain(WriteOp::Truncate { after: zxid });
                Stage::Reloading { epoch, zxid, seq }
            }
            packet::SNAP => {
                sh.abandon_snapshot();
                Stage::Syncing(Box::new(Syncing::begin_snapshot(epoch, zxid, sh)))
            }
            _ => return Err(misbehaved("neither DIFF nor TRUNC nor SNAP")),
        };
        Ok(())
    }

    pub(super) fn on_sync_packet(
        &mut self,
        packet: &QuorumPacket<'_>,
        sh: &mut Shared,
    ) -> Result<(), Trouble> {
        if packet.kind == packet::NEWLEADER {
            return self.on_new_leader(packet.zxid.epoch(), sh);
        }
        let Stage::Syncing(syncing) = &mut self.stage else {
            unreachable!("the caller has seen it")
        };
        syncing.handle_packet(packet, sh)
    }

    /// Everything committed goes to the log, then the epoch; when both are stable the leader has
    /// our vote (ZOOKEEPER-4643, 4646, 4785: in this order, and not before).
    fn on_new_leader(&mut self, epoch: Epoch, sh: &mut Shared) -> Result<(), Trouble> {
        let stage = core::mem::replace(&mut self.stage, Stage::Introduced);
        let Stage::Syncing(mut syncing) = stage else {
            unreachable!("the caller has seen it")
        };
        if epoch != syncing.epoch {
            return Err(misbehaved("NEWLEADER of another epoch than promised"));
        }
        syncing.log_committed(sh);
        sh.write_current(epoch);
        if sh.config.mutants.has(Mutant::NewLeaderAckBeforeSync) {
            self.stage = Stage::Recording(syncing);
            self.forge_recorded(epoch, sh);
            return Ok(());
        }
        self.stage = Stage::Recording(syncing);
        Ok(())
    }

    fn forge_recorded(&mut self, epoch: Epoch, sh: &mut Shared) {
        self.on_recorded(Persisted::forged(Current(epoch)), sh);
    }

    /// The reign is established: what waited is logged and, as far as committed, applied; clients
    /// are let in.
    pub(super) fn on_up_to_date(&mut self, sh: &mut Shared) -> Result<(), Trouble> {
        let stage = core::mem::replace(&mut self.stage, Stage::Introduced);
        let Stage::Acknowledged(mut syncing) = stage else {
            unreachable!("the caller has seen it")
        };
        let epoch = syncing.epoch;
        syncing.log_committed(sh);
        let mode = syncing.mode;
        self.stage = Stage::Serving { epoch };
        for entry in syncing.pending {
            self.log_proposal(entry, sh);
        }
        let is_forged = sh.config.mutants.has(Mutant::NewLeaderAckBeforeSync);
        assert!(
            sh.current >= epoch || is_forged,
            "the epoch was recorded before its ACK"
        );
        sh.clients.start_serving(epoch.zxid());
        sh.report(Event::Synchronized {
            mode,
            zxid: sh.db.applied(),
        });
        sh.report(Event::Serving {
            epoch,
            zxid: sh.db.applied(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use alloc::vec::Vec;

    use super::*;
    use crate::boundary::Action;
    use crate::config::{Config, Rules};
    use crate::ids::ServerId;
    use crate::mutants::Mutants;
    use crate::recovery::Recovery;
    use crate::time::Now;
    use crate::wire::jute::Write;

    fn shared() -> Shared {
        let config = Config {
            me: ServerId(0),
            members: alloc::collections::BTreeMap::new(),
            tick: Duration::from_secs(2),
            init_limit: 10,
            sync_limit: 5,
            session_timeout_min: Duration::from_secs(4),
            session_timeout_max: Duration::from_secs(40),
            snap_count: 100,
            seed: 1,
            rules: Rules::default(),
            mutants: Mutants::NONE,
        };
        let found = Recovery::fresh(1, Mutants::NONE).finish(Epoch(0), Epoch(0));
        Shared::boot(config, found, Now::default())
    }

    /// Otherwise the disk would take the next transaction for a part of the snapshot.
    #[test]
    fn an_unreadable_snapshot_is_abandoned_on_disk() {
        let mut sh = shared();
        let mut syncing = Syncing::begin_snapshot(Epoch(1), Zxid(5), &mut sh);
        assert!(syncing.load(&[0xff; 64], &mut sh).is_err());
        syncing.abandon(&mut sh);
        let last = sh.out.actions().last();
        let Some(Action::Write { op, .. }) = last else {
            panic!("{last:?}")
        };
        assert!(
            matches!(op, WriteOp::Install(SnapshotStep::Abandon)),
            "{op:?}"
        );
    }

    /// What a snapshot holds of this server's memory beside the tree that it becomes is bounded, as
    /// long as the driver reads only when it may.
    #[test]
    fn a_disk_that_is_slower_than_the_leader_stops_the_reading() {
        let mut sh = shared();
        let mut syncing = Syncing::begin_snapshot(Epoch(1), Zxid(5), &mut sh);
        // No sessions, no access lists, the root, and then a node of 64 KiB for ever.
        let mut head = alloc::vec![0; 8];
        let node = |path: &str, data: &[u8]| {
            let mut out = Vec::new();
            out.put_string(path);
            out.put_buffer(Some(data));
            out.put_i64(-1);
            out.extend_from_slice(&[0; 60]);
            out
        };
        head.extend(node("", b""));
        assert_eq!(syncing.load(&head, &mut sh).ok(), Some(head.len()));
        let mut read = 0;
        for number in 0.. {
            if !syncing.wants_input() {
                break;
            }
            let bytes = node(&alloc::format!("/n{number}"), &[7; 64 << 10]);
            read += bytes.len();
            assert_eq!(syncing.load(&bytes, &mut sh).ok(), Some(bytes.len()));
            assert!(read <= SNAPSHOT_UNSTORED_BYTES_MAX + bytes.len(), "{read}");
        }
        assert!(read >= SNAPSHOT_UNSTORED_BYTES_MAX - head.len());
        // The first pieces are on the disk: there is room for as much again.
        let first = syncing.unstored[1].0;
        syncing.on_stored(first);
        assert!(syncing.wants_input());
        syncing.on_stored(WriteSeq(u64::MAX));
        assert_eq!(syncing.unstored_bytes, 0);
    }
}
