//! Schedules: a run that was noted, with everything that it needs to happen again.
//!
//! A seed names a run of one commit: a draw more or less anywhere, and it is another. A schedule
//! says what happened instead: the configuration, and each decision that was not quiet, by its
//! address. Code that has nothing to do with it may change; what it does not mention is quiet.
//! Knows how a schedule is noted and told; how it looks in a file is [`text`].

pub mod config;
pub mod text;

use std::rc::Rc;

use vivarium_core::mutants::Mutants;

use crate::catalogue;
use crate::config::RunConfig;
use crate::decisions::{Decisions, Ledger, Use};
use crate::fingerprint::Fingerprint;
use crate::observe::{SimTime, Violation};
use crate::rng::Streams;
use crate::run::{Run, run_on, swarm};
use crate::scenario::Script;
use crate::world::{Trace, World};

/// What the run does besides deciding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plot {
    /// Faults at their times, then everything heals and must serve.
    Swarm,
    /// The steps of a scenario.
    Steps(Script),
}

/// A run as it can be kept.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// For the reader: one line each.
    pub about: Vec<String>,
    /// The known bug that was put back.
    pub mutant: Option<String>,
    /// How the run fails.
    pub fails: Option<Fingerprint>,
    /// With the plans of clients and the faults; the seed is for what clients do after healing.
    pub config: RunConfig,
    pub plot: Plot,
    pub decisions: Decisions,
}

/// A schedule that was run.
#[derive(Clone, Debug)]
pub struct Replay {
    pub run: Run,
    /// The decisions that were asked for.
    pub used: Vec<Use>,
    /// The planned faults that struck: which, at which event and when.
    pub struck: Vec<(usize, u64, SimTime)>,
}

impl Replay {
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        Fingerprint::of(&self.run.verdict)
    }
}

/// How long a schedule is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Decisions that are not quiet, faults and steps.
    pub decisions: usize,
    /// Settings that are not as in a calm run.
    pub settings: usize,
}

fn perform(plot: &Plot, world: &mut World) -> Option<Violation> {
    match plot {
        Plot::Swarm => swarm(world),
        Plot::Steps(script) => script.perform(world),
    }
}

/// Runs a configuration and notes every decision.
pub fn record(config: RunConfig, plot: Plot, trace: Trace) -> (Run, Schedule) {
    let ledger = Ledger::noting(config.servers());
    let run = run(&config, &plot, &ledger, config.seed, trace);
    let schedule = Schedule {
        about: Vec::new(),
        mutant: None,
        fails: Fingerprint::of(&run.verdict),
        config,
        plot,
        decisions: ledger.decisions(),
    };
    (run, schedule)
}

fn run(config: &RunConfig, plot: &Plot, ledger: &Rc<Ledger>, key: u64, trace: Trace) -> Run {
    let streams = Streams::new(key).with(ledger.clone());
    run_on(config.clone(), &streams, trace, |world| {
        perform(plot, world)
    })
}

impl Schedule {
    /// The switches for the bug that it names.
    ///
    /// # Errors
    /// There is no such bug, or known bugs are not built in.
    pub fn mutants(&self) -> Result<Mutants, String> {
        let Some(name) = &self.mutant else {
            return Ok(Mutants::NONE);
        };
        let switch = catalogue::switch(catalogue::find(name)?);
        switch.ok_or_else(|| format!("{name} is not built in: build with --features mutants"))
    }

    /// Runs it, with these bugs.
    pub fn replay(&self, mutants: Mutants, trace: Trace) -> Replay {
        let key = self.config.seed;
        self.future(mutants, (u64::MAX, key), trace)
    }

    /// Runs it, but not beyond these bounds: there it ends with a failure of its own.
    pub fn replay_within(&self, mutants: Mutants, events_max: u64, time_max: SimTime) -> Replay {
        let servers = self.config.servers();
        let ledger = Ledger::bounded(servers, self.decisions.clone(), events_max, time_max);
        self.tell(mutants, &ledger, self.config.seed, Trace::default())
    }

    /// Runs it up to an event; from there on everything is drawn from another seed.
    pub fn future(&self, mutants: Mutants, (event, key): (u64, u64), trace: Trace) -> Replay {
        let servers = self.config.servers();
        let ledger = Ledger::telling(servers, self.decisions.clone(), event);
        self.tell(mutants, &ledger, key, trace)
    }

    fn tell(&self, mutants: Mutants, ledger: &Rc<Ledger>, key: u64, trace: Trace) -> Replay {
        let config = RunConfig {
            mutants,
            ..self.config.clone()
        };
        let run = run(&config, &self.plot, ledger, key, trace);
        Replay {
            run,
            used: ledger.used(),
            struck: ledger.struck(),
        }
    }

    pub fn size(&self) -> Size {
        let steps = match &self.plot {
            Plot::Swarm => 0,
            Plot::Steps(script) => script.steps.len() + script.expect.len(),
        };
        Size {
            decisions: self.decisions.len() + self.config.faults.len() + steps,
            settings: config::settings(&self.config).len(),
        }
    }
}
