//! ZooKeeper's tree digest (`DigestCalculator`, `AdHash`): the sum over all nodes, modulo 2^64, of
//! a CRC-32 over path, data and stored stat.
//!
//! Two things are left out by ZooKeeper: ACLs, and every node below `/zookeeper`, because servers
//! write there on their own.

use crc32fast::Hasher;

use super::stat::StoredStat;

/// What a node's path and data contribute, so that a new stat costs no second pass over the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    pub(super) crc: u32,
    /// False below `/zookeeper`: such a node counts 0.
    pub(super) counted: bool,
}

impl Prefix {
    /// `path` is the full path; `""` and `"/"` both mean the root.
    pub fn new(path: &str, data: Option<&[u8]>) -> Self {
        let path = if path == "/" { "" } else { path };
        if !is_counted(path) {
            return Self {
                crc: 0,
                counted: false,
            };
        }
        let mut crc = Hasher::new();
        crc.update(path.as_bytes());
        crc.update(data.unwrap_or_default());
        Self {
            crc: crc.finalize(),
            counted: true,
        }
    }

    /// The node's digest with this stat.
    pub fn with(self, stat: &StoredStat) -> u64 {
        if !self.counted {
            return 0;
        }
        let mut crc = Hasher::new_with_initial(self.crc);
        crc.update(&stat_bytes(stat));
        u64::from(crc.finalize())
    }
}

/// The digest of one node. `path` is the full path; `""` and `"/"` both mean the root.
pub fn of(path: &str, data: Option<&[u8]>, stat: &StoredStat) -> u64 {
    Prefix::new(path, data).with(stat)
}

fn is_counted(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}

/// The stat in the order of the digest, which is not the order of the snapshot.
fn stat_bytes(stat: &StoredStat) -> [u8; 60] {
    let mut out = [0; 60];
    let longs = [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime];
    for (to, long) in out[..40].chunks_exact_mut(8).zip(longs) {
        to.copy_from_slice(&long.to_be_bytes());
    }
    for (to, int) in
        out[40..52]
            .chunks_exact_mut(4)
            .zip([stat.version, stat.cversion, stat.aversion])
    {
        to.copy_from_slice(&int.to_be_bytes());
    }
    out[52..].copy_from_slice(&stat.owner.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_tree_has_the_digest_that_zookeeper_prints() {
        let root = of("", Some(b""), &StoredStat::primordial());
        let zookeeper = of("/zookeeper", Some(b""), &StoredStat::primordial());
        assert_eq!(root.wrapping_add(zookeeper), 0x51c6_d660);
        assert_eq!(of("/", Some(b""), &StoredStat::primordial()), root);
    }

    #[test]
    fn nodes_below_zookeeper_count_nothing_but_neighbours_do() {
        let stat = StoredStat::primordial();
        assert_eq!(of("/zookeeper/config", Some(b"x"), &stat), 0);
        assert_ne!(of("/zookeeperx", Some(b"x"), &stat), 0);
    }

    #[test]
    fn null_and_empty_data_weigh_the_same() {
        let stat = StoredStat::primordial();
        assert_eq!(of("/a", None, &stat), of("/a", Some(b""), &stat));
        assert_ne!(of("/a", Some(b"x"), &stat), of("/a", Some(b""), &stat));
    }
}
