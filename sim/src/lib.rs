//! A simulated world around [`vivarium_core::node::Node`].
//!
//! One seed decides everything: delays, turn sizes, faults, what clients do. The same seed gives
//! the same run, byte for byte. Nothing in here can name a real clock, socket, file or thread.
#![forbid(unsafe_code)]

pub mod catalogue;
pub mod check;
pub mod clients;
pub mod clock;
pub mod config;
pub mod crash_points;
pub mod decisions;
pub mod disk;
pub mod explain;
pub mod faults;
pub mod fingerprint;
pub mod hash;
pub mod net;
pub mod observe;
pub mod plain;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod shrink;
pub mod story;
pub mod timeline;
pub mod view;
pub mod world;

pub use observe::{ClientAction, ClientId, Setup, SimTime, Violation};
