//! The tree of znodes in memory: who is whose child, data, ACLs, stats, ephemerals by session, the
//! digest.
//!
//! Knows nothing of transactions or sessions' lives; [`crate::database`] changes it by committed
//! transactions. A znode is found by its whole path in one probe and stores only the last
//! component of it.

mod acls;
mod children;
pub mod digest;
mod growth;
pub(crate) mod hash;
mod mutate;
mod order;
mod slab;
pub mod stat;
mod walk;

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Bound;

use hashbrown::HashTable;

pub use acls::AclList;
pub(crate) use acls::{AclId, AclTable};
pub use digest::Prefix;
pub(crate) use growth::{Growth, Misplaced};
pub(crate) use slab::NodeId;
pub use slab::SharedData;
use slab::{Payload, Slab, Znode};
use stat::OWNER_EXTENDED;
pub use stat::StoredStat;
use walk::Walks;
pub use walk::{WalkId, Walked};

use crate::ids::SessionId;
use crate::limits::ZNODE_BYTES;
use crate::wire::records::{Acl, Stat};

/// All znodes.
#[derive(Clone)]
pub struct Tree {
    slab: Slab,
    /// Every node but the root, by the hash of its whole path.
    index: HashTable<NodeId>,
    /// Planted, and not in the index yet: only while a tree grows from a snapshot.
    unindexed: Vec<NodeId>,
    /// Key of that hash.
    seed: u64,
    acls: AclTable,
    ephemerals: BTreeSet<(SessionId, NodeId)>,
    /// Containers and TTL nodes.
    sweepable: BTreeSet<NodeId>,
    digest: u64,
    /// Bytes of all paths and data.
    bytes: usize,
    walks: Walks,
    scratch: Vec<u8>,
}

/// One znode, borrowed.
#[derive(Clone, Copy)]
pub struct NodeRef<'t> {
    tree: &'t Tree,
    id: NodeId,
}

impl Tree {
    /// Only a root. `seed` keys the hash of paths and is never observable.
    pub(crate) fn bare(seed: u64) -> Self {
        let mut tree = Self {
            slab: Slab::default(),
            index: HashTable::new(),
            unindexed: Vec::new(),
            seed,
            acls: AclTable::new(),
            ephemerals: BTreeSet::new(),
            sweepable: BTreeSet::new(),
            digest: 0,
            bytes: 0,
            walks: Walks::default(),
            scratch: Vec::new(),
        };
        let acl = tree
            .acls
            .retain(&[Acl::world(crate::wire::records::perms::ALL)]);
        let payload = Payload::new("", "", Some(b""), &mut tree.scratch);
        let root = Znode::new(payload, NodeId::ROOT, acl, StoredStat::primordial());
        tree.digest = root.digest();
        let id = tree.slab.insert(root);
        assert_eq!(id, NodeId::ROOT);
        tree
    }

