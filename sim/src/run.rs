//! A whole run: from a configuration to a verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::Serialize;

use crate::config::RunConfig;
use crate::observe::{SimTime, Violation};
use crate::rng::Streams;
use crate::world::{Trace, World};

/// How a run ended. There is no "skipped".
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Safety {
        rule: String,
        evidence: String,
    },
    Liveness {
        rule: String,
        evidence: String,
    },
    /// More disks lost what they held than the ensemble has to stand, and it has stopped rather
    /// than serve anything.
    Halted {
        evidence: String,
    },
    /// An assertion failed.
    Panic {
        message: String,
    },
}

/// A run that is over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Run {
    pub seed: u64,
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Over events, actions and states.
    pub hash: String,
    /// Events taken from the heap, each followed by the checkers' look.
    pub events: u64,
    /// Nanoseconds that passed inside.
    pub simulated_ns: u64,
    /// Writes whose success a client saw.
    pub writes: u64,
    /// The hash after each 1024 events.
    #[serde(skip)]
    pub checkpoints: Vec<u64>,
}

impl Verdict {
    /// Something is wrong.
    pub const fn is_failure(&self) -> bool {
        self.exit_code() != 0
    }

    /// The command line's exit code.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Pass | Self::Halted { .. } => 0,
            Self::Safety { .. } => 10,
            Self::Liveness { .. } => 11,
            Self::Panic { .. } => 12,
        }
    }
}

impl From<Option<Violation>> for Verdict {
    fn from(violation: Option<Violation>) -> Self {
        match violation {
            None => Self::Pass,
            Some(Violation {
                rule,
                evidence,
                liveness: true,
            }) => Self::Liveness {
                rule: rule.to_owned(),
                evidence,
            },
            Some(Violation {
                rule,
                evidence,
                liveness: false,
            }) => Self::Safety {
                rule: rule.to_owned(),
                evidence,
            },
        }
    }
}

/// How often liveness is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs what was drawn: a phase of faults, then everything heals, then everything must serve.
pub fn run_swarm(config: RunConfig, trace: Trace) -> Run {
    run_with(config, trace, swarm)
}

/// The phases of a drawn run.
pub fn swarm(world: &mut World) -> Option<Violation> {
    world.begin_swarm();
    world
        .run_until(world.config().heal_at)
        .or_else(|| settle(world))
}

/// A run that ended with servers that can not start and no quorum without them.
fn halted(verdict: Verdict, world: &World) -> Verdict {
    match (verdict, world.halted_for_good()) {
        (Verdict::Pass, Some(evidence)) => Verdict::Halted { evidence },
        (verdict, _) => verdict,
    }
}

/// Runs a world under `script` and catches what panics.
pub fn run_with(
    config: RunConfig,
    trace: Trace,
    script: impl FnOnce(&mut World) -> Option<Violation>,
) -> Run {
    let streams = Streams::new(config.seed);
    run_on(config, &streams, trace, script)
}

/// As `run_with`, with streams that may be noted or told.
pub fn run_on(
    config: RunConfig,
    streams: &Streams,
    trace: Trace,
    script: impl FnOnce(&mut World) -> Option<Violation>,
) -> Run {
    let seed = config.seed;
    let mut world = World::with(config, streams, trace);
    // After a panic the world is only read, for its counters.
    let verdict = match catch_unwind(AssertUnwindSafe(|| script(&mut world))) {
        Ok(violation) => halted(Verdict::from(violation), &world),
        Err(panic) => Verdict::Panic {
            message: message(panic.as_ref()),
        },
    };
    Run {
        seed,
        verdict,
        hash: format!("{:016x}", world.hash()),
        events: world.events(),
        simulated_ns: world.now().0,
        writes: world.writes_acknowledged(),
        checkpoints: world.checkpoints().to_vec(),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
        .to_owned()
}

/// Heals everything, then demands service within the bound, then quiet and equal servers.
pub fn settle(world: &mut World) -> Option<Violation> {
    world.heal();
    let healed = world.now();
    let bound = world.setup().liveness_bound;
    let writes_before = world.writes_acknowledged();
    let writers = world.has_writers();
    loop {
        let all = world.serving() == usize::from(world.config().servers());
        let wrote = !writers || world.writes_acknowledged() > writes_before;
        if all && wrote && world.leader().is_some() {
            break;
        }
        if world.now().since(healed.max(world.replaced())) > bound {
            if world.halted_for_good().is_some() {
                return served_beyond(world);
            }
            return world
                .finish()
                .or_else(|| Some(not_live(world, healed, wrote)));
        }
        let next = world.now().after(LOOK_EVERY);
        if let Some(violation) = world.run_until(next) {
            return Some(violation);
        }
    }
    world.quiet_clients();
    quiesce(world)
}

/// Nobody may serve when there are not enough disks left for a quorum.
fn served_beyond(world: &mut World) -> Option<Violation> {
    (world.serving() > 0).then(|| Violation {
        rule: "served-beyond-atlas",
        evidence: world.standing(),
        liveness: false,
    })
}

fn not_live(world: &World, healed: SimTime, wrote: bool) -> Violation {
    let evidence = format!(
        "healed at {healed}, {:?} later {}; bound {:?}; {}",
        world.now().since(healed),
        if wrote {
            "not every server serves"
        } else {
            "no write has been acknowledged"
        },
        world.setup().liveness_bound,
        world.standing()
    );
    Violation {
        rule: "service-after-healing",
        evidence,
        liveness: true,
    }
}

/// With no new work every server comes to the same history; then the checkers look once more.
fn quiesce(world: &mut World) -> Option<Violation> {
    let since = world.now();
    let setup = world.setup();
    // What is outstanding ends, sessions of clients that left run out, replies arrive.
    let at_least = 2 * setup.tick;
    let at_most = setup.liveness_bound;
    loop {
        let next = world.now().after(LOOK_EVERY);
        if let Some(violation) = world.run_until(next) {
            return Some(violation);
        }
        let waited = world.now().since(since);
        let level = world.level();
        let unswept = world.unswept();
        if waited >= at_least && level && unswept.is_none() {
            return world.finish();
        }
        if waited > at_most && level {
            return unswept;
        }
        if waited > at_most {
            let evidence = format!(
                "without new work for {waited:?} the servers have not come to the same zxid: {}",
                world.standing()
            );
            return Some(Violation {
                rule: "convergence",
                evidence,
                liveness: true,
            });
        }
    }
}
