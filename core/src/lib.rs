//! The machine of Vivarium: a ZooKeeper server as one deterministic state machine.
//!
//! Bytes, completions and time go in; bytes, writes and reports come out. Nothing in this crate
//! can name a clock, a socket, a file, a thread, a global or entropy. See [`boundary`] for the
//! vocabulary between the machine and whatever drives it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod acl;
pub mod boundary;
pub mod config;
pub mod database;
mod durable;
mod election;
pub mod fuzzing;
pub mod ids;
pub mod limits;
mod links;
pub mod log;
pub mod mutants;
pub mod node;
pub mod path;
pub mod pipeline;
pub mod prepare;
mod quorum;
pub mod quota;
pub mod reads;
pub mod recovery;
pub mod session;
mod shared;
pub mod snapshot;
mod sweeper;
pub mod time;
pub mod tree;
pub mod watch;
pub mod wire;
mod zab;
