//! Rule `committed-prefix`: all servers deliver the same transactions in the same order, by zxid
//! and by bytes, without holes (ZAB: total order, agreement, integrity, primary integrity; TLA+:
//! `PrefixConsistency`, `Agreement`, `TotalOrder`, `Integrity`). Rule `commit-lost`: what was
//! delivered anywhere is in the history of every later leader (ZAB: the delivered is in the initial
//! history of each later epoch; TLA+: `PrimaryIntegrity`).
//!
//! One canonical history is kept. What counts as delivered: all that a server has applied at the
//! moment when it is in broadcast (see `View::is_broadcasting`), and what it showed to a client.
//! What a server recovers from its disk or applies while it synchronizes is only remembered, and
//! claimed when it gets that far, because logged is not committed. Sound because an established
//! leader's initial history is committed by the quorum that acknowledged NEWLEADER, and a learner
//! is told UPTODATE only afterwards.

use std::collections::BTreeMap;

use bytes::Bytes;
use vivarium_core::ids::{Epoch, ServerId, Zxid};
use vivarium_core::log::LogEntry;

use super::view::LogMove;

pub const RULE: &str = "committed-prefix";
pub const RULE_LOST: &str = "commit-lost";

/// A rule's name and the evidence.
pub type Broken = (&'static str, String);

#[derive(Clone, Debug)]
struct Proposal {
    hash: u64,
    record: Bytes,
    /// What stands before it in every log that has it, once one was seen.
    before: Option<Zxid>,
}

/// One server's history as far as it follows from its effects.
#[derive(Clone, Default, Debug)]
struct Track {
    /// All before and including this came with a snapshot.
    base: Zxid,
    /// Given to the log after `base`.
    log: Vec<Zxid>,
    /// `base` and `log` before the last cut, should a crash undo it.
    before_cut: (Zxid, Vec<Zxid>),
    /// Length of the canonical prefix that this server's tree was found to hold.
    position: usize,
    /// Applied after that, not claimed yet.
    tail: Vec<Zxid>,
}

/// The canonical history and every server's relation to it.
#[derive(Clone, Default, Debug)]
pub struct Prefix {
    /// Rising zxids with the hash of their bytes.
    canon: Vec<(Zxid, u64)>,
    /// Seen in a log, not committed, by zxid.
    proposals: BTreeMap<Zxid, Proposal>,
    servers: BTreeMap<ServerId, Track>,
    /// Newest zxid in any log.
    proposed: Zxid,
}

/// Spreads bytes over 64 bits, eight at a time; only compared within one run.
fn hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut h = bytes.len() as u64 ^ K;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.iter().fold(0, |w, b| (w << 8) | u64::from(*b));
        h = (h ^ word).wrapping_mul(K).rotate_left(29);
    }
    for byte in chunks.remainder() {
        h = (h ^ u64::from(*byte)).wrapping_mul(K).rotate_left(29);
    }
    h ^ (h >> 32)
}

impl Prefix {
    /// Newest committed zxid.
    pub fn last(&self) -> Zxid {
        self.canon.last().map_or(Zxid::ZERO, |c| c.0)
    }

    /// The committed transaction at this position, counted from 0.
    pub fn at(&self, position: usize) -> Zxid {
        self.canon[position].0
    }

    /// Newest zxid that was ever given to a log.
    pub fn proposed(&self) -> Zxid {
        self.proposed
    }

    /// How many committed transactions are not after `zxid`.
    pub fn position_of(&self, zxid: Zxid) -> usize {
        if zxid >= self.last() {
            return self.canon.len();
        }
        self.canon.partition_point(|c| c.0 <= zxid)
    }

    /// Is this the zxid of a committed transaction, or the start of an epoch?
    pub fn is_committed(&self, zxid: Zxid) -> bool {
        let held = self.position_of(zxid).checked_sub(1);
        zxid.counter() == 0 || held.is_some_and(|last| self.at(last) == zxid)
    }

