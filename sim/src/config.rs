//! Everything that is fixed before a run starts, in full, so that it can be printed.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vivarium_core::config::Rules;
use vivarium_core::ids::ServerId;
use vivarium_core::mutants::Mutants;

use crate::clients::ClientPlan;
use crate::faults::{self, Family, Planned};
use crate::net::NetConfig;
use crate::observe::{Setup, SimTime};
use crate::plain;

/// How a server's disk behaves; times in nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskConfig {
    /// A sync takes at least this long.
    pub sync_min: u64,
    /// And an exponential share with this mean.
    pub sync_mean: u64,
    /// Of a thousand syncs, how many take `hiccup` more.
    pub hiccup_per_mille: u64,
    pub hiccup: u64,
    /// Most writes that share a sync.
    pub group_max: usize,
    /// What reaches the platter at once.
    pub sector_bytes: u64,
    /// Of a log file; small, so that runs see many of them.
    pub prealloc_bytes: u64,
    /// Room that is kept for when there is none; 0: none is.
    pub reserve_bytes: u64,
    /// Room can be taken before it is written to.
    pub can_allocate: bool,
}

/// How a server's process is scheduled; times in nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnConfig {
    /// From the arrival of the first input to the turn that takes it: at most this.
    pub delay_max: u64,
    /// Most inputs of a turn.
    pub inputs_max: usize,
    /// Timers fire at most this late.
    pub late_max: u64,
    /// Of a thousand turns, how many begin with a `Wake` that nobody asked for.
    pub spurious_wake_per_mille: u64,
}

/// How far clocks are off.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockConfig {
    /// Milliseconds, either way.
    pub wall_off_max: i64,
    /// Parts per million, either way.
    pub drift_max: i32,
}

/// A server is struck when it reports something: of a thousand reports, how many, and how many
/// turns later at most.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ambush {
    pub per_mille: u64,
    pub turns_max: u64,
    #[serde(with = "plain::duration")]
    pub down_max: Duration,
}

/// A run before it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    pub seed: u64,
    /// Servers `1..=voters` vote.
    pub voters: u16,
    /// Servers after them observe.
    pub observers: u16,
    #[serde(with = "plain::duration")]
    pub tick: Duration,
    pub init_limit: u32,
    pub sync_limit: u32,
    #[serde(with = "plain::duration")]
    pub session_timeout_min: Duration,
    #[serde(with = "plain::duration")]
    pub session_timeout_max: Duration,
    pub snap_count: u32,
    #[serde(with = "plain::RulesShape")]
    pub rules: Rules,
    #[serde(skip)]
    pub mutants: Mutants,
    pub net: NetConfig,
    pub disk: DiskConfig,
    pub turn: TurnConfig,
    pub clock: ClockConfig,
    pub ambush: Option<Ambush>,
    #[serde(skip)]
    pub clients: Vec<ClientPlan>,
    /// The kinds of fault that are on, for the reader.
    pub families: Vec<Family>,
    #[serde(skip)]
    pub faults: Vec<Planned>,
    /// When everything heals.
    pub heal_at: SimTime,
}

impl Ambush {
    /// Never; the bounds are those within which one can be told.
    pub const NONE: Self = Self {
        per_mille: 0,
        turns_max: 1_000,
        down_max: Duration::from_secs(60),
    };
}

impl DiskConfig {
    /// A good solid state disk.
    pub const fn calm() -> Self {
        Self {
            sync_min: 200_000,
            sync_mean: 300_000,
            hiccup_per_mille: 0,
            hiccup: 0,
            group_max: 1_000,
            sector_bytes: 512,
            prealloc_bytes: 16 << 10,
            reserve_bytes: 8 << 10,
            can_allocate: true,
        }
    }
}

impl TurnConfig {
    /// An idle processor.
    pub const fn calm() -> Self {
        Self {
            delay_max: 50_000,
            inputs_max: 64,
            late_max: 100_000,
            spurious_wake_per_mille: 0,
        }
    }
}

