//! Sessions: their ids and passwords, and the leader's account of who is alive.

pub mod id;
pub(crate) mod tracker;

/// Where a session is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// In the replicated state. The leader expires it.
    Global,
    /// In the memory of the server that its client is connected to, which expires it.
    Local,
}
