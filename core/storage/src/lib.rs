//! ZooKeeper's data directory: transaction logs, snapshots and epoch files, byte for byte, over
//! any [`Files`].
mod error;
mod files;
pub mod mem;
mod real;

pub use error::StorageError;
pub use files::{Dir, Files};
pub use real::{LOCK_NAME, RealFiles};