    /// How much of the canonical history this server holds for sure.
    pub fn held_by(&self, id: ServerId) -> usize {
        self.servers.get(&id).map_or(0, |track| track.position)
    }

    /// The log of a server after its snapshot, as given to the disk, and that snapshot's zxid.
    pub fn log_of(&self, id: ServerId) -> (Zxid, &[Zxid]) {
        self.servers
            .get(&id)
            .map_or((Zxid::ZERO, &[]), |track| (track.base, &track.log))
    }

    /// The same zxid always has the same bytes.
    fn know(&mut self, zxid: Zxid, record: &Bytes) -> Result<(), String> {
        let new = hash(record);
        let at = self.position_of(zxid);
        let old = match at.checked_sub(1).map(|i| self.canon[i]) {
            Some((z, hash)) if z == zxid => hash,
            _ => {
                let proposal = || Proposal {
                    hash: new,
                    record: record.clone(),
                    before: None,
                };
                self.proposals.entry(zxid).or_insert_with(proposal).hash
            }
        };
        if old == new {
            Ok(())
        } else {
            Err(format!("two different transactions are {zxid}"))
        }
    }

    /// A server's log changes.
    pub fn log_moved(&mut self, id: ServerId, step: &LogMove) -> Result<(), Broken> {
        match step {
            LogMove::Append { zxid, record } => {
                self.proposed = self.proposed.max(*zxid);
                self.know(*zxid, record)
                    .map_err(|e| (RULE, format!("server {id}: {e}")))?;
                let track = self.servers.entry(id).or_default();
                let last = track.log.last().copied().unwrap_or(track.base);
                if *zxid <= last {
                    let what = format!("server {id} logs {zxid} after {last}");
                    return Err((RULE, what));
                }
                track.log.push(*zxid);
                if let Some(proposal) = self.proposals.get_mut(zxid) {
                    proposal.before.get_or_insert(last);
                }
            }
            LogMove::Truncate { after } => self.truncated(id, *after),
            LogMove::InstallBegun { zxid } => self.truncated(id, *zxid),
            LogMove::Installed { zxid } => {
                let position = self.position_of(*zxid);
                let track = self.servers.entry(id).or_default();
                track.base = *zxid;
                track.log.retain(|z| z > zxid);
                track.tail.retain(|z| z > zxid);
                track.position = position;
            }
        }
        Ok(())
    }

    /// A learner may be told to drop what its leader has not committed yet, and the leader may
    /// commit it by other votes before the learner gets it back: that a cut takes something
    /// committed from a quorum is judged where platters are counted.
    fn truncated(&mut self, id: ServerId, after: Zxid) {
        let position = self.position_of(after);
        let track = self.servers.entry(id).or_default();
        let cut = track.log.partition_point(|z| *z <= after);
        track.before_cut = (track.base, track.log.clone());
        track.log.truncate(cut);
        track.tail.retain(|z| *z <= after);
        track.position = track.position.min(position);
    }

