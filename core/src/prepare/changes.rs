//! The nodes that proposed transactions change, as they will be.
//!
//! Knows: one record for each changed path, which transaction changed it last, who will own which
//! ephemerals, the digest of the tree to come, and how to take back a multi. Refuses to know: what
//! a write may do.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::database::Database;
use crate::ids::{SessionId, Zxid};
use crate::path;
use crate::tree::{AclList, NodeRef, Prefix, StoredStat};

/// A node as the next write meets it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) stat: StoredStat,
    pub(super) children: usize,
    pub(super) acl: AclList,
    /// Of its data.
    pub(super) length: usize,
    /// The part of its digest that path and data make.
    pub(super) prefix: Prefix,
}

/// What will be at a path.
#[derive(Clone, Debug)]
struct Record {
    /// The last proposed transaction that changes it.
    zxid: Zxid,
    node: Option<Node>,
    /// The node's part of the tree digest; 0 if there is no node.
    digest: u64,
}

/// What a multi has to put back if one of its operations is refused.
#[derive(Debug)]
struct Undo {
    digest: u64,
    touched: Vec<(Arc<str>, Option<Record>)>,
}

/// The root's path is the empty one here: children find it as their parent.
#[derive(Debug, Default)]
pub(super) struct Changes {
    records: BTreeMap<Arc<str>, Record>,
    /// One entry for each path and transaction that changes it, oldest first.
    order: VecDeque<(Zxid, Arc<str>)>,
    /// The ephemerals among `records`.
    ephemerals: BTreeSet<(SessionId, Arc<str>)>,
    digest: u64,
    /// The transaction in hand.
    zxid: Zxid,
    undo: Option<Undo>,
}

impl Changes {
    /// Starts a transaction.
    pub(super) fn begin(&mut self, db: &Database, zxid: Zxid) {
        assert!(zxid > self.zxid, "zxid {zxid} proposed after {}", self.zxid);
        assert!(
            self.undo.is_none(),
            "the multi before {zxid} neither failed nor ended"
        );
        self.zxid = zxid;
        if self.order.is_empty() {
            self.digest = db.digest();
        }
    }

    /// Digest of the whole tree after the transaction in hand.
    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The node at a path, if there will be one.
    pub(super) fn get(&self, db: &Database, path: &str) -> Option<Node> {
        let path = path::canonical(path);
        if let Some(record) = self.records.get(path) {
            return record.node.clone();
        }
        let node = db.tree().get(path)?;
        Some(Node {
            stat: *node.stored(),
            children: node.child_count(),
            acl: node.shared_acl().clone(),
            length: node.data().map_or(0, <[u8]>::len),
            prefix: node.digest_prefix(),
        })
    }

    /// Records what will be at a path after the transaction in hand.
    pub(super) fn put(&mut self, db: &Database, path: &str, node: Option<Node>) {
        let path = path::canonical(path);
        let (key, previous) = match self.records.remove_entry(path) {
            Some((key, record)) => (key, Some(record)),
            None => (Arc::from(path), None),
        };
        let old_digest = match &previous {
            Some(record) => record.digest,
            None => db.tree().get(path).map_or(0, NodeRef::digest),
        };
        let digest = node.as_ref().map_or(0, |node| node.prefix.with(&node.stat));
        self.digest = self.digest.wrapping_sub(old_digest).wrapping_add(digest);
        self.disown(&key, previous.as_ref());
        if previous
            .as_ref()
            .is_none_or(|record| record.zxid < self.zxid)
        {
            self.order.push_back((self.zxid, key.clone()));
            if let Some(undo) = &mut self.undo {
                undo.touched.push((key.clone(), previous));
            }
        }
        self.insert(
            key,
            Record {
                zxid: self.zxid,
                node,
                digest,
            },
        );
    }

    /// Starts a multi: from here on everything can be taken back.
    pub(super) fn checkpoint(&mut self) {
        assert!(self.undo.is_none(), "multis do not nest");
        self.undo = Some(Undo {
            digest: self.digest,
            touched: Vec::new(),
        });
    }

    /// Ends a multi whose operations were all accepted.
    pub(super) fn keep(&mut self) {
        assert!(self.undo.take().is_some(), "no multi to end");
    }

    /// Ends a multi as if it had never been.
    pub(super) fn take_back(&mut self) {
        let undo = self.undo.take().expect("no multi to take back");
        self.digest = undo.digest;
        for (key, previous) in undo.touched.into_iter().rev() {
            let popped = self.order.pop_back();
            assert_eq!(
                popped.as_ref(),
                Some(&(self.zxid, key.clone())),
                "a change out of order"
            );
            let touched = self.records.remove(&key);
            self.disown(&key, touched.as_ref());
            if let Some(record) = previous {
                self.insert(key, record);
            }
        }
    }

    /// Forgets the changes of transactions up to this one: the database has them now.
    pub(super) fn retire(&mut self, zxid: Zxid) {
        while self
            .order
            .front()
            .is_some_and(|(changed, _)| *changed <= zxid)
        {
            let (_, key) = self.order.pop_front().expect("there is a front");
            if self
                .records
                .get(&key)
                .is_some_and(|record| record.zxid <= zxid)
            {
                let record = self.records.remove(&key);
                self.disown(&key, record.as_ref());
            }
        }
    }

    /// The ephemerals that the session will have, in the order of their paths.
    pub(super) fn ephemerals_of(&self, db: &Database, session: SessionId) -> BTreeSet<Arc<str>> {
        let committed = db.tree().ephemerals(session);
        let unchanged = committed.filter(|path| !self.records.contains_key(path.as_str()));
        let unchanged = unchanged.map(Arc::from);
        let first = (session, Arc::from(""));
        let changed = self
            .ephemerals
            .range(first..)
            .take_while(|(owner, _)| *owner == session);
        unchanged
            .chain(changed.map(|(_, path)| path.clone()))
            .collect()
    }

    fn insert(&mut self, key: Arc<str>, record: Record) {
        if let Some(owner) = owner(Some(&record)) {
            self.ephemerals.insert((owner, key.clone()));
        }
        self.records.insert(key, record);
    }

    fn disown(&mut self, key: &Arc<str>, record: Option<&Record>) {
        if let Some(owner) = owner(record) {
            let was_there = self.ephemerals.remove(&(owner, key.clone()));
            assert!(
                was_there,
                "session {owner} does not know its ephemeral {key}"
            );
        }
    }
}

fn owner(record: Option<&Record>) -> Option<SessionId> {
    record?.node.as_ref()?.stat.session()
}
