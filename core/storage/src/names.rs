//! Names of files in the data directory. ZooKeeper picks its files by the text before the first
//! dot; what this server is still writing has names that it passes over.

use vivarium_core::ids::Zxid;

use crate::packing::Packing;

pub(crate) const ACCEPTED_EPOCH: &str = "acceptedEpoch";
pub(crate) const CURRENT_EPOCH: &str = "currentEpoch";
/// ZooKeeper's suffix for a file that will replace one of the epochs.
pub(crate) const TMP_SUFFIX: &str = ".tmp";

/// A background snapshot on its way. A driver may sync this file through a handle of its own, so
/// that the sync at the snapshot's end is short.
pub const BACKGROUND_TMP: &str = "tmp.background";
/// A snapshot from the leader on its way.
pub(crate) const INSTALL_TMP: &str = "tmp.install";

/// The log file that is begun when there is no room for another.
pub(crate) const SPARE_LOG: &str = "tmp.spare";
/// Given up when there is no room for an epoch.
pub(crate) const BALLAST: &str = "tmp.ballast";

const LOG_PREFIX: &str = "log.";
const SNAPSHOT_PREFIX: &str = "snapshot.";

/// The log file whose first transaction is `first`.
pub(crate) fn log(first: Zxid) -> String {
    format!("{LOG_PREFIX}{first:x}", first = first.0)
}

/// The snapshot of the state at `zxid`.
pub(crate) fn snapshot(zxid: Zxid, packing: Packing) -> String {
    let suffix = packing.suffix();
    format!("{SNAPSHOT_PREFIX}{zxid:x}{suffix}", zxid = zxid.0)
}

pub(crate) fn parse_log(name: &str) -> Option<Zxid> {
    parse_hex(name.strip_prefix(LOG_PREFIX)?)
}

pub(crate) fn parse_snapshot(name: &str) -> Option<Zxid> {
    let rest = name.strip_prefix(SNAPSHOT_PREFIX)?;
    parse_hex(rest.strip_suffix(packing(name).suffix())?)
}

/// How a snapshot of this name is packed.
pub(crate) fn packing(name: &str) -> Packing {
    [Packing::Gzip, Packing::Snappy]
        .into_iter()
        .find(|packing| name.ends_with(packing.suffix()))
        .unwrap_or_default()
}

/// What `Long.toHexString` writes: negative numbers as two's complement, which no zxid is.
fn parse_hex(text: &str) -> Option<Zxid> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    i64::from_str_radix(text, 16).ok().map(Zxid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_zookeeper() {
        assert_eq!(log(Zxid(0x1_0000_000a)), "log.10000000a");
        assert_eq!(snapshot(Zxid::ZERO, Packing::Plain), "snapshot.0");
        assert_eq!(snapshot(Zxid(31), Packing::Gzip), "snapshot.1f.gz");
        assert_eq!(parse_log("log.10000000a"), Some(Zxid(0x1_0000_000a)));
        assert_eq!(parse_snapshot("snapshot.0"), Some(Zxid::ZERO));
        for name in ["snapshot.1f", "snapshot.1f.gz", "snapshot.1f.snappy"] {
            assert_eq!(parse_snapshot(name), Some(Zxid(0x1f)), "{name}");
        }
        for name in [
            "log.",
            "log.+1",
            "log.x",
            "log",
            "log.1.bak",
            "snapshot.1.tmp",
            "snapshot.gz",
            "snapshot..gz",
            "snapshot.1.gz.snappy",
            "logs.1",
        ] {
            assert_eq!(
                parse_log(name).or_else(|| parse_snapshot(name)),
                None,
                "{name}"
            );
        }
        assert_eq!(parse_log("log.ffffffffffffffff"), None);
        assert_eq!(
            parse_snapshot(BACKGROUND_TMP).or_else(|| parse_log(INSTALL_TMP)),
            None
        );
    }
}
