//! A set of small numbers that costs little when there are few.
//!
//! Most paths are watched by one connection and most connections watch a few paths, so up to three
//! numbers need no memory besides the set's own 16 bytes. More stand in a B-tree, about ten bytes
//! each: never a scan, and the order is the same whatever happened before.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;

/// Without memory of its own.
const FEW: usize = 3;

#[derive(Clone, Debug)]
pub(super) enum Set {
    /// The first `len` keys, ascending.
    Few { len: u8, keys: [u32; FEW] },
    /// Boxed: a tree's head is larger than three numbers.
    #[allow(
        clippy::box_collection,
        reason = "a set is two words, which a tree's head is not"
    )]
    Many(Box<BTreeSet<u32>>),
}

impl Default for Set {
    fn default() -> Self {
        Self::Few {
            len: 0,
            keys: [0; FEW],
        }
    }
}

impl Set {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few { len, .. } => usize::from(*len),
            Self::Many(tree) => tree.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn contains(&self, key: u32) -> bool {
        match self {
            Self::Few { len, keys } => keys[..usize::from(*len)].contains(&key),
            Self::Many(tree) => tree.contains(&key),
        }
    }

    /// The smallest number that is not below `bound`.
    pub(super) fn first_from(&self, bound: u32) -> Option<u32> {
        match self {
            Self::Few { len, keys } => {
                let mut keys = keys[..usize::from(*len)].iter().copied();
                keys.find(|&key| key >= bound)
            }
            Self::Many(tree) => tree.range(bound..).next().copied(),
        }
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let (few, many) = match self {
            Self::Few { len, keys } => (&keys[..usize::from(*len)], None),
            Self::Many(tree) => (&[][..], Some(tree.iter())),
        };
        few.iter().chain(many.into_iter().flatten()).copied()
    }

    /// Says whether it is new.
    pub(super) fn insert(&mut self, key: u32) -> bool {
        match self {
            Self::Few { len, keys } => {
                let n = usize::from(*len);
                let at = keys[..n].partition_point(|&k| k < key);
                if keys[..n].get(at) == Some(&key) {
                    return false;
                }
                if n == FEW {
                    let all = keys.iter().copied().chain([key]);
                    *self = Self::Many(Box::new(all.collect()));
                    return true;
                }
                keys.copy_within(at..n, at + 1);
                keys[at] = key;
                *len += 1;
                true
            }
            Self::Many(tree) => tree.insert(key),
        }
    }

    /// Says whether it was there.
    pub(super) fn remove(&mut self, key: u32) -> bool {
        match self {
            Self::Few { len, keys } => {
                let n = usize::from(*len);
                let Some(at) = keys[..n].iter().position(|&k| k == key) else {
                    return false;
                };
                keys.copy_within(at + 1..n, at);
                *len -= 1;
                true
            }
            Self::Many(tree) => {
                let was_there = tree.remove(&key);
                // Later than it grew, so that one number that comes and goes moves nothing.
                if tree.len() < FEW {
                    let mut few = Self::default();
                    tree.iter().for_each(|&key| assert!(few.insert(key)));
                    *self = few;
                }
                was_there
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_set_is_two_words() {
        assert_eq!(size_of::<Set>(), 16);
    }

    proptest::proptest! {
        /// Against a plain B-tree.
        #[test]
        fn behaves_as_a_tree(
            steps in proptest::collection::vec((proptest::bool::ANY, 0..9_u32), 0..60),
        ) {
            let (mut set, mut model) = (Set::default(), BTreeSet::new());
            for (insert, key) in steps {
                if insert {
                    proptest::prop_assert_eq!(set.insert(key), model.insert(key));
                } else {
                    proptest::prop_assert_eq!(set.remove(key), model.remove(&key));
                }
                let all: Vec<u32> = set.iter().collect();
                proptest::prop_assert!(all.iter().eq(&model));
                proptest::prop_assert_eq!(set.len(), model.len());
                for bound in 0..10 {
                    let expected = model.range(bound..).next().copied();
                    proptest::prop_assert_eq!(set.first_from(bound), expected);
                    proptest::prop_assert_eq!(set.contains(bound), model.contains(&bound));
                }
            }
        }
    }
}
