//! The words that world, clients and checkers share: times, names, verdicts, and what is known of
//! a run before it starts. Knows nothing of how any of them works.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use vivarium_core::config::Rules;
use vivarium_core::ids::ServerId;

/// Nanoseconds since the start of the run; nobody inside the run can see it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SimTime(pub u64);

impl SimTime {
    pub const ZERO: Self = Self(0);
    /// Later than any run.
    pub const NEVER: Self = Self(u64::MAX);

    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// Time passed since `earlier`, zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `d` later.
    #[must_use]
    pub const fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(d.as_nanos() as u64))
    }
}

impl fmt::Display for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1_000;
        write!(f, "{}.{:06}s", micros / 1_000_000, micros % 1_000_000)
    }
}

/// A simulated client, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u32);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// What a client asks of the network. It has at most one connection; `Connect` while one is open
/// or being opened abandons that one without a word to the server (as a client that gives up).
#[derive(Clone, Debug)]
pub enum ClientAction {
    Connect { server: ServerId },
    Send(Bytes),
    Disconnect,
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The rule's name, kebab-case, for people and for `mutants`.
    pub rule: &'static str,
    /// What was seen, with names, zxids and times.
    pub evidence: String,
    /// Liveness (exit code 11) instead of safety (exit code 10).
    pub liveness: bool,
}

/// What is fixed before a run starts.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub voters: BTreeSet<ServerId>,
    pub observers: BTreeSet<ServerId>,
    pub clients: u32,
    /// One tick of every server.
    pub tick: Duration,
    /// In ticks.
    pub init_limit: u32,
    /// In ticks.
    pub sync_limit: u32,
    pub session_timeout_min: Duration,
    pub session_timeout_max: Duration,
    /// Largest drift of any server's clocks, in parts per million, either way.
    pub drift_ppm_max: u32,
    pub rules: Rules,
    /// Time after healing within which everything must serve again; see `faults::liveness_bound`.
    pub liveness_bound: Duration,
}

impl Setup {
    /// Every server, voters and observers.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> {
        self.voters.iter().chain(&self.observers).copied()
    }

    /// Voters in the smallest majority.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }
}
