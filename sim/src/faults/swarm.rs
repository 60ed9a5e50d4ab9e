//! Swarm runs: which faults are on, how often and how long, all drawn from the seed before the
//! run starts. Some families are always left out, and a run has either few long faults or many
//! short ones: a mix of everything never holds a bad state for long.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vivarium_core::config::{Rules, Throttle};
use vivarium_core::ids::ServerId;
use vivarium_core::mutants::Mutants;
use vivarium_storage::faulty::{Kind, Rot};

use super::{Fault, GIVE_UP_MAX, Planned, Shape, Strike, Target};
use crate::clients::people::CHIEF;
use crate::clients::{ClientPlan, Errand};
use crate::clock::DRIFT_PPM_MAX;
use crate::config::{Ambush, ClockConfig, DiskConfig, RunConfig, TurnConfig};
use crate::net::NetConfig;
use crate::observe::SimTime;
use crate::rng::{Purpose, Stream, Streams};

/// A kind of fault that is on or off for a whole run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Family {
    CrashAny,
    CrashLeader,
    CrashSeveral,
    Blackout,
    Pause,
    PauseLeader,
    Split,
    Isolate,
    IsolateLeader,
    OneWay,
    OneWayLeader,
    Bridge,
    CutClients,
    ResetLinks,
    SlowDisk,
    StallDisk,
    FailDisk,
    Clocks,
    /// A client loses the server that it is connected to, and nobody else does.
    CutHome,
    /// The newest proposals reach one follower only before the leader dies.
    Orphan,
    /// Reads, writes and syncs that fail.
    DiskErrors,
    FullDisk,
    LyingDisk,
    /// Bits and sectors that change.
    Rot,
    /// Writes and reads that go to another place.
    Stray,
    /// So many disks rot at once that the ensemble may have to stop for good.
    Ruin,
}

impl Family {
    /// Each drawn for itself, so that the choice among the others stays what it was.
    pub const LATER: [Self; 2] = [Self::CutHome, Self::Orphan];

    /// As those before, from a stream of their own, and in how many of a hundred runs.
    pub const DISKS: [(Self, u64); 6] = [
        (Self::DiskErrors, 20),
        (Self::FullDisk, 30),
        (Self::LyingDisk, 20),
        (Self::Rot, 15),
        (Self::Stray, 15),
        (Self::Ruin, 3),
    ];

    pub const ALL: [Self; 18] = [
        Self::CrashAny,
        Self::CrashLeader,
        Self::CrashSeveral,
        Self::Blackout,
        Self::Pause,
        Self::PauseLeader,
        Self::Split,
        Self::Isolate,
        Self::IsolateLeader,
        Self::OneWay,
        Self::OneWayLeader,
        Self::Bridge,
        Self::CutClients,
        Self::ResetLinks,
        Self::SlowDisk,
        Self::StallDisk,
        Self::FailDisk,
        Self::Clocks,
    ];
}

/// What the user fixes; everything else is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Voters.
    pub nodes: Option<u16>,
    pub mutants: Mutants,
}

/// How often a family strikes and for how long; nanoseconds.
struct Rhythm {
    every: u64,
    lasts: u64,
}

const MS: u64 = 1_000_000;

/// Draws a whole run.
pub fn draw(seed: u64, options: Options) -> RunConfig {
    let streams = Streams::new(seed);
    let mut s = streams.stream(Purpose::Swarm, 0);
    // Now and then an even number: only there is half not less than a majority.
    let voters = *s.pick(&[3, 3, 3, 5, 5, 4]);
    let observers = [0, 0, 1][s.below(3) as usize];
    let mut config = RunConfig::calm(seed, options.nodes.unwrap_or(voters), observers);
    config.mutants = options.mutants;
    config.tick = Duration::from_millis(*s.pick(&[100, 200, 200, 300, 500]));
    config.init_limit = s.range(5, 10) as u32;
    config.sync_limit = s.range(2, 5) as u32;
    config.session_timeout_min = 2 * config.tick;
    config.session_timeout_max = 20 * config.tick;
    config.snap_count = *s.pick(&[20, 50, 100, 1_000]);
    config.net = net(&mut s);
    config.disk = disk(&mut s);
    config.turn = turns(&mut s);
    config.clock = clocks(&mut s);
    config.ambush = ambush(&mut s);
    config.rules = rules(&mut streams.stream(Purpose::Swarm, 2));
    let clients = s.range(2, 6);
    config.heal_at = SimTime(s.range(4_000, 15_000) * MS);
    let wanted = s.range(1, 6) as usize;
    let mut families = Family::ALL;
    s.shuffle(&mut families);
    config.families = families[..wanted].to_vec();
    let mut later = streams.stream(Purpose::Swarm, 1);
    let chosen = Family::LATER.into_iter().filter(|_| later.chance(1, 5));
    config.families.extend(chosen);
    let mut disks = streams.stream(Purpose::Swarm, 3);
    config.disk.sector_bytes = *disks.pick(&[512, 4096]);
    let chosen = Family::DISKS.map(|(family, often)| disks.chance(often, 100).then_some(family));
    config.families.extend(chosen.into_iter().flatten());
    config.disk.prealloc_bytes = *disks.pick(&[4 << 10, 16 << 10]);
    config.disk.reserve_bytes = *disks.pick(&[0, 8 << 10, 8 << 10, 16 << 10]);
    config.disk.can_allocate = disks.chance(2, 3);
    config.families.sort_unstable();
    draw_faults(&mut config, &streams);
    let setup = config.setup();
    for n in 0..clients {
        let mut stream = streams.stream(Purpose::ClientPlan, n);
        let mut plan = ClientPlan::draw(&setup, &mut stream);
        // The first one always writes.
        if n > 0
            && stream.chance(1, 6)
            && let Errand::Mixed(mix) = plan.errand
        {
            plan.errand = Errand::Mixed(mix.looking());
        }
        config.clients.push(plan);
    }
    config
}

