//! Watches of this server's connections, and which change tells whom.
//!
//! Knows: ZooKeeper's two tables (data watches, child watches), the modes that a watch can have,
//! which events each receives, and how much memory all of them may take. Refuses to know: frames,
//! sessions, and when an event may be sent; the caller delivers before it shows the change to
//! anybody.

mod paths;
mod set;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;

use crate::database::{Change, ChangeKind};
use crate::ids::ConnId;
use crate::limits::{
    WATCH_BYTES, WATCH_BYTES_MAX, WATCHED_PATH_BYTES, WATCHED_PATHS_BYTES_PER_CONNECTION_MAX,
};
use crate::mutants::{Mutant, Mutants};
use crate::path;
use crate::wire::client::event;
use crate::wire::records::Acl;
use paths::{Paths, Recursive, Slot};
use set::Set;

/// What a watch waits for. One connection may have all four on one path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum WatchKind {
    /// The next creation, change of data or deletion: set by exists and getData.
    Data,
    /// The next change of the list of children, or deletion: set by getChildren.
    Child,
    /// All of these, until it is removed: addWatch.
    Persistent,
    /// Every creation, change of data and deletion of the node and of all below it, until it is
    /// removed: addWatch. Never a change of a list of children.
    Recursive,
}

impl WatchKind {
    const ALL: [Self; 4] = [Self::Data, Self::Child, Self::Persistent, Self::Recursive];

    /// Where it stands.
    fn places(self) -> &'static [(Table, u32)] {
        match self {
            Self::Data => &[(Table::Data, ONE_SHOT)],
            Self::Child => &[(Table::Child, ONE_SHOT)],
            Self::Persistent => &[(Table::Data, PERSISTENT), (Table::Child, PERSISTENT)],
            Self::Recursive => &[(Table::Data, RECURSIVE)],
        }
    }
}

/// ZooKeeper's two tables: an event looks into one of them, a deletion into both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Table {
    Data,
    Child,
}

const TABLES: [Table; 2] = [Table::Data, Table::Child];

// Modes of one connection on one path in one table.
const ONE_SHOT: u32 = 1;
const PERSISTENT: u32 = 2;
const RECURSIVE: u32 = 4;
const ALL_MODES: u32 = ONE_SHOT | PERSISTENT | RECURSIVE;
const MODE_BITS: u32 = 3;

/// Memory for watches is used up: [`WATCH_BYTES_MAX`], or
/// [`WATCHED_PATHS_BYTES_PER_CONNECTION_MAX`] for the connection that asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// Who hears of events: the connections of this server.
pub trait Listeners {
    /// May the connection, with what it has proven so far, know of a change under this list?
    fn may_read(&self, conn: ConnId, list: &[Acl]) -> bool;

    /// Sends one event (a number of [`event`]).
    fn notify(&mut self, conn: ConnId, event: i32, path: &str);
}

/// Sizes of one table.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// That watch something.
    pub connections: usize,
    /// That somebody watches.
    pub paths: usize,
    /// Pairs of both, whatever number of modes each has.
    pub watches: usize,
}

/// Index of a connection that watches something.
type Who = u32;

#[derive(Debug)]
struct Watcher {
    conn: ConnId,
    /// What it watches, in either table.
    slots: Set,
    /// Of those, in each table.
    watches: [u32; 2],
    /// What its paths would take if it alone watched them.
    path_bytes: u64,
}

/// All watches of one server. A path is stored once, however many connections watch it in whatever
/// modes; a watch is four bytes at its path and four at its connection, besides what keeps them in
/// order.
#[derive(Debug)]
pub struct Watches {
    paths: Paths,
    /// Recursive watches once more, so that changes below them find them without a look at what
    /// else is watched.
    recursive: Recursive,
    /// Those in `free` belong to nobody.
    watchers: Vec<Watcher>,
    free: Vec<Who>,
    by_conn: BTreeMap<ConnId, Who>,
    sizes: [Summary; 2],
    bytes_max: u64,
    /// A watch found no room since this was last asked.
    has_refused: bool,
    path_bytes_per_connection_max: u64,
    /// Kept for its capacity: whom the event in hand goes to.
    told: Vec<ConnId>,
    /// Kept for its capacity: what stands at the path in hand.
    found: Vec<u32>,
    mutants: Mutants,
}

