//! What can go wrong, as values: a fault says what, to whom and for how long. How it is done is
//! the world's business; when, the schedule's.

mod swarm;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vivarium_core::ids::ServerId;
use vivarium_core::limits::{ELECTION_FINALIZE_WAIT, NOTIFICATION_INTERVAL_MAX};
use vivarium_storage::faulty::{Kind, Rot};

use crate::observe::{Setup, SimTime};
use crate::plain;

pub use swarm::{Family, Options, draw, draw_faults};

/// Elections that may be needed after healing: one whose leader was chosen on old news, one whose
/// leader finds a learner ahead of it or too slow to synchronize in time, one that settles.
pub const ELECTIONS_AFTER_HEALING: u32 = 3;

/// Longest time that the network lets somebody wait for an answer that does not come.
pub const GIVE_UP_MAX: Duration = Duration::from_secs(5);

/// Within this time after the last fault has healed every server serves and a write commits:
///
/// `NOTIFICATION_INTERVAL_MAX + 2 * syncLimit ticks + GIVE_UP_MAX
///  + ELECTIONS_AFTER_HEALING * (GIVE_UP_MAX + ELECTION_FINALIZE_WAIT + 2 * initLimit ticks)
///  + session_timeout_max`
///
/// A server that looked alone may wait the longest notification interval before it asks again. A
/// half-open connection is noticed after syncLimit at either end. Each election then costs a dial
/// that leads nowhere, the wait for better votes, and initLimit once to gather learners and once
/// to synchronize them. The last term is a client that must notice, reconnect and try again.
pub fn liveness_bound(setup: &Setup) -> Duration {
    let drift = |d: Duration| d + d * setup.drift_ppm_max / 1_000_000;
    let election = GIVE_UP_MAX + ELECTION_FINALIZE_WAIT + 2 * setup.init_limit * setup.tick;
    let sum = NOTIFICATION_INTERVAL_MAX
        + 2 * setup.sync_limit * setup.tick
        + GIVE_UP_MAX
        + ELECTIONS_AFTER_HEALING * election
        + setup.session_timeout_max;
    drift(sum)
}

/// Which server a fault strikes; drawn words decide at the moment it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Target {
    Server(#[serde(with = "plain::server")] ServerId),
    /// Who leads, or whoever comes closest.
    Leader,
    /// Some running server that does not lead.
    Follower(u64),
    /// Some running server.
    Any(u64),
    /// The one with the newest log.
    Newest,
}

/// When exactly a crash comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Strike {
    /// Between two turns.
    BetweenTurns,
    /// Between two effects of the next turn that has any.
    BetweenEffects,
}

/// Which packets get lost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Shape {
    /// Two groups; the bits of the word say who is where, clients included.
    Split(u64),
    /// Two groups by name, each server and client in at most one; others reach everybody.
    Groups(Vec<Party>, Vec<Party>),
    /// Nobody reaches this server nor is reached by it.
    Isolate(Target),
    /// Nothing that this server sends arrives at another server.
    Mute(Target),
    /// Nothing that other servers send arrives at this one.
    Deaf(Target),
    /// Two groups that overlap in one server.
    Bridge(u64),
    /// One directed pair of servers.
    OneWay(u64),
    /// One directed pair by name.
    Directed(Party, Party),
    /// Some clients can not reach some servers.
    Clients(u64),
    /// One client can not reach the server that it is connected to; the word says which client.
    Home(u64),
    /// Of what the leader sends, only one follower gets anything; the word says which.
    Orphan(u64),
}

