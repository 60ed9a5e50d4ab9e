//! A tree that is read from a snapshot: nodes come parents first, and none goes.
//!
//! That is cheaper than as many single inserts. Snapshots go depth first, so a parent is found on
//! the trail of the last path; and the index is built once, when its size is known. Nodes in
//! another order are found by the index of those before them.

use alloc::string::String;
use alloc::vec::Vec;

use super::slab::NodeId;
use super::{AclId, StoredStat, Tree};
use crate::wire::records::Acl;

/// Why a node can not be where its path says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Misplaced {
    /// No path that a node below the root can have.
    Path,
    ParentMissing,
    Twice,
}

/// A tree without an index of all its nodes.
#[derive(Debug)]
pub(crate) struct Growth {
    tree: Tree,
    /// Of the last node.
    path: String,
    /// Nodes from the root to the last one, each with the length of its path.
    trail: Vec<(usize, NodeId)>,
}

impl Growth {
    /// Only a root.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            tree: Tree::bare(seed),
            path: String::new(),
            trail: Vec::from([(0, NodeId::ROOT)]),
        }
    }

    pub(crate) fn retain_acl(&mut self, list: &[Acl]) -> AclId {
        self.tree.retain_acl(list)
    }

    pub(crate) fn retain_acl_id(&mut self, id: AclId) {
        self.tree.retain_acl_id(id);
    }

    pub(crate) fn replace_root(&mut self, data: Option<&[u8]>, acl: AclId, stat: StoredStat) {
        self.tree.replace_root(data, acl, stat);
    }

    /// The place for a node with this path: its parent and its name.
    pub(crate) fn place<'p>(&mut self, path: &'p str) -> Result<(NodeId, &'p str), Misplaced> {
        if path.is_empty() {
            return Err(Misplaced::Twice);
        }
        let split = path.rsplit_once('/').filter(|(_, name)| !name.is_empty());
        let (above, name) = split.ok_or(Misplaced::Path)?;
        while let Some(&(length, id)) = self.trail.last() {
            if length == above.len() && self.path.as_bytes()[..length] == *above.as_bytes() {
                return Ok((id, name));
            }
            if length < above.len() {
                break;
            }
            self.trail.pop();
        }
        self.tree.index_rest();
        let parent = self.tree.locate(above).ok_or(Misplaced::ParentMissing)?;
        self.trail.clear();
        self.trail.push((above.len(), parent));
        Ok((parent, name))
    }

    /// A new node at its place. The use of `acl` passes to it.
    pub(crate) fn insert(
        &mut self,
        parent: NodeId,
        (path, name): (&str, &str),
        data: Option<&[u8]>,
        acl: AclId,
        stat: StoredStat,
    ) -> Result<(), Misplaced> {
        let planted = self.tree.plant(parent, (path, name), data, acl, stat);
        let id = planted.ok_or(Misplaced::Twice)?;
        self.path.clear();
        self.path.push_str(path);
        self.trail.push((path.len(), id));
        Ok(())
    }

    /// The whole tree, as any other.
    pub(crate) fn finish(mut self) -> Tree {
        self.tree.index_rest();
        self.tree.unindexed = Vec::new();
        self.tree
    }
}
