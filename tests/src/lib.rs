//! Whole-process tests: what a user sees of running servers, and the tidy checks on the tree.
//!
//! Nothing here uses the codecs of `core`: the client, the log reader and the bad frames are
//! written a second time, so that a shared mistake can not hide. The same harness starts Apache
//! ZooKeeper's own server, and every expectation that is ZooKeeper's is validated against it:
//! `VIVARIUM_TESTS_AGAINST=zookeeper cargo test -p vivarium-tests`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests drive real processes in real time; nothing here is replayed"
)]

pub mod ask;
pub mod client;
pub mod directory;
pub mod disks;
pub mod ensemble;
pub mod peers;
pub mod ports;
pub mod probe;
pub mod program;
pub mod programs;
pub mod python;
pub mod random;
pub mod recorder;
pub mod suites;
pub mod tidy;
pub mod tool;
pub mod wait;
pub mod wire;
pub mod writers;
