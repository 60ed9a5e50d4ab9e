//! From a request to a transaction: judged against the tree as it will be once everything proposed
//! is applied.
//!
//! Knows: the leader's half of every write: checks in ZooKeeper's order, sequence names, versions,
//! the digest of the tree to come. Refuses to know: quorums, connections, and whether a session
//! lives (the caller says so in [`Ask::refuse`]). Nothing here changes the database.

mod changes;
#[cfg(test)]
pub(crate) mod lab;
mod writes;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::config::Rules;
use crate::database::Database;
use crate::ids::{SessionId, Zxid};
use crate::limits::{Limit, ZNODE_BYTES};
use crate::mutants::Mutants;
use crate::quota::Excess;
use crate::time::WallMs;
use crate::tree::StoredStat;
use crate::wire::client::Request;
use crate::wire::records::{ErrorCode, Id, op};
use crate::wire::txn::{Txn, TxnHeader, TxnRecord};

use changes::Changes;
use writes::Writer;

/// A write that somebody asks for, and what it gets: zxid and time.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub session: SessionId,
    pub cxid: i32,
    /// See [`op`]. `DELETE_CONTAINER` is the sweeper's, which is no session (0): it is not checked
    /// against any access list, and its body is the bare path.
    pub op: i32,
    /// The request after its header. Any bytes are survived.
    pub body: &'a [u8],
    /// Whom the connection was proven to be when the request arrived.
    pub identities: &'a [Id],
    pub zxid: Zxid,
    pub time: WallMs,
    /// The leader's judgement of the session.
    pub refuse: Option<Refusal>,
}

/// What a session may not do, and the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Anything: `SessionExpired` or `SessionMoved`.
    Everything(ErrorCode),
    /// It is local and may own no nodes: `EphemeralOnLocalSession`, or `SessionExpired` where only
    /// its own server knows why.
    Ephemerals(ErrorCode),
}

/// What was proposed and is not applied yet: the difference between the database and the tree that
/// the next write meets.
#[derive(Debug)]
pub struct Outstanding {
    changes: Changes,
    rules: Rules,
    excesses: Vec<Excess>,
    /// The limit by which the last write was refused.
    refusal: Option<Limit>,
    /// Memory that each proposed record may take, oldest first, and the sum.
    proposed: VecDeque<(Zxid, u64)>,
    proposed_bytes: u64,
    mutants: Mutants,
}

impl Outstanding {
    pub fn new(rules: &Rules, mutants: Mutants) -> Self {
        Self {
            changes: Changes::default(),
            rules: rules.clone(),
            excesses: Vec::new(),
            refusal: None,
            proposed: VecDeque::new(),
            proposed_bytes: 0,
            mutants,
        }
    }

    /// Judges a write and appends its whole record to `out`: header, body, digest of the tree
    /// after it. A refused write becomes an error transaction, which takes its zxid too; a multi
    /// of which one operation is refused keeps its kind, and the results stand in its body.
    ///
    /// Zxids must rise from call to call and be above what `db` has applied.
    pub fn prepare(&mut self, db: &Database, ask: &Ask<'_>, out: &mut Vec<u8>) {
        assert!(
            ask.zxid > db.applied(),
            "proposes {} after it was applied",
            ask.zxid
        );
        self.changes.begin(db, ask.zxid);
        let start = out.len();
        let (kind, txn) = match self.judge(db, ask) {
            Ok(txn) => (ask.op, txn),
            Err(error) => (op::ERROR, Txn::Error { code: error.code() }),
        };
        let header = TxnHeader {
            session: ask.session,
            cxid: ask.cxid,
            zxid: ask.zxid,
            time: ask.time,
            kind,
        };
        TxnRecord {
            header,
            txn,
            digest: Some(self.changes.digest()),
        }
        .encode(out);
        let bytes = (out.len() - start) as u64 + ZNODE_BYTES;
        self.proposed.push_back((ask.zxid, bytes));
        self.proposed_bytes += bytes;
    }

    fn judge<'a>(&mut self, db: &Database, ask: &Ask<'a>) -> Result<Txn<'a>, ErrorCode> {
        // Another server takes longer frames than this one: its clients are told so by the leader,
        // whose limit is the ensemble's.
        let (bytes, max) = (ask.body.len(), self.rules.frame_bytes_max);
        if bytes > max {
            self.refusal = Some(Limit::Frame { bytes, max });
            return Err(ErrorCode::MarshallingError);
        }
        let mut writer = Writer {
            changes: &mut self.changes,
            db,
            ask,
            rules: &self.rules,
            excesses: &mut self.excesses,
            refusal: &mut self.refusal,
            proposed_bytes: self.proposed_bytes,
            mutants: self.mutants,
            in_multi: false,
        };
        match ask.op {
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {}
            op::DELETE | op::SET_DATA | op::SET_ACL | op::MULTI | op::CREATE_SESSION => {}
            op::CLOSE_SESSION => return writer.close_session(),
            // From a session it would pass by every access list; ZooKeeper lets it.
            op::DELETE_CONTAINER if ask.session == SessionId::NOBODY => {
                return writer.delete_container();
            }
            op::RECONFIG => return Err(ErrorCode::ReconfigDisabled),
            _ => return Err(ErrorCode::Unimplemented),
        }
        let request = Request::decode(ask.op, ask.body).map_err(|_| ErrorCode::MarshallingError)?;
        match request {
            Request::Multi(ops) => writer.multi(ops),
            Request::SetAcl { path, acl, version } => writer.set_acl(path, acl, version),
            Request::CreateSession { timeout_ms } => writer.create_session(timeout_ms),
            single => writer.write(single),
        }
    }

    /// Forgets what a transaction changed, because it has been applied to the database.
    pub fn retire(&mut self, zxid: Zxid) {
        self.changes.retire(zxid);
        while let Some((front, bytes)) = self.proposed.front()
            && *front <= zxid
        {
            self.proposed_bytes -= bytes;
            self.proposed.pop_front();
        }
    }

    /// Forgets everything: the proposals of this reign are somebody else's business now.
    pub fn clear(&mut self) {
        self.changes = Changes::default();
        self.proposed.clear();
        self.proposed_bytes = 0;
    }

    /// Writes beyond a quota since this was last asked, refused or not.
    pub fn take_excesses(&mut self) -> Vec<Excess> {
        core::mem::take(&mut self.excesses)
    }

    /// The limit that refused a write since this was last asked.
    pub fn take_refusal(&mut self) -> Option<Limit> {
        self.refusal.take()
    }

    /// Stat and number of children of a node as the next write meets it.
    pub(crate) fn node(&self, db: &Database, path: &str) -> Option<(StoredStat, usize)> {
        let node = self.changes.get(db, path)?;
        Some((node.stat, node.children))
    }

    /// Is the tree that the next write meets the database itself?
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

#[cfg(test)]
mod tests;
