//! The replicated state: znode tree, sessions, and the zxid up to which it was applied.
//!
//! Changes only by committed transactions, the same on every server. Knows nothing of who is
//! connected, of proposals, or of permissions: what is committed was checked by the leader.

mod apply;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::ids::{SessionId, Zxid};
use crate::mutants::{Mutant, Mutants};
use crate::quota::Quotas;
pub use crate::tree::{AclList, WalkId, Walked};
use crate::tree::{StoredStat, Tree};
use crate::wire::jute::Write;
use crate::wire::records::{Acl, Stat, perms};
use crate::wire::txn::TxnRecord;

/// Path of the node that shows the ensemble's configuration.
pub const CONFIG_NODE: &str = "/zookeeper/config";

/// Tree, sessions, and how far they are.
#[derive(Clone, Debug)]
pub struct Database {
    tree: Tree,
    /// Timeouts in milliseconds.
    sessions: BTreeMap<SessionId, i32>,
    quotas: Quotas,
    applied: Zxid,
    mutants: Mutants,
    /// Only with [`Mutant::SnapshotWithoutLastTxn`]: a walk over the state before the last
    /// transaction.
    shadow: Option<WalkId>,
}

/// What a transaction came to, for the reply to whoever asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// An error code; 0 for the operations of a failed multi before the failure.
    Error(i32),
    Created {
        path: String,
        stat: Stat,
    },
    Deleted,
    DataSet {
        stat: Stat,
    },
    AclSet {
        stat: Stat,
    },
    Checked,
    /// Type and outcome of each operation, in order; all types are -1 in a failed multi.
    Multi(Vec<(i32, Self)>),
    SessionCreated,
    SessionClosed,
}

/// What happened to a node, for watches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ChangeKind {
    Created,
    /// Followed by the parent's `ChildrenChanged`.
    Deleted,
    DataChanged,
    ChildrenChanged,
}

/// One thing that watches may wait for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub kind: ChangeKind,
    /// Of the node that changed; for `ChildrenChanged` the parent.
    pub path: String,
    /// Who may know of it: the new node's ACL, the deleted node's last one, else the node's own.
    pub acl: AclList,
}

impl Database {
    /// A fresh one: the root, `/zookeeper`, `/zookeeper/quota`, `/zookeeper/config`. `seed` keys
    /// the hash of paths and has no visible effect.
    pub fn new(seed: u64, mutants: Mutants) -> Self {
        let mut tree = Tree::bare(seed);
        for (path, parent) in [("/zookeeper", ""), ("/zookeeper/quota", "/zookeeper")] {
            let parent = tree.locate(parent).expect("parents come first");
            let name = path.rsplit('/').next().expect("split gives one");
            let acl = tree.retain_acl(&[Acl::world(perms::ALL)]);
            tree.insert(
                parent,
                (path, name),
                Some(b""),
                acl,
                StoredStat::primordial(),
            );
        }
        let mut database = Self::with_tree(tree, BTreeMap::new(), Zxid::ZERO, mutants);
        database.add_config_node();
        database
    }

    /// From the parts of a snapshot. What quotas say of their use is written anew: ZooKeeper writes
    /// snapshots while its tree changes.
    pub(crate) fn with_tree(
        mut tree: Tree,
        sessions: BTreeMap<SessionId, i32>,
        applied: Zxid,
        mutants: Mutants,
    ) -> Self {
        let quotas = Quotas::load(&mut tree);
        Self {
            tree,
            sessions,
            quotas,
            applied,
            mutants,
            shadow: None,
        }
    }

    /// Zxid of the last transaction that was applied, or of a later start of an epoch.
    pub fn applied(&self) -> Zxid {
        self.applied
    }

    /// A new epoch began at this zxid, without a transaction. Only upwards.
    pub fn set_applied(&mut self, zxid: Zxid) {
        assert!(
            zxid >= self.applied,
            "applied {} would fall to {zxid}",
            self.applied
        );
        self.applied = zxid;
    }

