//! ZooKeeper's data directory: transaction logs, snapshots and epoch files, byte for byte, over
//! any [`Files`].
//!
//! [`Store`] writes what the machine asks for and recovers it after any crash. It is the same code
//! on a real disk ([`RealFiles`]) and on one that forgets ([`mem::MemFiles`]).
mod ahead;
mod checksum;
pub mod crashes;
mod cut;
mod epochs;
mod error;
pub mod faulty;
mod files;
pub mod fuzzing;
pub mod inspect;
mod log_format;
mod log_reader;
mod log_writer;
pub mod mem;
mod names;
mod packing;
mod purge;
mod real;
pub mod rebuild;
mod recover;
mod reserve;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;

pub use error::StorageError;
pub use files::{Dir, Files};
pub use names::BACKGROUND_TMP;
pub use packing::Packing;
pub use real::{LOCK_NAME, RealFiles};
pub use store::{Options, Performed, Store};
