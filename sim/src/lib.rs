//! A simulated world around [`vivarium_core::node::Node`].
//!
//! One seed decides everything: delays, turn sizes, faults, what clients do. The same seed gives
//! the same run, byte for byte. Nothing in here can name a real clock, socket, file or thread.
#![forbid(unsafe_code)]

pub mod check;
pub mod clients;
pub mod clock;
pub mod config;
pub mod crash_points;
pub mod disk;
pub mod faults;
pub mod hash;
pub mod net;
pub mod observe;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod timeline;
pub mod world;

pub use observe::{ClientAction, ClientId, Setup, SimTime, Violation};
