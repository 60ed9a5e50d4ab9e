//! Bytes to records and back, exactly as ZooKeeper writes them. Decoding never panics, whatever
//! the bytes; encoding appends to a buffer that the caller owns.

pub mod client;
pub mod election;
pub mod jute;
pub mod quorum;
pub mod records;
pub mod splitter;
pub mod txn;
