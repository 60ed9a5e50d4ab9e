//! What this server calls itself. Constants only: two builds of one source are equal.

/// The release of ZooKeeper whose protocol and disk format are spoken.
pub const ZOOKEEPER: &str = "3.9.4";

/// The line's head is what collectors and clients parse as x.y.z; the date is that of the release
/// of this crate version, not of the build.
pub const FULL: &str = concat!(
    "3.9.4-vivarium-",
    env!("CARGO_PKG_VERSION"),
    ", built on 2026-11-21 00:00 UTC"
);

/// For `vivarium version`.
pub const SHORT: &str = concat!(
    "vivarium ",
    env!("CARGO_PKG_VERSION"),
    " (speaks ZooKeeper 3.9.4)"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_starts_with_three_numbers() {
        let numbers = FULL.split('-').next().expect("a first part");
        assert_eq!(numbers, ZOOKEEPER);
        assert!(numbers.split('.').all(|n| n.parse::<u32>().is_ok()));
        assert!(SHORT.contains(ZOOKEEPER));
    }
}
