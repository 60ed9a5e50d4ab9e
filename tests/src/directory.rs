//! Reading and damaging a data directory from outside, with a log reader of its own.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Length of a log file's header.
const HEADER: usize = 16;

/// Where one entry lies in a log file: the transaction's bytes, without checksum, length and mark.
pub type Entry = Range<usize>;

/// Files of `dir` whose name is `prefix` and a hexadecimal zxid, oldest first.
pub fn files(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("the directory is there") {
        let path = entry.expect("the directory can be read").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let zxid = name
            .strip_prefix(prefix)
            .and_then(|hex| i64::from_str_radix(hex, 16).ok());
        if let Some(zxid) = zxid {
            found.push((zxid, path));
        }
    }
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

pub fn logs(dir: &Path) -> Vec<PathBuf> {
    files(dir, "log.")
}

pub fn snapshots(dir: &Path) -> Vec<PathBuf> {
    files(dir, "snapshot.")
}

/// The entries of a log file: 8 bytes of checksum, 4 of length, the transaction, the byte `B`;
/// a length of 0 is the end.
pub fn entries(log: &[u8]) -> Vec<Entry> {
    assert_eq!(&log[..4], b"ZKLG", "magic of a log");
    let mut found = Vec::new();
    let mut at = HEADER;
    while let Some(length) = log.get(at + 8..at + 12) {
        let length = u32::from_be_bytes(length.try_into().expect("4 bytes")) as usize;
        if length == 0 {
            break;
        }
        let start = at + 12;
        assert_eq!(log[start + length], b'B', "mark after the entry at {at}");
        found.push(start..start + length);
        at = start + length + 1;
    }
    found
}

/// Turns one bit over.
pub fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).expect("the file is there");
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).expect("the file is writable");
}