impl Watches {
    /// `seed` keys the hashing of paths, so that clients can not choose colliding ones.
    pub fn new(seed: u64, mutants: Mutants) -> Self {
        Self {
            paths: Paths::new(seed),
            recursive: Recursive::default(),
            watchers: Vec::new(),
            free: Vec::new(),
            by_conn: BTreeMap::new(),
            sizes: [Summary::default(); 2],
            bytes_max: WATCH_BYTES_MAX,
            has_refused: false,
            path_bytes_per_connection_max: WATCHED_PATHS_BYTES_PER_CONNECTION_MAX,
            told: Vec::new(),
            found: Vec::new(),
            mutants,
        }
    }

    /// Watches in both tables, as ZooKeeper counts them (`zk_watch_count`): a persistent one
    /// stands in both.
    pub fn count(&self) -> usize {
        self.sizes.iter().map(|size| size.watches).sum()
    }

    /// Paths that somebody watches, in either table.
    pub fn path_count(&self) -> usize {
        self.paths.len()
    }

    /// Of the table of data watches, which alone ZooKeeper's words `wchs`, `wchc` and `wchp` show.
    pub fn summary(&self) -> Summary {
        self.sizes[Table::Data as usize]
    }

    /// Each path in the table of data watches with the connections that watch it, in no
    /// particular order.
    pub fn by_path(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = ConnId>)> {
        let watched = self.paths.iter().filter(|spot| !spot.data.is_empty());
        watched.map(|spot| {
            let who = spot.data.iter().map(|entry| entry >> MODE_BITS);
            (&*spot.path, who.map(|who| self.watcher(who).conn))
        })
    }

    /// Each connection in the table of data watches with the paths that it watches.
    pub fn by_connection(&self) -> impl Iterator<Item = (ConnId, impl Iterator<Item = &str>)> {
        let all = self.by_conn.iter();
        let all = all.map(|(&conn, &who)| (conn, who, self.watcher(who)));
        let in_table = all.filter(|(_, _, watcher)| watcher.watches[Table::Data as usize] > 0);
        in_table.map(|(conn, who, watcher)| {
            let spots = watcher.slots.iter().map(|slot| self.paths.at(slot));
            let data = spots.filter(move |spot| modes(&spot.data, who) != 0);
            (conn, data.map(|spot| &*spot.path))
        })
    }

    /// Registers a watch; the same one again changes nothing. The node need not exist. Of the empty
    /// path, through which reads see the root, no change is ever told, as in ZooKeeper.
    ///
    /// # Errors
    /// [`Full`]; then nothing is registered.
    pub fn add(&mut self, kind: WatchKind, path: &str, conn: ConnId) -> Result<(), Full> {
        let slot = self.paths.find(path);
        let who = self.by_conn.get(&conn).copied();
        let (slot, who) = match slot.zip(who) {
            Some((slot, who)) if self.watcher(who).slots.contains(slot) => (slot, who),
            _ => {
                let room = self.check_room(path, slot.is_none(), who);
                self.has_refused |= room.is_err();
                room?;
                let slot = slot.unwrap_or_else(|| self.paths.intern(path));
                let who = who.unwrap_or_else(|| self.enlist(conn));
                let watcher = &mut self.watchers[who as usize];
                watcher.slots.insert(slot);
                watcher.path_bytes += path_cost(path);
                (slot, who)
            }
        };
        for &(table, mode) in kind.places() {
            self.enter(slot, table, who, mode);
        }
        Ok(())
    }

    /// Does this connection have a watch of this kind on exactly this path? `None`: of any kind.
    pub fn contains(&self, kind: Option<WatchKind>, path: &str, conn: ConnId) -> bool {
        let slot = self.paths.find(path);
        let Some((slot, who)) = slot.zip(self.by_conn.get(&conn).copied()) else {
            return false;
        };
        let spot = self.paths.at(slot);
        let mut places = kinds(kind).iter().flat_map(|kind| kind.places());
        places.any(|&(table, mode)| modes(spot.table(table), who) & mode != 0)
    }

    /// Removes this connection's watch of this kind on exactly this path; its others stay. `None`:
    /// of every kind. Says whether there was one.
    pub fn remove(&mut self, kind: Option<WatchKind>, path: &str, conn: ConnId) -> bool {
        let slot = self.paths.find(path);
        let Some((slot, who)) = slot.zip(self.by_conn.get(&conn).copied()) else {
            return false;
        };
        let mut found = false;
        for &(table, mode) in kinds(kind).iter().flat_map(|kind| kind.places()) {
            found |= self.leave(slot, table, who, mode);
        }
        if found {
            self.settle(slot, who);
            self.paths.release_if_unwatched(slot);
        }
        found
    }

