//! The few ways in which the tree changes. Each keeps index, children, ephemerals, ACL uses, digest
//! and byte count true, and first hands the old state to the walks that still need it.
//!
//! Callers have checked what a transaction may do; here only the tree's own rules are asserted.

use alloc::string::String;
use alloc::vec::Vec;

use super::slab::{NodeId, Payload, Znode};
use super::stat::StoredStat;
use super::{AclId, AclTable, Tree, hash};
use crate::wire::records::Acl;

impl Tree {
    pub(crate) fn acls(&self) -> &AclTable {
        &self.acls
    }

    pub(crate) fn stored(&self, id: NodeId) -> &StoredStat {
        &self.slab.get(id).stat
    }

    pub(crate) fn acl_id(&self, id: NodeId) -> AclId {
        self.slab.get(id).acl
    }

    pub(crate) fn visible(&self, id: NodeId) -> crate::wire::records::Stat {
        let node = self.slab.get(id);
        node.stat.visible(node.data_length(), node.child_count())
    }

    pub(crate) fn data_length(&self, id: NodeId) -> usize {
        self.slab.get(id).data_length()
    }

    pub(crate) fn child_count(&self, id: NodeId) -> usize {
        self.slab.get(id).child_count()
    }

    /// One more use of this list, to be given to a node or released.
    pub(crate) fn retain_acl(&mut self, list: &[Acl]) -> AclId {
        self.acls.retain(list)
    }

    pub(crate) fn retain_acl_id(&mut self, id: AclId) {
        self.acls.retain_id(id);
    }

    pub(crate) fn release_acl(&mut self, id: AclId) {
        self.acls.release(id);
    }

    /// A new child of `parent`. `path` is its full path, not yet taken, `name` the end of it; the
    /// use of `acl` passes to the node.
    pub(crate) fn insert(
        &mut self,
        parent: NodeId,
        place: (&str, &str),
        data: Option<&[u8]>,
        acl: AclId,
        stat: StoredStat,
    ) -> NodeId {
        let id = self.plant(parent, place, data, acl, stat);
        self.index_rest();
        id.expect("a child is inserted once")
    }

    /// Like [`Self::insert`], but the node is not found by its path before [`Self::index_rest`].
    /// None if the name is taken; then the tree is of no use any more.
    pub(super) fn plant(
        &mut self,
        parent: NodeId,
        (path, name): (&str, &str),
        data: Option<&[u8]>,
        acl: AclId,
        stat: StoredStat,
    ) -> Option<NodeId> {
        assert!(!name.is_empty(), "a znode has a name");
        let payload = Payload::new(path, name, data, &mut self.scratch);
        let mut node = Znode::new(payload, parent, acl, stat);
        node.hash = hash::path(self.seed, path);
        node.born = self.walks.begun();
        self.digest = self.digest.wrapping_add(node.digest());
        self.bytes += path.len() + node.data_length();
        let id = self.slab.insert(node);
        if let Some(session) = stat.session() {
            self.ephemerals.insert((session, id));
        }
        if stat.is_sweepable() {
            self.sweepable.insert(id);
        }
        let mut children = self
            .slab
            .get_mut(parent)
            .children
            .take()
            .unwrap_or_default();
        let is_new = children.insert(id, name.as_bytes(), &self.slab);
        self.slab.get_mut(parent).children = Some(children);
        self.unindexed.push(id);
        is_new.then_some(id)
    }

    /// Makes the planted nodes known by their paths.
    pub(super) fn index_rest(&mut self) {
        let slab = &self.slab;
        let hash = |id: &NodeId| hash::spread(slab.get(*id).hash);
        // Many at once come from a snapshot, and the log goes on where it ends.
        let count = self.unindexed.len();
        self.index.reserve(count + count / 8, hash);
        for id in self.unindexed.drain(..) {
            self.index.insert_unique(hash(&id), id, hash);
        }
    }

