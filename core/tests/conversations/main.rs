//! What ZooKeeper's servers said to each other, recorded on their ports: our codecs read it and
//! write the same bytes again, and our roles take the place of either side.
//!
//! The recordings lie in scenarios/conversations, a folder for each release; `recording.rs` of
//! the tests of mixed ensembles writes them.

mod codecs;
mod order;
mod roles;
mod script;
mod stage;
