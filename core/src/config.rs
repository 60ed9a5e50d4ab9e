//! What a node is told at boot; never changes afterwards.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::time::Duration;

use crate::ids::ServerId;
use crate::mutants::Mutants;

/// A member's part in the ensemble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LearnerType {
    /// Votes in elections and on proposals.
    Participant,
    /// Follows without a vote.
    Observer,
}

/// One `server.N` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub kind: LearnerType,
    /// Host as written in the configuration (IPv6 in brackets).
    pub host: String,
    pub quorum_port: u16,
    pub election_port: u16,
    /// The client part of the line (`host:port`), if it had one.
    pub client_address: Option<String>,
}

/// Everything that a node knows from its configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// This server; in standalone mode 0, as ZooKeeper prints it.
    pub me: ServerId,
    /// All members. Empty means standalone.
    pub members: BTreeMap<ServerId, Member>,
    pub tick: Duration,
    /// In ticks.
    pub init_limit: u32,
    /// In ticks.
    pub sync_limit: u32,
    pub session_timeout_min: Duration,
    pub session_timeout_max: Duration,
    /// Transactions between two snapshots.
    pub snap_count: u32,
    /// Drives the few random choices of the machine (when to take a snapshot), hashing included.
    pub seed: u64,
    pub mutants: Mutants,
}

impl Config {
    pub fn is_standalone(&self) -> bool {
        self.members.is_empty()
    }

    /// Is this server an observer?
    pub fn is_observer(&self) -> bool {
        self.members
            .get(&self.me)
            .is_some_and(|m| m.kind == LearnerType::Observer)
    }
}