impl RunConfig {
    /// Nothing goes wrong: the ground on which scenarios stand.
    pub fn calm(seed: u64, voters: u16, observers: u16) -> Self {
        Self {
            seed,
            voters,
            observers,
            tick: Duration::from_millis(500),
            init_limit: 10,
            sync_limit: 5,
            session_timeout_min: Duration::from_secs(1),
            session_timeout_max: Duration::from_secs(10),
            snap_count: 1_000,
            rules: Rules::default(),
            mutants: Mutants::NONE,
            net: NetConfig::calm(),
            disk: DiskConfig::calm(),
            turn: TurnConfig::calm(),
            clock: ClockConfig {
                wall_off_max: 50,
                drift_max: 50,
            },
            ambush: None,
            clients: Vec::new(),
            families: Vec::new(),
            faults: Vec::new(),
            heal_at: SimTime::ZERO,
        }
    }

    pub fn servers(&self) -> u16 {
        self.voters + self.observers
    }

    /// What clients and checkers are told.
    pub fn setup(&self) -> Setup {
        let ids = |from: u16, to: u16| (from..=to).map(|n| ServerId(i64::from(n))).collect();
        let mut setup = Setup {
            seed: self.seed,
            voters: ids(1, self.voters),
            observers: ids(self.voters + 1, self.servers()),
            clients: self.clients.len() as u32,
            tick: self.tick,
            init_limit: self.init_limit,
            sync_limit: self.sync_limit,
            session_timeout_min: self.session_timeout_min,
            session_timeout_max: self.session_timeout_max,
            drift_ppm_max: self.clock.drift_max.unsigned_abs(),
            rules: self.rules.clone(),
            liveness_bound: Duration::ZERO,
        };
        setup.liveness_bound = faults::liveness_bound(&setup);
        setup
    }
}

impl fmt::Display for RunConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "servers   {} voters, {} observers; tick {:?}, initLimit {}, syncLimit {}, \
             sessions {:?} to {:?}, snapCount {}",
            self.voters,
            self.observers,
            self.tick,
            self.init_limit,
            self.sync_limit,
            self.session_timeout_min,
            self.session_timeout_max,
            self.snap_count
        )?;
        writeln!(
            f,
            "rules     extendedTypesEnabled {}, checkIntervalMs {}, maxPerMinute {}, \
             enforceQuota {}, skipACL {}, digest {}, superDigest {}, localSessions {}, \
             upgrading {}, readonlymode {}, eager {}, outstanding {}, \
             neverUsed {:?}, memory {}, maxClientCnxns {}, maxCnxns {}, counter {}, throttle {:?}",
            self.rules.extended_types,
            self.rules.container_check_interval.as_millis(),
            self.rules.container_max_per_minute,
            self.rules.enforce_quota,
            self.rules.skip_acl,
            self.rules.digest_auth,
            self.rules.super_digest.is_some(),
            self.rules.local_sessions,
            self.rules.local_sessions_upgrading,
            self.rules.read_only_mode,
            self.rules.eager_acl_check,
            self.rules.outstanding_max,
            self.rules.container_never_used,
            self.rules.memory_max,
            self.rules.address_connections_max,
            self.rules.connections_max,
            self.rules.epoch_counter_max,
            self.rules.throttle
        )?;
        writeln!(f, "network   {:?}", self.net)?;
        writeln!(f, "disks     {:?}", self.disk)?;
        writeln!(f, "turns     {:?}", self.turn)?;
        writeln!(f, "clocks    {:?}", self.clock)?;
        writeln!(f, "ambush    {:?}", self.ambush)?;
        for (i, plan) in self.clients.iter().enumerate() {
            writeln!(f, "client c{} {plan:?}", i + 1)?;
        }
        writeln!(
            f,
            "faults    {:?}, healed at {}",
            self.families, self.heal_at
        )?;
        for planned in &self.faults {
            writeln!(f, "  {:>11}  {:?}", planned.at.to_string(), planned.fault)?;
        }
        Ok(())
    }
}