    /// Tells everybody who waits for `change`, in the order of their connections, and forgets the
    /// one-shot watches among these: also those of connections that may not read the node and
    /// therefore hear nothing. A connection is told once, in whatever modes it watches; a deletion
    /// tells the watchers of children after all others.
    pub fn fire(&mut self, change: &Change, to: &mut impl Listeners) {
        let (event, table) = match change.kind {
            ChangeKind::Created => (event::NODE_CREATED, Table::Data),
            ChangeKind::Deleted => (event::NODE_DELETED, Table::Data),
            ChangeKind::DataChanged => (event::NODE_DATA_CHANGED, Table::Data),
            ChangeKind::ChildrenChanged => (event::NODE_CHILDREN_CHANGED, Table::Child),
        };
        let mut told = mem::take(&mut self.told);
        told.clear();
        let slot = self.paths.find(&change.path);
        if let Some(slot) = slot {
            self.take(slot, table, &mut told);
        }
        if table == Table::Data {
            self.look_above(&change.path, &mut told);
        }
        told.sort_unstable();
        told.dedup();
        if let Some(slot) = slot {
            if change.kind == ChangeKind::Deleted {
                let first = told.len();
                self.take(slot, Table::Child, &mut told);
                told[first..].sort_unstable();
                let mut kept = first;
                for at in first..told.len() {
                    if told[..first].binary_search(&told[at]).is_err() {
                        told[kept] = told[at];
                        kept += 1;
                    }
                }
                told.truncate(kept);
            }
            self.paths.release_if_unwatched(slot);
        }
        for &conn in &told {
            if to.may_read(conn, &change.acl) || self.mutants.has(Mutant::EventsUnfiltered) {
                to.notify(conn, event, &change.path);
            }
        }
        self.told = told;
    }

    /// Forgets everything of a connection that closes, at a cost of what it watched.
    pub fn remove_conn(&mut self, conn: ConnId) {
        let Some(&who) = self.by_conn.get(&conn) else {
            return;
        };
        let slots = mem::take(&mut self.watchers[who as usize].slots);
        for slot in slots.iter() {
            for table in TABLES {
                self.leave(slot, table, who, ALL_MODES);
            }
            self.paths.release_if_unwatched(slot);
        }
        self.dismiss(who);
    }

    /// Has a watch found no room since this was last asked?
    pub fn take_refusal(&mut self) -> bool {
        core::mem::take(&mut self.has_refused)
    }

    /// Another bound than [`WATCH_BYTES_MAX`].
    #[cfg(test)]
    pub(crate) fn bound(&mut self, bytes: u64) {
        self.bytes_max = bytes;
    }

    fn watcher(&self, who: Who) -> &Watcher {
        &self.watchers[who as usize]
    }

    /// Before a connection watches a path for the first time.
    fn check_room(&self, path: &str, is_new: bool, who: Option<Who>) -> Result<(), Full> {
        let cost = path_cost(path);
        let own = who.map_or(0, |who| self.watcher(who).path_bytes);
        let bytes = self.paths.bytes()
            + if is_new { cost } else { 0 }
            + WATCH_BYTES * (self.count() as u64 + 1);
        if bytes > self.bytes_max || own + cost > self.path_bytes_per_connection_max {
            return Err(Full);
        }
        Ok(())
    }

    /// Gives a connection that watches nothing yet an index.
    fn enlist(&mut self, conn: ConnId) -> Who {
        let new = Watcher {
            conn,
            slots: Set::default(),
            watches: [0; 2],
            path_bytes: 0,
        };
        let who = match self.free.pop() {
            Some(who) => {
                self.watchers[who as usize] = new;
                who
            }
            None => {
                let who = self.watchers.len();
                assert!(
                    who < 1 << (u32::BITS - MODE_BITS),
                    "sockets end before 2^29"
                );
                self.watchers.push(new);
                who as Who
            }
        };
        self.by_conn.insert(conn, who);
        who
    }

    /// A connection watches nothing any more.
    fn dismiss(&mut self, who: Who) {
        let Watcher { conn, watches, .. } = self.watchers[who as usize];
        assert!(watches == [0; 2], "watch tables disagree");
        self.by_conn.remove(&conn);
        self.free.push(who);
    }

