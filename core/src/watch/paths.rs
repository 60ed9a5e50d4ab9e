//! The paths that somebody watches, and who watches each of them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashTable;

use super::set::Set;
use super::{Table, Who, path_cost};
use crate::tree::hash;

/// Index of a watched path.
pub(super) type Slot = u32;

/// One path. Its watchers stand in two sets, of numbers made by [`entry`](super::entry).
#[derive(Default, Debug)]
pub(super) struct Spot {
    pub(super) path: Box<str>,
    pub(super) data: Set,
    pub(super) child: Set,
}

impl Spot {
    pub(super) fn table(&self, table: Table) -> &Set {
        match table {
            Table::Data => &self.data,
            Table::Child => &self.child,
        }
    }

    fn is_unwatched(&self) -> bool {
        self.data.is_empty() && self.child.is_empty()
    }
}

/// An index entry, with the hash so that a growing index reads no paths.
#[derive(Clone, Copy, Debug)]
struct Key {
    hash: u32,
    slot: Slot,
}

/// All watched paths, found by their text.
#[derive(Debug)]
pub(super) struct Paths {
    /// Keys the hash.
    seed: u64,
    /// Never iterated.
    index: HashTable<Key>,
    /// Those in `free` have an empty path.
    spots: Vec<Spot>,
    free: Vec<Slot>,
    /// Cost of all paths.
    bytes: u64,
}

impl Paths {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            index: HashTable::new(),
            spots: Vec::new(),
            free: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Estimated bytes of all paths, without their watches.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Spot> {
        self.spots.iter()
    }

    pub(super) fn at(&self, slot: Slot) -> &Spot {
        &self.spots[slot as usize]
    }

    pub(super) fn table_mut(&mut self, slot: Slot, table: Table) -> &mut Set {
        let spot = &mut self.spots[slot as usize];
        match table {
            Table::Data => &mut spot.data,
            Table::Child => &mut spot.child,
        }
    }

    pub(super) fn find(&self, path: &str) -> Option<Slot> {
        if self.index.is_empty() {
            return None;
        }
        let hash = self.hash(path);
        let is_it = |key: &Key| key.hash == hash && *self.at(key.slot).path == *path;
        let found = self.index.find(hash::spread(hash), is_it);
        found.map(|key| key.slot)
    }

    /// Gives a path that is not there yet a slot. The caller adds its first watch.
    pub(super) fn intern(&mut self, path: &str) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.spots.push(Spot::default());
            Slot::try_from(self.spots.len() - 1).expect("memory ends before 2^32 watched paths")
        });
        self.spots[slot as usize].path = path.into();
        self.bytes += path_cost(path);
        let hash = self.hash(path);
        let key = Key { hash, slot };
        self.index
            .insert_unique(hash::spread(hash), key, |key| hash::spread(key.hash));
        slot
    }

    pub(super) fn release_if_unwatched(&mut self, slot: Slot) {
        if !self.at(slot).is_unwatched() {
            return;
        }
        let spot = core::mem::take(&mut self.spots[slot as usize]);
        let hash = self.hash(&spot.path);
        let found = self
            .index
            .find_entry(hash::spread(hash), |key| key.slot == slot);
        let Ok(entry) = found else {
            panic!("watched path {:?} is not in the index", spot.path);
        };
        entry.remove();
        self.bytes -= path_cost(&spot.path);
        self.free.push(slot);
    }

    fn hash(&self, path: &str) -> u32 {
        hash::path(self.seed, path)
    }
}

/// The paths that are watched recursively, in an index of their own: looking for a path here costs
/// nothing that grows with the other watches.
#[derive(Default, Debug)]
pub(super) struct Recursive {
    index: HashTable<(Key, Set)>,
}

impl Recursive {
    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Who watches the path and all below it.
    pub(super) fn get(&self, paths: &Paths, path: &str) -> Option<&Set> {
        let hash = paths.hash(path);
        let is_it = |(key, _): &(Key, Set)| key.hash == hash && *paths.at(key.slot).path == *path;
        let found = self.index.find(hash::spread(hash), is_it);
        found.map(|(_, set)| set)
    }

    pub(super) fn add(&mut self, paths: &Paths, slot: Slot, who: Who) {
        let hash = paths.hash(&paths.at(slot).path);
        let entry = self.index.entry(
            hash::spread(hash),
            |(key, _)| key.slot == slot,
            |(key, _)| hash::spread(key.hash),
        );
        let mut entry = entry.or_insert_with(|| (Key { hash, slot }, Set::default()));
        assert!(entry.get_mut().1.insert(who), "watch tables disagree");
    }

    pub(super) fn remove(&mut self, paths: &Paths, slot: Slot, who: Who) {
        let hash = hash::spread(paths.hash(&paths.at(slot).path));
        let found = self.index.find_entry(hash, |(key, _)| key.slot == slot);
        let Ok(mut entry) = found else {
            panic!("watch tables disagree");
        };
        assert!(entry.get_mut().1.remove(who), "watch tables disagree");
        if entry.get().1.is_empty() {
            entry.remove();
        }
    }
}
