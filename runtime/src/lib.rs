//! The Vivarium server around the machine of `vivarium-core`: configuration, sockets, files, the
//! operator's words and the command line. Decides nothing about the protocol.

mod bench;
pub mod cli;
pub mod config;
pub mod driver;
pub mod exit;
mod meter;
mod owner;
mod shell;
pub mod tools;
pub mod version;
mod words;
