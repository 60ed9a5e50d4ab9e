//! What a client sets out to do, drawn or written down in a scenario. Does nothing itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vivarium_core::ids::ServerId;

use super::ops::Path;
use super::people::{PEOPLE, Person};
use super::workload::Kind;
use crate::observe::{Setup, SimTime};
use crate::plain;
use crate::rng::Stream;

/// Everything about a client that is fixed before it starts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientPlan {
    /// Servers that it knows.
    #[serde(with = "plain::servers")]
    pub servers: Vec<ServerId>,
    /// The session timeout that it asks for, in milliseconds.
    pub timeout_ms: i32,
    pub start: SimTime,
    /// From then on it only keeps its session alive.
    pub quiet_from: SimTime,
    /// Whom it proves to be on each connection.
    pub people: Vec<Person>,
    /// It can live with a server without a quorum.
    pub read_only: bool,
    pub errand: Errand,
}

/// What it is there for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Errand {
    /// Drawn requests.
    Mixed(Mix),
    /// Takes the lock below `base` again and again and keeps it for `hold` each time.
    Lock {
        #[serde(with = "plain::path")]
        base: Path,
        #[serde(with = "plain::duration")]
        hold: Duration,
    },
    /// Wants to be master: the owner of the ephemeral `path`.
    Election {
        #[serde(with = "plain::path")]
        path: Path,
    },
}

/// The character of a drawn client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// Mean time between two bursts of requests.
    #[serde(with = "plain::duration")]
    pub pause: Duration,
    /// Requests in a burst, at most.
    pub burst_max: u64,
    /// Weight of each kind of request, in the order of `workload::Kind::ALL`.
    #[serde(with = "plain::weights")]
    pub weights: Vec<u64>,
    /// Of a million bursts, how many are followed by a change of server.
    pub move_ppm: u64,
    /// ... by a new connection to the same server.
    pub reconnect_ppm: u64,
    /// ... by silence on an open connection until the session is dead.
    pub mute_ppm: u64,
    /// ... by an absence longer than the session lives.
    pub vanish_ppm: u64,
    /// ... by closing the session.
    pub close_ppm: u64,
    /// Of a hundred reads, how many set a watch.
    pub watch_percent: u64,
    /// The first so many of the top-level znodes are used.
    pub roots: usize,
    /// Of a hundred acknowledged writes, how many send the client to the next of its servers at
    /// once, to look for its write there; it insists on a server that turns it away as too old.
    pub chase_percent: u64,
    /// Of a million bursts, how many end with a request for much that is not read for a while.
    pub deaf_ppm: u64,
}

impl ClientPlan {
    /// A client with a drawn character. The caller sets `quiet_from` if it wants an end.
    pub fn draw(setup: &Setup, rng: &mut Stream) -> Self {
        let servers: Vec<ServerId> = setup.servers().collect();
        let (low, high) = (setup.session_timeout_min, setup.session_timeout_max);
        // Longer than the least, or the leader hears of a touch too late to be blamed for anything.
        let longer = (low * rng.range(1, 5) as u32).min(high);
        let timeout_ms = i32::try_from(longer.as_millis()).unwrap_or(i32::MAX);
        let mut plan = Self {
            servers,
            timeout_ms,
            start: SimTime(rng.below(500_000_000)),
            quiet_from: SimTime::NEVER,
            people: Vec::new(),
            read_only: false,
            errand: Errand::Mixed(Mix::draw(setup, rng)),
        };
        if setup.rules.super_digest.is_some() {
            let people = PEOPLE.into_iter().filter(|_| rng.chance(1, 3));
            plan.people = people.collect();
        }
        plan.read_only = setup.rules.read_only_mode && rng.chance(2, 3);
        plan
    }
}

impl Mix {
    /// Every kind of request, about fifty a second, on one session that stays where it is.
    pub fn everything() -> Self {
        let mut mix = Self {
            pause: Duration::from_millis(20),
            burst_max: 2,
            weights: vec![4; Kind::FIRST],
            move_ppm: 0,
            reconnect_ppm: 0,
            mute_ppm: 0,
            vanish_ppm: 0,
            close_ppm: 0,
            watch_percent: 30,
            roots: 3,
            chase_percent: 0,
            deaf_ppm: 0,
        };
        // What came later is for drawn runs.
        mix.weights.resize(Kind::ALL.len(), 0);
        mix
    }

    /// The client only looks, and syncs: nothing of its own keeps a sync from being answered.
    #[must_use]
    pub fn looking(mut self) -> Self {
        for (kind, weight) in Kind::ALL.iter().zip(&mut self.weights) {
            *weight = if kind.only_looks() { 4 } else { 0 };
        }
        self
    }

    /// Some kinds of request are left out, some come often: a run in which everything is equally
    /// likely never stays long in any state.
    pub fn draw(setup: &Setup, rng: &mut Stream) -> Self {
        let mut weights: Vec<u64> = Kind::ALL[..Kind::FIRST]
            .iter()
            .map(|_| *rng.pick(&[0, 2, 4, 4, 8, 16]))
            .collect();
        // Without any create nothing ever happens.
        weights[0] = weights[0].max(4);
        let mut mix = Self {
            pause: Duration::from_micros(*rng.pick(&[2_000, 10_000, 30_000, 100_000])),
            burst_max: *rng.pick(&[1, 1, 3, 8, 16]),
            weights,
            move_ppm: *rng.pick(&[0, 1_000, 5_000, 30_000, 150_000]),
            reconnect_ppm: *rng.pick(&[0, 1_000, 10_000]),
            mute_ppm: *rng.pick(&[0, 300, 2_000]),
            vanish_ppm: *rng.pick(&[0, 300, 2_000]),
            close_ppm: *rng.pick(&[0, 1_000, 10_000]),
            watch_percent: *rng.pick(&[0, 20, 50, 90]),
            roots: rng.range(1, 3) as usize,
            chase_percent: *rng.pick(&[0, 0, 0, 10, 60]),
            deaf_ppm: 0,
        };
        // Later kinds draw last, so that the rest of a client's character stays what it was.
        for _ in Kind::FIRST..Kind::ALL.len() {
            mix.weights.push(*rng.pick(&[0, 0, 2, 4, 8]));
        }
        mix.deaf_ppm = *rng.pick(&[0, 0, 0, 1_000, 10_000]);
        let mut without = |kind: Kind| mix.weights[kind as usize] = 0;
        if !setup.rules.extended_types {
            without(Kind::Ttl);
        }
        // Half of all runs have no access lists but those for everybody.
        if setup.rules.super_digest.is_none() {
            without(Kind::Auth);
            without(Kind::Guard);
        }
        mix
    }
}