fn net(s: &mut Stream) -> NetConfig {
    let noisy = s.chance(1, 2);
    let delay_min = *s.pick(&[20_000, 100_000, 1_000_000]);
    let often = |s: &mut Stream, max: u64| if noisy { s.range(0, max) } else { 0 };
    NetConfig {
        delay_min,
        delay_mean: delay_min * s.range(1, 5),
        cut_per_mille: *s.pick(&[0, 20, 200, 700]),
        stall_per_10k: often(s, 100),
        stall_max: *s.pick(&[50 * MS, 500 * MS, 3_000 * MS]),
        reset_per_100k: often(s, 200),
        dial_fail_per_mille: often(s, 100),
        give_up_min: 1_000 * MS,
        give_up_max: GIVE_UP_MAX.as_nanos() as u64,
    }
}

fn disk(s: &mut Stream) -> DiskConfig {
    DiskConfig {
        sync_min: *s.pick(&[20_000, 200_000, 2 * MS]),
        sync_mean: *s.pick(&[50_000, 500_000, 5 * MS]),
        hiccup_per_mille: *s.pick(&[0, 5, 50]),
        hiccup: *s.pick(&[20 * MS, 200 * MS]),
        group_max: *s.pick(&[1, 4, 1_000]),
        ..DiskConfig::calm()
    }
}

fn turns(s: &mut Stream) -> TurnConfig {
    TurnConfig {
        delay_max: *s.pick(&[10_000, 100_000, 2 * MS]),
        inputs_max: *s.pick(&[1, 4, 64]),
        late_max: *s.pick(&[10_000, MS, 20 * MS]),
        spurious_wake_per_mille: *s.pick(&[0, 10, 200]),
    }
}

fn clocks(s: &mut Stream) -> ClockConfig {
    ClockConfig {
        wall_off_max: *s.pick(&[0, 100, 60_000, 3_600_000]),
        drift_max: *s.pick(&[0, 100, 1_000, DRIFT_PPM_MAX]),
    }
}

/// Which of ZooKeeper's switches for clients are on, from a stream of their own.
fn rules(s: &mut Stream) -> Rules {
    let mut rules = Rules {
        extended_types: s.chance(2, 3),
        container_check_interval: Duration::from_millis(*s.pick(&[50, 200, 1_000])),
        container_max_per_minute: *s.pick(&[600, 10_000]),
        enforce_quota: s.chance(1, 2),
        super_digest: s.chance(1, 2).then(|| CHIEF.digest.to_owned()),
        skip_acl: s.chance(1, 12),
        digest_auth: !s.chance(1, 16),
        local_sessions: s.chance(1, 4),
        local_sessions_upgrading: s.chance(1, 2),
        read_only_mode: s.chance(1, 2),
        eager_acl_check: s.chance(1, 4),
        outstanding_max: *s.pick(&[1, 10, 1_000, 1_000]),
        ..Rules::default()
    };
    if s.chance(1, 4) {
        rules.throttle = throttle(s);
    }
    rules.container_never_used = Duration::from_millis(*s.pick(&[0, 0, 300, 2_000]));
    rules.memory_max = *s.pick(&[0, 0, 0, 0, 0, 0, 20_000, 100_000]);
    rules.address_connections_max = *s.pick(&[60, 60, 1]);
    rules.connections_max = *s.pick(&[0, 0, 0, 3]);
    if s.chance(1, 12) {
        rules.epoch_counter_max = s.range(50, 500) as u32;
    }
    if s.chance(1, 4) {
        rules.snapshot_held_max = *s.pick(&[0, 500, 5_000]);
    }
    rules
}

