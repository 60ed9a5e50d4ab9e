//! The order in which a walk meets paths: depth first, parents first, children by the bytes of
//! their names.

use alloc::boxed::Box;
use core::cmp::Ordering;

/// A path, ordered as a walk meets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct WalkPath(pub(super) Box<str>);

impl Ord for WalkPath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for WalkPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The separator is below every byte of a name, so that `/a/x` comes before `/a-`.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte) + 1 };
    a.bytes().map(rank).cmp(b.bytes().map(rank))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_come_before_the_next_sibling() {
        let order = ["", "/a", "/a/\0", "/a/x", "/a/x/y", "/a\0", "/a-", "/b"];
        assert!(order.is_sorted_by(|a, b| compare(a, b) == Ordering::Less));
    }
}
