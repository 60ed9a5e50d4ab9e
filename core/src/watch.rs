//! One-shot watches of this server's connections, and which change tells whom.
//!
//! Knows: ZooKeeper's two tables (data watches, set by exists and getData; child watches, set by
//! getChildren), and which events each kind receives. Refuses to know: frames, sessions, and when
//! an event may be sent; the caller delivers before it shows the change to anybody.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use hashbrown::HashTable;

use crate::acl;
use crate::database::{Change, ChangeKind};
use crate::ids::ConnId;
use crate::mutants::{Mutant, Mutants};
use crate::path;
use crate::tree::hash;
use crate::wire::client::event;
use crate::wire::records::{Id, perms};

/// What a watch waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum WatchKind {
    /// Creation, change of data, deletion: set by exists and getData.
    Data,
    /// Change of the list of children, deletion: set by getChildren.
    Child,
}

/// Who hears of events: the connections of this server.
pub trait Listeners {
    /// What the connection has proven so far; decides whether it may know of the change.
    fn identities(&self, conn: ConnId) -> &[Id];

    /// Sends one event (a number of [`event`]).
    fn notify(&mut self, conn: ConnId, event: i32, path: &str);
}

/// Index of a watched path.
type Slot = u32;

/// All watches of one server. Each costs two small keys; a path is stored once, however many
/// connections watch it.
#[derive(Debug)]
pub struct Watches {
    /// Keys the hash of paths.
    seed: u64,
    /// Slots by the hash of their path. Never iterated.
    index: HashTable<Slot>,
    /// Watched paths; slots in `free` hold an empty one.
    paths: Vec<Box<str>>,
    free: Vec<Slot>,
    /// Every watch twice, so that both a change and a closing connection find theirs. Order makes
    /// notifications deterministic: by connection.
    by_path: BTreeSet<(Slot, WatchKind, ConnId)>,
    by_conn: BTreeSet<(ConnId, Slot, WatchKind)>,
    /// Kept for its capacity: whom the event in hand goes to.
    told: Vec<ConnId>,
    mutants: Mutants,
}

impl Watches {
    /// `seed` keys the hashing of paths, so that clients can not choose colliding ones.
    pub fn new(seed: u64, mutants: Mutants) -> Self {
        Self {
            seed,
            index: HashTable::new(),
            paths: Vec::new(),
            free: Vec::new(),
            by_path: BTreeSet::new(),
            by_conn: BTreeSet::new(),
            told: Vec::new(),
            mutants,
        }
    }

    /// Watches in both tables: `zk_watch_count`.
    pub fn count(&self) -> usize {
        self.by_path.len()
    }

    /// Paths that somebody watches.
    pub fn path_count(&self) -> usize {
        self.index.len()
    }

    /// Registers a watch; the same one again changes nothing. The node need not exist. The empty
    /// path is the root, as in reads.
    pub fn add(&mut self, kind: WatchKind, path: &str, conn: ConnId) {
        let path = if path.is_empty() { path::ROOT } else { path };
        let slot = self.find(path).unwrap_or_else(|| self.intern(path));
        let is_new = self.by_path.insert((slot, kind, conn));
        assert_eq!(
            is_new,
            self.by_conn.insert((conn, slot, kind)),
            "watch tables disagree"
        );
    }