    /// Removes a node that is not the root, with all below it. No leader deletes a node that has
    /// children, but a transaction that is replayed over a newer snapshot may.
    pub(crate) fn remove(&mut self, id: NodeId, path: &str) {
        let (parent, name) = {
            let node = self.slab.get(id);
            (
                node.parent,
                &path.as_bytes()[path.len() - node.name().len()..],
            )
        };
        let mut siblings = self
            .slab
            .get_mut(parent)
            .children
            .take()
            .expect("has a child");
        let unlinked = siblings.remove(name, &self.slab);
        assert_eq!(unlinked, id);
        self.slab.get_mut(parent).children = (siblings.len() > 0).then_some(siblings);
        let mut open: Vec<(NodeId, String)> = Vec::new();
        self.remove_one(id, path, &mut open);
        while let Some((id, path)) = open.pop() {
            self.remove_one(id, &path, &mut open);
        }
    }

    fn remove_one(&mut self, id: NodeId, path: &str, orphans: &mut Vec<(NodeId, String)>) {
        self.save_for_walks(id, path);
        let node = self.slab.remove(id);
        let hash = hash::spread(node.hash);
        let entry = self.index.find_entry(hash, |&other| other == id);
        entry
            .expect("every node but the root is in the index")
            .remove();
        self.digest = self.digest.wrapping_sub(node.digest());
        self.bytes -= path.len() + node.data_length();
        if let Some(session) = node.stat.session() {
            self.ephemerals.remove(&(session, id));
        }
        if node.stat.is_sweepable() {
            self.sweepable.remove(&id);
        }
        self.acls.release(node.acl);
        for child in node.children.iter().flat_map(|children| children.iter()) {
            let name = self.slab.get(child).name_str();
            orphans.push((child, alloc::format!("{path}/{name}")));
        }
    }

    /// Changes a node's stat; never its owner. `path` is the node's, `""` for the root.
    pub(crate) fn update(&mut self, id: NodeId, path: &str, change: impl FnOnce(&mut StoredStat)) {
        self.save_for_walks(id, path);
        let node = self.slab.get_mut(id);
        let before = node.digest();
        let owner = node.stat.owner;
        change(&mut node.stat);
        assert_eq!(node.stat.owner, owner, "an owner never changes");
        self.digest = self.digest.wrapping_sub(before).wrapping_add(node.digest());
    }

    /// Replaces data, and the stat with it.
    pub(crate) fn set_data(
        &mut self,
        id: NodeId,
        path: &str,
        data: Option<&[u8]>,
        change: impl FnOnce(&mut StoredStat),
    ) {
        self.update(id, path, change);
        let node = self.slab.get_mut(id);
        let before = (node.digest(), node.data_length());
        let name = &path[path.len() - node.name().len()..];
        node.set_payload(Payload::new(path, name, data, &mut self.scratch));
        self.digest = self
            .digest
            .wrapping_sub(before.0)
            .wrapping_add(node.digest());
        self.bytes = self.bytes - before.1 + node.data_length();
    }

    /// Replaces the ACL, and the stat with it; the use of `acl` passes to the node.
    pub(crate) fn set_acl(
        &mut self,
        id: NodeId,
        path: &str,
        acl: AclId,
        change: impl FnOnce(&mut StoredStat),
    ) {
        self.update(id, path, change);
        let node = self.slab.get_mut(id);
        let before = core::mem::replace(&mut node.acl, acl);
        self.acls.release(before);
    }

    /// What a snapshot says of the root, which exists already. Before any walk.
    pub(crate) fn replace_root(&mut self, data: Option<&[u8]>, acl: AclId, stat: StoredStat) {
        assert!(self.slab.len() == 1, "the root comes first");
        let payload = Payload::new("", "", data, &mut self.scratch);
        let root = self.slab.get_mut(NodeId::ROOT);
        self.acls.release(root.acl);
        *root = Znode::new(payload, NodeId::ROOT, acl, stat);
        self.digest = root.digest();
        self.bytes = root.data_length();
    }

    fn save_for_walks(&mut self, id: NodeId, path: &str) {
        if !self.walks.is_empty() {
            self.walks.save(path, self.slab.get(id));
        }
    }
}