    fn enter(&mut self, slot: Slot, table: Table, who: Who, mode: u32) {
        let set = self.paths.table_mut(slot, table);
        let old = modes(set, who);
        if old & mode != 0 {
            return;
        }
        let sizes = &mut self.sizes[table as usize];
        if old == 0 {
            let watches = &mut self.watchers[who as usize].watches[table as usize];
            sizes.watches += 1;
            sizes.paths += usize::from(set.is_empty());
            sizes.connections += usize::from(*watches == 0);
            *watches += 1;
        } else {
            assert!(set.remove(entry(who, old)), "watch tables disagree");
        }
        assert!(set.insert(entry(who, old | mode)), "watch tables disagree");
        if mode == RECURSIVE {
            self.recursive.add(&self.paths, slot, who);
        }
    }

    /// Takes away some of the modes. Says whether any was there. The caller settles what is left.
    fn leave(&mut self, slot: Slot, table: Table, who: Who, gone: u32) -> bool {
        let set = self.paths.table_mut(slot, table);
        let old = modes(set, who);
        if old & gone == 0 {
            return false;
        }
        let left = old & !gone;
        assert!(set.remove(entry(who, old)), "watch tables disagree");
        if left == 0 {
            let sizes = &mut self.sizes[table as usize];
            let watches = &mut self.watchers[who as usize].watches[table as usize];
            *watches -= 1;
            sizes.watches -= 1;
            sizes.paths -= usize::from(set.is_empty());
            sizes.connections -= usize::from(*watches == 0);
        } else {
            assert!(set.insert(entry(who, left)), "watch tables disagree");
        }
        if old & gone & RECURSIVE != 0 {
            self.recursive.remove(&self.paths, slot, who);
        }
        true
    }

    /// If the connection has no watch left on a path, the path is none of its own any more.
    fn settle(&mut self, slot: Slot, who: Who) {
        let spot = self.paths.at(slot);
        if TABLES
            .iter()
            .any(|&table| modes(spot.table(table), who) != 0)
        {
            return;
        }
        let cost = path_cost(&spot.path);
        let watcher = &mut self.watchers[who as usize];
        assert!(watcher.slots.remove(slot), "watch tables disagree");
        watcher.path_bytes -= cost;
        if watcher.slots.is_empty() {
            self.dismiss(who);
        }
    }

    /// Appends who watches this path in this table, and removes the one-shot watches.
    fn take(&mut self, slot: Slot, table: Table, told: &mut Vec<ConnId>) {
        let mut found = mem::take(&mut self.found);
        found.clear();
        found.extend(self.paths.at(slot).table(table).iter());
        for &entry in &found {
            let who = entry >> MODE_BITS;
            told.push(self.watcher(who).conn);
            if entry & ONE_SHOT != 0 && !self.mutants.has(Mutant::WatchFiresTwice) {
                self.leave(slot, table, who, ONE_SHOT);
                self.settle(slot, who);
            }
        }
        self.found = found;
    }

    /// Appends who watches a node above this path and all below it.
    fn look_above(&self, path: &str, told: &mut Vec<ConnId>) {
        if self.recursive.is_empty() {
            return;
        }
        let mut at = path;
        while at != path::ROOT {
            at = match path::parent(at) {
                "" => path::ROOT,
                parent => parent,
            };
            if let Some(set) = self.recursive.get(&self.paths, at) {
                told.extend(set.iter().map(|who| self.watcher(who).conn));
            }
            if self.mutants.has(Mutant::RecursiveWatchShallow) {
                return;
            }
        }
    }
}

fn path_cost(path: &str) -> u64 {
    WATCHED_PATH_BYTES + path.len() as u64
}

/// As it stands in a table's set.
fn entry(who: Who, modes: u32) -> u32 {
    who << MODE_BITS | modes
}

/// What this connection has in a table's set.
fn modes(set: &Set, who: Who) -> u32 {
    match set.first_from(entry(who, 0)) {
        Some(entry) if entry >> MODE_BITS == who => entry & ALL_MODES,
        _ => 0,
    }
}

fn kinds(kind: Option<WatchKind>) -> &'static [WatchKind] {
    match kind {
        None => &WatchKind::ALL,
        Some(kind) => &WatchKind::ALL[kind as usize..=kind as usize],
    }
}

#[cfg(test)]
mod tests;