    /// Tells everybody who waits for `change`, once each, in the order of their connections, and
    /// forgets those watches: also the ones of connections that may not read the node and
    /// therefore hear nothing.
    pub fn fire(&mut self, change: &Change, to: &mut impl Listeners) {
        let Some(slot) = self.find(&change.path) else {
            return;
        };
        let mut told = core::mem::take(&mut self.told);
        told.clear();
        let event = match change.kind {
            ChangeKind::Created => event::NODE_CREATED,
            ChangeKind::Deleted => event::NODE_DELETED,
            ChangeKind::DataChanged => event::NODE_DATA_CHANGED,
            ChangeKind::ChildrenChanged => event::NODE_CHILDREN_CHANGED,
        };
        if change.kind == ChangeKind::ChildrenChanged {
            self.take(slot, WatchKind::Child, &mut told);
        } else {
            self.take(slot, WatchKind::Data, &mut told);
        }
        if change.kind == ChangeKind::Deleted {
            // Child watchers hear of it after all data watchers, and nobody hears twice.
            let data_watchers = told.clone();
            self.take(slot, WatchKind::Child, &mut told);
            let mut at = 0;
            told.retain(|conn| {
                at += 1;
                at <= data_watchers.len() || data_watchers.binary_search(conn).is_err()
            });
        }
        self.release_if_unwatched(slot);
        for &conn in &told {
            if acl::allows(&change.acl, perms::READ, to.identities(conn)) {
                to.notify(conn, event, &change.path);
            }
        }
        self.told = told;
    }

    /// Forgets everything of a connection that closes, at a cost of what it watched.
    pub fn remove_conn(&mut self, conn: ConnId) {
        let all = (conn, Slot::MIN, WatchKind::Data)..=(conn, Slot::MAX, WatchKind::Child);
        while let Some(&watch) = self.by_conn.range(all.clone()).next() {
            let (_, slot, kind) = watch;
            self.by_conn.remove(&watch);
            assert!(
                self.by_path.remove(&(slot, kind, conn)),
                "watch tables disagree"
            );
            self.release_if_unwatched(slot);
        }
    }

    fn hash(&self, path: &str) -> u64 {
        hash::spread(hash::path(self.seed, path))
    }

    fn find(&self, path: &str) -> Option<Slot> {
        if self.index.is_empty() {
            return None;
        }
        let hash = self.hash(path);
        self.index
            .find(hash, |&slot| *self.paths[slot as usize] == *path)
            .copied()
    }

    /// Gives an unwatched path a slot.
    fn intern(&mut self, path: &str) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.paths.push(Box::default());
            Slot::try_from(self.paths.len() - 1).expect("memory ends before 2^32 watched paths")
        });
        self.paths[slot as usize] = path.into();
        let hash = self.hash(path);
        let (paths, seed) = (&self.paths, self.seed);
        let rehash = |&slot: &Slot| hash::spread(hash::path(seed, &paths[slot as usize]));
        self.index.insert_unique(hash, slot, rehash);
        slot
    }

    /// Removes the watches of that kind and appends their connections, in order.
    fn take(&mut self, slot: Slot, kind: WatchKind, conns: &mut Vec<ConnId>) {
        let start = conns.len();
        conns.extend(
            self.by_path
                .range(watchers(slot, kind))
                .map(|&(_, _, conn)| conn),
        );
        if self.mutants.has(Mutant::WatchFiresTwice) {
            return;
        }
        for &conn in &conns[start..] {
            self.by_path.remove(&(slot, kind, conn));
            assert!(
                self.by_conn.remove(&(conn, slot, kind)),
                "watch tables disagree"
            );
        }
    }

    fn release_if_unwatched(&mut self, slot: Slot) {
        let all = (slot, WatchKind::Data, ConnId(0))..=(slot, WatchKind::Child, ConnId(u64::MAX));
        if self.by_path.range(all).next().is_some() {
            return;
        }
        let path = core::mem::take(&mut self.paths[slot as usize]);
        let hash = self.hash(&path);
        let entry = self.index.find_entry(hash, |&other| other == slot);
        let Ok(entry) = entry else {
            panic!("watched path {path:?} is not in the index");
        };
        entry.remove();
        self.free.push(slot);
    }
}

fn watchers(slot: Slot, kind: WatchKind) -> RangeInclusive<(Slot, WatchKind, ConnId)> {
    (slot, kind, ConnId(0))..=(slot, kind, ConnId(u64::MAX))
}

#[cfg(test)]
mod tests;
