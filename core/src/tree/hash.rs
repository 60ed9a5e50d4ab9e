//! The keyed hash of paths. Never observable: it finds a place in a table that nobody iterates.
//!
//! Clients choose paths, so the key comes from the configuration; otherwise they could choose
//! paths that all fall on one place.

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const FOLD: u64 = 0xa076_1d64_78bd_642f;

/// 128-bit product folded to 64 bits: every input bit reaches every output bit.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

fn word(bytes: &[u8]) -> u64 {
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(padded)
}

/// Hash of a whole path.
pub(crate) fn path(seed: u64, path: &str) -> u32 {
    let mut state = seed ^ SPREAD;
    for chunk in path.as_bytes().chunks(16) {
        let (low, high) = chunk.split_at(chunk.len().min(8));
        state = fold(word(low) ^ state, word(high) ^ FOLD);
    }
    (fold(state ^ path.len() as u64, seed ^ FOLD) >> 16) as u32
}

/// The hash as the table wants it: it looks at the lowest and the highest bits.
pub(crate) fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(SPREAD)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;

    use super::*;

    #[test]
    fn near_paths_fall_on_different_places() {
        let hashes: BTreeSet<u32> = (0..10_000)
            .map(|i| path(7, &format!("/a/n{i:010}")))
            .collect();
        assert!(hashes.len() > 9_990);
        let low: BTreeSet<u64> = hashes.iter().map(|&h| spread(h) & 0x3fff).collect();
        assert!(low.len() > 7_000, "{} of 16384 places used", low.len());
    }

    #[test]
    fn the_seed_matters() {
        assert_ne!(path(1, "/a"), path(2, "/a"));
        assert_ne!(path(1, "/a"), path(1, "/a\0"));
    }
}
