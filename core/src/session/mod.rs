//! Sessions: their ids and passwords, and the leader's account of who is alive.

pub mod id;
pub(crate) mod tracker;