/// Little room for requests and handshakes.
fn throttle(s: &mut Stream) -> Throttle {
    Throttle {
        requests_max: *s.pick(&[1, 5, 20]),
        drop_stale: s.chance(1, 2),
        stale_latency: s.chance(1, 2),
        wait_max: Duration::from_millis(*s.pick(&[0, 1, 10, 100])),
        tokens: *s.pick(&[0, 0, 2, 5]),
        fill_time: Duration::from_millis(*s.pick(&[1, 50, 200])),
        fill_count: 1,
        large_request: *s.pick(&[0, 10_000]),
        large_bytes_max: 30_000,
        ..Throttle::default()
    }
}

fn ambush(s: &mut Stream) -> Option<Ambush> {
    s.chance(1, 3).then(|| Ambush {
        per_mille: s.range(20, 400),
        turns_max: s.range(0, 20),
        down_max: Duration::from_millis(s.range(10, 3_000)),
    })
}

/// Draws faults of the families that are on, up to the time of healing.
pub fn draw_faults(config: &mut RunConfig, streams: &Streams) {
    let mut s = streams.stream(Purpose::Nemesis, 0);
    let few_long = s.chance(1, 2);
    for family in config.families.clone() {
        // One stream for each family: leaving one out does not move the others.
        let mut s = streams.stream(Purpose::Nemesis, 1 + family as u64);
        let rhythm = if few_long {
            Rhythm {
                every: s.range(3_000, 8_000) * MS,
                lasts: s.range(1_000, 5_000) * MS,
            }
        } else {
            Rhythm {
                every: s.range(300, 2_000) * MS,
                lasts: s.range(20, 800) * MS,
            }
        };
        let mut at = s.range(0, rhythm.every);
        while at < config.heal_at.0 {
            let fault = fault(family, &mut s, &rhythm, config);
            if let Fault::Cut {
                shape: Shape::Orphan(_),
                lasts: Some(lasts),
            } = fault
            {
                orphan(&mut s, SimTime(at).after(lasts * 9 / 10), &rhythm, config);
            }
            if matches!(fault, Fault::FullDisk { .. }) && s.chance(1, 2) {
                fill_more(&mut s, SimTime(at), &fault, config);
            }
            config.faults.push(Planned {
                at: SimTime(at),
                fault,
            });
            at += 10 * MS + s.exponential(rhythm.every);
        }
    }
    config.faults.sort_by_key(|p| p.at);
}

/// Others get full with the first one, so that perhaps no quorum has room.
fn fill_more(s: &mut Stream, at: SimTime, first: &Fault, config: &mut RunConfig) {
    for _ in 0..s.range(1, u64::from(config.servers())) {
        let mut fault = first.clone();
        if let Fault::FullDisk { who, lasts, .. } = &mut fault {
            *who = Target::Any(s.word());
            *lasts = lasts.map(|lasts| lasts + Duration::from_nanos(s.exponential(500 * MS)));
        }
        config.faults.push(Planned { at, fault });
    }
}

/// Shorter than the leader's patience with those that it does not reach.
fn orphaning(s: &mut Stream, word: u64) -> Fault {
    Fault::Cut {
        shape: Shape::Orphan(word),
        lasts: Some(Duration::from_nanos(s.range(2 * MS, 100 * MS))),
    }
}

/// What follows on the cut: the leader dies before it can tell the others, and at times its heir
/// with it, who comes back to a history that has gone on without it.
fn orphan(s: &mut Stream, at: SimTime, rhythm: &Rhythm, config: &mut RunConfig) {
    let heir_too = s.chance(1, 2);
    for who in [Some(Target::Leader), heir_too.then_some(Target::Newest)] {
        let down = Duration::from_nanos(MS + s.exponential(rhythm.lasts));
        let power = s.chance(1, 2);
        if let Some(who) = who {
            let fault = Fault::Crash {
                who,
                power,
                strike: Strike::BetweenTurns,
                down: Some(down),
            };
            config.faults.push(Planned { at, fault });
        }
    }
}

