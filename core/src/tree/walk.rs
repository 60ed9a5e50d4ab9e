//! Walks over the whole tree that show it as it was at one zxid while it goes on changing.
//!
//! Nothing is copied at the start. A node that a walk has not reached yet hands over its old state
//! when it first changes or goes; a node made after the start is passed over. The bytes are those
//! of ZooKeeper's snapshot between file header and trailers: sessions, ACL table, nodes (parents
//! first), and the path `/` as terminator. [`crate::snapshot`] reads them back.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::children::Position;
use super::order::{self, WalkPath};
use super::slab::{NodeId, SharedData, Znode};
use super::stat::StoredStat;
use super::{AclId, Tree};
use crate::ids::Zxid;
use crate::limits::ZNODE_BYTES;
use crate::wire::jute::Write;

/// A walk that was begun. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WalkId(u64);

/// How far a walk has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walked {
    More,
    /// The terminator was written.
    Done,
}

/// What passing over one newer node costs of a turn's budget, in bytes.
const SKIP_COST: usize = 32;

/// A node as it was when it first changed after the start of a walk.
#[derive(Clone, Debug)]
struct Image {
    data: Option<SharedData>,
    acl: AclId,
    stat: StoredStat,
}

impl Image {
    fn of(node: &Znode) -> Self {
        Self {
            data: node.shared_data(),
            acl: node.acl,
            stat: node.stat,
        }
    }

    /// Bytes that it keeps from being freed, about.
    fn held(&self, path: &str) -> usize {
        path.len() + self.data.as_deref().map_or(0, <[u8]>::len) + ZNODE_BYTES as usize
    }

    fn write(&self, path: &str, out: &mut Vec<u8>) {
        write_node(path, self.data.as_deref(), self.acl, &self.stat, out);
    }
}

fn write_node(path: &str, data: Option<&[u8]>, acl: AclId, stat: &StoredStat, out: &mut Vec<u8>) {
    out.put_string(path);
    out.put_buffer(data);
    out.put_i64(acl.stored());
    stat.write(out);
}

#[derive(Clone, Default, Debug)]
struct Walk {
    /// Nodes with this number or a higher one were created after the start.
    number: u32,
    zxid: Zxid,
    digest: u64,
    /// Sessions and ACL table as they were at the start, encoded.
    head: Vec<u8>,
    head_written: usize,
    /// Path of the last node that was passed; all up to it are done.
    passed: Option<String>,
    /// Old states of nodes that come later.
    saved: BTreeMap<WalkPath, Image>,
    /// Bytes of them.
    held: usize,
    done: bool,
}

/// The walks under way.
#[derive(Clone, Default, Debug)]
pub(super) struct Walks {
    active: Vec<(WalkId, Walk)>,
    /// Walks begun so far.
    begun: u32,
    /// Ids given so far.
    ids: u64,
}

impl Walks {
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    pub(super) fn begun(&self) -> u32 {
        self.begun
    }

    fn add(&mut self, walk: Walk) -> WalkId {
        self.ids += 1;
        let id = WalkId(self.ids);
        self.active.push((id, walk));
        id
    }

    fn find(&self, id: WalkId) -> usize {
        let at = self.active.iter().position(|(other, _)| *other == id);
        at.expect("a walk is used between its begin and its end")
    }

    /// This node is about to change or to go.
    pub(super) fn save(&mut self, path: &str, node: &Znode) {
        for (_, walk) in &mut self.active {
            if walk.needs(path, node) {
                let key = WalkPath(path.into());
                if let Entry::Vacant(place) = walk.saved.entry(key) {
                    let image = Image::of(node);
                    walk.held += image.held(path);
                    place.insert(image);
                }
            }
        }
    }
}

impl Walk {
    /// Does this walk still have to show the node at `path` as it is now?
    fn needs(&self, path: &str, node: &Znode) -> bool {
        let passed = |at: &String| order::compare(path, at) != Ordering::Greater;
        !self.done && node.born < self.number && !self.passed.as_ref().is_some_and(passed)
    }

    fn advance(&mut self, tree: &Tree, budget: usize, out: &mut Vec<u8>) -> Walked {
        if self.done {
            return Walked::Done;
        }
        let start = out.len();
        if self.head_written < self.head.len() {
            let rest = &self.head[self.head_written..];
            let piece = &rest[..rest.len().min(budget.max(1))];
            out.extend_from_slice(piece);
            self.head_written += piece.len();
            if self.head_written < self.head.len() {
                return Walked::More;
            }
        }
        let mut steps = Steps::after(tree, self.passed.as_deref());
        let mut skipped = 0;
        while out.len() - start + skipped * SKIP_COST < budget.max(1) {
            if !self.step(&mut steps, &mut skipped, out) {
                assert!(self.saved.is_empty(), "every saved node was shown");
                assert!(self.held == 0, "and so was its size");
                out.put_string("/");
                self.done = true;
                return Walked::Done;
            }
        }
        Walked::More
    }

