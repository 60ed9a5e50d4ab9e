//! Makes a failing schedule small: what can be left out is, what can not is weakened, as long as
//! the run fails in the same way. In the end no single decision, fault or step can be left out.
//!
//! Its work is counted in runs; whoever has a clock stops it from outside. Knows what may be cut
//! and in which order; what a cut does to a schedule is `pieces`, weaker values are `weaken`.

mod pieces;
mod vary;
mod weaken;

use std::collections::BTreeSet;

use vivarium_core::mutants::Mutants;

use crate::decisions::{Address, Lane};
use crate::fingerprint::Fingerprint;
use crate::observe::SimTime;
use crate::schedule::{Plot, Replay, Schedule};
use crate::world::Trace;

use pieces::{Piece, without};

/// What stays of a run after its end: time for the rules that look a little later.
const AFTER_END_NS: u64 = 500_000_000;

/// Beyond the best so far a candidate may have so many events more than twice as many, and so much
/// more than half of its time.
const EVENTS_MORE: u64 = 2_000;
const TIME_MORE_NS: u64 = 2_000_000_000;

/// How far it has got.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub runs: u64,
    pub decisions: usize,
    pub settings: usize,
}

/// The result.
#[derive(Clone, Debug)]
pub struct Shrunk {
    pub schedule: Schedule,
    /// The run of the result.
    pub replay: Replay,
    pub runs: u64,
    /// Every decision, fault and step was left out once, and then the run did not fail so.
    pub minimal: bool,
}

/// Makes it small with at most so many runs, and until `go_on` says no.
///
/// # Errors
/// The schedule does not fail, or not in the way that it says.
pub fn shrink(
    schedule: Schedule,
    mutants: Mutants,
    runs_max: u64,
    go_on: &mut dyn FnMut(Progress) -> bool,
) -> Result<Shrunk, String> {
    let replay = schedule.replay(mutants, Trace::default());
    let Some(print) = replay.fingerprint() else {
        return Err("this schedule does not fail: there is nothing to shrink".to_owned());
    };
    if let Some(said) = schedule.fails.as_ref().filter(|said| **said != print) {
        return Err(format!(
            "this schedule fails with {print}, and says that it is {said}"
        ));
    }
    let mut search = Search {
        best: schedule,
        replay,
        mutants,
        print,
        runs: 1,
        runs_max,
        spent: false,
        changes: 0,
        go_on,
    };
    search.best.fails = Some(search.print.clone());
    search.trim();
    let minimal = search.all();
    Ok(Shrunk {
        schedule: search.best,
        replay: search.replay,
        runs: search.runs,
        minimal,
    })
}

struct Search<'a> {
    best: Schedule,
    replay: Replay,
    mutants: Mutants,
    print: Fingerprint,
    runs: u64,
    runs_max: u64,
    spent: bool,
    /// Candidates that were taken.
    changes: u64,
    go_on: &'a mut dyn FnMut(Progress) -> bool,
}

