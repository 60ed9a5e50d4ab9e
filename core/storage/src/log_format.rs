//! Bytes of a transaction log file: header, records, zero padding; and the marks at the end of the
//! padding that say how far the file was synced.
//!
//! Header: magic `ZKLG`, int version 2, long 0. Record: long Adler-32 of the transaction's bytes,
//! int length, the bytes, `B`. A length of zero is the end; readers of ZooKeeper look no further.
//! The checksum does not cover the length.
//!
//! # Marks
//!
//! After a power loss a record with a wrong checksum is either the torn end of what was never
//! acknowledged, or rot in acknowledged history. The difference is whether the record was synced,
//! and nothing in ZooKeeper's format tells. So this server leaves two sectors at the very end of
//! the preallocated space, behind a gap of zeros, where no reader of the format looks: each can
//! hold a mark "synced up to offset N". A mark is written after a sync has succeeded, without being
//! synced itself, into the two sectors in turn; the next sync makes it durable. So at most one of
//! the two is ever in doubt, and the other is at most one batch old. A mark never claims too much,
//! because it is written after the fact.
//!
//! A file that is done with is synced as a whole and cut to what its records and the marks need.
//! Its last marks say how long it is, so that rot at its end is not taken for a torn end either.

use vivarium_core::ids::Zxid;

use crate::checksum::adler32;

pub(crate) const HEADER_BYTES: u64 = 16;
pub(crate) const MAGIC: &[u8; 4] = b"ZKLG";
pub(crate) const VERSION: i32 = 2;

/// Checksum and length before the transaction's bytes.
pub(crate) const FRAME_HEAD_BYTES: usize = 12;
/// And the `B` after them.
pub(crate) const FRAME_BYTES: usize = FRAME_HEAD_BYTES + 1;
pub(crate) const FRAME_END: u8 = b'B';

const MARK_SECTOR_BYTES: u64 = 512;
/// Both mark sectors.
pub(crate) const MARKS_BYTES: u64 = 2 * MARK_SECTOR_BYTES;
/// Zeros between records and marks: a reader must meet a length of zero.
const GAP_BYTES: u64 = 16;
/// What a file needs besides records.
pub(crate) const RESERVED_BYTES: u64 = GAP_BYTES + MARKS_BYTES;

const MARK_MAGIC: &[u8; 8] = b"VIVMARK1";
pub(crate) const MARK_BYTES: usize = 32;

/// The first bytes of a log file.
pub(crate) fn header() -> [u8; HEADER_BYTES as usize] {
    let mut out = [0; HEADER_BYTES as usize];
    out[..4].copy_from_slice(MAGIC);
    out[4..8].copy_from_slice(&VERSION.to_be_bytes());
    out
}

/// Appends one record.
pub(crate) fn put_record(txn: &[u8], out: &mut Vec<u8>) {
    out.reserve(txn.len() + FRAME_BYTES);
    out.extend_from_slice(&u64::from(adler32(txn)).to_be_bytes());
    let len = i32::try_from(txn.len()).expect("transactions are far smaller than 2 GiB");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(txn);
    out.push(FRAME_END);
}

/// "The file that begins with `first` is synced up to `synced`."
pub(crate) fn mark(first: Zxid, synced: u64) -> [u8; MARK_BYTES] {
    let mut out = [0; MARK_BYTES];
    out[..8].copy_from_slice(MARK_MAGIC);
    out[8..16].copy_from_slice(&first.0.to_be_bytes());
    out[16..24].copy_from_slice(&synced.to_be_bytes());
    let sum = fnv1a(&out[..24]);
    out[24..].copy_from_slice(&sum.to_be_bytes());
    out
}

/// The offset in a mark of the file that begins with `first`; `None` if this is no such mark.
pub(crate) fn parse_mark(bytes: &[u8; MARK_BYTES], first: Zxid) -> Option<u64> {
    let synced = u64::from_be_bytes(bytes[16..24].try_into().expect("eight bytes"));
    (*bytes == mark(first, synced)).then_some(synced)
}

/// Where in a file of this size the mark number `turn` stands.
pub(crate) fn mark_offset(size: u64, turn: u64) -> u64 {
    assert!(size >= MARKS_BYTES, "no room for marks in {size} bytes");
    size - MARKS_BYTES + turn % 2 * MARK_SECTOR_BYTES
}

/// Adler-32 says little about so few bytes.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_record_are_those_of_zookeeper() {
        assert_eq!(header(), *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0");
        let mut out = Vec::new();
        put_record(b"abc", &mut out);
        assert_eq!(out, *b"\0\0\0\0\x02\x4d\x01\x27\0\0\0\x03abcB");
    }

    #[test]
    fn a_mark_is_read_for_its_own_file_only() {
        let bytes = mark(Zxid(7), 4711);
        assert_eq!(parse_mark(&bytes, Zxid(7)), Some(4711));
        assert_eq!(parse_mark(&bytes, Zxid(8)), None);
        for bit in 0..MARK_BYTES * 8 {
            let mut bent = bytes;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_mark(&bent, Zxid(7)), None, "bit {bit}");
        }
        assert_eq!((mark_offset(4096, 0), mark_offset(4096, 3)), (3072, 3584));
    }
}