    /// Committed after `zxid`, oldest first.
    pub fn committed_after(&self, zxid: Zxid) -> impl Iterator<Item = Zxid> + '_ {
        self.canon[self.position_of(zxid)..].iter().map(|c| c.0)
    }

    /// A server applies a transaction to its tree. One that it had applied before means that the
    /// tree was read again from the disk in this turn (a tree takes zxids only upwards); what
    /// follows must fit the canonical history again.
    pub fn applied(&mut self, id: ServerId, entry: &LogEntry) -> Result<(), Broken> {
        let zxid = entry.zxid;
        self.know(zxid, &entry.record)
            .map_err(|e| (RULE, format!("server {id}: {e}")))?;
        let before = self.position_of(Zxid(zxid.0 - 1));
        let track = self.servers.entry(id).or_default();
        track.position = track.position.min(before);
        let keep = track.tail.partition_point(|z| *z < zxid);
        track.tail.truncate(keep);
        track.tail.push(zxid);
        Ok(())
    }

    /// After a turn: the zxid that the server says it has applied. Less than before means that
    /// the tree was read again after a cut, more that the log's tail was taken over.
    pub fn settled(&mut self, id: ServerId, applied: Zxid) {
        let (at_applied, at_base) = (self.position_of(applied), {
            let base = self.servers.entry(id).or_default().base;
            self.position_of(base)
        });
        let Some(track) = self.servers.get_mut(&id) else {
            return;
        };
        if applied >= track.base {
            let base = track.base;
            track.position = track.position.max(at_base);
            track.tail.retain(|z| *z > base);
        }
        let held = track
            .position
            .checked_sub(1)
            .map_or(Zxid::ZERO, |i| self.canon[i].0);
        let last = track
            .tail
            .last()
            .copied()
            .unwrap_or_else(|| held.max(track.base));
        if applied < last {
            track.tail.retain(|z| *z <= applied);
            track.position = track.position.min(at_applied);
        } else if applied > last {
            let from = track.log.partition_point(|z| *z <= last);
            let upto = track.log.partition_point(|z| *z <= applied);
            track.tail.extend_from_slice(&track.log[from..upto]);
        }
    }

    /// A snapshot that nobody delivered before is: of the history of a leader that brought it to
    /// others and was never established, until one of those was. Its transactions are known from
    /// that leader's log.
    fn claim_snapshot(
        &mut self,
        id: ServerId,
        base: Zxid,
        new: &mut Vec<(Zxid, Bytes)>,
    ) -> Result<(), Broken> {
        let last = self.last();
        let mut way = Vec::new();
        let mut at = base;
        while at > last {
            way.push(at);
            at = match self.proposals.get(&at).and_then(|p| p.before) {
                Some(before) => before,
                None => {
                    let what = format!("server {id} serves a snapshot of {base}, not committed");
                    return Err((RULE, what));
                }
            };
        }
        if !way.is_empty() && at != last {
            let what = format!("server {id} serves a snapshot of {base}, which leaves {last} out");
            return Err((RULE, what));
        }
        for zxid in way.into_iter().rev() {
            let known = self.proposals.remove(&zxid).expect("seen on the way");
            self.canon.push((zxid, known.hash));
            new.push((zxid, known.record));
        }
        let position = self.position_of(base);
        if let Some(track) = self.servers.get_mut(&id) {
            track.position = track.position.max(position);
        }
        Ok(())
    }

    /// All that the server has applied, up to `upto`, is committed: compares it with the canonical
    /// history and appends what is new there to `new`.
    pub fn claim(
        &mut self,
        id: ServerId,
        upto: Zxid,
        new: &mut Vec<(Zxid, Bytes)>,
    ) -> Result<(), Broken> {
        let Some(track) = self.servers.get_mut(&id) else {
            return Ok(());
        };
        let base = track.base;
        self.claim_snapshot(id, base, new)?;
        let Some(track) = self.servers.get_mut(&id) else {
            return Ok(());
        };
        let count = track.tail.partition_point(|z| *z <= upto);
        for zxid in track.tail.drain(..count) {
            if let Some((next, _)) = self.canon.get(track.position) {
                if *next != zxid {
                    let what = format!("server {id} delivers {zxid} where others have {next}");
                    return Err((RULE, what));
                }
            } else {
                let last = self.canon.last().map_or(Zxid::ZERO, |c| c.0);
                if !follows(last, zxid) {
                    let what = format!("server {id} delivers {zxid} right after {last}");
                    return Err((RULE, what));
                }
                let Some(known) = self.proposals.remove(&zxid) else {
                    let what = format!("server {id} delivers {zxid}, which nobody proposed");
                    return Err((RULE, what));
                };
                self.canon.push((zxid, known.hash));
                new.push((zxid, known.record));
            }
            track.position += 1;
        }
        Ok(())
    }

    /// A leader is established in this epoch: it must hold everything that was ever committed
    /// before. It may be late, and later leaders have reigned meanwhile.
    pub fn leads(&self, id: ServerId, epoch: Epoch) -> Result<(), Broken> {
        let held = self.held_by(id);
        match self.canon.get(held) {
            Some((missing, _)) if missing.epoch() >= epoch => Ok(()),
            None => Ok(()),
            Some((missing, _)) => Err((
                RULE_LOST,
                format!("leader {id} is established without {missing}"),
            )),
        }
    }

    /// A server starts with what its disk gave back.
    pub fn restarted(&mut self, id: ServerId, applied: Zxid) {
        let track = self.servers.entry(id).or_default();
        let known =
            |base: Zxid, log: &[Zxid]| base == applied || log.binary_search(&applied).is_ok();
        if !known(track.base, &track.log) {
            let (base, log) = std::mem::take(&mut track.before_cut);
            if known(base, &log) {
                (track.base, track.log) = (base, log);
            } else {
                (track.base, track.log) = (applied, Vec::new());
            }
        }
        let keep = track.log.partition_point(|z| *z <= applied);
        track.log.truncate(keep);
        track.tail = track.log.clone();
        let base = track.base;
        let position = self.position_of(base);
        if let Some(track) = self.servers.get_mut(&id) {
            track.position = position;
        }
    }
}

