//! ZooKeeper's data directory: transaction logs, snapshots and epoch files, byte for byte, over
//! any [`Files`].
mod files;

pub use files::{Dir, Files};