fn fault(family: Family, s: &mut Stream, rhythm: &Rhythm, config: &RunConfig) -> Fault {
    let lasts = Duration::from_nanos(MS + s.exponential(rhythm.lasts));
    let word = s.word();
    let power = s.chance(1, 2);
    let strike = *s.pick(&[
        Strike::BetweenTurns,
        Strike::BetweenEffects,
        Strike::BetweenEffects,
    ]);
    let crash = |who| Fault::Crash {
        who,
        power,
        strike,
        down: Some(lasts),
    };
    let cut = |shape| Fault::Cut {
        shape,
        lasts: Some(lasts),
    };
    let one = ServerId(1 + (word % u64::from(config.servers())) as i64);
    match family {
        Family::CrashAny => {
            crash(*s.pick(&[Target::Any(word), Target::Server(one), Target::Newest]))
        }
        Family::CrashLeader => crash(Target::Leader),
        Family::CrashSeveral => {
            let count = s.range(2, u64::from(config.servers()));
            Fault::CrashSeveral {
                count,
                word,
                power,
                down: lasts,
            }
        }
        Family::Blackout => Fault::Blackout { down: Some(lasts) },
        Family::Pause => Fault::Pause {
            who: Target::Any(word),
            lasts: Some(lasts),
        },
        Family::PauseLeader => Fault::Pause {
            who: Target::Leader,
            lasts: Some(lasts),
        },
        Family::Split => cut(Shape::Split(word)),
        Family::Isolate => cut(Shape::Isolate(Target::Any(word))),
        Family::IsolateLeader => cut(Shape::Isolate(Target::Leader)),
        Family::OneWay => cut(match s.below(3) {
            0 => Shape::OneWay(word),
            1 => Shape::Mute(Target::Any(word)),
            _ => Shape::Deaf(Target::Any(word)),
        }),
        Family::OneWayLeader if s.chance(1, 2) => cut(Shape::Mute(Target::Leader)),
        Family::OneWayLeader => cut(Shape::Deaf(Target::Leader)),
        Family::Bridge => cut(Shape::Bridge(word)),
        Family::CutClients => cut(Shape::Clients(word)),
        Family::CutHome => cut(Shape::Home(word)),
        Family::Orphan => orphaning(s, word),
        Family::ResetLinks if s.chance(1, 3) => Fault::ResetLinks {
            who: Target::Leader,
        },
        Family::ResetLinks => Fault::ResetLinks {
            who: Target::Any(word),
        },
        Family::SlowDisk | Family::StallDisk | Family::FailDisk | Family::Clocks => {
            slow_fault(family, s, word, lasts, config)
        }
        family => disk_fault(family, s, word, lasts, config),
    }
}

/// Disks that fail, lie and forget.
fn disk_fault(
    family: Family,
    s: &mut Stream,
    word: u64,
    lasts: Duration,
    config: &RunConfig,
) -> Fault {
    let who = *s.pick(&[Target::Any(word), Target::Leader, Target::Follower(word)]);
    let down = Duration::from_nanos(s.range(MS, 1_000 * MS));
    let most = *s.pick(&[1, 600, 20_000]);
    let room = s.below(most);
    let strike = |kind, after| Fault::DiskStrike {
        who,
        kind,
        after,
        word,
        lasts,
        down,
    };
    match family {
        Family::DiskErrors => {
            let kind = *s.pick(&[Kind::Read, Kind::Write, Kind::Sync, Kind::SyncFull]);
            strike(kind, s.below(12))
        }
        Family::Stray => {
            let kind = *s.pick(&[Kind::StrayRead, Kind::StrayWrite]);
            strike(kind, s.below(12))
        }
        Family::FullDisk => Fault::FullDisk {
            who,
            room,
            // Until somebody has noticed, and half a second more.
            lasts: Some(lasts + Duration::from_nanos(s.range(0, 2_000 * MS))),
            down,
        },
        Family::LyingDisk => Fault::LyingDisk { who, lasts, down },
        Family::Rot => Fault::Rot {
            who,
            kind: *s.pick(&[Rot::Bit, Rot::Sector]),
            word,
            down,
        },
        Family::Ruin => Fault::Ruin {
            count: s.range(1, u64::from(config.voters)),
            word,
            down,
        },
        _ => unreachable!("{family:?} is no matter of failing disks"),
    }
}

/// Disks and clocks.
fn slow_fault(
    family: Family,
    s: &mut Stream,
    word: u64,
    lasts: Duration,
    config: &RunConfig,
) -> Fault {
    match family {
        Family::SlowDisk => {
            let who = *s.pick(&[Target::Any(word), Target::Leader, Target::Follower(word)]);
            Fault::SlowDisk {
                who,
                factor: s.range(5, 200),
                lasts: Some(lasts),
            }
        }
        Family::StallDisk => {
            let who = *s.pick(&[Target::Any(word), Target::Leader, Target::Follower(word)]);
            Fault::StallDisk {
                who,
                lasts: Some(lasts),
            }
        }
        Family::FailDisk => Fault::FailDisk {
            who: Target::Any(word),
            down: lasts,
        },
        Family::Clocks if s.chance(1, 2) => Fault::JumpWall {
            who: Target::Any(word),
            ms: s.range_signed(-10_000, 10_000),
        },
        Family::Clocks => {
            let max = i64::from(config.clock.drift_max);
            Fault::Drift {
                who: Target::Any(word),
                ppm: s.range_signed(-max, max) as i32,
            }
        }
        _ => unreachable!("{family:?} is no matter of disks and clocks"),
    }
}