impl Search<'_> {
    /// Everything, again and again until nothing more can be cut. True if that was proven.
    fn all(&mut self) -> bool {
        loop {
            let before = self.changes;
            self.timing();
            self.machines();
            self.settings();
            self.reduce(0, &pieces::faults);
            self.reduce(0, &pieces::steps);
            self.reduce(0, &pieces::decisions);
            self.weaken();
            if self.spent {
                return false;
            }
            if self.changes == before {
                return true;
            }
        }
    }

    /// Takes the candidate if it fails in the same way.
    fn tries(&mut self, candidate: Schedule) -> bool {
        let size = self.best.size();
        let progress = Progress {
            runs: self.runs,
            decisions: size.decisions,
            settings: size.settings,
        };
        self.spent |= self.runs >= self.runs_max || !(self.go_on)(progress);
        if self.spent {
            return false;
        }
        self.runs += 1;
        // What has not failed by then will hardly do so, and healing takes long.
        let best = &self.replay.run;
        let events = 2 * best.events + EVENTS_MORE;
        let time = SimTime(best.simulated_ns + best.simulated_ns / 2 + TIME_MORE_NS);
        let replay = candidate.replay_within(self.mutants, events, time);
        if replay.fingerprint().as_ref() != Some(&self.print) {
            return false;
        }
        // What fails without the bug that was put back says nothing about it.
        let has_bug = self.mutants != Mutants::NONE;
        if has_bug
            && candidate
                .replay_within(Mutants::NONE, events, time)
                .fingerprint()
                == replay.fingerprint()
        {
            return false;
        }
        self.best = candidate;
        self.replay = replay;
        self.changes += 1;
        self.trim();
        true
    }

    /// As `tries`; a candidate that does not fail gets a few chances with other times.
    fn tries_varied(&mut self, candidate: &Schedule, chances: u64) -> bool {
        if self.tries(candidate.clone()) {
            return true;
        }
        (0..chances).any(|n| {
            let varied = vary::vary(candidate, self.runs << 8 | n);
            !self.spent && self.tries(varied)
        })
    }

    /// Drops what had no part in the run. That changes nothing, so it is not tried.
    fn trim(&mut self) {
        let used: BTreeSet<Address> = self.replay.used.iter().map(|u| u.address).collect();
        self.best
            .decisions
            .retain(|address, _| used.contains(address));
        let end = self.replay.run.simulated_ns;
        let config = &mut self.best.config;
        config.faults.retain(|planned| planned.at.0 <= end);
        if self.best.plot == Plot::Swarm {
            config.heal_at = config.heal_at.min(SimTime(end + AFTER_END_NS));
        }
    }

    /// What only shifts things a little: all at once, or kind by kind, or where it does not matter.
    fn timing(&mut self) {
        let lanes = Lane::ALL.map(|(lane, _)| lane);
        let timing: Vec<Lane> = lanes.into_iter().filter(|lane| lane.is_timing()).collect();
        if self.without_lanes(&timing, 24) {
            return;
        }
        for lane in timing {
            self.without_lanes(&[lane], 4);
        }
        let left = pieces::timing(&self.best).len();
        // Thousands one by one would cost more than they are worth now.
        self.reduce(left / 24, &pieces::timing);
    }

    fn without_lanes(&mut self, lanes: &[Lane], chances: u64) -> bool {
        let mut candidate = self.best.clone();
        candidate.decisions.retain(|a, _| !lanes.contains(&a.lane));
        if candidate.decisions.len() == self.best.decisions.len() {
            return true;
        }
        self.tries_varied(&candidate, chances)
    }

    fn machines(&mut self) {
        if self.best.plot != Plot::Swarm {
            return;
        }
        for list in [pieces::clients, pieces::servers] {
            let mut at = list(&self.best).len();
            while at > 0 && !self.spent {
                at -= 1;
                let all = list(&self.best);
                let Some(piece) = all.get(at) else { continue };
                let candidate = without(&self.best, std::slice::from_ref(piece));
                self.tries_varied(&candidate, 6);
            }
        }
    }

    fn settings(&mut self) {
        let all = pieces::settings(&self.best);
        if all.is_empty() {
            return;
        }
        let candidate = without(&self.best, &all);
        if !self.tries_varied(&candidate, 12) {
            self.reduce(0, &pieces::settings);
        }
    }

    /// Leaves out as many pieces as possible: all of them, halves, quarters, down to `least` at a
    /// time. With 0, single ones are tried until none can go.
    fn reduce(&mut self, least: usize, list: &dyn Fn(&Schedule) -> Vec<Piece>) {
        let mut many = list(&self.best).len();
        while many > least && !self.spent {
            let before = self.changes;
            let mut at = 0;
            loop {
                let all = list(&self.best);
                if at >= all.len() || self.spent {
                    break;
                }
                let some = &all[at..all.len().min(at + many)];
                if !self.tries(without(&self.best, some)) {
                    at += many;
                }
            }
            if many > 1 || self.changes == before {
                many /= 2;
            }
        }
    }

    fn weaken(&mut self) {
        let mut n = 0;
        while !self.spent {
            let Some(candidate) = weaken::weaker(&self.best, n) else {
                break;
            };
            // A weaker one may be weakened the same way again.
            if candidate.is_none_or(|candidate| !self.tries(candidate)) {
                n += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