    /// ZooKeeper's tree digest.
    pub fn digest(&self) -> u64 {
        self.tree.digest()
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Timeouts in milliseconds.
    pub fn sessions(&self) -> &BTreeMap<SessionId, i32> {
        &self.sessions
    }

    /// Applies one committed transaction, whose zxid is greater than [`Self::applied`]. Clears
    /// `changes` and fills it in the order in which watches fire. A transaction that does not fit
    /// the tree is an [`Outcome::Error`], never a panic: old ones are replayed over newer
    /// snapshots.
    pub fn apply(&mut self, record: &TxnRecord<'_>, changes: &mut Vec<Change>) -> Outcome {
        changes.clear();
        self.apply_with(record, Some(changes))
    }

    /// Like [`Self::apply`], when nobody watches.
    pub(crate) fn apply_unwatched(&mut self, record: &TxnRecord<'_>) -> Outcome {
        self.apply_with(record, None)
    }

    fn apply_with(&mut self, record: &TxnRecord<'_>, changes: Option<&mut Vec<Change>>) -> Outcome {
        let zxid = record.header.zxid;
        assert!(
            zxid > self.applied,
            "{zxid} comes after {} was applied",
            self.applied
        );
        if self.mutants.has(Mutant::SnapshotWithoutLastTxn) {
            let shadow = self.begin_true_walk();
            if let Some(old) = self.shadow.replace(shadow) {
                self.tree.end_walk(old);
            }
        }
        let outcome = self.apply_record(record, changes);
        // Only now: a snapshot must never claim half a transaction.
        self.applied = zxid;
        outcome
    }

    /// Begins a walk over the state at [`Self::applied`]. Costs as much as there are sessions and
    /// ACLs, not znodes. Until it is ended, nodes that change leave their old state to it.
    pub fn begin_walk(&mut self) -> WalkId {
        match self.shadow {
            Some(shadow) => self.tree.fork_walk(shadow, self.applied),
            None => self.begin_true_walk(),
        }
    }

    fn begin_true_walk(&mut self) -> WalkId {
        let mut head = Vec::with_capacity(4 + 12 * self.sessions.len());
        head.put_count(self.sessions.len());
        for (session, &timeout_ms) in &self.sessions {
            head.put_i64(session.0);
            head.put_i32(timeout_ms);
        }
        self.tree.begin_walk(self.applied, head)
    }

    /// Appends the next bytes of the snapshot to `out`: about `budget_bytes`, at most one node
    /// more. The bytes are what ZooKeeper's snapshot holds between file header and trailers.
    pub fn walk(&mut self, id: WalkId, budget_bytes: usize, out: &mut Vec<u8>) -> Walked {
        self.tree.walk(id, budget_bytes, out)
    }

    /// The zxid that the walk shows.
    pub fn walk_zxid(&self, id: WalkId) -> Zxid {
        self.tree.walk_zxid(id)
    }

    /// Bytes that the walk keeps of what has changed since its beginning.
    pub fn walk_held(&self, id: WalkId) -> usize {
        self.tree.walk_held(id)
    }

    /// The tree digest that the walk shows.
    pub fn walk_digest(&self, id: WalkId) -> u64 {
        self.tree.walk_digest(id)
    }

    /// Forgets a walk, at its end or before.
    pub fn end_walk(&mut self, id: WalkId) {
        self.tree.end_walk(id);
    }

    /// Shows the ensemble's configuration in `/zookeeper/config`, outside all transactions and not
    /// counted in the digest: version -1, mzxid from the text's last line `version=HEX`, as
    /// ZooKeeper does at start (`ZKDatabase.initConfigInZKDatabase`).
    pub fn set_config_node(&mut self, text: &str) {
        if self.tree.locate(CONFIG_NODE).is_none() {
            self.add_config_node();
        }
        let Some(node) = self.tree.locate(CONFIG_NODE) else {
            return;
        };
        let version = text
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("version="));
        let version = version.and_then(|hex| i64::from_str_radix(hex.trim(), 16).ok());
        self.tree
            .set_data(node, CONFIG_NODE, Some(text.as_bytes()), |stat| {
                stat.version = -1;
                stat.mzxid = version.unwrap_or(0);
            });
    }

    /// Anyone may read it, nobody write. Databases of ZooKeeper 3.4 do not have it.
    fn add_config_node(&mut self) {
        let Some(parent) = self.tree.locate("/zookeeper") else {
            return;
        };
        let acl = self.tree.retain_acl(&[Acl::world(perms::READ)]);
        let stat = StoredStat {
            aversion: -1,
            ..StoredStat::primordial()
        };
        self.tree
            .insert(parent, (CONFIG_NODE, "config"), Some(b""), acl, stat);
    }
}

#[cfg(test)]
mod tests;