    /// The znode at a full path; `""` is an alias of `"/"`.
    pub fn get(&self, path: &str) -> Option<NodeRef<'_>> {
        let id = self.locate(if path == "/" { "" } else { path })?;
        Some(NodeRef { tree: self, id })
    }

    /// Like [`Self::get`], but the root is `""` only: `"//a"` has no parent.
    pub(crate) fn locate(&self, path: &str) -> Option<NodeId> {
        if path.is_empty() {
            return Some(NodeId::ROOT);
        }
        let hash = hash::path(self.seed, path);
        let here = |&id: &NodeId| self.slab.get(id).hash == hash && self.is_at(id, path);
        self.index.find(hash::spread(hash), here).copied()
    }

    /// Is this the node's full path?
    fn is_at(&self, mut id: NodeId, path: &str) -> bool {
        let mut rest = path.as_bytes();
        while id != NodeId::ROOT {
            let node = self.slab.get(id);
            let Some(above) = rest.strip_suffix(node.name()) else {
                return false;
            };
            let Some(above) = above.strip_suffix(b"/") else {
                return false;
            };
            (rest, id) = (above, node.parent);
        }
        rest.is_empty()
    }

    /// The node's full path; the root's is empty.
    fn path_of(&self, mut id: NodeId) -> String {
        let mut names = Vec::new();
        while id != NodeId::ROOT {
            let node = self.slab.get(id);
            names.push(node.name_str());
            id = node.parent;
        }
        let mut path = String::with_capacity(names.iter().map(|name| name.len() + 1).sum());
        for name in names.iter().rev() {
            path.push('/');
            path.push_str(name);
        }
        path
    }

    /// Full paths of the session's ephemeral nodes, in order.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = String> + use<> {
        let mut paths: Vec<String> = self
            .owned(session)
            .map(|&(_, id)| self.path_of(id))
            .collect();
        paths.sort_unstable();
        paths.into_iter()
    }

    pub fn has_ephemerals(&self, session: SessionId) -> bool {
        self.owned(session).next().is_some()
    }

    fn owned(&self, session: SessionId) -> impl Iterator<Item = &(SessionId, NodeId)> {
        self.ephemerals
            .range((session, NodeId::ROOT)..)
            .take_while(move |(owner, _)| *owner == session)
    }

    /// Sessions that own ephemeral nodes, in order.
    pub fn ephemeral_owners(&self) -> impl Iterator<Item = SessionId> {
        let mut last = None;
        self.ephemerals
            .iter()
            .filter_map(move |&(owner, _)| (last.replace(owner) != Some(owner)).then_some(owner))
    }

    /// Containers and TTL nodes in an order of their own, after this one; `None` is the start. A
    /// place is used again: a node that was made meanwhile may be missed once.
    pub(crate) fn sweepable(
        &self,
        after: Option<NodeId>,
    ) -> impl Iterator<Item = (NodeId, NodeRef<'_>)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let places = self.sweepable.range((start, Bound::Unbounded));
        places.map(|&id| (id, NodeRef { tree: self, id }))
    }

    /// An owner that reads as an extended type which nobody knows, where extended types exist.
    pub(crate) fn unknown_owner(&self) -> Option<SessionId> {
        let extended = (SessionId(OWNER_EXTENDED), NodeId::ROOT)..(SessionId(0), NodeId::ROOT);
        self.ephemerals
            .range(extended)
            .next()
            .map(|&(owner, _)| owner)
    }

    /// ZooKeeper's tree digest.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Znodes as ZooKeeper counts them, which is the root twice: 5 in a fresh tree.
    pub fn node_count(&self) -> usize {
        self.slab.len() + 1
    }

    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals.len()
    }

    /// Bytes of paths and data as ZooKeeper estimates them: 44 in a fresh tree.
    pub fn data_bytes(&self) -> usize {
        // One more for the path "/" of the root's second entry.
        self.bytes + 1 + self.slab.get(NodeId::ROOT).data_length()
    }

    /// Nodes at and below this path, and the bytes of their data; nothing if there is no such node.
    pub(crate) fn weigh(&self, path: &str) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        let mut open: Vec<NodeId> = self.locate(path).into_iter().collect();
        while let Some(id) = open.pop() {
            let node = self.slab.get(id);
            count += 1;
            bytes += node.data_length();
            open.extend(node.children.iter().flat_map(|children| children.iter()));
        }
        (count, bytes)
    }

    /// Memory of all znodes, estimated.
    pub fn memory_bytes(&self) -> u64 {
        self.bytes as u64 + self.slab.len() as u64 * ZNODE_BYTES
    }

    /// Nodes below this path, not counting itself; `None` if there is no such node.
    pub fn descendants(&self, path: &str) -> Option<usize> {
        let top = self.locate(if path == "/" { "" } else { path })?;
        if top == NodeId::ROOT {
            return Some(self.slab.len() - 1);
        }
        let mut count = 0;
        let mut open = Vec::from([top]);
        while let Some(id) = open.pop() {
            if let Some(children) = &self.slab.get(id).children {
                count += children.len();
                open.extend(children.iter());
            }
        }
        Some(count)
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("nodes", &self.node_count())
            .field("digest", &format_args!("0x{:x}", self.digest))
            .finish_non_exhaustive()
    }
}

impl<'t> NodeRef<'t> {
    fn node(self) -> &'t Znode {
        self.tree.slab.get(self.id)
    }

    /// `None` is null, which is not the same as empty.
    pub fn data(self) -> Option<&'t [u8]> {
        self.node().data()
    }

    /// The data without copying it; stays as it is when the znode changes.
    pub fn shared_data(self) -> Option<SharedData> {
        self.node().shared_data()
    }

    /// As clients see it.
    pub fn stat(self) -> Stat {
        let node = self.node();
        node.stat.visible(node.data_length(), node.child_count())
    }

    /// As it is stored.
    pub fn stored(self) -> &'t StoredStat {
        &self.node().stat
    }

    pub fn acl(self) -> &'t [Acl] {
        self.shared_acl()
    }

    pub fn shared_acl(self) -> &'t AclList {
        self.tree.acls.get(self.node().acl)
    }

    /// Names, ordered by their bytes.
    pub fn children(self) -> impl Iterator<Item = &'t str> + use<'t> {
        let children = self.node().children.as_deref();
        let ids = children.into_iter().flat_map(children::Children::iter);
        ids.map(move |id| self.tree.slab.get(id).name_str())
    }

    pub fn child_count(self) -> usize {
        self.node().child_count()
    }

    /// The full path; the root's is empty.
    pub fn path(self) -> String {
        self.tree.path_of(self.id)
    }

    /// The part of the node's digest that does not depend on its stat.
    pub fn digest_prefix(self) -> Prefix {
        self.node().prefix()
    }

    pub fn digest(self) -> u64 {
        self.node().digest()
    }
}

impl fmt::Debug for NodeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRef")
            .field("path", &self.tree.path_of(self.id))
            .field("stored", self.stored())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