    /// Passes the next node, living or saved. False at the end.
    fn step(&mut self, steps: &mut Steps<'_>, skipped: &mut usize, out: &mut Vec<u8>) -> bool {
        let living = steps.peek();
        let saved = self.saved.first_key_value().map(|(path, _)| &*path.0);
        let order = match (living, saved) {
            (None, None) => return false,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), Some(saved)) => order::compare(&steps.path, saved),
        };
        let passed = self.passed.get_or_insert_default();
        passed.clear();
        if order == Ordering::Less {
            let node = steps.tree.slab.get(living.expect("compared"));
            passed.push_str(&steps.path);
            if node.born < self.number {
                write_node(&steps.path, node.data(), node.acl, &node.stat, out);
            } else {
                *skipped += 1;
            }
        } else {
            let (path, image) = self.saved.pop_first().expect("compared");
            passed.push_str(&path.0);
            image.write(&path.0, out);
            self.held -= image.held(&path.0);
        }
        if order != Ordering::Greater {
            steps.take();
        }
        true
    }
}

/// The living nodes in walk order, from a path on. Lives within one turn: the tree stands still.
struct Steps<'t> {
    tree: &'t Tree,
    /// Of the next node.
    path: String,
    /// The next node, if it was looked for already.
    ahead: Option<NodeId>,
    /// Parents with children still to come: node, how far, length of its path.
    stack: Vec<(NodeId, Position, usize)>,
}

impl<'t> Steps<'t> {
    /// Begins after `passed`, whether or not there still is such a node; `None` is the start.
    fn after(tree: &'t Tree, passed: Option<&str>) -> Self {
        let mut steps = Self {
            tree,
            path: String::new(),
            ahead: None,
            stack: Vec::new(),
        };
        let Some(passed) = passed else {
            steps.ahead = Some(NodeId::ROOT);
            return steps;
        };
        let mut at = NodeId::ROOT;
        for name in passed.split('/').skip(1) {
            let Some(children) = &tree.slab.get(at).children else {
                return steps;
            };
            let found = children.search(name.as_bytes(), &tree.slab);
            let (Ok(position) | Err(position)) = found;
            let found = found.is_ok().then(|| children.next(position)).flatten();
            let position = found.map_or(position, |(_, after)| after);
            steps.stack.push((at, position, steps.path.len()));
            let Some((child, _)) = found else {
                return steps;
            };
            steps.path.push('/');
            steps.path.push_str(name);
            at = child;
        }
        steps
            .stack
            .push((at, Position::default(), steps.path.len()));
        steps
    }

    /// The next node; its path is in `self.path`.
    fn peek(&mut self) -> Option<NodeId> {
        while self.ahead.is_none() {
            let (parent, position, path_length) = self.stack.last_mut()?;
            self.path.truncate(*path_length);
            let children = self.tree.slab.get(*parent).children.as_ref();
            let Some((child, after)) = children.and_then(|c| c.next(*position)) else {
                self.stack.pop();
                continue;
            };
            *position = after;
            self.path.push('/');
            self.path.push_str(self.tree.slab.get(child).name_str());
            self.ahead = Some(child);
        }
        self.ahead
    }

    /// Goes on to what follows the node that was peeked at: its children, then its siblings.
    fn take(&mut self) {
        let id = self.ahead.take().expect("peeked at");
        if self.tree.slab.get(id).children.is_some() {
            self.stack.push((id, Position::default(), self.path.len()));
        }
    }
}

impl Tree {
    /// Begins a walk over the tree as it is. `head` is what the snapshot says of sessions; the ACL
    /// table is added here.
    pub(crate) fn begin_walk(&mut self, zxid: Zxid, mut head: Vec<u8>) -> WalkId {
        self.acls.encode(&mut head);
        self.walks.begun = self
            .walks
            .begun
            .checked_add(1)
            .expect("fewer than 2^32 snapshots");
        let number = self.walks.begun;
        self.walks.add(Walk {
            number,
            zxid,
            digest: self.digest,
            head,
            ..Walk::default()
        })
    }

    /// A second walk from the beginning of one that has not moved yet, under another zxid.
    pub(crate) fn fork_walk(&mut self, id: WalkId, zxid: Zxid) -> WalkId {
        let walk = self.walks.active[self.walks.find(id)].1.clone();
        assert!(walk.head_written == 0 && walk.passed.is_none());
        self.walks.add(Walk { zxid, ..walk })
    }

    pub(crate) fn walk(&mut self, id: WalkId, budget: usize, out: &mut Vec<u8>) -> Walked {
        let at = self.walks.find(id);
        let mut walk = core::mem::take(&mut self.walks.active[at].1);
        let walked = walk.advance(self, budget, out);
        self.walks.active[at].1 = walk;
        walked
    }

    pub(crate) fn walk_zxid(&self, id: WalkId) -> Zxid {
        self.walks.active[self.walks.find(id)].1.zxid
    }

    /// Bytes that the walk keeps of what has changed since its beginning.
    pub(crate) fn walk_held(&self, id: WalkId) -> usize {
        self.walks.active[self.walks.find(id)].1.held
    }

    pub(crate) fn walk_digest(&self, id: WalkId) -> u64 {
        self.walks.active[self.walks.find(id)].1.digest
    }

    pub(crate) fn end_walk(&mut self, id: WalkId) {
        let at = self.walks.find(id);
        self.walks.active.swap_remove(at);
    }
}
