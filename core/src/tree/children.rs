//! The children of one znode, ordered by the bytes of their names.
//!
//! Holds places only; names are looked up. Runs of bounded length keep an insert into a node with
//! a million children cheap, and the first run alone serves the many nodes with a few.

use alloc::vec::Vec;

use super::slab::{NodeId, Slab};

/// Longest run.
const RUN_MAX: usize = 512;

/// Where a child is, or would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Position {
    run: usize,
    at: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Children {
    first: Vec<NodeId>,
    /// None of them is empty.
    rest: Vec<Vec<NodeId>>,
    len: u32,
}

impl Children {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    fn run(&self, run: usize) -> &Vec<NodeId> {
        if run == 0 {
            &self.first
        } else {
            &self.rest[run - 1]
        }
    }

    fn run_mut(&mut self, run: usize) -> &mut Vec<NodeId> {
        if run == 0 {
            &mut self.first
        } else {
            &mut self.rest[run - 1]
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = NodeId> {
        self.first.iter().chain(self.rest.iter().flatten()).copied()
    }

    /// The child at a position, and the position after it.
    pub(super) fn next(&self, position: Position) -> Option<(NodeId, Position)> {
        let Position { mut run, mut at } = position;
        if at == self.run(run).len() {
            (run, at) = (run + 1, 0);
        }
        if run > self.rest.len() {
            return None;
        }
        let id = *self.run(run).get(at)?;
        Some((id, Position { run, at: at + 1 }))
    }

    /// `Ok` where the name is, `Err` where it belongs.
    pub(super) fn search(&self, name: &[u8], slab: &Slab) -> Result<Position, Position> {
        let later = self
            .rest
            .partition_point(|run| slab.get(run[0]).name() <= name);
        match self
            .run(later)
            .binary_search_by(|&id| slab.get(id).name().cmp(name))
        {
            Ok(at) => Ok(Position { run: later, at }),
            Err(at) => Err(Position { run: later, at }),
        }
    }

    /// The position behind all, if the name belongs there.
    fn behind_all(&self, name: &[u8], slab: &Slab) -> Option<Position> {
        let run = self.rest.len();
        let at = self.run(run).len();
        let belongs = match self.run(run).last() {
            Some(&last) => slab.get(last).name() < name,
            None => true,
        };
        belongs.then_some(Position { run, at })
    }

    /// False, and nothing changes, if the name is there already.
    pub(super) fn insert(&mut self, id: NodeId, name: &[u8], slab: &Slab) -> bool {
        let place = match self.behind_all(name, slab) {
            Some(place) => Err(place),
            None => self.search(name, slab),
        };
        let Err(Position { run, at }) = place else {
            return false;
        };
        self.len += 1;
        if self.run(run).len() < RUN_MAX {
            self.run_mut(run).insert(at, id);
        } else if at == RUN_MAX {
            // Names that rise, such as sequence names, leave full runs behind.
            self.rest.insert(run, [id].into());
        } else {
            let mut upper = self.run_mut(run).split_off(RUN_MAX / 2);
            match at.checked_sub(RUN_MAX / 2) {
                Some(at) => upper.insert(at, id),
                None => self.run_mut(run).insert(at, id),
            }
            self.rest.insert(run, upper);
        }
        true
    }

    /// The name must be there.
    pub(super) fn remove(&mut self, name: &[u8], slab: &Slab) -> NodeId {
        let Ok(Position { run, at }) = self.search(name, slab) else {
            panic!("only a child is removed");
        };
        self.len -= 1;
        let id = self.run_mut(run).remove(at);
        if self.run(run).is_empty() && !self.rest.is_empty() {
            if run == 0 {
                self.first = self.rest.remove(0);
            } else {
                self.rest.remove(run - 1);
            }
        }
        id
    }
}
