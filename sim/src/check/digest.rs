//! Rule `tree-digest`: servers that have applied the same transactions have the same tree, and it
//! is the one that the specification gives (ZAB: equal zxid implies equal state; ZooKeeper's
//! `DigestCalculator`).
//!
//! Every server's digest at its applied zxid is compared with the model's digest after that
//! transaction. Sound: the zxid is one of the canonical history, histories that contain it agree
//! up to it, and the digest covers exactly what the model computes. A zxid that is not (yet)
//! committed is not judged here; neither is one with counter 0 beyond the last transaction's epoch
//! change, which stands for the last transaction before it.

use vivarium_core::ids::{ServerId, Zxid};

/// Rule name.
pub const RULE: &str = "tree-digest";

/// CRC-32 as in zip and `java.util.zip.CRC32`.
#[derive(Clone, Copy, Debug)]
pub struct Crc(u32);

impl Default for Crc {
    fn default() -> Self {
        Self::new()
    }
}

const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut value = i as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                (value >> 1) ^ 0xedb8_8320
            } else {
                value >> 1
            };
            bit += 1;
        }
        tables[0][i] = value;
        i += 1;
    }
    let mut t = 1;
    while t < 8 {
        let mut i = 0;
        while i < 256 {
            let before = tables[t - 1][i];
            tables[t][i] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            i += 1;
        }
        t += 1;
    }
    tables
}

impl Crc {
    pub const fn new() -> Self {
        Self(!0)
    }

    /// Eight bytes at a time: the digest of every changed znode is on the path of every write.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut crc = self.0;
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let low = crc.to_le_bytes();
            let mut next = 0;
            for i in 0..8 {
                let byte = if i < 4 { chunk[i] ^ low[i] } else { chunk[i] };
                next ^= TABLES[7 - i][usize::from(byte)];
            }
            crc = next;
        }
        for byte in chunks.remainder() {
            crc = (crc >> 8) ^ TABLES[0][((crc ^ u32::from(*byte)) & 0xff) as usize];
        }
        self.0 = crc;
    }

    pub const fn value(self) -> u32 {
        !self.0
    }
}

/// Compares one server's digest with the model's at the same zxid.
pub fn judge(id: ServerId, zxid: Zxid, digest: u64, model: u64) -> Result<(), String> {
    if digest == model {
        return Ok(());
    }
    Err(format!(
        "server {id} at {zxid} has digest {digest:#x}, the history gives {model:#x}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::model::Model;

    #[test]
    fn crc_of_the_check_string() {
        let mut crc = Crc::new();
        crc.add(b"1234");
        crc.add(b"56789");
        assert_eq!(crc.value(), 0xcbf4_3926);
        let mut crc = Crc::new();
        crc.add(b"123456789");
        assert_eq!(crc.value(), 0xcbf4_3926);
    }

    #[test]
    fn empty_tree_has_zookeepers_digest() {
        assert_eq!(Model::new().digest(), 0x51c6_d660);
    }

    #[test]
    fn fires_on_another_digest_only() {
        assert!(judge(ServerId(1), Zxid(1), 5, 5).is_ok());
        assert!(judge(ServerId(1), Zxid(1), 5, 6).is_err());
    }
}