/// Within an epoch zxids are consecutive; an epoch starts at 1.
fn follows(last: Zxid, next: Zxid) -> bool {
    if last.epoch() == next.epoch() {
        return last.counter().checked_add(1) == Some(next.counter());
    }
    next.epoch() > last.epoch() && next.counter() == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    const A: ServerId = ServerId(1);
    const B: ServerId = ServerId(2);

    fn z(epoch: i64, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    fn record(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn log(p: &mut Prefix, id: ServerId, zxid: Zxid, text: &'static str) -> Result<(), Broken> {
        p.log_moved(
            id,
            &LogMove::Append {
                zxid,
                record: record(text),
            },
        )
    }

    fn apply(p: &mut Prefix, id: ServerId, zxid: Zxid, text: &'static str) -> Result<(), Broken> {
        p.applied(
            id,
            &LogEntry {
                zxid,
                record: record(text),
            },
        )
    }

    fn claim(p: &mut Prefix, id: ServerId) -> Result<usize, Broken> {
        let mut new = Vec::new();
        p.claim(id, Zxid(i64::MAX), &mut new)?;
        Ok(new.len())
    }

    /// Both servers log and apply (1,1) and (1,2).
    fn agreed() -> Prefix {
        let mut p = Prefix::default();
        for id in [A, B] {
            for n in 1..=2 {
                log(&mut p, id, z(1, n), "t").unwrap();
                apply(&mut p, id, z(1, n), "t").unwrap();
            }
            p.settled(id, z(1, 2));
        }
        assert_eq!(claim(&mut p, A), Ok(2));
        assert_eq!(claim(&mut p, B), Ok(0));
        p
    }

    #[test]
    fn equal_histories_pass() {
        let p = agreed();
        assert_eq!((p.position_of(z(9, 9)), p.last()), (2, z(1, 2)));
        assert!(p.leads(A, Epoch(9)).is_ok() && p.leads(B, Epoch(9)).is_ok());
    }

    #[test]
    fn other_bytes_fire() {
        let mut p = agreed();
        log(&mut p, A, z(1, 3), "x").unwrap();
        assert_eq!(log(&mut p, B, z(1, 3), "y").unwrap_err().0, RULE);
        assert_eq!(log(&mut p, B, z(1, 1), "t").unwrap_err().0, RULE);
    }

    #[test]
    fn holes_and_disorder_fire() {
        let mut p = agreed();
        apply(&mut p, A, z(1, 4), "t").unwrap();
        assert_eq!(claim(&mut p, A).unwrap_err().0, RULE);
        let mut p = agreed();
        apply(&mut p, A, z(1, 3), "t").unwrap();
        claim(&mut p, A).unwrap();
        apply(&mut p, B, z(2, 1), "t").unwrap();
        assert_eq!(claim(&mut p, B).unwrap_err().0, RULE);
    }

    #[test]
    fn a_tree_that_is_read_again_passes_and_a_swapped_order_fires() {
        let mut p = agreed();
        apply(&mut p, B, z(1, 2), "t").unwrap();
        apply(&mut p, B, z(1, 3), "t").unwrap();
        assert_eq!(claim(&mut p, B), Ok(1));
        for n in [5, 4, 6] {
            apply(&mut p, B, z(1, n), "t").unwrap();
        }
        assert_eq!(claim(&mut p, B).unwrap_err().0, RULE);
    }

    #[test]
    fn a_logged_tail_that_is_cut_is_no_crime() {
        let mut p = agreed();
        log(&mut p, B, z(1, 3), "t").unwrap();
        p.restarted(B, z(1, 3));
        p.log_moved(B, &LogMove::Truncate { after: z(1, 2) })
            .unwrap();
        p.settled(B, z(1, 2));
        log(&mut p, A, z(2, 1), "u").unwrap();
        apply(&mut p, A, z(2, 1), "u").unwrap();
        assert_eq!(claim(&mut p, A), Ok(1));
        log(&mut p, B, z(2, 1), "u").unwrap();
        apply(&mut p, B, z(2, 1), "u").unwrap();
        assert_eq!(claim(&mut p, B), Ok(0));
    }

    #[test]
    fn a_tail_that_should_have_been_cut_fires() {
        let mut p = agreed();
        log(&mut p, B, z(1, 3), "t").unwrap();
        p.restarted(B, z(1, 3));
        log(&mut p, A, z(2, 1), "u").unwrap();
        apply(&mut p, A, z(2, 1), "u").unwrap();
        claim(&mut p, A).unwrap();
        log(&mut p, B, z(2, 1), "u").unwrap();
        apply(&mut p, B, z(2, 1), "u").unwrap();
        assert_eq!(claim(&mut p, B).unwrap_err().0, RULE);
    }

    #[test]
    fn what_is_committed_after_a_cut_is_known() {
        let p = agreed();
        let after: Vec<Zxid> = p.committed_after(z(1, 1)).collect();
        assert_eq!(after, [z(1, 2)]);
    }

    #[test]
    fn a_leader_without_a_committed_transaction_fires() {
        let mut p = agreed();
        p.restarted(B, z(1, 1));
        claim(&mut p, B).unwrap();
        assert_eq!(p.leads(B, Epoch(9)).unwrap_err().0, RULE_LOST);
    }

    #[test]
    fn a_recovered_tail_becomes_committed_with_its_leader() {
        let mut p = agreed();
        log(&mut p, B, z(1, 3), "t").unwrap();
        p.restarted(B, z(1, 3));
        p.settled(B, z(1, 3));
        assert_eq!(claim(&mut p, B), Ok(1));
        assert!(p.leads(B, Epoch(9)).is_ok());
        assert!(p.leads(A, Epoch(9)).is_err());
    }

    #[test]
    fn a_snapshot_stands_for_all_before_it() {
        let mut p = agreed();
        let c = ServerId(3);
        p.log_moved(c, &LogMove::Installed { zxid: z(1, 2) })
            .unwrap();
        p.settled(c, z(1, 2));
        apply(&mut p, c, z(1, 3), "t").unwrap();
        assert_eq!(claim(&mut p, c), Ok(1));
        let mut p = agreed();
        p.log_moved(c, &LogMove::Installed { zxid: z(1, 9) })
            .unwrap();
        assert_eq!(claim(&mut p, c).unwrap_err().0, RULE);
    }
}