/// A machine by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Party {
    Server(#[serde(with = "plain::server")] ServerId),
    Client(u32),
}

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The process dies, or with `power` the machine. It comes back after `down`, if told.
    Crash {
        who: Target,
        power: bool,
        strike: Strike,
        #[serde(with = "plain::maybe_duration")]
        down: Option<Duration>,
    },
    /// Several at once: how many, and a word that says which.
    CrashSeveral {
        count: u64,
        word: u64,
        power: bool,
        #[serde(with = "plain::duration")]
        down: Duration,
    },
    /// All servers lose power at the same moment.
    Blackout {
        #[serde(with = "plain::maybe_duration")]
        down: Option<Duration>,
    },
    /// The process stands still.
    Pause {
        who: Target,
        #[serde(with = "plain::maybe_duration")]
        lasts: Option<Duration>,
    },
    Cut {
        shape: Shape,
        #[serde(with = "plain::maybe_duration")]
        lasts: Option<Duration>,
    },
    /// Every connection of a server breaks.
    ResetLinks { who: Target },
    /// Syncs take this many times as long.
    SlowDisk {
        who: Target,
        factor: u64,
        #[serde(with = "plain::maybe_duration")]
        lasts: Option<Duration>,
    },
    /// Nothing is written or synced.
    StallDisk {
        who: Target,
        #[serde(with = "plain::maybe_duration")]
        lasts: Option<Duration>,
    },
    /// The next sync fails; the process must stop. It is started again after `down`.
    FailDisk {
        who: Target,
        #[serde(with = "plain::duration")]
        down: Duration,
    },
    /// An operation of this kind fails or goes astray, `after` others have gone well. Reading
    /// happens at a start: there the process is killed first. What went astray shows only at a
    /// start too: there the power fails after `lasts`.
    DiskStrike {
        who: Target,
        #[serde(with = "plain::disk_kind")]
        kind: Kind,
        after: u64,
        word: u64,
        #[serde(with = "plain::duration")]
        lasts: Duration,
        #[serde(with = "plain::duration")]
        down: Duration,
    },
    /// There is room for so many bytes more, until somebody makes some.
    FullDisk {
        who: Target,
        room: u64,
        #[serde(with = "plain::maybe_duration")]
        lasts: Option<Duration>,
        #[serde(with = "plain::duration")]
        down: Duration,
    },
    /// Syncs do nothing and say that they did, until the power fails after `lasts`.
    LyingDisk {
        who: Target,
        #[serde(with = "plain::duration")]
        lasts: Duration,
        #[serde(with = "plain::duration")]
        down: Duration,
    },
    /// The power fails, and what is on the disk changes.
    Rot {
        who: Target,
        #[serde(with = "plain::rot")]
        kind: Rot,
        word: u64,
        #[serde(with = "plain::duration")]
        down: Duration,
    },
    /// As `Rot`, on several disks at once: perhaps more than the ensemble can stand.
    Ruin {
        count: u64,
        word: u64,
        #[serde(with = "plain::duration")]
        down: Duration,
    },
    /// The wall clock is set.
    JumpWall { who: Target, ms: i64 },
    /// The clocks run at another rate.
    Drift { who: Target, ppm: i32 },
}

impl Fault {
    /// It changes what a disk holds or answers.
    pub const fn is_of_a_disk(&self) -> bool {
        matches!(
            self,
            Self::FailDisk { .. }
                | Self::DiskStrike { .. }
                | Self::FullDisk { .. }
                | Self::LyingDisk { .. }
                | Self::Rot { .. }
                | Self::Ruin { .. }
        )
    }
}

/// A fault and its time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    pub at: SimTime,
    pub fault: Fault,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(id) => write!(f, "server {id}"),
            Self::Leader => write!(f, "the leader"),
            Self::Follower(_) => write!(f, "a follower"),
            Self::Any(_) => write!(f, "a server"),
            Self::Newest => write!(f, "the server with the newest log"),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(id) => write!(f, "{id}"),
            Self::Client(n) => write!(f, "c{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_bound_is_its_formula() {
        let setup = Setup {
            seed: 1,
            voters: (1..=3).map(ServerId).collect(),
            observers: BTreeSet::new(),
            clients: 0,
            tick: Duration::from_secs(2),
            init_limit: 10,
            sync_limit: 5,
            session_timeout_min: Duration::from_secs(4),
            session_timeout_max: Duration::from_secs(40),
            drift_ppm_max: 0,
            rules: vivarium_core::config::Rules::default(),
            liveness_bound: Duration::ZERO,
        };
        assert_eq!(
            liveness_bound(&setup),
            Duration::from_millis(2_000 + 20_000 + 5_000 + 3 * 45_200 + 40_000)
        );
        let fast = Setup {
            drift_ppm_max: 50_000,
            ..setup
        };
        // Clocks that run 5 % slow need 5 % more.
        assert_eq!(liveness_bound(&fast), Duration::from_millis(212_730));
    }
}
